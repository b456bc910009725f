#!/bin/sh
# Does with ports and networks what nerdctl does:
#
#   nerdctl.sh add IP PORT           publishes a TCP port, with the same number on both sides
#   nerdctl.sh find IP PORT          prints its ID
#   nerdctl.sh remove IP PORT        removes it
#   nerdctl.sh createRuntime IP PORT ...
#   nerdctl.sh poststop IP PORT ...  OCI hooks, with the container's state on standard input: connect the
#                                    container to a network by CNI plugins and publish ports that lead
#                                    to its port 80; and undo this
#
# The environment has ROOTLESSKIT_STATE_DIR, and for a hook CNI_PATH, PATH and SUBNET, such as 10.4.7.
# Like nerdctl, it posts no child IP, and identifies a port by proto, parent IP and port numbers.
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

# each FUNCTION IP PORT ...: calls FUNCTION IP PORT for each pair
each() {
	function=$1
	shift
	while [ $# -gt 1 ]; do
		"$function" "$1" "$2"
		shift 2
	done
}

# ---- CNI ----

# These two print the configuration of a plugin without the braces around it.
bridge_config() {
	cat <<-EOF
		"cniVersion":"1.0.0","name":"bridge","type":"bridge","bridge":"nerdctl0","isGateway":true,
		"ipMasq":true,"hairpinMode":true,
		"ipam":{"type":"host-local","ranges":[[{"subnet":"$SUBNET.0/24","gateway":"$SUBNET.1"}]],
			"routes":[{"dst":"0.0.0.0/0"}]}
	EOF
}

# address_inside IP: prints the address in the launcher's network at which connections to IP arrive. Loopback
# addresses stay, unless the port driver cannot connect to them. Like nerdctl, it needs both drivers in the answer.
address_inside() {
	api http://u/v1/info | python3 -c '
import ipaddress, json, sys
info = json.load(sys.stdin)
ip, child = ipaddress.ip_address(sys.argv[1]), info["networkDriver"]["childIP"]
if info["portDriver"].get("disallowLoopbackChildIP") and not ip.is_unspecified:
    ip = child
print(ip)' "$1"
}

# portmap_config IP PORT ...
portmap_config() {
	mappings=
	while [ $# -gt 1 ]; do
		mappings="$mappings${mappings:+,}{\"hostIP\":\"$(address_inside "$1")\",\"hostPort\":$2,\"containerPort\":80,\"protocol\":\"tcp\"}"
		shift 2
	done
	cat <<-EOF
		"cniVersion":"1.0.0","name":"bridge","type":"portmap","capabilities":{"portMappings":true},
		"runtimeConfig":{"portMappings":[$mappings]}
	EOF
}

# cni PLUGIN: runs a plugin with the configuration on standard input
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

# member NAME: prints a member of the container's state, a string or a number
member() {
	printf '%s' "$oci_state" | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

action=$1
shift
case $action in
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
	echo "nerdctl.sh: unknown action: $action" >&2
	exit 2
	;;
esac
