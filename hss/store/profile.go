package store

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/identity"
)

// storedProfile is a profile as its record has it: JSON with names of one letter, since there are a million of them. Lists
// of words have a space between; a time is in seconds since 1970, 0 for none; bit rates are uplink, downlink.
type storedProfile struct {
	ICCID    string          `json:"i,omitempty"`
	EID      string          `json:"e,omitempty"`
	Batch    string          `json:"b,omitempty"`
	Times    *[3]int64       `json:"t,omitempty"` // added, status set, activated
	Template string          `json:"y,omitempty"`
	MSISDN   identity.MSISDN `json:"m,omitempty"`
	Status   string          `json:"s,omitempty"` // first letter
	AMBR     *[2]uint64      `json:"r,omitempty"`
	APNs     []storedAPN     `json:"a,omitempty"`
	PLMNs    string          `json:"p,omitempty"`
	RATs     string          `json:"x,omitempty"`
	Charging string          `json:"c,omitempty"`
	AMF      string          `json:"f,omitempty"`
	IMEIs    string          `json:"l,omitempty"`
	TACs     string          `json:"k,omitempty"`
	Lock     string          `json:"o,omitempty"` // l: learn; a: allow when absent; r: refuse when absent
	IoT      *subscriber.IoT `json:"z,omitempty"`
	Barring  string          `json:"d,omitempty"`
	OI       string          `json:"u,omitempty"`

	Serving *subscriber.Serving `json:"v,omitempty"`
}

type storedAPN struct {
	Name     identity.APN       `json:"n"`
	PDNType  subscriber.PDNType `json:"t,omitempty"`
	QCI      uint8              `json:"q,omitempty"`
	ARP      uint8              `json:"p,omitempty"` // priority, 16 more for the capability, 32 more for the vulnerability
	AMBR     *[2]uint64         `json:"r,omitempty"`
	IPv4     netip.Addr         `json:"4,omitzero"`
	IPv6     netip.Addr         `json:"6,omitzero"`
	Charging string             `json:"c,omitempty"`
	OI       string             `json:"o,omitempty"`
	Gateway  subscriber.Gateway `json:"g,omitzero"`
}

const (
	arpCapability = 1 << 4
	arpVulnerable = 1 << 5
)

func encodeProfile(p subscriber.Profile) ([]byte, error) {
	w := storedProfile{
		ICCID: p.Card.ICCID, EID: p.Card.EID, Batch: p.Card.Batch, Template: p.Template, MSISDN: p.MSISDN,
		AMBR: encodeRates(p.AMBR), PLMNs: strings.Join(p.PLMNs, " "), RATs: strings.Join(texts(p.RATs), " "), Charging: p.Charging, AMF: p.AMF,
		IMEIs: strings.Join(p.IMEILock.IMEIs, " "), TACs: strings.Join(p.IMEILock.TACs, " "),
		Barring: strings.Join(texts(p.Barring), " "), OI: p.OIReplacement,
	}
	if p.Status != "" {
		w.Status = string(p.Status[:1])
	}
	if t := [3]int64{seconds(p.Card.Added), seconds(p.Card.StatusAt), seconds(p.Card.Activated)}; t != [3]int64{} {
		w.Times = &t
	}
	if p.IMEILock.Learn {
		w.Lock = "l"
	}
	if p.IMEILock.Absent != "" {
		w.Lock += string(p.IMEILock.Absent[:1])
	}
	if !p.IoT.IsZero() {
		w.IoT = &p.IoT
	}
	if !p.Serving.IsZero() {
		w.Serving = &p.Serving
	}
	for _, a := range p.APNs {
		s := storedAPN{
			Name: a.Name, PDNType: a.PDNType, QCI: a.QCI, ARP: a.ARP.Priority, AMBR: encodeRates(a.AMBR),
			IPv4: a.StaticIPv4, IPv6: a.StaticIPv6, Charging: a.Charging, OI: a.OIReplacement, Gateway: a.Gateway,
		}
		if a.ARP.Capability {
			s.ARP |= arpCapability
		}
		if a.ARP.Vulnerable {
			s.ARP |= arpVulnerable
		}
		w.APNs = append(w.APNs, s)
	}
	b, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("encoding the profile: %w", err)
	}
	return b, nil
}

