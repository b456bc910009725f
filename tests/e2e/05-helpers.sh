#!/bin/sh
# Tests of lib.sh itself: the helpers that wait for background processes, measure time, and look for
# facilities.
. "$(dirname "$0")/lib.sh"

case_signalling_a_process_that_has_ended_is_not_an_error() {
	sh -c 'exit 3' &
	process=$!
	wait_until 5 has_ended "$process"
	send_signal KILL "$process"
	end_process "$process"
	assert_eq status 3 "$rc"
	# The shell has waited for it, so that there is no longer such a process.
	send_signal TERM "$process"
}

case_a_process_that_ignores_the_signal_is_killed_and_the_case_fails() {
	sh -c 'trap "" TERM; : >"$1/ready"; exec sleep 60' - "$tmp" &
	process=$!
	wait_until 5 test -e "$tmp/ready"
	send_signal TERM "$process"
	if (await_end "$process" 1) 2>"$tmp/err"; then
		fail 'await_end has not failed'
	fi
	assert_match message "FAILED: process $process has not ended within 1 s: sleep 60*" "$(cat "$tmp/err")"
	wait_until 5 has_ended "$process"
}

case_await_success_fails_unless_the_status_is_0() {
	rc=4
	true &
	await_success $!
	assert_eq 'rc, which must not change' 4 "$rc"
	if (
		sh -c 'exit 3' &
		await_success $!
	) 2>"$tmp/err"; then
		fail 'await_success has not failed for status 3'
	fi
	assert_match message 'FAILED: process * ended with status 3' "$(cat "$tmp/err")"
}

case_a_deadline_that_has_passed_fails_the_case() {
	began=$(now_ms)
	assert_within 60000 "$began"
	if (assert_within 1000 $((began - 1001))) 2>"$tmp/err"; then
		fail 'assert_within has not failed'
	fi
	assert_match message 'FAILED: it took * ms, more than 1000 ms' "$(cat "$tmp/err")"
	if (wait_until 1 false) 2>"$tmp/err"; then
		fail 'wait_until has not failed'
	fi
	assert_eq message 'FAILED: not within 1 s: false' "$(cat "$tmp/err")"
	[ "$(now_ms)" -gt $((began + 1000)) ] || fail 'wait_until has not waited for a second'
}

succeed_at_third_try() {
	deadline=0
	tries=$((tries + 1))
	[ "$tries" -ge 3 ]
}

case_a_command_cannot_change_the_deadline_that_is_set_for_it() {
	tries=0
	wait_until 60 succeed_at_third_try
	assert_eq 'tries' 3 "$tries"
}

case_a_device_that_cannot_be_opened_is_a_reason_to_skip() {
	: >"$tmp/device"
	can_open "$tmp/device"
	chmod 0 "$tmp/device"
	rc=0
	(can_open "$tmp/device" || skip tun "it cannot be opened") || rc=$?
	assert_eq status 77 "$rc"
	assert_eq reason 'tun: it cannot be opened' "$(cat "$tmp/skipped")"
	rm "$tmp/skipped"
}

case_a_port_that_closes_during_a_connection_counts_as_open() {
	need python3
	cat >"$tmp/test.py" <<-'EOF'
		import socket, subprocess, sys, tcp
		subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
		assert not tcp.is_open(80)
		blinker = subprocess.Popen([sys.executable, "-c", """
		import socket
		while True:
		    socket.create_server(("127.0.0.1", 80)).close()
		"""])
		resets, plain_connect = 0, tcp.connect
		def connect(*args):
		    global resets
		    try:
		        return plain_connect(*args)
		    except ConnectionResetError:
		        resets += 1
		        raise
		tcp.connect = connect
		try:
		    while resets < 2:
		        before = resets
		        assert tcp.is_open(80) or resets == before, "a reset counts as refused"
		finally:
		    blinker.kill()
		    blinker.wait()
	EOF
	timeout 60 unshare -Urn python3 "$tmp/test.py"
}

run_cases \
	signalling_a_process_that_has_ended_is_not_an_error \
	a_process_that_ignores_the_signal_is_killed_and_the_case_fails \
	await_success_fails_unless_the_status_is_0 \
	a_deadline_that_has_passed_fails_the_case \
	a_command_cannot_change_the_deadline_that_is_set_for_it \
	a_device_that_cannot_be_opened_is_a_reason_to_skip \
	a_port_that_closes_during_a_connection_counts_as_open
