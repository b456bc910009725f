# shellcheck shell=sh
# Runs a test file in namespaces of its own, as on a host with lxc-user-nic and some bridges. A test file
# sources this before lib.sh, and is started again in new user, network, mount and PID namespaces, as their
# user `tester`, who is not root. Root of these namespaces is the user who runs the tests. So no privileges are
# needed, nothing outside changes, and everything ends with the test file.
#
# The programs that must be set-UID root are copies that belong to that root: outside, theirs is another root.
# $lxc is a directory with:
#
#     bin     set-UID copies: lxc-user-nic, newuidmap, newgidmap
#     usernet which bridges `tester` may use; the test may change this copy of /etc/lxc/lxc-usernet
#     logs    what the DHCP servers print, a file for each bridge
#
# Bridges: lxcbr0 (10.0.3.1, busybox udhcpd), `none` without a DHCP server, and one for each behaviour of
# tests/tools/dhcpd.py, which is its name. `two` has two servers.

lxc=/mnt
export lxc

if [ -z "${LXC_NETWORK-}" ]; then
	for program in /usr/libexec/lxc/lxc-user-nic "/usr/lib/$(uname -m)-linux-gnu/lxc/lxc-user-nic" \
		/usr/lib/lxc/lxc-user-nic; do
		[ ! -x "$program" ] || break
	done
	LXC_USER_NIC=$program
	# Without these namespaces the file goes on here, and its cases are skipped.
	LXC_NETWORK=no
	export LXC_NETWORK LXC_USER_NIC
	# shellcheck disable=SC2016 # for the inner shell
	if [ -x "$program" ]; then
		unshare --map-root-user --map-auto -n -m -p -f --kill-child --mount-proc sh -c '
			mount -t tmpfs tmpfs "$lxc" && mount -t sysfs sysfs /sys && ip link add lxcbr0 type bridge &&
				exec setpriv --reuid 1000 --regid 1000 --clear-groups true' >/dev/null 2>&1 &&
			LXC_NETWORK=yes
	fi
	if [ "$LXC_NETWORK" = yes ]; then
		# shellcheck disable=SC2016 # for the inner shell
		exec unshare --map-root-user --map-auto -n -m -p -f --kill-child --mount-proc sh -c '
			set -e
			tests=$(CDPATH="" cd "$(dirname "$0")/.." && pwd)
			mount -t tmpfs -o mode=755 tmpfs "$lxc"
			mount -t sysfs sysfs /sys
			mkdir "$lxc/bin" "$lxc/logs" "$lxc/build" "$lxc/etc"
			cp -r "$tests" "$lxc/tests"
			cp "$BUILD/rlkbox" "$lxc/build"
			for program in "$LXC_USER_NIC" "$(command -v newuidmap)" "$(command -v newgidmap)"; do
				cp "$program" "$lxc/bin"
				chmod 4755 "$lxc/bin/${program##*/}"
			done

			cp -r /etc/. "$lxc/etc" 2>/dev/null || true
			printf "root:x:0:0::/root:/bin/sh\ntester:x:1000:1000::/tmp:/bin/sh\n" >"$lxc/etc/passwd"
			printf "root:x:0:\ntester:x:1000:\n" >"$lxc/etc/group"
			echo tester:2000:60000 | tee "$lxc/etc/subuid" >"$lxc/etc/subgid"
			mkdir -p "$lxc/etc/lxc"
			ln -sf "$lxc/usernet" "$lxc/etc/lxc/lxc-usernet"
			mount --bind "$lxc/etc" /etc
			mount -t tmpfs -o mode=755 tmpfs /run

			ip link set lo up
			net=3
			for bridge in lxcbr0 none good brief refusing hostile leaving two; do
				ip link add "$bridge" type bridge
				ip addr add "10.0.$net.1/24" dev "$bridge"
				ip link set "$bridge" up
				echo "tester veth $bridge 2" >>"$lxc/usernet"
				case $bridge in
				none) ;;
				lxcbr0)
					printf "%s\n" "start 10.0.3.10" "end 10.0.3.20" "interface lxcbr0" \
						"lease_file /run/leases" "pidfile /run/udhcpd.pid" \
						"option subnet 255.255.255.0" "option router 10.0.3.1" \
						"option dns 10.0.3.1 10.0.3.2" "option lease 600" >/run/udhcpd.conf
					touch /run/leases
					busybox udhcpd -f /run/udhcpd.conf >"$lxc/logs/lxcbr0" 2>&1 & ;;
				two)
					ip addr add "10.0.$net.2/24" dev two
					for host in 1 2; do
						python3 "$lxc/tests/tools/dhcpd.py" two "10.0.$net.$host" good \
							>"$lxc/logs/two.$host" 2>&1 &
					done ;;
				*)
					python3 "$lxc/tests/tools/dhcpd.py" "$bridge" "10.0.$net.1" "$bridge" \
						>"$lxc/logs/$bridge" 2>&1 & ;;
				esac
				net=$((net + 1))
			done
			chown -R 1000:1000 "$lxc/build" "$lxc/usernet" "$lxc/logs"
			export BUILD="$lxc/build" HOME=/tmp USER=tester LOGNAME=tester PATH="$lxc/bin:$PATH"
			cd /
			setpriv --reuid 1000 --regid 1000 --clear-groups sh "$lxc/tests/e2e/${0##*/}" "$@"' "$0" "$@"
	fi
fi

need_lxc() {
	[ -x "$LXC_USER_NIC" ] || skip lxc "lxc-user-nic is not installed"
	[ "$LXC_NETWORK" = yes ] || skip lxc "no bridge, or no user namespace with several users, can be made here"
}
