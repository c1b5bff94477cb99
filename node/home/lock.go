package home

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// errLocked is that another process has the lock.
var errLocked = errors.New("locked by another process")

// Lock is the right to run a node on a home. The kernel takes it back when the
// process dies, however it dies.
type Lock struct {
	f *os.File
}

// Lock takes the home for this process; the error names the process that has it.
func (h *Home) Lock() (*Lock, error) {
	f, err := os.OpenFile(h.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the home directory: %w", err)
	}
	err = lockFile(f)
	if errors.Is(err, errLocked) {
		defer f.Close()
		return nil, fmt.Errorf("another node%s is running on %s (hint: give this one a home of its own with --home DIR)", holder(f), h.dir)
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the home directory: %w", err), f.Close())
	}
	return &Lock{f: f}, nil
}

// holder is " (PID n)" as the owner of the lock wrote it; empty if it has not yet.
func holder(f *os.File) string {
	b := make([]byte, 16)
	n, _ := f.ReadAt(b, 0)
	if pid := strings.TrimSpace(string(b[:n])); pid != "" {
		return " (PID " + pid + ")"
	}
	return ""
}

// Release gives the home back.
func (l *Lock) Release() error { return l.f.Close() }
