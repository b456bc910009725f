/* SPDX-License-Identifier: Apache-2.0 */

/* How the program starts itself again as the child. This program is both: the tests are the parent,
 * and main() of the child writes a report to a file. */
#include "launch/reexec.h"

#include "base/fd.h"
#include "launch/handshake.h"
#include "tests/unit/capturedlog.h"
#include "tests/unit/ownmounts.h"

#define VARIABLE   "_RLKBOX_CHILD" /* as in reexec.c */
#define REPORT	   "TEST_REPORT"   /* the path of the file */
#define STATE	   "/state/dir"
#define STATUS	   42 /* of the child */
#define REPORT_FDS 32 /* descriptors that the child looks at */

static const char *const arguments[] = { "rootlesskit", "--net", "two words", "", NULL };

static struct opts opts;
static struct err e;
static pid_t child;
static struct reexec_ends ends;

/* ---- the child ---- */

static const char *const namespaces[] = { "user", "mnt", "net", "pid", "uts", "ipc", "cgroup" };
#define NAMESPACES COUNT(namespaces)

static ino_t inode_of(const char *file)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/self/ns/%s", file);
	return stat(path, &st) == 0 ? st.st_ino : 0;
}

static struct report {
	ino_t namespaces[NAMESPACES];
	uid_t uid;
	gid_t gid;
	struct reexec reexec;
	char state_dir[64], parent_euid[16], parent_egid[16];
	bool has_arguments;   /* those of the parent */
	bool has_variable;    /* after reexec_take */
	bool signals_blocked; /* SIGTERM, also after reexec_take */
	bool has_signal_fd;
	int death_signal;
	bool is_open[REPORT_FDS]; /* descriptors, before reexec_take */
	bool stays[REPORT_FDS];	  /* not close-on-exec, after it */
} report;

static void copy_variable(const char *name, char *to, size_t cap)
{
	snprintf(to, cap, "%s", getenv(name) != NULL ? getenv(name) : "");
}

static bool has_arguments(char *const *argv)
{
	int i = 1;

	while (argv[i] != NULL && arguments[i] != NULL && strcmp(argv[i], arguments[i]) == 0)
		i++;
	return argv[i] == NULL && arguments[i] == NULL;
}

static void look_around(char *const *argv)
{
	for (int i = 0; i < NAMESPACES; i++)
		report.namespaces[i] = inode_of(namespaces[i]);
	for (int fd = FD_FIRST; fd < REPORT_FDS; fd++)
		report.is_open[fd] = fixture_is_open(fd);
	report.uid = geteuid();
	report.gid = getegid();
	report.has_arguments = has_arguments(argv);
	copy_variable("ROOTLESSKIT_STATE_DIR", report.state_dir, sizeof(report.state_dir));
	copy_variable("ROOTLESSKIT_PARENT_EUID", report.parent_euid, sizeof(report.parent_euid));
	copy_variable("ROOTLESSKIT_PARENT_EGID", report.parent_egid, sizeof(report.parent_egid));
	prctl(PR_GET_PDEATHSIG, &report.death_signal);
}

/* Returns the exit status. */
static int run_child(char *const *argv)
{
	int fd = open(getenv(REPORT), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int signal_fd;
	sigset_t mask;

	if (fd < 0)
		return 1;
	fd = dup3(fd, REPORT_FDS, O_CLOEXEC) < 0 || close(fd) < 0 ? -1 : REPORT_FDS;
	look_around(argv);
	signal_fd = reexec_take(&report.reexec, &e);
	report.has_signal_fd = signal_fd >= 0 && fixture_is_cloexec(signal_fd);
	report.has_variable = getenv(VARIABLE) != NULL;
	sigprocmask(SIG_SETMASK, NULL, &mask);
	report.signals_blocked = sigismember(&mask, SIGTERM) == 1;
	for (int i = FD_FIRST; i < REPORT_FDS; i++)
		report.stays[i] = fixture_is_open(i) && !fixture_is_cloexec(i);
	if (handshake_send(report.reexec.to_parent, HS_USERNS_COMPLETED, NULL, &e) < 0 ||
	    write(fd, &report, sizeof(report)) != (ssize_t)sizeof(report))
		return 1;
	return STATUS;
}

/* ---- the parent ---- */

static void begin(void)
{
	opts = (struct opts){ .net.driver = NET_NONE };
	setenv(REPORT, fixture_path("report"), 1);
	unsetenv(VARIABLE);
	e.msg[0] = '\0';
	capture_log(false);
}

static void end(void)
{
	release_log();
}

/* Starts the child. */
static void start(int activation_fds)
{
	child = reexec_start(&opts, (char *const *)arguments, STATE, activation_fds, &ends, &e);
}

static void write_id(const char *file, const char *text)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)child, file);
	ck_assert(own_mounts_write(path, text));
}

