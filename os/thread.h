/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_THREAD_H
#define OS_THREAD_H

#include <pthread.h>

/* Long-lived threads with a small stack. */

#define THREAD_STACK (256 * 1024) /* bytes; fits JSON decoding, whose depth is limited */

/* Starts a thread that runs run(arg). Sets *thread for pthread_join(3); if `thread` is NULL, the
 * thread is detached. Returns 0 or -errno. */
int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);

#endif
