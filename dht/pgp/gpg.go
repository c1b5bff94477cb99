package pgp

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// GPG is the user's own gpg: its agent unwraps, so a private key never leaves it, or the
// card that it is on.
type GPG struct {
	Program string // "" means gpg
	Home    string // "" means gpg's default, or $GNUPGHOME

	mu   sync.Mutex // guards keys
	keys []gpgKey   // listed once
}

// gpgKey is a private key and its subkeys that decrypt.
type gpgKey struct {
	fingerprint []byte
	decrypts    []uint64 // key IDs
}

// gpgTime bounds a call: a person may have to type a passphrase or touch a card.
const gpgTime = 2 * time.Minute

func (g *GPG) run(ctx context.Context, stdin []byte, args ...string) (out, status []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, gpgTime)
	defer cancel()
	program := g.Program
	if program == "" {
		program = "gpg"
	}
	all := []string{"--batch", "--no-tty", "--status-fd", "2", "--no-auto-key-locate", "--trust-model", "always"}
	if g.Home != "" {
		all = append(all, "--homedir", g.Home)
	}
	cmd := exec.CommandContext(ctx, program, append(all, args...)...)
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, nil, fmt.Errorf("%s is not installed (hint: install GnuPG, or use --pgp-key FILE)", program)
		}
		return stdout.Bytes(), stderr.Bytes(), fmt.Errorf("%s: %w", program, err)
	}
	return stdout.Bytes(), stderr.Bytes(), nil
}

// list asks gpg for its private keys.
func (g *GPG) list(ctx context.Context) ([]gpgKey, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.keys != nil {
		return g.keys, nil
	}
	out, _, err := g.run(ctx, nil, "--with-colons", "--fingerprint", "--list-secret-keys")
	if err != nil {
		return nil, fmt.Errorf("listing your keys: %w", err)
	}
	if g.keys = parseColons(string(out)); len(g.keys) == 0 {
		return nil, errors.New("gpg has no private key (hint: gpg --list-secret-keys shows them)")
	}
	return g.keys, nil
}

// parseColons reads gpg's machine-readable list (doc/DETAILS of GnuPG): fields by
// colons; sec and ssb lines have the key ID in the fifth and capabilities in the
// twelfth field, the fpr line that follows sec its fingerprint in the tenth.
func parseColons(s string) (keys []gpgKey) {
	for l := range strings.Lines(s) {
		f := strings.Split(strings.TrimSpace(l), ":")
		if len(f) < 12 && !(len(f) > 9 && f[0] == "fpr") {
			continue
		}
		switch f[0] {
		case "sec":
			keys = append(keys, gpgKey{})
			fallthrough
		case "ssb":
			id, err := strconv.ParseUint(f[4], 16, 64)
			if k := len(keys) - 1; k >= 0 && err == nil && strings.Contains(f[11], "e") {
				keys[k].decrypts = append(keys[k].decrypts, id)
			}
		case "fpr":
			if k := len(keys) - 1; k >= 0 && keys[k].fingerprint == nil {
				keys[k].fingerprint, _ = hex.DecodeString(f[9])
			}
		}
	}
	return keys
}

// Fingerprints implements Owner.
func (g *GPG) Fingerprints(ctx context.Context) ([][]byte, error) {
	keys, err := g.list(ctx)
	if err != nil {
		return nil, err
	}
	var list [][]byte
	for _, k := range keys {
		list = append(list, k.fingerprint)
	}
	return list, nil
}

// Unwrap implements Owner. When it is known whose key is meant, gpg is told, so that it
// does not ask for the passphrases of all others.
func (g *GPG) Unwrap(ctx context.Context, fingerprint []byte, keys [][]byte, data []byte) ([]byte, error) {
	if fingerprint == nil {
		return g.decrypt(ctx, message(keys, data))
	}
	owned, err := g.list(ctx)
	if err != nil {
		return nil, err
	}
	err = ErrNotOurs
	for _, o := range owned {
		if !bytes.Equal(o.fingerprint, fingerprint) {
			continue
		}
		for _, k := range keys {
			for _, id := range o.decrypts {
				named := slices.Clone(k)
				if !address(named, id) {
					continue
				}
				var plain []byte
				if plain, err = g.decrypt(ctx, message([][]byte{named}, data)); err == nil {
					return plain, nil
				}
			}
		}
	}
	return nil, err
}

func (g *GPG) decrypt(ctx context.Context, msg []byte) ([]byte, error) {
	out, status, err := g.run(ctx, msg, "--decrypt")
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	// gpg ends with an error, too, if it has tried other keys of the user's before the right one.
	// And it passes on what was never encrypted.
	if said(status, "DECRYPTION_OKAY") && said(status, "GOODMDC") && len(out) <= maxSecret {
		return out, nil
	}
	if err == nil || said(status, "NO_SECKEY") || said(status, "DECRYPTION_FAILED") {
		return nil, fmt.Errorf("%w (gpg: decryption failed)", ErrNotOurs)
	}
	return nil, err
}

// said says whether gpg's status has a line that begins so.
func said(status []byte, word string) bool {
	return bytes.Contains(append([]byte{'\n'}, status...), []byte("\n[GNUPG:] "+word))
}
