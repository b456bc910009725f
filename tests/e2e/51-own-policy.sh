#!/bin/sh
# What the network of our own keeps from programs inside: --disable-host-loopback, and the rules about addresses.
# Root inside tries every way with frames of its own (trespass.py). Servers on loopback addresses of the host report
# every contact, and the kernel counts the packets on the host's loopback interface.
OWN_RESOLV=yes
. "$(dirname "$0")/ownnet.sh"
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/network.sh"

# One worker, so that frames are handled in their order.
own='--subid-source=self --workers=1 --ipv6 --copy-up=/etc'

need_own() {
	need_own_network
	need_tun
	need_ipv6
	keep_servers
}

# watch NAME ADDRESS... PORT...: servers that report every contact to $tmp/NAME
watch() {
	name=$1
	shift
	python3 "$tools/contacts.py" "$@" >>"$tmp/$name" & # appended, because a case empties it
	servers="$servers $!"
	wait_until 10 grep -q ready "$tmp/$name"
}

# Servers on every kind of address that the host has. The port is the same everywhere. Those on port 53 are not the
# host's name servers.
watch_the_host() {
	port=$(free_port)
	watch loopback 127.0.0.1 127.0.0.2 127.255.255.254 ::1 "$port" 53
	watch others 192.0.2.10 fd00:1::10 "$port" 53
	echo 'nameserver 127.0.0.53' >/etc/resolv.conf
}

# contacts NAME: prints each kind of contact that servers had
contacts() {
	grep -v ready "$tmp/$1" | sort -u
}

# Prints how many packets the host's loopback interface has carried.
loopback_packets() {
	sed -n 's/^ *lo: *//p' /proc/net/dev | awk '{ print $2 }'
}

# try_every_way NETWORK LOOPBACK OPTION...: starts a launcher, and lets root inside try. Nothing may get through.
try_every_way() {
	net=$1 loopback=$2
	shift 2
	# shellcheck disable=SC2086 # options
	start $own --net="$net" "$@" sleep 60
	before=$(loopback_packets)
	assert_eq "answers of $net" 'done' "$(inside timeout 60 python3 "$here/trespass.py" "$net" "$loopback" "$port")"
	assert_eq "packets on the host's loopback interface" "$before" "$(loopback_packets)"
	assert_eq contacts '' "$(contacts loopback; contacts others)"
}

case_no_frame_reaches_what_is_forbidden() {
	need_own
	watch_the_host
	for net in builtin gvisor-tap-vsock; do
		try_every_way "$net" disabled --disable-host-loopback
		stop
	done
}

# For `python3 -c "$visit" ADDRESS...`: sends to TCP and UDP port $PORT of each address, and prints the answers
visit='
import os, socket, sys
for address in sys.argv[1:]:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        s.settimeout(int(os.environ.get("PATIENCE", 10)))
        try:
            s.connect((address, int(os.environ["PORT"])))
            s.send(b"hello")
            print(s.recv(99).decode())
        except OSError as e:
            print(type(e).__name__)
'

# Without the option, the gateway's address leads to 127.0.0.1 or ::1, and to no other loopback address. All else is
# the same.
case_only_the_gateway_leads_to_an_open_loopback() {
	need_own
	watch_the_host
	for net in builtin gvisor-tap-vsock; do
		try_every_way "$net" open
		gateway=10.0.2.2
		[ "$net" = builtin ] || gateway=10.0.2.1
		assert_eq "visit to the gateway of $net" 'hello
hello
hello
hello' "$(PORT=$port inside python3 -c "$visit" "$gateway" fd00::2)"
		assert_eq contacts "tcp 127.0.0.1 $port
tcp ::1 $port
udp 127.0.0.1 $port
udp ::1 $port" "$(contacts loopback; contacts others)"
		: >"$tmp/loopback"
		stop
	done
}

# The kernel inside routes loopback addresses to the network, as root there can tell it to.
case_loopback_addresses_that_are_routed_lead_nowhere() {
	need_own
	watch_the_host
	# shellcheck disable=SC2086 # options
	start $own --net=builtin --disable-host-loopback sleep 60
	inside sh -ec 'for name in all lo tap0; do echo 1 >/proc/sys/net/ipv4/conf/$name/route_localnet; done
		ip addr del 127.0.0.1/8 dev lo
		ip route flush table local dev lo
		ip route add 127.0.0.0/8 via 10.0.2.2 dev tap0
		ip -6 addr del ::1/128 dev lo
		ip -6 route add ::1/128 via fd00::2 dev tap0'
	before=$(loopback_packets)
	sent=$(inside cat /sys/class/net/tap0/statistics/tx_packets)
	assert_eq visits 'TimeoutError
TimeoutError' "$(PORT=$port PATIENCE=2 inside python3 -c "$visit" 127.0.0.1)"
	[ "$(inside cat /sys/class/net/tap0/statistics/tx_packets)" -gt "$sent" ] || fail 'no packet went to the network'
	assert_eq "packets on the host's loopback interface" "$before" "$(loopback_packets)"
	stop
}

# Names may have any address. A loopback address is that of the namespace.
case_a_name_of_the_hosts_loopback_leads_to_the_own() {
	need_own
	need dnsmasq
	watch_the_host
	dnsmasq -k -C /dev/null -R -h -z -a 127.0.0.53 --pid-file= --address=/here.test/127.0.0.1 --address=/here.test/::1 \
		2>"$tmp/dnsmasq.err" &
	servers="$servers $!"
	# shellcheck disable=SC2086 # options
	start $own --net=builtin --disable-host-loopback sleep 60
	wait_until 10 inside getent ahosts here.test
	assert_eq addresses '127.0.0.1 ::1' "$(inside getent ahosts here.test | awk '/STREAM/ { print $1 }' | sort | xargs)"
	assert_eq 'status of curl' 7 "$(inside sh -c "curl -s http://here.test:$port/; echo \$?")"
	assert_eq contacts '' "$(contacts loopback)"
	stop
}

# Sources of other networks, as routed containers have them, and source routes are no way around the rules, and no
# fault either: the packet gets to the address that it is for. A connection survives all that root inside sends about
# it.
case_what_is_allowed_arrives_where_it_is_for() {
	need_own
	watch_the_host
	# shellcheck disable=SC2086 # options
	start $own --net=builtin --disable-host-loopback sleep 60
	assert_eq answers 'done' "$(inside timeout 60 python3 "$here/allowed.py" "$port")"
	assert_eq contacts "tcp 192.0.2.10 $port
tcp fd00:1::10 $port
udp 192.0.2.10 $port
udp fd00:1::10 $port" "$(contacts loopback; contacts others)"
	stop
}

run_cases \
	no_frame_reaches_what_is_forbidden \
	only_the_gateway_leads_to_an_open_loopback \
	loopback_addresses_that_are_routed_lead_nowhere \
	a_name_of_the_hosts_loopback_leads_to_the_own \
	what_is_allowed_arrives_where_it_is_for
