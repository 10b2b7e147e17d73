package sxb

import (
	"context"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/journal"
	"github.com/xepc/xepc/userplane/session"
)

// shard owns some of the sessions: one goroutine.
type shard struct {
	e        *Edge
	number   int
	inbox    chan work
	commands chan func()   // of keeper and admin, few
	ready    chan struct{} // closed: an arm of the select that is ready beside whoever else is
	stopped  chan struct{} // closed when run has ended
	sessions *store
	timers   timers
	waits    timers // of notices
	notices  map[pfcp.SEID]*notice
	named    map[pfcp.SEID]struct{} // sessions that name an application

	asked       map[pfcp.SEID]time.Time // until when usage reports of a session may be on their way
	indications map[pfcp.SEID]time.Time // when a session's control plane was told of an Error Indication
	remotes     map[uint64]pfcp.SEID    // by hash of a remote F-TEID: a session that sends to it
	sharers     map[uint64][]pfcp.SEID  // likewise: the other sessions that do
	uses        map[use]int             // how many FARs
	parked      chan handed             // packets, and fences between them
	buffered    map[pfcp.SEID]*buffer   // what is kept for UEs that are idle
	held        int                     // packets in all of them
	draining    map[pfcp.SEID]*draining

	wall session.Time  // of the clock when it was looked at last
	ran  time.Duration // that the shard had then

	paused  map[pfcp.SEID]*pause
	pauses  []*pause      // in the order of their rounds
	waiting int           // requests for sessions that pause
	settled chan struct{} // a round of the fence is over
	later   bool          // the request in hand is not answered yet: it waits, or its session pauses

	group  group         // that is being made
	spare  group         // reused
	batch  journal.Batch // reused: what is written without a request
	form   []byte        // reused: the record of the session that was put last
	works  []portions
	graves []grave                // of recorded answers, oldest first
	rests  []grave                // of addresses that rest, oldest first
	stuck  map[pfcp.SEID]struct{} // sessions that were stopped, and that there was no room to let go on
}

type work struct {
	request *pfcp.Request
	do      func(*shard)
	queued  time.Time
}

// portions is work on many sessions, done in portions so that others need not wait.
type portions struct {
	seids []pfcp.SEID
	do    func([]pfcp.SEID)
	done  func()
}

// grave is a key of the journal that is to go a while after something went: the recorded answer of a session's
// deletion, or an address's rest.
type grave struct {
	key journal.Key
	at  time.Time
}

// portion is how many sessions a shard works on between two requests of others.
const portion = 128

func newShard(e *Edge, number int) *shard {
	ready := make(chan struct{})
	close(ready)
	return &shard{
		e: e, number: number, ready: ready, inbox: make(chan work, e.cfg.Queue), commands: make(chan func(), 1024),
		stopped:  make(chan struct{}),
		sessions: newStore(), asked: map[pfcp.SEID]time.Time{}, indications: map[pfcp.SEID]time.Time{},
		remotes: map[uint64]pfcp.SEID{}, sharers: map[uint64][]pfcp.SEID{}, uses: map[use]int{}, buffered: map[pfcp.SEID]*buffer{}, stuck: map[pfcp.SEID]struct{}{}, notices: map[pfcp.SEID]*notice{},
		named:  map[pfcp.SEID]struct{}{},
		parked: make(chan handed, parkedQueue), draining: map[pfcp.SEID]*draining{},
		paused: map[pfcp.SEID]*pause{}, settled: make(chan struct{}, 1),
	}
}

