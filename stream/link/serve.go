package link

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/watergy/waterfall/stream"
)

const (
	sendAhead      = 32                     // packets sent at once
	burstPerPacket = time.Second / 3000     // 3 packets a ms of history: more overflows receive buffers
	burstAge       = 100 * time.Millisecond // what came earlier than this is history
	lateGather     = 50 * time.Millisecond  // between sends to a child for which this process was late
	heartbeatEvery = pulseEvery
	heartbeatAfter = heartbeatEvery * 4 / 5  // a pulse that finds so much silence sends one
	heartbeatLate  = 2 * pulseEvery * 9 / 10 // the same for a child that this process keeps waiting: still before silentAfter
	blockedTime    = 50 * time.Millisecond   // a socket that stayed full is tried again then
	repairFloor    = 8_000                   // bytes a second that repairs may always use …
	repairShare    = 5                       // … or one part in five of what the link carries
	repairBurst    = 64_000
	maxWants       = 64  // ranges that wait to be looked at
	maxRepairs     = 512 // packets that wait for their share
)

// serving is a stream that the other side may take. A goroutine of its own (run) sends
// what is due by the clock or by what the child asked for; media that comes from
// another node is sent by whoever brings it (push), so that one wake-up serves all
// children.
//
// The link's mutex guards the first part, mine the rest. Whoever wants both takes mine
// first.
type serving struct {
	l       *Link
	h       *stream.History
	poke    chan struct{} // something below has changed; capacity 1
	running bool
	lending bool // lend runs
	revoked bool
	session uint32
	restart bool         // begin anew …
	from    stream.Marks // … here
	stop    bool
	wants   []stream.Range
	count   *streamCount

	mine      sync.Mutex
	cursor    *stream.Cursor // nil: nothing more to read
	pace      time.Time      // no media before
	shed      shedding
	blocked   bool        // the socket took no more: run is to wait for it
	timer     *time.Timer // run's
	buf       [sendAhead]stream.Packet
	wires     [][]byte
	skipped   uint64       // of cursors before this one
	base      stream.Marks // where the child began or went on …
	sent      stream.Marks // … and what it has been sent since
	last      time.Time    // when media or a heartbeat was last sent
	repairs   repairs
	early     time.Duration // how old the first packet was when it came
	catch     catchUp
	plannedAt time.Time
	pacedAt   time.Time    // when it was last said that the link is paced
	catching  atomic.Bool  // read under the link's mutex too
	newcomer  bool         // had nothing of the stream when it asked
	level     bool         // the cursor has been at the end: what it missed is not to be made up for
	gaps      uint16       // a bit for each track of which packets were skipped, until it goes on …
	floor     stream.Marks // … here

	retracting retracting
}

// Serve lets the other side take the stream of h, when it asks.
func (l *Link) Serve(h *stream.History) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.serves[h.ID()]; s != nil {
		if s.h == h {
			return
		}
		s.revoke()
	}
	l.serves[h.ID()] = &serving{
		l: l, h: h, poke: make(chan struct{}, 1),
		count:   l.streamLocked(h.ID()),
		timer:   time.NewTimer(far),
		repairs: newRepairs(),
	}
}

// Unserve stops that.
func (l *Link) Unserve(id stream.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.serves[id]; s != nil {
		s.revoke()
		delete(l.serves, id)
	}
}

func (s *serving) revoke() {
	s.revoked = true
	s.wake()
}

func (s *serving) wake() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// asked starts to send what may be taken, or begins anew for a new session. Caller
// holds mu.
func (l *Link) asked(m ask) {
	s := l.serves[m.id]
	if s == nil || s.running && int32(m.session-s.session) <= 0 {
		return
	}
	s.session, s.from, s.restart, s.stop, s.wants = m.session, m.marks, true, false, nil
	if s.running {
		s.wake()
		return
	}
	s.running = true
	l.e.busy()
	l.spawnLocked(s.run)
}

// wanted queues ranges for repair. Caller holds mu.
func (l *Link) wanted(m want) {
	for _, s := range l.serves {
		if s.h.ID().Tag() != m.tag {
			continue
		}
		s.wants = append(s.wants, m.ranges...)
		s.wants = s.wants[max(0, len(s.wants)-maxWants):]
		if !s.running && !s.lending {
			s.lending = true
			l.spawnLocked(s.lend)
		}
		s.wake()
	}
}

// keyframeWanted passes the wish on. Caller holds mu.
func (l *Link) keyframeWanted(m keyframe) {
	for _, s := range l.serves {
		if s.running && s.h.ID().Tag() == m.tag {
			s.h.WantKeyframe()
		}
	}
}

