package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// addSessions makes sessions as PFCP does: 2 PDRs, 2 FARs, a QER whose MBR is never reached, and a URR with a volume
// threshold of both directions. So there are source check, policing and usage.
func (b *bed) addSessions(count int) error {
	instances := session.Instances{Known: []pfcp.NetworkInstance{"internet"}, Default: "internet"}
	var changes session.Changes
	for n := range count {
		g := &grants{}
		s, _, err := session.Establish(b.request(n), pfcp.SEID(n+1), slice, session.DefaultLimits(), g, 1)
		if err != nil {
			return fmt.Errorf("session %d: %w", n, err)
		}
		table, err := s.Compile(instances)
		if err != nil {
			return fmt.Errorf("session %d: %w", n, err)
		}
		s = s.Recount(session.Session{}, table, session.Counts{})
		changes.Puts = append(changes.Puts, table...)
		changes.DiffCells(nil, s.Cells())
		if len(changes.Puts) >= 2*batch || n == count-1 {
			if err := b.d.Apply(changes); err != nil {
				return err
			}
			changes = session.Changes{}
		}
	}
	return b.resolve()
}

// request establishes the n-th session.
func (b *bed) request(n int) *pfcp.SessionEstablishmentRequest {
	ue := pfcp.UEIPAddress{IPv4: netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, firstUE()+uint32(n)*b.kind.ueStride)))}
	if b.kind.ipv6 {
		half := binary.BigEndian.AppendUint64(nil, firstHalf+uint64(n)*uint64(b.kind.ueStride))
		ue = pfcp.UEIPAddress{IPv6: netip.AddrFrom16([16]byte(append(half, make([]byte, 8)...)))}
	}
	up, down := pfcp.CreatePDR{
		ID: 1, Precedence: 255, FARID: pfcp.Some(pfcp.FARID(1)), QERIDs: []pfcp.QERID{1}, URRIDs: []pfcp.URRID{1},
		OuterHeaderRemoval: pfcp.Some(pfcp.RemoveGTPUUDPIPv4),
		PDI: pfcp.PDI{
			SourceInterface: pfcp.InterfaceAccess, UEIPAddress: pfcp.Some(ue),
			FTEID: pfcp.Some(pfcp.FTEID{TEID: pfcp.TEID(firstTEID + uint32(n)*b.kind.teidStride), IPv4: slice}),
		},
	}, pfcp.CreatePDR{
		ID: 2, Precedence: 255, FARID: pfcp.Some(pfcp.FARID(2)), QERIDs: []pfcp.QERID{1}, URRIDs: []pfcp.URRID{1},
		PDI: pfcp.PDI{
			SourceInterface: pfcp.InterfaceCore, UEIPAddress: pfcp.Some(ue),
			NetworkInstance: pfcp.Some(pfcp.NetworkInstance("internet")),
		},
	}
	if n < len(b.kind.filters) { // the last one matches
		var filters []pfcp.SDFFilter
		for i := range b.kind.filters[n] - 1 {
			filters = append(filters, pfcp.SDFFilter{
				FlowDescription: fmt.Sprintf("permit out 17 from %v %d to assigned", gateway, 7000+i),
			})
		}
		filters = append(filters, pfcp.SDFFilter{FlowDescription: fmt.Sprintf("permit out 17 from %v to assigned", gateway)})
		up.PDI.SDFFilters, down.PDI.SDFFilters = filters, filters
	}
	return &pfcp.SessionEstablishmentRequest{
		FSEID:      pfcp.FSEID{SEID: pfcp.SEID(n + 1), IPv4: sgw},
		CreatePDRs: []pfcp.CreatePDR{up, down},
		CreateFARs: []pfcp.CreateFAR{
			{ID: 1, ApplyAction: pfcp.ActionForward, ForwardingParameters: pfcp.Some(pfcp.ForwardingParameters{
				DestinationInterface: pfcp.Some(pfcp.InterfaceCore), NetworkInstance: pfcp.Some(pfcp.NetworkInstance("internet")),
			})},
			{ID: 2, ApplyAction: pfcp.ActionForward, ForwardingParameters: pfcp.Some(pfcp.ForwardingParameters{
				DestinationInterface: pfcp.Some(pfcp.InterfaceAccess),
				OuterHeaderCreation:  pfcp.Some(b.outer(n)),
			})},
		},
		CreateQERs: []pfcp.CreateQER{{ID: 1, MBR: pfcp.Some(pfcp.BitRate{Uplink: 100_000_000, Downlink: 100_000_000})}},
		CreateURRs: []pfcp.CreateURR{{
			ID: 1, MeasurementMethod: pfcp.MeasureVolume, ReportingTriggers: pfcp.ReportVolumeThreshold,
			URRParameters: pfcp.URRParameters{VolumeThreshold: pfcp.Volume{Total: pfcp.Some(uint64(1 << 40))}},
		}},
	}
}

// outer is where the n-th session's downlink goes.
func (b *bed) outer(n int) pfcp.OuterHeaderCreation {
	if b.kind.outer6 {
		return pfcp.OuterHeaderCreation{Description: pfcp.CreateGTPUUDPIPv6, TEID: pfcp.TEID(n + 1), IPv6: sgw6}
	}
	return pfcp.OuterHeaderCreation{Description: pfcp.CreateGTPUUDPIPv4, TEID: pfcp.TEID(n + 1), IPv4: sgw}
}

// grants lets the control plane choose all that it asks for. The rest is never asked for.
type grants struct{ session.Grants }

// Slice is of session.Grants.
func (*grants) Slice(netip.Addr) session.Slice { return session.Slice{IPv4: slice, IPv6: slice6} }

// Claim is of session.Grants.
func (*grants) Claim(session.FTEID) error { return nil }

// Hold is of session.Grants.
func (*grants) Hold(pfcp.NetworkInstance, netip.Prefix) (string, error) { return "", nil }
