package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/xepc/xepc/pkg/pfcp"
)

// client is a control plane that does nothing but send: requests are octets that are ready, in which only numbers
// and addresses change, and datagrams are written and read in batches.
type client struct {
	conn     *net.UDPConn
	batch    *ipv4.PacketConn
	out, in  []ipv4.Message
	sequence uint32
	sessions []uint64 // SEIDs of the UP function
	first    uint32   // sequence number of the step's first request
}

// step is a number of requests of a kind, one for each session.
type step struct {
	name     string
	count    int
	template template
	answered func(index int, answer []byte) error
}

// patience is how long an answer may take.
const patience = 5 * time.Second

func newClient() (*client, error) {
	conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(cpAddress), net.UDPAddrFromAddrPort(upAddress))
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, batch: ipv4.NewPacketConn(conn)}
	if err := errors.Join(conn.SetReadBuffer(8<<20), conn.SetWriteBuffer(8<<20)); err != nil {
		return c, err
	}
	for range 256 {
		c.out = append(c.out, ipv4.Message{Buffers: [][]byte{nil}})
		c.in = append(c.in, ipv4.Message{Buffers: [][]byte{make([]byte, 1<<16)}, OOB: make([]byte, unix.CmsgSpace(4))})
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_GRO, 1) })
	}
	if err != nil {
		return c, err
	}
	return c, c.associate()
}

func (c *client) associate() error {
	b, err := pfcp.Marshal(pfcp.Header{Sequence: 1}, &pfcp.AssociationSetupRequest{
		NodeID: pfcp.NodeID{Addr: cpAddress.Addr()}, RecoveryTimeStamp: 1,
	})
	if err != nil {
		return err
	}
	c.sequence = 2
	if _, err := c.conn.Write(b); err != nil {
		return err
	}
	answer := make([]byte, 2048)
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	n, err := c.conn.Read(answer)
	if err != nil {
		return fmt.Errorf("association: %w", err)
	}
	_, m, err := pfcp.Parse(answer[:n])
	if r, ok := m.(*pfcp.AssociationSetupResponse); err != nil || !ok || r.Cause != pfcp.CauseAccepted {
		return fmt.Errorf("association: %+v %w", m, err)
	}
	return nil
}

// life is the three steps of so many sessions.
func (c *client) life(sessions int) []step {
	c.sessions = make([]uint64, sessions)
	accepted := func(_ int, answer []byte) error { return requireAccepted(answer) }
	return []step{
		{"establish", sessions, newEstablishment(), func(i int, answer []byte) error {
			seid := ieOf(answer, pfcp.IEFSEID)
			if len(seid) < 9 {
				return requireAccepted(answer)
			}
			c.sessions[i] = binary.BigEndian.Uint64(seid[1:])
			return nil
		}},
		{"modify", sessions, newModification(), accepted},
		{"delete", sessions, newDeletion(), accepted},
	}
}

// measure runs a step with so many requests in flight, and returns the requests answered a second.
func (c *client) measure(s step, inFlight int) (float64, error) {
	c.first = c.sequence
	start := time.Now()
	for sent, answered := 0, 0; answered < s.count; {
		n := min(inFlight-(sent-answered), s.count-sent, len(c.out))
		for i := range n {
			c.out[i].Buffers[0] = s.template.append(c.out[i].Buffers[0][:0], c.sequence, sent+i, c.sessions[sent+i])
			c.sequence = (c.sequence + 1) & 0xffffff
		}
		for done := 0; done < n; {
			k, err := c.batch.WriteBatch(c.out[done:n], 0)
			if err != nil {
				return 0, err
			}
			done += k
		}
		sent += n
		k, err := c.read(s)
		if err != nil {
			return 0, fmt.Errorf("after %d of %d: %w", answered, s.count, err)
		}
		answered += k
	}
	return float64(s.count) / time.Since(start).Seconds(), nil
}

func (c *client) read(s step) (answered int, err error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	k, err := c.batch.ReadBatch(c.in, 0)
	if err != nil {
		return 0, err
	}
	for _, b := range c.datagrams(k) {
		if len(b) < 16 || b[0]&1 == 0 || b[1] != s.template.octets[1]+1 {
			continue // a heartbeat of the edge's
		}
		index := int((binary.BigEndian.Uint32(b[12:])>>8 - c.first) & 0xffffff)
		if err := s.answered(index, b); err != nil {
			return 0, err
		}
		answered++
	}
	return answered, nil
}

// datagrams are those of the messages that were read: the kernel hands answers of one size over together (UDP_GRO).
func (c *client) datagrams(messages int) (all [][]byte) {
	for _, m := range c.in[:messages] {
		b, size := m.Buffers[0][:m.N], m.N
		if m.NN >= unix.CmsgLen(4) {
			size = int(binary.NativeEndian.Uint32(m.OOB[unix.CmsgLen(0):]))
		}
		all = slices.AppendSeq(all, slices.Chunk(b, max(size, 1)))
	}
	return all
}

// ieOf returns the value of the first IE of a type in a session message.
func ieOf(b []byte, want uint16) []byte {
	for at := 16; at+4 <= len(b); {
		size := int(binary.BigEndian.Uint16(b[at+2:]))
		if at+4+size > len(b) {
			return nil
		}
		if binary.BigEndian.Uint16(b[at:]) == want {
			return b[at+4 : at+4+size]
		}
		at += 4 + size
	}
	return nil
}

