#!/bin/bash
# make check-kernels: boots Debian's kernels in emulated machines (qemu, no KVM, no root needed) and runs
# tests/vm/guest/*.sh and the unit tests in them: tests/vm/kernels.sh BUILD. MACHINES='6.1 apparmor'
# picks some by name, TESTS=main,units what runs in them; JOBS machines run at a time (2).
# The last line counts the cases.
set -euo pipefail
BUILD=$(cd "${1:?usage: tests/vm/kernels.sh BUILD}" && pwd)
cd "$(dirname "$0")/../.."
. tests/vm/lib.sh

need qemu-system-x86_64:qemu-system-x86 cpio:cpio modprobe:kmod busybox:busybox-static xz:xz-utils \
	zstd:zstd slirp4netns:slirp4netns pasta:passt newuidmap:uidmap curl:curl socat:socat \
	ip:iproute2 pgrep:procps setpriv:util-linux

PROGRAMS='dash env stat mktemp date sleep head tail cat cmp curl socat ip pgrep setpriv nsenter unshare
	mount flock grep sed slirp4netns pasta newuidmap newgidmap nft'
MODULES='tun veth bridge nf_tables nft_ct nft_nat nft_chain_nat'
BOOT_TIMEOUT_S=${BOOT_TIMEOUT_S:-420} # for one machine, its tests included

# Machines, one a line: name, suite of its kernel, memory in MB, what runs, options for the kernel.
# AppArmor has denied user namespaces by profile since Linux 6.7.
machines() {
	cat <<-'MACHINES'
		5.10 bullseye 512 main,cgroup2,units
		6.1 bookworm 512 main,cgroup2,units
		6.12 trixie 512 main,cgroup2,units
		newest sid 512 main,cgroup2,units
		no-ipv6 trixie 512 main,units ipv6.disable=1
		bare bookworm 512 bare,main rlkbox_modules=veth
		cgroup1 bullseye 512 cgroup1,main rlkbox_cgroup=1
		160-MB bookworm 160 main
		forbidden bookworm 512 forbidden
		forbidden-newest sid 512 forbidden
		apparmor trixie 512 apparmor apparmor=1 security=apparmor
		apparmor-newest sid 512 apparmor apparmor=1 security=apparmor
	MACHINES
}

