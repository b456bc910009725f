/* SPDX-License-Identifier: Apache-2.0 */

/* The kernel's files about cgroups: the name of our cgroup, and the path of its directory. */
#include "os/cgroup.h"
#include "tests/unit/fixture.h"

static const struct {
	const char *text;
	const char *path; /* NULL: there is none */
} own[] = {
	{ "0::/\n", "/" },
	{ "0::/user.slice/user-1000.slice/session-1.scope\n",
	  "/user.slice/user-1000.slice/session-1.scope" },
	{ "9:name=systemd:/s\n4:memory:/m\n0::/u\n", "/u" },
	{ "0::/u\n1:cpu:/c\n", "/u" },
	{ "0::/a b:c\n", "/a b:c" },
	{ "0::/no-end", "/no-end" },
	{ "0::/../outside\n", "/../outside" },
	{ "1:cpu:/c\n", NULL },
	{ "10::/x\n", NULL },
	{ "1:cpu:/0::/x\n", NULL },
	{ "0::\n", NULL },
	{ "0:", NULL },
	{ "\n", NULL },
	{ "", NULL },
	{ "0::/that-is-longer-than-the-buffer-that-there-is-for-it-in-this-test\n", NULL },
};

START_TEST(our_own_cgroup_is_found)
{
	char path[64];

	ck_assert_int_eq(cgroup_parse_own(own[_i].text, path, sizeof(path)), own[_i].path != NULL);
	if (own[_i].path != NULL)
		ck_assert_str_eq(path, own[_i].path);
}
END_TEST

#define V2(root, point) "36 35 0:26 " root " " point " rw,relatime shared:9 - cgroup2 cgroup2 rw\n"

static const struct {
	const char *line;
	const char *path;
	const char *dir; /* NULL: not below this mount */
} mounts[] = {
	{ V2("/", "/sys/fs/cgroup"), "/", "/sys/fs/cgroup" },
	{ V2("/", "/sys/fs/cgroup/unified"), "/a/b", "/sys/fs/cgroup/unified/a/b" },
	{ "1 2 0:3 / /c rw - cgroup2 none rw,nsdelegate\n", "/a", "/c/a" },
	{ "1 2 0:3 / /c rw master:1 propagate_from:2 - cgroup2 none rw\n", "/a", "/c/a" },
	/* only a part of the hierarchy is mounted */
	{ V2("/a", "/c"), "/a", "/c" },
	{ V2("/a", "/c"), "/a/b", "/c/b" },
	{ V2("/a", "/c"), "/ab", NULL },
	{ V2("/a", "/c"), "/b", NULL },
	{ V2("/a", "/c"), "/", NULL },
	/* outside of our cgroup namespace */
	{ V2("/..", "/c"), "/", NULL },
	{ V2("/..", "/c"), "/a", NULL },
	{ V2("/", "/c"), "/../a", NULL },
	{ V2("/../a", "/c"), "/../a", NULL },
	/* odd names */
	{ V2("/", "/a\\040b\\134c"), "/d", "/a b\\c/d" },
	{ V2("/x\\040y", "/c"), "/x y/z", "/c/z" },
	{ V2("/", "/c\\"), "/a", "/c\\/a" },
	/* other filesystems, and malformed lines */
	{ "1 2 0:3 / /c rw - cgroup cgroup rw,memory\n", "/a", NULL },
	{ "1 2 0:3 / /c rw - cgroup22 none rw\n", "/a", NULL },
	{ "1 2 0:3 / /c rw - tmpfs cgroup2 rw\n", "/a", NULL },
	{ "1 2 0:3 - cgroup2 none rw\n", "/a", NULL },
	{ "", "/a", NULL },
	{ " - ", "/a", NULL },
	{ V2("/", "/sys/fs/cgroup/of/such/a/length/that/it"), "/does/not/fit/into/64/bytes", NULL },
};

START_TEST(a_cgroup_is_found_below_its_mount_point)
{
	char dir[64];

	ck_assert_int_eq(cgroup_parse_mount(mounts[_i].line, mounts[_i].path, dir, sizeof(dir)),
			 mounts[_i].dir != NULL);
	if (mounts[_i].dir != NULL)
		ck_assert_str_eq(dir, mounts[_i].dir);
}
END_TEST

/* Nothing was done, so nothing is undone. */
START_TEST(restoring_nothing_does_nothing)
{
	struct cgroup_evacuation c = { 0 };

	cgroup_restore(&c);
	snprintf(c.subgroup, sizeof(c.subgroup), "%s", fixture_dir);
	cgroup_restore(&c);
	ck_assert_int_eq(access(fixture_dir, F_OK), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cgroup");
	TCase *tc = fixture_case_with_dir("texts");

	tcase_add_loop_test(tc, our_own_cgroup_is_found, 0, COUNT(own));
	tcase_add_loop_test(tc, a_cgroup_is_found_below_its_mount_point, 0, COUNT(mounts));
	tcase_add_test(tc, restoring_nothing_does_nothing);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
