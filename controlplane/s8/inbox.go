package s8

import (
	"sync"
	"time"
)

// input is one thing for a shard to do.
type input struct {
	at time.Time // of arrival
	do func(*shard)
}

// inbox is a shard's queue. Requests of peers are bounded by offer. What the node owes itself (answers of PGW-Us,
// news of nodes and peers) always finds room in put, which never blocks: there are no more of these than requests
// in progress.
type inbox struct {
	wake chan struct{} // holds one token while the queue is not empty

	mu    sync.Mutex
	queue []input
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

func (b *inbox) put(do func(*shard)) {
	b.mu.Lock()
	b.queue = append(b.queue, input{at: time.Now(), do: do})
	b.mu.Unlock()
	b.signal()
}

// offer queues do unless limit inputs wait already.
func (b *inbox) offer(do func(*shard), limit int) bool {
	b.mu.Lock()
	room := len(b.queue) < limit
	if room {
		b.queue = append(b.queue, input{at: time.Now(), do: do})
	}
	b.mu.Unlock()
	if room {
		b.signal()
	}
	return room
}

func (b *inbox) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *inbox) take() []input {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.queue
	b.queue = nil
	return all
}

func (b *inbox) length() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue)
}
