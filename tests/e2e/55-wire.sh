#!/bin/sh
# .bp.sock on the wire, as another program would speak to it.
. "$(dirname "$0")/lib.sh"

# with_wire OPTIONS...: a launcher with an echo server inside, and a script with helpers to talk to
# .bp.sock as the user itself, from the host.
with_wire() {
	# shellcheck disable=SC2086 # options
	start --net=none --port-driver=builtin ${detach-} "$@" sh -c "
		exec ${detach:+nsenter --net=\$ROOTLESSKIT_STATE_DIR/netns} \
			socat TCP-LISTEN:80,bind=127.0.0.1,fork EXEC:cat"
	cat >"$tmp/wire.py" <<-'EOF'
		import array, json, os, socket, struct, sys, time
		PATH = sys.argv[1] + "/.bp.sock"
		def connect():
		    s = socket.socket(socket.AF_UNIX)
		    s.settimeout(30)
		    s.connect(PATH)
		    return s
		def frame(body):
		    if not isinstance(body, bytes):
		        body = json.dumps(body).encode()
		    return struct.pack("<I", len(body)) + body
		def read_all(s):
		    out = b""
		    while True:
		        try:
		            b = s.recv(65536)
		        except ConnectionResetError:
		            return out
		        if not b:
		            return out
		        out += b
		def answer(data):
		    (n,) = struct.unpack("<I", data[:4])
		    assert len(data) == 4 + n, data
		    return json.loads(data[4:])
		def ask(body):
		    s = connect()
		    s.sendall(frame(body))
		    s.shutdown(socket.SHUT_WR)
		    return answer(read_all(s))
		def receive(s):
		    """The bytes and descriptors of one answer, which is all there is."""
		    data, fds, flags, _ = socket.recv_fds(s, 65536, 16)
		    assert not flags & socket.MSG_CTRUNC
		    rest = read_all(s)
		    return data, fds, rest
		REQUEST = {"Type": "connect", "Proto": "tcp", "IP": "", "Port": 80,
		           "ParentIP": "", "HostGatewayIP": ""}
		def dial(**more):
		    """Connects until the server inside is there."""
		    for _ in range(500):
		        s = connect()
		        s.sendall(frame(dict(REQUEST, **more)))
		        s.shutdown(socket.SHUT_WR)
		        data, fds, rest = receive(s)
		        if fds:
		            assert rest == b""
		            return fds
		        assert "connection refused" in answer(data + rest)["Error"]
		        time.sleep(0.02)
		    raise SystemExit("no server inside")
	EOF
	{
		cat "$tmp/wire.py"
		cat
	} >"$tmp/script.py"
	python3 "$tmp/script.py" "$state" "$child" || fail 'see above'
	stop
}

case_init_is_answered_with_null() {
	with_wire <<-'EOF'
		assert ask({"Type": "init"}) is None
		assert ask({"Type": "init", "Proto": "", "IP": "", "Port": 0, "ParentIP": "", "HostGatewayIP": ""}) is None
	EOF
}

case_connect_gives_one_connected_socket_of_the_namespace() {
	for detach in '' --detach-netns; do
		with_wire <<-'EOF'
			fds = dial()
			assert len(fds) == 1, fds
			s = socket.socket(fileno=fds[0])
			s.settimeout(30)
			assert s.family == socket.AF_INET and s.type == socket.SOCK_STREAM
			assert s.getpeername() == ("127.0.0.1", 80)
			s.sendall(b"echo")
			assert s.recv(10) == b"echo"
			assert s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
			assert s.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
			assert s.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
			assert s.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 15
			# It is of the namespace that has the network: SIOCGSKNS opens that of a socket.
			import fcntl
			ns = os.fstat(fcntl.ioctl(s, 0x894C)).st_ino
			detached = sys.argv[1] + "/netns"
			inside = "/proc/%s/root%s" % (sys.argv[2], detached) if os.path.exists(detached) else "/proc/%s/ns/net" % sys.argv[2]
			assert ns != os.stat("/proc/self/ns/net").st_ino
			assert ns == os.stat(inside).st_ino, (ns, inside)
		EOF
	done
}

