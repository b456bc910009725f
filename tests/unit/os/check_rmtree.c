/* SPDX-License-Identifier: Apache-2.0 */

/* Removing a tree: all of it, and nothing behind links or mounts. */
#include "base/clock.h"
#include "os/rmtree.h"
#include "tests/unit/fixture.h"
#include "tests/unit/ownmounts.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef SYS_openat2
#define SYS_openat2 437
#endif

#define DEEP	  300	/* levels; more than rmtree.c descends in one pass */
#define VERY_DEEP 17000 /* more than 256 passes of 64 levels */

static struct err e;

static enum rmtree_how choose_by_name(const char *name, const void *arg)
{
	(void)arg;
	if (strcmp(name, "keep") == 0)
		return RMTREE_KEEP;
	if (strcmp(name, "try") == 0)
		return RMTREE_TRY;
	return strcmp(name, "flat") == 0 ? RMTREE_FLAT : RMTREE_DEEP;
}

static int clear_dir_within(unsigned int ms)
{
	int fd = open(fixture_path("top"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = rmtree_clear(fd, choose_by_name, NULL, clock_now_ms() + ms, &e);

	close(fd);
	return r;
}

static int clear_dir(void)
{
	return clear_dir_within(60000);
}

static int count_entries(const char *path)
{
	DIR *dir = opendir(path);
	int count = -2;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static void make_dir(const char *name, mode_t mode)
{
	ck_assert_int_eq(mkdir(fixture_path(name), 0755), 0);
	ck_assert_int_eq(chmod(fixture_path(name), mode), 0);
}

START_TEST(a_tree_is_removed)
{
	make_dir("top", 0755);
	make_dir("kept", 0755);
	fixture_file("kept/file", "kept", 0644);
	make_dir("top/a", 0755);
	make_dir("top/a/b", 0755);
	make_dir("top/empty", 0);
	fixture_file("top/file", "x", 0);
	fixture_file("top/a/b/file", "x", 0644);
	ck_assert_int_eq(symlink("../../kept", fixture_path("top/a/link")), 0);
	ck_assert_int_eq(symlink(fixture_path("kept"), fixture_path("top/link")), 0);
	ck_assert_int_eq(mkfifo(fixture_path("top/a/fifo"), 0600), 0);
	ck_assert_int_eq(chmod(fixture_path("top/a/b"), 0), 0);
	ck_assert_int_eq(chmod(fixture_path("top/a"), 0555), 0);
	ck_assert_msg(clear_dir() == 0, "%s", e.msg);
	ck_assert_int_eq(count_entries(fixture_path("top")), 0);
	fixture_assert_content(fixture_path("kept/file"), "kept");
}
END_TEST

START_TEST(a_filter_decides_about_each_name)
{
	make_dir("top", 0755);
	make_dir("top/keep", 0755);
	make_dir("top/try", 0755);
	fixture_file("top/try/file", "x", 0644);
	make_dir("top/flat", 0755);
	ck_assert_int_eq(clear_dir(), 0);
	ck_assert_int_eq(count_entries(fixture_path("top")), 2);
	make_dir("top/flat", 0755);
	fixture_file("top/flat/file", "x", 0644);
	make_dir("top/deep", 0755);
	fixture_file("top/deep/file", "x", 0644);
	ck_assert_int_eq(clear_dir(), -ENOTEMPTY);
	ck_assert_ptr_nonnull(strstr(e.msg, "/top/flat: directory not empty"));
	/* The rest has been removed. */
	ck_assert_int_eq(count_entries(fixture_path("top")), 3);
	fixture_assert_content(fixture_path("top/flat/file"), "x");
}
END_TEST

static void make_deep(int levels)
{
	int fd, next;

	make_dir("top", 0755);
	fd = open(fixture_path("top"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < levels; i++) {
		ck_assert_int_eq(mkdirat(fd, "sub", 0755), 0);
		ck_assert_int_eq(close(openat(fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600)),
				 0);
		next = openat(fd, "sub", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		ck_assert_int_ge(next, 0);
		close(fd);
		fd = next;
	}
	close(fd);
}

static const int descriptors[] = { 5, 8, 20, 60 };

START_TEST(a_deep_tree_needs_few_descriptors)
{
	struct rlimit old, few;
	int next, r;

	make_deep(DEEP);
	next = dup(STDIN_FILENO);
	close(next);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = old;
	few.rlim_cur = (rlim_t)(next + descriptors[_i]);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	r = clear_dir();
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
	ck_assert_msg(r == 0, "%s", e.msg);
	ck_assert_int_eq(count_entries(fixture_path("top")), 0);
}
END_TEST

START_TEST(a_tree_of_any_depth_is_removed)
{
	make_deep(fixture_is_valgrind() ? DEEP : VERY_DEEP); /* valgrind is too slow */
	ck_assert_msg(clear_dir() == 0, "%s", e.msg);
	ck_assert_int_eq(count_entries(fixture_path("top")), 0);
}
END_TEST

/* Takes openat2(2) away, as an old kernel or a seccomp profile does. */
static bool forget_openat2(unsigned int errnum)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | errnum),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = (unsigned short)COUNT(code), .filter = code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0;
}

#define NO_NAMESPACE 77

/* Runs in a process of its own, in which `kept` is mounted on top/a/m. Returns its exit status. */
static int clear_around_a_mount(unsigned int errnum)
{
	if (!own_mounts_unshare(0, 0) ||
	    mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(fixture_path("kept"), fixture_path("top/a/m"), "none", MS_BIND, NULL) < 0)
		return NO_NAMESPACE;
	if (errnum != 0 && !forget_openat2(errnum))
		return 1;
	if (clear_dir() != -EBUSY || strstr(e.msg, "/top/a/m: it is mounted") == NULL)
		return 2;
	return count_entries(fixture_path("top/a")) == 1 ? 0 : 3;
}

static const unsigned int openat2_errors[] = { 0, ENOSYS, EPERM };

START_TEST(no_mount_is_entered)
{
	int status;
	pid_t pid;

	make_dir("top", 0755);
	make_dir("top/a", 0755);
	make_dir("top/a/m", 0755);
	make_dir("top/b", 0755);
	fixture_file("top/a/file", "x", 0644);
	fixture_file("top/b/file", "x", 0644);
	make_dir("kept", 0755);
	fixture_file("kept/file", "kept", 0644);
	pid = fork();
	if (pid == 0)
		_exit(clear_around_a_mount(openat2_errors[_i]));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "exit status %d (77: no namespaces here)", WEXITSTATUS(status));
	fixture_assert_content(fixture_path("kept/file"), "kept");
	ck_assert_int_eq(count_entries(fixture_path("top")), 1);
}
END_TEST

START_TEST(old_kernels_remove_trees_too)
{
	int status;
	pid_t pid;

	make_dir("top", 0755);
	make_dir("top/a", 0755);
	make_dir("top/a/b", 0755);
	fixture_file("top/a/b/file", "x", 0644);
	pid = fork();
	if (pid == 0)
		_exit(!forget_openat2(openat2_errors[_i]) ? 1 : clear_dir() != 0 ? 2 : 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(count_entries(fixture_path("top")), 0);
}
END_TEST

static int clear_unread(void)
{
	return clear_dir() == -EIO ? 0 : 2;
}

START_TEST(a_deadline_is_kept)
{
	make_dir("top", 0755);
	fixture_file("top/file", "x", 0644);
	ck_assert_int_eq(clear_dir_within(0), -ETIMEDOUT);
	ck_assert_int_eq(count_entries(fixture_path("top")), 1);
	ck_assert_int_eq(clear_dir(), 0);
}
END_TEST

START_TEST(a_directory_that_cannot_be_read_is_reported)
{
	make_dir("top", 0755);
	fixture_file("top/file", "x", 0644);
	fixture_without(SYS_getdents64, EIO, clear_unread);
	ck_assert_int_eq(count_entries(fixture_path("top")), 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rmtree");
	TCase *tc = fixture_case_with_dir("rmtree");

	tcase_add_test(tc, a_tree_is_removed);
	tcase_add_test(tc, a_filter_decides_about_each_name);
	tcase_add_loop_test(tc, a_deep_tree_needs_few_descriptors, 0, COUNT(descriptors));
	tcase_add_test(tc, a_tree_of_any_depth_is_removed);
	tcase_add_loop_test(tc, no_mount_is_entered, 0, COUNT(openat2_errors));
	tcase_add_loop_test(tc, old_kernels_remove_trees_too, 1, COUNT(openat2_errors));
	tcase_add_test(tc, a_directory_that_cannot_be_read_is_reported);
	tcase_add_test(tc, a_deadline_is_kept);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
