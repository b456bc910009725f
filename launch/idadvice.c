/* SPDX-License-Identifier: Apache-2.0 */
/* Advice about subordinate IDs. See idadvice.h. */
#include "launch/idadvice.h"

#include <limits.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "os/proc.h"
#include "os/userns.h"

#define MAX_TEXT_FILE (16U << 20)
#define MAP_LEN	      16384 /* bytes of /proc/self/uid_map: up to 340 lines of 33 bytes */
#define RANGE_SIZE    65536 /* subordinate IDs of a user by default, login.defs(5) */
/* The ID shown for IDs that the user namespace does not have, user_namespaces(7). */
#define OVERFLOW_ID   65534

#define ONLY_SELF "--subid-source=self, which maps only your own ID"

/* The option that maps only the own ID: instead of an error, or of a warning. */
static const char *self_option(bool falls_back)
{
	return falls_back ? ONLY_SELF " without this warning" : ONLY_SELF;
}

/* ---- what the system has ---- */

static const struct kind {
	const char *map_file;
	const char *range_file;
	const char *account_file;
	const char *option; /* of usermod(8), adds a range */
	const char *capability;
} kinds[] = {
	{ "/proc/self/uid_map", "/etc/subuid", "/etc/passwd", "--add-subuids", "cap_setuid" },
	{ "/proc/self/gid_map", "/etc/subgid", "/etc/group", "--add-subgids", "cap_setgid" },
};
#define KIND_COUNT COUNT_OF(kinds)

/* Loads a file into `t`. Returns the buffer, which the caller frees. If the file cannot be read,
 * returns NULL, and `t` is empty. */
static char *load(struct text *t, const char *path)
{
	char *text = fd_load_file(path, MAX_TEXT_FILE, &t->len);

	t->len = text == NULL ? 0 : t->len;
	t->p = text;
	return text;
}

/* Reads an ID map of our user namespace. If the file cannot be read, assumes a map of all IDs.
 * Returns true if the map has all IDs, as in the initial user namespace. */
static bool read_map(struct text *t, const char *path, char map[MAP_LEN])
{
	const struct subid_range all = { 0, UINT32_MAX };
	ssize_t len = fd_read_file(path, map, MAP_LEN);

	if (len < 0)
		len = snprintf(map, MAP_LEN, "0 0 %u\n", all.count);
	*t = (struct text){ map, (size_t)len };
	return subid_is_in_map(map, (size_t)len, &all);
}

/* Finds a range that is free both as UIDs and as GIDs. Sets *few_ids if our user namespace does not
 * have all IDs. */
static bool find_free(struct subid_range *range, bool *few_ids)
{
	static char maps[KIND_COUNT][MAP_LEN];
	struct subid_space spaces[KIND_COUNT];
	char *files[2 * KIND_COUNT];
	bool found;

	*few_ids = false;
	for (size_t i = 0; i < KIND_COUNT; i++) {
		if (!read_map(&spaces[i].map, kinds[i].map_file, maps[i]))
			*few_ids = true;
		files[2 * i] = load(&spaces[i].ranges, kinds[i].range_file);
		files[2 * i + 1] = load(&spaces[i].accounts, kinds[i].account_file);
		spaces[i].own = i == 0 ? (uint32_t)geteuid() : (uint32_t)getegid();
	}
	found = subid_find_free(spaces, KIND_COUNT, RANGE_SIZE, range);
	for (size_t i = 0; i < 2 * KIND_COUNT; i++)
		free(files[i]);
	return found;
}

/* Returns why root of our user namespace cannot change the file `path` or, if it does not exist,
 * create it in `dir`. NULL if root can. */
static const char *why_unchangeable(const char *path, const char *dir)
{
	struct statvfs fs;
	struct stat st;
	const char *there = stat(path, &st) == 0 ? path : dir;

	if (statvfs(there, &fs) == 0 && (fs.f_flag & ST_RDONLY) != 0)
		return "is on a read-only file system";
	if (stat(there, &st) == 0 && st.st_uid == OVERFLOW_ID)
		return "belongs to a user outside of this user namespace";
	return NULL;
}

