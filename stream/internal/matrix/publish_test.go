package matrix

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/pion/rtp"

	"github.com/watergy/waterfall/internal/need"
	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/ingest"
	"github.com/watergy/waterfall/stream/internal/mediatest"
)

// gortsplibPublishes brings AV1 by RTSP, which no program of Debian's can: what ffmpeg has
// encoded is played into a stream of its own, whose packets are published.
func gortsplibPublishes(b *bench, codec string) {
	path := filepath.Join(b.t.TempDir(), "in.mkv")
	all := args([]string{"-v", "error"}, picture, []string{"-t", "3"}, encoders[codec], []string{"-c:a", "libopus", path})
	if out, ok := mediatest.Run(b.t, 60*time.Second, need.Program(b.t, "ffmpeg"), all...); !ok {
		b.t.Fatalf("ffmpeg: %s", out)
	}
	from := mediatest.NewTarget(b.t)
	run(b, func(ctx context.Context) error {
		return ingest.File(ctx, from, ingest.FileConfig{Loop: true, Open: func() (io.ReadCloser, error) { return os.Open(path) }}, quiet)
	})
	h, s, _ := from.Wait(20 * time.Second)
	video := &description.Media{Type: description.MediaTypeVideo, Formats: []format.Format{&format.AV1{PayloadTyp: 96}}}
	audio := &description.Media{Type: description.MediaTypeAudio, Formats: []format.Format{&format.Opus{PayloadTyp: 97, ChannelCount: 2}}}
	run(b, func(ctx context.Context) error {
		tcp := gortsplib.ProtocolTCP
		c := &gortsplib.Client{Protocol: &tcp}
		if err := c.StartRecording(b.url(), &description.Session{Medias: []*description.Media{video, audio}}); err != nil {
			return err
		}
		defer c.Close()
		p := stream.NewPlayer(h, s, stream.PlayerConfig{})
		defer p.Close()
		for {
			samples, err := p.Next(ctx)
			if ctx.Err() != nil || errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			for _, x := range samples {
				m, kind := audio, uint8(97)
				if x.Track == ingest.VideoTrack {
					m, kind = video, 96
				}
				if err := c.WritePacketRTP(m, &rtp.Packet{
					Header:  rtp.Header{Version: 2, PayloadType: kind, SequenceNumber: uint16(x.Number), Timestamp: x.Time, Marker: x.Marker, SSRC: uint32(kind)},
					Payload: x.Payload,
				}); err != nil {
					return err
				}
			}
		}
	})
}
