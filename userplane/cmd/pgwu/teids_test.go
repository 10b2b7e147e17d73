package main

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"
)

// TestTEIDsThatShareASlot restores sessions whose TEIDs have the slot of a TEID of ours and of each other, as it happens
// when control planes restore while others attach. All of them forward, over a kill too, and each goes by itself.
func TestTEIDsThatShareASlot(t *testing.T) {
	s := newSite(t)
	s.start()
	s.setup()
	seid, teid := s.establish()
	s.warmUp(teid)
	type restored struct {
		seid uint64
		ue   netip.Addr
		teid uint32
	}
	all := []restored{{seid: seid, ue: ueAddr, teid: teid}}
	restore := func(ue netip.Addr, teid uint32) message.Message {
		return s.ask(message.NewSessionEstablishmentRequest(0, 0, 0, s.next(), 0,
			ie.NewNodeID("", "", "pgwc.example"), ie.NewFSEID(1000+uint64(s.seq), sgwAddr.AsSlice(), nil), ie.NewPFCPSEReqFlags(0x01),
			ie.NewCreatePDR(
				ie.NewPDRID(1), ie.NewPrecedence(100),
				ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceAccess), ie.NewFTEID(0x01, teid, sliceAddr.AsSlice(), nil, 0), ie.NewUEIPAddress(2, ue.String(), "", 0, 0)),
				ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(1),
			),
			ie.NewCreatePDR(
				ie.NewPDRID(2), ie.NewPrecedence(100),
				ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceCore), ie.NewUEIPAddress(6, ue.String(), "", 0, 0)), ie.NewFARID(2),
			),
			ie.NewCreateFAR(ie.NewFARID(1), ie.NewApplyAction(2), ie.NewForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceCore))),
			ie.NewCreateFAR(ie.NewFARID(2), ie.NewApplyAction(2),
				ie.NewForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceAccess),
					ie.NewOuterHeaderCreation(0x0100, remoteTEID, sgwAddr.String(), "", 0, 0, 0))),
		))
	}
	for n := range uint32(20) {
		one := restored{ue: netip.AddrFrom4([4]byte{172, 16, 1, byte(100 + n)}), teid: teid ^ (n+1)<<8} // 256 slots
		r := restore(one.ue, one.teid).(*message.SessionEstablishmentResponse)
		s.accepted(r.Cause)
		fseid, err := r.UPFSEID.FSEID()
		require.NoError(t, err)
		one.seid = fseid.SEID
		all = append(all, one)
	}
	forward := func() {
		t.Helper()
		for _, one := range all {
			number := one.teid ^ uint32(one.seid)
			_, err := s.gtpu.WriteToUDPAddrPort(packetFrom(one.ue, one.teid, number), netip.AddrPortFrom(sliceAddr, 2152))
			require.NoError(t, err)
			back, ok := s.receive(patience)
			require.True(t, ok, "TEID %#x", one.teid)
			require.Equal(t, number, back)
		}
	}
	forward()
	r := restore(netip.MustParseAddr("172.16.1.99"), all[7].teid).(*message.SessionEstablishmentResponse)
	v, err := r.Cause.Cause()
	require.NoError(t, err)
	require.Equal(t, ie.CauseRuleCreationModificationFailure, v, "one and the same TEID is never shared")
	s.kill(syscall.SIGKILL)
	forward()
	s.start()
	forward()
	for _, n := range []int{0, 9} { // one in its own slot, one in another's
		m := s.ask(message.NewSessionDeletionRequest(0, 0, all[n].seid, s.next(), 0)).(*message.SessionDeletionResponse)
		s.accepted(m.Cause)
		s.send(all[n].teid, 1)
		_, ok := s.receive(100 * time.Millisecond)
		require.False(t, ok)
		all = append(all[:n], all[n+1:]...)
		forward()
	}
	again := restored{ue: netip.MustParseAddr("172.16.1.98"), teid: teid ^ 100<<8}
	s.accepted(restore(again.ue, again.teid).(*message.SessionEstablishmentResponse).Cause)
	all = append(all, again)
	forward()
}
