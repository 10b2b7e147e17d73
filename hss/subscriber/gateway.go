package subscriber

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
)

// Gateway is the identity of a PDN-GW that serves an APN of a SIM, TS 29.272 7.3.45: as the operator has fixed it, or as the
// SIM's node has notified it.
type Gateway struct {
	Host    string     `json:"host,omitempty"    yaml:"host"    doc:"name of the PGW's S8 interface, as the DNS has it (TS 23.003 19.4.3)"`
	Realm   string     `json:"realm,omitempty"   yaml:"realm"   doc:"realm that goes with the name: epc.mncNNN.mccNNN.3gppnetwork.org"`
	IPv4    netip.Addr `json:"ipv4,omitzero"     yaml:"ipv4"`
	IPv6    netip.Addr `json:"ipv6,omitzero"     yaml:"ipv6"`
	Network string     `json:"network,omitempty" yaml:"network" doc:"Visited-Network-Identifier: the network that the PGW is in, of one that a node has notified"`
}

// IsZero says that there is none.
func (g Gateway) IsZero() bool { return g == Gateway{} }

// identityPattern is a DiameterIdentity that is a domain name, RFC 6733 4.3.1.
var identityPattern = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$`)

const maxIdentity = 255 // octets of a domain name

func isIdentity(s string) bool { return len(s) <= maxIdentity && identityPattern.MatchString(s) }

// Validate says what is wrong with an identity, beginning with its key. Name and realm go together.
func (g Gateway) Validate() error {
	switch {
	case g.IsZero():
	case g.Host != "" && !isIdentity(g.Host):
		return fmt.Errorf("host: %q is no domain name", g.Host)
	case (g.Host == "") != (g.Realm == "") || g.Realm != "" && !isIdentity(g.Realm):
		return fmt.Errorf("realm: %q, want a domain name with the host, and none without", g.Realm)
	case g.IPv4.IsValid() && !g.IPv4.Is4():
		return fmt.Errorf("ipv4: %v is no IPv4 address", g.IPv4)
	case g.IPv6.IsValid() && (!g.IPv6.Is6() || g.IPv6.Is4In6()):
		return fmt.Errorf("ipv6: %v is no IPv6 address", g.IPv6)
	case g.Host == "" && !g.IPv4.IsValid() && !g.IPv6.IsValid():
		return errors.New("host: missing, or an address")
	case len(g.Network) > maxIdentity:
		return fmt.Errorf("network: %d characters, at most %d", len(g.Network), maxIdentity)
	}
	return nil
}
