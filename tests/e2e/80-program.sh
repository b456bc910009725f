#!/bin/sh
# The program rlkbox: its names and links, its libraries, and the demo.
. "$(dirname "$0")/lib.sh"

names='rootlesskit
docker-rootlesskit
rootlessctl
rootlesskit-docker-proxy'

case_list_prints_the_applets() {
	assert_eq names "$names" "$(rlkbox --list)"
}

case_an_applet_is_called_by_link_or_by_argument() {
	for name in rootlesskit docker-rootlesskit; do
		assert_match "$name" 'rootlesskit version 3.*' "$("$name" --version)"
		assert_match "rlkbox $name" 'rootlesskit version 3.*' "$(rlkbox "$name" --version)"
	done
	for name in rootlessctl rootlesskit-docker-proxy; do
		assert_match "$name" "$name version 3.*" "$("$name" --version)"
		assert_match "rlkbox $name" "$name version 3.*" "$(rlkbox "$name" --version)"
	done
	assert_eq output works "$(rlkbox rootlesskit echo works)"
	assert_eq output works "$(docker-rootlesskit echo works)"
	assert_fails rlkbox
	assert_fails rlkbox nosuchapplet
	# Under an unknown name it is the launcher, so that the program may be renamed like RootlessKit.
	for name in renamed-rk rootlesskit-3.0 rootlesskit.real my-rlkbox; do
		ln -s "$(command -v rlkbox)" "$tmp/$name"
		assert_match "$name" 'rootlesskit version 3.*' "$("$tmp/$name" --version)"
		assert_eq "$name" works "$("$tmp/$name" echo works)"
	done
	# These names are not unknown, though they begin with "rootlesskit" and "rlkbox".
	assert_match proxy 'rootlesskit-docker-proxy version 3.*' "$(rootlesskit-docker-proxy --version)"
	ln -s "$(command -v rlkbox)" "$tmp/rlkbox-0.1"
	assert_match rlkbox-0.1 'rlkbox *' "$("$tmp/rlkbox-0.1" --version)"
	assert_match usage '*APPLET*' "$(rlkbox --help)"
	assert_eq version "rlkbox version $(rootlesskit --version | sed -n '1s/.*rlkbox.//p')
$(rootlesskit --version | sed 1d)" "$(rlkbox --version)"
}

case_install_makes_hard_links() {
	mkdir "$tmp/dir"
	cp "$BUILD/rlkbox" "$tmp/dir/rlkbox"
	"$tmp/dir/rlkbox" --install "$tmp/dir"
	for name in $names; do
		[ "$tmp/dir/$name" -ef "$tmp/dir/rlkbox" ] || fail "$name is another file"
		[ ! -L "$tmp/dir/$name" ] || fail "$name is a symbolic link"
	done
	# Installing again replaces the links, and the program stays.
	"$tmp/dir/rlkbox" --install "$tmp/dir"
	"$tmp/dir/rootlessctl" --version >/dev/null
	cp "$tmp/dir/rootlesskit" "$tmp/dir/copy"
}

case_install_s_makes_symbolic_links() {
	mkdir "$tmp/dir" "$tmp/other"
	cp "$BUILD/rlkbox" "$tmp/dir/rlkbox"
	"$tmp/dir/rlkbox" --install -s "$tmp/dir"
	"$tmp/dir/rlkbox" --install -s "$tmp/other"
	"$tmp/dir/rlkbox" --install -s "$tmp/other"
	for name in $names; do
		assert_eq "$name in the same directory" rlkbox "$(readlink "$tmp/dir/$name")"
		assert_eq "$name elsewhere" "$tmp/dir/rlkbox" "$(readlink "$tmp/other/$name")"
	done
	mv "$tmp/dir" "$tmp/moved"
	"$tmp/moved/rootlesskit" --version >/dev/null
}

