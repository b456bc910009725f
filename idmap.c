/* SPDX-License-Identifier: Apache-2.0 */
/* User and group ID maps. See idmap.h.
 *
 * Each program that is run costs more than all of the rest, so that none is without need. "auto"
 * asks getsubids(1) only where it could know more than the files do: when nsswitch.conf names
 * another source, or $GETSUBIDS names a program. A user whom /etc/passwd does not know is asked for
 * by getent(1), not by getpwuid(3): the C library's name service loads modules at run time, which a
 * static program should not.
 */
#include "idmap.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fd.h"
#include "log.h"
#include "proc.h"

#define HELPER_TIMEOUT_MS 10000 /* a directory service may have to be asked */
#define NAME_LEN	  256
#define OUTPUT_LEN	  16384
#define MAX_TEXT_FILE	  (16U << 20) /* bytes of /etc/passwd or /etc/subuid that are read */

enum kind {
	UIDS,
	GIDS,
	KIND_COUNT,
};

static const struct {
	const char *name;
	const char *file;
	const char *program;
	const char *proc_file;
} kinds[] = {
	[UIDS] = { "subuid", "/etc/subuid", "newuidmap", "uid_map" },
	[GIDS] = { "subgid", "/etc/subgid", "newgidmap", "gid_map" },
};
_Static_assert(sizeof(kinds) / sizeof(kinds[0]) == KIND_COUNT, "one for each kind");

static char *load(const char *path, size_t *len)
{
	return fd_load_file(path, MAX_TEXT_FILE, len);
}

/* Runs a program for what it prints. Returns whether it succeeded. */
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

/* The name by getent(1), which knows what no file does. */
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

/* The user's name, "" if it has none. */
static void find_user_name(char *name, size_t cap)
{
	uint32_t uid = (uint32_t)geteuid();
	size_t len;
	char *text = load("/etc/passwd", &len);
	bool found = text != NULL && subid_find_user(text, len, uid, name, cap);

	free(text);
	if (!found && !ask_getent(uid, name, cap))
		name[0] = '\0';
}

/* ---- where the IDs come from ---- */

static size_t read_static(struct subid_ranges *out, enum kind kind, const char *user)
{
	size_t len;
	char *text = load(kinds[kind].file, &len);
	size_t added;

	if (text == NULL)
		return 0;
	added = subid_read_file(out, text, len, *user != '\0' ? user : NULL, (uint32_t)geteuid());
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

static int find_kind(struct subid_ranges *out, enum kind kind, enum subid_source source,
		     const char *user, struct err *e)
{
	out->count = 0;
	if (source == SUBID_DYNAMIC || source == SUBID_AUTO)
		read_dynamic(out, kind, user);
	if (out->count == 0 && source != SUBID_DYNAMIC)
		read_static(out, kind, user);
	if (out->count > 0)
		return 0;
	return err_set(e, ENOENT,
		       "failed to setup UID/GID map: failed to compute uid/gid map: No %s ranges "
		       "found for user %u (\"%s\"): as root, add a line such as `%s:100000:65536` "
		       "to %s, with a range that no other line has, or use --subid-source=self",
		       kinds[kind].name, (unsigned int)geteuid(), user,
		       *user != '\0' ? user : "USER", kinds[kind].file);
}

int idmap_find(struct idmap *map, enum subid_source source, struct err *e)
{
	char path[PATH_MAX];
	char user[NAME_LEN];
	int r;

	map->only_self = source == SUBID_SELF;
	if (map->only_self)
		return 0;
	find_user_name(user, sizeof(user));
	if (source == SUBID_AUTO && !is_getsubids_useful())
		source = SUBID_STATIC;
	r = find_kind(&map->uids, UIDS, source, user, e);
	if (r == 0)
		r = find_kind(&map->gids, GIDS, source, user, e);
	for (int kind = 0; r == 0 && kind < KIND_COUNT; kind++) {
		r = proc_find(kinds[kind].program, path, sizeof(path), e);
		if (r < 0) {
			err_wrap(e, "failed to setup UID/GID map");
			err_add(e, ": install it (Debian: package uidmap), or use "
				   "--subid-source=self");
		}
	}
	return r;
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
	/* Without it the kernel does not let an unprivileged process write gid_map. */
	snprintf(path, sizeof(path), "/proc/%d/setgroups", (int)pid);
	r = fd_write_file(path, "deny", e);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/gid_map", (int)pid);
	snprintf(line, sizeof(line), "0 %u 1\n", (unsigned int)getegid());
	return fd_write_file(path, line, e);
}

/* newuidmap PID 0 OWN 1 1 START COUNT ... Words are kept in one array, `text`. */
#define MAX_WORDS (5 + 3 * SUBID_MAX_RANGES)
#define WORD_LEN  12

static int start_helper(struct proc_run *run, enum kind kind, pid_t pid, unsigned int own,
			const struct subid_ranges *ranges, struct err *e)
{
	char text[MAX_WORDS][WORD_LEN];
	char program[16];
	char *argv[MAX_WORDS + 1];
	unsigned int inside = 1;
	int words = 0;
	int r;

	snprintf(text[words++], WORD_LEN, "%d", (int)pid);
	snprintf(text[words++], WORD_LEN, "0");
	snprintf(text[words++], WORD_LEN, "%u", own);
	snprintf(text[words++], WORD_LEN, "1");
	for (size_t i = 0; i < ranges->count; i++) {
		snprintf(text[words++], WORD_LEN, "%u", inside);
		snprintf(text[words++], WORD_LEN, "%u", ranges->range[i].start);
		snprintf(text[words++], WORD_LEN, "%u", ranges->range[i].count);
		inside += ranges->range[i].count;
	}
	snprintf(program, sizeof(program), "%s", kinds[kind].program);
	argv[0] = program;
	for (int i = 0; i < words; i++)
		argv[i + 1] = text[i];
	argv[words + 1] = NULL;
	r = proc_run_start(run, argv, e);
	run->name = kinds[kind].program;
	return r;
}

static int finish_helper(struct proc_run *run, pid_t pid, struct err *e)
{
	char output[1024];
	char text[64];
	int status = proc_run_finish(run, output, sizeof(output), HELPER_TIMEOUT_MS, e);

	if (status <= 0)
		return status;
	output[strcspn(output, "\n")] = '\0';
	return err_set(e, EPERM, "%s %d failed: %s: %s", run->name, (int)pid, output,
		       proc_status_text(status, text, sizeof(text)));
}

/* The two run side by side: each is a set-UID program whose start takes most of its time. */
static int run_helpers(const struct idmap *map, pid_t pid, struct err *e)
{
	struct proc_run uids, gids;
	struct err why;
	int r, r2;

	r = start_helper(&uids, UIDS, pid, (unsigned int)geteuid(), &map->uids, e);
	if (r < 0)
		return r;
	r2 = start_helper(&gids, GIDS, pid, (unsigned int)getegid(), &map->gids, &why);
	r = finish_helper(&uids, pid, e);
	if (r2 == 0)
		r2 = finish_helper(&gids, pid, &why);
	if (r == 0 && r2 < 0)
		*e = why;
	return r < 0 ? r : r2;
}

int idmap_write(const struct idmap *map, pid_t pid, struct err *e)
{
	int r;

	r = map->only_self ? write_self(pid, e) : run_helpers(map, pid, e);
	if (r < 0)
		err_wrap(e, "failed to setup UID/GID map");
	return r;
}
