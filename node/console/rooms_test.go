package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/browser"
	"github.com/watergy/waterfall/node"
	"github.com/watergy/waterfall/node/home"
)

// lobby is a fake that knows two rooms elsewhere: "open", and "closed" with a password.
type lobby struct {
	*fake
	made   []string
	answer home.Consent
}

func (l *lobby) Consent() (string, home.Consent, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return "who listens passes on", l.answer, nil
}

func (l *lobby) SetConsent(answer home.Consent) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = answer
	return nil
}

func (l *lobby) Made() ([]string, error) { return l.made, nil }

func (l *lobby) Make(_ context.Context, name, password string) (string, error) {
	l.made = append(l.made, name)
	return l.enter(name, password), nil
}

func (l *lobby) Join(_ context.Context, ticket, password string) (string, error) {
	switch {
	case ticket == "open", ticket == "closed" && password == "right":
		return l.enter(ticket, password), nil
	case ticket == "closed" && password == "":
		return "", &Problem{http.StatusForbidden, "needs-password", "this room needs a password", "ask who gave you the ticket"}
	case ticket == "closed":
		return "", &Problem{http.StatusForbidden, "refused", "the password is wrong", ""}
	}
	return "", &Problem{http.StatusBadRequest, "bad-ticket", `"` + ticket + `" is no room ID`, "was the ticket cut short?"}
}

func (l *lobby) enter(name, password string) string {
	admission := "open"
	if password != "" {
		admission = "password"
	}
	l.set(func(st *node.Status) {
		st.Rooms = append(st.Rooms, node.RoomStatus{ID: "12D3" + name, Name: name, Admission: admission, Ticket: "waterfall:12D3" + name, Streams: []node.StreamStatus{}})
	})
	return "12D3" + name
}

func (l *lobby) Leave(room string) error {
	left := false
	l.set(func(st *node.Status) {
		var rest []node.RoomStatus
		for _, r := range st.Rooms {
			if r.ID == room {
				left = true
			} else {
				rest = append(rest, r)
			}
		}
		st.Rooms = rest
	})
	if !left {
		return errors.New("this node is not in room " + room)
	}
	return nil
}

func (l *lobby) Record(_, _ string) error {
	l.setRecording(&node.RecordingStatus{File: "talk.mkv"})
	return nil
}

func (l *lobby) StopRecording(_, _ string) error { l.setRecording(nil); return nil }

func (l *lobby) setRecording(r *node.RecordingStatus) {
	l.set(func(st *node.Status) { st.Rooms[0].Streams[0].Recording = r })
}

// serveRooms is a console with all that a person may change, and a recording.
func serveRooms(t *testing.T) (*Server, *lobby) {
	t.Helper()
	l := &lobby{fake: newFake(), made: []string{"kept"}}
	h, err := home.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(h.RecordingsDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.RecordingsDir(), "talk.mkv"), []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	return serveWith(t, l.fake, Config{Rooms: l, Recorder: l, Recordings: h, Consent: l}), l
}

