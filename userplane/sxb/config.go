package sxb

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/fteid"
	"github.com/xepc/xepc/userplane/session"
)

// Config is what the edge is made with.
type Config struct {
	NodeID   pfcp.NodeID
	Endpoint pfcp.EndpointConfig // NodeID and RecoveryTimeStamp are set by Open

	Slices    []Slice
	Rest      time.Duration // of a released TEID's slot before it is used again
	Instances session.Instances
	Limits    session.Limits // of one session

	GBRCapacity pfcp.BitRate // that sessions may be guaranteed in all, kbit/s; 0: without end

	MaxPeers           int // associations
	MaxSessionsPerPeer int
	Shards             int // goroutines that own sessions
	Queue              int // requests that may wait for a shard

	Peers         []Peer // what is set for single control planes
	AllowUnlisted bool   // associations with control planes that Peers does not name
	Unlisted      Peer   // the settings of those; Address is ignored

	HeartbeatInterval time.Duration // silence of a peer before we ask
	SetupRetry        time.Duration // between attempts to associate with a peer that has Initiate set
	ReleaseLost       time.Duration // after this long without sign of life a peer's sessions go; 0: they stay
	ReportRetry       time.Duration // between attempts to have usage reports confirmed
	Poll              time.Duration // how often what a session's packets do is looked at, where a URR depends on it
	ReplayLifetime    time.Duration // how long the answer of a request given before a restart answers its duplicate
}

// Slice is a GTP-U service address with the TEIDs behind it.
type Slice struct {
	Address netip.Addr
	Slots   int // a power of two
}

// Peer holds the settings of one control plane.
type Peer struct {
	Address            netip.Addr
	Port               uint16 // where it takes requests
	Initiate           bool   // we set the association up; otherwise we wait for it to
	AssociateOnUnknown bool   // we try to when it asks for a session without one: Open5GS never would
	AcceptCPFTEID      bool   // it may choose F-TEIDs although we announce FTUP; the standard's cause is 71
	RestartOnHeartbeat bool   // another Recovery Time Stamp in a heartbeat means a restart; pfcpsim's changes all the time
}

// Port is where PFCP entities take requests, TS 29.244 6.4 and 7.2.
const Port = 8805

// DefaultConfig returns what suits a node of one slice; NodeID, Endpoint.Listen, Slices and Instances are the
// caller's.
func DefaultConfig() Config {
	return Config{
		Endpoint:           pfcp.DefaultEndpointConfig(),
		Rest:               fteid.Rest,
		Limits:             session.DefaultLimits(),
		MaxPeers:           64,
		MaxSessionsPerPeer: 1 << 20,
		Shards:             4,
		Queue:              4096,
		AllowUnlisted:      true,
		Unlisted:           Peer{Port: Port, AssociateOnUnknown: true},
		HeartbeatInterval:  10 * time.Second,
		SetupRetry:         5 * time.Second,
		ReportRetry:        10 * time.Second,
		Poll:               time.Second,
		ReplayLifetime:     30 * time.Second,
	}
}

// Validate lists every fault, each beginning with the name of what is wrong.
func (c Config) Validate() error {
	var faults []error
	fault := func(key, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if c.NodeID == (pfcp.NodeID{}) {
		fault("node_id", "missing")
	}
	if a := c.Endpoint.Listen.Addr(); !a.Is4() || a.IsUnspecified() {
		fault("address", "%v is no IPv4 address of this host: it goes into every F-SEID", a)
	}
	if len(c.Slices) == 0 {
		fault("slices", "none")
	}
	for i, s := range c.Slices {
		if _, err := fteid.New(s.Slots, c.Rest, 0, time.Time{}); err != nil {
			fault(fmt.Sprintf("slices[%d]", i), "%v", err)
		}
	}
	for _, n := range []struct {
		key   string
		value int64
	}{
		{"max_peers", int64(c.MaxPeers)},
		{"max_sessions_per_peer", int64(c.MaxSessionsPerPeer)},
		{"shards", int64(c.Shards)},
		{"queue", int64(c.Queue)},
		{"heartbeat_interval", int64(c.HeartbeatInterval)},
		{"setup_retry", int64(c.SetupRetry)},
		{"report_retry", int64(c.ReportRetry)},
		{"usage_poll", int64(c.Poll)},
		{"replay_lifetime", int64(c.ReplayLifetime)},
	} {
		if n.value <= 0 {
			fault(n.key, "must be above 0")
		}
	}
	return errors.Join(faults...)
}

// setting returns what is configured for the control plane at addr, and whether it may associate.
func (c *Config) setting(addr netip.Addr) (Peer, bool) {
	for _, p := range c.Peers {
		if p.Address == addr {
			if p.Port == 0 {
				p.Port = Port
			}
			return p, true
		}
	}
	p := c.Unlisted
	p.Address, p.Initiate = addr, false
	if p.Port == 0 {
		p.Port = Port
	}
	return p, c.AllowUnlisted
}
