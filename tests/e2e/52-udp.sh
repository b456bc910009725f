#!/bin/sh
# The builtin port driver for UDP, with real clients and servers. What needs the clock to be set, or
# a child that misbehaves, is in tests/unit/ports/check_udp.c.
. "$(dirname "$0")/lib.sh"

# Scripts for both ends. The server answers each datagram with "ADDRESS-IT-LISTENS-ON CLIENT-PORT "
# and the datagram, or with the datagram alone if that is long or empty.
make_scripts() {
	cat >"$tmp/server.py" <<-'EOF'
		import os, select, socket, sys
		# server.py READY ADDRESS PORT [ADDRESS PORT]...
		socks = []
		for address, port in zip(sys.argv[2::2], sys.argv[3::2]):
		    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
		    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
		    s.bind((address, int(port)))
		    socks.append(s)
		open(sys.argv[1], "w").close()
		while True:
		    for s in select.select(socks, [], [])[0]:
		        data, peer = s.recvfrom(65536)
		        if 0 < len(data) < 1000:
		            data = b"%s %d %s" % (s.getsockname()[0].encode(), peer[1], data)
		        try:
		            s.sendto(data, peer)
		        except OSError: # an ICMP error
		            pass
	EOF
	cat >"$tmp/common.py" <<-'EOF'
		import os, socket, subprocess, sys, time
		def client(address, port, timeout=10):
		    """A connected socket: it hears nothing that comes from another address."""
		    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
		    s.settimeout(timeout)
		    s.connect(socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0][4])
		    return s
		def ask(s, data=b"hi"):
		    s.send(data)
		    return s.recv(65536)
		def inside_port(s):
		    """The port that the server sees: another one means another flow."""
		    where, port, data = ask(s).split(b" ", 2)
		    return int(port)
	EOF
}

# with_server "ADDRESS PORT..." OPTIONS...: a launcher with the server inside
with_server() {
	make_scripts
	where=$1
	shift
	rm -f "$tmp/ready"
	# shellcheck disable=SC2086 # words
	start --net=none --port-driver=builtin "$@" python3 "$tmp/server.py" "$tmp/ready" $where
	wait_until 10 test -e "$tmp/ready"
}

# client ARGUMENTS... <SCRIPT
client() {
	{
		cat "$tmp/common.py"
		cat
	} >"$tmp/client.py"
	python3 "$tmp/client.py" "$@" || fail 'see above'
}

add() {
	rootlessctl --socket "$state/api.sock" add-ports "$@"
}

remove() {
	rootlessctl --socket "$state/api.sock" remove-ports "$@"
}

case_a_published_port_reaches_the_server_inside() {
	port=$(free_port)
	with_server '127.0.0.1 53 127.0.0.2 53 ::1 53' -p "127.0.0.1:$port:53/udp"
	assert_match 'with socat' '127.0.0.1 * hello' \
		"$(echo hello | socat -t 5 -T 5 - "UDP:127.0.0.1:$port" | head -n 1)"
	# Where a port leads, by the rule that TCP has too.
	while read -r address spec to; do
		id=$(add "$(echo "$spec" | sed "s/PORT/$port/")")
		client "$address" "$port" "$to" <<-'EOF'
			got = ask(client(sys.argv[1], int(sys.argv[2])))
			assert got.split()[0].decode() == sys.argv[3], got
		EOF
		remove "$id" >/dev/null
	done <<-'EOF'
		127.0.0.2 127.0.0.2:PORT:53/udp 127.0.0.2
		127.0.0.2 127.0.0.2:PORT:127.0.0.1:53/udp4 127.0.0.1
		127.0.0.3 127.0.0.3:PORT:[::1]:53/udp ::1
	EOF
	stop
}

