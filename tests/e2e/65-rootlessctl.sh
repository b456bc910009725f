#!/bin/sh
# rootlessctl: its output, errors and statuses, also with servers that do not speak the API.
. "$(dirname "$0")/lib.sh"

# ctl ARGUMENT...: runs rootlessctl. Sets `out`, `err` and `rc`.
# shellcheck disable=SC2034 # for the cases
ctl() {
	rc=0
	timeout 25 rootlessctl "$@" >"$tmp/ctl.out" 2>"$tmp/ctl.err" </dev/null || rc=$?
	out=$(cat "$tmp/ctl.out")
	err=$(cat "$tmp/ctl.err")
}

# says WHAT STATUS OUTPUT ERROR: checks these of the last `ctl`
says() {
	assert_eq "$1: output" "$3" "$out"
	assert_eq "$1: error" "$4" "$err"
	assert_eq "$1: status" "$2" "$rc"
}

start_builtin() {
	start --net=none --port-driver=builtin "$@" sleep 60
	sock=$state/api.sock
}

# Sets p1 to p4 to four free ports.
free_ports() {
	p1=$(free_port)
	p2=$(free_port)
	p3=$(free_port)
	p4=$(free_port)
}

version() {
	rootlesskit --version | cut -d ' ' -f 3
}

# ---- ports ----

