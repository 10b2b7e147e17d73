package s6a

import (
	"encoding/hex"
	"math"
	"net/netip"
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
	allocatedStatically  uint32 = 0 // PDN-GW-Allocation-Type, 7.3.44
	allocatedDynamically uint32 = 1
	restrictedForFeature uint32 = 0      // Roaming-Restricted-Due-To-Unsupported-Feature, 7.3.61
	no5GC                uint32 = 1 << 1 // of Core-Network-Restrictions, 7.3.230
)

// Bits of Access-Restriction-Data, TS 29.272 7.3.31.
const (
	noUTRAN        uint32 = 1 << 0
	noGERAN        uint32 = 1 << 1
	noGAN          uint32 = 1 << 2
	noHSPA         uint32 = 1 << 3
	noWBEUTRAN     uint32 = 1 << 4 // LTE-M included
	noNBIoT        uint32 = 1 << 6
	noNR           uint32 = 1 << 10 // in the 5G system
	noLTEM         uint32 = 1 << 11
	noWBEUTRANOnly uint32 = 1 << 12 // LTE-M excepted

	noAccess = noUTRAN | noGERAN | noGAN | noHSPA | noWBEUTRAN | noNBIoT | noNR
)

// restrictionBits are the bits of what a profile may name beside RATs.
var restrictionBits = map[subscriber.Restriction]uint32{
	subscriber.NoGAN: noGAN, subscriber.NoNon3GPP: 1 << 5, subscriber.NoEnhancedCoverage: 1 << 7, subscriber.NoSecondaryNR: 1 << 8,
	subscriber.NoUnlicensed: 1 << 9, subscriber.NoNR: noNR,
}

// barring makes Subscriber-Status, and what is barred when something is: with service granted that is left out, and what was
// barred before is no longer (7.3.29).
func barring(v view) []diameter.AVP {
	packet, home := subscriber.BarringBits(v.Barring)
	if packet|home == 0 {
		return []diameter.AVP{subscriberStatus.Unsigned(serviceGranted)}
	}
	all := []diameter.AVP{subscriberStatus.Unsigned(serviceBarred)}
	if packet != 0 {
		all = append(all, operatorBarring.Unsigned(packet))
	}
	if home != 0 {
		all = append(all, hplmnODB.Unsigned(home))
	}
	return all
}

// textAVP makes an AVP of text; none of none.
func textAVP(def *diameter.AVPDef, value string) []diameter.AVP {
	if value == "" {
		return nil
	}
	return []diameter.AVP{def.Text(value)}
}

// numberAVP makes an AVP of a number; none of 0.
func numberAVP(def *diameter.AVPDef, value uint32) []diameter.AVP {
	if value == 0 {
		return nil
	}
	return []diameter.AVP{def.Unsigned(value)}
}

// givenAVP makes an AVP of a number; none of nil.
func givenAVP[T uint32 | int32](def *diameter.AVPDef, value *T) []diameter.AVP {
	if value == nil {
		return nil
	}
	return []diameter.AVP{def.Unsigned(uint32(*value))}
}

