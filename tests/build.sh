#!/bin/sh
# tests/build.sh: tests the Makefile with copies of the sources. BUILD is a finished build directory.
# Needs the tools of a build. Prints TAP; the last line counts the cases.
set -eu
: "${BUILD:?set it to the build directory}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/build"
cp "$BUILD/rlkbox" "$work/build"
BUILD=$work/build
set +e
. "$(dirname "$0")/e2e/lib.sh"

src=$(cd "$here/.." && pwd)
links='docker-rootlesskit
rootlessctl
rootlesskit
rootlesskit-docker-proxy'
# The builds of the tests must not inherit settings from a make that runs this script.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CFLAGS CPPFLAGS LDFLAGS V
# As root, installations with BINDIR alone must not write to this machine's other directories.
export APPARMOR_DIR='' MANDIR=''

# copy_sources DIR: copies the sources, without build directories, to DIR
copy_sources() {
	mkdir -p "$1"
	(cd "$src" && tar --exclude='./build*' --exclude=./.git -cf - .) | tar -C "$1" -xf -
}

# build DIR ARGUMENTS...: runs make in DIR, with its output in $tmp/made
build() {
	in=$1
	shift
	env -u BUILD make -C "$in" --no-print-directory -j2 "$@" >"$tmp/made" 2>&1 || fail "$(cat "$tmp/made")"
}

# install_prebuilt ARGUMENTS...: runs make with the program in $BUILD, without building it
install_prebuilt() {
	make -C "$src" --no-print-directory -o all BUILD="$BUILD" "$@" >"$tmp/made" 2>&1
}

# entries DIR: prints the names in a directory except rlkbox, one a line
entries() {
	find "$1" -mindepth 1 ! -name rlkbox -printf '%f\n' | LC_ALL=C sort
}

case_make_prints_one_short_line_for_each_file() {
	copy_sources "$tmp/src"
	build "$tmp/src" CFLAGS=-O0 all build/unit/base/check_text build/tools/stream
	objects=$(cd "$tmp/src" && find . -maxdepth 2 -name '*.c' ! -path './tests/*' | wc -l)
	assert_eq 'lines for objects' "$objects" "$(grep -cE '^  CC      ([a-z]+/)?[a-z0-9_]+\.o$' "$tmp/made")"
	assert_eq 'all other lines' '  AR      librlkbox.a
  CHECK   unit/base/check_text
  LD      rlkbox
  TOOL    tools/stream' "$(grep -v '^  CC ' "$tmp/made" | sort)"
	# With V=1 the command is the only line.
	build "$tmp/src" CFLAGS=-O0 V=1 -W base/text.c build/base/text.o
	assert_match 'output with V=1' '* -c -o build/base/text.o base/text.c' "$(cat "$tmp/made")"
	assert_eq 'lines with V=1' 1 "$(wc -l <"$tmp/made")"
	build "$tmp/src" CFLAGS=-O0 -s -W base/text.c build/base/text.o
	assert_eq 'output with -s' '' "$(cat "$tmp/made")"
}

case_changed_compiler_options_rebuild_everything() {
	copy_sources "$tmp/src"
	build "$tmp/src" CFLAGS=-O0 build/base/text.o build/base/err.o
	build "$tmp/src" CFLAGS=-O0 build/base/text.o build/base/err.o
	assert_eq 'compiled files the second time' '' "$(grep CC "$tmp/made" || true)"
	build "$tmp/src" CFLAGS=-O1 build/base/text.o build/base/err.o
	assert_eq 'number of compiled files with other CFLAGS' 2 "$(grep -c CC "$tmp/made")"
	build "$tmp/src" CFLAGS=-O1 CPPFLAGS=-DX build/base/text.o build/base/err.o
	assert_eq 'number of compiled files with other CPPFLAGS' 2 "$(grep -c CC "$tmp/made")"
}

