/* SPDX-License-Identifier: Apache-2.0 */

/* Finding, starting and waiting for programs that every system has. */
#include "base/fd.h"
#include "os/proc.h"
#include "tests/unit/fixture.h"

#include <poll.h>
#include <sys/wait.h>

#define OUTPUT_LEN 4096

static struct err e;

/* Asserts that no child is left after a test, running or as a zombie. */
static void no_child_is_left(void)
{
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
}

/* ---- finding ---- */

static void make_programs(void)
{
	ck_assert_int_eq(mkdir(fixture_path("a"), 0755), 0);
	ck_assert_int_eq(mkdir(fixture_path("b"), 0755), 0);
	ck_assert_int_eq(mkdir(fixture_path("c"), 0755), 0);
	ck_assert_int_eq(mkdir(fixture_path("a/is-dir"), 0755), 0);
	fixture_file("a/first", "", 0755);
	fixture_file("b/first", "", 0755);
	fixture_file("a/not-executable", "", 0644);
	fixture_file("b/not-executable", "", 0711);
	fixture_file("b/is-dir", "", 0755);
	fixture_file("c/here", "", 0755);
	fixture_file("a/only-text", "", 0644);
}

static const struct {
	const char *path; /* @: the fixture's directory; NULL: unset */
	const char *name;
	const char *found; /* NULL: not found */
} lookups[] = {
	{ "@/a:@/b", "first", "@/a/first" },
	{ "@/b:@/a", "first", "@/b/first" },
	{ "/nonexistent:@/file:@/b", "first", "@/b/first" },
	{ "@/a:@/b", "not-executable", "@/b/not-executable" },
	{ "@/a:@/b", "is-dir", "@/b/is-dir" },
	{ "@/a", "is-dir", NULL },
	{ "@/a:@/b", "only-text", NULL },
	{ "@/a:@/b", "here", NULL },
	{ "@/a:", "here", "./here" },
	{ ":@/a", "here", "./here" },
	{ "@/a::@/b", "here", "./here" },
	{ "", "here", "./here" },
	{ "@/c/", "here", "@/c//here" },
	{ NULL, "first", NULL },
	{ "@/a:@/b", "", NULL },
	{ "@/a", "./here", "./here" },
	{ NULL, "@/a/first", "@/a/first" },
};

/* Replaces each @ by the fixture's directory. */
static const char *expand(const char *text, char *buf)
{
	size_t n = 0;

	for (; *text != '\0'; text++) {
		if (*text != '@')
			buf[n++] = *text;
		else
			n += (size_t)sprintf(buf + n, "%s", fixture_dir);
	}
	buf[n] = '\0';
	return buf;
}

START_TEST(a_program_is_found_in_the_path)
{
	char buf[PATH_MAX] = "";
	char expanded[PATH_MAX];
	char name[PATH_MAX];
	int r;

	make_programs();
	ck_assert_int_eq(chdir(fixture_path("c")), 0);
	if (lookups[_i].path == NULL)
		unsetenv("PATH");
	else
		setenv("PATH", expand(lookups[_i].path, expanded), 1);
	r = proc_find(expand(lookups[_i].name, name), buf, sizeof(buf), &e);
	ck_assert_int_eq(chdir("/"), 0);
	if (lookups[_i].found != NULL) {
		ck_assert_int_eq(r, 0);
		ck_assert_str_eq(buf, expand(lookups[_i].found, expanded));
		return;
	}
	ck_assert_int_eq(r, -ENOENT);
	snprintf(buf, sizeof(buf), "exec: \"%s\": executable file not found in $PATH",
		 lookups[_i].name);
	ck_assert_str_eq(e.msg, buf);
}
END_TEST

static const struct {
	const char *name;
	int code;
	const char *reason;
} misses[] = {
	{ "@/none", ENOENT, "exec: \"@/none\": stat @/none: no such file or directory" },
	{ "@/c/here/x", ENOTDIR, "exec: \"@/c/here/x\": stat @/c/here/x: not a directory" },
	{ "@/a/only-text", EACCES, "exec: \"@/a/only-text\": permission denied" },
	{ "@/a", EISDIR, "exec: \"@/a\": is a directory" },
};

