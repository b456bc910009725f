# SPDX-License-Identifier: Apache-2.0
"""TCP clients. A port may be text, as in sys.argv. All sockets have a timeout."""
import socket
import struct

from waiting import wait_until


def connect(port, host="127.0.0.1", source=None, timeout=30):
    """A connection to host:port; `source` is an (address, port) to connect from, which may be the source
    of another connection as well."""
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    s.settimeout(timeout)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if source:
        s.bind(source)
    s.connect((host, int(port)))
    return s


def is_open(port, host="127.0.0.1"):
    """False if connections to the port are refused. A listener that is closed while the connection is in
    its queue resets the connection: then the port was open."""
    try:
        connect(port, host).close()
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:
        pass
    return True


def count_queued(port):
    """How many connections to a port of 127.0.0.1 wait to be accepted."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file][1:]
    local = f"0100007F:{int(port):04X}"
    return sum(int(row[4].split(":")[1], 16) for row in rows if row[1] == local and row[3] == "0A")


def read_exactly(s, count):
    """EOFError if the stream ends before that."""
    data = b""
    while len(data) < count:
        piece = s.recv(count - len(data))
        if not piece:
            raise EOFError(f"the stream ended after {len(data)} of {count} bytes")
        data += piece
    return data


def read_all(s):
    """Everything up to the end of the stream."""
    pieces = []
    while piece := s.recv(1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def echo(s, data=b"x"):
    """Sends data to an echo server and checks that the same data comes back."""
    s.sendall(data)
    got = read_exactly(s, len(data))
    assert got == data, f"sent {data[:100]!r}, got {got[:100]!r}"


def connect_until(port, use, seconds=30):
    """A connection with which use(s) has succeeded. While the server inside is not listening yet,
    the launcher accepts connections and resets them; so this tries again if use(s) raises
    ConnectionResetError or EOFError."""
    def try_once():
        s = connect(port)
        try:
            use(s)
            return s
        except (ConnectionResetError, EOFError):
            s.close()
            return None
    return wait_until(try_once, f"an answer on port {port}", seconds)


def connect_to_echo(port, seconds=30):
    """A connection to an echo server, once that answers."""
    return connect_until(port, echo, seconds)


def expect_reset(s):
    """The next thing that arrives must be a reset, neither data nor the end of the stream."""
    try:
        got = s.recv(100)
    except ConnectionResetError:
        return
    raise AssertionError(f"got {got!r} instead of a reset" if got else "a clean end, not a reset")


def expect_end(s):
    """The stream must end without more data, cleanly or with a reset."""
    try:
        got = s.recv(100)
    except ConnectionResetError:
        return
    assert got == b"", f"got {got!r} instead of the end"


def check_options(s):
    """The launcher sets these options of all its TCP sockets."""
    for level, name, value in [(socket.IPPROTO_TCP, "TCP_NODELAY", 1),
                               (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
                               (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 15),
                               (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 15)]:
        got = s.getsockopt(level, getattr(socket, name))
        assert got == value, f"{name} is {got}, not {value}, on {s}"


def reset(s):
    """Closes the connection with a reset."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
