#!/bin/sh
# Compares our launcher with RootlessKit: tests/compare.sh ROOTLESSKIT OURS EXPECTED. The first
# two arguments are paths of a `rootlesskit` that has a `rootlessctl` beside it. The same behaviours are recorded first with RootlessKit
# and then with ours, each as a small text. mask_texts masks what differs from run to run.
#
# compare/EXPECTED lists the expected differences. A difference that is not listed fails, and so does a
# listed difference that no longer exists. A listed difference that refers to the table of
# docs/differences.md must be found there.
#
# The output is TAP: a case for each behaviour, with a diff for each failure. ONLY='exit signal' runs
# only these groups, SHOW=1 also shows the diffs of listed differences, and TRACE=1 prints the name of each
# behaviour when it is recorded.
set -u

[ $# -eq 3 ] || { echo "usage: tests/compare.sh ROOTLESSKIT OURS EXPECTED" >&2; exit 2; }
EXPECTED=$3
tests=$(CDPATH='' cd "$(dirname "$0")" && pwd)
[ "$(id -u)" -ne 0 ] || { echo "tests/compare.sh: run it as an unprivileged user" >&2; exit 2; }
work=$(mktemp -d /tmp/compare.XXXXXX)
LC_ALL=C.UTF-8
export LC_ALL
TAB=$(printf '\t')

# ---- recording ----

# see ID COMMAND...: runs a command and records its exit status, standard output and standard error.
# make_texts makes texts of all records at the end, at once, because starting a process may be slow.
see() {
	id=$1
	shift
	result=0
	[ -z "${TRACE-}" ] || echo "$(date +%T.%N | cut -c 1-12) $id" >&2
	("$@") >"$tmp/seen/$id.out" 2>"$tmp/seen/$id.err" </dev/null || result=$?
	echo "$result" >"$tmp/seen/$id.status"
}

# Makes a text in $seen of each record in $tmp/seen. "| " marks standard output, "! " standard error.
make_texts() {
	awk -v dir="$seen/" '
	FNR == 1 {
		close(text)
		kind = FILENAME
		sub(/.*\./, "", kind)
		text = FILENAME
		sub(/.*\//, dir, text)
		sub(/\.[a-z]*$/, "", text)
	}
	kind == "out" && $0 !~ /^\r?$/ { print "| " $0 >>text }
	kind == "err" && $0 !~ /level=debug/ && $0 != "" { print "! " $0 >>text }
	kind == "status" { print "status " $0 >>text }
	' "$tmp"/seen/*.out "$tmp"/seen/*.err "$tmp"/seen/*.status
}

# Masks what differs between two runs, or between the two programs: the directory of this run, the ports
# in $ports, PIDs of children, versions, also the API's, times, temporary names, inode numbers and help texts. Debian's
# RootlessKit is older than the version that we follow. So this also masks the forms of log lines and
# usage errors, which have changed since (except in behaviours named log-...), and the networks that a
# warning lists.
mask_texts() {
	set -- -e "s|$tmp|TMP|g" -e "s|$where/||g"
	# Only where a PID is expected: the number may occur elsewhere, as a port for example.
	while read -r pid; do
		set -- "$@" -e "s/\\(childPID\": *\\|Child PID: \\|child_pid: \\)$pid\\b/\\1CHILD/" \
			-e "s/\\( slirp4netns .*\\) $pid tap0\$/\\1 CHILD tap0/"
	done <"$tmp/children"
	n=0
	for port in $ports; do
		n=$((n + 1))
		set -- "$@" -e "s/\\b$port\\b/PORT$n/g"
	done
	(
		cd "$tmp/seen" || exit
		for file in *.status; do
			file=${file%.status}
			case $file in
			log-*) ;;
			*) echo "$seen/$file" ;;
			esac
		done
	) >"$tmp/files"
	sed -i -s -e 's/\r//g' "$@" \
		-e "s/\\b$(printf '%s' "$version" | sed 's/[.]/\\&/g')\\b/VERSION/g" \
		-e 's/\("apiVersion": *"\|REST API version: \)1\.1\.[0-9]*/\1API/' \
		-e 's/time="20[0-9T:+Z-]*"/time="TIME"/' -e 's/^\(| ESC\[[0-9]*m[A-Z]*ESC\[0m\)\[[0-9]*\]/\1[SECONDS]/' \
		-e 's/^| Date: .* GMT$/| Date: DATE/' \
		-e 's/rootlesskit[0-9]\{6,\}/rootlesskitTEMP/g' -e 's/rootlesskit[A-Za-z0-9]\{6\}\b/rootlesskitTEMP/g' \
		-e 's/\.ro[0-9]\{6,\}/.roTEMP/g' -e 's/\.ro[A-Za-z0-9]\{6\}\b/.roTEMP/g' \
		-e 's/\(pipe\|socket\):\[[0-9]*\]/\1:[INODE]/' \
		-e 's/fe80::[0-9a-f:]*/fe80::ADDRESS/g' \
		-e '/^| NAME:$/,/^[!s]/{/^| NAME:$/!{/^|/d};s/^| NAME:$/| (help)/}' \
		-e '/^| Usage: rootless/,/^[!s]/{/^| Usage: rootless/!{/^|/d};s/^| Usage: .*/| (help)/}' "$seen"/*
	xargs -r sed -i -s -e 's/\( level=[a-z]* msg="\)\[rootlesskit:[a-z ]*\] /\1/' \
		-e 's/^| Incorrect Usage[.:]/| Incorrect Usage:/' \
		-e 's/^\(!.*on the host namespace\) (requires .*)/\1 (requires ...)/' <"$tmp/files"
}

# skip_all FACILITY REASON ID...: skips behaviours that this machine cannot show
skip_all() {
	why="$1: $2"
	shift 2
	for id; do
		echo "$why" >"$skips/$id"
	done
}

# ---- helpers for the behaviours ----

# Options for a network, without its avoidable warnings; BUILTIN adds the builtin port driver.
NETWORK='--net=slirp4netns --disable-host-loopback --copy-up=/etc'
# shellcheck disable=SC2034 # the groups use it
BUILTIN="$NETWORK --port-driver=builtin"

LIMIT=60 # seconds for a launcher whose command ends

# True if RootlessKit 1.1.0 has failed because of one of its races: its child reports that it is ready
# before its socket exists, and may exit with the command before the ports are published. Ours has no such
# races.
was_early() {
	[ "$side" = rootlesskit ] &&
		grep -q -e 'error: \(dial\|read\|write\) unix .*\.bp\.sock: ' -e 'error: EOF$' "$1"
}

# rk OPTIONS... COMMAND: runs a launcher until it ends, again if it was early
rk() {
	for try in 1 2 3 4 5 6 7 8 9 10; do
		rc=0
		timeout -k 1 "$LIMIT" rootlesskit "$@" >"$tmp/rk.out" 2>"$tmp/rk.err" || rc=$?
		was_early "$tmp/rk.err" || break
		echo "try $try came too early" >>"$tmp/early"
	done
	cat "$tmp/rk.out"
	cat "$tmp/rk.err" >&2
	return "$rc"
}

# A script for the shell inside: waits until the API answers. RootlessKit may start the command before that, and
# fails if the command then ends before the port driver is ready (was_early). On a slow machine it always does.
AWAIT_API='until curl -s --unix-socket "$ROOTLESSKIT_STATE_DIR/api.sock" http://x/v1/info >/dev/null
do
	sleep 0.02
done
'

# when_ready SCRIPT OPTIONS...: runs a script inside as soon as the API answers.
when_ready() {
	script=$1
	shift
	rk "$@" sh -c "$AWAIT_API$script"
}

# until_published N OPTIONS...: runs a launcher whose command ends when N ports are published. If one cannot be, the
# launcher ends the command. A shorter command may end before RootlessKit publishes its ports (was_early).
until_published() {
	wanted=$1
	shift
	rk "$@" sh -c 'until [ "$(curl -s --unix-socket "$ROOTLESSKIT_STATE_DIR/api.sock" http://x/v1/ports |
			grep -o "\"id\":" | wc -l)" -ge "$1" ]
		do
			sleep 0.02
		done' - "$wanted"
}

# wait_for COMMAND...: repeats a command until it succeeds, for 10 s at most.
wait_for() {
	tries=0
	until "$@" >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ "$tries" -lt 500 ] || return 1
		sleep 0.02
	done
}

is_gone() {
	! kill -0 "$1" 2>/dev/null || grep -q '^State:	Z' "/proc/$1/status" 2>/dev/null
}

# has_ports OPTIONS... COMMAND: true if the launcher that `begin` starts with these has published all ports of -p,
# and if its socket for connections inside is there, if it uses one
has_ports() {
	for word; do
		case $word in *:*[0-9]/[tu][cd]p*) echo "$word" ;; esac
	done >"$tmp/wanted"
	case " $* " in
	*' --port-driver=builtin '*) [ -S "$state/.bp.sock" ] || return 1 ;;
	esac
	[ "$(curl -s --unix-socket "$sock" http://x/v1/ports | grep -o '"id":' | wc -l)" -ge "$(wc -l <"$tmp/wanted")" ]
}

# begin OPTIONS... COMMAND: starts a launcher with the state directory $state. Sets `pid` and `child` to
# the PIDs of its processes. If it fails, the behaviour ends.
begin() {
	state=$tmp/state sock=$tmp/state/api.sock
	env --default-signal=INT,QUIT rootlesskit --state-dir="$state" "$@" \
		>"$tmp/begin.out" 2>"$tmp/begin.err" </dev/null &
	pid=$!
	tries=0
	until [ -s "$state/child_pid" ] && [ -S "$sock" ]; do
		tries=$((tries + 1))
		if is_gone "$pid" && was_early "$tmp/begin.err"; then
			begin "$@"
			return
		fi
		if is_gone "$pid" || [ "$tries" -ge 500 ]; then
			cat "$tmp/begin.err"
			echo "the launcher is not ready"
			exit 1
		fi
		sleep 0.02
	done
	# RootlessKit 3.3.0 answers before that.
	wait_for has_ports "$@"
	child=$(cat "$state/child_pid" 2>/dev/null)
	echo "${child:-0x0}" >>"$tmp/children"
}

# Waits until the launcher that `begin` started has executed its command. Sets `command` to the command's
# PID.
wait_for_command() {
	tries=0 command=
	until [ -n "$command" ] && ! [ "/proc/$command/exe" -ef "/proc/$child/exe" ]; do
		command=$(cat "/proc/$child/task/"*/children 2>/dev/null)
		command=${command%% *}
		tries=$((tries + 1))
		[ "$tries" -lt 500 ] || return 1
		sleep 0.02
	done
}

