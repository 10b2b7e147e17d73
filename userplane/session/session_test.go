package session

import (
	"cmp"
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/pfcp"
)

var (
	slice  = netip.MustParseAddr("10.30.1.1")
	slice6 = netip.MustParseAddr("2001:db8:30::1") // of the same slice
	only4  = netip.MustParseAddr("10.30.1.4")      // slices of one family
	only6  = netip.MustParseAddr("2001:db8:30::6")
	remote = netip.MustParseAddr("10.10.0.2")
	ue     = netip.MustParseAddr("172.16.1.7")
	cp     = pfcp.FSEID{SEID: 77, IPv4: netip.MustParseAddr("10.40.2.2")}

	internet = Instances{Known: []pfcp.NetworkInstance{"internet", "meters"}, Default: "internet"}
)

// counter gives out TEIDs 0x1001, 0x1002 … and remembers claims.
type counter struct {
	next    pfcp.TEID
	of      netip.Addr // the slice; zero: slice
	taken   []FTEID
	claimed []FTEID
	full    bool
	hosts   byte // UE addresses given out

	applications map[string][]Filter
	predefined   map[string]Predefined
}

// The pools are "internet" with 172.16.9.0/24 and 2001:db8:9::/48, and "six" with IPv6 only; both of the instance.
func (c *counter) Pool(instance pfcp.NetworkInstance, identity string, ipv6 bool) (string, error) {
	switch {
	case instance != "" && instance != "internet", identity != "" && identity != "internet" && identity != "six", identity == "six" && !ipv6:
		return "", &pfcp.Error{Cause: pfcp.CauseRuleCreationFailure, Offending: pfcp.IEUEIPAddress}
	}
	return cmp.Or(identity, "internet"), nil
}

func (c *counter) Application(id string) ([]Filter, bool) {
	f, ok := c.applications[id]
	return f, ok
}

func (c *counter) Predefined(name string) (Predefined, bool) {
	d, ok := c.predefined[name]
	return d, ok
}

func (c *counter) Take(_ string, ipv6 bool) (netip.Prefix, error) {
	if c.full {
		return netip.Prefix{}, &pfcp.Error{Cause: pfcp.CauseAllDynamicAddressesTaken}
	}
	c.hosts++
	if ipv6 {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 0, 9, 0, c.hosts}), 64), nil
	}
	return UE(netip.AddrFrom4([4]byte{172, 16, 9, c.hosts})), nil
}

func (c *counter) Hold(_ pfcp.NetworkInstance, a netip.Prefix) (string, error) {
	if netip.MustParsePrefix("172.16.9.0/24").Contains(a.Addr()) {
		return "internet", nil
	}
	return "", nil
}

func (c *counter) Slice(a netip.Addr) Slice {
	switch a {
	case slice, slice6:
		return Slice{slice, slice6}
	case only4:
		return Slice{IPv4: only4}
	case only6:
		return Slice{IPv6: only6}
	}
	return Slice{IPv4: a}
}

func (c *counter) Choose() (FTEID, error) {
	if c.full {
		return FTEID{}, &pfcp.Error{Cause: pfcp.CauseNoResourcesAvailable}
	}
	c.next++
	f := FTEID{slice, 0x1000 + c.next}
	if c.of.IsValid() {
		f.Local = c.of
	}
	c.taken = append(c.taken, f)
	return f, nil
}

func (c *counter) Claim(f FTEID) error {
	if f.Local != slice {
		return &pfcp.Error{Cause: pfcp.CauseInvalidFTEIDAllocation, Offending: pfcp.IEFTEID}
	}
	c.claimed = append(c.claimed, f)
	return nil
}

