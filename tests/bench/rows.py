# SPDX-License-Identifier: Apache-2.0
"""How each group of rows is measured.

A measurement is a function of (context, peer) that returns {row: value}; the peers take turns, round after
round. Measurements that need more (idle connections, starts) drive the peers themselves.
"""
import json
import os
import resource
import socket
import time

import loads
import peers
import procs
from peers import Instance
from procs import Failure
from targets import REFERENCE, summarize

NODE_PORTS = range(30000, 32768)  # Kubernetes' NodePort range
SETTLE_S = 0.3  # after the start, before memory is read
STORE_S = 4.5  # in which rlkbox has checked its pool twice for unused sockets


class Context:
    """Settings, running instances, and what was measured so far."""

    def __init__(self, peer_list, rounds, quick, say):
        self.peers, self.rounds, self.quick, self.say = peer_list, rounds, quick, say
        self.seconds = 1 if quick else 4
        self.latency_s = 0.6 if quick else 4
        self.short_s = 1 if quick else 2  # for groups with many instances, steps or sessions
        self.values = {}  # {row: {peer: [value]}}
        self.notes = {}  # {(row or group, peer): reason}
        self.series = {}  # {"idle": {peer: [[count, requests/s, µs of the proxy per request]]}}
        self.facts = {}  # notes above the table, such as rates that were used
        self.failed_starts = {}  # {peer: count}
        self.instances = {}

    def add(self, name, peer, value):
        self.values.setdefault(name, {}).setdefault(peer.name, []).append(value)

    def note(self, name, peer, reason):
        self.notes.setdefault((name, peer.name), str(reason))
        self.say(f"  {name}, {peer.name}: {reason}")

    def median(self, name, peer_name):
        summary = summarize(self.values.get(name, {}).get(peer_name, []))
        return summary.median if summary else None

    def serving(self, peer, standalone=False):
        """The peer's instance for loads. Starts a new one if the last has ended."""
        instance = self.instances.get(peer.name)
        if instance and (instance.standalone != standalone or not instance.is_alive()):
            self.drop(peer)
            instance = None
        if not instance:
            instance = self.instances[peer.name] = Instance(peer, standalone=standalone)
        return instance

    def drop(self, peer):
        instance = self.instances.pop(peer.name, None)
        if instance:
            instance.close()

    def drop_all(self):
        for peer in self.peers:
            self.drop(peer)

    def named(self, name):
        return next((p for p in self.peers if p.name == name), None)


def rounds_of(context, peer):
    """With --quick, peers with few goals or none get one round less, but at least one."""
    fewer = context.quick and peer.kind in ("rootlesskit-3", "pasta", "direct")
    return max(1, context.rounds - 1) if fewer else context.rounds


def take_turns(context, group, measure):
    """Measures A B C A B C ... A peer that fails twice is left out from then on."""
    failures = {}
    for number in range(context.rounds):
        for peer in context.peers:
            if failures.get(peer.name, 0) >= 2 or number >= rounds_of(context, peer):
                continue
            try:
                for name, value in measure(context, peer).items():
                    context.add(name, peer, value)
            except (Failure, OSError, ValueError, KeyError) as e:
                failures[peer.name] = failures.get(peer.name, 0) + 1
                context.note(group, peer, e)
                context.drop(peer)


def timed(instance, load):
    """Runs a load. Returns its result, and the proxy's CPU time in ns (None: no proxy)."""
    pids = instance.proxies()
    before = procs.cpu_ns(pids)
    result = load()
    return result, procs.cpu_ns(pids) - before if pids else None


def with_cpu(values, name, cpu_ns, units, scale):
    """Adds CPU time per unit, if there is a proxy: cpu_ns / units * scale."""
    if cpu_ns is not None:
        values[name] = cpu_ns / units * scale
    return values


def bulk(streams):
    def measure(context, peer):
        instance = context.serving(peer)
        (got, rate), cpu = timed(instance, lambda: loads.bulk(instance.iperf, streams, context.seconds))
        return with_cpu({f"bulk-{streams}-rate": rate / 1e9}, f"bulk-{streams}-cpu", cpu, got, 1)
    return measure


def small(context, peer):
    instance = context.serving(peer)
    (count, rate), cpu = timed(instance, lambda: loads.requests(instance.http, context.seconds))
    return with_cpu({"small-rate": rate}, "small-cpu", cpu, count, 1e-3)


def connect(context, peer):
    instance = context.serving(peer)
    count = 1500 if context.quick else 8000
    (count, rate), cpu = timed(instance, lambda: loads.connections(instance.http, count))
    return with_cpu({"connect-rate": rate}, "connect-cpu", cpu, count, 1e-3)


