#!/bin/bash
# make check-kernels: boots Debian's kernels in emulated machines (qemu, no KVM, no root needed), and runs
# tests/vm/guest/*.sh and the unit tests in them: tests/vm/kernels.sh BUILD. MACHINES='6.1 apparmor' boots
# only these machines, TESTS=main,units runs only these tests in them. JOBS machines run at a time (by
# default 2). The last line counts the cases.
set -euo pipefail
BUILD=$(cd "${1:?usage: tests/vm/kernels.sh BUILD}" && pwd)
cd "$(dirname "$0")/../.."
. tests/vm/lib.sh

need qemu-system-x86_64:qemu-system-x86 cpio:cpio modprobe:kmod busybox:busybox-static xz:xz-utils \
	zstd:zstd slirp4netns:slirp4netns pasta:passt newuidmap:uidmap curl:curl socat:socat \
	ip:iproute2 tc:iproute2 pgrep:procps setpriv:util-linux

PROGRAMS='dash env stat mktemp date sleep head tail cat cmp curl socat ip tc pgrep setpriv nsenter unshare
	mount flock grep sed slirp4netns pasta newuidmap newgidmap nft'
MODULES='tun veth bridge nf_tables nft_ct nft_nat nft_chain_nat sch_netem'
BOOT_TIMEOUT_S=${BOOT_TIMEOUT_S:-2700} # for one machine, its tests included; 300 to 450 s, or three times that

# One machine on each line: name, suite of the kernel, memory in MB, tests, kernel options. The newest kernel
# runs no unit tests, because that of this machine is about as new. Without IPv6, only those of ports/ differ. Since Linux 6.7 an AppArmor profile can deny user namespaces.
machines() {
	cat <<-'MACHINES'
		5.10 bullseye 512 main,cgroup2,units
		6.1 bookworm 512 main,cgroup2,units
		6.12 trixie 512 main,cgroup2,units
		newest sid 512 main,cgroup2
		no-ipv6 trixie 512 main,units/ports ipv6.disable=1
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

# Makes what all machines have: programs, the tests, and a user with subordinate IDs.
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
	for program in $(unit_programs ''); do
		put_libraries "$root" "$program"
	done
}

# unit_programs FOLDER: prints the unit tests of a folder, or all if it is empty
unit_programs() {
	find "$BUILD/unit/$1" -name 'check_*' ! -name '*.d' | sort
}

# The unit tests are an archive of their own, since they do not fit into 160 MB.
make_units() {
	local program
	for program in $(cd "$BUILD/unit" && find . -name 'check_*' ! -name '*.d'); do
		mkdir -p "$1/t/build/unit/${program%/*}"
		strip -o "$1/t/build/unit/$program" "$BUILD/unit/$program"
	done
}

# Adds AppArmor's parser with its libraries, from a suite that knows rules about user namespaces.
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
	mkdir "$1/etc/apparmor.d"
	cp -r "$package"/etc/apparmor.d/{abi,abstractions,tunables,rootlesskit,slirp4netns} "$1/etc/apparmor.d/"
	# pasta with its profiles, as the package passt of this machine has them.
	mkdir -p "$1/usr/bin"
	cp -P /usr/bin/pas[st][ta] "$1/usr/bin/"
	cp /etc/apparmor.d/usr.bin.pas[st][ta] "$1/etc/apparmor.d/"
	cp /etc/apparmor.d/abstractions/pas[st][ta] "$1/etc/apparmor.d/abstractions/"
	install_for_apparmor "$1"
}

# Installs the program with its profiles where distributions, administrators and some users do.
install_for_apparmor() {
	local prefix
	for prefix in /usr /usr/local '/opt/my "own" {p*x]'; do
		make -s -o all BUILD="$BUILD" DESTDIR="$1" PREFIX="$prefix" install-strip >/dev/null
	done
}

# initramfs SUITE: makes $work/SUITE.cpio of the tools and the modules of the suite's kernel, and
# $work/SUITE.kernel, a link to that kernel
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

# unexpected_skips NAME: prints a failed case for each skipped case whose facility the machine should have
unexpected_skips() {
	local lacks=peek-off # TCP sockets have it since Linux 6.9
	case $1 in
	no-ipv6) lacks=ipv6 ;;
	bare) lacks=netem ;;
	newest | apparmor) lacks=nothing ;;
	esac
	sed -n "/^ok.*# SKIP $lacks:/d; s/^ok.*# SKIP /not ok - was skipped because of missing /p" "$logs/$1.tap"
}

# boot NAME SUITE MB TESTS OPTION...: runs one machine. Its results are in $logs/NAME.tap.
boot() {
	local name=$1 suite=$2 mb=$3 tests=${TESTS-$4} began status=0 initrd=$work/$2.cpio
	shift 4
	[[ $tests != *units* ]] || initrd=$work/$suite-units.cpio
	began=$(date +%s)
	run_vm "$BOOT_TIMEOUT_S" "$logs/$name.console" "$logs/$name.out" -m "$mb" -no-reboot \
		-kernel "$(kernel_image "$work/$suite.kernel")" -initrd "$initrd" \
		-append "$KERNEL_OPTIONS rlkbox_tests=$tests $*" \
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
		case $name in
		units*)
			for program in $(unit_programs "${name#units}"); do
				echo "${program##*/}"
			done ;;
		*) echo "$name" ;;
		esac
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
	if [ "$(date +%s)" -gt "${START_BY:-9999999999}" ]; then
		echo "ok 1 - the machine ${machine[0]} # SKIP late: there was no time for it" >"$logs/${machine[0]}.tap"
		echo "${machine[0]}: SKIPPED (late)"
		continue
	fi
	boot "${machine[@]}" &
done <<<"$selected"
wait
count_results "$logs"
