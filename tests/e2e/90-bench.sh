#!/bin/sh
# The benchmarks: what they make of figures, and that a row comes about. How fast anything is, is not asked.
. "$(dirname "$0")/lib.sh"

bench=$(cd "$(dirname "$0")/../bench" && pwd)

case_medians_ratios_and_verdicts() {
	python3 -B "$bench/test_bench.py"
}

case_a_row_is_measured_and_told() {
	need_tun
	OUT=$tmp/out QUICK=1 ROUNDS=1 ROWS=memory "$bench/run.sh" "$BUILD"
	# Ours and the reference have figures; what a figure is missing for has its reason below.
	grep -Eq '^\| resident memory after the start.* \| MB \| [0-9.]+ \| ([0-9.]+|- \[[0-9]+\]) \| - \[' "$tmp/out/table.md" ||
		fail "$(cat "$tmp/out/table.md")"
	grep -q '^\[1\] .*: .*\.' "$tmp/out/table.md"
	grep -q '^memory-none,.*,ours,[0-9.]*,' "$tmp/out/table.csv"
	assert_eq 'descendants left' '' "$(grep -h 'ended at last' "$tmp/log" || true)"
}

case_rows_that_there_are_not_are_refused() {
	assert_fails env OUT="$tmp/out" ROWS=nonsense "$bench/run.sh" "$BUILD"
	assert_fails test -e "$tmp/out/results.json"
}

run_cases medians_ratios_and_verdicts a_row_is_measured_and_told rows_that_there_are_not_are_refused
