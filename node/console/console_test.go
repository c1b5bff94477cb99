package console

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/watergy/waterfall/node"
)

// fake is a node with one room and one stream.
type fake struct {
	mu     sync.Mutex
	st     node.Status
	charts []node.StreamChart
	sick   error
}

func (f *fake) Status() node.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	st := f.st
	st.UptimeS = float64(time.Now().UnixNano()) // never twice the same
	return st
}

func (f *fake) set(change func(*node.Status)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.st)
}

func (f *fake) Charts() []node.StreamChart {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.charts
}

func (f *fake) Healthy() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sick
}

func (f *fake) WHIP(room string) (http.Handler, error) { return f.media("whip", room) }
func (f *fake) WHEP(room string) (http.Handler, error) { return f.media("whep", room) }

func (f *fake) media(kind, room string) (http.Handler, error) {
	if room != "current" {
		return nil, errors.New("this node is in no room " + room)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, kind+" "+r.Method+" "+r.URL.Path)
	}), nil
}

func newFake() *fake {
	layer, delay, members := 2, 31.5, 17
	return &fake{st: node.Status{
		Version: "v0", PeerID: "12D3self", Addresses: []string{},
		DHT: node.DHTStatus{Mode: "client", Table: 3, Connected: 5},
		Rooms: []node.RoomStatus{{
			ID: "12D3room", Name: "<b>lecture</b>", Admission: "open", Members: &members,
			Streams: []node.StreamStatus{{
				ID: "aa", State: "live", Role: "relay", Layer: &layer, Path: []string{}, PathDelayMS: &delay, Switches: 1,
				Children: []node.ChildStatus{{Peer: "12D3kid", Subtree: 1, Layer: 3}},
				Slots:    node.SlotStatus{Used: 1, Max: 4}, Subtree: 2, MediaBytes: node.Traffic{In: 7},
				Tracks: []node.TrackStatus{{ID: "video", Kind: "video", Codec: "H264", Received: 1234, Lost: 2}},
			}},
		}},
	}}
}

// serve starts a console of b on a free loopback port.
func serve(t *testing.T, b Backend, token string) *Server {
	t.Helper()
	return serveWith(t, b, Config{Token: token})
}

func serveWith(t *testing.T, b Backend, c Config) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Listener = l
	s, err := New(b, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask sends a request; headers come in pairs, "Host" sets the host.
func ask(t *testing.T, s *Server, method, path string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, strings.TrimSuffix(s.URL(), "/")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Add(headers[i], headers[i+1])
	}
	return do(t, r)
}

func do(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestOtherSitesAreRefused(t *testing.T) {
	s := serve(t, newFake(), "")
	own := strings.TrimSuffix(strings.TrimPrefix(s.URL(), "http://"), "/")
	_, port, _ := net.SplitHostPort(own)
	for _, c := range []struct {
		name, host, origin string
		want               int
	}{
		{"own address", own, "", 200},
		{"own page", own, "http://" + own, 200},
		{"localhost", "localhost:" + port, "http://localhost:" + port, 200},
		{"IPv6 loopback", "[::1]:" + port, "", 200},
		{"rebound name", "evil.example:" + port, "", 403},
		{"rebound name with its own origin", "evil.example:" + port, "http://evil.example:" + port, 403},
		{"another port", "127.0.0.1:1", "", 403},
		{"no port", "127.0.0.1", "", 403},
		{"another address", "192.0.2.1:" + port, "", 403},
		{"another site", own, "https://evil.example", 403},
		{"another program on this machine", own, "http://127.0.0.1:1", 403},
		{"sandboxed page", own, "null", 403},
		{"junk", "a:b:c", "", 403},
	} {
		for _, path := range []string{"/", "/api/v1/status", "/whip/current", "/metrics"} {
			h := []string{"Host", c.host}
			if c.origin != "" {
				h = append(h, "Origin", c.origin)
			}
			resp, body := ask(t, s, "GET", path, h...)
			if resp.StatusCode != c.want {
				t.Errorf("%s: GET %s is %d (%s), want %d", c.name, path, resp.StatusCode, strings.TrimSpace(body), c.want)
			}
		}
	}
}

func TestGuardBeyondLoopback(t *testing.T) {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(newFake(), Config{Listener: l}); !errors.Is(err, ErrTokenNeeded) {
		t.Errorf("without a token: %v", err)
	}
	s, err := New(newFake(), Config{Listener: l, Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !strings.HasPrefix(s.URL(), "http://127.0.0.1:") {
		t.Errorf("URL %s cannot be opened", s.URL())
	}
	for host, want := range map[string]int{"192.0.2.1:8080": 200, "[2001:db8::1]": 200, "evil.example:8080": 403} {
		if resp, _ := ask(t, s, "GET", "/", "Host", host); resp.StatusCode != want {
			t.Errorf("host %s: %d, want %d", host, resp.StatusCode, want)
		}
	}
}

func TestToken(t *testing.T) {
	s := serve(t, newFake(), "secret")
	for _, path := range []string{"/api/v1/status", "/whip/current", "/whip/current/x", "/metrics"} {
		for auth, want := range map[string]int{
			"": 401, "Bearer wrong": 401, "Bearer ": 401, "Basic secret": 401, "secret": 401, "Bearer secrets": 401,
			"Bearer secret": 200, "bearer secret": 200,
		} {
			resp, _ := ask(t, s, "GET", path, "Authorization", auth)
			if resp.StatusCode != want {
				t.Errorf("%s with %q: %d, want %d", path, auth, resp.StatusCode, want)
			}
			if want == 401 && resp.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %q: no WWW-Authenticate", path, auth)
			}
		}
	}
	for _, path := range []string{"/", "/app.js", "/healthz", "/whep/current"} {
		if resp, _ := ask(t, s, "GET", path); resp.StatusCode != 200 {
			t.Errorf("%s needs a token: %d", path, resp.StatusCode)
		}
	}
}

func TestMediaRoutes(t *testing.T) {
	s := serve(t, newFake(), "")
	for _, c := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"POST", "/whip/current", 200, "whip POST /whip/current"},
		{"DELETE", "/whip/current/abc", 200, "whip DELETE /whip/current/abc"},
		{"POST", "/whep/current?stream=1", 200, "whep POST /whep/current"},
		{"PATCH", "/whep/current/abc", 200, "whep PATCH /whep/current/abc"},
		{"POST", "/whep/other", 404, "this node is in no room other\n"},
		{"GET", "/nothing", 404, ""},
		{"POST", "/api/v1/status", 405, ""},
	} {
		resp, body := ask(t, s, c.method, c.path)
		if resp.StatusCode != c.code || c.body != "" && body != c.body {
			t.Errorf("%s %s: %d %q", c.method, c.path, resp.StatusCode, body)
		}
	}
}

