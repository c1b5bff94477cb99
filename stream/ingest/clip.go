package ingest

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mp4/codecs"

	"github.com/watergy/waterfall/stream/internal/avc"
	"github.com/watergy/waterfall/stream/internal/codec"
)

//go:embed clip/clip.mp4
var clipFile []byte // made by clip/make.sh

// The clip loops after a whole number of frames, Opus packets and beeps.
const (
	clipLength  = 12 * time.Second
	clipFrames  = 30 // a second
	clipPackets = 50 // of Opus, a second
)

// unit is a frame or an Opus packet of the clip.
type unit struct {
	at      time.Duration // from the clip's start
	au      [][]byte      // video
	payload []byte        // audio
}

// TestClip plays the embedded clip (a running clock and a beep) in a loop until ctx ends.
func TestClip(ctx context.Context, t Target, log *slog.Logger) error {
	units, params, err := readClip(clipFile)
	if err != nil {
		return fmt.Errorf("read the built-in clip: %w", err)
	}
	feed, err := NewFeed(t, codec.H264, params.Fmtp(), true, log)
	if err != nil {
		return err
	}
	err = play(ctx, feed, units)
	if ctx.Err() != nil {
		err = nil
	}
	return errors.Join(err, feed.Close())
}

// play sends units in real time, by their deadlines, so that lateness does not add up.
func play(ctx context.Context, feed *Feed, units []unit) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	begin := time.Now() // of media time 0, on the publisher's clock
	start := begin      // the same for pacing
	for loop := time.Duration(0); ; loop += clipLength {
		for i, u := range units {
			t := loop + u.at
			late := time.Since(start.Add(t))
			if late > time.Second { // the machine slept: go on from here
				start = start.Add(late)
			}
			timer.Reset(max(0, -late))
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-timer.C:
			}
			var err error
			at := begin.Add(t)
			if u.au != nil {
				err = feed.Video(ctx, Stamp{RTP: uint32(ticks(t, videoRate)), At: at, NTP: at}, u.au)
			} else {
				err = feed.Audio(ctx, Stamp{RTP: uint32(ticks(t, audioRate)), At: at, NTP: at}, u.payload)
			}
			if err != nil {
				return err
			}
			if loop == 0 && i == 0 { // opening the stream may have taken its time
				start = time.Now()
			}
		}
	}
}

// readClip takes a fragmented MP4 apart: H.264 and Opus, in order of time.
func readClip(file []byte) ([]unit, avc.Params, error) {
	var header fmp4.Init
	var params avc.Params
	if err := header.Unmarshal(bytes.NewReader(file)); err != nil {
		return nil, params, err
	}
	var parts fmp4.Parts
	if err := parts.Unmarshal(file); err != nil {
		return nil, params, err
	}
	video := map[int]bool{}
	for _, t := range header.Tracks {
		switch c := t.Codec.(type) {
		case *codecs.H264:
			video[t.ID], params = true, avc.Params{SPS: c.SPS, PPS: c.PPS}
		case *codecs.Opus:
		default:
			return nil, params, fmt.Errorf("track %d is neither H.264 nor Opus", t.ID)
		}
	}
	// Times are counted, not read: ffmpeg stretches a frame by what Opus skips at first.
	var units []unit
	seen := map[int]int64{} // samples by track
	for _, p := range parts {
		for _, t := range p.Tracks {
			for _, s := range t.Samples {
				rate := int64(clipPackets)
				if video[t.ID] {
					rate = clipFrames
				}
				u := unit{at: span(seen[t.ID], rate)}
				seen[t.ID]++
				if u.at >= clipLength {
					continue
				}
				if video[t.ID] {
					if err := (*h264.AVCC)(&u.au).Unmarshal(s.Payload); err != nil {
						return nil, params, err
					}
				} else {
					u.payload = s.Payload
				}
				units = append(units, u)
			}
		}
	}
	// At one time the picture comes first: the stream opens with it.
	slices.SortStableFunc(units, func(a, b unit) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		return bool2int(a.au == nil) - bool2int(b.au == nil)
	})
	return units, params, nil
}

func bool2int(b bool) int {
	if b {
		return 1
	}
	return 0
}
