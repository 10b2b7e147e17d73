package datapath

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// tables are the maps as their readers use them: mapped into memory, with the names that stand in them.
type tables struct {
	uplink         table[pgwuEntry]
	downlink       table[pgwuEntry]
	uplinkOrigin   table[pgwuOrigin]
	downlinkOrigin table[pgwuOrigin]
	slices         directory
	services       table[pgwuService]
	teids          directory
	blocks         directory
	hosts          directory
	growths        table[pgwuGrowth] // of teids and hosts
	ports          directory
	peers          table[pgwuPeer]
	nextHops       table[pgwuNextHop]
	rules          table[pgwuRule]
	accounts       table[pgwuAccount]
	accountOrigins table[pgwuOrigin]
	specials       table[pgwuSpecial]
	small          table[pgwuSetSmall]
	medium         table[pgwuSetMedium]
	large          table[pgwuSetLarge]
	cells          table[pgwuUsageCell]
	cellOrigins    table[pgwuCellOrigin]
	limits         table[pgwuLimits]
	meters         table[pgwuSharedMeter]
	meterOrigins   table[pgwuMeterOrigin]
	gates          table[pgwuGate]

	instanceMap *ebpf.Map
	routeMap    *ebpf.Map
	about       pgwuAbout
	names       map[uint32]pgwuInstance         // by number
	numbers     map[pfcp.NetworkInstance]uint32 // by name
	mapped      []func() error                  // that unmap
}

// mapInto maps m into memory as *t.
func mapInto[T any](all *tables, t *table[T], m *ebpf.Map, protection int) error {
	mapped, err := mapTable[T](m, protection)
	if err != nil {
		return err
	}
	*t = mapped
	all.mapped = append(all.mapped, t.unmap)
	return nil
}

func mapTables(maps *pgwuMaps, protection int) (*tables, error) {
	t := &tables{slices: directory{fronted: true}, ports: directory{fronted: true}, blocks: directory{near: true}, instanceMap: maps.Instances, routeMap: maps.Routes}
	err := errors.Join(
		mapInto(t, &t.uplink, maps.Uplink, protection),
		mapInto(t, &t.downlink, maps.Downlink, protection),
		mapInto(t, &t.uplinkOrigin, maps.UplinkOrigin, protection),
		mapInto(t, &t.downlinkOrigin, maps.DownlinkOrigin, protection),
		mapInto(t, &t.slices.table, maps.Slices, protection),
		mapInto(t, &t.services, maps.Services, protection),
		mapInto(t, &t.teids.table, maps.Teids, protection),
		mapInto(t, &t.blocks.table, maps.Blocks, protection),
		mapInto(t, &t.hosts.table, maps.Hosts, protection),
		mapInto(t, &t.growths, maps.Growths, protection),
		mapInto(t, &t.ports.table, maps.Ports, protection),
		mapInto(t, &t.peers, maps.Peers, protection),
		mapInto(t, &t.nextHops, maps.NextHops, protection),
		mapInto(t, &t.rules, maps.Rules, protection),
		mapInto(t, &t.accounts, maps.Accounts, protection),
		mapInto(t, &t.accountOrigins, maps.AccountOrigins, protection),
		mapInto(t, &t.specials, maps.Specials, protection),
		mapInto(t, &t.small, maps.SetsSmall, protection),
		mapInto(t, &t.medium, maps.SetsMedium, protection),
		mapInto(t, &t.large, maps.SetsLarge, protection),
		mapInto(t, &t.cells, maps.Cells, protection),
		mapInto(t, &t.cellOrigins, maps.CellOrigins, protection),
		mapInto(t, &t.limits, maps.Limits, protection),
		mapInto(t, &t.meters, maps.Meters, protection),
		mapInto(t, &t.meterOrigins, maps.MeterOrigins, protection),
		mapInto(t, &t.gates, maps.Gates, protection),
	)
	if err != nil {
		return nil, errors.Join(err, t.unmap())
	}
	t.teids.growBy(&t.growths.slots[0].Teids)
	t.hosts.growBy(&t.growths.slots[0].Hosts)
	if err := maps.About.Lookup(uint32(0), &t.about); err != nil {
		return nil, errors.Join(fmt.Errorf("read %v: %w", maps.About, err), t.unmap())
	}
	if err := t.loadInstances(); err != nil {
		return nil, errors.Join(err, t.unmap())
	}
	return t, nil
}

