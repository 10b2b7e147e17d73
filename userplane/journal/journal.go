// Package journal owns the file that a PGW-U's PFCP state survives a killed process in: keys and values, appended
// to segments on tmpfs without fsync. What was written is there after kill -9, and gone after a reboot, as the
// data path's maps are. It never looks into a value.
//
// A segment begins with a header that names format, version and boot; then come frames, one for each Batch:
//
//	length of the payload  uint32, little endian
//	CRC-32C of the payload uint32, little endian
//	payload                operations: put or delete, kind, id, and for a put the value
//
// A frame is there whole or not at all: a batch is atomic. A frame that is cut short or does not match its
// checksum ends its segment; the segments after it are still read, for a start always begins a new one.
// When more than half of the octets are out of date, the oldest segment's live values are appended again and
// the segment removed. Oldest first, so that a deletion outlives every older put of its key.
package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Format constants: ours.
const (
	magic       = "xepcjrn1"
	bootIDSize  = 36
	headerSize  = len(magic) + 2 + bootIDSize + 4
	frameHeader = 8
	maxFrame    = 16 << 20
	maxBatch    = 4 << 20 // of Write; maxSegment and one more batch must fit into the frame that clean makes
	maxSegment  = 8 << 20
	suffix      = ".journal"
	lockFile    = "lock"
)

// ErrLocked is what Open returns when another process has the journal open.
var ErrLocked = errors.New("another process has the journal open")

// Key names a value.
type Key struct {
	Kind uint8
	ID   uint64
}

// Options of a Journal.
type Options struct {
	Dir          string // made when it is not there; should be on tmpfs
	Version      uint16 // of the values: a journal of another version is not read
	BootID       string // of the machine: a journal of another boot is not read
	SegmentBytes int    // when a new segment begins; 0: 4 MiB, at most 8 MiB
}

// Found says what Open found.
type Found struct {
	Fresh string // why there is nothing: "no journal", "another boot", "another version"; "" when it was read
	Torn  int    // octets at ends of segments that were not whole frames: what a kill cut off
	Live  int    // keys
}

// Journal is open for writing by one process. Its methods are safe for concurrent use.
type Journal struct {
	opts Options

	mu       sync.Mutex
	lock     *os.File
	segments []*segment // oldest first; the last is being written
	index    index
	live     int64 // octets of the operations that are up to date
	total    int64 // octets of all frames
	roll     bool  // the last segment's end is unsound: begin another
}

type segment struct {
	number uint32
	path   string
	file   *os.File // nil unless it is the last
	size   int64
}

// place is where a live value stands. The zero one is nowhere.
type place struct {
	segment     uint32
	offset      uint32 // of the value in the file
	size, whole uint32 // of the value; of the operation
}

// index says where the live values stand: by id, in a map for each two kinds. Kinds 2n-1 and 2n of an id share an element: what
// is written together is found by one look at memory.
type index struct {
	at   [1 << 7]map[uint64][2]place
	keys int
}

func (x *index) of(kind uint8) (pair *map[uint64][2]place, which int) {
	return &x.at[(int(kind)+1)/2%len(x.at)], int(kind+1) % 2
}

func (x *index) get(key Key) (place, bool) {
	pair, which := x.of(key.Kind)
	p := (*pair)[key.ID][which]
	return p, p != place{}
}

// set notes where the value of a key stands, and returns where it did.
func (x *index) set(key Key, p place) (was place) {
	pair, which := x.of(key.Kind)
	both := (*pair)[key.ID]
	was, both[which] = both[which], p
	switch {
	case both == [2]place{}:
		delete(*pair, key.ID)
	case *pair == nil:
		*pair = map[uint64][2]place{key.ID: both}
	default:
		(*pair)[key.ID] = both
	}
	if was != (place{}) {
		x.keys--
	}
	if p != (place{}) {
		x.keys++
	}
	return was
}

