#!/bin/sh
# Ping, and the ICMP errors that the network of our own passes on or makes itself.
. "$(dirname "$0")/ownnet.sh"
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/network.sh"

own='--subid-source=self --net=builtin --disable-host-loopback --copy-up=/etc'

need_own() {
	need_own_network
	need_tun
}

# A host whose user may open ping sockets, behind a router. It has the addresses 198.18.0.1 and fd00:18::1,
# and the router 198.18.0.2 and fd00:18::2. The router has a route to 203.0.113.0/24 and fd00:203::/64, where
# nobody answers, and to no other network.
# shellcheck disable=SC2016 # for the inner shell
make_router='
	set -e
	ip link set lo up
	echo 0 0 >/proc/sys/net/ipv4/ping_group_range
	unshare -n sleep 60 &
	router=$!
	trap "kill $router" EXIT
	while [ "$(readlink /proc/$router/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
	ip link add up0 type veth peer name down0
	ip link set down0 netns "$router"
	ip addr add 198.18.0.1/24 dev up0
	ip link set up0 up
	ip route add default via 198.18.0.2
	nsenter -n -t "$router" sh -ec "
		ip addr add 198.18.0.2/24 dev down0
		ip link set lo up
		ip link set down0 up
		ip route add 203.0.113.0/24 via 198.18.0.1
		echo 1 >/proc/sys/net/ipv4/ip_forward"
	if grep -q " lo$" /proc/net/if_inet6 2>/dev/null; then
		ip addr add fd00:18::1/64 dev up0 nodad
		ip -6 route add default via fd00:18::2
		nsenter -n -t "$router" sh -ec "
			ip addr add fd00:18::2/64 dev down0 nodad
			ip -6 route add fd00:203::/64 via fd00:18::1
			echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"
	fi
	unshare --user --map-user="$OWN_UID" --map-group="$OWN_GID" "$@"'

# The same as launch, on that host
launch_behind_router() {
	rc=0
	unshare -rn sh -c "$make_router" - rootlesskit "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || rc=$?
	out=$(cat "$tmp/out")
	err=$(cat "$tmp/err")
}

# For `python3 -c "$probe" ADDRESS:HOPS...`: pings each address with this time to live. Prints type and code of
# the ICMP message that comes back, and the address that it comes from.
probe='
import ipaddress, os, select, socket, struct, sys

def ask(address, hops):
    v6 = ipaddress.ip_address(address).version == 6
    proto = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
    s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW, proto)
    if v6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
    else:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
    words = [0x8000 if v6 else 0x0800, 0, os.getpid() & 0xffff, hops]
    total = sum(words)
    words[1] = ~((total & 0xffff) + (total >> 16)) & 0xffff
    s.sendto(struct.pack(">4H", *words), (address, 0))
    key = struct.pack(">2H", *words[2:])
    while select.select([s], [], [], 10)[0]:
        answer, sender = s.recvfrom(2000)
        answer = answer if v6 else answer[(answer[0] & 15) * 4:]
        if key in answer and answer[0] not in (8, 128):
            return f"{answer[0]}/{answer[1]} {sender[0]}"
    return "nothing"

for arg in sys.argv[1:]:
    address, _, hops = arg.rpartition(":")
    print(address, hops, ask(address, int(hops)))
'

case_our_addresses_answer_a_ping() {
	need_own
	# Ping sockets are not allowed here, and not needed.
	for mtu in 576 1500 65520; do
		# shellcheck disable=SC2086 # options
		launch $own --mtu=$mtu sh -c 'for a in 10.0.2.2 10.0.2.3; do
			for s in 0 56 1472 20000 65507; do busybox ping -q -c 1 -W 10 -s $s $a >/dev/null || echo "$a $s"; done; done'
		assert_eq "unanswered at MTU $mtu" '' "$out$err"
	done
}

case_our_addresses_answer_a_ping_over_ipv6() {
	need_own
	need_ipv6
	for mtu in 1280 65520; do
		# shellcheck disable=SC2086 # options
		launch $own --ipv6 --mtu=$mtu sh -c 'for a in fd00::2 fd00::3; do
			for s in 8 56 1472 20000 65487 65488 65527; do busybox ping -q -c 1 -W 10 -s $s $a >/dev/null || echo "$a $s"; done; done'
		assert_eq "unanswered at MTU $mtu" '' "$out$err"
	done
}

case_other_hosts_answer_a_ping() {
	need_own
	# shellcheck disable=SC2016,SC2086 # for the inner shell; options
	launch_behind_router $own --mtu=1500 sh -c 'for a in 198.18.0.1 198.18.0.2; do
		for s in 0 56 20000; do busybox ping -q -c 2 -A -W 10 -s $s $a >/dev/null || echo "$a $s"; done; done'
	assert_eq unanswered '' "$out$err"
	[ -e /proc/net/if_inet6 ] || return 0
	# shellcheck disable=SC2016,SC2086 # for the inner shell; options
	launch_behind_router $own --mtu=1500 --ipv6 sh -c 'for a in fd00:18::1 fd00:18::2; do
		for s in 56 20000; do busybox ping -q -c 2 -A -W 10 -s $s $a >/dev/null || echo "$a $s"; done; done'
	assert_eq 'unanswered over IPv6' '' "$out$err"
}

