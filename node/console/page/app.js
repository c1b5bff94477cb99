import { play } from "./media.js";
import { drawTree } from "./tree.js";
import { allowSpeaking, offerSpeaking } from "./speak.js";
import { offerRooms, showMade, showRecording, showRooms } from "./rooms.js";
import { say, showAudience, showChoice, showListening, showRoom } from "./view.js";

const $ = id => document.getElementById(id);
const video = $("video");
let token = sessionStorage.getItem("token") ?? "";
let wanted = null;      // stream that the person chose
let picked = null;      // room that the person chose
let current = null;     // stream that is shown
let room = null;        // its room, or the first
let playing = null;     // { key, stop, pc } of the running player
let player = null;      // what the browser measures of it: { delay, freezes }
let charts = [];        // of /api/v1/tree
let shown = null;       // the newest status document

const headers = () => token ? { Authorization: `Bearer ${token}` } : {};

// nobody marks an error as one of the connection, not of what came by it.
const nobody = err => { throw Object.assign(err, { nobody: true }); };

// follow calls take with every event that the node sends.
async function follow(take) {
  for (;;) {
    try {
      const response = await fetch("api/v1/events?tree=1", { headers: headers() }).catch(nobody);
      if (response.status === 401) { await login(); continue; }
      if (!response.ok) throw new Error(await response.text());
      say("health", "connected");
      document.body.classList.remove("lost");
      await showMade();
      await readEvents(response.body, take);
      say("health", "the node has gone; trying again …");
    } catch (err) {
      if (err.nobody) lose();
      else say("health", `the node does not answer: ${err.message}`);
    }
    await new Promise(done => setTimeout(done, 1000));
  }
}

// lose says that the node is gone; what it said last stays, greyed.
function lose() {
  playing?.stop.abort();
  playing = null; // the next status document begins anew
  video.srcObject = null;
  document.body.classList.add("lost");
  say("health", "the node does not answer; trying again …");
  say("notice", "This page's node does not answer. Is wfnode still running? The page goes on by itself when it is back.");
}

// readEvents takes server-sent events apart; EventSource could not send the token.
async function readEvents(body, take) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch(nobody);
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

// login asks for the token; who closes it without one is asked again.
function login() {
  say("login-state", token ? "That is not its token." : "");
  $("login").showModal();
  return new Promise(done => $("login").addEventListener("close", done, { once: true }));
}
$("login-form").addEventListener("submit", e => {
  e.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("token", token);
  $("login").close();
});

const show = {
  status(doc) {
    shown = doc;
    const live = doc.rooms.flatMap(room => room.streams.map(s => ({ ...s, room }))).filter(s => s.state !== "ended");
    const here = doc.rooms.find(r => r.id === picked); // one that was just joined may come with the next document
    current = choose(here ? live.filter(s => s.room.id === picked) : live);
    room = current?.room ?? here ?? doc.rooms[0] ?? null;
    document.querySelector("main").classList.toggle("nowhere", !room);
    document.body.classList.toggle("volunteer", !room && $("rooms").hidden);
    showRooms(doc.rooms, room?.id);
    showRecording(current, live);
    showChoice(live, current?.id);
    showListening(doc, current, player);
    showAudience(current);
    if (showRoom(room)) showQR(room);
    showSpeaking();
    watch(current);
    showTree();
  },
  tree(all) {
    charts = all ?? [];
    showTree();
  },
};

// choose finds the stream to show: the one that the person chose, else the one that is shown,
// else its speaker's next one, else any.
function choose(streams) {
  const flows = streams.filter(s => s.state === "live");
  return streams.find(s => s.id === wanted) ?? flows.find(s => s.id === current?.id)
    ?? flows.find(s => s.speaker === current?.speaker) ?? flows[0] ?? streams[0] ?? null;
}

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
  if (!stream) say("notice", why());
  if (playing && playing.key === key) return;
  playing?.stop.abort();
  player = null;
  const stop = new AbortController();
  playing = { key, stop, pc: null };
  if (!stream) {
    video.srcObject = null;
    return;
  }
  say("notice", "connecting to the stream …");
  play(video, `whep/${stream.room.id}?stream=${stream.id}`, headers(), stop.signal, text => {
    if (!stop.signal.aborted) say("notice", text);
  }, pc => { playing.pc = pc; });
}

// why says why there is no picture.
function why() {
  if (room) return "no one is speaking yet; this page waits";
  if ($("rooms").hidden) return "this is a bootstrap node: it brings others together, and carries no media";
  return "this node is in no room: join one, or make one";
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
offerRooms(headers, id => {
  picked = id;
  if (shown) show.status(shown);
});
$("stream").addEventListener("change", e => { wanted = e.target.value; picked = null; });
$("copy").addEventListener("click", async () => {
  $("ticket").select();
  try {
    await navigator.clipboard.writeText($("ticket").value);
    $("copy").textContent = "Copied";
    setTimeout(() => { $("copy").textContent = "Copy"; }, 3000);
  } catch {
    $("copy").textContent = "Selected: copy it with Ctrl-C";
  }
});

// Browsers let a page start silent only; one click on the picture turns sound on.
const sound = () => { video.muted = !video.muted; };
video.addEventListener("click", sound);
$("sound").addEventListener("click", sound);
const showSound = () => {
  $("sound").hidden = video.readyState < 2;
  $("sound").textContent = video.muted ? "Turn sound on" : "Turn sound off";
  $("sound").className = video.muted ? "" : "on";
};
for (const e of ["volumechange", "playing", "emptied"]) video.addEventListener(e, showSound);

follow((event, data) => show[event]?.(data));
