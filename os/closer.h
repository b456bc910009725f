/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_CLOSER_H
#define OS_CLOSER_H

/* Closing descriptors that somebody inside has sent and that are not what was asked for.
 *
 * close(2) of such a descriptor can block for as long as the sender likes, even against SIGKILL: a
 * file of a FUSE server that does not answer the flush request, or a TCP socket that lingers. So a
 * process of its own closes it. That process shares the table of descriptors (CLONE_FILES), and
 * close(2) takes the number out of the table before it does anything that can block. It shares no
 * memory, and is no thread, so the launcher can end while it blocks.
 *
 * All functions may be called by any thread, and none blocks.
 */

/* As many may be blocked before the launcher accepts no more descriptors from inside. */
#define CLOSER_MAX 64

/* Closes `fd`, which is taken. Where no process can be started it stays open. */
void closer_close(int fd);

/* How many descriptors are not closed yet. */
unsigned int closer_pending(void);

#endif
