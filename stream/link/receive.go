package link

import (
	"time"

	"github.com/watergy/waterfall/stream"
)

const chunkSize = 32 << 10

// receiver takes the hop's packets as the path reads them, a burst at a time.
type receiver struct {
	l       *Link
	started bool
	next    uint16          // of the hop's sequence numbers
	chunk   []byte          // what packets are cut from: one allocation for many
	held    *stream.History // wakes nobody until the burst is through; nil: none
}

// Room is where a packet is opened to: it stays there for as long as it is held.
func (r *receiver) Room(n int) []byte {
	if len(r.chunk) < n {
		r.chunk = make([]byte, max(chunkSize, n))
	}
	return r.chunk[:0:n]
}

// Packet takes one packet of the hop. Our own senders write no padding, extension or CSRC.
func (r *receiver) Packet(b []byte, now time.Time) {
	if len(b) < rtpHeaderSize || b[0] != 0x80 {
		return
	}
	if r.packet(uint16(b[2])<<8|uint16(b[3]), b[rtpHeaderSize:len(b):len(b)], now) {
		r.chunk = r.chunk[len(b):]
	}
}

// Flush lets the children have what has come.
func (r *receiver) Flush() { r.hold(nil) }

// hold keeps h, and no other, from waking anybody.
func (r *receiver) hold(h *stream.History) {
	if r.held == h {
		return
	}
	if r.held != nil {
		r.held.Release()
	}
	if r.held = h; h != nil {
		h.Hold()
	}
}

// packet takes one packet and reports whether it was kept.
func (r *receiver) packet(seq uint16, b []byte, now time.Time) bool {
	lost := r.started && int16(seq-r.next) > 0
	if !r.started || int16(seq-r.next) >= 0 {
		r.started, r.next = true, seq+1
	}
	if lost {
		r.l.hopLoss(now)
	}
	if isHop(b) {
		r.l.count.feedbackIn.Add(uint64(len(b)))
		if m, err := parseHop(b); err == nil {
			r.l.hop(m, now)
		}
		return false
	}
	h, err := stream.ParseHeader(b)
	if err != nil || len(b) > stream.HeaderSize+stream.MaxPayload+stream.SealSize {
		return false
	}
	return r.media(h, b, now)
}

// media puts a packet into the history that it was taken for.
func (r *receiver) media(h stream.Header, b []byte, now time.Time) bool {
	l := r.l
	l.count.mediaIn.Add(uint64(len(b)))
	l.mu.Lock()
	t := l.byTag[h.Tag]
	if t == nil {
		if now.Sub(l.dropAt) >= dropEvery {
			l.dropAt = now
			l.sendHop(drop{tag: h.Tag}.append(nil))
		}
		l.mu.Unlock()
		return false
	}
	l.heard(t, now)
	t.count.mediaIn += uint64(len(b))
	l.flowing(t)
	t.suspect.media = true
	hist, resumed := t.h, h.Number < t.upTo[h.Track]
	l.mu.Unlock()
	r.hold(hist)
	isNew := hist.Put(stream.Packet{Header: h, Wire: b, At: now, Via: l.via}, resumed)
	if !isNew || h.Track == stream.ManifestTrack {
		l.suspect(hist)
	}
	return isNew
}
