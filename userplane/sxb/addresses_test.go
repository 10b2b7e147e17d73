package sxb

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// pooled gives the edge a pool of UE addresses.
func pooled(ipv4, ipv6 string) func(*Config) {
	return func(c *Config) {
		p := AddressPool{Name: "internet-1", Instance: "internet", IPv4: netip.MustParsePrefix(ipv4)}
		if ipv6 != "" {
			p.IPv6 = netip.MustParsePrefix(ipv6)
		}
		c.AddressPools = append(c.AddressPools, p)
	}
}

// addressless are the rules of a bearer whose UE addresses are ours to choose: flags are those of the UE IP Address IE.
func addressless(flags uint8, with ...*ie.IE) []*ie.IE {
	rules := bearer("172.16.1.1")
	rules[0] = ie.NewCreatePDR(
		ie.NewPDRID(1), ie.NewPrecedence(100),
		ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceAccess), ie.NewFTEID(0x05, 0, nil, nil, 0), ie.NewUEIPAddress(flags, "", "", 0, 0)),
		ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(1), ie.NewURRID(1), ie.NewQERID(1),
	)
	rules[1] = ie.NewCreatePDR(append([]*ie.IE{
		ie.NewPDRID(2), ie.NewPrecedence(100),
		ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceCore), ie.NewNetworkInstance("internet"), ie.NewUEIPAddress(flags|4, "", "", 0, 0)),
		ie.NewFARID(2), ie.NewURRID(1), ie.NewQERID(1),
	}, with...)...)
	return rules
}

const (
	chooseIPv4 = 0x10
	chooseIPv6 = 0x20
)

// given returns the UE address that an establishment's answer names, and checks that all Created PDRs agree.
func given(t *testing.T, m message.Message) (v4, v6 string) {
	t.Helper()
	r := m.(*message.SessionEstablishmentResponse)
	require.Equal(t, pfcp.CauseAccepted, cause(t, r.Cause))
	require.Len(t, r.CreatedPDR, 2)
	for i, created := range r.CreatedPDR {
		a, err := created.UEIPAddress()
		require.NoError(t, err)
		one4, one6 := "", ""
		if a.IPv4Address != nil {
			one4 = a.IPv4Address.String()
		}
		if a.IPv6Address != nil {
			one6 = a.IPv6Address.String()
		}
		if i > 0 {
			require.Equal(t, []string{v4, v6}, []string{one4, one6})
		}
		v4, v6 = one4, one6
	}
	return v4, v6
}

func TestUEAddressesAreGivenOut(t *testing.T) {
	w := newWorld(t, pooled("172.16.9.0/24", "2001:db8:9::/48"))
	cp := newControlPlane(t, w, "127.77.80.1", "pgwc.example")
	features, err := cp.setup().UPFunctionFeatures.UPFunctionFeatures()
	require.NoError(t, err)
	require.EqualValues(t, 0x04, features[2]&0x04, "UEIP")
	_, m := cp.ask(cp.establishment(cp.next(), 1, addressless(chooseIPv4|chooseIPv6)...))
	v4, v6 := given(t, m)
	require.Equal(t, []string{"172.16.9.1", "2001:db8:9::"}, []string{v4, v6})
	require.Contains(t, w.dp.snapshot(), downlinkKey("172.16.9.1"))
	require.Contains(t, w.dp.snapshot(), session.Key{Direction: session.Downlink, Instance: "internet", UE: netip.MustParsePrefix("2001:db8:9::/64")})
	_, m = cp.ask(cp.establishment(cp.next(), 2, addressless(chooseIPv4, ie.NewUEIPAddressPoolIdentity("internet-1"))...))
	v4, _ = given(t, m)
	require.Equal(t, "172.16.9.2", v4)
	cp.refused(pfcp.CauseRuleCreationFailure, 3, addressless(chooseIPv4, ie.NewUEIPAddressPoolIdentity("another"))...)
	w.consistent()

	// One of the pool that a control plane brings is not given out too.
	seid, _ := cp.establish(4, bearer("172.16.9.3")...)
	_, m = cp.ask(cp.establishment(cp.next(), 5, addressless(chooseIPv4)...))
	v4, _ = given(t, m)
	require.Equal(t, "172.16.9.4", v4)
	cp.refused(pfcp.CauseRuleCreationFailure, 6, bearer("172.16.9.4")...)
	cp.delete(seid)
	w.consistent()
}

