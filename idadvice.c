/* SPDX-License-Identifier: Apache-2.0 */
/* Advice about subordinate IDs. See idadvice.h. */
#include "idadvice.h"

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

#include "fd.h"
#include "proc.h"

#define MAX_TEXT_FILE (16U << 20)
#define MAP_LEN	      8192  /* bytes of /proc/self/uid_map: 340 lines of which few are used */
#define COUNT	      65536 /* IDs that a user gets by default, login.defs(5) */

static const char only_self[] = "--subid-source=self, which maps only your own ID";

/* ---- no range ---- */

static uint32_t first_free_in(const char *path)
{
	size_t len;
	char *text = fd_load_file(path, MAX_TEXT_FILE, &len);
	uint32_t id = subid_first_free(text != NULL ? text : "", text != NULL ? len : 0);

	free(text);
	return id;
}

void idadvice_no_range(struct err *e, const char *name, const char *local_name, size_t uid_count,
		       size_t gid_count)
{
	uint32_t uid = first_free_in("/etc/subuid"), gid = first_free_in("/etc/subgid");
	uint32_t first = uid > gid ? uid : gid;
	uint32_t last = first + COUNT - 1;
	const char *files = "/etc/subuid /etc/subgid";
	char number[sizeof("4294967295")];

	err_add(e, "; try, as root, ");
	if (uid_count > 0)
		files = "/etc/subgid";
	else if (gid_count > 0)
		files = "/etc/subuid";
	if (last < first) {
		err_add(e, "a line USER:START:%d in %s with a range that no other line has", COUNT,
			files);
	} else if (local_name != NULL) {
		err_add(e, "`usermod");
		if (uid_count == 0)
			err_add(e, " --add-subuids %u-%u", first, last);
		if (gid_count == 0)
			err_add(e, " --add-subgids %u-%u", first, last);
		err_add(e, " %s`", local_name);
	} else {
		snprintf(number, sizeof(number), "%u", (unsigned int)geteuid());
		err_add(e, "`echo '%s:%u:%d' | tee -a %s`", *name != '\0' ? name : number, first,
			COUNT, files);
	}
	err_add(e, ", or %s", only_self);
}

/* ---- newuidmap has failed ---- */

/* Would the program run with the rights to write a map of many IDs? Its own rights only. */
static bool has_rights(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return true;
	return (st.st_uid == 0 && (st.st_mode & S_ISUID) != 0) ||
	       getxattr(path, "security.capability", NULL, 0) > 0;
}

static bool is_nosuid(const char *path)
{
	struct statvfs fs;

	return statvfs(path, &fs) == 0 && (fs.f_flag & ST_NOSUID) != 0;
}

/* The first range that our own user namespace does not have, or NULL. */
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

/* Finds what takes the rights from the program. Returns whether it is that. */
static bool explain_rights(struct err *e, const char *path)
{
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		err_add(e,
			"; no_new_privs is set for this process (NoNewPrivileges= of a service, "
			"no-new-privileges or allowPrivilegeEscalation: false of a container, or a "
			"sandbox), so that no set-UID program works; try without that");
	else if (!has_rights(path))
		err_add(e,
			"; %s is neither set-UID root nor has file capabilities; try, as root, "
			"`chmod u+s %s`",
			path, path);
	else if (is_nosuid(path))
		err_add(e,
			"; %s is on a file system that is mounted nosuid; try to install it "
			"elsewhere, or mount that without nosuid",
			path);
	else if (prctl(PR_CAPBSET_READ, CAP_SETUID, 0, 0, 0) == 0 ||
		 prctl(PR_CAPBSET_READ, CAP_SETGID, 0, 0, 0) == 0)
		err_add(e, "; this process can never get CAP_SETUID and CAP_SETGID; try "
			   "--cap-add=SETUID --cap-add=SETGID for the container");
	else
		return false;
	return true;
}

void idadvice_refused(struct err *e, const char *program, const char *output, const char *map_file,
		      const struct subid_ranges *ranges)
{
	const struct subid_range *missing = find_missing(map_file, ranges);
	char path[PATH_MAX];
	bool is_known = true;

	if (proc_find(program, path, sizeof(path), NULL) < 0)
		err_add(e, "; try to install it (Debian: package uidmap)");
	else if (missing != NULL)
		err_add(e,
			"; this user namespace does not have the IDs %u to %u (%s); try a range "
			"that it has",
			missing->start, missing->start + missing->count - 1, map_file);
	else if (strstr(output, "not allowed") != NULL)
		err_add(e,
			"; %s does not find that range for this user in /etc/sub%cid; try to "
			"correct that file",
			program, program[3]);
	else
		is_known = explain_rights(e, path);
	err_add(e, "%s %s", is_known ? ", or" : "; try", only_self);
}
