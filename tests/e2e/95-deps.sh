#!/bin/sh
# tests/deps.sh for a user who may not install anything: what it says, and when it stops `make check`.
. "$(dirname "$0")/lib.sh"

# A PATH with no more than deps.sh itself runs; it looks into /usr/sbin too.
make_bare_path() {
	mkdir "$tmp/bare"
	for name in id grep sed head sh; do
		ln -s "$(command -v "$name")" "$tmp/bare/$name"
	done
}

# deps [VARIABLE=VALUE...]: `rc` and `err` are what came of it
deps() {
	rc=0
	env "$@" sh "$here/../deps.sh" >"$tmp/out" 2>"$tmp/err" || rc=$?
	err=$(cat "$tmp/err")
	assert_eq output '' "$(cat "$tmp/out")"
}

# Root inside would install what is missing.
need_plain_user() {
	[ "$(id -u)" -ne 0 ] || skip plain-user "this runs as root"
}

case_missing_packages_stop_it_with_one_line_that_installs_them() {
	need_plain_user
	make_bare_path
	printf '#!/bin/sh\necho called >>%s/apt\n' "$tmp" >"$tmp/bare/apt-get"
	chmod +x "$tmp/bare/apt-get"
	deps PATH="$tmp/bare"
	assert_eq status 1 "$rc"
	assert_match list '*tests/deps.sh: missing packages: * curl * socat *' "$err"
	assert_match 'line that installs' \
		'*tests/deps.sh: to install them: sudo apt-get install --no-install-recommends * curl * socat *' "$err"
	[ ! -e "$tmp/apt" ] || fail 'it called apt-get'
}

case_without_apt_it_lists_what_is_missing() {
	need_plain_user
	make_bare_path
	deps PATH="$tmp/bare"
	assert_eq status 1 "$rc"
	assert_match list "*missing, by the names of Debian's packages: * curl * socat *" "$err"
	case $err in *apt-get*) fail "it talks of apt-get: $err" ;; esac
}

case_a_dynamic_busybox_is_not_enough() {
	need_plain_user
	make_bare_path
	cp "$(command -v busybox)" "$tmp/static"
	cp "$(command -v ps)" "$tmp/dynamic"
	cp "$tmp/dynamic" "$tmp/bare/busybox"
	deps PATH="$tmp/bare"
	assert_match 'with a dynamic one' '* busybox-static *' "$err"
	cp "$tmp/static" "$tmp/bare/busybox"
	deps PATH="$tmp/bare"
	case $err in *busybox-static*) fail "the static one is not enough: $err" ;; esac
}

# What only tests/peers need does not stop it.
case_packages_that_are_only_unpacked_are_optional() {
	need_plain_user
	unshare -rm true 2>/dev/null || skip userns "no user namespace can be made here"
	unpacked=/var/cache/rlkbox-tests
	[ -d "$unpacked" ] || skip unpacked "$unpacked is not there to be covered"
	deps PATH="$PATH"
	[ "$rc" -eq 0 ] || skip packages "some are missing: $err"
	rc=0
	# shellcheck disable=SC2016 # for the inner shell
	unshare -rm sh -c 'mount -t tmpfs none "$1" &&
		exec unshare --user --map-user="$2" --map-group="$2" sh "$3"' - \
		"$unpacked" "$(id -u)" "$here/../deps.sh" 2>"$tmp/err" || rc=$?
	assert_eq status 0 "$rc"
	assert_match 'what it says' "*not unpacked to $unpacked, for tests/peers only: * docker.io *sudo tests/deps.sh*" \
		"$(cat "$tmp/err")"
}

run_cases \
	missing_packages_stop_it_with_one_line_that_installs_them \
	without_apt_it_lists_what_is_missing \
	a_dynamic_busybox_is_not_enough \
	packages_that_are_only_unpacked_are_optional
