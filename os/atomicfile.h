/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_ATOMICFILE_H
#define OS_ATOMICFILE_H

#include <sys/types.h>

#include "base/err.h"

/* Writing a small file that appears complete or not at all: it is written under another name in the
 * same directory, and then renamed. The rename replaces an older file or symbolic link of that
 * name. Any thread may call these functions, but only one at a time for the same directory. They
 * block as long as the file system does. */

#define ATOMICFILE_TMP ".new" /* the name of a file that is being written */

/* Writes `text` to the file `name` in the directory `dir`. The file gets exactly this mode; the
 * umask does not apply. Returns 0, or -errno with a reason: -EEXIST if ATOMICFILE_TMP exists. */
int atomicfile_write(const char *dir, const char *name, mode_t mode, const char *text,
		     struct err *e);

/* The same through a descriptor of the directory (O_PATH is enough, borrowed). `dir` is its name
 * for messages. */
int atomicfile_write_at(int dir_fd, const char *dir, const char *name, mode_t mode,
			const char *text, struct err *e);

#endif
