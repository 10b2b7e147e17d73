package provision

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
)

// roleOf is what docs/hss-provisioning.md says of each operation.
func roleOf(operation string) Role {
	switch operation {
	case "sim-list", "sim-show", "sim-log", "sim-export", "location-show", "template-list", "apn-list", "equipment-list", "equipment-check",
		"peer-list", "peer-waiting", "job-list", "kek-show":
		return Read
	case "sim-add", "sim-import", "sim-set", "sim-activate", "sim-suspend", "sim-resume", "sim-terminate", "imei-bind", "imei-unbind",
		"plmn-allow", "plmn-deny", "location-ask", "location-cancel", "equipment-set", "equipment-remove", "test-vector":
		return Operate
	case "sim-remove", "template-set", "template-remove", "apn-set", "apn-remove", "dump", "restore", "repair", "kek-rotate", "reset", "audit-list":
		return Admin
	}
	return 0
}

func TestRoles(t *testing.T) {
	b := newBed(t)
	status, text := b.do(0, http.MethodGet, "/sims", "")
	require.Equal(t, 401, status, text)
	b.tokens[0] = "0000"
	status, _ = b.do(0, http.MethodGet, "/sims", "")
	require.Equal(t, 401, status)

	resp, err := http.Get(b.url + OpenAPIPath + ".json")
	require.NoError(t, err)
	defer resp.Body.Close()
	var spec struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Summary     string
			Description string
			Responses   map[string]struct{ Content map[string]any }
		}
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&spec))
	operations := 0
	for path, methods := range spec.Paths {
		path = strings.TrimPrefix(path, Prefix)
		path = strings.NewReplacer("{sim}", imsi1, "{imei}", "35609204079300", "{device}", "35609204079300", "{plmn}", "001-01", "{name}", "x").Replace(path)
		for method, o := range methods {
			operations++
			need := roleOf(o.OperationID)
			require.NotZero(t, need, "%s: who may?", o.OperationID)
			require.Equal(t, "Role: "+need.String()+".", o.Description, o.OperationID)
			require.NotEmpty(t, o.Summary)
			require.NotEmpty(t, o.Responses["200"].Content, "%s: what it answers", o.OperationID)
			require.Contains(t, o.Responses["default"].Content, "application/problem+json", "%s: any other status", o.OperationID)
			for _, role := range []Role{Read, Operate, Admin} {
				body := ""
				if method == "put" || method == "post" {
					body = "{}"
				}
				status, text := b.do(role, strings.ToUpper(method), path, body)
				if role < need {
					require.Equal(t, 403, status, "%s as %s: %s", o.OperationID, role, text)
				} else {
					require.NotEqual(t, 403, status, "%s as %s: %s", o.OperationID, role, text)
				}
			}
		}
	}
	require.Greater(t, operations, 25, "the document has all operations")

	lines, err := os.ReadFile(b.file)
	require.NoError(t, err)
	require.NotContains(t, string(lines), b.tokens[Read], "hashes only")
	require.NoError(t, os.WriteFile(b.file, []byte(strings.Replace(string(lines), "reader", "#", 1)), 0o600))
	status, _ = b.do(Read, http.MethodGet, "/sims", "")
	require.Equal(t, 401, status, "withdrawn at once")
	require.NoError(t, os.Remove(b.file))
	status, _ = b.do(Admin, http.MethodGet, "/sims", "")
	require.Equal(t, 401, status, "a file that is gone lets nobody in")
}

// A token is of use to the end of its last day.
func TestTokenForATime(t *testing.T) {
	token, line, err := GenerateToken("guest", Read, "2027-01-31")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(path, []byte(line+"\n"), 0o600))
	f, err := openTokens(path)
	require.NoError(t, err)
	a, err := f.actor(token, time.Date(2027, 1, 31, 23, 59, 59, 0, time.UTC))
	require.NoError(t, err)
	require.Equal(t, "guest", a.Name)
	_, err = f.actor(token, time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC))
	require.EqualError(t, err, "that of guest was of use until 2027-02-01T00:00:00Z")
	_, _, err = GenerateToken("guest", Read, "31.1.2027")
	require.ErrorContains(t, err, "want YYYY-MM-DD")
	_, err = ParseTokens(line + "x")
	require.ErrorContains(t, err, "line 1 of the tokens")
}

