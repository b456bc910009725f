/* SPDX-License-Identifier: Apache-2.0 */

/* ID maps: where subordinate IDs come from, and how they are written. Scripts stand for getsubids,
 * getent, newuidmap and newgidmap. Files of the test cover those in /etc. */
#include "launch/idmap.h"
#include "tests/unit/capturedlog.h"
#include "tests/unit/ownmounts.h"

#define RANGES_LEN 256

static struct err e;
static struct idmap map;
static unsigned int uid, gid;

/* ---- programs and files ---- */

/* Returns the text with the own UID in the place of each @, and the own GID in that of each #. The
 * next call overwrites it. */
static const char *fill_in(const char *text)
{
	static char filled[1024];
	size_t len = 0;

	for (; *text != '\0' && len + 16 < sizeof(filled); text++)
		if (*text == '@' || *text == '#')
			len += (size_t)sprintf(filled + len, "%u", *text == '@' ? uid : gid);
		else
			filled[len++] = *text;
	filled[len] = '\0';
	return filled;
}

static void write_etc(const char *name, const char *text)
{
	char path[64];

	snprintf(path, sizeof(path), "etc/%s", name);
	fixture_file(path, fill_in(text), 0644);
}

/* A program in $PATH that notes its name and arguments in the file `ran`, and then runs these
 * lines. NULL: there is no such program. */
static void make_program(const char *name, const char *lines)
{
	char path[64], script[1024];

	if (lines == NULL)
		return;
	snprintf(path, sizeof(path), "bin/%s", name);
	snprintf(script, sizeof(script), "#!/bin/sh\necho %s $* >>%s/ran\n%s\n", name, fixture_dir,
		 fill_in(lines));
	fixture_file(path, script, 0755);
}

static void begin(void)
{
	uid = geteuid();
	gid = getegid();
	e.msg[0] = '\0';
	ck_assert_int_eq(mkdir(fixture_path("bin"), 0755), 0);
	ck_assert_int_eq(mkdir(fixture_path("etc"), 0755), 0);
	setenv("PATH", fixture_path("bin"), 1);
	unsetenv("GETSUBIDS");
	fixture_file("ran", "", 0644);
	capture_log(false);
}

static void end(void)
{
	release_log();
	unlink(fixture_path("ran"));
	ck_assert_int_eq(fixture_remove_tree(fixture_path("bin")), 0);
	ck_assert_int_eq(fixture_remove_tree(fixture_path("etc")), 0);
}

/* Covers /etc with the directory `etc`. Returns false if the test must return. */
static bool cover_etc(void)
{
	if (!enter_own_mounts(0, uid, gid))
		return false;
	ck_assert_int_eq(mount(fixture_path("etc"), "/etc", NULL, MS_BIND, NULL), 0);
	return true;
}

/* Writes ranges as "100000:65536 300000:1". */
static const char *text_of(const struct subid_ranges *ranges)
{
	static char text[RANGES_LEN];
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < ranges->count && len < sizeof(text); i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%u:%u", i > 0 ? " " : "",
					ranges->range[i].start, ranges->range[i].count);
	return text;
}

/* ---- finding ---- */

#define FILES  "jane:100000:65536\n"
#define JANE   "jane:x:@:@::/home/jane:/bin/sh\n"
#define OTHERS "jack:200000:65536\n"
#define ASKED  "echo '0: jane 500000 1000'"
#define BOTH   "getsubids jane\ngetsubids @\ngetsubids -g jane\ngetsubids -g @\n"

static const struct {
	enum subid_source source;
	const char *passwd;
	const char *subids; /* both files */
	const char *nsswitch;
	const char *getsubids; /* lines of the program */
	const char *ranges;
	const char *ran;
} sources[] = {
	/* normally no program is run */
	{ SUBID_AUTO, JANE, FILES, "", ASKED, "100000:65536", "" },
	{ SUBID_AUTO, JANE, "@:100000:65536\n", "", ASKED, "100000:65536", "" },
	{ SUBID_STATIC, JANE, OTHERS FILES "jane:300000:10\n", "", ASKED, "100000:65536 300000:10",
	  "" },
	{ SUBID_AUTO, JANE, FILES, "subid: files\n", ASKED, "100000:65536", "" },
	/* a directory service knows more than the files */
	{ SUBID_AUTO, JANE, FILES, "subid: sss\n", ASKED, "500000:1000", BOTH },
	{ SUBID_AUTO, JANE, FILES, "subid: sss\n", "exit 1", "100000:65536", BOTH },
	{ SUBID_AUTO, JANE, FILES, "subid: sss\n", NULL, "100000:65536", "" },
	{ SUBID_STATIC, JANE, FILES, "subid: sss\n", ASKED, "100000:65536", "" },
	/* the files do not know the user */
	{ SUBID_AUTO, JANE, OTHERS, "", ASKED, "500000:1000", BOTH },
	{ SUBID_DYNAMIC, JANE, FILES, "", ASKED, "500000:1000", BOTH },
};

