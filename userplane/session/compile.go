package session

import (
	"cmp"
	"fmt"
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

// Resolve is the network instance that a name means; false: none.
func (i Instances) Resolve(name pfcp.NetworkInstance) (pfcp.NetworkInstance, bool) {
	switch {
	case name != "" && slices.Contains(i.Known, name):
		return name, true
	case name == "" || i.UnknownIsDefault:
		return i.Default, i.Default != ""
	}
	return "", false
}

// Compile resolves a session's rules into the entries of the data path. Of several PDRs with the same key the one
// with the lowest precedence value matches first; of equals, the one with the lowest id. What stands behind one that
// matches every packet has no rule. The errors are *pfcp.Error and name the rule that cannot be served.
func (s Session) Compile(instances Instances) (Table, error) {
	c := compiler{s: &s, instances: &instances}
	keys := len(s.PDRs)
	if s.UE6().IsValid() { // of a UE that has both addresses, the PDR for downlink packets has two
		keys++
	}
	t := make(Table, 0, keys)
	var err error
	for _, p := range c.inOrder() {
		if len(p.Endpoints) == 0 {
			if t, err = c.add(t, p); err != nil {
				return nil, err
			}
			continue
		}
		for _, id := range p.Endpoints {
			at, ok := find(s.Endpoints, id, idOfEndpoint)
			if !ok {
				return nil, refuse(pfcp.RulePDR, uint32(p.ID), pfcp.IETrafficEndpointID, "there is no traffic endpoint %d", id)
			}
			of := p.at(&s.Endpoints[at])
			if t, err = c.add(t, &of); err != nil {
				return nil, err
			}
		}
	}
	t.limit()
	c.celled(t)
	s.SetWatches(t)
	return t, t.fits()
}

// at is the PDR with what a traffic endpoint says in its place.
func (p *PDR) at(e *Endpoint) PDR {
	of := *p
	of.Local, of.TEID, of.Instance, of.UE, of.UE6, of.Routes = e.Local, e.TEID, e.Instance, e.UE, e.UE6, e.Routes
	if len(e.QFIs) > 0 {
		of.QFIs = append(slices.Clone(p.QFIs), e.QFIs...)
	}
	return of
}

type compiler struct {
	s         *Session
	instances *Instances
}

// ue is the PDR's own UE addresses or, if it has none, the session's.
func (c *compiler) ue(p *PDR) (netip.Addr, netip.Prefix) {
	if p.UE.IsValid() || p.UE6.IsValid() {
		return p.UE, p.UE6
	}
	return c.s.UE(), c.s.UE6()
}

// inOrder are the PDRs in the order in which they match.
func (c *compiler) inOrder() []*PDR {
	all := make([]*PDR, len(c.s.PDRs))
	for i := range c.s.PDRs {
		all[i] = &c.s.PDRs[i]
	}
	slices.SortStableFunc(all, func(a, b *PDR) int { return cmp.Compare(a.Precedence, b.Precedence) })
	return all
}

// add puts the rule of a PDR behind the rules of its keys.
func (c *compiler) add(t Table, p *PDR) (Table, error) {
	if !p.detects() {
		return t, nil
	}
	var r Rule
	if err := c.rule(&r, p); err != nil {
		return t, err
	}
	keys, n, err := c.keys(p)
	if err != nil {
		return t, err
	}
	for i := range keys[:n] {
		key := &keys[i]
		at, ok := t.search(key)
		if !ok {
			t = slices.Insert(t, at, Entry{Key: *key, Rule: r})
		}
		e := &t[at]
		if ok {
			if e.closed(&r) {
				continue
			}
			e.More = append(e.More, r)
		}
		e.lead(p.Routes)
	}
	return t, nil
}

// lead adds framed routes to those that lead to an entry.
func (e *Entry) lead(routes []netip.Prefix) {
	for _, route := range routes {
		if e.Key.UE.IsValid() && route.Addr().Is4() == e.Key.UE.Addr().Is4() && !slices.Contains(e.Routes, route) {
			e.Routes = append(e.Routes, route)
		}
	}
	if len(routes) > 0 {
		slices.SortFunc(e.Routes, func(a, b netip.Prefix) int {
			return cmp.Or(cmp.Compare(b.Bits(), a.Bits()), a.Addr().Compare(b.Addr()))
		})
	}
}

// closed says whether a rule of the entry takes every packet that next could match.
func (e *Entry) closed(next *Rule) (closed bool) {
	for _, r := range e.Rules {
		closed = closed || len(r.Filters) == 0 && len(r.QFIs) == 0 && (len(r.Sources) == 0 || slices.Equal(r.Sources, next.Sources))
	}
	return closed
}

// rule resolves a PDR.
func (c *compiler) rule(r *Rule, p *PDR) error {
	r.Origin = Origin{SEID: c.s.SEID, PDRID: p.ID, Precedence: p.Precedence}
	r.QFIs = p.QFIs
	var err error
	if r.Filters, err = c.filters(p); err != nil {
		return err
	}
	far, instead, err := c.far(p)
	if err != nil {
		return err
	}
	if instead != nil {
		with := *r
		if c.act(&with, p, instead) == nil {
			*r, far = with, nil
		}
	}
	if far != nil {
		if err := c.act(r, p, far); err != nil {
			return err
		}
	}
	if err := c.quality(r, p); err != nil {
		return err
	}
	return c.usage(r, p)
}

// act resolves what a FAR does with the packets of a PDR.
func (c *compiler) act(r *Rule, p *PDR, far *FAR) error {
	r.Origin.FARID = far.ID
	if p.Direction() == Uplink {
		return c.uplink(r, p, far)
	}
	return c.downlink(r, p, far)
}

// filters resolves those that refer to others by their id.
func (c *compiler) filters(p *PDR) ([]Filter, error) {
	var all []Filter
	only := c.only(p)
	for i := range p.Filters {
		f := &p.Filters[i]
		if f.Refers {
			if f = c.named(f.ID.Value); f == nil {
				return nil, refuse(pfcp.RulePDR, uint32(p.ID), pfcp.IESDFFilter, "there is no SDF filter with id %d", p.Filters[i].ID.Value)
			}
		}
		all = append(all, f.Filter.without(only))
	}
	given, every := p.given()
	for i := range given {
		all = append(all, given[i].without(only))
	}
	if every || slices.ContainsFunc(all, Filter.all) {
		return nil, nil
	}
	return all, nil
}

// only is the family of a PDR's UE addresses when they are of one: a filter need not ask for it then.
func (c *compiler) only(p *PDR) families {
	ue, ue6 := c.ue(p)
	if len(p.Routes) > 0 { // of any family
		return families{}
	}
	return families{ipv4: ue.IsValid() && !ue6.IsValid(), ipv6: ue6.IsValid() && !ue.IsValid()}
}

func (c *compiler) named(id uint32) *SDF {
	for i := range c.s.PDRs {
		for j := range c.s.PDRs[i].Filters {
			if f := &c.s.PDRs[i].Filters[j]; !f.Refers && f.ID == pfcp.Some(id) {
				return f
			}
		}
	}
	return nil
}

func (c *compiler) usage(r *Rule, p *PDR) error {
	for _, id := range p.urrs() {
		at, ok := find(c.s.URRs, id, idOfURR)
		if !ok {
			return refuse(pfcp.RulePDR, uint32(p.ID), pfcp.IEURRID, "there is no URR %d", id)
		}
		if err := c.s.URRs[at].check(); err != nil {
			return err
		}
		if !r.Origin.URRID.Present {
			r.Origin.URRID = pfcp.Some(id)
		}
	}
	return nil
}

// keys are those that a PDR's packets are looked up by: the first n.
func (c *compiler) keys(p *PDR) (keys [2]Key, n int, err error) {
	missing := func(ie uint16) ([2]Key, int, error) {
		return keys, 0, &pfcp.Error{
			Cause: pfcp.CauseConditionalIEMissing, Offending: ie,
			FailedRule: pfcp.Some(pfcp.FailedRuleID{Kind: pfcp.RulePDR, ID: uint32(p.ID)}),
		}
	}
	if p.Direction() == Uplink || p.Source == pfcp.InterfaceCPFunction {
		if p.TEID == 0 {
			return missing(pfcp.IEFTEID)
		}
		keys[0] = Key{Direction: p.Direction(), Local: p.Local, TEID: p.TEID}
		return keys, 1, nil
	}
	ue, ue6 := c.ue(p)
	if !ue.IsValid() && !ue6.IsValid() {
		return missing(pfcp.IEUEIPAddress)
	}
	instance, ok := c.instances.Resolve(p.Instance)
	if !ok {
		return keys, 0, refuse(pfcp.RulePDR, uint32(p.ID), pfcp.IENetworkInstance, "network instance %q is not configured", p.Instance)
	}
	if ue.IsValid() {
		keys[n] = Key{Direction: Downlink, Instance: instance, UE: UE(ue)}
		n++
	}
	if ue6.IsValid() {
		keys[n] = Key{Direction: Downlink, Instance: instance, UE: ue6}
		n++
	}
	return keys, n, nil
}

// far is the PDR's FAR. When a quota of its URRs is spent it is one that drops, and instead is the FAR for Quota Action,
// TS 29.244 5.2.2.2, which may be for packets of the other direction only.
func (c *compiler) far(p *PDR) (far, instead *FAR, err error) {
	if at, ok := find(c.s.FARs, p.FARID, idOfFAR); ok {
		far = &c.s.FARs[at]
	} else if far = p.predefinedFAR(); far == nil || p.FARID != 0 {
		return nil, nil, refuse(pfcp.RulePDR, uint32(p.ID), pfcp.IEFARID, "there is no FAR %d", p.FARID)
	}
	for _, id := range p.urrs() {
		u, ok := find(c.s.URRs, id, idOfURR)
		if !ok || !c.s.URRs[u].Exhausted {
			continue
		}
		if action := c.s.URRs[u].Parameters.QuotaAction; action.Present {
			if at, ok := find(c.s.FARs, action.Value, idOfFAR); ok {
				instead = &c.s.FARs[at]
			}
		}
		stopped := *far
		stopped.Action = pfcp.ActionDrop
		return &stopped, instead, nil
	}
	return far, nil, nil
}

// action says what a FAR does with a packet.
func (f *FAR) action() (Action, error) {
	const base = pfcp.ActionForward | pfcp.ActionDrop | pfcp.ActionBuffer
	if f.Action&^(base|pfcp.ActionNotifyCP|pfcp.ActionDuplicate) == 0 {
		notify := f.Action&pfcp.ActionNotifyCP != 0
		switch f.Action & base { //nolint:exhaustive // the other flags are looked at beside it
		case pfcp.ActionDrop:
			return ActionDrop, nil
		case pfcp.ActionForward:
			if !notify {
				return ActionForward, nil
			}
		case pfcp.ActionBuffer:
			return ActionBuffer, nil
		}
	}
	return 0, refuse(pfcp.RuleFAR, uint32(f.ID), pfcp.IEApplyAction, "apply action %#x is none, or contradicts itself", uint16(f.Action))
}

// apply resolves what a FAR does and where to, in a rule. Forwards says that the caller has to look where to.
func (c *compiler) apply(r *Rule, far *FAR, want ...pfcp.Interface) (forwards bool, err error) {
	if r.Action, err = far.action(); err != nil {
		return false, err
	}
	r.Notify = far.Action&pfcp.ActionNotifyCP != 0 && r.Action == ActionBuffer
	if err := c.copies(r, far); err != nil {
		return false, err
	}
	if r.Action != ActionForward {
		return false, nil
	}
	if !far.Destination.Present {
		return false, &pfcp.Error{
			Cause: pfcp.CauseConditionalIEMissing, Offending: pfcp.IEForwardingParameters,
			FailedRule: pfcp.Some(pfcp.FailedRuleID{Kind: pfcp.RuleFAR, ID: uint32(far.ID)}),
		}
	}
	if !slices.Contains(want, far.Destination.Value) {
		return false, refuse(pfcp.RuleFAR, uint32(far.ID), pfcp.IEDestinationInterface, "destination %v is not served from this side", far.Destination.Value)
	}
	if far.Unserved != 0 {
		return false, refuse(pfcp.RuleFAR, uint32(far.ID), far.Unserved, "IE type %d of a FAR is not served", far.Unserved)
	}
	if far.Marking.Present && uint8(far.Marking.Value) != 0 { // a mask of 0 marks nothing
		r.Marking = far.Marking
	}
	if r.Redirect = far.Redirect; far.URL != "" {
		r.Action = ActionAnswer
	}
	return true, nil
}

// copies resolves where a FAR's duplicates go.
func (c *compiler) copies(r *Rule, far *FAR) error {
	if far.Action&pfcp.ActionDuplicate == 0 {
		return nil
	}
	if len(far.Duplicates) == 0 {
		return &pfcp.Error{
			Cause: pfcp.CauseConditionalIEMissing, Offending: pfcp.IEDuplicatingParameters,
			FailedRule: pfcp.Some(pfcp.FailedRuleID{Kind: pfcp.RuleFAR, ID: uint32(far.ID)}),
		}
	}
	if far.Unserved != 0 {
		return refuse(pfcp.RuleFAR, uint32(far.ID), far.Unserved, "IE type %d of a FAR is not served", far.Unserved)
	}
	if len(far.Duplicates) > MaxCopies {
		return &pfcp.Error{
			Cause: pfcp.CauseNoResourcesAvailable, Offending: pfcp.IEDuplicatingParameters,
			FailedRule: pfcp.Some(pfcp.FailedRuleID{Kind: pfcp.RuleFAR, ID: uint32(far.ID)}),
			Err:        fmt.Errorf("%d duplicates: at most %d", len(far.Duplicates), MaxCopies),
		}
	}
	for _, d := range far.Duplicates {
		t, err := c.tunnel(far, d.Outer)
		if err != nil {
			return err
		}
		r.Copies = append(r.Copies, Copy{Tunnel: t, ToS: uint8(d.Marking.Value>>8) & uint8(d.Marking.Value)})
	}
	return nil
}

// Tunnel is the remote end that an Outer Header Creation names, with the slice's address of the same family. Of two
// addresses IPv4 is taken: it is the smaller header. False: the slice has no address of its family.
func (s *Session) Tunnel(outer pfcp.OuterHeaderCreation) (Tunnel, bool) {
	switch {
	case outer.Description&pfcp.CreateGTPUUDPIPv4 != 0 && s.Slice.Is4():
		return Tunnel{Local: s.Slice, Remote: outer.IPv4, TEID: outer.TEID}, true
	case outer.Description&pfcp.CreateGTPUUDPIPv6 != 0 && s.Slice6.IsValid():
		return Tunnel{Local: s.Slice6, Remote: outer.IPv6, TEID: outer.TEID}, true
	}
	return Tunnel{}, false
}

// tunnel is that of a FAR, if packets can go there.
func (c *compiler) tunnel(far *FAR, outer pfcp.OuterHeaderCreation) (Tunnel, error) {
	fault := func(format string, args ...any) (Tunnel, error) {
		return Tunnel{}, refuse(pfcp.RuleFAR, uint32(far.ID), pfcp.IEOuterHeaderCreation, format, args...)
	}
	t, ok := c.s.Tunnel(outer)
	if !ok {
		return fault("outer header %#x: the slice %v has no address of that family", outer.Description, c.s.Slice)
	}
	if t.TEID == 0 || !t.Remote.IsValid() || t.Remote.IsUnspecified() || t.Remote.IsMulticast() || t.Remote.Is4In6() {
		return fault("outer header to TEID %#x at %v", uint32(t.TEID), t.Remote)
	}
	return t, nil
}

// URL is where a rule of the session redirects HTTP to; "": nowhere.
func (s *Session) URL(r *Rule) string {
	if at, ok := find(s.FARs, r.Origin.FARID, idOfFAR); ok && r.Action == ActionAnswer {
		return s.FARs[at].URL
	}
	return ""
}

func (r *Rule) redirects() bool { return r.Redirect != (Redirect{}) || r.Action == ActionAnswer }

func (r *Rule) into(t Tunnel) { r.Local, r.Remote, r.RemoteTEID = t.Local, t.Remote, t.TEID }

// uplink resolves a PDR for packets from the UE: into a network, or to the control plane.
func (c *compiler) uplink(r *Rule, p *PDR, far *FAR) error {
	// pfcpsim's uplink PDR has no address: the session's own is the only right one.
	ue, ue6 := c.ue(p)
	if far.Destination.Value != pfcp.InterfaceCPFunction { // a UE asks for its router before it has an address
		if ue.IsValid() {
			r.Sources = append(r.Sources, UE(ue))
		}
		if ue6.IsValid() {
			r.Sources = append(r.Sources, ue6)
		}
		for _, route := range p.Routes { // those of a family that the UE has no address of lead nowhere: see lead
			if ue.IsValid() && route.Addr().Is4() || ue6.IsValid() && route.Addr().Is6() {
				r.Sources = append(r.Sources, route)
			}
		}
	}
	forwards, err := c.apply(r, far, pfcp.InterfaceCore, pfcp.InterfaceSGiLAN, pfcp.InterfaceCPFunction)
	if r.Action == ActionBuffer {
		return refuse(pfcp.RuleFAR, uint32(far.ID), pfcp.IEApplyAction, "packets from the UE are not buffered")
	}
	if err != nil || !forwards {
		return err
	}
	if far.Destination.Value == pfcp.InterfaceCPFunction {
		if !far.Outer.Present {
			return refuse(pfcp.RuleFAR, uint32(far.ID), pfcp.IEOuterHeaderCreation, "to the control plane without a tunnel")
		}
		if r.redirects() {
			return refuse(pfcp.RuleFAR, uint32(far.ID), pfcp.IERedirectInformation, "only packets from the UE to a network are redirected")
		}
		t, err := c.tunnel(far, far.Outer.Value)
		r.into(t)
		r.KeepHeader = !p.removesGTPU()
		return err
	}
	if far.Outer.Present {
		return refuse(pfcp.RuleFAR, uint32(far.ID), pfcp.IEOuterHeaderCreation, "tunnels on the core side are not served")
	}
	if !p.removesGTPU() {
		return refuse(pfcp.RulePDR, uint32(p.ID), pfcp.IEOuterHeaderRemoval, "the outer header must be removed towards the core")
	}
	var ok bool
	if r.Instance, ok = c.instances.Resolve(far.Instance); !ok {
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

// downlink resolves a PDR for packets to the UE, from a network or from the control plane.
func (c *compiler) downlink(r *Rule, p *PDR, far *FAR) error {
	forwards, err := c.apply(r, far, pfcp.InterfaceAccess, pfcp.InterfaceCPFunction)
	if err != nil || !forwards {
		return err
	}
	if r.redirects() {
		return refuse(pfcp.RuleFAR, uint32(far.ID), pfcp.IERedirectInformation, "only packets from the UE to a network are redirected")
	}
	if !far.Outer.Present {
		r.Action = ActionNoHeader // free5GC before the access side is known: never leak plain IP
		return nil
	}
	t, err := c.tunnel(far, far.Outer.Value)
	r.into(t)
	return err
}

// quality resolves the QERs of a PDR: every gate must be open, and every limit holds.
func (c *compiler) quality(r *Rule, p *PDR) error {
	for _, id := range p.QERIDs {
		at, ok := find(c.s.QERs, id, idOfQER)
		if !ok {
			return refuse(pfcp.RulePDR, uint32(p.ID), pfcp.IEQERID, "there is no QER %d", id)
		}
		q := &c.s.QERs[at]
		closed, mbr := q.Gate.UplinkClosed, q.MBR.Value.Uplink
		if p.Direction() == Downlink {
			closed, mbr = q.Gate.DownlinkClosed, q.MBR.Value.Downlink
		}
		r.GateClosed = r.GateClosed || closed
		if !r.Origin.QERID.Present {
			r.Origin.QERID = pfcp.Some(id)
		}
		if q.QFI.Value != 0 && p.Direction() == Downlink && r.Remote.IsValid() { // free5GC sends 0 where there is none
			r.QFI = q.QFI
		}
		if mbr == 0 { // no MBR, or 0: this QER does not limit
			continue
		}
		m := Meter{ID: MeterID{SEID: c.s.SEID, QERID: id, Direction: p.Direction()}, MBR: mbr}
		if q.Correlation.Value != 0 {
			m.ID = MeterID{Owner: c.s.Owner, Correlation: q.Correlation.Value, Direction: p.Direction()}
		}
		r.Meters = append(r.Meters, m)
	}
	for i := range p.Predefined {
		d := &p.Predefined[i]
		mbr := d.MBR.Uplink
		if p.Direction() == Downlink {
			mbr = d.MBR.Downlink
		}
		if mbr > 0 {
			r.Meters = append(r.Meters, Meter{
				ID: MeterID{SEID: c.s.SEID, QERID: pfcp.QERID(d.id()), Direction: p.Direction()}, MBR: mbr,
			})
		}
	}
	return nil
}

// limit makes the first limit of a rule that no other rule shares the rule's own: the common case, one QER for each
// direction, then needs no meter beside the rule.
func (t Table) limit() {
	alone := t.alone()
	for i := range t {
		for _, r := range t[i].Rules {
			at := 0
			for at < len(r.Meters) && !alone(&r.Meters[at].ID) {
				at++
			}
			if at == len(r.Meters) {
				continue
			}
			own := r.Meters[at]
			r.MBR, r.Origin.QERID = own.MBR, pfcp.Some(own.ID.QERID)
			if len(r.Meters) == 1 {
				r.Meters = nil
				continue
			}
			r.Meters = slices.Delete(slices.Clone(r.Meters), at, at+1)
		}
	}
}

// fewMeters is up to how many limits of a session are compared one by one.
const fewMeters = 16

// alone tells of a limit whether it is one rule's only.
func (t Table) alone() func(*MeterID) bool {
	sum := 0
	for i := range t {
		for _, r := range t[i].Rules {
			sum += len(r.Meters)
		}
	}
	if sum > fewMeters {
		uses := make(map[MeterID]int, sum)
		for id := range t.meters {
			uses[*id]++
		}
		return func(id *MeterID) bool { return uses[*id] == 1 && id.Correlation == 0 }
	}
	return func(id *MeterID) bool {
		uses := 0
		for other := range t.meters {
			if *other == *id {
				uses++
			}
		}
		return uses == 1 && id.Correlation == 0
	}
}

// meters yields the id of each limit of each rule.
func (t Table) meters(yield func(*MeterID) bool) {
	for i := range t {
		for _, r := range t[i].Rules {
			for n := range r.Meters {
				if !yield(&r.Meters[n].ID) {
					return
				}
			}
		}
	}
}
