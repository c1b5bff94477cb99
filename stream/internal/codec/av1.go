package codec

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/av1"

	"github.com/watergy/waterfall/stream/internal/avc"
)

// OBU types (AV1 specification, section 6.2.2).
const (
	obuSequence  = 1
	obuDelimiter = 2
	obuFrameHead = 3
	obuTileList  = 8
	obuFrame     = 6
	obuPadding   = 15
)

// maxUnits bounds the OBUs of a frame.
const maxUnits = 64

// av1Video is AV1 (RTP: RTP Payload Format For AV1, v1.0.0).
type av1Video struct {
	sequence             []byte // the newest sequence header, an OBU
	profile, level, tier int
	width, height        int
	depth                byte // the third byte of the configuration record
}

func newAV1(fmtp string) *av1Video {
	v := &av1Video{level: 5} // what is meant when nothing is said
	for key, to := range map[string]*int{"profile": &v.profile, "level-idx": &v.level, "tier": &v.tier} {
		if n, err := strconv.Atoi(avc.Param(fmtp, key)); err == nil && n >= 0 && n < 32 {
			*to = n
		}
	}
	return v
}

func (v *av1Video) Codec() string { return AV1 }
func (v *av1Video) Fmtp() string {
	return fmt.Sprintf("profile=%d;level-idx=%d;tier=%d", v.profile, v.level, v.tier)
}
func (v *av1Video) Size() (w, h int) { return v.width, v.height }

// obu takes an OBU's header off: its type, its payload, and the OBU without size field.
func obu(b []byte) (kind byte, payload, plain []byte, err error) {
	n := 1
	if len(b) > 0 && b[0]&0x04 != 0 {
		n = 2 // layer numbers follow
	}
	if len(b) < n || b[0]&0x80 != 0 {
		return 0, nil, nil, errors.New("not an OBU")
	}
	kind = b[0] >> 3 & 15
	if b[0]&0x02 == 0 {
		return kind, b[n:], b, nil
	}
	var size av1.LEB128
	k, err := size.Unmarshal(b[n:])
	if err != nil || int(size) > len(b)-n-k {
		return 0, nil, nil, errors.New("bad size of an OBU")
	}
	payload = b[n+k : n+k+int(size)]
	plain = append([]byte{b[0] &^ 0x02}, b[1:n]...)
	return kind, payload, append(plain, payload...), nil
}

// SplitOBUs takes a temporal unit of a file apart (AV1 specification, section 5.2).
func SplitOBUs(b []byte) ([][]byte, error) {
	var out [][]byte
	for len(b) > 0 {
		n := 1
		if b[0]&0x04 != 0 {
			n = 2
		}
		if len(b) < n || len(out) == maxUnits {
			return nil, errors.New("bad temporal unit")
		}
		size := len(b) - n
		if b[0]&0x02 != 0 {
			var s av1.LEB128
			k, err := s.Unmarshal(b[n:])
			if err != nil || int(s) > len(b)-n-k {
				return nil, errors.New("bad temporal unit")
			}
			size = k + int(s)
		}
		out, b = append(out, b[:n+size]), b[n+size:]
	}
	return out, nil
}

// Configuration reads the sequence header out of a configuration record of files ("av1C",
// AV1 in ISO base media files, section 2.3); nil if there is none.
func Configuration(b []byte) []byte {
	if len(b) < 4 || b[0] != 0x81 {
		return nil
	}
	units, err := SplitOBUs(b[4:])
	if err != nil {
		return nil
	}
	for _, u := range units {
		if kind, _, plain, err := obu(u); err == nil && kind == obuSequence {
			return plain
		}
	}
	return nil
}

