#!/bin/sh
# rootlesskit-docker-proxy: what it reports to dockerd on descriptor 3, the port that it publishes as long
# as it runs, and how it starts and ends docker-proxy. docker-proxy is a shell script here, which stores how
# it was called.
. "$(dirname "$0")/lib.sh"

# ---- docker-proxy and dockerd ----

# fake COMMAND...: makes a docker-proxy that stores its arguments, descriptors and blocked signals in files,
# and then runs the shell commands
fake() {
	mkdir -p "$tmp/fake"
	cat >"$tmp/fake/docker-proxy" <<-EOF
		#!/bin/sh
		for word; do echo "\$word"; done >$tmp/args
		ls /proc/self/fd | tr '\n' ' ' >$tmp/fds
		grep ^SigBlk /proc/self/status >$tmp/mask
		readlink /proc/\$\$/fd/3 >$tmp/third
		echo \$\$ >$tmp/fake.pid
		$*
	EOF
	chmod +x "$tmp/fake/docker-proxy"
}
# A docker-proxy that reports success and runs until it is ended.
good="printf '0\\n' >&3; exec 3>&-; exec sleep 60"

# proxy OPTION...: starts the applet in the launcher's namespaces, as dockerd does. Sets `proxy` to its PID,
# and `reader` to that of a process that copies the report on descriptor 3 to $tmp/report until its end.
proxy() {
	rm -f "$tmp/pipe" "$tmp/report" "$tmp/fake.pid"
	mkfifo "$tmp/pipe"
	cat "$tmp/pipe" >"$tmp/report" &
	reader=$!
	exec_proxy "$@" 3>"$tmp/pipe" >"$tmp/out" 2>"$tmp/err" &
	proxy=$!
}
exec_proxy() {
	exec env --default-signal=INT,QUIT PATH="${proxy_path-$tmp/fake:$PATH}" ROOTLESSKIT_STATE_DIR="$state" \
		"$nsenter" --preserve-credentials -U -m -n -t "$child" "${applet-$bin/rootlesskit-docker-proxy}" "$@"
}
nsenter=$(command -v nsenter)

# proxy_up OPTION...: the same, and waits until success is reported. Sets `docker_proxy` to the PID of
# docker-proxy.
proxy_up() {
	proxy "$@"
	wait_until 10 has_reported_success
	docker_proxy=$(cat "$tmp/fake.pid")
}
has_reported_success() {
	[ "$(cat "$tmp/report")" = 0 ]
}

# proxy_ended STATUS REPORT ERROR: waits until the applet has ended by itself, and checks its status, report
# and standard error, for which ERROR is a pattern
proxy_ended() {
	await_end "$proxy"
	await_success "$reader"
	assert_eq report "$2" "$(cat "$tmp/report")"
	assert_match 'standard error' "$3" "$(cat "$tmp/err")"
	assert_eq status "$1" "$rc"
	assert_eq ports '' "$(ports)"
}

# proxy_stopped SIGNAL: ends the applet as dockerd does; docker-proxy and the port must end with it
proxy_stopped() {
	end_process "$proxy" "$1"
	assert_eq "status after $1" 0 "$rc"
	wait_until 5 has_ended "$docker_proxy"
	assert_eq "ports after $1" '' "$(ports)"
	assert_eq 'standard error' '' "$(cat "$tmp/err")"
}

ports() {
	rootlessctl --socket="$state/api.sock" list-ports --json
}

start_builtin() {
	start --net=none --port-driver=builtin sleep 60
	port=$(free_port)
}

# spec PROTO PARENTIP CHILDIP: prints the end of a published port as the API shows it
spec() {
	echo "\"spec\":{\"proto\":\"$1\",\"parentIP\":\"$2\",\"parentPort\":$port,\"childPort\":$port,\"childIP\":\"$3\"}}"
}

# ---- ports ----

