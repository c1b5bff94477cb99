package stream

import (
	"context"
	"io"
	"sync"
	"time"
)

// Sample is one opened packet for a player.
type Sample struct {
	Track    Track
	Number   uint64
	Time     uint32
	Marker   bool
	KeyStart bool
	Gap      bool // packets before this one were given up
	Payload  []byte
	At       time.Time // of arrival at this node
}

// PlayerConfig says how a player trades delay for completeness. What has to be checked
// waits for its manifest first: Delay is then as long as one covers at least (100 ms,
// 400 ms without video), so that the picture moves evenly, and HoleWait that much longer.
type PlayerConfig struct {
	Delay    time.Duration // playout delay: release at min(arrival − media time) + media time + Delay; 0: at once
	HoleWait time.Duration // how long to wait for a missing number; 0 means max(Delay, 200 ms)
	// Ready, of capacity 1, gets a token when Due may have more; many players can share
	// it. nil: Next is used.
	Ready chan struct{}
}

const (
	defaultHoleWait = 200 * time.Millisecond
	keyWait         = 3 * time.Second // audio waits that long for the first picture, then goes ahead
	playBatch       = 64
)

// Player is a cursor that opens packets and puts them in order per track. Video
// begins at a key start, audio not before it. Next and Catalog may be called from
// two goroutines, each by one.
type Player struct {
	s    *Sealer
	cfg  PlayerConfig
	done chan struct{}
	once sync.Once

	catalogs *Cursor // Catalog's own

	// owned by Next
	media   *Cursor
	buf     [playBatch]Packet
	queues  [MaxTracks]*queue
	checks  bool         // the history proves what is played
	pace    PlayerConfig // cfg with what checking adds
	known   bool         // a catalog has come
	waitKey bool         // nothing goes out before the first key start …
	keyBy   time.Time    // … or this
	endBy   time.Time    // the speaker has ended the stream: nothing repaired is waited for after this
	eof     bool         // nothing more to read
	timer   *time.Timer
}

// NewPlayer plays h, opening packets with s. Close it.
func NewPlayer(h *History, s *Sealer, cfg PlayerConfig) *Player {
	if cfg.HoleWait <= 0 {
		cfg.HoleWait = max(cfg.Delay, defaultHoleWait)
	}
	p := &Player{
		s: s, cfg: cfg, done: make(chan struct{}),
		media:    h.Proven().telling(cfg.Ready),
		catalogs: h.Proven().only(CatalogTrack),
		timer:    time.NewTimer(time.Hour),
	}
	p.timer.Stop()
	p.checks = p.media.play
	return p
}

// Catalog waits for the first (or a newer) catalog than the one last returned. io.EOF
// at the stream's end and after Close.
func (p *Player) Catalog(ctx context.Context) (Catalog, error) {
	var buf [1]Packet
	for {
		n, err := p.catalogs.Poll(buf[:])
		if err != nil {
			return Catalog{}, err
		}
		if n > 0 {
			if c, err := p.openCatalog(buf[0]); err == nil {
				return c, nil
			}
			continue
		}
		select {
		case <-p.catalogs.Ready():
		case <-p.done:
			return Catalog{}, io.EOF
		case <-ctx.Done():
			return Catalog{}, ctx.Err()
		}
	}
}

func (p *Player) openCatalog(pkt Packet) (Catalog, error) {
	b, err := p.s.Open(nil, pkt.Wire)
	if err != nil {
		return Catalog{}, err
	}
	return ParseCatalog(b)
}

// Due appends the packets that are due now to out, in order per track, and says when to
// look again at the latest (zero: when the history has more). io.EOF at the stream's end. The
// samples are the caller's to keep; their payloads are shared with other players: nobody
// may change them.
func (p *Player) Due(now time.Time, out []Sample) ([]Sample, time.Time, error) {
	if err := p.read(); err != nil {
		return out, time.Time{}, err
	}
	p.eof = p.eof || !p.endBy.IsZero() && !p.endBy.After(now)
	n := len(out)
	out, wake := p.due(now, out)
	switch {
	case len(out) > n:
		return out, now, nil
	case p.eof && wake.IsZero():
		return out, wake, io.EOF
	case !p.eof && !p.endBy.IsZero() && (wake.IsZero() || p.endBy.Before(wake)):
		wake = p.endBy
	}
	return out, wake, nil
}

