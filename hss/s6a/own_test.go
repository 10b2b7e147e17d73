package s6a

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/fiorix/go-diameter/v4/diam/dict"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/redistest"
	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
)

// text returns the value of a base AVP.
func text(t testing.TB, m *diam.Message, code uint32) string {
	t.Helper()
	a, err := m.FindAVP(code, 0)
	require.NoError(t, err, "%v", m)
	return string(a.Data.Serialize())
}

// expect receives a request of the HSS's.
func (m *mme) expect(command uint32) *diam.Message {
	m.t.Helper()
	req := m.receive()
	require.Equal(m.t, command, req.Header.CommandCode)
	require.NotZero(m.t, req.Header.CommandFlags&diam.RequestFlag)
	return req
}

// expectCLR receives a CLR of that type and answers it.
func (m *mme) expectCLR(kind int) {
	m.t.Helper()
	clr := m.expect(317)
	a, err := clr.FindAVP(avp.CancellationType, 10415)
	require.NoError(m.t, err)
	require.Equal(m.t, datatype.Enumerated(kind), a.Data)
	require.Equal(m.t, string(imsi), text(m.t, clr, avp.UserName))
	m.send(clr.Answer(2001))
}

// waiting is how many requests nodes have yet to answer.
func (h *hss) waiting() (n int, err error) {
	all, err := h.store.Unanswered(context.Background(), time.Now())
	for _, u := range all {
		n += u.Requests
	}
	return n, err
}

// station answers whatever the HSS asks, and counts; its own requests are answered through ask.
type station struct {
	*mme
	clrs    atomic.Int64
	answers chan *diam.Message
}

func newStation(t testing.TB, address, host string) *station {
	s := &station{mme: dialMME(t, address, host), answers: make(chan *diam.Message, 1)}
	require.NoError(t, s.conn.(net.Conn).SetDeadline(time.Now().Add(time.Hour))) // a race of full size takes minutes
	go func() {
		for {
			msg, err := diam.ReadMessage(s.conn, dict.Default)
			if err != nil {
				return
			}
			if msg.Header.CommandFlags&diam.RequestFlag == 0 {
				s.answers <- msg
				continue
			}
			if msg.Header.CommandCode != diam.DeviceWatchdog {
				s.clrs.Add(1)
			}
			if _, err := msg.Answer(2001).WriteTo(s.conn); err != nil {
				return
			}
		}
	}()
	return s
}

func (s *station) ask(req *diam.Message) *diam.Message {
	s.t.Helper()
	s.send(req)
	select {
	case ans := <-s.answers:
		return ans
	case <-time.After(patience):
		require.Fail(s.t, "no answer")
		return nil
	}
}

// races is how often two nodes race for the SIM; XEPC_RACES=10000 is the full size.
func races(t testing.TB) int {
	n, err := strconv.Atoi(os.Getenv("XEPC_RACES"))
	if err != nil {
		return 300
	}
	return n
}

// Two nodes race for one SIM: each ULR that displaces a node gives that node exactly one CLR, and who holds the
// registration in the end has had one CLR for each time that it was displaced, and none since.
func TestTwoNodesRaceForOneSIM(t *testing.T) {
	r := redistest.Start(t)
	h := startHSSOn(t, r, func(s *settings) {
		s.peers.AnswerWithin = patience
		s.lease = patience // no repetition: what is counted is what was decided
	})
	h.add(internet())
	nodes := []*station{newStation(t, h.address, mme1), newStation(t, h.address, mme2)}
	n := races(t)
	displaced := [2]int64{} // by the store's own order of events
	holder := -1
	for range n {
		var wg sync.WaitGroup
		before := [2]int64{nodes[0].clrs.Load(), nodes[1].clrs.Load()}
		for _, node := range nodes {
			wg.Go(func() { node.requireResult(node.ask(node.ulr(2)), 2001) })
		}
		wg.Wait()
		last := 0
		if h.subscriber().MME.Host == mme2 {
			last = 1
		}
		// The loser of the round was displaced once. The winner, too, if it held the SIM and the loser came between.
		want := before
		want[1-last]++
		require.Eventually(t, func() bool { return nodes[1-last].clrs.Load() >= want[1-last] }, patience, time.Millisecond)
		if holder == last && nodes[last].clrs.Load() > before[last] {
			want[last]++
		}
		waiting, err := h.waiting()
		require.NoError(t, err)
		if waiting == 0 {
			require.Equal(t, want, [2]int64{nodes[0].clrs.Load(), nodes[1].clrs.Load()}, "after the round")
		}
		displaced = want
		holder = last
	}
	require.Eventually(t, func() bool {
		waiting, err := h.waiting()
		return err == nil && waiting == 0
	}, patience, patienceStep)
	require.Equal(t, displaced, [2]int64{nodes[0].clrs.Load(), nodes[1].clrs.Load()})
	h.requireTold("CLR", "done", float64(displaced[0]+displaced[1]))
}

