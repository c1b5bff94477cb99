package browser

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A page that plays a canvas at 30 frames a second, and can stop drawing.
const canvasPage = `<!doctype html><title>canvas</title><canvas id=c width=320 height=180></canvas>
<video id=video autoplay muted playsinline></video><script>
const c = document.getElementById('c').getContext('2d');
let n = 0, stopped = false;
setInterval(() => { if (stopped) return; c.fillStyle = n++ % 2 ? '#048' : '#084'; c.fillRect(0, 0, 320, 180); }, 1000/30);
document.getElementById('video').srcObject = document.getElementById('c').captureStream(30);
</script>`

func TestFramesAreCountedAndFreezesSeen(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write([]byte(canvasPage))
	}))
	defer srv.Close()
	p := Open(t, srv.URL)
	p.WaitFor(5*time.Second, `document.getElementById('video').currentTime > 0.5`)

	p.Watch("#video")
	Eval[bool](p, `new Promise(r => setTimeout(() => r(true), 2000))`)
	steady := p.Playback()
	t.Log("steady:", steady)
	if steady.FPS() < 20 || steady.FPS() > 40 || steady.Gap > Freeze || steady.Width != 320 {
		t.Errorf("a steady canvas of 30 frames a second was seen as %v", steady)
	}

	p.Watch("#video")
	Eval[bool](p, `new Promise(r => setTimeout(() => { stopped = true; setTimeout(() => r(true), 1000) }, 500))`)
	if frozen := p.Playback(); frozen.Gap < 800*time.Millisecond {
		t.Errorf("a second without frames was seen as %v", frozen)
	}

	file := filepath.Join(t.TempDir(), "page.png")
	p.Screenshot(file)
	if fi, err := os.Stat(file); err != nil || fi.Size() < 1000 {
		t.Errorf("screenshot: %v, %v", fi, err)
	}
}
