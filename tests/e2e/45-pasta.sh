#!/bin/sh
# pasta as the network program, with each of its port drivers.
. "$(dirname "$0")/ownnet.sh"
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/network.sh"

pasta='--subid-source=self --net=pasta'
quiet="$pasta --disable-host-loopback --copy-up=/etc"

need_pasta() {
	need_own_network
	need pasta
	can_open /dev/net/tun || skip tun "/dev/net/tun cannot be opened"
}

# Finds the launcher's pasta. Sets `prog` to its PID.
find_pasta() {
	prog=$(pgrep -P "$pid" -f -- '--foreground --pid=') || fail 'the launcher has no pasta'
}

# ---- the network ----

case_pasta_gives_addresses_routes_and_files() {
	need_pasta
	for options in '' --port-driver=implicit; do
		# shellcheck disable=SC2086 # options
		start $quiet $options sleep 60
		assert_eq "network $options" "$(network tap0 10.0.2.100/24 65520 10.0.2.2)" "$(inside sh -c "$show_network")"
		assert_eq resolv.conf 'nameserver 10.0.2.3' "$(inside cat /etc/resolv.conf)"
		assert_match hosts "*127.0.0.1 $(uname -n)*" "$(inside cat /etc/hosts)"
		assert_eq 'interfaces in /sys' "$(printf 'lo\ntap0')" "$(inside ls /sys/class/net)"
		assert_eq files 'api.sock child_pid hosts lock resolv.conf ' \
			"$(find "$state" -mindepth 1 -printf '%f\n' | sort | tr '\n' ' ')"
		stop
	done
}

case_detach_netns_leaves_the_command_in_the_hosts_network() {
	need_pasta
	host=$(readlink /proc/self/ns/net)
	etc=$(stat -c '%n %i %s %y' /etc/hosts /etc/resolv.conf)
	# shellcheck disable=SC2086 # options
	start $pasta --disable-host-loopback --detach-netns sleep 60
	assert_eq "the command's namespace" "$host" "$(readlink "/proc/$(pgrep -P "$child" sleep)/ns/net")"
	assert_eq network "$(network tap0 10.0.2.100/24 65520 10.0.2.2)" "$(inside_detached sh -c "$show_network")"
	assert_eq 'files in /etc' "$etc" "$(inside_mounts stat -c '%n %i %s %y' /etc/hosts /etc/resolv.conf)"
	assert_eq resolv.conf 'nameserver 10.0.2.3' "$(cat "$state/resolv.conf")"
	find_pasta
	stop
	wait_until 5 has_ended "$prog"
}

# Before Linux 6.8 the kernel may report a carrier a second late, if it came before the link was up. The
# kernel also reports changes of a carrier at most once a second, so that the first start after a second
# without changes differs from the starts that follow each other. The pause before the last start is for
# that second.
case_the_interface_is_up_at_the_commands_first_instruction() {
	need_pasta
	[ "$(printf '6.8\n%s\n' "$(uname -r)" | sort -V | head -n 1)" = 6.8 ] || skip linux 'the kernel is older than 6.8'
	for i in 1 2 3 4 5 6; do
		[ "$i" -lt 6 ] || sleep 1.1
		# shellcheck disable=SC2086 # options
		launch $quiet sh -c 'cat /sys/class/net/tap0/operstate; ip -o link show tap0'
		assert_match "interface of run $i" 'up
*<*UP,LOWER_UP*state UP*' "$out"
	done
}

case_mtu_cidr_and_ifname_set_the_network() {
	need_pasta
	# shellcheck disable=SC2086 # options
	launch $quiet --mtu=1500 --cidr=10.9.0.0/16 --ifname=net_0-x.y sh -c "$show_network; cat /etc/resolv.conf" - net_0-x.y
	assert_eq network "$(network net_0-x.y 10.9.0.100/16 1500 10.9.0.2)
nameserver 10.9.0.3" "$out$err"
}

