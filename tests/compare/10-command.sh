# shellcheck shell=sh
# shellcheck disable=SC2016,SC2034,SC2086,SC2154 # scripts for the shell inside stand in single quotes;
# variables are shared with compare.sh; $BUILTIN and $NETWORK are lists of options
# For compare.sh: options, exit statuses, what the command sees, logs.

GROUPS_OF_BEHAVIOURS='version option exit environment log'

# ---- version, help ----

# The options of RootlessKit 1.1.0. Ours must have all of them.
NAMES='--debug --print-semver --help --version --copy-up --copy-up-mode --propagation --net --mtu --cidr
	--ifname --disable-host-loopback --ipv6 --lxc-user-nic-binary --lxc-user-nic-bridge --vpnkit-binary
	--slirp4netns-binary --slirp4netns-sandbox --slirp4netns-seccomp --port-driver --publish --pidns
	--cgroupns --utsns --ipcns --reaper --evacuate-cgroup2 --state-dir --subid-source'

see_names() {
	rootlesskit "$1" >"$tmp/help"
	for name in $NAMES; do
		grep -qw -- "$name" "$tmp/help" && echo "$name"
	done
}

# see_shape COMMAND...: prints the command's output with N in the place of each number, without a +suffix
see_shape() {
	"$@" | sed 's/[0-9]\{1,\}\(+[a-z0-9.]*\)\{0,1\}/N/g'
}

# see_stream COMMAND...: says on which streams the command prints
see_stream() {
	"$@" >"$tmp/o" 2>"$tmp/e"
	rc=$?
	[ ! -s "$tmp/o" ] || echo "something on standard output"
	[ ! -s "$tmp/e" ] || echo "something on standard error"
	return $rc
}

group_version() {
	see version see_shape rootlesskit --version
	see version-short see_shape rootlesskit -v
	for part in major minor patch; do
		see "version-semver-$part" see_shape rootlesskit "--print-semver=$part"
	done
	see version-semver-unknown rk --print-semver=foo
	see version-semver-empty rk --print-semver= true
	see version-ctl see_shape rootlessctl --version
	see help see_stream rootlesskit --help
	see help-short see_stream rootlesskit -h
	see help-names see_names --help
	see help-wins rk --help --net=none nosuchcommand
}

# ---- options ----

group_option() {
	see option-unknown rk --no-such-flag true
	see option-unknown-short rk -Z true
	see option-not-boolean rk --debug=maybe true
	see option-not-number rk --mtu=abc true
	see option-missing-value rk --net
	see option-no-command rk
	see option-no-command-but-options rk --net=slirp4netns
	see option-end-but-no-command rk --
	see option-end rk -- echo --help -v
	see option-behind-the-command rk echo --net=none --help
	see option-one-dash rk -mtu=1500 true
	see option-in-two-words rk --mtu 1500 true
	see option-last-wins rk --net=slirp4netns --net=host readlink /proc/self/ns/net
	see option-boolean-0 rk --debug=0 true
	see option-boolean-false rk --pidns=false true
	see option-help-is-a-command rk help

	see option-mtu-large rk --net=slirp4netns --mtu=65522 true
	see option-mtu-negative rk --net=slirp4netns --mtu=-1 true
	see option-mtu-host rk --mtu=1500 true
	see option-cidr-host rk --cidr=10.0.2.0/24 true
	see option-cidr-malformed rk --net=slirp4netns --cidr=foo true
	see option-ifname-host rk --ifname=foo0 true
	see option-ifname-slash rk --net=slirp4netns --ifname=a/b true
	see option-net-unknown rk --net=foo true
	see option-net-empty rk --net= true
	see option-driver-unknown rk $NETWORK --port-driver=foo true
	see option-driver-unknown-host rk --port-driver=foo true
	see option-driver-host rk --port-driver=builtin true
	see option-driver-slirp4netns-host rk --port-driver=slirp4netns true
	see option-publish-host rk -p 127.0.0.1:18001:80/tcp true
	see option-publish-no-driver rk $NETWORK --publish 127.0.0.1:18001:80/tcp true
	see option-copy-up-tmp rk --copy-up=/tmp true
	see option-copy-up-missing rk --copy-up=/nonexistent true
	see option-copy-up-file rk --copy-up=/etc/passwd true
	see option-copy-up-relative rk --copy-up=etc true
	see option-propagation-unknown rk --propagation=foo true
	see option-slirp4netns-sandbox rk --net=slirp4netns --slirp4netns-sandbox=foo true
	see option-slirp4netns-seccomp rk --net=slirp4netns --slirp4netns-seccomp=foo true
	see option-slirp4netns-missing rk --net=slirp4netns --slirp4netns-binary=/nonexistent true
	see option-slirp4netns-not-found rk --net=slirp4netns --slirp4netns-binary=nosuchslirp true
	see option-slirp4netns-wrong rk --net=slirp4netns --slirp4netns-binary=/bin/true true
	see option-evacuate-no-cgroupns rk --evacuate-cgroup2=x true
	see option-evacuate-no-pidns rk --evacuate-cgroup2=x --cgroupns true
	LIMIT=2 # RootlessKit hangs.
	see option-copy-up-mode rk --copy-up-mode=foo true
	see option-copy-up-shared rk --propagation=rshared --copy-up=/etc true
	see option-reaper-unknown rk --reaper=foo true
	see option-reaper-no-pidns rk --reaper=true true
	see option-leftovers sh -c 'ls | grep -c ^rootlesskit'
}