work=$(mktemp -d "${TMPDIR:-/tmp}/rlkbox-kernels.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
logs=$BUILD/logs-kernels
rm -rf "$logs"
mkdir -p "$logs"

# ---- the initramfs ----

# What all machines have: programs, the tests, and a user with subordinate IDs.
make_tools() {
	local root=$1 program
	new_root "$root"
	# shellcheck disable=SC2086 # a list of names
	put_programs "$root" $PROGRAMS
	ln -sf dash "$root/usr/bin/sh"
	chmod 4755 "$root/usr/bin/newuidmap" "$root/usr/bin/newgidmap"
	printf 'root:x:0:0::/root:/bin/sh\nuser:x:2000:2000::/home/user:/bin/sh\n' >"$root/etc/passwd"
	printf 'root:x:0:\nuser:x:2000:\n' >"$root/etc/group"
	echo user:100000:65536 | tee "$root/etc/subuid" >"$root/etc/subgid"
	echo 'nameserver 192.0.2.7' >"$root/etc/resolv.conf"
	echo '127.0.0.1 localhost' >"$root/etc/hosts"
	cp tests/vm/guest/init "$root/init"
	chmod 755 "$root/init"
	mkdir -p "$root"/t/build/{unit,tools} "$root"/t/tests/{e2e,vm}
	cp tests/e2e/lib.sh "$root/t/tests/e2e/"
	cp -r tests/vm/guest "$root/t/tests/vm/"
	strip -o "$root/t/build/rlkbox" "$BUILD/rlkbox"
	put_libraries "$root" "$BUILD/rlkbox"
	strip -o "$root/t/build/tools/stream" "$BUILD/tools/stream"
	for program in $(unit_programs); do
		put_libraries "$root" "$program"
	done
}

unit_programs() {
	find "$BUILD/unit" -name 'check_*' ! -name '*.d' | sort
}

# The unit tests, apart: they do not fit into 160 MB.
make_units() {
	local program
	mkdir -p "$1/t/build/unit"
	for program in $(unit_programs); do
		strip -o "$1/t/build/unit/${program##*/}" "$program"
	done
}

# AppArmor's parser, of a suite that knows rules about user namespaces, with its libraries.
make_apparmor() {
	local package
	update_suite trixie
	package=$(unpacked trixie apparmor apparmor libc6 libstdc++6 libgcc-s1)
	mkdir -p "$1"/apparmor/usr/{sbin,lib/x86_64-linux-gnu,lib64}
	cp "$package/usr/sbin/apparmor_parser" "$1/apparmor/usr/sbin/"
	cp "$package"/usr/lib/x86_64-linux-gnu/{libc,libm,libstdc++,libgcc_s}.so.* "$1/apparmor/usr/lib/x86_64-linux-gnu/"
	cp "$package/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" "$1/apparmor/usr/lib64/"
	mkdir -p "$1/etc" "$1/usr/share"
	cp -r "$package/etc/apparmor" "$1/etc/"
	cp -r "$package/usr/share/apparmor-features" "$1/usr/share/"
}

# initramfs SUITE: makes $work/SUITE.cpio, the tools and the modules of the suite's kernel, which
# is in $work/SUITE.kernel
initramfs() {
	local kernel root=$work/modules-$1
	kernel=$(kernel_of "$1")
	ln -s "$kernel" "$work/$1.kernel"
	mkdir "$root"
	# shellcheck disable=SC2086 # a list of names
	put_modules "$kernel" "$root" modules $MODULES
	! grep -q "^apparmor[^ ]* $1 " <<<"$selected" || make_apparmor "$root"
	archive "$root" "$work/$1.modules"
	cat "$work/tools.cpio" "$work/$1.modules" >"$work/$1.cpio"
	cat "$work/$1.cpio" "$work/units.cpio" >"$work/$1-units.cpio"
}

# ---- a machine ----

is_wanted() {
	[ -z "${MACHINES-}" ] || [[ " $MACHINES " = *" $1 "* ]]
}

# unexpected_skips NAME: a failed case for each that was skipped there although the machine has what it needs
unexpected_skips() {
	local lacks=nothing
	[ "$1" != no-ipv6 ] || lacks=ipv6
	sed -n "/^ok.*# SKIP $lacks:/d; s/^ok.*# SKIP /not ok - was skipped because of missing /p" "$logs/$1.tap"
}

# boot NAME SUITE MB TESTS OPTION...: one machine; its results are in $logs/NAME.tap
boot() {
	local name=$1 suite=$2 mb=$3 tests=${TESTS-$4} began status=0 initrd=$work/$2.cpio
	shift 4
	[[ $tests != *units* ]] || initrd=$work/$suite-units.cpio
	began=$(date +%s)
	run_vm "$BOOT_TIMEOUT_S" "$logs/$name.console" "$logs/$name.out" -m "$mb" -no-reboot \
		-kernel "$(kernel_image "$work/$suite.kernel")" -initrd "$initrd" \
		-append "console=ttyS0 quiet loglevel=3 panic=-1 random.trust_cpu=on rlkbox_tests=$tests $*" \
		>"$logs/$name.qemu" 2>&1 || status=$?
	# shellcheck disable=SC2046 # a list of names
	results "$logs/$name.out" "$status" $(planned_files "$tests") >"$logs/$name.tap"
	unexpected_skips "$name" >"$logs/$name.skips"
	cat "$logs/$name.skips" >>"$logs/$name.tap"
	report "$name" "$logs/$name.tap" "$logs/$name.console" $(($(date +%s) - began))
}

planned_files() {
	local name program
	for name in ${1//,/ }; do
		if [ "$name" != units ]; then
			echo "$name"
			continue
		fi
		for program in $(unit_programs); do
			echo "${program##*/}"
		done
	done
}

selected=$(machines | while read -r name rest; do ! is_wanted "$name" || echo "$name $rest"; done)
[ -n "$selected" ] || die "no such machine: ${MACHINES-}"
make_tools "$work/tools"
archive "$work/tools" "$work/tools.cpio"
make_units "$work/units"
archive "$work/units" "$work/units.cpio"
for suite in $(echo "$selected" | awk '{ print $2 }' | sort -u); do
	initramfs "$suite"
done
while read -r -a machine; do
	while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-2}" ]; do
		wait -n || true
	done
	boot "${machine[@]}" &
done <<<"$selected"
wait
count_results "$logs"