case_ipv6_gives_an_address_and_a_route() {
	need_pasta
	need_ipv6
	# shellcheck disable=SC2086 # options
	launch $quiet --ipv6 sh -c 'ip -o -6 addr show dev tap0 scope global | awk "{ print \$4 }"; ip -6 route show default | cut -d " " -f 1-5'
	assert_eq 'global address and route' 'fd00::100/64
default via fd00::2 dev tap0' "$out$err"
	# shellcheck disable=SC2086 # options
	launch $quiet sh -c 'ip -o -6 addr show dev tap0 scope global; ip -6 route show default'
	assert_eq 'without --ipv6' '' "$out$err"
}

case_the_API_names_pasta_and_no_port_driver() {
	need_pasta
	for driver in none implicit; do
		# shellcheck disable=SC2086 # options
		start $quiet --port-driver=$driver sleep 60
		assert_match "info with $driver" "*\"networkDriver\":{\"driver\":\"pasta\",\"dns\":\[\"10.0.2.3\"\],\"childIP\":\"10.0.2.100\"}}" \
			"$(api_get info)"
		assert_eq "ports with $driver" '{"message":"no PortDriver is available"}' \
			"$(api_get ports)"
		stop
	done
}

# ---- traffic ----

case_the_network_works_for_the_commands_first_connection() {
	need_pasta
	start_host_server
	for i in 1 2 3 4 5 6; do
		# shellcheck disable=SC2086 # options
		launch $pasta --copy-up=/etc curl -s --max-time 5 "http://10.0.2.2:$port/"
		assert_eq "run $i" 'hello from the host' "$out"
	done
}

case_disable_host_loopback_blocks_the_hosts_loopback() {
	need_pasta
	start_host_server
	# The gateway's address leads to the host, and maybe 127.0.0.1 does, too. With
	# --disable-host-loopback neither may. pasta looks for the host's ports once a second, so wait for
	# longer than that.
	# shellcheck disable=SC2016 # for the inner shell
	both='for ip in 10.0.2.2 127.0.0.1; do curl -s --max-time 3 "http://$ip:$0/" || echo "failed with $?"; done'
	# shellcheck disable=SC2086 # options
	launch $pasta --copy-up=/etc sh -c "$both" "$port"
	assert_match page 'hello from the host*' "$out"
	assert_match warning '*specifying --disable-host-loopback is highly recommended*' "$(cat "$tmp/err")"
	# shellcheck disable=SC2086 # options
	launch $quiet sh -c "sleep 2; $both" "$port"
	assert_match 'output with --disable-host-loopback' 'failed with *
failed with 7' "$out"
	assert_eq warnings '' "$(grep -v "is experimental" "$tmp/err" || true)"
}

# start_servers DRIVER: starts a launcher with this port driver, and a web server and a UDP echo server
# inside, both on $port
start_servers() {
	port=$(free_port)
	make_page 'hello from inside'
	# shellcheck disable=SC2016,SC2086 # for the inner shell; options
	start $pasta --copy-up=/etc --port-driver="$1" sh -c '
		python3 -c "$3" "$1" & udp=$!
		busybox httpd -f -p "$1" -h "$2" & tcp=$!
		trap "kill \$udp \$tcp" TERM
		wait' - "$port" "$tmp/www" "$udp_echo_server"
}

udp_echo() {
	[ "$(echo hello | socat -T 1 - "UDP4:$1:$port")" = hello ]
}

case_with_the_implicit_driver_listening_ports_are_published() {
	need_pasta
	need socat
	need python3
	start_servers implicit
	wait_until 10 fetch "http://127.0.0.1:$port/"
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
	assert_eq 'page by another address' 'hello from inside' "$(fetch "http://192.0.2.10:$port/")"
	# Old versions of pasta look for UDP ports only when they start.
	case $(pasta --no-such-option 2>&1) in
	*--host-lo-to-ns-lo*) wait_until 10 udp_echo 192.0.2.10 ;;
	esac
	find_pasta
	stop
	wait_until 5 has_ended "$prog"
	code=0
	fetch "http://127.0.0.1:$port/" || code=$?
	assert_eq 'status of curl after the end' 7 "$code"
}

