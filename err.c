/* SPDX-License-Identifier: Apache-2.0 */
#include "err.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *err_text(int errnum, char *buf, int len)
{
	char tmp[ERR_LEN];

	snprintf(buf, (size_t)len, "%s", strerror_r(errnum, tmp, sizeof(tmp)));
	/* "Permission denied", but "RFS specific error" */
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
