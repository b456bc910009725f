#!/bin/sh
# Socket activation, by systemd-socket-activate, and sd_notify(3) from the command to the service manager.
. "$(dirname "$0")/lib.sh"

# ---- a service and its clients ----

# A service that does what sd_listen_fds(3) describes. It takes the descriptors if LISTEN_PID names it, and
# serves one client on each, in order. Writes what it has found to $tmp/service.
make_service() {
	cat >"$tmp/service.py" <<-'EOT'
		import os, socket, sys
		out = open(sys.argv[1], 'w')
		mine = os.environ.get('LISTEN_PID') == str(os.getpid())
		count = int(os.environ.get('LISTEN_FDS', '0')) if mine else 0
		print('fds', count, 'names', os.environ.get('LISTEN_FDNAMES'),
		      'other', sorted(f for f in os.listdir('/proc/self/fd') if int(f) >= 3 + count and f != str(out.fileno())
		                      and os.path.exists('/proc/self/fd/' + f)), file=out, flush=True)
		for fd in range(3, 3 + count):
		    with socket.socket(fileno=fd) as listener:
		        client = listener.accept()[0]
		        client.sendall(f'descriptor {fd}: {listener.family.name}\n'.encode())
		        client.close()
	EOT
}

# activate OPTION... -- LAUNCHER_OPTION...: runs systemd-socket-activate in the background. At the first
# client it starts a launcher with the service. -E passes on an environment variable.
activate() {
	make_service
	state=$tmp/state
	set -- "$@" -- python3 "$tmp/service.py" "$tmp/service"
	options=
	while [ "$1" != -- ]; do
		options="$options $1"
		shift
	done
	shift
	# shellcheck disable=SC2086 # words without blanks
	systemd-socket-activate -E E2E_CASE -E TMPDIR -E ASAN_OPTIONS -E TSAN_OPTIONS -E "PATH=$PATH" \
		$options "$bin/rootlesskit" --state-dir="$state" "$@" >"$tmp/bg.out" 2>"$tmp/bg.err" &
	pid=$!
}

# call ADDRESS...: connects to each address, and prints what the service sends. Waits until it listens.
call() {
	python3 - "$@" <<-'EOT'
		import socket, sys, time
		for address in sys.argv[1:]:
		    deadline = time.monotonic() + 20
		    while True:
		        if address.startswith('/'):
		            s = socket.socket(socket.AF_UNIX)
		            to = address
		        else:
		            host, port = address.rsplit(':', 1)
		            s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
		            to = (host, int(port))
		        s.settimeout(20)
		        try:
		            s.connect(to)
		            break
		        except OSError:
		            if time.monotonic() > deadline:
		                raise
		            s.close()
		            time.sleep(0.02)
		    print(b''.join(iter(lambda: s.recv(100), b'')).decode(), end='')
	EOT
}

# served FOUND: waits until the service has served all clients and ended. It must have found FOUND.
served() {
	finish
	assert_eq status 0 "$rc"
	assert_eq 'what the service has found' "$1" "$(cat "$tmp/service")"
}

# ---- descriptors ----

case_a_UNIX_socket_is_passed_to_the_command() {
	need systemd-socket-activate
	activate -l "$tmp/a.sock" --
	assert_eq answer 'descriptor 3: AF_UNIX' "$(call "$tmp/a.sock")"
	served "fds 1 names None other []"
}

case_a_named_TCP_socket_is_passed_to_the_command() {
	need systemd-socket-activate
	port=$(free_port)
	activate -l "127.0.0.1:$port" --fdname=web --
	assert_eq answer 'descriptor 3: AF_INET' "$(call "127.0.0.1:$port")"
	served "fds 1 names web other []"
}

case_three_sockets_keep_their_order_and_names() {
	need systemd-socket-activate
	need_ipv6
	port=$(free_port)
	activate -l "$tmp/a.sock" -l "127.0.0.1:$port" -l "[::1]:$port" --fdname=first:second:third --
	assert_eq answers 'descriptor 3: AF_UNIX
descriptor 4: AF_INET
descriptor 5: AF_INET6' "$(call "$tmp/a.sock" "127.0.0.1:$port" "::1:$port")"
	served "fds 3 names first:second:third other []"
}

# three_sockets_with LAUNCHER_OPTION...: a socket belongs to the network namespace where it was created.
# So these sockets are the host's, and clients on the host reach the service with any network.
three_sockets_with() {
	need systemd-socket-activate
	port=$(free_port)
	activate -l "127.0.0.1:$port" -l "$tmp/b.sock" -l "$tmp/c.sock" --fdname=a:b:c -- "$@"
	assert_eq answers 'descriptor 3: AF_INET
descriptor 4: AF_UNIX
descriptor 5: AF_UNIX' "$(call "127.0.0.1:$port" "$tmp/b.sock" "$tmp/c.sock")"
	served "fds 3 names a:b:c other []"
}

