# SPDX-License-Identifier: Apache-2.0
"""Podman's side of rootlessport, for tests. They run as root of a user namespace that also owns the
network namespaces: `unshare -Urn python3 ...`. The network namespace of the test stands for the host's.

    with Container() as c:             a network namespace with the addresses of Container.IPS
        rp = Rootlessport(c, [tcp(8080, 80)])
        rp.await_ready()
        rp.exit()                      the container has stopped
        assert rp.end() == (0, "")

    with published() as (c, rp, web):  the same, with a web server
        check_tcp(8080, web)
"""
import contextlib
import ctypes
import json
import os
import select
import socket
import subprocess
import threading

from tcp import is_open

PROGRAM = os.environ.get("ROOTLESSPORT", "rootlessport")
ID = "0123456789abcdef" * 4
TMP = os.environ["TMPDIR"]
HOST = "192.0.2.1"  # the fake host's address
HOST6 = "2001:db8::1"
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
# Nothing else gets these numbers, which a child process replaces.
for number in 3, 4:
    os.dup2(os.open("/dev/null", os.O_RDWR), number)


def mapping(host, container, protocol="tcp", ip="", count=1):
    return {"host_ip": ip, "container_port": container, "host_port": host, "range": count,
            "protocol": protocol}


def tcp(host, container, **more):
    return mapping(host, container, "tcp", **more)


def udp(host, container, **more):
    return mapping(host, container, "udp", **more)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def make_host():
    """Gives the fake host its addresses."""
    ip("link", "set", "lo", "up")
    ip("addr", "add", HOST + "/32", "dev", "lo")
    with contextlib.suppress(subprocess.CalledProcessError):
        ip("addr", "add", HOST6 + "/128", "dev", "lo")


class Container:
    """A network namespace with a process in it. A veth pair shows when the namespace is gone: the
    host's end disappears with it. The container answers on all IPS. Without a link it has neither."""
    IPS = ["10.89.0.2", "10.89.0.3", "fd00::2"]
    count = 0

    def __init__(self, link=True):
        Container.count += 1
        self.veth = f"veth{Container.count}"
        self.process = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 600"],
                                        stdout=subprocess.PIPE)
        self.process.stdout.readline()
        self.netns = f"/proc/{self.process.pid}/ns/net"
        if link:
            self.link()

    def link(self):
        ip("link", "add", self.veth, "type", "veth", "peer", "name", "eth0", "netns",
           str(self.process.pid))
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "link", "set", "eth0", "up")
        for address in self.IPS:
            flags = ["nodad"] if ":" in address else []
            with contextlib.suppress(subprocess.CalledProcessError):
                self.run("ip", "addr", "add", address, "dev", "eth0", *flags)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def run(self, *words):
        subprocess.run(["nsenter", f"--net={self.netns}", *words], check=True)

    def within(self, make):
        """Calls make() in the container's network namespace, and returns its result: a socket."""
        result = []

        def enter():
            enter_netns(self.netns)
            result.append(make())
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        return result[0]

    def tcp_server(self, port, address="", family=socket.AF_INET):
        return self.within(lambda: socket.create_server((address, port), family=family,
                                                        backlog=4096))

    def udp_server(self, port, address="0.0.0.0"):
        def make():
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind((address, port))
            s.settimeout(10)
            return s
        return self.within(make)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def netns_is_gone(self):
        return subprocess.run(["ip", "link", "show", self.veth], check=False,
                              capture_output=True).returncode != 0


