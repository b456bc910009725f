# SPDX-License-Identifier: Apache-2.0
"""A client of .bp.sock, over which the launcher asks its child for sockets (ports/portservice.h).

Each connection carries one request. ROOTLESSKIT_STATE_DIR names the state directory, as it does for
rootlessctl.
"""
import json
import os
import socket
import struct
import time

FDS_MAX = 253  # SCM_MAX_FD: the most that a message can carry

# Asks for a connection to port 80 inside.
CONNECT = {"Type": "connect", "Proto": "tcp", "IP": "", "Port": 80, "ParentIP": "",
           "HostGatewayIP": ""}


def open_socket():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(30)
    s.connect(os.environ["ROOTLESSKIT_STATE_DIR"] + "/.bp.sock")
    return s


def frame(body):
    """A length of 4 bytes, and a body: bytes, or an object for JSON."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return struct.pack("<I", len(body)) + body


def send(body, end=True):
    """Sends a request on a new connection, and returns that. end: with a half-close."""
    s = open_socket()
    s.sendall(frame(body))
    if end:
        s.shutdown(socket.SHUT_WR)
    return s


def read_rest(s):
    """All bytes up to the end, which may be a reset."""
    data = b""
    while True:
        try:
            piece = s.recv(65536)
        except ConnectionResetError:
            return data
        if not piece:
            return data
        data += piece


def receive(s):
    """The whole answer: its bytes, and its descriptors, which come with the first bytes."""
    data, fds, flags, _ = socket.recv_fds(s, 65536, FDS_MAX)
    assert not flags & socket.MSG_CTRUNC
    return data + read_rest(s), fds


def parse(data):
    """The object of the one frame in `data`."""
    (length,) = struct.unpack("<I", data[:4])
    assert len(data) == 4 + length, data
    return json.loads(data[4:])


def ask(body):
    """Sends a request, and returns the answer, which must come without a descriptor."""
    return parse(read_rest(send(body)))


def error(**more):
    """The error in the answer to a request for a connection."""
    return ask(dict(CONNECT, **more))["Error"]


def dial(**more):
    """The socket that a request for a connection is answered with. Asks again while the connection
    is refused, until the server inside listens."""
    for _ in range(500):
        data, fds = receive(send(dict(CONNECT, **more)))
        if fds:
            assert len(fds) == 1 and len(data) == 1, (data, fds)
            s = socket.socket(fileno=fds[0])
            s.settimeout(30)
            return s
        assert "connection refused" in parse(data)["Error"], data
        time.sleep(0.02)
    raise AssertionError("nothing listens inside")


def sockets(proto, count):
    """Asks for sockets that are not connected: the answer's bytes, and the sockets."""
    data, fds = receive(send({"Type": "sockets", "Proto": proto, "Count": count}, end=False))
    return data, [socket.socket(fileno=fd) for fd in fds]


def netns_inside(child):
    """The inode number of the network namespace that the sockets belong to."""
    detached = f"/proc/{child}/root" + os.environ["ROOTLESSKIT_STATE_DIR"] + "/netns"
    return os.stat(detached if os.path.exists(detached) else f"/proc/{child}/ns/net").st_ino
