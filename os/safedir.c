/* SPDX-License-Identifier: Apache-2.0 */
/* Walks a path that other users cannot change. See safedir.h.
 *
 * `rest` is the part of the path that is still to be walked: "" or "/" and components. The target
 * of a symbolic link is put in front of it. The last `caller_len` bytes of `rest` are the end of
 * the caller's own path. So an error message can name the part of that path that has been walked.
 * And a missing directory is made only if the caller has named it, not if only a link leads there.
 */
#include "os/safedir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "os/proc.h"

#define DIR_MODE	  0755
#define DIR_FLAGS	  (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define MAX_LINKS	  40 /* the kernel's limit, path_resolution(7) */
#define GETENT_TIMEOUT_MS 10000
#define GETENT_LEN	  16384
#define MAX_DATABASE	  (16U << 20) /* bytes; larger /etc/passwd and /etc/group are not read */
#define LINE_LEN	  1024
#define OVERFLOW_UID	  65534 /* the kernel's default */
#define ALL_IDS		  4294967295U
#define FD_PATH_LEN	  32

/* ---- users and groups ---- */

static bool is_initial_user_namespace(void)
{
	unsigned int inside, outside, count;
	char text[128];

	return fd_read_file("/proc/self/uid_map", text, sizeof(text)) < 0 ||
	       (sscanf(text, "%u %u %u", &inside, &outside, &count) == 3 && inside == 0 &&
		outside == 0 && count == ALL_IDS);
}

/* Is this the UID of a user who is not mapped into our user namespace? The kernel shows such a UID
 * as the overflow UID, which a mapped user may have, too. */
static bool is_unmapped(uid_t uid)
{
	unsigned long overflow = OVERFLOW_UID;
	char text[32];

	if (fd_read_file("/proc/sys/kernel/overflowuid", text, sizeof(text)) > 0)
		overflow = strtoul(text, NULL, 10);
	return uid == overflow && !is_initial_user_namespace();
}

static bool is_trusted(uid_t uid)
{
	return uid == 0 || uid == geteuid() || is_unmapped(uid);
}

/* Finds the line of passwd(5) or group(5) text whose third field is `id`, and copies it to
 * line[cap]. */
static bool find_line(const char *text, uint32_t id, char *line, size_t cap)
{
	for (; *text != '\0'; text += *text == '\n') {
		size_t len = strcspn(text, "\n");
		const char *field;
		char *end;

		snprintf(line, cap, "%.*s", (int)len, text);
		text += len;
		field = strchr(line, ':');
		field = field != NULL ? strchr(field + 1, ':') : NULL;
		if (field != NULL && strtoul(field + 1, &end, 10) == id && *end == ':' &&
		    end != field + 1)
			return true;
	}
	return false;
}

/* Looks up an ID in the database `passwd` or `group`: first in the file, then with getent(1), which
 * also asks directory services. The C library's own functions would load modules into a static
 * program. May block for GETENT_TIMEOUT_MS. */
static bool look_up(const char *database, uint32_t id, char *line, size_t cap)
{
	char path[32], key[16], name[16], program[] = "getent";
	char *argv[] = { program, name, key, NULL };
	char output[GETENT_LEN];
	char *text;
	size_t len;
	bool found;

	snprintf(path, sizeof(path), "/etc/%s", database);
	text = fd_load_file(path, MAX_DATABASE, &len);
	found = text != NULL && find_line(text, id, line, cap);
	free(text);
	if (found)
		return true;
	snprintf(name, sizeof(name), "%s", database);
	snprintf(key, sizeof(key), "%u", (unsigned int)id);
	return proc_run(argv, output, sizeof(output), GETENT_TIMEOUT_MS, NULL) == 0 &&
	       find_line(output, id, line, cap);
}

/* Does another user in /etc/passwd have this primary group? Does not ask directory services, which
 * do not always list their users. */
static bool is_anothers_primary_group(gid_t gid)
{
	size_t len;
	char *text = fd_load_file("/etc/passwd", MAX_DATABASE, &len);
	const char *line = text;
	bool found = false;

	while (line != NULL && !found) {
		unsigned int uid, primary;

		line += *line == '\n';
		found = sscanf(line, "%*[^:\n]:%*[^:\n]:%u:%u:", &uid, &primary) == 2 &&
			primary == gid && uid != geteuid();
		line = strchr(line, '\n');
	}
	free(text);
	return found;
}

/* Is our user the only member of this group? By convention such a group has the user's name or
 * number. */
static bool is_own_group(gid_t gid)
{
	char group[LINE_LEN], user[LINE_LEN];
	const char *members;
	size_t len;

	if (gid != getegid() || is_anothers_primary_group(gid))
		return false;
	if (!look_up("group", gid, group, sizeof(group)))
		return gid == geteuid();
	if (!look_up("passwd", geteuid(), user, sizeof(user)))
		user[0] = '\0';
	len = strcspn(user, ":");
	members = strrchr(group, ':') + 1;
	if (*members != '\0' && (strlen(members) != len || strncmp(members, user, len) != 0))
		return false;
	return gid == geteuid() || (strcspn(group, ":") == len && strncmp(group, user, len) == 0);
}

