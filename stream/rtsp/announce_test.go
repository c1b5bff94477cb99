package rtsp

import (
	"errors"
	"strings"
	"testing"

	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/sdp"

	"github.com/watergy/waterfall/stream/ingest"
)

// announced are the announcements of programs, as captured.
var announced = map[string]string{
	"ffmpeg H.264 and Opus": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=No Name\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\na=tool:libavformat 59.27.100\r\n" +
		"m=video 0 RTP/AVP 96\r\nb=AS:1500\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z0LAHtkA2D3m//AUABqxAAADAAEAAAMAMg8WLkg=,aMuDyyA=; profile-level-id=42C01E\r\na=control:streamid=0\r\n" +
		"m=audio 0 RTP/AVP 97\r\nb=AS:64\r\na=rtpmap:97 opus/48000/2\r\na=control:streamid=1\r\n",
	"GStreamer VP8": "v=0\r\no=- 1188340656180883 1 IN IP4 127.0.0.1\r\ns=Session streamed with GStreamer\r\ni=rtsp-server\r\nt=0 0\r\na=tool:GStreamer\r\na=type:broadcast\r\na=control:*\r\na=range:npt=now-\r\n" +
		"m=video 0 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\na=framerate:25\r\na=control:stream=0\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 OPUS/48000/2\r\na=fmtp:97 sprop-stereo=1\r\na=control:stream=1\r\n",
	"AAC":   "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/48000/2\r\na=fmtp:97 profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3; config=119056E500\r\na=control:streamid=0\r\n",
	"H.265": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\na=control:streamid=0\r\n",
	"two pictures": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\na=control:a\r\n" +
		"m=video 0 RTP/AVP 97\r\na=rtpmap:97 VP9/90000\r\na=control:b\r\n",
}

// announce reads an announcement as a session does. It never panics.
func announce(text string) (*publisher, error) {
	var s sdp.SessionDescription
	var d description.Session
	if err := s.Unmarshal([]byte(text)); err != nil {
		return nil, err
	}
	if err := d.Unmarshal(&s); err != nil {
		return nil, err
	}
	p := &publisher{}
	return p, p.choose(&d)
}

func TestAnnounce(t *testing.T) {
	for name, want := range map[string]string{
		"ffmpeg H.264 and Opus": "", "GStreamer VP8": "", "AAC": "-c:a libopus", "H.265": "-c:v libx264", "two pictures": "-map 0:v:0",
	} {
		p, err := announce(announced[name])
		switch {
		case want == "" && err != nil, want != "" && (!errors.Is(err, ingest.ErrRefused) || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", name, err, want)
		case want == "" && (p.video == nil || p.audio == nil || p.frames == nil || p.codec == ""):
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func FuzzAnnounce(f *testing.F) {
	for _, text := range announced {
		f.Add(text)
	}
	f.Fuzz(func(_ *testing.T, text string) {
		if p, err := announce(text); err == nil && p.video != nil {
			p.fmtp()
		}
	})
}
