#!/bin/sh
# The builtin port driver for UDP, with real clients and servers. Cases that need a clock of their own, or
# a misbehaving child, are in tests/unit/ports/check_udp.c.
. "$(dirname "$0")/lib.sh"

# with_server "ADDRESS:PORT/udp..." OPTIONS...: a launcher with an echo server inside. The server also
# tells its address and the client's port (`--tell`).
with_server() {
	specs=$1
	shift
	# shellcheck disable=SC2086 # words
	start --net=none --port-driver=builtin "$@" python3 "$tools/echo.py" --ready ready --tell $specs
	wait_until 10 test -e "$tmp/ready"
}

add() {
	rootlessctl --socket "$state/api.sock" add-ports "$@"
}

remove() {
	rootlessctl --socket "$state/api.sock" remove-ports "$@"
}

case_a_published_port_reaches_the_server_inside() {
	port=$(free_port)
	with_server '127.0.0.1:53/udp 127.0.0.2:53/udp [::1]:53/udp' -p "127.0.0.1:$port:53/udp"
	assert_match 'with socat' '127.0.0.1 * hello' \
		"$(echo hello | socat -t 5 -T 5 - "UDP:127.0.0.1:$port" | head -n 1)"
	# address to send to | spec | address inside that the port leads to
	while IFS='|' read -r address spec target; do
		id=$(add "$(echo "$spec" | sed "s/PORT/$port/")")
		python3 - "$address" "$port" "$target" <<-'EOF'
			import sys, udp
			address, port, target = sys.argv[1:]
			got = udp.ask(udp.client(port, address))
			assert got.split()[0].decode() == target, got
		EOF
		remove "$id" >/dev/null
	done <<-'EOF'
		127.0.0.2|127.0.0.2:PORT:53/udp|127.0.0.2
		127.0.0.2|127.0.0.2:PORT:127.0.0.1:53/udp4|127.0.0.1
		127.0.0.3|127.0.0.3:PORT:[::1]:53/udp|::1
	EOF
	stop
}

case_proto_and_address_select_ipv4_or_ipv6() {
	need_ipv6
	port=$(free_port)
	with_server 127.0.0.1:53/udp
	# spec | answers on 127.0.0.1 | answers on ::1
	while IFS='|' read -r spec v4 v6; do
		id=$(add "$(echo "$spec" | sed "s/PORT/$port:127.0.0.1:53/")") || fail "$spec"
		python3 - "$port" "$v4" "$v6" <<-'EOF'
			import sys, udp
			port, v4, v6 = sys.argv[1:]
			def answers(address):
			    try:
			        return udp.ask(udp.client(port, address)).endswith(b"hi")
			    except ConnectionRefusedError:
			        return False
			for address, expected in ("127.0.0.1", v4), ("::1", v6):
			    assert answers(address) == (expected == "yes"), (address, expected)
		EOF
		remove "$id" >/dev/null
	done <<-EOF
		$(family_rules udp)
	EOF
	add "0.0.0.0:$port:53/udp4" "[::]:$port:127.0.0.1:53/udp6" "127.0.0.1:$port:53/tcp" >/dev/null
	python3 - "$port" <<-'EOF'
		import sys, udp
		for address in "127.0.0.1", "::1":
		    assert udp.ask(udp.client(sys.argv[1], address)).endswith(b"hi")
	EOF
	stop
}

