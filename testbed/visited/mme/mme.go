// Package mme is the S6a side of a host operator's MME, simulated: it asks an HSS for vectors, registers a
// subscriber and purges it. It codes Diameter by itself (RFC 6733, TS 29.272), so that the HSS does not meet its
// own codec. It never speaks to a UE: who runs an attach compares RES and XRES.
package mme

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Codes of the commands that an MME and an HSS use, RFC 6733 3.1 and TS 29.272 7.2.
const (
	commandCapabilities   = 257 // CER, CEA
	commandWatchdog       = 280 // DWR, DWA
	commandDisconnect     = 282 // DPR, DPA
	commandUpdateLocation = 316 // ULR, ULA
	commandCancelLocation = 317 // CLR, CLA
	commandAuthentication = 318 // AIR, AIA
	commandInsertData     = 319 // IDR, IDA
	commandDeleteData     = 320 // DSR, DSA
	commandPurge          = 321 // PUR, PUA
	commandReset          = 322 // RSR, RSA

	applicationS6a = 16777251
	vendor3GPP     = 10415
)

// AVP codes, RFC 6733 4.5 and TS 29.272 7.3.
const (
	avpUserName         = 1
	avpHostIPAddress    = 257
	avpAuthApplication  = 258
	avpVendorSpecific   = 260
	avpSessionID        = 263
	avpOriginHost       = 264
	avpSupportedVendor  = 265
	avpVendorID         = 266
	avpResultCode       = 268
	avpProductName      = 269
	avpDisconnectCause  = 273
	avpAuthSessionState = 277
	avpOriginState      = 278
	avpErrorMessage     = 281
	avpDestRealm        = 283
	avpDestHost         = 293
	avpOriginRealm      = 296
	avpExperimental     = 297
	avpExperimentalCode = 298
	avpFailed           = 279
)

// Result codes, RFC 6733 7.1.
const (
	resultSuccess            = 2001
	resultCommandUnsupported = 3001
)

// noStateMaintained is the value of Auth-Session-State in S6a, TS 29.272 7.1.4.
const noStateMaintained = 1

// Config says who the MME is and where its HSS is.
type Config struct {
	Host, Realm string     // Origin-Host, Origin-Realm
	HSSRealm    string     // Destination-Realm
	PLMN        [3]byte    // Visited-PLMN-Id, TS 24.301 9.9.3.32
	Address     netip.Addr // Host-IP-Address
	HSS         string     // address:port
	// Dial opens the connection, in the network namespace where the MME is.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Log  *slog.Logger
}

// ResultError is an answer that is not a success.
type ResultError struct {
	Command      string // of the answer, as TS 29.272 abbreviates it: AIA, ULA, PUA
	Code         uint32 // Result-Code or Experimental-Result-Code
	Experimental bool
	Message      string // Error-Message, when there is one
}

// Error names the code as TS 29.272 7.4 lists it.
func (e *ResultError) Error() string {
	text := fmt.Sprintf("%s with result %d", e.Command, e.Code)
	if e.Experimental {
		text = fmt.Sprintf("%s with experimental result %d", e.Command, e.Code)
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// MME is a Diameter client with one peer, the HSS. It connects at its first request and again whenever the
// connection was lost. Its methods may be called from several goroutines.
type MME struct {
	config Config
	state  uint32 // Origin-State-Id

	mu       sync.Mutex
	peer     *peer // nil: not connected
	sessions uint32
	cancels  []CancelLocation
}

// New makes an MME. It connects later.
func New(config Config) *MME {
	return &MME{config: config, state: uint32(time.Now().Unix())}
}

// Close says goodbye to the HSS (DPR, RFC 6733 5.4) and closes the connection.
func (m *MME) Close(ctx context.Context) error {
	m.mu.Lock()
	p := m.peer
	m.peer = nil
	m.mu.Unlock()
	if p == nil || p.lost() {
		return nil
	}
	_, err := p.exchange(ctx, message{Flags: flagRequest, Command: commandDisconnect, AVPs: []avp{
		base(avpOriginHost, []byte(m.config.Host)),
		base(avpOriginRealm, []byte(m.config.Realm)),
		base(avpDisconnectCause, number(0)), // REBOOTING
	}})
	p.close()
	if err != nil && !errors.Is(err, errLost) {
		return fmt.Errorf("disconnect from HSS %s: %w", m.config.HSS, err)
	}
	return nil
}

// connected gives the connection to the HSS, a new one where there is none.
func (m *MME) connected(ctx context.Context) (*peer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.peer != nil && !m.peer.lost() {
		return m.peer, nil
	}
	p, err := m.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to HSS %s: %w", m.config.HSS, err)
	}
	m.peer = p
	return p, nil
}

// connect dials, tries again until ctx ends while nobody listens, and exchanges capabilities, RFC 6733 5.3.
func (m *MME) connect(ctx context.Context) (*peer, error) {
	conn, err := m.config.Dial(ctx, "tcp", m.config.HSS)
	for err != nil {
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(50 * time.Millisecond):
		}
		conn, err = m.config.Dial(ctx, "tcp", m.config.HSS)
	}
	p := newPeer(conn, m.serve, m.config.Log)
	answer, err := p.exchange(ctx, message{Flags: flagRequest, Command: commandCapabilities, AVPs: []avp{
		base(avpOriginHost, []byte(m.config.Host)),
		base(avpOriginRealm, []byte(m.config.Realm)),
		base(avpHostIPAddress, address(m.config.Address)),
		base(avpVendorID, number(0)),
		{Code: avpProductName, Data: []byte("xepc testbed MME")},
		base(avpOriginState, number(m.state)),
		base(avpSupportedVendor, number(vendor3GPP)),
		base(avpVendorSpecific, group(
			base(avpVendorID, number(vendor3GPP)),
			base(avpAuthApplication, number(applicationS6a)))),
	}})
	if err == nil {
		err = result("CEA", answer)
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("exchange capabilities: %w", err)
	}
	return p, nil
}

