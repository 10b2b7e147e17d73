package s6a

import (
	"context"

	"github.com/xepc/xepc/pkg/diameter"
)

// Bits of PUA-Flags, TS 29.272 7.3.48.
const (
	puaFreezeMTMSI uint32 = 1 << 0
	puaFreezePTMSI uint32 = 1 << 1
)

// purgeUE answers a PUR, TS 29.272 5.2.1.3: only the node where the SIM is registered purges it. Another one is
// answered success without the flags, and changes nothing.
func (s *Server) purgeUE(ctx context.Context, req diameter.Request) ([]diameter.AVP, error) {
	imsi, err := parseUser(req)
	if err != nil {
		return nil, err
	}
	host := req.Text(diameter.OriginHost)
	mme, sgsn, err := s.store.Purge(ctx, imsi, host)
	if err != nil {
		return nil, asAnswer(err, tryElsewhere())
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
