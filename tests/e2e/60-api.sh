#!/bin/sh
# The REST API: its answers, byte for byte, and clients that stall, leave, come in great number or send
# garbage.
. "$(dirname "$0")/lib.sh"

URL=http://rootlesskit

# ---- requests ----

start_builtin() {
	start --net=none --port-driver=builtin "$@" sleep 60
	sock=$state/api.sock
}

api() {
	curl -s --max-time 10 --unix-socket "$sock" "$@"
}

# Prints the answer on standard input with line feeds instead of CRLF and DATE instead of the date.
as_text() {
	sed -e 's/\r$//' -e 's/^Date: [A-Z][a-z][a-z], [0-3][0-9] [A-Z][a-z][a-z] 20[0-9][0-9] [0-2][0-9]:[0-5][0-9]:[0-6][0-9] GMT$/Date: DATE/'
}
# ask CURL OPTION...: prints the head and body of an answer, by as_text
ask() {
	api -i "$@" | as_text
}

# post BODY [CURL OPTION...]: prints the body of the answer
post() {
	body=$1
	shift
	api "$@" -H 'Content-Type: application/json' --data-binary "$body" "$URL/v1/ports"
}

# raw FORMAT: sends what printf(1) prints for FORMAT, half-closes, and prints what comes back
raw() {
	# shellcheck disable=SC2059 # it is a format
	printf "$1" | socat -t 20 - "UNIX-CONNECT:$sock"
}

spec() {
	printf '{"proto":"%s","parentIP":"127.0.0.1","parentPort":%s,"childPort":80}' "$@"
}

# ---- expected answers ----

# ${#text} counts bytes.
LC_ALL=C
export LC_ALL

