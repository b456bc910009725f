#!/bin/sh
# Source IP: which client address a server inside sees (--source-ip-transparent). Also: ports on a second
# address of the host, and ports that lead back to themselves.
#
# Clients must not be on loopback for this. So each case makes a host: a user namespace with two network
# namespaces, one for the launcher and one for clients, connected by a veth pair:
#
#     client 192.0.2.7, fd00:1::7 ── veth ── host 192.0.2.1, fd00:1::1 ── launcher ── inside
#
# Functions `host_NAME` run on such a host.
. "$(dirname "$0")/lib.sh"

HOST4=192.0.2.1 CLIENT4=192.0.2.7
HOST6=fd00:1::1 CLIENT6=fd00:1::7
CONTAINER=172.18.0.2 CONTAINER6=fd00:2::2

# on_host FUNCTION ARGUMENT...: makes a host and runs a function of this file there
on_host() {
	unshare -Urnm --kill-child --fork sh "$0" --on-host "$tmp" "$@" || fail 'a command on the host failed, see above'
}

in_netns_of() {
	[ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]
}

# Makes a network namespace. It lives until the process `netns` ends.
new_netns() {
	unshare -n sleep 1000 &
	netns=$!
	wait_until 5 in_netns_of "$netns"
	nsenter -n -t "$netns" ip link set lo up
}

set_up_host() {
	ip link set lo up
	new_netns
	client=$netns
	ip link add host type veth peer name client netns "$client"
	ip addr add "$HOST4/24" dev host
	ip link set host up
	at_client ip addr add "$CLIENT4/24" dev client
	at_client ip link set client up
	[ ! -e /proc/net/if_inet6 ] || {
		ip addr add "$HOST6/64" dev host nodad
		at_client ip addr add "$CLIENT6/64" dev client nodad
	}
}

# at_client COMMAND...: runs a command in the clients' network namespace, or on the host if $client is `host`
at_client() {
	if [ "$client" = host ]; then
		"$@"
		return
	fi
	nsenter -n -t "$client" "$@"
}

# Writes a server, $tmp/server.py PORT. Its clients send a line with what it does:
#   who    sends the peer's address and port, and its own address
#   echo   sends everything back; after the end of the stream, the peer's address
#   reset  resets the connection
#   wait   sends a byte and waits; stores in $tmp/ended how the connection ended
write_server() {
	cat >"$tmp/server.py" <<-'EOF'
		import socket, sys, threading
		import tcp
		from waiting import make_file
		port = int(sys.argv[1])
		def plain(address):
		    return address.removeprefix("::ffff:")
		def serve(c):
		    line = b""
		    while not line.endswith(b"\n"):
		        line += c.recv(1)
		    peer, own = c.getpeername(), c.getsockname()
		    if line == b"who\n":
		        c.sendall(("%s %d %s\n" % (plain(peer[0]), peer[1], plain(own[0]))).encode())
		    elif line == b"echo\n":
		        while data := c.recv(65536):
		            c.sendall(data)
		        c.sendall(peer[0].encode())
		    elif line == b"reset\n":
		        tcp.reset(c)
		    elif line == b"wait\n":
		        c.sendall(b".")
		        try:
		            how = "end" if c.recv(1) == b"" else "data"
		        except ConnectionResetError:
		            how = "reset"
		        make_file("ended", plain(peer[0]) + " " + how)
		    c.close()
		s = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=500)
		make_file("up")
		while True:
		    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
	EOF
}

# client ARGUMENT...: runs a Python script from standard input in the clients' network. It has the modules
# socket, sys, time and tcp, and may call
#   dial(host, port, source)   connects
#   who(s)                     what the server answers to `who`: [address, port, its own address]
#   me(s)                      the client's own [address, port]
client() {
	cat >"$tmp/client.py" <<-'EOF'
		import socket, sys, time
		import tcp
		def dial(host, port, source=None):
		    return tcp.connect(port, host, source, timeout=20)
		def who(s):
		    s.sendall(b"who\n")
		    return tcp.read_all(s).decode().split()
		def me(s):
		    return [s.getsockname()[0], str(s.getsockname()[1])]
	EOF
	cat >>"$tmp/client.py"
	at_client python3 "$tmp/client.py" "$@"
}

# seen HOST PORT [SOURCE]: connects from SOURCE, and prints the client's address as the server sees it, and
# "own port" if it sees the client's port as well
seen() {
	client "$@" <<-'EOF'
		source = (sys.argv[3], 0) if len(sys.argv) > 3 else None
		s = dial(sys.argv[1], sys.argv[2], source)
		peer, port, own = who(s)
		print(peer, "own port" if port == me(s)[1] else "other port")
	EOF
}

# serve OPTION...: starts a launcher with the server on port 80 inside
serve() {
	rm -f "$tmp/up"
	write_server
	start --debug --subid-source=self --port-driver=builtin "$@" python3 "$tmp/server.py" 80
	wait_until 20 test -e "$tmp/up"
}

add() {
	rootlessctl --socket "$state/api.sock" add-ports "$@" >/dev/null
}

