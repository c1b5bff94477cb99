package linkbench

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/link"
)

const (
	videoTrack = stream.Track(1)
	audioTrack = stream.Track(2)
	frames     = 30 // a second
	frameSize  = 9  // packets
	keySize    = 45 // packets
	keyEvery   = 60 // frames
	videoBytes = 1154
	lastBytes  = 600 // of a frame's last packet
	audioBytes = 96
)

// load is the speaker and the children.
type load struct {
	engine   *link.Engine
	h        *stream.History
	pub      *stream.Publisher
	key      ed25519.PublicKey
	children []*child
	events   map[*link.Link]chan link.Event
	mu       sync.Mutex // guards events
	wg       sync.WaitGroup
}

// child is one bare link and what came over it.
type child struct {
	h    *stream.History
	up   *link.Link
	mu   sync.Mutex // guards late
	late []time.Duration
}

func newLoad() (*load, error) {
	engine, err := link.NewEngine(link.Config{Loopback: true})
	if err != nil {
		return nil, err
	}
	seal, err := stream.NewSealer([16]byte{1}, 1)
	if err != nil {
		return nil, err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	l := &load{engine: engine, key: public, events: map[*link.Link]chan link.Event{}}
	l.h = stream.NewHistory(stream.ID{0xbe, 0x4c}, stream.HistoryConfig{})
	l.pub = stream.NewPublisher(l.h, seal)
	l.pub.Sign(private)
	l.wg.Go(l.listen)
	return l, l.pub.SetTracks(stream.Catalog{Tracks: []stream.TrackInfo{
		{Track: videoTrack, Kind: "video", Codec: "H264", ClockRate: 90000},
		{Track: audioTrack, Kind: "audio", Codec: "opus", ClockRate: 48000, Channels: 2},
	}})
}

// listen hands the engine's events to those who wait for one.
func (l *load) listen() {
	for ev := range l.engine.Events() {
		l.mu.Lock()
		c := l.events[ev.Link]
		l.mu.Unlock()
		if c != nil && (ev.Kind == link.Up || ev.Kind == link.Flowing || ev.Kind == link.Down) {
			select {
			case c <- ev:
			default:
			}
		}
	}
}

// close ends the load.
func (l *load) close() error {
	err := l.engine.Close()
	l.wg.Wait()
	return err
}

// ask is a request for the load's stream.
func (l *load) ask(op string, theirs []byte) request {
	id := l.h.ID()
	return request{Op: op, Link: theirs, Stream: id[:], Key: l.key}
}

// connect makes a link to relay, which takes from it or serves it.
func (l *load) connect(ctx context.Context, relay *relayProcess, op string, use func(*link.Link), until link.EventKind) error {
	up, offer, err := l.engine.Offer(ctx)
	if err != nil {
		return err
	}
	news := make(chan link.Event, 4)
	l.mu.Lock()
	l.events[up] = news
	l.mu.Unlock()
	r, err := relay.ask(l.ask(op, offer.Append(nil)))
	if err != nil {
		return err
	}
	d, _, err := link.ParseDescription(r.Link)
	if err != nil {
		return err
	}
	if err := up.Accept("relay", d); err != nil {
		return err
	}
	use(up)
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("no link to the relay: %w", ctx.Err())
		case ev := <-news:
			switch ev.Kind {
			case link.Down:
				return fmt.Errorf("the link to the relay went down: %w", ev.Err)
			case until:
				return nil
			}
		}
	}
}

// speak publishes until ctx ends.
func (l *load) speak(ctx context.Context) {
	tick := time.NewTicker(time.Second / frames)
	sound := time.NewTicker(time.Second / 50)
	defer tick.Stop()
	defer sound.Stop()
	body := make([]byte, videoBytes)
	for frame, beat := uint32(0), uint32(0); ; {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-sound.C:
			err = l.pub.Write(audioTrack, beat*960, true, false, body[:audioBytes])
			beat++
		case <-tick.C:
			n := frameSize
			if frame%keyEvery == 0 {
				n = keySize
			}
			for i := range n {
				b := body
				if i == n-1 {
					b = body[:lastBytes]
				}
				err = l.pub.Write(videoTrack, frame*3000, i == n-1, n == keySize && i == 0, b)
			}
			frame++
		}
		if err != nil {
			return
		}
	}
}

// watch notes how late each packet reaches c.
func (c *child) watch(ctx context.Context, src *stream.History) {
	cur := c.h.CursorAt(nil)
	defer cur.Close()
	var buf [64]stream.Packet
	for {
		n, err := cur.Next(ctx, buf[:])
		if err != nil {
			return
		}
		c.mu.Lock()
		for _, p := range buf[:n] {
			if o, ok := src.Get(p.Track, p.Number); ok && p.Track != stream.CatalogTrack {
				c.late = append(c.late, p.At.Sub(o.At))
			}
		}
		c.mu.Unlock()
	}
}

