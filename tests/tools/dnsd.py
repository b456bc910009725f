# SPDX-License-Identifier: Apache-2.0
"""A name server on port 53, by UDP and TCP: dnsd.py ADDRESS BEHAVIOUR. It prints "ready", and then a line for each
query: "udp NAME" or "tcp NAME". The answer to every query is the address 192.0.2.N, where N is the last byte of
its own address.

  good     answers
  silent   does not answer
  failing  answers with SERVFAIL
  long     answers by UDP with 65507 bytes
"""
import ipaddress
import socket
import struct
import sys
import threading

HEADER_LEN, QUESTION_TAIL = 12, 4


def read_name(message):
    """The name of the question, and where the question ends."""
    at, labels = HEADER_LEN, []
    while message[at] != 0:
        labels.append(message[at + 1 : at + 1 + message[at]].decode("ascii", "replace"))
        at += 1 + message[at]
    return ".".join(labels), at + 1 + QUESTION_TAIL


def answer(message, end, last, behaviour):
    question = message[HEADER_LEN:end]
    if behaviour == "failing":
        return message[:2] + b"\x81\x82\0\1\0\0\0\0\0\0" + question
    record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + bytes([192, 0, 2, last])
    return message[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question + record


def handle(message, how):
    """Returns the answer, or None. A message without a question has none."""
    try:
        name, end = read_name(message)
    except IndexError:
        return None
    print(how, name, flush=True)
    return None if behaviour == "silent" else answer(message, end, address.packed[-1], behaviour)


def serve_udp(s):
    while True:
        message, client = s.recvfrom(65536)
        reply = handle(message, "udp")
        if reply is not None:
            s.sendto(reply.ljust(65507, b"x") if behaviour == "long" else reply, client)


def serve_tcp(listener):
    while True:
        s, _ = listener.accept()
        (length,) = struct.unpack("!H", s.recv(2, socket.MSG_WAITALL))
        reply = handle(s.recv(length, socket.MSG_WAITALL), "tcp")
        if reply is not None:
            s.sendall(struct.pack("!H", len(reply)) + reply)
        s.close()


address, behaviour = ipaddress.ip_address(sys.argv[1]), sys.argv[2]
family = socket.AF_INET if address.version == 4 else socket.AF_INET6
udp = socket.socket(family, socket.SOCK_DGRAM)
udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
udp.bind((str(address), 53))
tcp = socket.create_server((str(address), 53), family=family)
threading.Thread(target=serve_tcp, args=(tcp,), daemon=True).start()
print("ready", flush=True)
serve_udp(udp)
