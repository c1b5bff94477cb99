"""Medians of bench-relay's lines. Runs that lost packets are named and left out."""
import collections
import json
import statistics
import sys

runs = collections.defaultdict(lambda: {"floor": [], "relay": []})
lossy = collections.Counter()
for line in open(sys.argv[1]):
    d = json.loads(line)
    if "forward" in d:
        f = d["forward"][0]
        key, n, cost, lost = "relay", f["children"], f["cpu_us_per_pkt"], f["lost"]
    else:
        key, n, cost, lost = "floor", d["viewers"], d["cpu_us_per_pkt"], d["loss_rtp_pct"]
    if lost:
        lossy[key, n] += 1
    else:
        runs[n][key].append(cost)
print("children  floor  relay  ratio  runs (floor, relay; lossy ones left out)")
for n, r in sorted(runs.items()):
    if not r["floor"] or not r["relay"]:
        print(f"{n:8}  no run without loss: floor {lossy['floor', n]}, relay {lossy['relay', n]} lossy")
        continue
    a, b = statistics.median(r["floor"]), statistics.median(r["relay"])
    print(f"{n:8}  {a:5.1f}  {b:5.1f}  {b / a:5.2f}  {len(r['floor'])} (+{lossy['floor', n]}), {len(r['relay'])} (+{lossy['relay', n]})")
