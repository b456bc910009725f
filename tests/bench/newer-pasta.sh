#!/bin/sh
# tests/bench/newer-pasta.sh [SUITE]: unpacks the pasta of a newer Debian (default: sid) for the benchmarks
# and for the tests of --port-driver=pesto, as root of a Debian system. Also unpacks the libc that it needs, and
# sets the loader of pasta and pesto to it. Does not change the system or apt's lists, except that it
# installs patchelf. tests/bench/run.sh and tests/e2e/45-pasta.sh use this pasta from then on, if it runs here.
set -eu
suite=${1:-sid}
to=/var/cache/rlkbox-tests/newer-pasta

command -v patchelf >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends patchelf >/dev/null
mirror=$(apt-get indextargets --format '$(SITE)|$(RELEASE)' 'Created-By: Packages' 2>/dev/null |
	sed -n 's/|\(bookworm\|trixie\|stable\)$//p' | head -n 1)
[ -n "$mirror" ] || { echo "tests/bench/newer-pasta.sh: apt has no source of a stable Debian release" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" \
	>"$work/sources.list"

# apt_of_suite COMMAND...: runs apt-get with only that suite, and with lists of its own
apt_of_suite() {
	apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o Acquire::Languages=none \
		-o APT::Sandbox::User=root "$@"
}

apt_of_suite update
cd "$work"
apt_of_suite download "passt/$suite" "libc6/$suite"
rm -rf "$to"
mkdir -p "$to"
for deb in *.deb; do
	dpkg -x "$deb" "$to"
done
chmod 755 "$to"
libc=$(find "$to" -name libc.so.6 | head -n 1)
interpreter=$(find "${libc%/*}" -name 'ld-linux*' | head -n 1)
for program in "$to"/usr/bin/passt "$to"/usr/bin/passt.* "$to/usr/bin/pesto"; do
	[ ! -x "$program" ] || patchelf --set-interpreter "$interpreter" --set-rpath "${libc%/*}" "$program"
done
"$to/usr/bin/pasta" --version | head -n 1
