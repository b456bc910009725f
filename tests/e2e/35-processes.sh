#!/bin/sh
# Namespaces, PID 1, evacuation of cgroups, and job control at a terminal.
. "$(dirname "$0")/lib.sh"

# ---- namespaces ----

# new_namespaces OPTION...: prints the types of the command's namespaces that differ from ours
new_namespaces() {
	launch "$@" sh -c 'readlink /proc/self/ns/*'
	readlink /proc/self/ns/* | sort >"$tmp/ns"
	echo "$out" | sort | comm -13 "$tmp/ns" - | sed 's/:.*//' | sort -u | tr '\n' ' '
}

case_each_option_creates_one_namespace() {
	assert_eq 'no option' 'mnt user ' "$(new_namespaces)"
	assert_eq pidns 'mnt pid user ' "$(new_namespaces --pidns)"
	assert_eq cgroupns 'cgroup mnt user ' "$(new_namespaces --cgroupns)"
	assert_eq utsns 'mnt user uts ' "$(new_namespaces --utsns)"
	assert_eq ipcns 'ipc mnt user ' "$(new_namespaces --ipcns)"
	assert_eq 'net=none' 'mnt net user ' "$(new_namespaces --net=none)"
	assert_eq all 'cgroup ipc mnt net pid user uts ' \
		"$(new_namespaces --pidns --cgroupns --utsns --ipcns --net=none)"
	assert_eq off 'mnt user ' "$(new_namespaces --pidns=false --cgroupns=false --utsns=0 --ipcns=f)"
}

case_proc_shows_only_processes_of_the_PID_namespace() {
	for reaper in auto false; do
		# shellcheck disable=SC2016 # for the inner shell
		launch --pidns --reaper=$reaper sh -c 'cd /proc; echo [0-9]*; tr "\0" " " <1/cmdline; echo; echo $$ $PPID'
		out=$(printf '%s\n' "$out" | sed 's/ --workers=[0-9]*//')
		assert_eq output "$(printf '1 2\n/proc/self/exe --pidns --reaper=%s sh -c %s \n2 1' "$reaper" \
			'cd /proc; echo [0-9]*; tr "\0" " " <1/cmdline; echo; echo $$ $PPID')" "$out"
	done
	# The host's own /proc still shows its processes.
	kill -0 $$
	[ -e "/proc/$$" ] || fail "the host's /proc has changed"
}

case_utsns_gives_the_command_its_own_host_name() {
	before=$(uname -n)
	launch --utsns sh -c 'hostname inside.example && uname -n'
	assert_eq 'name inside' inside.example "$out"
	assert_eq 'name outside' "$before" "$(uname -n)"
	launch sh -c 'hostname inside.example'
	[ "$rc" -ne 0 ] || fail "without --utsns the command can set the host's name"
}

case_ipcns_gives_the_command_its_own_shared_memory() {
	need ipcmk
	launch --ipcns sh -c 'ipcmk -M 4096 >/dev/null && tail -n +2 /proc/sysvipc/shm | wc -l'
	assert_eq 'segments inside' 1 "$out"
	launch --ipcns sh -c 'ipcmk -M 4096 >/dev/null; exec sleep 0'
	# The segment disappeared with its namespace.
	assert_eq "the user's segments on the host" '' "$(tail -n +2 /proc/sysvipc/shm | awk -v u="$(id -u)" '$8 == u')"
}

case_cgroupns_shows_the_current_cgroup_as_root() {
	launch --cgroupns sh -c 'cut -d: -f3 /proc/self/cgroup | sort -u'
	assert_eq 'cgroups' / "$out"
	launch cat /proc/self/cgroup
	assert_eq 'cgroups without --cgroupns' "$(cat /proc/self/cgroup)" "$out"
}

# ---- PID 1 ----

case_exit_statuses_are_the_same_with_a_PID_namespace() {
	for reaper in auto false; do
		for status in 0 1 42 255; do
			launch --pidns --reaper=$reaper sh -c "exit $status"
			assert_eq status "$status" "$rc"
			[ "$status" -ne 0 ] || { assert_eq error '' "$err"; continue; }
			assert_eq error "[rootlesskit:child ] error: command [sh -c exit $status] exited: exit status $status
[rootlesskit:parent] error: child exited: exit status $status" "$err"
		done
		for signal in TERM:terminated KILL:killed; do
			launch --pidns --reaper=$reaper sh -c "kill -${signal%%:*} \$\$; sleep 5"
			assert_eq status 255 "$rc"
			assert_eq error "[rootlesskit:child ] error: command [sh -c kill -${signal%%:*} \$\$; sleep 5] exited: signal: ${signal#*:}
[rootlesskit:parent] error: child exited: exit status 255" "$err"
		done
	done
	launch --pidns nosuchcommand
	assert_eq error '[rootlesskit:child ] error: command [nosuchcommand] exited: exec: "nosuchcommand": executable file not found in $PATH
[rootlesskit:parent] error: child exited: exit status 1' "$err"
}

