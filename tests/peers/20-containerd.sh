#!/bin/sh
# containerd from Debian's package with our launcher, started and entered as nerdctl does it, with and without
# --detach-netns: an image, containers with OCI hooks and CNI networks, ports by the API.
. "$(dirname "$0")/../e2e/lib.sh"
. "$(dirname "$0")/containerd.sh"
. "$(dirname "$0")/pasta.sh"

case_containerd_runs_as_nerdctl_starts_it() {
	need_containerd
	check_life --detach-netns
	[ -e "$XDG_DATA_HOME/containerd/io.containerd.metadata.v1.bolt/meta.db" ] ||
		fail "containerd's data are not in the user's directory"
}

case_containerd_runs_without_detach_netns() {
	need_containerd
	check_life
}

# Prints the PIDs of containers and their shims.
leftovers_of_containers() {
	for p in $(leftovers); do
		case $(tr '\0' ' ' <"/proc/$p/cmdline") in
		*containerd-shim* | /bin/busybox*) echo "$p" ;;
		esac
	done
}

# True when all other processes of the case have ended: the launcher's child, containerd, the network program.
all_but_containers_have_ended() {
	for p in $(leftovers); do
		has_ended "$p" || case $(tr '\0' ' ' <"/proc/$p/cmdline") in
		*containerd-shim* | */bin/busybox*) ;;
		*) return 1 ;;
		esac
	done
}

case_containerd_runs_with_pasta_and_builtin() {
	need_containerd
	use_network pasta builtin
	check_life --detach-netns
}

case_containerd_runs_with_pasta_and_pesto() {
	need_containerd
	use_network pasta pesto
	check_life
}

case_containerd_starts_again_after_SIGKILL_of_the_launcher() {
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
	wait_until 5 all_but_containers_have_ended
	start_containerd --detach-netns
	[ "$child" != "$first" ] || fail 'child_pid is that of the first launcher'
	assert_eq 'port of the first launcher' '' "$(hook_port find 127.0.0.1 "$port")"
	# The container and its shim were not children of the launcher's processes, so they go on.
	orphans=$(leftovers_of_containers)
	[ -n "$orphans" ] || fail 'the container has ended'
	case $(containerd --version) in
	*' 1.'[0-6].*)
		assert_eq status RUNNING "$(task_status c1)"
		remove_container c1
		;;
	*)
		# Later versions forget a container if they cannot reach its shim when they start.
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
	# Like a service manager that signals all processes of a service: each gets a second SIGTERM from its
	# parent.
	# shellcheck disable=SC2046 # PIDs
	kill -TERM $(leftovers) 2>/dev/null || true
	finish
	assert_eq status 0 "$rc"
}

# Containers end with the launcher here: a PID namespace ends with its first process.
case_containerd_runs_in_namespaces_of_all_kinds() {
	need_containerd
	make_home
	make_start_script
	NAMESPACES='--pidns --cgroupns --ipcns --utsns'
	export NAMESPACES
	start_containerd
	for kind in pid cgroup ipc uts; do
		[ "$(readlink "/proc/self/ns/$kind")" != "$(readlink "/proc/$child/ns/$kind")" ] ||
			fail "the $kind namespace is the host's"
	done
	import_image
	port=$(free_port)
	run_container c1 --net-host
	rootlessctl --socket "$state/api.sock" add-ports "127.0.0.1:$port:80/tcp"
	wait_until 10 fetch "http://127.0.0.1:$port/"
	assert_eq page 'hello from a container' "$(fetch "http://127.0.0.1:$port/")"
	stop
}

# The block of docs/usage.md that tests/docs.sh does not run, because it needs containerd.
case_the_commands_of_the_documentation_work() {
	need_containerd
	make_home
	PORTS="$(free_port) 8081 8053 8443" "$here/../docs.sh" --not-run "$here/../../docs/usage.md" |
		sed -n '/^D=\$XDG_RUNTIME_DIR/,/ctr task kill/p' >"$tmp/commands"
	[ "$(wc -l <"$tmp/commands")" -ge 10 ] || fail 'docs/usage.md has no such block'
	(cd "$tmp" && timeout 60 sh -c '. ./commands; await=$!; while kill -0 "$await" 2>/dev/null; do sleep 0.1; done') \
		>"$tmp/out"
	grep -x works "$tmp/out"
}

run_cases \
	containerd_runs_as_nerdctl_starts_it \
	containerd_runs_without_detach_netns \
	containerd_runs_with_pasta_and_builtin \
	containerd_runs_with_pasta_and_pesto \
	containerd_starts_again_after_SIGKILL_of_the_launcher \
	containerd_runs_in_namespaces_of_all_kinds \
	the_commands_of_the_documentation_work
