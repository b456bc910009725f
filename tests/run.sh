#!/bin/sh
# Runs tests: tests/run.sh BUILD KIND..., where BUILD is a directory made by `make test-programs`
# and a KIND is unit, e2e or peers. TESTS='10-launcher check_msg' runs only these.
#
# Tests are TAP producers. They run as an unprivileged user, because root is exempt from many limits and
# permission checks. Started by root, this script creates a user with subordinate IDs, copies what the
# tests need for that user, and continues as that user. The last line of the output counts the cases.
#
# Tests run in parallel, JOBS at a time, by default two per processor, because most of them wait most of the
# time. WORKERS=N makes the launchers use N worker threads.
#
# With CI=true a skipped case counts as a failure, unless ALLOW_SKIPS ("tun ipv6 ...") names the missing
# facility.
#
# TEST_USER=NAME runs the tests as another user, so that several checkouts can be tested at the same
# time: limits such as fs.pipe-user-pages-soft apply per user.
set -eu
# The tests check file modes, which depend on the umask.
umask 022

USER_NAME=${TEST_USER:-rlkbox-test}
UNIT_TIMEOUT=${UNIT_TIMEOUT:-300} # seconds for one program
E2E_TIMEOUT=1800 # for one script; the longest takes 200 s, and 600 s on a slow and busy machine

[ $# -ge 2 ] || { echo "usage: tests/run.sh BUILD unit|e2e|peers..." >&2; exit 2; }
build=$1
shift

make_user() {
	id "$USER_NAME" >/dev/null 2>&1 || useradd --create-home --shell /bin/sh "$USER_NAME"
	for file in /etc/subuid /etc/subgid; do
		grep -q "^$USER_NAME:" "$file" 2>/dev/null ||
			echo "$USER_NAME:1000000:65536" >>"$file"
	done
}

# Print the mount point of the cgroup v2 hierarchy, and our own cgroup in it, such as
# /sys/fs/cgroup/user.slice/...
find_hierarchy() {
	sed -n 's/^\([^ ]* \)\{4\}\([^ ]*\) .* - cgroup2 .*/\2/p' /proc/self/mountinfo | head -n 1
}
find_own_cgroup() {
	echo "$(find_hierarchy)$(sed -n 's/^0::\(.*\)/\1/p' /proc/self/cgroup)"
}

# make_cgroup PARENT: creates a cgroup in PARENT, if permitted, and sets `cgroup` to it. The tests run
# in its subgroup `run`: a cgroup that contains processes cannot give controllers to its subgroups.
make_cgroup() {
	mkdir "$1/rlkbox-tests.$$" 2>/dev/null || return
	cgroup=$1/rlkbox-tests.$$
	mkdir "$cgroup/run"
	# shellcheck disable=SC2013 # words
	for controller in $(cat "$cgroup/cgroup.controllers"); do
		echo "+$controller" >"$cgroup/cgroup.subtree_control" || true
	done
}

# Creates a cgroup that belongs to the test user, if root may do so.
delegate_cgroup() {
	cgroup='' top=$(find_hierarchy)
	[ -n "$top" ] && make_cgroup "$top" || return 0
	for dir in "$cgroup" "$cgroup/run"; do
		chown "$USER_NAME:" "$dir" "$dir/cgroup.procs" "$dir/cgroup.subtree_control"
	done
}

# The same for an unprivileged caller: works if our own cgroup is delegated, as by `systemd-run --user
# --scope -p Delegate=yes`.
use_own_cgroup() {
	cgroup='' own=$(find_own_cgroup)
	[ -w "$own/cgroup.procs" ] && make_cgroup "$own" || return 0
	trap 'echo 0 >"$own/cgroup.procs"; remove_cgroup' EXIT
	trap 'exit 130' HUP INT TERM
	echo 0 >"$cgroup/run/cgroup.procs"
	export CGROUP="$cgroup"
}

# in_cgroup COMMAND...: runs a command in $cgroup/run; writing 0 moves the writing process
in_cgroup() {
	[ -n "$cgroup" ] || { "$@"; return; }
	# shellcheck disable=SC2016 # for the inner shell
	sh -c 'echo 0 >"$1/run/cgroup.procs"; shift; exec "$@"' - "$cgroup" "$@"
}

# Tries for 2 seconds, since processes that the last test has killed may still be in the cgroup.
remove_cgroup() {
	[ -n "$cgroup" ] || return 0
	cd / # The current directory may be gone.
	# shellcheck disable=SC2016 # for the inner shell
	timeout 2 sh -c 'until
			find "$1" -depth -type d -exec rmdir {} + 2>/dev/null
			[ ! -e "$1" ]
		do
			sleep 0.1
		done' - "$cgroup" || echo "tests/run.sh: $cgroup cannot be removed" >&2
}

# Continues as the test user, with a copy of the files that the user may read.
become_user() {
	make_user
	work=$(mktemp -d /tmp/rlkbox-tests.XXXXXX)
	delegate_cgroup
	trap 'rm -rf "$work"; remove_cgroup' EXIT
	# A shell that is killed by a signal does not run its EXIT trap, but exit does.
	trap 'exit 130' HUP INT TERM
	# Not the whole directory: something else may be built in it meanwhile, as in build/asan.
	mkdir "$work/build"
	for part in rlkbox unit tools; do
		[ ! -e "$build/$part" ] || cp -r "$build/$part" "$work/build"
	done
	cp -r tests "$work/tests"
	# The tests of the documentation look up the files that it names.
	cp -r ./*.md ./*.[ch] Makefile LICENSE docs etc man "$work"
	for folder in $(printf '%s\n' */*.c | cut -d / -f 1 | uniq); do
		cp -r "$folder" "$work"
	done
	chown -R "$USER_NAME:" "$work"
	cd "$work"
	status=0
	in_cgroup setpriv --reuid "$USER_NAME" --regid "$USER_NAME" --init-groups \
		env -i HOME="/home/$USER_NAME" USER="$USER_NAME" LOGNAME="$USER_NAME" \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		CI="${CI-}" ALLOW_SKIPS="${ALLOW_SKIPS-}" TESTS="${TESTS-}" \
		CASES="${CASES-}" JOBS="${JOBS-}" WORKERS="${WORKERS-}" CGROUP="$cgroup" \
		CHECK_WRAPPER="${CHECK_WRAPPER-}" CK_FORK="${CK_FORK-yes}" UNIT_TIMEOUT="$UNIT_TIMEOUT" \
		ASAN_OPTIONS="${ASAN_OPTIONS-}" TSAN_OPTIONS="${TSAN_OPTIONS-}" \
		sh tests/run.sh "$work/build" "$@" || status=$?
	exit $status
}