case_wrong_specs_are_refused_with_the_reason() {
	port=$(free_port)
	start=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)
	python3 "$tools/echo.py" --ready ready "127.0.0.1:$port/udp" &
	server=$!
	wait_until 5 test -e "$tmp/ready"
	while IFS='|' read -r spec message; do
		launch --net=none --port-driver=builtin -p "$spec" true
		assert_eq "error of $spec" "[rootlesskit:parent] error: failed to expose port $message" "$err"
		assert_eq "status of $spec" 1 "$rc"
	done <<-EOF
		127.0.0.1:$port:53/udp|{udp 127.0.0.1 $port 53 }: listen udp 127.0.0.1:$port: bind: address already in use; see who has it: ss -lunp 'sport = :$port' (as root)
		127.0.0.2:$port:53/udp,127.0.0.2:$port:54/udp|{udp 127.0.0.2 $port 54 }: conflict with ID 1; that is 127.0.0.2:$port:53/udp
		127.0.0.2:$port:53/udp,127.0.0.2:$port:54/udp4|{udp4 127.0.0.2 $port 54 }: listen udp4 127.0.0.2:$port: bind: address already in use; see who has it: ss -lunp 'sport = :$port' (as root); ID 1 of this launcher is 127.0.0.2:$port:53/udp
		[::1]:$port:53/udp4|{udp4 ::1 $port 53 }: listen udp4: address ::1: no suitable address found; it is an IPv6 address: try udp or udp6
		127.0.0.1:$port:53/udp6|{udp6 127.0.0.1 $port 53 }: listen udp6: address 127.0.0.1: no suitable address found; it is an IPv4 address: try udp or udp4
		192.0.2.99:$port:53/udp|{udp 192.0.2.99 $port 53 }: listen udp 192.0.2.99:$port: bind: cannot assign requested address; it is not an address of this host (ip addr lists those)
	EOF
	send_signal TERM "$server"
	[ "$start" -gt 53 ] || skip privileged_ports "every user may bind port 53 here"
	launch --net=none --port-driver=builtin -p 127.0.0.1:53:53/udp true
	assert_eq 'a privileged port' "[rootlesskit:parent] error: failed to expose port {udp 127.0.0.1 53 53 }: cannot expose privileged port 53, you can add 'net.ipv4.ip_unprivileged_port_start=53' to /etc/sysctl.conf (currently $start), or set CAP_NET_BIND_SERVICE on rootlesskit binary, or choose a larger port number (>= $start): listen udp 127.0.0.1:53: bind: permission denied" "$err"
}

case_answers_come_from_the_address_that_the_client_sent_to() {
	port=$(free_port)
	with_server 127.0.0.1:53/udp -p "0.0.0.0:$port:53/udp"
	python3 - "$port" <<-'EOF'
		import sys, udp
		port = int(sys.argv[1])
		# A connected socket receives answers only from the address that it sends to.
		for address in "127.0.0.1", "127.0.0.3", "127.255.255.254":
		    assert udp.ask(udp.client(port, address)).endswith(b"hi")
		s = udp.unconnected()
		for address in "127.0.0.4", "127.0.0.5", "127.0.0.4":
		    s.sendto(b"hi", (address, port))
		    assert s.recvfrom(100)[1] == (address, port)
	EOF
	stop
}

# The launcher runs in a network namespace of its own, the host, and the client in another one:
#
#     client 192.0.2.99, ... -- client|host -- host 192.0.2.1, 192.0.2.2, ... -- launcher
case_a_host_with_several_addresses_answers_from_the_right_one() {
	need_ipv6
	unshare -Urn --kill-child --fork sh "$0" --on-host "$tmp" || fail 'see above'
}
is_in_other_netns() {
	[ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]
}
at_client() {
	nsenter -n -t "$client" "$@"
}
on_host() {
	unshare -n sleep 600 &
	client=$!
	wait_until 5 is_in_other_netns "$client"
	ip link set lo up
	ip link add host address 02:00:00:00:00:01 type veth peer name client netns "$client"
	ip link set host up
	at_client ip link set client up
	ip addr add 192.0.2.1/24 brd + dev host
	ip addr add 192.0.2.2/24 brd + dev host
	at_client ip addr add 192.0.2.99/24 brd + dev client
	for network in 2001:db8:: fe80::; do
		ip addr add "${network}1/64" dev host nodad
		ip addr add "${network}2/64" dev host nodad
		at_client ip addr add "${network}99/64" dev client nodad
	done
	with_server 127.0.0.1:53/udp --subid-source=self \
		-p 0.0.0.0:5301:127.0.0.1:53/udp -p 192.0.2.2:5302:127.0.0.1:53/udp \
		-p '[2001:db8::2]:5303:127.0.0.1:53/udp6' -p '[::]:5304:127.0.0.1:53/udp6'
	at_client python3 - <<-'EOF'
		import socket, udp
		scope = socket.if_nametoindex("client")
		for address, port in [
		    ("192.0.2.1", 5301), ("192.0.2.2", 5301), ("192.0.2.2", 5302),
		    ("2001:db8::1", 5301), ("2001:db8::2", 5301), ("2001:db8::2", 5303),
		    ("fe80::1%client", 5301), ("fe80::2%client", 5301), ("fe80::2%client", 5304),
		]:
		    got = udp.ask(udp.client(port, address))
		    assert got.endswith(b"hi"), (address, got)
		# The answer to a broadcast or multicast datagram comes from an address of the host.
		s = udp.unconnected()
		s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
		s.sendto(b"hi", ("192.0.2.255", 5301))
		assert s.recvfrom(100)[1] == ("192.0.2.1", 5301)
		s = udp.unconnected(socket.AF_INET6)
		s.sendto(b"hi", ("ff02::1", 5301, 0, scope))
		assert s.recvfrom(100)[1][0].startswith("fe80::")
		# From a global address to a link-local one.
		s = udp.unconnected(socket.AF_INET6)
		s.bind(("2001:db8::99", 0))
		s.connect(("fe80::2", 5301, 0, scope))
		assert udp.ask(s).endswith(b"hi")
		# Bursts arrive complete and in order, also if their datagrams are fragmented on the way.
		for address in "192.0.2.1", "2001:db8::1":
		    s = udp.client(5301, address)
		    for size in 1400, 1452, 1500, 3000, 1400:
		        burst = [bytes([i]) * size for i in range(20)]
		        for data in burst:
		            s.send(data)
		        got = [s.recv(70000) for _ in burst]
		        assert got == burst, (address, size, [len(g) for g in got])
	EOF
	stop
	send_signal TERM "$client"
}

