#!/bin/sh
# The structure of the sources, as their #include lines show it: a file includes only headers of its
# own folder, or of a folder or file at the top that stands before it in this order; and inside a
# folder nothing includes itself by way of others.
set -eu

order='base formats os netns msg bicopy ports net launch api child parent applets main'

status=0

complain() {
	echo "tests/layers.sh: $*" >&2
	status=1
}

# The folder of a file, or its name without the ending if it is at the top.
layer_of() {
	case $1 in
	*/*) echo "${1%%/*}" ;;
	*) echo "${1%.[ch]}" ;;
	esac
}

# is_before A B: in that order, or the same
is_before() {
	[ "$1" = "$2" ] && return
	all=" $order "
	case $all in *" $1 "*) ;; *) return 1 ;; esac
	case " ${all#*" $1 "}" in *" $2 "*) ;; *) return 1 ;; esac
}

# The headers that a file includes, written as they are.
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

# Which unit includes which, inside a folder: tsort(1) fails where there is a cycle.
for folder in $order; do
	[ -d "$folder" ] || continue
	for file in "$folder"/*.[ch]; do
		for header in $(headers_of "$file"); do
			case $header in "$folder"/*) echo "${file%.*} ${header%.*}" ;; esac
		done
	done | tsort >/dev/null || complain "$folder has an include cycle"
done

# What formats may not do: touch descriptors or processes, or allocate memory.
if grep -nE '\b(open|read|write|close|socket|fork|exec[vl]p?e?|malloc|free)\(' base/text.[ch] formats/*.[ch]; then
	complain "formats touch no descriptor or process, and allocate no memory"
fi
exit $status
