/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

/* The time in milliseconds since an unspecified start, on CLOCK_MONOTONIC (clock_gettime(2)). All
 * deadlines use this clock: it never jumps, and it stops while the machine is suspended. Any
 * thread. */
unsigned long long clock_now_ms(void);

/* The milliseconds left until `until_ms` on that clock, for use as a timeout of poll(2): 0 once the
 * deadline has passed, at most INT_MAX. */
int clock_left_ms(unsigned long long until_ms);

#endif
