import { play, publish } from "./media.js";
import { say, showChoice, showFacts, showRoom, showTree } from "./view.js";

const $ = id => document.getElementById(id);
const video = $("video");
let token = sessionStorage.getItem("token") ?? "";
let wanted = null;      // stream that the person chose
let playing = null;     // { key, stop } of the running player
let publishing = null;  // AbortController

const headers = () => token ? { Authorization: `Bearer ${token}` } : {};

// follow calls show with every status document that the node sends.
async function follow(show) {
  for (;;) {
    try {
      const response = await fetch("api/v1/events", { headers: headers() });
      if (response.status === 401) { await login(); continue; }
      if (!response.ok) throw new Error(await response.text());
      say("health", "connected");
      await readEvents(response.body, show);
    } catch (err) {
      say("health", `the node does not answer: ${err.message}`);
    }
    await new Promise(done => setTimeout(done, 1000));
  }
}

// readEvents takes server-sent events apart; EventSource could not send the token.
async function readEvents(body, show) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.split("\n").find(line => line.startsWith("data: "));
      if (data) show(JSON.parse(data.slice(6)));
    }
  }
}

function login() {
  $("login").showModal();
  return new Promise(done => $("login-form").addEventListener("submit", e => {
    e.preventDefault();
    token = $("token").value.trim();
    sessionStorage.setItem("token", token);
    $("login").close();
    done();
  }, { once: true }));
}

function show(doc) {
  const all = doc.rooms.flatMap(room => room.streams.map(s => ({ ...s, room })));
  const live = all.filter(s => s.state !== "ended");
  const stream = live.find(s => s.id === wanted) ?? live.find(s => s.state === "live") ?? live[0] ?? null;
  showChoice(live, stream?.id);
  showFacts(doc, stream);
  showTree(doc, stream);
  showRoom(stream?.room ?? doc.rooms[0]);
  watch(stream);
}

// watch plays stream, if it is not what plays already.
function watch(stream) {
  const key = stream?.id ?? null;
  if (playing && playing.key === key) return;
  playing?.stop.abort();
  const stop = new AbortController();
  playing = { key, stop };
  if (!stream) return say("notice", "no one is speaking yet; this page waits");
  say("notice", "connecting to the stream …");
  play(video, `whep/${stream.room.id}?stream=${stream.id}`, headers(), stop.signal, text => {
    if (!stop.signal.aborted) say("notice", text);
  });
}

async function startPublishing(capture) {
  publishing = new AbortController();
  $("publish-camera").disabled = $("publish-screen").disabled = true;
  $("publish-stop").hidden = false;
  try {
    if (!navigator.mediaDevices) throw new Error("browsers give cameras to pages on localhost or https only");
    const media = await capture();
    await publish(media, "whip/current", headers(), publishing.signal, text => say("publish-state", text));
  } catch (err) {
    say("publish-state", `could not publish: ${err.message}`);
  }
  $("publish-camera").disabled = $("publish-screen").disabled = false;
  $("publish-stop").hidden = true;
}

const size = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
$("publish-camera").addEventListener("click", () =>
  startPublishing(() => navigator.mediaDevices.getUserMedia({ video: size, audio: true })));
$("publish-screen").addEventListener("click", () =>
  startPublishing(() => navigator.mediaDevices.getDisplayMedia({ video: size, audio: true })));
$("publish-stop").addEventListener("click", () => publishing?.abort());
$("stream").addEventListener("change", e => { wanted = e.target.value; });
$("copy").addEventListener("click", async () => {
  $("ticket").select();
  try {
    await navigator.clipboard.writeText($("ticket").value);
    $("copy").textContent = "Copied";
  } catch {
    $("copy").textContent = "Selected: copy it with Ctrl-C";
  }
});

// Browsers let a page start silent only; one click anywhere on the picture turns sound on.
const sound = () => { video.muted = !video.muted; };
video.addEventListener("click", sound);
$("sound").addEventListener("click", sound);
const showSound = () => { $("sound").hidden = !video.muted || video.readyState < 2; };
for (const e of ["volumechange", "playing"]) video.addEventListener(e, showSound);

follow(show);
