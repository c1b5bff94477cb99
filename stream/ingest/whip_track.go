package ingest

import (
	"context"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/watergy/waterfall/stream/internal/codec"
)

// putFunc takes a track's next packet.
type putFunc func(ctx context.Context, s Stamp, p *rtp.Packet) error

func (f *Feed) audioPacket(ctx context.Context, s Stamp, p *rtp.Packet) error {
	return f.Audio(ctx, s, p.Payload)
}

// videoPackets puts the packets of a video track together into frames for a Feed.
type videoPackets struct {
	feed   *Feed
	frames codec.Frames
	lost   func() // a frame is gone: the picture is broken until the next keyframe
	next   uint16
	seen   bool
}

func (v *videoPackets) packet(ctx context.Context, s Stamp, p *rtp.Packet) error {
	if v.seen && p.SequenceNumber != v.next {
		v.lost()
	}
	v.next, v.seen = p.SequenceNumber+1, true
	frame, t, err := v.frames.Push(p)
	if err != nil {
		v.lost()
		return nil
	}
	if frame == nil {
		return nil
	}
	if !s.NTP.IsZero() {
		s.NTP = s.NTP.Add(span(int64(int32(t-s.RTP)), videoRate))
	}
	s.RTP = t
	return v.feed.Video(ctx, s, frame)
}

// whipTrack knows a track's place on the publisher's clock.
type whipTrack struct {
	rate int64

	mu  sync.Mutex // guards the newest sender report
	ntp time.Time
	rtp uint32
}

// stamp is the time of a packet.
func (t *whipTrack) stamp(rtpTime uint32, now time.Time) Stamp {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Stamp{RTP: rtpTime, At: now}
	if !t.ntp.IsZero() {
		s.NTP = t.ntp.Add(span(int64(int32(rtpTime-t.rtp)), t.rate))
	}
	return s
}

// reports reads a track's RTCP until it ends.
func (t *whipTrack) reports(r *webrtc.RTPReceiver) {
	for {
		pkts, _, err := r.ReadRTCP()
		if err != nil {
			return
		}
		for _, p := range pkts {
			if sr, ok := p.(*rtcp.SenderReport); ok {
				t.mu.Lock()
				t.ntp, t.rtp = fromNTP(sr.NTPTime), sr.RTPTime
				t.mu.Unlock()
			}
		}
	}
}

// fromNTP reads a 64-bit NTP time (RFC 5905, section 6). Only differences between the
// tracks of one publisher are used, so its era does not matter.
func fromNTP(n uint64) time.Time {
	const epoch = 2208988800 // 1970 in seconds of NTP
	return time.Unix(int64(n>>32)-epoch, int64((n&0xffffffff)*1e9>>32))
}

const (
	reorderPackets = 64
	reorderWait    = 120 * time.Millisecond
)

// reorder puts packets in order of their sequence numbers. A missing one is waited for
// until reorderWait has passed or reorderPackets are held; late ones are dropped.
type reorder struct {
	next uint16
	seen bool
	held map[uint16]heldPacket
}

type heldPacket struct {
	p  *rtp.Packet
	at time.Time
}

// push takes the packet that came next and returns those that are due, in order.
func (r *reorder) push(p *rtp.Packet, now time.Time) []*rtp.Packet {
	if !r.seen {
		r.seen, r.next, r.held = true, p.SequenceNumber, map[uint16]heldPacket{}
	}
	ahead := int16(p.SequenceNumber - r.next)
	switch {
	case ahead < -1000 || ahead > 1000: // the sender began anew
		clear(r.held)
		r.next = p.SequenceNumber
	case ahead < 0:
		return nil
	}
	r.held[p.SequenceNumber] = heldPacket{p, now}
	out := r.ready(nil)
	if len(out) == 0 && len(r.held) > 0 && r.giveUp(now) {
		out = r.ready(out)
	}
	return out
}

func (r *reorder) ready(out []*rtp.Packet) []*rtp.Packet {
	for {
		h, ok := r.held[r.next]
		if !ok {
			return out
		}
		delete(r.held, r.next)
		r.next++
		out = append(out, h.p)
	}
}

// giveUp goes on at the first packet held when it has waited long enough.
func (r *reorder) giveUp(now time.Time) bool {
	var first uint16
	var oldest time.Time
	least := int16(1<<15 - 1)
	for seq, h := range r.held {
		if d := int16(seq - r.next); d < least {
			least, first = d, seq
		}
		if oldest.IsZero() || h.at.Before(oldest) {
			oldest = h.at
		}
	}
	if len(r.held) < reorderPackets && now.Sub(oldest) < reorderWait {
		return false
	}
	r.next = first
	return true
}