case_sockets_are_passed_with_the_builtin_port_driver() {
	three_sockets_with --net=none --port-driver=builtin -p "127.0.0.1:$(free_port):80/tcp"
}

case_sockets_are_passed_with_slirp4netns() {
	need_slirp4netns
	three_sockets_with --net=slirp4netns --mtu=65520 --disable-host-loopback --port-driver=builtin \
		--copy-up=/etc --copy-up=/run
}

case_sockets_are_passed_with_a_detached_namespace() {
	need_slirp4netns
	three_sockets_with --net=slirp4netns --disable-host-loopback --port-driver=builtin --detach-netns \
		--copy-up=/etc --copy-up=/run
}

# LISTEN_PID is then a PID of the new namespace.
case_sockets_are_passed_with_a_PID_namespace() {
	three_sockets_with --net=none --pidns
}

# activated PID FDS COMMAND...: runs a command with LISTEN_PID=PID and LISTEN_FDS=FDS. If PID is "self",
# LISTEN_PID is the command's own PID.
activated() {
	# shellcheck disable=SC2016 # for the inner shell
	sh -c 'LISTEN_PID=$1 LISTEN_FDS=$2
		[ "$1" != self ] || LISTEN_PID=$$
		export LISTEN_PID LISTEN_FDS
		shift 2
		exec "$@"' - "$@"
}

# A script that prints these variables, and what descriptors 3 to 5 are.
# shellcheck disable=SC2016 # for the inner shell
look='echo "$LISTEN_PID $LISTEN_FDS"; for i in 3 4 5; do readlink /proc/$$/fd/$i || echo none; done'

case_descriptors_for_another_process_are_not_passed() {
	exec 3<"$here/lib.sh" 4</dev/null
	assert_eq 'what the command sees with the PID of another process' '1 2
none
none
none' "$(activated 1 2 rootlesskit sh -c "$look")"
	# Descriptors for another process are not checked, so it does not matter that there are fewer than
	# 9.
	assert_eq 'what the command sees with more descriptors than there are' '1 9
none
none
none' "$(activated 1 9 rootlesskit sh -c "$look")"
}

case_only_announced_descriptors_are_passed() {
	exec 3<"$here/lib.sh" 4</dev/null 5</dev/null
	assert_match 'what the command sees of one announced descriptor' "[1-9]* 1
$here/lib.sh
none
none" "$(activated self 1 rootlesskit sh -c "$look")"
	assert_match 'what the command sees with LISTEN_FDS=0' '[1-9]* 0
none
none
none' "$(activated self 0 rootlesskit sh -c "$look")"
	assert_match 'what the command sees with LISTEN_FDS=x' '[1-9]* x
none
none
none' "$(activated self x rootlesskit sh -c "$look")"
}

case_missing_descriptors_are_an_error() {
	exec 3</dev/null 4<&- 5<&-
	for fds in 2 257 99999999999 -1; do
		rc=0
		activated self "$fds" rootlesskit --state-dir="$tmp/state" true 2>"$tmp/err" || rc=$?
		assert_eq "status of $fds" 1 "$rc"
		assert_match "error of $fds" "\[rootlesskit:parent] error: LISTEN_FDS=$fds*" "$(cat "$tmp/err")"
	done
	[ ! -e "$tmp/state" ] || fail 'the state directory is left'
}

# Prints how its variables fit this process. The inode numbers of pidfds are unique since Linux 6.9.
cat_variables='import os
def pidfd_id():
    st = os.fstat(os.pidfd_open(os.getpid()))
    release = [int("".join(c for c in part if c.isdigit()) or 0) for part in os.uname().release.split(".")[:2]]
    return str(st.st_ino) if release >= [6, 9] else None
print("mine" if os.environ["LISTEN_PID"] == str(os.getpid()) else "other", os.environ["LISTEN_FDS"],
      os.environ.get("LISTEN_FDNAMES"), "mine" if os.environ.get("LISTEN_PIDFDID") == pidfd_id() else "other")'

case_LISTEN_PID_and_LISTEN_PIDFDID_are_the_commands() {
	exec 3</dev/null
	for pidns in '' --pidns; do
		# shellcheck disable=SC2086 # options
		assert_eq "output $pidns" 'mine 1 a mine' "$(LISTEN_FDNAMES=a LISTEN_PIDFDID=1234 activated self 1 \
			rootlesskit $pidns python3 -c "$cat_variables")"
	done
	# Services of an older systemd have no LISTEN_PIDFDID.
	# shellcheck disable=SC2016 # for the inner shell
	assert_eq 'not given' 'mine unset' "$(activated self 1 rootlesskit \
		sh -c 'echo $([ $LISTEN_PID = $$ ] && echo mine) ${LISTEN_PIDFDID-unset}')"
	# If the sockets are for another process, the variables stay as they are.
	# shellcheck disable=SC2016 # for the inner shell
	assert_eq 'variables for another process' '1 1234' "$(LISTEN_PIDFDID=1234 activated 1 1 rootlesskit \
		sh -c 'echo $LISTEN_PID $LISTEN_PIDFDID')"
}

