package sxb

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/journal"
	"github.com/xepc/xepc/userplane/session"
)

// pfds are the packet flow descriptions that a control plane has provisioned, by application id, TS 29.244 6.2.5. They
// are never changed: a request makes others. Each control plane has its own.
type pfds map[string][]session.Filter

// maxApplications bounds the applications of a control plane, and maxApplicationID the octets of their names; ours.
const (
	maxApplications  = 1024
	maxApplicationID = 255
)

// application returns the filters of an application.
func (p *pfds) application(id string) ([]session.Filter, bool) {
	if p == nil {
		return nil, false
	}
	f, ok := (*p)[id]
	return f, ok
}

// apply returns the PFDs that a PFD Management Request leads to: those of each application that it names are
// replaced, or go when it has none; without any application all go, TS 29.244 7.4.3.1.
func (p *pfds) apply(m *pfcp.PFDManagementRequest, limits session.Limits) (next pfds, err error) {
	next = pfds{}
	if p != nil && len(m.Applications) > 0 {
		next = maps.Clone(*p)
	}
	for i := range m.Applications {
		a := &m.Applications[i]
		refuse := func(cause pfcp.Cause, err error) (pfds, error) {
			return nil, &pfcp.Error{
				Cause: cause, Offending: pfcp.IEPFDContents, Err: fmt.Errorf("application %.80q: %w", a.ApplicationID, err),
			}
		}
		if len(a.ApplicationID) == 0 || len(a.ApplicationID) > maxApplicationID {
			return refuse(pfcp.CauseMandatoryIEIncorrect, fmt.Errorf("its id has %d octets", len(a.ApplicationID)))
		}
		if len(a.Contexts) == 0 {
			delete(next, a.ApplicationID)
			continue
		}
		var filters []session.Filter
		for _, context := range a.Contexts {
			for j := range context {
				some, err := session.ParsePFD(&context[j])
				if err != nil {
					return refuse(pfcp.CauseRejected, err)
				}
				filters = append(filters, some...)
			}
		}
		if len(filters) > limits.Filters {
			return refuse(pfcp.CauseNoResourcesAvailable, fmt.Errorf("%d flow descriptions: at most %d", len(filters), limits.Filters))
		}
		next[a.ApplicationID] = filters
	}
	if len(next) > maxApplications {
		return nil, &pfcp.Error{
			Cause: pfcp.CauseNoResourcesAvailable, Offending: pfcp.IEApplicationIDsPFDs,
			Err: fmt.Errorf("%d applications: at most %d", len(next), maxApplications),
		}
	}
	return next, nil
}

// managePFDs answers a PFD Management Request, TS 29.244 6.2.5: after the sessions of this control plane that name one
// of the applications detect what it describes now.
func (k *keeper) managePFDs(r *pfcp.Request, m *pfcp.PFDManagementRequest) {
	d := k.e.directory.Load()
	a := d.at(r.Peer.Addr())
	if m.NodeID.Present {
		a = d.find(m.NodeID.Value, r.Peer.Addr())
	}
	if a == nil {
		k.e.refuse(r, 0, &pfcp.Error{Cause: pfcp.CauseNoEstablishedAssociation})
		return
	}
	old := a.pfds.Load()
	next, err := old.apply(m, k.e.cfg.Limits)
	if err == nil {
		err = k.recordPFDs(a.id, old, next)
	}
	if err != nil {
		k.e.refuse(r, 0, err)
		return
	}
	a.pfds.Store(&next)
	k.e.log.Debug("PFDs provisioned", "peer", a.node.String(), "applications", len(next))
	k.e.workOn((*shard).naming, func(sh *shard, seids []pfcp.SEID) { sh.rename(a, seids) }, func() {
		k.e.answer(r, 0, &pfcp.PFDManagementResponse{Cause: pfcp.CauseAccepted, NodeID: pfcp.Some(k.e.cfg.NodeID)}, pfcp.CauseAccepted)
	})
}

// names says whether a session names an application.
func names(s *session.Session) bool {
	return slices.ContainsFunc(s.PDRs, func(p session.PDR) bool { return p.Application != "" })
}

// naming are the sessions of a shard that name an application. It knows them: to look at every session for each request
// would be a way to keep the node busy.
func (sh *shard) naming() []pfcp.SEID { return slices.Collect(maps.Keys(sh.named)) }

// recordPFDs makes PFDs durable.
func (k *keeper) recordPFDs(owner uint32, old *pfds, next pfds) error {
	var b journal.Batch
	if old != nil {
		for id := range *old {
			if _, ok := next[id]; !ok {
				b.Delete(pfdKey(owner, id))
			}
		}
	}
	for id, filters := range next {
		if was, ok := old.application(id); !ok || !slices.EqualFunc(was, filters, session.Filter.Equal) {
			b.Put(pfdKey(owner, id), pfdRecord{owner, id, filters}.encode())
		}
	}
	if err := k.e.journal.Write(&b); err != nil {
		return &pfcp.Error{Cause: pfcp.CauseNoResourcesAvailable, Err: err}
	}
	return nil
}

// rename brings sessions up to the PFDs of their control plane. One that there is no room for keeps those it has.
func (sh *shard) rename(a *association, seids []pfcp.SEID) {
	for _, seid := range seids {
		sh.when(seid, func() {
			s, ok := sh.sessions.get(seid)
			if !ok || s.Owner != a.id {
				return
			}
			next, changed := s.Rename(a.pfds.Load().application)
			if !changed {
				return
			}
			sh.change(&s, next, func(err error) {
				sh.e.stats.unrenamed.Add(1)
				sh.e.log.Error("session keeps the PFDs that it has", "seid", uint64(seid), "err", err)
			})
		})
	}
}

// pfdRecord is an application of a control plane, as the journal has it.
type pfdRecord struct {
	owner       uint32
	application string
	filters     []session.Filter
}

func pfdKey(owner uint32, application string) journal.Key {
	h := fnv.New64a()
	_ = binary.Write(h, binary.BigEndian, owner)
	_, _ = h.Write([]byte(application))
	return journal.Key{Kind: kindPFDs, ID: h.Sum64()}
}

func (p pfdRecord) encode() []byte {
	b := binary.BigEndian.AppendUint32(nil, p.owner)
	b = appendField(b, []byte(p.application))
	return session.AppendFilters(b, p.filters)
}

func parsePFDs(b []byte) (p pfdRecord, err error) {
	if len(b) < 4 {
		return p, errRecord
	}
	p.owner = binary.BigEndian.Uint32(b)
	name, rest, err := takeField(b[4:])
	if err != nil {
		return p, err
	}
	p.application = string(name)
	if p.filters, err = session.ParseFilters(rest); err != nil {
		return p, fmt.Errorf("%w: %w", errRecord, err)
	}
	return p, nil
}

// PredefinedRule is one of the configuration, TS 29.244 5.19.
type PredefinedRule struct {
	session.Predefined
	ControlPlanes []netip.Addr // that may activate it; empty: all
}

// Application returns the PFDs of an application.
func (l *lease) Application(id string) ([]session.Filter, bool) {
	return l.of.pfds.Load().application(id)
}

// Predefined returns a predefined rule that the control plane may activate.
func (l *lease) Predefined(name string) (session.Predefined, bool) {
	for _, p := range l.rules {
		if p.Name == name && (len(p.ControlPlanes) == 0 || slices.Contains(p.ControlPlanes, l.of.addr)) {
			return p.Predefined, true
		}
	}
	return session.Predefined{}, false
}
