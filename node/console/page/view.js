// Shows a status document; every text goes in as text, never as markup.

const $ = id => document.getElementById(id);
const short = id => id ? "…" + id.slice(-6) : "none";
const ms = v => v == null ? "unknown" : v < 10 ? `${v.toFixed(1)} ms` : `${Math.round(v)} ms`;
const rate = bps => bps == null ? "unknown" : `${(bps / 1e6).toFixed(2)} Mbit/s`;

function element(tag, text, className) {
  const e = document.createElement(tag);
  if (text != null) e.textContent = text;
  if (className) e.className = className;
  return e;
}

export function say(id, text) {
  $(id).textContent = text;
  $(id).hidden = text === "";
}

// showFacts fills the list of what this node does for the chosen stream.
export function showFacts(doc, stream) {
  const facts = [["Peer", short(doc.peer_id)], ["Connected peers", doc.dht.connected]];
  if (stream) {
    const lost = stream.tracks.reduce((sum, t) => sum + t.lost, 0);
    const bps = stream.tracks.reduce((sum, t) => sum + t.bitrate_bps, 0);
    facts.push(
      ["State", `${stream.state}, ${stream.role}`],
      ["Layer", stream.layer ?? "not attached"],
      ["Parent", short(stream.parent)],
      ["Children", `${stream.slots.used} of ${stream.slots.max}`],
      ["Nodes below", stream.subtree - 1],
      ["Path delay", ms(stream.path_delay_ms)],
      ["Bitrate", rate(bps)],
      ["Lost packets", lost],
      ["Changes of parent", stream.switches],
    );
  }
  $("status").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", name), element("dd", String(value))]));
}

// showTree lists the tree as far as this node knows it: the path above, itself, its children.
export function showTree(doc, stream) {
  const rows = [];
  if (stream) {
    const named = (peer, layer, note) => ({ peer, layer, note });
    stream.path.forEach((peer, layer) => rows.push(named(peer, layer, layer === 0 ? "speaker" : "")));
    rows.push({ ...named(doc.peer_id, stream.layer ?? 0, "this node"), self: true });
    for (const c of stream.children) {
      rows.push(named(c.peer, c.layer, `${c.subtree > 1 ? `${c.subtree - 1} below, ` : ""}round trip ${ms(c.rtt_ms)}`));
    }
  }
  $("tree").replaceChildren(...rows.map(({ peer, layer, note, self }) => {
    const li = element("li", `${layer} · ${short(peer)} `, `depth-${Math.min(layer, 7)}${self ? " self" : ""}`);
    li.title = peer;
    li.append(element("small", note));
    return li;
  }));
}

// showRoom names the room and offers its ticket.
export function showRoom(room) {
  const members = room?.members == null ? "" : `, ${room.members} members`;
  $("room").textContent = room ? `${room.name || short(room.id)} (${room.admission}${members})` : "none";
  $("share").hidden = !room?.ticket;
  if (room?.ticket && $("ticket").value !== room.ticket) $("ticket").value = room.ticket;
}

// showChoice offers the streams when there is more than one.
export function showChoice(streams, chosen) {
  $("choose").hidden = streams.length < 2;
  const select = $("stream");
  const ids = streams.map(s => s.id);
  if ([...select.options].map(o => o.value).join() !== ids.join()) {
    select.replaceChildren(...streams.map(s => Object.assign(element("option", `${s.room.name} · ${short(s.speaker)}`), { value: s.id })));
  }
  if (chosen) select.value = chosen;
}
