#!/bin/sh
# rootlessport, with a Podman that is a Python script (tests/tools/podman.py): what it publishes, what it
# tells Podman, reloads, and what is left after each kind of end. Host and containers are network namespaces
# of the test. tests/peers/40-podman.sh runs real Podman.
. "$(dirname "$0")/lib.sh"

# podman_test: runs a Python script from standard input as root of a user namespace, on a fake host
podman_test() {
	mkdir -p "$tmp/bin"
	ln -sf "$BUILD/rlkbox" "$tmp/bin/rootlessport"
	{
		echo 'import contextlib, json, os, re, signal, socket, stat, subprocess, sys, threading, time'
		echo 'from podman import *'
		echo 'from waiting import wait_until'
		echo 'make_host()'
		cat
	} >"$tmp/test.py"
	ROOTLESSPORT=$tmp/bin/rootlessport unshare -Urn python3 "$tmp/test.py"
}

# ---- ports ----

case_tcp_and_udp_ports_are_published_until_the_container_stops() {
	podman_test <<-'EOF'
		with published([tcp(8080, 80), mapping(5353, 53, "udp"), tcp(8081, 80, ip="127.0.0.2"),
		                tcp(9000, 79, count=3)]) as (c, rp, web):
		    dns = c.udp_server(53)
		    assert rp.files() == [ID], rp.files()
		    for address in "127.0.0.1", "127.0.0.9", HOST, "::1", HOST6:
		        check_tcp(8080, web, address)
		    check_tcp(8081, web, "127.0.0.2")
		    check_tcp(9001, web)
		    assert is_refused(8081, "127.0.0.1")
		    for address in "127.0.0.1", HOST:
		        check_udp(5353, dns, address)
		assert is_refused(8080) and is_refused(9001)
	EOF
}

case_a_port_of_both_protocols_is_two_ports() {
	podman_test <<-'EOF'
		with published([mapping(5353, 53, "tcp,udp")]) as (c, _, _):
		    web, dns = c.tcp_server(53), c.udp_server(53)
		    check_tcp(5353, web)
		    check_udp(5353, dns)
	EOF
}

case_servers_see_the_addresses_of_their_clients() {
	podman_test <<-'EOF'
		with published() as (c, rp, web):
		    assert check_tcp(8080, web, HOST)[0] == HOST
		    # A loopback address of the host would be the container's own.
		    assert check_tcp(8080, web, "127.0.0.1")[0] == "10.89.0.2"
		    # There is no IPv6 address in an IPv4 connection.
		    assert check_tcp(8080, web, HOST6)[0] == "10.89.0.2"
		with published(ChildIP="fd00::2") as (c, rp, _):
		    web6 = c.tcp_server(80, "fd00::2", socket.AF_INET6)
		    assert check_tcp(8080, web6, HOST6)[0] == HOST6
	EOF
}

case_a_container_without_an_address_is_reached_on_its_loopback() {
	podman_test <<-'EOF'
		with published(address="127.0.0.1", ChildIP=None, RootlessCNI=False, ContainerID=None) as (_, rp, web):
		    assert rp.files() == [], rp.files()
		    check_tcp(8080, web)
	EOF
}

case_a_connection_takes_two_descriptors() {
	podman_test <<-'EOF'
		def count():
		    return len(os.listdir(f"/proc/{rp.pid}/fd"))
		with published() as (_, rp, web):
		    assert subprocess.run(["pgrep", "-P", str(rp.pid)]).returncode == 1, "it has a child process"
		    check_tcp(8080, web, HOST)
		    before = count()
		    ends = [talk(connect(8080, HOST), web) for _ in range(200)]
		    # The pool holds at most 64 sockets for each of two workers.
		    added = count() - before
		    assert 400 <= added <= 400 + 2 * 64, added
		    for client, inside, _ in ends:
		        client.close()
		        inside.close()
	EOF
}

case_thousands_of_ports_are_published() {
	podman_test <<-'EOF'
		ports = [tcp(10000 + i, 80) for i in range(500)] + [udp(20000, 1, count=1000)]
		with published(ports) as (_, rp, web):
		    for port in 10000, 10250, 10499:
		        check_tcp(port, web)
		    rp.retarget("10.89.0.3")
		    check_tcp(10250, web)
	EOF
}

case_a_long_path_of_the_directory_works() {
	podman_test <<-'EOF'
		with published(TmpDir=TMP + "/" + "d" * 200 + "/e") as (_, rp, web):
		    check_tcp(8080, web)
		    rp.retarget("10.89.0.3")
		    check_tcp(8080, web)
		    assert os.stat(os.path.dirname(rp.socket)).st_mode & 0o777 == 0o700
	EOF
}

