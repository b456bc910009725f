#!/bin/sh
# UDP over the network of our own, between real programs inside and on the host.
. "$(dirname "$0")/ownnet.sh"
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/network.sh"

own='--subid-source=self --net=builtin --copy-up=/etc'

need_own() {
	need_own_network
	need_tun
}

# A UDP server of the host on ADDRESS and port 0 or PORT: echoes each datagram, and prints its port.
echo_server='
import ipaddress, socket, sys
address, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
s.bind((address, port))
print(s.getsockname()[1], flush=True)
while True:
    data, sender = s.recvfrom(65536)
    s.sendto(data, sender)
'

# start_server PROGRAM [ARGUMENT]...: starts a server in Python, which prints its port. Sets `port` and `server`.
start_server() {
	: >"$tmp/port"
	python3 -c "$@" >"$tmp/port" &
	server=$!
	trap 'end_process "$server"' EXIT
	wait_until 10 test -s "$tmp/port"
	port=$(cat "$tmp/port")
}

# start_echo ADDRESS [PORT]: starts the echo server.
start_echo() {
	start_server "$echo_server" "$1" "${2:-0}"
}

# For `python3 -c "$client" HOST PORT SIZE...`: sends datagrams of these sizes one after the other, and
# checks that each answer has the same bytes, and comes from the address that was written to. A datagram
# that gets lost is sent again.
client='
import socket, sys
host, port, sizes = sys.argv[1], int(sys.argv[2]), [int(n) for n in sys.argv[3:]]
family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
s = socket.socket(family, socket.SOCK_DGRAM)
s.settimeout(1)

def ask(data):
    for _ in range(10):
        s.sendto(data, address)
        try:
            return s.recvfrom(65536)
        except TimeoutError:
            pass
    sys.exit(f"no answer to {len(data)} bytes")

for size in sizes:
    data = bytes((i * 2654435761 + size >> 13) & 255 for i in range(size))
    answer, sender = ask(data)
    if sender[:2] != address[:2]:
        sys.exit(f"answer from {sender}")
    if answer != data:
        sys.exit(f"{size} bytes came back as other {len(answer)} bytes")
print("same")
'

# ---- datagrams ----

case_datagrams_of_all_sizes_pass_at_all_mtus() {
	need_own
	start_echo 127.0.0.1
	for mtu in 576 1500 65520; do
		# shellcheck disable=SC2086 # options
		launch $own --mtu="$mtu" python3 -c "$client" 10.0.2.2 "$port" \
			0 1 547 548 549 550 1471 1472 1473 8192 8193 65491 65492 65507
		assert_eq "answers with MTU $mtu" same "$out$err"
	done
}

case_datagrams_pass_over_IPv6() {
	need_own
	need_ipv6
	start_echo ::1
	for mtu in 1280 1500 65520; do
		# shellcheck disable=SC2086 # options
		launch $own --ipv6 --mtu="$mtu" python3 -c "$client" fd00::2 "$port" \
			0 1 1231 1232 1233 1452 1453 8193 65471 65472 65487 65488 65526 65527
		assert_eq "answers with MTU $mtu" same "$out$err"
	done
}

case_the_hosts_other_addresses_answer() {
	need_own
	start_echo 192.0.2.10
	# shellcheck disable=SC2086 # options
	launch $own --disable-host-loopback python3 -c "$client" 192.0.2.10 "$port" 5 65507
	assert_eq IPv4 same "$out$err"
	end_process "$server"
	need_ipv6
	start_echo fd00:1::10
	# shellcheck disable=SC2086 # options
	launch $own --disable-host-loopback --ipv6 python3 -c "$client" fd00:1::10 "$port" 5 60000
	assert_eq IPv6 same "$out$err"
}

# A UDP packet may be shorter than the IP packet that it is in (RFC 768).
case_padding_behind_a_datagram_is_cut_off() {
	need_own
	start_echo 127.0.0.1
	# shellcheck disable=SC2086 # options
	launch $own python3 -c '
import socket, struct, sys
port = int(sys.argv[1])
inside, gateway = socket.inet_aton("10.0.2.100"), socket.inet_aton("10.0.2.2")
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.0.2.100", 0))
s.settimeout(1)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)

def datagram(data):
    head = struct.pack(">3H", s.getsockname()[1], port, 8 + len(data))
    summed = inside + gateway + struct.pack(">2H", 17, 8 + len(data)) + head + b"\0\0" + data
    total = sum(struct.unpack(f">{len(summed) // 2}H", summed))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return head + struct.pack(">H", ~total & 0xffff) + data

