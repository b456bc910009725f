#!/bin/sh
# The main functions on an older or newer kernel: IDs, namespaces, mounts, networks, ports, limits, and the
# end. Every machine of check-kernels runs these cases, except those that forbid user namespaces.
. "$(dirname "$0")/guest.sh"

# ---- identity and namespaces ----

case_subid_source_self_maps_only_the_own_id() {
	launch --subid-source=self --net=none sh -c 'id -u; echo $(cat /proc/self/uid_map)'
	assert_eq status 0 "$rc"
	assert_eq output "$(printf '0\n0 2000 1')" "$out"
}

case_subordinate_ids_are_mapped() {
	launch --net=none sh -c "id -u; echo \$(cat /proc/self/uid_map /proc/self/gid_map)
		touch $tmp/file; chown 5:6 $tmp/file"
	assert_eq status 0 "$rc"
	assert_eq output "$(printf '0\n0 2000 1 1 100000 65536 0 2000 1 1 100000 65536')" "$out"
	assert_eq 'owner on the host' 100004:100005 "$(stat -c %u:%g "$tmp/file")"
	as_root rm "$tmp/file"
}

case_the_exit_status_is_that_of_the_command() {
	launch --net=none sh -c 'exit 7'
	assert_eq status 7 "$rc"
	launch --net=none sh -c 'kill -KILL $$'
	[ "$rc" -ne 0 ] || fail 'a command that was killed counts as a success'
}

case_each_option_creates_a_namespace() {
	# shellcheck disable=SC2016 # for the inner shell
	launch --net=none --pidns --cgroupns --utsns --ipcns sh -c '
		hostname inside
		for ns in user mnt net pid cgroup uts ipc; do readlink /proc/self/ns/$ns; done
		ls /proc | grep -c "^[0-9]"
		cat /proc/sys/kernel/hostname'
	assert_eq "status, with $err" 0 "$rc"
	for ns in user mnt net pid cgroup uts ipc; do
		own=$(readlink "/proc/self/ns/$ns")
		case $out in
		*"$own"*) fail "the $ns namespace is the host's" ;;
		*"$ns:["*) ;;
		*) fail "no $ns namespace in $out" ;;
		esac
	done
	assert_match 'host name inside' '*inside' "$out"
	[ "$(echo "$out" | sed -n 8p)" -lt 10 ] || fail "processes of the host are in /proc: $out"
	assert_fails test "$(cat /proc/sys/kernel/hostname)" = inside
}

case_copied_up_directories_can_be_changed() {
	etc=$(ls -A /etc)
	launch --net=none --copy-up=/etc --copy-up=/run --copy-up=/var/lib sh -c '
		cat /etc/passwd && touch /etc/x /run/x /var/lib/x && ls -A /etc | wc -l'
	assert_eq "status, with $err" 0 "$rc"
	assert_eq output "$(cat /etc/passwd; echo $(($(echo "$etc" | wc -l) + 2)))" "$out"
	assert_eq 'the directory on the host' "$etc" "$(ls -A /etc)"
	assert_fails test -e /run/x
	assert_fails test -e /var/lib/x
}

# ---- ports without a network program ----

case_a_tcp_port_answers() {
	serve --net=none --port-driver=builtin -p 127.0.0.1:8080:80/tcp
	check_site http://127.0.0.1:8080
	stop
}

case_streams_arrive_unchanged_in_both_directions() {
	start --net=none --port-driver=builtin -p 127.0.0.1:8080:8080/tcp "$BUILD/tools/stream" serve 8080
	wait_until 20 "$BUILD/tools/stream" send 127.0.0.1 8080 small 1 1 1
	for kind in bulk small mixed; do
		timeout 90 "$BUILD/tools/stream" send 127.0.0.1 8080 $kind 4 200 7 || fail "streams of kind $kind"
	done
	stop
}

