package matrix

import (
	"context"
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/watergy/waterfall/internal/browser"
	"github.com/watergy/waterfall/stream"
	"github.com/watergy/waterfall/stream/internal/codec"
)

// A browser that offers three sizes sends the largest alone.
func TestChromiumSimulcast(t *testing.T) {
	b := newBench(t)
	page := browser.Open(t, b.web.URL)
	browser.Eval[bool](page, `(async () => {
		const pc = window.publisher = new RTCPeerConnection();
		const media = await navigator.mediaDevices.getUserMedia({video: {width: 640, height: 480, frameRate: 20}});
		pc.addTransceiver(media.getVideoTracks()[0], {direction: 'sendonly', streams: [media], sendEncodings: [
			{rid: 'q', scaleResolutionDownBy: 4}, {rid: 'h', scaleResolutionDownBy: 2}, {rid: 'f'}]});
		await pc.setLocalDescription();
		if (!pc.localDescription.sdp.includes('a=simulcast:send q;h;f')) throw new Error('no simulcast is offered');
		const res = await fetch('/whip/room', {method: 'POST', headers: {'Content-Type': 'application/sdp'}, body: pc.localDescription.sdp});
		if (res.status !== 201) throw new Error(res.status + ' ' + await res.text());
		await pc.setRemoteDescription({type: 'answer', sdp: await res.text()});
		return true;
	})()`)
	h, s, c := b.target.Wait(20 * time.Second)
	if n := browser.Eval[int](page, `publisher.getSenders()[0].getParameters().encodings.filter(e => e.active).length`); n != 1 {
		t.Errorf("Chromium goes on with %d layers", n)
	}
	p := stream.NewPlayer(h, s, stream.PlayerConfig{})
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	video, err := codec.New(c.Tracks[0].Codec, "")
	if err != nil {
		t.Fatal(err)
	}
	frames := codec.NewFrames(c.Tracks[0].Codec)
	for width, height := 0, 0; width != 640 || height != 480; width, height = video.Size() {
		samples, err := p.Next(ctx)
		if err != nil {
			t.Fatalf("the picture is %dx%d: %v", width, height, err)
		}
		for _, x := range samples {
			frame, _, err := frames.Push(&rtp.Packet{
				Header:  rtp.Header{SequenceNumber: uint16(x.Number), Timestamp: x.Time, Marker: x.Marker},
				Payload: x.Payload,
			})
			if err == nil && frame != nil {
				if _, _, _, err := video.Normalize(frame); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