static void map_ids(void)
{
	char text[32];

	snprintf(text, sizeof(text), "0 %u 1", (unsigned int)geteuid());
	write_id("uid_map", text);
	write_id("setgroups", "deny");
	snprintf(text, sizeof(text), "0 %u 1", (unsigned int)getegid());
	write_id("gid_map", text);
}

static void say(enum handshake which)
{
	ck_assert_msg(handshake_send(ends.to_child, which, NULL, &e) == 0, "%s", e.msg);
}

static void hear(enum handshake which)
{
	ck_assert_msg(handshake_recv(ends.from_child, which, NULL, &e) == 0,
		      "%s, and the log says: %s", e.msg, read_log());
}

static int await_status(void)
{
	int status = 0;

	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void close_pipes(void)
{
	close(ends.to_child);
	close(ends.from_child);
}

/* Plays the parent's part of the start, and reads the report. */
static void finish(void)
{
	FD_AUTO int fd = -1;

	ck_assert_msg(child > 0, "%s", e.msg);
	ck_assert(fixture_is_cloexec(ends.to_child));
	ck_assert(fixture_is_cloexec(ends.from_child));
	say(HS_PARENT_HELLO);
	hear(HS_CHILD_HELLO);
	map_ids();
	say(HS_IDMAP_COMPLETED);
	hear(HS_USERNS_COMPLETED);
	ck_assert_int_eq(await_status(), STATUS);
	close_pipes();
	fd = open(fixture_path("report"), O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(read(fd, &report, sizeof(report)), (ssize_t)sizeof(report));
	ck_assert_str_eq(read_log(), "");
}

/* Can the program start itself again here? */
static bool can_start(void)
{
	return !fixture_is_valgrind() && need_userns();
}

/* ---- the start ---- */

/* Names of new namespaces, as bits. */
enum {
	USER = 1 << 0,
	MNT = 1 << 1,
	NET = 1 << 2,
	PID = 1 << 3,
	UTS = 1 << 4,
	IPC = 1 << 5,
	CGROUP = 1 << 6,
};

static const struct {
	enum net_driver driver;
	bool detach_netns, pidns, cgroupns, utsns, ipcns;
	int are_new;
} starts[] = {
	{ NET_HOST, false, false, false, false, false, USER | MNT },
	{ NET_NONE, false, false, false, false, false, USER | MNT | NET },
	{ NET_SLIRP4NETNS, false, false, false, false, false, USER | MNT | NET },
	/* the namespace is made later, for ports and programs that enter it */
	{ NET_SLIRP4NETNS, true, false, false, false, false, USER | MNT },
	{ NET_HOST, false, true, false, false, false, USER | MNT | PID },
	{ NET_HOST, false, false, true, false, false, USER | MNT | CGROUP },
	{ NET_HOST, false, false, false, true, false, USER | MNT | UTS },
	{ NET_HOST, false, false, false, false, true, USER | MNT | IPC },
	{ NET_PASTA, false, true, true, true, true, USER | MNT | NET | PID | UTS | IPC | CGROUP },
};

START_TEST(the_child_is_root_in_the_namespaces_that_the_options_ask_for)
{
	if (!can_start())
		return;
	opts.net.driver = starts[_i].driver;
	opts.net.detach_netns = starts[_i].detach_netns;
	opts.pidns = starts[_i].pidns;
	opts.cgroupns = starts[_i].cgroupns;
	opts.utsns = starts[_i].utsns;
	opts.ipcns = starts[_i].ipcns;
	start(0);
	finish();
	for (int i = 0; i < NAMESPACES; i++)
		ck_assert_msg((report.namespaces[i] != inode_of(namespaces[i])) ==
				      ((starts[_i].are_new & 1 << i) != 0),
			      "%s", namespaces[i]);
	ck_assert_uint_eq(report.uid, 0);
	ck_assert_uint_eq(report.gid, 0);
	/* In another PID namespace our PID says nothing. */
	ck_assert_int_eq(report.reexec.parent, starts[_i].pidns ? 0 : getpid());
}
END_TEST

START_TEST(the_child_gets_the_command_line_and_the_environment)
{
	char id[16];

	if (!can_start())
		return;
	start(0);
	finish();
	ck_assert(report.has_arguments);
	ck_assert_str_eq(report.state_dir, STATE);
	snprintf(id, sizeof(id), "%u", (unsigned int)geteuid());
	ck_assert_str_eq(report.parent_euid, id);
	snprintf(id, sizeof(id), "%u", (unsigned int)getegid());
	ck_assert_str_eq(report.parent_egid, id);
	ck_assert(!report.has_variable);
	ck_assert_ptr_null(getenv(VARIABLE)); /* it was the child's only */
}
END_TEST

START_TEST(the_child_takes_over_signals_and_dies_with_its_parent)
{
	if (!can_start())
		return;
	start(0);
	finish();
	ck_assert(report.has_signal_fd);
	ck_assert(report.signals_blocked);
	ck_assert_int_eq(report.death_signal, SIGKILL);
}
END_TEST

#define ACTIVATION_MAX 2

/* Puts a file in the place of the descriptors of socket activation, starts the child, and restores
 * the descriptors, which are Check's. */
static void start_activated(int count)
{
	int file = open("/dev/null", O_RDONLY | O_CLOEXEC), saved[ACTIVATION_MAX];

	for (int i = 0; i < count; i++) {
		saved[i] = fcntl(FD_FIRST + i, F_DUPFD_CLOEXEC, REPORT_FDS);
		dup3(file, FD_FIRST + i, O_CLOEXEC);
	}
	start(count);
	for (int i = 0; i < count; i++) {
		close(FD_FIRST + i);
		if (saved[i] >= 0) {
			dup2(saved[i], FD_FIRST + i);
			close(saved[i]);
		}
	}
	close(file);
}

START_TEST(the_child_has_the_descriptors_of_socket_activation_and_two_pipes)
{
	const struct reexec *r = &report.reexec;
	bool is_checks[REPORT_FDS]; /* Check has files that its processes inherit */
	int ours;

	if (!can_start())
		return;
	for (int fd = FD_FIRST; fd < REPORT_FDS; fd++)
		is_checks[fd] = fixture_is_open(fd) && !fixture_is_cloexec(fd);
	ours = open("/dev/null", O_RDONLY | O_CLOEXEC);
	start_activated(_i);
	finish();
	close(ours);
	ck_assert_int_eq(r->activation_fds, _i);
	for (int fd = FD_FIRST; fd < REPORT_FDS; fd++) {
		bool is_inherited = is_checks[fd] || fd == r->from_parent || fd == r->to_parent ||
				    fd < FD_FIRST + r->activation_fds;

		ck_assert_msg(report.is_open[fd] == is_inherited, "descriptor %d", fd);
		/* The command gets none of them by accident. */
		ck_assert_msg(!report.stays[fd], "descriptor %d", fd);
	}
}
END_TEST

/* ---- failures ---- */

/* Descriptors that are left when the child is started; both pipes need two. */
START_TEST(without_descriptors_for_the_pipes_the_error_names_the_limit)
{
	struct rlimit old;

	if (fixture_is_valgrind())
		return;
	old = fixture_limit_fds(_i);
	start(0);
	fixture_restore_fds(&old);
	ck_assert_int_eq(child, -EMFILE);
	ck_assert_str_eq(e.msg, "pipe: too many open files; try a higher limit of file "
				"descriptors: ulimit -n");
}
END_TEST

static void be_silent(void)
{
}

static void greet_only(void)
{
	say(HS_PARENT_HELLO);
	hear(HS_CHILD_HELLO);
}

static void skip_the_hello(void)
{
	say(HS_IDMAP_COMPLETED);
}

static void map_nothing(void)
{
	greet_only();
	say(HS_IDMAP_COMPLETED);
}

static const struct {
	void (*parent)(void); /* what it does before it closes the pipes */
	const char *text;     /* in the log; NULL: the parent has logged why it ended */
} broken[] = {
	{ be_silent, NULL },
	{ greet_only, NULL },
	{ skip_the_hello, "waiting for ParentHello: invalid argument" },
	{ map_nothing, "becoming root of the user namespace: invalid argument" },
};

START_TEST(a_start_that_is_broken_off_ends_the_child)
{
	if (!can_start())
		return;
	start(0);
	ck_assert_msg(child > 0, "%s", e.msg);
	broken[_i].parent();
	close_pipes();
	ck_assert_int_eq(await_status(), 1);
	if (broken[_i].text == NULL)
		ck_assert_str_eq(read_log(), "");
	else
		ck_assert_msg(strstr(read_log(), "[rootlesskit:child ] error: ") != NULL &&
				      strstr(read_log(), broken[_i].text) != NULL,
			      "%s", read_log());
}
END_TEST

/* ---- which process this is ---- */

static const struct {
	const char *program;
	const char *variable; /* NULL: not set */
	bool is_child;
} processes[] = {
	{ "/proc/self/exe", "1,3,4,-1,0;", true },
	{ "/proc/self/exe", NULL, false },
	/* a variable that was inherited by accident */
	{ "rootlesskit", "1,3,4,-1,0;", false },
	{ "/usr/bin/rootlesskit", "1,3,4,-1,0;", false },
};

START_TEST(the_child_is_known_by_its_name_and_the_variable)
{
	if (processes[_i].variable != NULL)
		setenv(VARIABLE, processes[_i].variable, 1);
	ck_assert_int_eq(reexec_is_child(FIXTURE_ARGV(processes[_i].program)),
			 processes[_i].is_child);
	unsetenv(VARIABLE);
}
END_TEST

#define NOT_OURS VARIABLE " is set, but not by rootlesskit; unset it"

static const struct {
	const char *value;
	const char *why;
} values[] = {
	{ NULL, NOT_OURS },
	{ "", NOT_OURS },
	{ "1", NOT_OURS },
	{ ";", NOT_OURS },
	{ "1,3,4,-1,0", NOT_OURS },
	{ "1,3,4,-1;0", NOT_OURS },
	{ "1,3,4,0;", NOT_OURS }, /* as before there was a socket */
	{ "1,3,4,x,0;", NOT_OURS },
	{ "1,3,4,-1,;0", NOT_OURS },
	{ "a,3,4,-1,0;0", NOT_OURS },
	{ "1;3;4;-1;0;", NOT_OURS },
	{ "1,3,4,-1,0;", "taking over signals: invalid argument" },
	{ "1,3,4,-1,0;nonsense", "taking over signals: invalid argument" },
};

START_TEST(a_variable_of_another_origin_is_an_error)
{
	struct reexec r;

	if (values[_i].value != NULL)
		setenv(VARIABLE, values[_i].value, 1);
	ck_assert_int_eq(reexec_take(&r, &e), -EINVAL);
	ck_assert_str_eq(e.msg, values[_i].why);
	unsetenv(VARIABLE);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *s;
	TCase *tc;

	(void)argc;
	/* A child that is not known as such must not run the suite again. */
	if (getenv(REPORT) != NULL)
		return reexec_is_child(argv) ? run_child(argv) : 1;
	s = suite_create("reexec");
	tc = fixture_case_with_dir("reexec");
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_loop_test(tc, the_child_is_root_in_the_namespaces_that_the_options_ask_for, 0,
			    COUNT(starts));
	tcase_add_test(tc, the_child_gets_the_command_line_and_the_environment);
	tcase_add_test(tc, the_child_takes_over_signals_and_dies_with_its_parent);
	tcase_add_loop_test(tc, the_child_has_the_descriptors_of_socket_activation_and_two_pipes, 0,
			    ACTIVATION_MAX + 1);
	tcase_add_loop_test(tc, without_descriptors_for_the_pipes_the_error_names_the_limit, 0, 4);
	tcase_add_loop_test(tc, a_start_that_is_broken_off_ends_the_child, 0, COUNT(broken));
	tcase_add_loop_test(tc, the_child_is_known_by_its_name_and_the_variable, 0,
			    COUNT(processes));
	tcase_add_loop_test(tc, a_variable_of_another_origin_is_an_error, 0, COUNT(values));
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
