#!/bin/sh
# What the services of users find after the reboot of the machine of check-systemd
. "$(dirname "$0")/users.sh"

case_after_the_reboot_services_are_back_and_use_the_old_directory() {
	[ -e $STALE/../before-the-reboot ] || fail 'this is not the disk of the first phase'
	wait_page http://127.0.0.1:8060/ 'hello from the disk' disk.service
	[ "$(cat /proc/sys/kernel/random/boot_id)" != "$(cat /home/user/boot-id)" ] || fail 'there was no reboot'
	check_unit disk.service active success
	assert_match info '*"driver": *"slirp4netns"*' "$(as user rootlessctl --socket=$STALE/api.sock info --json | tr -d '\n')"
	ctl stop disk.service
	check_unit disk.service inactive success
	[ ! -e $STALE ] || fail "the state directory is left: $(ls -A $STALE)"
	assert_eq 'cgroup of the stopped service' '' "$(property disk.service ControlGroup)"
}

case_docker_is_back_after_the_reboot() {
	wait_until 120 docker_ version
	docker_ run -d --name web -p 127.0.0.1:8080:80 page /bin/busybox httpd -f -p 80 -h /www
	wait_page http://127.0.0.1:8080/ 'hello from a container' docker.service
	docker_ rm -f web
	ctl stop docker.service
	check_unit docker.service inactive success
	wait_until 20 no_process $USER_ID
}

run_cases after_the_reboot_services_are_back_and_use_the_old_directory docker_is_back_after_the_reboot
