package main

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/xepc/xepc/hss/s6a"
	"github.com/xepc/xepc/hss/store"
	"github.com/xepc/xepc/hss/subscriber"
	"github.com/xepc/xepc/pkg/aka"
	"github.com/xepc/xepc/pkg/identity"
	"github.com/xepc/xepc/pkg/node"
)

// newSIM is what "hss sim add" sends. Keys go in and never come out.
type newSIM struct {
	IMSI verbatim `json:"imsi"          yaml:"imsi"`
	K    verbatim `json:"k"             yaml:"k"`             // 32 hexadecimal digits
	OPc  verbatim `json:"opc,omitempty" yaml:"opc,omitempty"` // the card's; or
	OP   verbatim `json:"op,omitempty"  yaml:"op,omitempty"`  // the operator's, from which OPc is computed and which is not kept
	SEQ  uint64   `json:"seq,omitempty" yaml:"seq,omitempty"` // the last that the card may have seen

	subscriber.Profile `yaml:",inline"`
}

// verbatim is text that YAML would take for a number, octal when it begins with 0, were it not for UnmarshalYAML.
type verbatim string

// UnmarshalYAML takes a scalar as it is written.
func (v *verbatim) UnmarshalYAML(b []byte) error {
	*v = verbatim(strings.Trim(strings.TrimSpace(string(b)), `"'`))
	return nil
}

// handleSIMs serves the SIMs on the admin API.
func handleSIMs(n *node.Node, records *store.Store, edge *s6a.Server) {
	n.Handle("GET /sims", func(r *http.Request) (any, error) { return listSIMs(r, records) })
	n.Handle("GET /sims/{imsi}", func(r *http.Request) (any, error) {
		sub, err := lookUp(r.Context(), records, r.PathValue("imsi"))
		return sub, err
	})
	n.Handle("POST /sims", func(r *http.Request) (any, error) { return addSIM(r, records) })
	n.Handle("DELETE /sims/{imsi}", func(r *http.Request) (any, error) {
		imsi, err := identity.ParseIMSI(r.PathValue("imsi"))
		if err != nil {
			return nil, node.Refuse(http.StatusBadRequest, "%v", err)
		}
		mme, sgsn, err := records.Remove(r.Context(), imsi)
		if err != nil {
			return nil, refusal(imsi, err)
		}
		if err := edge.Withdraw(r.Context(), imsi, mme, sgsn); err != nil {
			return nil, refusal(imsi, err)
		}
		return subscriber.Subscriber{IMSI: imsi, MME: mme, SGSN: sgsn}, nil
	})
}

func listSIMs(r *http.Request, records *store.Store) (any, error) {
	prefix := r.FormValue("imsi")
	if strings.Trim(prefix, "0123456789") != "" {
		return nil, node.Refuse(http.StatusBadRequest, "imsi: %q has other characters than digits", prefix)
	}
	limit, err := strconv.Atoi(r.FormValue("limit"))
	if err != nil || limit < 1 {
		return nil, node.Refuse(http.StatusBadRequest, "limit: %q, want a number from 1", r.FormValue("limit"))
	}
	found, err := records.Search(r.Context(), store.Match{Prefix: prefix}, limit)
	if err != nil {
		return nil, refusal("", err)
	}
	all := make([]subscriber.Subscriber, len(found))
	for i, f := range found {
		all[i] = f.Subscriber
	}
	return all, nil
}

func lookUp(ctx context.Context, records *store.Store, text string) (subscriber.Subscriber, error) {
	imsi, err := identity.ParseIMSI(text)
	if err != nil {
		return subscriber.Subscriber{}, node.Refuse(http.StatusBadRequest, "%v", err)
	}
	sub, _, err := records.Get(ctx, imsi)
	if err != nil {
		return sub, refusal(imsi, err)
	}
	return sub, nil
}

func addSIM(r *http.Request, records *store.Store) (any, error) {
	var sim newSIM
	if err := node.DecodeBody(r, &sim); err != nil {
		return nil, err
	}
	imsi, err := identity.ParseIMSI(string(sim.IMSI))
	if err != nil {
		return nil, node.Refuse(http.StatusBadRequest, "%v", err)
	}
	keys, err := sim.credentials()
	if err != nil {
		return nil, node.Refuse(http.StatusBadRequest, "%v", err)
	}
	if sim.SEQ > aka.MaxSEQ {
		return nil, node.Refuse(http.StatusBadRequest, "seq: %d, at most %d", sim.SEQ, uint64(aka.MaxSEQ))
	}
	profile := sim.WithDefaults()
	if err := profile.Validate(); err != nil {
		return nil, node.Refuse(http.StatusBadRequest, "the profile has faults:\n%v", err)
	}
	if err := records.Add(r.Context(), imsi, profile, keys, sim.SEQ, time.Now()); err != nil {
		return nil, refusal(imsi, err)
	}
	return subscriber.Subscriber{IMSI: imsi, Profile: profile}, nil
}

// credentials reads the keys; the error does not show them.
func (s newSIM) credentials() (aka.Credentials, error) {
	k, err := aka.ParseKey(string(s.K))
	if err != nil {
		return aka.Credentials{}, errors.New("k: " + err.Error())
	}
	switch {
	case (s.OPc == "") == (s.OP == ""):
		return aka.Credentials{}, errors.New("want one of opc and op")
	case s.OPc != "":
		opc, err := aka.ParseKey(string(s.OPc))
		if err != nil {
			return aka.Credentials{}, errors.New("opc: " + err.Error())
		}
		return aka.Credentials{K: k, OPc: opc}, nil
	}
	op, err := aka.ParseKey(string(s.OP))
	if err != nil {
		return aka.Credentials{}, errors.New("op: " + err.Error())
	}
	opc, err := aka.OPc(k, op)
	return aka.Credentials{K: k, OPc: opc}, err
}

// refusal gives an error of the store its HTTP status.
func refusal(imsi identity.IMSI, err error) error {
	switch {
	case errors.Is(err, store.ErrUnknown):
		return node.Refuse(http.StatusNotFound, "no SIM has IMSI %s", imsi)
	case errors.Is(err, store.ErrExists):
		return node.Refuse(http.StatusConflict, "a SIM with IMSI %s exists: remove it first", imsi)
	case errors.Is(err, store.ErrUnavailable):
		return node.Refuse(http.StatusServiceUnavailable, "%v: try again when it is back", err)
	}
	return err
}