# The kernel does not deliver a signal to PID 1 that has no handler there.
case_signals_are_forwarded_through_PID_1() {
	for reaper in auto false; do
		for signal in INT TERM HUP QUIT USR1 USR2 CONT WINCH; do
			start --pidns --reaper=$reaper sh -c "$report_signals"
			wait_until 5 grep -q ready "$tmp/bg.out"
			send_signal "$signal" "$pid"
			wait_until 5 grep -q "got $signal" "$tmp/bg.out"
			finish
			assert_eq "status after $signal" 7 "$rc"
		done
		start --pidns --reaper=$reaper sleep 60
		stop
		assert_eq status 255 "$rc"
		assert_eq error '[rootlesskit:child ] error: command [sleep 60] exited: signal: terminated
[rootlesskit:parent] error: child exited: exit status 255' "$(cat "$tmp/bg.err")"
	done
}

case_signals_from_inside_are_forwarded_through_PID_1() {
	launch --pidns sh -c 'trap "echo got USR1; exit 0" USR1; kill -KILL 1; kill -USR1 1; sleep 5'
	assert_eq output 'got USR1' "$out"
	assert_eq status 0 "$rc"
}

# Starts twenty orphans and waits until none is left, not even as a zombie, for 10 s at most. Prints the
# session, and how many orphans are left. cat complains about processes that end meanwhile.
# shellcheck disable=SC2016 # for the inner shell
orphans='set -- $(sed "s/.*) //" /proc/$$/stat); echo "session $4"
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sh -c "sleep 0.01 &"; done
	tries=100
	while left=$(cat /proc/[0-9]*/status 2>/dev/null | grep -c "^State:.Z\|^Name:.sleep")
		[ "$left" -gt 0 ] && [ "$tries" -gt 0 ]; do
		tries=$((tries - 1))
		sleep 0.1
	done
	echo "$left"'

case_the_reaper_starts_a_session_and_reaps_orphans() {
	launch --pidns sh -c "$orphans"
	assert_eq output "$(printf 'session 2\n0')" "$out"
	launch --pidns --reaper=true sh -c "$orphans"
	assert_eq output "$(printf 'session 2\n0')" "$out"
	# Session 0 is one outside of the PID namespace.
	launch --pidns --reaper=false sh -c "$orphans"
	assert_eq output "$(printf 'session 0\n0')" "$out"
}

case_the_reaper_inherits_orphans_without_a_pid_namespace() {
	# shellcheck disable=SC2016 # for the inner shell
	orphan='sh -c "sleep 60 & echo \$!" >"$1"; read -r pid <"$1"
		set -- $(sed "s/.*) //" "/proc/$pid/stat"); echo "$([ "$2" = $PPID ] && echo ours || echo "parent $2")"
		kill -9 "$pid"; n=500; while [ -e "/proc/$pid" ] && [ $n -gt 0 ]; do n=$((n - 1)); sleep 0.02; done
		[ ! -e "/proc/$pid" ] || echo "still there"'
	launch --reaper=true sh -c "$orphan" - "$tmp/pid"
	assert_eq 'parent of an orphan' ours "$out$err"
	launch sh -c "$orphan" - "$tmp/pid"
	assert_match 'without the option' 'parent *' "$out$err"
}

# As in a container whose only process is the launcher.
case_a_launcher_that_is_PID_1_leaves_no_zombies() {
	launch_as_pid_1="unshare --user --map-root-user --pid --fork --mount-proc"
	# shellcheck disable=SC2086 # words
	out=$($launch_as_pid_1 rootlesskit --subid-source=self sh -c "$orphans" 2>"$tmp/err") || fail "$(cat "$tmp/err")"
	assert_eq 'orphans left' 0 "$(echo "$out" | tail -n 1)"
}

case_no_process_outlives_PID_1() {
	launch --pidns sh -c 'sleep 30 & setsid sleep 30 & echo started'
	assert_eq output started "$out"
	assert_eq status 0 "$rc"
	assert_eq 'left running' '' "$(pgrep -u "$(id -u)" -f "^sleep 30" | while read -r p; do
		tr '\0' '\n' <"/proc/$p/environ" | grep -x "E2E_CASE=$tmp"; done || true)"
}

