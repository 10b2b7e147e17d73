package diameter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// What we chose.
const (
	maxMessage = 64 << 10 // octets of a message that we read
	maxFirst   = 8 << 10  // octets of a stranger's first message, which must be a CER
)

// errFraming is the error of octets after which the begin of the next message is unknown.
var errFraming = errors.New("no Diameter message")

// checkHeader checks what can be checked of a header alone, and returns the message's length.
func checkHeader(h []byte, most int) (int, error) {
	if h[0] != version {
		return 0, fmt.Errorf("%w: version %d", errFraming, h[0])
	}
	n := int(binary.BigEndian.Uint32(h) & 0xffffff)
	if n < headerLength || n > most || n%4 != 0 {
		return 0, fmt.Errorf("%w: length %d", errFraming, n)
	}
	return n, nil
}

func checkFrame(b []byte) error {
	if len(b) < headerLength {
		return fmt.Errorf("%w: %d octets", errFraming, len(b))
	}
	n, err := checkHeader(b, maxMessage)
	if err == nil && n != len(b) {
		err = fmt.Errorf("%w: length %d in %d octets", errFraming, n, len(b))
	}
	return err
}

// readFrame reads one message of at most that many octets into a buffer of its own. It allocates nothing before the
// header has been checked.
func readFrame(r io.Reader, most int) ([]byte, error) {
	var h [headerLength]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, fmt.Errorf("reading a header: %w", err)
	}
	n, err := checkHeader(h[:], most)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	copy(b, h[:])
	if _, err := io.ReadFull(r, b[headerLength:]); err != nil {
		return nil, fmt.Errorf("reading a message of %d octets: %w", n, err)
	}
	return b, nil
}
