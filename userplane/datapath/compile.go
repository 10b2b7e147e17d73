package datapath

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// compiled is an entry as the maps have it, but for the word, which needs the numbers of peer and instance.
type compiled struct {
	key    uint32 // as it stands in the packet: TEID or UE address
	flags  uint16
	rate   uint32 // kbit/s
	origin pgwuOrigin
}

// refuse names what of the contract the program does not do yet.
func refuse(e session.Entry) error {
	r, what := &e.Rule, ""
	switch {
	case len(e.More) > 0:
		what = "several rules behind a key"
	case len(e.Routes) > 0:
		what = "framed routes"
	case len(r.Filters) > 0:
		what = "SDF filters"
	case len(r.QFIs) > 0 || r.QFI.Present:
		what = "QFIs"
	case r.Notify || r.Action == session.ActionBuffer:
		what = "buffering"
	case r.Marking.Present:
		what = "transport level marking"
	case r.KeepHeader:
		what = "forwarding with the header"
	case r.Redirect.IsValid() || len(r.Copies) > 0:
		what = "redirection and duplicates"
	case len(r.Meters) > 0:
		what = "shared meters"
	case len(r.Cells) > 0:
		what = "usage cells"
	case e.Key.Direction == session.Downlink && e.Key.TEID != 0:
		what = "downlink by F-TEID"
	case e.Key.Direction == session.Uplink && r.Remote.IsValid():
		what = "uplink into a tunnel"
	default:
		return nil
	}
	return fmt.Errorf("%w: %s", ErrUnsupported, what)
}

func isHost4(p netip.Prefix) bool { return p.Addr().Is4() && p.IsSingleIP() }

// compile refuses what the program cannot do, with ErrUnsupported.
func compile(e session.Entry) (compiled, error) {
	c := compiled{
		flags:  uint16(pgwuEntryFlagENTRY_VALID),
		rate:   uint32(min(e.MBR, math.MaxUint32)), // 4.29 Tbit/s: no port is faster
		origin: originOf(e.Origin),
	}
	if err := refuse(e); err != nil {
		return c, err
	}
	switch e.Action {
	case session.ActionForward:
	case session.ActionDrop:
		c.flags |= uint16(pgwuEntryFlagENTRY_DROP)
	case session.ActionNoHeader:
		c.flags |= uint16(pgwuEntryFlagENTRY_NO_HEADER)
	default:
		return c, fmt.Errorf("%w: action %d", ErrUnsupported, e.Action)
	}
	if e.GateClosed {
		c.flags |= uint16(pgwuEntryFlagENTRY_GATE_CLOSED)
	}
	switch e.Key.Direction {
	case session.Uplink:
		if e.Key.TEID == 0 {
			return c, fmt.Errorf("%w: TEID 0", ErrUnsupported)
		}
		c.key = teidOnWire(e.Key.TEID)
		if len(e.Sources) > 0 {
			if source := e.Sources[0]; len(e.Sources) > 1 || !source.Addr().Is4() || !source.IsSingleIP() {
				return c, fmt.Errorf("%w: sources %v are not one IPv4 address", ErrUnsupported, e.Sources)
			}
			c.flags |= uint16(pgwuEntryFlagENTRY_CHECK_SOURCE)
		}
	case session.Downlink:
		if !isHost4(e.Key.UE) || e.Key.UE.Addr().IsUnspecified() {
			return c, fmt.Errorf("%w: UE address %v is not IPv4", ErrUnsupported, e.Key.UE)
		}
		c.key = onWire(e.Key.UE.Addr())
		if needsPeer(e) && (!e.Remote.Is4() || !e.Local.Is4()) {
			return c, fmt.Errorf("%w: tunnel from %v to %v is not IPv4", ErrUnsupported, e.Local, e.Remote)
		}
	default:
		return c, fmt.Errorf("%w: direction %d", ErrUnsupported, e.Key.Direction)
	}
	return c, nil
}

// needsPeer says whether a downlink entry's word names a peer: one that drops may have none.
func needsPeer(e session.Entry) bool {
	return e.Action == session.ActionForward || e.Remote.IsValid() && e.Local.IsValid()
}

func originOf(o session.Origin) pgwuOrigin {
	c := pgwuOrigin{
		Seid: uint64(o.SEID), PdrId: uint16(o.PDRID), FarId: uint32(o.FARID),
		QerId: uint32(o.QERID.Value), UrrId: uint32(o.URRID.Value), Precedence: uint32(o.Precedence),
	}
	if o.QERID.Present {
		c.HasQer = 1
	}
	if o.URRID.Present {
		c.HasUrr = 1
	}
	return c
}

func (c *pgwuOrigin) session() session.Origin {
	o := session.Origin{
		SEID: pfcp.SEID(c.Seid), PDRID: pfcp.PDRID(c.PdrId), FARID: pfcp.FARID(c.FarId),
		Precedence: pfcp.Precedence(c.Precedence),
	}
	if c.HasQer != 0 {
		o.QERID = pfcp.Some(pfcp.QERID(c.QerId))
	}
	if c.HasUrr != 0 {
		o.URRID = pfcp.Some(pfcp.URRID(c.UrrId))
	}
	return o
}

func actionOf(flags uint16) session.Action {
	switch {
	case flags&uint16(pgwuEntryFlagENTRY_DROP) != 0:
		return session.ActionDrop
	case flags&uint16(pgwuEntryFlagENTRY_NO_HEADER) != 0:
		return session.ActionNoHeader
	default:
		return session.ActionForward
	}
}

// outerChecksum is the ones' complement sum of the outer IPv4 header that bpf/gtpu.h writes, with total length,
// identification and checksum 0, in the byte order of the packet.
func outerChecksum(local, remote netip.Addr, tos uint8) uint16 {
	const ttl, udp = 64, 17
	header := make([]byte, 20)
	header[0], header[1], header[8], header[9] = 0x45, tos, ttl, udp
	l, r := local.As4(), remote.As4()
	copy(header[12:], l[:])
	copy(header[16:], r[:])
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.NativeEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}
