package s6a

import (
	"math"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
)

// Values of enumerated AVPs, by clause of TS 29.272 unless said otherwise.
const (
	serviceGranted       uint32 = 0 // Subscriber-Status, 7.3.29
	onlyPacket           uint32 = 2 // Network-Access-Mode, 7.3.21
	allAPNConfigurations uint32 = 0 // All-APN-Configurations-Included-Indicator, 7.3.33
	dynamicNotAllowed    uint32 = 0 // VPLMN-Dynamic-Address-Allowed, 7.3.38: home routed only, the PGW is ours
	preemptionEnabled    uint32 = 0 // Pre-emption-Capability and -Vulnerability, TS 29.212 5.3.46 and 5.3.47
	preemptionDisabled   uint32 = 1
)

// subscription makes Subscription-Data, TS 29.272 7.3.2.
func subscription(p subscriber.Profile) diameter.AVP {
	data := []diameter.AVP{subscriberStatus.Unsigned(serviceGranted)}
	if p.MSISDN != "" {
		data = append(data, msisdn.Octets(identity.EncodeTBCD(string(p.MSISDN))))
	}
	data = append(data, networkAccessMode.Unsigned(onlyPacket), rates(p.AMBR))
	if len(p.APNs) > 0 {
		apns := []diameter.AVP{contextIdentifier.Unsigned(1), allAPNsIncluded.Unsigned(allAPNConfigurations)}
		for i, a := range p.APNs {
			apns = append(apns, apn(uint32(i+1), a))
		}
		data = append(data, apnProfile.Group(apns...))
	}
	return subscriptionData.Group(data...)
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
	return apnConfiguration.Group(config...)
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
