/* SPDX-License-Identifier: Apache-2.0 */
/* The state directory. See statedir.h.
 *
 * The lock. A launcher that ends removes its directory, and another may be opening it at the same
 * time. That one would then lock a file that no longer has a name. So after locking it checks that
 * the lock file is still the one in the directory, and starts over if not.
 *
 * The marks. The lock file and child_pid show that a directory belongs to a launcher. The lock file
 * is made first and removed last. The command, which may create files with any name, runs only
 * after child_pid has been written. So a directory without child_pid and with any other names is
 * refused. child_pid is removed just before the lock file. Both stay if something else in the
 * directory cannot be removed: they tell the next launcher that it may try.
 *
 * The end. The lock file is unlinked while it is locked: if the lock were released first, another
 * launcher could take it. On NFS and FUSE that leaves a file .nfs* or .fuse_hidden* until the
 * descriptor is closed, or a moment longer. So rmdir(2) is retried for REMOVE_MS.
 */
#include "os/statedir.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "os/proc.h"
#include "os/rmtree.h"
#include "os/safedir.h"

#define PRIVATE_MODE   0700
#define LOCK_MODE      0600
#define MODE_BITS      07777
#define OPEN_MS	       3000  /* limit of all attempts while other launchers are ending */
#define LOOKS	       5     /* attempts before a half-made directory is taken for a foreign one */
#define CLEAR_MS       60000 /* limit for removing the content, which usually takes no time */
#define REMOVE_MS      1000  /* for file systems that remove closed files a little later */
#define REMOVE_STEP_NS 5000000
#define NAME_TRIES     100
#define RANDOM_LEN     6
#define GVISOR_DIR     "gvisortapvsock" /* RootlessKit's; contains tap.sock */
#define LEFTOVER_LEN   16		/* minimum of hex digits; NFS has 24 */
#define PID_LEN	       16		/* bytes of a decimal PID with the NUL */

/* The names that a launcher creates: rlkbox or RootlessKit. */
static const char *const own_files[] = {
	STATE_CHILD_PID, STATE_API_SOCKET,	 STATE_BP_SOCKET,
	STATE_BP_READY,	 STATE_SLIRP_SOCKET,	 STATE_NETNS,
	STATE_HOSTS,	 STATE_RESOLV,		 STATE_COPY_UP_TMP,
	STATE_NEW,	 STATE_NET_READY,	 STATE_LOCK,
	GVISOR_DIR,	 "vpnkit-ethernet.sock", ".pasta.sock",
};

#define OWN_FILE_COUNT COUNT_OF(own_files)

/* NFS and FUSE rename an open file to such a name when it is unlinked. */
static const char *const leftover_prefixes[] = { ".nfs", ".fuse_hidden" };

const char *statedir_path(const char *dir, const char *name, char *buf)
{
	snprintf(buf, PATH_MAX, "%s/%s", dir, name);
	return buf;
}

/* ---- paths ---- */

/* Removes ".", ".." and superfluous slashes from an absolute path as Go's filepath.Clean does: by
 * the text alone, without resolving symbolic links. */
static void clean_path(char *path)
{
	char *out = path;
	const char *in = path;

	while (*in != '\0') {
		size_t len;

		in += strspn(in, "/");
		len = strcspn(in, "/");
		if (len == 2 && strncmp(in, "..", len) == 0) {
			while (out > path && *--out != '/')
				;
		} else if (len > 0 && !(len == 1 && *in == '.')) {
			*out++ = '/';
			memmove(out, in, len);
			out += len;
		}
		in += len;
	}
	if (out == path)
		*out++ = '/';
	*out = '\0';
}

static int make_absolute(char *path, const char *given, struct err *e)
{
	char cwd[PATH_MAX] = "";
	int n;

	if (*given != '/' && getcwd(cwd, sizeof(cwd)) == NULL)
		return err_sys(e, errno, "current directory");
	n = snprintf(path, PATH_MAX, "%s%s%s", cwd, *given == '/' ? "" : "/", given);
	if (n >= PATH_MAX)
		return err_set(e, ENAMETOOLONG,
			       "state directory path is too long: %d bytes: choose a shorter "
			       "--state-dir (%s)",
			       n, given);
	clean_path(path);
	return 0;
}

