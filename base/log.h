/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>

/* Log lines on standard error, each in one write(2), in the forms that users of RootlessKit have
 * their eyes and scripts set to:
 *
 *     time="2026-11-23T12:39:32Z" level=warning msg="[rootlesskit:parent] ..."      to a file
 *     WARN[0000] [rootlesskit:parent] ...                               coloured, to a terminal
 *
 * May be called from any thread, and does not block: a line that standard error has no room for is
 * dropped.
 */

enum log_level {
	LOG_DEBUG,
	LOG_INFO,
	LOG_WARNING,
	LOG_ERROR,
	LOG_LEVEL_COUNT,
};

/* `who` is "parent" or "child " (static), `debug` lets LOG_DEBUG lines through. Call it before any
 * thread starts. */
void log_init(const char *who, bool debug);

void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARNING, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)

/* Is it time for a line that stands in the log at most once every `every_s` seconds? *last_s begins
 * as 0 and is log_is_due's own: seconds, since not every machine has atomics of 64 bits without a
 * library. Of several threads that ask at the same time one gets true. */
bool log_is_due(atomic_uint *last_s, unsigned int every_s);

/* The last line of a program that fails: "[rootlesskit:parent] error: REASON". It may be as long as
 * a command line. */
void log_fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
