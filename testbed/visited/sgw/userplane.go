package sgw

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
)

// GTP-U, TS 29.281 5.1.
const (
	// HeaderLength is the room that Uplink needs in front of a packet: a GTP-U header without options.
	HeaderLength = 8

	gtpuFlags       = 1<<5 | 1<<4 // version 1, protocol type GTP
	gtpuOptions     = 0x07        // E, S and PN: any of them brings four more octets
	gtpuExtension   = 0x04        // E
	gtpuEchoRequest = 1
	gtpuEchoAnswer  = 2
	gtpuErrorInd    = 26
	gtpuEndMarker   = 254
	gtpuGPDU        = 255
	gtpuIERecovery  = 14
)

// Count names something that the user plane counts.
type Count int

// What is counted, per session where one is known and always per gateway.
const (
	UplinkPackets Count = iota
	DownlinkPackets
	EndMarkers
	ErrorIndications // from a PGW-U: it does not know our TEID
	UnknownTEID      // a G-PDU or an end marker for no session of ours
	Malformed
	countKinds
)

type counter = atomic.Uint64

// Count reads a counter of the whole gateway.
func (g *Gateway) Count(c Count) uint64 { return g.counts[c].Load() }

// Count reads a counter of one session.
func (s *Session) Count(c Count) uint64 { return s.counts[c].Load() }

// Uplink sends a UE's packet to the session's PGW-U. frame has HeaderLength octets of room, then the packet; the
// room is written. The frame may be used again after the return.
func (g *Gateway) Uplink(s *Session, frame []byte) error {
	frame[0], frame[1] = gtpuFlags, gtpuGPDU
	binary.BigEndian.PutUint16(frame[2:], uint16(len(frame)-HeaderLength))
	binary.BigEndian.PutUint32(frame[4:], s.RemoteUser.TEID)
	s.counts[UplinkPackets].Add(1)
	g.counts[UplinkPackets].Add(1)
	return g.SendUser(netip.AddrPortFrom(s.RemoteUser.Address, portUser), frame)
}

// SendUser sends octets as they are from the GTP-U port: for tests of bad input.
func (g *Gateway) SendUser(to netip.AddrPort, octets []byte) error {
	_, err := g.user.WriteToUDPAddrPort(octets, to)
	// A PGW-U that is away answers with ICMP, which the socket reports here; UDP loses the packet, no more.
	if err != nil && !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("send GTP-U to %s: %w", to, err)
	}
	return nil
}

// SendControl sends octets as they are from the GTPv2-C port: for tests of bad input.
func (g *Gateway) SendControl(to netip.AddrPort, octets []byte) error {
	if _, err := g.control.WriteToUDPAddrPort(octets, to); err != nil {
		return fmt.Errorf("send GTPv2-C to %s: %w", to, err)
	}
	return nil
}

func (g *Gateway) serveUser() error {
	b := make([]byte, maxDatagram)
	for {
		n, from, err := g.user.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read S8-U: %w", err)
		}
		g.handleUser(from, b[:n])
	}
}

func (g *Gateway) handleUser(from netip.AddrPort, b []byte) {
	payload, ok := gtpuPayload(b)
	if !ok {
		g.counts[Malformed].Add(1)
		return
	}
	switch b[1] {
	case gtpuGPDU:
		g.downlink(binary.BigEndian.Uint32(b[4:]), payload)
	case gtpuEchoRequest:
		g.answerEcho(from, b)
	case gtpuEndMarker:
		g.count(binary.BigEndian.Uint32(b[4:]), EndMarkers)
	case gtpuErrorInd:
		g.counts[ErrorIndications].Add(1)
	case gtpuEchoAnswer:
	}
}

// gtpuPayload gives what stands behind the header and its extension headers.
func gtpuPayload(b []byte) ([]byte, bool) {
	if len(b) < HeaderLength || b[0]&0xf0 != gtpuFlags || int(binary.BigEndian.Uint16(b[2:]))+HeaderLength != len(b) {
		return nil, false
	}
	if b[0]&gtpuOptions == 0 {
		return b[HeaderLength:], true
	}
	at := HeaderLength + 4
	if len(b) < at {
		return nil, false
	}
	next := b[at-1]
	for b[0]&gtpuExtension != 0 && next != 0 {
		if len(b) <= at || b[at] == 0 || len(b) < at+4*int(b[at]) {
			return nil, false
		}
		at += 4 * int(b[at])
		next = b[at-1]
	}
	return b[at:], true
}

func (g *Gateway) downlink(teid uint32, packet []byte) {
	s := g.count(teid, DownlinkPackets)
	if s == nil {
		return
	}
	if deliver := s.deliver.Load(); deliver != nil {
		(*deliver)(packet)
	}
}

// count adds one for the session with that TEID and gives it, or nil when there is none.
func (g *Gateway) count(teid uint32, c Count) *Session {
	found, ok := g.tunnels.Load(teid)
	s, ok2 := found.(*Session)
	if !ok || !ok2 {
		g.counts[UnknownTEID].Add(1)
		return nil
	}
	g.counts[c].Add(1)
	s.counts[c].Add(1)
	return s
}

// answerEcho answers an Echo Request, TS 29.281 7.2.2: the same sequence number, and a Recovery IE that is zero.
func (g *Gateway) answerEcho(to netip.AddrPort, request []byte) {
	answer := []byte{gtpuFlags | 0x02, gtpuEchoAnswer, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, gtpuIERecovery, 0}
	if len(request) >= HeaderLength+2 && request[0]&0x02 != 0 {
		copy(answer[8:10], request[8:10])
	}
	if err := g.SendUser(to, answer); err != nil {
		g.config.Log.Warn("GTP-U echo not answered", "peer", to, "err", err)
	}
}
