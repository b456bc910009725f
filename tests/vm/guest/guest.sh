# shellcheck shell=sh
# Shared by the tests that run in the machines of check-kernels, in addition to the library of the
# end-to-end tests. Nothing else runs in the machine, so port numbers are fixed. It is emulated and slow,
# so deadlines are long.
. "$(dirname "$0")/../../e2e/lib.sh"

HOST4=192.0.2.1 CLIENT4=192.0.2.7 SECOND4=192.0.2.2
HOST6=fd00:1::1 CLIENT6=fd00:1::7
BIG_KB=4000 READY_S=100
export READY_S HOST4 CLIENT4 SECOND4 HOST6 CLIENT6 BIG_KB

as_root() {
	/t/as-root --reuid=0 --regid=0 --clear-groups -- "$@"
}

# Runs a command in the client's network namespace.
at_client() {
	as_root nsenter --net=/run/netns/client "$@"
}

has_ipv6() {
	[ -e /proc/net/if_inet6 ]
}

# Makes a site for busybox httpd in $tmp/www: a page, a large file, and a program that prints the client's
# address.
make_site() {
	make_page 'hello from inside'
	head -c $((BIG_KB * 1024)) /dev/urandom >"$tmp/www/big"
	mkdir "$tmp/www/cgi-bin"
	# shellcheck disable=SC2016 # for the program
	printf '#!/bin/sh\nprintf "Content-type: text/plain\\r\\n\\r\\n%%s\\n" "$REMOTE_ADDR"\n' >"$tmp/www/cgi-bin/who"
	chmod +x "$tmp/www/cgi-bin/who"
}

answers() {
	[ "$(fetch "$1")" = 'hello from inside' ]
}

# check_site URL: checks that the page and the large file arrive unchanged
check_site() {
	wait_until 30 answers "$1/"
	curl -s -g --max-time 60 "$1/big" >"$tmp/big" || fail "curl ended with status $? for $1/big"
	cmp "$tmp/big" "$tmp/www/big" || fail "$1/big differs"
}

# serve OPTIONS...: starts a launcher with a web server on port 80 inside
serve() {
	[ -d "$tmp/www" ] || make_site
	start "$@" busybox httpd -f -p 80 -h "$tmp/www"
}

# has_ports COUNT: true if the launcher has published COUNT ports
has_ports() {
	[ "$(rootlessctl --socket="$state/api.sock" list-ports --json | grep -c .)" = "$1" ]
}