START_TEST(a_path_that_is_not_a_program_is_refused_with_a_reason)
{
	char buf[PATH_MAX];
	char name[PATH_MAX];
	char reason[PATH_MAX];

	make_programs();
	ck_assert_int_eq(proc_find(expand(misses[_i].name, name), buf, sizeof(buf), &e),
			 -misses[_i].code);
	ck_assert_str_eq(e.msg, expand(misses[_i].reason, reason));
}
END_TEST

START_TEST(a_path_must_fit)
{
	char buf[8];

	setenv("PATH", "/usr/bin:/bin", 1);
	ck_assert_int_eq(proc_find("/bin/sh", buf, 8, &e), 0);
	ck_assert_str_eq(buf, "/bin/sh");
	ck_assert_int_eq(proc_find("/bin/sh", buf, 7, &e), -ENAMETOOLONG);
	ck_assert_int_eq(proc_find("sh", buf, 8, &e), 0); /* in the second directory of PATH */
	ck_assert_str_eq(buf, "/bin/sh");
	ck_assert_int_eq(proc_find("sh", buf, 7, &e), -ENOENT);
}
END_TEST

/* ---- starting ---- */

/* Runs `spec` with its output in a pipe; returns the wait status. */
static int run_spec(struct proc_spec *spec, char *out)
{
	int fds[2];
	pid_t pid;

	/* make(1) may have passed descriptors on to this program. */
	ck_assert_int_eq(fd_cloexec_from(FD_FIRST), 0);
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	spec->out = fds[1];
	pid = proc_spawn(spec, &e);
	ck_assert_msg(pid > 0, "%s", e.msg);
	close(fds[1]);
	ck_assert_int_ge(fd_read_text(fds[0], out, OUTPUT_LEN), 0);
	close(fds[0]);
	return proc_wait(pid);
}

static int run_script(struct proc_spec *spec, const char *script, char *out)
{
	char *const *argv = FIXTURE_ARGV("sh", "-c", script);

	spec->path = "/bin/sh";
	spec->argv = argv;
	return run_spec(spec, out);
}

START_TEST(a_program_gets_its_arguments_and_environment)
{
	struct proc_spec spec = PROC_SPEC_INIT;
	char *const *envp = FIXTURE_ARGV("A=1", "LISTEN_PID=7");
	char *const *argv = FIXTURE_ARGV("name", "-c",
					 "echo $# $1 \"$2\" $0; echo $A $B $LISTEN_PID >&2; exit 3",
					 "zero", "one", "t  w");
	char out[OUTPUT_LEN];
	int status;

	setenv("B", "2", 1);
	spec.path = "/bin/sh";
	spec.argv = argv;
	spec.envp = envp;
	status = run_spec(&spec, out);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 3);
	ck_assert_str_eq(out, "2 one t  w zero\n1 7\n");
	spec.envp = NULL;
	setenv("A", "own", 1);
	unsetenv("LISTEN_PID");
	run_spec(&spec, out);
	ck_assert_str_eq(out, "2 one t  w zero\nown 2\n");
}
END_TEST

static const struct {
	const char *name;
	const char *text;
	mode_t mode;
	int code;
	const char *why;
} no_programs[] = {
	{ "absent", NULL, 0, ENOENT, "no such file or directory" },
	{ "text", "words", 0644, EACCES, "permission denied" },
	{ "script", "words", 0755, ENOEXEC, "exec format error" },
	{ "lost", "#!/nonexistent/interpreter\n", 0755, ENOENT, "no such file or directory" },
	{ ".", NULL, 0, EACCES, "permission denied" },
};

START_TEST(a_failed_exec_is_reported)
{
	struct proc_spec spec = PROC_SPEC_INIT;
	char *const *argv = FIXTURE_ARGV("x");
	char reason[ERR_LEN];

	if (fixture_is_valgrind() && no_programs[_i].code == ENOENT)
		return; /* it fails because its interpreter is missing */
	if (no_programs[_i].text != NULL)
		fixture_file(no_programs[_i].name, no_programs[_i].text, no_programs[_i].mode);
	spec.path = fixture_path(no_programs[_i].name);
	spec.argv = argv;
	ck_assert_int_eq(proc_spawn(&spec, &e), -no_programs[_i].code);
	snprintf(reason, sizeof(reason), "fork/exec %.200s: %s", spec.path, no_programs[_i].why);
	ck_assert_str_eq(e.msg, reason);
	ck_assert_int_eq(proc_spawn(&spec, NULL), -no_programs[_i].code);
}
END_TEST