// A /24 was empty after 252 sessions: addresses were allocated by the CP function's SEID, and released by ours.
func TestUEAddressesDoNotLeak(t *testing.T) {
	w := newWorld(t, pooled("172.16.9.0/24", ""), func(c *Config) { c.AddressRest, c.Rest = 0, time.Millisecond })
	cp := newControlPlane(t, w, "127.77.81.1", "pgwc.example")
	cp.setup()
	for i := range 600 {
		_, m := cp.ask(cp.establishment(cp.next(), uint64(1_000_000+i), addressless(chooseIPv4)...))
		given(t, m)
		// A request that is refused at the very end, in the data path.
		w.dp.hook(func(c session.Changes) error { return errors.New("table full") })
		cp.refused(pfcp.CauseSystemFailure, 7, addressless(chooseIPv4)...)
		w.dp.hook(nil)
		require.Equal(t, pfcp.CauseAccepted, cause(t, cp.delete(made(t, m)).Cause))
	}
	require.Zero(t, w.edge.Stats().Pools[0].Live)
	w.consistent()
}

func TestUEAddressesRunOut(t *testing.T) {
	w := newWorld(t, pooled("172.16.9.0/29", ""))
	cp := newControlPlane(t, w, "127.77.82.1", "pgwc.example")
	cp.setup()
	var first uint64
	for i := range 6 {
		_, m := cp.ask(cp.establishment(cp.next(), uint64(i+1), addressless(chooseIPv4)...))
		v4, _ := given(t, m)
		require.Equal(t, fmt.Sprintf("172.16.9.%d", i+1), v4)
		if i == 0 {
			first = made(t, m)
		}
	}
	cp.refused(pfcp.CauseAllDynamicAddressesTaken, 7, addressless(chooseIPv4)...)
	cp.delete(first)
	cp.refused(pfcp.CauseAllDynamicAddressesTaken, 7, addressless(chooseIPv4)...) // it rests
	w.consistent()
}

// Killed anywhere, an address is its session's or rests: never another's too early, never nobody's.
func TestUEAddressesAreKeptOverACrash(t *testing.T) {
	w := newWorld(t, pooled("172.16.9.0/29", ""), func(c *Config) { c.Shards = 1 })
	cp := newControlPlane(t, w, "127.77.83.1", "pgwc.example")
	cp.setup()
	for i := range 5 {
		cp.ask(cp.establishment(cp.next(), uint64(i+1), addressless(chooseIPv4)...))
	}
	gone := w.sessions()
	for _, s := range gone[:2] {
		cp.delete(uint64(s.SEID))
	}
	counts := w.edge.Stats().Pools
	require.Equal(t, []PoolInfo{{Pool: "internet-1", Family: "ipv4", Free: 1, Live: 3, Resting: 2}}, counts)
	w.kill()
	w.start()
	require.Equal(t, counts, w.edge.Stats().Pools)
	w.consistent()

	// Between the record and the data path of an establishment, and of a deletion.
	for _, send := range []func(){
		func() { cp.send(cp.encode(cp.establishment(cp.next(), 9, addressless(chooseIPv4)...))) },
		func() {
			cp.send(cp.encode(message.NewSessionDeletionRequest(0, 0, uint64(gone[2].SEID), cp.next(), 0)))
		},
	} {
		reached, end := stuck(w)
		send()
		<-reached
		killStuck(w, end)
		w.start()
		w.consistent()
		require.Equal(t, []PoolInfo{{Pool: "internet-1", Family: "ipv4", Live: 4, Resting: 2}}, w.edge.Stats().Pools)
	}
	cp.refused(pfcp.CauseAllDynamicAddressesTaken, 10, addressless(chooseIPv4)...)

	// When they have rested, the journal forgets it.
	require.Eventually(t, func() bool {
		w.edge.shards[0].commands <- func() { w.edge.shards[0].forgetGraves(time.Now().Add(time.Hour)) }
		for _, key := range w.journal.Keys() {
			if key.Kind == kindResting {
				return false
			}
		}
		return true
	}, patience, tick/100)
}
