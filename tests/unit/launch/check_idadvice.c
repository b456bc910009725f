/* SPDX-License-Identifier: Apache-2.0 */

/* Advice about subordinate IDs. Each test has a mount namespace of its own, in which files of the
 * test cover /etc and the ID maps in /proc. */
#include <linux/capability.h>

#include "launch/idadvice.h"
#include "tests/unit/ownmounts.h"

#define REASON "reason"

static struct err e;
static unsigned int uid, gid;

/* ---- texts ---- */

/* Returns the text with values in the place of marks: the own UID for @, the path of the file
 * `map` for %, the path of the program for #. The next call overwrites it. */
static const char *fill_in(const char *text)
{
	static char filled[2048];
	char id[16];
	size_t len = 0;

	snprintf(id, sizeof(id), "%u", uid);
	for (; *text != '\0' && len + PATH_MAX / 8 < sizeof(filled); text++) {
		if (*text == '@')
			len += (size_t)sprintf(filled + len, "%s", id);
		else if (*text == '%')
			len += (size_t)sprintf(filled + len, "%s", fixture_path("map"));
		else if (*text == '#')
			len += (size_t)sprintf(filled + len, "%s", fixture_path("bin/newuidmap"));
		else
			filled[len++] = *text;
	}
	filled[len] = '\0';
	return filled;
}

static void assert_advice(const char *advice, const char *last)
{
	char want[2048 + 128];

	snprintf(want, sizeof(want), REASON "%s%s", fill_in(advice), last);
	ck_assert_str_eq(e.msg, want);
}

/* ---- the system ---- */

static void write_etc(const char *name, const char *text)
{
	char path[64];

	if (text == NULL)
		return;
	snprintf(path, sizeof(path), "etc/%s", name);
	fixture_file(path, fill_in(text), 0644);
}

static void begin(void)
{
	uid = geteuid();
	gid = getegid();
	ck_assert_int_eq(mkdir(fixture_path("bin"), 0755), 0);
	ck_assert_int_eq(mkdir(fixture_path("etc"), 0755), 0);
	setenv("PATH", fixture_path("bin"), 1);
	err_set(&e, EPERM, REASON);
}

static void end(void)
{
	unlink(fixture_path("map"));
	ck_assert_int_eq(fixture_remove_tree(fixture_path("bin")), 0);
	ck_assert_int_eq(fixture_remove_tree(fixture_path("etc")), 0);
}

static void cover(const char *from, const char *to, unsigned long flags)
{
	ck_assert_int_eq(mount(from, to, "none", MS_BIND, NULL), 0);
	if (flags != 0)
		ck_assert_int_eq(mount(from, to, "none", MS_BIND | MS_REMOUNT | flags, NULL), 0);
}

#define ALL_IDS "0 0 4294967295\n"
#define TEN_IDS "@ 0 10\n"

/* Covers /etc with the directory `etc`, and the maps of this process with `map`. Our user becomes
 * `as_uid` in a new user namespace. Returns false if the test must return. */
static bool cover_system(unsigned int as_uid, const char *map, bool is_read_only)
{
	const char *file = fixture_file("map", fill_in(map), 0644);

	if (!enter_own_mounts(0, as_uid, gid))
		return false;
	cover(file, "/proc/self/uid_map", 0);
	cover(file, "/proc/self/gid_map", 0);
	cover(fixture_path("etc"), "/etc", is_read_only ? MS_RDONLY : 0);
	return true;
}

/* ---- no range ---- */

#define SELF	   "--subid-source=self, which maps only your own ID"
#define TAKEN	   "jack:100000:65536\n"
#define ALL_TAKEN  "jack:0:4294967295\n"
#define NEW_RANGE  "100000-165535"
#define NEXT_RANGE "165536-231071"

