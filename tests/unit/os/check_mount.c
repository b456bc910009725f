/* SPDX-License-Identifier: Apache-2.0 */

/* The child's mounts, made in a mount namespace of the test's own. */
#include "os/mount.h"
#include "tests/unit/capturedlog.h"
#include "tests/unit/ownmounts.h"

static struct err e;

/* Becomes root of a namespace. Returns false if the test must return. */
static bool become_root(void)
{
	e.msg[0] = '\0';
	return enter_own_mounts(0, 0, 0);
}

static void make_dir(const char *name, mode_t mode)
{
	ck_assert_int_eq(mkdir(fixture_path(name), 0700), 0);
	ck_assert_int_eq(chmod(fixture_path(name), mode), 0);
}

/* Does `path` begin another file system than the directory around it? */
static bool is_mounted(const char *path)
{
	char above[PATH_MAX];
	struct stat st, outer;

	snprintf(above, sizeof(above), "%s/..", path);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(stat(above, &outer), 0);
	return st.st_dev != outer.st_dev;
}

/* ---- propagation ---- */

static const struct {
	const char *name;
	bool valid;
	bool shared;
	const char *root; /* the beginning of what the kernel shows for "/" */
} propagations[] = {
	{ "private", true, false, "" },
	{ "rprivate", true, false, "" },
	{ "slave", true, false, "master:" },
	{ "rslave", true, false, "master:" },
	{ "shared", true, true, "shared:" },
	{ "rshared", true, true, "shared:" },
	{ "", false, false, "" },
	{ "Private", false, false, "" },
	{ "unbindable", false, false, "" },
	{ "rrshared", false, false, "" },
};

START_TEST(the_root_gets_the_propagation_that_is_named)
{
	char root[32];
	int peer;

	ck_assert_int_eq(mount_is_propagation(propagations[_i].name), propagations[_i].valid);
	ck_assert_int_eq(mount_is_shared(propagations[_i].name), propagations[_i].shared);
	if (!propagations[_i].valid || !become_root())
		return;
	/* A slave has a master only if another namespace shares the mount. */
	ck_assert_msg(mount_set_propagation("rshared", &e) == 0, "%s", e.msg);
	peer = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
	ck_assert_msg(mount_set_propagation(propagations[_i].name, &e) == 0, "%s", e.msg);
	mount_root_propagation(root, sizeof(root));
	ck_assert_msg(
		propagations[_i].root[0] == '\0'
			? root[0] == '\0'
			: strncmp(root, propagations[_i].root, strlen(propagations[_i].root)) == 0,
		"%s", root);
	mount_root_propagation(root, 4);
	ck_assert_uint_eq(strlen(root), propagations[_i].root[0] == '\0' ? 0 : 3);
	close(peer);
}
END_TEST

START_TEST(without_privileges_the_propagation_cannot_be_set)
{
	/* valgrind does not know that mount(2) ignores the type then, which is a null pointer. */
	if (fixture_is_valgrind())
		return;
	fixture_drop_root();
	ck_assert_int_eq(mount_set_propagation("rslave", &e), -EPERM);
	fixture_regain_root();
	ck_assert_str_eq(e.msg,
			 "setting the mount propagation of / to rslave: operation not permitted");
}
END_TEST

/* ---- copy-up ---- */

static const struct {
	const char *path;
	const char *word; /* of the reason; NULL: can be copied up */
} dirs[] = {
	{ "/", "root directory" },
	{ "/..", "root directory" },
	{ "/etc/..", "root directory" },
	{ "/tmp", "share files" },
	{ "/tmp/.", "share files" },
	{ "/usr/../tmp/", "share files" },
	{ "/proc", "processes" },
	{ "/proc/self/root/proc", "processes" },
	{ "/etc", NULL },
	{ "/proc/self", NULL },
	{ "/nonexistent", NULL },
};

