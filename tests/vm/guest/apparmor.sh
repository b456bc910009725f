#!/bin/sh
# Hosts whose AppArmor denies user namespaces: to exactly this program's path, and to all programs without a
# profile of their own, as on Ubuntu. The error must say so, and the profiles that make install writes must
# allow them. The parser is from a newer Debian, because older ones do not know the rule.
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

# label_of PROGRAM [APPLET]: prints the profile that the launcher's command has from the launcher, because no
# profile attaches to the command itself
label_of() {
	cp "$(command -v cat)" "$tmp/cat"
	# shellcheck disable=SC2086 # one word or none
	"$1" ${2-} --subid-source=self --net=none "$tmp/cat" /proc/self/attr/apparmor/current
}

# deny_others PATTERN: denies user namespaces to programs that have no more specific profile, as Ubuntu does
# to programs without a profile (kernel.apparmor_restrict_unprivileged_userns)
deny_others() {
	printf 'abi <kernel>,\nprofile others "%s" {\n  allow all,\n  deny userns,\n}\n' "$1" >"$tmp/others"
	parse --replace "$tmp/others"
}

case_the_installed_profile_attaches_to_every_name() {
	for prefix in /usr/local '/opt/my "own" {p*x]'; do
		name=$(printf '%s' "${prefix#/}" | tr -c 'A-Za-z0-9' .).bin.rlkbox
		deny_others "/{usr/local,opt/**}/bin/*"
		for program in rlkbox rootlesskit docker-rootlesskit; do
			applet=
			[ "$program" != rlkbox ] || applet=rootlesskit
			! label_of "$prefix/bin/$program" $applet >"$tmp/out" 2>&1 || fail "$program works without its profile"
			assert_match "message of $program" '*AppArmor*' "$(cat "$tmp/out")"
		done
		parse --replace "/etc/apparmor.d/$name"
		for program in rlkbox rootlesskit docker-rootlesskit; do
			applet=
			[ "$program" != rlkbox ] || applet=rootlesskit
			assert_eq "profile of $prefix/bin/$program" "$name (unconfined)" "$(label_of "$prefix/bin/$program" $applet)"
		done
		parse --remove "/etc/apparmor.d/$name"
	done
	parse --remove "$tmp/others"
}

# AppArmor has a profile for /usr/bin/rootlesskit. If ours attached to it, too, the kernel would use neither.
case_the_profile_of_usr_works_beside_AppArmors_own() {
	deny_others '/usr/bin/*'
	! label_of /usr/bin/rootlesskit >"$tmp/out" 2>&1 || fail 'it works without a profile'
	parse --replace /etc/apparmor.d/rootlesskit
	parse --replace /etc/apparmor.d/usr.bin.rlkbox
	assert_eq 'profile of /usr/bin/rootlesskit' 'rootlesskit (unconfined)' "$(label_of /usr/bin/rootlesskit)"
	assert_eq 'profile of /usr/bin/docker-rootlesskit' 'usr.bin.rlkbox (unconfined)' "$(label_of /usr/bin/docker-rootlesskit)"
	parse --remove /etc/apparmor.d/usr.bin.rlkbox
	parse --remove /etc/apparmor.d/rootlesskit
	parse --remove "$tmp/others"
}

# A profile that only gives a name forbids nothing, so it must not be named as the reason of a failure.
case_a_profile_that_forbids_nothing_is_not_blamed() {
	parse --replace /etc/apparmor.d/usr.local.bin.rlkbox
	as_root sysctl -w kernel.unprivileged_userns_clone=0 >/dev/null
	rc=0
	/usr/local/bin/rootlesskit --subid-source=self true 2>"$tmp/err" || rc=$?
	as_root sysctl -w kernel.unprivileged_userns_clone=1 >/dev/null
	assert_eq status 1 "$rc"
	assert_match 'the reason' '*kernel.unprivileged_userns_clone is 0*' "$(cat "$tmp/err")"
	assert_eq 'lines about the profile' 0 "$(grep -c 'has the AppArmor profile' "$tmp/err")"
	parse --remove /etc/apparmor.d/usr.local.bin.rlkbox
}

# pasta OPTION...: runs a launcher with pasta, and sets rc and err
pasta() {
	launch --net=pasta --disable-host-loopback --copy-up=/etc --port-driver=builtin -p 127.0.0.1:8085:80/tcp "$@" true
}

# Debian has a profile for pasta. That of Debian 12 does not let pasta into the child's namespaces.
case_pasta_works_or_the_error_says_how() {
	pasta
	assert_eq "status without a profile, with $err" 0 "$rc"
	for profile in /etc/apparmor.d/usr.bin.pas*; do
		parse --replace "$profile"
	done
	cp -L /usr/bin/pasta "$HOME/pasta"
	for dir in "$tmp/state" "$XDG_RUNTIME_DIR/state" "$HOME/state"; do
		for detach in false true; do
			pasta --state-dir="$dir" --detach-netns=$detach
			[ "$rc" -eq 0 ] || assert_match "error in $dir" \
				"*Permission denied; try a copy of pasta, *AppArmor*--pasta-binary=\$HOME/pasta*" "$err"
			pasta --state-dir="$dir" --detach-netns=$detach --pasta-binary="$HOME/pasta"
			assert_eq "status with a copy of pasta in $dir, with $err" 0 "$rc"
		done
	done
	for profile in /etc/apparmor.d/usr.bin.pas*; do
		parse --remove "$profile"
	done
}

run_cases pasta_works_or_the_error_says_how a_profile_denies_user_namespaces_to_this_path the_installed_profile_attaches_to_every_name \
	the_profile_of_usr_works_beside_AppArmors_own a_profile_that_forbids_nothing_is_not_blamed
