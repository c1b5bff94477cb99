package playback_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/watergy/waterfall/internal/browser"
	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/ingest"
	"github.com/watergy/waterfall/stream/internal/avc"
	"github.com/watergy/waterfall/stream/internal/mediatest"
	"github.com/watergy/waterfall/stream/playback"
)

// whep serves one source at /whep/room, and pages at /.
func whep(t *testing.T, cfg playback.WHEPConfig, pick func(r *http.Request) (playback.Source, error)) *httptest.Server {
	t.Helper()
	w, err := playback.NewWHEP("/whep/room", pick, cfg)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/whep/room", w)
	mux.Handle("/whep/room/", w)
	mux.HandleFunc("/", mediatest.Page)
	srv := httptest.NewServer(mux)
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		srv.Close()
	})
	return srv
}

func receive(t *testing.T, pc *webrtc.PeerConnection) {
	t.Helper()
	for _, k := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		if _, err := pc.AddTransceiverFromKind(k, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			t.Fatal(err)
		}
	}
}

// A viewer who comes in the middle of a group sees its keyframe first, then every packet
// with the numbers in a row, and its clocks from sender reports.
func TestWHEP(t *testing.T) {
	_, src := clip(t)
	framed := make(chan stream.ID, 1)
	srv := whep(t, playback.WHEPConfig{OnFirstFrame: func(id stream.ID) { framed <- id }},
		func(*http.Request) (playback.Source, error) { return src, nil })

	pc := mediatest.NewClient(t)
	receive(t, pc)
	var mu sync.Mutex
	reports := map[string]*rtcp.SenderReport{}
	frames := make(chan int, 1)
	pc.OnTrack(func(track *webrtc.TrackRemote, r *webrtc.RTPReceiver) {
		go func() {
			for {
				pkts, _, err := r.ReadRTCP()
				if err != nil {
					return
				}
				for _, p := range pkts {
					if sr, ok := p.(*rtcp.SenderReport); ok && sr.SSRC == uint32(track.SSRC()) {
						mu.Lock()
						reports[track.Kind().String()] = sr
						mu.Unlock()
					}
				}
			}
		}()
		n := 0
		for i := uint16(0); ; i++ {
			p, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			if track.Kind() != webrtc.RTPCodecTypeVideo {
				continue
			}
			if i == 0 && !avc.KeyStart(p.Payload) {
				t.Errorf("the first packet does not begin a group: % x", p.Payload[:min(8, len(p.Payload))])
			}
			if p.SequenceNumber != i {
				t.Errorf("number %d after %d", p.SequenceNumber, i-1)
				return
			}
			if p.Marker {
				if n++; n == 75 {
					frames <- n
				}
			}
		}
	})
	location := mediatest.Connect(t, pc, srv.URL+"/whep/room")
	select {
	case <-frames:
	case <-time.After(10 * time.Second):
		t.Fatal("75 frames do not come within 10s")
	}
	select {
	case id := <-framed:
		if id != src.History.ID() {
			t.Errorf("first frame of stream %x", id)
		}
	default:
		t.Error("nobody was told of the first frame")
	}
	// By the reports, sound and picture are on one line of time: RTP times of the same
	// instant are the same media time.
	mu.Lock()
	v, a := reports["video"], reports["audio"]
	mu.Unlock()
	if v == nil || a == nil {
		t.Fatalf("reports: video %v, audio %v", v, a)
	}
	ntp := float64(int64(v.NTPTime-a.NTPTime)) / (1 << 32)
	if d := float64(v.RTPTime)/90000 - float64(a.RTPTime)/48000 - ntp; d < -0.005 || d > 0.005 {
		t.Errorf("the reports are %.3f s apart", d)
	}

	gone := make(chan struct{})
	var once sync.Once
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s != webrtc.PeerConnectionStateConnected {
			once.Do(func() { close(gone) })
		}
	})
	if res, body := mediatest.Do(t, "DELETE", srv.URL+location, "", ""); res.StatusCode != 200 {
		t.Errorf("DELETE: %s %s", res.Status, body)
	}
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Error("DELETE does not end the connection")
	}
}

