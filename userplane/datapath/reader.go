package datapath

import (
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// Reason is why a packet left the data path the way it did: enum reason of bpf/reason.h.
type Reason uint32

// ReasonCount is a reason with the packets that it took.
type ReasonCount struct {
	Reason  Reason
	Name    string // as in bpf/reason.h, in lower case without the prefix: "uplink_forwarded"
	Packets uint64 // since the maps were made
}

// EntryState is an entry as the kernel has it.
type EntryState struct {
	session.Entry
	session.Usage

	// RuleUsages is what each rule of the entry has counted, when it stands in a set: there are several, or one with filters
	// or shared limits. Without set, Usage is that of the only one.
	RuleUsages []session.Usage
}

// UsageOf is what the rules of a PDR have counted in the entry; ok is false when none of it is there.
func (e *EntryState) UsageOf(match func(*session.Rule) bool) (u session.Usage, ok bool) {
	for i, r := range e.Rules {
		if !match(r) {
			continue
		}
		ok = true
		switch {
		case e.RuleUsages == nil:
			u = e.Usage
		case i < len(e.RuleUsages):
			u.Packets += e.RuleUsages[i].Packets
			u.Octets += e.RuleUsages[i].Octets
		}
	}
	return u, ok
}

// NextHop is where packets to a peer or to an instance's gateway leave, as last resolved.
type NextHop struct {
	Address  netip.Addr           // of the remote GTP-U peer or the gateway; zero: a route table has none now
	Local    netip.Addr           // of a peer: the slice that it sends to
	Instance pfcp.NetworkInstance // of a gateway; empty for a peer
	Table    uint32               // of the kernel: the gateway is that of its default route; 0: it is configured
	Resolved bool
	Port     string // interface name; its index when it has none here
	MAC      string // destination
	MTU      int    // octets of the IP packet on the wire
}

// Reader reads the pinned maps; no daemon need run. Its methods may be called concurrently, and beside a Datapath.
type Reader struct {
	tables  *tables
	reasons *ebpf.Map
	copies  *ebpf.Map // by outcome
	names   []string  // of reasons
	closers []func() error
}

func newReader(t *tables, maps *pgwuMaps) (*Reader, error) {
	names, err := reasonNames()
	if err != nil {
		return nil, err
	}
	return &Reader{tables: t, reasons: maps.Reasons, copies: maps.CopyOutcomes, names: names}, nil
}

// OpenReader opens what is pinned in pinDir. It never writes, but needs the right to: the kernel maps the memory of a
// BPF map only for those who have it. ErrNotPinned, ErrLayout.
func OpenReader(pinDir string) (_ *Reader, err error) {
	var maps pgwuMaps
	defer func() {
		if err != nil {
			err = errors.Join(err, maps.Close())
		}
	}()
	for name, m := range map[string]**ebpf.Map{
		pgwuMapAbout: &maps.About, pgwuMapBlocks: &maps.Blocks, pgwuMapDownlink: &maps.Downlink,
		pgwuMapDownlinkOrigin: &maps.DownlinkOrigin, pgwuMapInstances: &maps.Instances,
		pgwuMapNextHops: &maps.NextHops, pgwuMapPeers: &maps.Peers, pgwuMapPorts: &maps.Ports,
		pgwuMapReasons: &maps.Reasons, pgwuMapServices: &maps.Services, pgwuMapSlices: &maps.Slices, pgwuMapUplink: &maps.Uplink,
		pgwuMapUplinkOrigin: &maps.UplinkOrigin, pgwuMapTeids: &maps.Teids, pgwuMapHosts: &maps.Hosts,
		pgwuMapGrowths: &maps.Growths,
		pgwuMapRoutes:  &maps.Routes, pgwuMapRules: &maps.Rules, pgwuMapSetsSmall: &maps.SetsSmall,
		pgwuMapSetsMedium: &maps.SetsMedium, pgwuMapSetsLarge: &maps.SetsLarge, pgwuMapCells: &maps.Cells,
		pgwuMapCellOrigins: &maps.CellOrigins, pgwuMapLimits: &maps.Limits, pgwuMapMeters: &maps.Meters,
		pgwuMapMeterOrigins: &maps.MeterOrigins, pgwuMapGates: &maps.Gates, pgwuMapAccounts: &maps.Accounts, pgwuMapAccountOrigins: &maps.AccountOrigins,
		pgwuMapSpecials: &maps.Specials, pgwuMapCopyOutcomes: &maps.CopyOutcomes,
	} {
		*m, err = ebpf.LoadPinnedMap(filepath.Join(pinDir, name), nil)
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%w in %s", ErrNotPinned, pinDir)
		}
		if err != nil {
			return nil, fmt.Errorf("open pinned map %s: %w", name, err)
		}
	}
	t, err := mapTables(&maps, unix.PROT_READ)
	if err != nil {
		return nil, err
	}
	if t.about.Layout != pgwuLayoutLAYOUT {
		return nil, errors.Join(fmt.Errorf("%w: %d, not %d", ErrLayout, t.about.Layout, pgwuLayoutLAYOUT), t.unmap())
	}
	r, err := newReader(t, &maps)
	if err != nil {
		return nil, errors.Join(err, t.unmap())
	}
	r.closers = []func() error{t.unmap, maps.Close}
	return r, nil
}

