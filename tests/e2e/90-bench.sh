#!/bin/sh
# The benchmarks: their calculations, and that a row can be measured. Speed is not tested here.
. "$(dirname "$0")/lib.sh"

bench=$(cd "$(dirname "$0")/../bench" && pwd)

case_calculations_and_texts_of_the_benchmark_are_right() {
	python3 -B "$bench/test_bench.py"
}

case_a_row_is_measured_and_reported() {
	need_slirp4netns
	OUT=$tmp/out QUICK=1 ROUNDS=1 ROWS=memory "$bench/run.sh" "$BUILD"
	# rlkbox and RootlessKit have figures; below is why other figures are missing.
	figure='[0-9.]+' figure_or_note='([0-9.]+|- \[[0-9]+\])'
	columns="$figure \\| $figure_or_note"
	! "$bench/../peers/go-programs.sh" --print rootlesskit || columns="$columns \\| $figure"
	grep -Eq "^\\| resident memory after the start.* \\| MB \\| $columns \\| - \\[" "$tmp/out/table.md" ||
		fail "$(cat "$tmp/out/table.md")"
	grep -q '^\[1\] .*: .*\.' "$tmp/out/table.md"
	grep -q '^memory-none,.*,rlkbox,[0-9.]*,' "$tmp/out/table.csv"
	assert_eq 'descendants left' '' "$(grep -h 'processes were left' "$tmp/log" || true)"
}

case_RootlessKit_3_is_left_out_with_a_remedy_if_it_is_not_built() {
	CACHE=$tmp/none REFERENCE=$tmp/none OUT=$tmp/out QUICK=1 ROUNDS=1 ROWS=memory "$bench/run.sh" "$BUILD" >"$tmp/said"
	assert_eq 'message' \
		'RootlessKit 3.3.0 is left out: it is not built; try sudo tests/peers/go-programs.sh rootlesskit' \
		"$(grep 'RootlessKit 3' "$tmp/said")"
	assert_fails grep -q 'RootlessKit 3' "$tmp/out/table.md" "$tmp/out/table.csv"
}

case_unknown_rows_are_refused() {
	assert_fails env OUT="$tmp/out" ROWS=nonsense "$bench/run.sh" "$BUILD"
	assert_fails test -e "$tmp/out/results.json"
}

run_cases calculations_and_texts_of_the_benchmark_are_right a_row_is_measured_and_reported \
	RootlessKit_3_is_left_out_with_a_remedy_if_it_is_not_built unknown_rows_are_refused
