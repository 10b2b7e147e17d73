package proof

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/pkg/testkit"
	"github.com/xepc/xepc/userplane/datapath"
)

// pgwu is where TestMain has built the program.
var pgwu string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "xepc-proof-")
		if err == nil {
			defer func() { _ = os.RemoveAll(dir) }()
			pgwu = filepath.Join(dir, "pgwu")
			var out []byte
			if out, err = exec.Command("go", "build", "-o", pgwu, "../cmd/pgwu").CombinedOutput(); err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "build pgwu:", err)
			return 1
		}
		return m.Run()
	}())
}

const patience = 20 * time.Second // for what must come; nobody waits that long when it does

// node is the bed with the program itself, and its control plane.
type node struct {
	*bed
	dir     string
	process *exec.Cmd
	log     *testkit.Log
	cp      *controlPlane
	reader  *datapath.Reader
	changes *strings.Replacer // of the configuration
}

// newNode starts a node; parts of its configuration are replaced, each by the one behind it.
func newNode(t *testing.T, changes ...string) *node {
	t.Helper()
	n := &node{bed: newLinks(t), dir: t.TempDir(), log: &testkit.Log{}, changes: strings.NewReplacer(changes...)}
	l, err := netlink.LinkByName("lo")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/lo/disable_ipv6", []byte("0"), 0))
	for _, address := range []string{slice.String() + "/32", slice6.String() + "/128"} {
		a, err := netlink.ParseAddr(address)
		require.NoError(t, err)
		require.NoError(t, netlink.AddrAdd(l, a))
	}
	testkit.Mount(t, "bpf", n.dir+"/bpf", "")
	testkit.Mount(t, "tmpfs", n.dir+"/state", "")
	n.configure("")
	n.start()
	t.Cleanup(func() {
		if n.reader != nil {
			require.NoError(t, n.reader.Close())
		}
		if n.process != nil {
			n.kill()
		}
		if t.Failed() {
			t.Log(n.log.String())
		}
	})
	n.cp = newControlPlane(t)
	return n
}

// configure writes the configuration; more of data_path comes first in it.
func (n *node) configure(dataPath string) {
	n.t.Helper()
	require.NoError(n.t, os.WriteFile(n.dir+"/pgwu.yaml", []byte(n.changes.Replace(fmt.Sprintf(`
node_id: pgwu.proof
pfcp: {address: "127.0.0.8", usage_poll: 100ms}
state_dir: %[1]s/state
pin_dir: %[1]s/bpf/pgwu
admin_socket: %[1]s/pgwu.sock
ports: [{name: access0}, {name: core0, network_instance: internet}]
slices: [{address: %[3]s, address6: "%[5]s", sessions: 4096}]
network_instances: [{name: internet, gateway: %[4]s}]
gtpu: {echo_interval: 0s}
data_path: {%[2]s address_blocks: 32, peers: 64}
`, n.dir, dataPath, slice, gateway, slice6))), 0o600))
}

// start runs the program and waits until its control plane would be heard.
func (n *node) start() {
	n.t.Helper()
	n.process = exec.Command(pgwu, "serve", "-c", n.dir+"/pgwu.yaml") // born into the namespace of this thread
	n.process.Stdout, n.process.Stderr = n.log, n.log
	n.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(n.t, n.process.Start())
	require.Eventually(n.t, func() bool {
		out, err := exec.Command(pgwu, "reason", "list", "--socket", n.dir+"/pgwu.sock").CombinedOutput()
		return err == nil && !strings.Contains(string(out), "pinned maps")
	}, patience, 20*time.Millisecond)
	if n.reader == nil {
		var err error
		n.reader, err = datapath.OpenReader(n.dir + "/bpf/pgwu")
		require.NoError(n.t, err)
	}
}

// kill is kill -9.
func (n *node) kill() {
	n.t.Helper()
	require.NoError(n.t, n.process.Process.Kill())
	_ = n.process.Wait()
	n.process = nil
}

// program is the id of the XDP program that the access port has.
func (n *node) program() uint32 {
	n.t.Helper()
	l, err := netlink.LinkByName("access0")
	require.NoError(n.t, err)
	require.NotNil(n.t, l.Attrs().Xdp)
	return l.Attrs().Xdp.ProgId
}

func (n *node) reasons() map[string]uint64 { return reasonsOf(n.t, n.reader) }

// controlPlane speaks PFCP, one request at a time, and takes the reports that come.
type controlPlane struct {
	t       *testing.T
	conn    *net.UDPConn
	seq     pfcp.Sequence
	answers chan answer

	mu      sync.Mutex
	reports map[pfcp.SEID]map[reportID]pfcp.UsageReport // by the CP function's SEID; a repeated one once
	ended   sync.WaitGroup
}