START_TEST(subordinate_ids_come_from_the_files_or_from_getsubids)
{
	write_etc("passwd", sources[_i].passwd);
	write_etc("subuid", sources[_i].subids);
	write_etc("subgid", sources[_i].subids);
	write_etc("nsswitch.conf", sources[_i].nsswitch);
	make_program("getsubids", sources[_i].getsubids);
	if (!cover_etc())
		return;
	ck_assert_msg(idmap_find(&map, sources[_i].source, &e) == 0, "%s", e.msg);
	ck_assert(!map.only_self);
	ck_assert_str_eq(text_of(map.uids), sources[_i].ranges);
	ck_assert_str_eq(text_of(map.gids), sources[_i].ranges);
	fixture_assert_content(fixture_path("ran"), fill_in(sources[_i].ran));
	ck_assert_str_eq(read_log(), "");
}
END_TEST

START_TEST(another_program_can_be_named_in_the_place_of_getsubids)
{
	write_etc("passwd", JANE);
	write_etc("subuid", FILES);
	write_etc("subgid", FILES);
	make_program("other", ASKED);
	setenv("GETSUBIDS", fixture_path("bin/other"), 1);
	if (!cover_etc())
		return;
	ck_assert_msg(idmap_find(&map, SUBID_AUTO, &e) == 0, "%s", e.msg);
	ck_assert_str_eq(text_of(map.uids), "500000:1000");
	ck_assert_str_eq(text_of(map.gids), "500000:1000");
}
END_TEST

/* The name is needed for the files, which may list the user by name only. */
START_TEST(a_user_of_a_directory_service_is_known_by_getent)
{
	write_etc("passwd", "root:x:0:0::/root:/bin/sh\n");
	write_etc("subuid", FILES);
	write_etc("subgid", FILES);
	make_program("getent", "echo jane:x:@:@::/home/jane:/bin/sh");
	if (!cover_etc())
		return;
	ck_assert_msg(idmap_find(&map, SUBID_STATIC, &e) == 0, "%s", e.msg);
	ck_assert_str_eq(text_of(map.uids), "100000:65536");
	fixture_assert_content(fixture_path("ran"), fill_in("getent passwd @\n"));
}
END_TEST

START_TEST(the_own_id_alone_needs_neither_files_nor_programs)
{
	if (!cover_etc()) /* which is empty */
		return;
	ck_assert_msg(idmap_find(&map, SUBID_SELF, &e) == 0, "%s", e.msg);
	ck_assert(map.only_self);
	fixture_assert_content(fixture_path("ran"), "");
}
END_TEST

static const struct {
	enum subid_source source;
	const char *passwd;
	const char *subuid, *subgid;
	const char *getsubids;
	const char *begin;
} missing[] = {
	{ SUBID_STATIC, JANE, "", "", NULL, "no subuid ranges found for user @ (\"jane\"); " },
	{ SUBID_STATIC, JANE, OTHERS, OTHERS, NULL,
	  "no subuid ranges found for user @ (\"jane\"); " },
	{ SUBID_AUTO, JANE, FILES, "", NULL, "no subgid ranges found for user @ (\"jane\"); " },
	{ SUBID_AUTO, JANE, "", FILES, NULL, "no subuid ranges found for user @ (\"jane\"); " },
	{ SUBID_AUTO, JANE, "jane:@:1\n", FILES, NULL,
	  "no subuid ranges found for user @ (\"jane\"); " },
	{ SUBID_STATIC, "", FILES, FILES, NULL,
	  "no subuid ranges found for user @ (\"\"); user @ has no name (/etc/passwd), and "
	  "newuidmap takes no user without one; try --subid-source=self" },
	/* mistakes in the files */
	{ SUBID_AUTO, JANE, "jane:a:1\n", "jane:a:1\n", NULL,
	  "no subuid ranges found for user @ (\"jane\"); " },
	/* no other source is asked than the one that is named */
	{ SUBID_STATIC, JANE, OTHERS, FILES, ASKED,
	  "no subuid ranges found for user @ (\"jane\"); " },
	{ SUBID_DYNAMIC, JANE, FILES, FILES, "exit 1",
	  "no subuid ranges found for user @ (\"jane\"); " },
};