# ---- exit statuses ----

group_exit() {
	for status in 0 1 42 255; do
		see "exit-$status" rk sh -c "exit $status"
	done
	for signal in TERM KILL USR1 HUP SEGV; do
		see "exit-by-SIG$signal" rk sh -c "kill -$signal \$\$; sleep 5"
	done
	echo 'not a program' >data
	printf '#!/bin/sh\necho "ran in $(basename "$(pwd)")"\n' >script
	chmod 755 script
	see exit-not-found rk nosuchcommand
	see exit-directory rk /etc
	see exit-not-executable rk "$tmp/data"
	see exit-no-such-path rk /nonexistent/x
	see exit-empty-name rk ''
	see exit-relative rk ./script
	see exit-standard-input sh -c 'echo hello | rootlesskit cat'
	see exit-standard-error rk sh -c 'echo complaint >&2'
	see exit-background sh -c 'rootlesskit sh -c "sleep 60 >/dev/null 2>&1 & echo \$! >background"
		ps -o comm= -p "$(cat background)"; kill "$(cat background)"'
	see exit-leftovers sh -c 'ls | grep -c ^rootlesskit'
	LIMIT=10 # RootlessKit hangs.
	see exit-not-found-network rk $BUILTIN nosuchcommand
}

# ---- what the command sees ----

see_environment() {
	env | sort | grep -v '^_=' >before
	when_ready 'env | sort' "$@" >after
	diff before after | grep '^[<>]' | grep -v -e SHLVL -e ' _=' |
		sed "s/=$(id -u)\$/=ID/; s/\(REEXEC_COUNT\).*/\1/"
}

# The descriptors of the command, here a cat that opens none itself.
see_descriptors() {
	rk "$@" sh -c 'exec cat' <fifo >/dev/null 2>&1 &
	exec 8>fifo
	found=
	tries=0
	while [ -z "$found" ] && [ "$tries" -lt 500 ]; do
		sleep 0.02
		tries=$((tries + 1))
		found=$(processes_named cat)
	done
	for fd in "/proc/$found"/fd/*; do
		echo "${fd##*/} $(readlink "$fd" | sed 's/\[.*//')"
	done
	exec 8>&-
	await_end $! || true
}

see_ids() {
	rk sh -c 'id; cat /proc/self/uid_map /proc/self/gid_map; cat /proc/self/setgroups' |
		sed "s/\b$(id -u)\b/ID/g"
}

