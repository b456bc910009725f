#!/bin/sh
# Source IP: what address a server inside sees. Clients that are not on loopback need a host that
# others can reach, so each case has a host of its own: a network namespace (with a user namespace
# around it) in which the launcher runs, and a second one, joined to it by a veth pair, with the
# clients.
#
#     client 192.0.2.7, fd00:1::7 ── veth ── host 192.0.2.1, fd00:1::1 ── launcher ── inside
#
# A function `host_NAME` is what a case does on its host.
#
# Such a host may also have several addresses, and a port on each: where a connection to those leads
# is tested here too, and that none leads back to the port itself.
. "$(dirname "$0")/lib.sh"

HOST4=192.0.2.1 CLIENT4=192.0.2.7
HOST6=fd00:1::1 CLIENT6=fd00:1::7
CONTAINER=172.18.0.2 CONTAINER6=fd00:2::2

# Runs a function of this file on a host of its own.
on_host() {
	unshare -Urnm --kill-child --fork sh "$0" --on-host "$tmp" "$@" || fail 'on the host: see above'
}

in_netns_of() {
	[ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]
}

# new_netns: a network namespace that lives as long as the process $netns
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

# Runs a command in the client's network, which may be the host's own.
at_client() {
	if [ "$client" = host ]; then
		"$@"
		return
	fi
	nsenter -n -t "$client" "$@"
}

# A server on the port $1, whose clients say in a line what they want:
#   who    its answer is the peer's address and port, and its own address
#   echo   all that comes, and the end after the end
#   reset  a reset
#   wait   nothing; says in $tmp/ended how the connection ended
write_server() {
	cat >"$tmp/server.py" <<-'EOF'
		import socket, struct, sys, threading
		tmp, port = sys.argv[1], int(sys.argv[2])
		host = sys.argv[3] if len(sys.argv) > 3 else "::"
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
		        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
		    elif line == b"wait\n":
		        c.sendall(b".")
		        try:
		            how = "end" if c.recv(1) == b"" else "data"
		        except ConnectionResetError:
		            how = "reset"
		        with open(tmp + "/ended", "w") as f:
		            f.write(plain(peer[0]) + " " + how)
		    c.close()
		family = socket.AF_INET6 if ":" in host else socket.AF_INET
		s = socket.create_server((host, port), family=family, dualstack_ipv6=host == "::", backlog=500)
		open(tmp + "/up", "w").close()
		while True:
		    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
	EOF
}

# client LIBRARY USE: a Python program in the client's network, from standard input
client() {
	cat >"$tmp/client.py" <<-'EOF'
		import hashlib, socket, struct, sys, threading, time
		def dial(host, port, source=None):
		    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
		    s.settimeout(20)
		    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		    if source:
		        s.bind(source)
		    s.connect((host, int(port)))
		    return s
		def read_all(s):
		    out = []
		    while data := s.recv(1 << 20):
		        out.append(data)
		    return b"".join(out)
		def who(s):
		    s.sendall(b"who\n")
		    return read_all(s).decode().split()
		def me(s):
		    return [s.getsockname()[0], str(s.getsockname()[1])]
	EOF
	cat >>"$tmp/client.py"
	at_client python3 "$tmp/client.py" "$@"
}

# seen HOST PORT [SOURCE]: how the server sees a client that connects there: the address, and "own
# port" if it is the client's own port
seen() {
	client "$@" <<-'EOF'
		source = (sys.argv[3], 0) if len(sys.argv) > 3 else None
		s = dial(sys.argv[1], sys.argv[2], source)
		peer, port, own = who(s)
		print(peer, "own port" if port == me(s)[1] else "other port")
	EOF
}

# serve ARGUMENTS...: starts a launcher with the server on port 80 inside.
serve() {
	rm -f "$tmp/up"
	write_server
	start --debug --subid-source=self --port-driver=builtin "$@" python3 "$tmp/server.py" "$tmp" 80
	wait_until 20 test -e "$tmp/up"
}

add() {
	rootlessctl --socket "$state/api.sock" add-ports "$@" >/dev/null
}

has_logged() {
	grep -q -- "$1" "$tmp/bg.err"
}

# No connection that should be quick has waited for an answer that does not come.
nothing_timed_out() {
	! has_logged 'address: connection timed out' || fail "$(cat "$tmp/bg.err")"
}

own() {
	echo "$1 own port"
}

# ---- cases ----

case_a_client_is_seen_with_its_own_address_and_port() {
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
	# Nobody translates addresses, so that no connection need be tracked.
	assert_eq rules '' "$(inside nft list ruleset)"
	stop
}

