package gtpc

import (
	"errors"
	"fmt"

	"github.com/xepc/xepc/pkg/identity"
)

// RATType is the RAT Type IE (type 82), TS 29.274 8.17.
type RATType uint8

// Values of RATType that are met on S8.
const (
	RATUTRAN       RATType = 1
	RATGERAN       RATType = 2
	RATEUTRAN      RATType = 6
	RATEUTRANNBIoT RATType = 8
	RATLTEM        RATType = 9
)

// String returns the glossary's word.
func (r RATType) String() string {
	switch r {
	case RATUTRAN:
		return "utran"
	case RATGERAN:
		return "geran"
	case RATEUTRAN:
		return "eutran"
	case RATEUTRANNBIoT:
		return "nb-iot"
	case RATLTEM:
		return "lte-m"
	}
	return fmt.Sprintf("rat(%d)", uint8(r))
}

func decodeRAT(v []byte) (RATType, error) {
	r, err := decodeUint8(v)
	if err == nil && r == 0 {
		err = errors.New("RAT type 0 is reserved")
	}
	return RATType(r), err
}

// SelectionMode is the Selection Mode IE (type 128), TS 29.274 8.58: who chose the APN, and whether the
// subscription allows it. 2 bits.
type SelectionMode uint8

// Values of SelectionMode.
const (
	SelectionVerified  SelectionMode = 0 // MS or network provided APN, subscription verified
	SelectionByMS      SelectionMode = 1 // MS provided APN, subscription not verified
	SelectionByNetwork SelectionMode = 2 // network provided APN, subscription not verified
)

func decodeSelectionMode(v []byte) (SelectionMode, error) {
	octet, err := decodeUint8(v)
	m := SelectionMode(octet & 0x03)
	if m == 3 { // sent by mistake, to be read as 2: TS 29.274 8.58
		m = SelectionByNetwork
	}
	return m, err
}

func decodeIMSI(v []byte) (identity.IMSI, error) {
	if len(v) == 0 {
		return "", errIEShort
	}
	s, err := identity.DecodeTBCD(v)
	if err != nil {
		return "", err
	}
	return identity.ParseIMSI(s)
}

func decodeMSISDN(v []byte) (identity.MSISDN, error) {
	s, err := identity.DecodeTBCD(v)
	if err != nil {
		return "", err
	}
	return identity.ParseMSISDN(s)
}

const maxMEI = 8 // octets of TBCD: an IMEISV has 16 digits

// decodeMEI reads the Mobile Equipment Identity, TS 29.274 8.10: the digits of an IMEI or an IMEISV.
func decodeMEI(v []byte) (string, error) {
	if len(v) == 0 || len(v) > maxMEI {
		return "", fmt.Errorf("MEI of %d octets", len(v))
	}
	return identity.DecodeTBCD(v)
}

func decodeAPN(v []byte) (identity.APN, error) {
	if len(v) == 0 {
		return "", errIEShort
	}
	return identity.APNFromOctets(v)
}

// decodeServingNetwork reads the Serving Network IE (type 83), TS 29.274 8.18.
func decodeServingNetwork(v []byte) (identity.PLMN, error) {
	if len(v) < 3 {
		return identity.PLMN{}, errIEShort
	}
	return identity.PLMNFromOctets([3]byte(v[:3]))
}
