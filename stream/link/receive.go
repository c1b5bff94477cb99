package link

import (
	"encoding/binary"
	"time"

	"github.com/watergy/waterfall/stream"
)

const (
	chunkLeast = 2 << 10  // a child sends nothing that is kept
	chunkSize  = 32 << 10 // a parent much
)

// receiver takes the hop's packets as the path reads them, a burst at a time.
type receiver struct {
	l       *Link
	started bool
	next    uint16          // of the hop's sequence numbers
	chunk   []byte          // what packets are cut from: one allocation for many …
	size    int             // … of so many bytes
	held    *stream.History // wakes nobody until the burst is through; nil: none
	come    arrivals
}

// Room is where a packet is opened to: it stays there for as long as it is held.
func (r *receiver) Room(n int) []byte {
	if len(r.chunk) < n {
		r.size = min(max(2*r.size, chunkLeast), chunkSize)
		r.chunk = make([]byte, max(r.size, n))
	}
	return r.chunk[:0:n]
}

// Packet takes one packet of the hop. Our own senders write no padding, extension or CSRC.
func (r *receiver) Packet(b []byte, now time.Time) {
	if len(b) < rtpHeaderSize || b[0] != 0x80 {
		return
	}
	seq := binary.BigEndian.Uint16(b[2:])
	r.come.came(seq, binary.BigEndian.Uint32(b[4:]), len(b), now)
	if r.packet(seq, b[rtpHeaderSize:len(b):len(b)], now) {
		r.chunk = r.chunk[len(b):]
	}
}

// Flush lets the children have what has come.
func (r *receiver) Flush() {
	r.hold(nil)
	r.l.arrived(&r.come, time.Now())
}

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
	if t == nil || t.lean && now.Sub(t.askedAt) > leanTime {
		if now.Sub(l.dropAt) >= dropEvery {
			l.dropAt = now
			l.sendHop(drop{tag: h.Tag}.append(nil))
		}
		l.mu.Unlock()
		return false
	}
	t.count.mediaIn += uint64(len(b))
	hist, lean, resumed := t.h, t.lean, h.Number < t.upTo[h.Track]
	if !lean {
		l.heard(t, now)
		l.flowing(t)
		t.suspect.media = t.suspect.media || !resumed // what a history holds may come before its proofs
		t.mediaAt = now
	}
	l.mu.Unlock()
	r.hold(hist)
	p := stream.Packet{Header: h, Wire: b, At: now, Via: l.via}
	var isNew bool
	if lean {
		isNew = hist.Lend(p)
	} else {
		isNew = hist.Put(p, resumed)
	}
	if !isNew || h.Track == stream.ManifestTrack {
		l.suspect(hist)
	}
	return isNew
}
