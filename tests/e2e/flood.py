# SPDX-License-Identifier: Apache-2.0
"""Floods --net=builtin from inside: flood.py MODE ADDRESS PORT SECONDS

  syn         SYNs from ever new ports and addresses
  udp         datagrams from ever new ports and addresses
  dns         queries from ever new ports to the DNS address
  ping        echo requests with ever new identifiers
  fragments   first fragments of ever new packets
  garbage     random bytes behind a head that is right as far as a random place

It ends after SECONDS. It prints "begun" when it has sent 1000 frames.
"""
import random
import struct
import sys
import time

from rawlink import ICMP, TCP, UDP, Link, ip, ping, tcp, udp

mode, target, port, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
OWN = "10.0.2.77"
link = Link("10.0.2.2", OWN)
rng = random.Random(1)


def source(i):
    return f"10.{77 + i % 100}.{i >> 8 & 255}.{i & 255}", 1024 + i % 60000


def make(i):
    src, own_port = source(i)
    ports = (own_port, port)
    if mode == "syn":
        return ip(src, target, TCP, tcp(src, target, ports, seq=i))
    if mode == "udp":
        return ip(src, target, UDP, udp(src, target, ports))
    if mode == "dns":
        query = struct.pack("!HHHHHH", i & 0xFFFF, 0x100, 1, 0, 0, 0) + b"\4host\4test\0\0\1\0\1"
        return ip(src, "10.0.2.3", UDP, udp(src, "10.0.2.3", (own_port, 53), query))
    if mode == "ping":
        return ip(src, target, ICMP, ping(src, target, i & 0xFFFF))
    if mode == "fragments":
        return ip(src, target, UDP, rng.randbytes(1480), ident=i & 0xFFFF, fragment=0x2000)
    good = make_good(i)
    cut = rng.randrange(len(good))
    return good[:cut] + rng.randbytes(rng.randrange(1400))


def make_good(i):
    src, own_port = source(i)
    proto, message = (TCP, tcp(src, target, (own_port, port))) if i % 2 else (UDP, udp(src, target, (own_port, port)))
    return ip(src, target, proto, message)


begun, count, end = False, 0, time.monotonic() + seconds
link.socket.settimeout(None)
while time.monotonic() < end:
    for _ in range(50):
        frame = link.frame(make(count), 0x0800 if mode == "garbage" else None)
        try:
            link.socket.send(frame)
            count += 1
        except OSError:  # the queue is full
            time.sleep(0.0005)
    if not begun and count >= 1000:
        begun = True
        print("begun", flush=True)