# ---- a start that fails ----

case_a_wrong_start_is_refused_with_the_reason() {
	podman_test <<-'EOF'
		def refused(reason, mappings=(), container=None, **more):
		    with Container() as c:
		        taken = socket.create_server(("127.0.0.1", 7000))
		        rp = Rootlessport(container or c, list(mappings), **more)
		        ready = rp.read_ready()
		        status, out = rp.end()
		        what = f"{reason}: {ready} {status} {out!r}"
		        assert ready == b"", what
		        assert status == 1 and out.count("\n") == 1 and re.fullmatch(reason, out[:-1]), what
		        rp.check_nothing_left()
		        assert is_refused(8080)
		        taken.close()
		        c.kill()
		        wait_until(c.netns_is_gone, "the network namespace is gone")

		refused("EOF", stdin="")
		refused("invalid character 'g' looking for beginning of value", stdin="garbage")
		refused("unexpected EOF", stdin='{"Mappings":[')
		refused("EOF", close_stdin=True)
		refused("missing NetNSPath", NetNSPath=None)
		refused("missing ExitFD", ExitFD=None)
		refused("missing ReadyFD", ReadyFD=None)
		refused("missing TmpDir", TmpDir="")
		refused("missing ContainerID", ContainerID=None)
		refused('ContainerID "../x" is not a file name', ContainerID="../x")
		refused("invalid ExitFD: 3 is not an open descriptor above 2", pass_fds=(4,))
		refused("invalid ReadyFD: 4 is not an open descriptor above 2", pass_fds=(3,))
		refused("invalid ExitFD: 1 is not an open descriptor above 2", ExitFD=1)
		refused("open /nonexistent: no such file or directory", NetNSPath="/nonexistent")
		refused("entering the network namespace /etc/passwd: invalid argument", NetNSPath="/etc/passwd")
		refused("mkdir /etc/passwd/rp: not a directory|mkdir /etc/passwd: .*", TmpDir="/etc/passwd")
		refused('invalid ChildIP: "foo"; it takes an IP address', ChildIP="foo")
		good = tcp(8080, 80)
		refused('unknown proto: "foo"', [good, mapping(1, 1, "foo")])
		refused('unsupported port protocol sctp; .*', [good, mapping(1, 1, "sctp")])
		refused("invalid ParentPort: 65536; ports are 1 to 65535", [good, tcp(65535, 80, count=2)])
		refused("invalid ParentPort: 0; ports are 1 to 65535", [good, tcp(0, 80)])
		refused("invalid ChildPort: 70000; it is 1 to 65535", [good, tcp(81, 70000)])
		refused("listen tcp 127.0.0.1:7000: bind: address already in use; see who has it: ss -ltnp "
		        "'sport = :7000' [(]as root[)]", [good, tcp(7000, 80, ip="127.0.0.1")])
		refused("listen tcp 192.0.2.99:8081: bind: cannot assign requested address; .*",
		        [good, tcp(8081, 80, ip="192.0.2.99")])
		refused("conflict with ID 1; that is .*", [good, good])
	EOF
}

case_arguments_are_refused_since_podman_passes_none() {
	rc=0
	rlkbox rootlessport 1 2>"$tmp/err" </dev/null || rc=$?
	assert_eq status 1 "$rc"
	assert_match error 'too many arguments, rootlessport expects a json config via STDIN*' "$(cat "$tmp/err")"
	assert_match version 'rootlessport of rlkbox *' "$(rlkbox rootlessport --version)"
}

case_a_privileged_port_is_refused_without_advice_about_capabilities() {
	start=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)
	[ "$start" -gt 79 ] || skip port79 'the user may bind it'
	# In the real host's network namespace, which the user does not own.
	cat >"$tmp/test.py" <<-'EOF'
		from podman import *
		with Container(link=False) as c:
		    rp = Rootlessport(c, [tcp(79, 80)])
		    assert rp.read_ready() == b""
		    print(*rp.end())
	EOF
	ln -s "$BUILD/rlkbox" "$tmp/rootlessport"
	assert_eq 'status and reason' "1 cannot expose privileged port 79, you can add \
'net.ipv4.ip_unprivileged_port_start=79' to /etc/sysctl.conf (currently $start), or choose a larger port number \
(>= $start): listen tcp 0.0.0.0:79: bind: permission denied" \
		"$(ROOTLESSPORT=$tmp/rootlessport unshare -Ur python3 "$tmp/test.py")"
}