# Signals 32 and 33, which belong to libc, are left out. If they were ignored at the start, they are no
# longer ignored in a program that Go has started.
see_status() {
	when_ready "exec grep -E '^(Uid|Gid|Groups|NoNewPrivs|Seccomp|CapInh|CapPrm|CapEff|CapBnd|CapAmb|ShdPnd|SigBlk|SigIgn|SigCgt|Umask)' /proc/self/status" "$@" |
		sed 's/^\(SigIgn:.*\)..\(.......\)$/\1__\2/'
}

# Which namespaces of the command differ from ours.
see_namespaces() {
	for ns in cgroup ipc mnt net pid user uts; do
		echo "$ns $(readlink "/proc/self/ns/$ns")"
	done >namespaces
	cat >look <<'EOF'
while read -r ns was; do
	[ "$(readlink /proc/self/ns/$ns)" = "$was" ] && echo "$ns ours" || echo "$ns new"
done <namespaces
EOF
	rk "$@" sh look
}

see_processes() {
	begin "$@" sleep 600
	wait_for_command
	# The path of the network program and its option -e (--exit-fd) are left out.
	ps -o args= --ppid "$pid" | sed 's|^[^ ]*/slirp4netns |slirp4netns |; s/ -e [0-9]*//' | sort
	ps -o args= --ppid "$child"
	echo "groups: $(ps -o pgid= -p "$pid,$child" | sort -u | wc -l)"
	echo "sessions: $(ps -o sid= -p "$pid,$child" --ppid "$child" | sort -u | wc -l)"
	tr '\0' '\n' <"/proc/$child/environ" | grep '^ROOTLESSKIT_' | sort | sed "s/=$(id -u)\$/=ID/"
	finish
}

see_limits() {
	ulimit -S -n 512
	rk sh -c 'ulimit -S -n; ulimit -S -c; umask'
}

group_environment() {
	mkfifo fifo
	see environment see_environment
	see environment-set-before env ROOTLESSKIT_STATE_DIR=/nonexistent ROOTLESSKIT_PARENT_EUID=77 \
		rootlesskit sh -c 'basename "$ROOTLESSKIT_STATE_DIR"; [ "$ROOTLESSKIT_PARENT_EUID" != 77 ]'
	see environment-for-another-LISTEN_PID env LISTEN_PID=1 LISTEN_FDS=3 \
		rootlesskit sh -c 'echo $LISTEN_PID $LISTEN_FDS'
	see descriptors see_descriptors
	see descriptors-network see_descriptors $BUILTIN
	: >open
	exec 7<open
	see descriptors-of-the-caller sh -c 'rootlesskit readlink /proc/self/fd/7'
	exec 7<&-
	see ids see_ids
	see ids-static rk --subid-source=static true
	see ids-dynamic rk --subid-source=dynamic true
	see ids-source-unknown rk --subid-source=foo true
	see process-status see_status
	see process-status-network see_status $BUILTIN
	see namespaces see_namespaces
	see namespaces-network see_namespaces $NETWORK
	see processes see_processes
	see processes-network see_processes $BUILTIN
	see limits see_limits
}

# ---- log ----

on_a_terminal() {
	script -qec "$*" /dev/null | sed 's/\x1b/ESC/g'
}

group_log() {
	see log-warning rk --mtu=1500 true
	see log-warning-on-a-terminal on_a_terminal rootlesskit --mtu=1500 true
	see log-error-on-a-terminal on_a_terminal rootlesskit nosuchcommand
	see log-terminal on_a_terminal rootlesskit sh -c '"tty >/dev/null && ps -o tty= -p \$\$ | grep -c pts"'
	see log-debug sh -c 'rootlesskit --debug true 2>&1 | sed "s/^time=\"[^\"]*\" level=debug msg=\"\(\[rootlesskit:[a-z ]*\]\).*/\1/" | sort -u'
}
