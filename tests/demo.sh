#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# demo.sh PATH/TO/rlkbox: shows the main job of the program. A web server runs inside a network
# namespace that has no network at all, and is reached from the host through a published port.
#
# Runs as whoever calls it, needs a POSIX shell and coreutils, leaves nothing behind. Exits with 1
# when a step does not end as it should.

set -u

deadline_ms=10000 # for each step that has to be waited for

# ---- helpers ----

# Milliseconds; of a clock that stands in for another where date(1) knows no nanoseconds.
now_ms() {
	ns=$(date +%s%N 2>/dev/null)
	case $ns in
	*[!0-9]*) ;;
	????????????????*)
		echo "${ns%??????}"
		return
		;;
	esac
	read -r uptime _ </proc/uptime
	echo "${uptime%.*}${uptime#*.}0"
}

# Prints a line with the time that has passed since the start.
say() {
	printf '%6d ms  %s\n' $(($(now_ms) - start_ms)) "$*"
}

# Prints standard input, indented.
show() {
	while IFS= read -r shown || [ -n "$shown" ]; do
		printf '           | %s\n' "$shown"
	done
}

fail() {
	say "FAILED: $*"
	if [ -s "$tmp/log" ]; then
		echo "           what the launcher and the server wrote:"
		show <"$tmp/log"
	fi
	exit 1
}

# Is the process there, and not just a zombie that has not been waited for?
is_alive() {
	case $(cat "/proc/$1/stat" 2>/dev/null) in
	'' | *') Z '*) return 1 ;;
	esac
}

is_gone() {
	! is_alive "$1"
}

# wait_until WHAT COMMAND...: until the command succeeds, or the step fails for WHAT. That process
# $watched, if there is one, ends meanwhile is a failure too.
wait_until() {
	what=$1
	shift
	until_ms=$(($(now_ms) + deadline_ms))
	until "$@"; do
		[ "$(now_ms)" -lt "$until_ms" ] || fail "$what, not within $deadline_ms ms"
		[ -z "$watched" ] || is_alive "$watched" || fail "$what: the program has ended"
		sleep 0.02 2>/dev/null || sleep 1
	done
}

# Prints the port of the server whose output is in a file.
listening_port() {
	while read -r first second where; do
		if [ "$first $second" = "listening on" ]; then
			echo "${where##*:}"
			return 0
		fi
	done <"$1"
	return 1
}

is_listening() {
	listening_port "$1" >/dev/null
}

# Sets `port` to a free one, which a server that is stopped at once was given by the kernel.
find_free_port() {
	"$rlkbox" demo-httpd 127.0.0.1 0 >"$tmp/answer" 2>"$tmp/log" &
	server=$!
	watched=$server
	wait_until "finding a free port" is_listening "$tmp/answer"
	port=$(listening_port "$tmp/answer")
	kill "$server"
	wait "$server"
	watched=
	server=
}

# Does a file such as /etc/subuid have a line for the user?
has_subids() {
	[ -r "$1" ] || return 1
	while IFS=: read -r who _; do
		case $who in
		"$user_name" | "$user_id") return 0 ;;
		esac
	done <"$1"
	return 1
}

# Prints the PIDs of a process and of all that came from it.
family_of() {
	family=" $1 "
	grew=yes
	while [ -n "$grew" ]; do
		grew=
		for stat in /proc/[0-9]*/stat; do
			{ read -r line <"$stat"; } 2>/dev/null || continue
			pid=${line%% *}
			rest=${line##*) } # behind the name: state, parent
			rest=${rest#? }
			case $family in *" $pid "*) continue ;; esac
			case $family in *" ${rest%% *} "*) family="$family$pid " grew=yes ;; esac
		done
	done
	echo "$family"
}

# stop PID: SIGTERM, and SIGKILL if that does not help.
stop() {
	is_alive "$1" || return
	kill "$1" 2>/dev/null
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		is_alive "$1" || return
		sleep 0.2 2>/dev/null || sleep 1
	done
	kill -9 "$1" 2>/dev/null
}