case_the_address_is_chosen_by_the_rule() {
	with_wire <<-'EOF'
		dial(IP="127.0.0.1", ParentIP="192.0.2.1")
		dial(ParentIP="0.0.0.0")
		dial(ParentIP="192.0.2.10", HostGatewayIP="192.0.2.10")
		dial(ParentIP="127.0.0.1", HostGatewayIP="192.0.2.10")
		# One that is not local inside would lead out, to the host, and into the port again.
		dial(ParentIP="192.0.2.11", HostGatewayIP="192.0.2.10")
		def peer(**more):
		    (fd,) = dial(Proto="udp", **more)
		    return socket.socket(fileno=fd).getpeername()[0]
		def inside(*command):
		    import subprocess
		    subprocess.run(("nsenter", "--preserve-credentials", "-U", "-n", "-t", sys.argv[2]) + command, check=True)
		assert peer(ParentIP="192.0.2.11") == "127.0.0.1"
		assert peer(ParentIP="fd00:1::11") == "::1"
		assert peer(ParentIP="::") == "::1"
		# Neither is it if a route leads there, or if anybody may bind to it.
		inside("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
		inside("ip", "addr", "add", "192.0.2.20/24", "dev", "up0")
		inside("ip", "addr", "add", "fd00:1::20/64", "dev", "up0", "nodad")
		inside("ip", "link", "set", "up1", "up")
		inside("ip", "link", "set", "up0", "up")
		inside("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind")
		inside("sh", "-c", "echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind")
		assert peer(ParentIP="192.0.2.11") == "127.0.0.1"
		assert peer(ParentIP="fd00:1::11") == "::1"
		# An explicit address stays as it is.
		assert peer(IP="192.0.2.11") == "192.0.2.11"
		assert peer(IP="fd00:1::11") == "fd00:1::11"
		# One that is local now is the target, until it is gone.
		inside("ip", "addr", "add", "192.0.2.11/32", "dev", "lo")
		inside("ip", "addr", "add", "fd00:1::11/128", "dev", "lo", "nodad")
		assert peer(ParentIP="192.0.2.11") == "192.0.2.11"
		assert peer(ParentIP="fd00:1::11") == "fd00:1::11"
		assert peer(ParentIP="192.0.2.11", HostGatewayIP="192.0.2.11") == "127.0.0.1"
		e = ask(dict(REQUEST, ParentIP="192.0.2.11"))["Error"]
		assert e == "dial tcp 192.0.2.11:80: connect: connection refused", e
		inside("ip", "addr", "del", "192.0.2.11/32", "dev", "lo")
		inside("ip", "addr", "del", "fd00:1::11/128", "dev", "lo")
		assert peer(ParentIP="192.0.2.11") == "127.0.0.1"
		assert peer(ParentIP="fd00:1::11") == "::1"
		e = ask(dict(REQUEST, ParentIP="127.0.0.2"))["Error"]
		assert e == "dial tcp 127.0.0.2:80: connect: connection refused", e
		e = ask(dict(REQUEST, IP="::1", Proto="tcp6"))["Error"]
		assert e == "dial tcp6 [::1]:80: connect: connection refused", e
	EOF
}

case_connect_gives_a_udp_socket_too() {
	with_wire <<-'EOF'
		for proto, ip, peer in [
		    ("udp", "", ("127.0.0.1", 80)),
		    ("udp4", "127.0.0.2", ("127.0.0.2", 80)),
		    ("udp6", "::1", ("::1", 80, 0, 0)),
		    ("udp", "::", ("::1", 80, 0, 0)),
		]:
		    # Nobody has to listen for it.
		    (fd,) = dial(Proto=proto, IP=ip)
		    s = socket.socket(fileno=fd)
		    assert s.type == socket.SOCK_DGRAM and s.proto == socket.IPPROTO_UDP
		    assert s.getpeername() == peer, s.getpeername()
		(fd,) = dial(Proto="udp", ParentIP="127.0.0.2")
		assert socket.socket(fileno=fd).getpeername() == ("127.0.0.2", 80)
	EOF
}

case_sockets_are_given_that_are_not_connected() {
	for detach in '' --detach-netns; do
		with_wire <<-'EOF'
			import fcntl, errno
			detached = sys.argv[1] + "/netns"
			inside = "/proc/%s/root%s" % (sys.argv[2], detached) if os.path.exists(detached) else "/proc/%s/ns/net" % sys.argv[2]
			def sockets(proto, count):
			    s = connect()
			    s.sendall(frame({"Type": "sockets", "Proto": proto, "Count": count}))
			    data, fds, flags, _ = socket.recv_fds(s, 65536, 253)
			    assert not flags & socket.MSG_CTRUNC
			    assert read_all(s) == b""
			    return data, [socket.socket(fileno=fd) for fd in fds]
			for proto, family, kind, protocol in [
			    ("tcp4", socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP),
			    ("tcp6", socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP),
			    ("udp4", socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP),
			    ("udp6", socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_UDP),
			]:
			    for count in 1, 2, 32, 252:
			        data, socks = sockets(proto, count)
			        assert data == b"\x01", data
			        assert len(socks) == count
			        for s in socks:
			            assert (s.family, s.type, s.proto) == (family, kind, protocol)
			            assert os.get_blocking(s.fileno()) == False
			            if kind == socket.SOCK_STREAM:
			                assert s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
			                assert s.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
			                assert s.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE) == 1
			                assert s.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
			                assert s.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 15
			        assert os.fstat(fcntl.ioctl(socks[-1], 0x894C)).st_ino == os.stat(inside).st_ino
			        for s in socks: s.close()
			# Whoever holds one connects it inside.
			dial()
			_, (a, b) = sockets("tcp4", 2)
			a.setblocking(True)
			a.connect(("127.0.0.1", 80))
			a.sendall(b"echo")
			assert a.recv(10) == b"echo"
			assert b.connect_ex(("127.0.0.1", 81)) in (errno.EINPROGRESS, errno.ECONNREFUSED)
			for body, reason in [
			    ({"Proto": "tcp", "Count": 1}, 'no sockets for Proto "tcp"'),
			    ({"Proto": "sctp4", "Count": 1}, 'no sockets for Proto "sctp4"'),
			    ({"Proto": "tcp4"}, "invalid Count: 0"),
			    ({"Proto": "tcp4", "Count": 253}, "invalid Count: 253"),
			    ({"Count": 1}, 'unknown proto: ""'),
			]:
			    assert ask(dict(body, Type="sockets"))["Error"] == reason, body
		EOF
	done
}

