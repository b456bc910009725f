# SPDX-License-Identifier: Apache-2.0
"""What is measured: the peers, each started with the same two servers inside.

    client ---> 127.0.0.1:PORT of the host ---> proxy ---> 127.0.0.1:PORT inside ---> server

Inside are nginx (HTTP, one process, a fixed small answer, no log) and iperf3. "direct" is the same
two servers on the host itself.
"""
import os
import random
import resource
import shutil
import socket
import subprocess
import tempfile
import time

import procs
from procs import Failure

READY_S = 15
NGINX = "/var/cache/rlkbox-tests/nginx/usr/sbin/nginx"
FULL = ["--net=slirp4netns", "--mtu=65520", "--slirp4netns-sandbox=auto", "--slirp4netns-seccomp=auto",
        "--disable-host-loopback", "--port-driver=builtin", "--copy-up=/etc", "--copy-up=/run",
        "--copy-up=/var/lib", "--propagation=rslave"]
NONE = ["--net=none", "--port-driver=builtin"]
SLIRP = ["--net=slirp4netns", "--mtu=65520", "--disable-host-loopback", "--port-driver=builtin",
         "--copy-up=/etc"]
PASTA = ["--net=pasta", "--port-driver=implicit", "--copy-up=/etc"]

ROOTLESSKITS = ("rootlesskit", "rootlesskit-3")  # kinds of peers: Debian's 1.1.0, and 3.3.0

NGINX_CONF = """
daemon off;
master_process off;
user root root;
pid {dir}/nginx.pid;
error_log {dir}/nginx.log crit;
worker_rlimit_nofile {files};
events {{ worker_connections {files}; multi_accept on; }}
http {{
	access_log off;
	keepalive_timeout 3600s;
	keepalive_requests 1000000000;
	reset_timedout_connection off;
	client_body_temp_path {dir}/t1;
	proxy_temp_path {dir}/t2;
	fastcgi_temp_path {dir}/t3;
	uwsgi_temp_path {dir}/t4;
	scgi_temp_path {dir}/t5;
	server {{
		listen 127.0.0.1:{port} backlog=4096;
		location / {{ return 200 "hello from inside\\n"; }}
	}}
}}
"""


def has_tun():
    return os.access("/dev/net/tun", os.R_OK | os.W_OK) and shutil.which("slirp4netns") is not None


def is_listening(port):
    """Does a process listen on this TCP port, on any address?"""
    lines = []
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(path):
            with open(path, encoding="ascii") as f:
                lines += list(f)[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines)


def free_port():
    """A port below the kernel's range for clients, and below the range of the row `ports`."""
    while True:
        port = random.randrange(10000, 30000)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("0.0.0.0", port))
                udp.bind(("0.0.0.0", port))
                return port
            except OSError:
                pass


def nginx_binary():
    found = shutil.which("nginx") or NGINX
    if not os.access(found, os.X_OK):
        raise Failure("no nginx (tests/deps.sh bench unpacks it)")
    return found


def ask(port, timeout=2):
    """Makes one request on a new connection. Is the answer right?"""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as s:
            s.settimeout(timeout)
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return s.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


class Peer:
    """A way to publish ports. `binary`: the first words of its command. `kind`: how to run it."""

    def __init__(self, name, kind, binary=None):
        self.name, self.kind, self.binary = name, kind, binary or []

    def problem(self):
        """Why this peer cannot be measured here, or None."""
        if self.kind == "direct":
            return None
        if not os.access(self.binary[0], os.X_OK):
            return f"{self.binary[0]} does not exist"
        if self.kind in ROOTLESSKITS and not has_tun():
            return "it needs slirp4netns and /dev/net/tun"
        if self.kind == "pasta" and not shutil.which("pasta"):
            return "pasta is not installed"
        if self.kind == "pasta" and not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            return "it needs /dev/net/tun"
        return None

    def network(self):
        if self.kind == "pasta":
            return PASTA
        return SLIRP if has_tun() else NONE

    @property
    def is_proxy(self):
        return self.kind != "direct"

    @property
    def has_api(self):
        return self.kind == "rlkbox" or self.kind in ROOTLESSKITS

    @property
    def is_recent(self):
        """Does it have --net=none with the builtin driver, and --detach-netns?"""
        return self.kind in ("rlkbox", "rootlesskit-3")


