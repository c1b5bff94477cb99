package ingest_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/internal/mediatest"
)

func formats(pairs ...webrtc.RTPCodecParameters) []webrtc.RTPCodecParameters { return pairs }

func format(mime string, rate uint32, channels uint16, fmtp string, pt webrtc.PayloadType) webrtc.RTPCodecParameters {
	return webrtc.RTPCodecParameters{
		RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: mime, ClockRate: rate, Channels: channels, SDPFmtpLine: fmtp},
		PayloadType:        pt,
	}
}

// without takes the lines that match out of an SDP.
func without(sdp, expr string) string {
	return regexp.MustCompile(`(?m)^(?:`+expr+`)\r?\n`).ReplaceAllString(sdp, "")
}

// client is a program that publishes: its offer in ../internal/wish/testdata/offers, whose
// README says where it is from, and how it asks. The media that follow are pion's.
type client struct {
	offer   string
	agent   string
	formats []webrtc.RTPCodecParameters
	kinds   []string // in the order of the offer's sections
}

var soundFirst, pictureFirst = []string{"audio", "video"}, []string{"video", "audio"}

func opusAt(pt webrtc.PayloadType) webrtc.RTPCodecParameters {
	return format("audio/opus", 48000, 2, "", pt)
}

func h264At(pt webrtc.PayloadType, profile string) webrtc.RTPCodecParameters {
	return format("video/H264", 90000, 0, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id="+profile, pt)
}

var clients = []client{
	{"obs-30", "Mozilla/5.0 (OBS-Studio/30.2.3; Windows x86_64; en-US)", formats(opusAt(111), h264At(96, "42e01f")), soundFirst},
	{"obs-31", "Mozilla/5.0 (OBS-Studio/31.0.0; Linux x86_64; en-US)", formats(opusAt(111), h264At(96, "42e01f")), soundFirst},
	{"ffmpeg-8", "Lavf/62.3.100", formats(opusAt(111), h264At(106, "42c01f")), soundFirst},
	{"gstreamer-1.22", "", formats(h264At(96, "42c015"), opusAt(97)), pictureFirst},
	{"chromium-156", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
		formats(opusAt(111), h264At(108, "42e01f")), soundFirst},
}

// fill puts into a captured offer what is pc's own.
func fill(t *testing.T, name string, pc *webrtc.PeerConnection) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../internal/wish/testdata/offers", name+".sdp"))
	if err != nil {
		t.Fatal(err)
	}
	own := mediatest.Offer(t, pc)
	ssrc := map[string]string{}
	for _, section := range strings.Split(own, "m=")[1:] {
		kind, _, _ := strings.Cut(section, " ")
		ssrc[kind], _, _ = strings.Cut(value(section, "ssrc"), " ")
	}
	var candidates []string
	for _, c := range lines(own, "a=candidate:") {
		if c = strings.Replace(c, " udp ", " UDP ", 1); !slices.Contains(candidates, c) && strings.Contains(c, " 1 UDP ") {
			candidates = append(candidates, c)
		}
	}
	text := strings.NewReplacer("{ufrag}", value(own, "ice-ufrag"), "{pwd}", value(own, "ice-pwd"),
		"{fingerprint}", strings.TrimPrefix(value(own, "fingerprint"), "sha-256 "),
		"{audio}", ssrc["audio"], "{video}", ssrc["video"], "{candidates}", strings.Join(candidates, "\n")).Replace(string(b))
	return strings.ReplaceAll(text, "\n", "\r\n")
}

// asPion gives an answer's sections the names that they have in pion's own offer.
func asPion(answer string) string {
	for i, l := range lines(answer, "a=mid:") {
		mid := strings.TrimPrefix(l, "a=mid:")
		answer = strings.ReplaceAll(answer, "a=mid:"+mid+"\r", fmt.Sprintf("a=mid:%d\r", i))
		answer = regexp.MustCompile(`(?m)^(a=group:BUNDLE.* )`+regexp.QuoteMeta(mid)+`\b`).ReplaceAllString(answer, fmt.Sprintf("${1}%d", i))
	}
	return answer
}

