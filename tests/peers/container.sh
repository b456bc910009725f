# shellcheck shell=sh
# For tests of images whose entry point is the launcher. A test file sources this after lib.sh.
# shellcheck disable=SC2154 # lib.sh sets variables

# Runs as root of a new user, mount and PID namespace. /mnt gets what an image would have: the launcher, and
# newuidmap and newgidmap with the set-UID bit of this namespace's root. The user 1000 has subordinate IDs.
# shellcheck disable=SC2016 # for the inner shell
set_up_container='
set -eu
started=$1 program=$2
shift 2
touch "$started"
mount -t tmpfs -o mode=755 image /mnt
mkdir /mnt/bin /mnt/home
cp "$program" "$(command -v newuidmap)" "$(command -v newgidmap)" /mnt/bin
chmod u+s /mnt/bin/newuidmap /mnt/bin/newgidmap
/mnt/bin/rlkbox --install -s /mnt/bin
echo user:x:1000:1000::/mnt/home:/bin/sh >/mnt/passwd
echo user:2000:60000 >/mnt/subid
mount --bind /mnt/passwd /etc/passwd
mount --bind /mnt/subid /etc/subuid
mount --bind /mnt/subid /etc/subgid
mkdir -m 700 /mnt/home/run
chown -R 1000:1000 /mnt/home
cd /mnt/home
exec setpriv --reuid=1000 --regid=1000 --clear-groups env HOME=/mnt/home USER=user \
	XDG_RUNTIME_DIR=/mnt/home/run XDG_DATA_HOME=/mnt/home/data TMPDIR=/mnt/home PATH=/mnt/bin:"$PATH" "$@"
'

has_started_or_has_ended() {
	[ -e "$tmp/started" ] || has_ended "$pid"
}

# start_container COMMAND...: starts a command, as the first process of a container without network namespace.
# Sets `pid` to the PID of unshare(1), and `first` to that of the first process.
start_container() {
	need newuidmap
	unshare --map-root-user --map-auto true 2>/dev/null || skip userns 'unshare --map-auto fails'
	env --default-signal=INT,QUIT unshare --map-root-user --map-auto --mount --pid --fork --kill-child \
		--mount-proc sh -c "$set_up_container" - "$tmp/started" "$(readlink -f "$bin/rlkbox")" "$@" \
		>"$tmp/bg.out" 2>"$tmp/bg.err" </dev/null &
	pid=$!
	# Before, the child of unshare(1) may be a helper that calls newuidmap.
	wait_until 10 has_started_or_has_ended
	first=$(pgrep -P "$pid") || fail "the container ended: $(cat "$tmp/bg.err")"
	# A change of the UID clears the parent-death signal, by which the container would end with unshare(1).
	trap 'send_signal KILL "$first"' EXIT
}

# in_container COMMAND...: runs a command as root of that container
in_container() {
	nsenter --preserve-credentials -U -m -p -t "$first" "$@"
}

# Prints the container's zombies. Those of a moment ago may have gone.
list_zombies() {
	in_container sh -c "grep -lsE '^State:[[:space:]]Z' /proc/[0-9]*/status" | while read -r path; do
		in_container sed -n 's/^Name:[[:space:]]*//p' "$path" 2>/dev/null || true
	done
}

has_no_zombie() {
	[ -z "$(list_zombies)" ]
}

# has_no_orphan NAME: true if the container's first process has no child of that name
has_no_orphan() {
	! pgrep -P "$first" -x "$1"
}

# Ends the container by SIGTERM, as container engines do. Sets rc.
stop_container() {
	send_signal TERM "$first"
	await_end "$pid"
	trap - EXIT
}