// Of two who change what both have seen, the second is told.
func TestPatchOfAStateThatIsNoMore(t *testing.T) {
	b := newBed(t)
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi1, ""))
	ask := func(method, tag, body string) (int, string) {
		req, err := http.NewRequest(method, b.url+Prefix+"/sims/"+imsi1, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+b.tokens[Operate])
		req.Header.Set("Content-Type", "application/merge-patch+json")
		if tag != "" {
			req.Header.Set("If-Match", tag)
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode, resp.Header.Get("ETag")
	}
	status, seen := ask(http.MethodGet, "", "")
	require.Equal(t, 200, status)
	require.NotEmpty(t, seen)
	status, next := ask(http.MethodPatch, seen, `{"plmns":["001-01"]}`)
	require.Equal(t, 200, status)
	require.NotEqual(t, seen, next)
	status, _ = ask(http.MethodPatch, seen, `{"plmns":["262-02"]}`)
	require.Equal(t, http.StatusPreconditionFailed, status)
	require.Equal(t, []string{"001-01"}, ok[subscriber.Subscriber](b, http.MethodGet, "/sims/"+imsi1, "").Profile.PLMNs)
	for _, tag := range []string{next, "*", ""} {
		status, _ = ask(http.MethodPatch, tag, `{"plmns":["262-02"]}`)
		require.Equal(t, 200, status, tag)
	}
}

func TestTokenFaults(t *testing.T) {
	for _, bad := range []string{"a read", "a write " + strings.Repeat("0", 64), "a read 00"} {
		_, err := ParseTokens(bad)
		require.Error(t, err, bad)
	}
	_, _, err := GenerateToken("two words", Read, "")
	require.Error(t, err)
	require.Error(t, Config{Listen: "x", AuditEntries: 1, Key: "k", SessionLogKeep: -1, RepairEvery: 1}.Validate())
}

func TestKeysNeverComeBack(t *testing.T) {
	b := newBed(t)
	everything := new(strings.Builder)
	for _, request := range []struct{ method, path, body string }{
		{http.MethodPost, "/sims", newSIM(imsi1, "")},
		{http.MethodPost, "/sims", newSIM(imsi1, "")},
		{http.MethodPost, "/sims", newSIM(imsi2, `,"ki":"`+kHex+`"`)},
		{http.MethodPost, "/sims", strings.Replace(newSIM(imsi2, ""), kHex, kHex+"zz", 1)},
		{http.MethodPost, "/sims", strings.Replace(newSIM(imsi2, ""), `"`+kHex+`"`, `{"a":"`+kHex+`"}`, 1)},
		{http.MethodPost, "/sims", `["` + kHex + `"]`},
		{http.MethodPost, "/sims", `{"imsi": "` + kHex + `"`},
		{http.MethodPost, "/sims", newSIM(imsi2, `,"op":"`+opHex+`"`)},
		{http.MethodPost, "/import", "imsi,k,opc\n" + imsi2 + "," + kHex + "1," + opcHex + "\n" + imsi1 + "," + opHex + "," + opcHex + "\n"},
		{http.MethodPost, "/import", "imsi,k,opc\n" + imsi2 + ",\"" + kHex + "x\"," + opcHex + "\n"},
		{http.MethodPost, "/import", "imsi,iccid,msisdn,opc\n" + kHex + ",1,," + opcHex + "\n" + imsi2 + "," + kHex + "," + opHex + "," + opcHex + "\n"}, // a column off
		{http.MethodPost, "/sims", newSIM(kHex, "")},
		{http.MethodPost, "/sims", newSIM(imsi2, `,"card":{"iccid":"`+kHex+`"},"msisdn":"`+opHex+`"`)},
		{http.MethodGet, "/sims/" + kHex, ""},
		{http.MethodPatch, "/sims/" + imsi1, `{"msisdn":"` + opHex + `","charging":"` + opcHex + `"}`},
		{http.MethodDelete, "/equipment/" + opcHex, ""},
		{http.MethodGet, "/sims", ""},
		{http.MethodGet, "/sims/" + imsi1, ""},
		{http.MethodPost, "/sims/" + imsi1 + "/vector", ""},
		{http.MethodGet, "/export", ""},
		{http.MethodGet, "/dump", ""},
		{http.MethodGet, "/audit", ""},
	} {
		_, text := b.do(Admin, request.method, request.path, request.body)
		everything.WriteString(text)
	}
	everything.WriteString(b.log.String())
	require.Contains(t, everything.String(), imsi1)
	for _, secret := range []string{kHex, opcHex, opHex} {
		require.NotContains(t, strings.ToLower(everything.String()), secret[:24])
	}
}