/* Three files with a letter each are open as 60, 61 and 62. The program prints those that it gets.
 */
#define FIRST_FILE 60 /* above what we may have inherited */
#define FILES	   3

static const struct {
	struct proc_fd fds[FILES + 1];
	size_t count;
	const char *shows; /* name in /proc/self/fd and letter, in pairs */
} moves[] = {
	{ { { 60, 3 }, { 61, 4 }, { 62, 5 } }, 3, "3a4b5c" },
	{ { { 62, 3 }, { 61, 4 }, { 60, 5 } }, 3, "3c4b5a" },
	/* unchanged, swapped, rotated, shifted */
	{ { { 60, 60 }, { 61, 61 }, { 62, 62 } }, 3, "60a61b62c" },
	{ { { 60, 61 }, { 61, 60 } }, 2, "60b61a" },
	{ { { 60, 61 }, { 61, 62 }, { 62, 60 } }, 3, "60c61a62b" },
	{ { { 60, 61 }, { 61, 62 }, { 62, 63 } }, 3, "61a62b63c" },
	{ { { 62, 61 }, { 61, 60 }, { 60, 59 } }, 3, "59a60b61c" },
	/* the same one twice */
	{ { { 60, 4 }, { 60, 6 }, { 61, 60 } }, 3, "4a6a60b" },
	{ { { 61, 0 }, { 62, 100 } }, 2, "0b100c" },
	{ { { 60, 3 } }, 0, "" },
};

static void open_files(void)
{
	char text[2] = "a";

	for (int i = 0; i < FILES; i++, text[0]++) {
		int fd = open(fixture_file(text, text, 0644), O_RDONLY | O_CLOEXEC);

		ck_assert_int_eq(dup3(fd, FIRST_FILE + i, O_CLOEXEC), FIRST_FILE + i);
		close(fd);
	}
}

static void close_files(void)
{
	for (int i = 0; i < FILES; i++)
		close(FIRST_FILE + i);
}

START_TEST(descriptors_are_moved)
{
	static const char script[] = "for fd in 0 3 4 5 6 59 60 61 62 63 100; do"
				     " case $(readlink /proc/$$/fd/$fd) in"
				     " */rlkbox-check-*) printf %s $fd; cat /proc/$$/fd/$fd;;"
				     " esac; done";
	struct proc_spec spec = PROC_SPEC_INIT;
	char out[OUTPUT_LEN];

	open_files();
	spec.fds = moves[_i].fds;
	spec.fd_count = moves[_i].count;
	ck_assert_int_eq(run_script(&spec, script, out), 0);
	ck_assert_str_eq(out, moves[_i].shows);
	for (int i = 0; i < FILES; i++)
		ck_assert(fixture_is_cloexec(FIRST_FILE + i));
	close_files();
}
END_TEST

/* The shell waits for ls(1), which lists the shell's descriptors. */
START_TEST(nothing_else_is_inherited)
{
	static const struct proc_fd fds[] = { { 60, 4 }, { 61, 61 } };
	struct proc_spec spec = PROC_SPEC_INIT;
	char out[OUTPUT_LEN];

	open_files();
	ck_assert_int_eq(run_script(&spec, "ls /proc/$$/fd; :", out), 0);
	ck_assert_str_eq(out, "0\n1\n2\n");
	spec.fds = fds;
	spec.fd_count = 2;
	ck_assert_int_eq(run_script(&spec, "ls /proc/$$/fd; :", out), 0);
	ck_assert_str_eq(out, "0\n1\n2\n4\n61\n");
	close_files();
}
END_TEST

static int count_lines(const char *text)
{
	int count = 0;

	for (; *text != '\0'; text++)
		count += *text == '\n';
	return count;
}

/* The pipe for the report always collides with a target number. The program must start
 * nevertheless, and a failure must be reported. */
