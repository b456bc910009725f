#!/bin/sh
# The state directory: its files, their lifetime, and what the launcher must never touch.
. "$(dirname "$0")/lib.sh"

# listing DIR: prints name, mode and type of everything in the directory
listing() {
	find "$1" -mindepth 1 -printf '%P %m %y\n' | LC_ALL=C sort
}

# refused PATTERN OPTIONS... COMMAND: runs a launcher that must fail with one line, an error that matches
# PATTERN
refused() {
	pattern=$1
	shift
	launch "$@"
	assert_eq "status of $*" 1 "$rc"
	assert_match "error of $*" "\[rootlesskit:parent\] error: $pattern" "$err"
	assert_eq "lines of $*" 1 "$(wc -l <"$tmp/err")"
	assert_eq "output of $*" '' "$out"
}

case_the_hosts_network_needs_three_state_files() {
	umask 022
	start sleep 60
	assert_eq files 'api.sock 755 s
child_pid 444 f
lock 600 f' "$(listing "$state")"
	assert_eq directory 755 "$(stat -c %a "$state")"
	stop
}

case_the_builtin_port_driver_adds_its_two_state_files() {
	umask 022
	start --net=none --port-driver=builtin sleep 60
	assert_eq files '.bp-ready.pipe 600 p
.bp.sock 755 s
api.sock 755 s
child_pid 444 f
lock 600 f' "$(listing "$state")"
	stop
}

case_slirp4netns_adds_hosts_and_resolv_conf_to_the_state_files() {
	need_slirp4netns
	umask 022
	start --net=slirp4netns --disable-host-loopback --copy-up=/etc --port-driver=builtin sleep 60
	assert_eq files '.bp-ready.pipe 600 p
.bp.sock 755 s
api.sock 755 s
child_pid 444 f
hosts 644 f
lock 600 f
resolv.conf 644 f' "$(listing "$state")"
	assert_eq resolv.conf 'nameserver 10.0.2.3' "$(cat "$state/resolv.conf")"
	{
		cat /etc/hosts
		printf '\n127.0.0.1 %s\n::1 %s\n' "$(uname -n)" "$(uname -n)"
	} >"$tmp/hosts"
	cmp "$tmp/hosts" "$state/hosts"
	stop
}

case_a_detached_namespace_is_a_state_file() {
	need_slirp4netns
	umask 022
	start --net=slirp4netns --disable-host-loopback --detach-netns sleep 60
	assert_eq files 'api.sock 755 s
child_pid 444 f
hosts 644 f
lock 600 f
netns 444 f
resolv.conf 644 f' "$(listing "$state")"
	assert_eq 'mode inside' 444 "$(inside_mounts stat -c %a "$state/netns")"
	assert_eq 'namespace inside' nsfs "$(inside_mounts stat -f -c %T "$state/netns")"
	# From outside, the file is found in the child's root directory.
	assert_eq 'namespace from outside' nsfs "$(stat -f -c %T "/proc/$child/root$state/netns")"
	stop
}

case_file_modes_do_not_depend_on_the_umask() {
	need_slirp4netns
	for mask in 000 077; do
		umask "$mask"
		start --net=slirp4netns --disable-host-loopback --copy-up=/etc --port-driver=builtin sleep 60
		assert_eq "modes with umask $mask" '.bp-ready.pipe 600
child_pid 444
hosts 644
lock 600
resolv.conf 644' "$(listing "$state" | sed -n 's/ [fp]$//p')"
		stop
	done
}

case_child_pid_names_the_child() {
	start --net=none --port-driver=builtin sleep 60
	assert_eq 'bytes of child_pid, without a newline' "${#child}" "$(wc -c <"$state/child_pid")"
	assert_eq 'bytes of lock' 0 "$(wc -c <"$state/lock")"
	assert_eq 'parent of the child' "$pid" "$(sed -n 's/^PPid:	//p' "/proc/$child/status")"
	assert_eq 'command below it' sleep "$(ps -o comm= --ppid "$child")"
	[ "$(readlink "/proc/$child/ns/user")" != "$(readlink /proc/self/ns/user)" ] ||
		fail 'the child is in our own user namespace'
	assert_match info "*\"stateDir\":\"$state\",\"childPID\":$child,*" \
		"$(api_get info)"
	# nerdctl's set-up tool reads them from the child's environment.
	for variable in "ROOTLESSKIT_STATE_DIR=$state" "ROOTLESSKIT_PARENT_EUID=$(id -u)" "ROOTLESSKIT_PARENT_EGID=$(id -g)"; do
		grep -qzxF "$variable" "/proc/$child/environ" || fail "the child has no $variable"
	done
	stop
}

# The command is in the host's network, so it can see the published port.
case_the_state_directory_is_complete_before_the_command_starts() {
	port=$(free_port)
	cat >"$tmp/command" <<-'EOF'
		cd "$ROOTLESSKIT_STATE_DIR" || exit 2
		[ "$(cat child_pid)" = "$PPID" ] || exit 3
		[ -e netns ] || exit 4
		code=0
		curl -s --max-time 5 "http://127.0.0.1:$1/" || code=$?
		[ "$code" -ne 7 ] || exit 5 # refused
		curl -sf --max-time 5 --unix-socket api.sock http://x/v1/ports
	EOF
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		launch --state-dir="$tmp/st" --net=none --detach-netns --port-driver=builtin \
			-p "127.0.0.1:$port:80/tcp" sh "$tmp/command" "$port"
		assert_eq "status of run $i" 0 "$rc"
		assert_match "ports of run $i" "\[{\"id\":1,*\"parentPort\":$port,*}\]" "$out"
	done
}

