// Package browser drives a headless Chromium in tests: it opens pages, runs script in
// them, and counts the video frames that a person would have seen.
package browser

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/watergy/waterfall/internal/need"
)

// Page is one tab of a Chromium of its own, closed with the test. One goroutine uses it.
type Page struct {
	t   testing.TB
	ctx context.Context
}

// Open starts Chromium, with a fake camera and microphone, and opens url. What the
// page writes to its console goes to the test's log.
func Open(t testing.TB, url string) *Page {
	t.Helper()
	ctx, cancel := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(need.Program(t, "chromium")),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("headless", "new"),
		chromedp.Flag("mute-audio", true),
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
		chromedp.Flag("use-fake-device-for-media-stream", true),
		chromedp.Flag("use-fake-ui-for-media-stream", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("disable-extensions", true),
		chromedp.Flag("disable-sync", true),
		// A page nobody looks at is slowed down otherwise, and its frames with it.
		chromedp.Flag("disable-renderer-backgrounding", true),
		chromedp.Flag("disable-background-timer-throttling", true),
		chromedp.Flag("disable-backgrounding-occluded-windows", true),
		chromedp.WindowSize(1280, 800),
	)
	t.Cleanup(cancel)
	ctx, _ = chromedp.NewContext(ctx, chromedp.WithBrowserOption(chromedp.WithConsolef(t.Logf)))
	p := &Page{t: t, ctx: ctx}
	t.Cleanup(p.close)
	// The browser lives as long as the context of its first use: no time limit here.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	p.Go(url)
	return p
}

// Go opens another page in the tab, or the same anew.
func (p *Page) Go(url string) {
	p.t.Helper()
	do(p, 20*time.Second, "open "+url, chromedp.Navigate(url))
}

func (p *Page) close() {
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	if err := chromedp.Cancel(ctx); err != nil {
		p.t.Logf("close chromium: %v", err)
	}
}

// do runs one action with a time limit and fails the test when it fails.
func do[T any](p *Page, limit time.Duration, what string, a chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, limit)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
	return v
}

// Eval runs a JavaScript expression, waits for it if it is a promise (20 s at most)
// and returns its value.
func Eval[T any](p *Page, js string) T {
	p.t.Helper()
	return do(p, 20*time.Second, "run "+firstLine(js), chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
}

// WaitFor waits until a JavaScript expression is true.
func (p *Page) WaitFor(limit time.Duration, js string) {
	p.t.Helper()
	do(p, limit+time.Second, "wait for "+firstLine(js), chromedp.Poll[bool](js,
		chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(limit)))
}

// Click clicks the first element that selector finds.
func (p *Page) Click(selector string) {
	p.t.Helper()
	do(p, 10*time.Second, "click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// Screenshot writes what the window shows to a PNG file.
func (p *Page) Screenshot(file string) {
	p.t.Helper()
	png := do(p, 10*time.Second, "screenshot", chromedp.CaptureScreenshot())
	if err := os.WriteFile(file, png, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// Playback is what a <video> element showed over some time.
type Playback struct {
	Frames int           // shown
	Late   int           // decoded, but too late to be shown: the browser lacked time
	Span   time.Duration // from the first to the last
	Gap    time.Duration // the longest time without a new one
	Width  int
	Height int
}

// FPS is the frames a second over the span.
func (b Playback) FPS() float64 {
	if b.Span <= 0 {
		return 0
	}
	return float64(b.Frames-1) / b.Span.Seconds()
}

// Freeze is the time without a new frame that a person sees as a freeze.
const Freeze = 500 * time.Millisecond

func (b Playback) String() string {
	return fmt.Sprintf("%d frames (and %d too late) of %dx%d in %.2f s, %.1f a second, longest gap %d ms",
		b.Frames, b.Late, b.Width, b.Height, b.Span.Seconds(), b.FPS(), b.Gap.Milliseconds())
}

// Watch begins to count the frames of the video element that selector finds, from the
// next on; Playback ends the count. The page itself counts, so this process does not
// disturb it.
func (p *Page) Watch(selector string) {
	p.t.Helper()
	Eval[bool](p, fmt.Sprintf(`(() => {
		const video = document.querySelector(%q);
		const w = window.__watch = {video, frames: 0, first: 0, last: 0, gap: 0, over: false,
			late: video.getVideoPlaybackQuality().droppedVideoFrames};
		// presentedFrames also counts frames for which a busy page got no callback.
		let start = 0;
		const shown = (now, frame) => {
			if (w.over || window.__watch !== w) return;
			if (w.frames) w.gap = Math.max(w.gap, now - w.last);
			else { w.first = now; start = frame.presentedFrames; }
			w.last = now;
			w.frames = frame.presentedFrames - start + 1;
			video.requestVideoFrameCallback(shown);
		};
		video.requestVideoFrameCallback(shown);
		return true;
	})()`, selector))
}

// Playback ends the count that Watch began. The time since the last frame is a gap too.
func (p *Page) Playback() Playback {
	p.t.Helper()
	r := Eval[struct {
		Frames, Late  int
		Span, Gap     float64 // ms
		Width, Height int
	}](p, `(() => {
		const w = window.__watch;
		w.over = true;
		const tail = w.frames ? performance.now() - w.last : 0;
		return {Frames: w.frames, Late: w.video.getVideoPlaybackQuality().droppedVideoFrames - w.late, Span: w.last - w.first, Gap: Math.max(w.gap, tail),
			Width: w.video.videoWidth, Height: w.video.videoHeight};
	})()`)
	ms := func(f float64) time.Duration { return time.Duration(f * float64(time.Millisecond)) }
	return Playback{Frames: r.Frames, Late: r.Late, Span: ms(r.Span), Gap: ms(r.Gap), Width: r.Width, Height: r.Height}
}

func firstLine(s string) string {
	line, _, more := strings.Cut(strings.TrimSpace(s), "\n")
	if more {
		return line + " …"
	}
	return line
}