case_a_container_is_reached_from_the_host() {
	start_builtin
	make_page 'hello from inside'
	# The server takes the place of docker-proxy, which would forward connections to a container.
	fake "printf '0\\n' >&3; exec 3>&-; exec busybox httpd -f -p \"\$2:$port\" -h $tmp/www"
	proxy_up -proto tcp -host-ip 127.0.0.1 -host-port "$port" -container-ip 172.17.0.2 -container-port 80
	wait_until 5 fetch "http://127.0.0.1:$port/"
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
	proxy_stopped INT
	assert_fails fetch "http://127.0.0.1:$port/"
	stop
}

case_a_port_has_the_address_family_of_its_host_IP() {
	need_ipv6
	fake "$good"
	start_builtin
	while read -r ip proto child_ip; do
		proxy_up -proto tcp -host-ip "$ip" -host-port "$port" -container-ip 172.17.0.2 -container-port 80
		assert_match "port of $ip" "{\"id\":*,$(spec "$proto" "$ip" "$child_ip")" "$(ports)"
		assert_eq 'arguments of docker-proxy' "-host-ip
$child_ip
-proto
tcp
-host-port
$port
-container-ip
172.17.0.2
-container-port
80" "$(cat "$tmp/args")"
		proxy_stopped INT
	done <<-'EOT'
		0.0.0.0 tcp4 127.0.0.1
		127.0.0.1 tcp4 127.0.0.1
		127.0.0.2 tcp4 127.0.0.1
		:: tcp6 ::1
		::1 tcp6 ::1
	EOT
	stop
}