case_a_second_launcher_with_the_same_directory_fails_at_once() {
	start --net=none --port-driver=builtin sleep 60
	before=$(listing "$state")
	began=$(now_ms)
	for i in 1 2 3; do
		refused "failed to lock $state/lock, another RootlessKit is running with the same state directory[?] (PID $pid); try another --state-dir*" \
			--state-dir="$state" touch "$tmp/ran"
	done
	assert_within 5000 "$began"
	[ ! -e "$tmp/ran" ] || fail 'the command ran'
	assert_eq files "$before" "$(listing "$state")"
	assert_eq child_pid "$child" "$(cat "$state/child_pid")"
	assert_eq 'ports of the first launcher' '[]' "$(api_get ports)"
	inside true
	stop
	assert_eq status 255 "$rc"
}

case_racing_launchers_use_a_directory_one_at_a_time() {
	state=$tmp/st
	for i in 1 2 3 4 5 6 7 8; do
		rootlesskit --state-dir="$state" sh -c "echo $i >>'$tmp/ran'; [ \"\$(cat '$state/child_pid')\" = \$PPID ]" \
			2>"$tmp/err.$i" &
		eval "pid$i=$!"
	done
	won=0
	for i in 1 2 3 4 5 6 7 8; do
		eval "p=\$pid$i"
		await_end "$p"
		if [ "$rc" -eq 0 ]; then
			won=$((won + 1))
		else
			assert_match "error of $i" '*another RootlessKit is running*' "$(cat "$tmp/err.$i")"
		fi
	done
	assert_eq 'launchers that ran' "$(wc -l <"$tmp/ran")" "$won"
	[ "$won" -ge 1 ] || fail 'no launcher ran its command'
	[ ! -e "$state" ] || fail 'the state directory is still there'
}

case_files_of_a_killed_launcher_are_removed_by_the_next_one() {
	need_slirp4netns
	umask 022
	start --net=slirp4netns --disable-host-loopback --detach-netns --port-driver=builtin sleep 60
	send_signal KILL "$pid"
	wait_until 5 has_ended "$child"
	await_end "$pid"
	for file in api.sock .bp.sock .bp-ready.pipe child_pid hosts lock netns resolv.conf; do
		[ -e "$state/$file" ] || fail "no $file is left, so this tests nothing"
	done
	# Files that a launcher leaves if it is killed while it starts.
	mkdir "$state/.copy-up"
	echo half >"$state/.new"
	start sleep 60
	# netns must be gone: where it exists, clients expect a detached network namespace.
	assert_eq files 'api.sock 755 s
child_pid 444 f
lock 600 f' "$(listing "$state")"
	api_get info | grep -qF "\"childPID\":$child"
	stop
}

case_a_directory_with_foreign_files_is_refused_and_unchanged() {
	for foreign in precious .hidden 'two words' ports.sock; do
		rm -rf "$tmp/st"
		mkdir "$tmp/st"
		echo content >"$tmp/st/$foreign"
		echo 4711 >"$tmp/st/child_pid"
		before=$(listing "$tmp/st")
		refused "state directory $tmp/st holds $foreign, which is not a launcher's: *" \
			--state-dir="$tmp/st" true
		assert_eq "content of $foreign" content "$(cat "$tmp/st/$foreign")"
		assert_eq "files beside $foreign" "$before" "$(listing "$tmp/st")"
	done
	rm -rf "$tmp/st"
	mkdir -p "$tmp/st/work/deep"
	echo content >"$tmp/st/work/deep/file"
	refused '*holds work, *' --state-dir="$tmp/st" true
	assert_eq 'deep content' content "$(cat "$tmp/st/work/deep/file")"
	# A directory with many files, such as a home directory that was given by mistake.
	refused '*holds *, which is not a launcher*' --state-dir="$tmp" true
}

case_files_with_our_names_but_no_lock_are_foreign() {
	for name in hosts resolv.conf child_pid api.sock netns; do
		rm -rf "$tmp/st"
		mkdir "$tmp/st"
		echo precious >"$tmp/st/$name"
		refused "state directory $tmp/st holds $name without a lock, which is not a launcher's: *" \
			--state-dir="$tmp/st" true
		assert_eq "$name" precious "$(cat "$tmp/st/$name")"
	done
}

# flock(1) and Ansible create such lock files.
case_a_lock_file_alone_does_not_mark_a_state_directory() {
	for mode in 600 644; do
		rm -rf "$tmp/st"
		mkdir -p "$tmp/st/sub"
		: >"$tmp/st/lock"
		chmod "$mode" "$tmp/st/lock"
		echo precious >"$tmp/st/notes"
		echo precious >"$tmp/st/sub/file"
		before=$(listing "$tmp/st")
		refused "state directory $tmp/st holds *, which is not a launcher's: *" --state-dir="$tmp/st" true
		assert_eq "files beside a lock of mode $mode" "$before" "$(listing "$tmp/st")"
		assert_eq notes precious "$(cat "$tmp/st/notes")"
	done
	rm -rf "$tmp/st/notes" "$tmp/st/sub"
	echo precious >"$tmp/st/hosts"
	refused "state directory $tmp/st holds hosts beside a lock of mode 0644, which is not a launcher's: *" \
		--state-dir="$tmp/st" true
	assert_eq hosts precious "$(cat "$tmp/st/hosts")"
}

