package proof

import (
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netns"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/datapath"
	"github.com/xepc/xepc/userplane/datapath/traffic"
	"github.com/xepc/xepc/userplane/session"
)

// change is a rule with several states, each whole, and traffic that it decides on.
type change struct {
	name     string
	from, to func(*bed) *end
	states   [][]session.Entry
	flows    []traffic.Flow
	// cells[i] is the usage cell of what state i forwards.
	cells []session.CellID
}

// Far ends that filters tell: of flows by their address.
var servers = []netip.Addr{server, netip.MustParseAddr("10.60.0.11"), netip.MustParseAddr("10.60.0.12")}

func cellOf(state int) session.CellID {
	return session.CellID{SEID: 2, URRID: pfcp.URRID(state + 1)}
}

func toAccess(b *bed) *end { return &b.access }
func toCore(b *bed) *end   { return &b.core }

// tunnels differ in everything that an outer header has from a rule.
var tunnels = []session.Rule{
	{Local: slice, Remote: sgw, RemoteTEID: 0x11111111, Marking: pfcp.Some[uint16](0x00fc)},
	{Local: slice6, Remote: sgw26, RemoteTEID: 0x22222222, Marking: pfcp.Some[uint16](0xb8fc), QFI: pfcp.Some[uint8](9)},
	{Local: slice2, Remote: sgw2, RemoteTEID: 0x33333333, Marking: pfcp.Some[uint16](0x28fc), QFI: pfcp.Some[uint8](5)},
}

func into(r session.Rule, tunnel int) session.Rule {
	t := tunnels[tunnel]
	r.Local, r.Remote, r.RemoteTEID, r.Marking, r.QFI = t.Local, t.Remote, t.RemoteTEID, t.Marking, t.QFI
	return r
}

// only is a filter for one far end.
func only(of int) []session.Filter { return []session.Filter{{Remote: session.UE(servers[of])}} }

// downlinkBy is the entry of UE 1 with a rule into that tunnel, counted in the state's cell; more rules follow it.
func downlinkBy(state, tunnel int, more ...session.Rule) session.Entry {
	e := downlinkOf(1)
	e.Rule = into(e.Rule, tunnel)
	e.Cells, e.More = []session.CellID{cellOf(state)}, more
	return e
}

func changes(t *testing.T) []change {
	ofServers := func(n int) (flows []traffic.Flow) {
		for i := range n {
			flows = append(flows, traffic.Flow{
				Frame: frame(coreGW, coreMAC, packet(t, netip.AddrPortFrom(servers[i], 5000), netip.AddrPortFrom(ue(1), 4000), 100, 0)),
				Count: 100,
			})
		}
		return flows
	}
	rule := func(state, tunnel int, filters ...session.Filter) session.Rule {
		r := downlinkBy(state, tunnel).Rule
		r.Filters = filters
		return r
	}
	filtered := func(state, tunnel, of int, more ...session.Rule) session.Entry {
		e := downlinkBy(state, tunnel, more...)
		e.Filters = only(of)
		return e
	}
	var large []session.Rule // of many filters, the last of which matches the second flow
	for i := range 9 {
		large = append(large, rule(1, 2, session.Filter{Remote: session.UE(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))}))
	}
	large = append(large, rule(1, 0, only(1)...))
	up := func(state int, instance pfcp.NetworkInstance, change func(*session.Entry)) session.Entry {
		return with(uplinkOf(1), func(e *session.Entry) {
			e.Instance, e.Cells = instance, []session.CellID{cellOf(state)}
			change(e)
		})
	}
	mark := func(tos uint16) func(*session.Entry) {
		return func(e *session.Entry) { e.Marking = pfcp.Some(tos<<8 | 0xff) }
	}
	plain := func(*session.Entry) {}
	return []change{
		{name: "a FAR's tunnel, peer and marking", from: toCore, to: toAccess, flows: ofServers(1), states: [][]session.Entry{
			{with(downlinkBy(0, 0), func(e *session.Entry) { e.Cells = nil })}, {with(downlinkBy(0, 1), func(e *session.Entry) { e.Cells = nil })},
		}},
		{name: "a FAR and a URR at once", from: toCore, to: toAccess, flows: ofServers(1), states: [][]session.Entry{
			{downlinkBy(0, 0)}, {downlinkBy(1, 1)},
		}, cells: []session.CellID{cellOf(0), cellOf(1)}},
		{name: "one rule and a set", from: toCore, to: toAccess, flows: ofServers(2), states: [][]session.Entry{
			{downlinkBy(0, 0)}, {filtered(1, 1, 0, rule(1, 2))},
		}, cells: []session.CellID{cellOf(0), cellOf(1)}},
		{name: "a small set and a large one", from: toCore, to: toAccess, flows: ofServers(3), states: [][]session.Entry{
			{filtered(0, 0, 0, rule(0, 1))}, {filtered(1, 2, 0, append(large, rule(1, 0))...)},
		}, cells: []session.CellID{cellOf(0), cellOf(1)}},
		{name: "the order of two rules", from: toCore, to: toAccess, flows: ofServers(1), states: [][]session.Entry{
			{filtered(0, 0, 0, rule(0, 1, only(0)...))}, {filtered(1, 1, 0, rule(1, 0, only(0)...))},
		}, cells: []session.CellID{cellOf(0), cellOf(1)}},
		{name: "an entry that comes and goes", from: toCore, to: toAccess, flows: ofServers(1), states: [][]session.Entry{
			{downlinkBy(0, 0)}, {}, {downlinkBy(2, 1)},
		}, cells: []session.CellID{cellOf(0), cellOf(1), cellOf(2)}},
		{
			name: "a network instance and the marking of packets", from: toAccess, to: toCore,
			flows: []traffic.Flow{uplinkFlow(t, over4, teid(1), 1, 100)}, states: [][]session.Entry{
				{up(0, "internet", mark(0x28))}, {up(1, "corp", mark(0xb8))}, {up(2, "corp", plain)},
			}, cells: []session.CellID{cellOf(0), cellOf(1), cellOf(2)},
		},
		{
			name: "a QER: gate, own limit, shared limit", from: toAccess, to: toCore,
			flows: []traffic.Flow{uplinkFlow(t, over4, teid(1), 1, 100)}, states: [][]session.Entry{
				{up(0, "internet", func(e *session.Entry) { e.MBR = 1e9 })},
				{up(1, "corp", func(e *session.Entry) {
					e.Meters = []session.Meter{{ID: session.MeterID{SEID: 2, QERID: 1}, MBR: 2e9}}
				})},
				{up(2, "corp", func(e *session.Entry) { e.GateClosed = true })},
			}, cells: []session.CellID{cellOf(0), cellOf(1), cellOf(2)},
		},
	}
}

