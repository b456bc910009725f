#!/bin/sh
# What the program does, on a kernel of another age: IDs, namespaces, mounts, networks, ports, limits
# and its end. Every machine of check-kernels runs these cases, but for those that forbid user namespaces.
. "$(dirname "$0")/guest.sh"

# ---- identity and namespaces ----

case_the_users_own_id_alone() {
	launch --subid-source=self --net=none sh -c 'id -u; echo $(cat /proc/self/uid_map)'
	assert_eq status 0 "$rc"
	assert_eq output "$(printf '0\n0 2000 1')" "$out"
}

case_subordinate_ids() {
	launch --net=none sh -c "id -u; echo \$(cat /proc/self/uid_map /proc/self/gid_map)
		touch $tmp/file; chown 5:6 $tmp/file"
	assert_eq status 0 "$rc"
	assert_eq output "$(printf '0\n0 2000 1 1 100000 65536 0 2000 1 1 100000 65536')" "$out"
	assert_eq 'owner on the host' 100004:100005 "$(stat -c %u:%g "$tmp/file")"
	as_root rm "$tmp/file"
}

case_status_and_signal_of_the_command() {
	launch --net=none sh -c 'exit 7'
	assert_eq status 7 "$rc"
	launch --net=none sh -c 'kill -KILL $$'
	[ "$rc" -ne 0 ] || fail 'a command that was killed counts as a success'
}

case_namespaces_of_its_own() {
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
	assert_match 'the end' '*inside' "$out"
	[ "$(echo "$out" | sed -n 8p)" -lt 10 ] || fail "processes of the host are in /proc: $out"
	assert_fails test "$(cat /proc/sys/kernel/hostname)" = inside
}

case_copied_up_directories() {
	etc=$(ls -A /etc)
	launch --net=none --copy-up=/etc --copy-up=/run --copy-up=/var/lib sh -c '
		cat /etc/passwd && touch /etc/x /run/x /var/lib/x && ls -A /etc | wc -l'
	assert_eq "status, with $err" 0 "$rc"
	assert_eq 'its output' "$(cat /etc/passwd; echo $(($(echo "$etc" | wc -l) + 2)))" "$out"
	assert_eq 'the host' "$etc" "$(ls -A /etc)"
	assert_fails test -e /run/x
	assert_fails test -e /var/lib/x
}

# ---- ports without a network program ----

case_tcp() {
	serve --net=none --port-driver=builtin -p 127.0.0.1:8080:80/tcp
	check_site http://127.0.0.1:8080
	stop
}

case_streams_in_both_directions() {
	start --net=none --port-driver=builtin -p 127.0.0.1:8080:8080/tcp "$BUILD/tools/stream" serve 8080
	wait_until 20 "$BUILD/tools/stream" send 127.0.0.1 8080 small 1 1 1
	for kind in bulk small mixed; do
		timeout 90 "$BUILD/tools/stream" send 127.0.0.1 8080 $kind 4 200 7 || fail "streams of kind $kind"
	done
	stop
}

# echo_datagram ADDRESS OWN_PORT: sends one of 8000 bytes, and compares the answer
echo_datagram() {
	socat -t 5 -b 9000 - "UDP:$1,sourceport=$2" <"$tmp/datagram" >"$tmp/answer"
	cmp "$tmp/datagram" "$tmp/answer"
}

case_udp() {
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

case_addresses_of_clients() {
	serve --net=none --port-driver=builtin -p 0.0.0.0:8080:80/tcp
	check_site "http://$HOST4:8080"
	assert_match address "*$CLIENT4*" "$(at_client curl -s -m 20 "http://$HOST4:8080/cgi-bin/who")"
	assert_match 'a second one' "*$CLIENT4*" "$(at_client curl -s -m 20 "http://$HOST4:8080/cgi-bin/who")"
	stop
}

# Where the kernel has no IPv6 a port for all addresses is one for IPv4.
case_ipv6() {
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

case_slirp4netns_and_the_api() {
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

case_from_inside_to_the_host() {
	make_page 'hello from the host'
	busybox httpd -f -p 127.0.0.1:8079 -h "$tmp/www" &
	server=$!
	# shellcheck disable=SC2086 # options
	start $slirp sleep 1000
	wait_until 30 inside sh -c '[ "$(curl -s -m 10 http://10.0.2.2:8079/)" = "hello from the host" ]'
	stop
	kill $server
}

case_a_detached_network_namespace() {
	make_site
	# shellcheck disable=SC2086,SC2016 # options; for the inner shell
	start $slirp --detach-netns --propagation=rslave --port-driver=builtin -p 127.0.0.1:8082:80/tcp \
		sh -c 'exec nsenter --net="$ROOTLESSKIT_STATE_DIR/netns" busybox httpd -f -p 80 -h "$1"' - "$tmp/www"
	check_site http://127.0.0.1:8082
	stop
}

case_the_port_driver_slirp4netns() {
	# shellcheck disable=SC2086 # options
	serve $slirp --port-driver=slirp4netns -p 127.0.0.1:8083:80/tcp
	check_site http://127.0.0.1:8083
	stop
}

case_pasta() {
	make_site
	start --net=pasta --copy-up=/etc --port-driver=implicit busybox httpd -f -p 8084 -h "$tmp/www"
	check_site http://127.0.0.1:8084
	stop
}

case_a_network_program_that_dies_is_started_again() {
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

# Clients wait where there are no descriptors for all of them at once; none is refused.
case_a_limit_of_descriptors() {
	ulimit -n 64
	start --net=none --port-driver=builtin -p 127.0.0.1:8080:8080/tcp sh -c "exec $BUILD/tools/stream serve 8080"
	wait_until 20 "$BUILD/tools/stream" send 127.0.0.1 8080 small 1 1 1
	assert_eq 'the limit' 64 "$(sed -n 's/^Max open files *[0-9]* *\([0-9]*\).*/\1/p' "/proc/$pid/limits")"
	timeout 90 "$BUILD/tools/stream" send 127.0.0.1 8080 small 40 4 3 || fail 'a stream was cut'
	stop
}

case_after_kill_9_nothing_runs_and_the_directory_can_be_used() {
	# shellcheck disable=SC2086 # options
	serve $slirp --port-driver=builtin -p 127.0.0.1:8080:80/tcp
	check_site http://127.0.0.1:8080
	left="$child $(pgrep -P "$pid" slirp4netns) $(pgrep -P "$child" busybox)"
	kill -KILL "$pid"
	wait "$pid" || true
	for p in $left; do
		wait_until 20 has_ended "$p"
	done
	[ -e "$state/lock" ] || fail 'no state directory was left, so this tests nothing'
	# shellcheck disable=SC2086 # options
	serve $slirp --port-driver=builtin -p 127.0.0.1:8080:80/tcp
	check_site http://127.0.0.1:8080
	stop
}

case_a_signal_ends_all() {
	# shellcheck disable=SC2086 # options
	serve $slirp --pidns --port-driver=builtin -p 127.0.0.1:8080:80/tcp
	check_site http://127.0.0.1:8080
	stop
	assert_fails fetch http://127.0.0.1:8080/
}

run_cases the_users_own_id_alone subordinate_ids status_and_signal_of_the_command \
	namespaces_of_its_own copied_up_directories tcp streams_in_both_directions udp \
	addresses_of_clients ipv6 slirp4netns_and_the_api from_inside_to_the_host \
	a_detached_network_namespace the_port_driver_slirp4netns pasta \
	a_network_program_that_dies_is_started_again a_limit_of_descriptors \
	after_kill_9_nothing_runs_and_the_directory_can_be_used a_signal_ends_all
