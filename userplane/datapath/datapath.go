// Package datapath owns the XDP program and its maps: it puts compiled entries into the kernel, keeps the next hops
// resolved, and reads back what was counted. It knows entries, never rules or PFCP messages, and it is the only
// importer of cilium/ebpf.
//
// The maps and the links are pinned on a bpffs, so that packets are forwarded while no daemon runs. Open adopts
// what it finds there; Close leaves it there; Remove takes it away.
package datapath

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"math/bits"
	"net/netip"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// Errors returned by Open, OpenReader, Apply and Usage.
var (
	ErrLayout          = errors.New("pinned maps have another layout")
	ErrNotPinned       = errors.New("no pinned maps")
	ErrTableFull       = errors.New("table full")
	ErrSlotTaken       = errors.New("the TEID's slot holds another TEID")
	ErrUnknownSlice    = errors.New("no slice has this address")
	ErrUnknownInstance = errors.New("no such network instance")
	ErrUnsupported     = errors.New("the data path cannot do this")
	ErrNoEntry         = errors.New("no such entry")
)

// blockSize is the number of downlink slots of a UE address block: a /24.
const blockSize = 256

// SlotBits is how many low bits of a TEID are the slot in a slice of teids TEIDs. The bits above are a generation:
// the data path compares the whole TEID. TEID 0 is never to be used.
func SlotBits(teids int) int { return slotBits(teids) }

func slotBits(n int) int { return bits.Len(uint(max(n, 1) - 1)) }

// Event tells of a packet that somebody should hear of. Events are hints: under load some are lost, the reason
// counters are not.
type Event struct {
	Reason     Reason
	TEID       pfcp.TEID
	Remote     netip.Addr // outer source
	RemotePort uint16     // UDP source port
	Local      netip.Addr // outer destination: the slice
}

// Repairs counts what Reconcile found different from the sessions and put right.
type Repairs struct {
	Added, Changed, Removed int
}

// Datapath is the running data path. Its methods may be called concurrently.
type Datapath struct{}

// Open makes the maps and attaches the program, or adopts both from cfg.PinDir without losing a packet or a count.
// It mounts a bpffs at the nearest parent named "bpf" when none is there. ErrLayout: what is pinned was made by a program
// with another layout or with other sizes; Remove it first, which ends the forwarding.
func Open(cfg Config, log *slog.Logger) (*Datapath, error) { return nil, errors.ErrUnsupported }

// Run keeps next hops resolved and hands events to onEvent, from one goroutine, until ctx is done.
func (d *Datapath) Run(ctx context.Context, onEvent func(Event)) error { return errors.ErrUnsupported }

// Apply makes all of changes or nothing: ErrTableFull, ErrSlotTaken, ErrUnknownSlice, ErrUnknownInstance,
// ErrUnsupported. Puts are in the kernel before deletes; a put of a key that is there keeps its counters; the
// delete of a key that is not there is nothing.
func (d *Datapath) Apply(changes session.Changes) error { return errors.ErrUnsupported }

// Usage is what the entries of keys have counted, in their order. ErrNoEntry when one is not there.
func (d *Datapath) Usage(keys []session.Key) ([]session.Usage, error) {
	return nil, errors.ErrUnsupported
}

// Reconcile makes the tables equal to want: what is missing is added, what differs is rewritten with its counters
// kept, what nobody wants is removed; entries that are right are not touched.
func (d *Datapath) Reconcile(want iter.Seq[session.Entry]) (Repairs, error) {
	return Repairs{}, errors.ErrUnsupported
}

// Close lets go of maps and links and leaves them pinned: packets are still forwarded.
func (d *Datapath) Close() error { return nil }

// Remove detaches the program from its ports and removes everything pinned in pinDir. Nothing there is no error.
func Remove(pinDir string) error { return errors.ErrUnsupported }

// Reader reads the same maps; it is valid until d is closed, and need not be closed itself.
func (d *Datapath) Reader() *Reader { return nil }
