// Draws a stream's tree as a waterfall: the speaker on top, each layer below the last.
// Known nodes stand below their parents; of others only the number is known, and they
// stand beside them in their layer. Elements are kept and moved, so that moves are seen.

import { short, ms, share } from "./view.js";

const most = 200; // nodes drawn one by one; larger trees are drawn as sums
const svg = document.getElementById("tree");
const tip = document.getElementById("tip");
const links = make("g", svg);
const nodes = make("g", svg);
const shown = new Map(); // key: { group, link, node, x, y }
let last = null;         // the newest chart
let focused = null;      // key of the node that Tab reaches

function make(tag, into, attributes = {}) {
  const e = document.createElementNS(svg.namespaceURI, tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  into?.append(e);
  return e;
}

// drawTree shows a chart of /api/v1/tree; null: there is none.
export function drawTree(chart) {
  last = chart;
  const counts = chart?.layers ?? [];
  const known = chart?.nodes ?? [];
  const total = Math.max(counts.reduce((a, b) => a + b, 0), known.length);
  document.getElementById("layers").textContent = total === 0 ? "nobody is in the tree yet"
    : `${total} ${total === 1 ? "node" : "nodes"} in ${counts.length > 1 ? `${counts.length} layers` : "one layer"}: ${counts.join(" + ") || total}`;
  svg.closest("section").classList.toggle("nobody", total === 0);
  svg.closest("section").classList.toggle("sums", total > most);
  const items = total > most ? sums(counts) : places(known, counts);
  const keys = new Set(items.map(i => i.key));
  for (const [key, s] of shown) if (!keys.has(key)) remove(key, s);
  for (const item of items) put(item);
  const height = Math.max(...items.map(i => i.y + i.r), 40) + 26;
  svg.setAttribute("height", height);
  if (!keys.has(focused)) focus(items.find(i => i.node?.self)?.key ?? items[0]?.key, false);
}

// places says where every node stands.
function places(known, counts) {
  const width = svg.clientWidth || 400;
  const byPeer = new Map(known.map(n => [n.peer, { ...n, kids: [], leaves: 0 }]));
  const tops = [];
  const all = [...byPeer.values()].sort((a, b) => a.layer - b.layer || (a.peer < b.peer ? -1 : 1));
  for (const n of all) (byPeer.get(n.parent)?.kids ?? tops).push(n);
  for (const n of [...all].reverse()) n.leaves = Math.max(1, n.kids.reduce((sum, k) => sum + k.leaves, 0));
  const layers = Math.max(counts.length, ...all.map(n => n.layer + 1), 1);
  const strangers = Array.from({ length: layers }, (_, l) => Math.max(0, (counts[l] ?? 0) - all.filter(n => n.layer === l).length));
  const leaves = tops.reduce((sum, n) => sum + n.leaves, 0);
  const beside = Math.min(Math.max(...strangers), Math.max(leaves * 3, 8)); // slots left to strangers
  const slot = width / (leaves + beside);
  const step = Math.min(96, Math.max(58, 420 / layers));
  const y = layer => 26 + layer * step;
  const shift = slot < 7 ? 7 : 0; // a crowded layer stands in three rows
  const items = [];
  const stand = (n, from, parent) => {
    const space = n.leaves * slot;
    const item = { key: n.peer, node: n, layer: n.layer, x: from + space / 2, y: y(n.layer) + (n.kids.length ? 0 : items.length % 3 * shift), parent,
      r: Math.max(2.5, Math.min(5 + 2.2 * n.kids.length + (n.children > n.kids.length ? 3 : 0), space * .42, 17)) };
    item.label = n.layer === 0 ? "speaker" : n.self ? "this node" : space > 56 && !n.kids.length ? short(n.peer) : "";
    items.push(item);
    for (const k of n.kids) { stand(k, from, item); from += k.leaves * slot; }
  };
  const side = beside * slot / 2; // strangers stand on both sides
  let at = side;
  for (const n of tops) { stand(n, at, null); at += n.leaves * slot; }
  strangers.forEach((n, layer) => {
    const left = Math.floor(n / 2);
    for (let i = 0; i < n; i++) {
      const [from, k, of] = i < left ? [0, i, left] : [at, i - left, n - left];
      items.push({ key: `${layer}/${i}`, layer, x: from + side * (k + .5) / of, y: y(layer), r: Math.max(2, Math.min(5, side / of * .42)), label: "", parent: null });
    }
  });
  return items;
}

// sums is a bar for each layer, of a length that grows with the logarithm of its nodes.
function sums(counts) {
  const width = svg.clientWidth || 400;
  const full = Math.log2(1 + Math.max(...counts));
  return counts.map((count, layer) => ({ key: `sum ${layer}`, layer, count, x: width / 2, y: 26 + layer * 52, r: 20,
    width: Math.max(6, Math.log2(1 + count) / full * width * .9), label: `layer ${layer}: ${count.toLocaleString("en")}` }));
}

function put(item) {
  let s = shown.get(item.key);
  const fresh = !s;
  if (fresh) {
    const group = make("g", nodes, { class: "node gone", role: "treeitem", tabindex: "-1" });
    s = { group, shape: make(item.count ? "rect" : "circle", group), text: make("text", group), link: null };
    group.addEventListener("pointerenter", () => showTip(shown.get(item.key)));
    group.addEventListener("pointerleave", hideTip);
    group.addEventListener("focus", () => showTip(shown.get(item.key)));
    group.addEventListener("blur", hideTip);
    shown.set(item.key, s);
  }
  s.item = item;
  const n = item.node;
  s.group.setAttribute("aria-level", (n?.layer ?? item.layer) + 1);
  s.group.setAttribute("aria-label", about(item).replaceAll("\n", ", "));
  s.group.setAttribute("class", `node${n?.self ? " self" : ""}${n?.layer === 0 ? " root" : ""}${n && (n.layer === 0 || n.kids.length) ? "" : " leaf"}${n ? "" : item.count ? " sum" : " unknown"}${item.r < 5 ? " small" : ""}${fresh ? " gone" : ""}`);
  if (n) s.group.dataset.peer = n.peer;
  if (item.count) {
    for (const [k, v] of Object.entries({ x: -item.width / 2, y: -11, width: item.width, height: 8, rx: 4 })) s.shape.setAttribute(k, v);
    s.text.setAttribute("y", 14);
  } else {
    s.shape.setAttribute("r", item.r);
    const beside = n && (n.layer === 0 || n.self && n.kids.length > 0);
    s.text.setAttribute("x", beside ? item.r + 5 : 0);
    s.text.setAttribute("y", beside ? 4 : item.r + 12);
  }
  s.text.textContent = item.label;
  join(s, fresh);
  // What is new falls from where its parent stands.
  const move = at => { s.group.style.transform = `translate(${at.x}px, ${at.y}px)`; };
  if (!fresh) return move(item);
  move(item.parent ?? { x: item.x, y: item.y - 20 });
  requestAnimationFrame(() => requestAnimationFrame(() => {
    if (shown.get(item.key) !== s) return;
    s.group.classList.remove("gone");
    s.link?.classList.remove("gone");
    move(s.item);
  }));
}

// join draws the link to the parent.
function join(s, fresh) {
  const { item } = s;
  if (!item.parent) {
    s.link?.remove();
    s.link = null;
    return;
  }
  if (!s.link) s.link = make("path", links, { class: "link gone" });
  const { node: n, parent: p } = item;
  const worst = Math.max(n.loss == null ? 0 : n.loss > .02 ? 2 : n.loss > .005 ? 1 : 0, n.rtt_ms == null ? 0 : n.rtt_ms > 250 ? 2 : n.rtt_ms > 100 ? 1 : 0);
  const state = n.loss == null && n.rtt_ms == null ? "" : ["good", "fair", "poor"][worst];
  s.link.setAttribute("class", `link ${state}${fresh ? " gone" : ""}`);
  s.link.setAttribute("stroke-width", Math.min(7, 1.5 + Math.log2(n.leaves) * 1.1));
  const top = p.y + p.r, bottom = item.y - item.r, half = (top + bottom) / 2;
  const d = `M ${p.x} ${top} C ${p.x} ${half} ${item.x} ${half} ${item.x} ${bottom}`;
  s.link.setAttribute("d", d);
  s.link.style.setProperty("d", `path("${d}")`); // the attribute alone would jump
}

function remove(key, s) {
  shown.delete(key);
  for (const e of [s.group, s.link]) {
    e?.classList.add("gone");
    e?.removeAttribute("data-peer");
    if (e) setTimeout(() => e.remove(), 600);
  }
  if (tip.dataset.key === key) hideTip();
}

// about says what is known of a node, a line each.
function about({ node: n, layer, count }) {
  if (count) return `layer ${layer}: ${count} nodes`;
  if (!n) return `a node of layer ${layer}\nknown by number only`;
  const lines = [n.layer === 0 ? "the speaker" : `layer ${n.layer}`, n.peer];
  if (n.self) lines[0] += ", this node";
  if (n.children != null) lines.push(`feeds ${n.children}`);
  if (n.parent) {
    lines.push(`fed by ${short(n.parent)}`);
    if (n.rtt_ms != null) lines.push(`round trip ${ms(n.rtt_ms)}`);
    if (n.loss != null) lines.push(`loss ${share(n.loss)}`);
  }
  return lines.join("\n");
}

function showTip(s) {
  if (!s) return;
  const { item } = s;
  tip.textContent = about(item);
  tip.dataset.key = item.key;
  tip.hidden = false;
  const x = Math.max(0, Math.min(item.x - tip.offsetWidth / 2, svg.clientWidth - tip.offsetWidth));
  tip.style.transform = `translate(${x}px, ${item.y + item.r + 18}px)`;
}

function hideTip() {
  tip.hidden = true;
}

function focus(key, move) {
  shown.get(focused)?.group.setAttribute("tabindex", "-1");
  focused = key;
  const s = shown.get(key);
  s?.group.setAttribute("tabindex", "0");
  if (!move) return;
  s?.group.focus();
  showTip(s);
}

// Arrow keys go from node to node: up to the parent, down to the first child, sideways
// in the layer.
svg.addEventListener("keydown", e => {
  const at = shown.get(focused)?.item;
  if (!at) return;
  const items = [...shown.values()].map(s => s.item);
  const row = items.filter(i => i.layer === at.layer).sort((a, b) => a.x - b.x);
  const beside = row[row.indexOf(at) + (e.key === "ArrowRight" ? 1 : -1)];
  const to = {
    ArrowUp: at.parent ?? items.find(i => i.layer === at.layer - 1),
    ArrowDown: items.find(i => i.parent?.key === at.key) ?? items.find(i => i.layer === at.layer + 1),
    ArrowLeft: beside, ArrowRight: beside,
  }[e.key];
  if (to) { e.preventDefault(); focus(to.key, true); }
  if (e.key === "Escape") hideTip();
});

new ResizeObserver(() => { if (last) drawTree(last); }).observe(svg.parentElement);
