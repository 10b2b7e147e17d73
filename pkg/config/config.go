// Package config owns how a node's configuration file is read: strict YAML over defaults, every fault named with
// its key and line, and the commands that check and show it. What the keys mean belongs to the node.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/urfave/cli/v2"
)

// Config is a node's configuration: plain data, with a yaml tag for each key. Validate only checks, and returns all
// faults joined, each beginning with its key.
type Config interface {
	Validate() error
}

// Secret is a value that is used but never shown: it prints as "(set)", or "" when empty.
type Secret string

// String hides the value.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(set)"
}

// MarshalYAML hides the value.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// Load reads the file at path over what cfg, a pointer, already holds (the defaults), and validates the result. An
// unknown or repeated key is an error. With path "" the defaults alone are validated.
func Load(path string, cfg Config) error {
	if path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("reading the configuration: %w", err)
		}
		if err := decode(path, b, cfg); err != nil {
			return err
		}
	}
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuration %s:\n%w", origin(path), err)
	}
	return nil
}

func decode(path string, b []byte, cfg Config) error {
	var document any
	if err := yaml.Unmarshal(b, &document); err == nil && document == nil {
		return nil // an empty file changes nothing; Decode would set everything to zero
	}
	d := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict())
	if err := d.Decode(cfg); err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("configuration %s: a second document begins behind \"---\": want one", path)
	}
	return nil
}

func origin(path string) string {
	if path == "" {
		return "(defaults)"
	}
	return path
}

// Flag returns the flag that names the file: -c FILE.
func Flag(byDefault string) cli.Flag {
	return &cli.StringFlag{
		Name: "config", Aliases: []string{"c"}, Value: byDefault,
		Usage: "configuration `FILE` (YAML); keys that it leaves out keep their defaults",
	}
}

// Command returns "config check" and "config show" for a node whose defaults newConfig returns.
func Command(byDefault string, newConfig func() Config) *cli.Command {
	return &cli.Command{
		Name: "config", Usage: "check or show the configuration without starting the node",
		Subcommands: []*cli.Command{
			{
				Name: "check", Usage: "read the file and list every fault", Flags: []cli.Flag{Flag(byDefault)},
				Action: func(c *cli.Context) error {
					if err := Load(c.String("config"), newConfig()); err != nil {
						return cli.Exit(err, 2)
					}
					_, err := fmt.Fprintf(c.App.Writer, "%s: no fault found\n", origin(c.String("config")))
					return err
				},
			},
			{
				Name: "show", Usage: "print every key with the value in force and where it came from", Flags: []cli.Flag{Flag(byDefault)},
				Action: func(c *cli.Context) error {
					cfg := newConfig()
					if err := Load(c.String("config"), cfg); err != nil {
						return cli.Exit(err, 2)
					}
					return show(c.App.Writer, c.String("config"), cfg)
				},
			},
		},
	}
}

// show prints the effective values as one line a key, in the order of the Config's fields.
func show(w io.Writer, path string, cfg Config) error {
	b, err := yaml.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("encoding the configuration: %w", err)
	}
	effective, err := leaves(b)
	if err != nil {
		return err
	}
	var file []leaf
	if path != "" {
		if b, err = os.ReadFile(path); err != nil {
			return fmt.Errorf("reading the configuration: %w", err)
		}
		if file, err = leaves(b); err != nil {
			return err
		}
	}
	lines := make(map[string]int, len(file))
	for _, l := range file {
		lines[l.key] = l.line
	}
	for _, l := range effective {
		from := "default"
		if n, ok := lines[l.key]; ok {
			from = fmt.Sprintf("%s:%d", path, n)
		}
		if _, err := fmt.Fprintf(w, "%s: %s  # %s\n", l.key, l.value, from); err != nil {
			return err
		}
	}
	return nil
}

// leaf is one key with a value of its own, as a.b[0].c.
type leaf struct {
	key, value string
	line       int
}

func leaves(b []byte) ([]leaf, error) {
	f, err := parser.ParseBytes(b, 0)
	if err != nil {
		return nil, fmt.Errorf("parsing the configuration: %w", err)
	}
	var all []leaf
	for _, doc := range f.Docs {
		if doc.Body != nil {
			all = walk(all, "", doc.Body)
		}
	}
	return all, nil
}

func walk(all []leaf, key string, n ast.Node) []leaf {
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			all = walk(all, key, v)
		}
		if len(n.Values) > 0 {
			return all
		}
	case *ast.MappingValueNode:
		child := n.Key.String()
		if key != "" {
			child = key + "." + child
		}
		return walk(all, child, n.Value)
	case *ast.SequenceNode:
		for i, v := range n.Values {
			all = walk(all, fmt.Sprintf("%s[%d]", key, i), v)
		}
		if len(n.Values) > 0 {
			return all
		}
	}
	value := strings.TrimSpace(n.String())
	if c := n.GetComment(); c != nil {
		value = strings.TrimSpace(strings.TrimSuffix(value, c.String()))
	}
	return append(all, leaf{key: key, value: value, line: n.GetToken().Position.Line})
}
