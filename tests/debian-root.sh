#!/bin/bash
# Runs a command on another Debian release: tests/debian-root.sh [-u] SUITE COMMAND..., as root. SUITE
# is trixie, sid, ...; with -u the command runs as an unprivileged user with subordinate IDs.
#
# The first time, debootstrap creates the root file system of the suite in ROOTS/SUITE (ROOTS is
# /var/cache/rlkbox-tests/roots unless the environment sets it). It is kept, with the packages that
# commands install there, and upgraded when it is a day old. It uses apt's mirror and download settings of
# this machine; DEBIAN_MIRROR names another mirror.
#
# The working directory of the command is a copy of the sources, without build results, so that object
# files of two compilers never mix. The copy, /tmp, processes and mounts disappear at the end. Network
# and cgroups are those of this machine.
#
# With -u the user gets a cgroup of its own if one can be created, as in a session with Delegate=yes.
#
# The root is entered by pivot_root(2), because the kernel denies user namespaces to a process in a
# chroot (user_namespaces(7)).
#
# Exit status: the command's; 125 if there is no root file system to run it in.
set -euo pipefail

ROOTS=${ROOTS:-/var/cache/rlkbox-tests/roots}
PLAIN_USER=rlkbox-plain
MAX_AGE_MIN=1440 # minutes until a root is upgraded
NO_ROOT=125

die() {
	echo "tests/debian-root.sh: $*" >&2
	exit "$NO_ROOT"
}

