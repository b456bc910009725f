#!/bin/sh
# A kernel whose modules tun and nf_tables are not loaded. The last case loads tun, for main.sh.
. "$(dirname "$0")/guest.sh"

case_the_machine_has_neither_tun_nor_nf_tables() {
	[ ! -e /dev/net/tun ] || fail '/dev/net/tun is there'
	assert_fails as_root nft list tables
}

case_ports_work_without_a_network_program() {
	serve --net=none --port-driver=builtin -p 127.0.0.1:8080:80/tcp
	check_site http://127.0.0.1:8080
	stop
}

case_network_programs_fail_with_an_error_about_tun() {
	for program in slirp4netns pasta; do
		launch --net=$program --copy-up=/etc touch "$tmp/ran"
		assert_eq "status with $program" 1 "$rc"
		assert_match "message with $program" '*/dev/net/tun*' "$err"
		[ ! -e "$tmp/ran" ] || fail 'the command ran'
	done
}

case_with_tun_alone_the_network_works() {
	as_root insmod "$(echo /modules/*-tun.ko)"
	as_root chmod 666 /dev/net/tun
	serve --net=slirp4netns --copy-up=/etc --port-driver=builtin -p 127.0.0.1:8080:80/tcp
	check_site http://127.0.0.1:8080
	stop
}

run_cases the_machine_has_neither_tun_nor_nf_tables ports_work_without_a_network_program \
	network_programs_fail_with_an_error_about_tun with_tun_alone_the_network_works
