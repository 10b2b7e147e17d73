package sxb

import (
	"net/netip"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// Bounds of what is kept for UEs that are idle; ours.
const (
	maxBuffered      = 64   // packets of a session; a BAR may suggest fewer
	maxBufferedShard = 8192 // packets of all sessions of a shard
)

// buffer holds the packets of a session whose FAR buffers, in the order in which they came.
type buffer struct {
	packets [][]byte
	told    bool // the control plane was, or will be
}

// Buffered takes a downlink packet whose rule buffers, TS 29.244 5.2.3: the inner IP packet, which is the callee's from
// now on. The first one of a session is told to its control plane, where the FAR asks for that. It never waits.
func (e *Edge) Buffered(seid pfcp.SEID, packet []byte) {
	sh := e.shard(seid)
	select {
	case sh.commands <- func() { e.protect(func() { sh.buffer(seid, packet) }) }:
	default:
		e.stats.lostEvents.Add(1)
	}
}

func (sh *shard) buffer(seid pfcp.SEID, packet []byte) {
	s, ok := sh.sessions.get(seid)
	if !ok {
		return
	}
	table, err := sh.table(s)
	if err != nil {
		return
	}
	entry, ok := entryTo(table, packet)
	if !ok {
		return
	}
	if !buffers(&entry) { // it came before the rule changed, and arrives after
		sh.inject(seid, entry.Key.Instance, packet)
		return
	}
	b := sh.buffered[seid]
	if b == nil {
		b = &buffer{}
		sh.buffered[seid] = b
	}
	if entry.Notify && !b.told {
		b.told = true
		sh.notify(&s, entry.Origin, time.Now())
	}
	if len(b.packets) >= sh.room(&s, entry.Origin.FARID) || sh.held >= maxBufferedShard {
		sh.e.stats.bufferFull.Add(1)
		return
	}
	b.packets = append(b.packets, packet)
	sh.held++
}

func buffers(e *session.Entry) bool {
	for _, r := range e.Rules {
		if r.Action == session.ActionBuffer {
			return true
		}
	}
	return false
}

// entryTo finds the entry that an IP packet to a UE belongs to.
func entryTo(table session.Table, packet []byte) (session.Entry, bool) {
	var to netip.Addr
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		to = netip.AddrFrom4([4]byte(packet[16:20]))
	case len(packet) >= 40 && packet[0]>>4 == 6:
		to = netip.AddrFrom16([16]byte(packet[24:40]))
	default:
		return session.Entry{}, false
	}
	for key, e := range table {
		if key.Direction != session.Downlink || !key.UE.IsValid() {
			continue
		}
		if key.UE.Contains(to) {
			return e, true
		}
		for _, route := range e.Routes {
			if route.Contains(to) {
				return e, true
			}
		}
	}
	return session.Entry{}, false
}

// unbuffer looks at what is kept of a session after a modification: it goes out, in its order and through the same
// rules as every packet, when they forward now; it is thrown away when they drop, or the control plane says so.
func (sh *shard) unbuffer(s *session.Session, table session.Table, discard bool) {
	b := sh.buffered[s.SEID]
	if b == nil {
		return
	}
	for _, e := range table {
		if !discard && e.Key.Direction == session.Downlink && buffers(&e) {
			return
		}
	}
	sh.forget(s.SEID)
	if discard {
		return
	}
	for _, packet := range b.packets {
		if e, ok := entryTo(table, packet); ok && e.Action == session.ActionForward {
			sh.inject(s.SEID, e.Key.Instance, packet)
		}
	}
}

func (sh *shard) inject(seid pfcp.SEID, instance pfcp.NetworkInstance, packet []byte) {
	if err := sh.e.dp.Inject(instance, packet); err != nil {
		sh.e.log.Debug("buffered packet lost", "seid", uint64(seid), "err", err)
	}
}

// forget throws away what is kept of a session.
func (sh *shard) forget(seid pfcp.SEID) {
	sh.forgetNotice(seid)
	if b := sh.buffered[seid]; b != nil {
		sh.held -= len(b.packets)
		delete(sh.buffered, seid)
	}
}
