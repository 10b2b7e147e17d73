package diameter

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Config says who we are, where we listen and who may connect.
type Config struct {
	Identity   string       `yaml:"identity"`   // Origin-Host
	Realm      string       `yaml:"realm"`      // Origin-Realm
	Listen     []string     `yaml:"listen"`     // IP:port; the same for every transport
	Transports []string     `yaml:"transports"` // tcp, sctp
	TLS        TLSConfig    `yaml:"tls"`        // beside the transports, and for peers that we connect to over TLS
	Peers      []PeerConfig `yaml:"peers"`      // who may connect; nobody else

	Watchdog           time.Duration `yaml:"watchdog"`            // Tw of RFC 3539, at least 6 s
	CapabilitiesWithin time.Duration `yaml:"capabilities_within"` // from connection to CER
	WriteWithin        time.Duration `yaml:"write_within"`        // a peer that does not read for so long is cut off
	AnswerWithin       time.Duration `yaml:"answer_within"`       // for requests of our own
	ReconnectAfter     time.Duration `yaml:"reconnect_after"`     // Tc of RFC 6733 2.1, for peers that we connect to

	MaxStrangers int `yaml:"max_strangers"` // connections without a CER yet; beyond, the oldest is closed
	MaxPeers     int `yaml:"max_peers"`     // open peers
	Workers      int `yaml:"workers"`       // requests in work at once for one peer, those of a group as one; beyond, its socket is not read
}

// PeerConfig allows one peer, or several.
type PeerConfig struct {
	Host      string   `yaml:"host"`      // its Origin-Host, or *.domain for all below domain
	Realm     string   `yaml:"realm"`     // its Origin-Realm; "" any
	Addresses []string `yaml:"addresses"` // addresses or prefixes that it comes from; none: any
	Agent     bool     `yaml:"agent"`     // it brings requests of other hosts, and takes ours to them
	Routes    []string `yaml:"routes"`    // of an agent: realms of which any host is behind it, or * for all
	Rate      int      `yaml:"rate"`      // requests a second that it may send; beyond, they are answered 3004; 0: any number
	Connect   string   `yaml:"connect"`   // IP:port to connect to, over TCP; "": the peer connects to us
	TLS       bool     `yaml:"tls"`       // over TLS only, whoever connects
}

// label names the entry in metrics: what is not in the configuration has no series of its own.
func (p PeerConfig) label() string { return strings.ToLower(p.Host) }

// DefaultConfig returns the defaults. Identity, realm and peers have none.
func DefaultConfig() Config {
	return Config{
		Listen: []string{"0.0.0.0:3868"}, Transports: []string{"tcp", "sctp"},
		Watchdog: 30 * time.Second, CapabilitiesWithin: 10 * time.Second, WriteWithin: 5 * time.Second, AnswerWithin: 5 * time.Second,
		ReconnectAfter: 30 * time.Second,
		MaxStrangers:   256, MaxPeers: 256, Workers: 128,
	}
}

