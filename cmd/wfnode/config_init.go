package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/watergy/waterfall/node/home"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Set up config.toml",
		Args:  knownCommand,
		RunE:  showHelp,
	}
	var at homeFlags
	var show bool
	start := &cobra.Command{
		Use:   "init",
		Short: "Write a config.toml with every setting, explained and commented out",
		Long: `Write a config.toml into the home directory: every setting with what it does and its
default, commented out. A file that is there stays. --stdout only shows it.`,
		Args: takes(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			text := configTemplate(cmd.Root())
			if show {
				_, err := cmd.OutOrStdout().Write(text)
				return err
			}
			h, err := home.Open(at.dir)
			if err != nil {
				return err
			}
			path := filepath.Join(h.Dir(), configFile)
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%s is there already (hint: wfnode config init --stdout shows what would be written)", path)
			}
			if err != nil {
				return fmt.Errorf("write the configuration: %w", err)
			}
			_, err = f.Write(text)
			if err := errors.Join(err, f.Close()); err != nil {
				return fmt.Errorf("write the configuration: %w", err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), path)
			return nil
		},
	}
	at.add(start.Flags())
	start.Flags().BoolVar(&show, "stdout", false, "print it instead")
	cmd.AddCommand(start)
	return cmd
}

// oneOff are flags that make no sense in a file that is for every run.
var oneOff = [...]string{"all", "for", "input", "json", "loop", "name", "nodes", "open", "record", "start"}

// configTemplate is a config.toml in which every setting of the commands that run a
// node is explained and commented out.
func configTemplate(root *cobra.Command) []byte {
	flags := map[string]*pflag.Flag{}
	used := map[string][]string{}
	for _, cmd := range root.Commands() {
		if !slices.Contains([]string{"run", "join", "speak", "bootstrap"}, cmd.Name()) {
			continue
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "home" && f.Name != "help" && !slices.Contains(oneOff[:], f.Name) {
				flags[f.Name] = f
				used[f.Name] = append(used[f.Name], cmd.Name())
			}
		})
	}
	var b bytes.Buffer
	b.WriteString(`# Settings of wfnode for every node that runs on this home. They are named like the
# flags; a flag beats WFNODE_… in the environment, which beats this file. Take the # away
# from what you change.
`)
	var names []string
	for name := range flags {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f := flags[name]
		value, usage := pflag.UnquoteUsage(f)
		only := ""
		if len(used[name]) < 4 {
			only = " (" + strings.Join(used[name], ", ") + ")"
		}
		fmt.Fprintf(&b, "\n# %s%s\n#%s = %s\n", usage, only, name, tomlDefault(f, value))
	}
	return b.Bytes()
}

// tomlDefault is a flag's default, or an example where there is none, as TOML.
func tomlDefault(f *pflag.Flag, placeholder string) string {
	switch _, list := f.Value.(pflag.SliceValue); {
	case list:
		return fmt.Sprintf("[%q]", placeholder)
	case f.Value.Type() == "bool" || f.Value.Type() == "int":
		return f.DefValue
	case f.DefValue != "":
		return fmt.Sprintf("%q", f.DefValue)
	}
	return fmt.Sprintf("%q", placeholder)
}

// completeRooms proposes the rooms made here where a ROOM is asked for.
func completeRooms(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || fillFlags(cmd, nil) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	h, err := home.Open(cmd.Flag("home").Value.String())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	rooms, err := h.Rooms()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, r := range rooms {
		names = append(names, r.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// complete adds to every command what a shell may propose: rooms, and the words that a
// flag knows.
func complete(cmd *cobra.Command) {
	words := map[string][]string{
		"signal": {"both", "gossip", "dht"}, "log-level": {"debug", "info", "warn", "error"},
		"log-format": {"text", "json"}, "input": {"test", "whip", "rtsp", "file:"},
		"console": {"none", "127.0.0.1:0"}, "stun": {"none"}, "bootstrap": {"none"},
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if list := words[f.Name]; list != nil {
			err := cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp))
			if err != nil {
				panic(err) // the flag is there, and this is the first time
			}
		}
	})
	if strings.Contains(cmd.Use, "ROOM") {
		cmd.ValidArgsFunction = completeRooms
	}
	for _, c := range cmd.Commands() {
		complete(c)
	}
}
