#!/bin/sh
# pasta as the network program, with the port drivers none and implicit.
. "$(dirname "$0")/ownnet.sh"
. "$(dirname "$0")/lib.sh"

pasta='--subid-source=self --net=pasta'
quiet="$pasta --disable-host-loopback --copy-up=/etc"

need_pasta() {
	need_own_network
	need pasta
	: 2>/dev/null <>/dev/net/tun || skip tun "/dev/net/tun cannot be opened"
}

# The pasta that belongs to this launcher: sets `prog`.
find_pasta() {
	prog=$(pgrep -P "$pid" -f -- '--foreground --pid=') || fail 'there is no pasta'
}

cat_network='ip -o -4 addr show dev ${1-tap0} | awk "{ print \$2, \$4 }"
	ip -o link show dev ${1-tap0} | grep -o "mtu [0-9]*"
	ip -o link show dev ${1-tap0} | grep -o "[<,]UP[,>]" | tr -d "<,>"
	ip -4 route show default | awk "{ print \$1, \$2, \$3, \$4, \$5 }"
	ip -o link show dev lo | grep -o "[<,]UP[,>]" | tr -d "<,>"'

# network DEV IP/LEN MTU GATEWAY: what that prints
network() {
	printf '%s %s\nmtu %s\nUP\ndefault via %s dev %s\nUP' "$1" "$2" "$3" "$4" "$1"
}

fails_with() {
	pattern=$1
	shift
	launch "$@" touch "$tmp/ran"
	assert_eq "status of $*" 1 "$rc"
	assert_match "error of $*" "$pattern" "$err"
	[ ! -e "$tmp/ran" ] || fail 'the command ran'
	assert_eq 'temporary state directories' '' "$(find "$tmp" -name 'rootlesskit*')"
}

# ---- what it makes ----

case_the_network() {
	need_pasta
	for options in '' --port-driver=implicit; do
		# shellcheck disable=SC2086 # options
		start $quiet $options sleep 60
		assert_eq "network $options" "$(network tap0 10.0.2.100/24 65520 10.0.2.2)" "$(inside sh -c "$cat_network")"
		assert_eq resolv.conf 'nameserver 10.0.2.3' "$(inside cat /etc/resolv.conf)"
		assert_match hosts "*127.0.0.1 $(uname -n)*" "$(inside cat /etc/hosts)"
		assert_eq 'interfaces in /sys' "$(printf 'lo\ntap0')" "$(inside ls /sys/class/net)"
		assert_eq files 'api.sock child_pid hosts lock resolv.conf ' \
			"$(find "$state" -mindepth 1 -printf '%f\n' | sort | tr '\n' ' ')"
		stop
	done
}

case_a_detached_namespace() {
	need_pasta
	host=$(readlink /proc/self/ns/net)
	etc=$(stat -c '%n %i %s %y' /etc/hosts /etc/resolv.conf)
	# shellcheck disable=SC2086 # options
	start $pasta --disable-host-loopback --detach-netns sleep 60
	assert_eq "the command's namespace" "$host" "$(readlink "/proc/$(pgrep -P "$child" sleep)/ns/net")"
	assert_eq network "$(network tap0 10.0.2.100/24 65520 10.0.2.2)" "$(inside_detached sh -c "$cat_network")"
	assert_eq 'files in /etc' "$etc" "$(inside_mounts stat -c '%n %i %s %y' /etc/hosts /etc/resolv.conf)"
	assert_eq resolv.conf 'nameserver 10.0.2.3' "$(cat "$state/resolv.conf")"
	find_pasta
	stop
	wait_until 5 has_ended "$prog"
}

# Older kernels may take a second to report a carrier that came before the link was up.
case_the_interface_is_up_at_the_commands_first_instruction() {
	need_pasta
	[ "$(printf '6.8\n%s\n' "$(uname -r)" | sort -V | head -n 1)" = 6.8 ] || skip linux 'it is older than 6.8'
	for i in 1 2 3 4 5 6; do
		[ "$i" -lt 6 ] || sleep 1.1
		# shellcheck disable=SC2086 # options
		launch $quiet sh -c 'cat /sys/class/net/tap0/operstate; ip -o link show tap0'
		assert_match "interface of run $i" 'up
*<*UP,LOWER_UP*state UP*' "$out"
	done
}

case_mtu_cidr_and_ifname() {
	need_pasta
	# shellcheck disable=SC2086 # options
	launch $quiet --mtu=1500 --cidr=10.9.0.0/16 --ifname=net_0-x.y sh -c "$cat_network; cat /etc/resolv.conf" - net_0-x.y
	assert_eq network "$(network net_0-x.y 10.9.0.100/16 1500 10.9.0.2)
nameserver 10.9.0.3" "$out$err"
}

