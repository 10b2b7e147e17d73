package provision

import (
	"bytes"
	"context"
	"crypto/aes"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xepc/xepc/hss/redistest"
	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/identity"
)

// row of a CSV with the columns of head.
const head = "IMSI,iccid,msisdn,k,opc,status,apns,plmns\n"

func csvRow(i int) string {
	return fmt.Sprintf("99970%010d,%d,%d,%s,%s,,internet=10.0.%d.%d meters,001-01 262-02\n", i, 8988211000000000000+i, 882120000000+i, kHex, opcHex, i/250, i%250+1)
}

func TestImport(t *testing.T) {
	b := newBed(t)
	all := head
	for i := range 10 {
		all += csvRow(i)
	}
	bad := all + "99970x,,,,,,,\n" + // 11
		"999700000000101,,,zz,00,,,\n" + // 12
		"999700000000102,,,,,,,\n" + // 13
		"999700000000103,,882120000001," + kHex + "," + opcHex + ",,,\n" + // 14
		"999700000000104,,," + kHex + "," + opcHex + ",asleep,,\n" + // 15
		"999700000000105,,," + kHex + "," + opcHex + ",,-x,\n" + // 16
		"999700000000106,1,2\n" // 17
	dry := ok[ImportResult](b, http.MethodPost, "/import?dry_run=true", bad)
	require.Equal(t, []int{17, 10, 0, 0}, []int{dry.Rows, dry.Added, dry.Updated, dry.Unchanged})
	require.Empty(t, ok[[]subscriber.Subscriber](b, http.MethodGet, "/sims", ""), "nothing is done")

	done := ok[ImportResult](b, http.MethodPost, "/import", bad)
	require.Equal(t, 10, done.Added)
	reasons := map[int]string{}
	for _, e := range done.Errors {
		reasons[e.Row] = e.Reason
	}
	for row, says := range map[int]string{
		11: "IMSI", 12: "k:", 13: "needs keys", 14: "msisdn: 882120000001 is that of IMSI 999700000000001", 15: "status", 16: "apns", 17: "3 cells, want 8",
	} {
		require.Contains(t, reasons[row], says)
	}
	require.Len(t, reasons, 7)

	again := ok[ImportResult](b, http.MethodPost, "/import", all)
	require.Equal(t, []int{0, 0, 10, 0}, []int{again.Added, again.Updated, again.Unchanged, len(again.Errors)}, "%v", again.Errors)

	b.register("999700000000003", "mme1")
	changed := strings.Replace(head+csvRow(3), "001-01 262-02", "262-02", 1)
	refused := ok[ImportResult](b, http.MethodPost, "/import", changed)
	require.Contains(t, refused.Errors[0].Reason, "plmns[0]: 001-01 → 262-02")
	updated := ok[ImportResult](b, http.MethodPost, "/import?update=true", changed)
	require.Equal(t, 1, updated.Updated)
	require.Len(t, b.told.take(), 1, "its node is told")
	otherKeys := ok[ImportResult](b, http.MethodPost, "/import?update=true", strings.Replace(changed, kHex, opHex, 1))
	require.Contains(t, otherKeys.Errors[0].Reason, "other keys")

	status, export := b.do(Read, http.MethodGet, "/export?imsi=99970000000000", "")
	require.Equal(t, 200, status)
	require.Equal(t, 11, strings.Count(export, "\n"))
	back := ok[ImportResult](b, http.MethodPost, "/import", export)
	require.Equal(t, 10, back.Unchanged, "what is exported may be imported: %v", back.Errors)
	ok[[]subscriber.Subscriber](b, http.MethodPost, "/sims/999700000000003/suspend", "")
	resumed := ok[ImportResult](b, http.MethodPost, "/import?update=true", "imsi,status\n999700000000003,provisioned\n")
	require.Contains(t, resumed.Errors[0].Reason, "no way")

	b.refused(400, `column \"ki\" is unknown`, http.MethodPost, "/import", "imsi,ki\n")
	b.refused(400, "stands twice", http.MethodPost, "/import", "imsi,imsi\n")
	b.refused(400, "no column imsi", http.MethodPost, "/import", "k\n")
	b.refused(400, "body is required", http.MethodPost, "/import", "")
}

