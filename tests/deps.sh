#!/bin/sh
# Brings what the tests need, where something is missing and this user may install it (Debian and
# its kin). Otherwise it says what is missing; tests that need it are skipped, or fail to build.
set -eu

# A program or file that shows that a package is there, and the package.
needed="
pkg-config:pkg-config
/usr/include/check.h:check
newuidmap:uidmap
slirp4netns:slirp4netns
busybox:busybox-static
curl:curl
ps:procps
ip:iproute2
unshare:util-linux
socat:socat
rootlesskit:rootlesskit
strace:strace
python3:python3
musl-gcc:musl-tools
"

is_there() {
	case $1 in
	/*) [ -e "$1" ] ;;
	*) command -v "$1" >/dev/null 2>&1 ;;
	esac
}

missing=
for line in $needed; do
	is_there "${line%%:*}" || missing="$missing ${line#*:}"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "tests/deps.sh: not installed:$missing" >&2
	echo "tests/deps.sh: as root of a Debian system, \`make check\` installs them" >&2
	exit 0
fi
echo "tests/deps.sh: installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of names
apt-get install -y -qq --no-install-recommends $missing >/dev/null
