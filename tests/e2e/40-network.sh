#!/bin/sh
# The command's network with --net=host, none and slirp4netns, with and without --detach-netns.
# 45-pasta.sh tests pasta, and 46-network-restart.sh network programs that die after the start.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/network.sh"

slirp='--net=slirp4netns --disable-host-loopback'

# Finds the launcher's slirp4netns. Sets `slirp_pid`, and `slirp_line` to its command line.
find_slirp() {
	slirp_pid=$(pgrep -P "$pid" -x slirp4netns) || fail 'the launcher has no slirp4netns'
	slirp_line=$(tr '\0' ' ' <"/proc/$slirp_pid/cmdline")
}

# ---- host and none ----

case_without_net_the_command_uses_the_hosts_network() {
	launch sh -c 'readlink /proc/self/ns/net; cat /etc/resolv.conf; ls $ROOTLESSKIT_STATE_DIR'
	assert_eq output "$(readlink /proc/self/ns/net)
$(cat /etc/resolv.conf)
api.sock
child_pid
lock" "$out"
	assert_eq 'standard error' '' "$(cat "$tmp/err")"
	start_host_server
	launch curl -s "http://127.0.0.1:$port/"
	assert_eq page 'hello from the host' "$out"
}

case_net_none_has_only_lo() {
	launch --net=none sh -c 'ip -o link | grep -c .; ip -o -4 addr | awk "{ print \$2, \$4 }"; ip route; ip -o link show lo | grep -o "[<,]UP[,>]" | tr -d "<,>"; cat /etc/resolv.conf; readlink /proc/self/ns/net'
	assert_eq output "1
lo 127.0.0.1/8
UP
$(cat /etc/resolv.conf)" "$(echo "$out" | sed '$d')"
	[ "${out##*
}" != "$(readlink /proc/self/ns/net)" ] || fail "the command is in the host's network namespace"
	assert_eq 'standard error' '' "$(cat "$tmp/err")"
	start_host_server
	launch --net=none curl -s "http://127.0.0.1:$port/"
	assert_eq "status of curl to the host's server" 7 "$rc"
}

case_net_none_with_detach_netns_always_works() {
	host=$(readlink /proc/self/ns/net)
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		# shellcheck disable=SC2016 # for the inner shell
		launch --net=none --detach-netns sh -c 'readlink /proc/self/ns/net; nsenter --net=$ROOTLESSKIT_STATE_DIR/netns sh -c "readlink /proc/self/ns/net; ip -br link"'
		assert_eq "error of run $i" '' "$err"
		assert_eq "namespace of run $i" "$host" "$(echo "$out" | sed -n 1p)"
		assert_match "detached namespace of run $i" 'net:*
lo *<LOOPBACK,UP*' "$(echo "$out" | sed 1d)"
		[ "$(echo "$out" | sed -n 2p)" != "$host" ] || fail "the detached namespace is the host's"
	done
}

# ---- slirp4netns ----

case_slirp4netns_has_its_default_addresses_and_mtu() {
	need_slirp4netns
	# shellcheck disable=SC2086 # options
	launch $slirp --copy-up=/etc sh -c "$show_network"
	assert_eq network "$(network tap0 10.0.2.100/24 65520 10.0.2.2)" "$out"
	assert_eq 'standard error' '' "$(cat "$tmp/err")"
}

case_slirp4netns_replaces_hosts_and_resolv_conf() {
	need_slirp4netns
	{
		cat /etc/hosts
		printf '\n127.0.0.1 %s\n::1 %s\n' "$(uname -n)" "$(uname -n)"
	} >"$tmp/hosts"
	before=$(cat /etc/hosts /etc/resolv.conf)
	for copy_up in '' --copy-up=/etc --copy-up=/etc/; do
		# shellcheck disable=SC2086 # options
		start $slirp $copy_up sleep 60
		inside cat /etc/hosts | cmp - "$tmp/hosts"
		cmp "$state/hosts" "$tmp/hosts"
		assert_eq resolv.conf 'nameserver 10.0.2.3' "$(inside cat /etc/resolv.conf)"
		assert_eq 'resolv.conf in the state directory' 'nameserver 10.0.2.3' "$(cat "$state/resolv.conf")"
		assert_eq 'files of the host' "$before" "$(cat /etc/hosts /etc/resolv.conf)"
		if [ -n "$copy_up" ]; then
			assert_eq kinds "$(printf 'regular file\nregular file')" "$(inside stat -c %F /etc/hosts /etc/resolv.conf)"
			# Programs such as resolvconf can create files in a copied-up /etc.
			inside touch /etc/e2e
			assert_eq warnings '' "$(cat "$tmp/bg.err")"
		else
			assert_match warning '*level=warning msg="\[rootlesskit:child \] Mounting /etc/resolv.conf without copying-up /etc. *copying-up /etc is highly recommended*--copy-up=/etc*' \
				"$(cat "$tmp/bg.err")"
			assert_eq 'number of warnings' 1 "$(wc -l <"$tmp/bg.err")"
		fi
		stop
	done
}

