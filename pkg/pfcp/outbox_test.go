package pfcp

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// fakeConn takes what is written unless fail says otherwise.
type fakeConn struct {
	batchConn
	fail    func(m ipv4.Message) error
	written []written
}

// written is a message as the kernel would get it.
type written struct {
	peer      string
	datagrams []int // their lengths
	cut       bool  // they share the message
}

func (c *fakeConn) WriteBatch(batch []ipv4.Message, _ int) (int, error) {
	for i, m := range batch {
		if err := c.fail(m); err != nil {
			if i == 0 {
				return -1, err
			}
			return i, nil
		}
		w := written{peer: m.Addr.(*net.UDPAddr).String(), cut: len(m.OOB) > 0}
		for _, b := range m.Buffers {
			w.datagrams = append(w.datagrams, len(b))
		}
		c.written = append(c.written, w)
	}
	return len(batch), nil
}

// writeAll has an outbox write datagrams of these lengths, to one peer, or where they are negative to another.
func writeAll(t *testing.T, c *fakeConn, lengths ...int) (o *outbox, sent, failed int) {
	o = newOutbox(c, false, func(s, f int) { sent, failed = sent+s, failed+f })
	o.setRunning(true)
	for _, n := range lengths {
		peer := netip.MustParseAddrPort("10.0.0.1:8805")
		if n < 0 {
			peer, n = netip.MustParseAddrPort("10.0.0.2:8805"), -n
		}
		o.put(datagram{octets: make([]byte, n), peer: peer})
	}
	require.Len(t, o.queue, len(lengths))
	o.flush()
	require.Empty(t, o.queue)
	return o, sent, failed
}

func times(n, length int) []int {
	lengths := make([]int, n)
	for i := range lengths {
		lengths[i] = length
	}
	return lengths
}

func TestDatagramsOfOnePeerAndSizeShareAMessage(t *testing.T) {
	const one, two = "10.0.0.1:8805", "10.0.0.2:8805"
	good := func(ipv4.Message) error { return nil }
	for name, row := range map[string]struct {
		lengths []int
		want    []written
	}{
		"few go one by one": {[]int{20, 20}, []written{{one, []int{20}, false}, {one, []int{20}, false}}},
		"many together, of which the last is shorter": {
			append(times(9, 100), 40, 100),
			[]written{{one, append(times(9, 100), 40), true}, {one, []int{100}, false}},
		},
		"a longer one begins a new message": {
			append(times(8, 20), 21), []written{{one, times(8, 20), true}, {one, []int{21}, false}},
		},
		"another peer begins a new message": {
			append(times(8, 20), times(8, -20)...), []written{{one, times(8, 20), true}, {two, times(8, 20), true}},
		},
		"at most 64": {times(72, 20), []written{{one, times(64, 20), true}, {one, times(8, 20), true}}},
		"at most what one message holds": {
			times(56, 1400), []written{{one, times(45, 1400), true}, {one, times(11, 1400), true}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &fakeConn{fail: good}
			_, sent, failed := writeAll(t, c, row.lengths...)
			require.Equal(t, row.want, c.written)
			require.Equal(t, []int{len(row.lengths), 0}, []int{sent, failed})
		})
	}
	t.Run("but not those that might not fit in the path", func(t *testing.T) {
		c := &fakeConn{fail: good}
		writeAll(t, c, times(10, 1401)...)
		require.Len(t, c.written, 10)
	})
}

func TestWhatCannotBeWrittenTogetherIsWrittenApart(t *testing.T) {
	for cause, once := range map[unix.Errno]bool{unix.EIO: true, unix.EMSGSIZE: false} {
		tries := 0
		c := &fakeConn{fail: func(m ipv4.Message) error {
			if len(m.OOB) == 0 {
				return nil
			}
			tries++
			return cause
		}}
		o, sent, failed := writeAll(t, c, append(append([]int{10}, times(70, 20)...), times(9, -20)...)...)
		require.Equal(t, []int{80, 0}, []int{sent, failed})
		require.Len(t, c.written, 80)
		require.Equal(t, once, o.apart, "whether a device that cannot is asked again")
		require.Equal(t, once, tries <= 2)
	}
}

func TestADatagramThatFailsAmongOthersIsTheOnlyOne(t *testing.T) {
	c := &fakeConn{fail: func(m ipv4.Message) error {
		if len(m.Buffers[0]) == 13 {
			return unix.ENETUNREACH
		}
		return nil
	}}
	_, sent, failed := writeAll(t, c, 10, 13, 11, 13, 12)
	require.Equal(t, []int{3, 2}, []int{sent, failed})
}

// A peer that knows nothing of it gets every datagram by itself, whole and in order.
func TestAPlainPeerGetsEveryDatagram(t *testing.T) {
	cfg := testConfig()
	cfg.N1 = 0
	for _, cfg.OneByOne = range []bool{false, true} {
		cp, peer := start(t, cfg, nobody(t)), newRawPeer(t)
		require.NoError(t, peer.conn.SetReadBuffer(4<<20))
		cp.out.hold()
		const n = 200
		for i := range n {
			var m Message = &SessionDeletionRequest{}
			if i%50 == 49 {
				m = fullEstablishment()
			}
			cp.Call(peer.addr(), SEID(i), m, func(Header, Message, error) {})
		}
		cp.out.release()
		for i := range n {
			h, _, err := Parse(peer.receive())
			require.NoError(t, err)
			require.Equal(t, SEID(i), h.SEID)
		}
	}
}

func TestSegmentSizeOfOddControlMessages(t *testing.T) {
	require.Zero(t, segmentSize(nil))
	require.Zero(t, segmentSize(make([]byte, unix.CmsgSpace(4))))
	require.Zero(t, segmentSize(appendSegmentSize(nil, 100)), "that is for the other way")
}
