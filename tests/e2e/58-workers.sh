#!/bin/sh
# Worker threads: adding and removing ports disturbs no other connection, only the file descriptor limit
# bounds the number of connections, and thousands of ports work.
. "$(dirname "$0")/lib.sh"

# with_server OPTIONS...: a launcher with an echo server inside, at port $port of the host
with_server() {
	port=$(free_port)
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" "$@" \
		python3 "$tools/echo.py" 127.0.0.1:80/tcp
}

has_workers() {
	[ "$(cat "/proc/$pid"/task/*/comm | grep -c '^worker$')" -eq "$1" ]
}

case_workers_sets_the_number_of_worker_threads() {
	for n in 1 3; do
		start --net=none --port-driver=builtin --workers=$n sleep 60
		# A thread takes its name when it first runs.
		wait_until 10 has_workers "$n"
		stop
	done
	for n in 0 65 -1 x; do
		launch --state-dir="$tmp/st" --workers=$n true
		assert_eq "status of $n" 1 "$rc"
		assert_match "error of $n" '*workers*' "$err"
	done
}

# One port is busy with new and with long connections, while another one is added and removed.
case_adding_and_removing_a_port_does_not_disturb_another() {
	with_server --workers=4
	python3 - "$port" "$(free_port)" "$state/api.sock" <<-'EOF'
		import sys, threading
		from api import Api
		from tcp import connect, connect_to_echo, echo
		busy, other, api = int(sys.argv[1]), int(sys.argv[2]), Api(sys.argv[3])
		done, failures, connections = threading.Event(), [], []
		def connect_often():
		    while not done.is_set():
		        with connect(busy) as s:
		            echo(s, b"short")
		        connections.append(1)
		def stay_connected():
		    with connect(busy) as s:
		        while not done.is_set():
		            echo(s, b"long" * 1000)
		def use_other_port():
		    while not done.is_set():
		        try:
		            with connect(other) as s:
		                echo(s)
		        except (OSError, EOFError): # it is removed at any time
		            pass
		threading.excepthook = failures.append
		connect_to_echo(busy).close()
		threads = [threading.Thread(target=t) for t in
		           [connect_often] * 3 + [stay_connected] * 8 + [use_other_port] * 2]
		for t in threads:
		    t.start()
		for _ in range(200):
		    api.remove(api.add(other))
		done.set()
		for t in threads:
		    t.join()
		assert not failures, failures[:3]
		assert len(connections) > 100, len(connections)
		assert len(api.ports()) == 1
	EOF
	# shellcheck disable=SC2317 # wait_until calls it
	all_closed() { [ "$(find "/proc/$pid/fd" -mindepth 1 | wc -l)" -lt 60 ]; }
	wait_until 10 all_closed
	stop
}

# hold COUNT: opens that many connections, all of which are answered, and 200 more, which have to wait
# until others close. Ports can be added meanwhile. Writes the memory for each connection, in bytes, to
# $tmp/each.
hold() {
	python3 - "$1" "$port" "$(free_port)" "$state/api.sock" "$pid" "$tmp" <<-'EOF'
		import proc, sys
		from api import Api
		from tcp import connect, connect_to_echo, echo
		from waiting import make_file, wait_until
		count, port, other = map(int, sys.argv[1:4])
		api, launcher, tmp = Api(sys.argv[4]), *sys.argv[5:]
		def stopped_accepting():
		    return "cannot accept new connections" in open(tmp + "/bg.err").read()
		proc.raise_fd_limit()
		connect_to_echo(port).close()
		before = proc.resident_kb(launcher)
		held = [connect(port, timeout=60) for _ in range(count)]
		for s in held:
		    echo(s)
		each = (proc.resident_kb(launcher) - before) * 1024 // count
		print(f"{count} connections, {each} bytes each")
		make_file("each", str(each))
		waiting = [connect(port, timeout=60) for _ in range(200)]
		wait_until(stopped_accepting, "the launcher stops accepting")
		number = api.add(other)
		for s in held[:200]:
		    s.close()
		for s in waiting:
		    echo(s)
		for s in held + waiting:
		    s.close()
		connect_to_echo(other).close()
		api.remove(number)
		connect_to_echo(port).close()
	EOF
}

case_connections_can_use_almost_all_file_descriptors() {
	hard=$(ulimit -Hn)
	[ "$hard" != unlimited ] && [ "$hard" -le 20000 ] || hard=20000
	# shellcheck disable=SC3045 # dash and bash have it
	ulimit -n "$hard"
	with_server
	# The launcher itself needs a few dozen.
	hold $(((hard - 200) / 2))
	# Sanitizers need more memory.
	if ! grep -q __sanitizer "$BUILD/rlkbox"; then
		[ "$(cat "$tmp/each")" -le 1024 ] || fail "$(cat "$tmp/each") bytes for each connection"
	fi
	stop
}

case_connections_can_use_almost_all_of_a_small_limit() {
	# shellcheck disable=SC3045 # dash and bash have it
	ulimit -n 2000
	with_server
	hold 900
	stop
}

# 30000 to 32767 is the range of node ports in Kubernetes.
case_thousands_of_ports_work() {
	first=30000 count=2768 # no other test uses these
	set --
	for p in $(seq "$first" $((first + count - 1))); do
		set -- "$@" -p "127.0.0.1:$p:80/tcp"
	done
	start --net=none --port-driver=builtin --workers=4 "$@" python3 "$tools/echo.py" 127.0.0.1:80/tcp
	python3 - "$first" "$count" "$state/api.sock" <<-'EOF'
		import sys
		from api import Api
		from tcp import connect, connect_to_echo, echo
		first, count, api = int(sys.argv[1]), int(sys.argv[2]), Api(sys.argv[3])
		connect_to_echo(first).close()
		for port in range(first, first + count, 50):
		    with connect(port) as s:
		        echo(s)
		# Ports can be removed in any order. Connections to the others stay.
		stays = connect(first + 1)
		for number in [*range(count, 2, -2), 1]:
		    api.remove(number)
		echo(stays)
		last = first + count - 1
		number = api.add(last)
		with connect(last) as s:
		    echo(s)
		assert number == count + 1
		assert api.ports()[-1]["id"] == number
	EOF
	stop
}

run_cases \
	workers_sets_the_number_of_worker_threads \
	adding_and_removing_a_port_does_not_disturb_another \
	connections_can_use_almost_all_file_descriptors \
	connections_can_use_almost_all_of_a_small_limit \
	thousands_of_ports_work