case_without_a_port_driver_no_port_is_published() {
	need_pasta
	need socat
	need python3
	start_servers none
	wait_until 5 inside curl -s "http://127.0.0.1:$port/"
	sleep 2 # An implicit port would be open after a second.
	assert_fails fetch "http://127.0.0.1:$port/"
	assert_fails udp_echo 127.0.0.1
	stop
}

# ---- the builtin port driver ----

# start_published DRIVER OPTION...: starts a launcher with this port driver, a web server on port 80 inside
# and a UDP echo server on port 7, published on 127.0.0.1:$port and 127.0.0.1:$udp_port
start_published() {
	port=$(free_port) udp_port=$(free_port) driver=$1
	shift
	make_page 'hello from inside'
	enter=
	case $* in
	*--detach-netns*) enter='nsenter --net=$ROOTLESSKIT_STATE_DIR/netns' ;;
	esac
	# shellcheck disable=SC2086 # options
	start $pasta --port-driver="$driver" -p "127.0.0.1:$port:80/tcp" -p "127.0.0.1:$udp_port:7/udp" "$@" sh -c "
		$enter python3 -c \"\$2\" 7 & udp=\$!
		$enter busybox httpd -f -p 80 -h \"\$1\" & tcp=\$!
		trap 'kill \$udp \$tcp' TERM
		wait" - "$tmp/www" "$udp_echo_server"
	wait_until 10 fetch "http://127.0.0.1:$port/"
}

ctl() {
	rootlessctl --socket "$state/api.sock" "$@"
}

udp_port_echoes() {
	[ "$(echo hello | socat -T 1 - "UDP4:127.0.0.1:$udp_port")" = hello ]
}

# True as soon as there is another pasta than `prog`.
other_pasta() {
	new=$(pgrep -P "$pid" -f -- '--foreground --pid=') && [ "$new" != "$prog" ]
}

case_the_builtin_port_driver_publishes_ports() {
	need_pasta
	need socat
	need python3
	for options in --copy-up=/etc --detach-netns '--copy-up=/etc --disable-host-loopback'; do
		# shellcheck disable=SC2086 # options
		start_published builtin $options
		wait_until 10 udp_port_echoes
		assert_match "info with $options" '*"portDriver":{"driver":"builtin",*' "$(api_get info)"
		# A second address has its own port of the same number.
		assert_eq "added with $options" 3 "$(ctl add-ports "127.0.0.2:$port:80/tcp")"
		assert_eq "removed with $options" 1 "$(ctl remove-ports 1)"
		assert_eq "page of 127.0.0.2 with $options" 'hello from inside' "$(fetch "http://127.0.0.2:$port/")"
		is_refused "http://127.0.0.1:$port/" || fail 'the port of 127.0.0.2 is open on 127.0.0.1, too'
		stop
	done
}

case_ports_of_the_builtin_driver_survive_the_death_of_pasta() {
	need_pasta
	need python3
	start_published builtin --copy-up=/etc
	find_pasta
	send_signal KILL "$prog"
	assert_eq 'page without pasta' 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
	wait_until 10 other_pasta
	assert_eq 'page with a new pasta' 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
	stop
}

# ---- the port driver pesto ----

# Sets `newer` to a pasta whose ports can be changed while it runs (passt 2026_05_07 or later).
need_newer_pasta() {
	need_pasta
	need socat
	need python3
	for newer in pasta /var/cache/rlkbox-tests/newer-pasta/usr/bin/pasta; do
		case $("$newer" --help 2>&1) in
		*--conf-path*) return ;;
		esac
	done
	skip pesto 'there is no pasta with --conf-path; tests/bench/newer-pasta.sh brings one'
}

# By default a newer pasta listens inside on each port that a program of the host listens on, as this
# launcher does. pasta looks for such ports once a second and does not tell, so the server starts after two
# rounds.
case_a_server_inside_may_have_the_number_of_a_published_port() {
	need_newer_pasta
	port=$(free_port)
	make_page 'hello from inside'
	# shellcheck disable=SC2086 # options
	start $pasta --pasta-binary="$newer" --copy-up=/etc --port-driver=builtin -p "127.0.0.1:$port:$port/tcp" sh -c \
		'sleep 3; exec busybox httpd -f -p "$1" -h "$2"' - "$port" "$tmp/www"
	wait_until 10 fetch "http://127.0.0.1:$port/"
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
	stop
}

