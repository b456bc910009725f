#!/bin/sh
# A host whose AppArmor denies user namespaces to exactly this program's path: the message says so. A copy at
# another path works. The parser is a newer Debian's, for that rule.
. "$(dirname "$0")/guest.sh"

parse() {
	as_root /apparmor/usr/lib64/ld-linux-x86-64.so.2 --library-path /apparmor/usr/lib/x86_64-linux-gnu \
		/apparmor/usr/sbin/apparmor_parser --skip-cache "$@"
}

case_a_profile_denies_user_namespaces_to_this_path() {
	grep -q userns_create /sys/kernel/security/apparmor/features/namespaces/mask ||
		fail 'this kernel cannot deny user namespaces by a profile'
	launch --net=none true
	assert_eq "status without the profile, with $err" 0 "$rc"
	printf 'abi <kernel>,\nprofile rlkbox /t/build/rlkbox {\n  allow all,\n  deny userns,\n}\n' >"$tmp/profile"
	parse --replace "$tmp/profile"
	launch --net=none touch "$tmp/ran"
	assert_eq 'status with the profile' 1 "$rc"
	assert_match message '*AppArmor*' "$err"
	[ ! -e "$tmp/ran" ] || fail 'the command ran'
	cp "$BUILD/rlkbox" "$tmp/rootlesskit"
	"$tmp/rootlesskit" --net=none true || fail 'a copy at another path does not work'
	parse --remove "$tmp/profile"
	launch --net=none true
	assert_eq "status after the profile, with $err" 0 "$rc"
}

run_cases a_profile_denies_user_namespaces_to_this_path