func (sh *shard) run(ctx context.Context) error {
	clock := time.NewTicker(tick)
	defer clock.Stop()
	defer close(sh.stopped)
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	armed := session.Time(0)
	began := time.Now()
	sh.wall, sh.ran = session.At(began), 0
	for {
		next := sh.timers.next()
		if w := sh.waits.next(); w != 0 && (next == 0 || w < next) {
			next = w
		}
		if next != armed && next != 0 {
			alarm.Reset(time.Until(time.Unix(0, int64(next))))
			armed = next
		}
		var more <-chan struct{}
		if len(sh.works) > 0 {
			more = sh.ready
		}
		select {
		case w := <-sh.inbox:
			sh.serveGroup(w)
		case <-sh.settled:
			sh.goOn(sh.e.fence.over.Load())
		case f := <-sh.commands:
			f()
		case h := <-sh.parked:
			sh.e.protect(func() { sh.take(&h) })
		case <-more:
			sh.e.protect(sh.work)
		case now := <-clock.C:
			sh.followClock(session.At(now), now.Sub(began))
			sh.forgetGraves(now)
			sh.resumeStuck()
			sh.hurry(now)
		case now := <-alarm.C:
			armed = 0
			sh.e.protect(func() { sh.expireWaits(now) })
			sh.e.protect(func() { sh.expire(now) })
		case <-ctx.Done():
			sh.goOnAtLast()
			if lost := sh.end(); lost > 0 {
				sh.e.log.Warn("buffered packets are lost with this process", "packets", lost)
			}
			return nil
		}
	}
}

// followClock looks at every session that has a deadline when the clock was set back: the deadline would come too late.
func (sh *shard) followClock(wall session.Time, ran time.Duration) {
	back := ran - sh.ran - time.Duration(wall-sh.wall)
	sh.wall, sh.ran = wall, ran
	if back < tick {
		return
	}
	sh.e.log.Warn("the clock was set back: sessions are looked at", "by", back, "shard", sh.number, "sessions", len(sh.timers.at))
	for seid := range sh.timers.at {
		sh.timers.set(seid, wall)
	}
}

// ask hands a request over; when too many wait it is refused at once, TS 29.244 8.2.1 cause 74.
func (sh *shard) ask(r *pfcp.Request, now time.Time, do func(*shard)) bool {
	select {
	case sh.inbox <- work{r, do, now}:
		return true
	default:
		sh.e.refuse(r, 0, sh.e.congestion(r.Peer.Addr()))
		return false
	}
}

// owned returns the session that a request names, if it is its control plane that asks: that of the session's
// association, from its address or from that of the CP F-SEID. To anybody else there is no such session.
func (sh *shard) owned(r *pfcp.Request) (session.Session, *association, error) {
	s, ok := sh.sessions.get(r.Header.SEID)
	if ok {
		from := r.Peer.Addr()
		if a := sh.e.directory.Load().byID[s.Owner]; a != nil && (a.addr == from || s.CP.IPv4 == from) {
			return s, a, nil
		}
	}
	return session.Session{}, nil, &pfcp.Error{Cause: pfcp.CauseSessionContextNotFound}
}

// table is what the data path has of a session: what it compiles to, some of which may drain. It compiled before, so an
// error is no fault of the request.
func (sh *shard) table(s session.Session) (session.Table, error) {
	table, err := s.Compile(sh.e.cfg.Instances)
	if d := sh.draining[s.SEID]; d != nil {
		drain(table, d.fars)
	}
	return table, err
}

// record makes a session durable, and returns its record, which is good until the next one.
func (sh *shard) record(s *session.Session) (form []byte, err error) {
	if sh.form, err = s.AppendBinary(sh.form[:0]); err != nil {
		return nil, err
	}
	sh.batch.Reset()
	sh.batch.Put(journal.Key{Kind: kindSession, ID: uint64(s.SEID)}, sh.form)
	return sh.form, sh.e.journal.Write(&sh.batch)
}

// keep takes a session over as it is from now on; before is nil for a new one. form is the record of next; nil: there is
// none yet.
func (sh *shard) keep(before, next *session.Session, form []byte, now time.Time) (err error) {
	if form == nil {
		if sh.form, err = next.AppendBinary(sh.form[:0]); err != nil {
			return err
		}
		form = sh.form
	}
	sh.sessions.put(next.SEID, form)
	if before == nil {
		sh.e.fseids.set(next.Owner, next.CP, next.SEID)
	} else if before.CP != next.CP {
		sh.e.fseids.release(before.Owner, before.CP, before.SEID)
		sh.e.fseids.set(next.Owner, next.CP, next.SEID)
	}
	if before == nil || !sameEnds(before, next) {
		if before != nil {
			sh.disconnect(before)
		}
		sh.connect(next)
	}
	if names(next) {
		sh.named[next.SEID] = struct{}{}
	} else {
		delete(sh.named, next.SEID)
	}
	if sh.notices[next.SEID] != nil && !buffersAny(next) {
		sh.forgetNotice(next.SEID)
	}
	sh.timers.set(next.SEID, next.Next(session.At(now), sh.e.cfg.Poll))
	return nil
}