/* Always returns false: there is nothing to try. */
static bool explain_nameless(struct err *e)
{
	err_add(e, "; user %u has no name (/etc/passwd), and newuidmap takes no user without one",
		(unsigned int)geteuid());
	return false;
}

/* ---- the user has no range ---- */

/* True if usermod(8) can change the file: it replaces an existing regular file by rename(2), so the
 * file must exist and be on the file system of /etc. */
static bool can_usermod(const char *path)
{
	struct stat st, dir;

	return why_unchangeable("/etc", "/") == NULL && stat("/etc", &dir) == 0 &&
	       lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_dev == dir.st_dev;
}

/* Appends a command by which root adds `range` to the files in `needed`. It uses usermod(8) if that
 * can change these files and knows the user (`local_name`), else tee(1). */
static void propose(struct err *e, const struct subid_range *range, const char *name,
		    const char *local_name, const bool needed[KIND_COUNT], const char *self)
{
	unsigned int first = range->start, last = first + range->count - 1;
	bool by_usermod = local_name != NULL;

	for (size_t i = 0; i < KIND_COUNT; i++)
		if (needed[i] && !can_usermod(kinds[i].range_file))
			by_usermod = false;
	err_add(e, "; try, as root, `");
	if (by_usermod)
		err_add(e, "usermod");
	else
		err_add(e, "echo '%s:%u:%u' | tee -a", name, first, (unsigned int)range->count);
	for (size_t i = 0; i < KIND_COUNT; i++) {
		if (needed[i] && by_usermod)
			err_add(e, " %s %u-%u", kinds[i].option, first, last);
		else if (needed[i])
			err_add(e, " %s", kinds[i].range_file);
	}
	err_add(e, "%s%s`, or %s", by_usermod ? " " : "", by_usermod ? local_name : "", self);
}

/* Appends the advice for a user whose name is known. */
static void explain_no_range(struct err *e, const char *name, const char *local_name,
			     const bool needed[KIND_COUNT], const char *self)
{
	struct subid_range range;
	bool few_ids;
	const char *why = NULL, *file = NULL;

	for (size_t i = 0; i < KIND_COUNT && why == NULL; i++) {
		file = kinds[i].range_file;
		why = needed[i] ? why_unchangeable(file, "/etc") : NULL;
	}
	if (!find_free(&range, &few_ids))
		err_add(e, "; %s; try %s%s",
			few_ids ? "this user namespace has too few IDs for a range "
				  "(/proc/self/uid_map, gid_map)"
				: "no range is free in /etc/subuid and /etc/subgid",
			self,
			few_ids ? "; or give the container, or launcher, around this one more IDs"
				: "");
	else if (why != NULL)
		err_add(e, "; %s, where one would be added, %s; try %s", file, why, self);
	else
		propose(e, &range, name, local_name, needed, self);
}

bool idadvice_no_range(struct err *e, const char *name, const char *local_name, size_t uid_count,
		       size_t gid_count, bool may_fall_back)
{
	const char *self = self_option(may_fall_back);
	const bool needed[KIND_COUNT] = { uid_count == 0, gid_count == 0 };

	if (userns_explain_user(e))
		return false;
	if (*name == '\0') {
		explain_nameless(e);
		err_add(e, "; try %s", self);
	} else {
		explain_no_range(e, name, local_name, needed, self);
	}
	return may_fall_back;
}

/* ---- newuidmap or newgidmap failed ---- */

/* True if the program, as installed, gets the privileges to write a map of many IDs: it is set-UID
 * root, has file capabilities, or is run by root. Does not notice restrictions that apply at run
 * time, such as no_new_privs. Also true if the file cannot be examined. */
