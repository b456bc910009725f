#!/bin/sh
# Runs tests: tests/run.sh BUILD KIND..., where BUILD is a directory made by `make test-programs`
# and a KIND is unit or e2e. TESTS='10-launcher check_msg' picks some by name.
#
# Tests are TAP producers. They run as an unprivileged user, since root does not meet the limits that
# users meet: started by root, this script makes a user with subordinate IDs, gives it a copy of what
# is needed, and goes on as that user. The last line counts the cases.
#
# With CI=true a skipped case is a failure, unless it was skipped for want of a facility that
# ALLOW_SKIPS names ("tun ipv6 ...").
set -eu

USER_NAME=rlkbox-test
UNIT_TIMEOUT=300 # seconds for one program
E2E_TIMEOUT=300

[ $# -ge 2 ] || { echo "usage: tests/run.sh BUILD unit|e2e..." >&2; exit 2; }
build=$1
shift

make_user() {
	id "$USER_NAME" >/dev/null 2>&1 || useradd --create-home --shell /bin/sh "$USER_NAME"
	for file in /etc/subuid /etc/subgid; do
		grep -q "^$USER_NAME:" "$file" 2>/dev/null ||
			echo "$USER_NAME:1000000:65536" >>"$file"
	done
}

# Goes on as the user, in a copy that it may read.
become_user() {
	make_user
	work=$(mktemp -d /tmp/rlkbox-tests.XXXXXX)
	trap 'rm -rf "$work"' EXIT
	cp -r "$build" "$work/build"
	cp -r tests "$work/tests"
	find "$work/build" -name '*.o' -delete
	chown -R "$USER_NAME:" "$work"
	cd "$work"
	status=0
	setpriv --reuid "$USER_NAME" --regid "$USER_NAME" --init-groups \
		env -i HOME="/home/$USER_NAME" USER="$USER_NAME" LOGNAME="$USER_NAME" \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		CI="${CI-}" ALLOW_SKIPS="${ALLOW_SKIPS-}" TESTS="${TESTS-}" \
		CASES="${CASES-}" CHECK_WRAPPER="${CHECK_WRAPPER-}" CK_FORK="${CK_FORK-yes}" \
		ASAN_OPTIONS="${ASAN_OPTIONS-}" TSAN_OPTIONS="${TSAN_OPTIONS-}" \
		sh tests/run.sh "$work/build" "$@" || status=$?
	exit $status
}

[ "$(id -u)" -ne 0 ] || become_user "$@"

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

# run NAME SECONDS COMMAND...: runs a TAP producer; one that dies adds a failed case.
run() {
	name=$1 seconds=$2
	shift 2
	is_wanted "$name" || return 0
	status=0
	started=$(date +%s)
	timeout -k 10 "$seconds" "$@" >"$logs/$name.out" 2>&1 </dev/null || status=$?
	[ -e "$logs/$name.tap" ] || mv "$logs/$name.out" "$logs/$name.tap"
	if [ "$status" -ne 0 ] && ! grep -q '^not ok' "$logs/$name.tap"; then
		echo "not ok - $name ended with status $status" >>"$logs/$name.tap"
	fi
	grep -q '^\(not \)\{0,1\}ok' "$logs/$name.tap" ||
		echo "not ok - $name ran no case" >>"$logs/$name.tap"
	printf '%-24s %3d ok %6ds\n' "$name" "$(grep -c '^ok' "$logs/$name.tap")" \
		$(($(date +%s) - started))
	show_failures "$name"
}

show_failures() {
	grep -q '^not ok' "$logs/$1.tap" || return 0
	sed "s/^/    /" "$logs/$1.tap" | grep -v '^    ok' | head -n 200
	[ ! -e "$logs/$1.out" ] || tail -n 50 "$logs/$1.out" | sed 's/^/    | /'
}

run_unit() {
	for program in "$BUILD"/unit/check_*; do
		[ -x "$program" ] || continue
		case $program in *.d) continue ;; esac
		name=${program##*/}
		# shellcheck disable=SC2086 # the wrapper is a command line
		CK_TAP_LOG_FILE_NAME=$logs/$name.tap CK_VERBOSITY=silent \
			CK_DEFAULT_TIMEOUT=${CK_DEFAULT_TIMEOUT-60} \
			run "$name" "$UNIT_TIMEOUT" ${CHECK_WRAPPER-} "$program"
	done
}

run_e2e() {
	for script in tests/e2e/[0-9]*.sh; do
		name=${script##*/}
		run "${name%.sh}" "$E2E_TIMEOUT" sh "$script"
	done
}

for kind; do
	case $kind in
	unit) run_unit ;;
	e2e) run_e2e ;;
	*) echo "tests/run.sh: no such kind: $kind" >&2; exit 2 ;;
	esac
done

# ---- the count ----

count() {
	cat "$logs"/*.tap 2>/dev/null | grep -c "$1" || true
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
[ "$skipped" -eq 0 ] || cat "$logs"/*.tap | grep '^ok.*# SKIP' | sed 's/^/  /'
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
