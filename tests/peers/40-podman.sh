#!/bin/sh
# Rootless Podman from Debian's packages with our rootlessport, which it finds in a helper directory. The tests
# make their own image; no registry is used.
#
# Each case has its own containers, images and networks in $tmp.
. "$(dirname "$0")/../e2e/lib.sh"

SECONDS_FOR_PODMAN=60 # until a change by Podman shows

# ---- Podman ----

# set_up_podman: makes a home with an image named `box`. Podman finds our rootlessport, and everything else where
# Debian has it.
set_up_podman() {
	need podman
	need newuidmap
	[ -e /usr/lib/podman/netavark ] || skip netavark 'it is not installed'
	# crun refuses to run with both versions of cgroups mounted, as on old systems.
	runtime=$(command -v runc || echo /var/cache/rlkbox-tests/runc/usr/sbin/runc)
	[ -x "$runtime" ] || skip runc 'it is neither installed nor unpacked'
	HOME=$tmp/home
	XDG_RUNTIME_DIR=$tmp/run
	export HOME XDG_RUNTIME_DIR
	export PODMAN_IGNORE_CGROUPSV1_WARNING=yes
	unset DBUS_SESSION_BUS_ADDRESS
	mkdir -p "$HOME/.config/containers" "$XDG_RUNTIME_DIR" "$tmp/helpers" "$tmp/bin"
	printf '#!/bin/sh\nexec %s --cgroup-manager=cgroupfs --events-backend=file --runtime=%s "$@"\n' \
		"$(command -v podman)" "$runtime" >"$tmp/bin/podman"
	chmod +x "$tmp/bin/podman"
	PATH=$tmp/bin:$PATH
	chmod 700 "$XDG_RUNTIME_DIR"
	rlkbox --install -s --with rootlessport "$tmp/helpers"
	helpers "$tmp/helpers"
	cat >"$HOME/.config/containers/storage.conf" <<-'END'
		[storage]
		driver = "vfs"
	END
	cd "$tmp"
	trap clean_up_podman EXIT
	make_image
}

# helpers DIR: makes DIR the first directory in which Podman looks for its helpers
helpers() {
	cat >"$HOME/.config/containers/containers.conf" <<-END
		[engine]
		helper_binaries_dir = ["$1", "/usr/libexec/podman", "/usr/lib/podman"]
	END
}

clean_up_podman() {
	podman pod rm -f -a -t 0 >/dev/null 2>&1 || true
	podman rm -f -a -t 0 >/dev/null 2>&1 || true
	# The process that keeps Podman's user namespace.
	[ ! -e "$XDG_RUNTIME_DIR/libpod/tmp/pause.pid" ] ||
		kill -KILL "$(cat "$XDG_RUNTIME_DIR/libpod/tmp/pause.pid")" || true
}

make_image() {
	mkdir -p image/bin image/www/cgi-bin image/tmp
	cp "$(command -v busybox)" image/bin/busybox
	for name in sh cat httpd sleep true; do
		ln -s busybox "image/bin/$name"
	done
	ldd "$(command -v socat)" | sed -n 's/.*[[:space:]]\(\/[^ ]*\) (0x.*/\1/p' >libraries
	xargs cp -L --parents -t image <libraries
	cp "$(command -v socat)" image/bin/socat
	echo 'hello from a container' >image/www/index.html
	# shellcheck disable=SC2016 # for the inner shell
	printf '#!/bin/sh\necho; echo "$REMOTE_ADDR"\n' >image/www/cgi-bin/client
	chmod 755 image/www/cgi-bin/client
	tar -C image --owner=0 --group=0 -c . | podman import -q - box >/dev/null
}

# run_web NAME OPTION...: starts a container with a web server on port 80 and a UDP echo server on port 7
run_web() {
	name=$1
	shift
	podman run -d --name "$name" --stop-signal KILL "$@" box \
		sh -c 'socat UDP4-RECVFROM:7,fork EXEC:cat & exec httpd -f -p 0.0.0.0:80 -h /www' >"$tmp/id"
}

