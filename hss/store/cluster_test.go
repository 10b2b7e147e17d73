package store

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/redistest"
	"github.com/xepc/xepc/hss/subscriber"
)

// TestCluster runs all that crosses slots on a Cluster of three masters.
func TestCluster(t *testing.T) {
	keyring, err := ParseKeyring(kek)
	require.NoError(t, err)
	cfg := DefaultConfig()
	cfg.Addresses = redistest.StartCluster(t)
	s, err := Open(cfg, keyring, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	ctx := context.Background()
	require.NoError(t, s.Ping(ctx))

	const n = 1500
	all := sims(n)
	results, err := s.AddMany(ctx, all, epoch)
	require.NoError(t, err)
	require.Equal(t, n, countNil(results))
	require.NoError(t, s.PutTemplate(ctx, "meter", subscriber.Profile{PLMNs: []string{"001-01"}}))
	found, err := s.Search(ctx, Match{}, n+1)
	require.NoError(t, err)
	require.Len(t, found, n, "of all masters")
	found, err = s.Search(ctx, Match{Batch: "2026-11", After: imsiNumber(9)}, 5)
	require.NoError(t, err)
	require.Equal(t, imsiNumber(10), found[0].IMSI)
	for _, i := range []int{0, 700, n - 1} {
		require.NoError(t, attach(s, imsiNumber(i)))
		got, err := s.Find(ctx, ByICCID, all[i].Profile.Card.ICCID)
		require.NoError(t, err)
		require.Equal(t, imsiNumber(i), got[0])
		r, err := s.Load(ctx, imsiNumber(i))
		require.NoError(t, err)
		next := r.Stored
		next.Template, next.MSISDN = "meter", "1"
		_, _, err = s.Change(ctx, r.IMSI, r.Revision, r.Stored, next)
		require.NoError(t, err)
	}
	same, err := s.Find(ctx, ByMSISDN, "1")
	require.NoError(t, err)
	require.Len(t, same, 3)
	at, err := s.AtNode(ctx, "mme1.epc.mnc001.mcc001.3gppnetwork.org")
	require.NoError(t, err)
	require.Len(t, at, 3)
	_, _, err = s.Remove(ctx, imsiNumber(700))
	require.NoError(t, err)

	var repaired Repaired
	require.NoError(t, s.Repair(ctx, &repaired))
	require.Zero(t, repaired.Added.Load()+repaired.Removed.Load())
	require.EqualValues(t, n-1, repaired.Seen.Load())
	s.keyring, err = ParseKeyring("k2 " + kek[3:] + "\n" + kek)
	require.NoError(t, err)
	var rotated Rotation
	require.NoError(t, s.Rotate(ctx, &rotated))
	require.EqualValues(t, n-1, rotated.Resealed.Load())

	id, err := s.NoteChange(ctx, subscriber.Change{IMSI: imsi, At: epoch})
	require.NoError(t, err)
	changes, err := s.Changes(ctx, time.Now(), 10)
	require.NoError(t, err)
	require.Contains(t, changes, id)
	require.NoError(t, s.NoteAudit(ctx, Audit{Verb: "x"}))
	require.NoError(t, s.addEvents(ctx, []subscriber.Event{{IMSI: imsiNumber(1), What: subscriber.Attached}, {IMSI: imsiNumber(2), What: subscriber.Attached}}, time.Hour))
	events, err := s.Events(ctx, imsiNumber(2), time.Time{}, time.Time{}, 10)
	require.NoError(t, err)
	require.Len(t, events, 1)
}
