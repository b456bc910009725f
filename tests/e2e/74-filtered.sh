#!/bin/sh
# Published ports on kernels, or under seccomp profiles, without some system calls or without IPv6.
# tests/tools/without.c and refuse.c make system calls fail.
. "$(dirname "$0")/lib.sh"

without=$BUILD/tools/without
stream=$BUILD/tools/stream
tool=$without address=127.0.0.1

# check_ports CALL=ERRNO...: TCP streams and batches of datagrams get through ports of a launcher that $tool
# starts so that the calls fail. $address is the parent IP of the ports.
check_ports() {
	tcp=$(free_port) udp=$(free_port)
	cat >"$tmp/servers.sh" <<-'EOF'
		"$1" serve 80 &
		stream=$!
		python3 "$2" --ready udp-is-open 127.0.0.1:53/udp &
		trap 'kill $stream $!' TERM
		wait
	EOF
	"$tool" "$@" -- true || skip seccomp "a filter cannot be set"
	state=$tmp/state
	env --default-signal=INT,QUIT "$tool" "$@" -- rootlesskit --state-dir="$state" \
		--subid-source=self --net=none --port-driver=builtin -p "$address:$tcp:80/tcp" \
		-p "$address:$udp:53/udp" sh "$tmp/servers.sh" "$stream" "$tools/echo.py" \
		>"$tmp/bg.out" 2>"$tmp/bg.err" </dev/null &
	pid=$!
	wait_ready
	wait_until 10 test -e "$tmp/udp-is-open"
	rm "$tmp/udp-is-open"
	wait_until 10 timeout 10 "$stream" send 127.0.0.1 "$tcp" bulk 1 1 1
	timeout 60 "$stream" send 127.0.0.1 "$tcp" bulk 4 8192 1
	timeout 60 "$stream" send 127.0.0.1 "$tcp" small 4 64 2
	python3 - "$udp" <<-'EOF'
		import sys, udp
		s = udp.client(sys.argv[1])
		for turn in range(20):
		    sent = {f"datagram {turn} {i}".encode() for i in range(20)}
		    for data in sent:
		        s.send(data)
		    got = {s.recv(65536) for _ in sent}
		    assert got == sent, got
	EOF
	rootlessctl --socket="$state/api.sock" list-ports >/dev/null
	stop
}

case_ports_work_without_splice() {
	for errno in ENOSYS EPERM EINVAL; do
		check_ports splice=$errno
	done
}

case_ports_work_without_recvmmsg_and_sendmmsg() {
	for errno in ENOSYS EPERM; do
		check_ports recvmmsg=$errno sendmmsg=$errno
	done
}

case_ports_work_without_accept4() {
	for errno in ENOSYS EPERM; do
		check_ports accept4=$errno
	done
}

case_ports_work_without_newer_calls() {
	for errno in ENOSYS EPERM; do
		check_ports pidfd_open=$errno close_range=$errno getrandom=$errno \
			timerfd_create=$errno
	done
	# With another error the C library does not try the older call.
	check_ports clone3=ENOSYS statx=ENOSYS
}

# A port without a parent IP is published on all IPv4 addresses then.
case_ports_work_without_ipv6() {
	tool=$BUILD/tools/refuse address=
	check_ports socket_inet6=97 # EAFNOSUPPORT
	rc=0
	"$tool" socket_inet6=97 -- rootlesskit --subid-source=self --net=none --port-driver=builtin \
		-p "[::1]:$tcp:80/tcp" true 2>"$tmp/err" || rc=$?
	assert_eq status 1 "$rc"
	assert_match error '*::1*address family not supported by protocol*' "$(cat "$tmp/err")"
}

case_a_forbidden_call_that_is_needed_is_named() {
	rc=0
	# With ENOSYS, musl would use the older signalfd(2).
	"$without" signalfd4=EPERM -- rootlesskit --subid-source=self true 2>"$tmp/err" || rc=$?
	assert_eq status 1 "$rc"
	assert_match error '*taking over signals: operation not permitted*' "$(cat "$tmp/err")"
}

run_cases \
	ports_work_without_splice \
	ports_work_without_recvmmsg_and_sendmmsg \
	ports_work_without_accept4 \
	ports_work_without_newer_calls \
	ports_work_without_ipv6 \
	a_forbidden_call_that_is_needed_is_named