case_helper_programs_inherit_no_socket() {
	need_slirp4netns
	exec 3<"$here/lib.sh"
	printf '#!/bin/sh\nreadlink /proc/$$/fd/* | grep lib.sh >%s\nexec slirp4netns "$@"\n' "$tmp/seen" >"$tmp/slirp"
	chmod +x "$tmp/slirp"
	activated self 1 rootlesskit --net=slirp4netns --disable-host-loopback \
		--slirp4netns-binary="$tmp/slirp" true
	assert_eq 'what slirp4netns inherits' '' "$(cat "$tmp/seen")"
}

# ---- sd_notify ----

# listen_notify ADDRESS: plays the service manager. Sets NOTIFY_SOCKET, and writes all messages that
# arrive to $tmp/notified. "@" marks an abstract address.
listen_notify() {
	python3 - "$1" "$tmp/notified" <<-'EOT' &
		import socket, sys
		s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		s.bind(sys.argv[1].replace('@', '\0', 1))
		with open(sys.argv[2], 'w') as out:
		    out.flush()
		    while True:
		        print(s.recv(4096).decode().strip(), file=out, flush=True)
	EOT
	listener=$!
	wait_until 10 test -e "$tmp/notified"
	NOTIFY_SOCKET=$1
	export NOTIFY_SOCKET
}
end_listen() {
	end_process "$listener"
}

# notifies LAUNCHER_OPTION...: checks that a message of the command arrives
notifies() {
	need systemd-notify
	: >"$tmp/notified"
	rootlesskit "$@" systemd-notify --no-block --ready --status=up
	wait_until 5 grep -q STATUS=up "$tmp/notified"
	grep -q READY=1 "$tmp/notified" || fail "READY=1 has not arrived: $(cat "$tmp/notified")"
}

case_notifications_reach_the_service_manager() {
	listen_notify "$tmp/notify.sock"
	notifies
	notifies --net=none --port-driver=builtin
	end_listen
}

case_MAINPID_is_passed_on_as_the_command_gives_it() {
	need systemd-notify
	listen_notify "$tmp/notify.sock"
	# Newer versions of systemd-notify accept only the PID of an existing process.
	sleep 60 &
	main=$!
	rootlesskit systemd-notify --no-block --pid="$main"
	wait_until 5 grep -q "MAINPID=$main\$" "$tmp/notified"
	end_process "$main"
	end_listen
}

case_notifications_reach_a_socket_in_a_copied_up_directory() {
	mkdir "$tmp/run"
	listen_notify "$tmp/run/notify.sock"
	notifies --copy-up="$tmp/run"
	end_listen
}

case_notifications_work_with_slirp4netns() {
	need_slirp4netns
	listen_notify "$tmp/notify.sock"
	notifies --net=slirp4netns --disable-host-loopback --copy-up=/etc --copy-up=/run
	notifies --net=slirp4netns --disable-host-loopback --detach-netns
	end_listen
}

# An abstract address belongs to a network namespace.
case_an_abstract_notify_address_works_only_in_the_hosts_network() {
	listen_notify "@rlkbox-test-$$-$(basename "$tmp")"
	notifies
	need systemd-notify
	: >"$tmp/notified"
	rc=0
	rootlesskit --net=none systemd-notify --no-block --ready 2>"$tmp/err" || rc=$?
	[ "$rc" -ne 0 ] || fail 'systemd-notify has reached an abstract address of another network namespace'
	assert_match error '*onnection refused*' "$(cat "$tmp/err")"
	assert_eq messages '' "$(cat "$tmp/notified")"
	end_listen
}

case_an_abstract_notify_address_works_with_a_detached_namespace() {
	need_slirp4netns
	listen_notify "@rlkbox-test-$$-$(basename "$tmp")"
	notifies --net=slirp4netns --disable-host-loopback --detach-netns
	end_listen
}

run_cases \
	a_UNIX_socket_is_passed_to_the_command \
	a_named_TCP_socket_is_passed_to_the_command \
	three_sockets_keep_their_order_and_names \
	sockets_are_passed_with_the_builtin_port_driver \
	sockets_are_passed_with_slirp4netns \
	sockets_are_passed_with_a_detached_namespace \
	sockets_are_passed_with_a_PID_namespace \
	descriptors_for_another_process_are_not_passed \
	only_announced_descriptors_are_passed \
	missing_descriptors_are_an_error \
	LISTEN_PID_and_LISTEN_PIDFDID_are_the_commands \
	helper_programs_inherit_no_socket \
	notifications_reach_the_service_manager \
	MAINPID_is_passed_on_as_the_command_gives_it \
	notifications_reach_a_socket_in_a_copied_up_directory \
	notifications_work_with_slirp4netns \
	an_abstract_notify_address_works_only_in_the_hosts_network \
	an_abstract_notify_address_works_with_a_detached_namespace