// bearer is the session of one default bearer as a PGW-C makes it; each test changes what it is about.
func bearer(change ...func(*pfcp.SessionEstablishmentRequest)) *pfcp.SessionEstablishmentRequest {
	req := &pfcp.SessionEstablishmentRequest{
		NodeID: pfcp.NodeID{FQDN: "pgwc"}, FSEID: cp,
		CreatePDRs: []pfcp.CreatePDR{
			{
				ID: 1, Precedence: 100,
				PDI: pfcp.PDI{
					SourceInterface: pfcp.InterfaceAccess,
					FTEID:           pfcp.Some(pfcp.FTEID{Choose: true, ChooseIPv4: true}),
					UEIPAddress:     pfcp.Some(pfcp.UEIPAddress{IPv4: ue}),
				},
				OuterHeaderRemoval: pfcp.Some(pfcp.RemoveGTPUUDPIPv4), FARID: pfcp.Some(pfcp.FARID(1)),
				QERIDs: []pfcp.QERID{1}, URRIDs: []pfcp.URRID{1},
			},
			{
				ID: 2, Precedence: 100,
				PDI: pfcp.PDI{
					SourceInterface: pfcp.InterfaceCore,
					NetworkInstance: pfcp.Some(pfcp.NetworkInstance("internet")),
					UEIPAddress:     pfcp.Some(pfcp.UEIPAddress{IPv4: ue, Destination: true}),
				},
				FARID: pfcp.Some(pfcp.FARID(2)), QERIDs: []pfcp.QERID{1}, URRIDs: []pfcp.URRID{1},
			},
		},
		CreateFARs: []pfcp.CreateFAR{
			{
				ID: 1, ApplyAction: pfcp.ActionForward,
				ForwardingParameters: pfcp.Some(pfcp.ForwardingParameters{
					DestinationInterface: pfcp.Some(pfcp.InterfaceCore),
					NetworkInstance:      pfcp.Some(pfcp.NetworkInstance("internet")),
				}),
			},
			{
				ID: 2, ApplyAction: pfcp.ActionForward,
				ForwardingParameters: pfcp.Some(pfcp.ForwardingParameters{
					DestinationInterface: pfcp.Some(pfcp.InterfaceAccess),
					OuterHeaderCreation: pfcp.Some(pfcp.OuterHeaderCreation{
						Description: pfcp.CreateGTPUUDPIPv4, TEID: 0xaa, IPv4: remote,
					}),
				}),
			},
		},
		CreateQERs: []pfcp.CreateQER{{ID: 1, MBR: pfcp.Some(pfcp.BitRate{Uplink: 5_000, Downlink: 10_000})}},
		CreateURRs: []pfcp.CreateURR{{ID: 1, MeasurementMethod: pfcp.MeasureVolume}},
	}
	for _, f := range change {
		f(req)
	}
	return req
}

func establish(t testing.TB, req *pfcp.SessionEstablishmentRequest) Session {
	t.Helper()
	s, _, err := Establish(req, 9, slice, DefaultLimits(), &counter{}, morning)
	require.NoError(t, err)
	return s
}

func compile(t testing.TB, s Session) Table {
	t.Helper()
	table, err := s.Compile(internet)
	require.NoError(t, err)
	return table
}

var (
	uplinkKey   = Key{Direction: Uplink, Local: slice, TEID: 0x1001}
	downlinkKey = Key{Direction: Downlink, Instance: "internet", UE: UE(ue)}
)

func bearerTable() Table {
	origin := func(pdr pfcp.PDRID, far pfcp.FARID) Origin {
		return Origin{
			SEID: 9, PDRID: pdr, FARID: far, Precedence: 100,
			QERID: pfcp.Some(pfcp.QERID(1)), URRID: pfcp.Some(pfcp.URRID(1)),
		}
	}
	return TableOf(
		Entry{
			Key: uplinkKey,
			Rule: Rule{
				Action: ActionForward, Sources: []netip.Prefix{UE(ue)}, Instance: "internet", MBR: 5_000, Origin: origin(1, 1),
			},
		},
		Entry{
			Key: downlinkKey,
			Rule: Rule{
				Action: ActionForward, Remote: remote, RemoteTEID: 0xaa, Local: slice, MBR: 10_000, Origin: origin(2, 2),
			},
		},
	)
}

func TestABearerCompilesToOneEntryPerDirection(t *testing.T) {
	s, created, err := Establish(bearer(), 9, slice, DefaultLimits(), &counter{}, morning)
	require.NoError(t, err)
	require.Equal(t, []pfcp.CreatedPDR{{ID: 1, FTEID: pfcp.Some(pfcp.FTEID{TEID: 0x1001, IPv4: slice})}}, created.PDRs)
	require.Equal(t, []FTEID{{slice, 0x1001}}, s.FTEIDs())
	require.Equal(t, ue, s.UE())
	require.Equal(t, bearerTable(), compile(t, s))
}

