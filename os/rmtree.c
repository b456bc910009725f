/* SPDX-License-Identifier: Apache-2.0 */
/* Removes a tree. See rmtree.h.
 *
 * Each level of the tree needs one descriptor while it is being cleared. A directory below
 * MAX_DEPTH levels, or one for which there is no descriptor left, is moved to the top directory,
 * and a later pass clears it there. So no tree is too deep.
 */
#include "os/rmtree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define MAX_DEPTH   16
#define MAX_PASSES  256	  /* passes over the top directory; others may keep adding files */
#define MAX_MOVING  65536 /* passes that moved a directory to the top; counted separately */
#define OWNERS_ALL  0700
#define DIR_FLAGS   (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define FD_PATH_LEN 32

struct rmtree {
	int top; /* descriptor of the top directory; borrowed */
	enum rmtree_how (*how)(const char *name, const void *arg);
	const void *arg;
	unsigned long long until_ms;
	bool late;	      /* until_ms has passed */
	unsigned int moved;   /* directories moved to the top, plus names `.deep.N` in use there */
	unsigned int removed; /* removed or moved entries in this pass */
	int result;	      /* -errno of the first failure in this pass */
	struct err *e;
};

/* ---- mounts ---- */

/* linux/openat2.h, Linux 5.6; older systems' headers do not have it. */
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#define NO_XDEV	    0x01
#define NO_SYMLINKS 0x04

struct how {
	uint64_t flags, mode, resolve;
};

/* The ID of the mount that a descriptor is on, or -errno. */
static int mount_id(int fd)
{
	char path[FD_PATH_LEN + sizeof("info")];
	char text[512];
	const char *line;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	n = fd_read_file(path, text, sizeof(text));
	if (n < 0)
		return (int)n;
	line = strstr(text, "mnt_id:");
	return line != NULL ? atoi(line + strlen("mnt_id:")) : -ENOENT;
}

static bool is_shortage(int why)
{
	return why == EMFILE || why == ENFILE;
}

/* Opens a directory (O_PATH) unless it is a mount point. Returns a descriptor, or -errno: -EXDEV if
 * it is a mount point or that cannot be found out. */
static int open_on_same_mount(int dir_fd, const char *name)
{
	const struct how how = { .flags = DIR_FLAGS, .resolve = NO_XDEV | NO_SYMLINKS };
	FD_AUTO int fd = (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));
	int id;

	if (fd >= 0)
		return fd_take(&fd);
	if (errno != ENOSYS && errno != EPERM)
		return -errno;
	fd = openat(dir_fd, name, DIR_FLAGS);
	if (fd < 0)
		return -errno;
	id = mount_id(fd);
	if (is_shortage(-id))
		return id;
	return id >= 0 && id == mount_id(dir_fd) ? fd_take(&fd) : -EXDEV;
}

/* ---- removing ---- */

static void fail(struct rmtree *t, int dir_fd, const char *name, int why)
{
	char link[FD_PATH_LEN];
	char path[PATH_MAX];
	ssize_t n;

	if (t->result < 0)
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir_fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	if (why == EXDEV || why == EBUSY)
		t->result = err_set(t->e, EBUSY, "remove %s/%s: it is mounted or in use", path,
				    name);
	else
		t->result = err_sys(t->e, why, "remove %s/%s", path, name);
}

/* Opens a directory for clearing, after giving its owner all permissions. Returns a descriptor or
 * -errno. */
