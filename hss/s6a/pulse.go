package s6a

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
)

// resetOnce is how long a loss is not told again: every instance sees it.
const resetOnce = time.Minute

// watchForLoss tells every node when Redis has lost writes, registrations among them perhaps. What was lost while no
// instance ran shows in the file, in which the last pulse is kept.
func (s *Server) watchForLoss(ctx context.Context) {
	p, err := s.store.Pulse(ctx)
	s.noteRedis(ctx, err)
	if err != nil {
		return // away: looked at again when it is back
	}
	if s.pulse == (store.Pulse{}) {
		s.pulse = s.readPulse()
		if s.pulse.Name != p.Name { // of other records, or none
			s.pulse = store.Pulse{}
		}
	}
	lost := p.N <= s.pulse.N
	s.pulse = p
	s.writePulse(p)
	if !lost {
		return
	}
	if mine, err := s.store.Once(ctx, "reset", resetOnce); err != nil || !mine {
		return
	}
	told, err := s.Reset(ctx, subscriber.Scope{})
	s.log.Warn("Redis has lost its last writes: the nodes are told to update locations (RSR)", "nodes", told, "err", err)
}

// noteRedis logs that Redis takes no writes, and that it does again, once each: away, loading, without memory, read-only.
func (s *Server) noteRedis(ctx context.Context, err error) {
	away := err != nil && ctx.Err() == nil
	if away == s.away {
		return
	}
	if s.away = away; away {
		s.log.Warn("Redis takes no writes: AIRs are answered 4181, all else 3004, until it does", "err", err)
	} else {
		s.log.Info("Redis takes writes again")
	}
}

func (s *Server) readPulse() (p store.Pulse) {
	b, err := os.ReadFile(s.cfg.PulseFile)
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if s.cfg.PulseFile != "" && err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Warn("the pulse of Redis that was last seen is not known: a loss before this start is not noticed", "file", s.cfg.PulseFile, "err", err)
	}
	return p
}

// writePulse keeps a pulse, whole or not at all. That it cannot is logged once.
func (s *Server) writePulse(p store.Pulse) {
	if s.cfg.PulseFile == "" || s.noPulseFile {
		return
	}
	if err := replaceFile(s.cfg.PulseFile, p); err != nil {
		s.noPulseFile = true
		s.log.Warn("the pulse of Redis cannot be kept: a loss while no instance runs will not be noticed", "key", "s6a.pulse_file", "err", err)
	}
}

func replaceFile(path string, v any) error {
	j, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", j, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
