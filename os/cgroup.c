/* SPDX-License-Identifier: Apache-2.0 */
#include "os/cgroup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

#define OWN_PATH      "/proc/self/cgroup"
#define MOUNTS_PATH   "/proc/self/mountinfo"
#define TEXT_LEN      (PATH_MAX + 4096) /* bytes of OWN_PATH, which has a line for each hierarchy */
#define LIST_LEN      256		/* bytes of a list of controller names */
#define PID_LEN	      16
#define SUBGROUP_MODE 0755
/* The most passes over a cgroup. One is not enough: a process that is forked during a pass stays in
 * the cgroup. */
#define MOVE_ROUNDS   10

/* ---- parsing ---- */

bool cgroup_parse_own(const char *text, char *path, size_t cap)
{
	static const char key[] = "0::";

	while (text != NULL && strncmp(text, key, sizeof(key) - 1) != 0) {
		text = strchr(text, '\n');
		text = text == NULL ? NULL : text + 1;
	}
	if (text == NULL)
		return false;
	text += sizeof(key) - 1;
	return text[0] == '/' &&
	       (size_t)snprintf(path, cap, "%.*s", (int)strcspn(text, "\n"), text) < cap;
}

/* Decodes the octal escapes of proc_pid_mountinfo(5), such as "\040" for a blank, in place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from != '\0'; to++) {
		unsigned int byte;

		if (*from == '\\' && sscanf(from + 1, "%3o", &byte) == 1) {
			*to = (char)byte;
			from += strlen("\\040");
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* Example of a line: 36 35 0:26 /root /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw */
bool cgroup_parse_mount(const char *line, const char *path, char *dir, size_t cap)
{
	char root[PATH_MAX], point[PATH_MAX];
	const char *type = strstr(line, " - ");
	size_t len;

	if (type == NULL || strncmp(type, " - cgroup2 ", strlen(" - cgroup2 ")) != 0)
		return false;
	/* %4095s: PATH_MAX with the NUL */
	if (sscanf(line, "%*s %*s %*s %4095s %4095s", root, point) != 2)
		return false;
	unescape(root);
	unescape(point);
	/* A path outside of our cgroup namespace begins with "/..". */
	if (strncmp(path, "/..", 3) == 0)
		return false;
	len = strcmp(root, "/") == 0 ? 0 : strlen(root);
	if (strncmp(path, root, len) != 0 || (path[len] != '/' && path[len] != '\0'))
		return false;
	path += len;
	return (size_t)snprintf(dir, cap, "%s%s", point, strcmp(path, "/") == 0 ? "" : path) < cap;
}

/* ---- files ---- */

/* Finds the directory of our own cgroup. Returns false if it cannot be reached. */
static bool find_own(char *dir, size_t cap)
{
	char text[TEXT_LEN], path[PATH_MAX];
	FILE *mounts;
	char *line = NULL;
	size_t size = 0;
	bool found = false;

	if (fd_read_file(OWN_PATH, text, sizeof(text)) < 0 ||
	    !cgroup_parse_own(text, path, sizeof(path)))
		return false;
	mounts = fopen(MOUNTS_PATH, "re");
	if (mounts == NULL)
		return false;
	while (!found && getline(&line, &size, mounts) >= 0)
		found = cgroup_parse_mount(line, path, dir, cap);
	free(line);
	fclose(mounts);
	return found;
}