# As many as there are descriptors for, and an error when there is none.
case_sockets_are_given_as_far_as_there_are_some() {
	with_wire <<-'EOF'
		import resource
		child = int(sys.argv[2])
		def count():
		    s = connect()
		    s.sendall(frame({"Type": "sockets", "Proto": "tcp4", "Count": 100}))
		    data, fds, flags, _ = socket.recv_fds(s, 65536, 253)
		    for fd in fds: os.close(fd)
		    rest = read_all(s)
		    return len(fds) or answer(data + rest)["Error"]
		dial()
		assert count() == 100
		old = resource.prlimit(child, resource.RLIMIT_NOFILE)
		top = max(int(fd) for fd in os.listdir("/proc/%d/fd" % child)) + 1
		free = top - len(os.listdir("/proc/%d/fd" % child))
		# One is for the request itself.
		resource.prlimit(child, resource.RLIMIT_NOFILE, (top + 10, old[1]))
		assert count() == free + 9, (count(), free)
		resource.prlimit(child, resource.RLIMIT_NOFILE, (top - free + 1, old[1]))
		if free == 0:
		    assert count() == "socket: too many open files", count()
		resource.prlimit(child, resource.RLIMIT_NOFILE, old)
		assert count() == 100
		dial()
	EOF
}

case_sockets_tell_whether_clients_addresses_are_kept() {
	with_wire --source-ip-transparent=false <<-'EOF'
		s = connect()
		s.sendall(frame({"Type": "sockets", "Proto": "tcp4", "Count": 1}))
		data, fds, rest = receive(s)
		assert data == b"\0" and len(fds) == 1
	EOF
}

