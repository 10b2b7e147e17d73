package store

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/redistest"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

func TestAuditLog(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		s.LimitAudits(10_000)
		for i := range 2500 {
			a := Audit{At: epoch.Add(time.Duration(i) * time.Second), Who: fmt.Sprint("op", i%2), Verb: "sim.suspend", Object: string(imsiNumber(i)), Result: "done"}
			require.NoError(t, s.NoteAudit(ctx, a))
		}
		all, err := s.Audits(ctx, AuditMatch{}, 3000)
		require.NoError(t, err)
		require.Len(t, all, 2500)
		require.Equal(t, string(imsiNumber(2499)), all[0].Object, "newest first")
		some, err := s.Audits(ctx, AuditMatch{Who: "op1"}, 3)
		require.NoError(t, err)
		require.Equal(t, []string{string(imsiNumber(2499)), string(imsiNumber(2497)), string(imsiNumber(2495))}, []string{some[0].Object, some[1].Object, some[2].Object})
		one, err := s.Audits(ctx, AuditMatch{Object: string(imsiNumber(3))}, 10)
		require.NoError(t, err)
		require.Len(t, one, 1)
		none, err := s.Audits(ctx, AuditMatch{Until: epoch}, 10)
		require.NoError(t, err)
		require.Empty(t, none)
		none, err = s.Audits(ctx, AuditMatch{Verb: "x", Since: epoch}, 10)
		require.NoError(t, err)
		require.Empty(t, none)
	})
}

func TestSessionLog(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.Address)
	ctx, cancel := context.WithCancel(context.Background())
	l := NewSessionLog(s, time.Hour, slog.New(slog.DiscardHandler))
	var other identity.IMSI // of the same bucket
	for i := 1; logKey(other) != logKey(imsi); i++ {
		other = identity.IMSI(fmt.Sprintf("99971%010d", i))
	}
	for i := range 1200 {
		l.Note(subscriber.Event{At: epoch.Add(time.Duration(i) * time.Second), IMSI: imsi, What: subscriber.Updated, Node: "mme1", PLMN: "001-01", IMEI: "35609204079300"})
		l.Note(subscriber.Event{At: epoch, IMSI: other, What: subscriber.Refused, Cause: subscriber.RoamingNotAllowed, Why: "the SIM is suspended"})
	}
	cancel()
	require.NoError(t, l.Run(ctx), "what waits is written first")
	all, err := s.Events(context.Background(), imsi, time.Time{}, time.Time{}, 2000)
	require.NoError(t, err)
	require.Len(t, all, 1200)
	require.Equal(t, epoch.Add(1199*time.Second), all[0].At, "newest first")
	few, err := s.Events(context.Background(), other, time.Time{}, time.Time{}, 1)
	require.NoError(t, err)
	require.Equal(t, []subscriber.Event{{At: epoch, IMSI: other, What: subscriber.Refused, Cause: subscriber.RoamingNotAllowed, Why: "the SIM is suspended"}}, few)
	ttl, err := s.redis.PTTL(context.Background(), logKey(imsi)).Result()
	require.NoError(t, err)
	require.Positive(t, ttl)

	// What is older than it is to be kept goes when the next is written, a node of the stream at a time.
	old := make([]string, 0, 500)
	for i := range 500 {
		old = append(old, fmt.Sprint(i+1))
	}
	require.NoError(t, s.redis.Del(context.Background(), logKey(imsi)).Err())
	for _, id := range old {
		require.NoError(t, s.redis.Do(context.Background(), "XADD", logKey(imsi), id, entryField, `{"imsi":"`+string(imsi)+`"}`).Err())
	}
	l.Note(subscriber.Event{IMSI: imsi, What: subscriber.Detached})
	require.NoError(t, l.Run(ctx))
	n, err := s.redis.XLen(context.Background(), logKey(imsi)).Result()
	require.NoError(t, err)
	require.Less(t, n, int64(200))

	server.Kill()
	l.Note(subscriber.Event{IMSI: imsi})
	require.NoError(t, l.Run(ctx))
	require.EqualValues(t, 1, l.Dropped())
	for range maxEvents + 5 {
		l.Note(subscriber.Event{IMSI: imsi})
	}
	require.EqualValues(t, 6, l.Dropped(), "bounded")
	none := NewSessionLog(s, 0, slog.New(slog.DiscardHandler))
	none.Note(subscriber.Event{})
	require.Empty(t, none.events)
	require.True(t, strings.HasPrefix(logKey(imsi), logPrefix))
}
