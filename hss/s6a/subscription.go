package s6a

import (
	"math"
	"slices"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

// Values of enumerated AVPs, by clause of TS 29.272 unless said otherwise.
const (
	serviceGranted       uint32 = 0 // Subscriber-Status, 7.3.29
	serviceBarred        uint32 = 1
	onlyPacket           uint32 = 2 // Network-Access-Mode, 7.3.21
	allAPNConfigurations uint32 = 0 // All-APN-Configurations-Included-Indicator, 7.3.33
	dynamicNotAllowed    uint32 = 0 // VPLMN-Dynamic-Address-Allowed, 7.3.38: home routed only, the PGW is ours
	preemptionEnabled    uint32 = 0 // Pre-emption-Capability and -Vulnerability, TS 29.212 5.3.46 and 5.3.47
	preemptionDisabled   uint32 = 1
)

// Bits of Access-Restriction-Data, TS 29.272 7.3.31.
const (
	noUTRAN        uint32 = 1 << 0
	noGERAN        uint32 = 1 << 1
	noHSPA         uint32 = 1 << 3
	noWBEUTRAN     uint32 = 1 << 4 // LTE-M included
	noNBIoT        uint32 = 1 << 6
	noLTEM         uint32 = 1 << 11
	noWBEUTRANOnly uint32 = 1 << 12 // LTE-M excepted
)

// subscription makes Subscription-Data, TS 29.272 7.3.2, for the node of that side. With pdp an SGSN is given
// GPRS-Subscription-Data too.
func subscription(p subscriber.Profile, side subscriber.Side, pdp bool) diameter.AVP {
	data := slices.Concat(barring(p), number(p), []diameter.AVP{networkAccessMode.Unsigned(onlyPacket)}, access(p), oi(p.OIReplacement),
		[]diameter.AVP{rates(p.AMBR)}, charging(p))
	if len(p.APNs) > 0 {
		data = append(data, apns(p, allAPNConfigurations, places(p)))
		if pdp && side == subscriber.SGSN {
			data = append(data, gprs(p))
		}
	}
	return subscriptionData.Group(append(data, timers(p.IoT)...)...)
}

// changedParts makes the Subscription-Data of an IDR, TS 29.272 5.2.2.1: those parts of what the SIM has now.
func changedParts(p subscriber.Profile, side subscriber.Side, parts []subscriber.Part) diameter.AVP {
	var data []diameter.AVP
	var changed []uint32
	all := false
	for _, part := range parts {
		switch part {
		case subscriber.PartMSISDN:
			data = append(data, number(p)...)
		case subscriber.PartAMBR:
			data = append(data, rates(p.AMBR))
		case subscriber.PartAccess:
			data = append(data, accessRestriction.Unsigned(restrictions(p)))
		case subscriber.PartBarring:
			data = append(data, barring(p)...)
		case subscriber.PartCharging:
			data = append(data, charging(p)...)
		case subscriber.PartOI:
			data = append(data, oi(p.OIReplacement)...)
		case subscriber.PartPeriodicTAU:
			data = append(data, timers(subscriber.IoT{PeriodicTAU: p.IoT.PeriodicTAU})...)
		case subscriber.PartActiveTime:
			data = append(data, timers(subscriber.IoT{ActiveTime: p.IoT.ActiveTime})...)
		case subscriber.PartDLBuffering:
			data = append(data, timers(subscriber.IoT{DLBuffering: p.IoT.DLBuffering})...)
		case subscriber.PartEDRX:
			data = append(data, timers(subscriber.IoT{EDRX: p.IoT.EDRX})...)
		case subscriber.AllAPNs:
			all = true
		default:
			if id, ok := part.Context(); ok && int(id) <= len(p.APNs) {
				changed = append(changed, id)
			}
		}
	}
	switch {
	case all && len(p.APNs) > 0:
		data = append(data, apns(p, allAPNConfigurations, places(p)))
	case len(changed) > 0:
		data = append(data, apns(p, modifiedAdded, changed))
	}
	if side == subscriber.SGSN && len(p.APNs) > 0 && (all || len(changed) > 0) {
		data = append(data, gprs(p)) // the SGSN may have been given PDP contexts: they are all replaced
	}
	return subscriptionData.Group(data...)
}

// barring makes Subscriber-Status, and Operator-Determined-Barring when something is barred: with service granted it is left
// out, and what was barred before is no longer (7.3.29).
func barring(p subscriber.Profile) []diameter.AVP {
	if len(p.Barring) == 0 {
		return []diameter.AVP{subscriberStatus.Unsigned(serviceGranted)}
	}
	return []diameter.AVP{subscriberStatus.Unsigned(serviceBarred), operatorBarring.Unsigned(subscriber.BarringBits(p.Barring))}
}

// oi makes APN-OI-Replacement, 7.3.32; none when there is none.
func oi(replacement string) []diameter.AVP {
	if replacement == "" {
		return nil
	}
	return []diameter.AVP{apnOIReplacement.Text(replacement)}
}

// number makes MSISDN, TS 29.329 6.3.2; none when the SIM has none.
func number(p subscriber.Profile) []diameter.AVP {
	if p.MSISDN == "" {
		return nil
	}
	return []diameter.AVP{msisdn.Octets(identity.EncodeTBCD(string(p.MSISDN)))}
}

// charging makes 3GPP-Charging-Characteristics of the SIM; none when it has none.
func charging(p subscriber.Profile) []diameter.AVP {
	if p.Charging == "" {
		return nil
	}
	return []diameter.AVP{chargingAttributes.Text(p.Charging)}
}

// access makes Access-Restriction-Data; none when all are allowed.
func access(p subscriber.Profile) []diameter.AVP {
	if bits := restrictions(p); bits != 0 {
		return []diameter.AVP{accessRestriction.Unsigned(bits)}
	}
	return nil
}

// restrictions are the accesses that the SIM may not use, as TS 29.272 7.3.31 has them.
func restrictions(p subscriber.Profile) (bits uint32) {
	if len(p.RATs) == 0 {
		return 0
	}
	may := func(r subscriber.RAT) bool { return slices.Contains(p.RATs, r) }
	for rat, bit := range map[subscriber.RAT]uint32{
		subscriber.UTRAN: noUTRAN, subscriber.GERAN: noGERAN, subscriber.HSPAEvolution: noHSPA, subscriber.EUTRANNBIoT: noNBIoT,
	} {
		if !may(rat) {
			bits |= bit
		}
	}
	switch wide, ltem := may(subscriber.EUTRAN), may(subscriber.LTEM); {
	case !wide && !ltem:
		bits |= noWBEUTRAN
	case !wide:
		bits |= noWBEUTRANOnly
	case !ltem:
		bits |= noLTEM
	}
	return bits
}

// timers make what lets a device sleep.
func timers(t subscriber.IoT) []diameter.AVP {
	var all []diameter.AVP
	if t.PeriodicTAU != 0 {
		all = append(all, periodicTAU.Unsigned(t.PeriodicTAU))
	}
	if t.ActiveTime != nil {
		all = append(all, activeTime.Unsigned(*t.ActiveTime))
	}
	if t.DLBuffering != nil {
		all = append(all, dlBuffering.Unsigned(uint32(*t.DLBuffering)))
	}
	for _, e := range t.EDRX {
		all = append(all, edrxCycleLength.Group(ratType.Unsigned(ratTypeOf(e.RAT)), edrxCycleValue.Octets([]byte{e.Cycle})))
	}
	return append(all, windows(t.EDRX)...)
}

// windows make Paging-Time-Window, 7.3.226, one for each operation mode. The code is in the upper four bits (7.3.228).
func windows(edrx []subscriber.EDRX) []diameter.AVP {
	var all []diameter.AVP
	var told []uint32
	for _, e := range edrx {
		if mode := e.RAT.OperationMode(); e.Window != nil && !slices.Contains(told, mode) {
			told = append(told, mode)
			all = append(all, pagingTimeWindow.Group(operationMode.Unsigned(mode), pagingWindowLength.Octets([]byte{*e.Window << 4})))
		}
	}
	return all
}

// places are the context identifiers of all APNs.
func places(p subscriber.Profile) []uint32 {
	all := make([]uint32, len(p.APNs))
	for i := range all {
		all[i] = uint32(i + 1)
	}
	return all
}

// apns makes APN-Configuration-Profile, 7.3.34, with the APNs at those places; 1 is the default's.
func apns(p subscriber.Profile, included uint32, ids []uint32) diameter.AVP {
	members := []diameter.AVP{contextIdentifier.Unsigned(1), allAPNsIncluded.Unsigned(included)}
	for _, id := range ids {
		members = append(members, apn(id, p.APNs[id-1]))
	}
	return apnProfile.Group(members...)
}

// apn makes APN-Configuration, 7.3.35. id is its Context-Identifier; 1 is the default's.
func apn(id uint32, a subscriber.APN) diameter.AVP {
	config := []diameter.AVP{contextIdentifier.Unsigned(id)}
	if a.StaticIPv4.IsValid() {
		config = append(config, servedPartyIP.Address(a.StaticIPv4))
	}
	if a.StaticIPv6.IsValid() {
		config = append(config, servedPartyIP.Address(a.StaticIPv6))
	}
	config = append(config,
		pdnType.Unsigned(pdnTypeOf(a.PDNType)),
		serviceSelection.Text(string(a.Name)),
		qosProfile.Group(
			qci.Unsigned(uint32(a.QCI)),
			arp.Group(
				priorityLevel.Unsigned(uint32(a.ARP.Priority)),
				preemptCapability.Unsigned(preemption(a.ARP.Capability)),
				preemptVulnerable.Unsigned(preemption(a.ARP.Vulnerable)),
			),
		),
		vplmnDynamic.Unsigned(dynamicNotAllowed),
		rates(a.AMBR),
	)
	if a.Charging != "" {
		config = append(config, chargingAttributes.Text(a.Charging))
	}
	return apnConfiguration.Group(append(config, oi(a.OIReplacement)...)...)
}

func pdnTypeOf(t subscriber.PDNType) uint32 { // 7.3.62
	switch t {
	case subscriber.IPv6:
		return 1
	case subscriber.IPv4v6:
		return 2
	default:
		return 0
	}
}

func preemption(enabled bool) uint32 {
	if enabled {
		return preemptionEnabled
	}
	return preemptionDisabled
}

// rates makes AMBR, 7.3.41. A rate that 32 bits of bit/s do not hold goes in kbit/s into the extended AVPs, and the
// plain ones are at their largest.
func rates(b subscriber.Bitrates) diameter.AVP {
	plain := func(v uint64) uint32 { return uint32(min(v, math.MaxUint32)) }
	g := ambr.Group(maxUL.Unsigned(plain(b.Uplink)), maxDL.Unsigned(plain(b.Downlink)))
	if b.Uplink > math.MaxUint32 {
		g.Members = append(g.Members, extendedUL.Unsigned(plain(b.Uplink/1000)))
	}
	if b.Downlink > math.MaxUint32 {
		g.Members = append(g.Members, extendedDL.Unsigned(plain(b.Downlink/1000)))
	}
	return g
}
