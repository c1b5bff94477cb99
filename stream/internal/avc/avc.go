// Package avc holds what inputs and outputs need to know of H.264: where a group
// begins, whether frames are reordered, how parameter sets are written in SDP and in
// files. Parsing of parameter sets and of RTP payloads is left to mediacommon and
// gortsplib.
package avc

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
)

// ErrReordered says that a stream has B-frames, which WebRTC cannot play.
var ErrReordered = errors.New("the video has B-frames, which do not play over WebRTC " +
	"(hint: ffmpeg -bf 0 or -tune zerolatency; OBS: Max B-frames 0)")

// Type is the type of a NAL unit, 0 for an empty one.
func Type(nalu []byte) h264.NALUType {
	if len(nalu) == 0 {
		return 0
	}
	return h264.NALUType(nalu[0] & 0x1f)
}

// KeyStart says whether an RTP payload (RFC 6184: a single NAL unit, STAP-A or FU-A)
// holds the start of a parameter set or of an IDR picture. The first such packet of a
// frame begins a group.
func KeyStart(payload []byte) bool {
	switch t := Type(payload); t {
	case h264.NALUTypeSPS, h264.NALUTypeIDR:
		return true
	case h264.NALUTypeSTAPA:
		for b := payload[1:]; len(b) > 2; {
			n := int(b[0])<<8 | int(b[1])
			b = b[2:]
			if n == 0 || n > len(b) {
				return false
			}
			if t := Type(b[:n]); t == h264.NALUTypeSPS || t == h264.NALUTypeIDR {
				return true
			}
			b = b[n:]
		}
	case h264.NALUTypeFUA:
		return len(payload) > 2 && payload[1]&0x80 != 0 && h264.NALUType(payload[1]&0x1f) == h264.NALUTypeIDR
	}
	return false
}

// CheckSPS reads a sequence parameter set and reports ErrReordered when it allows for
// frames that are shown in another order than they are sent. A set that says nothing
// of reordering passes: then only the frames' times tell (Order).
func CheckSPS(sps []byte) (h264.SPS, error) {
	var s h264.SPS
	if err := s.Unmarshal(sps); err != nil {
		return s, err
	}
	if s.VUI != nil && s.VUI.BitstreamRestriction != nil && s.VUI.BitstreamRestriction.MaxNumReorderFrames > 0 {
		return s, ErrReordered
	}
	return s, nil
}

// Order finds B-frames by times that go backwards. The zero value is ready.
type Order struct {
	last uint32
	seen bool
}

// Check takes the RTP time of the next frame in the order sent. A step back of up to a
// second is reordering; a longer one is a new start of the sender's clock.
func (o *Order) Check(rtpTime uint32) error {
	back := o.last - rtpTime
	if o.seen && back > 0 && back <= 90000 {
		return ErrReordered
	}
	o.last, o.seen = rtpTime, true
	return nil
}

// Params are the parameter sets that a decoder needs before the first IDR picture.
type Params struct{ SPS, PPS []byte }

// Complete says whether both are known.
func (p Params) Complete() bool { return len(p.SPS) >= 4 && len(p.PPS) > 0 }

// maxSprop keeps format parameters short enough for a catalog; larger sets travel in
// the stream alone.
const maxSprop = 400

// Fmtp writes the SDP format parameters (RFC 6184, section 8.1), sets included.
func (p Params) Fmtp() string {
	if !p.Complete() {
		return "packetization-mode=1"
	}
	f := "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=" + p.ProfileLevelID()
	if len(p.SPS)+len(p.PPS) <= maxSprop {
		b64 := base64.StdEncoding.EncodeToString
		f += ";sprop-parameter-sets=" + b64(p.SPS) + "," + b64(p.PPS)
	}
	return f
}

// ProfileLevelID is the SDP form of profile, constraints and level.
func (p Params) ProfileLevelID() string { return hex.EncodeToString(p.SPS[1:4]) }

// ParseFmtp reads the parameter sets out of SDP format parameters; what is missing or
// malformed stays empty.
func ParseFmtp(fmtp string) Params {
	sps, pps, _ := strings.Cut(Param(fmtp, "sprop-parameter-sets"), ",")
	pps, _, _ = strings.Cut(pps, ",")
	var p Params
	if b, err := base64.StdEncoding.DecodeString(sps); err == nil && Type(b) == h264.NALUTypeSPS && len(b) >= 4 {
		p.SPS = b
	}
	if b, err := base64.StdEncoding.DecodeString(pps); err == nil && Type(b) == h264.NALUTypePPS {
		p.PPS = b
	}
	return p
}

// Param finds one SDP format parameter, "" when it is not there.
func Param(fmtp, key string) string {
	for part := range strings.SplitSeq(fmtp, ";") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		if strings.EqualFold(k, key) {
			return v
		}
	}
	return ""
}

// Config is the decoder configuration record of files ("avcC", ISO/IEC 14496-15,
// 5.3.3.1), for NAL units behind 4-byte lengths. It needs complete parameters.
func (p Params) Config() ([]byte, error) {
	var s h264.SPS
	if err := s.Unmarshal(p.SPS); err != nil {
		return nil, err
	}
	b := []byte{1, p.SPS[1], p.SPS[2], p.SPS[3], 0xff, 0xe1, byte(len(p.SPS) >> 8), byte(len(p.SPS))}
	b = append(b, p.SPS...)
	b = append(b, 1, byte(len(p.PPS)>>8), byte(len(p.PPS)))
	b = append(b, p.PPS...)
	switch s.ProfileIdc {
	case 100, 110, 122, 144: // High and above also say the chroma format and depths
		b = append(b, 0xfc|byte(s.ChromaFormatIdc), 0xf8|byte(s.BitDepthLumaMinus8), 0xf8|byte(s.BitDepthChromaMinus8), 0)
	}
	return b, nil
}

// Normalize makes an access unit fit to be sent: it drops delimiters, filler and empty
// units, remembers parameter sets in p, and puts them before an IDR picture that comes
// without. key says whether the unit begins a group; ok is false when nothing is left, or
// when a picture cannot be decoded because no sets are known yet.
func (p *Params) Normalize(au [][]byte) (out [][]byte, key, ok bool) {
	var sps, pps bool
	out = make([][]byte, 0, len(au)+2)
	for _, n := range au {
		switch Type(n) {
		case 0, h264.NALUTypeAccessUnitDelimiter, h264.NALUTypeFillerData, h264.NALUTypeEndOfSequence, h264.NALUTypeEndOfStream:
			continue
		case h264.NALUTypeSPS:
			p.SPS, sps = n, true
		case h264.NALUTypePPS:
			p.PPS, pps = n, true
		case h264.NALUTypeIDR:
			key = true
		}
		out = append(out, n)
	}
	if len(out) == 0 || !p.Complete() {
		return nil, key, false
	}
	if key && !(sps && pps) {
		rest := make([][]byte, 0, len(out)+2)
		rest = append(rest, p.SPS, p.PPS)
		for _, n := range out {
			if t := Type(n); t != h264.NALUTypeSPS && t != h264.NALUTypePPS {
				rest = append(rest, n)
			}
		}
		out = rest
	}
	return out, key, true
}