static const struct {
	const char *name, *local_name;
	size_t uid_count, gid_count;
	const char *map;
	const char *subuid, *subgid; /* NULL: there is no such file */
	bool is_read_only;
	const char *advice;
} rangeless[] = {
	{ "jane", "jane", 0, 0, ALL_IDS, "", "", false,
	  "; try, as root, `usermod --add-subuids " NEW_RANGE " --add-subgids " NEW_RANGE
	  " jane`, or " SELF },
	/* only one kind is missing */
	{ "jane", "jane", 0, 1, ALL_IDS, "", "", false,
	  "; try, as root, `usermod --add-subuids " NEW_RANGE " jane`, or " SELF },
	{ "jane", "jane", 1, 0, ALL_IDS, "", "", false,
	  "; try, as root, `usermod --add-subgids " NEW_RANGE " jane`, or " SELF },
	/* a range must be free as UIDs and as GIDs */
	{ "jane", "jane", 0, 0, ALL_IDS, "", TAKEN, false,
	  "; try, as root, `usermod --add-subuids " NEXT_RANGE " --add-subgids " NEXT_RANGE
	  " jane`, or " SELF },
	/* usermod does not know users of a directory service, and makes no file */
	{ "jane", NULL, 0, 0, ALL_IDS, "", "", false,
	  "; try, as root, `echo 'jane:100000:65536' | tee -a /etc/subuid /etc/subgid`, or " SELF },
	{ "jane", "jane", 0, 1, ALL_IDS, NULL, "", false,
	  "; try, as root, `echo 'jane:100000:65536' | tee -a /etc/subuid`, or " SELF },
	{ "jane", "jane", 0, 1, ALL_IDS, "", NULL, false,
	  "; try, as root, `usermod --add-subuids " NEW_RANGE " jane`, or " SELF },
	/* there is nothing that root could add */
	{ "", NULL, 0, 0, ALL_IDS, "", "", false,
	  "; user @ has no name (/etc/passwd), and newuidmap takes no user without one; "
	  "try " SELF },
	{ "jane", "jane", 0, 0, ALL_IDS, ALL_TAKEN, "", false,
	  "; no range is free in /etc/subuid and /etc/subgid; try " SELF },
	{ "jane", "jane", 0, 0, ALL_IDS, "", "", true,
	  "; /etc/subuid, where one would be added, is on a read-only file system; try " SELF },
	{ "jane", "jane", 1, 0, ALL_IDS, "", "", true,
	  "; /etc/subgid, where one would be added, is on a read-only file system; try " SELF },
};

static void check_rangeless(int row, bool may_fall_back)
{
	write_etc("subuid", rangeless[row].subuid);
	write_etc("subgid", rangeless[row].subgid);
	write_etc("passwd", "jane:x:@:@::/home/jane:/bin/sh\n");
	write_etc("group", "jane:x:@:\n");
	if (!cover_system(uid, rangeless[row].map, rangeless[row].is_read_only))
		return;
	ck_assert_int_eq(idadvice_no_range(&e, rangeless[row].name, rangeless[row].local_name,
					   rangeless[row].uid_count, rangeless[row].gid_count,
					   may_fall_back),
			 may_fall_back);
	assert_advice(rangeless[row].advice, may_fall_back ? " without this warning" : "");
}

START_TEST(a_user_without_a_range_learns_how_to_get_one)
{
	check_rangeless(_i, false);
}
END_TEST

START_TEST(a_warning_has_the_same_advice)
{
	check_rangeless(_i, true);
}
END_TEST

START_TEST(a_namespace_with_too_few_ids_is_named)
{
	write_etc("subuid", "");
	write_etc("subgid", "");
	if (!cover_system(uid, TEN_IDS, false))
		return;
	ck_assert(!idadvice_no_range(&e, "jane", "jane", 0, 0, false));
	assert_advice("; this user namespace has too few IDs for a range (/proc/self/uid_map, "
		      "gid_map); try " SELF
		      "; or give the container, or launcher, around this one more IDs",
		      "");
}
END_TEST

/* usermod would replace the link, as on systems that generate their /etc. */
START_TEST(a_symbolic_link_is_not_for_usermod)
{
	write_etc("subuid.real", "");
	write_etc("subgid", "");
	ck_assert_int_eq(symlink("subuid.real", fixture_path("etc/subuid")), 0);
	if (!cover_system(uid, ALL_IDS, false))
		return;
	ck_assert(!idadvice_no_range(&e, "jane", "jane", 0, 1, false));
	assert_advice("; try, as root, `echo 'jane:100000:65536' | tee -a /etc/subuid`, or " SELF,
		      "");
}
END_TEST

