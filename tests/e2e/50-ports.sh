#!/bin/sh
# The builtin port driver for TCP: where it listens, where it connects to, and that data, half-closes and
# resets reach the other side.
. "$(dirname "$0")/lib.sh"

# with_server ADDRESS OPTIONS...: starts a launcher with a web server inside that listens on ADDRESS, port
# 80.
with_server() {
	address=$1
	shift
	make_page
	start --net=none --port-driver=builtin "$@" busybox httpd -f -p "$address:80" -h "$tmp/www"
}

add() {
	rootlessctl --socket "$state/api.sock" add-ports "$@"
}

remove() {
	rootlessctl --socket "$state/api.sock" remove-ports "$@"
}

# is_open ADDRESS PORT
is_open() {
	python3 -c 'import sys, tcp; sys.exit(not tcp.is_open(sys.argv[2], sys.argv[1]))' "$@"
}

# start_with_fd_limit COUNT OPTIONS...: starts a launcher with that limit of file descriptors.
start_with_fd_limit() {
	state=$tmp/state
	(
		# shellcheck disable=SC3045 # dash and bash have it
		ulimit -n "$1"
		shift
		exec env --default-signal=INT,QUIT rootlesskit --state-dir="$state" --net=none --port-driver=builtin "$@"
	) >"$tmp/bg.out" 2>"$tmp/bg.err" </dev/null &
	pid=$!
	wait_ready
}

case_a_published_port_reaches_the_server_inside() {
	port=$(free_port)
	with_server 127.0.0.1 -p "127.0.0.1:$port:80/tcp"
	wait_until 5 fetch "http://127.0.0.1:$port/"
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
	assert_fails is_open 127.0.0.2 "$port"
	stop
	assert_fails is_open 127.0.0.1 "$port"
}

case_ports_are_open_before_the_command_starts() {
	port=$(free_port)
	for i in 1 2 3 4 5 6 7 8 9 10; do
		launch --state-dir="$tmp/st" --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" \
			sh -c 'rootlessctl list-ports --json && cat $ROOTLESSKIT_STATE_DIR/child_pid >/dev/null'
		assert_eq "list of run $i" "{\"id\":1,\"spec\":{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":$port,\"childPort\":80}}" "$out"
	done
}

case_ports_can_be_added_and_removed_at_run_time() {
	port=$(free_port)
	with_server 127.0.0.1
	assert_eq id 1 "$(add "127.0.0.1:$port:80/tcp")"
	wait_until 5 fetch "http://127.0.0.1:$port/"
	assert_eq id 1 "$(remove 1)"
	assert_fails is_open 127.0.0.1 "$port"
	assert_eq 'the next ID' 2 "$(add "127.0.0.1:$port:80/tcp")"
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
	stop
}

case_removing_a_port_closes_its_connections() {
	port=$(free_port)
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" \
		python3 "$tools/echo.py" 127.0.0.1:80/tcp
	python3 - "$port" "$state/api.sock" <<-'EOF'
		import subprocess, sys, tcp
		port, api = sys.argv[1:]
		s = tcp.connect_to_echo(port)
		subprocess.run(["rootlessctl", "--socket", api, "remove-ports", "1"], check=True)
		tcp.expect_end(s)
	EOF
	stop
}

case_proto_and_address_select_ipv4_or_ipv6() {
	need_ipv6
	with_server 127.0.0.1
	p=$(free_port)
	url="http://127.0.0.1:$p/ http://[::1]:$p/"
	# spec | answers on 127.0.0.1 | answers on ::1
	while IFS='|' read -r spec v4 v6; do
		id=$(add "$(echo "$spec" | sed "s/PORT/$p:127.0.0.1:80/")") || fail "$spec"
		for try in "127.0.0.1 $v4" "::1 $v6"; do
			# shellcheck disable=SC2086 # two words
			set -- $try
			if is_open "$1" "$p" 2>/dev/null; then is=yes; else is=no; fi
			assert_eq "$spec on $1" "$2" "$is"
		done
		remove "$id" >/dev/null
	done <<-EOF
		$(family_rules tcp)
	EOF
	add "0.0.0.0:$p:80/tcp4" >/dev/null
	add "[::]:$p:127.0.0.1:80/tcp6" >/dev/null
	for u in $url; do
		assert_eq "$u" 'hello from inside' "$(fetch "$u")"
	done
	stop
}