has_logged() {
	grep -q -- "$1" "$tmp/bg.err"
}

# Fails if an attempt to connect with a client's address has waited for an answer in vain.
nothing_timed_out() {
	! has_logged 'address: connection timed out' || fail "$(cat "$tmp/bg.err")"
}

own() {
	echo "$1 own port"
}

# ---- cases ----

case_the_server_sees_the_address_and_port_of_a_client() {
	need_ipv6
	on_host host_plain
}
host_plain() {
	serve --net=none -p '0.0.0.0:8080:80/tcp' -p '[::]:8081:80/tcp6' -p '0.0.0.0:8082:127.0.0.2:80/tcp'
	assert_eq IPv4 "$(own $CLIENT4)" "$(seen $HOST4 8080)"
	assert_eq IPv6 "$(own $CLIENT6)" "$(seen $HOST6 8081)"
	assert_eq 'another address inside' "$(own $CLIENT4)" "$(seen $HOST4 8082)"
	assert_eq 'IPv6 to an IPv4 target' '127.0.0.1 other port' "$(seen $HOST6 8080)"
	client=host
	assert_eq 'a client on loopback' '127.0.0.1 other port' "$(seen 127.0.0.1 8080)"
	assert_eq 'a client on loopback, IPv6' '::1 other port' "$(seen ::1 8081)"
	assert_eq 'the host itself' "$(own $HOST4)" "$(seen $HOST4 8080)"
	nothing_timed_out
	# Without NAT inside, the launcher needs no connection tracking.
	assert_eq rules '' "$(inside nft list ruleset)"
	stop
}

case_the_server_in_a_detached_namespace_sees_clients() {
	on_host host_detached
}
host_detached() {
	write_server
	# shellcheck disable=SC2016 # for the inner shell
	start --debug --subid-source=self --net=none --port-driver=builtin --detach-netns -p 0.0.0.0:8080:80/tcp \
		sh -c 'exec nsenter --net=$ROOTLESSKIT_STATE_DIR/netns python3 "$@"' - "$tmp/server.py" 80
	wait_until 20 test -e "$tmp/up"
	assert_eq IPv4 "$(own $CLIENT4)" "$(seen $HOST4 8080)"
	# The host's network is not changed.
	assert_eq 'rules of the host' '' "$(ip rule show table 100)"
	stop
}

case_the_server_sees_clients_beside_slirp4netns() {
	need_slirp4netns
	on_host host_slirp
}
host_slirp() {
	serve --net=slirp4netns --disable-host-loopback --copy-up=/etc -p '0.0.0.0:8080:80/tcp' \
		-p '0.0.0.0:8081:10.0.2.100:80/tcp'
	assert_eq 'to loopback' "$(own $CLIENT4)" "$(seen $HOST4 8080)"
	assert_eq 'to the address of the tap' "$(own $CLIENT4)" "$(seen $HOST4 8081)"
	# A client may have an address of the network inside, or even the address of the tap inside.
	for address in 10.0.2.7 10.0.2.100; do
		ip addr add 10.0.2.1/24 dev host 2>/dev/null || true
		at_client ip addr add "$address/24" dev client
		assert_eq "from $address" "$(own $address)" "$(seen 10.0.2.1 8080 $address)"
		assert_eq "from $address to the tap" "$(own $address)" "$(seen 10.0.2.1 8081 $address)"
	done
	nothing_timed_out
	stop
}

# Prints the options of ip(8) for the address families of this host.
families() {
	echo -4
	[ ! -e /proc/net/if_inet6 ] || echo -6
}

case_a_VPN_inside_does_not_hide_clients() {
	on_host host_vpn
}
host_vpn() {
	serve --net=none -p '0.0.0.0:8080:80/tcp' -p '[::]:8081:80/tcp6'
	# Like wg-quick, it takes all packets without its own mark.
	inside ip link add vpn type veth peer name far
	inside ip addr add 10.9.0.2/24 dev vpn
	inside ip link set far up
	inside ip link set vpn up
	for family in $(families); do
		inside ip "$family" route add default dev vpn table 51820
		inside ip "$family" rule add priority 1000 not fwmark 0xca6c table 51820
	done
	assert_eq IPv4 "$(own $CLIENT4)" "$(seen $HOST4 8080)"
	[ ! -e /proc/net/if_inet6 ] || assert_eq IPv6 "$(own $CLIENT6)" "$(seen $HOST6 8081)"
	nothing_timed_out
	for family in $(families); do
		assert_match "rule of $family" '100:*from all fwmark 0x64 lookup 100*' \
			"$(inside ip "$family" rule show priority 100)"
	done
	stop
}

case_source_ip_transparent_can_be_switched_off() {
	on_host host_off
}
host_off() {
	serve --net=none --source-ip-transparent=false -p 0.0.0.0:8080:80/tcp
	assert_eq peer '127.0.0.1 other port' "$(seen $HOST4 8080)"
	assert_eq 'rules inside' '' "$(inside ip rule show table 100)"
	stop
}

