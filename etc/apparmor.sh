#!/bin/sh
# The AppArmor profile that lets rlkbox create user namespaces on hosts that restrict them (Ubuntu 23.10 and
# later). make install runs this script with its variables BINDIR, APPARMOR_DIR and DESTDIR:
#
#     etc/apparmor.sh print         prints the profile
#     etc/apparmor.sh install       writes it to APPARMOR_DIR
#     etc/apparmor.sh uninstall     removes it
#
# Without DESTDIR the profile is installed only on hosts with AppArmor 4 or later, because older parsers
# refuse it, and only if the user may write to APPARMOR_DIR. If APPARMOR_DIR is empty, nothing is done.
set -eu
umask 022

# shellcheck disable=SC2153 # from the Makefile
bindir=$BINDIR dir=$DESTDIR$APPARMOR_DIR

# AppArmor attaches a profile by the path of the file that is executed, after links are resolved.
case $bindir in
/*) ;;
*) bindir=$PWD/$bindir ;;
esac
[ -n "$DESTDIR" ] || [ ! -d "$bindir" ] || bindir=$(cd "$bindir" && pwd -P)

# The path with dots, as AppArmor's own tools name profiles: usr.local.bin.rlkbox. Every installation has a
# profile of its own.
name=$(printf '%s' "${bindir#/}" | tr -c 'A-Za-z0-9_.-' '.' | sed 's/^\.*//').rlkbox

# is_covered PROGRAM: does another profile name the program? The kernel uses neither of two profiles that
# match a path equally well. AppArmor 4 itself has a profile for /usr/bin/rootlesskit.
is_covered() {
	[ "$bindir/$1" != /usr/bin/rootlesskit ] || return 0
	grep -lF -- "$bindir/$1" "$dir"/* 2>/dev/null | grep -vF "$dir/$name" | while IFS= read -r file; do
		sed 's/#.*//' "$file"
	done | grep -F -- "$bindir/$1" | grep -qvF -- "$bindir/$1-"
}

# Prints the names of the programs to which the profile attaches, separated by commas.
programs() {
	list=rlkbox
	for program in rootlesskit docker-rootlesskit; do
		is_covered "$program" || list=$list,$program
	done
	echo "$list"
}

# Characters that are special in a quoted path (apparmor.d(5)) get a backslash.
quoted_bindir() {
	printf '%s' "$bindir" | sed 's/["\\*?^{}]/\\&/g; s/[][]/\\&/g'
}

print() {
	cat <<-END
		# Allows everything, with user namespaces, and gives the program a name.
		abi <abi/4.0>,
		include <tunables/global>

		profile $name "$(quoted_bindir)/{$(programs)}" flags=(unconfined) {
		  userns,

		  # Local additions; local/README describes them.
		  include if exists <local/$name>
		}
	END
}

is_wanted() {
	[ -n "$APPARMOR_DIR" ] || return 1
	[ -z "$DESTDIR" ] || return 0
	[ -e "$dir/abi/4.0" ] || return 1
	[ ! -w "$dir" ] || return 0
	! grep -qs 1 /proc/sys/kernel/apparmor_restrict_unprivileged_userns ||
		echo "AppArmor restricts user namespaces here; try \`sudo make install-apparmor BINDIR=$bindir\`" >&2
	return 1
}

install() {
	mkdir -p "$dir"
	print >"$dir/$name.new"
	chmod 644 "$dir/$name.new"
	mv "$dir/$name.new" "$dir/$name"
	[ -n "$DESTDIR" ] || ! grep -qs Y /sys/module/apparmor/parameters/enabled ||
		echo "to load the profile before the next boot: sudo apparmor_parser -r $dir/$name"
}

case $1 in
print) print ;;
install) ! is_wanted || install ;;
uninstall) [ -z "$APPARMOR_DIR" ] || rm -f "$dir/$name" ;;
esac