// What control planes send that is not what the standard's reader would expect, and is harmless.
func TestTolerances(t *testing.T) {
	type request = *pfcp.SessionEstablishmentRequest
	for name, row := range map[string]struct {
		change func(request)
		want   func(*Table) // nil: the table of the bearer
	}{
		"SGi-LAN is the core side": {change: func(r request) {
			r.CreatePDRs[1].PDI.SourceInterface = pfcp.InterfaceSGiLAN
			r.CreateFARs[0].ForwardingParameters.Value.DestinationInterface.Value = pfcp.InterfaceSGiLAN
		}},
		"the S/D flag says nothing": {change: func(r request) {
			r.CreatePDRs[0].PDI.UEIPAddress.Value.Destination = true
			r.CreatePDRs[1].PDI.UEIPAddress.Value.Destination = false
		}},
		"a missing network instance is the default one": {change: func(r request) {
			r.CreatePDRs[1].PDI.NetworkInstance.Present = false
			r.CreatePDRs[1].PDI.NetworkInstance.Value = ""
			r.CreateFARs[0].ForwardingParameters.Value.NetworkInstance = pfcp.Some(pfcp.NetworkInstance(""))
		}},
		"outer header removal GTP-U/UDP/IP": {change: func(r request) {
			r.CreatePDRs[0].OuterHeaderRemoval.Value = pfcp.RemoveGTPUUDPIP
		}},
		"CHOOSE with neither family is IPv4": {change: func(r request) {
			r.CreatePDRs[0].PDI.FTEID.Value.ChooseIPv4 = false
		}},
		"CHOOSE with both families is the one we have": {change: func(r request) {
			r.CreatePDRs[0].PDI.FTEID.Value.ChooseIPv6 = true
		}},
		"an uplink PDR without UE address checks the session's": {change: func(r request) {
			r.CreatePDRs[0].PDI.UEIPAddress = pfcp.Opt[pfcp.UEIPAddress]{}
		}},
		"a downlink PDR without UE address uses the session's": {change: func(r request) {
			r.CreatePDRs[1].PDI.UEIPAddress = pfcp.Opt[pfcp.UEIPAddress]{}
		}},
		"an unreferenced URR, even one that could not be served": {change: func(r request) {
			r.CreateURRs = append(r.CreateURRs, pfcp.CreateURR{ID: 2, MeasurementMethod: 7, ReportingTriggers: 2})
		}},
		"a volume threshold without its trigger": {change: func(r request) {
			r.CreateURRs[0].VolumeThreshold.Total = pfcp.Some(uint64(1))
		}},
		"a BAR that no FAR needs": {change: func(r request) {
			r.CreateBARs = []pfcp.BAR{{ID: 1}}
			r.CreateFARs[1].BARID = pfcp.Some(pfcp.BARID(1))
		}},
		"SDF filters that let everything pass": {change: func(r request) {
			r.CreatePDRs[1].PDI.SDFFilters = []pfcp.SDFFilter{
				{}, {FlowDescription: "permit out ip from any to assigned"}, {FlowDescription: "Permit out IP from any to any"},
			}
		}},
		"a free5GC downlink FAR before the access side is known drops under its own reason": {
			change: func(r request) {
				r.CreateFARs[1].ForwardingParameters.Value.OuterHeaderCreation = pfcp.Opt[pfcp.OuterHeaderCreation]{}
			},
			want: func(t *Table) {
				e := t.Find(downlinkKey)
				e.Action, e.Remote, e.RemoteTEID, e.Local = ActionNoHeader, netip.Addr{}, 0, netip.Addr{}
			},
		},
		"a pfcpsim DROP FAR with parameters of zeros": {
			change: func(r request) {
				r.CreateFARs[1].ApplyAction = pfcp.ActionDrop
				r.CreateFARs[1].ForwardingParameters.Value.OuterHeaderCreation.Value = pfcp.OuterHeaderCreation{
					Description: pfcp.CreateGTPUUDPIPv4, IPv4: netip.IPv4Unspecified(),
				}
			},
			want: func(t *Table) {
				e := t.Find(downlinkKey)
				e.Action, e.Remote, e.RemoteTEID, e.Local = ActionDrop, netip.Addr{}, 0, netip.Addr{}
			},
		},
		"QER 0 is a QER, and one without MBR does not limit": {
			change: func(r request) {
				r.CreateQERs = []pfcp.CreateQER{
					{ID: 0, MBR: pfcp.Some(pfcp.BitRate{Uplink: 1, Downlink: 2})},
					{ID: 1, QFI: pfcp.Some(uint8(0))},
				}
				for i := range r.CreatePDRs {
					r.CreatePDRs[i].QERIDs = []pfcp.QERID{1, 0}
				}
			},
			want: func(t *Table) {
				for i := range *t {
					e := &(*t)[i]
					e.MBR = uint64(e.Key.Direction) + 1
					e.Origin.QERID = pfcp.Some(pfcp.QERID(0))
				}
			},
		},
		"a PDR without QER is limited by nobody's": {
			change: func(r request) { r.CreatePDRs[0].QERIDs = nil },
			want: func(t *Table) {
				e := t.Find(uplinkKey)
				e.MBR, e.Origin.QERID = 0, pfcp.Opt[pfcp.QERID]{}
			},
		},
		"a closed gate": {
			change: func(r request) { r.CreateQERs[0].GateStatus.DownlinkClosed = true },
			want: func(t *Table) {
				e := t.Find(downlinkKey)
				e.GateClosed = true
			},
		},
		"of PDRs with one key the lowest precedence value wins": {
			change: func(r request) {
				r.CreatePDRs = append(r.CreatePDRs, r.CreatePDRs[1])
				r.CreatePDRs[2].ID, r.CreatePDRs[2].Precedence, r.CreatePDRs[2].QERIDs = 3, 99, nil
			},
			want: func(t *Table) {
				e := t.Find(downlinkKey)
				e.Origin.PDRID, e.Origin.Precedence, e.Origin.QERID, e.MBR = 3, 99, pfcp.Opt[pfcp.QERID]{}, 0
			},
		},
		"a restored F-TEID names the slice": {
			change: func(r request) {
				r.CreatePDRs[0].PDI.FTEID.Value = pfcp.FTEID{TEID: 0x1001, IPv4: slice}
			},
		},
		"OAI's session with only the uplink": {
			change: func(r request) { r.CreatePDRs, r.CreateFARs = r.CreatePDRs[:1], r.CreateFARs[:1] },
			want:   func(t *Table) { *t = (*t)[:1] },
		},
		"a session without any rule": {
			change: func(r request) { r.CreatePDRs = nil },
			want:   func(t *Table) { *t = Table{} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := bearerTable()
			if row.want != nil {
				row.want(&want)
			}
			require.Equal(t, want, compile(t, establish(t, bearer(row.change))))
		})
	}
}

