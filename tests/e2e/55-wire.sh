#!/bin/sh
# .bp.sock on the wire, as another program would speak to it.
. "$(dirname "$0")/lib.sh"

# with_wire PYTHON: a launcher with an echo server inside, and a script with helpers to talk to
# .bp.sock as the user itself, from the host.
with_wire() {
	# shellcheck disable=SC2086 # options
	start --net=none --port-driver=builtin ${detach-} sh -c "
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
		e = ask(dict(REQUEST, ParentIP="127.0.0.2"))["Error"]
		assert e == "dial tcp 127.0.0.2:80: connect: connection refused", e
		e = ask(dict(REQUEST, IP="::1", Proto="tcp6"))["Error"]
		assert e == "dial tcp6 [::1]:80: connect: connection refused", e
		# Members of a client's address may be there.
		dial(SourceIP="192.0.2.7", SourcePort=40000)
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
		    (dict(REQUEST, Proto="udp"), "unsupported port protocol udp"),
		    (dict(REQUEST, Port=0), "invalid Port: 0"),
		    (dict(REQUEST, Port=70000), "invalid Port: 70000"),
		    (dict(REQUEST, IP="foo"), 'invalid IP: "foo"'),
		    (dict(REQUEST, Port=81), "dial tcp 127.0.0.1:81: connect: connection refused"),
		    (dict(REQUEST, IP="192.0.2.1"), "dial tcp 192.0.2.1:80: connect: network is unreachable"),
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
		p.kill()
		p.wait()
	EOF
}

run_cases \
	init_is_answered_with_null \
	connect_gives_one_connected_socket_of_the_namespace \
	the_address_is_chosen_by_the_rule \
	a_frame_may_come_in_pieces \
	failures_are_answered_with_a_reason \
	lengths_out_of_range_are_refused \
	clients_that_misbehave_do_no_harm \
	a_slow_target_holds_up_nobody