// dropped ends the sending that m names. Caller holds mu.
func (l *Link) dropped(m drop) {
	for _, s := range l.serves {
		if s.running && s.h.ID().Tag() == m.tag && (m.session == 0 || int32(m.session-s.session) >= 0) {
			s.stop = true
			s.wake()
		}
	}
}

// run sends the stream until it is dropped, revoked or the link ends.
func (s *serving) run() {
	defer s.timer.Stop()
	for {
		s.mine.Lock()
		if !s.orders() {
			s.mine.Unlock()
			return
		}
		s.blocked = false
		ready := s.step(time.Now(), true)
		s.mine.Unlock()
		select {
		case <-ready:
		case <-s.poke:
		case <-s.timer.C:
		case <-s.l.dying:
		}
	}
}

// push sends what has come, in the goroutine that brought it: it waits for nothing.
func (s *serving) push() {
	if !s.mine.TryLock() {
		s.wake()
		return
	}
	defer s.mine.Unlock()
	if s.blocked {
		return
	}
	if s.step(time.Now(), false); s.blocked || s.cursor == nil {
		s.wake()
	}
}

// step sends what is due, sets the timer for what is next, and returns what tells of
// more media (nil: the timer does). It waits for the socket if told to. Heartbeats come
// with the engine's pulse. Caller holds mine.
func (s *serving) step(now time.Time, wait bool) <-chan struct{} {
	rate, _ := s.l.pacer.limit()
	if s.cursor != nil && !s.pace.After(now) && !s.blocked {
		s.keepUp(rate, now)
	}
	for s.cursor != nil && !s.pace.After(now) && !s.blocked {
		n, err := s.cursor.Poll(s.buf[:s.room(rate)])
		if err != nil {
			s.setCursor(nil)
		}
		if n == 0 {
			s.caughtUp()
			break
		}
		s.media(s.buf[:n], now, wait)
		clear(s.buf[:n])
	}
	var next time.Time
	if !s.shed.waits() {
		next = s.repair(now, wait, false)
	}
	if at := s.retract(now); !at.IsZero() && (next.IsZero() || at.Before(next)) {
		next = at
	}
	s.admit(now)
	var ready <-chan struct{}
	if s.pace.After(now) {
		if next.IsZero() || s.pace.Before(next) {
			next = s.pace
		}
	} else if s.cursor != nil {
		ready = s.cursor.Ready()
	}
	if s.blocked {
		next = now.Add(blockedTime)
	}
	if !next.IsZero() {
		s.timer.Reset(next.Sub(now))
	}
	return ready
}

// orders takes what has been asked since; false ends the sender. Caller holds mine.
func (s *serving) orders() bool {
	s.l.mu.Lock()
	if s.l.ended || s.revoked || s.stop {
		s.setCursor(nil) // before the next sender may start
		s.running, s.stop = false, false
		s.catching.Store(false)
		s.l.mu.Unlock()
		return false
	}
	restart, from, wants := s.restart, s.from, s.wants
	s.restart, s.wants = false, nil
	s.l.mu.Unlock()
	switch {
	case restart && s.onTheWay(from):
		s.heartbeat(time.Now(), heartbeat{marks: s.sent})
	case restart:
		s.anew(from, time.Now())
	}
	if len(wants) > 0 {
		s.tellSkipped(wants)
		s.repairs.want(wants, s.floor, s.sent, s.l.Stats().RTT, time.Now())
	}
	return true
}

// onTheWay reports whether a child that asks again, because it has heard nothing for a
// while, lacks no more than what may be on its way: then this process was late. To begin
// anew would send that twice, and take the delay that it has by now for its own choice.
func (s *serving) onTheWay(from stream.Marks) bool {
	if s.cursor == nil {
		return false
	}
	for t, n := range from {
		if at := max(s.base[t], s.sent[t]); n > at || at-n > sendAhead || n == 0 && at > 0 {
			return false
		}
	}
	return true
}

// anew begins to send the stream from there.
func (s *serving) anew(from stream.Marks, now time.Time) {
	s.setCursor(s.h.CursorFrom(from))
	s.cursor.OnReady(s.push)
	s.pace = time.Time{}
	s.base, s.sent = from, stream.Marks{}
	s.repairs.clear()
	_, s.retracting.seen = s.h.Forgeries(s.retracting.seen)
	s.begin(from == stream.Marks{}, now)
	b := heartbeat{burst: true, marks: s.h.Marks()}
	b.group, b.first, _ = s.cursor.Group()
	s.heartbeat(now, b)
}

