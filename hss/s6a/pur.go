package s6a

import (
	"context"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/diameter"
)

// Bits of PUA-Flags, TS 29.272 7.3.48.
const (
	puaFreezeMTMSI uint32 = 1 << 0
	puaFreezePTMSI uint32 = 1 << 1
)

// Bits of PUR-Flags, TS 29.272 7.3.149.
const (
	purMME  uint32 = 1 << 0
	purSGSN uint32 = 1 << 1
)

// purgeUE answers a PUR, TS 29.272 5.2.1.3: only the node where the SIM is registered purges it. Another one is
// answered success without the flags, and changes nothing.
func (s *Server) purgeUE(ctx context.Context, req diameter.Request) ([]diameter.AVP, error) {
	imsi, err := parseUser(req)
	if err != nil {
		return nil, err
	}
	host := req.Text(diameter.OriginHost)
	both := []subscriber.Side{subscriber.MME, subscriber.SGSN}
	if flags, ok := req.First(purFlags); ok && flags.Unsigned()&(purMME|purSGSN) != 0 { // a combined node; older ones leave it out
		both = nil
		if flags.Unsigned()&purMME != 0 {
			both = append(both, subscriber.MME)
		}
		if flags.Unsigned()&purSGSN != 0 {
			both = append(both, subscriber.SGSN)
		}
	}
	again, mme, sgsn, err := s.workedOn(ctx, imsi, req)
	if err == nil && !again {
		mme, sgsn, err = s.store.Purge(ctx, imsi, host, requestName(req), both...)
	}
	if err != nil {
		return nil, s.asAnswer(err, req.Text(diameter.OriginRealm), tryElsewhere())
	}
	if !again && (mme || sgsn) {
		s.saw(ctx, req)
	}
	var flags uint32
	if mme {
		flags |= puaFreezeMTMSI
	}
	if sgsn {
		flags |= puaFreezePTMSI
	}
	s.log.Debug("purged", "imsi", imsi, "host", host, "mme", mme, "sgsn", sgsn)
	return append(supported(req), puaFlags.Unsigned(flags)), nil
}
