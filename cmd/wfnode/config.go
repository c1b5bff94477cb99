package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/watergy/waterfall/node/home"
)

// envPrefix begins the environment variables that stand for flags.
const envPrefix = "WFNODE_"

// configFile is looked for in the home directory.
const configFile = "config.toml"

// fillFlags sets the flags of cmd that were not given: from the environment, then
// from the home's config.toml. Commands without --home run no node and are left alone.
func fillFlags(cmd *cobra.Command, _ []string) error {
	fs := cmd.Flags()
	dir := fs.Lookup("home")
	if dir == nil {
		return nil
	}
	if err := fromEnv(fs); err != nil {
		return err
	}
	if dir.Value.String() == "" {
		d, err := home.Default()
		if err != nil {
			return err
		}
		if err := dir.Value.Set(d); err != nil {
			return err
		}
	}
	return fromFile(cmd, filepath.Join(dir.Value.String(), configFile))
}

func fromEnv(fs *pflag.FlagSet) error {
	var errs []error
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "help" {
			return
		}
		key := envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		v := os.Getenv(key)
		if v == "" {
			return
		}
		values := []string{v}
		if _, list := f.Value.(pflag.SliceValue); list {
			values = strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
		}
		if err := set(f, values); err != nil {
			errs = append(errs, usagef("%s=%q: %w", key, v, err))
		}
	})
	return errors.Join(errs...)
}

func fromFile(cmd *cobra.Command, path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	var file map[string]any
	if err := toml.Unmarshal(b, &file); err != nil {
		return usagef("%s: %w", path, err)
	}
	known := configKeys(cmd.Root())
	for key, v := range file {
		if !slices.Contains(known, key) {
			return usagef("%s: there is no setting %q (hint: settings are named like the flags: %s)", path, key, strings.Join(known, ", "))
		}
		f := cmd.Flags().Lookup(key)
		if f == nil || f.Changed {
			continue
		}
		if err := set(f, texts(v)); err != nil {
			return usagef("%s: %s: %w", path, key, err)
		}
	}
	return nil
}

// configKeys are the flags that config.toml may set: those of any command that has a home.
func configKeys(root *cobra.Command) []string {
	var keys []string
	for _, cmd := range allCommands(root) {
		if cmd.Flags().Lookup("home") == nil {
			continue
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "home" && f.Name != "help" {
				keys = append(keys, f.Name)
			}
		})
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func allCommands(root *cobra.Command) []*cobra.Command {
	all := root.Commands()
	for _, cmd := range root.Commands() {
		all = append(all, allCommands(cmd)...)
	}
	return all
}

// set gives a flag a value as if it had been on the command line.
func set(f *pflag.Flag, values []string) error {
	var err error
	if list, ok := f.Value.(pflag.SliceValue); ok {
		err = list.Replace(values)
	} else if len(values) == 1 {
		err = f.Value.Set(values[0])
	} else {
		err = errors.New("takes one value")
	}
	if err == nil {
		f.Changed = true
	}
	return err
}

// texts is a TOML value as it would stand on the command line.
func texts(v any) []string {
	list, ok := v.([]any)
	if !ok {
		return []string{fmt.Sprint(v)}
	}
	var out []string
	for _, e := range list {
		out = append(out, fmt.Sprint(e))
	}
	return out
}