# has_answer: true if as many bytes have arrived as were sent
has_answer() {
	[ "$(stat -c %s "$tmp/answer")" = "$(stat -c %s "$tmp/datagram")" ]
}

# echo_datagram ADDRESS OWN_PORT: sends 8000 bytes in one datagram, and compares the answer. socat ends after its
# standard input, which is open until the answer has arrived.
echo_datagram() {
	: >"$tmp/answer"
	{ cat "$tmp/datagram"; wait_until 5 has_answer; } |
		socat -t 0.1 -b 9000 - "UDP:$1,sourceport=$2" >>"$tmp/answer"
	cmp "$tmp/datagram" "$tmp/answer"
}

case_a_udp_port_answers() {
	head -c 8000 /dev/urandom >"$tmp/datagram"
	start --net=none --pidns --port-driver=builtin -p 127.0.0.1:8081:81/udp -p "$SECOND4:8081:81/udp" \
		socat -b 9000 UDP-LISTEN:81,fork PIPE
	for address in 127.0.0.1 "$SECOND4"; do
		for port in 4001 4002; do
			wait_until 30 echo_datagram "$address:8081" $port
		done
	done
	stop
}

case_servers_see_the_addresses_of_clients() {
	serve --net=none --port-driver=builtin -p 0.0.0.0:8080:80/tcp
	check_site "http://$HOST4:8080"
	assert_match address "*$CLIENT4*" "$(at_client curl -s -m 20 "http://$HOST4:8080/cgi-bin/who")"
	assert_match 'address of a second connection' "*$CLIENT4*" "$(at_client curl -s -m 20 "http://$HOST4:8080/cgi-bin/who")"
	stop
}

# On a kernel without IPv6, a port of all addresses is a port of all IPv4 addresses.
case_ports_work_with_and_without_ipv6() {
	if ! has_ipv6; then
		serve --net=none --port-driver=builtin -p :8080:80/tcp
		check_site http://127.0.0.1:8080
		stop
		launch --net=none --port-driver=builtin -p '[::1]:8083:80/tcp' true
		[ "$rc" -ne 0 ] || fail 'a port on ::1 was published'
		assert_match message '*::1*' "$err"
		return
	fi
	serve --net=none --port-driver=builtin -p :8080:80/tcp -p '[::]:8081:80/tcp6'
	check_site http://127.0.0.1:8080
	check_site 'http://[::1]:8080'
	assert_match address "*$CLIENT6*" "$(at_client curl -s -g -m 20 "http://[$HOST6]:8081/cgi-bin/who")"
	stop
}

# ---- with a network program ----

slirp='--net=slirp4netns --mtu=65520 --copy-up=/etc --copy-up=/run'

case_the_api_adds_and_removes_ports_with_slirp4netns() {
	# shellcheck disable=SC2086 # options
	serve $slirp --disable-host-loopback --port-driver=builtin -p "$SECOND4:8080:80/tcp"
	check_site "http://$SECOND4:8080"
	socket=$state/api.sock
	assert_match info '*"driver":"slirp4netns"*"driver":"builtin"*' \
		"$(rootlessctl --socket="$socket" info --json | tr -d ' \n')"
	assert_eq 'the new ID' 2 "$(rootlessctl --socket="$socket" add-ports 127.0.0.2:8090:80/tcp)"
	check_site http://127.0.0.2:8090
	has_ports 2 || fail "ports: $(rootlessctl --socket="$socket" list-ports)"
	rootlessctl --socket="$socket" remove-ports 2
	has_ports 1 || fail "ports: $(rootlessctl --socket="$socket" list-ports)"
	assert_fails fetch http://127.0.0.2:8090/
	stop
}

case_the_host_is_reached_from_inside() {
	make_page 'hello from the host'
	busybox httpd -f -p 127.0.0.1:8079 -h "$tmp/www" &
	server=$!
	# shellcheck disable=SC2086 # options
	start $slirp sleep 1000
	wait_until 30 inside sh -c '[ "$(curl -s -m 10 http://10.0.2.2:8079/)" = "hello from the host" ]'
	stop
	end_process "$server"
}

