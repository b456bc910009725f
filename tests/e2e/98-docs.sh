#!/bin/sh
# The documentation: its commands run and print what the pages show, and what pages name exists.
. "$(dirname "$0")/lib.sh"

root=$(cd "$here/../.." && pwd)

# run_page PAGE: runs its blocks (tests/docs.sh) as a reader would, in an empty directory
run_page() {
	PORTS="$(free_port) $(free_port) $(free_port) $(free_port)"
	NO_TUN=
	: 2>/dev/null <>/dev/net/tun || NO_TUN=yes
	export PORTS NO_TUN
	(cd "$root" && tests/docs.sh "$1") >"$tmp/script"
	grep -q '^{$\|^rootlesskit' "$tmp/script" || fail "$1 has no command to run"
	HOME=$tmp/home timeout 120 sh "$tmp/script" "$tmp/home"
	if [ -n "$NO_TUN" ] && grep -q '^```.* tun$' "$root/$1"; then
		skip tun "/dev/net/tun cannot be opened, so some blocks of $1 did not run"
	fi
}

# The pages, from the root of the tree.
pages() {
	(cd "$root" && printf '%s\n' *.md docs/*.md)
}

# ---- commands ----

case_commands_of_the_readme_print_what_it_shows() {
	run_page README.md
}
case_commands_of_usage_print_what_it_shows() {
	run_page docs/usage.md
}
case_commands_of_ports_print_what_it_shows() {
	run_page docs/ports.md
}
case_commands_of_api_print_what_it_shows() {
	run_page docs/api.md
}

# Of this test itself: a page that is wrong fails.
case_a_wrong_page_is_noticed() {
	printf '```console\n$ echo one; echo two\none\nthree\n```\n' >"$tmp/output.md"
	printf '```sh\nfalse\n```\n' >"$tmp/status.md"
	printf '```console\n$ echo one; echo two\no...two\n```\n    false\n' >"$tmp/right.md"
	for page in output status right; do
		"$here/../docs.sh" "$tmp/$page.md" >"$tmp/$page.sh"
	done
	assert_fails sh "$tmp/output.sh" "$tmp/a"
	assert_fails sh "$tmp/status.sh" "$tmp/b"
	sh "$tmp/right.sh" "$tmp/c"
}

# Every page that has such blocks has a case above.
case_every_page_with_commands_is_run() {
	for page in $(cd "$root" && pages | xargs grep -l '^```\(sh\|console\)'); do
		grep -q "^	run_page $page\$" "$here/98-docs.sh" || fail "$page is not run"
	done
}

# ---- links and names ----

# anchors_of PAGE: what links to its headings end with
anchors_of() {
	sed -n 's/^##* //p' "$1" | tr '[:upper:]' '[:lower:]' | sed 's/[^a-z0-9 _-]//g; s/ /-/g'
}

# check_link PAGE TARGET
check_link() {
	file=${2%%#*}
	[ -n "$file" ] && file=$(dirname "$1")/$file || file=$1
	[ -e "$root/$file" ] || { echo "$1: $file, to which it links, does not exist"; return; }
	case $2 in
	*'#'*)
		anchors_of "$root/$file" | grep -qx -- "${2#*#}" ||
			echo "$1: $file has no heading for #${2#*#}"
		;;
	esac
}

case_relative_links_lead_to_files_and_headings() {
	for page in $(pages); do
		grep -o '](\([^)]*\))' "$root/$page" | sed 's/^](//; s/)$//' | grep -v :// |
			while read -r target; do check_link "$page" "$target"; done
	done >"$tmp/wrong"
	assert_eq 'wrong links' '' "$(cat "$tmp/wrong")"
}

# Files as `folder/name.ending` or `name.c`, from the root of the tree.
case_files_that_pages_name_exist() {
	for page in $(pages); do
		grep -o '`[a-z][A-Za-z0-9_./-]*\.\(c\|h\|sh\|py\|md\|yaml\|dot\|svg\)`' "$root/$page" | tr -d '`' |
			grep -v 'rootless[a-z-]*\.sh\|[A-Z]\{4,\}' |
			while read -r name; do [ -e "$root/$name" ] || echo "$page names $name"; done
	done >"$tmp/wrong"
	assert_eq 'files that do not exist' '' "$(cat "$tmp/wrong")"
}

case_the_map_names_every_source_file() {
	for file in $(cd "$root" && printf '%s\n' ./*.[ch] ./*/*.[ch] | sed 's,^\./,,'); do
		grep -q "\`${file%.*}[\`.]" "$root/docs/design.md" || echo "$file"
	done >"$tmp/wrong"
	assert_eq 'files that docs/design.md does not name' '' "$(cat "$tmp/wrong")"
}

