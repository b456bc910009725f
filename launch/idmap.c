/* SPDX-License-Identifier: Apache-2.0 */
/* User and group ID maps. See idmap.h.
 *
 * Running a helper program costs more than everything else here, so none is run unless it is
 * needed. Normally --subid-source=auto reads /etc/subuid and /etc/subgid, and runs getsubids(1)
 * only if they have nothing for the user. It runs getsubids(1) first if nsswitch.conf names another
 * source or $GETSUBIDS is set, because getsubids(1) may then know more than the files.
 *
 * The name of a user who is not in /etc/passwd comes from getent(1), not from getpwuid(3): the C
 * library's name service loads modules at run time, which does not work well in a static program.
 *
 * --subid-source=auto falls back to the own ID, with a warning, where this system cannot give the
 * user more: the user has no ranges at all, or newuidmap(1) is missing or does not get the
 * privileges that it needs. It does not if the user has ranges, but they are wrong: that is a
 * mistake to correct, and an error with every source. No other option needs a second ID.
 */
#include "launch/idmap.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/log.h"
#include "launch/idadvice.h"
#include "os/proc.h"

#define HELPER_TIMEOUT_MS 10000 /* the program may ask a directory service over the network */
#define NAME_LEN	  256
#define OUTPUT_LEN	  16384
#define MAX_TEXT_FILE	  (16U << 20) /* bytes of /etc/passwd or /etc/subuid that are read */
#define MAX_MAP_LINES	  340	      /* lines, user_namespaces(7); 5 before Linux 4.15 */
#define MAP_TEXT_LEN	  200	      /* bytes of a map in a message */
#define BAD_LINES_TOLD	  3

enum kind {
	UIDS,
	GIDS,
	KIND_COUNT,
};

static const struct {
	const char *name;
	const char *file;
	const char *program;
	const char *own_map;
	const char *id;
} kinds[] = {
	[UIDS] = { "subuid", "/etc/subuid", "newuidmap", "/proc/self/uid_map", "UID" },
	[GIDS] = { "subgid", "/etc/subgid", "newgidmap", "/proc/self/gid_map", "GID" },
};
_Static_assert(COUNT_OF(kinds) == KIND_COUNT, "one for each kind");

static char *load(const char *path, size_t *len)
{
	return fd_load_file(path, MAX_TEXT_FILE, len);
}

/* Runs a program and collects its output. Returns 0 if it succeeded, its wait status if it did not,
 * or -errno with a reason if it could not be run to its end. */
static int ask(char *const *argv, char *output, size_t cap, struct err *e)
{
	int status = proc_run(argv, output, cap, HELPER_TIMEOUT_MS, e);

	if (status != 0)
		log_debug("%s %s does not know%s%s", argv[0], argv[1], status < 0 ? ": " : "",
			  status < 0 ? e->msg : "");
	return status;
}

/* ---- the user's name ---- */

/* Gets the user's name from getent(1), which also asks directory services. */
static bool ask_getent(uint32_t uid, char *name, size_t cap)
{
	char program[] = "getent", database[] = "passwd";
	char key[sizeof("4294967295")];
	char output[OUTPUT_LEN];
	char *argv[] = { program, database, key, NULL };
	struct err e;

	snprintf(key, sizeof(key), "%u", (unsigned int)uid);
	return ask(argv, output, sizeof(output), &e) == 0 &&
	       subid_find_user(output, strlen(output), uid, name, cap);
}

struct user {
	char name[NAME_LEN]; /* "" if the user has no name */
	bool is_local;	     /* /etc/passwd has it */
};

static void find_user(struct user *user)
{
	uint32_t uid = (uint32_t)geteuid();
	size_t len;
	char *text = load("/etc/passwd", &len);

	user->is_local = text != NULL &&
			 subid_find_user(text, len, uid, user->name, sizeof(user->name));
	free(text);
	if (!user->is_local && !ask_getent(uid, user->name, sizeof(user->name)))
		user->name[0] = '\0';
}

