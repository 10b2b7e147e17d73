package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pfcpie "github.com/wmnsk/go-pfcp/ie"
	pfcp "github.com/wmnsk/go-pfcp/message"

	"github.com/xepc/xepc/testbed/lab"
	"github.com/xepc/xepc/testbed/topology"
	"github.com/xepc/xepc/testbed/visited/sgw"
)

// Causes of TS 29.274 8.4 and TS 29.244 8.2.1.
const (
	newPDNType           = 18
	mandatoryIEMissing   = 70
	unknownAPN           = 78
	pdnTypeNotSupported  = 83
	allAddressesOccupied = 84
	noAssociation        = 72 // of PFCP
)

const packets = "xepc_pgwu_packets_total" // by reason

// undisturbed attaches the lab's last UE and has it ping until the test ends: not one ping may be lost, and every
// node must still be the process that it was.
func undisturbed(t *testing.T, l *lab.Lab) {
	t.Helper()
	bystander := l.UEs[len(l.UEs)-1]
	_, err := l.Attach(t.Context(), bystander, lab.AttachOptions{})
	require.NoError(t, err)
	answered(t, l, bystander)
	pids := map[string]int{}
	for _, n := range l.Nodes() {
		pids[n.Name] = n.PID()
	}
	pinger, err := l.StartPing(context.WithoutCancel(t.Context()), bystander, interval)
	require.NoError(t, err)
	t.Cleanup(func() {
		result, err := pinger.Stop()
		require.NoError(t, err)
		require.Empty(t, result.Lost, "the bystander's pings: %s", result)
		for _, n := range l.Nodes() {
			require.Equal(t, pids[n.Name], n.PID(), "%s", n.Name)
		}
	})
}

func TestCreateSessionThatMustFailGetsItsCause(t *testing.T) {
	l := start(t, nil)
	undisturbed(t, l)
	u := l.UEs[0]
	for _, row := range []struct {
		name   string
		change func(*sgw.CreateSession)
		want   sgw.CauseError
	}{
		{"an APN that nobody has", func(c *sgw.CreateSession) { c.APN = "nowhere" }, sgw.CauseError{Cause: unknownAPN}},
		{"PDN type IPv6", func(c *sgw.CreateSession) { c.PDNType = 2 }, sgw.CauseError{Cause: pdnTypeNotSupported}},
		{"without RAT Type", without(sgw.IERATType), missing(sgw.IERATType, 0)},
		{"without Sender F-TEID", without(sgw.IEFTEID), missing(sgw.IEFTEID, 0)},
		{"without APN", without(sgw.IEAPN), missing(sgw.IEAPN, 0)},
		{"without Bearer Context", without(sgw.IEBearerContext), missing(sgw.IEBearerContext, 0)},
		{"without EPS Bearer ID", withoutInBearer(sgw.IEEBI), missing(sgw.IEEBI, 0)},
		{"without Bearer QoS", withoutInBearer(sgw.IEBearerQoS), missing(sgw.IEBearerQoS, 0)},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := counter(t, l.PGWC, "xepc_pgwc_answers_total") + counter(t, l.PGWC, "xepc_pgwc_gtpc_parse_errors_total")
			_, err := l.Attach(t.Context(), u, lab.AttachOptions{Change: row.change})
			var refused *sgw.CauseError
			require.ErrorAs(t, err, &refused)
			row.want.Response = "Create Session Response"
			require.Equal(t, row.want, *refused)
			after := counter(t, l.PGWC, "xepc_pgwc_answers_total") + counter(t, l.PGWC, "xepc_pgwc_gtpc_parse_errors_total")
			require.Greater(t, after, before, "it is counted")
			require.Len(t, rows(t, l.PGWC, "session", "list"), 1, "only the bystander's session")
		})
	}
	t.Run("PDN type IPv4v6 becomes IPv4 with cause 18, an operator identifier and capitals do not matter", func(t *testing.T) {
		_, err := l.Attach(t.Context(), u, lab.AttachOptions{Change: func(c *sgw.CreateSession) {
			c.PDNType, c.APN = 3, "InterNet.mnc070.mcc999.gprs"
		}})
		require.NoError(t, err)
		require.EqualValues(t, newPDNType, u.Session.Cause)
		require.True(t, u.Session.Address.Is4())
	})
}

