package provision

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
)

// Job is something that goes on behind the requests. All jobs can be begun again: they leave out what is done already.
type Job struct {
	Name    string           `json:"name"`
	Begun   time.Time        `json:"begun"`
	Ended   time.Time        `json:"ended,omitzero"`
	Counts  map[string]int64 `json:"counts"`
	Failure string           `json:"failure,omitempty"`
}

// jobs runs one job of a name at a time. Run of the Service takes them from begun.
type jobs struct {
	begun chan *job

	mu  sync.Mutex
	all map[string]*job
}

type job struct {
	Job
	counts func() map[string]int64
	work   func(context.Context) error
}

const maxJobs = 64 // that wait for Run, and that are remembered

func newJobs() jobs { return jobs{begun: make(chan *job, maxJobs), all: map[string]*job{}} }

// begin hands a job to Run, which works on it when the request that began it has ended.
func (j *jobs) begin(name string, counts func() map[string]int64, work func(context.Context) error) (Job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if old := j.all[name]; old != nil && old.Ended.IsZero() {
		return Job{}, refuse(http.StatusConflict, "%s goes on since %s: see hss job list", name, old.Begun.Format(time.RFC3339))
	}
	n := &job{Job: Job{Name: name, Begun: time.Now().UTC()}, counts: counts, work: work}
	select {
	case j.begun <- n:
	default:
		return Job{}, refuse(http.StatusServiceUnavailable, "%d jobs wait: try again", maxJobs)
	}
	j.all[name] = n
	j.forget()
	begun := n.Job
	begun.Counts = n.counts()
	return begun, nil
}

// forget drops the job that ended first when there are many. The caller holds mu.
func (j *jobs) forget() {
	if len(j.all) <= maxJobs {
		return
	}
	var oldest *job
	for _, n := range j.all {
		if !n.Ended.IsZero() && (oldest == nil || n.Ended.Before(oldest.Ended)) {
			oldest = n
		}
	}
	if oldest != nil {
		delete(j.all, oldest.Name)
	}
}

// do works on a job to its end.
func (j *jobs) do(ctx context.Context, n *job) error {
	err := n.work(ctx)
	j.mu.Lock()
	defer j.mu.Unlock()
	n.Ended = time.Now().UTC()
	if err != nil {
		n.Failure = err.Error()
	}
	return err
}

func (j *jobs) list() []Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := []Job{}
	for _, n := range j.all {
		one := n.Job
		one.Counts = n.counts()
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Job) int { return a.Begun.Compare(b.Begun) })
	return all
}

func (v *Service) startRepair() (Job, error) {
	r := new(store.Repaired)
	return v.jobs.begin("repair", func() map[string]int64 {
		return map[string]int64{"sims": r.Seen.Load(), "added": r.Added.Load(), "removed": r.Removed.Load(), "conflicts": r.Conflicts.Load()}
	}, func(ctx context.Context) error {
		if err := v.store.Repair(ctx, r); err != nil {
			return err
		}
		if n := r.Conflicts.Load(); n > 0 {
			return fmt.Errorf("%d static addresses are those of two SIMs each: the log names them", n)
		}
		v.log.Info("the indexes were compared with the records", "sims", r.Seen.Load(), "added", r.Added.Load(), "removed", r.Removed.Load())
		return nil
	})
}

func (v *Service) startRotation() (Job, error) {
	r := new(store.Rotation)
	return v.jobs.begin("kek rotate", func() map[string]int64 {
		return map[string]int64{"sims": r.Seen.Load(), "resealed": r.Resealed.Load(), "unreadable": r.Unreadable.Load()}
	}, func(ctx context.Context) error {
		if err := v.store.Rotate(ctx, r); err != nil {
			return err
		}
		if n := r.Unreadable.Load(); n > 0 {
			return fmt.Errorf("the keys of %d SIMs do not open: keep the old keys", n)
		}
		v.log.Info("the SIMs' keys were sealed anew", "kek", v.store.ActiveKEK(), "sims", r.Seen.Load(), "resealed", r.Resealed.Load())
		return nil
	})
}

// startTelling tells the serving nodes of every registered SIM that uses a template that it has changed. Other instances
// may go on with the old one for store.TemplatesWithin, so that is waited for.
func (v *Service) startTelling(name string, uses func(store.Record) bool, before, after subscriber.Templates) error {
	var told, seen counter
	v.changes.add(1) // each change is a job of its own: one may come while another is told
	_, err := v.jobs.begin(fmt.Sprintf("template %s, change %d", name, v.changes.get()), func() map[string]int64 {
		return map[string]int64{"sims": seen.get(), "told": told.get()}
	}, func(ctx context.Context) error {
		wait := time.NewTimer(store.TemplatesWithin + time.Second)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		return v.store.Each(ctx, "", func(page []store.Record) error {
			seen.add(len(page))
			for _, r := range page {
				if !r.Registered() || !uses(r) {
					continue
				}
				if err := v.tell(ctx, r, before, after); err != nil {
					return err
				}
				told.add(1)
			}
			return nil
		})
	})
	return err
}

func (v *Service) tell(ctx context.Context, r store.Record, before, after subscriber.Templates) error {
	c := subscriber.Change{IMSI: r.IMSI, At: v.now().UTC(), Before: r.Subscriber, After: r.Subscriber}
	var err error
	if c.Before.Profile, err = before.Resolve(r.Stored); err != nil {
		return err
	}
	if c.After.Profile, err = after.Resolve(r.Stored); err != nil {
		return err
	}
	id, err := v.store.NoteChange(ctx, c)
	if err != nil {
		return err
	}
	v.push(ctx, id, c)
	return nil
}

type counter struct {
	mu sync.Mutex
	n  int64
}

func (c *counter) add(n int) { c.mu.Lock(); c.n += int64(n); c.mu.Unlock() }

func (c *counter) get() int64 { c.mu.Lock(); defer c.mu.Unlock(); return c.n }
