package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/userplane/slowpath"
)

func (s *site) recovery() time.Time {
	s.t.Helper()
	r := s.ask(message.NewHeartbeatRequest(s.next(), ie.NewRecoveryTimeStamp(time.Now()), nil)).(*message.HeartbeatResponse)
	stamp, err := r.RecoveryTimeStamp.RecoveryTimeStamp()
	require.NoError(s.t, err)
	return stamp
}

func octetsOf(t *testing.T, rows []map[string]any) (sum uint64) {
	t.Helper()
	for _, r := range rows {
		sum += uint64(r["octets"].(float64))
	}
	return sum
}

// The whole promise of the pinned data path: a killed daemon costs not one packet, and the next one goes on.
func TestKilledUnderTrafficNothingIsLost(t *testing.T) {
	s := newSite(t)
	s.start()
	s.setup()
	seid, teid := s.establish()
	s.warmUp(teid)
	stamp := s.recovery()
	before, _ := s.rows("session", "list")
	require.Len(t, before, 1)

	var sent atomic.Uint32
	stop := make(chan struct{})
	var traffic sync.WaitGroup
	traffic.Go(func() {
		to := netip.AddrPortFrom(sliceAddr, 2152)
		for number := uint32(1_000_001); ; number++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			if _, err := s.gtpu.WriteToUDPAddrPort(packet(teid, number), to); err == nil {
				sent.Add(1)
			}
		}
	})
	back := s.collect()
	more := func(packets int) {
		t.Helper()
		end := len(back.numbers()) + packets
		require.Eventually(t, func() bool { return len(back.numbers()) >= end }, patience, 5*time.Millisecond)
	}
	more(100)
	s.kill(syscall.SIGKILL)
	more(200)

	down, note := s.rows("pdr", "list")
	require.Contains(t, note, "read from the pinned maps")
	require.Len(t, down, 2)
	require.Greater(t, octetsOf(t, down), uint64(200*packetOctets))
	sessions, _ := s.rows("session", "list")
	require.Equal(t, before[0]["seid"], sessions[0]["seid"])
	require.Equal(t, "pgwc.example", sessions[0]["peer"])
	_, _, err := run("config", "check", "-c", s.config)
	require.NoError(t, err)

	s.start()
	more(200)
	close(stop)
	traffic.Wait()
	more(int(sent.Load()) - len(back.numbers()))
	for i, number := range back.stop() {
		require.EqualValues(t, 1_000_001+i, number, "none missing, none twice")
	}
	require.Len(t, back.numbers(), int(sent.Load()))
	require.Equal(t, stamp, s.recovery(), "no session was lost")
	after, note := s.rows("session", "list")
	require.Empty(t, note)
	require.Equal(t, before[0]["seid"], after[0]["seid"])
	require.Contains(t, s.log.String(), "added=0 changed=0 removed=0")

	// The restarted daemon takes the session's modification and deletion, and the counts are whole.
	pdrs, _ := s.rows("pdr", "list")
	require.GreaterOrEqual(t, octetsOf(t, pdrs), octetsOf(t, down))
	m := s.ask(message.NewSessionModificationRequest(0, 0, seid, s.next(), 0,
		ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(1)))).(*message.SessionModificationResponse)
	s.accepted(m.Cause)
	d := s.ask(message.NewSessionDeletionRequest(0, 0, seid, s.next(), 0)).(*message.SessionDeletionResponse)
	s.accepted(d.Cause)
	require.Len(t, d.UsageReport, 1)
	volume, err := d.UsageReport[0].VolumeMeasurement()
	require.NoError(t, err)
	require.Equal(t, octetsOf(t, pdrs), volume.TotalVolume, "every packet, before the kill and after")
	require.GreaterOrEqual(t, volume.UplinkVolume, uint64(sent.Load()*packetOctets))
	gone, _ := s.rows("pdr", "list")
	require.Empty(t, gone)
}

