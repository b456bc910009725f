# shellcheck shell=sh
# For the tests that start containerd as nerdctl does: its start script, images and containers, OCI hooks. A
# test file sources this after lib.sh.
# shellcheck disable=SC2034,SC2154 # lib.sh uses and sets variables

IMAGE=docker.io/library/page:1
# The containers' bridge has the network $SUBNET.0/24.
SUBNET=10.4.7

# ---- containerd ----

# Makes the user's directories. As in a session, the runtime directory is in /run, which --copy-up copies,
# and so is the state directory.
make_home() {
	XDG_RUNTIME_DIR=$(mktemp -d /run/lock/e2e.XXXXXX 2>/dev/null || mktemp -d "$tmp/run.XXXXXX")
	# shellcheck disable=SC2064 # it expands now
	trap "chmod -R u+rwX '$XDG_RUNTIME_DIR' || true; rm -rf '$XDG_RUNTIME_DIR'" EXIT
	XDG_CONFIG_HOME=$tmp/config XDG_DATA_HOME=$tmp/data
	export XDG_RUNTIME_DIR XDG_CONFIG_HOME XDG_DATA_HOME
	state=$XDG_RUNTIME_DIR/containerd-rootless
	mkdir -p "$XDG_CONFIG_HOME/containerd"
	cat >"$XDG_CONFIG_HOME/containerd/config.toml" <<-'EOF'
		version = 2
		disabled_plugins = ["io.containerd.grpc.v1.cri"]
	EOF
}

# Makes a script like nerdctl's containerd-rootless.sh. It executes the launcher, with itself as the command.
# Inside, it mounts directories of the user where a containerd of root has its own, and executes containerd.
make_start_script() {
	cat >"$tmp/containerd-rootless.sh" <<-'EOF'
		#!/bin/sh
		set -eu
		if [ -z "${INSIDE-}" ]; then
			export INSIDE=yes
			# shellcheck disable=SC2086 # options or none
			exec rootlesskit --state-dir="$XDG_RUNTIME_DIR/containerd-rootless" \
				--net="$NET" --mtu="$MTU" --slirp4netns-sandbox=auto \
				--slirp4netns-seccomp=auto --disable-host-loopback --port-driver="$PORT_DRIVER" \
				--copy-up=/etc --copy-up=/run --copy-up=/var/lib --propagation=rslave \
				${DETACH-} ${FLAGS-} ${NAMESPACES-} "$0" "$@"
		fi
		# place SOURCE TARGET: mounts SOURCE on TARGET. If the host has TARGET, --copy-up
		# has made it a link.
		place() {
			[ ! -L "$2" ] || rm "$2"
			mkdir -p "$1" "$2"
			mount --bind "$1" "$2"
		}
		rm -f /run/xtables.lock
		place "$XDG_RUNTIME_DIR/containerd" /run/containerd
		place "$XDG_CONFIG_HOME/containerd" /etc/containerd
		place "$XDG_DATA_HOME/containerd" /var/lib/containerd
		place "$XDG_DATA_HOME/cni" /var/lib/cni
		exec containerd "$@"
	EOF
	chmod +x "$tmp/containerd-rootless.sh"
}

need_containerd() {
	need_slirp4netns
	need_unpacked containerd runc containernetworking-plugins
	CNI_PATH=$unpacked/usr/lib/cni
	need iptables
	need busybox
	need curl
	need socat
}

# use_network NET PORT_DRIVER: the network of the next start. Without a call it is that of nerdctl's script,
# slirp4netns and builtin.
use_network() {
	NET=$1 PORT_DRIVER=$2 MTU=1500
	[ "$NET" != pasta ] || need_pasta "$PORT_DRIVER"
	export NET PORT_DRIVER MTU FLAGS
}

# start_containerd [--detach-netns]: starts the script. May be called again, for the same directories.
start_containerd() {
	DETACH=${1-}
	[ -n "${NET-}" ] || NET=slirp4netns PORT_DRIVER=builtin MTU=65520
	CONTAINERD_SNAPSHOTTER=$(snapshotter)
	export DETACH NET PORT_DRIVER MTU CONTAINERD_SNAPSHOTTER
	env --default-signal=INT,QUIT "$tmp/containerd-rootless.sh" >"$tmp/bg.out" 2>"$tmp/bg.err" </dev/null &
	pid=$!
	wait_ready
	wait_until 20 ctr --address "/proc/$child/root/run/containerd/containerd.sock" version
}

