package link

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/vnet"
	"github.com/watergy/waterfall/stream"
)

// lateness of the video packets that a history gets, against their publication.
type lateness struct {
	mu   sync.Mutex
	late []time.Duration
	keys int
	at   time.Time // of the newest
}

// watch notes it until ctx ends.
func (x *lateness) watch(ctx context.Context, from, h *stream.History) {
	c := h.CursorAt(h.Resume())
	buf := make([]stream.Packet, 16)
	for {
		n, err := c.Next(ctx, buf)
		if err != nil {
			return
		}
		x.mu.Lock()
		for _, p := range buf[:n] {
			if sent, ok := from.Get(p.Track, p.Number); ok && p.Track == 1 {
				x.late = append(x.late, p.At.Sub(sent.At))
				x.at = p.At
				if p.KeyStart {
					x.keys++
				}
			}
		}
		x.mu.Unlock()
	}
}

// quantile of what was noted since the last call, which forgets it.
func (x *lateness) quantile(q float64) (d time.Duration, n, keys int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	slices.Sort(x.late)
	if n = len(x.late); n > 0 {
		d = x.late[min(int(q*float64(n)), n-1)]
	}
	keys = x.keys
	x.late, x.keys = nil, 0
	return d, n, keys
}

// TestThinChild is issue 4, "congestion": of three children one has half the downlink that
// the stream needs. It stays within about a second of live by skipping; its
// siblings lose nothing and get everything in time.
func TestThinChild(t *testing.T) {
	const way, kids = 20 * time.Millisecond, 3
	vnet.Run(t, vnet.Config{Seed: 1, DefaultDelay: way}, func(t *testing.T, n *vnet.Network) {
		src := newSpeaker(t)
		defer src.pub.Close()
		stop := src.talk(t) // 2 Mbit/s of payload
		defer stop()
		parent := virtual(t, n, "1.2.3.1", vnet.HostConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		var down [kids]*Link
		var far [kids]*stream.History
		var seen [kids]lateness
		for i := range kids {
			cfg := vnet.HostConfig{}
			if i == 0 {
				cfg.Down, cfg.Queue = 1_200_000, 300*time.Millisecond
			}
			child := virtual(t, n, fmt.Sprintf("1.2.3.%d", 10+i), cfg)
			var up *Link
			down[i], up = pair(t, child, parent)
			down[i].Serve(src.h)
			far[i] = src.far()
			up.Take(far[i])
			child.wait(up, Flowing)
			wg.Go(func() { seen[i].watch(ctx, src.h, far[i]) })
		}
		time.Sleep(5 * time.Second)
		for i := range seen {
			seen[i].quantile(0)
		}
		before := down[0].Stats()
		time.Sleep(20 * time.Second)
		after := down[0].Stats()
		worst, got, keys := seen[0].quantile(0.99)
		t.Logf("thin: %d packets, %d key starts, p99 %v late, %d skipped, %d repairs, limit %d, queue %v",
			got, keys, worst, after.Skipped-before.Skipped, after.Repairs-before.Repairs, after.Limit, after.Queue)
		if worst > lagMost+700*time.Millisecond || got < 20*250/3 || keys < 20 || after.Skipped == before.Skipped {
			t.Errorf("thin: %d packets, %d key starts, p99 %v late, %d skipped", got, keys, worst, after.Skipped-before.Skipped)
		}
		if again := after.Repairs - before.Repairs; again > uint64(got)/5 {
			t.Errorf("%d packets were sent again to a child that gets %d", again, got)
		}
		for i := 1; i < kids; i++ {
			worst, got, _ := seen[i].quantile(1)
			t.Logf("sibling: %d packets, at most %v late, %+v", got, worst, down[i].Stats())
			if got < 20*250-10 || worst > way+5*time.Millisecond || video(far[i]).Lost > 0 || down[i].Stats().Skipped > 0 {
				t.Errorf("a sibling got %d packets, at most %v late: %+v", got, worst, video(far[i]))
			}
		}
	})
}
