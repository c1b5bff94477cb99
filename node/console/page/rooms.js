// Rooms: make, join, leave; recordings: start, stop, fetch, delete.

import { element, say, short } from "./view.js";

const $ = id => document.getElementById(id);
let ask = null;    // (method, path, body) => answer
let pick = null;   // (room id) => shows that room
let files = null;  // what of the status changes the recordings

// offerRooms wires the part; the console of a volunteer has none.
export async function offerRooms(headers, show) {
  ask = (method, path, body) => request(method, path, body, headers());
  pick = show;
  $("join-form").addEventListener("submit", e => { e.preventDefault(); join(); });
  $("make-form").addEventListener("submit", e => { e.preventDefault(); make(); });
  $("make-up").addEventListener("click", () => { $("make-password").value = passphrase(); });
  $("record").addEventListener("click", record);
  $("consent-yes").addEventListener("click", () => answer("yes"));
  $("consent-no").addEventListener("click", () => answer("no"));
  $("relay").addEventListener("change", () => answer($("relay").checked ? "yes" : "no"));
}

async function request(method, path, body, headers) {
  const json = body && { "Content-Type": "application/json" };
  const response = await fetch(path, { method, headers: { ...headers, ...json }, body: body && JSON.stringify(body) });
  if (response.ok) return response.status === 204 ? null : response.json();
  const text = await response.text();
  let problem = { error: text.trim() || `the node answered ${response.status}` };
  try { problem = JSON.parse(text); } catch { /* plain text */ }
  throw Object.assign(new Error(problem.hint ? `${problem.error} (${problem.hint})` : problem.error), { code: problem.code });
}

// passphrase is 5 groups of 4 letters and digits that are not easily mistaken: 100 bits.
function passphrase() {
  const letters = "abcdefghjkmnpqrstuvwxyz023456789";
  const raw = crypto.getRandomValues(new Uint8Array(20));
  return [...raw].map((x, i) => (i && i % 4 === 0 ? "-" : "") + letters[x % 32]).join("");
}

// busy runs one thing that a form asks for, with its buttons off.
async function busy(form, doing, work) {
  const buttons = [...form.querySelectorAll("button")];
  buttons.forEach(b => { b.disabled = true; });
  say("rooms-state", doing);
  $("rooms-state").className = "";
  try {
    await work();
    say("rooms-state", "");
    form.reset?.();
  } catch (err) {
    $("rooms-state").className = "wrong";
    say("rooms-state", err.message);
    return err;
  } finally {
    buttons.forEach(b => { b.disabled = false; });
  }
}

async function join() {
  const err = await busy($("join-form"), "looking for the room …", async () => {
    const { room } = await ask("POST", "api/v1/join", { ticket: $("join-ticket").value, password: $("join-password").value });
    $("join-secret").hidden = true;
    pick(room);
  });
  if (err?.code === "needs-password" || err?.code === "refused") {
    $("join-secret").hidden = false;
    $("join-password").focus();
  }
}

const make = () => busy($("make-form"), "making the room …", async () => {
  const { room } = await ask("POST", "api/v1/rooms", { name: $("make-name").value, password: $("make-password").value });
  $("make-form").closest("details").open = false;
  pick(room);
  await showMade();
});

// nag shows what passing on means, unless this node hears nobody but itself.
let unanswered = false;
let rooms = [];
const nag = () => { $("consent").hidden = !unanswered || rooms.length > 0 && rooms.every(r => r.may_speak && r.streams.every(s => s.role === "speaker")); };

// showConsent tells what passing on means until there is an answer, which can be changed.
async function showConsent() {
  const consent = await ask("GET", "api/v1/consent").catch(() => null);
  const open = consent && consent.answer !== "yes" && consent.answer !== "no";
  unanswered = open;
  nag();
  $("relay-choice").hidden = !consent || open; // without, the node was started so
  $("relay").checked = consent?.answer !== "no";
  say("consent-text", consent?.text ?? "");
}

const answer = word => busy($("consent"), "", async () => {
  await ask("POST", "api/v1/consent", { answer: word });
  await showConsent();
});

// showMade proposes the rooms made here, and shows the part if the node offers it.
export async function showMade() {
  const answer = await ask("GET", "api/v1/rooms").catch(() => null);
  $("rooms").hidden = !answer; // a bootstrap node's page makes none
  if (!answer) return;
  $("made").replaceChildren(...answer.made.map(name => Object.assign(element("option"), { value: name })));
  await showConsent();
}

