package pfcp

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
)

// Kinds of Node ID, TS 29.244 8.2.38.
const (
	nodeIDIPv4 = 0
	nodeIDIPv6 = 1
	nodeIDFQDN = 2
)

// maxName is the length of a name in octets (RFC 1035 2.3.4), maxLabel that of one of its labels.
const (
	maxName  = 253
	maxLabel = 63
)

// nodeID reads a Node ID IE. An FQDN is taken in plain text too, and with a port after it (pfcpsim).
func (w *walker) nodeID() NodeID {
	switch w.u8() & 0x0f {
	case nodeIDIPv4:
		return NodeID{Addr: w.ipv4()}
	case nodeIDIPv6:
		return NodeID{Addr: w.ipv6().Unmap()}
	case nodeIDFQDN:
		if name := w.name(); name != "" {
			return NodeID{FQDN: name}
		}
		w.fail(CauseMandatoryIEIncorrect, w.typ, "empty FQDN")
		return NodeID{}
	}
	w.fail(CauseMandatoryIEIncorrect, w.typ, "unknown kind of node ID")
	return NodeID{}
}

// nodeID writes a Node ID IE.
func (w *writer) nodeID(n NodeID) {
	at := w.open(IENodeID)
	switch {
	case n.Addr.Is4():
		w.b = append(w.b, nodeIDIPv4)
		w.address(n.Addr)
	case n.Addr.Is6():
		w.b = append(w.b, nodeIDIPv6)
		w.address(n.Addr)
	case n.FQDN != "":
		w.b = append(w.b, nodeIDFQDN)
		w.name(n.FQDN)
	default:
		w.fail(errors.New("node ID is neither an address nor an FQDN"))
	}
	w.close(at)
}

// name reads the rest of the value as a domain name, in lower case. It is in labels without a zero at the end (TS
// 29.244 8.2.4, 8.2.38) when the first octet is a length and the lengths add up, and plain text otherwise; a zero
// at the end is tolerated in both.
func (w *walker) name() string { return w.nameOf(len(w.value)) }

// nameOf is name of the next size octets.
func (w *walker) nameOf(size int) string {
	b := w.take(size)
	if n := len(b); n > 0 && b[n-1] == 0 {
		b = b[:n-1]
	}
	if name, ok := w.names[string(b)]; ok {
		return name
	}
	if len(b) > maxName+1 {
		w.fail(CauseMandatoryIEIncorrect, w.typ, "name is too long")
		return ""
	}
	name, ok := labels(b)
	if !ok {
		if len(b) > maxName || !printable(b) {
			w.fail(CauseMandatoryIEIncorrect, w.typ, "name is neither labels nor text")
			return ""
		}
		name = string(b)
	}
	name = strings.ToLower(name)
	w.names.keep(b, name)
	return name
}

// labels decodes label encoding, RFC 1035 3.1, of at most maxName+1 octets; false when b is something else.
func labels(b []byte) (string, bool) {
	name := make([]byte, 0, maxName+1) // of constant size, so that it stays on the stack
	for rest := b; len(rest) > 0; {
		n := int(rest[0])
		if n == 0 || n > maxLabel || n >= len(rest) {
			return "", false
		}
		label := rest[1 : 1+n]
		if !printable(label) || bytes.IndexByte(label, '.') >= 0 {
			return "", false
		}
		if len(name) > 0 {
			name = append(name, '.')
		}
		name, rest = append(name, label...), rest[1+n:]
	}
	return string(name), len(b) > 0
}

// printable says whether b is ASCII text without blanks, so that it is safe in a log line and a table.
func printable(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// name appends a name in labels, or as plain text where labels cannot express it.
func (w *writer) name(s string) {
	if len(s) > maxName || !printable([]byte(s)) {
		w.fail(errors.New("name is too long or no text"))
		return
	}
	at := len(w.b)
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > maxLabel {
			w.b = append(w.b[:at], s...)
			return
		}
		w.b = append(w.b, uint8(len(label)))
		w.b = append(w.b, label...)
	}
}

// apnDNN writes an APN/DNN IE, TS 29.244 8.2.117.
func (w *writer) apnDNN(apn Opt[string]) {
	if apn.Present {
		at := w.open(IEAPNDNN)
		w.name(apn.Value)
		w.close(at)
	}
}

// networkInstance writes a Network Instance IE.
func (w *writer) networkInstance(n NetworkInstance) {
	at := w.open(IENetworkInstance)
	if n != "" {
		w.name(string(n))
	}
	w.close(at)
}

// ParseNodeID reads a Node ID as people write it: an address, else an FQDN.
func ParseNodeID(s string) (NodeID, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Zone() != "" {
			return NodeID{}, errors.New("node ID with a zone")
		}
		return NodeID{Addr: a.Unmap()}, nil
	}
	if s == "" || len(s) > maxName || !printable([]byte(s)) {
		return NodeID{}, errors.New("node ID is neither an address nor an FQDN")
	}
	return NodeID{FQDN: strings.ToLower(s)}, nil
}
