package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/watergy/waterfall/stream/internal/codec"
	"github.com/watergy/waterfall/stream/internal/demux"
)

// FileConfig says what File plays.
type FileConfig struct {
	// Open opens the file, again for each loop. What can be sought (os.File) may have its
	// index at the end; a pipe is read as it comes.
	Open func() (io.ReadCloser, error)
	// Loop begins again at the end.
	Loop bool
	// Start leaves out what is before; the stream begins at the next keyframe.
	Start time.Duration
	// Progress, if set, is told a few times a second how far the file has played; length is 0
	// when it is not known. Times are those of the file.
	Progress func(at, length time.Duration)
}

const (
	// interleave is how far ahead one track is read while nothing of the other comes.
	interleave = time.Second
	// leap is the greatest step of a file's clock that is played; a greater one, or one back,
	// is where its parts were put together.
	leap = 10 * time.Second
	// progressEvery is how often Progress is told.
	progressEvery = 250 * time.Millisecond
)

// File plays a media file in real time until it ends (nil), ctx does (nil), or it cannot
// be played: then the error says what to do about it.
func File(ctx context.Context, t Target, cfg FileConfig, log *slog.Logger) error {
	p := &filePlayer{target: t, cfg: cfg, log: log}
	err := p.play(ctx)
	if p.feed != nil {
		err = errors.Join(err, p.feed.Close())
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// CheckFile says whether r can be played, without playing it.
func CheckFile(r io.Reader) error {
	f, err := demux.Open(r)
	if err != nil {
		return err
	}
	return passes(f)
}

// passes refuses what a stream cannot hold.
func passes(f *demux.File) error {
	switch {
	case f.Video == nil && f.Audio == nil:
		return fmt.Errorf("%w: there is neither video nor sound in it", ErrRefused)
	case f.Video != nil && !codec.Known(f.Video.Codec):
		return fmt.Errorf("%w: %s video does not pass over WebRTC (hint: ffmpeg -i FILE -c:v libx264 -bf 0 -c:a libopus -f matroska - | wfnode speak --input file:-; OBS: an H.264 encoder)",
			ErrRefused, codec.Title(f.Video.Codec))
	case f.Audio != nil && f.Audio.Codec != demux.Opus:
		return fmt.Errorf("%w: %s sound does not pass over WebRTC (hint: ffmpeg -i FILE -c:v copy -c:a libopus -f matroska - | wfnode speak --input file:-; OBS: record with Opus)",
			ErrRefused, f.Audio.Codec)
	case f.Video == nil:
		return nil
	}
	_, err := fileVideo(f.Video)
	return err
}

// fileVideo is what is known of a file's video before its first frame.
func fileVideo(t *demux.Track) (codec.Video, error) {
	v, err := codec.New(t.Codec, "")
	if err == nil {
		_, _, _, err = v.Normalize(t.Header)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return v, nil
}

type filePlayer struct {
	target Target
	cfg    FileConfig
	log    *slog.Logger

	feed  *Feed
	line  fileLine
	start time.Time   // of media time 0, for pacing
	told  time.Time   // when Progress was told
	begun bool        // something was sent in this loop
	keys  codec.Video // finds the first keyframe after Start
}

func (p *filePlayer) play(ctx context.Context) error {
	for {
		err := p.once(ctx)
		if err != nil {
			return err
		}
		if !p.cfg.Loop {
			return nil
		}
		if !p.begun {
			return errors.New("nothing of the file could be played")
		}
		p.line.cut = true
	}
}

// once plays the file from its beginning to its end.
func (p *filePlayer) once(ctx context.Context) error {
	in, err := p.cfg.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	f, err := demux.Open(in)
	if err != nil {
		return err
	}
	if err := passes(f); err != nil {
		return err
	}
	if err := p.prepare(f); err != nil {
		return err
	}
	order := interleaver{both: f.Video != nil && f.Audio != nil}
	for {
		pkt, err := order.next(f.Next)
		if errors.Is(err, io.EOF) {
			return p.check()
		}
		if err != nil {
			return fmt.Errorf("read the file: %w", err)
		}
		if !p.wanted(pkt, f) {
			continue
		}
		if err := p.put(ctx, pkt, f.Length); err != nil {
			return err
		}
	}
}

// prepare makes the feed, and what finds the place to begin at.
func (p *filePlayer) prepare(f *demux.File) (err error) {
	p.begun, p.keys = false, nil
	video := ""
	if f.Video != nil {
		video = f.Video.Codec
		if p.keys, err = fileVideo(f.Video); err != nil {
			return err
		}
	}
	if p.feed != nil {
		return nil
	}
	if p.feed, err = NewFeed(p.target, video, "", f.Audio != nil, p.log); err != nil {
		return err
	}
	if f.Video != nil && len(f.Video.Header) > 0 {
		return p.feed.learn(f.Video.Header)
	}
	return nil
}

// wanted leaves out what is before the place to begin at.
func (p *filePlayer) wanted(pkt demux.Packet, f *demux.File) bool {
	switch {
	case p.begun:
		return true
	case f.Video == nil:
		p.begun = pkt.Time >= p.cfg.Start
	case pkt.Video:
		_, key, ok, _ := p.keys.Normalize(pkt.Units)
		// B-frames are the feed's to refuse, whatever comes before them.
		p.begun = ok && key && pkt.Time >= p.cfg.Start
	}
	return p.begun
}

func (p *filePlayer) check() error {
	if p.begun {
		return nil
	}
	if p.cfg.Start > 0 {
		return fmt.Errorf("there is no keyframe after %v in the file (hint: a smaller --start)", p.cfg.Start)
	}
	return errors.New("there is no keyframe in the file")
}

// put waits until a packet is due and hands it on.
func (p *filePlayer) put(ctx context.Context, pkt demux.Packet, length time.Duration) error {
	t := p.line.place(pkt)
	now := time.Now()
	if p.start.IsZero() {
		p.start = now.Add(-t)
	}
	if late := now.Sub(p.start.Add(t)); late > time.Second { // slept, or a pipe that stood still
		p.start = p.start.Add(late)
	} else if late < 0 {
		timer := time.NewTimer(-late)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if now := time.Now(); p.cfg.Progress != nil && now.Sub(p.told) >= progressEvery {
		p.told = now
		p.cfg.Progress(pkt.Time, length)
	}
	at := fileEpoch.Add(t)
	if pkt.Video {
		return p.feed.Video(ctx, Stamp{RTP: uint32(ticks(t, videoRate)), At: at, NTP: at}, pkt.Units)
	}
	return p.feed.Audio(ctx, Stamp{RTP: uint32(ticks(t, audioRate)), At: at, NTP: at}, pkt.Units[0])
}

// fileEpoch is when media time 0 is on the clock that a file's stamps are of: any will do.
var fileEpoch = time.Unix(1<<30, 0)

// fileLine puts the packets of a file, and of its loops, on one line of time without
// leaps. The zero value is ready.
type fileLine struct {
	offset time.Duration // from the file's clock to the line
	end    time.Duration // of what has been placed, on the line
	newest time.Duration // on the file's clock
	seen   bool
	cut    bool // the next packet is put at the end: another loop begins
}

// frameGuess is how long what comes last in a file is taken to last.
const frameGuess = 20 * time.Millisecond

func (l *fileLine) place(pkt demux.Packet) time.Duration {
	d := pkt.Time - l.newest
	switch {
	case !l.seen:
		l.offset = -pkt.Time
	case l.cut || d > leap || d < -leap:
		l.offset = l.end - pkt.Time
		l.newest = pkt.Time
	}
	l.seen, l.cut = true, false
	l.newest = max(l.newest, pkt.Time)
	t := max(pkt.Time+l.offset, 0)
	l.end = max(l.end, t+frameGuess)
	return t
}

// interleaver puts the packets of two tracks in order of time as far as they are known.
type interleaver struct {
	both   bool
	queues [2][]demux.Packet // sound, video
	err    error             // of reading, told when all is out
}

func (q *interleaver) next(read func() (demux.Packet, error)) (demux.Packet, error) {
	for q.err == nil && !q.ready() {
		pkt, err := read()
		if err != nil {
			q.err = err
			break
		}
		i := 0
		if pkt.Video {
			i = 1
		}
		q.queues[i] = append(q.queues[i], pkt)
	}
	i := 0
	switch {
	case len(q.queues[0])+len(q.queues[1]) == 0:
		return demux.Packet{}, q.err
	case len(q.queues[0]) == 0, len(q.queues[1]) > 0 && q.queues[1][0].Time <= q.queues[0][0].Time:
		i = 1
	}
	pkt := q.queues[i][0]
	q.queues[i] = q.queues[i][1:]
	return pkt, nil
}

// ready says whether what is held decides which packet goes first.
func (q *interleaver) ready() bool {
	for i, own := range q.queues {
		if len(own) == 0 {
			continue
		}
		if !q.both || len(q.queues[1-i]) > 0 || own[len(own)-1].Time-own[0].Time >= interleave {
			return true
		}
	}
	return false
}

// learn takes parameters that the file keeps outside its frames.
func (f *Feed) learn(header [][]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, _, _, err := f.video.Normalize(header); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}
