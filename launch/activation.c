/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/activation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "os/proc.h"

int activation_count(struct err *e)
{
	const char *pid = getenv("LISTEN_PID");
	const char *fds = getenv("LISTEN_FDS");
	long count;

	if (pid == NULL || fds == NULL || strtol(pid, NULL, 10) != (long)getpid())
		return 0;
	count = strtol(fds, NULL, 10);
	if (count < 0 || count > PROC_MAX_FDS)
		return err_set(e, EINVAL, "LISTEN_FDS=%s: 0 to %d descriptors can be passed on",
			       fds, PROC_MAX_FDS);
	for (int fd = FD_FIRST; fd < FD_FIRST + (int)count; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			return err_sys(e, errno, "LISTEN_FDS=%s, but descriptor %d", fds, fd);
	return (int)count;
}
