/* SPDX-License-Identifier: Apache-2.0 */
#include "os/closer.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/sockopt.h"

/* The number of descriptors that are not closed yet, in memory that the closing processes share. */
static _Atomic(atomic_uint *) pending;

/* The counter, which is made at the first call; NULL if there is no memory for it. */
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

void closer_close(int fd)
{
	atomic_uint *count = counter();

#ifdef __SANITIZE_THREAD__
	/* ThreadSanitizer does not see the close(2) in another process, and reports the next use of
	 * the descriptor number as a race. */
	close(fd);
	return;
#endif

	if (count == NULL)
		return;
	atomic_fetch_add(count, 1);
	if (fork_with_our_fds() != 0)
		return;
	/* Make only system calls here: another thread may have held a lock of the C library at the
	 * fork. A lingering socket is set to reset, so close(2) blocks only for a file, or for a
	 * socket that its sender changes meanwhile. */
	sockopt_tcp_reset_on_close(fd);
	close(fd);
	atomic_fetch_sub(count, 1);
	_exit(0);
}

unsigned int closer_pending(void)
{
	const atomic_uint *count = atomic_load(&pending);

	return count != NULL ? atomic_load(count) : 0;
}