case_it_works_in_a_detached_namespace() {
	on_host host_detached
}
host_detached() {
	write_server
	# shellcheck disable=SC2016 # for the inner shell
	start --debug --subid-source=self --net=none --port-driver=builtin --detach-netns -p 0.0.0.0:8080:80/tcp \
		sh -c 'exec nsenter --net=$ROOTLESSKIT_STATE_DIR/netns python3 "$@"' - \
		"$tmp/server.py" "$tmp" 80
	wait_until 20 test -e "$tmp/up"
	assert_eq IPv4 "$(own $CLIENT4)" "$(seen $HOST4 8080)"
	# The host's own network is left as it was.
	assert_eq 'rules of the host' '' "$(ip rule show table 100)"
	stop
}

case_it_works_with_slirp4netns() {
	need_tun
	on_host host_slirp
}
host_slirp() {
	serve --net=slirp4netns --disable-host-loopback --copy-up=/etc -p '0.0.0.0:8080:80/tcp' \
		-p '0.0.0.0:8081:10.0.2.100:80/tcp'
	assert_eq 'to loopback' "$(own $CLIENT4)" "$(seen $HOST4 8080)"
	assert_eq 'to the address of the tap' "$(own $CLIENT4)" "$(seen $HOST4 8081)"
	# An address of the inside's own network, or even its own, may be a client's as well.
	for address in 10.0.2.7 10.0.2.100; do
		ip addr add 10.0.2.1/24 dev host 2>/dev/null || true
		at_client ip addr add "$address/24" dev client
		assert_eq "from $address" "$(own $address)" "$(seen 10.0.2.1 8080 $address)"
		assert_eq "from $address to the tap" "$(own $address)" "$(seen 10.0.2.1 8081 $address)"
	done
	nothing_timed_out
	stop
}

# Options of ip(8) for the families that there are.
families() {
	echo -4
	[ ! -e /proc/net/if_inet6 ] || echo -6
}

