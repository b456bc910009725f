#!/bin/sh
# Tests of tests/layers.sh, which checks the #include lines of the sources: each case makes a small tree of
# sources and looks at what the script says about it.
. "$(dirname "$0")/lib.sh"

# Makes a tree without a fault: ports is above formats and base.
make_tree() {
	mkdir -p "$tmp/tree/base" "$tmp/tree/formats" "$tmp/tree/ports"
	cd "$tmp/tree"
	: >base/text.c
	: >base/text.h
	printf '#include <stdio.h>\n#include "base/text.h"\n' >formats/json.c
	: >formats/json.h
	printf '#include "formats/json.h"\n#include "ports/udp.h"\n' >ports/tcp.h
	: >ports/udp.h
	printf '#include "ports/tcp.h"\n' >parent.c
}

# check STATUS OUTPUT: runs the script in the tree
check() {
	rc=0
	out=$("$here/../layers.sh" 2>&1) || rc=$?
	assert_eq output "$2" "$out"
	assert_eq status "$1" "$rc"
}

case_a_tree_with_includes_that_go_down_is_accepted() {
	make_tree
	check 0 ''
}

case_an_include_of_a_higher_layer_is_rejected() {
	make_tree
	printf '#include "ports/tcp.h"\n' >base/text.h
	check 1 'tests/layers.sh: base/text.h includes ports/tcp.h, which is in a higher layer'
	: >base/text.h
	: >parent.h
	printf '#include "parent.h"\n' >ports/udp.h
	check 1 'tests/layers.sh: ports/udp.h includes parent.h, which is in a higher layer'
}

case_a_cycle_in_a_folder_is_rejected() {
	make_tree
	printf '#include "ports/tcp.h"\n' >ports/udp.h
	rc=0
	out=$("$here/../layers.sh" 2>&1) || rc=$?
	assert_match output '*ports/tcp*ports/udp*ports has an include cycle' "$out"
	assert_eq status 1 "$rc"
}

case_a_file_outside_of_the_layers_is_rejected() {
	make_tree
	mkdir util
	: >util/misc.c
	check 1 'tests/layers.sh: util/misc.c is in no layer'
}

case_a_path_that_does_not_begin_at_the_root_is_rejected() {
	make_tree
	printf '#include "udp.h"\n' >ports/tcp.h
	check 1 'tests/layers.sh: ports/tcp.h includes udp.h, which is not a path from the root of the tree'
}

case_a_parser_that_opens_a_file_or_allocates_is_rejected() {
	make_tree
	printf 'void *p = malloc(1);\n' >formats/json.c
	check 1 'formats/json.c:1:void *p = malloc(1);
tests/layers.sh: formats touch no descriptor or process, and allocate no memory'
}

run_cases \
	a_tree_with_includes_that_go_down_is_accepted \
	an_include_of_a_higher_layer_is_rejected \
	a_cycle_in_a_folder_is_rejected \
	a_file_outside_of_the_layers_is_rejected \
	a_path_that_does_not_begin_at_the_root_is_rejected \
	a_parser_that_opens_a_file_or_allocates_is_rejected