type reportID struct {
	urr      pfcp.URRID
	sequence uint32
}

type answer struct {
	seq     pfcp.Sequence
	message pfcp.Message
}

var (
	upAddress = netip.MustParseAddrPort("127.0.0.8:8805")
	cpAddress = netip.MustParseAddrPort("127.0.0.9:8805")
)

func newControlPlane(t *testing.T) *controlPlane {
	t.Helper()
	cp := &controlPlane{t: t, answers: make(chan answer, 16), reports: map[pfcp.SEID]map[reportID]pfcp.UsageReport{}}
	var err error
	cp.conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(cpAddress))
	require.NoError(t, err)
	cp.ended.Go(cp.read)
	t.Cleanup(func() {
		_ = cp.conn.Close()
		cp.ended.Wait()
	})
	r := cp.ask(0, &pfcp.AssociationSetupRequest{NodeID: pfcp.NodeID{FQDN: "cp.proof"}, RecoveryTimeStamp: stamp.Value}).(*pfcp.AssociationSetupResponse)
	require.Equal(t, pfcp.CauseAccepted, r.Cause)
	return cp
}

var stamp = pfcp.Some(pfcp.RecoveryTimeStamp(7))

// read takes answers, and answers requests.
func (cp *controlPlane) read() {
	b := make([]byte, 1<<16)
	for {
		n, _, err := cp.conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // nobody was there
		}
		h, m, err := pfcp.Parse(b[:n])
		if err != nil {
			cp.t.Error(err)
			return
		}
		switch m := m.(type) {
		case *pfcp.HeartbeatRequest:
			cp.send(pfcp.Header{Sequence: h.Sequence}, &pfcp.HeartbeatResponse{RecoveryTimeStamp: stamp})
		case *pfcp.SessionReportRequest:
			cp.take(h.SEID, m.UsageReports)
			cp.send(pfcp.Header{Sequence: h.Sequence, SEID: h.SEID}, &pfcp.SessionReportResponse{Cause: pfcp.CauseAccepted})
		default:
			cp.answers <- answer{h.Sequence, m}
		}
	}
}

func (cp *controlPlane) take(seid pfcp.SEID, reports []pfcp.UsageReport) {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	if cp.reports[seid] == nil {
		cp.reports[seid] = map[reportID]pfcp.UsageReport{}
	}
	for _, r := range reports {
		cp.reports[seid][reportID{r.URRID, r.Sequence}] = r
	}
}

// reported is the sum of all reports of a URR, and how many there were.
func (cp *controlPlane) reported(seid pfcp.SEID, urr pfcp.URRID) (v pfcp.VolumeMeasurement, reports int) {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	for id, r := range cp.reports[seid] {
		if id.urr != urr {
			continue
		}
		reports++
		m := r.Volume.Value
		v.TotalOctets += m.TotalOctets
		v.UplinkOctets += m.UplinkOctets
		v.DownlinkOctets += m.DownlinkOctets
		v.TotalPackets += m.TotalPackets
		v.UplinkPackets += m.UplinkPackets
		v.DownlinkPackets += m.DownlinkPackets
	}
	return v, reports
}

func (cp *controlPlane) send(h pfcp.Header, m pfcp.Message) {
	b, err := pfcp.Marshal(h, m)
	if err != nil {
		cp.t.Error(err)
		return
	}
	_, _ = cp.conn.WriteToUDPAddrPort(b, upAddress) // nobody there: it is sent again
}

// ask sends a request until it is answered, under one sequence number.
func (cp *controlPlane) ask(seid pfcp.SEID, m pfcp.Message) pfcp.Message {
	cp.t.Helper()
	cp.seq++
	h := pfcp.Header{SEID: seid, Sequence: cp.seq}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		cp.send(h, m)
		again := time.After(time.Second)
		for waiting := true; waiting; {
			select {
			case a := <-cp.answers:
				if a.seq == cp.seq {
					return a.message
				}
			case <-again:
				waiting = false
			}
		}
	}
	require.Fail(cp.t, "no answer", "%T", m)
	return nil
}

// live is an established session.
type live struct {
	cp        *controlPlane
	own, seid pfcp.SEID // of the CP function, of the UP function
	teids     []pfcp.TEID
}