start_pesto() {
	start_published pesto --pasta-binary="$newer" "$@"
}

case_the_pesto_port_driver_publishes_ports() {
	need_newer_pasta
	for options in --copy-up=/etc --detach-netns '--copy-up=/etc --disable-host-loopback'; do
		# shellcheck disable=SC2086 # options
		start_pesto $options
		wait_until 10 udp_port_echoes
		assert_match "info with $options" '*"portDriver":{"driver":"pesto","protos":\["tcp","tcp4","udp","udp4"\],"disallowLoopbackChildIP":true}}' \
			"$(api_get info)"
		assert_eq "added with $options" 3 "$(ctl add-ports "127.0.0.2:$port:80/tcp4")"
		# add-ports has returned, so the port is open.
		assert_eq "page of 127.0.0.2 with $options" 'hello from inside' "$(fetch "http://127.0.0.2:$port/")"
		assert_eq "removed with $options" 1 "$(ctl remove-ports 1)"
		wait_until 5 is_refused "http://127.0.0.1:$port/"
		assert_eq "page afterwards with $options" 'hello from inside' "$(fetch "http://127.0.0.2:$port/")"
		assert_match "list with $options" '*"parentIP":"127.0.0.2"*' "$(api_get ports)"
		stop
		is_refused "http://127.0.0.2:$port/" || fail 'a port is still open after the end'
	done
}

case_pesto_forwards_IPv6_with_ipv6() {
	need_newer_pasta
	need_ipv6
	start_pesto --copy-up=/etc
	code=0
	ctl add-ports "[::1]:$port:80/tcp6" >"$tmp/out" 2>"$tmp/err" || code=$?
	assert_eq 'status without --ipv6' 1 "$code"
	assert_match 'error without --ipv6' '*tcp6*' "$(cat "$tmp/err")"
	stop
	start_pesto --copy-up=/etc --ipv6
	assert_match info '*"ipv6":true}*"protos":\["tcp","tcp4","udp","udp4","tcp6","udp6"\]*' "$(api_get info)"
	assert_eq added 3 "$(ctl add-ports "[::1]:$port:80/tcp6")"
	wait_until 5 fetch "http://[::1]:$port/"
	stop
}

case_ports_that_pesto_cannot_open_are_refused() {
	need_newer_pasta
	start_pesto --copy-up=/etc
	taken=$(free_port)
	take_port "$taken"
	while IFS='|' read -r spec message; do
		rc=0
		ctl add-ports "$spec" >"$tmp/out" 2>"$tmp/err" || rc=$?
		assert_eq "status of $spec" 1 "$rc"
		# shellcheck disable=SC2254 # a pattern
		assert_match "error of $spec" "error: $message" "$(cat "$tmp/err")"
	done <<-EOF
		127.0.0.1:$taken:80/tcp|*listen tcp 127.0.0.1:$taken: bind: address already in use*
		192.0.2.99:$taken:80/tcp|*bind: cannot assign requested address*
		127.0.0.2:$taken:127.0.0.1:80/tcp|unsupported ChildIP "127.0.0.1": the pesto port driver only supports the namespace address "10.0.2.100"*
		127.0.0.1:$taken:80/sctp|unsupported protocol: sctp; pasta forwards TCP and UDP
	EOF
	# A refused port is no obstacle to the next one.
	other=$(free_port)
	ctl add-ports "127.0.0.1:$other:10.0.2.100:80/tcp" >/dev/null
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$other/")"
	stop
}

case_ports_of_pesto_come_back_after_the_death_of_pasta() {
	need_newer_pasta
	start_pesto --copy-up=/etc
	find_pasta
	send_signal KILL "$prog"
	wait_until 10 other_pasta
	wait_until 10 fetch "http://127.0.0.1:$port/"
	wait_until 10 udp_port_echoes
	stop
}

