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

// leave ends a session; it waits for the node to have done so, for a moment.
const leave = (session, headers) => session && Promise.race([
  fetch(session, { method: "DELETE", headers, keepalive: true }).catch(() => {}),
  new Promise(done => setTimeout(done, 2000)),
]);

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

// publish sends media to url until it ends or signal aborts. Who has been live connects again
// after every loss. want says the codec and the most bits a second of its picture, as they are
// wished when a connection is made; the connection is handed to use.
export async function publish(media, url, headers, signal, want, say, use) {
  const first = media.getVideoTracks()[0] ?? media.getTracks()[0];
  const end = new AbortController();
  first.addEventListener("ended", () => end.abort());
  const stop = AbortSignal.any([signal, end.signal]);
  let live = false;
  for (let pause = 500; !stop.aborted; pause = Math.min(pause * 1.5, 4000)) {
    const pc = new RTCPeerConnection();
    let session = null;
    use?.(pc);
    try {
      for (const track of media.getTracks()) {
        const { codec, rate } = want();
        const sendEncodings = track.kind === "video" && rate ? [{ maxBitrate: rate }] : undefined;
        const sender = pc.addTransceiver(track, { direction: "sendonly", streams: [media], sendEncodings });
        if (track.kind === "video") prefer(sender, codec);
      }
      const over = ended(pc, stop);
      session = await exchange(pc, url, headers, stop);
      live = true;
      pause = 500;
      say("you are live");
      const why = await over;
      if (!stop.aborted) say(`${why}, trying again …`);
    } catch (err) {
      if (!live && !stop.aborted) throw err;
      if (!stop.aborted) say(`${err.message}; trying again …`);
    } finally {
      pc.close();
      await leave(session, headers); // the next may begin only then
    }
    await wait(pause, stop);
  }
  say("stopped");
}

// codecs are those video codecs that this browser makes and nodes pass on, H.264 first: every
// player takes it.
export function codecs() {
  const all = RTCRtpSender.getCapabilities?.("video")?.codecs.map(c => c.mimeType.split("/")[1].toUpperCase()) ?? [];
  return ["H264", "VP8", "VP9", "AV1"].filter(c => all.includes(c));
}

// prefer offers one codec alone: of several a node takes H.264.
function prefer(transceiver, codec) {
  const all = RTCRtpSender.getCapabilities?.("video")?.codecs ?? [];
  const is = (c, name) => c.mimeType.toUpperCase() === `VIDEO/${name}`;
  if (all.some(c => is(c, codec))) transceiver.setCodecPreferences?.(all.filter(c => is(c, codec) || is(c, "RTX")));
}