func (t *tables) unmap() error {
	var errs []error
	for _, unmap := range t.mapped {
		errs = append(errs, unmap())
	}
	t.mapped = nil
	return errors.Join(errs...)
}

// loadInstances reads the numbers of the network instances anew.
func (t *tables) loadInstances() error {
	t.names, t.numbers = map[uint32]pgwuInstance{}, map[pfcp.NetworkInstance]uint32{}
	for number := uint32(1); number < t.instanceMap.MaxEntries(); number++ {
		var in pgwuInstance
		if err := t.instanceMap.Lookup(number, &in); err != nil {
			return fmt.Errorf("read network instance %d: %w", number, err)
		}
		if in.Length != 0 && int(in.Length) <= len(in.Name) {
			t.names[number] = in
			t.numbers[nameOf(in)] = number
		}
	}
	return nil
}

// gatewaysNow are those that the default routes of an instance's route table lead to; zero: none.
func (t *tables) gatewaysNow(number uint32) (gateway, gateway6 netip.Addr, err error) {
	var in pgwuInstance
	if err := t.instanceMap.Lookup(number, &in); err != nil {
		return gateway, gateway6, fmt.Errorf("read network instance %d: %w", number, err)
	}
	if in.Gateway != 0 {
		gateway = fromWire(in.Gateway)
	}
	if in.Gateway6 != [2]uint64{} {
		gateway6 = fromHalves(in.Gateway6)
	}
	return gateway, gateway6, nil
}

func nameOf(in pgwuInstance) pfcp.NetworkInstance {
	return pfcp.NetworkInstance(in.Name[:in.Length])
}

// entry is what a place holds.
func (t *tables) entry(at place) *pgwuEntry {
	return &t.table(at).slots[at.index]
}

func (t *tables) table(at place) *table[pgwuEntry] {
	if at.kind == placeUplink {
		return &t.uplink
	}
	return &t.downlink
}

// keyAt is the key that a place holds, as it stands in packets; 0: free.
func (t *tables) keyAt(at place) uint32 { return atomic.LoadUint32(&t.entry(at).Key) }

func (t *tables) usageAt(at place) session.Usage { return loadUsage(&t.entry(at).Usage) }

// shownAt is what a place has counted, for people: rules that count in cells have it there, or in their accounts.
func (t *tables) shownAt(at place) session.Usage {
	u, e := t.usageAt(at), t.entry(at)
	switch w := loadWord(&e.Word); {
	case w.Flags&flagSet != 0:
		var rules session.Usage
		for _, r := range t.ruleUsages(at) {
			rules.Packets, rules.Octets = rules.Packets+r.Packets, rules.Octets+r.Octets
		}
		if rules.Packets > u.Packets { // while it is celled; else u has those that are gone, too
			return rules
		}
	case w.Flags&flagCelled != 0 && int(e.Cell) < len(t.cells.slots):
		v := t.volume(e.Cell)
		if at.kind == placeUplink && w.Flags&flagTunnel == 0 {
			u.Packets, u.Octets = u.Packets+v.UplinkPackets, u.Octets+v.UplinkOctets
		} else {
			u.Packets, u.Octets = u.Packets+v.DownlinkPackets, u.Octets+v.DownlinkOctets
		}
	}
	return u
}

func loadUsage(u *pgwuUsage) session.Usage {
	return session.Usage{Packets: atomic.LoadUint64(&u.Packets), Octets: atomic.LoadUint64(&u.Octets)}
}

func (t *tables) origin(at place) *pgwuOrigin {
	if at.kind == placeUplink {
		return &t.uplinkOrigin.slots[at.index]
	}
	return &t.downlinkOrigin.slots[at.index]
}

// identity is what key and prefix of an entry are, by which the program knows it.
func (t *tables) identity(key session.Key) (wire uint32, prefix uint64) {
	number := t.numbers[key.Instance]
	switch {
	case byTEID(key):
		return teidOnWire(key.TEID), 0
	case isRouted(key):
		return keyRouted, 0
	case key.UE.Addr().Is6():
		return keyPrefix6 | number<<8, upperHalf(key.UE.Addr())
	}
	return onWire(key.UE.Addr()), uint64(number)
}

// holds says whether a place holds the entry of that key.
func (t *tables) holds(at place, key session.Key) bool {
	wire, prefix := t.identity(key)
	return t.keyAt(at) == wire && (byTEID(key) || t.entry(at).Prefix == prefix)
}

