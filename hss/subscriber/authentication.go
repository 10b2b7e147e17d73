package subscriber

import (
	"fmt"

	"github.com/xepc/xepc/pkg/aka"
)

// What we chose for sequence numbers, with TS 33.102 annex C.
const (
	// Delta is by how much a card may be behind our SEQ and still accept it, C.2.2: cards that limit the jump do so
	// at 2^28.
	Delta = 1 << 28
	// ClockUnitMillis is the time that SEQ rises by one at least, C.3.3: after a loss of the last writes of a store SEQ goes
	// on above what was given out. In units of 100 ms, 2^43 lasts 27,000 years.
	ClockUnitMillis = 100
)

// Counter is the run of sequence numbers that a request was given: Count of them from SEQ on, all with the same IND.
type Counter struct {
	SEQ   uint64
	IND   uint8
	Count int
}

// Vectors computes the vectors of a run, in the order in which they are to be used. amf is 0, or aka.SeparationBit for
// E-UTRAN. challenge gives each its RAND.
func (c Counter) Vectors(keys aka.Credentials, amf uint16, challenge func() [16]byte) ([]aka.Vector, error) {
	if c.SEQ+uint64(c.Count)-1 > aka.MaxSEQ || c.IND >= aka.INDs {
		return nil, fmt.Errorf("SEQ %d with IND %d is beyond 48 bits", c.SEQ, c.IND)
	}
	all := make([]aka.Vector, c.Count)
	for i := range all {
		v, err := keys.Vector(challenge(), aka.NewSQN(c.SEQ+uint64(i), c.IND), amf)
		if err != nil {
			return nil, fmt.Errorf("computing vector %d: %w", i+1, err)
		}
		all[i] = v
	}
	return all, nil
}

// Split cuts the run into its first n and the rest.
func (c Counter) Split(n int) (first, rest Counter) {
	return Counter{SEQ: c.SEQ, IND: c.IND, Count: n}, Counter{SEQ: c.SEQ + uint64(n), IND: c.IND, Count: c.Count - n}
}
