#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# demo.sh PATH/TO/rlkbox PATH/TO/web: shows what the program is for. In a network namespace, one program
# fetches a page from a server of the host, and a web server runs that the host reaches through a published
# port. Without /dev/net/tun the namespace has no network, and only the latter is shown.
#
# Any user can run it. It needs a POSIX shell and coreutils, and leaves nothing behind. The exit status is
# 1 if a step fails.

set -u

deadline_ms=10000 # for each step that waits
first_port=10000
port_count=10000
max_tries=100 # pairs of ports, since other programs may use some

# ---- helpers ----

# Prints the time in milliseconds: the uptime if date(1) has no nanoseconds.
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

# True if the process exists and is not a zombie.
is_alive() {
	case $(cat "/proc/$1/stat" 2>/dev/null) in
	'' | *') Z '*) return 1 ;;
	esac
}

is_gone() {
	! is_alive "$1"
}

# wait_until WHAT COMMAND...: repeats the command until it succeeds. The demo fails, with WHAT as the
# reason, after the deadline, or if the process $watched (may be empty) ends.
wait_until() {
	what=$1
	shift
	until_ms=$(($(now_ms) + deadline_ms))
	until "$@"; do
		[ "$(now_ms)" -lt "$until_ms" ] || fail "$what: not within $deadline_ms ms"
		[ -z "$watched" ] || is_alive "$watched" || fail "$what: process $watched has ended"
		sleep 0.02 2>/dev/null || sleep 1
	done
}

# listening_port FILE: prints the port that the server reports in its output, which is in FILE.
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

# netns_of_page FILE: prints the network namespace that a page of the server names.
netns_of_page() {
	while read -r key value; do
		[ "$key" != netns: ] || echo "$value"
	done <"$1"
}

# is_refused PORT: true if nothing listens on the port on the host
is_refused() {
	case $("$web" get 127.0.0.1 "$1" 2>&1) in
	*refused*) ;;
	*) return 1 ;;
	esac
}

# Sets `port`, which will be published, and `inside_port` to the next two ports that nothing listens on.
# They are below the kernel's range for ephemeral ports. Another program may still take them before they
# are used.
choose_ports() {
	until
		[ "$tries" -lt "$max_tries" ] || fail "no free ports in $max_tries tries, the last one $port"
		tries=$((tries + 1))
		port=$((first_port + (port + 2 - first_port) % port_count))
		inside_port=$((port + 1))
		is_refused "$port" && is_refused "$inside_port"
	do
		:
	done
}

# has_subids FILE: true if a file such as /etc/subuid has a line for the user
has_subids() {
	[ -r "$1" ] || return 1
	while IFS=: read -r who _; do
		case $who in
		"$user_name" | "$user_id") return 0 ;;
		esac
	done <"$1"
	return 1
}

# family_of PID: prints the PIDs of a process and of all its descendants.
family_of() {
	family=" $1 "
	grew=yes
	while [ -n "$grew" ]; do
		grew=
		for stat in /proc/[0-9]*/stat; do
			{ read -r line <"$stat"; } 2>/dev/null || continue
			pid=${line%% *}
			rest=${line##*) } # after the name: state, parent's PID
			rest=${rest#? }
			case $family in *" $pid "*) continue ;; esac
			case $family in *" ${rest%% *} "*) family="$family$pid " grew=yes ;; esac
		done
	done
	echo "$family"
}

# stop PID: sends SIGTERM, and SIGKILL two seconds later if the process still runs. (A background process
# is at first a copy of this shell, whose trap may swallow the SIGTERM.)
stop() {
	kill "$1" 2>/dev/null
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
		is_alive "$1" || return
		[ "$i" -ne 10 ] || kill -9 "$1" 2>/dev/null
		sleep 0.2 2>/dev/null || sleep 1
	done
}

# Removes only files that the demo has created.
clean_up() {
	trap '' HUP INT QUIT PIPE TERM
	# A signal may arrive between the start of the launcher and the line that sets its PID.
	[ "$launcher" != starting ] || launcher=${!:-}
	[ "$host_server" != starting ] || host_server=${!:-}
	[ -z "$launcher" ] || stop "$launcher"
	[ -z "$host_server" ] || stop "$host_server"
	[ -d "$tmp" ] || return
	rm -f "$tmp/log" "$tmp/answer" "$tmp/host"
	if [ -d "$tmp/state" ]; then
		rm -f "$tmp/state/api.sock" "$tmp/state/.bp.sock" "$tmp/state/.bp-ready.pipe" \
			"$tmp/state/child_pid" "$tmp/state/lock" "$tmp/state/hosts" "$tmp/state/resolv.conf"
		rmdir "$tmp/state"
	fi
	rmdir "$tmp"
}

can_open_tun() {
	{ true <>/dev/net/tun; } 2>/dev/null
}

# Starts a web server of the host, at any free port. Sets `host_server` to its PID, and `host_port`.
start_host_server() {
	: >"$tmp/host"
	host_server=starting
	"$web" serve 127.0.0.1 0 >>"$tmp/host" 2>&1 &
	host_server=$!
	wait_until "the start of the host's server" is_listening "$tmp/host"
	host_port=$(listening_port "$tmp/host")
}

