package session

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/xepc/xepc/pkg/pfcp"
)

// UE addresses that the UP function allocates, TS 29.244 5.21. All rules of a session that ask for one of the same
// pool and family get the same.

// chosen says whether a UE IP Address IE asks for one.
func chosen(ue pfcp.Opt[pfcp.UEIPAddress]) bool {
	return ue.Present && (ue.Value.ChooseIPv4 || ue.Value.ChooseIPv6)
}

// asUEIPAddress is what the control plane is told of addresses that it asked for.
func asUEIPAddress(ue netip.Addr, ue6 netip.Prefix) pfcp.UEIPAddress {
	told := pfcp.UEIPAddress{IPv4: ue}
	if ue6.IsValid() {
		told.IPv6, told.IPv6PrefixLength = ue6.Addr(), uint8(ue6.Bits())
	}
	return told
}

// prefixLength is that of an IPv6 prefix: 64, or what the IE says, or shorter by the bits that the UE may delegate,
// TS 29.244 8.2.62 and 5.14.
func prefixLength(v *pfcp.UEIPAddress) int {
	length := int(v.IPv6PrefixLength)
	if length == 0 {
		length = 64
	}
	return length - int(v.IPv6DelegationBits)
}

// network is the network instance that UE addresses of a PDR belong to: that of the PDI on the core side, that of the
// FAR on the access side.
func (m *maker) network(p *PDR, i *pfcp.PDI) pfcp.NetworkInstance {
	if p.Direction() == Downlink {
		return i.NetworkInstance.Value
	}
	if at, ok := find(m.fars, p.FARID, idOfFAR); ok {
		return m.fars[at].Instance
	}
	return ""
}

// choose gives an endpoint the addresses that it asks for.
func (m *maker) choose(e *Endpoint, v *pfcp.UEIPAddress, network pfcp.NetworkInstance, pools []string) error {
	if v.ChooseIPv4 {
		ue, err := m.address(network, pools, false)
		if err != nil {
			return err
		}
		e.UE = ue.Addr()
	}
	if v.ChooseIPv6 {
		if prefixLength(v) != 64 {
			return &pfcp.Error{
				Cause: pfcp.CauseRuleCreationFailure, Offending: pfcp.IEUEIPAddress,
				Err: fmt.Errorf("the lengths of prefixes are those of the pools, not %d", prefixLength(v)),
			}
		}
		ue, err := m.address(network, pools, true)
		if err != nil {
			return err
		}
		e.UE6 = ue
	}
	return nil
}

// address is the session's address of the pool: that which it has, or a new one. Of several pools the first that has
// the family is taken.
func (m *maker) address(network pfcp.NetworkInstance, pools []string, ipv6 bool) (netip.Prefix, error) {
	identity := ""
	if len(pools) > 0 {
		identity = pools[0]
	}
	pool, err := m.grants.Pool(network, identity, ipv6)
	for _, other := range pools[min(1, len(pools)):] {
		if err != nil {
			pool, err = m.grants.Pool(network, other, ipv6)
		}
	}
	if err != nil {
		return netip.Prefix{}, err
	}
	for _, a := range m.addresses {
		if a.Pool == pool && a.UE.Addr().Is6() == ipv6 {
			return a.UE, nil
		}
	}
	ue, err := m.grants.Take(pool, ipv6)
	if err != nil {
		return netip.Prefix{}, err
	}
	m.addresses = append(slices.Clip(m.addresses), Address{pool, ue})
	return ue, nil
}

// settleAddresses notes which addresses of pools the session has now: those that were chosen, and those of pools that
// the control plane brought, as long as a rule names them.
func (s *Session) settleAddresses(m *maker) error {
	var all []Address
	take := func(instance pfcp.NetworkInstance, ue netip.Prefix) error {
		if !ue.IsValid() || slices.ContainsFunc(all, func(a Address) bool { return a.UE == ue }) {
			return nil
		}
		if at := slices.IndexFunc(m.addresses, func(a Address) bool { return a.UE == ue }); at >= 0 {
			all = append(all, m.addresses[at])
			return nil
		}
		pool, err := m.grants.Hold(instance, ue)
		if err != nil || pool == "" {
			return err
		}
		all = append(all, Address{pool, ue})
		return nil
	}
	for i := range s.PDRs {
		p := &s.PDRs[i]
		if p.Direction() == Uplink { // may say more than the session has
			continue
		}
		if p.UE.IsValid() {
			if err := take(p.Instance, UE(p.UE)); err != nil {
				return blame(err, pfcp.RulePDR, uint32(p.ID))
			}
		}
		if err := take(p.Instance, p.UE6); err != nil {
			return blame(err, pfcp.RulePDR, uint32(p.ID))
		}
	}
	for _, e := range s.Endpoints {
		if e.UE.IsValid() {
			if err := take(e.Instance, UE(e.UE)); err != nil {
				return err
			}
		}
		if err := take(e.Instance, e.UE6); err != nil {
			return err
		}
	}
	for i := range s.PDRs { // one that only an uplink rule names until now
		p := &s.PDRs[i]
		for _, a := range m.addresses {
			if (p.UE.IsValid() && UE(p.UE) == a.UE || p.UE6 == a.UE) && !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	s.Addresses = all
	return nil
}
