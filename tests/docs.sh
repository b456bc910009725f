#!/bin/sh
# Makes a shell script of the code blocks of a documentation page: tests/docs.sh PAGE. The
# script's first argument is a directory where nothing is yet; it runs there. All blocks of a page run
# in one shell, in their order:
#
#     ```sh          every command must succeed
#     ```console     commands begin with "$ " and go on with "> "; the lines after one must be what it
#                    prints, where "..." stands for any text. Blanks count as one; warnings of the
#                    launcher do not count, nor does what a command in the background prints
#
# Indented blocks and blocks of other languages do not run. The ports that pages use (8080, 8081, 8053
# and 8443) are replaced by the environment's PORTS, four free ones. With NO_TUN set, blocks that begin
# with ```sh tun or ```console tun are left out.
set -eu

page=$1
# shellcheck disable=SC2086 # four words
set -- ${PORTS:-8080 8081 8053 8443}

cat <<'END'
set -eu
mkdir -p "$1"
cd "$1"
said=$PWD.said

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
	awk -v page="$page" -v no_tun="${NO_TUN-}" '
	function flush() {
		if (cmd == "")
			return
		count++
		printf "{\n%s\n} >\"$said.%d\" 2>&1 </dev/null || :\n", cmd, count
		if (cmd !~ /&$/)
			printf "expect %s:%d \"$said.%d\" <<\"EXPECTED\"\n%sEXPECTED\n", page, line, count, out
		else if (out != "")
			printf "echo %s:%d: output of a command in the background >&2; exit 1\n", page, line
		cmd = out = ""
	}
	mode == "" && /^```/ {
		mode = /^```sh/ ? "sh" : /^```console/ ? "console" : "other"
		if (no_tun != "" && / tun$/)
			mode = "other"
		next
	}
	/^```/ { flush(); mode = ""; next }
	mode == "sh" { print }
	mode == "console" && /^\$ / { flush(); cmd = substr($0, 3); line = NR; next }
	mode == "console" && /^> / { cmd = cmd "\n" substr($0, 3); next }
	mode == "console" { out = out $0 "\n" }'
