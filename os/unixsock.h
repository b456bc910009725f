/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_UNIXSOCK_H
#define OS_UNIXSOCK_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/err.h"

/* UNIX stream sockets (unix(7)). Nothing here blocks. */

/* Fills the address of a path. Returns 0, or -ENAMETOOLONG. */
int unixsock_address(struct sockaddr_un *address, const char *path);

/* Returns a non-blocking socket that listens on `path`, where nothing may be yet, or -errno with a
 * reason. Its mode is that of a new file: only this user can connect to it. */
int unixsock_listen(const char *path, struct err *e);

/* Returns a non-blocking socket that is connected to `to`, or -errno: -EAGAIN when too many wait
 * there, -EMFILE and the like when there is no descriptor. */
int unixsock_connect(const struct sockaddr_un *to);

/* Is the process at the other end one of this user, or root of this user namespace
 * (SO_PEERCRED)? */
bool unixsock_is_same_user(int fd);

#endif
