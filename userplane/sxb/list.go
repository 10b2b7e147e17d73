package sxb

import (
	"cmp"
	"context"
	"slices"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// Session returns one session.
func (e *Edge) Session(ctx context.Context, seid pfcp.SEID) (session.Session, bool) {
	all := e.collect(ctx, []*shard{e.shard(seid)}, func(sh *shard, add func(session.Session)) {
		if s, ok := sh.sessions.get(seid); ok {
			add(s)
		}
	})
	if len(all) == 0 {
		return session.Session{}, false
	}
	return all[0], true
}

// Sessions returns those sessions that match, in the order of their SEIDs. match is called by the shards and must
// be quick; nil matches all.
func (e *Edge) Sessions(ctx context.Context, match func(*session.Session) bool) []session.Session {
	return e.collect(ctx, e.shards, func(sh *shard, add func(session.Session)) {
		for s := range sh.sessions.each {
			if match == nil || match(&s) {
				add(s)
			}
		}
	})
}

// collect asks shards, and gives up on them when ctx ends or the edge does not run.
func (e *Edge) collect(ctx context.Context, shards []*shard, from func(*shard, func(session.Session))) []session.Session {
	var all []session.Session
	for _, sh := range shards {
		answer := make(chan []session.Session, 1)
		ask := func() {
			var some []session.Session
			from(sh, func(s session.Session) { some = append(some, s) })
			answer <- some
		}
		select {
		case sh.commands <- ask:
		case <-ctx.Done():
			return nil
		}
		select {
		case some := <-answer:
			all = append(all, some...)
		case <-ctx.Done():
			return nil
		}
	}
	slices.SortFunc(all, func(a, b session.Session) int { return cmp.Compare(a.SEID, b.SEID) })
	return all
}