func requireAccepted(answer []byte) error {
	if cause := ieOf(answer, pfcp.IECause); len(cause) != 1 || pfcp.Cause(cause[0]) != pfcp.CauseAccepted {
		return fmt.Errorf("refused: cause % x", cause)
	}
	return nil
}

// template is an encoded request and where its numbers stand.
type template struct {
	octets []byte
	ues    []int // IPv4 address of the UE
	seids  []int // SEID of the CP function
	teids  []int // remote TEID
}

// What stands in a template in place of numbers: nothing else in it looks so.
const (
	markSEID = 0xa1b2c3d4e5f60718
	markTEID = 0xb1c2d3e4
)

var markUE = netip.MustParseAddr("172.29.231.177")

func newTemplate(m pfcp.Message) template {
	b, err := pfcp.Marshal(pfcp.Header{}, m)
	if err != nil {
		panic(err) // a fault of this program's
	}
	find := func(mark []byte) (all []int) {
		for at := 0; ; {
			i := bytes.Index(b[at:], mark)
			if i < 0 {
				return all
			}
			all = append(all, at+i)
			at += i + len(mark)
		}
	}
	return template{
		octets: b, ues: find(markUE.AsSlice()), seids: find(binary.BigEndian.AppendUint64(nil, markSEID)),
		teids: find(binary.BigEndian.AppendUint32(nil, markTEID)),
	}
}

// append makes the request of one session.
func (t *template) append(b []byte, sequence uint32, index int, seid uint64) []byte {
	b = append(b, t.octets...)
	binary.BigEndian.PutUint32(b[12:], sequence<<8)
	if t.octets[1] != byte(pfcp.TypeSessionEstablishmentRequest) {
		binary.BigEndian.PutUint64(b[4:], seid)
	}
	for _, at := range t.ues {
		binary.BigEndian.PutUint32(b[at:], 10<<24|uint32(index))
	}
	for _, at := range t.seids {
		binary.BigEndian.PutUint64(b[at:], uint64(index)+1)
	}
	for _, at := range t.teids {
		binary.BigEndian.PutUint32(b[at:], uint32(index)+1+sequence<<16)
	}
	return b
}

// newEstablishment is a session of 2 PDR, 2 FAR, a QER and a URR.
func newEstablishment() template {
	ue := pfcp.Some(pfcp.UEIPAddress{IPv4: markUE})
	return newTemplate(&pfcp.SessionEstablishmentRequest{
		NodeID: pfcp.NodeID{Addr: cpAddress.Addr()},
		FSEID:  pfcp.FSEID{SEID: markSEID, IPv4: cpAddress.Addr()},
		CreatePDRs: []pfcp.CreatePDR{
			{
				ID: 1, Precedence: 100, FARID: pfcp.Some(pfcp.FARID(1)), QERIDs: []pfcp.QERID{1}, URRIDs: []pfcp.URRID{1},
				OuterHeaderRemoval: pfcp.Some(pfcp.RemoveGTPUUDPIPv4),
				PDI: pfcp.PDI{
					SourceInterface: pfcp.InterfaceAccess, UEIPAddress: ue,
					FTEID: pfcp.Some(pfcp.FTEID{Choose: true, ChooseIPv4: true}),
				},
			},
			{
				ID: 2, Precedence: 100, FARID: pfcp.Some(pfcp.FARID(2)), QERIDs: []pfcp.QERID{1}, URRIDs: []pfcp.URRID{1},
				PDI: pfcp.PDI{
					SourceInterface: pfcp.InterfaceCore, UEIPAddress: ue,
					NetworkInstance: pfcp.Some(pfcp.NetworkInstance("internet")),
				},
			},
		},
		CreateFARs: []pfcp.CreateFAR{
			{ID: 1, ApplyAction: pfcp.ActionForward, ForwardingParameters: pfcp.Some(pfcp.ForwardingParameters{
				DestinationInterface: pfcp.Some(pfcp.InterfaceCore),
				NetworkInstance:      pfcp.Some(pfcp.NetworkInstance("internet")),
			})},
			{ID: 2, ApplyAction: pfcp.ActionForward, ForwardingParameters: pfcp.Some(toSGW())},
		},
		CreateQERs: []pfcp.CreateQER{{ID: 1, MBR: pfcp.Some(pfcp.BitRate{Uplink: 50_000, Downlink: 100_000})}},
		CreateURRs: []pfcp.CreateURR{{
			ID: 1, MeasurementMethod: pfcp.MeasureVolume, ReportingTriggers: pfcp.ReportVolumeThreshold,
			URRParameters: pfcp.URRParameters{VolumeThreshold: pfcp.Volume{Total: pfcp.Some(uint64(1 << 40))}},
		}},
	})
}

// toSGW is where downlink packets go.
func toSGW() pfcp.ForwardingParameters {
	return pfcp.ForwardingParameters{
		DestinationInterface: pfcp.Some(pfcp.InterfaceAccess),
		OuterHeaderCreation: pfcp.Some(pfcp.OuterHeaderCreation{
			Description: pfcp.CreateGTPUUDPIPv4, TEID: markTEID, IPv4: sgw,
		}),
	}
}

// newModification is a handover: another remote F-TEID.
func newModification() template {
	return newTemplate(&pfcp.SessionModificationRequest{
		UpdateFARs: []pfcp.UpdateFAR{{ID: 2, ForwardingParameters: pfcp.Some(toSGW())}},
	})
}

func newDeletion() template { return newTemplate(&pfcp.SessionDeletionRequest{}) }
