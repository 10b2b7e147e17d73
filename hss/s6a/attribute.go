package s6a

import (
	"bytes"
	"slices"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

// view is a SIM as one of its nodes is told of it.
type view struct {
	subscriber.Profile

	node     subscriber.Registration
	side     subscriber.Side
	gateways map[string]subscriber.Gateway // by APN, as nodes have notified them
	adjacent []identity.PLMN               // networks beside the node's, as a ULR names them
}

// attribute is something that a node is told of a SIM, apart from its APNs, TS 29.272 7.3.2: all there is to know of it stands
// in its row. What a node is told with an IDR or a DSR follows from a comparison of what avps make before and after a change.
type attribute struct {
	part     subscriber.Part // "": told in a ULA only
	avps     func(view) []diameter.AVP
	none     []diameter.AVP // what an IDR says when there is nothing any more
	withdraw uint32         // bit of DSR-Flags that says the same, 7.3.25. With neither, what was told holds until the next ULA
	beside   bool           // stands beside Subscription-Data
}

const partTrace subscriber.Part = "trace"

// attributes are all there are, in the order in which they are sent. Parts are kept in requests that wait: a name stays.
var attributes = []attribute{
	{part: "barring", avps: barring},
	{part: "msisdn", withdraw: 1 << 23, avps: func(v view) []diameter.AVP {
		if v.MSISDN == "" {
			return nil
		}
		return []diameter.AVP{msisdn.Octets(identity.EncodeTBCD(string(v.MSISDN)))}
	}},
	{avps: func(view) []diameter.AVP { return []diameter.AVP{networkAccessMode.Unsigned(onlyPacket)} }},
	{part: "access", none: zero(accessRestriction), avps: func(v view) []diameter.AVP { return numberAVP(accessRestriction, restrictions(v.Profile)) }},
	{part: "core_networks", none: zero(coreRestrictions), avps: func(v view) []diameter.AVP { return numberAVP(coreRestrictions, cores(v.Profile)) }},
	{avps: adjacent},
	{part: "zones", withdraw: 1 << 0, avps: zones},
	{part: "roaming_restricted", withdraw: 1 << 7, avps: roaming},
	{part: "oi_replacement", withdraw: 1 << 10, avps: func(v view) []diameter.AVP { return textAVP(apnOIReplacement, v.OIReplacement) }},
	{part: "ambr", avps: func(v view) []diameter.AVP { return []diameter.AVP{rates(v.AMBR)} }},
	{part: "charging", withdraw: 1 << 2, avps: func(v view) []diameter.AVP { return textAVP(chargingAttributes, v.Charging) }},
	{part: "rfsp", avps: func(v view) []diameter.AVP { return numberAVP(rfspID, v.Serving.RFSP) }},
	{part: "usage_type", withdraw: 1 << 24, avps: usage},
	{part: partTrace, withdraw: 1 << 8, avps: trace},
	{part: "reset_ids", withdraw: 1 << 18, avps: resets, beside: true},
	{part: "periodic_tau", withdraw: 1 << 14, avps: func(v view) []diameter.AVP { return numberAVP(periodicTAU, v.IoT.PeriodicTAU) }},
	{part: "active_time", withdraw: 1 << 29, avps: func(v view) []diameter.AVP { return givenAVP(activeTime, v.IoT.ActiveTime) }},
	{part: "dl_buffering", withdraw: 1 << 19, avps: func(v view) []diameter.AVP { return givenAVP(dlBuffering, v.IoT.DLBuffering) }},
	{part: "edrx", withdraw: 1 << 30, avps: cycles},
	{part: "paging_windows", withdraw: 1 << 28, avps: windows},
	{part: "service_gap", withdraw: 1 << 31, avps: func(v view) []diameter.AVP { return numberAVP(serviceGap, v.IoT.ServiceGap) }},
}

func zero(def *diameter.AVPDef) []diameter.AVP { return []diameter.AVP{def.Unsigned(0)} }

// differ says which attributes that node is to be told anew, and which are to be withdrawn.
func differ(before, after subscriber.Profile, at subscriber.Registration) (insert, withdraw []subscriber.Part) {
	was, is := view{Profile: before, node: at}, view{Profile: after, node: at}
	for _, a := range attributes {
		if a.part == "" {
			continue
		}
		old, now := a.avps(was), a.avps(is)
		switch {
		case bytes.Equal(encoded(old), encoded(now)):
		case len(now) > 0 || a.none != nil:
			insert = append(insert, a.part)
		case a.withdraw != 0:
			withdraw = append(withdraw, a.part)
		}
	}
	return insert, withdraw
}

func encoded(avps []diameter.AVP) []byte {
	var b []byte
	for _, a := range avps {
		b = a.Append(b)
	}
	return b
}

// subscription makes all that a node is told of a SIM: Subscription-Data, and what stands beside it. With pdp an SGSN is given
// GPRS-Subscription-Data too.
func subscription(v view, pdp bool) []diameter.AVP {
	var data, beside []diameter.AVP
	for _, a := range attributes {
		if a.beside {
			beside = append(beside, a.avps(v)...)
		} else {
			data = append(data, a.avps(v)...)
		}
	}
	if len(v.APNs) > 0 {
		data = append(data, apns(v, allAPNConfigurations, places(v)))
		if pdp && v.side == subscriber.SGSN {
			data = append(data, gprs(v.Profile))
		}
	}
	return append(beside, subscriptionData.Group(data...))
}

// changedParts makes what an IDR has, TS 29.272 5.2.2.1: those parts of what the SIM has now; none when there is nothing left
// of them.
func changedParts(v view, parts []subscriber.Part) []diameter.AVP {
	var data, beside []diameter.AVP
	for _, a := range attributes {
		if a.part == "" || !slices.Contains(parts, a.part) {
			continue
		}
		now := a.avps(v)
		if len(now) == 0 {
			now = a.none
		}
		if a.beside {
			beside = append(beside, now...)
		} else {
			data = append(data, now...)
		}
	}
	data = append(data, changedAPNs(v, parts)...)
	if len(data)+len(beside) == 0 {
		return nil
	}
	return append(beside, subscriptionData.Group(data...))
}

// changedAPNs makes the APNs among the parts.
func changedAPNs(v view, parts []subscriber.Part) []diameter.AVP {
	var changed []uint32
	for _, part := range parts {
		if id, ok := part.Context(); ok && int(id) <= len(v.APNs) {
			changed = append(changed, id)
		}
	}
	var data []diameter.AVP
	switch {
	case slices.Contains(parts, subscriber.AllAPNs) && len(v.APNs) > 0:
		data = append(data, apns(v, allAPNConfigurations, places(v)))
	case len(changed) > 0:
		data = append(data, apns(v, modifiedAdded, changed))
	default:
		return nil
	}
	if v.side == subscriber.SGSN { // which may have been given PDP contexts: they are all replaced
		data = append(data, gprs(v.Profile))
	}
	return data
}

// withdrawals are the bits of DSR-Flags for those parts that the SIM still has not.
func withdrawals(v view, parts []subscriber.Part) (flags uint32) {
	for _, a := range attributes {
		if a.part != "" && slices.Contains(parts, a.part) && len(a.avps(v)) == 0 {
			flags |= a.withdraw
		}
	}
	return flags
}
