// Command wfnode is one node of Waterfall: it makes rooms, speaks, listens and passes
// on, or volunteers as a bootstrap node. Each command is a file of its own.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program: it returns the exit code (INTERFACE: 0 well, 1 failed, 2
// bad usage, 3 refused).
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if ctx.Err() != nil && isCanceled(err) {
		err = nil // told to stop while starting
	}
	return report(stderr, err)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "wfnode",
		Short: "A live-stream megaphone without a media server",
		Long: `wfnode streams live from one speaker to many listeners with no media server: every
listener passes the stream on to a few others. Try it on this machine:

  wfnode demo

A flag that is not given is taken from WFNODE_… in the environment (--media-ports is
WFNODE_MEDIA_PORTS), then from config.toml in the home directory (media-ports = "…").`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: fillFlags,
		Args:              knownCommand,
		RunE:              showHelp,
		Version:           versionLine(), // as --version, which many try first
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		msg, _, _ := strings.Cut(err.Error(), ": strconv.") // which says the same in Go's words
		return usagef("%s (hint: %s --help)", msg, cmd.CommandPath())
	})
	root.AddCommand(
		runCommand(), createCommand(), speakCommand(), joinCommand(), bootstrapCommand(), demoCommand(),
		statusCommand(), topCommand(), doctorCommand(), roomCommand(), configCommand(), benchCommand(), idCommand(), versionCommand(),
	)
	complete(root)
	return root
}

// knownCommand is for commands that only hold others.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := cmd.CommandPath() + " --help"
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return usagef("there is no command %q (hint: %s)", strings.TrimSpace(cmd.CommandPath()+" "+args[0]), hint)
}

func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// takes checks the number of arguments; what names them for the error.
func takes(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("%s needs %s (hint: %s --help)", cmd.CommandPath(), what, cmd.CommandPath())
		case len(args) > most:
			return usagef("%s: %q is one argument too many (hint: %s --help)", cmd.CommandPath(), args[most], cmd.CommandPath())
		}
		return nil
	}
}

// report tells the person what went wrong, on one line and its hint on another.
func report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	msg, hint := splitHint(err.Error())
	fmt.Fprintln(w, "wfnode:", msg)
	if hint != "" {
		fmt.Fprintln(w, "hint:", hint)
	}
	return exitCode(err)
}
