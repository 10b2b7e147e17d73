package datapath

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/datapath/traffic"
	"github.com/xepc/xepc/userplane/session"
)

// The innocent session differs in every octet of its keys from all that hostile frames are made of.
var (
	innocentUE   = netip.MustParseAddr("203.9.77.211")
	innocentTEID = pfcp.TEID(0x11d3c6e9)
)

func innocentEntries() []session.Entry {
	return []session.Entry{
		with(uplinkOf(5), func(e *session.Entry) {
			e.Key.TEID, e.Sources, e.Origin.SEID = innocentTEID, []netip.Prefix{session.UE(innocentUE)}, 999
		}),
		with(downlinkOf(5), func(e *session.Entry) { e.Key.UE, e.RemoteTEID, e.Origin.SEID = session.UE(innocentUE), 0x99, 999 }),
	}
}

// hostileEntries are those of all packet tests, and some with limits of every kind.
func hostileEntries() []session.Entry {
	cells := []session.CellID{{SEID: 60, URRID: 1}, {SEID: 60, URRID: 2}}
	meters := []session.Meter{{ID: session.MeterID{SEID: 60, QERID: 1}, MBR: 5000}, {ID: session.MeterID{Owner: 1, Correlation: 9}, MBR: 9000}}
	limited := func(e *session.Entry) { e.Cells, e.Meters = cells, meters }
	return slices.Concat(packetEntries(), ruleEntries(), outer6Entries(), specialEntries(), tooBigEntries(), answered(), []session.Entry{with(uplinkOf(90), limited), with(downlinkOf(90), limited)})
}

// hostileFrames are those of all packet tests by port, some more to the sessions with limits, once more with a VLAN's tag on
// the port that has one, and a few that belong to another port.
func hostileFrames(t testing.TB) map[string][][]byte {
	frames := map[string][][]byte{}
	for i, row := range slices.Concat(uplinkRows(t), downlinkRows(t), ruleRows(t), outer6Rows(t), specialRows(t), tooBigRows(t), ttlRows(t), urlRows(t)) {
		frames[row.port] = append(frames[row.port], row.frame)
		if other := modelPorts[i%len(modelPorts)]; i%8 == 0 && other != row.port {
			frames[other] = append(frames[other], row.frame)
		}
	}
	for range 4 {
		frames["access0"] = append(frames["access0"], tunnel(t, slice1, teid(90), inner(t, ue(90), server, 64, 100)))
		frames["core0"] = append(frames["core0"], plain(t, coreGW, coreMAC, inner(t, server, ue(90), 64, 100)))
	}
	for _, frame := range frames["core1"] {
		if len(frame) > 60 {
			frames["core0"] = append(frames["core0"], tagWith(frame, taggedAs))
		}
	}
	for port := range frames {
		frames[port] = slices.DeleteFunc(frames[port], func(f []byte) bool { return len(f) < 14 || len(f) > 2000 })
	}
	return frames
}

// taggedAs is a VLAN of core0 that is the second network instance.
const taggedAs = 100

// kernelPasses are the reasons of packets that the node's kernel gets.
var kernelPasses = []string{"not_ipv4", "not_ours", "unknown_port", "outer_fragment", "gtpu_signalling", "not_a_slice", "outer_extension"}

