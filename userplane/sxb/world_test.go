package sxb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/wmnsk/go-pfcp/ie"
	"github.com/wmnsk/go-pfcp/message"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/journal"
	"github.com/xepc/xepc/userplane/session"
)

const (
	testPort = 18805 // where the control planes of these tests take requests
	patience = 10 * time.Second
	testBoot = "9d5a1f3e-0000-4000-8000-000000000001"
)

var (
	slice  = netip.MustParseAddr("10.30.1.1")
	remote = netip.MustParseAddr("10.10.0.2")
)

// entries are those of all sessions.
type entries map[session.Key]session.Entry

// fakeDataPath is a table in memory that checks what the real one checks.
type fakeDataPath struct {
	mu       sync.Mutex
	table    entries
	usage    map[session.Key]session.Usage
	cells    map[session.CellID]session.Volume
	limits   map[session.CellID]session.Cell // as they were put
	injected []string                        // network instance and payload
	ends     []session.Tunnel                // that got an end marker
	before   func(session.Changes) error     // called first; nil: nothing
	settling func()                          // called by Settle; nil: nothing
	fence    func(pfcp.SEID)                 // told of sessions that drain
	held     map[pfcp.SEID]bool              // that were not released
}

func newDataPath() *fakeDataPath {
	return &fakeDataPath{
		table: entries{}, usage: map[session.Key]session.Usage{},
		cells: map[session.CellID]session.Volume{}, limits: map[session.CellID]session.Cell{},
		held: map[pfcp.SEID]bool{},
	}
}

func (d *fakeDataPath) Apply(c session.Changes) error {
	d.mu.Lock()
	before := d.before
	d.mu.Unlock()
	if before != nil {
		if err := before(c); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range c.Puts {
		if held, ok := d.table[e.Key]; ok && held.Origin.SEID != e.Origin.SEID {
			return fmt.Errorf("key %v: slot taken", e.Key)
		}
	}
	for _, cell := range c.Cells {
		if _, ok := d.cells[cell.ID]; !ok {
			d.cells[cell.ID] = session.Volume{}
		}
		d.limits[cell.ID] = cell
	}
	for _, e := range c.Puts {
		if isDraining(e) && !isDraining(d.table[e.Key]) {
			d.held[e.Origin.SEID] = true
			d.fence(e.Origin.SEID)
		}
		d.table[e.Key] = e
		for _, r := range e.Rules {
			for _, id := range r.Cells {
				if _, ok := d.cells[id]; !ok {
					panic("a rule counts in a cell that is not there")
				}
			}
		}
	}
	d.ends = append(d.ends, c.EndMarkers...)
	for _, id := range c.Removes {
		delete(d.cells, id)
		delete(d.limits, id)
	}
	for _, key := range c.Deletes {
		delete(d.table, key)
		delete(d.usage, key)
	}
	return nil
}

func (d *fakeDataPath) Usage(keys []session.Key) ([]session.Usage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []session.Usage
	for _, key := range keys {
		if _, ok := d.table[key]; !ok {
			return nil, errors.New("no such entry")
		}
		all = append(all, d.usage[key])
	}
	return all, nil
}

func (d *fakeDataPath) Volumes(ids []session.CellID) ([]session.Volume, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []session.Volume
	for _, id := range ids {
		v, ok := d.cells[id]
		if !ok {
			return nil, errors.New("no such cell")
		}
		all = append(all, v)
	}
	return all, nil
}

// Settle waits as long as the test has it wait.
func (d *fakeDataPath) Settle() error {
	d.mu.Lock()
	wait := d.settling
	d.mu.Unlock()
	if wait != nil {
		wait()
	}
	return nil
}

func isDraining(e session.Entry) bool {
	for _, r := range e.Rules {
		if r.Action == session.ActionDrain {
			return true
		}
	}
	return false
}

func (d *fakeDataPath) Return(instance pfcp.NetworkInstance, p session.Parked) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.injected = append(d.injected, string(instance)+" "+string(p.Packet[20:]))
	return nil
}

func (d *fakeDataPath) Inject(instance pfcp.NetworkInstance, packet []byte) error {
	return d.Return(instance, session.Parked{Packet: packet})
}

func (d *fakeDataPath) Forget(session.Turn) {}

func (d *fakeDataPath) Release(seid pfcp.SEID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.held, seid)
	return true
}

func (d *fakeDataPath) Drained(seid pfcp.SEID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.held[seid]
}