case_ipv6() {
	need_pasta
	need_ipv6
	# shellcheck disable=SC2086 # options
	launch $quiet --ipv6 sh -c 'ip -o -6 addr show dev tap0 scope global | awk "{ print \$4 }"; ip -6 route show default | cut -d " " -f 1-5'
	assert_eq 'global address and route' 'fd00:1::10/64
default via fd00:1::1 dev tap0' "$out$err"
	# shellcheck disable=SC2086 # options
	launch $quiet sh -c 'ip -o -6 addr show dev tap0 scope global; ip -6 route show default'
	assert_eq 'without --ipv6' '' "$out$err"
}

case_what_the_api_says() {
	need_pasta
	for driver in none implicit; do
		# shellcheck disable=SC2086 # options
		start $quiet --port-driver=$driver sleep 60
		assert_match "info with $driver" "*\"networkDriver\":{\"driver\":\"pasta\",\"dns\":\[\"10.0.2.3\"\],\"childIP\":\"10.0.2.100\"}}" \
			"$(fetch --unix-socket "$state/api.sock" http://rootlesskit/v1/info)"
		assert_eq "ports with $driver" '{"message":"no PortDriver is available"}' \
			"$(fetch --unix-socket "$state/api.sock" http://rootlesskit/v1/ports)"
		stop
	done
}

# ---- traffic ----

case_the_network_works_for_the_commands_first_packet() {
	need_pasta
	start_host_server
	for i in 1 2 3 4 5 6; do
		# shellcheck disable=SC2086 # options
		launch $pasta --copy-up=/etc curl -s --max-time 5 "http://10.0.2.2:$port/"
		assert_eq "run $i" 'hello from the host' "$out"
	done
}

case_the_hosts_loopback() {
	need_pasta
	start_host_server
	# The gateway is the host, unless it is not wanted; nor is 127.0.0.1 then.
	# shellcheck disable=SC2016 # for the inner shell
	both='for ip in 10.0.2.2 127.0.0.1; do curl -s --max-time 3 "http://$ip:$0/" || echo "failed with $?"; done'
	# shellcheck disable=SC2086 # options
	launch $pasta --copy-up=/etc sh -c "sleep 2; $both" "$port"
	assert_match page 'hello from the host*' "$out"
	assert_match warning '*specifying --disable-host-loopback is highly recommended*' "$(cat "$tmp/err")"
	# shellcheck disable=SC2086 # options
	launch $quiet sh -c "sleep 2; $both" "$port"
	assert_match 'with --disable-host-loopback' 'failed with *
failed with 7' "$out"
	assert_eq warnings '' "$(grep -v "is experimental" "$tmp/err" || true)"
}

# A launcher with port driver $1, and servers of TCP and UDP on $port inside.
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

case_implicit_ports() {
	need_pasta
	need socat
	need python3
	start_servers implicit
	wait_until 10 fetch "http://127.0.0.1:$port/"
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
	assert_eq 'page by another address' 'hello from inside' "$(fetch "http://192.0.2.10:$port/")"
	# Old versions look for UDP ports only when they start.
	case $(pasta --no-such-option 2>&1) in
	*--host-lo-to-ns-lo*) wait_until 10 udp_echo 192.0.2.10 ;;
	esac
	find_pasta
	stop
	wait_until 5 has_ended "$prog"
	code=0
	fetch "http://127.0.0.1:$port/" || code=$?
	assert_eq 'curl afterwards' 7 "$code"
}

case_no_ports_without_a_port_driver() {
	need_pasta
	need socat
	need python3
	start_servers none
	wait_until 5 inside curl -s "http://127.0.0.1:$port/"
	sleep 2 # as long as an implicit port takes, and longer
	assert_fails fetch "http://127.0.0.1:$port/"
	assert_fails udp_echo 127.0.0.1
	stop
}

# ---- features ----

# fake HELP: a pasta with this help, which leaves its command line in $tmp/line and fails
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