case_a_dangling_link_is_refused_at_once() {
	ln -s "$tmp/nowhere" "$tmp/link"
	began=$(now_ms)
	refused "directory $tmp/link is a link: its target: no such file or directory; *--state-dir" \
		--state-dir="$tmp/link" true
	assert_within 2000 "$began"
	[ ! -e "$tmp/nowhere" ] || fail 'the target of the link was created'
}

case_a_directory_of_another_user_is_refused() {
	[ "$(stat -c %u /usr)" != "$(id -u)" ] || skip owner "/usr belongs to this user"
	refused "state directory /usr belongs to user $(stat -c %u /usr): *" --state-dir=/usr true
}

case_links_with_our_names_are_removed_not_followed() {
	echo precious >"$tmp/precious"
	mkdir "$tmp/dir"
	echo precious >"$tmp/dir/api.sock"
	for name in child_pid api.sock .bp.sock .bp-ready.pipe netns hosts resolv.conf .new; do
		mkdir "$tmp/st"
		(umask 077 && : >"$tmp/st/lock")
		ln -s "$tmp/precious" "$tmp/st/$name"
		[ "$name" != hosts ] || ln -s "$tmp/dir" "$tmp/st/.copy-up"
		[ "$name" != hosts ] || ln -s "$tmp/nowhere" "$tmp/st/resolv.conf"
		launch --state-dir="$tmp/st" --net=none --port-driver=builtin true
		assert_eq "status with $name" 0 "$rc"
		assert_eq "target of $name" precious "$(cat "$tmp/precious")"
		assert_eq "mode of the target of $name" 644 "$(stat -c %a "$tmp/precious")"
		[ ! -e "$tmp/st" ] || fail "the directory with $name is still there"
	done
	assert_eq 'file in the target of a link' precious "$(cat "$tmp/dir/api.sock")"
	[ ! -e "$tmp/nowhere" ] || fail 'a dangling link was followed'
}

case_a_lock_that_is_a_link_is_refused() {
	mkdir "$tmp/st"
	echo precious >"$tmp/precious"
	ln -s "$tmp/precious" "$tmp/st/lock"
	refused "failed to lock $tmp/st/lock: open $tmp/st/lock: *" --state-dir="$tmp/st" true
	assert_eq target precious "$(cat "$tmp/precious")"
	ln -sf "$tmp/nowhere" "$tmp/st/lock"
	refused "failed to lock $tmp/st/lock: open $tmp/st/lock: *" --state-dir="$tmp/st" true
	[ ! -e "$tmp/nowhere" ] || fail 'a dangling link was followed'
}

# assert_full SIZE FAILURE OPTIONS...: starts a launcher whose state directory is on a file system of that
# SIZE, an option of tmpfs(5): few inodes, or (size=4k) no free space.
assert_full() {
	size=$1
	failure=$2
	shift 2
	# shellcheck disable=SC2016 # for the inner shell
	unshare -rm sh -c 'dir=$1 size=$2; shift 2
		mount -t tmpfs -o "mode=1777,$size" none "$dir" && { [ "$size" != size=4k ] || head -c 4096 /dev/zero >"$dir/x"; }
		TMPDIR=$dir rootlesskit --subid-source=self "$@" true; rc=$?; ls -A "$dir"; exit $rc' - "$tmp" "$size" "$@" \
		>"$tmp/out" 2>"$tmp/err" && fail "the launcher started with $size $*"
	assert_match "error with $size $*" "*error: $failure: no space left on device; try another TMPDIR, or --state-dir, or make room there*" "$(cat "$tmp/err")"
	assert_eq "files that are left with $size $*" '' "$(grep -v '^x$' "$tmp/out")"
}

case_a_full_file_system_is_reported_with_the_fix() {
	assert_full nr_inodes=2 'failed to lock */lock: open */lock'
	assert_full nr_inodes=3 'listening on */api.sock'
	assert_full nr_inodes=4 'creating */child_pid'
	assert_full size=4k 'creating */child_pid'
	assert_full nr_inodes=3 'creating */.copy-up' --copy-up=/etc
	assert_full nr_inodes=3 'mkfifo */.bp-ready.pipe' --net=none --port-driver=builtin
	assert_full nr_inodes=4 'listening on */.bp.sock' --net=none --port-driver=builtin
}

case_a_full_file_system_is_reported_with_the_fix_for_networks() {
	need_slirp4netns
	need pasta
	assert_full nr_inodes=3 'creating */netns' --net=slirp4netns --detach-netns
	assert_full nr_inodes=3 'creating */resolv.conf' --net=slirp4netns
	assert_full nr_inodes=4 'creating */hosts' --net=slirp4netns
	assert_full nr_inodes=3 'mkfifo */.net-ready.pipe' --net=pasta
}

case_a_nonempty_directory_with_our_name_is_refused() {
	mkdir -p "$tmp/st/hosts"
	(umask 077 && : >"$tmp/st/lock")
	echo content >"$tmp/st/hosts/file"
	refused "remove $tmp/st/hosts: directory not empty" --state-dir="$tmp/st" true
	assert_eq content content "$(cat "$tmp/st/hosts/file")"
}