case_list_ports_prints_a_table_or_JSON() {
	free_ports
	start_builtin
	ctl --socket="$sock" list-ports
	says empty 0 'ID    PROTO    PARENTIP    PARENTPORT    CHILDIP    CHILDPORT    ' ''
	ctl --socket="$sock" list-ports --json
	says 'empty, JSON' 0 '' ''
	ctl --socket="$sock" add-ports "127.0.0.1:$p1:80/tcp" "127.0.0.1:$p2:10.0.2.100:81/tcp4" "0.0.0.0:$p3:8443/tcp"
	says add 0 '1
2
3' ''
	table="ID    PROTO    PARENTIP     PARENTPORT    CHILDIP       CHILDPORT    
1     tcp      127.0.0.1    $p1                       80           
2     tcp4     127.0.0.1    $p2         10.0.2.100    81           
3     tcp      0.0.0.0      $p3                       8443         "
	ctl --socket="$sock" list-ports
	says table 0 "$table" ''
	ctl --socket="$sock" list-ports foo bar
	says 'more arguments' 0 "$table" ''
	ctl --socket "$sock" list-ports --json
	says JSON 0 "{\"id\":1,\"spec\":{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":$p1,\"childPort\":80}}
{\"id\":2,\"spec\":{\"proto\":\"tcp4\",\"parentIP\":\"127.0.0.1\",\"parentPort\":$p2,\"childPort\":81,\"childIP\":\"10.0.2.100\"}}
{\"id\":3,\"spec\":{\"proto\":\"tcp\",\"parentIP\":\"0.0.0.0\",\"parentPort\":$p3,\"childPort\":8443}}" ''
	stop
}

case_list_ports_shows_IPv6_addresses() {
	need_ipv6
	free_ports
	start_builtin
	ctl --socket="$sock" add-ports "[::1]:$p1:[fd00::1234:5678]:80/tcp6"
	says add 0 1 ''
	ctl --socket="$sock" list-ports
	says table 0 "ID    PROTO    PARENTIP    PARENTPORT    CHILDIP            CHILDPORT    
1     tcp6     ::1         $p1         fd00::1234:5678    80           " ''
	stop
}

case_add_ports_stops_at_the_first_error() {
	free_ports
	start_builtin
	ctl --socket="$sock" add-ports "127.0.0.1:$p1:82/tcp"
	says one 0 1 ''
	ctl --socket="$sock" add-ports --json "0.0.0.0:$p2:83/tcp"
	says JSON 0 "{\"id\":2,\"spec\":{\"proto\":\"tcp\",\"parentIP\":\"0.0.0.0\",\"parentPort\":$p2,\"childPort\":83}}" ''
	ctl --socket="$sock" add-ports "127.0.0.1:$p1:82/tcp"
	says conflict 1 '' "error: conflict with ID 1; that is 127.0.0.1:$p1:82/tcp"
	ctl --socket="$sock" add-ports "127.0.0.1:$p3:88/tcp" "127.0.0.1:$p1:82/tcp" "127.0.0.1:$p4:82/tcp"
	says 'good, bad, good' 1 3 "error: conflict with ID 1; that is 127.0.0.1:$p1:82/tcp; not added: 127.0.0.1:$p1:82/tcp 127.0.0.1:$p4:82/tcp"
	ctl --socket="$sock" add-ports "127.0.0.1:$p4:82/tcp" 80
	says 'good, unreadable' 1 '' 'error: missing proto in PortSpec string: "80"; the form is [PARENT_IP]:PARENT_PORT:[CHILD_IP:]CHILD_PORT/PROTO, such as 127.0.0.1:8080:80/tcp; not added: '"127.0.0.1:$p4:82/tcp 80"
	ctl --socket="$sock" add-ports
	says none 1 '' 'error: no port specified; try rootlessctl add-ports 127.0.0.1:8080:80/tcp'
	ctl --socket="$sock" add-ports "127.0.0.1:$p4:86/tcp" --json
	says 'an option at the end' 1 '' 'error: missing proto in PortSpec string: "--json"; the form is [PARENT_IP]:PARENT_PORT:[CHILD_IP:]CHILD_PORT/PROTO, such as 127.0.0.1:8080:80/tcp; not added: '"127.0.0.1:$p4:86/tcp --json"
	ctl --socket="$sock" add-ports "127.0.0.1:$p1:82/tcp4"
	says 'in use' 1 '' "error: listen tcp4 127.0.0.1:$p1: bind: address already in use; see who has it: ss -ltnp 'sport = :$p1' (as root); ID 1 of this launcher is 127.0.0.1:$p1:82/tcp"
	ctl --socket="$sock" list-ports --json
	assert_eq 'number of ports' 3 "$(echo "$out" | grep -c .)"
	stop
}

case_bad_specs_are_refused() {
	start_builtin
	while IFS='|' read -r spec error; do
		ctl --socket="$sock" add-ports "$spec"
		says "$spec" 1 '' "error: $error"
	done <<-'EOF'
		foo|missing proto in PortSpec string: "foo"; the form is [PARENT_IP]:PARENT_PORT:[CHILD_IP:]CHILD_PORT/PROTO, such as 127.0.0.1:8080:80/tcp
		127.0.0.1:18087:87/foo|invalid PortSpec string: "127.0.0.1:18087:87/foo": unknown proto: "foo"; PROTO is tcp, tcp4, tcp6, udp, udp4 or udp6, as in 127.0.0.1:8080:80/tcp
		127.0.0.1:0:87/tcp|invalid ParentPort: 0; ports are 1 to 65535
		127.0.0.1:70000:87/tcp|invalid ParentPort: 70000; ports are 1 to 65535
		127.0.0.1:18087:0/tcp|invalid ChildPort: 0; ports are 1 to 65535
		127.0.0.1:18087:87/sctp|unsupported port protocol sctp; the builtin port driver takes tcp, tcp4, tcp6, udp, udp4 and udp6
		192.0.2.99:18087:80/tcp|listen tcp 192.0.2.99:18087: bind: cannot assign requested address; it is not an address of this host (ip addr lists those)
	EOF
	for spec in 127.0.0.1:18080:1.2.3.4:5:80/tcp 127.0.0.1:018080:80/tcp \
		'127.0.0.1: 18080:80/tcp' ::1:18080:80/tcp 18080:80/tcp :/tcp / ''; do
		ctl --socket="$sock" add-ports "$spec"
		assert_match "$spec" "error: *\"$spec\"*" "$err"
		assert_eq "status of $spec" 1 "$rc"
	done
	ctl --socket="$sock" list-ports --json
	says 'nothing was added' 0 '' ''
	stop
}

case_a_privileged_port_is_refused_with_advice() {
	first=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)
	[ "$first" -gt 80 ] || skip privileged-ports "any user may bind port 80 on this host"
	start_builtin
	ctl --socket="$sock" add-ports 127.0.0.1:80:80/tcp
	says refusal 1 '' "error: cannot expose privileged port 80, you can add 'net.ipv4.ip_unprivileged_port_start=80' to /etc/sysctl.conf (currently $first), or set CAP_NET_BIND_SERVICE on rootlesskit binary, or choose a larger port number (>= $first): listen tcp 127.0.0.1:80: bind: permission denied"
	stop
}

case_remove_ports_stops_at_the_first_error() {
	free_ports
	start_builtin -p "127.0.0.1:$p1:80/tcp" -p "127.0.0.1:$p2:80/tcp" -p "127.0.0.1:$p3:80/tcp" -p "127.0.0.1:$p4:80/tcp"
	ctl --socket="$sock" remove-ports 1
	says one 0 1 ''
	ctl --socket="$sock" remove-ports 1
	says again 1 '' 'error: unknown id: 1; `rootlessctl list-ports` shows the IDs'
	ctl --socket="$sock" --debug remove-ports 99
	says unknown 1 '' 'error: unknown id: 99; `rootlessctl list-ports` shows the IDs'
	ctl --socket="$sock" remove-ports 4 99 3
	says 'good, bad, good' 1 4 'error: unknown id: 99; `rootlessctl list-ports` shows the IDs; not removed: 99 3'
	ctl --socket="$sock" remove-ports
	says none 1 '' 'error: no ID specified; `rootlessctl list-ports` shows the IDs'
	ctl --socket="$sock" remove-ports 2 abc
	says 'not a number' 1 '' 'error: strconv.Atoi: parsing "abc": invalid syntax; an ID is a number that `rootlessctl list-ports` shows; not removed: 2 abc'
	ctl --socket="$sock" remove-ports -1
	assert_eq 'a bad option' 'Incorrect Usage: flag provided but not defined: -1' "$out"
	assert_eq error 'error: flag provided but not defined: -1; see `rootlessctl remove-ports --help`' "$err"
	assert_eq status 1 "$rc"
	ctl --socket="$sock" remove-ports -- -1
	says negative 1 '' 'error: unknown id: -1; `rootlessctl list-ports` shows the IDs'
	ctl --socket="$sock" remove-ports 2 3
	says two 0 '2
3' ''
	ctl --socket="$sock" list-ports --json
	says 'nothing is left' 0 '' ''
	stop
}

case_port_commands_fail_without_a_port_driver() {
	start sleep 60
	sock=$state/api.sock
	for command in list-ports 'list-ports --json' 'add-ports 127.0.0.1:18100:80/tcp' 'remove-ports 1'; do
		# shellcheck disable=SC2086 # words
		ctl --socket="$sock" $command
		says "$command" 1 '' 'error: no PortDriver is available; rootlesskit runs without a driver that adds ports, such as --port-driver=builtin'
	done
	stop
}

# ---- info ----

case_info_describes_the_launcher() {
	start sleep 60
	head="- REST API version: 1.1.3
- Implementation version: $(version)
- State Directory: $state
- Child PID: "
	ctl --socket="$state/api.sock" info
	says host 0 "$head$child" ''
	ctl --socket="$state/api.sock" info --json
	says 'host, JSON' 0 "{
    \"apiVersion\": \"1.1.3\",
    \"version\": \"$(version)\",
    \"stateDir\": \"$state\",
    \"childPID\": $child
}" ''
	stop
	start --net=none sleep 60
	ctl --socket="$state/api.sock" info
	says none 0 "$head$child
- Network Driver: none
  - DNS: []" ''
	stop
	start_builtin
	ctl --socket="$sock" info extra arguments
	says builtin 0 "$head$child
- Network Driver: none
  - DNS: []
- Port Driver: builtin
  - Supported protocols: [tcp tcp4 tcp6 udp udp4 udp6]" ''
	ctl --socket="$sock" info --json
	says 'builtin, JSON' 0 "{
    \"apiVersion\": \"1.1.3\",
    \"version\": \"$(version)\",
    \"stateDir\": \"$state\",
    \"childPID\": $child,
    \"networkDriver\": {
        \"driver\": \"none\"
    },
    \"portDriver\": {
        \"driver\": \"builtin\",
        \"protos\": [
            \"tcp\",
            \"tcp4\",
            \"tcp6\",
            \"udp\",
            \"udp4\",
            \"udp6\"
        ],
        \"extra\": {
            \"sourceIPTransparentBackend\": \"nft\"
        }
    }
}" ''
	stop
}

