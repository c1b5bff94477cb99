// Shows a status document; every text goes in as text, never as markup.

const $ = id => document.getElementById(id);
export const short = id => id ? "…" + id.slice(-6) : "nobody";
export const ms = v => v == null ? "unknown" : v < 10 ? `${v.toFixed(1)} ms` : `${Math.round(v)} ms`;
export const share = v => `${(v * 100).toFixed(v < .1 ? 1 : 0)}%`;
export const rate = bps => bps == null ? "unknown" : bps < 1e6 ? `${Math.round(bps / 1e3)} kbit/s` : `${(bps / 1e6).toFixed(2)} Mbit/s`;

export function element(tag, text, className) {
  const e = document.createElement(tag);
  if (text != null) e.textContent = text;
  if (className) e.className = className;
  return e;
}

export function say(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
  $(id).hidden = text === "";
}

// meter sets a bar to value of 100.
export function meter(id, value, className = "") {
  const e = $(id);
  e.setAttribute("aria-valuenow", Math.round(value));
  e.className = className;
  e.firstElementChild.style.setProperty("--value", value);
}

const sum = (list, f) => list.reduce((total, x) => total + f(x), 0);

// pace keeps a few seconds of counters, to tell what happens per second.
const span = 8000;
const seen = new Map(); // stream: [{ at, lost, repaired, received, out, in }]

function pace(stream) {
  const now = { at: performance.now(), out: stream.media_bytes.out + stream.feedback_bytes.out, in: stream.media_bytes.in + stream.feedback_bytes.in,
    lost: sum(stream.tracks, t => t.lost), repaired: sum(stream.tracks, t => t.repaired), received: sum(stream.tracks, t => t.received) };
  const list = (seen.get(stream.id) ?? []).filter(p => now.at - p.at < span);
  seen.clear(); // one stream is watched at a time
  seen.set(stream.id, [...list, now]);
  const first = list[0];
  if (!first || now.at - first.at < 1000) return null;
  const seconds = (now.at - first.at) / 1000;
  const d = key => Math.max(0, now[key] - first[key]);
  return { out: d("out") * 8 / seconds, in: d("in") * 8 / seconds, lost: d("lost"), repaired: d("repaired"), received: d("received") };
}

// verdict is the health of the stream here: a number of 100, and why.
function verdict(stream, p, player) {
  if (!stream) return [0, "no one is speaking"];
  if (stream.state === "ended") return [0, "the stream has ended"];
  if (stream.state !== "live") return [10, stream.layer == null ? "looking for a place in the tree" : "waiting for the stream"];
  if (!p) return [100, "live"];
  const all = Math.max(1, p.received + p.lost);
  if (p.lost / all > .01) return [30, `${share(p.lost / all)} of the last packets were lost`];
  if (p.lost > 0) return [65, `${p.lost} packets were lost in the last seconds`];
  if (player?.freezes > 0) return [70, "the picture has stood still for a moment"];
  if (p.repaired / all > .02) return [75, `nothing is lost, but ${share(p.repaired / all)} had to be asked for again`];
  return [100, "clear: nothing is lost"];
}

// showListening fills what is under the picture; player is what the browser measures.
export function showListening(doc, stream, player) {
  const p = stream ? pace(stream) : null;
  const [value, why] = verdict(stream, p, player);
  meter("quality", value, value >= 75 ? "" : value >= 50 ? "fair" : "poor");
  say("verdict", why);
  say("advice", stream?.verdict?.replace(/ \(hint: (.*)\)$/, ": $1") ?? ""); // what the node says of NATs and clocks
  const facts = [];
  if (stream) {
    facts.push(
      ["Layer", stream.layer ?? "not attached"],
      ["Latency", latency(stream, player)],
      ["Fed by", stream.role === "speaker" ? "this node speaks" : short(stream.parent)],
      ...(stream.role === "speaker" ? [] : [["In reserve", stream.backup ? short(stream.backup) : "none"]]),
      ["Feeding", `${stream.slots.used} of ${stream.slots.max}${stream.subtree - 1 > stream.slots.used ? `, ${stream.subtree - 1} below` : ""}`],
      ["Uplink used", p ? rate(p.out) : "measuring …"],
      ["Stream", `${rate(sum(stream.tracks, t => t.bitrate_bps))} ${stream.tracks.map(t => t.codec).join(", ")}`],
      ["Lost", sum(stream.tracks, t => t.lost)],
      ...(stream.role === "speaker" ? [] : [["Changes of parent", stream.switches]]),
    );
  }
  facts.push(["This node", short(doc.peer_id)], ["Peers known", doc.dht.connected]);
  const rows = [...$("status").children];
  facts.forEach(([name, value], i) => {
    let row = rows[i];
    if (!row) $("status").append(row = element("div")), row.append(element("dt"), element("dd"));
    if (row.firstChild.textContent !== name) row.firstChild.textContent = name;
    if (row.lastChild.textContent !== String(value)) row.lastChild.textContent = String(value);
  });
  rows.slice(facts.length).forEach(row => row.remove());
}

function latency(stream, player) {
  const parts = [];
  if (stream.path_delay_ms != null && stream.role !== "speaker") parts.push(`${ms(stream.path_delay_ms)} to this node`);
  if (player?.delay != null) parts.push(`${ms(player.delay)} in this browser`);
  return parts.join(" + ") || "unknown";
}

// showRoom names the room and offers its ticket; it returns the ticket if it is new.
export function showRoom(room) {
  const members = room?.members == null ? "" : `, ${room.members} ${room.members === 1 ? "member" : "members"}`;
  say("room", room ? `${room.name || short(room.id)} (${room.admission}${members})` : "no room");
  $("invite").hidden = !room?.ticket;
  if (!room?.ticket || $("ticket").value === room.ticket) return false;
  $("ticket").value = room.ticket;
  return true;
}

// showAudience counts the listeners of the stream by layer.
export function showAudience(stream) {
  const layers = (stream?.layers ?? []).slice(1);
  const most = Math.max(...layers, 1);
  $("audience").replaceChildren(...layers.map((count, i) => {
    const li = element("li", `Layer ${i + 1}`);
    const bar = element("span");
    bar.style.setProperty("--value", 100 * count / most);
    li.append(element("b", count), bar);
    return li;
  }));
  if (layers.length === 0) $("audience").append(element("li", "nobody yet"));
}

// showChoice offers the speakers when there is more than one.
export function showChoice(streams, chosen) {
  $("choose").hidden = streams.length < 2;
  const select = $("stream");
  const ids = streams.map(s => s.id);
  if ([...select.options].map(o => o.value).join() !== ids.join()) {
    select.replaceChildren(...streams.map(s => Object.assign(element("option", `${s.room.name || short(s.room.id)} · ${short(s.speaker)}`), { value: s.id })));
  }
  if (chosen) select.value = chosen;
}
