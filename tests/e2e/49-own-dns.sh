#!/bin/sh
# DNS over the network of our own: programs inside look up names at the host's name servers, whatever happens to
# these and to /etc/resolv.conf.
OWN_RESOLV=yes
. "$(dirname "$0")/ownnet.sh"
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/network.sh"

own="--subid-source=self --net=builtin --disable-host-loopback --copy-up=/etc"

need_own() {
	need_own_network
	need_tun
	need dig
	keep_servers
}

# serve ADDRESS BEHAVIOUR: a name server of the host (tests/tools/dnsd.py). What it prints is in $tmp/ADDRESS.
serve() {
	python3 "$tools/dnsd.py" "$1" "$2" >"$tmp/$1" &
	servers="$servers $!"
	wait_until 10 grep -q ready "$tmp/$1"
}

# name_servers ADDRESS...: writes /etc/resolv.conf
name_servers() {
	if [ $# -gt 0 ]; then
		printf 'nameserver %s\n' "$@"
	fi >/etc/resolv.conf
}

# look_up [OPTION OF dig]...: prints the status and the answers
look_up() {
	inside dig +tries=1 +time=20 +noall +comments +answer "$@" |
		sed -n 's/.* status: \([A-Z]*\),.*/\1/p; s/^[^;].*[[:blank:]]//p'
}

# answers_are ANSWER [OPTION OF dig]...
answers_are() {
	wanted=$1
	shift
	[ "$(look_up "$@")" = "$wanted" ]
}

# takes MIN MAX COMMAND...: checks that the command succeeds, and takes between MIN and MAX milliseconds
takes() {
	min=$1 max=$2
	shift 2
	began=$(now_ms)
	"$@" || fail "$*"
	assert_within "$max" "$began"
	[ "$took" -ge "$min" ] || fail "it took only $took ms: $*"
}

# Prints the answer of a good server on 127.0.0.N.
good() {
	printf 'NOERROR\n192.0.2.%s' "$1"
}

# A real server, on the address of systemd-resolved. The host's loopback is out of reach otherwise.
case_real_programs_look_up_names_at_a_stub() {
	need_own
	need dnsmasq
	name_servers 127.0.0.53
	for i in $(seq 100); do
		echo "txt-record=long.test,this-is-record-$i-of-a-long-answer-that-needs-tcp"
	done >"$tmp/dnsmasq.conf"
	dnsmasq -k -C "$tmp/dnsmasq.conf" -P 8192 -R -h -z -a 127.0.0.53 --pid-file= --local=/test/ \
		--address=/one.test/192.0.2.1 --address=/one.test/2001:db8::1 2>"$tmp/dnsmasq.err" &
	servers=$!
	# shellcheck disable=SC2086 # options
	start $own --ipv6 sleep 600
	wait_until 10 answers_are "$(good 1)" one.test
	assert_eq TCP "$(good 1)" "$(look_up +tcp one.test)"
	assert_eq 'no EDNS' "$(good 1)" "$(look_up +noedns one.test)"
	assert_eq IPv6 "$(printf 'NOERROR\n2001:db8::1')" "$(look_up @fd00::3 one.test aaaa)"
	assert_eq 'IPv6 and TCP' "$(printf 'NOERROR\n2001:db8::1')" "$(look_up +tcp @fd00::3 one.test aaaa)"
	assert_eq 'no such name' NXDOMAIN "$(look_up two.test)"
	assert_eq 'a long answer' 100 "$(inside dig +short long.test txt | grep -c record)"
	assert_eq 'a long answer by UDP' 100 "$(inside dig +short +ignore +bufsize=8192 long.test txt | grep -c record)"
	assert_eq getent '192.0.2.1 2001:db8::1' \
		"$(inside getent ahosts one.test | awk '/STREAM/ { print $1 }' | sort | xargs)"
	assert_eq 'the gateway' '' "$(inside dig +tries=1 +time=1 +short @10.0.2.2 one.test | grep -v '^;' || true)"
	stop
}

case_a_changed_resolv_conf_is_followed() {
	need_own
	serve 127.0.0.1 good
	serve 127.0.0.2 good
	name_servers 127.0.0.1
	# shellcheck disable=SC2086 # options
	start $own sleep 600
	assert_eq first "$(good 1)" "$(look_up host.test)"
	name_servers 127.0.0.2
	wait_until 5 answers_are "$(good 2)" host.test
	assert_eq TCP "$(good 2)" "$(look_up +tcp host.test)"
	name_servers
	wait_until 5 answers_are SERVFAIL host.test
	name_servers 127.0.0.1 127.0.0.2
	wait_until 5 answers_are "$(good 1)" host.test
	stop
}

look_up_four_times() {
	for _ in 1 2 3 4; do
		answers_are "$(good 2)" host.test || return
	done
}

case_a_silent_server_is_followed_by_the_next() {
	need_own
	serve 127.0.0.1 silent
	serve 127.0.0.2 good
	name_servers 127.0.0.1 127.0.0.2
	# shellcheck disable=SC2086 # options
	start $own sleep 600
	takes 1900 4500 answers_are "$(good 2)" host.test
	takes 3900 7500 look_up_four_times
	assert_eq 'queries of the silent server' 5 "$(grep -c udp "$tmp/127.0.0.1")"
	stop
}

case_failing_servers_are_followed_by_the_next_at_once() {
	need_own
	serve 127.0.0.2 failing
	serve 127.0.0.3 good
	name_servers 127.0.0.1 127.0.0.2 127.0.0.3
	# shellcheck disable=SC2086 # options
	start $own sleep 600
	takes 0 3500 answers_are "$(good 3)" host.test
	assert_eq 'queries of the failing server' 'udp host.test' "$(grep udp "$tmp/127.0.0.2")"
	# Nothing listens on 127.0.0.1.
	name_servers 127.0.0.1 127.0.0.3
	wait_until 5 answers_are "$(good 3)" +tcp host.test
	name_servers 127.0.0.1 127.0.0.2
	wait_until 5 answers_are SERVFAIL host.test
	stop
}

# The kernel gives up on ARP after 3 s. The sockets report that (IP_RECVERR), so nobody waits longer.
case_an_unreachable_only_server_is_servfail() {
	need_own
	ip link show up1 >/dev/null 2>&1 || skip veth "up0 is no Ethernet interface here"
	name_servers 192.0.2.99
	# shellcheck disable=SC2086 # options
	start $own sleep 600
	takes 1000 8000 answers_are SERVFAIL host.test
	stop
}

case_without_servers_lookups_fail_at_once() {
	need_own
	serve 127.0.0.1 good # which glibc would ask
	name_servers
	# shellcheck disable=SC2086 # options
	start $own sleep 600
	takes 0 4500 answers_are SERVFAIL host.test
	takes 0 4500 assert_fails inside getent hosts host.test
	assert_match TCP '*connection refused*' "$(inside dig +tcp +tries=1 host.test || true)"
	assert_match warning '*level=warning*programs inside cannot look up names: /etc/resolv.conf has no nameserver line*' \
		"$(cat "$tmp/bg.err")"
	assert_eq 'queries of a server that nobody has named' ready "$(cat "$tmp/127.0.0.1")"
	stop
}

case_the_longest_answer_arrives_with_each_mtu() {
	need_own
	serve 127.0.0.1 long
	name_servers 127.0.0.1
	for mtu in 576 1500 65520; do
		# shellcheck disable=SC2086 # options
		launch $own --mtu="$mtu" dig +tries=2 +time=5 +noedns +ignore host.test
		assert_match "MTU $mtu" '*MSG SIZE *rcvd: 65507*' "$out"
	done
}

# Sends 20,000 datagrams to port 53: random bytes, and queries that are damaged in one place.
# shellcheck disable=SC2034
flood='
import random, socket
random.seed(14)
query = b"\1\2\1\0\0\1\0\0\0\0\0\0\4host\4test\0\0\1\0\1"
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(50)]
for i in range(20000):
    if i % 2:
        data = bytearray(query)
        data[random.randrange(len(data))] = random.randrange(256)
        data = data[: random.choice([len(data), random.randrange(len(data))])]
    else:
        data = random.randbytes(random.randrange(100))
    sockets[i % 50].sendto(data, ("10.0.2.3", 53))
