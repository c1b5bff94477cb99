package console

import (
	"strings"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/browser"
	"github.com/watergy/waterfall/node"
)

// The page shows what the node says, follows its changes, and takes names as text.
func TestPageInABrowser(t *testing.T) {
	f := newFake()
	f.set(func(st *node.Status) {
		st.Rooms[0].Ticket = "waterfall:12D3room?name=x"
		st.Rooms[0].Streams[0].Path = []string{"12D3speaker", "12D3parent"}
	})
	s := serve(t, f, "")
	p := browser.Open(t, s.URL())
	p.WaitFor(10*time.Second, `document.getElementById('tree').children.length === 4`)
	text := func(id string) string {
		return browser.Eval[string](p, `document.getElementById('`+id+`').innerText`)
	}
	if tree := text("tree"); !strings.Contains(tree, "0 · …peaker speaker") || !strings.Contains(tree, "this node") || !strings.Contains(tree, "3 · …2D3kid") {
		t.Errorf("tree:\n%s", tree)
	}
	if room := text("room"); room != "<b>lecture</b> (open, 17 members)" {
		t.Errorf("room: %s", room)
	}
	if got := browser.Eval[string](p, `document.getElementById('ticket').value`); got != "waterfall:12D3room?name=x" {
		t.Errorf("ticket: %s", got)
	}
	if facts := text("status"); !strings.Contains(facts, "Layer\n2") {
		t.Errorf("status:\n%s", facts)
	}
	p.WaitFor(5*time.Second, `document.getElementById('notice').innerText.includes('no room 12D3room')`)

	f.set(func(st *node.Status) { layer := 5; st.Rooms[0].Streams[0].Layer = &layer })
	p.WaitFor(5*time.Second, `document.getElementById('status').innerText.includes('5')`)
	f.set(func(st *node.Status) { st.Rooms[0].Streams = []node.StreamStatus{} })
	p.WaitFor(5*time.Second, `document.getElementById('notice').innerText.includes('no one is speaking')`)
	if wide := browser.Eval[bool](p, `document.documentElement.scrollWidth > innerWidth`); wide {
		t.Error("the page is wider than its window")
	}
}

// A console with a token asks for it once, and shows the status then.
func TestPageAsksForToken(t *testing.T) {
	s := serve(t, newFake(), "secret")
	p := browser.Open(t, s.URL())
	p.WaitFor(10*time.Second, `document.getElementById('login').open`)
	browser.Eval[bool](p, `(() => {
		document.getElementById('token').value = 'secret';
		document.querySelector('#login-form button').click();
		return true;
	})()`)
	p.WaitFor(10*time.Second, `document.getElementById('tree').children.length > 0`)
}