# Nothing is removed that is not known to be ours.
clean_up() {
	trap '' HUP INT QUIT PIPE TERM
	[ -z "$server" ] || stop "$server"
	[ -z "$launcher" ] || stop "$launcher"
	[ -n "$tmp" ] || return
	rm -f "$tmp/log" "$tmp/answer"
	if [ -d "$tmp/state" ]; then
		rm -f "$tmp/state/api.sock" "$tmp/state/.bp.sock" "$tmp/state/.bp-ready.pipe" \
			"$tmp/state/child_pid" "$tmp/state/lock"
		rmdir "$tmp/state"
	fi
	rmdir "$tmp"
}

# ---- the steps ----

if [ $# -ne 1 ] || [ ! -x "$1" ]; then
	echo "Usage: $0 PATH/TO/rlkbox" >&2
	exit 1
fi
rlkbox=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
user_name=$(id -un 2>/dev/null)
user_id=$(id -u)
start_ms=$(now_ms)
launcher= # PIDs, while they run
server=
watched=
tmp=
trap clean_up EXIT
trap 'exit 1' HUP INT QUIT PIPE TERM
tmp=$(mktemp -d "${TMPDIR:-/tmp}/rlkbox-demo.XXXXXX") || exit 1

subid_option=
if ! command -v newuidmap >/dev/null; then
	lacking="newuidmap is not installed"
elif ! has_subids /etc/subuid || ! has_subids /etc/subgid; then
	lacking="${user_name:-$user_id} has no subordinate IDs in /etc/subuid and /etc/subgid"
else
	lacking=
fi
if [ -n "$lacking" ]; then
	subid_option=--subid-source=self
	say "$lacking: only the own ID is mapped ($subid_option)"
fi

# The same number is free on the host, so that nothing but a mistake could answer there.
find_free_port
inside_port=$port
find_free_port
state=$tmp/state
say "starting a web server at port $inside_port of a namespace without network:"
set -- rootlesskit "--state-dir=$state" --net=none --port-driver=builtin \
	${subid_option:+"$subid_option"} -p "127.0.0.1:$port:$inside_port/tcp" \
	"$rlkbox" demo-httpd 127.0.0.1 "$inside_port"
echo "rlkbox $*" | show
"$rlkbox" "$@" >"$tmp/log" 2>&1 &
launcher=$!
watched=$launcher
wait_until "the file child_pid" test -s "$state/child_pid"
wait_until "the server's start" is_listening "$tmp/log"
say "the server is up as child of process $(cat "$state/child_pid"); the state directory has"
(cd "$state" && ls -AF) | show

say "the published port, as rootlessctl list-ports shows it:"
"$rlkbox" rootlessctl --socket="$state/api.sock" list-ports >"$tmp/answer" 2>&1 ||
	fail "rootlessctl: $(cat "$tmp/answer")"
show <"$tmp/answer"

say "asking for http://127.0.0.1:$port/hello on the host:"
"$rlkbox" demo-get 127.0.0.1 "$port" /hello >"$tmp/answer" 2>&1 ||
	fail "no answer: $(cat "$tmp/answer")"
show <"$tmp/answer"
say "(the host's own network namespace is $(readlink /proc/self/ns/net))"

refusal=$("$rlkbox" demo-get 127.0.0.1 "$inside_port" 2>&1) &&
	fail "port $inside_port, which is not published, answers on the host"
case $refusal in
*refused*) say "port $inside_port itself is not reachable from the host:" ;;
*) say "port $inside_port of the host is another program's by now:" ;;
esac
echo "$refusal" | show

family=$(family_of "$launcher")
say "stopping it: SIGTERM to the launcher, process $launcher"
watched=
kill "$launcher"
wait_until "the launcher's end" is_gone "$launcher"
wait "$launcher"
status=$?
launcher=
[ $status -eq 0 ] || fail "the launcher has ended with status $status"
[ ! -e "$state" ] || fail "the state directory is still there"
count=0
for pid in $family; do
	is_gone "$pid" || fail "process $pid is still there"
	count=$((count + 1))
done
say "all gone: exit status 0, $count processes ended, the state directory removed"
