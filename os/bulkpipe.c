/* SPDX-License-Identifier: Apache-2.0 */
#include "os/bulkpipe.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define WANTED	 (1024 * 1024) /* bytes; more than fs.pipe-max-size needs a privilege */
#define RETRY_MS 1000	       /* after a failure */

/* When the user has too many pipe pages, the kernel still makes a small pipe (pipe(7)) but refuses
 * to enlarge it. Such a pipe is closed again. */
static bool make_pipe(struct bulkpipe *p)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return false;
	p->in = fds[1];
	p->out = fds[0];
	for (int wanted = WANTED; wanted >= BULKPIPE_LEAST; wanted /= 2) {
		int cap = fcntl(p->in, F_SETPIPE_SZ, wanted);

		if (cap >= BULKPIPE_LEAST) {
			p->cap = (size_t)cap;
			return true;
		}
	}
	bulkpipe_close(p);
	return false;
}

bool bulkpipe_open(struct bulkpipe *p)
{
	if (p->in >= 0)
		return true;
	if (clock_now_ms() < p->retry_ms)
		return false;
	if (make_pipe(p))
		return true;
	p->retry_ms = clock_now_ms() + RETRY_MS;
	return false;
}

void bulkpipe_close(struct bulkpipe *p)
{
	fd_close(&p->in);
	fd_close(&p->out);
}