case_families() {
	need_ipv6
	port=$(free_port)
	with_server '127.0.0.1 53'
	# spec | answers on 127.0.0.1 | answers on ::1
	while IFS='|' read -r spec v4 v6; do
		id=$(add "$(echo "$spec" | sed "s/PORT/$port:127.0.0.1:53/")") || fail "$spec"
		client "$port" "$v4" "$v6" <<-'EOF'
			for address, expected in ("127.0.0.1", sys.argv[2]), ("::1", sys.argv[3]):
			    try:
			        s = client(address, int(sys.argv[1]))
			        s.send(b"hi")
			        is_open = s.recv(100).endswith(b"hi")
			    except ConnectionRefusedError:
			        is_open = False
			    assert is_open == (expected == "yes"), (address, is_open)
		EOF
		remove "$id" >/dev/null
	done <<-EOF
		$(family_rules udp)
	EOF
	add "0.0.0.0:$port:53/udp4" "[::]:$port:127.0.0.1:53/udp6" "127.0.0.1:$port:53/tcp" >/dev/null
	client "$port" <<-'EOF'
		assert ask(client("127.0.0.1", int(sys.argv[1]))).endswith(b"hi")
		assert ask(client("::1", int(sys.argv[1]))).endswith(b"hi")
	EOF
	stop
}

case_specs_that_are_refused() {
	port=$(free_port)
	start=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)
	make_scripts
	python3 "$tmp/server.py" "$tmp/taken" 127.0.0.1 "$port" &
	server=$!
	wait_until 5 test -e "$tmp/taken"
	while IFS='|' read -r spec message; do
		# shellcheck disable=SC2086 # a list may be more than one word
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

case_answers_come_from_the_address_that_was_written_to() {
	port=$(free_port)
	with_server '127.0.0.1 53' -p "0.0.0.0:$port:53/udp"
	client "$port" <<-'EOF'
		port = int(sys.argv[1])
		for address in "127.0.0.1", "127.0.0.3", "127.255.255.254":
		    assert ask(client(address, port)).endswith(b"hi")
		# One socket that writes to two addresses hears from both.
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		s.settimeout(10)
		for address in "127.0.0.4", "127.0.0.5", "127.0.0.4":
		    s.sendto(b"hi", (address, port))
		    assert s.recvfrom(100)[1] == (address, port)
	EOF
	stop
}