// ueAt is whose entry a place of downlink holds, or has just held, by its key; false when it is nobody's or has been found
// by the longest prefix.
func (t *tables) ueAt(at place, key uint32) (instance uint32, ue netip.Prefix, ok bool) {
	prefix := t.entry(at).Prefix
	switch {
	case key == 0 || key == keyRouted:
		return 0, ue, false
	case key&0xff == keyPrefix6:
		return key >> 8, prefix64(prefix), true
	}
	return uint32(prefix), session.UE(fromWire(key)), true
}

// isRouted says whether the key's entry is found by the longest prefix: it is that of neither an IPv4 address that a UE may
// have (RFC 1112 4) nor an IPv6 /64.
func isRouted(key session.Key) bool {
	if byTEID(key) || isPrefix6(key.UE) {
		return false
	}
	return !isHost4(key.UE) || key.UE.Addr().As4()[0] >= 240
}

// isPrefix6 says whether a UE's prefix is the one that IPv6 UEs have: found by a directory, not by the longest prefix.
func isPrefix6(p netip.Prefix) bool { return p.Addr().Is6() && p.Bits() == 64 }

// set is the rule set that a word leads to: its filters.
func (t *tables) set(w pgwuWord) []pgwuFilter {
	index, count := w.Value&(1<<setClassShift-1), int(w.To)
	switch w.Value >> setClassShift {
	case 0:
		return t.small.slots[index].Filters[:min(count, setSmall)]
	case 1:
		return t.medium.slots[index].Filters[:min(count, setMedium)]
	default:
		return t.large.slots[index].Filters[:min(count, setLarge)]
	}
}

// rulesOf are the indices of a set's rules, in their order.
func (t *tables) rulesOf(filters []pgwuFilter) (rules []uint32) {
	for _, f := range filters {
		if !slices.Contains(rules, f.Rule) {
			rules = append(rules, f.Rule)
		}
	}
	return rules
}

// rule decodes what a word says. The word of an entry or of a rule; not of one that leads to a set.
func (t *tables) rule(w pgwuWord) session.Rule {
	r := session.Rule{
		Action:     actionOf(w.Flags),
		GateClosed: w.Flags&uint16(pgwuEntryFlagENTRY_GATE_CLOSED) != 0,
	}
	if w.Flags&flagTunnel == 0 {
		r.Instance = nameOf(t.names[uint32(w.To)])
		return r
	}
	r.RemoteTEID, r.KeepHeader = pfcp.TEID(teidOnWire(pfcp.TEID(w.Value))), w.Flags&uint16(pgwuEntryFlagENTRY_WHOLE) != 0
	if int(w.To) < len(t.peers.slots) {
		key := peerOf(&t.peers.slots[w.To])
		r.Local, r.Remote = key.local, key.remote
		if key.tos != 0 {
			r.Marking = pfcp.Some(uint16(key.tos)<<8 | 0xff)
		}
		if key.qfi != noQFI {
			r.QFI = pfcp.Some(key.qfi)
		}
	}
	return r
}

func (t *tables) cellID(index uint32) session.CellID {
	o := t.cellOrigins.slots[index]
	return session.CellID{SEID: pfcp.SEID(o.Seid), URRID: pfcp.URRID(o.UrrId), Dropped: o.Drops&uint32(pgwuCellDropsCELL_FAR_DROPS) != 0}
}

func (t *tables) meterID(index uint32) session.MeterID {
	o := t.meterOrigins.slots[index]
	return session.MeterID{
		SEID: pfcp.SEID(o.Seid), QERID: pfcp.QERID(o.QerId), Owner: o.Owner, Correlation: o.Correlation,
		Direction: session.Direction(o.Direction),
	}
}

// decode reads the entry at a place into e, whose key is set; false when it is free.
func (t *tables) decode(at place, e *session.Entry) bool {
	raw := t.entry(at)
	w := loadWord(&raw.Word)
	if atomic.LoadUint32(&raw.Key) == 0 || w.Flags&uint16(pgwuEntryFlagENTRY_VALID) == 0 {
		return false
	}
	if w.Flags&flagSet != 0 {
		t.decodeSet(w, e)
	} else {
		e.Rule, e.Celled = t.rule(w), w.Flags&flagCelled != 0
		e.MBR = uint64(atomic.LoadUint32(&raw.Meter.Rate))
		if raw.Cell != 0 {
			e.Cells = []session.CellID{t.cellID(raw.Cell)}
		}
		if w.Flags&flagCheckSource != 0 {
			if w.Value != 0 {
				e.Sources = append(e.Sources, session.UE(fromWire(w.Value)))
			}
			if raw.Prefix != 0 {
				e.Sources = append(e.Sources, prefix64(raw.Prefix))
			}
		}
	}
	if w.Flags&flagSet == 0 {
		e.Origin = t.origin(at).session()
	}
	e.Watch = watchAt(raw)
	return true
}

