# SPDX-License-Identifier: Apache-2.0
"""Root inside tries every way to what --net=builtin keeps from it: trespass.py NETWORK LOOPBACK PORT

NETWORK is builtin or gvisor-tap-vsock. LOOPBACK is "disabled" or "open", and says what the gateway's address leads to.
PORT is where servers of the host listen (tests/tools/contacts.py), on loopback addresses and others.

Each attempt has a source port of its own, by which answers are attributed to it. It prints the attempts whose answer is
another one than docs/network.md says, and then "done".
"""
import struct
import sys

from rawlink import (ACK, ARP, EVERYBODY, FIN, FRAGMENT, ICMP, ICMP6, IPV4, IPV6, PSH, RST, SYN, TCP, UDP, VLAN, Link,
                     arp, ether, icmp, ip, packed, ping, summed, tcp, udp)

driver, loopback, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
GATEWAY, DNS = ("10.0.2.1", "10.0.2.1") if driver == "gvisor-tap-vsock" else ("10.0.2.2", "10.0.2.3")
GATEWAY6, DNS6 = "fd00::2", "fd00::3"
HOST, HOST6 = "192.0.2.10", "fd00:1::10"
# Addresses of the network that the kernel inside does not have, so it does not answer what comes back.
OWN, OWN6, OWN_LINK = "10.0.2.77", "fd00::77", "fe80::77"
NOTHING, RESET, UNREACHABLE, UNREACHABLE6 = "nothing", "reset", "error 3/3", "error 1/4"

# An address for every rule of usernet/policy.c, which no packet may be for ...
NOWHERE = ["127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "0.0.0.1", "0.127.0.1", "10.0.2.0", "10.0.2.255",
           "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"]
NOWHERE6 = ["::1", "::", "::2", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:0.0.0.0", f"::ffff:{GATEWAY}",
            f"::ffff:{HOST}", "fe80::1", "febf::1", "ff01::1", "ff02::1", "ff05::2", "ff0e::1"]
# ... and which none may come from
NOBODY = NOWHERE + [GATEWAY, DNS]
NOBODY6 = NOWHERE6 + [GATEWAY6, DNS6]

link = Link(GATEWAY, OWN)
expected, got = {}, {}
last_tag = 20000


def collect():
    for tag, what in link.answers():
        if tag in expected:
            got.setdefault(tag, set()).add(what)


def attempt(name, expect, make, sends=1):
    """make(tag) returns the frames of an attempt from source port `tag`."""
    global last_tag
    last_tag += 1
    expected[last_tag] = (name, expect)
    for frame in make(last_tag):
        for _ in range(sends):
            link.send(frame)
    collect()


def packet(src, dst, proto, payload, **more):
    return link.frame(ip(src, dst, proto, payload, **more))


def own_for(dst):
    return OWN6 if ":" in dst else OWN


def icmp_for(dst):
    return ICMP6 if ":" in dst else ICMP


def try_all(name, src, dst, replies, to=port):
    """TCP, UDP and ping, with the reply that each must have"""
    attempt(f"TCP {name}", replies[0], lambda tag: [
        packet(src, dst, TCP, tcp(src, dst, (tag, to))),
        packet(src, dst, TCP, tcp(src, dst, (tag, to), ACK | PSH, 1001, 1, b"data"))])
    attempt(f"UDP {name}", replies[1], lambda tag: [packet(src, dst, UDP, udp(src, dst, (tag, to)))])
    attempt(f"ping {name}", replies[2], lambda tag: [packet(src, dst, icmp_for(dst), ping(src, dst, tag))])


# ---- addresses ----

def try_addresses():
    for dst in NOWHERE + NOWHERE6:
        try_all(f"to {dst}", own_for(dst), dst, [NOTHING] * 3)
        try_all(f"to port 53 of {dst}", own_for(dst), dst, [NOTHING] * 3, 53)
    refused = [DNS, DNS6] if DNS != GATEWAY else [DNS6]
    if loopback == "disabled":
        refused += [GATEWAY, GATEWAY6]
    for dst in refused:
        replies = [RESET, UNREACHABLE6 if ":" in dst else UNREACHABLE, "echo"]
        try_all(f"to {dst}", own_for(dst), dst, replies)
        if dst not in (DNS, DNS6):
            try_all(f"to port 53 of {dst}", own_for(dst), dst, replies, 53)


