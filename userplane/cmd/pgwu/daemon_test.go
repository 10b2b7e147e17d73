package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/ethtool"
	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/pkg/testkit"
)

// beTheProgram makes the test binary be pgwu itself: that is how the tests kill -9 it.
const beTheProgram = "XEPC_TEST_BE_PGWU"

func TestMain(m *testing.M) {
	if os.Getenv(beTheProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

const patience = 20 * time.Second

// site is a PGW-U between an SGW, which is its control plane too, and a network with an echo server. Each is a
// network namespace:
//
//	sgw 10.20.11.1 ── access0 10.20.11.2 [ pgwu, slice 10.30.1.1 ] core0 10.50.1.2 ── 10.50.1.1 core
type site struct {
	t               *testing.T
	pgwu, sgw, core netns.NsHandle
	dir, config     string
	process         *exec.Cmd
	log             *testkit.Log
	cp              *net.UDPConn
	gtpu            *net.UDPConn
	seq             uint32
}

var (
	sgwAddr    = netip.MustParseAddr("10.20.11.1")
	pgwuAddr   = netip.MustParseAddr("10.20.11.2")
	sliceAddr  = netip.MustParseAddr("10.30.1.1")
	serverAddr = netip.MustParseAddrPort("10.50.1.1:7777")
	ueAddr     = netip.MustParseAddr("172.16.1.7")
)

const remoteTEID = 0xaabbccdd

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), log: &testkit.Log{}}
	s.pgwu, s.sgw, s.core = newNamespace(t), newNamespace(t), newNamespace(t)
	s.link("access0", "10.20.11.2/24", s.sgw, "10.20.11.1/24")
	s.link("core0", "10.50.1.2/24", s.core, "10.50.1.1/24")
	s.in(s.pgwu, func() { address(t, "lo", "10.30.1.1/32") })
	s.in(s.sgw, func() { route(t, "10.30.1.1/32", "10.20.11.2") })
	s.in(s.core, func() { route(t, "172.16.1.0/24", "10.50.1.2") })

	bpffs := filepath.Join(s.dir, "bpf")
	testkit.Mount(t, "bpf", bpffs, "")

	s.config = filepath.Join(s.dir, "pgwu.yaml")
	require.NoError(t, os.WriteFile(s.config, fmt.Appendf(nil, `
node_id: 10.20.11.2
pfcp: {address: "10.20.11.2"}
state_dir: %[1]s/state
pin_dir: %[1]s/bpf/pgwu
admin_socket: %[1]s/pgwu.sock
metrics: {address: "127.0.0.1:9090"}
ports: [{name: access0}, {name: core0, network_instance: internet}]
slices: [{address: 10.30.1.1, sessions: 256}]
network_instances: [{name: internet, gateway: 10.50.1.1}]
data_path: {address_blocks: 4, peers: 16}
`, s.dir), 0o600))
	s.cp = s.listen(s.sgw, netip.AddrPortFrom(sgwAddr, 8805))
	s.gtpu = s.listen(s.sgw, netip.AddrPortFrom(sgwAddr, 2152))
	s.echo(s.core)
	t.Cleanup(func() {
		if s.process != nil {
			s.kill(syscall.SIGKILL)
		}
		if t.Failed() {
			t.Log(s.log.String())
		}
	})
	return s
}

// configure replaces a part of the configuration.
func (s *site) configure(old, now string) {
	s.t.Helper()
	b, err := os.ReadFile(s.config)
	require.NoError(s.t, err)
	require.Equal(s.t, 1, bytes.Count(b, []byte(old)), old)
	require.NoError(s.t, os.WriteFile(s.config, bytes.Replace(b, []byte(old), []byte(now), 1), 0o600))
}

// newNamespace makes one that forwards what it is sent for others.
func newNamespace(t *testing.T) netns.NsHandle {
	t.Helper()
	ns := testkit.NewNamespace(t)
	testkit.In(t, ns, func() { require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)) })
	return ns
}

func (s *site) in(ns netns.NsHandle, f func()) {
	s.t.Helper()
	testkit.In(s.t, ns, f)
}

// link joins the PGW-U to another namespace. Native XDP delivers to a veth only if its other end polls: GRO there.
func (s *site) link(port, addr string, other netns.NsHandle, otherAddr string) {
	s.t.Helper()
	s.in(s.pgwu, func() {
		require.NoError(s.t, netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: port}, PeerName: port + "p", PeerNamespace: netlink.NsFd(other),
		}))
		address(s.t, port, addr)
	})
	s.in(other, func() {
		address(s.t, port+"p", otherAddr)
		for _, feature := range []uint32{unix.ETHTOOL_STXCSUM, unix.ETHTOOL_SGSO} {
			require.NoError(s.t, ethtool.Device(port+"p").Set(feature, 0))
		}
		require.NoError(s.t, ethtool.Device(port+"p").Set(unix.ETHTOOL_SGRO, 1))
	})
}