# commit_in DIR ARGUMENTS...: builds the file that knows the commit, in DIR, and prints what it knows
commit_in() {
	in=$1
	shift
	build "$in" CFLAGS=-O0 "$@" build/base/text.o build/base/version.o
	strings -n 3 "$in/build/base/version.o" | grep -xE 'unknown|given-commit|[0-9a-f]{40}(-dirty)?'
}

case_the_program_knows_its_commit() {
	need git
	export COMMIT=0000000000000000000000000000000000000000 GIT_CONFIG_GLOBAL=/dev/null
	copy_sources "$tmp/outer/src"
	git init -q "$tmp/outer"
	repository() {
		git -C "$tmp/src" -c user.name=x -c user.email=x@localhost "$@"
	}
	assert_eq 'commit of sources in the repository of another project' unknown "$(commit_in "$tmp/outer/src")"
	assert_eq 'the given commit' given-commit "$(commit_in "$tmp/outer/src" COMMIT=given-commit)"
	mv "$tmp/outer/src" "$tmp/src"
	assert_eq 'the commit of the last build' given-commit "$(commit_in "$tmp/src")"
	git init -q "$tmp/src"
	repository add .
	repository commit -q -m x
	commit=$(repository rev-parse HEAD)
	assert_eq 'commit of git' "$commit" "$(commit_in "$tmp/src")"
	assert_eq 'compiled files' '  CC      base/version.o' "$(grep CC "$tmp/made")"
	assert_eq 'commit of git again' "$commit" "$(commit_in "$tmp/src")"
	assert_eq 'files compiled again' '' "$(grep CC "$tmp/made" || true)"
	mkdir "$tmp/archive" "$tmp/without-git"
	repository archive HEAD | tar -C "$tmp/archive" -xf -
	assert_eq 'commit of an archive' "$commit" "$(commit_in "$tmp/archive")"
	cmp "$tmp/src/build/base/version.o" "$tmp/archive/build/base/version.o"
	# As with `sudo make install`, if root's PATH has no git.
	printf '#!/bin/sh\nexit 127\n' >"$tmp/without-git/git"
	chmod +x "$tmp/without-git/git"
	assert_eq 'commit without git' "$commit" "$(PATH=$tmp/without-git:$PATH commit_in "$tmp/src")"
	echo '/* changed */' >>"$tmp/src/main.c"
	assert_eq 'commit of changed sources' "$commit-dirty" "$(commit_in "$tmp/src")"
}

# same_bytes ARGUMENTS...: builds in two directories whose paths have different lengths. The programs must
# be identical, and must not contain the paths.
same_bytes() {
	rm -rf "$tmp/one" "$tmp/another/directory"
	copy_sources "$tmp/one"
	copy_sources "$tmp/another/directory"
	build "$tmp/one" "$@"
	build "$tmp/another/directory" BUILD="$tmp/another/directory/abs" "$@"
	one=$(find "$tmp/one" -name rlkbox -type f)
	another=$(find "$tmp/another" -name rlkbox -type f)
	assert_eq 'programs built' 2 "$(printf '%s\n' "$one" "$another" | grep -c .)"
	cmp "$one" "$another"
	! grep -qaF "$tmp" "$one" || fail "$one contains the path of its directory: $(strings "$one" | grep -F "$tmp")"
}

case_builds_in_two_directories_are_identical() {
	same_bytes
}
case_dynamic_builds_in_two_directories_are_identical() {
	same_bytes DYNAMIC=1 CFLAGS='-O0 -g'
}
case_static_builds_in_two_directories_are_identical() {
	need musl-gcc
	same_bytes static
}

# are_links DIR: each name must be the same file as rlkbox, but no symbolic link
are_links() {
	for name in $links; do
		if [ -L "$1/$name" ] || ! [ "$1/$name" -ef "$1/rlkbox" ]; then
			fail "$1/$name is no hard link to rlkbox"
		fi
	done
}

