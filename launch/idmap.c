/* SPDX-License-Identifier: Apache-2.0 */
/* User and group ID maps. See idmap.h.
 *
 * Running a helper program costs more than everything else here, so none is run unless it is
 * needed. --subid-source=auto reads /etc/subuid and /etc/subgid first and runs getsubids(1) only if
 * they have nothing for the user. It runs getsubids(1) first if that may know more than the files:
 * nsswitch.conf names another source, or $GETSUBIDS names a program.
 *
 * The name of a user who is not in /etc/passwd comes from getent(1), not from getpwuid(3): the C
 * library's name service loads modules at run time, which does not work well in a static program.
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

/* Runs a program and collects its output. Returns true if it succeeded. */
static bool ask(char *const *argv, char *output, size_t cap)
{
	struct err e;
	int status = proc_run(argv, output, cap, HELPER_TIMEOUT_MS, &e);

	if (status != 0)
		log_debug("%s %s does not know%s%s", argv[0], argv[1], status < 0 ? ": " : "",
			  status < 0 ? e.msg : "");
	return status == 0;
}

/* ---- the user's name ---- */

/* Gets the user's name from getent(1), which also asks directory services. */
static bool ask_getent(uint32_t uid, char *name, size_t cap)
{
	char program[] = "getent", database[] = "passwd";
	char key[sizeof("4294967295")];
	char output[OUTPUT_LEN];
	char *argv[] = { program, database, key, NULL };

	snprintf(key, sizeof(key), "%u", (unsigned int)uid);
	return ask(argv, output, sizeof(output)) &&
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

/* Warns of the user's malformed lines, BAD_LINES_TOLD at most. */
static void tell_bad_lines(enum kind kind, const char *text, size_t len, const char *name)
{
	const char *why;
	size_t line = 0;

	for (int i = 0; i < BAD_LINES_TOLD; i++) {
		line = subid_find_bad_line(text, len, name, (uint32_t)geteuid(), line, &why);
		if (line == 0)
			return;
		log_warn("line %zu of %s is skipped: %s", line, kinds[kind].file, why);
	}
}

static size_t read_static(struct subid_ranges *out, enum kind kind, const char *user)
{
	const char *name = *user != '\0' ? user : NULL;
	size_t len;
	char *text = load(kinds[kind].file, &len);
	size_t added;

	if (text == NULL)
		return 0;
	added = subid_read_file(out, text, len, name, (uint32_t)geteuid());
	tell_bad_lines(kind, text, len, name);
	free(text);
	return added;
}

static const char *getsubids_program(void)
{
	const char *given = getenv("GETSUBIDS");

	return given != NULL && *given != '\0' ? given : "getsubids";
}

static void ask_getsubids(struct subid_ranges *out, enum kind kind, const char *whom)
{
	char program[PATH_MAX];
	char output[OUTPUT_LEN];
	char who[NAME_LEN];
	char flag[] = "-g";
	char *argv[4];
	size_t n = 0;

	snprintf(program, sizeof(program), "%s", getsubids_program());
	snprintf(who, sizeof(who), "%s", whom);
	argv[n++] = program;
	if (kind == GIDS)
		argv[n++] = flag;
	argv[n++] = who;
	argv[n] = NULL;
	if (ask(argv, output, sizeof(output)))
		subid_read_getsubids(out, output, strlen(output));
}

static size_t read_dynamic(struct subid_ranges *out, enum kind kind, const char *user)
{
	char uid[16];

	snprintf(uid, sizeof(uid), "%u", (unsigned int)geteuid());
	if (*user != '\0')
		ask_getsubids(out, kind, user);
	ask_getsubids(out, kind, uid);
	return out->count;
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

static void find_kind(struct subid_ranges *out, enum kind kind, enum subid_source source,
		      const char *user)
{
	bool first = source == SUBID_DYNAMIC || (source == SUBID_AUTO && is_getsubids_useful());

	out->count = 0;
	out->dropped = 0;
	if (first)
		read_dynamic(out, kind, user);
	if (out->count == 0 && source != SUBID_DYNAMIC)
		read_static(out, kind, user);
	if (out->count == 0 && source == SUBID_AUTO && !first)
		read_dynamic(out, kind, user);
	make_mappable(out, kind);
}

int idmap_find(struct idmap *map, enum subid_source source, struct err *e)
{
	static struct subid_ranges found[KIND_COUNT];
	struct user user;
	enum kind missing;

	*map = (struct idmap){ source == SUBID_SELF, &found[UIDS], &found[GIDS] };
	if (map->only_self)
		return 0;
	find_user(&user);
	find_kind(&found[UIDS], UIDS, source, user.name);
	find_kind(&found[GIDS], GIDS, source, user.name);
	if (map->uids->count > 0 && map->gids->count > 0)
		return 0;
	missing = map->uids->count == 0 ? UIDS : GIDS;
	err_set(e, ENOENT,
		"failed to setup UID/GID map: failed to compute uid/gid map: No %s ranges found "
		"for user %u (\"%s\")",
		kinds[missing].name, (unsigned int)geteuid(), user.name);
	idadvice_no_range(e, user.name, user.is_local ? user.name : NULL, map->uids->count,
			  map->gids->count);
	return -ENOENT;
}

/* ---- writing ---- */

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
	pid_t target;
	const struct subid_ranges *ranges;
	char text[MAX_WORDS][WORD_LEN]; /* its arguments */
	int words;
	struct proc_run run;
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

/* Prepends "newuidmap PID [0 1000 1 1 100000 65536] failed: " to the reason. */
static void name_map(const struct helper *h, struct err *e)
{
	char map[MAP_TEXT_LEN] = "";
	size_t len = 0;
	int i = 1;

	for (; i < h->words && len + 2 * WORD_LEN < sizeof(map); i++)
		len += (size_t)snprintf(map + len, sizeof(map) - len, "%s%s", i > 1 ? " " : "",
					h->text[i]);
	err_wrap(e, "%s %d [%s%s] failed", kinds[h->kind].program, (int)h->target, map,
		 i < h->words ? " ..." : "");
}

static int start_helper(struct helper *h, struct err *e)
{
	static char *argv[MAX_WORDS + 2];
	char program[16];
	unsigned int inside = 1;
	int r;

	h->words = 0;
	add_word(h, (unsigned int)h->target);
	add_line(h, 0, own_id(h->kind), 1);
	for (size_t i = 0; i < h->ranges->count; i++) {
		add_line(h, inside, h->ranges->range[i].start, h->ranges->range[i].count);
		inside += h->ranges->range[i].count;
	}
	snprintf(program, sizeof(program), "%s", kinds[h->kind].program);
	argv[0] = program;
	for (int i = 0; i < h->words; i++)
		argv[i + 1] = h->text[i];
	argv[h->words + 1] = NULL;
	r = proc_run_start(&h->run, argv, e);
	h->run.name = kinds[h->kind].program;
	if (r < 0) {
		err_wrap(e, "%s", ""); /* compat: RootlessKit quotes the output, which is empty */
		name_map(h, e);
		idadvice_refused(e, h->run.name, "", kinds[h->kind].own_map, h->ranges);
	}
	return r;
}

static int finish_helper(struct helper *h, struct err *e)
{
	char output[256];
	char text[64];
	int status = proc_run_finish(&h->run, output, sizeof(output), HELPER_TIMEOUT_MS, e);

	if (status <= 0)
		return status;
	output[strcspn(output, "\n")] = '\0';
	err_set(e, EPERM, "%s: %s", output, proc_status_text(status, text, sizeof(text)));
	name_map(h, e);
	idadvice_refused(e, h->run.name, output, kinds[h->kind].own_map, h->ranges);
	return -EPERM;
}

/* Runs both helpers at the same time: each is a set-UID program, and its start takes most of its
 * time. */
static int run_helpers(const struct idmap *map, pid_t pid, struct err *e)
{
	static struct helper uids = { .kind = UIDS }, gids = { .kind = GIDS };
	struct err why;
	int r, r2;

	uids.target = gids.target = pid;
	uids.ranges = map->uids;
	gids.ranges = map->gids;
	r = start_helper(&uids, e);
	if (r < 0)
		return r;
	r2 = start_helper(&gids, &why);
	r = finish_helper(&uids, e);
	if (r2 == 0)
		r2 = finish_helper(&gids, &why);
	if (r == 0 && r2 < 0)
		*e = why;
	return r < 0 ? r : r2;
}

int idmap_write(const struct idmap *map, pid_t pid, struct err *e)
{
	int r;

	r = map->only_self ? write_self(pid, e) : run_helpers(map, pid, e);
	if (map->only_self && r == -EPERM)
		idadvice_root_refused(e);
	if (r < 0)
		err_wrap(e, "failed to setup UID/GID map");
	return r;
}