case_info_describes_slirp4netns() {
	need_slirp4netns
	start --net=slirp4netns --disable-host-loopback sleep 60
	ctl --socket="$state/api.sock" info
	says info 0 "- REST API version: 1.1.3
- Implementation version: $(version)
- State Directory: $state
- Child PID: $child
- Network Driver: slirp4netns
  - DNS: [10.0.2.3]
  - IP: 10.0.2.100" ''
	stop
}

case_help_gives_the_form_of_specs() {
	ctl add-ports --help
	for word in '\[PARENT_IP\]:PARENT_PORT:\[CHILD_IP:\]CHILD_PORT/PROTO' tcp udp udp6; do
		echo "$out" | grep -qw -- "$word" || fail "the help does not have $word"
	done
}

# ---- the socket ----

case_the_socket_is_found_through_the_state_directory() {
	start_builtin
	ROOTLESSKIT_STATE_DIR=$state
	export ROOTLESSKIT_STATE_DIR
	ctl list-ports --json
	says default 0 '' ''
	ctl --socket= list-ports --json
	says 'an empty option' 0 '' ''
	ctl --socket=/nonexistent list-ports
	says 'the option overrides the variable' 1 '' 'error: stat /nonexistent: no such file or directory; is rootlesskit running? Its socket is DIR/api.sock of --state-dir=DIR'
	ROOTLESSKIT_STATE_DIR=$state//
	ctl list-ports --json
	says 'slashes at the end' 0 '' ''
	ROOTLESSKIT_STATE_DIR=/nonexistent
	ctl list-ports
	says 'no such directory' 1 '' 'error: stat /nonexistent/api.sock: no such file or directory; is rootlesskit running? Its socket is DIR/api.sock of --state-dir=DIR'
	ROOTLESSKIT_STATE_DIR=
	ctl list-ports
	# shellcheck disable=SC2016 # it is the text
	says 'empty variable' 1 '' 'error: please specify --socket or set $ROOTLESSKIT_STATE_DIR; the socket is DIR/api.sock of rootlesskit --state-dir=DIR'
	unset ROOTLESSKIT_STATE_DIR
	ctl list-ports
	# shellcheck disable=SC2016
	says 'no variable' 1 '' 'error: please specify --socket or set $ROOTLESSKIT_STATE_DIR; the socket is DIR/api.sock of rootlesskit --state-dir=DIR'
	mkdir -p "$tmp/run/dockerd-rootless" "$tmp/run/containerd-rootless"
	: >"$tmp/run/containerd-rootless/api.sock"
	XDG_RUNTIME_DIR=$tmp/run
	export XDG_RUNTIME_DIR
	ctl list-ports
	# shellcheck disable=SC2016
	says "nerdctl's" 1 '' 'error: please specify --socket or set $ROOTLESSKIT_STATE_DIR; try '"--socket=$tmp/run/containerd-rootless/api.sock"
	: >"$tmp/run/dockerd-rootless/api.sock"
	ctl list-ports
	assert_match "Docker's and nerdctl's" "*; try --socket=$tmp/run/dockerd-rootless/api.sock, or --socket=$tmp/run/containerd-rootless/api.sock" "$err"
	stop
}

