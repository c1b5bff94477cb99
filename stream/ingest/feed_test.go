package ingest_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/ingest"
	"github.com/watergy/waterfall/stream/internal/mediatest"
)

// Parameter sets as x264 writes them: Constrained Baseline, and High with B-frames.
var (
	sps      = unhex("6742c01ed900d83de6fff014001ab1000003000100000300320f162e48")
	reorders = unhex("6764000dacd94141fb011000000300100000030320f1429960")
	pps      = unhex("68cb83cb20")
	idr      = []byte{0x65, 1, 2, 3}
	slice    = []byte{0x41, 1, 2, 3}
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func feed(t *testing.T) (*mediatest.Target, *ingest.Feed) {
	t.Helper()
	target := mediatest.NewTarget(t)
	f, err := ingest.NewFeed(target, "H264", "", true, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return target, f
}

func TestFeedRefusesBFrames(t *testing.T) {
	ctx := t.Context()
	for _, c := range []struct {
		name   string
		frames [][][]byte
		times  []uint32
	}{
		{"by the parameter sets", [][][]byte{{reorders, pps, idr}}, []uint32{0}},
		{"by times that go back", [][][]byte{{sps, pps, idr}, {slice}, {slice}}, []uint32{0, 9000, 3000}},
		{"when they begin later", [][][]byte{{sps, pps, idr}, {reorders, pps, idr}}, []uint32{0, 3000}},
	} {
		_, f := feed(t)
		var err error
		for i, au := range c.frames {
			if err == nil {
				err = f.Video(ctx, ingest.Stamp{RTP: c.times[i]}, au)
			}
		}
		if !errors.Is(err, ingest.ErrRefused) || !strings.Contains(err.Error(), "-bf 0") || !strings.Contains(err.Error(), "zerolatency") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// The stream begins with the first keyframe, sound before it is left out, and large
// frames are cut into payloads that fit.
func TestFeedBeginsWithAKeyframe(t *testing.T) {
	ctx := t.Context()
	target, f := feed(t)
	for _, err := range []error{
		f.Audio(ctx, ingest.Stamp{RTP: 0}, []byte{0xfc, 1}),
		f.Video(ctx, ingest.Stamp{RTP: 0}, [][]byte{slice}),
		f.Video(ctx, ingest.Stamp{RTP: 3000}, [][]byte{sps, pps, slice}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if h, _ := target.Live(); h != nil {
		t.Fatal("the stream began without a keyframe")
	}
	big := append([]byte{0x65}, make([]byte, 10*stream.MaxPayload)...)
	if err := f.Video(ctx, ingest.Stamp{RTP: 6000}, [][]byte{big}); err != nil {
		t.Fatal(err)
	}
	h, s := target.Live()
	if h == nil {
		t.Fatal("the stream did not begin")
	}
	p := stream.NewPlayer(h, s, stream.PlayerConfig{})
	defer p.Close()
	samples, err := p.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range samples {
		if x.KeyStart != (i == 0) || x.Marker != (i == len(samples)-1) || len(x.Payload) > stream.MaxPayload {
			t.Errorf("packet %d of %d: key start %v, marker %v, %d bytes", i, len(samples), x.KeyStart, x.Marker, len(x.Payload))
		}
	}
	if len(samples) < 11 {
		t.Errorf("%d packets for a frame of more than 10", len(samples))
	}
}

// A publisher that changes its picture's size, as browsers do, changes the catalog.
func TestFeedFollowsNewParameterSets(t *testing.T) {
	ctx := t.Context()
	target, f := feed(t)
	if err := f.Video(ctx, ingest.Stamp{RTP: 0}, [][]byte{sps, pps, idr}); err != nil {
		t.Fatal(err)
	}
	h, s := target.Live()
	p := stream.NewPlayer(h, s, stream.PlayerConfig{})
	defer p.Close()
	before, err := p.Catalog(ctx)
	if err != nil {
		t.Fatal(err)
	}
	other := append([]byte(nil), sps...)
	other[3] = 0x1f // another level
	if err := f.Video(ctx, ingest.Stamp{RTP: 3000}, [][]byte{other, pps, idr}); err != nil {
		t.Fatal(err)
	}
	for {
		c, err := p.Catalog(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if c.Tracks[0].Fmtp != before.Tracks[0].Fmtp {
			if !strings.Contains(c.Tracks[0].Fmtp, "profile-level-id=42c01f") {
				t.Errorf("%+v", c)
			}
			return
		}
	}
}
