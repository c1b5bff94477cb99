// Package codec holds what inputs and outputs need to know of the video codecs that pass:
// where a group begins, how a frame is cut into RTP payloads and put together again, how
// SDP and files describe it. H.264's own part is in package avc.
//
// A frame is a list of units: NAL units without start codes (H.264), OBUs without size
// fields (AV1), or the one frame (VP8, VP9).
package codec

import (
	"errors"
	"fmt"
	"strings"
)

// Names of the codecs, as SDP writes them.
const (
	H264 = "H264"
	VP8  = "VP8"
	VP9  = "VP9"
	AV1  = "AV1"
)

// ErrUnknown says that a codec does not pass; its text says what does.
var ErrUnknown = errors.New("does not pass here (hint: ffmpeg -c:v libx264 -bf 0; OBS: an H.264 encoder)")

// maxFrame bounds a frame: larger than any that live video has.
const maxFrame = 8 << 20

// Video is what is known of one video stream. It is not safe for concurrent use.
type Video interface {
	// Codec is the name of the codec.
	Codec() string
	// Fmtp is the SDP format parameters as far as they are known.
	Fmtp() string
	// Normalize makes a frame fit to be sent and learns from it. key says that the frame
	// begins a group; ok is false when nothing is left, or when it cannot be decoded because
	// no parameters are known yet. The error is avc.ErrReordered.
	Normalize(frame [][]byte) (out [][]byte, key, ok bool, err error)
	// Pack cuts a normalized frame into RTP payloads of at most size bytes.
	Pack(frame [][]byte, size int) ([][]byte, error)
	// Size is the picture's size in pixels, 0 when it is not known yet.
	Size() (width, height int)
	// Private is the codec's private data in Matroska files; it needs a keyframe first.
	Private() ([]byte, error)
	// Stored is a normalized frame as files hold it. A file whose header holds the private
	// data of now needs no parameters in its frames.
	Stored(frame [][]byte, inHeader bool) ([]byte, error)
}

// New makes what is known of a stream from its SDP format parameters (which may be empty).
func New(name, fmtp string) (Video, error) {
	switch canonical(name) {
	case H264:
		return newH264(fmtp), nil
	case VP8:
		return &vp8Video{}, nil
	case VP9:
		return newVP9(fmtp), nil
	case AV1:
		return newAV1(fmtp), nil
	}
	return nil, fmt.Errorf("%s video %w", Title(name), ErrUnknown)
}

// Known says whether video of a codec passes.
func Known(name string) bool { return canonical(name) != "" }

func canonical(name string) string {
	for _, c := range []string{H264, VP8, VP9, AV1} {
		if strings.EqualFold(name, c) {
			return c
		}
	}
	return ""
}

// Title is how people write a codec's name.
func Title(name string) string {
	switch strings.ToUpper(name) {
	case "H265", "HEVC":
		return "H.265 (HEVC)"
	case H264:
		return "H.264"
	}
	return name
}

// pieces cuts b into parts of at most size bytes.
func pieces(b []byte, size int) [][]byte {
	var out [][]byte
	for len(b) > 0 {
		n := min(size, len(b))
		out, b = append(out, b[:n]), b[n:]
	}
	return out
}
