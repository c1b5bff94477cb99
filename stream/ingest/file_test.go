package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
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

// encode makes a file of a moving picture and a tone with ffmpeg.
func encode(t *testing.T, name string, length string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	all := append([]string{
		"-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-f", "lavfi", "-i", "sine=sample_rate=48000",
		"-t", length, "-pix_fmt", "yuv420p",
	}, args...)
	if out, ok := mediatest.Run(t, 60*time.Second, need.Program(t, "ffmpeg"), append(all, path)...); !ok {
		t.Fatalf("ffmpeg: %s", out)
	}
	return path
}

// The ways in which ffmpeg is asked to encode.
var (
	h264 = []string{"-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "25"}
	vp8  = []string{"-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-g", "25"}
	vp9  = []string{"-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25"}
	av1  = []string{"-c:v", "libsvtav1", "-preset", "12", "-g", "25", "-svtav1-params", "pred-struct=1"}
	opus = []string{"-c:a", "libopus"}
	mute = []string{"-an"}
)

func join(lists ...[]string) (all []string) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// opener opens a file, or a pipe that gives its bytes, without a way back.
func opener(path string, pipe bool) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		f, err := os.Open(path)
		if err != nil || !pipe {
			return f, err
		}
		return struct {
			io.Reader
			io.Closer
		}{f, f}, nil
	}
}

// decoded counts the frames that ffmpeg decodes from a recording, without any error.
func decoded(t *testing.T, path string) int {
	t.Helper()
	out, ok := mediatest.Run(t, 60*time.Second, need.Program(t, "ffmpeg"), "-v", "error", "-xerror", "-progress", "-", "-nostats",
		"-i", path, "-f", "null", "-")
	if !ok || strings.Contains(out, "rror") {
		t.Errorf("ffmpeg -xerror: %s", out)
	}
	n := 0
	for line := range strings.Lines(out) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "frame="); ok {
			n = 0
			for _, c := range v {
				n = n*10 + int(c-'0')
			}
		}
	}
	return n
}

// Files of every kind play to the end, and what comes out is what is in them.
func TestFiles(t *testing.T) {
	for _, c := range []struct {
		file   string
		args   []string
		codec  string // of the video; empty: none
		tracks int
		pipe   bool
	}{
		{"index-at-the-end.mp4", join(h264, opus), "H264", 2, false},
		{"index-in-front.mp4", join(h264, opus, []string{"-movflags", "+faststart"}), "H264", 2, true},
		{"fragments.mp4", join(h264, opus, []string{"-movflags", "+frag_keyframe+empty_moov"}), "H264", 2, true},
		{"one-fragment-a-track.mp4", join(h264, opus, []string{"-movflags", "+dash+delay_moov", "-frag_duration", "500000"}), "H264", 2, false},
		{"av1.mp4", join(av1, opus), "AV1", 2, false},
		{"vp9.mp4", join(vp9, opus), "VP9", 2, false},
		{"h264.mkv", join(h264, opus), "H264", 2, true},
		{"vp8.webm", join(vp8, opus), "VP8", 2, false},
		{"vp9.webm", join(vp9, opus), "VP9", 2, true},
		{"live.webm", join(vp8, opus, []string{"-f", "webm", "-live", "1"}), "VP8", 2, true},
		{"av1.mkv", join(av1, opus), "AV1", 2, true},
		{"h264.ts", join(h264, opus), "H264", 2, true},
		{"vp8.ivf", join(vp8, mute), "VP8", 1, true},
		{"vp9.ivf", join(vp9, mute), "VP9", 1, false},
		{"av1.ivf", join(av1, mute), "AV1", 1, true},
		{"sound.ogg", join([]string{"-vn"}, opus), "", 1, true},
		{"sound.mka", join([]string{"-vn"}, opus), "", 1, true},
	} {
		if testing.Short() && c.codec != "H264" && c.codec != "" {
			continue // the codecs are the matrix's concern
		}
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			path := encode(t, c.file, "2", c.args...)
			target := mediatest.NewTarget(t)
			done := make(chan error, 1)
			begin := time.Now()
			go func() {
				done <- ingest.File(t.Context(), target, ingest.FileConfig{Open: opener(path, c.pipe)}, quiet)
			}()
			h, s, catalog := target.Wait(20 * time.Second)
			if len(catalog.Tracks) != c.tracks || c.codec != "" && catalog.Tracks[0].Codec != c.codec {
				t.Errorf("catalog %+v", catalog)
			}
			copied := filepath.Join(t.TempDir(), "copy.mkv")
			if err := playback.Record(t.Context(), copied, playback.Source{History: h, Sealer: s}, quiet); err != nil {
				t.Error(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begin); took < 1900*time.Millisecond {
				t.Errorf("2 s were played in %v", took)
			}
			if n := decoded(t, copied); c.codec != "" && n != 50 {
				t.Errorf("%d frames came through, want 50", n)
			}
		})
	}
}

