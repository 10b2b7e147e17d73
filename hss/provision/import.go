package provision

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/identity"
)

// ImportOptions say what an import may do.
type ImportOptions struct {
	DryRun bool // only check
	Update bool // change SIMs that are there with other values; else those are errors
}

// ImportResult is what became of the rows of one request.
type ImportResult struct {
	Rows      int        `json:"rows"`
	Added     int        `json:"added"`
	Updated   int        `json:"updated"`
	Unchanged int        `json:"unchanged" doc:"there already with the same values: an import may be repeated"`
	Errors    []RowError `json:"errors"`
}

// RowError is a row that was left out and why.
type RowError struct {
	Row    int    `json:"row"  doc:"1 is the first below the header of this request"`
	IMSI   string `json:"imsi"`
	Reason string `json:"reason"`
}

const maxImportRows = 10_000 // of one request

// row is one row of an import on its way.
type row struct {
	number  int
	columns []column
	sim     NewSIM
	new     store.New
	keys    bool // it has keys
}

// importRows puts the SIMs of a CSV with a header in. It may be repeated: what is there is left as it is.
func (v *Service) importRows(ctx context.Context, r io.Reader, o ImportOptions) (ImportResult, error) {
	result := ImportResult{Errors: []RowError{}}
	rows, err := v.readRows(ctx, r, &result)
	if err != nil {
		return result, err
	}
	if err := v.importChecked(ctx, rows, o, &result); err != nil {
		return result, refusal("import", err)
	}
	for what, n := range map[string]int{"added": result.Added, "updated": result.Updated, "unchanged": result.Unchanged, "refused": len(result.Errors)} {
		if !o.DryRun {
			v.stats.rows.WithLabelValues(what).Add(float64(n))
		}
	}
	if !o.DryRun && len(rows) > 0 && result.Added+result.Updated+len(result.Errors) > 0 {
		v.audit(ctx, "sim.import", fmt.Sprintf("%s to %s", rows[0].new.IMSI, rows[len(rows)-1].new.IMSI),
			fmt.Sprintf("%d added, %d updated, %d unchanged, %d refused", result.Added, result.Updated, result.Unchanged, len(result.Errors)), nil)
	}
	return result, nil
}

func (r *ImportResult) refuse(number int, imsi string, err error) {
	r.Errors = append(r.Errors, RowError{Row: number, IMSI: withoutKeys(imsi), Reason: withoutKeys(err.Error())})
}

// readRows parses and checks all rows; those with faults become errors of the result.
func (v *Service) readRows(ctx context.Context, r io.Reader, result *ImportResult) ([]row, error) {
	c := NewCSVReader(r)
	c.ReuseRecord = true
	first, err := c.Read()
	if err != nil {
		return nil, bad("the header: %v", err)
	}
	columns, err := header(first)
	if err != nil {
		return nil, bad("the header: %v", err)
	}
	var rows []row
	for number := 1; ; number++ {
		cells, err := c.Read()
		if errors.Is(err, io.EOF) {
			result.Rows = number - 1
			return rows, nil
		}
		if err != nil {
			return nil, bad("row %d: %v", number, err)
		}
		if number > maxImportRows {
			return nil, refuse(http.StatusRequestEntityTooLarge, "more than %d rows: send them in parts", maxImportRows)
		}
		sim, err := parseRow(columns, cells)
		if err != nil {
			result.refuse(number, string(sim.IMSI), err)
			continue
		}
		one := row{number: number, columns: columns, sim: sim, keys: sim.K != ""}
		if !one.keys { // for a SIM that is there
			sim.K, sim.OPc, sim.Algorithm = placeholder, "", aka.XOR
		}
		if one.new, err = v.read(ctx, sim); err != nil {
			if errors.Is(err, store.ErrUnavailable) || statusOf(err) == http.StatusServiceUnavailable {
				return nil, err
			}
			result.refuse(number, string(sim.IMSI), err)
			continue
		}
		rows = append(rows, one)
	}
}

// placeholder stands for K in the check of a row that has none; it is never stored.
const placeholder = "00000000000000000000000000000000"