case_an_address_of_the_wrong_family_is_refused() {
	p=$(free_port)
	launch --net=none --port-driver=builtin -p "[::1]:$p:80/tcp4" true
	assert_eq error "[rootlesskit:parent] error: failed to expose port {tcp4 ::1 $p 80 }: listen tcp4: address ::1: no suitable address found; it is an IPv6 address: try tcp or tcp6" "$err"
	launch --net=none --port-driver=builtin -p "127.0.0.1:$p:80/tcp6" true
	assert_eq error "[rootlesskit:parent] error: failed to expose port {tcp6 127.0.0.1 $p 80 }: listen tcp6: address 127.0.0.1: no suitable address found; it is an IPv4 address: try tcp or tcp4" "$err"
}

# Without a child IP, the parent IP decides.
case_the_spec_selects_the_address_inside() {
	make_page one
	mkdir "$tmp/two"
	echo two >"$tmp/two/index.html"
	host_ip=$(ip -4 -o addr show scope global | sed -n '1s/.*inet \([0-9.]*\).*/\1/p')
	port=$(free_port)
	# A server on each of two addresses. The page tells which one has answered.
	start --net=none --port-driver=builtin sh -c "
		busybox httpd -f -p 127.0.0.1:80 -h $tmp/www & one=\$!
		busybox httpd -f -p 127.0.0.2:80 -h $tmp/two & two=\$!
		trap 'kill \$one \$two; exit 0' TERM
		wait"
	# check_page ADDRESS SPEC PAGE: at that address, the port of the spec has that page
	check_page() {
		id=$(add "$2")
		wait_until 5 fetch "http://$1:$port/"
		assert_eq "$2" "$3" "$(fetch "http://$1:$port/")"
		remove "$id" >/dev/null
	}
	check_page 127.0.0.1 ":$port:80/tcp" one
	check_page 127.0.0.1 "0.0.0.0:$port:80/tcp" one
	check_page 127.0.0.1 "127.0.0.1:$port:80/tcp" one
	check_page 127.0.0.2 "127.0.0.2:$port:80/tcp" two
	check_page 127.0.0.1 "127.0.0.1:$port:127.0.0.2:80/tcp" two
	check_page 127.0.0.2 "127.0.0.2:$port:127.0.0.1:80/tcp" one
	if [ -n "$host_ip" ]; then
		check_page "$host_ip" "$host_ip:$port:80/tcp" one
	fi
	stop
}

case_wrong_specs_are_refused_with_the_reason() {
	while IFS='|' read -r spec message; do
		launch --net=none --port-driver=builtin -p "$spec" true
		assert_eq "status of $spec" 1 "$rc"
		assert_eq "error of $spec" "[rootlesskit:parent] error: $message" "$err"
	done <<-'EOF'
		127.0.0.1:18080:80|missing proto in PortSpec string: "127.0.0.1:18080:80"; did you mean "127.0.0.1:18080:80/tcp"?
		80|missing proto in PortSpec string: "80"; the form is [PARENT_IP]:PARENT_PORT:[CHILD_IP:]CHILD_PORT/PROTO, such as 127.0.0.1:8080:80/tcp
		18080:80/tcp|unexpected ParentIP in PortSpec string: "18080:80/tcp"; did you mean ":18080:80/tcp"?
		127.0.0.1:18080:80/foo|invalid PortSpec string: "127.0.0.1:18080:80/foo": unknown proto: "foo"; PROTO is tcp, tcp4, tcp6, udp, udp4 or udp6, as in 127.0.0.1:8080:80/tcp
		127.0.0.1:0:80/tcp|invalid ParentPort: 0; ports are 1 to 65535
		127.0.0.1:18080:70000/tcp|invalid ChildPort: 70000; ports are 1 to 65535
		300.0.0.1:18080:80/tcp|unexpected ParentIP in PortSpec string: "300.0.0.1:18080:80/tcp"; the form is [PARENT_IP]:PARENT_PORT:[CHILD_IP:]CHILD_PORT/PROTO, such as 127.0.0.1:8080:80/tcp
		127.0.0.1:18080:1.2.3.4:5:80/tcp|unexpected format of PortSpec string: "127.0.0.1:18080:1.2.3.4:5:80/tcp"; the form is [PARENT_IP]:PARENT_PORT:[CHILD_IP:]CHILD_PORT/PROTO, such as 127.0.0.1:8080:80/tcp
		127.0.0.1:18080:80/sctp|failed to expose port {sctp 127.0.0.1 18080 80 }: unsupported port protocol sctp; the builtin port driver takes tcp, tcp4, tcp6, udp, udp4 and udp6
		192.0.2.99:18080:80/tcp|failed to expose port {tcp 192.0.2.99 18080 80 }: listen tcp 192.0.2.99:18080: bind: cannot assign requested address; it is not an address of this host (ip addr lists those)
	EOF
	assert_eq 'temporary state directories' '' "$(find "$tmp" -name 'rootlesskit*')"
}

