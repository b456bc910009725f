#!/bin/bash
# Runs one TAP producer for run.sh: run-one.sh LOGS NAME SECONDS COMMAND... leaves its output as
# LOGS/NAME.tap and prints a line about it, with what failed. One that dies adds a failed case.
set -eu

logs=$1 name=$2 seconds=$3
shift 3
status=0
started=$(date +%s)
(
	# What else whoever runs the tests has open is not for them.
	for fd in /proc/self/fd/*; do
		fd=${fd##*/}
		[ "$fd" -le 2 ] || eval "exec $fd>&-"
	done
	# Nor are the signals that are ignored, as nohup(1) leaves SIGHUP.
	exec env --default-signal timeout -k 10 "$seconds" "$@"
) >"$logs/$name.out" 2>&1 </dev/null || status=$?
# Check writes the file itself.
[ -e "$logs/$name.tap" ] || mv "$logs/$name.out" "$logs/$name.tap"
if [ "$status" -ne 0 ] && ! grep -aq '^not ok' "$logs/$name.tap"; then
	echo "not ok - $name ended with status $status" >>"$logs/$name.tap"
fi
grep -aq '^\(not \)\{0,1\}ok' "$logs/$name.tap" ||
	echo "not ok - $name ran no case" >>"$logs/$name.tap"
# In one piece: others may be printing at the same time.
text=$(
	printf '%-24s %3d ok %6ds\n' "$name" "$(grep -ac '^ok' "$logs/$name.tap")" \
		$(($(date +%s) - started))
	if grep -aq '^not ok' "$logs/$name.tap"; then
		sed "s/^/    /" "$logs/$name.tap" | grep -av '^    ok' | tr -d '\0' | head -n 200
		[ ! -e "$logs/$name.out" ] || tail -n 50 "$logs/$name.out" | tr -d '\0' | sed 's/^/    | /'
	fi
)
echo "$text"