case_the_hosts_name_is_found_in_etc_hosts() {
	need_slirp4netns
	# shellcheck disable=SC2086 # options
	launch $slirp --copy-up=/etc getent hosts "$(uname -n)"
	assert_match "address of the host's name" "::1*$(uname -n)*" "$out"
}

case_cidr_sets_the_addresses() {
	need_slirp4netns
	start_host_server
	while read -r cidr net; do
		launch --net=slirp4netns --copy-up=/etc --cidr="$cidr" sh -c \
			"$show_network; cat /etc/resolv.conf; curl -s --max-time 10 http://$net.2:$port/"
		assert_eq "network $cidr" "$(network tap0 "$net.100/${cidr#*/}" 65520 "$net.2")
nameserver $net.3
hello from the host" "$out"
	done <<-'EOF'
		10.9.0.0/16 10.9.0
		192.168.77.0/24 192.168.77
		10.0.2.0/25 10.0.2
	EOF
	fails_with '*too small*' --net=slirp4netns --cidr=10.9.0.0/30
	fails_with '*invalid CIDR address: foo; *' --net=slirp4netns --cidr=foo
	fails_with '*custom cidr is not supported for --net=none; *' --net=none --cidr=10.9.0.0/24
}

case_mtu_sets_the_interfaces_mtu() {
	need_slirp4netns
	for mtu in 1280 1500 65521; do
		# shellcheck disable=SC2086 # options
		launch $slirp --copy-up=/etc --mtu=$mtu sh -c "$show_network"
		assert_eq "network with $mtu" "$(network tap0 10.0.2.100/24 "$mtu" 10.0.2.2)" "$out"
	done
	# shellcheck disable=SC2086 # options
	start $slirp --copy-up=/etc --mtu 1400 sleep 60
	find_slirp
	assert_match 'command line of slirp4netns' '*--mtu 1400 *' "$slirp_line"
	stop
}

case_ifname_sets_the_interfaces_name() {
	need_slirp4netns
	for detach in '' --detach-netns; do
		# shellcheck disable=SC2016,SC2086 # for the inner shell; options
		launch $slirp --copy-up=/etc --ifname=net_0-x.y $detach sh -c \
			'[ ! -e $ROOTLESSKIT_STATE_DIR/netns ] || set -- nsenter --net=$ROOTLESSKIT_STATE_DIR/netns; "$@" ip -o -4 addr | awk "{ print \$2, \$4 }"'
		assert_eq "interfaces $detach" "$(printf 'lo 127.0.0.1/8\nnet_0-x.y 10.0.2.100/24')" "$out$err"
	done
	fails_with '*--ifname=averyverylongname0 is not a valid interface name*' --net=slirp4netns --ifname=averyverylongname0
}

case_the_network_works_for_the_commands_first_connection() {
	need_slirp4netns
	start_host_server
	for i in 1 2 3 4 5 6; do
		launch --net=slirp4netns --copy-up=/etc curl -s --max-time 5 "http://10.0.2.2:$port/"
		assert_eq "run $i" 'hello from the host' "$out"
	done
}

# The kernel reports changes of a carrier at most once a second. So the first start after a second without
# changes differs from the starts that follow each other. The pause before the last start is for that
# second.
case_the_interface_is_up_at_the_commands_first_instruction() {
	need_slirp4netns
	for options in '' --ipv6 --detach-netns '--pidns --copy-up=/etc'; do
		for i in 1 2 3 4 5 6; do
			[ "$i" -lt 6 ] || sleep 1.1
			# shellcheck disable=SC2016,SC2086 # for the inner shell; options
			launch $slirp $options sh -c '[ ! -e $ROOTLESSKIT_STATE_DIR/netns ] || set -- nsenter --net=$ROOTLESSKIT_STATE_DIR/netns
				[ $# -gt 0 ] || cat /sys/class/net/tap0/operstate; "$@" ip -o link show tap0'
			assert_match "interface of run $i with $options" '*<*UP,LOWER_UP*state UP*' "$out"
			case $out in *NO-CARRIER*) fail "no carrier in run $i with $options: $out" ;; esac
			[ "$options" = --detach-netns ] || assert_eq "state of run $i with $options" up "$(echo "$out" | head -n 1)"
		done
	done
}

case_disable_host_loopback_blocks_the_hosts_loopback() {
	need_slirp4netns
	start_host_server
	# shellcheck disable=SC2016 # for the inner shell
	in_netns='curl -s --max-time 5 "http://10.0.2.2:$1/" || echo "failed with $?"'
	launch --net=slirp4netns --copy-up=/etc sh -c "$in_netns" - "$port"
	assert_eq page 'hello from the host' "$out"
	assert_match warning '*specifying --disable-host-loopback is highly recommended*' "$(cat "$tmp/err")"
	launch --net=slirp4netns --disable-host-loopback --copy-up=/etc sh -c "$in_netns" - "$port"
	assert_match 'output with --disable-host-loopback' 'failed with *' "$out"
	assert_eq warnings '' "$(cat "$tmp/err")"
	launch --net=slirp4netns --disable-host-loopback=false --copy-up=/etc sh -c "$in_netns" - "$port"
	assert_eq 'page with --disable-host-loopback=false' 'hello from the host' "$out"
	# shellcheck disable=SC2016 # for the inner shell
	launch --net=slirp4netns --detach-netns sh -c 'exec nsenter --net=$ROOTLESSKIT_STATE_DIR/netns curl -s --max-time 5 "http://10.0.2.2:$1/"' - "$port"
	assert_eq 'page in the detached namespace' 'hello from the host' "$out"
}

case_sandbox_and_seccomp_are_passed_to_slirp4netns() {
	need_slirp4netns
	# Options, and whether slirp4netns must have a sandbox and a seccomp filter.
	while IFS='|' read -r options sandbox seccomp; do
		# shellcheck disable=SC2086 # options
		start $slirp --copy-up=/etc $options sleep 60
		find_slirp
		case $slirp_line in *--enable-sandbox*) got=yes ;; *) got=no ;; esac
		assert_eq "sandbox with $options" "$sandbox" "$got"
		case $slirp_line in *--enable-seccomp*) got=yes ;; *) got=no ;; esac
		assert_eq "seccomp with $options" "$seccomp" "$got"
		got=no
		! grep -q '^Seccomp:	2' "/proc/$slirp_pid/status" || got=yes
		assert_eq "seccomp filter of the process with $options" "$seccomp" "$got"
		stop
	done <<-'EOF'
		|no|no
		--slirp4netns-sandbox=auto --slirp4netns-seccomp=auto|yes|yes
		--slirp4netns-sandbox=true --slirp4netns-seccomp=false|yes|no
		--slirp4netns-sandbox=false --slirp4netns-seccomp=true|no|yes
		--slirp4netns-sandbox=auto --slirp4netns-seccomp=auto --detach-netns|no|yes
	EOF
	fails_with '*--slirp4netns-sandbox conflicts with --detach-netns*' --net=slirp4netns --detach-netns --slirp4netns-sandbox=true
	fails_with '*unsupported slirp4netns-seccomp mode: "foo"*' --net=slirp4netns --slirp4netns-seccomp=foo
}

