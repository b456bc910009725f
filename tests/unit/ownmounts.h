/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OWNMOUNTS_H
#define OWNMOUNTS_H

/* A mount namespace of the test's own, in which it may mount. (valgrind wants a source and a type
 * for each mount(2).) */
#include <sched.h>
#include <sys/mount.h>

#include "tests/unit/fixture.h"

static inline bool own_mounts_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

static inline bool own_mounts_map(const char *path, unsigned int inside, unsigned int outside)
{
	char line[64];

	snprintf(line, sizeof(line), "%u %u 1", inside, outside);
	return own_mounts_write(path, line);
}

/* Returns true if a user namespace can be made. If false, the test has been reported as skipped and
 * must return. */
static inline bool need_userns(void)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(unshare(CLONE_NEWUSER) == 0 ? 0 : 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (status != 0)
		fixture_skip("userns", "a user namespace cannot be made");
	return status == 0;
}

/* Moves this process into new user and mount namespaces, and into the namespaces `flags`. The
 * user's own UID becomes `uid`. Returns false if that is not possible. */
static inline bool own_mounts_unshare(int flags, unsigned int uid)
{
	unsigned int own_uid = geteuid();

	return unshare(CLONE_NEWUSER | CLONE_NEWNS | flags) == 0 &&
	       own_mounts_map("/proc/self/uid_map", uid, own_uid);
}

/* Moves this process into new user and mount namespaces, and into the namespaces `flags`
 * (CLONE_NEW*). The user's own UID and GID become `uid` and `gid`. If it returns false, the test
 * must return, as for enter_own_network(). */
static inline bool enter_own_mounts(int flags, unsigned int uid, unsigned int gid)
{
	unsigned int own_gid = getegid();

	if (!fixture_is_forked())
		return false;
	if (!own_mounts_unshare(flags, uid)) {
		fixture_skip("userns", "a user namespace cannot be made");
		return false;
	}
	ck_assert(own_mounts_write("/proc/self/setgroups", "deny"));
	ck_assert(own_mounts_map("/proc/self/gid_map", gid, own_gid));
	ck_assert_int_eq(mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL), 0);
	return true;
}

#endif