# The oldest kernel has neither SO_PEEK_OFF for TCP nor segmentation of UDP.
case_our_own_network_carries_streams() {
	"$BUILD/tools/stream" serve 8077 >"$tmp/verified" &
	server=$!
	start --net=builtin --copy-up=/etc sleep 1000
	wait_until 30 inside "$BUILD/tools/stream" send 10.0.2.2 8077 small 1 1 1
	for kind in bulk mixed; do
		inside timeout 90 "$BUILD/tools/stream" send 10.0.2.2 8077 "$kind" 4 500 2 || fail "$kind"
	done
	inside busybox ping -c 1 -W 10 10.0.2.2 >"$tmp/ping" || fail "$(cat "$tmp/ping")"
	assert_eq 'streams that arrived wrong' '' "$(grep -v '^ok$' "$tmp/verified" || true)"
	stop
	end_process "$server"
}

# make_bad INTERFACE: lets packets get lost, doubled, and late by different times, so that some overtake others
make_bad() {
	inside tc qdisc replace dev "$1" root netem delay 4ms 4ms loss 5% duplicate 2%
}

# dropped INTERFACE: prints how many packets got lost there
dropped() {
	inside tc -s qdisc show dev "$1" | sed -n 's/.*(dropped \([0-9]*\).*/\1/p'
}

# True if the process $program is in a network namespace of its own.
has_own_network() {
	[ "$(readlink "/proc/$program/ns/net")" != "$(readlink "/proc/$child/ns/net")" ] &&
		grep -qx sleep "/proc/$program/comm"
}

# The program is in a namespace of its own, behind that of the launcher, so both ways are bad: to us on tap0, and from
# us on r0.
case_our_own_network_loses_no_byte_over_bad_links() {
	start --net=builtin --mtu=1500 --copy-up=/etc sleep 1000
	make_bad tap0 2>"$tmp/tc" || skip netem "$(cat "$tmp/tc")"
	nsenter --preserve-credentials -U -m -n -t "$child" unshare --net sleep 1000 & # not `inside`, which forks
	program=$!
	wait_until 30 has_own_network
	inside sh -ec '
		ip link add r0 type veth peer name p0
		ip link set p0 netns "$1"
		ip addr add 10.1.0.1/24 dev r0
		ip link set r0 up
		echo 1 >/proc/sys/net/ipv4/ip_forward
		nsenter --net="/proc/$1/ns/net" sh -ec "ip addr add 10.1.0.2/24 dev p0
			ip link set p0 up
			ip route add default via 10.1.0.1"' - "$program" || fail 'no veth pair'
	make_bad r0 || fail 'r0 cannot be bad'
	"$BUILD/tools/stream" serve 8077 >"$tmp/verified" &
	server=$!
	for kind in bulk small mixed; do
		inside nsenter --net="/proc/$program/ns/net" timeout 200 \
			"$BUILD/tools/stream" send 10.0.2.2 8077 "$kind" 4 500 2 >"$tmp/out" || fail "$kind: $(cat "$tmp/out")"
	done
	for interface in tap0 r0; do
		[ "$(dropped $interface)" -gt 0 ] || fail "no packet got lost on $interface"
	done
	assert_eq 'streams that arrived wrong' '' "$(grep -v '^ok$' "$tmp/verified" || true)"
	end_process "$program"
	stop
	end_process "$server"
}

case_ports_work_with_a_detached_network_namespace() {
	make_site
	# shellcheck disable=SC2086,SC2016 # options; for the inner shell
	start $slirp --detach-netns --propagation=rslave --port-driver=builtin -p 127.0.0.1:8082:80/tcp \
		sh -c 'exec nsenter --net="$ROOTLESSKIT_STATE_DIR/netns" busybox httpd -f -p 80 -h "$1"' - "$tmp/www"
	check_site http://127.0.0.1:8082
	stop
}

