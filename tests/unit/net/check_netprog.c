/* SPDX-License-Identifier: Apache-2.0 */

/* Network programs: shell scripts that are found, started, heard and ended in the place of
 * slirp4netns and pasta; and the command line of slirp4netns. */
#include "net/netprog.h"
#include "net/slirp4netns.h"
#include "tests/unit/capturedlog.h"

#include <poll.h>

#include "base/fd.h"

#define WAIT_MS	  (1000 * FIXTURE_DEADLINE_S)
#define SCRIPT	  "#!/bin/sh\n"
#define ENDS_WITH "exec sleep 60\n"

static struct err e;
static struct netopts options;
static struct network network = { .dev = "tap7", .mtu = 1400 };
static struct netprog prog;

/* ---- a driver for scripts ---- */

static const char *script_binary(const struct netopts *o)
{
	return o->slirp4netns_binary;
}

static void script_build(struct netprog_args *args, const struct netprog *n)
{
	netprog_add(args, "%s", n->state_dir);
	netprog_add(args, "a  b\n");
	netprog_add(args, "%s", "");
}

static bool script_is_routine(const char *line)
{
	return strncmp(line, "routine", strlen("routine")) == 0;
}

static int script_probe(struct netprog *n, struct err *why)
{
	char out[16];

	return netprog_ask(n, "--help", out, sizeof(out), why) == 0
		       ? 0
		       : err_set(why, ENOEXEC, "%s is too old", n->program);
}

#define SCRIPT_DRIVER                                                                        \
	.name = "script", .option = "--script-binary", .package = "scripts", .file = "file", \
	.binary = script_binary, .build = script_build, .is_routine = script_is_routine

static const struct netprog_driver by_pipe = { SCRIPT_DRIVER };
static const struct netprog_driver by_fifo = { SCRIPT_DRIVER, .by_fifo = true };
static const struct netprog_driver probed = { SCRIPT_DRIVER, .probe = script_probe };

/* Makes `prog` a program that is a script with these lines. */
static void use(const struct netprog_driver *driver, const char *lines)
{
	static char path[PATH_MAX];
	char text[1024];

	snprintf(text, sizeof(text), SCRIPT "%s\n", lines);
	snprintf(path, sizeof(path), "%s", fixture_file("script", text, 0755));
	options = (struct netopts){ .slirp4netns_binary = path };
	prog = (struct netprog)NETPROG_INIT;
	prog.driver = driver;
	prog.net = &network;
	prog.state_dir = fixture_dir;
	prog.child_pid = getpid();
	e.msg[0] = '\0';
}

static void start(const struct netprog_driver *driver, const char *lines)
{
	use(driver, lines);
	ck_assert_msg(netprog_find(&prog, &options, &e) == 0, "%s", e.msg);
	ck_assert_msg(netprog_start(&prog, &e) == 0, "%s", e.msg);
	ck_assert_int_gt(prog.pid, 0);
}

/* Waits until the program is ready, or will never be. */
static int await_ready(void)
{
	ck_assert_int_ne(fd_wait(prog.ready_fd, POLLIN, WAIT_MS), 0);
	return netprog_ready(&prog);
}

/* Reads its output until the end of the stream. */
static void hear_all(void)
{
	while (prog.log_fd >= 0) {
		ck_assert_int_ne(fd_wait(prog.log_fd, POLLIN, WAIT_MS), 0);
		netprog_log(&prog);
	}
}

/* Waits until the program has exited; netprog_stop() reaps it. */
static void await_exit(void)
{
	siginfo_t info;

	ck_assert_int_eq(waitid(P_PID, (id_t)prog.pid, &info, WEXITED | WNOWAIT), 0);
}

static void stop(void)
{
	netprog_stop(&prog, &e);
	ck_assert_int_eq(prog.pid, 0);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left to be reaped */
	ck_assert_int_eq(unlink(fixture_path("script")), 0);
}

/* ---- finding ---- */

