# shellcheck shell=sh
# shellcheck disable=SC2016,SC2034,SC2086,SC2154 # scripts for the shell inside stand in single quotes;
# variables are shared with compare.sh; $BUILTIN and $NETWORK are lists of options
# For compare.sh: published ports, the API, rootlessctl.

GROUPS_OF_BEHAVIOURS="$GROUPS_OF_BEHAVIOURS port api ctl"

# ---- ports ----

# see_published SPEC...: publishes ports, and prints the list, the listening sockets, and the answers
see_published() {
	n=$#
	for spec; do
		set -- "$@" -p "$spec"
	done
	shift "$n"
	echo hello >index.html
	begin $BUILTIN "$@" busybox httpd -f -p 80 -h "$tmp"
	rootlessctl --socket="$sock" list-ports | sort -n
	see_listeners "$p1"
	for host in 127.0.0.1 127.0.0.2 '[::1]'; do
		echo "$host: $(curl -s -g --max-time 5 "http://$host:$p1/" || echo none)"
	done
	finish
}

# see_refused SPEC...: a start that fails
see_refused() {
	n=$#
	for spec; do
		set -- "$@" -p "$spec"
	done
	shift "$n"
	until_published "$n" $BUILTIN "$@"
}

# see_udp SPEC: publishes a UDP port of an echo server
see_udp() {
	begin $BUILTIN -p "$1" socat udp-listen:80,fork,reuseaddr exec:cat
	see_listeners "$p1"
	for host in 127.0.0.1 '[::1]'; do
		echo "$host: $(echo hello | socat -t 1 - "udp:$host:$p1" 2>/dev/null)"
	done
	finish
}

see_in_use() {
	socat tcp-listen:"$p1",bind=127.0.0.1,reuseaddr,fork /dev/null &
	holder=$!
	wait_for sh -c "grep -q \"$(printf ':%04X 0' "$p1")\" /proc/net/tcp"
	see_refused "127.0.0.1:$p1:80/tcp"
	rc=$?
	kill "$holder"
	await_end "$holder"
	return $rc
}

# The address that the server inside is reached at: 127.0.0.1 or the parent's IP.
see_target() {
	begin $BUILTIN -p "127.0.0.1:$p1:80/tcp" -p "127.0.0.2:$p2:80/tcp" \
		-p "0.0.0.0:$p3:80/tcp4" -p "127.0.0.1:$p4:127.0.0.3:80/tcp" \
		socat tcp-listen:80,fork,reuseaddr 'system:echo $SOCAT_SOCKADDR'
	for to in "127.0.0.1:$p1" "127.0.0.2:$p2" "127.0.0.1:$p3" "127.0.0.1:$p4"; do
		echo "$to: $(socat -u "tcp:$to" -)"
	done
	finish
}