/* Not even the own ID can be mapped then. */
START_TEST(for_a_user_that_is_not_mapped_there_is_no_fall_back)
{
	if (!cover_system(uid, "4000000000 0 1\n", false))
		return;
	ck_assert(!idadvice_no_range(&e, "jane", "jane", 0, 0, true));
	ck_assert_msg(strstr(e.msg, "; this user does not exist in its own user namespace") != NULL,
		      "%s", e.msg);
	ck_assert_ptr_null(strstr(e.msg, "--subid-source"));
}
END_TEST

/* ---- newuidmap failed ---- */

static const struct subid_ranges ranges = { .count = 2, .range = { { 100, 10 }, { 300000, 10 } } };

static const struct {
	const char *program;
	bool is_there, is_read_only; /* the program */
	const char *output;
	const char *map; /* "map", and that of this process */
	const char *subuid;
	bool falls_back; /* if it may */
	const char *advice;
} refusals[] = {
	{ "newuidmap", false, false, "", ALL_IDS, "", true,
	  "; try to install it (Debian: package uidmap), or " },
	{ "newuidmap", true, false, "newuidmap: Cannot determine your user name.", ALL_IDS, "",
	  true,
	  "; user @ has no name (/etc/passwd), and newuidmap takes no user without one; try " },
	/* ranges that this user namespace does not have */
	{ "newuidmap", true, false, "write failed", "0 0 200000\n", "", true,
	  "; this user namespace does not have the IDs 300000 to 300009 (%); try to replace that "
	  "range in /etc/subuid by one that it has, such as 100000:65536, or " },
	{ "newgidmap", true, false, "write failed", "0 0 2000\n", "", true,
	  "; this user namespace does not have the IDs 300000 to 300009 (%) nor enough others; "
	  "try " },
	/* ranges that are wrong: mapping only the own ID would hide that */
	{ "newuidmap", true, false, "newuidmap: uid range [1-11) -> [100-110) not allowed", ALL_IDS,
	  "", false,
	  "; newuidmap does not find that range for this user in /etc/subuid; try to correct that "
	  "file, or " },
	{ "newgidmap", true, false, "newgidmap: gid range [1-11) -> [100-110) not allowed", ALL_IDS,
	  "", false,
	  "; newgidmap does not find that range for this user in /etc/subgid; try to correct that "
	  "file, or " },
	{ "newuidmap", true, false, "Non-text file: /etc/subuid", ALL_IDS, "jane:100:10", false,
	  "; the last line of /etc/subuid has no newline; try, as root, `echo >>/etc/subuid`, "
	  "or " },
	{ "newgidmap", true, false, "Non-text file: /etc/subgid", ALL_IDS, "jane:100:10", false,
	  "; the last line of /etc/subgid has no newline; try, as root, `echo >>/etc/subgid`, "
	  "or " },
	/* a program without privileges */
	{ "newuidmap", true, false, "Non-text file: /etc/subuid", ALL_IDS, "jane:100:10\n", true,
	  "; # is neither set-UID root nor has file capabilities; try, as root, `chmod u+s #`, "
	  "or " },
	{ "newuidmap", true, true, "write failed", ALL_IDS, "", true,
	  "; # is neither set-UID root nor has file capabilities, and is on a read-only file "
	  "system; try " },
};

/* Returns false if the test must return. */
static bool set_up_refusal(int row)
{
	char path[64];

	snprintf(path, sizeof(path), "bin/%s", refusals[row].program);
	if (refusals[row].is_there)
		fixture_file(path, "#!/bin/sh\n", 0755);
	write_etc("subuid", refusals[row].subuid);
	write_etc("subgid", refusals[row].subuid);
	if (!cover_system(uid, refusals[row].map, false))
		return false;
	if (refusals[row].is_read_only)
		cover(fixture_path("bin"), fixture_path("bin"), MS_RDONLY);
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0; /* else that is the reason */
}

static void check_refusal(int row, bool may_fall_back)
{
	bool falls_back = may_fall_back && refusals[row].falls_back;

	if (!set_up_refusal(row))
		return;
	ck_assert_int_eq(idadvice_refused(&e, refusals[row].program, refusals[row].output,
					  fixture_path("map"), &ranges, may_fall_back),
			 falls_back);
	assert_advice(refusals[row].advice, falls_back ? SELF " without this warning" : SELF);
	if (refusals[row].is_read_only)
		ck_assert_int_eq(umount2(fixture_path("bin"), MNT_DETACH), 0);
}

