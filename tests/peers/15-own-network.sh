#!/bin/sh
# Rootless Docker from Debian's packages on the network of our own, as its start script asks for it, on a host
# without slirp4netns and pasta. Containers behind Docker's bridge reach a web server, a DNS server and an image
# registry on the host's side.
OWN_HIDDEN='slirp4netns pasta vpnkit'
. "$(dirname "$0")/ownhost.sh"
. "$(dirname "$0")/../e2e/lib.sh"
. "$(dirname "$0")/docker.sh"

need_docker() {
	need_own_host
	need_debians_docker
	need_unpacked docker-registry
	[ -z "${IS_29-}" ] || need_docker_29
	for program in $OWN_HIDDEN; do
		! command -v "$program" >/dev/null || fail "$program is not hidden"
	done
}

start_registry() {
	cat >"$tmp/registry.yml" <<-EOT
		version: 0.1
		storage: { filesystem: { rootdirectory: $tmp/registry } }
		http: { addr: $OWN_IPV4:5000 }
	EOT
	docker-registry serve "$tmp/registry.yml" >"$tmp/registry.log" 2>&1 &
	registry=$!
	wait_until 10 fetch "http://$OWN_IPV4:5000/v2/"
	mkdir -p "$HOME/.config/docker"
	echo "{\"insecure-registries\":[\"$OWN_IPV4:5000\"]${IS_29:+,\"seccomp-profile\":\"unconfined\"}}" \
		>"$HOME/.config/docker/daemon.json"
}

# in_box COMMAND: prints what a command prints in a container behind the bridge
in_box() {
	docker run --pull never --rm box sh -c "$1"
}

start_web_server() {
	mkdir "$tmp/page"
	echo 'hello from the host' >"$tmp/page/index.html"
	host_port=$(free_port)
	busybox httpd -f -p "$OWN_IPV4:$host_port" -h "$tmp/page" &
	web=$!
	wait_until 5 fetch "http://$OWN_IPV4:$host_port/"
}

# check_network FLAGS DRIVER: everything that containers do with the host's network
check_network() {
	DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS=$1
	export DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS
	set_up_home
	start_registry
	start_web_server
	trap 'end_process "$registry"; end_process "$web"' EXIT
	start_docker
	assert_match info "*\"driver\":\"$2\"*" "$(api_get info)"
	make_image
	port=$host_port
	assert_eq 'page of the host' 'hello from the host' "$(fetch_inside "$OWN_IPV4")"
	assert_match 'answer of the DNS server' '*192.0.2.80*' "$(in_box '/bin/busybox nslookup example.com')"
	assert_match 'answer to ping' '*1 packets received*' "$(in_box "/bin/busybox ping -c 1 -W 10 $OWN_IPV4")"

	docker tag box "$OWN_IPV4:5000/box"
	docker push "$OWN_IPV4:5000/box" >"$tmp/push.log"
	docker rmi box "$OWN_IPV4:5000/box" >/dev/null
	docker pull "$OWN_IPV4:5000/box" >"$tmp/pull.log"
	docker tag "$OWN_IPV4:5000/box" box

	port=$(free_port)
	run_web web -p "127.0.0.2:$port:80"
	wait_until 10 has_page "http://127.0.0.2:$port/"
	stop_docker
	rootlesskit rm -rf "$HOME/.local/share/docker"
}

case_docker_works_with_gvisor_tap_vsock() {
	DOCKERD_ROOTLESS_ROOTLESSKIT_NET=gvisor-tap-vsock
	export DOCKERD_ROOTLESS_ROOTLESSKIT_NET
	check_network '' gvisor-tap-vsock
}

case_docker_works_with_builtin_and_ipv6() {
	need_ipv6
	DOCKERD_ROOTLESS_ROOTLESSKIT_NET=builtin
	export DOCKERD_ROOTLESS_ROOTLESSKIT_NET
	check_network --ipv6 builtin
}

# Its script detaches the network namespace.
case_docker_29_chooses_it_by_itself() {
	IS_29=yes
	check_network '' gvisor-tap-vsock
}

run_cases \
	docker_works_with_gvisor_tap_vsock \
	docker_works_with_builtin_and_ipv6 \
	docker_29_chooses_it_by_itself
