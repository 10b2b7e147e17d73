package session

import "github.com/xepc/xepc/pkg/pfcp"

// Families are those of IP outside.
type Families struct{ IPv4, IPv6 bool }

// FamiliesOf are those that the slice of a new session must have an address of, by the F-TEIDs that are to be chosen
// and the tunnels that its FARs name. What may be of either family asks for none.
func FamiliesOf(r *pfcp.SessionEstablishmentRequest) (f Families) {
	need := func(v4, v6 bool) {
		f.IPv4 = f.IPv4 || v4 && !v6
		f.IPv6 = f.IPv6 || v6 && !v4
	}
	chosen := func(o *pfcp.Opt[pfcp.FTEID]) {
		if o.Present && o.Value.Choose {
			need(o.Value.ChooseIPv4, o.Value.ChooseIPv6)
		}
	}
	for i := range r.CreatePDRs {
		chosen(&r.CreatePDRs[i].PDI.FTEID)
	}
	for i := range r.CreateTrafficEndpoints {
		chosen(&r.CreateTrafficEndpoints[i].FTEID)
	}
	for i := range r.CreateFARs {
		if outer := &r.CreateFARs[i].ForwardingParameters.Value.OuterHeaderCreation; outer.Present {
			need(outer.Value.Description&pfcp.CreateGTPUUDPIPv4 != 0, outer.Value.Description&pfcp.CreateGTPUUDPIPv6 != 0)
		}
	}
	return f
}