/* ---- where the IDs come from ---- */

/* The functions below add the ranges that they find to `out`. They return true if the user may have
 * more ranges than that: a source of them is broken. */

/* Warns of the user's malformed lines, BAD_LINES_TOLD at most. Returns true if there are any. */
static bool tell_bad_lines(enum kind kind, const char *text, size_t len, const char *name)
{
	const char *why;
	size_t line = 0;

	for (int i = 0; i < BAD_LINES_TOLD; i++) {
		line = subid_find_bad_line(text, len, name, (uint32_t)geteuid(), line, &why);
		if (line == 0)
			return i > 0;
		log_warn("line %zu of %s is skipped: %s", line, kinds[kind].file, why);
	}
	return true;
}

static bool read_static(struct subid_ranges *out, enum kind kind, const char *user)
{
	const char *name = *user != '\0' ? user : NULL;
	size_t len;
	char *text = load(kinds[kind].file, &len);
	bool is_broken;
	char why[128];

	if (text == NULL && errno == ENOENT)
		return false;
	if (text == NULL) {
		log_warn("%s is skipped: %s", kinds[kind].file, err_text(errno, why, sizeof(why)));
		return true;
	}
	subid_read_file(out, text, len, name, (uint32_t)geteuid());
	is_broken = tell_bad_lines(kind, text, len, name);
	free(text);
	return is_broken;
}

static const char *getsubids_program(void)
{
	const char *given = getenv("GETSUBIDS");

	return given != NULL && *given != '\0' ? given : "getsubids";
}

static bool ask_getsubids(struct subid_ranges *out, enum kind kind, const char *whom, struct err *e)
{
	char program[PATH_MAX];
	char output[OUTPUT_LEN];
	char who[NAME_LEN];
	char flag[] = "-g";
	char *argv[4];
	size_t n = 0;
	int status;

	snprintf(program, sizeof(program), "%s", getsubids_program());
	snprintf(who, sizeof(who), "%s", whom);
	argv[n++] = program;
	if (kind == GIDS)
		argv[n++] = flag;
	argv[n++] = who;
	argv[n] = NULL;
	status = ask(argv, output, sizeof(output), e);
	if (status == 0)
		subid_read_getsubids(out, output, strlen(output));
	return status < 0;
}

static bool read_dynamic(struct subid_ranges *out, enum kind kind, const char *user, struct err *e)
{
	char uid[16];
	bool is_broken = false;

	snprintf(uid, sizeof(uid), "%u", (unsigned int)geteuid());
	if (*user != '\0')
		is_broken = ask_getsubids(out, kind, user, e);
	return ask_getsubids(out, kind, uid, e) || is_broken;
}

static bool is_getsubids_useful(void)
{
	size_t len;
	char *text;
	bool useful;

	if (getenv("GETSUBIDS") != NULL)
		return true;
	text = load("/etc/nsswitch.conf", &len);
	useful = text != NULL && subid_has_nss(text, len);
	free(text);
	return useful;
}

/* ---- what can be mapped ---- */

static unsigned int own_id(enum kind kind)
{
	return kind == UIDS ? (unsigned int)geteuid() : (unsigned int)getegid();
}

/* Warns of IDs that are left out. compat: the text about the own ID is RootlessKit 3.3.0's. */
static void tell_cut(enum kind kind, const struct subid_range *range, unsigned int cut)
{
	const char *name = kinds[kind].name, *id = kinds[kind].id;
	unsigned int own = own_id(kind);

	if (cut & SUBID_HAS_OWN)
		log_warn("%s: the range %u:%u contains the own %s %u, which is already mapped to "
			 "%s 0 in the user namespace. RootlessKit ignores the %s %u in this range. "
			 "Remove the own %s from %s configuration.",
			 name, range->start, range->count, id, own, id, id, own, id, name);
	if (cut & SUBID_OVERLAPS)
		log_warn("%s: the range %u:%u overlaps with a range before it; what both have is "
			 "mapped once. Remove the overlap from %s configuration.",
			 name, range->start, range->count, name);
	if (cut & SUBID_NO_ID)
		log_warn("%s: the range %u:%u is not mapped to its end, since an ID is less than "
			 "4294967295, outside and inside",
			 name, range->start, range->count);
}

