package e2e

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/testbed/lab"
	"github.com/xepc/xepc/testbed/visited/mme"
	"github.com/xepc/xepc/testbed/visited/sim"
)

const experimentalUserUnknown = 5001 // TS 29.272 7.4.3.1

// counter sums a node's series of that name which have all the labels, written as name="value".
func counter(t *testing.T, n *lab.Node, name string, labels ...string) (sum float64) {
	t.Helper()
	values, err := n.Metrics(t.Context())
	require.NoError(t, err)
series:
	for series, value := range values {
		if series != name && !strings.HasPrefix(series, name+"{") {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(series, label) {
				continue series
			}
		}
		sum += value
	}
	return sum
}

const diameterRequests = "xepc_hss_diameter_requests_total"

func TestAuthenticationKeepsStrangersOut(t *testing.T) {
	l := start(t, func(o *lab.Options) { o.PGWUs = 1 })
	u := l.UEs[0]

	t.Run("an unknown IMSI is refused with 5001", func(t *testing.T) {
		stranger := *u
		stranger.Card = &sim.Card{IMSI: "999709999999999"}
		_, err := l.Attach(t.Context(), &stranger, lab.AttachOptions{})
		var refused *mme.ResultError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, "AIA", refused.Command)
		require.True(t, refused.Experimental)
		require.EqualValues(t, experimentalUserUnknown, refused.Code)
		require.EqualValues(t, 1, counter(t, l.HSS, diameterRequests, `command="AIR"`, `result="10415:5001"`))
	})
	t.Run("a wrong RES ends the attach before the HSS registers anybody", func(t *testing.T) {
		_, err := l.Attach(t.Context(), u, lab.AttachOptions{WrongRES: true})
		require.ErrorIs(t, err, lab.ErrWrongRES)
		require.Zero(t, counter(t, l.HSS, diameterRequests, `command="ULR"`))
	})
	t.Run("a SIM with another key refuses the network", func(t *testing.T) {
		other := *u
		other.Card = &sim.Card{IMSI: u.Card.IMSI, OPc: u.Card.OPc}
		rand.Read(other.Card.K[:])
		_, err := l.Attach(t.Context(), &other, lab.AttachOptions{})
		require.ErrorIs(t, err, sim.ErrMAC)
	})
	t.Run("a SIM that is ahead of the HSS is resynchronised", func(t *testing.T) {
		for ind := range u.Card.SEQ {
			u.Card.SEQ[ind] += 1 << 27
		}
		r, err := l.Attach(t.Context(), u, lab.AttachOptions{})
		require.NoError(t, err)
		require.True(t, r.Resynchronised)
		require.EqualValues(t, 1, counter(t, l.HSS, "xepc_hss_resynchronisations_total"))
		require.NoError(t, l.Detach(t.Context(), u))
		r, err = l.Attach(t.Context(), u, lab.AttachOptions{})
		require.NoError(t, err)
		require.False(t, r.Resynchronised, "once was enough")
	})
	t.Run("the other UE attaches as ever", func(t *testing.T) {
		_, err := l.Attach(t.Context(), l.UEs[1], lab.AttachOptions{})
		require.NoError(t, err)
		answered(t, l, l.UEs[1])
		ping, err := l.Ping(t.Context(), l.UEs[1], 5, interval)
		require.NoError(t, err)
		require.Empty(t, ping.Lost)
	})
}
