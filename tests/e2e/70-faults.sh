#!/bin/sh
# kill -9 of each process at each step: nothing is left running, and the next start works.
. "$(dirname "$0")/lib.sh"

# all_gone: every process of this case but this shell and what it is just running has ended. It is
# checked by the mark in the environment, as lib.sh does it at the end.
all_gone() {
	for p in $(leftovers); do
		case $(cat "/proc/$p/comm" 2>/dev/null) in
		rootlesskit | rlkbox | exe | slirp4netns | sleep | newuidmap | newgidmap)
			has_ended "$p" || return 1
			;;
		esac
	done
}

# After a kill: nothing runs, and a launcher with the same state directory works and clears it.
check_next_start() {
	wait_until 5 all_gone
	rc=0
	rootlesskit --state-dir="$tmp/state" "$@" true >"$tmp/next.out" 2>"$tmp/next.err" || rc=$?
	[ "$rc" -eq 0 ] || fail "the next start failed: $(cat "$tmp/next.err")"
	[ ! -e "$tmp/state" ] || fail "left over: $(ls -A "$tmp/state")"
}

case_the_parent_is_killed_at_every_third_system_call() {
	need strace
	strace -o /dev/null true 2>/dev/null || skip ptrace "strace may not trace here"
	set -- --subid-source=self --net=none --port-driver=builtin -p "127.0.0.1:$(free_port):80/tcp"
	# LeakSanitizer is not for traced processes.
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

# kill_soon WHOM MILLISECONDS OPTIONS...: starts a launcher and kills its parent or its child
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

case_parent_or_child_are_killed_at_any_time() {
	set -- --net=none --port-driver=builtin -p "127.0.0.1:$(free_port):80/tcp"
	for after in 1 5 10 15 20 25 30 35 40 50 60 80 100 150; do
		kill_soon parent "$after" "$@"
		kill_soon child "$after" "$@"
	done
	check_next_start "$@"
}

case_the_same_in_all_namespaces() {
	set -- --pidns --cgroupns --utsns --ipcns --net=none --port-driver=builtin \
		-p "127.0.0.1:$(free_port):80/tcp"
	for after in 1 10 20 30 40 50 70 100 150; do
		kill_soon parent "$after" "$@"
		kill_soon child "$after" "$@"
	done
	check_next_start "$@"
}

case_the_same_with_a_network_program() {
	need_tun
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

# Nobody shall take half an answer for the whole.
case_clients_of_a_launcher_that_is_killed_are_reset() {
	port=$(free_port)
	start --pidns --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" \
		socat tcp-listen:80,bind=127.0.0.1,fork,reuseaddr 'system:echo half; sleep 600'
	python3 - "$port" "$pid" <<-'EOF'
		import os, signal, socket, sys, time
		def half_answered():
		    until = time.monotonic() + 10
		    while True:
		        s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
		        try:
		            if s.recv(100) == b"half\n":
		                return s
		        except ConnectionResetError:
		            pass
		        assert time.monotonic() < until, "no server"
		clients = [half_answered() for _ in range(20)]
		# This one has sent all that it will.
		clients[0].shutdown(socket.SHUT_WR)
		time.sleep(0.1)
		os.kill(int(sys.argv[2]), signal.SIGKILL)
		for s in clients:
		    try:
		        sys.exit(f"an end: {s.recv(100)!r}")
		    except ConnectionResetError:
		        pass
	EOF
	await_end "$pid"
	check_next_start --net=none
}

# What a newuidmap that does not do its work leads to.
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
	# It takes the child with it.
	with_newuidmap 'kill -KILL $1; sleep 0.1; exit 1'
	[ "$(grep -c error "$tmp/err")" -ge 1 ] || fail "no reason: $err"
	with_newuidmap 'kill -KILL $1'
	assert_match error '*child exited: signal: killed*' "$err"
}

case_standard_error_that_is_closed_does_no_harm() {
	rootlesskit --state-dir="$tmp/state" --mtu=1500 true 2>&-
	[ ! -e "$tmp/state" ] || fail 'the state directory is left'
	rc=0
	rootlesskit --state-dir="$tmp/state" sh -c '
		[ "$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2 | sort -u)" = /dev/null ] && exit 3' \
		<&- >&- 2>&- || rc=$?
	assert_eq status 3 "$rc"
}

run_cases \
	the_parent_is_killed_at_every_third_system_call \
	parent_or_child_are_killed_at_any_time \
	the_same_in_all_namespaces \
	the_same_with_a_network_program \
	clients_of_a_launcher_that_is_killed_are_reset \
	a_helper_program_that_fails_is_named \
	standard_error_that_is_closed_does_no_harm