// mute has nobody hear that a session's packets from before were handed over.
func (d *fakeDataPath) mute() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fence = func(pfcp.SEID) {}
}

func (d *fakeDataPath) reconcile(want func(func(session.Entry) bool)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := entries{}
	for e := range want {
		next[e.Key] = e
	}
	d.table = next
}

func (d *fakeDataPath) count(key session.Key, packets, octets uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.countBy(d.table[key], key, packets, octets)
}

// countBy counts packets as an entry says, be it that of now or not. The caller has the lock.
func (d *fakeDataPath) countBy(e session.Entry, key session.Key, packets, octets uint64) {
	if !e.Celled {
		u := d.usage[key]
		d.usage[key] = session.Usage{Packets: u.Packets + packets, Octets: u.Octets + octets}
	}
	for _, id := range e.Cells {
		v := d.cells[id]
		if key.Direction == session.Uplink {
			v.UplinkPackets, v.UplinkOctets = v.UplinkPackets+packets, v.UplinkOctets+octets
		} else {
			v.DownlinkPackets, v.DownlinkOctets = v.DownlinkPackets+packets, v.DownlinkOctets+octets
		}
		d.cells[id] = v
	}
}

func (d *fakeDataPath) cellsPut() map[session.CellID]session.Cell {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.limits)
}

// keepCells makes the cells those that are wanted.
func (d *fakeDataPath) keepCells(want []session.Cell) {
	d.mu.Lock()
	defer d.mu.Unlock()
	cells := map[session.CellID]session.Volume{}
	clear(d.limits)
	for _, c := range want {
		cells[c.ID], d.limits[c.ID] = d.cells[c.ID], c
	}
	d.cells = cells
}

// exceeded are the sessions of cells that have reached a limit and of entries that have reached their watch, as the data
// path tells of them.
func (d *fakeDataPath) exceeded() (all []pfcp.SEID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, c := range d.limits {
		v, l := d.cells[id], c.Limits
		for limit, octets := range map[uint64]uint64{
			l.TotalThreshold: v.UplinkOctets + v.DownlinkOctets, l.TotalQuota: v.UplinkOctets + v.DownlinkOctets,
		} {
			if limit != 0 && octets >= limit {
				all = append(all, id.SEID)
			}
		}
	}
	for key, e := range d.table {
		if e.Watch != 0 && d.usage[key].Octets >= e.Watch {
			all = append(all, e.Origin.SEID)
		}
	}
	return all
}

func (d *fakeDataPath) marked() []session.Tunnel {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.ends)
}

func (d *fakeDataPath) octets(key session.Key) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.usage[key].Octets
}

// settled are the entries when none drains any more: a control plane may hear of its modification before that.
func (d *fakeDataPath) settled(t *testing.T) (table entries) {
	t.Helper()
	require.Eventually(t, func() bool {
		table = d.snapshot()
		for _, e := range table {
			if isDraining(e) {
				return false
			}
		}
		return true
	}, patience, time.Millisecond)
	return table
}

func (d *fakeDataPath) snapshot() entries {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := entries{}
	for k, e := range d.table {
		t[k] = e
	}
	return t
}

func (d *fakeDataPath) hook(f func(session.Changes) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before = f
}

// world is a PGW-U's PFCP edge, killed and started again at will.
type world struct {
	t        *testing.T
	dir      string
	boot     string
	change   []func(*Config)
	dp       *fakeDataPath
	edge     *Edge
	restored Restored
	journal  *journal.Journal
	cancel   context.CancelFunc
	ended    chan error
	up       netip.AddrPort
	later    time.Duration // added to the clock at the next start
}

func newWorld(t *testing.T, change ...func(*Config)) *world {
	w := &world{t: t, dir: t.TempDir(), boot: testBoot, change: change, dp: newDataPath()}
	w.start()
	t.Cleanup(func() {
		w.dp.hook(nil)
		w.kill()
	})
	return w
}

