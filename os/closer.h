/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_CLOSER_H
#define OS_CLOSER_H

/* Closes descriptors that a process inside the namespace has sent and that are not what was asked
 * for.
 *
 * The sender can make close(2) of such a descriptor block for as long as it likes, even against
 * SIGKILL: with a file of a FUSE server that does not answer the flush request, or with a TCP
 * socket that lingers. So a separate process closes the descriptor. It shares the file descriptor
 * table (CLONE_FILES, clone(2)), and close(2) removes the number from the table before it does
 * anything that can block. The process shares no memory and is not a thread, so the launcher can
 * exit while it blocks.
 *
 * Any thread may call these functions, and none blocks.
 */

/* The launcher accepts no more descriptors from inside while this many are not closed. */
#define CLOSER_MAX 64

/* Closes `fd`, which is taken. If no process can be started, `fd` stays open and counts as pending.
 * If there is no memory for the counter at the first call, `fd` stays open and is not counted. */
void closer_close(int fd);

/* The number of descriptors that are not closed yet. */
unsigned int closer_pending(void);

#endif
