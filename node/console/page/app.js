import { play } from "./media.js";
import { drawTree } from "./tree.js";
import { allowSpeaking, offerSpeaking } from "./speak.js";
import { say, showAudience, showChoice, showListening, showRoom } from "./view.js";

const $ = id => document.getElementById(id);
const video = $("video");
let token = sessionStorage.getItem("token") ?? "";
let wanted = null;      // stream that the person chose
let current = null;     // stream that is shown
let room = null;        // its room, or the first
let playing = null;     // { key, stop, pc } of the running player
let player = null;      // what the browser measures of it: { delay, freezes }
let charts = [];        // of /api/v1/tree

const headers = () => token ? { Authorization: `Bearer ${token}` } : {};

// follow calls take with every event that the node sends.
async function follow(take) {
  for (;;) {
    try {
      const response = await fetch("api/v1/events?tree=1", { headers: headers() });
      if (response.status === 401) { await login(); continue; }
      if (!response.ok) throw new Error(await response.text());
      say("health", "connected");
      await readEvents(response.body, take);
      say("health", "the node has gone; trying again …");
    } catch (err) {
      say("health", `the node does not answer: ${err.message}`);
    }
    await new Promise(done => setTimeout(done, 1000));
  }
}

// readEvents takes server-sent events apart; EventSource could not send the token.
async function readEvents(body, take) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const lines = event.split("\n");
      const field = name => lines.find(l => l.startsWith(name))?.slice(name.length);
      const data = field("data: ");
      if (data) take(field("event: "), JSON.parse(data));
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

const show = {
  status(doc) {
    const live = doc.rooms.flatMap(room => room.streams.map(s => ({ ...s, room }))).filter(s => s.state !== "ended");
    current = live.find(s => s.id === wanted) ?? live.find(s => s.state === "live") ?? live[0] ?? null;
    room = current?.room ?? doc.rooms[0] ?? null;
    showChoice(live, current?.id);
    showListening(doc, current, player);
    showAudience(current);
    if (showRoom(room)) showQR(room);
    showSpeaking();
    watch(current);
    showTree();
  },
  tree(all) {
    charts = all;
    showTree();
  },
};

const showTree = () => drawTree(charts.find(c => c.stream === current?.id) ?? null);

// showSpeaking says who may speak here; a room that waits for this browser opens the part.
let opened = false;
function showSpeaking() {
  const may = room?.may_speak ?? false;
  allowSpeaking(may);
  say("speak-hint", may ? "" : room ? "This node is not a speaker of the room." : "This node is in no room.");
  if (!opened && room?.input === "whip") opened = $("speak").open = true;
}

async function showQR(room) {
  try {
    const response = await fetch(`api/v1/rooms/${room.id}/qr.svg`, { headers: headers() });
    if (!response.ok) throw new Error(response.statusText);
    const image = new DOMParser().parseFromString(await response.text(), "image/svg+xml").documentElement;
    $("qr").replaceChildren(document.importNode(image, true));
  } catch {
    $("qr").replaceChildren(); // the ticket's text is there
  }
}

// watch plays stream, if it is not what plays already.
function watch(stream) {
  const key = stream?.id ?? null;
  if (playing && playing.key === key) return;
  playing?.stop.abort();
  player = null;
  const stop = new AbortController();
  playing = { key, stop, pc: null };
  if (!stream) {
    video.srcObject = null;
    return say("notice", "no one is speaking yet; this page waits");
  }
  say("notice", "connecting to the stream …");
  play(video, `whep/${stream.room.id}?stream=${stream.id}`, headers(), stop.signal, text => {
    if (!stop.signal.aborted) say("notice", text);
  }, pc => { playing.pc = pc; });
}

// measure asks the browser for what it adds: the time that pictures wait in its buffer
// and are decoded, over the last seconds.
let before = null;
setInterval(async () => {
  const pc = playing?.pc;
  if (!pc || pc.connectionState !== "connected") return;
  (await pc.getStats()).forEach(s => {
    if (s.type !== "inbound-rtp" || s.kind !== "video") return;
    const past = before?.id === s.id && before.ssrc === s.ssrc ? before : null;
    before = s;
    const n = past ? s.jitterBufferEmittedCount - past.jitterBufferEmittedCount : 0;
    const frames = past ? s.framesDecoded - past.framesDecoded : 0;
    if (n <= 0) return;
    const wait = (s.jitterBufferDelay - past.jitterBufferDelay) / n;
    const decode = frames > 0 ? (s.totalDecodeTime - past.totalDecodeTime) / frames : 0;
    player = { delay: (wait + decode) * 1000, freezes: (s.freezeCount ?? 0) - (past.freezeCount ?? 0) };
  });
}, 2000);

offerSpeaking(() => ({ room: room?.id ?? "current", headers: headers() }));
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

// Browsers let a page start silent only; one click on the picture turns sound on.
const sound = () => { video.muted = !video.muted; };
video.addEventListener("click", sound);
$("sound").addEventListener("click", sound);
const showSound = () => { $("sound").hidden = !video.muted || video.readyState < 2; };
for (const e of ["volumechange", "playing", "emptied"]) video.addEventListener(e, showSound);

follow((event, data) => show[event]?.(data));
