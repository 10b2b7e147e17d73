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

// config is that of a node with a certificate of the authority's.
func (a *authority) config(host string) TLSConfig {
	a.t.Helper()
	der, key := a.sign(host, false)
	octets, err := x509.MarshalECPrivateKey(key)
	require.NoError(a.t, err)
	return TLSConfig{
		Certificate: a.file("cert", "CERTIFICATE", der), Key: a.file("key", "EC PRIVATE KEY", octets), CA: a.file("ca", "CERTIFICATE", a.cert.Raw),
	}
}

// peer is the configuration of a peer by hand: with a certificate of by's, if that is not nil.
func (a *authority) peer(by *authority, host string) *tls.Config {
	a.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	conf := &tls.Config{RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, ServerName: ourHost}
	if by != nil {
		der, key := by.sign(host, false)
		conf.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	}
	return conf
}

func TestTLS(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	cfg := testConfig()
	cfg.TLS = ours.config(ourHost)
	cfg.TLS.Listen = []string{"127.0.0.1:0"}
	cfg.Peers = append([]PeerConfig{{Host: "mme3.visited.example", TLS: true}}, cfg.Peers...)
	require.NoError(t, cfg.Validate())
	n, plainAddress := start(t, cfg, answerNothing)
	address := n.Addresses()[1]
	dialTLS := func(by *authority, host string) (*client, error) {
		nc, err := tls.Dial("tcp", address, ours.peer(by, host))
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

	downgraded := dial(t, plainAddress)
	requireResult(t, downgraded.ask(downgraded.cerOf("mme3.visited.example")), NoCommonSecurity)
	secured, err := dialTLS(ours, "mme3.visited.example")
	require.NoError(t, err)
	require.NoError(t, secured.ask(secured.cerOf("mme3.visited.example")).Err())
}

func TestTLSConfigFaults(t *testing.T) {
	cfg := testConfig()
	cfg.TLS.Listen = []string{"x"}
	cfg.Peers = append(cfg.Peers, PeerConfig{Host: "mme3.visited.example", TLS: true})
	err := cfg.Validate()
	for _, fault := range []string{`tls.listen[0]: "x" is not IP:port`, "tls.certificate: missing", "tls.key: missing", "tls.ca: missing"} {
		require.ErrorContains(t, err, fault)
	}
	cfg.TLS = TLSConfig{Certificate: "c", Key: "k", CA: "a"}
	require.EqualError(t, cfg.Validate(), "peers[1].tls: the peer connects to us, and tls.listen is missing")
	cfg.Peers[1].Connect = "10.0.0.1:5658"
	require.NoError(t, cfg.Validate())
}

// We connect over TLS: to who shows a certificate of an authority of ours with the name of the peer, and to nobody else.
func TestWeConnectOverTLS(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	const dra = "dra1.visited.example"
	rows := map[string]struct {
		by   *authority
		host string
		open bool
	}{
		"the peer":                         {ours, dra, true},
		"another with a certificate":       {ours, "dra2.visited.example", false},
		"one of an authority that is none": {foreign, dra, false},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer func() { _ = l.Close() }()
			cfg := testConfig()
			cfg.TLS = ours.config(ourHost)
			cfg.Peers = []PeerConfig{{Host: dra, Realm: mmeRealm, Agent: true, Connect: l.Addr().String(), TLS: true}}
			require.NoError(t, cfg.Validate())
			n, _ := start(t, cfg, answerNothing)
			raw, err := l.Accept()
			require.NoError(t, err)
			defer func() { _ = raw.Close() }()
			require.NoError(t, raw.SetDeadline(time.Now().Add(patience)))
			nc := tls.Server(raw, ours.peer(row.by, row.host))
			c := &client{t: t, Conn: nc, r: bufio.NewReader(nc), host: dra}
			if !row.open {
				_, err := readFrame(c.r, maxMessage)
				require.Error(t, err, "no CER comes")
				require.Empty(t, n.Peers())
				return
			}
			cer := c.receive()
			require.NoError(t, nc.ConnectionState().PeerCertificates[0].VerifyHostname(ourHost))
			c.answerCER(cer)
			requireResult(t, c.ask(c.air()), Success)
			require.Equal(t, "tls", n.Peers()[0].Transport)
		})
	}
}
