#!/bin/sh
# containerd from Debian's package on top, as nerdctl starts it and as nerdctl enters it: its start
# script's command line, with the network detached and without; an image, containers with OCI hooks
# and CNI networks, ports through the API. And what nerdctl's set-up tool and k3s ask of the launcher.
. "$(dirname "$0")/../e2e/lib.sh"

IMAGE=docker.io/library/page:1
# Of the container's bridge, inside the launcher's network namespace.
SUBNET=10.4.7

# ---- containerd ----

# The user's directories, as a session has them; the runtime directory lies in /run, which is copied
# up, and so does the state directory then.
make_home() {
	XDG_RUNTIME_DIR=$(mktemp -d /run/lock/e2e.XXXXXX 2>/dev/null || mktemp -d "$tmp/run.XXXXXX")
	# shellcheck disable=SC2064 # now
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

# The start script: outside it becomes the launcher; as its command, inside, it puts directories of
# the user's in the places where a containerd of root has its own, and becomes containerd.
make_start_script() {
	cat >"$tmp/containerd-rootless.sh" <<-'EOF'
		#!/bin/sh
		set -eu
		if [ -z "${INSIDE-}" ]; then
			export INSIDE=yes
			# shellcheck disable=SC2086 # options or none
			exec rootlesskit --state-dir="$XDG_RUNTIME_DIR/containerd-rootless" \
				--net=slirp4netns --mtu=65520 --slirp4netns-sandbox=auto \
				--slirp4netns-seccomp=auto --disable-host-loopback --port-driver=builtin \
				--copy-up=/etc --copy-up=/run --copy-up=/var/lib --propagation=rslave \
				${DETACH-} ${NAMESPACES-} "$0" "$@"
		fi
		# place SOURCE TARGET: what the host has there is a link since it is copied up
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
	need_tun
	need_unpacked containerd runc containernetworking-plugins
	CNI_PATH=$unpacked/usr/lib/cni
	need iptables
	need busybox
	need curl
	need socat
}

# start_containerd [--detach-netns]: once more in the same directories if it ran before.
start_containerd() {
	DETACH=${1-}
	CONTAINERD_SNAPSHOTTER=$(snapshotter)
	export DETACH CONTAINERD_SNAPSHOTTER
	env --default-signal=INT,QUIT "$tmp/containerd-rootless.sh" >"$tmp/bg.out" 2>"$tmp/bg.err" </dev/null &
	pid=$!
	wait_ready
	wait_until 20 ctr --address "/proc/$child/root/run/containerd/containerd.sock" version
}

# Runs a command as nerdctl does: the file `netns` decides whether the network is entered too. A PID
# namespace, which nerdctl does not ask for, comes with a /proc that is of use only in it.
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

# The value of a variable in the child's environment.
child_env() {
	tr '\0' '\n' <"/proc/$child/environ" | sed -n "s/^$1=//p"
}

# ---- images and containers ----

# The size and the digest of a file, for a manifest.
size_of() {
	wc -c <"$1" | tr -d ' '
}
digest_of() {
	sha256sum <"$1" | cut -d ' ' -f 1
}

# blob FILE: puts it into the image's directory; its descriptor's members follow on standard output
blob() {
	digest=$(digest_of "$1")
	size=$(size_of "$1")
	mv "$1" "$tmp/image/blobs/sha256/$digest"
	printf '"digest":"sha256:%s","size":%s' "$digest" "$size"
}

# An OCI archive with one layer, which holds a static busybox and a page: $tmp/image.tar
make_image() {
	oci=application/vnd.oci.image
	root=$tmp/layer work=$tmp/image
	mkdir -p "$root/bin" "$root/www" "$work/blobs/sha256"
	cp "$(command -v busybox)" "$root/bin/busybox"
	ln -s busybox "$root/bin/sh"
	echo 'hello from a container' >"$root/www/index.html"
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

# Where the test's directory is itself an overlay (in a container) there can be no other on it.
snapshotter() {
	if overlay_works; then echo overlayfs; else echo native; fi
}
overlay_works() {
	mkdir -p "$tmp/o/l" "$tmp/o/u" "$tmp/o/w" "$tmp/o/m"
	unshare -Urm mount -t overlay -o "lowerdir=$tmp/o/l,upperdir=$tmp/o/u,workdir=$tmp/o/w" overlay "$tmp/o/m" 2>/dev/null
}

# run_container NAME OPTION...: a web server on port 80, with nothing of cgroups in its specification
run_container() {
	name=$1
	shift
	enter ctr run -d --cgroup '' --cpu-shares 0 --env "E2E_CASE=$tmp" "$@" \
		"$IMAGE" "$name" /bin/busybox httpd -f -p 80 -h /www
}

task_status() {
	enter ctr task ls | awk -v name="$1" '$1 == name { print $3 }'
}
is_stopped() {
	[ "$(task_status "$1")" = STOPPED ]
}

remove_container() {
	enter ctr task kill -s KILL "$1"
	wait_until 10 is_stopped "$1"
	# It says what the exit status was, and takes that for its own.
	enter ctr task rm "$1" || true
	enter ctr container rm "$1"
	assert_eq "what is left of $1" '' "$(enter ctr container ls -q)"
}

# nerdctl.sh ACTION IP PORT: a port by the API, as nerdctl's hook does it
hook_port() {
	ROOTLESSKIT_STATE_DIR=$state "$here/nerdctl.sh" "$@"
}

# ---- cases ----

# What nerdctl and its set-up tool look for from outside.
check_outside() {
	assert_eq 'state directory in the environment' "$state" "$(child_env ROOTLESSKIT_STATE_DIR)"
	assert_eq 'UID in the environment' "$(id -u)" "$(child_env ROOTLESSKIT_PARENT_EUID)"
	assert_eq 'GID in the environment' "$(id -g)" "$(child_env ROOTLESSKIT_PARENT_EGID)"
	[ -S "/proc/$child/root/run/containerd/containerd.sock" ] || fail 'no socket of containerd'
	assert_eq 'IDs inside' '0 0' "$(enter sh -c 'echo $(id -u) $(id -g)')"
	own=$(readlink /proc/self/ns/net)
	assert_eq 'resolv.conf in the state directory' 'nameserver 10.0.2.3' "$(cat "$state/resolv.conf")"
	if [ -n "$DETACH" ]; then
		assert_eq 'network of the command' "$own" "$(enter readlink /proc/self/ns/net)"
		[ "$own" != "$(enter nsenter "-n$state/netns" readlink /proc/self/ns/net)" ] ||
			fail 'the detached network is our own'
		cmp -s /etc/resolv.conf "/proc/$child/root/etc/resolv.conf" || fail 'resolv.conf was changed'
	else
		assert_eq 'name server' 'nameserver 10.0.2.3' "$(enter cat /etc/resolv.conf)"
		[ "$own" != "$(enter readlink /proc/self/ns/net)" ] || fail "the network is the host's"
	fi
}

# A container from an image, whose network is the launcher's.
check_container() {
	port=$(free_port)
	if [ -n "$DETACH" ]; then
		run_container c1 --with-ns "network:$state/netns"
	else
		run_container c1 --net-host
	fi
	assert_eq status RUNNING "$(task_status c1)"
	assert_match 'interfaces in the container' '*inet addr:10.0.2.100 *MTU:65520 *' \
		"$(enter ctr task exec --exec-id ip c1 /bin/busybox ifconfig tap0)"
	rootlessctl --socket "$state/api.sock" add-ports "127.0.0.1:$port:80/tcp"
	wait_until 10 fetch "http://127.0.0.1:$port/"
	assert_eq page 'hello from a container' "$(fetch "http://127.0.0.1:$port/")"
	rootlessctl --socket "$state/api.sock" remove-ports 1
	assert_fails fetch "http://127.0.0.1:$port/"
	remove_container c1
}

# The specification of a container with a network of its own and hooks that connect it; no cgroups.
# make_spec ROOTFS IP PORT ...
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
	# shellcheck disable=SC2154 # by eval
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

# In the launcher's network namespace, detached or not.
enter_network() {
	if [ -n "$DETACH" ]; then
		enter nsenter "-n$state/netns" "$@"
	else
		enter "$@"
	fi
}

# A container behind a bridge and DNAT, as nerdctl makes it, with two ports.
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
	remove_container c2
	assert_eq 'ports when it is gone' '[]' "$(curl -sS --unix-socket "$state/api.sock" http://u/v1/ports | tr -d '\n')"
	assert_fails fetch "http://127.0.0.1:$p1/"
	enter ctr images unmount --rm "$tmp/rootfs"
}

check_life() {
	need_containerd
	make_home
	make_start_script
	# As a service's, which waits for it to say that it is ready.
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

case_containerd_as_nerdctl_starts_it() {
	check_life --detach-netns
	[ -e "$XDG_DATA_HOME/containerd/io.containerd.metadata.v1.bolt/meta.db" ] || fail 'its data are gone'
}

case_containerd_in_the_network_itself() {
	check_life
}

# PIDs of containers and their shims.
leftovers_of_containers() {
	for p in $(leftovers); do
		case $(tr '\0' ' ' <"/proc/$p/cmdline") in
		*containerd-shim* | /bin/busybox*) echo "$p" ;;
		esac
	done
}

# What is left when the launcher was killed has ended: its child, containerd, the network program.
has_all_ended() {
	for p in $(leftovers); do
		has_ended "$p" || case $(tr '\0' ' ' <"/proc/$p/cmdline") in
		*containerd-shim* | */bin/busybox*) ;;
		*) return 1 ;;
		esac
	done
}

