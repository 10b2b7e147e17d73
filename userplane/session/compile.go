package session

import (
	"net/netip"
	"slices"

	"github.com/xepc/xepc/pkg/pfcp"
)

// Instances says how the names of network instances on the core side are understood.
type Instances struct {
	Known []pfcp.NetworkInstance // in lower case

	// Default is what a rule means that names none; "" refuses such a rule.
	Default pfcp.NetworkInstance
	// UnknownIsDefault takes Default for a name that is not Known. Otherwise the rule is refused, lest one
	// customer's traffic ends in another's network.
	UnknownIsDefault bool
}

func (i Instances) resolve(name pfcp.NetworkInstance) (pfcp.NetworkInstance, bool) {
	switch {
	case name != "" && slices.Contains(i.Known, name):
		return name, true
	case name == "" || i.UnknownIsDefault:
		return i.Default, i.Default != ""
	}
	return "", false
}

// Compile resolves a session's rules into the entries of the data path. Of several PDRs with the same key the one
// with the lowest precedence value matches every packet, so that the others have no entry; of equals, the one with
// the lowest id. The errors are *pfcp.Error and name the rule that cannot be served.
func (s Session) Compile(instances Instances) (Table, error) {
	c := compiler{s: s, instances: instances, ue: s.UE()}
	t := make(Table, len(s.PDRs))
	for i := range s.PDRs {
		e, err := c.entry(&s.PDRs[i])
		if err != nil {
			return nil, err
		}
		if other, ok := t[e.Key]; ok && !e.Origin.before(other.Origin) {
			continue
		}
		t[e.Key] = e
	}
	if err := c.meters(t); err != nil {
		return nil, err
	}
	return t, nil
}

func (o Origin) before(other Origin) bool {
	if o.Precedence != other.Precedence {
		return o.Precedence < other.Precedence
	}
	return o.PDRID < other.PDRID
}

type compiler struct {
	s         Session
	instances Instances
	ue        netip.Addr
}

func (c *compiler) entry(p *PDR) (Entry, error) {
	fault := func(ie uint16, format string, args ...any) (Entry, error) {
		return Entry{}, refuse(pfcp.RulePDR, uint32(p.ID), ie, format, args...)
	}
	e := Entry{Rule: Rule{Origin: Origin{SEID: c.s.SEID, PDRID: p.ID, FARID: p.FARID, Precedence: p.Precedence}}}
	far, err := c.far(p)
	if err != nil {
		return Entry{}, err
	}
	e.Origin.FARID = far.ID
	if p.Direction() == Uplink {
		err = c.uplink(&e, p, far)
	} else {
		err = c.downlink(&e, p, far)
	}
	if err != nil {
		return Entry{}, err
	}
	if err := c.quality(&e, p); err != nil {
		return Entry{}, err
	}
	for _, id := range p.URRIDs {
		at, ok := find(c.s.URRs, id, idOfURR)
		if !ok {
			return fault(pfcp.IEURRID, "there is no URR %d", id)
		}
		if err := c.s.URRs[at].check(); err != nil {
			return Entry{}, err
		}
		if !e.Origin.URRID.Present {
			e.Origin.URRID = pfcp.Some(id)
		}
	}
	return e, nil
}

// far is the PDR's FAR, unless a quota of its URRs is spent: then the packets are dropped, or the FAR for Quota
// Action says what becomes of them, TS 29.244 5.2.2.2.
func (c *compiler) far(p *PDR) (*FAR, error) {
	at, ok := find(c.s.FARs, p.FARID, idOfFAR)
	if !ok {
		return nil, refuse(pfcp.RulePDR, uint32(p.ID), pfcp.IEFARID, "there is no FAR %d", p.FARID)
	}
	for _, id := range p.URRIDs {
		u, ok := find(c.s.URRs, id, idOfURR)
		if !ok || !c.s.URRs[u].Exhausted {
			continue
		}
		if action := c.s.URRs[u].Parameters.QuotaAction; action.Present {
			if instead, ok := find(c.s.FARs, action.Value, idOfFAR); ok {
				return &c.s.FARs[instead], nil
			}
		}
		stopped := c.s.FARs[at]
		stopped.Action = pfcp.ActionDrop
		return &stopped, nil
	}
	return &c.s.FARs[at], nil
}

