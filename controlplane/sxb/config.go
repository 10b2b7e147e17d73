// Package sxb owns the PFCP edge of the PGW-C (TS 29.244, CP role): the associations with its PGW-Us, their
// heartbeats, and the session requests sent to them. It knows no PDN connection and chooses no PGW-U.
package sxb

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
)

// Config is what an Sxb is made with.
type Config struct {
	Listen            netip.AddrPort         // UDP; one address, since it stands in the CP F-SEID
	NodeID            pfcp.NodeID            // ours; zero: the listen address
	RecoveryTimeStamp pfcp.RecoveryTimeStamp // ours: durable, changes only when sessions were lost
	Nodes             []NodeConfig           // the PGW-Us; others are refused
	HeartbeatInterval time.Duration          // between our Heartbeat Requests to a node that sends none itself
	T1                time.Duration          // wait before a request is sent again, TS 29.244 6.4
	N1                int                    // retransmissions before a request has failed, TS 29.244 6.4
	RetryMin          time.Duration          // from a failed Association Setup to the next one; doubles each time
	RetryMax          time.Duration          // bound of that doubling
	ReleaseOnStop     bool                   // release the associations at a graceful stop: the PGW-Us drop all sessions
	ReleaseTimeout    time.Duration          // wait for the answers to that
}

// NodeConfig is a PGW-U.
type NodeConfig struct {
	Name    string         // unique; in events, tables and logs
	Address netip.AddrPort // of its PFCP; a node may send from any port of the address
}

// DefaultConfig returns the values that suit most networks; Listen, NodeID, RecoveryTimeStamp and Nodes are the
// caller's.
func DefaultConfig() Config {
	return Config{
		HeartbeatInterval: 10 * time.Second,
		T1:                3 * time.Second,
		N1:                3,
		RetryMin:          time.Second,
		RetryMax:          30 * time.Second,
		ReleaseOnStop:     true,
		ReleaseTimeout:    2 * time.Second,
	}
}

// Validate returns all that is wrong with c.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !c.Listen.Addr().IsValid() || c.Listen.Addr().IsUnspecified() {
		fault("listen: one address is wanted, not %v", c.Listen)
	}
	for key, d := range map[string]time.Duration{
		"heartbeat interval": c.HeartbeatInterval, "t1": c.T1, "retry min": c.RetryMin, "retry max": c.RetryMax,
		"release timeout": c.ReleaseTimeout,
	} {
		if d <= 0 {
			fault("%s: %v is not above 0", key, d)
		}
	}
	if c.N1 < 0 {
		fault("n1: %d is below 0", c.N1)
	}
	if c.RetryMax < c.RetryMin {
		fault("retry max: %v is below retry min, %v", c.RetryMax, c.RetryMin)
	}
	names, addresses := make(map[string]bool), make(map[netip.Addr]bool)
	for i, n := range c.Nodes {
		switch addr := n.Address.Addr().Unmap(); {
		case n.Name == "":
			fault("nodes[%d]: no name", i)
		case names[n.Name]:
			fault("nodes[%d]: a second node of the name %q", i, n.Name)
		case !addr.IsValid() || addr.IsUnspecified() || n.Address.Port() == 0:
			fault("nodes[%d]: %v is no address to send to", i, n.Address)
		case addresses[addr]:
			fault("nodes[%d]: a second node at %v", i, addr)
		default:
			names[n.Name], addresses[addr] = true, true
		}
	}
	return errors.Join(faults...)
}
