# SPDX-License-Identifier: Apache-2.0
"""The rows of the table, their goals, and whether these are met.

A row is one figure. `group` names the measurement that yields it; ROWS=... selects groups.
"""
import math
import statistics
from dataclasses import dataclass

# REFERENCE is Debian's RootlessKit, whose figures the goals are about. RootlessKit 3.3.0 has columns of its own.
OURS, REFERENCE, PASTA, DIRECT = "rlkbox", "RootlessKit", "pasta", "direct"


@dataclass(frozen=True)
class Goal:
    """A goal: the figure that `of` names is compared with `limit`.

    of: "ratio"  rlkbox divided by `peer`, in this row
        "value"  rlkbox itself
        "self"   rlkbox divided by rlkbox in the row `other`
        "excess" rlkbox minus `peer`
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
    goals: tuple = ()
    decimals: int = 2
    lower_is_better: bool = True


def ratio(at_most, limit, peer=REFERENCE):
    return Goal("ratio", at_most, limit, peer)


NOT_SLOWER = ratio(False, 1.0, PASTA)

ROWS = [
    Row("bulk-1-cpu", "bulk-1", "one bulk TCP stream: CPU time", "s/GB", (ratio(True, 0.42),), 3),
    Row("bulk-1-rate", "bulk-1", "one bulk TCP stream: throughput", "Gbit/s", (NOT_SLOWER,), 2, False),
    Row("bulk-64-cpu", "bulk-64", "64 bulk TCP streams: CPU time", "s/GB", (ratio(True, 0.45),), 3),
    Row("bulk-64-rate", "bulk-64", "64 bulk TCP streams: throughput", "Gbit/s",
        (ratio(False, 1.3), NOT_SLOWER), 2, False),
    Row("small-cpu", "small", "small requests, 32 kept-alive connections: CPU time", "µs/request",
        (ratio(True, 0.55),), 1),
    Row("small-rate", "small", "small requests, 32 kept-alive connections", "requests/s",
        (ratio(False, 1.3), NOT_SLOWER), 0, False),
    Row("connect-cpu", "connect", "new connections, 32 at once: CPU time", "µs/connection",
        (ratio(True, 0.3),), 1),
    Row("connect-rate", "connect", "new connections, 32 at once", "connections/s",
        (ratio(False, 2.0), NOT_SLOWER), 0, False),
    Row("latency-p50", "latency", "latency at half of RootlessKit's highest rate: median", "µs", (), 0),
    Row("latency-p90", "latency", "the same: 90th percentile", "µs", (), 0),
    Row("latency-p99", "latency", "the same: 99th percentile", "µs", (ratio(True, 0.8), ratio(True, 1.0, PASTA)), 0),
    Row("latency-p99.9", "latency", "the same: 99.9th percentile", "µs", (), 0),
    Row("idle-none-rate", "idle", "small requests, no idle connection open", "requests/s", (),
        0, False),
    Row("idle-rate", "idle", "small requests with idle connections open", "requests/s",
        (Goal("self", False, 0.95, other="idle-none-rate"),), 0, False),
    Row("idle-files", "idle", "file descriptors per idle connection", "", (Goal("value", True, 2.0),), 2),
    Row("idle-held", "idle", "connections within the limit of file descriptors", "",
        (Goal("value", False, 9900),), 0, False),
    Row("idle-memory", "idle", "resident memory of the parent per idle connection", "kB",
        (Goal("value", True, 1.0),), 2),
    Row("udp-rate", "udp", "UDP, 1400-byte datagrams at full rate: received", "Gbit/s",
        (ratio(False, 2.5),), 2, False),
    Row("udp-lost", "udp", "the same: lost", "%", (Goal("excess", True, 10.0, DIRECT),), 1),
    Row("udp-cpu", "udp", "the same: CPU time", "µs/datagram received", (), 2),
    Row("memory-slirp", "memory", "resident memory after the start, slirp4netns and builtin, parent and child",
        "MB", (Goal("value", True, 3.0),), 2),
    Row("memory-slirp-pss", "memory", "the same, shared pages counted by their share (PSS)", "MB", (), 2),
    Row("memory-none", "memory", "the same (resident) with `--net=none`", "MB", (Goal("value", True, 3.0),), 2),
    Row("start-none", "start", "start to end of `true`, no network (RootlessKit: the host's)", "ms",
        (Goal("value", True, 10.0),), 1),
    Row("start-full", "start", "start to end of `true`, with the options of nerdctl", "ms",
        (ratio(True, 0.35),), 1),
    Row("start-detached", "start", "the same with `--detach-netns`", "ms", (), 1),
    Row("ports-time", "ports", "publishing 2,768 ports through the API: time", "s", (ratio(True, 0.5),), 3),
    Row("ports-memory", "ports", "resident memory of the parent per published port", "kB",
        (ratio(True, 0.5),), 2),
    Row("ports-one-rate", "ports", "small requests, one port published", "requests/s", (), 0, False),
    Row("ports-many-rate", "ports", "small requests on one of 2,768 published ports", "requests/s",
        (Goal("self", False, 0.95, other="ports-one-rate"),), 0, False),
]
GROUPS = list(dict.fromkeys(row.group for row in ROWS))
BY_NAME = {row.name: row for row in ROWS}


def rows_of(groups):
    return [row for row in ROWS if row.group in groups]


@dataclass(frozen=True)
class Summary:
    """Median, minimum and maximum of the measurements of one figure."""
    median: float
    low: float
    high: float
    count: int


def summarize(values):
    """Returns None if there is no value."""
    if not values:
        return None
    return Summary(statistics.median(values), min(values), max(values), len(values))


def divide(a, b):
    return a / b if b else (math.inf if a else math.nan)


@dataclass(frozen=True)
class Verdict:
    figure: float  # what was compared with the limit
    met: bool


def judge(goal, row_name, medians):
    """Is the goal met? None if one of the two figures is missing.

    medians: {row name: {peer: median}}
    """
    ours = medians.get(row_name, {}).get(OURS)
    if ours is None:
        return None
    if goal.of == "value":
        figure = ours
    else:
        beside = medians.get(goal.other or row_name, {}).get(OURS if goal.of == "self" else goal.peer)
        if beside is None:
            return None
        figure = ours - beside if goal.of == "excess" else divide(ours, beside)
    return Verdict(figure, figure <= goal.limit if goal.at_most else figure >= goal.limit)
