package avc

import (
	"errors"

	"github.com/bluenviron/gortsplib/v5/pkg/format/rtph264"
	"github.com/pion/rtp"
)

// Frames puts RTP packets of H.264 together into frames.
type Frames struct {
	dec  rtph264.Decoder
	last uint32
	part bool
}

// Push takes the next packet in order. It returns a frame when p completed one, with
// the frame's RTP time; the error says that a frame was lost.
func (f *Frames) Push(p *rtp.Packet) (au [][]byte, rtpTime uint32, err error) {
	au, err = f.dec.Decode(p)
	if errors.Is(err, rtph264.ErrMorePacketsNeeded) {
		f.last, f.part = p.Timestamp, true
		return nil, 0, nil
	}
	// Without markers a frame is complete when the next one begins.
	rtpTime = p.Timestamp
	if f.part && f.last != rtpTime {
		rtpTime = f.last
	}
	f.last, f.part = p.Timestamp, !p.Marker
	if err != nil {
		return nil, 0, err
	}
	return au, rtpTime, nil
}