case_child_pid_is_a_PID_of_the_host() {
	start --pidns --net=none --port-driver=builtin sleep 60
	assert_eq 'PIDs' "$(printf '%d\t1' "$child")" "$(sed -n 's/^NSpid:\t//p' "/proc/$child/status")"
	# nerdctl's set-up tool reads this variable from the child's environment.
	tr '\0' '\n' <"/proc/$child/environ" | grep -qx "ROOTLESSKIT_STATE_DIR=$state" ||
		fail 'the child has no ROOTLESSKIT_STATE_DIR'
	assert_match 'API' "*\"childPID\":$child,*" "$(api_get info)"
	# nsenter(1) can enter all namespaces by this PID.
	assert_match 'processes inside' '*sleep 60*' \
		"$(nsenter --preserve-credentials -U -m -n -p -t "$child" ps -e -o args)"
	stop
}

case_ports_work_in_a_PID_namespace() {
	make_page 'hello from inside'
	port=$(free_port)
	start --pidns --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" \
		busybox httpd -f -p 80 -h "$tmp/www"
	wait_until 5 fetch "http://127.0.0.1:$port/"
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
	stop
	port=$(free_port)
	# shellcheck disable=SC2016 # for the inner shell
	start --pidns --net=none --detach-netns --port-driver=builtin -p "127.0.0.1:$port:80/tcp" \
		sh -c 'exec nsenter --net="$ROOTLESSKIT_STATE_DIR/netns" busybox httpd -f -p 80 -h "$0"' "$tmp/www"
	wait_until 5 fetch "http://127.0.0.1:$port/"
	assert_eq page 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
	stop
}

case_LISTEN_PID_is_a_PID_of_the_new_namespace() {
	exec 3<"$here/lib.sh"
	# shellcheck disable=SC2016 # for the inner shells
	LISTEN_FDS=1 sh -c 'LISTEN_PID=$$ exec rootlesskit --pidns sh -c "echo \$LISTEN_PID \$\$; readlink /proc/\$\$/fd/3"' >"$tmp/out"
	assert_eq output "$(printf '2 2\n%s' "$here/lib.sh")" "$(cat "$tmp/out")"
}

case_the_command_inherits_limits_and_ignored_signals_in_a_PID_namespace() {
	ulimit -Sn 512
	trap '' USR2
	before=$(limits_and_signals env)
	assert_match 'limits and signals' '512*SigIgn*[1-9a-f]*' "$before"
	for reaper in auto false; do
		assert_eq "limits and signals with --reaper=$reaper" "$before" \
			"$(limits_and_signals rootlesskit --pidns --reaper=$reaper)"
	done
}

case_killing_parent_PID_1_or_command_ends_everything() {
	for whom in parent child command; do
		start --pidns --cgroupns --utsns --ipcns --net=none --port-driver=builtin sh -c 'sleep 60 & sleep 60'
		all=$(pgrep -P "$child")
		all="$all $(pgrep -P "$(echo "$all" | head -n 1)" | tr '\n' ' ')"
		case $whom in
		parent) send_signal KILL "$pid" ;;
		child) send_signal KILL "$child" ;;
		command) send_signal KILL "$(pgrep -P "$child")" ;;
		esac
		for p in $child $all; do
			wait_until 5 has_ended "$p"
		done
		await_end "$pid"
		case $whom in
		parent) continue ;;
		child) assert_eq error '[rootlesskit:parent] error: child exited: signal: killed' "$(cat "$tmp/bg.err")" ;;
		command) assert_match error '*exited: signal: killed*' "$(cat "$tmp/bg.err")" ;;
		esac
		assert_eq status 255 "$rc"
		[ ! -e "$state" ] || fail 'the state directory is still there'
	done
}

# masked HIDING OPTIONS... COMMAND: runs a launcher in a mount namespace, after the script HIDING has masked
# files there. Container engines and systemd's ProtectKernelTunables= mask files of /proc and /sys.
masked() {
	hiding=$1
	shift
	rc=0
	# shellcheck disable=SC2016 # for the inner shell
	unshare -rmpf --mount-proc sh -c "set -e; $hiding;"' exec rootlesskit --subid-source=self "$@"' - "$@" \
		>"$tmp/out" 2>"$tmp/err" || rc=$?
	out=$(cat "$tmp/out")
	err=$(cat "$tmp/err")
}
hidden='mount --bind /dev/null /proc/version; mount -t tmpfs none /proc/tty -o ro'
tunables='mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys'
# The kernel permits a new proc if another proc is mounted, with the same flags and nothing masked. Here
# that other proc is read-only.
read_only='mount -t proc -o ro none "$tmp/proc"; '$hidden

case_with_a_masked_proc_the_outer_proc_stays() {
	for hiding in "$hidden" "$tunables"; do
		# shellcheck disable=SC2016 # for the inner shell
		masked "$hiding" --pidns sh -c 'echo $$; cat /proc/self/comm; [ ! -e /proc/version ] || wc -c </proc/version
			[ "$(readlink /proc/self)" != $$ ] && echo outer'
		assert_eq "status with $hiding" 0 "$rc"
		assert_match "output with $hiding" '2
cat
*
outer' "$out"
		assert_match "warning with $hiding" '*level=warning msg="\[rootlesskit:child \] mounting proc on /proc: operation not permitted; /proc still shows the outer PID namespace.*systempaths=unconfined*"' "$err"
	done
}

