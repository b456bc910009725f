#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares programs that serve as Podman's rootlessport: memory for each container, CPU time for each TCP
connection, and the time until ports are published.

    PYTHONPATH=tests/tools TMPDIR=$(mktemp -d) unshare -Urn python3 tests/bench/rootlessport.py PROGRAM...
"""
import os
import statistics
import sys
import time

import podman

CONTAINERS = 10
CONNECTIONS = 3000
ROUNDS = 5


def processes(pid):
    """The process and its children."""
    found = [pid]
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
            found += [int(word) for word in f.read().split()]
    return found


def memory_kb(pid, *names):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return sum(int(line.split()[1]) for line in f if line.split(":")[0] in names)


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def total(rp, read):
    return sum(read(pid) for pid in processes(rp.pid))


def await_ready(rp):
    """Does not wait for the end of the pipe: Podman's own program leaves it open in its child."""
    assert rp.read_ready() == b"1"


def measure_memory(container):
    """Proportional and anonymous memory, in kB for each of CONTAINERS."""
    rps = [podman.Rootlessport(container, [podman.tcp(8080 + i, 80)], ContainerID=str(i))
           for i in range(CONTAINERS)]
    for rp in rps:
        await_ready(rp)
    values = [sum(total(rp, lambda pid, n=name: memory_kb(pid, n)) for rp in rps) / CONTAINERS
              for name in ("Pss", "Anonymous")]
    for rp in rps:
        rp.exit()
        rp.end()
    return values


def measure_connections(container, server):
    """CPU time in microseconds for each connection, and milliseconds until the port is published."""
    began = time.monotonic()
    rp = podman.Rootlessport(container, [podman.tcp(8080, 80)])
    await_ready(rp)
    ready_ms = (time.monotonic() - began) * 1000
    before = total(rp, cpu_s)
    for _ in range(CONNECTIONS):
        podman.check_tcp(8080, server)
    used = total(rp, cpu_s) - before
    rp.exit()
    rp.end()
    return used / CONNECTIONS * 1e6, ready_ms


def main():
    podman.make_host()
    print(f"{'program':40} {'PSS kB':>8} {'anonymous kB':>13} {'us/connection':>14} {'ready ms':>9}")
    with podman.Container() as container:
        server = container.tcp_server(80)
        for program in sys.argv[1:]:
            podman.PROGRAM = program
            pss, anonymous = measure_memory(container)
            rounds = [measure_connections(container, server) for _ in range(ROUNDS)]
            cpu_us, ready_ms = (statistics.median(column) for column in zip(*rounds))
            print(f"{program:40} {pss:8.0f} {anonymous:13.0f} {cpu_us:14.0f} {ready_ms:9.1f}")


if __name__ == "__main__":
    main()
