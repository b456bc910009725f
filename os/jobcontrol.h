/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_JOBCONTROL_H
#define OS_JOBCONTROL_H

#include <stdbool.h>
#include <sys/signalfd.h>
#include <sys/types.h>

/* Job control: a launcher at a terminal stops and continues when its command does, so that a shell
 * can treat the launcher as if it were the command.
 *
 * The shell that started the launcher waits for the parent only. The terminal's signals go to the
 * whole foreground process group: the parent, the child and, unless it makes its own group, the
 * command. So the parent must stop when the command has stopped, and continue when the command
 * continues. The child, which waits for the command, reports both to the parent through the pipe of
 * the handshake, which nothing else uses by then.
 */

/* Did the terminal send this signal to its whole foreground process group? Then the other processes
 * of the group have got it, too, and it must not be forwarded to them: a shell would see two
 * interrupts for one ^C, and a command that has been continued could be stopped again. False for
 * kill(2), and for SIGHUP, which may have been sent to the session leader only. */
bool jobcontrol_is_from_terminal(const struct signalfd_siginfo *info);

/* In the child: reports to the parent that the command has stopped or continued. `status` is a wait
 * status of WUNTRACED or WCONTINUED (waitpid(2)), `fd` the non-blocking pipe to the parent. */
void jobcontrol_report(int fd, pid_t command, int status);

/* In the parent, before the command has started: does this signal stop the parent? */
bool jobcontrol_stops_us(const struct signalfd_siginfo *info);
/* Takes the default action of such a signal. Returns when the parent has been continued. */
void jobcontrol_stop(int signo);

/* In the parent: makes the kernel send us SIGCONT for each message on the pipe `fd`, and when its
 * write end is closed (O_ASYNC, fcntl(2)). This wakes us if we are stopped. Returns 0 or -errno. */
int jobcontrol_enable_wake_up(int fd);

/* Is the signal a SIGCONT that jobcontrol_enable_wake_up() has asked for? Then it must not be
 * forwarded. */
bool jobcontrol_is_wake_up(const struct signalfd_siginfo *info);

/* In the parent's main thread, when the pipe is readable: reads the messages, and stops the process
 * while the command is stopped. Does not stop in an orphaned process group, where no shell could
 * continue us. Returns 0, or -ENODATA if there will be no more messages. */
int jobcontrol_handle_reports(int fd);

#endif