case_udp_servers_see_an_address_inside() {
	on_host host_udp
}
host_udp() {
	# shellcheck disable=SC2016 # for the inner shell
	start --subid-source=self --net=none --port-driver=builtin -p 0.0.0.0:8053:53/udp \
		socat UDP4-RECVFROM:53,bind=127.0.0.1,fork 'SYSTEM:cat >/dev/null; echo $SOCAT_PEERADDR'
	client $HOST4 <<-'EOF'
		import udp
		from waiting import wait_until
		s = udp.client(8053, sys.argv[1], timeout=1)
		def ask():
		    try:
		        return udp.ask(s)
		    except TimeoutError: # the server does not listen yet
		        return b""
		peer = wait_until(ask, "no answer")
		assert peer == b"127.0.0.1\n", peer
	EOF
	stop
}

case_the_server_sees_many_clients_at_once() {
	on_host host_many
}
host_many() {
	serve --net=none -p 0.0.0.0:8080:80/tcp -p 0.0.0.0:8081:127.0.0.2:80/tcp
	client $HOST4 <<-'EOF'
		# Each client port has a connection to both published ports.
		socks = [dial(sys.argv[1], 8080) for _ in range(200)]
		socks += [dial(sys.argv[1], 8081, s.getsockname()) for s in socks]
		for s in socks:
		    assert who(s)[:2] == me(s)
		# The client ports that were just closed are used again.
		names = [s.getsockname() for s in socks[:20]]
		for s in socks:
		    s.close()
		for name in names:
		    try:
		        s = dial(sys.argv[1], 8080, name)
		    except OSError:  # the old connection still closes on this side
		        continue
		    # Where it still closes inside, the server sees 127.0.0.1.
		    assert who(s)[0] in ("127.0.0.1", name[0])
	EOF
	# Of connections one after the other, most need no request to the child.
	before=$(grep -c 'the child is asked' "$tmp/bg.err")
	for port in 8080 8081; do
		client $HOST4 $port <<-'EOF'
			for _ in range(200):
			    s = dial(sys.argv[1], sys.argv[2])
			    assert who(s)[:2] == me(s)
		EOF
	done
	asked=$(($(grep -c 'the child is asked' "$tmp/bg.err") - before))
	[ "$asked" -lt 100 ] || fail "the child was asked $asked times"
	nothing_timed_out
	stop
}

case_bytes_half_closes_and_resets_are_passed_on() {
	on_host host_bytes
}
host_bytes() {
	serve --net=none -p 0.0.0.0:8080:80/tcp
	client $HOST4 <<-'EOF'
		import hashlib, os, threading
		data = os.urandom(1 << 20) * 64
		s = dial(sys.argv[1], 8080)
		def send():
		    s.sendall(b"echo\n")
		    s.sendall(data)
		    s.shutdown(socket.SHUT_WR)
		t = threading.Thread(target=send)
		t.start()
		back = tcp.read_all(s)
		t.join()
		# The server sends its last bytes after our half-close.
		assert back[len(data):].endswith(s.getsockname()[0].encode()), back[len(data):]
		assert hashlib.sha256(back[:len(data)]).digest() == hashlib.sha256(data).digest()
		s = dial(sys.argv[1], 8080)
		s.sendall(b"reset\n")
		tcp.expect_reset(s)
		s = dial(sys.argv[1], 8080)
		s.sendall(b"wait\n")
		assert s.recv(1) == b"."
		tcp.reset(s)
	EOF
	wait_until 10 test -s "$tmp/ended"
	assert_eq 'end that the server saw' "$CLIENT4 reset" "$(cat "$tmp/ended")"
	stop
}

case_a_client_is_reset_if_nobody_listens() {
	on_host host_nobody
}
host_nobody() {
	serve --net=none -p 0.0.0.0:8080:81/tcp -p '[::]:8081:81/tcp6'
	for host in $HOST4:8080 ${CLIENT6:+$HOST6:8081}; do
		client "${host%:*}" "${host##*:}" <<-'EOF'
			tcp.expect_reset(dial(sys.argv[1], sys.argv[2]))
		EOF
	done
	# Refusals come back to the client's address, too, so no attempt waits.
	has_logged 'not from the client.s address: connection refused' || fail "$(cat "$tmp/bg.err")"
	nothing_timed_out
	stop
}

case_a_warning_tells_why_clients_cannot_be_seen() {
	on_host host_no_sysctl
}
host_no_sysctl() {
	# Containers have a read-only /proc/sys.
	mount --bind /proc/sys /proc/sys
	mount -o remount,ro,bind /proc/sys
	serve --net=none -p 0.0.0.0:8080:80/tcp
	assert_eq peer '127.0.0.1 other port' "$(seen $HOST4 8080)"
	assert_eq peer '127.0.0.1 other port' "$(seen $HOST4 8080)"
	assert_eq warnings 1 "$(grep -c 'level=warning.*source-ip-transparent.*read-only file system' "$tmp/bg.err")"
	assert_match info '*"extra":{"sourceIPTransparentBackend":"none"}*' "$(api_get info)"
	stop
}

