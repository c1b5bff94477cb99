package stream

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// ErrClosed means that the stream has ended.
var ErrClosed = errors.New("stream has ended")

// Publisher is the speaker's end: it numbers, seals and puts into a History. It is
// safe for concurrent use; numbers of each track begin at 0.
type Publisher struct {
	h *History
	s *Sealer

	mu        sync.Mutex // guards all below, and the order of numbers in h
	next      Marks
	declared  [MaxTracks]bool
	tracks    []TrackInfo
	catalog   []byte // encoded
	catalogAt time.Time
	closed    bool
	resealAt  time.Time // from when on the newest epoch is to seal; zero: it does
	sign      *signing  // nil: manifests are not made
}

const catalogEvery = time.Second

// NewPublisher seals with s for stream h.ID(). What it writes is nobody's word but its
// own until Sign is called: then listeners can check it.
func NewPublisher(h *History, s *Sealer) *Publisher {
	h.mu.Lock()
	h.source, h.check = true, nil
	h.mu.Unlock()
	return &Publisher{h: h, s: s}
}

// SetTracks says what the tracks are; it may be called again when they change.
func (p *Publisher) SetTracks(c Catalog) error {
	c.Ended = false
	b, err := c.Append(nil)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	p.tracks, p.catalog, p.declared = slices.Clone(c.Tracks), b, [MaxTracks]bool{}
	for _, t := range c.Tracks {
		p.declared[t.Track] = true
	}
	if p.sign != nil {
		p.sign.every = c.manifestEvery()
	}
	p.putCatalog(time.Now())
	return nil
}

// Write publishes one RTP payload (≤ MaxPayload bytes) of a track. keyStart marks the
// first packet of a video group and nothing else.
func (p *Publisher) Write(t Track, rtpTime uint32, marker, keyStart bool, payload []byte) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("payload of %d bytes, at most %d fit a packet", len(payload), MaxPayload)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return ErrClosed
	case t >= MaxTracks || !p.declared[t]:
		return fmt.Errorf("track %d is not in the catalog", t)
	}
	now := time.Now()
	if !p.resealAt.IsZero() && (keyStart && !now.Before(p.resealAt) || now.Sub(p.resealAt) >= resealWithin) {
		p.s.Advance()
		p.resealAt = time.Time{}
	}
	if keyStart || now.Sub(p.catalogAt) >= catalogEvery {
		p.putCatalog(now)
	}
	p.put(Header{Track: t, Time: rtpTime, Marker: marker, KeyStart: keyStart}, payload, now)
	return nil
}

// resealWithin is how long Reseal waits for a group to begin.
const resealWithin = time.Second

// Reseal makes the publisher seal in the newest epoch of its Sealer from the first group
// that begins at or after at; if none does within a second, from then on.
func (p *Publisher) Reseal(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resealAt = at
}

// KeyframeDue is History.KeyframeDue: the source is to be asked for a keyframe.
func (p *Publisher) KeyframeDue(now time.Time) bool { return p.h.KeyframeDue(now) }

// Close publishes that the stream has ended and ends the history.
func (p *Publisher) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	b, err := Catalog{Tracks: p.tracks, Ended: true}.Append(nil)
	if err != nil {
		return err
	}
	p.catalog = b
	p.putCatalog(time.Now())
	if p.sign != nil {
		p.sign.finish(p, time.Now())
	}
	p.closed = true
	p.h.End()
	return nil
}

// putCatalog publishes the catalog. Caller holds mu.
func (p *Publisher) putCatalog(now time.Time) {
	p.catalogAt = now
	p.put(Header{Track: CatalogTrack, Marker: true}, p.catalog, now)
}

// put numbers, seals and publishes. Caller holds mu.
func (p *Publisher) put(h Header, payload []byte, now time.Time) {
	h.Tag, h.Epoch, h.Number = p.h.id.Tag(), uint8(p.s.Epoch()), p.next[h.Track]
	p.next[h.Track]++
	wire := p.s.Seal(h, payload)
	p.h.Put(Packet{Header: h, Wire: wire, At: now}, false)
	p.signLater(h, wire, now)
}
