/* SPDX-License-Identifier: Apache-2.0 */

/* Small files that appear complete or not at all. */
#include "os/atomicfile.h"
#include "tests/unit/fixture.h"

static struct err e;

static void assert_mode(const char *path, mode_t mode)
{
	struct stat st;

	ck_assert_msg(lstat(path, &st) == 0, "%s: %s", path, strerror(errno));
	ck_assert_msg((st.st_mode & 07777) == mode, "%s: mode %o", path, st.st_mode & 07777);
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static const struct {
	mode_t mode;
	mode_t mask;
} file_modes[] = {
	{ 0444, 022 }, { 0444, 077 }, { 0444, 0 }, { 0644, 077 }, { 0600, 0 }, { 0444, 0777 },
};

START_TEST(files_have_exactly_their_mode)
{
	mode_t old = umask(file_modes[_i].mask);

	ck_assert_int_eq(atomicfile_write(fixture_dir, "f", file_modes[_i].mode, "12345", &e), 0);
	umask(old);
	assert_mode(fixture_path("f"), file_modes[_i].mode);
	fixture_assert_content(fixture_path("f"), "12345");
	ck_assert(!exists(fixture_path(ATOMICFILE_TMP)));
}
END_TEST

START_TEST(a_file_is_replaced_not_written_into)
{
	fixture_file("kept", "kept", 0644);
	ck_assert_int_eq(symlink(fixture_path("kept"), fixture_path("f")), 0);
	ck_assert_int_eq(atomicfile_write(fixture_dir, "f", 0444, "new", &e), 0);
	fixture_assert_content(fixture_path("f"), "new");
	assert_mode(fixture_path("f"), 0444);
	ck_assert_int_eq(atomicfile_write(fixture_dir, "f", 0444, "", &e), 0);
	fixture_assert_content(fixture_path("f"), "");
	fixture_assert_content(fixture_path("kept"), "kept");
}
END_TEST

START_TEST(a_new_file_follows_no_link)
{
	fixture_file("kept", "kept", 0644);
	ck_assert_int_eq(symlink(fixture_path("kept"), fixture_path(ATOMICFILE_TMP)), 0);
	ck_assert_int_eq(atomicfile_write(fixture_dir, "f", 0444, "new", &e), -EEXIST);
	ck_assert_ptr_nonnull(strstr(e.msg, ATOMICFILE_TMP ": file exists"));
	fixture_assert_content(fixture_path("kept"), "kept");
	ck_assert(!exists(fixture_path("f")));
}
END_TEST

START_TEST(a_failed_write_leaves_nothing)
{
	struct rlimit old, none;

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	none = old;
	none.rlim_cur = 0;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
	ck_assert_int_eq(atomicfile_write(fixture_dir, "f", 0444, "text", &e), -EFBIG);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
	ck_assert(!exists(fixture_path("f")));
	ck_assert(!exists(fixture_path(ATOMICFILE_TMP)));
	/* In place of a directory. */
	ck_assert_int_eq(mkdir(fixture_path("f"), 0755), 0);
	ck_assert_int_eq(atomicfile_write(fixture_dir, "f", 0444, "text", &e), -EISDIR);
	ck_assert(!exists(fixture_path(ATOMICFILE_TMP)));
	ck_assert_int_eq(atomicfile_write(fixture_path("none"), "f", 0444, "text", &e), -ENOENT);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("atomicfile");
	TCase *tc = fixture_case_with_dir("atomicfile");

	tcase_add_loop_test(tc, files_have_exactly_their_mode, 0, COUNT(file_modes));
	tcase_add_test(tc, a_file_is_replaced_not_written_into);
	tcase_add_test(tc, a_new_file_follows_no_link);
	tcase_add_test(tc, a_failed_write_leaves_nothing);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
