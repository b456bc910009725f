/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCH_EXECADVICE_H
#define LAUNCH_EXECADVICE_H

#include "base/err.h"

/* Explains why the user's command cannot be started, and what the user may have meant. Each
 * function appends its advice to the reason in `e`, or nothing if it has none. They run in the
 * child's main thread, and block while they read the first line of the command's file. */

/* For a command `word` that is not a program in $PATH. */
void execadvice_not_found(const char *word, struct err *e);

/* For the file `path`, which execve(2) refused with `errnum`. */
void execadvice_failed(const char *path, int errnum, struct err *e);

#endif
