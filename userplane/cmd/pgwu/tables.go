package main

import (
	"cmp"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/datapath"
	"github.com/xepc/xepc/userplane/session"
)

// tables are the sessions with what their entries have counted. The daemon makes them from its memory, and the
// command line, while the daemon is down, from journal and pinned maps; the rows are the same.
type tables struct {
	sessions []session.Session // in the order of their SEIDs
	entries  map[pfcp.SEID][]datapath.EntryState
	peers    map[uint32]string // Node ID by association
}

// newTables joins sessions and entries. With orphans, entries whose session is not among them make one of what the
// data path knows; those are all when the journal is gone.
func newTables(sessions []session.Session, entries iter.Seq[datapath.EntryState], peers map[uint32]string, orphans bool) tables {
	t := tables{sessions: sessions, entries: map[pfcp.SEID][]datapath.EntryState{}, peers: peers}
	known := make(map[pfcp.SEID]bool, len(sessions))
	for _, s := range sessions {
		known[s.SEID] = true
	}
	for e := range entries {
		seid := e.Origin.SEID
		if known[seid] || orphans {
			t.entries[seid] = append(t.entries[seid], e)
		}
	}
	for seid, all := range t.entries {
		if !known[seid] {
			t.sessions = append(t.sessions, sessionOf(seid, all))
		}
	}
	slices.SortFunc(t.sessions, func(a, b session.Session) int { return cmp.Compare(a.SEID, b.SEID) })
	return t
}

// outerTo is the Outer Header Creation of a tunnel.
func outerTo(remote netip.Addr, teid pfcp.TEID) pfcp.OuterHeaderCreation {
	if remote.Is4() {
		return pfcp.OuterHeaderCreation{Description: pfcp.CreateGTPUUDPIPv4, TEID: teid, IPv4: remote}
	}
	return pfcp.OuterHeaderCreation{Description: pfcp.CreateGTPUUDPIPv6, TEID: teid, IPv6: remote}
}

// sessionOf is what entries tell of their session.
func sessionOf(seid pfcp.SEID, entries []datapath.EntryState) session.Session {
	s := session.Session{SEID: seid}
	for i := range entries {
		for _, r := range entries[i].Rules {
			p, f := rulesOf(&entries[i].Key, r)
			if !slices.ContainsFunc(s.PDRs, func(o session.PDR) bool { return o.ID == p.ID }) {
				s.PDRs = append(s.PDRs, p)
			}
			if !slices.ContainsFunc(s.FARs, func(o session.FAR) bool { return o.ID == f.ID }) {
				s.FARs = append(s.FARs, f)
			}
			if p.Local.IsValid() {
				s.Slice = p.Local
			}
		}
	}
	slices.SortFunc(s.PDRs, func(a, b session.PDR) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.FARs, func(a, b session.FAR) int { return cmp.Compare(a.ID, b.ID) })
	return s
}

// rulesOf is what a rule of an entry tells of its PDR and FAR.
func rulesOf(key *session.Key, r *session.Rule) (session.PDR, session.FAR) {
	p := session.PDR{ID: r.Origin.PDRID, Precedence: r.Origin.Precedence, FARID: r.Origin.FARID}
	f := session.FAR{ID: r.Origin.FARID, Action: pfcp.ActionForward}
	if r.Action == session.ActionDrop {
		f.Action = pfcp.ActionDrop
	}
	if key.Direction == session.Uplink {
		p.Source, p.Local, p.TEID = pfcp.InterfaceAccess, key.Local, key.TEID
		for _, source := range r.Sources {
			setUE(&p, source)
		}
		f.Destination, f.Instance = pfcp.Some(pfcp.InterfaceCore), r.Instance
	} else {
		p.Source, p.Instance = pfcp.InterfaceCore, key.Instance
		setUE(&p, key.UE)
		f.Destination = pfcp.Some(pfcp.InterfaceAccess)
		if r.Remote.IsValid() {
			f.Outer = pfcp.Some(outerTo(r.Remote, r.RemoteTEID))
		}
	}
	if r.Origin.QERID.Present {
		p.QERIDs = []pfcp.QERID{r.Origin.QERID.Value}
	}
	if r.Origin.URRID.Present {
		p.URRIDs = []pfcp.URRID{r.Origin.URRID.Value}
	}
	return p, f
}

