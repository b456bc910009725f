/* SPDX-License-Identifier: Apache-2.0 */
/* What the build knows about the program. See version.h. */
#include "base/version.h"

#include <stdio.h>

#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

/* The Makefile sets it for this file only, so that a new commit recompiles nothing else. */
#ifndef RLKBOX_COMMIT
#define RLKBOX_COMMIT "unknown"
#endif

const char *version_commit(void)
{
	return RLKBOX_COMMIT;
}

const char *version_libc(char *buf, size_t cap)
{
#ifdef __GLIBC__
	snprintf(buf, cap, "glibc-%s", gnu_get_libc_version());
#else
	snprintf(buf, cap, "musl"); /* it has no macro and no version */
#endif
	return buf;
}
