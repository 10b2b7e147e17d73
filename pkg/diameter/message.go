package diameter

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Bits of the command flags, RFC 6733 3.
const (
	flagRequest       = 1 << 7
	flagProxiable     = 1 << 6
	flagError         = 1 << 5
	flagRetransmitted = 1 << 4
)

// Header is a message's header, RFC 6733 3. The length is computed when the message is encoded.
type Header struct {
	Request, Proxiable, Error, Retransmitted bool

	Command     uint32
	Application uint32
	HopByHop    uint32
	EndToEnd    uint32
}

// Message is a header and its AVPs.
type Message struct {
	Header
	AVPs []AVP
}

// parseHeader reads the header of a message that readFrame has delivered.
func parseHeader(b []byte) Header {
	flags := b[4]
	return Header{
		Request: flags&flagRequest != 0, Proxiable: flags&flagProxiable != 0,
		Error: flags&flagError != 0, Retransmitted: flags&flagRetransmitted != 0,
		Command:     binary.BigEndian.Uint32(b[4:]) & 0xffffff,
		Application: binary.BigEndian.Uint32(b[8:]),
		HopByHop:    binary.BigEndian.Uint32(b[12:]),
		EndToEnd:    binary.BigEndian.Uint32(b[16:]),
	}
}

// Parse reads one whole message. When the header can be read and the AVPs cannot, the error is an *Error, and the
// message has the AVPs before the one to blame, so that it can be answered; any other error leaves nothing to answer.
// The AVPs' data are parts of b.
func (d *Dictionary) Parse(b []byte) (Message, error) {
	if err := checkFrame(b); err != nil {
		return Message{}, err
	}
	m := Message{Header: parseHeader(b)}
	var err error
	left := maxAVPs
	m.AVPs, err = d.parseAVPs(b[headerLength:], 1, &left)
	return m, err
}

// First returns the first AVP of that definition, not looking into groups.
func (m Message) First(def *AVPDef) (AVP, bool) { return First(m.AVPs, def) }

// Text returns the value of the first AVP of that definition, "" without one.
func (m Message) Text(def *AVPDef) string {
	a, _ := m.First(def)
	return a.Text()
}

// Append appends the message's octets to b.
func (m Message) Append(b []byte) []byte {
	begin := len(b)
	var flags uint32
	for _, f := range []struct {
		set bool
		bit uint32
	}{{m.Request, flagRequest}, {m.Proxiable, flagProxiable}, {m.Error, flagError}, {m.Retransmitted, flagRetransmitted}} {
		if f.set {
			flags |= f.bit
		}
	}
	n := headerLength
	for i := range m.AVPs {
		n += padded(m.AVPs[i].length())
	}
	b = slices.Grow(b, n)[:begin+headerLength]
	for i := range m.AVPs {
		b = m.AVPs[i].Append(b)
	}
	h := b[begin:]
	binary.BigEndian.PutUint32(h, version<<24|uint32(len(h)))
	binary.BigEndian.PutUint32(h[4:], flags<<24|m.Command)
	binary.BigEndian.PutUint32(h[8:], m.Application)
	binary.BigEndian.PutUint32(h[12:], m.HopByHop)
	binary.BigEndian.PutUint32(h[16:], m.EndToEnd)
	return b
}

// result returns the vendor and the code of the answer's Result-Code or Experimental-Result; 0, 0 without either.
func (m Message) result() (vendor, code uint32) {
	if a, ok := m.First(ResultCode); ok {
		return 0, a.Unsigned()
	}
	group, _ := m.First(ExperimentalResult)
	v, _ := First(group.Members, VendorID)
	c, _ := First(group.Members, ExperimentalResultCode)
	return v.Unsigned(), c.Unsigned()
}

// Err returns nil for an answer with a success (2xxx, RFC 6733 7.1.2), else an *Error with its result.
func (m Message) Err() error {
	vendor, code := m.result()
	if code/1000 == 2 {
		return nil
	}
	return &Error{Code: code, Vendor: vendor, Err: fmt.Errorf("answered so by %s", m.Text(OriginHost))}
}

// Check holds a request against the rules of its command, as it is before a handler gets it. The error is an *Error.
func (d *Dictionary) Check(m Message) error {
	def := d.Command(m.Application, m.Command)
	if def == nil {
		return &Error{Code: CommandUnsupported, Err: fmt.Errorf("command %d of application %d", m.Command, m.Application)}
	}
	return def.checkRequest(m)
}

// checkRequest holds a request against the command's rules: no unknown AVP with the M bit, nothing missing, nothing
// too often. The error is an *Error.
func (def *CommandDef) checkRequest(m Message) error {
	if chain := unknownMandatory(m.AVPs); chain != nil {
		return &Error{Code: AVPUnsupported, Failed: chain, Err: fmt.Errorf("%s has the M bit and is unknown", leaf(chain[0]).name())}
	}
	if err := checkRules(def.request, m.AVPs); err != nil {
		return err
	}
	for _, a := range m.AVPs {
		if a.Def == nil || len(a.Def.members) == 0 {
			continue
		}
		if err := checkRules(a.Def.members, a.Members); err != nil {
			e := err.(*Error) //nolint:errorlint,forcetypeassert // checkRules returns nothing else
			parent := newAVP(a.Def)
			parent.Members = e.Failed
			e.Failed = []AVP{parent}
			return e
		}
	}
	return nil
}

func leaf(a AVP) AVP {
	for len(a.Members) == 1 {
		a = a.Members[0]
	}
	return a
}

// unknownMandatory returns the first AVP that has the M bit and is unknown, inside the groups that it stands in and
// without their other members, RFC 6733 7.5.
func unknownMandatory(avps []AVP) []AVP {
	for _, a := range avps {
		if a.Def == nil && a.Mandatory {
			return []AVP{a}
		}
		if found := unknownMandatory(a.Members); found != nil {
			a.Members = found
			return []AVP{a}
		}
	}
	return nil
}

func checkRules(rules []rule, avps []AVP) error {
	for _, r := range rules {
		n := 0
		for i := range avps {
			if !avps[i].Is(r.def) {
				continue
			}
			if n++; r.max != 0 && n > r.max {
				return &Error{Code: AVPOccursTooManyTimes, Failed: avps[i : i+1], Err: fmt.Errorf("%s more than %d times", r.def.Name, r.max)}
			}
		}
		if n == 0 && r.required {
			return &Error{Code: MissingAVP, Failed: []AVP{r.def.example()}, Err: fmt.Errorf("%s is missing", r.def.Name)}
		}
	}
	return nil
}