// ask sends an S6a request about a subscriber and returns the AVPs of a successful answer. When the connection is
// lost it connects again and repeats the request with the T flag, until ctx ends.
func (m *MME) ask(ctx context.Context, command uint32, name, imsi string, avps ...avp) ([]avp, error) {
	m.mu.Lock()
	m.sessions++
	session := fmt.Sprintf("%s;%d;%d", m.config.Host, m.state, m.sessions)
	endToEnd := m.state<<20 | m.sessions&0xfffff // RFC 6733 3; the same in every repetition
	m.mu.Unlock()

	request := message{
		Flags: flagRequest | flagProxiable, Command: command, Application: applicationS6a, EndToEnd: endToEnd,
		AVPs: append([]avp{
			base(avpSessionID, []byte(session)),
			base(avpVendorSpecific, group(
				base(avpVendorID, number(vendor3GPP)),
				base(avpAuthApplication, number(applicationS6a)))),
			base(avpAuthSessionState, number(noStateMaintained)),
			base(avpOriginHost, []byte(m.config.Host)),
			base(avpOriginRealm, []byte(m.config.Realm)),
			base(avpDestRealm, []byte(m.config.HSSRealm)),
			base(avpUserName, []byte(imsi)),
		}, avps...),
	}
	for {
		p, err := m.connected(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		answer, err := p.exchange(ctx, request)
		if errors.Is(err, errLost) && ctx.Err() == nil {
			request.Flags |= flagRetransmit
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if err := result(name, answer); err != nil {
			return nil, err
		}
		return answer.AVPs, nil
	}
}

// result turns an answer without success into a *ResultError.
func result(command string, answer message) error {
	e := &ResultError{Command: command}
	if a, ok := find(answer.AVPs, 0, avpErrorMessage); ok {
		e.Message = string(a.Data)
	}
	if code, err := needUint32(answer.AVPs, 0, avpResultCode); err == nil {
		if e.Code = code; code == resultSuccess {
			return nil
		}
		return e
	}
	inner, err := needGroup(answer.AVPs, 0, avpExperimental)
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	e.Experimental = true
	if e.Code, err = needUint32(inner, 0, avpExperimentalCode); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return e
}

// serve answers a request of the HSS.
func (m *MME) serve(request message) message {
	avps := []avp{
		base(avpOriginHost, []byte(m.config.Host)),
		base(avpOriginRealm, []byte(m.config.Realm)),
	}
	if session, ok := find(request.AVPs, 0, avpSessionID); ok {
		avps = append([]avp{session}, avps...)
	}
	switch request.Command {
	case commandWatchdog:
		return request.answer(append(avps, base(avpResultCode, number(resultSuccess)),
			base(avpOriginState, number(m.state)))...)
	case commandDisconnect:
		return request.answer(append(avps, base(avpResultCode, number(resultSuccess)))...)
	case commandCancelLocation:
		m.canceled(request)
		fallthrough
	case commandInsertData, commandDeleteData, commandReset:
		return request.answer(append(avps, base(avpResultCode, number(resultSuccess)),
			base(avpAuthSessionState, number(noStateMaintained)))...)
	default:
		answer := request.answer(append(avps, base(avpResultCode, number(resultCommandUnsupported)))...)
		answer.Flags |= flagError
		return answer
	}
}