def udp(context, peer):
    if peer.kind == "pasta":
        context.facts["udp"] = "In the UDP rows, pasta ran without a launcher (`-u PORT`)."
    instance = context.serving(peer, standalone=peer.kind == "pasta")
    (count, rate, lost), cpu = timed(instance, lambda: loads.datagrams(instance.iperf, context.seconds))
    return with_cpu({"udp-rate": rate / 1e9, "udp-lost": lost}, "udp-cpu", cpu, count, 1e-3)


def latency_rate(context):
    """Half of RootlessKit's highest rate, or of the first proxy's."""
    for peer in [context.named(REFERENCE)] + context.peers:
        if peer is None:
            continue
        try:
            highest = context.median("small-rate", peer.name)
            if highest is None:
                highest = loads.requests(context.serving(peer).http, context.seconds)[1]
            context.facts["latency"] = (f"The fixed rate of the latency rows was {highest / 2:.0f} requests/s: "
                                        f"half of {highest:.0f}, the highest rate of {peer.name}.")
            return highest / 2
        except Failure as e:
            context.note("latency", peer, e)
    raise Failure("no peer answers requests")


def measure_latency(context):
    rate = latency_rate(context)

    def measure(ctx, peer):
        result = loads.fixed_rate(ctx.serving(peer).http, rate, ctx.latency_s)
        return {f"latency-{p}": result[p] for p in ("p50", "p90", "p99", "p99.9")}
    take_turns(context, "latency", measure)


# ---- idle connections ----

def file_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 1 << 20 if hard == resource.RLIM_INFINITY else hard