case_clients_get_through_if_IPv6_is_disabled_inside() {
	need_ipv6
	on_host host_no_ipv6
}
host_no_ipv6() {
	serve --net=none -p '[::]:8080:127.0.0.1:80/tcp'
	inside sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6'
	assert_eq IPv4 "$(own $CLIENT4)" "$(seen $HOST4 8080)"
	assert_eq IPv6 '127.0.0.1 other port' "$(seen $HOST6 8080)"
	stop
}

# ---- ports on a second address ----

SECOND4=192.0.2.3 SECOND6=fd00:1::3

add_second_address() {
	ip addr add "$SECOND4/24" dev host
	[ ! -e /proc/net/if_inet6 ] || ip addr add "$SECOND6/64" dev host nodad
}

# Prints the number of the launcher's descriptors.
count_fds() {
	find "/proc/$pid/fd" -mindepth 1 | wc -l
}

count_workers() {
	echo $(($(find "/proc/$pid/task" -mindepth 1 -maxdepth 1 | wc -l) - 1)) # one is the main thread
}

# answer HOST PORT: prints the server's own address as `who` tells it, or the error that a TCP client gets,
# and whether it takes more than two seconds
answer() {
	client "$@" <<-'EOF'
		s = dial(sys.argv[1], sys.argv[2])
		began = time.monotonic()
		try:
		    print(who(s)[2])
		except OSError as e:
		    print(type(e).__name__, "late" if time.monotonic() - began > 2 else "in time")
	EOF
}

# udp_answer HOST PORT: prints the answer of a UDP echo server
udp_answer() {
	client "$@" <<-'EOF'
		import udp
		print(udp.ask(udp.client(sys.argv[2], sys.argv[1]), b"hello").decode())
	EOF
}

# serve_udp PORT: starts a UDP echo server inside. Sets `echo` to its PID.
serve_udp() {
	nsenter --preserve-credentials -U -m -n -t "$child" \
		socat "UDP6-RECVFROM:$1,ipv6only=0,fork" EXEC:cat &
	echo=$!
	wait_until 5 inside grep -qi ":$(printf %04x "$1") 0" /proc/net/udp6
}

case_a_port_on_a_second_address_reaches_the_server() {
	need_slirp4netns
	on_host host_second --net=slirp4netns --disable-host-loopback --copy-up=/etc --ipv6
	on_host host_second --net=slirp4netns --disable-host-loopback --source-ip-transparent=false
	on_host host_second --net=none
}
host_second() {
	add_second_address
	serve "$@" -p "$SECOND4:80:80/tcp" -p "[$SECOND6]:80:80/tcp6" \
		-p "$SECOND4:53:53/udp" -p "[$SECOND6]:53:53/udp6" \
		-p "$SECOND4:81:81/tcp" -p "$SECOND4:54:54/udp"
	serve_udp 53
	before=$(count_fds)
	assert_eq "TCP, $*" 127.0.0.1 "$(answer $SECOND4 80)"
	assert_eq "UDP, $*" hello "$(udp_answer $SECOND4 53)"
	if [ -e /proc/net/if_inet6 ]; then
		assert_eq "TCP of IPv6, $*" ::1 "$(answer $SECOND6 80)"
		assert_eq "UDP of IPv6, $*" hello "$(udp_answer $SECOND6 53)"
	fi
	# Nobody listens on these ports. This waits for two seconds to see that no answer comes.
	assert_eq "nobody, $*" 'ConnectionResetError in time' "$(answer $SECOND4 81)"
	client $SECOND4 54 <<-'EOF'
		import udp
		s = udp.client(sys.argv[2], sys.argv[1], timeout=2)
		try:
		    raise SystemExit(f"an answer: {udp.ask(s)}")
		except OSError:  # TimeoutError, or an ICMP error
		    pass
	EOF
	used=$(($(count_fds) - before))
	# Each worker keeps a few sockets of the child. A loop takes hundreds.
	[ "$used" -le $((20 + 8 * ($(count_workers) - 1))) ] || fail "$used descriptors more, $*"
	kill "$echo"
	stop
}

case_a_port_on_a_second_address_reaches_a_detached_server() {
	on_host host_second_detached
}
host_second_detached() {
	add_second_address
	write_server
	# shellcheck disable=SC2016 # for the inner shell
	start --subid-source=self --net=none --port-driver=builtin --detach-netns -p "$SECOND4:8080:80/tcp" \
		sh -c 'exec nsenter --net=$ROOTLESSKIT_STATE_DIR/netns python3 "$@"' - "$tmp/server.py" 80
	wait_until 20 test -e "$tmp/up"
	assert_eq 'address on the host only' 127.0.0.1 "$(answer $SECOND4 8080)"
	inside_detached ip addr add "$SECOND4/32" dev lo
	assert_eq 'address inside, too' $SECOND4 "$(answer $SECOND4 8080)"
	stop
}

