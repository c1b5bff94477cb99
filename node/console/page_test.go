package console

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/browser"
	"github.com/watergy/waterfall/node"
)

// treeAsFile is the page's tree as an SVG file of its own (docs/tree.svg is one).
const treeAsFile = `(() => {
	const tree = document.getElementById('tree'), copy = tree.cloneNode(true);
	const from = [tree, ...tree.querySelectorAll('*')], to = [copy, ...copy.querySelectorAll('*')];
	to.forEach((e, i) => {
		const style = getComputedStyle(from[i]);
		[...e.attributes].map(a => a.name).filter(n => /^(class|style|role|id|tabindex|aria-.*|data-.*)$/.test(n)).forEach(n => e.removeAttribute(n));
		const keep = {circle: ['fill', 'stroke', 'stroke-width'], path: ['fill', 'stroke', 'stroke-width', 'stroke-linecap'], text: ['fill', 'font-size', 'font-weight', 'text-anchor']}[e.tagName] ?? [];
		for (const k of keep) e.setAttribute(k, style.getPropertyValue(k));
		const move = new DOMMatrix(style.transform);
		if (!move.isIdentity) e.setAttribute('transform', 'translate(' + move.e.toFixed(1) + ' ' + move.f.toFixed(1) + ')');
	});
	const paper = document.createElementNS(tree.namespaceURI, 'rect');
	for (const [k, v] of Object.entries({width: '100%', height: '100%', rx: 8, fill: '#fff'})) paper.setAttribute(k, v);
	copy.prepend(paper);
	copy.setAttribute('viewBox', '0 0 ' + tree.clientWidth + ' ' + tree.clientHeight);
	copy.setAttribute('width', tree.clientWidth);
	copy.setAttribute('font-family', 'sans-serif');
	return new XMLSerializer().serializeToString(copy).replaceAll(/(<(?:g|path|circle|text)\b)/g, '\n$1').replaceAll(/(\d+\.\d\d)\d+/g, '$1') + '\n';
})()`

// look writes what the page shows to $SCREENSHOTS/NAME-….png, on a desktop and on a
// phone, in light and dark; without that variable to a folder that goes with the test.
func look(t *testing.T, p *browser.Page, name string) {
	t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	for _, w := range []struct {
		name          string
		width, height int64
	}{{"desktop", 1280, 900}, {"phone", 390, 1900}} {
		p.Window(w.width, w.height)
		for _, scheme := range []string{"light", "dark"} {
			p.Scheme(scheme)
			browser.Eval[bool](p, `new Promise(r => setTimeout(() => r(true), 1000))`) // what moves arrives
			if wide := browser.Eval[bool](p, `document.documentElement.scrollWidth > innerWidth`); wide {
				t.Errorf("the page is wider than a %s", w.name)
			}
			p.Screenshot(filepath.Join(dir, fmt.Sprintf("%s-%s-%s.png", name, w.name, scheme)))
		}
	}
	p.Window(1280, 900)
}

// drawn counts the nodes that the page's tree shows.
const drawn = `document.querySelectorAll('#tree .node:not(.gone)').length`

// chartOf is a full tree of layers with width children a node, named by their place.
func chartOf(width int, layers ...int) node.StreamChart {
	c := node.StreamChart{Stream: "aa", Layers: layers}
	name := func(layer, i int) string { return fmt.Sprintf("12D3KooW%d-%03d", layer, i) }
	for l, n := range layers {
		for i := range n {
			rtt, loss := float64(5+30*l*i%280), float64(i%9)/200
			kids := 0
			if l+1 < len(layers) {
				kids = max(0, min(width, layers[l+1]-i*width))
			}
			at := node.ChartNode{Peer: name(l, i), Layer: l, Self: l == 0, Children: &kids}
			if l > 0 {
				parent := name(l-1, i/width)
				at.Parent, at.RTTMS, at.Loss = &parent, &rtt, &loss
			}
			c.Nodes = append(c.Nodes, at)
		}
	}
	return c
}

func (f *fake) setChart(c node.StreamChart) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.charts = []node.StreamChart{c}
}

// The page shows what the node says, follows its changes, and takes names as text.
func TestPageInABrowser(t *testing.T) {
	f := newFake()
	f.set(func(st *node.Status) {
		r := &st.Rooms[0]
		r.Ticket, r.MaySpeak = "waterfall:12D3room?name=x&b=/ip4/203.0.113.7/udp/4001/quic-v1/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp", true
		r.Streams[0].Path = []string{"12D3speaker", "12D3parent"}
		r.Streams[0].Layers = []int{1, 4, 12}
	})
	s := serve(t, f, "")
	p := browser.Open(t, s.URL())
	text := func(id string) string {
		return browser.Eval[string](p, `document.getElementById('`+id+`').innerText`)
	}
	p.WaitFor(10*time.Second, `document.getElementById('room').innerText === '<b>lecture</b> (open, 17 members)'`)
	if got := browser.Eval[string](p, `document.getElementById('ticket').value`); !strings.HasPrefix(got, "waterfall:12D3room?name=x") {
		t.Errorf("ticket: %s", got)
	}
	p.WaitFor(5*time.Second, `document.querySelector('#qr svg path') !== null`)
	if facts := text("status"); !strings.Contains(facts, "Layer\n2") {
		t.Errorf("status:\n%s", facts)
	}
	p.WaitFor(5*time.Second, `document.getElementById('notice').innerText.includes('no room 12D3room')`)

	f.set(func(st *node.Status) { layer := 5; st.Rooms[0].Streams[0].Layer = &layer })
	p.WaitFor(5*time.Second, `document.getElementById('status').innerText.includes('5')`)
	f.set(func(st *node.Status) {
		st.Rooms[0].Streams[0].Verdict = &[]string{"this NAT lets nobody in (hint: try another)"}[0]
	})
	p.WaitFor(5*time.Second, `document.getElementById('advice').innerText === 'this NAT lets nobody in: try another'`)
	f.set(func(st *node.Status) { st.Rooms[0].Streams = []node.StreamStatus{} })
	p.WaitFor(5*time.Second, `document.getElementById('notice').innerText.includes('no one is speaking')`)
	f.set(func(st *node.Status) { st.Rooms = []node.RoomStatus{} })
	p.WaitFor(5*time.Second, `document.getElementById('notice').innerText.includes('bootstrap node') && getComputedStyle(document.querySelector('.fall')).display === 'none'`)

	if err := s.Close(); err != nil {
		t.Error(err)
	}
	p.WaitFor(10*time.Second, `document.body.classList.contains('lost') && document.getElementById('notice').innerText.includes('Is wfnode still running?')`)
}

