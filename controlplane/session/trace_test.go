package session

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/pkg/gtpc"
	"github.com/xepc/xepc/pkg/identity"
	"github.com/xepc/xepc/pkg/pfcp"
)

var update = flag.Bool("update", false, "rewrite the traces of testdata; commit them only if you understand what changed them")

var (
	testKey     = Key{IMSI: "999700000000001", EBI: 5}
	testProfile = Profile{NetworkInstance: "internet", Pool: "internet", DNS: []netip.Addr{netip.MustParseAddr("10.60.0.53")}, MTU: 1400}
	epoch       = time.Unix(1_700_000_000, 0)
)

// TestScenarios replays the scenarios of testdata. A line that begins with ">" is an event; the lines after it are
// the actions that it led to and the phase after them.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			got := replay(t, string(want))
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
				return
			}
			require.Equal(t, string(want), got)
		})
	}
}

func replay(t *testing.T, scenario string) string {
	var out strings.Builder
	s := State{Key: testKey}
	lines := bufio.NewScanner(strings.NewReader(scenario))
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, ">") {
			if strings.HasPrefix(line, "#") || line == "" {
				fmt.Fprintln(&out, line)
			}
			continue
		}
		fmt.Fprintln(&out, line)
		before := fmt.Sprintf("%#v", s)
		next, actions := Step(s, parseEvent(t, strings.TrimPrefix(line, "> ")))
		require.Equal(t, before, fmt.Sprintf("%#v", s), "%s: the old state changed", line)
		checkOrder(t, actions)
		s = next
		for _, a := range actions {
			fmt.Fprintf(&out, "  %s\n", describe(a))
		}
		fmt.Fprintf(&out, "  = %v\n", s.Phase)
	}
	return out.String()
}

// checkOrder holds what Action promises of a list.
func checkOrder(t require.TestingT, actions []Action) {
	for i, a := range actions {
		switch a.(type) {
		case Admit, EstablishRules, ModifyRules, DeleteRules:
			require.Equal(t, len(actions)-1, i, "%T is answered by an event and must be last", a)
		}
	}
}

// parseEvent reads an event: its name, then key=value.
func parseEvent(t *testing.T, line string) Event {
	words := strings.Fields(line)
	arg := map[string]string{}
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		arg[k] = v
	}
	number := func(k string) uint64 {
		if arg[k] == "" {
			return 0
		}
		n, err := strconv.ParseUint(arg[k], 0, 64)
		require.NoError(t, err, line)
		return n
	}
	fteid := func(k string, kind gtpc.InterfaceType) gtpc.FTEID {
		addr, teid, _ := strings.Cut(arg[k], "/")
		n, err := strconv.ParseUint(teid, 0, 32)
		require.NoError(t, err, line)
		return gtpc.FTEID{Interface: kind, TEID: gtpc.TEID(n), IPv4: netip.MustParseAddr(addr)}
	}
	envelope := Envelope{Ref: Ref(number("ref")), Reply: gtpc.TEID(number("reply"))}
	failure := func() error {
		if c := number("cause"); c != 0 {
			return &pfcp.Error{Cause: pfcp.Cause(c)}
		}
		return errors.New("no answer")
	}
	switch words[0] {
	case "create":
		e := CreateSession{
			Envelope: envelope, Key: testKey, APN: "internet", PDNType: gtpc.PDNTypeIPv4,
			Address: netip.IPv4Unspecified(), AMBR: gtpc.AMBR{Uplink: 1000, Downlink: 2000}, RAT: gtpc.RATEUTRAN,
			MSISDN: gtpc.Some[identity.MSISDN]("436641"),
			Remote: fteid("sgw", gtpc.InterfaceS5S8SGWGTPC),
			Bearer: gtpc.BearerToCreate{EBI: 5, Remote: fteid("sgw-u", gtpc.InterfaceS5S8SGWGTPU)},
			PCO:    gtpc.PCO{{ID: pcoDNSIPv4}},
		}
		e.Reply = e.Remote.TEID
		if n := number("type"); n != 0 {
			e.PDNType = gtpc.PDNType(n)
		}
		return e
	case "modify":
		e := ModifyBearer{Envelope: envelope, Local: gtpc.TEID(number("teid")), RAT: gtpc.Some(gtpc.RATType(max(6, number("rat"))))}
		if arg["sgw"] != "" {
			e.Remote = gtpc.Some(fteid("sgw", gtpc.InterfaceS5S8SGWGTPC))
		}
		if arg["ebi"] != "" {
			b := gtpc.BearerToModify{EBI: gtpc.EBI(number("ebi"))}
			if arg["sgw-u"] != "" {
				b.Remote = gtpc.Some(fteid("sgw-u", gtpc.InterfaceS5S8SGWGTPU))
			}
			e.Bearers = append(e.Bearers, b)
		}
		if arg["ebi2"] != "" {
			e.Bearers = append(e.Bearers, gtpc.BearerToModify{EBI: gtpc.EBI(number("ebi2"))})
		}
		return e
	case "delete":
		e := DeleteSession{Envelope: envelope, Local: gtpc.TEID(number("teid"))}
		if arg["ebi"] != "" {
			e.LinkedEBI = gtpc.Some(gtpc.EBI(number("ebi")))
		}
		return e
	case "admitted":
		return Admitted{
			Profile: testProfile, Address: netip.MustParseAddr(arg["ue"]), Node: arg["node"], EndMarkers: true,
			Local: gtpc.TEID(number("teid")), CPSEID: pfcp.SEID(number("seid")), ChargingID: 77, At: epoch,
		}
	case "refused":
		return Refused{Err: &gtpc.Error{Cause: gtpc.Cause(number("cause"))}}
	case "established":
		r := &pfcp.SessionEstablishmentResponse{
			Cause: pfcp.CauseAccepted, FSEID: pfcp.Some(pfcp.FSEID{SEID: pfcp.SEID(number("seid"))}),
		}
		if arg["pgw-u"] != "" {
			f := fteid("pgw-u", 0)
			r.CreatedPDRs = []pfcp.CreatedPDR{{ID: pdrUplink, FTEID: pfcp.Some(pfcp.FTEID{TEID: pfcp.TEID(f.TEID), IPv4: f.IPv4})}}
		}
		return RulesInstalled{Established: r}
	case "changed":
		return RulesInstalled{}
	case "failed":
		return RulesFailed{Err: failure(), Unsent: arg["unsent"] != ""}
	case "deleted":
		return RulesDeleted{}
	case "node-restarted":
		return NodeRestarted{Node: arg["node"]}
	case "error-indicated":
		f := fteid("sgw-u", 0)
		return ErrorIndicated{Node: arg["node"], Remote: pfcp.FTEID{TEID: pfcp.TEID(f.TEID), IPv4: f.IPv4}}
	case "peer-restarted":
		return PeerRestarted{Peer: netip.MustParseAddr(arg["sgw"])}
	}
	require.Fail(t, "unknown event", line)
	return nil
}

