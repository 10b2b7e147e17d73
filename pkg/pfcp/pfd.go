package pfcp

import "encoding/binary"

// ApplicationPFDs is the Application ID's PFDs IE (type 58), TS 29.244 7.4.3.1-2: the packet flow descriptions that
// replace all of the application's. Without contexts the application has none any more.
type ApplicationPFDs struct {
	ApplicationID string
	Contexts      [][]PFDContents // one slice for each PFD Context IE (type 59)
}

// PFDContents is the PFD Contents IE (type 61), TS 29.244 8.2.39. An empty string is absent.
type PFDContents struct {
	FlowDescription            string // FD: IPFilterRule
	URL                        string
	DomainName                 string // DN
	Custom                     string // CP
	DomainNameProtocol         string // DNP
	AdditionalFlowDescriptions []string
	AdditionalURLs             []string
	AdditionalDomainNames      []string // with their protocols, ADNP
}

// The IEs that may be repeated in PFD management.
var (
	inPFDManagement   = typesOf(IEApplicationIDsPFDs)
	inApplicationPFDs = typesOf(IEPFDContext)
	inPFDContext      = typesOf(IEPFDContents)
)

func parsePFDManagementRequest(b []byte) (Message, *Error) {
	m := &PFDManagementRequest{}
	w := walk(b, inPFDManagement)
	w.ignored = &m.Ignored
	for w.next() {
		switch w.typ {
		case IEApplicationIDsPFDs:
			w.within(parseApplicationPFDs(&w, add(&w, &m.Applications)))
		case IENodeID:
			m.NodeID = Some(w.nodeID())
		default:
			w.ignore()
		}
	}
	return m, w.err
}

func (m *PFDManagementRequest) appendIEs(w *writer) {
	for i := range m.Applications {
		w.applicationPFDs(&m.Applications[i])
	}
	if m.NodeID.Present {
		w.nodeID(m.NodeID.Value)
	}
}

// parseApplicationPFDs reads an Application ID's PFDs IE.
func parseApplicationPFDs(in *walker, a *ApplicationPFDs) *Error {
	w := in.group(inApplicationPFDs)
	for w.next() {
		switch w.typ {
		case IEApplicationID:
			a.ApplicationID = w.text(len(w.value))
		case IEPFDContext:
			w.within(parsePFDContext(&w, add(&w, &a.Contexts)))
		default:
			w.ignore()
		}
	}
	w.require(IEApplicationID)
	return w.err
}

func parsePFDContext(in *walker, contents *[]PFDContents) *Error {
	w := in.group(inPFDContext)
	for w.next() {
		if w.typ == IEPFDContents {
			w.pfdContents(add(&w, contents))
		} else {
			w.ignore()
		}
	}
	w.require(IEPFDContents)
	return w.err
}

func (w *writer) applicationPFDs(a *ApplicationPFDs) {
	at := w.open(IEApplicationIDsPFDs)
	w.text(IEApplicationID, a.ApplicationID)
	for _, context := range a.Contexts {
		group := w.open(IEPFDContext)
		for i := range context {
			w.pfdContents(&context[i])
		}
		w.close(group)
	}
	w.close(at)
}

// single returns the texts of c that come once, and lists those that come as lists, in the order of their flags,
// which is that on the wire.
func (c *PFDContents) single() [5]*string {
	return [...]*string{&c.FlowDescription, &c.URL, &c.DomainName, &c.Custom, &c.DomainNameProtocol}
}

func (c *PFDContents) lists() [3]*[]string {
	return [...]*[]string{&c.AdditionalFlowDescriptions, &c.AdditionalURLs, &c.AdditionalDomainNames}
}

// pfdContents reads a PFD Contents IE.
func (w *walker) pfdContents(c *PFDContents) {
	flags := w.u8()
	w.take(1) // spare
	single := c.single()
	for i, text := range single {
		if flags&(1<<i) != 0 {
			*text = w.text(int(w.u16()))
		}
	}
	for i, list := range c.lists() {
		if flags&(1<<(len(single)+i)) != 0 {
			w.textList(int(w.u16()), list)
		}
	}
}

// textList reads n octets of texts, each behind its length.
func (w *walker) textList(n int, list *[]string) {
	texts := w.take(n)
	behind := w.value
	for w.value = texts; w.err == nil && len(w.value) > 0; {
		if len(*list) == maxRepeated {
			w.fail(CauseNoResourcesAvailable, w.typ, "too many of them")
			return
		}
		*list = append(*list, w.text(int(w.u16())))
	}
	w.value = behind
}

func (w *writer) pfdContents(c *PFDContents) {
	at := w.open(IEPFDContents)
	flags := len(w.b)
	w.b = append(w.b, 0, 0)
	single := c.single()
	for i, text := range single {
		if *text != "" {
			w.b[flags] |= 1 << i
			w.text16(*text)
		}
	}
	for i, list := range c.lists() {
		if len(*list) == 0 {
			continue
		}
		w.b[flags] |= 1 << (len(single) + i)
		w.b = append(w.b, 0, 0)
		from := len(w.b)
		for _, text := range *list {
			w.text16(text)
		}
		binary.BigEndian.PutUint16(w.b[from-2:], uint16(len(w.b)-from))
	}
	w.close(at)
}

func parsePFDManagementResponse(b []byte) (Message, *Error) {
	m, node := &PFDManagementResponse{}, NodeID{}
	err := parseNodeAnswer(b, &node, &m.Cause, &m.Offending)
	if node != (NodeID{}) {
		m.NodeID = Some(node)
	}
	return m, err
}

func (m *PFDManagementResponse) appendIEs(w *writer) {
	w.u8(IECause, uint8(m.Cause))
	w.offending(m.Offending)
	if m.NodeID.Present {
		w.nodeID(m.NodeID.Value)
	}
}
