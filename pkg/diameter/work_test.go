package diameter

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// groups are the sizes of the jobs that a reader makes of what comes in one read; each end of octets is an error.
func groups(t *testing.T, octets []byte, grouped bool) (sizes []int) {
	t.Helper()
	app := Application{ID: s6a, Common: s6aCommon()}
	if grouped {
		app.Groups = map[uint32]GroupHandler{318: func(context.Context, []Request) []Result { return nil }}
		app.Handlers = map[uint32]Handler{321: answerNothing}
	} else {
		app.Handlers = map[uint32]Handler{318: answerNothing, 321: answerNothing}
	}
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	n := New(testConfig(), slog.New(slog.DiscardHandler), 7, app)
	c := newConn(n, ours, bufio.NewReaderSize(bytes.NewReader(octets), len(octets)+1), Peer{Host: mmeHost, Realm: mmeRealm}, n.cfg.Peers[0])
	c.spawn = func(job []Request) {
		for _, req := range job {
			require.Equal(t, job[0].Command, req.Command)
		}
		sizes = append(sizes, len(job))
	}
	require.Error(t, c.read(t.Context()))
	return sizes
}

func TestRequestsThatComeTogetherAreOneJob(t *testing.T) {
	c := &client{t: t, host: mmeHost}
	pur := c.air()
	pur.Command = 321
	pur.AVPs = slices.DeleteFunc(pur.AVPs, func(a AVP) bool { return a.Is(Standard.AVP("Visited-PLMN-Id")) })
	octets := func(messages ...Message) (b []byte) {
		for _, m := range messages {
			b = m.Append(b)
		}
		return b
	}
	airs := func(n int) []byte { return bytes.Repeat(c.air().Append(nil), n) }
	for _, row := range []struct {
		name   string
		octets []byte
		want   []int
	}{
		{"one", airs(1), []int{1}},
		{"three", airs(3), []int{3}},
		{"as many as a job may have, and two", airs(maxGroup + 2), []int{maxGroup, 2}},
		{"another command between them is a job of its own, and holds up no group", octets(c.air(), c.air(), pur, c.air()), []int{1, 3}},
		{"with the begin of a fourth", airs(4)[:len(airs(4))-4], []int{3}},
		{"with what is no message behind them", append(airs(2), make([]byte, headerLength)...), []int{2}},
	} {
		require.Equal(t, row.want, groups(t, row.octets, true), row.name)
	}
	require.Equal(t, []int{1, 1, 1}, groups(t, airs(3), false), "a handler of single requests gets each at once")
}

// A request that makes the handler of its group panic is answered 5012, and the others as ever.
func TestPanicCostsOneRequestOfAGroup(t *testing.T) {
	poison := identityOf("poison")
	n, address := startGroup(t, func(_ context.Context, reqs []Request) []Result {
		results := make([]Result, len(reqs))
		for i, req := range reqs {
			if req.Text(SessionID) == poison {
				panic("a fault of ours")
			}
			results[i].AVPs = []AVP{UserName.Text(req.Text(SessionID))}
			if req.Text(SessionID) == identityOf("refused") {
				results[i] = Result{Err: &Error{Code: 5001, Vendor: Vendor3GPP, Err: io.ErrUnexpectedEOF}}
			}
		}
		return results
	})
	c := connect(t, address, mmeHost)
	var messages []Message
	for _, name := range []string{"a", "poison", "refused", "b"} {
		m := c.air()
		m.AVPs[0] = SessionID.Text(identityOf(name))
		messages = append(messages, m)
	}
	c.send(messages...)
	answers := map[string]Message{}
	for range messages {
		ans := c.next()
		answers[ans.Text(SessionID)] = ans
	}
	for i, name := range []string{"a", "poison", "refused", "b"} {
		ans := answers[identityOf(name)]
		require.Equal(t, messages[i].HopByHop, ans.HopByHop, name)
		require.Equal(t, messages[i].EndToEnd, ans.EndToEnd, name)
		switch name {
		case "poison":
			requireResult(t, ans, UnableToComply)
		case "refused":
			_, code := ans.result()
			require.EqualValues(t, 5001, code)
		default:
			requireResult(t, ans, Success)
			require.Equal(t, identityOf(name), ans.Text(UserName), "each has its own answer")
		}
	}
	require.NotZero(t, n.stats.panics.Load())
	requireResult(t, c.ask(c.air()), Success)
}

// A handler that answers another number of requests than it was given is at fault, and nobody gets another's answer.
func TestGroupWithTooFewResults(t *testing.T) {
	_, address := startGroup(t, func(context.Context, []Request) []Result { return nil })
	c := connect(t, address, mmeHost)
	c.send(c.air(), c.air())
	for range 2 {
		requireResult(t, c.next(), UnableToComply)
	}
}

// At a stop the requests that were read together are answered before the DPR goes out.
func TestGroupsAreAnsweredBeforeWeLeave(t *testing.T) {
	began, gate := make(chan struct{}, 8), make(chan struct{})
	n, address := startGroup(t, func(_ context.Context, reqs []Request) []Result {
		began <- struct{}{}
		<-gate
		return make([]Result, len(reqs))
	})
	c := connect(t, address, mmeHost)
	c.send(c.air(), c.air(), c.air())
	<-began
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.lookup(mmeHost).takeLeave(context.Background(), patience)
	}()
	require.Eventually(t, func() bool {
		peer := n.lookup(mmeHost)
		peer.mu.Lock()
		defer peer.mu.Unlock()
		return peer.draining
	}, patience, time.Millisecond)
	close(gate)
	answered := 0
	for {
		m := c.next()
		if m.Request {
			require.EqualValues(t, CommandDisconnectPeer, m.Command)
			m.Request, m.AVPs = false, []AVP{ResultCode.Unsigned(Success), OriginHost.Text(c.host), OriginRealm.Text(mmeRealm)}
			c.send(m)
			break
		}
		answered++
	}
	require.Equal(t, 3, answered)
	<-done
}

func identityOf(name string) string { return mmeHost + ";" + name }