func (w *world) start() {
	cfg := DefaultConfig()
	cfg.NodeID = pfcp.NodeID{FQDN: "pgwu1.example"}
	cfg.Endpoint.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	if w.up.IsValid() {
		cfg.Endpoint.Listen = w.up // the same as before
	}
	cfg.Slices = []Slice{{Address: slice, Slots: 256}}
	cfg.Instances = session.Instances{Known: []pfcp.NetworkInstance{"internet"}, Default: "internet"}
	cfg.Unlisted.Port = testPort
	for _, f := range w.change {
		f(&cfg)
	}
	log := slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	state := NewState()
	var found journal.Found
	var err error
	w.journal, found, err = journal.Open(journal.Options{Dir: w.dir, Version: RecordVersion, BootID: w.boot}, state.Load)
	require.NoError(w.t, err)
	w.dp.fence = func(seid pfcp.SEID) { w.edge.Fence(seid) }
	w.edge, w.restored, err = Open(cfg, w.dp, w.journal, state, found.Fresh, time.Now().Add(w.later), log)
	require.NoError(w.t, err)
	w.dp.reconcile(w.edge.Entries())
	w.dp.keepCells(slices.Collect(w.edge.Cells))
	w.up = w.edge.Addr()
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	w.ended = make(chan error, 1)
	edge := w.edge
	go func() {
		var g errgroup.Group
		g.Go(func() error { return edge.Run(ctx) })
		g.Go(func() error { // the data path tells of limits that are reached
			for clock := time.NewTicker(time.Millisecond); ; {
				select {
				case <-ctx.Done():
					clock.Stop()
					return nil
				case <-clock.C:
					for _, id := range w.dp.exceeded() {
						edge.LimitReached(id)
					}
				}
			}
		})
		w.ended <- g.Wait()
	}()
}

// kill ends the edge as kill -9 does: nothing is written, nothing is said.
func (w *world) kill() {
	if w.cancel == nil {
		return
	}
	w.cancel()
	require.NoError(w.t, <-w.ended)
	require.NoError(w.t, w.journal.Close())
	w.cancel = nil
}

func (w *world) sessions() []session.Session {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return w.edge.Sessions(ctx, nil)
}

// held is what the sessions say that the node must hold, and what it holds.
type held struct {
	Table                         entries
	Cells                         map[session.CellID]session.Cell
	TEIDs, Addresses              int
	NamingApplications, InJournal int
}

func (w *world) held() (want, have held) {
	w.t.Helper()
	defer w.pause()()
	want = held{Table: entries{}, Cells: map[session.CellID]session.Cell{}}
	for _, sh := range w.edge.shards {
		for s := range sh.sessions.each {
			table, err := sh.table(s) // some may drain
			require.NoError(w.t, err)
			for _, e := range table {
				want.Table[e.Key] = e
			}
			for _, c := range s.Cells() {
				want.Cells[c.ID] = c
			}
			want.TEIDs += len(s.FTEIDs())
			want.Addresses += len(s.Addresses)
			want.InJournal++
			if names(&s) {
				want.NamingApplications++
			}
		}
	}
	have = held{Table: w.dp.snapshot(), Cells: w.dp.cellsPut()}
	stats := w.edge.Stats()
	for _, slots := range stats.Slots {
		have.TEIDs += slots.Live
	}
	for _, p := range stats.Pools {
		have.Addresses += p.Live
	}
	for _, sh := range w.edge.shards {
		have.NamingApplications += len(sh.naming())
	}
	for _, key := range w.journal.Keys() {
		if key.Kind == kindSession {
			have.InJournal++
		}
	}
	return want, have
}

// pause stops every shard between two of the things that it does, when none of its sessions waits for packets in hand,
// until the function is called that it returns.
func (w *world) pause() (resume func()) {
	for {
		pauses, resumed := make(chan int), make(chan struct{})
		for _, sh := range w.edge.shards {
			sh.commands <- func() {
				pauses <- len(sh.paused)
				<-resumed
			}
		}
		sum := 0
		for range w.edge.shards {
			sum += <-pauses
		}
		if sum == 0 {
			return func() { close(resumed) }
		}
		close(resumed)
	}
}

// consistent checks the invariant: data path, journal and allocators hold exactly what the sessions say, whenever no
// shard is in the middle of something.
func (w *world) consistent() {
	w.t.Helper()
	want, have := w.held()
	require.Equal(w.t, want, have)
}

// controlPlane speaks PFCP with go-pfcp's encoder: what it sends does not come from our own.
type controlPlane struct {
	t    *testing.T
	w    *world
	conn *net.UDPConn
	addr netip.Addr
	node string
	rts  time.Time
	seq  uint32
}

func newControlPlane(t *testing.T, w *world, addr, node string) *controlPlane {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(addr), Port: testPort})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &controlPlane{
		t: t, w: w, conn: conn, addr: netip.MustParseAddr(addr), node: node, rts: time.Unix(1_700_000_000, 0),
	}
}

func (c *controlPlane) next() uint32 {
	c.seq++
	return c.seq
}