def ask(packet):
    for _ in range(10):
        raw.sendto(packet, ("10.0.2.2", 0))
        try:
            return s.recv(99).decode()
        except TimeoutError:
            pass
    return "no answer"

print(ask(datagram(b"whole.")), ask(datagram(b"padded") + b"padding"))
' "$port"
	assert_eq answers 'whole. padded' "$out$err"
}

case_socat_talks_to_socat() {
	need_own
	need socat
	port=$(free_port)
	socat "UDP4-LISTEN:$port,bind=127.0.0.1" PIPE &
	server=$!
	trap 'end_process "$server"' EXIT
	# shellcheck disable=SC2016,SC2086 # for the inner shell; options
	launch $own sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do
			answer=$(echo hello | socat -T 1 -t 1 - "UDP4:10.0.2.2:$0" 2>/dev/null)
			[ -z "$answer" ] || break
		done; echo "$answer"' "$port"
	assert_eq answer hello "$out"
}

# ---- batches ----

# A program inside sends batches (UDP_SEGMENT), which come through the TAP as one frame each if the kernel
# has USO; the host answers with batches. What gets lost is sent again.
case_batches_keep_the_boundaries_of_datagrams() {
	need_own
	start_echo 127.0.0.1
	for mtu in 1500 65520; do
		# shellcheck disable=SC2086 # options
		launch $own --mtu="$mtu" python3 -c '
import socket, sys
UDP_SEGMENT = 103
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
s.settimeout(1)
s.connect(("10.0.2.2", int(sys.argv[1])))
s.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
want = [bytes([i]) * (1000 if i < 30 else 77) for i in range(31)]
missing = set(want)
for _ in range(10):
    s.send(b"".join(want))
    try:
        while missing:
            data = s.recv(65536)
            if data not in want:
                sys.exit(f"a datagram of {len(data)} bytes")
            missing.discard(data)
    except TimeoutError:
        continue
    print("all")
    break
' "$port"
		assert_eq "datagrams with MTU $mtu" all "$out$err"
	done
}

# Both directions at full speed: whatever arrives is one of the datagrams, unchanged and in order.
case_datagrams_of_a_flood_are_unchanged_and_in_order() {
	need_own
	start_echo 127.0.0.1
	# shellcheck disable=SC2086 # options
	launch $own --mtu=1500 python3 -c '
import random, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("10.0.2.2", int(sys.argv[1])))
block = random.Random(1).randbytes(4000)
def make(i):
    start, length = i % 997, (1400, 1400, 1400, i % 1460 + 8)[i // 64 % 4]
    return i.to_bytes(8, "big") + block[start:start + length - 8]
# While the kernel asks for the MAC address of the gateway, datagrams overtake those that wait for it.
s.settimeout(20)
s.send(make(0))
assert s.recv(65536) == make(0)
s.setblocking(False)
last, count, i, end = 0, 0, 1, time.monotonic() + 1
while time.monotonic() < end or count == 0:
    for _ in range(20):
        try:
            s.send(make(i))
        except BlockingIOError:
            pass
        i += 1
    try:
        while True:
            data = s.recv(65536)
            number = int.from_bytes(data[:8], "big")
            if data != make(number) or number <= last:
                sys.exit(f"datagram {number} after {last}, {len(data)} bytes")
            last, count = number, count + 1
    except BlockingIOError:
        pass
print("unchanged" if count > 100 else f"only {count} of {i}")
' "$port"
	assert_eq datagrams unchanged "$out$err"
}

# ---- errors ----

# For `python3 -c "$refusal" HOST PORT`: prints what a connected socket is told
refusal='
import socket, sys
family, _, _, _, address = socket.getaddrinfo(sys.argv[1], int(sys.argv[2]), type=socket.SOCK_DGRAM)[0]
s = socket.socket(family, socket.SOCK_DGRAM)
s.settimeout(10)
s.connect(address)
try:
    s.send(b"x")
    s.recv(9)
except OSError as e:
    print(type(e).__name__, e.errno)
'

