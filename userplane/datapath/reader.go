package datapath

import (
	"errors"
	"iter"
	"net/netip"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// Reason is why a packet left the data path the way it did: enum reason of bpf/reason.h.
type Reason uint32

// ReasonCount is a reason with the packets that it took.
type ReasonCount struct {
	Reason  Reason
	Name    string // as in bpf/reason.h, in lower case without the prefix: "uplink_forwarded"
	Verdict string // "forward", "pass" (to the kernel) or "drop"
	Packets uint64
}

// EntryState is an entry as the kernel has it.
type EntryState struct {
	session.Entry
	session.Usage
}

// NextHop is where packets to a peer or to an instance's gateway leave, as last resolved.
type NextHop struct {
	Address  netip.Addr           // of the remote GTP-U peer or the gateway
	Instance pfcp.NetworkInstance // of a gateway; empty for a peer
	Resolved bool
	Port     string // interface name
	MAC      string // destination
	MTU      int    // octets of the IP packet on the wire
}

// Reader reads the pinned maps; no daemon need run. Its methods may be called concurrently, and beside a Datapath.
type Reader struct{}

// OpenReader opens what is pinned in pinDir, read-only. ErrNotPinned, ErrLayout.
func OpenReader(pinDir string) (*Reader, error) { return nil, errors.ErrUnsupported }

// Entries yields every entry, uplink before downlink, with its usage. An entry that changes meanwhile may be seen
// before or after.
func (r *Reader) Entries() iter.Seq[EntryState] { return func(func(EntryState) bool) {} }

// Reasons returns the count of every reason, in the order of the enum, zero counts too.
func (r *Reader) Reasons() ([]ReasonCount, error) { return nil, errors.ErrUnsupported }

// NextHops returns peers and gateways.
func (r *Reader) NextHops() ([]NextHop, error) { return nil, errors.ErrUnsupported }

// Close lets go of the maps.
func (r *Reader) Close() error { return nil }