// Validate lists every fault, each beginning with its key.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !isIdentity(c.Identity) {
		fault("identity: %q is not a domain name", c.Identity)
	}
	if !isIdentity(c.Realm) {
		fault("realm: %q is not a domain name", c.Realm)
	}
	if len(c.Listen) == 0 {
		fault("listen: missing")
	}
	for i, l := range c.Listen {
		if _, err := netip.ParseAddrPort(l); err != nil {
			fault("listen[%d]: %q is not IP:port", i, l)
		}
	}
	if len(c.Transports) == 0 {
		fault("transports: missing")
	}
	for i, t := range c.Transports {
		if t != "tcp" && t != "sctp" {
			fault("transports[%d]: %q, want tcp or sctp", i, t)
		}
	}
	faults = append(faults, c.TLS.validate(c.needsTLS())...)
	for i, p := range c.Peers {
		if err := p.validate(); err != nil {
			fault("peers[%d].%w", i, err)
		}
		if p.TLS && p.Connect == "" && len(c.TLS.Listen) == 0 {
			fault("peers[%d].tls: the peer connects to us, and tls.listen is missing", i)
		}
	}
	if c.Watchdog < 6*time.Second {
		fault("watchdog: %v, at least 6s (RFC 3539 3.4.1)", c.Watchdog)
	}
	for key, d := range map[string]time.Duration{
		"capabilities_within": c.CapabilitiesWithin, "write_within": c.WriteWithin, "answer_within": c.AnswerWithin,
		"reconnect_after": c.ReconnectAfter,
	} {
		if d <= 0 {
			fault("%s: %v, want more than 0", key, d)
		}
	}
	for key, n := range map[string]int{"max_strangers": c.MaxStrangers, "max_peers": c.MaxPeers, "workers": c.Workers} {
		if n < 1 {
			fault("%s: %d, at least 1", key, n)
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(faults...)
}

// needsTLS says that certificates are needed.
func (c Config) needsTLS() bool {
	return len(c.TLS.Listen) > 0 || slices.ContainsFunc(c.Peers, func(p PeerConfig) bool { return p.TLS })
}

func (p PeerConfig) validate() error {
	if h := strings.TrimPrefix(p.Host, "*."); !isIdentity(h) {
		return fmt.Errorf("host: %q is not a domain name", p.Host)
	}
	if p.Realm != "" && !isIdentity(p.Realm) {
		return fmt.Errorf("realm: %q is not a domain name", p.Realm)
	}
	if len(p.Routes) > 0 && !p.Agent {
		return fmt.Errorf("routes: of a peer that is no agent")
	}
	for _, r := range p.Routes {
		if r != "*" && !isIdentity(r) {
			return fmt.Errorf("routes: %q is not a realm", r)
		}
	}
	if p.Rate < 0 {
		return fmt.Errorf("rate: %d, want 0 or more", p.Rate)
	}
	if p.Connect != "" {
		if _, err := netip.ParseAddrPort(p.Connect); err != nil {
			return fmt.Errorf("connect: %q is not IP:port", p.Connect)
		}
		if strings.HasPrefix(p.Host, "*") {
			return fmt.Errorf("connect: needs one host, not %s", p.Host)
		}
	}
	for _, a := range p.Addresses {
		if _, err := parsePrefix(a); err != nil {
			return fmt.Errorf("addresses: %q is neither an address nor a prefix", a)
		}
	}
	return nil
}

func isIdentity(s string) bool {
	if s == "" || len(s) > maxIdentity {
		return false
	}
	for l := range strings.SplitSeq(s, ".") {
		if l == "" || strings.Trim(strings.ToLower(l), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("prefix %q: %w", s, err)
	}
	return p.Masked(), nil
}

// allowed returns the entry by which a peer of that identity may come from that address. Identities are compared without
// case.
func (c Config) allowed(host, realm string, from netip.Addr) (PeerConfig, bool) {
	i := slices.IndexFunc(c.Peers, func(p PeerConfig) bool {
		return p.isHost(host) && (p.Realm == "" || strings.EqualFold(p.Realm, realm)) && p.isAddress(from)
	})
	if i < 0 {
		return PeerConfig{}, false
	}
	return c.Peers[i], true
}

func (p PeerConfig) isHost(host string) bool {
	if domain, ok := strings.CutPrefix(p.Host, "*"); ok {
		return len(host) > len(domain) && strings.EqualFold(host[len(host)-len(domain):], domain)
	}
	return strings.EqualFold(p.Host, host)
}

func (p PeerConfig) isAddress(from netip.Addr) bool {
	if len(p.Addresses) == 0 {
		return true
	}
	return slices.ContainsFunc(p.Addresses, func(s string) bool {
		prefix, err := parsePrefix(s)
		return err == nil && prefix.Contains(from.Unmap())
	})
}

// knownAddress says whether anybody may come from that address.
func (c Config) knownAddress(from netip.Addr) bool {
	return slices.ContainsFunc(c.Peers, func(p PeerConfig) bool { return p.isAddress(from) })
}