case_detach_netns_leaves_the_command_in_the_hosts_network() {
	need_slirp4netns
	host=$(readlink /proc/self/ns/net)
	etc=$(stat -c '%n %i %s %y' /etc/hosts /etc/resolv.conf)
	# shellcheck disable=SC2086 # options
	start $slirp --detach-netns sleep 60
	assert_eq "the command's namespace" "$host" "$(readlink "/proc/$(pgrep -P "$child" sleep)/ns/net")"
	assert_eq "the child's namespace" "$host" "$(readlink "/proc/$child/ns/net")"
	[ "$(inside_detached readlink /proc/self/ns/net)" != "$host" ] || fail "the detached namespace is the host's"
	assert_eq network "$(network tap0 10.0.2.100/24 65520 10.0.2.2)" "$(inside_detached sh -c "$show_network")"
	assert_eq 'files in /etc' "$etc" "$(inside_mounts stat -c '%n %i %s %y' /etc/hosts /etc/resolv.conf)"
	inside_mounts cat /etc/resolv.conf | cmp - /etc/resolv.conf
	assert_eq 'mounts on files in /etc' '' "$(inside_mounts grep -E ' /etc/(hosts|resolv.conf) ' /proc/self/mountinfo)"
	assert_eq 'interfaces in /sys' "$(ls /sys/class/net)" "$(inside_mounts ls /sys/class/net)"
	assert_eq resolv.conf 'nameserver 10.0.2.3' "$(cat "$state/resolv.conf")"
	assert_eq warnings '' "$(cat "$tmp/bg.err")"
	find_slirp
	stop
	wait_until 5 has_ended "$slirp_pid"
}

# ---- a network program that fails ----

# fake LINE...: creates a program $tmp/fake with these lines. Because of its --help the launcher takes it
# for slirp4netns.
fake() {
	{
		echo '#!/bin/sh'
		echo 'if [ "$1" = --help ]; then echo "--netns-type=TYPE"; exit; fi'
		printf '%s\n' "$@"
	} >"$tmp/fake"
	chmod +x "$tmp/fake"
}

case_a_missing_network_program_is_reported_with_the_fix() {
	fails_with '\[rootlesskit:parent\] error: exec: "nosuchslirp": executable file not found in $PATH (*install*slirp4netns*--slirp4netns-binary*)' \
		--net=slirp4netns --slirp4netns-binary=nosuchslirp
	fails_with '\[rootlesskit:parent\] error: exec: "/nonexistent": stat /nonexistent: no such file or directory (*install*)' \
		--net=slirp4netns --slirp4netns-binary=/nonexistent
	fails_with '\[rootlesskit:parent\] error: exec: "/etc/passwd": permission denied (*)' \
		--net=slirp4netns --slirp4netns-binary=/etc/passwd
	mkdir "$tmp/bin"
	for program in touch newuidmap newgidmap rootlesskit; do
		ln -s "$(command -v $program)" "$tmp/bin/$program"
	done
	PATH=$tmp/bin rootlesskit --net=slirp4netns --disable-host-loopback touch "$tmp/ran" 2>"$tmp/err" &&
		fail 'the launcher started without slirp4netns'
	assert_match 'error without slirp4netns in $PATH' '*exec: "slirp4netns": executable file not found in $PATH (*' "$(cat "$tmp/err")"
	[ ! -e "$tmp/ran" ] || fail 'the command ran'
}

