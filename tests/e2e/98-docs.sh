#!/bin/sh
# The documentation: its commands run and print what the pages show, and what pages name exists.
. "$(dirname "$0")/lib.sh"

root=$(cd "$here/../.." && pwd)

# run_page PAGE: runs its blocks (tests/docs.sh) as a reader would, in an empty directory
run_page() {
	PORTS="$(free_port) $(free_port) $(free_port) $(free_port)"
	NO_TUN=
	can_open /dev/net/tun || NO_TUN=yes
	export PORTS NO_TUN
	(cd "$root" && tests/docs.sh "$1") >"$tmp/script"
	grep -q '^{$\|^rootlesskit' "$tmp/script" || fail "$1 has no command to run"
	HOME=$tmp/home timeout 120 sh "$tmp/script" "$tmp/home"
	if [ -n "$NO_TUN" ] && grep -q '^```.* tun$' "$root/$1"; then
		skip tun "/dev/net/tun cannot be opened, so some blocks of $1 did not run"
	fi
}

# Prints the names of all pages, relative to the root of the tree.
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
case_commands_of_network_print_what_it_shows() {
	run_page docs/network.md
}
case_commands_of_ports_print_what_it_shows() {
	run_page docs/ports.md
}
case_commands_of_api_print_what_it_shows() {
	run_page docs/api.md
}

# Tests run_page itself.
case_a_wrong_page_is_noticed() {
	printf '```console\n$ echo one; echo two\none\nthree\n```\n' >"$tmp/output.md"
	printf '```sh\nfalse\n```\n' >"$tmp/status.md"
	printf '```console\n$ echo one; echo two\no...two\n```\n```sh not-run: it fails\nfalse\n```\n' >"$tmp/right.md"
	for page in output status right; do
		"$here/../docs.sh" "$tmp/$page.md" >"$tmp/$page.sh"
	done
	assert_fails sh "$tmp/output.sh" "$tmp/a"
	assert_fails sh "$tmp/status.sh" "$tmp/b"
	sh "$tmp/right.sh" "$tmp/c"
}

# A block is run, or the page says why not. @ stands for a backquote.
case_a_block_that_would_not_run_unnoticed_is_refused() {
	while read -r block; do
		printf '%b' "$block" | tr @ '`' >"$tmp/page.md"
		! "$here/../docs.sh" "$tmp/page.md" >"$tmp/script" 2>"$tmp/err" || fail "accepted: $block"
		assert_match "$block" "$tmp/page.md:*" "$(cat "$tmp/err")"
	done <<-'EOF'
		@@@\nfalse\n@@@\n
		@@@bash\nfalse\n@@@\n
		@@@sh not-run\nfalse\n@@@\n
		@@@sh not-run: \nfalse\n@@@\n
		@@@sh\ntrue\n
		text\n\n    false\n
		text\n\n\tfalse\n
		- item\n\n  @@@sh\n  false\n  @@@\n
		~~~sh\nfalse\n~~~\n
		@@@console\noutput\n@@@\n
	EOF
}

# Every page that has blocks that run has a case above.
case_every_page_with_commands_is_run() {
	for page in $(pages); do
		(cd "$root" && tests/docs.sh "$page") >"$tmp/script"
		# what follows the two functions at the beginning of each script
		sed '1,/^}/d' "$tmp/script" | sed '1,/^}/d' | grep -q . || continue
		grep -q "^	run_page $page\$" "$here/98-docs.sh" || fail "$page is not run"
	done
}

# not_run: prints the commands of all pages that do not run
not_run() {
	for page in $(pages); do (cd "$root" && tests/docs.sh --not-run "$page"); done
}