// A file says nothing of what it has no column for; a cell that is empty takes away.
func TestImportChangesTheColumnsOfTheFile(t *testing.T) {
	b := newBed(t)
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi1, `,"msisdn":"88212","plmns":["001-01"],"iot":{"periodic_tau":60},"card":{"iccid":"8988211000000000001"}`))
	before := ok[subscriber.Subscriber](b, http.MethodGet, "/sims/"+imsi1, "").Profile
	require.Equal(t, 1, ok[ImportResult](b, http.MethodPost, "/import", "imsi,k,opc\n"+imsi1+","+kHex+","+opcHex+"\n").Unchanged)
	require.Equal(t, 1, ok[ImportResult](b, http.MethodPost, "/import?update=true", "imsi,batch\n"+imsi1+",2026-11\n").Updated)
	want := before
	want.Card.Batch = "2026-11"
	require.Equal(t, want, ok[subscriber.Subscriber](b, http.MethodGet, "/sims/"+imsi1, "").Profile)
	require.Equal(t, 1, ok[ImportResult](b, http.MethodPost, "/import?update=true", "imsi,msisdn,plmns,iot,status\n"+imsi1+",,,,\n").Updated)
	want.MSISDN, want.PLMNs, want.IoT = "", nil, subscriber.IoT{}
	require.Equal(t, want, ok[subscriber.Subscriber](b, http.MethodGet, "/sims/"+imsi1, "").Profile)
	for column, cell := range map[string]string{"iot": `{"periodic_tua":5}`, "serving": `{"x":1}`, "apns": `[{"nam":"internet"}]`} {
		got := ok[ImportResult](b, http.MethodPost, "/import?update=true", "imsi,"+column+"\n"+imsi1+`,"`+strings.ReplaceAll(cell, `"`, `""`)+"\"\n")
		require.Contains(t, got.Errors[0].Reason, column+": json: unknown field")
	}
}

func TestImportKeepsWhenAStatusWasSet(t *testing.T) {
	b := newBed(t)
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi1, `,"status":"provisioned","card":{"status_at":"2026-01-01T00:00:00Z"}`))
	require.Equal(t, 1, ok[ImportResult](b, http.MethodPost, "/import?update=true", "imsi,status\n"+imsi1+",active\n").Updated)
	card := ok[subscriber.Subscriber](b, http.MethodGet, "/sims/"+imsi1, "").Profile.Card
	require.WithinDuration(t, time.Now(), card.StatusAt, time.Minute)
	require.WithinDuration(t, time.Now(), card.Activated, time.Minute)
	b.refused(413, "more than 10000 rows", http.MethodPost, "/import", "imsi\n"+strings.Repeat(imsi1+"\n", 10_001))
}

// A client that does not read an export on is cut off; one that does may go on to use its connection.
func TestExportToAClientThatDoesNotRead(t *testing.T) {
	b := newBed(t)
	b.service.readWithin = 200 * time.Millisecond
	plmns := ""
	for i := range 120 {
		plmns += fmt.Sprintf("%03d-01 ", 200+i)
	}
	for part := range 2 {
		var rows strings.Builder
		rows.WriteString("imsi,k,opc,plmns\n")
		for i := range 6000 { // more than the kernel keeps for a connection
			fmt.Fprintf(&rows, "99970%010d,%s,%s,%s\n", part*6000+i, kHex, opcHex, plmns)
		}
		require.Equal(t, 6000, ok[ImportResult](b, http.MethodPost, "/import", rows.String()).Added)
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	require.NoError(t, c.(*net.TCPConn).SetReadBuffer(4096))
	_, err = fmt.Fprintf(c, "GET %s/export HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", Prefix, b.tokens[Read])
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(b.log.String(), "an answer was cut off") }, patience, patienceStep)

	status, text := b.do(Read, http.MethodGet, "/export?imsi=9997000000000", "")
	require.Equal(t, 200, status)
	require.Equal(t, 101, strings.Count(text, "\n"))
	time.Sleep(2 * b.service.readWithin) // a deadline that was left would have passed
	status, _ = b.do(Read, http.MethodGet, "/sims/"+imsi1, "")
	require.Equal(t, 200, status)
}