// Entries yields every entry, uplink before downlink, with its usage. An entry that changes meanwhile may be seen
// before or after, and its Origin in between.
func (r *Reader) Entries() iter.Seq[EntryState] {
	return func(yield func(EntryState) bool) {
		for at, e := range r.tables.entries {
			if !yield(EntryState{e, r.tables.shownAt(at), r.tables.ruleUsages(at)}) {
				return
			}
		}
	}
}

// Reasons returns the count of every reason, in the order of the enum, zero counts too.
func (r *Reader) Reasons() ([]ReasonCount, error) {
	counts := make([]ReasonCount, len(r.names))
	for i, name := range r.names {
		var perCPU []uint64
		if err := r.reasons.Lookup(uint32(i), &perCPU); err != nil {
			return nil, fmt.Errorf("read the count of %s: %w", name, err)
		}
		counts[i] = ReasonCount{Reason: Reason(i), Name: name}
		for _, n := range perCPU {
			counts[i].Packets += n
		}
	}
	return counts, nil
}

// reasonNames reads enum reason from the program's BTF: there is no second list.
func reasonNames() ([]string, error) {
	spec, err := loadPgwu()
	if err != nil {
		return nil, fmt.Errorf("read the embedded program: %w", err)
	}
	var enum *btf.Enum
	if err := spec.Types.TypeByName("reason", &enum); err != nil {
		return nil, fmt.Errorf("find enum reason: %w", err)
	}
	names := make([]string, len(enum.Values))
	for _, v := range enum.Values {
		names[v.Value] = strings.ToLower(strings.TrimPrefix(v.Name, "REASON_"))
	}
	return names, nil
}

// NextHops returns the gateways of the network instances, then the peers.
func (r *Reader) NextHops() ([]NextHop, error) {
	var hops []NextHop
	for number := uint32(1); number < r.tables.about.Instances; number++ {
		in, ok := r.tables.names[number]
		if !ok {
			continue
		}
		gateway, gateway6 := in.gateways()
		if in.Table != 0 {
			var err error
			if gateway, gateway6, err = r.tables.gatewaysNow(number); err != nil {
				return nil, err
			}
		}
		hops = append(hops, r.nextHop(number, NextHop{Address: gateway, Instance: nameOf(in), Table: in.Table}))
		if gateway6 != gateway || in.Table != 0 {
			hops = append(hops, r.nextHop(r.tables.about.Instances+number, NextHop{Address: gateway6, Instance: nameOf(in), Table: in.Table}))
		}
	}
	for i, p := range r.tables.peers.slots {
		if key := peerOf(&p); i != noPeer && key.remote.IsValid() {
			hops = append(hops, r.nextHop(r.tables.peersHops()+uint32(i), NextHop{Address: key.remote, Local: key.local}))
		}
	}
	return hops, nil
}

func (r *Reader) nextHop(index uint32, n NextHop) NextHop {
	next := &r.tables.nextHops.slots[index]
	hop := next.Hops[atomic.LoadUint32(&next.Active)&1]
	if hop.Ifindex == 0 {
		return n
	}
	n.Resolved, n.MTU, n.MAC = true, int(hop.Mtu), net.HardwareAddr(hop.RemoteMac[:]).String()
	n.Port = fmt.Sprintf("%d", hop.Ifindex)
	if i, err := net.InterfaceByIndex(int(hop.Ifindex)); err == nil {
		n.Port = i.Name
	}
	return n
}

// Close lets go of the maps.
func (r *Reader) Close() error {
	var errs []error
	for _, close := range r.closers {
		errs = append(errs, close())
	}
	r.closers = nil
	return errors.Join(errs...)
}
