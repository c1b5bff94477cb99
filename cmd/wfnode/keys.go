package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/watergy/waterfall/dht"
	"github.com/watergy/waterfall/dht/pgp"
)

// maxSecretFile bounds what is read of a file with a password, maxKeyFile with keys.
const (
	maxSecretFile = 4 << 10
	maxKeyFile    = 16 << 20
)

// keyFlags are those of every command that enters a room: what opens a closed one.
type keyFlags struct {
	passwordFile, pgpKey, passphraseFile string
	gpg                                  bool

	keys dht.Keys // loaded
}

func (f *keyFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.passwordFile, "password-file", "", "`FILE` with the room's password on its first line, or - to be asked")
	fs.StringVar(&f.pgpKey, "pgp-key", "", "`FILE` with the OpenPGP private key that the room admits")
	fs.StringVar(&f.passphraseFile, "pgp-passphrase-file", "", "`FILE` with the passphrase of --pgp-key (default: asked)")
	fs.BoolVar(&f.gpg, "gpg", false, "let gpg and its agent use the OpenPGP key that the room admits")
}

// load reads the keys before anything runs.
func (f *keyFlags) load(cmd *cobra.Command) (err error) {
	if f.pgpKey != "" && f.gpg {
		return usagef("--pgp-key and --gpg are two ways to the same (hint: give one)")
	}
	if f.passwordFile != "" {
		if f.keys.Password, err = readPassword(cmd, f.passwordFile, "Password of the room: "); err != nil {
			return err
		}
		if len(f.keys.Password) == 0 {
			return usagef("%s is empty (hint: put the room's password on its first line)", f.passwordFile)
		}
	}
	switch {
	case f.gpg:
		f.keys.PGP = &pgp.GPG{}
	case f.pgpKey != "":
		b, err := readLimited(f.pgpKey, maxKeyFile)
		if err != nil {
			return fmt.Errorf("--pgp-key: %w", err)
		}
		key, err := pgp.ReadKeyFile(b, func() ([]byte, error) {
			from := f.passphraseFile
			if from == "" {
				from = "-"
			}
			return readPassword(cmd, from, "Passphrase of "+f.pgpKey+": ")
		})
		switch {
		case errors.Is(err, pgp.ErrNotOurs):
			return refusedf("--pgp-key %s: the passphrase is wrong (hint: it is that of the key, not the room's)", f.pgpKey)
		case err != nil:
			return usagef("--pgp-key %s: %w", f.pgpKey, err)
		}
		f.keys.PGP = key
	}
	return nil
}

// open fetches a room and opens it. A person at a terminal who gave no password is asked
// when it turns out that the room has one.
func (f *keyFlags) open(ctx context.Context, host *dht.Host, id peer.ID) (*dht.Room, error) {
	room, err := fetchRoom(ctx, host, id, f.keys)
	if errors.Is(err, dht.ErrNeedsPassword) && onTerminal() {
		if f.keys.Password, err = askTerminal("Password of the room: "); err != nil {
			return nil, err
		}
		room, err = fetchRoom(ctx, host, id, f.keys)
	}
	return room, err
}

// readPassword reads the first line of a file, or if it is called - asks at the terminal.
func readPassword(cmd *cobra.Command, path, prompt string) ([]byte, error) {
	if path == "-" {
		if !onTerminal() {
			return nil, usagef("there is no terminal to ask at (hint: name a file instead of -)")
		}
		return askTerminal(prompt)
	}
	b, err := readLimited(path, maxSecretFile)
	if err != nil {
		return nil, fmt.Errorf("read a password: %w (hint: the file holds it on its first line)", err)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "wfnode: warning: %s can be read by others\nhint: chmod 600 %s\n", path, path)
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if !utf8.Valid(line) {
		return nil, usagef("%s is not text (hint: it holds a password on its first line, in UTF-8)", path)
	}
	return line, nil
}

func onTerminal() bool { return term.IsTerminal(int(os.Stdin.Fd())) }

// askTerminal asks without showing what is typed, from before the question is to be seen.
// The question goes to standard error: standard output may be read by a program.
func askTerminal(prompt string) ([]byte, error) {
	fd := int(os.Stdin.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("read from the terminal: %w", err)
	}
	defer term.Restore(fd, before)
	both := struct {
		io.Reader
		io.Writer
	}{os.Stdin, os.Stderr}
	text, err := term.NewTerminal(both, "").ReadPassword(prompt)
	if errors.Is(err, io.EOF) { // Ctrl-C and Ctrl-D
		return nil, usagef("nothing was typed (hint: name a file that holds it)")
	}
	if err != nil {
		return nil, fmt.Errorf("read from the terminal: %w", err)
	}
	return []byte(text), nil
}

// readLimited reads a file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", path, info.Size(), limit)
	}
	return os.ReadFile(path)
}
