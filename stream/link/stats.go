package link

import (
	"time"

	"github.com/watergy/waterfall/stream"
)

// Stats are the figures of one link; zero RTT means unknown.
type Stats struct {
	RTT                         time.Duration
	MediaIn, MediaOut           uint64 // bytes of media packets
	FeedbackIn, FeedbackOut     uint64 // bytes of heartbeats, asks, wants, repairs
	ControlIn, ControlOut       uint64 // bytes of control messages
	Forwarded, Skipped, Repairs uint64 // packets sent as parent

	Heard time.Time     // when anything came from the other side last; zero: never
	Queue time.Duration // that stands on the way to the other side, as it says
	Limit uint64        // bits a second that are sent at most, lest it grow; 0: no limit is known
}

// Stats returns the figures since the link was made.
func (l *Link) Stats() Stats {
	c := &l.count
	s := Stats{
		MediaIn: c.mediaIn.Load(), MediaOut: c.mediaOut.Load(),
		FeedbackIn: c.feedbackIn.Load(), FeedbackOut: c.feedbackOut.Load(),
		ControlIn: c.controlIn.Load(), ControlOut: c.controlOut.Load(),
		Forwarded: c.forwarded.Load(), Repairs: c.repairs.Load(),
	}
	rate, queue := l.pacer.limit()
	s.Queue, s.Limit = queue, uint64(8*rate)
	l.mu.Lock()
	defer l.mu.Unlock()
	s.RTT, s.Heard = l.rtt, l.heardAt
	for _, n := range l.streams {
		s.Skipped += n.skipped
	}
	return s
}

// Probe asks the other side for a sign of life, which shows in Stats.Heard.
func (l *Link) Probe() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.upAt.IsZero() {
		l.sendHop(ping{clockOf(time.Now()), l.come}.append(nil))
	}
}

// Takes says whether the other side takes stream id from here.
func (l *Link) Takes(id stream.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.serves[id]
	return s != nil && s.running
}

// StreamStats is the share of one stream in a link: MediaIn as child, the rest as parent.
type StreamStats struct {
	Forwarded map[stream.Track]uint64 // packets
	Skipped   uint64                  // packets that the other side was too slow for
	MediaIn   uint64                  // bytes
	MediaOut  uint64
}

// StreamStats returns the figures of stream id; they outlive Unserve and Drop.
func (l *Link) StreamStats(id stream.ID) StreamStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := StreamStats{Forwarded: map[stream.Track]uint64{}}
	c := l.streams[id]
	if c == nil {
		return out
	}
	out.Skipped, out.MediaIn, out.MediaOut = c.skipped, c.mediaIn, c.mediaOut
	for t, n := range c.forwarded {
		if n > 0 {
			out.Forwarded[stream.Track(t)] = n
		}
	}
	return out
}

// streamCount are one stream's figures on a link; the link's mutex guards them.
type streamCount struct {
	forwarded                  [stream.MaxTracks]uint64
	skipped, mediaIn, mediaOut uint64
}

// streamLocked finds or makes them. Caller holds mu.
func (l *Link) streamLocked(id stream.ID) *streamCount {
	if l.streams[id] == nil {
		l.streams[id] = &streamCount{}
	}
	return l.streams[id]
}
