#!/bin/sh
# TCP over the network of our own: streams from inside to a server of the host arrive complete and in order.
# tests/tools/stream.c checks every byte. In each case about MEGABYTES are sent in each direction.
. "$(dirname "$0")/ownnet.sh"
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/network.sh"

: "${MEGABYTES:=60}"
stream=$BUILD/tools/stream

# with_network OPTIONS...: a `stream` server of the host, and a launcher with our network
with_network() {
	need_own_network
	need_tun
	port=$(free_port)
	"$stream" serve "$port" >"$tmp/verified" &
	server=$!
	trap 'end_process "$server"' EXIT
	start --subid-source=self --net=builtin --copy-up=/etc "$@" sleep 600
	wait_until 10 inside timeout 10 "$stream" send 10.0.2.2 "$port" bulk 1 1 1
	sent=1
}

# send_streams KIND COUNT: sends COUNT streams of that kind at once, each with its own bytes
send_streams() {
	seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
	inside timeout 120 "$stream" send 10.0.2.2 "$port" "$1" "$2" $((MEGABYTES * 1024 / $2)) "$seed" ||
		fail "$1 $2, seed $seed"
	sent=$((sent + $2))
}

has_verified() {
	[ "$(grep -c . "$tmp/verified")" -ge "$sent" ]
}

# Waits until the server has checked all streams, and ends the launcher.
stop_streams() {
	wait_until 60 has_verified
	assert_eq 'streams that arrived wrong' '' "$(grep -v '^ok$' "$tmp/verified" || true)"
	stop
}

case_streams_of_all_kinds_arrive_complete_with_each_mtu() {
	for mtu in 576 1500 9000 65520; do
		with_network --mtu="$mtu"
		send_streams bulk 8
		MEGABYTES=$((MEGABYTES / 10))
		for kind in small mixed slow; do
			send_streams "$kind" 8
		done
		MEGABYTES=$((MEGABYTES * 10))
		stop_streams
		end_process "$server"
	done
}

case_one_worker_and_many_work() {
	for workers in 1 4; do
		with_network --workers="$workers"
		send_streams bulk 16
		stop_streams
		end_process "$server"
	done
}

case_streams_of_a_detached_namespace_arrive_complete() {
	# shellcheck disable=SC2317,SC2329 # replaces the function of lib.sh
	inside() { inside_detached "$@"; }
	with_network --detach-netns
	send_streams mixed 8
	stop_streams
}