case_containerd_again_after_kill_9_of_the_launcher() {
	need_containerd
	make_home
	make_start_script
	start_containerd --detach-netns
	import_image
	port=$(free_port)
	run_container c1 --with-ns "network:$state/netns"
	hook_port add 127.0.0.1 "$port"
	first=$child
	end_process "$pid" KILL
	wait_until 5 has_all_ended
	start_containerd --detach-netns
	[ "$child" != "$first" ] || fail 'the same child'
	assert_eq "ports of another launcher's" '' "$(hook_port find 127.0.0.1 "$port")"
	# The container and its shim are nobody's children: they live on.
	orphans=$(leftovers_of_containers)
	[ -n "$orphans" ] || fail 'the container has ended'
	case $(containerd --version) in
	*' 1.'[0-6].*)
		assert_eq status RUNNING "$(task_status c1)"
		remove_container c1
		;;
	*)
		# Later ones forget a container whose socket they cannot reach at their start.
		assert_eq status '' "$(task_status c1)"
		# shellcheck disable=SC2086 # PIDs
		kill -KILL $orphans
		enter ctr container rm c1
		;;
	esac
	run_container c2 --with-ns "network:$state/netns"
	rootlessctl --socket "$state/api.sock" add-ports "127.0.0.1:$port:80/tcp"
	wait_until 10 fetch "http://127.0.0.1:$port/"
	assert_eq page 'hello from a container' "$(fetch "http://127.0.0.1:$port/")"
	remove_container c2
	# As a service manager may do it: all at once, so that each hears it once more from the one above.
	# shellcheck disable=SC2046 # PIDs
	kill -TERM $(leftovers) 2>/dev/null || true
	finish
	assert_eq status 0 "$rc"
}