// Every program's offer is answered as it needs, and its media become a stream.
func TestWHIPClients(t *testing.T) {
	for _, c := range clients {
		t.Run(c.offer, func(t *testing.T) {
			target, _, srv := whip(t)
			pc := mediatest.NewClient(t, c.formats...)
			tracks := publishInOrder(t, pc, c.kinds...)
			offer := fill(t, c.offer, pc)
			res, answer := mediatest.Do(t, "POST", srv.URL+"/whip/room", "application/sdp", offer, "User-Agent", c.agent, "Cache-Control", "no-cache")
			if res.StatusCode != http.StatusCreated || res.Header.Get("Content-Type") != "application/sdp" || res.Header.Get("ETag") == "" {
				t.Fatalf("%s %v\n%s", res.Status, res.Header, answer)
			}
			if !strings.HasPrefix(answer, "v=0") || !regexp.MustCompile(`(?m)^a=candidate:\S+ 1 udp \d+ \S+ \d+ typ host`).MatchString(answer) {
				t.Errorf("the answer has no host candidate:\n%s", answer)
			}
			if strings.Contains(offer, "a=setup:passive") && !strings.Contains(answer, "a=setup:active") {
				t.Errorf("two passive sides:\n%s", answer)
			}
			if !strings.Contains(offer, "a=extmap:") && strings.Contains(answer, "a=extmap:") {
				t.Errorf("extensions that were not offered:\n%s", answer)
			}
			if got, want := len(lines(answer, "m=")), len(c.kinds); got != want || strings.Contains(answer, "m=audio 0 ") || strings.Contains(answer, "m=video 0 ") {
				t.Errorf("not both tracks are taken:\n%s", answer)
			}
			if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: asPion(answer)}); err != nil {
				t.Fatal(err)
			}
			play(t, tracks)
			h, s, catalog := target.Wait(10 * time.Second)
			if len(catalog.Tracks) != 2 || catalog.Tracks[0].Codec != "H264" {
				t.Errorf("catalog %+v", catalog)
			}
			watch(t, h, s, 20)
			if res, _ := mediatest.Do(t, "DELETE", srv.URL+res.Header.Get("Location"), "", "", "User-Agent", c.agent); res.StatusCode != 200 {
				t.Errorf("DELETE: %s", res.Status)
			}
			target.WaitEnd(5 * time.Second)
		})
	}
}

// Firefox without its H.264 plug-in has VP8 taken.
func TestWHIPFirefox(t *testing.T) {
	_, _, srv := whip(t)
	pc := mediatest.NewClient(t)
	publishInOrder(t, pc, soundFirst...)
	res, answer := mediatest.Do(t, "POST", srv.URL+"/whip/room", "application/sdp", fill(t, "firefox-153", pc))
	if res.StatusCode != http.StatusCreated || !strings.Contains(answer, "a=rtpmap:120 VP8/90000") || !strings.Contains(answer, "a=rtpmap:109 opus/48000/2") {
		t.Errorf("%s %s", res.Status, answer)
	}
}

// watch waits for so many frames from now on.
func watch(t *testing.T, h *stream.History, s *stream.Sealer, frames int) {
	t.Helper()
	p := stream.NewPlayer(h, s, stream.PlayerConfig{})
	defer p.Close()
	late := time.AfterFunc(10*time.Second, p.Close)
	defer late.Stop()
	for n := 0; n < frames; {
		samples, err := p.Next(t.Context())
		if err != nil {
			t.Fatalf("%d of %d frames come within 10 s: %v", n, frames, err)
		}
		for _, x := range samples {
			if x.Marker && x.Track == 1 {
				n++
			}
		}
	}
}

// Candidates may come after the offer; when the publisher's network changes, ICE starts anew
// and the stream goes on.
func TestWHIPTrickleAndRestart(t *testing.T) {
	target, _, srv := whip(t)
	pc := mediatest.NewClient(t)
	tracks := publish(t, pc)
	full := mediatest.Offer(t, pc)
	res, answer := mediatest.Do(t, "POST", srv.URL+"/whip/room", "application/sdp", without(full, `a=candidate:.*|a=end-of-candidates`))
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("%s %s", res.Status, answer)
	}
	session, etag := srv.URL+res.Header.Get("Location"), res.Header.Get("ETag")
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		t.Fatal(err)
	}
	const sdpfrag = "application/trickle-ice-sdpfrag"
	patch := func(offer, match string) (*http.Response, string) {
		t.Helper()
		var more []string
		if match != "" {
			more = []string{"If-Match", match}
		}
		return mediatest.Do(t, "PATCH", session, sdpfrag, fragment(offer), more...)
	}
	if res, body := patch(full, etag); res.StatusCode != 204 {
		t.Errorf("trickle: %s %s", res.Status, body)
	}
	if res, body := patch(full, ""); res.StatusCode != 204 {
		t.Errorf("trickle without a tag: %s %s", res.Status, body)
	}
	if res, body := patch(full, `"other"`); res.StatusCode != 412 {
		t.Errorf("trickle for another ICE session: %s %s", res.Status, body)
	}
	if res, body := patch(full, "*"); res.StatusCode != 400 || !strings.Contains(body, "another ice-ufrag") {
		t.Errorf("a restart with the old credentials: %s %s", res.Status, body)
	}
	if res, body := patch(strings.ReplaceAll(full, "a=ice-pwd:", "a=x:"), "*"); res.StatusCode != 400 || !strings.Contains(body, "ice-pwd") {
		t.Errorf("a restart without a password: %s %s", res.Status, body)
	}
	play(t, tracks)
	h, s, _ := target.Wait(10 * time.Second)
	watch(t, h, s, 10)

	offer, err := pc.CreateOffer(&webrtc.OfferOptions{ICERestart: true})
	if err != nil {
		t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	<-gathered
	if res, body := patch(pc.LocalDescription().SDP, ""); res.StatusCode != 428 {
		t.Errorf("new credentials without a tag: %s %s", res.Status, body)
	}
	res, part := patch(pc.LocalDescription().SDP, "*")
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != sdpfrag || res.Header.Get("ETag") == etag || res.Header.Get("ETag") == "" {
		t.Fatalf("restart: %s %v %s", res.Status, res.Header, part)
	}
	if !strings.Contains(part, "a=candidate:") || strings.Contains(answer, value(part, "ice-ufrag")) {
		t.Errorf("the restart is answered with\n%s", part)
	}
	for _, name := range []string{"ice-ufrag", "ice-pwd"} {
		answer = strings.ReplaceAll(answer, value(answer, name), value(part, name))
	}
	answer = strings.Replace(without(answer, `a=candidate:.*|a=end-of-candidates`), "a=mid:0\r\n", strings.Join(lines(part, "a=candidate:"), "\r\n")+"\r\na=mid:0\r\n", 1)
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		t.Fatal(err)
	}
	if res, body := patch(full, etag); res.StatusCode != 412 {
		t.Errorf("the tag from before the restart: %s %s", res.Status, body)
	}
	watch(t, h, s, 100)
	if live, _ := target.Live(); live != h {
		t.Error("the stream has not survived the restart")
	}
	if state := pc.ICEConnectionState(); state != webrtc.ICEConnectionStateConnected && state != webrtc.ICEConnectionStateCompleted {
		t.Errorf("ICE is %v", state)
	}
}