case_a_port_can_be_published_for_IPv4_and_IPv6() {
	need_ipv6
	fake "$good"
	start_builtin
	proxy_up -proto tcp -host-ip 0.0.0.0 -host-port "$port" -container-ip 172.17.0.2 -container-port 80
	proxy4=$proxy docker_proxy4=$docker_proxy
	proxy_up -proto tcp -host-ip :: -host-port "$port" -container-ip 172.17.0.2 -container-port 80
	assert_eq ports "{\"id\":1,$(spec tcp4 0.0.0.0 127.0.0.1)
{\"id\":2,$(spec tcp6 :: ::1)" "$(ports)"
	end_process "$proxy4" INT
	assert_eq 'status for IPv4' 0 "$rc"
	wait_until 5 has_ended "$docker_proxy4"
	assert_eq ports "{\"id\":2,$(spec tcp6 :: ::1)" "$(ports)"
	proxy_stopped INT
	stop
}

case_a_UDP_port_is_published() {
	fake "$good"
	start_builtin
	proxy_up_or_warned -proto udp -host-ip 127.0.0.1 -host-port "$port" -container-ip 172.17.0.2 -container-port 53
	stop
}
# A port driver may not support UDP; then there is a warning instead.
proxy_up_or_warned() {
	if rootlessctl --socket="$state/api.sock" info --json | grep -q '"udp4"'; then
		proxy_up "$@"
		assert_match port "{\"id\":*,$(spec udp4 127.0.0.1 127.0.0.1)" "$(ports)"
		proxy_stopped INT
	else
		proxy "$@"
		proxy_ended 0 0 '*level=warning*protocol \\"udp4\\" is not supported*'
	fi
}

case_a_proto_that_the_port_driver_lacks_is_a_warning() {
	fake 'exit 9'
	start_builtin
	proxy -proto sctp -host-ip 0.0.0.0 -host-port "$port" -container-ip 172.17.0.2 -container-port 80
	proxy_ended 0 0 '*level=warning msg="*protocol \\"sctp4\\" is not supported by the RootlessKit port driver \\"builtin\\", discarding request for \\"0.0.0.0:'"$port"'\\""'
	[ ! -e "$tmp/args" ] || fail 'docker-proxy was started'
	stop
}

case_a_port_that_cannot_be_published_is_reported() {
	fake "$good"
	start_builtin
	refused='error while calling PortManager.AddPort():'
	rootlessctl --socket="$state/api.sock" add-ports "127.0.0.1:$port:127.0.0.1:80/tcp4" >/dev/null
	proxy -host-ip 127.0.0.1 -host-port "$port"
	await_end "$proxy"
	await_success "$reader"
	assert_eq conflict "1
$refused conflict with ID 1; that is 127.0.0.1:$port:127.0.0.1:80/tcp4" "$(cat "$tmp/report")"
	rootlessctl --socket="$state/api.sock" remove-ports 1 >/dev/null
	while IFS='|' read -r ip number error; do
		proxy -host-ip "$ip" -host-port "$number"
		proxy_ended 1 "1
$refused $error" "\[rootlesskit:docker-proxy] error: $refused $error"
	done <<-EOT
		192.0.2.99|$port|listen tcp4 192.0.2.99:$port: bind: cannot assign requested address; it is not an address of this host (ip addr lists those)
		bad|$port|invalid ParentIP: "bad"; it takes an IP address
		127.0.0.1|0|invalid ParentPort: 0; ports are 1 to 65535
		127.0.0.1|65536|invalid ParentPort: 65536; ports are 1 to 65535
		127.0.0.1|-1|invalid ParentPort: -1; ports are 1 to 65535
	EOT
	proxy -host-ip "$(head -c 600 /dev/zero | tr '\0' 1)" -host-port "$port"
	proxy_ended 1 "1
$refused invalid ParentIP: it is too long" '*'
	[ ! -e "$tmp/args" ] || fail 'docker-proxy was started'
	stop
}

case_a_privileged_port_is_reported_with_advice() {
	[ "$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)" -gt 80 ] ||
		skip privileged-ports "any user may bind port 80 on this host"
	fake "$good"
	start_builtin
	proxy -host-ip 127.0.0.1 -host-port 80
	await_end "$reader"
	await_end "$proxy"
	assert_match report "1
error while calling PortManager.AddPort(): cannot expose privileged port 80*net.ipv4.ip_unprivileged_port_start*permission denied" "$(cat "$tmp/report")"
	stop
}

# ---- the end ----

case_signals_end_the_proxy_and_its_port() {
	fake "$good"
	start_builtin
	for signal in INT TERM HUP QUIT; do
		proxy_up -host-ip 127.0.0.1 -host-port "$port"
		proxy_stopped "$signal"
	done
	stop
}

case_SIGINT_ends_the_proxy_even_if_ignored_at_its_start() {
	fake "$good"
	start_builtin
	trap '' INT HUP
	PATH=$tmp/fake:$PATH ROOTLESSKIT_STATE_DIR=$state rootlesskit-docker-proxy \
		-host-ip 127.0.0.1 -host-port "$port" 3>"$tmp/report" 2>"$tmp/err" &
	proxy=$!
	wait_until 10 has_reported_success
	docker_proxy=$(cat "$tmp/fake.pid")
	# SIGHUP stays ignored.
	send_signal HUP "$proxy"
	proxy_stopped INT
	stop
}

case_a_docker_proxy_that_exits_silently_is_reported() {
	start_builtin
	for way in 'exit 3|3|exit status 3' 'exit 0|1|exit status 0' 'kill -KILL $$|255|signal: killed'; do
		fake "${way%%|*}"
		status=${way#*|}
		proxy -host-ip 127.0.0.1 -host-port "$port"
		proxy_ended "${status%%|*}" "1
docker-proxy ended: ${way##*|}" "\[rootlesskit:docker-proxy] error: docker-proxy ended: ${way##*|}"
	done
	stop
}

case_the_reason_of_docker_proxy_is_passed_on() {
	fake "printf '1\\nlisten tcp 127.0.0.1:1: bind: address already in use' >&3; exit 1"
	start_builtin
	proxy -host-ip 127.0.0.1 -host-port "$port"
	proxy_ended 1 '1
listen tcp 127.0.0.1:1: bind: address already in use' '*docker-proxy ended: exit status 1'
	stop
}

case_a_docker_proxy_killed_later_ends_the_proxy() {
	fake "$good"
	start_builtin
	proxy_up -host-ip 127.0.0.1 -host-port "$port"
	send_signal KILL "$docker_proxy"
	proxy_ended 255 0 '*docker-proxy ended: signal: killed'
	stop
}

# dockerd closes its end of the pipe after the first byte of a success.
case_output_after_the_report_does_no_harm() {
	fake "printf '0\\n' >&3; while [ ! -e $tmp/go ]; do sleep 0.02; done; printf more >&3; exec 3>&-; touch $tmp/said; exec sleep 60"
	start_builtin
	proxy_up -host-ip 127.0.0.1 -host-port "$port"
	end_process "$reader"
	touch "$tmp/go"
	wait_until 5 test -e "$tmp/said"
	proxy_stopped INT
	stop
}

case_docker_proxy_ends_when_the_proxy_is_killed() {
	fake "$good"
	start_builtin
	proxy_up -host-ip 127.0.0.1 -host-port "$port"
	send_signal KILL "$proxy"
	wait_until 5 has_ended "$docker_proxy"
	stop
}

case_a_launcher_that_has_ended_is_a_warning() {
	fake "$good"
	start_builtin
	proxy_up -host-ip 127.0.0.1 -host-port "$port"
	stop
	end_process "$proxy" INT
	assert_eq status 0 "$rc"
	assert_match warning "*level=warning*error while calling PortManager.RemovePort(): stat $state/api.sock: no such file or directory*" "$(cat "$tmp/err")"
	wait_until 5 has_ended "$docker_proxy"
}

# ---- starting docker-proxy ----

case_a_missing_docker_proxy_is_reported_with_advice() {
	start_builtin
	proxy_path=/nonexistent
	proxy -host-ip 127.0.0.1 -host-port "$port"
	proxy_ended 1 '1
error while starting docker-proxy: exec: "docker-proxy": executable file not found in $PATH; it comes with Docker (Debian: package docker.io): add its directory to $PATH of dockerd' '*executable file not found*'
	stop
}

case_a_docker_proxy_that_cannot_be_executed_is_reported() {
	fake true
	printf '\177nonsense' >"$tmp/fake/docker-proxy"
	start_builtin
	proxy -host-ip 127.0.0.1 -host-port "$port"
	proxy_ended 1 "1
error while starting docker-proxy: fork/exec $tmp/fake/docker-proxy: exec format error" '*'
	stop
}

case_docker_proxy_inherits_only_its_descriptors() {
	fake 'exit 0'
	"$tmp/fake/docker-proxy" 3>/dev/null
	mv "$tmp/fds" "$tmp/fds.expected"
	fake "$good"
	start_builtin
	proxy_up -host-ip 127.0.0.1 -host-port "$port"
	assert_eq descriptors "$(cat "$tmp/fds.expected")" "$(cat "$tmp/fds")"
	assert_match 'descriptor 3' 'pipe:*' "$(cat "$tmp/third")"
	assert_eq 'blocked signals' 0 "$((0x$(sed 's/.*\(....\)$/\1/' "$tmp/mask")))"
	proxy_stopped INT
	stop
}

case_unknown_options_are_passed_to_docker_proxy() {
	fake "$good"
	start_builtin
	proxy_up --proto=tcp --host-ip=127.0.0.2 --container-ip=172.17.0.2 -use-listen-fd --new value \
		-host-port="$port" -other=1 --container-port 80
	assert_match port "*$(spec tcp4 127.0.0.2 127.0.0.1)" "$(ports)"
	assert_eq 'arguments of docker-proxy' "-host-ip
127.0.0.1
--proto=tcp
--container-ip=172.17.0.2
-use-listen-fd
--new
value
-host-port=$port
-other=1
--container-port
80" "$(cat "$tmp/args")"
	proxy_stopped INT
	# The last of several equal options counts. Words after -- are not options.
	proxy_up -host-port 1 -host-ip ::1 -proto tcp4 -host-ip 127.0.0.1 -host-port "$port" -- -host-ip ::2
	assert_match port "*$(spec tcp4 127.0.0.1 127.0.0.1)" "$(ports)"
	proxy_stopped INT
	stop
}

# Newer versions of dockerd hand over a listening socket as descriptor 4.
case_descriptor_4_is_passed_to_docker_proxy() {
	fake "readlink /proc/\$\$/fd/4 >$tmp/fourth; $good"
	start_builtin
	exec 4<"$here/lib.sh"
	proxy_up -host-ip 127.0.0.1 -host-port "$port" -use-listen-fd
	exec 4<&-
	assert_eq 'descriptor 4' "$here/lib.sh" "$(cat "$tmp/fourth")"
	proxy_stopped INT
	stop
}

case_docker_proxy_is_executed_directly_without_a_port_driver() {
	fake "$good"
	start --net=none sleep 60
	set -- -proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2 -container-port 80 -use-listen-fd
	proxy "$@"
	wait_until 10 has_reported_success
	assert_eq PID "$proxy" "$(cat "$tmp/fake.pid")"
	assert_eq arguments "$(printf '%s\n' "$@")" "$(cat "$tmp/args")"
	assert_eq 'descriptor 3' "$tmp/pipe" "$(cat "$tmp/third")"
	end_process "$proxy"
	assert_eq status 143 "$rc"
	proxy_path=/nonexistent
	proxy "$@"
	await_end "$reader"
	await_end "$proxy"
	assert_eq 'status without a docker-proxy' 1 "$rc"
	assert_match report '1
error while starting docker-proxy: exec: *' "$(cat "$tmp/report")"
	stop
}

# ---- bad command lines and environments ----

case_bad_command_lines_are_reported() {
	start_builtin
	while IFS='|' read -r options error; do
		# shellcheck disable=SC2086 # words
		proxy $options
		proxy_ended 2 "1
$error" "\[rootlesskit:docker-proxy] error: $error
Usage: rootlesskit-docker-proxy*"
	done <<-'EOT'
		-host-port abc|invalid value "abc" for flag -host-port: parse error; --host-port takes a number: port on the host, 1 to 65535
		-host-port 99999999999999999999|invalid value "99999999999999999999" for flag -host-port: parse error; --host-port takes a number: port on the host, 1 to 65535
		-host-ip|flag needs an argument: -host-ip; try --host-ip=IP
		-proto tcp ---host-port 5|bad flag syntax: ---host-port; an option begins with one or two dashes and its name
	EOT
	proxy -proto "$(head -c 100 /dev/zero | tr '\0' x)" -host-port "$port"
	proxy_ended 1 "1
unknown proto: \"$(head -c 100 /dev/zero | tr '\0' x)\"" '*'
	proxy -help
	proxy_ended 0 '' ''
	for option in proto host-ip host-port container-ip container-port help version; do
		grep -qw -- "-$option" "$tmp/out" || fail "no -$option in: $(cat "$tmp/out")"
	done
	proxy --version
	proxy_ended 0 '' ''
	assert_match version 'rootlesskit-docker-proxy version 3.*' "$(cat "$tmp/out")"
	stop
}

case_the_port_is_published_even_if_descriptor_3_is_closed() {
	fake "$good"
	start_builtin
	exec_proxy -host-ip 127.0.0.1 -host-port "$port" 3>&- 2>"$tmp/err" &
	proxy=$!
	wait_until 10 test -s "$tmp/fake.pid"
	assert_match ports "*$(spec tcp4 127.0.0.1 127.0.0.1)" "$(ports)"
	docker_proxy=$(cat "$tmp/fake.pid")
	proxy_stopped TERM
	stop
}

# proxy_alone OPTION...: runs the applet outside a launcher's namespaces until it ends. Sets `rc`.
proxy_alone() {
	rc=0
	PATH=$tmp/fake:$PATH rootlesskit-docker-proxy "$@" 3>"$tmp/report" 2>"$tmp/err" || rc=$?
}

case_a_missing_API_socket_is_reported_with_advice() {
	fake "$good"
	ROOTLESSKIT_STATE_DIR=/nonexistent proxy_alone -host-ip 127.0.0.1 -host-port 18080
	assert_eq status 1 "$rc"
	assert_eq report '1
error while connecting to RootlessKit API socket: stat /nonexistent/api.sock: no such file or directory; is the rootlesskit of $ROOTLESSKIT_STATE_DIR running?' "$(cat "$tmp/report")"
	unset ROOTLESSKIT_STATE_DIR
	proxy_alone -host-ip 127.0.0.1 -host-port 18080
	assert_eq status 1 "$rc"
	# shellcheck disable=SC2016 # it is the text
	assert_eq report '1
$ROOTLESSKIT_STATE_DIR needs to be set; rootlesskit sets it for dockerd, which runs this program: try it inside rootlesskit, or set it to the directory of --state-dir' "$(cat "$tmp/report")"
}

# serve INFO [STATUS ANSWER]: starts an API that answers GET with INFO and POST with ANSWER, and stores
# requests in $tmp/requests
serve() {
	state=$tmp/fake-api
	rm -rf "$state" && mkdir "$state"
	python3 - "$state/api.sock" "$tmp/requests" "$@" <<-'EOT' &
		import http.server, socketserver, sys
		path, log, info = sys.argv[1:4]
		answer = sys.argv[4:6] or ['201', '{"id":7}']
		class Handler(http.server.BaseHTTPRequestHandler):
		    def reply(self, status, text):
		        self.send_response(int(status))
		        self.send_header('Content-Length', str(len(text)))
		        self.end_headers()
		        self.wfile.write(text.encode())
		    def note(self):
		        body = self.rfile.read(int(self.headers.get('Content-Length') or 0)).decode()
		        with open(log, 'a') as f:
		            print(self.command, self.path, body, file=f)
		    def do_GET(self):
		        self.reply(404 if info == '404' else 200, info)
		    def do_POST(self):
		        self.note()
		        self.reply(*answer)
		    def do_DELETE(self):
		        self.note()
		        self.reply(200, '')
		    def address_string(self):
		        return ''
		class Server(socketserver.UnixStreamServer):
		    def get_request(self):
		        return self.socket.accept()[0], ('', 0)
		Server(path, Handler).serve_forever()
	EOT
	server=$!
	ROOTLESSKIT_STATE_DIR=$state
	export ROOTLESSKIT_STATE_DIR
	wait_until 10 curl -s --unix-socket "$state/api.sock" http://x/v1/info
}
end_serve() {
	end_process "$server"
}

case_a_port_driver_that_cannot_reach_loopback_gets_another_child_IP() {
	fake "$good"
	serve '{"networkDriver":{"driver":"slirp4netns","dns":["10.0.2.3"],"childIP":"10.0.2.100"},"portDriver":{"driver":"slirp4netns","protos":["tcp","tcp4","udp","udp4"],"disallowLoopbackChildIP":true}}'
	PATH=$tmp/fake:$PATH rootlesskit-docker-proxy -host-ip 0.0.0.0 -host-port 18080 3>"$tmp/report" 2>"$tmp/err" &
	proxy=$!
	wait_until 10 has_reported_success
	end_process "$proxy"
	assert_eq 'status after TERM' 0 "$rc"
	assert_eq requests 'POST /v1/ports {"proto":"tcp4","parentIP":"0.0.0.0","parentPort":18080,"childPort":18080,"childIP":"10.0.2.100"}
DELETE /v1/ports/7 ' "$(cat "$tmp/requests")"
	assert_eq arguments "$(printf -- '-host-ip\n10.0.2.100\n-host-port\n18080')" "$(cat "$tmp/args")"
	proxy_alone -host-ip :: -host-port 18080
	assert_eq 'status for IPv6' 0 "$rc"
	assert_match 'warning for IPv6' '*level=warning*tcp6*discarding request for *' "$(cat "$tmp/err")"
	end_serve
	serve '{"networkDriver":{"driver":"x"},"portDriver":{"driver":"y","protos":["tcp4"],"disallowLoopbackChildIP":true}}'
	proxy_alone -host-ip 0.0.0.0 -host-port 18080
	assert_eq report '1
port driver ("y") does not allow loopback child IP, but network driver ("x") has no non-loopback IP' "$(cat "$tmp/report")"
	end_serve
}

case_bad_answers_of_the_API_are_reported() {
	fake "$good"
	for info in 404 '' '{' '[' '{"portDriver":{"driver":5,"protos":["tcp4"]}}' '{"networkDriver":{"driver":[]}}'; do
		serve "$info"
		proxy_alone -host-ip 127.0.0.1 -host-port 18080
		assert_match "report of $info" '1
failed to call info API*' "$(cat "$tmp/report")"
		assert_eq "status of $info" 1 "$rc"
		end_serve
	done
	for answer in '201 {' '201 {}' '201 []' '201 {"id":-1}' '201 {"id":"1"}' '500 {"message":"broken"}' '404 x'; do
		serve '{"portDriver":{"driver":"x","protos":["tcp4"]}}' "${answer%% *}" "${answer#* }"
		proxy_alone -host-ip 127.0.0.1 -host-port 18080
		assert_match "report of $answer" '1
error while calling PortManager.AddPort(): *' "$(cat "$tmp/report")"
		assert_eq "status of $answer" 1 "$rc"
		end_serve
	done
	[ ! -e "$tmp/args" ] || fail 'docker-proxy was started'
}

case_signals_end_the_proxy_while_the_API_does_not_answer() {
	fake "$good"
	mkdir "$tmp/fake-api"
	python3 - "$tmp/fake-api/api.sock" <<-'EOF' &
		import signal, socket, sys
		from waiting import make_file
		listener = socket.socket(socket.AF_UNIX)
		listener.bind(sys.argv[1])
		listener.listen()
		make_file("listening")
		connection = listener.accept()[0]
		connection.recv(1)
		make_file("asked")
		signal.pause()
	EOF
	server=$!
	wait_until 10 test -e "$tmp/listening"
	ROOTLESSKIT_STATE_DIR=$tmp/fake-api rootlesskit-docker-proxy -host-ip 127.0.0.1 -host-port 18080 3>"$tmp/report" &
	proxy=$!
	wait_until 10 test -e "$tmp/asked"
	send_signal TERM "$proxy"
	wait_until 3 has_ended "$proxy"
	end_process "$server"
}

# The kernel ends docker-proxy then, by its parent-death signal.
case_a_docker_proxy_that_may_not_be_killed_ends_with_the_proxy() {
	fake "$good"
	start_builtin
	cat >"$tmp/proxy" <<-EOF
		#!/bin/sh
		exec "$BUILD/tools/without" kill=EPERM -- "$bin/rootlesskit-docker-proxy" "\$@"
	EOF
	chmod +x "$tmp/proxy"
	applet=$tmp/proxy
	proxy_up -proto tcp -host-ip 127.0.0.1 -host-port "$port" -container-ip 172.17.0.2 -container-port 80
	end_process "$proxy" INT
	assert_eq status 0 "$rc"
	wait_until 5 has_ended "$docker_proxy"
	assert_eq ports '' "$(ports)"
	assert_match 'standard error' '*killing docker-proxy: operation not permitted*' "$(cat "$tmp/err")"
	stop
}

run_cases \
	a_container_is_reached_from_the_host \
	a_port_has_the_address_family_of_its_host_IP \
	a_port_can_be_published_for_IPv4_and_IPv6 \
	a_UDP_port_is_published \
	a_proto_that_the_port_driver_lacks_is_a_warning \
	a_port_that_cannot_be_published_is_reported \
	a_privileged_port_is_reported_with_advice \
	signals_end_the_proxy_and_its_port \
	SIGINT_ends_the_proxy_even_if_ignored_at_its_start \
	a_docker_proxy_that_exits_silently_is_reported \
	the_reason_of_docker_proxy_is_passed_on \
	a_docker_proxy_killed_later_ends_the_proxy \
	output_after_the_report_does_no_harm \
	docker_proxy_ends_when_the_proxy_is_killed \
	a_launcher_that_has_ended_is_a_warning \
	a_missing_docker_proxy_is_reported_with_advice \
	a_docker_proxy_that_cannot_be_executed_is_reported \
	docker_proxy_inherits_only_its_descriptors \
	unknown_options_are_passed_to_docker_proxy \
	descriptor_4_is_passed_to_docker_proxy \
	docker_proxy_is_executed_directly_without_a_port_driver \
	bad_command_lines_are_reported \
	the_port_is_published_even_if_descriptor_3_is_closed \
	a_missing_API_socket_is_reported_with_advice \
	a_port_driver_that_cannot_reach_loopback_gets_another_child_IP \
	bad_answers_of_the_API_are_reported \
	signals_end_the_proxy_while_the_API_does_not_answer \
	a_docker_proxy_that_may_not_be_killed_ends_with_the_proxy