static const struct {
	const struct netprog_driver *driver;
	const char *lines;
	const char *name; /* NULL: the script's path */
	const char *why;
} missing[] = {
	{ &by_pipe, "", "no-such-program",
	  "exec: \"no-such-program\": executable file not found in $PATH" },
	{ &by_pipe, "", "/nonexistent/x",
	  "exec: \"/nonexistent/x\": stat /nonexistent/x: no such" },
	{ &probed, "exit 1", NULL, "/tmp/" },
};

START_TEST(a_program_that_is_missing_or_unfit_is_reported_with_the_package_and_the_option)
{
	static const char source[] =
		" (--net=script: install the package scripts, or name the program by "
		"--script-binary; or try --net=builtin, which needs no program)";

	use(missing[_i].driver, missing[_i].lines);
	if (missing[_i].name != NULL)
		options.slirp4netns_binary = missing[_i].name;
	ck_assert_int_lt(netprog_find(&prog, &options, &e), 0);
	ck_assert_msg(strncmp(e.msg, missing[_i].why, strlen(missing[_i].why)) == 0, "%s", e.msg);
	ck_assert_str_eq(e.msg + strlen(e.msg) - strlen(source), source);
	ck_assert_int_eq(unlink(fixture_path("script")), 0);
}
END_TEST

static const struct {
	enum port_driver port_driver;
	const char *advice;
} others[] = {
	{ PORT_NONE, "; or try --net=builtin, which needs no program)" },
	{ PORT_BUILTIN, "; or try --net=builtin, which needs no program)" },
	{ PORT_SLIRP4NETNS,
	  "; or try --net=builtin --port-driver=builtin, which needs no program)" },
	{ PORT_IMPLICIT, "; or try --net=builtin --port-driver=builtin, which needs no program)" },
	{ PORT_PESTO, "; or try --net=builtin --port-driver=builtin, which needs no program)" },
};

START_TEST(a_network_without_a_program_is_offered_with_a_port_driver_that_it_has)
{
	use(&by_pipe, "");
	options.slirp4netns_binary = "no-such-program";
	options.port_driver = others[_i].port_driver;
	ck_assert_int_lt(netprog_find(&prog, &options, &e), 0);
	ck_assert_str_eq(e.msg + strlen(e.msg) - strlen(others[_i].advice), others[_i].advice);
	ck_assert_int_eq(unlink(fixture_path("script")), 0);
}
END_TEST

START_TEST(a_program_that_is_fit_is_found)
{
	use(&probed, "exit 0");
	ck_assert_msg(netprog_find(&prog, &options, &e) == 0, "%s", e.msg);
	ck_assert_str_eq(prog.program, fixture_path("script"));
	ck_assert_int_eq(unlink(fixture_path("script")), 0);
}
END_TEST

START_TEST(a_program_that_fails_is_quoted_on_one_line)
{
	snprintf(prog.program, sizeof(prog.program), "/usr/bin/x");
	netprog_say_refused(&prog, "--help", "x v1+", "two\n\"lines\" \\", 3 << 8, &e);
	ck_assert_str_eq(e.msg, "command \"/usr/bin/x --help\" failed, make sure x v1+ is "
				"installed: \"two\\n\\\"lines\\\" \\\\\": exit status 3");
}
END_TEST

static const struct {
	int status;
	rlim_t stack;
	const char *advice;
} stacks[] = {
	{ SIGSEGV, 256 * 1024, "it ended; try a larger stack: `ulimit -s` is 256 here" },
	{ SIGBUS, 64 * 1024, "it ended; try a larger stack: `ulimit -s` is 64 here" },
	{ SIGSEGV, 8192 * 1024, "it ended" },
	{ SIGKILL, 256 * 1024, "it ended" },
	{ 1 << 8, 256 * 1024, "it ended" },
};

START_TEST(a_crash_with_a_small_stack_is_explained)
{
	struct rlimit old, small;

	ck_assert_int_eq(getrlimit(RLIMIT_STACK, &old), 0);
	small = (struct rlimit){ stacks[_i].stack, old.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_STACK, &small), 0);
	err_set(&e, 0, "it ended");
	netprog_advise_stack(stacks[_i].status, &e);
	ck_assert_int_eq(setrlimit(RLIMIT_STACK, &old), 0);
	ck_assert_str_eq(e.msg, stacks[_i].advice);
}
END_TEST