case_with_a_read_only_proc_the_new_proc_is_read_only() {
	mkdir "$tmp/proc"
	export tmp
	masked "$read_only" --pidns sh -c 'readlink /proc/self
		awk "\$5 == \"/proc\" { print \$6 }" /proc/self/mountinfo | tail -n 1; exec 2>/dev/null; echo x >/proc/sys/kernel/hostname'
	assert_match output '3
ro,nosuid,nodev,noexec,relatime' "$out"
	assert_match warning '*level=warning msg="\[rootlesskit:child \] a new proc may only be mounted read-only on /proc: operation not permitted"*' "$err"
}

# /proc shows the outer PID namespace there, so the launcher must use outer PIDs in paths of /proc.
case_with_a_masked_proc_everything_else_works() {
	need_slirp4netns
	port=$(free_port)
	make_page 'hello from inside'
	mkdir "$tmp/dir"
	for options in --net=none '--net=none --detach-netns' '--net=slirp4netns --disable-host-loopback' \
		'--net=slirp4netns --disable-host-loopback --detach-netns'; do
		for reaper in auto false; do
			state=$tmp/state
			# shellcheck disable=SC2016,SC2086 # for the inner shells; options
			unshare -rm sh -c "set -e; $hidden; $tunables;"' exec rootlesskit --subid-source=self "$@"' - \
				--pidns --cgroupns --ipcns --utsns --reaper=$reaper --state-dir="$state" $options --copy-up=/etc --copy-up="$tmp/dir" \
				--port-driver=builtin -p "127.0.0.1:$port:80/tcp" sh -c '
					[ ! -e "$ROOTLESSKIT_STATE_DIR/netns" ] || set -- nsenter --net="$ROOTLESSKIT_STATE_DIR/netns"
					exec "$@" busybox httpd -f -p 80 -h "$0"' "$tmp/www" >"$tmp/bg.out" 2>"$tmp/bg.err" &
			pid=$!
			wait_ready
			wait_until 5 fetch "http://127.0.0.1:$port/"
			assert_eq "page with $options" 'hello from inside' "$(fetch "http://127.0.0.1:$port/")"
			stop
			assert_eq "status with $options" 255 "$rc"
		done
	done
	# shellcheck disable=SC2016 # for the inner shells
	masked "$hidden" --pidns sh -c 'sleep 60 >/dev/null 2>&1 & kill -TERM $$; sleep 5'
	assert_match 'error after the end by a signal' '*exited: signal: terminated*' "$err"
	exec 3<"$here/lib.sh"
	# shellcheck disable=SC2016 # for the inner shells
	LISTEN_FDS=1 unshare -rm sh -c "set -e; $hidden;"' export LISTEN_PID=$$
		exec rootlesskit --subid-source=self --pidns sh -c "echo \$LISTEN_PID \$\$"' >"$tmp/out" 2>/dev/null
	assert_eq LISTEN_PID '2 2' "$(cat "$tmp/out")"
}

case_with_a_masked_sys_the_outer_sysfs_stays() {
	[ -d /sys/kernel ] || skip sysfs 'there is no /sys/kernel'
	for options in --net=none '--net=none --pidns'; do
		# shellcheck disable=SC2086 # options
		masked 'mount -t tmpfs none /sys/kernel -o ro' $options sh -c 'ls /sys/kernel; ip -o link | wc -l'
		assert_eq "output with $options" 1 "$out"
		assert_match "warning with $options" '*level=warning msg="\[rootlesskit:child \] mounting sysfs on /sys: operation not permitted; /sys still shows the outer network namespace.*"' "$err"
	done
	masked 'mount -o remount,ro,bind /sys' --net=none ls /sys/class/net
	assert_eq 'interfaces in a read-only sysfs' lo "$out"
	assert_match 'warning about a read-only sysfs' '*a new sysfs may only be mounted read-only on /sys: operation not permitted"*' "$err"
}

# ---- cgroups ----

