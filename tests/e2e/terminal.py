#!/usr/bin/env python3
"""Somebody at a terminal: runs a program under a pseudo-terminal and does what standard input says.

    terminal.py PROGRAM ARGUMENTS...

Lines of standard input, with Python's escapes (\\x1a is ^Z); blank lines and # are let be:

    expect TEXT     waits until TEXT comes, after what has been seen already
    never TEXT      fails if TEXT has come since the last `expect`
    send TEXT       types TEXT, without an end of line
    line TEXT       types TEXT and Return
    size ROWS COLS  makes the window another size
    hangup          goes away from the terminal
    end STATUS      waits for the program's end with that exit status

All that came is printed at the end, or when something does not happen in time.
"""
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

DEADLINE_S = 20


class Terminal:
    def __init__(self, argv):
        self.seen = ""  # since the last thing expected
        self.all = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            for signo in (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTSTP):
                signal.signal(signo, signal.SIG_DFL)
            os.execvp(argv[0], argv)

    def fail(self, what):
        print(self.all.replace("\r", ""))
        print(f"terminal: {what}")
        if self.pid > 0:
            os.kill(self.pid, signal.SIGKILL)
        sys.exit(1)

    def read(self, wait_s):
        """Returns False at the end."""
        if self.fd < 0:
            return False
        ready, _, _ = select.select([self.fd], [], [], wait_s)
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        self.all += data.decode(errors="replace")
        self.seen += data.decode(errors="replace")
        return bool(data)

    def expect(self, text):
        until = time.monotonic() + DEADLINE_S
        while text not in self.seen:
            if time.monotonic() > until or not self.read(0.1):
                self.fail(f"this did not come: {text!r}")
        self.seen = self.seen[self.seen.index(text) + len(text):]

    def never(self, text):
        self.read(0)
        if text in self.seen:
            self.fail(f"this should not have come: {text!r}")

    def send(self, text):
        os.write(self.fd, text.encode())

    def size(self, rows, cols):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def end(self, wanted):
        until = time.monotonic() + DEADLINE_S
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid != 0:
                self.pid = 0
                break
            if time.monotonic() > until:
                self.fail("the program does not end")
            if not self.read(0.1):
                time.sleep(0.02)
        if os.waitstatus_to_exitcode(status) != wanted:
            self.fail(f"it ended with {os.waitstatus_to_exitcode(status)}, not {wanted}")


def main():
    terminal = Terminal(sys.argv[1:])
    for line in sys.stdin:
        verb, _, rest = line.strip().partition(" ")
        text = rest.encode().decode("unicode_escape")
        if verb in ("", "#"):
            continue
        if verb == "expect":
            terminal.expect(text)
        elif verb == "never":
            terminal.never(text)
        elif verb == "send":
            terminal.send(text)
        elif verb == "line":
            terminal.send(text + "\r")
        elif verb == "size":
            terminal.size(*map(int, rest.split()))
        elif verb == "hangup":
            os.close(terminal.fd)
            terminal.fd = -1
        elif verb == "end":
            terminal.end(int(rest))
        else:
            sys.exit(f"terminal.py: no such verb: {verb}")
    print(terminal.all.replace("\r", ""))


main()