static int check_length(const char *path, struct err *e)
{
	/* The longest name of a socket in the directory. */
	const size_t max = sizeof(((struct sockaddr_un *)0)->sun_path) - 1 -
			   strlen("/" STATE_SLIRP_SOCKET);

	if (strlen(path) <= max)
		return 0;
	return err_set(e, ENAMETOOLONG,
		       "state directory path is too long for the sockets in it: %zu bytes, at most "
		       "%zu: choose a shorter --state-dir (%s)",
		       strlen(path), max, path);
}

/* ---- checking an existing directory ---- */

static bool is_leftover(const char *name)
{
	for (size_t i = 0; i < COUNT_OF(leftover_prefixes); i++) {
		size_t len = strlen(leftover_prefixes[i]);

		if (strncmp(name, leftover_prefixes[i], len) == 0) {
			size_t digits = strspn(name + len, "0123456789abcdefABCDEF");

			return digits >= LEFTOVER_LEN && name[len + digits] == '\0';
		}
	}
	return false;
}

static bool is_own(const char *name)
{
	for (size_t i = 0; i < OWN_FILE_COUNT; i++)
		if (strcmp(own_files[i], name) == 0)
			return true;
	return is_leftover(name);
}

/* Is there a name that launchers do not use? Returns 0, 1 with the name, or -errno. */
static int find_foreign(int dir_fd, char *name, size_t cap)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int found;

	if (dir == NULL) {
		fd_close(&fd);
		return -errno;
	}
	while ((entry = fd_next_entry(dir)) != NULL && is_own(entry->d_name))
		;
	if (entry != NULL)
		snprintf(name, cap, "%s", entry->d_name);
	found = entry != NULL ? 1 : -errno;
	closedir(dir);
	return found;
}

/* Is there a socket or FIFO with one of a launcher's names? */
static bool has_socket(int dir_fd)
{
	struct stat st;

	for (size_t i = 0; i < OWN_FILE_COUNT; i++)
		if (fstatat(dir_fd, own_files[i], &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    (S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode)))
			return true;
	return false;
}

/* Finds files with a launcher's names that belong to somebody else. A launcher creates an empty
 * lock of mode LOCK_MODE first and removes it last. So our names belong to somebody else if the
 * lock is missing or has content, and also if it has another mode, unless there is a socket.
 * Returns 0, or 1 with a description in `name`. */