# Creates a cgroup below the one that tests/run.sh has delegated to us. Sets `group` to it. The program
# in_cgroup runs a command there.
make_cgroup() {
	[ -n "${CGROUP-}" ] ||
		skip cgroup2 'no cgroup is delegated to us; try "systemd-run --user --scope -p Delegate=yes make check"'
	group=$CGROUP/${tmp##*/}
	mkdir "$group"
	mkdir "$tmp/in"
	# 0 means the process that writes it.
	printf '#!/bin/sh\necho 0 >%s/cgroup.procs\nexec "$@"\n' "$group" >"$tmp/in/in_cgroup"
	chmod +x "$tmp/in/in_cgroup"
	PATH=$tmp/in:$PATH
}
evacuating='--cgroupns --pidns --evacuate-cgroup2=evac'

case_evacuation_frees_the_cgroup_for_controllers() {
	make_cgroup
	# shellcheck disable=SC2086,SC2016 # options; for the inner shell
	in_cgroup rootlesskit $evacuating --net=none sh -c 'grep ^0: /proc/self/cgroup
		cd /sys/fs/cgroup
		echo "enabled: $(cat cgroup.subtree_control)"
		echo "in it: $(cat cgroup.procs)"
		mkdir pod && echo "in pod: $(cat pod/cgroup.controllers)"
		echo $$ >pod/cgroup.procs && grep ^0: /proc/self/cgroup
		echo $$ >evac/cgroup.procs && rmdir pod
		grep -qx 1 evac/cgroup.procs && echo PID 1 is in evac
		echo 0 >$0 && echo bad' "$group/cgroup.procs" >"$tmp/out" 2>"$tmp/err" || true
	controllers=$(cat "$CGROUP/cgroup.subtree_control")
	assert_eq output "0::/evac
enabled: $controllers
in it: 
in pod: $controllers
0::/pod
PID 1 is in evac" "$(cat "$tmp/out")"
	# The launcher has undone everything.
	[ ! -e "$group/evac" ] || fail 'the subgroup is left'
	assert_eq 'enabled controllers afterwards' '' "$(cat "$group/cgroup.subtree_control")"
	rmdir "$group"
}

case_evacuation_moves_all_processes_and_moves_them_back() {
	make_cgroup
	in_cgroup sleep 60 &
	other=$!
	wait_until 5 grep -qx "$other" "$group/cgroup.procs"
	state=$tmp/state
	# shellcheck disable=SC2086 # options
	in_cgroup rootlesskit --state-dir="$state" $evacuating sleep 60 2>"$tmp/bg.err" &
	pid=$!
	wait_ready
	assert_eq 'processes in the cgroup' '' "$(cat "$group/cgroup.procs")"
	for p in "$other" "$pid" "$child" "$(pgrep -P "$child")"; do
		grep -qx "$p" "$group/evac/cgroup.procs" || fail "$p is not in evac"
	done
	stop
	assert_eq 'processes in the cgroup afterwards' "$other" "$(cat "$group/cgroup.procs")"
	end_process "$other"
	wait_until 5 rmdir "$group"
}

case_evacuation_into_an_existing_group_keeps_the_group() {
	make_cgroup
	mkdir "$group/evac"
	# shellcheck disable=SC2086 # options
	in_cgroup rootlesskit $evacuating sh -c 'ls -d /sys/fs/cgroup/evac; grep ^0: /proc/self/cgroup' >"$tmp/out"
	assert_eq output "$(printf '/sys/fs/cgroup/evac\n0::/evac')" "$(cat "$tmp/out")"
	[ -e "$group/evac" ] || fail 'the launcher has removed a group that it had not created'
	rmdir "$group/evac" "$group"
}

case_a_failed_start_undoes_the_evacuation() {
	need_slirp4netns
	make_cgroup
	rc=0
	# shellcheck disable=SC2086 # options
	in_cgroup rootlesskit $evacuating --net=slirp4netns --slirp4netns-binary=/bin/false true 2>"$tmp/err" || rc=$?
	assert_eq status 1 "$rc"
	assert_match error '*slirp4netns*' "$(grep error: "$tmp/err")"
	rmdir "$group" || fail 'something is left in the cgroup'
}

case_evacuating_a_cgroup_of_another_user_is_an_error() {
	grep -q ' - cgroup2 ' /proc/self/mountinfo || skip cgroup2 'no cgroup2 hierarchy is mounted'
	if [ -n "${CGROUP-}" ]; then
		# a cgroup that we may not write to
		make_cgroup
		chmod 555 "$group"
	fi
	rc=0
	# shellcheck disable=SC2086 # options
	if [ -n "${CGROUP-}" ]; then
		in_cgroup rootlesskit $evacuating true 2>"$tmp/err" || rc=$?
		chmod 755 "$group"
		rmdir "$group"
	else
		rootlesskit $evacuating true 2>"$tmp/err" || rc=$?
	fi
	assert_eq status 1 "$rc"
	assert_match error '\[rootlesskit:parent\] error: mkdir /*/evac: permission denied; this cgroup is not delegated to this user; try `systemd-run --user --scope -p Delegate=yes rootlesskit ...`, Delegate=yes in the service, or no --evacuate-cgroup2' "$(cat "$tmp/err")"
	assert_eq 'temporary state directories' '' "$(find "$tmp" -name 'rootlesskit*')"
}

case_evacuation_without_a_cgroup2_hierarchy_is_a_warning() {
	# After unshare -C, no mount shows the root of the new cgroup namespace, unless that is the root
	# of the hierarchy.
	grep -q '^0::/.' /proc/self/cgroup || make_cgroup
	# shellcheck disable=SC2086 # options
	${group:+in_cgroup} unshare -rmC rootlesskit --subid-source=self $evacuating sh -c 'grep ^0: /proc/self/cgroup' \
		>"$tmp/out" 2>"$tmp/err"
	assert_eq output 0::/ "$(cat "$tmp/out")"
	assert_match warning '*level=warning*--evacuate-cgroup2=evac: *nothing is moved*' "$(cat "$tmp/err")"
	[ -z "${group-}" ] || rmdir "$group"
}

case_the_options_of_k3s_and_usernetes_work_together() {
	need_slirp4netns
	make_cgroup
	state=$tmp/state
	port=$(free_port)
	# shellcheck disable=SC2086 # options
	in_cgroup rootlesskit --state-dir "$state" --net=slirp4netns --disable-host-loopback \
		--port-driver=builtin --cgroupns --pidns --ipcns --utsns --evacuate-cgroup2=k3s_evac \
		--cidr=10.0.42.0/24 --slirp4netns-sandbox=true --mtu=1500 \
		--copy-up=/etc --copy-up=/var/run --copy-up=/run --copy-up=/var/lib \
		sh -c 'hostname node && uname -n; grep ^0: /proc/self/cgroup; ip -4 -o addr show tap0
			cat /sys/class/net/tap0/mtu; grep nameserver /etc/resolv.conf
			touch /etc/new /var/lib/new /run/new && ls -d /sys/fs/cgroup/k3s_evac
			exec sleep 60' >"$tmp/bg.out" 2>"$tmp/bg.err" &
	pid=$!
	wait_ready
	wait_until 5 grep -q k3s_evac "$tmp/bg.out"
	wait_until 5 grep -q /sys/fs/cgroup "$tmp/bg.out"
	assert_match output 'node
0::/k3s_evac
*inet 10.0.42.100/24 *
1500
nameserver 10.0.42.3
/sys/fs/cgroup/k3s_evac' "$(cat "$tmp/bg.out")"
	make_page 'hello from inside'
	rootlessctl --socket "$state/api.sock" add-ports "127.0.0.1:$port:10250/tcp" >/dev/null
	nsenter --preserve-credentials -U -m -n -t "$child" busybox httpd -f -p 10250 -h "$tmp/www" &
	server=$!
	wait_until 5 fetch "http://127.0.0.1:$port/"
	send_signal TERM "$server"
	stop
	wait_until 5 rmdir "$group"
}

# Runs a case by run.sh as a plain user in a delegated cgroup, as `systemd-run -p Delegate=yes make check`
# does.
case_run_sh_uses_a_cgroup_that_is_delegated_to_a_plain_user() {
	make_cgroup
	mkdir "$tmp/build"
	ln -s "$BUILD/rlkbox" "$BUILD/tools" "$tmp/build"
	(
		cd "$here/../.."
		TESTS=35-processes CASES=evacuation_frees_the_cgroup_for_controllers in_cgroup \
			env -u CGROUP sh tests/run.sh "$tmp/build" e2e
	) >"$tmp/out" || true
	assert_eq 'the count of run.sh' '1 passed, 0 failed, 0 skipped' "$(tail -n 1 "$tmp/out")"
	rmdir "$group" || fail 'something is left in the cgroup'
}

# ---- the terminal ----

# terminal PROGRAM ARGUMENTS...: runs a program in a terminal, by a script of terminal.py on standard
# input. Without LeakSanitizer: when a process ends, LeakSanitizer stops it by ptrace(2). If a SIGCONT
# arrives at that moment, from `fg` or a hangup, that stop never happens, and the process waits for it
# forever.
terminal() {
	need python3
	need bash
	ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS-}" PS1='outer> ' INPUTRC=/dev/null TERM=dumb HISTFILE='' \
		python3 "$here/terminal.py" "$@" || fail 'see above'
}