# Prints the page that the program inside has fetched: all that is in the log before the server's line, but
# for the launcher's own lines.
fetched_page() {
	while IFS= read -r line; do
		case $line in
		'listening on '*) return ;;
		time=*) ;;
		*) echo "$line" ;;
		esac
	done <"$tmp/log"
}

# Starts the launcher with these arguments in the background, and waits until the server inside listens or
# the launcher has ended. Sets `launcher`. The log is emptied here, because the background process may start
# only after the log is read for the first time.
start_launcher() {
	: >"$tmp/log"
	launcher=starting
	"$rlkbox" "$@" >>"$tmp/log" 2>&1 &
	launcher=$!
	wait_until "the server's start" is_up_or_gone
}

is_up_or_gone() {
	{ [ -s "$state/child_pid" ] && is_listening "$tmp/log"; } || is_gone "$launcher"
}

# True if the launcher has ended because another program has taken the port.
is_port_taken() {
	is_gone "$launcher" || return 1
	wait "$launcher"
	case $(cat "$tmp/log") in
	*"address already in use"*) ;;
	*) return 1 ;;
	esac
}

# ---- the steps ----

if [ $# -ne 2 ] || [ ! -x "$1" ] || [ ! -x "$2" ]; then
	echo "Usage: $0 PATH/TO/rlkbox PATH/TO/web" >&2
	exit 1
fi
rlkbox=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
web=$(cd "$(dirname "$2")" && pwd)/$(basename "$2") # the server and the client
user_name=$(id -un 2>/dev/null)
user_id=$(id -u)
start_ms=$(now_ms)
launcher= # its PID, while it runs
host_server= # likewise
watched=
tmp=
host_port= # of the host's server, if there is one
tries=0
port=$((first_port + $$ % (port_count / 2) * 2))
trap clean_up EXIT
trap 'exit 1' HUP INT QUIT PIPE TERM
# Sets the name before it creates the directory, so that clean_up after a signal always finds it.
tmp=$(mktemp -u "${TMPDIR:-/tmp}/rlkbox-demo.XXXXXX") || exit 1
mkdir -m 700 "$tmp" || {
	tmp=
	exit 1
}

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
	say "$lacking: mapping only the user's own ID ($subid_option)"
fi

if can_open_tun; then
	start_host_server
	network="--net=builtin --copy-up=/etc"
	kind="with a network"
else
	say "/dev/net/tun cannot be opened: a namespace without network must do (--net=none)"
	network=--net=none
	kind="without network"
fi

state=$tmp/state
# shellcheck disable=SC2016 # for the shell inside
inside='[ -z "$1" ] || "$0" get 10.0.2.2 "$1" /hello || exit; exec "$0" serve 127.0.0.1 "$2"'
while :; do
	choose_ports
	say "starting a web server at port $inside_port of a namespace $kind:"
	# shellcheck disable=SC2086 # $network is two options
	set -- rootlesskit "--state-dir=$state" $network --port-driver=builtin \
		${subid_option:+"$subid_option"} -p "127.0.0.1:$port:$inside_port/tcp" \
		sh -c "$inside" "$web" "$host_port" "$inside_port"
	echo "rlkbox $*" | show
	start_launcher "$@"
	is_port_taken || break
	say "another program has taken port $port: trying the next pair of ports"
done
is_gone "$launcher" && fail "the launcher has ended"
watched=$launcher
say "the server is up as child of process $(cat "$state/child_pid"); the state directory has"
(cd "$state" && ls -AF) | show

if [ -n "$host_server" ]; then
	say "inside, 10.0.2.2 is the host's 127.0.0.1; the page from its port $host_port is"
	fetched_page >"$tmp/answer"
	[ "$(netns_of_page "$tmp/answer")" = "$(readlink /proc/self/ns/net)" ] ||
		fail "that is not the page of the host's server"
	show <"$tmp/answer"
fi

say "the published port, as rootlessctl list-ports shows it:"
"$rlkbox" rootlessctl --socket="$state/api.sock" list-ports >"$tmp/answer" 2>&1 ||
	fail "rootlessctl: $(cat "$tmp/answer")"
show <"$tmp/answer"

say "asking for http://127.0.0.1:$port/hello on the host:"
"$web" get 127.0.0.1 "$port" /hello >"$tmp/answer" 2>&1 ||
	fail "no answer: $(cat "$tmp/answer")"
show <"$tmp/answer"
say "(the host's own network namespace is $(readlink /proc/self/ns/net))"

netns=$(netns_of_page "$tmp/answer")
[ -n "$netns" ] || fail "the page does not name the server's network namespace"
refusal=$("$web" get 127.0.0.1 "$inside_port" 2>&1)
case $refusal in
*"$netns"*) fail "port $inside_port, which is not published, answers on the host" ;;
*refused*) say "port $inside_port itself is not reachable from the host:" ;;
*) say "another program has taken port $inside_port of the host:" ;;
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
say "exit status 0, $count processes have ended, the state directory is removed"
