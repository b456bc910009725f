/* SPDX-License-Identifier: Apache-2.0 */

/* The supervisor of the network program, with shell scripts in the place of slirp4netns. */
#include "net/netsupervisor.h"

#include "tests/unit/loopclock.h"

#define PAUSE_MS 1000 /* more than the first two pauses before a restart */

static struct netsupervisor supervisor;
static struct netopts options;
static struct network network;
static int ups, failures;
static struct err reason;

static void on_up(struct netsupervisor *k)
{
	ck_assert_ptr_eq(k, &supervisor);
	ck_assert(netsupervisor_is_up(k));
	fixture_file("script.up", "", 0600); /* scripts may wait for this */
	ups++;
}

static void on_failed(struct netsupervisor *k, const struct err *why)
{
	ck_assert_ptr_eq(k, &supervisor);
	failures++;
	reason = *why;
}

/* Starts a supervisor whose program is a script with these lines. */
static void start(const char *lines)
{
	static char path[PATH_MAX];
	char script[512];
	struct err e;

	snprintf(script, sizeof(script),
		 "#!/bin/sh\n[ \"$1\" != --help ] || { echo '--netns-type'; exit; }\n%s\n", lines);
	snprintf(path, sizeof(path), "%s", fixture_file("script", script, 0755));
	ups = failures = 0;
	options = (struct netopts){ .driver = NET_SLIRP4NETNS,
				    .slirp4netns_binary = path,
				    .slirp4netns_sandbox = "auto",
				    .slirp4netns_seccomp = "auto" };
	supervisor = (struct netsupervisor){ .on_up = on_up, .on_failed = on_failed };
	loop = loop_new(LOOP_POLL);
	ck_assert_ptr_nonnull(loop);
	ck_assert_int_eq(netsupervisor_find(&supervisor, &options, &e), 0);
	ck_assert(netsupervisor_is_wanted(&supervisor));
	ck_assert_int_eq(
		netsupervisor_start(&supervisor, loop, &network, fixture_dir, getpid(), &e), 0);
	ck_assert(!netsupervisor_is_up(&supervisor));
}

static void stop(void)
{
	netsupervisor_stop(&supervisor);
	loop_free(loop);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left to be reaped */
	ck_assert_int_eq(unlink(fixture_path("script")), 0);
	unlink(fixture_path("script.up"));
}

/* One round of the loop, and what the parent does for SIGCHLD. */
static void turn(void)
{
	siginfo_t info = { .si_pid = 0 };

	step();
	if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid > 0)
		ck_assert(netsupervisor_reap(&supervisor, info.si_pid));
}

/* Runs until there have been this many calls of each kind; Check ends a test that takes too long.
 */
static void run_until(int want_ups, int want_failures)
{
	while (ups < want_ups || failures < want_failures)
		turn();
	ck_assert_int_eq(ups, want_ups);
	ck_assert_int_eq(failures, want_failures);
}

static void run_until_down(void)
{
	while (supervisor.state != NETSUPERVISOR_PAUSED)
		turn();
}

START_TEST(the_owner_learns_that_the_program_is_ready)
{
	start("echo 1 >&3; exec sleep 60");
	run_until(1, 0);
	skip_ms(NETSUPERVISOR_DEADLINE_MS + 1); /* the deadline is over, too */
	ck_assert_int_eq(failures, 0);
	ck_assert(netsupervisor_is_up(&supervisor));
	stop();
}
END_TEST

static const struct {
	const char *lines;
	int ups;
	const char *beginning, *end;
} exits[] = {
	{ "echo some >&2; echo words >&2; exit 3", 0,
	  "failed to setup network: slirp4netns ended before it was ready (",
	  "): exit status 3: some; words" },
	{ "kill -9 $$", 0, "failed to setup network: slirp4netns ended before it was ready (",
	  "): signal: killed" },
	{ "exec 3>&-; exec sleep 60", 0,
	  "failed to setup network: slirp4netns ended before it was ready (", "): signal: killed" },
	{ "echo words >&2; echo 1 >&3; until [ -e \"$0.up\" ]; do sleep 0.01; done; "
	  "echo last >&2; exit 7",
	  1, "slirp4netns ended during the start: ", "exit status 7: last" },
};