func TestCLRReachesANodeThatWasAway(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	a := dialMME(t, h.address, mme1)
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	require.NoError(t, a.conn.Close())
	require.Eventually(t, func() bool { return len(h.node.Peers()) == 0 }, patience, patienceStep)
	b := dialMME(t, h.address, mme2)
	b.requireResult(b.exchange(b.ulr(2)), 2001)
	b.requireResult(b.exchange(b.ulr(2)), 2001)
	unanswered, err := h.store.Unanswered(t.Context(), time.Now())
	require.NoError(t, err)
	require.Equal(t, []store.Unanswered{{Host: mme1, Requests: 1}}, unanswered)
	unanswered, err = h.store.Unanswered(t.Context(), time.Now().Add(2*time.Minute))
	require.NoError(t, err)
	require.Equal(t, []store.Unanswered{{Host: mme1, Requests: 1, Unsent: 1}}, unanswered)
	a = dialMME(t, h.address, mme1)
	a.expectCLR(0)
	h.requireTold("CLR", "done", 1)
	a.requireResult(a.exchange(a.air(1, 0, nil)), 2001) // what comes next is no other CLR
}

func TestRequestsSurviveARestartOfTheHSS(t *testing.T) {
	r := redistest.Start(t)
	h := startHSSOn(t, r, nil)
	h.add(internet())
	a := dialMME(t, h.address, mme1)
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	require.NoError(t, a.conn.Close())
	require.Eventually(t, func() bool { return len(h.node.Peers()) == 0 }, patience, patienceStep)
	b := dialMME(t, h.address, mme2)
	b.requireResult(b.exchange(b.ulr(2)), 2001)
	require.NoError(t, b.conn.Close())
	h.stop()
	r.Kill() // and of Redis
	r.Resume(t)

	again := startHSSOn(t, r, nil)
	a = dialMME(t, again.address, mme1)
	a.expectCLR(0)
	again.requireTold("CLR", "done", 1)
	waiting, err := again.waiting()
	require.NoError(t, err)
	require.Zero(t, waiting)
}

func TestRepetitionHasTheTBitAndTheSameIdentifiers(t *testing.T) {
	r := redistest.Start(t)
	h := startHSSOn(t, r, func(s *settings) { s.peers.AnswerWithin = 20 * time.Millisecond })
	h.add(internet())
	a, b := dialMME(t, h.address, mme1), dialMME(t, h.address, mme2)
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	b.requireResult(b.exchange(b.ulr(2)), 2001)
	first := a.expect(317) // is not answered
	require.Zero(t, first.Header.CommandFlags&diam.RetransmittedFlag)
	second := a.expect(317)
	require.NotZero(t, second.Header.CommandFlags&diam.RetransmittedFlag)
	require.Equal(t, first.Header.EndToEndID, second.Header.EndToEndID)
	require.NotEqual(t, first.Header.HopByHopID, second.Header.HopByHopID)
	require.Equal(t, text(t, first, avp.SessionID), text(t, second, avp.SessionID))
	a.send(second.Answer(2001))
	h.requireTold("CLR", "done", 1)
}

