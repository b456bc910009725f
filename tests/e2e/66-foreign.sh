#!/bin/sh
# Our programs with those of RootlessKit, from Debian's package rootlesskit (1.1.0 in Debian 12, 2.0.2 in 13):
# its rootlessctl with our launcher, and our rootlessctl with its launcher.
. "$(dirname "$0")/lib.sh"

THEIRS=/usr/bin/rootlesskit
THEIR_CTL=/usr/bin/rootlessctl

need_theirs() {
	need "$THEIRS"
	need "$THEIR_CTL"
	$THEIR_CTL --version | grep -q 'version [0-9.]*$' ||
		skip rootlesskit "$THEIR_CTL is rlkbox, not RootlessKit"
}

start_ours() {
	start --net=none --port-driver=builtin "$@"
	sock=$state/api.sock
}

# Only with options that are known to be safe: RootlessKit may delete files of the user when a --copy-up
# fails, and empties its state directory at the start (docs/differences.md).
start_theirs() {
	need_slirp4netns
	state=$tmp/their
	$THEIRS --state-dir="$state" --net=slirp4netns --disable-host-loopback --port-driver=builtin \
		--copy-up=/etc sleep 60 >"$tmp/bg.out" 2>"$tmp/bg.err" </dev/null &
	pid=$!
	wait_ready
	# RootlessKit writes child_pid before it opens the API.
	sock=$state/api.sock
	wait_until 20 $THEIR_CTL --socket "$sock" info
}

stop_theirs() {
	stop
	assert_eq status 255 "$rc"
}

# ctl PROGRAM ARGUMENT...: runs a client. Sets `out`, `err` and `rc`.
# shellcheck disable=SC2034 # for the cases
ctl() {
	program=$1
	shift
	rc=0
	"$program" --socket="$sock" "$@" >"$tmp/ctl.out" 2>"$tmp/ctl.err" </dev/null || rc=$?
	out=$(cat "$tmp/ctl.out")
	err=$(cat "$tmp/ctl.err")
}

# says WHAT STATUS OUTPUT ERROR: checks these of the last `ctl`
says() {
	assert_eq "$1: output" "$3" "$out"
	assert_eq "$1: error" "$4" "$err"
	assert_eq "$1: status" "$2" "$rc"
}

# Prints the result of the last `ctl` without advice, which only our client gives, after "; ". The lines are
# sorted, because RootlessKit lists ports in random order.
said() {
	printf '%s\n' "$rc" "$err" "$out" | sed 's/^\(error: [^;]*\); .*/\1/' | sort
}

# clients_agree SPEC: both clients print the same about a launcher, which has already published SPEC
clients_agree() {
	for arguments in list-ports 'list-ports --json' info 'info --json' 'remove-ports 99' remove-ports \
		'remove-ports x' "add-ports $1" 'add-ports 127.0.0.1:80:80/tcp' \
		'add-ports foo' 'add-ports 127.0.0.1:18100:80/sctp' 'add-ports 192.0.2.99:18100:80/tcp'; do
		# shellcheck disable=SC2086 # words
		ctl $THEIR_CTL $arguments
		theirs=$(said)
		# shellcheck disable=SC2086
		ctl rootlessctl $arguments
		assert_eq "$arguments" "$theirs" "$(said)"
	done
}

