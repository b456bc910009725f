#!/usr/bin/env python3
"""A user at a terminal: runs a program in a pseudo-terminal, and follows a script on standard input.

    terminal.py PROGRAM ARGUMENTS...

The script has one command a line. Python's escapes work in TEXT (\\x1a is ^Z). Empty lines and lines that
begin with "# " are ignored.

    expect TEXT     waits until the program prints TEXT, after what `expect` has matched before
    never TEXT      fails if the program has printed TEXT since the last `expect`
    send TEXT       types TEXT without Return
    line TEXT       types TEXT and Return
    size ROWS COLS  changes the size of the window
    hangup          closes the terminal
    end STATUS      waits until the program ends, with this exit status

Prints the program's output at the end, or when an event is not there within DEADLINE_S seconds.
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
        self.unmatched = ""  # output after the last text that expect() has found
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
        """Reads what the program prints. Returns False at the end of its output."""
        if self.fd < 0:
            return False
        ready, _, _ = select.select([self.fd], [], [], wait_s)
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: no process has the terminal open
            return False
        self.all += data.decode(errors="replace")
        self.unmatched += data.decode(errors="replace")
        return bool(data)

    def expect(self, text):
        until = time.monotonic() + DEADLINE_S
        while text not in self.unmatched:
            if time.monotonic() > until or not self.read(0.1):
                self.fail(f"the program has not printed: {text!r}")
        self.unmatched = self.unmatched[self.unmatched.index(text) + len(text):]

    def never(self, text):
        self.read(0)
        if text in self.unmatched:
            self.fail(f"the program must not print: {text!r}")

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
                self.fail(f"the program has not ended within {DEADLINE_S} s")
            if not self.read(0.1):
                time.sleep(0.02)
        if os.waitstatus_to_exitcode(status) != wanted:
            self.fail(f"the program ended with status {os.waitstatus_to_exitcode(status)}, not {wanted}")


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
            sys.exit(f"terminal.py: no such command: {verb}")
    print(terminal.all.replace("\r", ""))


main()