func TestNodeThatRefusesOrDoesNotKnowTheSIMIsNotAskedAgain(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	a, b := dialMME(t, h.address, mme1), dialMME(t, h.address, mme2)
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	b.requireResult(b.exchange(b.ulr(2)), 2001)
	a.send(a.expect(317).Answer(5012))
	h.requireTold("CLR", "refused", 1)
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	clr := b.expect(317)
	unknown := diam.NewMessage(317, diam.ProxiableFlag, ApplicationID, clr.Header.HopByHopID, clr.Header.EndToEndID, dict.Default)
	b.add(unknown, avp.SessionID, avp.Mbit, 0, datatype.UTF8String(text(t, clr, avp.SessionID)))
	b.add(unknown, avp.OriginHost, avp.Mbit, 0, datatype.DiameterIdentity(mme2))
	b.add(unknown, avp.OriginRealm, avp.Mbit, 0, datatype.DiameterIdentity(mmeRealm))
	b.add(unknown, avp.ExperimentalResult, avp.Mbit, 0, group(
		diam.NewAVP(avp.VendorID, avp.Mbit, 0, datatype.Unsigned32(10415)), diam.NewAVP(avp.ExperimentalResultCode, avp.Mbit, 0, datatype.Unsigned32(5001))))
	b.send(unknown)
	h.requireTold("CLR", "done", 1)
	b.requireResult(b.exchange(b.ulr(2)), 2001)
	a.send(a.expect(317).Answer(5001)) // of the base protocol: an AVP that it does not know
	h.requireTold("CLR", "refused", 2)
}

// A node that says that it is busy is asked ever later.
func TestRepetitionsComeEverLater(t *testing.T) {
	h := startHSSOn(t, redistest.Start(t), func(s *settings) { s.poll = time.Hour })
	raw := redis.NewClient(&redis.Options{Addr: h.redis.Address})
	defer func() { _ = raw.Close() }()
	h.server.now = func() time.Time { return time.Unix(1_800_000_000, 0) }
	for tries, wait := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 9: 256 * time.Second, 10: 5 * time.Minute, 1000: 5 * time.Minute} {
		p := store.NewPending(subscriber.Request{Kind: subscriber.Cancel, IMSI: imsi, Side: subscriber.MME, Host: mme1}, h.server.now())
		p.Tries = tries
		require.NoError(t, h.store.Intend(t.Context(), h.server.now(), p))
		h.server.told(t.Context(), waiting{mme1, p.Name()}, p, &diameter.Error{Code: diameter.TooBusy})
		score, err := raw.ZScore(t.Context(), "due:{"+mme1+"}", p.Name()).Result()
		require.NoError(t, err)
		require.Equal(t, wait, time.UnixMilli(int64(score)).Sub(h.server.now()), "after %d", tries)
	}
}

func TestRequestIsGivenUpInTheEnd(t *testing.T) {
	r := redistest.Start(t)
	h := startHSSOn(t, r, func(s *settings) { s.s6a.GiveUpAfter = 200 * time.Millisecond })
	h.add(internet())
	a := dialMME(t, h.address, mme1)
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	require.NoError(t, a.conn.Close())
	require.Eventually(t, func() bool { return len(h.node.Peers()) == 0 }, patience, patienceStep)
	b := dialMME(t, h.address, mme2)
	b.requireResult(b.exchange(b.ulr(2)), 2001)
	h.requireTold("CLR", "given_up", 1)
	waiting, err := h.waiting()
	require.NoError(t, err)
	require.Zero(t, waiting)
}

func TestTheInstanceThatHoldsThePeerTellsIt(t *testing.T) {
	r := redistest.Start(t)
	one, two := startHSSOn(t, r, nil), startHSSOn(t, r, nil)
	one.add(internet())
	a, b := dialMME(t, one.address, mme1), dialMME(t, two.address, mme2)
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	b.requireResult(b.exchange(b.ulr(2)), 2001) // at the other instance
	a.expectCLR(0)
	one.requireTold("CLR", "done", 1)
	require.Zero(t, testutil.ToFloat64(two.server.requests.WithLabelValues("CLR", "done")))
	a.requireResult(a.exchange(a.air(1, 0, nil)), 2001) // no second CLR comes first
}

