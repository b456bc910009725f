#!/bin/sh
# lxc-user-nic: the network driver with a veth in a bridge of the host, and the DHCP client.
. "$(dirname "$0")/lxcnet.sh"
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/network.sh"

helper="--net=lxc-user-nic --lxc-user-nic-binary=$lxc/bin/lxc-user-nic"
quiet="$helper --disable-host-loopback --copy-up=/etc"

# Are there veths of the user in the host's network namespace? Their names begin with "veth" and the user's ID.
has_veth() {
	ip -o link | grep -q ' veth1000_'
}
has_no_veth() {
	! has_veth
}

# heard BRIDGE: prints what the DHCP server of the bridge has got, a word for each message
heard() {
	awk '{ print $1 }' "$lxc/logs/$1" | tr '\n' ' '
}
# heard_matches BRIDGE PATTERN: waits until what it has got matches the pattern
heard_matches() {
	# shellcheck disable=SC2254 # it is a pattern
	case $(heard "$1") in
	$2) ;;
	*) return 1 ;;
	esac
}

address_inside() {
	inside ip -o -4 addr show dev eth0 | awk '{ print $4 }'
}
has_address() {
	[ "$(address_inside)" = "$1" ]
}

# ---- the network ----

case_the_interface_is_configured_by_dhcp() {
	need_lxc
	# shellcheck disable=SC2086 # options
	start $quiet sleep 60
	address=$(address_inside)
	assert_match address '10.0.3.[12][0-9]/24' "$address"
	assert_eq network "$(network eth0 "$address" 1500 10.0.3.1)" "$(inside sh -c "$show_network" - eth0)"
	assert_eq resolv.conf "$(printf 'nameserver 10.0.3.1\nnameserver 10.0.3.2')" "$(inside cat /etc/resolv.conf)"
	assert_match hosts "*127.0.0.1 $(uname -n)*" "$(inside cat /etc/hosts)"
	assert_eq 'interfaces in /sys' "$(printf 'eth0\nlo')" "$(inside ls /sys/class/net)"
	assert_match info '*"networkDriver":{"driver":"lxc-user-nic","dynamicChildIP":true}*' "$(api_get info)"
	assert_eq files 'api.sock child_pid hosts lock resolv.conf ' \
		"$(find "$state" -mindepth 1 -printf '%f\n' | sort | tr '\n' ' ')"
	inside busybox ping -c 1 -W 5 10.0.3.1 >"$tmp/ping" || fail "the bridge does not answer: $(cat "$tmp/ping")"
	stop
}

case_files_in_etc_are_covered_without_copy_up() {
	need_lxc
	before=$(cat /etc/resolv.conf)
	# shellcheck disable=SC2086 # options
	start $helper --lxc-user-nic-bridge=good sleep 60
	assert_eq resolv.conf 'nameserver 10.0.5.1' "$(inside cat /etc/resolv.conf)"
	assert_eq "the host's resolv.conf" "$before" "$(cat /etc/resolv.conf)"
	stop
}

case_detach_netns_leaves_the_command_in_the_hosts_network() {
	need_lxc
	host=$(readlink /proc/self/ns/net)
	# shellcheck disable=SC2086 # options
	start $quiet --lxc-user-nic-bridge=good --detach-netns --pidns sleep 60
	assert_eq "the command's namespace" "$host" "$(readlink "/proc/$(pgrep -P "$child" sleep)/ns/net")"
	assert_eq network "$(network eth0 10.0.5.10/24 1500 10.0.5.1)" \
		"$(inside_detached sh -c "$show_network" - eth0)"
	assert_eq resolv.conf 'nameserver 10.0.5.1' "$(cat "$state/resolv.conf")"
	stop
	has_no_veth || fail "a link is left: $(ip -o link)"
}

