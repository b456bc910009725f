#!/bin/sh
# Changes while a launcher runs: a network program that dies is restarted on the same interface, and ports
# follow the host's addresses.
. "$(dirname "$0")/ownnet.sh"
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/network.sh"

drivers='slirp4netns pasta'

need_programs() {
	need_own_network
	need_slirp4netns
	need pasta
}

# start_with DRIVER OPTIONS... COMMAND: starts a launcher with this network driver
start_with() {
	driver=$1
	shift
	start --subid-source=self --net="$driver" --copy-up=/etc "$@"
}

# Finds the launcher's network program, and sets `prog` to its PID. Fails while the launcher waits before
# a restart.
find_program() {
	prog=$(pgrep -P "$pid" -f -- ' tap0$|--ns-ifname=tap0 ')
}
# True as soon as there is another network program than `prog`.
other_program() {
	old=$prog
	find_program && [ "$prog" != "$old" ]
}

# Prints how many restarts are in the log.
restarts() {
	grep -c 'restarting in' "$tmp/bg.err" || true
}

# describe_network: prints interface, addresses, routes and resolv.conf inside
describe_network() {
	inside sh -c "ip -o link show tap0 | sed 's/ state.*link/link/'; ip -o -4 addr; ip -4 route; cat /etc/resolv.conf"
}

