# SPDX-License-Identifier: Apache-2.0
"""Clients of the API, HTTP on a UNIX socket: `Api` makes calls; connect(), request() and
read_answer() are for tests that care about bytes and connections."""
import http.client
import json
import socket


def connect(path, timeout=20):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(timeout)
    s.connect(path)
    return s


def request(method, path, body=None):
    """The bytes of a request; `body` is text."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n"
    if body is None:
        return f"{head}\r\n".encode()
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def read_answer(s):
    """Reads the answer to a request: (status, body). Not for pipelined requests: it may read ahead."""
    answer = http.client.HTTPResponse(s)
    answer.begin()
    return answer.status, answer.read()


class Api(http.client.HTTPConnection):
    """Calls over one connection."""

    def __init__(self, path, timeout=60):
        super().__init__("x", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = connect(self.path, self.timeout)

    def call(self, method, path, body=None, headers=None):
        """The answer's JSON; None if its body is empty. AssertionError if the status is not a
        success."""
        self.request(method, path, None if body is None else json.dumps(body), headers or {})
        answer = self.getresponse()
        text = answer.read()
        assert answer.status in (200, 201), (method, path, answer.status, text)
        return json.loads(text) if text else None

    def add(self, port, child_port=80):
        """Publishes 127.0.0.1:PORT/tcp, and returns its ID."""
        return self.call("POST", "/v1/ports", {"proto": "tcp", "parentIP": "127.0.0.1",
                                               "parentPort": port, "childPort": child_port})["id"]

    def remove(self, number):
        self.call("DELETE", f"/v1/ports/{number}")

    def ports(self):
        return self.call("GET", "/v1/ports")