func TestTheCommandLine(t *testing.T) {
	s := newSite(t)
	socket := []string{"--socket", s.dir + "/pgwu.sock"}
	_, _, err := run(append([]string{"session", "list"}, socket...)...)
	require.Equal(t, node.ExitUnreachable, node.ExitCode(err), "no daemon ever ran: %v", err)

	s.start()
	s.setup()
	seid, teid := s.establish()
	back := s.warmUp(teid)
	table := func(args ...string) string {
		t.Helper()
		out, stderr, err := run(append(args, socket...)...)
		require.NoError(t, err, stderr)
		return out
	}
	hexSEID, hexTEID := hexSEIDOf(seid), hexTEIDOf(teid)
	for _, noun := range []string{"session", "pdr", "far"} {
		for _, with := range [][]string{
			{}, {"--seid", hexSEID}, {"--teid", hexTEID}, {"--teid", "0xaabbccdd"}, {"--ue", ueAddr.String()},
		} {
			require.Contains(t, table(append([]string{noun, "list"}, with...)...), hexSEID, "%s %v", noun, with)
		}
		for _, without := range [][]string{{"--seid", "1"}, {"--teid", "1"}, {"--ue", "192.0.2.1"}} {
			require.Equal(t, "none\n", table(append([]string{noun, "list"}, without...)...), "%s %v", noun, without)
		}
	}
	require.Contains(t, table("session", "show", "-o", "yaml", hexSEID), "ue: "+ueAddr.String())
	require.Contains(t, table("session", "show", hexSEID), "DOWN OCTETS")
	require.Contains(t, table("session", "show", hexSEID, "-o=json"), `"slice": "10.30.1.1"`)
	require.Contains(t, table("pdr", "show", hexSEID, "1"), hexTEID)
	require.Contains(t, table("far", "show", hexSEID, "2"), "0xaabbccdd")
	require.Contains(t, table("peer", "list"), "pgwc.example")
	require.Contains(t, table("nexthop", "list"), "10.50.1.1")
	page, err := os.ReadFile("../../../docs/pgwu.md")
	require.NoError(t, err)
	reasons, _ := s.rows("reason", "list")
	counts := map[string]float64{}
	for _, r := range reasons {
		require.Contains(t, string(page), fmt.Sprintf("| `%s` |", r["reason"]), "docs/pgwu.md does not explain a reason")
		counts[r["reason"].(string)] = r["packets"].(float64)
	}
	require.GreaterOrEqual(t, counts["downlink_forwarded"], float64(back))

	for _, wrong := range [][]string{
		{"pdr", "list", "--ue", "nobody"},
		{"session", "show"},
		{"session", "show", "x"},
		{"pdr", "show", hexSEID, "x"},
		{"session", "show", hexSEID, "-o", "xml"},
		{"session", "show", hexSEID, "surplus"},
		{"session", "show", hexSEID, "-o"},
		{"pdr", "list", "-o", "xml"},
		{"far", "list", "--seid", "zz"},
		{"session", "list", "surplus"},
	} {
		_, _, err := run(append(wrong[:2:2], append(socket, wrong[2:]...)...)...)
		require.Equal(t, node.ExitUsage, node.ExitCode(err), "%v: %v", wrong, err)
	}
	_, _, err = run("session", "show", "--socket", s.dir+"/pgwu.sock", "0x1")
	require.Equal(t, node.ExitRefused, node.ExitCode(err))
	_, _, err = run("datapath", "remove", "-c", s.config)
	require.ErrorContains(t, err, "the daemon runs")

	metrics := s.get("/metrics")
	for _, line := range []string{
		`xepc_pgwu_pfcp_responses_total{cause="request_accepted",procedure="session_establishment"} 1`,
		`xepc_pgwu_sessions{peer="pgwc.example"} 1`, `xepc_pgwu_teid_slots{slice="10.30.1.1",state="live"} 1`,
		`xepc_pgwu_packets_total{reason="source_mismatch"} 0`, `xepc_pgwu_pfcp_peer_up{peer="pgwc.example"} 1`,
	} {
		require.Contains(t, metrics, line)
	}

	// Stopped in good order, packets are forwarded on; removed, they are not.
	s.kill(syscall.SIGTERM)
	s.send(teid, 7)
	number, ok := s.receive(patience)
	require.True(t, ok)
	require.EqualValues(t, 7, number)
	out, note, err := run("session", "show", "-c", s.config, hexSEID)
	require.NoError(t, err)
	require.Contains(t, note, "read from the pinned maps")
	require.Contains(t, out, "pgwc.example")
	peers, _ := s.rows("peer", "list")
	require.Equal(t, "unknown", peers[0]["state"])
	_, _, err = run("datapath", "remove", "-c", s.config)
	require.NoError(t, err)
	s.in(s.pgwu, func() {
		l, err := netlink.LinkByName("access0")
		require.NoError(t, err)
		require.True(t, l.Attrs().Xdp == nil || !l.Attrs().Xdp.Attached)
	})
}