case_a_network_program_that_fails_at_the_start_is_an_error_with_its_output() {
	need_slirp4netns
	fake 'echo the reason is this >&2' 'exit 1'
	for detach in '' --detach-netns; do
		# shellcheck disable=SC2086 # options
		fails_with '\[rootlesskit:parent\] error: failed to setup network: slirp4netns*: exit status 1: the reason is this' \
			$slirp --slirp4netns-binary="$tmp/fake" $detach
	done
	# slirp4netns prints the reason first. Its last line says least.
	fake 'echo "setns(CLONE_NEWNET): Invalid argument" >&2' 'echo "child failed(1)" >&2' 'exit 1'
	# shellcheck disable=SC2086 # options
	fails_with '*: exit status 1: setns(CLONE_NEWNET): Invalid argument; child failed(1)' \
		$slirp --slirp4netns-binary="$tmp/fake"
	fake 'i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i + 1)); done; printf "the end"; exit 3'
	# shellcheck disable=SC2086 # options
	fails_with '\[rootlesskit:parent\] error: failed to setup network: *: exit status 3: *line 299; the end' \
		$slirp --slirp4netns-binary="$tmp/fake"
	assert_eq lines 1 "$(wc -l <"$tmp/err")"
	fake 'exit 0'
	# shellcheck disable=SC2086 # options
	fails_with '*failed to setup network: *: exit status 0' $slirp --slirp4netns-binary="$tmp/fake"
	source='(--net=slirp4netns: install the package slirp4netns, or name the program by --slirp4netns-binary; or try --net=builtin, which needs no program)'
	printf '#!/nonexistent\n' >"$tmp/fake"
	# shellcheck disable=SC2086 # options
	fails_with "*fork/exec $tmp/fake: no such file or directory $source" $slirp --slirp4netns-binary="$tmp/fake"
	head -c 1000 /dev/zero >"$tmp/fake"
	# shellcheck disable=SC2086 # options
	fails_with "*fork/exec $tmp/fake: exec format error $source" $slirp --slirp4netns-binary="$tmp/fake"
}

case_a_program_that_is_not_slirp4netns_is_reported() {
	need_slirp4netns
	source='(--net=slirp4netns: install the package slirp4netns, or name the program by --slirp4netns-binary; or try --net=builtin, which needs no program)'
	not='does not name --netns-type: it is not slirp4netns, or too old'
	# shellcheck disable=SC2086 # options
	fails_with "\\[rootlesskit:parent\\] error: slirp4netns seems older than v0.4.0; \"/bin/true --help\" $not $source" \
		$slirp --slirp4netns-binary=/bin/true
	# shellcheck disable=SC2086 # options
	fails_with "*: command \"/bin/false --help\" failed, make sure slirp4netns v0.4.0+ is installed: \"Usage: *\\\\n\": exit status 1 $source" \
		$slirp --slirp4netns-binary=/bin/false
	# shellcheck disable=SC2086 # options
	fails_with "*slirp4netns ended before it was ready (/bin/echo *): exit status 0: --mtu *; \"/bin/echo --help\" $not $source" \
		$slirp --slirp4netns-binary=/bin/echo
	printf '#!/bin/sh\nprintf "garbage \\211 %%s" "$*"; [ "$1" = --help ]\n' >"$tmp/fake"
	chmod +x "$tmp/fake"
	# shellcheck disable=SC2086 # options
	fails_with "*: exit status 1: garbage *; \"$tmp/fake --help\" $not $source" $slirp --slirp4netns-binary="$tmp/fake"
	# The launcher does not wait long for a program that does not answer --help.
	printf '#!/bin/sh\n[ "$1" != --help ] || exec sleep 60\n' >"$tmp/fake"
	# shellcheck disable=SC2086 # options
	fails_with '*failed to setup network: *: exit status 0' $slirp --slirp4netns-binary="$tmp/fake"
}

case_a_network_program_that_a_signal_ends_at_the_start_is_an_error() {
	need_slirp4netns
	# shellcheck disable=SC2016 # for the program
	fake 'kill -KILL $$'
	# shellcheck disable=SC2086 # options
	fails_with '\[rootlesskit:parent\] error: failed to setup network: *signal: killed' $slirp --slirp4netns-binary="$tmp/fake"
	# shellcheck disable=SC2016 # for the program
	fake 'kill -SEGV $$'
	# shellcheck disable=SC2086 # options
	fails_with '*failed to setup network: *: signal: segmentation fault*' $slirp --slirp4netns-binary="$tmp/fake"
	assert_fails grep -q 'ulimit' "$tmp/err"
	(
		ulimit -s 512
		# shellcheck disable=SC2086 # options
		fails_with '*: signal: segmentation fault*; try a larger stack: `ulimit -s` is 512 here' $slirp --slirp4netns-binary="$tmp/fake"
	)
}

