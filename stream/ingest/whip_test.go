package ingest_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/ingest"
	"github.com/watergy/waterfall/stream/internal/mediatest"
)

var quiet = slog.New(slog.DiscardHandler)

func whip(t *testing.T) (*mediatest.Target, *ingest.WHIP, *httptest.Server) {
	t.Helper()
	target := mediatest.NewTarget(t)
	w, err := ingest.NewWHIP(target, "/whip/room", ingest.WHIPConfig{})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/whip/", w)
	srv := httptest.NewServer(mux)
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		srv.Close()
	})
	return target, w, srv
}

func TestWHIPRefuses(t *testing.T) {
	_, _, srv := whip(t)
	url := srv.URL + "/whip/room"
	const head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
	for _, c := range []struct {
		name, method, url, kind, body string
		status                        int
		want                          string
	}{
		{"another type", "POST", url, "text/plain", "v=0", 415, "application/sdp"},
		{"no type", "POST", url, "", "v=0", 415, "application/sdp"},
		{"too long", "POST", url, "application/sdp", strings.Repeat("a", 64<<10+1), 413, "longer than"},
		{"rubbish", "POST", url, "application/sdp", "hello", 400, "bad offer"},
		{"empty", "POST", url, "application/sdp", head, 400, "no media"},
		{"no known video", "POST", url, "application/sdp", head + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 H263/90000\r\n", 406, "no H264, VP8, VP9 or AV1 in the offer (hint:"},
		{"H.265", "POST", url, "application/sdp", head + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 H265/90000\r\n", 406, "H.265 (HEVC) does not play in most browsers"},
		{"no opus", "POST", url, "application/sdp", head + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=rtpmap:0 PCMU/8000\r\n", 406, "no opus in the offer (hint:"},
		{"no way to connect", "POST", url, "application/sdp; charset=utf-8", head + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 OPUS/48000/2\r\n", 400, "bad offer"},
		{"GET", "GET", url, "", "", 405, "POST an offer"},
		{"DELETE of the endpoint", "DELETE", url, "", "", 405, "POST an offer"},
		{"GET of a session", "GET", url + "/x", "", "", 405, "PATCH or DELETE"},
		{"POST to a session", "POST", url + "/x", "application/sdp", "v=0", 405, "PATCH or DELETE"},
		{"no such session", "DELETE", url + "/x", "", "", 404, "no such session"},
		{"candidates for nobody", "PATCH", url + "/x", "application/trickle-ice-sdpfrag", "", 404, "no such session"},
		{"candidates of another type", "PATCH", url + "/x", "application/sdp", "", 415, "sdpfrag"},
	} {
		res, body := mediatest.Do(t, c.method, c.url, c.kind, c.body)
		if res.StatusCode != c.status || !strings.Contains(body, c.want) || strings.Count(body, "\n") != 1 {
			t.Errorf("%s: %d %q, want %d and %q in one line", c.name, res.StatusCode, body, c.status, c.want)
		}
	}
}

// publish plays the clip through a PeerConnection of the WHIP sort.
func publish(t *testing.T, pc *webrtc.PeerConnection) map[string]*webrtc.TrackLocalStaticRTP {
	t.Helper()
	return publishInOrder(t, pc, "video", "audio")
}

func publishInOrder(t *testing.T, pc *webrtc.PeerConnection, kinds ...string) map[string]*webrtc.TrackLocalStaticRTP {
	t.Helper()
	tracks := map[string]*webrtc.TrackLocalStaticRTP{}
	capabilities := map[string]webrtc.RTPCodecCapability{
		"video": {MimeType: webrtc.MimeTypeH264, ClockRate: 90000, SDPFmtpLine: "packetization-mode=1;profile-level-id=42e01f"},
		"audio": {MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2},
	}
	for _, kind := range kinds {
		track, err := webrtc.NewTrackLocalStaticRTP(capabilities[kind], kind, "test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
			t.Fatal(err)
		}
		tracks[kind] = track
	}
	return tracks
}

// play sends the clip until the test ends.
func play(t *testing.T, tracks map[string]*webrtc.TrackLocalStaticRTP) {
	t.Helper()
	playWith(t, func(kind string, p *rtp.Packet) { _ = tracks[kind].WriteRTP(p) })
}

func playWith(t *testing.T, send func(kind string, p *rtp.Packet)) {
	t.Helper()
	target := mediatest.NewTarget(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() { _ = ingest.TestClip(ctx, target, quiet) }()
	h, s, _ := target.Wait(5 * time.Second)
	go func() {
		defer close(done)
		p := stream.NewPlayer(h, s, stream.PlayerConfig{})
		defer p.Close()
		for {
			samples, err := p.Next(ctx)
			if err != nil {
				return
			}
			for _, x := range samples {
				kind := "audio"
				if x.Track == ingest.VideoTrack {
					kind = "video"
				}
				send(kind, &rtp.Packet{
					Header:  rtp.Header{Version: 2, SequenceNumber: uint16(x.Number), Timestamp: x.Time + 12345, Marker: x.Marker},
					Payload: x.Payload,
				})
			}
		}
	}()
}

// playLayer sends the clip's picture as one layer of a simulcast until the test ends.
func playLayer(t *testing.T, track *webrtc.TrackLocalStaticRTP, p webrtc.RTPSendParameters, rid string) {
	t.Helper()
	var midID, ridID uint8
	for _, e := range p.HeaderExtensions {
		switch e.URI {
		case "urn:ietf:params:rtp-hdrext:sdes:mid":
			midID = uint8(e.ID)
		case "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id":
			ridID = uint8(e.ID)
		}
	}
	playWith(t, func(kind string, p *rtp.Packet) {
		if kind != "video" {
			return
		}
		_ = p.SetExtension(midID, []byte("0"))
		_ = p.SetExtension(ridID, []byte(rid))
		_ = track.WriteRTP(p)
	})
}

// A publisher's picture and sound become a stream; a second one is turned away; the
// stream ends with DELETE.
func TestWHIPPublish(t *testing.T) {
	target, w, srv := whip(t)
	pc := mediatest.NewClient(t)
	tracks := publish(t, pc)
	location := mediatest.Connect(t, pc, srv.URL+"/whip/room")
	if !strings.HasPrefix(location, "/whip/room/") {
		t.Fatalf("Location %q", location)
	}
	if a := pc.RemoteDescription().SDP; !strings.Contains(a, "x-google-start-bitrate=") || !strings.Contains(a, "a=candidate:") {
		t.Errorf("the answer has no start bitrate or no candidates:\n%s", a)
	}
	if res, body := mediatest.Do(t, "PATCH", srv.URL+location, "application/trickle-ice-sdpfrag",
		"a=mid:0\r\na=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host\r\n"); res.StatusCode != 204 {
		t.Errorf("PATCH: %s %s", res.Status, body)
	}
	play(t, tracks)
	h, s, c := target.Wait(10 * time.Second)
	if len(c.Tracks) != 2 || !strings.Contains(c.Tracks[0].Fmtp, "profile-level-id=42c01f") {
		t.Errorf("catalog %+v", c)
	}
	w.NeedKeyframe() // a pion client makes none: it must not disturb

	second := mediatest.NewClient(t)
	publish(t, second)
	if res, body := mediatest.Do(t, "POST", srv.URL+"/whip/room", "application/sdp", mediatest.Offer(t, second)); res.StatusCode != 409 || !strings.Contains(body, "already") {
		t.Errorf("second publisher: %s %s", res.Status, body)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	p := stream.NewPlayer(h, s, stream.PlayerConfig{})
	defer p.Close()
	frames, sounds := 0, 0
	times := map[stream.Track][2]uint32{}
	for frames < 60 {
		samples, err := p.Next(ctx)
		if err != nil {
			t.Fatalf("after %d frames: %v", frames, err)
		}
		for _, x := range samples {
			if x.Gap || len(x.Payload) > stream.MaxPayload {
				t.Errorf("track %d number %d: gap %v, %d bytes", x.Track, x.Number, x.Gap, len(x.Payload))
			}
			first, seen := times[x.Track]
			if !seen {
				first[0] = x.Time
			}
			times[x.Track] = [2]uint32{first[0], x.Time}
			switch {
			case x.Track == ingest.AudioTrack:
				sounds++
			case x.Marker:
				frames++
			}
		}
	}
	if v := times[ingest.VideoTrack]; (v[1]-v[0])/3000 < 55 || (v[1]-v[0])/3000 > 62 {
		t.Errorf("%d frames took %d ticks", frames, v[1]-v[0])
	}
	if sounds < 80 {
		t.Errorf("%d packets of sound beside %d frames", sounds, frames)
	}

	if res, body := mediatest.Do(t, "DELETE", srv.URL+location, "", ""); res.StatusCode != 200 {
		t.Errorf("DELETE: %s %s", res.Status, body)
	}
	target.WaitEnd(5 * time.Second)
	third := mediatest.NewClient(t)
	publish(t, third)
	mediatest.Connect(t, third, srv.URL+"/whip/room")
}

// What listeners and inputs wish for is asked of the publisher as one, once a second at most.
func TestWHIPKeyframes(t *testing.T) {
	t.Parallel()
	target, w, srv := whip(t)
	pc := mediatest.NewClient(t)
	tracks := publish(t, pc)
	asked := make(chan time.Time, 256)
	for _, s := range pc.GetSenders() {
		go func() {
			for {
				pkts, _, err := s.ReadRTCP()
				if err != nil {
					return
				}
				for _, p := range pkts {
					if _, ok := p.(*rtcp.PictureLossIndication); ok {
						asked <- time.Now()
					}
				}
			}
		}()
	}
	mediatest.Connect(t, pc, srv.URL+"/whip/room")
	play(t, tracks)
	h, _, _ := target.Wait(10 * time.Second)
	ctx, cancel := context.WithCancel(context.Background())
	wished := make(chan struct{})
	t.Cleanup(func() { cancel(); <-wished })
	go func() {
		defer close(wished)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			h.WantKeyframe()
			w.NeedKeyframe()
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	var first, last time.Time
	const times = 5
	for i := range times {
		select {
		case last = <-asked:
		case <-time.After(15 * time.Second):
			t.Fatalf("the publisher was asked %d times", i)
		}
		if i == 0 {
			first = last
		}
	}
	// The requests leave at least a second apart; they may come unevenly on a busy machine.
	if took := last.Sub(first); took < (times-1)*time.Second-1500*time.Millisecond {
		t.Errorf("asked %d times within %v", times, took)
	}
}

// A publisher that vanishes without DELETE ends its stream and frees its place.
func TestWHIPPublisherVanishes(t *testing.T) {
	target, _, srv := whip(t)
	pc := mediatest.NewClient(t)
	tracks := publish(t, pc)
	mediatest.Connect(t, pc, srv.URL+"/whip/room")
	play(t, tracks)
	target.Wait(10 * time.Second)
	if err := pc.Close(); err != nil {
		t.Fatal(err)
	}
	target.WaitEnd(10 * time.Second)
}

// When the node will not take the stream, the publisher's connection ends.
func TestWHIPTargetRefuses(t *testing.T) {
	target, _, srv := whip(t)
	target.Deny = errors.New("you may not speak here")
	pc := mediatest.NewClient(t)
	tracks := publish(t, pc)
	gone := make(chan struct{})
	var once sync.Once
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateClosed || s == webrtc.PeerConnectionStateFailed {
			once.Do(func() { close(gone) })
		}
	})
	mediatest.Connect(t, pc, srv.URL+"/whip/room")
	play(t, tracks)
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the publisher is not told")
	}
}

func TestWHIPMalformed(t *testing.T) {
	_, _, srv := whip(t)
	offer := func() string {
		pc := mediatest.NewClient(t)
		publish(t, pc)
		return mediatest.Offer(t, pc)
	}
	mediatest.RefuseMalformed(t, srv, "/whip/room", offer(), offer())
}