# What can be checked of these: syntax, options, names of targets, tests and cases.
case_commands_that_do_not_run_name_what_exists() {
	not_run >"$tmp/commands"
	[ "$(grep -c . "$tmp/commands")" -ge 30 ] || fail 'too few commands'
	sh -n "$tmp/commands"
	rootlesskit --help >"$tmp/help"
	# the options of rootlesskit, up to its command
	sed -n ':a; /\\$/{N; s/\\\n//; ta}; s/^rootlesskit //p' "$tmp/commands" |
		awk '{ for (i = 1; i <= NF && $i ~ /^-/; i++) if ($i == "-p") i++; else print $i }' | sed 's/=.*//' |
		while read -r option; do grep -q "^  $option\>" "$tmp/help" || echo "no option $option"; done >"$tmp/wrong"
	grep -o 'TESTS=[a-z0-9_-]*' "$tmp/commands" | cut -d = -f 2 | while read -r name; do
		[ -e "$here/$name.sh" ] || [ -n "$(find "$root/tests/unit" -name "$name.c")" ] || echo "no test $name"
	done >>"$tmp/wrong"
	grep -o 'CASES=[a-zA-Z0-9_]*' "$tmp/commands" | cut -d = -f 2 | while read -r name; do
		grep -q "^case_$name()" "$here"/*.sh || echo "no case $name"
	done >>"$tmp/wrong"
	assert_eq 'wrong names' '' "$(cat "$tmp/wrong")"
}

# As a command of a block or in the text, as in `make check`.
case_targets_of_make_that_pages_name_exist() {
	for page in $(pages); do
		sed -n 's/^/\n/; s/`/\n/g; p' "$root/$page" | sed -n 's/^\(sudo \|[A-Z]*=[^ ]* \)*make \([a-z0-9-]*\).*/\2/p' | sort -u |
			while read -r target; do
				[ -z "$target" ] || [ "$target" = sure ] || grep -q "^$target:" "$root/Makefile" || echo "$page: make $target"
			done
	done >"$tmp/wrong"
	assert_eq 'targets that do not exist' '' "$(cat "$tmp/wrong")"
}

# ---- links and names ----

# anchors_of PAGE: prints the anchors of its headings, as in links: page.md#anchor
anchors_of() {
	sed -n 's/^##* //p' "$1" | tr '[:upper:]' '[:lower:]' | sed 's/[^a-z0-9 _-]//g; s/ /-/g'
}

# check_link PAGE TARGET: prints what is wrong with a link in PAGE
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

# Files as `name.c` or `folder/name.ending`, and units as `folder/name`, from the root of the tree.
case_files_that_pages_name_exist() {
	folders=$(cd "$root" && printf '%s\n' */ | tr -d / | paste -sd '|')
	for page in $(pages); do
		grep -oE "\`([a-z][A-Za-z0-9_./-]*\.(c|h|sh|py|md|yaml|dot|svg)|($folders)/[A-Za-z0-9_./-]*)\`" "$root/$page" |
			tr -d '`' | grep -v 'rootless[a-z-]*\.sh\|[A-Z]\{4,\}\|^build/' |
			while read -r name; do
				[ -e "$root/$name" ] || [ -e "$root/$name.c" ] || [ -e "$root/$name.h" ] || echo "$page names $name"
			done
	done >"$tmp/wrong"
	assert_eq 'files that do not exist' '' "$(cat "$tmp/wrong")"
}

# Functions, macros and tables as `name` in `file`.
case_files_have_what_pages_look_for_in_them() {
	for page in $(pages); do
		tr '\n' ' ' <"$root/$page" | grep -oE '`[A-Za-z0-9_]+`( and `[A-Za-z0-9_]+`)* in `[a-z/]+[a-z0-9_]*\.[ch]`' || :
	done >"$tmp/places"
	[ "$(wc -l <"$tmp/places")" -ge 20 ] || fail 'the pages name too few places'
	while read -r place; do
		file=$(echo "${place##* in }" | tr -d '`')
		for name in $(echo "${place% in *}" | grep -o '`[^`]*`' | tr -d '`'); do
			grep -qw "$name" "$root/$file" || echo "$file has no $name"
		done
	done <"$tmp/places" >"$tmp/wrong"
	assert_eq 'names that do not exist' '' "$(cat "$tmp/wrong")"
}

# Other names with a low line in the page about the sources, and types.
case_names_in_the_design_are_those_of_the_sources() {
	grep -oE '`((struct|enum) )?[A-Za-z]+(_[A-Za-z0-9]+)+`|`(struct|enum) [a-z]+`' "$root/docs/design.md" | tr -d '`' |
		sort -u >"$tmp/names"
	[ "$(wc -l <"$tmp/names")" -ge 20 ] || fail 'the page has too few names'
	while read -r name; do
		grep -qrw --include='*.[ch]' "$name" "$root" || echo "$name"
	done <"$tmp/names" >"$tmp/wrong"
	assert_eq 'names that the sources do not have' '' "$(cat "$tmp/wrong")"
}

case_the_map_names_every_source_file() {
	for file in $(cd "$root" && printf '%s\n' ./*.[ch] ./*/*.[ch] | sed 's,^\./,,'); do
		grep -q "\`${file%.*}[\`.]" "$root/docs/design.md" || echo "$file"
	done >"$tmp/wrong"
	assert_eq 'files that docs/design.md does not name' '' "$(cat "$tmp/wrong")"
}

# The source is docs/path.dot. Versions of graphviz draw it differently, but with the same words.
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

