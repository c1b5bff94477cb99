package browser

import (
	"context"
	"fmt"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// Window gives the page the size of another window, in CSS pixels.
func (p *Page) Window(width, height int64) {
	p.t.Helper()
	do(p, 10*time.Second, fmt.Sprintf("a window of %dx%d", width, height), chromedp.EmulateViewport(width, height))
}

// Scheme makes the page believe that its reader prefers "light" or "dark".
func (p *Page) Scheme(scheme string) {
	p.t.Helper()
	do(p, 10*time.Second, "scheme "+scheme, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
}
