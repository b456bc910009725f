#!/bin/sh
# tests/free-port.sh FILE: prints a port from 20000 to 29999 that is in use neither for TCP nor for UDP.
# That is below the kernel's range for ephemeral ports (ip_local_port_range). FILE stores the last port
# that was printed, so callers with the same file get different ports even before they bind them.
set -eu

next() {
	flock 9
	read -r last <&9 || last=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 10000))
	port=$((last < 29999 ? last + 1 : 20000))
	echo "$port" >"$1"
}

exec 9<>"$1"
while :; do
	next "$1"
	hex=$(printf ':%04X ' "$port")
	if ! cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6 2>/dev/null | grep -q "$hex"; then
		echo "$port"
		exit
	fi
	exec 9<>"$1"
done
