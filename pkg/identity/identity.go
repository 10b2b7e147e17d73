// Package identity owns the identifiers of TS 23.003 that several nodes share: IMSI, MSISDN, PLMN and APN, their
// text and their octets on the wire. It knows no message that carries them.
package identity

import (
	"errors"
	"fmt"
	"strings"
)

// IMSI is an International Mobile Subscriber Identity, TS 23.003 2.2: 6 to 15 decimal digits.
type IMSI string

// ParseIMSI returns s as an IMSI, or an error that says what is wrong with it.
func ParseIMSI(s string) (IMSI, error) {
	if err := digits(s, 6, 15); err != nil {
		return "", fmt.Errorf("IMSI %q: %w", s, err)
	}
	return IMSI(s), nil
}

// MSISDN is a Mobile Station International ISDN Number, TS 23.003 3.3: up to 15 decimal digits, no "+".
type MSISDN string

// ParseMSISDN returns s as an MSISDN; a leading "+" is left out.
func ParseMSISDN(s string) (MSISDN, error) {
	s = strings.TrimPrefix(s, "+")
	if err := digits(s, 1, 15); err != nil {
		return "", fmt.Errorf("MSISDN %q: %w", s, err)
	}
	return MSISDN(s), nil
}

func digits(s string, least, most int) error {
	if len(s) < least || len(s) > most {
		return fmt.Errorf("%d digits, want %d to %d", len(s), least, most)
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return fmt.Errorf("%q is not a decimal digit", s[i])
		}
	}
	return nil
}

// EncodeTBCD returns decimal digits as TBCD, TS 29.002 17.7.8: the first digit in the low half of the first
// octet, an odd last one filled with 0xf. Other characters than digits are a programming error.
func EncodeTBCD(s string) []byte {
	b := make([]byte, (len(s)+1)/2)
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			panic("identity: TBCD of a string with other than digits")
		}
		b[i/2] |= d << (4 * (i % 2))
	}
	if len(s)%2 == 1 {
		b[len(b)-1] |= 0xf0
	}
	return b
}

// DecodeTBCD returns the digits of TBCD octets. A filler anywhere but in the last half octet, and every half octet
// above 9, is an error.
func DecodeTBCD(b []byte) (string, error) {
	s := make([]byte, 0, 2*len(b))
	for i, o := range b {
		low, high := o&0xf, o>>4
		if low > 9 {
			return "", fmt.Errorf("TBCD octet %d is %#02x", i, o)
		}
		s = append(s, '0'+low)
		if high == 0xf && i == len(b)-1 {
			break
		}
		if high > 9 {
			return "", fmt.Errorf("TBCD octet %d is %#02x", i, o)
		}
		s = append(s, '0'+high)
	}
	return string(s), nil
}

// PLMN names a public land mobile network, TS 23.003 2.2: MCC of three digits, MNC of two or three. 001-01 and
// 001-001 are different networks.
type PLMN struct {
	MCC, MNC string
}

// ParsePLMN reads "MCC-MNC", or MCC and MNC without the dash.
func ParsePLMN(s string) (PLMN, error) {
	mcc, mnc, ok := strings.Cut(s, "-")
	if !ok && len(s) > 3 {
		mcc, mnc = s[:3], s[3:]
	}
	if err := errors.Join(digits(mcc, 3, 3), digits(mnc, 2, 3)); err != nil {
		return PLMN{}, fmt.Errorf("PLMN %q, want MCC-MNC as in 001-01: %w", s, err)
	}
	return PLMN{MCC: mcc, MNC: mnc}, nil
}

// PLMNFromOctets reads the three octets of TS 24.008 10.5.1.13, as in Visited-PLMN-Id and Serving Network.
func PLMNFromOctets(b [3]byte) (PLMN, error) {
	mcc := []byte{b[0] & 0xf, b[0] >> 4, b[1] & 0xf}
	mnc := []byte{b[2] & 0xf, b[2] >> 4}
	if d := b[1] >> 4; d != 0xf {
		mnc = append(mnc, d)
	}
	for _, part := range [][]byte{mcc, mnc} {
		for i, d := range part {
			if d > 9 {
				return PLMN{}, fmt.Errorf("PLMN octets % x: %#x is not a digit", b[:], d)
			}
			part[i] += '0'
		}
	}
	return PLMN{MCC: string(mcc), MNC: string(mnc)}, nil
}

// Octets returns the three octets of TS 24.008 10.5.1.13. The PLMN must be a parsed one.
func (p PLMN) Octets() [3]byte {
	third := byte(0xf)
	if len(p.MNC) == 3 {
		third = p.MNC[2] - '0'
	}
	return [3]byte{
		(p.MCC[1]-'0')<<4 | (p.MCC[0] - '0'),
		third<<4 | (p.MCC[2] - '0'),
		(p.MNC[1]-'0')<<4 | (p.MNC[0] - '0'),
	}
}

// Is says whether ParsePLMN of that text would return p.
func (p PLMN) Is(text string) bool {
	mnc, ok := strings.CutPrefix(text, p.MCC)
	return ok && strings.TrimPrefix(mnc, "-") == p.MNC
}

// String returns MCC-MNC.
func (p PLMN) String() string { return p.MCC + "-" + p.MNC }

// APN is an Access Point Name's network identifier, TS 23.003 9.1.1, in lower case and without an operator
// identifier, so that equal APNs are equal strings.
type APN string

const maxAPN = 100 // octets of an encoded APN, TS 23.003 9.1

// ParseAPN reads an APN as text. It drops the operator identifier (.mncX.mccY.gprs, TS 23.003 9.1.2) and folds
// case. Labels are of letters, digits and hyphens, and begin and end with a letter or a digit (9.1).
func ParseAPN(s string) (APN, error) {
	if len(s)+1 > maxAPN {
		return "", fmt.Errorf("APN of %d characters, at most %d", len(s), maxAPN-1)
	}
	labels := strings.Split(strings.ToLower(s), ".")
	if n := len(labels); n > 3 && labels[n-1] == "gprs" && prefixed(labels[n-2], "mcc") && prefixed(labels[n-3], "mnc") {
		labels = labels[:n-3]
	}
	for _, l := range labels {
		if !label(l) {
			return "", fmt.Errorf("APN %q: label %q", s, l)
		}
	}
	return APN(strings.Join(labels, ".")), nil
}

// APNFromOctets reads an APN of length-prefixed labels, TS 23.003 9.1.
func APNFromOctets(b []byte) (APN, error) {
	var labels []string
	for len(b) > 0 {
		n := int(b[0])
		if n == 0 || n > len(b)-1 {
			return "", fmt.Errorf("APN label of %d octets with %d left", n, len(b)-1)
		}
		labels = append(labels, string(b[1:1+n]))
		b = b[1+n:]
	}
	return ParseAPN(strings.Join(labels, "."))
}

// Octets returns the APN as length-prefixed labels, TS 23.003 9.1.
func (a APN) Octets() []byte {
	b := make([]byte, 0, len(a)+1)
	for l := range strings.SplitSeq(string(a), ".") {
		b = append(b, byte(len(l)))
		b = append(b, l...)
	}
	return b
}

func prefixed(label, prefix string) bool {
	rest, ok := strings.CutPrefix(label, prefix)
	return ok && digits(rest, 2, 3) == nil
}

func label(l string) bool {
	if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
		return false
	}
	for i := range len(l) {
		c := l[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