case_ports_are_published_and_servers_see_the_clients_address() {
	need_lxc
	port=$(free_port)
	make_page 'hello from inside'
	cat >"$tmp/servers" <<-EOT
		netns=\$ROOTLESSKIT_STATE_DIR/netns
		if [ -e "\$netns" ] && [ "\$1" != again ]; then exec nsenter --net="\$netns" sh \$0 again; fi
		busybox httpd -f -v -p 80 -h $tmp/www 2>$tmp/httpd &
		exec python3 -c '$udp_echo_server' 81
	EOT
	for options in '' --detach-netns; do
		# shellcheck disable=SC2086 # options
		start $quiet --lxc-user-nic-bridge=good $options --pidns --port-driver=builtin \
			-p "0.0.0.0:$port:80/tcp" -p "127.0.0.1:$port:81/udp" sh "$tmp/servers"
		# 10.0.5.1 is an address of the host
		wait_until 10 fetch "http://10.0.5.1:$port/"
		assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
		assert_match 'client in the log' '*10.0.5.1*' "$(cat "$tmp/httpd")"
		wait_until 10 python3 -c 'import sys, udp; assert udp.ask(udp.client(sys.argv[1], timeout=1)) == b"hi"' "$port"
		stop
	done
}

case_ifname_and_mtu_are_those_of_the_options() {
	need_lxc
	# shellcheck disable=SC2086 # options
	start $quiet --lxc-user-nic-bridge=good --ifname=net5 --mtu=1400 sleep 60
	assert_eq network "$(network net5 10.0.5.10/24 1400 10.0.5.1)" "$(inside sh -c "$show_network" - net5)"
	stop
	# shellcheck disable=SC2086 # options
	start $quiet --lxc-user-nic-bridge=good --mtu=9000 sleep 60
	assert_match warning '*--mtu=9000 is more than the 1500 of the bridge: larger packets get lost; try --mtu=1500*' \
		"$(cat "$tmp/bg.err")"
	stop
}

# ---- the end ----

case_nothing_is_left_and_the_lease_is_given_back() {
	need_lxc
	: >"$lxc/logs/good"
	# shellcheck disable=SC2086 # options
	start $quiet --lxc-user-nic-bridge=good sleep 60
	assert_match 'messages of the start' '*DISCOVER REQUEST ' "$(heard good)"
	has_veth || fail 'there is no link during the run'
	stop
	has_no_veth || fail "a link is left: $(ip -o link)"
	wait_until 5 heard_matches good '*DISCOVER REQUEST RELEASE '
	assert_match release '*RELEASE unicast*' "$(cat "$lxc/logs/good")"
}

# Sets `sleeper` to the process that the command has started, when both have become sleep(1).
find_sleeper() {
	command=$(pgrep -P "$child" sleep) && sleeper=$(pgrep -P "$command" sleep)
}

# A process that outlives the launcher keeps the namespace, but its link is gone.
case_the_link_does_not_outlive_the_launcher() {
	need_lxc
	for options in '' --detach-netns; do
		# shellcheck disable=SC2016,SC2086 # for the inner shell; options
		start $quiet --lxc-user-nic-bridge=good $options sh -c '
			enter=
			[ ! -e "$ROOTLESSKIT_STATE_DIR/netns" ] || enter="nsenter --net=$ROOTLESSKIT_STATE_DIR/netns"
			$enter sleep 60 & exec sleep 60'
		wait_until 5 find_sleeper
		has_veth || fail 'there is no link during the run'
		stop
		has_no_veth || fail "a link is left: $(ip -o link)"
		send_signal KILL "$sleeper"
		wait_until 5 has_ended "$sleeper"
	done
}

# The link of a killed launcher disappears with its namespace. Until then lxc-user-nic counts it.
case_a_killed_launcher_does_not_hinder_the_next_one() {
	need_lxc
	cp "$lxc/usernet" "$tmp/usernet"
	sed 's/good 2/good 1/' "$tmp/usernet" >"$lxc/usernet"
	for _ in 1 2 3 4; do
		# shellcheck disable=SC2086 # options
		start $quiet --lxc-user-nic-bridge=good --pidns sleep 60
		end_process "$pid" KILL
	done
	cp "$tmp/usernet" "$lxc/usernet"
	wait_until 5 has_no_veth
	# The moment in which the old link still counts is too short to be hit, so a program pretends it.
	cat >"$tmp/fake" <<-EOT
		#!/bin/sh
		echo run >>"$tmp/runs"
		[ "\$(wc -l <"$tmp/runs")" -lt 3 ] || exec "$lxc/bin/lxc-user-nic" "\$@"
		echo 'lxc_user_nic.c: 1250: main: Quota reached' >&2
		exit 1
	EOT
	chmod +x "$tmp/fake"
	# shellcheck disable=SC2086 # options
	start $quiet --lxc-user-nic-bridge=good --lxc-user-nic-binary="$tmp/fake" sleep 60
	stop
	assert_eq 'number of runs' 3 "$(wc -l <"$tmp/runs")"
}

