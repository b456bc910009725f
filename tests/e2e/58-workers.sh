#!/bin/sh
# Several workers: that no client is lost between them, that what is open is bounded by the limit of
# descriptors and by nothing else, and that thousands of ports are as good as one.
. "$(dirname "$0")/lib.sh"

add() {
	rootlessctl --socket "$state/api.sock" add-ports "$@"
}

# A server that answers each piece with the same, and clients that it holds.
make_scripts() {
	cat >"$tmp/common.py" <<-'EOF'
		import http.client, json, os, resource, select, socket, sys, threading, time
		hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
		resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
		class Api(http.client.HTTPConnection):
		    def __init__(self, path):
		        super().__init__("x", timeout=60)
		        self.path = path
		    def connect(self):
		        self.sock = socket.socket(socket.AF_UNIX)
		        self.sock.connect(self.path)
		    def call(self, method, path, body=None):
		        self.request(method, path, json.dumps(body))
		        answer = self.getresponse()
		        text = answer.read()
		        if answer.status not in (200, 201):
		            sys.exit("%s %s: %s" % (method, path, text))
		        return json.loads(text) if text else None
		    def add(self, port, child_port=80):
		        return self.call("POST", "/v1/ports", {"proto": "tcp", "parentIP": "127.0.0.1",
		                         "parentPort": port, "childPort": child_port})["id"]
		    def remove(self, number):
		        self.call("DELETE", "/v1/ports/%d" % number)
		def connect(port, timeout=60):
		    return socket.create_connection(("127.0.0.1", int(port)), timeout)
		def echo(s, data=b"x"):
		    s.sendall(data)
		    got = b""
		    while len(got) < len(data):
		        b = s.recv(65536)
		        if not b: raise EOFError("ended")
		        got += b
		    return got
		def echo_when_up(port):
		    until = time.monotonic() + 30
		    while True:
		        try:
		            with connect(port) as s:
		                if echo(s) == b"x": return
		        except (OSError, EOFError):
		            if time.monotonic() > until: raise
		            time.sleep(0.02)
	EOF
	cat >"$tmp/server.py" <<-'EOF'
		from common import *
		l = socket.socket()
		l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		l.bind(("127.0.0.1", 80))
		l.listen(4096)
		poll, socks = select.epoll(), {}
		poll.register(l, select.EPOLLIN)
		while True:
		    for fd, _ in poll.poll():
		        if fd == l.fileno():
		            s = l.accept()[0]
		            socks[s.fileno()] = s
		            poll.register(s, select.EPOLLIN)
		            continue
		        s = socks[fd]
		        try:
		            data = s.recv(65536)
		            s.sendall(data)
		        except OSError:
		            data = b""
		        if not data:
		            poll.unregister(fd)
		            socks.pop(fd).close()
	EOF
}

# with_server OPTIONS...: a launcher with that server inside, at port $port of the host
with_server() {
	make_scripts
	port=$(free_port)
	start --net=none --port-driver=builtin -p "127.0.0.1:$port:80/tcp" "$@" python3 "$tmp/server.py"
}

has_workers() {
	[ "$(cat "/proc/$pid"/task/*/comm | grep -c '^worker$')" -eq "$1" ]
}

case_workers_are_counted() {
	for n in 1 3; do
		start --net=none --port-driver=builtin --workers=$n sleep 60
		# A thread takes its name when it first runs.
		wait_until 10 has_workers "$n"
		stop
	done
	for n in 0 65 -1 x; do
		launch --state-dir="$tmp/st" --workers=$n true
		assert_eq "status of $n" 1 "$rc"
		assert_match "error of $n" '*workers*' "$err"
	done
}

# One port is used all the time, new connections and old ones; others come and go.
case_ports_come_and_go_beside_a_busy_one() {
	with_server --workers=4
	python3 - "$port" "$state/api.sock" "$(free_port)" "$tmp" <<-'EOF'
		import sys
		sys.path.insert(0, sys.argv[4])
		from common import *
		port, api, other = int(sys.argv[1]), Api(sys.argv[2]), int(sys.argv[3])
		echo_when_up(port)
		done, failures, count = threading.Event(), [], [0]
		def short():
		    while not done.is_set():
		        try:
		            with connect(port) as s: assert echo(s, b"short") == b"short"
		            count[0] += 1
		        except Exception as e: failures.append(e)
		def long():
		    try:
		        with connect(port) as s:
		            while not done.is_set():
		                assert echo(s, b"long" * 1000) == b"long" * 1000
		    except Exception as e: failures.append(e)
		def noise(): # clients of the ports that go
		    while not done.is_set():
		        try:
		            with connect(other) as s: echo(s)
		        except (OSError, EOFError): pass
		threads = [threading.Thread(target=t) for t in [short] * 3 + [long] * 8 + [noise] * 2]
		for t in threads: t.start()
		for i in range(200):
		    api.remove(api.add(other))
		done.set()
		for t in threads: t.join()
		assert not failures, failures[:3]
		assert count[0] > 100, count
		assert len(api.call("GET", "/v1/ports")) == 1
	EOF
	# shellcheck disable=SC2317 # wait_until calls it
	all_closed() { [ "$(find "/proc/$pid/fd" -mindepth 1 | wc -l)" -lt 60 ]; }
	wait_until 10 all_closed
	stop
}