func without(t sgw.IEType) func(*sgw.CreateSession) {
	return func(c *sgw.CreateSession) { c.Without = []sgw.IEType{t} }
}

func withoutInBearer(t sgw.IEType) func(*sgw.CreateSession) {
	return func(c *sgw.CreateSession) { c.WithoutInBearer = []sgw.IEType{t} }
}

func missing(t sgw.IEType, instance uint8) sgw.CauseError {
	return sgw.CauseError{Cause: mandatoryIEMissing, Offending: t, Instance: instance}
}

func TestExhaustedPoolRefusesAndRecovers(t *testing.T) {
	l := start(t, func(o *lab.Options) {
		o.UEs, o.PGWUs = 8, 1
		o.Configure = func(node string, config map[string]any) {
			if node != "pgwc" {
				return
			}
			config["address_rest"] = "0s"
			config["pools"] = []map[string]any{{"name": "internet", "chunks": []map[string]any{
				{"prefix": "172.16.1.0/30", "node": topology.PGWU(1)},
			}}}
		}
	})
	undisturbed(t, l)
	var attached []*lab.UE
	var refused *sgw.CauseError
	for _, u := range l.UEs[:7] {
		_, err := l.Attach(t.Context(), u, lab.AttachOptions{})
		if err != nil {
			require.ErrorAs(t, err, &refused)
			break
		}
		attached = append(attached, u)
	}
	require.NotNil(t, refused, "%d UEs got an address of a /30", len(attached))
	require.EqualValues(t, allAddressesOccupied, refused.Cause)
	require.NotEmpty(t, attached)
	for range 5 {
		require.NoError(t, l.Detach(t.Context(), attached[0]))
		_, err := l.Attach(t.Context(), attached[0], lab.AttachOptions{})
		require.NoError(t, err, "an address came back")
	}
}

func TestSessionForAnUnknownAssociationIsRefused(t *testing.T) {
	l := start(t, func(o *lab.Options) { o.PGWUs = 1 })
	undisturbed(t, l)
	conn, err := l.Network.Namespace(topology.Control).Dial(t.Context(), "udp4", fmt.Sprintf("%s:8805", topology.PFCP(1)))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	stranger := net.IPv4(10, 40, 11, 1)
	request, err := pfcp.NewSessionEstablishmentRequest(0, 0, 0, 7, 0,
		pfcpie.NewNodeID(stranger.String(), "", ""),
		pfcpie.NewFSEID(0x1234, stranger, nil),
		pfcpie.NewCreatePDR(
			pfcpie.NewPDRID(1), pfcpie.NewPrecedence(100), pfcpie.NewFARID(1),
			pfcpie.NewPDI(pfcpie.NewSourceInterface(pfcpie.SrcInterfaceAccess), pfcpie.NewFTEID(4, 0, nil, nil, 0))),
		pfcpie.NewCreateFAR(pfcpie.NewFARID(1), pfcpie.NewApplyAction(1)),
	).Marshal()
	require.NoError(t, err)
	_, err = conn.Write(request)
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
	b := make([]byte, 1500)
	n, err := conn.Read(b)
	require.NoError(t, err)
	response, err := pfcp.ParseSessionEstablishmentResponse(b[:n])
	require.NoError(t, err)
	cause, err := response.Cause.Cause()
	require.NoError(t, err)
	require.EqualValues(t, noAssociation, cause)
	require.EqualValues(t, 0x1234, response.SEID())
	require.Len(t, rows(t, l.PGWUs[0], "session", "list"), 1, "only the bystander's")
}