# Its source is docs/path.dot. What graphviz draws differs between versions, but not the words.
case_the_picture_has_the_words_of_its_source() {
	grep -o 'label="[^"]*"' "$root/docs/path.dot" | sed 's/^label="//; s/"$//; s/\\n/\n/g' |
		sed "s/'/\&#39;/g; s/^ *//; s/ *$//" >"$tmp/words"
	[ "$(wc -l <"$tmp/words")" -ge 15 ] || fail 'the source has too few labels'
	while read -r words; do
		grep -qF ">$words<" "$root/docs/path.svg" || grep -qF "> $words<" "$root/docs/path.svg" ||
			fail "docs/path.svg lacks \"$words\": make docs-pictures generates it"
	done <"$tmp/words"
}

# ---- contents ----

case_the_readme_has_at_most_130_lines() {
	[ "$(wc -l <"$root/README.md")" -le 130 ] || fail "it has $(wc -l <"$root/README.md")"
}

case_every_option_is_described() {
	rootlesskit --help | sed -n 's/^  \(--[a-z0-9-]*\).*/\1/p' | sort >"$tmp/options"
	[ "$(wc -l <"$tmp/options")" -ge 30 ] || fail "--help shows too few options"
	grep '^| `-' "$root/docs/usage.md" | cut -d '|' -f 2 | grep -o -- '--[a-z0-9-]*' | sort -u >"$tmp/described"
	assert_eq options "$(cat "$tmp/options")" "$(cat "$tmp/described")"
}

# The parts of a message that the program has as they are: without names and numbers ("..."), the reasons
# of the system, and the words that may be in a "%s".
literal_parts() {
	sed -E 's/permission denied|address already in use/.../g
		s/\<(slirp4netns|pasta|newuidmap|subuid)\>/.../g; s,/(dev|etc)/[a-z/]*,...,g; s/has (the|a) /has ... \1 /; s/[0-9]+ ms/.../' |
		sed 's/\.\.\./\n/g' | sed 's/^ *//; s/ *$//' | grep '...'
}

case_the_program_has_the_messages_of_troubleshooting() {
	grep '^| ' "$root/docs/troubleshooting.md" | cut -d '|' -f 2 | grep -o '`[^`]*`' | tr -d '`' |
		grep -v '^/sys' >"$tmp/messages"
	[ "$(wc -l <"$tmp/messages")" -ge 25 ] || fail 'the page has too few messages'
	while read -r message; do
		echo "$message" | literal_parts >"$tmp/parts" || fail "$message: there is nothing to look for"
		while read -r part; do
			grep -aqF -e "$part" "$BUILD/rlkbox" || echo "$message: no such message: $part"
		done <"$tmp/parts"
	done <"$tmp/messages" >"$tmp/wrong"
	assert_eq 'messages that the program does not have' '' "$(cat "$tmp/wrong")"
}

case_every_difference_has_a_reason() {
	awk -F' *[|] *' '/^[|] / && ($2 == "" || $3 == "" || $4 == "")' "$root/docs/differences.md" >"$tmp/wrong"
	assert_eq 'rows with an empty cell' '' "$(cat "$tmp/wrong")"
}

