package codec

import (
	"fmt"

	"github.com/bluenviron/gortsplib/v5/pkg/format/rtph264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"

	"github.com/watergy/waterfall/stream/internal/avc"
)

type h264Video struct {
	params avc.Params
	sps    []byte // the set that width and height are of
	width  int
	height int
	bad    error // of that set
	enc    *rtph264.Encoder
}

func newH264(fmtp string) *h264Video {
	v := &h264Video{params: avc.ParseFmtp(fmtp)}
	v.learn()
	return v
}

func (v *h264Video) Codec() string    { return H264 }
func (v *h264Video) Fmtp() string     { return v.params.Fmtp() }
func (v *h264Video) Size() (w, h int) { return v.width, v.height }

// learn reads a parameter set that is new.
func (v *h264Video) learn() {
	if len(v.params.SPS) == 0 || string(v.sps) == string(v.params.SPS) {
		return
	}
	v.sps, v.width, v.height, v.bad = v.params.SPS, 0, 0, nil
	s, err := avc.CheckSPS(v.sps)
	switch {
	case err == avc.ErrReordered:
		v.bad = err
	case err == nil: // an unreadable set is the decoders' business
		v.width, v.height = s.Width(), s.Height()
	}
}

func (v *h264Video) Normalize(frame [][]byte) ([][]byte, bool, bool, error) {
	out, key, ok := v.params.Normalize(frame)
	v.learn()
	return out, key, ok && v.bad == nil, v.bad
}

func (v *h264Video) Pack(frame [][]byte, size int) ([][]byte, error) {
	if v.enc == nil || v.enc.PayloadMaxSize != size {
		v.enc = &rtph264.Encoder{PayloadMaxSize: size, PacketizationMode: 1}
		if err := v.enc.Init(); err != nil {
			return nil, err
		}
	}
	pkts, err := v.enc.Encode(frame)
	if err != nil {
		return nil, fmt.Errorf("cut a frame into packets: %w", err)
	}
	out := make([][]byte, len(pkts))
	for i, p := range pkts {
		out[i] = p.Payload
	}
	return out, nil
}

func (v *h264Video) Private() ([]byte, error) { return v.params.Config() }

func (v *h264Video) Stored(frame [][]byte, inHeader bool) ([]byte, error) {
	if inHeader {
		kept := make([][]byte, 0, len(frame))
		for _, n := range frame {
			if t := avc.Type(n); t != h264.NALUTypeSPS && t != h264.NALUTypePPS {
				kept = append(kept, n)
			}
		}
		frame = kept
	}
	return h264.AVCC(frame).Marshal()
}