func (v *av1Video) Normalize(frame [][]byte) (out [][]byte, key, ok bool, err error) {
	if len(frame) > maxUnits {
		return nil, false, false, nil
	}
	headed, pictures := false, false
	for _, u := range frame {
		kind, payload, plain, err := obu(u)
		if err != nil {
			return nil, false, false, nil
		}
		switch kind {
		case obuDelimiter, obuTileList, obuPadding:
			continue
		case obuSequence:
			headed = true
			v.learn(plain)
		case obuFrame, obuFrameHead:
			// show_existing_frame and frame_type come first, unless the stream is one still.
			if !pictures && len(payload) > 0 && payload[0]&0xe0 == 0 {
				key = true
			}
			pictures = true
		}
		out = append(out, plain)
	}
	if v.sequence == nil || len(out) == 0 || headed && !pictures {
		return nil, false, false, nil
	}
	if key && !headed {
		out = append([][]byte{v.sequence}, out...)
	}
	return out, key, true, nil
}

func (v *av1Video) learn(sequence []byte) {
	if string(sequence) == string(v.sequence) {
		return
	}
	var h av1.SequenceHeader
	if err := h.Unmarshal(sequence); err != nil {
		return
	}
	v.sequence = append([]byte(nil), sequence...)
	v.profile, v.width, v.height = int(h.SeqProfile), h.Width(), h.Height()
	if len(h.SeqLevelIdx) > 0 && len(h.SeqTier) > 0 {
		v.level, v.tier = int(h.SeqLevelIdx[0]), bit(h.SeqTier[0], 0)
	}
	c := h.ColorConfig
	v.depth = byte(bit(len(h.SeqTier) > 0 && h.SeqTier[0], 7) | bit(c.HighBitDepth, 6) | bit(c.TwelveBit, 5) |
		bit(c.MonoChrome, 4) | bit(c.SubsamplingX, 3) | bit(c.SubsamplingY, 2) | int(c.ChromaSamplePosition)&3)
}

func bit(on bool, at int) int {
	if on {
		return 1 << at
	}
	return 0
}

// Pack writes one OBU element after another, each behind its length (W = 0); those that do
// not fit go on in the next payload.
func (v *av1Video) Pack(frame [][]byte, size int) ([][]byte, error) {
	const (
		continues, goesOn, newSequence = 0x80, 0x40, 0x08
		room                           = 3 // of a length: payloads are shorter than 2^14 bytes
	)
	cur := append(make([]byte, 0, size), 0)
	if k, _, _, err := obu(frame[0]); err == nil && k == obuSequence {
		cur[0] = newSequence
	}
	var out [][]byte
	for _, u := range frame {
		for first := true; len(u) > 0; first = false {
			if size-len(cur) <= room {
				out = append(out, cur)
				cur = append(make([]byte, 0, size), 0)
			}
			if !first {
				cur[0] |= continues
			}
			n := min(len(u), size-len(cur)-room+1)
			if n > 0 {
				cur = appendLEB(cur, n)
				cur, u = append(cur, u[:n]...), u[n:]
			}
			if len(u) > 0 {
				cur[0] |= goesOn
				out = append(out, cur)
				cur = append(make([]byte, 0, size), 0)
			}
		}
	}
	if len(cur) > 1 {
		out = append(out, cur)
	}
	return out, nil
}

func appendLEB(b []byte, n int) []byte {
	for n >= 0x80 {
		b, n = append(b, byte(n)|0x80), n>>7
	}
	return append(b, byte(n))
}

// Private is the configuration record ("av1C") with the sequence header.
func (v *av1Video) Private() ([]byte, error) {
	if v.sequence == nil {
		return nil, errors.New("no sequence header yet")
	}
	b := []byte{0x81, byte(v.profile<<5 | v.level), v.depth, 0}
	return append(b, sized(v.sequence)...), nil
}

// sized gives an OBU its size field.
func sized(u []byte) []byte {
	n := 1
	if u[0]&0x04 != 0 {
		n = 2
	}
	b := append([]byte{u[0] | 0x02}, u[1:n]...)
	return append(appendLEB(b, len(u)-n), u[n:]...)
}

func (v *av1Video) Stored(frame [][]byte, _ bool) ([]byte, error) {
	var b []byte
	for _, u := range frame {
		b = append(b, sized(u)...)
	}
	return b, nil
}