// A ULR and a PUR that come again with the T bit, at another instance, change nothing any more: the SIM has moved on since.
func TestRepetitionAtAnotherInstanceChangesNothing(t *testing.T) {
	r := redistest.Start(t)
	one, two := startHSSOn(t, r, nil), startHSSOn(t, r, nil)
	one.add(internet())
	a, b := newStation(t, one.address, mme1), newStation(t, two.address, mme2)
	ulr := a.ulr(2)
	a.requireResult(a.ask(ulr), 2001)
	pur := a.pur()
	first := a.ask(pur)
	a.requireResult(first, 2001)
	a.requireResult(a.ask(a.ulr(2)), 2001) // it is there once more
	again := newStation(t, two.address, mme1)
	pur.Header.CommandFlags |= diam.RetransmittedFlag
	ans := again.ask(pur)
	again.requireResult(ans, 2001)
	require.Equal(t, find(t, first, avp.PUAFlags), find(t, ans, avp.PUAFlags), "answered as before")
	require.False(t, one.subscriber().MME.Purged)

	b.requireResult(b.ask(b.ulr(2)), 2001) // it moves
	ulr.Header.CommandFlags |= diam.RetransmittedFlag
	ans = again.ask(ulr)
	again.requireResult(ans, 2001)
	require.NotEmpty(t, codes(find(t, ans, avp.SubscriptionData)))
	require.Equal(t, mme2, one.subscriber().MME.Host)
	require.Zero(t, b.clrs.Load())

	fresh := again.ulr(2) // one that was lost on its way
	fresh.Header.EndToEndID += 1000
	fresh.Header.CommandFlags |= diam.RetransmittedFlag
	again.requireResult(again.ask(fresh), 2001)
	require.Equal(t, mme1, one.subscriber().MME.Host)
}

func TestRequestsGoThroughTheAgentThatTheNodeWasSeenBehind(t *testing.T) {
	r := redistest.Start(t)
	h := startHSSOn(t, r, nil)
	h.add(internet())
	dra1, dra2 := dialMME(t, h.address, "dra1."+mmeRealm), dialMME(t, h.address, "dra2."+mmeRealm)
	behind := func(agent *mme, host string) *mme { return &mme{t: t, host: host, conn: agent.conn} }
	a, b := behind(dra1, mme1), behind(dra2, mme2)
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	b.requireResult(b.exchange(b.ulr(2)), 2001)
	clr := dra1.expect(317)
	require.Equal(t, mme1, text(t, clr, avp.DestinationHost))
	require.Equal(t, mmeRealm, text(t, clr, avp.DestinationRealm))
	dra1.send(clr.Answer(2001))
	h.requireTold("CLR", "done", 1)

	// The node moves behind the other agent, and the HSS restarts.
	c := behind(dra1, mme2)
	c.requireResult(c.exchange(c.air(1, 0, nil)), 2001)
	c.requireResult(c.exchange(c.ulr(2)), 2001)
	h.stop()
	again := startHSSOn(t, r, nil)
	dra1, dra2 = dialMME(t, again.address, "dra1."+mmeRealm), dialMME(t, again.address, "dra2."+mmeRealm)
	a = behind(dra2, mme1)
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	clr = dra1.expect(317)
	require.Equal(t, mme2, text(t, clr, avp.DestinationHost))
	dra1.send(clr.Answer(2001))
	again.requireTold("CLR", "done", 1)
}

// An agent that is up but has lost the node does not keep what is to be told from going by another one.
func TestRequestsGoByAnotherAgentWhenOneCannotDeliver(t *testing.T) {
	h := startHSSOn(t, redistest.Start(t), func(s *settings) {
		for i := range s.peers.Peers {
			if s.peers.Peers[i].Agent {
				s.peers.Peers[i].Routes = []string{mmeRealm}
			}
		}
	})
	h.add(internet())
	dra1, dra2 := dialMME(t, h.address, "dra1."+mmeRealm), dialMME(t, h.address, "dra2."+mmeRealm)
	a, b := &mme{t: t, host: mme1, conn: dra1.conn}, &mme{t: t, host: mme2, conn: dra2.conn}
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	b.requireResult(b.exchange(b.ulr(2)), 2001)
	clr := dra1.expect(317)
	ans := clr.Answer(3002)
	ans.Header.CommandFlags |= diam.ErrorFlag
	dra1.send(ans)
	again := dra2.expect(317)
	require.Equal(t, mme1, text(t, again, avp.DestinationHost))
	require.Equal(t, clr.Header.EndToEndID, again.Header.EndToEndID)
	require.NotZero(t, again.Header.CommandFlags&diam.RetransmittedFlag)
	dra2.send(again.Answer(2001))
	h.requireTold("CLR", "done", 1)
}

