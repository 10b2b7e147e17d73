package main

import (
	"errors"
	"time"

	"github.com/xepc/xepc/controlplane/s8"
	"github.com/xepc/xepc/controlplane/sxb"
	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/node"
)

// Config is the configuration of the PGW-C; docs/pgwc.md explains every key.
type Config struct {
	node.Config `yaml:",inline"`

	S8          S8Config      `yaml:"s8"`
	PFCP        PFCPConfig    `yaml:"pfcp"`
	StateDir    string        `yaml:"state_dir"`    // folder of the generation of session state
	Instance    uint8         `yaml:"instance"`     // of this PGW-C among those of a network: in its TEIDs and SEIDs
	MaxSessions int           `yaml:"max_sessions"` // PDN connections
	AddressRest time.Duration `yaml:"address_rest"` // of a released UE address, before it is given out again
	Nodes       []NodeConfig  `yaml:"nodes"`
	Pools       []PoolConfig  `yaml:"pools"`
	APNs        []APNConfig   `yaml:"apns"`
}

// S8Config is the GTPv2-C side.
type S8Config struct {
	Address      string        `yaml:"address"`         // one address: it stands in our F-TEIDs; port 2123 unless it has one
	Peers        []string      `yaml:"peers,omitempty"` // prefixes that are listened to; none: all
	T3           time.Duration `yaml:"t3"`              // wait before a request of ours is sent again, TS 29.274 7.6
	N3           int           `yaml:"n3"`              // how often it is sent again
	EchoInterval time.Duration `yaml:"echo_interval"`   // between Echo Requests to an SGW with sessions; at least 60s
}

// PFCPConfig is the Sxb side.
type PFCPConfig struct {
	Address           string        `yaml:"address"`            // one address: it stands in our F-SEIDs; port 8805 unless it has one
	NodeID            string        `yaml:"node_id"`            // an address or an FQDN; "": the address
	T1                time.Duration `yaml:"t1"`                 // wait before a request is sent again, TS 29.244 6.4
	N1                int           `yaml:"n1"`                 // how often it is sent again
	HeartbeatInterval time.Duration `yaml:"heartbeat_interval"` // between Heartbeat Requests to a PGW-U
	StartWait         time.Duration `yaml:"start_wait"`         // most that the start waits for the PGW-Us
}

// NodeConfig is a PGW-U.
type NodeConfig struct {
	Name    string `yaml:"name"`
	Address string `yaml:"address"` // of its PFCP; port 8805 unless it has one
}

// PoolConfig is a pool of UE addresses.
type PoolConfig struct {
	Name   string        `yaml:"name"`
	Chunks []ChunkConfig `yaml:"chunks"`
}

// ChunkConfig is a prefix of UE addresses that one PGW-U serves.
type ChunkConfig struct {
	Prefix string `yaml:"prefix"`
	Node   string `yaml:"node"`
	Static bool   `yaml:"static,omitempty"` // only for UEs whose subscription names the address
}

// APNConfig is an APN, or that part of a shared one that some SIMs or networks may use.
type APNConfig struct {
	Name            string   `yaml:"name"`
	NetworkInstance string   `yaml:"network_instance"`
	Pool            string   `yaml:"pool"`
	DNS             []string `yaml:"dns,omitempty"`           // IPv4
	MTU             uint16   `yaml:"mtu,omitempty"`           // octets; 0: not told
	AMBRUplink      uint32   `yaml:"ambr_uplink,omitempty"`   // kbit/s, the most that is granted; 0: what is asked for
	AMBRDownlink    uint32   `yaml:"ambr_downlink,omitempty"` // kbit/s
	IMSIPrefixes    []string `yaml:"imsi_prefixes,omitempty"` // SIMs admitted; none: all
	PLMNs           []string `yaml:"plmns,omitempty"`         // serving networks admitted, MCC-MNC; none: all
}

func defaultConfig() *Config {
	s8Defaults, pfcpDefaults := gtpc.DefaultEndpointConfig(), sxb.DefaultConfig()
	return &Config{
		Config:      node.DefaultConfig(nodeName),
		S8:          S8Config{T3: s8Defaults.T3, N3: s8Defaults.N3, EchoInterval: s8Defaults.EchoInterval},
		StateDir:    "/var/lib/xepc/pgwc",
		MaxSessions: s8.DefaultConfig().MaxSessions,
		AddressRest: time.Minute,
		PFCP: PFCPConfig{
			T1: time.Second, N1: pfcpDefaults.N1, // an SGW waits about 12 s: it must hear of a silent PGW-U before
			HeartbeatInterval: pfcpDefaults.HeartbeatInterval, StartWait: 3 * time.Second,
		},
	}
}

// Validate lists every fault, each beginning with its key.
func (c *Config) Validate() error {
	_, err := c.parse()
	return errors.Join(c.Config.Validate(), err)
}
