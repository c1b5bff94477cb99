"""Medians of bench-relay's and bench-whep's lines, ours beside the floor's, and what one
more viewer costs. Runs that lost up to 1% of the packets count only where there is no other,
and are marked; with more they tell of a collapse, not of what a packet costs."""
import collections
import json
import statistics
import sys


def read(path):
    """Runs by viewers, then by "floor" and "ours": (µs a packet, % lost, ms to the first keyframe)."""
    runs = collections.defaultdict(lambda: {"floor": [], "ours": []})
    for line in open(path):
        d = json.loads(line)
        if "forward" in d:
            f = d["forward"][0]
            key, n, cost, first = "ours", f["children"], f["cpu_us_per_pkt"], None
            lost = 100 * f["lost"] / (f["packets_in_per_s"] * f["for_s"] * n)
        else:
            key = "floor" if d["server"] == "floor" else "ours"
            n, cost, first = d["viewers"], d["cpu_us_per_pkt"], d.get("first_key_ms_p50")
            lost = max(d["loss_rtp_pct"], 100 * (1 - d["fwd_pps"] / (d["in_pps"] * n)) - 1)  # in and out are not read at one instant
        runs[n][key].append((cost, lost, first))
    return runs


def median(rs):
    """The median cost, what marks it, and how many runs lost packets."""
    clean = [r for r in rs if not r[1]]
    used = clean or [r for r in rs if r[1] <= 1]
    cost = statistics.median(r[0] for r in used) if used else None
    return cost, "" if clean else "*", f"{len(rs) - len(clean)} of {len(rs)} lost packets"


def compare(runs):
    """Rows (viewers, floor, ours), each of the two as median gives it, where both were run."""
    return [(n, median(r["floor"]), median(r["ours"])) for n, r in sorted(runs.items()) if r["floor"] and r["ours"]]


def slopes(rows):
    """What one more viewer costs of the CPU a packet in, floor and ours, and between which counts; None: too few rows."""
    rows = [(n, a[0], b[0]) for n, a, b in rows if a[0] is not None and b[0] is not None]
    if len(rows) < 2:
        return None
    lo, hi = rows[0], rows[-1]
    a, b = ((hi[i] * hi[0] - lo[i] * lo[0]) / (hi[0] - lo[0]) for i in (1, 2))
    return a, b, lo[0], hi[0]


def main():
    runs = read(sys.argv[1])
    rows = compare(runs)
    print("viewers   floor    ours  ratio")
    for n, (a, am, al), (b, bm, bl) in rows:
        if a is None or b is None:
            print(f"{n:7}  no run to compare: floor {al}, ours {bl}")
            continue
        firsts = [f for _, _, f in runs[n]["ours"] if f]
        first = f"; first keyframe {statistics.median(firsts):.0f} ms" if firsts else ""
        print(f"{n:7}  {a:5.1f}{am:1}  {b:5.1f}{bm:1}  {b / a:5.2f}  floor {al}, ours {bl}{first}")
    if s := slopes(rows):
        a, b, lo, hi = s
        print(f"slope    {a:5.1f}   {b:5.1f}   {b / a:5.2f}  of the CPU a packet in costs a viewer, {lo} to {hi}")


if __name__ == "__main__":
    main()
