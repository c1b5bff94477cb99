package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/browser"
	"github.com/watergy/waterfall/node"
)

// backAgain is how long after a speaker that was killed speaks again its listeners have the
// new stream: issue 6, figure 5, with -long; else what two busy cores are given.
func backAgain() time.Duration {
	if *long {
		return 3 * time.Second
	}
	return 10 * time.Second
}

// A speaker is killed and started again: those in layer 2 have its new stream soon after it
// speaks, too, and the page there shows it without a reload. (In a chain, one slot a node, they
// get in one after another: docs/tree.md, Limits.)
func TestSpeakerRestarts(t *testing.T) {
	w := launch(t, options{}, "--input", "test", "--slots", "2")
	for range 5 {
		w.join("--slots", "2").Live(15 * time.Second)
	}
	last := w.listeners[4]
	last.When(5*time.Second, "in layer 2", func(s node.StreamStatus) bool { return s.Layer != nil && *s.Layer == 2 })
	page := browser.Open(t, last.Line("console"))
	page.WaitFor(10*time.Second, `document.getElementById('video').currentTime > 1`)
	// The page notes when it shows the first picture of another stream than this one.
	old := w.speaker.Live(time.Second).ID
	browser.Eval[bool](page, fmt.Sprintf(`(() => {
		const video = document.getElementById('video'), chosen = document.getElementById('stream');
		window.before = video.srcObject;
		window.shown = 0;
		const look = () => {
			if (!shown && video.srcObject && video.srcObject !== before && chosen.value && chosen.value !== %q) shown = Date.now();
			video.requestVideoFrameCallback(look);
		};
		video.requestVideoFrameCallback(look);
		return true;
	})()`, old))

	w.speaker.Kill()
	pause(time.Second)
	again := run(t, "speaker again", options{home: w.speaker.Home}, w.args("speak", w.speaker.Line("room"), "--input", "test", "--slots", "2")...)
	fresh := func(n *Node) error {
		st, err := n.Status()
		if err != nil || len(st.Rooms) == 0 {
			return errNotYet
		}
		for _, s := range st.Rooms[0].Streams {
			if s.ID != old && s.State == "live" && received(s) > 0 {
				return nil
			}
		}
		return fmt.Errorf("%s: %v", n.Name, states(st))
	}
	eventually(t, 10*time.Second, "the speaker speaks again", func() error { return fresh(again) })
	spoke := time.Now()
	for _, n := range w.listeners {
		eventually(t, 20*time.Second, "the new stream", func() error { return fresh(n) })
		t.Logf("%s has the new stream after %d ms", n.Name, time.Since(spoke).Milliseconds())
	}
	if took := time.Since(spoke); took > backAgain() {
		t.Errorf("all have the new stream only after %v", took)
	}
	page.WaitFor(15*time.Second, `shown > 0`)
	took := time.UnixMilli(browser.Eval[int64](page, `shown`)).Sub(spoke)
	t.Logf("the page shows it after %d ms", took.Milliseconds())
	if took > backAgain() {
		t.Errorf("the page shows the new stream only after %v", took)
	}
}

// states is what a node has of each stream, for a failing test.
func states(st *node.Status) (out []string) {
	for _, s := range st.Rooms[0].Streams {
		out = append(out, fmt.Sprintf("%.8s %s", s.ID, s.State))
	}
	return out
}
