# SPDX-License-Identifier: Apache-2.0
"""Waits for events, with a deadline.

File names are relative to the directory of the case, $tmp in the shell, unless they are absolute.
"""
import os
import time


def wait_until(condition, what, seconds=20):
    """Calls condition() until it returns something true, and returns that. AssertionError after
    `seconds`; `what` is for its message, and may be a function."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.01)


def settled(read, quiet=0.2, seconds=20):
    """Calls read() until it has returned the same value for `quiet` seconds, and returns that. For
    changes whose end cannot be observed directly."""
    deadline = time.monotonic() + seconds
    value, since = read(), time.monotonic()
    while time.monotonic() - since < quiet:
        time.sleep(0.01)
        now = read()
        if now != value:
            value, since = now, time.monotonic()
        if since > deadline:
            raise AssertionError(f"not settled within {seconds} s: {value}")
    return value


def path_of(name):
    # lib.sh sets TMPDIR to the directory of the case.
    return os.path.join(os.environ["TMPDIR"], name)


def make_file(name, text=""):
    """Tells another process of the case that something has happened. The file appears with its
    whole text."""
    path = path_of(name)
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(path + ".new", path)


def wait_for_file(name, seconds=20):
    """Waits for the file, and returns its text."""
    path = path_of(name)
    wait_until(lambda: os.path.exists(path), path, seconds)
    with open(path, encoding="utf-8") as file:
        return file.read()
