#!/bin/sh
# containerd 2.4, built from its Go module, started and entered as nerdctl does it, with each pair of network
# and port driver that publishes ports.
. "$(dirname "$0")/../e2e/lib.sh"
. "$(dirname "$0")/containerd.sh"
. "$(dirname "$0")/pasta.sh"

# check_network NET PORT_DRIVER [--detach-netns]
check_network() {
	need_containerd
	need_go_program containerd
	assert_match version '* 2.4.*' "$(containerd --version)"
	use_network "$1" "$2"
	shift 2
	check_life "$@"
}

case_slirp4netns_and_builtin() {
	check_network slirp4netns builtin
}

case_slirp4netns_and_builtin_detached() {
	check_network slirp4netns builtin --detach-netns
}

case_slirp4netns_and_its_own_port_driver_detached() {
	check_network slirp4netns slirp4netns --detach-netns
}

case_pasta_and_builtin() {
	check_network pasta builtin
}

case_pasta_and_builtin_detached() {
	check_network pasta builtin --detach-netns
}

case_pasta_and_pesto() {
	check_network pasta pesto
}

case_pasta_and_pesto_detached() {
	check_network pasta pesto --detach-netns
}

# No helper program may be needed.
case_our_own_network_and_builtin() {
	check_network builtin builtin
}

case_our_own_network_and_builtin_detached() {
	check_network builtin builtin --detach-netns
}

# The network of nerdctl's script where slirp4netns is not installed
case_gvisor_tap_vsock_and_builtin_detached() {
	DNS=10.0.2.1
	check_network gvisor-tap-vsock builtin --detach-netns
}

# start_registry: an image registry on 127.0.0.1 of the host. Sets `port`.
start_registry() {
	port=$(free_port)
	cat >"$tmp/registry.yml" <<-EOT
		version: 0.1
		storage: { filesystem: { rootdirectory: $tmp/registry } }
		http: { addr: "127.0.0.1:$port" }
	EOT
	docker-registry serve "$tmp/registry.yml" >"$tmp/registry.log" 2>&1 &
	registry=$!
	wait_until 10 fetch "http://127.0.0.1:$port/v2/"
}

# containerd checks the digest of the layer, and so does the registry.
case_a_layer_of_500_MB_arrives_whole_by_our_own_network() {
	need_containerd
	need_go_program containerd
	need_unpacked docker-registry
	start_registry
	make_home
	make_start_script
	use_network builtin builtin
	FLAGS=--disable-host-loopback=false
	start_containerd
	LAYER_MB=500
	import_image
	copy=10.0.2.2:$port/page:1
	enter ctr images tag "$IMAGE" "$copy"
	enter ctr images push --plain-http "$copy" >"$tmp/push.log" 2>&1 || fail "$(tail -n 5 "$tmp/push.log")"
	enter ctr images rm --sync "$IMAGE" "$copy"
	assert_eq 'images after the removal' '' "$(enter ctr content ls -q)"
	enter ctr content fetch --plain-http "$copy" >"$tmp/pull.log" 2>&1 || fail "$(tail -n 5 "$tmp/pull.log")"
	enter ctr content ls | grep -q "sha256:$diff_id" || fail "the layer is not there"
	stop
	end_process "$registry"
}

run_cases \
	slirp4netns_and_builtin \
	slirp4netns_and_builtin_detached \
	slirp4netns_and_its_own_port_driver_detached \
	pasta_and_builtin \
	pasta_and_builtin_detached \
	pasta_and_pesto \
	pasta_and_pesto_detached \
	our_own_network_and_builtin \
	our_own_network_and_builtin_detached \
	gvisor_tap_vsock_and_builtin_detached \
	a_layer_of_500_MB_arrives_whole_by_our_own_network
