#!/bin/sh
# The helpers of lib.sh that end background processes.
. "$(dirname "$0")/lib.sh"

case_a_signal_to_a_process_that_has_ended_is_no_failure() {
	sh -c 'exit 3' &
	process=$!
	wait_until 5 has_ended "$process"
	send_signal KILL "$process"
	end_process "$process"
	assert_eq status 3 "$rc"
	# Nor when it was waited for, so that no such process is left.
	send_signal TERM "$process"
}

case_a_process_that_ignores_the_signal_is_killed_and_fails_the_case() {
	sh -c 'trap "" TERM; : >"$1/ready"; exec sleep 60' - "$tmp" &
	process=$!
	wait_until 5 test -e "$tmp/ready"
	send_signal TERM "$process"
	if (await_end "$process" 1) 2>"$tmp/err"; then
		fail 'it is not a failure'
	fi
	assert_match message "FAILED: process $process has not ended within 1 s: sleep 60*" "$(cat "$tmp/err")"
	wait_until 5 has_ended "$process"
}

case_success_is_status_0() {
	rc=4
	true &
	await_success $!
	assert_eq 'the status before' 4 "$rc"
	if (
		sh -c 'exit 3' &
		await_success $!
	) 2>"$tmp/err"; then
		fail 'status 3 is not a failure'
	fi
	assert_match message 'FAILED: process * ended with status 3' "$(cat "$tmp/err")"
}

run_cases \
	a_signal_to_a_process_that_has_ended_is_no_failure \
	a_process_that_ignores_the_signal_is_killed_and_fails_the_case \
	success_is_status_0