func describe(a Action) string {
	switch a := a.(type) {
	case Admit:
		return fmt.Sprintf("admit imsi=%s apn=%s", a.Subject.IMSI, a.Subject.APN)
	case EstablishRules:
		r := a.Request
		ohc := r.CreateFARs[1].ForwardingParameters.Value.OuterHeaderCreation.Value
		return fmt.Sprintf("establish-rules node=%s cp-seid=%#x ue=%v sgw-u=%v/%#x pdrs=%d", a.Node, r.FSEID.SEID,
			r.CreatePDRs[1].PDI.UEIPAddress.Value.IPv4, ohc.IPv4, ohc.TEID, len(r.CreatePDRs))
	case ModifyRules:
		p := a.Request.UpdateFARs[0].ForwardingParameters.Value
		ohc := p.OuterHeaderCreation.Value
		return fmt.Sprintf("modify-rules node=%s up-seid=%#x sgw-u=%v/%#x end-marker=%v", a.Node, a.UPSEID, ohc.IPv4, ohc.TEID,
			p.SendEndMarker)
	case DeleteRules:
		return fmt.Sprintf("delete-rules node=%s up-seid=%#x", a.Node, a.UPSEID)
	case Abandon:
		if a.Establish != nil {
			return fmt.Sprintf("abandon node=%s cp-seid=%#x ue=%v", a.Node, a.Establish.FSEID.SEID, a.Address)
		}
		return fmt.Sprintf("abandon node=%s up-seid=%#x ue=%v", a.Node, a.UPSEID, a.Address)
	case Release:
		return fmt.Sprintf("release ue=%v", a.Address)
	case Put:
		return fmt.Sprintf("put teid=%#x ue=%v sgw=%v/%#x", a.Connection.Local, a.Connection.Address,
			a.Connection.Remote.Addr(), a.Connection.Remote.TEID)
	case Forget:
		return fmt.Sprintf("forget teid=%#x", a.Connection.Local)
	case AnswerCreated:
		return fmt.Sprintf("answer ref=%d cause=%d teid=%#x ue=%v pco=%v", a.Ref, a.Cause, a.Connection.Remote.TEID,
			a.Connection.Address, a.PCO)
	case AnswerModified:
		return fmt.Sprintf("answer ref=%d cause=%d teid=%#x new-sgw=%v bearers=%v unknown=%v", a.Ref, a.Cause,
			a.Connection.Remote.TEID, a.NewSGW, a.Bearers, a.Unknown)
	case AnswerDeleted:
		return fmt.Sprintf("answer ref=%d cause=16 teid=%#x", a.Ref, a.Connection.Remote.TEID)
	case AnswerRefused:
		return fmt.Sprintf("answer ref=%d teid=%#x refused: %v", a.Ref, a.TEID, a.Err)
	case DropRequest:
		return fmt.Sprintf("drop-request ref=%d", a.Ref)
	case EndConnection:
		return fmt.Sprintf("end-connection teid=%#x cause=%d", a.Connection.Remote.TEID, a.Cause)
	}
	return fmt.Sprintf("%T", a)
}