case_a_port_in_use_is_refused_before_the_command_runs() {
	port=$(free_port)
	python3 "$tools/listen.py" --ready ready "127.0.0.1:$port" &
	server=$!
	wait_until 5 test -e "$tmp/ready"
	launch --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" sh -c "touch $tmp/ran"
	assert_eq status 1 "$rc"
	assert_eq error "[rootlesskit:parent] error: failed to expose port {tcp 127.0.0.1 $port 80 }: listen tcp 127.0.0.1:$port: bind: address already in use; see who has it: ss -ltnp 'sport = :$port' (as root)" "$err"
	[ ! -e "$tmp/ran" ] || fail 'the command ran'
	send_signal TERM "$server"
}

case_a_conflict_names_the_other_port() {
	port=$(free_port)
	launch --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" -p "127.0.0.1:$port:81/tcp" true
	assert_eq error "[rootlesskit:parent] error: failed to expose port {tcp 127.0.0.1 $port 81 }: conflict with ID 1; that is 127.0.0.1:$port:80/tcp" "$err"
	launch --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp,127.0.0.1:$port:80/tcp4" true
	assert_match error "*listen tcp4 127.0.0.1:$port: bind: address already in use; see who has it: ss -ltnp 'sport = :$port' (as root); ID 1 of this launcher is 127.0.0.1:$port:80/tcp" "$err"
	launch --net=none --port-driver=builtin -p "127.0.0.1:$port:80/udp" -p "127.0.0.1:$port:80/tcp" -p "0.0.0.0:$port:81/tcp" true
	assert_match 'a wildcard' "*listen tcp 0.0.0.0:$port: bind: address already in use; *; ID 2 of this launcher is 127.0.0.1:$port:80/tcp" "$err"
}

case_the_refusal_of_a_privileged_port_names_three_remedies() {
	start=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)
	[ "$start" -gt 80 ] || skip privileged_ports "every user may bind port 80 here"
	launch --net=none --port-driver=builtin -p 127.0.0.1:80:80/tcp true
	assert_eq error "[rootlesskit:parent] error: failed to expose port {tcp 127.0.0.1 80 80 }: cannot expose privileged port 80, you can add 'net.ipv4.ip_unprivileged_port_start=80' to /etc/sysctl.conf (currently $start), or set CAP_NET_BIND_SERVICE on rootlesskit binary, or choose a larger port number (>= $start): listen tcp 127.0.0.1:80: bind: permission denied" "$err"
}

case_connections_are_reset_if_no_server_listens_inside() {
	port=$(free_port)
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" sleep 600
	python3 -c 'import sys, tcp; tcp.expect_reset(tcp.connect(sys.argv[1], timeout=5))' "$port"
	stop
}

