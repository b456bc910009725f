#!/bin/sh
# tests/deps.sh, run by a user who may not install packages: its messages, and when it stops `make check`.
. "$(dirname "$0")/lib.sh"

# Makes a directory with only the programs that deps.sh itself runs. With it as PATH, every package seems to
# be missing, except for programs in /usr/sbin, where deps.sh looks as well.
make_bare_path() {
	mkdir "$tmp/bare"
	for name in id grep sed head sh; do
		ln -s "$(command -v "$name")" "$tmp/bare/$name"
	done
}

# deps [VARIABLE=VALUE...]: runs deps.sh. Sets `rc` and `err`.
deps() {
	rc=0
	env "$@" sh "$here/../deps.sh" >"$tmp/out" 2>"$tmp/err" || rc=$?
	err=$(cat "$tmp/err")
	assert_eq output '' "$(cat "$tmp/out")"
}

# As root, deps.sh would install packages.
need_plain_user() {
	[ "$(id -u)" -ne 0 ] || skip plain-user "the tests run as root"
}

case_missing_packages_are_listed_with_the_command_that_installs_them() {
	need_plain_user
	make_bare_path
	printf '#!/bin/sh\necho called >>%s/apt\n' "$tmp" >"$tmp/bare/apt-get"
	chmod +x "$tmp/bare/apt-get"
	deps PATH="$tmp/bare"
	assert_eq status 1 "$rc"
	assert_match list '*tests/deps.sh: missing packages: * curl * socat *' "$err"
	assert_match 'command that installs' \
		'*tests/deps.sh: to install them: sudo apt-get install --no-install-recommends * curl * socat *' "$err"
	[ ! -e "$tmp/apt" ] || fail 'deps.sh called apt-get'
}

case_missing_packages_are_listed_without_apt() {
	need_plain_user
	make_bare_path
	deps PATH="$tmp/bare"
	assert_eq status 1 "$rc"
	assert_match list "*missing, by the names of Debian's packages: * curl * socat *" "$err"
	case $err in *apt-get*) fail "deps.sh names apt-get: $err" ;; esac
}

case_a_dynamic_busybox_is_not_enough() {
	need_plain_user
	make_bare_path
	cp "$(command -v busybox)" "$tmp/static"
	cp "$(command -v ps)" "$tmp/dynamic"
	cp "$tmp/dynamic" "$tmp/bare/busybox"
	deps PATH="$tmp/bare"
	assert_match 'packages missing beside a dynamic busybox' '* busybox-static *' "$err"
	cp "$tmp/static" "$tmp/bare/busybox"
	deps PATH="$tmp/bare"
	case $err in *busybox-static*) fail "a static busybox is not enough: $err" ;; esac
}

# Docker and containerd, which deps.sh only unpacks, are for tests/peers.
case_packages_for_the_peers_are_optional() {
	need_plain_user
	unshare -rm true 2>/dev/null || skip userns "no user namespace can be made here"
	unpacked=/var/cache/rlkbox-tests
	# A directory that this case can hide under a mount.
	[ -d "$unpacked" ] || skip unpacked "$unpacked does not exist"
	deps PATH="$PATH"
	[ "$rc" -eq 0 ] || skip packages "other packages are missing: $err"
	rc=0
	# shellcheck disable=SC2016 # for the inner shell
	unshare -rm sh -c 'mount -t tmpfs none "$1" &&
		exec unshare --user --map-user="$2" --map-group="$2" sh "$3"' - \
		"$unpacked" "$(id -u)" "$here/../deps.sh" 2>"$tmp/err" || rc=$?
	assert_eq status 0 "$rc"
	assert_match message "*not unpacked to $unpacked, for tests/peers only: * docker.io *sudo tests/deps.sh*" \
		"$(cat "$tmp/err")"
}

run_cases \
	missing_packages_are_listed_with_the_command_that_installs_them \
	missing_packages_are_listed_without_apt \
	a_dynamic_busybox_is_not_enough \
	packages_for_the_peers_are_optional
