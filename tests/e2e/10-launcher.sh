#!/bin/sh
# The launcher: what the command sees, exit statuses and error lines, signals.
. "$(dirname "$0")/lib.sh"

case_versions_are_those_that_clients_compare() {
	launch --version
	assert_match version 'rootlesskit version 3.0.1+rlkbox.*' "$out"
	launch -v
	assert_match version 'rootlesskit version 3.0.1+rlkbox.*' "$out"
	for part in major:3 minor:0 patch:1; do
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

case_exit_status_is_the_commands() {
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

case_a_signal_that_ends_the_command_is_named() {
	for signal in TERM:terminated KILL:killed USR1:'user defined signal 1' HUP:hangup; do
		launch sh -c "kill -${signal%%:*} \$\$; sleep 5"
		assert_eq status 255 "$rc"
		assert_eq error "[rootlesskit:child ] error: command [sh -c kill -${signal%%:*} \$\$; sleep 5] exited: signal: ${signal#*:}
[rootlesskit:parent] error: child exited: exit status 255" "$err"
	done
}

case_a_command_that_cannot_be_executed() {
	echo 'not a program' >"$tmp/data"
	chmod 644 "$tmp/data"
	parent='[rootlesskit:parent] error: child exited: exit status 1'
	launch nosuchcommand
	assert_eq status 1 "$rc"
	assert_eq error "[rootlesskit:child ] error: command [nosuchcommand] exited: exec: \"nosuchcommand\": executable file not found in \$PATH
$parent" "$err"
	launch /etc
	assert_eq error "[rootlesskit:child ] error: command [/etc] exited: fork/exec /etc: permission denied
$parent" "$err"
	launch "$tmp/data"
	assert_eq error "[rootlesskit:child ] error: command [$tmp/data] exited: fork/exec $tmp/data: permission denied
$parent" "$err"
	launch /nonexistent/x
	assert_eq error "[rootlesskit:child ] error: command [/nonexistent/x] exited: fork/exec /nonexistent/x: no such file or directory
$parent" "$err"
	launch ''
	assert_eq error "[rootlesskit:child ] error: command [] exited: exec: no command
$parent" "$err"
	assert_eq 'temporary state directories' '' "$(find "$tmp" -name 'rootlesskit*')"
}

case_no_command() {
	launch
	assert_eq status 1 "$rc"
	assert_eq error '[rootlesskit:parent] error: no command specified' "$err"
	launch --
	assert_eq error '[rootlesskit:parent] error: no command specified' "$err"
	launch -- echo --help -v
	assert_eq output '--help -v' "$out"
}

case_the_environment_has_three_more_variables() {
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

case_private_variables_that_are_set_already_do_no_harm() {
	# shellcheck disable=SC2016 # for the inner shell
	ROOTLESSKIT_STATE_DIR=/nonexistent _RLKBOX_CHILD=9,9,9,9 launch sh -c 'echo $ROOTLESSKIT_STATE_DIR'
	assert_eq status 0 "$rc"
	assert_match 'state directory' "$tmp/rootlesskit*" "$out"
}

case_the_command_inherits_no_other_descriptor() {
	exec 7</dev/null 8>"$tmp/eight"
	launch sh -c 'ls /proc/self/fd'
	# 3 is that of ls itself
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

case_socket_activation_for_another_process_is_let_alone() {
	exec 3</dev/null
	# shellcheck disable=SC2016 # for the inner shell
	LISTEN_PID=1 LISTEN_FDS=1 launch sh -c 'echo $LISTEN_PID $LISTEN_FDS; readlink /proc/$$/fd/3 || echo none'
	assert_eq output "$(printf '1 1\nnone')" "$out"
}

# Signals that are blocked or ignored. 32 and 33 are glibc's own: each program sets them as it likes.
signals() {
	# The shell itself would block signals while it waits for grep.
	"$@" sh -c 'ulimit -Sn -Hn; exec grep -E "^Sig(Blk|Ign)" /proc/self/status' |
		sed 's/[0189]\([0-9a-f]\{7\}\)$/_\1/; s/[0-3]_/_/'
}

case_limits_and_signals_of_the_command_are_as_they_were() {
	ulimit -Sn 512
	before=$(signals env)
	assert_eq 'limits and signals' "$before" "$(signals rootlesskit --net=none --port-driver=builtin)"
	trap '' PIPE USR2
	before=$(signals env)
	assert_match 'ignored signals' '*SigIgn*[1-9a-f]*' "$before"
	assert_eq 'ignored signals' "$before" "$(signals rootlesskit)"
}

case_inside_the_user_is_root_with_its_subordinate_IDs() {
	[ -n "$(command -v newuidmap)" ] || skip newuidmap "it is not installed"
	launch sh -c 'id -u; id -g; cat /proc/self/uid_map; grep -E "^Cap(Inh|Amb|Eff)" /proc/self/status'
	line=$(grep "^$(id -un):" /etc/subuid | head -n 1)
	first=$(echo "$line" | cut -d: -f2)
	count=$(echo "$line" | cut -d: -f3)
	capabilities=$(unshare -r sh -c 'grep ^CapEff /proc/self/status')
	assert_eq output "$(printf '0\n0\n%10d %10d %10d\n%10d %10d %10d\nCapInh:\t%s\n%s\nCapAmb:\t%s' 0 "$(id -u)" 1 1 "$first" "$count" \
		0000000000000000 "$capabilities" 0000000000000000)" "$out"
}

case_subid_sources() {
	for source in static auto; do
		launch --subid-source="$source" sh -c 'wc -l </proc/self/uid_map'
		assert_eq "$source" 2 "$out"
	done
	launch --subid-source=self sh -c 'wc -l </proc/self/uid_map; cat /proc/self/setgroups; id -u'
	assert_eq self "$(printf '1\ndeny\n0')" "$out"
	# shellcheck disable=SC2016 # for the inner shell
	printf '#!/bin/sh\n[ "$1" = -g ] && shift\n[ "$1" = %s ] || exit 1\necho "0: %s 777000 5"\n' \
		"$(id -u)" "$(id -un)" >"$tmp/getsubids"
	chmod +x "$tmp/getsubids"
	GETSUBIDS=$tmp/getsubids launch --subid-source=dynamic true
	# newuidmap refuses what is not the user's, but it was asked for that.
	assert_match 'ranges of $GETSUBIDS' '*newuidmap*' "$err"
	GETSUBIDS=/bin/false launch --subid-source=dynamic true
	assert_match 'no ranges' '*No subuid ranges found for user*' "$err"
	assert_eq status 1 "$rc"
	launch --subid-source=foo true
	assert_match 'unknown source' '*unknown subid source: foo*' "$err"
}

case_without_newuidmap_the_way_out_is_named() {
	mkdir "$tmp/bin"
	ln -s /bin/true "$tmp/bin/true"
	rc=0
	env PATH="$tmp/bin" "$bin/rootlesskit" true 2>"$tmp/err" || rc=$?
	assert_eq status 1 "$rc"
	assert_match error '*"newuidmap": executable file not found*uidmap*--subid-source=self*' "$(cat "$tmp/err")"
	env PATH="$tmp/bin" "$bin/rootlesskit" --subid-source=self true
}

case_standard_input_reaches_the_command() {
	assert_eq output through "$(echo through | rootlesskit cat)"
}

case_the_command_runs_in_the_same_directory() {
	cd "$tmp"
	printf '#!/bin/sh\npwd\n' >here.sh
	chmod +x here.sh
	launch ./here.sh
	assert_eq output "$tmp" "$out"
}

# shellcheck disable=SC2016 # for the inner shell
trapping='for s in INT TERM HUP QUIT USR1 USR2 CONT WINCH; do trap "echo got $s; exit 7" $s; done
	echo ready; for i in 1 2 3 4 5 6 7 8 9 10; do sleep .1; done'

case_signals_reach_the_command() {
	for signal in INT TERM HUP QUIT USR1 USR2 CONT WINCH; do
		start sh -c "$trapping"
		wait_until 5 grep -q ready "$tmp/bg.out"
		kill -"$signal" "$pid"
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

# The processes below the child: the command.
command_of() {
	cat "/proc/$1/task/$1/children"
}

case_kill_9_of_the_parent_ends_all_and_a_new_start_works() {
	start --net=none --port-driver=builtin sleep 60
	command=$(command_of "$child")
	[ -n "$command" ] || fail 'no command'
	kill -KILL "$pid"
	wait_until 5 has_ended "$child"
	# shellcheck disable=SC2086 # PIDs
	wait_until 5 has_ended $command
	start --net=none --port-driver=builtin sleep 60
	stop
}

case_kill_9_of_the_child_ends_all() {
	start --net=none --port-driver=builtin sleep 60
	command=$(command_of "$child")
	kill -KILL "$child"
	finish
	assert_eq status 255 "$rc"
	assert_eq error '[rootlesskit:parent] error: child exited: signal: killed' "$(cat "$tmp/bg.err")"
	# shellcheck disable=SC2086 # PIDs
	wait_until 5 has_ended $command
}

case_background_processes_outlive_the_command() {
	launch sh -c 'sleep 30 >/dev/null 2>&1 & echo $!'
	kill -0 "$out" || fail "the process $out is gone"
	kill "$out"
}

case_a_signal_during_the_start_ends_it() {
	# A network program that never becomes ready.
	printf '#!/bin/sh\nexec sleep 60\n' >"$tmp/slow"
	chmod +x "$tmp/slow"
	state=$tmp/state
	rootlesskit --state-dir="$state" --net=slirp4netns --slirp4netns-binary="$tmp/slow" \
		--disable-host-loopback true >"$tmp/bg.out" 2>"$tmp/bg.err" &
	pid=$!
	need_tun
	wait_until 5 pgrep -P "$pid" sleep
	stop
	assert_eq status 1 "$rc"
	assert_match error '*ended before the command was started: signal: terminated*' "$(cat "$tmp/bg.err")"
}

case_a_hanging_helper_program_does_not_keep_signals_away() {
	printf '#!/bin/sh\nexec sleep 60\n' >"$tmp/getsubids"
	chmod +x "$tmp/getsubids"
	GETSUBIDS=$tmp/getsubids rootlesskit --state-dir="$tmp/state" --subid-source=dynamic true \
		2>"$tmp/err" &
	pid=$!
	wait_until 5 pgrep -P "$pid" sleep
	kill -TERM "$pid"
	wait_until 3 has_ended "$pid"
}

case_a_start_under_nohup_is_not_ended_by_a_hangup() {
	printf '#!/bin/sh\nwhile [ ! -e %s/go ]; do sleep 0.02; done\nexec newuidmap "$@"\n' "$tmp" >"$tmp/newuidmap"
	mkdir "$tmp/bin"
	sed "s,exec newuidmap,exec $(command -v newuidmap)," "$tmp/newuidmap" >"$tmp/bin/newuidmap"
	chmod +x "$tmp/bin/newuidmap"
	env PATH="$tmp/bin:$PATH" nohup rootlesskit --state-dir="$tmp/state" echo 'done' >"$tmp/out" 2>"$tmp/err" &
	pid=$!
	wait_until 5 pgrep -P "$pid" newuidmap
	kill -HUP "$pid"
	touch "$tmp/go"
	wait "$pid"
	assert_eq output 'done' "$(cat "$tmp/out")"
}

case_bad_command_lines() {
	launch --no-such-flag true
	assert_eq status 1 "$rc"
	assert_eq error '[rootlesskit:parent] error: flag provided but not defined: -no-such-flag' "$err"
	assert_match output 'Incorrect Usage: flag provided but not defined: -no-such-flag*--copy-up*' "$out"
	while IFS='|' read -r options message; do
		# shellcheck disable=SC2086 # options
		launch $options true
		assert_eq "status of $options" 1 "$rc"
		assert_match "error of $options" "\[rootlesskit:parent\] error: $message" "$err"
		case $message in
		invalid*) ;; # a line that cannot be read gets the help
		*) assert_eq "output of $options" '' "$out" ;;
		esac
	done <<-'EOF'
		--net=foo|unknown network mode: foo*
		--net=vpnkit|--net=vpnkit is not in this program: --net takes host, none, slirp4netns or pasta
		--net=none --port-driver=gvisor-tap-vsock|--port-driver=gvisor-tap-vsock is not in this program: *
		--net=pasta --port-driver=builtin|network "pasta" requires port driver "none" or "implicit"*
		--port-driver=implicit --net=slirp4netns|port driver requires pasta network*
		--port-driver=slirp4netns|port driver requires slirp4netns network*
		--net=pasta --port-driver=implicit -p 127.0.0.1:18001:80/tcp|port driver "implicit" does not support publishing ports*
		--evacuate-cgroup2=x|evacuate-cgroup2 requires --cgroupns*
		--evacuate-cgroup2=x --cgroupns|evacuate-cgroup2 requires --pidns*
		--evacuate-cgroup2=a/b --cgroupns --pidns|--evacuate-cgroup2=a/b is not the name of a cgroup
		--pidns=maybe|invalid boolean value "maybe" for -pidns: parse error
		--pidns --reaper=foo|unknown reaper mode: foo*
		--pidns=false --reaper=true|reaper requires --pidns*
		--port-driver=builtin|port driver requires non-host network*
		--net=none --port-driver=foo|network "none" requires either port driver "none" or "builtin"*
		-p 127.0.0.1:18001:80/tcp|port driver "none" does not support publishing ports*
		--net=none -p 127.0.0.1:18001:80/tcp|port driver "none" does not support publishing ports*
		--mtu=abc|invalid value "abc" for flag -mtu: parse error
		--net=slirp4netns --ipv6 --mtu=1279|--ipv6 needs an --mtu of at least 1280, got 1279
		--net=slirp4netns --mtu=67|mtu must be >= 68, got 67
		--net=slirp4netns --ifname=lo|*--ifname=lo*
		--net=slirp4netns --mtu=65522|mtu must be <= 65521, got 65522
		--cidr=10.0.0.0/24|custom cidr is not supported for --net=host
		--net=slirp4netns --cidr=10.0.0.1/24|*host bits*
		--ifname=a|ifname cannot be specified for --net=host
		--net=slirp4netns --ifname=a/b|ifname must not contain "/"
		--net=slirp4netns --slirp4netns-sandbox=foo|unsupported slirp4netns-sandbox mode: "foo"*
		--net=slirp4netns --detach-netns --slirp4netns-sandbox=true|--slirp4netns-sandbox conflicts with --detach-netns*
		--reaper=foo|unknown reaper mode: foo*
		--reaper=true|reaper requires --pidns*
		--copy-up-mode=foo|unknown copy-up mode: foo*
		--copy-up=/tmp|/tmp cannot be copied up
		--copy-up=/|*cannot be copied up
		--copy-up=etc|*absolute*
		--propagation=foo|*propagation*foo*
		--propagation=rshared --copy-up=/etc|propagation rshared does not support copy-up driver tmpfs+symlink*
	EOF
	assert_eq 'temporary state directories' '' "$(find "$tmp" -name 'rootlesskit*')"
}

case_forbidden_user_namespaces_name_the_sysctl() {
	# In a user namespace of our own the limit is ours to set.
	unshare -r sh -c 'echo 0 >/proc/sys/user/max_user_namespaces' 2>/dev/null ||
		skip userns "the limit of a nested user namespace cannot be set"
	rc=0
	unshare -r sh -c 'echo 0 >/proc/sys/user/max_user_namespaces
		rootlesskit --subid-source=self true' 2>"$tmp/err" || rc=$?
	assert_eq status 1 "$rc"
	assert_match error '*user.max_user_namespaces is 0*' "$(cat "$tmp/err")"
	assert_eq 'temporary state directories' '' "$(find "$tmp" -name 'rootlesskit*')"
}

case_AppArmors_restriction_is_named() {
	# A kernel that has it shows a sysctl, which a tmpfs can show too. Then a failure is provoked.
	unshare -rm sh -c 'mount -t tmpfs none /proc/sys/kernel && echo 0 >/proc/sys/user/max_user_namespaces' \
		2>/dev/null || skip userns "a nested user namespace may not do that"
	rc=0
	unshare -rm sh -c 'mount -t tmpfs none /proc/sys/kernel
		echo 1 >/proc/sys/kernel/apparmor_restrict_unprivileged_userns
		echo 0 >/proc/sys/user/max_user_namespaces
		exec rootlesskit --subid-source=self true' 2>"$tmp/err" || rc=$?
	assert_eq status 1 "$rc"
	assert_match error '*AppArmor restricts user namespaces*sysctl -w*' "$(cat "$tmp/err")"
	# Where the namespace may be made but gives no rights, the child is the one to tell.
	rc=0
	unshare -rm sh -c 'mount -t tmpfs none /proc/sys/kernel
		echo 1 >/proc/sys/kernel/apparmor_restrict_unprivileged_userns
		exec setpriv --bounding-set -sys_admin rootlesskit --subid-source=self \
			--copy-up=/etc true' 2>"$tmp/err2" || rc=$?
	if [ "$rc" -ne 0 ]; then
		assert_match error '*AppArmor restricts user namespaces*' "$(cat "$tmp/err2")"
	fi
}

case_debug_logs_each_step() {
	rootlesskit --debug --net=none --port-driver=builtin true 2>"$tmp/err"
	for step in 'parent\] the child has its IDs' 'parent\] the API is up' 'child \] the port service is up'; do
		grep -q "level=debug msg=\"\[rootlesskit:$step" "$tmp/err" || fail "no \"$step\" in: $(cat "$tmp/err")"
	done
}

case_log_lines() {
	rootlesskit --mtu=1500 true 2>"$tmp/err"
	assert_match 'to a file' 'time="20[0-9][0-9]-*T*" level=warning msg="\[rootlesskit:parent\] unsupported mtu for --net=host: 1500"' "$(cat "$tmp/err")"
	script -qec 'rootlesskit --mtu=1500 true' /dev/null >"$tmp/tty" </dev/null
	assert_eq 'to a terminal' "$(printf '\033[33mWARN\033[0m[0000] [rootlesskit:parent] unsupported mtu for --net=host: 1500 \r')" "$(cat "$tmp/tty")"
}

run_cases \
	versions_are_those_that_clients_compare \
	help_names_every_option \
	exit_status_is_the_commands \
	a_signal_that_ends_the_command_is_named \
	a_command_that_cannot_be_executed \
	no_command \
	the_environment_has_three_more_variables \
	private_variables_that_are_set_already_do_no_harm \
	the_command_inherits_no_other_descriptor \
	socket_activation_descriptors_keep_their_numbers \
	socket_activation_for_another_process_is_let_alone \
	limits_and_signals_of_the_command_are_as_they_were \
	inside_the_user_is_root_with_its_subordinate_IDs \
	subid_sources \
	without_newuidmap_the_way_out_is_named \
	standard_input_reaches_the_command \
	the_command_runs_in_the_same_directory \
	signals_reach_the_command \
	SIGTERM_ends_the_command \
	kill_9_of_the_parent_ends_all_and_a_new_start_works \
	kill_9_of_the_child_ends_all \
	background_processes_outlive_the_command \
	a_signal_during_the_start_ends_it \
	a_hanging_helper_program_does_not_keep_signals_away \
	a_start_under_nohup_is_not_ended_by_a_hangup \
	bad_command_lines \
	forbidden_user_namespaces_name_the_sysctl \
	AppArmors_restriction_is_named \
	debug_logs_each_step \
	log_lines
