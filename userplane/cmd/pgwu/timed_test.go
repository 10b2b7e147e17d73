package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"
)

// subscriber is a UE with a control plane, a GTP-U peer and a place in the network of its own, so that what becomes of its
// packets can be told from what becomes of others'.
type subscriber struct {
	*tenant
	ue netip.Addr
	at *net.UDPConn // where its packets go
}

// subscriber sets one up whose packets have come through in both directions, and none of which is on its way.
func (s *site) subscriber(number byte) *subscriber {
	s.t.Helper()
	c := &subscriber{
		tenant: s.tenant(fmt.Sprintf("10.20.11.%d", number), fmt.Sprintf("cp%d.example", number), "internet", 0x1000+uint32(number)),
		ue:     netip.AddrFrom4([4]byte{172, 16, 1, number}),
		at:     s.listen(s.core, netip.AddrPortFrom(serverAddr.Addr(), 8000+uint16(number))),
	}
	c.gtpu = s.listen(s.sgw, netip.AddrPortFrom(c.addr, 2152))
	c.setUp(time.Unix(1_700_000_000, 0))
	network := ie.NewNetworkInstance("internet")
	r := c.ask(message.NewSessionEstablishmentRequest(0, 0, 0, c.next(), 0,
		ie.NewNodeID("", "", c.node), ie.NewFSEID(uint64(number), c.addr.AsSlice(), nil),
		ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(100), ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceAccess),
			ie.NewFTEID(0x05, 0, nil, nil, 0), ie.NewUEIPAddress(2, c.ue.String(), "", 0, 0)), ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(1)),
		ie.NewCreatePDR(ie.NewPDRID(2), ie.NewPrecedence(100), ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceCore),
			network, ie.NewUEIPAddress(6, c.ue.String(), "", 0, 0)), ie.NewFARID(2)),
		ie.NewCreateFAR(ie.NewFARID(1), ie.NewApplyAction(forward), ie.NewForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceCore), network)),
		ie.NewCreateFAR(ie.NewFARID(2), ie.NewApplyAction(forward), ie.NewForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceAccess),
			ie.NewOuterHeaderCreation(0x0100, c.remoteTEID, c.addr.String(), "", 0, 0, 0))),
	)).(*message.SessionEstablishmentResponse)
	c.accepted(r.Cause)
	fseid, err := r.UPFSEID.FSEID()
	require.NoError(c.t, err)
	fteid, err := r.CreatedPDR[0].FTEID()
	require.NoError(c.t, err)
	c.seid, c.teid = fseid.SEID, fteid.TEID
	const last = 1 << 20
	for deadline, n := time.Now().Add(patience), uint32(0); ; n++ { // neighbours are unknown at first
		require.True(c.t, time.Now().Before(deadline), "%v", c.reasonCounts())
		c.send(n)
		if _, ok := numberFrom(c.t, c.at, 50*time.Millisecond); !ok {
			continue
		}
		c.sendDown(n)
		if _, ok := numberFrom(c.t, c.gtpu, 50*time.Millisecond); ok {
			break
		}
	}
	c.send(last)
	c.sendDown(last)
	for _, conn := range []*net.UDPConn{c.at, c.gtpu} {
		for n := uint32(0); n != last; {
			n, _ = numberFrom(c.t, conn, patience)
		}
	}
	return c
}

// server is where the UE's packets go.
func (c *subscriber) server() netip.AddrPort { return c.at.LocalAddr().(*net.UDPAddr).AddrPort() }

func (c *subscriber) packet(number uint32) []byte {
	return innerUDP(c.t, netip.AddrPortFrom(c.ue, 5000), c.server(), binary.BigEndian.AppendUint32(nil, number))
}

func (c *subscriber) sendInTunnel(message []byte) {
	c.t.Helper()
	_, err := c.gtpu.WriteToUDPAddrPort(message, netip.AddrPortFrom(sliceAddr, 2152))
	require.NoError(c.t, err)
}

