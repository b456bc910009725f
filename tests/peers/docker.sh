# shellcheck shell=sh
# For the tests that start rootless Docker: the daemon, an image, containers. A test file sources this after
# lib.sh, and defines need_docker, which skips the case if there is no such Docker.
# shellcheck disable=SC2034,SC2154 # lib.sh and test files use and set variables

# ---- the daemon ----

need_debians_docker() {
	need_tun
	need newuidmap
	need_unpacked docker.io containerd runc
	# Debian 12 has the client in docker.io.
	[ -e "${unpacked%/*}/docker.io/usr/bin/docker" ] || need_unpacked docker-cli
	PATH=$PATH:${unpacked%/*}/docker.io/usr/share/docker.io/contrib:/usr/sbin:/sbin
	need iptables
}

# Docker 29, built from its Go module, with Debian's client. Call need_debians_docker before.
need_docker_29() {
	need_go_program containerd
	need_go_program runc
	need_go_program docker
	PATH=$built/module/contrib:$PATH
	# Docker 29 refuses clients older than Docker 25 unless this allows them.
	export DOCKER_MIN_API_VERSION=1.24
}

is_up() {
	curl -s -o "$tmp/ping" --max-time 10 --unix-socket "$XDG_RUNTIME_DIR/docker.sock" http://docker/_ping
}
# The pause leaves the CPUs to dockerd, whose start takes seconds.
is_up_or_has_ended() {
	sleep 0.1
	is_up || has_ended "$pid"
}

set_up_home() {
	need_docker
	HOME=$tmp/home
	XDG_RUNTIME_DIR=$tmp/run
	DOCKER_HOST=unix://$XDG_RUNTIME_DIR/docker.sock
	export HOME XDG_RUNTIME_DIR DOCKER_HOST
	mkdir -p "$HOME" "$XDG_RUNTIME_DIR"
	chmod 700 "$XDG_RUNTIME_DIR"
}

# Starts the daemon and waits until it answers. Sets `pid` and `child` to the PIDs of the launcher's parent
# and child, `dockerd` to that of the daemon, and `state` to the launcher's state directory.
start_docker() {
	set_up_home
	# A shell makes its background processes ignore SIGINT and SIGQUIT.
	env --default-signal=INT,QUIT dockerd-rootless.sh >"$tmp/docker.log" 2>&1 </dev/null &
	pid=$!
	wait_until 60 is_up_or_has_ended
	is_up || fail "dockerd ended: $(tail -n 20 "$tmp/docker.log")"
	dockerd=$(cat "$XDG_RUNTIME_DIR/docker.pid")
	state=$(tr '\0' '\n' <"/proc/$dockerd/environ" | sed -n 's/^ROOTLESSKIT_STATE_DIR=//p')
	child=$(cat "$state/child_pid")
}

# Ends the launcher, as a service manager does, and with it the daemon and its containers. lib.sh checks
# that no process is left.
stop_docker() {
	stop
	assert_eq 'status of the launcher' 0 "$rc"
}

# ---- containers ----

# Makes an image named `box` with busybox, socat and a page.
make_image() {
	root=$tmp/image
	mkdir -p "$root/bin" "$root/tmp" "$root/www"
	cp "$(command -v busybox)" "$root/bin/busybox"
	for name in sh cat httpd id; do
		ln -s busybox "$root/bin/$name"
	done
	echo 'hello from a container' >"$root/www/index.html"
	ldd "$(command -v socat)" | sed -n 's/.*[[:space:]]\(\/[^ ]*\) (0x.*/\1/p' >"$tmp/libraries"
	xargs cp -L --parents -t "$root" <"$tmp/libraries"
	cp "$(command -v socat)" "$root/bin/socat"
	tar -C "$root" --owner=0 --group=0 -c . | docker import - box >/dev/null
}

# run_container OPTION... box COMMAND...: starts a container in the background, with options of `docker run`.
# It stops by SIGKILL, so `docker stop` does not wait. lib.sh finds its processes by E2E_CASE.
run_container() {
	docker run --pull never --stop-signal KILL -e "E2E_CASE=$tmp" -d "$@" >"$tmp/id"
}

# run_web NAME OPTION...: starts a container with a web server on port 80
run_web() {
	name=$1
	shift
	run_container --name "$name" "$@" box httpd -f -p 80 -h /www
}

list_ports() {
	rootlessctl --socket "$state/api.sock" list-ports | awk 'NR > 1 { print $2, $3, $4, $5, $6 }'
}

has_page() {
	[ "$(fetch "$@")" = 'hello from a container' ]
}

is_refused() {
	code=0
	fetch "$1" || code=$?
	[ "$code" -eq 7 ]
}

# fetch_inside ADDRESS: prints the page that a container gets from ADDRESS:$port, if any
fetch_inside() {
	docker run --pull never --rm box \
		sh -c "printf 'GET / HTTP/1.0\r\n\r\n' | socat -t 5 - TCP4:$1:$port,connect-timeout=5" |
		tail -n 1
}

# ask_udp NUMBER: sends a datagram, which must come back
ask_udp() {
	[ "$(echo "message $1" | socat -t 2 - "UDP4:127.0.0.2:$port")" = "message $1" ]
}
