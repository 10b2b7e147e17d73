package s6a

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/fiorix/go-diameter/v4/diam/dict"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
)

// accept has the card use an E-UTRAN vector, and checks what the MME would check.
func (c *card) accept(t *testing.T, v vector) response {
	t.Helper()
	r, _, err := c.authenticate(v.rand, v.autn)
	require.NoError(t, err)
	require.True(t, r.separation)
	require.Equal(t, r.res[:], v.xres)
	require.Equal(t, r.kasme(visited), v.kasme)
	return r
}

func TestEveryVectorIsAcceptedByTheCard(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	_, sim := testKeys(t)
	m := dialMME(t, h.address, mme1)
	rands := map[[16]byte]bool{}
	last := uint64(0)
	for _, n := range []int{1, 2, 5} {
		ans := m.exchange(m.air(n, 0, nil))
		m.requireResult(ans, 2001)
		all := vectorsOf(t, ans, avp.EUTRANVector)
		require.Len(t, all, n)
		for i, v := range all {
			require.EqualValues(t, i+1, v.item)
			r := sim.accept(t, v)
			require.Greater(t, r.seq, last)
			last = r.seq
			require.False(t, rands[v.rand])
			rands[v.rand] = true
		}
	}
}

func TestVectorsPrefetchedByTwoNodesDoNotSpoilEachOther(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	_, sim := testKeys(t)
	a, b := dialMME(t, h.address, mme1), dialMME(t, h.address, mme2)
	fromA := vectorsOf(t, a.exchange(a.air(3, 0, nil)), avp.EUTRANVector)
	fromB := vectorsOf(t, b.exchange(b.air(3, 0, nil)), avp.EUTRANVector)
	for i := range 3 { // B's have the higher SEQ, and come in between
		one := sim.accept(t, fromB[i])
		other := sim.accept(t, fromA[i])
		require.NotEqual(t, one.ind, other.ind)
	}
}

func TestVectorsOfBothKinds(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	_, sim := testKeys(t)
	m := dialMME(t, h.address, mme1)
	ans := m.exchange(m.air(2, 3, nil))
	m.requireResult(ans, 2001)
	eps, umts := vectorsOf(t, ans, avp.EUTRANVector), vectorsOf(t, ans, avp.UTRANVector)
	require.Len(t, eps, 2)
	require.Len(t, umts, 3)
	for _, v := range eps {
		sim.accept(t, v)
	}
	for i, v := range umts {
		r, _, err := sim.authenticate(v.rand, v.autn)
		require.NoError(t, err)
		require.False(t, r.separation)
		require.EqualValues(t, i+1, v.item)
		require.Equal(t, r.res[:], v.xres)
		require.Equal(t, r.ck[:], v.ck)
		require.Equal(t, r.ik[:], v.ik)
	}
}

func TestNumberOfVectors(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	m := dialMME(t, h.address, mme1)
	for asked, want := range map[int]int{5: 5, 6: 5, 1 << 30: 5} {
		require.Len(t, vectorsOf(t, m.exchange(m.air(asked, 0, nil)), avp.EUTRANVector), want, "asked for %d", asked)
	}
	for name, g := range map[string]*diam.GroupedAVP{
		"no number": group(), "the number 0": group(tgpp(avp.NumberOfRequestedVectors, datatype.Unsigned32(0))),
	} {
		req := m.request(318, string(imsi), map[uint32]datatype.Type{
			avp.VisitedPLMNID: datatype.OctetString(visited[:]), avp.RequestedEUTRANAuthenticationInfo: g,
		})
		require.Len(t, vectorsOf(t, m.exchange(req), avp.EUTRANVector), 1, name)
	}
}