START_TEST(many_descriptors_leave_a_number_for_the_report)
{
	static struct proc_fd fds[PROC_MAX_FDS + 1];
	struct proc_spec spec = PROC_SPEC_INIT;
	char *const *argv = FIXTURE_ARGV("x");
	char out[OUTPUT_LEN];

	for (int i = 0; i <= PROC_MAX_FDS; i++)
		fds[i] = (struct proc_fd){ .from = STDERR_FILENO, .to = 3 + i };
	spec.fds = fds;
	spec.fd_count = PROC_MAX_FDS;
	/* The last command is not ls(1), so that the shell does not execute it in its own place. */
	ck_assert_int_eq(run_script(&spec, "ls /proc/$$/fd; :", out), 0);
	ck_assert_int_eq(count_lines(out), 3 + PROC_MAX_FDS);
	spec.out = -1;
	spec.argv = argv;
	spec.path = "/nonexistent";
	ck_assert_int_eq(proc_spawn(&spec, &e), -ENOENT);
	spec.fd_count++;
	ck_assert_int_eq(proc_spawn(&spec, &e), -E2BIG);
	ck_assert_str_eq(e.msg, "fork/exec /nonexistent: argument list too long");
	spec.fd_count = 1;
	fds[0].from = -1;
	ck_assert_int_eq(proc_spawn(&spec, &e), -EBADF);
	ck_assert_str_eq(e.msg, "fork/exec /nonexistent: bad file descriptor");
}
END_TEST

static const char *const listen_envs[][5] = {
	{ "LISTEN_PID=1", "LISTEN_FDS=2", "A=x" },
	{ "A=x", "LISTEN_FDS=2", "LISTEN_PID=99999999999999999999999999" },
	{ "A=x", "LISTEN_FDS=2" },
	{ "LISTEN_PID=", "A=x", "LISTEN_FDS=2" },
	{ "LISTEN_FDS=2", "LISTEN_PID=1", "LISTEN_PIDFDID=4321", "A=x" },
};

START_TEST(listen_pid_is_the_programs_own)
{
	struct proc_spec spec = PROC_SPEC_INIT;
	char out[OUTPUT_LEN];

	spec.envp = (char *const *)listen_envs[_i];
	spec.listen_pid = true;
	ck_assert_int_eq(
		run_script(&spec,
			   "[ $LISTEN_PID = $$ ] && echo $LISTEN_FDS $A;"
			   "tr '\\0' '\\n' </proc/$$/environ | grep -c '^LISTEN_PID=\\|4321'",
			   out),
		0);
	ck_assert_str_eq(out, "2 x\n1\n");
}
END_TEST

START_TEST(listen_pid_joins_our_own_environment)
{
	struct proc_spec spec = PROC_SPEC_INIT;
	char out[OUTPUT_LEN];

	setenv("LISTEN_PID", "1", 1);
	spec.listen_pid = true;
	ck_assert_int_eq(run_script(&spec, "[ $LISTEN_PID = $$ ] && echo yes", out), 0);
	ck_assert_str_eq(out, "yes\n");
	ck_assert_str_eq(getenv("LISTEN_PID"), "1");
	unsetenv("LISTEN_PID");
	ck_assert_int_eq(run_script(&spec, "[ $LISTEN_PID = $$ ] && echo yes", out), 0);
	ck_assert_str_eq(out, "yes\n");
	ck_assert_ptr_null(getenv("LISTEN_PID"));
}
END_TEST

/* The pipe reaches its end when the program exits. */
START_TEST(a_program_may_die_with_us)
{
	int fds[2];
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		char *const *argv = FIXTURE_ARGV("sleep", "1000");
		struct proc_spec spec = PROC_SPEC_INIT;
		char path[PATH_MAX];

		if (proc_find("sleep", path, sizeof(path), NULL) < 0)
			_exit(1);
		spec.path = path;
		spec.argv = argv;
		spec.out = fds[1];
		spec.die_with_us = true;
		_exit(proc_spawn(&spec, NULL) < 0);
	}
	close(fds[1]);
	ck_assert_int_eq(proc_wait(pid), 0);
	ck_assert_int_eq(read(fds[0], &byte, 1), 0);
	close(fds[0]);
}
END_TEST

/* ---- running to the end ---- */

static int run(const char *script, char *out, size_t cap, int timeout_ms)
{
	char *const *argv = FIXTURE_ARGV("sh", "-c", script);

	return proc_run(argv, out, cap, timeout_ms, &e);
}

#define ENOUGH_MS (FIXTURE_DEADLINE_S * 1000)

static int check_run(void)
{
	char out[16];

	return run("echo yes", out, sizeof(out), ENOUGH_MS) == 0 && strcmp(out, "yes\n") == 0 ? 0
											      : 2;
}

START_TEST(run_works_without_pidfds)
{
	fixture_without(SYS_pidfd_open, _i == 0 ? ENOSYS : EPERM, check_run);
}
END_TEST