# Each prints an answer as as_text does.
# json STATUS BODY
json() {
	printf 'HTTP/1.1 %s\nContent-Type: application/json\nDate: DATE\nContent-Length: %d\n\n%s' \
		"$1" ${#2} "$2"
}
# refusal MESSAGE: MESSAGE is the inside of a JSON string
refusal() {
	message="{\"message\":\"$1\"}"
	printf 'HTTP/1.1 400 Bad Request\nDate: DATE\nContent-Length: %d\nContent-Type: text/plain; charset=utf-8\n\n%s\n' \
		$((${#message} + 1)) "$message"
}
# not_found BODY
not_found() {
	printf 'HTTP/1.1 404 Not Found\nContent-Type: text/plain; charset=utf-8\nX-Content-Type-Options: nosniff\nDate: DATE\nContent-Length: 19\n\n%s' "$1"
}
# wrong_method ALLOW BODY: the answer to a method that the path does not have
wrong_method() {
	printf 'HTTP/1.1 405 Method Not Allowed\nAllow: %s\nContent-Type: text/plain; charset=utf-8\nX-Content-Type-Options: nosniff\nDate: DATE\nContent-Length: 19\n\n%s' \
		"$1" "$2"
}
# redirect LOCATION: the answer to POST, DELETE and other methods of a path that is not clean
redirect() {
	printf 'HTTP/1.1 307 Temporary Redirect\nLocation: %s\nDate: DATE\nContent-Length: 0\n' "$1"
}
# redirect_with_link LOCATION: the answer to GET
redirect_with_link() {
	link="<a href=\"$1\">Temporary Redirect</a>."
	printf 'HTTP/1.1 307 Temporary Redirect\nContent-Type: text/html; charset=utf-8\nLocation: %s\nDate: DATE\nContent-Length: %d\n\n%s\n' \
		"$1" $((${#link} + 2)) "$link"
}
# malformed STATUS
malformed() {
	printf 'HTTP/1.1 %s\nContent-Type: text/plain; charset=utf-8\nConnection: close\n\n%s' "$1" "$1"
}

assert_serves() {
	assert_match "info $1" '{"apiVersion":"1.1.3",*}' "$(api "$URL/v1/info")"
}

# info MEMBERS: the information about the started launcher, with further members of the object
info() {
	echo "{\"apiVersion\":\"1.1.3\",\"version\":\"$(rootlesskit --version | cut -d ' ' -f 3)\",\"stateDir\":\"$state\",\"childPID\":$child$1}"
}

# ---- info ----

protos='"protos":["tcp","tcp4","tcp6","udp","udp4","udp6"]'
builtin=",\"portDriver\":{\"driver\":\"builtin\",$protos,\"extra\":{\"sourceIPTransparentBackend\":\"nft\"}}"

case_info_describes_network_host() {
	start sleep 60
	sock=$state/api.sock
	assert_eq info "$(json '200 OK' "$(info '')")" "$(ask "$URL/v1/info")"
	stop
}

case_info_describes_network_none() {
	start --net=none sleep 60
	sock=$state/api.sock
	assert_eq none "$(info ',"networkDriver":{"driver":"none"}')" "$(api "$URL/v1/info")"
	stop
	start_builtin
	assert_eq builtin "$(json '200 OK' "$(info ",\"networkDriver\":{\"driver\":\"none\"}$builtin")")" \
		"$(ask "$URL/v1/info")"
	assert_eq 'with a query' "$(api "$URL/v1/info")" "$(api "$URL/v1/info?x=y")"
	api "$URL/v1/info" | python3 -m json.tool >/dev/null
	stop
}

case_info_describes_network_slirp4netns() {
	need_slirp4netns
	network=',"networkDriver":{"driver":"slirp4netns","dns":["10.0.2.3"],"childIP":"10.0.2.100"}'
	start --net=slirp4netns --disable-host-loopback sleep 60
	sock=$state/api.sock
	assert_eq 'no driver' "$(info "$network")" "$(api "$URL/v1/info")"
	stop
	start --net=slirp4netns --disable-host-loopback --port-driver=builtin sleep 60
	assert_eq builtin "$(info "$network$builtin")" "$(api "$URL/v1/info")"
	stop
	start --net=slirp4netns --disable-host-loopback --port-driver=builtin --detach-netns \
		--cidr=10.9.8.0/24 sleep 60
	network=',"networkDriver":{"driver":"slirp4netns","dns":["10.9.8.3"],"childIP":"10.9.8.100"}'
	assert_eq 'detached, another network' "$(info "$network$builtin")" "$(api "$URL/v1/info")"
	stop
}

case_port_requests_are_refused_without_a_port_driver() {
	for options in --net=host --net=none; do
		start "$options" sleep 60
		sock=$state/api.sock
		expected=$(refusal 'no PortDriver is available')
		assert_eq "list, $options" "$expected" "$(ask "$URL/v1/ports")"
		assert_eq "add, $options" "$expected" "$(ask -d "$(spec tcp 18100)" "$URL/v1/ports")"
		assert_eq "remove, $options" "$expected" "$(ask -X DELETE "$URL/v1/ports/1")"
		assert_eq "remove abc, $options" "$expected" "$(ask -X DELETE "$URL/v1/ports/abc")"
		stop
	done
}

# ---- routes ----

case_unknown_paths_and_methods_are_refused() {
	start_builtin
	not_found=$(not_found '404 page not found')
	for path in / /v1 /v1/nosuch /v2/info /v1/infos /v1/info/ /v1/ports/ /v1/portsx; do
		assert_eq "GET $path" "$not_found" "$(ask "$URL$path")"
	done
	assert_eq 'HEAD nosuch' "$(not_found '')" "$(ask -I "$URL/v1/nosuch")"
	while IFS='|' read -r allow methods path; do
		for method in $methods; do
			assert_eq "$method $path" "$(wrong_method "$allow" 'Method Not Allowed')" \
				"$(ask -X "$method" -d '{}' "$URL$path")"
		done
	done <<-'EOF'
		GET, HEAD|POST PUT DELETE OPTIONS get FOO|/v1/info
		GET, HEAD, POST|PUT DELETE PATCH get|/v1/ports
		DELETE|GET POST PUT OPTIONS|/v1/ports/1
	EOF
	assert_eq 'HEAD ports/1' "$(wrong_method DELETE '')" "$(ask -I "$URL/v1/ports/1")"
	stop
}

case_HEAD_is_answered_where_GET_is() {
	start_builtin
	for path in /v1/info /v1/ports; do
		assert_eq "HEAD $path" "$(ask "$URL$path" | sed '/^$/,$d')" "$(ask -I "$URL$path")"
	done
	stop
}

case_paths_that_are_not_clean_are_redirected() {
	start_builtin
	while IFS='|' read -r path location; do
		assert_eq "$path" "$(redirect_with_link "$location")" "$(ask --path-as-is "$URL$path")"
		for method in POST DELETE; do
			assert_eq "$method $path" "$(redirect "$location")" \
				"$(ask -X $method --path-as-is "$URL$path")"
		done
	done <<-'EOF'
		/v1//info|/v1/info
		//v1/info|/v1/info
		/v1/../v1/info|/v1/info
		/v1/./ports/|/v1/ports/
		/../../etc/passwd|/etc/passwd
		/v1//%20%25%22%C3%A9|/v1/%20%25%22%C3%A9
		/v1//info?a=b|/v1/info?a=b
	EOF
	assert_eq followed "$(api "$URL/v1/info")" "$(api -L "$URL/v1//info")"
	stop
}

case_lines_of_the_head_end_with_CRLF() {
	start_builtin
	while IFS='|' read -r lines options; do
		# shellcheck disable=SC2086 # options
		api -i $options >"$tmp/answer"
		assert_eq "CRs of $options" "$lines" "$(tr -cd '\r' <"$tmp/answer" | wc -c)"
		assert_eq "CRLFs of $options" "$lines" "$(grep -c "$(printf '\r')\$" "$tmp/answer")"
	done <<-EOF
		5|$URL/v1/info
		6|$URL/v1/nosuch
		6|$URL/v1//info
		7|-X POST $URL/v1/info
		5|-X POST $URL/v1/ports
		5|-X DELETE $URL/v1/ports/x
		4|-H Host: $URL/v1/info
	EOF
	before=$(date +%s)
	dated=$(date -d "$(api -i "$URL/v1/info" | sed -n 's/\r$//; s/^Date: //p')" +%s)
	after=$(date +%s)
	[ "$dated" -ge "$before" ] || fail "the date is $((before - dated)) s too early"
	[ "$dated" -le "$after" ] || fail "the date is $((dated - after)) s too late"
	stop
}

# ---- ports ----

case_an_empty_list_is_brackets() {
	start_builtin
	assert_eq list "$(json '200 OK' '[]')" "$(ask "$URL/v1/ports")"
	stop
}

case_a_port_is_added_listed_and_removed() {
	start_builtin
	port=$(free_port)
	assert_eq add "$(json '201 Created' "{\"id\":1,\"spec\":$(spec tcp "$port")}")" \
		"$(ask -H 'Content-Type: application/json' -d "$(spec tcp "$port")" "$URL/v1/ports")"
	assert_eq list "$(json '200 OK' "[{\"id\":1,\"spec\":$(spec tcp "$port")}]")" "$(ask "$URL/v1/ports")"
	assert_eq conflict "$(refusal "conflict with ID 1; that is 127.0.0.1:$port:80/tcp")" "$(ask -d "$(spec tcp "$port")" "$URL/v1/ports")"
	assert_eq 'in use' "$(refusal "listen tcp4 127.0.0.1:$port: bind: address already in use; see who has it: ss -ltnp 'sport = :$port' (as root); ID 1 of this launcher is 127.0.0.1:$port:80/tcp")" \
		"$(ask -d "$(spec tcp4 "$port")" "$URL/v1/ports")"
	assert_eq remove "$(printf 'HTTP/1.1 200 OK\nDate: DATE\nContent-Length: 0\n')" \
		"$(ask -X DELETE "$URL/v1/ports/1")"
	assert_eq 'remove again' "$(refusal 'unknown id: 1')" "$(ask -X DELETE "$URL/v1/ports/1")"
	assert_eq 'empty again' '[]' "$(api "$URL/v1/ports")"
	stop
}

case_an_ID_is_never_used_twice() {
	start_builtin -p "127.0.0.1:$(free_port):80/tcp"
	port=$(free_port)
	for id in 2 3 4 5; do
		assert_eq "add $id" "{\"id\":$id,\"spec\":$(spec tcp "$port")}" "$(post "$(spec tcp "$port")")"
		# A refused port takes no ID.
		post "$(spec tcp "$port")" >/dev/null
		assert_eq "remove $id" '' "$(api -X DELETE "$URL/v1/ports/$id")"
	done
	stop
}

case_an_ID_is_a_decimal_number() {
	start_builtin
	while IFS='|' read -r id message; do
		assert_eq "$id" "$(refusal "$message")" "$(ask -X DELETE "$URL/v1/ports/$id")"
	done <<-'EOF'
		99|unknown id: 99
		0|unknown id: 0
		-1|unknown id: -1
		%36|unknown id: 6
		abc|bad id abc: strconv.Atoi: parsing \"abc\": invalid syntax; an ID is a number that `rootlessctl list-ports` shows
		1.5|bad id 1.5: strconv.Atoi: parsing \"1.5\": invalid syntax; an ID is a number that `rootlessctl list-ports` shows
		0x1|bad id 0x1: strconv.Atoi: parsing \"0x1\": invalid syntax; an ID is a number that `rootlessctl list-ports` shows
		1e0|bad id 1e0: strconv.Atoi: parsing \"1e0\": invalid syntax; an ID is a number that `rootlessctl list-ports` shows
		%201|bad id  1: strconv.Atoi: parsing \" 1\": invalid syntax; an ID is a number that `rootlessctl list-ports` shows
		1%20|bad id 1 : strconv.Atoi: parsing \"1 \": invalid syntax; an ID is a number that `rootlessctl list-ports` shows
		2147483648|unknown id: 2147483648
		99999999999999999999|bad id 99999999999999999999: strconv.Atoi: parsing \"99999999999999999999\": value out of range; an ID is a number that `rootlessctl list-ports` shows
		%22%5c|bad id \"\\: strconv.Atoi: parsing \"\"\\\": invalid syntax; an ID is a number that `rootlessctl list-ports` shows
		%ff|bad id \ufffd: strconv.Atoi: parsing \"\ufffd\": invalid syntax; an ID is a number that `rootlessctl list-ports` shows
	EOF
	assert_eq 'with a body' "$(refusal 'unknown id: 98')" "$(ask -X DELETE -d '{}' "$URL/v1/ports/98")"
	for path in /v1/ports/ /v1/ports/1/ /v1/ports/1/2; do
		assert_eq "$path" "$(not_found '404 page not found')" "$(ask -X DELETE "$URL$path")"
	done
	port=$(free_port)
	for id in 1:+1 2:%32 3:0003; do
		post "$(spec tcp "$port")" >/dev/null
		assert_eq "${id#*:}" 200 "$(api -o "$tmp/out" -w '%{http_code}' -X DELETE "$URL/v1/ports/${id#*:}")"
	done
	stop
}

case_bad_specs_are_refused() {
	start_builtin
	while IFS='|' read -r body message; do
		assert_eq "$body" "$(refusal "$message")" "$(ask -d "$body" "$URL/v1/ports")"
	done <<-'EOF'
		|EOF
		  |EOF
		{"proto":|unexpected EOF
		garbage|invalid character 'g' looking for beginning of value
		{proto:"tcp"}|invalid character 'p' looking for beginning of object key string
		{"proto":"tcp",}|invalid character '}' looking for beginning of object key string
		null|unknown proto: \"\"; proto is tcp, tcp4, tcp6, udp, udp4 or udp6
		{}|unknown proto: \"\"; proto is tcp, tcp4, tcp6, udp, udp4 or udp6
		1|json: cannot unmarshal number into Go value of type port.Spec
		"x"|json: cannot unmarshal string into Go value of type port.Spec
		[]|json: cannot unmarshal array into Go value of type port.Spec
		true|json: cannot unmarshal bool into Go value of type port.Spec
		{"proto":6}|json: cannot unmarshal number into Go struct field Spec.proto of type string
		{"proto":"tcp","parentPort":"18110"}|json: cannot unmarshal string into Go struct field Spec.parentPort of type int
		{"proto":"tcp","parentPort":18110.5}|json: cannot unmarshal number 18110.5 into Go struct field Spec.parentPort of type int
		{"proto":"tcp","parentPort":18110.0}|json: cannot unmarshal number 18110.0 into Go struct field Spec.parentPort of type int
		{"proto":"tcp","parentPort":1e4}|json: cannot unmarshal number 1e4 into Go struct field Spec.parentPort of type int
		{"proto":"tcp","parentPort":99999999999999999999}|json: cannot unmarshal number 99999999999999999999 into Go struct field Spec.parentPort of type int
		{"proto":"tcp","parentPort":[1]}|json: cannot unmarshal array into Go struct field Spec.parentPort of type int
		{"proto":"tcp","parentPort":0,"childPort":80}|invalid ParentPort: 0; ports are 1 to 65535
		{"proto":"tcp","childPort":80}|invalid ParentPort: 0; ports are 1 to 65535
		{"proto":"tcp","parentPort":-5,"childPort":80}|invalid ParentPort: -5; ports are 1 to 65535
		{"proto":"tcp","parentPort":70000,"childPort":80}|invalid ParentPort: 70000; ports are 1 to 65535
		{"proto":"tcp","parentPort":18110}|invalid ChildPort: 0; ports are 1 to 65535
		{"proto":"tcp","parentPort":18110,"childPort":70000}|invalid ChildPort: 70000; ports are 1 to 65535
		{"proto":"tcp","parentPort":4294967376,"childPort":80}|invalid ParentPort: 4294967376; ports are 1 to 65535
		{"proto":"tcp","parentIP":"foo","parentPort":18110,"childPort":80}|invalid ParentIP: \"foo\"; it takes an IP address
		{"proto":"tcp","parentPort":18110,"childIP":"1.2.3","childPort":80}|invalid ChildIP: \"1.2.3\"; it takes an IP address
		{"proto":"tcp","parentIP":5,"parentPort":18110,"childPort":80}|json: cannot unmarshal number into Go struct field Spec.parentIP of type string
		{"proto":"foo","parentPort":18110,"childPort":80}|unknown proto: \"foo\"; proto is tcp, tcp4, tcp6, udp, udp4 or udp6
		{"proto":"a<b>&\u0001\"","parentPort":18110,"childPort":80}|unknown proto: \"a\u003cb\u003e\u0026\u0001\"\"; proto is tcp, tcp4, tcp6, udp, udp4 or udp6
		{"proto":"TCP","parentPort":18110,"childPort":80}|unknown proto: \"TCP\"; proto is tcp, tcp4, tcp6, udp, udp4 or udp6
		{"proto":"sctp","parentPort":18110,"childPort":80}|unsupported port protocol sctp; the builtin port driver takes tcp, tcp4, tcp6, udp, udp4 and udp6
		{"proto":"tcp4","parentIP":"::1","parentPort":18113,"childPort":80}|listen tcp4: address ::1: no suitable address found; it is an IPv6 address: try tcp or tcp6
		{"proto":"tcp6","parentIP":"127.0.0.1","parentPort":18113,"childPort":80}|listen tcp6: address 127.0.0.1: no suitable address found; it is an IPv4 address: try tcp or tcp4
		{"proto":"tcp","parentIP":"192.0.2.99","parentPort":18113,"childPort":80}|listen tcp 192.0.2.99:18113: bind: cannot assign requested address; it is not an address of this host (ip addr lists those)
	EOF
	assert_eq 'no body' "$(refusal EOF)" "$(ask -X POST "$URL/v1/ports")"
	assert_eq 'nothing was added' '[]' "$(api "$URL/v1/ports")"
	stop
}

case_a_privileged_port_is_refused_with_advice() {
	first=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)
	[ "$first" -gt 80 ] || skip privileged-ports "any user may bind port 80 on this host"
	start_builtin
	assert_eq refusal "$(refusal "cannot expose privileged port 80, you can add 'net.ipv4.ip_unprivileged_port_start=80' to /etc/sysctl.conf (currently $first), or set CAP_NET_BIND_SERVICE on rootlesskit binary, or choose a larger port number (\\u003e= $first): listen tcp 127.0.0.1:80: bind: permission denied")" \
		"$(ask -d "$(spec tcp 80)" "$URL/v1/ports")"
	stop
}

case_a_port_in_use_is_refused() {
	start_builtin
	port=$(free_port)
	socat "TCP-LISTEN:$port,bind=127.0.0.1,fork" EXEC:cat &
	server=$!
	wait_until 5 grep -q "$(printf ':%04X 00000000:0000 0A' "$port")" /proc/net/tcp
	assert_eq refusal "$(refusal "listen tcp 127.0.0.1:$port: bind: address already in use; see who has it: ss -ltnp 'sport = :$port' (as root)")" \
		"$(ask -d "$(spec tcp "$port")" "$URL/v1/ports")"
	send_signal TERM "$server"
	wait_until 5 has_ended "$server"
	assert_eq 'free again' "{\"id\":1,\"spec\":$(spec tcp "$port")}" "$(post "$(spec tcp "$port")")"
	stop
}

case_deep_and_long_JSON_is_refused() {
	start_builtin
	head -c 60000 /dev/zero | tr '\0' '[' >"$tmp/deep"
	assert_eq deep "$(refusal 'exceeded max depth')" "$(ask -d "@$tmp/deep" "$URL/v1/ports")"
	python3 -c 'print("{\"x\":" * 100 + "1" + "}" * 100)' >"$tmp/deep"
	assert_eq objects "$(refusal 'exceeded max depth')" "$(ask -d "@$tmp/deep" "$URL/v1/ports")"
	python3 -c 'print("[" + "1," * 30000 + "1]")' >"$tmp/wide"
	assert_eq wide 400 "$(api -o "$tmp/out" -w '%{http_code}' -d "@$tmp/wide" "$URL/v1/ports")"
	python3 -c 'print("{\"proto\":\"" + "x" * 60000 + "\"}")' >"$tmp/long"
	assert_eq long 400 "$(api -o "$tmp/out" -w '%{http_code}' -d "@$tmp/long" "$URL/v1/ports")"
	python3 -m json.tool "$tmp/out" >/dev/null
	assert_serves afterwards
	stop
}

# Clients compare the specs of the list with those that they sent. A line has the spec that is sent and, if it
# comes back differently, how.
case_a_spec_comes_back_as_it_was_sent() {
	start_builtin
	id=0
	while IFS='|' read -r sent back; do
		id=$((id + 1))
		port=$(free_port)
		sent=$(echo "$sent" | sed "s/PORT/$port/")
		back=$(echo "${back:-$sent}" | sed "s/PORT/$port/")
		assert_eq "$sent" "{\"id\":$id,\"spec\":$back}" "$(post "$sent")"
		assert_match "list with $sent" "*{\"id\":$id,\"spec\":$back}?" "$(api "$URL/v1/ports")"
	done <<-'EOF'
		{"proto":"tcp","parentPort":PORT,"childPort":80}
		{"proto":"tcp","parentIP":"0.0.0.0","parentPort":PORT,"childPort":80}
		{"proto":"tcp4","parentIP":"127.0.0.1","parentPort":PORT,"childPort":80,"childIP":"127.0.0.1"}
		{"proto":"tcp","parentIP":"127.0.0.2","parentPort":PORT,"childPort":80,"childIP":"::ffff:10.0.2.100"}
		{"proto":"tcp4","parentIP":"::ffff:127.0.0.1","parentPort":PORT,"childPort":80}
		{"proto":"tcp","parentIP":"127.0.0.1","parentPort":PORT,"childPort":80,"childIP":"FD00::0:1"}
		{"proto":"tcp","parentIP":"127.0.0.1","parentPort":PORT,"childPort":65535,"childIP":"10.0.2.100"}
		{"childIP":"10.0.2.100","childPort":1,"parentPort":PORT,"proto":"tcp"}|{"proto":"tcp","parentPort":PORT,"childPort":1,"childIP":"10.0.2.100"}
		{"proto":"tcp","parentIP":"","parentPort":PORT,"childPort":80,"childIP":""}|{"proto":"tcp","parentPort":PORT,"childPort":80}
		{"proto":"tcp","parentIP":null,"parentPort":PORT,"childPort":80}|{"proto":"tcp","parentPort":PORT,"childPort":80}
		{"proto":"\u0074cp","parentPort":PORT,"childPort":80}|{"proto":"tcp","parentPort":PORT,"childPort":80}
		{"PROTO":"tcp","parentip":"127.0.0.1","ParentPort":PORT,"cHILDpORT":80}|{"proto":"tcp","parentIP":"127.0.0.1","parentPort":PORT,"childPort":80}
		{"proto":"udp","proto":"tcp","parentPort":PORT,"childPort":80}|{"proto":"tcp","parentPort":PORT,"childPort":80}
		{"id":77,"foo":["bar",{"a":null}],"proto":"tcp","parentPort":PORT,"childPort":80,"":1.5e3}|{"proto":"tcp","parentPort":PORT,"childPort":80}
		{"proto":"tcp","parentPort":PORT,"childPort":80} garbage|{"proto":"tcp","parentPort":PORT,"childPort":80}
		 { "proto" : "tcp" , "parentPort" : PORT , "childPort" : 80 } {|{"proto":"tcp","parentPort":PORT,"childPort":80}
	EOF
	stop
}

case_an_IPv6_spec_comes_back_as_it_was_sent() {
	need_ipv6
	start_builtin
	id=0
	for ip in ::1 0:0:0:0:0:0:0:1 ::; do
		id=$((id + 1))
		sent="{\"proto\":\"tcp6\",\"parentIP\":\"$ip\",\"parentPort\":$(free_port),\"childPort\":80}"
		assert_eq "$ip" "{\"id\":$id,\"spec\":$sent}" "$(post "$sent")"
	done
	stop
}

case_a_body_may_have_any_type_and_be_chunked() {
	start_builtin
	for options in '-H Content-Type:' '-H Content-Type:text/plain' '-H Transfer-Encoding:chunked' \
		'-H Accept-Encoding:gzip' '--http1.0'; do
		id=$((${id-0} + 1)) port=$(free_port)
		# shellcheck disable=SC2086 # options
		assert_eq "$options" "{\"id\":$id,\"spec\":$(spec tcp "$port")}" \
			"$(api $options -d "$(spec tcp "$port")" "$URL/v1/ports")"
	done
	port=$(free_port)
	body=$(spec tcp "$port")
	# In chunks of two bytes.
	chunks=$(printf %s "$body" | sed 's/../2\\r\\n&\\r\\n/g')
	[ $((${#body} % 2)) -eq 0 ] || chunks=$(printf %s "$body " | sed 's/../2\\r\\n&\\r\\n/g')
	assert_match 'many chunks' "*{\"id\":6,\"spec\":$body}" \
		"$(raw "POST /v1/ports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\nX: trailer\r\n\r\n")"
	stop
}

case_a_client_that_expects_100_continue_gets_it() {
	start_builtin
	port=$(free_port)
	assert_eq answer "$(printf 'HTTP/1.1 100 Continue\n\n%s' "$(json '201 Created' "{\"id\":1,\"spec\":$(spec tcp "$port")}")")" \
		"$(ask -H 'Expect: 100-continue' -d "$(spec tcp "$port")" "$URL/v1/ports")"
	stop
}

case_500_ports_can_be_published_and_removed() {
	start_builtin
	port=$(free_port)
	specs=
	for a in 1 2; do
		b=1
		while [ "$b" -le 250 ]; do
			specs="$specs 127.$a.$b.7:$port:80/tcp"
			b=$((b + 1))
		done
	done
	# shellcheck disable=SC2086 # a list
	rootlessctl --socket "$sock" add-ports $specs >"$tmp/ids"
	assert_eq IDs "$(seq 500)" "$(cat "$tmp/ids")"
	api "$URL/v1/ports" >"$tmp/list"
	python3 -m json.tool "$tmp/list" >/dev/null
	assert_eq 'IDs in the list' "$(seq 500)" "$(grep -o '"id":[0-9]*' "$tmp/list" | cut -d : -f 2)"
	# Every other port is removed; the others keep their order.
	# shellcheck disable=SC2046 # a list
	rootlessctl --socket "$sock" remove-ports $(seq 2 2 500) >/dev/null
	assert_eq 'IDs that are left' "$(seq 1 2 500)" "$(api "$URL/v1/ports" | grep -o '"id":[0-9]*' | cut -d : -f 2)"
	stop
}

# ---- connections ----

case_a_malformed_request_is_refused_and_ends_the_connection() {
	start_builtin
	get='GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n'
	# The request behind it gets no answer.
	while IFS='|' read -r request status; do
		assert_eq "$request" "$(malformed "$status")" "$(raw "$request$get" | as_text)"
	done <<-'EOF'
		GET /v1/info HTTP/9.9\r\nHost: x\r\n\r\n|505 HTTP Version Not Supported: unsupported protocol version
		hello\r\n\r\n|400 Bad Request
		GET /v1/info HTTP/1.1\r\n\r\n|400 Bad Request: missing required Host header
		GET /v1/info HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n|400 Bad Request
		GET /v1/info HTTP/1.1\r\nHost: x y\r\n\r\n|400 Bad Request: malformed Host header
		GET /v1/info HTTP/1.1\r\nHost: a/b\r\n\r\n|400 Bad Request: malformed Host header
		POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n{}|400 Bad Request
		POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\n{}|400 Bad Request
		POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}|400 Bad Request
		POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}|400 Bad Request
		POST /v1/ports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n|400 Bad Request
		POST /v1/ports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n|501 Not Implemented: unsupported transfer encoding
		POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n|413 Request Entity Too Large
		GET /v1/info HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n|400 Bad Request
		GET /v1/info HTTP/1.1\r\nHost x\r\n\r\n|400 Bad Request
		GET /v1/info HTTP/1.1\r\nHost: x\r\nA\001: b\r\n\r\n|400 Bad Request
		GET /v1/%%zz HTTP/1.1\r\nHost: x\r\n\r\n|400 Bad Request
		GET v1/info HTTP/1.1\r\nHost: x\r\n\r\n|400 Bad Request
		GET /v1/info\000 HTTP/1.1\r\nHost: x\r\n\r\n|400 Bad Request
		\026\003\001\002\000\001\000\001\r\n\r\n|400 Bad Request
	EOF
	assert_serves afterwards
	stop
}

case_unusual_but_valid_requests_are_answered() {
	start_builtin
	info=$(json '200 OK' "$(info ",\"networkDriver\":{\"driver\":\"none\"}$builtin")")
	get='GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n'
	# The second request shows that the connection stays open.
	while read -r request; do
		assert_eq "$request" "$info$info" "$(raw "$request$get" | as_text)"
	done <<-'EOF'
		GET /v1/info HTTP/1.1\nHost: x\n\n
		GET http://x/v1/info HTTP/1.1\r\nHost: x\r\n\r\n
		GET /v1/info HTTP/1.1\r\nhost:\r\n\r\n
		GET /v1/info?a=b%%20c&d HTTP/1.1\r\nHOST:x\r\nX-Empty:\r\nX-Tab:\ta\tb\r\n\r\n
		GET /v1/%%69nfo HTTP/1.1\r\nHost: x\r\n\r\n
		GET /v1/info HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello
		\r\n\r\nGET /v1/info HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n
	EOF
	assert_eq 'a method in small letters' "$(wrong_method 'GET, HEAD' "Method Not Allowed
$info")" \
		"$(raw "get /v1/info HTTP/1.1\r\nHost: x\r\n\r\n$get" | as_text)"
	stop
}

case_the_connection_is_closed_after_the_last_request() {
	start_builtin
	info=$(info ",\"networkDriver\":{\"driver\":\"none\"}$builtin")
	ten=$(json '200 OK' "$info" | sed 's,^HTTP/1.1,HTTP/1.0,')
	get='GET /v1/info HTTP/1.0\r\n\r\n'
	assert_eq 'HTTP/1.0' "$ten" "$(raw "$get$get" | as_text)"
	assert_eq 'HTTP/1.0 of curl' "$ten" "$(ask --http1.0 "$URL/v1/info")"
	assert_eq 'HTTP/1.0 that keeps alive' \
		"$(echo "$ten" | sed 's/^Content-Length: .*/&\nConnection: keep-alive/')$ten" \
		"$(raw "GET /v1/info HTTP/1.0\r\nConnection: keep-alive\r\n\r\n$get" | as_text)"
	get='GET /v1/info HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
	closed=$(json '200 OK' "$info" | sed 's/^Content-Length: .*/&\nConnection: close/')
	assert_eq 'Connection: close' "$closed" "$(raw "$get$get" | as_text)"
	assert_eq 'Connection: close of curl' "$closed" "$(ask -H 'Connection: close' "$URL/v1/info")"
	stop
}

# curl prints the number of new connections for each request.
case_one_connection_serves_many_requests() {
	start_builtin
	port=$(free_port)
	write='%{stderr}%{http_code} %{num_connects}\n'
	api -w "$write" "$URL/v1/info" "$URL/v1/ports" "$URL/v1/nosuch" "$URL/v1//info" \
		--next --unix-socket "$sock" -s -w "$write" -d "$(spec tcp "$port")" "$URL/v1/ports" "$URL/v1/ports" \
		--next --unix-socket "$sock" -s -w "$write" -X DELETE "$URL/v1/ports/1" "$URL/v1/ports/1" "$URL/v1/info" \
		>/dev/null 2>"$tmp/counts"
	assert_eq 'statuses and connections' "200 1
200 0
404 0
307 0
201 0
400 0
200 0
400 0
405 0" "$(cat "$tmp/counts")"
	stop
}

case_pipelined_requests_are_answered_in_order() {
	start_builtin
	port=$(free_port) body=$(spec tcp "$port")
	post="POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: ${#body}\r\n\r\n$body"
	list='GET /v1/ports HTTP/1.1\r\nHost: x\r\n\r\n'
	delete='DELETE /v1/ports/1 HTTP/1.1\r\nHost: x\r\n\r\n'
	one="{\"id\":1,\"spec\":$body}"
	assert_eq answers "$(json '200 OK' '[]')$(json '201 Created' "$one")$(json '200 OK' "[$one]")$(refusal "conflict with ID 1; that is 127.0.0.1:$port:80/tcp")
$(printf 'HTTP/1.1 200 OK\nDate: DATE\nContent-Length: 0\n\n%s' "$(json '200 OK' '[]')")" \
		"$(raw "$list$post$list$post$delete$list" | as_text)"
	# Far more requests and answers than buffers hold.
	python3 - "$sock" <<-'EOF'
		import socket, sys, threading
		import api, tcp
		s = api.connect(sys.argv[1])
		count = 5000
		def ask():
		    for i in range(count):
		        s.sendall(api.request("DELETE", f"/v1/ports/{1000 + i}"))
		    s.shutdown(socket.SHUT_WR)
		threading.Thread(target=ask).start()
		got = tcp.read_all(s)
		ids = [int(part.split(b'"')[0]) for part in got.split(b"unknown id: ")[1:]]
		assert ids == list(range(1000, 1000 + count)), (len(ids), ids[:5], ids[-5:])
	EOF
	stop
}

case_a_request_may_arrive_byte_by_byte() {
	start_builtin
	port=$(free_port) body=$(spec tcp "$port")
	python3 - "$sock" "$body" <<-'EOF'
		import sys
		import api
		body = sys.argv[2]
		s = api.connect(sys.argv[1])
		for byte in api.request("POST", "/v1/ports", body):
		    s.sendall(bytes([byte]))
		status, got = api.read_answer(s)
		assert status == 201 and body in got.decode(), (status, got)
	EOF
	stop
}

case_requests_that_are_too_long_are_refused() {
	start_builtin
	head -c 66000 /dev/zero | tr '\0' ' ' >"$tmp/long"
	assert_eq body "$(malformed '413 Request Entity Too Large')" \
		"$(ask -H Expect: --data-binary "@$tmp/long" "$URL/v1/ports")"
	assert_eq 'body, announced' "$(malformed '413 Request Entity Too Large')" \
		"$(ask -H 'Expect: 100-continue' --data-binary "@$tmp/long" "$URL/v1/ports")"
	assert_eq 'body in chunks' "$(malformed '413 Request Entity Too Large')" \
		"$(ask -H Expect: -H Transfer-Encoding:chunked --data-binary "@$tmp/long" "$URL/v1/ports")"
	head -c 5000000 /dev/zero >"$tmp/huge"
	assert_eq 'huge body' "$(malformed '413 Request Entity Too Large')" \
		"$(ask -H Expect: --data-binary "@$tmp/huge" "$URL/v1/ports")"
	printf 'X: %s' "$(head -c 17000 /dev/zero | tr '\0' a)" >"$tmp/header"
	assert_eq header "$(malformed '431 Request Header Fields Too Large')" \
		"$(ask -H "@$tmp/header" "$URL/v1/info")"
	assert_eq path "$(malformed '431 Request Header Fields Too Large')" \
		"$(ask "$URL/$(head -c 2000 /dev/zero | tr '\0' a)")"
	yes 'X: y' | head -n 20000 >"$tmp/headers"
	assert_eq 'many headers' "$(malformed '431 Request Header Fields Too Large')" \
		"$({ printf 'GET /v1/info HTTP/1.1\r\nHost: x\r\n' && cat "$tmp/headers"; } |
			socat -t 20 - "UNIX-CONNECT:$sock" | as_text)"
	# The longest body that is accepted.
	head -c 65536 /dev/zero | tr '\0' ' ' >"$tmp/long"
	assert_eq 'a body of 64 KiB' "$(refusal EOF)" "$(ask -H Expect: --data-binary "@$tmp/long" "$URL/v1/ports")"
	stop
}

# A connection without a request under way may stay idle; one that stops in the middle is closed after ten
# seconds.
case_clients_that_stall_are_cut_off_and_idle_ones_are_not() {
	start_builtin
	python3 - "$sock" <<-'EOF'
		import sys, threading, time
		import api, tcp
		path = sys.argv[1]
		get = api.request("GET", "/v1/info")
		def is_answered(s):
		    s.sendall(get)
		    assert api.read_answer(s)[0] == 200
		def connect():
		    return api.connect(path, 35)
		silent, idle, half_head, half_body, never_reads = [connect() for _ in range(5)]
		is_answered(idle)
		began = time.monotonic()
		half_head.sendall(get[:15])
		half_body.sendall(api.request("POST", "/v1/ports", "x" * 100)[:-90])
		ends = {}
		def wait_for_end(name, s):
		    assert tcp.read_all(s) == b"", name
		    ends[name] = time.monotonic() - began
		def fill():
		    try:
		        while True:
		            never_reads.sendall(get)
		    except BrokenPipeError:
		        ends["never reads"] = time.monotonic() - began
		waiters = [threading.Thread(target=wait_for_end, args=("half a head", half_head)),
		           threading.Thread(target=wait_for_end, args=("half a body", half_body)),
		           threading.Thread(target=fill)]
		for waiter in waiters:
		    waiter.start()
		for _ in range(20):
		    is_answered(connect())
		for waiter in waiters:
		    waiter.join()
		assert sorted(ends) == ["half a body", "half a head", "never reads"], ends
		assert 9 <= ends["half a head"] <= 25 and ends["half a body"] <= 35, ends
		is_answered(silent)
		is_answered(idle)
	EOF
	assert_serves afterwards
	stop
}

case_a_client_that_leaves_without_reading_does_no_harm() {
	start_builtin
	python3 - "$sock" <<-'EOF'
		import sys
		import api
		requests = api.request("GET", "/v1/info") * 50
		for i in range(500):
		    s = api.connect(sys.argv[1])
		    s.sendall(requests[:i * 7])
		    s.close()
	EOF
	assert_serves afterwards
	stop
}

# ---- many ----

count_descriptors() {
	find "/proc/$pid/fd" -mindepth 1 | wc -l
}
descriptors_are() {
	[ "$(count_descriptors)" -eq "$1" ]
}

# many_clients COUNT: COUNT idle connections, and as many with a request; each request is answered, and so
# is curl's
many_clients() {
	python3 - "$sock" "$1" <<-'EOF'
		import subprocess, sys
		import api, proc
		path, count = sys.argv[1], int(sys.argv[2])
		proc.raise_fd_limit()
		def curl():
		    out = subprocess.run(["curl", "-s", "--max-time", "10", "--unix-socket", path,
		                          "http://x/v1/info"], stdout=subprocess.PIPE, check=True).stdout
		    assert out.startswith(b'{"apiVersion"'), out
		idle = [api.connect(path) for _ in range(count)]
		curl()
		# A new client that waits for its answer is not closed as an idle one.
		busy = []
		for _ in range(count):
		    s = api.connect(path)
		    s.sendall(api.request("GET", "/v1/info"))
		    busy.append(s)
		for s in busy:
		    assert api.read_answer(s)[0] == 200
		curl()
	EOF
}

case_1100_connections_at_once_are_served() {
	hard=$(prlimit --nofile --output=HARD --noheadings --raw)
	[ "$hard" = unlimited ] || [ "$hard" -ge 4096 ] ||
		skip nofile "the hard limit of descriptors is too small"
	start_builtin
	before=$(count_descriptors)
	many_clients 1100
	assert_serves afterwards
	wait_until 5 descriptors_are "$before"
	stop
}

case_more_connections_than_descriptors_are_served() {
	start_builtin
	prlimit --pid "$pid" --nofile=200:200
	many_clients 300
	assert_serves afterwards
	stop
}

case_thousands_of_bad_requests_do_no_harm() {
	start_builtin
	before=$(count_descriptors)
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		head -c $((i * i * 500)) /dev/urandom | socat -t 5 - "UNIX-CONNECT:$sock" >/dev/null 2>&1 || true
	done
	python3 - "$sock" "$(spec tcp "$(free_port)")" <<-'EOF'
		import os, random, socket, sys
		import api
		from wire import read_rest
		seed = int.from_bytes(os.urandom(4), 'little')
		print('seed', seed)
		r = random.Random(seed)
		body = sys.argv[2].encode()
		good = [
		    b'GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n',
		    b'GET http://x/v1/ports?a=b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n',
		    b'DELETE /v1/ports/%31 HTTP/1.1\r\nHost: x\r\n\r\n',
		    b'POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body),
		    b'POST /v1/ports HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTransfer-Encoding: '
		    b'chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n' % (len(body), body),
		]
		tokens = [b'\r\n', b'\n', b'\0', b' ', b'/', b'%', b'..', b'{', b'[', b'"', b'\\u', b':', b',',
		          b'-', b'99999999999999999999', b'\xff', b'Content-Length: ', b'Host: ', b'HTTP/1.1']
		def mutated():
		    data = bytearray(b''.join(r.choice(good) for i in range(r.randint(1, 3))))
		    for i in range(r.randint(1, 8)):
		        at = r.randrange(len(data) + 1)
		        what = r.randrange(4)
		        if what == 0:
		            data[at:at + r.randint(1, 20)] = b''
		        elif what == 1:
		            data[at:at] = r.choice(tokens)
		        elif what == 2:
		            data[at:at + 1] = bytes([r.randrange(256)])
		        else:
		            data[at:at] = data[at:at + r.randint(1, 40)] * r.randint(1, 3)
		    return bytes(data)
		def answer_to(data):
		    with api.connect(sys.argv[1], 10) as s:
		        try:
		            s.sendall(data)
		            s.shutdown(socket.SHUT_WR)
		        except BrokenPipeError:
		            pass
		        return read_rest(s)
		for i in range(4000):
		    data = mutated() if i % 4 else r.randbytes(r.randrange(300))
		    got = answer_to(data)
		    assert got == b'' or got.startswith((b'HTTP/1.0 ', b'HTTP/1.1 ')), (data, got)
	EOF
	assert_serves afterwards
	api "$URL/v1/ports" | python3 -m json.tool >/dev/null
	# shellcheck disable=SC2046 # IDs
	set -- $(api "$URL/v1/ports" | grep -o '"id":[0-9]*' | cut -d : -f 2)
	[ $# -eq 0 ] || rootlessctl --socket "$sock" remove-ports "$@"
	wait_until 5 descriptors_are "$before"
	stop
	assert_eq status 255 "$rc"
}

# ---- who may connect ----

case_the_socket_belongs_to_the_user() {
	umask 022
	start_builtin
	assert_eq 'type, mode and owner' "socket 755 $(id -u)" "$(stat -c '%F %a %u' "$sock")"
	stop
	assert_fails test -e "$sock"
}

case_processes_of_other_users_are_not_served() {
	start --port-driver=none sleep 60
	sock=$state/api.sock
	# Another user: a subordinate ID, in the launcher's user namespace.
	as_other='nsenter --preserve-credentials -U -m -t CHILD setpriv --reuid=1 --regid=1 --clear-groups'
	as_other=$(echo "$as_other" | sed "s/CHILD/$child/")
	# shellcheck disable=SC2086 # words
	$as_other true 2>/dev/null || skip subids "the user has no subordinate IDs"
	chmod 755 "$tmp"
	rc=0
	# shellcheck disable=SC2086
	$as_other socat -u "UNIX-CONNECT:$sock" - >"$tmp/out" 2>"$tmp/err" || rc=$?
	assert_match 'no connection' '*Permission denied*' "$(cat "$tmp/err")"
	# If file permissions allow it, the launcher closes the connection without an answer.
	chmod 777 "$sock"
	# shellcheck disable=SC2086
	assert_eq 'output without a request' '' "$($as_other socat -u "UNIX-CONNECT:$sock" - 2>&1)"
	# shellcheck disable=SC2086
	assert_eq 'answer to a request' '' "$(printf 'GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n' |
		$as_other socat -t 20 - "UNIX-CONNECT:$sock" 2>/dev/null)"
	assert_serves 'for the user'
	stop
}

run_cases \
	info_describes_network_host \
	info_describes_network_none \
	info_describes_network_slirp4netns \
	port_requests_are_refused_without_a_port_driver \
	unknown_paths_and_methods_are_refused \
	HEAD_is_answered_where_GET_is \
	paths_that_are_not_clean_are_redirected \
	lines_of_the_head_end_with_CRLF \
	an_empty_list_is_brackets \
	a_port_is_added_listed_and_removed \
	an_ID_is_never_used_twice \
	an_ID_is_a_decimal_number \
	bad_specs_are_refused \
	a_privileged_port_is_refused_with_advice \
	a_port_in_use_is_refused \
	deep_and_long_JSON_is_refused \
	a_spec_comes_back_as_it_was_sent \
	an_IPv6_spec_comes_back_as_it_was_sent \
	a_body_may_have_any_type_and_be_chunked \
	a_client_that_expects_100_continue_gets_it \
	500_ports_can_be_published_and_removed \
	a_malformed_request_is_refused_and_ends_the_connection \
	unusual_but_valid_requests_are_answered \
	the_connection_is_closed_after_the_last_request \
	one_connection_serves_many_requests \
	pipelined_requests_are_answered_in_order \
	a_request_may_arrive_byte_by_byte \
	requests_that_are_too_long_are_refused \
	clients_that_stall_are_cut_off_and_idle_ones_are_not \
	a_client_that_leaves_without_reading_does_no_harm \
	1100_connections_at_once_are_served \
	more_connections_than_descriptors_are_served \
	thousands_of_bad_requests_do_no_harm \
	the_socket_belongs_to_the_user \
	processes_of_other_users_are_not_served
