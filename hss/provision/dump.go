package provision

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

// A dump is lines of JSON: a dumpHeader, templates, SIMs, and a dumpEnd, without which it is cut off. The keys are in it as
// Redis has them: sealed, so that it is of use only with the key-encryption keys.
const (
	dumpVersion = 1
	dumpFormat  = "xepc-hss-dump"
)

// dumpLine is any line of a dump; one of the fields is set.
type dumpLine struct {
	Header   *dumpHeader     `json:"header,omitempty"`
	Template *Template       `json:"template,omitempty"`
	APN      *subscriber.APN `json:"apn,omitempty"`
	SIM      *dumpSIM        `json:"sim,omitempty"`
	End      *dumpEnd        `json:"end,omitempty"`
}

type dumpHeader struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	At      time.Time `json:"at"`
}

type dumpSIM struct {
	IMSI    identity.IMSI           `json:"imsi"`
	Profile subscriber.Profile      `json:"profile"`
	Sealed  []byte                  `json:"sealed"`
	SEQ     uint64                  `json:"seq"`
	At      time.Time               `json:"at"` // when SEQ was read
	MME     subscriber.Registration `json:"mme,omitzero"`
	SGSN    subscriber.Registration `json:"sgsn,omitzero"`
}

type dumpEnd struct {
	SIMs int `json:"sims"`
}

func (v *Service) dump(ctx context.Context, out io.Writer) error {
	w := bufio.NewWriter(out)
	e := json.NewEncoder(w)
	if err := e.Encode(dumpLine{Header: &dumpHeader{Format: dumpFormat, Version: dumpVersion, At: v.now().UTC()}}); err != nil {
		return err
	}
	t, err := v.store.Templates(ctx)
	if err != nil {
		return err
	}
	for name, p := range t.Profiles {
		if err := e.Encode(dumpLine{Template: &Template{Name: name, Profile: p}}); err != nil {
			return err
		}
	}
	for _, a := range t.APNs {
		if err := e.Encode(dumpLine{APN: &a}); err != nil {
			return err
		}
	}
	seen := map[identity.IMSI]bool{} // a scan may return one twice
	err = v.store.Each(ctx, "", func(page []store.Record) error {
		for _, r := range page {
			if seen[r.IMSI] {
				continue
			}
			seen[r.IMSI] = true
			sim := dumpSIM{IMSI: r.IMSI, Profile: r.Stored, Sealed: r.Sealed, SEQ: r.SEQ, At: v.now().UTC(), MME: r.MME, SGSN: r.SGSN}
			if err := e.Encode(dumpLine{SIM: &sim}); err != nil {
				return err
			}
		}
		return w.Flush()
	})
	if err != nil {
		return err
	}
	return errors.Join(e.Encode(dumpLine{End: &dumpEnd{SIMs: len(seen)}}), w.Flush())
}

// RestoreResult is what became of the lines of one request.
type RestoreResult struct {
	SIMs      int      `json:"sims"      doc:"put in"`
	There     int      `json:"there"     doc:"left as they are: a restore may be repeated"`
	Templates int      `json:"templates" doc:"put in"`
	Errors    []string `json:"errors"`
}

// restore puts in what lines of a dump have. The first request of a restore has the header; all may be repeated.
func (v *Service) restore(ctx context.Context, r io.Reader) (RestoreResult, error) {
	result := RestoreResult{Errors: []string{}}
	d := json.NewDecoder(r)
	var sims []dumpSIM
	for {
		var line dumpLine
		err := d.Decode(&line)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return result, bad("after %d lines: %v", result.Templates+len(sims), err)
		}
		switch {
		case line.Header != nil:
			if line.Header.Format != dumpFormat || line.Header.Version != dumpVersion {
				return result, refuse(http.StatusUnprocessableEntity, "a dump of format %q version %d: want %s version %d", line.Header.Format, line.Header.Version, dumpFormat, dumpVersion)
			}
		case line.Template != nil:
			err = v.store.PutTemplate(ctx, line.Template.Name, line.Template.Profile)
			result.Templates++
		case line.APN != nil:
			err = v.store.PutAPN(ctx, *line.APN)
			result.Templates++
		case line.SIM != nil:
			sims = append(sims, *line.SIM)
		}
		if err != nil {
			return result, refusal("template", err)
		}
	}
	for _, sim := range sims {
		switch err := v.store.Restore(ctx, sim.IMSI, sim.Profile, sim.Sealed, sim.SEQ, sim.At, sim.MME, sim.SGSN); {
		case err == nil:
			result.SIMs++
		case errors.Is(err, store.ErrExists):
			result.There++
		case errors.Is(err, store.ErrUnavailable):
			return result, refusal("SIM", err)
		default:
			result.Errors = append(result.Errors, fmt.Sprintf("%s: %v", sim.IMSI, err))
		}
	}
	if result.SIMs+result.Templates > 0 {
		v.audit(ctx, "restore", "", fmt.Sprintf("%d SIMs, %d templates, %d there already, %d refused", result.SIMs, result.Templates, result.There, len(result.Errors)), nil)
	}
	return result, nil
}
