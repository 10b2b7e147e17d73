package session

import (
	"errors"

	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/pfcp"
)

// Rule ids of the default bearer, and what it is matched with. We chose them; dedicated bearers will take the
// next ones and lower precedences.
const (
	pdrUplink   pfcp.PDRID = 1
	pdrDownlink pfcp.PDRID = 2
	farUplink   pfcp.FARID = 1
	farDownlink pfcp.FARID = 2
	qerSession  pfcp.QERID = 1 // the APN-AMBR, for all bearers
	urrSession  pfcp.URRID = 1 // volume, for all bearers

	precedenceDefault pfcp.Precedence = 65535
)

// establishment is the PFCP session of a new connection, TS 29.244 7.5.2: uplink out of the
// tunnel into the network instance, downlink into the tunnel to the SGW, both under the APN-AMBR and counted.
func establishment(c Connection) *pfcp.SessionEstablishmentRequest {
	bearer := c.Default()
	return &pfcp.SessionEstablishmentRequest{
		FSEID:      pfcp.FSEID{SEID: c.CPSEID}, // the edge fills in its address, and the Node ID
		CreatePDRs: []pfcp.CreatePDR{uplinkPDR(c, bearer), downlinkPDR(c)},
		CreateFARs: []pfcp.CreateFAR{
			{
				ID: farUplink, ApplyAction: pfcp.ActionForward,
				ForwardingParameters: pfcp.Some(pfcp.ForwardingParameters{
					DestinationInterface: pfcp.Some(pfcp.InterfaceCore),
					NetworkInstance:      pfcp.Some(c.NetworkInstance),
				}),
			},
			{
				ID: farDownlink, ApplyAction: pfcp.ActionForward,
				ForwardingParameters: pfcp.Some(pfcp.ForwardingParameters{
					DestinationInterface: pfcp.Some(pfcp.InterfaceAccess),
					OuterHeaderCreation:  pfcp.Some(outerHeader(bearer.Remote)),
				}),
			},
		},
		CreateQERs: []pfcp.CreateQER{{ID: qerSession, MBR: rate(c.AMBR)}},
		CreateURRs: []pfcp.CreateURR{{ID: urrSession, MeasurementMethod: pfcp.MeasureVolume}},
		PDNType:    pfcp.Some(uint8(gtpc.PDNTypeIPv4)),
	}
}

func uplinkPDR(c Connection, b Bearer) pfcp.CreatePDR {
	choose := pfcp.FTEID{Choose: true, ChooseIPv4: true}
	removal := pfcp.RemoveGTPUUDPIPv4
	if !b.Remote.IPv4.IsValid() { // the S8-U of the SGW is IPv6, so ours must be
		choose = pfcp.FTEID{Choose: true, ChooseIPv6: true}
		removal = pfcp.RemoveGTPUUDPIPv6
	}
	return pfcp.CreatePDR{
		ID: pdrUplink, Precedence: precedenceDefault,
		PDI: pfcp.PDI{
			SourceInterface: pfcp.InterfaceAccess,
			FTEID:           pfcp.Some(choose),
			UEIPAddress:     pfcp.Some(pfcp.UEIPAddress{IPv4: c.Address}),
		},
		OuterHeaderRemoval: pfcp.Some(removal),
		FARID:              pfcp.Some(farUplink),
		URRIDs:             []pfcp.URRID{urrSession},
		QERIDs:             []pfcp.QERID{qerSession},
	}
}

func downlinkPDR(c Connection) pfcp.CreatePDR {
	return pfcp.CreatePDR{
		ID: pdrDownlink, Precedence: precedenceDefault,
		PDI: pfcp.PDI{
			SourceInterface: pfcp.InterfaceCore,
			NetworkInstance: pfcp.Some(c.NetworkInstance),
			UEIPAddress:     pfcp.Some(pfcp.UEIPAddress{IPv4: c.Address, Destination: true}),
		},
		FARID:  pfcp.Some(farDownlink),
		URRIDs: []pfcp.URRID{urrSession},
		QERIDs: []pfcp.QERID{qerSession},
	}
}

// downlinkChange points the downlink at the SGW that next names, and ends the stream to the former one where the
// PGW-U can, TS 23.401 5.5.1.1.3.
func downlinkChange(next Connection) *pfcp.SessionModificationRequest {
	return &pfcp.SessionModificationRequest{UpdateFARs: []pfcp.UpdateFAR{{
		ID: farDownlink,
		ForwardingParameters: pfcp.Some(pfcp.ForwardingParameters{
			DestinationInterface: pfcp.Some(pfcp.InterfaceAccess),
			OuterHeaderCreation:  pfcp.Some(outerHeader(next.Default().Remote)),
			SendEndMarker:        next.EndMarkers,
		}),
	}}}
}

func outerHeader(f gtpc.FTEID) pfcp.OuterHeaderCreation {
	if f.IPv4.IsValid() {
		return pfcp.OuterHeaderCreation{Description: pfcp.CreateGTPUUDPIPv4, TEID: pfcp.TEID(f.TEID), IPv4: f.IPv4}
	}
	return pfcp.OuterHeaderCreation{Description: pfcp.CreateGTPUUDPIPv6, TEID: pfcp.TEID(f.TEID), IPv6: f.IPv6}
}

// rate is the MBR of an APN-AMBR; one of zero in both directions limits nothing.
func rate(a gtpc.AMBR) pfcp.Opt[pfcp.BitRate] {
	if a == (gtpc.AMBR{}) {
		return pfcp.Opt[pfcp.BitRate]{}
	}
	return pfcp.Some(pfcp.BitRate{Uplink: uint64(a.Uplink), Downlink: uint64(a.Downlink)})
}

// CauseFor is the cause that the SGW hears when a PGW-U refused or did not answer. TS 29.274 leaves the mapping
// open: what is a lack of means there is "no resources available" here, which lets the SGW try elsewhere; the rest
// is a fault between our nodes, "system failure".
func CauseFor(err error) gtpc.Cause {
	fault := (*pfcp.Error)(nil)
	if !errors.As(err, &fault) {
		return gtpc.CauseSystemFailure
	}
	switch fault.Cause {
	case pfcp.CauseNoResourcesAvailable, pfcp.CausePFCPEntityInCongestion, pfcp.CauseNoEstablishedAssociation:
		return gtpc.CauseNoResourcesAvailable
	case pfcp.CauseAllDynamicAddressesTaken:
		return gtpc.CauseAllDynamicAddressesOccupied
	default:
		return gtpc.CauseSystemFailure
	}
}

func rulesInstalled(s State, e RulesInstalled) (State, []Action) {
	switch {
	case s.Phase == PhaseEstablishing && e.Established != nil:
		return established(s, e.Established)
	case s.Phase == PhaseModifying:
		return modified(s)
	}
	return s, nil
}

func rulesFailed(s State, e RulesFailed) (State, []Action) {
	switch s.Phase {
	case PhaseEstablishing:
		return notEstablished(s, e)
	case PhaseModifying:
		return notModified(s, e.Err)
	case PhaseDeleting:
		return notDeleted(s, e.Err)
	default:
		return s, nil
	}
}