case_rootlessport_is_installed_only_if_asked_for() {
	mkdir "$tmp/plain" "$tmp/with"
	rlkbox --install -s "$tmp/plain"
	[ ! -e "$tmp/plain/rootlessport" ] || fail 'it is installed without --with'
	rlkbox --install -s --with rootlessport --with rootlessctl "$tmp/with"
	for name in $names rootlessport; do
		[ "$tmp/with/$name" -ef "$BUILD/rlkbox" ] || fail "$name is not there"
	done
	assert_match help '*--with rootlessport*' "$(rlkbox --help)"
	assert_match version 'rootlessport of rlkbox *' "$("$tmp/with/rootlessport" --version)"
}

case_install_does_not_overwrite_foreign_files() {
	mkdir "$tmp/dir"
	echo precious >"$tmp/dir/rootlesskit"
	rc=0
	rlkbox --install -s "$tmp/dir" 2>"$tmp/err" || rc=$?
	assert_eq status 1 "$rc"
	assert_match error "*$tmp/dir/rootlesskit is there already and is no link to this rlkbox*-f*" "$(cat "$tmp/err")"
	assert_eq file precious "$(cat "$tmp/dir/rootlesskit")"
	# The other links are made.
	[ "$tmp/dir/rootlessctl" -ef "$BUILD/rlkbox" ] || fail 'rootlessctl is not there'
	rlkbox --install -s -f "$tmp/dir"
	[ "$tmp/dir/rootlesskit" -ef "$BUILD/rlkbox" ] || fail '-f has not replaced the file'
	# A dangling link is foreign, too. A directory is never replaced.
	rm "$tmp/dir/rootlesskit"
	ln -s /nonexistent "$tmp/dir/rootlesskit"
	assert_fails rlkbox --install -s "$tmp/dir"
	rm "$tmp/dir/rootlesskit"
	mkdir "$tmp/dir/rootlesskit"
	assert_fails rlkbox --install -s -f "$tmp/dir"
}

# install_fails MESSAGE ARGUMENT...: `rlkbox --install` fails with one line, a pattern
install_fails() {
	message=$1
	shift
	rc=0
	rlkbox --install "$@" 2>"$tmp/err" || rc=$?
	assert_eq "status of $*" 1 "$rc"
	assert_match "error of $*" "rlkbox: $message" "$(cat "$tmp/err")"
	assert_eq "lines of $*" 1 "$(wc -l <"$tmp/err")"
}

case_install_gives_advice_if_it_cannot_make_links() {
	missing=$tmp/no/such
	install_fails "directory $missing does not exist; try \`mkdir -p $missing\`" "$missing"
	install_fails "directory $missing/ does not exist; try \`mkdir -p $missing/\`" -s "$missing/"
	: >"$tmp/file"
	install_fails "$tmp/file is not a directory*" "$tmp/file"
	install_fails "reading $tmp/file/x: not a directory" "$tmp/file/x"
	usage='the usage is rlkbox --install \[-s] \[-f] \[--with APPLET] DIR'
	install_fails "--install takes one directory; $usage"
	install_fails "--install takes one directory and options in front of it; $usage" "$tmp" -s
	install_fails "--with takes a name; $usage" --with
	install_fails "no applet is called foo; \`rlkbox --help\` lists them" --with foo "$tmp"
	install_fails "--install takes one directory; $usage" --with rootlessport
	install_fails "unknown option -x of --install; $usage" -x "$tmp"
	mkdir "$tmp/dir"
	rlkbox --install -s "$tmp/dir///"
	rm "$tmp/dir/rootlessctl"
	chmod 555 "$tmp/dir"
	[ ! -w "$tmp/dir" ] || skip root "this user may write to every directory"
	install_fails "writing to $tmp/dir: permission denied; try it as root, or with a directory of your own" "$tmp/dir/"
	install_fails "writing to /: permission denied; *" -s /
	chmod 755 "$tmp/dir"
	rlkbox --install -s "$tmp/dir"
	# protected_hardlinks forbids hard links to a program of another user.
	if [ "$(cat /proc/sys/fs/protected_hardlinks)" = 1 ] && [ ! -O "$BUILD/rlkbox" ] && [ ! -w "$BUILD/rlkbox" ]; then
		mkdir "$tmp/hard"
		install_fails "creating $tmp/hard/rootlesskit: *; try symbolic links: rlkbox --install -s DIR" "$tmp/hard//"
	fi
}

