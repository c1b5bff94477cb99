package codec

import (
	"errors"
	"strconv"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/vp9"

	"github.com/watergy/waterfall/stream/internal/avc"
)

// one is the frame of a codec whose frames are one unit.
func one(frame [][]byte) ([]byte, bool) {
	if len(frame) != 1 || len(frame[0]) == 0 || len(frame[0]) > maxFrame {
		return nil, false
	}
	return frame[0], true
}

// afterKey lets frames pass from the first keyframe on, which says the width.
func afterKey(frame [][]byte, key bool, width int) ([][]byte, bool, bool, error) {
	if width == 0 {
		return nil, key, false, nil
	}
	return frame, key, true, nil
}

// vp8Video is VP8 (RFC 6386; RTP: RFC 7741).
type vp8Video struct{ width, height int }

func (v *vp8Video) Codec() string    { return VP8 }
func (v *vp8Video) Fmtp() string     { return "" }
func (v *vp8Video) Size() (w, h int) { return v.width, v.height }

func (v *vp8Video) Normalize(frame [][]byte) ([][]byte, bool, bool, error) {
	b, ok := one(frame)
	if !ok {
		return nil, false, false, nil
	}
	key := b[0]&1 == 0
	if key { // RFC 6386, section 9.1: tag, start code, 14 bits of width and of height
		if len(b) < 10 || b[3] != 0x9d || b[4] != 0x01 || b[5] != 0x2a {
			return nil, false, false, nil
		}
		v.width = int(b[7]&0x3f)<<8 | int(b[6])
		v.height = int(b[9]&0x3f)<<8 | int(b[8])
	}
	return afterKey(frame, key, v.width)
}

// Pack writes the shortest descriptor (RFC 7741, section 4.2): only S, on the first payload.
func (v *vp8Video) Pack(frame [][]byte, size int) ([][]byte, error) {
	out := pieces(frame[0], size-1)
	for i, p := range out {
		head := byte(0)
		if i == 0 {
			head = 0x10
		}
		out[i] = append([]byte{head}, p...)
	}
	return out, nil
}

func (v *vp8Video) Private() ([]byte, error) { return nil, nil }

func (v *vp8Video) Stored(frame [][]byte, _ bool) ([]byte, error) { return frame[0], nil }

// vp9Video is VP9 (RTP: RFC 9628).
type vp9Video struct {
	profile       int
	width, height int
	picture       uint16
}

func newVP9(fmtp string) *vp9Video {
	v := &vp9Video{}
	if n, err := strconv.Atoi(avc.Param(fmtp, "profile-id")); err == nil && n >= 0 && n <= 3 {
		v.profile = n
	}
	return v
}

func (v *vp9Video) Codec() string    { return VP9 }
func (v *vp9Video) Fmtp() string     { return "profile-id=" + strconv.Itoa(v.profile) }
func (v *vp9Video) Size() (w, h int) { return v.width, v.height }

func (v *vp9Video) Normalize(frame [][]byte) ([][]byte, bool, bool, error) {
	b, ok := one(frame)
	if !ok {
		return nil, false, false, nil
	}
	var h vp9.Header
	if err := h.Unmarshal(b); err != nil {
		return nil, false, false, nil
	}
	key := !h.NonKeyFrame && !h.ShowExistingFrame
	if key {
		v.profile, v.width, v.height = int(h.Profile), h.Width(), h.Height()
	}
	return afterKey(frame, key, v.width)
}

// Pack writes non-flexible descriptors (RFC 9628, section 4.2) with a 15-bit picture ID; a
// keyframe says the picture's size and that each picture refers to the one before.
func (v *vp9Video) Pack(frame [][]byte, size int) ([][]byte, error) {
	const (
		hasID, predicted, begins, ends, hasStructure, notReferenced = 0x80, 0x40, 0x08, 0x04, 0x02, 0x01
	)
	var h vp9.Header
	if err := h.Unmarshal(frame[0]); err != nil {
		return nil, errors.New("not a VP9 frame")
	}
	key := !h.NonKeyFrame && !h.ShowExistingFrame
	head := []byte{hasID | notReferenced, 0x80 | byte(v.picture>>8), byte(v.picture)}
	v.picture = (v.picture + 1) & 0x7fff
	if !key {
		head[0] |= predicted
	}
	structure := []byte{
		0x18, byte(h.Width() >> 8), byte(h.Width()), byte(h.Height() >> 8), byte(h.Height()), // one layer, its size
		1, 1<<4 | 1<<2, 1, // groups of one picture: may be switched to, refers one back
	}
	out := pieces(frame[0], size-len(head)-len(structure))
	for i, p := range out {
		b := append(make([]byte, 0, size), head...)
		if i == 0 {
			b[0] |= begins
			if key {
				b[0] |= hasStructure
				b = append(b, structure...)
			}
		}
		if i == len(out)-1 {
			b[0] |= ends
		}
		out[i] = append(b, p...)
	}
	return out, nil
}

func (v *vp9Video) Private() ([]byte, error) { return nil, nil }

func (v *vp9Video) Stored(frame [][]byte, _ bool) ([]byte, error) { return frame[0], nil }
