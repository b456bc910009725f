#!/bin/sh
# tests/bench/run.sh BUILD: the benchmarks. They are for an unprivileged user; started by root, they run
# as the user that the tests run as.
set -eu
[ $# -eq 1 ] || { echo "usage: tests/bench/run.sh BUILD" >&2; exit 2; }
work=$(mktemp -d /tmp/rlkbox-bench.XXXXXX)
trap 'rm -rf "$work"' EXIT
cp "$1/rlkbox" tests/bench/start.py "$work"
strip "$work/rlkbox"
chmod -R a+rX "$work"
if [ "$(id -u)" -ne 0 ]; then
	python3 "$work/start.py" "$work/rlkbox"
else
	user=rlkbox-test
	id "$user" >/dev/null 2>&1 || { echo "run \`make check\` once: it makes the user" >&2; exit 1; }
	setpriv --reuid "$user" --regid "$user" --init-groups env -i HOME="/home/$user" USER="$user" \
		PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin python3 "$work/start.py" "$work/rlkbox"
fi