case_a_directory_that_is_not_writable_is_refused() {
	mkdir "$tmp/st" "$tmp/above"
	chmod 555 "$tmp/st" "$tmp/above"
	refused "*$tmp/st*: permission denied*" --state-dir="$tmp/st" true
	assert_eq mode 555 "$(stat -c %a "$tmp/st")"
	refused "mkdir $tmp/above/st: permission denied; try another --state-dir" --state-dir="$tmp/above/st" true
	refused "mkdir $tmp/above/a: permission denied; *" --state-dir="$tmp/above/a/b" true
	TMPDIR=$tmp/above refused "mkdir $tmp/above/rootlesskit*: permission denied; try another TMPDIR, or --state-dir" true
	refused "*/proc/foo*" --state-dir=/proc/foo true
}

case_a_path_that_is_not_a_directory_is_refused() {
	echo content >"$tmp/file"
	refused "mkdir $tmp/file: not a directory; try another --state-dir" --state-dir="$tmp/file" true
	refused "mkdir $tmp/file: not a directory; try another --state-dir" --state-dir="$tmp/file/st" true
	assert_eq content content "$(cat "$tmp/file")"
	ln -s "$tmp/nowhere" "$tmp/dangling"
	refused "*$tmp/dangling*" --state-dir="$tmp/dangling" true
	[ ! -e "$tmp/nowhere" ] || fail 'the target of a dangling link was created'
}

# as_long_as N: prints a path of N bytes in $tmp
as_long_as() {
	printf '%s/%0*d' "$tmp" "$(($1 - ${#tmp} - 1))" 0
}

case_a_path_too_long_for_a_socket_is_refused_with_the_limit() {
	# 108 bytes of a socket address, minus the NUL and /.s4nn.sock
	limit=96
	state=$(as_long_as $((limit + 1)))
	refused "*too long*$((limit + 1)) bytes, at most $limit: choose a shorter --state-dir ($state)" \
		--state-dir="$state" --net=none --port-driver=builtin true
	refused '*too long*' --state-dir="$(as_long_as 4000)/x" true
	refused '*too long*' --state-dir="$(as_long_as 5000)" true
	assert_eq 'directories that were created' '' "$(find "$tmp" -mindepth 1 -type d)"
	state=$(as_long_as "$limit")
	# shellcheck disable=SC2016 # for the inner shell
	launch --state-dir="$state" --net=none --port-driver=builtin sh -c 'rootlessctl list-ports --json; echo $?'
	assert_eq 'status and error with the longest path' 0 "$out$err"
	# The limit also applies to a temporary directory, whose name the launcher chooses.
	mkdir "$state"
	TMPDIR=$state refused '*too long*' true
	assert_eq 'temporary directories' '' "$(find "$state" -mindepth 1)"
}

case_a_relative_path_becomes_absolute() {
	cd "$tmp"
	mkdir sub
	# shellcheck disable=SC2016 # for the inner shell
	launch --state-dir=st --net=none --port-driver=builtin sh -c 'cd /; echo $ROOTLESSKIT_STATE_DIR; ls $ROOTLESSKIT_STATE_DIR'
	assert_eq output "$(printf '%s\n' "$tmp/st" api.sock child_pid lock)" "$out"
	[ ! -e "$tmp/st" ] || fail 'the state directory is still there'
	# shellcheck disable=SC2016 # for the inner shell
	launch --state-dir sub/st/ sh -c 'echo $ROOTLESSKIT_STATE_DIR'
	assert_eq 'without the slash' "$tmp/sub/st" "$out"
	# shellcheck disable=SC2016 # for the inner shell
	launch --state-dir ./x/..//sub/./st --net=none --port-driver=builtin sh -c 'echo $ROOTLESSKIT_STATE_DIR; rootlessctl info --json'
	assert_match 'without dots' "$tmp/sub/st
*\"stateDir\":\"$tmp/sub/st\"*" "$(printf '%s' "$out" | sed 's/": "/":"/g')"
	[ ! -e "$tmp/x" ] || fail 'the directory x was created'
	[ ! -e "$tmp/sub/st" ] || fail 'the state directory is still there'
}

case_missing_parent_directories_are_created() {
	umask 022
	# shellcheck disable=SC2016 # for the inner shell
	launch --state-dir="$tmp/a/b/st" stat -c %a "$tmp/a" "$tmp/a/b" "$tmp/a/b/st"
	assert_eq modes "$(printf '755\n755\n755')" "$out"
	[ ! -e "$tmp/a/b/st" ] || fail 'the state directory is still there'
}

case_special_characters_in_the_path_work() {
	need_slirp4netns
	state="$tmp/two  words'\"\$(x)%d,ü"
	# shellcheck disable=SC2016 # for the inner shell
	launch --state-dir="$state" --net=slirp4netns --disable-host-loopback --detach-netns --port-driver=builtin \
		sh -c 'echo "$ROOTLESSKIT_STATE_DIR"; rootlessctl list-ports --json; nsenter --net="$ROOTLESSKIT_STATE_DIR/netns" ip -br a show tap0'
	assert_match output "$state
tap0*10.0.2.100/24*" "$out"
	assert_eq error '' "$err"
	[ ! -e "$state" ] || fail 'the state directory is still there'
}