class Instance:
    """A running peer. `http` and `iperf` are its ports. close() ends it and its servers.

    standalone: pasta runs without a launcher."""

    def __init__(self, peer, command=None, options=None, standalone=False):
        self.peer, self.standalone = peer, standalone
        self.dir = tempfile.mkdtemp(prefix="peer.", dir=os.environ.get("TMPDIR"))
        self.started = []
        self.child = None
        try:
            self.http, self.iperf = free_port(), free_port()
            if peer.kind == "direct":
                self._start_servers()
            elif standalone:
                self._start_pasta()
            elif command is None:
                self._start_launcher(options or peer.network(), ["--pidns"] + self._publish(),
                                     ["sh", "-c", self._server_script()])
            else:
                self._start_launcher(options or peer.network(), [], command)
            if command is None:
                self._wait_for_servers()
        except BaseException:
            self.close()
            raise

    def close(self):
        # Servers below a launcher are in its PID namespace and end with it. Servers below a
        # standalone pasta do not.
        below = procs.descendants(self.pid) if self.standalone and self.started else []
        for process in reversed(self.started):
            procs.end(process)
        procs.kill(below)
        self.started = []
        shutil.rmtree(self.dir, ignore_errors=True)

    def is_alive(self):
        return all(p.poll() is None for p in self.started) and ask(self.http)

    @property
    def pid(self):
        return self.started[0].pid

    def proxies(self):
        """The PIDs whose CPU time is the proxy's."""
        if self.peer.kind == "direct":
            return []
        if self.peer.kind == "pasta":
            return self.pastas()
        return [self.pid, self.child]

    def pastas(self):
        if self.standalone:
            return [self.pid]
        found = [p for p in procs.descendants(self.pid) if procs.name_of(p).startswith(("pasta", "passt"))]
        if not found:
            raise Failure("there is no process of pasta")
        return found

    def forwarder(self):
        """The process that holds the connections."""
        return self.pastas()[0] if self.peer.kind == "pasta" else self.pid

    # ---- starting ----

    def _publish(self):
        if self.peer.kind == "pasta":
            return []
        return ["-p", f"127.0.0.1:{self.http}:{self.http}/tcp",
                "-p", f"127.0.0.1:{self.iperf}:{self.iperf}/tcp",
                "-p", f"127.0.0.1:{self.iperf}:{self.iperf}/udp"]

    def _nginx(self):
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        files = 65536 if files == resource.RLIM_INFINITY else min(files, 65536)
        conf = os.path.join(self.dir, "nginx.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write(NGINX_CONF.format(dir=self.dir, port=self.http, files=files))
        return [nginx_binary(), "-e", os.path.join(self.dir, "nginx.log"), "-p", self.dir, "-c", conf]

    def _iperf(self):
        return ["iperf3", "-s", "-B", "127.0.0.1", "-p", str(self.iperf)]

    def _server_script(self):
        return " ".join(self._nginx()) + " & exec " + " ".join(self._iperf())

    def _start_servers(self):
        self.started.append(procs.spawn(self._nginx(), cwd=self.dir))
        self.started.append(procs.spawn(self._iperf(), cwd=self.dir))

    def _start_pasta(self):
        """Starts a standalone pasta with the ports named: older ones look for UDP ports only at the start."""
        command = ["pasta", "--quiet", "--config-net", "-t", f"{self.http},{self.iperf}", "-u", str(self.iperf)]
        known = subprocess.run(["pasta", "--help"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, timeout=10, check=False).stdout
        if b"--host-lo-to-ns-lo" in known:  # older ones always do that
            command.append("--host-lo-to-ns-lo")
        self.started.append(procs.spawn(command + ["--", "sh", "-c", self._server_script()], cwd=self.dir))

    def _start_launcher(self, network, more, command):
        state = os.path.join(self.dir, "state")
        log = os.path.join(self.dir, "log")
        with open(log, "wb") as err:
            self.started.append(procs.spawn(
                self.peer.binary + ["--state-dir", state] + network + more + command, stderr=err))
        self.api = os.path.join(state, "api.sock")
        deadline = time.monotonic() + READY_S
        while not self.child:
            try:
                with open(os.path.join(state, "child_pid"), encoding="ascii") as f:
                    self.child = int(f.read() or 0)
            except OSError:
                pass
            if self.started[0].poll() is not None or time.monotonic() > deadline:
                with open(log, encoding="utf-8", errors="replace") as f:
                    lines = f.read().strip().splitlines()
                raise Failure(f"the launcher does not start: {lines[-1] if lines else 'without a reason'}")
            time.sleep(0.01)

    def _wait_for_servers(self):
        deadline = time.monotonic() + READY_S
        while not (ask(self.http) and is_listening(self.iperf)):
            if time.monotonic() > deadline:
                raise Failure("the servers inside do not answer")
            time.sleep(0.02)
        time.sleep(0.1)  # the published port may listen before iperf3 inside does
