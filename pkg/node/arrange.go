package node

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Arrange puts the flags of a command line before its arguments, so that people may write them in any order: "hss sim show
// 999700000000001 -o json". What stands behind "--" stays where it is.
func Arrange(app *cli.App, args []string) []string {
	commands := app.Commands
	for i := 1; i < len(args); i++ {
		n := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(args[i]) })
		if n < 0 {
			return args
		}
		if commands = commands[n].Subcommands; len(commands) > 0 {
			continue
		}
		return append(slices.Clone(args[:i+1]), arrange(flagsOf(app, args[1:i+1]), args[i+1:])...)
	}
	return args
}

// flagsOf returns the flags of the command that a path of names leads to.
func flagsOf(app *cli.App, path []string) []cli.Flag {
	commands := app.Commands
	var flags []cli.Flag
	for _, name := range path {
		c := commands[slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(name) })]
		commands, flags = c.Subcommands, c.Flags
	}
	return flags
}

func arrange(known []cli.Flag, args []string) []string {
	var flags, rest []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			rest = append(rest, args[i:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			rest = append(rest, arg)
			continue
		}
		flags = append(flags, arg)
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !hasValue && takesValue(known, name) && i+1 < len(args) {
			i++
			flags = append(flags, args[i])
		}
	}
	return append(flags, rest...)
}

// takesValue says whether a flag's value is the next argument. An unknown one's is not: it is refused anyway.
func takesValue(known []cli.Flag, name string) bool {
	for _, f := range known {
		if slices.Contains(f.Names(), name) {
			_, isBool := f.(*cli.BoolFlag)
			return !isBool
		}
	}
	return false
}
