/* SPDX-License-Identifier: Apache-2.0 */
/* The state directory. See statedir.h.
 *
 * A launcher that ends removes its directory while another may just be opening it: the second one
 * would hold the lock of a file that nobody can find. So after locking it looks whether the lock
 * file is still the one in the directory, and starts again if not.
 */
#include "statedir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "fd.h"
#include "log.h"

#define DIR_MODE  0755
#define LOCK_MODE 0600
#define OPEN_MS	  3000 /* for all tries against launchers that are just ending */
#define LOOKS	  5    /* that all would have to catch a launcher in between */

/* What a launcher makes. The lock comes last: it is removed last. */
static const char *const own_files[] = {
	STATE_CHILD_PID,    STATE_API_SOCKET, STATE_BP_SOCKET, STATE_BP_READY,
	STATE_SLIRP_SOCKET, STATE_NETNS,      STATE_HOSTS,     STATE_RESOLV,
	STATE_ASIDE,	    STATE_NEW,	      STATE_NET_READY, STATE_LOCK,
};

#define OWN_FILE_COUNT (sizeof(own_files) / sizeof(own_files[0]))

const char *statedir_path(const char *dir, const char *name, char *buf)
{
	snprintf(buf, PATH_MAX, "%s/%s", dir, name);
	return buf;
}

/* ---- opening ---- */

static int make_absolute(char *path, const char *given, struct err *e)
{
	char cwd[PATH_MAX] = "";
	size_t len;
	int n;

	if (*given == '\0')
		return err_set(e, EINVAL, "--state-dir is empty");
	if (*given != '/' && getcwd(cwd, sizeof(cwd)) == NULL)
		return err_sys(e, errno, "current directory");
	n = snprintf(path, PATH_MAX, "%s%s%s", cwd, *given == '/' ? "" : "/", given);
	if (n >= PATH_MAX)
		return err_set(e, ENAMETOOLONG,
			       "state directory path is too long: %d bytes: choose a shorter "
			       "--state-dir (%s)",
			       n, given);
	for (len = (size_t)n; len > 1 && path[len - 1] == '/'; len--)
		path[len - 1] = '\0';
	return 0;
}

static int check_length(const char *path, struct err *e)
{
	/* The longest name of a socket in it. */
	const size_t max = sizeof(((struct sockaddr_un *)0)->sun_path) - 1 -
			   strlen("/" STATE_SLIRP_SOCKET);

	if (strlen(path) <= max)
		return 0;
	return err_set(e, ENAMETOOLONG,
		       "state directory path is too long for the sockets in it: %zu bytes, at most "
		       "%zu: choose a shorter --state-dir (%s)",
		       strlen(path), max, path);
}

static bool is_there(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

/* Makes a directory and those above it. */
static int make_dirs(char *path, struct err *e)
{
	for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		int why;

		*slash = '\0';
		why = mkdir(path, DIR_MODE) < 0 ? errno : 0;
		if (why != 0 && why != EEXIST && !is_there(path)) {
			int r = err_sys(e, why, "mkdir %s", path);

			*slash = '/';
			return r;
		}
		*slash = '/';
	}
	if (mkdir(path, DIR_MODE) < 0 && errno != EEXIST)
		return err_sys(e, errno, "mkdir %s", path);
	return 0;
}

static int make_temporary(char *path, struct err *e)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(path, PATH_MAX, "%s/rootlesskitXXXXXX", tmp != NULL && *tmp == '/' ? tmp : "/tmp");
	if (mkdtemp(path) == NULL)
		return err_sys(e, errno, "mkdir %s", path);
	return 0;
}

static bool is_own(const char *name)
{
	for (size_t i = 0; i < OWN_FILE_COUNT; i++)
		if (strcmp(own_files[i], name) == 0)
			return true;
	return false;
}

/* Is everything in the directory of a launcher's making? Returns 0, 1 with the name of what is
 * not, or -errno. */
static int find_foreign(int dir_fd, char *name, size_t cap)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int found = 0;

	if (dir == NULL) {
		fd_close(&fd);
		return -errno;
	}
	while (found == 0 && (entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (!is_own(entry->d_name)) {
			snprintf(name, cap, "%s", entry->d_name);
			found = 1;
		}
	}
	closedir(dir);
	return found;
}

