#!/bin/sh
# rootlessctl of RootlessKit 3.3.0 asks our launcher, and ours asks RootlessKit's launcher. Each command of
# theirs must print the same with both rootlessctl, and so must ours, except for what masks hides.
. "$(dirname "$0")/../e2e/lib.sh"

built=$("$here/go-programs.sh" --print rootlesskit) || built=
theirs=$built/usr/bin

need_rootlesskit() {
	[ -n "$built" ] || skip rootlesskit-3.3.0 'it is not built; tests/peers/go-programs.sh does that'
	need newuidmap
}

# Advice that ours appends to an error.
without_advice() {
	sed -e 's/; .*//' -e 's/ (.*)$//'
}

# ctl_of DIR ARGUMENT...: runs a rootlessctl; sets rc, and `said` to its output and error
ctl_of() {
	dir=$1
	shift
	rc=0
	"$dir/rootlessctl" --socket="$state/api.sock" "$@" >"$tmp/out" 2>"$tmp/err" || rc=$?
	said="$(cat "$tmp/out"; without_advice <"$tmp/err")"
}

# says_of DIR STATUS TEXT ARGUMENT...: the rootlessctl in DIR must end with this status, and print this
says_of() {
	from=$1 status=$2 text=$3
	shift 3
	ctl_of "$from" "$@"
	assert_eq "status of $*" "$status" "$rc"
	# shellcheck disable=SC2254 # a pattern
	case $said in
	$text) ;;
	*) fail "$*: expected:
$text
but it is:
$said" ;;
	esac
}

# every_command DIR: runs every command of the rootlessctl in DIR against the launcher, which has no ports yet
every_command() {
	p=$(free_port)
	says_of "$1" 0 '*- REST API version: 1.1.3*- State Directory: */state*- Network Driver: none*- Port Driver: builtin*' info
	says_of "$1" 0 '{*"apiVersion": "1.1.3"*"stateDir": "*/state"*"networkDriver": {*"driver": "none"*"portDriver": {*"driver": "builtin"*}' info --json
	says_of "$1" 0 'ID*PROTO*PARENTIP*PARENTPORT*CHILDIP*CHILDPORT*' list-ports
	says_of "$1" 0 '' list-ports --json
	says_of "$1" 0 1 add-ports "127.0.0.1:$p:80/tcp"
	says_of "$1" 0 "{\"id\":2,\"spec\":{\"proto\":\"udp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":$p,\"childPort\":53}}" add-ports --json "127.0.0.1:$p:53/udp"
	# RootlessKit lists ports in any order.
	says_of "$1" 0 "ID*1 *tcp *127.0.0.1 *$p *80*" list-ports
	says_of "$1" 0 "ID*2 *udp *127.0.0.1 *$p *53*" list-ports
	says_of "$1" 0 "*{\"id\":1,\"spec\":{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":$p,\"childPort\":80}}*" list-ports --json
	says_of "$1" 1 'error: conflict with ID 1' add-ports "127.0.0.1:$p:81/tcp"
	says_of "$1" 1 'error: unexpected ParentIP in PortSpec string: "300.1.1.1:1:1/tcp"' add-ports 300.1.1.1:1:1/tcp
	says_of "$1" 1 'error: invalid ParentPort: 70000' add-ports 127.0.0.1:70000:80/tcp
	says_of "$1" 1 'error: missing proto in PortSpec string: "foo"' add-ports "127.0.0.1:$p:82/tcp" foo
	says_of "$1" 1 'error: no port specified' add-ports
	says_of "$1" 1 'error: unknown id: 99' remove-ports 99
	says_of "$1" 1 'error: no ID specified' remove-ports
	says_of "$1" 1 'error: strconv.Atoi: parsing "x": invalid syntax' remove-ports x
	says_of "$1" 0 "1
2" remove-ports 1 2
	says_of "$1" 1 'error: unknown id: 1' remove-ports 1
	says_of "$1" 0 '' list-ports --json
}

case_their_rootlessctl_drives_our_launcher() {
	need_rootlesskit
	start --net=none --port-driver=builtin sleep 60
	every_command "$theirs"
	stop
}

case_our_rootlessctl_drives_their_launcher() {
	need_rootlesskit
	PATH=$theirs:$PATH
	start --net=none --port-driver=builtin sleep 60
	every_command "$bin"
	end_process "$pid"
}

# The same commands with their own, which shows that the expected outputs are RootlessKit's.
case_their_rootlessctl_drives_their_launcher() {
	need_rootlesskit
	PATH=$theirs:$PATH
	start --net=none --port-driver=builtin sleep 60
	every_command "$theirs"
	end_process "$pid"
}

case_each_says_that_there_is_no_launcher() {
	need_rootlesskit
	state=$tmp/none
	for from in "$bin" "$theirs"; do
		for command in info list-ports 'add-ports 127.0.0.1:8080:80/tcp' 'remove-ports 1'; do
			# shellcheck disable=SC2086 # words
			says_of "$from" 1 "error: stat $state/api.sock: no such file or directory" $command
		done
	done
}

run_cases their_rootlessctl_drives_our_launcher our_rootlessctl_drives_their_launcher \
	their_rootlessctl_drives_their_launcher each_says_that_there_is_no_launcher
