# SPDX-License-Identifier: Apache-2.0
"""Servers that nobody should reach: contacts.py ADDRESS... PORT...

Each address has a TCP and a UDP server on each port. They print "ready", and then a line for each connection and
each datagram: "tcp ADDRESS PORT" or "udp ADDRESS PORT". What they receive they send back.
"""
import ipaddress
import socket
import sys
import threading


def note(proto, s):
    print(proto, *s.getsockname()[:2], flush=True)


def serve_udp(s):
    while True:
        data, client = s.recvfrom(65536)
        note("udp", s)
        s.sendto(data, client)


def echo(s):
    try:
        while data := s.recv(65536):
            s.sendall(data)
    except OSError:
        pass
    s.close()


def serve_tcp(listener):
    while True:
        s, _ = listener.accept()
        note("tcp", listener)
        threading.Thread(target=echo, args=(s,), daemon=True).start()


def open_servers(address, port):
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    datagrams = socket.socket(family, socket.SOCK_DGRAM)
    datagrams.bind((address, port))
    listener = socket.create_server((address, port), family=family)
    threading.Thread(target=serve_udp, args=(datagrams,)).start()
    threading.Thread(target=serve_tcp, args=(listener,)).start()


for address in [word for word in sys.argv[1:] if not word.isdigit()]:
    for port in [int(word) for word in sys.argv[1:] if word.isdigit()]:
        open_servers(address, port)
print("ready", flush=True)
