/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LOOPCLOCK_H
#define LOOPCLOCK_H

/* A loop of the test's own that runs a step at a time, and a clock that can be set forward:
 * clock_gettime(2) here is the one that the launcher's code finds. The clock stands still while
 * this process waits for a processor, so that no pause ends unseen on a busy machine.
 */
#include "tests/unit/fixture.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/loop.h"

#define QUIET_MS 30 /* in which all that is on its way has arrived */

#define NS_OF_MS 1000000LL
#define NS_OF_S	 (1000 * NS_OF_MS)
#define MOST_NS	 NS_OF_MS /* between two looks at the clock, of which a step of 1 ms takes three */

static unsigned long long skipped_ms;
static struct loop *loop;

/* The system call that fills a struct timespec with 64-bit seconds. */
#ifdef SYS_clock_gettime64
#define CLOCK_GETTIME SYS_clock_gettime64
#else
#define CLOCK_GETTIME SYS_clock_gettime
#endif

/* What CLOCK_MONOTONIC is here. Threads may ask at the same time. */
static long long without_stops(long long now)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static long long last, lost;
	long long shown;

	pthread_mutex_lock(&lock);
	if (last != 0 && now - last > MOST_NS)
		lost += now - last - MOST_NS;
	last = now;
	shown = now - lost;
	pthread_mutex_unlock(&lock);
	return shown;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	long r = syscall(CLOCK_GETTIME, id, ts);
	long long ns;

	if (r == 0 && id == CLOCK_MONOTONIC) {
		ns = without_stops(ts->tv_sec * NS_OF_S + ts->tv_nsec);
		ns += (long long)skipped_ms * NS_OF_MS;
		ts->tv_sec = (time_t)(ns / NS_OF_S);
		ts->tv_nsec = (long)(ns % NS_OF_S);
	}
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
