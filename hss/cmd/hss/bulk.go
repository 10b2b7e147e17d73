package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/xepc/xepc/hss/provision"
	"github.com/xepc/xepc/pkg/node"
)

const rowsAtOnce = 2000 // of an import in one request

func bulkCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name: "import", Usage: "add SIMs of a CSV with a header", ArgsUsage: "FILE",
			Description: `Columns, in any order: imsi, k, opc or op, algorithm, transport_key, seq, iccid, eid, batch, msisdn, status, template, apns
(words of APN or APN=ADDRESS), plmns, rats, ambr_uplink, ambr_downlink, charging, imeis, tacs, imei_learn, imei_absent, iot.

An import may be repeated: a SIM that is there with the same values is left as it is, one with others is an error, or with
--update is changed. FILE.progress says how far it is, so that one which was interrupted goes on there; FILE.errors.csv gets
the rows that were left out with the reason of each. "-" reads standard input, which cannot be resumed.`,
			Flags: reach(
				&cli.BoolFlag{Name: "dry-run", Usage: "only check, change nothing"},
				&cli.BoolFlag{Name: "update", Usage: "change SIMs that are there with other values; rows need no keys then"},
				&cli.StringFlag{Name: "errors", Usage: "put the rows that are left out into `FILE`", DefaultText: "FILE.errors.csv"},
				&cli.BoolFlag{Name: "restart", Usage: "begin at the first row, whatever FILE.progress says"},
			),
			Action: importSIMs,
		},
		{
			Name: "export", Usage: "write SIMs as CSV, all but their keys, in no order", Flags: reach(matchFlags()...),
			Action: func(c *cli.Context) error { return copyAnswer(c, "/export"+query(c, matchNames())) },
		},
	}
}

// importing is an import on its way.
type importing struct {
	c        *cli.Context
	client   *node.Client
	path     string // of the requests
	progress string // file; "" none
	errors   string // file
	header   []string
	done     int // rows of the file
	before   int // of these, left out by the import that this one goes on with
	total    provision.ImportResult
	failed   *csv.Writer // nil until the first row is left out
	file     *os.File
}

func importSIMs(c *cli.Context) (err error) {
	args, err := arguments(c, "FILE")
	if err != nil {
		return err
	}
	n := &importing{c: c, path: "/import?" + url.Values{"dry_run": {strconv.FormatBool(c.Bool("dry-run"))}, "update": {strconv.FormatBool(c.Bool("update"))}}.Encode()}
	if n.client, err = clientFor(c); err != nil {
		return err
	}
	from, closeFile, err := n.open(args[0])
	if err != nil {
		return cli.Exit(err, node.ExitUsage)
	}
	defer closeFile()
	begin := time.Now()
	err = n.run(from)
	if n.failed != nil {
		n.failed.Flush()
		err = errors.Join(err, n.failed.Error(), n.file.Close())
	}
	if err != nil {
		if n.progress != "" && n.done > 0 {
			err = fmt.Errorf("%w\n%d rows are done: the same command goes on behind them", err, n.done)
		}
		return err
	}
	if n.progress != "" {
		_ = os.Remove(n.progress) // done: there may be none
	}
	return n.report(time.Since(begin))
}

// open opens the file and skips what was done before.
func (n *importing) open(name string) (*csv.Reader, func(), error) {
	n.errors = n.c.String("errors")
	if n.errors == "" {
		n.errors = strings.TrimPrefix(name, "-") + ".errors.csv"
	}
	in := n.c.App.Reader
	closeFile := func() {}
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, closeFile, err
		}
		in, closeFile = bufio.NewReaderSize(f, 1<<20), func() { _ = f.Close() }
		if !n.c.Bool("dry-run") {
			n.progress = name + ".progress"
		}
	}
	r := provision.NewCSVReader(in)
	var err error
	if n.header, err = r.Read(); errors.Is(err, io.EOF) {
		return nil, closeFile, fmt.Errorf("%s is empty: want a header and rows", name)
	} else if err != nil {
		return nil, closeFile, fmt.Errorf("the header of %s: %w", name, err)
	}
	if n.progress == "" || n.c.Bool("restart") {
		return r, closeFile, nil
	}
	text, err := os.ReadFile(n.progress)
	if errors.Is(err, os.ErrNotExist) {
		return r, closeFile, nil
	}
	skip := 0
	if err == nil {
		skip, n.before, err = parseProgress(string(text))
	}
	if err != nil {
		return nil, closeFile, fmt.Errorf("%s: %w: --restart begins anew", n.progress, err)
	}
	for ; n.done < skip; n.done++ {
		if _, err := r.Read(); err != nil {
			return nil, closeFile, fmt.Errorf("row %d, which was done before: %w: another file? --restart begins anew", n.done+1, err)
		}
	}
	_, err = fmt.Fprintf(n.c.App.Writer, "%d rows were done before\n", skip)
	return r, closeFile, err
}

