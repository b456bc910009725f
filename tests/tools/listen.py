#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server that listens and never accepts: listen.py [--ready FILE] [--backlog N] ADDRESS:PORT

With N + 1 connections its backlog is full, and further ones are not answered. FILE is created when it
listens; its name is relative to the directory of the case.
"""
import argparse
import signal
import socket

import waiting


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ready")
    parser.add_argument("--backlog", type=int, default=128)
    parser.add_argument("where")
    args = parser.parse_args()
    host, _, port = args.where.rpartition(":")
    with socket.create_server((host, int(port)), backlog=args.backlog):
        if args.ready:
            waiting.make_file(args.ready)
        signal.pause()


if __name__ == "__main__":
    main()