func decodeProfile(text string) (subscriber.Profile, error) {
	var w storedProfile
	if err := decode(text, &w); err != nil {
		return subscriber.Profile{}, err
	}
	p := subscriber.Profile{
		Card: subscriber.Card{ICCID: w.ICCID, EID: w.EID, Batch: w.Batch}, Template: w.Template, MSISDN: w.MSISDN,
		AMBR: decodeRates(w.AMBR), PLMNs: fields[string](w.PLMNs), RATs: fields[subscriber.RAT](w.RATs), Charging: w.Charging, AMF: w.AMF,
		IMEILock: subscriber.IMEILock{IMEIs: fields[string](w.IMEIs), TACs: fields[string](w.TACs), Learn: strings.Contains(w.Lock, "l")},
		Barring:  fields[subscriber.Barring](w.Barring), OIReplacement: w.OI,
	}
	var err error
	if p.Status, err = decodeStatus(w.Status); err != nil {
		return p, fmt.Errorf("decoding a record: %w", err)
	}
	if w.Times != nil {
		p.Card.Added, p.Card.StatusAt, p.Card.Activated = date(w.Times[0]), date(w.Times[1]), date(w.Times[2])
	}
	for _, a := range []subscriber.Absent{subscriber.AllowAbsent, subscriber.RefuseAbsent} {
		if strings.HasSuffix(w.Lock, string(a[:1])) {
			p.IMEILock.Absent = a
		}
	}
	if w.IoT != nil {
		p.IoT = *w.IoT
	}
	if w.Serving != nil {
		p.Serving = *w.Serving
	}
	for _, s := range w.APNs {
		p.APNs = append(p.APNs, subscriber.APN{
			Name: s.Name, PDNType: s.PDNType, QCI: s.QCI, AMBR: decodeRates(s.AMBR), StaticIPv4: s.IPv4, StaticIPv6: s.IPv6, Charging: s.Charging, OIReplacement: s.OI, Gateway: s.Gateway,
			ARP: subscriber.ARP{Priority: s.ARP & (arpCapability - 1), Capability: s.ARP&arpCapability != 0, Vulnerable: s.ARP&arpVulnerable != 0},
		})
	}
	return p, nil
}

// decodeStatus reads the first letter of a status; "" is none.
func decodeStatus(letter string) (subscriber.Status, error) {
	if letter == "" {
		return "", nil
	}
	if strings.HasPrefix(string(subscriber.Active), letter) { // which most are
		return subscriber.Active, nil
	}
	for _, s := range subscriber.Statuses() {
		if strings.HasPrefix(string(s), letter) {
			return s, nil
		}
	}
	return "", fmt.Errorf("status %q", letter)
}

func encodeRates(b subscriber.Bitrates) *[2]uint64 {
	if b == (subscriber.Bitrates{}) {
		return nil
	}
	return &[2]uint64{b.Uplink, b.Downlink}
}

func decodeRates(r *[2]uint64) subscriber.Bitrates {
	if r == nil {
		return subscriber.Bitrates{}
	}
	return subscriber.Bitrates{Uplink: r[0], Downlink: r[1]}
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func date(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

func texts[T ~string](all []T) []string {
	out := make([]string, len(all))
	for i, v := range all {
		out[i] = string(v)
	}
	return out
}

func fields[T ~string](text string) []T {
	if text == "" {
		return nil
	}
	out := make([]T, 0, 1+strings.Count(text, " "))
	for f := range strings.FieldsSeq(text) {
		out = append(out, T(f))
	}
	return out
}