// received is how many packets have reached the children, and how many are missing.
func (l *load) received() (n, lost uint64) {
	for _, c := range l.children {
		for _, s := range c.h.Stats() {
			n += s.Received
			lost += s.Lost
		}
		for _, r := range c.h.Missing(time.Now(), 100*time.Millisecond, 1000) {
			lost += r.To - r.From
		}
	}
	return n, lost
}

func measure(ctx context.Context, cfg Config, relay *relayProcess) (res Result, err error) {
	l, err := newLoad()
	if err != nil {
		return res, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		err = errors.Join(err, l.close())
	}()
	res.Children = cfg.Children
	var up *link.Link
	if err := l.connect(ctx, relay, "take", func(first *link.Link) { up = first; up.Serve(l.h) }, link.Up); err != nil {
		return res, err
	}
	l.wg.Go(func() { l.speak(ctx) })
	if err := wait(ctx, 500*time.Millisecond); err != nil {
		return res, err
	}
	if err := l.join(ctx, relay, cfg.Children, &res); err != nil {
		return res, err
	}
	if err := wait(ctx, cfg.Warm); err != nil {
		return res, err
	}
	for _, c := range l.children {
		c.forget()
	}
	before, err := relay.ask(request{Op: "usage"})
	if err != nil {
		return res, err
	}
	start, n0 := time.Now(), uint64(0)
	n0, _ = l.received()
	if err := look(ctx, cfg, relay); err != nil {
		return res, err
	}
	after, err := relay.ask(request{Op: "usage"})
	if err != nil {
		return res, err
	}
	took := time.Since(start).Seconds()
	n1, lost := l.received()
	cpu := after.Usage.CPU - before.Usage.CPU
	n := float64(n1 - n0)
	res.Lost, res.Seconds = lost, took
	res.Skipped = after.Usage.Skipped + up.Stats().Skipped*uint64(cfg.Children) // what the relay lacks, all lack
	res.CPUPercent = 100 * cpu.Seconds() / took
	res.SwitchesPerS = float64(after.Usage.Switches-before.Usage.Switches) / took
	if n > 0 {
		res.PacketsIn = n / took / float64(cfg.Children)
		res.CPUPerPacket = float64(cpu.Microseconds()) / n
		res.AllocsPacket = float64(after.Usage.Mallocs-before.Usage.Mallocs) / n
	}
	res.LatencyP50, res.LatencyP99 = l.latency()
	return res, nil
}

// look lets cfg.For pass, and looks at the relay now and then.
func look(ctx context.Context, cfg Config, relay *relayProcess) error {
	if cfg.Look == nil || cfg.Every <= 0 {
		return wait(ctx, cfg.For)
	}
	for at := cfg.Every; at <= cfg.For; at += cfg.Every {
		if err := wait(ctx, cfg.Every); err != nil {
			return err
		}
		r, err := relay.ask(request{Op: "heap"})
		if err != nil {
			return err
		}
		cfg.Look(at, r.Usage)
	}
	return nil
}

// join adds the children one after the other.
func (l *load) join(ctx context.Context, relay *relayProcess, children int, res *Result) error {
	before, err := relay.ask(request{Op: "heap"})
	if err != nil {
		return err
	}
	var took time.Duration
	for range children {
		start := time.Now()
		if err := l.joinOne(ctx, relay); err != nil {
			return err
		}
		took += time.Since(start)
	}
	after, err := relay.ask(request{Op: "usage"})
	if err != nil || children == 0 {
		return err
	}
	live, err := relay.ask(request{Op: "heap"})
	if err != nil {
		return err
	}
	n := float64(children)
	res.JoinMillis = took.Seconds() * 1000 / n
	res.CPUJoinMillis = (after.Usage.CPU - before.Usage.CPU).Seconds() * 1000 / n
	res.MiBPerChild = (float64(after.Usage.RSS) - float64(before.Usage.RSS)) / n / (1 << 20)
	res.LiveMiBChild = (float64(live.Usage.Heap) - float64(before.Usage.Heap)) / n / (1 << 20)
	return nil
}

// joinOne adds a child.
func (l *load) joinOne(ctx context.Context, relay *relayProcess) error {
	c := &child{h: stream.NewHistory(l.h.ID(), stream.HistoryConfig{})}
	if err := l.connect(ctx, relay, "serve", func(up *link.Link) { c.up = up; up.Take(c.h) }, link.Flowing); err != nil {
		return err
	}
	l.children = append(l.children, c)
	l.wg.Go(func() { c.watch(ctx, l.h) })
	return nil
}

// latency is the median and the 99th percentile, in milliseconds.
func (l *load) latency() (p50, p99 float64) {
	var all []time.Duration
	for _, c := range l.children {
		c.mu.Lock()
		all = append(all, c.late...)
		c.mu.Unlock()
	}
	return percentiles(all)
}

// percentiles are the median and the 99th, in milliseconds; it sorts all.
func percentiles(all []time.Duration) (p50, p99 float64) {
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return ms(all[len(all)/2]), ms(all[len(all)*99/100])
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
