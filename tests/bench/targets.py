# SPDX-License-Identifier: Apache-2.0
"""The rows of the table, what is asked of each, and whether it is met.

A row is one figure. `group` is the measurement that brings it, by which it is picked (ROWS=...).
"""
import math
import statistics
from dataclasses import dataclass

OURS, REFERENCE, PASTA, DIRECT = "ours", "1.1.0", "pasta", "direct"


@dataclass(frozen=True)
class Asked:
    """What is asked: `of` is compared with `limit`.

    of: "ratio"  ours to `peer`, in this row
        "value"  ours itself
        "self"   ours to ours in the row `other`
        "excess" ours less that of `peer`
    """
    of: str
    at_most: bool
    limit: float
    peer: str = REFERENCE
    other: str = ""


@dataclass(frozen=True)
class Row:
    name: str
    group: str
    text: str
    unit: str
    asked: tuple = ()
    decimals: int = 2
    lower_is_better: bool = True


def ratio(at_most, limit, peer=REFERENCE):
    return Asked("ratio", at_most, limit, peer)


NOT_SLOWER = ratio(False, 1.0, PASTA)

ROWS = [
    Row("bulk-1-cpu", "bulk-1", "one bulk TCP stream: processor time", "s/GB", (ratio(True, 0.42),), 3),
    Row("bulk-1-rate", "bulk-1", "one bulk TCP stream: throughput", "Gbit/s", (NOT_SLOWER,), 2, False),
    Row("bulk-64-cpu", "bulk-64", "64 bulk TCP streams: processor time", "s/GB", (ratio(True, 0.45),), 3),
    Row("bulk-64-rate", "bulk-64", "64 bulk TCP streams: throughput", "Gbit/s",
        (ratio(False, 1.3), NOT_SLOWER), 2, False),
    Row("small-cpu", "small", "small requests, 32 kept-alive connections: processor time", "µs/request",
        (ratio(True, 0.55),), 1),
    Row("small-rate", "small", "small requests, 32 kept-alive connections", "requests/s",
        (ratio(False, 1.3), NOT_SLOWER), 0, False),
    Row("connect-cpu", "connect", "new connections, 32 at once: processor time", "µs/connection",
        (ratio(True, 0.3),), 1),
    Row("connect-rate", "connect", "new connections, 32 at once", "connections/s",
        (ratio(False, 2.0), NOT_SLOWER), 0, False),
    Row("latency-p50", "latency", "latency at half of 1.1.0's greatest rate: median", "µs", (), 0),
    Row("latency-p90", "latency", "the same: 90 %", "µs", (), 0),
    Row("latency-p99", "latency", "the same: 99 %", "µs", (ratio(True, 0.8), ratio(True, 1.0, PASTA)), 0),
    Row("latency-p99.9", "latency", "the same: 99.9 %", "µs", (), 0),
    Row("idle-none-rate", "idle", "small requests beside the rows below, no idle connection", "requests/s", (),
        0, False),
    Row("idle-rate", "idle", "small requests with idle connections open", "requests/s",
        (Asked("self", False, 0.95, other="idle-none-rate"),), 0, False),
    Row("idle-files", "idle", "descriptors per idle connection", "", (Asked("value", True, 2.0),), 2),
    Row("idle-held", "idle", "connections held within the limit of descriptors", "",
        (Asked("value", False, 9900),), 0, False),
    Row("idle-memory", "idle", "resident memory of the parent per idle connection", "kB",
        (Asked("value", True, 1.0),), 2),
    Row("udp-rate", "udp", "UDP, 1400-byte datagrams at full rate: received", "Gbit/s",
        (ratio(False, 2.5),), 2, False),
    Row("udp-lost", "udp", "the same: lost", "%", (Asked("excess", True, 10.0, DIRECT),), 1),
    Row("udp-cpu", "udp", "the same: processor time", "µs/datagram received", (), 2),
    Row("memory-slirp", "memory", "resident memory after the start, slirp4netns and builtin, parent and child",
        "MB", (Asked("value", True, 3.0),), 2),
    Row("memory-slirp-pss", "memory", "the same, shared pages counted by their share (PSS)", "MB", (), 2),
    Row("memory-none", "memory", "the same (resident) with `--net=none`", "MB", (Asked("value", True, 3.0),), 2),
    Row("start-none", "start", "start to end of `true`, no network (1.1.0: the host's)", "ms",
        (Asked("value", True, 10.0),), 1),
    Row("start-full", "start", "start to end of `true`, the full slirp4netns line", "ms",
        (ratio(True, 0.35),), 1),
    Row("start-detached", "start", "the same with `--detach-netns`", "ms", (), 1),
    Row("ports-time", "ports", "publishing 2,768 ports through the API: time", "s", (ratio(True, 0.5),), 3),
    Row("ports-memory", "ports", "resident memory of the parent per published port", "kB",
        (ratio(True, 0.5),), 2),
    Row("ports-one-rate", "ports", "small requests, one port published", "requests/s", (), 0, False),
    Row("ports-many-rate", "ports", "small requests on one of 2,768 published ports", "requests/s",
        (Asked("self", False, 0.95, other="ports-one-rate"),), 0, False),
]
GROUPS = list(dict.fromkeys(row.group for row in ROWS))
BY_NAME = {row.name: row for row in ROWS}


def rows_of(groups):
    return [row for row in ROWS if row.group in groups]


@dataclass(frozen=True)
class Summary:
    """What several measurements of one thing come to."""
    median: float
    low: float
    high: float
    count: int


def summarize(values):
    """Median, least and greatest; None of nothing."""
    if not values:
        return None
    return Summary(statistics.median(values), min(values), max(values), len(values))


def divide(a, b):
    return a / b if b else (math.inf if a else math.nan)


@dataclass(frozen=True)
class Verdict:
    figure: float  # what is compared: a ratio, a difference or the value
    met: bool


def judge(asked, row_name, medians):
    """Whether it is met; None if one of the two figures is missing.

    medians: {row name: {peer: median}}
    """
    ours = medians.get(row_name, {}).get(OURS)
    if ours is None:
        return None
    if asked.of == "value":
        figure = ours
    else:
        beside = medians.get(asked.other or row_name, {}).get(OURS if asked.of == "self" else asked.peer)
        if beside is None:
            return None
        figure = ours - beside if asked.of == "excess" else divide(ours, beside)
    return Verdict(figure, figure <= asked.limit if asked.at_most else figure >= asked.limit)
