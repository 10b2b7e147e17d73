package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
)

const (
	opPut    = 1
	opDelete = 2
)

var (
	errMalformed = errors.New("malformed operation")
	errClosed    = errors.New("journal closed")
)

// Batch is a list of operations that are written together: after a crash all of them are there, or none.
// The zero Batch is empty and ready; Reset makes it so again and keeps its memory.
type Batch struct {
	b []byte // a frame: room for its header, and operations
}

// payload are the operations.
func (b *Batch) payload() []byte { return b.b[min(frameHeader, len(b.b)):] }

// grow makes room for the header before the first operation.
func (b *Batch) grow() {
	if len(b.b) == 0 {
		b.b = append(b.b, make([]byte, frameHeader)...)
	}
}

// seal writes the header.
func (b *Batch) seal() {
	binary.LittleEndian.PutUint32(b.b, uint32(len(b.payload())))
	binary.LittleEndian.PutUint32(b.b[4:], crc32.Checksum(b.payload(), castagnoli))
}

// Put stores a value under its key.
func (b *Batch) Put(key Key, value []byte) {
	b.grow()
	b.b = append(b.b, opPut, key.Kind)
	b.b = binary.AppendUvarint(b.b, key.ID)
	b.b = binary.AppendUvarint(b.b, uint64(len(value)))
	b.b = append(b.b, value...)
}

// Delete removes a key, if it is there.
func (b *Batch) Delete(key Key) {
	b.grow()
	b.b = append(b.b, opDelete, key.Kind)
	b.b = binary.AppendUvarint(b.b, key.ID)
}

// Reset empties the batch.
func (b *Batch) Reset() { b.b = b.b[:0] }

// Len is how many octets the batch has, and Cut takes back what was added since it had so many.
func (b *Batch) Len() int { return len(b.b) }

// Cut is described at Len.
func (b *Batch) Cut(length int) { b.b = b.b[:length] }

// Write appends the batch. When it returns nil, the batch survives the process; when it returns an error (no
// space, a batch above 4 MiB), nothing of it was written.
func (j *Journal) Write(b *Batch) error {
	if len(b.b) == 0 {
		return nil
	}
	if n := len(b.payload()); n > maxBatch {
		return fmt.Errorf("a batch of %d octets: at most %d", n, maxBatch)
	}
	b.seal()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.lock == nil {
		return errClosed
	}
	if err := j.append(b); err != nil {
		return err
	}
	return j.clean()
}

// append writes a sealed batch.
func (j *Journal) append(b *Batch) error {
	last := j.segments[len(j.segments)-1]
	if j.roll || last.file == nil || last.size >= int64(j.opts.SegmentBytes) {
		if err := j.begin(); err != nil {
			return err
		}
		last = j.segments[len(j.segments)-1]
	}
	if _, err := last.file.Write(b.b); err != nil {
		// Part of the frame may be there, and would hide what comes after it.
		if last.file.Truncate(last.size) != nil {
			j.roll = true
		} else if _, err := last.file.Seek(last.size, 0); err != nil {
			j.roll = true
		}
		return fmt.Errorf("appending to the journal: %w", err)
	}
	base := last.size + frameHeader
	last.size += int64(len(b.b))
	j.total += int64(len(b.b))
	return j.apply(last.number, base, b.payload())
}

// clean removes the oldest segment when most of the journal is out of date. It leaves the journal at no more
// than twice what is live, plus two segments. A failure costs nothing but space, so it is no failure of Write.
func (j *Journal) clean() error {
	if len(j.segments) < 2 || j.total < 2*j.live+int64(j.opts.SegmentBytes) {
		return nil
	}
	oldest := j.segments[0]
	b, err := os.ReadFile(oldest.path)
	if err != nil {
		return nil //nolint:nilerr // tried again at the next write
	}
	var moved Batch
	at := headerSize
	for at < len(b) {
		payload, ok := frameAt(b, at)
		if !ok {
			break
		}
		base := int64(at + frameHeader)
		_ = operations(payload, func(op operation) { // indexed before, so well formed
			p, ok := j.index.get(op.key)
			if !op.deleted && ok && p.segment == oldest.number && int64(p.offset) == base+int64(op.at) {
				moved.Put(op.key, payload[op.at:op.at+op.size])
			}
		})
		j.total -= int64(frameHeader + len(payload))
		at += frameHeader + len(payload)
	}
	if len(moved.b) > 0 {
		moved.seal()
		if err := j.append(&moved); err != nil {
			j.total += int64(at - headerSize)
			return nil //nolint:nilerr // as above
		}
	}
	_ = os.Remove(oldest.path) // left behind, it is read again and superseded
	j.segments = j.segments[1:]
	return nil
}

// operation is one of a payload. The value is payload[at:at+size].
type operation struct {
	key      Key
	deleted  bool
	at, size int
	whole    int // octets of the operation
}

func operations(payload []byte, f func(operation)) error {
	for at := 0; at < len(payload); {
		begin := at
		if len(payload)-at < 3 {
			return errMalformed
		}
		op := operation{key: Key{Kind: payload[at+1]}, deleted: payload[at] == opDelete}
		if payload[at] != opPut && !op.deleted {
			return errMalformed
		}
		at += 2
		id, n := binary.Uvarint(payload[at:])
		if n <= 0 {
			return errMalformed
		}
		op.key.ID = id
		at += n
		if !op.deleted {
			size, n := binary.Uvarint(payload[at:])
			if n <= 0 || size > uint64(len(payload)-at-n) {
				return errMalformed
			}
			op.at, op.size = at+n, int(size)
			at = op.at + op.size
		}
		op.whole = at - begin
		f(op)
	}
	return nil
}