START_TEST(without_a_range_the_error_says_which_kind_is_missing)
{
	static const char before[] = "failed to setup UID/GID map: failed to compute uid/gid map: ";
	const char *want;

	write_etc("passwd", missing[_i].passwd);
	write_etc("subuid", missing[_i].subuid);
	write_etc("subgid", missing[_i].subgid);
	make_program("getsubids", missing[_i].getsubids);
	if (!cover_etc())
		return;
	ck_assert_int_eq(idmap_find(&map, missing[_i].source, &e), -ENOENT);
	want = fill_in(missing[_i].begin);
	ck_assert_int_eq(strncmp(e.msg, before, strlen(before)), 0);
	ck_assert_msg(strncmp(e.msg + strlen(before), want, strlen(want)) == 0, "%s", e.msg);
	ck_assert_ptr_nonnull(strstr(e.msg, "--subid-source=self"));
}
END_TEST

static const struct {
	const char *passwd;
	const char *subids;
	const char *why;
} rangeless[] = {
	{ JANE, "", "no subuid ranges found for user @ (\\\"jane\\\")" },
	{ JANE, OTHERS, "no subuid ranges found for user @ (\\\"jane\\\")" },
	{ "", FILES, "no subuid ranges found for user @ (\\\"\\\"); user @ has no name" },
};

START_TEST(without_any_range_only_the_own_id_is_mapped_with_a_warning)
{
	write_etc("passwd", rangeless[_i].passwd);
	write_etc("subuid", rangeless[_i].subids);
	write_etc("subgid", rangeless[_i].subids);
	if (!cover_etc())
		return;
	ck_assert_msg(idmap_find(&map, SUBID_AUTO, &e) == 0, "%s", e.msg);
	ck_assert(map.only_self);
	ck_assert_msg(strstr(read_log(), "level=warning msg=\"[rootlesskit:parent] mapping only "
					 "your own UID and GID") != NULL,
		      "%s", read_log());
	ck_assert_msg(strstr(read_log(), fill_in(rangeless[_i].why)) != NULL, "%s", read_log());
}
END_TEST

static const struct {
	const char *subuid;
	const char *ranges;
	const char *warning;
} warned[] = {
	{ "jane:abc:1\n" FILES, "100000:65536", "line 1 of /etc/subuid is skipped: " },
	{ FILES "jane 300000 65536\n", "100000:65536", "line 2 of /etc/subuid is skipped: " },
	{ FILES "jane:100010:5\n", "100000:65536",
	  "subuid: the range 100010:5 overlaps with a range before it; what both have is mapped "
	  "once. Remove the overlap from subuid configuration." },
	{ "jane:4294967290:6\n", "4294967290:5",
	  "subuid: the range 4294967290:6 is not mapped to its end, since an ID is less than "
	  "4294967295, outside and inside" },
	{ "jane:@:1\n" FILES, "100000:65536",
	  "subuid: the range @:1 contains the own UID @, which is already mapped to UID 0 in the "
	  "user namespace. RootlessKit ignores the UID @ in this range. Remove the own UID from "
	  "subuid configuration." },
};

START_TEST(what_cannot_be_mapped_is_left_out_with_a_warning)
{
	write_etc("passwd", JANE);
	write_etc("subuid", warned[_i].subuid);
	write_etc("subgid", FILES);
	if (!cover_etc())
		return;
	ck_assert_msg(idmap_find(&map, SUBID_STATIC, &e) == 0, "%s", e.msg);
	ck_assert_str_eq(text_of(map.uids), warned[_i].ranges);
	ck_assert_str_eq(text_of(map.gids), "100000:65536");
	ck_assert_msg(strstr(read_log(), "level=warning") != NULL &&
			      strstr(read_log(), fill_in(warned[_i].warning)) != NULL,
		      "%s", read_log());
}
END_TEST

#define BAD_LINES "jane:a:1\njane:b:1\njane:c:1\njane:d:1\n"

