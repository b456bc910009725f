#!/bin/sh
# Command lines of programs that cannot run here: nerdctl's set-up tool, the first generation of usernetes, k3s
# and the image docker:dind-rootless. Stand-ins check what those programs expect of the launcher.
. "$(dirname "$0")/../e2e/lib.sh"
. "$(dirname "$0")/containerd.sh"
. "$(dirname "$0")/container.sh"

case_the_checks_of_nerdctls_set_up_tool_succeed() {
	rootlesskit --help | grep -qw -- --detach-netns || fail 'no --detach-netns in the help'
	launch --disable-host-loopback --copy-up=/etc --copy-up=/run --copy-up=/var/lib true
	assert_eq status 0 "$rc"
	assert_eq output '' "$out$err"
	overlay_works || skip overlay "there can be no overlay on the file system of $tmp"
	launch --disable-host-loopback --copy-up=/etc --copy-up=/run --copy-up=/var/lib sh -c "
		cd $tmp/o && touch l/lower && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w overlay m &&
			rm m/lower && touch m/upper && chown 1000:1000 m/upper && ls m"
	assert_eq 'files in the overlay' upper "$out"
	assert_eq 'files in the lower directory' lower "$(ls "$tmp/o/l")"
	assert_eq status 0 "$rc"
}

# Only inside may the user remove files of subordinate IDs.
case_files_of_subordinate_IDs_can_be_removed_inside() {
	mkdir -p "$tmp/data/private"
	echo text >"$tmp/data/private/file"
	rootlesskit chown -R 1000:1000 "$tmp/data"
	[ "$(stat -c %u "$tmp/data")" != "$(id -u)" ] || fail 'the directory still belongs to the user'
	assert_fails rm -rf "$tmp/data/private"
	launch rm -rf "$tmp/data"
	assert_eq output '' "$out$err"
	assert_eq status 0 "$rc"
	[ ! -e "$tmp/data" ] || fail 'the directory is still there'
}

# `ctr run --net-host` mounts the launcher's /etc/hosts and /etc/resolv.conf. Both may come from the state
# directory, whose file system may have locked mount flags, such as nosuid and nodev of /run/user/UID.
case_files_in_etc_can_be_mounted_into_containers() {
	need_slirp4netns
	mkdir "$tmp/run"
	# Like runc, which remounts with these flags only. mount(8) would keep others.
	cat >"$tmp/mounts.py" <<-'EOF'
		import ctypes, os, sys
		MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC = 1, 32, 4096, 16384
		libc = ctypes.CDLL(None, use_errno=True)
		def mount(source, target, flags):
		    if libc.mount(source.encode(), target.encode(), None, flags, None) < 0:
		        sys.exit("mounting %s: %s" % (source, os.strerror(ctypes.get_errno())))
		for name in "hosts", "resolv.conf":
		    target = os.path.join(sys.argv[1], name)
		    open(target, "x").close()
		    mount("/etc/" + name, target, MS_BIND | MS_REC)
		    mount("/etc/" + name, target, MS_BIND | MS_REC | MS_REMOUNT | MS_RDONLY)
		    sys.stdout.write(open(target).read())
	EOF
	# An outer user namespace owns the mount, so its flags are locked for the launcher.
	unshare -Urm sh -c 'mount -t tmpfs -o nosuid,nodev tmpfs "$1/run" &&
		rootlesskit --subid-source=self --state-dir="$1/run/st" --net=slirp4netns \
			--disable-host-loopback --copy-up=/etc python3 "$1/mounts.py" "$1"' - "$tmp" >"$tmp/out" 2>"$tmp/err" ||
		fail "$(cat "$tmp/err")"
	assert_match 'content of the files' "*127.0.0.1*::1 $(uname -n)*nameserver 10.0.2.3" "$(cat "$tmp/out")"
}

