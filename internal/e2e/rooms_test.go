package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/need"
	"github.com/watergy/waterfall/node"
)

// ask sends a request to the console as the page does, and returns the answer.
func (n *Node) ask(method, path string, body any) (int, string) {
	n.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		n.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(n.t.Context(), method, n.Line("console")+path, bytes.NewReader(b))
	if err != nil {
		n.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	client := n.client
	client.Timeout = 20 * time.Second // a room is looked for
	resp, err := client.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// A node that was started with nothing but its page joins a room by ticket, records what it
// hears, leaves, and makes a room of its own, which another enters by its password.
func TestRoomsByThePage(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := launch(t, options{}, "--input", "test")
	w.speaker.Live(15 * time.Second)
	guest := run(t, "guest", options{}, append([]string{"run"}, local...)...)
	guest.Line("ready")

	for _, c := range []struct {
		name, ticket, says string
		code               int
	}{
		{"nobody at home", "waterfall:" + w.speaker.Line("room") + "?b=/ip4/127.0.0.1/udp/9/quic-v1/p2p/" + w.speaker.Line("room"), "no bootstrap node", 502},
		{"a ticket cut short", "waterfall:12D3KooWabc", "cut short", 400},
		{"a node's ID", w.speaker.Line("peer") + "?b=" + w.bootstrap.Line("address"), "is no room", 502},
	} {
		if code, answer := guest.ask("POST", "api/v1/join", map[string]string{"ticket": c.ticket}); code != c.code || !strings.Contains(answer, c.says) {
			t.Errorf("%s: %d %s", c.name, code, answer)
		}
	}
	if code, answer := guest.ask("POST", "api/v1/join", map[string]string{"ticket": w.speaker.Line("ticket")}); code != 200 {
		t.Fatalf("join: %d %s", code, answer)
	}
	s := guest.Live(15 * time.Second)
	status, err := guest.Status()
	if err != nil || status.Rooms[0].Ticket != w.speaker.Line("ticket") {
		t.Errorf("the guest would hand on the ticket %v (%v)", status.Rooms[0].Ticket, err)
	}
	room := "api/v1/rooms/" + w.speaker.Line("room")
	recordFor(t, guest, room+"/streams/"+s.ID+"/recording")

	if code, answer := guest.ask("DELETE", room, nil); code != 204 {
		t.Errorf("leave: %d %s", code, answer)
	}
	w.speaker.When(5*time.Second, "alone", func(s node.StreamStatus) bool { return len(s.Children) == 0 })
	if st, err := guest.Status(); err != nil || len(st.Rooms) != 0 {
		t.Errorf("after it left it is in %v (%v)", st.Rooms, err)
	}

	code, answer := guest.ask("POST", "api/v1/rooms", map[string]string{"name": "mine", "password": "sesame"})
	var made struct{ Room string }
	if err := json.Unmarshal([]byte(answer), &made); err != nil || code != 200 {
		t.Fatalf("make: %d %s", code, answer)
	}
	other := run(t, "other", options{}, append([]string{"run"}, local...)...)
	for _, c := range []struct {
		password string
		code     int
	}{{"", 403}, {"wrong", 403}, {"sesame", 200}} {
		st, err := guest.Status()
		if err != nil {
			t.Fatal(err)
		}
		if code, answer := other.ask("POST", "api/v1/join", map[string]string{"ticket": st.Rooms[0].Ticket, "password": c.password}); code != c.code {
			t.Errorf("with password %q: %d %s", c.password, code, answer)
		}
	}
	// Who leaves by the page and whoever stays come back by the room's name.
	if code, answer := guest.ask("DELETE", "api/v1/rooms/"+made.Room, nil); code != 204 {
		t.Errorf("leave: %d %s", code, answer)
	}
	if code, answer := guest.ask("POST", "api/v1/join", map[string]string{"ticket": "mine"}); code != 200 {
		t.Errorf("come back: %d %s", code, answer)
	}
	for _, n := range []*Node{guest, other} {
		if code := n.Stop(); code != 0 {
			t.Errorf("%s ended with %d", n.Name, code)
		}
	}
}

// recordFor records two seconds by the page's button, fetches the file and plays it.
func recordFor(t *testing.T, n *Node, path string) {
	t.Helper()
	if code, answer := n.ask("POST", path, nil); code != 204 {
		t.Fatalf("record: %d %s", code, answer)
	}
	if code, answer := n.ask("POST", path, nil); code != 502 || !strings.Contains(answer, "already") {
		t.Errorf("record twice: %d %s", code, answer)
	}
	pause(3 * time.Second) // the clip has a keyframe a second
	if code, answer := n.ask("DELETE", path, nil); code != 204 {
		t.Fatalf("stop: %d %s", code, answer)
	}
	var list struct{ Recordings []struct{ Name string } }
	if err := n.get("api/v1/recordings", func(b []byte) error { return json.Unmarshal(b, &list) }); err != nil || len(list.Recordings) != 1 {
		t.Fatalf("recordings %v: %v", list, err)
	}
	name := list.Recordings[0].Name
	_, movie := n.ask("GET", "api/v1/recordings/"+name, nil)
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(movie), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(need.Program(t, "ffmpeg"), "-v", "error", "-xerror", "-i", file, "-f", "null", "-").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%s does not play: %v %s", name, err, out)
	}
	if code, answer := n.ask("DELETE", "api/v1/recordings/"+name, nil); code != 204 {
		t.Errorf("delete: %d %s", code, answer)
	}
	if files, _ := os.ReadDir(filepath.Join(n.Home, "recordings")); len(files) != 0 {
		t.Error(fmt.Sprint("left behind: ", files))
	}
}

// told is how a node begins to say what passing on means.
const told = "notice: Nobody's server carries these streams"

// Where nobody can be asked about passing on it is told, once. Who says no on the page
// passes nothing on from then, now and after a restart; the children go elsewhere.
func TestConsent(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := launch(t, options{}, "--input", "test", "--slots", "2")
	for range 2 {
		w.join("--slots", "1").Live(15 * time.Second)
	}
	leaf := w.join()
	leaf.Live(15 * time.Second)
	relay := w.listeners[0]
	if s, err := relay.Stream(); err != nil || len(s.Children) == 0 {
		relay = w.listeners[1]
	}
	if !strings.Contains(relay.stderr.String(), told) {
		t.Errorf("it was not told:\n%s", relay.stderr.String())
	}
	if _, answer := relay.ask("GET", "api/v1/consent", nil); !strings.Contains(answer, `"answer": "told"`) {
		t.Errorf("the page hears %s", answer)
	}
	if code, answer := relay.ask("POST", "api/v1/consent", map[string]string{"answer": "no"}); code != 204 {
		t.Errorf("no is answered with %d %s", code, answer)
	}
	relay.When(15*time.Second, "without children", func(s node.StreamStatus) bool { return len(s.Children) == 0 && s.Slots.Max == 0 })
	leaf.When(15*time.Second, "live elsewhere", func(s node.StreamStatus) bool {
		return s.State == "live" && s.Parent != nil && *s.Parent != relay.Line("peer")
	})
	relay.Stop()
	again := run(t, "relay again", options{home: relay.Home}, w.args("join", w.speaker.Line("room"))...)
	if s := again.Live(15 * time.Second); s.Slots.Max != 0 {
		t.Errorf("after a restart it has %d slots", s.Slots.Max)
	}
	if errs := again.stderr.String(); strings.Contains(errs, told) || !strings.Contains(errs, "passing nothing on, as you chose") {
		t.Errorf("after a restart it says\n%s", errs)
	}
}

// A speaker is told of passing on where others may speak too, and nowhere else. Its no is
// about their streams: its own it goes on feeding to others.
func TestSpeakersConsent(t *testing.T) {
	t.Parallel() // it waits most of the time
	alone := launch(t, options{}, "--input", "test")
	alone.speaker.Line("ready")
	if _, answer := alone.speaker.ask("GET", "api/v1/consent", nil); strings.Contains(alone.speaker.stderr.String(), told) || !strings.Contains(answer, `"answer": ""`) {
		t.Errorf("who speaks alone was told, or the page says %s", answer)
	}
	w := &network{t: t, bootstrap: alone.bootstrap}
	input := []string{w.panel(), "--input", "file:" + lowRate(t), "--loop"}
	both := []*Node{run(t, "first", options{}, w.args("speak", input...)...), run(t, "second", options{}, w.args("speak", input...)...)}
	for _, n := range both {
		n.Line("ready")
		if !strings.Contains(n.stderr.String(), told) {
			t.Errorf("%s was not told:\n%s", n.Name, n.stderr.String())
		}
	}
	for _, answer := range []string{"told", "no", "yes"} {
		if answer != "told" {
			if code, said := both[0].ask("POST", "api/v1/consent", map[string]string{"answer": answer}); code != 204 {
				t.Fatalf("%s is answered with %d %s", answer, code, said)
			}
		}
		want := map[string]int{"speaker": 4, "listener": 4}
		if answer == "no" {
			want["listener"] = 0
		}
		eventually(t, 30*time.Second, answer+" holds", func() error {
			slots := map[string]int{}
			st, err := both[0].Status()
			if err != nil {
				return err
			}
			for _, s := range st.Rooms[0].Streams {
				slots[strings.Replace(s.Role, "relay", "listener", 1)] = s.Slots.Max
			}
			if !maps.Equal(slots, want) {
				return fmt.Errorf("slots %v, want %v", slots, want)
			}
			return nil
		})
	}
}
