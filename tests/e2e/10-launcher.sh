#!/bin/sh
# The launcher: what the command sees, exit statuses and error lines, signals.
. "$(dirname "$0")/lib.sh"

case_version_options_print_3_3_0() {
	launch --version
	assert_match version 'rootlesskit version 3.3.0+rlkbox.[0-9]*.[0-9]*.[0-9]
commit: *
libc: *
network-drivers: host,none,slirp4netns,pasta,lxc-user-nic,builtin,gvisor-tap-vsock
port-drivers: none,builtin,implicit,slirp4netns,pesto,gvisor-tap-vsock' "$out"
	echo "$out" | grep -qxE 'commit: (unknown|[0-9a-f]{40}(-dirty)?)' || fail "no commit: $out"
	echo "$out" | grep -qxE 'libc: (musl|glibc-2\.[0-9]+)' || fail "no C library: $out"
	version=$(echo "$out" | sed -n '1s/.* //p')
	# Scripts get the version in these ways. The other lines must not get into it.
	assert_eq 'cut -f3' "$version" "$(rootlesskit --version | cut -d' ' -f3)"
	assert_eq 'awk $3' "$version" "$(rootlesskit --version | awk '{print $3}')"
	assert_eq 'awk $NF' "$version" "$(rootlesskit --version | awk '/version/ {print $NF}')"
	assert_eq 'sed s/.*version//' "$version" "$(rootlesskit --version | sed -n 's/.*version //p')"
	assert_eq 'grep -o' "$version" "$(rootlesskit --version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+.*')"
	launch -v
	assert_match version 'rootlesskit version 3.3.0+rlkbox.*' "$out"
	for part in major:3 minor:3 patch:0; do
		launch --print-semver "${part%:*}"
		assert_eq "$part" "${part#*:}" "$out"
	done
	launch --print-semver=foo
	assert_eq status 1 "$rc"
	assert_eq error '[rootlesskit:parent] error: expected --print-semver=(major|minor|patch), got "foo"' "$err"
}

case_help_names_every_option() {
	launch --help
	assert_eq status 0 "$rc"
	assert_eq 'standard error' '' "$err"
	for option in debug print-semver state-dir net slirp4netns-binary pasta-binary vpnkit-binary \
		lxc-user-nic-binary slirp4netns-sandbox slirp4netns-seccomp lxc-user-nic-bridge mtu cidr \
		ifname disable-host-loopback ipv6 detach-netns copy-up copy-up-mode port-driver publish \
		source-ip-transparent pidns cgroupns utsns ipcns reaper evacuate-cgroup2 propagation \
		subid-source help version; do
		echo "$out" | grep -qw -- "--$option" || fail "--help does not name --$option"
	done
}

case_the_exit_status_is_that_of_the_command() {
	for status in 0 1 42 255; do
		launch sh -c "exit $status"
		assert_eq status "$status" "$rc"
		if [ "$status" -eq 0 ]; then
			assert_eq error '' "$err"
			continue
		fi
		assert_eq error "[rootlesskit:child ] error: command [sh -c exit $status] exited: exit status $status
[rootlesskit:parent] error: child exited: exit status $status" "$err"
	done
}

case_the_error_names_the_signal_that_ended_the_command() {
	for signal in TERM:terminated KILL:killed USR1:'user defined signal 1' HUP:hangup; do
		launch sh -c "kill -${signal%%:*} \$\$; sleep 5"
		assert_eq status 255 "$rc"
		assert_eq error "[rootlesskit:child ] error: command [sh -c kill -${signal%%:*} \$\$; sleep 5] exited: signal: ${signal#*:}
[rootlesskit:parent] error: child exited: exit status 255" "$err"
	done
}

case_a_command_that_cannot_be_executed_is_an_error_with_the_reason() {
	echo 'not a program' >"$tmp/data"
	chmod 644 "$tmp/data"
	parent='[rootlesskit:parent] error: child exited: exit status 1'
	launch nosuchcommand
	assert_eq status 1 "$rc"
	assert_eq error "[rootlesskit:child ] error: command [nosuchcommand] exited: exec: \"nosuchcommand\": executable file not found in \$PATH
$parent" "$err"
	launch /etc
	assert_eq error "[rootlesskit:child ] error: command [/etc] exited: fork/exec /etc: permission denied; it is a directory: the command is the first word behind the options
$parent" "$err"
	launch "$tmp/data"
	assert_eq error "[rootlesskit:child ] error: command [$tmp/data] exited: fork/exec $tmp/data: permission denied; it is not executable: try chmod +x, or its interpreter as the command
$parent" "$err"
	launch /nonexistent/x
	assert_eq error "[rootlesskit:child ] error: command [/nonexistent/x] exited: fork/exec /nonexistent/x: no such file or directory
$parent" "$err"
	launch "/bin/sh -c true"
	assert_eq error "[rootlesskit:child ] error: command [/bin/sh -c true] exited: fork/exec /bin/sh -c true: no such file or directory; try the command and its arguments as separate words, or sh -c '/bin/sh -c true'
$parent" "$err"
	launch ''
	assert_eq error "[rootlesskit:child ] error: command [] exited: exec: no command; the first word behind the options is empty
$parent" "$err"
	assert_eq 'temporary state directories' '' "$(find "$tmp" -name 'rootlesskit*')"
}

case_too_few_file_descriptors_are_reported_with_ulimit() {
	rc=0
	prlimit --nofile=10 rootlesskit true 2>"$tmp/err" || rc=$?
	assert_eq status 1 "$rc"
	assert_eq error '[rootlesskit:parent] error: pipe: too many open files; try a higher limit of file descriptors: ulimit -n' "$(cat "$tmp/err")"
}

case_a_script_that_cannot_be_executed_is_reported_with_the_fix() {
	while IFS='|' read -r first why; do
		printf %b "$first" >"$tmp/script"
		chmod 755 "$tmp/script"
		launch "$tmp/script"
		assert_eq "status of $first" 1 "$rc"
		assert_eq "error of $first" "[rootlesskit:child ] error: command [$tmp/script] exited: fork/exec $tmp/script: $why
[rootlesskit:parent] error: child exited: exit status 1" "$err"
	done <<-EOF
		#!/nonexistent/sh -e\\n|no such file or directory; its interpreter /nonexistent/sh does not exist
		#! /nonexistent/sh\\n|no such file or directory; its interpreter /nonexistent/sh does not exist
		#!/bin/sh\\r\\n|no such file or directory; its first line ends with a carriage return, as lines of Windows do: try sed -i 's/\\r$//' $tmp/script
		echo hello\\n|exec format error; it has no #! line: try its interpreter as the command, such as sh $tmp/script
		\\177ELF and nothing else|exec format error; it is a program for another architecture
	EOF
	# Following the advice helps.
	printf '#!/bin/sh\r\necho hello\n' >"$tmp/script"
	sed -i 's/\r$//' "$tmp/script"
	launch "$tmp/script"
	assert_eq output hello "$out"
}

case_a_mistyped_command_gets_a_hint() {
	while IFS='|' read -r word way; do
		launch "$word"
		assert_eq "status of $word" 1 "$rc"
		assert_eq "error of $word" "[rootlesskit:child ] error: command [$word] exited: exec: \"$word\": executable file not found in \$PATH$way
[rootlesskit:parent] error: child exited: exit status 1" "$err"
	done <<-'EOF'
		nosuch|
		sh -c true|; try the command and its arguments as separate words, or sh -c 'sh -c true'
		cd|; it is a command of the shell, try sh -c 'cd ...'
		FOO=bar|; try env FOO=bar COMMAND
		help|; try rootlesskit --help
		list-ports|; try rootlessctl list-ports
		run|; rootlesskit has no subcommands: it takes a program, such as sh
		—net=none|; it begins with a long dash: options begin with two plain ones, --
	EOF
}

case_a_missing_command_is_an_error() {
	launch
	assert_eq status 1 "$rc"
	assert_eq error '[rootlesskit:parent] error: no command specified; see `rootlesskit --help`' "$err"
	launch --
	assert_eq error '[rootlesskit:parent] error: no command specified; see `rootlesskit --help`' "$err"
	launch --net sh
	assert_eq 'a forgotten value' '[rootlesskit:parent] error: no command specified; --net took "sh" as its value: if that is the command, try --net=DRIVER sh; see `rootlesskit --help`' "$err"
	launch -- echo --help -v
	assert_eq output '--help -v' "$out"
}

case_the_command_gets_three_more_environment_variables() {
	env | grep -v '^_=' | sort >"$tmp/before"
	launch --state-dir="$tmp/st" env
	echo "$out" | grep -v '^_=' | sort >"$tmp/after"
	cat >"$tmp/expected" <<-EOF
		> ROOTLESSKIT_PARENT_EGID=$(id -g)
		> ROOTLESSKIT_PARENT_EUID=$(id -u)
		> ROOTLESSKIT_STATE_DIR=$tmp/st
	EOF
	diff "$tmp/before" "$tmp/after" | grep '^[<>]' >"$tmp/diff" || true
	assert_eq environment "$(cat "$tmp/expected")" "$(cat "$tmp/diff")"
}

case_internal_variables_of_the_callers_environment_are_ignored() {
	# shellcheck disable=SC2016 # for the inner shell
	ROOTLESSKIT_STATE_DIR=/nonexistent _RLKBOX_CHILD=9,9,9,9 launch sh -c 'echo $ROOTLESSKIT_STATE_DIR'
	assert_eq status 0 "$rc"
	assert_match 'state directory' "$tmp/rootlesskit*" "$out"
}

case_the_command_inherits_only_descriptors_0_to_2() {
	exec 7</dev/null 8>"$tmp/eight"
	launch sh -c 'ls /proc/self/fd'
	# ls itself opens 3.
	assert_eq descriptors "$(printf '0\n1\n2\n3')" "$out"
	launch --net=none --port-driver=builtin sh -c 'ls /proc/self/fd'
	assert_eq descriptors "$(printf '0\n1\n2\n3')" "$out"
}

case_socket_activation_descriptors_keep_their_numbers() {
	exec 3<"$here/lib.sh" 4</dev/null 5</dev/null
	# shellcheck disable=SC2016 # for the inner shells
	LISTEN_FDS=2 sh -c 'LISTEN_PID=$$ exec rootlesskit --net=none --port-driver=builtin sh -c "echo \$LISTEN_FDS; [ \$LISTEN_PID = \$\$ ] && echo mine; readlink /proc/\$\$/fd/3 /proc/\$\$/fd/4 /proc/\$\$/fd/5 || true"' >"$tmp/out"
	assert_eq output "$(printf '2\nmine\n%s\n/dev/null' "$here/lib.sh")" "$(cat "$tmp/out")"
}