# Prints the PIDs of running rootlessports of this case.
rootlessports() {
	for found in $(pgrep -x rootlessport || true); do
		# shellcheck disable=SC2015 # both are conditions
		has_ended "$found" || ! grep -qzx "E2E_CASE=$tmp" "/proc/$found/environ" || echo "$found"
	done
}
count_rootlessports() {
	rootlessports | wc -l
}
has_rootlessports() {
	[ "$(count_rootlessports)" -eq "$1" ]
}
check_program() {
	for found in $(rootlessports); do
		[ "/proc/$found/exe" -ef "$BUILD/rlkbox" ] || fail "it is $(readlink "/proc/$found/exe")"
	done
}
# Prints the names of reload sockets.
reload_sockets() {
	ls -A "$XDG_RUNTIME_DIR/libpod/tmp/rp"
}
check_nothing_published() {
	wait_until 10 has_rootlessports 0
	assert_eq 'sockets for reloads' '' "$(reload_sockets)"
}

has_page() {
	[ "$(fetch "$1")" = 'hello from a container' ]
}
# await_page PORT...: waits until each port of 127.0.0.1 has the page
await_page() {
	for awaited; do
		wait_until "$SECONDS_FOR_PODMAN" has_page "http://127.0.0.1:$awaited/"
	done
}
await_refusal() {
	wait_until 10 is_refused "http://127.0.0.1:$1/"
}
answers_udp() {
	[ "$(echo message | socat -t 2 - "UDP4:127.0.0.1:$1")" = message ]
}
# Prints a global IPv4 address of this host.
host_address() {
	ip -o -4 addr show scope global | awk '{ sub("/.*", "", $4); print $4; exit }'
}

# ---- publishing ----

# check_ports NETWORK: ports of a container in this network are published until it stops, starts, restarts
check_ports() {
	set_up_podman
	port=$(free_port)
	second=$(free_port)
	run_web web --network "$1" -p "$port:80" -p "127.0.0.1:$second:7/udp"
	await_page "$port"
	wait_until 10 answers_udp "$second"
	has_rootlessports 1 || fail "$(count_rootlessports) rootlessports are running"
	check_program
	if grep -q ' lo$' /proc/net/if_inet6; then
		wait_until 10 has_page "http://[::1]:$port/"
	fi
	address=$(host_address)
	[ -z "$address" ] ||
		assert_eq "client's address" "$address" "$(fetch "http://$address:$port/cgi-bin/client")"
	podman stop -t 0 web
	await_refusal "$port"
	check_nothing_published
	podman start web
	await_page "$port"
	podman restart -t 0 web
	await_page "$port"
	podman rm -f -t 0 web
	await_refusal "$port"
	check_nothing_published
}

case_ports_of_a_bridge_network_are_published() {
	check_ports bridge
}

case_ports_of_slirp4netns_with_its_port_handler_rootlesskit_are_published() {
	need_slirp4netns
	check_ports slirp4netns:port_handler=rootlesskit
}

case_other_networks_do_not_use_it() {
	need_slirp4netns
	set_up_podman
	port=$(free_port)
	# The default of Podman 4 for users is slirp4netns with rootlessport; of Podman 5 pasta, without it.
	run_web own --network slirp4netns:port_handler=slirp4netns -p "$port:80"
	await_page "$port"
	assert_eq 'with port_handler=slirp4netns' 0 "$(count_rootlessports)"
	run_web none --network none
	run_web host --network bridge
	assert_eq 'without ports' 0 "$(count_rootlessports)"
}

case_a_range_and_many_ports_are_published() {
	set_up_podman
	# For other tests at the same time.
	base=$((61000 + $$ % 20 * 200))
	options=
	for port in $(seq "$base" "$((base + 39))"); do
		options="$options -p 127.0.0.1:$port:80"
	done
	# shellcheck disable=SC2086 # words
	run_web web --network bridge $options -p "127.0.0.1:$((base + 100))-$((base + 199)):80-179"
	await_page "$base" "$((base + 39))" "$((base + 100))"
	podman rm -f -t 0 web
	check_nothing_published
}

