package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"

	"golang.org/x/net/netutil"

	"github.com/xepc/xepc/hss/provision"
	"github.com/xepc/xepc/hss/s6a"
	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
	"github.com/xepc/xepc/pkg/identity"
	"github.com/xepc/xepc/pkg/node"
)

// openProvisioning serves the REST API on the admin socket, and where provision.listen says.
func openProvisioning(cfg *Config, n *node.Node, records *store.Store, edge *s6a.Server, peers *diameter.Node) (*provision.Service, error) {
	var service *provision.Service
	network := provision.Network{
		Peers: peers.Peers,
		Locate: func(ctx context.Context, imsi identity.IMSI, current bool) ([]subscriber.NodeLocation, error) {
			return edge.Locate(ctx, peers, imsi, current)
		},
		Reset: edge.Reset, Equipment: edge.Equipment,
	}
	err := n.Step("open provisioning", func() (err error) {
		if service, err = provision.New(cfg.Provision, records, edge, n.Log); err != nil {
			return err
		}
		n.HandleHTTP(provision.Prefix+"/", service.Handler(provision.Socket, network))
		if cfg.Provision.Listen == "" {
			return nil
		}
		return listenREST(cfg.Provision, n, service.Handler(service.Bearer, network))
	})
	if err != nil {
		return nil, err
	}
	n.Go("provisioning", service.Run)
	return service, nil
}

const maxConnections = 1000 // of the REST API, open at once

func listenREST(cfg provision.Config, n *node.Node, h http.Handler) error {
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listening for the REST API: %w: is provision.listen free and an address of this host?", err)
	}
	l = netutil.LimitListener(l, maxConnections) // strangers cannot take the descriptors that Diameter peers need
	if cfg.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(cfg.Certificate, cfg.Key)
		if err != nil {
			_ = l.Close()
			return fmt.Errorf("reading provision.certificate and provision.key: %w", err)
		}
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	} else if host, _, _ := net.SplitHostPort(l.Addr().String()); !net.ParseIP(host).IsLoopback() {
		n.Log.Warn("the REST API has no TLS: tokens and keys of SIMs are in clear on the network", "key", "provision.certificate", "address", l.Addr().String())
	}
	n.Log.Info("REST API", "address", l.Addr().String(), "tls", cfg.Certificate != "")
	n.ServeHTTP("REST API", l, h)
	return nil
}
