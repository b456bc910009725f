#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""idle.py PORT: opens connections to 127.0.0.1:PORT and holds them.

Each line on standard input is how many there shall be; each is asked for one page, and its answer is
read, so that it is known to go all the way. The answer to each line is how many there are and, after a
blank, why not more. All are closed at the end of the input.
"""
import resource
import socket
import sys

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
TIMEOUT_S = 3


def open_one(port):
    s = socket.socket()
    s.settimeout(TIMEOUT_S)
    try:
        s.connect(("127.0.0.1", port))
        s.sendall(REQUEST)
        if not s.recv(4096).startswith(b"HTTP/1.1 200"):
            raise OSError("no answer")
        return s
    except OSError:
        s.close()
        raise


def main():
    port = int(sys.argv[1])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held = []
    for line in sys.stdin:
        reason = ""
        try:
            while len(held) < int(line):
                held.append(open_one(port))
        except OSError as e:
            reason = e.strerror or str(e)
        print(len(held), reason, flush=True)


main()
