package codec

import (
	"errors"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"

	"github.com/watergy/waterfall/stream/internal/avc"
)

// Frames puts RTP packets of one codec together into frames.
type Frames interface {
	// Push takes the next packet in order. It returns a frame when p completed one, with
	// the frame's RTP time; the error says that a frame was lost.
	Push(p *rtp.Packet) (frame [][]byte, rtpTime uint32, err error)
}

// NewFrames makes a depacketizer for a codec that New knows; nil for others.
func NewFrames(name string) Frames {
	switch canonical(name) {
	case H264:
		return &avc.Frames{}
	case VP8:
		return &assembler{open: openVP8}
	case VP9:
		return &assembler{open: openVP9}
	case AV1:
		return &assembler{open: openAV1, elements: true}
	}
	return nil
}

var (
	errLost   = errors.New("a packet of the frame is missing")
	errBroken = errors.New("broken RTP payload")
	errLarge  = errors.New("the frame is too large")
)

// part is what one packet holds of a frame.
type part struct {
	data   [][]byte // one piece (VP8, VP9), or OBU elements (AV1)
	begins bool     // may be a frame's first packet
	joins  bool     // data[0] goes on where the packet before ended
}

// assembler collects the packets of a frame, which must be in a row, up to the marker.
// gortsplib's decoders are not used here: they refuse GStreamer's VP8 (a packet for each
// partition) and join AV1 frames over a loss.
type assembler struct {
	open     func(payload []byte) (part, error)
	elements bool // each piece is a unit; else all are one

	units [][]byte
	size  int
	time  uint32
	next  uint16
	busy  bool // within a frame
	lost  bool // the rest of this frame is of no use
}

func (a *assembler) Push(p *rtp.Packet) ([][]byte, uint32, error) {
	switch {
	case a.busy && p.Timestamp != a.time: // the marker was lost
		a.reset()
	case a.busy && p.SequenceNumber != a.next:
		return nil, 0, a.fail(p, errLost)
	case a.lost && p.Timestamp == a.time:
		return nil, 0, nil // of a frame that is given up
	}
	fresh := !a.busy
	a.time, a.next, a.busy, a.lost = p.Timestamp, p.SequenceNumber+1, true, false
	part, err := a.open(p.Payload)
	if err == nil && fresh && !part.begins {
		err = errLost
	}
	if err == nil {
		err = a.add(part)
	}
	if err != nil {
		return nil, 0, a.fail(p, err)
	}
	if !p.Marker {
		return nil, 0, nil
	}
	frame := a.units
	a.reset()
	return frame, p.Timestamp, nil
}

func (a *assembler) add(p part) error {
	if p.joins && len(a.units) == 0 {
		return errLost
	}
	for i, d := range p.data {
		if a.size += len(d); a.size > maxFrame || len(a.units) > maxUnits {
			return errLarge
		}
		if last := len(a.units) - 1; last >= 0 && (!a.elements || i == 0 && p.joins) {
			a.units[last] = append(a.units[last], d...)
			continue
		}
		a.units = append(a.units, append(make([]byte, 0, 2*len(d)), d...))
	}
	return nil
}

func (a *assembler) reset() { a.units, a.size, a.busy, a.lost = nil, 0, false, false }

func (a *assembler) fail(p *rtp.Packet, err error) error {
	a.reset()
	a.time, a.lost = p.Timestamp, !p.Marker
	return err
}

func openVP8(payload []byte) (part, error) {
	var p codecs.VP8Packet
	b, err := p.Unmarshal(payload)
	if err != nil || len(b) == 0 {
		return part{}, errBroken
	}
	return part{data: [][]byte{b}, begins: p.S == 1 && p.PID == 0}, nil
}

func openVP9(payload []byte) (part, error) {
	var p codecs.VP9Packet
	b, err := p.Unmarshal(payload)
	if err != nil || len(b) == 0 {
		return part{}, errBroken
	}
	return part{data: [][]byte{b}, begins: p.B && (!p.L || p.SID == 0)}, nil
}

// openAV1 reads an aggregation header and the elements behind it (RTP payload format,
// sections 4.3 and 4.4).
func openAV1(payload []byte) (part, error) {
	if len(payload) < 2 {
		return part{}, errBroken
	}
	head, b := payload[0], payload[1:]
	joins, count := head&0x80 != 0, int(head>>4&3)
	p := part{begins: !joins, joins: joins}
	for len(b) > 0 {
		n := len(b)
		if count == 0 || len(p.data) < count-1 {
			size, k := leb(b)
			if k == 0 || size > len(b)-k {
				return part{}, errBroken
			}
			b, n = b[k:], size
		}
		if len(p.data) == maxUnits {
			return part{}, errBroken
		}
		p.data, b = append(p.data, b[:n]), b[n:]
	}
	if count > 0 && len(p.data) != count {
		return part{}, errBroken
	}
	return p, nil
}

// leb reads a number of up to 4 bytes in LEB128; k is 0 when it is broken.
func leb(b []byte) (n, k int) {
	for i := range min(4, len(b)) {
		n |= int(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 == 0 {
			return n, i + 1
		}
	}
	return 0, 0
}