func TestFormsOfCSV(t *testing.T) {
	b := newBed(t)
	for i, file := range []string{
		"imsi,k,opc\r\n%s," + kHex + "," + opcHex + "\r\n",
		"\ufeffimsi,k,opc\n%s," + kHex + "," + opcHex,
		"\ufeff\"imsi\",\"K\",\"opc\"\r\n\"%s\",\"" + kHex + "\",\"" + opcHex + "\"\r\n",
		"imsi, k ,opc\n\n %s , " + kHex + "," + opcHex + "\n\n",
	} {
		imsi := fmt.Sprintf("99970%010d", i)
		require.Equal(t, 1, ok[ImportResult](b, http.MethodPost, "/import", fmt.Sprintf(file, imsi)).Added, "%q", file)
	}
}

// A dry run says of a SIM that stands twice what an import does.
func TestSIMThatStandsTwice(t *testing.T) {
	b := newBed(t)
	other := strings.Replace(csvRow(1), "262-02", "262-03", 1)
	file := head + csvRow(1) + csvRow(1) + other + strings.Replace(csvRow(1), kHex, opHex, 1)
	for _, query := range []string{"?dry_run=true", "?dry_run=true&update=true", "?update=true"} {
		got := ok[ImportResult](b, http.MethodPost, "/import"+query, file)
		update := 0
		if strings.Contains(query, "update") {
			update = 1
		}
		require.Equal(t, []int{1, update, 1, 2 - update}, []int{got.Added, got.Updated, got.Unchanged, len(got.Errors)}, query)
	}
}

func TestStaticAddressOfAnotherSIMIsRefused(t *testing.T) {
	b := newBed(t)
	const addressHead = "imsi,k,opc,apns\n"
	line := func(imsi, apns string) string { return imsi + "," + kHex + "," + opcHex + "," + apns + "\n" }
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi1, `,"apns":[{"name":"internet","static_ipv4":"10.0.0.1"}]`))
	status, text := b.do(Admin, http.MethodPost, "/sims", newSIM(imsi2, `,"apns":[{"name":"internet","static_ipv4":"10.0.0.1"}]`))
	require.Equal(t, http.StatusConflict, status)
	require.Contains(t, text, "static address 10.0.0.1 of APN internet is that of IMSI "+imsi1)
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi2, ""))
	status, text = b.do(Admin, http.MethodPatch, "/sims/"+imsi2, `{"apns":[{"name":"internet","static_ipv4":"10.0.0.1"}]}`)
	require.Equal(t, http.StatusConflict, status, text)
	for _, query := range []string{"?dry_run=true", ""} {
		got := ok[ImportResult](b, http.MethodPost, "/import"+query, addressHead+line("999700000000011", "internet=10.0.0.1")+
			line("999700000000012", "internet=10.0.0.2 meters=10.0.0.1")+line("999700000000013", "internet=10.0.0.3 meters=10.0.0.1"))
		require.Equal(t, 1, got.Added, query)
		require.Len(t, got.Errors, 2)
		require.Contains(t, got.Errors[0].Reason, "is that of IMSI "+imsi1)
		require.Contains(t, got.Errors[1].Reason, "APN meters is that of IMSI 999700000000012")
	}
	got := ok[ImportResult](b, http.MethodPost, "/import?update=true", addressHead+line(imsi2, "internet=10.0.0.2"))
	require.Contains(t, got.Errors[0].Reason, "is that of IMSI 999700000000012")
}

