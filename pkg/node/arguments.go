package node

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Arguments checks that a command has the arguments that it wants, by name, and no more. Flags may stand behind them
// too, where people put them; the library stops reading flags at the first argument. The error is one of wrong usage.
func Arguments(c *cli.Context, want ...string) error {
	if c.NArg() < len(want) {
		return usageError(c, fmt.Errorf("want %s", strings.Join(want, " and ")), true)
	}
	rest := c.Args().Slice()[len(want):]
	for len(rest) > 0 {
		name, value, joined := strings.Cut(strings.TrimLeft(rest[0], "-"), "=")
		flag := flagNamed(c, name)
		if !strings.HasPrefix(rest[0], "-") || flag == nil {
			return usageError(c, fmt.Errorf("%q is not expected behind %s", rest[0], strings.Join(want, " and ")), true)
		}
		rest = rest[1:]
		switch takesValue := flag.(cli.DocGenerationFlag).TakesValue(); {
		case joined:
		case !takesValue:
			value = "true"
		case len(rest) == 0:
			return usageError(c, fmt.Errorf("--%s wants a value", name), true)
		default:
			value, rest = rest[0], rest[1:]
		}
		if err := c.Set(flag.Names()[0], value); err != nil {
			return usageError(c, fmt.Errorf("--%s %q: %w", name, value, err), true)
		}
		if f, ok := flag.(cli.ActionableFlag); ok {
			if err := f.RunAction(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// flagNamed is the flag of the command with that name or alias; nil: there is none.
func flagNamed(c *cli.Context, name string) cli.Flag {
	for _, f := range c.Command.Flags {
		if _, ok := f.(cli.DocGenerationFlag); ok && slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}
