package node

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// Exit codes of every command line.
const (
	ExitDone        = 0
	ExitRefused     = 1 // the node refused, or the command failed
	ExitUsage       = 2 // wrong usage, or a configuration with faults
	ExitUnreachable = 3 // the node did not answer
)

// SocketFlag returns the flag that names the admin socket for the commands of the node called name.
func SocketFlag(name string) cli.Flag {
	return &cli.StringFlag{
		Name: "socket", Value: DefaultConfig(name).AdminSocket,
		EnvVars: []string{"XEPC_SOCKET"},
		Usage:   "`PATH` of the running node's admin socket (admin_socket of its configuration)",
	}
}

// ClientFor returns a client of the node that SocketFlag names.
func ClientFor(c *cli.Context) *Client { return NewClient(c.String("socket")) }

// Version is what the program was built from, as Go stamped it: the version or commit, and the Go release.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version + " " + info.GoVersion
}

// Prepare gives app the flag --version, and makes it and all its commands answer wrong usage alike: an error that says
// where the help is, and ExitUsage. An argument is wrong usage for a command whose ArgsUsage is empty.
func Prepare(app *cli.App) *cli.App {
	app.HideVersion = true // the library would put it into the help, and take -v
	app.Flags = append(app.Flags, &cli.BoolFlag{Name: "version", Usage: "print the version and end", DisableDefaultText: true})
	app.ExitErrHandler = func(*cli.Context, error) {} // ExitCode decides
	app.OnUsageError = usageError
	app.Action = unknownCommand
	prepare(app.Commands)
	return app
}

func prepare(commands []*cli.Command) {
	for _, c := range commands {
		c.OnUsageError = usageError
		switch {
		case c.Action == nil:
			c.Action = unknownCommand
		case c.ArgsUsage == "":
			c.Action = withoutArguments(c.Action)
		}
		prepare(c.Subcommands)
	}
}

func usageError(c *cli.Context, err error, _ bool) error {
	return cli.Exit(fmt.Sprintf("%v: see %s --help", err, name(c)), ExitUsage)
}

func withoutArguments(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.Args().Present() {
			return cli.Exit(fmt.Sprintf("%s takes no argument, not %q: see %s --help", name(c), c.Args().First(), name(c)), ExitUsage)
		}
		return action(c)
	}
}

func unknownCommand(c *cli.Context) error {
	if c.Bool("version") {
		_, err := fmt.Fprintf(c.App.Writer, "%s %s\n", c.App.Name, Version())
		return err
	}
	if c.Args().Present() {
		return cli.Exit(fmt.Sprintf("%q is no command of %s: see %s --help", c.Args().First(), name(c), name(c)), ExitUsage)
	}
	if c.Command != nil && len(c.Command.Subcommands) > 0 {
		return cli.ShowSubcommandHelp(c)
	}
	return cli.ShowAppHelp(c)
}

func name(c *cli.Context) string {
	if c.Command != nil && c.Command.HelpName != "" {
		return c.Command.HelpName
	}
	return c.App.Name
}

// ExitCode maps the error of a command to the code that the process ends with.
func ExitCode(err error) int {
	var coder cli.ExitCoder
	var unreachable *Unreachable
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &coder):
		return coder.ExitCode()
	case errors.As(err, &unreachable):
		return ExitUnreachable
	}
	return ExitRefused
}

// Main runs app with the process's arguments and ends the process.
func Main(app *cli.App) {
	err := Prepare(app).Run(Arrange(app, os.Args))
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", app.Name, err)
	}
	os.Exit(ExitCode(err))
}