static int open_for_clearing(int dir_fd, const char *name)
{
	FD_AUTO int path_fd = open_on_same_mount(dir_fd, name);
	char path[FD_PATH_LEN];
	struct stat st;
	int fd;

	if (path_fd < 0)
		return path_fd;
	if (fstat(path_fd, &st) == 0 && (st.st_mode & OWNERS_ALL) != OWNERS_ALL) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
		chmod(path, (st.st_mode & 07777) | OWNERS_ALL);
	}
	fd = openat(path_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static void move_to_top(struct rmtree *t, int dir_fd, const char *name)
{
	char new_name[32];
	int r;

	do {
		snprintf(new_name, sizeof(new_name), ".deep.%u", t->moved++);
		r = renameat(dir_fd, name, t->top, new_name);
	} while (r < 0 && (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR));
	if (r < 0)
		fail(t, dir_fd, name, errno);
	else
		t->removed++;
}

static void clear(struct rmtree *t, int fd, int depth);

/* Removes a directory with its content. `dir_fd` is `depth` levels below the top. */
static void remove_dir(struct rmtree *t, int dir_fd, const char *name, int depth)
{
	FD_AUTO int fd = open_for_clearing(dir_fd, name);

	if (depth == MAX_DEPTH || (depth > 0 && is_shortage(-fd))) {
		move_to_top(t, dir_fd, name);
		return;
	}
	if (fd < 0) {
		fail(t, dir_fd, name, -fd);
		return;
	}
	clear(t, fd_take(&fd), depth + 1);
	if (unlinkat(dir_fd, name, AT_REMOVEDIR) == 0)
		t->removed++;
	else if (errno != ENOENT)
		fail(t, dir_fd, name, errno);
}

static void remove_one(struct rmtree *t, int dir_fd, const char *name, int depth)
{
	enum rmtree_how how = depth == 0 ? t->how(name, t->arg) : RMTREE_DEEP;

	if (how == RMTREE_KEEP)
		return;
	if (unlinkat(dir_fd, name, 0) == 0 ||
	    ((errno == EISDIR || errno == EPERM) && unlinkat(dir_fd, name, AT_REMOVEDIR) == 0)) {
		t->removed++;
		return;
	}
	if (errno == ENOENT || how == RMTREE_TRY)
		return;
	if (how == RMTREE_DEEP && (errno == ENOTEMPTY || errno == EEXIST))
		remove_dir(t, dir_fd, name, depth);
	else
		fail(t, dir_fd, name, errno);
}

/* Is the time up? On tmpfs readdir(3) reaches no end while a process makes files. */
static bool is_late(struct rmtree *t, int fd)
{
	if (!t->late && clock_now_ms() >= t->until_ms) {
		t->late = true;
		fail(t, fd, ".", ETIMEDOUT);
	}
	return t->late;
}

/* Makes one pass over a directory. Takes `fd`, from which nothing must have been read yet. */
static void clear(struct rmtree *t, int fd, int depth)
{
	DIR *dir = fdopendir(fd);
	struct dirent *entry;

	if (dir == NULL) {
		fail(t, fd, ".", errno);
		fd_close(&fd);
		return;
	}
	while (!is_late(t, fd) && (entry = fd_next_entry(dir)) != NULL)
		remove_one(t, fd, entry->d_name, depth);
	if (!t->late && errno != 0)
		fail(t, fd, ".", errno);
	closedir(dir);
}

static void clear_top(struct rmtree *t)
{
	int fd = openat(t->top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	t->removed = 0;
	t->result = 0;
	if (fd < 0)
		fail(t, t->top, ".", errno);
	else
		clear(t, fd, 0);
}

int rmtree_clear(int fd, enum rmtree_how (*how)(const char *name, const void *arg), const void *arg,
		 unsigned long long until_ms, struct err *e)
{
	struct rmtree t = { .top = fd, .how = how, .arg = arg, .until_ms = until_ms, .e = e };
	unsigned int passes = 0, moving = 0;

	/* Repeat until a pass removes nothing: on some file systems readdir(3) skips entries while
	 * others are removed. */
	do {
		unsigned int moved = t.moved;

		clear_top(&t);
		if (t.moved > moved)
			moving++;
		else
			passes++;
	} while (!t.late && t.removed > 0 && passes < MAX_PASSES && moving < MAX_MOVING);
	/* The passes ran out, so entries may be left. */
	if (!t.late && t.removed > 0)
		fail(&t, fd, ".", ENOTEMPTY);
	return t.late ? -ETIMEDOUT : t.result;
}