func TestForgedUserPacketsAreDroppedAndCounted(t *testing.T) {
	l := start(t, func(o *lab.Options) { o.UEs = 3 })
	undisturbed(t, l)
	victim, forger := l.UEs[0], l.UEs[1]
	attached := map[*lab.UE]lab.AttachReport{}
	for _, u := range []*lab.UE{victim, forger} {
		r, err := l.Attach(t.Context(), u, lab.AttachOptions{})
		require.NoError(t, err)
		answered(t, l, u)
		attached[u] = r
	}
	node := l.PGWUs[attached[forger].PGWU-1]
	other := l.PGWUs[2-attached[forger].PGWU]
	own, teid := forger.Session.RemoteUser.Address, forger.Session.RemoteUser.TEID
	otherSlice := topology.GTPU(3 - attached[forger].PGWU)
	forged := echo(victim.Session.Address, topology.Web)
	honest := echo(forger.Session.Address, topology.Web)

	for _, row := range []struct {
		name   string
		to     netip.Addr
		teid   uint32
		packet []byte
		node   *lab.Node
		reason string
	}{
		{"with another UE's source address", own, teid, forged, node, "source_mismatch"},
		{"a right TEID at an address of the node that is no slice", netip.AddrFrom4([4]byte{10, 20, byte(10 + attached[forger].PGWU), 2}), teid, honest, node, "not_a_slice"},
		{"a right TEID at the slice of another node", otherSlice, teid, honest, other, "unknown_teid"},
		{"a TEID of an earlier generation", own, teid ^ 1<<31, honest, node, "unknown_teid"},
		{"an inner packet that is cut short", own, teid, honest[:19], node, "malformed_inner"},
		{"an inner packet that is neither IPv4 nor IPv6", own, teid, append([]byte{0x70}, honest[1:]...), node, "inner_not_ipv4"},
	} {
		t.Run(row.name, func(t *testing.T) {
			reason := fmt.Sprintf("reason=%q", row.reason)
			before := counter(t, row.node, packets, reason)
			require.NoError(t, l.SGW.SendUser(netip.AddrPortFrom(row.to, 2152), gpdu(row.teid, row.packet)))
			require.Eventually(t, func() bool { return counter(t, row.node, packets, reason) == before+1 },
				5*time.Second, 10*time.Millisecond, "%s of %s", row.reason, row.node.Name)
		})
	}
	t.Run("an unknown TEID gets an Error Indication", func(t *testing.T) {
		require.Eventually(t, func() bool { return l.SGW.Count(sgw.ErrorIndications) > 0 }, 5*time.Second, 10*time.Millisecond)
	})
}

// gpdu puts a GTP-U header before a packet.
func gpdu(teid uint32, packet []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x30, 255}, uint16(len(packet)))
	return append(binary.BigEndian.AppendUint32(b, teid), packet...)
}

// echo is an ICMP Echo Request; nothing on its way here looks at its checksums.
func echo(from, to netip.Addr) []byte {
	b := make([]byte, 28)
	b[0], b[3], b[8], b[9] = 0x45, byte(len(b)), 64, 1
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	b[20] = 8
	return b
}