func TestResynchronisation(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	_, sim := testKeys(t)
	sim.seq[7] = 1 << 20 // it was used elsewhere
	m := dialMME(t, h.address, mme1)
	one := func(ans *diam.Message) vector {
		m.requireResult(ans, 2001)
		all := vectorsOf(t, ans, avp.EUTRANVector)
		require.Len(t, all, 1)
		return all[0]
	}
	v := one(m.exchange(m.air(1, 0, nil)))
	_, _, err := sim.authenticate(v.rand, v.autn)
	require.NoError(t, err, "an IND that it has not seen")
	sim.seq = [32]uint64{1 << 20}
	for i := range sim.seq {
		sim.seq[i] = 1 << 20
	}
	_, auts, err := sim.authenticate(v.rand, v.autn)
	require.ErrorIs(t, err, errSQN)

	bad := auts
	bad[13] ^= 1
	m.requireExperimental(m.exchange(m.air(1, 0, append(v.rand[:], bad[:]...))), 4181)
	same := one(m.exchange(m.air(1, 0, nil)))
	r, _, err := sim.authenticate(same.rand, same.autn)
	require.ErrorIs(t, err, errSQN, "a false AUTS has moved nothing")
	require.Less(t, r.seq, uint64(1<<20))

	v = one(m.exchange(m.air(1, 0, append(v.rand[:], auts[:]...))))
	sim.accept(t, v)
	sim.accept(t, one(m.exchange(m.air(1, 0, nil))))

	short := m.exchange(m.air(1, 0, auts[:]))
	m.requireResult(short, diameter.InvalidAVPValue)
}

func TestCardThatIsTooFarBehind(t *testing.T) {
	h := startHSS(t)
	keys, sim := testKeys(t)
	require.NoError(t, h.store.Add(context.Background(), imsi, internet().WithDefaults(), keys, 1<<29, time.Now()))
	m := dialMME(t, h.address, mme1)
	v := vectorsOf(t, m.exchange(m.air(1, 0, nil)), avp.EUTRANVector)[0]
	_, auts, err := sim.authenticate(v.rand, v.autn)
	require.ErrorIs(t, err, errSQN)
	sim.accept(t, vectorsOf(t, m.exchange(m.air(1, 0, append(v.rand[:], auts[:]...))), avp.EUTRANVector)[0])
}

func TestRefusals(t *testing.T) {
	with := func(f func(*subscriber.Profile)) *subscriber.Profile { p := internet(); f(&p); return &p }
	rows := []struct {
		name       string
		profile    *subscriber.Profile // nil: no such SIM
		air, ulr   uint32              // Experimental-Result-Code; 0: success
		diagnostic bool                // Error-Diagnostic ODB_ALL_APN
	}{
		{"an unknown SIM", nil, 5001, 5001, false},
		{"no rules", with(func(*subscriber.Profile) {}), 0, 0, false},
		{"the visited network is allowed", with(func(p *subscriber.Profile) { p.PLMNs = []string{"001-01"} }), 0, 0, false},
		{"another network of the same digits is", with(func(p *subscriber.Profile) { p.PLMNs = []string{"001-010"} }), 5004, 5004, false},
		{"suspended", with(func(p *subscriber.Profile) { p.Status = subscriber.Suspended }), 5004, 5004, true},
		{"no APN", with(func(p *subscriber.Profile) { p.APNs = nil }), 5420, 5420, false},
		{"another RAT", with(func(p *subscriber.Profile) { p.RATs = []subscriber.RAT{subscriber.LTEM} }), 0, 5421, false},
	}
	h := startHSS(t)
	m := dialMME(t, h.address, mme1)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			m.t = t
			_, _, _ = h.store.Remove(context.Background(), imsi) // of the row before
			if row.profile != nil {
				h.add(*row.profile)
			}
			for _, try := range []struct {
				req  *diam.Message
				code uint32
			}{{m.air(1, 0, nil), row.air}, {m.ulr(34), row.ulr}} {
				ans := m.exchange(try.req)
				if try.code == 0 {
					m.requireResult(ans, 2001)
					continue
				}
				m.requireExperimental(ans, try.code)
				a, err := ans.FindAVP(avp.ErrorDiagnostic, diameter.Vendor3GPP)
				require.Equal(t, row.diagnostic, err == nil)
				if err == nil {
					require.Equal(t, datatype.Enumerated(2), a.Data)
				}
			}
			if row.profile != nil {
				require.Equal(t, row.ulr == 0, !h.subscriber().MME.IsZero())
			}
		})
	}
}

