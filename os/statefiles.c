/* SPDX-License-Identifier: Apache-2.0 */
/* Which files a state directory has. See statefiles.h.
 *
 * The marks. The lock file and child_pid show that a directory belongs to a launcher. The lock file
 * is made first and removed last. The command, which may create files with any name, runs only
 * after child_pid has been written. So without child_pid, a directory with names that launchers do
 * not use is refused. child_pid is removed just before the lock file. Both stay if something else
 * in the directory cannot be removed: they tell the next launcher that it may remove the rest.
 */
#include "os/statefiles.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "os/atomicfile.h"

#define MODE_BITS    07777
#define LOOKS	     5	/* attempts before a half-made directory is taken for a foreign one */
#define LEFTOVER_LEN 16 /* minimum of hex digits; NFS has 24 */
#define PID_LEN	     16 /* bytes of a decimal PID with the NUL */

/* The names that a launcher creates: rlkbox or RootlessKit. */
static const char *const own_files[] = {
	STATE_CHILD_PID, STATE_API_SOCKET,   STATE_BP_SOCKET,
	STATE_BP_READY,	 STATE_SLIRP_SOCKET, STATE_NETNS,
	STATE_HOSTS,	 STATE_RESOLV,	     STATE_COPY_UP_TMP,
	ATOMICFILE_TMP,	 STATE_NET_READY,    STATE_LOCK,
	STATE_PASTA_DIR, STATE_GVISOR_DIR,   "vpnkit-ethernet.sock",
	".pasta.sock",
};

#define OWN_FILE_COUNT COUNT_OF(own_files)

/* NFS and FUSE rename an open file to such a name when it is unlinked. */
static const char *const leftover_prefixes[] = { ".nfs", ".fuse_hidden" };

bool statefiles_is_leftover(const char *name)
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

bool statefiles_is_own(const char *name)
{
	for (size_t i = 0; i < OWN_FILE_COUNT; i++)
		if (strcmp(own_files[i], name) == 0)
			return true;
	return statefiles_is_leftover(name);
}

int statefiles_find_foreign(int dir_fd, char *name, size_t cap)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int found;

	if (dir == NULL) {
		fd_close(&fd);
		return -errno;
	}
	while ((entry = fd_next_entry(dir)) != NULL && statefiles_is_own(entry->d_name))
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
 * lock of mode STATE_LOCK_MODE first and removes it last. So files with our names belong to
 * somebody else if the lock is missing or has content. The same holds if the lock has another mode,
 * unless there is a socket or FIFO with one of our names. Returns 0, or 1 with a description in
 * `name`. */
static int find_unlocked(int dir_fd, char *name, size_t cap)
{
	struct stat lock, st;
	bool has_lock = fstatat(dir_fd, STATE_LOCK, &lock, AT_SYMLINK_NOFOLLOW) == 0;

	if (has_lock && S_ISREG(lock.st_mode) && lock.st_size > 0) {
		snprintf(name, cap, "a file " STATE_LOCK " with content");
		return 1;
	}
	if (has_lock && (!S_ISREG(lock.st_mode) || (lock.st_mode & MODE_BITS) == STATE_LOCK_MODE ||
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

pid_t statefiles_child_pid(int dir_fd, mode_t *mode)
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

/* Has a launcher run its command with this directory? Then the lock is empty and child_pid contains
 * a PID. If the lock is missing, child_pid must also be read-only. */
static bool has_run_command(int dir_fd)
{
	mode_t pid_mode = 0;
	bool has_pid = statefiles_child_pid(dir_fd, &pid_mode) > 0;
	struct stat lock;

	if (fstatat(dir_fd, STATE_LOCK, &lock, AT_SYMLINK_NOFOLLOW) < 0)
		return has_pid && (pid_mode & (S_IWUSR | S_IWGRP | S_IWOTH)) == 0;
	return has_pid && S_ISREG(lock.st_mode) && lock.st_size == 0 && lock.st_uid == geteuid();
}

int statefiles_check(int dir_fd, bool *deep, char *name, size_t cap)
{
	int found = 0;

	/* A launcher that is just starting or ending may have made or removed only some of its
	 * files. Then the directory looks foreign, but not at each of several looks. */
	for (int i = 0; i < LOOKS; i++) {
		*deep = has_run_command(dir_fd);
		if (*deep)
			return 0;
		found = statefiles_find_foreign(dir_fd, name, cap);
		if (found == 0 && find_unlocked(dir_fd, name, cap) == 0)
			return 0;
	}
	return found < 0 ? found : 1;
}

bool statefiles_are_cleared(int dir_fd)
{
	char name[NAME_MAX + 1];
	struct stat st;

	for (size_t i = 0; i < OWN_FILE_COUNT; i++)
		if (strcmp(own_files[i], STATE_LOCK) != 0 &&
		    fstatat(dir_fd, own_files[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
			return false;
	return statefiles_find_foreign(dir_fd, name, sizeof(name)) == 0;
}
