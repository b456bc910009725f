#!/bin/sh
# Services of users, before the reboot of the machine of check-systemd
. "$(dirname "$0")/users.sh"

VISITOR_ID=2001

# ---- Docker ----

# The installer gives the daemon 3 s, which a slow machine exceeds. So the unit is made to tell when the daemon
# is ready, as the units of newer versions are.
case_docker_installs_itself_as_a_user_service() {
	as user mkdir -p "$UNITS/docker.service.d"
	printf '[Service]\nType=notify\nNotifyAccess=all\nTimeoutStartSec=300\n' >"$UNITS/docker.service.d/ready.conf"
	as user dockerd-rootless-setuptool.sh install
	check_unit docker.service active success
	assert_match 'security options' '*rootless*' "$(docker_ info -f '{{.SecurityOptions}}')"
	assert_eq 'cgroup driver and version' 'systemd 2' "$(docker_ info -f '{{.CgroupDriver}} {{.CgroupVersion}}')"
}

case_docker_publishes_a_port_of_a_container_with_a_memory_limit() {
	make_image "$tmp/image.tar"
	docker_ import "$tmp/image.tar" page
	docker_ run -d --name web -p 127.0.0.1:8080:80 -m 32m --memory-swap 32m page /bin/busybox httpd -f -p 80 -h /www
	wait_page http://127.0.0.1:8080/ 'hello from a container' docker.service
	assert_eq 'the limit in the container' 33554432 "$(docker_ exec web cat /sys/fs/cgroup/memory.max)"
	docker_ exec web dd if=/dev/zero of=/dev/null bs=8M count=1
	rc=0
	docker_ exec web dd if=/dev/zero of=/dev/null bs=64M count=1 || rc=$?
	assert_eq 'status of a process that needs more' 137 "$rc"
	docker_ rm -f web
	assert_fails fetch http://127.0.0.1:8080/
}

case_docker_can_be_restarted_and_stopped() {
	first=$(property docker.service MainPID)
	ctl restart docker.service
	check_unit docker.service active success
	[ "$(property docker.service MainPID)" != "$first" ] || fail 'the main process has not changed'
	wait_until 60 docker_ version
	docker_ run -d --name again -p 127.0.0.1:8081:80 page /bin/busybox httpd -f -p 80 -h /www
	wait_page http://127.0.0.1:8081/ 'hello from a container' docker.service
	docker_ rm -f again
	ctl stop docker.service
	check_unit docker.service inactive success
	wait_until 20 no_process $USER_ID
	assert_eq 'cgroup of the stopped service' '' "$(property docker.service ControlGroup)"
	[ ! -e /run/user/$USER_ID/dockerd-rootless ] || fail 'the state directory is left'
}

# ---- containerd ----