START_TEST(run_collects_output_and_status)
{
	char out[64];
	int status;

	status = run("echo out; echo err >&2; exit 7", out, sizeof(out), ENOUGH_MS);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 7);
	ck_assert_str_eq(out, "out\nerr\n");
	status = run(":", out, sizeof(out), ENOUGH_MS);
	ck_assert_int_eq(status, 0);
	ck_assert_str_eq(out, "");
	status = run("printf killed; kill -9 $$", out, sizeof(out), ENOUGH_MS);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGKILL);
	ck_assert_str_eq(out, "killed");
}
END_TEST

/* A program that writes more than the caller keeps, and more than a pipe holds, still exits. */
START_TEST(run_cuts_output)
{
	char out[8];

	ck_assert_int_eq(run("printf 1234567", out, sizeof(out), ENOUGH_MS), 0);
	ck_assert_str_eq(out, "1234567");
	ck_assert_int_eq(run("printf 12345678", out, sizeof(out), ENOUGH_MS), 0);
	ck_assert_str_eq(out, "1234567");
	ck_assert_int_eq(run("printf abc; head -c 1000000 /dev/zero", out, sizeof(out), ENOUGH_MS),
			 0);
	ck_assert_str_eq(out, "abc");
	ck_assert_int_eq(run("echo abc", out, 1, ENOUGH_MS), 0);
	ck_assert_str_eq(out, "");
}
END_TEST

static const char *const endless[] = {
	"exec sleep 1000",
	"printf begun; exec sleep 1000",
	"while :; do echo word; done",
	"trap '' TERM INT HUP; while :; do :; done",
	"exec >&- 2>&-; while :; do :; done",
};

START_TEST(run_kills_a_program_at_its_timeout)
{
	char out[64];
	unsigned long long begin = fixture_now_ms();

	ck_assert_int_eq(run(endless[_i], out, sizeof(out), 100), -ETIMEDOUT);
	ck_assert_uint_ge(fixture_now_ms() - begin, 100);
	ck_assert_str_eq(e.msg, "sh did not end within 100 ms");
}
END_TEST

static int check_unkilled_run(void)
{
	char out[64];

	if (run("exec sleep 1000", out, sizeof(out), 100) != -ETIMEDOUT)
		return 2;
	return strcmp(e.msg, "sh did not end within 100 ms, and killing it failed: operation not "
			     "permitted") == 0
		       ? 0
		       : 3;
}

START_TEST(run_does_not_wait_for_a_program_that_it_may_not_kill)
{
	fixture_without(SYS_kill, EPERM, check_unkilled_run);
}
END_TEST

/* Another process may keep the pipe open. Here that process outlives the program, so the test must
 * kill it. */
START_TEST(run_ends_with_the_program)
{
	char out[64];
	int pid = 0;

	ck_assert_int_eq(run("sleep 1000 & echo $!", out, sizeof(out), ENOUGH_MS), 0);
	ck_assert_int_eq(sscanf(out, "%d\n", &pid), 1);
	ck_assert_int_gt(pid, 1);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
}
END_TEST

/* The shell waits for a child of its own, which keeps the pipe open. */
START_TEST(run_kills_processes_of_the_program_too)
{
	char out[64];
	char byte;
	int alive[2];

	ck_assert_int_eq(pipe(alive), 0);
	fcntl(alive[0], F_SETFD, FD_CLOEXEC);
	ck_assert_int_eq(run("sleep 1000; :", out, sizeof(out), 200), -ETIMEDOUT);
	close(alive[1]);
	ck_assert_int_eq(fd_wait(alive[0], POLLIN, FIXTURE_DEADLINE_S * 1000), POLLHUP);
	ck_assert_int_eq(read(alive[0], &byte, 1), 0);
	close(alive[0]);
	no_child_is_left();
}
END_TEST

START_TEST(run_names_a_program_that_is_missing)
{
	char *const *argv = FIXTURE_ARGV("no-such-program");
	char out[8] = "old";

	ck_assert_int_eq(proc_run(argv, out, sizeof(out), ENOUGH_MS, &e), -ENOENT);
	ck_assert_str_eq(e.msg, "exec: \"no-such-program\": executable file not found in $PATH");
	ck_assert_str_eq(out, "");
}
END_TEST

