#!/bin/sh
# BuildKit 0.32, built from its Go module, with our launcher: `rootlesskit buildkitd` as its documentation has
# it, and as the first process of a container, like the image moby/buildkit:rootless. Builds an image from
# scratch; no registry is used.
. "$(dirname "$0")/../e2e/lib.sh"
. "$(dirname "$0")/container.sh"

need_buildkit() {
	need newuidmap
	need_unpacked runc
	need_go_program buildkit
	need busybox
}

# make_context: makes a Dockerfile in $tmp/context. Its RUN leaves a process behind, with nothing of the build
# open, if BuildKit lets it.
make_context() {
	mkdir "$tmp/context"
	cp "$(command -v busybox)" "$tmp/context/busybox"
	cat >"$tmp/context/build.sh" <<-'EOT'
		busybox id -u >/uid
		busybox chown 7:8 /uid
		busybox ifconfig -a >/interfaces
		echo $$ >/pid
		busybox setsid busybox sleep 1 </dev/null >/dev/null 2>&1 &
	EOT
	cat >"$tmp/context/Dockerfile" <<-'EOT'
		FROM scratch
		COPY busybox /bin/busybox
		COPY build.sh /
		RUN ["/bin/busybox", "sh", "/build.sh"]
		RUN ["/bin/busybox", "stat", "-c", "%u:%g", "/uid"]
	EOT
}

# buildctl_at SOCKET ...; ENTER is a command to run buildctl with, or empty
buildctl_at() {
	addr=unix://$1
	shift
	${ENTER-} buildctl --addr "$addr" "$@"
}

# check_build SOCKET: builds, and unpacks the result to $tmp/result
check_build() {
	make_context
	wait_until 30 buildctl_at "$1" debug workers
	buildctl_at "$1" build --progress=plain --frontend dockerfile.v0 --local "context=$tmp/context" \
		--local "dockerfile=$tmp/context" --output "type=local,dest=$tmp/result" >"$tmp/build.log" 2>&1 ||
		fail "the build failed: $(tail -n 20 "$tmp/build.log")"
	assert_eq 'user of RUN' 0 "$(cat "$tmp/result/uid")"
	grep -q ' 7:8$' "$tmp/build.log" || fail 'chown had no effect'
	# The second build takes both steps from the cache.
	buildctl_at "$1" build --progress=plain --frontend dockerfile.v0 --local "context=$tmp/context" \
		--local "dockerfile=$tmp/context" >"$tmp/build.log" 2>&1
	assert_eq 'cached steps' 4 "$(grep -c ' CACHED$' "$tmp/build.log")"
}

# start_buildkitd OPTION... [-- OPTION_OF_BUILDKITD...]
start_buildkitd() {
	need_buildkit
	XDG_RUNTIME_DIR=$tmp/run XDG_DATA_HOME=$tmp/data
	export XDG_RUNTIME_DIR XDG_DATA_HOME
	mkdir -m 700 "$XDG_RUNTIME_DIR"
	start "$@"
}

# buildkitd reports the signal as an error, and exits with status 1.
assert_ended_by_signal() {
	assert_eq status 1 "$rc"
	grep -q 'buildkitd: got SIGTERM' "$tmp/bg.err" || fail "buildkitd ended: $(tail -n 5 "$tmp/bg.err")"
}

# Files of the images may belong to subordinate IDs.
remove_data() {
	rootlesskit rm -rf "$XDG_DATA_HOME"
	[ ! -e "$XDG_DATA_HOME" ] || fail "BuildKit's data cannot be removed"
}

case_buildkitd_builds_images() {
	start_buildkitd buildkitd
	check_build "$XDG_RUNTIME_DIR/buildkit/buildkitd.sock"
	assert_eq 'first process of the build' 1 "$(cat "$tmp/result/pid")"
	stop
	assert_ended_by_signal
	remove_data
}

# check_network NET: RUN has the interface of this network
check_network() {
	need_slirp4netns
	start_buildkitd "--net=$1" --copy-up=/etc --disable-host-loopback buildkitd
	check_build "$XDG_RUNTIME_DIR/buildkit/buildkitd.sock"
	assert_match 'network of the build' '*tap0*inet addr:10.0.2.100 *' "$(cat "$tmp/result/interfaces")"
	stop
	assert_ended_by_signal
	remove_data
}

case_buildkitd_builds_images_with_slirp4netns() {
	check_network slirp4netns
}

# BuildKit's documentation names it.
case_buildkitd_builds_images_with_gvisor_tap_vsock() {
	check_network gvisor-tap-vsock
}

case_buildkitd_builds_images_with_our_own_network() {
	check_network builtin
}

# check_first_process OPTION...: `rootlesskit buildkitd`, with options of buildkitd
check_first_process() {
	need_buildkit
	start_container rootlesskit buildkitd "$@"
	ENTER=in_container check_build /mnt/home/run/buildkit/buildkitd.sock
}

case_buildkitd_builds_images_as_the_first_process_of_a_container() {
	check_first_process
	assert_eq 'first process of the build' 1 "$(cat "$tmp/result/pid")"
	wait_until 5 has_no_zombie
	stop_container
	assert_ended_by_signal
}

# Without a PID namespace for each RUN, its processes outlive it, and become children of the launcher.
case_the_first_process_of_a_container_reaps_what_builds_leave() {
	check_first_process --oci-worker-no-process-sandbox
	[ "$(cat "$tmp/result/pid")" -gt 1 ] || fail 'the build had a PID namespace'
	wait_until 10 has_no_orphan busybox
	wait_until 5 has_no_zombie
	stop_container
	assert_ended_by_signal
}

run_cases \
	buildkitd_builds_images \
	buildkitd_builds_images_with_slirp4netns \
	buildkitd_builds_images_with_gvisor_tap_vsock \
	buildkitd_builds_images_with_our_own_network \
	buildkitd_builds_images_as_the_first_process_of_a_container \
	the_first_process_of_a_container_reaps_what_builds_leave
