#!/bin/sh
# Root inside hands over descriptors that block whoever closes or uses them (hostile.py): the API
# answers, other ports work, ports can be removed, and the launcher ends.
. "$(dirname "$0")/lib.sh"

need_fuse() {
	! grep -q __tsan_init "$BUILD/rlkbox" || skip tsan "threads close descriptors there"
	: 2>/dev/null <>/dev/fuse || skip fuse "/dev/fuse cannot be opened"
	why=$(unshare -rm sh -c 'exec 3<>/dev/fuse &&
		mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 fuse /mnt' 2>&1) ||
		skip fuse "a user namespace may not mount it: $why"
}

# start_attack MODE OPTIONS...: `bad` and `good` are ports whose targets are hostile and are not
start_attack() {
	mode=$1
	shift
	bad=$(free_port) good=$(free_port)
	start --net=none --port-driver=builtin -p "127.0.0.1:$bad:80/tcp" \
		-p "127.0.0.1:$good:81/tcp" "$@" python3 "$here/hostile.py" "$mode" "$tmp"
	wait_until 10 test -e "$tmp/ready"
}

# Some clients of the hostile port, who do not wait for an end.
connect_clients() {
	python3 - "$bad" "${1-3}" <<-'EOF'
		import socket, sys
		for _ in range(int(sys.argv[2])):
		    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)
		    s.settimeout(0.5)
		    try:
		        s.sendall(b"x")
		        s.recv(1)
		    except OSError:
		        pass
	EOF
}

check_api() {
	timeout 10 rootlessctl --socket="$state/api.sock" "$@" >"$tmp/api" 2>&1 ||
		fail "the API does not answer: $(cat "$tmp/api")"
}

check_good_port() {
	python3 - "$good" <<-'EOF'
		import socket, sys
		s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
		s.sendall(b"hello")
		got = s.recv(5)
		got == b"hello" or sys.exit(f"{got!r}")
	EOF
}

is_refused() {
	python3 -c 'import socket, sys
try: socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)
except ConnectionRefusedError: sys.exit(0)
sys.exit(1)' "$1"
}

# The child is stopped and does not hear of the signal.
check_end() {
	kill -TERM "$pid"
	kill -KILL "$child"
	wait_until 15 has_ended "$pid"
	finish
}

check_all() {
	check_api list-ports
	check_good_port
	check_api remove-ports 1
	is_refused "$bad" || fail 'the removed port still accepts'
	check_api list-ports
	check_good_port
	check_end
}

case_files_whose_close_blocks_are_closed_elsewhere() {
	need_fuse
	for workers in 1 2; do
		start_attack fuse --workers="$workers"
		connect_clients
		check_all
		rm -rf "$tmp/ready" "$tmp/fuse"
	done
}

case_more_such_files_than_are_closed_at_a_time() {
	need_fuse
	start_attack fuse --workers=1
	connect_clients 40
	check_api list-ports
	check_api remove-ports 1
	check_end
}

case_sockets_that_linger_do_not_block() {
	start_attack linger --workers=1
	connect_clients
	check_all
}

case_surplus_sockets_that_linger_do_not_block() {
	start_attack surplus --workers=1
	connect_clients
	check_all
}

case_sockets_that_linger_and_are_not_received_do_not_block() {
	start_attack in-flight --workers=1
	connect_clients 10
	check_all
}

case_sockets_that_linger_and_are_sent_to_the_api_do_not_block() {
	start_attack api --workers=1
	check_all
}

