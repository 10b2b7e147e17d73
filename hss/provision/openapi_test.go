package provision

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stretchr/testify/require"
)

// What each operation takes and answers is as its schema in the OpenAPI document says.
func TestAnswersAreAsTheDocumentSays(t *testing.T) {
	b := newBed(t)
	full := newSIM(imsi1, `,"msisdn":"88212","ambr":{"uplink":5},"plmns":["001-01"],"rats":["eutran"],"charging":"0800","barring":["hplmn_1"],
		"card":{"iccid":"8988211000000000001","eid":"89049032000000000000000000000001","batch":"x"},"imei_lock":{"tacs":["35609204"],"learn":true,"absent":"allow"},
		"iot":{"periodic_tau":60,"active_time":0,"edrx":[{"rat":"nb-iot","cycle":9,"window":3}],"dl_buffering":-1},
		"serving":{"usage_type":0,"zones":[{"plmn":"001-01","codes":["0001"]}],"trace":{"plmn":"999-70","id":"000001","nodes":"02","events":"03","collector":"192.0.2.9"}}`)
	full = strings.Replace(full, `{"name":"internet"}`, `{"name":"internet","static_ipv4":"10.0.0.1","pgw":{"host":"pgw.example","realm":"example","ipv6":"2001:db8::1"}}`, 1)
	const at = "/sims/" + imsi1
	dump := ""
	answered := map[string]bool{}
	for _, call := range []struct{ operation, method, path, body string }{
		{"sim-add", http.MethodPost, "/sims", full},
		{"sim-import", http.MethodPost, "/import", "imsi,k,opc\n" + imsi2 + "," + kHex + "," + opcHex + "\n999\n"},
		{"sim-list", http.MethodGet, "/sims", ""},
		{"sim-list", http.MethodGet, "/sims?imsi=0", ""},
		{"sim-show", http.MethodGet, at, ""},
		{"sim-set", http.MethodPatch, at, `{"iot":{"service_gap":60}}`},
		{"sim-suspend", http.MethodPost, at + "/suspend", ""},
		{"sim-resume", http.MethodPost, at + "/resume", ""},
		{"sim-activate", http.MethodPost, at + "/activate", ""},
		{"imei-bind", http.MethodPut, at + "/imeis/35609204079300", ""},
		{"imei-unbind", http.MethodDelete, at + "/imeis/35609204079300", ""},
		{"plmn-allow", http.MethodPut, at + "/plmns/262-02", ""},
		{"plmn-deny", http.MethodDelete, at + "/plmns/262-02", ""},
		{"location-show", http.MethodGet, at + "/location", ""},
		{"location-ask", http.MethodPost, at + "/location?current=true", ""},
		{"location-cancel", http.MethodDelete, at + "/location", ""},
		{"sim-log", http.MethodGet, at + "/log", ""},
		{"test-vector", http.MethodPost, at + "/vector", ""},
		{"template-set", http.MethodPut, "/templates/meter", `{"apns":[{"name":"meters"}]}`},
		{"template-list", http.MethodGet, "/templates", ""},
		{"template-remove", http.MethodDelete, "/templates/meter", ""},
		{"apn-set", http.MethodPut, "/apns/meters", `{"name":"meters","qci":6}`},
		{"apn-list", http.MethodGet, "/apns", ""},
		{"apn-remove", http.MethodDelete, "/apns/meters", ""},
		{"equipment-set", http.MethodPost, "/equipment", `{"list":"black","ranges":["35"]}`},
		{"equipment-list", http.MethodGet, "/equipment", ""},
		{"equipment-check", http.MethodGet, "/equipment/35609204079300", ""},
		{"equipment-remove", http.MethodDelete, "/equipment/35", ""},
		{"sim-export", http.MethodGet, "/export", ""},
		{"dump", http.MethodGet, "/dump", ""},
		{"restore", http.MethodPost, "/restore", "the dump"},
		{"peer-list", http.MethodGet, "/peers", ""},
		{"peer-waiting", http.MethodGet, "/peers/waiting", ""},
		{"audit-list", http.MethodGet, "/audit", ""},
		{"job-list", http.MethodGet, "/jobs", ""},
		{"repair", http.MethodPost, "/repair", ""},
		{"reset", http.MethodPost, "/reset", `{"imsis":["99970"]}`},
		{"kek-rotate", http.MethodPost, "/kek/rotate", ""},
		{"kek-show", http.MethodGet, "/kek", ""},
		{"sim-terminate", http.MethodPost, at + "/terminate", ""},
		{"sim-remove", http.MethodDelete, at, ""},
	} {
		t.Run(call.operation, func(t *testing.T) {
			o := b.operation(call.operation)
			require.Equal(t, call.method, o.Method)
			if call.operation == "restore" {
				call.body = dump
			}
			if call.body == "" {
				require.True(t, o.RequestBody == nil || !o.RequestBody.Required)
			}
			if strings.HasPrefix(call.body, "{") && call.operation != "restore" {
				b.requireSchema(t, o.RequestBody.Content, huma.ModeWriteToServer, call.body)
			}
			status, text := b.do(Admin, call.method, call.path, call.body)
			require.Equal(t, 200, status, text)
			if call.operation == "dump" {
				dump = text
			}
			b.requireSchema(t, o.Responses["200"].Content, huma.ModeReadFromServer, text)
			answered[call.operation] = true
		})
	}
	for path, item := range b.document.Paths {
		for _, o := range []*huma.Operation{item.Get, item.Put, item.Post, item.Patch, item.Delete} {
			require.True(t, o == nil || answered[o.OperationID], "%s has no call above", path)
		}
	}
}

// operation is the one of that name in the document.
func (b *bed) operation(id string) *huma.Operation {
	for _, item := range b.document.Paths {
		for _, o := range []*huma.Operation{item.Get, item.Put, item.Post, item.Patch, item.Delete} {
			if o != nil && o.OperationID == id {
				return o
			}
		}
	}
	require.Fail(b.t, "no operation", id)
	return nil
}

// requireSchema checks a body by the schema of the one kind of content that there is.
func (b *bed) requireSchema(t *testing.T, content map[string]*huma.MediaType, mode huma.ValidateMode, body string) {
	t.Helper()
	require.Len(t, content, 1)
	for kind, media := range content {
		schema := media.Schema
		require.True(t, schema.Type != "" || schema.Ref != "", "%s says nothing", kind)
		if schema.Type == huma.TypeString {
			return
		}
		var value any
		d := json.NewDecoder(bytes.NewReader([]byte(body)))
		require.NoError(t, d.Decode(&value))
		result := &huma.ValidateResult{}
		huma.Validate(b.document.Components.Schemas, schema, huma.NewPathBuffer(nil, 0), mode, value, result)
		require.Empty(t, result.Errors, body)
	}
}