case_containerd_runs_as_a_user_service() {
	script containerd-rootless ''
	cat >>/home/user/bin/containerd-rootless <<-'SCRIPT'
		set -eu
		if [ -z "${INSIDE-}" ]; then
			export INSIDE=yes
			exec rootlesskit --state-dir="$XDG_RUNTIME_DIR/containerd-rootless" --net=slirp4netns --mtu=65520 \
				--slirp4netns-sandbox=auto --slirp4netns-seccomp=auto --disable-host-loopback \
				--port-driver=builtin --copy-up=/etc --copy-up=/run --copy-up=/var/lib \
				--propagation=rslave --detach-netns "$0" "$@"
		fi
		rm -rf /run/containerd
		mkdir -p "$XDG_RUNTIME_DIR/containerd" /run/containerd "$HOME/containerd" /var/lib/containerd
		mount --bind "$XDG_RUNTIME_DIR/containerd" /run/containerd
		rm -rf /var/lib/containerd
		mkdir /var/lib/containerd
		mount --bind "$HOME/containerd" /var/lib/containerd
		exec containerd "$@"
	SCRIPT
	unit containerd.service <<-'UNIT'
		[Service]
		Type=notify
		NotifyAccess=all
		Delegate=yes
		KillMode=mixed
		Environment=PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin
		ExecStart=/home/user/bin/containerd-rootless
	UNIT
	ctl start containerd.service || true
	check_unit containerd.service active success
	state=/run/user/$USER_ID/containerd-rootless
	child=$(cat $state/child_pid)
	make_image "$tmp/rootfs.tar"
	mkdir "$tmp/rootfs"
	tar -C "$tmp/rootfs" -xf "$tmp/rootfs.tar"
	chown -R user: "$tmp/rootfs"
	enter="nsenter --preserve-credentials -m -U -t $child"
	# shellcheck disable=SC2086 # words
	as user $enter ctr run -d --rootfs --runc-systemd-cgroup --cgroup user.slice:rlkbox:c1 --memory-limit 33554432 \
		--with-ns "network:$state/netns" "$tmp/rootfs" c1 /bin/busybox httpd -f -p 80 -h /www
	as user rootlessctl --socket=$state/api.sock add-ports 127.0.0.1:8090:80/tcp
	wait_page http://127.0.0.1:8090/ 'hello from a container' containerd.service
	group=$(sed -n 's/^0:://p' "/proc/$(pgrep -u $USER_ID -f 'httpd -f -p 80')/cgroup")
	assert_eq 'the limit' 33554432 "$(cat "/sys/fs/cgroup$group/memory.max")"
	# shellcheck disable=SC2086 # words
	as user $enter ctr task kill -s KILL c1
	ctl restart containerd.service
	check_unit containerd.service active success
	ctl stop containerd.service
	check_unit containerd.service inactive success
	wait_until 20 no_process $USER_ID
	[ ! -e $state ] || fail 'the state directory is left'
}

# ---- units ----

case_a_socket_units_descriptors_reach_the_command() {
	page 'hello from a unit'
	unit page.socket <<-'UNIT'
		[Socket]
		ListenStream=127.0.0.1:9090
		ListenStream=/run/user/2000/page.sock
	UNIT
	# shellcheck disable=SC2016 # for the script
	script activated '
		echo $LISTEN_FDS $((LISTEN_PID == $$)) >/home/user/listen
		busybox httpd -p 127.0.0.1:80 -h /www
		exec /lib/systemd/systemd-socket-proxyd 127.0.0.1:80'
	# SIGTERM ends the proxy, so the launcher exits with 255.
	unit page.service <<-'UNIT'
		[Service]
		KillMode=mixed
		SuccessExitStatus=255
		Environment=PATH=/usr/local/bin:/usr/bin:/bin
		ExecStart=/usr/local/bin/rootlesskit --net=none --pidns /home/user/bin/activated
	UNIT
	ctl start page.socket
	assert_eq 'state before the first client' inactive "$(property page.service ActiveState)"
	wait_page http://127.0.0.1:9090/ 'hello from a unit' page.service
	assert_eq 'page by the other descriptor' 'hello from a unit' \
		"$(as user curl -s -m 30 --unix-socket /run/user/2000/page.sock http://page/)"
	assert_eq 'LISTEN_FDS, and 1 if LISTEN_PID is right' '2 1' "$(cat /home/user/listen)"
	ctl stop page.socket page.service
	check_unit page.service inactive success
	wait_until 20 no_process $USER_ID
}

case_a_notify_unit_is_active_when_the_command_says_so() {
	script told '
		trap "exit 0" TERM
		until [ -e /home/user/go ]; do sleep 0.1; done
		systemd-notify --ready --status=told
		sleep 1000 &
		wait'
	for options in '' --detach-netns; do
		unit told.service <<-UNIT
			[Service]
			KillMode=mixed
			Type=notify
			NotifyAccess=all
			Environment=PATH=/usr/local/bin:/usr/bin:/bin
			ExecStart=/usr/local/bin/rootlesskit --net=slirp4netns --copy-up=/etc --copy-up=/run $options /home/user/bin/told
		UNIT
		rm -f /home/user/go
		ctl start --no-block told.service
		wait_until 30 pgrep -u $USER_ID -f bin/told
		assert_eq "state before the command is ready $options" activating "$(property told.service ActiveState)"
		touch /home/user/go
		wait_until 30 as user systemctl --user is-active told.service
		assert_eq "status $options" told "$(property told.service StatusText)"
		ctl stop told.service
		check_unit told.service inactive success
		wait_until 20 no_process $USER_ID
	done
}