// parseProgress reads FILE.progress: the rows that are done, and how many of them were left out.
func parseProgress(text string) (done, left int, err error) {
	words := strings.Fields(text)
	if len(words) != 2 {
		return 0, 0, fmt.Errorf("%d words, want rows and rows left out", len(words))
	}
	done, err = strconv.Atoi(words[0])
	left, err2 := strconv.Atoi(words[1])
	return done, left, errors.Join(err, err2)
}

func (n *importing) run(r *csv.Reader) error {
	for {
		var part [][]string
		for len(part) < rowsAtOnce {
			cells, err := r.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return fmt.Errorf("row %d: %w", n.done+len(part)+1, err)
			}
			part = append(part, cells)
		}
		if len(part) == 0 {
			return nil
		}
		if err := n.send(part); err != nil {
			return err
		}
	}
}

// send sends rows, keeps those that were left out, and notes how far the import is.
func (n *importing) send(part [][]string) error {
	var body bytes.Buffer
	w := csv.NewWriter(&body)
	if err := errors.Join(w.Write(n.header), w.WriteAll(part)); err != nil {
		return err
	}
	var result provision.ImportResult
	if err := n.client.Exchange(n.c.Context, http.MethodPost, n.path, "text/csv", &body, &result); err != nil {
		return err
	}
	for _, e := range result.Errors {
		if err := n.leaveOut(n.done+e.Row, e); err != nil {
			return err
		}
	}
	n.done += len(part)
	n.total.Rows += result.Rows
	n.total.Added += result.Added
	n.total.Updated += result.Updated
	n.total.Unchanged += result.Unchanged
	n.total.Errors = append(n.total.Errors, result.Errors...)
	if n.progress == "" {
		return nil
	}
	if n.failed != nil { // what the progress counts is in the file
		if n.failed.Flush(); n.failed.Error() != nil {
			return n.failed.Error()
		}
	}
	return os.WriteFile(n.progress, fmt.Appendf(nil, "%d %d\n", n.done, n.leftOut()), 0o600)
}

func (n *importing) leftOut() int { return n.before + len(n.total.Errors) }

// leaveOut writes a row into the file of errors, behind those of the import that this one goes on with: its number, the
// IMSI, the reason, and no keys.
func (n *importing) leaveOut(row int, e provision.RowError) error {
	if n.failed == nil {
		how := os.O_TRUNC
		if n.before > 0 {
			how = os.O_APPEND
		}
		f, err := os.OpenFile(n.errors, os.O_CREATE|os.O_WRONLY|how, 0o600)
		if err != nil {
			return fmt.Errorf("the file for rows that are left out: %w", err)
		}
		n.file, n.failed = f, csv.NewWriter(f)
		if n.before == 0 {
			if err := n.failed.Write([]string{"row", "imsi", "reason"}); err != nil {
				return err
			}
		}
	}
	return n.failed.Write([]string{strconv.Itoa(row), e.IMSI, e.Reason})
}

