package sxb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/pkg/testkit"
	"github.com/xepc/xepc/userplane/datapath"
	"github.com/xepc/xepc/userplane/journal"
	"github.com/xepc/xepc/userplane/session"
)

// small is the edge on the real data path, whose every table is too small.
type small struct {
	*controlPlane
	edge *Edge
	dp   *datapath.Datapath
	r    *rand.Rand
}

// fullDataPath says that there is no room in the words of PFCP.
type fullDataPath struct{ *datapath.Datapath }

func (d fullDataPath) Apply(c session.Changes) error {
	err := d.Datapath.Apply(c)
	if errors.Is(err, datapath.ErrTableFull) {
		return &pfcp.Error{Cause: pfcp.CauseNoResourcesAvailable, Err: err}
	}
	return err
}

func newSmall(t *testing.T, seed uint64) *small {
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	dc := datapath.Default()
	dc.PinDir = filepath.Join(testkit.BPFFS(t), "node")
	dc.AddressBlocks, dc.Peers, dc.MaxInstances, dc.Rules, dc.Cells, dc.Limits, dc.Meters, dc.Routes = 2, 2, 1, 16, 8, 4, 4, 4
	dc.Slices = []datapath.Slice{{Address: slice, TEIDs: 16}}
	dc.Instances = []datapath.Instance{{Name: "internet", Gateway: mustAddr("10.50.1.1")}}
	dp, err := datapath.Open(dc, log)
	require.NoError(t, err)
	j, _, err := journal.Open(journal.Options{Dir: t.TempDir(), Version: RecordVersion, BootID: testBoot}, NewState().Load)
	require.NoError(t, err)
	cfg := DefaultConfig()
	cfg.NodeID = pfcp.NodeID{FQDN: "pgwu1.example"}
	cfg.Endpoint.Listen = mustAddrPort("127.0.0.1:0")
	cfg.Slices, cfg.Rest = []Slice{{Address: slice, Slots: 16}}, time.Millisecond
	cfg.Instances = session.Instances{Known: []pfcp.NetworkInstance{"internet"}, Default: "internet"}
	cfg.Unlisted.Port = testPort
	edge, _, err := Open(cfg, fullDataPath{dp}, j, NewState(), "a test", time.Now(), log)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error { return edge.Run(ctx) })
	g.Go(func() error { return dp.Run(ctx, func(datapath.Event) {}) })
	t.Cleanup(func() {
		cancel()
		require.NoError(t, g.Wait())
		require.NoError(t, j.Close())
		require.NoError(t, dp.Close())
		require.NoError(t, datapath.Remove(dc.PinDir))
	})
	w := &world{t: t, up: edge.Addr(), edge: edge}
	return &small{controlPlane: newControlPlane(t, w, "127.77.91.1", "smf.example"), edge: edge, dp: dp, r: rand.New(rand.NewPCG(seed, 5))}
}

// rules are those of a session of a random shape: filters, shared limits, thresholds, routes, addresses and peers of
// which there are more than fit.
func (s *small) rules() []*ie.IE {
	ue := fmt.Sprintf("172.16.%d.%d", s.r.IntN(4), 1+s.r.IntN(20))
	rules := bearer(ue)
	rules[3] = ie.NewCreateFAR(ie.NewFARID(2), ie.NewApplyAction(0x02), ie.NewForwardingParameters(
		ie.NewDestinationInterface(ie.DstInterfaceAccess),
		ie.NewOuterHeaderCreation(0x0100, 0xaa, fmt.Sprintf("10.10.0.%d", 1+s.r.IntN(4)), "", 0, 0, 0)))
	if s.r.IntN(2) == 0 {
		rules[5] = ie.NewCreateURR(ie.NewURRID(1), ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0, 1),
			ie.NewVolumeQuota(0x01, 1<<30, 0, 0))
	}
	for n := range s.r.IntN(4) {
		pdi := []*ie.IE{
			ie.NewSourceInterface(ie.SrcInterfaceCore), ie.NewUEIPAddress(0x06, ue, "", 0, 0),
			ie.NewSDFFilter(fmt.Sprintf("permit out 17 from any %d to assigned", n+1), "", "", "", 0),
		}
		if s.r.IntN(3) == 0 {
			pdi = append(pdi, ie.NewFramedRoute(fmt.Sprintf("192.168.%d.0/24", s.r.IntN(8))))
		}
		rules = append(rules, ie.NewCreatePDR(ie.NewPDRID(uint16(10+n)), ie.NewPrecedence(uint32(n)), ie.NewPDI(pdi...),
			ie.NewFARID(2), ie.NewQERID(1), ie.NewURRID(1)))
	}
	return rules
}

