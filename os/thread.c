/* SPDX-License-Identifier: Apache-2.0 */
#include "os/thread.h"

#include <stddef.h>

int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
	pthread_attr_t attr;
	pthread_t unused;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	if (thread == NULL)
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(thread != NULL ? thread : &unused, &attr, run, arg);
	pthread_attr_destroy(&attr);
	return -r;
}
