#!/bin/sh
# Socket activation, with systemd's own activator, and sd_notify(3), which passes through.
. "$(dirname "$0")/lib.sh"

# ---- a service and its clients ----

# A service as sd_listen_fds(3) has it: takes the descriptors if they are meant for it, and serves one
# client on each, in their order. What it found is in $tmp/service.
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

# activate OPTION... -- LAUNCHER_OPTION...: systemd-socket-activate with a launcher of the service, which
# starts with the first client. It gives its program few variables.
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

# call ADDRESS...: connects to each, and prints what it hears
call() {
	python3 - "$@" <<-'EOT'
		import socket, sys, time
		for address in sys.argv[1:]:
		    deadline = time.time() + 20
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
		            if time.time() > deadline:
		                raise
		            s.close()
		            time.sleep(0.02)
		    print(b''.join(iter(lambda: s.recv(100), b'')).decode(), end='')
	EOT
}

# served FOUND: the service has served all, and ended. FOUND is what it found.
served() {
	finish
	assert_eq status 0 "$rc"
	assert_eq 'what the service found' "$1" "$(cat "$tmp/service")"
}

# ---- descriptors ----

case_one_UNIX_socket() {
	need systemd-socket-activate
	activate -l "$tmp/a.sock" --
	assert_eq answer 'descriptor 3: AF_UNIX' "$(call "$tmp/a.sock")"
	served "fds 1 names None other []"
}

case_one_TCP_socket() {
	need systemd-socket-activate
	port=$(free_port)
	activate -l "127.0.0.1:$port" --fdname=web --
	assert_eq answer 'descriptor 3: AF_INET' "$(call "127.0.0.1:$port")"
	served "fds 1 names web other []"
}

case_three_sockets_with_names() {
	need systemd-socket-activate
	need_ipv6
	port=$(free_port)
	activate -l "$tmp/a.sock" -l "127.0.0.1:$port" -l "[::1]:$port" --fdname=first:second:third --
	assert_eq answers 'descriptor 3: AF_UNIX
descriptor 4: AF_INET
descriptor 5: AF_INET6' "$(call "$tmp/a.sock" "127.0.0.1:$port" "::1:$port")"
	served "fds 3 names first:second:third other []"
}

# Sockets belong to the network namespace that they were made in: the host's, wherever they are used.
three_sockets_with() {
	need systemd-socket-activate
	port=$(free_port)
	activate -l "127.0.0.1:$port" -l "$tmp/b.sock" -l "$tmp/c.sock" --fdname=a:b:c -- "$@"
	assert_eq answers 'descriptor 3: AF_INET
descriptor 4: AF_UNIX
descriptor 5: AF_UNIX' "$(call "127.0.0.1:$port" "$tmp/b.sock" "$tmp/c.sock")"
	served "fds 3 names a:b:c other []"
}

case_together_with_the_builtin_port_driver() {
	three_sockets_with --net=none --port-driver=builtin -p "127.0.0.1:$(free_port):80/tcp"
}

case_together_with_slirp4netns() {
	need_tun
	three_sockets_with --net=slirp4netns --mtu=65520 --disable-host-loopback --port-driver=builtin \
		--copy-up=/etc --copy-up=/run
}

case_together_with_a_detached_namespace() {
	need_tun
	three_sockets_with --net=slirp4netns --disable-host-loopback --port-driver=builtin --detach-netns \
		--copy-up=/etc --copy-up=/run
}

# The PID in LISTEN_PID is then one of that namespace.
case_together_with_a_PID_namespace() {
	three_sockets_with --net=none --pidns
}

# activated PID FDS COMMAND...: runs a command in a shell as if it had been activated; "self" for the
# PID is its own.
activated() {
	# shellcheck disable=SC2016 # for the inner shell
	sh -c 'LISTEN_PID=$1 LISTEN_FDS=$2
		[ "$1" != self ] || LISTEN_PID=$$
		export LISTEN_PID LISTEN_FDS
		shift 2
		exec "$@"' - "$@"
}

# What a command can see of it.
# shellcheck disable=SC2016 # for the inner shell
look='echo "$LISTEN_PID $LISTEN_FDS"; for i in 3 4 5; do readlink /proc/$$/fd/$i || echo none; done'

case_descriptors_for_another_process_are_not_passed() {
	exec 3<"$here/lib.sh" 4</dev/null
	assert_eq 'another PID' '1 2
none
none
none' "$(activated 1 2 rootlesskit sh -c "$look")"
	# More of them than there are: nobody looks.
	assert_eq 'bogus descriptors' '1 9
none
none
none' "$(activated 1 9 rootlesskit sh -c "$look")"
}

case_no_more_descriptors_than_are_announced() {
	exec 3<"$here/lib.sh" 4</dev/null 5</dev/null
	assert_match 'one of three' "[1-9]* 1
$here/lib.sh
none
none" "$(activated self 1 rootlesskit sh -c "$look")"
	assert_match none '[1-9]* 0
none
none
none' "$(activated self 0 rootlesskit sh -c "$look")"
	assert_match 'no number' '[1-9]* x
none
none
none' "$(activated self x rootlesskit sh -c "$look")"
}

