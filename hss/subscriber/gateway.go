package subscriber

import "net/netip"

// Gateway is the identity of the PDN-GW that serves an APN of a SIM, as its node has notified it, TS 29.272 7.3.45.
type Gateway struct {
	Host      string       `json:"host,omitempty"`
	Realm     string       `json:"realm,omitempty"`
	Addresses []netip.Addr `json:"addresses,omitempty"`
}

// IsZero says that there is none.
func (g Gateway) IsZero() bool { return g.Host == "" && len(g.Addresses) == 0 }