case_a_command_inside_finds_its_launcher() {
	launch --state-dir="$tmp/st" --net=none --port-driver=builtin sh -c "rootlessctl info"
	assert_match info "- REST API version: 1.1.3*State Directory: $tmp/st
- Child PID: *" "$out"
	assert_eq status 0 "$rc"
}

case_errors_tell_why_there_is_no_server() {
	ctl --socket="$tmp/missing" list-ports
	says missing 1 '' "error: stat $tmp/missing: no such file or directory; is rootlesskit running? Its socket is DIR/api.sock of --state-dir=DIR"
	ctl --socket="unix://$tmp/x/api.sock" list-ports
	says 'a URL' 1 '' "error: stat unix://$tmp/x/api.sock: no such file or directory; --socket takes a path, such as $tmp/x/api.sock"
	python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$tmp/dead"
	ctl --socket="$tmp/dead" list-ports
	says 'nobody listens' 1 '' "error: Get \"http://rootlesskit/v1/ports\": dial unix $tmp/dead: connect: connection refused; the rootlesskit that listened there has ended"
	ctl --socket="$tmp/dead" info
	says 'nobody listens: info' 1 '' "error: Get \"http://rootlesskit/v1/info\": dial unix $tmp/dead: connect: connection refused; the rootlesskit that listened there has ended"
	ctl --socket="$tmp/dead" add-ports 127.0.0.1:18100:80/tcp
	says 'nobody listens: add-ports' 1 '' "error: Post \"http://rootlesskit/v1/ports\": dial unix $tmp/dead: connect: connection refused; the rootlesskit that listened there has ended"
	ctl --socket="$tmp/dead" remove-ports 7
	says 'nobody listens: remove-ports' 1 '' "error: Delete \"http://rootlesskit/v1/ports/7\": dial unix $tmp/dead: connect: connection refused; the rootlesskit that listened there has ended"
	: >"$tmp/file"
	ctl --socket="$tmp/file" list-ports
	says 'a file' 1 '' "error: Get \"http://rootlesskit/v1/ports\": dial unix $tmp/file: connect: connection refused; it is not a socket"
	ctl --socket=/etc/passwd list-ports
	says 'a file of another user' 1 '' "error: Get \"http://rootlesskit/v1/ports\": dial unix /etc/passwd: connect: permission denied; it is not a socket"
	mkdir "$tmp/closed"
	ctl --socket="$tmp/closed" list-ports
	says 'a directory' 1 '' "error: Get \"http://rootlesskit/v1/ports\": dial unix $tmp/closed: connect: connection refused; it is not a socket but a directory: add /api.sock"
	ctl --socket="$tmp/closed" add-ports foo
	case $err in *'missing proto'*) ;; *) fail "the error does not name the bad spec: $err" ;; esac
	case $err in *'not a socket'*) fail "the error is about the socket, not about the bad spec: $err" ;; esac
	chmod 0 "$tmp/closed"
	ctl --socket="$tmp/closed/api.sock" list-ports
	says 'a directory without permission' 1 '' "error: stat $tmp/closed/api.sock: permission denied; only the user who runs rootlesskit may use its socket"
	long=$tmp/$(head -c 200 /dev/zero | tr '\0' a)
	: >"$long"
	ctl --socket="$long" list-ports
	says 'a long path' 1 '' "error: Get \"http://rootlesskit/v1/ports\": dial unix $long: connect: invalid argument; it is not a socket"
}