// action says what a FAR does with a packet. Anything but plain forwarding and dropping is refused.
func (f *FAR) action() (Action, error) {
	const served = pfcp.ActionForward | pfcp.ActionDrop
	switch {
	case f.Action&^served != 0:
		return 0, refuse(pfcp.RuleFAR, uint32(f.ID), pfcp.IEApplyAction, "apply action %#x: only FORW and DROP are served", uint16(f.Action))
	case f.Action == pfcp.ActionDrop:
		return ActionDrop, nil
	case f.Action == pfcp.ActionForward:
		return ActionForward, nil
	}
	return 0, refuse(pfcp.RuleFAR, uint32(f.ID), pfcp.IEApplyAction, "apply action %#x is none, or contradicts itself", uint16(f.Action))
}

// destination checks the forwarding parameters of a FAR that forwards.
func (f *FAR) destination(want ...pfcp.Interface) error {
	if !f.Destination.Present {
		return &pfcp.Error{
			Cause: pfcp.CauseConditionalIEMissing, Offending: pfcp.IEForwardingParameters,
			FailedRule: pfcp.Some(pfcp.FailedRuleID{Kind: pfcp.RuleFAR, ID: uint32(f.ID)}),
		}
	}
	if !slices.Contains(want, f.Destination.Value) {
		return refuse(pfcp.RuleFAR, uint32(f.ID), pfcp.IEDestinationInterface, "destination %v is not served from this side", f.Destination.Value)
	}
	if f.Unserved != 0 {
		return refuse(pfcp.RuleFAR, uint32(f.ID), f.Unserved, "IE type %d of a FAR is not served", f.Unserved)
	}
	if f.Marking.Present && f.Marking.Value != 0 {
		return refuse(pfcp.RuleFAR, uint32(f.ID), pfcp.IETransportLevelMarking, "transport level marking is not served")
	}
	return nil
}

func (c *compiler) uplink(e *Entry, p *PDR, far *FAR) (err error) {
	if p.TEID == 0 {
		return &pfcp.Error{
			Cause: pfcp.CauseConditionalIEMissing, Offending: pfcp.IEFTEID,
			FailedRule: pfcp.Some(pfcp.FailedRuleID{Kind: pfcp.RulePDR, ID: uint32(p.ID)}),
		}
	}
	e.Key = Key{Direction: Uplink, Local: p.Local, TEID: p.TEID}
	source := p.UE
	if !source.IsValid() {
		source = c.ue // pfcpsim's uplink PDR has none: the session's own address is the only right one
	}
	if source.IsValid() {
		e.Sources = []netip.Prefix{UE(source)}
	}
	if e.Action, err = far.action(); err != nil || e.Action == ActionDrop {
		return err
	}
	if err := far.destination(pfcp.InterfaceCore, pfcp.InterfaceSGiLAN); err != nil {
		return err
	}
	if far.Outer.Present {
		return refuse(pfcp.RuleFAR, uint32(far.ID), pfcp.IEOuterHeaderCreation, "tunnels on the core side are not served")
	}
	if !p.removesGTPU() {
		return refuse(pfcp.RulePDR, uint32(p.ID), pfcp.IEOuterHeaderRemoval, "the outer header must be removed towards the core")
	}
	var ok bool
	if e.Instance, ok = c.instances.resolve(far.Instance); !ok {
		return refuse(pfcp.RuleFAR, uint32(far.ID), pfcp.IENetworkInstance, "network instance %q is not configured", far.Instance)
	}
	return nil
}

func (p *PDR) removesGTPU() bool {
	switch p.Removal.Value {
	case pfcp.RemoveGTPUUDPIPv4, pfcp.RemoveGTPUUDPIPv6, pfcp.RemoveGTPUUDPIP:
		return p.Removal.Present
	}
	return false
}

