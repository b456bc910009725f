#!/usr/bin/env python3
"""Runs recorded command lines of RootlessKit with our program, and compares: captures.py DIR PROGRAM.

DIR has one file for each case, as its README.md describes: the command line after "$ ", the standard
output, the standard error, and the exit status. Each case runs in the environment of the recording: as
user 2000 with the subordinate IDs 100000:65536, in new namespaces with `lo`, an `eth0` at 192.0.2.2/24,
and empty directories over /tmp and /home. This needs root, and changes no file of the machine. Cases that
ask a running launcher (api-, ctl-) run in the order of the recording.

A case agrees if each line of both outputs and the exit status agree. Our line may continue after
RootlessKit's words. Versions, PIDs, times, MAC addresses, temporary names and help texts are masked (for a
bad option we print no help). So are the order of ports in a list, and the length of an answer, but the
length must be right.

  --only PATTERN   runs the cases whose name matches this shell pattern (may be repeated)
  --show           shows the differences
  --floor N        fails if fewer than N cases agree. Some recorded command lines wait for a fixed time,
                   which is too short on a busy machine. So cases that differ are run once more before that
"""
import argparse
import concurrent.futures
import fnmatch
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

UID = 2000
CASE_SECONDS = 30
READY_SECONDS = 10
JOBS = 4

# ---- the files ----


class Case:
    def __init__(self, path):
        self.name = os.path.basename(path)[: -len(".txt")]
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as f:
            text = f.read()
        self.text = text
        self.command, self.raw = None, None
        self.stdout = self.stderr = self.status = None
        if text.startswith("$ raw bytes to api.sock: "):
            line, self.stdout = text.split("\n--- response\n", 1)
            self.raw = line[len("$ raw bytes to api.sock: ") :]
        elif text.startswith("$ "):
            self.read_command(text)
        elif text.startswith("stderr of "):
            line, self.stderr = text.split("\n", 1)

    def read_command(self, text):
        line, _, rest = text[2:].partition("--- stdout\n")
        out, _, rest = rest.rpartition("--- exit code: ")
        self.status = int(rest)
        at = out.rfind("--- stderr\n")
        self.stdout, self.stderr = out[:at], out[at + len("--- stderr\n") :]
        line = line.rstrip("\n")
        if line.startswith("bash -c '\n"):
            script = line[len("bash -c '") :]
            self.command = ["bash", "-c", script[: script.rindex("'")]]
        else:
            self.command = ["bash", "-c", "exec " + line]


def server_of_net_case(name):
    """The launcher that an api-net- or ctl-net- case asks: the name of its log-net- file."""
    m = re.match(r"(?:api|ctl)-net-(gvisor|host|none|(?:pasta|slirp)-[a-z]+)-", name)
    return "log-net-" + m.group(1) if m else None


# The order in which the cases of one launcher were recorded, as shell patterns. Cases that match the same
# pattern run in the order of their names. "+" marks a port that the recording added, but that has no file.
CTL_ORDER = """ctl-info ctl-info-json ctl-list-ports ctl-list-ports-json ctl-list-ports-extra-args
    ctl-add-good ctl-add-good-json ctl-add-two ctl-add-duplicate ctl-add-bad-* ctl-add-flag-after
    ctl-add-none ctl-add-port-* ctl-add-privileged ctl-add-sctp ctl-add-good-then-bad ctl-list-after-adds
    ctl-list-after-adds-2 ctl-remove-good ctl-remove-again ctl-remove-99 ctl-remove-neg ctl-remove-none
    ctl-remove-two ctl-remove-good-then-bad ctl-debug-* ctl-list-after-removes ctl-*
    +127.0.0.1:18080:80/tcp
    api-get-404 api-get-double-slash api-get-info* api-get-root api-get-v* api-head-info api-post-info
    api-get-port-id api-get-ports-slash api-get-ports api-head-ports api-put-ports api-post-good
    api-post-duplicate api-post-good-no-content-type api-post-good-childip api-post-unknown-fields
    +127.0.0.1:18104:80/tcp
    api-post-trailing-garbage api-post-duplicate-keys api-post-null-fields api-post-bad-ip
    api-post-bad-childip api-post-v6 api-post-v6-as-tcp4 +:18114:80/tcp api-post-chunked
    +127.0.0.1:18116:80/tcp api-post-* api-delete-99 api-delete-abc api-delete-empty api-delete-float
    api-delete-neg api-delete-sub api-delete-trailing-slash api-delete-with-body api-get-ports-after
    api-delete-good api-delete-again api-delete-plus api-delete-percent api-http10-info api-raw-* api-*
    """.split()
