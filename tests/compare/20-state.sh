# shellcheck shell=sh
# shellcheck disable=SC2016,SC2034,SC2086,SC2154 # scripts for the shell inside stand in single quotes;
# variables are shared with compare.sh; $BUILTIN and $NETWORK are lists of options
# For compare.sh: the state directory, signals, and the end of a launcher that is killed.

GROUPS_OF_BEHAVIOURS="$GROUPS_OF_BEHAVIOURS state signal"

# ---- the state directory ----

list_state() {
	find "$state" -printf '%P %y %m %s\n' | 
		sed 's/^ /. /; s/ d \([0-9]*\) .*/ d \1/; s/^\(child_pid .*\) .*/\1 digits/' | sort
}

see_state() {
	begin "$@" sleep 600
	wait_for_command
	list_state
	for file in child_pid hosts resolv.conf; do
		[ ! -e "$state/$file" ] || sed "s/^/$file: /; s/$(hostname)/HOST/g" "$state/$file"
		[ ! -e "$state/$file" ] || echo
	done
	find "/proc/$pid/fd" -lname "$state/lock" | wc -l
	flock -n "$state" true || echo "the directory is locked"
	flock -n "$state/lock" true || echo "its lock is locked"
	finish
	[ ! -e "$state" ] && echo removed
}

see_second() {
	begin sleep 600
	rk --state-dir="$state" true
	echo "status $?"
	is_gone "$pid" || echo "the first one lives"
	finish
}

# What kill -9 leaves, and a start in the same directory afterwards.
see_restart() {
	begin $BUILTIN -p "127.0.0.1:$p1:80/tcp" sleep 600
	wait_for_command
	kill -KILL "$pid"
	await_end "$pid"
	for p in "$child" "$command"; do
		wait_for is_gone "$p" && echo "gone"
	done
	child=
	list_state
	until_published 1 --state-dir="$state" $BUILTIN -p "127.0.0.1:$p1:80/tcp" && echo "works again"
	[ ! -e "$state" ] && echo removed
}

see_child_killed() {
	begin $BUILTIN sleep 600
	wait_for_command
	kill -KILL "$child"
	rc=0
	await_end "$pid" || rc=$?
	wait_for is_gone "$command" && echo "the command is gone"
	child=
	cat "$tmp/begin.err"
	[ ! -e "$state" ] && echo removed
	return $rc
}

group_state() {
	pick_ports 1
	see state see_state
	see state-network see_state $NETWORK
	see state-builtin see_state $BUILTIN
	see state-temporary rk sh -c 'stat -c "%a %F" "$ROOTLESSKIT_STATE_DIR"; dirname "$ROOTLESSKIT_STATE_DIR"'
	mkdir deep
	see state-parents rk --state-dir="$tmp/deep/a/b" sh -c 'stat -c "%a %F" deep/a deep/a/b'
	see state-parents-after sh -c 'find deep'
	see state-locked-by-another see_second
	touch file
	see state-is-a-file rk --state-dir="$tmp/file" true
	see state-not-allowed rk --state-dir=/root/x true
	see state-no-such-place rk --state-dir=/proc/foo true
	mkdir -p mine/sub
	touch mine/precious
	see state-foreign-files rk --state-dir="$tmp/mine" true
	see state-foreign-files-after sh -c 'find mine'
	mkdir -m 700 own
	see state-of-the-user rk --state-dir="$tmp/own" stat -c %a own
	see state-of-the-user-after sh -c '[ -e own ]'
	see state-relative rk --state-dir=relative sh -c 'echo "$ROOTLESSKIT_STATE_DIR"'
	see restart-after-kill see_restart
	see child-killed see_child_killed
}

# ---- signals ----

CATCHABLE='HUP INT QUIT USR1 USR2 ALRM TERM CONT TSTP TTIN TTOU XCPU VTALRM PROF WINCH IO PWR'
NOT_FORWARDED='PIPE CHLD URG'

# Which signals reach the command. Those that must not be forwarded are sent first, so that they would have
# arrived before the others.
see_signals() {
	cat >traps <<EOF
for s in $CATCHABLE $NOT_FORWARDED 40; do
	trap "echo got \$s >>got" \$s
done
: >got
until [ -e stop ]; do sleep 0.02; done
exit 7
EOF
	begin "$@" sh traps
	wait_for test -e got
	wait_for_forwarding
	for s in $NOT_FORWARDED $CATCHABLE 40; do
		kill "-$s" "$pid"
		case " $NOT_FORWARDED " in *" $s "*) continue ;; esac
		tries=0
		until grep -qx "got $s" got || [ "$tries" -eq 50 ]; do
			tries=$((tries + 1))
			sleep 0.02
		done
	done
	grep -v CHLD got | sort | tr '\n' ' ' # SIGCHLD is from the shell's own children.
	touch stop
	rc=0
	await_end "$pid" || rc=$?
	child=
	cat "$tmp/begin.err"
	rm -f stop got
	return $rc
}

# see_deadly SIGNAL OPTION...: sends a signal that the command does not catch
see_deadly() {
	signal=$1
	shift
	begin "$@" sleep 600
	wait_for_command
	wait_for_forwarding
	kill "-$signal" "$pid"
	rc=0
	await_end "$pid" || rc=$?
	child=
	cat "$tmp/begin.err"
	[ ! -e "$state" ] && echo removed
	return $rc
}

group_signal() {
	see signals see_signals
	see signals-network see_signals $BUILTIN
	for signal in TERM INT HUP QUIT USR1 ALRM; do
		see "signal-deadly-$signal" see_deadly "$signal"
	done
	see signal-deadly-TERM-network see_deadly TERM $BUILTIN
}
