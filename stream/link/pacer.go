package link

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/watergy/waterfall/stream"
)

const (
	paceSpan  = 10 * time.Millisecond  // what is sent at once when the rate is limited
	lagMost   = 800 * time.Millisecond // a child that is further behind skips: with what queues on the way it stays within 1 s (issue 4, figure 5)
	skipMost  = lagMost / 2            // a key start that is older is no place to go on: it would be behind again at once
	stallTime = 300 * time.Millisecond // for this process to make up for a moment without a core
	shedFrom  = 200 * time.Millisecond // a child that it keeps waiting for longer may have to skip …
	shedLeast = 8                      // children: to send to fewer takes so little that it is not what keeps this process …
	fewLag    = 2 * time.Second        // … so that they skip only when they are that late
	shedRisk  = 3.0                    // … with so much risk a second when it is lagMost behind
)

// pacer spreads what goes over a link over time, once its rate is known to be limited.
// Its own mutex guards it.
type pacer struct {
	mu   sync.Mutex
	est  estimate
	free time.Time // the way has taken what was sent
	ramp float64   // of a burst of history: how much faster it may be than planned
}

// report takes the other side's word of how packets arrive.
func (p *pacer) report(r report, clock uint32, live float64, rtt time.Duration, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.est.report(r, clock, live, rtt, now)
	if r.queue < rampQueue {
		p.ramp = min(rampUp*p.ramp, rampMost)
	} else {
		p.ramp = max(p.ramp/2, rampLeast)
	}
}

// begin begins a burst of history.
func (p *pacer) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ramp = 1
}

// allowed is how much faster than planned a burst of history may be.
func (p *pacer) allowed() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ramp
}

// spend notes that bytes leave now, and says when more may.
func (p *pacer) spend(bytes int, now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.est.rate == 0 {
		return now
	}
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(float64(bytes) / p.est.rate * float64(time.Second)))
	return p.free
}

// limit is the rate in bytes a second (0: none), and what the other side said of the queue.
func (p *pacer) limit() (rate float64, queue time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.est.rate, p.est.last.queue
}

// atOnce is how many packets, at most most, may go together at a rate.
func atOnce(rate float64, most int) int {
	if rate == 0 {
		return most
	}
	return min(max(int(rate*paceSpan.Seconds()/packetSize), 1), most)
}

// keepUp makes a child that is too far behind skip. A newcomer that still gets what went before
// it came is only on its way: if that is slow, it leaves the old group when a new one begins.
// One that stood still and goes on gets all that it lacks where the way has room for it.
// On a way without a limit it is this process that is late: perhaps it makes up for it.
func (s *serving) keepUp(rate float64, now time.Time) {
	lag := s.cursor.Lag(now)
	late := lag // by what this child itself may expect
	if !s.level {
		late -= s.early
	}
	sheds := rate == 0 && (late >= fewLag || s.l.e.sending.Load() >= shedLeast)
	if !sheds {
		s.shed = shedding{}
	}
	switch {
	case rate > 0 && late >= lagMost, sheds && s.shed.due(late, rand.Float64(), now):
		s.cursor.Skip(now.Add(-skipMost))
	case s.level || lag < lagMost || rate == 0 && (!s.newcomer || !s.l.e.late(now)) || !s.cursor.SkipToKey():
		return
	}
	s.gaps = ^uint16(0)
}

// shedding is of a child that this process, not the way, keeps waiting. It is arithmetic only.
type shedding struct {
	since  time.Time // zero: not late
	looked time.Time
}

// waits says whether the child is being kept waiting. It gets no repairs then: they would come
// late too, and keep the others waiting.
func (s *shedding) waits() bool { return !s.since.IsZero() }

// due says whether the child is to skip, given how late it is and what was drawn (0 to 1).
// A process that lacks the time for all its children must not let all of them skip together:
// they would go on together at the next key start, and in between there would be nothing to
// do. The later a child is, the likelier it goes; when enough have gone, the rest catches up.
func (s *shedding) due(late time.Duration, drawn float64, now time.Time) bool {
	if late < shedFrom {
		s.since = time.Time{}
		return false
	}
	if s.since.IsZero() {
		s.since, s.looked = now, now
	}
	risk := shedRisk * now.Sub(s.looked).Seconds() * float64(late-shedFrom) / float64(lagMost-shedFrom)
	s.looked = now
	return now.Sub(s.since) >= stallTime && (late >= lagMost || drawn < risk)
}

// goesOn notes the first packet of a track after a skip: nothing before is sent again. It
// says what was left out (To 0: nothing).
func (s *serving) goesOn(h stream.Header) (left stream.Range) {
	bit := uint16(1) << h.Track
	if s.gaps&bit == 0 {
		return left
	}
	s.gaps &^= bit
	s.floor[h.Track] = h.Number
	if sent := s.sent[h.Track]; 0 < sent && sent < h.Number {
		left = stream.Range{Track: h.Track, From: sent, To: h.Number}
	}
	return left
}

const packetSize = 1200 // bytes, about what a packet of video has