# enter COMMAND...: runs a command inside as nerdctl does, which enters the network namespace unless the file
# `netns` exists. Where a test asks for a PID namespace, that is entered as well, since /proc needs it.
enter() {
	if [ -e "$state/netns" ]; then
		net=
	else
		net=-n
	fi
	# shellcheck disable=SC2086 # options or none
	nsenter --preserve-credentials -m -U $net ${NAMESPACES:+-p} \
		-t "$(tr -d '[:space:]' <"$state/child_pid")" "$@"
}

# child_env NAME: prints a variable of the child's environment
child_env() {
	tr '\0' '\n' <"/proc/$child/environ" | sed -n "s/^$1=//p"
}

# ---- images and containers ----

size_of() {
	wc -c <"$1" | tr -d ' '
}
digest_of() {
	sha256sum <"$1" | cut -d ' ' -f 1
}

# blob FILE: moves a file into the image, and prints members of its descriptor
blob() {
	digest=$(digest_of "$1")
	size=$(size_of "$1")
	mv "$1" "$tmp/image/blobs/sha256/$digest"
	printf '"digest":"sha256:%s","size":%s' "$digest" "$size"
}

# Makes the OCI archive $tmp/image.tar, with one layer that has a static busybox, a page, and a file of LAYER_MB
# megabytes.
make_image() {
	oci=application/vnd.oci.image
	root=$tmp/layer work=$tmp/image
	mkdir -p "$root/bin" "$root/www" "$work/blobs/sha256"
	cp "$(command -v busybox)" "$root/bin/busybox"
	ln -s busybox "$root/bin/sh"
	echo 'hello from a container' >"$root/www/index.html"
	head -c "${LAYER_MB-0}M" /dev/urandom >"$root/www/random"
	tar --owner=0 --group=0 -C "$root" -cf "$tmp/layer.tar" .
	diff_id=$(digest_of "$tmp/layer.tar")
	arch=$(dpkg --print-architecture)
	printf '{"architecture":"%s","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
		"$arch" "$diff_id" >"$tmp/config.json"
	printf '{"schemaVersion":2,"config":{"mediaType":"%s.config.v1+json",%s},"layers":[{"mediaType":"%s.layer.v1.tar",%s}]}' \
		"$oci" "$(blob "$tmp/config.json")" "$oci" "$(blob "$tmp/layer.tar")" >"$tmp/manifest.json"
	printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s.manifest.v1+json",%s,"annotations":{"io.containerd.image.name":"%s"}}]}' \
		"$oci" "$(blob "$tmp/manifest.json")" "$IMAGE" >"$work/index.json"
	echo '{"imageLayoutVersion":"1.0.0"}' >"$work/oci-layout"
	tar -C "$work" -cf "$tmp/image.tar" oci-layout index.json blobs
}

import_image() {
	make_image
	enter ctr images import "$tmp/image.tar"
	assert_eq images "$IMAGE" "$(enter ctr images ls -q)"
}

# Prints which snapshotter works. In a container $tmp may be an overlay, and another overlay on top of it
# fails.
snapshotter() {
	if overlay_works; then echo overlayfs; else echo native; fi
}
overlay_works() {
	mkdir -p "$tmp/o/l" "$tmp/o/u" "$tmp/o/w" "$tmp/o/m"
	unshare -Urm mount -t overlay -o "lowerdir=$tmp/o/l,upperdir=$tmp/o/u,workdir=$tmp/o/w" overlay "$tmp/o/m" 2>/dev/null
}

# run_container NAME OPTION...: starts a container with a web server on port 80 and without cgroups
run_container() {
	name=$1
	shift
	enter ctr run -d --cgroup '' --cpu-shares 0 --env "E2E_CASE=$tmp" "$@" \
		"$IMAGE" "$name" /bin/busybox httpd -f -p 80 -h /www
}

# task_status NAME: prints the status of a container's process, such as RUNNING
task_status() {
	enter ctr task ls | awk -v name="$1" '$1 == name { print $3 }'
}
is_stopped() {
	[ "$(task_status "$1")" = STOPPED ]
}

