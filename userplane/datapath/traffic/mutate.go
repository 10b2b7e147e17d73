package traffic

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// Mutator makes frames that parsers fear of frames that are right, and calls a program with them, all in the kernel. What it
// makes follows from its state alone.
type Mutator struct {
	objects mutatorObjects
}

const (
	seedOctets  = 256
	frameOctets = 2048
)

// NewMutator loads one that calls p.
func NewMutator(p *ebpf.Program, state uint64, frames [][]byte) (_ *Mutator, err error) {
	m := &Mutator{}
	spec, err := loadMutator()
	if err != nil {
		return nil, fmt.Errorf("read the embedded program: %w", err)
	}
	spec.Maps["seeds"].MaxEntries = uint32(max(len(frames), 1))
	if err := spec.LoadAndAssign(&m.objects, nil); err != nil {
		return nil, fmt.Errorf("load the mutator: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	for i, frame := range frames {
		if len(frame) < 14 || len(frame) > frameOctets {
			return nil, fmt.Errorf("frame %d: %d octets", i, len(frame))
		}
		raw := mutatorSeed{Frame: uint32(len(frame)), Given: uint32(min(len(frame), seedOctets))}
		copy(raw.Octets[:], frame)
		if err := m.objects.Seeds.Put(uint32(i), raw); err != nil {
			return nil, fmt.Errorf("frame %d: %w", i, err)
		}
	}
	return m, errors.Join(m.objects.Mutant.Put(uint32(0), p), m.objects.SeedCount.Set(uint32(len(frames))), m.SetState(state))
}

// State is what the next frame follows from.
func (m *Mutator) State() (state uint64, err error) {
	err = m.objects.State.Get(&state)
	return state, err
}

// SetState sets it; 0 is none.
func (m *Mutator) SetState(state uint64) error { return m.objects.State.Set(max(state, 1)) }

// Run calls the program with so many frames, as if they came in by that interface of the calling thread's network
// namespace, and returns the verdict and the frame that the last one became. frames says how many were given to it: a few
// more, when a signal came.
func (m *Mutator) Run(ifindex, count int) (frames uint64, verdict uint32, out []byte, err error) {
	var before, after, failed uint64
	context := struct{ Data, DataEnd, DataMeta, Ingress, Queue, Egress uint32 }{DataEnd: seedOctets, Ingress: uint32(ifindex)}
	options := ebpf.RunOptions{
		Data: make([]byte, seedOctets), DataOut: make([]byte, 2*frameOctets), Context: context, Repeat: uint32(count),
	}
	if err := m.objects.Mutated.Get(&before); err != nil {
		return 0, 0, nil, err
	}
	if verdict, err = m.objects.Mutate.Run(&options); err != nil {
		return 0, 0, nil, fmt.Errorf("run: %w", err)
	}
	if err := errors.Join(m.objects.Mutated.Get(&after), m.objects.Failed.Get(&failed)); err != nil || failed > 0 {
		return 0, 0, nil, errors.Join(err, fmt.Errorf("%d frames could not be made", failed))
	}
	return after - before, verdict, options.DataOut, nil
}

// Close unloads it.
func (m *Mutator) Close() error { return m.objects.Close() }