case_socket_activation_of_another_process_is_left_unchanged() {
	exec 3</dev/null
	# shellcheck disable=SC2016 # for the inner shell
	LISTEN_PID=1 LISTEN_FDS=1 launch sh -c 'echo $LISTEN_PID $LISTEN_FDS; readlink /proc/$$/fd/3 || echo none'
	assert_eq output "$(printf '1 1\nnone')" "$out"
}


case_the_command_inherits_limits_and_ignored_signals() {
	ulimit -Sn 512
	before=$(limits_and_signals env)
	assert_eq 'limits and signals' "$before" "$(limits_and_signals rootlesskit --net=none --port-driver=builtin)"
	trap '' PIPE USR2
	before=$(limits_and_signals env)
	assert_match 'ignored signals' '*SigIgn*[1-9a-f]*' "$before"
	assert_eq 'ignored signals' "$before" "$(limits_and_signals rootlesskit)"
}

case_the_user_is_root_inside_and_has_its_subordinate_IDs() {
	need newuidmap
	launch sh -c 'id -u; id -g; cat /proc/self/uid_map; grep -E "^Cap(Inh|Amb|Eff)" /proc/self/status'
	line=$(grep "^$(id -un):" /etc/subuid | head -n 1)
	first=$(echo "$line" | cut -d: -f2)
	count=$(echo "$line" | cut -d: -f3)
	capabilities=$(unshare -r sh -c 'grep ^CapEff /proc/self/status')
	assert_eq output "$(printf '0\n0\n%10d %10d %10d\n%10d %10d %10d\nCapInh:\t%s\n%s\nCapAmb:\t%s' 0 "$(id -u)" 1 1 "$first" "$count" \
		0000000000000000 "$capabilities" 0000000000000000)" "$out"
}

case_subid_source_selects_where_ranges_come_from() {
	for source in static auto; do
		launch --subid-source="$source" sh -c 'wc -l </proc/self/uid_map'
		assert_eq "$source" 2 "$out"
	done
	launch --subid-source=self sh -c 'wc -l </proc/self/uid_map; cat /proc/self/setgroups; id -u'
	assert_eq self "$(printf '1\ndeny\n0')" "$out"
	# shellcheck disable=SC2016 # for the inner shell
	printf '#!/bin/sh\n[ "$1" = -g ] && shift\n[ "$1" = %s ] || exit 1\necho "0: %s 4000000000 5"\n' \
		"$(id -u)" "$(id -un)" >"$tmp/getsubids"
	chmod +x "$tmp/getsubids"
	GETSUBIDS=$tmp/getsubids launch --subid-source=dynamic true
	# The range is not the user's, so newuidmap refuses it. Its error shows that it was asked for the
	# range.
	assert_match 'ranges of $GETSUBIDS' '*newuidmap*' "$err"
	GETSUBIDS=/bin/false launch --subid-source=dynamic true
	assert_match 'no ranges' '*no subuid ranges found for user*' "$err"
	assert_eq status 1 "$rc"
	launch --subid-source=foo true
	assert_match 'unknown source' '*unknown subid source "foo"*' "$err"
}

# with_subids UID SUBUID SUBGID OPTIONS... COMMAND: runs a launcher as user UID, called jane, in a user
# namespace of 65537 IDs. SUBUID and SUBGID are printf formats of the contents of /etc/subuid and
# /etc/subgid there.
with_subids() {
	need newuidmap
	mkdir -p "$tmp/suid"
	chmod 755 "$tmp"
	uid=$1
	{
		cat /etc/passwd
		[ "$uid" = 0 ] || echo "jane:x:$uid:$uid::/:/bin/sh"
	} >"$tmp/passwd"
	# shellcheck disable=SC2059 # they are formats
	printf "$2" >"$tmp/subuid"
	# shellcheck disable=SC2059
	printf "$3" >"$tmp/subgid"
	shift 3
	rc=0
	cat >"$tmp/within" <<-'EOF'
		set -e
		tmp=$1 uid=$2
		shift 2
		[ -e "$tmp/suid/newuidmap" ] || cp "$(command -v newuidmap)" "$(command -v newgidmap)" "$tmp/suid"
		chmod 4755 "$tmp/suid"/new[ug]idmap
		for f in passwd subuid subgid; do mount --bind "$tmp/$f" "/etc/$f"; done
		mkdir -p -m 1777 "$tmp/t"
		chmod 1777 "$tmp/t"
		export PATH="$tmp/suid:$PATH" TMPDIR="$tmp/t"
		[ ! -e "$tmp/prepare" ] || . "$tmp/prepare"
		launch() {
			setpriv ${privileges-} --reuid "$uid" --regid "$uid" --clear-groups rootlesskit "$@"
		}
		[ -n "${advised-}" ] || { launch "$@"; exit; }
		! launch "$@" 2>"$tmp/refusal" || exit
		advice=$(sed -n 's/.*; try, as root, `\([^`]*\)`.*/\1/p' "$tmp/refusal")
		cat "$tmp/refusal" >&2
		echo "advice: $advice"
		eval "$advice" >/dev/null
		launch "$@"
	EOF
	rootlesskit sh "$tmp/within" "$tmp" "$uid" "$@" >"$tmp/out" 2>"$tmp/err" || rc=$?
	out=$(cat "$tmp/out")
	err=$(cat "$tmp/err")
}
maps='sed "s/  */ /g; s/^ //" /proc/self/uid_map; echo -; sed "s/  */ /g; s/^ //" /proc/self/gid_map'

case_overlapping_ranges_are_cut() {
	with_subids 2111 'jane:2111:1\njane:10000:100\n' 'jane:2000:1000\njane:10000:100\n' sh -c "$maps"
	assert_eq "maps where ranges contain the user's own ID" '0 2111 1
1 10000 100
-
0 2111 1
1 2000 111
112 2112 888
1000 10000 100' "$out"
	for each in subuid:UID:2111:1 subgid:GID:2000:1000; do
		IFS=: read -r name id start count <<-EOF
			$each
		EOF
		assert_eq "warnings of $name" "[rootlesskit:parent] $name: the range $start:$count contains the own $id 2111, which is already mapped to $id 0 in the user namespace. RootlessKit ignores the $id 2111 in this range. Remove the own $id from $name configuration." \
			"$(sed -n "s/.*level=warning msg=\"\(.*$name: .*\)\"\$/\1/p" "$tmp/err")"
	done
	with_subids 2111 'jane:10000:1000\njane:10500:1000\n' 'jane:10000:1000\njane:10100:10\n2111:10000:2000\n' sh -c "$maps"
	assert_eq 'maps of overlapping ranges' '0 2111 1
1 10000 1000
1001 11000 500
-
0 2111 1
1 10000 1000
1001 11000 1000' "$out"
	assert_eq 'warnings about overlaps' 3 "$(grep -c 'level=warning.*overlaps with a range before it' "$tmp/err")"
	with_subids 2111 'jane:2111:1\n' 'jane:10000:10\n' true
	assert_match 'error when no range is left' '*no subuid ranges found for user 2111 ("jane")*' "$err"
}

# ranges COUNT STEP: prints COUNT lines with ranges of 10 IDs, which begin STEP IDs apart
ranges() {
	i=0
	while [ "$i" -lt "$1" ]; do
		echo "jane:$((3000 + i * $2)):10"
		i=$((i + 1))
	done
}

case_as_many_ranges_are_mapped_as_the_kernel_accepts() {
	for count in 1 127 128 129 200 338; do
		with_subids 2111 "$(ranges $count 20)\n" "$(ranges 1 20)\n" sh -c 'wc -l </proc/self/uid_map; tail -n 1 /proc/self/uid_map'
		# The kernel accepts less than a page of text.
		bytes=$({ echo 0 2111 1; ranges $count 20 | awk -F: '{ print NR * 10 - 9, $2, $3 }'; } | wc -c)
		if [ "$bytes" -lt "$(getconf PAGE_SIZE)" ]; then
			assert_match "lines for $count ranges" "$((count + 1))
*$((count * 10 - 9)) *$((3000 + (count - 1) * 20)) *10" "$out"
			assert_eq "warnings for $count ranges" '' "$err"
		else
			[ "$(echo "$out" | head -n 1)" -gt 200 ] || fail "only $out of $count lines: $err"
			assert_match "warnings for $count ranges" '*subuid: the last * ranges are not mapped*' "$err"
		fi
	done
	# Adjacent ranges are merged into one line.
	with_subids 2111 "$(ranges 1000 10)\n" "$(ranges 2000 20)\n" sh -c "$maps"
	assert_match 'maps of adjacent ranges' '0 2111 1
1 3000 10000
-
0 2111 1
1 3000 10
*' "$out"
	assert_match 'warning about ranges that are not adjacent' '*subgid: the last * ranges are not mapped*' "$err"
}

case_malformed_subid_lines_are_skipped_with_a_warning() {
	while IFS='|' read -r line why; do
		with_subids 2111 "$line\njane:10000:10\n" 'jane:10000:10\n' tail -n 1 /proc/self/uid_map
		assert_match "map with $line ($rc, $err)" '*1 *10000 *10' "$out"
		assert_match "warning of $line" "*level=warning msg=\"\[rootlesskit:parent\] line 1 of /etc/subuid is skipped: $why\"*" "$err"
		with_subids 2111 "# a comment\n\n$line" 'jane:10000:10' true
		assert_match "only $line" "*line 3 of /etc/subuid is skipped: $why\"*no subuid ranges found for user 2111 (\"jane\")*" "$err"
	done <<-'EOF'
		jane 10000 65536|its fields are separated by blanks, not by colons
		jane:abc:65536|a number of it is not decimal
		jane:10000:65536\r|it ends with a carriage return*
		jane:10000:65536 |there is a blank in it
		2111:10000|it does not have the form USER:START:COUNT
		jane:10000:99999999999999999999|a number of it is larger than any ID
		jane:4294900000:100000|its range passes the largest ID
		jane:10000:0|its range is empty
	EOF
}

case_subid_files_may_have_comments_and_repeated_lines() {
	with_subids 2111 '#x\n\nbob:1:2\n+\n2111:10000:10\n' '2111:10000:10\n' sh -c "$maps"
	assert_eq 'maps with a comment, an empty line and a + before the range' '0 2111 1
1 10000 10
-
0 2111 1
1 10000 10' "$out$err"
	with_subids 2111 'jane:10000:10\njane:10000:10\n2111:10000:10\n' 'jane:10000:10\n' sh -c "$maps"
	assert_eq 'maps with the same line three times' '0 2111 1
1 10000 10
-
0 2111 1
1 10000 10' "$out$err"
}

