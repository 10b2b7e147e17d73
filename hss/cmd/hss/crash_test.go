package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
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

const (
	crashMMEs = 8  // nodes that ask, one request each at a time
	crashSIMs = 40 // that they ask for
	perAIR    = 2  // vectors
)

// kills is how often each part is killed; XEPC_KILLS=50 is the full size.
func kills() (n int, full bool) {
	n, err := strconv.Atoi(os.Getenv("XEPC_KILLS"))
	if err != nil {
		return 2, false
	}
	return n, true
}

// crowd are MMEs that ask for vectors without end, and keep the SQN of every one that they were given.
type crowd struct {
	t      *testing.T
	d      *daemon
	pause  time.Duration // of an MME between two requests
	stop   chan struct{}
	asking sync.WaitGroup

	dialled, answered, refused atomic.Int64

	mu    sync.Mutex
	given map[string]map[uint64]bool // by IMSI
	twice []string
	last  [crashMMEs]time.Time // when each had vectors
}

func startCrowd(t *testing.T, d *daemon, pause time.Duration) *crowd {
	t.Helper()
	c := &crowd{t: t, d: d, pause: pause, stop: make(chan struct{}), given: map[string]map[uint64]bool{}}
	for i := range crashMMEs {
		c.asking.Go(func() { c.ask(i) })
	}
	return c
}

func (c *crowd) end() {
	close(c.stop)
	c.asking.Wait()
}

// ask is one MME: it connects whenever it is not connected, as MMEs do.
func (c *crowd) ask(who int) {
	host := fmt.Sprintf("mme%d.visited.example", who+1)
	cer := cerOf(c.t, host)
	var conn net.Conn
	for n := who; ; n += crashMMEs {
		select {
		case <-c.stop:
			if conn != nil {
				_ = conn.Close()
			}
			return
		case <-time.After(c.pause):
		}
		if conn == nil {
			conn = c.dial(cer)
			continue
		}
		imsi := crashIMSI(n % crashSIMs)
		ans, err := c.exchange(conn, host, imsi)
		if err != nil {
			_ = conn.Close()
			conn = nil
			continue
		}
		c.note(who, imsi, ans)
	}
}

func (c *crowd) dial(cer []byte) net.Conn {
	conn, err := net.Dial("tcp", c.d.address)
	if err != nil {
		return nil
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err = conn.Write(cer); err == nil {
		_, err = diam.ReadMessage(conn, dict.Default)
	}
	if err != nil {
		_ = conn.Close()
		return nil
	}
	c.dialled.Add(1)
	return conn
}

func (c *crowd) exchange(conn net.Conn, host, imsi string) (*diam.Message, error) {
	req := c.d.request(318, imsi, map[uint32]datatype.Type{
		avp.VisitedPLMNID: datatype.OctetString("\x00\xf1\x10"),
		avp.RequestedEUTRANAuthenticationInfo: &diam.GroupedAVP{AVP: []*diam.AVP{
			diam.NewAVP(avp.NumberOfRequestedVectors, avp.Mbit|avp.Vbit, 10415, datatype.Unsigned32(perAIR)),
		}},
	})
	for _, a := range req.AVP {
		if a.Code == avp.OriginHost {
			a.Data = datatype.DiameterIdentity(host)
		}
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(reserialized(c.t, req)); err != nil {
		return nil, err
	}
	for {
		ans, err := diam.ReadMessage(conn, dict.Default)
		if err != nil || ans.Header.CommandFlags&diam.RequestFlag == 0 {
			return ans, err
		}
		if _, err := ans.Answer(2001).WriteTo(conn); err != nil { // a DWR, or an RSR
			return nil, err
		}
	}
}

// note keeps what an answer has.
func (c *crowd) note(who int, imsi string, ans *diam.Message) {
	vectors, _ := ans.FindAVPs(avp.EUTRANVector, 10415) // none is an error there
	if len(vectors) == 0 {
		c.refused.Add(1)
		return
	}
	c.answered.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last[who] = time.Now()
	for _, v := range vectors {
		var rand, autn [16]byte
		for _, a := range v.Data.(*diam.GroupedAVP).AVP {
			switch a.Code {
			case avp.RAND:
				rand = [16]byte(a.Data.Serialize())
			case avp.AUTN:
				autn = [16]byte(a.Data.Serialize())
			}
		}
		sqn := sqnOf(c.t, rand, autn)
		if c.given[imsi] == nil {
			c.given[imsi] = map[uint64]bool{}
		}
		if c.given[imsi][sqn] {
			c.twice = append(c.twice, fmt.Sprintf("%s %d", imsi, sqn))
		}
		c.given[imsi][sqn] = true
	}
}

// allServedSince waits until every MME has had vectors since a time, and returns how long after it the last had them.
func (c *crowd) allServedSince(t0 time.Time) time.Duration {
	c.t.Helper()
	var latest time.Duration
	require.Eventually(c.t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		latest = 0
		for _, at := range c.last {
			if at.Before(t0) {
				return false
			}
			latest = max(latest, at.Sub(t0))
		}
		return true
	}, patience, time.Millisecond)
	return latest
}

func (c *crowd) requireNoneTwice() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, all := range c.given {
		n += len(all)
	}
	require.Empty(c.t, c.twice, "SQNs that were given twice, of %d", n)
	require.Len(c.t, c.given, crashSIMs)
	c.t.Logf("%d SQNs, none twice; %d answers, %d refused, %d connections", n, c.answered.Load(), c.refused.Load(), c.dialled.Load())
}

