#!/bin/sh
# The child's mounts: copy-up, propagation and /sys. The host's files and mounts must not change.
. "$(dirname "$0")/lib.sh"

# ---- trees ----

# make_tree DIR: creates a directory with files of all types. Sets `tree` to it.
make_tree() {
	mkdir -p "$1/sub/deep"
	echo one >"$1/file"
	echo nested >"$1/sub/deep/nested"
	echo hidden >"$1/.hidden"
	echo odd >"$1/two  words"
	echo odd >"$1/new
line"
	: >"$1/--empty"
	ln -s file "$1/relative"
	ln -s ../tree/sub "$1/upward"
	ln -s /proc/self/comm "$1/absolute"
	ln -s /nonexistent/x "$1/dangling"
	mkfifo "$1/fifo"
	chmod 600 "$1/.hidden"
	tree=$1
}

# sum_of DIR: prints a checksum of the names, metadata and contents of all files below a directory
sum_of() {
	(
		cd "$1"
		find . -printf '%p %y %m %U %G %s %l %T@\n' | LC_ALL=C sort
		find . -type f -exec cat {} + | cksum
	) | cksum
}

# untouched COMMAND...: runs a command, and checks that nothing has changed in $tree and beside it
untouched() {
	sum=$(sum_of "$tree")
	beside=$(ls -A "$tree/..")
	"$@"
	assert_eq "tree after $*" "$sum" "$(sum_of "$tree")"
	assert_eq "directory of the tree after $*" "$beside" "$(ls -A "$tree/..")"
}

# ---- copy-up ----

case_a_copied_up_directory_is_a_tmpfs_of_links() {
	mkdir "$tmp/host"
	make_tree "$tmp/host/tree"
	cat >"$tmp/command" <<-'EOF'
		set -eu
		cd "$1"
		stat -f -c %T .
		ro=$(echo .ro*)
		[ -d "$ro" ] && [ ! -L "$ro" ]
		for name in file sub .hidden 'two  words' 'new
		line' --empty fifo; do
			[ "$(readlink -- "$name")" = "$ro/$name" ] || echo "$name is $(readlink -- "$name")"
		done
		for name in relative upward absolute dangling; do
			[ "$(readlink "$name")" = "$(readlink "$ro/$name")" ] || echo "$name is $(readlink "$name")"
		done
		cat file sub/deep/nested .hidden 'two  words' relative upward/deep/nested
		stat -c %a .hidden -L
		[ -p fifo ] && echo fifo
		find . -mindepth 1 -maxdepth 1 -print0 | tr -dc '\0' | wc -c
	EOF
	count=$(find "$tree" -mindepth 1 -maxdepth 1 -print0 | tr -dc '\0' | wc -c)
	untouched launch --copy-up="$tree" sh "$tmp/command" "$tree"
	assert_eq error '' "$err"
	assert_eq output "tmpfs
one
nested
hidden
odd
one
nested
600
fifo
$((count + 1))" "$out"
}

case_changes_in_a_copied_up_directory_do_not_reach_the_host() {
	mkdir "$tmp/host"
	make_tree "$tmp/host/tree"
	cat >"$tmp/command" <<-'EOF'
		set -eu
		cd "$1"
		rm file relative absolute dangling fifo sub ./--empty
		echo new >file
		mkdir sub more
		echo new >sub/x
		ln -s file relative
		mv .hidden shown
		cat file sub/x relative shown
	EOF
	untouched launch --copy-up="$tree" sh "$tmp/command" "$tree"
	assert_eq error '' "$err"
	assert_eq output 'new
new
new
hidden' "$out"
	# Behind a link there is the host's own directory.
	launch --copy-up="$tree" sh -c "echo written >'$tree/sub/deep/new'"
	assert_eq 'file behind a link' written "$(cat "$tree/sub/deep/new")"
}

