package sxb

import (
	"container/heap"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// timers are the deadlines of a shard's sessions, one each. Those that were set anew or given up stay in the heap
// until they are reached, and are passed over there.
type timers struct {
	at   map[pfcp.SEID]session.Time
	heap deadlines
}

type deadline struct {
	at   session.Time
	seid pfcp.SEID
}

type deadlines []deadline

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].at < d[j].at }
func (d deadlines) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }

// Push is of heap.Interface.
func (d *deadlines) Push(x any) { *d = append(*d, x.(deadline)) }

// Pop is of heap.Interface.
func (d *deadlines) Pop() any {
	last := len(*d) - 1
	x := (*d)[last]
	*d = (*d)[:last]
	return x
}

// set gives a session its deadline; 0: none.
func (t *timers) set(seid pfcp.SEID, at session.Time) {
	if at == 0 {
		delete(t.at, seid)
		return
	}
	if t.at[seid] == at {
		return
	}
	if t.at == nil {
		t.at = map[pfcp.SEID]session.Time{}
	}
	t.at[seid] = at
	heap.Push(&t.heap, deadline{at, seid})
	if len(t.heap) > 64 && len(t.heap) > 4*len(t.at) { // mostly given up: begin the heap anew
		t.heap = t.heap[:0]
		for seid, at := range t.at {
			t.heap = append(t.heap, deadline{at, seid})
		}
		heap.Init(&t.heap)
	}
}

// due takes the first session whose deadline has come.
func (t *timers) due(now session.Time) (pfcp.SEID, bool) {
	for len(t.heap) > 0 && t.heap[0].at <= now {
		d := heap.Pop(&t.heap).(deadline)
		if t.at[d.seid] == d.at {
			delete(t.at, d.seid)
			return d.seid, true
		}
	}
	return 0, false
}

// next is the first deadline; 0: there is none.
func (t *timers) next() session.Time {
	if len(t.heap) == 0 {
		return 0
	}
	return t.heap[0].at
}
