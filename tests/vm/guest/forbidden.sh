#!/bin/sh
# Hosts that forbid namespaces by a sysctl. The error must name the sysctl, and with its former value the
# program must work again.
. "$(dirname "$0")/guest.sh"

# forbidden_by SYSCTL OPTION...: starts a launcher with these options before, while and after SYSCTL is 0
forbidden_by() {
	sysctl=$1
	shift
	file=/proc/sys/$(echo "$sysctl" | tr . /)
	[ -e "$file" ] || fail "this kernel has no $sysctl"
	before=$(cat "$file")
	launch --net=none "$@" true
	assert_eq "status before, with $err" 0 "$rc"
	as_root sysctl -q -w "$sysctl=0"
	launch --net=none "$@" touch "$tmp/ran"
	as_root sysctl -q -w "$sysctl=$before"
	assert_eq "status with $sysctl=0" 1 "$rc"
	assert_match "message with $sysctl=0" "*$sysctl*" "$err"
	[ ! -e "$tmp/ran" ] || fail 'the command ran'
	launch --net=none "$@" true
	assert_eq "status after, with $err" 0 "$rc"
}

case_forbidden_unprivileged_user_namespaces_are_reported() {
	forbidden_by kernel.unprivileged_userns_clone
}
case_forbidden_user_namespaces_are_reported() {
	forbidden_by user.max_user_namespaces
}
case_forbidden_mount_namespaces_are_reported() {
	forbidden_by user.max_mnt_namespaces
}
case_forbidden_network_namespaces_are_reported() {
	forbidden_by user.max_net_namespaces
}
case_forbidden_pid_namespaces_are_reported() {
	forbidden_by user.max_pid_namespaces --pidns
}
case_forbidden_ipc_namespaces_are_reported() {
	forbidden_by user.max_ipc_namespaces --ipcns
}
case_forbidden_uts_namespaces_are_reported() {
	forbidden_by user.max_uts_namespaces --utsns
}
case_forbidden_cgroup_namespaces_are_reported() {
	forbidden_by user.max_cgroup_namespaces --cgroupns
}

run_cases forbidden_unprivileged_user_namespaces_are_reported forbidden_user_namespaces_are_reported \
	forbidden_mount_namespaces_are_reported forbidden_network_namespaces_are_reported \
	forbidden_pid_namespaces_are_reported forbidden_ipc_namespaces_are_reported \
	forbidden_uts_namespaces_are_reported forbidden_cgroup_namespaces_are_reported
