package link

import (
	"math"
	"time"
)

// What the two ends of a hop do about its rate. The receiver measures how long packets
// queue on the way, by one-way delay over its least (RFC 6817, section 3.4.2: no common
// clock is needed), and calls a queue standing that did not drain for 100 ms (RFC 8289,
// section 3.2). The sender then keeps below what is delivered, and tries for more when
// the queue is gone, as Google's congestion control does (Carlucci et al., "Analysis and
// Design of the Google Congestion Control for WebRTC", 2016).

const (
	queueSpan   = 100 * time.Millisecond // a queue that drains within it does not count
	queueFew    = 2                      // packets that a span must have
	baseSpan    = 20 * time.Second       // the least delay of the last one to two counts as the way's own
	queueLimit  = 50 * time.Millisecond  // a standing queue over this is too much …
	queueFirst  = 80 * time.Millisecond  // before a rate is limited at all: a busy machine is slow to look, too
	queueDrains = 4 * time.Millisecond   // … unless it gets shorter by as much a report
	lossLimit   = 1.0 / repairShare      // more than this is lost cannot be repaired
	lossFew     = 50                     // packets sent that loss is judged by
	reportEvery = queueSpan              // while it goes badly …
	badTime     = 5 * time.Second        // … and so long after that; else with each ping

	cutTo      = 0.85                   // of what is delivered
	cutEvery   = 250 * time.Millisecond // and a round trip: the last cut must show
	cutMost    = 0.5                    // of the rate, at once
	minRate    = 8_000.0                // bytes a second: sound should pass
	growFast   = 2.0                    // a second, away from where it was too much last
	growBy     = 0.5                    // of live, a second, at least: so those who share a way come to equal parts of it
	growSlow   = 1.08                   // a second, near it
	growMost   = 2.0                    // at once: the other side has not seen more
	nearBelow  = 0.25                   // share of that rate that is near
	nearAbove  = 0.05                   // without a queue even so: it is wider now
	forgetCut  = 2 * time.Second
	liveTime   = time.Second     // of bad reports before less is sent than live …
	calmShare  = 1.05            // … until then this much of it
	lateShare  = 1.5             // of it is enough for one that is a little late
	freeAfter  = time.Second     // of good reports at enough
	longReport = 3 * time.Second // between two: what was between means little
)

// report is how a hop's packets arrive: it follows each ping. Figures are since the
// hop's beginning, wrapping.
type report struct {
	next    uint16 // hop sequence number
	packets uint32
	bytes   uint32
	queue   time.Duration // standing; ms on the wire
}

// arrivals is the receiver's side. It is arithmetic only.
type arrivals struct {
	report
	zero   uint32 // what counts as no delay: the first packet's clock difference
	base   [2]time.Duration
	baseAt time.Time
	least  time.Duration // delay in the span that runs
	few    int           // packets in it
	spanAt time.Time
	seen   report // as it was when the span began
	badAt  time.Time
	urgent bool // the other side should know soon
}

// came notes a packet that was sent when the other side's clock was sent.
func (a *arrivals) came(seq uint16, sent uint32, size int, now time.Time) {
	if a.spanAt.IsZero() {
		a.zero = clockOf(now) - sent
		a.baseAt, a.spanAt = now, now
		a.base = [2]time.Duration{math.MaxInt64, math.MaxInt64}
		a.least = math.MaxInt64
		a.next = seq
		a.seen = a.report
	}
	if int16(seq+1-a.next) > 0 {
		a.next = seq + 1
	}
	a.packets++
	a.bytes += uint32(size)
	if now.Sub(a.baseAt) >= baseSpan {
		a.base[0], a.base[1], a.baseAt = math.MaxInt64, a.base[0], now
	}
	d := time.Duration(int32(clockOf(now)-sent-a.zero)) * time.Microsecond
	a.base[0], a.least = min(a.base[0], d), min(a.least, d)
	if a.few++; a.few < queueFew || now.Sub(a.spanAt) < queueSpan {
		return
	}
	a.queue = a.least - min(a.base[0], a.base[1])
	if a.queue >= queueLimit || tooLossy(a.report, a.seen) {
		a.badAt = now
	}
	a.urgent = !a.badAt.IsZero() && now.Sub(a.badAt) < badTime
	a.least, a.few, a.spanAt, a.seen = math.MaxInt64, 0, now, a.report
}

