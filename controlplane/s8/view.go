package s8

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/xepc/xepc/controlplane/session"
	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/identity"
)

// Session is a PDN connection as people see it. Numbers that name something are in hexadecimal, as in captures.
type Session struct {
	IMSI            string    `json:"imsi"`
	EBI             uint8     `json:"ebi"`
	MSISDN          string    `json:"msisdn,omitempty"`
	MEI             string    `json:"mei,omitempty"`
	APN             string    `json:"apn"`
	NetworkInstance string    `json:"network_instance"`
	UEAddress       string    `json:"ue_address"`
	Static          bool      `json:"static"`
	Phase           string    `json:"phase"`
	Node            string    `json:"node"`
	RAT             string    `json:"rat"`
	ServingNetwork  string    `json:"serving_network,omitempty"`
	UserLocation    string    `json:"user_location,omitempty"` // octets of TS 29.274 8.21
	LocalTEID       string    `json:"local_teid"`              // TEID-C
	Remote          string    `json:"remote"`                  // address of the SGW, control plane
	RemoteTEID      string    `json:"remote_teid"`
	CPSEID          string    `json:"cp_seid"`
	UPSEID          string    `json:"up_seid"`
	ChargingID      uint32    `json:"charging_id"`
	AMBRUplink      uint32    `json:"ambr_uplink_kbps"`
	AMBRDownlink    uint32    `json:"ambr_downlink_kbps"`
	Since           time.Time `json:"since"`
	Bearers         []Bearer  `json:"bearers"`
}

// Bearer is an EPS bearer as people see it.
type Bearer struct {
	EBI           uint8  `json:"ebi"`
	QCI           uint8  `json:"qci"`
	PriorityLevel uint8  `json:"priority_level"`
	Local         string `json:"local"` // S8-U F-TEID: address and TEID
	Remote        string `json:"remote"`
}

// Filter says which sessions are wanted: those that fit every field that is set.
type Filter struct {
	IMSI      identity.IMSI
	APN       identity.APN
	UEAddress netip.Addr
}

func (f Filter) fits(c session.Connection) bool {
	return (f.IMSI == "" || f.IMSI == c.Key.IMSI) && (f.APN == "" || f.APN == c.APN) &&
		(!f.UEAddress.IsValid() || f.UEAddress == c.Address)
}

// Sessions lists the PDN connections that fit, by IMSI and EBI. It asks every shard, and fails when ctx ends first.
func (s *Server) Sessions(ctx context.Context, f Filter) ([]Session, error) {
	var all []Session
	for _, sh := range s.shards {
		if f.IMSI != "" && sh != s.shardOf(f.IMSI) {
			continue
		}
		answer := make(chan []Session, 1)
		sh.inbox.put(func(sh *shard) { answer <- sh.list(f) })
		select {
		case some := <-answer:
			all = append(all, some...)
		case <-ctx.Done():
			return nil, fmt.Errorf("asking the shards: %w", ctx.Err())
		}
	}
	slices.SortFunc(all, func(a, b Session) int {
		return cmp.Or(cmp.Compare(a.IMSI, b.IMSI), cmp.Compare(a.EBI, b.EBI))
	})
	return all, nil
}

func (sh *shard) list(f Filter) []Session {
	var some []Session
	for _, state := range sh.states {
		if state.Connection.Address.IsValid() && f.fits(state.Connection) {
			some = append(some, view(state))
		}
	}
	return some
}

func view(state session.State) Session {
	c := state.Connection
	v := Session{
		IMSI: string(c.Key.IMSI), EBI: uint8(c.Key.EBI), MSISDN: string(c.MSISDN.Value), MEI: c.MEI,
		APN: string(c.APN), NetworkInstance: string(c.NetworkInstance),
		UEAddress: c.Address.String(), Static: c.Static,
		Phase: state.Phase.String(), Node: c.Node, RAT: c.RAT.String(), UserLocation: hex.EncodeToString(c.UserLocation),
		LocalTEID: teid(c.Local), Remote: c.Remote.Addr().String(), RemoteTEID: teid(c.Remote.TEID),
		CPSEID: fmt.Sprintf("0x%016x", uint64(c.CPSEID)), UPSEID: fmt.Sprintf("0x%016x", uint64(c.UPSEID)),
		ChargingID: c.ChargingID, AMBRUplink: c.AMBR.Uplink, AMBRDownlink: c.AMBR.Downlink, Since: c.Since,
	}
	if c.ServingNetwork.Present {
		v.ServingNetwork = c.ServingNetwork.Value.String()
	}
	for _, b := range c.Bearers {
		local := gtpc.FTEID{TEID: gtpc.TEID(b.Local.TEID), IPv4: b.Local.IPv4, IPv6: b.Local.IPv6}
		v.Bearers = append(v.Bearers, Bearer{
			EBI: uint8(b.EBI), QCI: b.QoS.QCI, PriorityLevel: b.QoS.PriorityLevel,
			Local: fteid(local), Remote: fteid(b.Remote),
		})
	}
	return v
}

func teid(t gtpc.TEID) string { return fmt.Sprintf("0x%08x", uint32(t)) }

func fteid(f gtpc.FTEID) string {
	if !f.Addr().IsValid() {
		return ""
	}
	return f.Addr().String() + " " + teid(f.TEID)
}
