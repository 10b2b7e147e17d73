package pfcp

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The establishment with every IE: 452 octets, 2 PDR, 2 FAR, QER, URR.
func BenchmarkParseEstablishment(b *testing.B) {
	octets, err := Marshal(Header{Sequence: 1}, fullEstablishment())
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Parse(octets); err != nil {
			b.Fatal(err)
		}
	}
}

// The same as an endpoint parses it, when its handler releases the requests.
func BenchmarkParseReleasedEstablishment(b *testing.B) {
	octets, err := Marshal(Header{Sequence: 1}, fullEstablishment())
	require.NoError(b, err)
	d := newDecoder(new(released))
	b.ReportAllocs()
	for b.Loop() {
		h, body, err := parseHeader(octets)
		if err != nil {
			b.Fatal(err)
		}
		m, fault := d.parseMessage(h, body)
		if fault != nil {
			b.Fatal(fault)
		}
		d.released.put(m)
	}
}

func BenchmarkAppendEstablishment(b *testing.B) {
	m, buffer := fullEstablishment(), make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Append(buffer, Header{Sequence: 1}, m); err != nil {
			b.Fatal(err)
		}
	}
}

// Requests over loopback, so many in flight, both ends in this process: what the transport and the codec cost
// together, with no session behind them.
func BenchmarkRoundTrips(b *testing.B) {
	establishment, modification := fullEstablishment(), &SessionModificationRequest{
		UpdateFARs: []UpdateFAR{{ID: 2, ApplyAction: Some(ActionForward), ForwardingParameters: Some(ForwardingParameters{
			DestinationInterface: Some(InterfaceAccess),
			OuterHeaderCreation:  Some(OuterHeaderCreation{Description: CreateGTPUUDPIPv4, TEID: 0xbeef, IPv4: testSGW}),
		})}},
	}
	for _, inFlight := range []int{1, 100} {
		b.Run(fmt.Sprintf("establish_%d", inFlight), func(b *testing.B) { roundTrips(b, establishment, inFlight) })
		b.Run(fmt.Sprintf("modify_%d", inFlight), func(b *testing.B) { roundTrips(b, modification, inFlight) })
	}
}

func roundTrips(b *testing.B, request Message, inFlight int) {
	established := &SessionEstablishmentResponse{
		NodeID: NodeID{Addr: testUP}, Cause: CauseAccepted, FSEID: Some(FSEID{SEID: 0x99, IPv4: testUP}),
		CreatedPDRs: []CreatedPDR{{ID: 1, FTEID: Some(FTEID{TEID: 0xa0000001, IPv4: testLocal})}},
	}
	modified := &SessionModificationResponse{Cause: CauseAccepted}
	cfg := testConfig()
	cfg.T1, cfg.ReadBuffer = 3*time.Second, 4<<20
	up := start(b, cfg, func(r *Request) {
		answer := Message(modified)
		if r.Header.Type == TypeSessionEstablishmentRequest {
			answer = established
		}
		if err := r.Respond(1, answer); err != nil {
			b.Error(err)
		}
		r.Release()
	})
	cp := start(b, cfg, func(*Request) {})

	free := make(chan struct{}, inFlight)
	for range inFlight {
		free <- struct{}{}
	}
	done := func(_ Header, _ Message, err error) {
		if err != nil {
			b.Error(err)
		}
		free <- struct{}{}
	}
	b.ReportAllocs()
	began := processorTime(b)
	for b.Loop() {
		<-free
		cp.Call(up.Addr(), 0, request, done)
	}
	for range inFlight {
		<-free
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "trips/s")
	b.ReportMetric(float64(processorTime(b)-began)/float64(b.N), "cpu-ns/trip")
}

// processorTime is what this process has used of the processors: unlike the clock it does not count what others use.
func processorTime(b *testing.B) time.Duration {
	var used unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