# The gateway is the first hop, and the host's router the second one.
case_errors_show_the_route() {
	need_own
	# shellcheck disable=SC2086 # options
	launch_behind_router $own python3 -c "$probe" 203.0.113.1:1 203.0.113.1:2 198.18.0.2:2 198.51.100.1:64 \
		10.0.2.2:1 198.18.0.1:2
	assert_eq answers '203.0.113.1 1 11/0 10.0.2.2
203.0.113.1 2 11/0 198.18.0.2
198.18.0.2 2 0/0 198.18.0.2
198.51.100.1 64 3/0 198.18.0.2
10.0.2.2 1 0/0 10.0.2.2
198.18.0.1 2 0/0 198.18.0.1' "$out$err"
}

case_errors_show_the_route_of_ipv6() {
	need_own
	need_ipv6
	# shellcheck disable=SC2086 # options
	launch_behind_router $own --ipv6 python3 -c "$probe" fd00:203::1:1 fd00:203::1:2 fd00:18::2:2 fd00:99::1:64 fd00::2:1
	assert_eq answers 'fd00:203::1 1 3/0 fd00::2
fd00:203::1 2 3/0 fd00:18::2
fd00:18::2 2 129/0 fd00:18::2
fd00:99::1 64 1/0 fd00:18::2
fd00::2 1 129/0 fd00::2' "$out$err"
}

# Traceroute sends UDP datagrams. The router itself refuses them.
case_traceroute_shows_the_route() {
	need_own
	# shellcheck disable=SC2016 # for awk
	hops='{ print $1, $2 }'
	# shellcheck disable=SC2086 # options
	launch_behind_router $own sh -c "for a in 203.0.113.1 198.18.0.2 10.0.2.2; do
		busybox traceroute -n -q 1 -w 10 -m 2 \$a | awk '$hops'; done"
	assert_eq routes 'traceroute to
1 10.0.2.2
2 198.18.0.2
traceroute to
1 10.0.2.2
2 198.18.0.2
traceroute to
1 10.0.2.2' "$out$err"
	[ -e /proc/net/if_inet6 ] || return 0
	# shellcheck disable=SC2086 # options
	launch_behind_router $own --ipv6 sh -c "busybox traceroute6 -n -q 1 -w 10 -m 2 fd00:203::1 | awk '$hops'"
	assert_eq 'route of IPv6' 'traceroute to
1 fd00::2
2 fd00:18::2' "$out$err"
}

case_a_host_that_forbids_ping_sockets_is_one_warning() {
	need_own
	# shellcheck disable=SC2086 # options
	launch $own python3 -c "$probe" 192.0.2.10:64 192.0.2.10:63 192.0.2.1:62
	assert_eq answers '192.0.2.10 64 3/13 10.0.2.2
192.0.2.10 63 3/13 10.0.2.2
192.0.2.1 62 3/13 10.0.2.2' "$out$err"
	assert_eq warnings 1 "$(grep -c level=warning "$tmp/err")"
	assert_match warning "*try as root: sysctl -w net.ipv4.ping_group_range='0 2147483647'*" "$(cat "$tmp/err")"
}

case_nobody_answers_for_many() {
	need_own
	# shellcheck disable=SC2016,SC2086 # for the inner shell; options
	launch_behind_router $own sh -c 'for a in 224.0.0.1 255.255.255.255 10.0.2.255; do
		busybox ping -q -c 1 -W 1 $a >/dev/null 2>&1 && echo "$a"; done; true'
	assert_eq answered '' "$out"
}

case_the_gateways_mac_address_is_found() {
	need_own
	# shellcheck disable=SC2016,SC2086 # for the inner shell; options
	launch $own sh -c 'mac=$(cat /sys/class/net/tap0/address)
		for a in 10.0.2.2 10.0.2.3 10.0.2.4; do busybox arping -c 1 -w 2 -f -I tap0 $a >/dev/null && echo $a; done
		busybox arping -D -c 1 -w 2 -I tap0 10.0.2.2 >/dev/null || echo 10.0.2.2 is in use
		busybox arping -D -c 1 -w 2 -I tap0 10.0.2.99 >/dev/null && echo 10.0.2.99 is not'
	assert_eq 'addresses with a MAC address' '10.0.2.2
10.0.2.3
10.0.2.2 is in use
10.0.2.99 is not' "$out"
}

# The kernel asks for a router, and gets an answer that changes nothing.
case_router_advertisements_configure_nothing() {
	need_own
	need_ipv6
	# shellcheck disable=SC2016,SC2086 # for the inner shell; options
	launch $own --ipv6 sh -c 'solicited() { awk "/^Icmp6InRouterAdvertisements/ && \$2 > 0 { print 1 }" /proc/net/snmp6; }
		i=0; while [ -z "$(solicited)" ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done
		echo "$(solicited)"; ip -o -6 addr show dev tap0 scope global | wc -l; ip -6 route show default | wc -l'
	assert_eq 'advertisement, addresses, default routes' '1
1
1' "$out"
}

run_cases \
	our_addresses_answer_a_ping \
	our_addresses_answer_a_ping_over_ipv6 \
	other_hosts_answer_a_ping \
	errors_show_the_route \
	errors_show_the_route_of_ipv6 \
	traceroute_shows_the_route \
	a_host_that_forbids_ping_sockets_is_one_warning \
	nobody_answers_for_many \
	the_gateways_mac_address_is_found \
	router_advertisements_configure_nothing