# hold PORT COUNT...: so many clients, silent ones, that all had an answer; then the API is used
hold() {
	python3 - "$tmp" "$@" "$state/api.sock" "$(free_port)" "$pid" <<-'EOF'
		import sys
		sys.path.insert(0, sys.argv[1])
		from common import *
		port, count, api, further, pid = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], *map(int, sys.argv[5:])
		def resident():
		    return int([l for l in open("/proc/%d/status" % pid) if l.startswith("VmRSS")][0].split()[1])
		echo_when_up(port)
		before = resident()
		held = []
		for i in range(count):
		    held.append(connect(port))
		for i, s in enumerate(held):
		    assert echo(s) == b"x", i
		each = (resident() - before) * 1024 / count
		print("%d connections, %d bytes each" % (count, each))
		# As many again have to wait.
		waiting = [connect(port) for _ in range(200)]
		time.sleep(0.3)
		api = Api(api)
		number = api.add(further)
		for s in held[:200]: s.close()
		for s in waiting: assert echo(s) == b"x"
		for s in held + waiting: s.close()
		echo_when_up(further)
		api.remove(number)
		echo_when_up(port)
		open(sys.argv[1] + "/each", "w").write("%d" % each)
	EOF
}

case_the_limit_of_descriptors_is_for_connections() {
	hard=$(ulimit -Hn)
	[ "$hard" != unlimited ] && [ "$hard" -le 20000 ] || hard=20000
	# shellcheck disable=SC3045 # dash and bash have it
	ulimit -n "$hard"
	with_server
	# What the launcher needs besides is a few dozen.
	hold "$port" $(((hard - 200) / 2))
	# A sanitizer has its own idea of memory.
	if ! grep -q __sanitizer "$BUILD/rlkbox"; then
		[ "$(cat "$tmp/each")" -le 1024 ] || fail "$(cat "$tmp/each") bytes a connection"
	fi
	stop
}

case_a_small_limit_too() {
	make_scripts
	port=$(free_port)
	(
		# shellcheck disable=SC3045
		ulimit -n 2000
		exec env --default-signal=INT,QUIT rootlesskit --state-dir="$tmp/state" --net=none --port-driver=builtin \
			-p "127.0.0.1:$port:80/tcp" python3 "$tmp/server.py"
	) >"$tmp/bg.out" 2>"$tmp/bg.err" &
	pid=$!
	state=$tmp/state
	wait_ready
	hold "$port" 900
	stop
}

# The ports that a Kubernetes node publishes, or as many as there is room for.
case_thousands_of_ports() {
	set --
	first=30000 count=2768 # nobody else has those in the tests
	for p in $(seq "$first" $((first + count - 1))); do
		set -- "$@" -p "127.0.0.1:$p:80/tcp"
	done
	make_scripts
	start --net=none --port-driver=builtin --workers=4 "$@" python3 "$tmp/server.py"
	python3 - "$tmp" "$state/api.sock" "$first" "$count" <<-'EOF'
		import sys
		sys.path.insert(0, sys.argv[1])
		from common import *
		api, first, count = Api(sys.argv[2]), *map(int, sys.argv[3:])
		echo_when_up(first)
		for p in range(first, first + count, 50):
		    with connect(p) as s: assert echo(s) == b"x"
		# In any order, with connections to those that stay.
		stays = connect(first + 1)
		for number in [*range(count, 2, -2), 1]: api.remove(number)
		assert echo(stays) == b"x"
		api.add(first + count - 1)
		with connect(first + count - 1) as s: assert echo(s) == b"x"
		assert [p["id"] for p in api.call("GET", "/v1/ports")][-1] == count + 1
	EOF
	stop
}

run_cases \
	workers_are_counted \
	ports_come_and_go_beside_a_busy_one \
	the_limit_of_descriptors_is_for_connections \
	a_small_limit_too \
	thousands_of_ports
