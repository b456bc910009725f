# SPDX-License-Identifier: Apache-2.0
"""Loads: each runs for a limited time and returns figures. The server is on 127.0.0.1, or, for a network (network.py),
on its gateway's side, with the client inside."""
import json
import os
import re
import shutil
import subprocess

import procs
from procs import Failure

SPARE_S = 20  # more time for a load to start and to end
CONNECTIONS = 32


class Here:
    """The host: client and server without a network between them."""
    gateway = "127.0.0.1"

    @staticmethod
    def inside(command):
        return command


def _tool(name):
    found = shutil.which(name)
    if not found:
        raise Failure(f"no {name} (tests/deps.sh bench installs it)")
    return found


def _iperf(port, seconds, options, net=Here):
    text = procs.output_of(net.inside([_tool("iperf3"), "-c", net.gateway, "-p", str(port), "-t", str(seconds), "-J"]
                                      + options), seconds + SPARE_S)
    result = json.loads(text)
    if result.get("error"):
        raise Failure(f"iperf3: {result['error']}")
    return result["end"]


def bulk(port, streams, seconds, net=Here, reverse=False):
    """TCP, client to server (or back, if `reverse`). Returns bytes received, and bits per second."""
    end = _iperf(port, seconds, ["-P", str(streams)] + ["-R"] * reverse, net)
    got = end["sum_received"]
    if got["bytes"] == 0:
        raise Failure("iperf3: nothing was received")
    return got["bytes"], got["bits_per_second"]


def datagrams(port, seconds, size=1400, net=Here):
    """UDP at full rate. Returns datagrams received, bits per second received, and percent lost."""
    total = _iperf(port, seconds, ["-u", "-b", "0", "-l", str(size)], net)["sum"]
    received = total["packets"] - total["lost_packets"]
    if received <= 0:
        raise Failure("iperf3: nothing was received")
    return received, received * size * 8 / total["seconds"], 100 * total["lost_packets"] / total["packets"]


def requests(port, seconds, net=Here):
    """Small requests on kept-alive connections at full rate. Returns requests and requests/s."""
    text = procs.output_of(net.inside([_tool("wrk"), "-t", "1", "-c", str(CONNECTIONS), "-d", str(seconds),
                                       f"http://{net.gateway}:{port}/"]), seconds + SPARE_S)
    return parse_wrk(text)


def parse_wrk(text):
    count = re.search(r"(\d+) requests in ", text)
    rate = re.search(r"Requests/sec:\s*([\d.]+)", text)
    errors = re.search(r"(Socket errors|Non-2xx).*", text)
    if errors:
        raise Failure(f"wrk: {errors.group(0)}")
    if not count or not rate or int(count.group(1)) == 0:
        raise Failure("wrk: no request was answered")
    return int(count.group(1)), float(rate.group(1))


def connections(port, count, net=Here):
    """A new connection for each request, 32 at a time. Returns connections and connections/s."""
    text = procs.output_of(net.inside([_tool("ab"), "-q", "-n", str(count), "-c", str(CONNECTIONS),
                                       f"http://{net.gateway}:{port}/"]), 60)
    return parse_ab(text)


def parse_ab(text):
    complete = re.search(r"Complete requests:\s*(\d+)", text)
    failed = re.search(r"Failed requests:\s*(\d+)", text)
    rate = re.search(r"Requests per second:\s*([\d.]+)", text)
    if not complete or not rate:
        raise Failure("ab: no result")
    if failed and int(failed.group(1)) > 0:
        raise Failure(f"ab: {failed.group(1)} of {complete.group(1)} requests failed")
    return int(complete.group(1)), float(rate.group(1))


def fixed_rate(port, rate, seconds, net=Here):
    """Small requests at a fixed rate. Returns latencies in microseconds by percentile."""
    openloop = os.environ.get("OPENLOOP", "")
    if not os.access(openloop, os.X_OK):
        raise Failure("openloop is not built (make bench builds it)")
    return json.loads(procs.output_of(net.inside([openloop, str(port), f"{rate:.0f}", str(seconds), str(CONNECTIONS),
                                                  net.gateway]), seconds + SPARE_S))


def start_times(command, warmup, runs, directory):
    """Returns the milliseconds of each successful run of a command, and how many runs failed."""
    path = os.path.join(directory, "hyperfine.json")
    procs.output_of([_tool("hyperfine"), "-N", "-i", "--style", "none", "--warmup", str(warmup), "--runs", str(runs),
                     "--export-json", path, " ".join(command)], 60)
    with open(path, encoding="utf-8") as f:
        return parse_hyperfine(json.load(f))


def parse_hyperfine(exported):
    result = exported["results"][0]
    good = [1000 * t for t, status in zip(result["times"], result["exit_codes"]) if status == 0]
    return good, len(result["times"]) - len(good)


class Idle:
    """Open idle connections, in a process of their own."""

    def __init__(self, port, net=Here):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "idle.py")
        self.process = procs.spawn(net.inside(["python3", script, str(port), net.gateway]), stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)

    def grow_to(self, count):
        """Opens connections up to `count`. Returns how many are open, and why not more, or ""."""
        self.process.stdin.write(f"{count}\n".encode())
        self.process.stdin.flush()
        answer = self.process.stdout.readline().decode().strip()
        if not answer:
            raise Failure("the process that holds idle connections ended")
        number, _, reason = answer.partition(" ")
        return int(number), reason

    def close(self):
        self.process.stdin.close()
        procs.end(self.process)
        self.process.stdout.close()
