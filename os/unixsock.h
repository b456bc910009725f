/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_UNIXSOCK_H
#define OS_UNIXSOCK_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/err.h"

/* UNIX sockets (unix(7)). Nothing here blocks. Any thread. */

/* Fills in the address of a path. Returns 0, or -ENAMETOOLONG. */
int unixsock_address(struct sockaddr_un *address, const char *path);

/* Returns a non-blocking socket of `type`, SOCK_STREAM or SOCK_SEQPACKET, which the caller owns and
 * which listens on `path`, or -errno with a reason. `path` must not exist yet. The umask applies to
 * its mode; connecting needs write permission, so with the usual 022 only this user can connect. */
int unixsock_listen(const char *path, int type, struct err *e);

/* Returns a non-blocking stream socket, which the caller owns, that is connected to `to` and keeps
 * urgent bytes in the stream (sockopt_oob_inline), or -errno: -EAGAIN if the listen backlog is
 * full, -EMFILE or -ENFILE if there is no descriptor left. */
int unixsock_connect(const struct sockaddr_un *to);

/* Does the peer belong to our user, or to root of our user namespace (SO_PEERCRED)? */
bool unixsock_is_same_user(int fd);

#endif