# newuidmap of Debian 12 and 13 reads a file without a final newline. sid's newuidmap refuses it.
case_a_missing_final_newline_of_a_subid_file_is_reported() {
	with_subids 2111 '2111:10000:10' '#x\n\nbob:1:2\n+\njane:10000:10' sh -c "$maps"
	case $err in
	*'/etc/subuid: Non-text file.'*) assert_eq status 1 "$rc" ;;
	*)
		assert_eq 'maps with a newuidmap that reads the file' '0 2111 1
1 10000 10
-
0 2111 1
1 10000 10' "$out$err"
		;;
	esac
	# shellcheck disable=SC2016 # for the inner shell
	printf '#!/bin/sh\nm=${0##*/new}\n[ $m != "$refusing" ] || { echo /etc/sub${m%%map}: Non-text file.; exit 1; }\n' >"$tmp/suid/newuidmap"
	cp "$tmp/suid/newuidmap" "$tmp/suid/newgidmap"
	for kind in uid gid; do
		export refusing=${kind}map
		with_subids 2111 'jane:10000:10' '#x\njane:10000:10' true
		assert_match "message of $kind" "*\[rootlesskit:parent\] error: failed to setup UID/GID map: new${kind}map * failed: /etc/sub$kind: Non-text file.: exit status 1; the last line of /etc/sub$kind has no newline; try, as root, \`echo >>/etc/sub$kind\`, or --subid-source=self, which maps only your own ID*" "$err"
	done
	with_subids 2111 'jane:10000:10\n' 'jane:10000:10\n' true
	case $err in
	*'no newline'*) fail "the error says that a newline is missing, which is there: $err" ;;
	*'Non-text file.: exit status 1; '*) ;;
	*) fail "newuidmap has not refused the file: $err" ;;
	esac
}

# own_etc COMMAND: changes what with_subids does. It now uses an /etc of its own, with the accounts root,
# nobody and jane, and runs COMMAND there first. If the launcher fails, it runs the command that the error
# proposes, as root, and then the launcher again.
own_etc() {
	cat >"$tmp/prepare" <<-'EOF'
		mkdir -p "$tmp/etc"
		rm -rf "$tmp/etc"/*
		cp /etc/ld.so.cache /etc/nsswitch.conf /etc/login.defs "$tmp/etc"
		cp "$tmp/subuid" "$tmp/subgid" "$tmp/etc"
		grep -E '^(root|nobody|jane):' "$tmp/passwd" >"$tmp/etc/passwd"
		printf 'root:x:0:\nnogroup:x:65534:\njane:x:2111:\n' >"$tmp/etc/group"
		mount --bind "$tmp/etc" /etc
		advised=yes PATH=$PATH:/usr/sbin:/sbin
	EOF
	echo "$1" >>"$tmp/prepare"
}

# proposed WHAT ADVICE UIDS GIDS: checks that the launcher proposed the command ADVICE, and that the maps
# had the lines UIDS and GIDS after it was run
proposed() {
	assert_eq "status of $1 ($err)" 0 "$rc"
	assert_match "reason for $1" '\[rootlesskit:parent\] error: failed to setup UID/GID map: failed to compute uid/gid map: no sub[ug]id ranges found for user 2111 ("*"); try, as root, `*`, or --subid-source=self, which maps only your own ID' "$err"
	assert_eq "advice for $1" "advice: $2
0 2111 1
$3
-
0 2111 1
$4" "$out"
}

case_without_ranges_the_error_proposes_free_ones() {
	own_etc true
	with_subids 2111 '' '' --subid-source=static sh -c "$maps"
	proposed 'both kinds' 'usermod --add-subuids 10000-65533 --add-subgids 10000-65533 jane' '1 10000 55534' '1 10000 55534'
	with_subids 2111 'bob:10000:1000\nann:60000:10\n' 'bob:100000:65536\n' --subid-source=static sh -c "$maps"
	proposed 'both kinds beside others' 'usermod --add-subuids 11000-59999 --add-subgids 11000-59999 jane' '1 11000 49000' '1 11000 49000'
	with_subids 2111 'jane:10000:10\n' 'bob:20000:10\n' --subid-source=static sh -c "$maps"
	proposed subgid 'usermod --add-subgids 20010-65533 jane' '1 10000 10' '1 20010 45524'
	with_subids 2111 '' 'jane:10000:10\n' --subid-source=static sh -c "$maps"
	proposed subuid 'usermod --add-subuids 10010-65533 jane' '1 10010 55524' '1 10000 10'
	# A range that passes the largest ID is skipped. Its IDs count as free.
	with_subids 2111 'jane:4294967290:65536\n' 'jane:10000:10\n' --subid-source=static true
	assert_match 'a range that passes the largest ID' '*line 1 of /etc/subuid is skipped: its range passes the largest ID"*no subuid ranges found *; try, as root, `usermod --add-subuids 10010-65533 jane`, or*' "$err"
	# usermod does not accept --add-subuids while /etc/subuid is missing.
	own_etc 'rm /etc/subuid /etc/subgid'
	with_subids 2111 '' '' --subid-source=static sh -c "$maps"
	proposed 'missing files' "echo 'jane:10000:55534' | tee -a /etc/subuid /etc/subgid" '1 10000 55534' '1 10000 55534'
	# usermod replaces the file, which is impossible for a mount point. Here both files are mounted over
	# those of the host.
	own_etc 'umount /etc'
	with_subids 2111 '' '' --subid-source=static sh -c 'wc -l </proc/self/uid_map'
	assert_match 'mounted files' "advice: echo 'jane:[0-9]*:[0-9]*' | tee -a /etc/subuid /etc/subgid
2" "$out"
	assert_eq 'status with mounted files' 0 "$rc"
	# usermod does not know users of a directory service either.
	printf '#!/bin/sh\necho jill:x:2111:2111::/:/bin/sh\n' >"$tmp/suid/getent"
	chmod +x "$tmp/suid/getent"
	printf 'sed /^jane:/d "$tmp/passwd" >"$tmp/p"; cat "$tmp/p" >"$tmp/passwd"\n' >"$tmp/prepare"
	with_subids 2111 '' 'jill:10000:10\n' --subid-source=static true
	assert_match 'a user of a directory' "*no subuid ranges found for user 2111 (\"jill\"); try, as root, \`echo 'jill:[0-9]*:[0-9]*' | tee -a /etc/subuid\`, or *" "$err"
}

# nothing_proposed WHAT REASON: checks that the error gives REASON, and proposes only --subid-source=self
nothing_proposed() {
	assert_eq "status with $1" 1 "$rc"
	assert_match "reason for $1" "*no subuid ranges found for user *; $2; try --subid-source=self, which maps only your own ID*" "$err"
}

case_no_range_is_proposed_that_cannot_be_added() {
	for each in 'few IDs|this user namespace has too few IDs for a range*|sed -n "/^root:/p;/^jane:/p" /etc/passwd >$tmp/p; i=10500; while [ $i -lt 65536 ]; do echo "u$i:x:$i:1::/:/bin/sh"; i=$((i + 900)); done >>$tmp/p; cat $tmp/p >/etc/passwd' \
		'all taken|this user namespace has too few IDs for a range*|echo bob:1:65536 >/etc/subgid' \
		'a read-only file|/etc/subuid, where one would be added, is on a read-only file system|mount -o remount,bind,ro /etc/subuid' \
		'a read-only /etc without files|/etc/subuid, where one would be added, is on a read-only file system|cp $tmp/passwd $tmp/etc; rm -f $tmp/etc/subuid; mount --bind $tmp/etc /etc; mount -o remount,bind,ro /etc' \
		'a file of the host|/etc/subuid, where one would be added, belongs to a user outside of this user namespace|umount /etc/subuid'; do
		mkdir -p "$tmp/etc"
		: >"$tmp/etc/subuid"
		echo "${each##*|}" >"$tmp/prepare"
		reason=${each#*|}
		with_subids 2111 '' '' --subid-source=static true
		nothing_proposed "${each%%|*}" "${reason%%|*}"
		with_subids 2111 '' '' --subid-source=self sh -c "$maps"
		assert_eq "maps with --subid-source=self and ${each%%|*}" '0 2111 1
-
0 2111 1' "$out"
	done
	printf 'sed /^jane:/d "$tmp/passwd" >"$tmp/p"; cat "$tmp/p" >"$tmp/passwd"\n' >"$tmp/prepare"
	with_subids 2111 '' '2111:10000:10\n' --subid-source=static true
	nothing_proposed 'a user without a name' 'user 2111 has no name (/etc/passwd), and newuidmap takes no user without one'
	with_subids 2111 '2111:10000:10\n' '2111:10000:10\n' --subid-source=static true
	assert_match 'error for a user with ranges but without a name' '*newuidmap [0-9]* \[*\] failed: newuidmap: Cannot determine your user name.: exit status 1; user 2111 has no name (/etc/passwd), and newuidmap takes no user without one; try --subid-source=self*' "$err"
	with_subids 2111 '' '' --subid-source=self true
	assert_eq 'error with --subid-source=self for a user without a name' '' "$err"
	rm "$tmp/prepare"
	rc=0
	err=$(rootlesskit --subid-source=self rootlesskit --subid-source=static true 2>&1) || rc=$?
	nothing_proposed 'only the own ID' 'this user namespace has too few IDs for a range (/proc/self/uid_map, gid_map)'
	assert_match 'the other advice' '*; or give the container, or launcher, around this one more IDs*' "$err"
	rootlesskit --subid-source=self rootlesskit --subid-source=self true 2>/dev/null ||
		fail 'two nested launchers that map only the own ID have failed'
	# A user without an ID in its own user namespace cannot create namespaces at all.
	err=$(unshare -U rootlesskit true 2>&1) && fail 'a launcher without IDs has worked'
	assert_match 'error for a user without an ID' '*no subuid ranges found for user *; this user does not exist in its own user namespace (/proc/self/uid_map, gid_map); try to map it there (`unshare -U` takes -r for that)' "$err"
	unshare -Ur rootlesskit --subid-source=self true 2>/dev/null || fail 'a launcher in unshare -Ur has failed'
}

case_subid_source_auto_asks_getsubids_for_users_without_ranges() {
	mkdir "$tmp/suid"
	printf '#!/bin/sh\necho "$*" >>%s/asked\n[ "$1" != -g ] || shift\n[ "$1" = jane ] && echo "0: jane 20000 5"\n' "$tmp" >"$tmp/suid/getsubids"
	chmod +x "$tmp/suid/getsubids"
	: >"$tmp/asked"
	chmod 666 "$tmp/asked"
	with_subids 2111 'jane:20000:5\n' 'jane:20000:5\n' sh -c "$maps"
	assert_eq 'questions to getsubids when the files have ranges' '' "$(cat "$tmp/asked")"
	# newuidmap reads only the files, so it refuses the ranges of getsubids.
	with_subids 2111 'bob:20000:5\n' 'jane:20000:7\n' sh -c "$maps"
	assert_eq 'questions to getsubids' 'jane
2111' "$(cat "$tmp/asked")"
	assert_match 'the map that was tried' '*newuidmap * \[0 2111 1 1 20000 5\] failed: *not allowed*' "$err"
}

case_a_missing_newuidmap_is_reported_with_the_fix() {
	mkdir "$tmp/bin"
	ln -s /bin/true "$tmp/bin/true"
	rc=0
	env PATH="$tmp/bin" "$bin/rootlesskit" --subid-source=static true 2>"$tmp/err" || rc=$?
	assert_eq status 1 "$rc"
	assert_match error '*failed to setup UID/GID map: newuidmap [0-9]* \[0 [0-9]* 1 1 [0-9]* [0-9]*\] failed: : exec: "newuidmap": executable file not found in $PATH; try to install it (Debian: package uidmap), or --subid-source=self*' "$(cat "$tmp/err")"
	env PATH="$tmp/bin" "$bin/rootlesskit" --subid-source=self true
	ln -s "$(command -v newuidmap)" "$tmp/bin/newuidmap"
	env PATH="$tmp/bin" "$bin/rootlesskit" --subid-source=static true 2>"$tmp/err" || rc=$?
	assert_match 'error when only newgidmap is missing' '*newgidmap [0-9]* \[*\] failed: : exec: "newgidmap"*' "$(cat "$tmp/err")"
	assert_eq 'temporary state directories' '' "$(find "$tmp" -name 'rootlesskit*')"
}

case_a_newuidmap_without_privileges_is_reported_with_the_fix() {
	need newuidmap
	launch_here() {
		rc=0
		"$@" rootlesskit --subid-source=static true >"$tmp/out" 2>"$tmp/err" || rc=$?
		assert_eq "status of $*" 1 "$rc"
		assert_match "the map of $*" '*failed to setup UID/GID map: newuidmap [0-9]* \[0 [0-9]* 1 1 [0-9]* [0-9]*\] failed: *' "$(cat "$tmp/err")"
		assert_match "the advice of $*" '*--subid-source=self*' "$(cat "$tmp/err")"
	}
	launch_here setpriv --no-new-privs
	assert_match 'no_new_privs' '*; no_new_privs is set for this process*try without that, or --subid-source=self*' "$(cat "$tmp/err")"
	mkdir "$tmp/plain"
	cp "$(command -v newuidmap)" "$(command -v newgidmap)" "$tmp/plain"
	chmod 755 "$tmp/plain"/*
	launch_here env PATH="$tmp/plain:$PATH"
	assert_match 'not set-UID' "*; $tmp/plain/newuidmap is neither set-UID root nor has file capabilities; try, as root, \`chmod u+s $tmp/plain/newuidmap\`, or*" "$(cat "$tmp/err")"
	chmod 4755 "$tmp/plain"/* # set-UID, but not owned by root
	launch_here env PATH="$tmp/plain:$PATH"
	assert_match 'set-UID of another user' '*is neither set-UID root*' "$(cat "$tmp/err")"
	rm -r "$tmp/plain"
	# A range with IDs that the outer user namespace does not have.
	with_subids 2111 'jane:60000:65536\n' 'jane:10000:10\n' --subid-source=static true
	assert_match 'IDs that are not there' '*newuidmap [0-9]* \[0 2111 1 1 60000 65536\] failed: *; this user namespace does not have the IDs 60000 to 125535 (/proc/self/uid_map); try to replace that range in /etc/subuid by one that it has, such as [0-9]*:[0-9]*, or *' "$err"
	other=$(echo "$err" | sed -n 's/.*such as \([0-9:]*\), or.*/\1/p')
	with_subids 2111 "jane:$other\n" "jane:$other\n" sed -n 2p /proc/self/uid_map
	assert_match 'map with the proposed range' "*1 *${other%:*} *${other#*:}" "$out"
	printf 'mount -o remount,bind,ro /etc/subuid\n' >"$tmp/prepare"
	with_subids 2111 'jane:60000:65536\n' 'jane:10000:10\n' --subid-source=static true
	assert_match 'with a read-only file' '*does not have the IDs 60000 to 125535 (/proc/self/uid_map), and /etc/subuid is on a read-only file system; try --subid-source=self*' "$err"
	# The host's newuidmap belongs to the host's root, who has no ID in this user namespace.
	mkdir "$tmp/outer"
	ln -s "$(command -v newuidmap)" "$(command -v newgidmap)" "$tmp/outer"
	printf 'PATH=$tmp/outer:$PATH\n' >"$tmp/prepare"
	with_subids 2111 'jane:10000:10\n' 'jane:10000:10\n' --subid-source=static true
	assert_match 'a program of the host' '*; /*/newuidmap belongs to a user outside of this user namespace, so that set-UID has no effect; try --subid-source=self*' "$err"
	printf 'mkdir "$tmp/ns"; mount -t tmpfs -o nosuid,mode=755 none "$tmp/ns"; cp -p "$tmp/suid/"* "$tmp/ns"; chmod u+s "$tmp/ns"/*; PATH=$tmp/ns:$PATH\n' >"$tmp/prepare"
	with_subids 2111 'jane:10000:10\n' 'jane:10000:10\n' --subid-source=static true
	assert_match nosuid "*; $tmp/ns/newuidmap is on a file system that is mounted nosuid; try *" "$err"
	printf 'privileges="--bounding-set -setuid,-setgid"\n' >"$tmp/prepare"
	with_subids 2111 'jane:10000:10\n' 'jane:10000:10\n' --subid-source=static true
	assert_match 'the bounding set' '*can never get CAP_SETUID and CAP_SETGID; try --cap-add=SETUID --cap-add=SETGID*' "$err"
	printf 'privileges="--bounding-set -sys_admin"\n' >"$tmp/prepare"
	with_subids 2111 'jane:10000:10\n' 'jane:10000:10\n' --subid-source=static true
	assert_match 'without CAP_SYS_ADMIN' "*; $tmp/suid/newuidmap is set-UID, so it needs CAP_SYS_ADMIN, which this process can never get; try, as root, \`chmod u-s $tmp/suid/newuidmap && setcap cap_setuid=ep $tmp/suid/newuidmap\`, or --subid-source=self*" "$err"
	# Following the advice for both programs helps.
	printf 'privileges="--bounding-set -sys_admin" s="$tmp/suid"; chmod u-s "$s"/*; PATH=$PATH:/usr/sbin:/sbin; setcap cap_setuid=ep "$s/newuidmap" cap_setgid=ep "$s/newgidmap"\n' >"$tmp/prepare"
	with_subids 2111 'jane:10000:10\n' 'jane:10000:10\n' sed -n 2p /proc/self/uid_map
	assert_match 'with capabilities of the file' '*1 *10000 *10' "$out$err"
	rm "$tmp/prepare"
	# Root without CAP_SETFCAP cannot map itself.
	rootlesskit setpriv --bounding-set -setfcap --inh-caps -all rootlesskit --subid-source=self true 2>"$tmp/err" && fail 'root has mapped itself'
	assert_match 'root without CAP_SETFCAP' '*write /proc/[0-9]*/uid_map: operation not permitted; root without CAP_SETFCAP cannot map itself (since Linux 5.12); try --cap-add=SETFCAP for the container, or to run this as another user' "$(head -n 2 "$tmp/err")"
	# /etc/subuid has another range than getsubids prints.
	printf '#!/bin/sh\necho "0: jane 20000 5"\n' >"$tmp/suid/getsubids"
	chmod +x "$tmp/suid/getsubids"
	with_subids 2111 'jane:10000:10\n' 'jane:10000:10\n' --subid-source=dynamic true
	assert_match 'a range of another source' '*not allowed: exit status 1; newuidmap does not find that range for this user in /etc/subuid; try*' "$err"
}