case_a_refusal_is_reported_to_the_program() {
	need_own
	port=$(free_port)
	# shellcheck disable=SC2086 # options
	launch $own python3 -c "$refusal" 10.0.2.2 "$port"
	assert_eq 'the host refuses' 'ConnectionRefusedError 111' "$out$err"
	# shellcheck disable=SC2086 # options
	launch $own python3 -c "$refusal" 10.0.2.3 54
	assert_eq 'another port of the DNS address' 'ConnectionRefusedError 111' "$out$err"
	need_ipv6
	# shellcheck disable=SC2086 # options
	launch $own --ipv6 python3 -c "$refusal" fd00::2 "$port"
	assert_eq 'the host refuses over IPv6' 'ConnectionRefusedError 111' "$out$err"
}

case_disable_host_loopback_refuses_the_gateway() {
	need_own
	start_echo 127.0.0.1
	# shellcheck disable=SC2086 # options
	launch $own --disable-host-loopback python3 -c "$refusal" 10.0.2.2 "$port"
	assert_eq 'the gateway' 'ConnectionRefusedError 111' "$out$err"
}

# Runs in a new user and network namespace, which is the host. A router leads to a server over a link with an
# MTU of 1280.
# shellcheck disable=SC2016 # for the inner shell
narrow_path='
set -e
trap "kill \$router \$server; wait" EXIT
unshare -n sleep 60 & router=$!
unshare -n sh -c "ip link set lo up; until ip link show s0 >/dev/null 2>&1; do sleep 0.05; done
	ip addr add 198.51.100.2/24 dev s0; ip link set s0 mtu 1280 up; ip route add default via 198.51.100.1
	exec python3 -c \"\$0\" 198.51.100.2 7000" "$1" >"$2/narrow" & server=$!
has_left() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }
until has_left "$router" && has_left "$server"; do sleep 0.05; done
ip link set lo up
ip link add up0 type veth peer name r0
ip link set r0 netns "$router"
ip addr add 192.0.2.10/24 dev up0
ip link set up0 up
ip route add default via 192.0.2.1
nsenter -t "$router" -n sh -ec "
	ip addr add 192.0.2.1/24 dev r0; ip link set r0 up
	ip link add r1 type veth peer name s0; ip link set s0 netns $server
	ip addr add 198.51.100.1/24 dev r1; ip link set r1 mtu 1280 up
	echo 1 >/proc/sys/net/ipv4/ip_forward"
until [ -s "$2/narrow" ]; do sleep 0.05; done
shift 2
"$@"
'

# The inside has MTU 1500, and so has the host. Its programs get what they would get without us: an error and
# the path MTU if they forbid fragments, else no difference but the loss of the first.
case_a_smaller_mtu_on_the_path_is_reported() {
	need_own
	unshare -rn ip link add up0 type veth peer name r0 2>/dev/null || skip veth 'there is no veth here'
	rc=0
	# shellcheck disable=SC2086 # options
	timeout 60 unshare -rn sh -c "$narrow_path" - "$echo_server" "$tmp" \
		unshare --user --map-user="$(id -u)" --map-group="$(id -g)" \
		rootlesskit $own --mtu=1500 python3 -c '
import errno, socket
IP_MTU_DISCOVER, IP_MTU, DO, WANT = 10, 14, 2, 1
def connected(discover):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(1)
    s.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, discover)
    s.connect(("198.51.100.2", 7000))
    return s

def ask(s, size):
    for _ in range(20):
        s.send(bytes(size))
        try:
            if len(s.recv(65536)) == size:
                return
        except TimeoutError:
            pass

s = connected(DO)
ask(s, 1200)
try:
    ask(s, 1400)
except OSError as e:
    print(errno.errorcode[e.errno], s.getsockopt(socket.IPPROTO_IP, IP_MTU))
s = connected(WANT)
for size in 1400, 1200, 9000:
    ask(s, size)
print("answered")
' >"$tmp/out" 2>"$tmp/err" || rc=$?
	assert_eq output 'EMSGSIZE 1280
answered' "$(cat "$tmp/out")"
	assert_eq status 0 "$rc"
}

# ---- flows ----

# A UDP server of the host: puts the port of the sender in front of each datagram, and sends it back. Prints its
# port.
naming_server='
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
while True:
    data, sender = s.recvfrom(65536)
    s.sendto(sender[1].to_bytes(2, "big") + data, sender)
'

