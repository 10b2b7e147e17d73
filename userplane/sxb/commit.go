package sxb

import (
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/journal"
	"github.com/xepc/xepc/userplane/session"
)

// group is the requests that one write makes durable: those that a shard finds waiting at once. None of their answers
// leaves, and nothing of them is in the data path, before all of them are in the journal; there is no other
// difference to serving them one by one. A request for a session that another one of the group changes is served after
// the group.
type group struct {
	batch   journal.Batch
	octets  []byte // the records of its sessions, one behind the other; then those of the answers, each for a moment
	commits []commit
}

// maxGroup is how many requests a group has at most, and maxGroupOctets beyond how many octets it gets no more: others
// wait for it meanwhile.
const (
	maxGroup       = 64
	maxGroupOctets = 1 << 18
)

// commit is what a request does when it can be refused for nothing but want of room any more.
type commit struct {
	r            *pfcp.Request
	cp           pfcp.SEID        // of the control plane, to which a refusal is sent
	before, next *session.Session // before is nil for a new session, next for one that goes
	changes      session.Changes
	now          time.Time
	done         func(*commit) // when the record is written and the data path has taken the changes: it answers
	undo         func()        // when that failed: then the session of before is recorded and forwarded, or none

	form   []byte // the record of next, good until done returns
	answer []byte
}

// serveGroup serves a request and those that wait behind it.
func (sh *shard) serveGroup(w work) {
	defer sh.flush()
	for n := 1; ; n++ {
		sh.e.stats.waited(time.Since(w.queued))
		sh.serve(w)
		if n == maxGroup {
			return
		}
		select {
		case w = <-sh.inbox:
		default:
			return
		}
	}
}

// commitOf has what the group does to a session done, so that what comes next finds it as it is then.
func (sh *shard) commitOf(seid pfcp.SEID) {
	for i := range sh.group.commits {
		if sh.group.commits[i].seid() == seid {
			sh.flush()
			return
		}
	}
}

func (c *commit) seid() pfcp.SEID {
	if c.next != nil {
		return c.next.SEID
	}
	return c.before.SEID
}

// commit puts what a request does into the group: the session and the answer, one record. Nothing of it is there when
// that fails.
func (sh *shard) commit(c commit, answer pfcp.Message) (err error) {
	if len(sh.group.commits) >= maxGroup || sh.group.batch.Len() >= maxGroupOctets {
		sh.flush()
	}
	g := &sh.group
	was, kept := g.batch.Len(), false
	defer func() {
		if !kept {
			g.batch.Cut(was)
		}
	}()
	seid := uint64(c.seid())
	putRest(&g.batch, gone(c.before, c.next), c.now)
	if c.next == nil {
		g.batch.Delete(journal.Key{Kind: kindSession, ID: seid})
	} else {
		from := len(g.octets)
		if g.octets, err = c.next.AppendBinary(g.octets); err != nil {
			return err
		}
		c.form = g.octets[from:]
		g.batch.Put(journal.Key{Kind: kindSession, ID: seid}, c.form)
	}
	if c.answer, err = c.r.Encode(c.cp, answer); err != nil {
		return err
	}
	end := len(g.octets)
	record := responseRecord{peer: c.r.Peer, sequence: c.r.Header.Sequence, given: c.now, octets: c.answer}
	g.octets = record.append(g.octets)
	g.batch.Put(journal.Key{Kind: kindResponse, ID: seid}, g.octets[end:])
	g.octets = g.octets[:end]
	g.commits = append(g.commits, c)
	sh.later, kept = true, true
	return nil
}

// flush writes the group, and then does what its requests do.
func (sh *shard) flush() {
	if len(sh.group.commits) == 0 {
		return
	}
	g := sh.group
	sh.group = sh.spare
	written := sh.e.journal.Write(&g.batch)
	sh.e.endpoint.Hold()
	for i := range g.commits {
		c := &g.commits[i]
		sh.serve(work{request: c.r, do: func(sh *shard) {
			sh.try(c.r, c.cp, func() error { return sh.carryOut(c, written) }, c.undo)
		}})
	}
	sh.e.endpoint.Release()
	sh.later = false
	clear(g.commits)
	g.batch.Reset()
	sh.spare = group{batch: g.batch, octets: g.octets[:0], commits: g.commits[:0]}
}

// carryOut has the data path take what was written.
func (sh *shard) carryOut(c *commit, written error) error {
	switch {
	case written == nil:
	case c.before == c.next: // the session is that already: only its answer is another, which leaves all the same
		sh.e.log.Error("last counts of removed URRs are in no record", "seid", uint64(c.seid()), "err", written)
	default: // there is no room
		return &pfcp.Error{Cause: pfcp.CauseNoResourcesAvailable, Err: written}
	}
	if !c.changes.Empty() {
		taken := false
		defer func() { // also when our own code panics
			if !taken {
				sh.takeBack(c)
			}
		}()
		if err := sh.e.dp.Apply(c.changes); err != nil {
			return err
		}
		taken = true
	}
	c.done(c)
	return nil
}

// takeBack makes durable what was before a request that is refused after its record was written.
func (sh *shard) takeBack(c *commit) {
	seid := c.seid()
	sh.batch.Reset()
	sh.batch.Delete(journal.Key{Kind: kindResponse, ID: uint64(seid)})
	for _, a := range gone(c.before, c.next) {
		sh.batch.Delete(restKey(a))
	}
	var err error
	if c.before == nil {
		sh.batch.Delete(journal.Key{Kind: kindSession, ID: uint64(seid)})
	} else if sh.form, err = c.before.AppendBinary(sh.form[:0]); err == nil {
		sh.batch.Put(journal.Key{Kind: kindSession, ID: uint64(seid)}, sh.form)
	}
	if err == nil {
		err = sh.e.journal.Write(&sh.batch)
	}
	if err != nil {
		sh.e.log.Error("refused session stays in the journal until the next change", "seid", uint64(seid), "err", err)
	}
}

// accept sends an answer that was recorded.
func (sh *shard) accept(r *pfcp.Request, answer []byte) {
	sh.e.stats.answered(r.Header.Type, pfcp.CauseAccepted)
	if err := r.RespondWith(answer); err != nil {
		sh.e.log.Error("response not sent", "peer", r.Peer.String(), "to", r.Header.Type.String(), "err", err)
	}
}