# The message of the log line or error in $err, without the numbers of processes.
message() {
	echo "$err" | sed -n 's/\\"/"/g; s/^time="[^"]*" level=\(warning\) msg="\(.*\)"$/\1 \2/; s/map [0-9]* \[/map PID [/
		s/^warning \[rootlesskit:parent\] mapping only your own UID and GID, so files and processes inside cannot have others: //p
		s/^\[rootlesskit:parent\] error: failed to setup UID\/GID map: //p'
}

# falls_back WHAT SUBUID SUBGID MESSAGE: a launcher as in with_subids maps only the own ID, with a warning.
# The other sources of IDs fail for the same reason.
falls_back() {
	with_subids 2111 "$2" "$3" sh -c "$maps"
	assert_eq "maps with $1 ($err)" '0 2111 1
-
0 2111 1' "$out"
	assert_eq "warning of $1" "$4, which maps only your own ID without this warning" "$(message)"
	assert_eq "lines of $1" 1 "$(echo "$err" | wc -l)"
	for source in static dynamic; do
		with_subids 2111 "$2" "$3" --subid-source=$source sh -c "$maps"
		assert_eq "status with $1 and $source" 1 "$rc"
		assert_match "error with $1 and $source" "*, which maps only your own ID" "$(message)"
		assert_eq "output with $1 and $source" '' "$out"
	done
}

