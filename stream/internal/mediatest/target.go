// Package mediatest gives tests of inputs and outputs a speaker's end of a stream that
// needs no node.
package mediatest

import (
	"bytes"
	"context"
	"crypto/rand"
	"math"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
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

// Background runs a program until the test ends, and shows what it said if that fails.
func Background(t testing.TB, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", program, out.String())
		}
	})
}

// Sync measures how far sound is behind the picture in what ffmpeg decodes of the test
// clip: its beeps begin where its groups do, at each whole second. args name the input.
func Sync(t testing.TB, ffmpeg string, length time.Duration, args ...string) time.Duration {
	t.Helper()
	args = append(append([]string{"-hide_banner", "-nostats"}, args...), "-t", strconv.FormatFloat(length.Seconds(), 'f', 3, 64),
		"-vf", "showinfo", "-af", "silencedetect=noise=-30dB:duration=0.3", "-f", "null", "-")
	out, ok := Run(t, length+20*time.Second, ffmpeg, args...)
	if !ok {
		t.Fatalf("ffmpeg: %s", out)
	}
	phase := func(expr string) (list []float64) {
		for _, m := range regexp.MustCompile(expr).FindAllStringSubmatch(out, -1) {
			x, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, math.Mod(x, 1))
		}
		if len(list) == 0 {
			t.Fatalf("nothing in ffmpeg's output is like %s\n%s", expr, out)
		}
		slices.Sort(list)
		return list
	}
	keys := phase(`pts_time:([0-9.]+) .*iskey:1`)
	beeps := phase(`silence_end: ([0-9.]+)`)
	d := beeps[len(beeps)/2] - keys[len(keys)/2]
	d -= math.Round(d)
	return time.Duration(d * float64(time.Second))
}