# True if the host's web server answers inside.
host_page() {
	[ "$(inside curl -s --max-time 2 "http://10.0.2.2:$port/")" = 'hello from the host' ]
}

case_a_network_program_that_dies_is_restarted_on_the_same_interface() {
	need_programs
	start_host_server
	for driver in $drivers; do
		for options in '' --ipv6; do
			# shellcheck disable=SC2086 # options
			start_with "$driver" $options sleep 60
			wait_until 5 host_page
			find_program
			before=$(describe_network)
			for i in 1 2 3; do
				send_signal KILL "$prog"
				wait_until 10 other_program
				wait_until 10 host_page
				[ "$driver" = pasta ] || assert_match "link after death $i" '*<*,UP,LOWER_UP>*state UP*' \
					"$(inside ip -o link show tap0)"
				assert_eq "network of $driver after death $i" "$before" "$(describe_network)"
				assert_eq 'restarts in the log' "$i" "$(restarts)"
			done
			assert_match 'log' "*level=error msg=\"\[rootlesskit:parent\] $driver ended: signal: killed*; restarting in 100 ms\"*200 ms\"*400 ms\"" \
				"$(grep level=error "$tmp/bg.err")"
			stop
			wait_until 5 has_ended "$prog"
		done
	done
}

case_a_network_program_that_dies_is_restarted_in_a_detached_namespace() {
	need_programs
	start_host_server
	for driver in $drivers; do
		start_with "$driver" --detach-netns sleep 60
		find_program
		send_signal TERM "$prog"
		wait_until 10 other_program
		wait_until 10 inside_detached curl -s --max-time 2 "http://10.0.2.2:$port/"
		stop
		wait_until 5 has_ended "$prog"
	done
}

case_connections_of_the_builtin_driver_survive_a_restart() {
	need_programs
	need socat
	port=$(free_port)
	start_with slirp4netns --disable-host-loopback --port-driver=builtin -p "127.0.0.1:$port:7/tcp" \
		socat TCP4-LISTEN:7,fork EXEC:cat
	wait_until 5 inside sh -c 'ss -ltn | grep -q ":7 "'
	mkfifo "$tmp/in" "$tmp/out"
	socat - "TCP4:127.0.0.1:$port" <"$tmp/in" >"$tmp/out" &
	exec 8>"$tmp/in" 9<"$tmp/out"
	find_program
	for i in 1 2 3; do
		echo "line $i" >&8
		read -r line <&9
		assert_eq 'echo' "line $i" "$line"
		send_signal KILL "$prog"
		# New connections work at once, whether or not slirp4netns runs.
		assert_eq 'echo of a new connection' hello "$(echo hello | socat -T 5 - "TCP4:127.0.0.1:$port")"
		wait_until 10 other_program
	done
	exec 8>&- 9<&-
	stop
}

case_pauses_between_restarts_double() {
	need_programs
	for driver in $drivers; do
		fake_once "$driver" 'echo "no luck" >&2; exit 7'
		start_with "$driver" "--$driver-binary=$tmp/fake" sleep 60
		find_program
		send_signal KILL "$prog"
		wait_until 20 grep -q 'in 3200 ms' "$tmp/bg.err"
		assert_eq "pauses of $driver" '100 200 400 800 1600 3200 ' \
			"$(sed -n 's/.*restarting in \([0-9]*\) ms.*/\1/p' "$tmp/bg.err" | tr '\n' ' ')"
		assert_match 'log' "*\] $driver ended before it was ready: exit status 7: no luck; restarting in 200 ms*" \
			"$(cat "$tmp/bg.err")"
		stop # during a pause
		assert_eq status 255 "$rc"
	done
}

case_the_API_answers_during_a_restart() {
	need_programs
	for driver in $drivers; do
		fake_once "$driver" 'exec sleep 70'
		start_with "$driver" "--$driver-binary=$tmp/fake" sleep 60
		find_program
		send_signal KILL "$prog"
		wait_until 5 pgrep -P "$pid" -x sleep
		assert_match "info of $driver" "*\"driver\":\"$driver\"*" \
			"$(fetch --max-time 2 --unix-socket "$state/api.sock" http://rootlesskit/v1/info)"
		stop # The case fails if the network program is left.
	done
}

# The sleep does not wait for anything: it chooses the time of the signal. The first pause takes 100 ms.
case_no_network_program_is_left_after_an_end_during_a_restart() {
	need_programs
	for driver in $drivers; do
		for after in 0 90 110 130; do
			for signal in TERM KILL; do
				start_with "$driver" sleep 60
				find_program
				send_signal KILL "$prog"
				sleep "$(printf '0.%03d' "$after")"
				end_process "$pid" "$signal"
				wait_until 5 has_ended "$child"
				left=$(pgrep -f -- "--pid=$state/| $child tap0\$" || true)
				for p in $left; do
					wait_until 2 has_ended "$p"
				done
				[ "$signal" = KILL ] || [ ! -e "$state" ] || fail "the state directory is left: $(ls -A "$state")"
				rm -rf "$state"
			done
		done
	done
}

# ---- other changes ----

# A connection to the host's first address leads to 127.0.0.1 inside, where the server listens. A
# connection to another address of the host leads to the same address inside, where no server listens.
case_a_change_of_the_hosts_addresses_changes_the_target_inside() {
	need_own_network
	port=$(free_port)
	make_page 'hello from inside'
	cat >"$tmp/scenario" <<-'EOF'
		set -eu
		ip link set lo up
		ip link add up0 type veth peer name up1 2>/dev/null || ip link add up0 type dummy
		ip addr add 192.0.2.10/24 dev up0
		ip addr add 192.0.2.11/24 dev up0
		ip link set up1 up 2>/dev/null || true
		ip link set up0 up
		rootlesskit --subid-source=self --net=none --port-driver=builtin \
			-p "192.0.2.10:$port:80/tcp" -p "192.0.2.11:$port:80/tcp" --state-dir="$tmp/state" \
			sh -c 'for last in 10 11; do ip addr add "192.0.2.$last/32" dev lo; done
				exec busybox httpd -f -p 127.0.0.1:80 -h "$tmp/www"' 2>"$tmp/bg.err" &
		pid=$!
		trap 'kill $pid; wait $pid || true' EXIT
		page() {
			echo "$1: $(curl -s --max-time 5 "http://192.0.2.1$1:$port/" || echo "failed with $?")"
		}
		until [ "$(page 0)" = '0: hello from inside' ]; do sleep 0.05; done
		page 1
		ip addr del 192.0.2.10/24 dev up0
		until [ "$(page 1)" = '1: hello from inside' ]; do sleep 0.05; done
		ip addr add 192.0.2.10/24 dev up0
		page 0
		ip addr del 192.0.2.11/24 dev up0
		until [ "$(page 0)" = '0: hello from inside' ]; do sleep 0.05; done
		echo done
	EOF
	# promote_secondaries keeps the kernel from removing the second address together with the first one.
	export port tmp
	assert_eq 'pages' '1: failed with 56
0: failed with 56
done' "$(timeout 60 unshare -rn sh -c 'sysctl -qw net.ipv4.conf.all.promote_secondaries=1; exec sh "$0"' "$tmp/scenario")"
}

case_only_the_launcher_the_network_program_and_the_command_are_executed() {
	need_programs
	need_strace
	while IFS='|' read -r options allowed; do
		rm -f "$tmp/trace"
		# shellcheck disable=SC2086 # options
		strace -f -qq -e trace=execve,execveat -o "$tmp/trace" rootlesskit --subid-source=self $options \
			--disable-host-loopback --copy-up=/etc --copy-up=/run --port-driver=none /bin/true ||
			fail "$options: status $?"
		got=$(sed -n 's/.*execve\(at\)\{0,1\}("\{0,1\}\([^",]*\).* = 0$/\2/p' "$tmp/trace" | sed 's|.*/||; s/^pass*ta*\.avx2$/pasta/' | sort -u | tr '\n' ' ')
		assert_eq "programs with $options" "$allowed" "$got"
	done <<-'EOF'
		--net=none|exe rootlesskit true 
		--net=slirp4netns|exe rootlesskit slirp4netns true 
		--net=slirp4netns --detach-netns|exe rootlesskit slirp4netns true 
		--net=pasta|exe pasta rootlesskit true 
		--net=pasta --detach-netns|exe pasta rootlesskit true 
	EOF
}

run_cases \
	a_network_program_that_dies_is_restarted_on_the_same_interface \
	a_network_program_that_dies_is_restarted_in_a_detached_namespace \
	connections_of_the_builtin_driver_survive_a_restart \
	pauses_between_restarts_double \
	the_API_answers_during_a_restart \
	no_network_program_is_left_after_an_end_during_a_restart \
	a_change_of_the_hosts_addresses_changes_the_target_inside \
	only_the_launcher_the_network_program_and_the_command_are_executed
