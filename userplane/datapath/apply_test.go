package datapath

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/userplane/session"
)

// BenchmarkApply makes, changes and removes a session of two entries.
func BenchmarkApply(b *testing.B) {
	w := newWorld(b)
	b.ReportAllocs()
	changed := with(downlinkOf(5), func(e *session.Entry) { e.RemoteTEID = 0x99 })
	put := session.Changes{Puts: []session.Entry{uplinkOf(5), downlinkOf(5)}}
	change := session.Changes{Puts: []session.Entry{changed}}
	remove := session.Changes{Deletes: []session.Key{uplinkOf(5).Key, downlinkOf(5).Key}}
	w.d.grace.barrier = func() error { return nil } // the same slot again at once, which nobody does
	for b.Loop() {
		require.NoError(b, w.d.Apply(put))
		require.NoError(b, w.d.Apply(change))
		require.NoError(b, w.d.Apply(remove))
	}
}