func TestPageLoadsNothingFromElsewhere(t *testing.T) {
	s := serve(t, newFake(), "")
	resp, body := ask(t, s, "GET", "/")
	if ct := resp.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/html") {
		t.Errorf("content type %s", ct)
	}
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q", csp)
	}
	for _, id := range []string{`id="video"`, `id="status"`, `id="tree"`} {
		if !strings.Contains(body, id) {
			t.Errorf("the page has no %s", id)
		}
	}
	script := 0
	for path, ct := range map[string]string{
		"/app.js": "text/javascript", "/media.js": "text/javascript", "/view.js": "text/javascript", "/tree.js": "text/javascript",
		"/speak.js": "text/javascript", "/rooms.js": "text/javascript",
	} {
		resp, asset := ask(t, s, "GET", path)
		if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), ct) {
			t.Errorf("%s: %d %s", path, resp.StatusCode, resp.Header.Get("Content-Type"))
		}
		body += asset
		script += len(asset)
	}
	if script > 100<<10 {
		t.Errorf("%d bytes of script", script)
	}
	for _, bad := range []string{"http://", "https://", "innerHTML", "onclick=", " style=", "stylesheet"} {
		if strings.Contains(body, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
}

func TestStatusAndHealth(t *testing.T) {
	f := newFake()
	s := serve(t, f, "")
	resp, body := ask(t, s, "GET", "/api/v1/status")
	var st node.Status
	if err := json.Unmarshal([]byte(body), &st); err != nil || st.PeerID != "12D3self" || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("status %s (%v)", body, err)
	}
	if !strings.Contains(body, `"parent": null`) {
		t.Error("an unknown value is not null")
	}
	if resp, _ := ask(t, s, "GET", "/healthz"); resp.StatusCode != 200 {
		t.Errorf("healthz is %d", resp.StatusCode)
	}
	f.mu.Lock()
	f.sick = errors.New("no peer is connected")
	f.mu.Unlock()
	if resp, body := ask(t, s, "GET", "/healthz"); resp.StatusCode != 503 || !strings.Contains(body, "no peer") {
		t.Errorf("healthz of a sick node is %d %q", resp.StatusCode, body)
	}
}

// Every metric has its line in docs/operating.md, and no line is about nothing.
func TestMetricsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	f := newFake()
	f.set(func(st *node.Status) {
		ms := 1.0
		s := &st.Rooms[0].Streams[0]
		s.LastGapMS, s.Join.AnswerMS = &ms, &ms
	})
	_, body := ask(t, serve(t, f, ""), "GET", "/metrics")
	name := regexp.MustCompile(`waterfall_\w+`)
	served, described := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(body) {
		if m := name.FindString(line); m != "" && !strings.HasPrefix(line, "#") {
			served[m] = true
		}
	}
	for line := range strings.Lines(string(doc)) {
		if strings.HasPrefix(line, "| `waterfall_") {
			described[name.FindString(line)] = true
		}
	}
	if !maps.Equal(served, described) {
		t.Errorf("served: %v\ndescribed: %v", slices.Sorted(maps.Keys(served)), slices.Sorted(maps.Keys(described)))
	}
}