/* ---- starting ---- */

START_TEST(the_program_gets_its_arguments_as_they_are)
{
	char want[2 * PATH_MAX];

	start(&by_pipe, "printf '<%s>' \"$@\" >\"$1/said\"; echo 1 >&3; " ENDS_WITH);
	ck_assert_int_eq(await_ready(), 0);
	ck_assert_int_eq(prog.ready_fd, -1);
	ck_assert(prog.was_ready);
	snprintf(want, sizeof(want), "<%s><a  b\n><>", fixture_dir);
	fixture_assert_content(fixture_path("said"), want);
	snprintf(want, sizeof(want), "%s %s a  b\n ", prog.program, fixture_dir);
	ck_assert_str_eq(prog.command, want);
	stop();
	ck_assert_int_eq(unlink(fixture_path("said")), 0);
}
END_TEST

START_TEST(a_program_that_is_not_ready_yet_does_not_block_the_launcher)
{
	start(&by_pipe, ENDS_WITH);
	ck_assert_int_eq(netprog_ready(&prog), -EAGAIN);
	netprog_log(&prog);
	ck_assert(!prog.was_ready);
	stop();
}
END_TEST

/* A launcher that was killed leaves its fifo. */
START_TEST(a_file_of_an_earlier_run_is_replaced_and_removed_after_use)
{
	fixture_file("file", "old", 0400);
	start(&by_fifo, "echo 1 >\"$1/file\"; " ENDS_WITH);
	ck_assert_int_eq(await_ready(), 0);
	ck_assert_int_lt(access(fixture_path("file"), F_OK), 0);
	stop();
}
END_TEST

START_TEST(a_fifo_of_a_program_that_fails_is_removed)
{
	start(&by_fifo, "exit 1");
	await_exit();
	ck_assert_int_eq(access(fixture_path("file"), F_OK), 0);
	stop();
	ck_assert_str_eq(e.msg, "exit status 1");
	ck_assert_int_lt(access(fixture_path("file"), F_OK), 0);
}
END_TEST

START_TEST(a_program_that_ends_is_never_ready)
{
	start(&by_pipe, "exit 0");
	ck_assert_int_eq(await_ready(), -ENODATA);
	stop();
	ck_assert_str_eq(e.msg, "exit status 0");
	ck_assert(!prog.was_ready);
}
END_TEST

START_TEST(a_state_directory_that_is_gone_is_an_error)
{
	use(&by_fifo, "");
	ck_assert_int_eq(netprog_find(&prog, &options, &e), 0);
	prog.state_dir = "/nonexistent";
	ck_assert_int_eq(netprog_start(&prog, &e), -ENOENT);
	ck_assert_str_eq(e.msg, "mkfifo /nonexistent/file: no such file or directory");
	ck_assert_int_eq(prog.pid, 0);
	ck_assert_int_eq(unlink(fixture_path("script")), 0);
}
END_TEST

/* The path leads through the child's root, where a link would be resolved in ours. */
START_TEST(links_in_the_path_of_a_detached_namespace_are_resolved)
{
	struct netprog_args args = { .count = 0 };
	char want[PATH_MAX + 64];

	ck_assert_int_eq(mkdir(fixture_path("real"), 0700), 0);
	ck_assert_int_eq(symlink(fixture_path("real"), fixture_path("link")), 0);
	prog.child_pid = 123;
	prog.state_dir = fixture_path("link");
	netprog_add_netns(&args, &prog, "--netns=");
	snprintf(want, sizeof(want), "--netns=/proc/123/root%s/real/netns", fixture_dir);
	ck_assert_str_eq(args.argv[0], want);
	ck_assert_int_eq(unlink(fixture_path("link")), 0);
	ck_assert_int_eq(rmdir(fixture_path("real")), 0);
}
END_TEST

