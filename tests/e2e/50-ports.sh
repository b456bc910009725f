#!/bin/sh
# The builtin port driver for TCP: where it listens, what it dials, and what it does with the bytes.
. "$(dirname "$0")/lib.sh"

# with_server ADDRESS: starts a launcher with a web server inside that listens on ADDRESS, port 80.
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

is_open() {
	python3 -c 'import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)' "$@"
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

case_the_ports_are_open_before_the_command_starts() {
	port=$(free_port)
	for i in 1 2 3 4 5 6 7 8 9 10; do
		launch --state-dir="$tmp/st" --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" \
			sh -c 'rootlessctl list-ports --json && cat $ROOTLESSKIT_STATE_DIR/child_pid >/dev/null'
		assert_eq "list of run $i" "{\"id\":1,\"spec\":{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":$port,\"childPort\":80}}" "$out"
	done
}

case_ports_are_added_and_removed_while_it_runs() {
	port=$(free_port)
	with_server 127.0.0.1
	assert_eq id 1 "$(add "127.0.0.1:$port:80/tcp")"
	wait_until 5 fetch "http://127.0.0.1:$port/"
	assert_eq id 1 "$(remove 1)"
	assert_fails is_open 127.0.0.1 "$port"
	assert_eq 'an ID is never used twice' 2 "$(add "127.0.0.1:$port:80/tcp")"
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
	stop
}

case_removing_a_port_closes_its_connections() {
	port=$(free_port)
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" \
		socat TCP-LISTEN:80,bind=127.0.0.1,fork EXEC:cat
	python3 - "$port" "$state/api.sock" <<-'EOF'
		import socket, subprocess, sys, time
		def connect():
		    for _ in range(100):
		        s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
		        try:
		            s.sendall(b"x")
		            if s.recv(1) == b"x":
		                return s
		        except ConnectionResetError: # socat is not there yet
		            time.sleep(0.05)
		    raise SystemExit("no server")
		s = connect()
		subprocess.run(["rootlessctl", "--socket", sys.argv[2], "remove-ports", "1"], check=True)
		try:
		    assert s.recv(1) == b"", "data after the end"
		except ConnectionResetError:
		    pass
	EOF
	stop
}

case_families() {
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

case_a_family_must_fit_the_address() {
	p=$(free_port)
	launch --net=none --port-driver=builtin -p "[::1]:$p:80/tcp4" true
	assert_eq error "[rootlesskit:parent] error: failed to expose port {tcp4 ::1 $p 80 }: listen tcp4: address ::1: no suitable address found; it is an IPv6 address: try tcp or tcp6" "$err"
	launch --net=none --port-driver=builtin -p "127.0.0.1:$p:80/tcp6" true
	assert_eq error "[rootlesskit:parent] error: failed to expose port {tcp6 127.0.0.1 $p 80 }: listen tcp6: address 127.0.0.1: no suitable address found; it is an IPv4 address: try tcp or tcp4" "$err"
}

# Where a port leads when no child IP is given.
case_the_address_that_is_dialled() {
	make_page any
	mkdir "$tmp/two"
	echo two >"$tmp/two/index.html"
	host_ip=$(ip -4 -o addr show scope global | sed -n '1s/.*inet \([0-9.]*\).*/\1/p')
	port=$(free_port)
	# One server on each address: which one answers?
	start --net=none --port-driver=builtin sh -c "
		busybox httpd -f -p 127.0.0.1:80 -h $tmp/www & a=\$!
		busybox httpd -f -p 127.0.0.2:80 -h $tmp/two & b=\$!
		trap 'kill \$a \$b; exit 0' TERM
		wait"
	check_page() {
		id=$(add "$2")
		wait_until 5 fetch "http://$1:$port/"
		assert_eq "$2" "$3" "$(fetch "http://$1:$port/")"
		remove "$id" >/dev/null
	}
	check_page 127.0.0.1 ":$port:80/tcp" any
	check_page 127.0.0.1 "0.0.0.0:$port:80/tcp" any
	check_page 127.0.0.1 "127.0.0.1:$port:80/tcp" any
	check_page 127.0.0.2 "127.0.0.2:$port:80/tcp" two
	check_page 127.0.0.1 "127.0.0.1:$port:127.0.0.2:80/tcp" two
	check_page 127.0.0.2 "127.0.0.2:$port:127.0.0.1:80/tcp" any
	if [ -n "$host_ip" ]; then
		check_page "$host_ip" "$host_ip:$port:80/tcp" any
	fi
	stop
}

case_specs_that_are_refused() {
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

case_a_port_in_use() {
	port=$(free_port)
	python3 -c 'import socket, sys, time; s = socket.socket(); s.setsockopt(1, 2, 1); s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen(); time.sleep(60)' "$port" &
	server=$!
	wait_until 5 is_open 127.0.0.1 "$port"
	launch --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" sh -c "touch $tmp/ran"
	assert_eq status 1 "$rc"
	assert_eq error "[rootlesskit:parent] error: failed to expose port {tcp 127.0.0.1 $port 80 }: listen tcp 127.0.0.1:$port: bind: address already in use; see who has it: ss -ltnp 'sport = :$port' (as root)" "$err"
	[ ! -e "$tmp/ran" ] || fail 'the command ran all the same'
	send_signal TERM "$server"
}

case_conflicts() {
	port=$(free_port)
	launch --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" -p "127.0.0.1:$port:81/tcp" true
	assert_eq error "[rootlesskit:parent] error: failed to expose port {tcp 127.0.0.1 $port 81 }: conflict with ID 1; that is 127.0.0.1:$port:80/tcp" "$err"
	launch --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp,127.0.0.1:$port:80/tcp4" true
	assert_match error "*listen tcp4 127.0.0.1:$port: bind: address already in use; see who has it: ss -ltnp 'sport = :$port' (as root); ID 1 of this launcher is 127.0.0.1:$port:80/tcp" "$err"
	launch --net=none --port-driver=builtin -p "127.0.0.1:$port:80/udp" -p "127.0.0.1:$port:80/tcp" -p "0.0.0.0:$port:81/tcp" true
	assert_match 'a wildcard' "*listen tcp 0.0.0.0:$port: bind: address already in use; *; ID 2 of this launcher is 127.0.0.1:$port:80/tcp" "$err"
}

case_a_privileged_port_names_the_three_ways_out() {
	start=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)
	[ "$start" -gt 80 ] || skip privileged_ports "every user may bind port 80 here"
	launch --net=none --port-driver=builtin -p 127.0.0.1:80:80/tcp true
	assert_eq error "[rootlesskit:parent] error: failed to expose port {tcp 127.0.0.1 80 80 }: cannot expose privileged port 80, you can add 'net.ipv4.ip_unprivileged_port_start=80' to /etc/sysctl.conf (currently $start), or set CAP_NET_BIND_SERVICE on rootlesskit binary, or choose a larger port number (>= $start): listen tcp 127.0.0.1:80: bind: permission denied" "$err"
}

case_nobody_listens_inside() {
	port=$(free_port)
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" sleep 60
	python3 - "$port" <<-'EOF'
		import socket, sys, time
		s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
		began = time.time()
		try:
		    s.recv(1)
		    raise SystemExit("a clean end, not a reset")
		except ConnectionResetError:
		    pass
		assert time.time() - began < 5, "too late"
	EOF
	stop
}

# warns_once PORT MESSAGE
warns_once() {
	wait_until 10 grep -qF "level=warning msg=\"[rootlesskit:parent] port $1: $2\"" "$tmp/bg.err"
	assert_eq "lines about $1" 1 "$(grep -cF " port $1: " "$tmp/bg.err")"
}

case_nobody_listens_inside_is_one_warning_per_port() {
	port=$(free_port) far=$(free_port)
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" -p "127.0.0.1:$port:81/udp" \
		-p "127.0.0.2:$port:82/tcp" -p "127.0.0.1:$far:192.0.2.9:80/tcp" \
		-p "127.0.0.1:$far:192.0.2.9:80/udp" sleep 60
	python3 - "$port" "$far" <<-'EOF'
		import socket, sys
		def refused(host, port):
		    s = socket.create_connection((host, port), 10)
		    try:
		        s.recv(1)
		        raise SystemExit("a clean end, not a reset")
		    except ConnectionResetError:
		        pass
		port, far = map(int, sys.argv[1:])
		for _ in range(5):
		    refused("127.0.0.1", port)
		    refused("127.0.0.1", far)
		    refused("127.0.0.2", port)
		    for p in port, far:
		        for _ in range(20):
		            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", p))
	EOF
	warns_once "127.0.0.1:$port/tcp" 'nobody listens at 127.0.0.1:80 inside (connection refused)'
	warns_once "127.0.0.1:$port/udp" 'nobody listens at 127.0.0.1:81 inside (connection refused)'
	warns_once "127.0.0.2:$port/tcp" 'nobody listens at 127.0.0.2:82 inside (connection refused)'
	warns_once "127.0.0.1:$far/tcp" '192.0.2.9:80 cannot be reached inside (network is unreachable)'
	warns_once "127.0.0.1:$far/udp" '192.0.2.9:80 cannot be reached inside (network is unreachable)'
	stop
}

case_a_server_that_comes_late_is_reached() {
	port=$(free_port)
	make_page
	# A connection that is made before the server listens is kept for a moment (10 tries).
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" sh -c "
		while [ ! -e $tmp/go ]; do sleep 0.01; done
		exec busybox httpd -f -p 127.0.0.1:80 -h $tmp/www"
	touch "$tmp/go"
	wait_until 10 fetch "http://127.0.0.1:$port/"
	stop
}

# sockets_of PID: how many sockets it holds
sockets_of() {
	find "/proc/$1/fd" -lname 'socket:*' 2>/dev/null | wc -l
}

holds_sockets() {
	[ "$(sockets_of "$1")" -eq "$2" ]
}

case_most_connections_need_no_request_to_the_child() {
	for detach in '' --detach-netns; do
		port=$(free_port)
		make_page
		start --debug --net=none --port-driver=builtin ${detach:+"$detach"} -p "127.0.0.1:$port:80/tcp" sh -c "
			exec ${detach:+nsenter --net=\$ROOTLESSKIT_STATE_DIR/netns} \
				busybox httpd -f -p 127.0.0.1:80 -h $tmp/www"
		before=$(sockets_of "$pid")
		wait_until 10 fetch "http://127.0.0.1:$port/"
		: >"$tmp/bg.err"
		python3 - "$port" <<-'EOF'
			import socket, sys
			for i in range(20):
			    # One after the other, and many at once.
			    socks = []
			    for _ in range(25):
			        s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
			        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
			        if i % 2:
			            while s.recv(1000): pass
			        socks.append(s)
			    for s in socks:
			        data = b""
			        while i % 2 == 0 and (b := s.recv(1000)): data += b
			        assert i % 2 or b"hello" in data
		EOF
		assert_eq 'connections that the child made' 0 "$(grep -c 'the child is asked' "$tmp/bg.err")"
		batches=$(grep -c 'sockets of tcp4' "$tmp/bg.err")
		# Each worker has sockets in store.
		[ "$batches" -lt 125 ] || fail "$batches batches for 500 connections"
		# What is in store goes when it is not used, which takes some looks at it.
		[ "$(sockets_of "$pid")" -gt "$before" ] || fail 'nothing is in store'
		[ -n "$detach" ] || wait_until 20 holds_sockets "$pid" "$before"
		stop
	done
}

case_connections_are_made_while_the_child_stands_still() {
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

# What a server and a client see of each other's ends, by a script each.
# talk CLIENT SERVER: python code that is given `s`, a connected socket, and `check`
talk() {
	port=$(free_port)
	cat >"$tmp/common.py" <<-'EOF'
		import hashlib, os, socket, struct, sys, time
		def reset(s):
		    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
		    s.close()
		def read_all(s):
		    out = b""
		    while True:
		        b = s.recv(65536)
		        if not b:
		            return out
		        out += b
	EOF
	cat >"$tmp/server.py" <<-EOF
		from common import *
		l = socket.socket()
		l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		l.bind(("127.0.0.1", 80))
		l.listen()
		open("$tmp/listening", "w").close()
		s, peer = l.accept()
		s.settimeout(30)
		$2
	EOF
	cat >"$tmp/client.py" <<-EOF
		from common import *
		s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 30)
		$1
	EOF
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" python3 "$tmp/server.py"
	wait_until 10 test -e "$tmp/listening"
	python3 "$tmp/client.py" "$port" || fail 'the client saw something else'
	finish
	[ "$rc" -eq 0 ] || fail "the server saw something else: $(cat "$tmp/bg.err")"
}

# reach_often PORT: more connections, one by one, than there may be sockets in store, and UDP too
reach_often() {
	python3 - "$@" <<-'EOF'
		import socket, sys
		port = int(sys.argv[1])
		for i in range(100):
		    s = socket.create_connection(("127.0.0.1", port), 10)
		    s.sendall(b"x")
		    assert s.recv(1) == b"x", i
		    s.close()
		for i in range(20):
		    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		    s.settimeout(10)
		    s.sendto(b"x", ("127.0.0.1", port))
		    assert s.recv(1) == b"x", i
	EOF
}

case_ports_go_on_without_the_files_of_the_state_directory() {
	port=$(free_port)
	for harm in 'rm "$state/.bp.sock"' 'mv "$state" "$state.away"' 'rm -r "$state"'; do
		start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" \
			-p "127.0.0.1:$port:80/udp" python3 -c '
import socket, threading
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("127.0.0.1", 80))
def datagrams():
    while True: u.sendto(*u.recvfrom(9))
threading.Thread(target=datagrams).start()
l = socket.create_server(("127.0.0.1", 80))
while True:
    s = l.accept()[0]
    s.sendall(s.recv(9))
    s.close()'
		wait_until 10 reach_often "$port"
		eval "$harm"
		reach_often "$port"
		sleep 2.5 # none of the sockets in store is left by then
		reach_often "$port"
		end_process "$pid"
		rm -rf "$state.away"
	done
}

case_half_close_by_the_client() {
	talk 's.sendall(b"question"); s.shutdown(socket.SHUT_WR); assert read_all(s) == b"answer to question"' \
		'q = read_all(s); s.sendall(b"answer to " + q); s.close()'
}

case_half_close_by_the_server() {
	talk 'assert read_all(s) == b"hello"; s.sendall(b"bye"); s.close()' \
		's.sendall(b"hello"); s.shutdown(socket.SHUT_WR); assert read_all(s) == b"bye"'
}

case_a_reset_by_the_client_reaches_the_server() {
	talk 's.sendall(b"x"); assert s.recv(1) == b"y"; reset(s)' \
		's.recv(1); s.sendall(b"y")
try:
    s.recv(1)
    sys.exit("a clean end, not a reset")
except ConnectionResetError:
    pass'
}

case_a_reset_by_the_server_reaches_the_client() {
	talk 's.sendall(b"x"); assert s.recv(1) == b"y"
try:
    s.recv(1)
    sys.exit("a clean end, not a reset")
except ConnectionResetError:
    pass' \
		's.recv(1); s.sendall(b"y"); time.sleep(0.1); reset(s)'
}

case_a_slow_reader_stops_the_writer_and_loses_nothing() {
	talk '
s.settimeout(1)
sent = 0
try:
    while sent < 1 << 30:
        sent += s.send(b"x" * 65536)
    sys.exit("nobody stopped the writer")
except socket.timeout:
    pass
s.settimeout(30)
open(os.path.join(os.path.dirname(sys.argv[0]), "sent"), "w").write(str(sent))
s.shutdown(socket.SHUT_WR)
assert read_all(s) == str(sent).encode()' '
path = os.path.join(os.path.dirname(sys.argv[0]), "sent")
while not os.path.exists(path) or not open(path).read():
    time.sleep(0.02)
n = 0
while b := s.recv(1 << 20):
    n += len(b)
s.sendall(str(n).encode()); s.close()'
	# What was on the way stood in socket buffers and not in the launcher.
	[ "$(cat "$tmp/sent")" -lt 100000000 ] || fail 'the writer was not stopped'
}

case_bulk_data_arrives_as_it_was_sent() {
	talk '
import random, threading
random.seed(1)
block = random.randbytes(1 << 20)
h = hashlib.sha256()
def send():
    for i in range(64):
        n = random.randrange(1, len(block))
        s.sendall(block[:n]); h.update(block[:n])
    s.shutdown(socket.SHUT_WR)
t = threading.Thread(target=send); t.start()
back = hashlib.sha256()
while True:
    b = s.recv(1 << 16)
    if not b: break
    back.update(b)
t.join()
assert back.digest() == h.digest(), "not what was sent"' '
while True:
    b = s.recv(100000)
    if not b: break
    s.sendall(b)
s.close()'
}

# The command has sent its last words and ended, while they are still on the way to a slow client.
case_last_words_arrive_though_the_command_has_ended() {
	talk '
s.settimeout(30)
while not os.path.exists(os.path.join(os.path.dirname(sys.argv[0]), "said")):
    time.sleep(0.02)
time.sleep(0.3) # the server has ended by now, and the launcher wants to
got = 0
while True:
    b = s.recv(100000)
    if not b: break
    got += len(b); time.sleep(0.001)
assert got == 8000000, got' '
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 << 20)
s.sendall(b"x" * 8000000)
open(os.path.join(os.path.dirname(sys.argv[0]), "said"), "w").close()'
}