func TestGarbageOnEveryPortDisturbsNobody(t *testing.T) {
	l := start(t, func(o *lab.Options) { o.PGWUs = 1 })
	undisturbed(t, l)
	control, visited := l.Network.Namespace(topology.Control), l.Network.Namespace(topology.Visited)
	heartbeat, err := pfcp.NewHeartbeatRequest(1, pfcpie.NewRecoveryTimeStamp(time.Now()), nil).Marshal()
	require.NoError(t, err)
	createSession := []byte{0x48, 32, 0, 20, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 8, 0, 0x99, 0x79, 0, 0, 0, 0, 0, 0xf1}
	random := rand.New(rand.NewPCG(1, 2))

	for _, row := range []struct {
		name  string
		from  *topology.Namespace
		to    string
		valid []byte // every truncation of it is sent
	}{
		{"S8-C of pgwc", visited, lab.PGWCS8().String(), createSession},
		{"PFCP of pgwc", control, fmt.Sprintf("%s:8805", topology.PGWCPFCP), heartbeat},
		{"PFCP of pgwu", control, fmt.Sprintf("%s:8805", topology.PFCP(1)), heartbeat},
		{"GTP-U of pgwu", visited, fmt.Sprintf("%s:2152", topology.GTPU(1)), gpdu(1, echo(topology.SGW, topology.Web))},
	} {
		t.Run(row.name, func(t *testing.T) {
			conn, err := row.from.Dial(t.Context(), "udp4", row.to)
			require.NoError(t, err)
			defer func() { require.NoError(t, conn.Close()) }()
			for n := range row.valid {
				_, _ = conn.Write(row.valid[:n])
			}
			for range 300 {
				b := make([]byte, 1+random.IntN(1400))
				for i := range b {
					b[i] = byte(random.Uint32())
				}
				if random.IntN(2) == 0 && len(b) >= len(row.valid) {
					copy(b, row.valid[:min(8, len(row.valid))]) // a plausible beginning
				}
				_, _ = conn.Write(b)
			}
		})
	}
	t.Run("S6a", func(t *testing.T) { garbageOnS6a(t, l, visited, random) })
	// A new UE can still attach, which takes every port.
	_, err = l.Attach(t.Context(), l.UEs[0], lab.AttachOptions{})
	require.NoError(t, err)
	for _, n := range l.Nodes() {
		require.Zero(t, counter(t, n, "xepc_pgwc_panics_total")+counter(t, n, "xepc_diameter_handler_panics_total")+
			counter(t, n, "xepc_pgwu_pfcp_events_total", `event="panic"`), "%s", n.Name)
	}
	require.NotZero(t, counter(t, l.PGWC, "xepc_pgwc_gtpc_dropped_total")+counter(t, l.PGWC, "xepc_pgwc_gtpc_other_versions_total"))
	require.NotZero(t, counter(t, l.PGWUs[0], packets, `reason="malformed_gtpu"`))
	require.NotZero(t, counter(t, l.PGWUs[0], "xepc_pgwu_pfcp_events_total", `event="short_header"`))
}

// garbageOnS6a sends octets that are no Diameter from the address that is allowed to connect: each connection must
// be closed, and none may cost memory.
func garbageOnS6a(t *testing.T, l *lab.Lab, visited *topology.Namespace, random *rand.Rand) {
	rows := [][]byte{
		{1, 0, 0, 0, 0x80, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1},                             // length 0
		{1, 0, 0, 19, 0x80, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1},                            // shorter than a header
		{1, 0xff, 0xff, 0xff, 0x80, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1},                    // 16 MiB
		{2, 0, 0, 20, 0x80, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1},                            // version 2
		{1, 0, 0, 28, 0x80, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 8, 0x40, 0, 0, 4}, // AVP shorter than its header
	}
	for range 20 {
		b := make([]byte, 20+random.IntN(200))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		rows = append(rows, b)
	}
	for i, octets := range rows {
		conn, err := visited.Dial(t.Context(), "tcp4", fmt.Sprintf("%s:3868", topology.HSSAddress))
		require.NoError(t, err)
		_, err = conn.Write(octets)
		require.NoError(t, err)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(15*time.Second)))
		_, err = io.Copy(io.Discard, conn)
		var timeout net.Error
		if err != nil {
			require.NotErrorAs(t, err, &timeout, "row %d: the HSS does not close the connection", i)
		}
		require.NoError(t, conn.Close())
	}
	require.Less(t, peakMemory(t, l.HSS), 300<<20, "octets of memory that the HSS took at most")
}

var vmHWM = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakMemory is the most resident memory that a node ever had, in octets.
func peakMemory(t *testing.T, n *lab.Node) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
	require.NoError(t, err)
	match := vmHWM.FindSubmatch(status)
	require.NotNil(t, match)
	kB, err := strconv.Atoi(string(match[1]))
	require.NoError(t, err)
	return kB << 10
}
