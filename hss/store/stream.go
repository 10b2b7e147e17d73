package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

// The audit log is one stream, audit; the session log is logBuckets streams, log:B, with the SIMs of a bucket each: one
// for each SIM would cost more than its record. Every entry has one field, e, the JSON of an Audit or a subscriber.Event.
// Both are cut as they are written: by number and by age.
const (
	auditKey   = "audit"
	logPrefix  = "log:"
	logBuckets = 1024
	entryField = "e"
	streamPage = 1000
)

// Audit is one thing that somebody did through provisioning, or was refused.
type Audit struct {
	ID     string    `json:"id,omitempty"     doc:"of the entry; later ones are larger"`
	At     time.Time `json:"at"`
	Who    string    `json:"who"              doc:"name of the token, or socket and the user's name as told"`
	From   string    `json:"from,omitempty"   doc:"address that the request came from"`
	Verb   string    `json:"verb"`
	Object string    `json:"object,omitempty" doc:"IMSI, name of a template, …"`
	Detail string    `json:"detail,omitempty" doc:"what is different; keys never"`
	Result string    `json:"result"           doc:"done, or why not"`
}

// NoteAudit writes an entry, and drops the oldest above LimitAudits.
func (s *Store) NoteAudit(ctx context.Context, a Audit) error {
	j, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encoding an audit entry: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.within)
	defer cancel()
	return unavailable(s.redis.XAdd(ctx, &redis.XAddArgs{
		Stream: auditKey, MaxLen: s.audits.Load(), Approx: true, Values: []any{entryField, j},
	}).Err())
}

// LimitAudits says how many entries of the audit log are kept; 0, as at first, are all.
func (s *Store) LimitAudits(most int64) { s.audits.Store(most) }

// AuditMatch says which entries are wanted; what is zero matches all.
type AuditMatch struct {
	Since, Until      time.Time
	Who, Verb, Object string
}

// Audits returns the newest entries that match, at most limit, newest first.
func (s *Store) Audits(ctx context.Context, m AuditMatch, limit int) ([]Audit, error) {
	var all []Audit
	err := s.backwards(ctx, auditKey, m.Since, m.Until, func(id, text string) (bool, error) {
		var a Audit
		if err := decode(text, &a); err != nil {
			return false, err
		}
		a.ID = id
		if (m.Who == "" || a.Who == m.Who) && (m.Verb == "" || a.Verb == m.Verb) && (m.Object == "" || a.Object == m.Object) {
			all = append(all, a)
		}
		return len(all) < limit, nil
	})
	return all, err
}

// backwards calls f with the entries of a stream, newest first, until it says no.
func (s *Store) backwards(ctx context.Context, stream string, since, until time.Time, f func(id, text string) (bool, error)) error {
	from, to := "-", "+"
	if !since.IsZero() {
		from = strconv.FormatInt(since.UnixMilli(), 10)
	}
	if !until.IsZero() {
		to = strconv.FormatInt(until.UnixMilli(), 10)
	}
	for {
		within, cancel := context.WithTimeout(ctx, s.within)
		page, err := s.redis.XRevRangeN(within, stream, to, from, streamPage).Result()
		cancel()
		if err != nil {
			return unavailable(err)
		}
		for _, m := range page {
			text, _ := m.Values[entryField].(string)
			more, err := f(m.ID, text)
			if err != nil || !more {
				return err
			}
		}
		if len(page) < streamPage {
			return nil
		}
		to = "(" + page[len(page)-1].ID
	}
}

func logKey(imsi identity.IMSI) string {
	return fmt.Sprintf("%s%d", logPrefix, bucket(string(imsi), logBuckets))
}

// Events returns the newest lines of a SIM's session log, at most limit, newest first.
func (s *Store) Events(ctx context.Context, imsi identity.IMSI, since, until time.Time, limit int) ([]subscriber.Event, error) {
	all := []subscriber.Event{}
	err := s.backwards(ctx, logKey(imsi), since, until, func(_, text string) (bool, error) {
		if !strings.Contains(text, string(imsi)) { // another SIM's of the bucket
			return true, nil
		}
		var e subscriber.Event
		if err := decode(text, &e); err != nil {
			return false, err
		}
		if e.IMSI == imsi {
			all = append(all, e)
		}
		return len(all) < limit, nil
	})
	return all, err
}

const (
	maxEvents     = 20_000 // waiting to be written; beyond, they are dropped and counted
	eventsAtOnce  = 500
	maxLogEntries = 5_000 // of one bucket, whatever their age: bounds the log to 5 million lines, about 1 GB
)

// SessionLog writes the session log behind the procedures, which never wait for it.
type SessionLog struct {
	store   *Store
	keep    time.Duration
	log     *slog.Logger
	events  chan subscriber.Event
	dropped atomic.Uint64
}

// NewSessionLog returns a session log that keeps a line for a time; 0: none is kept.
func NewSessionLog(s *Store, keep time.Duration, log *slog.Logger) *SessionLog {
	return &SessionLog{store: s, keep: keep, log: log, events: make(chan subscriber.Event, maxEvents)}
}

// Note writes a line, soon. It never waits: with maxEvents waiting, the line is dropped and counted.
func (l *SessionLog) Note(e subscriber.Event) {
	if l.keep == 0 {
		return
	}
	select {
	case l.events <- e:
	default:
		l.dropped.Add(1)
	}
}

// Dropped is how many lines were lost, for want of room or because Redis was away.
func (l *SessionLog) Dropped() uint64 { return l.dropped.Load() }

// Run writes until ctx ends, and then what still waits.
func (l *SessionLog) Run(ctx context.Context) error {
	writing := context.WithoutCancel(ctx) // what was taken is written to its end
	for {
		select {
		case e := <-l.events:
			l.write(writing, e)
		case <-ctx.Done():
			for len(l.events) > 0 {
				l.write(writing, <-l.events)
			}
			return nil
		}
	}
}

// write writes an event and those that wait behind it.
func (l *SessionLog) write(ctx context.Context, first subscriber.Event) {
	batch := []subscriber.Event{first}
	for len(l.events) > 0 && len(batch) < eventsAtOnce {
		batch = append(batch, <-l.events)
	}
	if err := l.store.addEvents(ctx, batch, l.keep); err != nil {
		l.dropped.Add(uint64(len(batch)))
		l.log.Warn("lines of the session log are lost", "lines", len(batch), "err", err)
	}
}

func (s *Store) addEvents(ctx context.Context, events []subscriber.Event, keep time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	var faults []error
	_, err := s.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, e := range events {
			j, err := json.Marshal(e)
			if err != nil {
				faults = append(faults, err)
				continue
			}
			stream := logKey(e.IMSI)
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: stream, MaxLen: maxLogEntries, Approx: true, Values: []any{entryField, j}})
			pipe.XTrimMinIDApprox(ctx, stream, strconv.FormatInt(time.Now().Add(-keep).UnixMilli(), 10), 0)
			pipe.PExpire(ctx, stream, keep)
		}
		return nil
	})
	return errors.Join(append(faults, unavailable(err))...)
}
