// WHEP and WHIP (RFC 9725) in the browser.

// wait resolves after ms, or at once when signal aborts.
const wait = (ms, signal) => new Promise(done => {
  if (signal.aborted) return done();
  const timer = setTimeout(done, ms);
  signal.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
});

// exchange posts the offer of pc and sets the answer; it returns the session's URL.
// The offer goes out before candidates are gathered: the node lists its own in the
// answer, and hears ours when the browser tries them.
async function exchange(pc, url, headers, signal) {
  await pc.setLocalDescription();
  const response = await fetch(url, {
    method: "POST", signal,
    headers: { ...headers, "Content-Type": "application/sdp" },
    body: pc.localDescription.sdp,
  });
  const text = await response.text();
  if (!response.ok) throw new Error(text.trim() || `the node answered ${response.status}`);
  await pc.setRemoteDescription({ type: "answer", sdp: text });
  return response.headers.has("Location") ? new URL(response.headers.get("Location"), new URL(url, location)) : null;
}

const leave = (session, headers) => session && fetch(session, { method: "DELETE", headers, keepalive: true }).catch(() => {});

// ended resolves with the reason why pc is of no use any more.
const ended = (pc, signal) => new Promise(done => {
  let timer;
  pc.addEventListener("connectionstatechange", () => {
    clearTimeout(timer);
    if (pc.connectionState === "failed" || pc.connectionState === "closed") done("the connection was lost");
    if (pc.connectionState === "disconnected") timer = setTimeout(done, 2000, "the connection was lost");
  });
  signal.addEventListener("abort", () => done("stopped"), { once: true });
});

// play keeps video showing the stream at url until signal aborts, connecting again
// after every loss; each new connection is handed to use.
export async function play(video, url, headers, signal, say, use) {
  for (let pause = 500; !signal.aborted; pause = Math.min(pause * 1.5, 4000)) {
    const pc = new RTCPeerConnection();
    let session = null;
    use?.(pc);
    try {
      const media = new MediaStream();
      pc.addEventListener("track", e => {
        media.addTrack(e.track);
        video.srcObject = media;
        video.play().catch(() => {});
      });
      pc.addTransceiver("video", { direction: "recvonly" });
      pc.addTransceiver("audio", { direction: "recvonly" });
      const over = ended(pc, signal);
      session = await exchange(pc, url, headers, signal);
      video.addEventListener("playing", () => { pause = 500; say(""); }, { once: true, signal });
      say(`${await over}, trying again …`);
    } catch (err) {
      if (!signal.aborted) say(err.message);
    }
    leave(session, headers);
    pc.close();
    await wait(pause, signal);
  }
}

// publish sends media to url until it ends or signal aborts; its connection is handed to use.
export async function publish(media, url, headers, signal, say, use) {
  const pc = new RTCPeerConnection();
  let session = null;
  use?.(pc);
  try {
    for (const track of media.getTracks()) {
      const sender = pc.addTransceiver(track, { direction: "sendonly", streams: [media] });
      if (track.kind === "video") preferH264(sender);
    }
    const over = ended(pc, signal);
    const stopped = new Promise(done => media.getVideoTracks()[0]?.addEventListener("ended", () => done("stopped")));
    session = await exchange(pc, url, headers, signal);
    say("you are live");
    say(await Promise.race([over, stopped]));
  } finally {
    leave(session, headers);
    pc.close();
    media.getTracks().forEach(track => track.stop());
  }
}

function preferH264(transceiver) {
  const codecs = RTCRtpSender.getCapabilities("video")?.codecs ?? [];
  const first = codecs.filter(c => /h264/i.test(c.mimeType));
  if (first.length) transceiver.setCodecPreferences([...first, ...codecs.filter(c => !first.includes(c))]);
}