# A PID namespace ends with its first process, and so does all that containerd has started in it.
case_containerd_in_namespaces_of_all_kinds() {
	need_containerd
	make_home
	make_start_script
	NAMESPACES='--pidns --cgroupns --ipcns --utsns'
	export NAMESPACES
	start_containerd
	for kind in pid cgroup ipc uts; do
		[ "$(readlink "/proc/self/ns/$kind")" != "$(readlink "/proc/$child/ns/$kind")" ] ||
			fail "the $kind namespace is our own"
	done
	import_image
	port=$(free_port)
	run_container c1 --net-host
	rootlessctl --socket "$state/api.sock" add-ports "127.0.0.1:$port:80/tcp"
	wait_until 10 fetch "http://127.0.0.1:$port/"
	assert_eq page 'hello from a container' "$(fetch "http://127.0.0.1:$port/")"
	stop
}

# What nerdctl's set-up tool tries before it installs anything.
case_the_checks_of_the_set_up_tool() {
	rootlesskit --help | grep -qw -- --detach-netns || fail 'no --detach-netns in the help'
	launch --disable-host-loopback --copy-up=/etc --copy-up=/run --copy-up=/var/lib true
	assert_eq status 0 "$rc"
	assert_eq output '' "$out$err"
	overlay_works || skip overlay 'the directory of the test has none'
	launch --disable-host-loopback --copy-up=/etc --copy-up=/run --copy-up=/var/lib sh -c "
		cd $tmp/o && touch l/lower && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w overlay m &&
			rm m/lower && touch m/upper && chown 1000:1000 m/upper && ls m"
	assert_eq 'content of the overlay' upper "$out"
	assert_eq 'content below' lower "$(ls "$tmp/o/l")"
	assert_eq status 0 "$rc"
}