def idle_plan(limit):
    """Returns the number of idle connections for the rows, and the most to try, at two descriptors each."""
    most = min(9950, limit // 2 - 50)
    return min(9000, most - 900), most


def idle_steps(context, peer, wanted):
    """Numbers of idle connections at which the rate is measured."""
    if peer.kind == "pasta" or peer.kind in peers.ROOTLESSKITS:
        wanted = min(wanted, file_limit() // 10)  # 7 or more descriptors each
    if context.quick:
        return [wanted]
    return [n for n in (500, 1000, 2000, 4000) if n < wanted] + [wanted]


def compares(context, peer):
    """With --quick, only rlkbox is compared with and without idle connections."""
    return not context.quick or peer.kind == "rlkbox"


class IdlePeer:
    """Two instances of a peer: `loaded` gets idle connections, `unloaded` has none."""

    def __init__(self, context, peer, wanted):
        self.context, self.peer = context, peer
        self.steps = idle_steps(context, peer, wanted)
        self.held = 0
        self.loaded = self.unloaded = self.idle = None
        try:
            self.loaded = Instance(peer)
            loads.requests(self.loaded.http, 1)  # memory for the first load is not the idle connections'
            if compares(context, peer):
                self.unloaded = Instance(peer)
                loads.requests(self.unloaded.http, 1)
            self.idle = loads.Idle(self.loaded.http)
        except BaseException:
            self.close()
            raise

    def close(self):
        if self.idle:
            self.idle.close()
        for instance in (self.loaded, self.unloaded):
            if instance:
                instance.close()

    def fill(self, count):
        """Opens idle connections. At the last step, measures what they cost."""
        is_costed = self.peer.is_proxy and count == self.steps[-1]
        before = self._settled_cost() if is_costed else None
        had = self.held
        self.held, reason = self.idle.grow_to(count)
        if self.held < count:
            raise Failure(f"only {self.held} of {count} idle connections: {reason}")
        if is_costed:
            after = self._settled_cost()
            self.costs = [(a - b) / (self.held - had) for a, b in zip(after, before)]

    def _settled_cost(self):
        """Waits until rlkbox has given back its pool of sockets for more connections."""
        time.sleep(SETTLE_S)
        cost, before = self._cost(), None
        if self.peer.kind != "rlkbox":
            return cost
        while before is None or cost[0] < before[0]:
            before = cost
            time.sleep(STORE_S)
            cost = self._cost()
        return cost

    def _cost(self):
        pid = self.loaded.forwarder()
        return procs.descriptors(pid) if self.peer.kind != "pasta" else 0, procs.resident_kib(pid)

    def rate(self, instance):
        (count, rate), cpu = timed(instance, lambda: loads.requests(instance.http, self.context.short_s))
        return rate, (cpu / count * 1e-3 if cpu is not None else None)


def idle_session(context, wanted, most):
    up = {}

    def attempt(peer, action):
        """Calls `action`. Ends a peer that fails, and leaves it out."""
        try:
            return action()
        except (Failure, OSError) as e:
            context.note("idle", peer, e)
            if peer.name in up:
                up.pop(peer.name).close()
            return None

    def start(peer):
        up[peer.name] = IdlePeer(context, peer, wanted)

    def compare(one, step, is_last):
        """Measures the loaded instance; at the last step, both in turn."""
        if not compares(context, one.peer):
            return
        series = context.series.setdefault("idle", {}).setdefault(one.peer.name, [])
        rate, cpu = one.rate(one.loaded)
        series.append([step, rate, cpu])
        if is_last:
            unloaded_rate, unloaded_cpu = one.rate(one.unloaded)
            series.append([0, unloaded_rate, unloaded_cpu])
            context.add("idle-rate", one.peer, rate)
            context.add("idle-none-rate", one.peer, unloaded_rate)

    def finish(one):
        """Records the costs, and how many connections are possible."""
        if one.peer.is_proxy:
            if one.peer.kind != "pasta":
                context.add("idle-files", one.peer, one.costs[0])
            context.add("idle-memory", one.peer, one.costs[1] * 1.024)
        held, reason = one.idle.grow_to(most)
        if one.peer.is_proxy:
            context.add("idle-held", one.peer, held)
            if reason:
                context.facts[f"idle-held, {one.peer.name}"] = \
                    f"{one.peer.name} held {held} connections; the next one: {reason}."

    try:
        for peer in context.peers:
            if compares(context, peer) or peer.has_api:
                attempt(peer, lambda peer=peer: start(peer))
        depth = max((len(one.steps) for one in up.values()), default=0)
        for i in range(depth):
            # The last steps of all peers coincide, because there they are compared.
            now = {n: one.steps[i - (depth - len(one.steps))] for n, one in up.items()
                   if i >= depth - len(one.steps)}
            for name, step in now.items():
                attempt(context.named(name), lambda one=up[name], step=step: one.fill(step))
            for _ in range(context.rounds if i == depth - 1 else 1):
                for name, step in now.items():
                    if name in up:
                        attempt(context.named(name), lambda one=up[name], step=step, i=i:
                                compare(one, step, i == depth - 1))
        for one in list(up.values()):
            attempt(one.peer, lambda one=one: finish(one))
            context.facts[f"idle, {one.peer.name}"] = \
                f"{one.peer.name} had {one.steps[-1]} idle connections during the requests."
    finally:
        for one in up.values():
            one.close()


def measure_idle(context):
    context.drop_all()
    limit = file_limit()
    wanted, most = idle_plan(limit)
    if wanted < 100:
        raise Failure(f"with a limit of {limit} file descriptors there is no room for idle connections")
    context.facts["idle"] = (f"At most {most} connections were tried; the limit was {limit} file descriptors per process.")
    for _ in range(1 if context.quick else 2):
        idle_session(context, wanted, most)


# ---- the start ----

def memory_once(peer, options):
    instance = Instance(peer, ["sleep", "60"], options)
    try:
        time.sleep(SETTLE_S)
        pids = [instance.pid, instance.child]
        shares = [procs.proportional_kib(pid) for pid in pids]
        return (sum(procs.resident_kib(pid) for pid in pids) * 1.024e-3,
                None if None in shares else sum(shares) * 1.024e-3)
    finally:
        instance.close()


def memory(context, peer):
    if peer.kind == "direct":
        return {}
    if peer.kind == "pasta":
        return {}
    values = {}
    if peers.has_tun():
        values["memory-slirp"], share = memory_once(peer, peers.SLIRP)
        if share is not None:
            values["memory-slirp-pss"] = share
    if peer.is_recent:
        values["memory-none"] = memory_once(peer, peers.NONE)[0]
    return values


# What --quick leaves out: {kind: rows}.
LEFT_OUT = {
    "rootlesskit": ("idle-rate", "idle-none-rate", "ports-many-rate"),
    "rootlesskit-3": ("idle-rate", "idle-none-rate", "ports-many-rate", "start-detached"),
    "pasta": ("idle-rate", "idle-none-rate", "idle-held", "idle-memory"),
    "direct": ("idle-rate", "idle-none-rate"),
    "rlkbox": ("start-detached",),
}


def start_commands(peer):
    """{row: command}; each ends with `true`."""
    if peer.kind == "direct":
        return {"start-none": ["true"]}
    if peer.kind == "pasta":
        pasta_full = [o for o in peers.PASTA] + ["--mtu=65520", "--disable-host-loopback", "--copy-up=/run",
                                                 "--copy-up=/var/lib", "--propagation=rslave"]
        return {"start-full": peer.binary + pasta_full + ["true"]}
    commands = {"start-none": peer.binary + (peers.NONE if peer.kind == "rlkbox" else []) + ["true"]}
    if peers.has_tun():
        commands["start-full"] = peer.binary + peers.FULL + ["true"]
        if peer.is_recent:
            commands["start-detached"] = peer.binary + peers.FULL + ["--detach-netns", "true"]
    return commands


def add_starts(context, name, peer, times, failed):
    # RootlessKit may notice its child only after it has ended, with a command as short as this.
    if failed and (peer.kind not in peers.ROOTLESSKITS or not times):
        raise Failure(f"{failed} of {failed + len(times)} starts failed")
    for took in times:
        context.add(name, peer, took)
    if failed:
        count = context.failed_starts[peer.name] = context.failed_starts.get(peer.name, 0) + failed
        context.facts[f"start, {peer.name}"] = (f"{count} starts of {peer.name} failed, because the command had "
                                                "ended before the ports were ready; they do not count.")


def measure_start(context):
    warmup, runs = (1, 5) if context.quick else (2, 12)
    directory = os.environ["TMPDIR"]
    names = ["start-none", "start-full"] + ([] if context.quick else ["start-detached"])
    for name in names:
        def measure(_context, peer, name=name):
            command = start_commands(peer).get(name)
            if command:
                add_starts(context, name, peer, *loads.start_times(command, warmup, runs, directory))
            return {}
        take_turns(context, "start", measure)


# ---- many ports ----

class Api:
    """A connection to a launcher's API. (http.client would take longer than the launcher.)"""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(path)
        self.answers = self.sock.makefile("rb")

    def post(self, path, body):
        """Returns status and body."""
        self.sock.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                          f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        line = self.answers.readline()
        if not line.startswith(b"HTTP/1.1 "):
            raise Failure(f"unexpected answer of the API: {line!r}")
        status, length = int(line.split()[1]), None
        while line not in (b"\r\n", b""):
            line = self.answers.readline()
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        if length is None:
            raise Failure("unexpected answer of the API: no Content-Length")
        return status, self.answers.read(length).decode(errors="replace")

    def close(self):
        self.answers.close()
        self.sock.close()


def publish_all(instance, address, child_port):
    """Publishes NODE_PORTS on an address, one request after the other. Returns seconds."""
    api = Api(instance.api)
    began = time.perf_counter()
    try:
        for port in NODE_PORTS:
            spec = {"proto": "tcp", "parentIP": address, "parentPort": port, "childIP": "127.0.0.1",
                    "childPort": child_port}
            status, text = api.post("/v1/ports", json.dumps(spec))
            if status != 201:
                raise Failure(f"port {port}: {text.strip()}")
    finally:
        api.close()
    return time.perf_counter() - began


def ports(context, peer):
    if not peer.has_api:
        return {}
    instance = Instance(peer)
    try:
        # Each peer has its own address, so that sockets of the last one are not in the way.
        address = f"127.77.0.{context.peers.index(peer) + 1}"
        # Memory that the first load takes does not count for the ports.
        values = {"ports-one-rate": loads.requests(instance.http, context.short_s)[1]}
        before = procs.resident_kib(instance.pid)
        values["ports-time"] = publish_all(instance, address, instance.http)
        grown = procs.resident_kib(instance.pid) - before
        values["ports-memory"] = grown * 1.024 / len(NODE_PORTS)
        if not context.quick or peer.kind == "rlkbox":
            port = NODE_PORTS[len(NODE_PORTS) // 2]
            values["ports-many-rate"] = loads.requests(port, context.short_s, address)[1]
        return values
    finally:
        instance.close()


# ---- the table of groups ----

def in_turns(group, measure):
    return lambda context: take_turns(context, group, measure)


MEASURE = {
    "bulk-1": in_turns("bulk-1", bulk(1)),
    "bulk-64": in_turns("bulk-64", bulk(64)),
    "small": in_turns("small", small),
    "connect": in_turns("connect", connect),
    "latency": measure_latency,
    "idle": measure_idle,
    "udp": in_turns("udp", udp),
    "memory": in_turns("memory", memory),
    "start": measure_start,
    "ports": in_turns("ports", ports),
}

# Rows for which a kind of peer can have no figure, and why: {kind: {row: reason}}.
NOTHING_TO_MEASURE = {
    "direct": {name: "there is no proxy" for name in (
        "bulk-1-cpu", "bulk-64-cpu", "small-cpu", "connect-cpu", "udp-cpu", "idle-files", "idle-held",
        "idle-memory", "memory-slirp", "memory-slirp-pss", "memory-none", "start-full", "start-detached",
        "ports-time", "ports-memory", "ports-one-rate", "ports-many-rate")},
    "pasta": {
        "idle-files": "its descriptors cannot be counted, because it makes itself undumpable",
        "memory-slirp": "it is another network", "memory-slirp-pss": "it is another network",
        "memory-none": "it is another network", "start-none": "it always has a network",
        "start-detached": "not measured",
        **{name: "it publishes each port on which a server inside listens" for name in (
            "ports-time", "ports-memory", "ports-one-rate", "ports-many-rate")}},
    "rootlesskit": {
        "memory-none": "it has no builtin driver without a network",
        "start-detached": "it has no such option"},
}