remove_container() {
	enter ctr task kill -s KILL "$1"
	wait_until 10 is_stopped "$1"
	# ctr exits with the status of the container.
	enter ctr task rm "$1" || true
	enter ctr container rm "$1"
	assert_eq "what is left of $1" '' "$(enter ctr container ls -q)"
}

# hook_port ACTION IP PORT: runs nerdctl.sh
hook_port() {
	ROOTLESSKIT_STATE_DIR=$state "$here/nerdctl.sh" "$@"
}

# ---- what cases do ----

# Checks what nerdctl and its set-up tool expect of the launcher.
check_outside() {
	assert_eq 'state directory in the environment' "$state" "$(child_env ROOTLESSKIT_STATE_DIR)"
	assert_eq 'UID in the environment' "$(id -u)" "$(child_env ROOTLESSKIT_PARENT_EUID)"
	assert_eq 'GID in the environment' "$(id -g)" "$(child_env ROOTLESSKIT_PARENT_EGID)"
	[ -S "/proc/$child/root/run/containerd/containerd.sock" ] || fail "containerd's socket is missing"
	assert_eq 'IDs inside' '0 0' "$(enter sh -c 'echo $(id -u) $(id -g)')"
	own=$(readlink /proc/self/ns/net)
	assert_eq 'resolv.conf in the state directory' "nameserver ${DNS:-10.0.2.3}" "$(cat "$state/resolv.conf")"
	if [ -n "$DETACH" ]; then
		assert_eq 'network of the command' "$own" "$(enter readlink /proc/self/ns/net)"
		[ "$own" != "$(enter nsenter "-n$state/netns" readlink /proc/self/ns/net)" ] ||
			fail "the detached network is the host's"
		cmp -s /etc/resolv.conf "/proc/$child/root/etc/resolv.conf" || fail 'resolv.conf was changed'
	else
		assert_eq 'name server' "nameserver ${DNS:-10.0.2.3}" "$(enter cat /etc/resolv.conf)"
		[ "$own" != "$(enter readlink /proc/self/ns/net)" ] || fail "the network is the host's"
	fi
}

# Runs a container in the launcher's network namespace.
check_container() {
	port=$(free_port)
	if [ -n "$DETACH" ]; then
		run_container c1 --with-ns "network:$state/netns"
	else
		run_container c1 --net-host
	fi
	assert_eq status RUNNING "$(task_status c1)"
	assert_match 'interfaces in the container' "*inet addr:10.0.2.100 *MTU:$MTU *" \
		"$(enter ctr task exec --exec-id ip c1 /bin/busybox ifconfig tap0)"
	rootlessctl --socket "$state/api.sock" add-ports "127.0.0.1:$port:10.0.2.100:80/tcp"
	wait_until 10 fetch "http://127.0.0.1:$port/"
	assert_eq page 'hello from a container' "$(fetch "http://127.0.0.1:$port/")"
	rootlessctl --socket "$state/api.sock" remove-ports 1
	assert_fails fetch "http://127.0.0.1:$port/"
	remove_container c1
}

