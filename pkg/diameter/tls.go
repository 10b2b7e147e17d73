package diameter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
)

// TLSConfig is for connections that speak TLS from the first octet, RFC 6733 13.1: those that we accept at Listen and those
// that we open to peers with tls. Both sides show a certificate, which must name their Origin-Host.
type TLSConfig struct {
	Listen      []string `yaml:"listen"`      // IP:port; none: no TLS for peers that connect; RFC 6733 11.4 has port 5658
	Certificate string   `yaml:"certificate"` // path of our certificate and its chain, PEM
	Key         string   `yaml:"key"`         // path of its key, PEM
	CA          string   `yaml:"ca"`          // path of the authorities whose certificates peers may show, PEM
}

// validate lists every fault, each beginning with its key; needed says that there are connections over TLS.
func (c TLSConfig) validate(needed bool) []error {
	if !needed {
		return nil
	}
	var faults []error
	for i, l := range c.Listen {
		if _, err := netip.ParseAddrPort(l); err != nil {
			faults = append(faults, fmt.Errorf("tls.listen[%d]: %q is not IP:port", i, l))
		}
	}
	for key, path := range map[string]string{"certificate": c.Certificate, "key": c.Key, "ca": c.CA} {
		if path == "" {
			faults = append(faults, fmt.Errorf("tls.%s: missing", key))
		}
	}
	return faults
}

// load reads the files.
func (c TLSConfig) load() (*tls.Config, error) {
	own, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return nil, fmt.Errorf("reading tls.certificate and tls.key: %w", err)
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("reading tls.ca: %w", err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls.ca: no certificate in %s", c.CA)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{own}, ClientCAs: authorities, RootCAs: authorities,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}, nil
}

// secure speaks TLS over a connection that we have opened. The peer's certificate must be of an authority of ours and name
// host.
func (n *Node) secure(ctx context.Context, nc net.Conn, host string) (net.Conn, error) {
	own := n.tls.Clone()
	own.ServerName = host
	t := tls.Client(nc, own)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("speaking TLS: %w", err)
	}
	return t, nil
}

// checkCertificate says whether a peer over TLS is who its CER says; any other connection has nothing to show.
func checkCertificate(nc net.Conn, host string) error {
	t, ok := nc.(*tls.Conn)
	if !ok {
		return nil
	}
	shown := t.ConnectionState().PeerCertificates
	if len(shown) == 0 {
		return &Error{Code: UnknownPeer, Err: errors.New("no certificate")}
	}
	if err := shown[0].VerifyHostname(host); err != nil {
		return &Error{Code: UnknownPeer, Err: fmt.Errorf("the certificate is another's: %w", err)}
	}
	return nil
}
