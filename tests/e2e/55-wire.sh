#!/bin/sh
# The protocol of .bp.sock (ports/portservice.h), spoken by another program than the launcher.
. "$(dirname "$0")/lib.sh"

# with_wire OPTIONS... <SCRIPT: starts a launcher with an echo server inside, on port 80, and runs a
# Python script on the host. The script begins with the imports below, of which `wire` is a client of
# .bp.sock, and with the PID of the launcher's child in `child`. With detach=--detach-netns, the server is
# in the detached network namespace.
with_wire() {
	# shellcheck disable=SC2086 # options
	start --net=none --port-driver=builtin ${detach-} "$@" sh -c "
		exec ${detach:+nsenter --net=\$ROOTLESSKIT_STATE_DIR/netns} \
			python3 $tools/echo.py 127.0.0.1:80/tcp"
	{
		echo 'import os, socket, sys, time'
		echo 'import proc, tcp, wire'
		echo 'child = sys.argv[1]'
		cat
	} >"$tmp/script.py"
	ROOTLESSKIT_STATE_DIR=$state python3 "$tmp/script.py" "$child" || fail 'see above'
	stop
}

# answer_to_init TEXT OPTIONS...: init is answered with this JSON text
answer_to_init() {
	answer=$1
	shift
	for detach in '' --detach-netns; do
		with_wire "$@" <<-EOF
			answer = '$answer'
			for request in [
			    {"Type": "init"},
			    {"Type": "init", "Proto": "", "IP": "", "Port": 0, "ParentIP": "", "HostGatewayIP": ""},
			]:
			    got = wire.read_rest(wire.send(request))
			    assert got == wire.frame(answer.encode()), got
		EOF
	done
}
case_init_is_answered_with_the_backend_that_keeps_client_addresses() {
	answer_to_init '{"Error":"","SourceIPTransparentBackend":"nft"}'
	answer_to_init '{"Error":"","SourceIPTransparentBackend":"iptables"}' --source-ip-transparent-backend=iptables
	answer_to_init '{"Error":""}' --source-ip-transparent=false
	answer_to_init '{"Error":""}' --source-ip-transparent=false --source-ip-transparent-backend=nft
}

case_connect_returns_a_connected_socket_of_the_namespace() {
	for detach in '' --detach-netns; do
		with_wire <<-'EOF'
			s = wire.dial()
			assert s.family == socket.AF_INET and s.type == socket.SOCK_STREAM
			assert s.getpeername() == ("127.0.0.1", 80)
			tcp.echo(s, b"echo")
			tcp.check_options(s)
			assert proc.netns_of_socket(s) == wire.netns_inside(child)
			assert proc.netns_of_socket(s) != os.stat("/proc/self/ns/net").st_ino
		EOF
	done
}

