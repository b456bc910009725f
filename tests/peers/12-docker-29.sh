#!/bin/sh
# Docker 29, built from its Go module, which is moby 2.0, with our launcher. The module has the start script,
# dockerd-rootless.sh, which detaches the network namespace and names the state directory. The client is Debian's.
. "$(dirname "$0")/../e2e/lib.sh"
. "$(dirname "$0")/docker.sh"
. "$(dirname "$0")/pasta.sh"

need_docker() {
	need_debians_docker
	need_docker_29
}

# runc is built without libseccomp.
allow_all_system_calls() {
	mkdir -p "$tmp/home/.config/docker"
	echo '{"seccomp-profile": "unconfined"}' >"$tmp/home/.config/docker/daemon.json"
}

# check_docker NET PORT_DRIVER: uses the daemon, whose network namespace is detached
check_docker() {
	DOCKERD_ROOTLESS_ROOTLESSKIT_NET=$1 DOCKERD_ROOTLESS_ROOTLESSKIT_PORT_DRIVER=$2
	export DOCKERD_ROOTLESS_ROOTLESSKIT_NET DOCKERD_ROOTLESS_ROOTLESSKIT_PORT_DRIVER
	allow_all_system_calls
	start_docker
	assert_eq 'state directory' "$XDG_RUNTIME_DIR/dockerd-rootless" "$state"
	[ -e "$state/netns" ] || fail 'the network namespace is not detached'
	assert_match 'security options' '*rootless*' "$(docker info --format '{{.SecurityOptions}}')"
	# Docker 29.0 has version 1.52 of the API.
	assert_match 'API version' '1.5[2-9]' "$(docker version --format '{{.Server.APIVersion}}')"
	assert_match info "*\"portDriver\":{\"driver\":\"$2\"*" "$(api_get info)"
	make_image
	port=$(free_port) second=$(free_port) udp=$(free_port)
	run_web web -p "127.0.0.2:$port:80" -p "127.0.0.1:$second:80"
	wait_until 10 has_page "http://127.0.0.2:$port/"
	wait_until 10 has_page "http://127.0.0.1:$second/"
	is_refused "http://127.0.0.1:$port/" || fail 'the port of 127.0.0.2 is open on 127.0.0.1, too'
	assert_eq 'user of exec' 0 "$(docker exec web id -u)"
	assert_eq 'list' "127.0.0.1 $second
127.0.0.2 $port" "$(list_ports | cut -d ' ' -f 2,3 | sort)"
	assert_eq 'processes for the ports' '' "$(pgrep -P "$dockerd" -f rootlesskit-docker-proxy || true)"
	docker restart web
	wait_until 10 has_page "http://127.0.0.2:$port/"
	docker stop web
	wait_until 5 is_refused "http://127.0.0.2:$port/"
	assert_eq 'list after docker stop' '' "$(list_ports)"
	docker start web
	wait_until 10 has_page "http://127.0.0.2:$port/"
	docker rm -f web
	assert_eq 'list after docker rm' '' "$(list_ports)"
	port=$udp
	run_container --name echo -p "127.0.0.2:$port:7/udp" box socat UDP4-RECVFROM:7,fork EXEC:cat
	wait_until 20 ask_udp 1
	docker rm -f echo
	start_host_server
	if run_web refused -p "127.0.0.1:$port:80" 2>"$tmp/err"; then
		fail 'the port was published twice'
	fi
	assert_match error '*address already in use*' "$(cat "$tmp/err")"
	stop_host_server
	stop_docker
}

case_docker_29_with_slirp4netns() {
	need slirp4netns
	check_docker slirp4netns builtin
}

case_docker_29_with_pasta_and_builtin() {
	need_pasta builtin
	check_docker pasta builtin
}

case_docker_29_with_pasta_and_pesto() {
	need_pasta pesto
	DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS=$FLAGS
	export DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS
	check_docker pasta pesto
}

run_cases \
	docker_29_with_slirp4netns \
	docker_29_with_pasta_and_builtin \
	docker_29_with_pasta_and_pesto
