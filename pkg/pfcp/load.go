package pfcp

// LoadControl is the Load Control Information IE (type 51), TS 29.244 7.5.3.3.
type LoadControl struct {
	Sequence uint32 // rises with every change; a receiver ignores what is not above the last
	Metric   uint8  // per cent, 0 to 100
}

// OverloadControl is the Overload Control Information IE (type 54), TS 29.244 7.5.3.4.
type OverloadControl struct {
	Sequence   uint32
	Metric     uint8 // by how many per cent the sender of requests is to reduce them
	Validity   Timer // of the information
	Associated bool  // AOCI of OCI-Flags: it concerns all of the sender's node, not only its address
}

const ociAOCI = 1 << 0 // OCI-Flags, TS 29.244 8.2.76

// AdditionalReports is the Additional Usage Reports Information IE (type 126), TS 29.244 8.2.91.
type AdditionalReports struct {
	Follow bool   // AURI: further usage reports follow in Session Report Requests
	Count  uint16 // how many usage reports that are, in all; 15 bits
}

const additionalAURI = 1 << 15

// loadControl reads a Load Control Information IE.
func (w *walker) loadControl() LoadControl {
	var l LoadControl
	in := w.group(&once)
	for in.next() {
		switch in.typ {
		case IESequenceNumber:
			l.Sequence = in.u32()
		case IEMetric:
			l.Metric = in.u8()
		}
	}
	in.require(IESequenceNumber, IEMetric)
	w.within(in.err)
	return l
}

func (w *writer) loadControl(l Opt[LoadControl]) {
	if !l.Present {
		return
	}
	at := w.open(IELoadControlInformation)
	w.u32(IESequenceNumber, l.Value.Sequence)
	w.u8(IEMetric, l.Value.Metric)
	w.close(at)
}

// overloadControl reads an Overload Control Information IE.
func (w *walker) overloadControl() OverloadControl {
	var o OverloadControl
	in := w.group(&once)
	for in.next() {
		switch in.typ {
		case IESequenceNumber:
			o.Sequence = in.u32()
		case IEMetric:
			o.Metric = in.u8()
		case IETimer:
			o.Validity = Timer(in.u8())
		case IEOCIFlags:
			o.Associated = in.u8()&ociAOCI != 0
		}
	}
	in.require(IESequenceNumber, IEMetric, IETimer)
	w.within(in.err)
	return o
}

func (w *writer) overloadControl(o Opt[OverloadControl]) {
	if !o.Present {
		return
	}
	at := w.open(IEOverloadControlInformation)
	w.u32(IESequenceNumber, o.Value.Sequence)
	w.u8(IEMetric, o.Value.Metric)
	w.u8(IETimer, uint8(o.Value.Validity))
	if o.Value.Associated {
		w.u8(IEOCIFlags, ociAOCI)
	}
	w.close(at)
}

// additionalReports reads an Additional Usage Reports Information IE.
func (w *walker) additionalReports() AdditionalReports {
	v := w.u16()
	return AdditionalReports{Follow: v&additionalAURI != 0, Count: v &^ additionalAURI}
}

func (w *writer) additionalReports(a Opt[AdditionalReports]) {
	if a.Present {
		w.u16(IEAdditionalUsageReportsInformation,
			a.Value.Count&^additionalAURI|flag(a.Value.Follow, uint16(additionalAURI)))
	}
}
