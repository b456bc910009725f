#!/bin/sh
# SIGKILL for each process at any moment: nothing is left running, and the next start works. Also: helper
# programs that fail, and closed standard descriptors.
. "$(dirname "$0")/lib.sh"

# True when every process of the launcher has ended. `leftovers` of lib.sh finds all processes of this case by
# their environment. Those of the case itself, such as this shell, have other names.
all_gone() {
	for p in $(leftovers); do
		case $(cat "/proc/$p/comm" 2>/dev/null) in
		rootlesskit | rlkbox | exe | slirp4netns | sleep | newuidmap | newgidmap)
			has_ended "$p" || return 1
			;;
		esac
	done
}

# check_next_start OPTION...: after a kill nothing runs, and a launcher with the same state directory works
# and removes it
check_next_start() {
	wait_until 5 all_gone
	rc=0
	rootlesskit --state-dir="$tmp/state" "$@" true >"$tmp/next.out" 2>"$tmp/next.err" || rc=$?
	[ "$rc" -eq 0 ] || fail "the next start failed: $(cat "$tmp/next.err")"
	[ ! -e "$tmp/state" ] || fail "left over: $(ls -A "$tmp/state")"
}

# At every third system call, because each start under strace takes a while.
case_a_parent_killed_at_any_system_call_leaves_nothing() {
	need strace
	strace -o /dev/null true 2>/dev/null || skip ptrace "strace may not trace here"
	set -- --subid-source=self --net=none --port-driver=builtin -p "127.0.0.1:$(free_port):80/tcp"
	# LeakSanitizer does not work in traced processes.
	export ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS-}"
	strace -o "$tmp/all" rootlesskit --state-dir="$tmp/state" "$@" true
	calls=$(wc -l <"$tmp/all")
	[ "$calls" -gt 100 ] || fail "only $calls system calls"
	n=1
	while [ "$n" -le "$calls" ]; do
		strace -o /dev/null -e inject=all:signal=KILL:when="$n" \
			rootlesskit --state-dir="$tmp/state" "$@" true >/dev/null 2>&1 || true
		wait_until 5 all_gone
		[ $((n % 10)) -ne 0 ] || check_next_start "$@"
		n=$((n + 3))
	done
	check_next_start "$@"
}

# kill_soon WHOM MILLISECONDS OPTION...: starts a launcher and kills its parent, its child, or its network
# program and its parent. The fixed delay waits for nothing: it picks the moment of the kill, and every
# moment must be survived.
kill_soon() {
	whom=$1 after=$2
	shift 2
	rootlesskit --state-dir="$tmp/state" "$@" sleep 60 >/dev/null 2>&1 &
	pid=$!
	sleep "$(printf '0.%03d' "$after")"
	case $whom in
	parent) send_signal KILL "$pid" ;;
	child) pkill -KILL -P "$pid" -x exe || send_signal KILL "$pid" ;;
	network) pkill -KILL -P "$pid" -x slirp4netns || true; send_signal KILL "$pid" ;;
	esac
	await_end "$pid"
	wait_until 5 all_gone
}

case_a_parent_or_child_killed_at_any_time_leaves_nothing() {
	set -- --net=none --port-driver=builtin -p "127.0.0.1:$(free_port):80/tcp"
	for after in 1 5 10 15 20 25 30 35 40 50 60 80 100 150; do
		kill_soon parent "$after" "$@"
		kill_soon child "$after" "$@"
	done
	check_next_start "$@"
}

case_a_parent_or_child_killed_with_all_namespaces_leaves_nothing() {
	set -- --pidns --cgroupns --utsns --ipcns --net=none --port-driver=builtin \
		-p "127.0.0.1:$(free_port):80/tcp"
	for after in 1 10 20 30 40 50 70 100 150; do
		kill_soon parent "$after" "$@"
		kill_soon child "$after" "$@"
	done
	check_next_start "$@"
}

