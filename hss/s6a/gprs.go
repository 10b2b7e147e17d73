package s6a

import (
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
)

// PDP types, TS 29.002 17.7.1: organisation IETF, number.
var (
	pdpIPv4   = []byte{0xf1, 0x21}
	pdpIPv6   = []byte{0xf1, 0x57}
	pdpIPv4v6 = []byte{0xf1, 0x8d}
)

// bestEffort is QoS-Subscribed, octets 3 to 5 of TS 24.008 10.5.6.5: delay class 4, reliability class 3; peak throughput
// class 9, precedence normal; mean throughput best effort. The AMBR says the rates.
var bestEffort = []byte{0x23, 0x92, 0x1f}

// gprs makes GPRS-Subscription-Data, TS 29.272 7.3.91: a PDP context for each APN, under the same context identifier.
func gprs(p subscriber.Profile) diameter.AVP {
	members := []diameter.AVP{completeDataList.Unsigned(allAPNConfigurations)} // 0: all PDP contexts are included
	for i, a := range p.APNs {
		members = append(members, pdp(uint32(i+1), a))
	}
	return gprsSubscription.Group(members...)
}

// pdp makes PDP-Context, 7.3.93. A dual-stack APN is PDP-Type IPv4 with Ext-PDP-Type IPv4v6, which an SGSN that does not
// know it leaves aside.
func pdp(id uint32, a subscriber.APN) diameter.AVP {
	c := []diameter.AVP{contextIdentifier.Unsigned(id)}
	switch a.PDNType {
	case subscriber.IPv6:
		c = append(c, pdpTypeAVP.Octets(pdpIPv6))
		if a.StaticIPv6.IsValid() {
			c = append(c, pdpAddress.Address(a.StaticIPv6))
		}
	case subscriber.IPv4, subscriber.IPv4v6:
		c = append(c, pdpTypeAVP.Octets(pdpIPv4))
		if a.StaticIPv4.IsValid() {
			c = append(c, pdpAddress.Address(a.StaticIPv4))
		}
	}
	c = append(c, qosSubscribed.Octets(bestEffort), vplmnDynamic.Unsigned(dynamicNotAllowed), serviceSelection.Text(string(a.Name)))
	c = append(c, textAVP(chargingAttributes, a.Charging)...)
	if a.PDNType == subscriber.IPv4v6 {
		c = append(c, extPDPType.Octets(pdpIPv4v6))
		if a.StaticIPv6.IsValid() {
			c = append(c, extPDPAddress.Address(a.StaticIPv6))
		}
	}
	return pdpContext.Group(append(append(c, rates(a.AMBR)), textAVP(apnOIReplacement, a.OIReplacement)...)...)
}
