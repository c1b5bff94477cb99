package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/playback"
)

// recording is a stream that is being written to a file, or was until err. The loop owns
// err.
type recording struct {
	file string
	stop context.CancelFunc
	done chan struct{} // closed when the file is whole
	over bool
	err  error
}

// Record writes a stream to a new file in the folder of Config.Recordings, until the stream
// ends or StopRecording.
func (n *Node) Record(room, stream string) error {
	if n.cfg.Recordings == "" {
		return errors.New("this node keeps no recordings")
	}
	if err := os.MkdirAll(n.cfg.Recordings, 0o700); err != nil {
		return fmt.Errorf("make the folder of recordings: %w", err)
	}
	_, err := onLoop(n, func() (*recording, error) {
		s, err := n.findStream(room, stream)
		switch {
		case err != nil:
			return nil, err
		case s.recording != nil && !s.recording.over:
			return nil, fmt.Errorf("this stream is recorded already, into %s", filepath.Base(s.recording.file))
		}
		s.record(filepath.Join(n.cfg.Recordings, recordingName(s.room.room.Name, s.name(), time.Now())))
		return s.recording, nil
	})
	return err
}

// StopRecording ends the recording of a stream and returns when its file is whole.
func (n *Node) StopRecording(room, stream string) error {
	rec, err := onLoop(n, func() (*recording, error) {
		s, err := n.findStream(room, stream)
		if err == nil && (s.recording == nil || s.recording.over) {
			err = errors.New("this stream is not being recorded")
		}
		if err != nil {
			return nil, err
		}
		return s.recording, nil
	})
	if err != nil {
		return err
	}
	rec.stop()
	<-rec.done
	return nil
}

// findStream resolves what a URL says of a room's stream.
func (n *Node) findStream(room, id string) (*live, error) {
	r, err := n.findRoom(room)
	if err != nil {
		return nil, err
	}
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != len(stream.ID{}) {
		return nil, fmt.Errorf("%q is no stream ID", id)
	}
	if s := r.streams[stream.ID(raw)]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("no stream %s in this room", id)
}

// record writes this stream to path until it ends, is dropped, or the recording is stopped.
func (s *live) record(path string) {
	src, rec := s.source(), &recording{file: path, done: make(chan struct{})}
	s.recording = rec
	rec.stop = s.task(func(ctx context.Context) func() {
		err := playback.Record(ctx, path, src, s.logger())
		if err != nil {
			s.logger().Error("recording stopped", "file", path, "err", err)
		}
		close(rec.done)
		return func() { rec.over, rec.err = true, err }
	})
}

// status is nil when there is nothing to say of it.
func (r *recording) status() *RecordingStatus {
	if r == nil || r.over && r.err == nil {
		return nil
	}
	st := RecordingStatus{File: filepath.Base(r.file)}
	if r.err != nil {
		why := r.err.Error()
		st.Error = &why
	}
	return &st
}

// recordingName is the room's name as far as it suits a file, and when and of which stream.
func recordingName(room, stream string, now time.Time) string {
	plain := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return '-'
	}, room)
	return fmt.Sprintf("%s-%s-%.4s.mkv", strings.Trim(plain, "-"), now.Format("20060102-150405"), stream)
}

// numbered is path for the first recording, path with -2, -3 … for later ones.
func numbered(path string, i int) string {
	if i == 1 {
		return path
	}
	ext := filepath.Ext(path)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(path, ext), i, ext)
}