NET_ORDER = ["*-info", "*-list", "*-list-json", "api-*-ports", "*-post", "*-post-dup", "*-delete", "*-delete-99", "*"]


def in_order(names, order):
    left, result = sorted(names), []
    for pattern in order:
        if pattern.startswith("+"):
            result.append(pattern)
        matching = [n for n in left if fnmatch.fnmatchcase(n, pattern)]
        # A case that is listed by its exact name waits for its own place.
        matching = [n for n in matching if n == pattern or n not in order]
        result += matching
        left = [n for n in left if n not in matching]
    return result + left


# ---- the environment of the recording ----


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def write(path, text, mode=0o644):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(path, mode)


WHEN_READY = """#!/bin/sh
n=0
while [ ! -S "$ROOTLESSKIT_STATE_DIR/api.sock" ] && [ $n -lt 100 ]; do sleep .05; n=$((n + 1)); done
exec "$@"
"""
ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/bash\nuser:x:2000:2000::/home/user:/bin/bash\n"
    "nobody:x:65534:65534::/nonexistent:/bin/false\n",
    "group": "root:x:0:\nuser:x:2000:\nnogroup:x:65534:\n",
    "subuid": "user:100000:65536\n",
    "subgid": "user:100000:65536\n",
    # The second line is missing in some recordings, but their lengths include it.
    "hosts": "127.0.0.1 localhost\n127.0.0.1 runsc\n127.0.0.1 vm\n",
    "resolv.conf": "nameserver 10.255.255.53\n",
}


def set_up(program):
    """Prepares the new namespaces. Everything disappears with them."""
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "proc", "proc", "/proc")
    run("hostname", "vm")
    etc = tempfile.mkdtemp(prefix="captures.")
    run("mount", "-t", "tmpfs", "tmpfs", etc)
    shutil.copy(program, etc + "/rlkbox")
    for name, text in ETC.items():
        write(f"{etc}/{name}", text)
        run("mount", "--bind", f"{etc}/{name}", "/etc/" + name)
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/usr/local/bin")
    shutil.copy(etc + "/rlkbox", "/usr/local/bin/rootlesskit")
    for name in "rootlessctl", "rootlesskit-docker-proxy":
        os.link("/usr/local/bin/rootlesskit", "/usr/local/bin/" + name)
    write("/usr/local/bin/when-ready.sh", WHEN_READY, 0o755)
    for path, mode in ("/tmp", "1777"), ("/home", "755"):
        run("mount", "-t", "tmpfs", "-o", "mode=" + mode, "tmpfs", path)
    os.mkdir("/home/user", 0o755)
    os.chown("/home/user", UID, UID)
    set_up_network()


def set_up_network():
    run("ip", "link", "set", "lo", "up")
    # The recording's kernel had ifb0 and ifb1. These are other types of interfaces, which every kernel has.
    run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "ifb0")
    run("ip", "link", "set", "ifb0", "up")
    run("ip", "tuntap", "add", "name", "ifb1", "mode", "tap")
    run("ip", "addr", "add", "192.0.2.2/24", "dev", "eth0")
    run("ip", "link", "set", "eth0", "up")
    run("ip", "route", "add", "default", "via", "192.0.2.1")
    run("mount", "-t", "sysfs", "sysfs", "/mnt")
    run("mount", "--rbind", "/sys/fs/cgroup", "/mnt/fs/cgroup")
    run("mount", "--move", "/mnt", "/sys")


def drop_privileges(uid):
    def drop():
        os.setsid()
        os.umask(0o022)
        if uid != 0:
            os.setgroups([uid])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)

    return drop


def environment(directory):
    return {
        "HOME": "/home/user",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "LOGNAME": "user",
        "MAIL": "/var/mail/user",
        "PATH": "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin",
        "PWD": "/home/user",
        "SHELL": "/bin/bash",
        "SHLVL": "1",
        "T": directory + "/t",
        "TERM": "dumb",
        "USER": "user",
    }


def start(command, directory, stdout, stderr, uid=UID):
    with open("/dev/null", "rb") as null, open(stdout, "wb") as out, open(stderr, "wb") as err:
        return subprocess.Popen(
            command,
            stdin=null,
            stdout=out,
            stderr=err,
            cwd="/home/user",
            env=environment(directory),
            preexec_fn=drop_privileges(uid),
        )


def read(path):
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as f:
        return f.read()


def new_directory():
    directory = tempfile.mkdtemp(prefix="cap.", dir="/tmp")
    os.chmod(directory, 0o777)
    return directory


