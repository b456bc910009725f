# shellcheck shell=sh
# For the tests that run clients with pasta. A test file sources this after lib.sh.
# shellcheck disable=SC2034 # for the test files

# need_pasta PORT_DRIVER: sets FLAGS to the options for pasta. pesto needs a newer one than Debian 12 and 13 have.
need_pasta() {
	need pasta
	FLAGS=
	[ "$1" = pesto ] || return 0
	newer=/var/cache/rlkbox-tests/newer-pasta/usr/bin/pasta
	case $("$newer" --help 2>&1) in
	*--conf-path*) FLAGS=--pasta-binary=$newer ;;
	*) skip pesto 'there is no pasta with --conf-path; tests/bench/newer-pasta.sh brings one' ;;
	esac
}