case_the_target_address_follows_from_the_parent_and_gateway_addresses() {
	with_wire <<-'EOF'
		wire.dial(IP="127.0.0.1", ParentIP="192.0.2.1")
		wire.dial(ParentIP="0.0.0.0")
		wire.dial(ParentIP="192.0.2.10", HostGatewayIP="192.0.2.10")
		wire.dial(ParentIP="127.0.0.1", HostGatewayIP="192.0.2.10")
		# A ParentIP that is not local inside would lead out to the host, and into the port again.
		wire.dial(ParentIP="192.0.2.11", HostGatewayIP="192.0.2.10")
		def peer(**more):
		    return wire.dial(Proto="udp", **more).getpeername()[0]
		def inside(command):
		    proc.run_inside(child, "sh", "-c", command)
		assert peer(ParentIP="192.0.2.11") == "127.0.0.1"
		assert peer(ParentIP="fd00:1::11") == "::1"
		assert peer(ParentIP="::") == "::1"
		# A route to an address, or leave to bind to it, does not make the address local.
		inside("ip link add up0 type veth peer name up1")
		inside("ip addr add 192.0.2.20/24 dev up0")
		inside("ip addr add fd00:1::20/64 dev up0 nodad")
		inside("ip link set up1 up")
		inside("ip link set up0 up")
		inside("echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind")
		inside("echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind")
		assert peer(ParentIP="192.0.2.11") == "127.0.0.1"
		assert peer(ParentIP="fd00:1::11") == "::1"
		# An explicit address is used as it is.
		assert peer(IP="192.0.2.11") == "192.0.2.11"
		assert peer(IP="fd00:1::11") == "fd00:1::11"
		# An address that becomes local becomes the target, until it is removed.
		inside("ip addr add 192.0.2.11/32 dev lo")
		inside("ip addr add fd00:1::11/128 dev lo nodad")
		assert peer(ParentIP="192.0.2.11") == "192.0.2.11"
		assert peer(ParentIP="fd00:1::11") == "fd00:1::11"
		assert peer(ParentIP="192.0.2.11", HostGatewayIP="192.0.2.11") == "127.0.0.1"
		e = wire.error(ParentIP="192.0.2.11")
		assert e == "dial tcp 192.0.2.11:80: connect: connection refused", e
		inside("ip addr del 192.0.2.11/32 dev lo")
		inside("ip addr del fd00:1::11/128 dev lo")
		assert peer(ParentIP="192.0.2.11") == "127.0.0.1"
		assert peer(ParentIP="fd00:1::11") == "::1"
		e = wire.error(ParentIP="127.0.0.2")
		assert e == "dial tcp 127.0.0.2:80: connect: connection refused", e
		e = wire.error(IP="::1", Proto="tcp6")
		assert e == "dial tcp6 [::1]:80: connect: connection refused", e
	EOF
}

case_connect_returns_udp_sockets_too() {
	with_wire <<-'EOF'
		for proto, ip, peer in [
		    ("udp", "", ("127.0.0.1", 80)),
		    ("udp4", "127.0.0.2", ("127.0.0.2", 80)),
		    ("udp6", "::1", ("::1", 80, 0, 0)),
		    ("udp", "::", ("::1", 80, 0, 0)),
		]:
		    # UDP sockets can be connected without a server.
		    s = wire.dial(Proto=proto, IP=ip)
		    assert s.type == socket.SOCK_DGRAM and s.proto == socket.IPPROTO_UDP
		    assert s.getpeername() == peer, s.getpeername()
		assert wire.dial(Proto="udp", ParentIP="127.0.0.2").getpeername() == ("127.0.0.2", 80)
		# The address of a UDP client is not kept.
		s = wire.dial(Proto="udp", SourceIP="192.0.2.7", SourcePort=40000)
		assert s.getsockname()[0] == "127.0.0.1" and s.getsockname()[1] != 40000, s.getsockname()
	EOF
}

case_sockets_returns_unconnected_sockets() {
	for detach in '' --detach-netns; do
		with_wire <<-'EOF'
			import errno
			for proto, family, kind, protocol in [
			    ("tcp4", socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP),
			    ("tcp6", socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP),
			    ("udp4", socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP),
			    ("udp6", socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_UDP),
			]:
			    for count in 1, 2, 32, 252:
			        data, sockets = wire.sockets(proto, count)
			        assert data == b"\x01", data
			        assert len(sockets) == count
			        for s in sockets:
			            assert (s.family, s.type, s.proto) == (family, kind, protocol)
			            assert not os.get_blocking(s.fileno())
			            if kind == socket.SOCK_STREAM:
			                tcp.check_options(s)
			                assert s.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE) == 1
			        assert proc.netns_of_socket(sockets[-1]) == wire.netns_inside(child)
			        for s in sockets:
			            s.close()
			# The receiver connects them, to addresses inside.
			wire.dial()
			_, (s, other) = wire.sockets("tcp4", 2)
			s.setblocking(True)
			s.connect(("127.0.0.1", 80))
			tcp.echo(s, b"echo")
			assert other.connect_ex(("127.0.0.1", 81)) in (errno.EINPROGRESS, errno.ECONNREFUSED)
			for body, reason in [
			    ({"Proto": "tcp", "Count": 1}, 'no sockets for Proto "tcp"'),
			    ({"Proto": "sctp4", "Count": 1}, 'no sockets for Proto "sctp4"'),
			    ({"Proto": "tcp4"}, "invalid Count: 0"),
			    ({"Proto": "tcp4", "Count": 253}, "invalid Count: 253"),
			    ({"Count": 1}, 'unknown proto: ""'),
			]:
			    assert wire.ask(dict(body, Type="sockets"))["Error"] == reason, body
		EOF
	done
}

