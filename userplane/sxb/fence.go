package sxb

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
)

// fence waits for programs that may still have packets in hand by the entries of before, for all shards together: a
// round serves everybody who has asked before it began. Rounds are numbered from 1.
type fence struct {
	asked, begun, over atomic.Uint64 // numbers of rounds
	waiting            atomic.Int64  // how many have asked since the last one began
	wake               chan struct{}
}

// A round costs some 50 us of processor a CPU, whomever it serves. So after one that has served many the next does not begin
// at once: gatherEach for each of them, and no longer than gatherMost.
const (
	gatherEach = 20 * time.Microsecond
	gatherMost = 500 * time.Microsecond
)

func newFence() *fence { return &fence{wake: make(chan struct{}, 1)} }

// ask returns the number of the round that serves what has been done until now.
func (f *fence) ask() (round uint64) {
	f.waiting.Add(1)
	round = f.begun.Load() + 1
	for {
		asked := f.asked.Load()
		if asked >= round || f.asked.CompareAndSwap(asked, round) {
			break
		}
	}
	select {
	case f.wake <- struct{}{}:
	default: // it will look anyway
	}
	return round
}

// makeRounds has the data path settle as often as somebody asks, until ctx ends.
func (e *Edge) makeRounds(ctx context.Context) error {
	f, next := e.fence, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
		}
		for f.asked.Load() > f.over.Load() {
			time.Sleep(time.Until(next))
			served := f.waiting.Swap(0)
			round := f.begun.Add(1)
			e.settle()
			f.over.Store(round)
			for _, sh := range e.shards {
				select {
				case sh.settled <- struct{}{}:
				default:
				}
			}
			next = time.Now().Add(min(time.Duration(served)*gatherEach, gatherMost))
		}
	}
}

func (e *Edge) settle() {
	if err := e.dp.Settle(); err != nil {
		e.log.Error("packets in hand are not waited for: last usage reports may lack them", "err", err)
	}
}

// pause is a session in the middle of a request, of which entries have been stopped: nothing else is done to it until
// no program has packets of before in hand.
type pause struct {
	seid    pfcp.SEID
	round   uint64        // of the fence
	request *pfcp.Request // nil: nobody asked for it
	goOn    func()
	waiting []work // for the session, in their order
	due     bool   // it is to be looked at: its deadline has come, or a limit was reached
}

// pause has goOn done when no program has packets in hand that it took by the entries of before. The session is not
// touched meanwhile; the shard serves others. Called again by goOn, what waits for the session waits on.
func (sh *shard) pause(seid pfcp.SEID, r *pfcp.Request, goOn func()) {
	p := sh.paused[seid]
	if p == nil {
		p = &pause{seid: seid}
		sh.paused[seid] = p
	}
	p.request, p.goOn, p.round = r, goOn, sh.e.fence.ask()
	sh.pauses = append(sh.pauses, p)
	sh.later = r != nil
}

// when does something to a session: now, or when it does not pause any more.
func (sh *shard) when(seid pfcp.SEID, do func()) {
	if p := sh.paused[seid]; p != nil {
		p.waiting = append(p.waiting, work{do: func(*shard) { do() }})
		return
	}
	do()
}

// waitsFor has a request wait for a session that pauses; false: it does not.
func (sh *shard) waitsFor(seid pfcp.SEID, r *pfcp.Request, do func(*shard)) bool {
	p := sh.paused[seid]
	switch {
	case p == nil:
		return false
	case sh.waiting >= sh.e.cfg.Queue:
		sh.e.refuse(r, 0, sh.e.congestion(r.Peer.Addr()))
	default:
		p.waiting = append(p.waiting, work{request: r, do: do})
		sh.later = true
		sh.waiting++
	}
	return true
}

// goOn goes on with the sessions for which the fence has waited.
func (sh *shard) goOn(over uint64) {
	for len(sh.pauses) > 0 && sh.pauses[0].round <= over {
		p := sh.pauses[0]
		if sh.pauses = sh.pauses[1:]; len(sh.pauses) == 0 {
			sh.pauses = nil
		}
		p.round = 0
		sh.serve(work{request: p.request, do: func(*shard) { p.goOn() }})
		if p.round == 0 {
			sh.unpause(p)
		}
	}
	sh.flush()
}

// unpause does what has waited for a session, until that pauses again.
func (sh *shard) unpause(p *pause) {
	delete(sh.paused, p.seid)
	for len(p.waiting) > 0 || p.due {
		if sh.flush(); len(p.waiting) == 0 || sh.paused[p.seid] != nil {
			break
		}
		w := p.waiting[0]
		p.waiting = p.waiting[1:]
		if w.request != nil {
			sh.waiting--
		}
		sh.serve(w)
	}
	if again := sh.paused[p.seid]; again != nil {
		again.waiting, again.due = append(p.waiting, again.waiting...), again.due || p.due
	} else if s, ok := sh.sessions.get(p.seid); ok && p.due {
		sh.e.protect(func() { sh.tick(s, time.Now()) })
	}
}

// serve does work, and ends there whatever goes wrong in our own code.
func (sh *shard) serve(w work) {
	sh.later = false
	if w.request == nil {
		sh.e.protect(func() { w.do(sh) })
		return
	}
	sh.e.guard(w.request, func() { w.do(sh) })
	if !sh.later {
		w.request.Release() // sessions keep nothing of it but what they have encoded
	}
}

// goOnAtLast ends what pauses, before the shard does.
func (sh *shard) goOnAtLast() {
	for len(sh.pauses) > 0 {
		sh.e.settle()
		sh.goOn(^uint64(0))
	}
}