case_features_are_detected() {
	need_pasta
	while IFS='|' read -r help options want; do
		fake "$help"
		# shellcheck disable=SC2086 # options
		fails_with '\[rootlesskit:parent\] error: failed to setup network: pasta ended before it was ready (*): exit status 3: no luck' \
			$pasta --pasta-binary="$tmp/pasta" $options
		got=$(tr ' ' '\n' <"$tmp/line" | grep -x -e --stderr -e --host-lo-to-ns-lo -e --no-map-gw \
			-e '--...-ns=.*' -e '--...-ports=.*' -e --ipv4-only | sort | tr '\n' ' ')
		assert_eq "command line of \"$help\" with \"$options\"" "$want " "$got"
	done <<-'EOF'
		--stderr --config-net||--ipv4-only --stderr --tcp-ports=none --udp-ports=none
		--stderr --config-net|--ipv6|--stderr --tcp-ports=none --udp-ports=none
		--stderr --config-net|--disable-host-loopback|--ipv4-only --no-map-gw --stderr --tcp-ns=none --tcp-ports=none --udp-ns=none --udp-ports=none
		--stderr --config-net|--disable-host-loopback --port-driver=implicit|--ipv4-only --no-map-gw --stderr --tcp-ports=auto --udp-ports=auto
		--host-lo-to-ns-lo --config-net|--port-driver=implicit|--host-lo-to-ns-lo --ipv4-only --tcp-ports=auto --udp-ports=auto
		--host-lo-to-ns-lo --config-net|--disable-host-loopback --port-driver=implicit|--host-lo-to-ns-lo --ipv4-only --no-map-gw --tcp-ns=none --tcp-ports=auto --udp-ns=none --udp-ports=auto
	EOF
}

case_an_old_pasta_that_cannot_close_the_loopback_is_told_of() {
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

case_a_missing_pasta() {
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

case_a_pasta_that_a_signal_ends_is_not_called_too_old() {
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

case_a_pasta_that_ends_or_hangs_up_at_the_start() {
	need_pasta
	# shellcheck disable=SC2016 # for the program
	while IFS='|' read -r script pattern; do
		printf '#!/bin/sh\ncase $1 in --foreground) ;; *) echo --config-net; exit 0 ;; esac\n%s\n' "$script" >"$tmp/pasta"
		chmod +x "$tmp/pasta"
		began=$(date +%s)
		# shellcheck disable=SC2086 # options
		fails_with "\\[rootlesskit:parent\\] error: failed to setup network: pasta $pattern" $quiet --pasta-binary="$tmp/pasta"
		[ $(($(date +%s) - began)) -lt 5 ] || fail "it took too long: $script"
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

case_it_is_no_daemon() {
	need_pasta
	# shellcheck disable=SC2086 # options
	start $quiet sleep 60
	find_pasta
	assert_eq parent "$pid" "$(ps -o ppid= -p "$prog" | tr -d ' ')"
	assert_eq group "$prog" "$(ps -o pgid= -p "$prog" | tr -d ' ')"
	assert_eq 'others' 1 "$(pgrep -c -f -- "--pid=$state/")"
	stop
}

case_it_does_not_outlive_the_launcher() {
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

all_gone() {
	for p in $(leftovers); do
		case $(cat "/proc/$p/comm" 2>/dev/null) in
		rootlesskit | rlkbox | exe | pasta* | passt* | sleep) has_ended "$p" || return 1 ;;
		esac
	done
}

case_nor_if_that_is_killed_at_any_time() {
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
	assert_eq 'the next start' 0 "$rc$err"
	[ ! -e "$tmp/state" ] || fail "left over: $(ls -A "$tmp/state")"
}

case_nor_if_that_is_killed_at_any_system_call() {
	need_pasta
	need strace
	strace -o /dev/null true 2>/dev/null || skip ptrace "strace may not trace here"
	export ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS-}"
	# shellcheck disable=SC2086 # options
	strace -o "$tmp/all" rootlesskit --state-dir="$tmp/state" $quiet true
	calls=$(wc -l <"$tmp/all")
	[ "$calls" -gt 100 ] || fail "only $calls system calls"
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
	assert_eq 'the next start' 0 "$rc$err"
}

run_cases \
	the_network \
	a_detached_namespace \
	the_interface_is_up_at_the_commands_first_instruction \
	mtu_cidr_and_ifname \
	ipv6 \
	what_the_api_says \
	the_network_works_for_the_commands_first_packet \
	the_hosts_loopback \
	implicit_ports \
	no_ports_without_a_port_driver \
	features_are_detected \
	an_old_pasta_that_cannot_close_the_loopback_is_told_of \
	a_missing_pasta \
	a_pasta_that_a_signal_ends_is_not_called_too_old \
	a_pasta_that_ends_or_hangs_up_at_the_start \
	it_is_no_daemon \
	it_does_not_outlive_the_launcher \
	nor_if_that_is_killed_at_any_time \
	nor_if_that_is_killed_at_any_system_call
