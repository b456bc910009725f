#!/bin/sh
# --port-driver=slirp4netns: slirp4netns itself listens on the ports.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/network.sh"

slirp='--net=slirp4netns --disable-host-loopback --port-driver=slirp4netns'

ctl() {
	rootlessctl --socket "$state/api.sock" "$@"
}

# start_server OPTION...: starts a launcher with a web server on port 80 inside, published on $port
start_server() {
	port=$(free_port)
	make_page 'hello from inside'
	# shellcheck disable=SC2086 # options
	start $slirp --copy-up=/etc -p "127.0.0.1:$port:80/tcp" "$@" busybox httpd -f -p 80 -h "$tmp/www"
	wait_until 5 fetch "http://127.0.0.1:$port/"
}

# Finds the launcher's slirp4netns, and sets `slirp_pid`. Fails while the launcher waits before a restart.
find_slirp() {
	slirp_pid=$(pgrep -P "$pid" -x slirp4netns)
}
# True as soon as there is another slirp4netns than `slirp_pid`.
other_slirp() {
	old=$slirp_pid
	find_slirp && [ "$slirp_pid" != "$old" ]
}

# Prints the ports of slirp4netns, as it reports them itself.
hostfwd() {
	printf '{"execute":"list_hostfwd"}' | socat -t 5 - "UNIX-CONNECT:$state/.s4nn.sock"
}