case_an_address_may_be_added_and_removed_inside() {
	on_host host_comes_and_goes
	on_host host_comes_and_goes --source-ip-transparent=false
}
host_comes_and_goes() {
	add_second_address
	serve --net=none "$@" -p "$SECOND4:8080:80/tcp" -p "[$SECOND6]:8081:80/tcp6"
	for _ in 1 2; do
		assert_eq 'address on the host only' 127.0.0.1 "$(answer $SECOND4 8080)"
		inside ip addr add "$SECOND4/32" dev lo
		assert_eq 'address inside, too' $SECOND4 "$(answer $SECOND4 8080)"
		inside ip addr del "$SECOND4/32" dev lo
		[ -e /proc/net/if_inet6 ] || continue
		assert_eq 'IPv6 address on the host only' ::1 "$(answer $SECOND6 8081)"
		inside ip addr add "$SECOND6/128" dev lo nodad
		assert_eq 'IPv6 address inside, too' $SECOND6 "$(answer $SECOND6 8081)"
		inside ip addr del "$SECOND6/128" dev lo
	done
	stop
}

# ---- loops ----

# Prints the CPU time of the launcher and its children, in clock ticks.
cpu_ticks() {
	for process in $pid $(cat "/proc/$pid/task/$pid/children"); do
		cat "/proc/$process/stat"
	done | awk '{ n += $14 + $15 } END { print n }'
}

