/* SPDX-License-Identifier: Apache-2.0 */
/* Stopping and going on as the command does. See jobcontrol.h.
 *
 * ^Z at a terminal:
 *
 *     terminal --- SIGTSTP ---> parent, child, command     (parent and child let it be)
 *     command stops;  child: waitpid(WUNTRACED) --- "stopped by SIGTSTP" ---> parent
 *     parent: takes the default action of SIGTSTP ---> the shell has its prompt
 *     shell: fg --- SIGCONT ---> parent, child, command    (and once more, passed on)
 *
 * The child itself stays awake: as PID 1 of its namespace it could not stop, and it has to see who
 * else makes the command go on, or ends it. What it writes then wakes the parent, since the kernel
 * sends the signal of F_SETSIG, SIGCONT, to a stopped process too. (A kill(2) by the child would
 * not do: from within a PID namespace nobody outside can be signalled.)
 *
 * The parent takes the default action of a stop signal rather than SIGSTOP, since the kernel does
 * not let that stop an orphaned process group (setpgid(2)): with no shell to continue it, such as
 * under systemd, a command that is stopped and continued by a debugger must not leave a launcher
 * that is stopped for ever.
 *
 * One byte is one piece of news: 0 for going on, else the signal that stopped the command, with a
 * bit that says that the terminal was the command's own. An interactive shell makes a process group
 * of its own and gives it the terminal. If it is stopped while it has it, the outer shell's "fg"
 * gives the terminal to our group, and we hand it on.
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

#define GOES_ON	     0
#define HAS_TERMINAL 0x80
#define TERMINAL     "/dev/tty" /* of the session, if it has one; tty(4) */

bool jobcontrol_is_terminals(const struct signalfd_siginfo *info)
{
	static const uint32_t keys_and_size[] = { SIGINT,  SIGQUIT, SIGTSTP,
						  SIGTTIN, SIGTTOU, SIGWINCH };

	for (size_t i = 0; i < COUNT_OF(keys_and_size); i++)
		if (info->ssi_signo == keys_and_size[i])
			return info->ssi_code == SI_KERNEL;
	return false;
}

/* ---- the child ---- */

/* Is the command the foreground process group of the terminal, and we are not in it? */
static bool has_terminal(pid_t command)
{
	FD_AUTO int tty = open(TERMINAL, O_RDWR | O_NOCTTY | O_CLOEXEC);
	pid_t group = getpgid(command);

	return tty >= 0 && group != getpgrp() && tcgetpgrp(tty) == group;
}

void jobcontrol_tell(int fd, pid_t command, int status)
{
	unsigned char news = GOES_ON;
	ssize_t n;

	if (WIFSTOPPED(status))
		news = (unsigned char)(WSTOPSIG(status) |
				       (has_terminal(command) ? HAS_TERMINAL : 0));
	n = write(fd, &news, sizeof(news));
	(void)n; /* a parent that is gone takes us along */
}

/* ---- the parent ---- */

int jobcontrol_follow(int fd)
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

/* Reads all news, of which only the last counts. Returns it, or -EAGAIN if there is none, or
 * -ENODATA at the end. */
static int latest_news(int fd)
{
	unsigned char news[64];
	int latest = -EAGAIN;
	ssize_t n;

	while ((n = read(fd, news, sizeof(news))) > 0)
		latest = news[n - 1];
	return n == 0 ? -ENODATA : latest;
}

static sigset_t one_signal(int signo)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	return set;
}

/* A signal that is pending takes its default action. */
static void let_happen(int signo)
{
	sigset_t set = one_signal(signo);

	sigprocmask(SIG_UNBLOCK, &set, NULL);
	/* We stop, and go on, here. */
	sigprocmask(SIG_BLOCK, &set, NULL);
}

bool jobcontrol_stops_us(const struct signalfd_siginfo *info)
{
	return info->ssi_signo == SIGTSTP;
}

void jobcontrol_stop(int signo)
{
	kill(getpid(), signo);
	let_happen(signo);
}

/* Was it news that were read before we stopped what has woken us? The kernel shows the child's news
 * to us before it sends their SIGCONT, which may come when we have stopped already. A SIGCONT of
 * another sender is left for the loop, which passes it on. */
static bool is_late_wake_up(int fd)
{
	const struct timespec now = { 0, 0 };
	sigset_t set = one_signal(SIGCONT);
	siginfo_t info;

	if (sigtimedwait(&set, &info, &now) != SIGCONT)
		return false;
	if (info.si_code == POLL_IN)
		return fd_wait(fd, POLLIN, 0) == 0;
	kill(getpid(), SIGCONT);
	return false;
}

/* Stops, unless there are further news, which are left for the loop. News that come after the look
 * at the pipe bring a SIGCONT, which takes back the pending signal or wakes us. */
static void stop_with_command(int fd, int signo)
{
	const struct timespec now = { 0, 0 };
	sigset_t set = one_signal(signo);

	do {
		kill(getpid(), signo);
		if (fd_wait(fd, POLLIN, 0) != 0) {
			sigtimedwait(&set, NULL, &now);
			return;
		}
		let_happen(signo);
	} while (is_late_wake_up(fd));
}

/* The same, while the terminal is the command's. SIGTTOU is blocked, so that we may give it. */
static void stop_and_give_terminal(int fd, int signo)
{
	FD_AUTO int tty = open(TERMINAL, O_RDWR | O_NOCTTY | O_CLOEXEC);
	pid_t group = tty < 0 ? -1 : tcgetpgrp(tty);

	stop_with_command(fd, signo);
	if (group > 0 && tcgetpgrp(tty) == getpgrp())
		tcsetpgrp(tty, group);
}

int jobcontrol_hear(int fd)
{
	int news = latest_news(fd);
	int signo;

	if (news == -ENODATA)
		return news;
	if (news <= GOES_ON)
		return 0;
	signo = news & ~HAS_TERMINAL;
	/* Their default actions heed orphaned process groups. */
	if (signo != SIGTTIN && signo != SIGTTOU)
		signo = SIGTSTP;
	if (news & HAS_TERMINAL)
		stop_and_give_terminal(fd, signo);
	else
		stop_with_command(fd, signo);
	return 0;
}