# ---- help and bad command lines ----

case_help_names_all_commands_and_options() {
	for arguments in --help -h -help help h 'help --help' '--debug --help' ''; do
		# shellcheck disable=SC2086 # words
		ctl $arguments
		assert_eq "status of $arguments" 0 "$rc"
		assert_eq "error of $arguments" '' "$err"
		for word in list-ports add-ports remove-ports info help --json --debug --socket --help -h --version -v; do
			echo "$out" | grep -qw -- "$word" || fail "'$arguments' does not name $word"
		done
	done
	for command in list-ports add-ports remove-ports info; do
		for arguments in "$command --help" "$command -h" "help $command" "$command help"; do
			# shellcheck disable=SC2086 # words
			ctl $arguments
			assert_eq "status of $arguments" 0 "$rc"
			assert_eq "error of $arguments" '' "$err"
			for word in "$command" --help -h; do
				echo "$out" | grep -qw -- "$word" || fail "'$arguments' does not name $word"
			done
			[ "$command" = remove-ports ] || echo "$out" | grep -qw -- --json ||
				fail "'$arguments' does not name --json"
		done
	done
}

case_version_is_printed() {
	for option in --version -v -version; do
		ctl "$option"
		says "$option" 0 "rootlessctl version $(version)
$(rootlesskit --version | sed 1d)" ''
	done
}

