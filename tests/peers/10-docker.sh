#!/bin/sh
# Rootless Docker from Debian's packages with our launcher. Its script dockerd-rootless.sh starts it as a user
# would, without systemd and without cgroups. The tests make their own image; no registry is used.
#
# Each case starts a daemon with a home and a runtime directory in $tmp. dockerd-rootless.sh finds our
# launcher in PATH.
. "$(dirname "$0")/../e2e/lib.sh"
. "$(dirname "$0")/docker.sh"

need_docker() {
	need_debians_docker
	need slirp4netns
}

# ---- containers and ports ----

case_docker_runs_containers_and_is_rootless() {
	start_docker
	dockerd-rootless-setuptool.sh check --skip-iptables
	assert_match 'version of the server' '[0-9]*.[0-9]*' \
		"$(docker version --format '{{.Server.Version}}')"
	assert_match 'security options' '*rootless*' "$(docker info --format '{{.SecurityOptions}}')"
	make_image
	assert_eq 'user inside' 0 "$(docker run --pull never --rm box id -u)"
	start_host_server
	assert_eq "page from the host's loopback" '' "$(fetch_inside 10.0.2.2)"
	stop_host_server
	stop_docker
	rootlesskit rm -rf "$HOME/.local/share/docker"
	[ ! -e "$HOME/.local/share/docker" ] || fail "Docker's data cannot be removed"
}

# Docker before 28 starts rootlesskit-docker-proxy for each port; later versions use the API themselves.
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
	is_refused "http://127.0.0.1:$port/" || fail 'the port is published on 127.0.0.1, too'
	assert_eq 'docker port' "80/tcp -> 127.0.0.2:$port" "$(docker port web)"
	assert_eq list "tcp4 127.0.0.2 $port 127.0.0.1 $port" "$(list_ports)"
	check_proxy

	docker stop web
	is_refused "http://127.0.0.2:$port/" || fail 'the port is still published after docker stop'
	assert_eq 'list after docker stop' '' "$(list_ports)"
	docker start web
	wait_until 10 has_page "http://127.0.0.2:$port/"
	docker restart web
	wait_until 10 has_page "http://127.0.0.2:$port/"
	docker rm -f web
	is_refused "http://127.0.0.2:$port/" || fail 'the port is still published after docker rm'
	assert_eq 'list after docker rm' '' "$(list_ports)"
	stop_docker
}

# Prints addresses of this host in the form for URLs.
host_addresses() {
	echo 127.0.0.1
	echo 127.0.0.3
	ip -o -4 addr show scope global | awk '{ sub("/.*", "", $4); print $4 }'
	if [ -n "$ipv6" ]; then
		echo '[::1]'
		ip -o -6 addr show scope global -tentative | awk '{ sub("/.*", "", $4); print "[" $4 "]" }'
	fi
}

case_ports_without_an_address_are_published_on_all_of_IPv4_and_IPv6() {
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
		is_refused "http://$address:$first/" || fail "port $first is still published on $address"
	done
	stop_docker
}

case_a_port_that_cannot_be_published_is_refused_with_the_reason() {
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

case_a_UDP_port_is_published_as_long_as_its_container_runs() {
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

case_containers_reach_the_hosts_loopback_if_allowed() {
	start_host_server
	DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS=--disable-host-loopback=false
	export DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS
	start_docker
	make_image
	assert_eq page 'hello from the host' "$(fetch_inside 10.0.2.2)"
	stop_host_server
	stop_docker
}

# ---- start and end of the daemon ----

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
	[ ! -e "$XDG_RUNTIME_DIR/docker.pid" ] || fail 'the daemon has not removed its PID file'
}

case_the_launcher_passes_on_the_status_of_the_daemon() {
	set_up_home
	expected=0
	dockerd --no-such-option || expected=$?
	[ "$expected" -ne 0 ] || fail 'dockerd has this option'
	rc=0
	dockerd-rootless.sh --no-such-option || rc=$?
	assert_eq 'status' "$expected" "$rc"
}

# end_lost_container ID: Docker 28 may lose track of a container that it restarts after it was killed, and
# then leaves it running when it ends. It starts the container again before it has removed the old one's
# record from containerd. This happens with every launcher.
end_lost_container() {
	for shim in $(pgrep -f "containerd-shim.* -id $1 " || true); do
		inside=$(pgrep -P "$shim" || true)
		# shellcheck disable=SC2086 # a list of PIDs
		send_signal KILL "$shim" $inside
	done
}

case_docker_starts_again_after_SIGKILL_of_the_launcher() {
	# Like later versions of Docker, so that the next launcher finds this one's state directory.
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
	containerd=$(cat "$XDG_RUNTIME_DIR/docker/containerd/containerd.pid")
	send_signal KILL "$pid"
	wait_until 5 has_ended "$child"
	# The next dockerd refuses to start while this one exists, even as a zombie. The next containerd waits for the
	# locks of this one, and dockerd waits for it no longer than 15 s.
	wait_until 20 is_gone "$dockerd"
	wait_until 20 is_gone "$containerd"
	is_refused "http://127.0.0.1:$port/" || fail 'a port is still published'
	# Docker's shims and containers go on in namespaces that nobody can enter.
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

# The block of docs/usage.md that tests/docs.sh does not run, because it needs Docker.
case_the_commands_of_the_documentation_work() {
	set_up_home
	PORTS="$(free_port) 8081 8053 8443" "$here/../docs.sh" --not-run "$here/../../docs/usage.md" |
		sed -n '/^export PATH=.*docker\.io/,/ cmp - /p' >"$tmp/commands"
	[ "$(wc -l <"$tmp/commands")" -ge 7 ] || fail 'docs/usage.md has no such block'
	echo 'docker rm -f $(docker ps -q); kill $!; while kill -0 $! 2>/dev/null; do sleep 0.1; done' >>"$tmp/commands"
	(cd "$tmp" && timeout 60 sh ./commands) >"$tmp/out"
	grep -x works "$tmp/out"
}

run_cases \
	docker_runs_containers_and_is_rootless \
	a_port_is_published_as_long_as_its_container_runs \
	ports_without_an_address_are_published_on_all_of_IPv4_and_IPv6 \
	a_port_that_cannot_be_published_is_refused_with_the_reason \
	a_UDP_port_is_published_as_long_as_its_container_runs \
	containers_reach_the_hosts_loopback_if_allowed \
	SIGTERM_ends_the_daemon_and_its_containers \
	the_launcher_passes_on_the_status_of_the_daemon \
	docker_starts_again_after_SIGKILL_of_the_launcher \
	the_commands_of_the_documentation_work
