# shellcheck shell=sh
# Runs a test file on a host of its own, made of namespaces, for scripts with fixed ports, names of hosts and
# sudo(8). A test file sources this before lib.sh, and is started again there: as the same plain user, with
# subordinate IDs, and with the programs newuidmap, newgidmap and sudo, which give the rights of root there.
# That root is the first subordinate ID of the user, and has no rights outside.
#
# The host has `lo`, and up0 with the addresses below, which leads nowhere. A DNS server knows example.com. / is
# shared between mount namespaces, as systemd leaves it.
#
# OWN_HIDDEN, set before, names programs that do not exist on that host.
OWN_IPV4=192.0.2.10 OWN_IPV6=fd00:1::10

# Prints FIRST,0,COUNT, as unshare's --map-users takes it: the first range of the user in a file.
find_id_range() {
	sed -n "s/^\($(id -un)\|$(id -u)\):\([0-9]*\):\([0-9]*\)\$/\2,0,\3/p" "$1" | head -n 1
}

# on_own_host COMMAND...: runs a command as root in new namespaces
on_own_host() {
	unshare --user --keep-caps --map-users="$(find_id_range /etc/subuid)" \
		--map-groups="$(find_id_range /etc/subgid)" --map-user="$(id -u)" --map-group="$(id -g)" \
		--mount --propagation=private --net --pid --fork --kill-child --mount-proc \
		setpriv --reuid=0 --regid=0 --clear-groups "$@"
}

set_up_interfaces() {
	ip link set lo up
	# IPv6 addresses are usable at once, as those of interfaces of the type dummy are.
	[ ! -e /proc/sys/net/ipv6 ] || echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
	ip link add up0 type veth peer name up1 2>/dev/null || ip link add up0 type dummy
	ip addr add "$OWN_IPV4/24" dev up0
	ip link set up1 up 2>/dev/null || true
	ip link set up0 up
	ip route add default via 192.0.2.1
	# The user may use ping sockets, as on most systems. A range of all groups would not do: the user's group
	# comes from another part of the outer host's than the rest.
	echo "$OWN_GID $OWN_GID" >/proc/sys/net/ipv4/ping_group_range
	if grep -q ' lo$' /proc/net/if_inet6 2>/dev/null; then
		ip addr add "$OWN_IPV6/64" dev up0
		ip -6 route add default via fd00:1::1
	fi
}

# set_up_files DIR: replaces files of /etc by those in DIR
set_up_files() {
	echo "$OWN_NAME:10000:50000" >"$1/subuid"
	cp "$1/subuid" "$1/subgid"
	echo "nameserver $OWN_IPV4" >"$1/resolv.conf"
	for file in subuid subgid resolv.conf; do
		mount --bind "$1/$file" "/etc/$file"
	done
}

# set_up_programs DIR: makes set-UID programs
set_up_programs() {
	cp "$(command -v newuidmap)" "$(command -v newgidmap)" "$1"
	cp "$(command -v setpriv)" "$1/become-root"
	chmod 4755 "$1"/*
	# shellcheck disable=SC2016 # for the script
	echo '#!/bin/sh
exec become-root --reuid=0 --regid=0 --clear-groups "$@"' >"$1/sudo"
	chmod 755 "$1/sudo"
}

# A file that is not executable in the place of each program to be hidden
hide_programs() {
	for program in ${OWN_HIDDEN-}; do
		path=$(command -v "$program") || continue
		mount --bind /dev/null "$path"
	done
}

set_up_dns() {
	dnsmasq --conf-file=/dev/null --no-resolv --no-hosts --listen-address="$OWN_IPV4" --bind-interfaces \
		--user=root --group=root --pid-file= --address=/example.com/192.0.2.80 --address=/example.com/fd00:1::80
}

set_up_own_host() {
	dir=$(mktemp -d /tmp/ownhost.XXXXXX)
	trap 'umount -l "$dir" && rmdir "$dir"' EXIT
	mount -t tmpfs -o mode=755 tmpfs "$dir"
	mkdir "$dir/bin"
	set_up_interfaces
	set_up_files "$dir"
	set_up_programs "$dir/bin"
	hide_programs
	set_up_dns
	# Terminals of the outer host may belong to a group that has no ID here.
	mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts /dev/pts
	mount --bind /dev/pts/ptmx /dev/ptmx
	mount --make-rshared /
	PATH=$dir/bin:$PATH
}

as_own_user() {
	setpriv --reuid="$OWN_UID" --regid="$OWN_GID" --clear-groups --inh-caps=-all --ambient-caps=-all "$@"
}

# True if this machine has what a host needs. Sets `lacking` to what is missing.
can_make_own_host() {
	for lacking in newuidmap dnsmasq; do
		command -v "$lacking" >/dev/null || return 1
	done
	lacking=userns
	on_own_host true 2>/dev/null
}

need_own_host() {
	[ "${OWN_HOST-}" = made ] || skip "$lacking" "no host of its own can be made for the tests"
}

if [ -z "${OWN_HOST-}" ] && can_make_own_host; then
	OWN_UID=$(id -u) OWN_GID=$(id -g) OWN_NAME=$(id -un)
	export OWN_UID OWN_GID OWN_NAME
	on_own_host env OWN_HOST=new sh "$0" "$@"
	exit
elif [ "${OWN_HOST-}" = new ]; then
	export OWN_HOST=made
	set -e
	set_up_own_host
	set +e
	as_own_user sh "$0" "$@"
	exit
fi
