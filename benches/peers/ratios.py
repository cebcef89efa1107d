"""ratios.py RESULTS PRICES ALL: medians per engine, whether the digests are the expected ones, and ratios to ours."""
import re
import statistics
import sys

path, *expected = sys.argv[1:]
rates, cpus, peaks, wrong = {}, {}, {}, []
for line in open(path):
    name, _, rest = line.partition(": ")
    ours = re.search(r"(\d+) k events/s; ([\d.]+) µs CPU per event.*peak (\d+) MB", rest)
    peer = re.search(
        r"(?P<count>\d+) ev, .* (\d+) k ev/s; .* ([\d.]+) s since first .*peak rss (\d+) MB", rest
    )
    if found := ours or peer:
        rate, cpu, peak = (float(number) for number in found.groups()[-3:])
        # The peers' figure is seconds since the first event, as ours is.
        cpu = cpu if ours else cpu / float(peer["count"]) * 1e6
        rates.setdefault(name, []).append(rate)
        cpus.setdefault(name, []).append(cpu)
        peaks.setdefault(name, []).append(peak)
    elif "rows" in rest and not all(digest in rest for digest in expected):
        wrong.append(line.strip())
print(f"\n{'engine':16} {'k events/s':>11} {'CPU us/event':>13} {'peak MB':>8} {'ours is':>9}   runs")
median = statistics.median
base = next((median(rates[name]) for name in ("events-ours", "own-ours") if name in rates), None)
for name in rates:
    ratio = f"{base / median(rates[name]):.2f} x" if base else ""
    print(f"{name:16} {median(rates[name]):11.0f} {median(cpus[name]):13.2f} {median(peaks[name]):8.0f} {ratio:>9}   {rates[name]}")
print("digests equal" if not wrong else "DIGESTS DIFFER:\n" + "\n".join(wrong))
sys.exit(bool(wrong))
