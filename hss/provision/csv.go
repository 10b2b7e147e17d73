package provision

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

// column is one column of the CSV form of SIMs. A cell that is empty says nothing of a new SIM; a SIM that is changed has it
// no more. Lists of words have a space between.
type column struct {
	name string
	set  func(*NewSIM, string) error
	get  func(subscriber.Subscriber) string // nil: a key, or of no use in an export
	copy func(to, from *NewSIM)
}

// copying makes the copy of a column that is about one part of a SIM.
func copying[T any](part func(*NewSIM) *T) func(to, from *NewSIM) {
	return func(to, from *NewSIM) { *part(to) = *part(from) }
}

// strict reads the JSON of a cell; what it has that there is not is a fault.
func strict(cell string, into any) error {
	d := json.NewDecoder(strings.NewReader(cell))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one value")
	}
	return nil
}

func textColumn(name string, to func(*NewSIM) *string) column {
	return column{
		name: name, copy: copying(to),
		set: func(s *NewSIM, cell string) error { *to(s) = cell; return nil },
		get: func(sub subscriber.Subscriber) string {
			s := NewSIM{IMSI: Verbatim(sub.IMSI), Profile: sub.Profile}
			return *to(&s)
		},
	}
}

func listColumn[T ~string](name string, to func(*NewSIM) *[]T) column {
	return column{
		name: name, copy: copying(to),
		set: func(s *NewSIM, cell string) error {
			for word := range strings.FieldsSeq(cell) {
				*to(s) = append(*to(s), T(word))
			}
			return nil
		},
		get: func(sub subscriber.Subscriber) string {
			s := NewSIM{Profile: sub.Profile}
			words := make([]string, len(*to(&s)))
			for i, w := range *to(&s) {
				words[i] = string(w)
			}
			return strings.Join(words, " ")
		},
	}
}

func numberColumn[T uint8 | uint32 | uint64](name string, to func(*NewSIM) *T) column {
	return column{
		name: name, copy: copying(to),
		set: func(s *NewSIM, cell string) error {
			n, err := strconv.ParseUint(cell, 10, 64)
			if err != nil || uint64(T(n)) != n {
				return fmt.Errorf("%q is no such number", cell)
			}
			*to(s) = T(n)
			return nil
		},
		get: func(sub subscriber.Subscriber) string {
			s := NewSIM{Profile: sub.Profile}
			if *to(&s) == 0 {
				return ""
			}
			return strconv.FormatUint(uint64(*to(&s)), 10)
		},
	}
}

// hidden takes a column out of exports.
func hidden(c column) column { c.get = nil; return c }

// columns are all there are, in the order of an export.
func columns() []column {
	return []column{
		{
			name: "imsi", copy: func(_, _ *NewSIM) {}, // names the SIM
			set: func(s *NewSIM, cell string) error { s.IMSI = Verbatim(cell); return nil },
			get: func(sub subscriber.Subscriber) string { return string(sub.IMSI) },
		},
		textColumn("iccid", func(s *NewSIM) *string { return &s.Card.ICCID }),
		textColumn("eid", func(s *NewSIM) *string { return &s.Card.EID }),
		textColumn("batch", func(s *NewSIM) *string { return &s.Card.Batch }),
		textColumn("msisdn", func(s *NewSIM) *string { return (*string)(&s.MSISDN) }),
		textColumn("status", func(s *NewSIM) *string { return (*string)(&s.Status) }),
		textColumn("template", func(s *NewSIM) *string { return &s.Template }),
		numberColumn("ambr_uplink", func(s *NewSIM) *uint64 { return &s.AMBR.Uplink }),
		numberColumn("ambr_downlink", func(s *NewSIM) *uint64 { return &s.AMBR.Downlink }),
		{name: "apns", copy: copying(func(s *NewSIM) *[]subscriber.APN { return &s.APNs }), set: setAPNs, get: func(sub subscriber.Subscriber) string { return apnsCell(sub.Profile.APNs) }},
		listColumn("plmns", func(s *NewSIM) *[]string { return &s.PLMNs }),
		listColumn("rats", func(s *NewSIM) *[]subscriber.RAT { return &s.RATs }),
		textColumn("charging", func(s *NewSIM) *string { return &s.Charging }),
		listColumn("barring", func(s *NewSIM) *[]subscriber.Barring { return &s.Barring }),
		textColumn("oi_replacement", func(s *NewSIM) *string { return &s.OIReplacement }),
		textColumn("amf", func(s *NewSIM) *string { return &s.AMF }),
		listColumn("imeis", func(s *NewSIM) *[]string { return &s.IMEILock.IMEIs }),
		listColumn("tacs", func(s *NewSIM) *[]string { return &s.IMEILock.TACs }),
		{
			name: "imei_learn", copy: copying(func(s *NewSIM) *bool { return &s.IMEILock.Learn }),
			set: func(s *NewSIM, cell string) (err error) { s.IMEILock.Learn, err = strconv.ParseBool(cell); return err },
			get: func(sub subscriber.Subscriber) string {
				if sub.Profile.IMEILock.Learn {
					return "true"
				}
				return ""
			},
		},
		textColumn("imei_absent", func(s *NewSIM) *string { return (*string)(&s.IMEILock.Absent) }),
		{
			name: "iot", copy: copying(func(s *NewSIM) *subscriber.IoT { return &s.IoT }),
			set: func(s *NewSIM, cell string) error { return strict(cell, &s.IoT) },
			get: func(sub subscriber.Subscriber) string {
				if sub.Profile.IoT.IsZero() {
					return ""
				}
				j, _ := json.Marshal(sub.Profile.IoT) // numbers only: it cannot fail
				return string(j)
			},
		},
		{
			name: "serving", copy: copying(func(s *NewSIM) *subscriber.Serving { return &s.Serving }),
			set: func(s *NewSIM, cell string) error { return strict(cell, &s.Serving) },
			get: func(sub subscriber.Subscriber) string {
				if sub.Profile.Serving.IsZero() {
					return ""
				}
				j, _ := json.Marshal(sub.Profile.Serving) // plain data: it cannot fail
				return string(j)
			},
		},
		hidden(textColumn("algorithm", func(s *NewSIM) *string { return (*string)(&s.Algorithm) })),
		hidden(textColumn("k", func(s *NewSIM) *string { return (*string)(&s.K) })),
		hidden(textColumn("opc", func(s *NewSIM) *string { return (*string)(&s.OPc) })),
		hidden(textColumn("op", func(s *NewSIM) *string { return (*string)(&s.OP) })),
		hidden(textColumn("transport_key", func(s *NewSIM) *string { return &s.TransportKey })),
		hidden(numberColumn("iterations", func(s *NewSIM) *uint8 { return &s.Iterations })),
		hidden(numberColumn("res_octets", func(s *NewSIM) *uint8 { return &s.RESOctets })),
		hidden(numberColumn("seq", func(s *NewSIM) *uint64 { return &s.SEQ })),
	}
}