// What changes something is asked for in JSON, by the page itself, with the token if
// there is one; a mistake explains itself.
func TestRoomsAPI(t *testing.T) {
	s, l := serveRooms(t)
	call := func(method, path, body string, headers ...string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, strings.TrimSuffix(s.URL(), "/")+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		resp, text := do(t, r)
		return resp.StatusCode, text
	}
	const rec = "/api/v1/rooms/12D3room/streams/aa/recording"
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		code                     int
		says                     string
	}{
		{"rooms made here", "GET", "/api/v1/rooms", "", nil, 200, `"kept"`},
		{"a form of another site", "POST", "/api/v1/join", `{"ticket":"open"}`, []string{"Content-Type", "text/plain"}, 415, "JSON"},
		{"another site", "POST", "/api/v1/join", `{"ticket":"open"}`, []string{"Origin", "https://evil.example"}, 403, ""},
		{"another site, whose browser hides its origin", "POST", rec, "", []string{"Sec-Fetch-Site", "cross-site"}, 403, "other sites"},
		{"junk", "POST", "/api/v1/join", `{`, nil, 400, "can't be read"},
		{"too much", "POST", "/api/v1/join", `{"ticket":"` + strings.Repeat("x", maxRequest) + `"}`, nil, 400, ""},
		{"a wrong ticket", "POST", "/api/v1/join", `{"ticket":"waterfal"}`, nil, 400, `"hint":"was the ticket cut short?"`},
		{"no password", "POST", "/api/v1/join", `{"ticket":"closed"}`, nil, 403, `"code":"needs-password"`},
		{"a wrong password", "POST", "/api/v1/join", `{"ticket":"closed","password":"x"}`, nil, 403, `"code":"refused"`},
		{"the right one", "POST", "/api/v1/join", `{"ticket":"closed","password":"right"}`, nil, 200, `"12D3closed"`},
		{"a new room", "POST", "/api/v1/rooms", `{"name":"mine"}`, nil, 200, `"12D3mine"`},
		{"a room left", "DELETE", "/api/v1/rooms/12D3mine", "", nil, 204, ""},
		{"a room left twice", "DELETE", "/api/v1/rooms/12D3mine", "", nil, 502, "not in room"},
		{"consent asked for", "GET", "/api/v1/consent", "", nil, 200, `"answer": ""`},
		{"neither yes nor no", "POST", "/api/v1/consent", `{"answer":"told"}`, nil, 400, "yes or no"},
		{"no", "POST", "/api/v1/consent", `{"answer":"no"}`, nil, 204, ""},
		{"consent remembered", "GET", "/api/v1/consent", "", nil, 200, `"answer": "no"`},
		{"a recording", "POST", rec, "", nil, 204, ""},
		{"deleted while it is written", "DELETE", "/api/v1/recordings/talk.mkv", "", nil, 409, "stop it first"},
		{"the end of it", "DELETE", rec, "", nil, 204, ""},
		{"the list", "GET", "/api/v1/recordings", "", nil, 200, `"bytes": 10`},
		{"the file", "GET", "/api/v1/recordings/talk.mkv", "", nil, 200, "0123456789"},
		{"a part of it", "GET", "/api/v1/recordings/talk.mkv", "", []string{"Range", "bytes=2-4"}, 206, "234"},
		{"a way out of the folder", "GET", "/api/v1/recordings/..%2Fidentity", "", nil, 404, ""},
		{"a file that is not there", "DELETE", "/api/v1/recordings/none.mkv", "", nil, 404, "no recording"},
		{"a file deleted", "DELETE", "/api/v1/recordings/talk.mkv", "", nil, 204, ""},
	} {
		if code, body := call(c.method, c.path, c.body, c.headers...); code != c.code || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s, want %d and %s", c.name, code, body, c.code, c.says)
		}
	}
	if n := len(l.Status().Rooms); n != 2 {
		t.Errorf("in %d rooms", n)
	}
	l.made = nil
	if _, body := call("GET", "/api/v1/rooms", ""); !strings.Contains(body, `"made": []`) {
		t.Errorf("who has made no room has %s", body)
	}
	bare := serveWith(t, newFake(), Config{Token: "secret"})
	if resp, _ := ask(t, bare, "POST", "/api/v1/join", "Authorization", "Bearer secret"); resp.StatusCode != 404 {
		t.Errorf("a node that offers no rooms answers %d", resp.StatusCode)
	}
	guarded := serveWith(t, newFake(), Config{Token: "secret", Rooms: l})
	if resp, _ := ask(t, guarded, "GET", "/api/v1/rooms"); resp.StatusCode != 401 {
		t.Errorf("without the token: %d", resp.StatusCode)
	}
}

// A person makes a room, joins others, mistypes, records and leaves.
func TestRoomsInABrowser(t *testing.T) {
	s, l := serveRooms(t)
	l.setChart(chartOf(4, 1, 4, 12))
	l.set(func(st *node.Status) {
		st.Rooms[0].Name, st.Rooms[0].Ticket = "lecture", "waterfall:12D3room?name=lecture"
	})
	p := browser.Open(t, s.URL())
	p.WaitFor(10*time.Second, `!document.getElementById('rooms').hidden && document.querySelectorAll('#room-list li').length === 1`)
	says := func(what string) {
		t.Helper()
		p.WaitFor(5*time.Second, `document.getElementById('rooms-state').innerText.includes(`+quoted(what)+`)`)
	}
	join := func(ticket string) {
		t.Helper()
		browser.Eval[bool](p, `(() => { document.getElementById('join-ticket').value = `+quoted(ticket)+`; return true; })()`)
		p.Click("#join-form button")
	}
	join("waterfal")
	says(`"waterfal" is no room ID (was the ticket cut short?)`)
	join("closed")
	says("needs a password")
	look(t, p, "rooms")
	if !browser.Eval[bool](p, `document.activeElement.id === 'join-password'`) {
		t.Error("the password is not asked for")
	}
	browser.Eval[bool](p, `(() => { document.getElementById('join-password').value = 'right'; return true; })()`)
	p.Click("#join-form button")
	p.WaitFor(5*time.Second, `document.querySelectorAll('#room-list li').length === 2 && document.getElementById('room').innerText.startsWith('closed (password')`)

	p.Click("#rooms details:not(#files) summary")
	browser.Eval[bool](p, `(() => { document.getElementById('make-name').value = 'mine'; return true; })()`)
	p.Click("#make-up")
	if pass := browser.Eval[string](p, `document.getElementById('make-password').value`); len(pass) != 24 {
		t.Errorf("made up the password %q", pass)
	}
	p.Click("#make-form button")
	p.WaitFor(5*time.Second, `document.getElementById('ticket').value === 'waterfall:12D3mine'`)
	p.Click(`[aria-label="Leave mine"]`)
	p.WaitFor(5*time.Second, `document.querySelectorAll('#room-list li').length === 2`)

	p.Click("#consent-no")
	p.WaitFor(5*time.Second, `document.getElementById('consent').hidden && !document.getElementById('relay').checked`)
	p.Click("#relay")
	p.WaitFor(5*time.Second, `fetch('api/v1/consent').then(r => r.json()).then(c => c.answer === 'yes')`)

	p.Click(`[data-of="show 12D3room"]`)
	p.Click("#record")
	p.WaitFor(5*time.Second, `document.getElementById('record').innerText === 'Stop recording' && document.getElementById('record-state').innerText.includes('talk.mkv')`)
	p.Click("#files summary")
	look(t, p, "recording")
	p.Click("#record")
	p.WaitFor(5*time.Second, `document.querySelector('#file-list a') !== null`)
	if got := browser.Eval[string](p, `fetch(document.querySelector('#file-list a').href).then(r => r.text())`); got != "0123456789" {
		t.Errorf("the download is %q", got)
	}
	browser.Eval[bool](p, `(() => { window.confirm = () => true; return true; })()`)
	p.Click(`[aria-label="Delete talk.mkv"]`)
	p.WaitFor(5*time.Second, `document.getElementById('files').hidden`)
}

