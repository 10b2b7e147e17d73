// Package testkit is what tests of several packages need: a log that is read while it is written, network namespaces
// and mounts. They need root; what they make goes when the test ends.
package testkit

import (
	"bytes"
	"sync"
)

// Log is what a program under test writes. It may be read at any time.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is all that was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