func address(t *testing.T, port, addr string) {
	t.Helper()
	l, err := netlink.LinkByName(port)
	require.NoError(t, err)
	a, err := netlink.ParseAddr(addr)
	require.NoError(t, err)
	require.NoError(t, netlink.AddrAdd(l, a))
	require.NoError(t, netlink.LinkSetUp(l))
}

func route(t *testing.T, to, via string) {
	t.Helper()
	_, dst, err := net.ParseCIDR(to)
	require.NoError(t, err)
	require.NoError(t, netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(via)}))
}

func (s *site) listen(ns netns.NsHandle, at netip.AddrPort) (conn *net.UDPConn) {
	s.t.Helper()
	s.in(ns, func() {
		var err error
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
		require.NoError(s.t, err)
		raw, err := conn.SyscallConn()
		require.NoError(s.t, err)
		require.NoError(s.t, raw.Control(func(fd uintptr) { // the machine may be busy elsewhere for a while
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
		}))
		require.NoError(s.t, err)
	})
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// echo is the server in a network.
func (s *site) echo(network netns.NsHandle) {
	conn := s.listen(network, serverAddr)
	var ended sync.WaitGroup
	ended.Go(func() {
		b := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = conn.WriteToUDPAddrPort(b[:n], from)
		}
	})
	s.t.Cleanup(func() {
		_ = conn.Close()
		ended.Wait()
	})
}

// start runs the daemon and waits until it is ready.
func (s *site) start() {
	s.t.Helper()
	s.in(s.pgwu, func() { // a process is born into the namespace of the thread that makes it
		s.process = exec.Command(os.Args[0], "serve", "-c", s.config)
		s.process.Env = append(os.Environ(), beTheProgram+"=1")
		s.process.Stdout, s.process.Stderr = io.Discard, s.log
		require.NoError(s.t, s.process.Start())
	})
	require.Eventually(s.t, func() bool { return s.get("/readyz") == "ready\n" }, patience, 10*time.Millisecond)
}

func (s *site) kill(signal syscall.Signal) {
	s.t.Helper()
	require.NoError(s.t, s.process.Process.Signal(signal))
	_ = s.process.Wait() // the state is of no interest
	s.process = nil
}

// get reads a path of the metrics listener.
func (s *site) get(path string) (body string) {
	s.in(s.pgwu, func() {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:9090", time.Second)
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		request, err := http.NewRequest(http.MethodGet, "http://pgwu"+path, nil)
		require.NoError(s.t, err)
		request.Close = true
		if request.Write(conn) != nil {
			return
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), request)
		if err != nil {
			return
		}
		defer func() { _ = response.Body.Close() }()
		all, err := io.ReadAll(response.Body)
		if err == nil {
			body = string(all)
		}
	})
	return body
}

// run runs a command line in-process.
func run(args ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	app := newApp()
	app.Writer, app.ErrWriter = &out, &errs
	err = node.Prepare(app).Run(node.Arrange(app, append([]string{"pgwu"}, args...)))
	return out.String(), errs.String(), err
}

func (s *site) rows(args ...string) (rows []map[string]any, stderr string) {
	s.t.Helper()
	out, stderr, err := run(append(args, "--socket", s.dir+"/pgwu.sock", "-o", "json")...)
	require.NoError(s.t, err, stderr)
	require.NoError(s.t, json.Unmarshal([]byte(out), &rows), out)
	return rows, stderr
}

func (s *site) ask(m message.Message) message.Message {
	s.t.Helper()
	b := make([]byte, m.MarshalLen())
	require.NoError(s.t, m.MarshalTo(b))
	_, err := s.cp.WriteToUDPAddrPort(b, netip.AddrPortFrom(pgwuAddr, 8805))
	require.NoError(s.t, err)
	require.NoError(s.t, s.cp.SetReadDeadline(time.Now().Add(patience)))
	b = make([]byte, 1<<16)
	for {
		n, err := s.cp.Read(b)
		require.NoError(s.t, err)
		if b[1] != m.MessageType()+1 {
			continue
		}
		response, err := message.Parse(b[:n])
		require.NoError(s.t, err)
		return response
	}
}

func (s *site) next() uint32 {
	s.seq++
	return s.seq
}

func (s *site) setup() {
	s.t.Helper()
	r := s.ask(message.NewAssociationSetupRequest(s.next(), ie.NewNodeID("", "", "pgwc.example"),
		ie.NewRecoveryTimeStamp(time.Unix(1_700_000_000, 0)))).(*message.AssociationSetupResponse)
	s.accepted(r.Cause)
}

func (s *site) accepted(cause *ie.IE) {
	s.t.Helper()
	v, err := cause.Cause()
	require.NoError(s.t, err)
	require.Equal(s.t, ie.CauseRequestAccepted, v)
}