func TestBadValues(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	m := dialMME(t, h.address, mme1)
	want := group(tgpp(avp.NumberOfRequestedVectors, datatype.Unsigned32(1)))
	for name, plmn := range map[string]string{"two octets": "\x00\xf1", "four octets": "\x00\xf1\x10\x00", "no digits": "\xff\xff\xff"} {
		ans := m.exchange(m.request(318, string(imsi), map[uint32]datatype.Type{
			avp.VisitedPLMNID: datatype.OctetString(plmn), avp.RequestedEUTRANAuthenticationInfo: want,
		}))
		m.requireResult(ans, diameter.InvalidAVPValue)
		failed, err := ans.FindAVP(avp.VisitedPLMNID, diameter.Vendor3GPP)
		require.NoError(t, err, name)
		require.Equal(t, datatype.OctetString(plmn), failed.Data)
	}
	for _, user := range []string{"", "alice", "99970000000000100000"} {
		m.requireExperimental(m.exchange(m.request(318, user, map[uint32]datatype.Type{
			avp.VisitedPLMNID: datatype.OctetString(visited[:]), avp.RequestedEUTRANAuthenticationInfo: want,
		})), 5001)
	}
	ans := m.exchange(m.request(318, string(imsi), map[uint32]datatype.Type{avp.VisitedPLMNID: datatype.OctetString(visited[:])}))
	m.requireResult(ans, diameter.MissingAVP)
	m.requireResult(m.exchange(m.air(1, 0, nil)), 2001)
}

func TestRedisAway(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	m := dialMME(t, h.address, mme1)
	before := vectorsOf(t, m.exchange(m.air(1, 0, nil)), avp.EUTRANVector)
	_, sim := testKeys(t)
	sim.accept(t, before[0])
	h.redis.Kill()
	m.requireExperimental(m.exchange(m.air(1, 0, nil)), 4181)
	for _, req := range []*diam.Message{m.ulr(34), m.pur()} {
		ans := m.exchange(req)
		m.requireResult(ans, diameter.TooBusy)
		require.NotZero(t, ans.Header.CommandFlags&diam.ErrorFlag)
	}
	h.redis.Resume(t)
	require.Eventually(t, func() bool {
		_, err := m.exchange(m.air(1, 0, nil)).FindAVP(avp.AuthenticationInfo, diameter.Vendor3GPP)
		return err == nil
	}, patience, 10*time.Millisecond)
	sim.accept(t, vectorsOf(t, m.exchange(m.air(1, 0, nil)), avp.EUTRANVector)[0])
}