case_their_client_manages_our_ports() {
	need_theirs
	port=$(free_port) other=$(free_port)
	make_page 'hello from inside'
	# Their client, of 1.1.0, leaves out what it does not know of /v1/info: "extra" of the port driver.
	start_ours --source-ip-transparent=false busybox httpd -f -p 127.0.0.1:80 -h "$tmp/www"
	ctl $THEIR_CTL list-ports
	says empty 0 'ID    PROTO    PARENTIP    PARENTPORT    CHILDIP    CHILDPORT    ' ''
	ctl $THEIR_CTL list-ports --json
	says 'empty, JSON' 0 '' ''
	ctl $THEIR_CTL add-ports "127.0.0.1:$port:80/tcp" "127.0.0.2:$other:127.0.0.1:80/tcp4"
	says add 0 '1
2' ''
	for url in "127.0.0.1:$port" "127.0.0.2:$other"; do
		wait_until 5 fetch "http://$url/"
		assert_eq "page at $url" 'hello from inside' "$(fetch "http://$url/")"
	done
	ctl $THEIR_CTL add-ports --json "127.0.0.3:$port:80/tcp"
	says 'add, JSON' 0 "{\"id\":3,\"spec\":{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.3\",\"parentPort\":$port,\"childPort\":80}}" ''
	ctl $THEIR_CTL list-ports
	says list 0 "ID    PROTO    PARENTIP     PARENTPORT    CHILDIP      CHILDPORT    
1     tcp      127.0.0.1    $port                      80           
2     tcp4     127.0.0.2    $other         127.0.0.1    80           
3     tcp      127.0.0.3    $port                      80           " ''
	ctl $THEIR_CTL list-ports --json
	says 'list, JSON' 0 "{\"id\":1,\"spec\":{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":$port,\"childPort\":80}}
{\"id\":2,\"spec\":{\"proto\":\"tcp4\",\"parentIP\":\"127.0.0.2\",\"parentPort\":$other,\"childPort\":80,\"childIP\":\"127.0.0.1\"}}
{\"id\":3,\"spec\":{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.3\",\"parentPort\":$port,\"childPort\":80}}" ''
	ctl $THEIR_CTL remove-ports 1 3
	says remove 0 '1
3' ''
	assert_fails fetch "http://127.0.0.1:$port/"
	ctl $THEIR_CTL remove-ports 1
	says 'remove again' 1 '' 'error: unknown id: 1'
	clients_agree "127.0.0.2:$other:80/tcp4"
	stop
}

case_their_client_reads_our_info() {
	need_theirs
	start_ours sleep 60
	ctl $THEIR_CTL info
	says info 0 "- REST API version: 1.1.3
- Implementation version: $(rootlesskit --version | cut -d ' ' -f 3)
- State Directory: $state
- Child PID: $child
- Network Driver: none
  - DNS: []
- Port Driver: builtin
  - Supported protocols: [tcp tcp4 tcp6 udp udp4 udp6]" ''
	ctl $THEIR_CTL info --json
	assert_match JSON "{*\"childPID\": $child,*\"driver\": \"builtin\",*}" "$out"
	stop
	need_slirp4netns
	start --net=slirp4netns --disable-host-loopback --port-driver=builtin sleep 60
	ctl $THEIR_CTL info
	assert_match 'info of slirp4netns' '*
- Network Driver: slirp4netns
  - DNS: \[10.0.2.3]
  - IP: 10.0.2.100
- Port Driver: builtin
*' "$out"
	stop
}

case_their_client_shows_the_error_without_a_port_driver() {
	need_theirs
	start sleep 60
	sock=$state/api.sock
	ctl $THEIR_CTL list-ports
	says list 1 '' 'error: no PortDriver is available'
	ctl $THEIR_CTL add-ports 127.0.0.1:18100:80/tcp
	says add 1 '' 'error: no PortDriver is available'
	ctl $THEIR_CTL info
	assert_match info "- REST API version: 1.1.3*- Child PID: $child" "$out"
	stop
}

case_their_client_finds_our_socket_from_inside() {
	need_theirs
	launch --state-dir="$tmp/st" --net=none --port-driver=builtin $THEIR_CTL list-ports
	assert_eq output 'ID    PROTO    PARENTIP    PARENTPORT    CHILDIP    CHILDPORT    ' "$out"
	assert_eq status 0 "$rc"
}

case_our_client_manages_their_ports() {
	need_theirs
	port=$(free_port)
	start_theirs
	ctl rootlessctl list-ports
	says 'empty, which RootlessKit sends as null' 0 'ID    PROTO    PARENTIP    PARENTPORT    CHILDIP    CHILDPORT    ' ''
	ctl rootlessctl list-ports --json
	says 'empty, JSON' 0 '' ''
	ctl rootlessctl add-ports "127.0.0.1:$port:80/tcp" "127.0.0.2:$port:10.0.2.100:81/udp"
	says add 0 '1
2' ''
	ctl rootlessctl add-ports --json "127.0.0.3:$port:80/tcp4"
	says 'add, JSON' 0 "{\"id\":3,\"spec\":{\"proto\":\"tcp4\",\"parentIP\":\"127.0.0.3\",\"parentPort\":$port,\"childPort\":80}}" ''
	ctl rootlessctl list-ports --json
	assert_eq list "{\"id\":1,\"spec\":{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":$port,\"childPort\":80}}
{\"id\":2,\"spec\":{\"proto\":\"udp\",\"parentIP\":\"127.0.0.2\",\"parentPort\":$port,\"childPort\":81,\"childIP\":\"10.0.2.100\"}}
{\"id\":3,\"spec\":{\"proto\":\"tcp4\",\"parentIP\":\"127.0.0.3\",\"parentPort\":$port,\"childPort\":80}}" "$(echo "$out" | sort)"
	ctl rootlessctl info
	says info 0 "- REST API version: 1.1.1
- Implementation version: $($THEIRS --version | cut -d ' ' -f 3)
- State Directory: $state
- Child PID: $child
- Network Driver: slirp4netns
  - DNS: [10.0.2.3]
  - IP: 10.0.2.100
- Port Driver: builtin
  - Supported protocols: [tcp tcp4 tcp6 udp udp4 udp6]" ''
	clients_agree "127.0.0.1:$port:80/tcp"
	ctl rootlessctl remove-ports 1 2
	says remove 0 '1
2' ''
	ctl rootlessctl remove-ports 2
	says 'remove again' 1 '' 'error: unknown id: 2; `rootlessctl list-ports` shows the IDs'
	ctl $THEIR_CTL list-ports --json
	says 'remaining port' 0 "{\"id\":3,\"spec\":{\"proto\":\"tcp4\",\"parentIP\":\"127.0.0.3\",\"parentPort\":$port,\"childPort\":80}}" ''
	stop_theirs
}

run_cases \
	their_client_manages_our_ports \
	their_client_reads_our_info \
	their_client_shows_the_error_without_a_port_driver \
	their_client_finds_our_socket_from_inside \
	our_client_manages_their_ports