# check_usernetes OPTION...: starts the launcher with the options of the first usernetes, except for
# --evacuate-cgroup2, which needs a delegated cgroup, and publishes two ports at once
check_usernetes() {
	need_slirp4netns
	state=$tmp/state
	p1=$(free_port) p2=$(free_port)
	make_page 'hello from inside'
	env --default-signal=INT,QUIT rootlesskit --state-dir "$state" --net=slirp4netns --mtu=65520 \
		--cidr=10.0.42.0/24 --disable-host-loopback --slirp4netns-sandbox=true \
		--slirp4netns-seccomp=true --port-driver=builtin --copy-up=/etc --copy-up=/run \
		--copy-up=/var/lib --copy-up=/opt --propagation=rslave "$@" \
		busybox httpd -f -p "10.0.42.100:80" -h "$tmp/www" >"$tmp/bg.out" 2>"$tmp/bg.err" </dev/null &
	pid=$!
	wait_ready
	assert_eq IDs '1
2' "$(rootlessctl --socket "$state/api.sock" add-ports "0.0.0.0:$p1:10.0.42.100:80/tcp" "127.0.0.2:$p2:10.0.42.100:80/tcp")"
	wait_until 5 fetch "http://127.0.0.1:$p1/"
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.2:$p2/")"
	stop
	assert_eq status 255 "$rc"
}

case_the_options_of_usernetes_work() {
	check_usernetes
}

case_the_options_of_usernetes_work_with_namespaces_of_all_kinds() {
	check_usernetes --pidns --cgroupns --ipcns --utsns
}

# The controller of k3s waits for the API socket, publishes ports without addresses over one connection, and
# recognizes its ports by proto and port.
case_a_controller_like_that_of_k3s_publishes_ports() {
	p1=$(free_port) p2=$(free_port)
	make_page 'hello from inside'
	state=$tmp/state
	cat >"$tmp/controller.py" <<-'EOF'
		import os, sys
		from api import Api
		from waiting import wait_until
		path, ports = sys.argv[1], [int(p) for p in sys.argv[2:]]
		wait_until(lambda: os.path.exists(path), path, 30)
		api = Api(path)
		api.connect()
		api.auto_open = 0  # fail if the launcher closes the connection
		def ask(method, url, body=None):
		    return api.call(method, url, body, {"Content-Type": "application/json",
		        "Accept-Encoding": "gzip", "User-Agent": "Go-http-client/1.1"})
		for p in ports:
		    ask("POST", "/v1/ports", {"proto": "tcp", "parentPort": p, "childPort": 80})
		index = {(s["spec"]["proto"], s["spec"]["parentPort"]): s for s in ask("GET", "/v1/ports")}
		assert sorted(index) == sorted(("tcp", p) for p in ports), index
		assert index["tcp", ports[0]]["spec"] == {"proto": "tcp", "parentPort": ports[0], "childPort": 80}
		print("added", flush=True)
		sys.stdin.readline()
		for s in index.values():
		    ask("DELETE", "/v1/ports/%d" % s["id"])
		assert not ask("GET", "/v1/ports")
		print("removed", flush=True)
	EOF
	mkfifo "$tmp/go"
	python3 "$tmp/controller.py" "$state/api.sock" "$p1" "$p2" >"$tmp/said" <"$tmp/go" &
	controller=$!
	exec 9>"$tmp/go"
	start --net=none --port-driver=builtin busybox httpd -f -p 127.0.0.1:80 -h "$tmp/www"
	wait_until 30 grep -q added "$tmp/said"
	wait_until 5 fetch "http://127.0.0.1:$p1/"
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$p2/")"
	if grep -q ' lo$' /proc/net/if_inet6 2>/dev/null; then
		assert_eq 'page by IPv6' 'hello from inside' "$(fetch "http://[::1]:$p1/")"
	fi
	echo >&9
	await_end "$controller"
	[ "$rc" -eq 0 ] || fail "the controller ended with status $rc: $(cat "$tmp/said")"
	assert_fails fetch "http://127.0.0.1:$p1/"
	stop
}

# ---- usernetes ----

