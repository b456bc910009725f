/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>

/* Log lines on standard error, each in one write(2). The forms are RootlessKit's, because users and
 * scripts look for them:
 *
 *     time="2026-11-23T12:39:32Z" level=warning msg="[rootlesskit:parent] ..."      to a file
 *     WARN[0000] [rootlesskit:parent] ...                               coloured, to a terminal
 *
 * Any thread may log. Logging does not block: if standard error has no room for a line, the line is
 * dropped.
 */

enum log_level {
	LOG_DEBUG,
	LOG_INFO,
	LOG_WARNING,
	LOG_ERROR,
	LOG_LEVEL_COUNT,
};

/* `who` names the process in each line: "parent", "child " or "docker-proxy". It is a string that
 * is never freed. `debug` enables LOG_DEBUG lines. Call this before any other thread starts. */
void log_init(const char *who, bool debug);

/* Logs one line; adds the newline. Lines above 2 kB are cut. */
void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARNING, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)

/* The rate limit of a log line: at most once a minute. Zero before its first use. The time is in
 * seconds because some machines have no 64-bit atomics without a library. */
struct log_limit {
	atomic_uint last_s; /* when the line was logged, on clock_now_ms()'s clock; 0: never */
};

/* Returns whether the line may be logged now. If so, the caller must log it: the next minute
 * starts. If several threads ask at the same time, only one of them gets true. Cheap if the answer
 * is no. */
bool log_is_due(struct log_limit *limit);

/* Writes the last line of a program that fails: "[rootlesskit:parent] error: REASON". The reason
 * may be as long as a command line. Unlike log_at() this may block, and it allocates. */
void log_fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