func (v *Service) importChecked(ctx context.Context, rows []row, o ImportOptions, result *ImportResult) error {
	imsis := make([]identity.IMSI, len(rows))
	for i, r := range rows {
		imsis[i] = r.new.IMSI
	}
	there, err := v.there(ctx, imsis)
	if err != nil {
		return err
	}
	taken, release, err := v.takenMSISDNs(ctx, rows, there)
	if err != nil {
		return err
	}
	defer release()
	var fresh []row
	var old []row
	for _, r := range rows {
		_, exists := there[r.new.IMSI]
		switch {
		case taken[r.number] != nil:
			result.refuse(r.number, string(r.new.IMSI), taken[r.number])
		case exists:
			old = append(old, r)
		case !r.keys:
			result.refuse(r.number, string(r.new.IMSI), errors.New("k: a new SIM needs keys"))
		default:
			fresh = append(fresh, r)
		}
	}
	if o.DryRun {
		if fresh, err = v.withAddresses(ctx, once(fresh, o, result), result); err != nil {
			return err
		}
		result.Added = len(fresh)
	} else {
		again, err := v.addRows(ctx, fresh, result)
		if err != nil {
			return err
		}
		old = append(old, again...)
	}
	release() // those that are changed reserve what they are given each
	return v.compareRows(ctx, old, o, result)
}

// once returns the first row of each new SIM, for a dry run, and counts what becomes of the others.
func once(rows []row, o ImportOptions, result *ImportResult) []row {
	first := map[identity.IMSI]row{}
	return slices.DeleteFunc(rows, func(r row) bool {
		before, again := first[r.new.IMSI]
		switch {
		case !again:
			first[r.new.IMSI] = r
		case before.new.Keys != r.new.Keys:
			result.refuse(r.number, string(r.new.IMSI), fmt.Errorf("the SIM is in row %d with other keys", before.number))
		case difference(before.new.Profile, r.over(before.new.Profile)) == "":
			result.Unchanged++
		case o.Update:
			result.Updated++
		default:
			result.refuse(r.number, string(r.new.IMSI), fmt.Errorf("the SIM is in row %d with other values", before.number))
		}
		return again
	})
}

func (v *Service) there(ctx context.Context, imsis []identity.IMSI) (map[identity.IMSI]store.Record, error) {
	records, err := v.store.LoadMany(ctx, imsis)
	if err != nil {
		return nil, err
	}
	all := make(map[identity.IMSI]store.Record, len(records))
	for _, r := range records {
		all[r.IMSI] = r
	}
	return all, nil
}

// takenMSISDNs returns by row number why the row cannot have its MSISDN: a SIM on another card has it. It reserves those of
// the SIMs that are new until release.
func (v *Service) takenMSISDNs(ctx context.Context, rows []row, there map[identity.IMSI]store.Record) (taken map[int]error, release func(), err error) {
	taken = map[int]error{}
	var names []string
	var fresh []store.Wanted
	first := map[identity.MSISDN]store.New{} // in this request
	for _, r := range rows {
		msisdn := r.new.Profile.MSISDN
		other, again := first[msisdn]
		switch _, exists := there[r.new.IMSI]; {
		case msisdn == "":
			continue
		case again && other.IMSI != r.new.IMSI && !sameCard(other, r.new):
			taken[r.number] = isThatOf(msisdn, other.IMSI)
			continue
		case !again && !exists:
			fresh = append(fresh, store.Wanted{Name: string(msisdn), IMSI: r.new.IMSI})
		}
		first[msisdn] = r.new
		names = append(names, string(msisdn))
	}
	got, release, err := v.store.Reserve(ctx, store.ByMSISDN, fresh...)
	if err != nil {
		return nil, nil, err
	}
	lost := map[string]bool{}
	for i, w := range fresh {
		lost[w.Name] = !got[i]
	}
	holders, err := v.store.Holders(ctx, store.ByMSISDN, names)
	if err != nil {
		release()
		return nil, nil, err
	}
	for _, r := range rows {
		msisdn := r.new.Profile.MSISDN
		if msisdn == "" || taken[r.number] != nil {
			continue
		}
		if lost[string(msisdn)] {
			taken[r.number] = reserved(msisdn)
		}
		for _, imsi := range holders[string(msisdn)] {
			if imsi != r.new.IMSI {
				if err := v.unique(ctx, r.new.IMSI, r.new.Profile); err != nil { // with the records, since an index may be stale
					taken[r.number] = isThatOf(msisdn, imsi)
				}
				break
			}
		}
	}
	return taken, release, nil
}

func sameCard(a, b store.New) bool {
	return a.Profile.Card.ICCID != "" && a.Profile.Card.ICCID == b.Profile.Card.ICCID
}

// withAddresses returns the rows whose static addresses are nobody's, for a dry run: else the store says so.
func (v *Service) withAddresses(ctx context.Context, rows []row, result *ImportResult) ([]row, error) {
	var all []store.Address
	for _, r := range rows {
		all = append(all, store.AddressesOf(r.new.Profile)...)
	}
	holders, err := v.store.AddressHolders(ctx, all)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(rows, func(r row) bool {
		addresses := store.AddressesOf(r.new.Profile)
		for _, a := range addresses {
			if by := holders[a]; by != "" && by != r.new.IMSI {
				result.refuse(r.number, string(r.new.IMSI), &store.TakenError{Address: a, By: by})
				return true
			}
		}
		for _, a := range addresses {
			holders[a] = r.new.IMSI
		}
		return false
	}), nil
}

