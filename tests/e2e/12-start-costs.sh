#!/bin/sh
# What a start costs: which programs it runs, and how much memory the launcher uses afterwards.
# tests/bench measures its time.
. "$(dirname "$0")/lib.sh"

MAX_KB=3072 # resident memory of parent and child together, for a static program
MAX_KB_DYNAMIC=6144

# The options of the two starts that tests/bench measures.
none='--net=none --port-driver=builtin'
full='--net=slirp4netns --mtu=65520 --disable-host-loopback --slirp4netns-sandbox=auto
	--slirp4netns-seccomp=auto --copy-up=/etc --copy-up=/run --propagation=rslave
	--port-driver=builtin'

# counting PROGRAM...: creates $tmp/bin for $PATH. It has only `true` and these programs. Each of them
# adds a line to $tmp/ran when it is run. One that is not installed fails.
counting() {
	mkdir -p "$tmp/bin"
	: >"$tmp/ran"
	ln -sf /bin/true "$tmp/bin/true" # not by `command -v`, which prints only the name of a shell builtin
	for program; do
		real=$(command -v "$program" || echo /bin/false)
		# shellcheck disable=SC2016 # for the script
		printf '#!%s\necho "%s $*" >>"%s"\nexec %s "$@"\n' "$(command -v sh)" "$program" "$tmp/ran" \
			"$real" >"$tmp/bin/$program"
		chmod +x "$tmp/bin/$program"
	done
}

# Prints the names of the programs that were run, sorted.
ran() {
	cut -d' ' -f1 "$tmp/ran" | sort | tr '\n' ' ' | sed 's/ $//'
}

all_programs='newuidmap newgidmap getsubids getent slirp4netns pasta ip nsenter mount umount unshare
	iptables nft sysctl touch ls id'

case_a_start_without_network_runs_only_newuidmap_and_newgidmap() {
	need newuidmap
	# shellcheck disable=SC2086 # words
	counting $all_programs
	# shellcheck disable=SC2086
	env PATH="$tmp/bin" "$bin/rootlesskit" $none true
	assert_eq programs 'newgidmap newuidmap' "$(ran)"
}

case_a_start_with_slirp4netns_runs_three_programs() {
	need newuidmap
	need_slirp4netns
	# shellcheck disable=SC2086 # words
	counting $all_programs
	# shellcheck disable=SC2086
	env PATH="$tmp/bin" "$bin/rootlesskit" $full true
	assert_eq programs 'newgidmap newuidmap slirp4netns' "$(ran)"
}

case_a_start_that_maps_only_the_own_ID_runs_no_helper_program() {
	need_strace
	# shellcheck disable=SC2086 # words
	strace -f -qq -e trace=execve -e signal=none -o "$tmp/trace" \
		"$bin/rootlesskit" --subid-source=self $none /bin/true
	assert_eq 'programs executed' 3 "$(grep -c 'execve(.*) = 0' "$tmp/trace")"
}

case_getsubids_is_not_asked_the_same_question_twice() {
	need newuidmap
	counting newuidmap newgidmap
	printf '#!%s\necho "getsubids $*" >>"%s"\nexit 1\n' "$(command -v sh)" "$tmp/ran" >"$tmp/bin/ask"
	chmod +x "$tmp/bin/ask"
	# This getsubids has no answer, so the launcher asks everything that it may want to know.
	env PATH="$tmp/bin" GETSUBIDS="$tmp/bin/ask" "$bin/rootlesskit" true
	assert_eq questions "$(printf '%s\n' "getsubids $(id -un)" "getsubids $(id -u)" \
		"getsubids -g $(id -un)" "getsubids -g $(id -u)")" "$(grep getsubids "$tmp/ran")"
	: >"$tmp/ran"
	env PATH="$tmp/bin" GETSUBIDS="$tmp/bin/ask" "$bin/rootlesskit" --subid-source=static true
	assert_eq programs 'newgidmap newuidmap' "$(ran)"
}

# The test user is root of a namespace whose /etc/passwd does not have root. getent(1) knows the name, as
# from a directory service.
case_a_user_who_is_not_in_passwd_is_looked_up_once() {
	mkdir "$tmp/bin"
	: >"$tmp/ran"
	printf '#!%s\necho "getent $*" >>"%s"\necho "directory user:x:0:0::/:/bin/sh"\n' \
		"$(command -v sh)" "$tmp/ran" >"$tmp/bin/getent"
	printf '#!%s\necho "newuidmap $*" >>"%s"\nexit 1\n' "$(command -v sh)" "$tmp/ran" >"$tmp/bin/newuidmap"
	cp "$tmp/bin/newuidmap" "$tmp/bin/newgidmap"
	chmod +x "$tmp/bin/getent" "$tmp/bin/newuidmap" "$tmp/bin/newgidmap"
	echo 'somebody:x:4711:4711::/:/bin/sh' >"$tmp/passwd"
	echo 'directory user:300000:5' >"$tmp/subid"
	# shellcheck disable=SC2016 # for the inner shell
	run='mount --bind "$1/passwd" /etc/passwd
		mount --bind "$1/subid" /etc/subuid
		mount --bind "$1/subid" /etc/subgid
		PATH=$1/bin exec "$2" --subid-source=static true'
	assert_fails unshare -rm sh -ec "$run" - "$tmp" "$bin/rootlesskit"
	assert_eq 'calls of getent' 1 "$(grep -c '^getent passwd 0$' "$tmp/ran")"
	grep -q '^newuidmap [0-9]* 0 0 1 1 300000 5$' "$tmp/ran" ||
		fail "the range of the name is not used: $(cat "$tmp/ran")"
	# Without getent the launcher looks for the user's number.
	rm "$tmp/bin/getent"
	echo '0:400000:5' >"$tmp/subid"
	: >"$tmp/ran"
	assert_fails unshare -rm sh -ec "$run" - "$tmp" "$bin/rootlesskit"
	grep -q '^newuidmap [0-9]* 0 0 1 1 400000 5$' "$tmp/ran" ||
		fail "the range of the number is not used: $(cat "$tmp/ran")"
}

# resident PID...: prints the resident memory of all these processes in kB
resident() {
	for process; do
		sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB$/\1/p' "/proc/$process/status"
	done | awk '{ sum += $1 } END { print sum }'
}

# assert_small OPTION...: checks how much memory parent and child use after the start. Sanitizers use
# more, so their builds are not checked.
assert_small() {
	! grep -aqE 'lib(a|t|ub)san\.so' "$BUILD/rlkbox" || return 0
	max=$MAX_KB
	! grep -aq 'libc\.so' "$BUILD/rlkbox" || max=$MAX_KB_DYNAMIC
	start "$@" sleep 60
	kb=$(resident "$pid" "$child")
	stop
	{ [ "$kb" -gt 0 ] && [ "$kb" -le "$max" ]; } || fail "$kb kB are resident, not 1 to $max"
}

case_the_launcher_uses_little_memory() {
	# shellcheck disable=SC2086 # words
	assert_small $none
}

case_the_launcher_uses_little_memory_with_a_network() {
	need_slirp4netns
	# shellcheck disable=SC2086 # words
	assert_small $full
}

run_cases \
	a_start_without_network_runs_only_newuidmap_and_newgidmap \
	a_start_with_slirp4netns_runs_three_programs \
	a_start_that_maps_only_the_own_ID_runs_no_helper_program \
	getsubids_is_not_asked_the_same_question_twice \
	a_user_who_is_not_in_passwd_is_looked_up_once \
	the_launcher_uses_little_memory \
	the_launcher_uses_little_memory_with_a_network