// Next waits until there is something Due.
func (p *Player) Next(ctx context.Context) ([]Sample, error) {
	for {
		out, wake, err := p.Due(time.Now(), nil)
		if err != nil || len(out) > 0 {
			return out, err
		}
		var tick <-chan time.Time
		if !wake.IsZero() {
			p.timer.Reset(time.Until(wake))
			tick = p.timer.C
		}
		ready := p.media.Ready()
		if p.eof {
			ready = nil
		}
		select {
		case <-ready:
		case <-tick:
		case <-p.done:
			return nil, io.EOF
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		p.timer.Stop()
	}
}

// read takes what the history has into the queues.
func (p *Player) read() error {
	for !p.eof {
		n, err := p.media.Poll(p.buf[:])
		if err == io.EOF {
			p.eof = true
		} else if err != nil {
			return err
		}
		for _, pkt := range p.buf[:n] {
			if pkt.Track == CatalogTrack {
				if c, err := p.openCatalog(pkt); err == nil {
					p.learn(c, pkt.At)
				}
			} else if pkt.Track != ManifestTrack {
				p.queue(pkt.Track).put(pkt)
			}
		}
		clear(p.buf[:n])
		if n == 0 {
			break
		}
	}
	return nil
}

func (p *Player) queue(t Track) *queue {
	if p.queues[t] == nil {
		p.queues[t] = &queue{}
	}
	return p.queues[t]
}

// learn takes what the catalog says about the tracks.
func (p *Player) learn(c Catalog, now time.Time) {
	video := false
	for _, t := range c.Tracks {
		q := p.queue(t.Track)
		q.rate, q.video = t.ClockRate, t.Kind == "video"
		video = video || q.video
	}
	if !p.known {
		p.known, p.waitKey, p.keyBy = true, video, now.Add(keyWait)
	}
	if p.pace = p.cfg; p.checks {
		every := c.manifestEvery()
		p.pace.Delay, p.pace.HoleWait = max(p.cfg.Delay, every), p.cfg.HoleWait+every
	}
	if c.Ended && p.endBy.IsZero() {
		p.endBy = now.Add(p.pace.HoleWait)
	}
}

// due opens the packets to be played now, and says when to look again (zero: when
// more has come).
func (p *Player) due(now time.Time, out []Sample) (_ []Sample, wake time.Time) {
	if !p.known {
		return out, wake
	}
	if p.waitKey {
		p.waitKey = p.keyBy.After(now)
		for _, q := range p.queues {
			if q != nil && q.video && q.toKey() {
				p.waitKey = false
			}
		}
	}
	most := len(out) + playBatch
	for _, q := range p.queues {
		switch {
		case q == nil || q.rate == 0:
			continue
		case q.video && !q.started && !q.toKey():
			continue
		case p.waitKey:
			q.clear() // sound from before the picture
			continue
		}
		for len(out) < most {
			pkt, due, gap, at := q.pop(now, p.pace)
			if !due {
				if !at.IsZero() && (wake.IsZero() || at.Before(wake)) {
					wake = at
				}
				break
			}
			payload, err := p.media.h.opened.open(p.s, &pkt)
			if err != nil {
				q.gap = true
				continue
			}
			if out == nil {
				out = make([]Sample, 0, playBatch/4)
			}
			out = append(out, Sample{
				Track: pkt.Track, Number: pkt.Number, Time: pkt.Time,
				Marker: pkt.Marker, KeyStart: pkt.KeyStart, Gap: gap, Payload: payload, At: pkt.At,
			})
		}
	}
	return out, wake
}

// Close ends the player: Next and Catalog return io.EOF.
func (p *Player) Close() {
	p.once.Do(func() {
		close(p.done)
		p.media.Close()
		p.catalogs.Close()
	})
}
