# SPDX-License-Identifier: Apache-2.0
"""A DHCP server for one client at a time, which can misbehave: dhcpd.py INTERFACE HOST BEHAVIOUR.

HOST is the server's address, such as 10.0.4.1; it offers the address that ends in .10. It prints a line
for each message that it gets, "DISCOVER", "REQUEST" or "RELEASE", and how it came: "broadcast" or "unicast".

  good       a server that does nothing wrong; its leases are long
  brief      leases of 4 seconds, T1 after 1
  refusing   answers the first request with NAK
  hostile    sends all kinds of broken messages before each good one
  leaving    a lease of 4 seconds, and no answer to requests that would renew it. It ignores the next DISCOVER;
             then it gives another address
"""
import random
import select
import socket
import struct
import sys

SERVER, CLIENT = 67, 68
DISCOVER, OFFER, REQUEST, ACK, NAK, RELEASE = 1, 2, 3, 5, 6, 7
NAMES = {DISCOVER: "DISCOVER", REQUEST: "REQUEST", RELEASE: "RELEASE"}
COOKIE = b"\x63\x82\x53\x63"
ROUTER_AND_DNS = 3, 6
REPLY_FORMAT = "!4B4sHH4s4s4s4s16s64s128s4s"


def option(code, value):
    return bytes([code, len(value)]) + value


def options_of(message):
    """The options of a client's message, by their codes."""
    found, rest = {}, message[240:]
    while rest and rest[0] != 255:
        found[rest[0]] = rest[2 : 2 + rest[1]]
        rest = rest[2 + rest[1] :]
    return found


class Server:
    def __init__(self, interface, host, behaviour):
        self.host = socket.inet_aton(host)
        self.behaviour = behaviour
        self.last = 10  # the last byte of the address that it gives
        self.requests = 0
        self.ignored = 0
        # Two sockets, because a unicast message and a broadcast look the same on one.
        self.sockets = {"unicast": self.bind(interface, host), "broadcast": self.bind(interface, "255.255.255.255")}

    @staticmethod
    def bind(interface, host):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
        s.bind((host, SERVER))
        return s

    def usual_options(self):
        lease = {"brief": 4, "leaving": 4}.get(self.behaviour, 3600)
        text = option(1, b"\xff\xff\xff\x00") + option(51, struct.pack("!I", lease)) + option(54, self.host)
        if self.behaviour == "brief":
            text += option(58, struct.pack("!I", 1)) + option(59, struct.pack("!I", 3))
        return text + b"".join(option(code, self.host) for code in ROUTER_AND_DNS)

    def reply(self, request, kind, options=None, xid=None, last=None):
        address = b"\0" * 4 if kind == NAK else self.host[:3] + bytes([last or self.last])
        if options is None:
            options = option(54, self.host) if kind == NAK else self.usual_options()
        head = struct.pack(REPLY_FORMAT, 2, 1, 6, 0, xid or request[4:8], 0, 0, b"\0" * 4, address, b"\0" * 4,
                           b"\0" * 4, request[28:44], b"", b"", COOKIE)
        return head + option(53, bytes([kind])) + options + b"\xff"

    def send(self, request, message):
        """To the client's address, if it has one, else to all."""
        has_address = request[12:16] != b"\0" * 4
        to = socket.inet_ntoa(request[12:16]) if has_address else "255.255.255.255"
        self.sockets["unicast"].sendto(message, (to, CLIENT))

    def broken(self, request, kind):
        """Messages that a client must ignore. Some have an address that no client should take."""
        usual = self.usual_options()
        yield b""
        yield random.randbytes(300)
        yield self.reply(request, kind)[:239]
        yield self.reply(request, kind)[:200]
        yield self.reply(request, kind, xid=b"\0\0\0\1", last=66)
        yield self.reply(request, kind, usual + option(51, b"\0\0\0\1"), last=66)
        yield self.reply(request, kind, usual + b"\x0c\xff$(reboot)", last=66)
        yield self.reply(request, kind, usual + b"\x06\x03\x09\x09\x09", last=66)
        yield self.reply(request, kind, usual, last=255)
        yield self.reply(request, 4, usual, last=66)
        yield self.reply(request, NAK, option(54, b"\x0a\x63\x63\x63") + option(56, b"`reboot`; \x1b[2J"))

    def answer(self, request, kind):
        if self.behaviour == "hostile":
            for message in self.broken(request, kind):
                self.send(request, message)
            # more DNS servers than fit, and names that a shell would run
            names = option(12, b"$(reboot)") + option(15, b"`reboot`\nnameserver 6.6.6.6")
            self.send(request, self.reply(request, kind, self.usual_options() + names + option(6, self.host * 60)))
        else:
            self.send(request, self.reply(request, kind))

    def on_request(self, request):
        self.requests += 1
        renews = request[12:16] != b"\0" * 4
        if self.behaviour == "refusing" and self.requests == 1:
            self.send(request, self.reply(request, NAK))
        elif self.behaviour == "leaving" and renews:
            self.last = 11
        else:
            self.answer(request, ACK)

    def on_message(self, request, how):
        kind = options_of(request).get(53, b"\0")[0]
        print(NAMES.get(kind, kind), how, flush=True)
        if kind == DISCOVER and self.last == 11 and not self.ignored:
            self.ignored += 1
        elif kind == DISCOVER:
            self.answer(request, OFFER)
        elif kind == REQUEST:
            self.on_request(request)

    def serve(self):
        while True:
            for s in select.select(list(self.sockets.values()), [], [])[0]:
                how = "unicast" if s is self.sockets["unicast"] else "broadcast"
                self.on_message(s.recv(2048), how)


Server(*sys.argv[1:]).serve()
