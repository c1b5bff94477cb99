package link

import (
	"math"
	"sync"
	"time"

	"github.com/watergy/waterfall/stream"
)

const (
	uplinkShare = 0.9 // of the uplink is planned with (DESIGN 5)
	rampUp      = 1.5 // a report
	rampMost    = 64.0
	rampQueue   = 15 * time.Millisecond
	rampLeast   = 0.25
	hurryTime   = 2 * time.Second // of frequent reports, while a burst of history comes
	pacedEvery  = hurryTime / 2   // a paced child is told to report often
	refreshRate = reportEvery     // how often the rate of a burst is reckoned anew
)

// uplink is what this node may send, all links together. Its own mutex guards it.
type uplink struct {
	mu   sync.Mutex
	rate float64 // bytes a second; 0: unknown
	sure bool    // the user has said so
}

// SetUplink says how much this node may send, in bits a second. Unless sure it is only
// reckoned, and a burst of history may grow over it while nothing queues. 0: unknown.
func (e *Engine) SetUplink(bps uint64, sure bool) {
	e.uplink.mu.Lock()
	defer e.uplink.mu.Unlock()
	e.uplink.rate, e.uplink.sure = float64(bps)/8, sure
}

// catchUp is how fast a child that has just come gets what went before. It is arithmetic only.
type catchUp struct {
	live  float64 // bytes a second of the stream itself
	spare float64 // on top of it, to begin with
	sure  bool    // that there is no more
}

// planCatchUp divides what the uplink has left: live is what this stream takes a child, all is what
// all children take, this one too, and n are those that catch up now.
func planCatchUp(uplink float64, sure bool, live, all float64, n int) catchUp {
	c := catchUp{live: live, sure: sure && uplink > 0}
	c.spare = max(0, uplinkShare*uplink-all) / float64(max(n, 1))
	least := minRate
	if !c.sure {
		least = max(least, live/2)
	}
	c.spare = max(c.spare, least)
	return c
}

// rate in bytes a second, live packets included; ramp is what the child's reports allow.
func (c catchUp) rate(ramp float64) float64 {
	if c.sure {
		ramp = min(ramp, 1)
	}
	return min(c.live+c.spare*ramp, packetSize/burstPerPacket.Seconds())
}

// takes is how long it will take to make up for bytes: as the spare rate is, or growing
// with each report.
func (c catchUp) takes(bytes int) time.Duration {
	s := float64(bytes) / c.spare
	if span := reportEvery.Seconds(); !c.sure {
		s = span * math.Log(1+s/span*(rampUp-1)) / math.Log(rampUp)
	}
	return time.Duration(s * float64(time.Second))
}

// plan reckons how fast the child catches up from now on.
func (s *serving) plan(now time.Time) {
	e := s.l.e
	e.uplink.mu.Lock()
	rate, sure := e.uplink.rate, e.uplink.sure
	e.uplink.mu.Unlock()
	all, n := e.load(now)
	s.catch, s.plannedAt = planCatchUp(rate, sure, float64(s.h.Bitrate(now))/8, all, n), now
}

// load is what all children take in bytes a second, and how many of them catch up.
func (e *Engine) load(now time.Time) (all float64, n int) {
	for _, l := range e.snapshot() {
		l.mu.Lock()
		all += l.served(now)
		for _, s := range l.serves {
			if s.catching.Load() {
				n++
			}
		}
		l.mu.Unlock()
	}
	return all, n
}

// served is what the streams that the other side takes take, in bytes a second. Caller
// holds mu.
func (l *Link) served(now time.Time) (sum float64) {
	for _, s := range l.serves {
		if s.running {
			sum += float64(s.h.Bitrate(now)) / 8
		}
	}
	return sum
}

// begin decides how a child that has just asked gets what it lacks: at once out of what
// is to spare; but if that would end after the next key start, it begins there.
func (s *serving) begin(fresh bool, now time.Time) {
	s.newcomer, s.level, s.gaps, s.floor = fresh, false, 0, stream.Marks{}
	s.early = s.cursor.Lag(now)
	s.catching.Store(true)
	s.plan(now)
	s.l.pacer.begin()
	if !fresh {
		return
	}
	b := s.cursor.Backlog(now)
	switch takes := s.catch.takes(b.Bytes); {
	case b.Long():
		s.h.WantKeyframe()
	case b.Age > 0 && b.Next > 0 && takes > b.Next:
		s.cursor.Await()
	}
}

// caughtUp ends that.
func (s *serving) caughtUp() {
	s.level = true
	s.catching.Store(false)
}

// pacedTo says when more may be sent after bytes have left, of which old packets are history.
func (s *serving) pacedTo(bytes, old int, now time.Time) time.Time {
	at := s.l.pacer.spend(bytes, now)
	switch {
	case old == 0:
		return at
	case s.level && s.shed.waits(): // a send costs more than what is sent, so that there are fewer
		return later(at, now.Add(max(lateGather, time.Duration(old)*burstPerPacket)))
	case s.level: // this process was late for a moment
		return later(at, now.Add(time.Duration(old)*burstPerPacket))
	}
	if now.Sub(s.plannedAt) >= refreshRate {
		s.plan(now)
	}
	rate := s.catch.rate(s.l.pacer.allowed())
	return later(at, now.Add(time.Duration(float64(bytes)/rate*float64(time.Second))))
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// room is how many packets may leave at once.
func (s *serving) room(rate float64) int {
	n := atOnce(rate, sendAhead)
	if !s.level {
		n = min(n, atOnce(s.catch.rate(s.l.pacer.allowed()), sendAhead))
	}
	return n
}
