/* SPDX-License-Identifier: Apache-2.0 */
#include "os/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#define MASK_SIGNALS 64 /* highest signal, signal(7); mask_bits() needs as many bits */

/* The state with which the launcher was started. */
static struct {
	bool taken;
	sigset_t mask;
	bool sigpipe_ignored;
	struct rlimit nofile;
} kept;

/* Blocks all signals. Returns a non-blocking signalfd(2) that receives them, or -errno. */
static int block_signals(void)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN };
	const struct sigaction plain = { .sa_handler = SIG_DFL };
	sigset_t all;
	int fd;

	sigfillset(&all);
	fd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGCHLD, &plain, NULL); /* if it is ignored, exit statuses are lost */
	return fd;
}

int signals_block(void)
{
	struct sigaction sigpipe;
	struct rlimit raised;

	sigprocmask(SIG_SETMASK, NULL, &kept.mask);
	sigaction(SIGPIPE, NULL, &sigpipe);
	kept.sigpipe_ignored = sigpipe.sa_handler == SIG_IGN;
	getrlimit(RLIMIT_NOFILE, &kept.nofile);
	kept.taken = true;
	raised = kept.nofile;
	raised.rlim_cur = raised.rlim_max;
	setrlimit(RLIMIT_NOFILE, &raised); /* on failure: fewer connections */
	return block_signals();
}

/* The saved mask as a number, one bit per signal. */
static unsigned long long mask_bits(void)
{
	unsigned long long bits = 0;

	for (int signo = 1; signo <= MASK_SIGNALS; signo++)
		if (sigismember(&kept.mask, signo) == 1)
			bits |= 1ULL << (signo - 1);
	return bits;
}

void signals_kept_text(char *buf, size_t cap)
{
	snprintf(buf, cap, "%llx,%d,%llu", mask_bits(), kept.sigpipe_ignored,
		 (unsigned long long)kept.nofile.rlim_cur);
}

int signals_block_kept(const char *text)
{
	unsigned long long bits, soft;
	int ignored;

	if (sscanf(text, "%llx,%d,%llu", &bits, &ignored, &soft) != 3)
		return -EINVAL;
	sigemptyset(&kept.mask);
	for (int signo = 1; signo <= MASK_SIGNALS; signo++)
		if (bits & (1ULL << (signo - 1)))
			sigaddset(&kept.mask, signo);
	kept.sigpipe_ignored = ignored != 0;
	getrlimit(RLIMIT_NOFILE, &kept.nofile);
	kept.nofile.rlim_cur = (rlim_t)soft;
	kept.taken = true;
	return block_signals();
}

void signals_restore(void)
{
	const struct sigaction plain = { .sa_handler = SIG_DFL };

	if (!kept.taken)
		return;
	if (!kept.sigpipe_ignored)
		sigaction(SIGPIPE, &plain, NULL);
	setrlimit(RLIMIT_NOFILE, &kept.nofile);
	sigprocmask(SIG_SETMASK, &kept.mask, NULL);
}

bool signals_is_fatal(int signo)
{
	struct sigaction action;

	if (signo != SIGTERM && signo != SIGINT && signo != SIGHUP && signo != SIGQUIT)
		return false;
	return sigaction(signo, NULL, &action) == 0 && action.sa_handler != SIG_IGN;
}

bool signals_is_forwarded(int signo)
{
	return signo != SIGCHLD && signo != SIGPIPE && signo != SIGURG;
}

bool signals_fatal_pending(void)
{
	sigset_t pending;

	sigpending(&pending);
	for (int signo = 1; signo <= MASK_SIGNALS; signo++)
		if (sigismember(&pending, signo) == 1 && signals_is_fatal(signo))
			return true;
	return false;
}
