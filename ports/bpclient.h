/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BPCLIENT_H
#define BPCLIENT_H

#include "base/err.h"

/* The parent's first word to the child's port service: an "init" request on the socket `path`,
 * which proves that it is there and understands us. Blocks, but not for long. Returns 0 or -errno
 * with a reason. */
int bpclient_init(const char *path, struct err *e);

#endif
