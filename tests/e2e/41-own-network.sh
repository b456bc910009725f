#!/bin/sh
# The network of our own, --net=builtin and --net=gvisor-tap-vsock: its settings, what it lets through, and
# its end. 42 to 44 and 49 test its protocols.
. "$(dirname "$0")/ownnet.sh"
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/network.sh"

own="--subid-source=self --net=builtin"
quiet="$own --disable-host-loopback --copy-up=/etc"

need_own() {
	need_own_network
	need_tun
}

# For `sh -c "$fetch_page" - URL...`: prints each page, or curl's status if there is none
# shellcheck disable=SC2016 # for the inner shell
fetch_page='for url; do curl -s --max-time 10 "$url" || echo "failed with $?"; done'

# start_server_on ADDRESS: a web server of the host on this address. Sets `port`.
start_server_on() {
	make_page "$1"
	port=$(free_port)
	case $1 in
	*:*) address="[$1]:$port" ;;
	*) address=$1:$port ;;
	esac
	busybox httpd -f -p "$address" -h "$tmp/www" &
	server=$!
	trap 'end_process "$server"' EXIT
	wait_until 5 fetch "http://$address/"
}

# ---- settings ----

case_it_has_addresses_routes_and_files() {
	need_own
	# shellcheck disable=SC2086 # options
	start $quiet sleep 60
	assert_eq network "$(network tap0 10.0.2.100/24 65520 10.0.2.2)" "$(inside sh -c "$show_network")"
	assert_eq resolv.conf 'nameserver 10.0.2.3' "$(inside cat /etc/resolv.conf)"
	assert_match hosts "*127.0.0.1 $(uname -n)*" "$(inside cat /etc/hosts)"
	assert_eq 'interfaces in /sys' "$(printf 'lo\ntap0')" "$(inside ls /sys/class/net)"
	assert_eq 'processes of the launcher' "$child" "$(pgrep -P "$pid")"
	assert_eq warnings '' "$(cat "$tmp/bg.err")"
	stop
}