// Profiles are there for whoever asked for them, and has the token.
func TestProfiles(t *testing.T) {
	if resp, _ := ask(t, serve(t, newFake(), ""), "GET", "/debug/pprof/"); resp.StatusCode != 404 {
		t.Errorf("profiles nobody asked for: %d", resp.StatusCode)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(newFake(), Config{Listener: l, Token: "secret", Profiles: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if resp, _ := ask(t, s, "GET", "/debug/pprof/heap"); resp.StatusCode != 401 {
		t.Errorf("without the token: %d", resp.StatusCode)
	}
	if resp, body := ask(t, s, "GET", "/debug/pprof/heap?debug=1", "Authorization", "Bearer secret"); resp.StatusCode != 200 || !strings.Contains(body, "heap profile") {
		t.Errorf("with the token: %d", resp.StatusCode)
	}
}

func TestMetrics(t *testing.T) {
	s := serve(t, newFake(), "")
	_, body := ask(t, s, "GET", "/metrics")
	for _, line := range []string{
		`waterfall_info{peer="12D3self",version="v0"} 1`,
		`waterfall_healthy 1`,
		`waterfall_room_members{room="12D3room"} 17`,
		`waterfall_stream_layer{room="12D3room",stream="aa"} 2`,
		`waterfall_stream_path_delay_seconds{room="12D3room",stream="aa"} 0.0315`,
		`waterfall_stream_bytes_total{direction="in",kind="media",room="12D3room",stream="aa"} 7`,
		`waterfall_track_packets_total{result="lost",room="12D3room",stream="aa",track="video"} 2`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(body, "waterfall_stream_last_gap_seconds{") {
		t.Error("an unknown value has a figure")
	}
}

// feed opens the event feed and delivers its documents; it ends with the server or the test.
func feed(t *testing.T, s *Server) <-chan node.Status {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL()+"api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if ct := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || ct != "text/event-stream" {
		t.Fatalf("feed: %d %s", resp.StatusCode, ct)
	}
	docs := make(chan node.Status, 64)
	go func() {
		defer close(docs)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var st node.Status
				if json.Unmarshal([]byte(data), &st) == nil {
					docs <- st
				}
			}
		}
	}()
	return docs
}

func TestEventsOnChangeOnly(t *testing.T) {
	f := newFake()
	s := serve(t, f, "")
	docs := feed(t, s)
	next := func() node.Status {
		t.Helper()
		select {
		case st, ok := <-docs:
			if !ok {
				t.Fatal("the feed ended")
			}
			return st
		case <-time.After(5 * time.Second):
			t.Fatal("no event")
		}
		panic("unreachable")
	}
	next()
	for i := 1; i <= 2; i++ {
		f.set(func(st *node.Status) { st.DHT.Connected = 100 * i })
		if got := next().DHT.Connected; got != 100*i {
			t.Errorf("change %d: %d peers", i, got)
		}
	}
	// The uptime alone has changed since: nothing comes in the next three rounds.
	select {
	case st := <-docs:
		t.Errorf("an event without a change: %+v", st)
	case <-time.After(3 * feedPause):
	}
}

func TestEventsAtMostFourASecond(t *testing.T) {
	f := newFake()
	s := serve(t, f, "")
	docs := feed(t, s)
	stop := time.After(time.Second)
	n := 0
	for i := 0; ; i++ {
		f.set(func(st *node.Status) { st.DHT.Table = i })
		select {
		case <-docs:
			n++
			continue
		case <-stop:
		case <-time.After(time.Millisecond):
			continue
		}
		break
	}
	if n < 2 || n > 6 {
		t.Errorf("%d events in a second", n)
	}
}

func TestFeedsAreBoundedAndEndWithTheServer(t *testing.T) {
	s := serve(t, newFake(), "")
	var feeds []<-chan node.Status
	for range maxFeeds {
		feeds = append(feeds, feed(t, s))
	}
	if resp, _ := ask(t, s, "GET", "/api/v1/events"); resp.StatusCode != 503 {
		t.Errorf("one feed too many: %d", resp.StatusCode)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(5 * time.Second)
	for _, docs := range feeds {
		for open := true; open; {
			select {
			case _, open = <-docs:
			case <-deadline:
				t.Fatal("a feed outlived the server")
			}
		}
	}
}