func crashIMSI(i int) string { return fmt.Sprintf("9997000000%05d", i) }

// crashSite is a daemon over a Redis with SIMs, and MMEs that ask.
func crashSite(t *testing.T, pause time.Duration) (*redistest.Server, *daemon, *crowd) {
	t.Helper()
	r := redistest.Start(t)
	d := newDaemon(t, r.Address)
	text, err := os.ReadFile(d.file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(d.file, []byte(strings.Replace(string(text), "mme1.visited.example", `"*.visited.example"`, 1)), 0o600))
	d.start()
	rows := "imsi,k,opc,apns\n"
	for i := range crashSIMs {
		rows += fmt.Sprintf("%s,%s,%s,internet\n", crashIMSI(i), kHex, opcHex)
	}
	file := filepath.Join(t.TempDir(), "sims.csv")
	require.NoError(t, os.WriteFile(file, []byte(rows), 0o600))
	requireRun(t, "", "sim", "import", "--socket="+d.socket, file)
	c := startCrowd(t, d, pause)
	c.allServedSince(time.Now())
	return r, d, c
}

// The HSS is killed in the midst of AIRs, again and again: no SQN goes out twice, and the MMEs are served when it is back.
func TestHSSKilledUnderLoad(t *testing.T) {
	n, full := kills()
	_, d, c := crashSite(t, time.Millisecond)
	var worst time.Duration
	for range n {
		before := c.answered.Load()
		require.Eventually(t, func() bool { return c.answered.Load() > before+100 }, patience, time.Millisecond)
		d.kill()
		d.start()
		worst = max(worst, c.allServedSince(time.Now()))
	}
	c.end()
	c.requireNoneTwice()
	t.Logf("killed %d times; all were served %v after the start at the latest", n, worst)
	if full {
		require.Less(t, worst, 2*time.Second)
	}
}

// Redis is killed in the midst of AIRs, again and again: no SQN goes out twice, no connection breaks, and the MMEs are served
// when Redis has loaded.
func TestRedisKilledUnderLoad(t *testing.T) {
	n, full := kills()
	r, _, c := crashSite(t, time.Millisecond)
	var worst time.Duration
	for range n {
		before := c.answered.Load()
		require.Eventually(t, func() bool { return c.answered.Load() > before+100 }, patience, time.Millisecond)
		r.Kill()
		away := c.refused.Load()
		require.Eventually(t, func() bool { return c.refused.Load() > away+crashMMEs }, patience, time.Millisecond)
		r.Resume(t)
		loaded := loadedAt(t, r.Address)
		worst = max(worst, c.allServedSince(loaded))
	}
	c.end()
	c.requireNoneTwice()
	require.EqualValues(t, crashMMEs, c.dialled.Load(), "no connection broke")
	t.Logf("killed %d times; all were served %v after Redis had loaded at the latest", n, worst)
	if full {
		require.Less(t, worst, 2*time.Second)
	}
}

// Redis comes back without its last second, as after a loss of power with appendfsync everysec: the clock keeps SEQ above
// what was given out, for SIMs that ask for less than ten vectors a second.
func TestRedisLosesItsLastSecond(t *testing.T) {
	n, _ := kills()
	r, _, c := crashSite(t, 100*time.Millisecond) // 80 requests a second for 40 SIMs: 4 vectors a second for each
	for range n {
		time.Sleep(time.Second) // what is to be lost
		size := r.FileSize(t)
		before := c.answered.Load()
		require.Eventually(t, func() bool { return c.answered.Load() > before+60 }, patience, time.Millisecond)
		r.Kill()
		r.Truncate(t, size)
		r.Resume(t)
		c.allServedSince(loadedAt(t, r.Address))
	}
	c.end()
	c.requireNoneTwice()
}

// loadedAt waits until a Redis has read its file.
func loadedAt(t *testing.T, address string) time.Time {
	t.Helper()
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		defer c.Close()
		if _, err := c.Write([]byte("PING\r\n")); err != nil {
			return false
		}
		pong := make([]byte, 7)
		_, err = io.ReadFull(c, pong)
		return err == nil && string(pong) == "+PONG\r\n"
	}, patience, time.Millisecond)
	return time.Now()
}