// prefix64 is an IPv6 /64 from its upper half as it stands in the packet.
func prefix64(upper uint64) netip.Prefix {
	return netip.PrefixFrom(fromHalves([2]uint64{upper, 0}), 64)
}

// ruleUsages is what each rule of an entry's set has counted; nil when it has none.
func (t *tables) ruleUsages(at place) (usages []session.Usage) {
	w := loadWord(&t.entry(at).Word)
	if w.Flags&flagSet == 0 {
		return nil
	}
	for _, index := range t.rulesOf(t.set(w)) {
		if int(index) < len(t.rules.slots) {
			usages = append(usages, loadUsage(&t.accounts.slots[t.rules.slots[index].Account].Usage))
		}
	}
	return usages
}

// decodeSet reads a rule set. What was one filter with several ranges of ports is several now.
func (t *tables) decodeSet(w pgwuWord, e *session.Entry) {
	filters := t.set(w)
	for i, index := range t.rulesOf(filters) {
		if int(index) >= len(t.rules.slots) {
			continue
		}
		raw := t.rules.slots[index]
		r := t.rule(raw.Word)
		r.MBR = uint64(atomic.LoadUint32(&t.accounts.slots[raw.Account].Meter.Rate))
		r.Origin = t.accountOrigins.slots[raw.Account].session()
		t.decodeSpecial(raw.Special, &r)
		if raw.TosMask != 0 {
			r.Marking = pfcp.Some(uint16(raw.Tos)<<8 | uint16(raw.TosMask))
		}
		for _, cell := range raw.Cells {
			if cell != 0 {
				r.Cells = append(r.Cells, t.cellID(cell))
			}
		}
		for _, meter := range raw.Meters {
			if meter != 0 {
				r.Meters = append(r.Meters, session.Meter{ID: t.meterID(meter), MBR: uint64(t.meters.slots[meter].Meter.Rate)})
			}
		}
		for _, f := range filters {
			if f.Rule == index {
				r.Filters = append(r.Filters, decodeFilter(f))
			}
		}
		if i == 0 {
			e.Rule, e.Celled = r, raw.Word.Flags&flagCelled != 0
		} else {
			e.More = append(e.More, r)
		}
	}
}

// decodeSpecial reads what a rule wants beside sending the packet; index 0: nothing.
func (t *tables) decodeSpecial(index uint32, r *session.Rule) {
	if index == 0 || int(index) >= len(t.specials.slots) {
		return
	}
	raw := &t.specials.slots[index]
	if raw.Redirect4 != 0 {
		r.Redirect.IPv4 = fromWire(raw.Redirect4)
	}
	if raw.Redirect6 != [2]uint64{} {
		r.Redirect.IPv6 = fromHalves(raw.Redirect6)
	}
	for _, to := range raw.Copies {
		if to.Flags == 0 || int(to.To) >= len(t.peers.slots) {
			continue
		}
		peer := peerOf(&t.peers.slots[to.To])
		r.Copies = append(r.Copies, session.Copy{
			Tunnel: session.Tunnel{Local: peer.local, Remote: peer.remote, TEID: pfcp.TEID(teidOnWire(pfcp.TEID(to.Value)))},
			ToS:    peer.tos,
		})
	}
}

func decodeFilter(f pgwuFilter) session.Filter {
	wants := func(trait pgwuTrait) bool { return f.Mask&uint32(trait) != 0 }
	d := session.Filter{ToS: uint8(f.Traits >> pgwuTraitTRAIT_TOS_SHIFT), ToSMask: uint8(f.Mask >> pgwuTraitTRAIT_TOS_SHIFT)}
	if wants(0xff << pgwuTraitTRAIT_PROTOCOL_SHIFT) {
		d.Protocol = pfcp.Some(uint8(f.Traits >> pgwuTraitTRAIT_PROTOCOL_SHIFT))
	}
	if wants(pgwuTraitTRAIT_PORTS) {
		d.RemotePorts = []session.Ports{{First: f.RemoteFirst, Last: f.RemoteFirst + f.RemoteMore}}
		d.LocalPorts = []session.Ports{{First: f.LocalFirst, Last: f.LocalFirst + f.LocalMore}}
	}
	if wants(pgwuTraitTRAIT_SPI) {
		d.SPI = pfcp.Some(f.Spi)
	}
	if wants(pgwuTraitTRAIT_FLOW_LABEL) {
		d.FlowLabel = pfcp.Some(f.FlowLabel)
	}
	ipv6 := f.Traits&traitIPv6 != 0
	d.Remote, d.Local = decodePrefix(f.Remote, f.RemoteBits, f.RemoteShift, ipv6), decodePrefix(f.Local, f.LocalBits, f.LocalShift, ipv6)
	return d
}

