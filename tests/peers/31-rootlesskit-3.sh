#!/bin/sh
# Compares every visible behaviour with that of RootlessKit 3.3.0, which tests/peers/go-programs.sh builds
# (tests/compare.sh).
set -u

here=$(dirname "$0")
bin=${BUILD:?run this by tests/run.sh, or set BUILD to the build directory}/compare-3
if ! built=$("$here/go-programs.sh" --print rootlesskit); then
	echo 1..1
	echo 'ok 1 - comparison # SKIP rootlesskit-3.3.0: it is not built; tests/peers/go-programs.sh does that'
	exit
fi
mkdir -p "$bin" && "$BUILD/rlkbox" --install -s "$bin" || exit 1
exec sh "$here/../compare.sh" "$built/usr/bin/rootlesskit" "$bin/rootlesskit" expected-3.3.0