def router_link_local():
    """The router's link-local address (RFC 4291, appendix A)"""
    mac = link.router
    return "fe80::%02x%02x:%02xff:fe%02x:%02x%02x" % (mac[0] ^ 2, *mac[1:])


def try_link_local():
    router = router_link_local()
    try_all("to the router's link-local address", OWN_LINK, router, [RESET, UNREACHABLE6, "echo"])
    try_all("to the router's link-local address from beyond", OWN6, router, [NOTHING] * 3)
    try_all("from the router's link-local address", router, router, [NOTHING] * 3)
    for dst in (GATEWAY6, DNS6, HOST6, "::1"):
        try_all(f"to {dst} from a link-local address", OWN_LINK, dst, [NOTHING] * 3)
        try_all(f"to {dst} from the router's address", router, dst, [NOTHING] * 3)


def try_sources():
    for src in NOBODY:
        for dst in (GATEWAY, DNS, HOST):
            try_all(f"to {dst} from {src}", src, dst, [NOTHING] * 3)
    for src in NOBODY6:
        for dst in (GATEWAY6, DNS6, HOST6):
            try_all(f"to {dst} from {src}", src, dst, [NOTHING] * 3)
    for addr in (HOST, HOST6):
        try_all(f"to {addr} from itself", addr, addr, [NOTHING] * 3)


# ---- headers ----

def with_v6_headers(src, dst, headers, proto, payload):
    """headers: (protocol number, bytes behind the next-header field)"""
    kinds = [kind for kind, _ in headers] + [proto]
    chain = b"".join(bytes([kinds[i + 1]]) + body for i, (_, body) in enumerate(headers))
    return link.frame(ip(src, dst, kinds[0], chain + payload))


def routing(kind, left, addr):
    return 43, bytes([2, kind, left]) + b"\0" * 4 + packed(addr)


def try_headers():
    for option in (131, 137):  # loose and strict source route
        for hop in ("127.0.0.1", GATEWAY):
            attempt(f"source route {option} by {NOWHERE[0]} to {hop}", NOTHING, lambda tag: [packet(
                OWN, "127.0.0.1", TCP, tcp(OWN, "127.0.0.1", (tag, port)),
                options=bytes([option, 7, 4]) + packed(hop))])
    for kind in (0, 2, 3, 4, 253):
        for left in (0, 1):
            for dst, hop in (("::1", GATEWAY6), ("::1", HOST6), ("::", "::1")):
                attempt(f"routing header {kind} with {left} left to {dst}, {hop}", NOTHING, lambda tag: [
                    with_v6_headers(OWN6, dst, [routing(kind, left, hop)], TCP, tcp(OWN6, dst, (tag, port))),
                    with_v6_headers(OWN6, dst, [routing(kind, left, hop)], TCP, tcp(OWN6, hop, (tag, port)))])
    padding = bytes([0, 1, 4, 0, 0, 0, 0])
    for headers in ([(0, padding)], [(60, padding)], [(0, padding), (60, padding), (43, padding)]):
        attempt(f"extension headers {headers} to ::1", NOTHING, lambda tag: [
            with_v6_headers(OWN6, "::1", headers, TCP, tcp(OWN6, "::1", (tag, port)))])
    attempt("a packet in a packet", NOTHING if loopback == "open" else "error 3/2", lambda tag: [
        packet(OWN, GATEWAY if loopback == "disabled" else "127.0.0.1", 4,
               struct.pack("!HH", tag, port) + ip(OWN, "127.0.0.1", UDP, udp(OWN, "127.0.0.1", (tag, port))))])
    for kind, name in ((VLAN, "VLAN"), (0x88A8, "service VLAN"), (0x8847, "MPLS"), (0x8864, "PPPoE")):
        attempt(name, NOTHING, lambda tag: [link.frame(
            struct.pack("!HH", 1, IPV4) + ip(OWN, HOST, UDP, udp(OWN, HOST, (tag, port))), kind)])
    attempt("IPv6 under the type of IPv4", NOTHING, lambda tag: [
        link.frame(ip(OWN6, HOST6, UDP, udp(OWN6, HOST6, (tag, port))), IPV4)])
    attempt("IPv4 under the type of IPv6", NOTHING, lambda tag: [
        link.frame(ip(OWN, HOST, UDP, udp(OWN, HOST, (tag, port))), IPV6)])


