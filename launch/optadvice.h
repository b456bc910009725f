/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCH_OPTADVICE_H
#define LAUNCH_OPTADVICE_H

#include <stddef.h>

/* Options that users know from other programs, such as docker(1), podman(1), slirp4netns(1) and
 * unshare(1), and that the launcher does not have. Returns what to do instead of the option
 * name[0..len), a static string, or NULL. Does not block; any thread. */
const char *optadvice_foreign(const char *name, size_t len);

#endif