// all yields every key with its place.
func (x *index) all(yield func(Key, place) bool) {
	for n, pair := range x.at {
		for id, both := range pair {
			for which, p := range both {
				if key := (Key{uint8(2*n - 1 + which), id}); p != (place{}) && !yield(key, p) {
					return
				}
			}
		}
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// BootID returns the kernel's id of this boot.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Open reads the journal in opts.Dir, or begins one, and locks it. Each live value is handed to load, in no
// order, before Open returns; load must not keep the slice. Without load nothing is handed over.
func Open(opts Options, load func(Key, []byte) error) (*Journal, Found, error) {
	if opts.SegmentBytes <= 0 {
		opts.SegmentBytes = 4 << 20
	}
	opts.SegmentBytes = min(opts.SegmentBytes, maxSegment)
	if len(opts.BootID) > bootIDSize {
		return nil, Found{}, fmt.Errorf("boot id %q: longer than %d octets", opts.BootID, bootIDSize)
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, Found{}, fmt.Errorf("making the journal's folder: %w", err)
	}
	lock, err := takeLock(opts.Dir)
	if err != nil {
		return nil, Found{}, err
	}
	j := &Journal{opts: opts, lock: lock}
	found, err := j.read()
	if err == nil && load != nil {
		err = j.each(load)
	}
	if err == nil {
		err = j.begin()
	}
	if err != nil {
		_ = j.Close()
		return nil, Found{}, err
	}
	found.Live = j.index.keys
	return j, found, nil
}

// Read hands each live value of a journal to load without locking it: for commands while the daemon is down.
func Read(opts Options, load func(Key, []byte) error) (Found, error) {
	j := &Journal{opts: opts}
	found, err := j.scan()
	if err != nil || found.Fresh != "" {
		return found, err
	}
	found.Live = j.index.keys
	return found, j.each(load)
}

func takeLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the journal's lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", dir, ErrLocked)
		}
		return nil, fmt.Errorf("locking the journal: %w", err)
	}
	return f, nil
}

// read scans the segments, and removes them all when they belong to another boot or version.
func (j *Journal) read() (Found, error) {
	found, err := j.scan()
	if err != nil {
		return found, err
	}
	if found.Fresh != "" {
		for _, s := range j.segments {
			if err := os.Remove(s.path); err != nil {
				return found, fmt.Errorf("removing an outdated journal: %w", err)
			}
		}
		j.segments, j.index, j.live, j.total = nil, index{}, 0, 0
	}
	return found, nil
}

func (j *Journal) scan() (Found, error) {
	paths, err := filepath.Glob(filepath.Join(j.opts.Dir, "*"+suffix))
	if err != nil {
		return Found{}, fmt.Errorf("listing the journal: %w", err)
	}
	if len(paths) == 0 {
		return Found{Fresh: "no journal"}, nil
	}
	slices.Sort(paths) // the numbers have leading zeros
	var found Found
	for _, path := range paths {
		s := &segment{path: path}
		if _, err := fmt.Sscanf(filepath.Base(path), "%016x", &s.number); err != nil {
			return found, fmt.Errorf("%s is no segment of a journal: move it away", path)
		}
		j.segments = append(j.segments, s)
		b, err := os.ReadFile(path)
		if err != nil {
			return found, fmt.Errorf("reading the journal: %w", err)
		}
		if fresh := j.checkHeader(b); fresh != "" {
			if len(b) < headerSize { // cut short when it was begun
				found.Torn += len(b)
				continue
			}
			found.Fresh = fresh
			continue
		}
		s.size = int64(len(b))
		found.Torn += j.scanFrames(s, b)
	}
	return found, nil
}

