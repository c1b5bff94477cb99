// Package mediatime reads the one line of time that a stream's tracks share: their RTP
// times, divided by their clock rates, count from the same instant (see ingest).
package mediatime

import (
	"time"

	"github.com/watergy/waterfall/stream"
)

// apart is how far a track's beginning may be from the others on the line. Further away
// its RTP time has wrapped (after 13 hours of video), or its speaker keeps no line: then
// it is placed by its arrival.
const apart = 15 * time.Second

// Line tells the media time of packets. The zero value is ready. One goroutine uses it.
type Line struct {
	tracks map[stream.Track]*track
	newest time.Duration // media time of the packet seen last
	at     time.Time     // its arrival
}

type track struct {
	start time.Duration // media time of its first packet
	ext   int64         // ticks since then
	last  uint32
}

// Time is the media time of a packet that came at the time at.
func (l *Line) Time(t stream.Track, rate, rtpTime uint32, at time.Time) time.Duration {
	if l.tracks == nil {
		l.tracks = map[stream.Track]*track{}
	}
	tr := l.tracks[t]
	if tr == nil {
		tr = &track{start: Span(int64(rtpTime), rate), last: rtpTime}
		if len(l.tracks) > 0 {
			if want := l.newest + at.Sub(l.at); (tr.start - want).Abs() > apart {
				tr.start = want
			}
		}
		l.tracks[t] = tr
	}
	tr.ext += int64(int32(rtpTime - tr.last))
	tr.last = rtpTime
	l.newest, l.at = tr.start+Span(tr.ext, rate), at
	return l.newest
}

// Span is the time that n ticks of a clock of rate take.
func Span(n int64, rate uint32) time.Duration {
	r := int64(rate)
	return time.Duration(n/r)*time.Second + time.Duration(n%r)*time.Second/time.Duration(r)
}

// NTP writes t as a 64-bit NTP time (RFC 5905, section 6).
func NTP(t time.Time) uint64 {
	const epoch = 2208988800 // 1970 in seconds of NTP
	return uint64(t.Unix()+epoch)<<32 | uint64(t.Nanosecond())<<32/1e9
}

// Clock shows media time on the wall clock, so that sender reports of all tracks agree.
// The zero value is ready. One goroutine uses it.
type Clock struct {
	Line
	zero time.Time // wall time of media time 0
}

// Wall is when a packet that came at the time at is on the wall clock. The first packet
// that is asked about is now.
func (c *Clock) Wall(t stream.Track, rate, rtpTime uint32, at, now time.Time) time.Time {
	m := c.Time(t, rate, rtpTime, at)
	if c.zero.IsZero() {
		c.zero = now.Add(-m)
	}
	return c.zero.Add(m)
}