# make_spec ROOTFS IP PORT ...: prints the specification of a container without cgroups and with its own
# network namespace, which hooks connect and publish ports for
make_spec() {
	rootfs=$1
	shift
	if [ -n "$DETACH" ]; then
		path=$(command -v nsenter)
		before="\"nsenter\",\"-n$state/netns\",\"--\","
	else
		path=$here/nerdctl.sh
		before=
	fi
	ports=$(printf ',"%s"' "$@")
	for when in createRuntime poststop; do
		eval "$when='\"path\":\"$path\",\"args\":[$before\"$here/nerdctl.sh\",\"$when\"$ports]'"
	done
	# shellcheck disable=SC2154 # set by eval
	cat <<-EOF
		{"ociVersion":"1.0.2","hostname":"page",
		"process":{"args":["/bin/busybox","httpd","-f","-p","80","-h","/www"],"cwd":"/",
			"user":{"uid":0,"gid":0},"env":["PATH=/bin","E2E_CASE=$tmp"],"noNewPrivileges":true,
			"capabilities":{"bounding":["CAP_NET_BIND_SERVICE"],"effective":["CAP_NET_BIND_SERVICE"],
				"permitted":["CAP_NET_BIND_SERVICE"]}},
		"root":{"path":"$rootfs"},
		"mounts":[{"destination":"/proc","type":"proc","source":"proc"},
			{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","mode=755"]},
			{"destination":"/dev/pts","type":"devpts","source":"devpts","options":["newinstance","gid=5"]},
			{"destination":"/sys","type":"sysfs","source":"sysfs","options":["ro","nosuid","nodev"]}],
		"hooks":{"createRuntime":[{$createRuntime,"env":["PATH=$PATH","E2E_CASE=$tmp","SUBNET=$SUBNET",
				"CNI_PATH=$CNI_PATH","ROOTLESSKIT_STATE_DIR=$state"]}],
			"poststop":[{$poststop,"env":["PATH=$PATH","E2E_CASE=$tmp","SUBNET=$SUBNET",
				"CNI_PATH=$CNI_PATH","ROOTLESSKIT_STATE_DIR=$state"]}]},
		"linux":{"namespaces":[{"type":"pid"},{"type":"ipc"},{"type":"uts"},{"type":"mount"},
			{"type":"network"}]}}
	EOF
}

# Runs a command in the launcher's network namespace, detached or not.
enter_network() {
	if [ -n "$DETACH" ]; then
		enter nsenter "-n$state/netns" "$@"
	else
		enter "$@"
	fi
}

# Runs a container behind a bridge and DNAT, as nerdctl makes it, with two ports.
check_container_with_hooks() {
	p1=$(free_port) p2=$(free_port)
	mkdir "$tmp/rootfs"
	enter ctr images mount --snapshotter="$CONTAINERD_SNAPSHOTTER" --rw "$IMAGE" "$tmp/rootfs"
	make_spec "$tmp/rootfs" 0.0.0.0 "$p1" 127.0.0.2 "$p2" >"$tmp/spec.json"
	enter ctr run -d --config "$tmp/spec.json" c2
	assert_match ports "[[]{\"id\":2,\"spec\":{\"proto\":\"tcp\",\"parentIP\":\"0.0.0.0\",\"parentPort\":$p1,\"childPort\":$p1}},{\"id\":3,\"spec\":{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.2\",\"parentPort\":$p2,\"childPort\":$p2}}]*" \
		"$(curl -sS --unix-socket "$state/api.sock" http://u/v1/ports)"
	assert_eq 'address of the bridge' "$SUBNET.1/24" \
		"$(enter_network ip -o -4 addr show nerdctl0 | awk '{ print $4 }')"
	[ ! -e /sys/class/net/nerdctl0 ] || fail "the bridge is in the host's network"
	for url in "127.0.0.1:$p1" "127.0.0.2:$p2"; do
		wait_until 10 fetch "http://$url/"
		assert_eq "page at $url" 'hello from a container' "$(fetch "http://$url/")"
	done
	is_refused "http://127.0.0.1:$p2/" || fail 'the port of 127.0.0.2 is open on 127.0.0.1, too'
	remove_container c2
	assert_eq 'ports after its end' '[]' "$(curl -sS --unix-socket "$state/api.sock" http://u/v1/ports | tr -d '\n')"
	assert_fails fetch "http://127.0.0.1:$p1/"
	enter ctr images unmount --rm "$tmp/rootfs"
}

# check_life [--detach-netns]: starts containerd as a service that notifies systemd, uses it, and ends it.
# Call need_containerd before.
check_life() {
	make_home
	make_start_script
	NOTIFY_SOCKET=$XDG_RUNTIME_DIR/notify
	socat -u "UNIX-RECV:$NOTIFY_SOCKET" "OPEN:$tmp/notified,creat" &
	notified=$!
	wait_until 5 test -S "$NOTIFY_SOCKET"
	export NOTIFY_SOCKET
	start_containerd "$@"
	wait_until 20 grep -q READY=1 "$tmp/notified"
	check_outside
	import_image
	check_container
	check_container_with_hooks
	stop
	assert_eq status 0 "$rc"
	wait_until 5 grep -q STOPPING=1 "$tmp/notified"
	end_process "$notified"
}

