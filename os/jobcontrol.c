/* SPDX-License-Identifier: Apache-2.0 */
/* Stops and continues the launcher together with the command. See jobcontrol.h.
 *
 * ^Z at a terminal:
 *
 *     terminal --- SIGTSTP ---> parent, child, command     (parent and child do not act on it)
 *     command stops;  child: waitpid(WUNTRACED) --- "stopped by SIGTSTP" ---> parent
 *     parent: takes the default action of SIGTSTP ---> the shell shows its prompt
 *     shell: fg --- SIGCONT ---> parent, child, command    (and a second time, forwarded)
 *
 * The child itself does not stop. As PID 1 of its namespace it could not, and it must see when
 * another process continues or kills the command. Its write to the pipe then wakes the stopped
 * parent: the kernel sends the signal set by F_SETSIG (fcntl(2)), SIGCONT, to stopped processes,
 * too. The child cannot use kill(2) for that, because a process in a PID namespace cannot signal
 * one outside.
 *
 * The parent takes the default action of a stop signal; it does not raise SIGSTOP. The kernel does
 * not let SIGTSTP, SIGTTIN and SIGTTOU stop an orphaned process group (setpgid(2)), which has no
 * shell to continue it, for example under systemd. With SIGSTOP, a debugger that stops and
 * continues the command could leave such a launcher stopped for ever.
 *
 * A message on the pipe is one byte: 0 if the command continues, else the signal that stopped it,
 * with the bit HAS_TERMINAL if the command's process group had the terminal. An interactive shell
 * as the command makes its own process group and gives it the terminal. If it is stopped then, the
 * outer shell's "fg" gives the terminal to our group, and we pass it on to the command's group.
 */
#include "os/jobcontrol.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"

#define CONTINUES    0
#define HAS_TERMINAL 0x80
#define TERMINAL     "/dev/tty" /* the controlling terminal of the session, if it has one; tty(4) */

bool jobcontrol_is_from_terminal(const struct signalfd_siginfo *info)
{
	static const uint32_t sent_by_terminal[] = { SIGINT,  SIGQUIT, SIGTSTP,
						     SIGTTIN, SIGTTOU, SIGWINCH };

	for (size_t i = 0; i < COUNT_OF(sent_by_terminal); i++)
		if (info->ssi_signo == sent_by_terminal[i])
			return info->ssi_code == SI_KERNEL;
	return false;
}

/* ---- the child ---- */

/* Is the command's process group, other than ours, the foreground process group of the terminal? */
static bool has_terminal(pid_t command)
{
	FD_AUTO int tty = open(TERMINAL, O_RDWR | O_NOCTTY | O_CLOEXEC);
	pid_t group = getpgid(command);

	return tty >= 0 && group != getpgrp() && tcgetpgrp(tty) == group;
}

void jobcontrol_report(int fd, pid_t command, int status)
{
	unsigned char report = CONTINUES;
	ssize_t n;

	if (WIFSTOPPED(status))
		report = (unsigned char)(WSTOPSIG(status) |
					 (has_terminal(command) ? HAS_TERMINAL : 0));
	n = write(fd, &report, sizeof(report));
	(void)n; /* if the parent is gone, the kernel kills us (PR_SET_PDEATHSIG) */
}

/* ---- the parent ---- */

int jobcontrol_enable_wake_up(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETSIG, SIGCONT) < 0 || fcntl(fd, F_SETOWN, getpid()) < 0 ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK | O_ASYNC) < 0)
		return -errno;
	return 0;
}

bool jobcontrol_is_wake_up(const struct signalfd_siginfo *info)
{
	return info->ssi_signo == SIGCONT && info->ssi_code == POLL_IN;
}

/* Reads all messages; only the last one counts. Returns it, -EAGAIN if there is none, or -ENODATA
 * at the end of the pipe. */
static int read_last_report(int fd)
{
	unsigned char reports[64];
	int latest = -EAGAIN;
	ssize_t n;

	while ((n = read(fd, reports, sizeof(reports))) > 0)
		latest = reports[n - 1];
	return n == 0 ? -ENODATA : latest;
}

static sigset_t set_of_signal(int signo)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	return set;
}

/* Lets a pending signal take its default action. */
static void take_default_action(int signo)
{
	sigset_t set = set_of_signal(signo);

	sigprocmask(SIG_UNBLOCK, &set, NULL);
	/* If the signal stops us, we stop and continue here. */
	sigprocmask(SIG_BLOCK, &set, NULL);
}

bool jobcontrol_stops_us(const struct signalfd_siginfo *info)
{
	return info->ssi_signo == SIGTSTP;
}

void jobcontrol_stop(int signo)
{
	kill(getpid(), signo);
	take_default_action(signo);
}

/* Was the SIGCONT that woke us sent for a message that we had read before we stopped? The kernel
 * makes the child's message readable before it sends the SIGCONT for it. So the signal may arrive
 * after we have stopped. A SIGCONT of another sender is raised again for the loop, which forwards
 * it. */
static bool is_late_wake_up(int fd)
{
	const struct timespec now = { 0, 0 };
	sigset_t set = set_of_signal(SIGCONT);
	siginfo_t info;

	if (sigtimedwait(&set, &info, &now) != SIGCONT)
		return false;
	if (info.si_code == POLL_IN)
		return fd_wait(fd, POLLIN, 0) == 0;
	kill(getpid(), SIGCONT);
	return false;
}

/* Stops, unless another message has arrived, which is left for the loop. A message that arrives
 * after the look at the pipe causes a SIGCONT, which removes the pending stop signal or wakes us.
 */
static void stop_with_command(int fd, int signo)
{
	const struct timespec now = { 0, 0 };
	sigset_t set = set_of_signal(signo);

	do {
		kill(getpid(), signo);
		if (fd_wait(fd, POLLIN, 0) != 0) {
			sigtimedwait(&set, NULL, &now);
			return;
		}
		take_default_action(signo);
	} while (is_late_wake_up(fd));
}

/* As stop_with_command(), for a command whose process group has the terminal: gives the terminal
 * back to that group when we continue. SIGTTOU is blocked, so tcsetpgrp(3) works from the
 * background. */
static void stop_and_give_terminal(int fd, int signo)
{
	FD_AUTO int tty = open(TERMINAL, O_RDWR | O_NOCTTY | O_CLOEXEC);
	pid_t group = tty < 0 ? -1 : tcgetpgrp(tty);

	stop_with_command(fd, signo);
	if (group > 0 && tcgetpgrp(tty) == getpgrp())
		tcsetpgrp(tty, group);
}

int jobcontrol_handle_reports(int fd)
{
	int report = read_last_report(fd);
	int signo;

	if (report == -ENODATA)
		return report;
	if (report <= CONTINUES)
		return 0;
	signo = report & ~HAS_TERMINAL;
	/* SIGSTOP would stop an orphaned process group, too; SIGTSTP does not. */
	if (signo != SIGTTIN && signo != SIGTTOU)
		signo = SIGTSTP;
	if (report & HAS_TERMINAL)
		stop_and_give_terminal(fd, signo);
	else
		stop_with_command(fd, signo);
	return 0;
}
