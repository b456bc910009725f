# shellcheck shell=sh
# The library of the end-to-end tests. A test file sources this file, defines functions `case_NAME`, and
# ends with `run_cases NAME...`. Each case runs in a subshell under `set -eu`, so it fails with its
# first failing command. The output shows case names with blanks instead of underscores.
#
# Each case has a directory of its own, $tmp, which also holds its state directories. After the case,
# processes that it left behind are killed, and the case fails if there were any.

: "${BUILD:?run this by tests/run.sh, or set BUILD to the build directory}"
here=$(CDPATH='' cd "$(dirname "$0")" && pwd)
export here
# Python modules and programs for tests. Compiled files are not kept: they would be in the source tree.
tools=$here/../tools
export tools PYTHONPATH="$tools" PYTHONDONTWRITEBYTECODE=1

bin=$BUILD/bin
# The lock is for other scripts that start at the same time. -f replaces the links of a copied build
# directory, which still point to the original program.
mkdir -p "$bin" && flock "$BUILD" "$BUILD/rlkbox" --install -s -f "$bin" || exit 1
ln -sf "$BUILD/rlkbox" "$bin/rlkbox"
PATH=$bin:$PATH
# WORKERS=N makes every launcher use N worker threads, unless the test passes --workers itself.
if [ -n "${WORKERS-}" ]; then
	mkdir -p "$BUILD/bin.$WORKERS"
	printf '#!/bin/sh\nexec "%s/rootlesskit" --workers=%s "$@"\n' "$bin" "$WORKERS" \
		>"$BUILD/bin.$WORKERS/rootlesskit.$$"
	chmod +x "$BUILD/bin.$WORKERS/rootlesskit.$$"
	mv "$BUILD/bin.$WORKERS/rootlesskit.$$" "$BUILD/bin.$WORKERS/rootlesskit"
	PATH=$BUILD/bin.$WORKERS:$PATH
fi
export PATH

# ---- reporting ----

fail() {
	echo "FAILED: $*" >&2
	exit 1
}

# skip FACILITY REASON
skip() {
	echo "$1: $2" >"$tmp/skipped"
	exit 77
}

# assert_eq WHAT EXPECTED ACTUAL
assert_eq() {
	[ "$2" = "$3" ] || fail "$1: expected:
$2
but it is:
$3"
}

# assert_match WHAT PATTERN TEXT: the shell pattern must match the whole text
assert_match() {
	# shellcheck disable=SC2254 # it is a pattern
	case $3 in
	$2) ;;
	*) fail "$1: expected a match of:
$2
but it is:
$3" ;;
	esac
}

assert_fails() {
	if "$@" >/dev/null 2>&1; then
		fail "succeeded, but should have failed: $*"
	fi
}

# ---- waiting ----

# Prints the time since the boot in milliseconds. Unlike the wall clock, it never jumps.
now_ms() {
	read -r uptime _ </proc/uptime
	echo "${uptime%.*}${uptime#*.}0"
}

# assert_within MS BEGAN: fails if more than MS milliseconds have passed since BEGAN, a time of now_ms
assert_within() {
	took=$(($(now_ms) - $2))
	[ "$took" -le "$1" ] || fail "it took $took ms, more than $1 ms"
}

# wait_until SECONDS COMMAND...: repeats the command until it succeeds; fails after SECONDS. What it must remember is
# in its positional parameters, which the command cannot change.
wait_until() {
	set -- "$(($(now_ms) + $1 * 1000))" "$@"
	until call_rest "$@" >/dev/null 2>&1; do
		[ "$(now_ms)" -le "$1" ] || fail_late "$@"
		sleep 0.02
	done
}
# call_rest DEADLINE SECONDS COMMAND...
call_rest() {
	shift 2
	"$@"
}
# fail_late DEADLINE SECONDS COMMAND...
fail_late() {
	late_s=$2
	shift 2
	fail "not within $late_s s: $*"
}

is_gone() {
	! kill -0 "$1" 2>/dev/null
}

# Also true for a zombie, which only its parent can remove.
has_ended() {
	is_gone "$1" || grep -q '^State:	Z' "/proc/$1/status" 2>/dev/null
}

