package pfcp

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Kinds of the node in an FQ-CSID, TS 29.244 8.2.43.
const (
	csidIPv4    = 0
	csidIPv6    = 1
	csidMCCMNC  = 2
	maxCSIDs    = 15
	csidNumbers = 0x0f
)

// FQCSID is the FQ-CSID IE (type 65), TS 29.244 8.2.43: sets of sessions that share the fate of a part of a node. The
// node is named by an address, or else by MCC and MNC and 12 bits of its operator's choice.
type FQCSID struct {
	Addr     netip.Addr // zero: MCCMNC names the node
	MCCMNC   uint32     // MCC x 1000 + MNC in the upper 20 bits, 12 bits of the operator below
	CSIDs    []uint16   // at most 15
	NodeType Opt[uint8] // 0 MME, 1 SGW-C, 2 PGW-C/SMF, 3 ePDG, 4 TWAN, 5 PGW-U/SGW-U/UPF
}

func parseSessionSetDeletionRequest(b []byte) (Message, *Error) {
	m := &SessionSetDeletionRequest{}
	w := walk(b, inSetDeletion)
	w.ignored = &m.Ignored
	for w.next() {
		switch w.typ {
		case IENodeID:
			m.NodeID = w.nodeID()
		case IEFQCSID:
			*add(&w, &m.FQCSIDs) = w.fqcsid()
		default:
			w.ignore()
		}
	}
	w.require(IENodeID)
	return m, w.err
}

// inSetDeletion are the IEs that may be repeated in a Session Set Deletion Request.
var inSetDeletion = typesOf(IEFQCSID)

func (m *SessionSetDeletionRequest) appendIEs(w *writer) {
	w.nodeID(m.NodeID)
	w.fqcsids(m.FQCSIDs)
}

func parseSessionSetDeletionResponse(b []byte) (Message, *Error) {
	m := &SessionSetDeletionResponse{}
	return m, parseNodeAnswer(b, &m.NodeID, &m.Cause, &m.Offending)
}

func (m *SessionSetDeletionResponse) appendIEs(w *writer) {
	w.nodeID(m.NodeID)
	w.u8(IECause, uint8(m.Cause))
	w.offending(m.Offending)
}

// fqcsid reads an FQ-CSID IE. The type of the node stands behind the sets since Rel-14.
func (w *walker) fqcsid() FQCSID {
	var f FQCSID
	kind := w.u8()
	switch kind >> 4 {
	case csidIPv4:
		f.Addr = w.ipv4()
	case csidIPv6:
		f.Addr = w.ipv6()
	case csidMCCMNC:
		f.MCCMNC = w.u32()
	default:
		w.fail(CauseMandatoryIEIncorrect, w.typ, "unknown kind of node")
	}
	if n := int(kind & csidNumbers); n > 0 {
		f.CSIDs = make([]uint16, n)
		for i := range f.CSIDs {
			f.CSIDs[i] = w.u16()
		}
	}
	if len(w.value) > 0 {
		f.NodeType = Some(w.u8() & 0x0f)
	}
	return f
}

func (w *writer) fqcsids(sets []FQCSID) {
	for i := range sets {
		w.fqcsid(&sets[i])
	}
}

func (w *writer) fqcsid(f *FQCSID) {
	if len(f.CSIDs) > maxCSIDs {
		w.fail(errors.New("too many CSIDs in one FQ-CSID"))
	}
	kind := uint8(csidMCCMNC)
	switch {
	case f.Addr.Is4():
		kind = csidIPv4
	case f.Addr.Is6():
		kind = csidIPv6
	}
	at := w.open(IEFQCSID)
	w.b = append(w.b, kind<<4|uint8(len(f.CSIDs))&csidNumbers)
	w.address(f.Addr)
	if kind == csidMCCMNC {
		w.b = binary.BigEndian.AppendUint32(w.b, f.MCCMNC)
	}
	for _, id := range f.CSIDs {
		w.b = binary.BigEndian.AppendUint16(w.b, id)
	}
	if f.NodeType.Present {
		w.b = append(w.b, f.NodeType.Value)
	}
	w.close(at)
}