case_several_directories_can_be_copied_up() {
	mkdir -p "$tmp/host/a" "$tmp/host/b" "$tmp/host/c"
	make_tree "$tmp/host/tree"
	show="stat -f -c %T '$tmp/host/a' '$tmp/host/b' '$tmp/host/c' '$tree'; cat '$tree/file'"
	plain=$(sh -c "$show" | head -n 1)
	[ "$plain" != tmpfs ] || skip tmpfs "$tmp is on a tmpfs, so its type does not show whether it was copied up"
	copied=$(printf 'tmpfs\ntmpfs\n%s\ntmpfs\none' "$plain")
	untouched launch --copy-up="$tmp/host/a" --copy-up="$tmp/host/b" --copy-up "$tree" sh -c "$show"
	assert_eq 'types with repeated options' "$copied" "$out$err"
	untouched launch --copy-up="$tmp/host/a,$tmp/host/b,$tree" sh -c "$show"
	assert_eq 'types with a list' "$copied" "$out$err"
	untouched launch --copy-up="$tmp/host/a/" --copy-up="$tmp/host/b//,$tree/" sh -c "$show"
	assert_eq 'types with trailing slashes' "$copied" "$out$err"
	untouched launch --copy-up-mode=tmpfs+symlink --copy-up="$tree" sh -c "$show"
	assert_eq 'types with --copy-up-mode' "$(printf '%s\n%s\n%s\ntmpfs\none' "$plain" "$plain" "$plain")" "$out$err"
}

case_nested_and_repeated_directories_can_be_copied_up() {
	mkdir "$tmp/host"
	make_tree "$tmp/host/tree"
	show="cat '$tree/sub/deep/nested'; touch '$tree/new' '$tree/sub/new'; stat -f -c %T '$tree' '$tree/sub/'"
	untouched launch --copy-up="$tree" --copy-up="$tree/sub" sh -c "$show"
	assert_eq 'output with the outer directory first' "$(printf 'nested\ntmpfs\ntmpfs')" "$out$err"
	untouched launch --copy-up="$tree/sub" --copy-up="$tree" sh -c "$show"
	assert_eq 'output with the inner directory first' "$(printf 'nested\ntmpfs\ntmpfs')" "$out$err"
	untouched launch --copy-up="$tree" --copy-up="$tree" sh -c "cat '$tree/file'; stat -f -c %T '$tree'"
	assert_eq 'output with the same directory twice' "$(printf 'one\ntmpfs')" "$out$err"
}

# For `sh -c "$rights" - DIR...`: prints mode and owner of each directory.
# shellcheck disable=SC2016 # for the inner shell
rights='for d; do stat -c "%a %u:%g" "$d"; done'