case_sockets_returns_fewer_when_file_descriptors_are_short() {
	with_wire <<-'EOF'
		import resource
		def count():
		    """The number of sockets that arrive, or the error."""
		    data, sockets = wire.sockets("tcp4", 100)
		    return len(sockets) or wire.parse(data)["Error"]
		def limit(soft):
		    resource.prlimit(int(child), resource.RLIMIT_NOFILE, (soft, hard))
		wire.dial()
		assert count() == 100
		soft, hard = resource.prlimit(int(child), resource.RLIMIT_NOFILE)
		fds = proc.fds(child)
		end = max(fds) + 1
		gaps = end - len(fds)
		# The request takes one descriptor.
		limit(end + 10)
		assert count() == gaps + 9, (count(), gaps)
		limit(end - gaps + 1)
		if gaps == 0:
		    assert count() == "socket: too many open files", count()
		limit(soft)
		assert count() == 100
		wire.dial()
	EOF
}

case_sockets_tells_whether_source_ip_is_transparent() {
	with_wire --source-ip-transparent=false <<-'EOF'
		data, sockets = wire.sockets("tcp4", 1)
		assert data == b"\0" and len(sockets) == 1
	EOF
}

case_a_request_may_arrive_in_pieces() {
	with_wire <<-'EOF'
		wire.dial()
		s = wire.open_socket()
		for byte in wire.frame(wire.CONNECT):
		    s.sendall(bytes([byte]))
		    time.sleep(0.001) # so that the child reads the bytes one by one
		data, fds = wire.receive(s)
		assert len(fds) == 1
	EOF
}

case_a_failed_request_is_answered_with_the_reason() {
	with_wire <<-'EOF'
		for body, reason in [
		    (b"garbage", "invalid character 'g' looking for beginning of value"),
		    (b"{", "unexpected EOF"),
		    (b"1", "json: cannot unmarshal number into a request"),
		    ({"Type": "foo"}, 'unknown request type: "foo"'),
		    ({}, 'unknown request type: ""'),
		    (dict(wire.CONNECT, Proto="foo"), 'unknown proto: "foo"'),
		    (dict(wire.CONNECT, Proto="sctp"), "unsupported port protocol sctp"),
		    (dict(wire.CONNECT, Port=0), "invalid Port: 0"),
		    (dict(wire.CONNECT, Port=70000), "invalid Port: 70000"),
		    (dict(wire.CONNECT, IP="foo"), 'invalid IP: "foo"'),
		    (dict(wire.CONNECT, Port=81), "dial tcp 127.0.0.1:81: connect: connection refused"),
		    (dict(wire.CONNECT, IP="192.0.2.1"), "dial tcp 192.0.2.1:80: connect: network is unreachable"),
		    (dict(wire.CONNECT, Proto="udp", IP="192.0.2.1"), "dial udp 192.0.2.1:80: connect: network is unreachable"),
		]:
		    got = wire.ask(body)["Error"]
		    assert got == reason, (body, got)
	EOF
}