// TestMutatedFrames sends mutated frames of all kinds through the program that forwards: it neither crashes nor hangs,
// counts each frame under exactly one reason, gives no verdict but that reason's, and leaves tables, memory and the session of
// somebody else as they were. XEPC_FUZZ_FRAMES says how many (make fuzz-long).
func TestMutatedFrames(t *testing.T) {
	total, _ := strconv.Atoi(os.Getenv("XEPC_FUZZ_FRAMES"))
	total = max(total, 300_000)
	w := newWorld(t)
	require.NoError(t, w.d.Close())
	require.NoError(t, Remove(w.cfg.PinDir))
	w.cfg.AddressBlocks, w.cfg.Peers = 32, 64
	var err error
	w.d, err = Open(w.cfg, w.d.log) // as it is in service: not poisoned
	require.NoError(t, err)
	require.NoError(t, w.d.tables.ports.insert(portKey(w.ifindex["core0"], taggedAs), w.d.tables.numbers["corp"], uint32(SideCore), membarrier))
	entries := slices.Concat(hostileEntries(), innocentEntries())
	w.apply(entries...)
	require.NoError(t, w.d.Apply(session.Changes{Cells: []session.Cell{
		{ID: session.CellID{SEID: 60, URRID: 1}, Limits: session.VolumeLimits{TotalThreshold: 5000, TotalQuota: 1 << 40}},
	}}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.d.Run(ctx, func(Event) {}) }()
	defer func() {
		cancel()
		require.NoError(t, <-done)
	}()

	l, err := link.LoadPinnedLink(filepath.Join(w.cfg.PinDir, fmt.Sprintf("%s%d", portPin, w.ifindex["access0"])), nil)
	require.NoError(t, err)
	info, err := l.Info()
	require.NoError(t, err)
	program, err := ebpf.NewProgramFromID(info.Program)
	require.NoError(t, err)
	defer func() { require.NoError(t, errors.Join(program.Close(), l.Close())) }()
	mutators := map[string]*traffic.Mutator{}
	for port, frames := range hostileFrames(t) {
		m, err := traffic.NewMutator(program, uint64(total), frames)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, m.Close()) })
		mutators[port] = m
	}

	memory, err := MapOctets(w.cfg.PinDir)
	require.NoError(t, err)
	known := slices.Collect(w.d.Reader().Entries())
	all, frames, spent := map[string]uint64{}, 0, time.Duration(0)
	run := func(port string, count int) (verdict uint32, out []byte, counted map[string]uint64) {
		t.Helper()
		m := mutators[port]
		state, err := m.State()
		require.NoError(t, err)
		before, start := w.reasons(), time.Now()
		given, verdict, out, err := m.Run(w.ifindex[port], count)
		spent += time.Since(start)
		require.NoError(t, err)
		counted = difference(before, w.reasons())
		sum := uint64(0)
		for name, n := range counted {
			sum += n
			all[name] += n
		}
		require.Equal(t, given, sum, "%d frames to %s from state %#x: %v", count, port, state, counted)
		require.Contains(t, []uint32{xdpDrop, xdpPass, xdpTx, xdpRedirect}, verdict, "from state %#x", state)
		return verdict, out, counted
	}
	const batch, singles = 100_000, 100
	for round := uint64(1); frames < total; round++ {
		for _, port := range modelPorts {
			run(port, batch)
			for range singles { // one at a time, so that each verdict and frame is seen
				verdict, out, counted := run(port, 1)
				if len(counted) != 1 { // a signal came, and there were two
					continue
				}
				for reason := range counted {
					requireVerdict(t, reason, verdict, out)
				}
			}
			frames += batch + singles
		}
		verdict, out := w.run("access0", tunnel(t, slice1, innocentTEID, inner(t, innocentUE, server, 64, 100)), 0)
		require.EqualValues(t, xdpRedirect, verdict)
		require.Equal(t, spacedHex(plain(t, coreMAC, coreGW, inner(t, innocentUE, server, 63, 100))), spacedHex(out))
		verdict, _ = w.run("core0", plain(t, coreGW, coreMAC, inner(t, server, innocentUE, 64, 100)), 0)
		require.EqualValues(t, xdpRedirect, verdict)
		usage, err := w.d.Usage([]session.Key{innocentEntries()[0].Key, innocentEntries()[1].Key})
		require.NoError(t, err)
		own := session.Usage{Packets: round, Octets: 128 * round}
		require.Equal(t, []session.Usage{own, own}, usage, "nothing of it is anybody else's")
	}
	after := slices.Collect(w.d.Reader().Entries())
	require.Len(t, after, len(known))
	for i := range known {
		require.Equal(t, known[i].Entry, after[i].Entry)
	}
	repairs, err := w.d.Reconcile(slices.Values(entries))
	require.NoError(t, err)
	require.Equal(t, Repairs{}, repairs, "the maps are what the sessions compile to")
	now, err := MapOctets(w.cfg.PinDir)
	require.NoError(t, err)
	require.Equal(t, memory, now)
	t.Logf("%d frames, %.0f a second: %v", frames, float64(frames)/spent.Seconds(), all)
}

// requireVerdict holds a packet's verdict and, when it is sent, its shape against its reason.
func requireVerdict(t *testing.T, reason string, verdict uint32, out []byte) {
	t.Helper()
	switch {
	case strings.HasSuffix(reason, "_answered") || strings.HasSuffix(reason, "_told_ue"):
		require.EqualValues(t, xdpTx, verdict)
	case reason == "uplink_forwarded" || reason == "downlink_forwarded":
		require.Contains(t, []uint32{xdpRedirect, xdpTx}, verdict)
		require.GreaterOrEqual(t, len(out), 14+20, reason)
	case slices.Contains(kernelPasses, reason):
		require.EqualValues(t, xdpPass, verdict, reason)
	default:
		require.EqualValues(t, xdpDrop, verdict, reason)
	}
}