# warns_once PORT MESSAGE: the log has this warning about the port, and no other line about it
warns_once() {
	wait_until 10 grep -qF "level=warning msg=\"[rootlesskit:parent] port $1: $2\"" "$tmp/bg.err"
	assert_eq "lines about $1" 1 "$(grep -cF " port $1: " "$tmp/bg.err")"
}

case_each_port_without_a_server_inside_is_warned_of_once() {
	port=$(free_port) far=$(free_port)
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" -p "127.0.0.1:$port:81/udp" \
		-p "127.0.0.2:$port:82/tcp" -p "127.0.0.1:$far:192.0.2.9:80/tcp" \
		-p "127.0.0.1:$far:192.0.2.9:80/udp" sleep 600
	python3 - "$port" "$far" <<-'EOF'
		import sys, tcp, udp
		port, far = map(int, sys.argv[1:])
		for _ in range(5):
		    tcp.expect_reset(tcp.connect(port))
		    tcp.expect_reset(tcp.connect(far))
		    tcp.expect_reset(tcp.connect(port, "127.0.0.2"))
		    for p in port, far:
		        for _ in range(20):
		            udp.unconnected().sendto(b"x", ("127.0.0.1", p))
	EOF
	warns_once "127.0.0.1:$port/tcp" 'nobody listens at 127.0.0.1:80 inside (connection refused)'
	warns_once "127.0.0.1:$port/udp" 'nobody listens at 127.0.0.1:81 inside (connection refused)'
	warns_once "127.0.0.2:$port/tcp" 'nobody listens at 127.0.0.2:82 inside (connection refused)'
	warns_once "127.0.0.1:$far/tcp" '192.0.2.9:80 cannot be reached inside (network is unreachable)'
	warns_once "127.0.0.1:$far/udp" '192.0.2.9:80 cannot be reached inside (network is unreachable)'
	stop
}

case_a_server_that_starts_late_is_reached() {
	port=$(free_port)
	make_page
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" sleep 600
	nsenter --preserve-credentials -U -m -n -t "$child" busybox httpd -f -p 127.0.0.1:80 -h "$tmp/www" &
	server=$!
	# The launcher tries ten times to connect to the server.
	wait_until 10 fetch "http://127.0.0.1:$port/"
	end_process "$server"
	stop
}

# Each worker thread has a pool of unconnected sockets, which it fills by requests to the child.
count_sockets() {
	find "/proc/$pid/fd" -lname 'socket:*' 2>/dev/null | wc -l
}
has_sockets() {
	[ "$(count_sockets)" -eq "$1" ]
}

case_most_connections_need_no_request_to_the_child() {
	for detach in '' --detach-netns; do
		port=$(free_port)
		make_page
		start --debug --net=none --port-driver=builtin ${detach:+"$detach"} -p "127.0.0.1:$port:80/tcp" sh -c "
			exec ${detach:+nsenter --net=\$ROOTLESSKIT_STATE_DIR/netns} \
				busybox httpd -f -p 127.0.0.1:80 -h $tmp/www"
		before=$(count_sockets)
		wait_until 10 fetch "http://127.0.0.1:$port/"
		: >"$tmp/bg.err"
		python3 - "$port" <<-'EOF'
			import sys, tcp
			def send_request():
			    s = tcp.connect(sys.argv[1])
			    s.sendall(b"GET / HTTP/1.0\r\n\r\n")
			    return s
			for _ in range(10):
			    # 25 connections one after the other, and 25 at the same time
			    for _ in range(25):
			        assert b"hello" in tcp.read_all(send_request())
			    for s in [send_request() for _ in range(25)]:
			        assert b"hello" in tcp.read_all(s)
		EOF
		assert_eq 'connections that the child made' 0 "$(grep -c 'the child is asked' "$tmp/bg.err")"
		batches=$(grep -c 'sockets of tcp4' "$tmp/bg.err")
		# Each worker thread requests its own.
		[ "$batches" -lt 125 ] || fail "$batches requests for sockets for 500 connections"
		# Unused sockets are closed after a while.
		[ "$(count_sockets)" -gt "$before" ] || fail 'the socket pools are empty'
		[ -n "$detach" ] || wait_until 20 has_sockets "$before"
		stop
	done
}

