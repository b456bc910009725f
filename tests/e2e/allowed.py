# SPDX-License-Identifier: Apache-2.0
"""Frames that --net=builtin lets through, from root inside: allowed.py PORT

On PORT of the host's addresses 192.0.2.10 and fd00:1::10 there are echo servers. It prints what is not answered as it
should be, and then "done".
"""
import socket
import sys

from rawlink import (ACK, ICMP, ICMP6, PSH, RST, SYN, TCP, UDP, Link, icmp, ip, packed, tcp, udp)

port = int(sys.argv[1])
HOST, HOST6, GATEWAY, OWN, OWN6 = "192.0.2.10", "fd00:1::10", "10.0.2.2", "10.0.2.77", "fd00::77"
link = Link(GATEWAY, OWN)


def expect(name, tag, want):
    found = link.answer_for(tag)
    if found != want:
        print(f"{name}: {found} instead of {want}")


def packet(src, dst, proto, payload, **more):
    return link.frame(ip(src, dst, proto, payload, **more))


def try_allowed(name, tag, src, dst, **more):
    link.send(packet(src, dst, TCP, tcp(src, dst, (tag, port)), **more))
    expect(f"TCP {name}", tag, "open")
    link.send(packet(src, dst, TCP, tcp(src, dst, (tag, port), RST, 1001)))
    link.send(packet(src, dst, UDP, udp(src, dst, (tag, port)), **more))
    expect(f"UDP {name}", tag, "answer")


def try_sources():
    for number, (src, dst) in enumerate(((OWN, HOST), ("172.17.0.2", HOST), ("8.8.8.8", HOST), ("192.0.2.99", HOST),
                                         (OWN6, HOST6), ("2001:db8::2", HOST6))):
        try_allowed(f"from {src}", 21000 + number, src, dst)
    for number, option in enumerate((131, 137)):
        try_allowed(f"source route {option} by the host", 21100 + number, OWN, HOST,
                    options=bytes([option, 7, 4]) + packed("127.0.0.1"))


def forge_about(own, host, proto, ports):
    """Sends errors about a flow, from it to other addresses, and segments of it that are not its own."""
    there = ip(host, own, proto, tcp(host, own, ports[::-1]) if proto == TCP else udp(host, own, ports[::-1]))
    if ":" in host:
        for kind, rest in ((1, 0), (2, 1280), (3, 0), (4, 0)):
            link.send(packet(own, host, ICMP6, icmp(own, host, kind, 0, rest, there)))
        return
    for kind, code, rest in ((3, 1, 0), (3, 3, 0), (3, 4, 68), (4, 0, 0), (5, 1, 0x7F000001), (11, 0, 0)):
        link.send(packet(own, host, ICMP, icmp(own, host, kind, code, rest, there)))
    for src, dst in ((own, GATEWAY), (own, "10.0.2.3"), (own, "127.0.0.1"), ("127.0.0.1", host), ("10.0.2.99", host)):
        for flags in (ACK | PSH, RST, RST | ACK, SYN | ACK):
            link.send(packet(src, dst, TCP, tcp(src, dst, ports, flags, 1, 1, b"data")))
        link.send(packet(src, dst, UDP, udp(src, dst, ports)))


def try_established(host, kind):
    """A connection of the kernel. Its packets and the forged ones have the same ports."""
    s = socket.create_connection((host, port)) if kind == TCP else socket.socket(
        socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(10)
    s.connect_ex((host, port))
    own = s.getsockname()
    for i in range(3):
        s.sendall(b"%d" % i)
        answer = s.recv(99)
        if answer != b"%d" % i:
            print(f"{host}: {answer} instead of {i}")
        forge_about(own[0], host, kind, (own[1], port))
        link.answers()
    s.close()


try_sources()
for protocol in (TCP, UDP):
    for address in (HOST, HOST6):
        try_established(address, protocol)
print("done")