case_install_works_in_a_directory_with_blanks_and_quotes() {
	unset APPARMOR_DIR MANDIR
	root="$tmp/a dest'dir" dir="$tmp/a dest'dir/my \"own\" prefix/bin"
	set -- "DESTDIR=$root" 'PREFIX=/my "own" prefix'
	install_prebuilt "$@" install || fail "$(cat "$tmp/made")"
	cmp "$BUILD/rlkbox" "$dir/rlkbox"
	assert_eq links "$links" "$(entries "$dir")"
	assert_eq 'links of --list' "$links" "$("$dir/rlkbox" --list | LC_ALL=C sort)"
	are_links "$dir"
	assert_eq "the profile's paths" '"/my \"own\" prefix/bin/{rlkbox,rootlesskit,docker-rootlesskit}"' \
		"$(sed -n 's/^profile [^ ]* \(".*"\) flags=(unconfined) {$/\1/p' "$root/etc/apparmor.d"/*)"
	man="$root/my \"own\" prefix/share/man/man1"
	assert_eq 'man pages' "$(printf '%s\nrlkbox\n' "$links" | LC_ALL=C sort)" "$(entries "$man" | sed 's/\.1$//' | LC_ALL=C sort)"
	# Install again, over the existing files.
	install_prebuilt "$@" install || fail "$(cat "$tmp/made")"
	are_links "$dir"
	echo mine >"$dir/other"
	install_prebuilt "$@" uninstall || fail "$(cat "$tmp/made")"
	assert_eq 'files that are left' "$dir/other" "$(find "$root" ! -type d)"
}

# As a package needs them.
case_installed_files_are_readable_under_any_umask() {
	unset APPARMOR_DIR MANDIR
	(umask 077 && install_prebuilt "DESTDIR=$tmp/root" PREFIX=/usr install) || fail "$(cat "$tmp/made")"
	cd "$tmp/root" || fail 'there is no installation'
	assert_eq 'programs that others cannot run' '' "$(find usr/bin -type f ! -perm 755)"
	assert_eq 'other files that others cannot read' '' "$(find etc usr/share -type f ! -perm 644)"
	assert_eq 'directories that others cannot enter' '' "$(find etc usr -type d ! -perm 755)"
	assert_eq 'symbolic links' 'usr/share/man/man1/docker-rootlesskit.1 rootlesskit.1' "$(find etc usr -type l -printf '%p %l\n')"
}

# Such as FAT, or some network file systems.
case_install_copies_the_program_if_the_file_system_has_no_hard_links() {
	mkdir "$tmp/shim"
	printf '#!/bin/sh\nexit 1\n' >"$tmp/shim/ln"
	chmod +x "$tmp/shim/ln"
	PATH=$tmp/shim:$PATH
	for round in first second; do
		install_prebuilt "PREFIX=$tmp/to" install || fail "$round: $(cat "$tmp/made")"
		for name in $links; do
			cmp "$tmp/to/bin/$name" "$BUILD/rlkbox"
			[ ! -L "$tmp/to/bin/$name" ] || fail "$name is a link"
		done
	done
	install_prebuilt "PREFIX=$tmp/to" uninstall || fail "$(cat "$tmp/made")"
	assert_eq 'files that are left' '' "$(find "$tmp/to" ! -type d)"
}

