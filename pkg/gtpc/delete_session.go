package gtpc

// DeleteSessionRequest is the message of TS 29.274 7.2.9.1, as a PGW reads it on S5/S8.
type DeleteSessionRequest struct {
	LinkedEBI Opt[EBI]   // of the default bearer
	Sender    Opt[FTEID] // where the answer goes when it is not the known SGW
}

// Type implements Message.
func (*DeleteSessionRequest) Type() MessageType { return TypeDeleteSessionRequest }

func parseDeleteSessionRequest(ies []byte) (incoming, error) {
	var d decoder
	m := &DeleteSessionRequest{}
	d.each(ies, func(k IEKey, v []byte) {
		switch k {
		case KeyEBI:
			read(&d, k, v, &m.LinkedEBI, decodeEBI)
		case IEKey{Type: ieFTEID}:
			read(&d, k, v, &m.Sender, decodeFTEID)
		}
	})
	return incoming{message: m, sender: m.Sender.Value.TEID}, d.result()
}

// DeleteSessionResponse is the message of TS 29.274 7.2.10.1, of a PGW that accepts; Reject makes the one that refuses.
type DeleteSessionResponse struct {
	Cause    Cause
	Recovery Opt[uint8]
}

// Type implements Message.
func (*DeleteSessionResponse) Type() MessageType { return TypeDeleteSessionResponse }

func (m *DeleteSessionResponse) appendIEs(b []byte) []byte {
	return appendRecovery(CauseIE{Cause: m.Cause}.append(b), m.Recovery)
}

// DeleteBearerRequest is the message of TS 29.274 7.2.9.2, by which a PGW ends a PDN connection: it names the default bearer.
type DeleteBearerRequest struct {
	LinkedEBI EBI
	Cause     Opt[Cause] // such as 8, reactivation requested
}

// DeleteBearerResponse is the message of TS 29.274 7.2.10.2.
type DeleteBearerResponse struct {
	Cause Cause
}

// Type implements Message.
func (*DeleteBearerRequest) Type() MessageType { return TypeDeleteBearerRequest }

// Type implements Message.
func (*DeleteBearerResponse) Type() MessageType { return TypeDeleteBearerResponse }

func (m *DeleteBearerRequest) appendIEs(b []byte) []byte {
	b = appendEBI(b, m.LinkedEBI)
	if m.Cause.Present {
		b = CauseIE{Cause: m.Cause.Value}.append(b)
	}
	return b
}

func parseDeleteBearerResponse(ies []byte) (incoming, error) {
	var d decoder
	var cause Opt[Cause]
	var recovery Opt[uint8]
	d.each(ies, func(k IEKey, v []byte) {
		switch k {
		case IEKey{Type: ieCause}:
			read(&d, k, v, &cause, decodeCause)
		case IEKey{Type: ieRecovery}:
			read(&d, k, v, &recovery, decodeUint8)
		}
	})
	d.mandatory(cause.Present, IEKey{Type: ieCause})
	return incoming{message: &DeleteBearerResponse{Cause: cause.Value}, restart: recovery}, d.result()
}