func (c *compiler) downlink(e *Entry, p *PDR, far *FAR) (err error) {
	ue := p.UE
	if !ue.IsValid() {
		ue = c.ue
	}
	if !ue.IsValid() {
		return &pfcp.Error{
			Cause: pfcp.CauseConditionalIEMissing, Offending: pfcp.IEUEIPAddress,
			FailedRule: pfcp.Some(pfcp.FailedRuleID{Kind: pfcp.RulePDR, ID: uint32(p.ID)}),
		}
	}
	instance, ok := c.instances.resolve(p.Instance)
	if !ok {
		return refuse(pfcp.RulePDR, uint32(p.ID), pfcp.IENetworkInstance, "network instance %q is not configured", p.Instance)
	}
	e.Key = Key{Direction: Downlink, Instance: instance, UE: UE(ue)}
	if e.Action, err = far.action(); err != nil || e.Action == ActionDrop {
		return err
	}
	if err := far.destination(pfcp.InterfaceAccess); err != nil {
		return err
	}
	if !far.Outer.Present {
		e.Action = ActionNoHeader // free5GC before the access side is known: never leak plain IP
		return nil
	}
	outer := far.Outer.Value
	if outer.Description&pfcp.CreateGTPUUDPIPv4 == 0 || !outer.IPv4.IsValid() {
		return refuse(pfcp.RuleFAR, uint32(far.ID), pfcp.IEOuterHeaderCreation, "outer header %#x: only GTP-U/UDP/IPv4 is served", outer.Description)
	}
	if outer.TEID == 0 || outer.IPv4.IsUnspecified() || outer.IPv4.IsMulticast() {
		return refuse(pfcp.RuleFAR, uint32(far.ID), pfcp.IEOuterHeaderCreation, "outer header to TEID %#x at %v", uint32(outer.TEID), outer.IPv4)
	}
	e.Remote, e.RemoteTEID, e.Local = outer.IPv4, outer.TEID, c.s.Slice
	return nil
}

// quality resolves the QERs of a PDR: every gate must be open, and one of them may limit the rate.
func (c *compiler) quality(e *Entry, p *PDR) error {
	for _, id := range p.QERIDs {
		at, ok := find(c.s.QERs, id, idOfQER)
		if !ok {
			return refuse(pfcp.RulePDR, uint32(p.ID), pfcp.IEQERID, "there is no QER %d", id)
		}
		q := &c.s.QERs[at]
		if err := q.check(); err != nil {
			return err
		}
		closed, mbr := q.Gate.UplinkClosed, q.MBR.Value.Uplink
		if p.Direction() == Downlink {
			closed, mbr = q.Gate.DownlinkClosed, q.MBR.Value.Downlink
		}
		e.GateClosed = e.GateClosed || closed
		if !e.Origin.QERID.Present {
			e.Origin.QERID = pfcp.Some(id)
		}
		if mbr == 0 { // no MBR, or 0: this QER does not limit
			continue
		}
		if e.MBR != 0 {
			return refuse(pfcp.RuleQER, uint32(id), pfcp.IEMBR, "PDR %d has a second QER with an MBR: one is served", p.ID)
		}
		e.MBR, e.Origin.QERID = mbr, pfcp.Some(id)
	}
	return nil
}

// check refuses what a QER asks for and would not get.
func (q *QER) check() error {
	fault := func(ie uint16, format string, args ...any) error {
		return refuse(pfcp.RuleQER, uint32(q.ID), ie, format, args...)
	}
	switch {
	case q.GBR.Present && q.GBR.Value != (pfcp.BitRate{}):
		return fault(pfcp.IEGBR, "guaranteed bit rates are not served")
	case q.Correlation.Present && q.MBR.Present:
		return fault(pfcp.IEQERCorrelationID, "limits across sessions are not served")
	case q.QFI.Present && q.QFI.Value != 0:
		return fault(pfcp.IEQFI, "QFI %d: marking packets with it is not served", q.QFI.Value)
	}
	return nil
}

// meters refuses a QER whose MBR several entries of one direction would share: each would get all of it.
func (c *compiler) meters(t Table) error {
	type meter struct {
		direction Direction
		id        pfcp.QERID
	}
	var seen []meter
	for _, e := range t {
		if e.MBR == 0 {
			continue
		}
		m := meter{e.Key.Direction, e.Origin.QERID.Value}
		if slices.Contains(seen, m) {
			return refuse(pfcp.RuleQER, uint32(m.id), pfcp.IEMBR, "an MBR shared by several PDRs of one direction is not served")
		}
		seen = append(seen, m)
	}
	return nil
}

func sortEntries(list []Entry) {
	slices.SortFunc(list, func(a, b Entry) int { return a.Key.compare(b.Key) })
}

func sortKeys(list []Key) { slices.SortFunc(list, Key.compare) }
