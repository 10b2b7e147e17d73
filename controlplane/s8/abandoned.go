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
//
// One whose establishment was not answered has no known SEID. It is established again: when the PGW-U agrees it had
// none, and the new one is deleted; while it refuses, the address is still in a session there.
type abandoned struct {
	up        UserPlane
	resources *resources
	log       *slog.Logger

	mu   sync.Mutex
	left map[abandonedKey]*attempt
}

// abandonedKey has one SEID: the PGW-U's, or ours when that is not known.
type abandonedKey struct {
	node           string
	upSEID, cpSEID pfcp.SEID
}

type attempt struct {
	release   session.Release // zero: nothing to release
	establish *pfcp.SessionEstablishmentRequest
	asking    bool
}

// abandonedBurst is how many deletions are under way at once.
const abandonedBurst = 64

func newAbandoned(up UserPlane, r *resources, log *slog.Logger) *abandoned {
	return &abandoned{up: up, resources: r, log: log, left: make(map[abandonedKey]*attempt)}
}

func (b *abandoned) add(a session.Abandon) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := abandonedKey{node: a.Node, upSEID: a.UPSEID}
	if a.Establish != nil {
		key.cpSEID = a.Establish.FSEID.SEID
	}
	b.left[key] = &attempt{
		release:   session.Release{Node: a.Node, Pool: a.Pool, Address: a.Address},
		establish: a.Establish,
	}
	b.log.Warn("PGW-U may still have a session, trying to delete it later", slog.String("pgwu", a.Node))
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
	establish := make([]*pfcp.SessionEstablishmentRequest, len(due))
	for i, key := range due {
		b.left[key].asking = true
		establish[i] = b.left[key].establish
	}
	b.mu.Unlock()
	for i, key := range due {
		if establish[i] == nil {
			b.delete(key)
			continue
		}
		b.up.Establish(key.node, establish[i], func(r *pfcp.SessionEstablishmentResponse, err error) {
			b.established(key, r, err)
		})
	}
}

func (b *abandoned) delete(key abandonedKey) {
	b.up.Delete(key.node, key.upSEID, func(_ *pfcp.SessionDeletionResponse, err error) { b.outcome(key, err) })
}

// established goes on to delete what was established, also when the PGW-U restarted meanwhile.
func (b *abandoned) established(key abandonedKey, r *pfcp.SessionEstablishmentResponse, err error) {
	b.mu.Lock()
	a := b.left[key]
	if a == nil {
		a = &attempt{}
	}
	if err != nil || !r.FSEID.Present {
		a.asking = false
		b.mu.Unlock()
		return
	}
	delete(b.left, key)
	known := abandonedKey{node: key.node, upSEID: r.FSEID.Value.SEID}
	b.left[known] = &attempt{release: a.release, asking: true}
	b.mu.Unlock()
	b.delete(known)
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
		b.release(a)
	}
}

func (b *abandoned) release(a *attempt) {
	if a.release != (session.Release{}) {
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
		b.release(a)
	}
}