# The same from a server whose kernel sends slowly, as BBR and other pacing do: what it sent last is
# neither in our sockets nor lost.
case_last_words_arrive_that_are_on_their_way_at_the_end() {
	talk '
s.settimeout(30)
got = 0
while True:
    b = s.recv(100000)
    if not b: break
    got += len(b)
assert got == 3000000, got' '
SO_MAX_PACING_RATE = 47 # socket(7) lacks it; bytes a second
s.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, 2000000)
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 << 20)
s.sendall(b"x" * 3000000)'
}

case_a_client_that_takes_nothing_is_reset_at_the_end() {
	talk '
deadline = time.time() + 20
while os.path.exists(os.path.join(os.path.dirname(sys.argv[0]), "state")):
    assert time.time() < deadline, "the launcher waits for ever"
    time.sleep(0.05)
got = 0
try:
    while True:
        b = s.recv(100000)
        if not b: sys.exit("a clean end, not a reset")
        got += len(b)
except ConnectionResetError:
    pass
assert got < 100 << 20, got' '
s.settimeout(2)
try:
    while True: s.sendall(b"x" * 1000000)
except socket.timeout:
    pass'
}

case_sockets_have_nodelay_and_keepalive() {
	port=$(free_port)
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" \
		socat TCP-LISTEN:80,bind=127.0.0.1,fork EXEC:cat
	python3 - "$port" "$pid" <<-'EOF'
		import ctypes, os, socket, sys, time
		for _ in range(200):
		    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
		    try:
		        s.sendall(b"x")
		        if s.recv(1) == b"x": break
		    except ConnectionResetError:
		        time.sleep(0.05)
		# Both sockets of the pair, as the launcher has them.
		libc = ctypes.CDLL(None, use_errno=True)
		pidfd = libc.syscall(434, int(sys.argv[2]), 0)
		pair = []
		for fd in map(int, os.listdir("/proc/%s/fd" % sys.argv[2])):
		    got = libc.syscall(438, pidfd, fd, 0)
		    assert got >= 0, os.strerror(ctypes.get_errno())
		    try:
		        t = socket.socket(fileno=got)
		        t.getpeername()
		    except OSError:
		        continue
		    if t.family == socket.AF_INET:
		        pair.append(t)
		assert len(pair) == 2, pair
		for t in pair:
		    for level, name, value in [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
		                               (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
		                               (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
		                               (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)]:
		        assert t.getsockopt(level, name) == value, (t, level, name)
	EOF
	stop
}

case_no_descriptors_left_is_no_end_of_a_port() {
	port=$(free_port)
	make_page
	(
		ulimit -n 64
		exec env --default-signal=INT,QUIT rootlesskit --state-dir="$tmp/state" --net=none \
			--port-driver=builtin -p "127.0.0.1:$port:80/tcp" sh -c "ulimit -n 1024 2>/dev/null
			exec busybox httpd -f -p 127.0.0.1:80 -h $tmp/www"
	) >"$tmp/bg.out" 2>"$tmp/bg.err" &
	pid=$!
	state=$tmp/state
	wait_ready
	wait_until 5 fetch "http://127.0.0.1:$port/"
	# More clients than it can have at once, who say nothing; then they leave.
	python3 - "$port" "$tmp/bg.err" <<-'EOF'
		import socket, sys, time
		held = []
		for _ in range(100):
		    held.append(socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10))
		until = time.monotonic() + 10
		while "cannot accept" not in open(sys.argv[2]).read() and time.monotonic() < until:
		    time.sleep(0.01)
	EOF
	wait_until 10 fetch "http://127.0.0.1:$port/"
	assert_match 'the log' '*cannot accept new connections*' "$(cat "$tmp/bg.err")"
	assert_eq 'log lines about it' 1 "$(grep -c 'cannot accept' "$tmp/bg.err")"
	stop
}

case_with_few_descriptors_it_works_or_does_not_start() {
	rc=0
	(
		ulimit -n 23
		exec rootlesskit --net=none --port-driver=builtin --workers=1 true
	) >"$tmp/out" 2>"$tmp/err" || rc=$?
	assert_eq status 1 "$rc"
	assert_match error '*the limit is 23, and they need 24*' "$(cat "$tmp/err")"
	port=$(free_port)
	make_page
	(
		ulimit -n 24
		exec env --default-signal=INT,QUIT rootlesskit --state-dir="$tmp/state" --net=none --workers=1 \
			--port-driver=builtin -p "127.0.0.1:$port:80/tcp" busybox httpd -f -p 127.0.0.1:80 -h "$tmp/www"
	) >"$tmp/bg.out" 2>"$tmp/bg.err" &
	pid=$!
	state=$tmp/state
	wait_ready
	wait_until 5 fetch "http://127.0.0.1:$port/"
	wait_until 5 rootlessctl --socket="$state/api.sock" list-ports
	stop
}

case_a_dead_target_leaves_descriptors_for_the_others() {
	good=$(free_port)
	dead=$(free_port)
	make_page
	(
		ulimit -n 256
		exec rootlesskit --state-dir="$tmp/state" --net=none --port-driver=builtin \
			-p "127.0.0.1:$good:80/tcp" -p "127.0.0.1:$dead:81/tcp" sh -c "
			python3 -c 'import socket, time
l = socket.socket(); l.bind((\"127.0.0.1\", 81)); l.listen(0)
open(\"$tmp/dead\", \"w\").close(); time.sleep(60)' &
			exec busybox httpd -f -p 127.0.0.1:80 -h $tmp/www"
	) >"$tmp/bg.out" 2>"$tmp/bg.err" &
	pid=$!
	state=$tmp/state
	wait_ready
	wait_until 10 test -e "$tmp/dead"
	wait_until 10 fetch "http://127.0.0.1:$good/"
	python3 - "$dead" "$good" <<-'EOF'
		import socket, sys, time
		# Clients that come and go, as many as there are descriptors for.
		for _ in range(120):
		    s = socket.socket(); s.setblocking(False)
		    s.connect_ex(("127.0.0.1", int(sys.argv[1])))
		    s.close() if _ % 2 else sys.modules.setdefault("held", []).append(s)
		time.sleep(0.5)
		for _ in range(20):
		    began = time.time()
		    s = socket.create_connection(("127.0.0.1", int(sys.argv[2])), 10)
		    s.sendall(b"GET / HTTP/1.0\r\n\r\n")
		    assert b"hello from inside" in s.makefile("rb").read()
		    assert time.time() - began < 3
	EOF
	pkill -KILL -P "$(tr -d ' ' <"/proc/$child/task/$child/children")" python3 || true
	stop
}

case_a_log_that_nobody_reads_stops_nothing() {
	port=$(free_port)
	make_page
	mkfifo "$tmp/fifo"
	sleep 60 <>"$tmp/fifo" & # holds it open, and reads nothing
	holder=$!
	rootlesskit --debug --state-dir="$tmp/state" --net=none --port-driver=builtin \
		-p "127.0.0.1:$port:80/tcp" busybox httpd -f -p 127.0.0.1:80 -h "$tmp/www" \
		>/dev/null 2>"$tmp/fifo" &
	pid=$!
	state=$tmp/state
	wait_ready
	wait_until 10 fetch "http://127.0.0.1:$port/"
	# Each request is a debug line; the fifo holds 64 KiB of them.
	for i in 1 2 3 4 5 6 7 8 9 10; do
		python3 - "$state/api.sock" <<-'EOF'
			import socket, sys
			s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(sys.argv[1])
			for _ in range(100):
			    s.sendall(b"GET /v1/ports HTTP/1.1\r\nHost: x\r\n\r\n")
			    while b"}]" not in s.recv(65536): pass
		EOF
	done
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
	cat "$tmp/fifo" >"$tmp/log.read" & # else the last line has no room
	reader=$!
	stop
	send_signal TERM "$holder" "$reader"
}

case_urgent_bytes_arrive_in_their_place() {
	talk 's.sendall(b"abc"); s.send(b"!", socket.MSG_OOB); s.sendall(b"defEND")
assert s.recv(100) == b"got it"' '
s.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
got = b""
while not got.endswith(b"END"): got += s.recv(100)
assert got == b"abc!defEND", got
s.sendall(b"got it"); s.close()'
}

case_many_connections_at_once() {
	port=$(free_port)
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" \
		python3 -c '
import socket, threading
l = socket.socket(); l.setsockopt(1, 2, 1); l.bind(("127.0.0.1", 80)); l.listen(1024)
import selectors
sel = selectors.DefaultSelector(); sel.register(l, 1)
while True:
    for key, _ in sel.select():
        if key.fileobj is l:
            sel.register(l.accept()[0], 1)
        else:
            b = key.fileobj.recv(4096)
            if b: key.fileobj.sendall(b)
            else: sel.unregister(key.fileobj); key.fileobj.close()'
	python3 - "$port" <<-'EOF'
		import resource, socket, sys, time
		resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
		deadline = time.time() + 30
		while True:
		    try:
		        s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
		        s.sendall(b"x"); assert s.recv(1) == b"x"; break
		    except ConnectionResetError:
		        assert time.time() < deadline; time.sleep(0.05)
		socks = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), 30) for _ in range(500)]
		for i, s in enumerate(socks): s.sendall(b"%d" % i)
		for i, s in enumerate(socks): assert s.recv(100) == b"%d" % i, i
	EOF
	# shellcheck disable=SC2317 # wait_until calls it
	descriptors() { find "/proc/$pid/fd" -mindepth 1 | wc -l; }
	# shellcheck disable=SC2317
	all_closed() { [ "$(descriptors)" -lt 40 ]; }
	wait_until 10 all_closed
	stop
}

run_cases \
	a_published_port_reaches_the_server_inside \
	the_ports_are_open_before_the_command_starts \
	ports_are_added_and_removed_while_it_runs \
	removing_a_port_closes_its_connections \
	families \
	a_family_must_fit_the_address \
	the_address_that_is_dialled \
	specs_that_are_refused \
	a_port_in_use \
	conflicts \
	a_privileged_port_names_the_three_ways_out \
	nobody_listens_inside \
	nobody_listens_inside_is_one_warning_per_port \
	a_server_that_comes_late_is_reached \
	most_connections_need_no_request_to_the_child \
	connections_are_made_while_the_child_stands_still \
	ports_go_on_without_the_files_of_the_state_directory \
	half_close_by_the_client \
	half_close_by_the_server \
	a_reset_by_the_client_reaches_the_server \
	a_reset_by_the_server_reaches_the_client \
	a_slow_reader_stops_the_writer_and_loses_nothing \
	bulk_data_arrives_as_it_was_sent \
	last_words_arrive_though_the_command_has_ended \
	last_words_arrive_that_are_on_their_way_at_the_end \
	a_client_that_takes_nothing_is_reset_at_the_end \
	sockets_have_nodelay_and_keepalive \
	no_descriptors_left_is_no_end_of_a_port \
	with_few_descriptors_it_works_or_does_not_start \
	a_dead_target_leaves_descriptors_for_the_others \
	a_log_that_nobody_reads_stops_nothing \
	urgent_bytes_arrive_in_their_place \
	many_connections_at_once