START_TEST(of_many_malformed_lines_the_first_three_are_reported)
{
	write_etc("passwd", JANE);
	write_etc("subuid", BAD_LINES FILES);
	write_etc("subgid", FILES);
	if (!cover_etc())
		return;
	ck_assert_msg(idmap_find(&map, SUBID_STATIC, &e) == 0, "%s", e.msg);
	ck_assert_ptr_nonnull(strstr(read_log(), "line 3 of /etc/subuid"));
	ck_assert_ptr_null(strstr(read_log(), "line 4 of /etc/subuid"));
}
END_TEST

/* ---- writing ---- */

static struct subid_ranges uids = { .count = 2, .range = { { 100000, 65536 }, { 300000, 10 } } };
static struct subid_ranges gids = { .count = 1, .range = { { 200000, 1000 } } };

static void write_maps(pid_t pid, int result)
{
	map = (struct idmap){ .uids = &uids, .gids = &gids };
	ck_assert_msg(idmap_write(&map, pid, &e) == result, "%s", e.msg);
}

/* Both run at the same time, so the order of their notes varies. */
START_TEST(newuidmap_and_newgidmap_get_the_own_id_first_and_then_all_ranges)
{
	char want[256];

	make_program("newuidmap", "echo $* >${0%/bin/*}/uids");
	make_program("newgidmap", "echo $* >${0%/bin/*}/gids");
	write_maps(4711, 0);
	snprintf(want, sizeof(want), "4711 0 %u 1 1 100000 65536 65537 300000 10\n", uid);
	fixture_assert_content(fixture_path("uids"), want);
	snprintf(want, sizeof(want), "4711 0 %u 1 1 200000 1000\n", gid);
	fixture_assert_content(fixture_path("gids"), want);
	ck_assert_int_eq(unlink(fixture_path("uids")), 0);
	ck_assert_int_eq(unlink(fixture_path("gids")), 0);
}
END_TEST

#define UID_MAP                                                                               \
	"failed to setup UID/GID map: newuidmap 4711 [0 @ 1 1 100000 65536 65537 300000 10] " \
	"failed: "
#define GID_MAP "failed to setup UID/GID map: newgidmap 4711 [0 # 1 1 200000 1000] failed: "

static const struct {
	const char *newuidmap, *newgidmap;
	int result;
	const char *begin; /* of the reason */
} failures[] = {
	{ "echo no way >&2; echo more >&2; exit 1", "", -EPERM, UID_MAP "no way: exit status 1" },
	{ "", "echo no way; exit 3", -EPERM, GID_MAP "no way: exit status 3" },
	{ "exit 1", "exit 2", -EPERM, UID_MAP ": exit status 1" }, /* the first one is told */
	{ "kill -9 $$", "", -EPERM, UID_MAP ": signal: killed" },
	{ NULL, "", -ENOENT,
	  UID_MAP
	  ": exec: \"newuidmap\": executable file not found in $PATH; try to install it (Debian: "
	  "package uidmap), or --subid-source=self" },
	{ "", NULL, -ENOENT,
	  GID_MAP
	  ": exec: \"newgidmap\": executable file not found in $PATH; try to install it (Debian: "
	  "package uidmap), or --subid-source=self" },
};

START_TEST(a_map_that_cannot_be_written_is_in_the_error)
{
	const char *want;

	make_program("newuidmap", failures[_i].newuidmap);
	make_program("newgidmap", failures[_i].newgidmap);
	write_maps(4711, failures[_i].result);
	want = fill_in(failures[_i].begin);
	ck_assert_msg(strncmp(e.msg, want, strlen(want)) == 0, "%s", e.msg);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left to be reaped */
}
END_TEST

/* Starts a process in a user namespace without maps, which ends with the pipe. Returns its PID, or
 * 0 if the test must return. */
static pid_t start_unmapped(int *pipe_end)
{
	int ready[2], hold[2];
	char byte = 0;
	pid_t pid;

	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(hold, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		close(hold[1]);
		byte = unshare(CLONE_NEWUSER) == 0 ? 'y' : 'n';
		_exit(write(ready[1], &byte, 1) == 1 && read(hold[0], &byte, 1) == 0 ? 0 : 1);
	}
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	close(hold[0]);
	*pipe_end = hold[1];
	if (byte == 'y')
		return pid;
	close(hold[1]);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	fixture_skip("userns", "a user namespace cannot be made");
	return 0;
}

static void assert_map(pid_t pid, const char *file, unsigned int outside)
{
	char path[64];
	unsigned int inside = 1, first = 0, count = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%u %u %u", &inside, &first, &count), 3);
	fclose(f);
	ck_assert_uint_eq(inside, 0);
	ck_assert_uint_eq(first, outside);
	ck_assert_uint_eq(count, 1);
}