case_a_path_through_an_absolute_link_works() {
	need_slirp4netns
	mkdir "$tmp/real"
	ln -s "$tmp/real" "$tmp/link"
	# As with /var/run, a link to /run.
	# shellcheck disable=SC2016 # for the inner shell
	launch --state-dir="$tmp/link/st" --net=slirp4netns --disable-host-loopback --detach-netns --port-driver=builtin \
		sh -c 'echo "$ROOTLESSKIT_STATE_DIR"; nsenter --net="$ROOTLESSKIT_STATE_DIR/netns" ip -br a show tap0'
	assert_eq error '' "$err"
	assert_match output "$tmp/link/st
tap0*10.0.2.100/24*" "$out"
	assert_eq 'files that are left' '' "$(ls -A "$tmp/real")"
}

case_without_state_dir_a_temporary_directory_is_used() {
	# shellcheck disable=SC2016 # for the inner shell
	show='echo "$ROOTLESSKIT_STATE_DIR"; stat -c %a "$ROOTLESSKIT_STATE_DIR"'
	mkdir "$tmp/tmpdir"
	TMPDIR=$tmp/tmpdir launch sh -c "$show"
	assert_match output "$tmp/tmpdir/rootlesskit*
700" "$out"
	assert_eq 'files that are left' '' "$(ls -A "$tmp/tmpdir")"
	launch --state-dir="$tmp/st" sh -c 'exit 3'
	TMPDIR=$tmp/tmpdir launch sh -c 'exit 3'
	assert_eq 'files that are left after a failure' '' "$(ls -A "$tmp/tmpdir")"
	TMPDIR='' launch sh -c "$show"
	assert_match 'without TMPDIR' "/tmp/rootlesskit*
700" "$out"
	[ ! -e "${out%
*}" ] || fail "the state directory is still there: $out"
	# shellcheck disable=SC2016 # for the inner shell
	TMPDIR=$tmp/tmpdir launch --state-dir= sh -c 'echo "$ROOTLESSKIT_STATE_DIR"'
	assert_match 'with an empty --state-dir' "$tmp/tmpdir/rootlesskit*" "$out"
	TMPDIR=$tmp/nowhere refused "mkdir $tmp/nowhere*: no such file or directory; try another TMPDIR, or --state-dir" true
}

# With each limit, another step of the start is the one that fails.
case_a_start_with_too_few_descriptors_leaves_no_temporary_directory() {
	mkdir "$tmp/tmpdir"
	for n in 4 5 6 7 8 9 10 12 14; do
		# shellcheck disable=SC3045 # dash and bash have it
		(
			ulimit -n "$n"
			TMPDIR=$tmp/tmpdir exec rootlesskit --net=none --port-driver=builtin true
		) >>"$tmp/out" 2>&1 || true
		assert_eq "files that are left with $n" '' "$(ls -A "$tmp/tmpdir")"
	done
	grep -q 'too many open files' "$tmp/out" || fail "no start failed because of too few descriptors: $(cat "$tmp/out")"
}

case_the_users_own_directory_is_removed_at_the_end() {
	mkdir "$tmp/st"
	chmod 700 "$tmp/st"
	launch --state-dir="$tmp/st" stat -c %a "$tmp/st"
	assert_eq 'mode of the existing directory' 700 "$out"
	[ ! -e "$tmp/st" ] || fail 'the state directory is still there'
	mkdir "$tmp/st"
	launch --state-dir="$tmp/st" nosuchcommand
	[ ! -e "$tmp/st" ] || fail 'the state directory is still there after a failure'
}

case_a_shared_flock_protects_the_directory_from_systemd_tmpfiles() {
	start sleep 60
	# systemd-tmpfiles leaves a directory alone if it cannot lock it exclusively.
	assert_fails flock -n -x "$state" true
	flock -n -s "$state" true
	assert_fails flock -n -s "$state/lock" true
	stop
	mkdir "$state"
	flock -n -x "$state" true
}

case_files_of_the_command_are_removed_with_the_directory() {
	mkdir "$tmp/kept"
	echo content >"$tmp/kept/file"
	for dir in "$tmp/st" ''; do
		# shellcheck disable=SC2016 # for the inner shell
		TMPDIR=$tmp launch --state-dir="$dir" --net=none --port-driver=builtin sh -c '
			cd "$ROOTLESSKIT_STATE_DIR"
			echo $$ >my.pid
			mkdir -p sub/deep gvisortapvsock
			echo x >sub/deep/file
			chmod 0 sub/deep
			ln -s "$1" sub/link' - "$tmp/kept"
		assert_eq status 0 "$rc"
		assert_eq warnings '' "$(cat "$tmp/err")"
		assert_eq 'files that are left' 'err kept log out' "$(find "$tmp" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | tr '\n' ' ' | sed 's/ $//')"
		assert_eq content content "$(cat "$tmp/kept/file")"
	done
}