# A host with several addresses, in a namespace of this test's own, and a client on another one.
case_a_host_with_several_addresses() {
	need_ipv6
	make_scripts
	cat >"$tmp/client.py" - <<-'EOF'
		for address, port in [
		    ("192.0.2.1", 5301), ("192.0.2.2", 5301), ("192.0.2.2", 5302),
		    ("2001:db8::1", 5301), ("2001:db8::2", 5301), ("2001:db8::2", 5303),
		    ("fe80::1%v1", 5301), ("fe80::2%v1", 5301), ("fe80::2%v1", 5303),
		]:
		    got = ask(client(address, port))
		    assert got.endswith(b"hi"), (address, got)
		# The answer to a broadcast or multicast comes from an address of the host.
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		s.settimeout(10)
		s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
		s.sendto(b"hi", ("192.0.2.255", 5301))
		assert s.recvfrom(100)[1] == ("192.0.2.1", 5301)
		s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
		s.settimeout(10)
		s.sendto(b"hi", ("ff02::1", 5301, 0, socket.if_nametoindex("v1")))
		assert s.recvfrom(100)[1][0].startswith("fe80::")
		# From a global address to a link-local one.
		s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
		s.settimeout(10)
		s.bind(("2001:db8::99", 0))
		s.connect(("fe80::2", 5301, 0, socket.if_nametoindex("v1")))
		assert ask(s).endswith(b"hi")
		# Whole and in order: bursts whose datagrams need fragments on the way, or do not.
		for address in "192.0.2.1", "2001:db8::1":
		    s = client(address, 5301)
		    for size in 1400, 1452, 1500, 3000, 1400:
		        burst = [bytes([i]) * size for i in range(20)]
		        for data in burst:
		            s.send(data)
		        got = [s.recv(70000) for _ in burst]
		        assert got == burst, (address, size, [len(g) for g in got])
	EOF
	cat "$tmp/common.py" "$tmp/client.py" >"$tmp/all.py"
	cat >"$tmp/host.sh" <<-'EOF'
		set -eu
		unshare -n sleep 60 &
		far=$!
		while [ "$(readlink /proc/$far/ns/net)" = "$(readlink /proc/$$/ns/net)" ]; do sleep 0.02; done
		ip link set lo up
		ip link add v0 address 02:00:00:00:00:01 type veth peer name v1 netns $far
		ip link set v0 up
		ip addr add 192.0.2.1/24 brd + dev v0
		ip addr add 192.0.2.2/24 brd + dev v0
		for a in 2001:db8::1 2001:db8::2 fe80::1 fe80::2; do ip addr add $a/64 dev v0 nodad; done
		nsenter -n -t $far sh -ec '
			ip link set v1 up
			ip addr add 192.0.2.99/24 brd + dev v1
			ip addr add 2001:db8::99/64 dev v1 nodad
			ip addr add fe80::99/64 dev v1 nodad'
		rootlesskit --state-dir="$tmp/state" --subid-source=self --net=none --port-driver=builtin \
			-p 0.0.0.0:5301:127.0.0.1:53/udp -p 192.0.2.2:5302:127.0.0.1:53/udp \
			-p '[2001:db8::2]:5303:127.0.0.1:53/udp6' -p '[::]:5304:127.0.0.1:53/udp6' \
			python3 "$tmp/server.py" "$tmp/ready" 127.0.0.1 53 &
		launcher=$!
		while [ ! -e "$tmp/ready" ]; do kill -0 $launcher; sleep 0.02; done
		sed -i 's/("fe80::2%v1", 5303)/("fe80::2%v1", 5304)/' "$tmp/all.py"
		status=0
		nsenter -n -t $far python3 "$tmp/all.py" || status=$?
		kill $launcher $far
		wait $launcher || true
		exit $status
	EOF
	env tmp="$tmp" timeout 60 unshare -Urn sh "$tmp/host.sh" || fail 'see above'
}

case_datagrams_of_every_size_pass_both_ways() {
	need_ipv6
	port=$(free_port)
	with_server '127.0.0.1 53 ::1 54' -p "127.0.0.1:$port:53/udp" -p "[::1]:$port:54/udp"
	client "$port" <<-'EOF'
		import random
		for address, largest in ("127.0.0.1", 65507), ("::1", 65527):
		    s = client(address, int(sys.argv[1]))
		    for size in 0, 1472, 0, 0, 9000, largest, 0, largest:
		        data = random.randbytes(size) if size == 0 or size >= 1000 else b""
		        s.send(data)
		        got = s.recv(70000)
		        assert got == data, (size, len(got))
	EOF
	stop
}