case_a_pasta_that_is_too_old_for_pesto_is_refused() {
	need_pasta
	fake '--config-net --host-lo-to-ns-lo'
	# shellcheck disable=SC2086 # options
	fails_with '\[rootlesskit:parent\] error: port driver "pesto" requires pasta with --conf-path support (passt >= 2026_05_07.1afd4ed); try --port-driver=builtin (*)' \
		$quiet --pasta-binary="$tmp/pasta" --port-driver=pesto
}

# ---- features ----

# fake HELP: creates a program $tmp/pasta that prints HELP for --help. As network program it writes its
# command line to $tmp/line and fails.
fake() {
	cat >"$tmp/pasta" <<-EOF
		#!/bin/sh
		case \$1 in
		--help) echo "$1"; exit 0 ;;
		--foreground) echo "\$*" >"$tmp/line"; echo 'no luck' >&2; exit 3 ;;
		*) echo "$1" >&2; exit 1 ;;
		esac
	EOF
	chmod +x "$tmp/pasta"
}

case_only_options_that_pasta_supports_are_used() {
	need_pasta
	while IFS='|' read -r help options want; do
		fake "$help"
		# shellcheck disable=SC2086 # options
		fails_with '\[rootlesskit:parent\] error: failed to setup network: pasta ended before it was ready (*): exit status 3: no luck' \
			$pasta --pasta-binary="$tmp/pasta" $options
		got=$(tr ' ' '\n' <"$tmp/line" | grep -x -e --stderr -e --host-lo-to-ns-lo -e --no-map-gw \
			-e '--...-ns=.*' -e '--...-ports=.*' -e --ipv4-only -e --address=fd00::100 -e '--conf-path=.*/.pasta/ctl' |
			sed 's,=/.*/.pasta,=.pasta,' | sort | tr '\n' ' ')
		assert_eq "command line of \"$help\" with \"$options\"" "$want " "$got"
	done <<-'EOF'
		--stderr --config-net||--ipv4-only --stderr --tcp-ports=none --udp-ports=none
		--stderr --config-net|--ipv6|--address=fd00::100 --stderr --tcp-ports=none --udp-ports=none
		--host-lo-to-ns-lo --config-net|--port-driver=builtin|--host-lo-to-ns-lo --ipv4-only --tcp-ns=none --tcp-ports=none --udp-ns=none --udp-ports=none
		--host-lo-to-ns-lo --config-net --conf-path|--port-driver=pesto|--conf-path=.pasta/ctl --ipv4-only --tcp-ports=none --udp-ports=none
		--stderr --config-net|--disable-host-loopback|--ipv4-only --no-map-gw --stderr --tcp-ns=none --tcp-ports=none --udp-ns=none --udp-ports=none
		--stderr --config-net|--disable-host-loopback --port-driver=implicit|--ipv4-only --no-map-gw --stderr --tcp-ports=auto --udp-ports=auto
		--host-lo-to-ns-lo --config-net|--port-driver=implicit|--host-lo-to-ns-lo --ipv4-only --tcp-ports=auto --udp-ports=auto
		--host-lo-to-ns-lo --config-net|--disable-host-loopback --port-driver=implicit|--host-lo-to-ns-lo --ipv4-only --no-map-gw --tcp-ns=none --tcp-ports=auto --udp-ns=none --udp-ports=auto
	EOF
}

case_an_old_pasta_that_cannot_block_the_loopback_causes_a_warning() {
	need_pasta
	fake '--config-net'
	# shellcheck disable=SC2086 # options
	fails_with '*' $quiet --pasta-binary="$tmp/pasta" --port-driver=implicit
	assert_match warning '*level=warning msg="*this version of pasta cannot keep *--disable-host-loopback with --port-driver=implicit*' \
		"$(cat "$tmp/err")"
	fake '--config-net --host-lo-to-ns-lo'
	# shellcheck disable=SC2086 # options
	fails_with '*' $quiet --pasta-binary="$tmp/pasta" --port-driver=implicit
	assert_eq warnings '' "$(grep level=warning "$tmp/err" | grep -v "is experimental" || true)"
}

