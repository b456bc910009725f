# shellcheck shell=sh
# shellcheck disable=SC2016,SC2034,SC2086,SC2154 # scripts for the shell inside stand in single quotes;
# variables are shared with compare.sh; $BUILTIN and $NETWORK are lists of options
# For compare.sh: mounts, the network, new namespaces and the reaper.

GROUPS_OF_BEHAVIOURS="$GROUPS_OF_BEHAVIOURS mounts network namespace"
# RootlessKit 1.1.0 does not have this network.
[ "$EXPECTED" = expected-1.1.0 ] || GROUPS_OF_BEHAVIOURS="$GROUPS_OF_BEHAVIOURS gvisor"

# ---- mounts ----

# The type, mode and entries of a copied-up directory. The entries are links into .ro*, or copies of links.
see_copy_up() {
	find "$1" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort >outside
	cat >look <<'EOF'
cd "$1"
stat -f -c %T .
stat -c '%a %U' .
find . -mindepth 1 -maxdepth 1 ! -name '.ro*' -printf '%f\n' | sort | cmp - "$2/outside" && echo "the same entries"
find . -mindepth 1 -maxdepth 1 -printf '%y %f %l\n' | sed -e 's/^d \.ro.*/aside/' \
	-e 's|^l \(.*\) \.ro[^/]*/\1$|a link to what it was|' | sort | uniq -c |
	sed 's/^ *//; s/^[0-9]\{2,\} /many /'
touch new && mkdir dir && rm -f hostname && ls -d new dir hostname 2>&1
grep " $1" /proc/self/mountinfo | cut -d' ' -f 5-6 | sort
EOF
	rk --copy-up="$1" sh look "$1" "$tmp"
	ls -d "$1/new" "$1/hostname" 2>&1
}

see_propagation() {
	rk "--propagation=$1" findmnt -n -o PROPAGATION /
}

# see_mounts OPTION...: mount points that are only inside or only outside, and what /sys shows
see_mounts() {
	cut -d' ' -f 5 /proc/self/mountinfo | sort >outside
	when_ready 'cut -d" " -f 5 /proc/self/mountinfo | sort | diff outside - | grep "^[<>]"
		stat -f -c "/sys: %T" /sys; ls /sys/class/net | tr "\n" " "
		ls /sys/fs/cgroup | wc -l | sed "s/^0\$/no cgroups/; s/^[1-9].*/cgroups/"' "$@"
}

group_mounts() {
	for dir in /etc /run /var/lib; do
		see "copy-up$(echo "$dir" | tr / -)" see_copy_up "$dir"
	done
	see copy-up-list rk --copy-up=/etc,/run --copy-up=/var/lib stat -f -c %T /etc /run /var/lib
	see copy-up-slash rk --copy-up=/etc/ sh -c 'stat -f -c %T /etc; mkdir /etc/new'
	for kind in private rprivate slave rslave; do
		see "propagation-$kind" see_propagation "$kind"
	done
	see mounts see_mounts
	see mounts-network see_mounts --net=slirp4netns --disable-host-loopback
	see mounts-network-copy-up see_mounts $NETWORK
}

# ---- the network of slirp4netns ----

# Describes the network, as soon as the interface has its IPv6 address, or after 5 s.
LOOK='tries=0
	until ip -br addr show dev "${IF:-tap0}" | grep -q "UP.*fe80" || [ $tries -eq 100 ]; do
		tries=$((tries + 1)); sleep 0.05
	done
	ip -br addr; ip route; ip -o link show "${IF:-tap0}" | sed "s/.*\(mtu [0-9]*\).*/\1/"
	ls -l /etc/resolv.conf /etc/hosts | cut -c 1-10
	cat /etc/resolv.conf; sed "s/$(hostname)/HOST/g" /etc/hosts
	grep -o " /etc/[a-z.]* " /proc/self/mountinfo | grep -v " /etc/[.]ro" | sort
	ls /sys/class/net'

