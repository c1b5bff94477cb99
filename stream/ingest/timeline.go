package ingest

import (
	"math"
	"time"
)

// Clock rates of the two codecs that pass (RFC 6184, RFC 7587).
const (
	videoRate = 90000
	audioRate = 48000
)

// Stamp says when a packet or frame is to be played.
type Stamp struct {
	RTP uint32    // in the sender's own RTP time
	At  time.Time // of arrival
	NTP time.Time // of RTP on the sender's wall clock, by its sender reports; zero: unknown
}

// lineStart keeps every time positive when a track turns out to begin before the one
// that came first.
const lineStart = 10 * time.Second

// maxSkew bounds what sender reports are believed: a greater distance between sound and
// picture than this is a fault of the sender's clock.
const maxSkew = 2 * time.Second

// timeline brings the tracks of one publisher onto one line of time. Tracks are placed
// by when their first packets came, then by the sender's reports as these become known:
// at once while settled is false, later by 1 ms a frame, which nobody sees.
type timeline struct {
	start        time.Time
	video, audio trackTime
	settled      bool
}

type trackTime struct {
	seen bool
	last uint32    // RTP time of the newest
	at   time.Time // its arrival
	ext  int64     // its ticks since the track's first packet
	off  int64     // ticks from the line's zero to the track's first packet
	ntp  time.Time // of the first packet on the sender's clock; zero: unknown
}

// forVideo gives a frame its time on the line, in 90 kHz ticks.
func (l *timeline) forVideo(s Stamp) uint32 {
	l.advance(&l.video, s, videoRate)
	if !l.video.ntp.IsZero() && !l.audio.ntp.IsZero() {
		want := ticks(l.video.ntp.Sub(l.audio.ntp)+span(l.audio.off, audioRate), videoRate)
		if d := want - l.video.off; d > -ticks(maxSkew, videoRate) && d < ticks(maxSkew, videoRate) {
			if l.settled {
				d = max(-videoRate/1000, min(d, videoRate/1000))
			}
			l.video.off += d
		}
	}
	return uint32(l.video.off + l.video.ext)
}

// forAudio gives a packet its time on the line, in 48 kHz ticks.
func (l *timeline) forAudio(s Stamp) uint32 {
	l.advance(&l.audio, s, audioRate)
	return uint32(l.audio.off + l.audio.ext)
}

func (l *timeline) advance(t *trackTime, s Stamp, rate int64) {
	if l.start.IsZero() {
		l.start = s.At
	}
	if !t.seen {
		t.seen = true
		t.off = ticks(lineStart+s.At.Sub(l.start), rate)
	} else {
		d := int64(int32(s.RTP - t.last))
		if d < -rate || d > 10*rate { // the sender's clock began anew
			d = ticks(s.At.Sub(t.at), rate)
			t.ntp = time.Time{}
		}
		t.ext += d
	}
	t.last, t.at = s.RTP, s.At
	if !s.NTP.IsZero() {
		t.ntp = s.NTP.Add(-span(t.ext, rate))
	}
}

func ticks(d time.Duration, rate int64) int64 {
	return int64(math.Round(d.Seconds() * float64(rate)))
}

func span(n, rate int64) time.Duration {
	return time.Duration(n/rate)*time.Second + time.Duration(n%rate)*time.Second/time.Duration(rate)
}
