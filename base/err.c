/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"

/* Clients and scripts search for these exact words, so they must not depend on the libc. */
static const struct {
	int errnum;
	const char *text;
} words[] = {
	{ EPERM, "operation not permitted" },
	{ ENOENT, "no such file or directory" },
	{ ESRCH, "no such process" },
	{ EIO, "input/output error" },
	{ ENXIO, "no such device or address" },
	{ E2BIG, "argument list too long" },
	{ ENOEXEC, "exec format error" },
	{ EBADF, "bad file descriptor" },
	{ ECHILD, "no child processes" },
	{ EAGAIN, "resource temporarily unavailable" },
	{ ENOMEM, "cannot allocate memory" },
	{ EACCES, "permission denied" },
	{ EBUSY, "device or resource busy" },
	{ EEXIST, "file exists" },
	{ EXDEV, "invalid cross-device link" },
	{ ENODEV, "no such device" },
	{ ENOTDIR, "not a directory" },
	{ EISDIR, "is a directory" },
	{ EINVAL, "invalid argument" },
	{ ENFILE, "too many open files in system" },
	{ EMFILE, "too many open files" },
	{ ENOTTY, "inappropriate ioctl for device" },
	{ ETXTBSY, "text file busy" },
	{ ENOSPC, "no space left on device" },
	{ EROFS, "read-only file system" },
	{ EPIPE, "broken pipe" },
	{ ENAMETOOLONG, "file name too long" },
	{ ENOSYS, "function not implemented" },
	{ ENOTEMPTY, "directory not empty" },
	{ ELOOP, "too many levels of symbolic links" },
	{ EPROTO, "protocol error" },
	{ EUSERS, "too many users" },
	{ EAFNOSUPPORT, "address family not supported by protocol" },
	{ EPROTONOSUPPORT, "protocol not supported" },
	{ EOPNOTSUPP, "operation not supported" },
	{ EADDRINUSE, "address already in use" },
	{ EADDRNOTAVAIL, "cannot assign requested address" },
	{ ENETDOWN, "network is down" },
	{ ENETUNREACH, "network is unreachable" },
	{ ECONNABORTED, "software caused connection abort" },
	{ ECONNRESET, "connection reset by peer" },
	{ ENOBUFS, "no buffer space available" },
	{ ENOTCONN, "transport endpoint is not connected" },
	{ ETIMEDOUT, "connection timed out" },
	{ ECONNREFUSED, "connection refused" },
	{ EHOSTUNREACH, "no route to host" },
};

int err_add_room(struct err *e, int r)
{
	if (r == -ENOSPC || r == -EDQUOT)
		err_add(e, "; try another TMPDIR, or --state-dir, or make room there");
	return r;
}

const char *err_text(int errnum, char *buf, int len)
{
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		if (words[i].errnum == errnum) {
			snprintf(buf, (size_t)len, "%s", words[i].text);
			return buf;
		}
	}
	snprintf(buf, (size_t)len, "%s", strerror(errnum));
	/* Lowercase "Permission denied", but not the acronym in "RFS specific error". */
	if (len > 1 && buf[0] != '\0' && islower((unsigned char)buf[1]))
		buf[0] = (char)tolower((unsigned char)buf[0]);
	return buf;
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	if (e != NULL) {
		va_start(ap, fmt);
		vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
		va_end(ap);
	}
	return -code;
}

int err_sys(struct err *e, int errnum, const char *fmt, ...)
{
	char why[128];
	va_list ap;

	if (e != NULL) {
		va_start(ap, fmt);
		vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
		va_end(ap);
		err_add(e, ": %s", err_text(errnum, why, sizeof(why)));
	}
	return -errnum;
}

void err_wrap(struct err *e, const char *fmt, ...)
{
	char old[ERR_LEN];
	va_list ap;

	if (e == NULL)
		return;
	memcpy(old, e->msg, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	err_add(e, ": %s", old);
}

void err_add(struct err *e, const char *fmt, ...)
{
	size_t len;
	va_list ap;

	if (e == NULL)
		return;
	len = strlen(e->msg);
	va_start(ap, fmt);
	vsnprintf(e->msg + len, sizeof(e->msg) - len, fmt, ap);
	va_end(ap);
}
