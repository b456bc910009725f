#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""report.py OUT [DOCS]: the table, the lists and the plots of OUT/results.json.

Writes to OUT: table.md, table.csv (a line for each row and peer), raw.csv (a line for each measurement) and
the plots. With DOCS, also copies plots and CSV files there, and replaces the part of DOCS/benchmarks.md
between the two markers.
"""
import csv
import json
import os
import shutil
import subprocess
import sys

from targets import BY_NAME, OURS, REFERENCE, divide, judge, rows_of, summarize

BEGIN = "<!-- generated: begin -->"
END = "<!-- generated: end -->"
PLOTS = {
    "bench-bulk": ("Bulk TCP: throughput", "Gbit/s", ["bulk-1-rate", "bulk-64-rate"], ["1 stream", "64 streams"]),
    "bench-bulk-cpu": ("Bulk TCP: CPU time of the proxy", "s/GB", ["bulk-1-cpu", "bulk-64-cpu"],
                       ["1 stream", "64 streams"]),
    "bench-requests": ("Small requests and new connections", "1/s", ["small-rate", "connect-rate"],
                       ["requests, kept alive", "new connections"]),
    "bench-requests-cpu": ("CPU time of the proxy", "µs", ["small-cpu", "connect-cpu"],
                           ["per request", "per new connection"]),
    "bench-udp": ("UDP, 1400-byte datagrams at full rate", "Gbit/s", ["udp-rate"], ["received"]),
    "bench-start": ("Start to end of `true`", "ms", ["start-none", "start-full"],
                    ["no network", "with the options of nerdctl"]),
    "bench-memory": ("Resident memory after the start", "MB", ["memory-slirp", "memory-none"],
                     ["slirp4netns", "no network"]),
}


class Results:
    """The contents of OUT/results.json, and medians."""

    def __init__(self, data):
        self.data = data
        self.peers = data["peers"]
        self.rows = rows_of(data["groups"])
        self.values = data["values"]
        self.summaries = {row.name: {peer: summarize(self.values.get(row.name, {}).get(peer, []))
                                     for peer in self.peers} for row in self.rows}
        self.medians = {name: {peer: s.median for peer, s in by_peer.items() if s}
                        for name, by_peer in self.summaries.items()}

    def reason(self, row, peer):
        """Why a figure is missing."""
        notes = self.data["notes"]
        for name in (row.name, row.group, ""):
            if f"{name}|{peer}" in notes:
                return notes[f"{name}|{peer}"]
        return "no figure"


def number(value, decimals):
    return f"{value:,.{decimals}f}"


def cell(summary, decimals):
    text = number(summary.median, decimals)
    if summary.count > 1:
        text += f" ({number(summary.low, decimals)}–{number(summary.high, decimals)})"
    return text


def goal_text(goal, row, verdict):
    """A goal, and the figure that is compared with it."""
    sign = "≤" if goal.at_most else "≥"
    figure = "-" if verdict is None else number(verdict.figure, 3 if goal.of != "excess" else 1)
    if goal.of == "ratio":
        return f"{sign} {goal.limit:g} of {goal.peer}: {figure}"
    if goal.of == "self":
        return f"{sign} {goal.limit:g} of \"{BY_NAME[goal.other].text}\": {figure}"
    if goal.of == "excess":
        return f"{sign} {goal.peer} + {goal.limit:g}: {figure}"
    return f"{sign} {goal.limit:g} {row.unit}".rstrip()


def met_text(verdict):
    return "-" if verdict is None else "yes" if verdict.met else "**no**"


def table(results):
    """Markdown, with the reasons for missing figures below."""
    columns = results.peers
    beside = [p for p in columns if p != OURS]
    lines = ["| what | unit | " + " | ".join(columns) + " | "
             + " | ".join(f"rlkbox / {p}" for p in beside) + " | goal | met |",
             "|---|---|" + "---:|" * (len(columns) + len(beside)) + "---|---|"]
    reasons = []
    for row in results.rows:
        cells = []
        for peer in columns:
            summary = results.summaries[row.name][peer]
            if summary:
                cells.append(cell(summary, row.decimals))
                continue
            reason = f"{peer}: {results.reason(row, peer)}"
            if reason not in reasons:
                reasons.append(reason)
            cells.append(f"- [{reasons.index(reason) + 1}]")
        medians = results.medians[row.name]
        for peer in beside:
            both = OURS in medians and peer in medians
            cells.append(f"{divide(medians[OURS], medians[peer]):.3f}" if both else "-")
        verdicts = [(a, judge(a, row.name, results.medians)) for a in row.goals if goal_applies(a, results)]
        cells.append("; ".join(goal_text(a, row, v) for a, v in verdicts))
        cells.append(", ".join(met_text(v) for _, v in verdicts))
        lines.append(f"| {row.text} | {row.unit} | " + " | ".join(cells) + " |")
    below = [f"[{i + 1}] {reason}." for i, reason in enumerate(reasons)] + failures(results, reasons)
    return "\n".join(lines + [""] + [line + "  " for line in below]).rstrip() + "\n"


def failures(results, shown):
    """Failures in rounds of rows that have figures of other rounds."""
    found = []
    for key, reason in results.data["notes"].items():
        group, _, peer = key.partition("|")
        if group in results.data["groups"] and f"{peer}: {reason}" not in shown:
            found.append(f"In one round of {group}, {peer} failed: {reason}.")
    return found


def goal_applies(goal, results):
    return goal.of in ("value", "self") or goal.peer in results.peers or goal.peer == REFERENCE


def count_met(results):
    verdicts = [judge(a, row.name, results.medians) for row in results.rows for a in row.goals]
    known = [v for v in verdicts if v is not None]
    return sum(v.met for v in known), len(known), len(verdicts)


def facts(results):
    data = results.data
    met, known, total = count_met(results)
    text = [f"Medians of {data['rounds']} rounds, in which the peers take turns"
            + (" (`--quick`: short loads)" if data["quick"] else "")
            + "; minimum and maximum in parentheses. "
            + f"Of {total} goals, {known} could be checked in this run, and {met} are met."]
    text += [""] + [f"- {data['facts'][key]}" for key in sorted(data["facts"])]
    return "\n".join(text).rstrip() + "\n"


def machine(results):
    lines = ["| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in results.data["machine"].items()]
    return "\n".join(lines) + "\n"


def write_csv(results, out):
    with open(os.path.join(out, "table.csv"), "w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["row", "what", "unit", "peer", "median", "minimum", "maximum", "count",
                         "rlkbox_to_peer", "note"])
        for row in results.rows:
            for peer in results.peers:
                s = results.summaries[row.name][peer]
                if s is None:
                    writer.writerow([row.name, row.text, row.unit, peer, "", "", "", 0, "",
                                     results.reason(row, peer)])
                    continue
                ours = results.medians[row.name].get(OURS)
                ratio = f"{divide(ours, s.median):.4f}" if ours is not None else ""
                writer.writerow([row.name, row.text, row.unit, peer, f"{s.median:.6g}", f"{s.low:.6g}",
                                 f"{s.high:.6g}", s.count, ratio, ""])
    with open(os.path.join(out, "raw.csv"), "w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["row", "unit", "peer", "number", "value"])
        for row in results.rows:
            for peer in results.peers:
                for i, value in enumerate(results.values.get(row.name, {}).get(peer, [])):
                    writer.writerow([row.name, row.unit, peer, i + 1, f"{value:.6g}"])
        for peer, points in results.data["series"].get("idle", {}).items():
            for i, (count, rate, cpu) in enumerate(points):
                writer.writerow([f"idle-{count}-rate", "requests/s", peer, i + 1, f"{rate:.6g}"])
                if cpu is not None:
                    writer.writerow([f"idle-{count}-cpu", "µs/request", peer, i + 1, f"{cpu:.6g}"])


# ---- plots ----

STYLE = """set terminal svg size 640,360 font 'sans-serif,12' background '#ffffff' enhanced
set encoding utf8
set border 3 lc rgb '#444444'
set tics nomirror out
set grid ytics lc rgb '#dddddd'
set key outside top center horizontal samplen 2 width -2
"""
COLOURS = ["#0b6e99", "#d9822b", "#7a5195", "#9aa5ad", "#2f9e44", "#c92a2a"]


def gnuplot(script):
    subprocess.run(["gnuplot", "-"], input=script.encode(), check=True)


def quoted(text):
    return "'" + text.replace("'", "''").replace("_", "\\_") + "'"


def draw(results, path, title, unit, lines_of, using, settings, look=""):
    """Plots the lines of each peer that has some. Returns whether there were any."""
    blocks, plots = [], []
    for i, peer in enumerate(results.peers):
        lines = lines_of(peer)
        if lines:
            blocks.append(f"$d{i} << EOD\n" + "\n".join(lines) + "\nEOD\n")
            plots.append(f"$d{i} using {using} title {quoted(peer)} {look} lc rgb '{COLOURS[i % len(COLOURS)]}'")
    if plots:
        gnuplot(STYLE + "".join(blocks) + f"set output '{path}'\nset title {quoted(title)}\nset ylabel {quoted(unit)}\n"
                + settings + "plot " + ", ".join(plots) + "\n")
    return bool(plots)


LINES = "lw 2 pt 7 ps 0.6"


def bars(results, path, title, unit, names, labels):
    """A group of bars for each row, with a bar for each peer, and minimum and maximum."""
    picked = [(n, label) for n, label in zip(names, labels) if results.medians.get(n)]

    def lines_of(peer):
        found = [(label, results.summaries[name][peer]) for name, label in picked]
        if not any(s for _, s in found):
            return []
        return [f'"{label}" {s.median} {s.low} {s.high}' if s else f'"{label}" NaN NaN NaN' for label, s in found]

    return draw(results, path, title, unit, lines_of, "2:3:4:xtic(1)",
                "set style data histogram\nset style histogram errorbars gap 1.5 lw 1\n"
                "set style fill solid 0.9 border rgb '#444444'\nset yrange [0:*]\nset format y '%.6g'\n")


def latencies(results, path, title):
    points = [("latency-p50", "50"), ("latency-p90", "90"), ("latency-p99", "99"), ("latency-p99.9", "99.9")]

    def lines_of(peer):
        return [f'{x} "{label}" {s.median} {s.low} {s.high}' for x, (name, label) in enumerate(points)
                if (s := results.summaries.get(name, {}).get(peer))]

    return draw(results, path, title, "µs", lines_of, "1:3:4:5:xtic(2) with yerrorlines",
                "set logscale y\nset format y '%.0f'\nset xrange [-0.3:3.3]\nset xlabel 'percentile of requests'\n",
                LINES)


def scaling(results, path, title):
    """CPU time per request by idle connections: medians, minimum and maximum."""
    def lines_of(peer):
        by_count = {}
        for count, _, cpu in results.data["series"].get("idle", {}).get(peer, []):
            if cpu is not None:
                by_count.setdefault(count, []).append(cpu)
        return [f"{count} {summarize(v).median} {min(v)} {max(v)}" for count, v in sorted(by_count.items())]

    return draw(results, path, title, "µs per request", lines_of, "1:2:3:4 with yerrorlines",
                "set xlabel 'idle connections'\nset yrange [0:*]\n", LINES)


def plot_all(results, out):
    """Makes the plots that have data. Returns file names and titles; none without gnuplot."""
    if not shutil.which("gnuplot"):
        print("report.py: no gnuplot, no plots", file=sys.stderr)
        return []
    made = [(f"{name}.svg", title) for name, (title, unit, rows, labels) in PLOTS.items()
            if bars(results, os.path.join(out, f"{name}.svg"), title, unit, rows, labels)]
    for name, plot, title in (("bench-latency.svg", latencies, "Latency of small requests at a fixed rate"),
                              ("bench-idle.svg", scaling, "CPU time per request by idle connections")):
        if plot(results, os.path.join(out, name), title):
            made.append((name, title))
    return made


# ---- documents ----

def markdown(results, plots):
    return "\n".join([facts(results), table(results), "### The machine\n", machine(results),
                      "### To repeat the run\n",
                      "```sh not-run: takes ten minutes, and the whole machine\n"
                      f"{results.data['command']}\n```\n"]
                     + [f"![{title}]({name})\n" for name, title in plots])


def splice(text, generated, first=BEGIN, last=END):
    """Returns the text with the part between the markers replaced."""
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise SystemExit(f"the page has no {first} ... {last}")
    return f"{before}{first}\n\n{generated}\n{last}{after}"


def main():
    out = sys.argv[1]
    docs = sys.argv[2] if len(sys.argv) > 2 else ""
    with open(os.path.join(out, "results.json"), encoding="utf-8") as f:
        results = Results(json.load(f))
    plots = plot_all(results, out)
    write_csv(results, out)
    generated = markdown(results, plots)
    with open(os.path.join(out, "table.md"), "w", encoding="utf-8") as f:
        f.write(generated)
    if docs:
        for name, _ in plots:
            shutil.copy(os.path.join(out, name), docs)
        for name in ("table.csv", "raw.csv"):
            shutil.copy(os.path.join(out, name), os.path.join(docs, f"bench-{name}"))
        path = os.path.join(docs, "benchmarks.md")
        with open(path, encoding="utf-8") as f:
            text = splice(f.read(), generated)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
    print(facts(results))
    print(table(results))


if __name__ == "__main__":
    main()
