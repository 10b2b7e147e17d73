package pfcp

import "errors"

// Flags of the User ID IE: octet 5, TS 29.244 8.2.101.
const (
	userIMSI   = 1 << 0
	userIMEI   = 1 << 1
	userMSISDN = 1 << 2
	userNAI    = 1 << 3
)

// UserID is the User ID IE (type 141), TS 29.244 8.2.101: whose session it is. Digits are as people write them; ""
// is absent. Nothing in the user plane depends on it.
type UserID struct {
	IMSI, IMEI, MSISDN string
	NAI                string // of at most 255 octets
}

// SNSSAI is the S-NSSAI IE (type 257), TS 29.244 8.2.176.
type SNSSAI struct {
	SST uint8
	SD  uint32 // 24 bits; 0xffffff: none
}

// userID reads a User ID IE. What Rel-16 added behind the NAI (SUPI, GPSI, PEI) is ignored.
func (w *walker) userID() UserID {
	var u UserID
	flags := w.u8()
	for bit, digits := range []*string{&u.IMSI, &u.IMEI, &u.MSISDN} {
		if flags&(1<<bit) != 0 {
			*digits = w.digits(int(w.u8()))
		}
	}
	if flags&userNAI != 0 {
		u.NAI = w.text(int(w.u8()))
	}
	return u
}

func (w *writer) userID(u *UserID) {
	at := w.open(IEUserID)
	w.b = append(w.b, flag(u.IMSI != "", uint8(userIMSI))|flag(u.IMEI != "", uint8(userIMEI))|
		flag(u.MSISDN != "", uint8(userMSISDN))|flag(u.NAI != "", uint8(userNAI)))
	for _, digits := range []string{u.IMSI, u.IMEI, u.MSISDN} {
		if digits != "" {
			w.digits(digits)
		}
	}
	if u.NAI != "" {
		w.text8(u.NAI)
	}
	w.close(at)
}

// filler stands for the missing last digit in TBCD, TS 29.274 8.3.
const filler = 0x0f

// digits reads n octets of TBCD: two digits in an octet, the first one in the lower half.
func (w *walker) digits(n int) string {
	digits := make([]byte, 0, 2*n)
	octets := w.take(n)
	for i, o := range octets {
		low, high := o&0x0f, o>>4
		last := i == len(octets)-1 && high == filler
		if low > 9 || high > 9 && !last {
			w.fail(CauseMandatoryIEIncorrect, w.typ, "no decimal digits")
			return ""
		}
		if digits = append(digits, '0'+low); !last {
			digits = append(digits, '0'+high)
		}
	}
	return string(digits)
}

func (w *writer) digits(s string) {
	n := (len(s) + 1) / 2
	if n > 0xff {
		w.fail(errors.New("too many digits"))
		return
	}
	w.b = append(w.b, uint8(n))
	for i := 0; i < len(s); i += 2 {
		low, high := s[i]-'0', uint8(0)
		if i+1 < len(s) {
			high = s[i+1] - '0'
		}
		if low > 9 || high > 9 {
			w.fail(errors.New("identity of other than decimal digits"))
			return
		}
		if i+1 == len(s) {
			high = filler
		}
		w.b = append(w.b, high<<4|low)
	}
}

func (w *walker) snssai() SNSSAI {
	sst := w.u8()
	return SNSSAI{SST: sst, SD: w.u24()}
}

func (w *writer) snssai(s Opt[SNSSAI]) {
	if s.Present {
		at := w.open(IESNSSAI)
		w.b = append(w.b, s.Value.SST, uint8(s.Value.SD>>16), uint8(s.Value.SD>>8), uint8(s.Value.SD))
		w.close(at)
	}
}
