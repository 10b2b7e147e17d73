package lab

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/xepc/xepc/testbed/topology"
	"github.com/xepc/xepc/testbed/traffic"
	"github.com/xepc/xepc/testbed/visited/mme"
	"github.com/xepc/xepc/testbed/visited/sgw"
	"github.com/xepc/xepc/testbed/visited/sim"
)

// Errors of an attach that the visited network itself refuses.
var (
	// ErrWrongRES says that the UE's answer to the challenge is not the one that the HSS expects: the MME sends
	// Authentication Reject, and asks the HSS for nothing more.
	ErrWrongRES = errors.New("RES is not XRES")
	// ErrKASME says that the HSS derived another KASME than the SIM: NAS security would fail.
	ErrKASME = errors.New("KASME of the vector is not what CK and IK give")
)

// AttachOptions change an attach, for tests. The zero value attaches as usual.
type AttachOptions struct {
	APN      string // "" means APN
	WrongRES bool   // the UE answers the challenge wrongly
	// Change may alter the Create Session Request.
	Change func(*sgw.CreateSession)
}

// AttachReport says how an attach went.
type AttachReport struct {
	Resynchronised           bool // the card's SQN was not in step: there was a second AIR
	Authentication, Location time.Duration
	SessionSetUp             time.Duration
	Vectors                  int
	SubscribedUplinkBits     uint32 // AMBR of the APN in bit/s
	SubscribedDownlinkBits   uint32
	PGWU                     int // number of the PGW-U that serves the session
}

// Attach attaches a UE as TS 23.401 5.3.2.1 has it, as far as the home network sees it: authentication, location
// update, Create Session; then the UE's device is configured with what it was assigned.
func (l *Lab) Attach(ctx context.Context, u *UE, options AttachOptions) (AttachReport, error) {
	var report AttachReport
	if options.APN == "" {
		options.APN = APN
	}
	start := time.Now()
	if err := l.authenticate(ctx, u, options.WrongRES, &report); err != nil {
		return report, fmt.Errorf("attach %s: authenticate: %w", u.Name, err)
	}
	report.Authentication = time.Since(start)

	start = time.Now()
	subscription, err := l.MME.UpdateLocation(ctx, u.Card.IMSI)
	if err != nil {
		return report, fmt.Errorf("attach %s: update location: %w", u.Name, err)
	}
	report.Location = time.Since(start)

	start = time.Now()
	request := createSession(u, subscription, options, &report)
	session, err := l.SGW.CreateSession(ctx, PGWCS8(), request)
	if err != nil {
		return report, fmt.Errorf("attach %s: %w", u.Name, err)
	}
	report.SessionSetUp = time.Since(start)
	report.PGWU = pgwuOf(session.RemoteUser.Address)

	l.serve(u, l.SGW, session)
	if err := u.Device.Configure(session.Address, session.MTU, session.DNS); err != nil {
		return report, fmt.Errorf("attach %s: %w", u.Name, err)
	}
	return report, nil
}

// authenticate gets a vector, has the SIM answer it, and compares, TS 33.401 6.1. A card that is out of step gets a
// second chance after resynchronisation, TS 33.102 6.3.5.
func (l *Lab) authenticate(ctx context.Context, u *UE, wrongRES bool, report *AttachReport) error {
	var resync []byte
	for {
		vectors, err := l.MME.AuthenticationInformation(ctx, u.Card.IMSI, 1, resync)
		if err != nil {
			return err
		}
		report.Vectors += len(vectors)
		v := vectors[0]
		answer, err := u.Card.Authenticate(v.RAND, v.AUTN)
		var out *sim.SyncFailure
		if errors.As(err, &out) && resync == nil {
			report.Resynchronised = true
			resync = append(v.RAND[:], out.AUTS[:]...)
			continue
		}
		if err != nil {
			return fmt.Errorf("the SIM refuses the network: %w", err)
		}
		if wrongRES {
			answer.RES[0] ^= 0xff
		}
		return check(v, answer)
	}
}

// check is what the MME does with the UE's answer, and the comparison of keys that NAS security would make.
func check(v mme.Vector, answer sim.Answer) error {
	if subtle.ConstantTimeCompare(v.XRES, answer.RES[:]) != 1 {
		return ErrWrongRES
	}
	if answer.KASME(visitedPLMN) != v.KASME {
		return ErrKASME
	}
	return nil
}