static bool has_rights(const char *path)
{
	struct stat st;

	/* root's programs have root's privileges */
	if (geteuid() == 0 || stat(path, &st) < 0)
		return true;
	return (st.st_uid == 0 && (st.st_mode & S_ISUID) != 0) ||
	       getxattr(path, "security.capability", NULL, 0) > 0;
}

static bool is_nosuid(const char *path)
{
	struct statvfs fs;

	return statvfs(path, &fs) == 0 && (fs.f_flag & ST_NOSUID) != 0;
}

/* Returns the first range that is not in our own user namespace, or NULL. */
static const struct subid_range *find_missing(const char *map_file,
					      const struct subid_ranges *ranges)
{
	char map[MAP_LEN];
	ssize_t len = fd_read_file(map_file, map, sizeof(map));

	for (size_t i = 0; len > 0 && i < ranges->count; i++)
		if (!subid_is_in_map(map, (size_t)len, &ranges->range[i]))
			return &ranges->range[i];
	return NULL;
}

/* For a program that gets no privileges: advises to make it set-UID, if root can change the file.
 * Returns true if there is something to try. */
static bool explain_mode(struct err *e, const char *path)
{
	const char *why = why_unchangeable(path, "/");
	struct stat st;

	if (stat(path, &st) == 0 && (st.st_mode & S_ISUID) != 0 && st.st_uid == OVERFLOW_ID) {
		err_add(e,
			"; %s belongs to a user outside of this user namespace, so that set-UID "
			"has no effect",
			path);
		return false;
	}
	err_add(e, "; %s is neither set-UID root nor has file capabilities", path);
	if (why != NULL)
		err_add(e, ", and %s", why);
	else
		err_add(e, "; try, as root, `chmod u+s %s`", path);
	return why == NULL;
}

static bool can_never_get(int capability)
{
	return prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 0;
}

/* For a set-UID newuidmap without CAP_SYS_ADMIN. A set-UID program runs as root and needs that
 * capability to write the map. A program with file capabilities runs as the user, who owns the new
 * user namespace, and needs no CAP_SYS_ADMIN (user_namespaces(7)). Returns true if there is
 * something to try. */
static bool explain_set_uid(struct err *e, const char *path, const char *capability)
{
	const char *why = why_unchangeable(path, "/");

	err_add(e, "; %s is set-UID, so it needs CAP_SYS_ADMIN, which this process can never get",
		path);
	if (why != NULL)
		return false;
	err_add(e, "; try, as root, `chmod u-s %s && setcap %s=ep %s`", path, capability, path);
	return true;
}

static bool is_set_uid(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && (st.st_mode & S_ISUID) != 0;
}

/* Finds out why the program lacks privileges when it runs. Returns true if it does; then
 * *has_advice tells whether there is something to try. */