case_auto_maps_only_the_own_ID_where_newuidmap_cannot_work() {
	jane='jane:10000:10\n'
	denied='newuidmap PID [0 2111 1 1 10000 10] failed: newuidmap: write to uid_map failed: Operation not permitted: exit status 1'
	echo 'privileges=--no-new-privs' >"$tmp/prepare"
	falls_back no_new_privs "$jane" "$jane" "$denied; no_new_privs is set for this process (NoNewPrivileges= of a service, no-new-privileges or allowPrivilegeEscalation: false of a container, or a sandbox), so that no set-UID program works; try without that, or --subid-source=self"
	echo 'chmod u-s "$tmp/suid"/*' >"$tmp/prepare"
	falls_back 'a newuidmap without set-UID' "$jane" "$jane" "$denied; $tmp/suid/newuidmap is neither set-UID root nor has file capabilities; try, as root, \`chmod u+s $tmp/suid/newuidmap\`, or --subid-source=self"
	echo 'mkdir -p "$tmp/ns"; mount -t tmpfs -o nosuid,mode=755 none "$tmp/ns"; cp "$tmp/suid/"* "$tmp/ns"; chmod u+s "$tmp/ns"/*; PATH=$tmp/ns:$PATH' >"$tmp/prepare"
	falls_back 'a nosuid mount' "$jane" "$jane" "$denied; $tmp/ns/newuidmap is on a file system that is mounted nosuid; try to install it elsewhere, or mount that without nosuid, or --subid-source=self"
	rm "$tmp/prepare"
	falls_back 'IDs that the outer namespace does not have' 'jane:60000:65536\n' 'jane:60000:65536\n' "newuidmap PID [0 2111 1 1 60000 65536] failed: newuidmap: write to uid_map failed: Operation not permitted: exit status 1; this user namespace does not have the IDs 60000 to 125535 (/proc/self/uid_map); try to replace that range in /etc/subuid by one that it has, such as 10000:50000, or --subid-source=self"
	# Denied for a reason that the launcher does not know, as by a security module.
	printf '#!/bin/sh\necho "newuidmap: write to uid_map failed: Operation not permitted"; exit 1\n' >"$tmp/suid/newuidmap"
	cp "$tmp/suid/newuidmap" "$tmp/suid/newgidmap"
	falls_back 'another restriction' "$jane" "$jane" "$denied; try --subid-source=self"
}

case_auto_maps_only_the_own_ID_without_newuidmap() {
	mkdir "$tmp/bin"
	ln -s "$(command -v sh)" "$(command -v wc)" "$tmp/bin"
	for missing in newuidmap newgidmap; do
		text="$missing PID \[0 * 1 1 *\] failed: : exec: \"$missing\": executable file not found in \$PATH; try to install it (Debian: package uidmap), or --subid-source=self, which maps only your own ID"
		out=$(env PATH="$tmp/bin" "$bin/rootlesskit" sh -c 'wc -l </proc/self/uid_map' 2>"$tmp/err") ||
			fail "without $missing: $(cat "$tmp/err")"
		err=$(cat "$tmp/err")
		assert_eq "lines of the map without $missing" 1 "$out"
		assert_match "warning without $missing" "$text without this warning" "$(message)"
		err=$(env PATH="$tmp/bin" "$bin/rootlesskit" --subid-source=static sh -c true 2>&1) &&
			fail "without $missing: a launcher with --subid-source=static has started"
		assert_match "error without $missing" "$text" "$(message)"
		ln -sf "$(command -v newuidmap)" "$tmp/bin"
	done
}

case_auto_maps_only_the_own_ID_of_a_user_without_ranges() {
	own_etc true
	echo 'advised=' >>"$tmp/prepare"
	falls_back 'no ranges' '' '' 'no subuid ranges found for user 2111 ("jane"); try, as root, `usermod --add-subuids 10000-65533 --add-subgids 10000-65533 jane`, or --subid-source=self'
	falls_back 'ranges of others' 'bob:10000:10\n' 'bob:10000:10\n' 'no subuid ranges found for user 2111 ("jane"); try, as root, `usermod --add-subuids 10010-65533 --add-subgids 10010-65533 jane`, or --subid-source=self'
	echo 'mount -o remount,bind,ro /etc' >>"$tmp/prepare"
	falls_back 'a read-only /etc' '' '' 'no subuid ranges found for user 2111 ("jane"); /etc/subuid, where one would be added, is on a read-only file system; try --subid-source=self'
	own_etc 'rm /etc/subuid /etc/subgid; sed -i /^jane:/d /etc/passwd'
	echo 'advised=' >>"$tmp/prepare"
	falls_back 'no files, and no name' '' '' 'no subuid ranges found for user 2111 (""); user 2111 has no name (/etc/passwd), and newuidmap takes no user without one; try --subid-source=self'
	own_etc 'sed -i /^jane:/d /etc/passwd'
	echo 'advised=' >>"$tmp/prepare"
	with_subids 2111 '2111:10000:10\n' '2111:10000:10\n' sh -c "$maps"
	assert_eq "maps with ranges, but no name ($err)" '0 2111 1
-
0 2111 1' "$out"
	assert_eq 'warning about ranges, but no name' 'newuidmap PID [0 2111 1 1 10000 10] failed: newuidmap: Cannot determine your user name.: exit status 1; user 2111 has no name (/etc/passwd), and newuidmap takes no user without one; try --subid-source=self, which maps only your own ID without this warning' "$(message)"
}

# stays_an_error WHAT SUBUID SUBGID REASON
stays_an_error() {
	with_subids 2111 "$2" "$3" true
	assert_eq "status with $1 ($err)" 1 "$rc"
	assert_match "error about $1" "$4, which maps only your own ID" "$(message)"
}

case_auto_does_not_hide_mistakes() {
	none='failed to compute uid/gid map: no subuid ranges found for user 2111 ("jane")'
	range='jane:10000:10\n'
	stays_an_error 'a range of one kind only' '' "$range" "$none; try, as root, \`*\`, or --subid-source=self"
	stays_an_error 'the own ID only' 'jane:2111:1\n' 'jane:2111:1\n' "$none; try, as root, \`*\`, or --subid-source=self"
	for line in 'jane 10000 10' 'jane:abc:10' 'jane:10000:0' 'jane:4294967290:10'; do
		stays_an_error "a malformed line: $line" "$line\n" '' "$none; try, as root, \`*\`, or --subid-source=self"
		assert_match "the line: $line" '*level=warning msg="\[rootlesskit:parent\] line 1 of /etc/subuid is skipped: *' "$err"
	done
	echo 'chmod 0 /etc/subgid' >"$tmp/prepare"
	stays_an_error 'a file that cannot be read' '' '' "$none; try, as root, \`*\`, or --subid-source=self"
	assert_match 'the file' '*level=warning msg="\[rootlesskit:parent\] /etc/subgid is skipped: permission denied"*' "$err"
	chmod 644 "$tmp/subgid"
	echo 'export GETSUBIDS=/nowhere/getsubids' >"$tmp/prepare"
	stays_an_error 'a getsubids that is not there' '' '' "$none; getsubids failed: exec: \"/nowhere/getsubids\": stat /nowhere/getsubids: no such file or directory; try, as root, \`*\`, or --subid-source=self"
	# One that knows no ranges is not a mistake.
	printf '#!/bin/sh\nexit 1\n' >"$tmp/suid/getsubids"
	chmod +x "$tmp/suid/getsubids"
	echo 'export GETSUBIDS=$tmp/suid/getsubids' >"$tmp/prepare"
	with_subids 2111 '' '' sh -c 'wc -l </proc/self/uid_map'
	assert_eq "lines of the map with an unknown user ($err)" 1 "$out"
	printf '#!/bin/sh\necho "0: jane 20000 5"\n' >"$tmp/suid/getsubids"
	stays_an_error 'ranges of another source' "$range" "$range" 'new?idmap PID \[*\] failed: *not allowed: exit status 1; *; try to correct that file, or --subid-source=self'
	rm "$tmp/prepare"
	# A map can be written only once: if newuidmap has written its own, the launcher cannot fall back.
	printf '#!/bin/sh\necho "newgidmap: write to gid_map failed: Operation not permitted"; exit 1\n' >"$tmp/suid/newgidmap"
	stays_an_error 'a newgidmap that fails alone' "$range" "$range" 'newgidmap PID \[0 2111 1 1 10000 10\] failed: newgidmap: write to gid_map failed: Operation not permitted: exit status 1; try --subid-source=self'
}

# Each of these options works with one ID, so auto does not have to look at them.
case_no_option_needs_a_second_ID() {
	need_slirp4netns
	for options in '--net=slirp4netns --slirp4netns-sandbox=true --slirp4netns-seccomp=true --ipv6 --port-driver=slirp4netns' \
		'--net=slirp4netns --detach-netns --port-driver=builtin' \
		'--net=pasta --ipv6 --port-driver=builtin' '--net=pasta --detach-netns --port-driver=implicit'; do
		# shellcheck disable=SC2086 # options
		launch --subid-source=self --disable-host-loopback $options --copy-up=/etc --copy-up=/run --copy-up=/var/lib \
			--pidns --cgroupns --utsns --ipcns --reaper=true true
		assert_eq "status of $options ($(cat "$tmp/err"))" 0 "$rc"
	done
}

case_standard_input_reaches_the_command() {
	assert_eq output through "$(echo through | rootlesskit cat)"
}

case_the_command_runs_in_the_callers_directory() {
	cd "$tmp"
	printf '#!/bin/sh\npwd\n' >here.sh
	chmod +x here.sh
	launch ./here.sh
	assert_eq output "$tmp" "$out"
}


case_signals_are_forwarded_to_the_command() {
	for signal in INT TERM HUP QUIT USR1 USR2 CONT WINCH; do
		start sh -c "$report_signals"
		wait_until 5 grep -q ready "$tmp/bg.out"
		send_signal "$signal" "$pid"
		wait_until 5 grep -q "got $signal" "$tmp/bg.out"
		finish
		assert_eq "status after $signal" 7 "$rc"
	done
}

case_SIGTERM_ends_the_command() {
	start sleep 60
	stop
	assert_eq status 255 "$rc"
	assert_eq error '[rootlesskit:child ] error: command [sleep 60] exited: signal: terminated
[rootlesskit:parent] error: child exited: exit status 255' "$(cat "$tmp/bg.err")"
}

# command_of CHILD: prints the PIDs of the child's own children, which are the command
command_of() {
	cat "/proc/$1/task/$1/children"
}

case_killing_the_parent_ends_everything_and_a_new_start_works() {
	start --net=none --port-driver=builtin sleep 60
	command=$(command_of "$child")
	[ -n "$command" ] || fail 'the child has no command'
	send_signal KILL "$pid"
	wait_until 5 has_ended "$child"
	# shellcheck disable=SC2086 # PIDs
	wait_until 5 has_ended $command
	start --net=none --port-driver=builtin sleep 60
	stop
}

case_killing_the_child_ends_everything() {
	start --net=none --port-driver=builtin sleep 60
	command=$(command_of "$child")
	send_signal KILL "$child"
	finish
	assert_eq status 255 "$rc"
	assert_eq error '[rootlesskit:parent] error: child exited: signal: killed' "$(cat "$tmp/bg.err")"
	# shellcheck disable=SC2086 # PIDs
	wait_until 5 has_ended $command
}