# send_signal SIGNAL PID...: signals each of these processes that has not ended
send_signal() {
	signal_to_send=$1
	shift
	for signalled; do
		kill "-$signal_to_send" "$signalled" 2>/dev/null || has_ended "$signalled" ||
			fail "SIG$signal_to_send cannot be sent to $signalled"
	done
}

# await_end PID [SECONDS]: waits for a background process of this shell and sets rc to its status. A
# process that does not end in time is killed, and the case fails. A signal that was sent too early can
# cause that: a background process is at first a copy of this shell, whose traps handle the signal.
await_end() {
	end_deadline=$(($(now_ms) + ${2-60} * 1000))
	until has_ended "$1"; do
		if [ "$(now_ms)" -gt "$end_deadline" ]; then
			command_line=$(tr '\0' ' ' <"/proc/$1/cmdline")
			kill -KILL "$1" 2>/dev/null
			fail "process $1 has not ended within ${2-60} s: $command_line"
		fi
		sleep 0.02
	done
	rc=0
	wait "$1" || rc=$?
}

# await_success PID [SECONDS]: like await_end, but the status must be 0. Does not change rc.
await_success() {
	rc_before=${rc-}
	await_end "$@"
	[ "$rc" -eq 0 ] || fail "process $1 ended with status $rc"
	rc=$rc_before
}

# end_process PID [SIGNAL]: sends a signal, SIGTERM by default, to a background process of this shell
# and waits until it has ended; sets rc.
end_process() {
	send_signal "${2-TERM}" "$1"
	await_end "$1"
}

# ---- the launcher ----

# Runs a launcher until it ends. Sets `out`, `err` (without warnings) and `rc`.
# shellcheck disable=SC2034 # for the test files
launch() {
	rc=0
	rootlesskit "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || rc=$?
	out=$(cat "$tmp/out")
	err=$(grep -v 'level=warning' "$tmp/err" || true)
}

# Starts a launcher in the background and waits until it is ready. Sets `state` to its state directory,
# `pid` to the parent's PID and `child` to the child's. Its output is in $tmp/bg.out and $tmp/bg.err.
start() {
	state=$tmp/state
	# A shell makes its background processes ignore SIGINT and SIGQUIT.
	env --default-signal=INT,QUIT rootlesskit --state-dir="$state" "$@" >"$tmp/bg.out" 2>"$tmp/bg.err" </dev/null &
	pid=$!
	wait_ready
}
# READY_S=N waits up to N seconds, for slow machines.
wait_ready() {
	deadline=$(($(now_ms) + ${READY_S:-20} * 1000))
	# child_pid may be left from an earlier launcher, so check whose child it names.
	until grep -q "^PPid:	$pid\$" "/proc/$(cat "$state/child_pid" 2>/dev/null)/status" \
		2>/dev/null; do
		if has_ended "$pid"; then
			fail "the launcher ended: $(cat "$tmp/bg.err")"
		fi
		[ "$(now_ms)" -le "$deadline" ] || fail "the launcher is not ready"
		sleep 0.02
	done
	child=$(cat "$state/child_pid")
}

# Ends the launcher and sets rc. Fails if the state directory is left.
# shellcheck disable=SC2034 # for the test files
stop() {
	send_signal TERM "$pid"
	finish
}
# The same for a launcher that ends without a signal from us.
finish() {
	await_end "$pid"
	[ ! -e "$state" ] || fail "the state directory is still there: $(ls -A "$state")"
}

# Runs a command in the namespaces of the started launcher.
inside() {
	nsenter --preserve-credentials -U -m -n -t "$child" "$@"
}
# The same, but in the host's network namespace. With --detach-netns that is where the command runs.
inside_mounts() {
	nsenter --preserve-credentials -U -m -t "$child" "$@"
}
# The same, in the network namespace of a launcher with --detach-netns.
inside_detached() {
	# shellcheck disable=SC2016 # for the inner shell
	nsenter --preserve-credentials -U -m -t "$child" sh -c \
		'n=$1; shift; exec nsenter --net="$n" "$@"' - "$state/netns" "$@"
}

