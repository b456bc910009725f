/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between threads. See inbox.h.
 *
 * A write of at most PIPE_BUF bytes is atomic (pipe(7)). So the pipe always holds whole messages,
 * and a read of several gets whole ones.
 */
#include "ports/inbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

#define READ_BATCH 32 /* messages delivered before other watches get their turn */

_Static_assert(sizeof(struct inbox_message) <= PIPE_BUF, "a message is written in one piece");

/* Returns how many messages were delivered. */
static int deliver(struct inbox *inbox)
{
	struct inbox_message batch[READ_BATCH];
	ssize_t len;
	int n;

	do
		len = read(inbox->watch.fd, batch, sizeof(batch));
	while (len < 0 && errno == EINTR);
	n = len < 0 ? 0 : (int)((size_t)len / sizeof(batch[0]));
	for (int i = 0; i < n; i++)
		inbox->on_message(inbox, &batch[i]);
	return n;
}

static void on_messages(struct watch *watch, short revents)
{
	(void)revents;
	deliver(LOOP_OWNER(watch, struct inbox, watch));
}

int inbox_open(struct inbox *inbox, struct loop *loop,
	       void (*on_message)(struct inbox *inbox, const struct inbox_message *m))
{
	int fds[2];

	inbox->on_message = on_message;
	inbox->in = -1;
	inbox->watch = (struct watch){ .fd = -1, .events = POLLIN, .on_event = on_messages };
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	inbox->watch.fd = fds[0];
	inbox->in = fds[1];
	return loop_add(loop, &inbox->watch);
}

void inbox_close(struct inbox *inbox)
{
	fd_close(&inbox->watch.fd);
	fd_close(&inbox->in);
}

int inbox_try_send(struct inbox *inbox, const struct inbox_message *m)
{
	return fd_write_all(inbox->in, m, sizeof(*m));
}

int inbox_send(struct inbox *inbox, const struct inbox_message *m, unsigned long long until_ms)
{
	int left_ms, r;

	while ((r = inbox_try_send(inbox, m)) == -EAGAIN && (left_ms = clock_left_ms(until_ms)) > 0)
		fd_wait(inbox->in, POLLOUT, left_ms);
	return r;
}

void inbox_drain(struct inbox *inbox)
{
	while (inbox->watch.fd >= 0 && deliver(inbox) > 0)
		;
}