// setUE gives a PDR a UE address, unless it has one of that family.
func setUE(p *session.PDR, ue netip.Prefix) {
	switch {
	case ue.Addr().Is4() && !p.UE.IsValid():
		p.UE = ue.Addr()
	case ue.Addr().Is6() && !p.UE6.IsValid():
		p.UE6 = ue
	}
}

// hexID is an identifier of up to 64 bits; a JSON number would lose the low ones.
type hexID string

func hexSEID(id pfcp.SEID) hexID { return hexID(fmt.Sprintf("%#x", uint64(id))) }

func hexTEID(id pfcp.TEID) hexID {
	if id == 0 {
		return ""
	}
	return hexID(fmt.Sprintf("%#08x", uint32(id)))
}

// text is an address, or "" for none.
func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// ueText is the IPv4 address and the IPv6 prefix of a UE.
func ueText(ue netip.Addr, ue6 netip.Prefix) string {
	switch {
	case !ue6.IsValid():
		return text(ue)
	case !ue.IsValid():
		return ue6.String()
	}
	return ue.String() + "," + ue6.String()
}

// texts are those of an address of each family.
func texts(ipv4, ipv6 netip.Addr) string {
	if ipv4.IsValid() && ipv6.IsValid() {
		return text(ipv4) + "," + text(ipv6)
	}
	return text(ipv4) + text(ipv6)
}

// SessionRow is a PFCP session as people see it.
type SessionRow struct {
	SEID            hexID   `json:"seid"`
	CPSEID          hexID   `json:"cp_seid"`
	CPAddress       string  `json:"cp_address"`
	Peer            string  `json:"peer"`
	UE              string  `json:"ue"`
	Slice           string  `json:"slice"`
	TEIDs           []hexID `json:"teids"`
	PDRs            int     `json:"pdrs"`
	FARs            int     `json:"fars"`
	QERs            int     `json:"qers"`
	URRs            int     `json:"urrs"`
	Modifications   uint32  `json:"modifications"`
	UplinkPackets   uint64  `json:"uplink_packets"`
	UplinkOctets    uint64  `json:"uplink_octets"`
	DownlinkPackets uint64  `json:"downlink_packets"`
	DownlinkOctets  uint64  `json:"downlink_octets"`
}

// PDRRow is a PDR with what the rules that it compiled to have counted.
type PDRRow struct {
	SEID            hexID           `json:"seid"`
	PDR             pfcp.PDRID      `json:"pdr"`
	Precedence      pfcp.Precedence `json:"precedence"`
	Source          string          `json:"source_interface"`
	Local           string          `json:"local"`
	TEID            hexID           `json:"teid"`
	NetworkInstance string          `json:"network_instance"`
	UE              string          `json:"ue"`
	FAR             pfcp.FARID      `json:"far"`
	QERs            []pfcp.QERID    `json:"qers"`
	URRs            []pfcp.URRID    `json:"urrs"`
	InDataPath      bool            `json:"in_data_path"` // false: another PDR with the same key comes first
	Packets         uint64          `json:"packets"`
	Octets          uint64          `json:"octets"`
}

// FARRow is a FAR with what the rules that use it have counted.
type FARRow struct {
	SEID            hexID      `json:"seid"`
	FAR             pfcp.FARID `json:"far"`
	Action          string     `json:"action"`
	Destination     string     `json:"destination_interface"`
	NetworkInstance string     `json:"network_instance"`
	Remote          string     `json:"remote"`
	RemoteTEID      hexID      `json:"remote_teid"`
	Redirect        string     `json:"redirect"` // addresses, or a URL
	Packets         uint64     `json:"packets"`
	Octets          uint64     `json:"octets"`
}

