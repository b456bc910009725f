/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

/* The clock of all deadlines: CLOCK_MONOTONIC (clock_gettime(2)) in milliseconds. It never jumps,
 * and does not count the time in which the machine sleeps. Any thread. */
unsigned long long clock_now_ms(void);

/* Milliseconds until the deadline `until_ms` of that clock, as a time-out for poll(2): 0 when it
 * has passed, and INT_MAX at most. */
int clock_left_ms(unsigned long long until_ms);

#endif
