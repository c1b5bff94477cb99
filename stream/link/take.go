package link

import (
	"time"

	"github.com/watergy/waterfall/stream"
)

const (
	takeTick     = 50 * time.Millisecond // how often holes and silence are looked at
	askEvery     = 40 * time.Millisecond
	askSlow      = 250 * time.Millisecond // once an ask has gone unanswered for askPatience
	askPatience  = 2 * time.Second
	silentAfter  = 150 * time.Millisecond
	alarmEvery   = 100 * time.Millisecond
	reorderTime  = 10 * time.Millisecond // a gap in the hop's own numbers is loss after that
	lossMemory   = 100 * time.Millisecond
	upstreamTime = 60 * time.Millisecond // on top of the RTT: what the parent misses too, it asks for itself
	dropEvery    = 40 * time.Millisecond
)

// take is a stream that this link brings. The link's mutex guards it.
type take struct {
	h        *stream.History
	tag      uint16
	session  uint32
	askedAt  time.Time // when the session began; zero: before the link was up
	askAt    time.Time // next ask
	asking   bool      // the session is not served yet
	resumed  bool      // something was held when the session began
	upTo     stream.Marks
	flowed   bool      // told so, and not told otherwise since
	rhythm   rhythm    // of media and heartbeats
	doubtAt  time.Time // when silence was first suspected; zero: not
	silentAt time.Time // next alarm
	starveAt time.Time
	lossAt   time.Time // when to ask for what the hop lost; zero: nothing
	count    *streamCount
	suspect  *suspicion
}

// Take asks the other side for the stream of h from where h ends, every 40 ms until it
// flows; puts what comes into h; asks for holes with want.
func (l *Link) Take(h *stream.History) {
	l.mu.Lock()
	defer l.wake()
	defer l.mu.Unlock()
	id, tag := h.ID(), h.ID().Tag()
	t := &take{h: h, tag: tag, asking: true, count: l.streamLocked(id), suspect: newSuspicion(h)}
	l.newSession(t)
	l.takes[id] = t
	if o := l.byTag[tag]; o == nil || o.h.ID() == id {
		l.byTag[tag] = t
	} else {
		// 1 in 4,096: the packets can't be told apart. It stays silent, so that the tree
		// takes it from elsewhere.
		l.e.log.Warn("two streams of one tag on a link", "peer", l.peer, "tag", tag)
	}
}

// Drop stops that and tells the other side.
func (l *Link) Drop(id stream.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.takes[id]
	if t == nil {
		return
	}
	delete(l.takes, id)
	if l.byTag[t.tag] == t {
		delete(l.byTag, t.tag)
	}
	l.sendHop(drop{session: t.session, tag: t.tag}.append(nil))
}

// newSession makes t ask anew. Caller holds mu.
func (l *Link) newSession(t *take) {
	l.session++
	t.session = l.session
	t.asking, t.askedAt, t.askAt = true, time.Time{}, time.Time{}
	t.resumed = t.h.Marks() != stream.Marks{}
	t.upTo = stream.Marks{}
}

// stepTake does what is due for t and says when to come again. Caller holds mu.
func (l *Link) stepTake(t *take, now time.Time) time.Time {
	t.rhythm.check(now) // silence is counted from when asking began
	patience := t.rhythm.patience()
	silent := t.rhythm.quiet >= patience
	if silent && t.doubtAt.IsZero() {
		t.doubtAt = now
	}
	doubt := silent && now.Sub(t.doubtAt) < secondLook
	if silent && !doubt {
		if !t.asking {
			l.newSession(t)
		}
		if !t.silentAt.After(now) {
			t.silentAt, t.flowed = now.Add(alarmEvery), false
			l.post(Event{Kind: Silent, Link: l, Stream: t.h.ID(), For: t.rhythm.quiet})
		}
	}
	if t.askedAt.IsZero() {
		t.askedAt = now
	}
	next := now.Add(takeTick)
	if t.asking && l.byTag[t.tag] == t {
		if !t.askAt.After(now) {
			t.askAt = now.Add(askEvery)
			if now.Sub(t.askedAt) > askPatience {
				t.askAt = now.Add(askSlow)
			}
			l.sendHop(ask{session: t.session, id: t.h.ID(), marks: t.h.Held()}.append(nil))
		}
		next = t.askAt
	}
	var due time.Time
	switch {
	case doubt:
		due = t.doubtAt.Add(secondLook)
	case silent:
		due = t.silentAt
	default:
		due = now.Add(patience - t.rhythm.quiet)
		if at := l.wantHoles(t, now); !at.IsZero() && at.Before(due) {
			due = at
		}
	}
	if due.Before(next) {
		next = due
	}
	if at := l.judge(t, now); at.Before(next) {
		next = at
	}
	return next
}

