# SPDX-License-Identifier: Apache-2.0
"""Raw frames on the interface tap0 of --net=builtin, for root inside.

Functions build Ethernet frames, IPv4 and IPv6 packets with any header field, and TCP, UDP and ICMP messages. A
Link sends them, and says what comes back.
"""
import ipaddress
import socket
import struct
import time

TCP, UDP, ICMP, ICMP6, FRAGMENT = 6, 17, 1, 58, 44
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
IPV4, ARP, IPV6, VLAN = 0x0800, 0x0806, 0x86DD, 0x8100
EVERYBODY = b"\xff" * 6


def packed(address):
    return ipaddress.ip_address(address).packed


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# ---- building ----

def ip(src, dst, proto, payload, options=b"", ident=1, fragment=0, hops=64):
    """An IP packet. `fragment` is the word with DF, MF and the offset of an IPv4 packet."""
    src, dst = packed(src), packed(dst)
    if len(src) == 16:
        return struct.pack("!IHBB", 6 << 28, len(payload), proto, hops) + src + dst + payload
    options += b"\0" * (-len(options) % 4)
    head_len = 20 + len(options)
    head = struct.pack("!BBHHHBBH", 0x40 | head_len // 4, 0, head_len + len(payload), ident, fragment, hops,
                       proto, 0) + src + dst + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def summed(src, dst, proto, message, at):
    """The message with its checksum, which belongs `at` this offset."""
    pseudo = packed(src) + packed(dst) + struct.pack("!II", len(message), proto)
    value = checksum((b"" if proto == ICMP else pseudo) + message)
    return message[:at] + struct.pack("!H", value) + message[at + 2:]


def tcp(src, dst, ports, flags=SYN, seq=1000, ack=0, data=b""):
    head = struct.pack("!HHIIBBHHH", *ports, seq, ack, 5 << 4, flags, 65535, 0, 0)
    return summed(src, dst, TCP, head + data, 16)


def udp(src, dst, ports, data=b"x"):
    return summed(src, dst, UDP, struct.pack("!HHHH", *ports, 8 + len(data), 0) + data, 6)


def icmp(src, dst, kind, code=0, rest=0, data=b""):
    """An ICMP message of the family of `dst`."""
    proto = ICMP6 if ":" in dst else ICMP
    return summed(src, dst, proto, struct.pack("!BBHI", kind, code, 0, rest) + data, 2)


def ping(src, dst, ident):
    return icmp(src, dst, 128 if ":" in dst else 8, 0, ident << 16 | 1)


def ether(dst, src, payload, kind=None):
    if kind is None:
        kind = IPV4 if payload[0] >> 4 == 4 else IPV6
    return dst + src + struct.pack("!H", kind) + payload


def arp(operation, src, dst):
    """`src` and `dst` are pairs: MAC and IPv4 address."""
    return struct.pack("!HHBBH", 1, IPV4, 6, 4, operation) + src[0] + packed(src[1]) + dst[0] + packed(dst[1])


# ---- reading ----

def ports_of(payload):
    return struct.unpack("!HH", payload[:4])


def split_ip(packet):
    """Protocol and payload of a packet without options and fragments."""
    if packet[0] >> 4 == 4:
        return packet[9], packet[(packet[0] & 15) * 4:]
    return packet[6], packet[40:]


def describe_tcp(payload):
    flags = payload[13]
    word = "reset" if flags & RST else "open" if flags & SYN else "segment"
    return ports_of(payload)[1], word


def describe_icmp(proto, payload):
    kind, code = payload[0], payload[1]
    if kind in ((0,) if proto == ICMP else (129,)):
        return ports_of(payload[4:])[0], "echo"
    if kind not in ((3, 5, 11, 12) if proto == ICMP else (1, 2, 3, 4)):
        return None, None
    inner_proto, inner = split_ip(payload[8:])
    source = ports_of(inner[4:])[0] if inner_proto in (ICMP, ICMP6) else ports_of(inner)[0]
    return source, f"error {kind}/{code}"


def describe(frame):
    """The port of the inside that an answer is for, or the identifier of an echo; and what it is."""
    if frame[12:14] not in (struct.pack("!H", IPV4), struct.pack("!H", IPV6)):
        return None, None
    proto, payload = split_ip(frame[14:])
    if proto == TCP:
        return describe_tcp(payload)
    if proto == UDP:
        return ports_of(payload)[1], "answer"
    if proto in (ICMP, ICMP6):
        return describe_icmp(proto, payload)
    return None, None


class Link:
    """tap0. The router is known by its answer to an ARP request for `gateway`."""

    def __init__(self, gateway, own):
        self.gateway, self.own, self.barriers = gateway, own, 0
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind(("tap0", 0))
        self.socket.settimeout(20)
        self.mac = self.socket.getsockname()[4]
        self.router = self.ask_arp(gateway)

    def send(self, frame):
        self.socket.send(frame)

    def receive(self):
        """The next frame that the router has sent."""
        while True:
            frame, address = self.socket.recvfrom(70000)
            if address[2] != socket.PACKET_OUTGOING:
                return frame

    def frame(self, packet, kind=None):
        return ether(self.router, self.mac, packet, kind)

    def ask_arp(self, address):
        """The MAC address of an address."""
        self.send(ether(EVERYBODY, self.mac, arp(1, (self.mac, self.own), (b"\0" * 6, address)), ARP))
        while True:
            frame = self.receive()
            if frame[12:14] == struct.pack("!H", ARP) and frame[20:22] == b"\0\2" and \
                    frame[28:32] == packed(address):
                return frame[22:28]

    def answers(self):
        """Pings the gateway, and returns what has come until the reply, as describe() does. A launcher with
        one worker handles frames in their order, so all that it answers at once has come then."""
        self.barriers += 1
        barrier = 60000 + self.barriers % 5000
        self.send(self.frame(ip(self.own, self.gateway, ICMP, ping(self.own, self.gateway, barrier))))
        found = []
        while True:
            port, what = describe(self.receive())
            if port == barrier:
                return found
            if port is not None:
                found.append((port, what))

    def answer_for(self, port, seconds=20):
        """Waits for an answer, and says what it is."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found, what = describe(self.receive())
            if found == port:
                return what
        return "nothing"