# ---- what Podman does ----

case_a_container_that_stops_at_once_is_no_failure() {
	podman_test <<-'EOF'
		with Container() as c:
		    rp = Rootlessport(c, [tcp(8080, 80)])
		    rp.exit()
		    assert rp.read_ready() == b"1"
		    assert rp.end() == (0, "")
		    rp.check_nothing_left()
		    assert is_refused(8080)
	EOF
}

case_a_closed_ready_pipe_ends_it() {
	podman_test <<-'EOF'
		with Container() as c:
		    rp = Rootlessport(c, [tcp(8080, 80)])
		    os.dup2(os.open("/dev/null", os.O_RDONLY), rp.ready_r)
		    status, out = rp.end()
		    assert status == 1, status
		    rp.check_nothing_left()
		    assert is_refused(8080)
	EOF
}

case_bytes_on_the_exit_pipe_do_not_end_it() {
	podman_test <<-'EOF'
		with published() as (_, rp, web):
		    os.write(rp.exit_w, b"x" * 10000)
		    check_tcp(8080, web)
	EOF
}

case_what_a_server_sent_before_its_end_is_delivered() {
	podman_test <<-'EOF'
		with Container() as c:
		    web = c.tcp_server(80)
		    rp = Rootlessport(c, [tcp(8080, 80)]).await_ready()
		    client, inside, _ = talk(connect(8080, HOST), web)
		    sent = b"x" * 3000000
		    thread = threading.Thread(target=lambda: (inside.sendall(sent), inside.close()))
		    thread.start()
		    got = len(client.recv(1000))
		    rp.exit()
		    wait_until(lambda: is_refused(8080), "the port is closed")
		    assert rp.files() == [], rp.files()
		    # The next container has the port while the last bytes are on their way.
		    again = Rootlessport(c, [tcp(8080, 80)]).await_ready()
		    while data := client.recv(100000):
		        got += len(data)
		    thread.join()
		    assert got == len(sent), got
		    client.close()
		    assert rp.end() == (0, "")
		    assert again.files() == [ID], again.files()
		    check_tcp(8080, web)
		    again.finish()
	EOF
}

# ---- reloads ----

case_a_reload_leads_ports_to_the_new_address() {
	podman_test <<-'EOF'
		with published([tcp(8080, 80), udp(5353, 53)], "10.89.0.2") as (c, rp, first):
		    second, dns = c.tcp_server(80, "10.89.0.3"), c.udp_server(53, "10.89.0.3")
		    client, inside, _ = talk(connect(8080), first)
		    rp.retarget("10.89.0.2")  # the same address
		    client.sendall(b"still here\n")
		    assert inside.recv(100) == b"still here\n"
		    rp.retarget("10.89.0.3")
		    await_closed(client)
		    await_closed(inside)
		    check_tcp(8080, second)
		    check_udp(5353, dns)
		    rp.retarget("10.89.0.2")
		    check_tcp(8080, first)
		    rp.retarget("fd00::2")
		    with c.tcp_server(80, "fd00::2", socket.AF_INET6) as third:
		        check_tcp(8080, third)
	EOF
}

case_a_port_is_never_closed_during_reloads() {
	podman_test <<-'EOF'
		with published() as (c, rp, web):
		    stop, failures = [], []
		    def connect_again_and_again():
		        while not stop:
		            try:
		                connect(8080).close()
		            except OSError as e:
		                if not isinstance(e, ConnectionResetError):
		                    failures.append(e)
		    # The kernel repeats a SYN for which the queue has no room later and later. So the queue is emptied.
		    def accept_again_and_again():
		        while not stop:
		            with contextlib.suppress(TimeoutError):
		                web.accept()[0].close()
		    web.settimeout(0.1)
		    threads = [threading.Thread(target=t) for t in (connect_again_and_again, accept_again_and_again)]
		    fds = len(os.listdir(f"/proc/{rp.pid}/fd"))
		    for thread in threads:
		        thread.start()
		    for i in range(500):
		        rp.retarget(c.IPS[i % 2])
		    stop.append(True)
		    for thread in threads:
		        thread.join()
		    assert failures == [], failures[0]
		    web.close()
		    web = c.tcp_server(80)
		    check_tcp(8080, web)
		    # Connections whose server was closed end some time later.
		    wait_until(lambda: len(os.listdir(f"/proc/{rp.pid}/fd")) <= fds + 2 * 64, "descriptors are closed")
	EOF
}

