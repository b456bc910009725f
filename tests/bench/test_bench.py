#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests the calculations and the texts of the benchmarks. Measures nothing."""
import math
import os
import sys
import tempfile
import unittest
import unittest.mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import loads  # noqa: E402
import model  # noqa: E402
import network  # noqa: E402
import peers  # noqa: E402
import procs  # noqa: E402
import report  # noqa: E402
import rows  # noqa: E402
from targets import BY_NAME, DIRECT, GROUPS, OURS, PASTA, REFERENCE, ROWS, Goal, divide, judge, ratio, summarize  # noqa: E402


def data_of(values, notes=None, groups=None, peers=None):
    return {"groups": groups or ["bulk-1"], "peers": peers or [OURS, REFERENCE, PASTA, DIRECT], "values": values,
            "notes": notes or {}, "series": {}, "facts": {"a": "A fact."}, "machine": {"kernel": "6.1"},
            "command": "make bench", "rounds": 3, "quick": False}


class Summaries(unittest.TestCase):
    def test_median_minimum_maximum(self):
        s = summarize([3.0, 1.0, 100.0])
        self.assertEqual((s.median, s.low, s.high, s.count), (3.0, 1.0, 100.0, 3))
        self.assertEqual(summarize([1.0, 2.0]).median, 1.5)

    def test_no_value_is_not_zero(self):
        self.assertIsNone(summarize([]))

    def test_division_by_zero(self):
        self.assertTrue(math.isnan(divide(0, 0)))
        self.assertEqual(divide(1, 0), math.inf)


class Verdicts(unittest.TestCase):
    def test_ratios_both_ways(self):
        medians = {"bulk-1-cpu": {OURS: 0.3, REFERENCE: 0.6}}
        self.assertTrue(judge(ratio(True, 0.5), "bulk-1-cpu", medians).met)
        self.assertFalse(judge(ratio(True, 0.49), "bulk-1-cpu", medians).met)
        self.assertFalse(judge(ratio(False, 0.51), "bulk-1-cpu", medians).met)
        self.assertAlmostEqual(judge(ratio(True, 0.5), "bulk-1-cpu", medians).figure, 0.5)

    def test_a_missing_figure_is_neither_met_nor_missed(self):
        for medians in ({}, {"bulk-1-cpu": {}}, {"bulk-1-cpu": {OURS: 1}}, {"bulk-1-cpu": {REFERENCE: 1}}):
            self.assertIsNone(judge(ratio(True, 0.5), "bulk-1-cpu", medians))

    def test_value(self):
        goal = Goal("value", True, 10.0)
        self.assertTrue(judge(goal, "start-none", {"start-none": {OURS: 10.0}}).met)
        self.assertFalse(judge(goal, "start-none", {"start-none": {OURS: 10.1, REFERENCE: 1}}).met)

    def test_value_against_another_row(self):
        goal = BY_NAME["idle-rate"].goals[0]
        medians = {"idle-rate": {OURS: 95.0}, "idle-none-rate": {OURS: 100.0}}
        self.assertTrue(judge(goal, "idle-rate", medians).met)
        medians["idle-rate"][OURS] = 94.9
        self.assertFalse(judge(goal, "idle-rate", medians).met)

    def test_difference(self):
        goal = BY_NAME["udp-lost"].goals[0]
        self.assertTrue(judge(goal, "udp-lost", {"udp-lost": {OURS: 60.0, DIRECT: 50.0}}).met)
        self.assertFalse(judge(goal, "udp-lost", {"udp-lost": {OURS: 60.1, DIRECT: 50.0}}).met)


class Rows(unittest.TestCase):
    def test_each_is_measured_and_named_once(self):
        self.assertEqual(len(BY_NAME), len(ROWS))
        self.assertEqual(set(GROUPS), set(rows.MEASURE))

    def test_notes_are_about_rows(self):
        for table in (rows.NOTHING_TO_MEASURE, rows.LEFT_OUT):
            for names in table.values():
                self.assertLessEqual(set(names), set(BY_NAME))

    def test_goals_name_rows(self):
        for row in ROWS:
            for goal in row.goals:
                self.assertIn(goal.of, ("ratio", "value", "self", "excess"))
                self.assertEqual(goal.of == "self", goal.other in BY_NAME)

    def test_idle_connections_fit_the_limit(self):
        self.assertEqual(rows.idle_plan(20000), (9000, 9950))
        self.assertEqual(rows.idle_plan(1 << 20), (9000, 9950))
        wanted, most = rows.idle_plan(4096)
        self.assertLess(wanted, most)
        self.assertLess(2 * most, 4096)