[ "$(id -u)" -ne 0 ] || become_user "$@"
# Set (maybe empty) if root has called this script: then root has decided about the cgroup.
[ -n "${CGROUP+set}" ] || use_own_cgroup

# On Debian the PATH of ordinary users lacks these directories, which have iptables, nft and sysctl.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

BUILD=$(cd "$build" && pwd)
export BUILD
logs=$BUILD/logs
rm -rf "$logs"
mkdir -p "$logs"

is_wanted() {
	[ -n "${TESTS-}" ] || return 0
	for name in $TESTS; do
		[ "$name" != "$1" ] || return 0
	done
	return 1
}

# Prints a line for each wanted unit test: its name, its seconds, and its command. Programs that use Check write
# their TAP file themselves, to CK_TAP_LOG_FILE_NAME.
list_unit() {
	for program in "$BUILD"/unit/check_* "$BUILD"/unit/*/check_*; do
		[ -x "$program" ] || continue
		case $program in *.d) continue ;; esac
		name=${program##*/}
		! is_wanted "$name" ||
			printf '%s %s env CK_TAP_LOG_FILE_NAME=%s CK_VERBOSITY=silent CK_DEFAULT_TIMEOUT=%s %s %s\n' \
				"$name" "$UNIT_TIMEOUT" "$logs/$name.tap" "${CK_DEFAULT_TIMEOUT-60}" \
				"${CHECK_WRAPPER-}" "$program"
	done
}

# list_scripts DIR: the same for the test scripts of tests/DIR
list_scripts() {
	for script in "tests/$1"/[0-9]*.sh; do
		name=${script##*/}
		name=${name%.sh}
		! is_wanted "$name" || printf '%s %s sh %s\n' "$name" "$E2E_TIMEOUT" "$script"
	done
}

# Tests of more than 15 s, the slowest first. They start before all others, so that none of them is still running
# when everything else has ended.
SLOW='40-podman 31-rootlesskit-3 30-rootlesskit 35-integration 12-docker-29 10-docker 50-ports 72-hostile
	48-lxc-user-nic 54-source-ip 45-pasta 22-containerd-2.4 40-network check_sockpool 60-api 20-containerd 46-network-restart
	20-state-dir 35-processes 68-rootlessport check_bicopy check_udp'

slow_first() {
	awk -v slow="$SLOW" '
		BEGIN { count = split(slow, names); for (i in names) rank[names[i]] = i }
		{ print ($1 in rank) ? rank[$1] : count + NR, $0 }' | sort -n | cut -d ' ' -f 2-
}

for kind; do
	case $kind in
	unit | e2e | peers) ;;
	*) echo "tests/run.sh: no such kind: $kind" >&2; exit 2 ;;
	esac
done
for kind; do
	if [ "$kind" = unit ]; then list_unit; else list_scripts "$kind"; fi
done | slow_first | xargs -r -L 1 -P "${JOBS:-$((2 * $(nproc)))}" tests/run-one.sh "$logs"

# ---- the count ----

count() {
	cat "$logs"/*.tap 2>/dev/null | grep -ac "$1" || true
}

failed=$(count '^not ok')
skipped=$(count '^ok.*# SKIP')
passed=$(($(count '^ok') - skipped))

if [ "${CI-}" = true ]; then
	# shellcheck disable=SC2013 # words
	for facility in $(sed -n 's/^ok.*# SKIP \([^ :]*\):.*/\1/p' "$logs"/*.tap); do
		case " ${ALLOW_SKIPS-} " in
		*" $facility "*) ;;
		*)
			echo "a case was skipped because $facility is missing, and ALLOW_SKIPS does not name $facility"
			failed=$((failed + 1))
			;;
		esac
	done
fi
for name in ${TESTS-}; do
	[ -e "$logs/$name.tap" ] ||
		echo "TESTS=$name: tests/unit, tests/e2e and tests/peers have names of tests; this run has none called $name"
done
[ "$skipped" -eq 0 ] || cat "$logs"/*.tap | grep -a '^ok.*# SKIP' | sed 's/^/  /'
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