case_a_frame_may_come_in_pieces() {
	with_wire <<-'EOF'
		dial()
		s = connect()
		for b in frame(REQUEST):
		    s.sendall(bytes([b]))
		    time.sleep(0.001)
		data, fds, rest = receive(s)
		assert len(fds) == 1
	EOF
}

case_failures_are_answered_with_a_reason() {
	with_wire <<-'EOF'
		for body, reason in [
		    (b"garbage", "invalid character 'g' looking for beginning of value"),
		    (b"{", "unexpected EOF"),
		    (b"1", "json: cannot unmarshal number into a request"),
		    ({"Type": "foo"}, 'unknown request type: "foo"'),
		    ({}, 'unknown request type: ""'),
		    (dict(REQUEST, Proto="foo"), 'unknown proto: "foo"'),
		    (dict(REQUEST, Proto="sctp"), "unsupported port protocol sctp"),
		    (dict(REQUEST, Port=0), "invalid Port: 0"),
		    (dict(REQUEST, Port=70000), "invalid Port: 70000"),
		    (dict(REQUEST, IP="foo"), 'invalid IP: "foo"'),
		    (dict(REQUEST, Port=81), "dial tcp 127.0.0.1:81: connect: connection refused"),
		    (dict(REQUEST, IP="192.0.2.1"), "dial tcp 192.0.2.1:80: connect: network is unreachable"),
		    (dict(REQUEST, Proto="udp", IP="192.0.2.1"), "dial udp 192.0.2.1:80: connect: network is unreachable"),
		]:
		    got = ask(body)["Error"]
		    assert got == reason, (body, got)
	EOF
}

case_lengths_out_of_range_are_refused() {
	with_wire <<-'EOF'
		for n in 0, 65537, 0xffffffff:
		    s = connect()
		    s.sendall(struct.pack("<I", n))
		    assert "1 to 65536" in answer(read_all(s))["Error"]
		s = connect()
		body = json.dumps({"Type": "init"}).encode()
		s.sendall(frame(body + b" " * (65536 - len(body))))
		assert answer(read_all(s)) is None
	EOF
}

case_clients_that_misbehave_do_no_harm() {
	with_wire <<-'EOF'
		import random
		random.seed(7)
		idle = [connect() for _ in range(200)]
		for i in range(500):
		    s = connect()
		    s.send(random.randbytes(random.randrange(1, 300)))
		    if i % 3 == 0:
		        s.shutdown(socket.SHUT_WR)
		    s.close()
		# Descriptors that nobody asked for are not kept.
		def count():
		    return len(os.listdir("/proc/%s/fd" % sys.argv[2]))
		for _ in range(100):
		    s = connect()
		    r, w = os.pipe()
		    socket.send_fds(s, [frame({"Type": "init"})], [r, w] * 8)
		    assert answer(read_all(s)) is None
		    os.close(r); os.close(w); s.close()
		dial()
		del idle
		deadline = time.time() + 15
		while count() > 40:
		    assert time.time() < deadline, count()
		    time.sleep(0.05)
	EOF
}

