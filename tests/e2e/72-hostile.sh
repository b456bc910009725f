#!/bin/sh
# Root inside sends the launcher descriptors that block whoever closes or uses them (hostile.py), or floods
# it with signals. The API still answers, other ports work, ports can be removed, and the launcher ends.
# Also: a seccomp filter keeps the launcher from sending signals.
. "$(dirname "$0")/lib.sh"

need_fuse() {
	! grep -q __tsan_init "$BUILD/rlkbox" || skip tsan "under it the worker itself closes descriptors (os/closer.c)"
	can_open /dev/fuse || skip fuse "/dev/fuse cannot be opened"
	why=$(unshare -rm sh -c 'exec 3<>/dev/fuse &&
		mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 fuse /mnt' 2>&1) ||
		skip fuse "a user namespace may not mount it: $why"
}

# start_attack MODE OPTION...: starts a launcher with hostile.py inside. Clients of port $bad are answered
# by the attacker, and clients of port $good by an echo server.
start_attack() {
	mode=$1
	shift
	bad=$(free_port) good=$(free_port)
	start --net=none --port-driver=builtin -p "127.0.0.1:$bad:80/tcp" \
		-p "127.0.0.1:$good:81/tcp" "$@" python3 "$here/hostile.py" "$mode"
	wait_until 10 test -e "$tmp/ready"
}

# clients_are_cut_off [COUNT]: connects clients to the hostile port, one after the other. The launcher must
# end each connection.
clients_are_cut_off() {
	python3 - "$bad" "${1-3}" <<-'EOF'
		import sys
		import tcp
		for _ in range(int(sys.argv[2])):
		    with tcp.connect(sys.argv[1]) as s:
		        try:
		            s.sendall(b"x")
		        except OSError:
		            continue
		        tcp.expect_end(s)
	EOF
}

# Connects clients to the hostile port, and closes them when the launcher has read their first byte. It
# does so only once it has a socket to pass the byte on.
clients_come_and_go() {
	python3 - "$bad" <<-'EOF'
		import sys
		import tcp
		from waiting import wait_until
		def is_read(s):
		    ends = ["0100007F:%04X" % end[1] for end in (s.getpeername(), s.getsockname())]
		    with open("/proc/net/tcp") as table:
		        rows = [row.split() for row in table]
		    # The column is TX_QUEUE:RX_QUEUE.
		    return any(row[1:3] == ends and row[4].endswith(":00000000") for row in rows)
		for _ in range(3):
		    with tcp.connect(sys.argv[1]) as s:
		        s.sendall(b"x")
		        wait_until(lambda: is_read(s), "the launcher reads")
	EOF
}

check_api() {
	timeout 10 rootlessctl --socket="$state/api.sock" "$@" >"$tmp/api" 2>&1 ||
		fail "the API does not answer: $(cat "$tmp/api")"
}

check_good_port() {
	python3 -c 'import sys, tcp; tcp.echo(tcp.connect(sys.argv[1], timeout=10), b"hello")' "$good"
}

bad_port_is_closed() {
	python3 -c 'import sys, tcp; sys.exit(tcp.is_open(sys.argv[1]))' "$bad" ||
		fail 'the removed port still accepts'
}

# The child is stopped, so a signal that the launcher passes on does not end it.
check_end() {
	kill -TERM "$pid"
	kill -KILL "$child"
	wait_until 15 has_ended "$pid"
	finish
}

has_killed_what_blocks() {
	assert_match log '*a descriptor from inside is blocked; killing*' "$(cat "$tmp/bg.err")"
}

check_all() {
	check_api list-ports
	check_good_port
	check_api remove-ports 1
	bad_port_is_closed
	check_api list-ports
	check_good_port
	check_end
}

case_files_whose_close_blocks_do_not_block_the_launcher() {
	need_fuse
	for workers in 1 2; do
		start_attack fuse --workers="$workers"
		clients_are_cut_off
		check_all
		rm -rf "$tmp/ready" "$tmp/fuse"
	done
}

# The launcher's children are the child and a process for each such file, at most CLOSER_MAX (os/closer.h).
has_all_closers() {
	[ "$(pgrep -c -P "$pid")" -ge 65 ]
}

case_more_files_whose_close_blocks_than_are_closed_at_a_time_do_not_block() {
	need_fuse
	start_attack fuse --workers=1
	clients_are_cut_off 40 &
	clients=$!
	wait_until 20 has_all_closers
	check_api list-ports
	check_api remove-ports 1
	check_end
	# The last clients could not connect.
	await_end "$clients"
}

case_lingering_sockets_do_not_block() {
	start_attack linger --workers=1
	clients_come_and_go
	check_all
}

case_more_lingering_sockets_than_asked_for_do_not_block() {
	start_attack surplus --workers=1
	clients_are_cut_off
	check_all
}

case_lingering_sockets_after_an_answer_do_not_block() {
	start_attack in-flight --workers=1
	clients_are_cut_off 10
	check_all
}

case_lingering_sockets_sent_to_the_api_do_not_block() {
	start_attack api --workers=1
	check_all
}

# recvmsg(2) skips an urgent byte, and closes what came with it.
case_lingering_sockets_with_urgent_bytes_do_not_block() {
	start_attack api-urgent --workers=1
	check_all
}

is_blocked() {
	grep -q '^[0-9]* (worker) D ' "/proc/$pid"/task/*/stat
}

# The worker that uses such a socket blocks. Other workers go on, and the main thread does not wait for it.
case_a_worker_blocked_by_a_locked_socket_is_given_up() {
	need_fuse
	for workers in 1 2; do
		start_attack lock --workers="$workers"
		clients_are_cut_off 1 &
		client=$!
		wait_until 10 is_blocked
		check_api list-ports
		check_api remove-ports 1
		bad_port_is_closed
		check_api list-ports
		check_end
		await_success "$client"
		has_killed_what_blocks
		rm -rf "$tmp/ready" "$tmp/fuse"
	done
}

case_a_launcher_with_locked_sockets_in_store_ends() {
	need_fuse
	start_attack lock-in-store --workers=1
	python3 -c 'import sys, tcp; tcp.echo(tcp.connect(sys.argv[1]))' "$bad"
	wait_until 10 test -e "$tmp/locked"
	check_end
	has_killed_what_blocks
}

# The client reads nothing until the socket is locked, so that bytes for it are pending: the connection
# drains, and the worker looks at its socket again and again.
case_a_launcher_with_a_socket_that_is_locked_while_it_drains_ends() {
	need_fuse
	start_attack lock-draining --workers=1
	python3 - "$bad" <<-'EOF' &
		import socket, sys
		import tcp
		from waiting import wait_for_file
		s = socket.socket()
		s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
		s.connect(("127.0.0.1", int(sys.argv[1])))
		wait_for_file("locked", 60)
		s.settimeout(20)
		try:
		    tcp.read_all(s)
		except ConnectionResetError:
		    pass
	EOF
	client=$!
	wait_until 20 test -e "$tmp/pending"
	check_end
	await_success "$client"
	has_killed_what_blocks
}

all_have_sent_signals() {
	[ "$(find "$tmp" -name 'flood-*[0-9]' | wc -l)" -eq 4 ]
}

# Any process of the user may send signals as fast as it can. The command ignores them.
case_a_flood_of_signals_does_not_starve_the_launcher() {
	cat >"$tmp/ignore.py" <<-'EOF'
		import os, signal
		from waiting import make_file
		for number in range(35, 61):
		    signal.signal(number, signal.SIG_IGN)
		make_file("ignored")
		os.execvp("sleep", ["sleep", "600"])
	EOF
	start --net=none --port-driver=builtin -p "127.0.0.1:$(free_port):80/tcp" \
		python3 "$tmp/ignore.py"
	wait_until 10 test -e "$tmp/ignored"
	python3 - "$pid" <<-'EOF' &
		import itertools, os, sys
		from waiting import make_file
		for _ in range(2):
		    os.fork()
		try:
		    for turn in itertools.count():
		        for number in range(35, 61):
		            os.kill(int(sys.argv[1]), number)
		        if turn == 0:
		            make_file(f"flood-{os.getpid()}")
		except ProcessLookupError:
		    pass
	EOF
	flood=$!
	wait_until 20 all_have_sent_signals
	for command in list-ports info list-ports; do
		check_api "$command"
	done
	kill -TERM "$pid"
	wait_until 15 has_ended "$pid"
	finish
	await_success "$flood"
}

# ---- system calls that fail ----

# start_without CALL=ERRNO OPTION...: starts a launcher whose system call CALL fails (tests/tools/without.c)
start_without() {
	state=$tmp/state call=$1
	shift
	env --default-signal=INT,QUIT "$BUILD/tools/without" "$call" -- rootlesskit \
		--state-dir="$state" --subid-source=self "$@" >"$tmp/bg.out" 2>"$tmp/bg.err" </dev/null &
	pid=$!
	wait_ready
}

case_a_launcher_that_may_not_signal_its_child_ends() {
	start_without kill=EPERM --net=none --port-driver=builtin sleep 600
	kill -TERM "$pid"
	wait_until 15 has_ended "$pid"
	finish
	assert_eq status 1 "$rc"
	assert_match error '*error: passing a signal to the child: operation not permitted*' \
		"$(cat "$tmp/bg.err")"
}

case_a_launcher_that_may_not_reap_processes_ends() {
	for call in waitid wait4; do
		rc=0
		# LeakSanitizer uses the same calls to wait for its own process.
		ASAN_OPTIONS=detect_leaks=0 timeout -k 5 20 "$BUILD/tools/without" $call=EPERM -- rootlesskit \
			--state-dir="$tmp/state" --subid-source=self --net=none --port-driver=builtin \
			sh -c 'until [ -e "$ROOTLESSKIT_STATE_DIR/child_pid" ]; do sleep 0.02; done' \
			2>"$tmp/err" || rc=$?
		assert_eq "status without $call" 1 "$rc"
		assert_match error '*error: looking for processes that have ended: operation not permitted*' \
			"$(cat "$tmp/err")"
		[ ! -e "$tmp/state" ] || fail 'the state directory is still there'
	done
}

# In the new PID namespace the child is PID 1 and the command PID 2.
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

case_a_launcher_that_cannot_kill_its_network_program_ends() {
	need_slirp4netns
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
	# slirp4netns exits on request, and newer pastas when their namespace disappears, so nothing is
	# killed.
	case $(cat "$tmp/bg.err") in
	*'level=error'*'killing pasta: operation not permitted'*) ;;
	*level=error*) fail "unexpected error: $(cat "$tmp/bg.err")" ;;
	esac
}

# The child has been killed, but blocks while the kernel closes its descriptors.
case_a_launcher_whose_killed_child_blocks_ends() {
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
	files_whose_close_blocks_do_not_block_the_launcher \
	more_files_whose_close_blocks_than_are_closed_at_a_time_do_not_block \
	lingering_sockets_do_not_block \
	more_lingering_sockets_than_asked_for_do_not_block \
	lingering_sockets_after_an_answer_do_not_block \
	lingering_sockets_sent_to_the_api_do_not_block \
	lingering_sockets_with_urgent_bytes_do_not_block \
	a_worker_blocked_by_a_locked_socket_is_given_up \
	a_launcher_with_locked_sockets_in_store_ends \
	a_launcher_with_a_socket_that_is_locked_while_it_drains_ends \
	a_flood_of_signals_does_not_starve_the_launcher \
	a_launcher_whose_killed_child_blocks_ends \
	a_launcher_that_may_not_signal_its_child_ends \
	a_launcher_that_may_not_reap_processes_ends \
	a_child_that_may_not_signal_its_command_ends \
	a_launcher_that_cannot_kill_its_network_program_ends