func TestPDRsWithOneChooseIDShareAnFTEID(t *testing.T) {
	teids := &counter{}
	_, created, err := Establish(bearer(func(r *pfcp.SessionEstablishmentRequest) {
		r.CreatePDRs[0].PDI.FTEID.Value.ChooseID = pfcp.Some(uint8(5))
		second, third := r.CreatePDRs[0], r.CreatePDRs[0]
		second.ID, third.ID = 3, 4
		third.PDI.FTEID.Value.ChooseID = pfcp.Some(uint8(6))
		r.CreatePDRs = append(r.CreatePDRs, second, third)
		r.CreateQERs = nil
		for i := range r.CreatePDRs {
			r.CreatePDRs[i].QERIDs = nil
		}
	}), 9, slice, DefaultLimits(), teids, morning)
	require.NoError(t, err)
	require.Len(t, teids.taken, 2)
	got := map[pfcp.PDRID]pfcp.TEID{}
	for _, c := range created.PDRs {
		got[c.ID] = c.FTEID.Value.TEID
	}
	require.Equal(t, map[pfcp.PDRID]pfcp.TEID{1: 0x1001, 3: 0x1001, 4: 0x1002}, got)
}

// Each of these is refused, and never accepted in silence.
func sendTo(r request, far int, to pfcp.RedirectInformation) {
	r.CreateFARs[far].ForwardingParameters.Value.Redirect = pfcp.Some(to)
}

// duplicate has the first FAR duplicate so many times, and returns the parameters of the first.
func duplicate(r request, times int) *pfcp.DuplicatingParameters {
	r.CreateFARs[0].ApplyAction |= pfcp.ActionDuplicate
	for range times {
		r.CreateFARs[0].Duplicating = append(r.CreateFARs[0].Duplicating, pfcp.DuplicatingParameters{
			OuterHeaderCreation: pfcp.Some(pfcp.OuterHeaderCreation{Description: pfcp.CreateGTPUUDPIPv4, TEID: 3, IPv4: remote}),
		})
	}
	return &r.CreateFARs[0].Duplicating[0]
}