# Options with which the command stays in the session of the terminal, separated by |.
same_session='--reaper=auto|--pidns --reaper=false'

case_Ctrl_Z_stops_the_launcher_and_fg_continues_it() {
	old=$IFS
	IFS='|'
	for options in $same_session; do
		IFS=$old
		# The terminal echoes what is typed, so the text to wait for must differ from it:
		# go$((0+1)). When it appears, the shell has started the program. Before, in the middle of
		# vfork(2), a shell cannot be stopped, with or without a launcher.
		terminal bash --norc -i <<-EOF
			expect outer>
			line rootlesskit $options sh -c 'echo go\$((0+1)); exec cat'
			expect go1
			send \x1a
			expect Stopped
			expect outer>
			line ps -o stat= -p \$(jobs -p %1)
			expect T
			expect outer>
			line fg
			expect cat
			line word
			expect word
			expect word
			send \x04
			expect outer>
			line echo rc=\$?
			expect rc=0
			line rootlesskit $options sh -c 'echo go\$((0+1)); exec cat'
			expect go1
			send \x1a
			expect Stopped
			expect outer>
			line bg
			expect outer>
			line until jobs | grep Stopp; do sleep 0.1; done
			expect Stopped
			expect outer>
			line fg
			expect cat
			send \x04
			expect outer>
			line echo rc=\$?
			expect rc=0
			line exit
			end 0
		EOF
	done
}

