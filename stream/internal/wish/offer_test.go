package wish

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What Chromium offers to receive, shortened to what matters here.
const chromium = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111 9\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:9 G722/8000\r\n" +
	"m=video 9 UDP/TLS/RTP/SAVPF 96 103 107 109 117 123\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\n" +
	"a=rtpmap:103 H264/90000\r\na=fmtp:103 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n" +
	"a=rtpmap:107 H264/90000\r\na=fmtp:107 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f\r\n" +
	"a=rtpmap:109 H264/90000\r\na=fmtp:109 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n" +
	"a=rtpmap:117 h264/90000\r\na=fmtp:117 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4D001F\r\n" +
	"a=rtpmap:123 H264/90000\r\na=fmtp:123 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f\r\n"

func TestOffer(t *testing.T) {
	o, err := ParseOffer(chromium)
	if err != nil {
		t.Fatal(err)
	}
	if o.Count("audio") != 1 || o.Count("video") != 1 {
		t.Errorf("%d audio, %d video", o.Count("audio"), o.Count("video"))
	}
	if c, ok := o.Opus(); !ok || c.PayloadType != 111 || c.Channels != 2 || c.SDPFmtpLine != "minptime=10;useinbandfec=1" {
		t.Errorf("opus: %+v", c)
	}
	for _, c := range []struct {
		wish string
		want uint8
	}{{"42e0", 109}, {"4200 42e0", 103}, {"4d", 117}, {"64 4d", 123}, {"f400 64", 123}, {"f400", 103}, {"", 103}} {
		if got, ok := o.H264(strings.Fields(c.wish)...); !ok || uint8(got.PayloadType) != c.want {
			t.Errorf("wishing for %q: format %d, want %d", c.wish, got.PayloadType, c.want)
		}
	}
	o, err = ParseOffer(strings.ReplaceAll(chromium, "packetization-mode=1", "packetization-mode=0"))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := o.H264("42e0"); ok {
		t.Error("packetization mode 0 does not carry our packets")
	}
}

func TestFragment(t *testing.T) {
	f, err := parseFragment("a=ice-ufrag:x\r\nm=audio 9 RTP/AVP 0\r\na=mid:a\r\na=candidate:1 1 udp 1 1.2.3.4 5 typ host\r\na=end-of-candidates\r\n")
	got := f.candidates
	if err != nil || f.ufrag != "x" || len(got) != 1 || got[0].Candidate != "candidate:1 1 udp 1 1.2.3.4 5 typ host" || *got[0].SDPMid != "a" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parseFragment(strings.Repeat("a=candidate:1\n", maxCandidates+1)); err == nil {
		t.Error("candidates without end pass")
	}
}

// captured are the offers of testdata/offers.
func captured(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/offers/*.sdp")
	if err != nil || len(files) == 0 {
		t.Fatal("no offers", err)
	}
	all := map[string]string{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".sdp")] = strings.ReplaceAll(string(b), "{candidates}\n", "a=candidate:1 1 UDP 2015363327 192.0.2.2 34817 typ host\n")
	}
	return all
}

// Every program's offer has one picture and one sound that can be taken.
func TestCapturedOffers(t *testing.T) {
	for name, text := range captured(t) {
		o, err := ParseOffer(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_, opus := o.Opus()
		if o.Count("audio") != 1 || o.Count("video") != 1 || !opus {
			t.Errorf("%s: %d audio, %d video, opus %v", name, o.Count("audio"), o.Count("video"), opus)
		}
	}
}

func FuzzOffer(f *testing.F) {
	f.Add(chromium)
	for _, text := range captured(f) {
		f.Add(text)
	}
	f.Fuzz(func(_ *testing.T, text string) {
		fr, _ := parseFragment(text)
		answerFragment(fr.into(text))
		if o, err := ParseOffer(text); err == nil {
			o.H264("42e0", "")
			o.Opus()
		}
	})
}

func FuzzFragment(f *testing.F) {
	f.Add("a=mid:0\r\na=candidate:1 1 udp 1 1.2.3.4 5 typ host\r\n")
	f.Add("a=ice-ufrag:STkJ\r\na=ice-pwd:90TWb9sebIh1VxjnEKOuA76b\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n" +
		"a=candidate:3 1 TCP 1010827519 192.0.2.2 55887 typ host tcptype passive\r\na=end-of-candidates\r\n")
	for _, text := range captured(f) {
		f.Add(text)
	}
	f.Fuzz(func(_ *testing.T, text string) { _, _ = parseFragment(text) })
}

func TestTakeHighest(t *testing.T) {
	for _, c := range []struct{ rids, simulcast, program, want string }{
		{"q send|h send|f send", "send q;h;f", "", "f"},
		{"f send|h send|q send", "send f;h;q", "", "f"},
		{"l send|m send|h send", "send l;m;h", "", "h"},
		{"a send|b send", "send a;b", "", "b"},
		{"0 send|1 send|2 send", "send 0;1;2", "Mozilla/5.0 (OBS-Studio/32.0.1; Linux x86_64)", "0"},
		{"0 send|1 send|2 send", "send 0;1;~2", "Mozilla/5.0 Chrome/140", "2"},
		{"1 send pt=96;max-width=320;max-height=180|2 send max-width=1280;max-height=720|3 send max-width=640;max-height=360", "send 1;2;3", "", "2"},
		{"only send", "send only", "", "only"},
		{"a send|b send", "recv x send a,b;b", "", "b"},
		{"a send| ", "send a", "", "a"},
		{"a send", "", "", ""},
		{"", "send a;b", "", ""},
	} {
		o := &Offer{SDP: "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"}
		for rid := range strings.SplitSeq(c.rids, "|") {
			o.SDP += "a=rid:" + rid + "\r\n"
		}
		if c.simulcast != "" {
			o.SDP += "a=simulcast:" + c.simulcast + "\r\n"
		}
		if got := o.TakeHighest(c.program); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.rids, c.simulcast, got, c.want)
		}
		if c.want != "" && (strings.Count(o.SDP, "a=rid:") != 1 || !strings.Contains(o.SDP, "a=simulcast:send "+c.want+"\r\n")) {
			t.Errorf("%s: the offer is left as\n%s", c.rids, o.SDP)
		}
	}
}

func FuzzSimulcast(f *testing.F) {
	f.Add("v=0\r\na=rid:f send max-width=1280\r\na=rid:q send\r\na=simulcast:send q;f\r\n", "OBS-Studio")
	f.Fuzz(func(_ *testing.T, text, program string) {
		o := &Offer{SDP: text}
		o.TakeHighest(program)
		o.TakeHighest(program)
	})
}
