package provision

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

// A dump is lines of JSON: a dumpHeader, templates, lists of devices, known nodes, SIMs, and a dumpEnd, without which it is
// cut off. The keys are in it as Redis has them: sealed, so that it is of use only with the key-encryption keys. What is
// not in it: the audit log and the session log, and requests that nodes have yet to answer. Version 1 had templates and
// SIMs only, these without IND table and PDN-GWs; version 2 had no features of nodes, and PDN-GWs with a list of addresses,
// which is left out.
const (
	dumpVersion = 3
	dumpFormat  = "xepc-hss-dump"
)

// dumpLine is any line of a dump; one of the fields is set.
type dumpLine struct {
	Header    *dumpHeader           `json:"header,omitempty"`
	Template  *Template             `json:"template,omitempty"`
	APN       *subscriber.APN       `json:"apn,omitempty"`
	Equipment *subscriber.Equipment `json:"equipment,omitempty"`
	Node      *store.Node           `json:"node,omitempty"`
	SIM       *store.Saved          `json:"sim,omitempty"`
	End       *dumpEnd              `json:"end,omitempty"`
}

type dumpHeader struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	At      time.Time `json:"at"`
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
	err = v.store.EachEquipment(ctx, func(page []subscriber.Equipment) error {
		for _, one := range page {
			if err := e.Encode(dumpLine{Equipment: &one}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	nodes, err := v.store.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := e.Encode(dumpLine{Node: &n}); err != nil {
			return err
		}
	}
	seen := map[identity.IMSI]bool{} // a scan may return one twice
	err = v.store.Each(ctx, "", func(page []store.Record) error {
		page = slices.DeleteFunc(page, func(r store.Record) bool { return seen[r.IMSI] })
		all, err := v.store.Save(ctx, page, v.now())
		if err != nil {
			return err
		}
		for _, sim := range all {
			seen[sim.IMSI] = true
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

// RestoreResult is what became of the lines of one request. What is there is left as it is, so that a restore may be
// repeated.
type RestoreResult struct {
	SIMs      int      `json:"sims"      doc:"put in"`
	There     int      `json:"there"     doc:"SIMs that were there"`
	Templates int      `json:"templates" doc:"put in"`
	Equipment int      `json:"equipment" doc:"devices put on lists"`
	Nodes     int      `json:"nodes"     doc:"known nodes put in"`
	Errors    []string `json:"errors"`
}

// dumpPart is what one request of a restore has.
type dumpPart struct {
	templates subscriber.Templates
	equipment []subscriber.Equipment
	nodes     []store.Node
	sims      []store.Saved
}

// readDump reads lines of a dump. The error is a *Refused.
func readDump(r io.Reader) (dumpPart, error) {
	part := dumpPart{templates: subscriber.Templates{Profiles: map[string]subscriber.Profile{}, APNs: map[identity.APN]subscriber.APN{}}}
	d := json.NewDecoder(r)
	for lines := 0; ; lines++ {
		var line dumpLine
		err := d.Decode(&line)
		if errors.Is(err, io.EOF) {
			return part, nil
		}
		if err != nil {
			return part, bad("after %d lines: %v", lines, err)
		}
		switch {
		case line.Header != nil:
			if line.Header.Format != dumpFormat || line.Header.Version < 1 || line.Header.Version > dumpVersion {
				return part, refuse(http.StatusUnprocessableEntity, "a dump of format %q version %d: want %s version 1 to %d", line.Header.Format, line.Header.Version, dumpFormat, dumpVersion)
			}
		case line.Template != nil:
			part.templates.Profiles[line.Template.Name] = line.Template.Profile
		case line.APN != nil:
			part.templates.APNs[line.APN.Name] = *line.APN
		case line.Equipment != nil:
			if err := line.Equipment.Validate(); err != nil {
				return part, bad("after %d lines: equipment: %v", lines, err)
			}
			part.equipment = append(part.equipment, *line.Equipment)
		case line.Node != nil:
			part.nodes = append(part.nodes, *line.Node)
		case line.SIM != nil:
			part.sims = append(part.sims, *line.SIM)
		}
	}
}

// restoresAtOnce is how many SIMs are put in at the same time.
const restoresAtOnce = 32

// restore puts in what lines of a dump have. The first request of a restore has the header; all may be repeated.
func (v *Service) restore(ctx context.Context, r io.Reader) (RestoreResult, error) {
	result := RestoreResult{Errors: []string{}}
	part, err := readDump(r)
	if err != nil {
		return result, err
	}
	if result.Templates, err = v.store.RestoreTemplates(ctx, part.templates); err != nil {
		return result, refusal("template", err)
	}
	if result.Equipment, err = v.store.RestoreEquipment(ctx, part.equipment); err != nil {
		return result, refusal("equipment", err)
	}
	if result.Nodes, err = v.store.RestoreNodes(ctx, part.nodes); err != nil {
		return result, refusal("node", err)
	}
	var mu sync.Mutex
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(restoresAtOnce)
	for _, sim := range part.sims {
		group.Go(func() error {
			err := v.store.Restore(within, sim)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				result.SIMs++
			case errors.Is(err, store.ErrExists):
				result.There++
			case errors.Is(err, store.ErrUnavailable):
				return err
			default:
				result.Errors = append(result.Errors, fmt.Sprintf("%s: %v", sim.IMSI, err))
			}
			return nil
		})
	}
	err = refusal("SIM", group.Wait())
	slices.Sort(result.Errors)
	if err != nil || result.SIMs+result.Templates+result.Equipment+result.Nodes+len(result.Errors) > 0 {
		v.audit(ctx, "restore", "", fmt.Sprintf("%d SIMs, %d templates, %d devices, %d nodes; %d SIMs there already, %d refused",
			result.SIMs, result.Templates, result.Equipment, result.Nodes, result.There, len(result.Errors)), err)
	}
	return result, err
}