# Inside, a bridge's containers have the MTU 1500, and their addresses are masqueraded or routed.
case_streams_of_a_routed_namespace_arrive_complete() {
	with_network
	# shellcheck disable=SC2016 # for the inner shell
	inside sh -c 'unshare -n sleep 600 >/dev/null 2>&1 & echo $! >"$1"' - "$tmp/container"
	container=$(cat "$tmp/container")
	inside sh -ec '
		until [ "$(readlink /proc/$1/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
		ip link add br0 type veth peer name eth0 netns "$1"
		ip addr add 172.31.0.1/24 dev br0
		ip link set br0 up
		echo 1 >/proc/sys/net/ipv4/ip_forward
		nsenter -n -t "$1" sh -ec "
			ip addr add 172.31.0.2/24 dev eth0
			ip link set eth0 up
			ip route add default via 172.31.0.1"' - "$container" 
	# shellcheck disable=SC2317,SC2329 # replaces the function of lib.sh
	inside() { nsenter --preserve-credentials -U -m -n"/proc/$container/ns/net" -t "$child" "$@"; }
	send_streams bulk 4
	MEGABYTES=$((MEGABYTES / 10))
	send_streams mixed 4
	send_signal KILL "$container"
	wait_until 5 has_ended "$container"
	stop_streams
}

# As many connections at once, or as the hard limit of descriptors allows.
MANY=10000

# For `sh -c "$with_all_descriptors" - COMMAND...`: a shell whose soft limit is the hard one
with_all_descriptors='ulimit -S -n "$(ulimit -H -n)"; exec "$@"'

# Opens connections, 250 at a time, and asks on each, with bytes of its own, when all are open.
many_clients='
import socket, sys
connections = []
count = int(sys.argv[2])
while len(connections) < count:
    batch = [socket.socket() for _ in range(min(250, count - len(connections)))]
    for s in batch:
        s.setblocking(False)
        s.connect_ex(("10.0.2.2", int(sys.argv[1])))
    for s in batch:
        s.settimeout(60)
        s.send(b"open ")
    connections += batch
for i, s in enumerate(connections):
    s.send(b"%05d" % i)
for i, s in enumerate(connections):
    wanted = b"open %05d" % i
    while wanted:
        answer = s.recv(100)
        assert answer and wanted.startswith(answer), (i, answer)
        wanted = wanted[len(answer):]
print("answered")
'

case_ten_thousand_connections_at_once_answer() {
	need_own_network
	need_tun
	limit=$(ulimit -H -n)
	[ "$limit" = unlimited ] || [ "$limit" -gt $((MANY + 500)) ] || MANY=$((limit - 500))
	port=$(free_port)
	sh -c "$with_all_descriptors" - python3 "$tools/echo.py" --ready listening "127.0.0.1:$port/tcp" &
	server=$!
	trap 'end_process "$server"' EXIT
	wait_until 10 test -e "$tmp/listening"
	launch --subid-source=self --net=builtin --copy-up=/etc sh -c "$with_all_descriptors" - \
		timeout 100 python3 -c "$many_clients" "$port" "$MANY"
	assert_eq "output, with $MANY connections" 'answered' "$out$err"
}

# What one end does, and what the other must see. The client begins with the name of the case, which tells
# the server what to do.
case_ends_and_resets_are_passed_on() {
	need_own_network
	need_tun
	port=$(free_port)
	cat >"$tmp/server.py" <<-'EOT'
		import socket, sys
		import tcp
		from waiting import make_file
		def half_close_by_the_client(s):
		    assert tcp.read_all(s) == b"question"
		    s.sendall(b"answer" * 100000)
		def half_close_by_the_server(s):
		    s.sendall(b"answer" * 100000)
		    s.shutdown(socket.SHUT_WR)
		    assert tcp.read_all(s) == b"late" * 100000
		def reset_by_the_client(s):
		    tcp.expect_reset(s)
		def reset_by_the_server(s):
		    assert tcp.read_exactly(s, 1) == b"x"
		    tcp.reset(s)
		def close_with_unread_bytes(s):
		    assert tcp.read_exactly(s, 1) == b"x"
		def urgent_byte(s):
		    s.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
		    assert tcp.read_all(s) == b"before!after"
		def urgent_byte_from_the_server(s):
		    s.sendall(b"before")
		    s.send(b"!", socket.MSG_OOB)
		    s.sendall(b"after")
		def both_close_at_once(s):
		    s.close()
		server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
		make_file("listening")
		while True:
		    s, _ = server.accept()
		    s.settimeout(20)
		    name = tcp.read_exactly(s, 30).decode().strip()
		    if name == "end":
		        break
		    globals()[name](s)
		    s.close()
		    print(name, "ok", flush=True)
	EOT
	cat >"$tmp/client.py" <<-'EOT'
		import socket, sys
		import tcp
		def half_close_by_the_client(s):
		    s.sendall(b"question")
		    s.shutdown(socket.SHUT_WR)
		    assert tcp.read_all(s) == b"answer" * 100000
		def half_close_by_the_server(s):
		    assert tcp.read_all(s) == b"answer" * 100000
		    s.sendall(b"late" * 100000)
		def reset_by_the_client(s):
		    tcp.reset(s)
		def reset_by_the_server(s):
		    s.sendall(b"x")
		    tcp.expect_reset(s)
		def close_with_unread_bytes(s):
		    s.sendall(b"x and more that nobody reads")
		    tcp.expect_reset(s)
		def urgent_byte(s):
		    s.sendall(b"before")
		    s.send(b"!", socket.MSG_OOB)
		    s.sendall(b"after")
		def urgent_byte_from_the_server(s):
		    assert tcp.read_all(s) == b"before!after"
		def both_close_at_once(s):
		    pass
		port = sys.argv[1]
		for name, play in [(n, f) for n, f in globals().items() if callable(f)]:
		    s = tcp.connect(port, "10.0.2.2")
		    s.sendall(name.ljust(30).encode())
		    play(s)
		    s.close()
		tcp.connect(port, "10.0.2.2").sendall(b"end".ljust(30))
		try:
		    tcp.connect(1, "10.0.2.2")
		    raise AssertionError("connected to a port without a server")
		except ConnectionRefusedError:
		    pass
	EOT
	python3 "$tmp/server.py" "$port" >"$tmp/seen" 2>&1 &
	server=$!
	trap 'end_process "$server"' EXIT
	wait_until 10 test -e "$tmp/listening"
	launch --subid-source=self --net=builtin --copy-up=/etc python3 "$tmp/client.py" "$port"
	assert_eq 'the client' '0: ' "$rc: $err"
	await_success "$server" 20 || cat "$tmp/seen"
	assert_eq 'ends that the server saw' 8 "$(grep -c ' ok$' "$tmp/seen")"
}

run_cases \
	streams_of_all_kinds_arrive_complete_with_each_mtu \
	one_worker_and_many_work \
	streams_of_a_detached_namespace_arrive_complete \
	streams_of_a_routed_namespace_arrive_complete \
	ten_thousand_connections_at_once_answer \
	ends_and_resets_are_passed_on
