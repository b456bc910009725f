#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the rows of the table with the peers that this machine has. Run by run.sh.

    bench.py --out DIR [--quick] [--rounds N] [--rows 'GROUP...'] [--peer NAME=KIND:FILE]...

Writes DIR/results.json, of which report.py makes the tables and plots. If a peer cannot do something or
fails, a note says why, and the others go on.
"""
import argparse
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import peers
import procs
import rows
from targets import GROUPS


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--rows", default="")
    parser.add_argument("--command", default="")
    parser.add_argument("--peer", action="append", default=[])
    given = parser.parse_args()
    given.groups = given.rows.replace(",", " ").split() or GROUPS
    wrong = [g for g in given.groups if g not in GROUPS]
    if wrong:
        parser.error(f"no such rows: {' '.join(wrong)}; try some of {' '.join(GROUPS)}")
    given.rounds = given.rounds or (3 if given.quick else 5)
    given.groups = [g for g in GROUPS if g in given.groups]
    return given


def make_peer(text):
    name, _, rest = text.partition("=")
    kind, _, binary = rest.partition(":")
    if kind == "direct":
        return peers.Peer(name, kind)
    words = [binary] if kind in peers.ROOTLESSKITS else [binary, "rootlesskit"]
    return peers.Peer(name, kind, words)


# ---- the machine ----

def first_line(command):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=10, check=False)
    except OSError:
        return "not installed"
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    return lines[0].strip() if lines else "?"


def package_version(package):
    line = first_line(["dpkg-query", "-W", "-f", "${Version}", package])
    return line if line[:1].isdigit() else "not installed"


def read(path):
    try:
        with open(path, encoding="utf-8") as f:
            return f.read().strip()
    except OSError:
        return "?"


def value_of(path, key):
    for line in read(path).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return "?"


def machine(peer_list):
    found = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "kernel": platform.release(),
        "CPU": f"{value_of('/proc/cpuinfo', 'model name')}, {os.cpu_count()} of them, "
               f"{len(os.sched_getaffinity(0))} usable",
        "memory": f"{int(value_of('/proc/meminfo', 'MemTotal').split()[0]) // 1024} MiB",
        "system": value_of_os_release(),
        "user": f"UID {os.getuid()}",
        "file descriptors (hard limit)": str(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
        "fs.pipe-user-pages-soft": read("/proc/sys/fs/pipe-user-pages-soft"),
        "net.core.rmem_max, wmem_max": f"{read('/proc/sys/net/core/rmem_max')}, "
                                       f"{read('/proc/sys/net/core/wmem_max')}",
        "load average before": " ".join(read("/proc/loadavg").split()[:3]),
    }
    for peer in peer_list:
        if peer.kind == "direct":
            continue
        if peer.kind == "pasta":
            found[peer.name] = f"{first_line(['pasta', '--version'])}, run by rlkbox"
        else:
            size = os.path.getsize(peer.binary[0]) if os.path.exists(peer.binary[0]) else 0
            found[peer.name] = f"{first_line(peer.binary + ['--version'])}, {size // 1000} kB"
    found["slirp4netns"] = first_line(["slirp4netns", "--version"])
    packages = {"iperf3": "iperf3", "wrk": "wrk", "ab": "apache2-utils", "hyperfine": "hyperfine"}
    found["loads"] = ", ".join(f"{tool} {package_version(package)}" for tool, package in packages.items())
    try:
        found["server"] = first_line([peers.nginx_binary(), "-v"])
    except procs.Failure as e:
        found["server"] = str(e)
    found["python"] = platform.python_version()
    return found


def value_of_os_release():
    for line in read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "?"


# ---- the run ----

def available(peer_list, notes):
    """Returns the peers that can run here. Notes why the others cannot."""
    usable = []
    for peer in peer_list:
        problem = peer.problem()
        if problem:
            notes["", peer.name] = problem
            print(f"{peer.name} is left out: {problem}", flush=True)
        else:
            usable.append(peer)
    return usable


def measure(context, groups):
    for group in groups:
        began = time.monotonic()
        context.say(f"{group} ...")
        try:
            rows.MEASURE[group](context)
        except procs.Failure as e:
            for peer in context.peers:
                context.note(group, peer, e)
        if not context.quick:
            context.drop_all()
        context.say(f"{group}: {time.monotonic() - began:.0f} s")


def all_notes(context, peer_list):
    """Reasons for missing figures by "row|peer", and for failures by "group|peer"."""
    notes = {f"{name}|{peer}": reason for (name, peer), reason in context.notes.items()}
    for peer in peer_list:
        for row, reason in rows.NOTHING_TO_MEASURE.get(peer.kind, {}).items():
            notes[f"{row}|{peer.name}"] = reason
        for row in rows.LEFT_OUT.get(peer.kind, ()) if context.quick else ():
            notes.setdefault(f"{row}|{peer.name}", "left out by --quick")
    return notes


def store(context, given, peer_list, about):
    data = {
        "command": given.command, "quick": given.quick, "rounds": given.rounds, "groups": given.groups,
        "peers": [p.name for p in peer_list], "machine": about, "facts": context.facts,
        "values": context.values, "series": context.series, "notes": all_notes(context, peer_list),
    }
    path = os.path.join(given.out, "results.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(data, f, indent=1, ensure_ascii=False)
        f.write("\n")


def main():
    given = arguments()
    os.closerange(3, 1024)
    procs.become_subreaper()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY:  # wrk and ab use their soft limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    os.makedirs(given.out, exist_ok=True)
    directory = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="run.")
    context = None
    began = time.monotonic()
    try:
        peer_list = [make_peer(text) for text in given.peer]
        about = machine(peer_list)
        notes = {}
        context = rows.Context(available(peer_list, notes), given.rounds, given.quick,
                               lambda text: print(f"[{time.monotonic() - began:4.0f} s] {text}", flush=True))
        context.notes.update(notes)
        measure(context, given.groups)
        about["load average after"] = " ".join(read("/proc/loadavg").split()[:3])
        about["duration"] = f"{time.monotonic() - began:.0f} s for {' '.join(given.groups)}"
        store(context, given, peer_list, about)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        if context:
            context.drop_all()
        left = procs.end_all()
        if left:
            print(f"processes were left: {' '.join(left)}", flush=True)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