// TestNoPacketSeesHalfARule changes rules as fast as it can under as much traffic as one CPU gives: every packet is forwarded as one
// state of the rule says, never by a mixture; what usage says of each state is exactly what it forwarded.
func TestNoPacketSeesHalfARule(t *testing.T) {
	b := newBed(t, func(cfg *datapath.Config) {
		cfg.Instances = append(cfg.Instances, datapath.Instance{Name: "corp", Gateway: gateway2})
	})
	for _, c := range changes(t) {
		t.Run(c.name, func(t *testing.T) {
			runtime.LockOSThread() // a subtest has a thread of its own, which ends with it
			require.NoError(t, netns.Set(b.ns))
			b.alternate(t, &c, sized(200_000, uint64(10_000_000)), sized(50, 1000))
		})
	}
}

// alternate changes the states in turn until so many packets are sent, and at least so many times.
func (b *bed) alternate(t *testing.T, c *change, packets uint64, times int) {
	from, to := c.from(b), c.to(b)
	var cells []session.Cell
	for _, id := range c.cells {
		cells = append(cells, session.Cell{ID: id})
	}
	b.apply(session.Changes{Cells: cells})

	// What each state does by itself. States that do not differ would prove nothing.
	owner := map[traffic.Sight]int{}
	var entries session.Table
	state := func(i int) session.Changes {
		var next session.Table
		for _, e := range c.states[i] {
			next = append(next, e)
		}
		next = session.TableOf(next...)
		made := session.Diff(entries, next)
		entries = next
		return made
	}
	for i := range c.states {
		b.apply(state(i))
		l, packets := open(t, from, to, b.reasons), uint64(100*len(c.flows))
		require.NoError(t, newGenerator(t, c.flows...).Send(from.far, traffic.Load{Packets: packets}))
		for s := range l.close(packets).seen {
			_, twice := owner[s]
			require.False(t, twice, "two states do %+v", s)
			owner[s] = i
		}
	}
	volumes := func() []session.Volume {
		v, err := b.d.Volumes(c.cells)
		require.NoError(t, err)
		return v
	}
	counted, l := volumes(), open(t, from, to, b.reasons)

	g := newGenerator(t, c.flows...)
	done := traffic.OnCPU(b.ns, 0, func() error { return g.Send(from.far, traffic.Load{}) })
	start, n := time.Now(), 0
	so := func() uint64 {
		sent, _, err := g.Sent()
		require.NoError(t, err)
		return sent.Packets
	}
	for last := uint64(0); last < packets || n < times; n++ {
		require.NoError(t, b.d.Apply(state(n%len(c.states))))
		if n >= 4*len(c.states) {
			if n%16 == 0 {
				last = so()
			}
			continue
		}
		// First each state is given the time to be used: some changes wait for programs to be done, others do not.
		for before := so(); last < before+4*64; {
			last = so()
		}
	}
	require.NoError(t, g.Stop())
	took := time.Since(start)
	require.NoError(t, <-done)

	sent := so()
	account := l.close(sent)
	by := make([]traffic.Count, len(c.states))
	for s, count := range account.seen {
		i, known := owner[s]
		require.True(t, known, "%d packets were forwarded by a mixture: %+v", count.Packets, s)
		by[i].Add(count)
	}
	require.Zero(t, account.lost[1], "what a veth loses behind the node is counted as forwarded: by which state?")
	for i, v := range volumes() {
		octets := v.UplinkOctets + v.DownlinkOctets - counted[i].UplinkOctets - counted[i].DownlinkOctets
		require.Equal(t, by[i].Octets, octets, "state %d", i)
	}
	for i, by := range by {
		require.True(t, by.Packets > 0 || len(c.states[i]) == 0 || account.reasons["gate_closed"] > 0, "state %d was never used", i)
	}
	gone := session.Diff(entries, nil)
	gone.Removes = c.cells
	b.apply(gone)
	require.Empty(t, slices.Collect(b.d.Reader().Entries()))
	t.Logf("%d packets, %d changes in %v: by state %v, %v", sent, n, took.Round(time.Millisecond), by, account.reasons)
}
