/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LOOPCLOCK_H
#define LOOPCLOCK_H

/* A loop of the test's own that runs a step at a time, and a clock that can be set forward:
 * clock_gettime(2) here is the one that the launcher's code finds.
 */
#include "fixture.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"

#define QUIET_MS 30 /* in which all that is on its way has arrived */

static unsigned long long skipped_ms;
static struct loop *loop;

/* The system call that fills a struct timespec with 64-bit seconds. */
#ifdef SYS_clock_gettime64
#define CLOCK_GETTIME SYS_clock_gettime64
#else
#define CLOCK_GETTIME SYS_clock_gettime
#endif

int clock_gettime(clockid_t id, struct timespec *ts)
{
	long r = syscall(CLOCK_GETTIME, id, ts);

	if (id == CLOCK_MONOTONIC)
		ts->tv_sec += (time_t)(skipped_ms / 1000);
	return (int)r;
}

static void step(void)
{
	ck_assert_int_eq(loop_step(loop, 1), 0);
}

/* Lets happen what may. */
static void settle(void)
{
	unsigned long long until = fixture_now_ms() + QUIET_MS;

	while (fixture_now_ms() < until)
		step();
}

static void skip_ms(unsigned long long ms)
{
	settle();
	skipped_ms += ms;
	settle();
}

#endif
