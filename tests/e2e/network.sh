# shellcheck shell=sh
# shellcheck disable=SC2154 # lib.sh sets tmp, rc and err
# What the tests of networks share. A test file sources this after lib.sh.

# For `sh -c "$show_network" - [INTERFACE]`: prints address, MTU and state of the interface (tap0 by
# default), the default route, and the state of lo.
# shellcheck disable=SC2034 # for the test files
show_network='ip -o -4 addr show dev ${1-tap0} | awk "{ print \$2, \$4 }"
	ip -o link show dev ${1-tap0} | grep -o "mtu [0-9]*"
	ip -o link show dev ${1-tap0} | grep -o "[<,]UP[,>]" | tr -d "<,>"
	ip -4 route show default | awk "{ print \$1, \$2, \$3, \$4, \$5 }"
	ip -o link show dev lo | grep -o "[<,]UP[,>]" | tr -d "<,>"'

# network INTERFACE IP/LEN MTU GATEWAY: prints what show_network prints of such a network
network() {
	printf '%s %s\nmtu %s\nUP\ndefault via %s dev %s\nUP' "$1" "$2" "$3" "$4" "$1"
}

# From now on, the processes whose PIDs are in `servers` end with the case.
keep_servers() {
	servers=
	trap end_servers EXIT
}
end_servers() {
	for server in $servers; do
		end_process "$server"
	done
}

# fails_with PATTERN OPTIONS...: checks that a launcher with these options fails with an error that matches
# PATTERN, does not run its command, and leaves no state directory
fails_with() {
	pattern=$1
	shift
	launch "$@" touch "$tmp/ran"
	assert_eq "status of $*" 1 "$rc"
	assert_match "error of $*" "$pattern" "$err"
	[ ! -e "$tmp/ran" ] || fail 'the command ran'
	assert_eq 'temporary state directories' '' "$(find "$tmp" -name 'rootlesskit*')"
}

# fake_once PROGRAM SCRIPT: creates $tmp/fake. The first time, it executes the network program PROGRAM. Later
# it runs SCRIPT. $tmp/runs has a line for each time. The launcher's questions about PROGRAM's options, by
# --help and an unknown option, do not count.
fake_once() {
	cat >"$tmp/fake" <<-EOT
		#!/bin/sh
		case \$* in --help | --this*) exec $1 "\$@" ;; esac
		echo run >>"$tmp/runs"
		[ "\$(wc -l <"$tmp/runs")" -gt 1 ] || exec $1 "\$@"
		$2
	EOT
	chmod +x "$tmp/fake"
	: >"$tmp/runs"
}