# forwards_signals PID: true if a process has a handler for SIGTTOU (bit 21), or blocks it to read it from
# a descriptor. RootlessKit installs this handler together with those that forward signals, but only after
# its API answers. A signal that arrives earlier ends RootlessKit.
forwards_signals() {
	# shellcheck disable=SC2013 # each line is one word
	for mask in $(sed -n 's/^Sig\(Cgt\|Blk\):.*\(........\)$/0x\2/p' "/proc/$1/status"); do
		[ $((mask & 1 << 21)) -eq 0 ] || return 0
	done
	return 1
}

# Waits until both processes that `begin` started forward signals.
wait_for_forwarding() {
	wait_for forwards_signals "$pid" && wait_for forwards_signals "$child"
}

# await_end PID: waits for a background process of this shell and returns its status. Kills a process
# that runs for longer than wait_for waits.
await_end() {
	wait_for is_gone "$1" || kill -KILL "$1"
	wait "$1" 2>/dev/null
}

# Ends the launcher that `begin` started.
finish() {
	kill -TERM "$pid" 2>/dev/null
	await_end "$pid"
	child=
}

# pick_ports COUNT: sets `ports`, and p1 to p4, to free ports. mask_texts replaces them by PORT1, PORT2, ...
# shellcheck disable=SC2034 # the groups use them
pick_ports() {
	ports=
	while [ "$1" -gt "$(echo "$ports" | wc -w)" ]; do
		ports="$ports $("$tests/free-port.sh" "${BUILD:-$work}/port")"
	done
	ports=${ports# }
	p1=$(echo "$ports" | cut -d' ' -f1) p2=$(echo "$ports" | cut -d' ' -f2)
	p3=$(echo "$ports" | cut -d' ' -f3) p4=$(echo "$ports" | cut -d' ' -f4)
}

# processes_named NAME: prints the PIDs of the group's processes with this name
processes_named() {
	grep -lsx "$1" /proc/[0-9]*/comm | cut -d/ -f3 | while read -r p; do
		! grep -qszx "TMPDIR=$tmp" "/proc/$p/environ" || echo "$p"
	done
}

has_ipv6() {
	grep -q ' lo$' /proc/net/if_inet6 2>/dev/null
}

# ---- the behaviours ----

for file in "$tests"/compare/[0-9]*.sh; do
	# shellcheck disable=SC1090 # each is checked by itself
	. "$file"
done

# observe_group NAME GROUP: records a group in a directory of its own
observe_group() {
	side=$1 tmp=$work/$1.tmp/$2 seen=$work/$1.group/$2 ports='' child=''
	mkdir -p "$tmp/seen" "$seen"
	: >"$tmp/children"
	cd "$tmp" || exit
	"group_$2"
	make_texts
	mask_texts
	mv "$seen"/* "$work/$1"
}

# observe NAME LAUNCHER: records all groups with this launcher, in parallel, since they mostly wait.
observe() {
	skips=$work/skips
	where=$(CDPATH='' cd "$(dirname "$2")" && pwd)
	mkdir -p "$work/$1" "$skips"
	version=$("$2" --version | sed -n '1s/.* //p')
	for group in $GROUPS_OF_BEHAVIOURS; do
		[ -z "${ONLY-}" ] || case " $ONLY " in *" $group "*) ;; *) continue ;; esac
		(
			PATH=$where:$PATH TMPDIR=$work/$1.tmp/$group COMPARE_RUN=$work
			export TMPDIR COMPARE_RUN
			observe_group "$1" "$group"
		) &
	done
	wait
}

# ---- comparing ----

LIST=$tests/compare/$EXPECTED
DIFFERENCES=$tests/../docs/differences.md

# A line of the list has three parts, separated by tabs; the list itself explains them.
read_list() {
	mkdir "$work/list"
	while IFS=$TAB read -r kind id words; do
		case $kind in
		'' | '#'*) continue ;;
		esac
		[ ! -e "$work/list/$id" ] || echo "$id is listed twice" >>"$work/wrong"
		printf '%s\t%s\n' "$kind" "$words" >"$work/list/$id"
	done <"$LIST"
}

is_in_table() {
	grep '^| ' "$DIFFERENCES" | grep -qF -- "$1"
}

verdict() {
	number=$((number + 1))
	echo "$1 $number - $2"
	[ "${1%% *}" = ok ] || failures=$((failures + 1))
}

show_diff() {
	diff -U 2 "$work/rootlesskit/$1" "$work/ours/$1" 2>&1 | sed -e 1,2d -e 's/^/# /' | head -n 60
}

# Our error messages may continue where RootlessKit's end: "; ...", " (...)" or ": ..."
# (docs/differences.md). Removes that from our text, and the difference that it makes to the
# Content-Length of an answer.
remove_advice() {
	[ -e "$work/rootlesskit/$1" ] && [ -e "$work/ours/$1" ] || return 0
	awk '
	function is_begin(begin, line) {
		return begin != "" && index(line, begin) == 1 &&
			substr(line, length(begin) + 1) ~ /^(; | [(]|: | The option )/
	}
	NR == FNR { theirs[FNR] = $0; count = FNR; next }
	{ ours[FNR] = $0 }
	END {
		for (i = 1; i <= FNR && FNR == count; i++) {
			quote_off = theirs[i]
			sub(/"[}]?$/, "", quote_off)
			if (is_begin(theirs[i], ours[i]) || is_begin(quote_off, ours[i])) {
				ours[i] = theirs[i]
				goes_on = 1
			}
		}
		for (i = 1; i <= FNR; i++)
			print goes_on && ours[i] ~ /^. Content-Length: / ? theirs[i] : ours[i]
	}' "$work/rootlesskit/$1" "$work/ours/$1" >"$work/advised" && mv "$work/advised" "$work/ours/$1"
}

judge() {
	id=$1
	kind='' words=''
	remove_advice "$id"
	[ ! -e "$work/list/$id" ] || IFS=$TAB read -r kind words <"$work/list/$id"
	if [ -e "$work/skips/$id" ]; then
		verdict ok "$id # SKIP $(cat "$work/skips/$id")"
	elif cmp -s "$work/rootlesskit/$id" "$work/ours/$id"; then
		case $kind in
		'' | race) verdict ok "$id" ;;
		*) verdict 'not ok' "$id: the difference that compare/$EXPECTED lists is gone" ;;
		esac
	elif [ "$kind" = page ] && ! is_in_table "$words"; then
		verdict 'not ok' "$id: docs/differences.md has no row with: $words"
	elif [ -n "$kind" ]; then
		verdict ok "$id (differs, $kind: $words)"
		[ -z "${SHOW-}" ] || show_diff "$id"
	else
		verdict 'not ok' "$id"
		show_diff "$id"
	fi
}

# An entry of the list for a behaviour that was not recorded is an error, too.
judge_list() {
	[ -z "${ONLY-}" ] || return
	for entry in "$work"/list/*; do
		id=${entry##*/}
		[ -e "$work/ours/$id" ] || [ -e "$work/skips/$id" ] ||
			echo "$id is listed, but there is no such behaviour" >>"$work/wrong"
	done
	if [ -s "$work/wrong" ]; then
		verdict 'not ok' "compare/$EXPECTED"
		sed 's/^/# /' "$work/wrong"
	fi
}

# Kills processes that the behaviours have left. They have COMPARE_RUN of this run in their environment.
clean_up() {
	marked=$(grep -lszx "COMPARE_RUN=$work" /proc/[0-9]*/environ | cut -d/ -f3)
	for left in $marked; do
		[ "$left" = $$ ] || kill -KILL "$left" 2>/dev/null
	done
	chmod -R u+rwX "$work" 2>/dev/null
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP

if ! { true <>/dev/net/tun; } 2>/dev/null; then # a failed redirection of `:` would end this shell
	printf '1..1\nok 1 - comparison # SKIP tun: /dev/net/tun cannot be opened\n'
	exit
fi
began=$(date +%s)
observe rootlesskit "$1"
between=$(date +%s)
observe ours "$2"
number=0 failures=0
read_list
for id in $(find "$work/rootlesskit" "$work/ours" "$work/skips" -type f | sed 's|.*/||' | sort -u); do
	judge "$id"
done
judge_list
echo "1..$number"
echo "# $((between - began)) s for RootlessKit, $(($(date +%s) - between)) s for ours"
[ "$failures" -eq 0 ] && [ "$number" -gt 0 ]
