#!/bin/sh
# tests/bench/run.sh BUILD [--quick]: runs the benchmarks. Variables:
#
#   QUICK=1          as --quick: short loads, 3 rounds; about two minutes
#   ROWS='small udp' only these rows (bulk-1 bulk-64 small connect latency idle udp memory start ports)
#   ROUNDS=N         rounds in which the peers take turns (default: 5; 3 with --quick)
#   OUT=DIR          directory of the results (default: build/bench)
#   DOCS=1           also update docs/benchmarks.md, its plots and its CSV files
#   REFERENCE=FILE   the rootlesskit that the goals are about (default: Debian's, /usr/bin/rootlesskit)
#   PASTA=FILE       the pasta to measure (default: the one of newer-pasta.sh, or else of $PATH)
#   NETWORK=1        instead: networks for programs inside (network.py); ROWS are then some of tcp-1500
#                    tcp-65520 requests connections latency udp bridge memory start
#   OTHERS='a=FILE b=FILE'  more builds of rlkbox, each in its own column
#
# RootlessKit 3.3.0 has its own column if tests/peers/go-programs.sh has built it.
#
# Started by root, the benchmarks run as the user of the tests, because root is exempt from limits that
# matter. Only the results are kept.
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

# take NAME FILE: makes a stripped copy that the user may run
take() {
	mkdir "$work/bin/$1"
	cp "$2" "$work/bin/$1/rlkbox"
	strip "$work/bin/$1/rlkbox" 2>/dev/null || true
}

take rlkbox "$build/rlkbox"
set -- --peer "rlkbox=rlkbox:$work/bin/rlkbox/rlkbox"
for other in ${OTHERS-}; do
	take "${other%%=*}" "${other#*=}"
	set -- "$@" --peer "${other%%=*}=rlkbox:$work/bin/${other%%=*}/rlkbox"
done
newer=/var/cache/rlkbox-tests/newer-pasta/usr/bin/pasta
[ -n "${PASTA-}" ] || ! "$newer" --version >/dev/null 2>&1 || PASTA=$newer
[ -z "${PASTA-}" ] || ln -s "$(readlink -f "$PASTA")" "$work/bin/pasta"
set -- "$@" --peer "RootlessKit=rootlesskit:$reference"
if built=$("$here/../peers/go-programs.sh" --print rootlesskit); then
	set -- "$@" --peer "RootlessKit ${built##*-}=rootlesskit-3:$built/usr/bin/rootlesskit"
else
	echo "RootlessKit ${built##*-} is left out: it is not built; try sudo tests/peers/go-programs.sh rootlesskit"
fi
set -- "$@" --peer "pasta=pasta:$work/bin/rlkbox/rlkbox" --peer direct=direct:
script=bench.py
if [ -n "${NETWORK-}" ]; then
	script=network.py
	set -- --rlkbox "$work/bin/rlkbox/rlkbox"
	[ ! -x "$built/usr/bin/rootlesskit" ] || set -- "$@" --rootlesskit "$built/usr/bin/rootlesskit"
fi
[ -z "${QUICK-}" ] || set -- "$@" --quick
[ -z "${ROWS-}" ] || set -- "$@" --rows "$ROWS"
[ -z "${ROUNDS-}" ] || set -- "$@" --rounds "$ROUNDS"
command="make bench${QUICK:+ QUICK=1}${ROWS:+ ROWS='$ROWS'}${ROUNDS:+ ROUNDS=$ROUNDS}${DOCS:+ DOCS=1}"
[ -n "${NETWORK-}" ] || set -- "$@" --command "$command"
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
		python3 "$work/bench/$script" --out "$work/out" "$@"
else
	set -- env PATH="$path" TMPDIR="$work/tmp" OPENLOOP="$work/bin/openloop" PYTHONDONTWRITEBYTECODE=1 \
		python3 "$work/bench/$script" --out "$work/out" "$@"
fi
# Without descriptors that this script may have inherited.
(cd "$work" && exec "$@" 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-)

mkdir -p "$out"
if [ -n "${NETWORK-}" ]; then
	cp "$work/out"/network.* "$out"
	exit
fi
cp "$work/out/results.json" "$out"
python3 -B "$here/report.py" "$out" ${DOCS:+docs}
python3 -B "$here/model.py" "$out" ${DOCS:+docs}
