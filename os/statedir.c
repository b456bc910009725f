/* SPDX-License-Identifier: Apache-2.0 */
/* The state directory. See statedir.h.
 *
 * The lock. A launcher that ends removes its directory, while another launcher may be opening it.
 * The other one would then lock a file that no longer has a name. So after it has locked the file,
 * it checks that this is still the file in the directory, and starts over if not.
 *
 * The end. The lock file is unlinked while it is locked: if the lock were released first, another
 * launcher could take it. On NFS and FUSE that leaves a file .nfs* or .fuse_hidden* until the
 * descriptor is closed, or a moment longer. So the directory is removed in several attempts, for
 * REMOVE_MS.
 */
#include "os/statedir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "os/safedir.h"
#include "os/stateclear.h"
#include "os/statefiles.h"

#define PRIVATE_MODE   0700
#define OPEN_MS	       3000  /* limit of all attempts while other launchers are ending */
#define CLEAR_MS       60000 /* limit for removing the content, which usually takes no time */
#define REMOVE_MS      1000  /* for file systems that remove closed files a little later */
#define REMOVE_STEP_NS 5000000
#define NAME_TRIES     100
#define RANDOM_LEN     6

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
		return err_sys(e, errno,
			       "current directory (try another one, or an absolute --state-dir)");
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

/* ---- the lock ---- */

/* The PID of the launcher that holds the lock: the parent of the process in child_pid. 0 if it is
 * unknown, for example while that launcher starts. */
static int find_holder(const struct statedir *sd)
{
	char path[32], text[512];
	const char *after;
	mode_t mode;
	int holder = 0;
	pid_t child = statefiles_child_pid(sd->dir_fd, &mode);

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

/* Appends what to do about a directory of the user in which nothing can be made. */
static void explain_denied(const struct statedir *sd, int errnum, struct err *e)
{
	err_add_room(e, errnum);
	if (errnum == EACCES)
		err_add(e, "; try `chmod u+rwx %s`, or another --state-dir", sd->path);
	else if (errnum == EROFS)
		err_add(e, "; try another --state-dir");
}

/* Takes the lock. Returns 0, -EAGAIN if the directory or the lock was removed meanwhile, or -errno
 * with a reason. */
static int lock(struct statedir *sd, struct err *e)
{
	struct stat ours, there;

	sd->lock_fd = openat(sd->dir_fd, STATE_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
			     STATE_LOCK_MODE);
	if (sd->lock_fd < 0 && errno == ENOENT)
		return -EAGAIN;
	if (sd->lock_fd < 0) {
		int why = errno;

		/* The first part is RootlessKit's. */
		err_sys(e, why, "failed to lock %s/" STATE_LOCK ": open %s/" STATE_LOCK, sd->path,
			sd->path);
		explain_denied(sd, why, e);
		return err_add_room(e, -why);
	}
	if (flock(sd->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		int why = errno;

		fd_close(&sd->lock_fd);
		/* EWOULDBLOCK equals EAGAIN, but here it must not cause another attempt. */
		if (why == EWOULDBLOCK)
			return refuse_second(sd, e);
		/* For example NFS without a lock service. If there was no lock file before, we have
		 * made this one. */
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
	fchmod(sd->lock_fd, STATE_LOCK_MODE);
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

/* Refuses a directory that is not a launcher's. Sets *deep if a launcher has run its command in it,
 * so that all of its content may be removed. */
static int refuse_foreign(struct statedir *sd, bool *deep, struct err *e)
{
	char name[NAME_MAX + 1];
	struct stat lock;
	int found;

	sd->keeps_leftovers = fstatat(sd->dir_fd, STATE_LOCK, &lock, AT_SYMLINK_NOFOLLOW) < 0;
	found = statefiles_check(sd->dir_fd, deep, name, sizeof(name));
	if (found == 0)
		return 0;
	if (found < 0)
		return err_sys(e, -found, "reading state directory %s", sd->path);
	return err_set(e, EEXIST,
		       "state directory %s holds %s, which is not a launcher's: choose an empty "
		       "--state-dir, or remove what is in it",
		       sd->path, name);
}

/* Opens the directory for reading, and keeps its parent and name for the removal. */
static int keep_place(struct statedir *sd, struct safedir *d, struct err *e)
{
	sd->dir_fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sd->dir_fd < 0) {
		int r = err_sys(e, errno, "open %s", sd->path);

		explain_denied(sd, -r, e);
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

/* `--state-dir=$XDG_RUNTIME_DIR/x` without that variable means /x. */
static const char *explain_top(const char *path, int reason)
{
	bool at_top = strrchr(path, '/') == path;

	return at_top && (reason == -EACCES || reason == -EROFS)
		       ? " (is a variable in it, such as $XDG_RUNTIME_DIR, empty?)"
		       : "";
}

static int open_given(struct statedir *sd, const char *given, struct err *e)
{
	struct safedir d;
	int r = make_absolute(sd->path, given, e);

	if (r == 0)
		r = check_length(sd->path, e);
	if (r < 0)
		return r;
	if (strcmp(given, "~") == 0 || strncmp(given, "~/", strlen("~/")) == 0)
		log_warn("the state directory is %s, since no shell expands ~ behind an equals "
			 "sign; try --state-dir=$HOME/...",
			 sd->path);
	r = safedir_open(&d, sd->path, true, e);
	if (r < 0 && r != -EAGAIN)
		err_add(e, "; try another --state-dir%s", explain_top(sd->path, r));
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

/* Closes all descriptors, which also releases the lock. */
static void close_fds(struct statedir *sd)
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

static struct stateclear content_of(const struct statedir *sd, bool deep)
{
	return (struct stateclear){ .dir_fd = sd->dir_fd,
				    .deep = deep,
				    .keeps_leftovers = sd->keeps_leftovers };
}

static int clear(const struct statedir *sd, bool deep, int within_ms, struct err *e)
{
	const struct stateclear content = content_of(sd, deep);

	return stateclear(&content, within_ms, e);
}

/* Removes what we have made and closes the descriptors, after a failure whose reason is already
 * set. */
static void undo(struct statedir *sd)
{
	/* A directory that we have just made contains only the lock. */
	if (sd->lock_fd >= 0 && (sd->is_made || statefiles_are_cleared(sd->dir_fd)))
		unlinkat(sd->dir_fd, STATE_LOCK, 0);
	if (sd->is_made && is_in_place(sd) > 0)
		unlinkat(sd->parent_fd, sd->name, AT_REMOVEDIR);
	close_fds(sd);
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

/* Removes files that the command has created as other users of its user namespace. */
static bool clear_in_userns(const struct statedir *sd)
{
	const struct stateclear content = content_of(sd, true);

	return stateclear_in_userns(&content, sd->userns_fd, CLEAR_MS);
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
		close_fds(sd);
		return;
	}
	r = unlinkat(sd->dir_fd, STATE_LOCK, 0) < 0 && errno != ENOENT ? -errno : 0;
	fd_close(&sd->lock_fd);
	if (r == 0)
		r = remove_dir(sd);
	if (r < 0)
		log_warn("state directory %s stays: %s", sd->path,
			 err_text(-r, text, sizeof(text)));
	close_fds(sd);
}