func TestImportUnderATransportKey(t *testing.T) {
	b := newBed(t)
	key, err := hex.DecodeString("000102030405060708090a0b0c0d0e0f")
	require.NoError(t, err)
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	sealed := func(text string) string {
		plain, err := hex.DecodeString(text)
		require.NoError(t, err)
		out := make([]byte, len(plain))
		block.Encrypt(out, plain)
		return hex.EncodeToString(out)
	}
	got := ok[ImportResult](b, http.MethodPost, "/import", "imsi,k,opc,transport_key\n"+imsi1+","+sealed(kHex)+","+sealed(opcHex)+",maker\n"+
		imsi2+","+sealed(kHex)+","+sealed(opcHex)+",other\n")
	require.Equal(t, 1, got.Added)
	require.Contains(t, got.Errors[0].Reason, `no transport key "other"`)
	c, err := b.store.Credentials(t.Context(), imsi1)
	require.NoError(t, err)
	k, err := aka.ParseKey(kHex)
	require.NoError(t, err)
	opc, err := aka.ParseKey(opcHex)
	require.NoError(t, err)
	require.True(t, c == aka.Credentials{Algorithm: aka.Milenage, K: k, OPc: opc})

	for _, bad := range []string{"a", "a aes-ecb zz", "a aes-gcm 00", "a aes-ecb 00", "a 3des-cbc 00"} {
		_, err := ParseTransportKeys(bad)
		require.Error(t, err, bad)
	}
	all, err := ParseTransportKeys(`
ac aes-cbc 000102030405060708090a0b0c0d0e0f
ae aes-ecb 000102030405060708090a0b0c0d0e0f
dc 3des-cbc 0123456789abcdeffedcba9876543210
de 3des-ecb 0123456789abcdeffedcba98765432100123456789abcdef`)
	require.NoError(t, err)
	const long = kHex + opHex                 // a K of TUAK's
	for id, of := range map[string][2]string{ // by openssl enc -nopad, IV of zeros
		"ac": {"e42c646c9acaacd57c8480a02a3dee8e5b1e703f9c0b18b031c3beefb8754e8e", long},
		"ae": {"e42c646c9acaacd57c8480a02a3dee8e6c76d4497999213676feee1ef1090244", long},
		"dc": {"d0ebfcebde43c80b1189a213cb2451c7", kHex},
		"de": {"d0ebfcebde43c80b0a35429071d17a10", kHex},
	} {
		plain, err := all.decrypt(id, of[0])
		require.NoError(t, err)
		require.Equal(t, of[1], plain, id)
	}
	_, err = all.decrypt("dc", "00")
	require.Error(t, err)
}

func TestEveryColumnComesBack(t *testing.T) {
	active, packets := uint32(0), int32(-1)
	p := subscriber.Profile{
		Card: subscriber.Card{ICCID: "8988211000000000001", EID: strings.Repeat("1", 32), Batch: "lot 7"}, Template: "meter", MSISDN: "88212", Status: subscriber.Active,
		AMBR: subscriber.Bitrates{Uplink: 5_000_000_000, Downlink: 1}, APNs: []subscriber.APN{{Name: "internet", QCI: 7}, {Name: "meters"}},
		PLMNs: []string{"001-01"}, RATs: subscriber.RATs(), Charging: "0800", AMF: "b9b9", Barring: subscriber.Barrings(), OIReplacement: "mvno.mnc001.mcc001.gprs",
		IMEILock: subscriber.IMEILock{IMEIs: []string{"35609204079300"}, TACs: []string{"35609204-35609209"}, Learn: true, Absent: subscriber.RefuseAbsent},
		IoT:      subscriber.IoT{PeriodicTAU: 1, ActiveTime: &active, DLBuffering: &packets, EDRX: []subscriber.EDRX{{RAT: subscriber.LTEM, Cycle: 9}}},
		Serving:  subscriber.Serving{UsageType: &active, RFSP: 3, Restrictions: subscriber.Restrictions(), ResetIDs: []string{"a, b"}},
	}
	p.APNs[1].Gateway = subscriber.Gateway{Host: "pgw1.example", Realm: "example"}
	var names, cells []string
	for _, c := range columns() {
		if c.get != nil {
			names, cells = append(names, c.name), append(cells, c.get(subscriber.Subscriber{IMSI: imsi1, Profile: p}))
		}
	}
	found, err := header(names)
	require.NoError(t, err)
	sim, err := parseRow(found, cells)
	require.NoError(t, err)
	require.Equal(t, p, sim.Profile)
	require.EqualValues(t, imsi1, sim.IMSI)
}

