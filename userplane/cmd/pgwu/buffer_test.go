package main

import (
	"encoding/binary"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"
)

// applyAction changes what the downlink FAR does.
func (s *site) applyAction(seid uint64, action ...uint8) {
	s.t.Helper()
	m := s.ask(message.NewSessionModificationRequest(0, 0, seid, s.next(), 0,
		ie.NewUpdateFAR(ie.NewFARID(2), ie.NewApplyAction(action...)))).(*message.SessionModificationResponse)
	s.accepted(m.Cause)
}

// downlinkOctets are those of the downlink PDR.
func (s *site) downlinkOctets() uint64 {
	s.t.Helper()
	rows, _ := s.rows("pdr", "list")
	return octetsOf(s.t, slices.DeleteFunc(rows, func(r map[string]any) bool { return r["pdr"].(float64) != 2 }))
}

const forward, bufferAndNotify = 0x02, 0x0c // TS 29.244 8.2.26

// flow sends numbered packets from the network to the UE at a pace, and reads what comes out of the tunnel.
type flow struct {
	t      *testing.T
	conn   *net.UDPConn
	next   atomic.Uint32 // number of the next one
	pace   atomic.Int64  // nanoseconds between two
	stop   chan struct{}
	ended  sync.WaitGroup
	mu     sync.Mutex
	got    []uint32
	reader *net.UDPConn
}

func (s *site) flow(pace time.Duration) *flow {
	f := &flow{t: s.t, stop: make(chan struct{}), reader: s.gtpu}
	s.in(s.core, func() {
		var err error
		f.conn, err = net.DialUDP("udp4", &net.UDPAddr{IP: serverAddr.Addr().AsSlice(), Port: 7779}, &net.UDPAddr{IP: ueAddr.AsSlice(), Port: 4000})
		require.NoError(s.t, err)
	})
	f.pace.Store(int64(pace))
	require.NoError(s.t, s.gtpu.SetReadDeadline(time.Time{}))
	f.ended.Go(func() {
		b := make([]byte, 2048)
		for {
			n, err := f.reader.Read(b)
			if err != nil {
				return
			}
			if b[1] == 0xff && n == 8+packetOctets {
				f.mu.Lock()
				f.got = append(f.got, binary.BigEndian.Uint32(b[n-4:]))
				f.mu.Unlock()
			}
		}
	})
	return f
}

// run sends until the returned function is called.
func (f *flow) run() (stop func()) {
	end := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		for {
			select {
			case <-end:
				return
			case <-time.After(time.Duration(f.pace.Load())): // never faster, also after a stop of the machine
				f.send()
			}
		}
	})
	return func() {
		close(end)
		ended.Wait()
	}
}

func (f *flow) send() {
	_, err := f.conn.Write(binary.BigEndian.AppendUint32(nil, f.next.Add(1)-1))
	require.NoError(f.t, err)
}

func (f *flow) received() []uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.got
}

// until waits until so many have come.
func (f *flow) until(n int) {
	f.t.Helper()
	require.Eventually(f.t, func() bool { return len(f.received()) >= n }, patience, time.Millisecond)
}

func (f *flow) close() []uint32 {
	_ = f.reader.SetReadDeadline(time.Now())
	f.ended.Wait()
	_ = f.conn.Close()
	return f.received()
}

// TestAnIdleUEGetsItsPacketsInOrder lets a UE fall asleep and wake again many times under traffic that never stops: no
// packet is lost, none comes twice, and none overtakes another.
func TestAnIdleUEGetsItsPacketsInOrder(t *testing.T) {
	rounds := 20
	if n := os.Getenv("XEPC_RACES"); n != "" {
		rounds = 500
	}
	s := newSite(t)
	s.configure("sessions: 256", "sessions: 131072") // the ring to the slow path grows with them
	s.configure("pfcp: {", "pfcp: {buffered_packets_per_far: 100000, buffered_packets: 400000, ")
	s.start()
	s.setup()
	seid, teid := s.establish()
	s.warmUp(teid)
	warm := s.downlinkOctets()
	f := s.flow(100 * time.Microsecond)
	stop := f.run()
	f.until(100)
	events := func(name string) uint64 { return s.counted("xepc_pgwu_pfcp_events_total", "event", name) }
	for i := range rounds {
		s.applyAction(seid, bufferAndNotify)
		sleeping := int(f.next.Load())
		require.Eventually(t, func() bool { return int(f.next.Load()) > sleeping+20+i }, patience, time.Millisecond)
		require.Eventually(t, func() bool { return events("report") > uint64(i) }, patience, time.Millisecond)
		require.EqualValues(t, i+1, events("report"), "one notification each time")
		s.applyAction(seid, forward)
		f.until(sleeping + 20)
	}
	stop()
	f.until(int(f.next.Load()))
	for i, number := range f.close() {
		require.EqualValues(t, i, number, "in order, none missing, none twice")
	}
	require.NotZero(t, events("buffer_returned"))
	require.NotZero(t, s.reason("buffered"))
	for _, bad := range []string{"buffer_full", "buffer_lost", "buffer_dropped", "drain_cut"} {
		require.Zero(t, events(bad), bad)
	}
	require.EqualValues(t, rounds, events("report"))
	require.Zero(t, s.reason("buffer_full"))
	require.Equal(t, uint64(f.next.Load())*packetOctets, s.downlinkOctets()-warm, "usage is exact")
}

// TestWhatAnIdleUELoses: no more is kept than the limit says, and what is kept is lost with the process; what comes while
// none runs waits in the kernel.
func TestWhatAnIdleUELoses(t *testing.T) {
	s := newSite(t)
	s.configure("sessions: 256", "sessions: 131072") // the ring to the slow path grows with them
	s.start()
	s.setup()
	seid, teid := s.establish()
	s.warmUp(teid)
	events := func(name string) uint64 { return s.counted("xepc_pgwu_pfcp_events_total", "event", name) }
	f := s.flow(0)
	send := func(n int) {
		for range n {
			f.send()
		}
	}
	const limit = 64 // of a FAR, unless configured
	s.applyAction(seid, bufferAndNotify)
	send(100)
	require.Eventually(t, func() bool { return events("buffer_full") == 100-limit }, patience, time.Millisecond)
	s.applyAction(seid, forward)
	f.until(limit)
	require.EqualValues(t, 1, events("report"))

	s.applyAction(seid, bufferAndNotify)
	send(10)
	require.Eventually(t, func() bool { return s.reason("buffered") == 110 && events("report") == 2 }, patience, time.Millisecond)
	s.kill(syscall.SIGTERM)
	require.Contains(t, s.log.String(), `msg="buffered packets are lost with this process" program=pgwu packets=10`)
	send(5)
	s.start()
	s.setup()
	require.Eventually(t, func() bool { return events("report") == 1 }, patience, time.Millisecond)
	s.applyAction(seid, forward)
	f.until(limit + 5)
	send(3)
	f.until(limit + 5 + 3)
	var want []uint32
	for _, row := range [][2]uint32{{0, limit}, {110, 118}} {
		for number := row[0]; number < row[1]; number++ {
			want = append(want, number)
		}
	}
	require.Equal(t, want, f.close())
}