// decodePrefix: one of no bits that is of a family cannot be told from none, and says no more.
func decodePrefix(words [2]uint64, bits, shift uint8, ipv6 bool) netip.Prefix {
	if shift == 64 {
		return netip.Prefix{}
	}
	if !ipv6 {
		w := uint32(words[0] >> 32)
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(w >> 24), byte(w >> 16), byte(w >> 8), byte(w)}), int(bits))
	}
	var octets [16]byte
	for i := range octets {
		octets[i] = byte(words[i/8] >> (56 - i%8*8))
	}
	return netip.PrefixFrom(netip.AddrFrom16(octets), int(bits))
}

// entries yields every entry and where it is, uplink before downlink.
func (t *tables) entries(yield func(place, session.Entry) bool) {
	for slice := range t.allServices {
		local := slice.addresses().Name()
		for slot := slice.Base; slot <= slice.Base+slice.Mask && int(slot) < len(t.uplink.slots); slot++ {
			at := place{placeUplink, slot}
			e := session.Entry{Key: session.Key{Local: local, TEID: pfcp.TEID(teidOnWire(pfcp.TEID(t.keyAt(at))))}}
			if t.entry(at).Word.Flags&flagTunnel != 0 {
				e.Key.Direction = session.Downlink
			}
			if t.decode(at, &e) && !yield(at, e) {
				return
			}
		}
	}
	t.downlinkEntries(yield)
}

func (t *tables) downlinkEntries(yield func(place, session.Entry) bool) {
	framed := map[uint32][]netip.Prefix{}
	routes := t.loadRoutes()
	for r, slot := range routes {
		if int(slot) < len(t.downlink.slots) && t.keyAt(place{placeDownlink, slot}) != keyRouted {
			framed[slot] = append(framed[slot], r.prefix)
		}
	}
	give := func(instance uint32, ue netip.Prefix, slot uint32) bool {
		at := place{placeDownlink, slot}
		e := session.Entry{Key: session.Key{Direction: session.Downlink, Instance: nameOf(t.names[instance]), UE: ue}}
		e.Routes = framed[slot]
		slices.SortFunc(e.Routes, func(a, b netip.Prefix) int { return b.Bits() - a.Bits() })
		return !t.decode(at, &e) || yield(at, e)
	}
	for slot := range uint32(len(t.downlink.slots)) {
		at := place{placeDownlink, slot}
		if instance, ue, ok := t.ueAt(at, t.keyAt(at)); ok && !give(instance, ue, slot) {
			return
		}
	}
	for r, slot := range routes {
		if framed[slot] == nil && !give(r.instance, r.prefix, slot) {
			return
		}
	}
}

// allServices yields the slices.
func (t *tables) allServices(yield func(*pgwuService) bool) {
	for i := range t.services.slots {
		if s := &t.services.slots[i]; s.addresses().Name().IsValid() && !yield(s) {
			return
		}
	}
}

func (s *pgwuService) addresses() (a session.Slice) {
	if s.Address != 0 {
		a.IPv4 = fromWire(s.Address)
	}
	if s.Address6 != [2]uint64{} {
		a.IPv6 = fromHalves(s.Address6)
	}
	return a
}

// service is the slice of that name; nil: none has it.
func (t *tables) service(name netip.Addr) *pgwuService {
	cell := t.slices.find(sliceKey(name))
	switch {
	case cell == nil:
		return nil
	case name.Is4():
		return t.serviceAt(cell.Value)
	case int(cell.Value) < len(t.services.slots) && t.services.slots[cell.Value].addresses().Name() == name:
		return &t.services.slots[cell.Value]
	}
	return nil
}

// serviceAt is the slice whose first slot that is.
func (t *tables) serviceAt(base uint32) *pgwuService {
	for s := range t.allServices {
		if s.Base == base {
			return s
		}
	}
	return nil
}