# attached DIR: prints what the only profile of our programs in DIR attaches to
attached() {
	sed -n 's/^profile .*"\(.*\)".*/\1/p' "$1"/*.rlkbox
}

case_the_AppArmor_profile_leaves_out_programs_that_have_another_one() {
	unset APPARMOR_DIR
	set -- "DESTDIR=$tmp" PREFIX=/opt install-apparmor
	mkdir -p "$tmp/etc/apparmor.d/abi"
	printf '# /opt/bin/docker-rootlesskit\nprofile proxy /opt/bin/rootlesskit-docker-proxy {}\n' >"$tmp/etc/apparmor.d/proxy"
	install_prebuilt "$@" || fail "$(cat "$tmp/made")"
	assert_eq 'programs without another profile' '/opt/bin/{rlkbox,rootlesskit,docker-rootlesskit}' "$(attached "$tmp/etc/apparmor.d")"
	echo '"/opt/bin/rootlesskit" flags=(unconfined) { userns, }' >"$tmp/etc/apparmor.d/opt.bin.rootlesskit"
	install_prebuilt "$@" || fail "$(cat "$tmp/made")"
	assert_eq 'programs beside another profile' '/opt/bin/{rlkbox,docker-rootlesskit}' "$(attached "$tmp/etc/apparmor.d")"
	install_prebuilt "DESTDIR=$tmp/usr" PREFIX=/usr install-apparmor || fail "$(cat "$tmp/made")"
	assert_eq "programs beside AppArmor's own profile" '/usr/bin/{rlkbox,docker-rootlesskit}' "$(attached "$tmp/usr/etc/apparmor.d")"
}

# Without DESTDIR the host decides: AppArmor before version 4 would refuse the profile at the next boot.
case_the_AppArmor_profile_is_installed_only_where_it_can_be_loaded() {
	set -- "PREFIX=$tmp/to" "APPARMOR_DIR=$tmp/apparmor.d" install
	install_prebuilt "$@" || fail "$(cat "$tmp/made")"
	[ ! -e "$tmp/apparmor.d" ] || fail 'it was installed on a host without AppArmor'
	mkdir -p "$tmp/apparmor.d/abi"
	touch "$tmp/apparmor.d/abi/3.0"
	install_prebuilt "$@" || fail "$(cat "$tmp/made")"
	assert_eq 'profiles with AppArmor 3' abi "$(ls "$tmp/apparmor.d")"
	touch "$tmp/apparmor.d/abi/4.0"
	ln -s to "$tmp/link"
	install_prebuilt "$@" "PREFIX=$tmp/link" || fail "$(cat "$tmp/made")"
	assert_eq 'paths of the profile, without links' "$tmp/to/bin/{rlkbox,rootlesskit,docker-rootlesskit}" "$(attached "$tmp/apparmor.d")"
	install_prebuilt "PREFIX=$tmp/to" "APPARMOR_DIR=$tmp/apparmor.d" uninstall || fail "$(cat "$tmp/made")"
	assert_eq 'profiles after uninstall' abi "$(ls "$tmp/apparmor.d")"
	install_prebuilt "DESTDIR=$tmp/root" APPARMOR_DIR= install || fail "$(cat "$tmp/made")"
	[ ! -e "$tmp/root/etc" ] || fail 'an empty APPARMOR_DIR does not leave it out'
}

# The program may be built for another architecture, or lie on a file system mounted noexec.
case_install_does_not_run_the_built_program() {
	mkdir "$tmp/foreign"
	cp -r "$BUILD/rlkbox" "$tmp/foreign/rlkbox"
	chmod a-x "$tmp/foreign/rlkbox"
	printf 'not a program' >"$tmp/foreign/rlkbox"
	for target in install uninstall; do
		make -C "$src" --no-print-directory -o all BUILD="$tmp/foreign" PREFIX="$tmp/to" \
			"$target" >"$tmp/made" 2>&1 || fail "$target: $(cat "$tmp/made")"
		[ "$target" = uninstall ] || assert_eq links "$links" "$(entries "$tmp/to/bin")"
	done
	assert_eq 'files that are left' '' "$(ls -A "$tmp/to/bin")"
}

case_install_overwrites_no_file_that_it_has_not_installed() {
	mkdir -p "$tmp/bin" "$tmp/elsewhere"
	echo precious >"$tmp/bin/rootlesskit"
	ln -s /nonexistent "$tmp/bin/rootlessctl"
	rc=0
	install_prebuilt BINDIR="$tmp/bin" install || rc=$?
	assert_eq status 2 "$rc"
	assert_match message "*$tmp/bin/rootlesskit is there already and is not a link to rlkbox;*" "$(cat "$tmp/made")"
	assert_eq file precious "$(cat "$tmp/bin/rootlesskit")"
	assert_eq link /nonexistent "$(readlink "$tmp/bin/rootlessctl")"
	[ "$tmp/bin/docker-rootlesskit" -ef "$tmp/bin/rlkbox" ] || fail 'the other names are not installed'
	# uninstall must not remove them either.
	install_prebuilt BINDIR="$tmp/bin" uninstall || fail "$(cat "$tmp/made")"
	assert_eq 'files that are left' 'rootlessctl
rootlesskit' "$(entries "$tmp/bin")"
}

case_install_says_what_to_do_about_a_directory_that_it_cannot_write_to() {
	touch "$tmp/file"
	assert_fails install_prebuilt BINDIR="$tmp/file/bin" install
	assert_match 'message about a directory that cannot be made' \
		"*cannot write to $tmp/file/bin; try sudo, or PREFIX=\$HOME/.local*" "$(cat "$tmp/made")"
	# Root may write to any directory.
	[ "$(id -u)" -ne 0 ] || return 0
	assert_fails install_prebuilt BINDIR=/ install
	assert_match "message about root's directory" '*cannot write to /; try sudo,*' "$(cat "$tmp/made")"
}

# Whatever an earlier installation or `rlkbox --install` has made: hard links to the old program, which
# install must find before it replaces the program, symbolic links or copies.
case_install_replaces_links_and_copies() {
	for make in ln 'ln -s' cp; do
		rm -rf "${tmp:?}/bin"
		mkdir "$tmp/bin"
		echo 'an older version' >"$tmp/bin/rlkbox"
		for name in $links; do
			(cd "$tmp/bin" && $make rlkbox "$name")
		done
		install_prebuilt BINDIR="$tmp/bin" install || fail "$make: $(cat "$tmp/made")"
		are_links "$tmp/bin"
		cmp "$BUILD/rlkbox" "$tmp/bin/rlkbox"
	done
}

has_symbols() {
	readelf -S "$1" | grep -q '\.symtab'
}

case_only_install_strip_strips_the_program() {
	copy_sources "$tmp/src"
	build "$tmp/src" CFLAGS=-g
	set -- "PREFIX=$tmp/to" CFLAGS=-g
	build "$tmp/src" "$@" install
	has_symbols "$tmp/to/bin/rlkbox" || fail 'install has stripped it'
	build "$tmp/src" "$@" install-strip
	assert_fails has_symbols "$tmp/to/bin/rlkbox"
	# shellcheck disable=SC2016 # for the inner shell
	printf '#!/bin/sh\necho "$@" >>"%s/stripped"\n' "$tmp" >"$tmp/my-strip"
	chmod +x "$tmp/my-strip"
	build "$tmp/src" "$@" "STRIP=$tmp/my-strip" install-strip
	assert_match 'the call of STRIP' "*$tmp/to/bin/rlkbox*" "$(cat "$tmp/stripped")"
}

case_clean_removes_only_the_build_directory() {
	copy_sources "$tmp/src"
	mkdir "$tmp/empty" "$tmp/full"
	echo mine >"$tmp/full/file"
	for dir in build "$tmp/new" "$tmp/empty" "$tmp/full"; do
		build "$tmp/src" BUILD="$dir" "$dir/base/text.o"
	done
	build "$tmp/src" BUILD="$tmp/new" clean
	build "$tmp/src" BUILD="$tmp/empty" clean
	for dir in "$tmp/full" . "$tmp"; do
		assert_fails env -u BUILD make -C "$tmp/src" BUILD="$dir" clean
	done
	for dir in "$tmp/new" "$tmp/empty"; do
		[ ! -e "$dir" ] || fail "$dir is still there"
	done
	assert_eq 'the file beside the build' mine "$(cat "$tmp/full/file")"
	[ -e "$tmp/src/build/base/text.o" ] || fail 'the other build directory is gone'
	build "$tmp/src" clean
	[ ! -e "$tmp/src/build" ] || fail 'build is still there'
}

# As on 32-bit systems. Needs a compiler that builds for them.
case_a_32_bit_build_has_64_bit_times_and_offsets() {
	echo 'int main(void) { return 0; }' >"$tmp/try.c"
	cc -m32 -o "$tmp/try" "$tmp/try.c" 2>/dev/null || skip gcc-multilib 'there is no 32-bit C library'
	copy_sources "$tmp/src"
	build "$tmp/src" CFLAGS='-O1 -g -m32' WERROR=1
	assert_match 'the ELF header' '*ELF32*' "$(readelf -h "$tmp/src/build/rlkbox")"
	cat >"$tmp/sizes.c" <<-EOF
		#include <time.h>
		#include <sys/types.h>
		_Static_assert(sizeof(time_t) == 8, "times");
		_Static_assert(sizeof(off_t) == 8, "offsets");
	EOF
	sh -c "$(cat "$tmp/src/build/compiling") -c -o '$tmp/sizes.o' '$tmp/sizes.c'"
	"$tmp/try" 2>/dev/null || skip ia32 'this kernel executes no 32-bit programs; everything else was tested'
	assert_match version 'rlkbox *' "$("$tmp/src/build/rlkbox" --version)"
}

# One test must not wait for the build of all the others.
case_only_the_wanted_unit_tests_are_built() {
	make -C "$src" --no-print-directory -n BUILD="$tmp/build" CFLAGS=-O0 TESTS='check_msg check_text' V=1 check-unit >"$tmp/made"
	assert_eq 'test programs with TESTS' 'check_msg
check_text' "$(grep -o ' -o [^ ]*/unit/[^ ]*' "$tmp/made" | sed 's,.*/,,' | sort)"
	make -C "$src" --no-print-directory -n BUILD="$tmp/build" CFLAGS=-O0 V=1 check-e2e >"$tmp/made"
	assert_eq 'unit tests for the end-to-end tests' 0 "$(grep -c '/unit/' "$tmp/made")"
	make -C "$src" --no-print-directory -n BUILD="$tmp/build" CFLAGS=-O0 TESTS= V=1 check-unit >"$tmp/made"
	[ "$(grep -c ' -o [^ ]*/unit/' "$tmp/made")" -ge 50 ] || fail 'not all unit tests are built without TESTS'
}