case_a_signal_ends_the_wait_for_a_server() {
	need_lxc
	state=$tmp/state
	# shellcheck disable=SC2086 # options
	rootlesskit --debug --state-dir="$state" $quiet --lxc-user-nic-bridge=none sleep 60 2>"$tmp/err" &
	pid=$!
	wait_until 10 grep -q 'sent DISCOVER' "$tmp/err"
	began=$(now_ms)
	end_process "$pid" TERM
	assert_within 3000 "$began"
	assert_eq status 1 "$rc"
	assert_match error '*terminated before the command started: signal: terminated*' "$(cat "$tmp/err")"
	[ ! -e "$state" ] || fail 'the state directory is left'
	wait_until 5 has_no_veth
}

# ---- the lease ----

# The server's T1 is a second, and each lease ends after 4.
case_the_lease_is_renewed_while_the_launcher_lives() {
	need_lxc
	: >"$lxc/logs/brief"
	# shellcheck disable=SC2086 # options
	start $quiet --lxc-user-nic-bridge=brief sleep 60
	wait_until 20 heard_matches brief '*DISCOVER REQUEST REQUEST REQUEST REQUEST REQUEST REQUEST *'
	assert_eq 'requests at the server alone' 5 "$(grep -c 'REQUEST unicast' "$lxc/logs/brief")"
	assert_eq address 10.0.6.10/24 "$(address_inside)"
	assert_eq errors '' "$(grep level=error "$tmp/bg.err" || true)"
	stop
}

case_an_address_whose_lease_has_expired_is_replaced() {
	need_lxc
	# shellcheck disable=SC2086 # options
	start $quiet --lxc-user-nic-bridge=leaving sleep 60
	assert_eq 'first address' 10.0.9.10/24 "$(address_inside)"
	wait_until 20 has_address ''
	assert_eq 'routes without an address' '' "$(inside ip -4 route show)"
	wait_until 20 has_address 10.0.9.11/24
	assert_match route 'default via 10.0.9.1 dev eth0*' "$(inside ip route show default)"
	assert_match error '*the DHCP lease of 10.0.9.10 has ended, so eth0 has no address; asking for another one*' \
		"$(cat "$tmp/bg.err")"
	stop
}

case_a_refusal_makes_the_client_ask_again() {
	need_lxc
	# shellcheck disable=SC2086 # options
	start $quiet --lxc-user-nic-bridge=refusing sleep 60
	assert_eq address 10.0.7.10/24 "$(address_inside)"
	assert_match messages '*DISCOVER REQUEST DISCOVER *REQUEST ' "$(heard refusing)"
	stop
}

case_one_of_two_servers_is_taken() {
	need_lxc
	# shellcheck disable=SC2086 # options
	start $quiet --lxc-user-nic-bridge=two sleep 60
	assert_eq address 10.0.10.10/24 "$(address_inside)"
	assert_match router 'default via 10.0.10.[12] dev eth0*' "$(inside ip route show default)"
	stop
}

case_messages_of_a_hostile_server_do_no_harm() {
	need_lxc
	# shellcheck disable=SC2086 # options
	start --debug $quiet --lxc-user-nic-bridge=hostile sleep 60
	assert_eq address 10.0.8.10/24 "$(address_inside)"
	assert_eq resolv.conf "$(for _ in 1 2 3 4; do echo 'nameserver 10.0.8.1'; done)" "$(inside cat /etc/resolv.conf)"
	for reason in 'option 51 occurs twice' 'option 12 is cut off' 'option 6 has 3 bytes' \
		'its address is that of the network, or of all hosts' 'its type 4 is not that of a reply'; do
		assert_match 'debug log' "*DHCP: a message was ignored: $reason*" "$(cat "$tmp/bg.err")"
	done
	stop
}

# ---- what can be missing ----

