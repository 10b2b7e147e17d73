package sxb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime/debug"
	"time"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/journal"
	"github.com/xepc/xepc/userplane/session"
)

// RecordVersion is that of everything this package writes to the journal.
const RecordVersion = 4<<8 | session.CodecVersion

// Kinds of journal keys, and what their id is. The journal finds kinds 3 and 4 of an id by one look at memory.
const (
	kindNode        uint8 = 1 // 0: Recovery Time Stamp and SEID epoch
	kindAssociation uint8 = 2 // the association's number
	kindSession     uint8 = 3 // our SEID
	kindResponse    uint8 = 4 // our SEID: the answer of the session's last request
	kindResting     uint8 = 5 // hash of a UE address that rests
	kindPFDs        uint8 = 6 // hash of the association's number and an application id
)

var errRecord = errors.New("malformed record")

// State is what the journal holds of an edge: what one process leaves to the next.
type State struct {
	Recovery pfcp.RecoveryTimeStamp // 0: none was written
	epoch    uint32                 // of SEIDs: their upper 32 bits; the next process's is higher

	associations map[uint32]associationRecord
	sessions     *store // records: decoded, a million of them would be gigabytes
	responses    *store // answers of the last requests, by session
	resting      []restRecord
	pfds         map[uint32]pfds // by association
	unreadable   error           // the first value that could not be read
}

// restoreGC is how many per cent the heap may grow between two collections while a state is restored.
const restoreGC = 25

// SaveMemory has garbage collected more often until what it returns is called: while a State is read and restored, what is
// thrown away is many times what stays, and hardly any of it has pointers to follow. GOGC in the environment stands above it.
func SaveMemory() (end func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	was := debug.SetGCPercent(restoreGC)
	return func() { debug.SetGCPercent(was) }
}

// NewState returns an empty state, whose Load reads a journal.
func NewState() *State {
	return &State{
		sessions:     newStore(),
		associations: map[uint32]associationRecord{},
		responses:    newStore(),
		pfds:         map[uint32]pfds{},
	}
}

// Load takes one value of the journal. It is the function that journal.Open and journal.Read want. A value that it
// cannot read does not stop the others from being read; Open then takes the state for lost.
func (s *State) Load(key journal.Key, value []byte) error {
	if err := s.load(key, value); err != nil && s.unreadable == nil {
		s.unreadable = fmt.Errorf("journal value of kind %d, id %#x: %w", key.Kind, key.ID, err)
	}
	return nil
}

func (s *State) load(key journal.Key, value []byte) error {
	switch key.Kind {
	case kindNode:
		if len(value) != 8 {
			return errRecord
		}
		s.Recovery = pfcp.RecoveryTimeStamp(binary.BigEndian.Uint32(value))
		s.epoch = binary.BigEndian.Uint32(value[4:])
	case kindAssociation:
		a, err := parseAssociation(value)
		if err != nil {
			return err
		}
		s.associations[uint32(key.ID)] = a
	case kindSession:
		var one session.Session
		if err := one.UnmarshalBinary(value); err != nil {
			return err
		}
		s.sessions.put(one.SEID, value)
	case kindResponse:
		if _, err := parseResponse(value); err != nil {
			return err
		}
		s.responses.put(pfcp.SEID(key.ID), value)
	case kindResting:
		r, err := parseRest(value)
		if err != nil {
			return err
		}
		s.resting = append(s.resting, r)
	case kindPFDs:
		r, err := parsePFDs(value)
		if err != nil {
			return err
		}
		if s.pfds[r.owner] == nil {
			s.pfds[r.owner] = pfds{}
		}
		s.pfds[r.owner][r.application] = r.filters
	default:
		return fmt.Errorf("kind %d: %w", key.Kind, errRecord)
	}
	return nil
}

// Sessions yields the sessions.
func (s *State) Sessions(yield func(session.Session) bool) { s.sessions.each(yield) }

// Peers returns what is known of the associations, for commands while the daemon is down.
func (s *State) Peers() []PeerInfo {
	count := map[uint32]int64{}
	for one := range s.Sessions {
		count[one.Owner]++
	}
	var all []PeerInfo
	for id, a := range s.associations {
		all = append(all, PeerInfo{
			Number: id, NodeID: a.node.String(), Address: a.addr, RecoveryTimeStamp: a.recovery, State: "unknown",
			Sessions: count[id], Applications: len(s.pfds[id]),
		})
	}
	sortPeers(all)
	return all
}

func nodeRecord(recovery pfcp.RecoveryTimeStamp, epoch uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(recovery))
	return binary.BigEndian.AppendUint32(b, epoch)
}

type associationRecord struct {
	node     pfcp.NodeID
	addr     netip.Addr
	recovery pfcp.RecoveryTimeStamp
	features uint8 // CP Function Features, octet 5
}

func (a associationRecord) encode() []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(a.recovery))
	b = append(b, a.features)
	b = appendField(b, a.addr.AsSlice())
	b = appendField(b, a.node.Addr.AsSlice())
	return appendField(b, []byte(a.node.FQDN))
}

func parseAssociation(b []byte) (a associationRecord, err error) {
	if len(b) < 5 {
		return a, errRecord
	}
	a.recovery = pfcp.RecoveryTimeStamp(binary.BigEndian.Uint32(b))
	var addr, node, fqdn []byte
	a.features = b[4]
	b = b[5:]
	for _, field := range []*[]byte{&addr, &node, &fqdn} {
		if *field, b, err = takeField(b); err != nil {
			return a, err
		}
	}
	var ok bool
	if a.addr, ok = netip.AddrFromSlice(addr); !ok {
		return a, errRecord
	}
	a.node.Addr, _ = netip.AddrFromSlice(node) // empty when the id is an FQDN
	a.node.FQDN = string(fqdn)
	return a, nil
}

// responseRecord is the answer of a request, kept for a duplicate that comes to the next process.
type responseRecord struct {
	peer     netip.AddrPort
	sequence pfcp.Sequence
	given    time.Time
	octets   []byte // those of the record that it was read from
}

func (r responseRecord) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.given.Unix()))
	b = binary.BigEndian.AppendUint32(b, uint32(r.sequence))
	b = binary.BigEndian.AppendUint16(b, r.peer.Port())
	b = appendField(b, r.peer.Addr().AsSlice())
	return append(b, r.octets...)
}

func parseResponse(b []byte) (r responseRecord, err error) {
	if len(b) < 14 {
		return r, errRecord
	}
	r.given = time.Unix(int64(binary.BigEndian.Uint64(b)), 0)
	r.sequence = pfcp.Sequence(binary.BigEndian.Uint32(b[8:]))
	port := binary.BigEndian.Uint16(b[12:])
	raw, rest, err := takeField(b[14:])
	if err != nil {
		return r, err
	}
	addr, ok := netip.AddrFromSlice(raw)
	if !ok {
		return r, errRecord
	}
	r.peer = netip.AddrPortFrom(addr, port)
	r.octets = rest
	return r, nil
}

func appendField(b, field []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(field)))
	return append(b, field...)
}

func takeField(b []byte) (field, rest []byte, err error) {
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
		return nil, nil, errRecord
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	return b[2:n], b[n:], nil
}