case_help_lists_targets_and_variables() {
	build "$src" help
	for word in install-strip uninstall clean V=1 PREFIX=DIR; do
		grep -q "^  $word " "$tmp/made" || fail "make help does not name $word: $(cat "$tmp/made")"
	done
}

log=$work/log
run_cases \
	make_prints_one_short_line_for_each_file \
	changed_compiler_options_rebuild_everything \
	the_program_knows_its_commit \
	builds_in_two_directories_are_identical \
	dynamic_builds_in_two_directories_are_identical \
	static_builds_in_two_directories_are_identical \
	install_works_in_a_directory_with_blanks_and_quotes \
	installed_files_are_readable_under_any_umask \
	install_copies_the_program_if_the_file_system_has_no_hard_links \
	the_AppArmor_profile_leaves_out_programs_that_have_another_one \
	the_AppArmor_profile_is_installed_only_where_it_can_be_loaded \
	install_does_not_run_the_built_program \
	install_overwrites_no_file_that_it_has_not_installed \
	install_says_what_to_do_about_a_directory_that_it_cannot_write_to \
	install_replaces_links_and_copies \
	only_install_strip_strips_the_program \
	clean_removes_only_the_build_directory \
	a_32_bit_build_has_64_bit_times_and_offsets \
	only_the_wanted_unit_tests_are_built help_lists_targets_and_variables | tee "$log"
failed=$(grep -ac '^not ok' "$log")
skipped=$(grep -ac '^ok.*# SKIP' "$log")
echo "$(($(grep -ac '^ok' "$log") - skipped)) passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
