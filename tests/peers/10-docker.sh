#!/bin/sh
# Rootless Docker on top: Debian's, started by its own dockerd-rootless.sh as a user does it, with
# neither systemd nor cgroups. Images are made here; no registry is asked.
#
# Each case has a daemon of its own, whose data are below the home and the runtime directory that the
# case makes up. The launcher is the one that dockerd-rootless.sh finds in PATH.
. "$(dirname "$0")/../e2e/lib.sh"

# ---- the daemon ----

need_docker() {
	need_tun
	need newuidmap
	need_unpacked docker.io containerd runc
	# Debian 12 has the client in docker.io.
	[ -e "${unpacked%/*}/docker.io/usr/bin/docker" ] || need_unpacked docker-cli
	PATH=$PATH:${unpacked%/*}/docker.io/usr/share/docker.io/contrib:/usr/sbin:/sbin
	need iptables
}

is_up() {
	curl -s -o "$tmp/ping" --max-time 10 --unix-socket "$XDG_RUNTIME_DIR/docker.sock" http://docker/_ping
}
# It takes seconds and the processors: asking all the time would make it longer.
is_up_or_has_ended() {
	sleep 0.1
	is_up || has_ended "$pid"
}

set_up_home() {
	need_docker
	HOME=$tmp/home
	XDG_RUNTIME_DIR=$tmp/run
	DOCKER_HOST=unix://$XDG_RUNTIME_DIR/docker.sock
	export HOME XDG_RUNTIME_DIR DOCKER_HOST
	mkdir -p "$HOME" "$XDG_RUNTIME_DIR"
	chmod 700 "$XDG_RUNTIME_DIR"
}

# Starts the daemon and waits until it is up: `pid` is the launcher's PID, `dockerd` the daemon's, $state
# the launcher's state directory, which this Docker does not choose itself.
start_docker() {
	set_up_home
	# A shell lets what it starts in the background ignore SIGINT and SIGQUIT.
	env --default-signal=INT,QUIT dockerd-rootless.sh >"$tmp/docker.log" 2>&1 </dev/null &
	pid=$!
	wait_until 60 is_up_or_has_ended
	is_up || fail "dockerd ended: $(tail -n 20 "$tmp/docker.log")"
	dockerd=$(cat "$XDG_RUNTIME_DIR/docker.pid")
	state=$(tr '\0' '\n' <"/proc/$dockerd/environ" | sed -n 's/^ROOTLESSKIT_STATE_DIR=//p')
	child=$(cat "$state/child_pid")
}

# Ends all of it, as a service manager does. That no process is left is checked after each case.
stop_docker() {
	stop
	assert_eq 'status of the launcher' 0 "$rc"
}

# ---- containers ----

# An image named `box`: busybox, a page, and socat for what Debian's busybox cannot do.
make_image() {
	root=$tmp/image
	mkdir -p "$root/bin" "$root/tmp" "$root/www"
	cp "$(command -v busybox)" "$root/bin/busybox"
	for name in sh cat httpd id; do
		ln -s busybox "$root/bin/$name"
	done
	echo 'hello from a container' >"$root/www/index.html"
	ldd "$(command -v socat)" | sed -n 's/.*[[:space:]]\(\/[^ ]*\) (0x.*/\1/p' >"$tmp/libraries"
	xargs cp -L --parents -t "$root" <"$tmp/libraries"
	cp "$(command -v socat)" "$root/bin/socat"
	tar -C "$root" --owner=0 --group=0 -c . | docker import - box >/dev/null
}

# run_container OPTIONS OF DOCKER RUN... box COMMAND...: it ends at once when it is told to, and so do
# its processes with the case.
run_container() {
	docker run --pull never --stop-signal KILL -e "E2E_CASE=$tmp" -d "$@" >"$tmp/id"
}

# run_web NAME OPTIONS...: a web server on port 80
run_web() {
	name=$1
	shift
	run_container --name "$name" "$@" box httpd -f -p 80 -h /www
}

list_ports() {
	rootlessctl --socket "$state/api.sock" list-ports | awk 'NR > 1 { print $2, $3, $4, $5, $6 }'
}

has_page() {
	[ "$(fetch "$@")" = 'hello from a container' ]
}

is_refused() {
	code=0
	fetch "$1" || code=$?
	[ "$code" -eq 7 ]
}

# fetch_inside ADDRESS: the page of a server on $port, as a container gets it
fetch_inside() {
	docker run --pull never --rm box \
		sh -c "printf 'GET / HTTP/1.0\r\n\r\n' | socat -t 5 - TCP4:$1:$port,connect-timeout=5" |
		tail -n 1
}

# ---- what works in it ----

case_docker_answers_and_is_rootless() {
	start_docker
	dockerd-rootless-setuptool.sh check --skip-iptables
	assert_match 'version of the server' '[0-9]*.[0-9]*' \
		"$(docker version --format '{{.Server.Version}}')"
	assert_match 'security options' '*rootless*' "$(docker info --format '{{.SecurityOptions}}')"
	make_image
	assert_eq 'user inside' 0 "$(docker run --pull never --rm box id -u)"
	start_host_server
	assert_eq 'page from the loopback of the host' '' "$(fetch_inside 10.0.2.2)"
	stop_host_server
	stop_docker
	rootlesskit rm -rf "$HOME/.local/share/docker"
	[ ! -e "$HOME/.local/share/docker" ] || fail 'its data cannot be removed'
}

# Docker before 28 starts our proxy for each port; later ones ask the API themselves.
check_proxy() {
	proxy=$(pgrep -P "$dockerd" -f rootlesskit-docker-proxy || true)
	major=$(docker version --format '{{.Server.Version}}' | cut -d. -f1)
	if [ "$major" -lt 28 ]; then
		assert_eq 'proxy' "$(readlink -f "$bin/rootlesskit-docker-proxy")" "$(readlink "/proc/$proxy/exe")"
	else
		assert_eq 'proxy' '' "$proxy"
	fi
}

case_a_port_is_published_as_long_as_its_container_runs() {
	start_docker
	make_image
	port=$(free_port)
	run_web web -p "127.0.0.2:$port:80"
	wait_until 10 has_page "http://127.0.0.2:$port/"
	is_refused "http://127.0.0.1:$port/" || fail 'it is published on 127.0.0.1'
	assert_eq 'docker port' "80/tcp -> 127.0.0.2:$port" "$(docker port web)"
	assert_eq list "tcp4 127.0.0.2 $port 127.0.0.1 $port" "$(list_ports)"
	check_proxy

	docker stop web
	is_refused "http://127.0.0.2:$port/" || fail 'it is still published after docker stop'
	assert_eq 'list after docker stop' '' "$(list_ports)"
	docker start web
	wait_until 10 has_page "http://127.0.0.2:$port/"
	docker restart web
	wait_until 10 has_page "http://127.0.0.2:$port/"
	docker rm -f web
	is_refused "http://127.0.0.2:$port/" || fail 'it is still published after docker rm'
	assert_eq 'list after docker rm' '' "$(list_ports)"
	stop_docker
}

# The addresses of this host, as they stand in a URL
host_addresses() {
	echo 127.0.0.1
	echo 127.0.0.3
	ip -o -4 addr show scope global | awk '{ sub("/.*", "", $4); print $4 }'
	if [ -n "$ipv6" ]; then
		echo '[::1]'
		ip -o -6 addr show scope global -tentative | awk '{ sub("/.*", "", $4); print "[" $4 "]" }'
	fi
}

case_ports_of_several_containers_on_all_addresses_of_both_families() {
	ipv6=$(grep ' lo$' /proc/net/if_inet6 || true)
	start_docker
	make_image
	first=$(free_port)
	second=$(free_port)
	third=$(free_port)
	run_web one -p "$first:80" -p "$second:80" &
	run_web two -p "$third:80"
	await_success $! 120
	for port in "$first" "$second" "$third"; do
		for address in $(host_addresses); do
			wait_until 10 has_page "http://$address:$port/"
		done
		echo "tcp4 0.0.0.0 $port 127.0.0.1 $port"
		[ -z "$ipv6" ] || echo "tcp6 :: $port ::1 $port"
	done >"$tmp/expected"
	assert_eq list "$(sort "$tmp/expected")" "$(list_ports | sort)"
	docker stop one two
	assert_eq 'list after docker stop' '' "$(list_ports)"
	for address in $(host_addresses); do
		is_refused "http://$address:$first/" || fail "$address: it is still published"
	done
	stop_docker
}

case_a_port_that_cannot_be_had_is_refused_with_the_reason() {
	start_docker
	make_image
	start_host_server
	if run_web web -p "127.0.0.1:$port:80" 2>"$tmp/err"; then
		fail 'the port was published twice'
	fi
	assert_match error "*127.0.0.1:$port: bind: address already in use*" "$(cat "$tmp/err")"
	assert_eq list '' "$(list_ports)"
	stop_host_server
	wait_until 5 docker start web
	wait_until 10 has_page "http://127.0.0.1:$port/"
	if [ "$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)" -gt 80 ]; then
		if run_web privileged -p 127.0.0.1:80:80 2>"$tmp/err"; then
			fail 'port 80 was published'
		fi
		assert_match error '*cannot expose privileged port 80*' "$(cat "$tmp/err")"
	fi
	stop_docker
}

# ask_udp NUMBER: sends a datagram and waits for it to come back
ask_udp() {
	[ "$(echo "message $1" | socat -t 2 - "UDP4:127.0.0.2:$port")" = "message $1" ]
}

case_a_udp_port() {
	start_docker
	make_image
	port=$(free_port)
	run_container --name echo -p "127.0.0.2:$port:7/udp" box socat UDP4-RECVFROM:7,fork EXEC:cat
	wait_until 20 ask_udp 1
	assert_eq list "udp4 127.0.0.2 $port 127.0.0.1 $port" "$(list_ports)"
	assert_eq 'docker port' "7/udp -> 127.0.0.2:$port" "$(docker port echo)"
	docker stop echo
	assert_eq 'list after docker stop' '' "$(list_ports)"
	assert_fails ask_udp 2
	docker start echo
	wait_until 20 ask_udp 3
	stop_docker
}

case_containers_reach_the_host_if_they_may() {
	start_host_server
	DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS=--disable-host-loopback=false
	export DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS
	start_docker
	make_image
	assert_eq page 'hello from the host' "$(fetch_inside 10.0.2.2)"
	stop_host_server
	stop_docker
}

# ---- the daemon's life ----

case_SIGTERM_ends_the_daemon_and_its_containers() {
	start_docker
	make_image
	port=$(free_port)
	run_web web -p "127.0.0.1:$port:80"
	wait_until 10 has_page "http://127.0.0.1:$port/"
	stop_docker
	is_refused "http://127.0.0.1:$port/" || fail 'the port is still published'
	assert_eq 'mounts' '' "$(grep "$tmp" /proc/self/mountinfo)"
	assert_eq 'state directories' '' "$(find "$tmp" -maxdepth 1 -name 'rootlesskit*')"
	[ ! -e "$XDG_RUNTIME_DIR/docker.pid" ] || fail 'the daemon did not end in order'
}

case_the_status_of_a_daemon_that_does_not_start_is_the_launchers() {
	set_up_home
	expected=0
	dockerd --no-such-option || expected=$?
	[ "$expected" -ne 0 ] || fail 'dockerd knows the option'
	rc=0
	dockerd-rootless.sh --no-such-option || rc=$?
	assert_eq 'status' "$expected" "$rc"
}

# Docker 28 may lose a container that it restarts after such an end, and leave it behind at its own:
# it starts the container again before it has removed the killed one's record from containerd. It does
# so with any launcher.
end_lost_container() {
	for shim in $(pgrep -f "containerd-shim.* -id $1 " || true); do
		inside=$(pgrep -P "$shim" || true)
		# shellcheck disable=SC2086 # a list of PIDs
		send_signal KILL "$shim" $inside
	done
}

case_another_start_after_kill_9_of_the_launcher() {
	# As later Docker does it, so that the next launcher meets what this one left.
	DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS=--state-dir=$tmp/run/dockerd-rootless
	export DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS
	start_docker
	make_image
	port=$(free_port)
	always=$(free_port)
	run_web web -p "127.0.0.1:$port:80"
	run_web always --restart always -p "127.0.0.1:$always:80"
	wait_until 10 has_page "http://127.0.0.1:$port/"
	wait_until 10 has_page "http://127.0.0.1:$always/"
	send_signal KILL "$pid"
	wait_until 5 has_ended "$child"
	# dockerd does not start as long as that process is there, be it a zombie.
	wait_until 20 is_gone "$dockerd"
	is_refused "http://127.0.0.1:$port/" || fail 'a port is still published'
	# Docker's shims and containers stay, in namespaces that nobody reaches any more.
	orphans=$(leftovers)

	start_docker
	wait_until 20 has_page "http://127.0.0.1:$always/"
	docker start web
	wait_until 10 has_page "http://127.0.0.1:$port/"
	assert_eq 'count of ports' 2 "$(list_ports | wc -l)"
	for orphan in $orphans; do
		kill -KILL "$orphan" 2>/dev/null || true
	done
	id=$(docker inspect --format '{{.Id}}' always)
	stop_docker
	end_lost_container "$id"
}

run_cases docker_answers_and_is_rootless a_port_is_published_as_long_as_its_container_runs \
	ports_of_several_containers_on_all_addresses_of_both_families \
	a_port_that_cannot_be_had_is_refused_with_the_reason a_udp_port \
	containers_reach_the_host_if_they_may SIGTERM_ends_the_daemon_and_its_containers \
	the_status_of_a_daemon_that_does_not_start_is_the_launchers \
	another_start_after_kill_9_of_the_launcher
