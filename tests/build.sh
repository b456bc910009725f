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

case_one_short_line_for_each_file() {
	copy_sources "$tmp/src"
	build "$tmp/src" CFLAGS=-O0 all build/unit/base/check_text build/tools/stream
	objects=$(cd "$tmp/src" && find . -maxdepth 2 -name '*.c' ! -path './tests/*' | wc -l)
	assert_eq 'lines for objects' "$objects" "$(grep -cE '^  CC      ([a-z]+/)?[a-z0-9_]+\.o$' "$tmp/made")"
	assert_eq 'other lines' '  AR      librlkbox.a
  CHECK   unit/base/check_text
  LD      rlkbox
  TOOL    tools/stream' "$(grep -v '^  CC ' "$tmp/made" | sort)"
	# With V=1 the command is the only line.
	build "$tmp/src" CFLAGS=-O0 V=1 -W base/text.c build/base/text.o
	assert_match 'with V=1' '* -c -o build/base/text.o base/text.c' "$(cat "$tmp/made")"
	assert_eq 'lines with V=1' 1 "$(wc -l <"$tmp/made")"
	build "$tmp/src" CFLAGS=-O0 -s -W base/text.c build/base/text.o
	assert_eq 'with -s' '' "$(cat "$tmp/made")"
}

case_all_is_made_again_when_the_options_change() {
	copy_sources "$tmp/src"
	build "$tmp/src" CFLAGS=-O0 build/base/text.o build/base/err.o
	build "$tmp/src" CFLAGS=-O0 build/base/text.o build/base/err.o
	assert_eq 'the second time' '' "$(grep CC "$tmp/made" || true)"
	build "$tmp/src" CFLAGS=-O1 build/base/text.o build/base/err.o
	assert_eq 'with other options' 2 "$(grep -c CC "$tmp/made")"
	build "$tmp/src" CFLAGS=-O1 CPPFLAGS=-DX build/base/text.o build/base/err.o
	assert_eq 'with other options of the preprocessor' 2 "$(grep -c CC "$tmp/made")"
}

# same_bytes ARGUMENTS...: builds in two directories with paths of different lengths give identical
# programs that do not contain these paths
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
	! grep -qaF "$tmp" "$one" || fail "$one names the directory: $(strings "$one" | grep -F "$tmp")"
}

case_two_directories_give_identical_bytes() {
	same_bytes
}
case_two_directories_give_identical_bytes_dynamically_linked() {
	same_bytes DYNAMIC=1 CFLAGS='-O0 -g'
}
case_two_directories_give_identical_bytes_with_musl() {
	need musl-gcc
	same_bytes static
}

case_install_to_a_directory_with_blanks() {
	set -- "DESTDIR=$tmp/a dest'dir" 'PREFIX=/my "own" prefix'
	dir="$tmp/a dest'dir/my \"own\" prefix/bin"
	install_prebuilt "$@" install || fail "$(cat "$tmp/made")"
	cmp "$BUILD/rlkbox" "$dir/rlkbox"
	assert_eq links "$links" "$(entries "$dir")"
	assert_eq 'links of --list' "$links" "$("$dir/rlkbox" --list | LC_ALL=C sort)"
	for name in $links; do
		assert_eq "$name" rlkbox "$(readlink "$dir/$name")"
	done
	# Install again, over the existing files.
	install_prebuilt "$@" install || fail "$(cat "$tmp/made")"
	echo mine >"$dir/other"
	install_prebuilt "$@" uninstall || fail "$(cat "$tmp/made")"
	assert_eq 'what is left' other "$(ls -A "$dir")"
}

# The program may be from a cross build, or on a file system mounted noexec.
case_install_runs_no_program_that_was_built() {
	mkdir "$tmp/foreign"
	cp -r "$BUILD/rlkbox" "$tmp/foreign/rlkbox"
	chmod a-x "$tmp/foreign/rlkbox"
	printf 'not a program' >"$tmp/foreign/rlkbox"
	for target in install uninstall; do
		make -C "$src" --no-print-directory -o all BUILD="$tmp/foreign" PREFIX="$tmp/to" \
			"$target" >"$tmp/made" 2>&1 || fail "$target: $(cat "$tmp/made")"
		[ "$target" = uninstall ] || assert_eq links "$links" "$(entries "$tmp/to/bin")"
	done
	assert_eq 'what is left' '' "$(ls -A "$tmp/to/bin")"
}

case_install_overwrites_no_foreign_file() {
	mkdir -p "$tmp/bin" "$tmp/elsewhere"
	echo precious >"$tmp/bin/rootlesskit"
	ln -s /nonexistent "$tmp/bin/rootlessctl"
	rc=0
	install_prebuilt BINDIR="$tmp/bin" install || rc=$?
	assert_eq status 2 "$rc"
	assert_match message "*$tmp/bin/rootlesskit is there already and is not a link to rlkbox;*" "$(cat "$tmp/made")"
	assert_eq file precious "$(cat "$tmp/bin/rootlesskit")"
	assert_eq link /nonexistent "$(readlink "$tmp/bin/rootlessctl")"
	assert_eq 'another link' rlkbox "$(readlink "$tmp/bin/docker-rootlesskit")"
	# uninstall must not remove them either.
	install_prebuilt BINDIR="$tmp/bin" uninstall || fail "$(cat "$tmp/made")"
	assert_eq 'what is left' 'rootlessctl
rootlesskit' "$(entries "$tmp/bin")"
}

# Hard links are links to the old rlkbox only, so they must be found before it is replaced.
case_install_replaces_hard_links() {
	install_prebuilt BINDIR="$tmp/bin" install || fail "$(cat "$tmp/made")"
	rm "$tmp/bin"/root* "$tmp/bin"/docker*
	for name in $links; do
		ln "$tmp/bin/rlkbox" "$tmp/bin/$name"
	done
	install_prebuilt BINDIR="$tmp/bin" install || fail "$(cat "$tmp/made")"
	for name in $links; do
		assert_eq "$name" rlkbox "$(readlink "$tmp/bin/$name")"
	done
}

has_symbols() {
	readelf -S "$1" | grep -q '\.symtab'
}

case_install_strips_on_request_only() {
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

case_clean_removes_the_build_directory_only() {
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

# For 32-bit systems, if this machine can compile for them.
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
	assert_match version 'rlkbox *' "$("$tmp/src/build/rlkbox" --version)"
}

case_help_lists_targets_and_variables() {
	build "$src" help
	for word in install-strip uninstall clean V=1 PREFIX=DIR; do
		grep -q "^  $word " "$tmp/made" || fail "no $word in: $(cat "$tmp/made")"
	done
}

log=$work/log
run_cases \
	one_short_line_for_each_file \
	all_is_made_again_when_the_options_change \
	two_directories_give_identical_bytes \
	two_directories_give_identical_bytes_dynamically_linked \
	two_directories_give_identical_bytes_with_musl \
	install_to_a_directory_with_blanks \
	install_runs_no_program_that_was_built \
	install_overwrites_no_foreign_file \
	install_replaces_hard_links \
	install_strips_on_request_only \
	clean_removes_the_build_directory_only \
	a_32_bit_build_has_64_bit_times_and_offsets \
	help_lists_targets_and_variables | tee "$log"
failed=$(grep -ac '^not ok' "$log")
skipped=$(grep -ac '^ok.*# SKIP' "$log")
echo "$(($(grep -ac '^ok' "$log") - skipped)) passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
