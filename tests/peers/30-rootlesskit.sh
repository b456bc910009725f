#!/bin/sh
# Compares every visible behaviour with that of RootlessKit 1.1.0, Debian 12's package rootlesskit
# (tests/compare.sh).
set -u

rootlesskit=/usr/bin/rootlesskit
bin=${BUILD:?run this by tests/run.sh, or set BUILD to the build directory}/compare
version=$("$rootlesskit" --version 2>/dev/null | sed 's/.* //; s/[-+].*//')

if [ "$version" != 1.1.0 ]; then
	echo 1..1
	echo "ok 1 - comparison # SKIP rootlesskit-1.1.0: ${version:-none} is installed, compare/expected-1.1.0 is for that version"
	exit
fi
mkdir -p "$bin" && "$BUILD/rlkbox" --install -s "$bin" || exit 1
exec sh "$(dirname "$0")/../compare.sh" "$rootlesskit" "$bin/rootlesskit" expected-1.1.0