case_background_processes_outlive_the_command() {
	launch sh -c 'sleep 30 >/dev/null 2>&1 & echo $!'
	kill -0 "$out" || fail "the background process $out has ended"
	kill "$out"
}

case_a_signal_during_the_start_ends_the_launcher() {
	# a network program that never becomes ready
	printf '#!/bin/sh\nexec sleep 60\n' >"$tmp/slow"
	chmod +x "$tmp/slow"
	state=$tmp/state
	rootlesskit --state-dir="$state" --net=slirp4netns --slirp4netns-binary="$tmp/slow" \
		--disable-host-loopback true >"$tmp/bg.out" 2>"$tmp/bg.err" &
	pid=$!
	need_slirp4netns
	wait_until 5 pgrep -P "$pid" sleep
	stop
	assert_eq status 1 "$rc"
	assert_match error '*terminated before the command started: signal: terminated*' "$(cat "$tmp/bg.err")"
}

case_a_signal_ends_the_launcher_while_a_helper_program_hangs() {
	printf '#!/bin/sh\nexec sleep 60\n' >"$tmp/getsubids"
	chmod +x "$tmp/getsubids"
	GETSUBIDS=$tmp/getsubids rootlesskit --state-dir="$tmp/state" --subid-source=dynamic true \
		2>"$tmp/err" &
	pid=$!
	wait_until 5 pgrep -P "$pid" sleep
	send_signal TERM "$pid"
	wait_until 3 has_ended "$pid"
}

case_nohup_protects_the_start_from_a_hangup() {
	mkdir "$tmp/bin"
	make_waiting "$tmp/bin/newuidmap" newuidmap
	env PATH="$tmp/bin:$PATH" nohup rootlesskit --state-dir="$tmp/state" echo 'done' >"$tmp/out" 2>"$tmp/err" &
	pid=$!
	wait_until 5 pgrep -P "$pid" newuidmap
	send_signal HUP "$pid"
	touch "$tmp/go"
	await_success "$pid"
	assert_eq output 'done' "$(cat "$tmp/out")"
}

