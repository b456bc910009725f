#!/bin/bash
# Runs one TAP producer for run.sh: run-one.sh LOGS NAME SECONDS COMMAND... stores the command's output
# in LOGS/NAME.tap, and prints a summary line and the cases that failed. A command that fails without
# reporting a failed case, or reports no case at all, counts as a failed case. TMPDIR is a directory for this
# command, like /tmp but removed at the end, with what a killed test has left in it. Its path is short, because
# tests make sockets in it.
set -eu

logs=$1 name=$2 seconds=$3
shift 3
TMPDIR=$(mktemp -d /tmp/rlk.XXXXXX)
export TMPDIR
chmod 1777 "$TMPDIR"
trap 'chmod -R u+rwX "$TMPDIR" 2>/dev/null; rm -rf "$TMPDIR"' EXIT
trap 'exit 130' HUP INT TERM
status=0
started=$(date +%s)
(
	# The tests must not inherit other descriptors of the caller.
	for fd in /proc/self/fd/*; do
		fd=${fd##*/}
		[ "$fd" -le 2 ] || eval "exec $fd>&-"
	done
	# They must not inherit ignored signals either, such as SIGHUP under nohup(1).
	exec env --default-signal timeout -k 10 "$seconds" "$@"
) >"$logs/$name.out" 2>&1 </dev/null || status=$?
# Programs that use Check write the TAP file themselves.
[ -e "$logs/$name.tap" ] || mv "$logs/$name.out" "$logs/$name.tap"
if [ "$status" -ne 0 ] && ! grep -aq '^not ok' "$logs/$name.tap"; then
	echo "not ok - $name ended with status $status" >>"$logs/$name.tap"
fi
grep -aq '^\(not \)\{0,1\}ok' "$logs/$name.tap" ||
	echo "not ok - $name ran no case" >>"$logs/$name.tap"
# Printed at once, since other tests may be printing at the same time.
text=$(
	printf '%-24s %3d ok %6ds\n' "$name" "$(grep -ac '^ok' "$logs/$name.tap")" \
		$(($(date +%s) - started))
	if grep -aq '^not ok' "$logs/$name.tap"; then
		sed "s/^/    /" "$logs/$name.tap" | grep -av '^    ok' | tr -d '\0' | head -n 200
		[ ! -e "$logs/$name.out" ] || tail -n 50 "$logs/$name.out" | tr -d '\0' | sed 's/^/    | /'
	fi
)
echo "$text"