func TestGTPUSignalling(t *testing.T) {
	s := newSite(t)
	s.start()
	expect := func(send []byte, want []byte) {
		t.Helper()
		_, err := s.gtpu.WriteToUDPAddrPort(send, netip.AddrPortFrom(sliceAddr, 2152))
		require.NoError(t, err)
		require.NoError(t, s.gtpu.SetReadDeadline(time.Now().Add(patience)))
		b := make([]byte, 2048)
		n, from, err := s.gtpu.ReadFromUDPAddrPort(b)
		require.NoError(t, err)
		require.Equal(t, netip.AddrPortFrom(sliceAddr, 2152), from)
		require.Equal(t, want, b[:n])
	}
	expect([]byte{0x32, 1, 0, 4, 0, 0, 0, 0, 0xab, 0xcd, 0, 0}, []byte{0x32, 2, 0, 6, 0, 0, 0, 0, 0xab, 0xcd, 0, 0, 14, 0})

	// A G-PDU to a TEID that nobody has: TS 29.281 7.3.1.
	indication := append([]byte{0x32, 26, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 16}, 0, 0, 0x12, 0x34)
	indication = append(append(indication, 133, 0, 4), sliceAddr.AsSlice()...)
	expect(packet(0x1234, 1), indication)
	require.Eventually(t, func() bool { // it is counted when it has been sent
		return strings.Contains(s.get("/metrics"), `xepc_pgwu_slowpath_total{outcome="`+slowpath.ErrorIndicationSent.String()+`"} 1`)
	}, patience, time.Millisecond)

	// A flood of them is answered only so often.
	for teid := range uint32(1000) {
		s.send(0x10000+teid, 1)
	}
	require.Eventually(t, func() bool {
		return strings.Contains(s.get("/metrics"), `xepc_pgwu_packets_total{reason="unknown_teid"} 1001`)
	}, patience, 20*time.Millisecond)
	got := 0
	for b := make([]byte, 2048); s.gtpu.SetReadDeadline(time.Now().Add(300*time.Millisecond)) == nil; got++ {
		if _, err := s.gtpu.Read(b); err != nil {
			break
		}
		require.Equal(t, byte(26), b[1])
		require.GreaterOrEqual(t, binary.BigEndian.Uint32(b[13:]), uint32(0x10000))
	}
	require.Less(t, got, 1000)
}

func TestNoiseOnEveryPortDisturbsNobody(t *testing.T) {
	s := newSite(t)
	s.start()
	s.setup()
	seid, teid := s.establish()
	s.warmUp(teid)
	r := rand.New(rand.NewPCG(1, 2))
	whole := packet(teid, 1)
	for i := range 4000 {
		b := bytes.Clone(whole[:r.IntN(len(whole))])
		if i%2 == 0 {
			for j := range b {
				b[j] = byte(r.Uint32())
			}
		}
		_, err := s.gtpu.WriteToUDPAddrPort(b, netip.AddrPortFrom(sliceAddr, 2152))
		require.NoError(t, err)
		_, err = s.cp.WriteToUDPAddrPort(b, netip.AddrPortFrom(pgwuAddr, 8805))
		require.NoError(t, err)
	}
	s.send(teid, 42_000_042)
	require.Eventually(t, func() bool {
		number, ok := s.receive(patience)
		return ok && number == 42_000_042
	}, patience, time.Microsecond)
	metrics := s.get("/metrics")
	for _, line := range []string{
		`xepc_pgwu_pfcp_events_total{event="panic"} 0`, `xepc_pgwu_slowpath_total{outcome="panicked"} 0`,
		`xepc_pgwu_sessions{peer="pgwc.example"} 1`,
	} {
		require.Contains(t, metrics, line)
	}
	d := s.ask(message.NewSessionDeletionRequest(0, 0, seid, s.next(), 0)).(*message.SessionDeletionResponse)
	s.accepted(d.Cause)
}