# Trains do not get through where their datagrams need fragments: on the way in, and in between.
case_bursts_of_any_size_on_a_small_mtu() {
	port=$(free_port)
	make_scripts
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:53/udp" sh -ec "
		ip link set lo mtu 1400
		exec python3 $tmp/server.py $tmp/ready 127.0.0.1 53"
	wait_until 10 test -e "$tmp/ready"
	client "$port" <<-'EOF'
		s = client("127.0.0.1", int(sys.argv[1]))
		s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
		for as_train in False, True:
		    for size in 1000, 1372, 1373, 1400, 2000, 9000, 1200, 30000:
		        burst = [bytes([i]) * size for i in range(min(40, 65507 // size))] + [b"end"]
		        if as_train:
		            s.setsockopt(17, 103, size) # SOL_UDP, UDP_SEGMENT
		            s.send(b"".join(burst[:-1]))
		            s.setsockopt(17, 103, 0)
		        else:
		            for data in burst[:-1]:
		                s.send(data)
		        s.send(burst[-1])
		        got = [s.recv(70000) for _ in burst]
		        assert got[:-1] == burst[:-1], (size, [len(g) for g in got])
		        assert got[-1].endswith(b" end"), got[-1]
	EOF
	stop
}

case_clients_do_not_mix_and_keep_their_flows() {
	port=$(free_port)
	with_server '127.0.0.1 53' -p "127.0.0.1:$port:53/udp"
	client "$port" <<-'EOF'
		socks = [client("127.0.0.1", int(sys.argv[1])) for _ in range(100)]
		for i, s in enumerate(socks):
		    s.send(b"%d" % i)
		ports = []
		for i, s in enumerate(socks):
		    where, port, data = s.recv(100).split()
		    assert data == b"%d" % i
		    ports.append(int(port))
		assert len(set(ports)) == 100
		assert [inside_port(s) for s in socks] == ports
	EOF
	stop
}

case_a_burst_arrives_in_order() {
	port=$(free_port)
	with_server '127.0.0.1 53' -p "127.0.0.1:$port:53/udp"
	client "$port" <<-'EOF'
		for _ in range(20): # each from a flow that is not yet open
		    s = client("127.0.0.1", int(sys.argv[1]))
		    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
		    for i in range(150):
		        s.send(b"%d" % i)
		    got = [int(s.recv(100).split()[2]) for _ in range(150)]
		    assert got == list(range(150)), got
	EOF
	stop
}

case_a_server_that_comes_late_and_comes_again_is_reached() {
	port=$(free_port)
	make_scripts
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:53/udp" sh -c "
		for i in 1 2; do
			while [ ! -e $tmp/go.\$i ]; do sleep 0.02; done
			python3 $tmp/server.py $tmp/ready.\$i 127.0.0.1 53 & server=\$!
			while [ ! -e $tmp/stop.\$i ]; do sleep 0.02; done
			kill \$server; wait \$server
			touch $tmp/gone.\$i
		done
		exec sleep 60"
	client "$port" "$tmp" <<-'EOF'
		def tell(what): open(sys.argv[2] + "/" + what, "w").close()
		def await_(what):
		    deadline = time.time() + 20
		    while not os.path.exists(sys.argv[2] + "/" + what):
		        assert time.time() < deadline, what
		        time.sleep(0.01)
		s = client("127.0.0.1", int(sys.argv[1]))
		ports = []
		for i in 1, 2:
		    for _ in range(10):
		        s.send(b"nobody hears this")
		        time.sleep(0.01)
		    tell("go.%d" % i)
		    await_("ready.%d" % i)
		    # The very first one arrives.
		    ports.append(inside_port(s))
		    tell("stop.%d" % i)
		    await_("gone.%d" % i)
		assert ports[0] == ports[1], ports
	EOF
	stop
}

# The child is what opens flows; while it stands still, what is open goes on.
case_a_slow_child_holds_up_no_open_flow() {
	port=$(free_port)
	other=$(free_port)
	with_server '127.0.0.1 53' -p "127.0.0.1:$port:53/udp" -p "127.0.0.1:$other:53/udp"
	client "$port" "$other" "$child" <<-'EOF'
		port, other, child = map(int, sys.argv[1:])
		old = client("127.0.0.1", port), client("127.0.0.1", other)
		ports = [inside_port(s) for s in old]
		os.kill(child, 19)
		try:
		    new = [client("127.0.0.1", port) for _ in range(200)]
		    for s in new:
		        for i in range(3): s.send(b"%d" % i)
		    for _ in range(20):
		        assert [inside_port(s) for s in old] == ports
		    # The first ones find a socket that was made before.
		    new[-1].settimeout(0.2)
		    try:
		        new[-1].recv(100)
		        raise SystemExit("a stopped child opened a flow")
		    except socket.timeout:
		        new[0].settimeout(10)
		finally:
		    os.kill(child, 18)
		for s in new:
		    assert [int(s.recv(100).split()[2]) for _ in range(3)] == [0, 1, 2]
	EOF
	stop
}

# More clients than the table has room for, while old ones and TCP go on.
case_a_flood_pushes_out_no_flow_that_is_used() {
	port=$(free_port)
	other=$(free_port)
	make_page 'hello from inside'
	with_server '127.0.0.1 53' -p "127.0.0.1:$port:53/udp" -p "127.0.0.1:$other:53/udp" \
		-p "127.0.0.1:$other:80/tcp"
	nsenter --preserve-credentials -U -m -n -t "$child" busybox httpd -f -p 127.0.0.1:80 -h "$tmp/www" &
	httpd=$!
	wait_until 10 fetch "http://127.0.0.1:$other/"
	growth_kb=16384
	# A sanitizer has its own idea of memory.
	! grep -q __sanitizer "$BUILD/rlkbox" || growth_kb=$((4 * growth_kb))
	client "$port" "$other" "$pid" "$growth_kb" <<-'EOF'
		import urllib.request
		port, other, pid, growth_kb = map(int, sys.argv[1:])
		def rss_kb():
		    return int([l for l in open("/proc/%d/status" % pid) if l.startswith("VmRSS")][0].split()[1])
		def descriptors():
		    return len(os.listdir("/proc/%d/fd" % pid))
		limit = int([l for l in open("/proc/%d/limits" % pid) if l.startswith("Max open files")][0].split()[3])
		bound = min(8192, limit // 4)
		old = [client("127.0.0.1", port), client("127.0.0.1", port), client("127.0.0.1", other)]
		ports = [inside_port(s) for s in old]
		assert [inside_port(s) for s in old] == ports
		before = rss_kb()
		sent = most = 0
		while sent < bound + 1000: # new flows have half of that
		    for _ in range(200):
		        s = client("127.0.0.1", port)
		        s.send(b"flood")
		        s.close()
		        sent += 1
		    assert [inside_port(s) for s in old] == ports, sent
		    assert b"hello" in urllib.request.urlopen("http://127.0.0.1:%d/" % other, timeout=10).read()
		    most = max(most, descriptors())
		assert most <= bound + 200, (most, bound)
		assert rss_kb() - before < growth_kb, (before, rss_kb())
		# And new clients find their way in.
		inside_port(client("127.0.0.1", port))
		inside_port(client("127.0.0.1", other))
	EOF
	send_signal TERM "$httpd"
	stop
}

case_no_descriptors_left_is_no_end_of_a_flow() {
	port=$(free_port)
	make_scripts
	state=$tmp/state
	(
		ulimit -n 64
		exec env --default-signal=INT,QUIT rootlesskit --state-dir="$state" --net=none \
			--port-driver=builtin -p "127.0.0.1:$port:53/udp,127.0.0.1:$port:80/tcp" \
			python3 "$tmp/server.py" "$tmp/ready" 127.0.0.1 53
	) >"$tmp/bg.out" 2>"$tmp/bg.err" &
	pid=$!
	wait_ready
	wait_until 10 test -e "$tmp/ready"
	client "$port" <<-'EOF'
		port = int(sys.argv[1])
		old = client("127.0.0.1", port)
		inside = inside_port(old)
		assert inside_port(old) == inside
		# Clients of TCP that wait for nothing, for all that there is, and some more of UDP.
		hold = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(60)]
		new = [client("127.0.0.1", port) for _ in range(60)]
		for s in new:
		    s.send(b"hi")
		    assert inside_port(old) == inside
		for s in hold:
		    s.close()
		s = client("127.0.0.1", port, 1)
		for _ in range(30):
		    try:
		        inside_port(s)
		        break
		    except socket.timeout:
		        pass
		else:
		    raise SystemExit("no new flow any more")
		assert inside_port(old) == inside
	EOF
	[ "$(grep -c 'cannot' "$tmp/bg.err")" -le 2 ] || fail "it complains too often: $(cat "$tmp/bg.err")"
	stop
}

case_removing_a_port_ends_its_flows() {
	port=$(free_port)
	other=$(free_port)
	with_server '127.0.0.1 53' -p "127.0.0.1:$port:53/udp" -p "127.0.0.1:$other:53/udp"
	client "$port" "$other" "$pid" "$state/api.sock" <<-'EOF'
		port, other, pid = map(int, sys.argv[1:4])
		def sockets():
		    found = 0
		    for fd in os.listdir("/proc/%d/fd" % pid):
		        try:
		            found += os.readlink("/proc/%d/fd/%s" % (pid, fd)).startswith("socket:")
		        except FileNotFoundError:
		            pass
		    return found
		before = sockets()
		socks = [client("127.0.0.1", port) for _ in range(50)]
		kept = client("127.0.0.1", other)
		inside = inside_port(kept)
		for s in socks: ask(s)
		# And some in store, which go soon.
		assert before + 51 <= sockets() <= before + 51 + 65, (sockets(), before)
		subprocess.run(["rootlessctl", "--socket", sys.argv[4], "remove-ports", "1"], check=True)
		# One flow, one listening socket less; rootlessctl's connection may just be ending.
		until = time.monotonic() + 15
		while sockets() != before:
		    assert time.monotonic() < until, (sockets(), before)
		    time.sleep(0.01)
		for s in socks:
		    try:
		        ask(s)
		        raise SystemExit("somebody answers")
		    except ConnectionRefusedError:
		        pass
		assert inside_port(kept) == inside
	EOF
	assert_eq id 3 "$(add "127.0.0.1:$port:53/udp")"
	client "$port" <<-'EOF'
		ask(client("127.0.0.1", int(sys.argv[1])))
	EOF
	stop
}

case_in_a_detached_namespace() {
	port=$(free_port)
	make_scripts
	start --net=none --detach-netns --port-driver=builtin -p "127.0.0.1:$port:53/udp" sh -c "
		exec nsenter --net=\$ROOTLESSKIT_STATE_DIR/netns \
			python3 $tmp/server.py $tmp/ready 127.0.0.1 53"
	wait_until 10 test -e "$tmp/ready"
	client "$port" <<-'EOF'
		assert ask(client("127.0.0.1", int(sys.argv[1]))).startswith(b"127.0.0.1 ")
	EOF
	stop
}

case_open_flows_do_not_hold_up_the_end() {
	port=$(free_port)
	with_server '127.0.0.1 53' -p "127.0.0.1:$port:53/udp"
	client "$port" "$pid" <<-'EOF'
		socks = [client("127.0.0.1", int(sys.argv[1])) for _ in range(20)]
		for s in socks: ask(s)
		began = time.time()
		os.kill(int(sys.argv[2]), 15)
		def has_ended():
		    try:
		        with open("/proc/%s/stat" % sys.argv[2]) as f:
		            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
		    except (FileNotFoundError, ProcessLookupError): # reaped before open(2) or read(2)
		        return True
		while not has_ended():
		    assert time.time() - began < 4, "the launcher waits"
		    time.sleep(0.02)
	EOF
	finish
}

run_cases \
	a_published_port_reaches_the_server_inside \
	families \
	specs_that_are_refused \
	answers_come_from_the_address_that_was_written_to \
	a_host_with_several_addresses \
	datagrams_of_every_size_pass_both_ways \
	bursts_of_any_size_on_a_small_mtu \
	clients_do_not_mix_and_keep_their_flows \
	a_burst_arrives_in_order \
	a_server_that_comes_late_and_comes_again_is_reached \
	a_slow_child_holds_up_no_open_flow \
	a_flood_pushes_out_no_flow_that_is_used \
	no_descriptors_left_is_no_end_of_a_flow \
	removing_a_port_ends_its_flows \
	in_a_detached_namespace \
	open_flows_do_not_hold_up_the_end
