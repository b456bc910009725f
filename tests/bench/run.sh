#!/bin/sh
# tests/bench/run.sh BUILD [--quick]: the benchmarks. In the environment:
#
#   QUICK=1          as --quick: short loads, 3 rounds; under two minutes in all
#   ROWS='small udp' these rows only (bulk-1 bulk-64 small connect latency idle udp memory start ports)
#   ROUNDS=N         rounds in which the peers take turns (5; 3 with --quick)
#   OUT=DIR          where results go (build/bench)
#   DOCS=1           the table and the plots go into docs/ too
#   REFERENCE=FILE   the other rootlesskit (/usr/bin/rootlesskit)
#   PASTA=FILE       the pasta to be measured (what newer-pasta.sh brought, or that of $PATH)
#   OTHERS='a=FILE b=FILE'  more builds of rlkbox, each a column of its own
#
# They are for an unprivileged user, whom the limits hit that matter; started by root, they run as
# the user that the tests run as. Nothing is kept but the results.
set -eu
[ $# -ge 1 ] || { echo "usage: tests/bench/run.sh BUILD [--quick]" >&2; exit 2; }
build=$1
shift
[ "${1-}" != --quick ] || QUICK=1
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-build/bench}
reference=${REFERENCE:-/usr/bin/rootlesskit}
user=rlkbox-test

work=$(mktemp -d /tmp/rlkbox-bench.XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
mkdir "$work/bench" "$work/bin" "$work/out" "$work/tmp"
cp "$here"/*.py "$work/bench"
[ ! -x "$build/openloop" ] || cp "$build/openloop" "$work/bin"

# take NAME FILE: a stripped copy that the user may run
take() {
	mkdir "$work/bin/$1"
	cp "$2" "$work/bin/$1/rlkbox"
	strip "$work/bin/$1/rlkbox" 2>/dev/null || true
}

take ours "$build/rlkbox"
set -- --peer "ours=ours:$work/bin/ours/rlkbox"
for other in ${OTHERS-}; do
	take "${other%%=*}" "${other#*=}"
	set -- "$@" --peer "${other%%=*}=ours:$work/bin/${other%%=*}/rlkbox"
done
newer=/var/cache/rlkbox-tests/newer-pasta/usr/bin/pasta
[ -n "${PASTA-}" ] || ! "$newer" --version >/dev/null 2>&1 || PASTA=$newer
[ -z "${PASTA-}" ] || ln -s "$(readlink -f "$PASTA")" "$work/bin/pasta"
set -- "$@" --peer "1.1.0=reference:$reference" --peer "pasta=pasta:$work/bin/ours/rlkbox" --peer direct=direct:
[ -z "${QUICK-}" ] || set -- "$@" --quick
[ -z "${ROWS-}" ] || set -- "$@" --rows "$ROWS"
[ -z "${ROUNDS-}" ] || set -- "$@" --rounds "$ROUNDS"

command="make bench${QUICK:+ QUICK=1}${ROWS:+ ROWS='$ROWS'}${ROUNDS:+ ROUNDS=$ROUNDS}${DOCS:+ DOCS=1}"
chmod -R a+rX "$work"
path=$work/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
if [ "$(id -u)" -eq 0 ]; then
	id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/sh "$user"
	for file in /etc/subuid /etc/subgid; do
		grep -q "^$user:" "$file" 2>/dev/null || echo "$user:1000000:65536" >>"$file"
	done
	chown "$user:" "$work/out" "$work/tmp"
	set -- setpriv --reuid "$user" --regid "$user" --init-groups env -i HOME="/home/$user" USER="$user" \
		LOGNAME="$user" PATH="$path" TMPDIR="$work/tmp" OPENLOOP="$work/bin/openloop" PYTHONDONTWRITEBYTECODE=1 \
		python3 "$work/bench/bench.py" --out "$work/out" --command "$command" "$@"
else
	set -- env PATH="$path" TMPDIR="$work/tmp" OPENLOOP="$work/bin/openloop" PYTHONDONTWRITEBYTECODE=1 \
		python3 "$work/bench/bench.py" --out "$work/out" --command "$command" "$@"
fi
# Descriptors of ours are none of its business.
(cd "$work" && exec "$@" 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-)

mkdir -p "$out"
cp "$work/out/results.json" "$out"
python3 -B "$here/report.py" "$out" ${DOCS:+docs}
python3 -B "$here/model.py" "$out" ${DOCS:+docs}
