#!/bin/sh
# For services.sh and reboot.sh, which run as root in the machine of check-systemd: users who have a session and
# their own service manager run launchers. Services of `user` may run while nobody is logged in (lingering),
# those of `visitor` may not.
. "$(dirname "$0")/../../e2e/lib.sh"

USER_ID=2000
# shellcheck disable=SC2034 # both scripts use it
STALE=/home/user/launcher # a state directory on the disk
UNITS=/home/user/.config/systemd/user

# as NAME COMMAND...: runs a command as a user, with the environment that a login sets
as() {
	name=$1
	shift
	setpriv --reuid="$name" --regid="$name" --init-groups env -i HOME="/home/$name" USER="$name" LOGNAME="$name" \
		PATH="/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin" \
		XDG_RUNTIME_DIR="/run/user/$(id -u "$name")" \
		DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$(id -u "$name")/bus" "$@"
}
ctl() {
	as user systemctl --user "$@"
}
docker_() {
	as user docker -H "unix:///run/user/$USER_ID/docker.sock" "$@"
}
property() {
	ctl show --value -p "$2" "$1"
}

# wait_page URL TEXT UNIT: waits until TEXT is the page at URL. After 90 s it shows the unit's log and
# fails.
wait_page() {
	deadline=$(($(now_ms) + 90000))
	until [ "$(fetch "$1")" = "$2" ]; do
		[ "$(now_ms)" -le "$deadline" ] ||
			fail "no page at $1 within 90 s: $(journalctl -q -n 30 --no-pager "_SYSTEMD_USER_UNIT=$3")"
		sleep 0.2
	done
}

# unit NAME: creates a unit of `user` from standard input
unit() {
	as user mkdir -p "$UNITS"
	cat >"$UNITS/$1"
	chown user: "$UNITS/$1"
	ctl daemon-reload
}

# script NAME TEXT: creates a shell script in /home/user/bin
script() {
	as user mkdir -p /home/user/bin
	printf '#!/bin/sh%s\n' "$2" >"/home/user/bin/$1"
	chmod 755 "/home/user/bin/$1"
}

# page TEXT: creates the page of web servers on /www
page() {
	mkdir -p /www
	echo "$1" >/www/index.html
}

# check_unit UNIT ACTIVE_STATE RESULT: checks these properties of a unit, and shows its log if they differ
check_unit() {
	assert_eq "state and result of $1, whose log ends: $(journalctl -q -n 20 --no-pager "_SYSTEMD_USER_UNIT=$1")" \
		"$2 $3" "$(property "$1" ActiveState) $(property "$1" Result)"
}

# no_process UID: true if the user has no process of a launcher, or of the programs that these services run
no_process() {
	! pgrep -u "$1" 'rootlesskit|rlkbox|slirp4netns|dockerd|containerd|busybox'
}

# make_image FILE: creates an archive with a root file system for containers: busybox and a page
make_image() {
	mkdir -p "$tmp/layer/bin" "$tmp/layer/www"
	cp /bin/busybox "$tmp/layer/bin/"
	for applet in sh cat httpd dd sleep; do
		ln -s busybox "$tmp/layer/bin/$applet"
	done
	echo 'hello from a container' >"$tmp/layer/www/index.html"
	tar -C "$tmp/layer" --owner=0 --group=0 -cf "$1" .
	chmod 755 "$tmp"
}

wait_until 60 test -S /run/user/$USER_ID/bus
