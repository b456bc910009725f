#!/bin/sh
# Hosts that forbid namespaces by a sysctl: the message names the sysctl, and with the former value
# the program works again.
. "$(dirname "$0")/guest.sh"

# forbidden_by SYSCTL OPTION...
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

case_unprivileged_user_namespaces() {
	forbidden_by kernel.unprivileged_userns_clone
}
case_user_namespaces() {
	forbidden_by user.max_user_namespaces
}
case_mount_namespaces() {
	forbidden_by user.max_mnt_namespaces
}
case_network_namespaces() {
	forbidden_by user.max_net_namespaces
}
case_pid_namespaces() {
	forbidden_by user.max_pid_namespaces --pidns
}
case_ipc_namespaces() {
	forbidden_by user.max_ipc_namespaces --ipcns
}
case_uts_namespaces() {
	forbidden_by user.max_uts_namespaces --utsns
}
case_cgroup_namespaces() {
	forbidden_by user.max_cgroup_namespaces --cgroupns
}

run_cases unprivileged_user_namespaces user_namespaces mount_namespaces network_namespaces \
	pid_namespaces ipc_namespaces uts_namespaces cgroup_namespaces