case_connections_work_while_the_child_is_stopped() {
	port=$(free_port)
	make_page
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" busybox httpd -f -p 127.0.0.1:80 -h "$tmp/www"
	wait_until 10 fetch "http://127.0.0.1:$port/"
	fetch "http://127.0.0.1:$port/" >/dev/null
	send_signal STOP "$child"
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
	send_signal CONT "$child"
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
	stop
}

# reach_often PORT: makes more connections, one after the other, than the socket pools hold. Then UDP.
reach_often() {
	python3 - "$1" <<-'EOF'
		import sys, tcp, udp
		for _ in range(100):
		    with tcp.connect(sys.argv[1]) as s:
		        tcp.echo(s)
		for _ in range(20):
		    assert udp.ask(udp.client(sys.argv[1]), b"x") == b"x"
	EOF
}

case_ports_work_without_the_files_of_the_state_directory() {
	port=$(free_port)
	# shellcheck disable=SC2016 # for eval
	for harm in 'rm "$state/.bp.sock"' 'mv "$state" "$state.away"' 'rm -r "$state"'; do
		start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" -p "127.0.0.1:$port:80/udp" \
			python3 "$tools/echo.py" --ready ready 127.0.0.1:80/tcp 127.0.0.1:80/udp
		wait_until 10 test -e "$tmp/ready"
		reach_often "$port"
		eval "$harm"
		reach_often "$port"
		# When the pools are empty, the launcher has to ask the child again.
		python3 - "$pid" <<-'EOF'
			import sys, proc, waiting
			waiting.wait_until(lambda: proc.count_unused_sockets(sys.argv[1]) == 0, "the socket pools are empty")
		EOF
		reach_often "$port"
		end_process "$pid"
		rm -rf "$state.away" "$tmp/ready"
	done
}

# talk <SCRIPT: runs a Python script with functions client(s) and server(s), the two ends of a connection
# through a published port (tests/tools/talk.py). The server is the launcher's command. $CHILD is the PID
# of the launcher's child. Both functions must succeed; then the launcher ends with status 0.
talk() {
	cat >"$tmp/ends.py"
	port=$(free_port)
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" \
		python3 "$tools/talk.py" "$tmp/ends.py" serve 80
	wait_until 10 test -e "$tmp/listening"
	CHILD=$child python3 "$tools/talk.py" "$tmp/ends.py" connect "$port" || fail "client: see above; server: $(cat "$tmp/bg.err")"
	finish
	[ "$rc" -eq 0 ] || fail "server: $(cat "$tmp/bg.err")"
}

case_half_close_by_the_client_is_passed_on() {
	talk <<-'EOF'
		import socket, tcp
		def client(s):
		    s.sendall(b"question")
		    s.shutdown(socket.SHUT_WR)
		    assert tcp.read_all(s) == b"answer to question"
		def server(s):
		    s.sendall(b"answer to " + tcp.read_all(s))
	EOF
}

case_half_close_by_the_server_is_passed_on() {
	talk <<-'EOF'
		import socket, tcp
		def client(s):
		    assert tcp.read_all(s) == b"hello"
		    s.sendall(b"bye")
		def server(s):
		    s.sendall(b"hello")
		    s.shutdown(socket.SHUT_WR)
		    assert tcp.read_all(s) == b"bye"
	EOF
}

case_a_reset_by_the_client_reaches_the_server() {
	talk <<-'EOF'
		import tcp
		def client(s):
		    tcp.echo(s)
		    tcp.reset(s)
		def server(s):
		    s.sendall(s.recv(1))
		    tcp.expect_reset(s)
	EOF
}

case_a_reset_by_the_server_reaches_the_client() {
	talk <<-'EOF'
		import tcp
		def client(s):
		    tcp.echo(s)
		    s.sendall(b"got it")
		    tcp.expect_reset(s)
		def server(s):
		    s.sendall(s.recv(1))
		    assert tcp.read_exactly(s, 6) == b"got it"
		    tcp.reset(s)
	EOF
}