bool cgroup_has_file(const char *name)
{
	char dir[PATH_MAX], path[PATH_MAX + NAME_MAX];
	struct stat st;

	if (!find_own(dir, sizeof(dir)))
		return false;
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return lstat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

bool cgroup_is_evacuated(const char *name)
{
	char text[TEXT_LEN], path[PATH_MAX];

	return fd_read_file(OWN_PATH, text, sizeof(text)) >= 0 &&
	       cgroup_parse_own(text, path, sizeof(path)) && strcmp(path + 1, name) == 0;
}

static int write_in(const char *dir, const char *file, const char *text, struct err *e)
{
	char path[PATH_MAX + NAME_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	return fd_write_file(path, text, e);
}

static ssize_t read_in(const char *dir, const char *file, char *buf, size_t cap)
{
	char path[PATH_MAX + NAME_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	return fd_read_file(path, buf, cap);
}

/* Is this the root cgroup of the whole system? It is the only one without cgroup.events. It
 * contains the system's processes, and it can enable controllers despite them. */
static bool is_systems_root(const char *dir)
{
	char events[LIST_LEN];

	return read_in(dir, "cgroup.events", events, sizeof(events)) == -ENOENT;
}

static int move(const char *to, pid_t pid, struct err *e)
{
	char text[PID_LEN];

	snprintf(text, sizeof(text), "%d", (int)pid);
	return write_in(to, "cgroup.procs", text, e);
}

/* Moves the processes that are in the cgroup now. Returns how many it has moved. */
static int move_present(const char *from, const char *to)
{
	char path[PATH_MAX + NAME_MAX];
	FILE *procs;
	int pid, moved = 0;

	snprintf(path, sizeof(path), "%s/cgroup.procs", from);
	procs = fopen(path, "re");
	if (procs == NULL)
		return 0;
	/* 0 stands for a process outside of our PID namespace. */
	while (fscanf(procs, "%d", &pid) == 1)
		if (pid > 0 && move(to, pid, NULL) == 0)
			moved++;
	fclose(procs);
	return moved;
}

/* Moves all processes that can be moved. If others stay, enabling a controller fails, and that is
 * logged. */
static void move_all(const char *from, const char *to)
{
	for (int i = 0; i < MOVE_ROUNDS && move_present(from, to) > 0; i++)
		;
}

/* ---- controllers ---- */

static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; (at = strstr(at, word)) != NULL; at += len)
		if ((at == list || at[-1] == ' ') && strchr(" \n", at[len]) != NULL)
			return true;
	return false;
}

static int switch_controller(const char *dir, char sign, const char *name, struct err *e)
{
	char text[LIST_LEN + 1];

	snprintf(text, sizeof(text), "%c%s", sign, name);
	return write_in(dir, "cgroup.subtree_control", text, e);
}

/* Enables controllers one by one: a write that names several fails if one of them is refused. */
static void enable_controllers(struct cgroup_evacuation *c)
{
	char list[LIST_LEN], before[LIST_LEN];
	char *rest;

	if (read_in(c->group, "cgroup.controllers", list, sizeof(list)) < 0 ||
	    read_in(c->group, "cgroup.subtree_control", before, sizeof(before)) < 0)
		return;
	for (char *name = strtok_r(list, " \n", &rest); name != NULL;
	     name = strtok_r(NULL, " \n", &rest)) {
		size_t len = strlen(c->enabled);
		struct err e;

		if (has_word(before, name))
			continue;
		if (switch_controller(c->group, '+', name, &e) < 0)
			log_warn("--evacuate-cgroup2: enabling the controller %s: %s", name, e.msg);
		else
			snprintf(c->enabled + len, sizeof(c->enabled) - len, "%s ", name);
	}
}

/* Disables the controllers that we have enabled. Stops and returns false at the first that is in
 * use. */
static bool disable_controllers(struct cgroup_evacuation *c)
{
	char *rest;

	for (char *name = strtok_r(c->enabled, " ", &rest); name != NULL;
	     name = strtok_r(NULL, " ", &rest))
		if (switch_controller(c->group, '-', name, NULL) < 0)
			return false;
	return true;
}

/* ---- evacuating ---- */

/* Appends advice to the reason why the cgroup cannot be written to. Returns r. */
static int explain(int r, struct err *e)
{
	if (r == -EACCES || r == -EPERM)
		err_add(e, "; this cgroup is not delegated to this user; try `systemd-run --user "
			   "--scope -p Delegate=yes rootlesskit ...`, Delegate=yes in the service, "
			   "or no --evacuate-cgroup2");
	else if (r == -EROFS)
		err_add(e, "; the cgroup hierarchy is read-only, as in a container; try no "
			   "--evacuate-cgroup2");
	return r;
}

int cgroup_evacuate(struct cgroup_evacuation *c, const char *name, pid_t child, struct err *e)
{
	size_t cap = sizeof(c->subgroup);
	int r;

	*c = (struct cgroup_evacuation){ 0 };
	if (!find_own(c->group, sizeof(c->group))) {
		c->group[0] = '\0';
		log_warn("--evacuate-cgroup2=%s: our cgroup is not in a mounted cgroup2 hierarchy; "
			 "nothing is moved",
			 name);
		return 0;
	}
	if ((size_t)snprintf(c->subgroup, cap, "%s/%s", c->group, name) >= cap)
		return err_sys(e, ENAMETOOLONG, "mkdir %s", c->subgroup);
	if (mkdir(c->subgroup, SUBGROUP_MODE) == 0)
		c->is_made = true;
	else if (errno != EEXIST)
		return explain(err_sys(e, errno, "mkdir %s", c->subgroup), e);
	r = move(c->subgroup, child, e);
	if (r == 0)
		r = move(c->subgroup, getpid(), e);
	if (r < 0)
		return explain(r, e);
	if (!is_systems_root(c->group))
		move_all(c->group, c->subgroup);
	enable_controllers(c);
	return 0;
}

void cgroup_restore(struct cgroup_evacuation *c)
{
	/* A subgroup that existed before may contain processes of others. */
	if (!c->is_made || !disable_controllers(c))
		return;
	move_all(c->subgroup, c->group);
	rmdir(c->subgroup);
}
