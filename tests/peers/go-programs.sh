#!/bin/sh
# tests/peers/go-programs.sh [--print] NAME...: builds programs of pinned versions from Go modules, for tests of
# real clients. They are kept in CACHE/NAME-VERSION/usr/bin, which every user may read, so only the first run
# downloads and builds, which takes one to five minutes for each name. CACHE/NAME-VERSION/module has the
# sources. As root, or as an owner of CACHE (/var/cache/rlkbox-tests/go unless the environment sets it). The names
# are those of the table below.
#
# --print builds nothing: for each name, prints the directory that has usr/bin. The status is 1 if one is missing.
#
# Exit status 77: there is no Go here, or it is too old.
set -eu
CACHE=${CACHE:-/var/cache/rlkbox-tests/go}

# name, version, 1 if it needs cgo, module, packages in it (none: the module itself). Docker 29 is moby 2.0. Its
# containerd asks runc for a time namespace, which Debian 12's does not know.
programs='
containerd 2.4.2 0 github.com/containerd/containerd/v2 cmd/containerd cmd/containerd-shim-runc-v2 cmd/ctr
buildkit 0.32.2 0 github.com/moby/buildkit cmd/buildkitd cmd/buildctl
docker 2.0.0-beta.24 0 github.com/moby/moby/v2 cmd/dockerd cmd/docker-proxy
rootlesskit 3.3.0 0 github.com/rootless-containers/rootlesskit/v3 cmd/rootlesskit cmd/rootlessctl
runc 1.3.7 1 github.com/opencontainers/runc
'

die() {
	echo "tests/peers/go-programs.sh: $2" >&2
	exit "$1"
}

# find_program NAME: sets version, cgo, module, packages, and the directory `to`
find_program() {
	line=$(echo "$programs" | grep "^$1 ") || die 2 "no such program: $1"
	# shellcheck disable=SC2086 # words
	set -- $line
	version=$2 cgo=$3 module=$4 to=$CACHE/$1-$2
	shift 4
	packages=$*
}

# Builds the program of find_program in an empty module, because `go install` refuses modules with replacements.
# The programs are static, and so run on any Debian.
build() {
	mkdir -p "$work/$version" "$work/root/usr/bin"
	cd "$work/$version"
	set --
	for package in $packages; do
		set -- "$@" "$module/$package"
	done
	[ $# -gt 0 ] || set -- "$module"
	[ -e go.mod ] || go mod init programs.invalid
	for package; do
		go get "$package@v$version"
	done
	go build -trimpath -tags netgo,osusergo -ldflags='-s -w -extldflags -static' -o "$work/root/usr/bin/" "$@"
	cp -r "$(go list -m -f '{{.Dir}}' "$module")" "$work/root/module"
	# In a module no file is executable.
	find "$work/root/module" -name '*.sh' -exec chmod 755 {} +
	chmod 755 "$work" "$work/root"
	rm -rf "$to"
	mkdir -p "$CACHE"
	mv "$work/root" "$to"
}

# make_program: builds it unless another process has done so while this one waited for the lock
make_program() {
	mkdir -p "$CACHE"
	exec 9>"$to.lock"
	flock 9
	[ ! -d "$to" ] || return 0
	command -v go >/dev/null || die 77 "there is no Go here"
	work=$(mktemp -d)
	# What Go downloads and compiles goes away with $work.
	export CGO_ENABLED="$cgo" GOFLAGS='-mod=mod -modcacherw' GOPATH="$work/go" GOCACHE="$work/cache"
	trap 'cd /; rm -rf "$work"' EXIT
	trap 'exit 130' HUP INT TERM
	build >"$to.log" 2>&1 || { tail -n 20 "$to.log" >&2; die 1 "cannot build $to"; }
	rm -rf "$work"
	trap - EXIT
}

print=
[ "${1-}" != --print ] || { print=yes; shift; }
[ $# -ge 1 ] || die 2 "usage: tests/peers/go-programs.sh [--print] NAME..."
for name; do
	find_program "$name"
	if [ -n "$print" ]; then
		echo "$to"
		[ -d "$to" ] || exit 1
	else
		[ -d "$to" ] || make_program
	fi
done