func (n *importing) report(took time.Duration) error {
	verb := "done"
	if n.c.Bool("dry-run") {
		verb = "would be done"
	}
	if _, err := fmt.Fprintf(n.c.App.Writer, "%s: %d rows in %.1f s: %d added, %d updated, %d unchanged, %d left out\n",
		verb, n.total.Rows, took.Seconds(), n.total.Added, n.total.Updated, n.total.Unchanged, len(n.total.Errors)); err != nil {
		return err
	}
	if n.leftOut() > 0 {
		example := ""
		if len(n.total.Errors) > 0 {
			example = fmt.Sprintf(", as %s (%s)", n.total.Errors[0].IMSI, n.total.Errors[0].Reason)
		}
		return &node.Refused{Message: fmt.Sprintf("rows were left out: %d%s: see %s", n.leftOut(), example, n.errors)}
	}
	return nil
}

// copyAnswer writes an answer as it comes.
func copyAnswer(c *cli.Context, path string) error {
	n, err := clientFor(c)
	if err != nil {
		return err
	}
	body, err := n.Send(c.Context, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.Copy(c.App.Writer, body); err != nil {
		return fmt.Errorf("%w: %w", errCut, err)
	}
	return nil
}

func dumpCommand() *cli.Command {
	return &cli.Command{
		Name: "dump", Usage: "write all SIMs and templates; keys stay sealed, so that the copy is of use with the KEK only", Flags: reach(),
		Action: func(c *cli.Context) error { return copyAnswer(c, "/dump") },
	}
}

const linesAtOnce = 1000 // of a restore in one request

func restoreCommand() *cli.Command {
	return &cli.Command{
		Name: "restore", Usage: "put in what a dump has; SIMs that are there are left as they are", ArgsUsage: "FILE",
		Description: `It may be repeated, and goes on where it was. The KEKs with which the dump's keys are sealed must be in the file that kek.file
names. "-" reads standard input.`,
		Flags: reach(),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "FILE")
			if err != nil {
				return err
			}
			n, err := clientFor(c)
			if err != nil {
				return err
			}
			in := c.App.Reader
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return cli.Exit(err, node.ExitUsage)
				}
				defer func() { _ = f.Close() }()
				in = f
			}
			return restore(c, n, bufio.NewReaderSize(in, 1<<20))
		},
	}
}

func restore(c *cli.Context, n *node.Client, in *bufio.Reader) error {
	var total provision.RestoreResult
	var part bytes.Buffer
	lines, whole := 0, false
	var damaged error // in the line where the reading ended
	flush := func() error {
		if lines == 0 {
			return nil
		}
		var result provision.RestoreResult
		if err := n.Exchange(c.Context, http.MethodPost, "/restore", "application/x-ndjson", &part, &result); err != nil {
			return err
		}
		total.SIMs, total.There, total.Templates = total.SIMs+result.SIMs, total.There+result.There, total.Templates+result.Templates
		total.Equipment, total.Nodes = total.Equipment+result.Equipment, total.Nodes+result.Nodes
		total.Errors = append(total.Errors, result.Errors...)
		part.Reset()
		lines = 0
		return nil
	}
	for first := true; ; first = false {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(bytes.TrimSpace(line)) == 0 {
			break
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		var kind map[string]json.RawMessage
		jerr := json.Unmarshal(line, &kind)
		if first && (jerr != nil || kind["header"] == nil) {
			return cli.Exit("this is no dump of hss dump", node.ExitUsage)
		}
		if jerr != nil { // the lines before it are of use all the same
			damaged = jerr
			break
		}
		whole = kind["end"] != nil
		part.Write(line)
		if lines++; lines == linesAtOnce {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c.App.Writer, "%d SIMs, %d templates, %d devices and %d nodes put in; %d SIMs were there, %d left out\n",
		total.SIMs, total.Templates, total.Equipment, total.Nodes, total.There, len(total.Errors)); err != nil {
		return err
	}
	switch {
	case len(total.Errors) > 0:
		return &node.Refused{Message: "left out: " + strings.Join(total.Errors[:min(10, len(total.Errors))], "; ")}
	case damaged != nil:
		return &node.Refused{Message: fmt.Sprintf("the dump is cut off or damaged: the line behind these: %v", damaged)}
	case !whole:
		return &node.Refused{Message: "the dump is cut off: its last line is missing"}
	}
	return nil
}
