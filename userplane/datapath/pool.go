package datapath

// pool gives out the indices of a table whose elements are shared by reference: peers, and address blocks. An
// element that nobody refers to stays, known and ready, until its place is needed: then the one that has been idle
// longest goes.
type pool struct {
	refs   []uint32 // by index
	held   int      // how many have references
	unused uint32   // this index and those above were never taken
	idle   []uint32 // without references, oldest first; some have references again: skip them
	queued []bool   // by index: in idle
}

func newPool(size int) *pool {
	return &pool{refs: make([]uint32, size), queued: make([]bool, size)}
}

// take returns an index without references. reused: it held something, which its owner must forget.
func (p *pool) take() (index uint32, reused, ok bool) {
	if int(p.unused) < len(p.refs) {
		p.unused++
		return p.unused - 1, false, true
	}
	for len(p.idle) > 0 {
		index, p.idle = p.idle[0], p.idle[1:]
		p.queued[index] = false
		if p.refs[index] == 0 {
			return index, true, true
		}
	}
	return 0, false, false
}

func (p *pool) hold(index uint32) {
	if p.refs[index]++; p.refs[index] == 1 {
		p.held++
	}
}

func (p *pool) release(index uint32) {
	if p.refs[index]--; p.refs[index] == 0 {
		p.held--
	}
	p.idleIfFree(index)
}

func (p *pool) idleIfFree(index uint32) {
	if p.refs[index] == 0 && !p.queued[index] {
		p.queued[index] = true
		p.idle = append(p.idle, index)
	}
}

// adopt tells of an index that was in use before this pool was made; then settle makes the others free.
func (p *pool) adopt(index uint32) { p.unused = max(p.unused, index+1) }

// settle ends adoption: what lies below the highest adopted index and has no references is idle.
func (p *pool) settle() {
	for i := range p.unused {
		p.idleIfFree(i)
	}
}
