package main

import (
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"
)

// usage is what a Usage Report says.
type usage struct {
	urr, sequence uint32
	trigger       []byte
	octets        uint64
}

func usageOf(t *testing.T, i *ie.IE) (u usage) {
	t.Helper()
	var err error
	u.urr, err = i.URRID()
	require.NoError(t, err)
	u.sequence, err = i.URSEQN()
	require.NoError(t, err)
	u.trigger, err = i.UsageReportTrigger()
	require.NoError(t, err)
	if v, err := i.VolumeMeasurement(); err == nil {
		u.octets = v.TotalVolume
	}
	return u
}

// reported waits for a Session Report Request.
func (s *site) reported() *message.SessionReportRequest {
	s.t.Helper()
	require.NoError(s.t, s.cp.SetReadDeadline(time.Now().Add(patience)))
	b := make([]byte, 1<<16)
	for {
		n, err := s.cp.Read(b)
		require.NoError(s.t, err)
		if b[1] == message.MsgTypeSessionReportRequest {
			m, err := message.ParseSessionReportRequest(b[:n])
			require.NoError(s.t, err)
			return m
		}
	}
}

// confirm answers a Session Report Request.
func (s *site) confirm(m *message.SessionReportRequest, more ...*ie.IE) {
	s.t.Helper()
	a := message.NewSessionReportResponse(0, 0, 0, m.Sequence(), 0, append([]*ie.IE{ie.NewCause(ie.CauseRequestAccepted)}, more...)...)
	b := make([]byte, a.MarshalLen())
	require.NoError(s.t, a.MarshalTo(b))
	_, err := s.cp.WriteToUDPAddrPort(b, netip.AddrPortFrom(pgwuAddr, 8805))
	require.NoError(s.t, err)
}

// report waits for usage reports, and confirms them if it is to.
func (s *site) report(confirm bool) (all []usage) {
	s.t.Helper()
	m := s.reported()
	for _, r := range m.UsageReport {
		all = append(all, usageOf(s.t, r))
	}
	if confirm {
		s.confirm(m)
	}
	return all
}

// TestASilentControlPlaneHearsEverythingOnce has a control plane that does not answer for a while, over a kill -9 of the node: it
// hears each report until it confirms it, in order, and every octet once.
func TestASilentControlPlaneHearsEverythingOnce(t *testing.T) {
	s := newSite(t)
	s.configure(`pfcp: {address: "10.20.11.2"}`, `pfcp: {address: "10.20.11.2", t1: 1s, report_retry: 100ms, usage_poll: 50ms}`)
	s.start()
	s.setup()
	seid, teid := s.establish()
	s.warmUp(teid)
	ok := func(rules ...*ie.IE) *message.SessionModificationResponse {
		t.Helper()
		r := s.change(seid, rules...)
		s.accepted(r.Cause)
		return r
	}
	sum := func(all ...usage) (n uint64) {
		for _, u := range all {
			n += u.octets
		}
		return n
	}
	exchange := func(packets int) (octets uint64) { // up and down again
		t.Helper()
		for n := range packets {
			s.send(teid, uint32(n))
			_, ok := s.receive(patience)
			require.True(t, ok)
		}
		return uint64(packets) * 2 * packetOctets
	}
	query := func() usage {
		t.Helper()
		r := ok(ie.NewQueryURR(ie.NewURRID(1)))
		require.Len(t, r.UsageReport, 1)
		return usageOf(t, r.UsageReport[0])
	}
	first := query() // the warm-up
	require.Equal(t, []byte{0x80, 0, 0}, first.trigger)
	ok(ie.NewUpdateURR(ie.NewURRID(1), ie.NewReportingTriggers(2, 0), ie.NewVolumeThreshold(1, 4*packetOctets, 0, 0)))

	sent := exchange(2)
	told := s.report(false)
	require.Len(t, told, 1)
	require.Equal(t, usage{1, first.sequence + 1, []byte{0x02, 0, 0}, sent}, told[0])
	more := exchange(3) // beyond the threshold again, and not told
	asked := query()
	require.Equal(t, first.sequence+2, asked.sequence)
	require.Equal(t, more, asked.octets)
	last := exchange(1)

	s.kill(syscall.SIGKILL)
	last += exchange(2)
	s.start()
	require.Equal(t, told, s.report(false), "the same again")
	last += exchange(1)
	require.Equal(t, told, s.report(true))
	var rest []usage
	for sum(rest...) < last {
		rest = append(rest, slices.DeleteFunc(s.report(true), func(u usage) bool { return u.sequence <= asked.sequence })...)
	}
	require.Equal(t, last, sum(rest...))
	for n, u := range rest {
		require.Equal(t, asked.sequence+1+uint32(n), u.sequence)
		require.Equal(t, []byte{0x02, 0, 0}, u.trigger)
	}
	end := s.ask(message.NewSessionDeletionRequest(0, 0, seid, s.next(), 0)).(*message.SessionDeletionResponse)
	s.accepted(end.Cause)
	require.Len(t, end.UsageReport, 1)
	require.Equal(t, usage{1, rest[len(rest)-1].sequence + 1, []byte{0, 0x08, 0}, 0}, usageOf(t, end.UsageReport[0]))
}

// TestALinkedURRStopsAndTells has a URR whose quota is spent, which the packet that spends it tells, and one that is linked to
// it and has none.
func TestALinkedURRStopsAndTells(t *testing.T) {
	s := newSite(t)
	s.start()
	c := s.subscriber(21)
	quota := func(packets uint64) *ie.IE { return ie.NewVolumeQuota(2, 0, packets*packetOctets, 0) }
	c.change(ie.NewCreateURR(ie.NewURRID(1), ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0x80, 0), ie.NewLinkedURRID(2)),
		ie.NewCreateURR(ie.NewURRID(2), ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0, 1), quota(3)),
		ie.NewUpdatePDR(ie.NewPDRID(1), ie.NewURRID(1), ie.NewURRID(2)))
	liusa, volqu := []byte{0, 0x04, 0}, []byte{0, 0x01, 0}
	dropped := func() uint64 { return s.reason("quota_exhausted") + s.reason("far_drop") }
	c.send(1, 2, 3)
	arrive(t, c.at, 1, 2, 3)
	require.Equal(t, []usage{{1, 0, liusa, 3 * packetOctets}, {2, 0, volqu, 3 * packetOctets}}, c.report(true))
	require.Zero(t, dropped())
	c.send(4, 5)
	require.Eventually(t, func() bool { return dropped() == 2 }, patience, time.Millisecond)

	c.change(ie.NewUpdateURR(ie.NewURRID(2), quota(1)))
	c.send(6, 7)
	arrive(t, c.at, 6)
	require.Equal(t, []usage{{1, 1, liusa, packetOctets}, {2, 1, volqu, packetOctets}}, c.report(true))
	require.Eventually(t, func() bool { return dropped() == 3 }, patience, time.Millisecond)
	end := c.ask(message.NewSessionDeletionRequest(0, 0, c.seid, c.next(), 0)).(*message.SessionDeletionResponse)
	c.accepted(end.Cause)
	require.Len(t, end.UsageReport, 2)
	for _, r := range end.UsageReport {
		require.Zero(t, usageOf(t, r).octets)
	}
}