// addRows puts new SIMs in, and returns those that came in otherwise meanwhile.
func (v *Service) addRows(ctx context.Context, rows []row, result *ImportResult) ([]row, error) {
	all := make([]store.New, len(rows))
	for i, r := range rows {
		all[i] = r.new
	}
	outcomes, err := v.store.AddMany(ctx, all, v.now())
	if err != nil {
		return nil, err
	}
	var again []row
	for i, outcome := range outcomes {
		switch {
		case outcome == nil:
			result.Added++
		case errors.Is(outcome, store.ErrExists):
			again = append(again, rows[i])
		default:
			result.refuse(rows[i].number, string(rows[i].new.IMSI), outcome)
		}
	}
	return again, nil
}

// compareRows compares rows with the SIMs that are there, and changes those that differ when it may.
func (v *Service) compareRows(ctx context.Context, rows []row, o ImportOptions, result *ImportResult) error {
	if len(rows) == 0 {
		return nil
	}
	imsis := make([]identity.IMSI, len(rows))
	for i, r := range rows {
		imsis[i] = r.new.IMSI
	}
	keys, err := v.store.CredentialsMany(ctx, imsis)
	if err != nil {
		return err
	}
	records, err := v.there(ctx, imsis)
	if err != nil {
		return err
	}
	for _, r := range rows {
		record, ok := records[r.new.IMSI]
		if !ok {
			result.refuse(r.number, string(r.new.IMSI), errors.New("was removed meanwhile: import it again"))
			continue
		}
		if r.keys && keys[r.new.IMSI] != r.new.Keys {
			result.refuse(r.number, string(r.new.IMSI), errors.New("the SIM is there with other keys: remove it first"))
			continue
		}
		next := r.over(record.Stored)
		detail := difference(record.Stored, next)
		switch {
		case detail == "":
			result.Unchanged++
		case !o.Update:
			result.refuse(r.number, string(r.new.IMSI), fmt.Errorf("the SIM is there with other values (%s): --update changes it", clip(detail)))
		case record.Profile.Status != r.new.Profile.Status && r.sim.Status != "" && !record.Profile.Status.May(r.new.Profile.Status):
			result.refuse(r.number, string(r.new.IMSI), fmt.Errorf("status: from %s to %s is no way", record.Profile.Status, r.new.Profile.Status))
		case o.DryRun:
			result.Updated++
		default:
			_, err := v.change(ctx, "sim.import", r.new.IMSI, func(now store.Record) (subscriber.Profile, error) { return r.withDates(v, now.Stored), nil })
			if err != nil {
				result.refuse(r.number, string(r.new.IMSI), err)
				continue
			}
			result.Updated++
		}
	}
	return nil
}

// over is the record's profile with what the columns of the file say, but for the status when the row has none.
func (r row) over(stored subscriber.Profile) subscriber.Profile {
	next := NewSIM{Profile: stored}
	for _, c := range r.columns {
		c.copy(&next, &r.sim)
	}
	if r.sim.Status == "" {
		next.Status = stored.Status
	}
	return next.Profile
}

func (r row) withDates(v *Service, stored subscriber.Profile) subscriber.Profile {
	next := r.over(stored)
	if next.Status != stored.Status {
		return next.WithStatus(next.Status, v.now())
	}
	return next
}

// writeCSV writes SIMs as an export: all but the keys.
func (v *Service) writeCSV(ctx context.Context, w io.Writer, m store.Match) error {
	c := csv.NewWriter(w)
	var shown []column
	var names []string
	for _, col := range columns() {
		if col.get != nil {
			shown = append(shown, col)
			names = append(names, col.name)
		}
	}
	if err := c.Write(names); err != nil {
		return err
	}
	cells := make([]string, len(shown))
	err := v.store.Each(ctx, m.Prefix, func(page []store.Record) error {
		for _, r := range page {
			if !m.Matches(r) {
				continue
			}
			for i, col := range shown {
				cells[i] = col.get(subscriber.Subscriber{IMSI: r.IMSI, Profile: r.Stored})
			}
			if err := c.Write(cells); err != nil {
				return err
			}
		}
		c.Flush()
		return c.Error()
	})
	return err
}

func statusOf(err error) int {
	var refused *Refused
	if errors.As(err, &refused) {
		return refused.Status
	}
	return 0
}
