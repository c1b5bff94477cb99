package playback

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/at-wat/ebml-go"
	"github.com/at-wat/ebml-go/webm"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/internal/codec"
)

const (
	// clusterLength ends a cluster without keyframes: block times are 16 bits of ms.
	clusterLength = 5 * time.Second
	// reserved is where the seek head, and the length, are put when the file is finished.
	reserved = 256
)

// mkvFile is what a Matroska file is written to: os.File.
type mkvFile interface {
	io.Writer
	io.WriterAt
}

// mkvWriter writes a Matroska or WebM file (RFC 9559) as it comes: segment and clusters of
// unknown size, one write a block, so that a file cut off anywhere plays up to there.
// finish makes it seekable. ebml-go's own block writer is not used because it writes
// each block in pieces, from a goroutine of its own that cannot report errors.
type mkvWriter struct {
	file    mkvFile
	buf     bytes.Buffer
	segment int64 // position of the segment's content
	size    int64 // written so far
	cluster time.Duration
	open    bool // a cluster has begun
	cues    []webm.CuePoint
}

type mkvTrack struct {
	info    stream.TrackInfo
	number  uint64
	video   codec.Video // nil for sound
	private []byte      // of the video's codec
}

// newMKV writes the header.
func newMKV(f mkvFile, isWebM bool, tracks []mkvTrack) (*mkvWriter, error) {
	w := &mkvWriter{file: f}
	head := struct {
		Header webm.EBMLHeader `ebml:"EBML"`
	}{*webm.DefaultEBMLHeader}
	if !isWebM {
		head.Header.DocType = "matroska"
	}
	body := struct {
		Tracks webm.Tracks `ebml:"Tracks"`
	}{}
	for _, t := range tracks {
		e, err := t.entry()
		if err != nil {
			return nil, err
		}
		body.Tracks.TrackEntry = append(body.Tracks.TrackEntry, e)
	}
	if err := ebml.Marshal(&head, &w.buf); err != nil {
		return nil, err
	}
	w.buf.Write([]byte{0x18, 0x53, 0x80, 0x67, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) // Segment, size unknown
	w.segment = int64(w.buf.Len())
	front, err := frontMatter(nil, 0)
	if err != nil {
		return nil, err
	}
	w.buf.Write(front)
	if err := ebml.Marshal(&body, &w.buf); err != nil {
		return nil, err
	}
	return w, w.flush()
}

func (t mkvTrack) entry() (webm.TrackEntry, error) {
	e := webm.TrackEntry{TrackNumber: t.number, TrackUID: t.number}
	if t.info.Kind == "audio" {
		if !strings.EqualFold(t.info.Codec, "opus") {
			return e, fmt.Errorf("cannot record %s sound", t.info.Codec)
		}
		e.TrackType, e.CodecID, e.CodecPrivate = 2, "A_OPUS", opusHead(t.info)
		e.SeekPreRoll = uint64(80 * time.Millisecond) // RFC 7845, section 4.6
		e.Audio = &webm.Audio{SamplingFrequency: float64(t.info.ClockRate), Channels: uint64(t.info.Channels)}
		return e, nil
	}
	id, ok := map[string]string{
		codec.H264: "V_MPEG4/ISO/AVC", codec.VP8: "V_VP8", codec.VP9: "V_VP9", codec.AV1: "V_AV1",
	}[t.video.Codec()]
	width, height := t.video.Size()
	if !ok || width == 0 {
		return e, fmt.Errorf("cannot record %s video", t.info.Codec)
	}
	e.TrackType, e.CodecID, e.CodecPrivate = 1, id, t.private
	e.Video = &webm.Video{PixelWidth: uint64(width), PixelHeight: uint64(height)}
	return e, nil
}

// opusHead is the codec's header in files (RFC 7845, section 5.1). A stream that is
// joined on the way has no samples to skip.
func opusHead(t stream.TrackInfo) []byte {
	b := append([]byte("OpusHead"), 1, byte(t.Channels), 0, 0)
	b = binary.LittleEndian.AppendUint32(b, t.ClockRate)
	return append(b, 0, 0, 0)
}

// frontMatter is the part of the file that is written twice: seek head (once there are
// cues) and segment information, filled up to the reserved length.
func frontMatter(seek *webm.SeekHead, length time.Duration) ([]byte, error) {
	var b bytes.Buffer
	info := webm.Info{TimecodeScale: uint64(time.Millisecond), MuxingApp: "waterfall", WritingApp: "waterfall"}
	info.Duration = float64(length.Milliseconds())
	err := ebml.Marshal(&struct {
		SeekHead *webm.SeekHead `ebml:"SeekHead,omitempty"`
		Info     webm.Info      `ebml:"Info"`
	}{seek, info}, &b)
	if err != nil {
		return nil, err
	}
	fill := reserved - b.Len()
	if fill < 9 {
		return nil, fmt.Errorf("front matter of %d bytes is too long", b.Len())
	}
	b.WriteByte(0xec) // Void, with a length of 8 bytes
	b.Write(binary.BigEndian.AppendUint64(nil, 1<<56|uint64(fill-9)))
	b.Write(make([]byte, fill-9))
	return b.Bytes(), nil
}

// block writes a frame of a track at a time from the file's beginning. cue marks the
// frames that one may seek to.
func (w *mkvWriter) block(track uint64, at time.Duration, key, cue bool, data []byte) error {
	if d := at - w.cluster; !w.open || cue || d > clusterLength || d < -clusterLength {
		w.open, w.cluster = true, at.Truncate(time.Millisecond)
		if cue || len(w.cues) == 0 {
			w.cues = append(w.cues, webm.CuePoint{
				CueTime:           uint64(at.Milliseconds()),
				CueTrackPositions: []webm.CueTrackPosition{{CueTrack: track, CueClusterPosition: uint64(w.size - w.segment)}},
			})
		}
		err := ebml.Marshal(&struct {
			Cluster webm.Cluster `ebml:"Cluster,size=unknown"`
		}{webm.Cluster{Timecode: uint64(at.Milliseconds())}}, &w.buf)
		if err != nil {
			return err
		}
	}
	err := ebml.Marshal(&struct {
		Block ebml.Block `ebml:"SimpleBlock"`
	}{ebml.Block{
		TrackNumber: track, Timecode: int16((at - w.cluster).Milliseconds()), Keyframe: key, Data: [][]byte{data},
	}}, &w.buf)
	if err != nil {
		return err
	}
	return w.flush()
}

func (w *mkvWriter) flush() error {
	n, err := w.file.Write(w.buf.Bytes())
	w.size += int64(n)
	w.buf.Reset()
	if err != nil {
		return fmt.Errorf("write the recording: %w", err)
	}
	return nil
}

// finish adds the cues and the length.
func (w *mkvWriter) finish(length time.Duration) error {
	cues := w.size - w.segment
	err := ebml.Marshal(&struct {
		Cues webm.Cues `ebml:"Cues"`
	}{webm.Cues{CuePoint: w.cues}}, &w.buf)
	if err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	front, err := frontMatter(&webm.SeekHead{Seek: []webm.Seek{{SeekID: []byte{0x1c, 0x53, 0xbb, 0x6b}, SeekPosition: uint64(cues)}}}, length)
	if err != nil {
		return err
	}
	if _, err := w.file.WriteAt(front, w.segment); err != nil {
		return fmt.Errorf("finish the recording: %w", err)
	}
	return nil
}