case_a_slow_reader_stops_the_writer_and_loses_nothing() {
	talk <<-'EOF'
		import socket, tcp, waiting
		def client(s):
		    s.settimeout(1) # stopped: nothing can be written for a second
		    sent = 0
		    try:
		        while sent < 1 << 30:
		            sent += s.send(b"x" * 65536)
		        raise AssertionError("the writer was not stopped")
		    except socket.timeout:
		        pass
		    s.settimeout(30)
		    waiting.make_file("sent", str(sent))
		    s.shutdown(socket.SHUT_WR)
		    assert int(tcp.read_all(s)) == sent
		def server(s):
		    waiting.wait_for_file("sent", 30)
		    s.sendall(str(len(tcp.read_all(s))).encode())
	EOF
	# The launcher buffers no more than its pipes and the kernel's socket buffers hold.
	[ "$(cat "$tmp/sent")" -lt 100000000 ] || fail "$(cat "$tmp/sent") bytes were buffered"
}

case_bulk_data_arrives_unchanged() {
	talk <<-'EOF'
		import hashlib, random, socket, threading
		def client(s):
		    random.seed(1)
		    block = random.randbytes(1 << 20)
		    sent, received = hashlib.sha256(), hashlib.sha256()
		    def send():
		        for _ in range(64):
		            data = block[:random.randrange(1, len(block))]
		            s.sendall(data)
		            sent.update(data)
		        s.shutdown(socket.SHUT_WR)
		    sender = threading.Thread(target=send)
		    sender.start()
		    while data := s.recv(1 << 16):
		        received.update(data)
		    sender.join()
		    assert received.digest() == sent.digest()
		def server(s):
		    while data := s.recv(100000):
		        s.sendall(data)
	EOF
}

# When the client begins to read, the command has exited, and the launcher waits only for this connection.
case_unread_data_arrives_after_the_command_has_exited() {
	talk <<-'EOF'
		import os, socket, time, proc, waiting
		def client(s):
		    waiting.wait_until(lambda: proc.has_ended(os.environ["CHILD"]), "the child exits")
		    count = 0
		    while data := s.recv(100000):
		        count += len(data)
		        time.sleep(0.001) # a slow reader
		    assert count == 8000000, count
		def server(s):
		    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 << 20)
		    s.sendall(b"x" * 8000000)
	EOF
}

# The same with a server whose kernel sends slowly, as congestion control with pacing (BBR) does. When the
# command exits, the kernel still has data that has not reached the launcher.
case_data_that_is_sent_slowly_arrives_after_the_command_has_exited() {
	talk <<-'EOF'
		import socket, tcp
		SO_MAX_PACING_RATE = 47 # the module socket lacks it
		def client(s):
		    count = len(tcp.read_all(s))
		    assert count == 3000000, count
		def server(s):
		    s.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, 2000000) # bytes per second
		    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 << 20)
		    s.sendall(b"x" * 3000000)
	EOF
}

case_a_client_that_reads_nothing_is_reset_when_the_launcher_exits() {
	talk <<-'EOF'
		import os, socket, waiting
		def client(s):
		    waiting.wait_until(lambda: not os.path.exists(waiting.path_of("state")), "the launcher exits")
		    count = 0
		    try:
		        while data := s.recv(100000):
		            count += len(data)
		        raise AssertionError("a clean end, not a reset")
		    except ConnectionResetError:
		        pass
		    assert count < 100 << 20, count
		def server(s):
		    s.settimeout(2) # until nothing can be written for two seconds
		    try:
		        while True:
		            s.sendall(b"x" * 1000000)
		    except socket.timeout:
		        pass
	EOF
}

case_sockets_have_nodelay_and_keepalive() {
	port=$(free_port)
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" \
		python3 "$tools/echo.py" 127.0.0.1:80/tcp
	python3 - "$port" "$pid" <<-'EOF'
		import socket, sys, proc, tcp
		port, launcher = sys.argv[1:]
		s = tcp.connect_to_echo(port)
		def is_connected(s):
		    try:
		        return s.getpeername()
		    except OSError:
		        return False
		# The launcher's two sockets of the connection.
		pair = [s for s in proc.copy_sockets(launcher) if s.family == socket.AF_INET and is_connected(s)]
		assert len(pair) == 2, pair
		for s in pair:
		    tcp.check_options(s)
	EOF
	stop
}

