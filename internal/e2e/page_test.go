package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/watergy/waterfall/internal/browser"
)

// watchTree makes the page note when the picture of a node is taken away.
const watchTree = `((peer) => {
	window.gone = 0;
	const at = () => document.querySelector('#tree [data-peer="' + peer + '"]');
	new MutationObserver(() => { if (!gone && !at()) gone = Date.now(); })
		.observe(document.getElementById('tree'), {subtree: true, childList: true, attributes: true});
	return at() !== null;
})`

// BenchmarkPage is issue 7's figures of the real page, at the speaker of a room of 8: first
// paint, and how soon the picture of the tree follows the kill -9 of a leaf and of a relay.
func BenchmarkPage(b *testing.B) {
	w := launch(b, options{}, "--input", "test")
	for range 8 {
		w.join("--slots", "2").Live(20 * time.Second)
	}
	page := browser.Open(b, w.speaker.Line("console"))
	var paints, leaves, relays []float64
	for b.Loop() {
		page.Go(w.speaker.Line("console"))
		page.WaitFor(10*time.Second, `performance.getEntriesByName('first-contentful-paint').length > 0`)
		paints = append(paints, browser.Eval[float64](page, `performance.getEntriesByName('first-contentful-paint')[0].startTime`))
		leaves = append(leaves, w.killSeen(b, page, 0))
		relays = append(relays, w.killSeen(b, page, 1))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(paints), "paint-p50-ms")
	b.ReportMetric(slices.Max(paints), "paint-max-ms")
	b.ReportMetric(median(leaves), "leaf-p50-ms")
	b.ReportMetric(slices.Max(leaves), "leaf-max-ms")
	b.ReportMetric(median(relays), "relay-p50-ms")
	b.ReportMetric(slices.Max(relays), "relay-max-ms")
}

// killSeen kills a listener that has at least so many children, and another comes in its
// place. It returns after how many ms the page has taken it away.
func (w *network) killSeen(b *testing.B, page *browser.Page, children int) float64 {
	b.Helper()
	page.WaitFor(20*time.Second, `document.querySelectorAll('#tree .node:not(.gone):not(.unknown)').length === 9`)
	for i, n := range w.listeners {
		s, err := n.Stream()
		if err != nil || (len(s.Children) > 0) != (children > 0) {
			continue
		}
		if !browser.Eval[bool](page, watchTree+`("`+n.Line("peer")+`")`) {
			b.Fatal("the page does not show ", n.Name)
		}
		killed := time.Now()
		n.Kill()
		page.WaitFor(30*time.Second, `gone > 0`)
		took := time.UnixMilli(browser.Eval[int64](page, `gone`)).Sub(killed)
		w.listeners = slices.Delete(w.listeners, i, i+1)
		w.join("--slots", "2").Live(20 * time.Second)
		return float64(took.Milliseconds())
	}
	b.Fatal("nobody to kill")
	return 0
}