case_the_slirp4netns_port_driver_publishes_a_port() {
	# shellcheck disable=SC2086 # options
	serve $slirp --port-driver=slirp4netns -p 127.0.0.1:8083:80/tcp
	check_site http://127.0.0.1:8083
	stop
}

case_pasta_publishes_a_port() {
	make_site
	start --net=pasta --copy-up=/etc --port-driver=implicit busybox httpd -f -p 8084 -h "$tmp/www"
	check_site http://127.0.0.1:8084
	stop
}

case_a_network_program_that_dies_is_restarted() {
	# shellcheck disable=SC2086 # options
	serve $slirp --port-driver=builtin -p 127.0.0.1:8080:80/tcp
	first=$(pgrep -P "$pid" slirp4netns)
	kill -KILL "$first"
	wait_until 30 is_gone "$first"
	wait_until 30 pgrep -P "$pid" slirp4netns
	assert_fails test "$(pgrep -P "$pid" slirp4netns)" = "$first"
	check_site http://127.0.0.1:8080
	stop
}

# ---- limits, and the end ----

# The launcher has too few descriptors for all clients at once. They wait, and no client is refused.
case_clients_wait_at_the_file_descriptor_limit() {
	ulimit -n 64
	start --net=none --port-driver=builtin -p 127.0.0.1:8080:8080/tcp sh -c "exec $BUILD/tools/stream serve 8080"
	wait_until 20 "$BUILD/tools/stream" send 127.0.0.1 8080 small 1 1 1
	assert_eq 'the limit' 64 "$(sed -n 's/^Max open files *[0-9]* *\([0-9]*\).*/\1/p' "/proc/$pid/limits")"
	timeout 90 "$BUILD/tools/stream" send 127.0.0.1 8080 small 40 4 3 || fail 'a stream was cut'
	stop
}

case_after_kill_9_nothing_is_left_running_and_a_new_start_works() {
	# shellcheck disable=SC2086 # options
	serve $slirp --port-driver=builtin -p 127.0.0.1:8080:80/tcp
	check_site http://127.0.0.1:8080
	left="$child $(pgrep -P "$pid" slirp4netns) $(pgrep -P "$child" busybox)"
	end_process "$pid" KILL
	for p in $left; do
		wait_until 20 has_ended "$p"
	done
	[ -e "$state/lock" ] || fail 'no state directory was left, so this tests nothing'
	# shellcheck disable=SC2086 # options
	serve $slirp --port-driver=builtin -p 127.0.0.1:8080:80/tcp
	check_site http://127.0.0.1:8080
	stop
}

case_SIGTERM_ends_everything() {
	# shellcheck disable=SC2086 # options
	serve $slirp --pidns --port-driver=builtin -p 127.0.0.1:8080:80/tcp
	check_site http://127.0.0.1:8080
	stop
	assert_fails fetch http://127.0.0.1:8080/
}

run_cases subid_source_self_maps_only_the_own_id \
	subordinate_ids_are_mapped \
	the_exit_status_is_that_of_the_command \
	each_option_creates_a_namespace \
	copied_up_directories_can_be_changed \
	a_tcp_port_answers \
	streams_arrive_unchanged_in_both_directions \
	a_udp_port_answers \
	servers_see_the_addresses_of_clients \
	ports_work_with_and_without_ipv6 \
	the_api_adds_and_removes_ports_with_slirp4netns \
	the_host_is_reached_from_inside \
	our_own_network_carries_streams \
	our_own_network_loses_no_byte_over_bad_links \
	ports_work_with_a_detached_network_namespace \
	the_slirp4netns_port_driver_publishes_a_port \
	pasta_publishes_a_port \
	a_network_program_that_dies_is_restarted \
	clients_wait_at_the_file_descriptor_limit \
	after_kill_9_nothing_is_left_running_and_a_new_start_works \
	SIGTERM_ends_everything