case_mtu_cidr_and_ifname_set_the_network() {
	need_own
	start_host_server
	while read -r mtu cidr ifname prefix; do
		# shellcheck disable=SC2086 # options
		launch $own --copy-up=/etc --mtu="$mtu" --cidr="$cidr" --ifname="$ifname" \
			sh -c "$show_network; cat /etc/resolv.conf; curl -s --max-time 10 http://$prefix.2:$port/" - "$ifname"
		assert_eq "network with $mtu $cidr" "$(network "$ifname" "$prefix.100/${cidr#*/}" "$mtu" "$prefix.2")
nameserver $prefix.3
hello from the host" "$out"
	done <<-'EOT'
		576 10.9.0.0/16 net_0-x.y 10.9.0
		1500 192.168.77.0/24 eth0 192.168.77
		65521 10.0.2.0/25 tap0 10.0.2
	EOT
	fails_with '*too small*' --net=builtin --cidr=10.9.0.0/30
	fails_with '*mtu must be*' --net=builtin --mtu=575
	fails_with '*mtu must be <= 65521*' --net=builtin --mtu=65522
}

case_ipv6_gives_addresses_and_a_route() {
	need_own
	need_ipv6
	# shellcheck disable=SC2016 # for the inner shell
	show6='ip -o -6 addr show dev tap0 scope global | awk "{ print \$4 }"; ip -6 route show default | cut -d " " -f 1-5'
	# shellcheck disable=SC2086 # options
	launch $quiet --ipv6 sh -c "$show6; cat /etc/resolv.conf"
	assert_eq 'IPv6 settings' 'fd00::100/64
default via fd00::2 dev tap0
nameserver 10.0.2.3
nameserver fd00::3' "$out"
	# shellcheck disable=SC2086 # options
	launch $quiet sh -c "$show6"
	assert_eq 'without --ipv6' '' "$out$err"
}

case_debug_logs_the_addresses() {
	need_own
	v4='network: tap0 has 10.0.2.100/24, MTU 65520, gateway 10.0.2.2, DNS 10.0.2.3"'
	# shellcheck disable=SC2086 # options
	launch --debug $quiet true
	assert_match 'addresses' "*$v4*" "$err"
	need_ipv6
	v6='network: tap0 has fd00::100/64, gateway fd00::2, DNS fd00::3"'
	# shellcheck disable=SC2086 # options
	launch --debug $quiet --ipv6 true
	assert_match 'addresses with --ipv6' "*$v4*$v6*" "$err"
}

case_the_API_names_the_driver() {
	need_own
	while read -r net ip dns; do
		start --subid-source=self "--net=$net" --disable-host-loopback --copy-up=/etc --port-driver=builtin sleep 60
		assert_match "info of $net" "*\"networkDriver\":{\"driver\":\"$net\",\"dns\":\[\"$dns\"\],\"childIP\":\"$ip\"*" \
			"$(api_get info)"
		stop
	done <<-'EOT'
		builtin 10.0.2.100 10.0.2.3
		gvisor-tap-vsock 10.0.2.100 10.0.2.1
	EOT
}

# auto is our own network, unless the port driver belongs to a network program.
case_auto_is_this_network_in_the_API_too() {
	need_own
	start --subid-source=self --net=auto --disable-host-loopback --copy-up=/etc --port-driver=builtin sleep 60
	assert_match 'info' '*"networkDriver":{"driver":"builtin","dns":\["10.0.2.3"\],*"portDriver":{"driver":"builtin",*' "$(api_get info)"
	stop
	start --subid-source=self --net=auto --disable-host-loopback --copy-up=/etc --port-driver=gvisor-tap-vsock sleep 60
	assert_match 'info with the port driver gvisor-tap-vsock' \
		'*"networkDriver":{"driver":"gvisor-tap-vsock","dns":\["10.0.2.1"\],*"portDriver":{"driver":"gvisor-tap-vsock",*"extra":{"sourceIPTransparentBackend":"nft"}}*' \
		"$(api_get info)"
	stop
	need slirp4netns
	start --subid-source=self --net=auto --disable-host-loopback --copy-up=/etc --port-driver=slirp4netns sleep 60
	assert_match 'info with the port driver slirp4netns' '*"networkDriver":{"driver":"slirp4netns",*"portDriver":{"driver":"slirp4netns",*' "$(api_get info)"
	stop
}

case_the_interface_is_up_at_the_commands_first_instruction() {
	need_own
	start_host_server
	for options in '' --detach-netns '--pidns --copy-up=/etc'; do
		for i in 1 2 3 4 5 6; do
			# shellcheck disable=SC2016,SC2086 # for the inner shell; options
			launch $own $options sh -c '[ ! -e $ROOTLESSKIT_STATE_DIR/netns ] || set -- nsenter --net=$ROOTLESSKIT_STATE_DIR/netns
				"$@" ip -o link show tap0; "$@" curl -s --max-time 5 "http://10.0.2.2:$0/"' "$port"
			assert_match "interface of run $i with $options" '*<*UP,LOWER_UP*state UP*
hello from the host' "$out"
		done
	done
}

# ---- what it lets through ----

case_the_gateway_leads_to_the_hosts_loopback_unless_disabled() {
	need_own
	start_host_server
	# shellcheck disable=SC2086 # options
	launch $own --copy-up=/etc sh -c "$fetch_page" - "http://10.0.2.2:$port/" "http://10.0.2.2:1/" "http://10.0.2.3:$port/"
	assert_eq pages 'hello from the host
failed with 7
failed with 7' "$out"
	assert_match warning '*specifying --disable-host-loopback is highly recommended*' "$(cat "$tmp/err")"
	# shellcheck disable=SC2086 # options
	launch $quiet sh -c "$fetch_page" - "http://10.0.2.2:$port/" "http://127.0.0.1:$port/"
	assert_eq 'pages with --disable-host-loopback' 'failed with 7
failed with 7' "$out"
	launch --subid-source=self --net=gvisor-tap-vsock --copy-up=/etc sh -c "$fetch_page" - "http://10.0.2.1:$port/"
	assert_eq 'page of gvisor-tap-vsock' 'hello from the host' "$out"
}

case_the_hosts_other_addresses_are_reached() {
	need_own
	start_server_on 192.0.2.10
	# shellcheck disable=SC2086 # options
	launch $quiet sh -c "$fetch_page" - "http://192.0.2.10:$port/"
	assert_eq page 192.0.2.10 "$out"
}

case_ipv6_reaches_the_host() {
	need_own
	need_ipv6
	start_server_on fd00:1::10
	# shellcheck disable=SC2086 # options
	launch $quiet --ipv6 sh -c "$fetch_page" - "http://[fd00:1::10]:$port/" "http://[fd00::2]:$port/"
	assert_eq page 'fd00:1::10
failed with 7' "$out"
	end_process "$server"
	start_server_on ::1
	# shellcheck disable=SC2086 # options
	launch $own --copy-up=/etc --ipv6 sh -c "$fetch_page" - "http://[fd00::2]:$port/"
	assert_eq 'page of the loopback' ::1 "$out"
}

case_published_ports_work_beside_it() {
	need_own
	make_page
	for driver in builtin gvisor-tap-vsock; do
		port=$(free_port)
		start --subid-source=self --net=gvisor-tap-vsock --copy-up=/etc "--port-driver=$driver" \
			-p "127.0.0.1:$port:80/tcp" busybox httpd -f -p 80 -h "$tmp/www"
		wait_until 5 fetch "http://127.0.0.1:$port/"
		stop
	done
}

# ---- the end ----

# The descriptors of the launcher
count_fds() {
	find "/proc/$pid/fd" | wc -l
}

# True if it has no more of them than when they were counted, as $before
has_settled() {
	[ "$(count_fds)" -le "$before" ]
}

# Runs a command in the network namespace of a process that the launcher has left behind.
in_its_netns() {
	nsenter --preserve-credentials -U -n -t "$survivor" "$@"
}
has_tap() {
	in_its_netns ip -o link | grep -q tap0
}
has_no_tap() {
	! has_tap
}

has_warned() {
	grep -q 'its interface inside was removed' "$tmp/bg.err"
}

case_connections_leave_no_descriptor() {
	need_own
	start_host_server
	# shellcheck disable=SC2086 # options
	start $own --copy-up=/etc sleep 60
	inside sh -c "$fetch_page" - "http://10.0.2.2:$port/" >/dev/null
	before=$(count_fds)
	for i in 1 2 3 4 5 6 7 8 9 10; do
		inside sh -c "$fetch_page" - "http://10.0.2.2:$port/" "http://10.0.2.2:1/" >/dev/null
	done
	wait_until 10 has_settled
	stop
}

# What a program has sent is delivered, though the whole namespace ends with the program.
case_what_was_sent_is_delivered_at_the_end() {
	need_own
	port=$(free_port)
	for i in 1 2 3 4 5; do
		socat -u "TCP4-LISTEN:$port,bind=127.0.0.1,reuseaddr" "CREATE:$tmp/got" &
		server=$!
		# shellcheck disable=SC2086 # options
		launch $own --copy-up=/etc --pidns sh -c "head -c 3000000 /dev/zero | socat -t 0 -u - TCP4:10.0.2.2:$port,retry=50,interval=0.1"
		await_success "$server" 20
		assert_eq "bytes of run $i" 3000000 "$(wc -c <"$tmp/got")"
	done
}

case_the_interface_goes_with_a_killed_launcher() {
	need_own
	# The sleeping process keeps the detached namespace alive.
	# shellcheck disable=SC2016,SC2086 # for the inner shell; options
	start $quiet --detach-netns sh -c 'nsenter --net=$ROOTLESSKIT_STATE_DIR/netns setsid sleep 60 & echo $! >$1; wait' - "$tmp/survivor"
	wait_until 5 test -s "$tmp/survivor"
	survivor=$(cat "$tmp/survivor")
	wait_until 5 has_tap
	send_signal KILL "$pid"
	wait_until 5 has_ended "$child"
	wait_until 5 has_no_tap
	send_signal KILL "$survivor"
	rm -rf "$state"
}

case_removing_the_interface_inside_is_one_warning() {
	need_own
	# shellcheck disable=SC2086 # options
	start $quiet sleep 60
	inside ip link del tap0
	wait_until 5 has_warned
	assert_eq 'lines of the log' 1 "$(wc -l <"$tmp/bg.err")"
	stop
}

run_cases \
	it_has_addresses_routes_and_files \
	mtu_cidr_and_ifname_set_the_network \
	ipv6_gives_addresses_and_a_route \
	debug_logs_the_addresses \
	the_API_names_the_driver \
	auto_is_this_network_in_the_API_too \
	the_interface_is_up_at_the_commands_first_instruction \
	the_gateway_leads_to_the_hosts_loopback_unless_disabled \
	the_hosts_other_addresses_are_reached \
	ipv6_reaches_the_host \
	published_ports_work_beside_it \
	connections_leave_no_descriptor \
	what_was_sent_is_delivered_at_the_end \
	the_interface_goes_with_a_killed_launcher \
	removing_the_interface_inside_is_one_warning