START_TEST(the_own_id_alone_is_written_without_a_program)
{
	char want[128];
	int hold;
	pid_t pid = start_unmapped(&hold);

	if (pid == 0)
		return;
	map = (struct idmap){ .only_self = true };
	ck_assert_msg(idmap_write(&map, pid, &e) == 0, "%s", e.msg);
	assert_map(pid, "uid_map", uid);
	assert_map(pid, "gid_map", gid);
	log_init("parent", true);
	idmap_log(pid);
	snprintf(want, sizeof(want), "uid_map of the child: 0 %u 1\"", uid);
	ck_assert_ptr_nonnull(strstr(read_log(), want));
	snprintf(want, sizeof(want), "gid_map of the child: 0 %u 1\"", gid);
	ck_assert_ptr_nonnull(strstr(read_log(), want));
	close(hold);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	fixture_assert_content(fixture_path("ran"), "");
}
END_TEST

static const struct {
	const char *newuidmap, *newgidmap; /* as for make_program */
	bool falls_back;
	const char *ran;
} fall_backs[] = {
	{ NULL, NULL, true, "" },
	{ "", NULL, true, "" }, /* a map can be written only once, so neither is run */
	{ "exit 1", "exit 1", true, NULL },
	{ "", "exit 1", false, NULL }, /* a map may be written already */
	{ "exit 1", "", false, NULL },
};

START_TEST(without_working_programs_only_the_own_id_is_mapped_with_a_warning)
{
	int hold, r;
	pid_t pid = start_unmapped(&hold);

	if (pid == 0)
		return;
	make_program("newuidmap", fall_backs[_i].newuidmap);
	make_program("newgidmap", fall_backs[_i].newgidmap);
	map = (struct idmap){ .may_fall_back = true, .uids = &uids, .gids = &gids };
	r = idmap_write(&map, pid, &e);
	ck_assert_int_eq(map.only_self, fall_backs[_i].falls_back);
	ck_assert_msg(r == (fall_backs[_i].falls_back ? 0 : -EPERM), "%d: %s", r, e.msg);
	if (fall_backs[_i].falls_back) {
		assert_map(pid, "uid_map", uid);
		assert_map(pid, "gid_map", gid);
		ck_assert_ptr_nonnull(strstr(read_log(), "mapping only your own UID and GID"));
	}
	if (fall_backs[_i].ran != NULL)
		fixture_assert_content(fixture_path("ran"), fall_backs[_i].ran);
	close(hold);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

START_TEST(a_process_that_has_ended_is_an_error)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	map = (struct idmap){ .only_self = true };
	ck_assert_int_eq(idmap_write(&map, pid, &e), -ENOENT);
	ck_assert_int_eq(strncmp(e.msg, "failed to setup UID/GID map: ", 29), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("idmap");
	TCase *tc = fixture_case_with_dir("finding");

	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_loop_test(tc, subordinate_ids_come_from_the_files_or_from_getsubids, 0,
			    COUNT(sources));
	tcase_add_test(tc, another_program_can_be_named_in_the_place_of_getsubids);
	tcase_add_test(tc, a_user_of_a_directory_service_is_known_by_getent);
	tcase_add_test(tc, the_own_id_alone_needs_neither_files_nor_programs);
	tcase_add_loop_test(tc, without_a_range_the_error_says_which_kind_is_missing, 0,
			    COUNT(missing));
	tcase_add_loop_test(tc, without_any_range_only_the_own_id_is_mapped_with_a_warning, 0,
			    COUNT(rangeless));
	tcase_add_loop_test(tc, what_cannot_be_mapped_is_left_out_with_a_warning, 0, COUNT(warned));
	tcase_add_test(tc, of_many_malformed_lines_the_first_three_are_reported);
	suite_add_tcase(s, tc);
	tc = fixture_case_with_dir("writing");
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, newuidmap_and_newgidmap_get_the_own_id_first_and_then_all_ranges);
	tcase_add_loop_test(tc, a_map_that_cannot_be_written_is_in_the_error, 0, COUNT(failures));
	tcase_add_test(tc, the_own_id_alone_is_written_without_a_program);
	tcase_add_loop_test(tc, without_working_programs_only_the_own_id_is_mapped_with_a_warning,
			    0, COUNT(fall_backs));
	tcase_add_test(tc, a_process_that_has_ended_is_an_error);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