case_an_unknown_applet_is_refused_with_advice() {
	for each in "rootleskit|; did you mean rootlesskit?" 'docker|; did you mean docker-rootlesskit?' \
		'--instal|; did you mean --install?' 'list|; did you mean --list?' 'foo|;'; do
		rc=0
		rlkbox "${each%%|*}" /tmp 2>"$tmp/err" || rc=$?
		assert_eq status 1 "$rc"
		assert_eq error "rlkbox: no applet is called ${each%%|*}${each#*|} \`rlkbox --help\` lists them" "$(cat "$tmp/err")"
	done
}

# Hard links to another file system are not possible.
case_install_f_keeps_a_file_that_it_cannot_replace() {
	other=$(mktemp -d /dev/shm/e2e.XXXXXX) || skip shm "/dev/shm cannot be written to"
	trap 'rm -rf "$other"' EXIT
	[ "$(stat -c %d "$other")" != "$(stat -Lc %d "$BUILD/rlkbox")" ] ||
		skip shm "/dev/shm is on the file system of the program"
	echo precious >"$other/rootlesskit"
	ln -s "$BUILD/rlkbox" "$other/rootlessctl"
	assert_fails rlkbox --install -f "$other"
	assert_match error 'rlkbox: creating */rootlesskit: *; try symbolic links: rlkbox --install -s DIR' \
		"$(rlkbox --install -f "$other" 2>&1 || true)"
	assert_eq file precious "$(cat "$other/rootlesskit")"
	assert_eq link "$BUILD/rlkbox" "$(readlink "$other/rootlessctl")"
	assert_eq 'files in the directory' 'rootlessctl rootlesskit' "$(find "$other" -mindepth 1 -printf '%f\n' | sort | tr '\n' ' ' | sed 's/ $//')"
}

case_only_libc_is_needed() {
	ldd "$BUILD/rlkbox" >"$tmp/ldd" 2>&1 || grep -q 'not a dynamic executable' "$tmp/ldd"
	if grep -q -e 'not a dynamic executable' -e 'statically linked' "$tmp/ldd"; then
		return # static: not even libc
	fi
	if grep -q -e libasan -e libtsan -e libubsan "$tmp/ldd"; then
		return # sanitizers need libraries of their own
	fi
	assert_eq libraries 'libc.so.6' \
		"$(sed -n 's/^[[:space:]]*\([^ ]*\) => .*/\1/p' "$tmp/ldd")"
}

case_the_demo_runs() {
	sh "$here/../demo.sh" "$BUILD/rlkbox" "$BUILD/tools/web" >"$tmp/demo" 2>&1 || fail "$(cat "$tmp/demo")"
	for part in 'Hello from' 'PARENTPORT' 'api.sock' 'Connection refused' 'exit status 0'; do
		grep -q "$part" "$tmp/demo" || fail "no \"$part\" in: $(cat "$tmp/demo")"
	done
}

case_the_demo_shows_a_page_of_the_host_inside() {
	need_tun
	run_demo "$here/../demo.sh" "$BUILD/rlkbox"
	grep -q -e '--net=builtin' "$tmp/demo" || fail "no network: $(cat "$tmp/demo")"
	assert_eq pages 2 "$(grep -c 'Hello from' "$tmp/demo")"
}

