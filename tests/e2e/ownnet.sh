# shellcheck shell=sh
# For tests that are to have a host's network of their own: sourced before lib.sh, it goes on with the
# whole test file in a new network namespace. There are `lo`, and an interface up0 with addresses and
# default routes, as network programs want them, that leads nowhere. The user is the same, but has no
# subordinate IDs there.

if [ -z "${OWN_NETWORK-}" ] && unshare -rn true 2>/dev/null; then
	OWN_NETWORK=yes OWN_UID=$(id -u) OWN_GID=$(id -g)
	export OWN_NETWORK OWN_UID OWN_GID
	# shellcheck disable=SC2016 # for the inner shell
	exec unshare -rn sh -c '
		set -e
		ip link set lo up
		ip link add up0 type veth peer name up1 2>/dev/null || ip link add up0 type dummy
		ip addr add 192.0.2.10/24 dev up0
		ip link set up1 up 2>/dev/null || true
		ip link set up0 up
		ip route add default via 192.0.2.1
		if grep -q " lo$" /proc/net/if_inet6 2>/dev/null; then
			ip addr add fd00:1::10/64 dev up0 nodad &&
				ip -6 route add default via fd00:1::1
		fi
		exec unshare --user --map-user="$OWN_UID" --map-group="$OWN_GID" sh "$0" "$@"' "$0" "$@"
fi

need_own_network() {
	[ -n "${OWN_NETWORK-}" ] || skip userns "no network namespace can be made here"
}
