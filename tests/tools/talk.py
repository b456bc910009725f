#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The two ends of a TCP connection, from one script that defines client(s) and server(s):

    talk.py SCRIPT serve PORT      calls server() with the first connection to 127.0.0.1:PORT;
                                   creates the file `listening` before that
    talk.py SCRIPT connect PORT    calls client() with a connection to 127.0.0.1:PORT

The connection is closed when the function returns.
"""
import runpy
import socket
import sys

import tcp
import waiting


def main():
    script, role, port = sys.argv[1:]
    ends = runpy.run_path(script)
    if role == "connect":
        with tcp.connect(port) as s:
            ends["client"](s)
        return
    with socket.create_server(("127.0.0.1", int(port))) as listener:
        waiting.make_file("listening")
        s = listener.accept()[0]
        s.settimeout(30)
        with s:
            ends["server"](s)


if __name__ == "__main__":
    main()