# Makes a script like rootlesskit.sh of the first usernetes. It runs the launcher with itself as the command.
# Inside, it mounts directories of the user over the host's, writes a file of its own to the state directory,
# publishes $PORTS, and runs its arguments.
make_boot_script() {
	cat >"$tmp/boot.sh" <<-'EOF'
		#!/bin/sh
		set -eu
		state=$XDG_RUNTIME_DIR/usernetes/rootlesskit
		if [ -z "${INSIDE-}" ]; then
			export INSIDE=yes
			# shellcheck disable=SC2086 # an option or none
			exec rootlesskit --state-dir "$state" \
				--net=slirp4netns --mtu=65520 --disable-host-loopback \
				--slirp4netns-sandbox=true --slirp4netns-seccomp=true --port-driver=builtin \
				--copy-up=/etc --copy-up=/run --copy-up=/var/lib --copy-up=/opt \
				--cgroupns --pidns --ipcns --utsns --propagation=rslave ${EVACUATE-} "$0" "$@"
		fi
		rm -f /run/xtables.lock /run/netns /run/containerd /run/containers /etc/cni /etc/containerd
		mkdir -p /etc/cni/net.d /opt/cni/bin "$XDG_DATA_HOME/bin"
		mount --bind "$XDG_DATA_HOME/bin" /opt/cni/bin
		for dir in /var/lib/kubelet /var/lib/cni /var/log /var/cache; do
			[ ! -L "$dir" ] || rm "$dir"
			mkdir -p "$XDG_DATA_HOME$dir" "$dir"
			mount --bind "$XDG_DATA_HOME$dir" "$dir"
		done
		cat "$state/child_pid" >"$state/_child_pid.u7s-ready"
		rootlessctl --socket "$state/api.sock" add-ports $PORTS
		exec "$@"
	EOF
	chmod +x "$tmp/boot.sh"
}

# boot: starts the script, and waits like usernetes until its file has the launcher's child
boot() {
	env --default-signal=INT,QUIT "$tmp/boot.sh" busybox httpd -f -p 80 -h "$tmp/www" \
		>"$tmp/bg.out" 2>"$tmp/bg.err" </dev/null &
	pid=$!
	wait_ready
	wait_until 10 cmp -s "$state/child_pid" "$state/_child_pid.u7s-ready"
	wait_until 10 fetch "http://127.0.0.1:$p1/"
}

enter_usernetes() {
	nsenter --user --preserve-credential --mount --net --cgroup --pid --ipc --uts -t "$(cat "$state/child_pid")" \
		--wd="$PWD" -- "$@"
}

check_boot() {
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$p1/")"
	assert_eq 'second page' 'hello from inside' "$(fetch "http://127.0.0.2:$p2/")"
	assert_eq 'first process' 1 "$(enter_usernetes sh -c 'cd /proc; echo [0-9]*' | cut -d ' ' -f 1)"
	assert_match interface '*10.0.2.100/24*' "$(enter_usernetes ip -o -4 addr show tap0)"
	enter_usernetes touch /var/lib/kubelet/file
	[ -e "$XDG_DATA_HOME/var/lib/kubelet/file" ] || fail 'the file is not in the directory of the user'
	assert_match ports "*\"id\":1,*\"parentPort\":$p1,*\"id\":2,*" "$(api_get ports)"
}

case_usernetes_boots_again_with_the_state_directory_of_a_killed_launcher() {
	need_slirp4netns
	make_boot_script
	make_page 'hello from inside'
	XDG_RUNTIME_DIR=$tmp/run XDG_DATA_HOME=$tmp/data p1=$(free_port) p2=$(free_port)
	PORTS="127.0.0.1:$p1:80/tcp 127.0.0.2:$p2:10.0.2.100:80/tcp"
	EVACUATE=${CGROUP:+--evacuate-cgroup2=rootlesskit_evac}
	export XDG_RUNTIME_DIR XDG_DATA_HOME PORTS EVACUATE
	state=$XDG_RUNTIME_DIR/usernetes/rootlesskit
	mkdir -p "$XDG_RUNTIME_DIR/usernetes"
	boot
	check_boot
	first=$child
	end_process "$pid" KILL
	wait_until 10 has_ended "$first"
	[ -e "$state/_child_pid.u7s-ready" ] || fail 'the state directory is gone'
	boot
	check_boot
	stop
	boot
	check_boot
	stop
}

# ---- k3s ----