/* Reduces the ranges to those that the kernel accepts in one map. */
static void make_mappable(struct subid_ranges *ranges, enum kind kind)
{
	static struct subid_ranges mapped; /* too large for a small stack */
	static unsigned char cut[SUBID_MAX_RANGES];
	size_t dropped;

	subid_cut(&mapped, ranges, own_id(kind), cut);
	for (size_t i = 0; i < ranges->count; i++)
		if (cut[i] != 0)
			tell_cut(kind, &ranges->range[i], cut[i]);
	dropped = subid_fit(&mapped, own_id(kind), MAX_MAP_LINES, (size_t)sysconf(_SC_PAGESIZE));
	if (dropped > 0)
		log_warn("%s: the last %zu ranges are not mapped: the kernel takes %d lines and "
			 "less than %ld bytes. Join ranges in %s configuration.",
			 kinds[kind].name, dropped, MAX_MAP_LINES, sysconf(_SC_PAGESIZE),
			 kinds[kind].name);
	*ranges = mapped;
}

/* Why getsubids(1) could not be run although it should know the user's ranges. "": it could. */
static struct err getsubids_failure;

/* Finds the ranges that can be mapped. Returns false if the user has no ranges of this kind; true
 * if there are some, even if none can be mapped, or if a source of them is broken. */
static bool find_kind(struct subid_ranges *out, enum kind kind, enum subid_source source,
		      const char *user)
{
	bool first = source == SUBID_DYNAMIC || (source == SUBID_AUTO && is_getsubids_useful());
	bool is_broken = false;
	struct err unused;

	out->count = 0;
	out->dropped = 0;
	if (first)
		is_broken = read_dynamic(out, kind, user, &getsubids_failure);
	if (out->count == 0 && source != SUBID_DYNAMIC)
		is_broken = read_static(out, kind, user) || is_broken;
	/* getsubids(1) is often not installed */
	if (out->count == 0 && source == SUBID_AUTO && !first)
		read_dynamic(out, kind, user, &unused);
	is_broken = is_broken || out->count > 0;
	make_mappable(out, kind);
	return is_broken;
}

/* ---- falling back to the own ID ---- */

static void warn_of_fall_back(const struct err *why)
{
	log_warn("mapping only your own UID and GID, so files and processes inside cannot have "
		 "others: %s",
		 why->msg);
}

/* The user has no ranges. Returns 0 if only the own ID is to be mapped, or -ENOENT. */
static int explain_no_range(struct idmap *map, const struct user *user, bool may_fall_back,
			    struct err *e)
{
	enum kind missing = map->uids->count == 0 ? UIDS : GIDS;
	struct err why;

	err_set(&why, ENOENT, "no %s ranges found for user %u (\"%s\")", kinds[missing].name,
		(unsigned int)geteuid(), user->name);
	if (getsubids_failure.msg[0] != '\0')
		err_add(&why, "; getsubids failed: %s", getsubids_failure.msg);
	map->only_self = idadvice_no_range(&why, user->name, user->is_local ? user->name : NULL,
					   map->uids->count, map->gids->count, may_fall_back);
	if (map->only_self) {
		warn_of_fall_back(&why);
		return 0;
	}
	return err_set(e, ENOENT, "failed to setup UID/GID map: failed to compute uid/gid map: %s",
		       why.msg);
}

