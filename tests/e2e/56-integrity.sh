#!/bin/sh
# Every byte of TCP streams, in every way in which they are copied: tests/tools/stream.c checks each
# one at its place. MEGABYTES is how much goes up, and as much down, in each case.
. "$(dirname "$0")/lib.sh"

: "${MEGABYTES:=300}"
stream=$BUILD/tools/stream

# with_streams OPTIONS...: a launcher with a server of streams inside, at $port of the host
with_streams() {
	port=$(free_port)
	# shellcheck disable=SC2016 # for the inner shell
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" "$@" sh -c '
		[ -z "$1" ] || exec nsenter --net="$ROOTLESSKIT_STATE_DIR/netns" "$0" serve 80
		exec "$0" serve 80' "$stream" "${detached-}"
	wait_until 10 timeout 10 "$stream" send 127.0.0.1 "$port" bulk 1 1 1
}

# send_streams KIND COUNT: streams of that kind, so many at once, each unlike all others
send_streams() {
	seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
	timeout 120 "$stream" send 127.0.0.1 "$port" "$1" "$2" $((MEGABYTES * 1024 / $2)) "$seed" ||
		fail "$1 $2, seed $seed"
}

# has_verified COUNT: has the server seen so many streams, and the one that looked for it?
has_verified() {
	[ "$(grep -c . "$tmp/bg.out")" -gt "$1" ]
}

# stop_streams COUNT: ends the launcher; of so many streams the server has seen none that was wrong
stop_streams() {
	wait_until 60 has_verified "$1"
	assert_eq 'what the server found wrong' '' "$(grep -v '^ok$' "$tmp/bg.out" || true)"
	stop
}

pipes_of() {
	find "/proc/$1/fd" -lname 'pipe:*' | wc -l
}

case_bulk_streams_are_spliced_whole() {
	with_streams
	pipes=$(pipes_of "$pid")
	send_streams bulk 8
	# They were: pipes were made for it.
	[ "$(pipes_of "$pid")" -gt "$pipes" ] || fail 'no pipe was used'
	stop_streams 8
}

case_bulk_streams_without_a_pipe_are_copied_whole() {
	"$stream" hold-pipes >"$tmp/held" &
	holder=$!
	trap 'end_process "$holder"' EXIT
	wait_until 10 grep -q held "$tmp/held"
	with_streams
	pipes=$(pipes_of "$pid")
	send_streams bulk 8
	assert_eq 'pipes' "$pipes" "$(pipes_of "$pid")"
	stop_streams 8
}

case_small_messages_arrive_whole() {
	MEGABYTES=$((MEGABYTES / 10))
	with_streams
	send_streams small 16
	stop_streams 16
}

case_chunks_of_any_size_arrive_whole() {
	with_streams
	send_streams mixed 32
	stop_streams 32
}

case_slow_readers_get_all() {
	MEGABYTES=$((MEGABYTES / 3))
	with_streams
	send_streams slow 32
	stop_streams 32
}

case_several_workers_mix_nothing_up() {
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

case_streams_into_a_detached_namespace_arrive_whole() {
	detached=yes
	with_streams --detach-netns
	send_streams mixed 16
	stop_streams 16
}

run_cases \
	bulk_streams_are_spliced_whole \
	bulk_streams_without_a_pipe_are_copied_whole \
	small_messages_arrive_whole \
	chunks_of_any_size_arrive_whole \
	slow_readers_get_all \
	several_workers_mix_nothing_up \
	streams_into_a_detached_namespace_arrive_whole
