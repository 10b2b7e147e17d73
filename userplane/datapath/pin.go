package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// bpffs is where Linux has its BPF file system by convention.
const bpffs = "/sys/fs/bpf"

// preparePinDir makes dir on a bpffs. Below /sys/fs/bpf one is mounted when none is; elsewhere that is for whoever
// chose the place.
func preparePinDir(dir string) error {
	dir = filepath.Clean(dir)
	if !onBPFFS(dir) {
		if dir != bpffs && !strings.HasPrefix(dir, bpffs+"/") {
			return fmt.Errorf("%s is not on a bpffs: mount -t bpf bpf %s, or choose a place below %s",
				dir, filepath.Dir(dir), bpffs)
		}
		if err := unix.Mount("bpf", bpffs, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
			return fmt.Errorf("mount a bpffs at %s: %w", bpffs, err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory for pinned maps: %w", err)
	}
	return nil
}

// onBPFFS says whether dir, or the nearest parent that exists, is on a bpffs.
func onBPFFS(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		var fs unix.Statfs_t
		err := unix.Statfs(dir, &fs)
		if err == nil {
			return fs.Type == unix.BPF_FS_MAGIC
		}
		if !errors.Is(err, unix.ENOENT) || dir == filepath.Dir(dir) {
			return false
		}
	}
}

// lockPinDir keeps a second daemon from the same maps, until the file is closed.
func lockPinDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory of pinned maps: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s (does another daemon use it?): %w", dir, err), f.Close())
	}
	return f, nil
}

// Remove detaches the program from its ports and removes everything pinned in pinDir, and the veth that a killed daemon
// left in this network namespace. Nothing there is no error.
func Remove(pinDir string) error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer handle.Close()
	if err := removeInjector(handle, pinDir); err != nil {
		return fmt.Errorf("remove the slow path's veth: %w", err)
	}
	if err := removePins(pinDir); err != nil {
		return err
	}
	if err := os.Remove(pinDir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the directory of pinned maps: %w", err)
	}
	return nil
}

func removePins(pinDir string) error {
	files, err := os.ReadDir(pinDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", pinDir, err)
	}
	var errs []error
	for _, file := range files {
		path := filepath.Join(pinDir, file.Name())
		if strings.HasPrefix(file.Name(), portPin) {
			errs = append(errs, detach(path))
		} else {
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}
