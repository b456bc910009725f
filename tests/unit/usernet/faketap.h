/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FAKETAP_H
#define FAKETAP_H

/* Lets a socket pair stand in for a TAP where the code under test sets the device up: in this
 * program, requests to TAP devices succeed for other files, too, unless the test wants them to
 * fail. */
#include <linux/if_tun.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include "tests/unit/fixture.h"

#define FAKETAP_USO 0x60 /* TUN_F_USO4 | TUN_F_USO6, in headers since Linux 6.2 */

static int faketap_error; /* 0, or the errno of TUNSETVNETHDRSZ */
static bool faketap_lacks_uso;

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (syscall(SYS_ioctl, fd, request, arg) == 0)
		return 0;
	if (errno == ENOTTY && request == TUNSETVNETHDRSZ)
		errno = faketap_error;
	if (errno == ENOTTY && request == TUNSETOFFLOAD)
		errno = faketap_lacks_uso && ((uintptr_t)arg & FAKETAP_USO) != 0 ? EINVAL : 0;
	return errno == 0 ? 0 : -1;
}

static inline void faketap_open(int *tap, int *inside)
{
	const int room = 1 << 20;
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
			 0);
	setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	*tap = fds[0];
	*inside = fds[1];
}

#endif
