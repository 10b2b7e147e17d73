package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/dict"
	"golang.org/x/sync/errgroup"

	"github.com/xepc/xepc/hss/s6a"
	"github.com/xepc/xepc/pkg/diameter"
)

// client is an MME that asks for vectors as fast as it is answered.
type client struct {
	net.Conn
	r *bufio.Reader
}

const (
	bufferOctets = 64 << 10
	maxAnswer    = 64 << 10
	headerOctets = 20
	commandAIR   = 318
)

var (
	visitedPLMN        = diameter.Standard.AVP("Visited-PLMN-Id")
	requestedEUTRAN    = diameter.Standard.AVP("Requested-EUTRAN-Authentication-Info")
	numberOfVectors    = diameter.Standard.AVP("Number-Of-Requested-Vectors")
	immediate          = diameter.Standard.AVP("Immediate-Response-Preferred")
	authenticationInfo = diameter.Standard.AVP("Authentication-Info")
	eutranVector       = diameter.Standard.AVP("E-UTRAN-Vector")
)

// beClient measures one window and prints it.
func beClient(ctx context.Context, s settings) error {
	c, err := dial(s.client)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	m, err := c.load(ctx, s.sims, s.window)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}

func dial(address string) (*client, error) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	c := &client{Conn: nc, r: bufio.NewReaderSize(nc, bufferOctets)}
	cer := diameter.Message{
		Header: diameter.Header{Request: true, Command: diameter.CommandCapabilitiesExchange},
		AVPs: []diameter.AVP{
			diameter.OriginHost.Text("mme1." + mmeRealm), diameter.OriginRealm.Text(mmeRealm),
			diameter.HostIPAddress.Address(netip.MustParseAddr("127.0.0.1")), diameter.VendorID.Unsigned(diameter.Vendor3GPP),
			diameter.ProductName.Text("hssbench"), application(),
		},
	}
	if _, err := c.Write(cer.Append(nil)); err != nil {
		return nil, fmt.Errorf("sending the CER: %w", err)
	}
	answer, err := c.read()
	if err != nil {
		return nil, err
	}
	m, err := diameter.Standard.Parse(answer)
	if err == nil {
		err = m.Err()
	}
	return c, err
}

func application() diameter.AVP {
	return diameter.VendorSpecificApplicationID.Group(diameter.VendorID.Unsigned(diameter.Vendor3GPP), diameter.AuthApplicationID.Unsigned(s6a.ApplicationID))
}

// askOnce asks a node for one vector.
func askOnce(ctx context.Context, address string, sims int) error {
	c, err := dial(address)
	if err != nil {
		return err
	}
	_, err = c.load(ctx, sims, 0)
	return errors.Join(err, c.Close())
}

// request makes an AIR for one E-UTRAN vector as an MME does, from nothing.
func request(id uint32, imsi string) diameter.Message {
	return diameter.Message{
		Header: diameter.Header{
			Request: true, Proxiable: true, Command: commandAIR, Application: s6a.ApplicationID, HopByHop: id, EndToEnd: id,
		},
		AVPs: []diameter.AVP{
			diameter.SessionID.Text(fmt.Sprintf("mme1.%s;1;%d", mmeRealm, id)), application(), diameter.AuthSessionState.Unsigned(1),
			diameter.OriginHost.Text("mme1." + mmeRealm), diameter.OriginRealm.Text(mmeRealm),
			diameter.DestinationHost.Text(ourHost), diameter.DestinationRealm.Text(ourRealm),
			diameter.UserName.Text(imsi), visitedPLMN.Octets([]byte{0x00, 0xf1, 0x10}),
			requestedEUTRAN.Group(numberOfVectors.Unsigned(1), immediate.Unsigned(0)),
		},
	}
}

// load keeps inFlight requests in flight for as long as the window is.
func (c *client) load(ctx context.Context, sims int, window time.Duration) (measurement, error) {
	sent := make([]time.Time, inFlight)
	free, enough := make(chan uint32, inFlight), make(chan struct{})
	for i := range uint32(inFlight) {
		free <- i
	}
	begin := time.Now()
	var m measurement
	var waits []time.Duration
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.ask(ctx, sims, sent, free, enough) })
	group.Go(func() error {
		for {
			b, err := c.read()
			if err != nil {
				return err
			}
			answer, err := diam.ReadMessage(bytes.NewReader(b), dict.Default)
			if err != nil {
				return fmt.Errorf("reading an answer: %w", err)
			}
			if _, err := answer.FindAVP(avp.KASME, diameter.Vendor3GPP); err != nil {
				return fmt.Errorf("an answer without a vector: %v", answer)
			}
			slot := answer.Header.HopByHopID % inFlight
			now := time.Now()
			waits = append(waits, now.Sub(sent[slot]))
			m.Answers++
			if took := now.Sub(begin); took > window {
				m.Seconds = took.Seconds()
				close(enough)
				return nil
			}
			free <- slot
		}
	})
	err := group.Wait()
	slices.Sort(waits)
	if n := len(waits); n > 0 {
		m.P50, m.P99 = waits[n/2].Seconds()*1000, waits[n*99/100].Seconds()*1000
	}
	return m, err
}

// ask writes requests as their slots become free, those that are free together in one write.
func (c *client) ask(ctx context.Context, sims int, sent []time.Time, free <-chan uint32, enough <-chan struct{}) error {
	var batch []byte
	id := uint32(0)
	put := func(slot uint32) {
		id += inFlight
		batch = request(id+slot, string(imsiOf(rand.IntN(sims)))).Append(batch)
		sent[slot] = time.Now()
	}
	for {
		batch = batch[:0]
		select {
		case slot := <-free:
			put(slot)
		case <-ctx.Done():
			return nil
		case <-enough:
			return nil
		}
		for more := true; more; {
			select {
			case slot := <-free:
				put(slot)
			default:
				more = false
			}
		}
		if _, err := c.Write(batch); err != nil {
			return fmt.Errorf("asking: %w", err)
		}
	}
}

// read reads the octets of one message.
func (c *client) read() ([]byte, error) {
	h, err := c.r.Peek(headerOctets)
	if err != nil {
		return nil, fmt.Errorf("reading an answer: %w", err)
	}
	n := int(binary.BigEndian.Uint32(h) & 0xffffff)
	if n < headerOctets || n > maxAnswer {
		return nil, fmt.Errorf("an answer of %d octets", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return nil, fmt.Errorf("reading an answer: %w", err)
	}
	if m, err := diameter.Standard.Parse(b); b[4]&0x80 != 0 && err == nil { // a DWR, when we are back
		m.Request, m.AVPs = false, append([]diameter.AVP{diameter.ResultCode.Unsigned(diameter.Success)}, m.AVPs...)
		if _, err := c.Write(m.Append(nil)); err != nil {
			return nil, fmt.Errorf("answering a watchdog: %w", err)
		}
		return c.read()
	}
	return b, nil
}