func (s *small) change() []*ie.IE {
	switch s.r.IntN(5) {
	case 0:
		return []*ie.IE{ie.NewUpdateFAR(ie.NewFARID(2), ie.NewUpdateForwardingParameters(
			ie.NewOuterHeaderCreation(0x0100, 0xbb, fmt.Sprintf("10.10.0.%d", 1+s.r.IntN(4)), "", 0, 0, 0)))}
	case 1:
		return []*ie.IE{ie.NewRemovePDR(ie.NewPDRID(uint16(10 + s.r.IntN(3))))}
	case 2:
		return []*ie.IE{s.rules()[len(bearer("172.16.1.1"))-5]}
	case 3:
		return []*ie.IE{ie.NewCreatePDR(ie.NewPDRID(uint16(20+s.r.IntN(5))), ie.NewPrecedence(3), ie.NewPDI(
			ie.NewSourceInterface(ie.SrcInterfaceCore), ie.NewUEIPAddress(0x06, fmt.Sprintf("172.16.%d.9", s.r.IntN(4)), "", 0, 0),
			ie.NewSDFFilter("permit out 6 from any 80,443,8080-8090 to assigned", "", "", "", 0)), ie.NewFARID(2), ie.NewQERID(1))}
	default:
		return []*ie.IE{ie.NewUpdateURR(ie.NewURRID(1), ie.NewVolumeQuota(0x01, s.r.Uint64N(1<<40)+1, 0, 0))}
	}
}

// consistent checks that the maps hold exactly what the sessions compile to.
func (s *small) consistent() {
	s.t.Helper()
	var entries []session.Entry
	var cells []session.CellID
	held := 0
	for _, one := range s.w.sessions() {
		table, err := one.Compile(s.edge.cfg.Instances)
		require.NoError(s.t, err)
		for _, e := range table {
			entries = append(entries, e)
		}
		for _, c := range one.Cells() {
			cells = append(cells, c.ID)
		}
		held += len(one.FTEIDs())
	}
	repairs, err := s.dp.Reconcile(slices.Values(entries))
	require.NoError(s.t, err)
	require.Equal(s.t, datapath.Repairs{}, repairs)
	require.Zero(s.t, s.dp.KeepCells(slices.Values(cells)))
	require.Equal(s.t, held, s.edge.Stats().Slots[0].Live)
}

// Whatever is full, a request that is refused leaves the maps as they were, and one that is accepted is in them whole.
func TestRequestsThatTheRealTablesHaveNoRoomFor(t *testing.T) {
	s := newSmall(t, 1)
	s.setup()
	var seids []uint64
	refused, accepted := map[pfcp.Cause]int{}, 0
	note := func(c pfcp.Cause) {
		if c == pfcp.CauseAccepted {
			accepted++
		} else {
			refused[c]++
		}
	}
	for range 600 {
		switch n := s.r.IntN(10); {
		case n < 5 || len(seids) == 0:
			_, m := s.ask(s.establishment(s.next(), 1+s.r.Uint64N(30), s.rules()...))
			note(cause(t, m.(*message.SessionEstablishmentResponse).Cause))
			if got := made(t, m); got != 0 && !slices.Contains(seids, got) {
				seids = append(seids, got)
			}
		case n < 8:
			note(cause(t, s.modify(seids[s.r.IntN(len(seids))], s.change()...).Cause))
		default:
			at := s.r.IntN(len(seids))
			require.Equal(t, pfcp.CauseAccepted, cause(t, s.delete(seids[at]).Cause))
			seids = slices.Delete(seids, at, at+1)
		}
		s.consistent()
	}
	t.Log(accepted, "accepted, refused:", refused)
	require.Greater(t, accepted, 100)
	require.Greater(t, refused[pfcp.CauseNoResourcesAvailable], 50)
	for _, seid := range seids {
		require.Equal(t, pfcp.CauseAccepted, cause(t, s.delete(seid).Cause))
	}
	s.consistent()
	require.Zero(t, s.edge.Stats().Panics)
}

