// Publishes camera, screen or microphone by WHIP, and shows what goes out.

import { codecs, publish } from "./media.js";
import { element, meter, rate, say } from "./view.js";

const $ = id => document.getElementById(id);
const buttons = ["publish-camera", "publish-screen", "publish-voice"];
const size = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
const captures = {
  "publish-camera": () => navigator.mediaDevices.getUserMedia({ video: size, audio: true }),
  "publish-screen": () => navigator.mediaDevices.getDisplayMedia({ video: size, audio: true }),
  "publish-voice": () => navigator.mediaDevices.getUserMedia({ audio: true }),
};
let publishing = null; // AbortController
let sending = null;    // its connection
let allowed = false;

// allowSpeaking shows the buttons to whom the room lets speak, but not while they do.
export function allowSpeaking(may) {
  allowed = may;
  for (const id of buttons) $(id).hidden = !may || publishing !== null;
  $("publish-stop").hidden = publishing === null;
  $("picture").hidden = !may;
  $("codec").disabled = publishing !== null;
}

// wanted is what the person wishes of the picture.
const wanted = () => ({ codec: $("codec").value, rate: Number($("bitrate").value) });

// offerSpeaking wires the buttons; target says where to publish to, as { room, headers }.
export function offerSpeaking(target) {
  for (const id of buttons) $(id).addEventListener("click", () => speak(captures[id], target));
  $("publish-stop").addEventListener("click", () => publishing?.abort());
  $("codec").replaceChildren(...codecs().map(c => Object.assign(element("option", c.replace("H264", "H.264")), { value: c })));
  $("bitrate").addEventListener("change", limit);
  addEventListener("pagehide", () => publishing?.abort());
}

// limit makes the encoder follow a choice while it is live.
function limit() {
  const sender = sending?.getSenders().find(s => s.track?.kind === "video");
  const now = sender?.getParameters();
  if (!now?.encodings?.length) return;
  now.encodings[0].maxBitrate = wanted().rate;
  sender.setParameters(now).catch(err => say("publish-state", err.message));
}

async function speak(capture, target) {
  const stop = publishing = new AbortController();
  allowSpeaking(allowed);
  let media = null;
  try {
    if (!navigator.mediaDevices) throw new Error("browsers give cameras to pages on localhost or https only");
    say("publish-state", "asking for your camera or microphone …");
    media = await capture();
    $("preview").srcObject = media;
    $("preview").hidden = media.getVideoTracks().length === 0;
    $("on-air").hidden = false;
    showLevel(media, stop.signal);
    const { room, headers } = target();
    await publish(media, `whip/${room}`, headers, stop.signal, wanted, text => say("publish-state", text), pc => {
      sending = pc;
      showEncoding(pc, stop.signal);
    });
  } catch (err) {
    say("publish-state", `could not publish: ${err.message}`);
  }
  stop.abort();
  media?.getTracks().forEach(track => track.stop());
  $("preview").srcObject = null;
  $("on-air").hidden = true;
  publishing = sending = null;
  allowSpeaking(allowed);
}

// showLevel moves the level meter: peaks between -60 and 0 dB.
function showLevel(media, signal) {
  $("level").hidden = media.getAudioTracks().length === 0;
  if ($("level").hidden) return;
  const audio = new AudioContext();
  const analyser = audio.createAnalyser();
  audio.createMediaStreamSource(media).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  let shown = 0;
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    const peak = samples.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    const value = Math.max(0, Math.min(100, 100 + 20 * Math.log10(peak || 1e-6) * 100 / 60));
    shown = Math.max(value, shown - 4); // falls slowly enough to be read
    meter("level", shown, shown > 97 ? "poor" : shown > 85 ? "fair" : "");
  }, 50);
  signal.addEventListener("abort", () => { clearInterval(timer); audio.close(); }, { once: true });
}

// showEncoding tells codec, size and bitrate of what goes out.
function showEncoding(pc, signal) {
  const before = new Map();
  const timer = setInterval(async () => {
    if (pc.connectionState === "closed") return clearInterval(timer);
    const stats = await pc.getStats();
    const parts = [];
    stats.forEach(s => {
      if (s.type !== "outbound-rtp") return;
      const past = before.get(s.id);
      before.set(s.id, s);
      if (!past) return;
      const bps = (s.bytesSent - past.bytesSent) * 8000 / (s.timestamp - past.timestamp);
      const codec = stats.get(s.codecId)?.mimeType?.split("/")[1] ?? s.kind;
      const picture = s.frameHeight ? ` ${s.frameWidth}×${s.frameHeight}, ${Math.round(s.framesPerSecond ?? 0)} a second` : "";
      parts.push(`${codec}${picture}, ${rate(bps)}`);
    });
    if (parts.length) say("encoding", parts.join(" · "));
  }, 1000);
  signal.addEventListener("abort", () => { clearInterval(timer); say("encoding", ""); }, { once: true });
}