case_files_of_a_killed_launchers_command_are_removed_by_the_next_one() {
	# shellcheck disable=SC2016 # for the inner shell
	start sh -c 'cd "$ROOTLESSKIT_STATE_DIR"; mkdir sub; echo $$ >sub/file; echo $$ >my.pid; exec sleep 60'
	wait_until 5 test -s "$state/my.pid"
	send_signal KILL "$pid"
	wait_until 5 has_ended "$child"
	await_end "$pid"
	: >"$state/.nfs0000000000a1b2c300000001"
	: >"$state/vpnkit-ethernet.sock"
	start sleep 60
	assert_eq files 'api.sock
child_pid
lock' "$(find "$state" -mindepth 1 -printf '%f\n' | LC_ALL=C sort)"
	stop
}

# On the host these files belong to subordinate IDs, so the user may not remove them there.
case_files_of_subordinate_users_are_removed_too() {
	# shellcheck disable=SC2016 # for the inner shell
	make='cd "$ROOTLESSKIT_STATE_DIR"; mkdir sub; echo x >sub/file; chmod 700 sub; chown -R 5:5 sub; touch ready'
	launch --state-dir="$tmp/st" --net=none sh -c "$make"
	assert_eq status 0 "$rc"
	assert_eq warnings '' "$(cat "$tmp/err")"
	[ ! -e "$tmp/st" ] || fail 'the state directory is still there'
	start sh -c "$make; exec sleep 60"
	wait_until 5 test -e "$state/ready"
	send_signal KILL "$pid"
	wait_until 5 has_ended "$child"
	await_end "$pid"
	refused "remove $state/sub: permission denied; try \`rootlesskit rm -rf $state\`" --state-dir="$state" true
	launch rm -rf "$state"
	launch --state-dir="$state" true
	assert_eq 'status and error after that command' 0 "$rc$err"
}

# To remove such files, the launcher starts a process that joins the user namespace of the child, but
# stays in the host's network namespace. Here a process that the command has left inside tries to trace
# it.
case_the_process_that_removes_files_cannot_be_traced_from_inside() {
	cat >"$tmp/left.py" <<-'EOF'
		import ctypes, os, re, sys, time
		PTRACE_SEIZE, EPERM = 0x4206, 1
		libc = ctypes.CDLL(None, use_errno=True)
		libc.ptrace.argtypes = [ctypes.c_long] * 4
		out, launcher, child = sys.argv[1], os.environ["LAUNCHER"], str(os.getppid())

		def status(pid):
		    try:
		        with open(f"/proc/{pid}/status") as f:
		            return f.read()
		    except OSError:
		        return ""

		def has_parent(pid):
		    return re.search(f"^PPid:\t{launcher}$", status(pid), re.M) is not None

		def new_child(old):
		    for pid in os.listdir("/proc"):
		        if pid.isdigit() and pid not in old and has_parent(pid):
		            return pid
		    return None

		# Tries to trace the process until that succeeds or the process has ended.
		def trace(pid):
		    while re.search("^State:\t[^ZX]", status(pid), re.M):
		        if libc.ptrace(PTRACE_SEIZE, int(pid), 0, 0) == 0:
		            return "traced, in " + os.readlink(f"/proc/{pid}/ns/net")
		        if ctypes.get_errno() != EPERM:
		            break
		        joined = "CapEff:\t0000000000000000" not in status(pid)
		        seen.add("after it joined" if joined else "before")
		    return "refused " + ", ".join(sorted(seen))

		os.mkdir("sub")
		for i in range(3000):
		    open(f"sub/{i}", "w").close()
		os.chmod("sub", 0o700)
		os.chown("sub", 5, 5)
		if os.fork():
		    while not os.path.exists(out + ".ready"):
		        time.sleep(0.01)
		    sys.exit(0)
		os.setsid()
		seen, old, found, until = set(), set(os.listdir("/proc")), None, time.monotonic() + 20
		open(out + ".ready", "w").close()
		while found is None and time.monotonic() < until:
		    found = new_child(old)
		with open(out + ".new", "w") as f:
		    f.write(trace(found) if found else "not seen")
		os.rename(out + ".new", out)
	EOF
	# shellcheck disable=SC2016 # for the inner shells
	rc=0
	sh -c 'LAUNCHER=$$ exec rootlesskit --state-dir="$1/st" --net=none --port-driver=builtin \
		sh -c "cd \"\$ROOTLESSKIT_STATE_DIR\" && exec python3 \"\$1/left.py\" \"\$1/traced\"" - "$1"' - "$tmp" ||
		rc=$?
	wait_until 30 test -e "$tmp/traced"
	assert_match 'the attempt' 'refused after it joined*' "$(cat "$tmp/traced")"
	assert_eq status 0 "$rc"
	[ ! -e "$tmp/st" ] || fail 'the state directory is still there'
}

# On tmpfs, a program that removes all files of a directory never comes to an end while others create
# files there. The command ends as soon as four processes have created so many files that removing them
# takes some time.
case_processes_that_keep_creating_files_do_not_delay_the_end() {
	cat >"$tmp/make.py" <<-'EOF'
		import os, time
		os.chdir(os.environ["ROOTLESSKIT_STATE_DIR"])
		def inodes():
		    fs = os.statvfs(".")
		    return fs.f_files - fs.f_ffree

		if os.fork():
		    while inodes() < 30000:
		        time.sleep(0.01)
		    os._exit(0)
		os.setsid()
		os.fork()
		os.fork()
		end, count = time.monotonic() + 40, 0
		while time.monotonic() < end:
		    count += 1
		    try:
		        os.mknod(f"{os.getpid()}.{count}")
		    except OSError:
		        os._exit(0)
	EOF
	mkdir "$tmp/shm"
	# shellcheck disable=SC2016 # for the inner shell
	unshare -Urm sh -c 'mount -t tmpfs tmpfs "$1/shm" && timeout -k 5 25 rootlesskit --state-dir="$1/shm/st" \
		--subid-source=self --net=none --port-driver=builtin python3 "$1/make.py"; echo $? $(ls "$1/shm")' \
		- "$tmp" >"$tmp/out" 2>"$tmp/err"
	assert_eq 'status and files that are left' 0 "$(cat "$tmp/out")"
}