/* With an access control list, the mode's group bits are the mask for all of its named users and
 * groups (acl(5)). */
static bool has_acl(int fd)
{
	char path[FD_PATH_LEN];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return getxattr(path, "system.posix_acl_access", NULL, 0) > 0;
}

bool safedir_is_shared(int fd, const struct stat *st, const char **who)
{
	*who = "others";
	if ((st->st_mode & S_IWOTH) != 0)
		return true;
	*who = "its group";
	if ((st->st_mode & S_IWGRP) == 0)
		return false;
	return has_acl(fd) || (st->st_gid != 0 && !is_own_group(st->st_gid));
}

/* ---- the walk ---- */

struct walk {
	const char *path;	 /* the caller's path */
	char rest[2 * PATH_MAX]; /* still to be walked from `fd` on */
	size_t caller_len;	 /* the last bytes of `rest`, which come from `path` */
	int fd;
	struct stat st; /* status of fd */
	int links;
	bool make;
};

/* The length of the part of `path` that has been walked, with the current component. */
static int shown_len(const struct walk *w)
{
	int len = (int)(strlen(w->path) - w->caller_len);

	return len > 1 && w->path[len - 1] == '/' ? len - 1 : len;
}

static int fail(const struct walk *w, int why, struct err *e)
{
	return err_sys(e, why, "mkdir %.*s", shown_len(w), w->path);
}

/* The real path of an open directory, for messages. */
static const char *real_name(int fd, char *buf, size_t cap)
{
	char path[FD_PATH_LEN];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, buf, cap - 1);
	snprintf(n < 0 ? buf : buf + n, n < 0 ? cap : 1, "%s", n < 0 ? "a directory above it" : "");
	return buf;
}

/* Checks that no other user can replace the entries of the current directory. Returns 0, or -errno
 * with a reason. */
static int check_dir(struct walk *w, struct err *e)
{
	char name[PATH_MAX];
	const char *who;

	if (fstat(w->fd, &w->st) < 0)
		return fail(w, errno, e);
	if (!is_trusted(w->st.st_uid))
		return err_set(e, EPERM,
			       "directory %s is not safe: %s belongs to user %u, who could replace "
			       "what is "
			       "in it",
			       w->path, real_name(w->fd, name, sizeof(name)),
			       (unsigned int)w->st.st_uid);
	if ((w->st.st_mode & S_ISVTX) != 0 || !safedir_is_shared(w->fd, &w->st, &who))
		return 0;
	real_name(w->fd, name, sizeof(name));
	return err_set(
		e, EPERM,
		"directory %s is not safe: %s may be written by %s and has no sticky bit, so that "
		"users could replace what is in it (`chmod %s %s` helps)",
		w->path, name, who, *who == 'o' ? "o-w" : "g-w", name);
}

/* Makes `fd`, which is taken, the current directory, and checks it. */
static int enter(struct walk *w, int fd, struct err *e)
{
	fd_close(&w->fd);
	w->fd = fd;
	return check_dir(w, e);
}

static int start_at_root(struct walk *w, struct err *e)
{
	int fd = open("/", DIR_FLAGS);

	return fd < 0 ? fail(w, errno, e) : enter(w, fd, e);
}

static int prepend_target(struct walk *w, const char *target, struct err *e)
{
	size_t target_len = strlen(target);
	size_t len = strlen(w->rest);

	if (++w->links > MAX_LINKS)
		return fail(w, ELOOP, e);
	if (target_len + len >= sizeof(w->rest))
		return fail(w, ENAMETOOLONG, e);
	memmove(w->rest + target_len, w->rest, len + 1);
	memcpy(w->rest, target, target_len);
	return *target == '/' ? start_at_root(w, e) : 0;
}

