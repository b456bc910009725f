#!/bin/sh
# What a start costs: which programs it runs, and how much memory stays. No time is measured here.
. "$(dirname "$0")/lib.sh"

MOST_KB=3072 # resident, parent and child together, linked statically
MOST_KB_DYNAMIC=6144

# The two lines that start-up is measured by, but for the command.
none='--net=none --port-driver=builtin'
full='--net=slirp4netns --mtu=65520 --disable-host-loopback --slirp4netns-sandbox=auto
	--slirp4netns-seccomp=auto --copy-up=/etc --copy-up=/run --propagation=rslave
	--port-driver=builtin'

# counting PROGRAM...: makes $tmp/bin, where there are these programs and nothing else that a launcher
# could run. Each call adds a line to $tmp/ran. A program that the system does not have fails.
counting() {
	mkdir -p "$tmp/bin"
	: >"$tmp/ran"
	ln -sf /bin/true "$tmp/bin/true" # a shell's `command -v` names its own
	for program; do
		real=$(command -v "$program" || echo /bin/false)
		# shellcheck disable=SC2016 # for the script
		printf '#!%s\necho "%s $*" >>"%s"\nexec %s "$@"\n' "$(command -v sh)" "$program" "$tmp/ran" \
			"$real" >"$tmp/bin/$program"
		chmod +x "$tmp/bin/$program"
	done
}

# The names of what was run, sorted.
ran() {
	cut -d' ' -f1 "$tmp/ran" | sort | tr '\n' ' ' | sed 's/ $//'
}

all_programs='newuidmap newgidmap getsubids getent slirp4netns pasta ip nsenter mount umount unshare
	iptables nft sysctl touch ls id'

case_the_plain_line_runs_two_programs() {
	need newuidmap
	# shellcheck disable=SC2086 # words
	counting $all_programs
	# shellcheck disable=SC2086
	env PATH="$tmp/bin" "$bin/rootlesskit" $none true
	assert_eq programs 'newgidmap newuidmap' "$(ran)"
}

case_the_full_line_runs_three_programs() {
	need newuidmap
	need_tun
	# shellcheck disable=SC2086 # words
	counting $all_programs
	# shellcheck disable=SC2086
	env PATH="$tmp/bin" "$bin/rootlesskit" $full true
	assert_eq programs 'newgidmap newuidmap slirp4netns' "$(ran)"
}

case_with_ones_own_ID_only_the_launcher_and_the_command_are_executed() {
	need strace
	strace -f -qq -e trace=execve -e signal=none -o "$tmp/trace" true 2>/dev/null ||
		skip ptrace "processes may not be traced here"
	export ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS-}" # it cannot be traced itself
	# shellcheck disable=SC2086 # words
	strace -f -qq -e trace=execve -e signal=none -o "$tmp/trace" \
		"$bin/rootlesskit" --subid-source=self $none /bin/true
	assert_eq 'programs executed' 3 "$(grep -c 'execve(.*) = 0' "$tmp/trace")"
}

case_getsubids_is_asked_no_question_twice() {
	need newuidmap
	counting newuidmap newgidmap
	printf '#!%s\necho "getsubids $*" >>"%s"\nexit 1\n' "$(command -v sh)" "$tmp/ran" >"$tmp/bin/ask"
	chmod +x "$tmp/bin/ask"
	# It knows nothing, so all that is asked is asked.
	env PATH="$tmp/bin" GETSUBIDS="$tmp/bin/ask" "$bin/rootlesskit" true
	assert_eq questions "$(printf '%s\n' "getsubids $(id -un)" "getsubids $(id -u)" \
		"getsubids -g $(id -un)" "getsubids -g $(id -u)")" "$(grep getsubids "$tmp/ran")"
	: >"$tmp/ran"
	env PATH="$tmp/bin" GETSUBIDS="$tmp/bin/ask" "$bin/rootlesskit" --subid-source=static true
	assert_eq programs 'newgidmap newuidmap' "$(ran)"
}

# As root of a namespace in which /etc/passwd is another one.
case_a_user_whom_passwd_does_not_know_is_asked_for_once() {
	mkdir "$tmp/bin"
	: >"$tmp/ran"
	printf '#!%s\necho "getent $*" >>"%s"\necho "of the directory:x:0:0::/:/bin/sh"\n' \
		"$(command -v sh)" "$tmp/ran" >"$tmp/bin/getent"
	printf '#!%s\necho "newuidmap $*" >>"%s"\nexit 1\n' "$(command -v sh)" "$tmp/ran" >"$tmp/bin/newuidmap"
	cp "$tmp/bin/newuidmap" "$tmp/bin/newgidmap"
	chmod +x "$tmp/bin/getent" "$tmp/bin/newuidmap" "$tmp/bin/newgidmap"
	echo 'somebody:x:4711:4711::/:/bin/sh' >"$tmp/passwd"
	echo 'of the directory:300000:5' >"$tmp/subid"
	# shellcheck disable=SC2016 # for the inner shell
	run='mount --bind "$1/passwd" /etc/passwd
		mount --bind "$1/subid" /etc/subuid
		mount --bind "$1/subid" /etc/subgid
		PATH=$1/bin exec "$2" --subid-source=static true'
	assert_fails unshare -rm sh -ec "$run" - "$tmp" "$bin/rootlesskit"
	assert_eq 'how often' 1 "$(grep -c '^getent passwd 0$' "$tmp/ran")"
	grep -q '^newuidmap [0-9]* 0 0 1 1 300000 5$' "$tmp/ran" || fail "its range is not used: $(cat "$tmp/ran")"
	# Where there is no getent the user is known by its number.
	rm "$tmp/bin/getent"
	echo '0:400000:5' >"$tmp/subid"
	: >"$tmp/ran"
	assert_fails unshare -rm sh -ec "$run" - "$tmp" "$bin/rootlesskit"
	grep -q '^newuidmap [0-9]* 0 0 1 1 400000 5$' "$tmp/ran" || fail "its range is not used: $(cat "$tmp/ran")"
}

# resident PID...: kB
resident() {
	for process; do
		sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB$/\1/p' "/proc/$process/status"
	done | awk '{ sum += $1 } END { print sum }'
}

# assert_small OPTION...: how much memory the two processes have, when they have started
assert_small() {
	ldd "$BUILD/rlkbox" >"$tmp/ldd" 2>&1 || true
	! grep -q -e libasan -e libtsan -e libubsan "$tmp/ldd" || return 0 # it is a sanitizer's memory
	most=$MOST_KB
	! grep -q 'libc\.' "$tmp/ldd" || most=$MOST_KB_DYNAMIC
	start "$@" sleep 60
	kb=$(resident "$pid" "$child")
	stop
	{ [ "$kb" -gt 0 ] && [ "$kb" -le "$most" ]; } || fail "$kb kB are resident, more than $most"
}

case_little_memory_stays() {
	# shellcheck disable=SC2086 # words
	assert_small $none
}

case_little_memory_stays_with_a_network() {
	need_tun
	# shellcheck disable=SC2086 # words
	assert_small $full
}

run_cases \
	the_plain_line_runs_two_programs \
	the_full_line_runs_three_programs \
	with_ones_own_ID_only_the_launcher_and_the_command_are_executed \
	getsubids_is_asked_no_question_twice \
	a_user_whom_passwd_does_not_know_is_asked_for_once \
	little_memory_stays \
	little_memory_stays_with_a_network