int idmap_find(struct idmap *map, enum subid_source source, struct err *e)
{
	static struct subid_ranges found[KIND_COUNT];
	struct user user;
	bool has_uids, has_gids;

	*map = (struct idmap){ .only_self = source == SUBID_SELF,
			       .may_fall_back = source == SUBID_AUTO,
			       .uids = &found[UIDS],
			       .gids = &found[GIDS] };
	if (map->only_self)
		return 0;
	find_user(&user);
	has_uids = find_kind(&found[UIDS], UIDS, source, user.name);
	has_gids = find_kind(&found[GIDS], GIDS, source, user.name);
	if (map->uids->count > 0 && map->gids->count > 0)
		return 0;
	return explain_no_range(map, &user, map->may_fall_back && !has_uids && !has_gids, e);
}

/* ---- writing ---- */

/* Maps only the user's own UID and GID, to 0. */
static int write_self(pid_t pid, struct err *e)
{
	char path[64];
	char line[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)pid);
	snprintf(line, sizeof(line), "0 %u 1\n", (unsigned int)geteuid());
	r = fd_write_file(path, line, e);
	if (r < 0)
		return r;
	/* required before an unprivileged process may write gid_map, user_namespaces(7) */
	snprintf(path, sizeof(path), "/proc/%d/setgroups", (int)pid);
	r = fd_write_file(path, "deny", e);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/gid_map", (int)pid);
	snprintf(line, sizeof(line), "0 %u 1\n", (unsigned int)getegid());
	return fd_write_file(path, line, e);
}

/* The arguments of newuidmap(1): PID 0 OWN 1 1 START COUNT ... They are stored in one array,
 * `text`. */
#define MAX_WORDS (4 + 3 * (MAX_MAP_LINES - 1))
#define WORD_LEN  12

/* A run of newuidmap or newgidmap. */
struct helper {
	enum kind kind;
	const struct subid_ranges *ranges;
	char text[MAX_WORDS][WORD_LEN]; /* its arguments; the first is the PID */
	int words;
	struct proc_run run;
	int r; /* 0, or -errno with the reason in `why` */
	struct err why;
	char output[256]; /* its first line */
};

static void add_word(struct helper *h, unsigned int number)
{
	snprintf(h->text[h->words++], WORD_LEN, "%u", number);
}

static void add_line(struct helper *h, unsigned int inside, unsigned int outside,
		     unsigned int count)
{
	add_word(h, inside);
	add_word(h, outside);
	add_word(h, count);
}

static void init_helper(struct helper *h, enum kind kind, const struct subid_ranges *ranges,
			pid_t target)
{
	unsigned int inside = 1;

	h->kind = kind;
	h->ranges = ranges;
	h->words = h->r = 0;
	h->output[0] = '\0';
	add_word(h, (unsigned int)target);
	add_line(h, 0, own_id(kind), 1);
	for (size_t i = 0; i < ranges->count; i++) {
		add_line(h, inside, ranges->range[i].start, ranges->range[i].count);
		inside += ranges->range[i].count;
	}
}

/* Prepends "newuidmap PID [0 1000 1 1 100000 65536] failed: " to the reason. */
static void name_map(struct helper *h)
{
	char map[MAP_TEXT_LEN] = "";
	size_t len = 0;
	int i = 1;

	for (; i < h->words && len + 2 * WORD_LEN < sizeof(map); i++)
		len += (size_t)snprintf(map + len, sizeof(map) - len, "%s%s", i > 1 ? " " : "",
					h->text[i]);
	err_wrap(&h->why, "%s %s [%s%s] failed", kinds[h->kind].program, h->text[0], map,
		 i < h->words ? " ..." : "");
}

static void fail_to_start(struct helper *h, int r)
{
	h->r = r;
	err_wrap(&h->why, "%s", ""); /* compat: RootlessKit quotes the output, which is empty */
	name_map(h);
}

static bool find_helper(struct helper *h)
{
	char path[PATH_MAX];
	int r = proc_find(kinds[h->kind].program, path, sizeof(path), &h->why);

	if (r < 0)
		fail_to_start(h, r);
	return r == 0;
}