# ---- failures ----

case_a_missing_pasta_is_reported_with_the_fix() {
	need_pasta
	# shellcheck disable=SC2086 # options
	fails_with '\[rootlesskit:parent\] error: exec: "nosuchpasta": executable file not found in $PATH (*install the package passt*--pasta-binary*)' \
		$quiet --pasta-binary=nosuchpasta
	# shellcheck disable=SC2086 # options
	fails_with '*exec: "/nonexistent": stat /nonexistent: no such file or directory (*)' $quiet --pasta-binary=/nonexistent
	# shellcheck disable=SC2086 # options
	fails_with '*exec: "/etc/passwd": permission denied (*)' $quiet --pasta-binary=/etc/passwd
	# shellcheck disable=SC2086 # options
	fails_with '*error: command "/bin/false --version" failed, make sure pasta is installed: "*\\n": exit status 1 (*install the package passt*--pasta-binary*)' $quiet --pasta-binary=/bin/false
	# shellcheck disable=SC2086 # options
	fails_with '*"/bin/true --help" does not know --config-net: it is not pasta, or too old; its --version says: true *[0-9] (*)' $quiet --pasta-binary=/bin/true
}

case_a_pasta_that_a_signal_ends_is_not_reported_as_too_old() {
	need_pasta
	printf '#!/bin/sh\nkill -SEGV $$\n' >"$tmp/pasta"
	chmod +x "$tmp/pasta"
	# shellcheck disable=SC2086 # options
	fails_with "*\"$tmp/pasta --help\" ended: signal: segmentation fault*(*)" $quiet --pasta-binary="$tmp/pasta"
	assert_fails grep -q 'too old\|ulimit' "$tmp/err"
	(
		ulimit -s 512
		# shellcheck disable=SC2086 # options
		fails_with '*signal: segmentation fault*; try a larger stack: `ulimit -s` is 512 here (*)' $quiet --pasta-binary="$tmp/pasta"
	)
}

case_a_pasta_that_ends_at_the_start_is_an_error() {
	need_pasta
	# shellcheck disable=SC2016 # for the program
	while IFS='|' read -r script pattern; do
		printf '#!/bin/sh\ncase $1 in --foreground) ;; *) echo --config-net; exit 0 ;; esac\n%s\n' "$script" >"$tmp/pasta"
		chmod +x "$tmp/pasta"
		began=$(now_ms)
		# shellcheck disable=SC2086 # options
		fails_with "\\[rootlesskit:parent\\] error: failed to setup network: pasta $pattern" $quiet --pasta-binary="$tmp/pasta"
		assert_within 5000 "$began"
	done <<-'EOF'
		exit 0|*: exit status 0
		exec true|*: exit status 0
		kill -KILL $$|*: signal: killed
		seq 30000 >&2; exit 5|*: exit status 5: *29999; 30000
		: >"${2#--pid=}"; exec sleep 60|*: signal: killed
		sleep 60 & exit 6|*: exit status 6
	EOF
}

# ---- ends ----

case_pasta_is_a_child_with_its_own_process_group() {
	need_pasta
	# shellcheck disable=SC2086 # options
	start $quiet sleep 60
	find_pasta
	assert_eq parent "$pid" "$(ps -o ppid= -p "$prog" | tr -d ' ')"
	assert_eq group "$prog" "$(ps -o pgid= -p "$prog" | tr -d ' ')"
	assert_eq 'number of processes' 1 "$(pgrep -c -f -- "--pid=$state/")"
	stop
}

case_pasta_does_not_outlive_the_launcher() {
	need_pasta
	for options in '' --detach-netns --port-driver=implicit; do
		for what in 'TERM parent' 'KILL parent' 'KILL child' 'KILL both'; do
			# shellcheck disable=SC2086 # options
			start $quiet $options sleep 60
			find_pasta
			case $what in
			*parent) send_signal "${what% *}" "$pid" ;;
			*child) send_signal KILL "$child" ;;
			*both) send_signal KILL "$pid" "$child" ;;
			esac
			wait_until 5 has_ended "$prog"
			wait_until 5 has_ended "$child"
			await_end "$pid"
			rm -rf "$state"
		done
	done
}

