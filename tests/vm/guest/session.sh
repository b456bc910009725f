#!/bin/sh
# Runs in the machine of check-systemd, as a service of root: installs the program, and runs services.sh, or,
# after the reboot that follows it, reboot.sh.
exec </dev/null >/dev/ttyS1 2>&1
cd "$(dirname "$0")" || exit
BUILD=/t/build
HOME=/root
PATH=$PATH:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export BUILD HOME PATH

# Docker's own packages have these scripts in /usr/bin, Debian's package has them elsewhere.
ln -sf /usr/share/docker.io/contrib/dockerd-rootless*.sh /usr/bin/
/t/build/rlkbox --install -s /usr/local/bin
ln -sf /t/build/rlkbox /usr/local/bin/rlkbox
if [ ! -e /var/lib/rlkbox-rebooted ]; then
	touch /var/lib/rlkbox-rebooted
	loginctl enable-linger user
	echo "# kernel $(uname -r)"
	echo "# file services"
	sh ./services.sh
	cp /proc/sys/kernel/random/boot_id /home/user/boot-id
	sync
	systemctl reboot --force --force
	sleep 100 # The reboot ends this script.
fi
echo "# file reboot"
sh ./reboot.sh
echo "# end"
