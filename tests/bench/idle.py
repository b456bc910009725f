#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""idle.py PORT IP: opens connections to IP:PORT and keeps them open.

Each line of standard input is the number of connections to have. On each new connection one page is
fetched, which shows that the connection works up to the server. The answer to a line is the number of
open connections and, after a blank, why there are not more. At the end of the input all are closed.
"""
import resource
import socket
import sys

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
TIMEOUT_S = 3


def open_one(ip, port):
    s = socket.socket()
    s.settimeout(TIMEOUT_S)
    try:
        s.connect((ip, port))
        s.sendall(REQUEST)
        if not s.recv(4096).startswith(b"HTTP/1.1 200"):
            raise OSError("no answer")
        return s
    except OSError:
        s.close()
        raise


def main():
    port, ip = int(sys.argv[1]), sys.argv[2]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held = []
    for line in sys.stdin:
        reason = ""
        try:
            while len(held) < int(line):
                held.append(open_one(ip, port))
        except OSError as e:
            reason = e.strerror or str(e)
        print(len(held), reason, flush=True)


main()