# True if the launcher, its child, pasta and the command of this case have all ended.
all_gone() {
	for p in $(leftovers); do
		case $(cat "/proc/$p/comm" 2>/dev/null) in
		rootlesskit | rlkbox | exe | pasta* | passt* | sleep) has_ended "$p" || return 1 ;;
		esac
	done
}

# The sleep does not wait for anything: it chooses the time of the signal.
case_pasta_does_not_outlive_a_launcher_that_is_killed_while_it_starts() {
	need_pasta
	for after in 5 20 40 60 80 120; do
		for whom in parent child; do
			# shellcheck disable=SC2086 # options
			rootlesskit --state-dir="$tmp/state" $quiet sleep 60 >/dev/null 2>&1 &
			pid=$!
			sleep "$(printf '0.%03d' "$after")"
			case $whom in
			parent) send_signal KILL "$pid" ;;
			child) pkill -KILL -P "$pid" -x exe || send_signal KILL "$pid" ;;
			esac
			await_end "$pid"
			wait_until 5 all_gone
		done
	done
	# shellcheck disable=SC2086 # options
	launch --state-dir="$tmp/state" $quiet true
	assert_eq 'status and error of the next start' 0 "$rc$err"
	[ ! -e "$tmp/state" ] || fail "left over: $(ls -A "$tmp/state")"
}

case_pasta_does_not_outlive_a_launcher_that_is_killed_at_any_system_call() {
	need_pasta
	need_strace
	# shellcheck disable=SC2086 # options
	strace -o "$tmp/all" rootlesskit --state-dir="$tmp/state" $quiet true
	calls=$(wc -l <"$tmp/all")
	[ "$calls" -gt 100 ] || fail "the launcher makes only $calls system calls, so this tests nothing"
	n=40
	while [ "$n" -le "$calls" ]; do
		# shellcheck disable=SC2086 # options
		strace -o /dev/null -e inject=all:signal=KILL:when="$n" \
			rootlesskit --state-dir="$tmp/state" $quiet true >/dev/null 2>&1 || true
		wait_until 5 all_gone
		n=$((n + 13))
	done
	# shellcheck disable=SC2086 # options
	launch --state-dir="$tmp/state" $quiet true
	assert_eq 'status and error of the next start' 0 "$rc$err"
}

run_cases \
	pasta_gives_addresses_routes_and_files \
	detach_netns_leaves_the_command_in_the_hosts_network \
	the_interface_is_up_at_the_commands_first_instruction \
	mtu_cidr_and_ifname_set_the_network \
	ipv6_gives_an_address_and_a_route \
	the_API_names_pasta_and_no_port_driver \
	the_network_works_for_the_commands_first_connection \
	disable_host_loopback_blocks_the_hosts_loopback \
	with_the_implicit_driver_listening_ports_are_published \
	without_a_port_driver_no_port_is_published \
	the_builtin_port_driver_publishes_ports \
	a_server_inside_may_have_the_number_of_a_published_port \
	ports_of_the_builtin_driver_survive_the_death_of_pasta \
	the_pesto_port_driver_publishes_ports \
	pesto_forwards_IPv6_with_ipv6 \
	ports_that_pesto_cannot_open_are_refused \
	ports_of_pesto_come_back_after_the_death_of_pasta \
	a_pasta_that_is_too_old_for_pesto_is_refused \
	only_options_that_pasta_supports_are_used \
	an_old_pasta_that_cannot_block_the_loopback_causes_a_warning \
	a_missing_pasta_is_reported_with_the_fix \
	a_pasta_that_a_signal_ends_is_not_reported_as_too_old \
	a_pasta_that_ends_at_the_start_is_an_error \
	pasta_is_a_child_with_its_own_process_group \
	pasta_does_not_outlive_the_launcher \
	pasta_does_not_outlive_a_launcher_that_is_killed_while_it_starts \
	pasta_does_not_outlive_a_launcher_that_is_killed_at_any_system_call
