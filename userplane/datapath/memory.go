package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
)

// MapOctets is the memory that the maps pinned in pinDir take together, as the kernel accounts it.
func MapOctets(pinDir string) (octets uint64, err error) {
	files, err := os.ReadDir(pinDir)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", pinDir, err)
	}
	for _, file := range files {
		if strings.HasPrefix(file.Name(), portPin) {
			continue
		}
		n, err := mapOctets(filepath.Join(pinDir, file.Name()))
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file.Name(), err)
		}
		octets += n
	}
	return octets, nil
}

func mapOctets(pin string) (uint64, error) {
	m, err := ebpf.LoadPinnedMap(pin, nil)
	if err != nil {
		return 0, err
	}
	info, err := m.Info()
	if err := errors.Join(err, m.Close()); err != nil {
		return 0, err
	}
	octets, _ := info.Memlock() // none: a map that grows with what is in it, and is empty
	if info.Type == ebpf.Array {
		octets = min(octets, arrayOctets(uint64(info.MaxEntries), uint64(info.ValueSize)))
	}
	return octets, nil
}

// arrayOctets is what an array takes that is mapped into memory. Linux before 6.4 accounts a key for each element, too, which
// is nowhere stored.
func arrayOctets(elements, size uint64) uint64 {
	page := uint64(os.Getpagesize())
	return (elements*((size+7)&^7)+page-1)/page*page + page // the last for its head
}
