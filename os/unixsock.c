/* SPDX-License-Identifier: Apache-2.0 */
#include "os/unixsock.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "os/sockopt.h"

int unixsock_address(struct sockaddr_un *address, const char *path)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	strcpy(address->sun_path, path);
	return 0;
}

int unixsock_listen(const char *path, int type, struct err *e)
{
	struct sockaddr_un address;
	FD_AUTO int fd = -1;
	int r = unixsock_address(&address, path);

	if (r == 0) {
		fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		    listen(fd, SOCKOPT_BACKLOG) < 0)
			r = -errno;
	}
	if (r == 0)
		return fd_take(&fd);
	return err_add_room(e, err_sys(e, -r, "listening on %s", path));
}

int unixsock_connect(const struct sockaddr_un *to)
{
	FD_AUTO int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0)
		return -errno;
	sockopt_oob_inline(fd);
	return fd_take(&fd);
}

bool unixsock_is_same_user(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	return peer.uid == geteuid() || peer.uid == 0;
}
