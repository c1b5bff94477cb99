package link

import "time"

const (
	silentMost  = time.Second            // however uneven a link is
	rhythmSpan  = 5 * time.Second        // the largest gap of the last one to two spans counts
	checkGrace  = takeTick / 5           // a check that comes this late is still in time
	secondLook  = 5 * time.Millisecond   // for the reader of the socket, before silence is believed
	jitterGain  = 16                     // RFC 3550, section 6.4.1
	jitterRoom  = 4                      // (DESIGN 4)
	starvedFrom = 150 * time.Millisecond // a parent that gets nothing for longer is starving
)

// rhythm judges how long a link may be quiet. Time counts only as far as this process
// was there to listen: a check that comes late adds one tick, however long the process
// stood still, so that a busy machine does not suspect everybody else. It is
// arithmetic only.
type rhythm struct {
	at     time.Time     // of the last check or packet; zero: nothing yet
	quiet  time.Duration // since the last packet, as far as we were there
	gap    time.Duration // between the last two packets
	jitter time.Duration // mean deviation of gaps
	worst  [2]time.Duration
	since  time.Time // worst[0] began
	begun  bool      // a packet has come: what went before was the way to the parent
}

// check counts the time up to now as quiet.
func (r *rhythm) check(now time.Time) {
	if r.at.IsZero() {
		r.since = now
	} else {
		r.quiet += min(max(0, now.Sub(r.at)), takeTick+checkGrace)
	}
	r.at = now
}

// heard ends a gap.
func (r *rhythm) heard(now time.Time) {
	r.check(now)
	if now.Sub(r.since) >= rhythmSpan {
		r.worst[0], r.worst[1], r.since = 0, r.worst[0], now
	}
	if r.begun {
		r.worst[0] = max(r.worst[0], r.quiet)
		r.jitter += ((r.quiet - r.gap).Abs() - r.jitter) / jitterGain
		r.gap = r.quiet
	}
	r.begun, r.quiet = true, 0
}

// patience is how long the link may be quiet before it counts as silent: what DESIGN 4
// says, and half as long again as it was lately.
func (r *rhythm) patience() time.Duration {
	worst := max(r.worst[0], r.worst[1])
	return min(max(silentAfter, jitterRoom*r.jitter, worst+worst/2), silentMost)
}