// begin takes a session over that the journal brought. What came due while nobody looked is looked at at once.
func (sh *shard) begin(s *session.Session, now time.Time) error {
	sh.e.gbr.set(pfcp.BitRate{}, s.GBR()) // promised by the process before
	err := sh.keep(nil, s, nil, now)
	if s.Next(session.At(now), sh.e.cfg.Poll) != 0 || len(s.Unconfirmed) > 0 {
		sh.timers.set(s.SEID, session.At(now))
	}
	return err
}

// drop lets go of a session.
func (sh *shard) drop(s *session.Session) {
	sh.sessions.remove(s.SEID)
	sh.e.stats.bufferDropped.Add(sh.forget(s.SEID))
	delete(sh.draining, s.SEID)
	sh.e.fseids.release(s.Owner, s.CP, s.SEID)
	sh.e.gbr.set(s.GBR(), pfcp.BitRate{})
	sh.disconnect(s)
	sh.timers.set(s.SEID, 0)
	delete(sh.indications, s.SEID)
	delete(sh.named, s.SEID)
}

// try does a step of what a request asks for. When it fails, undo has all be as it was, and the request is refused.
func (sh *shard) try(r *pfcp.Request, cp pfcp.SEID, do func() error, undo func()) {
	over := false
	defer func() {
		if !over { // our own code panics
			undo()
		}
	}()
	err := do()
	over = true
	if err != nil {
		undo()
		sh.e.refuse(r, cp, err)
	}
}

// workOn does something with the sessions that pick picks, and then calls done.
func (sh *shard) workOn(pick func(*shard) []pfcp.SEID, do func([]pfcp.SEID), done func()) {
	select {
	case sh.commands <- func() { sh.works = append(sh.works, portions{pick(sh), do, done}) }:
	case <-sh.stopped: // the next process sees to them
	}
}

// of picks those sessions of an association that match; nil matches all.
func of(owner uint32, match func(*session.Session) bool) func(*shard) []pfcp.SEID {
	return func(sh *shard) (seids []pfcp.SEID) {
		for s := range sh.sessions.each {
			if s.Owner == owner && (match == nil || match(&s)) {
				seids = append(seids, s.SEID)
			}
		}
		return seids
	}
}

// work does a portion of the first work.
func (sh *shard) work() {
	p := &sh.works[0]
	n := min(portion, len(p.seids))
	some := p.seids[:n]
	p.seids = p.seids[n:]
	if over := len(p.seids) == 0; over {
		defer p.done()
		sh.works = sh.works[1:]
	}
	p.do(some)
}

// purge removes sessions without a word to anybody. Here the journal comes first: a session that is not in it is not
// wanted, and the next process would remove its entries.
func (sh *shard) purge(seids []pfcp.SEID) {
	var changes session.Changes
	var fteids []session.FTEID
	var addresses []session.Address
	now := time.Now()
	sh.batch.Reset()
	for _, seid := range seids {
		s, ok := sh.sessions.get(seid)
		if !ok {
			continue
		}
		if a := sh.e.directory.Load().byID[s.Owner]; a != nil {
			a.sessions.Add(-1)
		}
		if table, err := sh.table(s); err == nil {
			changes.Deletes = append(changes.Deletes, session.Diff(table, nil).Deletes...)
		}
		changes.DiffCells(s.Cells(), nil)
		fteids = append(fteids, s.FTEIDs()...)
		addresses = append(addresses, s.Addresses...)
		sh.batch.Delete(journal.Key{Kind: kindSession, ID: uint64(seid)})
		sh.batch.Delete(journal.Key{Kind: kindResponse, ID: uint64(seid)})
		sh.drop(&s)
	}
	putRest(&sh.batch, addresses, now)
	if err := sh.e.journal.Write(&sh.batch); err != nil {
		sh.e.log.Error("removed sessions stay in the journal", "sessions", len(seids), "err", err)
	}
	if err := sh.e.dp.Apply(changes); err != nil {
		sh.e.log.Error("entries of removed sessions stay in the data path", "sessions", len(seids), "err", err)
	}
	sh.e.teids.release(fteids, now)
	sh.e.addresses.release(addresses, now)
	sh.restOver(addresses, now)
	sh.e.stats.purged.Add(uint64(len(seids)))
}