func (c *controlPlane) send(b []byte) {
	c.t.Helper()
	_, err := c.conn.WriteToUDPAddrPort(b, c.w.up)
	require.NoError(c.t, err)
}

func (c *controlPlane) encode(m message.Message) []byte {
	c.t.Helper()
	b := make([]byte, m.MarshalLen())
	require.NoError(c.t, m.MarshalTo(b))
	return b
}

// receive returns the next message of a type; heartbeats of the UP function that come between are passed over.
func (c *controlPlane) receive(want uint8) ([]byte, message.Message) {
	c.t.Helper()
	for {
		if b, m := c.receiveAny(); m.MessageType() == want {
			return b, m
		}
	}
}

// receiveAny returns the next message.
func (c *controlPlane) receiveAny() ([]byte, message.Message) {
	c.t.Helper()
	b := make([]byte, 1<<16)
	require.NoError(c.t, c.conn.SetReadDeadline(time.Now().Add(patience)))
	n, _, err := c.conn.ReadFromUDPAddrPort(b)
	require.NoError(c.t, err, "waiting for a message")
	m, err := message.Parse(b[:n])
	require.NoError(c.t, err)
	return b[:n], m
}

// drain throws away what has arrived.
func (c *controlPlane) drain() {
	c.t.Helper()
	require.NoError(c.t, c.conn.SetReadDeadline(time.Time{}))
	raw, err := c.conn.SyscallConn()
	require.NoError(c.t, err)
	require.NoError(c.t, raw.Read(func(fd uintptr) bool {
		for b := make([]byte, 1<<16); ; {
			if _, _, err := unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT); err != nil {
				return true
			}
		}
	}))
}

// ask sends a request and returns the response with its octets.
func (c *controlPlane) ask(m message.Message) ([]byte, message.Message) {
	c.t.Helper()
	c.send(c.encode(m))
	for {
		b, response := c.receive(m.MessageType() + 1)
		if response.Sequence() == m.Sequence() {
			return b, response
		}
	}
}

func (c *controlPlane) setup() *message.AssociationSetupResponse {
	c.t.Helper()
	_, m := c.ask(message.NewAssociationSetupRequest(c.next(), c.nodeID(), ie.NewRecoveryTimeStamp(c.rts)))
	return m.(*message.AssociationSetupResponse)
}

func (c *controlPlane) nodeID() *ie.IE {
	if _, err := netip.ParseAddr(c.node); err == nil {
		return ie.NewNodeID(c.node, "", "")
	}
	return ie.NewNodeID("", "", c.node)
}

func cause(t *testing.T, i *ie.IE) pfcp.Cause {
	t.Helper()
	require.NotNil(t, i)
	v, err := i.Cause()
	require.NoError(t, err)
	return pfcp.Cause(v)
}

// bearer are the rules of a default bearer to the UE at that address.
func bearer(ue string) []*ie.IE {
	return []*ie.IE{
		ie.NewCreatePDR(
			ie.NewPDRID(1), ie.NewPrecedence(100),
			ie.NewPDI(
				ie.NewSourceInterface(ie.SrcInterfaceAccess),
				ie.NewFTEID(0x05, 0, nil, nil, 0), // CH and V4
				ie.NewUEIPAddress(0x02, ue, "", 0, 0),
			),
			ie.NewOuterHeaderRemoval(0, 0), ie.NewFARID(1), ie.NewURRID(1), ie.NewQERID(1),
		),
		ie.NewCreatePDR(
			ie.NewPDRID(2), ie.NewPrecedence(100),
			ie.NewPDI(
				ie.NewSourceInterface(ie.SrcInterfaceCore), ie.NewNetworkInstance("internet"),
				ie.NewUEIPAddress(0x06, ue, "", 0, 0),
			),
			ie.NewFARID(2), ie.NewURRID(1), ie.NewQERID(1),
		),
		ie.NewCreateFAR(
			ie.NewFARID(1), ie.NewApplyAction(0x02),
			ie.NewForwardingParameters(ie.NewDestinationInterface(ie.DstInterfaceCore), ie.NewNetworkInstance("internet")),
		),
		ie.NewCreateFAR(
			ie.NewFARID(2), ie.NewApplyAction(0x02),
			ie.NewForwardingParameters(
				ie.NewDestinationInterface(ie.DstInterfaceAccess),
				ie.NewOuterHeaderCreation(0x0100, 0xaa, remote.String(), "", 0, 0, 0),
			),
		),
		ie.NewCreateQER(ie.NewQERID(1), ie.NewGateStatus(0, 0), ie.NewMBR(5000, 10000)),
		ie.NewCreateURR(ie.NewURRID(1), ie.NewMeasurementMethod(0, 1, 0), ie.NewReportingTriggers(0, 0)),
	}
}

