// Package home is a node's directory on disk: its identity, the keys and records of
// the rooms made here, the lock that keeps a second node out, and the address of the
// running node's console. It knows no network.
package home

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/libp2p/go-libp2p/core/crypto"
)

// Home is one home directory. The zero value is not usable; see Open.
type Home struct {
	dir string
}

// Default is the home directory of a user who names none: wfnode below the XDG data
// directory (XDG Base Directory Specification: $XDG_DATA_HOME, or ~/.local/share).
func Default() (string, error) {
	if d := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "wfnode"), nil
	}
	h, err := os.UserHomeDir()
	if err != nil {
		return "", errors.New("no home directory is known (hint: name one with --home DIR)")
	}
	return filepath.Join(h, ".local", "share", "wfnode"), nil
}

// Open makes the directory if it is not there, for its owner only.
func Open(dir string) (*Home, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the home directory: %w (hint: name another with --home DIR)", err)
	}
	return &Home{dir: dir}, nil
}

// Dir is where it is.
func (h *Home) Dir() string { return h.dir }

func (h *Home) path(elem ...string) string {
	return filepath.Join(append([]string{h.dir}, elem...)...)
}

// Identity is the node's Ed25519 key (file "identity", libp2p's protobuf form, mode
// 0600); the first call makes it.
func (h *Home) Identity() (crypto.PrivKey, error) {
	path := h.path("identity")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return h.makeIdentity(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the identity: %w", err)
	}
	key, err := crypto.UnmarshalPrivateKey(b)
	if err != nil || key.Type() != crypto.Ed25519 {
		return nil, fmt.Errorf("%s holds no Ed25519 key (hint: move it away and a new one is made)", path)
	}
	return key, nil
}

func (h *Home) makeIdentity(path string) (crypto.PrivKey, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make an identity: %w", err)
	}
	b, err := crypto.MarshalPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make an identity: %w", err)
	}
	switch err := createPrivate(path, b); {
	case errors.Is(err, fs.ErrExist): // another process was first
		return h.Identity()
	case err != nil:
		return nil, fmt.Errorf("keep the identity: %w", err)
	}
	return key, nil
}

// SetConsole notes where the running node's console is, for `wfnode status`.
func (h *Home) SetConsole(url string) error {
	if err := replacePrivate(h.path("console.addr"), []byte(url+"\n")); err != nil {
		return fmt.Errorf("note the console's address: %w", err)
	}
	return nil
}

// ClearConsole takes the note away again.
func (h *Home) ClearConsole() { os.Remove(h.path("console.addr")) }

// Console is the address that SetConsole noted last.
func (h *Home) Console() (string, error) {
	b, err := os.ReadFile(h.path("console.addr"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("no node with a console is running on %s (hint: name its home with --home DIR, or its address with --console)", h.dir)
	}
	if err != nil {
		return "", fmt.Errorf("find the running node: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// createPrivate writes a new file that only its owner can read, whole or not at all,
// and never over another.
func createPrivate(path string, b []byte) error {
	tmp, err := writeTemp(path, b)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	return os.Link(tmp, path)
}

// replacePrivate is createPrivate over whatever was there.
func replacePrivate(path string, b []byte) error {
	tmp, err := writeTemp(path, b)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return nil
}

// writeTemp leaves b in a file beside path; CreateTemp makes it with mode 0600.
func writeTemp(path string, b []byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}
