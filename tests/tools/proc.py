# SPDX-License-Identifier: Apache-2.0
"""What tests look up about other processes. A PID may be text, as in sys.argv."""
import ctypes
import errno
import fcntl
import os
import resource
import socket
import subprocess

PIDFD_GETFD = 438   # pidfd_getfd(2)
SIOCGSKNS = 0x894C  # opens the network namespace of a socket

libc = ctypes.CDLL(None, use_errno=True)


def fds(pid):
    return [int(name) for name in os.listdir(f"/proc/{pid}/fd")]


def count_fds(pid):
    return len(fds(pid))


def socket_fds(pid):
    found = []
    for fd in fds(pid):
        try:
            if os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:"):
                found.append(fd)
        except FileNotFoundError:  # closed since it was listed
            pass
    return found


def count_sockets(pid):
    return len(socket_fds(pid))


def copy_fd(pid, fd):
    """A copy of the descriptor `fd` of that process."""
    pidfd = os.pidfd_open(int(pid))
    copy = libc.syscall(PIDFD_GETFD, pidfd, fd, 0)
    os.close(pidfd)
    if copy < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"pidfd_getfd: {os.strerror(number)}")
    return copy


def copy_sockets(pid):
    """Copies of all sockets of that process, except those that it closes meanwhile."""
    copies = []
    for fd in socket_fds(pid):
        try:
            copies.append(socket.socket(fileno=copy_fd(pid, fd)))
        except OSError as e:
            if e.errno != errno.EBADF:
                raise
    return copies


def count_unused_sockets(pid):
    """How many IPv4 and IPv6 sockets of that process are neither connected nor bound."""
    return sum(s.family in (socket.AF_INET, socket.AF_INET6) and s.getsockname()[1] == 0
               for s in copy_sockets(pid))


def field(pid, file, name):
    """The words after `name` in the line of /proc/PID/FILE that begins with it."""
    with open(f"/proc/{pid}/{file}", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(name):
                return line[len(name):].lstrip(":").split()
    raise KeyError(name)


def resident_kb(pid):
    return int(field(pid, "status", "VmRSS")[0])


def has_ended(pid):
    """True for a zombie too."""
    try:
        return field(pid, "status", "State")[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # reaped before open(2) or read(2)
        return True


def fd_limit(pid):
    """The soft limit of descriptors."""
    return resource.prlimit(int(pid), resource.RLIMIT_NOFILE)[0]


def raise_fd_limit():
    """Raises this process's soft limit of descriptors to its hard limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def count_unreachable(pid):
    """How many UDP datagrams have arrived at ports without a server, in the network namespace of
    that process."""
    with open(f"/proc/{pid}/net/snmp", encoding="utf-8") as file:
        names, values = [line.split() for line in file if line.startswith("Udp:")]
    return int(values[names.index("NoPorts")])


def inside_command(pid, *command):
    """The command, to be run in the user and network namespaces of that process."""
    return ["nsenter", "--preserve-credentials", "-U", "-n", "-t", str(pid), *command]


def run_inside(pid, *command):
    subprocess.run(inside_command(pid, *command), check=True)


def netns_of_socket(s):
    """The inode number of the network namespace of a socket: st_ino of a /proc/PID/ns/net."""
    fd = fcntl.ioctl(s, SIOCGSKNS)
    try:
        return os.fstat(fd).st_ino
    finally:
        os.close(fd)