// Whoever reads the audit log finds every change and every refused one, with who and what.
func TestTheAuditLogHasEveryChange(t *testing.T) {
	b := newBed(t)
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi1, `,"msisdn":"88212"`))
	b.do(Operate, http.MethodPost, "/sims", newSIM(imsi2, `,"ambr":{"uplink":-1}`)) // no JSON of a SIM: not understood
	for _, request := range []struct {
		role               Role
		method, path, body string
		status             int
		verb, object, says string
	}{
		{Operate, http.MethodPost, "/sims", newSIM(imsi2, ""), 200, "sim.add", imsi2, "done"},
		{Operate, http.MethodPost, "/sims", newSIM("999700000000003", `,"msisdn":"88212"`), 409, "sim.add", "999700000000003", "msisdn: 88212 is that of IMSI " + imsi1},
		{Operate, http.MethodPost, "/sims", newSIM("999700000000003", `,"charging":"x"`), 400, "sim.add", "999700000000003", "charging"},
		{Operate, http.MethodPost, "/sims", newSIM("9997x", ""), 400, "sim.add", "", "IMSI"},
		{Operate, http.MethodPatch, "/sims/" + imsi2, `{"msisdn":"88212"}`, 409, "sim.set", imsi2, "msisdn: 88212 is that of IMSI " + imsi1},
		{Operate, http.MethodPatch, "/sims/" + imsi2, `{"msisdn":"88213"}`, 200, "sim.set", imsi2, "done"},
		{Operate, http.MethodPatch, "/sims/" + imsi2, `{"charging":"x"}`, 400, "sim.set", imsi2, "charging"},
		{Read, http.MethodPost, "/sims/" + imsi2 + "/suspend", "", 403, "sim.suspend", Prefix + "/sims/" + imsi2 + "/suspend", "forbidden: may read"},
		{Operate, http.MethodDelete, "/sims/" + imsi2, "", 403, "sim.remove", Prefix + "/sims/" + imsi2, "forbidden: may operate"},
		{Operate, http.MethodPost, "/sims/" + imsi2 + "/suspend", "", 200, "sim.suspend", imsi2, "done"},
		{Operate, http.MethodPost, "/import", "imsi,k,opc\n" + imsi2 + "," + opHex + "," + opcHex + "\n", 200, "sim.import", imsi2 + " to " + imsi2, "done"},
		{Admin, http.MethodPost, "/restore", `{"sim":{"imsi":"x"}}`, 200, "restore", "", "done"},
	} {
		before := len(ok[[]store.Audit](b, http.MethodGet, "/audit?limit=1000", ""))
		status, text := b.do(request.role, request.method, request.path, request.body)
		require.Equal(t, request.status, status, "%s %s: %s", request.method, request.path, text)
		all := ok[[]store.Audit](b, http.MethodGet, "/audit?limit=1000", "")
		require.Len(t, all, before+1, "%s %s %s", request.method, request.path, request.body)
		require.Equal(t, []string{request.role.String() + "er", request.verb, request.object}, []string{all[0].Who, all[0].Verb, all[0].Object})
		require.Contains(t, all[0].Result, request.says)
		require.NotEmpty(t, all[0].From)
		require.WithinDuration(t, time.Now(), all[0].At, time.Minute)
	}
}

func TestListByTwoNames(t *testing.T) {
	b := newBed(t)
	const one, two = "8988211000000000001", "8988211000000000002"
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi1, `,"msisdn":"88212","card":{"iccid":"`+one+`"}`))
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi2, `,"card":{"iccid":"`+two+`"}`))
	for range 20 { // as often as it would take for one of the names to be left out by chance
		require.Empty(t, ok[[]subscriber.Subscriber](b, http.MethodGet, "/sims?msisdn=88212&iccid="+two, ""))
		require.Len(t, ok[[]subscriber.Subscriber](b, http.MethodGet, "/sims?msisdn=88212&iccid="+one, ""), 1)
	}
}

