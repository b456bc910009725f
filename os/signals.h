/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_SIGNALS_H
#define OS_SIGNALS_H

#include <stdbool.h>
#include <stddef.h>

/* Signals of a launcher, and its limit of open files. A launcher blocks all signals and reads them
 * from a signalfd(2). Programs that it starts get back the state with which it was started. Main
 * thread. */

/* Takes over signals and limits at the start of a launcher, before any other thread starts: blocks
 * all signals, ignores SIGPIPE, and raises the soft limit of open files to the hard limit. Saves
 * the previous state for the programs that we start. Returns a non-blocking signalfd(2) for all
 * signals, which the caller owns, or -errno. */
int signals_block(void);

/* Bytes of the text of signals_kept_text(), with the NUL. */
#define SIGNALS_KEPT_LEN 64
/* Writes the state that signals_block() has saved as text to buf[cap], for the environment of a
 * process that is executed in our place. */
void signals_kept_text(char *buf, size_t cap);
/* Takes over signals in that process, instead of signals_block(): saves the state in `text`, blocks
 * all signals, and ignores SIGPIPE. Returns the signalfd as signals_block() does, or -errno
 * (-EINVAL for a malformed text). */
int signals_block_kept(const char *text);

/* Restores the saved state, in a forked process before it executes a program. Async-signal-safe. */
void signals_restore(void);

/* Should this signal end a launcher that has not started its command yet? True for SIGTERM, SIGINT,
 * SIGHUP and SIGQUIT, unless it was ignored when we were started, as by nohup(1). */
bool signals_is_fatal(int signo);

/* Is a signal pending for which signals_is_fatal() is true? Call it while signals are blocked
 * (signals_block): an unblocked one would have ended us already. */
bool signals_fatal_pending(void);

/* Must a launcher forward this signal: the parent to the child, the child to the command? True for
 * all but SIGCHLD, SIGPIPE and SIGURG. */
bool signals_is_forwarded(int signo);

#endif