def try_other_macs():
    """A router takes only what is sent to it."""
    other = link.router[:5] + bytes([link.router[5] ^ 1])
    for mac in (other, link.mac, b"\0" * 6, EVERYBODY, b"\1\0\x5e\0\0\1", b"\x33\x33\0\0\0\1"):
        for dst in (GATEWAY, DNS, HOST, GATEWAY6, HOST6):
            src = own_for(dst)
            for proto, make in ((TCP, tcp), (UDP, udp)):
                attempt(f"protocol {proto} to {dst} at {mac.hex(':')}", NOTHING, lambda tag: [
                    ether(mac, link.mac, ip(src, dst, proto, make(src, dst, (tag, port))))])


# ---- fragments ----

def fragments(src, dst, proto, payload, ident, cut=8):
    return [packet(src, dst, proto, payload[:cut], ident=ident, fragment=0x2000),
            packet(src, dst, proto, payload[cut:], ident=ident, fragment=cut // 8)]


def fragments6(src, dst, proto, payload, ident, cut=8):
    return [packet(src, dst, FRAGMENT, struct.pack("!BBHI", proto, 0, at | more, ident) + part)
            for at, more, part in ((0, 1, payload[:cut]), (cut, 0, payload[cut:]))]


def try_fragments():
    for dst in ("127.0.0.1", "0.0.0.0"):
        attempt(f"TCP fragments to {dst}", NOTHING,
                lambda tag: fragments(OWN, dst, TCP, tcp(OWN, dst, (tag, port)), tag))
        attempt(f"UDP fragments to {dst}", NOTHING,
                lambda tag: fragments(OWN, dst, UDP, udp(OWN, dst, (tag, port), b"x" * 40), tag))
    attempt("TCP fragments to ::1", NOTHING,
            lambda tag: fragments6(OWN6, "::1", TCP, tcp(OWN6, "::1", (tag, port)), tag))
    attempt("an atomic fragment to ::1", NOTHING, lambda tag: [packet(
        OWN6, "::1", FRAGMENT, struct.pack("!BBHI", UDP, 0, 0, tag) + udp(OWN6, "::1", (tag, port)))])
    if loopback == "disabled":
        attempt("TCP fragments to the gateway", RESET,
                lambda tag: fragments(OWN, GATEWAY, TCP, tcp(OWN, GATEWAY, (tag, port)), tag))
        attempt("UDP fragments to the IPv6 gateway", UNREACHABLE6,
                lambda tag: fragments6(OWN6, GATEWAY6, UDP, udp(OWN6, GATEWAY6, (tag, port), b"x" * 40), tag))
        attempt("the last fragment first", UNREACHABLE, lambda tag: fragments(
            OWN, GATEWAY, UDP, udp(OWN, GATEWAY, (tag, port), b"x" * 40), tag)[::-1])
    # The first fragment says port 1 of the host, where nobody listens, and a second one overwrites that.
    attempt("fragments that overlap", NOTHING, lambda tag: [
        packet(OWN, HOST, UDP, udp(OWN, HOST, (tag, 1), b"x" * 40)[:16], ident=tag, fragment=0x2000),
        packet(OWN, HOST, UDP, udp(OWN, HOST, (tag, port), b"x" * 40)[:16], ident=tag, fragment=0x2000),
        packet(OWN, HOST, UDP, udp(OWN, HOST, (tag, port), b"x" * 40)[16:], ident=tag, fragment=2)])
    # Halves that belong to two packets, which each might go
    for src, dst in ((OWN, "192.0.2.99"), ("10.0.2.78", HOST), (OWN, "127.0.0.1"), ("127.0.0.1", HOST)):
        attempt(f"the other fragment from {src} to {dst}", NOTHING, lambda tag: [
            fragments(OWN, HOST, UDP, udp(OWN, HOST, (tag, port), b"x" * 40), tag)[0],
            fragments(src, dst, UDP, udp(OWN, HOST, (tag, port), b"x" * 40), tag)[1]])


# ---- ARP, neighbours, ICMP ----

def neighbour_advert(src, target):
    message = struct.pack("!BBHI", 136, 0, 0, 0x60000000) + packed(target) + b"\2\1" + link.mac
    return link.frame(ip(src, "ff02::1", ICMP6, summed(src, "ff02::1", ICMP6, message, 2), hops=255))


def try_neighbours():
    for addr in (GATEWAY, DNS, HOST, "127.0.0.1"):
        for operation in (1, 2):
            for target in (addr, OWN, GATEWAY):
                link.send(ether(EVERYBODY, link.mac, arp(operation, (link.mac, addr), (link.router, target)), ARP))
    for addr in (GATEWAY6, DNS6, HOST6, "::1"):
        link.send(neighbour_advert(addr, addr))
        link.send(neighbour_advert(OWN6, addr))
    collect()
    if link.ask_arp(GATEWAY) != link.router:
        print("the gateway has another MAC address")


def try_icmp_errors():
    """Errors and redirects that quote what was never sent, or a flow to somewhere else"""
    for dst in (GATEWAY, HOST, "127.0.0.1"):
        for kind, code, rest in ((3, 3, 0), (3, 4, 68), (5, 1, 0x7F000001), (11, 0, 0), (12, 0, 0), (4, 0, 0),
                                 (13, 0, 0), (17, 0, 0), (15, 0, 0), (9, 0, 0), (10, 0, 0)):
            attempt(f"ICMP {kind}/{code} to {dst}", NOTHING, lambda tag: [packet(OWN, dst, ICMP, icmp(
                OWN, dst, kind, code, rest, ip("127.0.0.1", OWN, UDP, udp("127.0.0.1", OWN, (port, tag)))))])
    for dst in (GATEWAY6, HOST6, "::1"):
        for kind in (1, 2, 3, 4, 130, 137, 139):
            attempt(f"ICMPv6 {kind} to {dst}", NOTHING, lambda tag: [packet(OWN6, dst, ICMP6, icmp(
                OWN6, dst, kind, 0, 68, ip("::1", OWN6, UDP, udp("::1", OWN6, (port, tag)))), hops=255)])


# ---- segments ----

def try_segments():
    """Data without a connection: nothing but a reset, and that only where the address is somebody's"""
    for dst in ("127.0.0.1", "0.0.0.0", "::1") + ((GATEWAY, GATEWAY6) if loopback == "disabled" else ()):
        want = RESET if dst in (GATEWAY, GATEWAY6) else NOTHING
        src = own_for(dst)
        for flags in (ACK, ACK | PSH, FIN | ACK, SYN | ACK, SYN | FIN, 0, 0x3F):
            reply = NOTHING if flags & RST else want
            attempt(f"flags {flags:#x} to {dst}", reply, lambda tag: [
                packet(src, dst, TCP, tcp(src, dst, (tag, port), flags, 1000, 1, b"data"))])
        attempt(f"data in a SYN to {dst}", want, lambda tag: [
            packet(src, dst, TCP, tcp(src, dst, (tag, port), SYN, data=b"data"))])
        attempt(f"a reset to {dst}", NOTHING, lambda tag: [
            packet(src, dst, TCP, tcp(src, dst, (tag, port), RST))])


def try_dns_protocol():
    """What is no query goes to no name server."""
    for dst in (DNS, DNS6):
        for data in (b"", b"x", b"x" * 11, b"\0\1\x80\0" + b"\0" * 8):
            attempt(f"{len(data)} bytes to the DNS address", NOTHING, lambda tag: [
                packet(own_for(dst), dst, UDP, udp(own_for(dst), dst, (tag, 53), data))])


for group in (try_addresses, try_link_local, try_sources, try_headers, try_other_macs, try_fragments, try_neighbours,
              try_icmp_errors, try_segments, try_dns_protocol):
    group()
collect()
for tag, (name, expect) in expected.items():
    answer = " and ".join(sorted(got.get(tag, {NOTHING})))
    if answer != expect:
        print(f"{name}: {answer} instead of {expect}")
print("done")
