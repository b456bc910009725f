#!/bin/sh
# Evacuation of a delegated cgroup of the v2 hierarchy.
. "$(dirname "$0")/guest.sh"

GROUP=/sys/fs/cgroup/user

# in_group COMMAND...: runs a command in the delegated cgroup
in_group() {
	# shellcheck disable=SC2016 # for the inner shell
	sh -c '/t/as-root --reuid=0 --regid=0 --clear-groups -- sh -c "echo $$ >$1/cgroup.procs"; shift; exec "$@"' \
		- $GROUP "$@"
}

case_a_delegated_cgroup_is_evacuated_and_restored() {
	as_root mkdir $GROUP
	as_root chown user:user $GROUP $GROUP/cgroup.procs $GROUP/cgroup.subtree_control
	# shellcheck disable=SC2016 # for the inner shell
	in_group rootlesskit --net=none --pidns --cgroupns --evacuate-cgroup2=inside sh -c '
		grep ^0: /proc/$PPID/cgroup; cat /proc/self/cgroup; echo 0 >/proc/self/oom_score_adj' >"$tmp/out" 2>"$tmp/err" ||
		fail "status $?: $(cat "$tmp/err")"
	assert_match output '*0::*' "$(cat "$tmp/out")"
	assert_eq 'warnings' '' "$(grep cgroup "$tmp/err" || true)"
	assert_eq 'subgroups that are left' '' "$(find $GROUP -mindepth 1 -type d)"
	as_root rmdir $GROUP
}

run_cases a_delegated_cgroup_is_evacuated_and_restored
