#!/bin/sh
# Usual programs inside talk to usual servers of the host, over the network of our own. (Others are in tests/e2e: curl, dig,
# ping, traceroute, socat.)
. "$(dirname "$0")/../e2e/lib.sh"

own='--subid-source=self --net=builtin --copy-up=/etc'
BYTES=8000000

# start_server COMMAND...: starts a server of the host, which ends with the case
start_server() {
	"$@" >"$tmp/server.log" 2>&1 </dev/null &
	server=$!
	trap 'end_process "$server"' EXIT
}

# run_inside COMMAND...: runs a command inside, which must succeed
run_inside() {
	# shellcheck disable=SC2086 # options
	launch $own timeout 60 "$@"
	assert_eq "status, with $out $err and of the server $(tail -n 5 "$tmp/server.log")" 0 "$rc"
}

is_listening() {
	ss -Hltn "sport = :$port" | grep -q LISTEN
}

# assert_same FILE FILE
assert_same() {
	cmp "$1" "$2" || fail "$1 and $2 differ"
}

case_wget_continues_a_download_from_nginx() {
	need_tun
	need wget
	need_unpacked nginx
	port=$(free_port)
	mkdir "$tmp/site" "$tmp/nginx"
	head -c $BYTES /dev/urandom >"$tmp/site/file"
	cat >"$tmp/nginx.conf" <<-EOT
		daemon off;
		master_process off;
		pid $tmp/nginx/pid;
		events { }
		http {
			access_log off;
			client_body_temp_path $tmp/nginx/1;
			proxy_temp_path $tmp/nginx/2;
			fastcgi_temp_path $tmp/nginx/3;
			uwsgi_temp_path $tmp/nginx/4;
			scgi_temp_path $tmp/nginx/5;
			server { listen 127.0.0.1:$port; root $tmp/site; }
		}
	EOT
	start_server nginx -e "$tmp/nginx/errors" -c "$tmp/nginx.conf"
	wait_until 20 is_listening
	head -c $((BYTES / 3)) "$tmp/site/file" >"$tmp/part"
	cp "$tmp/part" "$tmp/got"
	run_inside wget -c -t 1 -O "$tmp/got" "http://10.0.2.2:$port/file"
	assert_match 'what wget says' '*206 Partial Content*' "$err"
	assert_same "$tmp/got" "$tmp/site/file"
}

case_iperf3_measures_all_ways() {
	need_tun
	need iperf3
	port=$(free_port)
	start_server iperf3 -s -B 127.0.0.1 -p "$port"
	wait_until 20 is_listening
	for way in '' -R '-P 4' '-P 4 -R' '-u -b 100M' '-u -b 100M -R'; do
		# shellcheck disable=SC2086 # options
		run_inside iperf3 -c 10.0.2.2 -p "$port" -n 20M $way
		assert_match "what iperf3 $way says" '*receiver*' "$out"
		# The server's own line of the end, and the socket of its next test
		wait_until 20 is_listening
	done
}

# One way at a time: with both, nc may end before it has sent everything, also without a network in between.
case_nc_sends_each_way() {
	need_tun
	need nc.openbsd
	head -c $BYTES /dev/urandom >"$tmp/sent"
	port=$(free_port)
	nc.openbsd -d -l 127.0.0.1 "$port" >"$tmp/up" 2>"$tmp/server.log" &
	server=$!
	wait_until 20 is_listening
	# shellcheck disable=SC2016 # for the inner shell
	run_inside sh -c 'nc.openbsd -N 10.0.2.2 "$1" <"$2/sent"' - "$port" "$tmp"
	await_success "$server"
	assert_same "$tmp/sent" "$tmp/up"

	port=$(free_port)
	nc.openbsd -N -l 127.0.0.1 "$port" <"$tmp/sent" >"$tmp/server.log" 2>&1 &
	server=$!
	wait_until 20 is_listening
	# shellcheck disable=SC2016 # for the inner shell
	run_inside sh -c 'nc.openbsd -d 10.0.2.2 "$1" >"$2/down"' - "$port" "$tmp"
	await_success "$server"
	assert_same "$tmp/sent" "$tmp/down"
}

# sshd runs as the same user, so it needs no rights. Newer ones execute other programs, which are unpacked elsewhere.
start_sshd() {
	ssh-keygen -q -t ed25519 -N '' -f "$tmp/host_key"
	ssh-keygen -q -t ed25519 -N '' -f "$tmp/key"
	cp "$tmp/key.pub" "$tmp/authorized"
	cat >"$tmp/sshd_config" <<-EOT
		ListenAddress 127.0.0.1:$port
		HostKey $tmp/host_key
		AuthorizedKeysFile $tmp/authorized
		StrictModes no
		PidFile none
	EOT
	for name in session auth; do
		[ ! -e "$unpacked/usr/lib/openssh/sshd-$name" ] ||
			echo "Sshd$name""Path $unpacked/usr/lib/openssh/sshd-$name" >>"$tmp/sshd_config"
	done
	start_server "$(command -v sshd)" -D -e -f "$tmp/sshd_config"
	wait_until 20 is_listening
}

# On Debian 13 they need a library that nothing else does.
need_libraries() {
	for program; do
		! ldd "$program" 2>/dev/null | grep -q 'not found' || skip openssh-server "$program lacks libraries"
	done
}

case_ssh_copies_both_ways() {
	need_tun
	need ssh
	need_unpacked openssh-server
	need_libraries "$unpacked"/usr/sbin/sshd "$unpacked"/usr/lib/openssh/*
	port=$(free_port)
	head -c $BYTES /dev/urandom >"$tmp/data"
	start_sshd
	# shellcheck disable=SC2016 # for the inner shell
	run_inside sh -ec '
		ssh="ssh -F none -i $2/key -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -p $1 $3@10.0.2.2"
		$ssh "cat >$2/up" <"$2/data"
		$ssh "cat $2/data" >"$2/down"' - "$port" "$tmp" "$(id -un)"
	assert_same "$tmp/data" "$tmp/up"
	assert_same "$tmp/data" "$tmp/down"
}

run_cases \
	wget_continues_a_download_from_nginx \
	iperf3_measures_all_ways \
	nc_sends_each_way \
	ssh_copies_both_ways