// SessionDetail is a session with its rules.
type SessionDetail struct {
	SessionRow
	Rules Rules `json:"rules"`
}

// Rules are a session's.
type Rules struct {
	PDRs []PDRRow `json:"pdrs"`
	FARs []FARRow `json:"fars"`
	QERs []QERRow `json:"qers"`
	URRs []URRRow `json:"urrs"`
}

// QERRow is a QER. An MBR of 0 does not limit.
type QERRow struct {
	QER                pfcp.QERID `json:"qer"`
	UplinkMBR          uint64     `json:"uplink_mbr_kbps"`
	DownlinkMBR        uint64     `json:"downlink_mbr_kbps"`
	UplinkGateClosed   bool       `json:"uplink_gate_closed"`
	DownlinkGateClosed bool       `json:"downlink_gate_closed"`
}

// URRRow is a URR. What it has counted since the last report is in the PDRs' counts, but for what rules counted that
// are gone.
type URRRow struct {
	URR        pfcp.URRID `json:"urr"`
	Method     string     `json:"method"`
	Reports    uint32     `json:"reports"`     // made so far
	QuotaSpent bool       `json:"quota_spent"` // or over: its packets are not forwarded until there is another
}

func (t tables) sessionRow(s *session.Session) SessionRow {
	r := SessionRow{
		SEID: hexSEID(s.SEID), CPSEID: hexSEID(s.CP.SEID), CPAddress: text(s.CP.IPv4), Peer: t.peers[s.Owner],
		UE: ueText(s.UE(), s.UE6()), Slice: text(s.Slice), TEIDs: []hexID{}, PDRs: len(s.PDRs), FARs: len(s.FARs),
		QERs: len(s.QERs), URRs: len(s.URRs), Modifications: s.Modified,
	}
	for _, f := range s.FTEIDs() {
		r.TEIDs = append(r.TEIDs, hexTEID(f.TEID))
	}
	for _, e := range t.entries[s.SEID] {
		if e.Key.Direction == session.Uplink {
			r.UplinkPackets += e.Packets
			r.UplinkOctets += e.Octets
		} else {
			r.DownlinkPackets += e.Packets
			r.DownlinkOctets += e.Octets
		}
	}
	return r
}

func (t tables) sessionRows() []SessionRow {
	rows := make([]SessionRow, len(t.sessions))
	for i := range t.sessions {
		rows[i] = t.sessionRow(&t.sessions[i])
	}
	return rows
}

func (t tables) pdrRowsOf(s *session.Session) []PDRRow {
	rows := make([]PDRRow, len(s.PDRs))
	for i, p := range s.PDRs {
		rows[i] = PDRRow{
			SEID: hexSEID(s.SEID), PDR: p.ID, Precedence: p.Precedence, Source: p.Source.String(), Local: text(p.Local),
			TEID: hexTEID(p.TEID), NetworkInstance: string(p.Instance), UE: ueText(p.UE, p.UE6), FAR: p.FARID,
			QERs: append([]pfcp.QERID{}, p.QERIDs...), URRs: append([]pfcp.URRID{}, p.URRIDs...),
		}
		u, ok := t.usage(s, func(r *session.Rule) bool { return r.Origin.PDRID == p.ID })
		rows[i].InDataPath, rows[i].Packets, rows[i].Octets = ok, u.Packets, u.Octets
	}
	return rows
}

func (t tables) pdrRows() []PDRRow {
	rows := []PDRRow{}
	for i := range t.sessions {
		rows = append(rows, t.pdrRowsOf(&t.sessions[i])...)
	}
	return rows
}

