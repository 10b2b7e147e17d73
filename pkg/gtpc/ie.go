package gtpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// IEType is the first octet of an IE, TS 29.274 8.1 table 8.1-1.
type IEType uint8

// IE types that this package reads or writes.
const (
	ieIMSI           IEType = 1
	ieCause          IEType = 2
	ieRecovery       IEType = 3
	ieAPN            IEType = 71
	ieAMBR           IEType = 72
	ieEBI            IEType = 73
	ieMEI            IEType = 75
	ieMSISDN         IEType = 76
	iePCO            IEType = 78
	iePAA            IEType = 79
	ieBearerQoS      IEType = 80
	ieRATType        IEType = 82
	ieServingNetwork IEType = 83
	ieULI            IEType = 86
	ieFTEID          IEType = 87
	ieBearerContext  IEType = 93
	ieChargingID     IEType = 94
	iePDNType        IEType = 99
	ieUETimeZone     IEType = 114
	ieAPNRestriction IEType = 127
	ieSelectionMode  IEType = 128
)

// IEKey names an IE inside its message: type and instance, TS 29.274 8.2.
type IEKey struct {
	Type     IEType
	Instance uint8 // 0 to 15
}

// String returns "IE 87/2": type, then instance.
func (k IEKey) String() string { return fmt.Sprintf("IE %d/%d", uint8(k.Type), k.Instance) }

// The IEs that are judged by their meaning, not only by their form, so that an error of the core may blame them.
var (
	KeyPAA = IEKey{Type: iePAA}
	KeyEBI = IEKey{Type: ieEBI}
)

// Opt is an optional IE: Value means something only when Present.
type Opt[T any] struct {
	Value   T
	Present bool
}

// Some is a present optional IE.
func Some[T any](v T) Opt[T] { return Opt[T]{Value: v, Present: true} }

// errIEShort: the IE's length is less than its fields need, cause 67 (TS 29.274 7.7.7). Octets beyond the known
// fields are ignored, so that a later release may add some.
var errIEShort = errors.New("IE is too short")

const ieHeader = 4 // octets: type, length (2), spare and instance

func appendIE(b []byte, k IEKey, value []byte) []byte {
	b = append(b, byte(k.Type), 0, 0, k.Instance&0x0f)
	binary.BigEndian.PutUint16(b[len(b)-3:], uint16(len(value)))
	return append(b, value...)
}

// decoder walks the IEs of one message. The first fault is what the peer is told; the walk goes on after it so
// that the sender's F-TEID is found, without which the answer could not be addressed.
type decoder struct {
	err *Error
}

func (d *decoder) fail(c Cause, k IEKey, err error) {
	if d.err == nil {
		d.err = &Error{Cause: c, Offending: k, Err: err}
	}
}

// each calls f for every IE of b. An IE that ends after b does is a fault and ends the walk: where the next one
// begins is then unknown.
func (d *decoder) each(b []byte, f func(k IEKey, value []byte)) {
	for len(b) > 0 {
		if len(b) < ieHeader {
			d.fail(CauseInvalidLength, IEKey{}, fmt.Errorf("%d octets where an IE should begin", len(b)))
			return
		}
		k := IEKey{Type: IEType(b[0]), Instance: b[3] & 0x0f}
		n := int(binary.BigEndian.Uint16(b[1:]))
		if n > len(b)-ieHeader {
			d.fail(CauseInvalidLength, k, fmt.Errorf("IE of %d octets with %d left", n, len(b)-ieHeader))
			return
		}
		f(k, b[ieHeader:ieHeader+n])
		b = b[ieHeader+n:]
	}
}

// read decodes an IE whose faults the peer must hear of. The first IE of a key counts and a repetition is
// ignored, TS 29.274 7.7.10.
func read[T any](d *decoder, k IEKey, value []byte, into *Opt[T], decode func([]byte) (T, error)) {
	if into.Present {
		return
	}
	v, err := decode(value)
	into.Present = true
	switch {
	case errors.Is(err, errIEShort):
		d.fail(CauseInvalidLength, k, err)
	case err != nil:
		d.fail(CauseMandatoryIEIncorrect, k, err) // TS 29.274 7.7.8
	default:
		into.Value = v
	}
}

// readOptional decodes an IE that is ignored when it is faulty, TS 29.274 7.7.8 for optional IEs.
func readOptional[T any](value []byte, into *Opt[T], decode func([]byte) (T, error)) {
	if into.Present {
		return
	}
	if v, err := decode(value); err == nil {
		*into = Some(v)
	}
}

func (d *decoder) mandatory(present bool, k IEKey) {
	if !present {
		d.fail(CauseMandatoryIEMissing, k, nil)
	}
}

func (d *decoder) conditional(present bool, k IEKey) {
	if !present {
		d.fail(CauseConditionalIEMissing, k, nil)
	}
}

// result returns the error as the interface, nil when there is none.
func (d *decoder) result() error {
	if d.err == nil {
		return nil
	}
	return d.err
}

func decodeUint8(v []byte) (uint8, error) {
	if len(v) < 1 {
		return 0, errIEShort
	}
	return v[0], nil
}

// decodeEBI reads an EPS Bearer ID, TS 29.274 8.8. Values 0 to 4 are reserved on S5/S8 (TS 24.007 11.2.3.1.5).
func decodeEBI(v []byte) (EBI, error) {
	if len(v) < 1 {
		return 0, errIEShort
	}
	e := EBI(v[0] & 0x0f)
	if e < 5 {
		return 0, fmt.Errorf("EBI %d is reserved", e)
	}
	return e, nil
}

// maxOpaque is how many octets of an IE are kept that is stored without being understood: more than the longest
// User Location Information has (TS 29.274 8.21).
const maxOpaque = 128

func decodeOpaque(v []byte) ([]byte, error) {
	if len(v) == 0 || len(v) > maxOpaque {
		return nil, fmt.Errorf("opaque IE of %d octets", len(v))
	}
	return slices.Clone(v), nil
}