case_descriptors_that_are_not_there_are_an_error() {
	exec 3</dev/null 4<&- 5<&-
	for fds in 2 257 99999999999 -1; do
		rc=0
		activated self "$fds" rootlesskit --state-dir="$tmp/state" true 2>"$tmp/err" || rc=$?
		assert_eq "status of $fds" 1 "$rc"
		assert_match "error of $fds" "\[rootlesskit:parent] error: LISTEN_FDS=$fds*" "$(cat "$tmp/err")"
	done
	[ ! -e "$tmp/state" ] || fail 'the state directory is there'
}

case_the_PID_is_the_commands_own_and_no_older_ID_of_it_is_left() {
	exec 3</dev/null
	# shellcheck disable=SC2016 # for the inner shell
	assert_eq output 'mine 1 a unset' "$(LISTEN_FDNAMES=a LISTEN_PIDFDID=1234 activated self 1 rootlesskit \
		sh -c 'echo $([ $LISTEN_PID = $$ ] && echo mine) $LISTEN_FDS $LISTEN_FDNAMES ${LISTEN_PIDFDID-unset}')"
	# Where nothing is passed on nothing is changed.
	# shellcheck disable=SC2016 # for the inner shell
	assert_eq 'for another' '1 1234' "$(LISTEN_PIDFDID=1234 activated 1 1 rootlesskit \
		sh -c 'echo $LISTEN_PID $LISTEN_PIDFDID')"
}

case_helper_programs_get_none_of_it() {
	need_tun
	exec 3<"$here/lib.sh"
	printf '#!/bin/sh\nreadlink /proc/$$/fd/* | grep lib.sh >%s\nexec slirp4netns "$@"\n' "$tmp/seen" >"$tmp/slirp"
	chmod +x "$tmp/slirp"
	activated self 1 rootlesskit --net=slirp4netns --disable-host-loopback \
		--slirp4netns-binary="$tmp/slirp" true
	assert_eq 'what slirp4netns inherits' '' "$(cat "$tmp/seen")"
}

# ---- sd_notify ----

# listen_notify ADDRESS: notes all messages in $tmp/notified; @ begins an abstract address
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

# notifies LAUNCHER_OPTION...: the command's words arrive
notifies() {
	need systemd-notify
	: >"$tmp/notified"
	rootlesskit "$@" systemd-notify --no-block --ready --status=up
	wait_until 5 grep -q STATUS=up "$tmp/notified"
	grep -q READY=1 "$tmp/notified" || fail "not ready: $(cat "$tmp/notified")"
}

case_notifications_pass_through() {
	listen_notify "$tmp/notify.sock"
	notifies
	notifies --net=none --port-driver=builtin
	end_listen
}

case_the_main_PID_is_told_as_the_command_says() {
	need systemd-notify
	listen_notify "$tmp/notify.sock"
	# Newer ones ask for a process that exists.
	sleep 60 &
	main=$!
	rootlesskit systemd-notify --no-block --pid="$main"
	wait_until 5 grep -q "MAINPID=$main\$" "$tmp/notified"
	kill "$main"
	end_listen
}

case_notifications_from_a_directory_that_is_copied_up() {
	mkdir "$tmp/run"
	listen_notify "$tmp/run/notify.sock"
	notifies --copy-up="$tmp/run"
	end_listen
}

case_notifications_with_slirp4netns() {
	need_tun
	listen_notify "$tmp/notify.sock"
	notifies --net=slirp4netns --disable-host-loopback --copy-up=/etc --copy-up=/run
	notifies --net=slirp4netns --disable-host-loopback --detach-netns
	end_listen
}

# Abstract addresses are the network namespace's.
case_notifications_to_an_abstract_address() {
	listen_notify "@rlkbox-test-$$-$(basename "$tmp")"
	notifies
	need systemd-notify
	: >"$tmp/notified"
	rc=0
	rootlesskit --net=none systemd-notify --no-block --ready 2>"$tmp/err" || rc=$?
	[ "$rc" -ne 0 ] || fail 'it arrived in another network namespace'
	assert_match error '*onnection refused*' "$(cat "$tmp/err")"
	assert_eq messages '' "$(cat "$tmp/notified")"
	end_listen
}

case_notifications_to_an_abstract_address_from_a_detached_namespace() {
	need_tun
	listen_notify "@rlkbox-test-$$-$(basename "$tmp")"
	notifies --net=slirp4netns --disable-host-loopback --detach-netns
	end_listen
}

run_cases \
	one_UNIX_socket \
	one_TCP_socket \
	three_sockets_with_names \
	together_with_the_builtin_port_driver \
	together_with_slirp4netns \
	together_with_a_detached_namespace \
	together_with_a_PID_namespace \
	descriptors_for_another_process_are_not_passed \
	no_more_descriptors_than_are_announced \
	descriptors_that_are_not_there_are_an_error \
	the_PID_is_the_commands_own_and_no_older_ID_of_it_is_left \
	helper_programs_get_none_of_it \
	notifications_pass_through \
	the_main_PID_is_told_as_the_command_says \
	notifications_from_a_directory_that_is_copied_up \
	notifications_with_slirp4netns \
	notifications_to_an_abstract_address \
	notifications_to_an_abstract_address_from_a_detached_namespace