// change makes a session another without being asked: the record first, then the data path. When that refuses, all is
// as before, and failed hears of it.
func (sh *shard) change(s *session.Session, next session.Session, failed func(error)) {
	before, err := sh.table(*s)
	if err != nil {
		failed(err)
		return
	}
	now := time.Now()
	settled, counts := *s, session.Counts{}
	if s.Observes() {
		if settled, counts, err = sh.settle(*s, before, now); err != nil {
			failed(err)
			return
		}
		next.URRs, next.Packets, next.LastPacket, next.Inactive = settled.URRs, settled.Packets, settled.LastPacket, settled.Inactive
	}
	after, err := sh.table(next)
	if err != nil {
		failed(err)
		return
	}
	gone := settled.Gone(before, after)
	if !s.Observes() || len(gone) == 0 {
		if err := sh.putChange(s, recount(next, after, settled, counts), before, after, now); err != nil {
			failed(err)
		}
		return
	}
	if err := sh.e.dp.Apply(session.Changes{Puts: stopped(gone)}); err != nil {
		failed(err)
		return
	}
	sh.pause(s.SEID, nil, func() {
		if !sh.sessions.has(s.SEID) {
			return
		}
		done := false
		defer func() { // also when our own code panics
			if !done {
				sh.resume(*s, before)
			}
		}()
		late, err := sh.counts(gone)
		if err == nil {
			next = next.Late(settled, counts, late, nil)
			err = sh.putChange(s, recount(next, after, settled, counts), before, after, now)
		}
		if done = err == nil; !done {
			failed(err)
		}
	})
}

// putChange records a session that was changed, and changes its entries from those before to those after.
func (sh *shard) putChange(s *session.Session, next session.Session, before, after session.Table, now time.Time) error {
	form, err := sh.record(&next)
	if err != nil {
		return err
	}
	changes := session.Diff(before, after)
	changes.DiffCells(s.Cells(), next.Cells())
	if err := sh.e.dp.Apply(changes); err != nil {
		if _, undo := sh.record(s); undo != nil {
			sh.e.log.Error("a change that was not made stays in the journal until the next", "seid", uint64(s.SEID), "err", undo)
		}
		return err
	}
	return sh.keep(s, &next, form, now)
}

// bury remembers to forget the recorded answer of a session that is gone.
func (sh *shard) bury(seid pfcp.SEID, now time.Time) {
	sh.graves = append(sh.graves, grave{journal.Key{Kind: kindResponse, ID: uint64(seid)}, now})
}

func (sh *shard) forgetGraves(now time.Time) {
	sh.batch.Reset()
	answers, over := overdue(&sh.batch, sh.graves, now, sh.e.cfg.ReplayLifetime), overdue(&sh.batch, sh.rests, now, sh.e.cfg.AddressRest)
	if answers+over == 0 {
		return
	}
	if err := sh.e.journal.Write(&sh.batch); err != nil {
		sh.e.log.Error("outdated records stay in the journal", "err", err)
		return
	}
	sh.graves, sh.rests = after(sh.graves, answers), after(sh.rests, over)
}

// overdue deletes those whose time is over, and returns how many they are.
func overdue(b *journal.Batch, all []grave, now time.Time, lifetime time.Duration) (n int) {
	for n < len(all) && now.Sub(all[n].at) > lifetime {
		b.Delete(all[n].key)
		n++
	}
	return n
}

// after are the graves from n on; nil, so that the array goes, when there are none.
func after(all []grave, n int) []grave {
	if all = all[n:]; len(all) == 0 {
		return nil
	}
	return all
}