# For `sh -c "$report_signals"`: prints "ready", and ends with status 7 at the first signal, after
# printing "got NAME".
# shellcheck disable=SC2016,SC2034 # for the inner shell; for the test files
report_signals='for s in INT TERM HUP QUIT USR1 USR2 CONT WINCH; do trap "echo got $s; exit 7" $s; done
	echo ready; while :; do sleep 0.1; done'

# limits_and_signals COMMAND...: prints what a shell inherits when this command starts it: its limits of
# file descriptors, and its blocked and ignored signals. The output hides signals 32 and 33, which
# glibc sets itself.
limits_and_signals() {
	# exec, because the shell blocks signals while it waits for a child.
	"$@" sh -c 'ulimit -Sn; ulimit -Hn; exec grep -E "^Sig(Blk|Ign)" /proc/self/status' |
		sed 's/[0189]\([0-9a-f]\{7\}\)$/_\1/; s/[0-3]_/_/'
}

# make_waiting FILE PROGRAM: creates a program that executes PROGRAM as soon as $tmp/go exists
make_waiting() {
	printf '#!/bin/sh\nwhile [ ! -e %s/go ]; do sleep 0.02; done\nexec %s "$@"\n' "$tmp" "$(command -v "$2")" >"$1"
	chmod +x "$1"
}

# api_get PATH: prints the body of an answer of the launcher's API
api_get() {
	fetch --unix-socket "$state/api.sock" "http://rootlesskit/v1/$1"
}

# ---- ports ----

# Prints a port that is in use neither for TCP nor for UDP.
free_port() {
	"$here/../free-port.sh" "$BUILD/port"
}

# family_rules PROTO: prints port specs, and whether each such port answers on 127.0.0.1 and on ::1
family_rules() {
	sed "s/PROTO/$1/" <<-'EOF'
		:PORT/PROTO|yes|yes
		0.0.0.0:PORT/PROTO|yes|yes
		[::]:PORT/PROTO|yes|yes
		:PORT/PROTO4|yes|no
		0.0.0.0:PORT/PROTO4|yes|no
		:PORT/PROTO6|no|yes
		[::]:PORT/PROTO6|no|yes
		127.0.0.1:PORT/PROTO|yes|no
		127.0.0.1:PORT/PROTO4|yes|no
		[::1]:PORT/PROTO|no|yes
		[::1]:PORT/PROTO6|no|yes
	EOF
}

# For `python3 -c "$udp_echo_server" PORT`. Not socat: its processes for datagrams can outlive it.
# shellcheck disable=SC2034 # for the test files
udp_echo_server='import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", int(sys.argv[1])))
while True:
    data, client = server.recvfrom(65536)
    server.sendto(data, client)'

# make_page [TEXT]: creates a page for busybox httpd in $tmp/www.
make_page() {
	mkdir -p "$tmp/www"
	echo "${1-hello from inside}" >"$tmp/www/index.html"
}

# fetch URL: prints the body of the page
fetch() {
	curl -s -g --max-time 10 "$@"
}

# True if the host refuses connections to the URL's port.
is_refused() {
	code=0
	fetch "$1" || code=$?
	[ "$code" -eq 7 ]
}

# Starts a web server on the host's 127.0.0.1 only. Sets `port`. The server ends with the case.
start_host_server() {
	port=$(free_port)
	mkdir -p "$tmp/host-www"
	echo 'hello from the host' >"$tmp/host-www/index.html"
	busybox httpd -f -p "127.0.0.1:$port" -h "$tmp/host-www" &
	server=$!
	trap 'end_process "$server"' EXIT
	wait_until 5 fetch "http://127.0.0.1:$port/"
}
stop_host_server() {
	end_process "$server"
	trap - EXIT
}

# take_port PORT: another program listens on the port of 127.0.0.1 until the case ends
take_port() {
	socat "TCP4-LISTEN:$1,bind=127.0.0.1,reuseaddr,fork" /dev/null &
	taker=$!
	trap 'end_process "$taker"' EXIT
	# shellcheck disable=SC2016 # for the inner shell
	wait_until 5 sh -c 'ss -ltn | grep -q ":$0 "' "$1"
}

# ---- facilities ----

# True if a device can be opened. Not with the command `:`, whose failed redirection ends a POSIX shell.
can_open() {
	{ true <>"$1"; } 2>/dev/null
}