/* ---- output and end ---- */

static const struct {
	const char *lines;
	const char *reason;
} ends[] = {
	{ "exit 3", "exit status 3" },
	{ "kill -9 $$", "signal: killed" },
	{ "echo first; echo second >&2; exit 1", "exit status 1: first; second" },
	{ "echo routine; echo; echo words; echo routine too; exit 1", "exit status 1: words" },
	{ "printf 'no newline'; exit 1", "exit status 1: no newline" },
	{ "echo start; echo 1 >&3; read end <&4; echo later; exit 1", "exit status 1: later" },
};

START_TEST(the_reason_of_an_end_has_the_last_words_but_no_routine)
{
	start(&by_pipe, ends[_i].lines);
	if (await_ready() == 0)
		netprog_ask_to_end(&prog);
	await_exit();
	stop();
	ck_assert_str_eq(e.msg, ends[_i].reason);
}
END_TEST

START_TEST(a_line_may_arrive_in_pieces)
{
	start(&by_pipe, "printf one; until [ -e \"$1/go\" ]; do sleep 0.01; done; echo ' line'; "
			"exit 1");
	ck_assert_int_ne(fd_wait(prog.log_fd, POLLIN, WAIT_MS), 0);
	netprog_log(&prog);
	fixture_file("go", "", 0600);
	await_exit();
	stop();
	ck_assert_str_eq(e.msg, "exit status 1: one line");
	ck_assert_int_eq(unlink(fixture_path("go")), 0);
}
END_TEST

START_TEST(the_last_words_are_the_end_of_a_long_output)
{
	size_t len;

	start(&by_pipe, "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i + 1)); done; exit 1");
	hear_all();
	len = strlen(prog.last_words);
	ck_assert_uint_eq(len, sizeof(prog.last_words) - 1);
	ck_assert_str_eq(prog.last_words + len - strlen("; line 2998; line 2999"),
			 "; line 2998; line 2999");
	await_exit();
	stop();
}
END_TEST

/* The program may write faster than the launcher reads. */
START_TEST(much_output_is_read_a_part_at_a_time)
{
	char lines[64];
	int fds[2], size, left = 0;

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	size = fcntl(fds[0], F_GETPIPE_SZ);
	close(fds[0]);
	close(fds[1]);
	snprintf(lines, sizeof(lines), "yes | head -c %d; " ENDS_WITH, size);
	start(&by_pipe, lines);
	while (left < size)
		ck_assert_int_eq(ioctl(prog.log_fd, FIONREAD, &left), 0);
	netprog_log(&prog);
	ck_assert_int_eq(ioctl(prog.log_fd, FIONREAD, &left), 0);
	ck_assert_int_gt(left, 0);
	ck_assert_int_lt(left, size);
	stop();
}
END_TEST

START_TEST(output_is_logged_with_the_name_of_the_program)
{
	capture_log(true);
	start(&by_pipe, "echo routine; echo words; exit 1");
	hear_all();
	ck_assert_ptr_nonnull(strstr(read_log(), "level=debug msg=\"[rootlesskit:parent] script: "
						 "routine\"\n"));
	ck_assert_ptr_nonnull(strstr(read_log(), "script: words\"\n"));
	await_exit();
	stop();
	release_log();
}
END_TEST

START_TEST(processes_that_the_program_started_end_with_it)
{
	int held[2];
	char byte;

	/* The pipe ends when the last process that holds it has ended. */
	start(&by_pipe, "sleep 999 & sleep 998 & echo 1 >&3; wait");
	ck_assert_int_eq(await_ready(), 0);
	held[0] = fcntl(prog.log_fd, F_DUPFD_CLOEXEC, 0);
	stop();
	ck_assert_str_eq(e.msg, "signal: killed");
	ck_assert_int_ne(fd_wait(held[0], POLLIN, WAIT_MS), 0);
	ck_assert_int_eq(read(held[0], &byte, 1), 0);
	close(held[0]);
}
END_TEST