func (s *serving) setCursor(c *stream.Cursor) {
	if s.cursor != nil {
		s.cursor.Close()
		s.skipped += s.cursor.Skipped()
	}
	s.cursor, s.shed = c, shedding{}
}

// media sends packets and says by s.pace when more may go.
func (s *serving) media(ps []stream.Packet, now time.Time, wait bool) {
	var bytes uint64
	old := 0 // packets of history
	s.wires = s.wires[:0]
	var left []stream.Range
	for _, p := range ps {
		s.wires = append(s.wires, p.Wire)
		bytes += uint64(len(p.Wire))
		if r := s.goesOn(p.Header); r.To > 0 {
			left = append(left, r)
		}
		s.sent[p.Track] = max(s.sent[p.Track], p.Number+1)
		if now.Sub(p.At) > burstAge {
			old++
		}
	}
	s.send(wait, s.wires...)
	s.tellLack(left) // after what shows the gap
	clear(s.wires)
	s.last, s.pace = now, s.pacedTo(int(bytes), old, now)
	s.repairs.rate.add(bytes, now)
	s.l.count.mediaOut.Add(bytes)
	s.l.count.forwarded.Add(uint64(len(ps)))
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	for _, p := range ps {
		s.count.forwarded[p.Track]++
	}
	s.count.mediaOut += bytes
	s.count.skipped = s.skipped
	if s.cursor != nil {
		s.count.skipped += s.cursor.Skipped()
	}
}

// send sends packets and notes whether the socket is full.
func (s *serving) send(wait bool, wires ...[]byte) {
	if !s.l.sendBatch(wait, wires...) {
		s.blocked = true
	}
}

func (s *serving) heartbeat(now time.Time, m heartbeat) {
	s.last = now
	m.tag, m.starving = s.h.ID().Tag(), s.h.Starving(now)
	s.l.sendHop(m.append(nil))
}

// tellSkipped says once more that what the child was too slow for is not to be had here.
func (s *serving) tellSkipped(wants []stream.Range) {
	var lacks []stream.Range
	for _, r := range wants {
		if r.To = min(r.To, s.floor[r.Track]); r.From < r.To && len(lacks) < maxRanges {
			lacks = append(lacks, r)
		}
	}
	s.tellLack(lacks)
}

func (s *serving) tellLack(rs []stream.Range) {
	if len(rs) > 0 {
		s.l.sendHop(lack{tag: s.h.ID().Tag(), ranges: rs}.append(nil))
	}
}

// appendNumberTo adds a packet to ranges, of which there are maxRanges at most.
func appendNumberTo(rs []stream.Range, k repairKey) []stream.Range {
	if i := len(rs) - 1; i >= 0 && rs[i].Track == k.track && rs[i].To == k.number {
		rs[i].To++
		return rs
	}
	if len(rs) == maxRanges {
		return rs
	}
	return append(rs, stream.Range{Track: k.track, From: k.number, To: k.number + 1})
}

// repair sends what was wanted as far as the share allows, and says when there will be
// more of it (zero: nothing waits). What came here less than a round trip ago is on its
// way anyhow: it was wanted while it was missing above, and sent twice it would eat up
// the share in a chain where every hop loses. What is lent goes to one who gets nothing
// else from us, and must not bring us the blame for what a forger above has sent.
func (s *serving) repair(now time.Time, wait, lent bool) time.Time {
	fresh := s.l.Stats().RTT
	var lacks []stream.Range
	defer func() {
		if !lent {
			s.tellLack(lacks)
		}
	}()
	for {
		if s.blocked {
			return time.Time{}
		}
		key, ok := s.repairs.peek(now)
		if !ok {
			return time.Time{}
		}
		if at := s.repairs.allowed(now); at.After(now) {
			return at
		}
		s.repairs.pop(now)
		get := s.h.Get
		if lent {
			get, fresh = s.h.Vouched, 0
		}
		p, ok := get(key.track, key.number)
		if ok && lent && !s.l.e.lends.take(len(p.Wire), s.h.Rate(now), now) {
			continue // it is asked for again
		}
		if !ok {
			lacks = appendNumberTo(lacks, key)
			continue
		}
		if now.Sub(p.At) < fresh {
			continue
		}
		s.repairs.spend(len(p.Wire), s.catch.live, now)
		s.l.pacer.spend(len(p.Wire), now)
		s.send(wait, p.Wire)
		s.l.count.feedbackOut.Add(uint64(len(p.Wire)))
		s.l.count.repairs.Add(1)
	}
}
