#!/bin/sh
# Checks the layers of the sources by their #include lines. A file may include only headers of its own
# folder, or of a folder or top-level file that comes earlier in `order`. Inside a folder there must be
# no include cycle.
set -eu

order='base formats os netns msg bicopy ports usernet net launch api child parent applets main'

status=0

complain() {
	echo "tests/layers.sh: $*" >&2
	status=1
}

# Prints the folder of a file, or the name without extension of a top-level file.
layer_of() {
	case $1 in
	*/*) echo "${1%%/*}" ;;
	*) echo "${1%.[ch]}" ;;
	esac
}

# is_before A B: A comes before B in `order`, or is the same layer
is_before() {
	[ "$1" = "$2" ] && return
	all=" $order "
	case $all in *" $1 "*) ;; *) return 1 ;; esac
	case " ${all#*" $1 "}" in *" $2 "*) ;; *) return 1 ;; esac
}

# Prints the headers that a file includes, as written.
headers_of() {
	sed -n 's/^#include "\(.*\)"$/\1/p' "$1"
}

for file in *.[ch] [a-z]*/*.[ch]; do
	own=$(layer_of "$file")
	case " $order " in *" $own "*) ;; *) complain "$file is in no layer"; continue ;; esac
	for header in $(headers_of "$file"); do
		if [ ! -e "$header" ]; then
			complain "$file includes $header, which is not a path from the root of the tree"
		elif ! is_before "$(layer_of "$header")" "$own"; then
			complain "$file includes $header, which is in a higher layer"
		fi
	done
done

# Prints which unit includes which inside a folder; tsort(1) fails if there is a cycle.
for folder in $order; do
	[ -d "$folder" ] || continue
	for file in "$folder"/*.[ch]; do
		for header in $(headers_of "$file"); do
			case $header in "$folder"/*) echo "${file%.*} ${header%.*}" ;; esac
		done
	done | tsort >/dev/null || complain "$folder has an include cycle"
done

# formats must not use descriptors or processes, and must not allocate memory.
if grep -nE '\b(open|read|write|close|socket|fork|exec[vl]p?e?|malloc|free)\(' base/text.[ch] formats/*.[ch]; then
	complain "formats touch no descriptor or process, and allocate no memory"
fi
exit $status