case_a_length_out_of_range_is_refused() {
	with_wire <<-'EOF'
		import json, struct
		for length in 0, 65537, 0xffffffff:
		    s = wire.open_socket()
		    s.sendall(struct.pack("<I", length))
		    assert "1 to 65536" in wire.parse(wire.read_rest(s))["Error"]
		body = json.dumps({"Type": "init"}).encode()
		assert wire.parse(wire.read_rest(wire.send(body.ljust(65536), end=False)))["Error"] == ""
	EOF
}

case_misbehaving_clients_do_no_harm() {
	with_wire <<-'EOF'
		import random, waiting
		random.seed(7)
		idle = [wire.open_socket() for _ in range(200)]
		for i in range(500):
		    s = wire.open_socket()
		    s.send(random.randbytes(random.randrange(1, 300)))
		    if i % 3 == 0:
		        s.shutdown(socket.SHUT_WR)
		    s.close()
		# Descriptors that clients send are closed.
		for _ in range(100):
		    s = wire.open_socket()
		    r, w = os.pipe()
		    socket.send_fds(s, [wire.frame({"Type": "init"})], [r, w] * 8)
		    assert wire.parse(wire.read_rest(s))["Error"] == ""
		    os.close(r)
		    os.close(w)
		    s.close()
		wire.dial()
		del idle
		waiting.wait_until(lambda: proc.count_fds(child) <= 40,
		                   lambda: f"{proc.count_fds(child)} descriptors", 15)
	EOF
}

# The server does not accept, and its backlog is full: connections to it stay in SYN-SENT.
case_a_target_that_does_not_answer_blocks_no_other_request() {
	with_wire <<-'EOF'
		import subprocess, waiting
		def await_fds(most, seconds):
		    waiting.wait_until(lambda: proc.count_fds(child) <= most,
		                       lambda: f"at most {most}, but {proc.count_fds(child)} descriptors", seconds)
		def settled():
		    return waiting.settled(lambda: proc.count_fds(child))
		def is_waiting(s):
		    s.setblocking(False)
		    try:
		        s.recv(1)
		        return False
		    except BlockingIOError:
		        return True
		wire.dial()
		server = subprocess.Popen(proc.inside_command(
		    child, "python3", "-m", "listen", "--ready", "listening", "--backlog", "1", "127.0.0.1:81"))
		waiting.wait_for_file("listening")
		base = settled()
		request = dict(wire.CONNECT, Port=81)
		requests = [wire.send(request, end=False) for _ in range(50)]
		began = time.monotonic()
		for _ in range(20):
		    wire.dial()
		assert time.monotonic() - began < 5
		waiting_requests = sum(is_waiting(s) for s in requests)
		assert waiting_requests >= 40, waiting_requests
		# When a client closes its connection, the child gives up its request, but not after a half-close.
		stays = wire.send(request)
		assert proc.count_fds(child) >= base + 80, (proc.count_fds(child), base)
		for s in requests:
		    s.close()
		await_fds(base + 2, 10)
		assert is_waiting(stays), "answered"
		# The request of `stays` was under way until now, with two descriptors.
		left = settled()
		stays.close()
		await_fds(left - 2, 15)
		server.kill()
		server.wait()
	EOF
}

