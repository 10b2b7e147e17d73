package pfcp

import "encoding/binary"

// Flags of the F-SEID, F-TEID and UE IP Address IEs: octet 5.
const (
	fseidV6 = 1 << 0 // TS 29.244 8.2.37
	fseidV4 = 1 << 1

	fteidV4   = 1 << 0 // 8.2.3
	fteidV6   = 1 << 1
	fteidCH   = 1 << 2
	fteidCHID = 1 << 3

	ueipV6    = 1 << 0 // 8.2.62
	ueipV4    = 1 << 1
	ueipSD    = 1 << 2
	ueipIPv6D = 1 << 3
	ueipCHV4  = 1 << 4
	ueipCHV6  = 1 << 5
	ueipIP6PL = 1 << 6
)

// fseid reads an F-SEID IE.
func (w *walker) fseid() FSEID {
	flags := w.u8()
	f := FSEID{SEID: SEID(w.u64())}
	if flags&fseidV4 != 0 {
		f.IPv4 = w.ipv4()
	}
	if flags&fseidV6 != 0 {
		f.IPv6 = w.ipv6()
	}
	if flags&(fseidV4|fseidV6) == 0 {
		w.fail(CauseMandatoryIEIncorrect, w.typ, "F-SEID without an address")
	}
	return f
}

// fseid writes an F-SEID IE.
func (w *writer) fseid(f FSEID) {
	var flags uint8
	v4, v6 := w.families(IEFSEID, f.IPv4, f.IPv6)
	if v4 {
		flags |= fseidV4
	}
	if v6 {
		flags |= fseidV6
	}
	if flags == 0 {
		w.fail(&Error{Cause: CauseMandatoryIEIncorrect, Offending: IEFSEID})
	}
	at := w.open(IEFSEID)
	w.b = append(w.b, flags)
	w.b = binary.BigEndian.AppendUint64(w.b, uint64(f.SEID))
	w.address(f.IPv4)
	w.address(f.IPv6)
	w.close(at)
}

// fteid reads an F-TEID IE.
func (w *walker) fteid() FTEID {
	flags := w.u8()
	if flags&fteidCH != 0 {
		f := FTEID{Choose: true, ChooseIPv4: flags&fteidV4 != 0, ChooseIPv6: flags&fteidV6 != 0}
		if flags&fteidCHID != 0 {
			f.ChooseID = Some(w.u8())
		}
		return f
	}
	f := FTEID{TEID: TEID(w.u32())}
	if flags&fteidV4 != 0 {
		f.IPv4 = w.ipv4()
	}
	if flags&fteidV6 != 0 {
		f.IPv6 = w.ipv6()
	}
	if flags&(fteidV4|fteidV6) == 0 {
		w.fail(CauseMandatoryIEIncorrect, w.typ, "F-TEID without an address")
	}
	return f
}

// fteid writes an F-TEID IE.
func (w *writer) fteid(f FTEID) {
	at := w.open(IEFTEID)
	if f.Choose {
		flags := uint8(fteidCH)
		if f.ChooseIPv4 {
			flags |= fteidV4
		}
		if f.ChooseIPv6 {
			flags |= fteidV6
		}
		if f.ChooseID.Present {
			w.b = append(w.b, flags|fteidCHID, f.ChooseID.Value)
		} else {
			w.b = append(w.b, flags)
		}
		w.close(at)
		return
	}
	var flags uint8
	v4, v6 := w.families(IEFTEID, f.IPv4, f.IPv6)
	if v4 {
		flags |= fteidV4
	}
	if v6 {
		flags |= fteidV6
	}
	if flags == 0 {
		w.fail(&Error{Cause: CauseMandatoryIEIncorrect, Offending: IEFTEID})
	}
	w.b = append(w.b, flags)
	w.b = binary.BigEndian.AppendUint32(w.b, uint32(f.TEID))
	w.address(f.IPv4)
	w.address(f.IPv6)
	w.close(at)
}

// ueIPAddress reads a UE IP Address IE.
func (w *walker) ueIPAddress() UEIPAddress {
	flags := w.u8()
	u := UEIPAddress{
		Destination: flags&ueipSD != 0,
		ChooseIPv4:  flags&ueipCHV4 != 0,
		ChooseIPv6:  flags&ueipCHV6 != 0,
	}
	if flags&ueipV4 != 0 && !u.ChooseIPv4 {
		u.IPv4 = w.ipv4()
	}
	if flags&ueipV6 != 0 && !u.ChooseIPv6 {
		u.IPv6 = w.ipv6()
	}
	if flags&ueipIPv6D != 0 {
		if u.IPv6DelegationBits = w.u8(); u.IPv6DelegationBits > 64 {
			w.fail(CauseMandatoryIEIncorrect, w.typ, "IPv6 prefix delegation bits are more than 64")
		}
	}
	length := uint8(64)
	if flags&ueipIP6PL != 0 {
		if length = w.u8(); length == 0 || length > 128 {
			w.fail(CauseMandatoryIEIncorrect, w.typ, "IPv6 prefix length is not 1 to 128")
		}
	}
	if u.IPv6.IsValid() || u.ChooseIPv6 {
		u.IPv6PrefixLength = length
	}
	return u
}

// ueIPAddress writes a UE IP Address IE.
func (w *writer) ueIPAddress(u UEIPAddress) {
	var flags uint8
	v4, v6 := w.families(IEUEIPAddress, u.IPv4, u.IPv6)
	if v4 {
		flags |= ueipV4
	} else if u.ChooseIPv4 {
		flags |= ueipCHV4
	}
	if v6 {
		flags |= ueipV6
	} else if u.ChooseIPv6 {
		flags |= ueipCHV6
	}
	if u.Destination {
		flags |= ueipSD
	}
	length := (v6 || u.ChooseIPv6) && u.IPv6PrefixLength != 0 && u.IPv6PrefixLength != 64
	if length {
		flags |= ueipIP6PL
	}
	if u.IPv6DelegationBits != 0 {
		flags |= ueipIPv6D
	}
	at := w.open(IEUEIPAddress)
	w.b = append(w.b, flags)
	w.address(u.IPv4)
	w.address(u.IPv6)
	if u.IPv6DelegationBits != 0 {
		w.b = append(w.b, u.IPv6DelegationBits)
	}
	if length {
		w.b = append(w.b, u.IPv6PrefixLength)
	}
	w.close(at)
}