case_a_copied_up_directory_keeps_its_mode() {
	for umask in 022 077 000; do
		for mode in 755 750 700 555 1777 777 2775 3770 775; do
			dir=$tmp/$umask.$mode
			mkdir "$dir"
			: >"$dir/file"
			chmod $mode "$dir"
			(umask $umask && launch --copy-up="$dir" sh -c "$rights; stat -c %a \"\$1\"/.ro*" - "$dir" &&
				assert_eq "mode and owner, and mode of .ro*, with umask $umask" "$mode 0:0
$mode" "$out$err")
		done
	done
}

case_a_copied_up_directory_keeps_its_owner() {
	mkdir "$tmp/own" "$tmp/sub" "$tmp/nobody"
	chmod 2755 "$tmp/own" "$tmp/sub"
	rootlesskit sh -c "chown 5:6 '$tmp/sub'; chmod 2755 '$tmp/sub'; chown 65534:65534 '$tmp/nobody'"
	for umask in 022 077 000; do
		(umask $umask && launch --copy-up="$tmp/own" --copy-up="$tmp/sub" sh -c "$rights" - "$tmp/own" "$tmp/sub" &&
			assert_eq "modes and owners with umask $umask" '2755 0:0
2755 5:6' "$out$err")
	done
	# The host's root has no ID inside, where it shows as 65534. That number is also a subordinate ID.
	# shellcheck disable=SC2016 # for the inner shell
	launch --copy-up=/etc --copy-up=/var/tmp --copy-up="$tmp/nobody" sh -c "$rights" - /etc /var/tmp "$tmp/nobody"
	assert_eq 'modes and owners of directories whose owner has no ID inside' "$(stat -c %a /etc) 0:0
$(stat -c %a /var/tmp) 0:0
$(stat -c %a "$tmp/nobody") 0:0" "$out$err"
	launch --subid-source=self --copy-up="$tmp/sub" sh -c "$rights" - "$tmp/sub"
	assert_eq 'mode and owner with one ID inside' '2755 0:0' "$out$err"
	rootlesskit rm -r "$tmp/sub" "$tmp/nobody"
}

# /etc/ld.so.preload is loaded into every program of root inside, who is the user of the host.
case_a_subordinate_user_cannot_create_a_file_in_a_copied_up_etc() {
	for umask in 022 000; do
		for id in 1 1000 65534 65535; do
			(umask $umask && launch --copy-up=/etc --copy-up=/var/lib sh -c "
				setpriv --reuid $id --regid $id --clear-groups sh -c '
					for f in /etc/ld.so.preload /etc/.ro*/x /var/lib/x /etc/hosts; do
						(echo x >>\$f) 2>/dev/null && echo \"\$f: created\"
					done
					ls /etc/passwd'; touch /etc/ld.so.preload" &&
				assert_eq "files that user $id sees or creates with umask $umask" /etc/passwd "$out$err")
		done
	done
}

# set_acl FILE ENTRY...: sets the access ACL of a file. An entry has the form TAG:PERMISSIONS:ID.
set_acl() {
	need python3
	python3 -c 'import os, struct, sys
tags = dict(u=1, user=2, g=4, group=8, mask=16, other=32)
acl = struct.pack("<I", 2)
for entry in sys.argv[2:]:
    tag, perm, id = entry.split(":")
    acl += struct.pack("<HHI", tags[tag], int(perm), int(id) & 0xffffffff)
os.setxattr(sys.argv[1], "system.posix_acl_access", acl)' "$@" 2>"$tmp/acl" ||
		skip acl "no ACL can be set here: $(tail -n 1 "$tmp/acl")"
}

# The group bits of a file's mode show the mask of its ACL, which may be more than the owning group may do.
case_an_ACL_grants_no_more_after_copy_up() {
	mkdir "$tmp/acl.d"
	chmod 755 "$tmp"
	set_acl "$tmp/acl.d" u:7:-1 user:7:0 g:5:-1 mask:7:-1 other:5:-1
	assert_eq 'mode of the original' 775 "$(stat -c %a "$tmp/acl.d")"
	# The host's root has no ID inside, so its entry is dropped. The owning group still may not write.
	launch --copy-up="$tmp/acl.d" python3 -c 'import os, sys
print(os.getxattr(sys.argv[1], "system.posix_acl_access").hex())' "$tmp/acl.d"
	assert_eq 'the ACL' 0200000001000700ffffffff04000500ffffffff10000700ffffffff20000500ffffffff "$out$err"
	# A user whose entry can be mapped may write. Others may not.
	first=$(grep "^$(id -un):" /etc/subuid | head -n 1 | cut -d: -f2)
	set_acl "$tmp/acl.d" u:7:-1 "user:7:$first" "user:0:$((first + 1))" g:5:-1 mask:7:-1 other:5:-1
	launch --copy-up="$tmp/acl.d" sh -c "for id in 1 2 3; do
		setpriv --reuid \$id --regid \$id --clear-groups sh -c 'touch \"$tmp/acl.d/\$0\" && echo \$0 writes' \$id
		setpriv --reuid \$id --regid \$id --clear-groups ls '$tmp/acl.d' >/dev/null && echo \$id reads
		done 2>/dev/null; true"
	assert_eq 'who may write and read' '1 writes
1 reads
3 reads' "$out$err"
}

case_a_directory_in_the_home_can_be_copied_up() {
	home=$(mktemp -d "$HOME/e2e.XXXXXX")
	trap 'rm -rf "$home"' EXIT
	make_tree "$home/tree"
	# shellcheck disable=SC2016 # for the inner shell
	untouched launch --copy-up="$home/tree" sh -c 'cd "$1" && cat file && rm file && echo x >y && stat -f -c %T .' - "$home/tree"
	assert_eq output "$(printf 'one\ntmpfs')" "$out$err"
}

case_system_directories_can_be_copied_up() {
	launch --copy-up=/etc --copy-up=/run --copy-up=/var/lib sh -c \
		'stat -f -c %T /etc /run /var/lib; touch /etc/e2e /run/e2e /var/lib/e2e && id -un && ls /etc /var/lib >/dev/null'
	assert_eq output "$(printf 'tmpfs\ntmpfs\ntmpfs\nroot')" "$out$err"
	assert_fails ls /etc/e2e /run/e2e /var/lib/e2e
}

# As with a state directory in /run/user and --copy-up=/run.
case_a_parent_of_the_state_directory_can_be_copied_up() {
	port=$(free_port)
	mkdir -p "$tmp/run/user/1000"
	make_page 'hello from inside'
	for holder in "$tmp/run" "$tmp/run/user/1000"; do
		for net in '--net=host' '--net=none --port-driver=builtin'; do
			# shellcheck disable=SC2086 # options
			launch --state-dir="$tmp/run/user/1000/st" $net --copy-up="$holder" sh -c \
				'cd $ROOTLESSKIT_STATE_DIR && [ "$(cat child_pid)" = $PPID ] && ls -A && curl -sf --unix-socket api.sock http://x/v1/info >/dev/null && echo answered'
			assert_eq "error of $holder $net" '' "$err"
			assert_match "output of $holder $net" 'api.sock
child_pid
lock
answered' "$(echo "$out" | grep -v '^\.bp')"
			assert_eq "files that are left in $holder" '' "$(ls -A "$tmp/run/user/1000")"
		done
	done
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" --copy-up="$tmp" \
		busybox httpd -f -p 127.0.0.1:80 -h "$tmp/www"
	[ ! -e "$state/.copy-up" ] || fail '.copy-up is still there'
	wait_until 5 fetch "http://127.0.0.1:$port/"
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
	stop
}

case_a_detached_namespace_works_with_a_copied_up_state_directory() {
	need_slirp4netns
	mkdir -p "$tmp/run/user"
	# shellcheck disable=SC2016 # for the inner shell
	launch --state-dir="$tmp/run/user/st" --net=slirp4netns --disable-host-loopback --detach-netns \
		--port-driver=builtin --copy-up="$tmp/run" sh -c 'nsenter --net="$ROOTLESSKIT_STATE_DIR/netns" ip -br a show tap0; rootlessctl list-ports --json'
	assert_eq error '' "$err"
	assert_match output 'tap0*10.0.2.100/24*' "$out"
	assert_eq 'files that are left' '' "$(ls -A "$tmp/run/user")"
}

# copy_up_fails PATTERN OPTION...: runs a launcher that must fail with an error line of the child that
# matches PATTERN, and one of the parent. Nothing in $tree may be deleted.
copy_up_fails() {
	pattern=$1
	shift
	untouched launch --net=none --port-driver=builtin "$@" touch "$tmp/ran"
	assert_eq "status of $*" 1 "$rc"
	assert_match "error of $*" "\[rootlesskit:child \] error: $pattern
\[rootlesskit:parent\] error: child exited: exit status 1" "$err"
	[ ! -e "$tmp/ran" ] || fail 'the command ran'
	assert_eq 'temporary state directories' '' "$(find "$tmp" -name 'rootlesskit*' -o -name '.copy-up' -o -name '.ro*')"
}

case_a_copy_up_that_fails_deletes_nothing() {
	mkdir "$tmp/host"
	make_tree "$tmp/host/tree"
	for missing in "$tmp/missing" "$tree/dangling"; do
		copy_up_fails "failed to create bind mount on $missing: no such file or directory (--copy-up=$missing); try a directory that exists" \
			--copy-up="$tree" --copy-up="$missing"
		copy_up_fails "failed to create bind mount on $missing: no such file or directory (--copy-up=$missing); try a directory that exists" \
			--copy-up="$missing,$tree"
	done
	copy_up_fails "failed to create bind mount on $tree/file: not a directory (--copy-up=$tree/file); try the directory that it is in" --copy-up="$tree,$tree/file"
	copy_up_fails "failed to create bind mount on $tree/fifo: not a directory (--copy-up=$tree/fifo); try the directory that it is in" --copy-up="$tree/fifo"
	# With a state directory beside the copied-up directory, and with one inside of it.
	mkdir "$tmp/host/run"
	for holder in "$tree" "$tmp/host/run"; do
		copy_up_fails '*missing*' --state-dir="$tmp/host/run/st" --copy-up="$holder" --copy-up="$tmp/missing"
		copy_up_fails '*missing*' --state-dir="$tmp/host/run/st" --copy-up="$tmp/missing" --copy-up="$holder"
	done
}

# The launcher notices that /root cannot be read only after the tmpfs is mounted over it.
case_a_copy_up_that_fails_late_deletes_nothing() {
	mkdir "$tmp/host"
	make_tree "$tmp/host/tree"
	if ls /root >/dev/null 2>&1; then
		skip root "there is no directory that this user may not read"
	fi
	copy_up_fails 'open /root/.ro*: permission denied*(--copy-up=/root)' --copy-up="$tree" --copy-up=/root
	copy_up_fails 'open /root/.ro*: permission denied*(--copy-up=/root)' --state-dir="$tmp/host/st" --copy-up=/root,"$tree"
}

case_root_tmp_and_relative_paths_cannot_be_copied_up() {
	mkdir "$tmp/host"
	make_tree "$tmp/host/tree"
	ln -s / "$tmp/root"
	while read -r dir; do
		untouched launch --copy-up="$dir" true
		assert_eq "status of $dir" 1 "$rc"
		assert_match "error of $dir" '\[rootlesskit:parent\] error: */* cannot be copied up (--copy-up=*): *; try a directory in it' "$err"
		untouched launch --copy-up="$tree,$dir" true
		assert_match "error of $dir behind another" '\[rootlesskit:parent\] error: */* cannot be copied up (--copy-up=*): *; try a directory in it' "$err"
	done <<-EOF
		/
		//
		/tmp
		/tmp/
	EOF
	# Other paths of the root directory. Depending on the path, the parent or the child refuses it.
	for dir in /. /../ /etc/.. "$tmp/root" "$tmp/root/"; do
		for first in '' "$tree,"; do
			untouched launch --copy-up="$first$dir" touch "$tmp/ran"
			assert_eq "status of $first$dir" 1 "$rc"
			assert_match "error of $first$dir" "\[rootlesskit:*\] error: $dir cannot be copied up*" "$err"
			[ ! -e "$tmp/ran" ] || fail 'the command ran'
		done
	done
	for dir in etc ./etc '' "$tree,"; do
		untouched launch --copy-up="$dir" true
		assert_match "error of $dir" '\[rootlesskit:parent\] error: --copy-up=* is not an absolute path; --copy-up takes a directory such as /etc' "$err"
	done
}

# ---- propagation ----

case_the_root_gets_the_requested_propagation() {
	show='findmnt -no PROPAGATION / | tail -n 1'
	assert_eq default private "$(rootlesskit sh -c "$show")"
	# systemd makes the host's root shared, so that `slave` mounts have a master.
	while read -r propagation expected; do
		unshare -rm --propagation shared \
			rootlesskit --subid-source=self --propagation="$propagation" sh -c "$show" >"$tmp/out" 2>"$tmp/err"
		assert_eq "propagation with $propagation" "$expected" "$(cat "$tmp/out")"
		assert_eq "warnings of $propagation" '' "$(grep -v 'as the root user' "$tmp/err" || true)"
	done <<-'EOF'
		private private
		rprivate private
		slave private,slave
		rslave private,slave
		shared shared,slave
		rshared shared,slave
	EOF
}

case_only_recursive_propagation_changes_other_mounts() {
	mkdir "$tmp/mnt"
	for each in private:private,slave rprivate:private; do
		unshare -rm --propagation shared sh -c '
			mount -t tmpfs none "$1"
			mount --make-shared "$1"
			exec rootlesskit --subid-source=self --propagation="$2" findmnt -no PROPAGATION "$1"
		' - "$tmp/mnt" "${each%%:*}" >"$tmp/out" 2>/dev/null
		assert_eq "propagation of another mount with $each" "${each#*:}" "$(cat "$tmp/out")"
	done
}

# The host mounts a tmpfs with a file `seen` while the command runs.
case_later_mounts_of_the_host_are_seen_with_rslave_and_rshared() {
	mkdir "$tmp/mnt"
	mkfifo "$tmp/up" "$tmp/down"
	for each in rprivate: rslave:seen rshared:seen; do
		# shellcheck disable=SC2016 # for the inner shells
		timeout 20 unshare -rm --propagation shared sh -c '
			rootlesskit --subid-source=self --propagation="$2" sh -c "
				echo ready >\"\$1/up\"
				read -r line <\"\$1/down\"
				ls \"\$1/mnt\"" - "$1" &
			read -r line <"$1/up"
			mount -t tmpfs none "$1/mnt"
			touch "$1/mnt/seen"
			echo mounted >"$1/down"
			wait' - "$tmp" "${each%%:*}" >"$tmp/out" 2>"$tmp/err" || fail "$(cat "$tmp/err")"
		assert_eq "files of the mount with ${each%%:*}" "${each#*:}" "$(cat "$tmp/out")"
	done
}

case_a_private_host_root_causes_a_warning() {
	for propagation in rslave rshared; do
		unshare -rm --propagation private \
			rootlesskit --subid-source=self --propagation=$propagation true 2>"$tmp/err"
		assert_match "warning of $propagation" "*The host root filesystem is mounted as*Setting child propagation to *$propagation* is not supported.*" \
			"$(cat "$tmp/err")"
	done
}

# ---- the host ----

mounts() {
	cat /proc/self/mountinfo
}

case_the_host_sees_no_mount_of_the_child() {
	need_slirp4netns
	mkdir "$tmp/host"
	make_tree "$tmp/host/tree"
	before=$(mounts)
	for detach in '' --detach-netns; do
		# shellcheck disable=SC2086 # nothing or an option
		start --net=slirp4netns --disable-host-loopback --port-driver=builtin --copy-up=/etc --copy-up="$tree" \
			--propagation=rslave $detach sleep 60
		[ "$(inside_mounts cat /proc/self/mountinfo)" != "$before" ] || fail 'the child has no mounts of its own, so this tests nothing'
		assert_eq "mounts of the host $detach" "$before" "$(mounts)"
		stop
		assert_eq "mounts after the end $detach" "$before" "$(mounts)"
	done
	assert_eq file one "$(cat "$tree/file")"
}

# From a shared root, the child's mounts could propagate to the host.
case_a_host_with_shared_mounts_sees_no_mount_of_the_child() {
	mkdir "$tmp/host"
	make_tree "$tmp/host/tree"
	while read -r options; do
		# shellcheck disable=SC2016,SC2086 # for the inner shells; options
		timeout 20 unshare -rm --propagation shared sh -c '
			tmp=$1
			shift
			cat /proc/self/mountinfo >"$tmp/before"
			mkfifo "$tmp/up" "$tmp/down"
			rootlesskit --subid-source=self "$@" sh -c "
				mkdir -p \"\$1/mnt\"
				mount -t tmpfs none \"\$1/mnt\" && echo ready >\"\$1/up\"
				read -r line <\"\$1/down\"" - "$tmp" &
			read -r line <"$tmp/up"
			cat /proc/self/mountinfo >"$tmp/during"
			echo end >"$tmp/down"
			wait
			cat /proc/self/mountinfo >"$tmp/after"
			rm "$tmp/up" "$tmp/down"' - "$tmp" $options 2>"$tmp/err" || fail "$(cat "$tmp/err")"
		for when in during after; do
			cmp "$tmp/before" "$tmp/$when" || fail "$when $options: $(diff "$tmp/before" "$tmp/$when")"
		done
	done <<-EOF
		--net=none --propagation=rslave --copy-up=/etc --copy-up=$tree
		--net=none --propagation=rprivate --copy-up=$tree
		--net=none --detach-netns --propagation=rshared
	EOF
	assert_eq file one "$(cat "$tree/file")"
}

# ---- /sys ----

# Prints the mount points at and below /sys, with the device and root directory of each mount.
sys_mounts() {
	awk '$5 ~ "^/sys(/|$)" { print $5, $3, $4 }' /proc/self/mountinfo
}
sys_mounts_text="awk '\$5 ~ \"^/sys(/|\$)\" { print \$5, \$3, \$4 }' /proc/self/mountinfo"

case_sys_shows_only_the_interfaces_of_the_namespace() {
	need_slirp4netns
	[ "$(cat /sys/class/net/lo/ifindex)" = 1 ] || fail 'this host has no lo'
	launch --net=none ls /sys/class/net
	assert_eq 'interfaces with --net=none' lo "$out$err"
	launch --net=slirp4netns --disable-host-loopback --copy-up=/etc sh -c 'ls /sys/class/net; cat /sys/class/net/tap0/mtu'
	assert_eq 'interfaces and MTU with slirp4netns' "$(printf 'lo\ntap0\n65520')" "$out$err"
}

case_cgroup_mounts_are_kept_in_a_new_sys() {
	[ -d /sys/fs/cgroup ] || skip cgroup 'this host has no /sys/fs/cgroup'
	host=$(sys_mounts | grep ^/sys/fs/cgroup || true)
	for net in none slirp4netns; do
		[ $net = none ] || need_slirp4netns
		launch --net=$net sh -c "$sys_mounts_text | tac"
		# Only the topmost mounts count. They hide those below them.
		assert_eq "cgroups with $net" "$host" \
			"$(echo "$out" | grep ^/sys/fs/cgroup | head -n "$(echo "$host" | wc -l)" | tac)"
		launch --net=$net ls /sys/fs/cgroup
		assert_eq "directory with $net" "$(ls /sys/fs/cgroup)" "$out"
	done
}

case_sys_is_unchanged_with_the_hosts_network() {
	need_slirp4netns
	host=$(sys_mounts)
	for options in --net=host '--net=none --detach-netns' '--net=slirp4netns --disable-host-loopback --detach-netns'; do
		# shellcheck disable=SC2086 # options
		launch $options sh -c "$sys_mounts_text"
		assert_eq "mounts with $options" "$host" "$out$err"
		# shellcheck disable=SC2086 # options
		launch $options ls /sys/class/net
		assert_eq "interfaces with $options" "$(ls /sys/class/net)" "$out"
	done
}

# Reading a directory fails for one descriptor number after the other. One of them is the directory to be
# copied up. The redirections change the number of the launcher's own directory, so that the two differ.
case_an_unreadable_directory_is_never_copied_up_partially() {
	for fd in 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
		rc=0
		"$BUILD/tools/without" "getdents64/$fd=EIO" -- rootlesskit --state-dir="$tmp/state$fd" \
			--subid-source=self --copy-up=/etc test -e /etc/passwd 2>"$tmp/err" \
			3</dev/null 4</dev/null 5</dev/null 6</dev/null || rc=$?
		[ "$rc" -eq 0 ] || assert_match error '*error: *: input/output error*' "$(cat "$tmp/err")"
		cat "$tmp/err" >>"$tmp/all"
	done
	assert_match 'errors of all runs' '*error: *reading /etc/*: input/output error*' "$(cat "$tmp/all")"
}

run_cases \
	an_unreadable_directory_is_never_copied_up_partially \
	a_copied_up_directory_is_a_tmpfs_of_links \
	changes_in_a_copied_up_directory_do_not_reach_the_host \
	several_directories_can_be_copied_up \
	nested_and_repeated_directories_can_be_copied_up \
	a_copied_up_directory_keeps_its_mode \
	a_copied_up_directory_keeps_its_owner \
	a_subordinate_user_cannot_create_a_file_in_a_copied_up_etc \
	an_ACL_grants_no_more_after_copy_up \
	a_directory_in_the_home_can_be_copied_up \
	system_directories_can_be_copied_up \
	a_parent_of_the_state_directory_can_be_copied_up \
	a_detached_namespace_works_with_a_copied_up_state_directory \
	a_copy_up_that_fails_deletes_nothing \
	a_copy_up_that_fails_late_deletes_nothing \
	root_tmp_and_relative_paths_cannot_be_copied_up \
	the_root_gets_the_requested_propagation \
	only_recursive_propagation_changes_other_mounts \
	later_mounts_of_the_host_are_seen_with_rslave_and_rshared \
	a_private_host_root_causes_a_warning \
	the_host_sees_no_mount_of_the_child \
	a_host_with_shared_mounts_sees_no_mount_of_the_child \
	sys_shows_only_the_interfaces_of_the_namespace \
	cgroup_mounts_are_kept_in_a_new_sys \
	sys_is_unchanged_with_the_hosts_network
