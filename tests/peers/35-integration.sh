#!/bin/sh
# The integration scripts of RootlessKit 3.3.0 (hack/integration-*.sh of its module), with our launcher in the place
# of theirs: each case runs one script, as it is. integration-docker.sh needs an image from a registry, and
# integration-evacuate-cgroup2.sh a user manager of systemd; 10-docker.sh and vm/systemd.sh test the same.
#
# LAUNCHER=theirs runs them with RootlessKit itself.
. "$(dirname "$0")/ownhost.sh"
. "$(dirname "$0")/../e2e/lib.sh"

theirs=$("$here/go-programs.sh" --print rootlesskit) || theirs=
[ "${LAUNCHER-}" != theirs ] || PATH=$theirs/usr/bin:$PATH

need_scripts() {
	need_own_host
	need_slirp4netns
	[ -n "$theirs" ] || skip rootlesskit-3.3.0 'it is not built; tests/peers/go-programs.sh does that'
	need busybox
	# They look for pasta in PATH. This directory has nothing else that they run.
	newer=/var/cache/rlkbox-tests/newer-pasta/usr/bin
	[ ! -x "$newer/pasta" ] || PATH=$newer:$PATH
	# busybox has the program nslookup, which Debian has in a package with a DNS server.
	mkdir -p "$tmp/bin"
	ln -s "$(command -v busybox)" "$tmp/bin/nslookup"
	PATH=$PATH:$tmp/bin
}

need_pesto() {
	case $(pasta --help 2>&1) in
	*--conf-path*) ;;
	*) skip pesto 'there is no pasta with --conf-path; tests/bench/newer-pasta.sh brings one' ;;
	esac
}

# run_script SECONDS NAME ARGUMENT...: runs a script of theirs; sets `said` to what it has printed
run_script() {
	limit=$1 script=$2
	shift 2
	rc=0
	timeout -k 5 "$limit" bash "$theirs/module/hack/integration-$script.sh" "$@" >"$tmp/said" 2>&1 || rc=$?
	said=$(cat "$tmp/said")
}

# The same; the script must pass. It gets more tries, because the scripts wait for fixed times, which are too
# short on a busy machine. A script that fails leaves its launcher running, which has the ports of the next try.
pass_script() {
	for try in 1 2 3 4; do
		run_script "$@"
		[ "$rc" -ne 0 ] || return 0
		wait_until 20 check_nothing_left # which also kills what is left
	done
	fail "integration-$script.sh ended with status $rc at try $try:
$said"
}

case_exit_code() {
	need_scripts
	pass_script 60 exit-code
}

# The script makes an interface of the type dummy, which not every kernel has. Then this makes a veth.
provide_dummy() {
	if sudo ip link add dummy0 type dummy; then
		sudo ip link del dummy0
		return
	fi
	cat >"$tmp/bin/ip" <<-'EOF'
		#!/bin/sh
		PATH=${PATH#*:}
		case $* in
		'link add dummy42 type dummy') ip link add dummy42 type veth peer name peer42 && ip link set peer42 up ;;
		*) exec ip "$@" ;;
		esac
	EOF
	chmod 755 "$tmp/bin/ip"
	PATH=$tmp/bin:$PATH
}

case_ipv6() {
	need_scripts
	need_ipv6
	provide_dummy
	pass_script 60 ipv6
}

case_net_slirp4netns() {
	need_scripts
	pass_script 60 net slirp4netns
	pass_script 60 net slirp4netns --detach-netns
}

case_net_pasta() {
	need_scripts
	need pasta
	pass_script 60 net pasta
	pass_script 60 net pasta --detach-netns
}

case_net_gvisor_tap_vsock() {
	need_scripts
	pass_script 60 net gvisor-tap-vsock
	pass_script 60 net gvisor-tap-vsock --detach-netns
}

# Not a driver of RootlessKit, but its script does not care.
case_net_builtin() {
	need_scripts
	[ "${LAUNCHER-}" != theirs ] || skip builtin 'RootlessKit has no such network'
	pass_script 60 net builtin
	pass_script 60 net builtin --detach-netns
}

case_pdeathsig() {
	need_scripts
	pass_script 60 pdeathsig
}

# The script tries slirp4netns first, and then gvisor-tap-vsock, each with and without --detach-netns.
case_port_source_ip() {
	need_scripts
	need jq
	pass_script 90 port-source-ip
	assert_match 'what was printed' '*Testing net="gvisor-tap-vsock" rootlesskit_args="--detach-netns"* OK: *===== PASSING =====*' "$said"
}

case_port() {
	need_scripts
	need_ipv6
	need_pesto
	pass_script 300 port
}

case_propagation() {
	need_scripts
	pass_script 60 propagation
	assert_match 'what was tested' '*--propagation=rshared*' "$said"
}

# The script starts the next launcher right after `kill -9`, which does not wait for the end. So this start waits
# until the killed launcher has released its lock.
case_restart() {
	need_scripts
	cat >"$tmp/bin/rootlesskit" <<-EOF
		#!/bin/sh
		for option; do
			case \$option in
			--state-dir=*) [ ! -e "\${option#*=}/lock" ] || flock -w 20 "\${option#*=}/lock" true ;;
			esac
		done
		exec "$(command -v rootlesskit)" "\$@"
	EOF
	chmod 755 "$tmp/bin/rootlesskit"
	PATH=$tmp/bin:$PATH
	pass_script 30 restart
}

case_run_without_reap() {
	need_scripts
	need script
	pass_script 30 run-without-reap
}

case_systemd_socket() {
	need_scripts
	need systemd-socket-activate
	need_unpacked uuid-runtime
	pass_script 90 systemd-socket
}

run_cases exit_code ipv6 net_slirp4netns net_pasta net_gvisor_tap_vsock net_builtin pdeathsig port_source_ip port propagation restart run_without_reap systemd_socket