case_a_port_clash_is_an_error_that_names_the_port() {
	set_up_podman
	port=$(free_port)
	take_port_of_podman "$port"
	if run_web web --network bridge -p "127.0.0.1:$port:80" 2>"$tmp/err"; then
		fail 'the port was published twice'
	fi
	assert_match error "Error: rootlessport listen tcp 127.0.0.1:$port: bind: address already in use*" \
		"$(tail -n 1 "$tmp/err")"
	check_nothing_published
	end_process "$taker"
	podman start web
	await_page "$port"
	if [ "$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)" -gt 79 ]; then
		if run_web privileged --network bridge -p 79:80 2>"$tmp/err"; then
			fail 'port 79 was published'
		fi
		assert_match error 'Error: rootlessport cannot expose privileged port 79, *permission denied*' \
			"$(tail -n 1 "$tmp/err")"
	fi
}
# take_port would replace the trap of this file.
take_port_of_podman() {
	socat "TCP4-LISTEN:$1,bind=127.0.0.1,reuseaddr,fork" /dev/null &
	taker=$!
	# shellcheck disable=SC2016 # for the inner shell
	wait_until 5 sh -c 'ss -ltn | grep -q ":$0 "' "$1"
}

case_twenty_containers_start_and_stop_at_once() {
	set_up_podman
	pids='' ports=''
	for i in $(seq 20); do
		port=$(free_port)
		ports="$ports $port"
		run_web "web$i" --network bridge -p "127.0.0.1:$port:80" &
		pids="$pids $!"
	done
	for started in $pids; do
		await_success "$started" 240
	done
	# shellcheck disable=SC2086 # words
	await_page $ports
	has_rootlessports 20 || fail "$(count_rootlessports) rootlessports are running"
	check_program
	podman stop -a -t 0 >/dev/null
	check_nothing_published
}

case_a_container_that_ends_at_once_leaves_nothing() {
	set_up_podman
	port=$(free_port)
	for i in 1 2 3 4 5; do
		podman run --rm --network bridge -p "127.0.0.1:$port:80" box true || fail "run $i failed"
	done
	rc=0
	podman run --rm --network bridge -p "127.0.0.1:$port:80" box /nonexistent || rc=$?
	assert_eq 'status for a missing command' 127 "$rc"
	await_refusal "$port"
	check_nothing_published
}

case_a_pod_has_ports() {
	set_up_podman
	podman pod create --name pod --infra-image box --infra-command '/bin/sleep 1000' \
		--network bridge -p "127.0.0.1:$(free_port | tee "$tmp/port"):80" >/dev/null
	port=$(cat "$tmp/port")
	run_web web --pod pod
	await_page "$port"
	has_rootlessports 1 || fail "$(count_rootlessports) rootlessports are running"
	podman rm -f -t 0 web
	run_web another --pod pod
	await_page "$port"
	podman pod stop -t 0 pod
	await_refusal "$port"
	podman pod start pod
	await_page "$port"
	podman pod rm -f -t 0 pod
	check_nothing_published
}

# The blocks of docs/podman.md that tests/docs.sh does not run, because they need Podman.
case_the_commands_of_the_documentation_work() {
	set_up_podman
	PORTS="$(free_port) 8081 8053 8443" "$here/../docs.sh" --not-run "$here/../../docs/podman.md" >"$tmp/all"
	sed -n '/^mkdir -p ~/,/^END/p; /^podman run/,/^curl/p' "$tmp/all" >"$tmp/commands"
	[ "$(wc -l <"$tmp/commands")" -ge 10 ] || fail 'docs/podman.md has no such blocks'
	rm "$HOME/.config/containers/containers.conf"
	sed -i "s/^curl/await_page; &/; s/\$USER/$(id -u)/" "$tmp/commands"
	printf '#!/bin/sh\ncurl -s --retry 9 --retry-all-errors -o /dev/null "http://127.0.0.1:%s/"\n' \
		"$(sed -n 's/.*127.0.0.1:\([0-9]*\):80 .*/\1/p' "$tmp/commands")" >"$tmp/bin/await_page"
	chmod +x "$tmp/bin/await_page"
	sh -eux "$tmp/commands" >"$tmp/out"
	assert_match program '*/rlkbox' "$(sed -n 2p "$tmp/out")"
	assert_eq page 'hello from a container' "$(sed -n 3p "$tmp/out")"
}