is_blocked() {
	grep -q '^[0-9]* (worker) D ' "/proc/$pid"/task/*/stat
}

# The worker blocks with them. Others go on, and the main thread does not wait for it.
case_a_worker_blocked_by_a_locked_socket_is_given_up() {
	need_fuse
	for workers in 1 2; do
		start_attack lock --workers="$workers"
		connect_clients 1
		wait_until 10 is_blocked
		check_api list-ports
		check_api remove-ports 1
		is_refused "$bad" || fail 'the removed port still accepts'
		check_api list-ports
		check_end
		assert_match log '*a descriptor from inside is blocked; killing*' "$(cat "$tmp/bg.err")"
		rm -rf "$tmp/ready" "$tmp/fuse"
	done
}

case_sockets_in_store_that_are_locked_do_not_keep_the_launcher() {
	need_fuse
	start_attack lock-in-store --workers=1
	connect_clients 1
	wait_until 10 test -e "$tmp/locked"
	check_end
	assert_match log '*a descriptor from inside is blocked; killing*' "$(cat "$tmp/bg.err")"
}

case_a_connection_that_is_locked_while_it_drains_does_not_keep_the_launcher() {
	need_fuse
	start_attack lock-draining --workers=1
	python3 - "$bad" "$tmp/flows" <<-'EOF' &
		import socket, sys
		s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)
		s.settimeout(20)
		try:
		    while s.recv(1000):
		        open(sys.argv[2], "w").close()
		except OSError:
		    pass
	EOF
	client=$!
	wait_until 20 test -e "$tmp/flows"
	: >"$tmp/end"
	check_end
	await_success "$client"
	assert_match log '*a descriptor from inside is blocked; killing*' "$(cat "$tmp/bg.err")"
}

# Root inside, or any process of the user, sends signals as fast as it can.
case_a_storm_of_signals_does_not_starve_the_launcher() {
	cat >"$tmp/calm.py" <<-'EOF'
		import os, signal, sys
		for number in range(35, 61):
		    signal.signal(number, signal.SIG_IGN)
		open(sys.argv[1], "w").close()
		os.execvp("sleep", ["sleep", "600"])
	EOF
	start --net=none --port-driver=builtin -p "127.0.0.1:$(free_port):80/tcp" \
		python3 "$tmp/calm.py" "$tmp/calm"
	wait_until 10 test -e "$tmp/calm"
	python3 - "$pid" "$tmp/storm" <<-'EOF' &
		import itertools, os, sys
		for _ in range(2):
		    os.fork()
		try:
		    for turn in itertools.count():
		        for number in range(35, 61):
		            os.kill(int(sys.argv[1]), number)
		        if turn == 0:
		            open(sys.argv[2], "w").close()
		except ProcessLookupError:
		    pass
	EOF
	storm=$!
	wait_until 20 test -e "$tmp/storm"
	for command in list-ports info list-ports; do
		check_api "$command"
	done
	kill -TERM "$pid"
	wait_until 15 has_ended "$pid"
	finish
	await_success "$storm"
}

# start_without CALL=ERRNO OPTIONS...
start_without() {
	state=$tmp/state call=$1
	shift
	env --default-signal=INT,QUIT "$BUILD/tools/without" "$call" -- rootlesskit \
		--state-dir="$state" --subid-source=self "$@" >"$tmp/bg.out" 2>"$tmp/bg.err" </dev/null &
	pid=$!
	wait_ready
}

case_a_launcher_that_may_not_send_signals_ends() {
	start_without kill=EPERM --net=none --port-driver=builtin sleep 600
	kill -TERM "$pid"
	wait_until 15 has_ended "$pid"
	finish
	assert_eq status 1 "$rc"
	assert_match error '*error: passing a signal to the child: operation not permitted*' \
		"$(cat "$tmp/bg.err")"
}

case_a_launcher_that_may_not_look_for_ended_processes_ends() {
	for call in waitid wait4; do
		rc=0
		# LeakSanitizer waits for a process of its own with the same calls.
		ASAN_OPTIONS=detect_leaks=0 timeout -k 5 20 "$BUILD/tools/without" $call=EPERM -- rootlesskit \
			--state-dir="$tmp/state" --subid-source=self --net=none --port-driver=builtin \
			sleep 1 2>"$tmp/err" || rc=$?
		assert_eq "status without $call" 1 "$rc"
		assert_match error '*error: looking for processes that have ended: operation not permitted*' \
			"$(cat "$tmp/err")"
		[ ! -e "$tmp/state" ] || fail 'the state directory is still there'
	done
}

# The child of a PID namespace is PID 1 there, and the command PID 2.
case_a_child_that_may_not_signal_its_command_ends() {
	start_without kill/2=EPERM --pidns sh -c 'echo $$; exec sleep 600'
	wait_until 10 grep -qx 2 "$tmp/bg.out"
	kill -TERM "$pid"
	wait_until 15 has_ended "$pid"
	finish
	assert_eq status 1 "$rc"
	assert_match error '*error: passing a signal to the command: operation not permitted*child exited: exit status 1*' \
		"$(cat "$tmp/bg.err")"
}

case_a_network_program_that_cannot_be_killed_does_not_keep_the_launcher() {
	need_tun
	need pasta
	for driver in slirp4netns pasta; do
		start_without kill=EPERM --net="$driver" sh -c "until [ -e $tmp/end ]; do sleep 0.02; done"
		program=$(pgrep -P "$pid" | grep -vx "$child")
		: >"$tmp/end"
		wait_until 15 has_ended "$pid"
		finish
		assert_eq status 0 "$rc"
		wait_until 10 has_ended "$program"
		rm "$tmp/end"
	done
	# slirp4netns has ended when it was asked to, and newer pastas when their namespace was gone.
	case $(cat "$tmp/bg.err") in
	*'level=error'*'killing pasta: operation not permitted'*) ;;
	*level=error*) fail "another error: $(cat "$tmp/bg.err")" ;;
	esac
}

# The child is being killed, and cannot end.
case_a_child_that_is_kept_from_ending_does_not_keep_the_launcher() {
	need_fuse
	for pidns in false true; do
		start_attack epoll --pidns="$pidns"
		kill -KILL "$child"
		check_api list-ports
		kill -TERM "$pid"
		wait_until 15 has_ended "$pid"
		finish
		assert_match log '*the child does not end; killing*' "$(cat "$tmp/bg.err")"
		rm -rf "$tmp/ready" "$tmp/fuse"
	done
}

run_cases \
	files_whose_close_blocks_are_closed_elsewhere \
	more_such_files_than_are_closed_at_a_time \
	sockets_that_linger_do_not_block \
	surplus_sockets_that_linger_do_not_block \
	sockets_that_linger_and_are_not_received_do_not_block \
	sockets_that_linger_and_are_sent_to_the_api_do_not_block \
	a_worker_blocked_by_a_locked_socket_is_given_up \
	sockets_in_store_that_are_locked_do_not_keep_the_launcher \
	a_connection_that_is_locked_while_it_drains_does_not_keep_the_launcher \
	a_storm_of_signals_does_not_starve_the_launcher \
	a_child_that_is_kept_from_ending_does_not_keep_the_launcher \
	a_launcher_that_may_not_send_signals_ends \
	a_launcher_that_may_not_look_for_ended_processes_ends \
	a_child_that_may_not_signal_its_command_ends \
	a_network_program_that_cannot_be_killed_does_not_keep_the_launcher