case_without_a_server_the_start_ends_after_30_seconds() {
	need_lxc
	began=$(now_ms)
	# shellcheck disable=SC2086 # options
	fails_with '*no DHCP server has given eth0 an address within 30 s; does a DHCP server run on the host'"'"'s bridge none*systemctl restart lxc-net*, or take --net=builtin or --net=slirp4netns, which need no server*' \
		$quiet --lxc-user-nic-bridge=none
	assert_within 35000 "$began"
	wait_until 5 has_no_veth
}

case_a_missing_program_is_named_with_its_package() {
	need_lxc
	fails_with '*exec: "/nowhere": stat /nowhere: no such file or directory (--net=lxc-user-nic: install the package liblxc-common, *--lxc-user-nic-binary; or try --net=builtin, which needs no program)' \
		--net=lxc-user-nic --lxc-user-nic-binary=/nowhere
	fails_with '*exec: "nowhere": executable file not found in $PATH (--net=lxc-user-nic: install the package*' \
		--net=lxc-user-nic --lxc-user-nic-binary=nowhere
}

case_a_program_without_privileges_is_explained() {
	need_lxc
	cp "$lxc/bin/lxc-user-nic" "$tmp/lxc-user-nic"
	# shellcheck disable=SC2086 # options
	fails_with "*failed to setup network: $tmp/lxc-user-nic failed: *exit status 1; $tmp/lxc-user-nic must be set-UID root: as root, run *chmod u+s*" \
		$quiet --lxc-user-nic-binary="$tmp/lxc-user-nic"
	rc=0
	# shellcheck disable=SC2086 # options
	setpriv --no-new-privs rootlesskit --subid-source=self $quiet true 2>"$tmp/err" || rc=$?
	assert_eq status 1 "$rc"
	assert_match error '*no_new_privs cannot run set-UID programs: run the launcher without it*' "$(cat "$tmp/err")"
}

case_what_lxc_usernet_forbids_is_explained() {
	need_lxc
	# shellcheck disable=SC2086 # options
	fails_with "*failed to setup network: *Quota reached: exit status 1; the host has no bridge nobridge: as root, start lxc-net*--lxc-user-nic-bridge*" \
		$quiet --lxc-user-nic-bridge=nobridge
	cp "$lxc/usernet" "$tmp/usernet"
	grep -v ' good ' "$tmp/usernet" >"$lxc/usernet"
	# shellcheck disable=SC2086 # options
	fails_with "*Quota reached: exit status 1; /etc/lxc/lxc-usernet does not let tester use good: as root, run *echo 'tester veth good 10' >>/etc/lxc/lxc-usernet*" \
		$quiet --lxc-user-nic-bridge=good
	echo 'tester veth good 0' >>"$lxc/usernet"
	# shellcheck disable=SC2086 # options
	fails_with '*; all links that /etc/lxc/lxc-usernet gives tester are in use: as root, raise the last number of the line "tester veth good"*' \
		$quiet --lxc-user-nic-bridge=good
	echo 'tester veth lo 2' >>"$lxc/usernet"
	# shellcheck disable=SC2086 # options
	fails_with '*; is lo a bridge?*' $quiet --lxc-user-nic-bridge=lo
	cp "$tmp/usernet" "$lxc/usernet"
}

run_cases \
	the_interface_is_configured_by_dhcp \
	files_in_etc_are_covered_without_copy_up \
	detach_netns_leaves_the_command_in_the_hosts_network \
	ports_are_published_and_servers_see_the_clients_address \
	ifname_and_mtu_are_those_of_the_options \
	nothing_is_left_and_the_lease_is_given_back \
	the_link_does_not_outlive_the_launcher \
	a_killed_launcher_does_not_hinder_the_next_one \
	a_signal_ends_the_wait_for_a_server \
	the_lease_is_renewed_while_the_launcher_lives \
	an_address_whose_lease_has_expired_is_replaced \
	a_refusal_makes_the_client_ask_again \
	one_of_two_servers_is_taken \
	messages_of_a_hostile_server_do_no_harm \
	without_a_server_the_start_ends_after_30_seconds \
	a_missing_program_is_named_with_its_package \
	a_program_without_privileges_is_explained \
	what_lxc_usernet_forbids_is_explained