// createSession makes the request from the subscription; for an APN that the subscription does not have, from
// plausible values.
func createSession(u *UE, s mme.Subscription, options AttachOptions, report *AttachReport) sgw.CreateSession {
	apn, ok := s.APN(options.APN)
	if !ok {
		apn = mme.APN{QCI: 9, Priority: 8, AMBR: s.AMBR}
	}
	report.SubscribedUplinkBits, report.SubscribedDownlinkBits = apn.AMBR.Uplink, apn.AMBR.Downlink
	c := sgw.CreateSession{
		IMSI: u.Card.IMSI, MSISDN: s.MSISDN[:s.MSISDNLength], IMEI: "3569380356438001", PLMN: visitedPLMN,
		APN: options.APN, PDNType: 1, Address: apn.Address, QCI: uint8(apn.QCI), ARP: uint8(apn.Priority),
		AMBRUplink: apn.AMBR.Uplink / 1000, AMBRDownlink: apn.AMBR.Downlink / 1000,
	}
	if options.Change != nil {
		options.Change(&c)
	}
	return c
}

// serve connects a UE's device with its session.
func (l *Lab) serve(u *UE, gateway *sgw.Gateway, session *sgw.Session) {
	u.Gateway, u.Session = gateway, session
	session.OnDownlink(u.Device.Deliver)
	u.Device.Serve(func(frame []byte) {
		if err := gateway.Uplink(session, frame); err != nil {
			l.options.Log.Warn("uplink packet not sent", "ue", u.Name, "err", err)
		}
	})
}

// Move moves an attached UE to the other SGW. The old one keeps its end of the tunnel for what is under way.
func (l *Lab) Move(ctx context.Context, u *UE) error {
	if u.Session == nil {
		return fmt.Errorf("move %s: it is not attached", u.Name)
	}
	to := l.Other
	if u.Gateway == l.Other {
		to = l.SGW
	}
	session, err := to.Relocate(ctx, u.Session)
	if err != nil {
		return fmt.Errorf("move %s: %w", u.Name, err)
	}
	l.serve(u, to, session)
	return nil
}

// Detach closes a UE's PDN connection and purges the subscriber at the HSS.
func (l *Lab) Detach(ctx context.Context, u *UE) error {
	if u.Session == nil {
		return fmt.Errorf("detach %s: it is not attached", u.Name)
	}
	u.Device.Serve(nil)
	err := u.Gateway.DeleteSession(ctx, u.Session)
	u.Gateway, u.Session = nil, nil
	err = errors.Join(err, l.MME.Purge(ctx, u.Card.IMSI), u.Device.Unconfigure())
	if err != nil {
		return fmt.Errorf("detach %s: %w", u.Name, err)
	}
	return nil
}

// Abandon forgets a UE's session on the visited side only, as after an SGW's crash, and frees its device.
func (l *Lab) Abandon(u *UE) error {
	if u.Session == nil {
		return fmt.Errorf("abandon %s: it is not attached", u.Name)
	}
	u.Device.Serve(nil)
	u.Gateway.Forget(u.Session)
	u.Gateway, u.Session = nil, nil
	return u.Device.Unconfigure()
}

// Ping pings the web server from an attached UE.
func (l *Lab) Ping(ctx context.Context, u *UE, n int, interval time.Duration) (traffic.PingResult, error) {
	return traffic.Ping(ctx, u.Namespace, u.Session.Address, topology.Web, n, interval)
}

// StartPing pings the web server from an attached UE until it is stopped.
func (l *Lab) StartPing(ctx context.Context, u *UE, interval time.Duration) (*traffic.Pinger, error) {
	return traffic.StartPing(ctx, u.Namespace, u.Session.Address, topology.Web, interval)
}

// Client gives an HTTP client behind the UE.
func (u *UE) Client() *traffic.Client { return traffic.NewClient(u.Namespace) }

// pgwuOf gives the number of the PGW-U with that GTP-U address; 0 when there is none.
func pgwuOf(address netip.Addr) int {
	for n := 1; n <= topology.MaxPGWUs; n++ {
		if topology.GTPU(n) == address || topology.GTPU6(n) == address {
			return n
		}
	}
	return 0
}

// addSIMs adds the SIMs to the running HSS by its command line.
func (l *Lab) addSIMs(ctx context.Context) (string, error) {
	for _, u := range l.UEs {
		if err := l.AddSIM(ctx, u.Card, u.MSISDN); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d", len(l.UEs)), nil
}

// AddSIM adds a subscriber to the running HSS. Everything goes through standard input, the keys with it: the
// arguments of a process are for everybody to see.
func (l *Lab) AddSIM(ctx context.Context, card *sim.Card, msisdn string) error {
	ambr := map[string]any{"uplink": ambrBits, "downlink": ambrBits}
	text, err := yaml.Marshal(map[string]any{
		"imsi": card.IMSI, "k": hex.EncodeToString(card.K[:]), "opc": hex.EncodeToString(card.OPc[:]), "msisdn": msisdn,
		"ambr": ambr, "apns": []map[string]any{{"name": APN, "ambr": ambr}},
	})
	if err != nil {
		return fmt.Errorf("add SIM %s: %w", card.IMSI, err)
	}
	_, err = l.HSS.command(ctx, bytes.NewReader(text), "sim", "add", "--file", "-")
	return err
}