/* Files by a launcher's names but without a lock, which comes first and goes last, are somebody
 * else's, and a lock with something in it is none. Returns 0, 1 with a name, or -errno. */
static int find_unlocked(int dir_fd, char *name, size_t cap)
{
	struct stat lock, st;

	if (fstatat(dir_fd, STATE_LOCK, &lock, AT_SYMLINK_NOFOLLOW) == 0) {
		snprintf(name, cap, "a file " STATE_LOCK " with content");
		return S_ISREG(lock.st_mode) && lock.st_size > 0;
	}
	for (size_t i = 0; i < OWN_FILE_COUNT; i++) {
		if (fstatat(dir_fd, own_files[i], &st, AT_SYMLINK_NOFOLLOW) == 0) {
			snprintf(name, cap, "%s without a lock", own_files[i]);
			return 1;
		}
	}
	return 0;
}

static int refuse_foreign(const struct statedir *sd, struct err *e)
{
	char name[NAME_MAX + 1];
	int found = find_foreign(sd->dir_fd, name, sizeof(name));

	/* A launcher that is just starting or ending may be caught in between, but not each time.
	 */
	for (int i = 0; found == 0 && i < LOOKS; i++)
		if (find_unlocked(sd->dir_fd, name, sizeof(name)) == 0)
			return 0;
	if (found < 0)
		return err_sys(e, -found, "reading state directory %s", sd->path);
	return err_set(e, EEXIST,
		       "state directory %s holds %s, which is not a launcher's: choose an empty "
		       "--state-dir, or remove what is in it",
		       sd->path, name);
}