START_TEST(root_tmp_and_proc_cannot_be_copied_up_under_any_name)
{
	const char *why = mount_why_no_copy_up(dirs[_i].path);

	if (dirs[_i].word == NULL)
		ck_assert_ptr_null(why);
	else
		ck_assert_ptr_nonnull(strstr(why, dirs[_i].word));
}
END_TEST

START_TEST(a_link_to_tmp_cannot_be_copied_up_either)
{
	ck_assert_int_eq(symlink("/tmp", fixture_path("link")), 0);
	ck_assert_ptr_nonnull(mount_why_no_copy_up(fixture_path("link")));
	ck_assert_int_eq(mount_copy_up(fixture_path("link"), fixture_path("aside"), &e), -EINVAL);
	ck_assert_int_lt(access(fixture_path("aside"), F_OK), 0);
	ck_assert_int_eq(unlink(fixture_path("link")), 0);
}
END_TEST

/* Makes dir/file, dir/sub/file and dir/link. */
static void make_tree(mode_t mode)
{
	make_dir("dir", 0755);
	fixture_file("dir/file", "old", 0644);
	make_dir("dir/sub", 0755);
	fixture_file("dir/sub/file", "deep", 0644);
	ck_assert_int_eq(symlink("../elsewhere", fixture_path("dir/link")), 0);
	ck_assert_int_eq(chmod(fixture_path("dir"), mode), 0);
}

static void assert_link(const char *path, const char *want)
{
	char target[PATH_MAX] = "";

	ck_assert_msg(readlink(path, target, sizeof(target) - 1) > 0, "%s: %s", path,
		      strerror(errno));
	ck_assert_str_eq(target, want);
}

/* Does the line of "dir" in /proc/self/mountinfo have the option? Programs look there for it. The
 * kernel leaves the option out if it is the default, 1777. */
static void assert_mounted_with(const char *option)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[4096], place[PATH_MAX];
	bool found = strcmp(option, ",mode=1777,") == 0;

	ck_assert_ptr_nonnull(f);
	snprintf(place, sizeof(place), " %s ", fixture_path("dir"));
	while (fgets(line, sizeof(line), f) != NULL)
		found = found || (strstr(line, place) != NULL && strstr(line, option) != NULL);
	fclose(f);
	ck_assert_msg(found, "%s", option);
}