case_bad_command_lines_are_refused_with_advice() {
	ctl --foo
	assert_eq output 'Incorrect Usage: flag provided but not defined: -foo' "$out"
	assert_eq error 'error: flag provided but not defined: -foo; see `rootlessctl --help`' "$err"
	assert_eq status 1 "$rc"
	ctl list-ports --foo
	assert_eq output 'Incorrect Usage: flag provided but not defined: -foo' "$out"
	assert_eq error 'error: flag provided but not defined: -foo; see `rootlessctl list-ports --help`' "$err"
	assert_eq status 1 "$rc"
	ctl --scoket=x list-ports
	assert_eq 'a typo' 'error: flag provided but not defined: -scoket; did you mean --socket? See `rootlessctl --help`' "$err"
	assert_eq 'lines on one stream' 1 "$(rootlessctl --scoket=x list-ports 2>&1 | wc -l)"
	assert_eq status 1 "$rc"
	ctl --socket list-ports
	says 'a command that is taken as a value' 1 '' 'error: --socket took the command list-ports as its value; try --socket=SOCKET list-ports'
	ctl --socket
	assert_eq error 'error: flag needs an argument: -socket; try --socket=PATH; see `rootlessctl --help`' "$err"
	assert_eq status 1 "$rc"
	ctl foo
	says 'an unknown command' 3 '' "No help topic for 'foo'; did you mean one of list-ports, add-ports, remove-ports, info, help?"
	for word in list lst-ports List-Ports; do
		ctl "$word"
		says "$word" 3 '' "No help topic for '$word'; did you mean list-ports?"
	done
	ctl version
	says version 3 '' "No help topic for 'version'; did you mean --version?"
	ctl help foo
	says 'help for an unknown command' 3 '' "No help topic for 'foo'; did you mean one of list-ports, add-ports, remove-ports, info, help?"
}

case_options_may_be_written_in_several_ways() {
	start_builtin
	for options in "--socket=$sock" "--socket $sock" "-socket=$sock" "-socket $sock" \
		"--debug=false --socket=$sock" "--debug=true -socket $sock" "--socket=/nonexistent --socket=$sock"; do
		for json in --json -json --json=true -json=1; do
			# shellcheck disable=SC2086 # words
			ctl $options list-ports $json
			says "$options $json" 0 '' ''
		done
	done
	for arguments in "list-ports --socket=$sock --json" "--json list-ports --socket $sock" \
		"--json --socket=$sock list-ports" "list-ports --debug --json --socket=$sock" \
		"--socket=/nonexistent list-ports --json --socket=$sock"; do
		# shellcheck disable=SC2086 # words
		ctl $arguments
		says "$arguments" 0 '' ''
	done
	ctl remove-ports --socket="$sock" 1
	says '--socket after the command' 1 '' 'error: unknown id: 1; `rootlessctl list-ports` shows the IDs'
	ctl --socket="$sock" list-ports --json=false
	assert_match 'no JSON' 'ID *PROTO *' "$out"
	ctl --socket="$sock" list-ports --json=maybe
	assert_match 'a bad value' 'error: *"maybe" for -json*' "$err"
	assert_eq status 1 "$rc"
	stop
}

