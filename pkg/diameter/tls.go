package diameter

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
)

// TLSConfig is for peers that speak TLS from the first octet, RFC 6733 13.1. Both sides show a certificate.
type TLSConfig struct {
	Listen      []string `yaml:"listen"`      // IP:port; none: no TLS; RFC 6733 11.4 has port 5658
	Certificate string   `yaml:"certificate"` // path of our certificate and its chain, PEM
	Key         string   `yaml:"key"`         // path of its key, PEM
	ClientCA    string   `yaml:"client_ca"`   // path of the authorities whose certificates peers may show, PEM
}

// validate lists every fault, each beginning with its key.
func (c TLSConfig) validate() []error {
	if len(c.Listen) == 0 {
		return nil
	}
	var faults []error
	for i, l := range c.Listen {
		if _, err := netip.ParseAddrPort(l); err != nil {
			faults = append(faults, fmt.Errorf("tls.listen[%d]: %q is not IP:port", i, l))
		}
	}
	for key, path := range map[string]string{"certificate": c.Certificate, "key": c.Key, "client_ca": c.ClientCA} {
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
	pem, err := os.ReadFile(c.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("reading tls.client_ca: %w", err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls.client_ca: no certificate in %s", c.ClientCA)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{own}, ClientCAs: authorities, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}, nil
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