case_running_out_of_file_descriptors_ends_no_port() {
	port=$(free_port)
	make_page
	start_with_fd_limit 64 -p "127.0.0.1:$port:80/tcp" busybox httpd -f -p 127.0.0.1:80 -h "$tmp/www"
	wait_until 5 fetch "http://127.0.0.1:$port/"
	# More idle clients than the launcher has descriptors for. They leave when it has noticed.
	python3 - "$port" "$tmp/bg.err" <<-'EOF'
		import sys, tcp, waiting
		port, log = sys.argv[1:]
		clients = [tcp.connect(port, timeout=10) for _ in range(100)]
		waiting.wait_until(lambda: "cannot accept" in open(log).read(), "the launcher stops accepting", 10)
	EOF
	wait_until 10 fetch "http://127.0.0.1:$port/"
	assert_match 'the log' '*cannot accept new connections*' "$(cat "$tmp/bg.err")"
	assert_eq 'log lines about it' 1 "$(grep -c 'cannot accept' "$tmp/bg.err")"
	stop
}

case_the_launcher_needs_24_file_descriptors() {
	rc=0
	(
		# shellcheck disable=SC3045 # dash and bash have it
		ulimit -n 23
		exec rootlesskit --net=none --port-driver=builtin --workers=1 true
	) >"$tmp/out" 2>"$tmp/err" || rc=$?
	assert_eq status 1 "$rc"
	assert_match error '*the limit is 23, and they need 24*' "$(cat "$tmp/err")"
	port=$(free_port)
	make_page
	start_with_fd_limit 24 --workers=1 -p "127.0.0.1:$port:80/tcp" busybox httpd -f -p 127.0.0.1:80 -h "$tmp/www"
	wait_until 5 fetch "http://127.0.0.1:$port/"
	wait_until 5 rootlessctl --socket="$state/api.sock" list-ports
	stop
}

# Connections to a dead target are not answered: they keep their descriptors for a long time.
case_a_dead_target_leaves_file_descriptors_for_other_ports() {
	good=$(free_port)
	dead=$(free_port)
	make_page
	start_with_fd_limit 256 -p "127.0.0.1:$good:80/tcp" -p "127.0.0.1:$dead:81/tcp" \
		busybox httpd -f -p 127.0.0.1:80 -h "$tmp/www"
	nsenter --preserve-credentials -U -m -n -t "$child" python3 "$tools/listen.py" --ready ready --backlog 0 127.0.0.1:81 &
	target=$!
	wait_until 10 test -e "$tmp/ready"
	wait_until 10 fetch "http://127.0.0.1:$good/"
	python3 - "$dead" "$good" "$pid" <<-'EOF'
		import socket, sys, proc, tcp, waiting
		dead, good, launcher = map(int, sys.argv[1:])
		before = proc.count_fds(launcher)
		# Enough clients to use up all descriptors. Half of them leave at once.
		clients = []
		for i in range(120):
		    s = socket.socket()
		    s.setblocking(False)
		    s.connect_ex(("127.0.0.1", dead))
		    if i % 2:
		        s.close()
		    else:
		        clients.append(s)
		waiting.wait_until(lambda: proc.count_fds(launcher) > before + 20, "the launcher accepts them")
		waiting.settled(lambda: tcp.count_queued(dead))
		for _ in range(20):
		    s = tcp.connect(good, timeout=3)
		    s.sendall(b"GET / HTTP/1.0\r\n\r\n")
		    assert b"hello from inside" in tcp.read_all(s)
	EOF
	end_process "$target"
	stop
}