# A program that closes its ready descriptor will never be ready. This one does not exit, either.
case_a_network_program_that_gives_up_and_hangs_is_killed() {
	need_slirp4netns
	fake "trap '' TERM" 'exec 3>&-' 'while :; do sleep 1; done'
	# shellcheck disable=SC2086 # options
	fails_with '\[rootlesskit:parent\] error: failed to setup network: *' $slirp --slirp4netns-binary="$tmp/fake"
}

case_the_error_has_the_reason_that_slirp4netns_gives() {
	need_slirp4netns
	fake 'exec slirp4netns -r 3 --netns-type=path /proc/self/ns/uts tap0'
	# shellcheck disable=SC2086 # options
	fails_with '*exit status 1: setns(CLONE_NEWNET): *' $slirp --slirp4netns-binary="$tmp/fake"
}

case_a_forbidden_sandbox_is_reported_with_the_option() {
	need_slirp4netns
	for why in 1 22; do
		for option in auto true; do
			# shellcheck disable=SC2086 # options
			launch_refused pivot_root=$why $slirp --slirp4netns-sandbox=$option
			assert_match "error $why with $option" '*cannot pivot_root*; try --slirp4netns-sandbox=false' "$(grep error: "$tmp/err")"
		done
		# shellcheck disable=SC2086 # options
		"$BUILD/tools/refuse" pivot_root=$why -- rootlesskit --subid-source=self $slirp --slirp4netns-sandbox=false true
	done
	fake 'echo "cannot load seccomp rules" >&2' 'exit 1'
	# shellcheck disable=SC2086 # options
	launch $slirp --slirp4netns-binary="$tmp/fake" --slirp4netns-seccomp=auto true
	assert_match 'error with seccomp' '*: cannot load seccomp rules; try --slirp4netns-seccomp=false' "$err"
	# shellcheck disable=SC2086 # options
	launch $slirp --slirp4netns-binary="$tmp/fake" true
	assert_match 'error without seccomp' '*: cannot load seccomp rules' "$err"
}

# launch_refused RULE OPTIONS...: runs a launcher that must fail, under a seccomp filter that refuses
# system calls by RULE (tests/tools/refuse.c)
launch_refused() {
	rule=$1
	shift
	rc=0
	"$BUILD/tools/refuse" "$rule" -- rootlesskit --subid-source=self "$@" true >"$tmp/out" 2>"$tmp/err" || rc=$?
	assert_eq "status with $rule and $*" 1 "$rc"
}

case_a_network_program_without_output_works() {
	need_slirp4netns
	# shellcheck disable=SC2016 # for the program
	fake 'exec slirp4netns "$@" >/dev/null 2>&1'
	# shellcheck disable=SC2086 # options
	start $slirp --slirp4netns-binary="$tmp/fake" --copy-up=/etc sleep 60
	assert_eq network "$(network tap0 10.0.2.100/24 65520 10.0.2.2)" "$(inside sh -c "$show_network")"
	stop
	assert_eq status 255 "$rc"
}

# ---- /dev/net/tun ----

# without_tun SCRIPT PATTERN: runs launchers in a mount namespace where SCRIPT has changed /dev/net. They
# must fail with an error of the child that matches PATTERN.
without_tun() {
	for detach in '' --detach-netns; do
		rc=0
		# shellcheck disable=SC2016 # for the inner shell
		unshare -rm sh -c "set -e; $1; "'shift
			exec rootlesskit --subid-source=self --net=slirp4netns --disable-host-loopback "$@"' - x $detach touch "$tmp/ran" \
			>"$tmp/out" 2>"$tmp/err" || rc=$?
		assert_eq "status $detach" 1 "$rc"
		assert_match "error $detach" "\[rootlesskit:child \] error: $2
\[rootlesskit:parent\] error: child exited: exit status 1" "$(grep -v level=warning "$tmp/err")"
		[ ! -e "$tmp/ran" ] || fail 'the command ran'
		assert_eq 'temporary state directories' '' "$(find "$tmp" -name 'rootlesskit*')"
	done
}

case_a_missing_dev_net_tun_is_reported_with_the_fix() {
	[ -d /dev/net ] || skip tun 'there is no /dev/net to hide'
	way='*modprobe tun*'
	if grep -q ' tun$' /proc/misc; then
		way='the kernel has the tun module, *--device=/dev/net/tun; *mknod -m 666 /dev/net/tun c 10 200*'
	fi
	without_tun 'mount -t tmpfs none /dev/net' "open /dev/net/tun: no such file or directory ($way)"
}

case_a_forbidden_dev_net_tun_is_reported_with_the_fix() {
	[ -e /dev/net/tun ] || skip tun 'there is no /dev/net/tun'
	without_tun 'mount --bind /dev/net/tun /dev/net/tun; mount -o remount,bind,nodev,nosuid,noexec /dev/net/tun' \
		'open /dev/net/tun: permission denied (it is on a file system that is mounted nodev: *)'
	without_tun 'mount --bind /etc/shadow /dev/net/tun' \
		'open /dev/net/tun: permission denied (*chmod 666 /dev/net/tun*)'
}