func TestRefusals(t *testing.T) {
	type request = *pfcp.SessionEstablishmentRequest
	pdr := func(id uint32) pfcp.FailedRuleID { return pfcp.FailedRuleID{Kind: pfcp.RulePDR, ID: id} }
	far := func(id uint32) pfcp.FailedRuleID { return pfcp.FailedRuleID{Kind: pfcp.RuleFAR, ID: id} }
	qer := func(id uint32) pfcp.FailedRuleID { return pfcp.FailedRuleID{Kind: pfcp.RuleQER, ID: id} }
	urr := func(id uint32) pfcp.FailedRuleID { return pfcp.FailedRuleID{Kind: pfcp.RuleURR, ID: id} }
	const creation = pfcp.CauseRuleCreationFailure
	for name, row := range map[string]struct {
		change    func(request)
		cause     pfcp.Cause
		offending uint16
		failed    pfcp.FailedRuleID
	}{
		"a PDR without FAR": {
			func(r request) { r.CreatePDRs[0].FARID = pfcp.Opt[pfcp.FARID]{} },
			pfcp.CauseConditionalIEMissing, pfcp.IEFARID, pdr(1),
		},
		"a PDR that names a FAR that is not there": {
			func(r request) { r.CreatePDRs[1].FARID.Value = 9 }, creation, pfcp.IEFARID, pdr(2),
		},
		"a PDR that names a QER that is not there": {
			func(r request) { r.CreatePDRs[1].QERIDs = []pfcp.QERID{0} }, creation, pfcp.IEQERID, pdr(2),
		},
		"a PDR that names a URR that is not there": {
			func(r request) { r.CreatePDRs[1].URRIDs = []pfcp.URRID{7} }, creation, pfcp.IEURRID, pdr(2),
		},
		"the same PDR twice": {
			func(r request) { r.CreatePDRs[1].ID = 1 }, creation, pfcp.IEPDRID, pdr(1),
		},
		"the same FAR twice": {
			func(r request) { r.CreateFARs[1].ID = 1 }, creation, pfcp.IEFARID, far(1),
		},
		"the same QER twice": {
			func(r request) { r.CreateQERs = append(r.CreateQERs, r.CreateQERs[0]) }, creation, pfcp.IEQERID, qer(1),
		},
		"the same URR twice": {
			func(r request) { r.CreateURRs = append(r.CreateURRs, r.CreateURRs[0]) }, creation, pfcp.IEURRID, urr(1),
		},
		"a reference to another SDF filter": {
			func(r request) { r.CreatePDRs[1].PDI.SDFFilters = []pfcp.SDFFilter{{FilterID: pfcp.Some(uint32(1))}} },
			creation, pfcp.IESDFFilter, pdr(2),
		},
		"a UE address to choose that no pool has": {
			func(r request) {
				r.CreatePDRs[1].PDI.UEIPAddress.Value = pfcp.UEIPAddress{ChooseIPv4: true}
				r.CreatePDRs[1].AddressPools = []string{"six"}
			},
			creation, pfcp.IEUEIPAddress, pdr(2),
		},
		"an F-TEID on the core side": {
			func(r request) { r.CreatePDRs[1].PDI.FTEID = pfcp.Some(pfcp.FTEID{Choose: true}) },
			creation, pfcp.IEFTEID, pdr(2),
		},
		"an F-TEID of two slices": {
			func(r request) { r.CreatePDRs[0].PDI.FTEID.Value = pfcp.FTEID{TEID: 1, IPv4: slice, IPv6: only6} },
			pfcp.CauseInvalidFTEIDAllocation, pfcp.IEFTEID, pdr(1),
		},
		"an F-TEID that is not at this node": {
			func(r request) { r.CreatePDRs[0].PDI.FTEID.Value = pfcp.FTEID{TEID: 1, IPv4: remote} },
			pfcp.CauseInvalidFTEIDAllocation, pfcp.IEFTEID, pdr(1),
		},
		"an F-TEID of zeros": {
			func(r request) { r.CreatePDRs[0].PDI.FTEID.Value = pfcp.FTEID{IPv4: slice} },
			pfcp.CauseInvalidFTEIDAllocation, pfcp.IEFTEID, pdr(1),
		},
		"an access PDR without F-TEID": {
			func(r request) { r.CreatePDRs[0].PDI.FTEID = pfcp.Opt[pfcp.FTEID]{} },
			pfcp.CauseConditionalIEMissing, pfcp.IEFTEID, pdr(1),
		},
		"a downlink PDR of a session without UE address": {
			func(r request) {
				r.CreatePDRs[0].PDI.UEIPAddress = pfcp.Opt[pfcp.UEIPAddress]{}
				r.CreatePDRs[1].PDI.UEIPAddress = pfcp.Opt[pfcp.UEIPAddress]{}
			},
			pfcp.CauseConditionalIEMissing, pfcp.IEUEIPAddress, pdr(2),
		},
		"an unknown network instance": {
			func(r request) { r.CreatePDRs[1].PDI.NetworkInstance.Value = "intranet" },
			creation, pfcp.IENetworkInstance, pdr(2),
		},
		"an unknown network instance to forward to": {
			func(r request) { r.CreateFARs[0].ForwardingParameters.Value.NetworkInstance.Value = "intranet" },
			creation, pfcp.IENetworkInstance, far(1),
		},
		"no outer header removal towards the core": {
			func(r request) { r.CreatePDRs[0].OuterHeaderRemoval.Present = false },
			creation, pfcp.IEOuterHeaderRemoval, pdr(1),
		},
		"a removal that is not of GTP-U": {
			func(r request) { r.CreatePDRs[0].OuterHeaderRemoval.Value = 2 }, creation, pfcp.IEOuterHeaderRemoval, pdr(1),
		},
		"buffering of packets from the UE": {
			func(r request) { r.CreateFARs[0].ApplyAction = pfcp.ActionBuffer | pfcp.ActionNotifyCP },
			creation, pfcp.IEApplyAction, far(1),
		},
		"to forward and to drop": {
			func(r request) { r.CreateFARs[1].ApplyAction = pfcp.ActionForward | pfcp.ActionDrop },
			creation, pfcp.IEApplyAction, far(2),
		},
		"no action": {
			func(r request) { r.CreateFARs[1].ApplyAction = 0 }, creation, pfcp.IEApplyAction, far(2),
		},
		"FORW without forwarding parameters": {
			func(r request) { r.CreateFARs[0].ForwardingParameters.Present = false },
			pfcp.CauseConditionalIEMissing, pfcp.IEForwardingParameters, far(1),
		},
		"uplink to the access side": {
			func(r request) { r.CreatePDRs[0].FARID.Value = 2 }, creation, pfcp.IEDestinationInterface, far(2),
		},
		"downlink to the core side": {
			func(r request) { r.CreatePDRs[1].FARID.Value = 1 }, creation, pfcp.IEDestinationInterface, far(1),
		},
		"a tunnel towards the core": {
			func(r request) {
				r.CreateFARs[0].ForwardingParameters.Value.OuterHeaderCreation = r.CreateFARs[1].ForwardingParameters.Value.OuterHeaderCreation
			},
			creation, pfcp.IEOuterHeaderCreation, far(1),
		},
		"a tunnel over IPv6 to an IPv4 address": {
			func(r request) {
				r.CreateFARs[1].ForwardingParameters.Value.OuterHeaderCreation.Value = pfcp.OuterHeaderCreation{
					Description: pfcp.CreateGTPUUDPIPv6, TEID: 1, IPv6: netip.MustParseAddr("::ffff:10.0.0.1"),
				}
			},
			creation, pfcp.IEOuterHeaderCreation, far(2),
		},
		"a tunnel over IPv6 to a multicast address": {
			func(r request) {
				r.CreateFARs[1].ForwardingParameters.Value.OuterHeaderCreation.Value = pfcp.OuterHeaderCreation{
					Description: pfcp.CreateGTPUUDPIPv6, TEID: 1, IPv6: netip.MustParseAddr("ff02::1"),
				}
			},
			creation, pfcp.IEOuterHeaderCreation, far(2),
		},
		"a tunnel to TEID 0": {
			func(r request) { r.CreateFARs[1].ForwardingParameters.Value.OuterHeaderCreation.Value.TEID = 0 },
			creation, pfcp.IEOuterHeaderCreation, far(2),
		},
		"predefined rules": {
			func(r request) { r.CreatePDRs[0].ActivatePredefinedRules = []string{"gold"} },
			creation, pfcp.IEActivatePredefinedRules, pdr(1),
		},
		"a traffic endpoint": {
			func(r request) { r.CreatePDRs[0].PDI.TrafficEndpointIDs = []pfcp.TrafficEndpointID{0} },
			creation, pfcp.IETrafficEndpointID, pdr(1),
		},
		"an application": {
			func(r request) { r.CreatePDRs[1].PDI.ApplicationID = pfcp.Some("video") },
			creation, pfcp.IEApplicationID, pdr(2),
		},
		"a redirection to a URL that is no web site's": {
			func(r request) {
				sendTo(r, 0, pfcp.RedirectInformation{Type: pfcp.RedirectURL, Server: "ftp://portal.example/"})
			},
			creation, pfcp.IERedirectInformation, far(1),
		},
		"a redirection to a URL with another header field behind it": {
			func(r request) {
				sendTo(r, 0, pfcp.RedirectInformation{Type: pfcp.RedirectURL, Server: "http://portal.example/\r\nSet-Cookie: a=b"})
			},
			creation, pfcp.IERedirectInformation, far(1),
		},
		"a redirection of downlink packets to a URL": {
			func(r request) {
				sendTo(r, 1, pfcp.RedirectInformation{Type: pfcp.RedirectURL, Server: "http://portal.example/"})
			},
			creation, pfcp.IERedirectInformation, far(2),
		},
		"a redirection to a SIP URI": {
			func(r request) { sendTo(r, 0, pfcp.RedirectInformation{Type: pfcp.RedirectSIPURI, Server: "sip:a@b"}) },
			creation, pfcp.IERedirectInformation, far(1),
		},
		"a redirection to a port, Rel-17": {
			func(r request) { sendTo(r, 0, pfcp.RedirectInformation{Type: 5}) }, creation, pfcp.IERedirectInformation, far(1),
		},
		"a redirection to no address": {
			func(r request) { sendTo(r, 0, pfcp.RedirectInformation{}) }, creation, pfcp.IERedirectInformation, far(1),
		},
		"a redirection to an address of another family": {
			func(r request) {
				sendTo(r, 0, pfcp.RedirectInformation{Type: pfcp.RedirectIPv6, Server: "192.0.2.80"})
			},
			creation, pfcp.IERedirectInformation, far(1),
		},
		"a redirection to two addresses, of which one is missing": {
			func(r request) {
				sendTo(r, 0, pfcp.RedirectInformation{Type: pfcp.RedirectIPv4v6, Server: "192.0.2.80"})
			},
			creation, pfcp.IERedirectInformation, far(1),
		},
		"a redirection of downlink packets": {
			func(r request) { sendTo(r, 1, pfcp.RedirectInformation{Server: "192.0.2.80"}) },
			creation, pfcp.IERedirectInformation, far(2),
		},
		"a redirection of what goes to the control plane": {
			func(r request) {
				toCP(r, 3)
				r.CreatePDRs[0].FARID = pfcp.Some(pfcp.FARID(3))
				sendTo(r, 2, pfcp.RedirectInformation{Server: "192.0.2.80"})
			},
			creation, pfcp.IERedirectInformation, far(3),
		},
		"DUPL without duplicating parameters": {
			func(r request) { r.CreateFARs[0].ApplyAction |= pfcp.ActionDuplicate },
			pfcp.CauseConditionalIEMissing, pfcp.IEDuplicatingParameters, far(1),
		},
		"a duplicate without tunnel": {
			func(r request) { duplicate(r, 1).OuterHeaderCreation.Present = false },
			creation, pfcp.IEOuterHeaderCreation, far(1),
		},
		"a duplicate by a policy": {
			func(r request) { duplicate(r, 1).ForwardingPolicy = pfcp.Some("x") },
			creation, pfcp.IEForwardingPolicy, far(1),
		},
		"a duplicate by a policy, of packets that are dropped": {
			func(r request) {
				duplicate(r, 1).ForwardingPolicy = pfcp.Some("x")
				r.CreateFARs[0].ApplyAction = pfcp.ActionDrop | pfcp.ActionDuplicate
			},
			creation, pfcp.IEForwardingPolicy, far(1),
		},
		"more duplicates than a packet may have": {
			func(r request) { duplicate(r, MaxCopies+1) },
			pfcp.CauseNoResourcesAvailable, pfcp.IEDuplicatingParameters, far(1),
		},
		"more filters than fit, each range of ports by itself": {
			func(r request) {
				r.CreatePDRs[0].PDI.SDFFilters = []pfcp.SDFFilter{
					{FlowDescription: "permit out 17 from any 1,3,5,7,9,11,13,15 to assigned 1,3,5,7"}, {FlowDescription: "permit out 6 from any to assigned"},
				}
			},
			pfcp.CauseNoResourcesAvailable, pfcp.IESDFFilter, pdr(1),
		},
		"more URRs of a PDR than fit": {
			func(r request) {
				for n := range pfcp.URRID(MaxCells) {
					r.CreateURRs = append(r.CreateURRs, pfcp.CreateURR{
						ID: 10 + n, MeasurementMethod: pfcp.MeasureVolume, // without a quota the data path would not know of them
						URRParameters: pfcp.URRParameters{VolumeQuota: pfcp.Volume{Total: pfcp.Some(uint64(1))}},
					})
					r.CreatePDRs[1].URRIDs = append(r.CreatePDRs[1].URRIDs, 10+n)
				}
			},
			pfcp.CauseNoResourcesAvailable, pfcp.IEURRID, pdr(2),
		},
		"more limits of a PDR than fit": {
			func(r request) {
				for n := range pfcp.QERID(MaxMeters) {
					r.CreateQERs = append(r.CreateQERs, pfcp.CreateQER{
						ID: 10 + n, MBR: pfcp.Some(pfcp.BitRate{Uplink: 1, Downlink: 1}), CorrelationID: pfcp.Some(uint32(n + 1)),
					})
					r.CreatePDRs[0].QERIDs = append(r.CreatePDRs[0].QERIDs, 10+n)
				}
				r.CreateQERs[0].CorrelationID = pfcp.Some(uint32(99))
			},
			pfcp.CauseNoResourcesAvailable, pfcp.IEQERID, pdr(1),
		},
		"a UE address of zeros": {
			func(r request) { r.CreatePDRs[1].PDI.UEIPAddress.Value.IPv4 = netip.IPv4Unspecified() },
			creation, pfcp.IEUEIPAddress, pdr(2),
		},
		"a UE prefix of zeros": {
			func(r request) {
				r.CreatePDRs[1].PDI.UEIPAddress.Value = pfcp.UEIPAddress{IPv6: netip.MustParseAddr("::1"), IPv6PrefixLength: 64}
			},
			creation, pfcp.IEUEIPAddress, pdr(2),
		},
		"a forwarding policy": {
			func(r request) { r.CreateFARs[0].ForwardingParameters.Value.ForwardingPolicy = pfcp.Some("x") },
			creation, pfcp.IEForwardingPolicy, far(1),
		},
		"header enrichment": {
			func(r request) {
				r.CreateFARs[0].ForwardingParameters.Value.HeaderEnrichments = make([]pfcp.HeaderEnrichment, 1)
			},
			creation, pfcp.IEHeaderEnrichment, far(1),
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, err := Establish(bearer(row.change), 9, slice, DefaultLimits(), &counter{}, morning)
			if err == nil {
				_, err = s.Compile(internet)
			}
			var e *pfcp.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, row.cause, e.Cause, "%v", err)
			require.Equal(t, row.offending, e.Offending, "%v", err)
			require.Equal(t, pfcp.Some(row.failed), e.FailedRule, "%v", err)
		})
	}
}