class Loads(unittest.TestCase):
    def test_wrk(self):
        text = "Running 1s test\n  12345 requests in 1.00s, 1.9MB read\nRequests/sec:  12300.50\n"
        self.assertEqual(loads.parse_wrk(text), (12345, 12300.5))

    def test_wrk_errors_are_failures(self):
        text = "  5 requests in 1.00s\n  Socket errors: connect 0, read 3, write 0, timeout 0\nRequests/sec: 5\n"
        with self.assertRaises(procs.Failure):
            loads.parse_wrk(text)
        with self.assertRaises(procs.Failure):
            loads.parse_wrk("  0 requests in 1.00s\nRequests/sec: 0.00\n")

    def test_ab(self):
        text = "Complete requests:      1500\nFailed requests:        0\nRequests per second:    1599.33 [#/sec]\n"
        self.assertEqual(loads.parse_ab(text), (1500, 1599.33))
        with self.assertRaises(procs.Failure):
            loads.parse_ab(text.replace("requests:        0", "requests:        2"))

    def test_hyperfine(self):
        exported = {"results": [{"times": [0.5, 0.002, 0.25], "exit_codes": [0, 1, 0]}]}
        self.assertEqual(loads.parse_hyperfine(exported), ([500.0, 250.0], 1))

    def test_starts_that_fail(self):
        context = rows.Context([], 1, False, print)
        reference, ours = peers.Peer(REFERENCE, "rootlesskit"), peers.Peer(OURS, "rlkbox")
        rows.add_starts(context, "start-full", reference, [5.0, 6.0], 2)
        self.assertEqual(context.values["start-full"], {REFERENCE: [5.0, 6.0]})
        rows.add_starts(context, "start-none", peers.Peer("RootlessKit 3.3.0", "rootlesskit-3"), [4.0], 1)
        rows.add_starts(context, "start-none", reference, [5.0], 1)
        self.assertIn("3 starts of RootlessKit failed", context.facts["start, RootlessKit"])
        self.assertIn("1 starts of RootlessKit 3.3.0 failed", context.facts["start, RootlessKit 3.3.0"])
        for peer, times in ((ours, [5.0]), (reference, [])):
            with self.assertRaises(procs.Failure):
                rows.add_starts(context, "start-full", peer, times, 1)

    def test_only_recent_launchers_start_with_a_detached_namespace(self):
        with unittest.mock.patch.object(peers, "has_tun", lambda: True):
            detached = [kind for kind in ("rlkbox", "rootlesskit", "rootlesskit-3")
                        if "start-detached" in rows.start_commands(peers.Peer(kind, kind, ["x"]))]
        self.assertEqual(detached, ["rlkbox", "rootlesskit-3"])

    def test_processor_time_of_this_process_grows(self):
        pid = os.getpid()
        before = procs.cpu_ns([pid])
        sum(i * i for i in range(300000))
        self.assertGreater(procs.cpu_ns([pid]), before)
        with self.assertRaises(procs.Failure):
            procs.cpu_ns([1 << 30])


class Text(unittest.TestCase):
    def test_table(self):
        values = {"bulk-1-cpu": {OURS: [0.2, 0.3, 0.25], REFERENCE: [0.5, 0.5, 0.5]},
                  "bulk-1-rate": {OURS: [8.0], DIRECT: [16.0]}}
        text = report.table(report.Results(data_of(values, {"bulk-1|pasta": "it fell over"})))
        cpu, rate = [line for line in text.splitlines() if line.startswith("| one bulk")]
        self.assertIn("| 0.250 (0.200–0.300) | 0.500 (0.500–0.500) | - [1] |", cpu)
        self.assertIn("≤ 0.42 of RootlessKit: 0.500 | **no** |", cpu)
        self.assertIn("| 8.00 |", rate)
        self.assertIn("≥ 1 of pasta: - | - |", rate)
        self.assertIn("[1] pasta: it fell over.", text)
        self.assertEqual(len({line.count(" | ") for line in text.splitlines() if line.startswith("| ")}), 1)

    def test_a_second_rootlesskit_has_its_own_columns_and_no_goals(self):
        values = {"bulk-1-cpu": {OURS: [0.2], REFERENCE: [0.5], "RootlessKit 3.3.0": [0.4]}}
        data = data_of(values, peers=[OURS, REFERENCE, "RootlessKit 3.3.0"])
        head, _, cpu = report.table(report.Results(data)).splitlines()[:3]
        self.assertIn("| rlkbox | RootlessKit | RootlessKit 3.3.0 | rlkbox / RootlessKit | rlkbox / RootlessKit 3.3.0 |",
                      head)
        self.assertIn("| 0.200 | 0.500 | 0.400 | 0.400 | 0.500 | ≤ 0.42 of RootlessKit: 0.400 | yes |", cpu)

    def test_failures_beside_figures_are_listed(self):
        values = {"bulk-1-cpu": {p: [1.0] for p in (OURS, REFERENCE, PASTA, DIRECT)}}
        values["bulk-1-rate"] = values["bulk-1-cpu"]
        text = report.table(report.Results(data_of(values, {"bulk-1|RootlessKit": "once"})))
        self.assertIn("In one round of bulk-1, RootlessKit failed: once.", text)

    def test_a_ratio_stands_beside_both_figures_in_the_list(self):
        results = report.Results(data_of({"bulk-1-cpu": {OURS: [0.2], REFERENCE: [0.5]}}))
        with tempfile.TemporaryDirectory() as out:
            report.write_csv(results, out)
            with open(os.path.join(out, "table.csv"), encoding="utf-8") as f:
                lines = f.read().splitlines()
        self.assertTrue(any(line.startswith("bulk-1-cpu,") and ",RootlessKit,0.5,0.5,0.5,1,0.4000," in line
                            for line in lines))

    def test_prose_around_the_generated_part_stays(self):
        text = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
        new = report.splice(text, "new\n")
        self.assertTrue(new.startswith("before\n") and new.endswith("after\n"))
        self.assertNotIn("old", new)
        self.assertEqual(report.splice(new, "new\n"), new)
        with self.assertRaises(SystemExit):
            report.splice("no markers", "new")

    def test_counts_what_is_met(self):
        results = report.Results(data_of({"bulk-1-cpu": {OURS: [0.2], REFERENCE: [0.5]}}))
        self.assertEqual(report.count_met(results), (1, 1, 2))


