package session

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/identity"
	"github.com/xepc/xepc/pkg/pfcp"
)

// Subject is who asks for a PDN connection, and how.
type Subject struct {
	IMSI           identity.IMSI
	MSISDN         identity.MSISDN // "" when not known
	APN            identity.APN
	SelectionMode  gtpc.Opt[gtpc.SelectionMode]
	ServingNetwork gtpc.Opt[identity.PLMN]
}

// Profile is what a Subject may have.
type Profile struct {
	NetworkInstance pfcp.NetworkInstance
	Pool            string
	DNS             []netip.Addr // IPv4, the preferred one first
	MTU             uint16       // of the link to the UE, octets; 0 says nothing of it
	AMBR            gtpc.AMBR    // the most that is granted, kbit/s; 0 in a direction: what is asked for
}

// Rule of a Table: a profile for an APN and for those whom it admits.
type Rule struct {
	APN          identity.APN
	IMSIPrefixes []string        // decimal digits; none: every SIM
	PLMNs        []identity.PLMN // serving networks; none: every network
	Profile      Profile
}

// Table is the local authorization: the first rule counts whose APN and conditions fit. Customers may share an
// APN, so that one APN may have several rules.
type Table []Rule

// Authorize returns the profile, or the cause of refusal: 78 for an APN that no rule has, 93 for one whose rules do
// not admit the subject (TS 29.274 8.4). A subject without a serving network fits no rule that asks for one.
func (t Table) Authorize(s Subject) (Profile, *gtpc.Error) {
	known := false
	for _, r := range t {
		if r.APN != s.APN {
			continue
		}
		known = true
		if r.admits(s) {
			return r.Profile, nil
		}
	}
	if !known {
		return Profile{}, &gtpc.Error{
			Cause: gtpc.CauseMissingOrUnknownAPN, Err: fmt.Errorf("APN %q", s.APN),
		}
	}
	return Profile{}, &gtpc.Error{Cause: gtpc.CauseAPNAccessDenied, Err: fmt.Errorf("APN %q does not admit the SIM", s.APN)}
}

func (r Rule) admits(s Subject) bool {
	sim := len(r.IMSIPrefixes) == 0 || slices.ContainsFunc(r.IMSIPrefixes, func(prefix string) bool {
		return strings.HasPrefix(string(s.IMSI), prefix)
	})
	network := len(r.PLMNs) == 0 || s.ServingNetwork.Present && slices.Contains(r.PLMNs, s.ServingNetwork.Value)
	return sim && network
}

// limit is the APN-AMBR that is granted to one who asks for a.
func (p Profile) limit(a gtpc.AMBR) gtpc.AMBR {
	return gtpc.AMBR{Uplink: least(a.Uplink, p.AMBR.Uplink), Downlink: least(a.Downlink, p.AMBR.Downlink)}
}

// least is the lower of two rates of which 0 says nothing.
func least(a, b uint32) uint32 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}
