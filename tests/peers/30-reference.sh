#!/bin/sh
# Every visible behaviour beside that of Debian's `rootlesskit`, which is RootlessKit 1.1.0: see
# tests/compare.sh.
set -u

reference=/usr/bin/rootlesskit
bin=${BUILD:?run this by tests/run.sh, or set BUILD to the build directory}/compare
version=$("$reference" --version 2>/dev/null | sed 's/.* //; s/[-+].*//')

if [ "$version" != 1.1.0 ]; then
	echo 1..1
	echo "ok 1 - comparison # SKIP rootlesskit-1.1.0: ${version:-none} is installed, compare/expected is for 1.1.0"
	exit
fi
mkdir -p "$bin" && "$BUILD/rlkbox" --install -s "$bin" || exit 1
exec sh "$(dirname "$0")/../compare.sh" "$reference" "$bin/rootlesskit"
