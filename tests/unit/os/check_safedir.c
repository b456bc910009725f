/* SPDX-License-Identifier: Apache-2.0 */

/* Opening a directory: following links, creating directories, and who may write to the directories
 * above. */
#include "os/safedir.h"
#include "tests/unit/fixture.h"

#include <sched.h>
#include <sys/wait.h>

static struct safedir d;
static struct err e;

static void make_dir(const char *name, mode_t mode)
{
	ck_assert_int_eq(mkdir(fixture_path(name), 0755), 0);
	ck_assert_int_eq(chmod(fixture_path(name), mode), 0);
}

static void make_link(const char *target, const char *name)
{
	ck_assert_int_eq(symlink(target, fixture_path(name)), 0);
}

static void assert_is(int fd, const char *path)
{
	struct stat a, b;

	ck_assert_int_eq(fstat(fd, &a), 0);
	ck_assert_msg(stat(path, &b) == 0, "%s: %s", path, strerror(errno));
	ck_assert_msg(a.st_ino == b.st_ino && a.st_dev == b.st_dev, "not %s", path);
}

/* A tree with links, most of which lead to real/. */
static void make_links(void)
{
	make_dir("real", 0755);
	make_dir("real/sub", 0755);
	make_dir("other", 0755);
	make_link("real", "relative");
	make_link(fixture_path("real"), "absolute");
	make_link("real///", "slashes");
	make_link("./other/../real/.", "dots");
	make_link("relative", "twice");
	make_link("../absolute/sub", "other/up");
	make_link("/", "root");
	make_link("loop", "loop");
	make_link("nowhere", "dangling");
}

static const struct {
	const char *path; /* below the fixture's directory */
	const char *opened;
	const char *name; /* safedir's reason, NULL for none */
	bool is_made;
} walks[] = {
	{ "real", "real", "real", false },
	{ "relative", "real", NULL, false },
	{ "absolute", "real", NULL, false },
	{ "slashes", "real", NULL, false },
	{ "dots", "real", NULL, false },
	{ "twice", "real", NULL, false },
	{ "other/up", "real/sub", NULL, false },
	{ "relative/sub", "real/sub", "sub", false },
	{ "absolute/sub", "real/sub", "sub", false },
	{ "slashes/sub", "real/sub", "sub", false },
	{ "twice/new", "real/new", "new", true },
	{ "slashes/a/new", "real/a/new", "new", true },
	{ "other/up/new", "real/sub/new", "new", true },
	{ "new", "new", "new", true },
};

START_TEST(links_are_followed)
{
	char parent[PATH_MAX];

	make_links();
	ck_assert_msg(safedir_open(&d, fixture_path(walks[_i].path), true, &e) == 0, "%s", e.msg);
	assert_is(d.fd, fixture_path(walks[_i].opened));
	ck_assert_int_eq(d.is_made, walks[_i].is_made);
	if (walks[_i].name == NULL) {
		ck_assert_ptr_null(d.name);
		ck_assert_int_eq(d.parent_fd, -1);
	} else {
		ck_assert_str_eq(d.name, walks[_i].name);
		snprintf(parent, sizeof(parent), "%s/..", fixture_path(walks[_i].opened));
		assert_is(d.parent_fd, parent);
	}
	safedir_close(&d);
}
END_TEST

START_TEST(a_link_may_lead_to_the_root)
{
	char path[PATH_MAX];

	make_links();
	snprintf(path, sizeof(path), "%s/%s", fixture_path("root"), fixture_path("real/sub"));
	ck_assert_msg(safedir_open(&d, path, false, &e) == 0, "%s", e.msg);
	assert_is(d.fd, fixture_path("real/sub"));
	safedir_close(&d);
	ck_assert_int_eq(safedir_open(&d, "/", false, &e), 0);
	ck_assert_int_eq(d.parent_fd, -1);
	safedir_close(&d);
}
END_TEST

static const struct {
	const char *path;
	bool make;
	int code;
	const char *reason;
} failures[] = {
	{ "loop", true, ELOOP, "mkdir %s: too many levels of symbolic links" },
	{ "dangling", true, ENOENT, "directory %s is a link: its target: no such file" },
	{ "none", false, ENOENT, "mkdir %s: no such file or directory" },
	{ "file", true, ENOTDIR, "mkdir %s: not a directory" },
};