case_datagrams_of_every_size_pass_both_ways() {
	need_ipv6
	port=$(free_port)
	with_server '127.0.0.1:53/udp [::1]:54/udp' -p "127.0.0.1:$port:53/udp" -p "[::1]:$port:54/udp"
	python3 - "$port" <<-'EOF'
		import random, sys, udp
		for address, largest in ("127.0.0.1", 65507), ("::1", 65527):
		    s = udp.client(sys.argv[1], address)
		    for size in 0, 1472, 0, 0, 9000, largest, 0, largest:
		        data = random.randbytes(size)
		        got = udp.ask(s, data)
		        assert got == data, (size, len(got))
	EOF
	stop
}

# Datagrams larger than the MTU are fragmented, and cannot be part of a GSO batch. Here such datagrams come
# alone, and between others.
case_bursts_arrive_when_datagrams_exceed_the_mtu() {
	port=$(free_port)
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:53/udp" sh -ec "
		ip link set lo mtu 1400
		exec python3 $tools/echo.py --ready ready --tell 127.0.0.1:53/udp"
	wait_until 10 test -e "$tmp/ready"
	python3 - "$port" <<-'EOF'
		import socket, sys, udp
		SOL_UDP, UDP_SEGMENT = 17, 103
		s = udp.client(sys.argv[1])
		s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
		for as_batch in False, True:
		    for size in 1000, 1372, 1373, 1400, 2000, 9000, 1200, 30000:
		        burst = [bytes([i]) * size for i in range(min(40, 65507 // size))]
		        if as_batch:
		            s.setsockopt(SOL_UDP, UDP_SEGMENT, size)
		            s.send(b"".join(burst))
		            s.setsockopt(SOL_UDP, UDP_SEGMENT, 0)
		        else:
		            for data in burst:
		                s.send(data)
		        s.send(b"end")
		        got = [s.recv(70000) for _ in burst]
		        assert got == burst, (size, [len(g) for g in got])
		        end = s.recv(70000)
		        assert end.endswith(b" end"), end
	EOF
	stop
}

case_each_client_has_its_own_flow_and_keeps_it() {
	port=$(free_port)
	with_server 127.0.0.1:53/udp -p "127.0.0.1:$port:53/udp"
	python3 - "$port" <<-'EOF'
		import sys, udp
		clients = [udp.client(sys.argv[1]) for _ in range(100)]
		for i, s in enumerate(clients):
		    s.send(b"%d" % i)
		ports = []
		for i, s in enumerate(clients):
		    _, port, data = s.recv(100).split()
		    assert data == b"%d" % i
		    ports.append(int(port))
		assert len(set(ports)) == 100
		assert [udp.inside_port(s) for s in clients] == ports
	EOF
	stop
}

case_a_burst_arrives_in_order() {
	port=$(free_port)
	with_server 127.0.0.1:53/udp -p "127.0.0.1:$port:53/udp"
	python3 - "$port" <<-'EOF'
		import socket, sys, udp
		for _ in range(20): # the first datagram of each burst opens a flow
		    s = udp.client(sys.argv[1])
		    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
		    for i in range(150):
		        s.send(b"%d" % i)
		    got = [int(s.recv(100).split()[2]) for _ in range(150)]
		    assert got == list(range(150)), got
	EOF
	stop
}

case_a_server_that_starts_late_or_restarts_is_reached() {
	port=$(free_port)
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:53/udp" sleep 600
	python3 - "$port" "$child" <<-'EOF'
		import subprocess, sys, proc, udp, waiting
		port, child = sys.argv[1:]
		s = udp.client(port)
		def send_to_nobody():
		    before = proc.count_unreachable(child)
		    s.send(b"nothing listens")
		    waiting.wait_until(lambda: proc.count_unreachable(child) > before, "the datagram arrives")
		ports = []
		for ready in "started", "restarted":
		    for _ in range(10):
		        send_to_nobody()
		    server = subprocess.Popen(proc.inside_command(
		        child, "python3", "-m", "echo", "--tell", "--ready", ready, "127.0.0.1:53/udp"))
		    waiting.wait_for_file(ready)
		    ports.append(udp.inside_port(s)) # so the first datagram arrives
		    server.terminate()
		    server.wait()
		assert ports[0] == ports[1], ports
	EOF
	stop
}

# Only the child can open flows.
case_a_stopped_child_does_not_block_open_flows() {
	port=$(free_port)
	other=$(free_port)
	with_server 127.0.0.1:53/udp -p "127.0.0.1:$port:53/udp" -p "127.0.0.1:$other:53/udp"
	python3 - "$port" "$other" "$child" <<-'EOF'
		import os, signal, socket, sys, udp
		port, other, child = map(int, sys.argv[1:])
		old = udp.client(port), udp.client(other)
		ports = [udp.inside_port(s) for s in old]
		os.kill(child, signal.SIGSTOP)
		try:
		    # The launcher's socket pools have enough sockets for the first of these.
		    new = [udp.client(port) for _ in range(200)]
		    for s in new:
		        for i in range(3):
		            s.send(b"%d" % i)
		    for _ in range(20):
		        assert [udp.inside_port(s) for s in old] == ports
		    # The last one gets no answer while the child is stopped.
		    new[-1].settimeout(0.2)
		    try:
		        raise SystemExit(f"a flow was opened: {new[-1].recv(100)!r}")
		    except socket.timeout:
		        new[-1].settimeout(10)
		finally:
		    os.kill(child, signal.SIGCONT)
		for s in new:
		    assert [int(s.recv(100).split()[2]) for _ in range(3)] == [0, 1, 2]
	EOF
	stop
}

# More clients come than the flow table holds.
case_a_flood_of_clients_does_not_evict_active_flows() {
	port=$(free_port)
	other=$(free_port)
	with_server '127.0.0.1:53/udp 127.0.0.1:80/tcp' -p "127.0.0.1:$port:53/udp" \
		-p "127.0.0.1:$other:53/udp" -p "127.0.0.1:$other:80/tcp"
	growth_kb=16384
	# Sanitizers need more memory.
	! grep -q __sanitizer "$BUILD/rlkbox" || growth_kb=$((4 * growth_kb))
	python3 - "$port" "$other" "$pid" "$growth_kb" <<-'EOF'
		import sys, proc, tcp, udp
		port, other, launcher, growth_kb = map(int, sys.argv[1:])
		table_size = min(8192, proc.fd_limit(launcher) // 4)
		old = [udp.client(port), udp.client(port), udp.client(other)]
		ports = [udp.inside_port(s) for s in old]
		assert [udp.inside_port(s) for s in old] == ports
		before_kb = proc.resident_kb(launcher)
		sent = most = 0
		while sent < table_size + 1000: # new flows may take half of the table
		    for _ in range(200):
		        s = udp.client(port)
		        s.send(b"flood")
		        s.close()
		        sent += 1
		    assert [udp.inside_port(s) for s in old] == ports, sent
		    tcp.echo(tcp.connect(other, timeout=10))
		    most = max(most, proc.count_fds(launcher))
		assert most <= table_size + 200, (most, table_size)
		after_kb = proc.resident_kb(launcher)
		assert after_kb - before_kb < growth_kb, (before_kb, after_kb)
		# New clients can still open flows.
		udp.inside_port(udp.client(port))
		udp.inside_port(udp.client(other))
	EOF
	stop
}

case_running_out_of_file_descriptors_ends_no_flow() {
	port=$(free_port)
	state=$tmp/state
	(
		ulimit -n 64
		exec env --default-signal=INT,QUIT rootlesskit --state-dir="$state" --net=none \
			--port-driver=builtin -p "127.0.0.1:$port:53/udp,127.0.0.1:$port:80/tcp" \
			python3 "$tools/echo.py" --ready ready --tell 127.0.0.1:53/udp
	) >"$tmp/bg.out" 2>"$tmp/bg.err" &
	pid=$!
	wait_ready
	wait_until 10 test -e "$tmp/ready"
	python3 - "$port" <<-'EOF'
		import socket, sys, tcp, udp, waiting
		port = sys.argv[1]
		old = udp.client(port)
		inside = udp.inside_port(old)
		assert udp.inside_port(old) == inside
		# Idle TCP clients use up the descriptors. Then more UDP clients come.
		idle = [tcp.connect(port) for _ in range(60)]
		new = [udp.client(port) for _ in range(60)]
		for s in new:
		    s.send(b"hi")
		    assert udp.inside_port(old) == inside
		for s in idle:
		    s.close()
		# Now there are descriptors for a new flow again.
		s = udp.client(port, timeout=1)
		def is_answered():
		    try:
		        return udp.inside_port(s)
		    except socket.timeout:
		        return None
		waiting.wait_until(is_answered, "a new flow", 30)
		assert udp.inside_port(old) == inside
	EOF
	[ "$(grep -c 'cannot' "$tmp/bg.err")" -le 2 ] || fail "too many warnings: $(cat "$tmp/bg.err")"
	stop
}

case_removing_a_port_ends_its_flows() {
	port=$(free_port)
	other=$(free_port)
	with_server 127.0.0.1:53/udp -p "127.0.0.1:$port:53/udp" -p "127.0.0.1:$other:53/udp"
	python3 - "$port" "$other" "$pid" "$state/api.sock" <<-'EOF'
		import subprocess, sys, proc, udp, waiting
		port, other, launcher, api = sys.argv[1:]
		before = proc.count_sockets(launcher)
		clients = [udp.client(port) for _ in range(50)]
		kept = udp.client(other)
		inside = udp.inside_port(kept)
		for s in clients:
		    udp.ask(s)
		# 51 flows, and up to 65 sockets in pools, which are closed soon.
		count = proc.count_sockets(launcher)
		assert before + 51 <= count <= before + 51 + 65, (count, before)
		subprocess.run(["rootlessctl", "--socket", api, "remove-ports", "1"], check=True)
		# Left are one flow more than before, and one listener less.
		waiting.wait_until(lambda: proc.count_sockets(launcher) == before,
		                   lambda: f"{before} sockets, but {proc.count_sockets(launcher)}", 15)
		for s in clients:
		    try:
		        raise SystemExit(f"an answer from the removed port: {udp.ask(s)!r}")
		    except ConnectionRefusedError:
		        pass
		assert udp.inside_port(kept) == inside
	EOF
	assert_eq id 3 "$(add "127.0.0.1:$port:53/udp")"
	python3 -c 'import sys, udp; udp.ask(udp.client(sys.argv[1]))' "$port"
	stop
}

case_a_server_in_a_detached_namespace_is_reached() {
	port=$(free_port)
	start --net=none --detach-netns --port-driver=builtin -p "127.0.0.1:$port:53/udp" sh -c "
		exec nsenter --net=\$ROOTLESSKIT_STATE_DIR/netns \
			python3 $tools/echo.py --ready ready --tell 127.0.0.1:53/udp"
	wait_until 10 test -e "$tmp/ready"
	python3 - "$port" <<-'EOF'
		import sys, udp
		assert udp.ask(udp.client(sys.argv[1])).startswith(b"127.0.0.1 ")
	EOF
	stop
}

case_open_flows_do_not_delay_the_exit() {
	port=$(free_port)
	with_server 127.0.0.1:53/udp -p "127.0.0.1:$port:53/udp"
	python3 - "$port" "$pid" <<-'EOF'
		import os, signal, sys, proc, udp, waiting
		port, launcher = map(int, sys.argv[1:])
		clients = [udp.client(port) for _ in range(20)]
		for s in clients:
		    udp.ask(s)
		os.kill(launcher, signal.SIGTERM)
		waiting.wait_until(lambda: proc.has_ended(launcher), "the launcher exits", 4)
	EOF
	finish
}

if [ "${1-}" = --on-host ]; then
	tmp=$2
	set -eu
	on_host
	exit
fi

run_cases \
	a_published_port_reaches_the_server_inside \
	proto_and_address_select_ipv4_or_ipv6 \
	wrong_specs_are_refused_with_the_reason \
	answers_come_from_the_address_that_the_client_sent_to \
	a_host_with_several_addresses_answers_from_the_right_one \
	datagrams_of_every_size_pass_both_ways \
	bursts_arrive_when_datagrams_exceed_the_mtu \
	each_client_has_its_own_flow_and_keeps_it \
	a_burst_arrives_in_order \
	a_server_that_starts_late_or_restarts_is_reached \
	a_stopped_child_does_not_block_open_flows \
	a_flood_of_clients_does_not_evict_active_flows \
	running_out_of_file_descriptors_ends_no_flow \
	removing_a_port_ends_its_flows \
	a_server_in_a_detached_namespace_is_reached \
	open_flows_do_not_delay_the_exit