/* Puts the target of the symbolic link `name` in front of `rest`. */
static int follow(struct walk *w, const char *name, struct err *e)
{
	FD_AUTO int fd = openat(w->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char target[PATH_MAX];
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fail(w, errno, e);
	if (!S_ISLNK(st.st_mode))
		return fail(w, ENOTDIR, e);
	if ((w->st.st_mode & (S_IWGRP | S_IWOTH)) != 0 && !is_trusted(st.st_uid))
		return err_set(
			e, EPERM,
			"directory %s is not safe: %.*s is a symbolic link of user %u, who could "
			"replace it",
			w->path, shown_len(w), w->path, (unsigned int)st.st_uid);
	n = readlinkat(fd, "", target, sizeof(target) - 1);
	if (n <= 0)
		return fail(w, n < 0 ? errno : ENOENT, e);
	target[n] = '\0';
	return prepend_target(w, target, e);
}

/* Is the next component from the caller's own path, not from a link's target? */
static bool is_next_from_caller(const struct walk *w)
{
	return strlen(w->rest) - strspn(w->rest, "/") <= w->caller_len;
}

/* Removes the first component from `rest` and copies it to name[cap]. Returns false at the end. */
static bool take_name(struct walk *w, char *name, size_t cap)
{
	const char *begin = w->rest + strspn(w->rest, "/");
	size_t len = strcspn(begin, "/");
	const char *next = begin + len;
	size_t left = strlen(next) - strspn(next, "/");

	snprintf(name, cap, "%.*s", (int)len, begin);
	memmove(w->rest, next, strlen(next) + 1);
	if (left < w->caller_len)
		w->caller_len = left;
	return len > 0;
}

/* Makes a missing directory and sets *is_made. `from_caller`: the caller named it, not a link. */
static int make_missing(struct walk *w, const char *name, bool from_caller, bool *is_made,
			struct err *e)
{
	if (!w->make)
		return fail(w, ENOENT, e);
	if (!from_caller)
		return err_sys(e, ENOENT, "directory %.*s is a link: its target", shown_len(w),
			       w->path);
	if (mkdirat(w->fd, name, DIR_MODE) == 0)
		*is_made = true;
	else if (errno != EEXIST)
		return fail(w, errno, e);
	return 0;
}

/* Removes the directory again after a failure, such as running out of descriptors. Preserves
 * errno. */
static void remove_made_dir(const struct walk *w, const char *name, bool is_made)
{
	int saved = errno;

	if (is_made)
		unlinkat(w->fd, name, AT_REMOVEDIR);
	errno = saved;
}

/* Opens one component as a directory, and makes it if it is missing. Returns 0 and sets *fd, to -1
 * if the component is not a directory; or -errno with a reason; or -EAGAIN if it was removed at the
 * same moment. */
static int open_component(struct walk *w, const char *name, bool from_caller, int *fd,
			  bool *is_made, struct err *e)
{
	int r;

	*is_made = false;
	*fd = openat(w->fd, name, DIR_FLAGS);
	if (*fd < 0 && errno == ENOENT) {
		r = make_missing(w, name, from_caller, is_made, e);
		if (r < 0)
			return r;
		*fd = openat(w->fd, name, DIR_FLAGS);
		if (*fd < 0 && errno == ENOENT)
			return -EAGAIN;
		if (*fd < 0)
			remove_made_dir(w, name, *is_made);
	}
	if (*fd < 0 && errno != ENOTDIR && errno != ELOOP)
		return fail(w, errno, e);
	return 0;
}

/* Records the parent and name of the last component, unless it was reached through a link or is
 * "..". Returns 0 or -errno. */
static int note_parent(const struct walk *w, struct safedir *d, const char *name, bool from_caller)
{
	safedir_close(d);
	if (!from_caller || strcmp(name, "..") == 0)
		return 0;
	d->name = strdup(name);
	d->parent_fd = fcntl(w->fd, F_DUPFD_CLOEXEC, 0);
	return d->name != NULL && d->parent_fd >= 0 ? 0 : -errno;
}

/* Walks one component. Returns 0, -errno with a reason, or -EAGAIN as open_component. */
static int step(struct walk *w, struct safedir *d, const char *name, bool from_caller,
		struct err *e)
{
	FD_AUTO int fd = -1;
	bool is_made;
	int r = open_component(w, name, from_caller, &fd, &is_made, e);

	if (r < 0)
		return r;
	if (fd < 0)
		return follow(w, name, e);
	if (note_parent(w, d, name, from_caller) < 0) {
		remove_made_dir(w, name, is_made);
		return fail(w, errno, e);
	}
	d->is_made = is_made;
	r = enter(w, fd_take(&fd), e);
	if (r < 0 && is_made)
		unlinkat(d->parent_fd, name, AT_REMOVEDIR);
	return r;
}

int safedir_open(struct safedir *d, const char *path, bool make, struct err *e)
{
	struct walk w = { .path = path, .fd = -1, .make = make };
	char name[PATH_MAX];
	bool from_caller;
	int r;

	*d = (struct safedir)SAFEDIR_INIT;
	if (strlen(path) >= PATH_MAX)
		return err_sys(e, ENAMETOOLONG, "mkdir");
	strcpy(w.rest, path);
	w.caller_len = strlen(path) - strspn(path, "/");
	r = start_at_root(&w, e);
	while (r == 0) {
		from_caller = is_next_from_caller(&w);
		if (!take_name(&w, name, sizeof(name)))
			break;
		r = step(&w, d, name, from_caller, e);
	}
	if (r == 0)
		d->fd = fd_take(&w.fd);
	else
		safedir_close(d);
	fd_close(&w.fd);
	return r;
}

void safedir_close(struct safedir *d)
{
	fd_close(&d->fd);
	fd_close(&d->parent_fd);
	free(d->name);
	d->name = NULL;
}
