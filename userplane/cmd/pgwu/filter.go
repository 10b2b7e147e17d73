package main

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/xepc/xepc/pkg/node"
	"github.com/xepc/xepc/pkg/pfcp"
	"github.com/xepc/xepc/userplane/session"
)

// filter chooses sessions; what is zero chooses all.
type filter struct {
	seid pfcp.SEID
	teid pfcp.TEID // ours, or the remote end's
	ue   netip.Addr
}

func filterFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "seid", Usage: "only the session with this `SEID` of ours (0x… or decimal)"},
		&cli.StringFlag{Name: "teid", Usage: "only sessions with this `TEID`, ours or the remote end's (0x… or decimal)"},
		&cli.StringFlag{Name: "ue", Usage: "only the sessions of the UE at this `ADDRESS`"},
	}
}

// parseFilter reads a filter from where get finds the words: flags or a URL.
func parseFilter(get func(string) string) (filter, error) {
	var f filter
	if s := get("seid"); s != "" {
		n, err := strconv.ParseUint(s, 0, 64)
		if err != nil {
			return f, fmt.Errorf("seid %q: want 0x… or a decimal number of 64 bits", s)
		}
		f.seid = pfcp.SEID(n)
	}
	if s := get("teid"); s != "" {
		n, err := strconv.ParseUint(s, 0, 32)
		if err != nil {
			return f, fmt.Errorf("teid %q: want 0x… or a decimal number of 32 bits", s)
		}
		f.teid = pfcp.TEID(n)
	}
	if s := get("ue"); s != "" {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return f, fmt.Errorf("ue %q: want an IP address", s)
		}
		f.ue = a
	}
	return f, nil
}

// filterOf reads the filter of a command.
func filterOf(c *cli.Context) (filter, error) {
	f, err := parseFilter(c.String)
	if err != nil {
		return f, cli.Exit(err, node.ExitUsage)
	}
	return f, nil
}

// filterIn reads the filter of an admin request.
func filterIn(r *http.Request) (filter, error) {
	f, err := parseFilter(r.URL.Query().Get)
	if err != nil {
		return f, node.Refuse(http.StatusBadRequest, "%v", err)
	}
	return f, nil
}

// query is the filter as the end of an admin path.
func (f filter) query() string {
	q := url.Values{}
	if f.seid != 0 {
		q.Set("seid", string(hexSEID(f.seid)))
	}
	if f.teid != 0 {
		q.Set("teid", string(hexTEID(f.teid)))
	}
	if f.ue.IsValid() {
		q.Set("ue", f.ue.String())
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

func (f filter) match(s *session.Session) bool {
	return (f.seid == 0 || s.SEID == f.seid) &&
		(!f.ue.IsValid() || hasUE(s, f.ue)) &&
		(f.teid == 0 || slices.ContainsFunc(s.FTEIDs(), func(own session.FTEID) bool { return own.TEID == f.teid }) ||
			slices.ContainsFunc(s.FARs, func(r session.FAR) bool { return r.Outer.Present && r.Outer.Value.TEID == f.teid }))
}

// hasUE says whether packets to an address are those of the session's UE, be it by a prefix or a framed route.
func hasUE(s *session.Session, a netip.Addr) bool {
	of := func(ue netip.Addr, ue6 netip.Prefix, routes []netip.Prefix) bool {
		return ue == a || ue6.Contains(a) || slices.ContainsFunc(routes, func(r netip.Prefix) bool { return r.Contains(a) })
	}
	return slices.ContainsFunc(s.PDRs, func(p session.PDR) bool { return of(p.UE, p.UE6, p.Routes) }) ||
		slices.ContainsFunc(s.Endpoints, func(e session.Endpoint) bool { return of(e.UE, e.UE6, e.Routes) })
}