# A user who may rename the directory could put a link in its place.
case_a_directory_that_others_could_replace_is_refused() {
	mkdir "$tmp/open" "$tmp/open/sub"
	chmod 777 "$tmp/open"
	why="$tmp/open may be written by others and has no sticky bit, *chmod o-w $tmp/open*"
	refused "directory $tmp/open/st is not safe: $why try another --state-dir" --state-dir="$tmp/open/st" true
	refused "directory $tmp/open/sub/a/st is not safe: $why" --state-dir="$tmp/open/sub/a/st" true
	TMPDIR=$tmp/open refused "*$why try another TMPDIR, or --state-dir" true
	ln -s "$tmp/open/sub" "$tmp/link"
	refused "directory $tmp/link/st is not safe: $why" --state-dir="$tmp/link/st" true
	assert_eq 'what was created' "$tmp/open/sub" "$(find "$tmp/open" -mindepth 1)"
	chmod 1777 "$tmp/open"
	launch --state-dir="$tmp/open/sub/st" true
	assert_eq 'status and error with a sticky bit' 0 "$rc$err"
	TMPDIR=$tmp/open launch true
	assert_eq 'status and error in a TMPDIR with a sticky bit' 0 "$rc$err"
	for mode in 777 1777 757; do
		chmod "$mode" "$tmp/open/sub"
		refused "*$tmp/open/sub may be written by others*" --state-dir="$tmp/open/sub" true
	done
	chmod 755 "$tmp/open/sub"
	launch --state-dir="$tmp/open/sub" true
	assert_eq 'status and error in a directory that only the user may write' 0 "$rc$err"
}

# Where each user has a group of their own, umask 002 is usual.
case_a_directory_writable_by_the_users_own_group_is_accepted() {
	[ "$(id -un)" = "$(id -gn)" ] || skip group 'the user has no group of their own'
	umask 002
	mkdir "$tmp/home" "$tmp/home/st"
	assert_eq mode 775 "$(stat -c %a "$tmp/home/st")"
	for dir in "$tmp/home/st" "$tmp/home/st" "$tmp/home/a/st"; do
		launch --state-dir="$dir" true
		assert_eq "status with $dir" 0 "$rc$err"
	done
	if command -v setfacl >/dev/null && setfacl -m u:1:rwx "$tmp/home" 2>/dev/null; then
		refused "*$tmp/home may be written by its group*" --state-dir="$tmp/home/st" true
	fi
}

# The launcher runs as user 1000 of a user namespace that has its own /etc/passwd and /etc/group.
case_a_directory_writable_by_a_shared_group_is_refused() {
	chmod 711 "$tmp"
	cat >"$tmp/inside" <<'EOF'
		set -eu
		cd "$1"
		umask 022
		mkdir dir
		: >passwd
		: >group
		chown 1000:1000 dir
		chmod 775 dir
		mount --bind passwd /etc/passwd
		mount --bind group /etc/group
		# try PASSWD GROUP: prints the status of a start with these files, and why it was refused
		try() {
			printf "$1" >passwd
			printf "$2" >group
			rc=0
			setpriv --reuid 1000 --regid 1000 --clear-groups rootlesskit --subid-source=self \
				--state-dir=dir/st true 2>err.inner || rc=$?
			echo "$rc$(sed -n 's/.* is not safe: .* \(may be written by [^ ]* [^ ]*\).*/ \1/p' err.inner)"
		}
		try 'a:x:1000:1000::/:\n' 'a:x:1000:\n'
		try 'a:x:1000:1000::/:\n' 'a:x:1000:a\n'
		try '' ''
		try 'a:x:1000:1000::/:\n' 'a:x:1000:b\n'
		try 'a:x:1000:1000::/:\n' 'a:x:1000:a,b\n'
		try 'a:x:1000:1000::/:\nb:x:1001:1000::/:\n' 'a:x:1000:\n'
EOF
	launch --state-dir="$tmp/outer" --net=none sh "$tmp/inside" "$tmp"
	assert_eq error '' "$err"
	assert_eq output '0
0
0
1 may be written by its group
1 may be written by its group
1 may be written by its group' "$out"
	# shellcheck disable=SC2016 # for the inner shell
	launch --state-dir="$tmp/outer" --net=none sh -c 'chown 0:0 "$1/dir"' - "$tmp"
}