# ---- the description of the API ----

# The table of routes in the source, as METHOD PATH.
routes() {
	sed -n 's/.*{ "\(\/v1[^"]*\)", \(true\|false\), "\([A-Z]*\)".*/\3 \1 \2/p' "$root/api/api.c" |
		sed 's/ true$/{id}/; s/ false$//'
}

# ask METHOD PATH [CURL OPTION...]: appends the answer to $tmp/answers, for tests/tools/openapi.py
ask() {
	method=$1 path=$2
	shift 2
	kind=$(curl -s --max-time 10 --unix-socket "$state/api.sock" -X "$method" -o "$tmp/body" \
		-w '%{http_code}\t%{content_type}' "$@" "http://rootlesskit$(echo "$path" | sed "s/{id}/${id-}/")")
	printf '%s\t%s\t%s\t%s\n' "$method" "$path" "$kind" "$(cat "$tmp/body")" >>"$tmp/answers"
}

ask_everything() {
	ask GET /v1/info
	ask GET /v1/ports
	ask POST /v1/ports -d "{\"proto\":\"tcp\",\"parentIP\":\"127.0.0.1\",\"parentPort\":$(free_port),\"childIP\":\"127.0.0.1\",\"childPort\":80}"
	ask POST /v1/ports -d "{\"proto\":\"udp4\",\"parentPort\":$(free_port),\"childPort\":53}"
	ask POST /v1/ports -d '{'
	ask GET /v1/ports
	id=1
	ask DELETE '/v1/ports/{id}'
	ask DELETE '/v1/ports/{id}'
}

case_the_description_of_the_API_fits_the_server() {
	need_tun
	routes >"$tmp/routes"
	start --net=slirp4netns --disable-host-loopback --port-driver=builtin sleep 60
	ask_everything
	stop
	start --net=slirp4netns --disable-host-loopback --port-driver=slirp4netns sleep 60
	ask GET /v1/info
	stop
	start sleep 60
	ask_everything
	stop
	python3 "$here/../tools/openapi.py" "$root/docs/openapi.yaml" "$tmp/routes" "$tmp/answers"
}

# wrong_description SED WORDS: with such a change to the description the check fails, and says why
wrong_description() {
	sed "$1" "$root/docs/openapi.yaml" >"$tmp/wrong.yaml"
	why=$(python3 "$here/../tools/openapi.py" "$tmp/wrong.yaml" "$tmp/routes" "$tmp/answers") &&
		fail "the check does not notice: $2"
	assert_match "$1" "*$2*" "$why"
}

# Of the check itself.
case_a_wrong_description_of_the_API_is_noticed() {
	start --net=none --port-driver=builtin sleep 60
	routes >"$tmp/routes"
	ask_everything
	stop
	wrong_description '/^        childPID:/,+1d' 'childPID is not described'
	wrong_description 's/parentIP:/parentAddress:/' 'Spec.parentAddress was in no answer'
	wrong_description 's/ - childPort/ - childPorts/' 'there is no childPorts, which is required'
	wrong_description 's/type: integer/type: string/' 'is not of type string'
	wrong_description "s/'201'/'200'/" 'POST /v1/ports 201 is not described'
	wrong_description 's,/v1/info:,/v1/information:,' 'GET /v1/info: only the server has it'
}

run_cases commands_of_the_readme_print_what_it_shows commands_of_usage_print_what_it_shows \
	commands_of_ports_print_what_it_shows commands_of_api_print_what_it_shows \
	a_wrong_page_is_noticed every_page_with_commands_is_run \
	relative_links_lead_to_files_and_headings files_that_pages_name_exist \
	the_map_names_every_source_file the_picture_has_the_words_of_its_source \
	the_readme_has_at_most_130_lines every_option_is_described \
	the_program_has_the_messages_of_troubleshooting every_difference_has_a_reason \
	the_description_of_the_API_fits_the_server a_wrong_description_of_the_API_is_noticed