// wantHoles asks for what is missing. Caller holds mu.
func (l *Link) wantHoles(t *take, now time.Time) time.Time {
	if len(t.suspect.accused) > 0 { // a forger is not asked for what it forged
		return time.Time{}
	}
	if !t.lossAt.IsZero() && now.Before(t.lossAt) {
		return t.lossAt
	}
	age := l.rtt + upstreamTime
	if now.Sub(t.lossAt) < lossMemory {
		age = reorderTime
	}
	retry := max(askEvery, l.rtt+l.rtt/4+reorderTime)
	if rs := t.h.Want(now, age, retry, maxRanges); len(rs) > 0 {
		l.sendHop(want{tag: t.tag, ranges: rs}.append(nil))
	}
	return time.Time{}
}

// heard notes a sign of life. Caller holds mu.
func (l *Link) heard(t *take, now time.Time) {
	t.rhythm.heard(now)
	t.asking, t.doubtAt = false, time.Time{}
}

// flowing reports that t delivers, once. Caller holds mu.
func (l *Link) flowing(t *take) {
	if !t.flowed {
		t.flowed = true
		l.post(Event{Kind: Flowing, Link: l, Stream: t.h.ID()})
	}
}

// hopLoss notes a gap in the hop's sequence numbers: what is missing was lost here.
func (l *Link) hopLoss(now time.Time) {
	l.mu.Lock()
	for _, t := range l.takes {
		if !now.Before(t.lossAt) { // else under heavy loss the time would never come
			t.lossAt = now.Add(reorderTime)
		}
	}
	l.mu.Unlock()
	l.wake()
}

// hop acts on a hop message.
func (l *Link) hop(m any, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch m := m.(type) {
	case heartbeat:
		if t := l.byTag[m.tag]; t != nil {
			l.heartbeat(t, m, now)
		}
	case ask:
		l.asked(m)
	case want:
		l.wanted(m)
	case drop:
		l.dropped(m)
	case retract:
		l.retracted(m, now)
	case ping:
		l.sendHop(pong(m).append(nil))
	case pong:
		if d := since(m.clock, now); d >= 0 && d < 10*time.Second {
			if l.rtt == 0 {
				l.rtt = d
			}
			l.rtt += (d - l.rtt) / 4
		}
	}
}

// heartbeat takes the parent's word for how t stands. Caller holds mu.
func (l *Link) heartbeat(t *take, m heartbeat, now time.Time) {
	l.heard(t, now)
	if m.burst {
		if t.resumed {
			t.upTo = m.marks
		}
		if m.group != 0 {
			t.h.Begin(m.group, m.first, now)
		}
	} else {
		t.h.Expect(m.marks, now)
	}
	if m.starving < starvedFrom {
		t.h.Alive(now)
		if !m.burst { // the stream stands still, not the hop
			l.flowing(t)
		}
		return
	}
	t.suspect.excused = now
	if !t.starveAt.After(now) {
		t.starveAt, t.flowed = now.Add(alarmEvery), false
		l.post(Event{Kind: Starved, Link: l, Stream: t.h.ID(), For: m.starving})
	}
}

// sendHop sends a hop message.
func (l *Link) sendHop(b []byte) {
	l.count.feedbackOut.Add(uint64(len(b)))
	l.sendBatch(false, b)
}