need_tun() {
	can_open /dev/net/tun || skip tun "/dev/net/tun cannot be opened"
}
need_slirp4netns() {
	need_tun
	need slirp4netns
}
need_ipv6() {
	grep -q ' lo$' /proc/net/if_inet6 2>/dev/null ||
		skip ipv6 "this host has no IPv6"
}
need() {
	command -v "$1" >/dev/null || skip "$1" "it is not installed"
}
need_strace() {
	need strace
	strace -f -qq -e trace=execve -e signal=none -o /dev/null true 2>/dev/null ||
		skip ptrace "processes may not be traced here"
	# LeakSanitizer needs ptrace(2) itself.
	export ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS-}"
}

# need_unpacked PACKAGE...: adds programs to $PATH from packages that tests/deps.sh has unpacked
need_unpacked() {
	for package; do
		unpacked=/var/cache/rlkbox-tests/$package
		[ -d "$unpacked" ] || skip "$package" "it is not unpacked in ${unpacked%/*}"
		PATH=$bin:$unpacked/usr/bin:$unpacked/usr/sbin:$PATH
	done
}

# need_go_program NAME: adds programs to $PATH that tests/peers/go-programs.sh has built
need_go_program() {
	built=$("$here/../peers/go-programs.sh" --print "$1") ||
		skip go "$1 is not built; tests/peers/go-programs.sh $1 does it"
	PATH=$bin:$built/usr/bin:$PATH
}

# ---- running ----

# Prints the PIDs of all processes of this case, which have E2E_CASE=$tmp in their environment.
leftovers() {
	grep -lszx "E2E_CASE=$tmp" /proc/[0-9]*/environ | cut -d/ -f3
}

# Waits up to a second until no process of the case is left. Fails if there are any then, and kills them.
check_nothing_left() {
	left_deadline=$(($(now_ms) + 1000))
	while :; do
		found=
		for p in $(leftovers); do
			has_ended "$p" || found="$found $p"
		done
		[ -n "$found" ] || return 0
		[ "$(now_ms)" -lt "$left_deadline" ] || break
		sleep 0.1
	done
	echo "processes left behind:"
	for p in $found; do
		echo "$p: $(tr '\0' ' ' <"/proc/$p/cmdline")"
		kill -KILL "$p" 2>/dev/null || true
	done
	return 1
}

run_case() {
	tmp=$(mktemp -d /tmp/e2e.XXXXXX)
	case_began=$(now_ms)
	# Exported in the subshell only, so that leftovers() finds processes of the case but not this shell.
	(
		E2E_CASE=$tmp
		TMPDIR=$tmp
		export E2E_CASE TMPDIR
		set -eu
		"case_$1"
	) >"$tmp/log" 2>&1 </dev/null
	status=$?
	if ! check_nothing_left >"$tmp/left" && [ "$status" -eq 0 ]; then
		status=1
		cat "$tmp/left" >>"$tmp/log"
	fi
	name="$(echo "$1" | tr _ ' ') ($((($(now_ms) - case_began) / 1000)) s)"
	number=$((number + 1))
	if [ "$status" -eq 77 ] && [ -e "$tmp/skipped" ]; then
		echo "ok $number - $name # SKIP $(cat "$tmp/skipped")"
	elif [ "$status" -eq 0 ]; then
		echo "ok $number - $name"
	else
		echo "not ok $number - $name"
		tail -n 60 "$tmp/log" | sed 's/^/# /'
		failures=$((failures + 1))
	fi
	chmod -R u+rwX "$tmp" 2>/dev/null
	rm -rf "$tmp"
}

run_cases() {
	number=0 failures=0
	echo "1..$#"
	# shellcheck disable=SC2013 # names are words
	for case_name in $(sed -n 's/^case_\([A-Za-z0-9_]*\)().*/\1/p' "$0"); do
		case " $* " in
		*" $case_name "*) ;;
		*)
			echo "not ok - case_$case_name is not in the list of cases to run"
			failures=$((failures + 1))
			;;
		esac
	done
	for case_name; do
		if [ -z "${CASES-}" ] || echo " $CASES " | grep -q " $case_name "; then
			run_case "$case_name"
		fi
	done
	[ "$failures" -eq 0 ]
}
