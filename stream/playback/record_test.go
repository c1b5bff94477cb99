package playback_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/need"
	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/ingest"
	"github.com/watergy/waterfall/stream/internal/mediatest"
	"github.com/watergy/waterfall/stream/playback"
)

var quiet = slog.New(slog.DiscardHandler)

// clip plays the test clip until the test ends.
func clip(t *testing.T) (*mediatest.Target, playback.Source) {
	t.Helper()
	target := mediatest.NewTarget(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ingest.TestClip(ctx, target, quiet) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	h, s, _ := target.Wait(5 * time.Second)
	return target, playback.Source{History: h, Sealer: s}
}

// decode plays a file with ffmpeg, which must find no error, and returns its frames and length.
func decode(t *testing.T, file string) (frames int, length time.Duration) {
	t.Helper()
	out, ok := mediatest.Run(t, 30*time.Second, need.Program(t, "ffmpeg"),
		"-v", "error", "-xerror", "-progress", "-", "-nostats", "-i", file, "-f", "null", "-")
	if !ok {
		t.Fatalf("ffmpeg -xerror: %s", out)
	}
	var us int64
	for line := range strings.Lines(out) {
		k, v, found := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		case !found:
			t.Errorf("ffmpeg says: %s", line)
		case k == "frame":
			_, _ = fmt.Sscan(v, &frames)
		case k == "out_time_us":
			_, _ = fmt.Sscan(v, &us)
		}
	}
	return frames, time.Duration(us) * time.Microsecond
}

// A recording plays without an error, in sync, can be searched, and, cut off anywhere as
// by a kill, plays up to there.
func TestRecord(t *testing.T) {
	t.Parallel()
	_, src := clip(t)
	file := filepath.Join(t.TempDir(), "a.mkv")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- playback.Record(ctx, file, src, quiet) }()

	grown := func() []byte {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil
		}
		return b
	}
	const wanted = 500 << 10 // some 4 s
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(grown()) < wanted {
		if time.Now().After(deadline) {
			t.Fatal("the recording does not grow")
		}
		<-tick.C
	}
	killed := grown() // what a kill now would leave
	for range 50 {
		<-tick.C
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	ffmpeg := need.Program(t, "ffmpeg")
	frames, length := decode(t, file)
	if want := float64(frames) / 30; frames < 100 || length.Seconds() < want-0.2 || length.Seconds() > want+0.2 {
		t.Errorf("finished: %d frames in %v", frames, length)
	}
	out, _ := mediatest.Run(t, 10*time.Second, need.Program(t, "ffprobe"), "-v", "error",
		"-show_entries", "format=duration:stream=codec_name,width,height,channels", "-of", "compact=nokey=1", file)
	for _, want := range []string{"h264|854|480", "opus|2", fmt.Sprintf("%.0f", length.Seconds())} {
		if !strings.Contains(out, want) {
			t.Errorf("ffprobe says %q, want %q in it", out, want)
		}
	}
	if out, ok := mediatest.Run(t, 10*time.Second, ffmpeg, "-v", "error", "-xerror", "-ss", "2.5", "-i", file, "-frames:v", "1", "-f", "null", "-"); !ok || out != "" {
		t.Errorf("search: %s", out)
	}
	if d := mediatest.Sync(t, ffmpeg, length, "-i", file); d.Abs() > 40*time.Millisecond {
		t.Errorf("sound is %v behind the picture", d)
	}

	cut := filepath.Join(t.TempDir(), "killed.mkv")
	if err := os.WriteFile(cut, killed, 0o644); err != nil {
		t.Fatal(err)
	}
	if n, l := decode(t, cut); n < 60 || l < 2*time.Second {
		t.Errorf("killed: %d frames in %v", n, l)
	}
	// A power cut may end a file within a block; ffmpeg then drops that block.
	for _, n := range []int{len(killed) - 7, len(killed) - 700, len(killed) / 2} {
		if err := os.WriteFile(cut, killed[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		if out, ok := mediatest.Run(t, 20*time.Second, ffmpeg, "-v", "error", "-i", cut, "-f", "null", "-"); !ok {
			t.Errorf("cut at %d bytes: %s", n, out)
		}
	}
}

// A picture that is broken by loss is left out up to the next keyframe; what remains
// decodes without an error.
func TestRecordSkipsBrokenGroups(t *testing.T) {
	t.Parallel()
	_, src := clip(t)
	lossy := stream.NewHistory(src.History.ID(), stream.HistoryConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	file := filepath.Join(t.TempDir(), "a.mkv")
	done := make(chan error, 1)
	go func() {
		done <- playback.Record(ctx, file, playback.Source{History: lossy, Sealer: src.Sealer}, quiet)
	}()
	cursor := src.History.CursorAt(nil)
	buf := make([]stream.Packet, 64)
	keys := 0
	for keys < 7 {
		n, err := cursor.Next(ctx, buf)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range buf[:n] {
			if p.KeyStart {
				keys++
			}
			// The third group loses a packet of its keyframe, the fifth one of its middle.
			if p.Track == ingest.VideoTrack && (keys == 3 && p.Number%50 == 7 || keys == 5 && p.Number%100 == 50) {
				continue
			}
			lossy.Put(p, false)
		}
	}
	lossy.End()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if frames, _ := decode(t, file); frames < 100 || frames >= 180 {
		t.Errorf("%d frames, want most of 180 but not all", frames)
	}
}

func TestRecordRefuses(t *testing.T) {
	t.Parallel()
	_, src := clip(t)
	dir := t.TempDir()
	there := filepath.Join(dir, "there.mkv")
	if err := os.WriteFile(there, []byte("dear"), 0o644); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		there:                             "is there already (hint:",
		filepath.Join(dir, "a.avi"):       "ends in .mkv",
		filepath.Join(dir, "a.webm"):      "ends in .mkv",
		filepath.Join(dir, "no", "a.mkv"): "no such file or directory",
	} {
		err := playback.Record(t.Context(), file, src, quiet)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
	}
	if b, err := os.ReadFile(there); err != nil || string(b) != "dear" {
		t.Errorf("the file that was there: %q, %v", b, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("files left behind: %v, %v", files, err)
	}
}

// Nothing came: no file stays.
func TestRecordOfNothing(t *testing.T) {
	s, err := stream.NewSealer([16]byte{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	h := stream.NewHistory(stream.ID{1}, stream.HistoryConfig{})
	h.End()
	file := filepath.Join(t.TempDir(), "a.mkv")
	if err := playback.Record(t.Context(), file, playback.Source{History: h, Sealer: s}, quiet); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
}