// showRooms lists the rooms that the node is in.
let listed = "";
export function showRooms(all, shown) {
  rooms = all;
  nag();
  const key = JSON.stringify([rooms.map(r => [r.id, r.name, r.admission, r.members, r.streams.length]), shown]);
  if (key === listed) return;
  listed = key;
  const focused = document.activeElement?.dataset?.of;
  $("room-list").replaceChildren(...rooms.map(r => {
    const li = element("li");
    const name = r.name || short(r.id);
    const choose = button(name, () => pick(r.id));
    choose.setAttribute("aria-pressed", r.id === shown);
    choose.dataset.of = `show ${r.id}`;
    const members = r.members == null ? "" : `, ${r.members} ${r.members === 1 ? "member" : "members"}`;
    const leave = button("Leave", () => busy(li, `leaving ${name} …`, () => ask("DELETE", `api/v1/rooms/${r.id}`)));
    leave.setAttribute("aria-label", `Leave ${name}`);
    leave.dataset.of = `leave ${r.id}`;
    li.append(choose, element("span", `${r.admission}${members}${r.streams.length ? "" : ", nobody speaks"}`), leave);
    return li;
  }));
  if (rooms.length === 0) $("room-list").append(element("li", "This node is in no room."));
  if (focused) document.querySelector(`[data-of="${focused}"]`)?.focus();
}

function button(text, click) {
  const b = element("button", text);
  b.type = "button";
  b.addEventListener("click", click);
  return b;
}

// showRecording says whether the stream that is shown is being recorded.
let recorded = null;
export function showRecording(stream, all) {
  recorded = stream;
  const rec = stream?.recording;
  const on = Boolean(rec && !rec.error);
  $("record").hidden = !stream || $("rooms").hidden;
  $("record").setAttribute("aria-pressed", on);
  const text = on ? "Stop recording" : "Record";
  if ($("record").textContent !== text) $("record").textContent = text;
  say("record-state", !rec ? "" : rec.error ? `the recording has stopped: ${rec.error}` : `recording into ${rec.file}`);
  const now = JSON.stringify(all.map(s => s.recording));
  if (now === files || $("rooms").hidden) return;
  files = now;
  showFiles(new Set(all.filter(s => s.recording && !s.recording.error).map(s => s.recording.file)));
}

async function record() {
  const { id, room, recording } = recorded;
  try {
    await ask(recording && !recording.error ? "DELETE" : "POST", `api/v1/rooms/${room.id}/streams/${id}/recording`);
  } catch (err) {
    say("record-state", err.message);
  }
}

const size = bytes => bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;

async function showFiles(growing) {
  const { recordings } = await ask("GET", "api/v1/recordings").catch(() => ({ recordings: [] }));
  $("files").hidden = recordings.length === 0;
  $("file-list").replaceChildren(...recordings.map(f => {
    const li = element("li");
    const path = `api/v1/recordings/${encodeURIComponent(f.name)}`;
    li.append(element("span", f.name), element("span", growing.has(f.name) ? "being written" : `${size(f.bytes)}, ${new Date(f.modified).toLocaleString()}`));
    if (growing.has(f.name)) return li;
    const get = element("a", "Download");
    get.href = path;
    get.download = f.name;
    get.addEventListener("click", e => fetchFile(e, path, f.name));
    get.setAttribute("aria-label", `Download ${f.name}`);
    const remove = button("Delete", () => confirm(`Delete ${f.name}?`) && busy(li, "deleting …", async () => {
      await ask("DELETE", path);
      await showFiles(growing);
    }));
    remove.setAttribute("aria-label", `Delete ${f.name}`);
    li.append(get, remove);
    return li;
  }));
}

// fetchFile is for a console with a token, which a link would not send.
async function fetchFile(e, path, name) {
  const token = sessionStorage.getItem("token");
  if (!token) return;
  e.preventDefault();
  const response = await fetch(path, { headers: { Authorization: `Bearer ${token}` } });
  const a = Object.assign(element("a"), { href: URL.createObjectURL(await response.blob()), download: name });
  a.click();
  URL.revokeObjectURL(a.href);
}
