"""The table of internal/bench/figures, from what its parts have left in bin/."""
import json
import re
import statistics

import ratio

rows = []


def row(figure, asked, measured, held):
    rows.append((figure, asked, measured, {True: "held", False: "NOT held", None: "-"}[held]))


def lines(name):
    try:
        return [json.loads(line) for line in open(f"bin/{name}")]
    except FileNotFoundError:
        return []


def median(values):
    return statistics.median(values) if values else float("nan")


def spread(values, form):
    return f"{median(values):{form}} ({min(values):{form}}-{max(values):{form}})" if values else "no run"


def shares(name, what, asked, slope):
    """Rows of ours beside the floor."""
    table = ratio.compare(ratio.read(f"bin/{name}"))
    for n, (a, am, al), (b, bm, bl) in table:
        if a is None or b is None:
            row(f"{what}, {n}", f"<= {asked[n]}", f"no run to compare: floor {al}, ours {bl}", None)
            continue
        row(f"{what}, {n}: us a packet, of the floor's", f"<= {asked[n]}", f"{b:.1f}{bm} / {a:.1f}{am} = {b / a:.2f}; floor {al}, ours {bl}", b / a <= asked[n])
    s = ratio.slopes(table)
    if s and slope:
        row(f"{what}: slope {s[2]} to {s[3]}", f"<= {slope}", f"{s[1]:.1f} / {s[0]:.1f} = {s[1] / s[0]:.2f}", s[1] / s[0] <= slope)


def relay():
    shares("bench-relay.jsonl", "1 relay", {4: 0.4, 20: 0.4, 100: 0.36}, 0.33)
    ours = [d["forward"][0] for d in lines("bench-relay.jsonl") if "forward" in d]
    for n in sorted({f["children"] for f in ours}):
        same = [f for f in ours if f["children"] == n]
        mib = [f["mib_per_child"] for f in same]
        row(f"6 MiB resident a child, {n}", "<= 0.5", f"{spread(mib, '.2f')}, {median([f['live_mib_child'] for f in same]):.2f} live", median(mib) <= 0.5)
        row(f"  lost / skipped; objects a packet, {n}", "0", f"{max(f['lost'] for f in same)} / {max(f['skipped'] for f in same)}; "
            f"{median([f['allocs_per_pkt'] for f in same]):.2f}", max(f["lost"] for f in same) == 0)


def whep():
    shares("bench-whep.jsonl", "2 WHIP to WHEP", {20: 0.7, 100: 0.7}, None)
    ours = [d for d in lines("bench-whep.jsonl") if d["server"] != "floor"]
    for n in sorted({d["viewers"] for d in ours}):
        firsts = [d["first_key_ms_p50"] for d in ours if d["viewers"] == n]
        row(f"  first keyframe p50, {n}", "<= 100 ms", spread(firsts, ".0f") + " ms", median(firsts) <= 100)
        row(f"  MiB resident a viewer, {n}", "-", spread([d["rss_mib_per_viewer"] for d in ours if d["viewers"] == n], ".2f"), None)
    for d in lines("figures-minute.jsonl"):
        row(f"7 {d['viewers']} viewers for {d['seconds']:.0f} s: content lost", "0", f"{d['loss_content_pct']:.4f}% (numbers {d['loss_rtp_pct']:.4f}%), "
            f"{d['cpu_pct']:.0f}% of a core, whipbench {d['gen_cpu_pct']:.0f}%, others {d['other_cpu_pct']:.0f}%", d["loss_content_pct"] == 0)


def hops():
    runs = [d["hops"] for d in lines("figures-hops.jsonl")]
    if not runs:
        return
    p50, p99 = [h["hop_ms_p50"] for h in runs], [h["hop_ms_p99"] for h in runs]
    row(f"3 delay a hop of {runs[0]['hops']}, p50", "<= 0.5 ms", spread(p50, ".2f"), median(p50) <= 0.5)
    row("  p99", "<= 5 ms", spread(p99, ".2f") + f"; {sum(h['lost'] for h in runs)} lost", median(p99) <= 5)


def overload():
    for o in (d["overload"] for d in lines("figures-overload.jsonl")):
        share = o["goodput_pps"] / o["peak_pps"]
        row(f"5 {o['children']} children ask a core for {o['asked_pps'] / o['peak_pps']:.1f} of its peak: goodput", ">= 80%",
            f"{100 * share:.0f}% of {o['peak_pps']:.0f} a second", share >= 0.8)
        row("  late p99, then", "<= 1 s", f"{o['late_ms_p99']:.0f}, {o['later_ms_p99']:.0f} ms (p50 {o['late_ms_p50']:.0f})", o["later_ms_p99"] <= 1000)
        back = o["recovery_ms"]
        row(f"  all but {o['stay']} go: in time again", "<= 2 s", f"{back:.0f} ms" if back >= 0 else "not in 10 s", 0 <= back <= 2000)


def virtual():
    """The lines of tests in virtual time that say "figure …: asked …: …"."""
    try:
        text = open("bin/figures-virtual.txt").read()
    except FileNotFoundError:
        return
    for figure, asked, measured in re.findall(r"figure (.+?): asked (.+?): (.+)", text):
        row(figure, asked, measured, None)
    for name in re.findall(r"^--- FAIL: (\S+)", text, re.M):
        row(name, "passes", "failed", False)


for part in relay, whep, hops, virtual, overload:
    part()
widths = [max(len(r[i]) for r in rows) for i in range(3)]
for r in rows:
    print("  ".join(c.ljust(w) for c, w in zip(r, widths)) + "  " + r[3])