static int find_unlocked(int dir_fd, char *name, size_t cap)
{
	struct stat lock, st;
	bool has_lock = fstatat(dir_fd, STATE_LOCK, &lock, AT_SYMLINK_NOFOLLOW) == 0;

	if (has_lock && S_ISREG(lock.st_mode) && lock.st_size > 0) {
		snprintf(name, cap, "a file " STATE_LOCK " with content");
		return 1;
	}
	if (has_lock && (!S_ISREG(lock.st_mode) || (lock.st_mode & MODE_BITS) == LOCK_MODE ||
			 has_socket(dir_fd)))
		return 0;
	for (size_t i = 0; i < OWN_FILE_COUNT; i++) {
		if (strcmp(own_files[i], STATE_LOCK) == 0 ||
		    fstatat(dir_fd, own_files[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (has_lock)
			snprintf(name, cap, "%s beside a lock of mode %04o", own_files[i],
				 (unsigned int)(lock.st_mode & MODE_BITS));
		else
			snprintf(name, cap, "%s without a lock", own_files[i]);
		return 1;
	}
	return 0;
}

/* Reads the PID in child_pid and sets *mode to the mode of the file. Returns the PID, or 0 if the
 * file is missing or not a launcher's. */
static pid_t read_child_pid(int dir_fd, mode_t *mode)
{
	FD_AUTO int fd = openat(dir_fd, STATE_CHILD_PID,
				O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char text[PID_LEN];
	struct stat st;
	char *end;
	long pid;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
	    st.st_size >= PID_LEN || fd_read_text(fd, text, sizeof(text)) <= 0)
		return 0;
	pid = strtol(text, &end, 10);
	*mode = st.st_mode;
	return isdigit((unsigned char)text[0]) && (*end == '\0' || strcmp(end, "\n") == 0)
		       ? (pid_t)pid
		       : 0;
}

/* Has a launcher run its command with this directory? Then its lock is empty and its child_pid
 * contains a PID. If the lock is missing, child_pid must be read-only. */
static bool is_launchers(int dir_fd)
{
	mode_t pid_mode = 0;
	bool has_pid = read_child_pid(dir_fd, &pid_mode) > 0;
	struct stat lock;

	if (fstatat(dir_fd, STATE_LOCK, &lock, AT_SYMLINK_NOFOLLOW) < 0)
		return has_pid && (pid_mode & (S_IWUSR | S_IWGRP | S_IWOTH)) == 0;
	return has_pid && S_ISREG(lock.st_mode) && lock.st_size == 0 && lock.st_uid == geteuid();
}

/* Refuses a directory that is not a launcher's. Sets *deep if a launcher has run its command in it,
 * so that all of its content may be removed. */
static int refuse_foreign(struct statedir *sd, bool *deep, struct err *e)
{
	char name[NAME_MAX + 1];
	struct stat lock;
	int found = 0;

	sd->keeps_leftovers = fstatat(sd->dir_fd, STATE_LOCK, &lock, AT_SYMLINK_NOFOLLOW) < 0;
	/* A launcher that is just starting or ending may be seen half-made, but not each time. */
	for (int i = 0; i < LOOKS; i++) {
		*deep = is_launchers(sd->dir_fd);
		if (*deep)
			return 0;
		found = find_foreign(sd->dir_fd, name, sizeof(name));
		if (found == 0 && find_unlocked(sd->dir_fd, name, sizeof(name)) == 0)
			return 0;
	}
	if (found < 0)
		return err_sys(e, -found, "reading state directory %s", sd->path);
	return err_set(e, EEXIST,
		       "state directory %s holds %s, which is not a launcher's: choose an empty "
		       "--state-dir, or remove what is in it",
		       sd->path, name);
}

struct clearing {
	bool deep; /* also non-empty directories, and names that launchers do not use */
	bool keeps_leftovers;
	bool with_child_pid;
};

static enum rmtree_how how_to_clear(const char *name, const void *arg)
{
	const struct clearing *c = arg;

	if (strcmp(name, STATE_LOCK) == 0 ||
	    (strcmp(name, STATE_CHILD_PID) == 0 && !c->with_child_pid))
		return RMTREE_KEEP;
	if (is_leftover(name))
		return c->keeps_leftovers ? RMTREE_KEEP : RMTREE_TRY;
	if (!c->deep && !is_own(name))
		return RMTREE_KEEP;
	if (strcmp(name, GVISOR_DIR) == 0)
		return RMTREE_DEEP;
	/* The content of a directory being copied up was mounted here: it is the user's. */
	if (strcmp(name, STATE_COPY_UP_TMP) == 0 || !c->deep)
		return RMTREE_FLAT;
	return RMTREE_DEEP;
}

/* Removes everything but the lock; with `deep` also files that the command has created. Removes
 * child_pid last, and only if everything else is gone. */
static int clear(const struct statedir *sd, bool deep, int within_ms, struct err *e)
{
	const unsigned long long until_ms = clock_now_ms() + (unsigned long long)within_ms;
	struct clearing c = { .deep = deep, .keeps_leftovers = sd->keeps_leftovers };
	int r = rmtree_clear(sd->dir_fd, how_to_clear, &c, until_ms, e);

	if (r == -ETIMEDOUT)
		return err_set(e, ETIMEDOUT,
			       "it does not get empty within %d ms: is a process "
			       "making files in it?",
			       within_ms);
	if (r < 0 || unlinkat(sd->dir_fd, STATE_CHILD_PID, 0) == 0 || errno == ENOENT)
		return r;
	/* The command may have replaced it by a directory. */
	c.with_child_pid = true;
	return rmtree_clear(sd->dir_fd, how_to_clear, &c, until_ms, e);
}

/* Are the lock and leftovers the only entries? */
static bool is_cleared(const struct statedir *sd)
{
	char name[NAME_MAX + 1];
	struct stat st;

	for (size_t i = 0; i < OWN_FILE_COUNT; i++)
		if (strcmp(own_files[i], STATE_LOCK) != 0 &&
		    fstatat(sd->dir_fd, own_files[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
			return false;
	return find_foreign(sd->dir_fd, name, sizeof(name)) == 0;
}

/* ---- the lock ---- */

/* The PID of the launcher that holds the lock: the parent of the process in child_pid. 0 if it is
 * unknown, as while that launcher starts. */
static int find_holder(const struct statedir *sd)
{
	char path[32], text[512];
	const char *after;
	mode_t mode;
	int holder = 0;
	pid_t child = read_child_pid(sd->dir_fd, &mode);

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)child);
	if (child <= 0 || fd_read_file(path, text, sizeof(text)) < 0)
		return 0;
	/* The line is PID (NAME) STATE PPID; NAME may contain any characters. */
	after = strrchr(text, ')');
	return after != NULL && sscanf(after, ") %*c %d", &holder) == 1 ? holder : 0;
}

static int refuse_second(const struct statedir *sd, struct err *e)
{
	int holder = find_holder(sd);

	err_set(e, EBUSY,
		"failed to lock %s/" STATE_LOCK ", another RootlessKit is running with the same "
		"state directory?",
		sd->path);
	if (holder > 0)
		err_add(e, " (PID %d)", holder);
	err_add(e, "; try another --state-dir, or end that one");
	return -EBUSY;
}

/* Sets the reason to "ACTION DIR/NAME: reason", with advice if the file system is full. Returns
 * -errnum. */
static int fail(struct err *e, int errnum, const char *action, const char *dir, const char *name)
{
	err_sys(e, errnum, "%s %s/%s", action, dir, name);
	err_add_room(e, errnum);
	return -errnum;
}

/* Takes the lock. Returns 0, -EAGAIN if the directory or the lock was removed meanwhile, or -errno
 * with a reason. */
static int lock(struct statedir *sd, struct err *e)
{
	struct stat ours, there;

	sd->lock_fd = openat(sd->dir_fd, STATE_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
			     LOCK_MODE);
	if (sd->lock_fd < 0 && errno == ENOENT)
		return -EAGAIN;
	if (sd->lock_fd < 0)
		return fail(e, errno, "open", sd->path, STATE_LOCK);
	if (flock(sd->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		int why = errno;

		fd_close(&sd->lock_fd);
		/* EWOULDBLOCK equals EAGAIN, but here it must not cause another attempt. */
		if (why == EWOULDBLOCK)
			return refuse_second(sd, e);
		/* For example NFS without a lock service. If there was no lock file before, it is
		 * ours. */
		if (sd->is_made || sd->keeps_leftovers)
			unlinkat(sd->dir_fd, STATE_LOCK, 0);
		return err_sys(e, why, "lock %s/" STATE_LOCK, sd->path);
	}
	if (fstat(sd->lock_fd, &ours) < 0 ||
	    fstatat(sd->dir_fd, STATE_LOCK, &there, AT_SYMLINK_NOFOLLOW) < 0 ||
	    ours.st_ino != there.st_ino) {
		fd_close(&sd->lock_fd);
		return -EAGAIN;
	}
	/* The mode marks the lock as a launcher's, so the umask must not change it. */
	fchmod(sd->lock_fd, LOCK_MODE);
	return 0;
}

/* ---- opening ---- */

/* Refuses a directory of another user, or one that others may write to: they could put their own
 * sockets in the place of ours. */
static int refuse_others(const struct statedir *sd, struct err *e)
{
	struct stat st;
	const char *who;

	if (fstat(sd->dir_fd, &st) < 0)
		return err_sys(e, errno, "state directory %s", sd->path);
	if (st.st_uid != geteuid())
		return err_set(e, EPERM,
			       "state directory %s belongs to user %u: choose one of your own",
			       sd->path, (unsigned int)st.st_uid);
	if (!safedir_is_shared(sd->dir_fd, &st, &who))
		return 0;
	return err_set(e, EPERM,
		       "state directory %s may be written by %s; try `chmod go-w %s`, or another "
		       "--state-dir",
		       sd->path, who, sd->path);
}

/* Opens the directory for reading, and records its parent and name for the removal. */
static int keep_place(struct statedir *sd, struct safedir *d, struct err *e)
{
	sd->dir_fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sd->dir_fd < 0) {
		int r = err_sys(e, errno, "mkdir %s", sd->path);

		if (d->is_made)
			unlinkat(d->parent_fd, d->name, AT_REMOVEDIR);
		return r;
	}
	sd->is_made = d->is_made;
	if (d->name == NULL)
		return 0;
	snprintf(sd->name, sizeof(sd->name), "%s", d->name);
	sd->parent_fd = fd_take(&d->parent_fd);
	return 0;
}

static int open_given(struct statedir *sd, const char *given, struct err *e)
{
	struct safedir d;
	int r = make_absolute(sd->path, given, e);

	if (r == 0)
		r = check_length(sd->path, e);
	if (r < 0)
		return r;
	r = safedir_open(&d, sd->path, true, e);
	if (r < 0 && r != -EAGAIN)
		err_add(e, "; try another --state-dir");
	if (r == 0)
		r = keep_place(sd, &d, e);
	safedir_close(&d);
	return r;
}

static void choose_name(char *name, size_t cap)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	unsigned char random[RANDOM_LEN];
	size_t len = (size_t)snprintf(name, cap, "rootlesskit");
	struct timespec now;

	if (getrandom(random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random)) {
		/* Only a different name for each launcher is needed, not one that is hard to
		 * guess. */
		clock_gettime(CLOCK_MONOTONIC, &now);
		for (size_t i = 0; i < sizeof(random); i++)
			random[i] = (unsigned char)((now.tv_nsec >> (4 * i)) ^ getpid());
	}
	for (size_t i = 0; i < sizeof(random) && len + 1 < cap; i++)
		name[len++] = letters[random[i] % (sizeof(letters) - 1)];
	name[len] = '\0';
}

/* Makes a directory with a new name in sd->parent_fd. */
static int make_named(struct statedir *sd, struct err *e)
{
	const size_t len = strlen(sd->path);
	int r = -EEXIST;

	for (int i = 0; r == -EEXIST && i < NAME_TRIES; i++) {
		choose_name(sd->name, sizeof(sd->name));
		snprintf(sd->path + len, sizeof(sd->path) - len, "%s%s", len > 1 ? "/" : "",
			 sd->name);
		r = mkdirat(sd->parent_fd, sd->name, PRIVATE_MODE) < 0 ? -errno : 0;
	}
	if (r < 0)
		return err_sys(e, -r, "mkdir %s", sd->path);
	sd->is_made = true;
	sd->dir_fd = openat(sd->parent_fd, sd->name,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (sd->dir_fd < 0) {
		r = err_sys(e, errno, "open %s", sd->path);
		unlinkat(sd->parent_fd, sd->name, AT_REMOVEDIR);
	}
	return r;
}

static int open_temporary(struct statedir *sd, struct err *e)
{
	const char *tmp = getenv("TMPDIR");
	bool is_given = tmp != NULL && *tmp == '/';
	struct safedir d = SAFEDIR_INIT;
	int r = make_absolute(sd->path, is_given ? tmp : "/tmp", e);

	if (r == 0) {
		r = safedir_open(&d, sd->path, false, e);
		sd->parent_fd = fd_take(&d.fd);
		safedir_close(&d);
	}
	if (r == 0)
		r = make_named(sd, e);
	if (r < 0)
		err_add(e, is_given ? "; try another TMPDIR, or --state-dir"
				    : "; try TMPDIR or --state-dir with a directory of your own");
	return r < 0 ? r : check_length(sd->path, e);
}

static void let_go(struct statedir *sd)
{
	fd_close(&sd->lock_fd);
	fd_close(&sd->dir_fd);
	fd_close(&sd->parent_fd);
	fd_close(&sd->userns_fd);
	fd_close(&sd->spare_fd);
}

/* Is the directory still at its place? Returns 1, 0 or -errno. */
static int is_in_place(const struct statedir *sd)
{
	struct stat ours, there;

	if (sd->parent_fd < 0)
		return 0;
	if (fstat(sd->dir_fd, &ours) < 0)
		return -errno;
	if (fstatat(sd->parent_fd, sd->name, &there, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	return ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

/* Removes what we have made and closes the descriptors, after a failure whose reason is already
 * set. */
static void undo(struct statedir *sd)
{
	/* A directory that we have just made contains only the lock. */
	if (sd->lock_fd >= 0 && (sd->is_made || is_cleared(sd)))
		unlinkat(sd->dir_fd, STATE_LOCK, 0);
	if (sd->is_made && is_in_place(sd) > 0)
		unlinkat(sd->parent_fd, sd->name, AT_REMOVEDIR);
	let_go(sd);
}

/* Makes one attempt to open and lock the directory. After a failure the caller calls undo(). */
static int open_and_lock(struct statedir *sd, const char *given, bool *deep, struct err *e)
{
	int r = given == NULL ? open_temporary(sd, e) : open_given(sd, given, e);

	if (r == 0)
		r = refuse_others(sd, e);
	if (r == 0 && !sd->is_made)
		r = refuse_foreign(sd, deep, e);
	return r < 0 ? r : lock(sd, e);
}

int statedir_open(struct statedir *sd, const char *given, struct err *e)
{
	const unsigned long long until_ms = clock_now_ms() + OPEN_MS;
	bool deep = false;
	int r;

	if (given != NULL && *given == '\0')
		given = NULL;
	do {
		*sd = (struct statedir)STATEDIR_INIT;
		r = open_and_lock(sd, given, &deep, e);
		if (r < 0)
			undo(sd);
	} while (r == -EAGAIN && clock_now_ms() < until_ms);
	if (r == -EAGAIN)
		r = err_sys(e, ENOENT, "state directory %s", sd->path);
	if (r < 0)
		return r;
	r = clear(sd, deep, CLEAR_MS, e);
	if (r == -ETIMEDOUT)
		err_wrap(e, "state directory %s", sd->path);
	/* Files of subordinate IDs can only be removed in a user namespace. */
	if (r == -EACCES || r == -EPERM)
		err_add(e, "; try `rootlesskit rm -rf %s`", sd->path);
	if (r == 0) {
		sd->spare_fd = fcntl(sd->dir_fd, F_DUPFD_CLOEXEC, 0);
		r = sd->spare_fd < 0 ? err_sys(e, errno, "state directory %s", sd->path) : 0;
	}
	if (r < 0)
		undo(sd);
	else
		/* If this fails, systemd-tmpfiles may remove files in the directory after weeks. */
		flock(sd->dir_fd, LOCK_SH | LOCK_NB);
	return r;
}

/* ---- removing ---- */

/* Removes the empty directory. Returns 0 or -errno; also 0 if the directory was moved or another
 * launcher has taken it. */
static int remove_dir(const struct statedir *sd)
{
	const struct timespec step = { .tv_nsec = REMOVE_STEP_NS };
	const unsigned long long until_ms = clock_now_ms() + REMOVE_MS;
	struct stat st;

	for (;;) {
		int r = is_in_place(sd);
		int why;

		if (r <= 0 || unlinkat(sd->parent_fd, sd->name, AT_REMOVEDIR) == 0)
			return r < 0 ? r : 0;
		why = errno;
		if (why == ENOENT || fstatat(sd->dir_fd, STATE_LOCK, &st, AT_SYMLINK_NOFOLLOW) == 0)
			return 0;
		if ((why != ENOTEMPTY && why != EEXIST) || clock_now_ms() >= until_ms)
			return -why;
		nanosleep(&step, NULL);
	}
}

/* Clears the directory in a process of its own. Processes that are left inside have every
 * capability over a process that joins their user namespace, and this one is in the host's network
 * namespace and holds our descriptors. So make it not dumpable first: then only a process with
 * capabilities on the host may trace it or look at it in /proc (ptrace(2), access mode checking).
 */
static bool join_and_clear(const struct statedir *sd)
{
	return prctl(PR_SET_DUMPABLE, 0) == 0 && setns(sd->userns_fd, CLONE_NEWUSER) == 0 &&
	       clear(sd, true, CLEAR_MS, NULL) == 0;
}

/* Removes files that the command has created as other users of its user namespace: only root of
 * that namespace may do that. Blocks until it is done. Returns whether only the lock is left. */
static bool clear_in_userns(const struct statedir *sd)
{
	pid_t pid = sd->userns_fd < 0 ? -1 : fork();

	if (pid == 0)
		_exit(join_and_clear(sd) ? 0 : 1);
	return pid > 0 && proc_wait(pid) == 0;
}

bool statedir_clear(const struct statedir *sd, int within_ms)
{
	return sd->dir_fd < 0 || clear(sd, true, within_ms, NULL) != -ETIMEDOUT;
}

void statedir_remove(struct statedir *sd)
{
	char text[128];
	struct err e;
	int r;

	if (sd->dir_fd < 0)
		return;
	fd_close(&sd->spare_fd);
	r = clear(sd, true, CLEAR_MS, &e);
	if (r < 0 && !((r == -EACCES || r == -EPERM) && clear_in_userns(sd))) {
		log_warn("state directory %s stays: %s", sd->path, e.msg);
		let_go(sd);
		return;
	}
	r = unlinkat(sd->dir_fd, STATE_LOCK, 0) < 0 && errno != ENOENT ? -errno : 0;
	fd_close(&sd->lock_fd);
	if (r == 0)
		r = remove_dir(sd);
	if (r < 0)
		log_warn("state directory %s stays: %s", sd->path,
			 err_text(-r, text, sizeof(text)));
	let_go(sd);
}

/* ---- files ---- */

static int write_new(int dir_fd, mode_t mode, const char *text)
{
	FD_AUTO int fd = openat(dir_fd, STATE_NEW,
				O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	int r = 0;

	if (fd < 0)
		return -errno;
	if (fchmod(fd, mode) < 0)
		r = -errno;
	if (r == 0)
		r = fd_write_all(fd, text, strlen(text));
	if (r < 0)
		unlinkat(dir_fd, STATE_NEW, 0);
	return r;
}

int statedir_write_at(int dir_fd, const char *dir, const char *name, mode_t mode, const char *text,
		      struct err *e)
{
	int r = write_new(dir_fd, mode, text);

	if (r == -EEXIST)
		return err_sys(e, EEXIST, "creating %s/" STATE_NEW, dir);
	if (r == 0 && renameat(dir_fd, STATE_NEW, dir_fd, name) < 0) {
		r = -errno;
		unlinkat(dir_fd, STATE_NEW, 0);
	}
	return r < 0 ? fail(e, -r, "creating", dir, name) : 0;
}

int statedir_write(const char *dir, const char *name, mode_t mode, const char *text, struct err *e)
{
	FD_AUTO int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, errno, "creating %s/%s", dir, name);
	return statedir_write_at(fd, dir, name, mode, text, e);
}
