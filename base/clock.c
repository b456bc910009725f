/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <limits.h>
#include <time.h>

unsigned long long clock_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (unsigned long long)ts.tv_sec * 1000 + (unsigned long long)ts.tv_nsec / 1000000;
}

int clock_left_ms(unsigned long long until_ms)
{
	unsigned long long now = clock_now_ms();

	if (now >= until_ms)
		return 0;
	return until_ms - now < INT_MAX ? (int)(until_ms - now) : INT_MAX;
}