func TestLifeOfASIM(t *testing.T) {
	b := newBed(t)
	const iccid = "8988211000000000001"
	card := `,"card":{"iccid":"` + iccid + `","batch":"lot 7"},"msisdn":"882120000001","status":"provisioned"`
	sub := ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi1, card))
	require.Equal(t, subscriber.Provisioned, sub.Profile.Status)
	require.False(t, sub.Profile.Card.Added.IsZero())
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi2, card))
	b.refused(409, "msisdn: 882120000001 is that of IMSI", http.MethodPost, "/sims", newSIM("999700000000003", `,"msisdn":"882120000001"`))
	b.refused(409, "exists", http.MethodPost, "/sims", newSIM(imsi1, card))

	verb := func(ref, verb string) []subscriber.Subscriber {
		t.Helper()
		return ok[[]subscriber.Subscriber](b, http.MethodPost, "/sims/"+ref+"/"+verb, "")
	}
	b.refused(409, "is provisioned: it cannot resume", http.MethodPost, "/sims/"+imsi1+"/resume", "")
	require.Len(t, verb(iccid, "activate"), 2, "both IMSIs of the card")
	require.Empty(t, b.told.take(), "nobody serves it yet")
	b.register(imsi1, "mme1")

	all := verb("iccid:"+iccid, "suspend")
	require.Equal(t, subscriber.Suspended, all[0].Profile.Status)
	changes := b.told.take()
	require.Len(t, changes, 1, "only the one that is registered")
	require.Equal(t, subscriber.Active, changes[0].Before.Profile.Status)
	require.Equal(t, subscriber.Suspended, changes[0].After.Profile.Status)
	require.Equal(t, "mme1", changes[0].Before.MME.Host)
	verb(imsi1, "suspend") // again: nothing is different, and nobody is told
	require.Empty(t, b.told.take())
	verb("msisdn:+882120000001", "resume")
	require.Len(t, b.told.take(), 1)
	verb(imsi1, "terminate")
	for _, back := range []string{"activate", "resume", "suspend"} {
		b.refused(409, "is terminated: it cannot "+back, http.MethodPost, "/sims/"+imsi1+"/"+back, "")
	}
	b.told.take()
	gone := ok[[]subscriber.Subscriber](b, http.MethodDelete, "/sims/"+imsi1, "")
	require.Equal(t, "mme1", gone[0].MME.Host)
	changes = b.told.take()
	require.Len(t, changes, 1)
	require.True(t, changes[0].Removed())
	b.refused(404, "no SIM has IMSI "+imsi1, http.MethodGet, "/sims/"+imsi1, "")
	b.refused(404, "no SIM has ICCID", http.MethodGet, "/sims/iccid:898821100000000000", "")
	require.Len(t, ok[[]subscriber.Subscriber](b, http.MethodGet, "/sims?iccid="+iccid, ""), 1)

	audit := ok[[]store.Audit](b, http.MethodGet, "/audit?limit=1000", "")
	require.Equal(t, "sim.remove", audit[0].Verb)
	require.Equal(t, "adminer", audit[0].Who)
	require.NotEmpty(t, audit[0].From)
	var details []string
	for _, a := range audit {
		details = append(details, a.Verb+" "+a.Result+" "+a.Detail)
	}
	require.Contains(t, strings.Join(details, "\n"), "sim.resume SIM 999700000000001 is provisioned")
	require.Contains(t, strings.Join(details, "\n"), "status: active → suspended")
	require.Contains(t, strings.Join(details, "\n"), "sim.add done apns[0].name: none → internet; card.added: none → ")
	require.Contains(t, audit[0].Detail, "msisdn: 882120000001 → none; status: terminated → none", "what was removed")
}

