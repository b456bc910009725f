# SPDX-License-Identifier: Apache-2.0
"""What is measured: each peer, brought up with the same two servers inside.

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
    """Does anybody listen on this TCP port of any address here?"""
    lines = []
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(path):
            with open(path, encoding="ascii") as f:
                lines += list(f)[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines)


def free_port():
    """Below the range that the kernel takes for clients, and below that of the row `ports`."""
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
        raise Failure("no nginx (tests/deps.sh bench brings it)")
    return found


def ask(port, timeout=2):
    """One request on a connection of its own; is it answered as it should be?"""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as s:
            s.settimeout(timeout)
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return s.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


class Peer:
    """A way to publish ports. `binary` is the command's first words; `kind` tells how it is run."""

    def __init__(self, name, kind, binary=None):
        self.name, self.kind, self.binary = name, kind, binary or []

    def problem(self):
        """Why it cannot be measured at all here, or None."""
        if self.kind == "direct":
            return None
        if not os.access(self.binary[0], os.X_OK):
            return f"{self.binary[0]} is not there"
        if self.kind == "reference" and not has_tun():
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
        return self.kind in ("ours", "reference")


class Instance:
    """A peer that runs. `http` and `iperf` are its ports; close() ends it and all in it."""

    def __init__(self, peer, command=None, options=None, by_itself=False):
        self.peer, self.by_itself = peer, by_itself
        self.dir = tempfile.mkdtemp(prefix="peer.", dir=os.environ.get("TMPDIR"))
        self.started = []
        self.child = None
        try:
            self.http, self.iperf = free_port(), free_port()
            if peer.kind == "direct":
                self._start_servers()
            elif by_itself:
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
        # What runs below a launcher has a PID namespace of its own, and ends with it. What runs
        # below pasta by itself does not.
        below = procs.descendants(self.pid) if self.by_itself and self.started else []
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
        """The PIDs whose processor time is the proxy's."""
        if self.peer.kind == "direct":
            return []
        if self.peer.kind == "pasta":
            return self.pastas()
        return [self.pid, self.child]

    def pastas(self):
        if self.by_itself:
            return [self.pid]
        found = [p for p in procs.descendants(self.pid) if procs.name_of(p).startswith(("pasta", "passt"))]
        if not found:
            raise Failure("no process of pasta is there")
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
        """pasta by itself with ports that are named: older ones look for UDP ports at their start only."""
        command = ["pasta", "--quiet", "--config-net", "-t", f"{self.http},{self.iperf}", "-u", str(self.iperf)]
        known = subprocess.run(["pasta", "--help"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, timeout=10, check=False).stdout
        if b"--host-lo-to-ns-lo" in known:  # older ones do so always
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
                raise Failure(f"the launcher does not start: {lines[-1] if lines else 'no reason given'}")
            time.sleep(0.01)

    def _wait_for_servers(self):
        deadline = time.monotonic() + READY_S
        while not (ask(self.http) and is_listening(self.iperf)):
            if time.monotonic() > deadline:
                raise Failure("the servers inside are not reached")
            time.sleep(0.02)
        time.sleep(0.1)  # iperf3 inside, behind a listener that is there already
