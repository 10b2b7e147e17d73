package sxb

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
)

// association is one with a control plane, TS 29.244 5.3. What changes is atomic; everything else is replaced.
type association struct {
	id uint32 // ours; sessions name their association by it
	associationRecord
	setting Peer

	sessions *atomic.Int64
	heard    *atomic.Int64  // Unix nanoseconds of the last message
	lost     *atomic.Int64  // Unix nanoseconds since when it does not answer; 0: it does
	draining *atomic.Int64  // Unix nanoseconds until when it has time to release; 0: nobody asked it to
	loadTold *atomic.Uint32 // sequence number of the load control information that it had last
	pfds     *atomic.Pointer[pfds]

	overloadTold *told
}

func newAssociation(id uint32, r associationRecord, setting Peer, now time.Time) *association {
	a := &association{
		id: id, associationRecord: r, setting: setting,
		sessions: new(atomic.Int64), heard: new(atomic.Int64), lost: new(atomic.Int64),
		draining: new(atomic.Int64), loadTold: new(atomic.Uint32), pfds: new(atomic.Pointer[pfds]), overloadTold: new(told),
	}
	a.heard.Store(now.UnixNano())
	return a
}

// peer is where the control plane takes requests.
func (a *association) peer() netip.AddrPort { return netip.AddrPortFrom(a.addr, a.setting.Port) }

// sameNode compares Node IDs; FQDNs without regard to case.
func sameNode(a, b pfcp.NodeID) bool { return nodeKey(a) == nodeKey(b) }

func nodeKey(n pfcp.NodeID) string { return strings.ToLower(n.String()) }

// directory finds associations. It is never changed: with and without return another.
type directory struct {
	byID   map[uint32]*association
	byNode map[string]*association
	byAddr map[netip.Addr][]*association
}

func (d *directory) with(a *association) *directory {
	n := d.without(a.id)
	n.byID[a.id] = a
	n.byNode[nodeKey(a.node)] = a
	n.byAddr[a.addr] = append(slices.Clone(n.byAddr[a.addr]), a)
	return n
}

func (d *directory) without(id uint32) *directory {
	n := &directory{byID: maps.Clone(d.byID), byNode: maps.Clone(d.byNode), byAddr: maps.Clone(d.byAddr)}
	if n.byID == nil {
		n.byID, n.byNode, n.byAddr = map[uint32]*association{}, map[string]*association{}, map[netip.Addr][]*association{}
	}
	old, ok := n.byID[id]
	if !ok {
		return n
	}
	delete(n.byID, id)
	if n.byNode[nodeKey(old.node)] == old {
		delete(n.byNode, nodeKey(old.node))
	}
	rest := slices.DeleteFunc(slices.Clone(n.byAddr[old.addr]), func(a *association) bool { return a.id == id })
	if n.byAddr[old.addr] = rest; len(rest) == 0 {
		delete(n.byAddr, old.addr)
	}
	return n
}

// find returns the association that a request with this Node ID from this address belongs to: the node's, if it
// is at that address; else the only one at that address, for some name themselves differently from message to
// message. Another's Node ID alone opens nothing.
func (d *directory) find(node pfcp.NodeID, addr netip.Addr) *association {
	if a := d.byNode[nodeKey(node)]; a != nil && a.addr == addr {
		return a
	}
	return d.at(addr)
}

// at returns the association with the control plane at addr, unless there are several.
func (d *directory) at(addr netip.Addr) *association {
	if all := d.byAddr[addr]; len(all) == 1 {
		return all[0]
	}
	return nil
}

// heard notes a sign of life.
func (d *directory) heard(addr netip.Addr, now time.Time) {
	for _, a := range d.byAddr[addr] {
		a.heard.Store(now.UnixNano())
	}
}

// PeerInfo is a control plane as people see it.
type PeerInfo struct {
	Number            uint32                 `json:"number"`
	NodeID            string                 `json:"node_id"`
	Address           netip.Addr             `json:"address"`
	RecoveryTimeStamp pfcp.RecoveryTimeStamp `json:"recovery_time_stamp"`
	State             string                 `json:"state"`          // associated, lost, releasing
	Silent            float64                `json:"silent_seconds"` // since its last message
	Sessions          int64                  `json:"sessions"`
	Applications      int                    `json:"applications"` // that it has provisioned PFDs of
}

// Peers returns the associations.
func (e *Edge) Peers() []PeerInfo {
	now := time.Now()
	var all []PeerInfo
	for _, a := range e.directory.Load().byID {
		p := PeerInfo{
			Number: a.id, NodeID: a.node.String(), Address: a.addr, RecoveryTimeStamp: a.recovery, State: "associated",
			Silent: now.Sub(time.Unix(0, a.heard.Load())).Seconds(), Sessions: a.sessions.Load(),
		}
		if apps := a.pfds.Load(); apps != nil {
			p.Applications = len(*apps)
		}
		switch {
		case a.lost.Load() != 0:
			p.State = "lost"
		case a.draining.Load() != 0:
			p.State = "releasing"
		}
		all = append(all, p)
	}
	sortPeers(all)
	return all
}

func sortPeers(all []PeerInfo) {
	slices.SortFunc(all, func(a, b PeerInfo) int { return cmp.Compare(a.Number, b.Number) })
}