case_the_demo_runs_without_newuidmap() {
	mkdir "$tmp/bin"
	for program in sh cat date sed grep ls mktemp sleep rm rmdir kill id cut tr expr env head tail awk \
		seq printf readlink wc ps basename dirname find sort touch mkdir; do
		path=$(command -v "$program" || true)
		case $path in /*) ln -s "$path" "$tmp/bin/$program" ;; esac
	done
	env PATH="$tmp/bin" sh "$here/../demo.sh" "$BUILD/rlkbox" "$BUILD/tools/web" >"$tmp/demo" 2>&1 ||
		fail "$(cat "$tmp/demo")"
	grep -q -e '--subid-source=self' "$tmp/demo" || fail "the demo does not name the option: $(cat "$tmp/demo")"
}

# run_demo SCRIPT RLKBOX: the demo succeeds within a minute, and leaves no directory
run_demo() {
	timeout -k 5 60 sh "$1" "$2" "$BUILD/tools/web" >"$tmp/demo" 2>&1 || fail "status $?: $(cat "$tmp/demo")"
	assert_eq 'directories left' '' "$(find "$tmp" -name 'rlkbox-demo.*')"
}

# The delay imitates a busy machine: the demo must wait until its background processes are ready.
case_the_demo_runs_if_background_processes_start_late() {
	sed 's/^\(	*\)\(.*[^&]\) &$/\1{ sleep 0.1; \2; } \&/' "$here/../demo.sh" >"$tmp/late.sh"
	assert_eq 'background commands' "$(grep -c '[^&]&$' "$here/../demo.sh")" \
		"$(grep -c '{ sleep 0.1; .*; } &$' "$tmp/late.sh")"
	for _ in 1 2 3; do
		run_demo "$tmp/late.sh" "$BUILD/rlkbox"
	done
}

# Another program takes the port after the demo has found it free, before the launcher starts.
case_the_demo_tries_another_port_if_its_port_is_taken() {
	cat >"$tmp/rlkbox" <<-EOF
		#!/bin/sh
		if [ "\$1" = rootlesskit ] && [ ! -e "$tmp/taken" ]; then
			for word; do
				case \$word in 127.0.0.1:*:*) port=\${word#*:} port=\${port%%:*} ;; esac
			done
			"$BUILD/tools/web" serve 127.0.0.1 "\$port" >"$tmp/taken" &
			echo \$! >"$tmp/taker"
			until [ -s "$tmp/taken" ]; do sleep 0.02; done
		fi
		exec "$BUILD/rlkbox" "\$@"
	EOF
	chmod +x "$tmp/rlkbox"
	trap 'send_signal TERM "$(cat "$tmp/taker")"' EXIT
	run_demo "$here/../demo.sh" "$tmp/rlkbox"
	grep -q 'another program has taken port .*: trying the next pair of ports' "$tmp/demo" || fail "$(cat "$tmp/demo")"
}

# The delays wait for nothing: each picks another moment for the signal. lib.sh checks that no process is left.
case_the_demo_ended_by_a_signal_leaves_nothing() {
	for signal in TERM INT HUP; do
		for delay in 0.002 0.005 0.01 0.015 0.02 0.03 0.04 0.06; do
			rc=0
			timeout -k 15 -s "$signal" "$delay" env --default-signal=INT,HUP sh "$here/../demo.sh" \
				"$BUILD/rlkbox" "$BUILD/tools/web" >"$tmp/demo" 2>&1 || rc=$?
			[ "$rc" -ne 137 ] || fail "SIG$signal after $delay s: the demo went on for 15 s"
			assert_eq "directories left by SIG$signal after $delay s" '' \
				"$(find "$tmp" -name 'rlkbox-demo.*')"
		done
	done
}

run_cases \
	list_prints_the_applets \
	an_applet_is_called_by_link_or_by_argument \
	install_makes_hard_links \
	install_s_makes_symbolic_links \
	rootlessport_is_installed_only_if_asked_for \
	install_does_not_overwrite_foreign_files \
	install_gives_advice_if_it_cannot_make_links \
	an_unknown_applet_is_refused_with_advice \
	install_f_keeps_a_file_that_it_cannot_replace \
	only_libc_is_needed \
	the_demo_runs \
	the_demo_shows_a_page_of_the_host_inside \
	the_demo_runs_without_newuidmap \
	the_demo_runs_if_background_processes_start_late \
	the_demo_tries_another_port_if_its_port_is_taken \
	the_demo_ended_by_a_signal_leaves_nothing