func (t tables) farRowsOf(s *session.Session) []FARRow {
	rows := make([]FARRow, len(s.FARs))
	for i, f := range s.FARs {
		rows[i] = FARRow{
			SEID: hexSEID(s.SEID), FAR: f.ID, Action: actionText(f.Action), NetworkInstance: string(f.Instance),
			Remote: texts(f.Outer.Value.IPv4, f.Outer.Value.IPv6), RemoteTEID: hexTEID(f.Outer.Value.TEID),
			Redirect: texts(f.Redirect.IPv4, f.Redirect.IPv6) + f.URL,
		}
		if f.Destination.Present {
			rows[i].Destination = f.Destination.Value.String()
		}
		u, _ := t.usage(s, func(r *session.Rule) bool { return r.Origin.FARID == f.ID })
		rows[i].Packets, rows[i].Octets = u.Packets, u.Octets
	}
	return rows
}

// usage is what those of a session's rules have counted that match; ok is false when none of them is in the data path.
func (t tables) usage(s *session.Session, match func(*session.Rule) bool) (sum session.Usage, ok bool) {
	for i := range t.entries[s.SEID] {
		u, found := t.entries[s.SEID][i].UsageOf(match)
		sum.Packets += u.Packets
		sum.Octets += u.Octets
		ok = ok || found
	}
	return sum, ok
}

func (t tables) farRows() []FARRow {
	rows := []FARRow{}
	for i := range t.sessions {
		rows = append(rows, t.farRowsOf(&t.sessions[i])...)
	}
	return rows
}

func (t tables) details() []SessionDetail {
	all := make([]SessionDetail, len(t.sessions))
	for i := range t.sessions {
		s := &t.sessions[i]
		all[i] = SessionDetail{t.sessionRow(s), Rules{
			PDRs: t.pdrRowsOf(s), FARs: t.farRowsOf(s), QERs: qerRowsOf(s), URRs: urrRowsOf(s),
		}}
	}
	return all
}

func qerRowsOf(s *session.Session) []QERRow {
	rows := make([]QERRow, len(s.QERs))
	for i, q := range s.QERs {
		rows[i] = QERRow{
			QER: q.ID, UplinkMBR: q.MBR.Value.Uplink, DownlinkMBR: q.MBR.Value.Downlink,
			UplinkGateClosed: q.Gate.UplinkClosed, DownlinkGateClosed: q.Gate.DownlinkClosed,
		}
	}
	return rows
}

func urrRowsOf(s *session.Session) []URRRow {
	rows := make([]URRRow, len(s.URRs))
	for i, u := range s.URRs {
		rows[i] = URRRow{URR: u.ID, Method: methodText(u.Method), Reports: u.Reports, QuotaSpent: u.Exhausted}
	}
	return rows
}

// methodText names the flags of Measurement Method as TS 29.244 8.2.40 does.
func methodText(m pfcp.MeasurementMethod) string {
	return flagText(m, []flagName[pfcp.MeasurementMethod]{
		{pfcp.MeasureDuration, "duration"},
		{pfcp.MeasureVolume, "volume"},
		{pfcp.MeasureEvent, "event"},
	})
}

// actionText names the flags of Apply Action as TS 29.244 8.2.26 does.
func actionText(a pfcp.ApplyAction) string {
	return flagText(a, []flagName[pfcp.ApplyAction]{
		{pfcp.ActionDrop, "DROP"},
		{pfcp.ActionForward, "FORW"},
		{pfcp.ActionBuffer, "BUFF"},
		{pfcp.ActionNotifyCP, "NOCP"},
		{pfcp.ActionDuplicate, "DUPL"},
	})
}

type flagName[T any] struct {
	bit  T
	name string
}

func flagText[T ~uint8 | ~uint16](flags T, names []flagName[T]) string {
	var set []string
	for _, flag := range names {
		if flags&flag.bit != 0 {
			set = append(set, flag.name)
		}
	}
	return strings.Join(set, "|")
}
