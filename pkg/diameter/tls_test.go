package diameter

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	der, key := a.sign("authority", true)
	a.key = key
	var err error
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	return a
}

func (a *authority) sign(host string, ca bool) ([]byte, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, IsCA: ca, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(a.t, err)
	return der, key
}

func (a *authority) file(name, kind string, der []byte) string {
	a.t.Helper()
	path := filepath.Join(a.t.TempDir(), name)
	require.NoError(a.t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return path
}

func TestTLS(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	der, key := ours.sign(ourHost, false)
	octets, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	cfg := testConfig()
	cfg.TLS = TLSConfig{
		Listen: []string{"127.0.0.1:0"}, Certificate: ours.file("cert", "CERTIFICATE", der), Key: ours.file("key", "EC PRIVATE KEY", octets),
		ClientCA: ours.file("ca", "CERTIFICATE", ours.cert.Raw),
	}
	require.NoError(t, cfg.Validate())
	n, _ := start(t, cfg, answerNothing)
	address := n.Addresses()[1]
	dialTLS := func(by *authority, host string) (*client, error) {
		pool := x509.NewCertPool()
		pool.AddCert(ours.cert)
		conf := &tls.Config{RootCAs: pool, ServerName: ourHost}
		if by != nil {
			der, key := by.sign(host, false)
			conf.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
		}
		nc, err := tls.Dial("tcp", address, conf)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { _ = nc.Close() })
		require.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
		return &client{t: t, Conn: nc, r: bufio.NewReader(nc), host: mmeHost}, nil
	}
	c, err := dialTLS(ours, mmeHost)
	require.NoError(t, err)
	require.NoError(t, c.ask(c.cer()).Err())
	requireResult(t, c.ask(c.air()), Success)
	require.Equal(t, "tls", n.Peers()[0].Transport)

	other, err := dialTLS(ours, "mme2.visited.example") // a certificate, but not of who it says it is
	require.NoError(t, err)
	requireResult(t, other.ask(other.cer()), UnknownPeer)
	for _, by := range []*authority{foreign, nil} {
		stranger, err := dialTLS(by, mmeHost)
		if err == nil { // with TLS 1.3 the refusal comes after the client's handshake
			stranger.send(stranger.cer())
			_, err = readFrame(stranger.r, maxMessage)
		}
		require.Error(t, err)
	}
	plain, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = plain.Close() })
	clear := &client{t: t, Conn: plain, r: bufio.NewReader(plain), host: mmeHost}
	require.NoError(t, plain.SetDeadline(time.Now().Add(patience)))
	clear.send(clear.cer())
	clear.closed()
	requireResult(t, c.ask(c.air()), Success)

	err = TLSConfig{Listen: []string{"x"}}.validate()[0]
	require.EqualError(t, err, `tls.listen[0]: "x" is not IP:port`)
}
