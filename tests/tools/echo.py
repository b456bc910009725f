#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Echo servers: echo.py [--ready FILE] [--tell] ADDRESS:PORT/PROTO...

PROTO is tcp or udp: 127.0.0.1:80/tcp, [::1]:53/udp. FILE is created when all ports are open; its
name is relative to the directory of the case. With --tell, a datagram of 1 to 999 bytes is answered
with "ADDRESS PORT " in front of it: the server's address, and the port that the client has here.
"""
import argparse
import selectors
import socket

import proc
import waiting


class Server:
    def __init__(self, tell):
        self.tell = tell
        self.selector = selectors.DefaultSelector()

    def open(self, spec):
        where, _, proto = spec.partition("/")
        host, _, port = where.rpartition(":")
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if proto == "tcp":
            s = socket.create_server((host, int(port)), family=family, backlog=4096)
            self.selector.register(s, selectors.EVENT_READ, self.accept)
        else:
            s = socket.socket(family, socket.SOCK_DGRAM)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            s.bind((host, int(port)))
            self.selector.register(s, selectors.EVENT_READ, self.answer_datagram)

    def accept(self, listener):
        self.selector.register(listener.accept()[0], selectors.EVENT_READ, self.answer_stream)

    def answer_stream(self, s):
        try:
            data = s.recv(65536)
            s.sendall(data)
        except OSError:
            data = b""
        if not data:
            self.selector.unregister(s)
            s.close()

    def answer_datagram(self, s):
        try:
            data, client = s.recvfrom(65536)
            if self.tell and 0 < len(data) < 1000:
                data = b"%s %d %s" % (s.getsockname()[0].encode(), client[1], data)
            s.sendto(data, client)
        except OSError:  # an ICMP error
            pass

    def run(self):
        while True:
            for key, _ in self.selector.select():
                key.data(key.fileobj)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ready")
    parser.add_argument("--tell", action="store_true")
    parser.add_argument("specs", nargs="+")
    args = parser.parse_args()
    proc.raise_fd_limit()
    server = Server(args.tell)
    for spec in args.specs:
        server.open(spec)
    if args.ready:
        waiting.make_file(args.ready)
    server.run()


if __name__ == "__main__":
    main()