// The tree shows every node, follows moves and deaths within a second, and sums up what
// is too large. A keyboard gets everywhere.
func TestTreeInABrowser(t *testing.T) {
	f := newFake()
	full := chartOf(4, 1, 4, 12)
	f.setChart(full)
	f.set(func(st *node.Status) {
		s := &st.Rooms[0].Streams[0]
		s.Layers, s.Role = full.Layers, "speaker"
		st.Rooms[0].Ticket = "waterfall:12D3room"
	})
	s := serve(t, f, "")
	p := browser.Open(t, s.URL())
	p.WaitFor(10*time.Second, drawn+` === 17`)
	if links := browser.Eval[int](p, `document.querySelectorAll('#tree .link').length`); links != 16 {
		t.Errorf("%d links", links)
	}
	look(t, p, "tree")
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		p.Scheme("light")
		browser.Eval[bool](p, `new Promise(r => setTimeout(() => r(true), 1000))`)
		if err := os.WriteFile(filepath.Join(dir, "tree.svg"), []byte(browser.Eval[string](p, treeAsFile)), 0o644); err != nil {
			t.Error(err)
		}
	}

	// The first relay dies; two of its children go to its neighbour, two are not placed yet.
	dead := full.Nodes[1].Peer
	less := full
	less.Nodes = nil
	for i, n := range full.Nodes {
		switch {
		case n.Peer == dead || i == 7 || i == 8:
			continue
		case n.Parent != nil && *n.Parent == dead:
			n.Parent = &full.Nodes[2].Peer
		}
		less.Nodes = append(less.Nodes, n)
	}
	less.Layers = []int{1, 3, 10}
	f.setChart(less)
	p.WaitFor(time.Second, drawn+` === 14`)
	if gone := browser.Eval[bool](p, `document.querySelector('#tree [data-peer="`+dead+`"]') === null`); !gone {
		t.Error("the dead node is still there")
	}

	// A listener knows most others by number only.
	few := less
	few.Nodes = slices.Clone(less.Nodes[:2])
	few.Layers = []int{1, 4, 16}
	f.setChart(few)
	p.WaitFor(5*time.Second, drawn+` === 21`)
	if n := browser.Eval[int](p, `document.querySelectorAll('#tree .unknown').length`); n != 19 {
		t.Errorf("%d nodes are known by number only", n)
	}
	got := browser.Eval[string](p, `(() => {
		document.querySelector('#tree [tabindex="0"]').focus();
		const key = key => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
		key('ArrowDown');
		return document.activeElement.getAttribute('aria-label') + '|' + document.getElementById('tip').hidden;
	})()`)
	if !strings.HasPrefix(got, "layer 1, ") || !strings.HasSuffix(got, "|false") {
		t.Errorf("below the speaker is %q", got)
	}

	wide := chartOf(4, 1, 4, 16, 64, 115)
	f.setChart(wide)
	p.WaitFor(5*time.Second, drawn+` === 200`)
	look(t, p, "tree-200")
	f.setChart(node.StreamChart{Stream: "aa", Layers: []int{1, 4, 16, 64, 256, 1024}, Nodes: wide.Nodes[:5]})
	p.WaitFor(5*time.Second, `document.querySelectorAll('#tree .sum:not(.gone)').length === 6`)
	look(t, p, "tree-sums")
}

// A console with a token asks for it until it has it, and shows the status then.
func TestPageAsksForToken(t *testing.T) {
	s := serve(t, newFake(), "secret")
	p := browser.Open(t, s.URL())
	p.WaitFor(10*time.Second, `document.getElementById('login').open`)
	give := func(token string) {
		t.Helper()
		browser.Eval[bool](p, `(() => {
			document.getElementById('token').value = '`+token+`';
			document.querySelector('#login-form button').click();
			return true;
		})()`)
	}
	give("guess")
	p.WaitFor(10*time.Second, `document.getElementById('login').open && document.getElementById('login-state').innerText === 'That is not its token.'`)
	browser.Eval[bool](p, `document.getElementById('login').close() ?? true`)
	p.WaitFor(10*time.Second, `document.getElementById('login').open`)
	give("secret")
	p.WaitFor(10*time.Second, `document.getElementById('status').children.length > 0`)
}