func TestLimitsAreRefusedAsNoResources(t *testing.T) {
	limits := Limits{PDRs: 2, FARs: 2, QERs: 1, URRs: 1}
	_, _, err := Establish(bearer(), 9, slice, limits, &counter{}, morning)
	require.NoError(t, err)
	for name, lower := range map[string]func(*Limits){
		"PDRs": func(l *Limits) { l.PDRs-- }, "FARs": func(l *Limits) { l.FARs-- },
		"QERs": func(l *Limits) { l.QERs-- }, "URRs": func(l *Limits) { l.URRs-- },
	} {
		l := limits
		lower(&l)
		teids := &counter{}
		_, _, err := Establish(bearer(), 9, slice, l, teids, morning)
		requireCause(t, pfcp.CauseNoResourcesAvailable, err)
		require.ErrorContains(t, err, name)
		require.Empty(t, teids.taken)
	}
	_, _, err = Establish(bearer(), 9, slice, limits, &counter{full: true}, morning)
	requireCause(t, pfcp.CauseNoResourcesAvailable, err)
}

func requireCause(t testing.TB, cause pfcp.Cause, err error) {
	t.Helper()
	var e *pfcp.Error
	require.True(t, errors.As(err, &e), "%v", err)
	require.Equal(t, cause, e.Cause, "%v", err)
}

func TestAnUnknownNetworkInstanceMayMeanTheDefault(t *testing.T) {
	s := establish(t, bearer(func(r *pfcp.SessionEstablishmentRequest) {
		r.CreatePDRs[1].PDI.NetworkInstance.Value = "intranet"
	}))
	table, err := s.Compile(Instances{Known: []pfcp.NetworkInstance{"internet"}, Default: "internet", UnknownIsDefault: true})
	require.NoError(t, err)
	require.Equal(t, bearerTable(), table)
	_, err = s.Compile(Instances{UnknownIsDefault: true})
	requireCause(t, pfcp.CauseRuleCreationFailure, err)
}
