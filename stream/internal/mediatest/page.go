package mediatest

import (
	"fmt"
	"io"
	"net/http"
)

// Page is a page with an empty #video, for the scripts below to run in.
func Page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, `<!doctype html><title>t</title><video id=video autoplay muted playsinline></video>`)
}

// post exchanges descriptions with an endpoint, as WHIP and WHEP do.
const post = `
	await pc.setLocalDescription();
	const res = await fetch(endpoint, {method: 'POST', headers: {'Content-Type': 'application/sdp'}, body: pc.localDescription.sdp});
	if (res.status !== 201) throw new Error(res.status + ' ' + await res.text());
	await pc.setRemoteDescription({type: 'answer', sdp: await res.text()});
	return true;`

// WatchJS plays /whep/room in #video; the connection is window.viewer.
const WatchJS = `(async () => {
	const endpoint = '/whep/room', pc = window.viewer = new RTCPeerConnection();
	for (const kind of ['audio', 'video']) pc.addTransceiver(kind, {direction: 'recvonly'});
	const media = new MediaStream();
	pc.ontrack = e => media.addTrack(e.track);
	document.getElementById('video').srcObject = media;` + post + `
})()`

// PublishJS publishes camera and microphone to /whip/room; the connection is
// window.publisher. codec, if any, is the only one offered for the picture.
func PublishJS(width, height, fps int, codec string) string {
	return fmt.Sprintf(`(async () => {
	const endpoint = '/whip/room', codec = %q.toLowerCase(), pc = window.publisher = new RTCPeerConnection();
	const media = await navigator.mediaDevices.getUserMedia({audio: true, video: {width: %d, height: %d, frameRate: %d}});
	for (const track of media.getTracks()) {
		const sender = pc.addTransceiver(track, {direction: 'sendonly', streams: [media]});
		if (codec && track.kind === 'video') sender.setCodecPreferences(RTCRtpSender.getCapabilities('video').codecs.filter(c =>
			c.mimeType.toLowerCase() === 'video/' + codec));
	}%s
})()`, codec, width, height, fps, post)
}