case_a_full_disk_is_an_error() {
	[ -c /dev/full ] || skip full "there is no /dev/full"
	start_builtin
	for command in info 'info --json' list-ports --help; do
		rc=0
		# shellcheck disable=SC2086 # words
		rootlessctl --socket="$sock" $command >/dev/full 2>"$tmp/err" || rc=$?
		assert_eq "status of $command" 1 "$rc"
		assert_match "error of $command" '*no space left on device*' "$(cat "$tmp/err")"
	done
	stop
}

# ---- other servers ----

# serve ANSWER...: starts a server that answers each request with the next ANSWER, closes that connection,
# and ends after the last one. Escapes in an ANSWER are those of Python. An ANSWER that begins with @ is
# repeated for ever. Sets `sock` to its socket.
serve() {
	sock=$tmp/fake.sock
	rm -f "$sock"
	python3 - "$sock" "$@" <<-'EOF' &
		import socket, sys
		s = socket.socket(socket.AF_UNIX)
		s.bind(sys.argv[1])
		s.listen(10)
		for text in sys.argv[2:]:
		    c = s.accept()[0]
		    c.recv(65536)
		    data = text.encode().decode('unicode_escape').encode('latin-1')
		    if data.startswith(b'@'):
		        try:
		            while True:
		                c.sendall(data[1:] * 100)
		        except OSError:
		            pass
		    else:
		        c.sendall(data)
		    c.close()
	EOF
	server=$!
	wait_until 10 socket_listens
}

# Looks the socket up: a connection would use up an answer.
socket_listens() {
	grep -q "00010000 0001 01 .* $sock\$" /proc/net/unix
}

# ok BODY: prints an ANSWER with status 200
ok() {
	printf 'HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n%s' \
		"$(printf '%b' "$1" | wc -c)" "$1"
}

# fails WHAT: the last `ctl` printed one line of error and nothing else
fails() {
	assert_eq "$1: output" '' "$out"
	assert_match "$1: error" 'error: *' "$err"
	assert_eq "$1: lines" 1 "$(echo "$err" | wc -l)"
	assert_eq "$1: control characters" '' "$(printf %s "$err" | tr -d '[:print:]\200-\377')"
	assert_eq "$1: status" 1 "$rc"
}

case_answers_that_are_not_HTTP_are_errors() {
	set -- '' '\r\n' 'hello\r\n\r\n' '\x00\x01\x02\xff\xfe' 'HTTP/1.1 200 OK\r\n' 'HTTP/1.1 20 OK\r\n\r\n' \
		'HTTP/2.0 200 OK\r\n\r\n' 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort' \
		'HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n[]' \
		'HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n[]' \
		'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n[]' \
		'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n' \
		'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n[]' \
		'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n[]' \
		'HTTP/1.1 100 Continue\r\n\r\n' 'HTTP/1.1 200 OK\r\nno header\r\n\r\n[]'
	serve "$@"
	for answer; do
		ctl --socket="$sock" list-ports
		fails "$answer"
	done
	await_success "$server"
}

case_endless_answers_are_errors() {
	set -- '@X: y\r\n' '@HTTP/1.1 100 Continue\r\n\r\n' '@garbage'
	serve "$@"
	for answer; do
		ctl --socket="$sock" list-ports
		fails "$answer"
	done
	await_success "$server"
	# An endless body after a valid head.
	serve '@HTTP/1.1 200 OK\r\n\r\n'
	ctl --socket="$sock" list-ports
	fails 'an endless body'
	assert_match 'error about an endless body' '*longer than*' "$err"
	await_success "$server"
}