START_TEST(the_cause_of_a_failure_is_named_with_the_remedy)
{
	check_refusal(_i, false);
}
END_TEST

START_TEST(only_failures_that_are_not_mistakes_become_warnings)
{
	check_refusal(_i, true);
}
END_TEST

START_TEST(no_new_privs_is_named)
{
	if (!set_up_refusal(COUNT(refusals) - 2))
		return;
	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert(idadvice_refused(&e, "newuidmap", "write failed", fixture_path("map"), &ranges,
				   true));
	assert_advice("; no_new_privs is set for this process (NoNewPrivileges= of a service, "
		      "no-new-privileges or allowPrivilegeEscalation: false of a container, or a "
		      "sandbox), so that no set-UID program works; try without that, or " SELF,
		      " without this warning");
}
END_TEST

/* ---- root ---- */

#define SETFCAP                                                                 \
	"; root without CAP_SETFCAP cannot map itself (since Linux 5.12); try " \
	"--cap-add=SETFCAP for the container, or to run this as another user"

static const struct {
	int dropped; /* capability; -1: none */
	const char *output;
	bool falls_back;
	const char *advice;
} roots[] = {
	{ -1, "write failed", false, "; try " SELF },
	{ -1, "write failed: Operation not permitted", true,
	  "; try " SELF " without this warning" },
	{ CAP_SETUID, "write failed", true,
	  "; this process can never get CAP_SETUID and CAP_SETGID; try --cap-add=SETUID "
	  "--cap-add=SETGID for the container, or " SELF " without this warning" },
	{ CAP_SETGID, "write failed", true,
	  "; this process can never get CAP_SETUID and CAP_SETGID; try --cap-add=SETUID "
	  "--cap-add=SETGID for the container, or " SELF " without this warning" },
	/* the own ID alone cannot be mapped either */
	{ CAP_SETFCAP, "write failed", false, SETFCAP },
};

START_TEST(root_learns_which_capability_is_missing)
{
	fixture_file("bin/newuidmap", "#!/bin/sh\n", 0755);
	if (!cover_system(0, ALL_IDS, false))
		return;
	if (roots[_i].dropped >= 0)
		ck_assert_int_eq(prctl(PR_CAPBSET_DROP, roots[_i].dropped, 0, 0, 0), 0);
	ck_assert_int_eq(idadvice_refused(&e, "newuidmap", roots[_i].output, fixture_path("map"),
					  &ranges, true),
			 roots[_i].falls_back);
	assert_advice(roots[_i].advice, "");
}
END_TEST

START_TEST(only_root_needs_a_capability_to_map_itself)
{
	bool is_root = _i == 1;

	if (!cover_system(is_root ? 0 : uid, ALL_IDS, false))
		return;
	ck_assert(!idadvice_root_refused(&e));
	ck_assert_str_eq(e.msg, REASON);
	ck_assert_int_eq(prctl(PR_CAPBSET_DROP, CAP_SETFCAP, 0, 0, 0), 0);
	ck_assert_int_eq(idadvice_root_refused(&e), is_root);
	ck_assert_str_eq(e.msg, is_root ? REASON SETFCAP : REASON);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("idadvice");
	TCase *tc = fixture_case_with_dir("no range");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_loop_test(tc, a_user_without_a_range_learns_how_to_get_one, 0, COUNT(rangeless));
	tcase_add_loop_test(tc, a_warning_has_the_same_advice, 0, COUNT(rangeless));
	tcase_add_test(tc, a_namespace_with_too_few_ids_is_named);
	tcase_add_test(tc, a_symbolic_link_is_not_for_usermod);
	tcase_add_test(tc, for_a_user_that_is_not_mapped_there_is_no_fall_back);
	suite_add_tcase(s, tc);
	tc = fixture_case_with_dir("refused");
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_loop_test(tc, the_cause_of_a_failure_is_named_with_the_remedy, 0,
			    COUNT(refusals));
	tcase_add_loop_test(tc, only_failures_that_are_not_mistakes_become_warnings, 0,
			    COUNT(refusals));
	tcase_add_test(tc, no_new_privs_is_named);
	tcase_add_loop_test(tc, root_learns_which_capability_is_missing, 0, COUNT(roots));
	tcase_add_loop_test(tc, only_root_needs_a_capability_to_map_itself, 0, 2);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
