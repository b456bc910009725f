/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_THREAD_H
#define OS_THREAD_H

#include <pthread.h>

/* Threads that live long and need little: their stack is small. */

#define THREAD_STACK (256 * 1024) /* bytes; a request is decoded on it, and nothing recurses */

/* Starts a thread. `thread` is set for pthread_join(3); NULL: nobody joins it. Returns 0 or -errno.
 */
int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);

#endif