// Whatever can be operated has a name that a screen reader says, and comes by Tab.
func TestEveryControlHasAName(t *testing.T) {
	s, l := serveRooms(t)
	l.set(func(st *node.Status) {
		st.Rooms[0].Ticket, st.Rooms[0].MaySpeak = "waterfall:12D3room", true
		second := st.Rooms[0].Streams[0]
		second.ID, second.Speaker = "bb", "12D3other"
		st.Rooms[0].Streams = append(st.Rooms[0].Streams, second)
	})
	p := browser.Open(t, s.URL())
	p.WaitFor(10*time.Second, `document.querySelectorAll('#room-list button').length === 2`)
	type control struct{ Name, Tag string }
	controls := browser.Eval[[]control](p, `[...document.querySelectorAll('button, input, select, summary, a, video, [role=meter], [role=tree]')].map(e => ({
		Tag: e.tagName + '#' + e.id,
		Name: (e.getAttribute('aria-label') ?? [...(e.labels ?? [])].map(l => l.textContent).join(' ') + e.textContent).trim(),
	}))`)
	if len(controls) < 20 {
		t.Fatalf("only %d controls", len(controls))
	}
	for _, c := range controls {
		if c.Name == "" {
			t.Errorf("%s has no name", c.Tag)
		}
	}
	if n := browser.Eval[int](p, `document.querySelectorAll('[tabindex]:not([tabindex="0"]):not([tabindex="-1"])').length`); n != 0 {
		t.Errorf("%d elements change the order of Tab", n)
	}
	if unlabelled := browser.Eval[int](p, `[...document.querySelectorAll('section')].filter(s => !s.getAttribute('aria-label')).length`); unlabelled != 0 {
		t.Errorf("%d parts have no name", unlabelled)
	}
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// FuzzAsk: a request's JSON is read or refused; what is read is no larger than what came.
func FuzzAsk(f *testing.F) {
	f.Add("application/json", `{"name":"Küche","password":"secret"}`)
	f.Add("application/json; charset=utf-8", `{"Ticket":"waterfall:12D3KooW","Password":""}`)
	f.Add("application/json", `{"answer":"yes"}`)
	f.Add("text/plain", `{}`)
	f.Add("application/json", `{"name":`+strings.Repeat("[", 2000))
	f.Fuzz(func(t *testing.T, kind, body string) {
		r := httptest.NewRequest(http.MethodPost, "/api/v1/rooms", strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		var ask struct {
			Name, Password, Ticket string
			Answer                 home.Consent
		}
		err := readAsk(httptest.NewRecorder(), r, &ask)
		var refused *Problem
		if err != nil && (!errors.As(err, &refused) || refused.Status/100 != 4) {
			t.Errorf("%q is refused with %v", body, err)
		}
		// A byte that is no UTF-8 becomes three.
		if n := len(ask.Name) + len(ask.Password) + len(ask.Ticket); n > 3*len(body) {
			t.Errorf("%d bytes are read out of %d", n, len(body))
		}
	})
}
