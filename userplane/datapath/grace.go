package datapath

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// place is something in the maps that may be written anew only after the programs that saw it are done.
type place struct {
	kind  placeKind
	index uint32
}

type placeKind uint8

const (
	placeUplink placeKind = iota
	placeDownlink
	placeBlock // and its cell in the directory
	placePeer
	placeNextHop      // its hop that is not active
	placeUplinkFields // of an entry that leads to a set: what is beside its word
	placeDownlinkFields
	placeRule
	placeSetSmall
	placeSetMedium
	placeSetLarge
	placeCell
	placeLimits
	placeMeter
	placeAccount
	placeSpecial
)

func (k placeKind) String() string {
	return [...]string{
		"TEIDs", "UE addresses", "address blocks", "peers", "next hops", "entries", "entries", "rules", "small rule sets",
		"medium rule sets", "large rule sets", "usage cells", "limits", "meters", "accounts of rules", "special rules",
	}[k]
}

// maxResting bounds what grace remembers; beyond it Apply waits for a barrier itself.
const maxResting = 1 << 16

// grace knows which places rest: those let go of since the last barrier. It is not safe for concurrent use.
type grace struct {
	resting map[place]struct{} // since the last barrier began
	waiting map[place]struct{} // what the running barrier is for; nil: none runs
	barrier func() error       // returns after every program that ran when it was called
	rested  func(place)        // hears of what rests no more
}

func newGrace(barrier func() error, rested func(place)) *grace {
	return &grace{resting: map[place]struct{}{}, barrier: barrier, rested: rested}
}

func (g *grace) rest(p place) { g.resting[p] = struct{}{} }

func (g *grace) rests(p place) bool {
	_, a := g.resting[p]
	_, b := g.waiting[p]
	return a || b
}

// settle waits until nothing rests.
func (g *grace) settle() error {
	if len(g.resting) == 0 && g.waiting == nil {
		return nil
	}
	if err := g.barrier(); err != nil {
		return err
	}
	g.wake(g.waiting)
	g.wake(g.resting)
	clear(g.resting)
	g.waiting = nil
	return nil
}

// settleIfLarge keeps what is remembered bounded.
func (g *grace) settleIfLarge() error {
	if len(g.resting) < maxResting {
		return nil
	}
	return g.settle()
}

// begin and end stand around a barrier that is waited for without the owner's lock; begin returns false when
// nothing rests.
func (g *grace) begin() bool {
	if len(g.resting) == 0 || g.waiting != nil {
		return false
	}
	g.waiting, g.resting = g.resting, map[place]struct{}{}
	return true
}

func (g *grace) end(err error) {
	if err != nil { // it still rests
		for p := range g.waiting {
			g.resting[p] = struct{}{}
		}
	} else {
		g.wake(g.waiting)
	}
	g.waiting = nil
}

func (g *grace) wake(places map[place]struct{}) {
	for p := range places {
		g.rested(p)
	}
}

// membarrier commands of linux/membarrier.h.
const (
	membarrierQuery  = 0
	membarrierGlobal = 1
)

// membarrier waits for an RCU grace period: XDP programs are readers, so those that ran are done. It takes some tens
// of milliseconds. The kernel refuses it with nohz_full CPUs.
func membarrier() error {
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); errno != 0 {
		return fmt.Errorf("membarrier: %w", errno)
	}
	return nil
}

func checkMembarrier() error {
	commands, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierQuery, 0, 0)
	if errno != 0 {
		return fmt.Errorf("membarrier: %w", errno)
	}
	if commands&membarrierGlobal == 0 {
		return fmt.Errorf("membarrier: the kernel has no global command: is it booted with nohz_full? %w", unix.ENOSYS)
	}
	return nil
}