case_invalid_options_are_errors_with_a_hint() {
	launch --no-such-flag true
	assert_eq status 1 "$rc"
	assert_eq error '[rootlesskit:parent] error: flag provided but not defined: -no-such-flag; see `rootlesskit --help`' "$err"
	assert_eq output 'Incorrect Usage: flag provided but not defined: -no-such-flag' "$out"
	launch --nett=none true
	assert_eq 'error of a typing error' '[rootlesskit:parent] error: flag provided but not defined: -nett; did you mean --net? See `rootlesskit --help`' "$err"
	launch --network=none true
	assert_eq 'error of a name that is too long' '[rootlesskit:parent] error: flag provided but not defined: -network; did you mean --net? See `rootlesskit --help`' "$err"
	launch --net=foo true
	assert_eq 'warnings before an unknown network' 1 "$(grep -c 'level=warning.*--disable-host-loopback' "$tmp/err")"
	# If both streams go to the same place, there is only one line.
	assert_eq 'lines if both streams are one' 1 "$(rootlesskit --nett=none true 2>&1 | wc -l)"
	while IFS='|' read -r options message; do
		# shellcheck disable=SC2086 # options
		launch $options true
		assert_eq "status of $options" 1 "$rc"
		assert_match "error of $options" "\[rootlesskit:parent\] error: $message" "$(echo "$err" | grep -v level=warning)"
		case $message in
		invalid\ [bv]* | *took* | *not\ defined*) ;; # The command line cannot be parsed, which both streams say.
		*) assert_eq "output of $options" '' "$out" ;;
		esac
	done <<-'EOF'
		--net=foo|unknown network mode: foo*
		--net=slirp|unknown network mode: slirp (--net takes host, none, builtin, auto, slirp4netns, pasta, lxc-user-nic or gvisor-tap-vsock); did you mean slirp4netns?
		--net=vpnkit|--net=vpnkit is not in this program: --net takes host, none, builtin, auto, slirp4netns, pasta, lxc-user-nic or gvisor-tap-vsock; try --net=builtin, which also needs no privileges
		--net=lxc-user-nic --cidr=10.0.2.0/24|custom cidr is not supported for --net=lxc-user-nic; it takes --net=builtin, slirp4netns or pasta
		--net=lxc-user-nic --port-driver=implicit|port driver "implicit" requires --net=pasta (--port-driver=implicit with --net=lxc-user-nic); --port-driver=implicit works with --net=pasta; --net=lxc-user-nic works with --port-driver=none or builtin
		--net=built-in|unknown network mode: built-in (*
		--net=bulitin|unknown network mode: bulitin (--net takes host, none, builtin, auto, slirp4netns, pasta, lxc-user-nic or gvisor-tap-vsock); did you mean builtin?
		--net=builtin --port-driver=slirp4netns|port driver requires slirp4netns network (--port-driver=slirp4netns with --net=builtin); *--net=builtin works with --port-driver=none or builtin
		--net=builtin --port-driver=implicit|port driver "implicit" requires --net=pasta (--port-driver=implicit with --net=builtin); *
		--net=builtin --port-driver=pesto|port driver "pesto" requires --net=pasta (--port-driver=pesto with --net=builtin); *
		--net=builtin --port-driver=gvisor-tap-vsock|port driver "gvisor-tap-vsock" requires --net=gvisor-tap-vsock (--port-driver=gvisor-tap-vsock with --net=builtin); *
		--net=gvisor-tap-vsock --port-driver=slirp4netns|port driver requires slirp4netns network (*); *--net=gvisor-tap-vsock works with --port-driver=none, builtin or gvisor-tap-vsock
		--net=slirp4netns --port-driver=gvisor-tap-vsock|port driver "gvisor-tap-vsock" requires --net=gvisor-tap-vsock (*
		--net=pasta --port-driver=gvisor-tap-vsock|network "pasta" requires port driver "none" or "implicit" or "pesto" (*
		--net=none --port-driver=gvisor-tap-vsock|network "none" requires either port driver "none" or "builtin" (*
		--port-driver=gvisor-tap-vsock|port driver requires non-host network (--port-driver=gvisor-tap-vsock with --net=host); *
		--net=builtin --mtu=575|mtu must be >= 576, got 575 (--mtu takes 576 to 65521)
		--net=gvisor-tap-vsock --mtu=300|mtu must be >= 576, got 300 (--mtu takes 576 to 65521)
		--net=builtin --mtu=65522|mtu must be <= 65521, got 65522 (*)
		--net=builtin --ipv6 --mtu=1279|--ipv6 needs an --mtu of at least 1280, got 1279
		--net=gvisor-tap-vsock --ipv6 --mtu=1279|--ipv6 needs an --mtu of at least 1280, got 1279
		--net=builtin --cidr=10.0.2.0/26|--cidr=10.0.2.0/26 is too small: *
		--net=builtin --ifname=lo|--ifname=lo is not a valid interface name: *
		--net=auto --mtu=100|mtu must be >= 576, got 100 (*)
		--net=auto --port-driver=foo|unknown port driver: foo (--port-driver takes none, builtin, implicit, slirp4netns, pesto or gvisor-tap-vsock)
		--net=auto -p 127.0.0.1:18001:80/tcp|port driver "none" does not support publishing ports (--publish needs --port-driver=builtin)
		--net=auto --port-driver=implicit -p 127.0.0.1:18001:80/tcp|port driver "implicit" does not support publishing ports*
		--net=auto --port-driver=slirp4netns --slirp4netns-binary=nosuch|exec: "nosuch": executable file not found in $PATH (--net=slirp4netns: install the package slirp4netns, or name the program by --slirp4netns-binary; or try --net=builtin --port-driver=builtin, which needs no program)
		--net=auto --port-driver=pesto --pasta-binary=nosuch|exec: "nosuch": executable file not found in $PATH (--net=pasta: install the package passt, or name the program by --pasta-binary; or try --net=builtin --port-driver=builtin, which needs no program)
		--net=slirp4netns --slirp4netns-binary=nosuch|exec: "nosuch": executable file not found in $PATH (*; or try --net=builtin, which needs no program)
		--net-pcap=x|--net-pcap records the frames of --net=builtin, but the network is --net=host
		--net=none --net-pcap=x|--net-pcap records the frames of --net=builtin, but the network is --net=none
		--net=slirp4netns --net-pcap=x|--net-pcap records the frames of --net=builtin, but the network is --net=slirp4netns; try tcpdump(8) inside
		--net=auto --port-driver=pesto --net-pcap=x|--net-pcap records the frames of --net=builtin, but the network is --net=pasta; *
		--net=builtin --net-pcap --ipv6|--net-pcap took the option --ipv6 as its value; try --net-pcap=FILE --ipv6; see `rootlesskit --help`
		--net=pasta --port-driver=slirp4netns|network "pasta" requires port driver "none" or "implicit" or "pesto" (--port-driver=slirp4netns with --net=pasta); --port-driver=slirp4netns works with --net=slirp4netns; --net=pasta works with --port-driver=none, builtin, pesto or implicit
		--net=pasta --port-driver=pasta|unknown port driver "pasta": did you mean "pesto"? (*)
		--port-driver=pesto --net=slirp4netns|port driver "pesto" requires --net=pasta (--port-driver=pesto with --net=slirp4netns); *
		--port-driver=implicit --net=slirp4netns|port driver "implicit" requires --net=pasta (--port-driver=implicit with --net=slirp4netns); --port-driver=implicit works with --net=pasta; *
		--net=none --port-driver=builtin --source-ip-transparent-backend=pf|unknown source-ip-transparent-backend: pf (*)
		--port-driver=slirp4netns|port driver requires slirp4netns network*
		--net=pasta --port-driver=implicit -p 127.0.0.1:18001:80/tcp|port driver "implicit" does not support publishing ports*
		--evacuate-cgroup2=x|evacuate-cgroup2 requires --cgroupns (and --pidns, for --evacuate-cgroup2=x)
		--evacuate-cgroup2=x --cgroupns|evacuate-cgroup2 requires --pidns*
		--evacuate-cgroup2=a/b --cgroupns --pidns|unexpected evacuation group name "a/b": must not contain "/"*
		--pidns=maybe|invalid boolean value "maybe" for -pidns: parse error; --pidns takes true or false; see `rootlesskit --help`
		--pidns --reaper=foo|unknown reaper mode: foo*
		--port-driver=builtin|port driver requires non-host network*
		--net=none --port-driver=foo|network "none" requires either port driver "none" or "builtin"*
		-p 127.0.0.1:18001:80/tcp|port driver "none" does not support publishing ports*
		--net=none -p 127.0.0.1:18001:80/tcp|port driver "none" does not support publishing ports*
		--mtu=abc|invalid value "abc" for flag -mtu: parse error; --mtu takes a number: *68 to 65521*; see `rootlesskit --help`
		--net=slirp4netns --ipv6 --mtu=1279|--ipv6 needs an --mtu of at least 1280, got 1279
		--net=slirp4netns --mtu=67|mtu must be >= 68, got 67 (--mtu takes 68 to 65521)
		-p127.0.0.1:18001:80/tcp|flag provided but not defined: -p127.0.0.1:18001:80/tcp; did you mean -p 127.0.0.1:18001:80/tcp? See `rootlesskit --help`
		--rm|flag provided but not defined: -rm; leave it out: nothing is left at the end; see `rootlesskit --help`
		--net = none|--net took the equals sign as its value; try --net=none, without blanks; see `rootlesskit --help`
		--workers=0|--workers=0 is out of range: it takes 1 to 64 threads
		--state-dir --net=none|--state-dir took the option --net=none as its value; try --state-dir=DIR --net=none; see `rootlesskit --help`
		--net=slirp4netns --cidr=10.0.2.0|invalid CIDR address: 10.0.2.0; --cidr takes an IPv4 network such as 10.0.2.0/24
		--net=slirp4netns --ifname=lo|*--ifname=lo*
		--net=slirp4netns --mtu=65522|mtu must be <= 65521, got 65522 (--mtu takes 68 to 65521)
		--cidr=10.0.0.0/24|custom cidr is not supported for --net=host; *
		--net=slirp4netns --cidr=10.0.0.1/24|*host bits*
		--ifname=a|ifname cannot be specified for --net=host; *
		--net=slirp4netns --ifname=a/b|ifname must not contain "/" (--ifname=a/b); *
		--net=slirp4netns --slirp4netns-sandbox=foo|unsupported slirp4netns-sandbox mode: "foo"*
		--net=slirp4netns --detach-netns --slirp4netns-sandbox=true|--slirp4netns-sandbox conflicts with --detach-netns*
		--reaper=foo|unknown reaper mode: foo*
		--copy-up-mode=foo|unknown copy-up mode: foo*
		--copy-up=/tmp|/tmp cannot be copied up (--copy-up=/tmp): *; try a directory in it
		--copy-up=/|/ cannot be copied up (--copy-up=/): *; try a directory in it
		--copy-up=etc|*absolute*
		--propagation=foo|*propagation*foo*
		--propagation=rshared --copy-up=/etc|propagation rshared does not support copy-up driver tmpfs+symlink*
	EOF
	assert_eq 'temporary state directories' '' "$(find "$tmp" -name 'rootlesskit*')"
}

case_forbidden_user_namespaces_are_reported_with_the_sysctl() {
	# Root of a user namespace may set the namespace's limits.
	unshare -r sh -c 'echo 0 >/proc/sys/user/max_user_namespaces' 2>/dev/null ||
		skip userns "the limit of a nested user namespace cannot be set"
	rc=0
	unshare -r sh -c 'echo 0 >/proc/sys/user/max_user_namespaces
		rootlesskit --subid-source=self true' 2>"$tmp/err" || rc=$?
	assert_eq status 1 "$rc"
	assert_match error '*user.max_user_namespaces is 0*' "$(cat "$tmp/err")"
	assert_eq 'temporary state directories' '' "$(find "$tmp" -name 'rootlesskit*')"
	# The advice names who can raise the limit: root of this user namespace, or root on the host where
	# /proc/sys is read-only, as in a container.
	for each in 'true|root' 'mount -o bind,ro /proc/sys /proc/sys|root on the host'; do
		unshare -rm sh -c "echo 0 >/proc/sys/user/max_user_namespaces; ${each%|*}
			exec '$BUILD/tools/refuse' clone_user=1 -- rootlesskit --subid-source=self true" 2>"$tmp/err" && fail 'the launcher started'
		assert_match "advice after ${each%|*}" "*; user.max_user_namespaces is 0; try, as ${each#*|}, \`sysctl -w user.max_user_namespaces=28633\`*" "$(cat "$tmp/err")"
	done
}

# The error names the kind of namespace that is at its limit.
case_a_namespace_limit_is_reported_with_the_sysctl() {
	unshare -r sh -c 'echo 0 >/proc/sys/user/max_uts_namespaces' 2>/dev/null ||
		skip userns "the limits of a nested user namespace cannot be set"
	while IFS='|' read -r kind options; do
		rc=0
		# shellcheck disable=SC2016,SC2086 # for the inner shell; options
		unshare -r sh -c 'echo 0 >"/proc/sys/user/max_$1_namespaces"; shift
			exec rootlesskit --subid-source=self "$@" true' - "$kind" $options 2>"$tmp/err" || rc=$?
		assert_eq "status for $kind" 1 "$rc"
		assert_match "error for $kind" "*\] error: starting the child in a new user namespace: no space left on device; user.max_${kind}_namespaces is 0; try, as root there, \`sysctl -w user.max_${kind}_namespaces=28633\`" \
			"$(grep error: "$tmp/err")"
	done <<-'EOF'
		user|--net=none
		mnt|
		net|--net=none --pidns --cgroupns --utsns --ipcns
		pid|--pidns --cgroupns --utsns --ipcns
		cgroup|--net=none --pidns --cgroupns --utsns --ipcns
		uts|--net=none --pidns --cgroupns --utsns --ipcns
		ipc|--net=none --pidns --cgroupns --utsns --ipcns
	EOF
	unshare -r sh -c 'echo 0 >/proc/sys/user/max_net_namespaces
		rootlesskit --subid-source=self --net=none --detach-netns true' 2>"$tmp/err" && fail 'the launcher started'
	assert_match 'error with --detach-netns' '*child \] error: creating a network namespace: no space left on device; user.max_net_namespaces is reached outside of this user namespace; try, as root there, `sysctl -w user.max_net_namespaces=28633`*' \
		"$(cat "$tmp/err")"
	# A limit that is not 0, reached in a nested user namespace.
	unshare -r sh -c 'echo 1 >/proc/sys/user/max_uts_namespaces
		rootlesskit --subid-source=self --utsns rootlesskit --subid-source=self --utsns true' 2>"$tmp/err" && fail 'the launcher started'
	assert_match 'error with a limit of 1, reached outside' '*; user.max_uts_namespaces is reached outside of this user namespace*' "$(cat "$tmp/err")"
	unshare -r sh -c 'echo 1 >/proc/sys/user/max_uts_namespaces
		unshare -u sleep 60 & while [ "$(readlink /proc/$!/ns/uts)" = "$(readlink /proc/self/ns/uts)" ]; do sleep 0.02; done
		rootlesskit --subid-source=self --utsns true; rc=$?; kill $!; exit $rc' 2>"$tmp/err" && fail 'the launcher started'
	assert_match 'error with a limit of 1, reached here' '*; user.max_uts_namespaces, which is 1 here, is reached, here or in an outer namespace; try, as root there, `sysctl -w user.max_uts_namespaces=28633`*' "$(cat "$tmp/err")"
	assert_eq 'temporary state directories' '' "$(find "$tmp" -name 'rootlesskit*')"
}

case_the_process_limit_is_reported() {
	rc=0
	# The test user already has more than one process.
	prlimit --nproc=1 rootlesskit --subid-source=self true 2>"$tmp/err" || rc=$?
	assert_eq status 1 "$rc"
	assert_match error '*: resource temporarily unavailable; the limit of processes is reached (`ulimit -u` is 1 for this user); try *ulimit -u*TasksMax=*--pids-limit*' "$(cat "$tmp/err")"
}

# refusing RULE -- COMMAND...: checks that a launcher fails with status 1 under a seccomp filter that
# refuses system calls by RULE (tests/tools/refuse.c)
refusing() {
	rc=0
	"$BUILD/tools/refuse" "$@" >"$tmp/out" 2>"$tmp/err" || rc=$?
	assert_eq "status of $*" 1 "$rc"
	assert_eq 'temporary state directories' '' "$(find "$tmp" -name 'rootlesskit*')"
}

case_a_seccomp_filter_is_reported_with_the_option_that_lifts_it() {
	for error in 'clone_user=1|starting the child in a new user namespace: operation not permitted' \
		'clone_user=22|starting the child in a new user namespace: invalid argument' \
		'clone_user=38|starting the child in a new user namespace: function not implemented' \
		'mount=1|setting the mount propagation of / to rprivate: operation not permitted' \
		'mount=13|setting the mount propagation of / to rprivate: permission denied'; do
		while IFS='|' read -r variable way; do
			refusing "${error%%|*}" -- env "$variable" rootlesskit --subid-source=self true
			assert_match "error of $error with $variable" "*\] error: ${error#*|}; this process has a seccomp filter*; try *$way*" "$(cat "$tmp/err")"
		done <<-'EOF'
			KUBERNETES_SERVICE_HOST=10.0.0.1|seccompProfile: {type: Unconfined} and appArmorProfile: {type: Unconfined} in the securityContext of the pod
			container=docker|--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined for the container
		EOF
	done
	if [ ! -e /.dockerenv ] && [ ! -e /run/.containerenv ]; then
		refusing clone_user=1 -- rootlesskit --subid-source=self true
		assert_match 'advice outside of a container' '*; try without RestrictNamespaces= and SystemCallFilter= of the service, or outside of the sandbox*' "$(cat "$tmp/err")"
	fi
	need_slirp4netns
	refusing setns=1 -- rootlesskit --subid-source=self --net=slirp4netns --disable-host-loopback true
	assert_match 'error of a network program' '*setns(CLONE_NEWNET): Operation not permitted; *; this process has a seccomp filter*' "$(cat "$tmp/err")"
}

# The launcher recognises a kernel with this restriction by a sysctl. Here a tmpfs over /proc/sys/kernel has
# a file of that name.
case_AppArmors_restriction_is_reported_with_the_fix() {
	unshare -rm mount -t tmpfs none /proc/sys/kernel 2>/dev/null || skip userns "a tmpfs cannot be mounted over /proc/sys/kernel in a nested user namespace"
	# refuse_with SYSCTL VALUE RULE: a file system over /etc has the directory $tmp/apparmor.d
	mkdir "$tmp/apparmor.d"
	refuse_with() {
		rc=0
		# shellcheck disable=SC2016 # for the inner shell
		unshare -rm sh -c 'mount -t tmpfs none /proc/sys/kernel; echo "$3" >"/proc/sys/kernel/$2"
			mount -t tmpfs none /etc; cp -r "$5" /etc/
			exec "$1/tools/refuse" "$4" -- rootlesskit --subid-source=self true' - "$BUILD" "$@" "$tmp/apparmor.d" 2>"$tmp/err" || rc=$?
		assert_eq status 1 "$rc"
	}
	exe=$(readlink -f "$BUILD/rlkbox")
	name=$(echo "$exe" | sed 's,^/,,; s/[^A-Za-z0-9_-]/./g')
	profile="\`echo 'abi <abi/4.0>, profile $name \"$exe\" flags=(unconfined) { userns, }' >/etc/apparmor.d/$name && apparmor_parser -r /etc/apparmor.d/$name\`"
	# AppArmor either refuses the namespace, or grants no capabilities in it.
	for how in clone_user=1 mount=13; do
		refuse_with apparmor_restrict_unprivileged_userns 1 "$how"
		assert_match "error with $how" "*; AppArmor restricts user namespaces to programs with a profile; try, as root on the host, $profile, or, for all programs, \`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0\`*" \
			"$(cat "$tmp/err")"
		refuse_with apparmor_restrict_unprivileged_userns 0 "$how"
		assert_eq "when it is off, with $how" 0 "$(grep -c 'AppArmor restricts' "$tmp/err")"
	done
	# The profile that make install writes must only be loaded.
	BINDIR=$(dirname "$exe") APPARMOR_DIR=/apparmor.d DESTDIR=$tmp "$here/../../etc/apparmor.sh" install
	assert_eq 'files of profiles' "$name" "$(ls "$tmp/apparmor.d")"
	refuse_with apparmor_restrict_unprivileged_userns 1 clone_user=1
	assert_match 'error with a profile that is not loaded' \
		"*; try, as root on the host, \`apparmor_parser -r /etc/apparmor.d/$name\`, or, for all programs, *" "$(cat "$tmp/err")"
	refuse_with unprivileged_userns_clone 0 clone_user=1
	assert_match "Debian's sysctl" '*; kernel.unprivileged_userns_clone is 0; try, as root on the host, `sysctl -w kernel.unprivileged_userns_clone=1`*' "$(cat "$tmp/err")"
}

case_a_chroot_and_an_unmapped_user_are_named_as_reasons() {
	mkdir -p "$tmp/root/proc" "$tmp/root/dev" "$tmp/root/t"
	cp "$BUILD/rlkbox" "$tmp/root/rootlesskit"
	# the program's libraries, if it is linked dynamically
	for library in $(ldd "$BUILD/rlkbox" 2>/dev/null | grep -o '/[^ ]*'); do
		mkdir -p "$tmp/root${library%/*}"
		cp "$library" "$tmp/root$library"
	done
	rc=0
	# shellcheck disable=SC2016 # for the inner shell
	unshare -rmpf sh -c 'mount -t proc none "$1/proc" && mount --rbind /dev "$1/dev" && exec env TMPDIR=/t chroot "$1" /rootlesskit --subid-source=self /x' - "$tmp/root" 2>"$tmp/err" || rc=$?
	assert_eq 'status in a chroot' 1 "$rc"
	assert_match 'error in a chroot' '*operation not permitted; this is a chroot*pivot_root*' "$(cat "$tmp/err")"
	rc=0
	unshare -U rootlesskit --subid-source=self true 2>"$tmp/err" || rc=$?
	assert_eq 'status without an ID' 1 "$rc"
	assert_match 'error without an ID' '*; this user does not exist in its own user namespace*' "$(cat "$tmp/err")"
}

case_debug_logs_each_step() {
	port=$(free_port)
	rootlesskit --debug --state-dir="$tmp/st" --net=none --pidns --copy-up=/etc --propagation=rslave \
		--port-driver=builtin -p "127.0.0.1:$port:80/tcp" \
		sh -c 'cat "$ROOTLESSKIT_STATE_DIR/child_pid" /proc/self/uid_map' >"$tmp/out" 2>"$tmp/err"
	child=$(head -n 1 "$tmp/out" | cut -d ' ' -f 1)
	child=${child%%[!0-9]*}
	while read -r who step; do
		grep -q "level=debug msg=\"\[rootlesskit:$who *\] $step" "$tmp/err" ||
			fail "the $who has not logged \"$step\": $(cat "$tmp/err")"
	done <<-EOF
		parent state directory: $tmp/st"
		parent the child is PID $child, in new namespaces: user mnt net pid"
		parent executed .*/newuidmap $child 0 $(id -u) 1 1 [0-9]* [0-9]*.*: PID [0-9]*"
		parent uid_map of the child: 0 $(id -u) 1, 1 [0-9]* [0-9]*
		parent gid_map of the child: 0 $(id -g) 1, 1 [0-9]* [0-9]*
		parent the child has its IDs
		child mounted proc on /proc"
		child mount propagation of /: rslave"
		child copied up /etc"
		child mounted sysfs on /sys"
		child the port service is up: $tmp/st/.bp.sock"
		parent published port 1: 127.0.0.1:$port:80/tcp"
		parent the API is up: $tmp/st/api.sock"
		child executed .*/sh -c cat .*: PID [0-9]*"
	EOF
	# Steps that the options do not ask for are neither done nor logged.
	rootlesskit --debug true 2>"$tmp/err"
	for word in cgroup 'proc on' sysfs 'copied up' 'published' 'port service' 'new namespaces: .*net'; do
		! grep -q "level=debug.*$word" "$tmp/err" || fail "\"$word\" is in the log: $(cat "$tmp/err")"
	done
}

case_log_lines_are_plain_in_a_file_and_colored_on_a_terminal() {
	rootlesskit --mtu=1500 true 2>"$tmp/err"
	assert_match 'a line in a file' 'time="20[0-9][0-9]-*T*" level=warning msg="\[rootlesskit:parent\] unsupported mtu for --net=host: 1500"' "$(cat "$tmp/err")"
	script -qec 'rootlesskit --mtu=1500 true' /dev/null >"$tmp/tty" </dev/null
	assert_eq 'a line on a terminal' "$(printf '\033[33mWARN\033[0m[0000] [rootlesskit:parent] unsupported mtu for --net=host: 1500 \r')" "$(cat "$tmp/tty")"
}

# Sanitizers need a larger stack and more address space.
is_sanitized() {
	grep -qE '__(asan|tsan)_init' "$BUILD/rlkbox"
}

case_a_small_stack_is_enough() {
	! is_sanitized || return 0
	for size in 64 128 unlimited; do
		# shellcheck disable=SC3045 # of all shells that are /bin/sh
		(
			ulimit -s "$size"
			launch --subid-source=self --net=none --copy-up=/run --pidns --cgroupns \
				--utsns --ipcns --port-driver=builtin \
				-p "127.0.0.1:$(free_port):80/tcp" \
				sh -c 'rootlessctl --socket="$ROOTLESSKIT_STATE_DIR/api.sock" info'
			assert_eq "error of ulimit -s $size" '' "$err"
			assert_eq status 0 "$rc"
			assert_match info '*REST API version*' "$out"
		)
	done
}

case_too_little_memory_for_the_workers_is_an_error() {
	! is_sanitized || return 0
	# The stacks of 64 workers, of 256 KiB each, do not fit.
	# shellcheck disable=SC3045
	(
		ulimit -v 12000
		launch --subid-source=self --net=none --port-driver=builtin --workers=64 true
		assert_eq status 1 "$rc"
		assert_match error '*error: starting 64 workers: *' "$err"
	)
}

run_cases \
	version_options_print_3_3_0 \
	help_names_every_option \
	the_exit_status_is_that_of_the_command \
	the_error_names_the_signal_that_ended_the_command \
	a_command_that_cannot_be_executed_is_an_error_with_the_reason \
	too_few_file_descriptors_are_reported_with_ulimit \
	a_script_that_cannot_be_executed_is_reported_with_the_fix \
	a_mistyped_command_gets_a_hint \
	a_missing_command_is_an_error \
	the_command_gets_three_more_environment_variables \
	internal_variables_of_the_callers_environment_are_ignored \
	the_command_inherits_only_descriptors_0_to_2 \
	socket_activation_descriptors_keep_their_numbers \
	socket_activation_of_another_process_is_left_unchanged \
	the_command_inherits_limits_and_ignored_signals \
	the_user_is_root_inside_and_has_its_subordinate_IDs \
	subid_source_selects_where_ranges_come_from \
	overlapping_ranges_are_cut \
	as_many_ranges_are_mapped_as_the_kernel_accepts \
	malformed_subid_lines_are_skipped_with_a_warning \
	subid_files_may_have_comments_and_repeated_lines \
	a_missing_final_newline_of_a_subid_file_is_reported \
	without_ranges_the_error_proposes_free_ones \
	no_range_is_proposed_that_cannot_be_added \
	subid_source_auto_asks_getsubids_for_users_without_ranges \
	a_missing_newuidmap_is_reported_with_the_fix \
	a_newuidmap_without_privileges_is_reported_with_the_fix \
	auto_maps_only_the_own_ID_where_newuidmap_cannot_work \
	auto_maps_only_the_own_ID_without_newuidmap \
	auto_maps_only_the_own_ID_of_a_user_without_ranges \
	auto_does_not_hide_mistakes \
	no_option_needs_a_second_ID \
	standard_input_reaches_the_command \
	the_command_runs_in_the_callers_directory \
	signals_are_forwarded_to_the_command \
	SIGTERM_ends_the_command \
	killing_the_parent_ends_everything_and_a_new_start_works \
	killing_the_child_ends_everything \
	background_processes_outlive_the_command \
	a_signal_during_the_start_ends_the_launcher \
	a_signal_ends_the_launcher_while_a_helper_program_hangs \
	nohup_protects_the_start_from_a_hangup \
	invalid_options_are_errors_with_a_hint \
	forbidden_user_namespaces_are_reported_with_the_sysctl \
	a_namespace_limit_is_reported_with_the_sysctl \
	the_process_limit_is_reported \
	a_seccomp_filter_is_reported_with_the_option_that_lifts_it \
	AppArmors_restriction_is_reported_with_the_fix \
	a_chroot_and_an_unmapped_user_are_named_as_reasons \
	debug_logs_each_step \
	log_lines_are_plain_in_a_file_and_colored_on_a_terminal \
	a_small_stack_is_enough \
	too_little_memory_for_the_workers_is_an_error
