package pfcp

import (
	"encoding/binary"
	"net/netip"
)

// NodeReportType is the Node Report Type IE (type 101), TS 29.244 8.2.69.
type NodeReportType uint8

// Flags of NodeReportType.
const (
	NodeReportPathFailure  NodeReportType = 1 << 0 // UPFR
	NodeReportPathRecovery NodeReportType = 1 << 1 // UPRR
)

// Flags of the Remote GTP-U Peer IE: octet 5, TS 29.244 8.2.70.
const (
	gtpuPeerV6 = 1 << 0
	gtpuPeerV4 = 1 << 1
	gtpuPeerDI = 1 << 2
	gtpuPeerNI = 1 << 3
)

// RemoteGTPUPeer is the Remote GTP-U Peer IE (type 103), TS 29.244 8.2.70.
type RemoteGTPUPeer struct {
	IPv4, IPv6           netip.Addr // at least one is set
	DestinationInterface Opt[Interface]
	NetworkInstance      Opt[NetworkInstance]
}

// inPathReport are the IEs that may be repeated in a User Plane Path Failure or Recovery Report.
var inPathReport = typesOf(IERemoteGTPUPeer)

func parseNodeReportRequest(b []byte) (Message, *Error) {
	m := &NodeReportRequest{}
	w := walk(b, &once)
	w.ignored = &m.Ignored
	for w.next() {
		switch w.typ {
		case IENodeID:
			m.NodeID = w.nodeID()
		case IENodeReportType:
			m.ReportType = NodeReportType(w.u8())
		case IEUserPlanePathFailureReport:
			w.within(parsePathReport(&w, &m.PathFailures))
		case IEUserPlanePathRecoveryReport:
			w.within(parsePathReport(&w, &m.PathRecoveries))
		default:
			w.ignore()
		}
	}
	w.require(IENodeID, IENodeReportType)
	return m, w.err
}

func (m *NodeReportRequest) appendIEs(w *writer) {
	w.nodeID(m.NodeID)
	w.u8(IENodeReportType, uint8(m.ReportType))
	w.pathReport(IEUserPlanePathFailureReport, m.PathFailures)
	w.pathReport(IEUserPlanePathRecoveryReport, m.PathRecoveries)
}

// parsePathReport reads a User Plane Path Failure Report IE (type 102) or a User Plane Path Recovery Report IE (187),
// TS 29.244 7.4.5.1.2 and 7.4.5.1.3.
func parsePathReport(in *walker, peers *[]RemoteGTPUPeer) *Error {
	w := in.group(inPathReport)
	for w.next() {
		if w.typ == IERemoteGTPUPeer {
			*add(&w, peers) = w.remoteGTPUPeer()
		} else {
			w.ignore()
		}
	}
	w.require(IERemoteGTPUPeer)
	return w.err
}

func (w *writer) pathReport(typ uint16, peers []RemoteGTPUPeer) {
	if len(peers) == 0 {
		return
	}
	at := w.open(typ)
	for i := range peers {
		w.remoteGTPUPeer(&peers[i])
	}
	w.close(at)
}

// remoteGTPUPeer reads a Remote GTP-U Peer IE.
func (w *walker) remoteGTPUPeer() RemoteGTPUPeer {
	var p RemoteGTPUPeer
	flags := w.u8()
	if flags&gtpuPeerV4 != 0 {
		p.IPv4 = w.ipv4()
	}
	if flags&gtpuPeerV6 != 0 {
		p.IPv6 = w.ipv6()
	}
	if flags&(gtpuPeerV4|gtpuPeerV6) == 0 {
		w.fail(CauseMandatoryIEIncorrect, w.typ, "GTP-U peer without an address")
	}
	if flags&gtpuPeerDI != 0 {
		if value := w.take(int(w.u16())); len(value) > 0 {
			p.DestinationInterface = Some(Interface(value[0] & 0x0f))
		}
	}
	if flags&gtpuPeerNI != 0 {
		p.NetworkInstance = Some(NetworkInstance(w.nameOf(int(w.u16()))))
	}
	return p
}

func (w *writer) remoteGTPUPeer(p *RemoteGTPUPeer) {
	v4, v6 := w.families(IERemoteGTPUPeer, p.IPv4, p.IPv6)
	if !v4 && !v6 {
		w.fail(&Error{Cause: CauseMandatoryIEIncorrect, Offending: IERemoteGTPUPeer})
	}
	at := w.open(IERemoteGTPUPeer)
	w.b = append(w.b, flag(v4, uint8(gtpuPeerV4))|flag(v6, uint8(gtpuPeerV6))|
		flag(p.DestinationInterface.Present, uint8(gtpuPeerDI))|flag(p.NetworkInstance.Present, uint8(gtpuPeerNI)))
	w.address(p.IPv4)
	w.address(p.IPv6)
	if p.DestinationInterface.Present {
		w.b = append(w.b, 0, 1, uint8(p.DestinationInterface.Value))
	}
	if p.NetworkInstance.Present {
		w.b = append(w.b, 0, 0)
		from := len(w.b)
		if p.NetworkInstance.Value != "" {
			w.name(string(p.NetworkInstance.Value))
		}
		binary.BigEndian.PutUint16(w.b[from-2:], uint16(len(w.b)-from))
	}
	w.close(at)
}

func parseNodeReportResponse(b []byte) (Message, *Error) {
	m := &NodeReportResponse{}
	return m, parseNodeAnswer(b, &m.NodeID, &m.Cause, &m.Offending)
}

// parseNodeAnswer reads a response that is but Node ID, Cause and Offending IE. It wants only the Cause: some peers
// leave the rest out.
func parseNodeAnswer(b []byte, node *NodeID, cause *Cause, offending *Opt[uint16]) *Error {
	w := walk(b, &once)
	for w.next() {
		switch w.typ {
		case IENodeID:
			*node = w.nodeID()
		case IECause:
			*cause = w.cause()
		case IEOffendingIE:
			*offending = Some(w.u16())
		}
	}
	w.require(IECause)
	return w.err
}

func (m *NodeReportResponse) appendIEs(w *writer) {
	w.nodeID(m.NodeID)
	w.u8(IECause, uint8(m.Cause))
	w.offending(m.Offending)
}
