# shellcheck shell=bash
# Shared by check-kernels and check-systemd, on the host: a cache of packages of other Debian suites,
# initramfs archives, and virtual machines without KVM. Everything in the cache is complete, because it is
# made under another name and then renamed. Names contain versions. What was not used for a month is
# removed.

: "${BUILD:?}"
if [ "$(id -u)" -eq 0 ]; then
	VM_CACHE=${VM_CACHE:-/var/cache/rlkbox-tests/vm}
else
	VM_CACHE=${VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rlkbox-tests/vm}
fi
LISTS_MAX_AGE_MIN=720 # package lists older than this are fetched again
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
PATH=$PATH:/usr/sbin:/sbin

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# need PROGRAM:PACKAGE...: installs what is missing, as root of a Debian system
need() {
	local missing
	missing=$(missing_packages "$@")
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
		die "not installed:$missing; as root, try apt-get install$missing"
	fi
	echo "installing$missing"
	# shellcheck disable=SC2086 # a list of names
	{
		apt-get update -qq
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
	} >/dev/null || die "cannot be installed:$missing"
}
missing_packages() {
	local pair
	for pair; do
		command -v "${pair%%:*}" >/dev/null || printf ' %s' "${pair#*:}"
	done
}

# ---- packages ----

# Prints the Debian mirror that this machine's apt uses.
mirror() {
	# shellcheck disable=SC2016 # apt's own variables
	apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' |
		sed -n 's/^Debian Debian //p' | sort -u | head -n 1
}

# suite_apt SUITE TOOL ARGUMENT...: runs a tool of apt for this suite only, with lists and archives in the
# cache
suite_apt() {
	local dir=$VM_CACHE/apt/$1 tool=$2
	shift 2
	"$tool" -q -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State="$dir/state" -o Dir::State::Status="$dir/status" -o Dir::Cache="$dir/cache" \
		-o Dir::Log="$dir" -o APT::Sandbox::User="" -o Acquire::Languages=none \
		-o Acquire::Retries=3 -o APT::Architecture=amd64 -o APT::Architectures=amd64 "$@"
}

# update_suite SUITE: fetches the package lists, unless they are fresh. Without a network, old lists are
# used.
update_suite() {
	local dir=$VM_CACHE/apt/$1 url
	url=$(mirror)
	mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial"
	if [ -n "$(find "$dir/updated" -mmin -$LISTS_MAX_AGE_MIN 2>/dev/null)" ]; then
		return
	fi
	[ -n "$url" ] || die "apt on this machine knows no Debian mirror"
	echo "deb [signed-by=$KEYRING] $url $1 main" >"$dir/sources.list"
	: >"$dir/status"
	if suite_apt "$1" apt-get update >"$dir/update.log" 2>&1 && ! grep -q '^[WE]:' "$dir/update.log"; then
		touch "$dir/updated"
	elif [ ! -e "$dir/updated" ]; then
		cat "$dir/update.log" >&2
		die "the package lists of $1 cannot be fetched"
	fi
}

# package_version SUITE PACKAGE: prints the version of the package in that suite
package_version() {
	suite_apt "$1" apt-cache show --no-all-versions "$2" | sed -n 's/^Version: //p' | head -n 1
}