// fill leaves no room in a directory's file system; the function that it returns makes room again.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "filling")
	f, err := os.Create(path)
	require.NoError(t, err)
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	require.ErrorIs(t, err, unix.ENOSPC)
	require.NoError(t, f.Close())
	return func() { require.NoError(t, os.Remove(path)) }
}

// With no room for the journal nothing is accepted that would not survive the process, and nothing is left of what was
// refused; when there is room again, all goes on.
func TestRequestsThatTheJournalHasNoRoomFor(t *testing.T) {
	dir := t.TempDir()
	testkit.Mount(t, "tmpfs", dir, "size=1m")
	w := &world{t: t, dir: dir, boot: testBoot, dp: newDataPath(), change: []func(*Config){
		impatient, pooled("172.16.9.0/28", ""), oneShard,
	}}
	w.start()
	t.Cleanup(func() { w.kill() })
	cp := newControlPlane(t, w, "127.77.92.1", "smf.example")
	cp.setup()
	cp.provision(application("video", flowDNS))
	seid, teid := cp.establish(1, append(detecting("172.16.1.1", "video"), ie.NewQueryURR(ie.NewURRID(1)))...)
	_, m := cp.ask(cp.establishment(cp.next(), 2, addressless(chooseIPv4)...))
	pool := made(t, m)
	w.dp.count(uplinkKey(teid), 1, 70)
	before, stats := w.dp.snapshot(), w.edge.Stats()
	free := fill(t, dir)
	noRoom := func(c *ie.IE, what string) {
		t.Helper()
		require.Equal(t, pfcp.CauseNoResourcesAvailable, cause(t, c), what)
		require.Equal(t, before, w.dp.snapshot(), what)
		require.Equal(t, stats.Slots, w.edge.Stats().Slots, what)
		require.Equal(t, stats.Pools, w.edge.Stats().Pools, what)
		w.consistent()
	}
	for features, c := uint8(0), pfcp.CauseAccepted; c != pfcp.CauseNoResourcesAvailable; features++ { // the smallest record
		_, m := cp.ask(message.NewAssociationUpdateRequest(cp.next(), cp.nodeID(), ie.NewCPFunctionFeatures(4|features%2)))
		c = cause(t, m.(*message.AssociationUpdateResponse).Cause)
	}
	_, m = cp.ask(cp.establishment(cp.next(), 3, addressless(chooseIPv4)...))
	noRoom(m.(*message.SessionEstablishmentResponse).Cause, "an establishment")
	_, m = cp.ask(cp.establishment(cp.next(), 1, bearer("172.16.1.3")...))
	noRoom(m.(*message.SessionEstablishmentResponse).Cause, "a replacement")
	noRoom(cp.modify(seid, ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(1))).Cause, "a modification")
	noRoom(cp.modify(pool, ie.NewRemovePDR(ie.NewPDRID(2)), ie.NewRemovePDR(ie.NewPDRID(1))).Cause, "one that releases an address")
	noRoom(cp.delete(seid).Cause, "a deletion")
	requests := []message.Message{
		cp.establishment(cp.next(), 3, addressless(chooseIPv4)...), cp.establishment(cp.next(), 1, bearer("172.16.1.3")...),
		cp.modification(pool, apply(1)),
	}
	cp.together(requests...)()
	for i, m := range cp.answers(requests...) {
		require.Equal(t, []pfcp.Cause{pfcp.CauseNoResourcesAvailable}, causesOf(t, []message.Message{m}), i)
	}
	w.consistent()
	noRoom(cp.provision(application("video", flowWeb)).Cause, "PFDs")
	other := newControlPlane(t, w, "127.77.92.2", "other.example")
	noRoom(other.setup().Cause, "an association")

	free()
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.modify(seid, ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(1))).Cause))
	w.kill()
	w.start()
	w.consistent()
	requireUsage(t, cp.delete(seid).UsageReport, 70, 0)
	require.Equal(t, pfcp.CauseAccepted, cause(t, cp.delete(pool).Cause))
	w.consistent()
}
