package ingest_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/ingest"
	"github.com/watergy/waterfall/stream/internal/mediatest"
)

// A listener of the clip over two and a half loops gets every frame and every sound, in
// real time, with RTP times that do not notice the seam.
func TestClipLoopsWithoutASeam(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const length = 30 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), length+time.Millisecond)
		defer cancel()
		target := mediatest.NewTarget(t)
		done := make(chan error)
		go func() { done <- ingest.TestClip(ctx, target, slog.New(slog.DiscardHandler)) }()
		h, s, c := target.Wait(time.Second)
		if len(c.Tracks) != 2 {
			t.Fatalf("tracks: %+v", c.Tracks)
		}

		p := stream.NewPlayer(h, s, stream.PlayerConfig{})
		defer p.Close()
		frames, sounds, keys := 0, 0, 0
		last := map[stream.Track]uint32{}
		for {
			samples, err := p.Next(ctx)
			if err != nil {
				break
			}
			for _, x := range samples {
				if len(x.Payload) > stream.MaxPayload {
					t.Fatalf("payload of %d bytes", len(x.Payload))
				}
				if x.KeyStart {
					keys++
				}
				if !x.Marker {
					continue
				}
				step := uint32(3000)
				if x.Track == ingest.VideoTrack {
					frames++
				} else {
					sounds++
					step = 960
				}
				if before, ok := last[x.Track]; ok && x.Time-before != step {
					t.Fatalf("track %d steps by %d ticks after %d frames, want %d", x.Track, x.Time-before, frames, step)
				}
				last[x.Track] = x.Time
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		target.WaitEnd(time.Second)
		if frames < 899 || frames > 902 || sounds < 1499 || sounds > 1502 || keys < 30 || keys > 31 {
			t.Errorf("%d frames, %d sounds, %d groups in %v", frames, sounds, keys, length)
		}
		// The picture and the sound of one instant have one media time.
		if d := float64(last[ingest.VideoTrack])/90000 - float64(last[ingest.AudioTrack])/48000; d < -0.05 || d > 0.05 {
			t.Errorf("sound and picture are %.3f s apart", d)
		}
	})
}

func TestClipReportsARefusedTarget(t *testing.T) {
	target := mediatest.NewTarget(t)
	target.Deny = errors.New("you may not speak here")
	err := ingest.TestClip(t.Context(), target, slog.New(slog.DiscardHandler))
	if !errors.Is(err, target.Deny) {
		t.Errorf("%v", err)
	}
}
