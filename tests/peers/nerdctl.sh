#!/bin/sh
# What nerdctl does with ports and networks, without nerdctl. Called as
#
#   nerdctl.sh add|find|remove IP PORT        a port of the launcher, the same on both sides
#   nerdctl.sh createRuntime|poststop IP PORT ...    an OCI hook, with the container's state on standard
#                                             input: a network by CNI plugins, and ports that lead to
#                                             the container's port 80
#
# with ROOTLESSKIT_STATE_DIR in the environment, and for a hook CNI_PATH, PATH and SUBNET (10.4.7).
# It posts no child IP, as nerdctl does not, and finds what it removes by proto, IP and ports.
set -eu

api() {
	curl -sS --fail-with-body --max-time 10 --unix-socket "$ROOTLESSKIT_STATE_DIR/api.sock" \
		-H 'Content-Type: application/json' "$@"
}

add() {
	api -d "{\"proto\":\"tcp\",\"parentIP\":\"$1\",\"parentPort\":$2,\"childPort\":$2}" http://u/v1/ports
}

find_id() {
	api http://u/v1/ports | python3 -c '
import ipaddress, json, sys
ip, port = ipaddress.ip_address(sys.argv[1]), int(sys.argv[2])
for p in json.load(sys.stdin) or []:
    s = p["spec"]
    if s["proto"] == "tcp" and s["parentPort"] == s["childPort"] == port \
            and ipaddress.ip_address(s["parentIP"]) == ip:
        print(p["id"])' "$@"
}

remove() {
	id=$(find_id "$@")
	[ -n "$id" ] || {
		echo "no port tcp $*" >&2
		exit 1
	}
	api -X DELETE "http://u/v1/ports/$id"
}

# each ADD_OR_REMOVE IP PORT ...
each() {
	action=$1
	shift
	while [ $# -gt 1 ]; do
		"$action" "$1" "$2"
		shift 2
	done
}

# ---- CNI ----

# A network's configuration but for its braces, and the plugin that it is for.
bridge_config() {
	cat <<-EOF
		"cniVersion":"1.0.0","name":"bridge","type":"bridge","bridge":"nerdctl0","isGateway":true,
		"ipMasq":true,"hairpinMode":true,
		"ipam":{"type":"host-local","ranges":[[{"subnet":"$SUBNET.0/24","gateway":"$SUBNET.1"}]],
			"routes":[{"dst":"0.0.0.0/0"}]}
	EOF
}

# portmap_config IP PORT ...
portmap_config() {
	mappings=
	while [ $# -gt 1 ]; do
		mappings="$mappings${mappings:+,}{\"hostPort\":$2,\"containerPort\":80,\"protocol\":\"tcp\"}"
		shift 2
	done
	cat <<-EOF
		"cniVersion":"1.0.0","name":"bridge","type":"portmap","capabilities":{"portMappings":true},
		"runtimeConfig":{"portMappings":[$mappings]}
	EOF
}

cni() {
	plugin=$1
	shift
	env CNI_COMMAND="$COMMAND" CNI_CONTAINERID="$ID" CNI_NETNS="$NETNS" CNI_IFNAME=eth0 \
		CNI_PATH="$CNI_PATH" "$CNI_PATH/$plugin"
}

attach() {
	result=$(echo "{$(bridge_config)}" | cni bridge)
	echo "{$(portmap_config "$@"),\"prevResult\":$result}" | cni portmap >/dev/null
}

detach() {
	echo "{$(portmap_config "$@")}" | cni portmap
	echo "{$(bridge_config)}" | cni bridge
}

# member NAME: of the container's state; a string or a number
member() {
	printf '%s' "$oci_state" | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

# ----

what=$1
shift
case $what in
add) add "$@" ;;
find) find_id "$@" ;;
remove) remove "$@" ;;
createRuntime)
	oci_state=$(cat)
	ID=$(member id) NETNS=/proc/$(member pid)/ns/net COMMAND=ADD
	attach "$@"
	each add "$@"
	;;
poststop)
	oci_state=$(cat)
	ID=$(member id) NETNS='' COMMAND=DEL
	each remove "$@"
	detach "$@"
	;;
*)
	echo "nerdctl.sh: what is $what?" >&2
	exit 2
	;;
esac
