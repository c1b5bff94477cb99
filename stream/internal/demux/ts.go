package demux

import (
	"errors"
	"io"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts/codecs"

	"github.com/watergy/waterfall/stream/internal/codec"
)

// openTS reads an MPEG transport stream.
func openTS(s *source) (*File, error) {
	r := &mpegts.Reader{R: s}
	if err := r.Initialize(); err != nil {
		return nil, plain(err)
	}
	f := &File{Format: "MPEG-TS"}
	var queue []Packet
	var clock mpegts.TimeDecoder
	clock.Initialize()
	put := func(video bool, pts int64, units [][]byte) time.Duration {
		at := scale(clock.Decode(pts), 90000)
		queue = append(queue, Packet{Video: video, Time: at, Units: units})
		return at
	}
	for _, t := range r.Tracks() {
		if t.Codec.IsVideo() {
			if f.Video != nil {
				continue
			}
			f.Video = &Track{Codec: tsName(t.Codec)}
			if _, ok := t.Codec.(*codecs.H264); ok {
				r.OnDataH264(t, func(pts, _ int64, au [][]byte) error { put(true, pts, au); return nil })
			}
			continue
		}
		name := tsName(t.Codec)
		if f.Audio != nil || name == "" {
			continue
		}
		f.Audio = &Track{Codec: name}
		if name == Opus {
			r.OnDataOpus(t, func(pts int64, packets [][]byte) error {
				for i, b := range packets {
					if i == 0 {
						put(false, pts, packets[:1])
						continue
					}
					queue = append(queue, Packet{Time: queue[len(queue)-1].Time + opusLength(packets[i-1]), Units: [][]byte{b}})
				}
				return nil
			})
		}
	}
	f.next = func() (Packet, error) {
		for len(queue) == 0 {
			if err := r.Read(); err != nil {
				return Packet{}, plain(err)
			}
		}
		p := queue[0]
		queue = queue[1:]
		return p, nil
	}
	return f, nil
}

// plain makes whatever the library calls the end of the file io.EOF.
func plain(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err.Error() == "astits: no more packets" {
		return io.EOF
	}
	return err
}

// tsName is a codec's name; empty for what is neither picture nor sound.
func tsName(c codecs.Codec) string {
	switch c.(type) {
	case *codecs.H264:
		return codec.H264
	case *codecs.H265:
		return "H265"
	case *codecs.MPEG1Video:
		return "MPEG-2 video"
	case *codecs.MPEG4Video:
		return "MPEG-4 video"
	case *codecs.Opus:
		return Opus
	case *codecs.MPEG4Audio, *codecs.MPEG4AudioLATM:
		return "AAC"
	case *codecs.MPEG1Audio:
		return "MP3"
	case *codecs.AC3, *codecs.EAC3:
		return "AC-3"
	}
	return ""
}