func TestChangesOfAProfile(t *testing.T) {
	b := newBed(t)
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi1, ""))
	b.register(imsi1, "mme1")
	sub := ok[subscriber.Subscriber](b, http.MethodPatch, "/sims/"+imsi1, `{"ambr":{"uplink":5000},"iot":{"periodic_tau":3600},"card":{"batch":"x","added":"2001-01-01T00:00:00Z"}}`)
	require.EqualValues(t, 5000, sub.Profile.AMBR.Uplink)
	require.EqualValues(t, 100_000_000, sub.Profile.AMBR.Downlink)
	require.NotEqual(t, 2001, sub.Profile.Card.Added.Year(), "dates are the record's own")
	require.Len(t, b.told.take(), 1)
	sub = ok[subscriber.Subscriber](b, http.MethodPatch, "/sims/"+imsi1, `{"ambr":null}`)
	require.EqualValues(t, 100_000_000, sub.Profile.AMBR.Uplink)
	b.refused(400, "status", http.MethodPatch, "/sims/"+imsi1, `{"status":"active"}`)
	b.refused(400, "apns[0].qci", http.MethodPatch, "/sims/"+imsi1, `{"apns":[{"name":"internet","qci":10}]}`)
	for patch, says := range map[string]string{
		`{"abmr":{}}`: "unknown field", `{"abmr":null}`: "unknown field", `{"iot":{"periodic_tua":null}}`: "unknown field",
		`{"MSISDN":"1"}`: "unknown key", `{"Status":"terminated"}`: "unknown key", `{"iot":{"Active_time":1}}`: "unknown key", `null`: "want an object",
	} {
		b.refused(400, says, http.MethodPatch, "/sims/"+imsi1, patch)
	}
	b.refused(400, `plmns: a JSON string, want a list`, http.MethodPatch, "/sims/"+imsi1, `{"plmns":"001-01"}`)
	b.refused(400, `amf: a JSON number, want text, in quotes`, http.MethodPatch, "/sims/"+imsi1, `{"amf":8000}`)
	b.refused(400, `iot.periodic_tau: a JSON string, want a number`, http.MethodPatch, "/sims/"+imsi1, `{"iot":{"periodic_tau":"x"}}`)
	b.refused(400, "template", http.MethodPatch, "/sims/"+imsi1, `{"template":"gone"}`)

	sub = ok[[]subscriber.Subscriber](b, http.MethodPut, "/sims/"+imsi1+"/imeis/356092040793001", "")[0]
	require.Equal(t, []string{"35609204079300"}, sub.Profile.IMEILock.IMEIs)
	b.refused(400, "14 to 16 digits", http.MethodPut, "/sims/"+imsi1+"/imeis/1", "")
	sub = ok[[]subscriber.Subscriber](b, http.MethodDelete, "/sims/"+imsi1+"/imeis/all", "")[0]
	require.Empty(t, sub.Profile.IMEILock.IMEIs)

	b.refused(409, "may attach everywhere", http.MethodDelete, "/sims/"+imsi1+"/plmns/001-01", "")
	ok[[]subscriber.Subscriber](b, http.MethodPut, "/sims/"+imsi1+"/plmns/001-01", "")
	sub = ok[[]subscriber.Subscriber](b, http.MethodPut, "/sims/"+imsi1+"/plmns/262-02", "")[0]
	require.Equal(t, []string{"001-01", "262-02"}, sub.Profile.PLMNs)
	ok[[]subscriber.Subscriber](b, http.MethodDelete, "/sims/"+imsi1+"/plmns/001-01", "")
	b.refused(409, "only network", http.MethodDelete, "/sims/"+imsi1+"/plmns/262-02", "")

	b.told.take()
	locations := ok[[]Location](b, http.MethodGet, "/sims/"+imsi1+"/location", "")
	require.Equal(t, "mme1", locations[0].MME.Host)
	ok[[]subscriber.Subscriber](b, http.MethodDelete, "/sims/"+imsi1+"/location?reattach=true", "")
	changes := b.told.take()
	require.Len(t, changes, 1)
	require.True(t, changes[0].Reattach)
	require.True(t, changes[0].Removed(), "the node is to drop it")
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi2, ""))
	ok[[]subscriber.Subscriber](b, http.MethodDelete, "/sims/"+imsi2+"/location", "") // nowhere: nothing to cancel
	require.Empty(t, b.told.take())
	b.refused(502, "nobody", http.MethodPost, "/sims/"+imsi1+"/location", "")
	require.Equal(t, Nodes{3}, ok[Nodes](b, http.MethodPost, "/reset", ""))
	require.Equal(t, Nodes{4}, ok[Nodes](b, http.MethodPost, "/reset", `{"imsis":["99970"],"reset_ids":["site-1"]}`))
	b.refused(400, "imsis[0]", http.MethodPost, "/reset", `{"imsis":["9997x"]}`)
}