// send sends numbered packets of the UE.
func (c *subscriber) send(numbers ...uint32) {
	c.t.Helper()
	for _, n := range numbers {
		c.sendInTunnel(gpdu(c.teid, c.packet(n)))
	}
}

// sendDown sends numbered packets to the UE.
func (c *subscriber) sendDown(numbers ...uint32) {
	c.t.Helper()
	for _, n := range numbers {
		_, err := c.at.WriteToUDPAddrPort(binary.BigEndian.AppendUint32(nil, n), netip.AddrPortFrom(c.ue, 5000))
		require.NoError(c.t, err)
	}
}

// numberFrom is the number of the next packet that comes to a socket.
func numberFrom(t *testing.T, conn *net.UDPConn, wait time.Duration) (uint32, bool) {
	t.Helper()
	b := make([]byte, 2048)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(wait)))
	n, err := conn.Read(b)
	if err != nil {
		return 0, false
	}
	return binary.BigEndian.Uint32(b[n-4:]), true
}

// arrive waits for packets with these numbers, and for none between them.
func arrive(t *testing.T, conn *net.UDPConn, numbers ...uint32) {
	t.Helper()
	for _, want := range numbers {
		got, ok := numberFrom(t, conn, patience)
		require.True(t, ok, "packet %d", want)
		require.Equal(t, want, got)
	}
}

func (c *subscriber) change(rules ...*ie.IE) {
	c.t.Helper()
	c.accepted(c.site.change(c.seid, rules...).Cause)
}

// measure has a URR measure the volume and the duration of what the UE sends.
func (c *subscriber) measure(triggers uint32, parameters ...*ie.IE) {
	c.t.Helper()
	c.change(ie.NewCreateURR(append([]*ie.IE{
		ie.NewURRID(1), ie.NewMeasurementMethod(0, 1, 1), ie.NewReportingTriggers(byte(triggers), byte(triggers>>8)),
	}, parameters...)...), ie.NewUpdatePDR(ie.NewPDRID(1), ie.NewURRID(1)))
}

