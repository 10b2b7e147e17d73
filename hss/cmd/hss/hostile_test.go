package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
	"github.com/fiorix/go-diameter/v4/diam/dict"
	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/redistest"
)

// The bounds of TestHostilePeers, as docs/hss.md has them under "What a peer can cost".
const (
	maxStrangers = 64
	workers      = 16

	strangerOctets  = 32 << 10                       // buffer, half a CER and stacks
	peerOctets      = (workers + 64 + 4) * 512 << 10 // requests in work and answers that wait
	keptOctets      = 64 << 20                       // answers kept for repetitions
	peerGoroutines  = workers + 4                    // with reader, writer and who waits for their ends
	garbage         = 2                              // GOGC=100: as much again may wait for the collector
	slack           = 8 << 20                        // what a heap has in hand for nothing in particular
	slackGoroutines = 80                             // connections to Redis that come and go
)

// scrape reads the metrics of a daemon.
func scrape(t *testing.T, url string) map[string]float64 {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	all := map[string]float64{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z_]+(?:\{[^}]*\})?) (\S+)$`).FindAllStringSubmatch(string(text), -1) {
		all[m[1]], err = strconv.ParseFloat(m[2], 64)
		require.NoError(t, err)
	}
	return all
}

// watched is a daemon whose memory and goroutines are looked at again and again.
type watched struct {
	*daemon
	url        string
	base, most struct{ octets, goroutines float64 }
}

func (w *watched) look() map[string]float64 {
	w.t.Helper()
	m := scrape(w.t, w.url)
	w.most.octets = max(w.most.octets, m["go_memstats_heap_inuse_bytes"]+m["go_memstats_stack_inuse_bytes"])
	w.most.goroutines = max(w.most.goroutines, m["go_goroutines"])
	return m
}

// requireWithin holds what was seen since the last call against a bound above the base, and says it.
func (w *watched) requireWithin(what string, octets, goroutines float64) {
	w.t.Helper()
	grown, more := w.most.octets-w.base.octets, w.most.goroutines-w.base.goroutines
	rss, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	require.NoError(w.t, err)
	w.t.Logf("%s: %.1f MiB and %.0f goroutines more, of %.1f and %.0f; %s", what, grown/(1<<20), more, octets/(1<<20), goroutines,
		regexp.MustCompile(`VmHWM:\s+\d+ kB`).Find(rss))
	require.LessOrEqual(w.t, grown, octets, what)
	require.LessOrEqual(w.t, more, goroutines, what)
	w.most = w.base
}

// until looks until a condition of the metrics holds.
func (w *watched) until(what string, condition func(map[string]float64) bool) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return condition(w.look()) }, patience, 20*time.Millisecond, what)
}

// A thousand strangers, peers that send an octet a second, and peers that never read, against the real program: memory and
// goroutines stay below what the configuration says, each is counted, and an honest peer is served all the while.
func TestHostilePeers(t *testing.T) {
	t.Setenv("GOGC", "100")
	d := newDaemon(t, redistest.Start(t).Address)
	metrics := freeAddress(t)
	text, err := os.ReadFile(d.file)
	require.NoError(t, err)
	text = bytes.Replace(text, []byte("  peers: ["), fmt.Appendf(nil, `  max_strangers: %d
  workers: %d
  capabilities_within: 2s
  write_within: 1s
  peers: [{host: deaf.visited.example}, {host: slow.visited.example}, `, maxStrangers, workers), 1)
	require.NoError(t, os.WriteFile(d.file, fmt.Appendf(text, "metrics: {address: \"%s\"}\n", metrics), 0o600))
	d.start()
	const sim = "001010000000001"
	requireRun(t, simYAML, "sim", "add", "--socket="+d.socket, "--file", "-")
	w := &watched{daemon: d, url: "http://" + metrics + "/metrics"}

	var served atomic.Int64
	stop := make(chan struct{})
	var honest sync.WaitGroup
	nc := d.connect()
	request := d.request(318, sim, map[uint32]datatype.Type{
		avp.VisitedPLMNID: datatype.OctetString("\x00\xf1\x10"), avp.RequestedEUTRANAuthenticationInfo: &diam.GroupedAVP{},
	})
	honest.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
				return
			}
			rc, err := d.exchange(nc, request).FindAVP(avp.ResultCode, 0)
			if err != nil || rc.Data != datatype.Unsigned32(2001) {
				return
			}
			served.Add(1)
		}
	})
	stillServed := func(what string) {
		t.Helper()
		before := served.Load()
		require.Eventually(t, func() bool { return served.Load() >= before+100 }, patience, time.Millisecond, what)
	}
	stillServed("before")
	for range 20 {
		w.look()
	}
	w.base = w.most

	open := func(octets []byte) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", d.address)
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		_, _ = c.Write(octets) // it may be closed by now
		return c
	}
	cer := cerOf(t, "stranger.example")
	for i := range 1000 { // silent ones, halves of CERs, and one octet
		open(cer[:[]int{0, len(cer) / 2, 1, len(cer) - 1}[i%4]])
		if i%100 == 0 {
			w.look()
		}
	}
	refused := func(reason string) string {
		return `xepc_hss_diameter_connections_refused_total{reason="` + reason + `"}`
	}
	count := func(m map[string]float64) float64 {
		return m[refused("strangers")] + m[refused("no CER")] + m[refused("CER")]
	}
	w.until("strangers beyond max_strangers are closed", func(m map[string]float64) bool { return count(m) >= 1000-maxStrangers })
	stillServed("with strangers")
	w.until("the last strangers' time ends", func(m map[string]float64) bool { return count(m) == 1000 })
	for range 1000 { // whole CERs, nobody reads the answers
		open(cer)
	}
	w.until("strangers are refused", func(m map[string]float64) bool { return count(m) == 2000 })
	stillServed("with CERs of strangers")
	w.requireWithin("2,000 strangers", garbage*maxStrangers*strangerOctets+slack, 2*maxStrangers+slackGoroutines)

	// An octet a second: strangers within a CER, which does not last, and a peer within a request.
	for range 10 {
		c := open(nil)
		honest.Go(func() { drip(c, cer, stop) })
	}
	slow := open(cerOf(t, "slow.visited.example"))
	_, err = diam.ReadMessage(slow, dict.Default)
	require.NoError(t, err)
	large, err := request.Serialize()
	require.NoError(t, err)
	large = append([]byte{1, 0, 0xff, 0xfc}, large[4:]...) // it promises 64 KiB
	honest.Go(func() { drip(slow, large, stop) })
	w.until("slow strangers' time ends", func(m map[string]float64) bool { return count(m) == 2010 })
	stillServed("with octets a second")
	w.requireWithin("an octet a second", garbage*(maxStrangers*strangerOctets+peerOctets)+slack, 2*maxStrangers+peerGoroutines+slackGoroutines)

	// A peer that asks, with as much to be copied into the answer as there can be, and never reads.
	deaf := d.request(318, sim, map[uint32]datatype.Type{
		avp.VisitedPLMNID: datatype.OctetString("\x00\xf1\x10"), avp.RequestedEUTRANAuthenticationInfo: &diam.GroupedAVP{},
	})
	for _, a := range deaf.AVP {
		if a.Code == avp.OriginHost {
			a.Data = datatype.DiameterIdentity("deaf.visited.example")
		}
	}
	for range 7000 {
		deaf.AddAVP(diam.NewAVP(avp.RouteRecord, avp.Mbit, 0, datatype.DiameterIdentity("a")))
	}
	for len(deaf.AVP) > 1900 { // the most that is let in
		deaf.AVP = deaf.AVP[:1900]
	}
	deaf.AddAVP(diam.NewAVP(avp.ProxyInfo, avp.Mbit, 0, &diam.GroupedAVP{AVP: []*diam.AVP{
		diam.NewAVP(avp.ProxyHost, avp.Mbit, 0, datatype.DiameterIdentity("a")),
		diam.NewAVP(avp.ProxyState, avp.Mbit, 0, datatype.OctetString(strings.Repeat("x", 30<<10))),
	}}))
	octets := reserialized(t, deaf)
	const rounds = 3
	for n := 1; n <= rounds; n++ {
		c := open(cerOf(t, "deaf.visited.example"))
		require.NoError(t, c.(*net.TCPConn).SetReadBuffer(4096))
		for range 3000 {
			if err := c.SetWriteDeadline(time.Now().Add(patience)); err != nil {
				break
			}
			if _, err := c.Write(octets); err != nil {
				break // cut off
			}
		}
		w.until("the peer that does not read is cut off", func(m map[string]float64) bool {
			return m[`xepc_hss_diameter_connections_ended_total{peer="deaf.visited.example",reason="not_reading"}`] >= float64(n)
		})
	}
	stillServed("with a peer that does not read")
	m := w.look()
	require.NotZero(t, m[`xepc_hss_diameter_requests_total{command="AIR",direction="received",peer="deaf.visited.example",result="2001"}`])
	w.requireWithin("a peer that does not read", garbage*(2*peerOctets+keptOctets)+slack, 2*peerGoroutines+slackGoroutines)

	close(stop)
	honest.Wait()
	m = w.look()
	require.Equal(t, float64(served.Load()), m[`xepc_hss_diameter_requests_total{command="AIR",direction="received",peer="mme1.visited.example",result="2001"}`])
	require.Zero(t, m["xepc_hss_diameter_handler_panics_total"])
	t.Logf("an honest peer had %d AIRs answered meanwhile", served.Load())
}

// cerOf is a CER of a host.
func cerOf(t *testing.T, host string) []byte {
	t.Helper()
	m := diam.NewRequest(diam.CapabilitiesExchange, 0, dict.Default)
	for _, a := range []*diam.AVP{
		diam.NewAVP(avp.OriginHost, avp.Mbit, 0, datatype.DiameterIdentity(host)),
		diam.NewAVP(avp.OriginRealm, avp.Mbit, 0, datatype.DiameterIdentity("visited.example")),
		diam.NewAVP(avp.HostIPAddress, avp.Mbit, 0, datatype.Address(net.IPv4(127, 0, 0, 1))),
		diam.NewAVP(avp.VendorID, avp.Mbit, 0, datatype.Unsigned32(10415)),
		diam.NewAVP(avp.ProductName, 0, 0, datatype.UTF8String("test")),
		diam.NewAVP(avp.AuthApplicationID, avp.Mbit, 0, datatype.Unsigned32(16777251)),
	} {
		m.AddAVP(a)
	}
	b, err := m.Serialize()
	require.NoError(t, err)
	return b
}

// reserialized are the octets of a message whose AVPs were changed by hand.
func reserialized(t *testing.T, m *diam.Message) []byte {
	t.Helper()
	n := 20
	for _, a := range m.AVP {
		n += a.Len()
	}
	m.Header.MessageLength = uint32(n)
	b, err := m.Serialize()
	require.NoError(t, err)
	require.Less(t, len(b), 64<<10)
	return b
}

// drip writes an octet a second until the connection or the test ends.
func drip(c net.Conn, octets []byte, stop <-chan struct{}) {
	for i := range octets {
		select {
		case <-time.After(time.Second):
		case <-stop:
			return
		}
		if _, err := c.Write(octets[i : i+1]); err != nil {
			return
		}
	}
}