// arrived takes note of how packets arrive, and says so soon if it goes badly. A busy
// machine does not judge the way.
func (l *Link) arrived(a *arrivals, now time.Time) {
	late := l.e.late(now)
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.badAt.After(l.badAt) && !late {
		l.badAt = a.badAt
	}
	l.heardAt = now
	if l.come = a.report; late {
		l.come.queue = 0
	}
	soon := a.urgent && !late || now.Before(l.hurry)
	if at := l.pingedAt.Add(reportEvery); soon && !l.upAt.IsZero() && at.Before(l.pingAt) {
		l.pingAt = at
		l.wake()
	}
}

// tooLossy compares two reports.
func tooLossy(r, before report) bool {
	sent, came := r.since(before)
	return sent >= lossFew/5 && float64(sent-came) > lossLimit*float64(sent)
}

// since says how many packets were sent and came between two reports.
func (r report) since(before report) (sent, came int) {
	sent = int(r.next - before.next)
	return sent, min(sent, int(r.packets-before.packets))
}

// estimate is the sender's side: how much the way carries. It is arithmetic only.
type estimate struct {
	rate   float64 // bytes a second that may be sent; 0: no limit is known
	last   report
	lastAt uint32 // the other side's clock
	begun  bool
	cutAt  time.Time
	cut    float64   // what was delivered then
	bad    time.Time // since when reports are bad; zero: the last was not
	good   time.Time // since when they are good although the rate is enough
	judged report    // loss is judged from here on
	lost   float64
}

// report takes the other side's word; live is what the streams on the link take.
func (e *estimate) report(r report, clock uint32, live float64, rtt time.Duration, now time.Time) {
	before, d := e.last, time.Duration(int32(clock-e.lastAt))*time.Microsecond
	if !e.begun || d > longReport {
		e.begun, e.last, e.lastAt, e.judged = true, r, clock, r
		e.lost, e.bad = 0, time.Time{}
		return
	}
	if d < reportEvery/2 { // old, or too soon to say anything
		return
	}
	e.last, e.lastAt = r, clock
	delivered := float64(r.bytes-before.bytes) / d.Seconds()
	e.judgeLoss(r)
	most := queueLimit
	if e.rate == 0 {
		most = queueFirst
	}
	full := r.queue >= most && r.queue > before.queue-queueDrains
	switch {
	case full || e.lost > lossLimit:
		e.good = time.Time{}
		if e.bad.IsZero() {
			e.bad = now
		}
		if now.Sub(e.cutAt) >= cutEvery+rtt {
			e.reduce(delivered, live, now)
		}
	case r.queue < queueLimit/2:
		e.bad = time.Time{}
		e.grow(live, d, now)
	}
}

// judgeLoss looks at the packets sent since it last did, when they are enough.
func (e *estimate) judgeLoss(r report) {
	if sent, came := r.since(e.judged); sent >= lossFew {
		e.lost = float64(sent-came) / float64(sent)
		e.judged = r
	}
}

// reduce makes room: first by not hurrying, and only if that does not help by less than
// live. What others on the same line send in a hurry passes.
func (e *estimate) reduce(delivered, live float64, now time.Time) {
	to := cutTo * delivered
	if now.Sub(e.bad) < liveTime && (e.rate == 0 || e.rate >= live) {
		to = max(to, calmShare*live)
	}
	if e.rate > 0 {
		to = min(max(to, cutMost*e.rate), e.rate)
	}
	e.rate, e.cut, e.cutAt, e.lost = max(to, minRate), delivered, now, 0
}

// grow tries for more, up to what a child needs that is a little late.
func (e *estimate) grow(live float64, d time.Duration, now time.Time) {
	enough := lateShare * live
	switch {
	case e.rate == 0:
		return
	case e.rate >= enough:
		if e.good.IsZero() {
			e.good = now
		}
		if now.Sub(e.good) >= freeAfter {
			e.rate = 0
		}
		return
	}
	e.good = time.Time{}
	to := max(e.rate*min(math.Pow(growFast, d.Seconds()), growMost), e.rate+growBy*live*min(d.Seconds(), 1))
	if e.rate > (1-nearBelow)*e.cut && e.rate < (1+nearAbove)*e.cut && now.Sub(e.cutAt) < forgetCut {
		to = e.rate * math.Pow(growSlow, d.Seconds())
	}
	e.rate = min(to, max(enough, e.rate))
}
