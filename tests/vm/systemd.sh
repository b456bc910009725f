#!/bin/bash
# make check-systemd: boots a Debian 12 with systemd in an emulated machine (qemu, no KVM), and runs services.sh
# of tests/vm/guest in it, and after a reboot reboot.sh: tests/vm/systemd.sh BUILD. It needs root for
# debootstrap, which makes the image. The image stays in the cache; the machine writes to a copy. The last
# line counts the cases.
set -euo pipefail
BUILD=$(cd "${1:?usage: tests/vm/systemd.sh BUILD}" && pwd)
cd "$(dirname "$0")/../.."
. tests/vm/lib.sh

[ "$(id -u)" -eq 0 ] || die 'debootstrap needs root; try sudo make check-systemd'
need qemu-system-x86_64:qemu-system-x86 cpio:cpio modprobe:kmod busybox:busybox-static xz:xz-utils \
	debootstrap:debootstrap mkfs.ext4:e2fsprogs

PACKAGES=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,kmod,udev,uidmap,slirp4netns,curl
PACKAGES+=,iproute2,procps,iptables,containerd,runc,docker.io,busybox-static,login,socat,util-linux
IMAGE_SIZE=3G # sparse
BOOT_TIMEOUT_S=1500 # for both boots, the tests included; 240 s on a machine that is not busy

# ---- the image ----

# image_name KERNEL: prints the name of the image, a hash of make_tree and the versions of its packages
image_name() {
	{
		echo "$(sed -n '/^PACKAGES/p; /^make_tree/,/^}/p' "$0")${1##*/}"
		# shellcheck disable=SC2086 # a list of names
		suite_apt bookworm apt-cache show --no-all-versions ${PACKAGES//,/ } | grep -E '^(Package|Version):'
	} | sha256sum | head -c 16
}

# make_tree ROOT KERNEL: makes the root file system of the image
make_tree() {
	local root=$1 user
	debootstrap --arch=amd64 --variant=minbase --include="$PACKAGES" bookworm "$root" "$(mirror)" \
		>"$work/debootstrap.log" 2>&1 || {
		tail -n 20 "$work/debootstrap.log" "$root/debootstrap/debootstrap.log" >&2
		die 'debootstrap failed'
	}
	rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/usr/share/{doc,man,locale}
	mkdir -p "$root/lib/modules"
	cp -a "$(modules_of "$2")" "$root/lib/modules/"
	for user in user:2000:100000 visitor:2001:200000; do
		IFS=: read -r name id first <<<"$user"
		echo "$name:x:$id:$id::/home/$name:/bin/sh" >>"$root/etc/passwd"
		echo "$name:x:$id:" >>"$root/etc/group"
		echo "$name:*:19000:0:99999:7:::" >>"$root/etc/shadow"
		echo "$name:$first:65536" | tee -a "$root/etc/subgid" >>"$root/etc/subuid"
		install -d -m 700 -o "$id" -g "$id" "$root/home/$name"
	done
	echo guest >"$root/etc/hostname"
	echo '127.0.0.1 localhost guest' >"$root/etc/hosts"
	echo 'nameserver 127.0.0.1' >"$root/etc/resolv.conf"
	printf '%s\n' tun overlay bridge br_netfilter veth ip_tables iptable_nat ip6_tables nf_tables nft_compat \
		xt_MASQUERADE xt_addrtype xt_conntrack xt_nat >"$root/etc/modules-load.d/rlkbox.conf"
	# Docker's documentation asks for this.
	install -d "$root/etc/systemd/system/user@.service.d"
	printf '[Service]\nDelegate=cpu cpuset io memory pids\n' >"$root/etc/systemd/system/user@.service.d/delegate.conf"
	cat >"$root/etc/systemd/system/rlkbox-test.service" <<-'UNIT'
		[Unit]
		After=multi-user.target
		[Service]
		ExecStart=/bin/sh /t/tests/vm/guest/session.sh
		ExecStopPost=/bin/systemctl poweroff --force --force
		KillMode=process
	UNIT
	mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
	ln -s ../rlkbox-test.service "$root/etc/systemd/system/multi-user.target.wants/"
	for unit in docker.service docker.socket containerd.service apt-daily.timer apt-daily-upgrade.timer \
		dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@.service serial-getty@.service; do
		ln -sf /dev/null "$root/etc/systemd/system/$unit"
	done
}

# image KERNEL: makes the image, unless it is in the cache, and prints its path
image() {
	local file
	file=$VM_CACHE/systemd-$(image_name "$1").img
	if [ ! -e "$file" ]; then
		make_tree "$work/tree" "$1"
		truncate -s "$IMAGE_SIZE" "$work/image"
		mkfs.ext4 -q -F -E lazy_itable_init=1 -d "$work/tree" "$work/image"
		rm -f "$VM_CACHE"/systemd-*.img
		mv "$work/image" "$file"
		rm -rf "$work/tree"
	fi
	echo "$file"
}

# ---- the machine ----

# The initramfs mounts the disk, and copies the program and the tests of this run to it.
make_initramfs() {
	local root=$work/root
	new_root "$root"
	mkdir -p "$root/new" "$root"/t/build "$root"/t/tests/{e2e,vm}
	put_modules "$1" "$root" modules virtio_pci virtio_blk ext4
	cp "$BUILD/rlkbox" "$root/t/build/"
	cp tests/e2e/lib.sh "$root/t/tests/e2e/"
	cp -r tests/vm/guest "$root/t/tests/vm/"
	cat >"$root/init" <<-'INIT'
		#!/bin/sh
		mount -t proc proc /proc
		mount -t sysfs sys /sys
		mount -t devtmpfs dev /dev
		for file in /modules/*; do insmod "$file"; done
		mount -t ext4 /dev/vda /new
		rm -rf /new/t
		cp -a /t /new/
		umount /proc /sys
		mount --move /dev /new/dev
		exec switch_root /new /lib/systemd/systemd
	INIT
	chmod 755 "$root/init"
	archive "$root" "$work/initrd"
}

mkdir -p "$VM_CACHE"
work=$(mktemp -d "$VM_CACHE/tmp.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
logs=$BUILD/logs-systemd
rm -rf "$logs"
mkdir -p "$logs"

kernel=$(kernel_of bookworm)
disk=$(image "$kernel")
make_initramfs "$kernel"
began=$(date +%s)
status=0
# qemu writes changes of the disk to a temporary file in TMPDIR.
TMPDIR=$work run_vm $BOOT_TIMEOUT_S "$logs/console" "$logs/out" -m 2048 -snapshot \
	-drive "file=$disk,format=raw,if=virtio" -kernel "$(kernel_image "$kernel")" -initrd "$work/initrd" \
	-append "$KERNEL_OPTIONS systemd.show_status=no" \
	>"$logs/qemu" 2>&1 || status=$?
results "$logs/out" "$status" services reboot >"$logs/systemd.tap"
report systemd "$logs/systemd.tap" "$logs/console" $(($(date +%s) - began))
count_results "$logs"
