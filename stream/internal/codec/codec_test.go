package codec

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
)

// Frames of 320x240 as libvpx writes them at their beginning, and as libaom does.
var (
	vp8Key = []byte{0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00, 0x11}
	vp8Not = []byte{0x31, 0x02, 0x00, 0x01}
	vp9Key = []byte{0x82, 0x49, 0x83, 0x42, 0x00, 0x13, 0xf0, 0x0e, 0xf6, 0x00, 0x38}
	vp9Not = []byte{0x86, 0x00, 0x40, 0x92, 0x00}
	av1Seq = []byte{0x08, 0x00, 0x00, 0x00, 0x04, 0x3c, 0xff, 0xbd, 0xff, 0xf9, 0x80, 0x40} // 640x360
	av1Key = []byte{0x30, 0x10, 0x00, 0xaa}
	av1Not = []byte{0x30, 0x30, 0x00, 0xaa}
)

func video(t testing.TB, name, fmtp string) Video {
	t.Helper()
	v, err := New(name, fmtp)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestNormalize(t *testing.T) {
	grown := func(b []byte) []byte { return append(append([]byte{}, b...), make([]byte, 5000)...) }
	for _, c := range []struct {
		name   string
		before [][]byte // a frame that came first
		frame  [][]byte
		key    bool
		ok     bool
		units  int
	}{
		{"VP8 keyframe", nil, [][]byte{vp8Key}, true, true, 1},
		{"VP8 before a keyframe", nil, [][]byte{vp8Not}, false, false, 0},
		{"VP8 after it", [][]byte{vp8Key}, [][]byte{vp8Not}, false, true, 1},
		{"VP8 keyframe cut short", nil, [][]byte{vp8Key[:8]}, false, false, 0},
		{"VP8 empty", nil, [][]byte{{}}, false, false, 0},
		{"VP9 keyframe", nil, [][]byte{grown(vp9Key)}, true, true, 1},
		{"VP9 before a keyframe", nil, [][]byte{vp9Not}, false, false, 0},
		{"VP9 after it", [][]byte{vp9Key}, [][]byte{vp9Not}, false, true, 1},
		{"VP9 rubbish", nil, [][]byte{{0, 1, 2}}, false, false, 0},
		{"AV1 keyframe with delimiter", nil, [][]byte{{0x12, 0x00}, av1Seq, av1Key}, true, true, 2},
		{"AV1 keyframe without sequence header", [][]byte{av1Seq, av1Key}, [][]byte{av1Key}, true, true, 2},
		{"AV1 before a keyframe", nil, [][]byte{av1Not}, false, false, 0},
		{"AV1 after it", [][]byte{av1Seq, av1Key}, [][]byte{av1Not}, false, true, 1},
		{"AV1 rubbish", nil, [][]byte{{0xff}}, false, false, 0},
		{"AV1 empty unit", nil, [][]byte{{}}, false, false, 0},
	} {
		v := video(t, c.name[:3], "")
		if c.before != nil {
			if _, _, _, err := v.Normalize(c.before); err != nil {
				t.Fatal(err)
			}
		}
		out, key, ok, err := v.Normalize(c.frame)
		if err != nil || key != c.key || ok != c.ok || len(out) != c.units {
			t.Errorf("%s: %d units, key %v, ok %v, %v; want %d, %v, %v", c.name, len(out), key, ok, err, c.units, c.key, c.ok)
		}
		if ok && key {
			if w, h := v.Size(); w != 320 || h != 240 {
				if !(v.Codec() == AV1 && w == 640 && h == 360) {
					t.Errorf("%s: %dx%d", c.name, w, h)
				}
			}
			if _, err := v.Private(); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
}

func TestUnknown(t *testing.T) {
	_, err := New("h265", "")
	if err == nil || !strings.Contains(err.Error(), "H.265") || !strings.Contains(err.Error(), "(hint: ") {
		t.Errorf("%v", err)
	}
}

// Whatever is packed comes out again the same, and nothing broken does after a loss.
func TestPackAndPush(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	body := func(head []byte, n int) []byte {
		b := append([]byte{}, head...)
		for range n {
			b = append(b, byte(rnd.Uint32()))
		}
		return b
	}
	for _, name := range []string{VP8, VP9, AV1} {
		v, frames := video(t, name, ""), NewFrames(name)
		seq := uint16(65500)
		for i := range 300 {
			var frame [][]byte
			n := rnd.IntN(6000)
			switch {
			case name == VP8 && i%10 == 0:
				frame = [][]byte{body(vp8Key, n)}
			case name == VP8:
				frame = [][]byte{body(vp8Not, n)}
			case name == VP9 && i%10 == 0:
				frame = [][]byte{body(vp9Key, n)}
			case name == VP9:
				frame = [][]byte{body(vp9Not, n)}
			case i%10 == 0:
				frame = [][]byte{av1Seq, body(av1Key, n)}
			default:
				for range 1 + rnd.IntN(6) {
					frame = append(frame, body(av1Not, rnd.IntN(1500)))
				}
			}
			frame, _, ok, err := v.Normalize(frame)
			if !ok || err != nil {
				t.Fatalf("%s: frame %d does not pass: %v", name, i, err)
			}
			payloads, err := v.Pack(frame, 1174)
			if err != nil {
				t.Fatal(err)
			}
			drop := -1
			if i%7 == 3 {
				drop = rnd.IntN(len(payloads))
			}
			var got [][]byte
			for k, b := range payloads {
				if len(b) > 1174 {
					t.Fatalf("%s: a payload of %d bytes", name, len(b))
				}
				seq++
				if k == drop {
					continue
				}
				out, at, err := frames.Push(&rtp.Packet{Header: rtp.Header{
					SequenceNumber: seq, Timestamp: uint32(i) * 3000, Marker: k == len(payloads)-1,
				}, Payload: b})
				if out != nil {
					got = out
					if at != uint32(i)*3000 || err != nil {
						t.Errorf("%s: frame %d at %d: %v", name, i, at, err)
					}
				}
			}
			switch {
			case drop >= 0 && got != nil:
				t.Errorf("%s: frame %d came out without packet %d", name, i, drop)
			case drop < 0 && len(got) != len(frame):
				t.Fatalf("%s: frame %d: %d units, want %d", name, i, len(got), len(frame))
			}
			for k := range got {
				if !bytes.Equal(got[k], frame[k]) {
					t.Fatalf("%s: unit %d of frame %d differs", name, k, i)
				}
			}
		}
	}
}

// pion, which many publishers are built with, understands what is packed.
func TestPackIsUnderstood(t *testing.T) {
	v := video(t, VP9, "")
	payloads, err := v.Pack([][]byte{append(append([]byte{}, vp9Key...), make([]byte, 3000)...)}, 1174)
	if err != nil {
		t.Fatal(err)
	}
	var p codecs.VP9Packet
	if _, err := p.Unmarshal(payloads[0]); err != nil || !p.B || p.P || !p.V || p.Width[0] != 320 || p.Height[0] != 240 {
		t.Errorf("first packet: %+v, %v", p, err)
	}
	if _, err := p.Unmarshal(payloads[len(payloads)-1]); err != nil || !p.E || p.B {
		t.Errorf("last packet: %+v, %v", p, err)
	}
}

func TestFmtp(t *testing.T) {
	for _, c := range []struct{ name, fmtp, want string }{
		{"vp8", "", ""}, {"VP9", "profile-id=2", "profile-id=2"}, {"VP9", "profile-id=9", "profile-id=0"},
		{"av1", "level-idx=8;profile=0;tier=1", "profile=0;level-idx=8;tier=1"}, {"AV1", "", "profile=0;level-idx=5;tier=0"},
	} {
		if got := video(t, c.name, c.fmtp).Fmtp(); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.name, c.fmtp, got, c.want)
		}
	}
}

func FuzzNormalize(f *testing.F) {
	for _, b := range [][]byte{vp8Key, vp8Not, vp9Key, vp9Not, av1Seq, av1Key, av1Not} {
		f.Add(b, b, uint16(1174))
	}
	f.Fuzz(func(t *testing.T, a, b []byte, size uint16) {
		for _, name := range []string{H264, VP8, VP9, AV1} {
			v := video(t, name, string(a))
			for _, frame := range [][][]byte{{a}, {b}, {a, b}, {b, a}} {
				out, _, ok, err := v.Normalize(frame)
				if err != nil || !ok {
					continue
				}
				limit := 100 + int(size)%2000
				payloads, err := v.Pack(out, limit)
				for _, p := range payloads {
					if len(p) > limit {
						t.Fatalf("%s: %d bytes, at most %d are allowed", name, len(p), limit)
					}
				}
				if err == nil {
					_, _ = v.Stored(out, false)
					_, _ = v.Private()
				}
				v.Fmtp()
			}
		}
		_, _ = SplitOBUs(a)
		Configuration(a)
	})
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte{6, 0x10, 1, 2, 3, 4, 5, 0x84, 0x10, 1, 1, 1}, uint16(65535))
	f.Add([]byte{4, 0x90, 1, 2, 3, 0x83, 0x10, 0x30, 1}, uint16(0))
	f.Fuzz(func(_ *testing.T, b []byte, seq uint16) {
		all := []Frames{NewFrames(VP8), NewFrames(VP9), NewFrames(AV1)}
		for t := uint32(0); len(b) > 0; t++ {
			n := min(int(b[0]&0x7f), len(b)-1)
			for _, frames := range all {
				_, _, _ = frames.Push(&rtp.Packet{
					Header:  rtp.Header{SequenceNumber: seq + uint16(t), Timestamp: t / 3, Marker: b[0]&0x80 != 0},
					Payload: b[1 : 1+n],
				})
			}
			b = b[1+n:]
		}
	})
}