case_a_service_with_Delegate_can_be_evacuated() {
	# shellcheck disable=SC2016 # for the inner shell
	as user systemd-run --user --quiet --pipe --wait --collect -p Delegate=yes -E PATH=/usr/local/bin:/usr/bin:/bin \
		rootlesskit --net=none --pidns --cgroupns --evacuate-cgroup2=inside sh -c '
			cat /proc/self/cgroup /sys/fs/cgroup/cgroup.subtree_control
			mkdir /sys/fs/cgroup/limited && echo 9000000 >/sys/fs/cgroup/limited/memory.max
			cat /sys/fs/cgroup/limited/memory.max; rmdir /sys/fs/cgroup/limited' >"$tmp/out" 2>"$tmp/err" ||
		fail "status $?: $(cat "$tmp/out" "$tmp/err")"
	assert_match output '*0::/inside*memory*8998912*' "$(cat "$tmp/out")"
	assert_eq warnings '' "$(grep -i cgroup "$tmp/err" || true)"
}

# ---- the end of a session, and of the machine ----

# Like a login: PAMName=login creates a session with the user's own service manager. It ends with its
# command.
case_logging_out_without_lingering_leaves_nothing() {
	install -d -o visitor -g visitor /home/visitor/.config/systemd /home/visitor/.config/systemd/user
	cat >/home/visitor/.config/systemd/user/web.service <<-'UNIT'
		[Service]
		Environment=PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin
		ExecStart=/usr/local/bin/rootlesskit --state-dir=%t/web --net=slirp4netns --copy-up=/etc --copy-up=/run --port-driver=builtin -p 127.0.0.1:8070:80/tcp busybox httpd -f -p 80 -h /www
	UNIT
	page 'hello from a visitor'
	systemd-run --quiet --unit=visit -p PAMName=login -p User=visitor -p StandardInput=null \
		sh -c 'XDG_RUNTIME_DIR=/run/user/2001 systemctl --user start web.service; exec sleep 1000'
	wait_page http://127.0.0.1:8070/ 'hello from a visitor' web.service
	[ -S /run/user/$VISITOR_ID/web/api.sock ] || fail 'no state directory'
	systemctl stop visit.service
	wait_until 60 test ! -e "/run/user/$VISITOR_ID"
	assert_eq 'processes' '' "$(pgrep -a -u $VISITOR_ID || true)"
	assert_fails fetch http://127.0.0.1:8070/
	assert_eq 'state of its service manager' inactive "$(systemctl show --value -p ActiveState user@$VISITOR_ID.service)"
	assert_eq 'result of its service manager' success "$(systemctl show --value -p Result user@$VISITOR_ID.service)"
}

# The state directory of this launcher is on the disk, where it survives a reboot.
case_a_machine_that_crashes_leaves_a_state_directory() {
	page 'hello from the disk'
	# shellcheck disable=SC2016 # for the script
	script serve '
		trap "kill \$!; exit 0" TERM
		busybox httpd -f -p 80 -h /www &
		wait'
	unit disk.service <<-UNIT
		[Service]
		KillMode=mixed
		Environment=PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin
		ExecStart=/usr/local/bin/rootlesskit --state-dir=$STALE --net=slirp4netns --copy-up=/etc --copy-up=/run --port-driver=builtin -p 127.0.0.1:8060:80/tcp /home/user/bin/serve
		[Install]
		WantedBy=default.target
	UNIT
	ctl enable --now disk.service
	wait_page http://127.0.0.1:8060/ 'hello from the disk' disk.service
	[ -S $STALE/api.sock ] || fail 'no state directory'
	date >$STALE/../before-the-reboot
	sync
}

run_cases docker_installs_itself_as_a_user_service \
	docker_publishes_a_port_of_a_container_with_a_memory_limit docker_can_be_restarted_and_stopped \
	containerd_runs_as_a_user_service a_socket_units_descriptors_reach_the_command \
	a_notify_unit_is_active_when_the_command_says_so a_service_with_Delegate_can_be_evacuated \
	logging_out_without_lingering_leaves_nothing a_machine_that_crashes_leaves_a_state_directory