START_TEST(a_program_that_does_not_run_can_be_stopped)
{
	prog = (struct netprog)NETPROG_INIT;
	snprintf(e.msg, sizeof(e.msg), "unchanged");
	netprog_stop(&prog, &e);
	ck_assert_str_eq(e.msg, "unchanged");
}
END_TEST

/* ---- slirp4netns ---- */

#define COMMON		"--mtu 1400 -r 3 -e 4 "
#define NO_OPTIONS	.slirp4netns_sandbox = "false", .slirp4netns_seccomp = "false"
#define NAMES		"--userns-path=/proc/1/ns/user --netns-type=path /proc/1/root/nonexistent/netns tap7"
#define WITH_WHEN(when) .slirp4netns_sandbox = (when), .slirp4netns_seccomp = (when)

static const struct {
	struct netopts o;
	const char *command;
} commands[] = {
	{ { NO_OPTIONS }, COMMON "1 tap7" },
	{ { NO_OPTIONS, .disable_host_loopback = true, .cidr_text = "10.9.0.0/24", .ipv6 = true },
	  COMMON "--disable-host-loopback --cidr 10.9.0.0/24 --enable-ipv6 1 tap7" },
	{ { NO_OPTIONS, .port_driver = PORT_SLIRP4NETNS },
	  COMMON "--api-socket /nonexistent/.s4nn.sock 1 tap7" },
	{ { NO_OPTIONS, .port_driver = PORT_BUILTIN }, COMMON "1 tap7" },
	{ { WITH_WHEN("true") }, COMMON "--enable-sandbox --enable-seccomp 1 tap7" },
	{ { WITH_WHEN("auto") }, COMMON "--enable-sandbox --enable-seccomp 1 tap7" },
	{ { WITH_WHEN("auto"), .detach_netns = true }, COMMON "--enable-seccomp " NAMES },
	{ { NO_OPTIONS, .detach_netns = true }, COMMON NAMES },
};

START_TEST(slirp4netns_gets_what_the_options_say)
{
	const struct netprog n = {
		.o = &commands[_i].o, .net = &network, .state_dir = "/nonexistent", .child_pid = 1
	};
	struct netprog_args args = { .count = 0 };
	char text[1024] = "";

	slirp4netns_driver.build(&args, &n);
	for (size_t i = 0; i < args.count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i > 0 ? " " : "",
			 args.argv[i]);
	ck_assert_str_eq(text, commands[_i].command);
}
END_TEST

static const struct {
	const char *words;
	const char *sandbox, *seccomp;
	const char *advice;
} advices[] = {
	{ "create_sandbox failed", "true", "true", "--slirp4netns-sandbox=false" },
	{ "create_sandbox failed", "auto", "auto", "--slirp4netns-sandbox=false" },
	{ "create_sandbox failed", "false", "true", NULL },
	{ "enabling seccomp: not supported", "true", "true", "--slirp4netns-seccomp=false" },
	{ "enabling seccomp: not supported", "true", "false", NULL },
	{ "open(/dev/net/tun): No such file", "true", "true", NULL },
	{ "", "true", "true", NULL },
};

START_TEST(advice_names_the_option_that_turns_the_failed_protection_off)
{
	const struct netopts o = { .slirp4netns_sandbox = advices[_i].sandbox,
				   .slirp4netns_seccomp = advices[_i].seccomp };
	struct netprog n = { .o = &o };
	const char *advice;

	snprintf(n.last_words, sizeof(n.last_words), "%s", advices[_i].words);
	advice = slirp4netns_driver.advice(&n);
	if (advices[_i].advice == NULL)
		ck_assert_ptr_null(advice);
	else
		ck_assert_str_eq(advice, advices[_i].advice);
}
END_TEST

#define SOURCE                                                                          \
	" (--net=slirp4netns: install the package slirp4netns, or name the program by " \
	"--slirp4netns-binary; or try --net=builtin, which needs no program)"
#define NOT_IT "--help\" does not name --netns-type: it is not slirp4netns, or too old" SOURCE