# Prints the number of warnings of loops from all launchers.
count_warnings() {
	cat "$tmp"/*.err | grep -c 'level=warning.*this may lead back to the port' || true
}
has_new_warning() {
	[ "$(count_warnings)" -gt "$warned" ]
}

# Stores in $tmp/most the largest number of descriptors that the launcher has until $tmp/client-done exists.
# A short loop may be missed.
watch_fds() {
	most=0
	while [ ! -e "$tmp/client-done" ]; do
		now=$(count_fds)
		[ "$now" -le "$most" ] || most=$now
		sleep 0.02
	done
	echo "$most" >"$tmp/most"
}
# Nothing happens, so this waits for a fixed time: the launcher uses little CPU time.
is_calm() {
	ticks=$(cpu_ticks)
	sleep 1
	[ $(($(cpu_ticks) - ticks)) -le 20 ]
}
# loops HOST PORT: a connection to the port leads back to it. It must end with a reset and a warning, and take
# few descriptors.
loops() {
	warned=$(count_warnings)
	rm -f "$tmp/client-done"
	watch_fds &
	watcher=$!
	assert_eq "answer from $1:$2" ConnectionResetError "$(answer "$@" | cut -d ' ' -f 1)"
	touch "$tmp/client-done"
	await_success "$watcher"
	wait_until 10 has_new_warning
	most=$(cat "$tmp/most")
	[ "$most" -le 1000 ] || fail "$most descriptors instead of $before"
	wait_until 10 few_fds_are_left
}
few_fds_are_left() {
	[ "$(count_fds)" -le $((before + 20)) ]
}

# warned_of_a_loop PORT FILE: the launcher's output in FILE has one warning about the port
warned_of_a_loop() {
	assert_eq "warnings about $1" 1 \
		"$(grep -c "level=warning.*port $1: .*this may lead back to the port" "$2")"
}

case_a_port_that_leads_back_to_itself_is_cut() {
	need_slirp4netns
	on_host host_loop --source-ip-transparent=false
	on_host host_loop
}
host_loop() {
	add_second_address
	serve --net=slirp4netns --disable-host-loopback "$@" -p "$SECOND4:80:80/tcp" \
		-p "$SECOND4:8080:$SECOND4:8080/tcp" -p "$SECOND4:8081:$SECOND4:8081/udp" \
		-p "$SECOND4:8082:$SECOND4:8083/tcp" -p "$SECOND4:8083:$SECOND4:8082/tcp"
	answer $SECOND4 80
	before=$(count_fds)
	loops $SECOND4 8080
	warned_of_a_loop "$SECOND4:8080/tcp" "$tmp/bg.err"
	loops $SECOND4 8082
	assert_eq 'another port' 127.0.0.1 "$(answer $SECOND4 80)"
	# Datagrams do not circulate, either.
	client $SECOND4 8081 <<-'EOF'
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		for _ in range(3):
		    s.sendto(b"hello", (sys.argv[1], int(sys.argv[2])))
	EOF
	wait_until 10 grep -q "port $SECOND4:8081/udp: .*this may lead back" "$tmp/bg.err"
	warned_of_a_loop "$SECOND4:8081/udp" "$tmp/bg.err"
	# A datagram that circulates uses CPU time for ever; ending the flows of the loop, only for a moment.
	wait_until 5 is_calm
	stop
}

case_ports_of_two_launchers_that_lead_to_each_other_are_cut() {
	need_slirp4netns
	on_host host_two_launchers
}
host_two_launchers() {
	add_second_address
	serve --net=slirp4netns --disable-host-loopback -p "$SECOND4:8080:$SECOND4:8081/tcp"
	first=$pid
	rootlesskit --state-dir="$tmp/other" --subid-source=self --net=slirp4netns --disable-host-loopback \
		--port-driver=builtin -p "$SECOND4:8081:$SECOND4:8080/tcp" sleep 60 >"$tmp/other.err" 2>&1 &
	other=$!
	wait_until 20 test -e "$tmp/other/child_pid"
	before=$(count_fds)
	loops $SECOND4 8080
	kill "$other"
	await_end "$other"
	pid=$first
	stop
}

case_a_client_inside_reaches_the_server_by_the_hosts_address() {
	need_slirp4netns
	on_host host_hairpin
}
host_hairpin() {
	add_second_address
	serve --net=slirp4netns --disable-host-loopback -p "$SECOND4:80:80/tcp" -p "0.0.0.0:8080:80/tcp" \
		-p "$HOST4:8081:10.0.2.100:80/tcp" -p "$HOST4:8082:$HOST4:8081/tcp"
	for to in "$SECOND4 80" "$HOST4 8080" "$HOST4 8081" "$HOST4 8082"; do
		# Many connections at once are not mistaken for a loop. Those to port 8082 leave and enter the
		# namespace twice.
		# shellcheck disable=SC2086 # words
		inside python3 - $to <<-'EOF'
			import sys, tcp
			host, port = sys.argv[1:]
			count = 100 if port == "8082" else 200
			socks = [tcp.connect(port, host, timeout=10) for _ in range(count)]
			for s in socks:
			    s.sendall(b"who\n")
			    assert s.recv(100).endswith(b"\n")
		EOF
	done
	! grep -q 'may lead back' "$tmp/bg.err" || fail "$(cat "$tmp/bg.err")"
	stop
}

# ---- containers behind DNAT ----

# Makes a container: a network namespace behind a bridge inside, with the server on port 8000. Sets
# `container` to its PID.
add_container() {
	rm -f "$tmp/up"
	# shellcheck disable=SC2016 # for the inner shell
	inside unshare -n sh -c 'echo $$ >"$1/container"; ip link set lo up; exec python3 "$1/server.py" 8000' \
		- "$tmp" &
	wait_until 20 test -e "$tmp/up"
	container=$(cat "$tmp/container")
	inside ip link add br0 type bridge
	inside ip link add port type veth peer name eth0 netns "$container"
	inside ip link set port master br0
	inside ip addr add 172.18.0.1/16 dev br0
	inside ip link set br0 up
	inside ip link set port up
	in_container ip addr add "$CONTAINER/16" dev eth0
	in_container ip link set eth0 up
	in_container ip route add default via 172.18.0.1
	inside sh -c 'echo 1 >/proc/sys/net/ipv4/conf/br0/route_localnet; echo 1 >/proc/sys/net/ipv4/ip_forward'
	[ ! -e /proc/net/if_inet6 ] || {
		inside ip addr add fd00:2::1/64 dev br0 nodad
		in_container ip addr add "$CONTAINER6/64" dev eth0 nodad
		in_container ip route add default via fd00:2::1
		# The first packet on a new bridge may be delayed by a second, because a neighbour
		# solicitation gets lost. This is that packet.
		echo who | inside socat - "TCP6:[$CONTAINER6]:8000,connect-timeout=5" >"$tmp/neighbour"
	}
}
in_container() {
	nsenter --preserve-credentials -U -n -t "$container" "$@"
}

end_container() {
	send_signal TERM "$container"
	wait_until 5 has_ended "$container"
}

# docker_rules IPTABLES SUBNET ADDRESS: adds the rules of Docker for `-p 80:8000` without its userland proxy
# shellcheck disable=SC2086 # words
docker_rules() {
	for rule in \
		'-N DOCKER' \
		'-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER' \
		'-A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER' \
		'-A POSTROUTING -m addrtype --src-type LOCAL -o br0 -j MASQUERADE' \
		"-A POSTROUTING -s ${2} ! -o br0 -j MASQUERADE" \
		"-A DOCKER -p tcp --dport 80 -j DNAT --to-destination ${3}:8000"; do
		inside $1 -t nat $rule
	done
}

# Adds the rules of the CNI plugin portmap, as for nerdctl.
# shellcheck disable=SC2086 # words
cni_rules() {
	for rule in \
		'-N CNI-HOSTPORT-DNAT' \
		'-N CNI-HOSTPORT-SETMARK' \
		'-N CNI-HOSTPORT-MASQ' \
		'-N CNI-DN-1' \
		'-A CNI-HOSTPORT-SETMARK -j MARK --set-xmark 0x2000/0x2000' \
		'-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE' \
		'-A POSTROUTING -j CNI-HOSTPORT-MASQ' \
		'-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT' \
		'-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT' \
		'-A CNI-HOSTPORT-DNAT -p tcp -m multiport --destination-ports 80 -j CNI-DN-1' \
		'-A CNI-DN-1 -s 172.18.0.0/16 -p tcp --dport 80 -j CNI-HOSTPORT-SETMARK' \
		'-A CNI-DN-1 -s 127.0.0.1 -p tcp --dport 80 -j CNI-HOSTPORT-SETMARK' \
		"-A CNI-DN-1 -p tcp --dport 80 -j DNAT --to-destination $CONTAINER:8000" \
		'-N CNI-1' \
		'-A POSTROUTING -s 172.18.0.2 -j CNI-1' \
		'-A CNI-1 -d 172.18.0.0/16 -j ACCEPT' \
		'-A CNI-1 ! -d 224.0.0.0/4 -j MASQUERADE'; do
		inside iptables-nft -t nat $rule
	done
}

nft_rules() {
	inside nft -f - <<-EOF
		table ip user {
			chain output {
				type nat hook output priority -100
				ip daddr 127.0.0.1 tcp dport 80 dnat to $CONTAINER:8000
			}
			chain postrouting {
				type nat hook postrouting priority 100
				ip saddr 127.0.0.0/8 oifname br0 masquerade
			}
		}
	EOF
}

# check_container RULES: the container sees the client's address, and so does the server outside it
check_container() {
	assert_eq "$1" "$(own $CLIENT4)" "$(seen $HOST4 8080)"
	assert_eq "$1, again" "$(own $CLIENT4)" "$(seen $HOST4 8080)"
	assert_eq "$1, the server outside the container" "$(own $CLIENT4)" "$(seen $HOST4 8090)"
	nothing_timed_out
}

# Starts a launcher with a container. Ports 8080 and 8081 lead to port 80 inside, which a rule may forward to
# the container; port 8090 leads to a server on port 8000 outside the container.
with_container() {
	write_server
	start --debug --subid-source=self --net=none --port-driver=builtin \
		-p 0.0.0.0:8080:80/tcp -p 0.0.0.0:8090:8000/tcp -p "[::]:8081:80/tcp6" \
		python3 "$tmp/server.py" 8000
	wait_until 20 test -e "$tmp/up"
	add_container
}

case_a_container_behind_rules_of_Docker_sees_clients() {
	need iptables-nft
	on_host host_docker iptables-nft ip6tables-nft
}
case_a_container_behind_rules_of_legacy_iptables_sees_clients() {
	need iptables-legacy
	zcat /proc/config.gz 2>/dev/null | grep -q '^CONFIG_IP_NF_NAT=[ym]' ||
		skip xtables 'this kernel does not have x_tables'
	XTABLES_LOCKFILE=$tmp/xtables.lock
	export XTABLES_LOCKFILE
	on_host host_docker iptables-legacy
}
host_docker() {
	with_container
	assert_eq 'before there are rules' "$(own $CLIENT4)" "$(seen $HOST4 8090)"
	docker_rules "$1" 172.18.0.0/16 "$CONTAINER"
	check_container 'behind DNAT'
	client=host
	assert_eq 'a client on loopback' '172.18.0.1 other port' "$(seen 127.0.0.1 8080)"
	client=$netns
	if [ $# -gt 1 ] && [ -e /proc/net/if_inet6 ]; then
		docker_rules "$2" fd00:2::/64 "[$CONTAINER6]"
		assert_eq 'behind DNAT of IPv6' "$(own $CLIENT6)" "$(seen $HOST6 8081)"
	fi
	nothing_timed_out
	end_container
	stop
}

case_a_container_behind_rules_of_CNI_sees_clients() {
	need iptables-nft
	on_host host_cni
}
host_cni() {
	with_container
	cni_rules
	check_container CNI
	end_container
	stop
}

case_rules_may_be_flushed_and_added() {
	need nft
	on_host host_flush
}
host_flush() {
	with_container
	nft_rules
	check_container nft
	assert_eq 'our rules' "table inet rlkbox_source_ip {
	chain output {
		type filter hook output priority mangle; policy accept;
		meta mark 0x00000065 ct mark set 0x00000064
	}

	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		ct mark 0x00000064 meta mark set 0x00000064
	}
}" "$(inside nft list table inet rlkbox_source_ip)"
	# This removes our rules as well.
	inside nft flush ruleset
	assert_eq 'without NAT' "$(own $CLIENT4)" "$(seen $HOST4 8090)"
	nft_rules
	check_container 'nft again'
	# A port that leads to the container's address needs no DNAT.
	inside nft delete table ip user
	add "0.0.0.0:8091:$CONTAINER:8000/tcp"
	assert_eq "by the container's address" "$(own $CLIENT4)" "$(seen $HOST4 8091)"
	nothing_timed_out
	end_container
	stop
}

# Answers to the address of such a client do not come back to the launcher, which must not wait for them long.
case_a_client_from_the_containers_network_does_not_wait_long() {
	need nft
	on_host host_same_network
}
host_same_network() {
	with_container
	nft_rules
	inside nft add rule ip user output ip daddr 127.0.0.1 tcp dport 81 dnat to $CONTAINER:8001
	add 0.0.0.0:8085:81/tcp
	# The container looks for such a client on its own bridge.
	ip addr add 172.18.255.1/16 dev host
	at_client ip addr add 172.18.0.77/16 dev client
	for port in 8080 8085; do
		client $port <<-'EOF'
			def attempt():
			    began = time.monotonic()
			    s = dial("172.18.255.1", sys.argv[1], ("172.18.0.77", 0))
			    try:
			        seen = who(s)[0]
			    except ConnectionResetError:
			        seen = "reset"
			    return seen, time.monotonic() - began
			want = {"8080": "172.18.0.1", "8085": "reset"}[sys.argv[1]]
			# Attempts that wait are counted below. A second wait for one client would take
			# 3.5 s, so 3 s leave room for a busy machine.
			for _ in range(4):
			    seen, took = attempt()
			    print(seen, took, flush=True)
			    assert seen == want and took < 3, (seen, took)
			# Clients of another network are still seen.
			if want != "reset":
			    s = dial("192.0.2.1", sys.argv[1])
			    assert who(s)[:2] == me(s)
		EOF
	done
	assert_eq 'attempts that waited' 2 "$(grep -c 'address: connection timed out' "$tmp/bg.err")"
	end_container
	stop
}

# A server whose listen backlog is full for a moment drops SYNs, and so the attempt with the client's address
# times out. That must not be remembered as a path without answers, even if the server accepts again right
# after the child has begun to try without the client's address.
case_a_server_with_a_full_backlog_sees_later_clients() {
	on_host host_busy
}
is_seen_as_itself() {
	[ "$(seen $HOST4 8080)" = "$(own $CLIENT4)" ]
}
host_busy() {
	serve --net=none -p 0.0.0.0:8080:82/tcp
	cat >"$tmp/busy.py" <<-'EOF'
		import socket
		from waiting import make_file, wait_until
		def connecting():
		    """Addresses of sockets at 127.0.0.1 that connect to port 82 (SYN_SENT)."""
		    rows = [line.split() for line in open("/proc/net/tcp")][1:]
		    return {row[1] for row in rows if row[1][:9] == "0100007F:" and row[2:4] == ["0100007F:0052", "02"]}
		s = socket.socket()
		s.bind(("127.0.0.1", 82))
		s.listen(0)
		hold = [socket.socket() for _ in range(3)]
		for h in hold:
		    h.setblocking(False)
		    h.connect_ex(("127.0.0.1", 82))
		ours = {"0100007F:%04X" % h.getsockname()[1] for h in hold}
		make_file("full")
		wait_until(lambda: connecting() - ours, "an attempt without the client's address")
		make_file("attempted")
		for h in hold:
		    h.close()
		while True:
		    c = s.accept()[0]
		    c.settimeout(10)
		    try:
		        if c.recv(10) == b"who\n":
		            c.sendall(("%s %d x\n" % c.getpeername()).encode())
		    except OSError:
		        pass
		    c.close()
	EOF
	nsenter --preserve-credentials -U -m -n -t "$child" python3 "$tmp/busy.py" &
	busy=$!
	wait_until 10 test -e "$tmp/full"
	seen $HOST4 8080 >"$tmp/first"
	[ -e "$tmp/attempted" ] || fail "no attempt without the client's address: $(cat "$tmp/first")"
	# The first client may have been seen with or without its address.
	wait_until 10 is_seen_as_itself
	kill "$busy"
	stop
}

case_a_path_without_answers_is_remembered() {
	need nft
	on_host host_without_answers
}
host_without_answers() {
	with_container
	nft_rules
	# Like a container whose default route leaves by another bridge.
	in_container ip route del default
	assert_eq peer '172.18.0.1 other port' "$(seen $HOST4 8080)"
	has_logged 'address: connection timed out' || fail "no attempt with the client's address"
	for _ in 1 2 3; do
		assert_eq 'peer, again' '172.18.0.1 other port' "$(seen $HOST4 8080)"
	done
	assert_eq 'attempts that waited' 1 "$(grep -c 'address: connection timed out' "$tmp/bg.err")"
	assert_eq 'another target' "$(own $CLIENT4)" "$(seen $HOST4 8090)"
	end_container
	stop
}

if [ "${1-}" = --on-host ]; then
	tmp=$2
	shift 2
	set -eu
	set_up_host
	"$@"
	send_signal TERM "$netns"
	exit
fi

run_cases \
	the_server_sees_the_address_and_port_of_a_client \
	the_server_in_a_detached_namespace_sees_clients \
	the_server_sees_clients_beside_slirp4netns \
	a_VPN_inside_does_not_hide_clients \
	source_ip_transparent_can_be_switched_off \
	udp_servers_see_an_address_inside \
	the_server_sees_many_clients_at_once \
	bytes_half_closes_and_resets_are_passed_on \
	a_client_is_reset_if_nobody_listens \
	a_warning_tells_why_clients_cannot_be_seen \
	clients_get_through_if_IPv6_is_disabled_inside \
	a_port_on_a_second_address_reaches_the_server \
	a_port_on_a_second_address_reaches_a_detached_server \
	an_address_may_be_added_and_removed_inside \
	a_port_that_leads_back_to_itself_is_cut \
	ports_of_two_launchers_that_lead_to_each_other_are_cut \
	a_client_inside_reaches_the_server_by_the_hosts_address \
	a_container_behind_rules_of_Docker_sees_clients \
	a_container_behind_rules_of_legacy_iptables_sees_clients \
	a_container_behind_rules_of_CNI_sees_clients \
	rules_may_be_flushed_and_added \
	a_client_from_the_containers_network_does_not_wait_long \
	a_server_with_a_full_backlog_sees_later_clients \
	a_path_without_answers_is_remembered