user=root
[ "${1-}" != -u ] || { user=$PLAIN_USER; shift; }
[ $# -ge 2 ] || { echo "usage: tests/debian-root.sh [-u] SUITE COMMAND..." >&2; exit 2; }
suite=$1
shift
root=$ROOTS/$suite

# ---- making a root ----

# Prints the mirror that apt uses for this machine's own release.
find_mirror() {
	[ -z "${DEBIAN_MIRROR-}" ] || { echo "$DEBIAN_MIRROR"; return; }
	# shellcheck disable=SC1091 # the system's
	(. /etc/os-release && [ "$ID" = debian ] && apt-get indextargets \
		--format '$(RELEASE) $(REPO_URI)' "Release: $VERSION_CODENAME" | sed -n '1s/.* //p')
}

# copy_settings ROOT: copies apt's download settings: proxies, certificates, checking of dates.
copy_settings() {
	local file
	apt-config dump | grep -iE '^Acquire::(Check-|https?::|Retries)' >"$1/etc/apt/apt.conf.d/90host" || true
	sed -n 's/^[^"]*\(CaInfo\|CaPath\|SslCert\|SslKey\) "\(\/.*\)";/\2/p' "$1/etc/apt/apt.conf.d/90host" |
		while read -r file; do
			cp -rL --parents "$file" "$1"
		done
}

# Creates the root under another name, and renames it when it is complete.
make_root() {
	local mirror new=$root.new
	command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"
	mirror=$(find_mirror)
	[ -n "$mirror" ] || die "apt has no Debian mirror here; set DEBIAN_MIRROR"
	echo "tests/debian-root.sh: making $root" >&2
	rm -rf "$new" "$root"
	debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev,make \
		"$suite" "$new" "$mirror" >"$root.log" 2>&1 ||
		{ tail -n 20 "$root.log" >&2; rm -rf "$new"; die "debootstrap failed"; }
	copy_settings "$new"
	# Keeps packages from starting services.
	printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d"
	chmod 755 "$new/usr/sbin/policy-rc.d"
	touch "$new/etc/refreshed"
	mv "$new" "$root"
}

is_fresh() {
	[ -n "$(find "$root/etc/refreshed" -mmin "-$MAX_AGE_MIN")" ]
}

# Creates or upgrades the root. If the mirror does not answer, the root stays as it is. A root whose
# upgrade was interrupted is created again.
refresh_root() {
	if [ -e "$root.upgrading" ]; then
		rm -rf "$root"
	fi
	[ -e "$root" ] || make_root
	rm -f "$root.upgrading"
	! is_fresh || return 0
	enter apt-get update -qq ||
		{ echo "tests/debian-root.sh: not upgrading $suite: the mirror does not answer" >&2; return 0; }
	touch "$root.upgrading"
	enter sh -c 'apt-get dist-upgrade -y -qq && apt-get clean' >"$root.log" 2>&1 ||
		{ tail -n 20 "$root.log" >&2; die "upgrading $suite failed"; }
	touch "$root/etc/refreshed"
	rm -f "$root.upgrading"
}

# ---- entering the root ----

# Runs in the new mount and PID namespaces before the command, and makes $root the root directory.
# shellcheck disable=SC2016 # for the inner shell
setup='
set -eu
root=$1 tmp=$2
shift 2
mount --bind "$root" "$root"
cd "$root"
mount -t proc -o nosuid,nodev,noexec proc proc
mount --rbind /sys sys
mount -t tmpfs -o nosuid,mode=755 dev dev
mkdir dev/pts dev/shm dev/net
for node in null zero full random urandom tty fuse net/tun; do
	[ -c "/dev/$node" ] || continue
	: >"dev/$node"
	mount --bind "/dev/$node" "dev/$node"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777 shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for n in 0:stdin 1:stdout 2:stderr; do
	ln -s "/proc/self/fd/${n%%:*}" "dev/${n#*:}"
done
mount -t tmpfs -o nosuid,nodev,mode=755 run run
mkdir -m 1777 run/lock
mount --bind "$tmp" tmp
pivot_root . mnt
cd /
umount -l /mnt
exec "$@"
'

# enter COMMAND...: runs a command in the root, as root; with in_place=yes it replaces this process
in_place=
enter() {
	local file
	for file in resolv.conf hosts; do
		rm -f "$root/etc/$file"
		cp -L "/etc/$file" "$root/etc/$file"
	done
	${in_place:+exec} unshare --mount --propagation private --pid --fork --kill-child=KILL sh -c "$setup" - "$root" "$tmp" \
		env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
		LANG=C.UTF-8 TERM="${TERM-dumb}" DEBIAN_FRONTEND=noninteractive \
		${http_proxy:+"http_proxy=$http_proxy"} ${https_proxy:+"https_proxy=$https_proxy"} \
		${no_proxy:+"no_proxy=$no_proxy"} "$@" </dev/null
}

# shellcheck disable=SC2016 # for the inner shell
as_plain='
set -eu
id "$1" >/dev/null 2>&1 || useradd --create-home --shell /bin/sh "$1"
grep -q "^$1:" /etc/subuid || echo "$1:1000000:65536" >>/etc/subuid
grep -q "^$1:" /etc/subgid || echo "$1:1000000:65536" >>/etc/subgid
chown -R "$1:" /tmp/rlkbox
cd /tmp/rlkbox
user=$1 cgroup=$2
shift 2
if [ -n "$cgroup" ]; then
	chown "$user:" "$cgroup" "$cgroup/cgroup.procs" "$cgroup/cgroup.subtree_control"
	echo 0 >"$cgroup/cgroup.procs"
fi
# No exec: a change of the UID clears the parent-death signal, by which this shell ends with unshare(1).
status=0
setpriv --reuid "$user" --regid "$user" --init-groups \
	env HOME="/home/$user" USER="$user" LOGNAME="$user" "$@" || status=$?
exit "$status"
'

# Creates a cgroup for the unprivileged user in the v2 hierarchy, which has the same path in the root.
make_cgroup() {
	local top
	top=$(sed -n 's/^\([^ ]* \)\{4\}\([^ ]*\) .* - cgroup2 .*/\2/p' /proc/self/mountinfo | head -n 1)
	[ -z "$top" ] || ! mkdir "$top/rlkbox-root.${tmp##*.}" 2>/dev/null || cgroup=$top/rlkbox-root.${tmp##*.}
}

copy_sources() {
	mkdir "$tmp/rlkbox"
	tar -c --exclude=./build --exclude=./.git . | tar -x -C "$tmp/rlkbox" --no-same-owner
}

[ "$(id -u)" -eq 0 ] || die "only root can make and enter a root"
cd "$(dirname "$0")/.."
mkdir -p "$ROOTS"
tmp=$(mktemp -d "$ROOTS/tmp.XXXXXX")
entered='' cgroup=''
# Killing unshare(1) ends everything in the root, since PID 1 of the PID namespace dies with it.
# shellcheck disable=SC2317 # called by a trap
clean_up() {
	[ -z "$entered" ] || ! kill -KILL "$entered" 2>/dev/null || wait "$entered" 2>/dev/null || true
	# Tries for 5 seconds, since the killed processes may still be in it.
	for _ in {1..50}; do
		[ -n "$cgroup" ] || break
		! find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || break
		sleep 0.1
	done
	rm -rf "$tmp"
}
trap clean_up EXIT
trap 'exit 130' HUP INT TERM
chmod 1777 "$tmp"

# An exclusive lock for creating and upgrading the root; commands that run in it share the lock.
exec 9>"$root.lock"
! flock -n 9 || refresh_root
flock -s 9
[ -e "$root" ] || die "another process has failed to make $root"
copy_sources
status=0
in_place=yes
# In the background, since a shell handles a signal only after a foreground command has ended.
if [ "$user" = root ]; then
	# shellcheck disable=SC2016 # for the inner shell
	enter sh -c 'cd /tmp/rlkbox && exec "$@"' - "$@" 9>&- &
else
	make_cgroup
	enter sh -c "$as_plain" - "$user" "$cgroup" "$@" 9>&- &
fi
entered=$!
wait "$entered" || status=$?
exit "$status"