# flags_of_help: prints each option with its argument, as in the help of a program on standard input
flags_of_help() {
	sed -nE 's/^  (-[-a-z0-9]+( [A-Z]+)?(, -[a-z]( [A-Z]+)?)?) .*/\1/p'
}

# flags_of_page PAGE: prints the same of a man page
flags_of_page() {
	sed -n 's/^\.It Fl /-/p' "$root/man/$1.1" | sed 's/ Ar / /g; s/ , /, /g; s/Fl /-/g'
}

case_man_pages_describe_every_option() {
	for program in rootlesskit rootlessctl rootlesskit-docker-proxy; do
		"$program" --help | flags_of_help | sort >"$tmp/help"
		[ "$(wc -l <"$tmp/help")" -ge 5 ] || fail "$program --help shows too few options"
		assert_eq "options in man/$program.1" "$(cat "$tmp/help")" "$(flags_of_page "$program" | sort)"
	done
	rlkbox --help | grep -oE '[[ ]--?[a-z]+' | cut -c 2- | sort -u >"$tmp/help"
	grep -oE '(Fl -?[a-z]+)' "$root/man/rlkbox.1" | sed 's/Fl /-/' | grep -vx -e -h -e -v | sort -u >"$tmp/page"
	assert_eq 'options in man/rlkbox.1' "$(cat "$tmp/help")" "$(cat "$tmp/page")"
}

case_man_pages_name_every_command() {
	rootlessctl --help | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p' | sort >"$tmp/help"
	assert_eq 'commands in man/rootlessctl.1' "$(cat "$tmp/help")" "$(sed -n 's/^\.It Cm \([a-z-]*\).*/\1/p' "$root/man/rootlessctl.1" | sort)"
	assert_eq 'applets in man/rlkbox.1' "$(rlkbox --list | sort)" "$(sed -n 's/^\.It Cm \([a-z-]*\)$/\1/p' "$root/man/rlkbox.1" | sort)"
}

# item OPTION: prints what man/rootlesskit.1 says about it
item() {
	awk -v option="$1" '/^\.(It Fl|Sh|Ss)/ { on = $3 == substr(option, 2) } on' "$root/man/rootlesskit.1"
}

case_man_pages_have_the_defaults_of_the_help() {
	rootlesskit --help | sed -n 's/^  \(--[a-z0-9-]*\).*(default: \([^ )]*\))$/\1 \2/p' >"$tmp/defaults"
	[ "$(wc -l <"$tmp/defaults")" -ge 10 ] || fail '--help shows too few defaults'
	while read -r option default; do
		item "$option" | grep -A 1 default | grep -qF -- "$default" ||
			item "$option" | grep -B 1 default | grep -qF -- "$default" || echo "$option: $default"
	done <"$tmp/defaults" >"$tmp/wrong"
	assert_eq 'defaults that man/rootlesskit.1 lacks' '' "$(cat "$tmp/wrong")"
}

# Defaults of one word, as "--mtu N ... (default: 65520)".
case_defaults_are_those_of_the_help() {
	rootlesskit --help | sed -n 's/^  \(--[a-z0-9-]*\).*(default: \([^ )]*\))$/\1 \2/p' >"$tmp/defaults"
	[ "$(wc -l <"$tmp/defaults")" -ge 10 ] || fail '--help shows too few defaults'
	while read -r option default; do
		[ "$default" != true ] || default=on
		grep "^| .*\`${option}[ \`]" "$root/docs/usage.md" | cut -d '|' -f 3 | grep -qwF -- "$default" ||
			echo "$option has the default $default"
	done <"$tmp/defaults" >"$tmp/wrong"
	assert_eq 'defaults that docs/usage.md does not have' '' "$(cat "$tmp/wrong")"
}

# Splits messages on standard input into parts that the program's file contains. Names, numbers and "..."
# separate parts, and so do system errors and other words that the program may insert with "%s".
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
		echo "$message" | literal_parts >"$tmp/parts" || fail "$message: no part of it can be looked up"
		while read -r part; do
			grep -aqF -e "$part" "$BUILD/rlkbox" || echo "$message: no such message: $part"
		done <"$tmp/parts"
	done <"$tmp/messages" >"$tmp/wrong"
	assert_eq 'messages that the program does not have' '' "$(cat "$tmp/wrong")"
}

case_the_messages_of_the_handshake_are_those_of_the_program() {
	sed -n 's/^\t\[HS_[A-Z_]*\] = "\([A-Za-z]*\)".*/\1/p' "$root/launch/handshake.c" >"$tmp/program"
	sed -n 's/^| `\([A-Z][A-Za-z]*\)` | \(parent\|child\) |.*/\1/p' "$root/docs/protocol.md" >"$tmp/page"
	[ "$(wc -l <"$tmp/program")" -ge 8 ] || fail 'launch/handshake.c shows too few messages'
	assert_eq messages "$(cat "$tmp/program")" "$(cat "$tmp/page")"
}

