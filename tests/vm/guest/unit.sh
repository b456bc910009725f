#!/bin/sh
# Runs one unit test for init: unit.sh PROGRAM, except for cases that depend on microseconds (tag `rush`): an
# emulator is too slow for them. Prints the results at the end, in one piece, since others run at the same time.
program=$1
name=${program##*/}
out=/tmp/$name.out
began=$(cut -d . -f 1 /proc/uptime)
CK_TAP_LOG_FILE_NAME=/tmp/$name.tap CK_VERBOSITY=silent CK_DEFAULT_TIMEOUT=120 CK_EXCLUDE_TAGS=rush
export CK_TAP_LOG_FILE_NAME CK_VERBOSITY CK_DEFAULT_TIMEOUT CK_EXCLUDE_TAGS
"$program" >"$out" 2>&1 || echo "ended with status $?" >>"$out.failed"
exec 9>/tmp/units.lock
flock 9
echo "# file $name"
[ ! -e "$out.failed" ] || tail -n 20 "$out" "$out.failed" | sed 's/^/# | /'
cat "$CK_TAP_LOG_FILE_NAME"
echo "# $(($(cut -d . -f 1 /proc/uptime) - began)) s"
