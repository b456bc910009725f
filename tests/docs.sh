#!/bin/sh
# Makes a shell script of the code blocks of a documentation page: tests/docs.sh PAGE. The script runs
# in the directory that its first argument names, which it creates. All blocks of a page run in one
# shell, in their order:
#
#     ```sh                     every command must succeed
#     ```console                commands begin with "$ " and go on with "> "; the lines after one must
#                               be what it prints, where "..." stands for any text. Blanks count as
#                               one. Ignored are warnings of the launcher, and what a command in the
#                               background prints
#     ```sh tun, ```console tun the same; left out if NO_TUN is set
#     ```sh not-run: REASON     commands that no test environment can run; must be valid shell
#     ```text                   no commands
#
# Any other code block is an error, and so is an indented one: no command goes stale unnoticed. The
# ports that pages use (8080, 8081, 8053 and 8443) are replaced by the four free ones in PORTS.
#
# tests/docs.sh --not-run PAGE prints the commands that do not run.
set -eu

not_run=
if [ "$1" = --not-run ]; then
	not_run=yes
	shift
fi
page=$1
# shellcheck disable=SC2086 # four words
set -- ${PORTS:-8080 8081 8053 8443}

[ -n "$not_run" ] || cat <<'END'
set -eu
mkdir -p "$1"
cd "$1"
printed=$PWD.printed

# expect PLACE FILE: compares a command's output with standard input
squeeze() {
	grep -v 'level=warning' | sed 's/[[:space:]][[:space:]]*/ /g; s/ $//'
}
expect() {
	expected=$(squeeze)
	pattern=$(printf '%s\n' "$expected" | sed 's/[][*?\\]/\\&/g; s/\.\.\./*/g')
	actual=$(squeeze <"$2")
	case $actual in
	$pattern) ;;
	*)
		printf '%s: expected:\n%s\nbut the command prints:\n%s\n' "$1" "$expected" "$actual" >&2
		exit 1
		;;
	esac
}
END
sed "s/\<8080\>/$1/g; s/\<8081\>/$2/g; s/\<8053\>/$3/g; s/\<8443\>/$4/g" "$page" |
	awk -v page="$page" -v no_tun="${NO_TUN-}" -v not_run="$not_run" '
	function wrong(what) {
		printf "%s:%d: %s\n", page, NR, what >"/dev/stderr"
		failed = 1
		exit 1
	}
	# Prints the command in `cmd`, which must print `out`.
	function flush() {
		if (cmd == "")
			return
		count++
		printf "{\n%s\n} >\"$printed.%d\" 2>&1 </dev/null || :\n", cmd, count
		if (cmd !~ /&$/)
			printf "expect %s:%d \"$printed.%d\" <<\"EXPECTED\"\n%sEXPECTED\n", page, line, count, out
		else if (out != "")
			wrong("output of a command in the background")
		cmd = out = ""
	}
	function kind_of(info) {
		if (info ~ /^(sh|console)( tun)?$/)
			return not_run != "" || (no_tun != "" && info ~ / tun$/) ? "skip" : info ~ /^sh/ ? "sh" : "console"
		if (info ~ /^sh not-run: [^ ]/)
			return not_run != "" ? "sh" : "skip"
		if (info == "text")
			return "skip"
		wrong("a block is sh, console, \"sh not-run: REASON\" or text, not \"" info "\"")
	}
	mode == "" && /^[ >]*~~~/ { wrong("code blocks begin with ```") }
	mode == "" && /^```/ { mode = kind_of(substr($0, 4)); next }
	mode == "" && /^[ \t>]+```/ { wrong("an indented code block") }
	mode == "" && /^(\t|    )/ { wrong("an indented code block") }
	/^```/ { flush(); mode = ""; next }
	mode == "sh" { print }
	mode == "console" && /^\$ / { flush(); cmd = substr($0, 3); line = NR; next }
	mode == "console" && /^> / { cmd = cmd "\n" substr($0, 3); next }
	mode == "console" && cmd == "" { wrong("output without a command") }
	mode == "console" { out = out $0 "\n" }
	END {
		if (!failed && mode != "")
			wrong("a code block without end")
		exit failed
	}'