// A SIM that moves while it is changed: the node where it is then hears of the change.
func TestChangeOfASIMThatMoves(t *testing.T) {
	b := newBed(t)
	ctx := As(t.Context(), Actor{Name: "test", Role: Admin})
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi1, ""))
	for i, host := range []string{"mme1", "mme2"} { // it was nowhere, then at mme1
		_, err := b.service.change(ctx, "sim.set", imsi1, func(r store.Record) (subscriber.Profile, error) {
			b.register(imsi1, host)
			r.Stored.AMBR.Uplink = uint64(1000 + i)
			return r.Stored, nil
		})
		require.NoError(t, err)
		changes := b.told.take()
		require.Len(t, changes, 1)
		require.Equal(t, []string{host, host}, []string{changes[0].Before.MME.Host, changes[0].After.MME.Host})
	}
	seen, _, err := b.store.Get(ctx, imsi1)
	require.NoError(t, err)
	b.register(imsi1, "mme3")
	_, err = b.service.removeOne(ctx, seen)
	require.NoError(t, err)
	require.Equal(t, "mme3", b.told.take()[0].Before.MME.Host)
	noted, err := b.store.Changes(ctx, time.Now().Add(time.Hour), 100)
	require.NoError(t, err)
	require.Empty(t, noted)
}

// What SIMs of one card may share, one may not take to another card.
func TestMSISDNStaysOnItsCard(t *testing.T) {
	b := newBed(t)
	const card = `,"msisdn":"88212","card":{"iccid":"8988211000000000001"}`
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi1, card))
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi2, card))
	b.refused(409, "msisdn: 88212 is that of IMSI "+imsi1, http.MethodPatch, "/sims/"+imsi2, `{"card":{"iccid":"8988211000000000002"}}`)
	b.refused(409, "msisdn: 88212 is that of IMSI "+imsi1, http.MethodPatch, "/sims/"+imsi2, `{"card":{"iccid":null}}`)
	ok[subscriber.Subscriber](b, http.MethodPatch, "/sims/"+imsi2, `{"card":{"iccid":"8988211000000000002"},"msisdn":null}`)
}

func TestServingOverTheAPI(t *testing.T) {
	b := newBed(t)
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi1, `,"serving":{"rfsp":7,"restrictions":["5gc"]}`))
	got := ok[subscriber.Subscriber](b, http.MethodPatch, "/sims/"+imsi1, `{"serving":{"usage_type":0,"rfsp":null,
		"trace":{"plmn":"999-70","id":"000001","nodes":"02","events":"03","collector":"192.0.2.9"}}}`).Profile.Serving
	require.EqualValues(t, 0, *got.UsageType)
	require.Zero(t, got.RFSP)
	require.Equal(t, []subscriber.Restriction{subscriber.No5GC}, got.Restrictions)
	require.Equal(t, "192.0.2.9", got.Trace.Collector.String())
	b.refused(400, "serving.rfsp", http.MethodPatch, "/sims/"+imsi1, `{"serving":{"rfsp":257}}`)
	ok[Template](b, http.MethodPut, "/templates/meter", `{"apns":[{"name":"internet","pgw":{"ipv4":"192.0.2.1"}}],"serving":{"rfsp":9,"usage_type":3}}`)
	whole := ok[subscriber.Subscriber](b, http.MethodPatch, "/sims/"+imsi1, `{"template":"meter","apns":null}`).Profile
	require.EqualValues(t, 9, whole.Serving.RFSP, "the template's")
	require.EqualValues(t, 0, *whole.Serving.UsageType, "the SIM's own")
	require.Equal(t, "192.0.2.1", whole.APNs[0].Gateway.IPv4.String())
}