START_TEST(a_failure_names_the_callers_path)
{
	char path[PATH_MAX], text[PATH_MAX], below[PATH_MAX];

	make_links();
	strcpy(path, fixture_path(failures[_i].path));
	fixture_file("file", "", 0644);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* of this table */
	snprintf(text, sizeof(text), failures[_i].reason, path);
#pragma GCC diagnostic pop
	strcpy(below, fixture_path(failures[_i].path));
	strcat(below, "/x/y");
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(safedir_open(&d, i == 0 ? path : below, failures[_i].make, &e),
				 -failures[_i].code);
		ck_assert_msg(strncmp(e.msg, text, strlen(text)) == 0, "not %s: %s", text, e.msg);
		ck_assert(d.fd == -1 && d.parent_fd == -1 && d.name == NULL);
	}
	ck_assert_int_eq(access(fixture_path("nowhere"), F_OK), -1);
}
END_TEST

static const struct {
	mode_t mode;
	const char *who; /* NULL: nobody */
} modes[] = {
	{ 0755, NULL },	    { 0700, NULL },	{ 0711, NULL },	     { 0777, "others" },
	{ 0757, "others" }, { 0702, "others" }, { 01777, "others" }, { 02755, NULL },
};

START_TEST(writers_of_a_directory_are_recognized)
{
	const char *who;
	struct stat st;
	int fd;

	make_dir("d", modes[_i].mode);
	fd = open(fixture_path("d"), O_PATH | O_CLOEXEC);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(safedir_is_shared(fd, &st, &who), modes[_i].who != NULL);
	if (modes[_i].who != NULL)
		ck_assert_str_eq(who, modes[_i].who);
	close(fd);
}
END_TEST

/* root's group may write, a group that is not ours may not. */
START_TEST(a_foreign_group_may_not_write)
{
	const char *who;
	struct stat st;
	int fd;

	make_dir("d", 0775);
	fd = open(fixture_path("d"), O_PATH | O_CLOEXEC);
	ck_assert_int_eq(fstat(fd, &st), 0);
	st.st_gid = getegid() + 1;
	ck_assert(safedir_is_shared(fd, &st, &who));
	ck_assert_str_eq(who, "its group");
	st.st_gid = 0;
	ck_assert(!safedir_is_shared(fd, &st, &who));
	close(fd);
}
END_TEST

static int try_open(const char *path)
{
	int r = safedir_open(&d, path, true, &e);

	safedir_close(&d);
	return r;
}

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return ok;
}

/* In a user namespace that maps only our UID, root and all others appear as 65534. */
static int open_among_unmapped(void)
{
	char map[64];

	snprintf(map, sizeof(map), "%u %u 1", (unsigned int)getuid(), (unsigned int)getuid());
	if (unshare(CLONE_NEWUSER) < 0 || !write_text("/proc/self/uid_map", map))
		return 77;
	return try_open(fixture_path("d/sub")) == 0 ? 0 : 1;
}

START_TEST(owners_outside_our_user_namespace_pass)
{
	int status;
	pid_t pid;

	pid = fork();
	if (pid == 0)
		_exit(open_among_unmapped());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "exit status %d (77: no namespaces here)", WEXITSTATUS(status));
	ck_assert_int_eq(access(fixture_path("d/sub"), F_OK), 0);
}
END_TEST

/* If descriptors run out, created directories are removed. */
START_TEST(a_shortage_of_descriptors_leaves_nothing)
{
	for (int room = 0; room < 6; room++) {
		struct rlimit old = fixture_limit_fds(room);
		int r = try_open(fixture_path("new"));

		fixture_restore_fds(&old);
		ck_assert_msg(r == 0 || r == -EMFILE, "room for %d: %s", room, e.msg);
		ck_assert_msg(r == 0 || access(fixture_path("new"), F_OK) < 0, "with %d", room);
		rmdir(fixture_path("new"));
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("safedir");
	TCase *tc = fixture_case_with_dir("safedir");

	tcase_add_loop_test(tc, links_are_followed, 0, COUNT(walks));
	tcase_add_test(tc, a_link_may_lead_to_the_root);
	tcase_add_loop_test(tc, a_failure_names_the_callers_path, 0, COUNT(failures));
	tcase_add_loop_test(tc, writers_of_a_directory_are_recognized, 0, COUNT(modes));
	tcase_add_test(tc, a_foreign_group_may_not_write);
	tcase_add_test(tc, owners_outside_our_user_namespace_pass);
	tcase_add_test(tc, a_shortage_of_descriptors_leaves_nothing);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
