package pfcp

import (
	"encoding/binary"
	"errors"
)

// RedirectAddressType says what a RedirectInformation points to, TS 29.244 8.2.20.
type RedirectAddressType uint8

// Values of RedirectAddressType.
const (
	RedirectIPv4   RedirectAddressType = 0
	RedirectIPv6   RedirectAddressType = 1
	RedirectURL    RedirectAddressType = 2
	RedirectSIPURI RedirectAddressType = 3
	RedirectIPv4v6 RedirectAddressType = 4 // the server's IPv4 address, and its IPv6 address as the other one
)

// RedirectInformation is the Redirect Information IE (type 38), TS 29.244 8.2.20. Addresses are text, as on the
// wire; whoever acts on one reads it.
type RedirectInformation struct {
	Type          RedirectAddressType
	Server, Other string // Other only with RedirectIPv4v6
}

// HeaderEnrichment is the Header Enrichment IE (type 98), TS 29.244 8.2.67: a header field that a message of the UE
// gets, 0 being HTTP. Name and Value are of at most 255 octets.
type HeaderEnrichment struct {
	HeaderType  uint8
	Name, Value string
}

// DuplicatingParameters is the Duplicating Parameters IE (type 5), TS 29.244 7.5.2.3-3, and the Update Duplicating
// Parameters IE (type 105), 7.5.4.3-3.
type DuplicatingParameters struct {
	DestinationInterface  Opt[Interface]
	OuterHeaderCreation   Opt[OuterHeaderCreation]
	TransportLevelMarking Opt[uint16] // ToS/traffic class octet, then its mask
	ForwardingPolicy      Opt[string]
	Removed               IETypes // what is no more: IEs that came with no length in an update, TS 29.244 5.6.3
}

// parseDuplicatingParameters reads a Duplicating Parameters IE or an Update Duplicating Parameters IE.
func parseDuplicatingParameters(in *walker, p *DuplicatingParameters, mandatory ...uint16) *Error {
	w := in.group(&once)
	if in.typ == IEUpdateDuplicatingParameters {
		w.removed = &p.Removed
	}
	for w.next() {
		switch w.typ {
		case IEDestinationInterface:
			p.DestinationInterface = Some(Interface(w.u8() & 0x0f))
		case IEOuterHeaderCreation:
			p.OuterHeaderCreation = Some(w.outerHeaderCreation())
		case IETransportLevelMarking:
			p.TransportLevelMarking = Some(w.u16())
		case IEForwardingPolicy:
			p.ForwardingPolicy = Some(w.text(int(w.u8())))
		default:
			w.ignore()
		}
	}
	w.require(mandatory...)
	return w.err
}

func (w *writer) duplicatingParameters(typ uint16, p *DuplicatingParameters) {
	at := w.open(typ)
	w.removals(&p.Removed)
	opt8(w, IEDestinationInterface, p.DestinationInterface)
	if p.OuterHeaderCreation.Present {
		w.outerHeaderCreation(&p.OuterHeaderCreation.Value)
	}
	if p.TransportLevelMarking.Present {
		w.u16(IETransportLevelMarking, p.TransportLevelMarking.Value)
	}
	w.forwardingPolicy(p.ForwardingPolicy)
	w.close(at)
}

// redirectInformation reads a Redirect Information IE. The other address is there since Rel-15, and its length may
// be there, as 0, with every type.
func (w *walker) redirectInformation() RedirectInformation {
	r := RedirectInformation{Type: RedirectAddressType(w.u8() & 0x0f)}
	r.Server = w.text(int(w.u16()))
	if r.Type == RedirectIPv4v6 {
		r.Other = w.text(int(w.u16()))
	}
	return r
}

func (w *writer) redirectInformation(r *RedirectInformation) {
	if r.Other != "" && r.Type != RedirectIPv4v6 {
		w.fail(errors.New("redirection to two addresses of one family"))
	}
	at := w.open(IERedirectInformation)
	w.b = append(w.b, uint8(r.Type))
	w.text16(r.Server)
	w.text16(r.Other)
	w.close(at)
}

// forwardingPolicy writes a Forwarding Policy IE if it is present.
func (w *writer) forwardingPolicy(p Opt[string]) {
	if p.Present {
		at := w.open(IEForwardingPolicy)
		w.text8(p.Value)
		w.close(at)
	}
}

func (w *walker) headerEnrichment() HeaderEnrichment {
	h := HeaderEnrichment{HeaderType: w.u8() & 0x1f}
	h.Name = w.text(int(w.u8()))
	h.Value = w.text(int(w.u8()))
	return h
}

func (w *writer) headerEnrichment(h *HeaderEnrichment) {
	at := w.open(IEHeaderEnrichment)
	w.b = append(w.b, h.HeaderType)
	w.text8(h.Name)
	w.text8(h.Value)
	w.close(at)
}

// text reads n octets of the value as ASCII text, blanks allowed: flow descriptions, identifiers, routes, URLs.
func (w *walker) text(n int) string {
	b := w.take(n)
	if !plainText(b) {
		w.fail(CauseMandatoryIEIncorrect, w.typ, "no ASCII text")
		return ""
	}
	return string(b)
}

// plainText says whether b is ASCII text, blanks allowed, so that it is safe in a log line.
func plainText[T string | []byte](b T) bool {
	for i := range len(b) {
		if b[i] < ' ' || b[i] > '~' {
			return false
		}
	}
	return true
}

// text writes an IE that is nothing but text.
func (w *writer) text(typ uint16, s string) {
	at := w.open(typ)
	w.plain(s, 0xffff)
	w.close(at)
}

// texts writes an IE that is nothing but text for each of s.
func (w *writer) texts(typ uint16, s []string) {
	for _, text := range s {
		w.text(typ, text)
	}
}

// text8 appends text behind its length in one octet, text16 in two.
func (w *writer) text8(s string) {
	w.b = append(w.b, uint8(len(s)))
	w.plain(s, 0xff)
}

func (w *writer) text16(s string) {
	w.b = binary.BigEndian.AppendUint16(w.b, uint16(len(s)))
	w.plain(s, 0xffff)
}

// plain appends text, of at most longest octets.
func (w *writer) plain(s string, longest int) {
	if len(s) > longest || !plainText(s) {
		w.fail(errors.New("text is too long or no text"))
		return
	}
	w.b = append(w.b, s...)
}