/* The program is not restarted. */
START_TEST(an_exit_during_the_start_is_a_failure)
{
	size_t len;

	start(exits[_i].lines);
	run_until(exits[_i].ups, 1);
	len = strlen(reason.msg);
	ck_assert_msg(strncmp(reason.msg, exits[_i].beginning, strlen(exits[_i].beginning)) == 0 &&
			      len > strlen(exits[_i].end) &&
			      strcmp(reason.msg + len - strlen(exits[_i].end), exits[_i].end) == 0,
		      "%s", reason.msg);
	skip_ms(2ULL * NETSUPERVISOR_DEADLINE_MS);
	ck_assert_int_eq(ups, exits[_i].ups);
	ck_assert_int_eq(failures, 1);
	ck_assert(!netsupervisor_is_up(&supervisor));
	stop();
}
END_TEST

START_TEST(output_does_not_extend_the_deadline)
{
	start("while :; do echo words >&2; sleep 0.01; done");
	while (strstr(supervisor.prog.last_words, "words; words") == NULL)
		turn();
	for (int i = 0; i < 9; i++)
		skip_ms(NETSUPERVISOR_DEADLINE_MS / 10);
	ck_assert_int_eq(failures, 0);
	skip_ms(NETSUPERVISOR_DEADLINE_MS / 10);
	ck_assert_int_eq(failures, 1);
	ck_assert_ptr_nonnull(
		strstr(reason.msg, "waiting for slirp4netns: nothing happened for 30000 ms; /"));
	ck_assert_ptr_nonnull(strstr(reason.msg,
				     "/script runs, but does not say that it is ready: is it "
				     "slirp4netns? It said: "));
	ck_assert_ptr_nonnull(strstr(reason.msg, "words; words"));
	stop();
}
END_TEST

START_TEST(after_the_start_an_exit_leads_to_a_restart)
{
	char lines[PATH_MAX];

	snprintf(lines, sizeof(lines), "echo 1 >&3; until [ -e %s ]; do sleep 0.01; done; exit 5",
		 fixture_path("end"));
	start(lines);
	run_until(1, 0);
	netsupervisor_keep_up(&supervisor);
	fixture_file("end", "", 0600);
	for (int i = 2; i <= 3; i++) {
		run_until_down();
		skip_ms(PAUSE_MS);
		run_until(i, 0);
	}
	stop();
	ck_assert_int_eq(unlink(fixture_path("end")), 0);
}
END_TEST

/* The first run ends, the second is never ready, the third is. */
START_TEST(after_the_start_a_program_that_is_late_is_restarted)
{
	char lines[2 * PATH_MAX];

	snprintf(lines, sizeof(lines),
		 "echo run >>%s\n"
		 "runs=$(wc -l <%s)\n"
		 "[ $runs = 2 ] || echo 1 >&3\n"
		 "until [ $runs != 1 ] || [ -e %s ]; do sleep 0.01; done\n"
		 "[ $runs != 1 ] || exit 5\n"
		 "echo \"run $runs\"; exec sleep 60",
		 fixture_path("runs"), fixture_path("runs"), fixture_path("end"));
	start(lines);
	run_until(1, 0);
	netsupervisor_keep_up(&supervisor);
	fixture_file("end", "", 0600);
	run_until_down();
	skip_ms(PAUSE_MS);
	while (strstr(supervisor.prog.last_words, "run 2") == NULL)
		turn();
	skip_ms(NETSUPERVISOR_DEADLINE_MS);
	ck_assert_int_eq(ups, 1);
	run_until_down();
	skip_ms(PAUSE_MS);
	run_until(2, 0);
	stop();
	ck_assert_int_eq(unlink(fixture_path("runs")), 0);
	ck_assert_int_eq(unlink(fixture_path("end")), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("netsupervisor");
	TCase *tc = fixture_case_with_dir("netsupervisor");

	tcase_add_test(tc, the_owner_learns_that_the_program_is_ready);
	tcase_add_loop_test(tc, an_exit_during_the_start_is_a_failure, 0, COUNT(exits));
	tcase_add_test(tc, output_does_not_extend_the_deadline);
	tcase_add_test(tc, after_the_start_an_exit_leads_to_a_restart);
	tcase_add_test(tc, after_the_start_a_program_that_is_late_is_restarted);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