# Files that belong to subordinate IDs are only the user's inside.
case_files_of_subordinate_IDs_are_removed() {
	mkdir -p "$tmp/data/private"
	echo text >"$tmp/data/private/file"
	rootlesskit chown -R 1000:1000 "$tmp/data"
	[ "$(stat -c %u "$tmp/data")" != "$(id -u)" ] || fail 'it still belongs to the user'
	assert_fails rm -rf "$tmp/data/private"
	launch rm -rf "$tmp/data"
	assert_eq output '' "$out$err"
	assert_eq status 0 "$rc"
	[ ! -e "$tmp/data" ] || fail 'it is still there'
}

# What `ctr run --net-host` does with /etc/hosts and /etc/resolv.conf. Where the state directory's
# mount has flags that are locked (those of /run/user/UID: nosuid, nodev) it must not hinder that.
case_files_in_etc_are_mounted_into_containers() {
	need_tun
	mkdir "$tmp/run"
	# As runc does it: with no flag but these, while mount(8) keeps those that it finds.
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
	# A user namespace around it is the owner of the mount.
	unshare -Urm sh -c 'mount -t tmpfs -o nosuid,nodev tmpfs "$1/run" &&
		rootlesskit --subid-source=self --state-dir="$1/run/st" --net=slirp4netns \
			--disable-host-loopback --copy-up=/etc python3 "$1/mounts.py" "$1"' - "$tmp" >"$tmp/out" 2>"$tmp/err" ||
		fail "$(cat "$tmp/err")"
	assert_match 'content of the files' "*127.0.0.1*::1 $(uname -n)*nameserver 10.0.2.3" "$(cat "$tmp/out")"
}

# The flags of the first usernetes, but for --evacuate-cgroup2, which needs a cgroup of the user's own,
# and several ports at once. check_usernetes OPTION...
check_usernetes() {
	need_tun
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

case_usernetes() {
	check_usernetes
}

case_usernetes_in_namespaces_of_all_kinds() {
	check_usernetes --pidns --cgroupns --ipcns --utsns
}

# k3s' controller: it waits for the socket, adds ports without addresses over one connection, and knows
# its own by the proto that it has sent.
case_k3s_controller() {
	p1=$(free_port) p2=$(free_port)
	make_page 'hello from inside'
	state=$tmp/state
	cat >"$tmp/controller.py" <<-'EOF'
		import http.client, json, os, socket, sys, time
		path, ports = sys.argv[1], [int(p) for p in sys.argv[2:]]
		class Connection(http.client.HTTPConnection):
		    def connect(self):
		        self.sock = socket.socket(socket.AF_UNIX)
		        self.sock.connect(path)
		for _ in range(300):
		    if os.path.exists(path):
		        break
		    time.sleep(0.1)
		c = Connection("rootlesskit")
		c.connect()
		c.auto_open = 0 # a connection that was closed stays closed
		def ask(method, url, body=None):
		    c.request(method, url, body and json.dumps(body), {"Content-Type": "application/json",
		        "Accept-Encoding": "gzip", "User-Agent": "Go-http-client/1.1"})
		    r = c.getresponse()
		    text = r.read()
		    assert r.status in (200, 201), (r.status, text)
		    return json.loads(text) if text else None
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
	[ "$rc" -eq 0 ] || fail "the controller: $(cat "$tmp/said")"
	assert_fails fetch "http://127.0.0.1:$p1/"
	stop
}

run_cases \
	containerd_as_nerdctl_starts_it \
	containerd_in_the_network_itself \
	containerd_again_after_kill_9_of_the_launcher \
	the_checks_of_the_set_up_tool \
	files_of_subordinate_IDs_are_removed \
	files_in_etc_are_mounted_into_containers \
	usernetes \
	k3s_controller \
	containerd_in_namespaces_of_all_kinds \
	usernetes_in_namespaces_of_all_kinds