func TestDumpAndRestore(t *testing.T) {
	b := newBed(t)
	ctx := As(context.Background(), Actor{Name: "x", Role: Admin})
	ok[Template](b, http.MethodPut, "/templates/meter", `{"apns":[{"name":"meters"}]}`)
	ok[subscriber.APN](b, http.MethodPut, "/apns/meters", `{"name":"meters","qci":8}`)
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi1, `,"template":"meter","msisdn":"88212","seq":500`))
	ok[subscriber.Subscriber](b, http.MethodPost, "/sims", newSIM(imsi2, ""))
	b.register(imsi2, "mme1")
	ok[EquipmentResult](b, http.MethodPost, "/equipment", `{"list":"black","ranges":["990","35609204-35609209"]}`)
	require.NoError(t, b.store.SawNode(ctx, store.Node{Host: "mme1", Realm: "visited", Via: "dra1"}))
	gateway := subscriber.Gateway{Host: "pgw1"}
	require.NoError(t, b.store.PutGateways(ctx, imsi2, map[string]subscriber.Gateway{"internet": gateway}))
	for _, node := range []string{"mme1", "mme2"} {
		_, err := b.store.Advance(ctx, imsi2, node, 1, nil, time.Now())
		require.NoError(t, err)
	}
	status, dump := b.do(Admin, http.MethodGet, "/dump", "")
	require.Equal(t, 200, status)
	require.True(t, strings.HasPrefix(dump, `{"header":{"format":"xepc-hss-dump","version":3,`), dump)
	require.Contains(t, dump, `{"end":{"sims":2}}`)
	require.NotContains(t, dump, kHex)
	var before uint64 // faster than the clock counts: by a thousand after the dump
	for range 200 {
		a, err := b.store.Advance(ctx, imsi1, "mme1", 5, nil, time.Now())
		require.NoError(t, err)
		before = a.Counter.SEQ + 4
	}

	second := &bed{t: t, store: openStore(t, redistest.Start(t).Address, kek), told: &told{}}
	var err error
	second.service, err = New(DefaultConfig(), second.store, second.told, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	for i, want := range []RestoreResult{{SIMs: 2, Templates: 2, Equipment: 2, Nodes: 1}, {There: 2}} { // it may be repeated
		got, err := second.service.restore(ctx, strings.NewReader(dump))
		require.NoError(t, err)
		want.Errors = []string{}
		require.Equal(t, want, got, "time %d", i+1)
	}
	for _, imsi := range []identity.IMSI{imsi1, imsi2} {
		was, err := b.store.Load(ctx, imsi)
		require.NoError(t, err)
		is, err := second.store.Load(ctx, imsi)
		require.NoError(t, err)
		require.Equal(t, was.Stored, is.Stored)
		require.Equal(t, was.MME, is.MME)
		if imsi == imsi2 {
			require.Equal(t, was.INDs, is.INDs, "each node keeps its IND")
			require.Equal(t, was.NextIND, is.NextIND)
		}
	}
	a, err := second.store.Advance(ctx, imsi1, "mme1", 1, nil, time.Now())
	require.NoError(t, err)
	require.Greater(t, a.Counter.SEQ, before, "above what was given out since the dump, however fast")
	require.Less(t, a.Counter.SEQ-before, uint64(subscriber.Delta), "and not too far for the card")
	found, err := second.store.Find(ctx, "msisdn", "88212")
	require.NoError(t, err)
	require.Len(t, found, 1)
	at, err := second.store.AtNode(ctx, "mme1")
	require.NoError(t, err)
	require.Equal(t, []identity.IMSI{imsi2}, at)
	gateways, err := second.store.Gateways(ctx, imsi2)
	require.NoError(t, err)
	require.Equal(t, map[string]subscriber.Gateway{"internet": gateway}, gateways)
	known, err := second.store.Node(ctx, "mme1")
	require.NoError(t, err)
	require.Equal(t, "dra1", known.Via)
	lists, err := second.store.Equipment(ctx, "", "", 10)
	require.NoError(t, err)
	require.Equal(t, []subscriber.Equipment{{Range: "35609204-35609209", List: subscriber.Black}, {Range: "990", List: subscriber.Black}}, lists)

	// Version 1, which had neither INDs nor PDN-GWs.
	old := regexp.MustCompile(`,"(inds|next_ind)":("[^"]*"|\d+)`).ReplaceAllString(strings.Replace(dump, `"version":3`, `"version":1`, 1), "")
	third := openStore(t, redistest.Start(t).Address, kek)
	service, err := New(DefaultConfig(), third, &told{}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	was, err := service.restore(ctx, strings.NewReader(old))
	require.NoError(t, err)
	require.Equal(t, 2, was.SIMs)

	for _, bad := range []string{`{"header":{"format":"xepc-hss-dump","version":4}}`, `{"header":{"format":"x","version":1}}`, `{`, `x`} {
		_, err := second.service.restore(ctx, strings.NewReader(bad))
		require.Error(t, err, bad)
	}
	other := openStore(t, redistest.Start(t).Address, strings.Replace(kek, "k1", "k9", 1))
	foreign, err := New(DefaultConfig(), other, &told{}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	got, err := foreign.restore(ctx, strings.NewReader(dump))
	require.NoError(t, err)
	require.Len(t, got.Errors, 2, "without the KEK a dump is worth nothing")
}

// BenchmarkImport imports a CSV in requests of 2,000 rows, as hss sim import does: 10,000 SIMs/s is the goal.
func BenchmarkImport(b *testing.B) {
	bed := newBed(b)
	const part = 2000
	var bodies []string
	for first := 0; first < b.N; first += part {
		var body bytes.Buffer
		body.WriteString(head)
		for i := first; i < min(first+part, b.N); i++ {
			body.WriteString(csvRow(i))
		}
		bodies = append(bodies, body.String())
	}
	b.ResetTimer()
	added := 0
	for _, body := range bodies {
		added += ok[ImportResult](bed, http.MethodPost, "/import", body).Added
	}
	b.StopTimer()
	require.Equal(b, b.N, added)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sims/s")
}

// FuzzRow reads a CSV of two lines. What is read is checked without a panic, and comes back from an export as it was.
func FuzzRow(f *testing.F) {
	f.Add("imsi,k,opc,apns,iot\n999700000000001," + kHex + "," + opcHex + ",internet=10.0.0.1 meters,\"{\"\"periodic_tau\"\":5}\"\n")
	f.Add(head + csvRow(1))
	f.Add("imsi,tacs,imeis,imei_learn,rats,ambr_uplink,seq\n1,1-2,3,true,eutran,5,6\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := csv.NewReader(strings.NewReader(text))
		r.FieldsPerRecord = -1
		first, err := r.Read()
		if err != nil {
			return
		}
		found, err := header(first)
		if err != nil {
			return
		}
		cells, err := r.Read()
		if err != nil {
			return
		}
		sim, err := parseRow(found, cells)
		if err != nil {
			return
		}
		_, _ = sim.credentials(nil)
		if sim.WithDefaults().Validate() != nil {
			return
		}
		var names, again []string
		for _, c := range columns() {
			if c.get != nil {
				names, again = append(names, c.name), append(again, c.get(subscriber.Subscriber{IMSI: identity.IMSI(sim.IMSI), Profile: sim.Profile}))
			}
		}
		found, err = header(names)
		require.NoError(t, err)
		back, err := parseRow(found, again)
		require.NoError(t, err)
		require.Empty(t, difference(sim.Profile, back.Profile))
	})
}

// FuzzPatch merges anything into a profile: it never panics, and what comes out is a profile or an error.
func FuzzPatch(f *testing.F) {
	f.Add(`{"ambr":{"uplink":5},"apns":null,"iot":{"edrx":[{"rat":"lte-m","cycle":1}]}}`)
	f.Add(`{"card":{"added":null},"x":{"y":{"z":[]}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var patch map[string]any
		if json.Unmarshal([]byte(text), &patch) != nil {
			return
		}
		whole, err := asMap(subscriber.Profile{MSISDN: "1", APNs: []subscriber.APN{{Name: "internet"}}})
		require.NoError(t, err)
		j, err := json.Marshal(mergePatch(whole, patch))
		require.NoError(t, err)
		var next subscriber.Profile
		if json.Unmarshal(j, &next) == nil {
			_ = next.WithDefaults().Validate()
		}
	})
}

func TestEquipment(t *testing.T) {
	b := newBed(t)
	ok[EquipmentResult](b, http.MethodPost, "/equipment", `{"list":"black","ranges":["99000085000000","35609200-35609299"]}`)
	ok[EquipmentResult](b, http.MethodPost, "/equipment", `{"list":"grey","ranges":["99000085000000","35"]}`)
	list := ok[[]subscriber.Equipment](b, http.MethodGet, "/equipment", "")
	require.Equal(t, []subscriber.Equipment{
		{Range: "35", List: subscriber.Grey}, {Range: "35609200-35609299", List: subscriber.Black}, {Range: "99000085000000", List: subscriber.Grey},
	}, list, "put on another list it is off the first")
	require.Len(t, ok[[]subscriber.Equipment](b, http.MethodGet, "/equipment?list=grey&after=35&limit=5", ""), 1)
	require.Equal(t, "35609204079300", ok[subscriber.EquipmentStatus](b, http.MethodGet, "/equipment/35609204079300", "").Range, "as the Diameter edge says")
	ok[EquipmentResult](b, http.MethodDelete, "/equipment/35609200-35609299", "")
	for _, row := range []struct {
		role         Role
		method, path string
		body         string
		status       int
	}{
		{Admin, http.MethodDelete, "/equipment/35609200-35609299", "", 404},
		{Admin, http.MethodPost, "/equipment", `{"list":"black","ranges":["35609299-35609200"]}`, 400},
		{Admin, http.MethodPost, "/equipment", `{"list":"red","ranges":["1"]}`, 422},
		{Admin, http.MethodPost, "/equipment", `{"list":"black","ranges":[]}`, 400},
		{Admin, http.MethodGet, "/equipment/123", "", 400},
		{Read, http.MethodPost, "/equipment", `{"list":"black","ranges":["1"]}`, 403},
		{Read, http.MethodDelete, "/equipment/35", "", 403},
	} {
		status, text := b.do(row.role, row.method, row.path, row.body)
		require.Equal(t, row.status, status, "%s %s %s: %s", row.method, row.path, row.body, text)
	}
	entries := ok[[]map[string]any](b, http.MethodGet, "/audit?verb=equipment.set", "")
	require.Equal(t, "forbidden: may read", entries[0]["result"])
	require.Equal(t, "99000085000000 and 1 more", entries[1]["object"])
	require.Equal(t, "grey", entries[1]["detail"])
}
