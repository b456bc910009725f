/* SPDX-License-Identifier: Apache-2.0 */
#include "os/atomicfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

static int write_new(int dir_fd, mode_t mode, const char *text)
{
	FD_AUTO int fd = openat(dir_fd, ATOMICFILE_TMP,
				O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	int r = 0;

	if (fd < 0)
		return -errno;
	if (fchmod(fd, mode) < 0)
		r = -errno;
	if (r == 0)
		r = fd_write_all(fd, text, strlen(text));
	if (r < 0)
		unlinkat(dir_fd, ATOMICFILE_TMP, 0);
	return r;
}

int atomicfile_write_at(int dir_fd, const char *dir, const char *name, mode_t mode,
			const char *text, struct err *e)
{
	int r = write_new(dir_fd, mode, text);

	if (r == -EEXIST)
		return err_sys(e, EEXIST, "creating %s/" ATOMICFILE_TMP, dir);
	if (r == 0 && renameat(dir_fd, ATOMICFILE_TMP, dir_fd, name) < 0) {
		r = -errno;
		unlinkat(dir_fd, ATOMICFILE_TMP, 0);
	}
	return r < 0 ? err_sys(e, -r, "creating %s/%s", dir, name) : 0;
}

int atomicfile_write(const char *dir, const char *name, mode_t mode, const char *text,
		     struct err *e)
{
	FD_AUTO int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, errno, "creating %s/%s", dir, name);
	return atomicfile_write_at(fd, dir, name, mode, text, e);
}