# k3s embeds RootlessKit. These are the options that it sets.
case_the_options_of_k3s_work() {
	need_slirp4netns
	mkdir "$tmp/k3s"
	make_page 'hello from inside'
	port=$(free_port)
	cat >"$tmp/server.sh" <<-'EOF'
		set -eu
		# As k3s does: its own files take the place of the host's.
		rm -rf /var/run/netns /run/containerd /run/xtables.lock
		for dir in /var/log /var/lib/cni /var/lib/kubelet /etc/rancher /run/k3s/containerd; do
			mkdir -p "$dir"
			mount -t tmpfs none "$dir"
			mkdir -p "$1/k3s$dir"
			mount --bind "$1/k3s$dir" "$dir"
		done
		[ ! -e /dev/kmsg ] || [ -r /dev/kmsg ] || mount --bind /dev/null /dev/kmsg
		for namespace in net mnt; do
			touch "/var/run/$namespace"
		done
		ls /run/net /run/mnt >/dev/null
		exec busybox httpd -f -p 80 -h "$1/www"
	EOF
	start --net=slirp4netns --cidr=10.41.0.0/16 --mtu=1500 --ifname=tap0 --disable-host-loopback --port-driver=builtin \
		--copy-up=/etc --copy-up=/var/run --copy-up=/run --copy-up=/var/lib --pidns --cgroupns --utsns --ipcns \
		--reaper=true sh "$tmp/server.sh" "$tmp"
	# The controller waits for the socket, and posts no addresses.
	curl -sS --fail-with-body --unix-socket "$state/api.sock" -H 'Content-Type: application/json' \
		-d "{\"proto\":\"tcp\",\"parentPort\":$port,\"childPort\":80}" http://u/v1/ports
	wait_until 10 fetch "http://127.0.0.1:$port/"
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
	assert_match interface '*10.41.0.100/16*' "$(inside ip -o -4 addr show tap0)"
	assert_match 'name server' '*nameserver 10.41.0.3*' "$(inside cat /etc/resolv.conf)"
	inside touch /var/lib/kubelet/file
	[ -e "$tmp/k3s/var/lib/kubelet/file" ] || fail 'the file is not in the directory of the user'
	stop
}

# ---- docker:dind-rootless ----

# The entry point of the image, which is the first process of its container, executes the launcher with
# docker-init, which is tini. dockerd's stand-in leaves a process behind.
case_the_command_line_of_dind_rootless_works_as_the_first_process() {
	need_slirp4netns
	need_unpacked tini
	port=$(free_port) published=$(free_port)
	# shellcheck disable=SC2016 # for the inner shell
	dockerd='set -eu
		rm -f /run/xtables.lock
		mkdir -p /run/docker /etc/docker
		echo 1 >/proc/sys/net/ipv4/ip_forward
		setsid sleep 1 </dev/null >/dev/null 2>&1 &
		echo hello from inside >/run/docker/index.html
		echo "$(id -u) $(cat /sys/class/net/tap0/mtu) $(tail -n 1 /etc/resolv.conf)"
		echo "$ROOTLESSKIT_STATE_DIR"
		exec busybox httpd -f -p "$1" -h /run/docker'
	start_container rootlesskit --net=slirp4netns --mtu=1500 --disable-host-loopback --port-driver=builtin \
		--copy-up=/etc --copy-up=/run -p "0.0.0.0:$port:$port/tcp" \
		tini -- sh -c "$dockerd" dockerd "$port"
	wait_until 20 fetch "http://127.0.0.1:$port/"
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
	assert_eq 'user, MTU and name server' '0 1500 nameserver 10.0.2.3' "$(head -n 1 "$tmp/bg.out")"
	assert_eq 'first process' rootlesskit "$(in_container cat /proc/1/comm)"
	socket=$(sed -n 2p "$tmp/bg.out")/api.sock
	assert_eq 'ID' 2 "$(in_container rootlessctl --socket "$socket" add-ports "127.0.0.1:$published:$port/tcp")"
	wait_until 5 fetch "http://127.0.0.1:$published/"
	wait_until 10 has_no_orphan sleep
	wait_until 5 has_no_zombie
	stop_container
	assert_eq status 143 "$rc"
	is_refused "http://127.0.0.1:$port/" || fail 'the port is still published'
}

run_cases \
	the_checks_of_nerdctls_set_up_tool_succeed \
	files_of_subordinate_IDs_can_be_removed_inside \
	files_in_etc_can_be_mounted_into_containers \
	the_options_of_usernetes_work \
	the_options_of_usernetes_work_with_namespaces_of_all_kinds \
	a_controller_like_that_of_k3s_publishes_ports \
	usernetes_boots_again_with_the_state_directory_of_a_killed_launcher \
	the_options_of_k3s_work \
	the_command_line_of_dind_rootless_works_as_the_first_process
