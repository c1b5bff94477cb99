package vnettest

import (
	"context"
	"sync"
	"time"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/ingest"
)

// The stream of the simulations: 50 packets a second of 1,000 bytes, two a frame, a key
// frame every 2 s. RTP time is in milliseconds.
const (
	feedEvery = 20 * time.Millisecond
	feedSize  = 1000
	feedGroup = 100 // packets
	feedRate  = int64(time.Second / feedEvery * feedSize * 8)
)

// feed publishes it.
func feed(ctx context.Context, to ingest.Target) error { return feedEach(feedEvery)(ctx, to) }

// feedEach publishes a packet each time that every has passed.
func feedEach(every time.Duration) func(context.Context, ingest.Target) error {
	return func(ctx context.Context, to ingest.Target) error { return publish(ctx, to, every) }
}

func publish(ctx context.Context, to ingest.Target, every time.Duration) error {
	pub, err := to.Open(ctx, stream.Catalog{Tracks: []stream.TrackInfo{
		{Track: ingest.VideoTrack, Kind: "video", Codec: "H264", ClockRate: 1000},
	}})
	if err != nil {
		return err
	}
	defer to.Closed(pub)
	tick := time.NewTicker(every)
	defer tick.Stop()
	payload := make([]byte, feedSize)
	for i := 0; ; i++ {
		rtp := uint32(time.Duration(i) * every / time.Millisecond)
		if err := pub.Write(ingest.VideoTrack, rtp, i%2 == 1, i%feedGroup == 0, payload); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// playout is the playout delay that packets are judged by (issue 3, figure 2).
const playout = 500 * time.Millisecond

// probe watches what of the feed comes to a node, and when.
type probe struct {
	started time.Time // the node, as a process

	mu     sync.Mutex // guards what follows
	first  time.Time
	last   time.Time
	gap    time.Duration // the longest time with no packet since mark
	base   time.Duration // least of arrival − media time, on no particular scale
	behind time.Duration // the most that a packet came later than that since mark
	total  uint64
	late   uint64 // too late for a player with such a delay
}

func newProbe() *probe { return &probe{started: time.Now()} }

// watch notes what comes until the stream ends.
func (p *probe) watch(ctx context.Context, c *stream.Cursor) {
	buf := make([]stream.Packet, 64)
	for {
		n, err := c.Next(ctx, buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		for _, k := range buf[:n] {
			if k.Track == ingest.VideoTrack {
				p.add(k)
			}
		}
		p.mu.Unlock()
	}
}

func (p *probe) add(k stream.Packet) {
	if p.first.IsZero() {
		p.first, p.last, p.base = k.At, k.At, 1<<62
	}
	p.gap = max(p.gap, k.At.Sub(p.last))
	p.last = k.At
	since := k.At.Sub(p.started) - time.Duration(k.Time)*time.Millisecond
	if k.At.Sub(p.first) < time.Second { // the history's burst is late by its nature
		p.base = min(p.base, since)
		return
	}
	p.base = min(p.base, since)
	p.total++
	if d := since - p.base; d > playout {
		p.late++
	}
	p.behind = max(p.behind, since-p.base)
}

// mark begins a new measurement of gap and behind.
func (p *probe) mark() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gap, p.behind = 0, 0
}

// reading is what a probe has found out.
type reading struct {
	join        time.Duration // from the start of the process to the first packet; 0: none came
	gap, behind time.Duration // since mark; a gap that still lasts counts
	total, late uint64
}

func (p *probe) read() reading {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := reading{gap: p.gap, behind: p.behind, total: p.total, late: p.late}
	if !p.first.IsZero() {
		r.join = p.first.Sub(p.started)
		r.gap = max(r.gap, time.Since(p.last))
	}
	return r
}
