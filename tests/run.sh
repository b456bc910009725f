#!/bin/sh
# Runs tests: tests/run.sh BUILD KIND..., where BUILD is a directory made by `make test-programs`
# and a KIND is unit, e2e or peers. TESTS='10-launcher check_msg' picks some by name.
#
# Tests are TAP producers. They run as an unprivileged user, since root does not meet the limits that
# users meet: started by root, this script makes a user with subordinate IDs, gives it a copy of what
# is needed, and goes on as that user. The last line counts the cases.
#
# They run side by side, JOBS at a time (as many as there are processors). WORKERS=N has launchers
# forward ports with so many threads.
#
# With CI=true a skipped case is a failure, unless it was skipped for want of a facility that
# ALLOW_SKIPS names ("tun ipv6 ...").
#
# TEST_USER=NAME runs them as another user, so that several checkouts can be tested side by side:
# limits such as fs.pipe-user-pages-soft count per user.
set -eu
# The tests check modes of files.
umask 022

USER_NAME=${TEST_USER:-rlkbox-test}
UNIT_TIMEOUT=300 # seconds for one program
E2E_TIMEOUT=600 # for one script

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

# The v2 hierarchy, and our own cgroup in it: /sys/fs/cgroup/user.slice/...
find_hierarchy() {
	sed -n 's/^\([^ ]* \)\{4\}\([^ ]*\) .* - cgroup2 .*/\2/p' /proc/self/mountinfo | head -n 1
}
find_own_cgroup() {
	echo "$(find_hierarchy)$(sed -n 's/^0::\(.*\)/\1/p' /proc/self/cgroup)"
}

# make_cgroup PARENT: makes $cgroup there, if that may be done. Its subgroup `run` is for the tests,
# so that cgroups beside that can have controllers.
make_cgroup() {
	mkdir "$1/rlkbox-tests.$$" 2>/dev/null || return
	cgroup=$1/rlkbox-tests.$$
	mkdir "$cgroup/run"
	# shellcheck disable=SC2013 # words
	for controller in $(cat "$cgroup/cgroup.controllers"); do
		echo "+$controller" >"$cgroup/cgroup.subtree_control" || true
	done
}

# A cgroup of the user's own, if root may make one.
delegate_cgroup() {
	cgroup='' top=$(find_hierarchy)
	[ -n "$top" ] && make_cgroup "$top" || return 0
	for dir in "$cgroup" "$cgroup/run"; do
		chown "$USER_NAME:" "$dir" "$dir/cgroup.procs" "$dir/cgroup.subtree_control"
	done
}

# A plain user has one if our own is delegated, as by `systemd-run --user --scope -p Delegate=yes`.
use_own_cgroup() {
	cgroup='' own=$(find_own_cgroup)
	[ -w "$own/cgroup.procs" ] && make_cgroup "$own" || return 0
	trap 'echo 0 >"$own/cgroup.procs"; remove_cgroup' EXIT
	trap 'exit 130' HUP INT TERM
	echo 0 >"$cgroup/run/cgroup.procs"
	export CGROUP="$cgroup"
}

# in_cgroup COMMAND...: runs it there; 0 is the process that writes it
in_cgroup() {
	[ -n "$cgroup" ] || { "$@"; return; }
	# shellcheck disable=SC2016 # for the inner shell
	sh -c 'echo 0 >"$1/run/cgroup.procs"; shift; exec "$@"' - "$cgroup" "$@"
}

# What the last test has just ended may still be in it.
remove_cgroup() {
	[ -n "$cgroup" ] || return 0
	for try in 1 2 3 4 5 6 7 8 9 10; do
		find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
		[ -e "$cgroup" ] || return 0
		sleep 0.2
	done
	echo "tests/run.sh: $cgroup is left (try $try)" >&2
}

# Goes on as the user, in a copy that it may read.
become_user() {
	make_user
	work=$(mktemp -d /tmp/rlkbox-tests.XXXXXX)
	delegate_cgroup
	trap 'rm -rf "$work"; remove_cgroup' EXIT
	# A shell that a signal ends does not run that.
	trap 'exit 130' HUP INT TERM
	cp -r "$build" "$work/build"
	cp -r tests "$work/tests"
	cp README.md "$work"
	find "$work/build" -name '*.o' -delete
	chown -R "$USER_NAME:" "$work"
	cd "$work"
	status=0
	in_cgroup setpriv --reuid "$USER_NAME" --regid "$USER_NAME" --init-groups \
		env -i HOME="/home/$USER_NAME" USER="$USER_NAME" LOGNAME="$USER_NAME" \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		CI="${CI-}" ALLOW_SKIPS="${ALLOW_SKIPS-}" TESTS="${TESTS-}" \
		CASES="${CASES-}" JOBS="${JOBS-}" WORKERS="${WORKERS-}" CGROUP="$cgroup" \
		CHECK_WRAPPER="${CHECK_WRAPPER-}" CK_FORK="${CK_FORK-yes}" \
		ASAN_OPTIONS="${ASAN_OPTIONS-}" TSAN_OPTIONS="${TSAN_OPTIONS-}" \
		sh tests/run.sh "$work/build" "$@" || status=$?
	exit $status
}

[ "$(id -u)" -ne 0 ] || become_user "$@"
# Root has said whether there is one.
[ -n "${CGROUP+set}" ] || use_own_cgroup

# Debian's plain users do not have these, where iptables, nft and sysctl are.
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

# Programs of Check write the TAP themselves, to a file that an environment variable names.
run_unit() {
	for program in "$BUILD"/unit/check_* "$BUILD"/unit/*/check_*; do
		[ -x "$program" ] || continue
		case $program in *.d) continue ;; esac
		name=${program##*/}
		! is_wanted "$name" ||
			printf '%s %s %s env CK_TAP_LOG_FILE_NAME=%s CK_VERBOSITY=silent CK_DEFAULT_TIMEOUT=%s %s %s\n' \
				"$logs" "$name" "$UNIT_TIMEOUT" "$logs/$name.tap" "${CK_DEFAULT_TIMEOUT-60}" \
				"${CHECK_WRAPPER-}" "$program"
	done | xargs -r -L 1 -P "${JOBS:-$(nproc)}" tests/run-one.sh
}

# The scripts of a directory.
run_scripts() {
	for script in "tests/$1"/[0-9]*.sh; do
		name=${script##*/}
		name=${name%.sh}
		! is_wanted "$name" || printf '%s %s %s sh %s\n' "$logs" "$name" "$E2E_TIMEOUT" "$script"
	done | xargs -r -L 1 -P "${JOBS:-$(nproc)}" tests/run-one.sh
}

for kind; do
	case $kind in
	unit) run_unit ;;
	e2e | peers) run_scripts "$kind" ;;
	*) echo "tests/run.sh: no such kind: $kind" >&2; exit 2 ;;
	esac
done

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
			echo "a case was skipped for want of $facility, which this machine should have"
			failed=$((failed + 1))
			;;
		esac
	done
fi
[ "$skipped" -eq 0 ] || cat "$logs"/*.tap | grep -a '^ok.*# SKIP' | sed 's/^/  /'
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