case_a_log_that_is_not_read_blocks_nothing() {
	port=$(free_port)
	make_page
	mkfifo "$tmp/fifo"
	sleep 600 <>"$tmp/fifo" & # keeps it open and reads nothing
	holder=$!
	state=$tmp/state
	rootlesskit --debug --state-dir="$state" --net=none --port-driver=builtin \
		-p "127.0.0.1:$port:80/tcp" busybox httpd -f -p 127.0.0.1:80 -h "$tmp/www" \
		>/dev/null 2>"$tmp/fifo" &
	pid=$!
	wait_ready
	wait_until 10 fetch "http://127.0.0.1:$port/"
	# Each request logs a line at debug level. The fifo holds 64 KiB.
	python3 - "$state/api.sock" <<-'EOF'
		import sys, api
		for _ in range(10):
		    s = api.connect(sys.argv[1])
		    for _ in range(100):
		        s.sendall(api.request("GET", "/v1/ports"))
		        status, body = api.read_answer(s)
		        assert status == 200 and body.endswith(b"}]"), (status, body)
	EOF
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
	cat "$tmp/fifo" >"$tmp/log.read" & # makes room for the last line
	reader=$!
	stop
	send_signal TERM "$holder" "$reader"
}

case_urgent_data_arrives_in_order() {
	talk <<-'EOF'
		import socket, tcp
		def client(s):
		    s.sendall(b"abc")
		    s.send(b"!", socket.MSG_OOB)
		    s.sendall(b"defEND")
		    assert s.recv(100) == b"got it"
		def server(s):
		    s.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
		    got = tcp.read_exactly(s, 10)
		    assert got == b"abc!defEND", got
		    s.sendall(b"got it")
	EOF
}

case_many_connections_work_at_once() {
	port=$(free_port)
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" \
		python3 "$tools/echo.py" 127.0.0.1:80/tcp
	python3 - "$port" <<-'EOF'
		import sys, proc, tcp
		port = sys.argv[1]
		proc.raise_fd_limit()
		tcp.connect_to_echo(port)
		clients = [tcp.connect(port) for _ in range(500)]
		for i, s in enumerate(clients):
		    s.sendall(b"%d" % i)
		for i, s in enumerate(clients):
		    assert s.recv(100) == b"%d" % i, i
	EOF
	# shellcheck disable=SC2317 # wait_until calls it
	all_closed() { [ "$(find "/proc/$pid/fd" -mindepth 1 | wc -l)" -lt 40 ]; }
	wait_until 10 all_closed
	stop
}

run_cases \
	a_published_port_reaches_the_server_inside \
	ports_are_open_before_the_command_starts \
	ports_can_be_added_and_removed_at_run_time \
	removing_a_port_closes_its_connections \
	proto_and_address_select_ipv4_or_ipv6 \
	an_address_of_the_wrong_family_is_refused \
	the_spec_selects_the_address_inside \
	wrong_specs_are_refused_with_the_reason \
	a_port_in_use_is_refused_before_the_command_runs \
	a_conflict_names_the_other_port \
	the_refusal_of_a_privileged_port_names_three_remedies \
	connections_are_reset_if_no_server_listens_inside \
	each_port_without_a_server_inside_is_warned_of_once \
	a_server_that_starts_late_is_reached \
	most_connections_need_no_request_to_the_child \
	connections_work_while_the_child_is_stopped \
	ports_work_without_the_files_of_the_state_directory \
	half_close_by_the_client_is_passed_on \
	half_close_by_the_server_is_passed_on \
	a_reset_by_the_client_reaches_the_server \
	a_reset_by_the_server_reaches_the_client \
	a_slow_reader_stops_the_writer_and_loses_nothing \
	bulk_data_arrives_unchanged \
	unread_data_arrives_after_the_command_has_exited \
	data_that_is_sent_slowly_arrives_after_the_command_has_exited \
	a_client_that_reads_nothing_is_reset_when_the_launcher_exits \
	sockets_have_nodelay_and_keepalive \
	running_out_of_file_descriptors_ends_no_port \
	the_launcher_needs_24_file_descriptors \
	a_dead_target_leaves_file_descriptors_for_other_ports \
	a_log_that_is_not_read_blocks_nothing \
	urgent_data_arrives_in_order \
	many_connections_work_at_once