def enter_netns(path):
    """Moves the calling thread."""
    with open(path, "rb") as f:
        if LIBC.setns(f.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


class Rootlessport:
    """A running rootlessport. `config` replaces members of the configuration; None removes one."""

    def __init__(self, container, mappings, stdin=None, args=(), pass_fds=(3, 4), close_stdin=False,
                 **config):
        self.config = {"Mappings": mappings, "NetNSPath": container.netns if container else "",
                       "ExitFD": 3, "ReadyFD": 4, "TmpDir": TMP + "/libpod", "ChildIP": "10.89.0.2",
                       "ContainerID": ID, "RootlessCNI": True}
        self.config.update(config)
        self.config = {k: v for k, v in self.config.items() if v is not None}
        self.socket = f"{self.config.get('TmpDir')}/rp/{self.config.get('ContainerID')}"
        exit_r, self.exit_w = os.pipe()
        self.ready_r, ready_w = os.pipe()

        def place():
            os.dup2(exit_r, 3)
            os.dup2(ready_w, 4)
            if close_stdin:
                os.close(0)
        self.process = subprocess.Popen([PROGRAM, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, preexec_fn=place, pass_fds=pass_fds)
        os.close(exit_r)
        os.close(ready_w)
        self.pid = self.process.pid
        text = json.dumps(self.config) if stdin is None else stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(text.encode())
            self.process.stdin.close()

    def read_ready(self, seconds=20):
        """What arrives on the ready pipe until its end, or None after a time-out."""
        if not select.select([self.ready_r], [], [], seconds)[0]:
            return None
        return os.read(self.ready_r, 16)

    def await_ready(self):
        got = self.read_ready()
        assert got == b"1", (got, self.end())
        assert os.read(self.ready_r, 16) == b"", "ReadyFD is not closed"
        return self

    def exit(self):
        os.close(self.exit_w)
        self.exit_w = -1

    def end(self, seconds=20):
        """Waits for the end. Returns the status and standard output."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        out = self.process.stdout.read().decode()
        self.error = self.process.stderr.read().decode()
        for fd in (self.process.stdout, self.process.stderr):
            fd.close()
        os.close(self.ready_r)
        if self.exit_w >= 0:
            self.exit()
        return self.process.returncode, out

    def finish(self):
        """The container has stopped: rootlessport ends, and leaves nothing."""
        self.exit()
        result = self.end()
        assert result == (0, ""), result
        self.check_nothing_left()

    def files(self):
        try:
            return sorted(os.listdir(os.path.dirname(self.socket)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def check_nothing_left(self, files=()):
        assert self.files() == list(files), self.files()

    def connect_reload(self):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(20)
        directory = os.open(os.path.dirname(self.socket), os.O_PATH)
        s.connect(f"/proc/self/fd/{directory}/{os.path.basename(self.socket)}")
        os.close(directory)
        return s

    def reload(self, text):
        """Sends a packet, and returns the answer."""
        with self.connect_reload() as s:
            s.send(text.encode())
            answer = s.recv(4096).decode()
            assert s.recv(4096) == b""
            return answer

    def retarget(self, address):
        answer = self.reload(json.dumps(address) + "\n")
        assert answer == "OK", answer


@contextlib.contextmanager
def published(mappings=None, address="", **config):
    """A container with a web server, and a rootlessport that publishes it. `mappings`: by default the host's
    port 8080 leads to port 80. `address`: the server's, by default all. `config`: as for Rootlessport. Yields
    the container, the rootlessport and the server. After the block the container stops, and nothing is left."""
    with Container() as c:
        web = c.tcp_server(80, address)
        rp = Rootlessport(c, [tcp(8080, 80)] if mappings is None else mappings, **config).await_ready()
        yield c, rp, web
        rp.finish()


def connect(port, address="127.0.0.1", **more):
    s = socket.create_connection((address, port), timeout=20, **more)
    return s


def accept_talking(server):
    """Accepts connections until one of them says something; others have ended. Returns the connection,
    the peer's address, and what it said."""
    while True:
        inside, seen = server.accept()
        inside.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            said = inside.recv(100)
            if said:
                return inside, seen, said
        inside.close()


def talk(client, server):
    """Sends a line each way through a connection that the server accepts. Returns its two ends and the
    address that the server sees."""
    server.settimeout(20)
    client.sendall(b"question\n")
    inside, seen, said = accept_talking(server)
    assert said == b"question\n"
    inside.sendall(b"answer\n")
    assert client.recv(100) == b"answer\n"
    return client, inside, seen


def check_tcp(port, server, address="127.0.0.1"):
    client, inside, seen = talk(connect(port, address), server)
    client.close()
    inside.close()
    return seen


def check_udp(port, server, address="127.0.0.1"):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(10)
        s.connect((address, port))
        s.send(b"question")
        data, client = server.recvfrom(100)
        assert data == b"question"
        server.sendto(b"answer", client)
        assert s.recv(100) == b"answer"


def is_refused(port, address="127.0.0.1"):
    return not is_open(port, address)


def await_closed(s):
    """Waits until the peer has closed or reset the connection."""
    with contextlib.suppress(ConnectionResetError):
        assert s.recv(1) == b""
    s.close()
