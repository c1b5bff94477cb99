package playback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pion/rtp"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/internal/codec"
	"github.com/watergy/waterfall/stream/internal/mediatime"
)

// recordHoleWait is how long a recording waits for a missing packet: completeness
// matters more to it than delay. Later than this a packet counts as lost everywhere.
const recordHoleWait = 2 * time.Second

// Record writes src to path (.mkv or .webm) until ctx ends or the stream does; the file
// is playable to the last packet whenever the process dies. It never overwrites a file,
// and leaves none behind if nothing came.
func Record(ctx context.Context, path string, src Source, log *slog.Logger) error {
	ext := strings.ToLower(filepath.Ext(path))
	if ext != ".mkv" && ext != ".webm" {
		return fmt.Errorf("cannot record to %s (hint: use a name that ends in .mkv)", path)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already (hint: choose another name or move it away)", path)
	}
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	player := stream.NewPlayer(src.History, src.Sealer, stream.PlayerConfig{
		Delay: src.Delay, HoleWait: max(src.Delay, recordHoleWait),
	})
	defer player.Close()
	r := &recorder{file: f, webm: ext == ".webm", tracks: map[stream.Track]*recordTrack{}}
	err = r.run(ctx, player)
	if ctx.Err() != nil || errors.Is(err, io.EOF) {
		err = nil
	}
	err = errors.Join(err, r.close())
	if r.mkv == nil {
		return errors.Join(err, os.Remove(path))
	}
	log.Info("recorded", "file", path, "length", r.last.Round(time.Millisecond), "frames_skipped", r.skipped)
	return err
}

// recorder turns samples into the blocks of a Matroska file.
type recorder struct {
	file   *os.File
	webm   bool
	tracks map[stream.Track]*recordTrack
	video  bool
	line   mediatime.Line

	mkv     *mkvWriter    // nil until the first keyframe (first sound without video)
	start   time.Duration // media time of the file's beginning
	last    time.Duration // of the newest block, from the start
	skipped int           // frames without which the picture goes on after a gap
}

type recordTrack struct {
	info    stream.TrackInfo
	number  uint64      // in the file
	video   codec.Video // nil for sound
	frames  codec.Frames
	private []byte // the codec's data in the file's header
	waitKey bool
}

func (r *recorder) run(ctx context.Context, player *stream.Player) error {
	c, err := player.Catalog(ctx)
	if err != nil {
		return err
	}
	for i, t := range c.Tracks {
		if r.webm && strings.EqualFold(t.Codec, codec.H264) {
			return errors.New("WebM holds no H264, which this stream has (hint: use a name that ends in .mkv)")
		}
		tr := &recordTrack{info: t, number: uint64(i + 1)}
		if t.Kind == "video" {
			r.video, tr.waitKey, tr.frames = true, true, codec.NewFrames(t.Codec)
			if tr.video, err = codec.New(t.Codec, t.Fmtp); err != nil {
				return fmt.Errorf("cannot record: %w", err)
			}
		}
		r.tracks[t.Track] = tr
	}
	for {
		samples, err := player.Next(ctx)
		if err != nil {
			return err
		}
		for _, s := range samples {
			tr := r.tracks[s.Track]
			if tr == nil {
				continue
			}
			if tr.info.Kind == "video" {
				err = r.videoPacket(tr, s)
			} else {
				err = r.audioPacket(tr, s)
			}
			if err != nil {
				return err
			}
		}
	}
}

func (r *recorder) videoPacket(tr *recordTrack, s stream.Sample) error {
	t := r.line.Time(s.Track, tr.info.ClockRate, s.Time, s.At)
	if s.Gap && !s.KeyStart {
		tr.waitKey = true
	}
	if s.KeyStart && (tr.waitKey || s.Gap) {
		tr.waitKey, tr.frames = false, codec.NewFrames(tr.info.Codec)
	}
	if tr.waitKey {
		if s.Marker && r.mkv != nil {
			r.skipped++
		}
		return nil
	}
	frame, _, err := tr.frames.Push(&rtp.Packet{
		Header:  rtp.Header{SequenceNumber: uint16(s.Number), Timestamp: s.Time, Marker: s.Marker},
		Payload: s.Payload,
	})
	if err != nil { // a publisher's broken frame
		tr.waitKey = true
		r.skipped++
		return nil
	}
	if frame == nil {
		return nil
	}
	frame, key, ok, err := tr.video.Normalize(frame)
	if !ok {
		return err
	}
	if r.mkv == nil && !key {
		return nil
	}
	private, err := tr.video.Private()
	if err != nil {
		return err
	}
	if r.mkv == nil {
		tr.private = private
		if err := r.open(t); err != nil {
			return err
		}
	}
	b, err := tr.video.Stored(frame, bytes.Equal(private, tr.private))
	if err != nil {
		return err
	}
	return r.block(tr, t, key, key, b)
}

func (r *recorder) audioPacket(tr *recordTrack, s stream.Sample) error {
	t := r.line.Time(s.Track, tr.info.ClockRate, s.Time, s.At)
	if r.mkv == nil {
		if r.video {
			return nil
		}
		if err := r.open(t); err != nil {
			return err
		}
	}
	return r.block(tr, t, true, false, s.Payload)
}

func (r *recorder) block(tr *recordTrack, t time.Duration, key, cue bool, b []byte) error {
	at := t - r.start
	if at < 0 {
		return nil // sound from before the first picture
	}
	r.last = max(r.last, at)
	return r.mkv.block(tr.number, at, key, cue, b)
}

// open writes the file's header: all is known at the first keyframe.
func (r *recorder) open(t time.Duration) (err error) {
	var entries []mkvTrack
	for n := range uint64(len(r.tracks)) {
		for _, tr := range r.tracks {
			if tr.number == n+1 {
				entries = append(entries, mkvTrack{info: tr.info, number: tr.number, video: tr.video, private: tr.private})
			}
		}
	}
	r.start = t
	r.mkv, err = newMKV(r.file, r.webm, entries)
	return err
}

func (r *recorder) close() error {
	var err error
	if r.mkv != nil {
		err = r.mkv.finish(r.last)
	}
	return errors.Join(err, r.file.Close())
}