# unpacked SUITE NAME PACKAGE...: unpacks these packages into a directory of the cache, named NAME_VERSION
# after the first package's version, and prints the directory
unpacked() {
	local suite=$1 name=$2 version place work
	shift 2
	version=$(package_version "$suite" "$1")
	[ -n "$version" ] || die "there is no package $1 in $suite"
	place=$VM_CACHE/packages/${name}_${version//:/%3a}
	if [ ! -d "$place" ]; then
		mkdir -p "$VM_CACHE/packages"
		find "$VM_CACHE/packages" -mindepth 1 -maxdepth 1 -mtime +30 -exec rm -rf {} +
		work=$(mktemp -d "$VM_CACHE/packages/tmp.XXXXXX")
		(cd "$work" && suite_apt "$suite" apt-get download -qq "$@" >/dev/null) ||
			die "$* of $suite cannot be downloaded"
		find "$work" -name '*.deb' -exec dpkg -x {} "$work/root" \;
		with_dependencies "$work/root"
		# Another run may have made it meanwhile.
		mv -T "$work/root" "$place" 2>/dev/null || [ -d "$place" ]
		rm -rf "$work"
	fi
	touch "$place"
	echo "$place"
}

# ---- kernels ----

# kernel_of SUITE: prints the directory of the suite's newest kernel for virtual machines. In newer suites
# the kernel and its modules are in two packages.
kernel_of() {
	local image parts
	update_suite "$1"
	image=$(depends_on "$1" linux-image-cloud-amd64 'linux-image-[0-9]')
	[ -n "$image" ] || die "there is no kernel in $1"
	parts=$(depends_on "$1" "$image" 'linux-\(base\|binary\|modules\)-[0-9]')
	# shellcheck disable=SC2086 # a list of names
	unpacked "$1" "$image" "$image" $parts
}

# depends_on SUITE PACKAGE PATTERN: prints the dependencies of the package that begin with PATTERN
depends_on() {
	suite_apt "$1" apt-cache depends "$2" | sed -n "s/^ *Depends: \\($3.*\\)/\\1/p"
}

# modules_of KERNEL: prints the directory of the kernel's modules, which is in usr/lib since Debian 13
modules_of() {
	local dir
	for dir in "$1"/lib/modules/*; do
		[ ! -d "$dir" ] || echo "$dir"
	done
}

# with_dependencies DIRECTORY: runs depmod, if there are modules, so that modprobe knows what each module
# needs
with_dependencies() {
	local modules
	if [ -d "$1/usr/lib/modules" ]; then
		rm -rf "${1:?}/lib"
		ln -s usr/lib "$1/lib"
	fi
	modules=$(modules_of "$1")
	[ -z "$modules" ] || [ -e "$modules/modules.dep.bin" ] || depmod -b "$1" "${modules##*/}"
}

# kernel_image KERNEL: prints the path of the kernel itself, which is among its modules since Linux 7
kernel_image() {
	local file
	for file in "$1"/boot/vmlinuz-* "$(modules_of "$1")/vmlinuz"; do
		[ ! -f "$file" ] || echo "$file"
	done
}

# module_files KERNEL MODULE...: prints the files to load, in order, without modules that are built in
module_files() {
	local dir=$1 modules name
	shift
	modules=$(modules_of "$dir")
	for name; do
		modprobe -d "$dir" -S "${modules##*/}" --show-depends "$name" |
			sed -n 's/^insmod \([^ ]*\).*/\1/p'
	done | awk '!seen[$0]++'
}

# put_modules KERNEL ROOT DIRECTORY MODULE...: copies modules into DIRECTORY below ROOT, decompressed,
# with names that sort in the order of loading
put_modules() {
	local kernel=$1 dir=$2/$3 file name number=100
	shift 3
	mkdir -p "$dir"
	for file in $(module_files "$kernel" "$@"); do
		number=$((number + 1)) name=${file##*/}
		case $name in
		*.xz) xz -dc "$file" >"$dir/$number-${name%.xz}" ;;
		*.zst) zstd -dqc "$file" >"$dir/$number-${name%.zst}" ;;
		*) cp "$file" "$dir/$number-$name" ;;
		esac
	done
}

# ---- file systems for guests ----

# new_root ROOT: creates directories, and busybox under all its names
new_root() {
	local applet
	mkdir -p "$1"/{usr/{bin,sbin,lib,lib64},dev,proc,sys,tmp,etc,run,root,var/lib,var/tmp,home}
	for applet in bin sbin lib lib64; do
		ln -s "usr/$applet" "$1/$applet"
	done
	cp "$(command -v busybox)" "$1/usr/bin/busybox"
	for applet in $(busybox --list); do
		[ "$applet" = busybox ] || ln -s busybox "$1/usr/bin/$applet"
	done
}

