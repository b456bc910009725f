/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LOOPCLOCK_H
#define LOOPCLOCK_H

/* A loop that the test runs a step at a time, and a clock that can be set forward: clock_gettime(2)
 * is replaced for the code under test. The clock stands still while this process waits for a CPU,
 * so that no timeout passes unnoticed on a busy machine. */
#include "tests/unit/fixture.h"

#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/loop.h"

#define QUIET_MS 30 /* enough for everything in flight to arrive */

#define NS_OF_MS 1000000LL
#define NS_OF_S	 (1000 * NS_OF_MS)
/* The clock advances by no more than this between two calls of clock_gettime(2). settle() makes up
 * to three such calls for each step of 1 ms. */
#define MOST_NS	 NS_OF_MS

static atomic_uint skipped_ms; /* a test's threads may set it */
static struct loop *loop;

/* The system call that fills in a struct timespec with 64-bit seconds. */
#ifdef SYS_clock_gettime64
#define CLOCK_GETTIME SYS_clock_gettime64
#else
#define CLOCK_GETTIME SYS_clock_gettime
#endif

/* Returns the time without the pauses of this process. Several threads may call it at the same
 * time. */
static long long subtract_pauses(long long now)
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
		ns = subtract_pauses(ts->tv_sec * NS_OF_S + ts->tv_nsec);
		ns += (long long)skipped_ms * NS_OF_MS;
		ts->tv_sec = (time_t)(ns / NS_OF_S);
		ts->tv_nsec = (long)(ns % NS_OF_S);
	}
	return (int)r;
}

static inline void step(void)
{
	ck_assert_int_eq(loop_step(loop, 1), 0);
}

/* Runs the loop until everything in flight has arrived. */
static inline void settle(void)
{
	unsigned long long until = fixture_now_ms() + QUIET_MS;

	while (fixture_now_ms() < until)
		step();
}

/* Sets the clock forward, and lets due timers run. */
static inline void skip_ms(unsigned long long ms)
{
	settle();
	skipped_ms += (unsigned int)ms;
	settle();
}

#endif
