// Package generation owns the generation of a PGW-C's session state, kept in one durable file: the GTP restart
// counter and the PFCP Recovery Time Stamp. They name the state, not the process: peers delete what they have of us
// when they change (TS 23.007), so they change exactly when sessions were lost. The package keeps no
// sessions.
package generation

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
)

// Generation is the two values that peers compare.
type Generation struct {
	RestartCounter    uint8                  `json:"restart_counter"`     // TS 23.007 18; rolls over
	RecoveryTimeStamp pfcp.RecoveryTimeStamp `json:"recovery_time_stamp"` // TS 29.244 8.2.65
}

const (
	fileName = "generation.json"
	ntpEpoch = 2208988800 // Unix time 0 in seconds since 1900-01-01
)

// Next returns the generation that follows the one kept in dir. Nothing is written: a peer must not see it before Keep.
// known says whether there was a generation before.
func Next(dir string, now time.Time) (next Generation, known bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Generation{}, false, fmt.Errorf("making the state folder: %w", err)
	}
	last, known, err := read(filepath.Join(dir, fileName))
	if err != nil {
		return Generation{}, false, err
	}
	next = Generation{
		RestartCounter:    last.RestartCounter + 1,
		RecoveryTimeStamp: pfcp.RecoveryTimeStamp(uint32(now.Unix() + ntpEpoch)),
	}
	if known && next.RecoveryTimeStamp <= last.RecoveryTimeStamp { // twice in a second, or the clock went back
		next.RecoveryTimeStamp = last.RecoveryTimeStamp + 1
	}
	return next, known, nil
}

func read(path string) (Generation, bool, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return Generation{}, false, nil
	}
	if err != nil {
		return Generation{}, false, fmt.Errorf("reading the generation: %w", err)
	}
	var g Generation
	if err := json.Unmarshal(b, &g); err != nil {
		return Generation{}, false, fmt.Errorf("%s is damaged (%w): write a restart_counter into it that is one above "+
			"the last the peers saw, or remove it and have the SGWs drop their PDN connections to this PGW-C", path, err)
	}
	return g, true, nil
}

// Keep begins the generation in dir: the sessions of the one before are lost. When it returns without an error the
// values are on the disk; only then may a peer see them. A crash leaves the old values or the new ones, whole.
func (g Generation) Keep(dir string) error {
	b, err := json.Marshal(g)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, fileName+".*")
	if err != nil {
		return fmt.Errorf("writing the generation: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, fileName))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing the generation: %w", err), os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("opening the state folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("making the generation durable: %w", err)
	}
	return nil
}