# put_programs ROOT PROGRAM...: copies programs of this machine to usr/bin, and their libraries to the
# same paths
put_programs() {
	local root=$1 program file library
	shift
	for program; do
		file=$(command -v "$program") || die "$program is not installed"
		rm -f "$root/usr/bin/${program##*/}"
		cp -L "$file" "$root/usr/bin/"
		put_libraries "$root" "$file"
	done
}
put_libraries() {
	local library
	for library in $(ldd "$2" 2>/dev/null | grep -o '/[^ ]*'); do
		[ -e "$1$library" ] || {
			mkdir -p "$1${library%/*}"
			cp -L "$library" "$1$library"
		}
	done
}

# archive ROOT FILE: makes an initramfs in which everything belongs to root. It is not compressed, because
# the guest is slow.
archive() {
	(cd "$1" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R +0:+0) >"$2"
}

# ---- machines ----

# Options of all kernels. Without mitigations of speculative execution a machine needs a fifth less time.
# shellcheck disable=SC2034 # for the scripts
KERNEL_OPTIONS='console=ttyS0 quiet loglevel=3 panic=-1 random.trust_cpu=on mitigations=off'

# run_vm SECONDS CONSOLE RESULTS ARGUMENT...: runs a machine for SECONDS at most. The output of its first
# serial port goes to the file CONSOLE, that of its second one to RESULTS. It has one thread, because with
# more threads this emulation corrupts kernels that patch their own text.
run_vm() {
	local seconds=$1 console=$2 results=$3
	shift 3
	timeout -k 5 "$seconds" nice -n "${VM_NICE:-0}" qemu-system-x86_64 -accel tcg,thread=single -cpu max,la57=off -smp 2 \
		-display none -monitor none -nic none -serial "file:$console" -serial "file:$results" "$@" \
		</dev/null
}

# ---- results ----

# results OUT STATUS FILE...: prints the results of a machine whose qemu ended with STATUS. In OUT each
# test file begins with "# file NAME", and the last line is "# end". Adds a failed case if the machine
# ended early, if one of the FILEs did not run, or if a file ran another number of cases than it planned.
results() {
	local out=$1.text status=$2 file
	tr -d '\r\0' <"$1" >"$out" 2>/dev/null || true
	shift 2
	grep -aE '^(not )?ok|^#' "$out" || true
	[ "$status" -eq 0 ] || echo "not ok - qemu ended with status $status (124: timeout)"
	grep -aqx '# end' "$out" || echo "not ok - the machine did not run to the end"
	for file; do
		grep -aqx "# file $file" "$out" || echo "not ok - $file did not run"
	done
	awk '
		function check() {
			if (file != "" && (plan < 1 || seen != plan))
				printf "not ok - %s ran %d cases of %d\n", file, seen, plan
		}
		/^# file / || /^# end$/ { check(); file = $3; plan = 0; seen = 0 }
		/^1\.\.[0-9]+$/ { plan = substr($0, 4) + 0 }
		/^(not )?ok/ { seen++ }
		END { check() }' "$out"
}

# report NAME TAP CONSOLE SECONDS: prints a line about a machine, and what failed there, in one piece
report() {
	local text
	text=$(
		printf '%-16s %-28s %4d ok %5ds\n' "$1" "$(sed -n 's/^# kernel //p' "$2" | head -n 1)" \
			"$(grep -ac '^ok' "$2")" "$4"
		if grep -aq '^not ok' "$2"; then
			grep -av '^ok' "$2" | sed 's/^/    /' | head -n 300
			tail -n 15 "$3" | tr -d '\r\0' | sed 's/^/    console: /'
		fi
	)
	echo "$text"
}

# count_results LOGS: prints the last line, which counts all results in that directory; fails if a case
# failed
count_results() {
	local passed failed skipped
	skipped=$(cat "$1"/*.tap | grep -ac '^ok.*# SKIP' || true)
	passed=$(($(cat "$1"/*.tap | grep -ac '^ok' || true) - skipped))
	failed=$(cat "$1"/*.tap | grep -ac '^not ok' || true)
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
