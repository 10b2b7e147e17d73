package session

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/xepc/xepc/pkg/gtpc"
)

// Protocols and containers of a PCO that are answered, TS 24.008 table 10.5.154.
const (
	pcoIPCP    uint16 = 0x8021 // RFC 1332, with the DNS options of RFC 1877
	pcoDNSIPv4 uint16 = 0x000d
	pcoMTUIPv4 uint16 = 0x0010
)

// answerPCO answers what the UE asks for, as far as the profile has it, in the order of the questions; nil when
// that is nothing.
func (p Profile) answerPCO(asked gtpc.PCO) gtpc.PCO {
	var answer gtpc.PCO
	done := map[uint16]bool{}
	for _, c := range asked {
		if done[c.ID] {
			continue
		}
		done[c.ID] = true
		switch c.ID {
		case pcoDNSIPv4:
			for _, server := range p.DNS {
				answer = append(answer, gtpc.PCOContainer{ID: pcoDNSIPv4, Data: server.AsSlice()})
			}
		case pcoMTUIPv4:
			if p.MTU != 0 {
				answer = append(answer, gtpc.PCOContainer{ID: pcoMTUIPv4, Data: binary.BigEndian.AppendUint16(nil, p.MTU)})
			}
		case pcoIPCP:
			if reply := p.answerIPCP(c.Data); reply != nil {
				answer = append(answer, gtpc.PCOContainer{ID: pcoIPCP, Data: reply})
			}
		}
	}
	return answer
}

// Codes of IPCP, RFC 1661 5, and its options that carry a DNS server, RFC 1877 1.1 and 1.3.
const (
	ipcpRequest = 1
	ipcpAck     = 2
	ipcpNak     = 3
	ipcpReject  = 4

	ipcpPrimaryDNS   = 129
	ipcpSecondaryDNS = 131
)

// answerIPCP answers a Configure-Request, RFC 1661 5: names the values that the UE is to use (Nak), else rejects
// the options that we have no value for, else agrees. RFC 1661 would reject first, but a PCO has one round only, and
// a UE that asked for two servers would then learn not even of the one there is. nil: it is no request that can be
// answered.
func (p Profile) answerIPCP(b []byte) []byte {
	if len(b) < 4 || b[0] != ipcpRequest {
		return nil
	}
	end := int(binary.BigEndian.Uint16(b[2:]))
	if end < 4 || end > len(b) {
		return nil
	}
	var rejected, better, all []byte
	for options := b[4:end]; len(options) > 0; {
		if len(options) < 2 || int(options[1]) < 2 || int(options[1]) > len(options) {
			return nil
		}
		option := options[:options[1]]
		options = options[options[1]:]
		all = append(all, option...)
		server, ok := p.serverFor(option[0])
		switch value := server.AsSlice(); {
		case !ok || len(option) != 6:
			rejected = append(rejected, option...)
		case !slices.Equal(option[2:], value):
			better = append(better, option[0], 6)
			better = append(better, value...)
		}
	}
	switch {
	case len(better) > 0:
		return ipcp(ipcpNak, b[1], better)
	case len(rejected) > 0:
		return ipcp(ipcpReject, b[1], rejected)
	}
	return ipcp(ipcpAck, b[1], all)
}

func (p Profile) serverFor(option byte) (netip.Addr, bool) {
	switch {
	case option == ipcpPrimaryDNS && len(p.DNS) > 0:
		return p.DNS[0], true
	case option == ipcpSecondaryDNS && len(p.DNS) > 1:
		return p.DNS[1], true
	}
	return netip.Addr{}, false
}

func ipcp(code, id byte, options []byte) []byte {
	b := []byte{code, id}
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(options)))
	return append(b, options...)
}
