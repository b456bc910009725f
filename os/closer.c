/* SPDX-License-Identifier: Apache-2.0 */
/* Closing foreign descriptors in processes of their own. See closer.h. */
#include "os/closer.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/sockopt.h"

/* How many closers run, plus how many descriptors are in `postponed`; in memory that closers share.
 */
static _Atomic(atomic_uint *) pending;

/* Descriptors for which no process could be started, and their lock, which is held for a moment
 * only. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	closer_work *work; /* NULL: the entry is free */
	int fd;
} postponed[CLOSER_MAX];
static atomic_bool has_postponed;

/* Returns the counter, which the first call makes; NULL if there is no memory for it. */
static atomic_uint *counter(void)
{
	atomic_uint *count = atomic_load(&pending), *none = NULL;

	if (count != NULL)
		return count;
	count = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (count == MAP_FAILED)
		return NULL;
	if (atomic_compare_exchange_strong(&pending, &none, count))
		return count;
	munmap(count, sizeof(*count));
	return none;
}

/* Like fork(2), but the new process shares our file descriptor table. The main loop reaps it like
 * any child. */
static long fork_with_our_fds(void)
{
#if defined(__s390__)
	return syscall(SYS_clone, NULL, CLONE_FILES | SIGCHLD, NULL, NULL, NULL);
#else
	return syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
#endif
}

/* Starts a closer, which the caller has added to the counter. Returns false if it cannot be
 * started. */
static bool start(closer_work *work, const int *fds, size_t fd_count, atomic_uint *count)
{
	long pid = fork_with_our_fds();

	if (pid != 0)
		return pid > 0;
	for (size_t i = 0; i < fd_count; i++)
		work(fds[i]);
	atomic_fetch_sub(count, 1);
	_exit(0);
}

/* Keeps `fd` for retry_postponed(). If all entries are in use, `fd` stays open and counts as
 * pending until we exit. */
static void postpone(closer_work *work, int fd)
{
	bool is_placed = false;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < CLOSER_MAX && !is_placed; i++) {
		is_placed = postponed[i].work == NULL;
		if (is_placed) {
			postponed[i].work = work;
			postponed[i].fd = fd;
		}
	}
	pthread_mutex_unlock(&lock);
	if (is_placed)
		atomic_store(&has_postponed, true);
}

/* Tries again to start closers for the descriptors in `postponed`. */
static void retry_postponed(atomic_uint *count)
{
	bool has_failed = false;

	/* Usually none is postponed; then the cheaper load is enough. */
	if (!atomic_load(&has_postponed) || !atomic_exchange(&has_postponed, false))
		return;
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < CLOSER_MAX && !has_failed; i++) {
		has_failed = postponed[i].work != NULL &&
			     !start(postponed[i].work, &postponed[i].fd, 1, count);
		if (!has_failed)
			postponed[i].work = NULL;
	}
	pthread_mutex_unlock(&lock);
	if (has_failed)
		atomic_store(&has_postponed, true);
}

/* Runs `work` for each descriptor, in one closer. */
static void run(closer_work *work, const int *fds, size_t fd_count)
{
	atomic_uint *count = counter();

#ifdef NO_CLOSERS
	for (size_t i = 0; i < fd_count; i++)
		work(fds[i]);
	return;
#endif

	if (count == NULL || fd_count == 0)
		return;
	retry_postponed(count);
	atomic_fetch_add(count, 1);
	if (start(work, fds, fd_count, count))
		return;
	atomic_fetch_add(count, (unsigned int)fd_count - 1);
	for (size_t i = 0; i < fd_count; i++)
		postpone(work, fds[i]);
}

void closer_run(closer_work *work, int fd)
{
	run(work, &fd, 1);
}

/* A TCP socket that resets its connection at close(2) does not linger. So close(2) can block only
 * for a file, or for a socket whose sender turns lingering on again meanwhile. */
static void close_one(int fd)
{
	sockopt_tcp_reset_on_close(fd);
	close(fd);
}

void closer_close_all(const int *fds, size_t count)
{
	run(close_one, fds, count);
}

void closer_close(int fd)
{
	run(close_one, &fd, 1);
}

unsigned int closer_pending(void)
{
	atomic_uint *count = atomic_load(&pending);

	if (count == NULL)
		return 0;
	retry_postponed(count);
	return atomic_load(count);
}
