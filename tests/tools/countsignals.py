#!/usr/bin/env python3
"""Counts the signals that a terminal sends. Prints "ready", waits until a line is typed and three kinds of
signals have arrived, and prints how often each kind did: "SIGINT:1 SIGQUIT:1 SIGWINCH:1 counted".

It waits a moment longer, so that a signal that wrongly arrives twice is counted, too. A shell script cannot
do that, because a shell handles signals only after its foreground command has ended.
"""
import collections
import os
import select
import signal
import sys
import time

SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH, signal.SIGHUP, signal.SIGTERM)
KINDS = 3
DEADLINE_S = 10
REPEAT_S = 0.3  # time in which a repeated signal would arrive


def main():
    # Python writes the number of each signal to this pipe at once. Its handlers run later, and only once for
    # signals that have arrived meanwhile.
    output, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup)
    for signo in SIGNALS:
        signal.signal(signo, lambda *_: None)
    counts = collections.Counter()

    def count(seconds, kinds):
        until = time.monotonic() + seconds
        while len(counts) < kinds and (left := until - time.monotonic()) > 0:
            if select.select([output], [], [], left)[0]:
                counts.update(os.read(output, 4096))

    print("ready", flush=True)
    sys.stdin.readline()
    count(DEADLINE_S, KINDS)
    count(REPEAT_S, len(SIGNALS) + 1)
    print(*(f"{signal.Signals(s).name}:{n}" for s, n in sorted(counts.items())), "counted", flush=True)


main()