SPECS='no-address=::PORT:80/tcp
no-first-colon=PORT:80/tcp
no-proto=127.0.0.1:PORT:80
empty=
number=80
unknown-proto=127.0.0.1:PORT:80/foo
upper-case=127.0.0.1:PORT:80/TCP
empty-proto=127.0.0.1:PORT:80/
two-protos=127.0.0.1:PORT:80/tcp/udp
sctp=127.0.0.1:PORT:80/sctp
port-0=127.0.0.1:0:80/tcp
child-port-0=127.0.0.1:PORT:0/tcp
port-70000=127.0.0.1:70000:80/tcp
port-negative=127.0.0.1:-1:80/tcp
port-plus=127.0.0.1:+PORT:80/tcp
port-letters=127.0.0.1:abc:80/tcp
child-port-letters=127.0.0.1:PORT:abc/tcp
address-300=300.0.0.1:PORT:80/tcp
host-name=localhost:PORT:80/tcp
child-address-999=127.0.0.1:PORT:999.1.1.1:80/tcp
no-brackets=::1:PORT:80/tcp
open-bracket=[::1:PORT:80/tcp
zone=[fe80::1%lo]:PORT:80/tcp
blank= 127.0.0.1:PORT:80/tcp
short-address=127.1:PORT:80/tcp
star=*:PORT:80/tcp
not-mine=192.0.2.99:PORT:80/tcp
v6-as-tcp4=[::1]:PORT:80/tcp4
v4-as-tcp6=127.0.0.1:PORT:80/tcp6'

group_port() {
	pick_ports 4
	see port see_published "127.0.0.1:$p1:80/tcp"
	see port-tcp4 see_published "127.0.0.1:$p1:80/tcp4"
	see port-any-tcp4 see_published "0.0.0.0:$p1:80/tcp4"
	if has_ipv6; then
		see port-any see_published "0.0.0.0:$p1:80/tcp"
		see port-any-6 see_published "[::]:$p1:80/tcp"
		see port-no-address see_published ":$p1:80/tcp"
		see port-any-tcp6 see_published "[::]:$p1:127.0.0.1:80/tcp6"
		see port-both-families see_published "0.0.0.0:$p1:80/tcp4" "[::]:$p1:127.0.0.1:80/tcp6"
		see port-6 see_published "[::1]:$p1:127.0.0.1:80/tcp"
		see port-brackets-around-4 see_published "[127.0.0.1]:$p1:80/tcp"
	else
		skip_all ipv6 "this host has no IPv6" port-any port-any-6 port-no-address port-any-tcp6 \
			port-both-families port-6 port-brackets-around-4
	fi
	see port-list until_published 2 $BUILTIN \
		-p "127.0.0.1:$p1:80/tcp,127.0.0.1:$p2:81/tcp"
	see port-target see_target
	see port-conflict see_refused "127.0.0.1:$p1:80/tcp" "127.0.0.1:$p1:80/tcp"
	see port-conflict-other-child see_refused "127.0.0.1:$p1:80/tcp" "127.0.0.1:$p1:81/tcp"
	see port-conflict-tcp4 see_refused "127.0.0.1:$p1:80/tcp" "127.0.0.1:$p1:80/tcp4"
	see port-conflict-any see_refused ":$p1:80/tcp" "0.0.0.0:$p1:80/tcp"
	see port-in-use see_in_use
	see port-privileged see_refused 127.0.0.1:80:80/tcp
	see port-privileged-any see_refused 0.0.0.0:80:80/tcp
	see port-privileged-tcp6 see_refused '[::]:80:80/tcp6'
	echo "$SPECS" | while IFS='=' read -r name spec; do
		see "spec-$name" see_refused "$(echo "$spec" | sed "s/PORT/$p1/")"
	done
	see udp see_udp "127.0.0.1:$p1:80/udp"
	see udp-any see_udp "0.0.0.0:$p1:80/udp"
	see udp-privileged see_refused 127.0.0.1:53:53/udp
	see udp-conflict see_refused "127.0.0.1:$p1:80/udp" "127.0.0.1:$p1:81/udp"
}

# ---- the API ----

URL=http://rootlesskit

# For answers that hold a version and a PID, so that their length varies.
ask_info() {
	ask "$@" | sed 's/^Content-Length: .*/Content-Length: LENGTH/'
}
ask() {
	curl -si --max-time 5 --unix-socket "$sock" "$@"
}
post() {
	ask -H 'Content-Type: application/json' -d "$1" "$URL/v1/ports"
}
# raw FORMAT: sends bytes to the API, and prints what comes back. The connection may stay open, so that
# nothing marks the end of the answers: waits until the first one is there, and 0.3 s for another one.
raw() {
	: >answer
	# shellcheck disable=SC2059,SC2094 # the argument is a format; test(1) does not read the file
	{ printf "$1"; wait_for test -s answer; sleep 0.1; } | timeout 5 socat -t 0.2 - "UNIX-CONNECT:$sock" >answer
	rc=$?
	cat answer
	return $rc
}

# spec PROTO PARENT_IP PARENT_PORT CHILD_PORT: prints a port spec in JSON
spec() {
	printf '{"proto":"%s","parentIP":"%s","parentPort":%s,"childPort":%s}' "$@"
}

BODIES='nothing=
empty-object={}
null=null
number=1
string="x"
list=[]
cut={"proto":
garbage=garbage
no-quotes={proto:"tcp"}
trailing-comma={"proto":"tcp",}
port-0={"proto":"tcp","parentPort":0,"childPort":80}
port-70000={"proto":"tcp","parentPort":70000,"childPort":80}
port-negative={"proto":"tcp","parentPort":-5,"childPort":80}
port-float={"proto":"tcp","parentPort":18110.5,"childPort":80}
port-exponent={"proto":"tcp","parentPort":1e4,"childPort":80}
port-huge={"proto":"tcp","parentPort":99999999999999999999,"childPort":80}
port-string={"proto":"tcp","parentPort":"18110","childPort":80}
no-child-port={"proto":"tcp","parentPort":18110}
child-port-70000={"proto":"tcp","parentPort":18110,"childPort":70000}
proto-number={"proto":6,"parentPort":18110,"childPort":80}
proto-sctp={"proto":"sctp","parentIP":"127.0.0.1","parentPort":18110,"childPort":80}
proto-unknown={"proto":"foo","parentIP":"127.0.0.1","parentPort":18110,"childPort":80}
address={"proto":"tcp","parentIP":"foo","parentPort":18110,"childPort":80}
child-address={"proto":"tcp","parentIP":"127.0.0.1","parentPort":18110,"childIP":"foo","childPort":80}
not-mine={"proto":"tcp","parentIP":"192.0.2.99","parentPort":18110,"childPort":80}
v6-as-tcp4={"proto":"tcp4","parentIP":"::1","parentPort":18110,"childPort":80}
privileged={"proto":"tcp","parentIP":"127.0.0.1","parentPort":80,"childPort":80}'

api_routes() {
	for path in / /v1 /v1/nosuch /v2/info /v1/info/ /v1/ports/ /v1/ports/1; do
		see "api-get$(echo "$path" | tr / -)" ask "$URL$path"
	done
	see api-get-query ask_info "$URL/v1/info?x=y"
	see api-get-double-slash ask "$URL/v1//info"
	for method in POST PUT DELETE OPTIONS get; do
		see "api-$method-info" ask -X "$method" "$URL/v1/info"
		[ "$method" = POST ] || see "api-$method-ports" ask -X "$method" -d '{}' "$URL/v1/ports"
	done
	see api-post-id ask -d '{}' "$URL/v1/ports/1"
	see api-head-info ask -I "$URL/v1/info"
	see api-head-ports ask -I "$URL/v1/ports"
	see api-http10 ask_info --http1.0 "$URL/v1/info"
	see api-raw-http10 raw 'GET /v1/nosuch HTTP/1.0\r\n\r\n'
	see api-raw-absolute raw 'GET http://x/v1/nosuch HTTP/1.1\r\nHost: x\r\n\r\n'
	see api-raw-garbage raw 'hello\r\n\r\n'
	see api-raw-no-host raw 'GET /v1/info HTTP/1.1\r\n\r\n'
	see api-raw-version raw 'GET /v1/info HTTP/9.9\r\nHost: x\r\n\r\n'
	see api-raw-length raw 'POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n{}'
	see api-raw-line-feeds raw 'GET /v1/nosuch HTTP/1.1\nHost: x\n\n'
	see api-raw-keep-alive raw 'GET /v1/nosuch HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n'
	see api-raw-close raw 'GET /v1/nosuch HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
}

api_odd_requests() {
	get='GET /v1/nosuch HTTP/1.1\r\nHost: x\r\nConnection: close\r\n'
	post='POST /v1/ports HTTP/1.1\r\nHost: x\r\nConnection: close\r\n'
	see api-raw-empty-line-first raw "\r\n$get\r\n"
	see api-raw-encoding raw "${post}Transfer-Encoding: gzip\r\n\r\n"
	see api-raw-two-encodings raw "${post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
	see api-raw-chunk-size raw "${post}Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"
	see api-raw-chunk-end raw "${post}Transfer-Encoding: chunked\r\n\r\n2\r\n{}x0\r\n\r\n"
	see api-raw-long-body raw "${post}Content-Length: 65537\r\n\r\n{}"
	see api-raw-endless-body raw "${post}Content-Length: 9223372036854775808\r\n\r\n{}"
	see api-raw-expect raw "${get}Expect: foo\r\n\r\n"
	see api-raw-expect-continue raw "${post}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"
	see api-raw-connect raw 'CONNECT x:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
	see api-raw-connect-path raw 'CONNECT /v1/info HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
}

api_posts() {
	echo "$BODIES" | while IFS='=' read -r name body; do
		see "api-post-$name" post "$body"
	done
	see api-add post "$(spec tcp 127.0.0.1 "$p1" 80)"
	see api-add-again post "$(spec tcp 127.0.0.1 "$p1" 81)"
	see api-add-in-use post "$(spec tcp4 127.0.0.1 "$p1" 80)"
	see api-list ask "$URL/v1/ports"
	see api-add-no-content-type ask -H Content-Type: -d "$(spec tcp 127.0.0.1 "$p2" 80)" "$URL/v1/ports"
	see api-add-chunked ask -H 'Transfer-Encoding: chunked' -d "$(spec tcp4 127.0.0.1 "$p3" 80)" "$URL/v1/ports"
	see api-delete ask -X DELETE "$URL/v1/ports/3"
	see api-delete-again ask -X DELETE "$URL/v1/ports/3"
	see api-add-trailing post "$(spec tcp 127.0.0.1 "$p3" 80) garbage"
	see api-add-more-members post "{\"foo\":[1],\"id\":77,$(spec tcp 127.0.0.1 "$p4" 80 | cut -c 2-)"
	see api-delete-plus ask -X DELETE "$URL/v1/ports/+4"
	see api-delete-percent ask -X DELETE "$URL/v1/ports/%35"
	see api-add-twice-the-same-member post "{\"proto\":\"udp\",$(spec tcp 127.0.0.1 "$p3" 80 | cut -c 2-)"
	see api-add-nulls post "{\"parentIP\":null,\"proto\":\"tcp\",\"parentPort\":$p4,\"childPort\":80}"
	see api-add-capitals post "{\"PROTO\":\"tcp\",\"ParentIP\":\"127.0.0.5\",\"parentport\":$p1,\"ChildPort\":80}"
	see api-add-child-address post "{\"childIP\":\"10.0.2.100\",$(spec tcp 127.0.0.6 "$p1" 80 | cut -c 2-)"
	for id in 99 abc -1 1.5 '' 1/2 1/; do
		see "api-delete-id-$(echo "$id" | tr / _)" ask -X DELETE "$URL/v1/ports/$id"
	done
	see api-delete-with-body ask -X DELETE -d '{}' "$URL/v1/ports/98"
	see api-delete-list ask -X DELETE "$URL/v1/ports"
}

group_api() {
	pick_ports 4
	begin $BUILTIN sleep 600
	see api-info ask_info "$URL/v1/info"
	see api-list-empty ask "$URL/v1/ports"
	api_routes
	api_odd_requests
	api_posts
	finish
	begin sleep 600
	see api-host-info ask_info "$URL/v1/info"
	see api-host-list ask "$URL/v1/ports"
	see api-host-add post "$(spec tcp 127.0.0.1 "$p1" 80)"
	see api-host-delete ask -X DELETE "$URL/v1/ports/1"
	finish
	begin $NETWORK sleep 600
	see api-network-info ask_info "$URL/v1/info"
	see api-network-list ask "$URL/v1/ports"
	finish
}

# ---- rootlessctl ----

ctl() {
	rootlessctl --socket="$sock" "$@"
}

# Sorted by ID, because RootlessKit lists ports in random order.
ctl_list() {
	ctl list-ports "$@" | sort -n
}

ctl_without_a_server() {
	see ctl-no-command see_stream rootlessctl
	see ctl-help see_stream rootlessctl --help
	for command in list-ports add-ports remove-ports info; do
		see "ctl-help-$command" see_stream rootlessctl "$command" --help
	done
	see ctl-unknown-command rootlessctl foo
	see ctl-unknown-option rootlessctl --foo
	see ctl-no-socket env -u ROOTLESSKIT_STATE_DIR rootlessctl list-ports
	see ctl-socket-missing rootlessctl --socket=/nonexistent list-ports
	see ctl-socket-by-environment env ROOTLESSKIT_STATE_DIR=/nonexistent rootlessctl info
	touch plain
	see ctl-socket-is-a-file rootlessctl --socket="$tmp/plain" list-ports
	socat -u UNIX-LISTEN:dead,unlink-close=0 /dev/null &
	holder=$!
	wait_for test -S dead
	kill "$holder"
	await_end "$holder"
	see ctl-socket-dead rootlessctl --socket="$tmp/dead" list-ports
}

group_ctl() {
	pick_ports 4
	ctl_without_a_server
	begin $BUILTIN sleep 600
	see ctl-info ctl info
	see ctl-info-json ctl info --json
	see ctl-list-empty ctl list-ports
	see ctl-list-empty-json ctl list-ports --json
	see ctl-add ctl add-ports "127.0.0.1:$p1:80/tcp"
	see ctl-add-json ctl add-ports --json "127.0.0.1:$p2:10.0.2.100:80/tcp"
	see ctl-add-two ctl add-ports "0.0.0.0:$p3:80/tcp" "127.0.0.1:$p4:8080/tcp4"
	see ctl-list ctl_list
	see ctl-list-json ctl_list --json
	see ctl-list-more-words ctl_list foo bar
	see ctl-add-conflict ctl add-ports "127.0.0.1:$p1:80/tcp"
	see ctl-add-good-then-bad ctl add-ports "127.0.0.2:$p1:80/tcp" "127.0.0.1:$p1:80/tcp"
	see ctl-add-none ctl add-ports
	see ctl-add-malformed ctl add-ports foo
	see ctl-add-proto ctl add-ports "127.0.0.1:$p1:80/foo"
	see ctl-add-sctp ctl add-ports "127.0.0.9:$p1:80/sctp"
	see ctl-add-port-0 ctl add-ports 127.0.0.1:0:80/tcp
	see ctl-add-privileged ctl add-ports 127.0.0.1:80:80/tcp
	see ctl-add-not-mine ctl add-ports "192.0.2.99:$p1:80/tcp"
	see ctl-add-option-behind ctl add-ports "127.0.0.3:$p1:80/tcp" --json
	see ctl-remove ctl remove-ports 1
	see ctl-remove-again ctl remove-ports 1
	see ctl-remove-none ctl remove-ports
	see ctl-remove-negative ctl remove-ports -1
	see ctl-remove-letters ctl remove-ports abc
	see ctl-remove-two ctl remove-ports 2 3
	see ctl-remove-good-then-bad ctl remove-ports 4 99
	see ctl-debug rootlessctl --debug --socket="$sock" remove-ports 99
	see ctl-list-after ctl_list
	finish
	begin sleep 600
	see ctl-host-info ctl info
	see ctl-host-list ctl list-ports
	see ctl-host-add ctl add-ports "127.0.0.1:$p1:80/tcp"
	finish
	see ctl-inside when_ready 'rootlessctl list-ports; rootlessctl info --json >/dev/null && echo answered' \
		$BUILTIN -p "127.0.0.1:$p1:80/tcp"
}