static bool explain_rights(struct err *e, const char *path, const char *capability,
			   bool *has_advice)
{
	*has_advice = true;
	if (geteuid() != 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		err_add(e,
			"; no_new_privs is set for this process (NoNewPrivileges= of a service, "
			"no-new-privileges or allowPrivilegeEscalation: false of a container, or a "
			"sandbox), so that no set-UID program works; try without that");
	else if (!has_rights(path))
		*has_advice = explain_mode(e, path);
	else if (geteuid() != 0 && is_nosuid(path))
		err_add(e,
			"; %s is on a file system that is mounted nosuid; try to install it "
			"elsewhere, or mount that without nosuid",
			path);
	else if (can_never_get(CAP_SETUID) || can_never_get(CAP_SETGID))
		err_add(e, "; this process can never get CAP_SETUID and CAP_SETGID; try "
			   "--cap-add=SETUID --cap-add=SETGID for the container");
	else if (geteuid() != 0 && can_never_get(CAP_SYS_ADMIN) && is_set_uid(path))
		*has_advice = explain_set_uid(e, path, capability);
	else
		return *has_advice = false;
	return true;
}

bool idadvice_root_refused(struct err *e)
{
	if (geteuid() != 0 || !can_never_get(CAP_SETFCAP))
		return false;
	err_add(e, "; root without CAP_SETFCAP cannot map itself (since Linux 5.12); try "
		   "--cap-add=SETFCAP for the container, or to run this as another user");
	return true;
}

/* For ranges that our own user namespace does not have. Returns true if there is something to
 * try. */
static bool explain_missing(struct err *e, const struct subid_range *missing, const char *map_file,
			    const char *file)
{
	struct subid_range range;
	bool few_ids;
	const char *why = why_unchangeable(file, "/etc");

	err_add(e, "; this user namespace does not have the IDs %u to %u (%s)", missing->start,
		missing->start + missing->count - 1, map_file);
	if (!find_free(&range, &few_ids)) {
		err_add(e, " nor enough others");
		return false;
	}
	if (why != NULL) {
		err_add(e, ", and %s %s", file, why);
		return false;
	}
	err_add(e, "; try to replace that range in %s by one that it has, such as %u:%u", file,
		range.start, range.count);
	return true;
}

/* newuidmap of shadow 4.20 rejects a file whose last line has no newline and prints "Non-text
 * file." Returns true if that is the cause. */
static bool explain_last_line(struct err *e, const char *program, const char *output)
{
	char path[] = "/etc/subuid";
	char *text;
	size_t len;
	bool is_open_ended;

	path[strlen("/etc/sub")] = program[3]; /* newuidmap, newgidmap */
	if (strstr(output, path) == NULL)
		return false;
	text = fd_load_file(path, MAX_TEXT_FILE, &len);
	is_open_ended = text != NULL && len > 0 && text[len - 1] != '\n';
	free(text);
	if (is_open_ended)
		err_add(e, "; the last line of %s has no newline; try, as root, `echo >>%s`", path,
			path);
	return is_open_ended;
}

/* What a failure of newuidmap(1) or newgidmap(1) means. */
struct cause {
	bool is_restriction; /* no ranges could be mapped here, right or wrong */
	bool has_advice;     /* there is something to try */
};

/* For a failure that is not about the ranges. */
static struct cause explain_denial(struct err *e, const char *path, const char *capability,
				   const char *output)
{
	struct cause cause;

	cause.is_restriction = explain_rights(e, path, capability, &cause.has_advice) ||
			       strstr(output, "Operation not permitted") != NULL;
	return cause;
}

static struct cause find_cause(struct err *e, const char *program, const char *output,
			       const char *map_file, const struct subid_ranges *ranges)
{
	const struct subid_range *missing = find_missing(map_file, ranges);
	const struct kind *kind = &kinds[program[3] == 'g']; /* newuidmap, newgidmap */
	const char *file = kind->range_file;
	char path[PATH_MAX];

	if (proc_find(program, path, sizeof(path), NULL) < 0) {
		err_add(e, "; try to install it (Debian: package uidmap)");
		return (struct cause){ true, true };
	}
	if (strstr(output, "determine your user name") != NULL)
		return (struct cause){ true, explain_nameless(e) };
	if (missing != NULL)
		return (struct cause){ true, explain_missing(e, missing, map_file, file) };
	if (strstr(output, "not allowed") != NULL) {
		err_add(e,
			"; %s does not find that range for this user in %s; try to correct that "
			"file",
			program, file);
		return (struct cause){ false, true };
	}
	if (explain_last_line(e, program, output))
		return (struct cause){ false, true };
	return explain_denial(e, path, kind->capability, output);
}

bool idadvice_refused(struct err *e, const char *program, const char *output, const char *map_file,
		      const struct subid_ranges *ranges, bool may_fall_back)
{
	struct cause cause;
	bool falls_back;

	if (idadvice_root_refused(e))
		return false;
	cause = find_cause(e, program, output, map_file, ranges);
	falls_back = may_fall_back && cause.is_restriction;
	err_add(e, "%s %s", cause.has_advice ? ", or" : "; try", self_option(falls_back));
	return falls_back;
}