// lossy forwards to Redis, and swallows the answer that lose counts down to and closes: 1 is the next, 0 none.
func lossy(t *testing.T, to string) (address string, lose *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	lose = new(atomic.Int64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", to)
			if err != nil {
				_ = c.Close()
				continue
			}
			pump := func(from, to net.Conn, answers bool) {
				defer func() { _, _ = from.Close(), to.Close() }()
				b := make([]byte, 64<<10)
				for {
					n, err := from.Read(b)
					if err != nil || (answers && lose.Load() > 0 && lose.Add(-1) == 0) {
						return
					}
					if _, err := to.Write(b[:n]); err != nil {
						return
					}
				}
			}
			go pump(c, up, false)
			go pump(up, c, true)
		}
	}()
	return l.Addr().String(), lose
}

// Wherever in a ULR an answer of Redis' is lost: the displaced node gets exactly one CLR.
func TestExactlyOneCLRWhenAnAnswerOfRedisIsLost(t *testing.T) {
	const none = 100 // more answers than a ULR takes
	for lost, more := int64(1), true; more; lost++ {
		t.Run(fmt.Sprintf("answer %d", lost), func(t *testing.T) {
			r := redistest.Start(t)
			address, lose := lossy(t, r.Address)
			h := startHSSOn(t, r, func(s *settings) {
				s.redis = address
				s.poll = time.Hour // the proxy must not eat the poll's answers
			})
			h.add(internet())
			a, b := newStation(t, h.address, mme1), newStation(t, h.address, mme2)
			a.requireResult(a.ask(a.ulr(2)), 2001)
			b.requireResult(b.ask(b.air(1, 0, nil)), 2001)
			lose.Store(lost)
			first := b.ask(b.ulr(2))
			more = lose.Swap(0) == 0 && lost < none // else the ULR took fewer answers than that
			if rc, err := first.FindAVP(avp.ResultCode, 0); err == nil && rc.Data == datatype.Unsigned32(3004) {
				b.requireResult(b.ask(b.ulr(2)), 2001) // as an MME does
			}
			require.Equal(t, mme2, h.subscriber().MME.Host)
			require.NoError(t, h.server.collectSoon(t, h))
			require.Eventually(t, func() bool {
				waiting, err := h.waiting()
				return err == nil && waiting == 0
			}, patience, patienceStep)
			require.EqualValues(t, 1, a.clrs.Load())
			require.Zero(t, b.clrs.Load())
		})
	}
}

// collectSoon looks for requests until none waits.
func (s *Server) collectSoon(t *testing.T, h *hss) error {
	t.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if err := s.collect(context.Background(), h.node); err != nil {
			return err
		}
		if waiting, err := h.waiting(); err == nil && waiting == 0 {
			return nil
		}
		time.Sleep(patienceStep)
	}
	return nil
}

// change changes the SIM's profile and has its nodes told.
func (h *hss) change(f func(p *subscriber.Profile)) {
	h.t.Helper()
	ctx := context.Background()
	rec, err := h.store.Load(ctx, imsi)
	require.NoError(h.t, err)
	next := rec.Stored
	next.APNs = append([]subscriber.APN(nil), next.APNs...)
	f(&next)
	_, _, err = h.store.Change(ctx, imsi, rec.Revision, rec.Stored, next)
	require.NoError(h.t, err)
	after := h.subscriber()
	c := subscriber.Change{IMSI: imsi, At: time.Now(), Before: rec.Subscriber, After: after}
	require.NoError(h.t, h.server.Tell(ctx, c))
	require.NoError(h.t, h.server.Tell(ctx, c), "once more tells nobody twice")
}