case_a_process_killed_beside_a_network_program_leaves_nothing() {
	need_slirp4netns
	for detach in '' --detach-netns; do
		set -- --net=slirp4netns --disable-host-loopback --copy-up=/etc --port-driver=builtin \
			-p "127.0.0.1:$(free_port):80/tcp" ${detach:+"$detach"}
		for after in 10 30 50 70 90 120 160 200; do
			kill_soon parent "$after" "$@"
			kill_soon child "$after" "$@"
			kill_soon network "$after" "$@"
		done
		check_next_start "$@"
	done
}

# With a clean end, a client would take half an answer for the whole one.
case_clients_of_a_launcher_that_is_killed_are_reset() {
	port=$(free_port)
	cat >"$tmp/server.py" <<-'EOF'
		import socket
		server = socket.create_server(("127.0.0.1", 80))
		kept = []
		while True:
		    s = server.accept()[0]
		    s.sendall(b"half")
		    kept.append(s)
	EOF
	start --pidns --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" python3 "$tmp/server.py"
	python3 - "$port" "$pid" "$child" <<-'EOF'
		import os, signal, socket, sys
		import tcp
		from waiting import wait_until
		port, parent, child = sys.argv[1:]
		def half_close_is_passed_on():
		    CLOSE_WAIT = "08"
		    with open(f"/proc/{child}/net/tcp") as table:
		        return any(row.split()[3] == CLOSE_WAIT for row in table)
		def read_half(s):
		    assert tcp.read_exactly(s, 4) == b"half"
		clients = [tcp.connect_until(port, read_half) for _ in range(20)]
		clients[0].shutdown(socket.SHUT_WR)
		wait_until(half_close_is_passed_on, "the server sees the half-close")
		os.kill(int(parent), signal.SIGKILL)
		for s in clients:
		    tcp.expect_reset(s)
	EOF
	await_end "$pid"
	check_next_start --net=none
}

# with_newuidmap SCRIPT: runs a launcher whose newuidmap is this shell script and maps no IDs. The launcher
# must fail. Sets `err` to its standard error.
with_newuidmap() {
	mkdir -p "$tmp/bin"
	printf '#!/bin/sh\n%s\n' "$1" >"$tmp/bin/newuidmap"
	chmod +x "$tmp/bin/newuidmap"
	rc=0
	env PATH="$tmp/bin:$PATH" rootlesskit --state-dir="$tmp/state" --net=none true \
		>"$tmp/out" 2>"$tmp/err" || rc=$?
	assert_eq status 1 "$rc"
	[ ! -e "$tmp/state" ] || fail "left over: $(ls -A "$tmp/state")"
	err=$(cat "$tmp/err")
}

case_a_helper_program_that_fails_is_named() {
	with_newuidmap 'echo "newuidmap: no luck" >&2; exit 1'
	assert_match error '*newuidmap * failed: newuidmap: no luck: exit status 1*' "$err"
	with_newuidmap 'kill -KILL $$'
	assert_match error '*newuidmap * failed: *signal: killed*' "$err"
	# This newuidmap kills the child, and fails when the kernel has reported the child's end to the parent.
	with_newuidmap 'kill -KILL $1; while grep -q "^State:.*[RSD] " /proc/$1/status; do sleep 0.02; done; exit 1'
	[ "$(grep -c error "$tmp/err")" -ge 1 ] || fail "no reason: $err"
	with_newuidmap 'kill -KILL $1'
	assert_match error '*child exited: signal: killed*' "$err"
}

case_closed_standard_descriptors_do_no_harm() {
	rootlesskit --state-dir="$tmp/state" --mtu=1500 true 2>&-
	[ ! -e "$tmp/state" ] || fail 'the state directory is left'
	rc=0
	rootlesskit --state-dir="$tmp/state" sh -c '
		[ "$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2 | sort -u)" = /dev/null ] && exit 3' \
		<&- >&- 2>&- || rc=$?
	assert_eq status 3 "$rc"
}

run_cases \
	a_parent_killed_at_any_system_call_leaves_nothing \
	a_parent_or_child_killed_at_any_time_leaves_nothing \
	a_parent_or_child_killed_with_all_namespaces_leaves_nothing \
	a_process_killed_beside_a_network_program_leaves_nothing \
	clients_of_a_launcher_that_is_killed_are_reset \
	a_helper_program_that_fails_is_named \
	closed_standard_descriptors_do_no_harm