/* Changes the copied-up tree, uncovers the original, and checks that it is as before. */
static void assert_original_is_untouched(mode_t mode)
{
	struct stat st;

	ck_assert_int_eq(unlink(fixture_path("dir/file")), 0);
	fixture_file("dir/file", "new", 0600);
	fixture_file("dir/more", "more", 0600);
	ck_assert_int_eq(umount2(fixture_path("dir"), MNT_DETACH), 0);
	fixture_assert_content(fixture_path("dir/file"), "old");
	fixture_assert_content(fixture_path("dir/sub/file"), "deep");
	ck_assert_int_lt(access(fixture_path("dir/more"), F_OK), 0);
	ck_assert_int_eq(stat(fixture_path("dir"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, mode);
	ck_assert_int_eq(chmod(fixture_path("dir"), 0755), 0);
	ck_assert_int_eq(fixture_remove_tree(fixture_path("dir")), 0);
}

static const mode_t modes[] = { 0755, 0700, 01777, 02750 };

START_TEST(a_copied_up_directory_has_the_old_content_and_mode_and_takes_new_files)
{
	char option[32];
	struct stat st;

	make_tree(modes[_i]);
	if (!become_root())
		return;
	ck_assert_msg(mount_copy_up(fixture_path("dir"), fixture_path("aside"), &e) == 0, "%s",
		      e.msg);
	ck_assert(is_mounted(fixture_path("dir")));
	ck_assert_int_eq(stat(fixture_path("dir"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, modes[_i]);
	fixture_assert_content(fixture_path("dir/file"), "old");
	fixture_assert_content(fixture_path("dir/sub/file"), "deep");
	assert_link(fixture_path("dir/link"), "../elsewhere");
	snprintf(option, sizeof(option), ",mode=%o,", modes[_i]);
	assert_mounted_with(option);
	ck_assert_int_lt(access(fixture_path("aside"), F_OK), 0);
	assert_original_is_untouched(modes[_i]);
}
END_TEST

/* Such as a state directory in /run/user with --copy-up=/run. */
START_TEST(a_directory_around_the_state_directory_can_be_copied_up)
{
	make_tree(0755);
	if (!become_root())
		return;
	ck_assert_msg(mount_copy_up(fixture_path("dir"), fixture_path("dir/sub/aside"), &e) == 0,
		      "%s", e.msg);
	fixture_assert_content(fixture_path("dir/sub/file"), "deep");
	ck_assert_int_lt(access(fixture_path("dir/sub/aside"), F_OK), 0);
	assert_original_is_untouched(0755);
}
END_TEST

START_TEST(a_directory_can_be_copied_up_twice)
{
	make_tree(0755);
	if (!become_root())
		return;
	for (int i = 0; i < 2; i++)
		ck_assert_msg(mount_copy_up(fixture_path("dir"), fixture_path("aside"), &e) == 0,
			      "%s", e.msg);
	fixture_assert_content(fixture_path("dir/sub/file"), "deep");
	ck_assert_int_eq(umount2(fixture_path("dir"), MNT_DETACH), 0);
	assert_original_is_untouched(0755);
}
END_TEST

static const struct {
	const char *dir, *aside;
	int result;
	const char *why;
} failures[] = {
	{ "missing", "aside", -ENOENT, "failed to create bind mount on " },
	{ "file", "aside", -ENOTDIR, "failed to create bind mount on " },
	{ "dir", "dir", -EEXIST, "creating " },
	{ "dir", "missing/aside", -ENOENT, "creating " },
};

START_TEST(a_copy_up_that_fails_leaves_nothing)
{
	make_tree(0755);
	fixture_file("file", "x", 0644);
	if (!become_root())
		return;
	ck_assert_int_eq(
		mount_copy_up(fixture_path(failures[_i].dir), fixture_path(failures[_i].aside), &e),
		failures[_i].result);
	ck_assert_msg(strncmp(e.msg, failures[_i].why, strlen(failures[_i].why)) == 0, "%s", e.msg);
	ck_assert(!is_mounted(fixture_path("dir")));
	ck_assert_int_lt(access(fixture_path("aside"), F_OK), 0);
	fixture_assert_content(fixture_path("dir/sub/file"), "deep");
	ck_assert_int_eq(fixture_remove_tree(fixture_path("dir")), 0);
	ck_assert_int_eq(unlink(fixture_path("file")), 0);
}
END_TEST

/* ---- files, /proc and /sys ---- */

START_TEST(a_file_can_cover_another_one)
{
	fixture_file("from", "new", 0644);
	fixture_file("on", "old", 0644);
	if (!become_root())
		return;
	ck_assert_int_eq(mount_file(fixture_path("from"), fixture_path("missing"), &e), -ENOENT);
	ck_assert_int_eq(strncmp(e.msg, "failed to create bind mount ", 28), 0);
	ck_assert_msg(mount_file(fixture_path("from"), fixture_path("on"), &e) == 0, "%s", e.msg);
	fixture_assert_content(fixture_path("on"), "new");
	ck_assert_int_eq(umount2(fixture_path("on"), MNT_DETACH), 0);
	fixture_assert_content(fixture_path("on"), "old");
	ck_assert_int_eq(unlink(fixture_path("on")), 0);
	ck_assert_int_eq(unlink(fixture_path("from")), 0);
}
END_TEST

/* Runs `check` in a process of its own. Returns its exit status, or 77. */
static int status_of(int (*check)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(check());
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 77;
}

/* The same in a new mount namespace and the namespaces `flags`. A process in between makes them,
 * since processes of a new PID namespace end with its first one. */
static void run_in_new(int flags, int (*check)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(unshare(CLONE_NEWNS | flags) == 0 ? status_of(check) : 77);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "wait status 0x%x: %s", status, read_log());
}

/* A container may hide parts of /proc or /sys; then the old file system stays, with a warning. */
static bool was_forbidden(const char *warning)
{
	return strstr(read_log(), "level=warning") != NULL && strstr(read_log(), warning) != NULL;
}

static int check_proc(void)
{
	char target[16] = "";

	if (mount_proc(&e) < 0)
		return 1;
	if (was_forbidden("/proc still shows the outer PID namespace"))
		return 0;
	if (readlink("/proc/self", target, sizeof(target) - 1) < 0)
		return 2;
	return strcmp(target, "1") == 0 ? 0 : 3;
}

START_TEST(a_new_proc_shows_the_processes_of_the_namespace)
{
	capture_log(false);
	if (become_root())
		run_in_new(CLONE_NEWPID, check_proc);
	release_log();
}
END_TEST

/* Returns the number of entries that are not hidden, or -1. */
static int count_entries(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	int count = 0;

	if (dir == NULL)
		return -1;
	while ((entry = readdir(dir)) != NULL)
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

static int check_sysfs(void)
{
	int cgroups = count_entries("/sys/fs/cgroup");

	if (mount_sysfs(&e) < 0)
		return 1;
	if (was_forbidden("/sys still shows the outer network namespace"))
		return 0;
	if (count_entries("/sys/class/net") != 1) /* lo */
		return 2;
	return cgroups < 0 || count_entries("/sys/fs/cgroup") == cgroups ? 0 : 3;
}

START_TEST(a_new_sys_shows_the_network_of_the_namespace_and_the_hosts_cgroups)
{
	capture_log(false);
	if (become_root())
		run_in_new(CLONE_NEWNET, check_sysfs);
	release_log();
}
END_TEST

START_TEST(a_forbidden_proc_is_a_warning_and_no_error)
{
	capture_log(false);
	fixture_drop_root();
	ck_assert_msg(mount_proc(&e) == 0, "%s", e.msg);
	fixture_regain_root();
	ck_assert_ptr_nonnull(strstr(read_log(), "mounting proc on /proc: operation not permitted; "
						 "/proc still shows the outer PID namespace"));
	release_log();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mount");
	TCase *tc = fixture_case_with_dir("propagation");

	tcase_add_loop_test(tc, the_root_gets_the_propagation_that_is_named, 0,
			    COUNT(propagations));
	tcase_add_test(tc, without_privileges_the_propagation_cannot_be_set);
	suite_add_tcase(s, tc);
	tc = fixture_case_with_dir("copy-up");
	tcase_add_loop_test(tc, root_tmp_and_proc_cannot_be_copied_up_under_any_name, 0,
			    COUNT(dirs));
	tcase_add_test(tc, a_link_to_tmp_cannot_be_copied_up_either);
	tcase_add_loop_test(tc,
			    a_copied_up_directory_has_the_old_content_and_mode_and_takes_new_files,
			    0, COUNT(modes));
	tcase_add_test(tc, a_directory_around_the_state_directory_can_be_copied_up);
	tcase_add_test(tc, a_directory_can_be_copied_up_twice);
	tcase_add_loop_test(tc, a_copy_up_that_fails_leaves_nothing, 0, COUNT(failures));
	suite_add_tcase(s, tc);
	tc = fixture_case_with_dir("files");
	tcase_add_test(tc, a_file_can_cover_another_one);
	tcase_add_test(tc, a_new_proc_shows_the_processes_of_the_namespace);
	tcase_add_test(tc, a_new_sys_shows_the_network_of_the_namespace_and_the_hosts_cgroups);
	tcase_add_test(tc, a_forbidden_proc_is_a_warning_and_no_error);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