func (s *site) establish() (seid uint64, teid uint32) {
	s.t.Helper()
	r := s.ask(message.NewSessionEstablishmentRequest(0, 0, 0, s.next(), 0,
		ie.NewNodeID("", "", "pgwc.example"), ie.NewFSEID(77, sgwAddr.AsSlice(), nil),
		ie.NewCreatePDR(
			ie.NewPDRID(1), ie.NewPrecedence(100),
			ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceAccess), ie.NewFTEID(0x05, 0, nil, nil, 0), ie.NewUEIPAddress(2, ueAddr.String(), "", 0, 0)),
			ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(1), ie.NewURRID(1),
		),
		ie.NewCreatePDR(
			ie.NewPDRID(2), ie.NewPrecedence(100),
			ie.NewPDI(ie.NewSourceInterface(ie.SrcInterfaceCore), ie.NewNetworkInstance("internet"), ie.NewUEIPAddress(6, ueAddr.String(), "", 0, 0)),
			ie.NewFARID(2), ie.NewURRID(1),
		),
		ie.NewCreateFAR(ie.NewFARID(1), ie.NewApplyAction(2),
			ie.NewForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceCore), ie.NewNetworkInstance("internet"))),
		ie.NewCreateFAR(ie.NewFARID(2), ie.NewApplyAction(2),
			ie.NewForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceAccess),
				ie.NewOuterHeaderCreation(0x0100, remoteTEID, sgwAddr.String(), "", 0, 0, 0))),
		ie.NewCreateURR(ie.NewURRID(1), ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0, 0)),
	)).(*message.SessionEstablishmentResponse)
	s.accepted(r.Cause)
	fseid, err := r.UPFSEID.FSEID()
	require.NoError(s.t, err)
	fteid, err := r.CreatedPDR[0].FTEID()
	require.NoError(s.t, err)
	return fseid.SEID, fteid.TEID
}

// packet is a G-PDU with a UDP packet of the UE to the echo server, numbered in its payload.
func packet(teid, number uint32) []byte { return packetFrom(ueAddr, teid, number) }

func packetFrom(ue netip.Addr, teid, number uint32) []byte {
	udp := binary.BigEndian.AppendUint16(nil, 5000)
	udp = binary.BigEndian.AppendUint16(udp, serverAddr.Port())
	udp = append(udp, 0, 12, 0, 0) // length; no checksum
	udp = binary.BigEndian.AppendUint32(udp, number)
	ip := []byte{0x45, 0, 0, byte(20 + len(udp)), 0, 0, 0, 0, 64, 17, 0, 0}
	ip = append(ip, ue.AsSlice()...)
	ip = append(ip, serverAddr.Addr().AsSlice()...)
	sum := uint32(0)
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	inner := append(ip, udp...)
	b := binary.BigEndian.AppendUint32([]byte{0x30, 0xff, 0, byte(len(inner))}, teid)
	return append(b, inner...)
}

const packetOctets = 32 // of the inner packet

func (s *site) send(teid, number uint32) {
	s.t.Helper()
	_, err := s.gtpu.WriteToUDPAddrPort(packet(teid, number), netip.AddrPortFrom(sliceAddr, 2152))
	require.NoError(s.t, err)
}

// receive returns the number of the next packet that came back, or false when none does in that time.
func (s *site) receive(wait time.Duration) (uint32, bool) {
	s.t.Helper()
	b := make([]byte, 2048)
	require.NoError(s.t, s.gtpu.SetReadDeadline(time.Now().Add(wait)))
	for {
		n, from, err := s.gtpu.ReadFromUDPAddrPort(b)
		if err != nil {
			return 0, false
		}
		if b[1] != 0xff {
			continue
		}
		require.Equal(s.t, sliceAddr, from.Addr())
		require.Equal(s.t, uint32(remoteTEID), binary.BigEndian.Uint32(b[4:]))
		require.Equal(s.t, 8+packetOctets, n)
		return binary.BigEndian.Uint32(b[n-4:]), true
	}
}

// collected are the numbers of the packets that came back, in their order.
type collected struct {
	mu    sync.Mutex
	all   []uint32
	ended sync.WaitGroup
	conn  *net.UDPConn
}

func (c *collected) numbers() []uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}

// stop ends the collecting.
func (c *collected) stop() []uint32 {
	_ = c.conn.SetReadDeadline(time.Now())
	c.ended.Wait()
	return c.numbers()
}

// collect reads what comes back, all the time, so that the socket's buffer never fills.
func (s *site) collect() *collected {
	c := &collected{conn: s.gtpu}
	require.NoError(s.t, s.gtpu.SetReadDeadline(time.Time{}))
	c.ended.Go(func() {
		b := make([]byte, 2048)
		for {
			n, err := c.conn.Read(b)
			if err != nil {
				return
			}
			if b[1] == 0xff && n == 8+packetOctets {
				c.mu.Lock()
				c.all = append(c.all, binary.BigEndian.Uint32(b[n-4:]))
				c.mu.Unlock()
			}
		}
	})
	return c
}

// warmUp sends until the neighbours are known and packets come back, and waits for the last of them.
func (s *site) warmUp(teid uint32) (back uint64) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for number := uint32(1); time.Now().Before(deadline); number++ {
		s.send(teid, number)
		if _, ok := s.receive(50 * time.Millisecond); ok {
			for back = 1; ; back++ {
				if _, ok := s.receive(200 * time.Millisecond); !ok {
					return back
				}
			}
		}
	}
	s.t.Fatal("no packet came back")
	return 0
}
