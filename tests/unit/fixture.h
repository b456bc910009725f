/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "os/closer.h"

/* What the unit suites share: a check that no test leaks a descriptor, a directory for a test,
 * signals that interrupt system calls, dropping root's privileges for a while, and skipping a
 * test. */

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

/* An argument vector of string literals for execve(2). */
#define FIXTURE_ARGV(...) ((char *const *)(const char *const[]){ __VA_ARGS__, NULL })

/* Timeout of a test in seconds, far above what a loaded machine with sanitizers needs. */
#define FIXTURE_DEADLINE_S 120
#define FIXTURE_NOBODY	   65534

static inline unsigned long long fixture_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (unsigned long long)ts.tv_sec * 1000 + (unsigned long long)ts.tv_nsec / 1000000;
}

/* Returns a copy of a text in a heap buffer of exactly `len` bytes, without a NUL, so that
 * sanitizers notice a read past its end. The next call frees it. */
static inline char *fixture_exact_copy(const char *text, size_t len)
{
	static char *copy;

	free(copy);
	copy = malloc(len > 0 ? len : 1);
	ck_assert_ptr_nonnull(copy);
	memcpy(copy, text, len);
	return copy;
}

/* ---- descriptors ---- */

static int fixture_fds_before;

static inline int fixture_count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static inline void fixture_note_fds(void)
{
	fixture_fds_before = fixture_count_fds();
}

/* Waits until all closer processes, which close discarded descriptors (closer.h), have exited. */
static inline void fixture_await_closers(void)
{
	unsigned long long until = fixture_now_ms() + 1000 * FIXTURE_DEADLINE_S;

	while (closer_pending() > 0 && fixture_now_ms() < until)
		usleep(1000);
	ck_assert_uint_eq(closer_pending(), 0);
}

static inline void fixture_check_fds(void)
{
	fixture_await_closers();
	ck_assert_int_eq(fixture_count_fds(), fixture_fds_before);
}

static inline bool fixture_is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static inline bool fixture_is_cloexec(int fd)
{
	return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

static inline void fixture_socketpair(int fds[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

/* Does the test run under valgrind? valgrind emulates RLIMIT_NOFILE, and recvmsg(2) in the kernel
 * does not see that limit. */
static inline bool fixture_is_valgrind(void)
{
	const char *preload = getenv("LD_PRELOAD");

	return preload != NULL && strstr(preload, "vgpreload") != NULL;
}

/* Lets the process open at most `room` more descriptors. Returns the old limit for
 * fixture_restore_fds. */
static inline struct rlimit fixture_limit_fds(int room)
{
	struct rlimit old, lim;
	int fds[16] = { 0 };

	ck_assert(room >= 0 && room < COUNT(fds));
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	for (int i = 0; i <= room; i++)
		ck_assert_int_ge(fds[i] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0), 0);
	lim = old;
	lim.rlim_cur = (rlim_t)fds[room];
	for (int i = 0; i <= room; i++)
		close(fds[i]);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &lim), 0);
	return old;
}

static inline void fixture_restore_fds(const struct rlimit *old)
{
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, old), 0);
}

/* ---- privileges ---- */

/* For tests of failures that root does not get, such as EACCES. Changes the effective UID only, so
 * that fixture_regain_root can undo it. */
static inline void fixture_drop_root(void)
{
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(FIXTURE_NOBODY), 0);
}

static inline void fixture_regain_root(void)
{
	if (getuid() == 0 && seteuid(0) < 0)
		abort();
}

/* ---- system calls ---- */

/* Makes a system call fail in this process from now on, as an old kernel (ENOSYS) or a seccomp
 * profile (EPERM) does. Call it in a process of its own. Returns false if seccomp filters do not
 * work. */
static inline bool fixture_take_away(long nr, int errnum)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)errnum),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = (unsigned short)COUNT(code), .filter = code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0;
}

/* Does each test run in a process of its own, so that fixture_take_away may be called? */
static inline bool fixture_is_forked(void)
{
	const char *fork_mode = getenv("CK_FORK");

	return fork_mode == NULL || strcmp(fork_mode, "no") != 0;
}

/* Runs `check` in a process without that system call. `check` returns 0 for success. */
static inline void fixture_without(long nr, int errnum, int (*check)(void))
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0)
		_exit(fixture_take_away(nr, errnum) ? check() : 77);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "wait status 0x%x (0x4d00: no seccomp here)", status);
}

/* ---- what a machine may lack ---- */

#define FIXTURE_SKIPS_MAX 64

/* Check cannot skip a test. A test that skips stores its number here, in memory that the processes
 * of all tests share. fixture_run then marks the line of that test in the TAP file. */
struct fixture_shared {
	int begun; /* tests begun so far, which is the number of the running test */
	int count;
	struct {
		int number;
		char why[96];
	} skips[FIXTURE_SKIPS_MAX];
};

static struct fixture_shared *fixture_shared;

