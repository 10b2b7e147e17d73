package session

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/identity"
	"github.com/xepc/xepc/pkg/pfcp"
)

func TestAuthorize(t *testing.T) {
	austria := identity.PLMN{MCC: "232", MNC: "01"}
	table := Table{
		{APN: "shared", IMSIPrefixes: []string{"9997000"}, Profile: Profile{Pool: "a"}},
		{APN: "shared", IMSIPrefixes: []string{"9997001"}, PLMNs: []identity.PLMN{austria}, Profile: Profile{Pool: "b"}},
		{APN: "open", Profile: Profile{Pool: "c"}},
	}
	rows := []struct {
		name  string
		who   Subject
		pool  string
		cause gtpc.Cause
	}{
		{"an APN for everybody", Subject{IMSI: "001010000000001", APN: "open"}, "c", 0},
		{"an APN that nobody has", Subject{IMSI: "999700000000001", APN: "other"}, "", gtpc.CauseMissingOrUnknownAPN},
		{"the first customer of a shared APN", Subject{IMSI: "999700000000001", APN: "shared"}, "a", 0},
		{"the second customer at home", Subject{IMSI: "999700100000001", APN: "shared", ServingNetwork: gtpc.Some(austria)}, "b", 0},
		{"the second customer elsewhere", Subject{IMSI: "999700100000001", APN: "shared", ServingNetwork: gtpc.Some(identity.PLMN{MCC: "001", MNC: "01"})}, "", gtpc.CauseAPNAccessDenied},
		{"the second customer nobody knows where", Subject{IMSI: "999700100000001", APN: "shared"}, "", gtpc.CauseAPNAccessDenied},
		{"a foreign SIM", Subject{IMSI: "262010000000001", APN: "shared"}, "", gtpc.CauseAPNAccessDenied},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p, err := table.Authorize(row.who)
			if row.cause != 0 {
				require.Equal(t, row.cause, err.Cause)
				return
			}
			require.Nil(t, err)
			require.Equal(t, row.pool, p.Pool)
		})
	}
}

func TestGrantedAMBR(t *testing.T) {
	p := Profile{AMBR: gtpc.AMBR{Uplink: 500}}
	require.Equal(t, gtpc.AMBR{Uplink: 500, Downlink: 2000}, p.limit(gtpc.AMBR{Uplink: 1000, Downlink: 2000}))
	require.Equal(t, gtpc.AMBR{Uplink: 100, Downlink: 2000}, p.limit(gtpc.AMBR{Uplink: 100, Downlink: 2000}))
	require.Equal(t, gtpc.AMBR{Uplink: 500}, p.limit(gtpc.AMBR{}))
}

func TestCauseFor(t *testing.T) {
	for upCause, cause := range map[pfcp.Cause]gtpc.Cause{
		pfcp.CauseNoResourcesAvailable:     gtpc.CauseNoResourcesAvailable,
		pfcp.CauseNoEstablishedAssociation: gtpc.CauseNoResourcesAvailable,
		pfcp.CausePFCPEntityInCongestion:   gtpc.CauseNoResourcesAvailable,
		pfcp.CauseAllDynamicAddressesTaken: gtpc.CauseAllDynamicAddressesOccupied,
		pfcp.CauseRuleCreationFailure:      gtpc.CauseSystemFailure,
		pfcp.CauseRejected:                 gtpc.CauseSystemFailure,
	} {
		require.Equal(t, cause, CauseFor(&pfcp.Error{Cause: upCause}), "%v", upCause)
	}
	require.Equal(t, gtpc.CauseSystemFailure, CauseFor(pfcp.ErrTimeout))
}

func TestPCO(t *testing.T) {
	p := Profile{DNS: []netip.Addr{netip.MustParseAddr("10.60.0.53"), netip.MustParseAddr("10.60.0.54")}, MTU: 1400}
	one := Profile{DNS: p.DNS[:1]}
	dns := func(last byte) gtpc.PCOContainer { return gtpc.PCOContainer{ID: 0x000d, Data: []byte{10, 60, 0, last}} }
	ipcp := func(b ...byte) gtpc.PCOContainer { return gtpc.PCOContainer{ID: 0x8021, Data: b} }
	bothZero := ipcp(1, 7, 0, 16, 129, 6, 0, 0, 0, 0, 131, 6, 0, 0, 0, 0)
	rows := []struct {
		name string
		p    Profile
		ask  gtpc.PCO
		want gtpc.PCO
	}{
		{"nothing asked, nothing told", p, nil, nil},
		{"what is not known is not answered", p, gtpc.PCO{{ID: 0x0001}, {ID: 0xc023, Data: []byte{1, 1, 0, 4}}}, nil},
		{"DNS servers and MTU", p, gtpc.PCO{{ID: 0x000d}, {ID: 0x0010}}, gtpc.PCO{dns(53), dns(54), {ID: 0x0010, Data: []byte{0x05, 0x78}}}},
		{"asked twice, told once", one, gtpc.PCO{{ID: 0x000d}, {ID: 0x000d}}, gtpc.PCO{dns(53)}},
		{"no MTU configured", one, gtpc.PCO{{ID: 0x0010}}, nil},
		{"IPCP asks for both servers", p, gtpc.PCO{bothZero}, gtpc.PCO{ipcp(3, 7, 0, 16, 129, 6, 10, 60, 0, 53, 131, 6, 10, 60, 0, 54)}},
		{"IPCP asks for two, there is one", one, gtpc.PCO{bothZero}, gtpc.PCO{ipcp(3, 7, 0, 10, 129, 6, 10, 60, 0, 53)}},
		{"IPCP agrees", one, gtpc.PCO{ipcp(1, 7, 0, 10, 129, 6, 10, 60, 0, 53)}, gtpc.PCO{ipcp(2, 7, 0, 10, 129, 6, 10, 60, 0, 53)}},
		{"IPCP asks for compression", p, gtpc.PCO{ipcp(1, 7, 0, 10, 2, 6, 0, 0x2d, 0x0f, 1)}, gtpc.PCO{ipcp(4, 7, 0, 10, 2, 6, 0, 0x2d, 0x0f, 1)}},
		{"IPCP with an option longer than itself", p, gtpc.PCO{ipcp(1, 7, 0, 10, 129, 9, 0, 0, 0, 0)}, nil},
		{"IPCP longer than its container", p, gtpc.PCO{ipcp(1, 7, 0, 99, 129, 6, 0, 0, 0, 0)}, nil},
		{"IPCP that is no request", p, gtpc.PCO{ipcp(9, 7, 0, 4)}, nil},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) { require.Equal(t, row.want, row.p.answerPCO(row.ask)) })
	}
}
