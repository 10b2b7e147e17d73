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
	return octets, nil
}
