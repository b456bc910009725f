#!/bin/sh
# Floods of frames from inside, against the network of our own with few file descriptors (flood.py). A flood harms no
# other program: connections that exist go on, new ones are made, published ports and name lookups work. It leaves
# nothing behind, and the launcher lives.
OWN_RESOLV=yes
. "$(dirname "$0")/ownnet.sh"
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/network.sh"

need_own() {
	need_own_network
	need_tun
	need dig
}

# start_flooded FDS: starts a launcher with so many descriptors, a web server inside, and one on the host ($port).
# Inside, a friend keeps a connection to an echo server.
start_flooded() {
	echo_port=$(free_port) published=$(free_port)
	start_host_server
	python3 "$tools/echo.py" --ready echo-is-ready "127.0.0.1:$echo_port/tcp" &
	echo_server=$!
	python3 "$tools/dnsd.py" 127.0.0.53 good >"$tmp/dns" &
	name_server=$!
	trap 'end_process "$server"; end_process "$echo_server"; end_process "$name_server"' EXIT
	wait_until 10 test -e "$tmp/echo-is-ready"
	wait_until 10 grep -q ready "$tmp/dns"
	echo 'nameserver 127.0.0.53' >/etc/resolv.conf
	make_page 'hello from inside'
	# This shell keeps the limit, and all that it starts. The rest needs no more.
	ulimit -n "$1"
	start --subid-source=self --net=builtin --workers=2 --copy-up=/etc --port-driver=builtin \
		-p "127.0.0.1:$published:80/tcp" busybox httpd -f -p 80 -h "$tmp/www"
	wait_until 10 fetch "http://127.0.0.1:$published/"
	mkfifo "$tmp/say"
	inside python3 -c '
import socket, sys
s = socket.create_connection(("10.0.2.2", int(sys.argv[1])))
s.settimeout(20)
while True:
    s.sendall(b"friend")
    print(s.recv(99).decode(), flush=True)
    if not sys.stdin.readline():
        break
' "$echo_port" <"$tmp/say" >"$tmp/friend" &
	friend=$!
	exec 9>"$tmp/say"
	wait_until 10 test -s "$tmp/friend"
}

count_fds() {
	find "/proc/$pid/fd" -mindepth 1 | wc -l
}

resident_kb() {
	sed -n 's/^VmRSS:[[:blank:]]*\([0-9]*\) kB/\1/p' "/proc/$pid/status"
}

# flood MODE ADDRESS SECONDS: floods, and checks while that lasts that everything else works
flood() {
	rm -f "$tmp/sent"
	inside timeout 60 python3 "$here/flood.py" "$1" "$2" 9 "$3" >"$tmp/sent" &
	flooder=$!
	wait_until 20 grep -q begun "$tmp/sent"
	others_work "$1"
	await_success "$flooder"
	others_work "$1, afterwards"
}

# A page may take some seconds: the first SYN may find the queue full. So may the first question; dig says so.
others_work() {
	assert_eq "page of the host during $1" 'hello from the host' \
		"$(inside curl -s --max-time 10 --retry 3 "http://10.0.2.2:$port/" || echo "failed with $?")"
	assert_eq "page inside during $1" 'hello from inside' "$(fetch "http://127.0.0.1:$published/")"
	case $1 in
	dns*) ;;
	*) assert_eq "name during $1" 192.0.2.53 "$(inside dig +tries=3 +time=5 +short host.test | grep -v "^;")" ;;
	esac
	lines=$(wc -l <"$tmp/friend")
	echo >&9
	wait_until 10 sh -c '[ "$(wc -l <"$1")" -gt "$2" ]' - "$tmp/friend" "$lines"
}

stop_flooded() {
	exec 9>&-
	await_success "$friend"
	stop
}

case_floods_leave_descriptors_to_others() {
	need_own
	start_flooded 256
	flood udp 10.0.2.2 4
	# Addresses where nobody answers: the host's connect(2) goes on.
	flood syn 192.0.2.88 4
	flood ping 192.0.2.88 4
	[ "$(count_fds)" -lt 256 ] || fail "the launcher has $(count_fds) descriptors"
	assert_eq 'warnings about descriptors' '' "$(grep -i 'descriptor' "$tmp/bg.err")"
	stop_flooded
}

# shellcheck disable=SC2016 # for the inner shell
ask_name='nsenter --preserve-credentials -U -m -n -t "$1" dig +tries=1 +time=2 +short host.test | grep -qx 192.0.2.53'

# True if the launcher has no more descriptors than before
has_settled() {
	[ "$(count_fds)" -le "$before" ]
}

# A name server that does not answer. The queries end by themselves, and leave no descriptor.
case_queries_to_a_dead_name_server_hold_up_nothing_else() {
	need_own
	start_flooded 256
	others_work 'the start'
	before=$(count_fds)
	echo 'nameserver 192.0.2.88' >/etc/resolv.conf
	flood dns 10.0.2.3 4
	[ "$(count_fds)" -gt "$before" ] || fail 'no query waits, so there was no flood'
	echo 'nameserver 127.0.0.53' >/etc/resolv.conf
	wait_until 5 sh -c "$ask_name" - "$child"
	wait_until 40 has_settled
	stop_flooded
}

# Memory: some packets that wait for fragments have a buffer each.
case_garbage_and_fragments_harm_nothing() {
	need_own
	start_flooded 256
	before_kb=$(resident_kb)
	for mode in garbage fragments; do
		flood "$mode" 10.0.2.2 4
	done
	[ "$(($(resident_kb) - before_kb))" -lt 4096 ] || fail "memory has grown from $before_kb to $(resident_kb) kB"
	stop_flooded
}

run_cases \
	floods_leave_descriptors_to_others \
	queries_to_a_dead_name_server_hold_up_nothing_else \
	garbage_and_fragments_harm_nothing