func (j *Journal) header() []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint16(b, j.opts.Version)
	b = append(b, j.opts.BootID...)
	b = append(b, make([]byte, bootIDSize-len(j.opts.BootID))...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func (j *Journal) checkHeader(b []byte) (fresh string) {
	want := j.header()
	switch boot := len(magic) + 2; {
	case len(b) >= headerSize && bytes.Equal(b[:headerSize], want):
		return ""
	case len(b) < headerSize || !bytes.Equal(b[:boot], want[:boot]):
		return "another version"
	}
	return "another boot"
}

// scanFrames indexes the frames of a segment, and returns how many octets at its end are not whole frames.
func (j *Journal) scanFrames(s *segment, b []byte) (torn int) {
	at := headerSize
	for {
		payload, ok := frameAt(b, at)
		if !ok {
			return len(b) - at
		}
		if j.apply(s.number, int64(at+frameHeader), payload) != nil {
			return len(b) - at
		}
		j.total += int64(frameHeader + len(payload))
		at += frameHeader + len(payload)
	}
}

func frameAt(b []byte, at int) ([]byte, bool) {
	if len(b)-at < frameHeader {
		return nil, false
	}
	n := binary.LittleEndian.Uint32(b[at:])
	sum := binary.LittleEndian.Uint32(b[at+4:])
	rest := b[at+frameHeader:]
	if n == 0 || n > maxFrame || uint64(n) > uint64(len(rest)) {
		return nil, false
	}
	payload := rest[:n]
	return payload, crc32.Checksum(payload, castagnoli) == sum
}

// apply brings the index up to date with the operations of one frame.
func (j *Journal) apply(number uint32, base int64, payload []byte) error {
	return operations(payload, func(op operation) {
		var p place
		if !op.deleted {
			p = place{segment: number, offset: uint32(base + int64(op.at)), size: uint32(op.size), whole: uint32(op.whole)}
		}
		j.live += int64(p.whole) - int64(j.index.set(op.key, p).whole)
	})
}

// each hands over every live value, segment by segment.
func (j *Journal) each(load func(Key, []byte) error) error {
	bySegment := map[uint32][]Key{}
	for key, p := range j.index.all {
		bySegment[p.segment] = append(bySegment[p.segment], key)
	}
	for _, s := range j.segments {
		keys := bySegment[s.number]
		if len(keys) == 0 {
			continue
		}
		b, err := os.ReadFile(s.path)
		if err != nil {
			return fmt.Errorf("reading the journal: %w", err)
		}
		for _, key := range keys {
			p, _ := j.index.get(key)
			if int64(p.offset)+int64(p.size) > int64(len(b)) {
				return fmt.Errorf("%s changed while it was read", s.path)
			}
			if err := load(key, b[p.offset:][:p.size]); err != nil {
				return fmt.Errorf("journal value of kind %d, id %#x: %w", key.Kind, key.ID, err)
			}
		}
	}
	return nil
}

// begin makes a new last segment.
func (j *Journal) begin() error {
	var number uint32 = 1
	if n := len(j.segments); n > 0 {
		number = j.segments[n-1].number + 1
	}
	path := filepath.Join(j.opts.Dir, fmt.Sprintf("%016x%s", number, suffix))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("beginning a segment of the journal: %w", err)
	}
	if _, err := f.Write(j.header()); err != nil {
		_ = f.Close()
		_ = os.Remove(path)
		return fmt.Errorf("beginning a segment of the journal: %w", err)
	}
	if n := len(j.segments); n > 0 && j.segments[n-1].file != nil {
		_ = j.segments[n-1].file.Close() // nothing is buffered
		j.segments[n-1].file = nil
	}
	j.segments = append(j.segments, &segment{number: number, path: path, file: f, size: int64(headerSize)})
	j.roll = false
	return nil
}

// Keys returns every live key.
func (j *Journal) Keys() []Key {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]Key, 0, j.index.keys)
	for key := range j.index.all {
		all = append(all, key)
	}
	return all
}

// Size of the journal.
type Size struct {
	Octets   int64 // of all segments
	Live     int64 // of them up to date
	Keys     int
	Segments int
}

// Size returns how large the journal is.
func (j *Journal) Size() Size {
	j.mu.Lock()
	defer j.mu.Unlock()
	return Size{Octets: j.total, Live: j.live, Keys: j.index.keys, Segments: len(j.segments)}
}

// Close lets another process open the journal. It need not be called: the kernel does it for a killed process.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var errs []error
	if n := len(j.segments); n > 0 && j.segments[n-1].file != nil {
		errs = append(errs, j.segments[n-1].file.Close())
		j.segments[n-1].file = nil
	}
	if j.lock != nil {
		errs = append(errs, j.lock.Close())
		j.lock = nil
	}
	return errors.Join(errs...)
}