case_a_port_is_published_and_removed() {
	need_slirp4netns
	for options in '' '--slirp4netns-sandbox=auto --slirp4netns-seccomp=auto'; do
		# shellcheck disable=SC2086 # options
		start_server $options
		assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
		other=$(free_port)
		assert_eq added 2 "$(ctl add-ports "127.0.0.2:$other:80/tcp4")"
		assert_eq 'second page' 'hello from inside' "$(fetch "http://127.0.0.2:$other/")"
		is_refused "http://127.0.0.1:$other/" || fail 'the port of 127.0.0.2 is open on 127.0.0.1, too'
		assert_eq list "{\"id\":1,\"spec\":{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":$port,\"childPort\":80}}
{\"id\":2,\"spec\":{\"proto\":\"tcp4\",\"parentIP\":\"127.0.0.2\",\"parentPort\":$other,\"childPort\":80}}" "$(ctl list-ports --json)"
		assert_eq removed 1 "$(ctl remove-ports 1)"
		is_refused "http://127.0.0.1:$port/" || fail 'a removed port answers'
		assert_eq 'ID of a port that is added again' 3 "$(ctl add-ports "127.0.0.1:$port:80/tcp")"
		assert_eq 'page again' 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
		stop
		is_refused "http://127.0.0.1:$port/" || fail 'a port is still open after the end'
	done
}

case_ports_work_with_detach_netns() {
	need_slirp4netns
	port=$(free_port)
	make_page 'hello from inside'
	# shellcheck disable=SC2016,SC2086 # for the inner shell; options
	start $slirp --detach-netns -p "127.0.0.1:$port:80/tcp" sh -c \
		'exec nsenter --net="$ROOTLESSKIT_STATE_DIR/netns" busybox httpd -f -p 80 -h "$1"' - "$tmp/www"
	wait_until 5 fetch "http://127.0.0.1:$port/"
	stop
}

case_a_UDP_port_answers() {
	need_slirp4netns
	need socat
	need python3
	port=$(free_port)
	# Not with --disable-host-loopback: slirp4netns then drops the answers to the host's loopback.
	start --net=slirp4netns --port-driver=slirp4netns --copy-up=/etc -p "127.0.0.1:$port:7/udp" python3 -c "$udp_echo_server" 7
	# shellcheck disable=SC2016 # for the inner shell
	wait_until 10 sh -c '[ "$(echo hello | socat -T 1 - "UDP4:127.0.0.1:$0")" = hello ]' "$port"
	stop
}

case_the_state_directory_and_info_show_the_driver() {
	need_slirp4netns
	start_server
	assert_eq files '.s4nn.sock api.sock child_pid hosts lock resolv.conf ' \
		"$(find "$state" -mindepth 1 -printf '%f\n' | LC_ALL=C sort | tr '\n' ' ')"
	assert_match info '*"networkDriver":{"driver":"slirp4netns","dns":\["10.0.2.3"\],"childIP":"10.0.2.100"},"portDriver":{"driver":"slirp4netns","protos":\["tcp","tcp4","udp","udp4"\],"disallowLoopbackChildIP":true}}' \
		"$(api_get info)"
	assert_eq 'rootlessctl info' "- Port Driver: slirp4netns
  - Supported protocols: [tcp tcp4 udp udp4]" "$(ctl info | tail -n 2)"
	stop
}

case_child_addresses_are_passed_to_slirp4netns() {
	need_slirp4netns
	start_server
	# Docker sends such an address. It is used as IPv4, and reported as it was sent.
	docker=$(free_port)
	spec="{\"proto\":\"tcp4\",\"parentIP\":\"127.0.0.1\",\"parentPort\":$docker,\"childPort\":80,\"childIP\":\"::ffff:10.0.2.100\"}"
	assert_eq 'answer' "{\"id\":2,\"spec\":$spec}" \
		"$(fetch --unix-socket "$state/api.sock" -d "$spec" http://rootlesskit/v1/ports)"
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$docker/")"
	assert_match list "*\"childIP\":\"::ffff:10.0.2.100\"*" "$(api_get ports)"
	# slirp4netns accepts this address, although it leads nowhere.
	assert_eq 'ID of a port of the loopback inside' 3 "$(ctl add-ports "127.0.0.1:$(free_port):127.0.0.1:80/tcp")"
	ctl add-ports "127.0.0.1:$(free_port):[fd00::1]:80/tcp" 2>"$tmp/err" && fail 'IPv6 is accepted'
	assert_match 'error of IPv6' 'error: unsupported IP (v6?): fd00::1; slirp4netns forwards IPv4 only; try --port-driver=builtin' "$(cat "$tmp/err")"
	stop
	# With another network, the default child address is another one, too.
	port=$(free_port)
	# shellcheck disable=SC2086 # options
	start $slirp --cidr=10.9.0.0/16 --copy-up=/etc -p "127.0.0.1:$port:80/tcp" busybox httpd -f -p 80 -h "$tmp/www"
	wait_until 5 fetch "http://127.0.0.1:$port/"
	stop
}

case_conflicting_used_and_unsupported_ports_are_refused() {
	need_slirp4netns
	need socat
	start_server
	taken=$(free_port)
	take_port "$taken"
	while IFS='|' read -r spec message; do
		rc=0
		ctl add-ports "$spec" >"$tmp/out" 2>"$tmp/err" || rc=$?
		assert_eq "status of $spec" 1 "$rc"
		# shellcheck disable=SC2254 # a pattern
		assert_match "error of $spec" "error: $message" "$(cat "$tmp/err")"
	done <<-EOF
		127.0.0.1:$port:81/tcp|conflict with ID 1; that is 127.0.0.1:$port:80/tcp
		127.0.0.1:$taken:80/tcp|reply.Error: map\[desc:bad request: add_hostfwd: slirp_add_hostfwd failed\]: listen tcp 127.0.0.1:$taken: bind: address already in use; see who has it: ss -ltnp 'sport = :$taken' \(as root\)
		[::1]:$taken:80/tcp|reply.Error: map\[desc:bad request: add_hostfwd: bad arguments.host_addr\]; slirp4netns forwards IPv4 only; try --port-driver=builtin
		127.0.0.1:$taken:80/tcp6|unsupported protocol "tcp6"; the slirp4netns port driver takes tcp, tcp4, udp and udp4
		127.0.0.1:$taken:80/udp6|unsupported protocol "udp6"; the slirp4netns port driver takes tcp, tcp4, udp and udp4
		127.0.0.1:$taken:80/sctp|reply.Error: map\[desc:bad request: add_hostfwd: bad arguments.proto\]: unsupported port protocol sctp; the slirp4netns port driver takes tcp, tcp4, udp and udp4
		127.0.0.1:70000:80/tcp|invalid ParentPort: 70000; ports are 1 to 65535
	EOF
	if [ "$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)" -gt 80 ]; then
		ctl add-ports 127.0.0.1:80:80/tcp 2>"$tmp/err" && fail 'port 80 is accepted'
		assert_match 'error of a privileged port' "error: reply.Error: map\[desc:bad request: add_hostfwd: slirp_add_hostfwd failed\]: cannot expose privileged port 80, *net.ipv4.ip_unprivileged_port_start=80* (currently *CAP_NET_BIND_SERVICE on slirp4netns binary*larger port number*bind: permission denied" \
			"$(cat "$tmp/err")"
	fi
	assert_eq 'error of an unknown ID' 'error: reply.Error: map[desc:bad request: remove_hostfwd: bad arguments.id]: 99; `rootlessctl list-ports` shows the IDs' "$(ctl remove-ports 99 2>&1)"
	assert_eq 'number of ports' 1 "$(ctl list-ports --json | wc -l)"
	stop
	# A launcher with -p does not start.
	# shellcheck disable=SC2086 # options
	launch $slirp --copy-up=/etc -p "127.0.0.1:$taken:80/tcp" touch "$tmp/ran"
	assert_match 'error at the start' "*error: failed to expose port {tcp 127.0.0.1 $taken 80 }: reply.Error: *bind: address already in use*" "$err"
	[ ! -e "$tmp/ran" ] || fail 'the command ran'
}

case_ports_come_back_after_a_restart_of_slirp4netns() {
	need_slirp4netns
	need socat
	start_server
	other=$(free_port)
	ctl add-ports "127.0.0.1:$other:80/tcp" >/dev/null
	ctl remove-ports 1 >/dev/null
	ctl add-ports "127.0.0.2:$port:80/tcp" >/dev/null
	before=$(ctl list-ports --json)
	for i in 1 2; do
		find_slirp
		send_signal KILL "$slirp_pid"
		wait_until 10 other_slirp
		wait_until 10 fetch "http://127.0.0.1:$other/"
		wait_until 10 fetch "http://127.0.0.2:$port/"
		is_refused "http://127.0.0.1:$port/" || fail 'a port that was removed has come back'
		assert_eq "list after death $i" "$before" "$(ctl list-ports --json)"
		assert_eq "number of slirp4netns' ports" 2 "$(hostfwd | grep -o '"host_port"' | wc -l)"
	done
	assert_eq 'errors in the log' 2 "$(grep -c level=error "$tmp/bg.err")"
	# The ports can be removed as before.
	ctl remove-ports 2 3 >/dev/null
	is_refused "http://127.0.0.1:$other/" || fail 'a removed port answers'
	assert_match "slirp4netns' ports" '*"entries": *\[\]*' "$(hostfwd | sed 's/:/: /')"
	stop
}

case_a_port_that_is_taken_during_a_restart_is_reported() {
	need_slirp4netns
	need socat
	start_server
	find_slirp
	send_signal STOP "$pid" # so that slirp4netns is not restarted before the port is taken
	send_signal KILL "$slirp_pid"
	wait_until 5 is_refused "http://127.0.0.1:$port/"
	take_port "$port"
	send_signal CONT "$pid"
	wait_until 10 grep -q "level=error msg=.*port 1 (127.0.0.1:$port:80/tcp) is closed: .*address already in use" "$tmp/bg.err"
	assert_eq removed 1 "$(ctl remove-ports 1)"
	stop
}

case_a_slirp4netns_that_hangs_is_killed_and_restarted() {
	need_slirp4netns
	start_server
	find_slirp
	send_signal STOP "$slirp_pid"
	began=$(now_ms)
	other=$(free_port)
	rc=0
	ctl add-ports "127.0.0.1:$other:80/tcp" 2>"$tmp/err" || rc=$?
	assert_eq status 1 "$rc"
	assert_match error 'error: slirp4netns did not answer for 2000 ms' "$(cat "$tmp/err")"
	assert_within 10000 "$began"
	wait_until 10 other_slirp
	wait_until 10 fetch "http://127.0.0.1:$port/"
	# slirp4netns must not open the port after the launcher has reported the error.
	is_refused "http://127.0.0.1:$other/" || fail 'the port that failed is open'
	stop
}

case_during_a_restart_adding_fails_and_removing_works() {
	need_slirp4netns
	fake_once slirp4netns 'exec sleep 70'
	start_server --slirp4netns-binary="$tmp/fake"
	find_slirp
	send_signal KILL "$slirp_pid"
	wait_until 5 pgrep -P "$pid" -x sleep
	ctl add-ports "127.0.0.1:$(free_port):80/tcp" 2>"$tmp/err" && fail 'the port was added'
	assert_eq error 'error: slirp4netns is not running now' "$(cat "$tmp/err")"
	assert_eq removed 1 "$(ctl remove-ports 1)"
	stop
}

# answers TEXT: runs a launcher with a port, which must fail. Its slirp4netns is a program that answers
# every request with TEXT, and reports that it is ready as soon as it listens: the flags of a listening
# socket in /proc/net/unix are 00010000 (__SO_ACCEPTCON).
answers() {
	printf '%s' "$1" >"$tmp/answer"
	cat >"$tmp/fake" <<-EOF
		#!/bin/sh
		while [ "\$1" != --api-socket ]; do shift; done
		(until grep -q " 00010000 .* \$2\$" /proc/net/unix; do sleep 0.02; done; printf 1 >&3) &
		exec socat "UNIX-LISTEN:\$2,fork" "SYSTEM:cat >/dev/null; cat $tmp/answer"
	EOF
	chmod +x "$tmp/fake"
	# shellcheck disable=SC2086 # options
	launch $slirp --slirp4netns-binary="$tmp/fake" --copy-up=/etc -p "127.0.0.1:$(free_port):80/tcp" touch "$tmp/ran"
	assert_eq status 1 "$rc"
	[ ! -e "$tmp/ran" ] || fail 'the command ran'
}

case_an_invalid_answer_of_slirp4netns_is_an_error() {
	need_slirp4netns
	need socat
	answers 'garbage'
	assert_match 'error of garbage' '*failed to expose port *: asking slirp4netns: the answer is not JSON: *' "$err"
	answers '{"return":{}}'
	assert_match 'error of an answer without an ID' '*: asking slirp4netns: the answer has no id' "$err"
	answers ''
	assert_match 'error of an empty answer' '*failed to expose port *: slirp4netns is not running now' "$err"
	answers "$(head -c 8000 /dev/zero | tr '\0' ' ')"
	assert_match 'error of an answer that is too long' '*failed to expose port *: asking slirp4netns: message too l*' "$err"
}

run_cases \
	a_port_is_published_and_removed \
	ports_work_with_detach_netns \
	a_UDP_port_answers \
	the_state_directory_and_info_show_the_driver \
	child_addresses_are_passed_to_slirp4netns \
	conflicting_used_and_unsupported_ports_are_refused \
	ports_come_back_after_a_restart_of_slirp4netns \
	a_port_that_is_taken_during_a_restart_is_reported \
	a_slirp4netns_that_hangs_is_killed_and_restarted \
	during_a_restart_adding_fails_and_removing_works \
	an_invalid_answer_of_slirp4netns_is_an_error
