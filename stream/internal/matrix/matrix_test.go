package matrix

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/pion/rtp"

	"github.com/watergy/waterfall/internal/browser"
	"github.com/watergy/waterfall/internal/need"
	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/ingest"
	"github.com/watergy/waterfall/stream/internal/codec"
	"github.com/watergy/waterfall/stream/internal/mediatest"
	"github.com/watergy/waterfall/stream/playback"
	"github.com/watergy/waterfall/stream/rtsp"
)

var long = flag.Bool("long", false, "run each cell for 10 s")

func seconds() int {
	if *long {
		return 10
	}
	return 2
}

var quiet = slog.New(slog.DiscardHandler)

// bench is every door around one stream.
type bench struct {
	t      *testing.T
	target *mediatest.Target
	rtsp   *rtsp.Server
	web    *httptest.Server
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, target: mediatest.NewTarget(t)}
	source := func() (playback.Source, error) {
		h, s := b.target.Live()
		if h == nil {
			return playback.Source{}, playback.ErrNotLive
		}
		return playback.Source{History: h, Sealer: s}, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.rtsp, err = rtsp.Serve(l, rtsp.Config{
		Pick:   func(string, string) (playback.Source, error) { return source() },
		Target: func(string) (ingest.Target, error) { return b.target, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	whip, err := ingest.NewWHIP(b.target, "/whip/room", ingest.WHIPConfig{})
	if err != nil {
		t.Fatal(err)
	}
	whep, err := playback.NewWHEP("/whep/room", func(*http.Request) (playback.Source, error) { return source() }, playback.WHEPConfig{})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/whip/", whip)
	mux.Handle("/whep/", whep)
	mux.HandleFunc("/", mediatest.Page)
	b.web = httptest.NewServer(mux)
	t.Cleanup(func() {
		if err := errors.Join(whip.Close(), whep.Close(), b.rtsp.Close()); err != nil {
			t.Error(err)
		}
		b.web.Close()
	})
	return b
}

func (b *bench) url() string { return fmt.Sprintf("rtsp://%s/room", b.rtsp.Addr()) }

// background runs a program until the test ends.
func (b *bench) background(name string, args ...string) {
	b.t.Helper()
	mediatest.Background(b.t, need.Program(b.t, name), args...)
}

// encoders are ffmpeg's options for each codec.
var encoders = map[string][]string{
	"H264": {"-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "25"},
	"VP8":  {"-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-g", "25", "-b:v", "300k"},
	"VP9":  {"-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25", "-b:v", "300k"},
	"AV1":  {"-c:v", "libsvtav1", "-preset", "12", "-g", "25", "-svtav1-params", "pred-struct=1"},
}

var picture = []string{
	"-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-f", "lavfi", "-i", "sine=sample_rate=48000", "-pix_fmt", "yuv420p",
}

func args(lists ...[]string) (all []string) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// An input brings a codec into a bench until the test ends.
type input func(b *bench, codec string)

func clip(b *bench, _ string) {
	run(b, func(ctx context.Context) error { return ingest.TestClip(ctx, b.target, quiet) })
}

func run(b *bench, f func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	})
}

// file plays a file of the kind that ext names, in a loop.
func file(ext string) input {
	return func(b *bench, codec string) {
		path := filepath.Join(b.t.TempDir(), "in."+ext)
		all := args([]string{"-v", "error"}, picture, []string{"-t", "3"}, encoders[codec], []string{"-c:a", "libopus", path})
		if out, ok := mediatest.Run(b.t, 60*time.Second, need.Program(b.t, "ffmpeg"), all...); !ok {
			b.t.Fatalf("ffmpeg: %s", out)
		}
		run(b, func(ctx context.Context) error {
			return ingest.File(ctx, b.target, ingest.FileConfig{Loop: true, Open: func() (io.ReadCloser, error) { return os.Open(path) }}, quiet)
		})
	}
}

func ffmpegRTSP(transport string) input {
	return func(b *bench, codec string) {
		b.background("ffmpeg", args([]string{"-v", "error", "-re"}, picture, encoders[codec],
			[]string{"-c:a", "libopus", "-strict", "experimental", "-f", "rtsp", "-rtsp_transport", transport, b.url()})...)
	}
}

// gstEncoders are GStreamer's elements for each codec.
var gstEncoders = map[string][]string{
	"H264": {"x264enc", "tune=zerolatency", "speed-preset=ultrafast", "key-int-max=25"},
	"VP8":  {"vp8enc", "deadline=1", "cpu-used=8", "keyframe-max-dist=25", "!", "video/x-vp8,profile=(string)0"},
	"VP9":  {"vp9enc", "deadline=1", "cpu-used=8", "keyframe-max-dist=25", "!", "video/x-vp9,profile=(string)0"},
}

func gstRTSP(b *bench, codec string) {
	b.background("gst-launch-1.0", args(
		[]string{"-q", "rtspclientsink", "name=s", "protocols=tcp", "location=" + b.url(),
			"videotestsrc", "is-live=true", "!", "video/x-raw,format=I420,width=320,height=240,framerate=25/1", "!"},
		gstEncoders[codec],
		[]string{"!", "s.", "audiotestsrc", "is-live=true", "!", "audio/x-raw,rate=48000,channels=2", "!", "opusenc", "!", "s."})...)
}

// gstPayloaders are GStreamer's for each codec, behind its encoder.
var gstPayloaders = map[string][]string{
	"H264": {"!", "video/x-h264,profile=constrained-baseline", "!", "rtph264pay", "pt=96", "config-interval=-1", "aggregate-mode=zero-latency"},
	"VP8":  {"!", "rtpvp8pay", "pt=96"},
	"VP9":  {"!", "rtpvp9pay", "pt=96"},
}

// gstWHIP publishes with webrtcbin, of which GStreamer's whipclientsink is made; more goes to
// testdata/whip.py. It needs Debian's gstreamer1.0-nice, gir1.2-gst-plugins-bad-1.0 and python3-gi, which
// scripts/setup does not install.
func gstWHIP(more ...string) input {
	return func(b *bench, codec string) {
		video := strings.Join(args(gstEncoders[codec], gstPayloaders[codec]), " ")
		// Debian's own Python, which has the bindings.
		b.background("/usr/bin/python3", args([]string{"testdata/whip.py", b.web.URL + "/whip/room", video}, more)...)
	}
}

// chromiumWHIP publishes the fake camera.
func chromiumWHIP(b *bench, codec string) {
	page := browser.Open(b.t, b.web.URL)
	browser.Eval[bool](page, mediatest.PublishJS(320, 240, 20, codec))
}

// An output takes the stream for some seconds and says what is wrong, or which words it was
// refused with.
type output func(b *bench, codec string) error

// chromiumWHEP wants pictures to be shown.
func chromiumWHEP(b *bench, _ string) error {
	page := browser.Open(b.t, b.web.URL)
	browser.Eval[bool](page, mediatest.WatchJS)
	page.WaitFor(10*time.Second, `document.getElementById('video').videoWidth > 0`)
	before := browser.Eval[int](page, decodedJS)
	browser.Eval[bool](page, fmt.Sprintf(`new Promise(r => setTimeout(() => r(true), %d))`, seconds()*1000))
	if n := browser.Eval[int](page, decodedJS) - before; n < 8*seconds() {
		return fmt.Errorf("Chromium decodes %d frames in %d s", n, seconds())
	}
	return nil
}

const decodedJS = `viewer.getStats().then(s => { let n = 0; s.forEach(x => {
	if (x.type === 'inbound-rtp' && x.kind === 'video') n = x.framesDecoded }); return n })`

// ffmpegReads decodes what RTSP gives; nothing may be wrong with it.
func ffmpegReads(transport string) output {
	return func(b *bench, _ string) error {
		return decodes(b, "-rtsp_transport", transport, "-i", b.url(), "-t", fmt.Sprint(seconds()), "-map", "0:v", "-map", "0:a")
	}
}

func decodes(b *bench, in ...string) error {
	out, ok := mediatest.Run(b.t, time.Duration(seconds()+20)*time.Second, need.Program(b.t, "ffmpeg"),
		args([]string{"-v", "error", "-xerror", "-progress", "-", "-nostats"}, in, []string{"-f", "null", "-"})...)
	frames := 0
	for line := range strings.Lines(out) {
		k, v, found := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		case !found:
			return errors.New(strings.TrimSpace(out))
		case k == "frame":
			_, _ = fmt.Sscan(v, &frames)
		}
	}
	if !ok || frames < 8*seconds() {
		return fmt.Errorf("ffmpeg decodes %d frames: %s", frames, out)
	}
	return nil
}

func mpvReads(b *bench, _ string) error {
	out, ok := mediatest.Run(b.t, time.Duration(seconds()+25)*time.Second, need.Program(b.t, "mpv"),
		"--no-config", "--vo=null", "--ao=null", "--rtsp-transport=tcp", fmt.Sprintf("--length=%d", seconds()), "--term-status-msg=", b.url())
	if !ok || !strings.Contains(out, "Video") || strings.Contains(out, "rror") {
		return fmt.Errorf("mpv: %s", out)
	}
	return nil
}

var gstDecoders = map[string][]string{
	"H264": {"rtph264depay", "!", "h264parse", "!", "avdec_h264"},
	"VP8":  {"rtpvp8depay", "!", "vp8dec"},
	"VP9":  {"rtpvp9depay", "!", "vp9dec"},
}

func gstReads(b *bench, codec string) error {
	out, ok := mediatest.Run(b.t, time.Duration(seconds()+25)*time.Second, need.Program(b.t, "gst-launch-1.0"), args(
		[]string{"-q", "rtspsrc", "protocols=tcp", "latency=0", "location=" + b.url(), "!", "application/x-rtp,media=video", "!"},
		gstDecoders[codec], []string{"!", "fakesink", "sync=false", fmt.Sprintf("num-buffers=%d", 8*seconds())})...)
	if !ok || strings.Contains(out, "ERROR") {
		return fmt.Errorf("GStreamer: %s", out)
	}
	return nil
}

// gortsplibReads takes the packets apart and asks that each frame can be decoded from the first.
func gortsplibReads(b *bench, name string) error {
	u, err := base.ParseURL(b.url())
	if err != nil {
		return err
	}
	tcp := gortsplib.ProtocolTCP
	c := &gortsplib.Client{Scheme: u.Scheme, Host: u.Host, Protocol: &tcp}
	if err := c.Start(); err != nil {
		return err
	}
	defer c.Close()
	d, _, err := c.Describe(u)
	if err != nil {
		return err
	}
	if err := c.SetupAll(d.BaseURL, d.Medias); err != nil {
		return err
	}
	video, err := codec.New(name, "")
	if err != nil {
		return err
	}
	frames, n, bad := codec.NewFrames(name), 0, make(chan error, 1)
	say := func(err error) {
		select {
		case bad <- err:
		default:
		}
	}
	c.OnPacketRTP(d.Medias[0], d.Medias[0].Formats[0], func(p *rtp.Packet) {
		frame, _, err := frames.Push(p)
		if err != nil {
			say(err)
		}
		if frame == nil {
			return
		}
		if _, _, ok, err := video.Normalize(frame); !ok || err != nil {
			say(fmt.Errorf("frame %d cannot be decoded: %v", n, err))
		}
		if n++; n == 8*seconds() {
			say(nil)
		}
	})
	if _, err := c.Play(nil); err != nil {
		return err
	}
	select {
	case err := <-bad:
		return err
	case <-time.After(time.Duration(seconds()+10) * time.Second):
		return errors.New("too few frames come")
	}
}

// record writes a file, which ffmpeg must decode.
func record(ext string) output {
	return func(b *bench, _ string) error {
		h, s := b.target.Live()
		path := filepath.Join(b.t.TempDir(), "out."+ext)
		ctx, cancel := context.WithTimeout(b.t.Context(), time.Duration(seconds())*time.Second+500*time.Millisecond)
		defer cancel()
		if err := playback.Record(ctx, path, playback.Source{History: h, Sealer: s}, quiet); err != nil {
			return err
		}
		return decodes(b, "-i", path)
	}
}

// extent is how much of a row of the matrix is run.
type extent int

const (
	whole   extent = iota
	brief          // only the outputs that take it apart themselves: much like another row
	nothing        // what it needs is not always there
)

var inputs = []struct {
	name   string
	run    input
	codecs string
	most   extent // without -long
}{
	{"clip", clip, "H264", whole},
	{"file.mp4", file("mp4"), "H264 VP9 AV1", whole},
	{"file.mkv", file("mkv"), "H264 VP8 VP9 AV1", whole},
	{"file.webm", file("webm"), "VP8 VP9 AV1", brief},
	{"file.ts", file("ts"), "H264", brief},
	{"RTSP-TCP-from-ffmpeg", ffmpegRTSP("tcp"), "H264 VP8 VP9", whole},
	{"RTSP-UDP-from-ffmpeg", ffmpegRTSP("udp"), "H264 VP8", whole},
	{"RTSP-from-GStreamer", gstRTSP, "H264 VP8 VP9", whole},
	{"RTSP-from-gortsplib", gortsplibPublishes, "AV1", whole},
	{"WHIP-from-Chromium", chromiumWHIP, "H264 VP8 VP9 AV1", whole},
	{"WHIP-from-GStreamer", gstWHIP(), "H264 VP8 VP9", nothing},
	{"WHIP-from-GStreamer-trickled", gstWHIP("trickle"), "H264", nothing},
}

var outputs = []struct {
	name string
	run  output
	// refused are the words with which a codec is refused.
	refused map[string]string
	// unable are codecs that the program of this system cannot read, whatever we send.
	unable string
}{
	{"WHEP-to-Chromium", chromiumWHEP, nil, ""},
	{"RTSP-TCP-to-ffmpeg", ffmpegReads("tcp"), nil, "AV1"}, // since ffmpeg 7.1
	{"RTSP-UDP-to-ffmpeg", ffmpegReads("udp"), nil, "AV1"},
	{"RTSP-to-mpv", mpvReads, nil, "AV1"},
	{"RTSP-to-GStreamer", gstReads, nil, "AV1"}, // its depayloader is not in Debian
	{"RTSP-to-gortsplib", gortsplibReads, nil, ""},
	{"recording.mkv", record("mkv"), nil, ""},
	{"recording.webm", record("webm"), map[string]string{"H264": `WebM holds no H264, which this stream has (hint: use a name that ends in .mkv)`}, ""},
}

// briefOutputs start no program but ffmpeg, on the recording.
const briefOutputs = "RTSP-to-gortsplib recording.mkv"

// Every input, with every codec that it can bring, to every output; with -short one input.
func TestMatrix(t *testing.T) {
	for _, in := range inputs {
		if testing.Short() && in.name != "file.mp4" || in.most == nothing && !*long {
			continue
		}
		for codec := range strings.FieldsSeq(in.codecs) {
			t.Run(in.name+"/"+codec, func(t *testing.T) {
				b := newBench(t)
				in.run(b, codec)
				h, s, c := b.target.Wait(30 * time.Second)
				if len(c.Tracks) != 2 || c.Tracks[0].Codec != codec {
					t.Fatalf("catalog %+v", c)
				}
				decodable(t, h, s)
				var wg sync.WaitGroup
				for _, out := range outputs {
					if strings.Contains(out.unable, codec) || in.most == brief && !*long && !strings.Contains(briefOutputs, out.name) {
						continue
					}
					cell := func() {
						err := out.run(b, codec)
						want, refused := out.refused[codec]
						switch {
						case refused && (err == nil || err.Error() != want):
							t.Errorf("%s: %v, want %q", out.name, err, want)
						case !refused && err != nil:
							t.Errorf("%s: %v", out.name, err)
						}
					}
					if out.name == "WHEP-to-Chromium" { // alone: it needs the test's own goroutine
						cell()
						continue
					}
					wg.Go(cell)
				}
				wg.Wait()
			})
		}
	}
}

// decodable waits for the stream's first packets.
func decodable(t *testing.T, h *stream.History, s *stream.Sealer) {
	t.Helper()
	p := stream.NewPlayer(h, s, stream.PlayerConfig{})
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := p.Next(ctx); err != nil {
		t.Fatalf("nothing comes: %v", err)
	}
}