case_a_dev_net_tun_that_is_another_device_is_an_error() {
	[ -e /dev/net/tun ] || skip tun 'there is no /dev/net/tun'
	without_tun 'mount --bind /dev/null /dev/net/tun' \
		'creating the TAP device tap0: inappropriate ioctl for device*'
}

# ---- ends ----

case_a_network_program_that_ends_during_the_start_ends_the_launcher() {
	need_slirp4netns
	# The child's PID is the last argument but one. A stopped child cannot be ready before the program
	# ends.
	# shellcheck disable=SC2016 # for the program
	stop_child='eval "kill -STOP \${$(($# - 1))}"'
	fake "$stop_child" 'printf 1 >&3' 'echo "no luck" >&2' 'exit 1'
	# shellcheck disable=SC2086 # options
	fails_with '\[rootlesskit:parent\] error: *slirp4netns ended *: exit status 1*' \
		$slirp --slirp4netns-binary="$tmp/fake" --copy-up=/etc
	# shellcheck disable=SC2016 # for the program
	fake "$stop_child" 'printf 1 >&3' 'kill -KILL $$'
	# shellcheck disable=SC2086 # options
	fails_with '\[rootlesskit:parent\] error: *slirp4netns ended *: signal: killed' \
		$slirp --slirp4netns-binary="$tmp/fake" --copy-up=/etc --port-driver=builtin
}

# A process that the network program has started keeps its pipes open.
case_a_process_left_by_the_network_program_does_not_hide_its_end() {
	need_slirp4netns
	fake 'sleep 60 &' 'exit 4'
	# shellcheck disable=SC2086 # options
	fails_with '\[rootlesskit:parent\] error: *slirp4netns ended before it was ready *: exit status 4' \
		$slirp --slirp4netns-binary="$tmp/fake"
}

case_a_network_program_that_prints_a_lot_works() {
	need_slirp4netns
	fake 'seq 100000 >&2' 'exec slirp4netns "$@"'
	# shellcheck disable=SC2086 # options
	start $slirp --slirp4netns-binary="$tmp/fake" --copy-up=/etc sleep 60
	assert_eq network "$(network tap0 10.0.2.100/24 65520 10.0.2.2)" "$(inside sh -c "$show_network")"
	stop
}

# 45-pasta.sh has the other cases, but no subordinate IDs.
case_pasta_works_with_subordinate_IDs() {
	need_slirp4netns
	need pasta
	ip route show default | grep -q . || skip route "this host has no default route"
	launch --net=pasta --disable-host-loopback --copy-up=/etc sh -c "$show_network; cat /etc/resolv.conf; chown 7 /etc && stat -c %u /etc"
	assert_eq network "$(network tap0 10.0.2.100/24 65520 10.0.2.2)
nameserver 10.0.2.3
7" "$out$err"
}

case_ipv6_gives_an_address_a_route_and_a_nameserver() {
	need_slirp4netns
	need_ipv6
	# shellcheck disable=SC2086 # options
	start $slirp --ipv6 --copy-up=/etc sleep 60
	find_slirp
	assert_match 'command line of slirp4netns' '*--enable-ipv6 *' "$slirp_line"
	assert_eq resolv.conf "$(printf 'nameserver 10.0.2.3\nnameserver fd00::3')" "$(inside cat /etc/resolv.conf)"
	assert_match info '*"dns":\["10.0.2.3","fd00::3"\],"childIP":"10.0.2.100"*' \
		"$(api_get info)"
	# The kernel learns address and route from slirp4netns' router advertisements, which takes some
	# seconds.
	wait_until 15 inside sh -c 'ip -6 addr show dev tap0 | grep -q "inet6 fd00::" && ip -6 route show default | grep -q "dev tap0"'
	stop
	launch --ipv6 true
	assert_match 'warning with --net=host' '*level=warning msg="\[rootlesskit:parent\] --ipv6 is discarded for --net=host"' "$(cat "$tmp/err")"
}

# So that an interrupt at the terminal reaches the command only.
case_the_network_program_has_its_own_process_group() {
	need_slirp4netns
	# shellcheck disable=SC2086 # options
	start $slirp --copy-up=/etc sleep 60
	find_slirp
	assert_eq group "$slirp_pid" "$(ps -o pgid= -p "$slirp_pid" | tr -d ' ')"
	stop
}

case_a_long_hosts_file_is_copied_completely() {
	need_slirp4netns
	seq 30000 | sed 's/.*/0.0.0.0 blocked&.example/' >"$tmp/hosts"
	echo '10.1.2.3 last.example' >>"$tmp/hosts"
	unshare -rm sh -c 'mount --bind "$0/hosts" /etc/hosts && exec rootlesskit --subid-source=self \
		--net=slirp4netns --disable-host-loopback --copy-up=/etc cat /etc/hosts' "$tmp" \
		>"$tmp/inside" 2>"$tmp/err" || fail "$(cat "$tmp/err")"
	head -n 30001 "$tmp/inside" | cmp - "$tmp/hosts"
	assert_eq 'lines after the copy' "$(printf '\n127.0.0.1 %s\n::1 %s' "$(hostname)" "$(hostname)")" \
		"$(tail -n +30002 "$tmp/inside")"
}