// codes are those of a group's members.
func codes(g datatype.Type) (all []uint32) {
	for _, m := range g.(*diam.GroupedAVP).AVP {
		all = append(all, m.Code)
	}
	return all
}

func TestProfileChangeIsToldWithTheSmallestMessage(t *testing.T) {
	h := startHSS(t)
	h.add(subscriber.Profile{MSISDN: "882120000001", APNs: []subscriber.APN{{Name: "internet"}, {Name: "meters.example"}, {Name: "cameras.example"}}})
	a := dialMME(t, h.address, mme1)
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	change := func(f func(p *subscriber.Profile)) { t.Helper(); h.change(f) }

	change(func(p *subscriber.Profile) { p.AMBR.Uplink = 5_000 })
	idr := a.expect(319)
	require.Equal(t, []uint32{avp.AMBR}, codes(find(t, idr, avp.SubscriptionData)))
	a.send(idr.Answer(2001))
	h.requireTold("IDR", "done", 1)

	change(func(p *subscriber.Profile) { p.APNs[1].QCI = 7 })
	idr = a.expect(319)
	data := find(t, idr, avp.SubscriptionData)
	require.Equal(t, []uint32{avp.APNConfigurationProfile}, codes(data))
	profile := in(data, avp.APNConfigurationProfile)
	require.Equal(t, datatype.Enumerated(1), in(profile, avp.AllAPNConfigurationsIncludedIndicator))
	require.Equal(t, []uint32{avp.ContextIdentifier, avp.AllAPNConfigurationsIncludedIndicator, avp.APNConfiguration}, codes(profile))
	require.Equal(t, datatype.Unsigned32(2), in(in(profile, avp.APNConfiguration), avp.ContextIdentifier))
	a.send(idr.Answer(2001))
	h.requireTold("IDR", "done", 2)

	change(func(p *subscriber.Profile) { p.APNs = p.APNs[:2] })
	dsr := a.expect(320)
	require.Equal(t, datatype.Unsigned32(1<<3), find(t, dsr, avp.DSRFlags))
	require.Equal(t, datatype.Unsigned32(3), find(t, dsr, avp.ContextIdentifier))
	a.send(dsr.Answer(2001))
	h.requireTold("DSR", "done", 1)

	change(func(p *subscriber.Profile) { p.APNs = p.APNs[1:] })
	idr = a.expect(319)
	profile = in(find(t, idr, avp.SubscriptionData), avp.APNConfigurationProfile)
	require.Equal(t, datatype.Enumerated(0), in(profile, avp.AllAPNConfigurationsIncludedIndicator), "places have moved: all of them")
	a.send(idr.Answer(2001))
	h.requireTold("IDR", "done", 3)

	change(func(p *subscriber.Profile) { p.Status = subscriber.Suspended })
	a.expectCLR(2)
	h.requireTold("CLR", "done", 1)
	require.True(t, h.subscriber().MME.IsZero())
	a.requireExperimental(a.exchange(a.ulr(2)), 5004)
}

// A change that comes while the node has yet to answer what it was told of the one before reaches it too.
func TestChangeWhileAnIDRIsOnItsWay(t *testing.T) {
	h := startHSSOn(t, redistest.Start(t), func(s *settings) { s.peers.AnswerWithin, s.lease = patience, patience })
	h.add(internet())
	a := dialMME(t, h.address, mme1)
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	var idrs []*diam.Message
	for _, rate := range []uint64{5_000, 6_000} {
		h.change(func(p *subscriber.Profile) { p.AMBR.Uplink = rate })
		idr := a.expect(319)
		require.Equal(t, datatype.Unsigned32(rate), in(in(find(t, idr, avp.SubscriptionData), avp.AMBR), avp.MaxRequestedBandwidthUL))
		require.Zero(t, idr.Header.CommandFlags&diam.RetransmittedFlag)
		idrs = append(idrs, idr)
	}
	require.NotEqual(t, text(t, idrs[0], avp.SessionID), text(t, idrs[1], avp.SessionID))
	for i, idr := range idrs {
		a.send(idr.Answer(2001))
		h.requireTold("IDR", "done", float64(i+1))
	}
	waiting, err := h.waiting()
	require.NoError(t, err)
	require.Zero(t, waiting)
}