'

case_a_flood_of_broken_queries_does_no_harm() {
	need_own
	serve 127.0.0.1 silent
	serve 127.0.0.2 good
	name_servers 127.0.0.1
	# shellcheck disable=SC2086 # options
	start $own sleep 600
	inside python3 -c "$flood"
	fds=$(find "/proc/$pid/fd" | wc -l)
	[ "$fds" -lt 700 ] || fail "$fds descriptors"
	name_servers 127.0.0.2
	# A question that comes before the file is read again waits for the silent server.
	wait_until 10 answers_are "$(good 2)" +time=1 host.test
	stop
}

case_a_capture_has_the_query_and_its_answer() {
	need_own
	need tcpdump
	serve 127.0.0.1 good
	name_servers 127.0.0.1
	# shellcheck disable=SC2086 # options
	launch $own --net-pcap="$tmp/pcap" dig +tries=1 +short host.test
	assert_eq lookup 192.0.2.1 "$out"
	assert_eq mode 600 "$(stat -c %a "$tmp/pcap")"
	tcpdump -nn -r "$tmp/pcap" udp port 53 >"$tmp/shown" 2>"$tmp/err" || fail "$(cat "$tmp/err")"
	assert_match query '* IP 10.0.2.100.* > 10.0.2.3.53: * A? host.test. *' "$(sed -n 1p "$tmp/shown")"
	assert_match answer '* IP 10.0.2.3.53 > 10.0.2.100.*: * A 192.0.2.1 *' "$(sed -n 2p "$tmp/shown")"
}

run_cases \
	real_programs_look_up_names_at_a_stub \
	a_changed_resolv_conf_is_followed \
	a_silent_server_is_followed_by_the_next \
	failing_servers_are_followed_by_the_next_at_once \
	an_unreachable_only_server_is_servfail \
	without_servers_lookups_fail_at_once \
	the_longest_answer_arrives_with_each_mtu \
	a_flood_of_broken_queries_does_no_harm \
	a_capture_has_the_query_and_its_answer