// TestTimersBuffersAndDuplicates has the timers of several sessions run at once, sees meanwhile what becomes of packets that are
// buffered, duplicated, redirected or told by other marks, and then what each control plane hears when its time is over.
func TestTimersBuffersAndDuplicates(t *testing.T) {
	s := newSite(t)
	s.configure(`pfcp: {address: "10.20.11.2"}`, `pfcp: {address: "10.20.11.2", t1: 20s, usage_poll: 50ms}`)
	s.configure("data_path:", "ue_pools: [{name: ours, network_instance: internet, ipv4: 172.16.1.128/29}]\ndata_path:")
	s.start()
	events := func(name string) uint64 { return s.counted("xepc_pgwu_pfcp_events_total", "event", name) }
	told := func(c *subscriber, more ...*ie.IE) {
		c.t.Helper()
		m := c.reported()
		require.True(c.t, m.ReportType.HasDLDR())
		c.confirm(m, more...)
	}
	stopsUntil := func(c *subscriber, trigger []byte, quota *ie.IE) {
		c.t.Helper()
		require.Equal(c.t, []usage{{1, 0, trigger, 2 * packetOctets}}, c.report(true))
		c.send(3)
		c.change(ie.NewUpdateURR(ie.NewURRID(1), quota, ie.NewQuotaHoldingTime(0)))
		c.send(4)
		arrive(c.t, c.at, 4)
	}
	another := ie.NewVolumeQuota(1, 1<<20, 0, 0)
	var monitoring, asked time.Time
	rows := []struct {
		name  string
		begin func(*subscriber) // its time
		check func(*subscriber) // what has come of it
	}{
		{"a BAR suggests to keep no packet", nil, func(c *subscriber) {
			c.change(ie.NewCreateBAR(ie.NewBARID(1), ie.NewSuggestedBufferingPacketsCount(0)),
				ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(bufferAndNotify), ie.NewBARID(1)))
			before := events("buffer_full")
			c.sendDown(1, 2, 3)
			told(c)
			require.Eventually(c.t, func() bool { return events("buffer_full") == before+3 }, patience, time.Millisecond)
			c.applyAction(c.seid, forward)
			c.sendDown(4)
			arrive(c.t, c.gtpu, 4)
		}},
		{"the control plane has what is buffered dropped", nil, func(c *subscriber) {
			before := events("buffer_dropped")
			c.applyAction(c.seid, bufferAndNotify)
			c.sendDown(1)
			told(c, ie.NewPFCPSRRspFlags(1))
			require.Eventually(c.t, func() bool { return events("buffer_dropped") == before+1 }, patience, time.Millisecond)
			c.applyAction(c.seid, bufferAndNotify) // tell me again
			c.sendDown(2)
			told(c)
			c.change(ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(forward)), ie.NewPFCPSMReqFlags(1))
			require.Equal(c.t, before+2, events("buffer_dropped"))
			c.sendDown(3)
			arrive(c.t, c.gtpu, 3)
		}},
		{"duplicates go into two tunnels", nil, func(c *subscriber) {
			into := func(teid uint32) *ie.IE {
				return ie.NewDuplicatingParameters(ie.NewDestinationInterface(ie.DstInterfaceLIFunction),
					ie.NewOuterHeaderCreation(0x0100, teid, c.addr.String(), "", 0, 0, 0))
			}
			c.change(ie.NewCreateFAR(ie.NewFARID(3), ie.NewApplyAction(0x12), // FORW and DUPL
				ie.NewForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceCore), ie.NewNetworkInstance("internet")),
				into(0x77000001), into(0x77000002)), ie.NewUpdatePDR(ie.NewPDRID(1), ie.NewFARID(3)))
			c.send(1, 2)
			arrive(c.t, c.at, 1, 2)
			got := map[string]int{}
			for range 4 {
				b := make([]byte, 2048)
				require.NoError(c.t, c.gtpu.SetReadDeadline(time.Now().Add(patience)))
				n, err := c.gtpu.Read(b)
				require.NoError(c.t, err)
				got[string(b[:n])]++
			}
			want := map[string]int{}
			for _, teid := range []uint32{0x77000001, 0x77000002} {
				want[string(gpdu(teid, c.packet(1)))], want[string(gpdu(teid, c.packet(2)))] = 1, 1
			}
			require.Equal(c.t, want, got)
		}},
		{"a packet is redirected to an address", nil, func(c *subscriber) {
			c.change(ie.NewUpdateFAR(ie.NewFARID(1), ie.NewUpdateForwardingParameters(ie.NewRedirectInformation(0, serverAddr.Addr().String()))))
			elsewhere := netip.AddrPortFrom(netip.MustParseAddr("10.50.99.1"), c.server().Port())
			c.sendInTunnel(gpdu(c.teid, innerUDP(c.t, netip.AddrPortFrom(c.ue, 5000), elsewhere, []byte{0, 0, 0, 1})))
			arrive(c.t, c.at, 1)
		}},
		{"packets of one QFI are dropped", nil, func(c *subscriber) {
			c.change(ie.NewCreateFAR(ie.NewFARID(3), ie.NewApplyAction(1)), ie.NewCreatePDR(ie.NewPDRID(3), ie.NewPrecedence(10),
				ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceAccess), ie.NewFTEID(0x01, c.teid, sliceAddr.AsSlice(), nil, 0),
					ie.NewUEIPAddress(2, c.ue.String(), "", 0, 0), ie.NewQFI(5)), ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(3)))
			for number, qfi := range map[uint32]byte{1: 5, 2: 6} {
				g := gpdu(c.teid, append([]byte{0, 0, 0, 0x85, 1, 0x10, qfi, 0}, c.packet(number)...)) // TS 38.415 5.5.2.2
				g[0] |= 0x04
				c.sendInTunnel(g)
			}
			c.send(3)
			arrive(c.t, c.at, 2, 3)
		}},
		{"a traffic endpoint with an address of ours", nil, func(c *subscriber) {
			pdi := func(side uint8, more ...*ie.IE) *ie.IE {
				return ie.NewPDI(append([]*ie.IE{ie.NewSourceInterface(side), ie.NewTrafficEndpointID(1)}, more...)...)
			}
			r := c.ask(message.NewSessionEstablishmentRequest(0, 0, 0, c.next(), 0,
				ie.NewNodeID("", "", c.node), ie.NewFSEID(1<<40, c.addr.AsSlice(), nil),
				ie.NewCreateTrafficEndpoint(ie.NewTrafficEndpointID(1), ie.NewFTEID(0x05, 0, nil, nil, 0), ie.NewNetworkInstance("internet"),
					ie.NewUEIPAddress(0x10, "", "", 0, 0)), // CHV4
				ie.NewCreatePDR(ie.NewPDRID(1), ie.NewPrecedence(100), pdi(ie.SrcInterfaceAccess), ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(1)),
				ie.NewCreatePDR(ie.NewPDRID(2), ie.NewPrecedence(100), pdi(ie.SrcInterfaceCore), ie.NewFARID(2)),
				ie.NewCreateFAR(ie.NewFARID(1), ie.NewApplyAction(forward), ie.NewForwardingParameters(
					ie.NewDestinationInterface(ie.DstInterfaceCore), ie.NewNetworkInstance("internet"))),
				ie.NewCreateFAR(ie.NewFARID(2), ie.NewApplyAction(forward), ie.NewForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceAccess),
					ie.NewOuterHeaderCreation(0x0100, c.remoteTEID, c.addr.String(), "", 0, 0, 0))),
			)).(*message.SessionEstablishmentResponse)
			c.accepted(r.Cause)
			require.Len(c.t, r.CreatedTrafficEndpoint, 1)
			fteid, err := r.CreatedTrafficEndpoint[0].LocalFTEID()
			require.NoError(c.t, err)
			ue, err := r.CreatedTrafficEndpoint[0].UEIPAddress()
			require.NoError(c.t, err)
			c.teid, c.ue = fteid.TEID, netip.AddrFrom4([4]byte(ue.IPv4Address))
			require.True(c.t, netip.MustParsePrefix("172.16.1.128/29").Contains(c.ue), c.ue)
			c.send(1)
			arrive(c.t, c.at, 1)
			c.sendDown(2)
			arrive(c.t, c.gtpu, 2)
		}},
		{"quota holding time", func(c *subscriber) {
			c.measure(0x08, ie.NewVolumeQuota(1, 1<<20, 0, 0), ie.NewQuotaHoldingTime(time.Second))
			c.send(1, 2)
			arrive(c.t, c.at, 1, 2)
		}, func(c *subscriber) { stopsUntil(c, []byte{0x08, 0, 0}, another) }},
		{"quota validity time", func(c *subscriber) {
			c.measure(0x8000, ie.NewVolumeQuota(1, 1<<20, 0, 0), ie.NewQuotaValidityTime(time.Second))
			c.send(1, 2)
			arrive(c.t, c.at, 1, 2)
		}, func(c *subscriber) { stopsUntil(c, []byte{0, 0, 0x08}, another) }},
		{"time quota", func(c *subscriber) {
			c.measure(0x200, ie.NewTimeQuota(time.Second))
			c.send(1, 2)
			arrive(c.t, c.at, 1, 2)
		}, func(c *subscriber) { stopsUntil(c, []byte{0, 0x02, 0}, ie.NewTimeQuota(time.Minute)) }},
		{"events, which are starts of traffic", func(c *subscriber) {
			c.change(ie.NewCreateURR(ie.NewURRID(1), ie.NewMeasurementMethod(1, 0, 0), ie.NewReportingTriggers(0x20, 0x10),
				ie.NewEventThreshold(1), ie.NewInactivityDetectionTime(1)), ie.NewUpdatePDR(ie.NewPDRID(1), ie.NewURRID(1)))
			c.send(1)
		}, func(c *subscriber) {
			event, stop := []byte{0, 0x80, 0}, []byte{0x20, 0, 0}
			require.Equal(c.t, []usage{{1, 0, event, 0}}, c.report(true))
			require.Equal(c.t, []usage{{1, 1, stop, 0}}, c.report(true))
			c.send(2)
			require.Equal(c.t, []usage{{1, 2, event, 0}}, c.report(true))
		}},
		{"start and stop of traffic, and the time between", func(c *subscriber) {
			c.measure(0x30, ie.NewInactivityDetectionTime(1))
			c.send(1)
		}, func(c *subscriber) {
			require.Equal(c.t, []usage{{1, 0, []byte{0x10, 0, 0}, packetOctets}}, c.report(true))
			m := c.reported()
			c.confirm(m)
			require.Equal(c.t, usage{1, 1, []byte{0x20, 0, 0}, 0}, usageOf(c.t, m.UsageReport[0]))
			ran, err := m.UsageReport[0].DurationMeasurement()
			require.NoError(c.t, err)
			require.Equal(c.t, time.Second, ran)
			c.send(2)
			require.Equal(c.t, []usage{{1, 2, []byte{0x10, 0, 0}, packetOctets}}, c.report(true))
		}},
		{"user plane inactivity", func(c *subscriber) {
			c.change(ie.NewUserPlaneInactivityTimer(time.Second))
		}, func(c *subscriber) {
			for n := range uint32(2) {
				m := c.reported()
				c.confirm(m)
				require.True(c.t, m.ReportType.HasUPIR())
				c.send(n) // is activity
				arrive(c.t, c.at, n)
			}
		}},
		{"graceful release", func(c *subscriber) {
			asked = time.Now()
			c.askToRelease()
		}, func(c *subscriber) { c.isReleased(asked) }},
		{"monitoring time and periods", func(c *subscriber) {
			monitoring = time.Now().Truncate(time.Second).Add(3 * time.Second)
			c.measure(0x03, ie.NewMeasurementPeriod(4*time.Second), ie.NewMonitoringTime(monitoring),
				ie.NewVolumeThreshold(1, 1<<20, 0, 0), ie.NewSubsequentVolumeThreshold(1, 2*packetOctets, 0, 0))
			c.send(1, 2)
			arrive(c.t, c.at, 1, 2)
		}, func(c *subscriber) {
			m := c.reported()
			c.confirm(m)
			require.Len(c.t, m.UsageReport, 2)
			require.Equal(c.t, usage{1, 0, []byte{0x01, 0x10, 0}, 2 * packetOctets}, usageOf(c.t, m.UsageReport[0]))
			require.Equal(c.t, usage{1, 1, []byte{0x01, 0, 0}, 0}, usageOf(c.t, m.UsageReport[1]))
			end, err := m.UsageReport[0].EndTime()
			require.NoError(c.t, err)
			require.Equal(c.t, monitoring.Unix(), end.Unix())
			c.send(3, 4)
			require.Equal(c.t, []usage{{1, 2, []byte{0x02, 0, 0}, 2 * packetOctets}}, c.report(true), "the subsequent threshold")
		}},
	}
	all := make([]*subscriber, len(rows))
	for i := range rows {
		all[i] = s.subscriber(byte(21 + i))
	}
	for i, row := range rows {
		if row.begin != nil {
			row.begin(all[i])
		}
	}
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			all[i].t = t
			row.check(all[i])
		})
	}
}
