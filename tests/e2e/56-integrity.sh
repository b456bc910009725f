#!/bin/sh
# TCP streams arrive complete and in order, with each method of copying. tests/tools/stream.c checks every
# byte. In each case MEGABYTES are sent in each direction.
. "$(dirname "$0")/lib.sh"

: "${MEGABYTES:=300}"
stream=$BUILD/tools/stream

# with_streams OPTIONS...: a launcher with a `stream` server inside, at port $port of the host. If
# $detached is not empty, the server is in the detached network namespace.
with_streams() {
	port=$(free_port)
	# shellcheck disable=SC2016 # for the inner shell
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" "$@" sh -c '
		[ -z "$1" ] || exec nsenter --net="$ROOTLESSKIT_STATE_DIR/netns" "$0" serve 80
		exec "$0" serve 80' "$stream" "${detached-}"
	wait_until 10 timeout 10 "$stream" send 127.0.0.1 "$port" bulk 1 1 1
}

# send_streams KIND COUNT: sends COUNT streams of that kind at once, each with its own bytes
send_streams() {
	seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
	timeout 120 "$stream" send 127.0.0.1 "$port" "$1" "$2" $((MEGABYTES * 1024 / $2)) "$seed" ||
		fail "$1 $2, seed $seed"
}

# has_verified COUNT: true when the server has checked that many streams and the one of with_streams
has_verified() {
	[ "$(grep -c . "$tmp/bg.out")" -gt "$1" ]
}

# stop_streams COUNT: waits until the server has checked COUNT streams and ends the launcher. Fails if a
# stream was wrong.
stop_streams() {
	wait_until 60 has_verified "$1"
	assert_eq 'streams that arrived wrong' '' "$(grep -v '^ok$' "$tmp/bg.out" || true)"
	stop
}

# The number of the launcher's descriptors for pipes: it splices through pipes.
count_pipes() {
	find "/proc/$pid/fd" -lname 'pipe:*' | wc -l
}

case_spliced_bulk_streams_arrive_complete() {
	with_streams
	pipes=$(count_pipes)
	send_streams bulk 8
	[ "$(count_pipes)" -gt "$pipes" ] || fail 'the launcher has made no pipe, so it has not spliced'
	stop_streams 8
}

# The launcher reads and writes instead of splicing when the user may have no more pipe memory.
case_bulk_streams_copied_without_pipes_arrive_complete() {
	"$stream" hold-pipes >"$tmp/held" &
	holder=$!
	trap 'end_process "$holder"' EXIT
	wait_until 10 grep -q held "$tmp/held"
	with_streams
	pipes=$(count_pipes)
	send_streams bulk 8
	assert_eq 'pipes of the launcher' "$pipes" "$(count_pipes)"
	stop_streams 8
}

case_small_messages_arrive_complete() {
	MEGABYTES=$((MEGABYTES / 10))
	with_streams
	send_streams small 16
	stop_streams 16
}

case_chunks_of_any_size_arrive_complete() {
	with_streams
	send_streams mixed 32
	stop_streams 32
}

case_slow_readers_receive_everything() {
	MEGABYTES=$((MEGABYTES / 3))
	with_streams
	send_streams slow 32
	stop_streams 32
}

case_concurrent_streams_of_all_kinds_do_not_mix() {
	with_streams
	for kind in bulk mixed slow; do
		MEGABYTES=$((MEGABYTES / 2)) send_streams "$kind" 24 &
		eval "$kind=\$!"
	done
	# shellcheck disable=SC2154 # set by eval
	for job in "$bulk" "$mixed" "$slow"; do
		await_success "$job" 300
	done
	stop_streams 72
}

case_streams_into_a_detached_namespace_arrive_complete() {
	detached=yes
	with_streams --detach-netns
	send_streams mixed 16
	stop_streams 16
}

run_cases \
	spliced_bulk_streams_arrive_complete \
	bulk_streams_copied_without_pipes_arrive_complete \
	small_messages_arrive_complete \
	chunks_of_any_size_arrive_complete \
	slow_readers_receive_everything \
	concurrent_streams_of_all_kinds_do_not_mix \
	streams_into_a_detached_namespace_arrive_complete