# Fragments have no ports, so the kernel chooses another queue for them than for small datagrams of the same socket
# (by chance the same). What gets lost is sent again.
case_small_and_fragmented_datagrams_of_a_socket_have_one_port() {
	need_own
	start_server "$naming_server"
	# shellcheck disable=SC2086 # options
	launch $own --workers=4 --mtu=1500 python3 -c '
import socket, sys
address = ("10.0.2.2", int(sys.argv[1]))

def ask(s, data):
    for _ in range(10):
        s.sendto(data, address)
        try:
            while (answer := s.recv(65536))[2:] != data:
                pass
            return int.from_bytes(answer[:2], "big")
        except TimeoutError:
            pass
    sys.exit(f"no answer to {len(data)} bytes")

clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(16)]
ports = [set() for _ in clients]
for s in clients:
    s.settimeout(1)
for i in range(8):
    for number, s in enumerate(clients):
        size = (100, 5000)[(i + number) % 2]
        ports[number].add(ask(s, bytes([i, number]) * (size // 2)))
several = sum(len(p) > 1 for p in ports)
print(f"{several} sockets have several ports, {len(set.union(*ports))} ports")
' "$port"
	assert_eq ports '0 sockets have several ports, 16 ports' "$out$err"
}

# Several sockets have their datagrams echoed as fast as they can. The kernel has one note for all fragments between two
# addresses, which says by which queue the last ones came in; so it may change the queue in the middle of a datagram.
# The first datagram of each socket is small, so that their flows, and with them the answers, are in different queues.
# A socket has one datagram under way, so no buffer overflows.
case_fragments_that_change_the_queue_make_the_datagram() {
	need_own
	start_echo 127.0.0.1
	# shellcheck disable=SC2086 # options
	launch $own --workers=4 --mtu=1500 python3 -c '
import selectors, socket, sys
ROUNDS = 1000
address = ("10.0.2.2", int(sys.argv[1]))
ready = selectors.DefaultSelector()
sent, lost = {}, 0

def datagram(number):
    return number.to_bytes(4, "big") * (3000 if number > 0 else 1)

def send(s, number):
    sent[s] = number
    s.sendto(datagram(number), address)

for i in range(8):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ready.register(s, selectors.EVENT_READ)
    send(s, 0)
while min(sent.values()) < ROUNDS:
    events = ready.select(1)
    for s in [key.fileobj for key, _ in events]:
        data = s.recv(65536)
        number = int.from_bytes(data[:4], "big")
        assert data == datagram(number), "another datagram"
        if number == sent[s] and number < ROUNDS:
            send(s, number + 1)
    if not events:
        late = [s for s in sent if sent[s] < ROUNDS]
        lost += len(late)
        for s in late:
            send(s, sent[s] + 1)
print(f"{lost} lost")
' "$port"
	assert_eq datagrams '0 lost' "$out$err"
}

# More flows than there may be, which are 2048 new ones and as many established ones. A port that the kernel
# chooses again makes an established flow: its flow was answered before.
case_a_flood_of_flows_is_bounded() {
	need_own
	start_echo 127.0.0.1
	# shellcheck disable=SC2086 # options
	start $own sleep 60
	assert_eq answers answered "$(inside python3 -c '
import socket, sys
address = ("10.0.2.2", int(sys.argv[1]))

def ask(s, data):
    for _ in range(10):
        s.sendto(data, address)
        try:
            return s.recv(99) == data
        except TimeoutError:
            pass
    sys.exit("no answer")

def client():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(1)
    return s

friend = client()
for i in range(3):
    ask(friend, b"friend")
for i in range(3000):
    with client() as s:
        if i % 100 == 0:
            ask(s, b"hi")
        else:
            s.sendto(b"hi", address)
ask(friend, b"friend")
print("answered")
' "$port")"
	count=$(find "/proc/$pid/fd" -mindepth 1 | wc -l)
	[ "$count" -lt 2700 ] || fail "the launcher has $count descriptors"
	[ "$count" -gt 100 ] || fail "the launcher has only $count descriptors, so there was no flood"
	stop
}

run_cases \
	datagrams_of_all_sizes_pass_at_all_mtus \
	datagrams_pass_over_IPv6 \
	the_hosts_other_addresses_answer \
	padding_behind_a_datagram_is_cut_off \
	socat_talks_to_socat \
	batches_keep_the_boundaries_of_datagrams \
	datagrams_of_a_flood_are_unchanged_and_in_order \
	a_refusal_is_reported_to_the_program \
	disable_host_loopback_refuses_the_gateway \
	a_smaller_mtu_on_the_path_is_reported \
	small_and_fragmented_datagrams_of_a_socket_have_one_port \
	fragments_that_change_the_queue_make_the_datagram \
	a_flood_of_flows_is_bounded