// What a stream cannot hold is refused before it begins, with what to do.
func TestFilesRefused(t *testing.T) {
	good := encode(t, "good.mp4", "0.2", join(h264, opus)...)
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		name, path string
		pipe       bool
		want       string
	}{
		{"AAC", encode(t, "aac.mp4", "0.2", join(h264, []string{"-c:a", "aac"})...), false, "-c:v copy -c:a libopus"},
		{"AAC in a transport stream", encode(t, "aac.ts", "0.2", join(h264, []string{"-c:a", "aac"})...), false, "-c:v copy -c:a libopus"},
		{"AAC in Matroska", encode(t, "aac.mkv", "0.2", join(h264, []string{"-c:a", "aac"})...), true, "-c:v copy -c:a libopus"},
		{"H.265", encode(t, "hevc.mkv", "0.2", join([]string{"-c:v", "libx265", "-x265-params", "log-level=0", "-preset", "ultrafast"}, opus)...), false, "H.265 (HEVC) video does not pass"},
		{"MPEG-4 video", encode(t, "mpeg4.mp4", "0.2", join([]string{"-c:v", "mpeg4"}, opus)...), false, "-c:v libx264 -bf 0"},
		{"B-frames", encode(t, "b.mp4", "0.5", join([]string{"-c:v", "libx264", "-bf", "2"}, opus)...), false, "-bf 0"},
		{"B-frames in Matroska", encode(t, "b.mkv", "0.5", join([]string{"-c:v", "libx264", "-bf", "2"}, opus)...), true, "Max B-frames 0"},
		{"index at the end of a pipe", good, true, "empty_moov"},
		{"cut off before the index", write("cut.mp4", whole[:len(whole)/2]), false, "no index"},
		{"empty", write("empty", nil), false, "empty"},
		{"text", write("text", bytes.Repeat([]byte("hello "), 100)), false, "not a file that can be read here"},
	} {
		target := mediatest.NewTarget(t)
		err := ingest.File(t.Context(), target, ingest.FileConfig{Open: opener(c.path, c.pipe), Loop: true}, quiet)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if h, _ := target.Live(); h != nil {
			t.Errorf("%s: a stream was opened", c.name)
		}
	}
}

// A file that loops goes on without a gap; --start leaves out its beginning.
func TestFileLoopsAndStarts(t *testing.T) {
	path := encode(t, "loop.mkv", "2", join(h264, opus)...)
	target := mediatest.NewTarget(t)
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan time.Duration, 100)
	done := make(chan error, 1)
	go func() {
		done <- ingest.File(ctx, target, ingest.FileConfig{
			Open: opener(path, false), Loop: true, Start: 900 * time.Millisecond,
			Progress: func(at, length time.Duration) {
				if length < 1900*time.Millisecond || length > 2100*time.Millisecond || at < 900*time.Millisecond {
					t.Errorf("at %v of %v", at, length)
				}
				select {
				case told <- at:
				default:
				}
			},
		}, quiet)
	}()
	h, s, _ := target.Wait(5 * time.Second)
	p := stream.NewPlayer(h, s, stream.PlayerConfig{})
	defer p.Close()
	last := map[stream.Track]uint32{}
	keys := 0
	for keys < 4 { // one a loop
		samples, err := p.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range samples {
			before, seen := last[x.Track]
			rate := uint32(90000)
			if x.Track == ingest.AudioTrack {
				rate = 48000
			}
			if step := int32(x.Time - before); seen && (step < 0 || step > int32(rate/10)) {
				t.Errorf("track %d: a step of %d ticks", x.Track, step)
			}
			last[x.Track] = x.Time
			if x.KeyStart {
				keys++
			}
		}
	}
	if len(told) == 0 {
		t.Error("nobody is told of the progress")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	target.WaitEnd(time.Second)
	err := ingest.File(t.Context(), target, ingest.FileConfig{Open: opener(path, false), Start: time.Hour}, quiet)
	if err == nil || !strings.Contains(err.Error(), "--start") {
		t.Errorf("a start behind the end: %v", err)
	}
}

// ffmpeg's output through a pipe is live at once, and paced by ffmpeg.
func TestFilePipe(t *testing.T) {
	cmd := exec.Command(need.Program(t, "ffmpeg"), join([]string{
		"-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-f", "lavfi", "-i", "sine=sample_rate=48000",
		"-t", "3", "-pix_fmt", "yuv420p",
	}, h264, opus, []string{"-f", "matroska", "-flush_packets", "1", "-"})...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	target := mediatest.NewTarget(t)
	opened := errors.New("opened before")
	err = ingest.File(t.Context(), target, ingest.FileConfig{Open: func() (io.ReadCloser, error) {
		if opened == nil {
			return nil, errors.New("a pipe is opened twice")
		}
		opened = nil
		return out, nil
	}}, quiet)
	if err != nil {
		t.Error(err)
	}
}
