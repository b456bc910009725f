#!/bin/sh
# Brings what the tests need, where something is missing and this user may install it (Debian and
# its kin). Otherwise it says what is missing; tests that need it are skipped, or fail to build.
set -eu

# A program, file or library that shows that a package is there, and the package. That of systemd
# brings two tools; nothing of it starts where systemd does not run, and it does not become init
# (systemd-sysv would).
needed="
pkg-config:pkg-config
/usr/include/check.h:check
newuidmap:uidmap
slirp4netns:slirp4netns
pasta:passt
busybox:busybox-static
curl:curl
ps:procps
ip:iproute2
/usr/sbin/nft:nftables
unshare:util-linux
socat:socat
rootlesskit:rootlesskit
strace:strace
python3:python3
musl-gcc:musl-tools
systemd-socket-activate:systemd
/usr/sbin/iptables:iptables
libdevmapper.so.1.02.1:libdevmapper1.02.1
"
[ "${1-}" != bench ] || needed="$needed
iperf3:iperf3
wrk:wrk
ab:apache2-utils
hyperfine:hyperfine
gnuplot:gnuplot-nox
libpcre2-8.so.0:libpcre2-8-0
libssl.so.3:libssl3
"

is_there() {
	case $1 in
	/*) [ -e "$1" ] ;;
	*.so.*) /sbin/ldconfig -p | grep -q "^[[:space:]]*$1 " ;;
	*) command -v "$1" >/dev/null 2>&1 ;;
	esac
}

# Packages with a daemon that would start as root, and what goes with them, and a file that shows
# that one is there: each is only unpacked, to a directory of its own that every user may read.
UNPACKED=/var/cache/rlkbox-tests
unpacked="
containerd:usr/bin/containerd
docker.io:usr/sbin/dockerd
runc:usr/sbin/runc
containernetworking-plugins:usr/lib/cni/bridge
"
[ "${1-}" != bench ] || unpacked="$unpacked
nginx:usr/sbin/nginx
"

missing=
for line in $needed; do
	is_there "${line%%:*}" || missing="$missing ${line#*:}"
done
apart=
for line in $unpacked; do
	[ -e "$UNPACKED/${line%%:*}/${line#*:}" ] || apart="$apart ${line%%:*}"
done
[ -n "$missing$apart" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "tests/deps.sh: not installed:$missing$apart" >&2
	echo "tests/deps.sh: as root of a Debian system, \`make check\` installs them" >&2
	exit 0
fi
echo "tests/deps.sh: installing$missing$apart"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of names
[ -z "$missing" ] || apt-get install -y -qq --no-install-recommends $missing >/dev/null

# unpack PACKAGE: all of it, or nothing
unpack() {
	work=$(mktemp -d)
	chmod 755 "$work"
	(cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$1" >/dev/null)
	dpkg -x "$work"/*.deb "$work/root"
	mkdir -p "$UNPACKED"
	rm -rf "${UNPACKED:?}/$1"
	mv "$work/root" "$UNPACKED/$1"
	rm -r "$work"
}

for package in $apart; do
	unpack "$package"
done