func (c *controlPlane) establishment(seq uint32, seid uint64, rules ...*ie.IE) *message.SessionEstablishmentRequest {
	all := append([]*ie.IE{c.nodeID(), ie.NewFSEID(seid, c.addr.AsSlice(), nil)}, rules...)
	return message.NewSessionEstablishmentRequest(0, 0, 0, seq, 0, all...)
}

// establish makes a session that must be accepted, and returns the UP function's SEID and TEID.
func (c *controlPlane) establish(seid uint64, rules ...*ie.IE) (uint64, uint32) {
	c.t.Helper()
	_, m := c.ask(c.establishment(c.next(), seid, rules...))
	r := m.(*message.SessionEstablishmentResponse)
	require.Equal(c.t, pfcp.CauseAccepted, cause(c.t, r.Cause))
	require.Equal(c.t, seid, r.SEID())
	fseid, err := r.UPFSEID.FSEID()
	require.NoError(c.t, err)
	require.Equal(c.t, "127.0.0.1", fseid.IPv4Address.String())
	for _, created := range r.CreatedPDR {
		fteid, err := created.FTEID()
		require.NoError(c.t, err)
		require.Equal(c.t, slice.String(), fteid.IPv4Address.String())
		return fseid.SEID, fteid.TEID
	}
	return fseid.SEID, 0
}

// refused sends an establishment that must be refused.
func (c *controlPlane) refused(want pfcp.Cause, seid uint64, rules ...*ie.IE) *message.SessionEstablishmentResponse {
	c.t.Helper()
	_, m := c.ask(c.establishment(c.next(), seid, rules...))
	r := m.(*message.SessionEstablishmentResponse)
	require.Equal(c.t, want, cause(c.t, r.Cause))
	require.Nil(c.t, r.UPFSEID)
	return r
}

func (c *controlPlane) modify(seid uint64, rules ...*ie.IE) *message.SessionModificationResponse {
	c.t.Helper()
	_, m := c.ask(message.NewSessionModificationRequest(0, 0, seid, c.next(), 0, rules...))
	return m.(*message.SessionModificationResponse)
}

func (c *controlPlane) delete(seid uint64) *message.SessionDeletionResponse {
	c.t.Helper()
	_, m := c.ask(message.NewSessionDeletionRequest(0, 0, seid, c.next(), 0))
	return m.(*message.SessionDeletionResponse)
}

func (c *controlPlane) heartbeat(with ...*ie.IE) *message.HeartbeatResponse {
	c.t.Helper()
	request := message.NewHeartbeatRequest(c.next(), nil, nil)
	if len(with) > 0 {
		request.RecoveryTimeStamp = with[0]
	}
	_, m := c.ask(request)
	return m.(*message.HeartbeatResponse)
}

var errKilled = errors.New("killed")

func journalKey(kind uint8, id uint64) journal.Key { return journal.Key{Kind: kind, ID: id} }

// TestMain runs the tests in namespaces of their own: they use fixed loopback addresses, and mount file systems.
func TestMain(m *testing.M) {
	const inside = "XEPC_SXB_INSIDE"
	if os.Getenv(inside) != "" {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "prepare the namespaces:", err)
			os.Exit(1)
		}
		goleak.VerifyTestMain(m)
		return
	}
	self := exec.Command("/proc/self/exe", os.Args[1:]...)
	self.Env = append(os.Environ(), inside+"=1")
	self.Stdin, self.Stdout, self.Stderr = os.Stdin, os.Stdout, os.Stderr
	self.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := self.Run()
	if self.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "run in namespaces (are you root?):", err)
		os.Exit(1)
	}
	os.Exit(self.ProcessState.ExitCode())
}

// prepare brings lo up, and keeps mounts inside.
func prepare() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return errors.Join(netlink.LinkSetUp(lo), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
}

// made is the SEID that an establishment's answer names, 0 when it was refused.
func made(t *testing.T, m message.Message) uint64 {
	t.Helper()
	r := m.(*message.SessionEstablishmentResponse)
	if r.UPFSEID == nil {
		return 0
	}
	f, err := r.UPFSEID.FSEID()
	require.NoError(t, err)
	return f.SEID
}
