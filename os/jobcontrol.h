/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_JOBCONTROL_H
#define OS_JOBCONTROL_H

#include <stdbool.h>
#include <sys/signalfd.h>
#include <sys/types.h>

/* Job control: a launcher at a terminal behaves as the command itself would without it.
 *
 * The shell that started the launcher looks at the parent only; the terminal's signals go to the
 * whole process group, which is parent, child and, as long as it does not make a group of its own,
 * the command. So the parent stops when the command has stopped, and goes on when it does. The
 * child, which knows, tells it on the pipe of the handshake, which nobody else uses by then.
 */

/* Was the signal made by the terminal, so that all of its foreground process group has got it? Then
 * a process of the same group has it already, and must not get it twice: a shell would see two
 * interrupts for one ^C, and what is not stopped any more could be stopped again. A signal of
 * kill(2) is none, and neither is a hangup, which may be for the leader of the session alone. */
bool jobcontrol_is_terminals(const struct signalfd_siginfo *info);

/* In the child: what has become of the command, a wait status of WUNTRACED or WCONTINUED. `fd` is
 * the pipe to the parent, set non-blocking. */
void jobcontrol_tell(int fd, pid_t command, int status);

/* In the parent, before there is a command: takes a stop signal's default action. */
void jobcontrol_stop(int signo);
/* Is it a stop signal for a process without a command? */
bool jobcontrol_stops_us(const struct signalfd_siginfo *info);

/* In the parent: has the kernel look for news on this pipe while the parent is stopped itself: it
 * gets a SIGCONT, also when the child has ended. Returns 0 or -errno. */
int jobcontrol_follow(int fd);

/* Is the signal one of those, and for nobody else? */
bool jobcontrol_is_wake_up(const struct signalfd_siginfo *info);

/* In the parent, in its main thread, when the pipe can be read: stops the process as long as the
 * command is stopped. Without a shell that could make it go on nothing stops. Returns 0, or
 * -ENODATA when there will be no more news. */
int jobcontrol_hear(int fd);

#endif
