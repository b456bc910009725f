# SPDX-License-Identifier: Apache-2.0
"""UDP clients. A port may be text, as in sys.argv. All sockets have a timeout."""
import socket


def unconnected(family=socket.AF_INET, timeout=10):
    """A socket that may send to several addresses, and receives from any."""
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(timeout)
    return s


def client(port, host="127.0.0.1", timeout=10):
    """A connected socket: it receives only what comes from host:port. ConnectionRefusedError if
    nothing listens there."""
    family, _, _, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)[0]
    s = unconnected(family, timeout)
    s.connect(address)
    return s


def ask(s, data=b"hi"):
    """Sends a datagram and returns the next one that arrives."""
    s.send(data)
    return s.recv(65536)


def inside_port(s):
    """The port that a client has inside, as told by `echo.py --tell`. It belongs to the flow: a
    different port means a new flow."""
    return int(ask(s).split(b" ", 2)[1])