case_a_VPN_inside_is_not_in_the_way() {
	on_host host_vpn
}
host_vpn() {
	serve --net=none -p '0.0.0.0:8080:80/tcp' -p '[::]:8081:80/tcp6'
	# What it takes is all that has no mark of its own, as with wg-quick.
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

case_it_can_be_switched_off() {
	on_host host_off
}
host_off() {
	serve --net=none --source-ip-transparent=false -p 0.0.0.0:8080:80/tcp
	assert_eq peer '127.0.0.1 other port' "$(seen $HOST4 8080)"
	assert_eq 'rules inside' '' "$(inside ip rule show table 100)"
	stop
}

case_many_clients_at_once() {
	on_host host_many
}
host_many() {
	serve --net=none -p 0.0.0.0:8080:80/tcp -p 0.0.0.0:8081:127.0.0.2:80/tcp
	client $HOST4 <<-'EOF'
		# One source port serves for connections to both ports.
		socks = [dial(sys.argv[1], 8080) for _ in range(200)]
		socks += [dial(sys.argv[1], 8081, s.getsockname()) for s in socks]
		for s in socks:
		    assert who(s)[:2] == me(s)
		# The same client once more from the ports that were just closed.
		names = [s.getsockname() for s in socks[:20]]
		for s in socks:
		    s.close()
		# What is still winding down inside may be in the way: then it is seen as from inside.
		for name in names:
		    try:
		        s = dial(sys.argv[1], 8080, name)
		    except OSError: # it is winding down here
		        continue
		    assert who(s)[0] in ("127.0.0.1", name[0])
	EOF
	# Of those that come one after the other most need no request to the child, if any does.
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

case_bytes_ends_and_resets() {
	on_host host_bytes
}
host_bytes() {
	serve --net=none -p 0.0.0.0:8080:80/tcp
	client $HOST4 <<-'EOF'
		import os
		data = os.urandom(1 << 20) * 64
		s = dial(sys.argv[1], 8080)
		def send():
		    s.sendall(b"echo\n")
		    s.sendall(data)
		    s.shutdown(socket.SHUT_WR)
		t = threading.Thread(target=send)
		t.start()
		back = read_all(s)
		t.join()
		# The server's last word comes after our end.
		assert back[len(data):].endswith(s.getsockname()[0].encode()), back[len(data):]
		assert hashlib.sha256(back[:len(data)]).digest() == hashlib.sha256(data).digest()
		s = dial(sys.argv[1], 8080)
		s.sendall(b"reset\n")
		try:
		    s.recv(1)
		    raise SystemExit("no reset")
		except ConnectionResetError:
		    pass
		s = dial(sys.argv[1], 8080)
		s.sendall(b"wait\n")
		assert s.recv(1) == b"."
		s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
		s.close()
	EOF
	wait_until 10 test -s "$tmp/ended"
	assert_eq 'the end that the server saw' "$CLIENT4 reset" "$(cat "$tmp/ended")"
	stop
}

case_nobody_listens() {
	on_host host_nobody
}
host_nobody() {
	serve --net=none -p 0.0.0.0:8080:81/tcp -p '[::]:8081:81/tcp6'
	for host in $HOST4:8080 ${CLIENT6:+$HOST6:8081}; do
		client "${host%:*}" "${host##*:}" <<-'EOF'
			s = dial(sys.argv[1], sys.argv[2])
			try:
			    s.recv(1)
			    raise SystemExit("no reset")
			except ConnectionResetError:
			    pass
		EOF
	done
	# Resets come back to the client's address as well; nobody had to wait for one.
	has_logged 'not from the client.s address: connection refused' || fail "$(cat "$tmp/bg.err")"
	nothing_timed_out
	stop
}

case_it_cannot_be_set_up() {
	on_host host_no_sysctl
}
host_no_sysctl() {
	# As in a container.
	mount --bind /proc/sys /proc/sys
	mount -o remount,ro,bind /proc/sys
	serve --net=none -p 0.0.0.0:8080:80/tcp
	assert_eq peer '127.0.0.1 other port' "$(seen $HOST4 8080)"
	assert_eq peer '127.0.0.1 other port' "$(seen $HOST4 8080)"
	assert_eq warnings 1 "$(grep -c 'level=warning.*source-ip-transparent.*read-only file system' "$tmp/bg.err")"
	stop
}

case_the_inside_has_no_IPv6() {
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

# How many descriptors the launcher has.
count_fds() {
	find "/proc/$pid/fd" -mindepth 1 | wc -l
}

# tries HOST PORT: what a TCP client gets there that says who: the server's own address, or an error
# within a second
tries() {
	client "$@" <<-'EOF'
		s = dial(sys.argv[1], sys.argv[2])
		began = time.time()
		try:
		    print(who(s)[2])
		except OSError as e:
		    print(type(e).__name__, "late" if time.time() - began > 2 else "in time")
	EOF
}

# echoes HOST PORT: what a UDP client gets there within two seconds
echoes() {
	client "$@" <<-'EOF'
		s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
		s.settimeout(2)
		s.connect((sys.argv[1], int(sys.argv[2])))
		s.send(b"hello")
		try:
		    print(s.recv(100).decode())
		except TimeoutError:
		    print("nothing")
	EOF
}

# serve_udp PORT: echoes inside; the process is $echo
serve_udp() {
	nsenter --preserve-credentials -U -m -n -t "$child" \
		socat "UDP6-RECVFROM:$1,ipv6only=0,fork" EXEC:cat &
	echo=$!
	wait_until 5 inside grep -qi ":$(printf %04x "$1") 0" /proc/net/udp6
}

case_a_second_address_reaches_the_server_inside() {
	need_tun
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
	assert_eq "TCP, $*" 127.0.0.1 "$(tries $SECOND4 80)"
	assert_eq "UDP, $*" hello "$(echoes $SECOND4 53)"
	if [ -e /proc/net/if_inet6 ]; then
		assert_eq "TCP of IPv6, $*" ::1 "$(tries $SECOND6 80)"
		assert_eq "UDP of IPv6, $*" hello "$(echoes $SECOND6 53)"
	fi
	# Nobody listens there: a reset at once, and the datagram is gone.
	assert_eq "nobody, $*" 'ConnectionResetError in time' "$(tries $SECOND4 81)"
	echoes $SECOND4 54
	used=$(($(count_fds) - before))
	[ "$used" -le 20 ] || fail "$used descriptors more, $*"
	kill "$echo"
	stop
}

case_a_second_address_in_a_detached_namespace() {
	on_host host_second_detached
}
host_second_detached() {
	add_second_address
	write_server
	# shellcheck disable=SC2016 # for the inner shell
	start --subid-source=self --net=none --port-driver=builtin --detach-netns -p "$SECOND4:8080:80/tcp" \
		sh -c 'exec nsenter --net=$ROOTLESSKIT_STATE_DIR/netns python3 "$@"' - \
		"$tmp/server.py" "$tmp" 80
	wait_until 20 test -e "$tmp/up"
	assert_eq 'not inside' 127.0.0.1 "$(tries $SECOND4 8080)"
	inside_detached ip addr add "$SECOND4/32" dev lo
	assert_eq 'inside too' $SECOND4 "$(tries $SECOND4 8080)"
	stop
}

case_an_address_that_comes_and_goes_inside() {
	on_host host_comes_and_goes
	on_host host_comes_and_goes --source-ip-transparent=false
}
host_comes_and_goes() {
	add_second_address
	serve --net=none "$@" -p "$SECOND4:8080:80/tcp" -p "[$SECOND6]:8081:80/tcp6"
	for _ in 1 2; do
		assert_eq 'not inside' 127.0.0.1 "$(tries $SECOND4 8080)"
		inside ip addr add "$SECOND4/32" dev lo
		assert_eq 'inside too' $SECOND4 "$(tries $SECOND4 8080)"
		inside ip addr del "$SECOND4/32" dev lo
		[ -e /proc/net/if_inet6 ] || continue
		assert_eq 'not inside, IPv6' ::1 "$(tries $SECOND6 8081)"
		inside ip addr add "$SECOND6/128" dev lo nodad
		assert_eq 'inside too, IPv6' $SECOND6 "$(tries $SECOND6 8081)"
		inside ip addr del "$SECOND6/128" dev lo
	done
	stop
}

# ---- loops ----

# cpu_ticks: of the launcher and its network program
cpu_ticks() {
	for process in $pid $(cat "/proc/$pid/task/$pid/children"); do
		cat "/proc/$process/stat"
	done | awk '{ n += $14 + $15 } END { print n }'
}

# How many warnings of a loop there are, of all launchers.
count_warnings() {
	cat "$tmp"/*.err | grep -c 'level=warning.*this may lead back to the port' || true
}
has_new_warning() {
	[ "$(count_warnings)" -gt "$warned" ]
}

# loops HOST PORT: a client's connection ends with a reset and a new warning, and takes few descriptors.
# `most` is how many the watcher saw; it may miss those of a short loop.
watch_fds() {
	most=0
	while [ ! -e "$tmp/client-done" ]; do
		now=$(count_fds)
		[ "$now" -le "$most" ] || most=$now
		sleep 0.02
	done
	echo "$most" >"$tmp/most"
}
loops() {
	warned=$(count_warnings)
	rm -f "$tmp/client-done"
	watch_fds &
	watcher=$!
	assert_eq "a loop by $1:$2" ConnectionResetError "$(tries "$@" | cut -d ' ' -f 1)"
	touch "$tmp/client-done"
	await_success "$watcher"
	wait_until 10 has_new_warning
	most=$(cat "$tmp/most")
	[ "$most" -le 1000 ] || fail "$most descriptors, $before before"
	# They all end with it.
	wait_until 10 sh -c "[ \$(find /proc/$pid/fd -mindepth 1 | wc -l) -le $((before + 20)) ]"
}

warned_of_a_loop() {
	assert_eq "warnings about $1" 1 \
		"$(grep -c "level=warning.*port $1: .*this may lead back to the port" "$2")"
}

case_a_port_that_leads_back_to_itself() {
	need_tun
	on_host host_loop --source-ip-transparent=false
	on_host host_loop
}
host_loop() {
	add_second_address
	serve --net=slirp4netns --disable-host-loopback "$@" -p "$SECOND4:80:80/tcp" \
		-p "$SECOND4:8080:$SECOND4:8080/tcp" -p "$SECOND4:8081:$SECOND4:8081/udp" \
		-p "$SECOND4:8082:$SECOND4:8083/tcp" -p "$SECOND4:8083:$SECOND4:8082/tcp"
	tries $SECOND4 80
	before=$(count_fds)
	loops $SECOND4 8080
	warned_of_a_loop "$SECOND4:8080/tcp" "$tmp/bg.err"
	loops $SECOND4 8082
	# The other ports go on.
	assert_eq 'another port' 127.0.0.1 "$(tries $SECOND4 80)"
	# A datagram ends too.
	client $SECOND4 8081 <<-'EOF'
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		for _ in range(3):
		    s.sendto(b"hello", (sys.argv[1], int(sys.argv[2])))
	EOF
	wait_until 10 grep -q "port $SECOND4:8081/udp: .*this may lead back" "$tmp/bg.err"
	warned_of_a_loop "$SECOND4:8081/udp" "$tmp/bg.err"
	ticks=$(cpu_ticks)
	sleep 1
	[ $(($(cpu_ticks) - ticks)) -le 20 ] || fail 'a datagram circulates'
	stop
}

case_ports_of_two_launchers_that_lead_to_each_other() {
	need_tun
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

case_a_server_inside_is_reached_by_the_address_of_the_host() {
	need_tun
	on_host host_hairpin
}
host_hairpin() {
	add_second_address
	serve --net=slirp4netns --disable-host-loopback -p "$SECOND4:80:80/tcp" -p "0.0.0.0:8080:80/tcp" \
		-p "$HOST4:8081:10.0.2.100:80/tcp" -p "$HOST4:8082:$HOST4:8081/tcp"
	for to in "$SECOND4 80" "$HOST4 8080" "$HOST4 8081" "$HOST4 8082"; do
		# As many at once as a busy client has, and one that leads out and in.
		# shellcheck disable=SC2086 # words
		inside python3 - $to <<-'EOF'
			import socket, sys
			count = 100 if sys.argv[2] == "8082" else 200
			socks = [socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) for _ in range(count)]
			for s in socks:
			    s.settimeout(10)
			    s.sendall(b"who\n")
			    assert s.recv(100).endswith(b"\n")
		EOF
	done
	! grep -q 'may lead back' "$tmp/bg.err" || fail "$(cat "$tmp/bg.err")"
	stop
}

# ---- behind DNAT ----

# A container: a network namespace behind a bridge inside, with the server on port 8000.
add_container() {
	rm -f "$tmp/up"
	# shellcheck disable=SC2016 # for the inner shell
	inside unshare -n sh -c 'echo $$ >"$1/container"; ip link set lo up; exec python3 "$1/server.py" "$1" 8000' \
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
		# A new bridge may lose the first solicitation of a neighbour, and send the next one
		# after a second.
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

# What Docker makes of `-p 80:8000` when it has no userland proxy.
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

# What the CNI plugin portmap makes of it, for nerdctl.
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

# The container sees a client as the server inside would, whose port stays reachable.
check_container() {
	assert_eq "$1" "$(own $CLIENT4)" "$(seen $HOST4 8080)"
	assert_eq "$1, again" "$(own $CLIENT4)" "$(seen $HOST4 8080)"
	assert_eq "$1, a server that is no container" "$(own $CLIENT4)" "$(seen $HOST4 8090)"
	nothing_timed_out
}

# with_container: a launcher whose port 8080 is a container's if there is a rule for port 80 inside;
# 8090 is the server's on 127.0.0.1:8000.
with_container() {
	write_server
	start --debug --subid-source=self --net=none --port-driver=builtin \
		-p 0.0.0.0:8080:80/tcp -p 0.0.0.0:8090:8000/tcp -p "[::]:8081:80/tcp6" \
		python3 "$tmp/server.py" "$tmp" 8000
	wait_until 20 test -e "$tmp/up"
	add_container
}

case_a_container_behind_rules_of_Docker() {
	need iptables-nft
	on_host host_docker iptables-nft ip6tables-nft
}
case_a_container_behind_rules_of_older_iptables() {
	need iptables-legacy
	zcat /proc/config.gz 2>/dev/null | grep -q '^CONFIG_IP_NF_NAT=[ym]' ||
		skip xtables 'this kernel has no x_tables'
	XTABLES_LOCKFILE=$tmp/xtables.lock
	export XTABLES_LOCKFILE
	on_host host_docker iptables-legacy
}
host_docker() {
	with_container
	# A connection from before there were rules.
	assert_eq before "$(own $CLIENT4)" "$(seen $HOST4 8090)"
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

case_a_container_behind_rules_of_CNI() {
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

case_rules_come_and_go() {
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
	# Somebody flushes all rules, ours with them.
	inside nft flush ruleset
	assert_eq 'no NAT any more' "$(own $CLIENT4)" "$(seen $HOST4 8090)"
	nft_rules
	check_container 'nft once more'
	# The container's own address as the target needs no rule of anybody.
	inside nft delete table ip user
	add "0.0.0.0:8091:$CONTAINER:8000/tcp"
	assert_eq 'by its own address' "$(own $CLIENT4)" "$(seen $HOST4 8091)"
	nothing_timed_out
	end_container
	stop
}

case_clients_whose_network_exists_inside_too() {
	need nft
	on_host host_same_network
}
host_same_network() {
	with_container
	nft_rules
	inside nft add rule ip user output ip daddr 127.0.0.1 tcp dport 81 dnat to $CONTAINER:8001
	add 0.0.0.0:8085:81/tcp
	# The container takes a client of its own network for a neighbour.
	ip addr add 172.18.255.1/16 dev host
	at_client ip addr add 172.18.0.77/16 dev client
	for port in 8080 8085; do
		client $port <<-'EOF'
			def attempt():
			    began = time.time()
			    s = dial("172.18.255.1", sys.argv[1], ("172.18.0.77", 0))
			    try:
			        seen = who(s)[0]
			    except ConnectionResetError:
			        seen = "reset"
			    return seen, time.time() - began
			want = {"8080": "172.18.0.1", "8085": "reset"}[sys.argv[1]]
			# How often one waits for an answer is counted below. On a busy machine the
			# rest takes a while, but not as long as one wait too much did: 3.5 s.
			for _ in range(4):
			    seen, took = attempt()
			    print(seen, took, flush=True)
			    assert seen == want and took < 3, (seen, took)
			# Clients of another network are not hit.
			if want != "reset":
			    s = dial("192.0.2.1", sys.argv[1])
			    assert who(s)[:2] == me(s)
		EOF
	done
	assert_eq 'tries that waited' 2 "$(grep -c 'address: connection timed out' "$tmp/bg.err")"
	end_container
	stop
}

# A server whose queue is full for a moment drops what comes. That is no dead way, even if the server
# accepts again just when the child has begun to try without the client's address.
case_a_busy_server_is_not_taken_for_a_dead_way() {
	on_host host_busy
}
is_seen_as_itself() {
	[ "$(seen $HOST4 8080)" = "$(own $CLIENT4)" ]
}
host_busy() {
	serve --net=none -p 0.0.0.0:8080:82/tcp
	cat >"$tmp/busy.py" <<-'EOF'
		import socket, sys, time
		tmp = sys.argv[1]
		def plain_tries():  # SYNs from 127.0.0.1 to this server that wait, but for our own
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
		open(tmp + "/full", "w").close()
		until = time.monotonic() + 20
		while not plain_tries() - ours:
		    if time.monotonic() > until:
		        sys.exit("no try without the client's address")
		    time.sleep(0.005)
		open(tmp + "/tried", "w").close()
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
	nsenter --preserve-credentials -U -m -n -t "$child" python3 "$tmp/busy.py" "$tmp" &
	busy=$!
	wait_until 10 test -e "$tmp/full"
	seen $HOST4 8080 >"$tmp/first"
	[ -e "$tmp/tried" ] || fail "no try without the client's address: $(cat "$tmp/first")"
	# Whichever of the two was first this time, the next client has its address.
	wait_until 10 is_seen_as_itself
	kill "$busy"
	stop
}

case_answers_that_do_not_come_back() {
	need nft
	on_host host_dead_way
}
host_dead_way() {
	with_container
	nft_rules
	# As with a container whose default route is not by this bridge.
	in_container ip route del default
	assert_eq peer '172.18.0.1 other port' "$(seen $HOST4 8080)"
	has_logged 'address: connection timed out' || fail 'it did not even try'
	for _ in 1 2 3; do
		assert_eq 'peer, again' '172.18.0.1 other port' "$(seen $HOST4 8080)"
	done
	assert_eq 'tries that waited' 1 "$(grep -c 'address: connection timed out' "$tmp/bg.err")"
	assert_eq 'other targets' "$(own $CLIENT4)" "$(seen $HOST4 8090)"
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
	a_client_is_seen_with_its_own_address_and_port \
	it_works_in_a_detached_namespace \
	it_works_with_slirp4netns \
	a_VPN_inside_is_not_in_the_way \
	it_can_be_switched_off \
	many_clients_at_once \
	bytes_ends_and_resets \
	nobody_listens \
	it_cannot_be_set_up \
	the_inside_has_no_IPv6 \
	a_second_address_reaches_the_server_inside \
	a_second_address_in_a_detached_namespace \
	an_address_that_comes_and_goes_inside \
	a_port_that_leads_back_to_itself \
	ports_of_two_launchers_that_lead_to_each_other \
	a_server_inside_is_reached_by_the_address_of_the_host \
	a_container_behind_rules_of_Docker \
	a_container_behind_rules_of_older_iptables \
	a_container_behind_rules_of_CNI \
	rules_come_and_go \
	a_busy_server_is_not_taken_for_a_dead_way \
	answers_that_do_not_come_back \
	clients_whose_network_exists_inside_too