# Inside, the test user has UID 0, the host's root shows as 65534, and UID 1 is another user.
case_paths_that_other_users_own_are_refused() {
	chmod 711 "$tmp"
	cat >"$tmp/inside" <<'EOF'
		set -eu
		cd "$1"
		as() { setpriv --reuid 1 --regid 1 --clear-groups "$@"; }
		try() {
			rc=0
			rootlesskit --subid-source=self --state-dir="$1" true 2>err.inner || rc=$?
			echo "$1: $rc $(sed -n 's/^\[rootlesskit:parent\] error: //p' err.inner)"
		}
		umask 022
		mkdir fine others sticky group
		try fine/st
		chown 1 others
		try others/st
		chmod 1777 sticky
		as mkdir sticky/dir
		try sticky/dir
		try sticky/dir/st
		as ln -s "$1/fine" sticky/link
		try sticky/link/st
		ln -s "$1/fine" sticky/own
		try sticky/own/st
		chgrp 5 group
		chmod 775 group
		try group/st
		ls -A fine others group
EOF
	# Directories above $tmp belong to the host's root, which is accepted.
	launch --state-dir="$tmp/outer" --net=none sh "$tmp/inside" "$tmp"
	assert_eq error '' "$err"
	assert_match output "fine/st: 0*
others/st: 1 directory $tmp/others/st is not safe: $tmp/others belongs to user 1, who could*
sticky/dir: 1 *belongs to user 1*
sticky/dir/st: 1 directory $tmp/sticky/dir/st is not safe: $tmp/sticky/dir belongs to user 1*
sticky/link/st: 1 directory $tmp/sticky/link/st is not safe: $tmp/sticky/link is a symbolic link of user 1*
sticky/own/st: 0*
group/st: 1 directory $tmp/group/st is not safe: $tmp/group may be written by its group*
fine:

group:

others:" "$out"
	# shellcheck disable=SC2016 # for the inner shell
	launch --state-dir="$tmp/outer" --net=none sh -c 'chown 0 "$1/others"; rm -rf "$1/sticky"' - "$tmp"
}

# The user mounts something in the state directory, in the mount namespace where the launcher runs.
case_a_mount_in_the_directory_is_not_entered() {
	mkdir "$tmp/precious"
	echo content >"$tmp/precious/file"
	cat >"$tmp/inside" <<'EOF'
		set -eu
		cd "$1"
		mkfifo go
		rootlesskit --subid-source=self --state-dir="$1/st" sh -c 'cat go' 2>err.inner &
		timeout 20 sh -c 'until [ -e st/child_pid ]; do sleep 0.02; done'
		mkdir st/mount st/sub
		mount --bind precious st/mount
		echo >go
		wait $!
		ls -A st st/mount
		cat err.inner
		rootlesskit --subid-source=self --state-dir="$1/st" true 2>&1 | grep error
		umount st/mount
		rootlesskit --subid-source=self --state-dir="$1/st" true
		ls -d st 2>/dev/null || echo gone
EOF
	launch --state-dir="$tmp/outer" --net=none sh "$tmp/inside" "$tmp"
	assert_match output "
st:
child_pid
lock
mount

st/mount:
file
*state directory $tmp/st stays: remove $tmp/st/mount: it is mounted or in use*
*error: remove $tmp/st/mount: it is mounted or in use
gone" "$out"
	assert_eq content content "$(cat "$tmp/precious/file")"
}

run_cases \
	the_hosts_network_needs_three_state_files \
	the_builtin_port_driver_adds_its_two_state_files \
	slirp4netns_adds_hosts_and_resolv_conf_to_the_state_files \
	a_detached_namespace_is_a_state_file \
	file_modes_do_not_depend_on_the_umask \
	child_pid_names_the_child \
	the_state_directory_is_complete_before_the_command_starts \
	a_second_launcher_with_the_same_directory_fails_at_once \
	racing_launchers_use_a_directory_one_at_a_time \
	files_of_a_killed_launcher_are_removed_by_the_next_one \
	a_directory_with_foreign_files_is_refused_and_unchanged \
	files_with_our_names_but_no_lock_are_foreign \
	a_lock_file_alone_does_not_mark_a_state_directory \
	a_dangling_link_is_refused_at_once \
	a_directory_of_another_user_is_refused \
	links_with_our_names_are_removed_not_followed \
	a_lock_that_is_a_link_is_refused \
	a_full_file_system_is_reported_with_the_fix \
	a_full_file_system_is_reported_with_the_fix_for_networks \
	a_nonempty_directory_with_our_name_is_refused \
	a_directory_that_is_not_writable_is_refused \
	a_path_that_is_not_a_directory_is_refused \
	a_path_too_long_for_a_socket_is_refused_with_the_limit \
	a_relative_path_becomes_absolute \
	missing_parent_directories_are_created \
	special_characters_in_the_path_work \
	a_path_through_an_absolute_link_works \
	without_state_dir_a_temporary_directory_is_used \
	a_start_with_too_few_descriptors_leaves_no_temporary_directory \
	the_users_own_directory_is_removed_at_the_end \
	a_shared_flock_protects_the_directory_from_systemd_tmpfiles \
	files_of_the_command_are_removed_with_the_directory \
	files_of_a_killed_launchers_command_are_removed_by_the_next_one \
	files_of_subordinate_users_are_removed_too \
	the_process_that_removes_files_cannot_be_traced_from_inside \
	processes_that_keep_creating_files_do_not_delay_the_end \
	a_directory_that_others_could_replace_is_refused \
	a_directory_writable_by_the_users_own_group_is_accepted \
	a_directory_writable_by_a_shared_group_is_refused \
	paths_that_other_users_own_are_refused \
	a_mount_in_the_directory_is_not_entered