case_a_background_launcher_that_reads_the_terminal_stops() {
	terminal bash --norc -i <<-'EOF'
		expect outer>
		line rootlesskit cat &
		expect outer>
		line until jobs | grep Stopp; do sleep 0.1; done
		expect Stopped
		expect outer>
		line fg
		expect cat
		line word
		expect word
		expect word
		send \x03
		expect signal: interrupt
		expect outer>
		line echo rc=$?
		expect rc=255
		line exit
		end 0
	EOF
}

case_a_shell_inside_has_job_control() {
	old=$IFS
	IFS='|'
	for options in $same_session; do
		IFS=$old
		terminal bash --norc -i <<-EOF
			expect outer>
			line PS1='inner> ' rootlesskit $options bash --norc -i
			expect inner>
			never cannot set
			never no job control
			line sh -c 'echo run\$((0+1)); exec cat'
			expect run1
			send \x1a
			expect Stopped
			expect inner>
			line fg
			expect cat
			line word
			expect word
			expect word
			send \x03
			expect inner>
			line echo rc=\$?
			expect rc=130
			expect inner>
			line suspend
			expect Stopped
			expect outer>
			line fg
			expect rootlesskit
			line echo back\$((1+1))
			expect back2
			expect inner>
			line exit 4
			expect exit status 4
			expect outer>
			line PS1='inner> ' rootlesskit $options bash --norc -i
			expect inner>
			line kill -STOP \$\$
			expect Stopped
			expect outer>
			line fg
			expect rootlesskit
			line echo back\$((1+2))
			expect back3
			expect inner>
			line exit 5
			expect exit status 5
			expect outer>
			line echo rc=\$?
			expect rc=5
			line exit
			end 0
		EOF
	done
}

case_signals_of_the_terminal_arrive_once() {
	need python3
	for options in '' '--pidns --reaper=false' --pidns; do
		# shellcheck disable=SC2086 # options
		terminal rootlesskit $options python3 "$here/../tools/countsignals.py" <<-'EOF'
			expect ready
			send \x03
			expect ^C
			send \x1c
			expect ^\\
			size 33 99
			line
			expect SIGINT:1 SIGQUIT:1 SIGWINCH:1 counted
			end 0
		EOF
	done
}

case_Ctrl_C_ends_the_command() {
	for options in '' '--pidns --reaper=false' --pidns; do
		# shellcheck disable=SC2086 # options
		terminal rootlesskit $options sh -c 'echo ready; exec sleep 60' <<-'EOF'
			expect ready
			send \x03
			expect exited: signal: interrupt
			end 255
		EOF
	done
}

case_closing_the_terminal_ends_everything() {
	for options in '' '--pidns --reaper=false' --pidns; do
		# shellcheck disable=SC2086 # options
		terminal rootlesskit $options sh -c 'echo ready; exec sleep 60' <<-'EOF'
			expect ready
			hangup
			end 255
		EOF
	done
}

# With the reaper, the command has a session of its own, as in RootlessKit.
case_with_the_reaper_the_command_has_no_terminal() {
	terminal rootlesskit --pidns sh -c 'ps -o tty= -p $$; (: </dev/tty); echo over; read x; echo $x' <<-'EOF'
		expect ?
		expect /dev/tty
		expect over
		line typed
		expect typed
		end 0
	EOF
}

case_Ctrl_Z_during_the_start_stops_the_launcher() {
	need_slirp4netns
	make_waiting "$tmp/slow" slirp4netns
	terminal bash --norc -i <<-EOF
		expect outer>
		line rootlesskit --debug --net=slirp4netns --disable-host-loopback --slirp4netns-binary=$tmp/slow sh -c 'echo go\$((0+1))'
		expect slow --mtu
		send \x1a
		expect Stopped
		expect outer>
		line touch $tmp/go; fg
		expect go1
		expect outer>
		line exit
		end 0
	EOF
}