# with_etc SCRIPT OPTIONS... COMMAND: runs a launcher with slirp4netns where /etc is a small copy of the
# host's, which SCRIPT has changed
with_etc() {
	need_slirp4netns
	rm -rf "${tmp:?}/etc"
	mkdir "$tmp/etc"
	for f in passwd group nsswitch.conf; do cp "/etc/$f" "$tmp/etc"; done
	echo '127.0.0.1 localhost' >"$tmp/etc/hosts"
	echo 'nameserver 192.0.2.53' >"$tmp/etc/resolv.conf"
	(cd "$tmp/etc" && eval "$1")
	shift
	rc=0
	# shellcheck disable=SC2086 # options
	unshare -rm sh -c 'mount --bind "$0/etc" /etc && exec rootlesskit --subid-source=self "$@"' "$tmp" \
		$slirp "$@" >"$tmp/out" 2>"$tmp/err" || rc=$?
	out=$(cat "$tmp/out")
	err=$(grep -v level=warning "$tmp/err" || true)
}

case_hosts_files_with_unusual_bytes_are_copied() {
	while IFS='|' read -r text inside; do
		for copy_up in '' --copy-up=/etc; do
			# shellcheck disable=SC2086 # nothing or an option
			with_etc "printf '$text' >hosts" $copy_up cat /etc/hosts
			assert_eq "hosts $text $copy_up" "$(printf "$inside\n127.0.0.1 %s\n::1 %s" "$(hostname)" "$(hostname)")" "$out$err"
		done
	done <<-'EOF'
		10.0.0.5 box|10.0.0.5 box
		10.0.0.5 box\r\n|10.0.0.5 box\r\n
		1.1.1.1 a\n\000\000\n10.0.0.7 after\n|1.1.1.1 a\n##\n10.0.0.7 after\n
		\000|#
		10.0.0.5 box\000 b\n10.0.0.7 after|10.0.0.5 box# b\n10.0.0.7 after
	EOF
	with_etc "printf '10.0.0.5 box\\000 x\\n10.0.0.7 after\\n' >hosts" --copy-up=/etc getent hosts after
	assert_match 'address of a name after a NUL byte' '10.0.0.7*after' "$out$err"
}

case_a_resolv_conf_that_cannot_be_a_mount_point_is_reported_with_the_fix() {
	show='cat /etc/resolv.conf; tail -n 1 /etc/hosts'
	seen="nameserver 10.0.2.3
::1 $(hostname)"
	while IFS='|' read -r prepare why; do
		with_etc "$prepare" --copy-up=/etc sh -c "$show"
		assert_eq "with --copy-up=/etc: $prepare" "$seen" "$out$err"
		with_etc "$prepare" --detach-netns --copy-up=/etc echo 'detached'
		assert_eq "detached, with --copy-up=/etc: $prepare" 'detached' "$out$err"
		with_etc "$prepare" --detach-netns echo 'detached'
		assert_eq "detached: $prepare" 'detached' "$out$err"
		with_etc "$prepare" sh -c "$show"
		if [ -z "$why" ]; then
			assert_eq "without --copy-up: $prepare" "$seen" "$out$err"
			continue
		fi
		assert_eq "status: $prepare" 1 "$rc"
		assert_match "without --copy-up: $prepare" "\[rootlesskit:child \] error: failed to create bind mount $why; try --copy-up=/etc
*" "$err"
	done <<-'EOF'
		rm resolv.conf|/etc/resolv.conf for */resolv.conf: no such file or directory; /etc/resolv.conf does not exist
		ln -sf ../nothing/stub resolv.conf|/etc/resolv.conf for *: no such file or directory; /etc/resolv.conf is a link to ../nothing/stub, which cannot be reached
		rm resolv.conf; mkdir resolv.conf|/etc/resolv.conf for *: not a directory; /etc/resolv.conf is a directory
		rm hosts|/etc/hosts for */hosts: no such file or directory; /etc/hosts does not exist
		rm hosts; mkdir hosts|/etc/hosts for *: not a directory; /etc/hosts is a directory
		mv resolv.conf r; ln -s r resolv.conf; mv hosts h; ln -s h hosts|
		ln -sf /proc/sys/kernel/hostname resolv.conf|
	EOF
}

case_no_network_program_outlives_the_launcher() {
	need_slirp4netns
	for options in '' '--slirp4netns-sandbox=auto --slirp4netns-seccomp=auto' --detach-netns; do
		for signal in TERM KILL; do
			# shellcheck disable=SC2086 # options
			start $slirp --copy-up=/etc --port-driver=builtin $options sleep 60
			find_slirp
			send_signal "$signal" "$pid"
			wait_until 5 has_ended "$slirp_pid"
			wait_until 5 has_ended "$child"
			await_end "$pid"
			rm -rf "$state"
		done
	done
}

# ---- all of it ----

ctl() {
	rootlessctl --socket "$state/api.sock" "$@"
}

