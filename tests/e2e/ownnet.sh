# shellcheck shell=sh
# Runs a test file in a network namespace of its own, as on a host with a network. A test file sources this
# before lib.sh, and is started again in a new network namespace. That has `lo`, and an interface up0 with
# addresses and default routes, which network programs look for. up0 leads nowhere. The user is the same,
# but has no subordinate IDs there.
#
# With OWN_RESOLV=yes, which the file sets before it sources this, /etc/resolv.conf is an empty file that it may
# write to, and it may open ports below 1024. For that it has a capability, and so have programs that it starts.

# shellcheck disable=SC2016 # for the inner shell
own_setup='
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
'

if [ -z "${OWN_NETWORK-}" ] && unshare -rn true 2>/dev/null; then
	OWN_NETWORK=yes OWN_UID=$(id -u) OWN_GID=$(id -g)
	export OWN_NETWORK OWN_UID OWN_GID
	if [ -n "${OWN_RESOLV-}" ]; then
		exec unshare --user --map-current-user --keep-caps -n -m sh -c "$own_setup"'
			mount -t tmpfs tmpfs /mnt
			: >/mnt/resolv.conf
			mount --bind /mnt/resolv.conf /etc/resolv.conf
			caps=-all,+net_bind_service
			exec setpriv --inh-caps="$caps" --ambient-caps="$caps" sh "$0" "$@"' "$0" "$@"
	fi
	# shellcheck disable=SC2016 # for the inner shell
	exec unshare -rn sh -c "$own_setup"'
		exec unshare --user --map-user="$OWN_UID" --map-group="$OWN_GID" sh "$0" "$@"' "$0" "$@"
fi

need_own_network() {
	[ -n "${OWN_NETWORK-}" ] || skip userns "no user and network namespace can be created here"
}
