package main

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/xepc/xepc/controlplane/s8"
	"github.com/xepc/xepc/pkg/identity"
	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/pkg/pfcp"
)

// nodeView is a PGW-U as people see it.
type nodeView struct {
	Name              string     `json:"name"`
	Address           string     `json:"address"`
	NodeID            string     `json:"node_id,omitempty"`
	State             string     `json:"state"`
	Reason            string     `json:"reason,omitempty"`
	Sessions          int        `json:"sessions"`
	Features          []string   `json:"features"`
	RecoveryTimeStamp uint32     `json:"recovery_time_stamp,omitempty"` // seconds since 1900
	LastHeartbeat     *time.Time `json:"last_heartbeat,omitempty"`
}

// poolView is a chunk of a pool as people see it.
type poolView struct {
	Pool    string `json:"pool"`
	Prefix  string `json:"prefix"`
	Node    string `json:"node"`
	Static  bool   `json:"static"`
	Size    int    `json:"size"`
	Used    int    `json:"used"`
	Resting int    `json:"resting"`
	Free    int    `json:"free"`
}

func (p *pgwc) handle(n *node.Node) {
	n.Handle("GET /sessions", p.sessions)
	n.Handle("GET /nodes", func(*http.Request) (any, error) { return p.nodes(), nil })
	n.Handle("GET /pools", func(*http.Request) (any, error) { return p.pools(), nil })
}

func (p *pgwc) sessions(r *http.Request) (any, error) {
	var filter s8.Filter
	var err error
	query := r.URL.Query()
	if v := query.Get("imsi"); v != "" {
		if filter.IMSI, err = identity.ParseIMSI(v); err != nil {
			return nil, node.Refuse(http.StatusBadRequest, "%v", err)
		}
	}
	if v := query.Get("apn"); v != "" {
		if filter.APN, err = identity.ParseAPN(v); err != nil {
			return nil, node.Refuse(http.StatusBadRequest, "%v", err)
		}
	}
	if v := query.Get("ue"); v != "" {
		if filter.UEAddress, err = netip.ParseAddr(v); err != nil {
			return nil, node.Refuse(http.StatusBadRequest, "%v", err)
		}
	}
	all, err := p.s8.Sessions(r.Context(), filter)
	if all == nil {
		all = []s8.Session{}
	}
	return all, err
}

func (p *pgwc) nodes() []nodeView {
	load := p.s8.NodeLoad()
	views := []nodeView{}
	for _, n := range p.up.Nodes() {
		v := nodeView{
			Name: n.Name, Address: n.Address.String(), State: n.State.String(), Reason: n.Reason,
			Sessions: load[n.Name], Features: features(n.Features), RecoveryTimeStamp: uint32(n.RecoveryTimeStamp.Value),
		}
		if n.NodeID != (pfcp.NodeID{}) {
			v.NodeID = n.NodeID.String()
		}
		if !n.LastHeartbeat.IsZero() {
			v.LastHeartbeat = &n.LastHeartbeat
		}
		views = append(views, v)
	}
	return views
}

// features names the UP function features that this node makes use of, TS 29.244 8.2.25.
func features(f pfcp.UPFunctionFeatures) []string {
	names := []string{}
	if f&pfcp.FeatureFTUP != 0 {
		names = append(names, "ftup")
	}
	if f&pfcp.FeatureEMPU != 0 {
		names = append(names, "empu")
	}
	return names
}

func (p *pgwc) pools() []poolView {
	views := []poolView{}
	for _, u := range p.s8.PoolUsage() {
		views = append(views, poolView{
			Pool: u.Pool, Prefix: u.Prefix.String(), Node: u.Node, Static: u.Static,
			Size: u.Size, Used: u.Used, Resting: u.Resting, Free: u.Size - u.Used - u.Resting,
		})
	}
	return views
}
