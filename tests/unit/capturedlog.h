/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CAPTUREDLOG_H
#define CAPTUREDLOG_H

/* The log in a file of fixture_dir, for tests of log lines. */
#include "base/log.h"
#include "tests/unit/fixture.h"

#define CAPTURED_LOG_LEN 8192

static int captured_log, captured_stderr;

/* From now on standard error is a file. */
static inline void capture_log(bool debug)
{
	captured_log = open(fixture_path("log"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	captured_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	ck_assert_int_eq(dup2(captured_log, STDERR_FILENO), STDERR_FILENO);
	log_init("parent", debug);
}

static inline void release_log(void)
{
	dup2(captured_stderr, STDERR_FILENO);
	close(captured_stderr);
	close(captured_log);
	ck_assert_int_eq(unlink(fixture_path("log")), 0);
}

/* Returns the content of the log. The next call overwrites it. */
static inline const char *read_log(void)
{
	static char text[CAPTURED_LOG_LEN];
	ssize_t n = pread(captured_log, text, sizeof(text) - 1, 0);

	ck_assert_int_ge(n, 0);
	text[n] = '\0';
	return text;
}

/* The same, and empties the log. */
static inline const char *take_log(void)
{
	const char *text = read_log();

	ck_assert_int_eq(ftruncate(captured_log, 0), 0);
	ck_assert_int_eq(lseek(captured_log, 0, SEEK_SET), 0);
	return text;
}

#endif