func TestNetworkThatIsNoLongerAllowedIsCancelled(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	a := dialMME(t, h.address, mme1)
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	before := h.subscriber()
	after := before
	after.Profile.PLMNs = []string{"001-01", "262-01"}
	require.NoError(t, h.server.Tell(context.Background(), subscriber.Change{IMSI: imsi, At: time.Now(), Before: before, After: after}))
	a.requireResult(a.exchange(a.air(1, 0, nil)), 2001) // nothing is to be told: the networks are ours to know
	after.Profile.PLMNs = []string{"262-01"}
	require.NoError(t, h.server.Tell(context.Background(), subscriber.Change{IMSI: imsi, At: time.Now(), Before: before, After: after}))
	a.expectCLR(2)
}

func TestResetGoesToEveryKnownNode(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	a, b := dialMME(t, h.address, mme1), dialMME(t, h.address, mme2)
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	b.requireResult(b.exchange(b.ulr(0)), 2001)
	n, err := h.server.Reset(context.Background(), subscriber.Scope{})
	require.NoError(t, err)
	require.Equal(t, 2, n)
	for _, m := range []*mme{a, b} {
		rsr := m.expect(322)
		require.Equal(t, m.host, text(t, rsr, avp.DestinationHost))
		m.send(rsr.Answer(2001))
	}
	h.requireTold("RSR", "done", 2)
}

// Who asks about SIMs that are not ours, or that it does not serve, leaves nothing in Redis.
func TestNodesThatServeNobodyAreNotRemembered(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	dra := dialMME(t, h.address, "dra1."+mmeRealm)
	for i := range 3 {
		m := &mme{t: t, host: fmt.Sprintf("mme%d.%s", 100+i, mmeRealm), conn: dra.conn}
		m.requireExperimental(m.exchange(m.request(316, "999700000000099", map[uint32]datatype.Type{
			avp.RATType: datatype.Enumerated(1004), avp.ULRFlags: datatype.Unsigned32(2), avp.VisitedPLMNID: datatype.OctetString(visited[:]),
		})), 5001)
		m.requireResult(m.exchange(m.pur()), 2001)
		m.requireExperimental(m.exchange(m.request(323, string(imsi), nil)), 5423)
	}
	nodes, err := h.store.Nodes(t.Context())
	require.NoError(t, err)
	require.Empty(t, nodes)
	m := &mme{t: t, host: mme1, conn: dra.conn}
	m.requireResult(m.exchange(m.ulr(2)), 2001)
	nodes, err = h.store.Nodes(t.Context())
	require.NoError(t, err)
	require.Equal(t, []store.Node{{Host: mme1, Realm: mmeRealm, Via: dra.host}}, nodes)
}

func TestNodesAreToldWhenRedisHasLostItsLastWrites(t *testing.T) {
	r := redistest.Start(t)
	one, two := startHSSOn(t, r, nil), startHSSOn(t, r, nil)
	one.add(internet())
	a := dialMME(t, one.address, mme1)
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	admin := redis.NewClient(&redis.Options{Addr: r.Address})
	defer func() { _ = admin.Close() }()
	require.Eventually(t, func() bool { n, err := admin.Get(t.Context(), "hss-pulse").Int(); return err == nil && n > 10 }, patience, patienceStep)
	require.NoError(t, admin.Set(t.Context(), "hss-pulse", 1, 0).Err()) // as after a failover to a replica that was behind
	rsr := a.expect(322)
	a.send(rsr.Answer(2001))
	one.requireTold("RSR", "done", 1)
	a.requireResult(a.exchange(a.air(1, 0, nil)), 2001) // told once, though two instances have seen it
	_ = two
}