see_network_processes() {
	begin --net=slirp4netns --disable-host-loopback --copy-up=/etc --slirp4netns-sandbox=auto \
		--slirp4netns-seccomp=auto sleep 600
	# shellcheck disable=SC2009 # pgrep does not print arguments alone
	ps -o args= --ppid "$pid" | grep slirp4netns | sed 's/.*slirp4netns/slirp4netns/' |
		grep -v -e sleep | sed 's/ -e [0-9]*//'
	rootlessctl --socket="$sock" info
	finish
}

# see_listeners PORT: prints the sockets of the host that listen on the port. While other sockets come and go, the
# kernel may list one of them twice, with the same inode number.
see_listeners() {
	hex=$(printf ':%04X' "$1")
	for table in tcp tcp6 udp udp6; do
		awk -v end="$hex" -v table="$table" '
			substr($2, length($2) - 4) == end && $3 ~ /^0*:0000$/ && !seen[$10]++ {
				print table, substr($2, 1, length($2) - 5)
			}' "/proc/net/$table"
	done
}

# With this driver, slirp4netns itself listens.
see_driver() {
	begin --net=slirp4netns --disable-host-loopback --copy-up=/etc --port-driver=slirp4netns \
		-p "127.0.0.1:$p1:80/tcp" busybox httpd -f -p 80 -h "$tmp"
	rootlessctl --socket="$sock" info | sed "s/$child/CHILD/"
	rootlessctl --socket="$sock" add-ports "127.0.0.1:$p2:81/udp" "127.0.0.1:$p1:82/tcp"
	rootlessctl --socket="$sock" list-ports | sort -n
	see_listeners "$p1"
	see_listeners "$p2"
	echo hello >index.html
	wait_for curl -s --max-time 2 "http://127.0.0.1:$p1/"
	curl -s --max-time 5 "http://127.0.0.1:$p1/"
	rootlessctl --socket="$sock" remove-ports 1
	see_listeners "$p1"
	list_state
	finish
}

group_network() {
	pick_ports 2
	set -- --net=slirp4netns --disable-host-loopback
	see network rk --net=slirp4netns sh -c "$LOOK"
	see network-copy-up rk "$@" --copy-up=/etc sh -c "$LOOK"
	see network-mtu rk "$@" --mtu=1400 --copy-up=/etc sh -c "$LOOK"
	see network-cidr rk "$@" --cidr=10.9.0.0/16 --copy-up=/etc sh -c "$LOOK"
	see network-ifname rk "$@" --ifname=foo0 --copy-up=/etc env IF=foo0 sh -c "$LOOK"
	see network-sandbox rk "$@" --slirp4netns-sandbox=true --slirp4netns-seccomp=true --copy-up=/etc \
		sh -c "$LOOK"
	see network-processes see_network_processes
	see network-ipv6 rk "$@" --ipv6 --copy-up=/etc sh -c 'cat /etc/resolv.conf'
	see network-cidr-small rk "$@" --cidr=10.9.0.0/30 true
	see driver-slirp4netns see_driver
	see driver-slirp4netns-conflict rk "$@" --copy-up=/etc --port-driver=slirp4netns \
		-p "127.0.0.1:$p1:80/tcp" -p "127.0.0.1:$p1:81/tcp" true
}

# ---- the network gvisor-tap-vsock ----

# rk_gvisor OPTION... COMMAND...: without the error that RootlessKit logs at each end
rk_gvisor() {
	result=0
	rk --net=gvisor-tap-vsock "$@" 2>"$tmp/gvisor.err" || result=$?
	grep -v 'cannot receive packets from @' "$tmp/gvisor.err" >&2
	return "$result"
}

see_gvisor_ports() {
	begin --net=gvisor-tap-vsock --port-driver=gvisor-tap-vsock --copy-up=/etc -p "127.0.0.1:$p1:80/tcp" \
		busybox httpd -f -p 80 -h "$tmp"
	rootlessctl --socket="$sock" info --json | tr ',' '\n' | grep -o '"driver".*'
	rootlessctl --socket="$sock" add-ports "127.0.0.1:$p2:81/udp"
	see_listeners "$p1"
	see_listeners "$p2"
	echo hello >index.html
	wait_for curl -s --max-time 2 "http://127.0.0.1:$p1/"
	curl -s --max-time 5 "http://127.0.0.1:$p1/"
	rootlessctl --socket="$sock" remove-ports 1 2
	see_listeners "$p1"
	see_listeners "$p2"
	finish
}

