// Package datapath owns the XDP program and its maps: it puts compiled entries into the kernel, keeps the next hops
// resolved, and reads back what was counted. It knows entries, never rules or PFCP messages, and it is the only
// importer of cilium/ebpf.
//
// The maps and the links are pinned on a bpffs, so that packets are forwarded while no daemon runs. Open adopts
// what it finds there; Close leaves it there; Remove takes it away.
package datapath

import (
	"errors"
	"log/slog"
	"math/bits"
	"net/netip"
	"os"
	"sync"

	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
	"github.com/xepc/xepc/userplane/slots"
)

// Errors returned by Open, OpenReader, Apply and Usage.
var (
	ErrLayout          = errors.New("pinned maps have another layout")
	ErrNotPinned       = errors.New("no pinned maps")
	ErrTableFull       = errors.New("table full")
	ErrSlotTaken       = errors.New("in use")
	ErrUnknownSlice    = errors.New("no slice has this address")
	ErrUnknownInstance = errors.New("no such network instance")
	ErrInvalid         = errors.New("not a possible entry") // session.Compile makes none
	ErrNoEntry         = errors.New("no such entry")
)

// blockSize is the number of downlink slots of a UE address block: a /24, or the /64s of a /56.
const blockSize = 256

// SlotBits is how many low bits of a TEID are the slot in a slice of teids TEIDs. The bits above are a generation:
// the data path compares the whole TEID. TEID 0 is never to be used.
func SlotBits(teids int) int { return slotBits(teids) }

func slotBits(n int) int { return bits.Len(uint(max(n, 1) - 1)) }

// EventKind is what an event tells of.
type EventKind uint32

// Values of EventKind.
const (
	EventUnknownTEID = EventKind(pgwuEventKindEVENT_UNKNOWN_TEID) // calls for an Error Indication, TS 29.281 7.3.1
	EventThreshold   = EventKind(pgwuEventKindEVENT_THRESHOLD)    // a volume threshold is reached
	EventQuota       = EventKind(pgwuEventKindEVENT_QUOTA)        // a packet was dropped: a volume quota is used up
	EventWatch       = EventKind(pgwuEventKindEVENT_WATCH)        // an entry has counted what its session wanted to hear of
	EventBuffered    = EventKind(1<<16 + 1)                       // a packet whose rule buffers or drains: Return gives it back
	EventCopy        = EventKind(1<<16 + 2)                       // a duplicate, to be sent into a tunnel
	EventFence       = EventKind(1<<16 + 3)                       // all packets from before a session drained were told of
	EventFragment    = EventKind(1<<16 + 4)                       // a packet to be sent into a tunnel in fragments of its outer packet
	EventRouted      = EventKind(1<<16 + 5)                       // a packet to be sent to a network in fragments
	EventEndMarker   = EventKind(1 << 16)                         // the last packet of before has left: send it now
)

// Limit says which of a cell's limits was reached.
type Limit uint8

// Values of Limit.
const (
	LimitUplink   = Limit(pgwuLimitedLIMITED_UPLINK)
	LimitDownlink = Limit(pgwuLimitedLIMITED_DOWNLINK)
	LimitTotal    = Limit(pgwuLimitedLIMITED_TOTAL)
)

// Event tells of something that somebody should hear of. Those that packets cause are hints: under load some are lost,
// while counters and limits are not; Exceeded finds what was lost.
type Event struct {
	Kind   EventKind
	Cell   session.CellID // of a threshold or quota
	Limit  Limit
	Tunnel session.Tunnel // of an end marker, of what is to be sent into a tunnel
	ToS    uint8          // of its outer header
	Exit   Exit           // of what is to be sent to a network
	QFI    pfcp.Opt[uint8]

	SEID pfcp.SEID // whose it is, but for copies, end markers and unknown TEIDs

	// A buffered packet, and what is to be sent: that is valid until onEvent returns.
	session.Parked

	// Of an unknown TEID.
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
type Datapath struct {
	cfg     Config
	log     *slog.Logger
	lock    *os.File // of cfg.PinDir
	objects pgwuObjects
	links   map[int]link.Link // by interface index
	ns      netns.NsHandle
	netlink *netlink.Handle
	reader  *Reader

	resolving      sync.Mutex // of the two below; before mu
	routeTables    *routeReader
	instanceTables []routeTable // those that network instances name

	injector *injector
	visits   *visitor

	mu            sync.Mutex        // of all below
	portKeys      map[uint64]bool   // of the configured ports in the directory
	devices       map[Port]string   // of ports that are VLANs
	plugged       map[string]int    // ports by name: interface index; 0 while there is none
	unusable      map[string]string // why the interface of a port cannot be used
	accessDevices map[int]bool      // by interface index: the kernel's devices with the addresses of access ports
	tables        *tables
	grace         *grace
	hops          *hops
	shown         map[uint32]pgwuInstance // by number: what the map says
	blockPool     *pool
	blockKeys     []uint64       // by block: its key in the directory; 0: none
	sweep         uint           // calls of Exceeded
	singles       slots.Set      // of downlink: slots of UEs that the directory of hosts leads to
	singlesIn     map[uint64]int // how many of them are in a /24 or /56, by its key
	free          [2]slots.Set   // of uplink and downlink: slots without entry that do not rest
	routes        map[route]uint32
	framed        map[uint32][]route // by slot
	peerPool      *pool
	peerKeys      []peerKey // by index
	peerIndex     map[peerKey]uint32

	rules, meters, cells, limits *slab
	sets                         [3]*slab
	accounts, specials           *slab
	accountRefs                  map[uint32]int // rules that count in an account: those of the set before too, while it is replaced
	meterIndex                   map[session.MeterID]*sharedMeter
	cellIndex                    map[session.CellID]uint32

	drains    map[place]*drain // entries that drain
	gateUsers map[uint32]int   // how many of them, by index of gates
	fences    []pfcp.SEID      // sessions that want to hear when programs are done that saw the entries of before
	flushing  []pfcp.SEID      // the same, when they have parked what came to them
	parking   *ringbuf.Reader

	ends     []session.Tunnel // that want an end marker when programs are done
	endsKick chan struct{}
}

// Close lets go of maps and links and leaves them pinned: packets are still forwarded. Run must have returned.
func (d *Datapath) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, l := range d.links {
		errs = append(errs, l.Close())
	}
	clear(d.links)
	if d.injector != nil {
		errs = append(errs, d.injector.close())
		d.injector = nil
	}
	if d.netlink != nil {
		d.netlink.Close()
		d.netlink = nil
	}
	if d.routeTables != nil {
		d.routeTables.close()
		d.routeTables = nil
	}
	if d.ns.IsOpen() {
		errs = append(errs, d.ns.Close())
	}
	if d.tables != nil {
		errs = append(errs, d.tables.unmap())
		d.tables = nil
	}
	if d.objects.Pgwu != nil {
		errs = append(errs, d.objects.Close())
		d.objects = pgwuObjects{}
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
		d.lock = nil
	}
	return errors.Join(errs...)
}

// Reader reads the same maps; it is valid until d is closed, and need not be closed itself.
func (d *Datapath) Reader() *Reader { return d.reader }
