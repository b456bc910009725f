#!/bin/sh
# A host that has only cgroup v1.
. "$(dirname "$0")/guest.sh"

case_the_machine_has_cgroup_v1_only() {
	assert_eq 'types of its hierarchies' cgroup "$(sed -n 's/.* - \(cgroup2*\) .*/\1/p' /proc/self/mountinfo | sort -u)"
}

case_evacuation_does_nothing_but_warn() {
	launch --net=none --pidns --cgroupns --evacuate-cgroup2=inside sh -c 'cat /proc/self/cgroup'
	assert_eq "status, with $err" 0 "$rc"
	assert_eq "the command's cgroups" "$(cat /proc/self/cgroup)" "$out"
	assert_match warning '*--evacuate-cgroup2*cgroup2*' "$(cat "$tmp/err")"
}

case_a_cgroup_namespace_is_created() {
	launch --net=none --cgroupns sh -c 'readlink /proc/self/ns/cgroup; ls /sys/fs/cgroup'
	assert_eq "status, with $err" 0 "$rc"
	assert_match output 'cgroup:*' "$out"
	assert_fails test "$(echo "$out" | head -n 1)" = "$(readlink /proc/self/ns/cgroup)"
}

run_cases the_machine_has_cgroup_v1_only evacuation_does_nothing_but_warn a_cgroup_namespace_is_created
