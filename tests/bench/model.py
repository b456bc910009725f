#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""model.py OUT [DOCS]: predicts rates and limits on larger machines from OUT/results.json.

docs/benchmarks.md explains the formulas. A simulation checks the one with a queue. Writes OUT/model.md and
OUT/bench-model.svg. With DOCS, also copies the plot there, and replaces the part of DOCS/benchmarks.md
between the model's markers.
"""
import heapq
import json
import os
import shutil
import sys
from dataclasses import dataclass

import report
from targets import DIRECT, OURS

BEGIN = "<!-- model: begin -->"
END = "<!-- model: end -->"
WORKERS = (1, 2, 4, 8, 16, 32, 64)  # up to the maximum of --workers
CLIENT_PORTS = 60999 - 32768 + 1  # net.ipv4.ip_local_port_range as the kernel sets it
TIME_WAIT_S = 60
ACCEPT_LOCK_US = (0.5, 1.0, 2.0)  # held by accept4() and by the last ACK; assumed, see docs/benchmarks.md
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Constants:
    """What was measured with rlkbox; None: not measured."""
    request_us: float = None  # CPU time of the proxy for a small request
    connect_us: float = None  # for a new connection
    per_gb_s: float = None  # for a GB of one bulk stream
    datagram_us: float = None  # for a datagram that arrives
    connection_kb: float = None  # resident memory per idle connection
    port_kb: float = None  # per published port
    port_us: float = None  # time to publish one
    connection_files: float = None  # descriptors per connection
    base_mb: float = None  # resident after the start
    idle_slope_ns: float = None  # more CPU time per request for each 1,000 idle connections
    endpoints_us: float = None  # CPU time of client and server for a small request, without a proxy
    held: float = None  # connections within the limit
    pipe_kb: float = 1024  # of one large pipe
    pipe_limit_mb: float = 64  # fs.pipe-user-pages-soft
    files: int = 20000
    processors: int = 2


def reserved_files(c):
    """Descriptors that connections cannot use."""
    return 64 if c.held is None else max(0, int(c.files - c.held * c.connection_files))


def most_connections(c, ports, workers):
    """Within the descriptor limit. A port takes one descriptor, a worker an epoll and an eventfd."""
    more_workers = 2 * max(0, workers - c.processors)
    return int((c.files - reserved_files(c) - ports - more_workers) // c.connection_files)


def most_requests(c, workers):
    return workers * 1e6 / c.request_us


def most_requests_here(c, processors):
    """With client and server on the same CPUs as the proxy."""
    return processors * 1e6 / (c.request_us + c.endpoints_us)


def most_accepts(c, workers, lock_us):
    """New connections/s, if all workers need the same lock for a part of the work.

    Exact mean value analysis of a closed network: a queue (the lock, lock_us) and a delay (the rest).
    """
    queue = 0.0
    rate = 0.0
    for n in range(1, workers + 1):
        waited = lock_us * (1 + queue)
        rate = n / (waited + c.connect_us - lock_us)
        queue = rate * waited
    return rate * 1e6


def simulate_accepts(c, workers, lock_us, connections=20000):
    """The same as a simulation: with fixed times, not exponential ones, and staggered starts."""
    rest_us = c.connect_us - lock_us
    ready = [(i * c.connect_us / workers, i) for i in range(workers)]
    heapq.heapify(ready)
    lock_free = 0.0
    now = 0.0
    for _ in range(connections):
        at, worker = heapq.heappop(ready)
        begin = max(at, lock_free)
        lock_free = begin + lock_us
        now = lock_free + rest_us
        heapq.heappush(ready, (now, worker))
    return connections / now * 1e6


def large_pipes(c):
    return int(c.pipe_limit_mb * 1024 // c.pipe_kb)


def memory_mb(c, connections, ports):
    return c.base_mb + (connections * c.connection_kb + ports * c.port_kb) / 1000


# ---- the constants ----

def slope(points):
    """Least squares of [(x, y)]; None if there is only one x."""
    n = len(points)
    if n < 2 or len({x for x, _ in points}) < 2:
        return None
    mean_x = sum(x for x, _ in points) / n
    mean_y = sum(y for _, y in points) / n
    return (sum((x - mean_x) * (y - mean_y) for x, y in points)
            / sum((x - mean_x) ** 2 for x, _ in points))


def first_number(text, default):
    digits = "".join(ch if ch.isdigit() else " " for ch in str(text)).split()
    return int(digits[0]) if digits else default


def constants(results):
    def median(name, scale=1.0):
        value = results.medians.get(name, {}).get(OURS)
        return None if value is None else value * scale

    machine = results.data["machine"]
    points = [(count, cpu) for count, _, cpu in results.data["series"].get("idle", {}).get(OURS, [])
              if cpu is not None]
    per_idle_us = slope(points)
    processors = machine.get("CPU", "")
    processors = first_number(processors.rsplit(",", 1)[-1], os.cpu_count())
    direct = results.medians.get("small-rate", {}).get(DIRECT)
    memory = median("memory-slirp")
    return Constants(
        request_us=median("small-cpu"), connect_us=median("connect-cpu"), per_gb_s=median("bulk-1-cpu"),
        datagram_us=median("udp-cpu"), connection_kb=median("idle-memory"), port_kb=median("ports-memory"),
        port_us=median("ports-time", 1e6 / 2768), connection_files=median("idle-files"),
        base_mb=memory if memory is not None else median("memory-none"),
        idle_slope_ns=None if per_idle_us is None else per_idle_us * 1e6,
        endpoints_us=None if direct is None else processors * 1e6 / direct, held=median("idle-held"),
        pipe_limit_mb=first_number(machine.get("fs.pipe-user-pages-soft"), 16384) * 4 / 1024,
        files=first_number(machine.get("file descriptors (hard limit)"), 20000), processors=processors)


# ---- the text ----

def value(compute, form="{:,.0f}"):
    """A figure, or NOT_MEASURED if a constant for it is missing."""
    try:
        return form.format(compute())
    except TypeError:
        return NOT_MEASURED


def constants_table(c):
    rows = [
        ("CPU time per small request, r", value(lambda: c.request_us, "{:.1f} µs")),
        ("CPU time per new connection, c", value(lambda: c.connect_us, "{:.1f} µs")),
        ("CPU time per GB, one bulk stream, b", value(lambda: c.per_gb_s, "{:.3f} s")),
        ("CPU time per datagram received, d", value(lambda: c.datagram_us, "{:.2f} µs")),
        ("resident memory per idle connection, m", value(lambda: c.connection_kb, "{:.2f} kB")),
        ("resident memory per published port, q", value(lambda: c.port_kb, "{:.2f} kB")),
        ("time to publish a port", value(lambda: c.port_us, "{:.0f} µs")),
        ("descriptors per connection, f", value(lambda: c.connection_files, "{:.2f}")),
        ("reserved descriptors, k", value(lambda: reserved_files(c))),
        ("more CPU time per request for each 1,000 idle connections",
         value(lambda: c.idle_slope_ns, "{:+.0f} ns")),
        ("CPU time of client and server per request, e", value(lambda: c.endpoints_us, "{:.1f} µs")),
    ]
    return "| constant of this run | |\n|---|---:|\n" + "".join(f"| {a} | {b} |\n" for a, b in rows)


def growth_table(c):
    head = ("Up to 8 CPUs the launcher starts one worker for each CPU. With more CPUs, set `--workers` to their number, "
            "at most 64.\n\n")
    head += "| CPUs = workers | " + " | ".join(str(n) for n in WORKERS) + " |\n"
    head += "|---|" + "---:|" * len(WORKERS) + "\n"
    rows = [("small requests/s, n / r", lambda n: most_requests(c, n)),
            ("the same, with client and server on the same CPUs, n / (r + e)", lambda n: most_requests_here(c, n)),
            ("bulk, Gbit/s, 8 n / b", lambda n: 8 * n / c.per_gb_s),
            ("datagrams/s, many UDP ports, n / d", lambda n: n * 1e6 / c.datagram_us),
            ("new connections/s, without a shared lock, n / c", lambda n: n * 1e6 / c.connect_us)]
    for lock in ACCEPT_LOCK_US:
        rows.append((f"new connections/s on one listener, lock {lock:g} µs",
                     lambda n, lock=lock: most_accepts(c, n, lock)))
    rows.append((f"the same, lock {ACCEPT_LOCK_US[-1]:g} µs, simulated",
                 lambda n: simulate_accepts(c, n, ACCEPT_LOCK_US[-1])))
    return head + "".join(f"| {text} | " + " | ".join(value(lambda f=f, n=n: f(n)) for n in WORKERS) + " |\n"
                          for text, f in rows)


def limits_table(c):
    """The limits of each number that can grow."""
    rows = [
        ("connections", "descriptors: (F - k - ports) / f", value(lambda: most_connections(c, 1, c.processors)),
         "a higher hard limit (`LimitNOFILE=`); at 1,048,576: "
         + value(lambda: most_connections(with_files(c, 1 << 20), 1, c.processors))),
        ("connections to one address and port inside", "client ports inside (`ip_local_port_range`)",
         f"{CLIENT_PORTS:,}", "`sysctl net.ipv4.ip_local_port_range` inside (to about 64,000), several target "
         "addresses, or `--source-ip-transparent`, with which each client uses its own address"),
        ("new connections/s that the client ends", f"client ports inside, which are {TIME_WAIT_S} s in TIME_WAIT",
         f"{CLIENT_PORTS // TIME_WAIT_S:,}; {CLIENT_PORTS:,} with `tcp_tw_reuse` (the default on loopback)",
         "as above"),
        ("connections", "memory: base + m N", value(lambda: memory_mb(c, 1e6, 1), "{:,.0f} MB at 1,000,000"),
         "this is rlkbox's memory; the kernel takes several kB more for each socket (`tcp_mem`)"),
        ("workers that splice", "pipe pages of an unprivileged user: one pipe per worker",
         f"{large_pipes(c):,} workers, with any number of streams",
         "`fs.pipe-user-pages-soft`; workers without a large pipe use a smaller one, or copy"),
        ("published ports", "descriptors: one each", value(lambda: c.files - reserved_files(c)),
         "as for connections; workers share the listeners"),
        ("new connections/s on one port", "the listener's lock: 1 / l",
         ", ".join(f"{1e6 / lock:,.0f} with {lock:g} µs" for lock in ACCEPT_LOCK_US),
         "a listener for each worker (SO_REUSEPORT); but then a client waits for a busy worker although others are "
         "idle, and closing a listener resets its queued clients"),
        ("one bulk stream", "one worker copies it: 8 / b", value(lambda: 8 / c.per_gb_s, "{:,.1f} Gbit/s"),
         "only a lower b: a stream's bytes stay in order"),
        ("datagrams/s of one UDP port", "one worker serves the port: 1 / d",
         value(lambda: 1e6 / c.datagram_us, "{:,.0f}"), "larger batches, GRO and GSO"),
        ("packets/s of one interface", "softirq: one CPU serves a queue of the NIC or of the TAP",
         "not a limit of rlkbox", "RSS, or RPS with one queue; on loopback the sender's CPU does this work, and the "
         "figures above include it"),
    ]
    return ("| what grows | limit | reached at | what raises it |\n|---|---|---|---|\n"
            + "".join("| " + " | ".join(row) + " |\n" for row in rows))


def with_files(c, files):
    """The same constants with another limit, and as many reserved descriptors."""
    kept = reserved_files(c)
    values = dict(vars(c), files=files)
    values["held"] = (files - kept) / c.connection_files
    return Constants(**values)


def plot(c, path):
    if not shutil.which("gnuplot") or None in (c.request_us, c.connect_us):
        return False
    lock = ACCEPT_LOCK_US[-1]
    rows = [f"{n} {most_requests(c, n)} {n * 1e6 / c.connect_us} {most_accepts(c, n, lock)} "
            f"{simulate_accepts(c, n, lock)}" for n in WORKERS]
    lines = [("2", "small requests", "lines lw 2 lc rgb '#0b6e99'"),
             ("3", "new connections, no shared lock", "lines lw 2 dt 2 lc rgb '#9aa5ad'"),
             ("4", f"new connections, one listener, lock {lock:g} µs", "lines lw 2 lc rgb '#d9822b'"),
             ("5", "the same, simulated", "points pt 7 ps 0.7 lc rgb '#7a5195'")]
    report.gnuplot(report.STYLE + "$d << EOD\n" + "\n".join(rows) + "\nEOD\n"
                   f"set output '{path}'\nset title 'Larger machines: rate by workers'\n"
                   "set ylabel '1/s'\nset xlabel 'workers, each with a CPU'\n"
                   "set logscale x 2\nset logscale y\nset format y '%.0f'\n"
                   "set key outside bottom center vertical maxrows 4 samplen 2 width 0\nplot "
                   + ", ".join(f"$d using 1:{column} title {report.quoted(title)} with {how}"
                               for column, title, how in lines) + "\n")
    return True


def main():
    out = sys.argv[1]
    docs = sys.argv[2] if len(sys.argv) > 2 else ""
    with open(os.path.join(out, "results.json"), encoding="utf-8") as f:
        c = constants(report.Results(json.load(f)))
    text = constants_table(c) + "\n" + growth_table(c) + "\n" + limits_table(c)
    if plot(c, os.path.join(out, "bench-model.svg")):
        text += "\n![Larger machines: rate by workers](bench-model.svg)\n"
    with open(os.path.join(out, "model.md"), "w", encoding="utf-8") as f:
        f.write(text)
    if docs:
        if os.path.exists(os.path.join(out, "bench-model.svg")):
            shutil.copy(os.path.join(out, "bench-model.svg"), docs)
        path = os.path.join(docs, "benchmarks.md")
        with open(path, encoding="utf-8") as f:
            text = report.splice(f.read(), text, BEGIN, END)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)


if __name__ == "__main__":
    main()