// What Redis loses while no instance runs is noticed at the next start, by the file; the file of other records says nothing.
func TestNodesAreToldOfALossWhileNoInstanceRan(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lib", "pulse")
	keep := func(s *settings) { s.s6a.PulseFile = file }
	r := redistest.Start(t)
	h := startHSSOn(t, r, keep)
	h.add(internet())
	a := dialMME(t, h.address, mme1)
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	admin := redis.NewClient(&redis.Options{Addr: r.Address})
	defer func() { _ = admin.Close() }()
	beats := func() {
		t.Helper()
		before, _ := admin.Get(t.Context(), "hss-pulse").Int()
		require.Eventually(t, func() bool { n, err := admin.Get(t.Context(), "hss-pulse").Int(); return err == nil && n > before+10 }, patience, patienceStep)
	}
	beats()
	h.stop()

	again := startHSSOn(t, r, keep) // nothing was lost
	beats()
	require.Zero(t, admin.Exists(t.Context(), "hss-once:reset").Val())
	again.stop()
	require.NoError(t, admin.Set(t.Context(), "hss-pulse", 1, 0).Err()) // as after a start without its last writes
	third := startHSSOn(t, r, keep)
	a = dialMME(t, third.address, mme1)
	a.send(a.expect(322).Answer(2001))
	third.requireTold("RSR", "done", 1)
	third.stop()

	other := redistest.Start(t)
	fresh := startHSSOn(t, other, keep)
	second := redis.NewClient(&redis.Options{Addr: other.Address})
	defer func() { _ = second.Close() }()
	require.Eventually(t, func() bool { n, err := second.Get(t.Context(), "hss-pulse").Int(); return err == nil && n > 10 }, patience, patienceStep)
	require.Zero(t, second.Exists(t.Context(), "hss-once:reset").Val())
	fresh.stop()
}

func TestInitialAttachAtAnSGSNEndsTheMMEsRegistration(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	a, b := dialMME(t, h.address, mme1), dialMME(t, h.address, mme2)
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	b.requireResult(b.exchange(b.ulr(1)), 2001) // as SGSN, which Single-Registration-Indication means nothing for
	require.False(t, h.subscriber().MME.IsZero())
	b.requireResult(b.exchange(b.ulr(32)), 2001)
	clr := a.expect(317)
	require.Equal(t, datatype.Enumerated(4), find(t, clr, avp.CancellationType))
	require.Equal(t, datatype.Unsigned32(1), find(t, clr, 1638), "CLR-Flags: the registration over S6a")
	a.send(clr.Answer(2001))
	require.True(t, h.subscriber().MME.IsZero())
	require.Equal(t, mme2, h.subscriber().SGSN.Host)
	h.requireTold("CLR", "done", 1)

	// A node that is both keeps both.
	b.requireResult(b.exchange(b.ulr(2)), 2001)
	b.requireResult(b.exchange(b.ulr(32)), 2001)
	require.Equal(t, []string{mme2, mme2}, []string{h.subscriber().MME.Host, h.subscriber().SGSN.Host})
}

func TestInitialAttachAtAnMMEEndsTheSGSNsRegistration(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	a, b := dialMME(t, h.address, mme1), dialMME(t, h.address, mme2)
	b.requireResult(b.exchange(b.ulr(0)), 2001) // as SGSN
	a.requireResult(a.exchange(a.ulr(2)), 2001)
	require.False(t, h.subscriber().SGSN.IsZero(), "no indication: both stay")
	a.requireResult(a.exchange(a.ulr(2|32)), 2001)
	b.expectCLR(4)
	require.True(t, h.subscriber().SGSN.IsZero())
	b.requireResult(b.exchange(b.ulr(0)), 2001)
	a.requireResult(a.exchange(a.ulr(2|1)), 2001)
	b.expectCLR(1)
}

// A device whose SIM is cancelled by hand may be asked to come back at once.
func TestCancelledDeviceIsAskedToReattach(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	m := dialMME(t, h.address, mme1)
	for _, reattach := range []bool{false, true} {
		m.requireResult(m.exchange(m.ulr(2)), 2001)
		before := h.subscriber()
		require.NoError(t, h.server.Tell(context.Background(), subscriber.Change{IMSI: imsi, At: time.Now(), Before: before, Reattach: reattach}))
		clr := m.expect(317)
		flags := datatype.Unsigned32(1) // S6a
		if reattach {
			flags = 3
		}
		require.Equal(t, flags, find(t, clr, 1638))
		m.send(clr.Answer(2001))
	}
	h.requireTold("CLR", "done", 2)
}
