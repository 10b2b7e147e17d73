package session

import (
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