/* ---- waiting, statuses, signals ---- */

static int release_fd;

static void *release_after_ticks(void *arg)
{
	fixture_await_ticks(20);
	close(release_fd);
	return arg;
}

START_TEST(wait_continues_after_a_signal)
{
	int fds[2];
	pthread_t thread;
	pid_t pid;
	char byte;

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		close(fds[1]);
		_exit(read(fds[0], &byte, 1) == 0 ? 5 : 1);
	}
	close(fds[0]);
	release_fd = fds[1];
	fixture_start_ticks();
	thread = fixture_thread(release_after_ticks, NULL);
	ck_assert_int_eq(proc_exit_code(proc_wait(pid)), 5);
	pthread_join(thread, NULL);
	fixture_stop_ticks();
	ck_assert_int_eq(proc_wait(pid), -ECHILD);
}
END_TEST

#define DUMPED 0x80

static pid_t start_sleep(bool own_group)
{
	struct proc_spec spec = PROC_SPEC_INIT;

	spec.path = "/bin/sleep";
	spec.argv = FIXTURE_ARGV("sleep", "1000");
	spec.die_with_us = true;
	spec.own_group = own_group;
	return proc_spawn(&spec, &e);
}

START_TEST(end_kills_and_reaps)
{
	bool group = _i == 1;
	pid_t pid = start_sleep(group);

	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(proc_end(pid, group), SIGKILL);
	no_child_is_left();
}
END_TEST

/* A process that has exited is reaped, even if it may not be killed. */
static int check_unkilled_end(void)
{
	siginfo_t info;
	pid_t pid = fork();

	if (pid == 0)
		_exit(7);
	if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0 ||
	    proc_end(pid, false) != W_EXITCODE(7, 0))
		return 2;
	pid = start_sleep(false);
	if (pid <= 0 || proc_end(pid, false) != -EPERM)
		return 3;
	return waitpid(-1, NULL, WNOHANG) == 0 ? 0 : 4;
}

START_TEST(end_does_not_wait_for_a_process_that_it_may_not_kill)
{
	fixture_without(SYS_kill, EPERM, check_unkilled_end);
}
END_TEST

static int check_wait_ms(void)
{
	unsigned long long begin = fixture_now_ms();
	pid_t pid = start_sleep(false);

	if (pid <= 0 || proc_wait_ms(pid, 50) != -ETIMEDOUT || fixture_now_ms() - begin < 50)
		return 2;
	if (kill(pid, SIGTERM) < 0 || proc_wait_ms(pid, ENOUGH_MS) != SIGTERM)
		return 3;
	return proc_wait_ms(pid, ENOUGH_MS) == -ECHILD ? 0 : 4;
}

START_TEST(waiting_has_a_deadline)
{
	ck_assert_int_eq(check_wait_ms(), 0);
	fixture_without(SYS_pidfd_open, ENOSYS, check_wait_ms);
}
END_TEST

static const struct {
	int status; /* wait status, as from waitpid(2) */
	const char *text;
	int code;
} statuses[] = {
	{ W_EXITCODE(0, 0), "exit status 0", 0 },
	{ W_EXITCODE(42, 0), "exit status 42", 42 },
	{ W_EXITCODE(255, 0), "exit status 255", 255 },
	{ W_EXITCODE(0, SIGHUP), "signal: hangup", 255 },
	{ W_EXITCODE(0, SIGINT), "signal: interrupt", 255 },
	{ W_EXITCODE(0, SIGQUIT), "signal: quit", 255 },
	{ W_EXITCODE(0, SIGQUIT) | DUMPED, "signal: quit (core dumped)", 255 },
	{ W_EXITCODE(0, SIGILL), "signal: illegal instruction", 255 },
	{ W_EXITCODE(0, SIGTRAP), "signal: trace/breakpoint trap", 255 },
	{ W_EXITCODE(0, SIGABRT), "signal: aborted", 255 },
	{ W_EXITCODE(0, SIGBUS), "signal: bus error", 255 },
	{ W_EXITCODE(0, SIGFPE), "signal: floating point exception", 255 },
	{ W_EXITCODE(0, SIGKILL), "signal: killed", 255 },
	{ W_EXITCODE(0, SIGUSR1), "signal: user defined signal 1", 255 },
	{ W_EXITCODE(0, SIGSEGV), "signal: segmentation fault", 255 },
	{ W_EXITCODE(0, SIGUSR2), "signal: user defined signal 2", 255 },
	{ W_EXITCODE(0, SIGPIPE), "signal: broken pipe", 255 },
	{ W_EXITCODE(0, SIGALRM), "signal: alarm clock", 255 },
	{ W_EXITCODE(0, SIGTERM), "signal: terminated", 255 },
	/* Go has no names for these. */
	{ W_EXITCODE(0, SIGSTKFLT), "signal: signal 16", 255 },
	{ W_EXITCODE(0, SIGSYS) | DUMPED, "signal: signal 31 (core dumped)", 255 },
	{ W_EXITCODE(0, 64), "signal: signal 64", 255 },
};

