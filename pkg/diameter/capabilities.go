package diameter

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

const (
	productName      = "xepc"
	firmwareRevision = 1
	ownVendor        = 0 // Vendor-Id: we have no IANA enterprise number
	readBuffer       = 8 << 10
)

// greet awaits the CER (RFC 6733 5.3) of a new connection and answers it. On success the connection is open and in
// the table of peers; its CEA is written first, whatever else is queued by then.
func (n *Node) greet(nc net.Conn, transport string) (*conn, error) {
	defer func() { <-n.greeting }()
	r := bufio.NewReaderSize(nc, readBuffer)
	if err := nc.SetDeadline(time.Now().Add(n.cfg.CapabilitiesWithin)); err != nil {
		return nil, fmt.Errorf("setting a deadline: %w", err)
	}
	b, err := readFrame(r, maxFirst)
	if err != nil {
		n.refused(nc, "no CER")
		return nil, fmt.Errorf("awaiting the CER: %w", err)
	}
	cer, err := Standard.Parse(b)
	if !cer.Request || cer.Command != CommandCapabilitiesExchange || cer.Application != ApplicationBase {
		n.refused(nc, "no CER")
		return nil, fmt.Errorf("the first message is command %d, not a CER", cer.Command)
	}
	peer := Peer{Host: cer.Text(OriginHost), Realm: cer.Text(OriginRealm), Address: remoteAddress(nc), Transport: transport}
	if err == nil {
		err = n.checkCER(cer, peer)
	}
	if err == nil {
		err = checkCertificate(nc, peer.Host)
	}
	config, _ := n.cfg.allowed(peer.Host, peer.Realm, peer.Address.Addr())
	if err == nil {
		if err := n.elect(peer.Host); err != nil {
			n.refused(nc, "election")
			return nil, fmt.Errorf("CER of %q: %w", peer.Host, err)
		}
	}
	var c *conn
	if err == nil {
		c = newConn(n, nc, r, peer, config)
		err = n.enter(c)
	}
	cea := n.answer(cer, n.capabilities(localAddress(nc)), err)
	_, code := cea.result()
	n.stats.request(CommandName(cer.Header), strangerLabel(config, err), resultLabel(0, code), 0)
	if _, werr := nc.Write(cea.Append(nil)); werr != nil && err == nil {
		n.leave(c)
		return nil, fmt.Errorf("writing the CEA to %s: %w", peer.Host, werr)
	}
	if err != nil {
		n.refused(nc, "CER")
		return nil, fmt.Errorf("CER of %q, realm %q: %w", peer.Host, peer.Realm, err)
	}
	if err := nc.SetDeadline(time.Time{}); err != nil {
		n.leave(c)
		return nil, fmt.Errorf("clearing the deadline: %w", err)
	}
	return c, nil
}

// strangerLabel is the peer label of a CER's counter: strangers are one.
func strangerLabel(p PeerConfig, err error) string {
	if err != nil {
		return stranger
	}
	return p.label()
}

func (n *Node) checkCER(cer Message, peer Peer) error {
	if err := Standard.Command(ApplicationBase, CommandCapabilitiesExchange).checkRequest(cer); err != nil {
		return err
	}
	config, ok := n.cfg.allowed(peer.Host, peer.Realm, peer.Address.Addr())
	if !ok {
		return &Error{Code: UnknownPeer, Err: fmt.Errorf("not among the peers of the configuration")}
	}
	if config.TLS && peer.Transport != "tls" {
		return &Error{Code: NoCommonSecurity, Err: fmt.Errorf("the peer is to come over TLS")}
	}
	if !n.shares(cer) {
		return &Error{Code: NoCommonApplication, Err: fmt.Errorf("no application in common")}
	}
	if !acceptsClear(cer) {
		return &Error{Code: NoCommonSecurity, Err: fmt.Errorf("the peer asks for inband TLS")}
	}
	return nil
}

// shares says whether the peer supports an application of ours, or relays all.
func (n *Node) shares(cer Message) bool {
	ids := slices.Clone(cer.AVPs)
	for _, a := range cer.AVPs {
		if a.Is(VendorSpecificApplicationID) {
			ids = append(ids, a.Members...)
		}
	}
	return slices.ContainsFunc(ids, func(a AVP) bool {
		if !a.Is(AuthApplicationID) {
			return false
		}
		_, ours := n.apps[a.Unsigned()]
		return ours || a.Unsigned() == ApplicationRelay
	})
}

// acceptsClear says whether the peer accepts NO_INBAND_SECURITY, which it also does by saying nothing, RFC 6733 6.10.
func acceptsClear(cer Message) bool {
	named := false
	for _, a := range cer.AVPs {
		if a.Is(InbandSecurityID) {
			if a.Unsigned() == 0 {
				return true
			}
			named = true
		}
	}
	return !named
}

// capabilities are the AVPs of our CEA that follow Origin-Realm.
func (n *Node) capabilities(local netip.Addr) []AVP {
	avps := []AVP{
		HostIPAddress.Address(local), VendorID.Unsigned(ownVendor), ProductName.Text(productName),
		OriginStateID.Unsigned(n.stateID),
	}
	var vendors []uint32
	var applications []AVP
	for _, id := range sortedKeys(n.apps) {
		vendor := Standard.applications[id]
		if !slices.Contains(vendors, vendor) && vendor != 0 {
			vendors = append(vendors, vendor)
		}
		applications = append(applications, VendorSpecificApplicationID.Group(VendorID.Unsigned(vendor), AuthApplicationID.Unsigned(id)))
	}
	for _, v := range vendors {
		avps = append(avps, SupportedVendorID.Unsigned(v))
	}
	avps = append(avps, applications...)
	revision := Standard.AVP("Firmware-Revision")
	return append(avps, revision.Unsigned(firmwareRevision))
}

func sortedKeys[V any](m map[uint32]V) []uint32 {
	keys := make([]uint32, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func localAddress(nc net.Conn) netip.Addr {
	if a, ok := nc.LocalAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.IPv4Unspecified()
}