# ---- networks ----

case_ports_follow_a_container_to_other_networks() {
	set_up_podman
	port=$(free_port)
	podman network create one >/dev/null
	podman network create two >/dev/null
	run_web web --network one -p "127.0.0.1:$port:80"
	await_page "$port"
	server=$(rootlessports)
	# Podman 4.3 cannot reload a container's networks after it has disconnected one, whatever rootlessport.
	podman network reload web
	await_page "$port"
	podman network connect two web
	await_page "$port"
	podman network reload -a
	await_page "$port"
	podman network disconnect one web
	await_page "$port"
	podman network connect one web
	await_page "$port"
	assert_eq 'rootlessport' "$server" "$(rootlessports)"
	podman rm -f -t 0 web
	check_nothing_published
}

# ---- SIGKILL ----

case_a_killed_container_or_conmon_ends_its_ports() {
	set_up_podman
	port=$(free_port)
	run_web web --network bridge -p "127.0.0.1:$port:80"
	await_page "$port"
	podman kill web
	await_refusal "$port"
	wait_until 10 has_rootlessports 0
	podman start web
	await_page "$port"
	# conmon holds the other end of ExitFD.
	send_signal KILL "$(podman inspect -f '{{.State.ConmonPid}}' web)"
	await_refusal "$port"
	wait_until 10 has_rootlessports 0
	# Podman 5 fails the first time, since nobody has noted the exit status.
	podman rm -f -t 0 web || podman rm -f -t 0 web
	run_web web --network bridge -p "127.0.0.1:$port:80"
	await_page "$port"
}

case_a_container_whose_rootlessport_was_killed_starts_again() {
	set_up_podman
	port=$(free_port)
	run_web web --network bridge -p "127.0.0.1:$port:80"
	await_page "$port"
	send_signal KILL "$(rootlessports)"
	await_refusal "$port"
	podman restart -t 0 web
	await_page "$port"
	podman network reload web
	await_page "$port"
	podman rm -f -t 0 web
	check_nothing_published
}

# ---- memory ----

# Prints the anonymous memory, in kB, of the rootlessports of this case and their children.
anonymous_memory() {
	sum=0
	for found in $(rootlessports); do
		for process in "$found" $(pgrep -P "$found" || true); do
			memory=$(podman unshare awk '/^Anonymous:/ { sum += $2 } END { print sum + 0 }' \
				"/proc/$process/smaps_rollup")
			sum=$((sum + memory))
		done
	done
	echo "$sum"
}

case_it_needs_a_fraction_of_the_memory() {
	[ -z "${ASAN_OPTIONS-}${TSAN_OPTIONS-}" ] || skip sanitizers 'they need memory'
	set_up_podman
	port=$(free_port)
	run_web web --network bridge -p "127.0.0.1:$port:80"
	await_page "$port"
	ours=$(anonymous_memory)
	podman rm -f -t 0 web
	helpers "$tmp/empty"
	run_web web --network bridge -p "127.0.0.1:$port:80"
	await_page "$port"
	theirs=$(anonymous_memory)
	echo "anonymous memory in kB: $ours, Podman's own program: $theirs"
	[ "$((ours * 4))" -lt "$theirs" ] || fail "$ours kB, Podman's own program needs $theirs kB"
}

run_cases \
	ports_of_a_bridge_network_are_published \
	ports_of_slirp4netns_with_its_port_handler_rootlesskit_are_published \
	other_networks_do_not_use_it \
	a_range_and_many_ports_are_published \
	a_port_clash_is_an_error_that_names_the_port \
	twenty_containers_start_and_stop_at_once \
	a_container_that_ends_at_once_leaves_nothing \
	a_pod_has_ports \
	the_commands_of_the_documentation_work \
	ports_follow_a_container_to_other_networks \
	a_killed_container_or_conmon_ends_its_ports \
	a_container_whose_rootlessport_was_killed_starts_again \
	it_needs_a_fraction_of_the_memory
