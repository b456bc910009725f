/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#include <stddef.h>

/* Clients compare COMPAT_VERSION with 0.14.1, 1.x, 2.0 and 3.0 to decide which features they use.
 * So it is the version of RootlessKit with which we are compatible, followed by our own version as
 * build metadata (semver.org, item 10). */
#define RLKBOX_VERSION "0.1.0"
#define COMPAT_MAJOR   "3"
#define COMPAT_MINOR   "3"
#define COMPAT_PATCH   "0"
#define COMPAT_VERSION COMPAT_MAJOR "." COMPAT_MINOR "." COMPAT_PATCH "+rlkbox." RLKBOX_VERSION

/* The version of the REST API, which RootlessKit 3.3.0 reports, too. */
#define API_VERSION "1.1.3"

/* The functions do not block. Any thread. */

/* Returns the commit that the program was built from, 40 hexadecimal digits. "-dirty" follows if
 * the sources were changed. "unknown" if the sources had neither git's data nor a file from git
 * archive (Makefile). */
const char *version_commit(void);

#define VERSION_LIBC_LEN 32 /* bytes with the final NUL */

/* Writes the name of the C library to buf[cap], and returns buf: "glibc-2.36" or "musl". If the
 * program is linked dynamically, it is the version that it runs with. */
const char *version_libc(char *buf, size_t cap);

#endif
