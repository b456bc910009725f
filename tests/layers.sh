#!/bin/sh
# A file includes only headers of its own layer or of one below. The layers, lowest first:
set -eu

base="err text log fd loop closer sockopt thread unixsock version"
formats="json jsonout http httpout portspec posixacl subid bpreq slirpapi flags"
parts="msg rmtree safedir bulkpipe budget sockpool srcmark reach dial flowtable dgram pace udp bicopy inbox offer tcp worker \
netns mount proc job httpd rtnl listen userns hostaddr netfilter transparent"
features="opts netopts cgroup statedir idadvice idmap network netprog slirp4netns pasta netkeep handshake \
reexec portservice bpclient slirpports crew ports api client ctlview"
programs="main launcher parent child ctl dockerproxy demo"

status=0

layer_of() {
	n=0
	for layer in "$base" "$formats" "$parts" "$features" "$programs"; do
		n=$((n + 1))
		case " $layer " in *" $1 "*) echo "$n"; return ;; esac
	done
	echo "tests/layers.sh: $1 is in no layer" >&2
	echo 0
}

for file in *.[ch] */*.[ch]; do
	name=${file##*/}
	own=$(layer_of "${name%.*}")
	[ "$own" -gt 0 ] || status=1
	# shellcheck disable=SC2013 # names, one a line
	for header in $(sed -n 's/^#include "\(.*\/\)*\(.*\)\.h"$/\2/p' "$file"); do
		if [ "$(layer_of "$header")" -gt "$own" ]; then
			echo "$file includes $header.h, which is in a higher layer" >&2
			status=1
		fi
	done
done

# What formats may not do: touch descriptors or processes.
for name in text $formats; do
	file=$(ls "$name.c" */"$name.c" 2>/dev/null)
	file=${file%.c}
	if grep -nE '\b(open|read|write|close|socket|fork|exec[vl]p?e?|malloc|free)\(' "$file.c" "$file.h"; then
		echo "$file is of the formats layer, which touches no descriptor or process" >&2
		status=1
	fi
done
exit $status
