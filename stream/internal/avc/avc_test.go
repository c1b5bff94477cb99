package avc

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/pion/rtp"
)

// Parameter sets as x264 writes them: Constrained Baseline 854x480, and High with B-frames.
const (
	baselineSPS = "6742c01ed900d83de6fff014001ab1000003000100000300320f162e48"
	highBSPS    = "6764000dacd94141fb011000000300100000030320f1429960"
	somePPS     = "68cb83cb20"
)

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func stapA(nalus ...[]byte) []byte {
	b := []byte{24}
	for _, n := range nalus {
		b = append(b, byte(len(n)>>8), byte(len(n)))
		b = append(b, n...)
	}
	return b
}

func TestKeyStart(t *testing.T) {
	sps, idr, slice, aud := []byte{0x67, 1, 2, 3}, []byte{0x65, 1}, []byte{0x41, 1}, []byte{9, 0xf0}
	for _, c := range []struct {
		name    string
		payload []byte
		want    bool
	}{
		{"empty", nil, false},
		{"SPS alone", sps, true},
		{"IDR alone", idr, true},
		{"slice alone", slice, false},
		{"STAP-A of SPS and PPS", stapA(sps, []byte{0x68, 1}), true},
		{"STAP-A that begins with a delimiter", stapA(aud, sps), true},
		{"STAP-A of slices", stapA(slice, slice), false},
		{"STAP-A cut short", stapA(slice, sps)[:6], false},
		{"STAP-A of nothing", []byte{24}, false},
		{"FU-A start of IDR", []byte{0x7c, 0x85, 0}, true},
		{"FU-A middle of IDR", []byte{0x7c, 0x05, 0}, false},
		{"FU-A start of slice", []byte{0x7c, 0x81, 0}, false},
		{"FU-A cut short", []byte{0x7c, 0x85}, false},
	} {
		if got := KeyStart(c.payload); got != c.want {
			t.Errorf("%s: KeyStart = %v, want %v", c.name, got, c.want)
		}
	}
}

func TestCheckSPS(t *testing.T) {
	if _, err := CheckSPS(unhex(t, baselineSPS)); err != nil {
		t.Errorf("baseline: %v", err)
	}
	if _, err := CheckSPS(unhex(t, highBSPS)); !errors.Is(err, ErrReordered) {
		t.Errorf("High with B-frames: %v, want ErrReordered", err)
	}
	if _, err := CheckSPS([]byte{0x67}); err == nil {
		t.Error("a cut set must be an error")
	}
}

func TestOrder(t *testing.T) {
	for _, c := range []struct {
		name  string
		times []uint32
		bad   bool
	}{
		{"in order", []uint32{0, 3000, 6000, 9000}, false},
		{"in order over the wrap", []uint32{0xffffff00, 2744, 5744}, false},
		{"B-frame", []uint32{0, 9000, 3000}, true},
		{"B-frame over the wrap", []uint32{0xfffff000, 100, 0xffffff00}, true},
		{"two frames at one time", []uint32{0, 0, 3000}, false},
		{"the clock starts anew", []uint32{900000, 0, 3000}, false},
	} {
		var o Order
		var err error
		for _, x := range c.times {
			if err == nil {
				err = o.Check(x)
			}
		}
		if (err != nil) != c.bad {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestFmtp(t *testing.T) {
	p := Params{SPS: unhex(t, baselineSPS), PPS: unhex(t, somePPS)}
	f := p.Fmtp()
	if got := Param(f, "profile-level-id"); got != "42c01e" {
		t.Errorf("profile-level-id %q", got)
	}
	if q := ParseFmtp(f); !bytes.Equal(q.SPS, p.SPS) || !bytes.Equal(q.PPS, p.PPS) {
		t.Errorf("parameter sets do not survive SDP: %+v", q)
	}
	if ParseFmtp("packetization-mode=1;sprop-parameter-sets=@@,!!").Complete() {
		t.Error("rubbish is complete")
	}
}

func TestConfig(t *testing.T) {
	p := Params{SPS: unhex(t, baselineSPS), PPS: unhex(t, somePPS)}
	b, err := p.Config()
	if err != nil {
		t.Fatal(err)
	}
	want := append([]byte{1, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0, byte(len(p.SPS))}, p.SPS...)
	want = append(append(want, 1, 0, byte(len(p.PPS))), p.PPS...)
	if !bytes.Equal(b, want) {
		t.Errorf("%x\nwant %x", b, want)
	}
}

func TestNormalize(t *testing.T) {
	sps, pps := unhex(t, baselineSPS), unhex(t, somePPS)
	idr, slice, aud := []byte{0x65, 1}, []byte{0x41, 1}, []byte{9, 0xf0}

	var p Params
	if _, _, ok := p.Normalize([][]byte{idr}); ok {
		t.Error("a picture without any parameter sets must wait")
	}
	out, key, ok := p.Normalize([][]byte{aud, sps, pps, idr})
	if !ok || !key || len(out) != 3 || Type(out[0]) != h264.NALUTypeSPS {
		t.Errorf("in-band sets: %x key %v ok %v", out, key, ok)
	}
	out, key, ok = p.Normalize([][]byte{aud, idr})
	if !ok || !key || len(out) != 3 || !bytes.Equal(out[0], sps) || !bytes.Equal(out[1], pps) {
		t.Errorf("sets must be put before an IDR without: %x", out)
	}
	if out, key, ok = p.Normalize([][]byte{slice}); !ok || key || len(out) != 1 {
		t.Errorf("slice: %x key %v ok %v", out, key, ok)
	}
	if _, _, ok = p.Normalize([][]byte{aud, {}}); ok {
		t.Error("nothing but a delimiter must be dropped")
	}
}

func FuzzKeyStart(f *testing.F) {
	f.Add([]byte{24, 0, 1, 0x67})
	f.Add([]byte{0x7c, 0x85, 1})
	f.Fuzz(func(_ *testing.T, b []byte) { KeyStart(b) })
}

func FuzzSPS(f *testing.F) {
	f.Add(unhex(f, baselineSPS))
	f.Add(unhex(f, highBSPS))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if s, err := CheckSPS(b); err == nil {
			_, _ = s.Width(), s.Height()
			if p := (Params{SPS: b, PPS: []byte{0x68}}); p.Complete() {
				_, _ = p.Config()
				ParseFmtp(p.Fmtp())
			}
		}
	})
}

func FuzzFmtp(f *testing.F) {
	f.Add("packetization-mode=1;sprop-parameter-sets=Z0LAHw==,aM4=")
	f.Fuzz(func(_ *testing.T, s string) { ParseFmtp(s) })
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte{3, 0x67, 1, 2, 2, 0x65, 1}, uint16(0xffff))
	f.Add([]byte{3, 0x7c, 0x85, 1, 3, 0x7c, 0x45, 2, 6, 24, 0, 1, 0x67, 0, 0}, uint16(0))
	f.Fuzz(func(_ *testing.T, b []byte, seq uint16) {
		var frames Frames
		var p Params
		for t := uint32(0); len(b) > 0; t++ {
			n := min(int(b[0]&0x7f), len(b)-1)
			au, _, err := frames.Push(&rtp.Packet{
				Header:  rtp.Header{SequenceNumber: seq + uint16(t), Timestamp: t / 3, Marker: b[0]&0x80 != 0},
				Payload: b[1 : 1+n],
			})
			if err == nil && au != nil {
				p.Normalize(au)
			}
			b = b[1+n:]
		}
	})
}