/* Takes the lock. Returns 0, -EAGAIN if the directory went away meanwhile, or -errno. */
static int lock(struct statedir *sd, struct err *e)
{
	struct stat ours, there;

	sd->lock_fd = openat(sd->dir_fd, STATE_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
			     LOCK_MODE);
	if (sd->lock_fd < 0 && errno == ENOENT)
		return -EAGAIN;
	if (sd->lock_fd < 0)
		return err_sys(e, errno, "open %s/" STATE_LOCK, sd->path);
	if (flock(sd->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		int why = errno;

		fd_close(&sd->lock_fd);
		if (why != EWOULDBLOCK)
			return err_sys(e, why, "lock %s/" STATE_LOCK, sd->path);
		/* EWOULDBLOCK is EAGAIN, and this is not to be tried again. */
		return err_set(e, EBUSY,
			       "failed to lock %s/" STATE_LOCK ": another RootlessKit is running "
			       "with the same state directory",
			       sd->path);
	}
	if (fstat(sd->lock_fd, &ours) < 0 ||
	    fstatat(sd->dir_fd, STATE_LOCK, &there, AT_SYMLINK_NOFOLLOW) < 0 ||
	    ours.st_ino != there.st_ino) {
		fd_close(&sd->lock_fd);
		return -EAGAIN;
	}
	return 0;
}

/* Removes everything of a launcher's making, the lock only if asked. What cannot be removed does
 * not keep the rest; the first is the error. */
static int clear(const struct statedir *sd, bool with_lock, struct err *e)
{
	size_t count = with_lock ? OWN_FILE_COUNT : OWN_FILE_COUNT - 1;
	int r = 0;

	for (size_t i = 0; i < count; i++) {
		if (unlinkat(sd->dir_fd, own_files[i], 0) == 0 || errno == ENOENT)
			continue;
		if (errno == EISDIR && unlinkat(sd->dir_fd, own_files[i], AT_REMOVEDIR) == 0)
			continue;
		if (r == 0)
			r = err_sys(e, errno, "remove %s/%s", sd->path, own_files[i]);
	}
	return r;
}

/* Whoever owns the directory could put their own sockets in the place of ours. */
static int refuse_others(const struct statedir *sd, struct err *e)
{
	struct stat st;

	if (fstat(sd->dir_fd, &st) < 0)
		return err_sys(e, errno, "state directory %s", sd->path);
	if (st.st_uid == geteuid())
		return 0;
	return err_set(e, EPERM, "state directory %s belongs to user %u: choose one of your own",
		       sd->path, (unsigned int)st.st_uid);
}

static bool is_link(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

/* `fresh`: we have just made it, by a name that nobody knows. */
static int open_dir(struct statedir *sd, bool fresh, struct err *e)
{
	int why = 0;
	int r;

	sd->dir_fd = open(sd->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sd->dir_fd < 0)
		why = errno;
	if (why == ENOENT && is_link(sd->path))
		return err_sys(e, why, "state directory %s is a link: its target", sd->path);
	if (why == ENOENT)
		return -EAGAIN;
	if (why != 0)
		return err_sys(e, why, "mkdir %s", sd->path);
	r = refuse_others(sd, e);
	if (r == 0 && !fresh)
		r = refuse_foreign(sd, e);
	if (r == 0)
		r = lock(sd, e);
	if (r < 0)
		fd_close(&sd->dir_fd);
	return r;
}

static void let_go(struct statedir *sd)
{
	fd_close(&sd->lock_fd);
	fd_close(&sd->dir_fd);
}

/* After a failure that has been told already. */
static void undo(struct statedir *sd)
{
	struct err ignored;

	if (clear(sd, true, &ignored) == 0)
		rmdir(sd->path);
	let_go(sd);
}

int statedir_open(struct statedir *sd, const char *given, struct err *e)
{
	const unsigned long long until_ms = fd_now_ms() + OPEN_MS;
	int r;

	*sd = (struct statedir){ .dir_fd = -1, .lock_fd = -1 };
	do {
		if (given == NULL) {
			r = make_temporary(sd->path, e);
		} else {
			r = make_absolute(sd->path, given, e);
			if (r == 0)
				r = check_length(sd->path, e);
			if (r == 0)
				r = make_dirs(sd->path, e);
		}
		if (r == 0)
			r = open_dir(sd, given == NULL, e);
		/* One that we have just made is of use to nobody else. */
		if (r < 0 && given == NULL)
			rmdir(sd->path);
	} while (r == -EAGAIN && fd_now_ms() < until_ms);
	if (r == -EAGAIN)
		r = err_sys(e, ENOENT, "state directory %s", sd->path);
	if (r == 0 && given == NULL)
		r = check_length(sd->path, e);
	if (r == 0 && given != NULL)
		r = clear(sd, false, e);
	if (r < 0 && sd->lock_fd >= 0)
		undo(sd);
	else if (r == 0)
		/* A failure only means that the directory may be tidied away after weeks. */
		flock(sd->dir_fd, LOCK_SH | LOCK_NB);
	return r;
}

static void remove_dir(const struct statedir *sd)
{
	char name[NAME_MAX + 1];
	char text[128];
	int why;

	if (rmdir(sd->path) == 0 || errno == ENOENT)
		return;
	why = errno;
	if (find_foreign(sd->dir_fd, name, sizeof(name)) > 0)
		log_warn("state directory %s stays: it holds %s", sd->path, name);
	else
		log_warn("state directory %s stays: %s", sd->path,
			 err_text(why, text, sizeof(text)));
}

void statedir_remove(struct statedir *sd)
{
	struct err e;

	if (sd->dir_fd < 0)
		return;
	if (clear(sd, true, &e) < 0)
		log_warn("state directory: %s", e.msg);
	else
		remove_dir(sd);
	let_go(sd);
}

/* ---- files ---- */

static int write_new(const char *path, mode_t mode, const char *text, struct err *e)
{
	FD_AUTO int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	int r = 0;

	if (fd < 0)
		return err_sys(e, errno, "creating %s", path);
	if (fchmod(fd, mode) < 0)
		r = -errno;
	if (r == 0)
		r = fd_write_all(fd, text, strlen(text));
	if (r < 0) {
		unlink(path);
		return err_sys(e, -r, "writing %s", path);
	}
	return 0;
}

int statedir_write(const char *dir, const char *name, mode_t mode, const char *text, struct err *e)
{
	char new_path[PATH_MAX];
	char path[PATH_MAX];
	int r = write_new(statedir_path(dir, STATE_NEW, new_path), mode, text, e);

	if (r < 0)
		return r;
	if (rename(new_path, statedir_path(dir, name, path)) < 0) {
		r = err_sys(e, errno, "creating %s", path);
		unlink(new_path);
	}
	return r;
}