func TestNoChangeIsLostWhenItCannotBeTold(t *testing.T) {
	b := newBed(t)
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi1, ""))
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi2, ""))
	b.register(imsi1, "mme1")
	b.register(imsi2, "mme2")
	b.told.setAway(true)
	ok[[]subscriber.Subscriber](b, http.MethodPost, "/sims/"+imsi1+"/suspend", "")
	ok[[]subscriber.Subscriber](b, http.MethodPost, "/sims/"+imsi1+"/resume", "")
	ok[[]subscriber.Subscriber](b, http.MethodDelete, "/sims/"+imsi2, "")
	noted, err := b.store.Changes(t.Context(), time.Now().Add(time.Hour), 100)
	require.NoError(t, err)
	require.Len(t, noted, 3)

	b.told.setAway(false)
	again, err := New(DefaultConfig(), b.store, b.told, b.service.log) // another instance, or this one restarted
	require.NoError(t, err)
	again.pushAgain(t.Context(), time.Now().Add(time.Hour))
	removed := 0
	for _, c := range b.told.take() {
		if c.Removed() {
			removed++
			require.Equal(t, "mme2", c.Before.MME.Host)
		} else {
			require.Equal(t, subscriber.Active, c.After.Profile.Status, "as it is by now")
		}
	}
	require.Equal(t, 1, removed)
	noted, err = b.store.Changes(t.Context(), time.Now().Add(time.Hour), 100)
	require.NoError(t, err)
	require.Empty(t, noted)
}

// A change that is told after its SIM was removed says so: who knew of the SIM drops it.
func TestChangeOfASIMThatIsGoneWhenItIsTold(t *testing.T) {
	b := newBed(t)
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi1, ""))
	b.register(imsi1, "mme1")
	b.told.setAway(true)
	ok[subscriber.Subscriber](b, http.MethodPatch, "/sims/"+imsi1, `{"charging":"0800"}`)
	ok[[]subscriber.Subscriber](b, http.MethodDelete, "/sims/"+imsi1, "")
	b.told.setAway(false)
	b.service.pushAgain(t.Context(), time.Now().Add(time.Hour))
	changes := b.told.take()
	require.Len(t, changes, 2)
	for _, c := range changes {
		require.True(t, c.Removed())
	}
}

func TestTemplateChangesReachTheNodes(t *testing.T) {
	b := newBed(t)
	ok[Template](b, http.MethodPut, "/templates/meter", `{"apns":[{"name":"meters"}]}`)
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", `{"imsi":"`+imsi1+`","k":"`+kHex+`","opc":"`+opcHex+`","template":"meter"}`)
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi2, ""))
	b.register(imsi1, "mme1")
	b.register(imsi2, "mme1")
	ok[Template](b, http.MethodPut, "/templates/meter", `{"apns":[{"name":"meters"}],"ambr":{"uplink":7}}`)
	var changes []subscriber.Change
	require.Eventually(t, func() bool { changes = append(changes, b.told.take()...); return len(changes) == 1 }, patience, patienceStep)
	require.EqualValues(t, 100_000_000, changes[0].Before.Profile.AMBR.Uplink)
	require.EqualValues(t, 7, changes[0].After.Profile.AMBR.Uplink)
	ok[subscriber.APN](b, http.MethodPut, "/apns/meters", `{"name":"meters","qci":6}`)
	require.Eventually(t, func() bool { changes = append(changes, b.told.take()...); return len(changes) == 2 }, patience, patienceStep)
	require.EqualValues(t, 9, changes[1].Before.Profile.APNs[0].QCI)
	require.EqualValues(t, 6, changes[1].After.Profile.APNs[0].QCI)
	require.Len(t, ok[[]Template](b, http.MethodGet, "/templates", ""), 1)
	require.Len(t, ok[[]subscriber.APN](b, http.MethodGet, "/apns", ""), 1)
	b.refused(409, "refer to", http.MethodDelete, "/templates/meter", "")
	b.refused(400, "name", http.MethodPut, "/templates/Meter", `{}`)
	b.refused(400, "static", http.MethodPut, "/apns/x", `{"name":"x","static_ipv4":"10.0.0.1"}`)
	require.Eventually(t, func() bool {
		for _, j := range ok[[]Job](b, http.MethodGet, "/jobs", "") {
			if j.Ended.IsZero() || j.Failure != "" || j.Counts["told"] != 1 {
				return false
			}
		}
		return true
	}, patience, patienceStep)
}