case_a_slow_target_holds_up_nobody() {
	with_wire <<-'EOF'
		dial()
		# A server that does not accept, whose queue is full, is a slow one.
		import subprocess
		server = """
		import socket, time
		l = socket.socket(); l.bind(("127.0.0.1", 81)); l.listen(1)
		print("up", flush=True)
		time.sleep(60)
		"""
		server = "\n".join(line.strip() for line in server.split("\n"))
		p = subprocess.Popen(["nsenter", "--preserve-credentials", "-U", "-n", "-t", sys.argv[2],
		                      "python3", "-c", server], stdout=subprocess.PIPE)
		assert p.stdout.readline() == b"up\n"
		def count():
		    return len(os.listdir("/proc/%s/fd" % sys.argv[2]))
		def settled():
		    """How many there are when all that was asked for is done."""
		    while True:
		        n = [count() for _ in range(20) if time.sleep(0.01) is None]
		        if min(n) == max(n):
		            return n[0]
		base = settled()
		hold = []
		for _ in range(50):
		    s = connect()
		    s.sendall(frame(dict(REQUEST, Port=81)))
		    hold.append(s)
		began = time.time()
		for _ in range(20):
		    dial()
		assert time.time() - began < 5
		waiting = 0
		for s in hold:
		    s.setblocking(False)
		    try:
		        s.recv(1)
		    except BlockingIOError:
		        waiting += 1
		assert waiting >= 40, waiting
		# Nobody waits for those who have gone; that they close their writing side is not that.
		stays = connect()
		stays.sendall(frame(dict(REQUEST, Port=81)))
		stays.shutdown(socket.SHUT_WR)
		assert count() >= base + 80, (count(), base)
		for s in hold:
		    s.close()
		began = time.time()
		while count() > base + 2:
		    assert time.time() - began < 10, (count(), base)
		    time.sleep(0.05)
		stays.setblocking(False)
		try:
		    raise SystemExit("answered: %r" % stays.recv(100))
		except BlockingIOError:
		    pass
		# It was there until now, with its connection.
		left = settled()
		stays.close()
		while count() > left - 2:
		    assert time.time() - began < 15, (count(), left)
		    time.sleep(0.05)
		p.kill()
		p.wait()
	EOF
}