START_TEST(a_child_is_dying_until_it_is_reaped)
{
	siginfo_t info;
	pid_t pid = fork();

	if (pid == 0) {
		pause();
		_exit(0);
	}
	ck_assert(!proc_is_dying(pid));
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	ck_assert(proc_is_dying(pid));
	proc_wait(pid);
	ck_assert(!proc_is_dying(pid));
}
END_TEST

START_TEST(a_status_has_the_words_of_rootlesskit)
{
	char buf[64];

	ck_assert_str_eq(proc_status_text(statuses[_i].status, buf, sizeof(buf)),
			 statuses[_i].text);
	ck_assert_int_eq(proc_exit_code(statuses[_i].status), statuses[_i].code);
}
END_TEST

static TCase *make_case(const char *name)
{
	TCase *tc = fixture_case_with_dir(name);

	tcase_add_checked_fixture(tc, NULL, no_child_is_left);
	return tc;
}

static TCase *finding_case(void)
{
	TCase *tc = make_case("finding");

	tcase_add_loop_test(tc, a_program_is_found_in_the_path, 0, COUNT(lookups));
	tcase_add_loop_test(tc, a_path_that_is_not_a_program_is_refused_with_a_reason, 0,
			    COUNT(misses));
	tcase_add_test(tc, a_path_must_fit);
	return tc;
}

static TCase *starting_case(void)
{
	TCase *tc = make_case("starting");

	tcase_add_test(tc, a_program_gets_its_arguments_and_environment);
	tcase_add_loop_test(tc, a_failed_exec_is_reported, 0, COUNT(no_programs));
	tcase_add_loop_test(tc, descriptors_are_moved, 0, COUNT(moves));
	tcase_add_test(tc, nothing_else_is_inherited);
	tcase_add_test(tc, many_descriptors_leave_a_number_for_the_report);
	tcase_add_loop_test(tc, listen_pid_is_the_programs_own, 0, COUNT(listen_envs));
	tcase_add_test(tc, listen_pid_joins_our_own_environment);
	tcase_add_test(tc, a_program_may_die_with_us);
	return tc;
}

static TCase *running_case(void)
{
	TCase *tc = make_case("running");

	tcase_add_loop_test(tc, run_works_without_pidfds, 0, 2);
	tcase_add_test(tc, run_collects_output_and_status);
	tcase_add_test(tc, run_cuts_output);
	tcase_add_loop_test(tc, run_kills_a_program_at_its_timeout, 0, COUNT(endless));
	tcase_add_test(tc, run_kills_processes_of_the_program_too);
	tcase_add_test(tc, run_does_not_wait_for_a_program_that_it_may_not_kill);
	tcase_add_test(tc, run_ends_with_the_program);
	tcase_add_test(tc, run_names_a_program_that_is_missing);
	return tc;
}

static TCase *status_case(void)
{
	TCase *tc = make_case("status");

	tcase_add_test(tc, wait_continues_after_a_signal);
	tcase_add_loop_test(tc, end_kills_and_reaps, 0, 2);
	tcase_add_test(tc, end_does_not_wait_for_a_process_that_it_may_not_kill);
	tcase_add_test(tc, waiting_has_a_deadline);
	tcase_add_test(tc, a_child_is_dying_until_it_is_reaped);
	tcase_add_loop_test(tc, a_status_has_the_words_of_rootlesskit, 0, COUNT(statuses));
	return tc;
}

int main(void)
{
	Suite *s = suite_create("proc");

	suite_add_tcase(s, finding_case());
	suite_add_tcase(s, starting_case());
	suite_add_tcase(s, running_case());
	suite_add_tcase(s, status_case());
	return fixture_run(s);
}
