#!/bin/sh
# Installs what the tests need, by apt, if root runs it on a Debian system. Otherwise it lists what is
# missing, with a command line that installs it, and fails if the tests cannot be built or run. What only
# tests/peers need (real Docker, containerd, RootlessKit and Podman) is optional, and so is lxc-user-nic: without
# it those tests are skipped.
#
# `tests/deps.sh bench` also installs the programs that `make bench` needs, except RootlessKit 3.3.0: that needs Go,
# and tests/peers/go-programs.sh builds it.
set -eu

# On Debian the PATH of ordinary users lacks these directories, which have iptables and nft.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# Each line names a program, file or library that shows that a package is installed, and the package.
# static:PROGRAM must be statically linked, so that it runs in an image without libraries. The package
# systemd has two tools that the tests use; installing it starts no service and does not replace init
# (systemd-sysv would).
needed="
cc:gcc
/usr/include/stdio.h:libc6-dev
pkg-config:pkg-config
/usr/include/check.h:check
newuidmap:uidmap
slirp4netns:slirp4netns
pasta:passt
static:busybox:busybox-static
curl:curl
ps:procps
ip:iproute2
nft:nftables
setcap:libcap2-bin
unshare:util-linux
socat:socat
strace:strace
python3:python3
musl-gcc:musl-tools
git:git
systemd-socket-activate:systemd
"
[ "${1-}" != bench ] || needed="$needed
iperf3:iperf3
wrk:wrk
ab:apache2-utils
hyperfine:hyperfine
gnuplot:gnuplot-nox
"
# The same for tests that are skipped otherwise: tests/peers, and those of lxc-user-nic and of our own DNS.
optional="
rootlesskit:rootlesskit
iptables:iptables
libdevmapper.so.1.02.1:libdevmapper1.02.1
dnsmasq:dnsmasq-base
dig:bind9-dnsutils
tcpdump:tcpdump
jq:jq
iperf3:iperf3
wget:wget
nc.openbsd:netcat-openbsd
ssh:openssh-client
libwrap.so.0:libwrap0
/usr/libexec/lxc/lxc-user-nic:liblxc-common
podman:podman
/usr/lib/podman/netavark:netavark
/usr/lib/podman/aardvark-dns:aardvark-dns
"

# Packages whose daemon would start as root when they are installed, and tini. They are only unpacked, each to its
# own directory, which every user may read. After the colon: a file that shows that the package is unpacked.
UNPACKED=/var/cache/rlkbox-tests
unpacked="
containerd:usr/bin/containerd
docker.io:usr/sbin/dockerd
runc:usr/sbin/runc
containernetworking-plugins:usr/lib/cni/bridge
uuid-runtime:usr/sbin/uuidd
tini:usr/bin/tini
docker-registry:usr/bin/docker-registry
nginx:usr/sbin/nginx
openssh-server:usr/sbin/sshd
"

# A dynamically linked program names its loader (PT_INTERP) near the beginning of the file.
is_static() {
	path=$(command -v "$1") && ! head -c 4096 "$path" | grep -aq '/ld[^/]*\.so'
}

is_there() {
	case $1 in
	static:*) is_static "${1#*:}" ;;
	/*) [ -e "$1" ] ;;
	*.so.*) ldconfig -p | grep -q "^[[:space:]]*$1 " ;;
	*) command -v "$1" >/dev/null 2>&1 ;;
	esac
}

# missing_of LINES: prints the packages of these lines that are not installed
missing_of() {
	for line in $1; do
		is_there "${line%:*}" || printf ' %s' "${line##*:}"
	done
}

# Debian 12 has Docker's client in docker.io, later releases have it in docker-cli.
find_not_unpacked() {
	for line in $unpacked; do
		[ -e "$UNPACKED/${line%%:*}/${line#*:}" ] || printf ' %s' "${line%%:*}"
	done
	[ -e "$UNPACKED/docker.io/usr/bin/docker" ] || [ -e "$UNPACKED/docker-cli/usr/bin/docker" ] ||
		printf ' docker-cli'
}

missing=$(missing_of "$needed")
missing_optional=$(missing_of "$optional")
apart=$(find_not_unpacked)
[ -n "$missing$missing_optional$apart" ] || exit 0

# ---- without root or apt ----

explain() {
	if ! command -v apt-get >/dev/null 2>&1; then
		[ -z "$missing" ] || echo "missing, by the names of Debian's packages:$missing"
		[ -z "$missing_optional$apart" ] || echo "some tests are skipped, or do less, without:$missing_optional$apart"
		return
	fi
	if [ -n "$missing$missing_optional" ]; then
		[ -z "$missing" ] || echo "missing packages:$missing"
		[ -z "$missing_optional" ] || echo "missing packages, without which some tests are skipped:$missing_optional"
		echo "to install them: sudo apt-get install --no-install-recommends$missing$missing_optional"
	fi
	[ -z "$apart" ] || echo "not unpacked to $UNPACKED, for tests/peers only:$apart
to unpack them, without installing them: sudo tests/deps.sh"
}

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	explain | sed 's,^,tests/deps.sh: ,' >&2
	[ -z "$missing" ]
	exit
fi

# ---- as root, with apt ----

echo "tests/deps.sh: installing$missing$missing_optional$apart"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of names
[ -z "$missing$missing_optional" ] ||
	apt-get install -y -qq --no-install-recommends $missing $missing_optional >/dev/null

# unpack PACKAGE: downloads and unpacks it; on failure nothing is left in $UNPACKED
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
	# docker.io, unpacked before, already has the client on Debian 12.
	[ "$package" != docker-cli ] || [ ! -e "$UNPACKED/docker.io/usr/bin/docker" ] || continue
	unpack "$package"
done