static void start_helper(struct helper *h)
{
	static char *argv[MAX_WORDS + 2];
	char program[16];
	int r;

	snprintf(program, sizeof(program), "%s", kinds[h->kind].program);
	argv[0] = program;
	for (int i = 0; i < h->words; i++)
		argv[i + 1] = h->text[i];
	argv[h->words + 1] = NULL;
	r = proc_run_start(&h->run, argv, &h->why);
	h->run.name = kinds[h->kind].program;
	if (r < 0)
		fail_to_start(h, r);
}

/* Waits for a program that was started to end. */
static void finish_helper(struct helper *h)
{
	char text[64];
	int status;

	if (h->r < 0)
		return;
	status = proc_run_finish(&h->run, h->output, sizeof(h->output), HELPER_TIMEOUT_MS, &h->why);
	h->r = status > 0 ? -EPERM : status;
	if (status <= 0)
		return;
	h->output[strcspn(h->output, "\n")] = '\0';
	err_set(&h->why, EPERM, "%s: %s", h->output, proc_status_text(status, text, sizeof(text)));
	name_map(h);
}

/* Explains why the program failed. Returns true if only the own ID is to be mapped. */
static bool explain_failure(struct helper *h, bool may_fall_back)
{
	/* A time-out, or a signal that ends the start */
	if (h->r != -EPERM && h->r != -ENOENT && h->r != -EACCES)
		return false;
	return idadvice_refused(&h->why, kinds[h->kind].program, h->output, kinds[h->kind].own_map,
				h->ranges, may_fall_back);
}

/* Runs both helpers at the same time: each is a set-UID program, and its start takes most of its
 * time. If only one is installed, runs neither, so that no map is written. Sets *falls_back if they
 * fail, no map is written, and only the own ID is to be mapped. Returns 0 or -errno with a
 * reason. */
static int run_helpers(const struct idmap *map, pid_t pid, bool *falls_back, struct err *e)
{
	static struct helper helpers[KIND_COUNT];
	struct helper *uids = &helpers[UIDS], *gids = &helpers[GIDS], *failed;
	bool is_unwritten = true;

	init_helper(uids, UIDS, map->uids, pid);
	init_helper(gids, GIDS, map->gids, pid);
	if (find_helper(uids) && find_helper(gids)) {
		start_helper(uids);
		start_helper(gids);
		finish_helper(uids);
		finish_helper(gids);
		is_unwritten = uids->r < 0 && gids->r < 0;
	}
	failed = uids->r < 0 ? uids : gids;
	if (failed->r == 0)
		return 0;
	*falls_back = explain_failure(failed, map->may_fall_back && is_unwritten);
	*e = failed->why;
	return failed->r;
}

int idmap_write(struct idmap *map, pid_t pid, struct err *e)
{
	bool falls_back = false;
	int r = 0;

	if (!map->only_self)
		r = run_helpers(map, pid, &falls_back, e);
	if (falls_back) {
		warn_of_fall_back(e);
		map->only_self = true;
	}
	if (map->only_self)
		r = write_self(pid, e);
	if (map->only_self && r == -EPERM)
		idadvice_root_refused(e);
	if (r < 0)
		err_wrap(e, "failed to setup UID/GID map");
	return r;
}

/* ---- logging ---- */

/* Logs an ID map from /proc: "0 2000 1, 1 100000 65536". */
static void log_map(pid_t pid, const char *file)
{
	char path[64], map[1024], text[sizeof(map)] = "";
	unsigned int inside, outside, count;
	size_t len = 0;
	char *save;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	if (fd_read_file(path, map, sizeof(map)) <= 0)
		return;
	for (char *line = strtok_r(map, "\n", &save); line != NULL && len < sizeof(text);
	     line = strtok_r(NULL, "\n", &save))
		if (sscanf(line, "%u %u %u", &inside, &outside, &count) == 3)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%u %u %u",
						len > 0 ? ", " : "", inside, outside, count);
	log_debug("%s of the child: %s", file, text);
}

void idmap_log(pid_t pid)
{
	log_map(pid, "uid_map");
	log_map(pid, "gid_map");
}