// restrictions are the accesses that the SIM may not use, as TS 29.272 7.3.31 has them.
func restrictions(p subscriber.Profile) (bits uint32) {
	for _, r := range p.Serving.Restrictions {
		bits |= restrictionBits[r]
	}
	if len(p.RATs) == 0 {
		return bits
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

// cores are the bits of Core-Network-Restrictions, 7.3.230.
func cores(p subscriber.Profile) uint32 {
	if slices.Contains(p.Serving.Restrictions, subscriber.No5GC) {
		return no5GC
	}
	return 0
}

// adjacent makes Adjacent-Access-Restriction-Data, 7.3.187, for networks that the SIM could be handed over to: where it may be,
// it may use what it may here; where it may not be, nothing.
func adjacent(v view) []diameter.AVP {
	var all []diameter.AVP
	for _, plmn := range v.adjacent {
		bits := restrictions(v.Profile)
		if !v.MayBeIn(plmn) {
			bits = noAccess
		}
		if octets := plmn.Octets(); bits != 0 {
			all = append(all, adjacentRestriction.Group(visitedPLMNID.Octets(octets[:]), accessRestriction.Unsigned(bits)))
		}
	}
	return all
}

// cycles make eDRX-Cycle-Length, 7.3.215, one for each RAT.
func cycles(v view) []diameter.AVP {
	var all []diameter.AVP
	for _, e := range v.IoT.EDRX {
		all = append(all, edrxCycleLength.Group(ratType.Unsigned(ratTypeOf(e.RAT)), edrxCycleValue.Octets([]byte{e.Cycle})))
	}
	return all
}

// windows make Paging-Time-Window, 7.3.226, one for each operation mode. The code is in the upper four bits (7.3.228).
func windows(v view) []diameter.AVP {
	var all []diameter.AVP
	var told []uint32
	for _, e := range v.IoT.EDRX {
		if mode := e.RAT.OperationMode(); e.Window != nil && !slices.Contains(told, mode) {
			told = append(told, mode)
			all = append(all, pagingTimeWindow.Group(operationMode.Unsigned(mode), pagingWindowLength.Octets([]byte{*e.Window << 4})))
		}
	}
	return all
}

// zones make Regional-Subscription-Zone-Code, 7.3.52, of the network that the node is in. A node that does not know regional
// subscription is to let the SIM be nowhere (7.3.61).
func zones(v view) []diameter.AVP {
	if v.node.Features&featureZones == 0 {
		return nil
	}
	var all []diameter.AVP
	for _, code := range v.Serving.ZonesIn(v.node.PLMN) {
		all = append(all, zoneCode.Octets(octets(code)))
	}
	return all
}

func roaming(v view) []diameter.AVP {
	if v.node.Features&featureZones != 0 || len(v.Serving.ZonesIn(v.node.PLMN)) == 0 {
		return nil
	}
	return []diameter.AVP{roamingRestricted.Unsigned(restrictedForFeature)}
}

// usage makes UE-Usage-Type, 7.3.202, for a node that knows dedicated core networks.
func usage(v view) []diameter.AVP {
	if v.node.Features2&featureDCN == 0 {
		return nil
	}
	return givenAVP(ueUsageType, v.Serving.UsageType)
}

// resets make Reset-ID, 7.3.184, for a node that knows them.
func resets(v view) []diameter.AVP {
	if v.node.Features2&featureResetIDs == 0 {
		return nil
	}
	return resetIDs(v.Serving.ResetIDs)
}

func resetIDs(ids []string) []diameter.AVP {
	var all []diameter.AVP
	for _, id := range ids {
		all = append(all, resetID.Octets([]byte(id)))
	}
	return all
}

// trace makes Trace-Data, 7.3.63, for a node that traces.
func trace(v view) []diameter.AVP {
	t := v.Serving.Trace
	if t == nil || v.node.Features&featureTrace == 0 {
		return nil
	}
	members := []diameter.AVP{
		traceReferenceOf(*t), traceDepth.Unsigned(uint32(t.Depth)), traceNodes.Octets(octets(t.Nodes)), traceEvents.Octets(octets(t.Events)),
		traceCollector.Address(t.Collector),
	}
	if t.Interfaces != "" {
		members = append(members, traceInterfaces.Octets(octets(t.Interfaces)))
	}
	if t.OMC != "" {
		members = append(members, omcID.Octets(octets(t.OMC)))
	}
	return []diameter.AVP{traceData.Group(members...)}
}

// traceReferenceOf makes Trace-Reference, 7.3.64: network and Trace ID.
func traceReferenceOf(t subscriber.Trace) diameter.AVP {
	plmn, _ := identity.ParsePLMN(t.PLMN) // checked when it was provisioned
	reference := plmn.Octets()
	return traceReference.Octets(append(reference[:], octets(t.ID)...))
}

// octets are those of hexadecimal digits, which were checked when they were provisioned.
func octets(digits string) []byte {
	b, _ := hex.DecodeString(digits)
	return b
}

// places are the context identifiers of all APNs.
func places(v view) []uint32 {
	all := make([]uint32, len(v.APNs))
	for i := range all {
		all[i] = uint32(i + 1)
	}
	return all
}

// apns makes APN-Configuration-Profile, 7.3.34, with the APNs at those places; 1 is the default's.
func apns(v view, included uint32, ids []uint32) diameter.AVP {
	members := []diameter.AVP{contextIdentifier.Unsigned(1), allAPNsIncluded.Unsigned(included)}
	for _, id := range ids {
		a := v.APNs[id-1]
		members = append(members, apn(id, a, v.gateways[string(a.Name)]))
	}
	return apnProfile.Group(members...)
}

// apn makes APN-Configuration, 7.3.35. id is its Context-Identifier; 1 is the default's. The PDN-GW is the one that is fixed, else
// the one that was notified.
func apn(id uint32, a subscriber.APN, notified subscriber.Gateway) diameter.AVP {
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
	config = slices.Concat(config, textAVP(chargingAttributes, a.Charging), textAVP(apnOIReplacement, a.OIReplacement))
	switch {
	case !a.Gateway.IsZero():
		config = append(config, agentInfo(a.Gateway), allocationType.Unsigned(allocatedStatically))
	case !notified.IsZero():
		config = append(config, agentInfo(notified), allocationType.Unsigned(allocatedDynamically))
		if notified.Network != "" {
			config = append(config, visitedNetwork.Octets([]byte(notified.Network)))
		}
	}
	return apnConfiguration.Group(config...)
}

// agentInfo makes MIP6-Agent-Info, 7.3.45 and RFC 5447 4.2.1.
func agentInfo(g subscriber.Gateway) diameter.AVP {
	var members []diameter.AVP
	for _, ip := range []netip.Addr{g.IPv4, g.IPv6} {
		if ip.IsValid() {
			members = append(members, mipHomeAgentAddress.Address(ip))
		}
	}
	if g.Host != "" {
		members = append(members, mipHomeAgentHost.Group(diameter.DestinationRealm.Text(g.Realm), diameter.DestinationHost.Text(g.Host)))
	}
	return mip6AgentInfo.Group(members...)
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