static inline void fixture_share(void)
{
	fixture_shared = mmap(NULL, sizeof(*fixture_shared), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fixture_shared == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
}

static inline void fixture_count_test(void)
{
	fixture_shared->begun++;
}

/* Reports this test as skipped, unless it fails. The test must return after that, and must belong
 * to a fixture_case. `facility` is the word for ALLOW_SKIPS (tests/run.sh). */
static inline void fixture_skip(const char *facility, const char *why)
{
	int at = fixture_shared->count++;

	ck_assert_int_lt(at, FIXTURE_SKIPS_MAX);
	fixture_shared->skips[at].number = fixture_shared->begun;
	snprintf(fixture_shared->skips[at].why, sizeof(fixture_shared->skips[at].why), "%s: %s",
		 facility, why);
}

static inline const char *fixture_skip_of(int number)
{
	for (int i = 0; i < fixture_shared->count; i++)
		if (fixture_shared->skips[i].number == number)
			return fixture_shared->skips[i].why;
	return NULL;
}

/* Copies the TAP file to `to`, with skipped tests marked. Check numbers tests in the order of their
 * execution, from 1. */
static inline void fixture_copy_tap(FILE *from, FILE *to)
{
	size_t cap = 0;
	char *line = NULL;
	ssize_t len;

	while ((len = getline(&line, &cap, from)) > 0) {
		const char *why = NULL;
		int number;

		if (sscanf(line, "ok %d - ", &number) == 1)
			why = fixture_skip_of(number);
		if (why != NULL)
			fprintf(to, "%.*s # SKIP %s\n", (int)len - 1, line, why);
		else
			fputs(line, to);
	}
	free(line);
}

/* Marks the skipped tests in the TAP file. `tests` is the number of tests that Check ran. Returns
 * false if the file cannot be written, or if fixture_count_test has not counted all of them. */
static inline bool fixture_mark_skips(int tests)
{
	const char *path = getenv("CK_TAP_LOG_FILE_NAME");
	char marked[PATH_MAX];
	FILE *from, *to;
	bool done;

	if (fixture_shared == NULL || fixture_shared->count == 0)
		return true;
	for (int i = 0; i < fixture_shared->count; i++)
		printf("test %d is skipped: %s\n", fixture_shared->skips[i].number,
		       fixture_shared->skips[i].why);
	if (path == NULL)
		return true;
	snprintf(marked, sizeof(marked), "%s.marked", path);
	from = fopen(path, "re");
	to = fopen(marked, "we");
	done = from != NULL && to != NULL && fixture_shared->begun == tests;
	if (done)
		fixture_copy_tap(from, to);
	if (from != NULL)
		fclose(from);
	if (to != NULL)
		done = fclose(to) == 0 && done;
	return done && rename(marked, path) == 0;
}

/* Can a socket be bound to ::1? The kernel may lack IPv6, or it may be off on the interface lo. */
static inline bool fixture_has_ipv6(void)
{
	const struct sockaddr_in6 sa = { .sin6_family = AF_INET6,
					 .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool can_bind = fd >= 0 && bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) == 0;

	if (fd >= 0)
		close(fd);
	return can_bind;
}

/* Returns true if the test can use IPv6. If false, the test has been reported as skipped and must
 * return. */
static inline bool fixture_need_ipv6(void)
{
	bool has = fixture_has_ipv6();

	if (!has)
		fixture_skip("ipv6", "no socket can be bound to ::1");
	return has;
}

/* ---- a directory ---- */

/* The suite's directory in TMPDIR, and the directory of each test in it, which fixture_make_dir
 * removes if a failed test has left it. */
static char fixture_base[64];
static char fixture_dir[sizeof(fixture_base) + sizeof("/d") - 1];

static inline int fixture_open_one(const char *path, const struct stat *st, int type,
				   struct FTW *ftw)
{
	(void)st;
	(void)ftw;
	if (type == FTW_D)
		chmod(path, 0700);
	return 0;
}

static inline int fixture_remove_one(const char *path, const struct stat *st, int type,
				     struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int fixture_remove_tree(const char *path)
{
	return nftw(path, fixture_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Creates fixture_base. Runs outside of any test, where Check's assertions do not work. */
static inline void fixture_make_base(void)
{
	const char *tmp = getenv("TMPDIR");
	int len = snprintf(fixture_base, sizeof(fixture_base), "%s/rlkbox-check-XXXXXX",
			   tmp != NULL ? tmp : "/tmp");

	if (len >= (int)sizeof(fixture_base)) {
		fprintf(stderr, "TMPDIR is too long for the paths of sockets: %s\n", tmp);
		exit(1);
	}
	if (mkdtemp(fixture_base) == NULL || chmod(fixture_base, 0755) < 0) {
		perror(fixture_base);
		exit(1);
	}
	snprintf(fixture_dir, sizeof(fixture_dir), "%s/d", fixture_base);
}

/* Removes fixture_base, even if a test has removed permissions in it. */
static inline void fixture_remove_base(void)
{
	fixture_regain_root();
	nftw(fixture_base, fixture_open_one, 8, FTW_PHYS);
	fixture_remove_tree(fixture_base);
}

/* Creates fixture_dir. Its path is short and without symbolic links, and it is accessible after
 * fixture_drop_root. */
static inline void fixture_make_dir(void)
{
	/* what a failed test has left */
	fixture_regain_root();
	nftw(fixture_dir, fixture_open_one, 8, FTW_PHYS);
	fixture_remove_tree(fixture_dir);
	ck_assert_int_eq(mkdir(fixture_dir, 0755), 0);
	ck_assert_int_eq(chmod(fixture_dir, 0755), 0);
}

static inline void fixture_remove_dir(void)
{
	ck_assert_int_eq(fixture_remove_tree(fixture_dir), 0);
}

/* Returns the path of `name` in fixture_dir. The buffer is reused by the fourth call after this
 * one. */
static inline char *fixture_path(const char *name)
{
	static char paths[4][sizeof(fixture_dir) + PATH_MAX];
	static unsigned int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", fixture_dir, name);
	return path;
}

/* Creates a file in fixture_dir, with exactly this mode. Returns its path (fixture_path). */
static inline char *fixture_file(const char *name, const char *text, mode_t mode)
{
	char *path = fixture_path(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
	return path;
}

static inline void fixture_assert_content(const char *path, const char *text)
{
	char buf[4096];
	FILE *f = fopen(path, "re");
	size_t len;

	ck_assert_msg(f != NULL, "%s: %s", path, strerror(errno));
	len = fread(buf, 1, sizeof(buf) - 1, f);
	fclose(f);
	buf[len] = '\0';
	ck_assert_str_eq(buf, text);
}

/* ---- signals that interrupt ---- */

static int fixture_tick_fds[2];

static inline void fixture_on_tick(int signo)
{
	int saved = errno;
	ssize_t n = write(fixture_tick_fds[1], "", 1);

	(void)signo;
	(void)n;
	errno = saved;
}

/* Makes SIGALRM interrupt this thread every millisecond, from now on. Other threads must block
 * SIGALRM. */
static inline void fixture_start_ticks(void)
{
	const struct itimerval every_ms = { { 0, 1000 }, { 0, 1000 } };
	struct sigaction sa = { .sa_handler = fixture_on_tick }; /* without SA_RESTART */

	ck_assert_int_eq(pipe2(fixture_tick_fds, O_CLOEXEC), 0);
	ck_assert_int_eq(fcntl(fixture_tick_fds[1], F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(sigaction(SIGALRM, &sa, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &every_ms, NULL), 0);
}

/* Waits for `count` more ticks. Runs in a thread that blocks SIGALRM. */
static inline void fixture_await_ticks(int count)
{
	int old = 0;
	char byte;

	ioctl(fixture_tick_fds[0], FIONREAD, &old);
	for (count += old; count > 0;)
		if (read(fixture_tick_fds[0], &byte, 1) == 1)
			count--;
}

static inline void fixture_stop_ticks(void)
{
	const struct itimerval never = { { 0, 0 }, { 0, 0 } };

	setitimer(ITIMER_REAL, &never, NULL);
	signal(SIGALRM, SIG_IGN); /* also discards a pending SIGALRM */
	close(fixture_tick_fds[0]);
	close(fixture_tick_fds[1]);
}

/* Starts a thread that blocks all signals. */
static inline pthread_t fixture_thread(void *(*run)(void *), void *arg)
{
	sigset_t all, old;
	pthread_t thread;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ck_assert_int_eq(pthread_create(&thread, NULL, run, arg), 0);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return thread;
}

/* ---- running ---- */

static inline TCase *fixture_case(const char *name)
{
	TCase *tc = tcase_create(name);

	if (fixture_shared == NULL)
		fixture_share();
	tcase_set_timeout(tc, FIXTURE_DEADLINE_S);
	tcase_add_checked_fixture(tc, fixture_count_test, NULL);
	tcase_add_checked_fixture(tc, fixture_note_fds, fixture_check_fds);
	return tc;
}

/* The same, with an empty fixture_dir for each test. */
static inline TCase *fixture_case_with_dir(const char *name)
{
	TCase *tc = fixture_case(name);

	if (fixture_dir[0] == '\0')
		fixture_make_base();
	tcase_add_checked_fixture(tc, fixture_make_dir, fixture_remove_dir);
	return tc;
}

/* Runs the suite and frees it. Returns the exit status of the program. */
static inline int fixture_run(Suite *s)
{
	SRunner *sr = srunner_create(s);
	int failed, tests;

	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	tests = srunner_ntests_run(sr);
	srunner_free(sr);
	if (!fixture_mark_skips(tests)) {
		fprintf(stderr, "the skipped tests cannot be marked in the TAP file\n");
		failed++;
	}
	if (fixture_dir[0] != '\0')
		fixture_remove_base();
	return failed != 0;
}

#endif