case_bodies_that_are_not_a_list_of_ports_are_errors() {
	deep=$(head -c 5000 /dev/zero | tr '\0' '[')
	set -- '' '{' 'garbage' '{}' '1' '"x"' '[1]' '[null]' '[{}]' '[{"id":1}]' '[{"id":1,"spec":null}]' \
		'[{"id":"x","spec":{}}]' '[{"id":1,"spec":{"proto":5}}]' '[{"id":1.5,"spec":{}}]' \
		'[{"id":1,"spec":{"parentPort":99999999999999999999}}]' "$deep"
	for body; do
		set -- "$@" "$(ok "$body")"
		shift
	done
	serve "$@"
	for answer; do
		ctl --socket="$sock" list-ports
		fails "$answer"
	done
	await_success "$server"
}

case_bodies_that_are_not_info_are_errors() {
	set -- '' '{' '[]' '1' '{"version":5}' '{"childPID":"x"}' '{"networkDriver":5}' \
		'{"networkDriver":{"dns":5}}' '{"portDriver":{"driver":"x","protos":[1]}}'
	for body; do
		set -- "$@" "$(ok "$body")"
		shift
	done
	serve "$@"
	for answer; do
		ctl --socket="$sock" info
		fails "$answer"
	done
	await_success "$server"
}

case_errors_of_the_server_are_shown() {
	while IFS='|' read -r answer error; do
		serve "$answer"
		ctl --socket="$sock" list-ports
		says "$answer" 1 '' "error: $error"
		await_success "$server"
	done <<-'EOF'
		HTTP/1.1 400 Bad Request\r\n\r\n{"message":"what is wrong"}|what is wrong
		HTTP/1.0 500 Oops\r\nContent-Length: 26\r\n\r\n{"message":"<\\u001b[31m>"}|<?[31m>
		HTTP/1.1 404 Not Found\r\n\r\n404 page not found\n|unexpected HTTP status 404 Not Found, body="404 page not found\n"
		HTTP/1.1 403 No\r\n\r\n{"message":5}|unexpected HTTP status 403 Forbidden, body="{\"message\":5}"
		HTTP/1.1 301 Moved Permanently\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n|unexpected HTTP status 301 Moved Permanently, body=""
	EOF
}

case_unusual_but_valid_answers_are_understood() {
	set -- "$(ok null)" "$(ok '[]')" "$(ok ' [ ] ')" 'HTTP/1.0 200 OK\r\n\r\nnull' 'HTTP/1.1 200\r\n\r\n[]' \
		'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 4\n\nnull' \
		'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\n[\r\n1\r\n]\r\n0\r\nX: y\r\n\r\n'
	serve "$@"
	for answer; do
		ctl --socket="$sock" list-ports --json
		says "$answer" 0 '' ''
	done
	await_success "$server"
	# An unknown proto, control characters, unknown members, and members in another order.
	serve "$(ok '[{"spec":{"childPort":2,"parentPort":1,"proto":"quic","parentIP":"\\u001b[31m","new":[]},"id":5,"new":{}}]')"
	ctl --socket="$sock" list-ports
	says future 0 'ID    PROTO    PARENTIP    PARENTPORT    CHILDIP    CHILDPORT    
5     quic     ?[31m       1                        2            ' ''
	await_success "$server"
}

run_cases \
	list_ports_prints_a_table_or_JSON \
	list_ports_shows_IPv6_addresses \
	add_ports_stops_at_the_first_error \
	bad_specs_are_refused \
	a_privileged_port_is_refused_with_advice \
	remove_ports_stops_at_the_first_error \
	port_commands_fail_without_a_port_driver \
	info_describes_the_launcher \
	info_describes_slirp4netns \
	help_gives_the_form_of_specs \
	the_socket_is_found_through_the_state_directory \
	a_command_inside_finds_its_launcher \
	errors_tell_why_there_is_no_server \
	help_names_all_commands_and_options \
	version_is_printed \
	bad_command_lines_are_refused_with_advice \
	options_may_be_written_in_several_ways \
	a_full_disk_is_an_error \
	answers_that_are_not_HTTP_are_errors \
	endless_answers_are_errors \
	bodies_that_are_not_a_list_of_ports_are_errors \
	bodies_that_are_not_info_are_errors \
	errors_of_the_server_are_shown \
	unusual_but_valid_answers_are_understood
