package s8

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/xepc/xepc/controlplane/session"
	"github.com/xepc/xepc/pkg/pfcp"
)

// abandoned keeps the PFCP sessions whose deletion their PGW-U did not answer. Each is deleted again until the
// PGW-U agrees, or restarts; its address is taken until then. There are no more of them than addresses.
type abandoned struct {
	up        UserPlane
	resources *resources
	log       *slog.Logger

	mu   sync.Mutex
	left map[abandonedKey]*attempt
}

type abandonedKey struct {
	node   string
	upSEID pfcp.SEID
}

type attempt struct {
	release session.Release
	asking  bool
}

// abandonedBurst is how many deletions are under way at once.
const abandonedBurst = 64

func newAbandoned(up UserPlane, r *resources, log *slog.Logger) *abandoned {
	return &abandoned{up: up, resources: r, log: log, left: make(map[abandonedKey]*attempt)}
}

func (b *abandoned) add(a session.Abandon) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left[abandonedKey{a.Node, a.UPSEID}] = &attempt{
		release: session.Release{Node: a.Node, Pool: a.Pool, Address: a.Address},
	}
	b.log.Warn("PGW-U did not delete a session, trying again later", slog.String("pgwu", a.Node))
}

func (b *abandoned) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.left)
}

func (b *abandoned) run(ctx context.Context, wait time.Duration) error {
	ticker := time.NewTicker(wait)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			b.retry("")
		}
	}
}

// retry asks again: one node, or all with "".
func (b *abandoned) retry(node string) {
	b.mu.Lock()
	var due []abandonedKey
	asking := 0
	for key, a := range b.left {
		if a.asking {
			asking++
		} else if node == "" || key.node == node {
			due = append(due, key)
		}
	}
	due = due[:min(len(due), max(0, abandonedBurst-asking))]
	for _, key := range due {
		b.left[key].asking = true
	}
	b.mu.Unlock()
	for _, key := range due {
		b.up.Delete(key.node, key.upSEID, func(_ *pfcp.SessionDeletionResponse, err error) { b.outcome(key, err) })
	}
}

func (b *abandoned) outcome(key abandonedKey, err error) {
	fault := (*pfcp.Error)(nil)
	gone := err == nil || errors.As(err, &fault) && fault.Cause == pfcp.CauseSessionContextNotFound
	b.mu.Lock()
	a := b.left[key]
	if a != nil {
		a.asking = false
	}
	if gone {
		delete(b.left, key)
	}
	b.mu.Unlock()
	if gone && a != nil {
		b.resources.release(a.release)
	}
}

// nodeRestarted: a PGW-U that restarted has none of them.
func (b *abandoned) nodeRestarted(node string) {
	b.mu.Lock()
	var gone []*attempt
	for key, a := range b.left {
		if key.node == node {
			gone = append(gone, a)
			delete(b.left, key)
		}
	}
	b.mu.Unlock()
	for _, a := range gone {
		b.resources.release(a.release)
	}
}