case_connect_keeps_the_source_address_where_it_can() {
	with_wire <<-'EOF'
		import subprocess, waiting
		def source(**more):
		    """The local address of the socket that comes, which works in any case."""
		    s = wire.dial(**more)
		    tcp.echo(s, b"echo")
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
		# The source is ignored if it cannot be a source address or is not of the target's family.
		for ip, port in [("192.0.2.7", 0), ("", 40000), ("127.0.0.1", 40000), ("127.0.0.9", 40000),
		                 ("0.0.0.0", 40000), ("255.255.255.255", 40000), ("224.0.0.1", 40000),
		                 ("240.0.0.1", 40000), ("::1", 40000), ("::", 40000), ("fd00::7", 40000),
		                 ("ff02::1", 40000), ("fe80::7", 40000)]:
		    name = source(SourceIP=ip, SourcePort=port)
		    assert name[0] == "127.0.0.1" and name[1] != 40000, (ip, port, name)
		# The same with an IPv6 target, on which no server listens.
		for ip in "192.0.2.7", "::1", "::", "fd00::7", "ff02::1", "fe80::7", "2001:db8::1":
		    e = wire.error(IP="::1", Port=81, SourceIP=ip, SourcePort=40000)
		    assert e == "dial tcp [::1]:81: connect: connection refused", (ip, e)
		# A source that is malformed is an error.
		for more, reason in [
		    ({"SourceIP": "foo"}, 'invalid SourceIP: "foo"'),
		    ({"SourceIP": "fe80::7%lo", "SourcePort": 1}, 'invalid SourceIP: "fe80::7%lo"'),
		    ({"SourceIP": "192.0.2.7", "SourcePort": 70000}, "invalid SourcePort: 70000"),
		    ({"SourceIP": "192.0.2.7", "SourcePort": -1}, "invalid SourcePort: -1"),
		]:
		    e = wire.error(**more)
		    assert e == reason, (more, e)
		assert "SourcePort" in wire.error(SourceIP="192.0.2.7", SourcePort="x")
		# An address of the namespace itself is kept too, except if the port is in use there, or if
		# the source is the target: the socket would be connected to itself.
		proc.run_inside(child, "ip", "addr", "add", "192.0.2.9/32", "dev", "lo")
		assert source(SourceIP="192.0.2.9", SourcePort=40000) == ("192.0.2.9", 40000)
		e = wire.error(IP="192.0.2.9", Port=81, SourceIP="192.0.2.9", SourcePort=81)
		assert e == "dial tcp 192.0.2.9:81: connect: connection refused", e
		server = subprocess.Popen(proc.inside_command(
		    child, "python3", "-m", "listen", "--ready", "in-use", "192.0.2.9:40000"))
		waiting.wait_for_file("in-use")
		assert source(SourceIP="192.0.2.9", SourcePort=40000)[0] == "127.0.0.1"
		server.kill()
		server.wait()
		# A second connection from the same address and port to the same target is impossible: it
		# gets another source.
		first = wire.dial(SourceIP="192.0.2.7", SourcePort=40009)
		assert source(SourceIP="192.0.2.7", SourcePort=40009)[0] == "127.0.0.1"
		first.close()
		# UDP ignores the source.
		s = wire.dial(Proto="udp", SourceIP="192.0.2.7", SourcePort=40010)
		assert s.getsockname()[0] == "127.0.0.1"
		# A target without a route stays unreachable.
		e = wire.error(IP="198.51.100.1", SourceIP="192.0.2.7", SourcePort=40000)
		assert e == "dial tcp 198.51.100.1:80: connect: network is unreachable", e
	EOF
}

case_connect_ignores_the_source_address_without_source_ip_transparent() {
	with_wire --source-ip-transparent=false <<-'EOF'
		assert wire.dial(SourceIP="192.0.2.7", SourcePort=40000).getsockname()[0] == "127.0.0.1"
	EOF
}

run_cases \
	init_is_answered_with_the_backend_that_keeps_client_addresses \
	connect_returns_a_connected_socket_of_the_namespace \
	the_target_address_follows_from_the_parent_and_gateway_addresses \
	connect_returns_udp_sockets_too \
	sockets_returns_unconnected_sockets \
	sockets_returns_fewer_when_file_descriptors_are_short \
	sockets_tells_whether_source_ip_is_transparent \
	connect_keeps_the_source_address_where_it_can \
	connect_ignores_the_source_address_without_source_ip_transparent \
	a_request_may_arrive_in_pieces \
	a_failed_request_is_answered_with_the_reason \
	a_length_out_of_range_is_refused \
	misbehaving_clients_do_no_harm \
	a_target_that_does_not_answer_blocks_no_other_request
