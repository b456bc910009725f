# SPDX-License-Identifier: Apache-2.0
"""Starts, measures and ends processes.

This process becomes a subreaper, so every process that a benchmark starts stays its descendant until
it ends, and end_all() finds it. Processes also get SIGTERM when this process dies.
"""
import ctypes
import os
import signal
import subprocess
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LIBC = ctypes.CDLL(None, use_errno=True)
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """Why something could not be measured: one line, for a note below the table."""


def become_subreaper():
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _in_child():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def spawn(command, **more):
    """Starts a command in its own session, so that ^C reaches only us, without our descriptors."""
    settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    settings.update(more)
    try:
        return subprocess.Popen(command, preexec_fn=_in_child, start_new_session=True, **settings)
    except OSError as e:
        raise Failure(f"{os.path.basename(command[0])}: {e.strerror}") from e


def output_of(command, timeout):
    """Runs a command and returns its output. Kills it after `timeout` seconds."""
    process = spawn(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    name = os.path.basename(command[0])
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as e:
        raise Failure(f"{name} did not end within {timeout} s") from e
    finally:
        end(process, grace_s=0)
    out, err = out.decode(errors="replace"), err.decode(errors="replace")
    if process.returncode != 0:
        lines = (err.strip() or out.strip()).splitlines()
        raise Failure(f"{name}: {lines[-1] if lines else 'status ' + str(process.returncode)}")
    return out


def end(process, grace_s=3.0):
    """Ends a process that spawn() started, and waits for it."""
    if process.poll() is None and grace_s > 0:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            pass
    if process.poll() is None:
        process.kill()
        process.wait()


# ---- /proc ----

def _stat(pid):
    """The fields of /proc/PID/stat from the third on; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            text = f.read()
    except OSError:
        return None
    return text.rsplit(")", 1)[1].split()


def name_of(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as f:
            return f.read().strip()
    except OSError:
        return ""


def descendants(root):
    """PIDs of all descendants of a process, children first."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(entry)
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry))
    found, queue = [], [root]
    while queue:
        below = children.get(queue.pop(0), [])
        found += below
        queue += below
    return found


def kill(pids):
    """Kills the processes that are still our descendants."""
    for pid in set(pids) & set(descendants(os.getpid())):
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


def end_all():
    """Kills all of our descendants. Returns their PIDs and names."""
    left = []
    for pid in descendants(os.getpid()):
        fields = _stat(pid)
        if fields and fields[0] != "Z":
            left.append(f"{pid} ({name_of(pid)})")
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)
        except ChildProcessError:
            break
    return left


def cpu_ns(pids):
    """CPU time of these processes so far, user and system, all threads.

    /proc/PID/task/*/schedstat has nanoseconds, but lacks threads that have ended. /proc/PID/stat
    has these, too, but in hundredths of a second. So the second counts only if it is larger by more
    than its resolution.
    """
    total = 0
    for pid in pids:
        fine = 0
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
                    fine += int(f.read().split()[0])
        except OSError:
            fine = 0
        fields = _stat(pid)
        if fields is None:
            raise Failure("the proxy ended under load")
        coarse = (int(fields[11]) + int(fields[12])) * TICK_NS
        total += fine if fine and coarse - fine < 2 * TICK_NS else coarse
    return total


def _kilobytes(path, key):
    try:
        with open(path, encoding="ascii") as f:
            for line in f:
                if line.startswith(key):
                    return int(line.split()[1])
    except OSError:
        pass
    return None


def resident_kib(pid):
    kib = _kilobytes(f"/proc/{pid}/status", "VmRSS:")
    if kib is None:
        raise Failure("VmRSS cannot be read")
    return kib


def proportional_kib(pid):
    """PSS, or None if it must not be read."""
    return _kilobytes(f"/proc/{pid}/smaps_rollup", "Pss:")


def descriptors(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError as e:
        raise Failure(f"its descriptors cannot be counted: {e.strerror}") from e
