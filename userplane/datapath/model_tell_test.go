package datapath

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// This file is what the model knows of the messages that the program sends itself.

// tellNetwork is what the sender in a network hears of a packet that is dropped for that reason.
func (m *model) tellNetwork(why, port string, p ip, mtu int) (reason string, out []byte) {
	local := map[string]netip.Addr{"core0": nodeCore, "core1": otherCore}[port]
	if p.version == 6 {
		local = map[string]netip.Addr{"core0": nodeCore6, "core1": otherCore6}[port]
	}
	if !modelTold(why, p) {
		return why, nil
	}
	return why + "_answered", framed(p, m.macs[:6], m.macs[6:], modelMessage(m.t, why, local, p, mtu))
}

func modelMessage(t testing.TB, why string, local netip.Addr, p ip, mtu int) []byte {
	if why == "too_big" {
		return tooBig(t, local, p.packet, mtu)
	}
	return expired(t, local, p.packet)
}

// tellUE is what a UE hears of a packet, which began at that octet of the frame, that is dropped for that reason.
func (m *model) tellUE(why string, instance pfcp.NetworkInstance, p ip, at int) (reason string, out []byte) {
	local := map[pfcp.NetworkInstance]netip.Addr{"internet": nodeCore, "corp": otherCore}[instance]
	if p.version == 6 {
		local = map[pfcp.NetworkInstance]netip.Addr{"internet": nodeCore6, "corp": otherCore6}[instance]
	}
	down, known := m.byUE(instance, p.source)
	if room := map[int]int{4: 28, 6: 48}[p.version]; !local.IsValid() || !modelTold(why, p) || !known || at-room > 0xff {
		return why, nil
	}
	message := modelMessage(m.t, why, local, p, accessMTU)
	var about ip
	if p.version == 6 {
		about, _ = parseIP6(message)
	} else {
		about, _ = parseIP(message)
	}
	r := choose(down, about, message)
	if r == nil || modelFlags(r) != "" || modelOverhead[r.Remote] == 0 || r.Action == session.ActionBuffer {
		return why, nil
	}
	if r.Remote.Is6() {
		return why + "_told_ue", encapsulated6(m.t, r.Local, r.Remote, r.RemoteTEID, message, modelOuter(r))
	}
	return why + "_told_ue", encapsulated(m.t, r.Remote, r.RemoteTEID, 0, message)
}

// modelTold says whether the sender of a packet that is dropped for that reason is to be told (RFC 1122 3.2.2, RFC 4443 2.4).
func modelTold(why string, p ip) bool {
	big := why == "too_big"
	if p.version == 6 {
		return (p.total > 1280 || !big) && !p.source.IsMulticast() && !p.source.IsLinkLocalUnicast() &&
			!netip.MustParsePrefix("::/96").Contains(p.source) && !mayBeError6(p)
	}
	flags := binary.BigEndian.Uint16(p.packet[6:])
	if big && flags&0x4000 == 0 || flags&0x1fff != 0 || p.header != 20 {
		return false
	}
	if first := p.source.As4()[0]; first == 0 || first == 127 || first >= 224 {
		return false
	}
	if p.protocol != 1 {
		return true
	}
	switch p.payload[0] {
	case 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12:
		return false
	}
	return true
}

// mayBeError6 says whether a packet is an ICMPv6 error, or one cannot tell.
func mayBeError6(p ip) bool {
	next, rest := p.protocol, p.payload
	for range 4 {
		if next != 0 && next != 43 && next != 44 && next != 60 {
			break
		}
		size := 8
		if next != 44 {
			size += 8 * int(rest[1])
		}
		if next == 44 && binary.BigEndian.Uint16(rest[2:])&0xfff8 != 0 {
			return rest[0] == 58
		}
		if len(rest) < size {
			return true
		}
		next, rest = int(rest[0]), rest[size:]
		if len(rest) < 8 {
			return true
		}
	}
	if next == 0 || next == 43 || next == 44 || next == 60 {
		return true
	}
	return next == 58 && (rest[0] < 128 || rest[0] == 137)
}
