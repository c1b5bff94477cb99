package link

import (
	"time"

	"github.com/watergy/waterfall/stream"
)

const (
	takeTick     = 50 * time.Millisecond // how often holes and silence are looked at
	askEvery     = 40 * time.Millisecond
	askSlow      = 250 * time.Millisecond // at most, after half as long again each time: a parent that lacks the time must not read asks alone
	silentAfter  = 150 * time.Millisecond
	alarmEvery   = 100 * time.Millisecond
	reorderTime  = 10 * time.Millisecond // a gap in the hop's own numbers is loss after that
	lossMemory   = 100 * time.Millisecond
	upstreamTime = 60 * time.Millisecond // on top of the RTT: what the parent misses too, it asks for itself
	dropEvery    = 40 * time.Millisecond
	desertTime   = 600 * time.Millisecond // without media, while others bring some, is no pause of the stream
	desertBlame  = 1500 * time.Millisecond
	emptyTime    = 2 * time.Second        // nor is nothing at all after asking
	narrowTime   = 30 * time.Second       // after the last queue or heavy loss: who sends tries for more now and then
	lossTime     = time.Second            // loss of more than …
	lossFewest   = 2                      // … so few packets in it, and …
	lossShare    = 50                     // … one in so many, is heavy
	leanEvery    = 150 * time.Millisecond // between wants to the backup, at least
	leanTime     = 2 * time.Second        // what a backup sends this long after it was last asked is unasked for
)

// take is a stream that this link brings. The link's mutex guards it.
type take struct {
	h        *stream.History
	tag      uint16
	session  uint32
	askedAt  time.Time // when the session began, or a backup was last asked; zero: before the link was up
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
	mediaAt  time.Time // when media came last; zero: not yet
	lean     bool      // the other side is our backup: it is asked only for what the parent does not bring
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
	h.Retake()
	h.AskAgain()
	h.NoLender(l)
	l.takeOn(t)
}

// Lean makes the other side, which would serve the stream of h if it were asked to, the
// one that is asked for what is missing and the parent does not bring. Drop ends it.
func (l *Link) Lean(h *stream.History) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := h.ID()
	if t := l.takes[id]; t != nil && t.lean && t.h == h {
		return
	}
	l.takeOn(&take{h: h, tag: id.Tag(), count: l.streamLocked(id), suspect: newSuspicion(h), lean: true})
	h.Lender(l, l.wake)
}

// takeOn notes a take. Caller holds mu.
func (l *Link) takeOn(t *take) {
	id, tag := t.h.ID(), t.tag
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
	if t.lean {
		t.h.NoLender(l)
		return
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
	if t.lean {
		return l.stepLean(t, now)
	}
	if t.flowed && t.h.KeyframeDue(now) {
		l.sendHop(keyframe{t.tag}.append(nil))
	}
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
			t.askAt = now.Add(min(max(askEvery, now.Sub(t.askedAt)/2), askSlow))
			l.sendHop(ask{session: t.session, id: t.h.ID(), marks: t.h.Held()}.append(nil))
		}
		next = t.askAt
	}
	l.lookElsewhere(t, now)
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

// lookElsewhere calls for what the parent does not bring, and blames it if it keeps back
// what others have. While the way is too narrow nothing is asked for, and nobody to blame.
// Caller holds mu.
func (l *Link) lookElsewhere(t *take, now time.Time) {
	if l.narrow(now) {
		t.h.Retake()
		return
	}
	t.h.CallLender(now)
	if t.h.Withheld(now) || t.deserted(now) > desertBlame && now.Sub(t.suspect.excused) > excuseTime {
		l.blame(t, ErrKeptBack)
	}
}

// narrow says whether what the parent sends has of late been lost on the way, or waited:
// then it need not be the parent who keeps it back. Caller holds mu.
func (l *Link) narrow(now time.Time) bool {
	if now.Sub(l.then.at) >= lossTime {
		sent, came := l.come.since(l.then.report)
		if l.then.packets > 0 && sent-came > max(lossFewest, sent/lossShare) && l.badAt.Before(now) {
			l.badAt = now
		}
		l.then.report, l.then.at = l.come, now
	}
	return !l.badAt.IsZero() && now.Sub(l.badAt) < narrowTime
}

// stepLean asks the backup for what the parent has not brought, and says when to come
// again. Caller holds mu.
func (l *Link) stepLean(t *take, now time.Time) time.Time {
	if now.Sub(t.askedAt) < leanEvery || l.byTag[t.tag] != t {
	} else if rs := t.h.Stuck(now, maxRanges); len(rs) > 0 {
		t.askedAt = now
		l.sendHop(want{tag: t.tag, ranges: rs}.append(nil))
	}
	if len(t.suspect.accused) == 0 && !l.news(t) {
		return now.Add(pingEvery) // the history calls
	}
	return l.judge(t, now)
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
			t.h.AskAgain()
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
		if t := l.byTag[m.tag]; t != nil && !t.lean {
			l.heartbeat(t, m, now)
		}
	case ask:
		l.asked(m)
	case want:
		l.wanted(m)
	case drop:
		l.dropped(m)
	case keyframe:
		l.keyframeWanted(m)
	case retract:
		l.retracted(m, now)
	case lack:
		if t := l.byTag[m.tag]; t != nil && !t.lean {
			t.h.Excuse(m.ranges, now)
		}
	case ping:
		l.sendHop(pong{m.clock}.append(nil))
		if m.packets > 0 {
			l.pacer.report(m.report, m.clock, l.served(now), l.rtt, now)
		}
	case pong:
		l.followed()
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
	if m.burst || m.paced {
		l.hurry = now.Add(hurryTime)
	}
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
	quiet := m.starving
	if quiet >= starvedFrom {
		t.suspect.excused = now
	} else if quiet = t.deserted(now); quiet == 0 || l.narrow(now) {
		t.h.Alive(now)
		if !m.burst { // the stream stands still, not the hop
			l.flowing(t)
		}
		return
	}
	if !t.starveAt.After(now) {
		t.starveAt, t.flowed = now.Add(alarmEvery), false
		l.post(Event{Kind: Starved, Link: l, Stream: t.h.ID(), For: quiet})
	}
}

// deserted is for how long a parent that says that all is well has brought nothing although
// others have more; 0: it is as it says. A stream that stands still has at least a list of
// tracks.
func (t *take) deserted(now time.Time) time.Duration {
	newest := t.h.Newest()
	switch {
	case newest.IsZero() && !t.askedAt.IsZero() && now.Sub(t.askedAt) > emptyTime:
		return now.Sub(t.askedAt)
	case !newest.IsZero() && !t.mediaAt.IsZero() && newest.Sub(t.mediaAt) > desertTime:
		return newest.Sub(t.mediaAt)
	}
	return 0
}

// sendHop sends a hop message.
func (l *Link) sendHop(b []byte) {
	l.count.feedbackOut.Add(uint64(len(b)))
	l.sendBatch(false, b)
}
