package stream

import (
	"crypto/ed25519"
	"time"
)

const (
	maxBatch = 1024 // packets that wait for a manifest: more than 80 Mbit/s are signed sooner
	// sums that a manifest with one run has room for
	sumsRoom = MaxPayload - manifestHead - ed25519.SignatureSize
)

// signing is what a Publisher has yet to sign. The publisher's mutex guards it.
type signing struct {
	key    ed25519.PrivateKey
	sums   *summer
	every  time.Duration
	due    time.Time // of the next batch; zero: nothing waits
	count  int
	batch  [MaxTracks]span
	copies [][]byte    // of the last batch, that have yet to leave a second time
	timer  *time.Timer // for when no packet comes that would notice that it is due
}

// Sign makes the publisher sign what it sends from now on with the speaker's key: a
// manifest every 100 ms (400 ms when there is no video), sent twice. Call it once, before
// SetTracks.
func (p *Publisher) Sign(key ed25519.PrivateKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sign = &signing{key: key, sums: newSummer(p.h.id), every: manifestEveryAudio}
	p.sign.timer = time.AfterFunc(time.Hour, p.signDue)
	p.sign.timer.Stop()
}

// signDue is the timer's.
func (p *Publisher) signDue() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.signBatch(time.Now())
	}
}

// signLater takes a packet into the batch. Caller holds mu.
func (p *Publisher) signLater(h Header, wire []byte, now time.Time) {
	s := p.sign
	if s == nil {
		return
	}
	r := &s.batch[h.Track]
	if len(r.sums) == 0 {
		r.track, r.from = h.Track, h.Number
	}
	x := s.sums.sum(wire)
	r.sums = append(r.sums, x[:]...)
	s.count++
	switch {
	case s.due.IsZero():
		s.arm(now)
	case s.count >= maxBatch || !s.due.After(now):
		p.signBatch(now)
	}
}

func (s *signing) arm(now time.Time) {
	s.due = now.Add(s.every)
	s.timer.Reset(s.every)
}

// signBatch sends the copies of the last batch, then what has been sent since. The
// copies' numbers follow at once on those of their originals. Caller holds mu.
func (p *Publisher) signBatch(now time.Time) {
	s := p.sign
	for _, wire := range s.copies {
		h := manifestHeader(p.h.id, p.s.Epoch(), p.next[ManifestTrack])
		h.Epoch = wire[1] // as signed, whatever the seal's is by now
		p.next[ManifestTrack]++
		p.h.Put(Packet{Header: h, Wire: copyOf(wire, h), At: now}, false)
	}
	s.copies = s.copies[:0]
	parts := s.split(p.s.Epoch(), p.next[ManifestTrack])
	for _, m := range parts {
		wire := m.seal(p.h.id, s.key)
		p.next[ManifestTrack]++
		p.h.Put(Packet{Header: manifestHeader(p.h.id, m.epoch, m.number), Wire: wire, At: now}, false)
		p.h.signed(m)
		s.copies = append(s.copies, wire)
	}
	for i := range s.batch {
		s.batch[i].sums = s.batch[i].sums[:0]
	}
	s.count, s.due = 0, time.Time{}
	if len(s.copies) > 0 {
		s.arm(now)
	}
}

// split makes as few manifests of the batch as fit packets. Their sums alias the batch.
func (s *signing) split(epoch uint16, number uint64) []manifest {
	var out []manifest
	room := 0
	for _, r := range s.batch {
		for len(r.sums) > 0 {
			if room < runHead+sumSize {
				out = append(out, manifest{epoch: epoch, number: number})
				number++
				room = sumsRoom
			}
			part := r
			part.sums = r.sums[:min(len(r.sums), (room-runHead)/sumSize*sumSize)]
			r.from, r.sums = part.to(), r.sums[len(part.sums):]
			room -= runHead + len(part.sums)
			m := &out[len(out)-1]
			m.runs = append(m.runs, part)
		}
	}
	for i := range out {
		out[i].parts = uint8(len(out))
	}
	return out
}

// finish signs all that has been sent, and stops the clock. Caller holds mu.
func (s *signing) finish(p *Publisher, now time.Time) {
	p.signBatch(now) // what is new
	p.signBatch(now) // its copies
	s.timer.Stop()
}