case_every_difference_has_a_reason() {
	awk -F' *[|] *' '/^[|] / && (NF != 5 || $2 == "" || $3 == "" || $4 == "" || $4 == $3)' "$root/docs/differences.md" >"$tmp/wrong"
	assert_eq 'rows without three parts' '' "$(cat "$tmp/wrong")"
}

# ---- the description of the API ----

# Prints the table of routes in the source as METHOD PATH.
routes() {
	sed -n 's/.*{ "\(\/v1[^"]*\)", \(true\|false\), "[A-Z, ]*", "\([A-Z]*\)".*/\3 \1 \2/p' "$root/api/api.c" |
		sed 's/ true$/{id}/; s/ false$//'
}

# ask METHOD PATH [CURL OPTION...]: makes a request with $id for {id} in PATH. Appends the answer to
# $tmp/answers, for tests/tools/openapi.py.
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
	need_slirp4netns
	need_ipv6
	routes >"$tmp/routes"
	start --net=slirp4netns --disable-host-loopback --ipv6 --port-driver=builtin sleep 60
	ask_everything
	stop
	start --net=slirp4netns --disable-host-loopback --port-driver=slirp4netns sleep 60
	ask GET /v1/info
	stop
	start sleep 60
	ask_everything
	stop
	# The network lxc-user-nic cannot be made here. 48-lxc-user-nic.sh checks that it is described like this.
	printf 'GET\t/v1/info\t200\tapplication/json\t%s\n' "$(grep -h '"driver":"slirp4netns"' "$tmp/answers" | head -n 1 |
		cut -f 5 | sed 's/"networkDriver":{[^}]*}/"networkDriver":{"driver":"lxc-user-nic","dynamicChildIP":true}/')" >>"$tmp/answers"
	python3 "$here/../tools/openapi.py" "$root/docs/openapi.yaml" "$tmp/routes" "$tmp/answers"
}

# The tables of api.md; the page writes `id`, `spec` and `message` as JSON instead.
case_api_md_has_the_members_of_the_description() {
	sed -n '/^  schemas:/,$ s/^        \([a-zA-Z]*\):$/\1/p' "$root/docs/openapi.yaml" |
		grep -vx 'id\|spec\|message' | sort -u >"$tmp/members"
	[ "$(wc -l <"$tmp/members")" -ge 12 ] || fail 'docs/openapi.yaml has too few members'
	sed -n 's/^| `\([a-zA-Z]*\.\)\{0,1\}\([a-zA-Z]*\)` | \(string\|integer\|boolean\|object\|list of\).*/\2/p' \
		"$root/docs/api.md" | sort -u >"$tmp/described"
	assert_eq members "$(cat "$tmp/members")" "$(cat "$tmp/described")"
}

# wrong_description SED WORDS: with the description changed by SED, openapi.py must fail and print WORDS
wrong_description() {
	sed "$1" "$root/docs/openapi.yaml" >"$tmp/wrong.yaml"
	why=$(python3 "$here/../tools/openapi.py" "$tmp/wrong.yaml" "$tmp/routes" "$tmp/answers") &&
		fail "the check does not notice: $2"
	assert_match "$1" "*$2*" "$why"
}

# Tests tests/tools/openapi.py itself.
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
	commands_of_network_print_what_it_shows commands_of_ports_print_what_it_shows commands_of_api_print_what_it_shows \
	a_wrong_page_is_noticed a_block_that_would_not_run_unnoticed_is_refused \
	every_page_with_commands_is_run commands_that_do_not_run_name_what_exists \
	targets_of_make_that_pages_name_exist \
	relative_links_lead_to_files_and_headings files_that_pages_name_exist \
	files_have_what_pages_look_for_in_them names_in_the_design_are_those_of_the_sources \
	the_map_names_every_source_file the_picture_has_the_words_of_its_source \
	the_readme_has_at_most_130_lines every_option_is_described \
	man_pages_describe_every_option man_pages_name_every_command man_pages_have_the_defaults_of_the_help \
	defaults_are_those_of_the_help \
	the_program_has_the_messages_of_troubleshooting \
	the_messages_of_the_handshake_are_those_of_the_program every_difference_has_a_reason \
	the_description_of_the_API_fits_the_server api_md_has_the_members_of_the_description \
	a_wrong_description_of_the_API_is_noticed
