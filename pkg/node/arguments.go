package node

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// Arguments checks that a command has the arguments that it wants, by name, and no more. The error is one of wrong usage.
func Arguments(c *cli.Context, want ...string) error {
	switch names := strings.Join(want, " and "); {
	case c.NArg() < len(want):
		return usageError(c, fmt.Errorf("want %s", names), true)
	case c.NArg() > len(want):
		return usageError(c, fmt.Errorf("%q is not expected behind %s", c.Args().Get(len(want)), names), true)
	}
	return nil
}
