package datapath

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/userplane/session"
)

// TestPolicing sends as fast as it can for as long as it takes, and holds what passed against the clock: never more than
// the MBR times the time plus the burst, and at least the first fill of the bucket.
func TestPolicing(t *testing.T) {
	w := newWorld(t)
	const kbps, octets, packets = 2000, 1028, 3000
	limited := with(uplinkOf(5), func(e *session.Entry) { e.MBR = kbps })
	w.apply(limited, uplinkOf(6))
	frame := tunnel(t, slice1, teid(5), inner(t, ue(5), server, 64, octets-28))
	before := w.reasons()
	start := time.Now()
	for range packets {
		w.run("access0", frame, 0)
	}
	elapsed := time.Since(start)
	usage, err := w.d.Usage([]session.Key{limited.Key})
	require.NoError(t, err)
	counts := difference(before, w.reasons())
	require.Equal(t, usage[0].Packets, counts["uplink_forwarded"])
	require.EqualValues(t, packets, counts["uplink_forwarded"]+counts["mbr_exceeded"])

	burst := kbps * 1000 / 8 * float64(w.cfg.Burst) / 1000
	most := kbps*1000/8*elapsed.Seconds() + burst
	require.LessOrEqual(t, float64(usage[0].Octets), most)
	require.GreaterOrEqual(t, float64(usage[0].Octets), burst/2-octets)

	// A new rate counts from the next packet, and 0 is no limit.
	w.apply(with(limited, func(e *session.Entry) { e.MBR = 0 }))
	before = w.reasons()
	for range 100 {
		w.run("access0", frame, 0)
	}
	require.Equal(t, map[string]uint64{"uplink_forwarded": 100}, difference(before, w.reasons()))
}

// TestPolicerRefill sets the bucket's clock back, instead of waiting.
func TestPolicerRefill(t *testing.T) {
	w := newWorld(t)
	const octets = 1028
	limited := with(uplinkOf(5), func(e *session.Entry) { e.MBR = 1 }) // 8 ms an octet: no stall refills a packet
	w.apply(limited)
	frame := tunnel(t, slice1, teid(5), inner(t, ue(5), server, 64, octets-28))
	at, ok, err := w.d.find(limited.Key)
	require.NoError(t, err)
	require.True(t, ok)
	meter := &w.d.tables.entry(at).Meter
	passes := func() bool {
		verdict, _ := w.run("access0", frame, 0)
		return verdict == xdpRedirect
	}
	require.True(t, passes(), "a whole packet passes even a slow policer")
	require.False(t, passes())
	meter.Last -= uint64(octets * 8 * time.Millisecond / 2)
	require.False(t, passes(), "half of what a packet needs")
	meter.Last -= uint64(octets * 8 * time.Millisecond / 2)
	require.True(t, passes(), "the other half")
	require.False(t, passes())
	meter.Last += uint64(time.Hour) // another CPU stored a later time than this one reads
	tokens := meter.Tokens
	require.False(t, passes())
	require.Equal(t, tokens, meter.Tokens)
	meter.Last -= uint64(2 * time.Hour)
	require.True(t, passes())
	require.False(t, passes(), "an hour's rest fills the bucket once, no more")
}

// TestHighestRate has a policer of the highest rate and burst work with numbers that fill their 63 bits.
func TestHighestRate(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.d.Close())
	require.NoError(t, Remove(w.cfg.PinDir))
	w.cfg.Burst = maxBurst
	w.open()
	w.apply(with(uplinkOf(5), func(e *session.Entry) { e.MBR = 1<<40 - 1 })) // all that the IE holds
	frame := tunnel(t, slice1, teid(5), inner(t, ue(5), server, 64, 1000))
	before := w.reasons()
	for range 1000 {
		w.run("access0", frame, 0)
	}
	require.Equal(t, map[string]uint64{"uplink_forwarded": 1000}, difference(before, w.reasons()))
}

// TestMemory holds the maps against what a session may cost, at the size that the figure is for.
func TestMemory(t *testing.T) {
	const sessions = 1_000_000
	cfg := Default()
	cfg.Slices = []Slice{{Address: slice1, TEIDs: sessions}}
	cfg.SizeFor(sessions)
	spec, err := loadPgwu()
	require.NoError(t, err)
	var parts pgwuSpecs
	require.NoError(t, spec.Assign(&parts))
	cfg.size(&parts.pgwuMapSpecs)
	octets := 0
	for _, m := range spec.Maps {
		if m.Type == ebpf.RingBuf {
			octets += int(m.MaxEntries)
			continue
		}
		octets += int(max(m.ValueSize, 8)) * int(m.MaxEntries)
	}
	require.LessOrEqual(t, octets/sessions, 300)
}
