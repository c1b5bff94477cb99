package link

import "time"

// pulseEvery is the engine's beat: what each link and stream has to look at now and then
// is looked at together. A process that wakes costs more than what it then does here.
const pulseEvery = 50 * time.Millisecond

// A pulse that comes so late says that this machine is busy: for a while what waits may
// wait here, and not on the way.
const (
	lateLook = 20 * time.Millisecond
	busyTime = time.Second
)

// late reports whether this process was late to look lately.
func (e *Engine) late(now time.Time) bool {
	at := e.lateAt.Load()
	return at != 0 && now.UnixNano()-at < int64(busyTime)
}

// far is no time at all: the pulse comes before.
const far = time.Hour

// pulse ticks the links that carry something, and rests while none does.
func (e *Engine) pulse() {
	timer := time.NewTimer(far)
	defer timer.Stop()
	var links []*Link
	var serves []*serving
	due := time.Now().Add(far)
	for {
		select {
		case <-e.done:
			return
		case <-e.rouse:
		case <-timer.C:
		}
		e.resting.Store(true) // who begins something from here on may have been looked at already
		e.mu.Lock()
		links = links[:0]
		for l := range e.links {
			links = append(links, l)
		}
		e.mu.Unlock()
		now, busy, sending := time.Now(), false, 0
		if now.Sub(due) > lateLook {
			e.lateAt.Store(now.UnixNano())
		}
		for _, l := range links {
			var works bool
			works, serves = l.tick(now, serves[:0])
			busy, sending = busy || works, sending+len(serves)
			for _, s := range serves {
				s.tick(now)
			}
		}
		e.sending.Store(int64(sending))
		clear(links)
		clear(serves)
		next := far
		if busy {
			e.resting.Store(false)
			next = pulseEvery
		}
		timer.Reset(next)
		due = now.Add(next)
	}
}

// busy tells the pulse that there is something to look at.
func (e *Engine) busy() {
	if !e.resting.Load() {
		return
	}
	select {
	case e.rouse <- struct{}{}:
	default:
	}
}

// tick does what is due between two wake-ups of run, and appends the streams that are
// being sent to out.
func (l *Link) tick(now time.Time, out []*serving) (works bool, _ []*serving) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || l.upAt.IsZero() {
		return false, out
	}
	if next := l.stepUp(now); !next.IsZero() {
		l.timer.Reset(next.Sub(now))
	}
	for _, s := range l.serves {
		if s.running {
			out = append(out, s)
		}
	}
	return l.works(), out
}

// works reports whether the pulse has to look at l: until then run keeps its time.
// Caller holds mu.
func (l *Link) works() bool {
	if len(l.takes) > 0 {
		return true
	}
	for _, s := range l.serves {
		if s.running {
			return true
		}
	}
	return false
}

// tick sends a heartbeat if it is time.
func (s *serving) tick(now time.Time) {
	if !s.mine.TryLock() {
		return // it sends
	}
	defer s.mine.Unlock()
	s.l.mu.Lock()
	on := s.running && !s.stop && !s.revoked && !s.restart
	s.l.mu.Unlock()
	rate, _ := s.l.pacer.limit()
	paced := rate > 0 && now.Sub(s.pacedAt) >= pacedEvery
	after := heartbeatAfter
	if s.shed.waits() { // a send costs what is short
		after = heartbeatLate
	}
	if on && (paced || now.Sub(s.last) >= after) {
		if paced {
			s.pacedAt = now
		}
		s.heartbeat(now, heartbeat{marks: s.sent, paced: paced})
	}
}
