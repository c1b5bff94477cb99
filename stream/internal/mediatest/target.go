// Package mediatest gives tests of inputs and outputs a speaker's end of a stream that
// needs no node.
package mediatest

import (
	"bytes"
	"context"
	"crypto/rand"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/watergy/waterfall/stream"
)

// Target takes one stream after another, as a node does.
type Target struct {
	t testing.TB

	mu      sync.Mutex
	history *stream.History
	sealer  *stream.Sealer
	catalog stream.Catalog
	opened  chan struct{} // closed when a stream is open
	closed  chan struct{} // closed when it has ended
	Deny    error         // of Open
}

// NewTarget is a Target without a stream.
func NewTarget(t testing.TB) *Target {
	return &Target{t: t, opened: make(chan struct{}), closed: make(chan struct{})}
}

// Open implements ingest.Target.
func (t *Target) Open(_ context.Context, c stream.Catalog) (*stream.Publisher, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Deny != nil {
		return nil, t.Deny
	}
	var id stream.ID
	_, _ = rand.Read(id[:])
	s, err := stream.NewSealer([16]byte{1}, 1)
	if err != nil {
		return nil, err
	}
	t.history, t.sealer, t.catalog = stream.NewHistory(id, stream.HistoryConfig{}), s, c
	p := stream.NewPublisher(t.history, s)
	if err := p.SetTracks(c); err != nil {
		return nil, err
	}
	close(t.opened)
	return p, nil
}

// Closed implements ingest.Target.
func (t *Target) Closed(*stream.Publisher) {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.closed)
	t.opened, t.closed = make(chan struct{}), make(chan struct{})
}

// Live is the stream that is open, or nil.
func (t *Target) Live() (*stream.History, *stream.Sealer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.opened:
		return t.history, t.sealer
	default:
		return nil, nil
	}
}

// Wait waits for a stream and returns it.
func (t *Target) Wait(limit time.Duration) (*stream.History, *stream.Sealer, stream.Catalog) {
	t.t.Helper()
	t.mu.Lock()
	opened := t.opened
	t.mu.Unlock()
	select {
	case <-opened:
	case <-time.After(limit):
		t.t.Fatalf("no stream was opened within %v", limit)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.history, t.sealer, t.catalog
}

// WaitEnd waits until the stream that is open has ended.
func (t *Target) WaitEnd(limit time.Duration) {
	t.t.Helper()
	t.mu.Lock()
	opened, closed := t.opened, t.closed
	t.mu.Unlock()
	select {
	case <-opened:
	default:
		return
	}
	select {
	case <-closed:
	case <-time.After(limit):
		t.t.Fatalf("the stream has not ended within %v", limit)
	}
}

// Run runs a program to its end and returns what it said; ok is whether it succeeded.
func Run(t testing.TB, limit time.Duration, program string, args ...string) (out string, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var buf bytes.Buffer
	cmd.Stdout, cmd.Stderr = &buf, &buf
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s took longer than %v\n%s", program, limit, buf.String())
	}
	return buf.String(), err == nil
}
