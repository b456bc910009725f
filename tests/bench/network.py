#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures networks for programs inside: our own, slirp4netns, pasta, RootlessKit's gvisor-tap-vsock, and a veth
pair as the limit. Run by run.sh, as `make bench NETWORK=1`.

    network.py --out DIR [--quick] [--rounds N] [--rows 'GROUP...'] --rlkbox FILE [--rootlesskit FILE]

    client inside ---> gateway of the network ---> 127.0.0.1 of the host: nginx, iperf3

The peers take turns, round after round. Writes DIR/network.json and DIR/network.md, a table of medians with the
goals. If a peer cannot do something, a note below the table says why.
"""
import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time

import loads
import peers
import procs
from procs import Failure

OURS, SLIRP, PASTA, GVISOR, VETH = "builtin", "slirp4netns", "pasta", "gvisor-tap-vsock", "veth"
GATEWAY = {GVISOR: "10.0.2.1", VETH: "10.9.9.1"}
RATE = 4000  # requests/s of the latency row
IDLE = 1000  # connections of the memory row

# Row: group, text, unit, decimals, goals. A goal is (peer, at least or at most, factor): ours is compared with the
# factor times the peer's figure. "best": the best of the user-mode peers.
ROWS = {
    "out-1500": ("tcp-1500", "one TCP stream out, MTU 1500", "Gbit/s", 2, [(SLIRP, ">=", 8)]),
    "in-1500": ("tcp-1500", "one TCP stream in, MTU 1500", "Gbit/s", 2, [(SLIRP, ">=", 5)]),
    "cpu-1500": ("tcp-1500", "CPU time of the launcher, stream out, MTU 1500", "s/GB", 3, [(SLIRP, "<=", 0.15)]),
    "out-65520": ("tcp-65520", "one TCP stream out, MTU 65520", "Gbit/s", 2,
                  [(SLIRP, ">=", 2), (GVISOR, ">=", 4), (VETH, ">=", 0.5)]),
    "in-65520": ("tcp-65520", "one TCP stream in, MTU 65520", "Gbit/s", 2,
                 [(SLIRP, ">=", 2), (PASTA, ">=", 1.3), (GVISOR, ">=", 4), (VETH, ">=", 0.5)]),
    "many-out": ("tcp-65520", "16 TCP streams out, MTU 65520", "Gbit/s", 2, [("out-65520", ">=", 1)]),
    "many-in": ("tcp-65520", "16 TCP streams in, MTU 65520", "Gbit/s", 2, [("in-65520", ">=", 1)]),
    "requests": ("requests", "requests on 32 kept-alive connections", "1/s", 0, [("best", ">=", 1.3)]),
    "connections": ("connections", "new connections, 32 at once", "1/s", 0, [("best", ">=", 1.5)]),
    "p99": ("latency", f"99th percentile of the latency at {RATE} requests/s", "µs", 0, [("best", "<=", 0.8)]),
    "udp": ("udp", "UDP, 1400 bytes at full rate out, MTU 1500: received", "Gbit/s", 2, [("best", ">=", 2)]),
    "bridge": ("bridge", "a container behind a bridge with MTU 1500, one stream out", "Gbit/s", 2,
               [(SLIRP, ">=", 1.5)]),
    "bridge-1500": ("bridge", "the same, the launcher's network with MTU 1500, too", "Gbit/s", 2, [(SLIRP, ">=", 5)]),
    "memory": ("memory", "memory of launcher and network program, beyond `--net=none` (PSS)", "MB", 2,
               [("limit", "<=", 1.5)]),
    "idle": ("memory", "the same for each idle connection", "kB", 2, [("limit", "<=", 0.5)]),
    "start": ("start", "start to end of `true`, beyond `--net=none`", "ms", 1, [("limit", "<=", 2)]),
}
GROUPS = list(dict.fromkeys(row[0] for row in ROWS.values()))

# Two namespaces with a veth pair. The second is the client's; its process' PID is written to $1.
VETH_SCRIPT = """
set -e
ip link set lo up
unshare -n sleep 1000 & client=$!
until [ "$(readlink /proc/$client/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
ip link add v0 type veth peer name v1
ip link set v1 netns $client
ip addr add 10.9.9.1/24 dev v0
ip link set v0 mtu $2 up
nsenter -n -t $client sh -c "ip addr add 10.9.9.2/24 dev v1; ip link set v1 mtu $2 up; ip link set lo up"
echo $client >$1.new
mv $1.new $1
"""

# A container's namespace with MTU 1500 behind a bridge, masqueraded as Docker does it
BRIDGE_SCRIPT = """
set -e
unshare -n sleep 1000 & container=$!
until [ "$(readlink /proc/$container/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
ip link add br0 type bridge
ip addr add 172.31.0.1/24 dev br0
ip link set br0 up
ip link add c0 type veth peer name eth0
ip link set eth0 netns $container
ip link set c0 master br0 up
echo 1 >/proc/sys/net/ipv4/ip_forward
iptables -t nat -A POSTROUTING -s 172.31.0.0/24 ! -o br0 -j MASQUERADE
nsenter -n -t $container sh -c "ip addr add 172.31.0.2/24 dev eth0; ip link set eth0 up; ip route add default via 172.31.0.1"
echo $container >$1.new
mv $1.new $1
"""


class Network:
    """A running network with a client's namespace, and servers on the host's side."""

    def __init__(self, peer, binary, mtu, options=()):
        self.peer = peer
        self.dir = tempfile.mkdtemp(prefix="net.", dir=os.environ.get("TMPDIR"))
        self.gateway = GATEWAY.get(peer, "10.0.2.2")
        self.started = []
        try:
            self.http, self.iperf = peers.free_port(), peers.free_port()
            if peer == VETH:
                self._start_veth(mtu)
            else:
                self._start_launcher(binary, mtu, options)
                self._start_servers([])
            self._wait()
        except BaseException:
            self.close()
            raise

    def close(self):
        for process in reversed(self.started):
            below = procs.descendants(process.pid)
            procs.end(process)
            procs.kill(below)
            for pid in below:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
        self.started = []
        shutil.rmtree(self.dir, ignore_errors=True)

    def inside(self, command):
        """A command that runs in the client's namespace."""
        return ["nsenter", "--preserve-credentials", "-U", "-n", "-t", str(self.client)] + command

    def proxies(self):
        if self.peer == VETH:
            return []
        names = ("slirp4netns", "pasta", "pasta.avx2", "passt")
        pid = self.started[0].pid
        return [pid] + [p for p in procs.descendants(pid) if procs.name_of(p).startswith(names)]

    def cpu_ns(self):
        return procs.cpu_ns(self.proxies())

    def pss_kib(self):
        return sum(procs.proportional_kib(p) or 0 for p in self.proxies())

    # ---- starting ----

    def _nginx(self, address):
        conf = os.path.join(self.dir, "nginx.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write(peers.NGINX_CONF.format(dir=self.dir, port=self.http, files=16384)
                    .replace("127.0.0.1", address))
        return [peers.nginx_binary(), "-e", os.path.join(self.dir, "nginx.log"), "-p", self.dir, "-c", conf]

    def _start_servers(self, prefix, address="127.0.0.1"):
        self.started.append(procs.spawn(prefix + self._nginx(address), cwd=self.dir))
        self.started.append(procs.spawn(prefix + ["iperf3", "-s", "-B", address, "-p", str(self.iperf)]))

    def _await_pid(self, path, process):
        deadline = time.monotonic() + 15
        while True:
            try:
                with open(path, encoding="ascii") as f:
                    return int(f.read())
            except (OSError, ValueError):
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failure(f"{self.peer} does not start: {self._last_line()}")
            time.sleep(0.01)

    def _last_line(self):
        with open(os.path.join(self.dir, "log"), encoding="utf-8", errors="replace") as f:
            lines = f.read().strip().splitlines()
        return lines[-1] if lines else "without a reason"

    def _spawn(self, command):
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.started.append(procs.spawn(command, stderr=log))

    def _start_launcher(self, binary, mtu, options):
        state = os.path.join(self.dir, "state")
        self._spawn(binary + ["--state-dir", state, f"--net={self.peer}", f"--mtu={mtu}", "--copy-up=/etc",
                              *options, "sleep", "1000"])
        self.client = self._await_pid(os.path.join(state, "child_pid"), self.started[0])

    def _start_veth(self, mtu):
        path = os.path.join(self.dir, "client")
        self._spawn(["unshare", "-rn", "sh", "-c", VETH_SCRIPT + "exec sleep 1000", "-", path, str(mtu)])
        self.client = self._await_pid(path, self.started[0])
        outer = self.started[0].pid
        self._start_servers(["nsenter", "--preserve-credentials", "-U", "-n", "-t", str(outer)], self.gateway)

    def make_container(self):
        """Makes a container's namespace, and lets the client be there."""
        path = os.path.join(self.dir, "container")
        self._spawn(self.inside(["sh", "-c", BRIDGE_SCRIPT + "exec sleep 1000", "-", path]))
        self.client = self._await_pid(path, self.started[-1])

    def _wait(self):
        deadline = time.monotonic() + 15
        while True:
            try:
                loads.fixed_rate(self.http, 10, 0.1, self)
                return
            except Failure:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


# ---- measurements: (run, peer) -> {row: value} ----

class Run:
    """Settings, and networks that are up."""

    def __init__(self, given):
        self.seconds = 1 if given.quick else 3
        self.quick = given.quick
        self.binaries = {peer: [given.rlkbox, "rootlesskit"] for peer in (OURS, SLIRP, PASTA)}
        self.binaries[GVISOR] = [given.rootlesskit]
        self.networks = {}

    def network(self, peer, mtu=65520, options=()):
        key = (peer, mtu, tuple(options))
        if key not in self.networks:
            self.networks[key] = Network(peer, self.binaries.get(peer), mtu, options)
        return self.networks[key]

    def drop_all(self):
        for network in self.networks.values():
            network.close()
        self.networks = {}


def tcp(mtu):
    def measure(run, peer):
        net = run.network(peer, mtu)
        before = net.cpu_ns()
        got, rate = loads.bulk(net.iperf, 1, run.seconds, net)
        values = {f"out-{mtu}": rate / 1e9}
        if peer != VETH:
            values[f"cpu-{mtu}"] = (net.cpu_ns() - before) / got
        values[f"in-{mtu}"] = loads.bulk(net.iperf, 1, run.seconds, net, reverse=True)[1] / 1e9
        if mtu == 65520:
            values["many-out"] = loads.bulk(net.iperf, 16, run.seconds, net)[1] / 1e9
            values["many-in"] = loads.bulk(net.iperf, 16, run.seconds, net, reverse=True)[1] / 1e9
        return {name: value for name, value in values.items() if name in ROWS}
    return measure


def requests(run, peer):
    net = run.network(peer)
    return {"requests": loads.requests(net.http, run.seconds, net)[1]}


def connections(run, peer):
    net = run.network(peer)
    return {"connections": loads.connections(net.http, 1500 if run.quick else 6000, net)[1]}


def latency(run, peer):
    net = run.network(peer)
    return {"p99": loads.fixed_rate(net.http, RATE, run.seconds, net)["p99"]}


def udp(run, peer):
    net = run.network(peer, 1500)
    return {"udp": loads.datagrams(net.iperf, run.seconds, net=net)[1] / 1e9}


def bridge(run, peer):
    if peer == VETH:
        return {}
    values = {}
    for row, mtu in ("bridge", 65520), ("bridge-1500", 1500):
        net = run.network(peer, mtu, options=("--disable-host-loopback=false",))
        if not hasattr(net, "has_container"):
            net.make_container()
            net.has_container = True
        values[row] = loads.bulk(net.iperf, 1, run.seconds, net)[1] / 1e9
    return values


def launched(run, peer, net_options):
    """PSS in kiB of a launcher with these options and what it has started, beside its command."""
    directory = tempfile.mkdtemp(prefix="bare.", dir=os.environ.get("TMPDIR"))
    state = os.path.join(directory, "state")
    process = procs.spawn(run.binaries[peer] + ["--state-dir", state, *net_options, "sleep", "1000"])
    try:
        deadline = time.monotonic() + 15
        while not os.path.exists(os.path.join(state, "child_pid")):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failure("the launcher does not start")
            time.sleep(0.01)
        time.sleep(0.3)
        return procs.proportional_kib(process.pid)
    finally:
        procs.end(process)
        shutil.rmtree(directory, ignore_errors=True)


def memory(run, peer):
    if peer == VETH:
        return {}
    if peer == GVISOR:  # RootlessKit's host network is the least that it can start with
        bare = launched(run, peer, ["--net=host"])
    else:
        bare = launched(run, peer, ["--net=none"])
    net = Network(peer, run.binaries[peer], 65520)
    try:
        time.sleep(0.3)
        before = net.pss_kib()
        idle = loads.Idle(net.http, net)
        try:
            held, reason = idle.grow_to(IDLE)
            if held < IDLE:
                raise Failure(f"only {held} connections: {reason}")
            time.sleep(0.5)
            after = net.pss_kib()
        finally:
            idle.close()
    finally:
        net.close()
    return {"memory": (before - bare) / 1024, "idle": (after - before) / IDLE}


def start(run, peer):
    if peer == VETH:
        return {}
    directory = os.environ["TMPDIR"]
    least = "--net=host" if peer == GVISOR else "--net=none"
    times = {}
    for net in (f"--net={peer}", least):
        command = run.binaries[peer] + [net, "--copy-up=/etc", "true"]
        good, failed = loads.start_times(command, 1, 5 if run.quick else 15, directory)
        if failed or not good:
            raise Failure(f"{failed} starts failed")
        times[net] = statistics.median(good)
    return {"start": times[f"--net={peer}"] - times[least]}


MEASURE = {"tcp-1500": tcp(1500), "tcp-65520": tcp(65520), "requests": requests, "connections": connections,
           "latency": latency, "udp": udp, "bridge": bridge, "memory": memory, "start": start}


# ---- the run ----

def take_turns(run, group, peer_names, rounds, values, notes):
    """Measures A B C A B C ... A peer that fails is left out from then on."""
    failed = set()
    for _ in range(rounds):
        for peer in peer_names:
            if peer in failed:
                continue
            try:
                for row, value in MEASURE[group](run, peer).items():
                    values.setdefault(row, {}).setdefault(peer, []).append(value)
            except (Failure, OSError, ValueError, KeyError) as e:
                failed.add(peer)
                notes.append(f"{group}, {peer}: {e}")
    run.drop_all()


# ---- the table ----

def goal_text(row, goal, medians):
    """The goal with the factor that was reached, or "" without figures."""
    peer, comparison, factor = goal
    ours = medians[row].get(OURS)
    if peer == "limit":
        beside, name = 1, ""
    elif peer == "best":
        others = [v for p, v in medians[row].items() if p not in (OURS, VETH)]
        beside = (max(others) if comparison == ">=" else min(others)) if others else None
        name = "best peer"
    elif peer in ROWS:
        beside, name = medians.get(peer, {}).get(OURS), "one stream"
    else:
        beside, name = medians[row].get(peer), peer
    if ours is None or not beside:
        return ""
    reached = ours / beside
    met = reached >= factor if comparison == ">=" else reached <= factor
    sign = "≥" if comparison == ">=" else "≤"
    return f"{reached:.2f} ({name}{' ' if name else ''}{sign} {factor:g}: {'met' if met else 'NOT met'})"


def table(values, notes, peer_names):
    medians = {row: {peer: statistics.median(v) for peer, v in by_peer.items()} for row, by_peer in values.items()}
    text = "| what | | " + " | ".join(peer_names) + " | builtin beside them |\n"
    text += "|---|---|" + "---:|" * len(peer_names) + "---|\n"
    for row, (_, what, unit, decimals, goals) in ROWS.items():
        if row not in medians:
            continue
        figures = [f"{medians[row][p]:,.{decimals}f}" if p in medians[row] else "-" for p in peer_names]
        verdicts = "; ".join(filter(None, (goal_text(row, goal, medians) for goal in goals)))
        text += f"| {what} | {unit} | " + " | ".join(figures) + f" | {verdicts} |\n"
    return text + "".join(f"\n- {note}" for note in notes) + ("\n" if notes else "")


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--rows", default="")
    parser.add_argument("--rlkbox", required=True)
    parser.add_argument("--rootlesskit", default="")
    given = parser.parse_args()
    given.groups = given.rows.replace(",", " ").split() or GROUPS
    wrong = [g for g in given.groups if g not in GROUPS]
    if wrong:
        parser.error(f"no such rows: {' '.join(wrong)}; try some of {' '.join(GROUPS)}")
    given.rounds = given.rounds or (2 if given.quick else 5)
    return given


def available(given):
    names = [OURS]
    names += [name for name in (SLIRP, PASTA) if shutil.which(name)]
    names += [GVISOR] * bool(given.rootlesskit)
    return names + [VETH] * bool(shutil.which("ip"))


def main():
    given = arguments()
    os.closerange(3, 1024)
    procs.become_subreaper()
    os.makedirs(given.out, exist_ok=True)
    directory = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="run.")
    run, values, notes = Run(given), {}, []
    peer_names = available(given)
    try:
        for group in given.groups:
            began = time.monotonic()
            take_turns(run, group, peer_names, given.rounds, values, notes)
            print(f"{group}: {time.monotonic() - began:.0f} s", flush=True)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        run.drop_all()
        left = procs.end_all()
        if left:
            print(f"processes were left: {' '.join(left)}", flush=True)
        shutil.rmtree(directory, ignore_errors=True)
    with open(os.path.join(given.out, "network.json"), "w", encoding="utf-8") as f:
        json.dump({"values": values, "notes": notes}, f, indent=1)
    text = table(values, notes, peer_names)
    with open(os.path.join(given.out, "network.md"), "w", encoding="utf-8") as f:
        f.write(text)
    print(text)


if __name__ == "__main__":
    main()