// establish returns the F-TEIDs in the order of the PDRs that got them.
func (cp *controlPlane) establish(own pfcp.SEID, request *pfcp.SessionEstablishmentRequest) live {
	cp.t.Helper()
	request.NodeID, request.FSEID = pfcp.NodeID{FQDN: "cp.proof"}, pfcp.FSEID{SEID: own, IPv4: cpAddress.Addr()}
	r := cp.ask(0, request).(*pfcp.SessionEstablishmentResponse)
	require.Equal(cp.t, pfcp.CauseAccepted, r.Cause, "%+v", r)
	s := live{cp: cp, own: own, seid: r.FSEID.Value.SEID}
	for _, p := range r.CreatedPDRs {
		s.teids = append(s.teids, p.FTEID.Value.TEID)
	}
	return s
}

func (s live) modify(m *pfcp.SessionModificationRequest) {
	s.cp.t.Helper()
	r := s.cp.ask(s.seid, m).(*pfcp.SessionModificationResponse)
	require.Equal(s.cp.t, pfcp.CauseAccepted, r.Cause, "%+v", r)
	s.cp.take(s.own, r.UsageReports)
}

func (s live) delete() {
	s.cp.t.Helper()
	r := s.cp.ask(s.seid, &pfcp.SessionDeletionRequest{}).(*pfcp.SessionDeletionResponse)
	require.Equal(s.cp.t, pfcp.CauseAccepted, r.Cause)
	s.cp.take(s.own, r.UsageReports)
}

// Rules of one bearer of UE n: PDRs 2b+1 uplink and 2b+2 downlink with FARs of the same ids. Downlink packets of bearers
// beyond the first are told by their source port: see port.
func bearer(over outside, n, b int, qers []pfcp.QERID, urrs ...pfcp.URRID) (pdrs []pfcp.CreatePDR, fars []pfcp.CreateFAR) {
	address := pfcp.Some(pfcp.UEIPAddress{IPv4: ue(n)})
	up, down := 2*b+1, 2*b+2
	removal, fteid := pfcp.RemoveGTPUUDPIPv4, pfcp.FTEID{Choose: true, ChooseIPv4: true}
	if over.slice.Is6() {
		removal, fteid = pfcp.RemoveGTPUUDPIPv6, pfcp.FTEID{Choose: true, ChooseIPv6: true}
	}
	pdi := pfcp.PDI{
		SourceInterface: pfcp.InterfaceCore, UEIPAddress: address, NetworkInstance: pfcp.Some(pfcp.NetworkInstance("internet")),
	}
	if b > 0 {
		pdi.SDFFilters = []pfcp.SDFFilter{{FlowDescription: fmt.Sprintf("permit out 17 from any %d to assigned", port(b))}}
	}
	pdrs = []pfcp.CreatePDR{
		{
			ID: pfcp.PDRID(up), Precedence: 100, FARID: pfcp.Some(pfcp.FARID(up)), QERIDs: qers, URRIDs: urrs,
			OuterHeaderRemoval: pfcp.Some(removal),
			PDI: pfcp.PDI{
				SourceInterface: pfcp.InterfaceAccess, UEIPAddress: address, FTEID: pfcp.Some(fteid),
			},
		},
		{
			ID: pfcp.PDRID(down), Precedence: pfcp.Precedence(200 - b), FARID: pfcp.Some(pfcp.FARID(down)), QERIDs: qers, URRIDs: urrs,
			PDI: pdi,
		},
	}
	fars = []pfcp.CreateFAR{
		{ID: pfcp.FARID(up), ApplyAction: pfcp.ActionForward, ForwardingParameters: pfcp.Some(pfcp.ForwardingParameters{
			DestinationInterface: pfcp.Some(pfcp.InterfaceCore), NetworkInstance: pfcp.Some(pfcp.NetworkInstance("internet")),
		})},
		{ID: pfcp.FARID(down), ApplyAction: pfcp.ActionForward, ForwardingParameters: pfcp.Some(toTunnel(over.sgw, remoteTEID(n)+pfcp.TEID(b)<<12))},
	}
	return pdrs, fars
}

// port is the far end's of bearer b.
func port(b int) uint16 { return uint16(5000 + b) }

func toTunnel(remote netip.Addr, teid pfcp.TEID) pfcp.ForwardingParameters {
	outer := pfcp.OuterHeaderCreation{Description: pfcp.CreateGTPUUDPIPv4, TEID: teid, IPv4: remote}
	if remote.Is6() {
		outer = pfcp.OuterHeaderCreation{Description: pfcp.CreateGTPUUDPIPv6, TEID: teid, IPv6: remote}
	}
	return pfcp.ForwardingParameters{
		DestinationInterface: pfcp.Some(pfcp.InterfaceAccess), OuterHeaderCreation: pfcp.Some(outer),
	}
}