case_a_wrong_reload_changes_nothing() {
	podman_test <<-'EOF'
		with published(address="10.89.0.2") as (_, rp, web):
		    for text, answer in [
		            ("garbage", "reading the new child IP: invalid character 'g' looking for beginning of value"),
		            ('"10.89', "reading the new child IP: unexpected EOF"),
		            ("3", "reading the new child IP: json: cannot unmarshal number into Go value of type string"),
		            ('"foo"', 'reading the new child IP: invalid ChildIP: "foo"; it takes an IP address'),
		            ('"' + "1" * 10000 + '"', "the new child IP is too long")]:
		        assert rp.reload(text) == answer, (text, rp.reload(text))
		    # The end of the stream without a packet, clients that say nothing, and too many of them.
		    with rp.connect_reload() as s:
		        s.shutdown(socket.SHUT_WR)
		        assert s.recv(100) == b"reading the new child IP: EOF"
		    silent = [rp.connect_reload() for _ in range(40)]
		    assert rp.reload('"10.89.0.2"') == "OK"
		    assert silent[0].recv(100) == b""
		    check_tcp(8080, web)
		for s in silent:
		    s.close()
	EOF
}

case_a_silent_client_of_reloads_is_closed() {
	podman_test <<-'EOF'
		with published([]) as (_, rp, _):
		    with rp.connect_reload() as s:
		        began = time.monotonic()
		        assert s.recv(100) == b""
		        assert 4 < time.monotonic() - began < 15
	EOF
}

# ---- signals ----

# The delays reach from the start of the program to a while after it is ready.
case_a_signal_at_any_moment_leaves_nothing() {
	podman_test <<-'EOF'
		for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL:
		    for ms in 0, 1, 2, 3, 4, 5, 7, 10, 15, 25, 50, 200:
		        with Container() as c:
		            rp = Rootlessport(c, [tcp(8080, 80), tcp(9000, 1, count=300)])
		            time.sleep(ms / 1000)
		            os.kill(rp.pid, number)
		            status, out = rp.end()
		            what = (number, ms, status, out)
		            if number == signal.SIGKILL:
		                assert status == -number, what
		                assert set(rp.files()) <= {ID, "." + ID}, rp.files()
		            else:
		                # Before it handles signals, their default action ends it.
		                assert status in (0, -number) or out == "terminated by a signal\n", what
		                assert set(rp.files()) <= ({"." + ID} if status < 0 else set()), rp.files()
		            assert is_refused(8080)
		            c.kill()
		            wait_until(c.netns_is_gone, "the network namespace is gone")
		# What SIGKILL may have left does not hinder the next start, which removes it.
		os.makedirs(TMP + "/libpod/rp", exist_ok=True)
		for name in ID, "." + ID:
		    if name not in rp.files():
		        os.mknod(f"{TMP}/libpod/rp/{name}", stat.S_IFSOCK | 0o600)
		with published() as (_, rp, web):
		    check_tcp(8080, web)
		    rp.retarget("10.89.0.3")
	EOF
}

case_the_end_of_the_container_closes_connections() {
	podman_test <<-'EOF'
		with Container() as c:
		    web = c.tcp_server(80)
		    rp = Rootlessport(c, [tcp(8080, 80)]).await_ready()
		    client, inside, _ = talk(connect(8080, HOST), web)
		    c.kill()  # nothing ends the connection inside: the namespace is held by rootlessport
		    rp.exit()
		    await_closed(client)
		    inside.close()
		    web.close()
		    assert rp.end() == (0, "")
		    rp.check_nothing_left()
		    wait_until(c.netns_is_gone, "the network namespace is gone")
	EOF
}

run_cases \
	tcp_and_udp_ports_are_published_until_the_container_stops \
	a_port_of_both_protocols_is_two_ports \
	servers_see_the_addresses_of_their_clients \
	a_container_without_an_address_is_reached_on_its_loopback \
	a_connection_takes_two_descriptors \
	thousands_of_ports_are_published \
	a_long_path_of_the_directory_works \
	a_wrong_start_is_refused_with_the_reason \
	arguments_are_refused_since_podman_passes_none \
	a_privileged_port_is_refused_without_advice_about_capabilities \
	a_container_that_stops_at_once_is_no_failure \
	a_closed_ready_pipe_ends_it \
	bytes_on_the_exit_pipe_do_not_end_it \
	what_a_server_sent_before_its_end_is_delivered \
	a_reload_leads_ports_to_the_new_address \
	a_port_is_never_closed_during_reloads \
	a_wrong_reload_changes_nothing \
	a_silent_client_of_reloads_is_closed \
	a_signal_at_any_moment_leaves_nothing \
	the_end_of_the_container_closes_connections