static const struct {
	const char *lines;
	const char *last_words;
	const char *begin, *end; /* of the reason */
} diagnoses[] = {
	{ "echo ' --netns-type=TYPE'", "", "it ended", "it ended" },
	{ "echo ' --netns-type=TYPE'", "words", "it ended", "it ended" },
	{ "echo usage", "words", "it ended; \"/tmp/", NOT_IT },
	{ "echo usage", "", "slirp4netns seems older than v0.4.0; \"/tmp/", NOT_IT },
	{ "echo usage; exit 2", "words", "it ended; \"/tmp/", NOT_IT },
	{ "echo usage; exit 2", "", "command \"/tmp/",
	  "failed, make sure slirp4netns v0.4.0+ is installed: \"usage\\n\": exit status "
	  "2" SOURCE },
};

START_TEST(another_program_in_the_place_of_slirp4netns_is_recognized)
{
	use(&slirp4netns_driver, diagnoses[_i].lines);
	ck_assert_int_eq(netprog_find(&prog, &options, &e), 0);
	snprintf(prog.last_words, sizeof(prog.last_words), "%s", diagnoses[_i].last_words);
	err_set(&e, 0, "it ended");
	slirp4netns_driver.diagnose(&prog, &e);
	ck_assert_msg(strncmp(e.msg, diagnoses[_i].begin, strlen(diagnoses[_i].begin)) == 0, "%s",
		      e.msg);
	ck_assert_str_eq(e.msg + strlen(e.msg) - strlen(diagnoses[_i].end), diagnoses[_i].end);
	ck_assert_int_eq(unlink(fixture_path("script")), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("netprog");
	TCase *tc = fixture_case_with_dir("start");

	tcase_add_loop_test(
		tc, a_program_that_is_missing_or_unfit_is_reported_with_the_package_and_the_option,
		0, COUNT(missing));
	tcase_add_loop_test(tc,
			    a_network_without_a_program_is_offered_with_a_port_driver_that_it_has,
			    0, COUNT(others));
	tcase_add_test(tc, a_program_that_is_fit_is_found);
	tcase_add_test(tc, a_program_that_fails_is_quoted_on_one_line);
	tcase_add_loop_test(tc, a_crash_with_a_small_stack_is_explained, 0, COUNT(stacks));
	tcase_add_test(tc, the_program_gets_its_arguments_as_they_are);
	tcase_add_test(tc, a_program_that_is_not_ready_yet_does_not_block_the_launcher);
	tcase_add_test(tc, a_file_of_an_earlier_run_is_replaced_and_removed_after_use);
	tcase_add_test(tc, a_fifo_of_a_program_that_fails_is_removed);
	tcase_add_test(tc, a_program_that_ends_is_never_ready);
	tcase_add_test(tc, a_state_directory_that_is_gone_is_an_error);
	tcase_add_test(tc, links_in_the_path_of_a_detached_namespace_are_resolved);
	suite_add_tcase(s, tc);
	tc = fixture_case_with_dir("end");
	tcase_add_loop_test(tc, the_reason_of_an_end_has_the_last_words_but_no_routine, 0,
			    COUNT(ends));
	tcase_add_test(tc, a_line_may_arrive_in_pieces);
	tcase_add_test(tc, the_last_words_are_the_end_of_a_long_output);
	tcase_add_test(tc, much_output_is_read_a_part_at_a_time);
	tcase_add_test(tc, output_is_logged_with_the_name_of_the_program);
	tcase_add_test(tc, processes_that_the_program_started_end_with_it);
	tcase_add_test(tc, a_program_that_does_not_run_can_be_stopped);
	suite_add_tcase(s, tc);
	tc = fixture_case_with_dir("slirp4netns");
	tcase_add_loop_test(tc, slirp4netns_gets_what_the_options_say, 0, COUNT(commands));
	tcase_add_loop_test(tc, advice_names_the_option_that_turns_the_failed_protection_off, 0,
			    COUNT(advices));
	tcase_add_loop_test(tc, another_program_in_the_place_of_slirp4netns_is_recognized, 0,
			    COUNT(diagnoses));
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