class Model(unittest.TestCase):
    constants = model.Constants(request_us=20.0, connect_us=100.0, per_gb_s=0.3, datagram_us=4.0,
                                connection_kb=0.5, port_kb=0.3, port_us=100.0, connection_files=2.0,
                                base_mb=3.0, pipe_kb=1024, pipe_limit_mb=64, files=20000, processors=2)

    def test_connections_end_at_the_descriptors(self):
        self.assertEqual(model.most_connections(self.constants, ports=1, workers=2), (20000 - 64 - 1) // 2)
        self.assertLess(model.most_connections(self.constants, ports=2768, workers=2), 8700)

    def test_rate_grows_with_processors_until_something_is_shared(self):
        one = model.most_requests(self.constants, 1)
        self.assertAlmostEqual(one, 1e6 / 20.0)
        self.assertAlmostEqual(model.most_requests(self.constants, 4), 4 * one)
        accepts = [model.most_accepts(self.constants, n, lock_us=2.0) for n in (1, 2, 8, 64, 1024)]
        self.assertEqual(accepts, sorted(accepts))
        self.assertLessEqual(accepts[-1], 1e6 / 2.0)

    def test_the_simulation_agrees_where_the_formula_is_exact(self):
        # Far from saturation of the lock all workers are busy all the time.
        got = model.simulate_accepts(self.constants, 2, lock_us=1.0, connections=4000)
        self.assertAlmostEqual(got / model.most_accepts(self.constants, 2, 1.0), 1.0, delta=0.05)

    def test_pipes(self):
        self.assertEqual(model.large_pipes(self.constants), 64)


class Networks(unittest.TestCase):
    def test_goals_are_compared_with_the_peer_that_they_name(self):
        medians = {"out-65520": {"builtin": 20.0, "slirp4netns": 8.0, "veth": 50.0}, "many-out": {"builtin": 10.0}}
        self.assertEqual(network.goal_text("out-65520", ("slirp4netns", ">=", 2), medians), "2.50 (slirp4netns ≥ 2: met)")
        self.assertEqual(network.goal_text("out-65520", ("veth", ">=", 0.5), medians), "0.40 (veth ≥ 0.5: NOT met)")
        self.assertEqual(network.goal_text("many-out", ("out-65520", ">=", 1), medians), "0.50 (one stream ≥ 1: NOT met)")
        self.assertEqual(network.goal_text("out-65520", ("pasta", ">=", 1), medians), "")

    def test_the_best_peer_is_never_ours_nor_the_limit(self):
        medians = {"p99": {"builtin": 80, "slirp4netns": 200, "pasta": 100, "veth": 10}}
        self.assertEqual(network.goal_text("p99", ("best", "<=", 0.8), medians), "0.80 (best peer ≤ 0.8: met)")

    def test_a_limit_has_no_peer(self):
        self.assertEqual(network.goal_text("start", ("limit", "<=", 2), {"start": {"builtin": 2.5}}), "2.50 (≤ 2: NOT met)")

    def test_the_table_has_medians_and_notes(self):
        text = network.table({"start": {"builtin": [1.0, 9.0, 2.0]}}, ["start, pasta: it is broken"], ["builtin", "pasta"])
        self.assertIn("| start to end of `true`, beyond `--net=none` | ms | 2.0 | - | 2.00 (≤ 2: met) |", text)
        self.assertIn("\n- start, pasta: it is broken\n", text)

    def test_every_row_has_a_measurement(self):
        self.assertEqual(set(network.GROUPS), set(network.MEASURE))


if __name__ == "__main__":
    unittest.main()
