package traffic

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/testbed/topology"
)

const (
	captureBuffer = 64 << 20 // octets that wait in the kernel, per namespace
	maxFrame      = 1 << 18
	networkAll    = 0x0300 // ETH_P_ALL in network order
)

// Capture records every frame of every device of some namespaces in one pcapng file. A frame that a router forwards
// stands in it several times. XDP takes frames away before a capture at the same port sees them: the port's far
// end sees them.
type Capture struct {
	file    *os.File
	sockets []*captureSocket
	wait    sync.WaitGroup

	mu     sync.Mutex
	writer *pcapgo.NgWriter
	errs   []error
	frames int
}

// captureSocket is a packet socket in one namespace.
type captureSocket struct {
	ns         *topology.Namespace
	file       *os.File
	interfaces map[int]captureInterface // by ifindex
}

type captureInterface struct {
	id       int // in the file
	loopback bool
}

// StartCapture begins to record into a new file.
func StartCapture(path string, namespaces ...*topology.Namespace) (*Capture, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	c := &Capture{file: file}
	for _, ns := range namespaces {
		s := &captureSocket{ns: ns, interfaces: map[int]captureInterface{}}
		if err := ns.Do(func() (err error) { s.file, err = openPacketSocket(); return err }); err != nil {
			_, _, err2 := c.Stop()
			return nil, errors.Join(fmt.Errorf("capture in %s: %w", ns.Name(), err), err2)
		}
		c.sockets = append(c.sockets, s)
		c.wait.Go(func() { c.read(s) })
	}
	return c, nil
}

func openPacketSocket() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, networkAll)
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "packet socket"), nil
}

// Stop ends the capture, and says how many frames the file has and how many were lost because the reader was slow.
func (c *Capture) Stop() (frames int, lost uint64, err error) {
	var errs []error
	for _, s := range c.sockets {
		raw, err := s.file.SyscallConn()
		errs = append(errs, err)
		if err == nil {
			errs = append(errs, raw.Control(func(fd uintptr) {
				stats, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
				errs = append(errs, err)
				if err == nil {
					lost += uint64(stats.Drops)
				}
			}))
		}
		errs = append(errs, s.file.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
	}
	c.wait.Wait()
	for _, s := range c.sockets {
		errs = append(errs, s.file.Close())
	}
	if c.writer != nil {
		errs = append(errs, c.writer.Flush())
	}
	errs = append(errs, c.file.Close())
	return c.frames, lost, errors.Join(append(errs, c.errs...)...)
}

// read writes what one socket receives until its deadline, which Stop sets.
func (c *Capture) read(s *captureSocket) {
	raw, err := s.file.SyscallConn()
	if err != nil {
		c.failed(err)
		return
	}
	b := make([]byte, maxFrame)
	for {
		var n int
		var from unix.Sockaddr
		var failure error
		err := raw.Read(func(fd uintptr) bool {
			n, from, failure = unix.Recvfrom(int(fd), b, unix.MSG_TRUNC)
			return !errors.Is(failure, unix.EAGAIN)
		})
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, os.ErrClosed) {
			return
		}
		if errors.Is(failure, unix.ENETDOWN) { // a device went away
			continue
		}
		if err := errors.Join(err, failure); err != nil {
			c.failed(err)
			return
		}
		if link, ok := from.(*unix.SockaddrLinklayer); ok {
			if err := c.write(s, link, b[:min(n, len(b))], n); err != nil {
				c.failed(err)
				return
			}
		}
	}
}

func (c *Capture) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs = append(c.errs, fmt.Errorf("capture: %w", err))
}

func (c *Capture) write(s *captureSocket, from *unix.SockaddrLinklayer, frame []byte, length int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, err := c.device(s, from)
	if err != nil {
		return err
	}
	if i.loopback && from.Pkttype == unix.PACKET_OUTGOING {
		return nil // it comes in a moment later
	}
	c.frames++
	return c.writer.WritePacket(gopacket.CaptureInfo{
		Timestamp: time.Now(), CaptureLength: len(frame), Length: length, InterfaceIndex: i.id,
	}, frame)
}

// device finds a device in the file, and enters it when it is new. The caller holds the lock.
func (c *Capture) device(s *captureSocket, from *unix.SockaddrLinklayer) (captureInterface, error) {
	if i, ok := s.interfaces[from.Ifindex]; ok {
		return i, nil
	}
	name := fmt.Sprintf("device %d", from.Ifindex)
	err := s.ns.Do(func() error {
		if device, err := net.InterfaceByIndex(from.Ifindex); err == nil {
			name = device.Name
		}
		return nil
	})
	if err != nil {
		return captureInterface{}, err
	}
	i := captureInterface{loopback: from.Hatype == unix.ARPHRD_LOOPBACK}
	entry := pcapgo.NgInterface{
		Name: s.ns.Name() + " " + name, LinkType: layers.LinkTypeEthernet, SnapLength: maxFrame, TimestampResolution: 9,
	}
	if from.Hatype == unix.ARPHRD_NONE {
		entry.LinkType = layers.LinkTypeRaw
	}
	if c.writer == nil {
		c.writer, err = pcapgo.NewNgWriterInterface(c.file, entry, pcapgo.DefaultNgWriterOptions)
	} else {
		i.id, err = c.writer.AddInterface(entry)
	}
	if err != nil {
		return captureInterface{}, fmt.Errorf("enter %s: %w", entry.Name, err)
	}
	s.interfaces[from.Ifindex] = i
	return i, nil
}