case_a_client_s_address_is_kept_where_it_can_be() {
	with_wire <<-'EOF'
		import subprocess
		def inside(*command):
		    subprocess.run(("nsenter", "--preserve-credentials", "-U", "-n", "-t", sys.argv[2]) + command, check=True)
		def source(**more):
		    """Where the socket comes from; it works in any case."""
		    (fd,) = dial(**more)
		    s = socket.socket(fileno=fd)
		    s.settimeout(30)
		    s.sendall(b"echo")
		    assert s.recv(10) == b"echo"
		    assert s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
		    name = s.getsockname()
		    s.close()
		    return name
		assert source(SourceIP="192.0.2.7", SourcePort=40000) == ("192.0.2.7", 40000)
		assert source(SourceIP="::ffff:192.0.2.7", SourcePort=40001) == ("192.0.2.7", 40001)
		assert source(SourceIP="192.0.2.7", SourcePort=65535) == ("192.0.2.7", 65535)
		assert source(SourceIP="192.0.2.7", SourcePort=1) == ("192.0.2.7", 1)
		assert source(SourceIP="8.8.8.8", SourcePort=443) == ("8.8.8.8", 443)
		# 0.0.0.0 as the target is the loopback address.
		assert source(IP="0.0.0.0", SourceIP="192.0.2.7", SourcePort=40002) == ("192.0.2.7", 40002)
		# Not an address to come from, or not of the target's family: as without.
		for ip, port in [("192.0.2.7", 0), ("", 40000), ("127.0.0.1", 40000), ("127.0.0.9", 40000),
		                 ("0.0.0.0", 40000), ("255.255.255.255", 40000), ("224.0.0.1", 40000),
		                 ("240.0.0.1", 40000), ("::1", 40000), ("::", 40000), ("fd00::7", 40000),
		                 ("ff02::1", 40000), ("fe80::7", 40000)]:
		    name = source(SourceIP=ip, SourcePort=port)
		    assert name[0] == "127.0.0.1" and name[1] != 40000, (ip, port, name)
		# Likewise for a target of IPv6, where the answer is that nobody listens.
		for ip in "192.0.2.7", "::1", "::", "fd00::7", "ff02::1", "fe80::7", "2001:db8::1":
		    e = ask(dict(REQUEST, IP="::1", Port=81, SourceIP=ip, SourcePort=40000))["Error"]
		    assert e == "dial tcp [::1]:81: connect: connection refused", (ip, e)
		# Garbage is refused.
		for more, reason in [
		    ({"SourceIP": "foo"}, 'invalid SourceIP: "foo"'),
		    ({"SourceIP": "fe80::7%lo", "SourcePort": 1}, 'invalid SourceIP: "fe80::7%lo"'),
		    ({"SourceIP": "192.0.2.7", "SourcePort": 70000}, "invalid SourcePort: 70000"),
		    ({"SourceIP": "192.0.2.7", "SourcePort": -1}, "invalid SourcePort: -1"),
		]:
		    e = ask(dict(REQUEST, **more))["Error"]
		    assert e == reason, (more, e)
		assert "SourcePort" in ask(dict(REQUEST, SourceIP="192.0.2.7", SourcePort="x"))["Error"]
		# The namespace's own address is as good as any, but for a port that is in use there,
		# and for the very target: a socket would be connected to itself.
		inside("ip", "addr", "add", "192.0.2.9/32", "dev", "lo")
		assert source(SourceIP="192.0.2.9", SourcePort=40000) == ("192.0.2.9", 40000)
		e = ask(dict(REQUEST, IP="192.0.2.9", Port=81, SourceIP="192.0.2.9", SourcePort=81))["Error"]
		assert e == "dial tcp 192.0.2.9:81: connect: connection refused", e
		p = subprocess.Popen(["nsenter", "--preserve-credentials", "-U", "-n", "-t", sys.argv[2], "python3", "-c",
		                      "import socket, time; s = socket.create_server(('192.0.2.9', 40000)); "
		                      "print('up', flush=True); time.sleep(60)"], stdout=subprocess.PIPE)
		assert p.stdout.readline() == b"up\n"
		assert source(SourceIP="192.0.2.9", SourcePort=40000)[0] == "127.0.0.1"
		p.kill()
		p.wait()
		# Two connections from one address and port to the same target cannot be; the second is
		# as without.
		(fd,) = dial(SourceIP="192.0.2.7", SourcePort=40009)
		assert source(SourceIP="192.0.2.7", SourcePort=40009)[0] == "127.0.0.1"
		os.close(fd)
		# Not for UDP.
		(fd,) = dial(Proto="udp", SourceIP="192.0.2.7", SourcePort=40010)
		assert socket.socket(fileno=fd).getsockname()[0] == "127.0.0.1"
		# A target on no network: not from there, and not at all.
		e = ask(dict(REQUEST, IP="198.51.100.1", SourceIP="192.0.2.7", SourcePort=40000))["Error"]
		assert e == "dial tcp 198.51.100.1:80: connect: network is unreachable", e
	EOF
}

case_a_client_s_address_is_not_kept_if_it_is_switched_off() {
	with_wire --source-ip-transparent=false <<-'EOF'
		(fd,) = dial(SourceIP="192.0.2.7", SourcePort=40000)
		assert socket.socket(fileno=fd).getsockname()[0] == "127.0.0.1"
	EOF
}

run_cases \
	init_is_answered_with_null \
	connect_gives_one_connected_socket_of_the_namespace \
	the_address_is_chosen_by_the_rule \
	connect_gives_a_udp_socket_too \
	sockets_are_given_that_are_not_connected \
	sockets_are_given_as_far_as_there_are_some \
	sockets_tell_whether_clients_addresses_are_kept \
	a_client_s_address_is_kept_where_it_can_be \
	a_client_s_address_is_not_kept_if_it_is_switched_off \
	a_frame_may_come_in_pieces \
	failures_are_answered_with_a_reason \
	lengths_out_of_range_are_refused \
	clients_that_misbehave_do_no_harm \
	a_slow_target_holds_up_nobody