def run_command(case):
    """Returns stdout, stderr, status."""
    directory = new_directory()
    uid = 0 if case.name.startswith("as-root") else UID
    process = start(case.command, directory, directory + "/o", directory + "/e", uid)
    try:
        status = process.wait(CASE_SECONDS)
    except subprocess.TimeoutExpired:
        status = "none in time"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if isinstance(status, int) and status < 0:
        status = 128 - status
    return read(directory + "/o"), read(directory + "/e"), status


def send_raw(case):
    """Sends bytes to the API unchanged. Returns the answer, and whether the API keeps the connection."""
    text = subprocess.run(["bash", "-c", "printf %s " + case.raw], stdout=subprocess.PIPE, check=True).stdout
    data = text.replace(b"\\r", b"\r").replace(b"\\n", b"\n")
    answer, end = b"", "<EOF>"
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("/tmp/st/api.sock")
        s.sendall(data)
        s.settimeout(1)
        try:
            while chunk := s.recv(65536):
                answer += chunk
        except socket.timeout:
            end = "<kept open>"
    return answer.decode().replace("\r", "") + end


# ---- a launcher that cases ask ----


class Server:
    def __init__(self, options):
        self.directory = new_directory()
        words = ["rootlesskit", "--state-dir=/tmp/st", *options, "sleep", "600"]
        self.process = start(words, self.directory, self.directory + "/o", self.directory + "/e")
        deadline = time.monotonic() + READY_SECONDS
        while not os.path.exists("/tmp/st/api.sock") and self.process.poll() is None:
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(READY_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        return read(self.directory + "/e"), status


def run_case(case):
    if case.raw is not None:
        return case, (send_raw(case), None, None)
    return case, run_command(case)


def run_net_group(log, cases):
    """All cases that ask the launcher whose log is the case `log`."""
    options = log.text.split("\n", 1)[0].split("--state-dir=/tmp/st", 1)[1].split("sleep 600")[0].split()
    server = Server(options)
    results = []
    for case in cases:
        if case.name.endswith("-post-dup") and not any(c.name.endswith("-post") for c in cases):
            add_port("127.0.0.1:18100:80/tcp")
        results.append(run_case(case))
    results.append((log, (None, server.end()[0], None)))
    return results


def add_port(spec):
    command = "exec rootlessctl --socket=/tmp/st/api.sock add-ports " + spec
    directory = new_directory()
    start(["bash", "-c", command], directory, directory + "/o", directory + "/e").wait(CASE_SECONDS)


def run_main_group(cases, server_exit):
    server = Server(
        "--net=none --port-driver=builtin -p 127.0.0.1:18080:80/tcp -p 127.0.0.1:18081:10.0.2.100:81/udp".split()
    )
    other = subprocess.Popen(["busybox", "httpd", "-f", "-p", "127.0.0.1:18090"])
    results = []
    by_name = {c.name: c for c in cases}
    for name in in_order(by_name, CTL_ORDER):
        if name.startswith("+"):
            add_port(name[1:])
        else:
            results.append(run_case(by_name[name]))
    other.kill()
    other.wait()
    status = server.end()[1]
    if server_exit is not None:
        results.append((server_exit, (f"server rc {status}\n", None, None)))
    return results


def run_group(cases):
    """Runs in namespaces of its own. Returns pairs: a case, and the outputs and status of our program."""
    by_name = {c.name: c for c in cases}
    log = next((c for c in cases if c.name.startswith("log-net-")), None)
    if log is not None:
        names = in_order([n for n in by_name if n != log.name], NET_ORDER)
        return run_net_group(log, [by_name[n] for n in names])
    if any(c.name == "ctl-info" or c.name == "api-server-exit" for c in cases):
        end = by_name.pop("api-server-exit", None)
        return run_main_group(list(by_name.values()), end)
    return [run_case(c) for c in cases]


# ---- what is compared ----

MASKS = [
    (r'time="20[0-9T:+Z-]*"', 'time="TIME"'),
    (r"(?m)^Date: .*$", "Date: DATE"),
    (r"(?m)^Content-Length: \d+", "Content-Length: N"),
    (r"\b3\.[0-9]+\.[0-9]+(\+[\w.]+)?", "VERSION"),
    (r"/tmp/rootlesskit\w+", "/tmp/rootlesskitN"),
    (r"/tmp/cap\.\w+", "/tmp/cap.N"),
    (r'("childPID": ?)\d+', r"\1PID"),
    (r"(Child PID: )\d+", r"\1PID"),
    (r"(-- child_pid:\n)\d+", r"\1PID"),
    (r"(LISTEN_PID=)\d\d+", r"\1PID"),
    (r"\b(self|ppid)=\d+", r"\1=PID"),
    (r"(?m)^(Pid|PPid|SigQ):\s.*$", r"\1: N"),
    (r"/proc/\d+", "/proc/PID"),
    (r"(?m)^pid \d+$", "pid PID"),
    (r"\b(nsenter -t|tap0 exec) \d+", r"\1 PID"),
    (r"([a-z_]+):\[\d+\]", r"\1:[N]"),
    (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "MAC"),
    (r"\bfe80::[0-9a-f:]+/64", "fe80::N/64"),
    (r"\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d \d\d:\d\d", "DATE"),
    (r"(?m)^total \d+$", "total N"),
    (r"(?m)^([-bcdlps][-rwxsStT]{9}) +(\d+) +(\S+) +(\S+) +(\d+) DATE ", r"\1 \2 \3 \4 \5 DATE "),
    (r"(?m)^(d\S+) \d+ (\S+ \S+) \d+( DATE \.\.)$", r"\1 N \2 N\3"),
    (r"\d+( DATE child_pid)", r"N\1"),
    (r"(?m)^127\.0\.0\.1 runsc\n", ""),
    (r"(WARN|ERRO)(\x1b\[0m|\^\[\[0m)?\[\d{4}\]", r"\1\2[SECONDS]"),
    (r"(bash: line) \d+: +\d+ (Killed)", r"\1 N: PID \2"),
    (r"\$HOME|/home/user", "HOME"),
]
HELP = re.compile(r"(?ms)^(NAME:|Usage: ).*\Z")
HELP_OF_BAD_OPTION = re.compile(r"(?s)\A(Incorrect Usage: [^\n]*)\n.*\Z")


def sort_ports(text):
    """Sorts ports by ID, in tables, in lines of JSON, and in arrays."""
    lines = text.split("\n")
    rows = [i for i, line in enumerate(lines) if re.match(r'\d+ +(tcp|udp)|\{"id":\d+,', line)]
    for i, row in zip(rows, sorted((lines[i] for i in rows), key=lambda row: int(re.search(r"\d+", row).group()))):
        lines[i] = row
    for i, line in enumerate(lines):
        if line.startswith('[{"id":'):
            ports, end = json.JSONDecoder().raw_decode(line)
            ports.sort(key=lambda port: port["id"])
            # Another answer may follow on the same line.
            lines[i] = json.dumps(ports, separators=(",", ":")) + line[end:]
    return "\n".join(lines)


def length_is_right(text):
    """True if the Content-Length of an answer is the length of its body."""
    head, _, body = text.partition("\n\n")
    length = re.search(r"(?m)^Content-Length: (\d+)$", head)
    body = re.sub(r"<EOF>$|<kept open>$", "", body)
    return not head.startswith("HTTP/") or length is None or body == "" or int(length.group(1)) == len(body.encode())


def mask(text):
    text = text.replace("\r", "")
    for pattern, replacement in MASKS:
        text = re.sub(pattern, replacement, text)
    return sort_ports(HELP_OF_BAD_OPTION.sub(r"\1", HELP.sub("HELP", text)))


def only_sections_of(theirs, ours):
    """Removes sections of our output that are missing in the recording, which leaves out long ones."""
    headers = set(re.findall(r"(?m)^== .*$", theirs))
    if not headers:
        return ours
    parts = re.split(r"(?m)^(?=== )", ours)
    return "".join(p for p in parts if not p.startswith("== ") or p.split("\n", 1)[0] in headers or "\nrc=" in p)


def line_agrees(theirs, ours):
    if ours == theirs or ours.startswith(theirs):
        return True
    for end in '"', '"}', "^M", " ^M":
        if theirs.endswith(end) and ours.endswith(end) and ours.startswith(theirs[: -len(end)]):
            return len(theirs) > len(end)
    return False


def differences(theirs, ours):
    """Returns the lines of a report: no line if the texts agree."""
    theirs = mask(theirs)
    ours = only_sections_of(theirs, mask(ours))
    a, b = theirs.rstrip("\n").split("\n"), ours.rstrip("\n").split("\n")
    report = []
    for i in range(max(len(a), len(b))):
        x, y = a[i] if i < len(a) else None, b[i] if i < len(b) else None
        if x is None or y is None or not line_agrees(x, y) or (x == "" and y != ""):
            report += [f"   theirs: {x}"] if x is not None else []
            report += [f"   ours:   {y}"] if y is not None else []
    return report


def judge(case, seen):
    if seen is None:
        return ["   not replayed"]
    report = []
    for name, theirs, ours in zip(("stdout", "stderr"), (case.stdout, case.stderr), seen):
        if theirs is not None and ours is not None:
            lines = differences(theirs, ours)
            report += [f"  {name}:"] + lines if lines else []
            if not length_is_right(ours):
                report.append("  wrong Content-Length")
    if case.status is not None and case.status != seen[2]:
        report.append(f"  status: theirs {case.status}, ours {seen[2]}")
    return report


# ---- running ----


def make_groups(cases):
    """Keeps cases that share a launcher in one group, and spreads the others over 2 * JOBS groups."""
    logs = {c.name: [c] for c in cases if c.name.startswith("log-net-")}
    main, rest = [], []
    for c in cases:
        server = server_of_net_case(c.name)
        if server in logs:
            logs[server].append(c)
        elif c.name in logs:
            pass
        elif (c.command and "/tmp/st/api.sock" in c.text.split("\n", 1)[0]) or c.raw or c.name == "api-server-exit":
            main.append(c)
        elif c.command:
            rest.append(c)
    if main and not any(c.name in ("ctl-info", "api-server-exit") for c in main):
        main.append(Case.__new__(Case))
        main[-1].__dict__.update(name="ctl-info", command=["true"], raw=None, text="", stdout=None, stderr=None, status=None)
    groups = list(logs.values()) + ([main] if main else [])
    return groups + [rest[i :: 2 * JOBS] for i in range(2 * JOBS) if rest[i :: 2 * JOBS]]


def run_in_namespaces(program, cases):
    """Runs a group in a new process of this program, in new namespaces."""
    paths = "\n".join(c.path for c in cases if hasattr(c, "path"))
    done = subprocess.run(
        ["unshare", "-mnpui", "--fork", "--kill-child", sys.executable, os.path.abspath(__file__), "--inside", program],
        input=paths.encode(),
        stdout=subprocess.PIPE,
        check=False,
    )
    return json.loads(done.stdout) if done.returncode == 0 else {}


def inside(program):
    cases = load(sys.stdin.read().split("\n"))
    results = os.dup(1)
    os.dup2(2, 1)
    set_up(program)
    seen = {case.name: what for case, what in run_group(cases)}
    with os.fdopen(results, "w", encoding="utf-8") as out:
        json.dump(seen, out)


def load(paths):
    cases = []
    for path in paths:
        case = Case(path)
        case.path = path
        cases.append(case)
    return cases


def main():
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2])
        return 0
    parser = argparse.ArgumentParser(usage="captures.py DIR PROGRAM [--only PATTERN] [--show] [--floor N]")
    parser.add_argument("directory")
    parser.add_argument("program")
    parser.add_argument("--only", action="append")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--floor", type=int, default=0)
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("captures.py: must run as root, to become user 2000 in namespaces of its own")
    paths = sorted(p for p in glob.glob(args.directory + "/*.txt") if not os.path.basename(p).startswith("00-"))
    cases = load(os.path.abspath(p) for p in paths)
    groups = make_groups(cases)
    if args.only:
        wanted = {c.name for c in cases if any(fnmatch.fnmatchcase(c.name, p) for p in args.only)}
        groups = [g for g in ([c for c in g if c.name in wanted] if not has_server(g) else g for g in groups)
                  if any(c.name in wanted for c in g)]
    else:
        wanted = {c.name for c in cases}
    program = os.path.abspath(args.program)
    seen = run_groups(program, groups)
    differing = [c for c in cases if c.name in wanted and judge(c, seen.get(c.name))]
    if len(wanted) - len(differing) < args.floor:
        alone = {c.name for g in groups if not has_server(g) for c in g}
        seen.update(run_groups(program, [[c for c in differing if c.name in alone]]))
    agreeing = 0
    for case in cases:
        if case.name not in wanted:
            continue
        report = judge(case, seen.get(case.name))
        agreeing += not report
        if report or not args.only:
            print(f"{'differs' if report else 'agrees '} {case.name}")
        if args.show:
            print("".join(line + "\n" for line in report), end="")
    print(f"{agreeing} of {len(wanted)} agree")
    return 1 if agreeing < args.floor else 0


def run_groups(program, groups):
    seen = {}
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for result in pool.map(lambda group: run_in_namespaces(program, group), groups):
            seen.update(result)
    return seen


def has_server(group):
    return any(c.name.startswith("log-net-") or c.name == "ctl-info" or c.name == "api-server-exit" for c in group)


if __name__ == "__main__":
    sys.exit(main())