see_gvisor_info() {
	begin --net=gvisor-tap-vsock --port-driver=gvisor-tap-vsock --copy-up=/etc sleep 600
	rootlessctl --socket="$sock" info
	finish
}

group_gvisor() {
	pick_ports 2
	see gvisor-network rk_gvisor sh -c "$LOOK"
	see gvisor-mtu rk_gvisor --mtu=1400 sh -c "$LOOK"
	see gvisor-cidr rk_gvisor --cidr=10.9.0.0/16 sh -c "$LOOK"
	see gvisor-ifname rk_gvisor --ifname=foo0 env IF=foo0 sh -c "$LOOK"
	see gvisor-mtu-large rk_gvisor --mtu=65522 true
	see gvisor-ifname-slash rk_gvisor --ifname=a/b true
	see gvisor-driver-unknown rk_gvisor --port-driver=foo true
	see gvisor-driver-slirp4netns rk_gvisor --port-driver=slirp4netns true
	see gvisor-driver-implicit rk_gvisor --port-driver=implicit true
	see gvisor-driver-builtin rk_gvisor --port-driver=builtin sh -c "$AWAIT_API"
	see gvisor-driver-host rk --port-driver=gvisor-tap-vsock true
	see gvisor-driver-none rk --net=none --port-driver=gvisor-tap-vsock true
	see gvisor-publish-no-driver rk_gvisor -p 127.0.0.1:18001:80/tcp true
	see gvisor-end rk --net=gvisor-tap-vsock true
	see gvisor-loopback rk_gvisor --disable-host-loopback true
	see gvisor-ipv6 rk_gvisor --ipv6 true
	see gvisor-info see_gvisor_info
	see gvisor-ports see_gvisor_ports
}

# ---- other namespaces ----

# Looks for an orphan that has ended until the reaper has removed it, for 5 s at most.
ORPHAN='(sh -c "echo \$\$ >orphan; exit 0" &)
	tries=0
	until [ -s orphan ] && [ ! -e "/proc/$(cat orphan)" ] || [ $tries -eq 250 ]; do
		tries=$((tries + 1)); sleep 0.02
	done
	ls -d "/proc/$(cat orphan)" 2>&1 | sed "s/[0-9]\{1,\}/N/"'

see_pidns() {
	rk --pidns "$@" sh -c 'echo "pid $(cut -d" " -f 1 /proc/self/stat | sed "s/^[0-9]\{1,3\}\$/small/")"
		ps -o comm= -p 1; [ "$(ps -o sid= -p $$)" -eq $$ ] && echo "a session of its own"'
}

no_sleep_is_left() {
	[ -z "$(processes_named sleep)" ]
}

see_pidns_background() {
	rk --pidns sh -c 'sleep 600 >/dev/null 2>&1 & echo started'
	wait_for no_sleep_is_left || echo left
}

group_namespace() {
	for status in 0 42; do
		see "pidns-exit-$status" rk --pidns sh -c "exit $status"
		see "pidns-exit-$status-no-reaper" rk --pidns --reaper=false sh -c "exit $status"
	done
	see pidns-exit-by-SIGKILL rk --pidns sh -c 'kill -KILL $$; sleep 5'
	see pidns-not-found rk --pidns nosuchcommand
	see pidns see_pidns
	see pidns-no-reaper see_pidns --reaper=false
	see pidns-reaper see_pidns --reaper=true
	see pidns-orphan rk --pidns sh -c "$ORPHAN"
	see pidns-namespaces see_namespaces --pidns
	see pidns-mounts see_mounts --pidns
	see pidns-background see_pidns_background
	see pidns-signals see_signals --pidns
	see pidns-deadly see_deadly TERM --pidns
	see pidns-process-status see_status --pidns
	see utsns see_namespaces --utsns
	see utsns-name rk --utsns sh -c 'hostname inside && hostname'
	see ipcns see_namespaces --ipcns
	see cgroupns see_namespaces --cgroupns
	see all-namespaces see_namespaces --pidns --cgroupns --utsns --ipcns $NETWORK
	# Not --evacuate-cgroup2, which would move other processes of this cgroup, too.
}
