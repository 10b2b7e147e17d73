package gtpc

// EchoRequest is the message of TS 29.274 7.1.1.
type EchoRequest struct {
	Recovery Opt[uint8] // restart counter; mandatory in the standard, some peers leave it out
}

// EchoResponse is the message of TS 29.274 7.1.2.
type EchoResponse struct {
	Recovery Opt[uint8]
}

// VersionNotSupportedIndication is the message of TS 29.274 7.1.3. It has no IEs.
type VersionNotSupportedIndication struct{}

// Type implements Message.
func (*EchoRequest) Type() MessageType { return TypeEchoRequest }

// Type implements Message.
func (*EchoResponse) Type() MessageType { return TypeEchoResponse }

// Type implements Message.
func (*VersionNotSupportedIndication) Type() MessageType { return TypeVersionNotSupportedIndication }

func (m *EchoRequest) appendIEs(b []byte) []byte  { return appendRecovery(b, m.Recovery) }
func (m *EchoResponse) appendIEs(b []byte) []byte { return appendRecovery(b, m.Recovery) }

func (*VersionNotSupportedIndication) appendIEs(b []byte) []byte { return b }

// appendRecovery appends the Recovery IE, TS 29.274 8.5.
func appendRecovery(b []byte, counter Opt[uint8]) []byte {
	if !counter.Present {
		return b
	}
	return appendIE(b, IEKey{Type: ieRecovery}, []byte{counter.Value})
}

func parseEcho(t MessageType, ies []byte) (incoming, error) {
	var d decoder
	var recovery Opt[uint8]
	d.each(ies, func(k IEKey, v []byte) {
		if k == (IEKey{Type: ieRecovery}) {
			read(&d, k, v, &recovery, decodeUint8)
		}
	})
	in := incoming{restart: recovery}
	if t == TypeEchoRequest {
		in.message = &EchoRequest{Recovery: recovery}
	} else {
		in.message = &EchoResponse{Recovery: recovery}
	}
	return in, d.result()
}