# start_all OPTIONS... COMMAND: starts a launcher with nerdctl's options and these
start_all() {
	start --net=slirp4netns --mtu=65520 --slirp4netns-sandbox=auto --slirp4netns-seccomp=auto \
		--disable-host-loopback --port-driver=builtin --copy-up=/etc --copy-up=/run --copy-up=/var/lib \
		--propagation=rslave -p "127.0.0.2:$port:80/tcp" "$@"
	assert_eq warnings '' "$(grep -v 'The host root filesystem is mounted as' "$tmp/bg.err" || true)"
}

# check_all INSIDE: checks the network and the ports of that launcher, and ends it. INSIDE runs a command
# in its network namespace.
check_all() {
	url=http://127.0.0.2:$port/
	assert_eq network "$(network tap0 10.0.2.100/24 65520 10.0.2.2)" "$("$@" sh -c "$show_network")"
	wait_until 5 fetch "$url"
	assert_eq page 'hello from inside' "$(fetch "$url")"
	is_refused "http://127.0.0.1:$port/" || fail 'the port of 127.0.0.2 is open on 127.0.0.1, too'
	assert_eq ports "ID    PROTO    PARENTIP     PARENTPORT    CHILDIP    CHILDPORT
1     tcp      127.0.0.2    $port                    80" "$(ctl list-ports | sed 's/ *$//')"
	assert_eq removed 1 "$(ctl remove-ports 1)"
	is_refused "$url" || fail 'a removed port answers'
	port6=$(free_port)
	assert_eq added 2 "$(ctl add-ports "[::1]:$port6:80/tcp6")"
	assert_eq 'page by IPv6' 'hello from inside' "$(fetch "http://[::1]:$port6/")"
	is_refused "http://127.0.0.1:$port6/" || fail 'the tcp6 port of ::1 is open on 127.0.0.1, too'
	assert_eq 'ports as JSON' "{\"id\":2,\"spec\":{\"proto\":\"tcp6\",\"parentIP\":\"::1\",\"parentPort\":$port6,\"childPort\":80}}" \
		"$(ctl list-ports --json)"
	find_slirp
	stop
	assert_eq status 255 "$rc"
	wait_until 5 has_ended "$slirp_pid"
	is_refused "http://[::1]:$port6/" || fail 'a port is still open after the end'
}

# The server listens on all addresses, because the launcher connects to the address inside that the port
# has on the host, 127.0.0.2 and ::1 here.
case_the_options_of_nerdctl_work_together() {
	need_slirp4netns
	need_ipv6
	port=$(free_port)
	make_page 'hello from inside'
	start_all busybox httpd -f -p '[::]:80' -h "$tmp/www"
	check_all inside
}

case_the_options_of_nerdctl_work_together_with_detach_netns() {
	need_slirp4netns
	need_ipv6
	port=$(free_port)
	make_page 'hello from inside'
	# The server has to enter the detached namespace; the command itself is in the host's.
	# shellcheck disable=SC2016 # for the inner shell
	start_all --detach-netns sh -c \
		'exec nsenter --net="$ROOTLESSKIT_STATE_DIR/netns" busybox httpd -f -p "[::]:80" -h "$1"' - "$tmp/www"
	check_all inside_detached
}

run_cases \
	without_net_the_command_uses_the_hosts_network \
	net_none_has_only_lo \
	net_none_with_detach_netns_always_works \
	slirp4netns_has_its_default_addresses_and_mtu \
	slirp4netns_replaces_hosts_and_resolv_conf \
	the_hosts_name_is_found_in_etc_hosts \
	cidr_sets_the_addresses \
	mtu_sets_the_interfaces_mtu \
	ifname_sets_the_interfaces_name \
	the_network_works_for_the_commands_first_connection \
	the_interface_is_up_at_the_commands_first_instruction \
	disable_host_loopback_blocks_the_hosts_loopback \
	sandbox_and_seccomp_are_passed_to_slirp4netns \
	detach_netns_leaves_the_command_in_the_hosts_network \
	a_missing_network_program_is_reported_with_the_fix \
	a_network_program_that_fails_at_the_start_is_an_error_with_its_output \
	a_program_that_is_not_slirp4netns_is_reported \
	a_network_program_that_a_signal_ends_at_the_start_is_an_error \
	a_network_program_that_gives_up_and_hangs_is_killed \
	the_error_has_the_reason_that_slirp4netns_gives \
	a_forbidden_sandbox_is_reported_with_the_option \
	a_network_program_without_output_works \
	a_missing_dev_net_tun_is_reported_with_the_fix \
	a_forbidden_dev_net_tun_is_reported_with_the_fix \
	a_dev_net_tun_that_is_another_device_is_an_error \
	a_network_program_that_ends_during_the_start_ends_the_launcher \
	a_process_left_by_the_network_program_does_not_hide_its_end \
	a_network_program_that_prints_a_lot_works \
	pasta_works_with_subordinate_IDs \
	ipv6_gives_an_address_a_route_and_a_nameserver \
	the_network_program_has_its_own_process_group \
	a_long_hosts_file_is_copied_completely \
	hosts_files_with_unusual_bytes_are_copied \
	a_resolv_conf_that_cannot_be_a_mount_point_is_reported_with_the_fix \
	no_network_program_outlives_the_launcher \
	the_options_of_nerdctl_work_together \
	the_options_of_nerdctl_work_together_with_detach_netns