func TestWHEPRefuses(t *testing.T) {
	s, err := stream.NewSealer([16]byte{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	ended := stream.NewHistory(stream.ID{1}, stream.HistoryConfig{})
	ended.End()
	_, live := clip(t)
	srv := whep(t, playback.WHEPConfig{}, func(r *http.Request) (playback.Source, error) {
		switch r.URL.Query().Get("stream") {
		case "live":
			return live, nil
		case "ended":
			return playback.Source{History: ended, Sealer: s}, nil
		case "waiting":
			return playback.Source{}, playback.ErrNotLive
		}
		return playback.Source{}, errors.New("no such stream")
	})
	pc := mediatest.NewClient(t)
	receive(t, pc)
	offer := mediatest.Offer(t, pc)
	for _, c := range []struct {
		query, body string
		status      int
		want        string
		retry       bool
	}{
		{"live", "rubbish", 400, "bad offer", false},
		{"live", strings.ReplaceAll(offer, "H264/", "H999/"), 406, "not in the offer (hint:", false},
		{"ended", offer, 409, "nobody is live", true},
		{"waiting", offer, 409, "nobody is live", true},
		{"other", offer, 404, "no such stream", false},
	} {
		res, body := mediatest.Do(t, "POST", srv.URL+"/whep/room?stream="+c.query, "application/sdp", c.body)
		if res.StatusCode != c.status || !strings.Contains(body, c.want) || (res.Header.Get("Retry-After") != "") != c.retry {
			t.Errorf("%s: %d %q, Retry-After %q", c.query, res.StatusCode, body, res.Header.Get("Retry-After"))
		}
	}
}

// Whoever finds no seat is told to come back, and a seat that was left is free again,
// also by a viewer that never came to see anything.
func TestWHEPSeats(t *testing.T) {
	_, live := clip(t)
	seats := playback.NewSeats(1)
	srv := whep(t, playback.WHEPConfig{Seats: seats}, func(*http.Request) (playback.Source, error) { return live, nil })
	post := func() *http.Response {
		pc := mediatest.NewClient(t)
		receive(t, pc)
		res, _ := mediatest.Do(t, "POST", srv.URL+"/whep/room", "application/sdp", mediatest.Offer(t, pc))
		return res
	}
	first := post()
	if first.StatusCode != http.StatusCreated {
		t.Fatal(first.Status)
	}
	if res := post(); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("no seat is left: %s, Retry-After %q", res.Status, res.Header.Get("Retry-After"))
	}
	res, _ := mediatest.Do(t, "DELETE", srv.URL+first.Header.Get("Location"), "", "")
	if res.StatusCode != http.StatusOK {
		t.Error(res.Status)
	}
	if res := post(); res.StatusCode != http.StatusCreated {
		t.Errorf("a seat is free again: %s", res.Status)
	}
	if err := playback.NewSeats(-1).Take(); err == nil {
		t.Error("a seat where there is none")
	}
}

// Chromium plays the clip at once and without a freeze.
func TestChromiumPlays(t *testing.T) {
	_, src := clip(t)
	srv := whep(t, playback.WHEPConfig{}, func(*http.Request) (playback.Source, error) { return src, nil })
	page := browser.Open(t, srv.URL)
	start := browser.Eval[float64](page, `performance.now()`)
	browser.Eval[bool](page, mediatest.WatchJS)
	page.WaitFor(5*time.Second, `document.getElementById('video').videoWidth > 0`)
	t.Logf("first picture after %.0f ms", browser.Eval[float64](page, `performance.now()`)-start)
	page.Watch("#video")
	browser.Eval[bool](page, `new Promise(r => setTimeout(() => r(true), 5000))`)
	seen := page.Playback()
	t.Log(seen)
	if seen.FPS() < 29 || seen.Gap > browser.Freeze || seen.Width != 854 {
		t.Errorf("Chromium shows %v", seen)
	}
	if n := browser.Eval[int](page, `viewer.getStats().then(s => { let n = -1; s.forEach(x => {
		if (x.type === 'inbound-rtp' && x.kind === 'audio') n = x.totalSamplesReceived - x.concealedSamples }); return n })`); n < 4*48000 {
		t.Errorf("Chromium heard %d samples in 5 s", n)
	}
}

// Chromium's fake camera publishes by WHIP, with a picture of its real size from the
// start, and watches itself by WHEP.
func TestChromiumPublishes(t *testing.T) {
	target := mediatest.NewTarget(t)
	whip, err := ingest.NewWHIP(target, "/whip/room", ingest.WHIPConfig{})
	if err != nil {
		t.Fatal(err)
	}
	srv := whep(t, playback.WHEPConfig{}, func(*http.Request) (playback.Source, error) {
		h, s := target.Live()
		if h == nil {
			return playback.Source{}, playback.ErrNotLive
		}
		return playback.Source{History: h, Sealer: s}, nil
	})
	mux := http.NewServeMux()
	mux.Handle("/", srv.Config.Handler)
	mux.Handle("/whip/", whip)
	both := httptest.NewServer(mux)
	defer both.Close()
	defer whip.Close()

	page := browser.Open(t, both.URL)
	browser.Eval[bool](page, mediatest.PublishJS(1280, 720, 30, ""))
	h, sealer, c := target.Wait(15 * time.Second)
	if len(c.Tracks) != 2 {
		t.Errorf("catalog %+v", c)
	}
	// A browser's picture grows while it learns the line: the recording must follow.
	file := filepath.Join(t.TempDir(), "camera.mkv")
	recorded := make(chan error, 1)
	recording, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		recorded <- playback.Record(recording, file, playback.Source{History: h, Sealer: sealer}, quiet)
	}()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	keys := groups(ctx, h)
	browser.Eval[bool](page, mediatest.WatchJS)
	page.WaitFor(10*time.Second, `document.getElementById('video').videoWidth >= 640`)
	// The fake camera chooses its own rate (20 a second here): what it sends is the measure.
	sent := func() int {
		return browser.Eval[int](page, `publisher.getStats().then(s => { let n = 0; s.forEach(x => {
			if (x.type === 'outbound-rtp' && x.kind === 'video') n = x.framesSent }); return n })`)
	}
	before := sent()
	page.Watch("#video")
	browser.Eval[bool](page, `new Promise(r => setTimeout(() => r(true), 5000))`)
	seen := page.Playback()
	published := sent() - before
	t.Logf("%d frames published, %v", published, seen)
	if published < 50 || seen.Frames < published*95/100 || seen.Gap > browser.Freeze {
		t.Errorf("of %d frames published Chromium sees %v; its sender says %s", published, seen,
			browser.Eval[string](page, `publisher.getStats().then(s => { let o = {}; s.forEach(x => {
				if (x.type === 'outbound-rtp' && x.kind === 'video') Object.assign(o, {encoded: x.framesEncoded, keys: x.keyFramesEncoded,
					limit: x.qualityLimitationReason, limits: x.qualityLimitationDurations, target: x.targetBitrate, nacks: x.nackCount,
					plis: x.pliCount, encodeTime: x.totalEncodeTime, sendDelay: x.totalPacketSendDelay});
				if (x.type === 'media-source' && x.kind === 'video') o.captured = x.frames;
				if (x.type === 'candidate-pair' && x.nominated) o.rate = x.availableOutgoingBitrate, o.rtt = x.currentRoundTripTime;
			}); return JSON.stringify(o) })`))
	}
	end()
	n := <-keys
	t.Log(n, "groups")
	if n < 3 {
		t.Errorf("%d groups in more than 5 s, want one in 2 s", n)
	}
	stop()
	if err := <-recorded; err != nil {
		t.Fatal(err)
	}
	if frames, length := decode(t, file); frames < published || length < 5*time.Second {
		t.Errorf("recorded %d frames, %v, of more than %d", frames, length, published)
	}
}

// groups counts the groups of h from now until ctx ends.
func groups(ctx context.Context, h *stream.History) <-chan int {
	count := make(chan int, 1)
	go func() {
		cursor := h.CursorAt(nil)
		buf := make([]stream.Packet, 256)
		keys := 0
		for {
			n, err := cursor.Next(ctx, buf)
			if err != nil {
				count <- keys
				return
			}
			for _, p := range buf[:n] {
				if p.KeyStart {
					keys++
				}
			}
		}
	}()
	return count
}

func TestWHEPMalformed(t *testing.T) {
	_, src := clip(t)
	srv := whep(t, playback.WHEPConfig{}, func(*http.Request) (playback.Source, error) { return src, nil })
	offer := func() string {
		pc := mediatest.NewClient(t)
		receive(t, pc)
		return mediatest.Offer(t, pc)
	}
	mediatest.RefuseMalformed(t, srv, "/whep/room", offer(), offer())
}
