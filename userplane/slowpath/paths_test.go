package slowpath

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/gtpu"
)

// The SGW answers, falls silent, and is back.
func TestAPathIsSupervisedByEcho(t *testing.T) {
	path := Path{slice, netip.MustParseAddr("127.78.7.2")}
	type change struct {
		path   Path
		failed bool
	}
	changes := make(chan change, 4)
	s, conn := start(t, path.Remote.String(), func(c *Config) {
		c.Supervision = Supervision{
			Interval: 20 * time.Millisecond, T3: 5 * time.Millisecond, N3: 3,
			Paths:   func(context.Context) []Path { return []Path{path} },
			Changed: func(_ context.Context, p Path, failed bool) { changes <- change{p, failed} },
		}
	})
	ask := func() gtpu.Header {
		b := receive(t, conn)
		h, _, err := gtpu.Parse(b)
		require.NoError(t, err)
		require.Equal(t, gtpu.TypeEchoRequest, h.Type)
		require.Zero(t, h.TEID)
		return h
	}
	answer := func(h gtpu.Header) {
		_, err := conn.WriteToUDP(gtpu.EchoResponse(h), &net.UDPAddr{IP: slice.AsSlice(), Port: testPort})
		require.NoError(t, err)
	}
	answer(ask())
	require.Eventually(t, func() bool { return s.Counts()[EchoConfirmed] > 0 }, patience, time.Millisecond)

	for {
		ask()
		if len(changes) > 0 {
			break
		}
	}
	require.Equal(t, change{path, true}, <-changes)
	for len(changes) == 0 {
		answer(ask())
	}
	require.Equal(t, change{path, false}, <-changes)
}

func TestAnEchoResponseThatNobodyAskedForIsCounted(t *testing.T) {
	s, conn := start(t, "127.78.7.3", func(c *Config) {
		c.Supervision = Supervision{
			Interval: time.Hour, T3: time.Hour, N3: 1,
			Paths: func(context.Context) []Path { return nil }, Changed: func(context.Context, Path, bool) {},
		}
	})
	_, err := conn.WriteToUDPAddrPort(octets(t, "32 02 00 06 00 00 00 00  00 01 00 00  0e 00"), s.Addr(slice))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.Counts()[EchoResponse] == 1 }, patience, time.Millisecond)
}

func TestAnErrorIndicationIsHandedOn(t *testing.T) {
	type indicated struct {
		remote netip.Addr
		teid   uint32
	}
	told := make(chan indicated, 1)
	s, conn := start(t, "127.78.7.4", func(c *Config) {
		c.ErrorIndication = func(remote netip.Addr, teid uint32) { told <- indicated{remote, teid} }
	})
	_, err := conn.WriteToUDPAddrPort(octets(t, "32 1a 00 10 00 00 00 00  00 00 00 00  10 00 00 00 aa  85 00 04 0a 0a 00 02"), s.Addr(slice))
	require.NoError(t, err)
	require.Equal(t, indicated{netip.MustParseAddr("10.10.0.2"), 0xaa}, <-told)
}

func TestAnEndMarkerGoesToTheTunnelsEnd(t *testing.T) {
	s, conn := start(t, "127.78.7.5")
	s.SendEndMarker(Path{slice, netip.MustParseAddr("127.78.7.5")}, 0xaabb)
	require.Equal(t, octets(t, "30 fe 00 00 00 00 aa bb"), receive(t, conn))
	s.SendEndMarker(Path{netip.MustParseAddr("127.78.7.9"), netip.MustParseAddr("127.78.7.5")}, 1)
	require.EqualValues(t, 1, s.Counts()[EndMarkerSent])
	require.EqualValues(t, 1, s.Counts()[SendFailed])
}
