package link

import (
	"sync"
	"time"

	"github.com/watergy/waterfall/stream"
)

// A node lends at most a fifth of a stream's rate to all whose backup it is, and at most a
// second of the stream at once.
const lendShare = 5

// lendBudget is what all links of an engine may lend.
type lendBudget struct {
	mu     sync.Mutex
	tokens float64 // bytes
	at     time.Time
}

// take asks for size bytes of a stream with that many bytes a second.
func (b *lendBudget) take(size int, perSecond float64, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at.IsZero() {
		b.tokens = perSecond
	} else {
		b.tokens = min(perSecond, b.tokens+perSecond/lendShare*now.Sub(b.at).Seconds())
	}
	b.at = now
	if b.tokens < float64(size) {
		return false
	}
	b.tokens -= float64(size)
	return true
}

// lend sends a child that has us as its backup what it wants and its parent does not
// bring, until there is no more, or the child takes the whole stream from us.
func (s *serving) lend() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next, more := s.lendSome(time.Now())
		if !more {
			return
		}
		timer.Reset(time.Until(next))
		select {
		case <-timer.C:
		case <-s.poke:
		case <-s.l.dying:
		}
	}
}

// lendSome sends what may go now and says when to come again.
func (s *serving) lendSome(now time.Time) (next time.Time, more bool) {
	s.mine.Lock()
	defer s.mine.Unlock()
	wants, ok := s.wanted(now)
	if !ok {
		return now, false
	}
	if len(wants) > 0 {
		s.repairs.want(wants, stream.Marks{}, s.h.Marks(), s.l.Stats().RTT, now)
	}
	s.blocked, s.repairs.tokens = false, repairBurst // lends bounds it
	if next = s.repair(now, true, true); !next.IsZero() {
		return next, true
	}
	if s.blocked {
		return now.Add(heartbeatEvery), true
	}
	_, ok = s.wanted(now)
	return now, ok
}

// wanted takes what is wanted since; false ends lending.
func (s *serving) wanted(now time.Time) (wants []stream.Range, ok bool) {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	_, waits := s.repairs.peek(now)
	if s.l.ended || s.revoked || s.running || len(s.wants) == 0 && !waits {
		s.lending = false
		return nil, false
	}
	wants, s.wants = s.wants, nil
	return wants, true
}
