/* SPDX-License-Identifier: Apache-2.0 */
/* Closing what may block. See closer.h. */
#include "os/closer.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/sockopt.h"

/* Shared with the processes that close. */
static _Atomic(atomic_uint *) pending;

/* Returns NULL where there is no memory for it. */
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

/* As fork(2), but with the same table of descriptors. The main loop reaps it, like any child. */
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
	/* It does not see that another process closes it, and takes the next use of the number for
	 * a race. */
	close(fd);
	return;
#endif

	if (count == NULL)
		return;
	atomic_fetch_add(count, 1);
	if (fork_with_our_fds() != 0)
		return;
	/* Only system calls: another thread may have held a lock of the C library. A socket that
	 * lingers is reset, so that only one that is tampered with meanwhile, or a file, blocks. */
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