const byteOrderMark = "\ufeff"

// NewCSVReader returns a reader of the rows of an import. A byte order mark, which spreadsheets put in front, is no part of them.
func NewCSVReader(r io.Reader) *csv.Reader {
	b := bufio.NewReader(r)
	if begin, _ := b.Peek(len(byteOrderMark)); string(begin) == byteOrderMark {
		_, _ = b.Discard(len(byteOrderMark)) // what is there can be discarded
	}
	c := csv.NewReader(b)
	c.FieldsPerRecord = -1
	return c
}

// header finds the columns that a CSV's first row names, in any order.
func header(cells []string) ([]column, error) {
	all := columns()
	var found []column
	seen := map[string]bool{}
	for _, cell := range cells {
		name := strings.ToLower(strings.TrimSpace(cell))
		i := slices.IndexFunc(all, func(c column) bool { return c.name == name })
		if i < 0 {
			names := make([]string, len(all))
			for j, c := range all {
				names[j] = c.name
			}
			return nil, fmt.Errorf("column %q is unknown; there are %s", cell, strings.Join(names, ", "))
		}
		if seen[name] {
			return nil, fmt.Errorf("column %q stands twice", name)
		}
		seen[name] = true
		found = append(found, all[i])
	}
	if !seen["imsi"] {
		return nil, fmt.Errorf("there is no column imsi")
	}
	return found, nil
}

// parseRow reads one row. The error names the column and, where it may be a key, not the cell.
func parseRow(columns []column, cells []string) (NewSIM, error) {
	var s NewSIM
	if len(cells) != len(columns) {
		return s, fmt.Errorf("%d cells, want %d", len(cells), len(columns))
	}
	for i, c := range columns {
		cell := strings.TrimSpace(cells[i])
		if cell == "" {
			continue
		}
		if err := c.set(&s, cell); err != nil {
			return s, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return s, nil
}

// setAPNs reads words of APN or APN=ADDRESS, with a comma between two addresses; or JSON, for all that an APN may have.
func setAPNs(s *NewSIM, cell string) error {
	if strings.HasPrefix(cell, "[") {
		return strict(cell, &s.APNs)
	}
	for word := range strings.FieldsSeq(cell) {
		name, addresses, _ := strings.Cut(word, "=")
		apn, err := identity.ParseAPN(name)
		if err != nil {
			return err
		}
		a := subscriber.APN{Name: apn}
		for text := range strings.SplitSeq(addresses, ",") {
			if text == "" {
				continue
			}
			ip, err := netip.ParseAddr(text)
			if err != nil {
				return fmt.Errorf("%q is no address", text)
			}
			if ip.Is4() {
				a.StaticIPv4 = ip
			} else {
				a.StaticIPv6 = ip
			}
		}
		s.APNs = append(s.APNs, a)
	}
	return nil
}

func apnsCell(apns []subscriber.APN) string {
	words := make([]string, 0, len(apns))
	for _, a := range apns {
		var addresses []string
		for _, ip := range []netip.Addr{a.StaticIPv4, a.StaticIPv6} {
			if ip.IsValid() {
				addresses = append(addresses, ip.String())
			}
		}
		if (subscriber.APN{Name: a.Name, StaticIPv4: a.StaticIPv4, StaticIPv6: a.StaticIPv6}) != a {
			j, _ := json.Marshal(apns) // plain data: it cannot fail
			return string(j)
		}
		word := string(a.Name)
		if len(addresses) > 0 {
			word += "=" + strings.Join(addresses, ",")
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// ColumnNames are the columns that an import may have.
func ColumnNames() []string {
	var names []string
	for _, c := range columns() {
		names = append(names, c.name)
	}
	return names
}