// 64 nodes ask two instances for the same SIM at once: none gets a SEQ that another has, and the card accepts every vector, in
// whatever order the nodes use theirs, as long as each uses its own in order.
func TestManyNodesAskAtOnce(t *testing.T) {
	r := startRedis(t)
	instances := []*hss{startHSSOn(t, r, nil), startHSSOn(t, r, nil)}
	instances[0].add(internet())
	const nodes, each, count = 64, 5, 2
	var mu sync.Mutex
	_, reader := testKeys(t)
	seen := map[uint64]bool{}
	var byIND [32][]vector
	seqOf := func(v vector) uint64 {
		r, _, err := reader.authenticate(v.rand, v.autn) // only to read SQN
		require.NotErrorIs(t, err, errMACA)
		return r.seq
	}
	var wg sync.WaitGroup
	for i := range nodes {
		m := dialMME(t, instances[i%2].address, fmt.Sprintf("mme%d.%s", i, mmeRealm))
		wg.Go(func() {
			for range each {
				ans := m.exchange(m.air(count, 0, nil))
				mu.Lock()
				for _, v := range vectorsOf(t, ans, avp.EUTRANVector) {
					r, _, err := reader.authenticate(v.rand, v.autn)
					require.NotErrorIs(t, err, errMACA)
					seen[r.seq] = true
					byIND[r.ind] = append(byIND[r.ind], v)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, seen, nodes*each*count)
	for _, all := range byIND {
		slices.SortFunc(all, func(a, b vector) int { return cmp.Compare(seqOf(a), seqOf(b)) })
	}
	_, sim := testKeys(t)
	for used := 0; used < nodes*each*count; {
		ind := rand.IntN(len(byIND))
		if len(byIND[ind]) == 0 {
			continue
		}
		sim.accept(t, byIND[ind][0])
		byIND[ind] = byIND[ind][1:]
		used++
	}
}

// AIRs that come together are handled together, and each has its own answer: what is wrong with one costs no other anything.
func TestGroupOfAIRs(t *testing.T) {
	h := startHSS(t)
	h.add(internet())
	keys, sim := testKeys(t)
	barred := internet()
	barred.MSISDN, barred.Status = "882120000002", subscriber.Suspended
	require.NoError(t, h.store.Add(context.Background(), imsiOf(2), barred.WithDefaults(), keys, 0, time.Now()))
	m := dialMME(t, h.address, mme1)
	for i := range sim.seq {
		sim.seq[i] = 1 << 20
	}
	first := vectorsOf(t, m.exchange(m.air(1, 0, nil)), avp.EUTRANVector)[0]
	_, auts, err := sim.authenticate(first.rand, first.autn)
	require.ErrorIs(t, err, errSQN)
	bad := auts
	bad[0] ^= 1
	about := func(user string, resync []byte, wanted int) diameter.Request {
		b, err := m.air(wanted, 0, resync).Serialize()
		require.NoError(t, err)
		parsed, err := diameter.Standard.Parse(b)
		require.NoError(t, err)
		for i := range parsed.AVPs {
			if parsed.AVPs[i].Is(diameter.UserName) {
				parsed.AVPs[i] = diameter.UserName.Text(user)
			}
		}
		return diameter.Request{Message: parsed, From: diameter.Peer{Host: mme1, Realm: mmeRealm}}
	}
	of, suspended := string(imsi), string(imsiOf(2))
	rows := []struct {
		req     diameter.Request
		code    uint32 // Experimental-Result-Code or Result-Code; 0: success
		vectors int
	}{
		{about(of, nil, 1), 0, 1},
		{about("999700000000099", nil, 1), 5001, 0},
		{about(of, append(first.rand[:], bad[:]...), 1), 4181, 0},
		{about(suspended, nil, 1), 5004, 0},
		{about(of, append(first.rand[:], auts[:]...), 2), 0, 2},
		{about("999700000000099", append(first.rand[:], auts[:]...), 1), 5001, 0},
		{about("no IMSI", nil, 1), 5001, 0},
		{about(of, make([]byte, 7), 1), diameter.InvalidAVPValue, 0},
		{about(of, nil, 3), 0, 3},
	}
	reqs := make([]diameter.Request, len(rows))
	for i, row := range rows {
		reqs[i] = row.req
	}
	results := h.server.authenticationInformation(t.Context(), reqs)
	require.Len(t, results, len(rows))
	seqs := map[uint64]bool{}
	for i, row := range rows {
		if row.code != 0 {
			var e *diameter.Error
			require.ErrorAs(t, results[i].Err, &e, "request %d", i)
			require.Equal(t, row.code, e.Code, "request %d", i)
			continue
		}
		require.NoError(t, results[i].Err, "request %d", i)
		whole := diameter.Message{Header: diameter.Header{Command: commandAIR, Application: ApplicationID}, AVPs: results[i].AVPs}
		answer, err := diam.ReadMessage(bytes.NewReader(whole.Append(nil)), dict.Default)
		require.NoError(t, err)
		all := vectorsOf(t, answer, avp.EUTRANVector)
		require.Len(t, all, row.vectors, "request %d", i)
		for _, v := range all {
			r, _, _ := sim.authenticate(v.rand, v.autn)
			require.False(t, seqs[r.seq], "SEQ %d twice", r.seq)
			seqs[r.seq] = true
		}
	}
	require.Len(t, seqs, 6)
	require.InDelta(t, 1, testutil.ToFloat64(h.server.resyncs.WithLabelValues(resyncAccepted)), 0)
	require.InDelta(t, 1, testutil.ToFloat64(h.server.resyncs.WithLabelValues(resyncBad)), 0)

	h.redis.Kill()
	for i, r := range h.server.authenticationInformation(t.Context(), reqs[:6]) {
		var e *diameter.Error
		require.ErrorAs(t, r.Err, &e, "request %d", i)
		require.EqualValues(t, 4181, e.Code, "request %d", i)
	}
}