// fragment is the part of an offer that PATCH carries.
func fragment(offer string) string {
	var out []string
	for _, name := range []string{"a=ice-ufrag:", "a=ice-pwd:", "a=group:", "m=", "a=mid:", "a=candidate:", "a=end-of-candidates"} {
		got := lines(offer, name)
		if name != "a=candidate:" && len(got) > 1 {
			got = got[:1]
		}
		out = append(out, got...)
	}
	return strings.Join(out, "\r\n") + "\r\n"
}

func lines(sdp, prefix string) (out []string) {
	for line := range strings.Lines(sdp) {
		if strings.HasPrefix(line, prefix) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

func value(sdp, name string) string {
	for _, l := range lines(sdp, "a="+name+":") {
		return strings.TrimPrefix(l, "a="+name+":")
	}
	return "?"
}

// A publisher that offers several sizes is asked for the largest alone.
func TestWHIPSimulcast(t *testing.T) {
	target, _, srv := whip(t)
	pc := mediatest.NewClient(t)
	capability := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeH264, ClockRate: 90000, SDPFmtpLine: "packetization-mode=1;profile-level-id=42e01f"}
	layers := map[string]*webrtc.TrackLocalStaticRTP{}
	var sender *webrtc.RTPSender
	for _, rid := range []string{"q", "h", "f"} {
		track, err := webrtc.NewTrackLocalStaticRTP(capability, "video", "test", webrtc.WithRTPStreamID(rid))
		if err != nil {
			t.Fatal(err)
		}
		layers[rid] = track
		if sender == nil {
			tr, err := pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
			if err != nil {
				t.Fatal(err)
			}
			sender = tr.Sender()
		} else if err := sender.AddEncoding(track); err != nil {
			t.Fatal(err)
		}
	}
	mediatest.Connect(t, pc, srv.URL+"/whip/room")
	answer := pc.RemoteDescription().SDP
	if !strings.Contains(answer, "a=rid:f recv") || strings.Contains(answer, "a=rid:q") || strings.Contains(answer, "a=rid:h") || !strings.Contains(answer, "a=simulcast:recv f\r\n") {
		t.Errorf("the answer does not take the largest alone:\n%s", answer)
	}
	encodings := sender.GetParameters()
	playLayer(t, layers["f"], encodings, "f")
	h, s, _ := target.Wait(10 * time.Second)
	watch(t, h, s, 20)
}

// OPTIONS tells what may be sent (RFC 9725, section 4.2), to pages of the own origin too.
func TestWHIPOptions(t *testing.T) {
	_, _, srv := whip(t)
	own := srv.URL
	for _, c := range []struct{ path, origin, post, patch, cors string }{
		{"/whip/room", "", "application/sdp", "", ""},
		{"/whip/room", own, "application/sdp", "", own},
		{"/whip/room/session", own, "", "application/trickle-ice-sdpfrag", own},
		{"/whip/room", "http://elsewhere.example", "application/sdp", "", ""},
	} {
		res, _ := mediatest.Do(t, "OPTIONS", srv.URL+c.path, "", "", "Origin", c.origin)
		h := res.Header
		if res.StatusCode != 200 || h.Get("Accept-Post") != c.post || h.Get("Accept-Patch") != c.patch || h.Get("Access-Control-Allow-Origin") != c.cors {
			t.Errorf("%s from %q: %s %v", c.path, c.origin, res.Status, h)
		}
		if c.cors != "" && !strings.Contains(h.Get("Access-Control-Allow-Headers"), "If-Match") {
			t.Errorf("%s: %v", c.path, h)
		}
	}
}