# Another process stops and continues the command. The shell then shows the launcher as stopped and running.
case_stopping_and_continuing_the_command_does_the_same_to_the_launcher() {
	old=$IFS
	IFS='|'
	for options in $same_session; do
		IFS=$old
		terminal bash --norc -i <<-EOF
			expect outer>
			line rootlesskit --state-dir=$tmp/state $options sh -c 'echo go\$((0+1)); while :; do sleep 0.1; done' &
			expect go1
			line C=\$(cat $tmp/state/child_pid); kill -STOP \$(pgrep -P \$C -x sh)
			expect outer>
			line until jobs | grep Stopp; do sleep 0.1; done
			expect Stopped
			expect outer>
			line kill -CONT \$(pgrep -P \$C -x sh); until jobs | grep Runn; do sleep 0.1; done
			expect Running
			expect outer>
			line kill -STOP \$(pgrep -P \$C -x sh)
			line until jobs | grep Stopp; do sleep 0.1; done
			expect Stopped
			expect outer>
			line kill -KILL \$(pgrep -P \$C -x sh)
			expect exited: signal: killed
			expect exited: exit status 255
			line while [ -e $tmp/state ]; do sleep 0.1; done; echo do''ne
			expect done
			expect outer>
			line exit
			end 0
		EOF
		[ ! -e "$tmp/state" ] || fail 'the state directory is left'
	done
}

# Without a terminal no shell would continue the launcher, so it goes on serving ports.
case_without_a_terminal_the_launcher_never_stops() {
	for options in '' --pidns; do
		state=$tmp/state
		# shellcheck disable=SC2086 # options
		setsid rootlesskit --state-dir="$state" $options sleep 60 2>"$tmp/bg.err" &
		pid=$!
		wait_ready
		command=$(pgrep -P "$child")
		for try in 1 2 3; do
			kill -STOP "$command"
			wait_until 5 grep -q '^State:	T' "/proc/$command/status"
			for n in 1 2 3 4 5 6 7 8 9 10; do
				api_get info >"$tmp/info" ||
					fail "no answer $try.$n while the command is stopped"
			done
			# running or sleeping, not stopped
			assert_match 'state of the parent' 'State:?[SRD] *' "$(grep ^State "/proc/$pid/status")"
			kill -CONT "$command"
			wait_until 5 grep -q '^State:	S' "/proc/$command/status"
		done
		stop
		assert_eq status 255 "$rc"
	done
}

run_cases \
	each_option_creates_one_namespace \
	proc_shows_only_processes_of_the_PID_namespace \
	utsns_gives_the_command_its_own_host_name \
	ipcns_gives_the_command_its_own_shared_memory \
	cgroupns_shows_the_current_cgroup_as_root \
	exit_statuses_are_the_same_with_a_PID_namespace \
	signals_are_forwarded_through_PID_1 \
	signals_from_inside_are_forwarded_through_PID_1 \
	the_reaper_starts_a_session_and_reaps_orphans \
	the_reaper_inherits_orphans_without_a_pid_namespace \
	a_launcher_that_is_PID_1_leaves_no_zombies \
	no_process_outlives_PID_1 \
	child_pid_is_a_PID_of_the_host \
	ports_work_in_a_PID_namespace \
	LISTEN_PID_is_a_PID_of_the_new_namespace \
	the_command_inherits_limits_and_ignored_signals_in_a_PID_namespace \
	killing_parent_PID_1_or_command_ends_everything \
	with_a_masked_proc_the_outer_proc_stays \
	with_a_read_only_proc_the_new_proc_is_read_only \
	with_a_masked_proc_everything_else_works \
	with_a_masked_sys_the_outer_sysfs_stays \
	evacuation_frees_the_cgroup_for_controllers \
	evacuation_moves_all_processes_and_moves_them_back \
	evacuation_into_an_existing_group_keeps_the_group \
	a_failed_start_undoes_the_evacuation \
	evacuating_a_cgroup_of_another_user_is_an_error \
	evacuation_without_a_cgroup2_hierarchy_is_a_warning \
	the_options_of_k3s_and_usernetes_work_together \
	run_sh_uses_a_cgroup_that_is_delegated_to_a_plain_user \
	Ctrl_Z_stops_the_launcher_and_fg_continues_it \
	a_background_launcher_that_reads_the_terminal_stops \
	a_shell_inside_has_job_control \
	signals_of_the_terminal_arrive_once \
	Ctrl_C_ends_the_command \
	closing_the_terminal_ends_everything \
	with_the_reaper_the_command_has_no_terminal \
	Ctrl_Z_during_the_start_stops_the_launcher \
	stopping_and_continuing_the_command_does_the_same_to_the_launcher \
	without_a_terminal_the_launcher_never_stops
