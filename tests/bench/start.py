#!/usr/bin/env python3
"""Start-up times and memory beside Debian's rootlesskit, as an unprivileged user.

    tests/bench/start.py RLKBOX [RUNS]

The commands take turns, so that whatever else the machine does falls on all of them; given are the
medians with the quartiles, and ratios of medians. The result is a table in Markdown.
"""
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

REFERENCE = "/usr/bin/rootlesskit"
FULL = ["--net=slirp4netns", "--mtu=65520", "--slirp4netns-sandbox=auto", "--slirp4netns-seccomp=auto",
        "--disable-host-loopback", "--port-driver=builtin", "--copy-up=/etc", "--copy-up=/run",
        "--copy-up=/var/lib", "--propagation=rslave"]


def run_once(command):
    """Milliseconds from start to end."""
    began = time.perf_counter()
    done = subprocess.run(command + ["true"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, check=False)
    took = (time.perf_counter() - began) * 1000
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.decode()}")
    return took


def take_turns(commands, runs):
    times = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            times[name].append(run_once(command))
    return times


def describe(times):
    q1, median, q3 = statistics.quantiles(times, n=4)
    return f"{median:.1f} ms ({q1:.1f}-{q3:.1f})"


def resident_kb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    raise SystemExit(f"no VmRSS of process {pid}")


def memory(command):
    """kB of parent and child after the start."""
    with tempfile.TemporaryDirectory() as tmp:
        state = os.path.join(tmp, "state")
        kit = subprocess.Popen(command + ["--state-dir", state, "sleep", "60"], stdin=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        path = os.path.join(state, "child_pid")
        deadline = time.monotonic() + 10
        while not os.path.exists(path) or not open(path, encoding="ascii").read():
            if time.monotonic() > deadline:
                sys.exit("the launcher does not start")
            time.sleep(0.01)
        child = open(path, encoding="ascii").read()
        kb = resident_kb(kit.pid), resident_kb(child)
        kit.terminate()
        kit.wait()
        return kb


def main():
    ours = [os.path.abspath(sys.argv[1]), "rootlesskit"]
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    theirs = [REFERENCE] if os.path.exists(REFERENCE) and shutil.which("newuidmap") else None
    has_tun = os.access("/dev/net/tun", os.R_OK | os.W_OK) and shutil.which("slirp4netns")
    commands = {"ours, none": ours + ["--net=none", "--port-driver=builtin"]}
    if theirs:
        commands["theirs, plain"] = theirs
    if has_tun:
        commands["ours, full"] = ours + FULL
        commands["ours, full, detached"] = ours + FULL + ["--detach-netns"]
        if theirs:
            commands["theirs, full"] = theirs + FULL
    times = take_turns(commands, runs)

    print("| start to end of `true` | time: median (quartiles) | to Debian's 1.1.0 | asked |")
    print("|---|---|---|---|")
    rows = [("ours, none", "theirs, plain", "`--net=none --port-driver=builtin`", "< 0.25 of a plain `rootlesskit true`"),
            ("theirs, plain", None, "Debian's `rootlesskit true`", ""),
            ("ours, full", "theirs, full", "the full slirp4netns line", "< 0.40"),
            ("ours, full, detached", "theirs, full", "the same with `--detach-netns`", ""),
            ("theirs, full", None, "Debian's, the full slirp4netns line", "")]
    for name, peer, text, asked in rows:
        if name not in times:
            continue
        ratio = ""
        if peer in times:
            ratio = f"{statistics.median(times[name]) / statistics.median(times[peer]):.2f}"
        print(f"| {text} | {describe(times[name])} | {ratio} | {asked} |")
    parent, child = memory(commands["ours, none"])
    print(f"\nResident memory after the start, `--net=none --port-driver=builtin`: parent {parent} kB, "
          f"child {child} kB, together {parent + child} kB (asked: < 4096 kB).")
    size = os.path.getsize(sys.argv[1])
    print(f"Binary: {size // 1000} kB (asked, stripped: < 400 kB). {runs} runs each, taking turns.")


main()
