package pfcp

import "sync"

// What we chose for the texts that a decoder knows.
const (
	maxTexts = 1024 // how many, before it forgets them all
	maxText  = 128  // octets, of one
)

// decoder is what the messages that one reader decodes have in common. The zero value shares nothing.
type decoder struct {
	names    texts
	flows    texts
	released *released // nil: no request is used again
}

// texts are the texts of one kind (names, flow descriptions) that came already, by their octets on the wire: a node
// hears the same few again and again, and its sessions keep them. A nil one knows none.
type texts map[string]string

// keep notes that the octets b are the text s.
func (t texts) keep(b []byte, s string) {
	if t == nil || len(b) > maxText {
		return
	}
	if len(t) == maxTexts {
		clear(t)
	}
	t[string(b)] = s
}

// released are the requests that may be used again, by all readers.
type released struct {
	establishments, modifications sync.Pool // pointers to the requests
}

// newDecoder returns a decoder for one reader; released requests may be shared with others.
func newDecoder(r *released) *decoder {
	return &decoder{names: make(texts), flows: make(texts), released: r}
}

// put takes a request back.
func (r *released) put(m Message) {
	switch m := m.(type) {
	case *SessionEstablishmentRequest:
		r.establishments.Put(m)
	case *SessionModificationRequest:
		r.modifications.Put(m)
	}
}

// walk is walk that knows what the decoder knows.
func (d *decoder) walk(b []byte, repeat *IETypes) walker {
	return walker{rest: b, repeat: repeat, names: d.names, flows: d.flows}
}

// establishment returns a request to decode into, which is empty but may have memory.
func (d *decoder) establishment() *SessionEstablishmentRequest {
	if d.released != nil {
		if m, ok := d.released.establishments.Get().(*SessionEstablishmentRequest); ok {
			*m = SessionEstablishmentRequest{
				CreatePDRs: m.CreatePDRs[:0], CreateFARs: m.CreateFARs[:0], CreateQERs: m.CreateQERs[:0],
				CreateURRs: m.CreateURRs[:0],
			}
			return m
		}
	}
	return new(SessionEstablishmentRequest)
}

// modification is establishment for a modification.
func (d *decoder) modification() *SessionModificationRequest {
	if d.released != nil {
		if m, ok := d.released.modifications.Get().(*SessionModificationRequest); ok {
			*m = SessionModificationRequest{
				CreatePDRs: m.CreatePDRs[:0], CreateFARs: m.CreateFARs[:0], CreateQERs: m.CreateQERs[:0],
				CreateURRs: m.CreateURRs[:0], UpdatePDRs: m.UpdatePDRs[:0], UpdateFARs: m.UpdateFARs[:0],
				UpdateQERs: m.UpdateQERs[:0], UpdateURRs: m.UpdateURRs[:0],
			}
			return m
		}
	}
	return new(SessionModificationRequest)
}
