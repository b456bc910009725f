/* SPDX-License-Identifier: Apache-2.0 */
/* Frames and descriptors between parent and child. See msg.h. */
#include "msg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "os/closer.h"
#include "os/sockopt.h"

/* There is room for as many descriptors as the kernel passes, so a truncated control message can
 * only mean that this process is out of descriptors. */
union control {
	char space[CMSG_SPACE(MSG_FDS_MAX * sizeof(int))];
	struct cmsghdr align;
};

static void put_le32(unsigned char *out, uint32_t v)
{
	for (int i = 0; i < MSG_HEAD; i++)
		out[i] = (unsigned char)(v >> (8 * i));
}

static uint32_t get_le32(const unsigned char *in)
{
	uint32_t v = 0;

	for (int i = 0; i < MSG_HEAD; i++)
		v |= (uint32_t)in[i] << (8 * i);
	return v;
}

/* As fd_write_all, but a socket raises no SIGPIPE. */
static int write_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ENOTSOCK)
			return fd_write_all(fd, bytes, len);
		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

int msg_send(int fd, const void *body, size_t len)
{
	char *frame; /* too large for a small stack (ulimit -s) */
	int r;

	if (len == 0 || len > MSG_MAX)
		return -EMSGSIZE;
	frame = malloc(MSG_HEAD + len);
	if (frame == NULL)
		return -ENOMEM;
	put_le32((unsigned char *)frame, (uint32_t)len);
	memcpy(frame + MSG_HEAD, body, len);
	r = write_all(fd, frame, MSG_HEAD + len);
	free(frame);
	return r;
}

int msg_send_now(int sock, const void *body, size_t len)
{
	unsigned char head[MSG_HEAD];
	struct iovec iov[2] = { { head, sizeof(head) }, { (void *)(uintptr_t)body, len } };
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	if (len == 0 || len > MSG_MAX)
		return -EMSGSIZE;
	put_le32(head, (uint32_t)len);
	do
		n = sendmsg(sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == sizeof(head) + len ? 0 : -EAGAIN;
}

/* Called when the four bytes of the length have arrived. */
static int start_body(struct msg_reader *r)
{
	uint32_t len = get_le32(r->head);

	if (len == 0 || len > MSG_MAX)
		return -EPROTO;
	r->body = malloc((size_t)len + 1);
	if (r->body == NULL)
		return -ENOMEM;
	r->len = len;
	return 0;
}

/* Returns where the next bytes go; *len is how many are expected. */
static char *room(struct msg_reader *r, size_t *len)
{
	if (r->body == NULL) {
		*len = MSG_HEAD - r->head_len;
		return (char *)r->head + r->head_len;
	}
	*len = r->len - r->body_len;
	return r->body + r->body_len;
}

/* Records that `n` bytes were written to room(). Returns as msg_read. */
static int advance(struct msg_reader *r, size_t n)
{
	if (r->body == NULL) {
		r->head_len += n;
		return r->head_len == MSG_HEAD ? start_body(r) : 0;
	}
	r->body_len += n;
	if (r->body_len < r->len)
		return 0;
	r->body[r->len] = '\0';
	return 1;
}

int msg_read(struct msg_reader *r, int fd)
{
	int done;

	do {
		size_t len;
		char *to = room(r, &len);
		ssize_t n = read(fd, to, len);

		if (n < 0 && errno == EINTR) {
			done = 0;
			continue;
		}
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (n == 0)
			return r->head_len == 0 ? -ENODATA : -EPIPE;
		done = advance(r, (size_t)n);
	} while (done == 0);
	return done;
}

int msg_feed(struct msg_reader *r, const char *bytes, size_t len)
{
	int done = 0;

	while (done == 0 && len > 0) {
		size_t n;
		char *to = room(r, &n);

		if (n > len)
			n = len;
		memcpy(to, bytes, n);
		bytes += n;
		len -= n;
		done = advance(r, n);
	}
	return done;
}

void msg_reader_reset(struct msg_reader *r)
{
	free(r->body);
	memset(r, 0, sizeof(*r));
}

int msg_send_fds(int sock, const int *fds, size_t count, char byte)
{
	struct iovec iov = { &byte, 1 };
	union control control;
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = (socklen_t)CMSG_SPACE(count * sizeof(int)),
	};
	struct cmsghdr *c = &control.align;
	ssize_t n;

	if (count == 0 || count > MSG_FDS_MAX)
		return -EINVAL;
	memset(control.space, 0, mh.msg_controllen);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = (socklen_t)CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	do
		n = sendmsg(sock, &mh, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

int msg_send_fd(int sock, int fd)
{
	return msg_send_fds(sock, &fd, 1, 0);
}

/* Takes the descriptors out of a control message. Returns how many there were. */
static size_t collect_fds(struct msghdr *mh, int fds[MSG_FDS_MAX])
{
	size_t count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c != NULL; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= c->cmsg_len; at += sizeof(int))
			memcpy(&fds[count++], CMSG_DATA(c) + at, sizeof(int));
	}
	return count;
}

/* Receives bytes, and all descriptors that came with them. *flags are msg_flags of recvmsg(2). */
static ssize_t receive(int sock, void *buf, size_t cap, int fds[MSG_FDS_MAX], size_t *count,
		       int *flags)
{
	struct iovec iov = { buf, cap };
	union control control;
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	ssize_t n;

	*count = 0;
	do
		n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	*count = collect_fds(&mh, fds);
	*flags = mh.msg_flags;
	return n;
}

ssize_t msg_recv_fds(int sock, void *buf, size_t cap, int *fds, size_t max, size_t *count)
{
	int got[MSG_FDS_MAX], flags;
	ssize_t n = receive(sock, buf, cap, got, count, &flags);

	if (n < 0)
		return n;
	if (*count <= max && !(flags & MSG_CTRUNC)) {
		memcpy(fds, got, *count * sizeof(int));
		return n;
	}
	closer_close_all(got, *count);
	*count = 0;
	return flags & MSG_CTRUNC ? -EMFILE : -EPROTO;
}

ssize_t msg_recv_fd(int sock, void *buf, size_t cap, int *fd)
{
	size_t count;
	ssize_t n = msg_recv_fds(sock, buf, cap, fd, 1, &count);

	if (count == 0)
		*fd = -1;
	else
		sockopt_forget_linger(*fd);
	return n;
}

/* A peek without a control buffer leaves attached descriptors in the socket, and the kernel reports
 * them by MSG_CTRUNC. */
ssize_t msg_recv(int sock, void *buf, size_t cap)
{
	struct iovec iov = { buf, cap };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	do
		n = recvmsg(sock, &mh, MSG_PEEK | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0 && (mh.msg_flags & MSG_CTRUNC))
		return -EPROTO;
	if (n > 0)
		n = recv(sock, buf, (size_t)n, MSG_DONTWAIT);
	return n < 0 ? -errno : n;
}

/* Closes a connection and the descriptors that wait in it. Runs in a closer. */
static void drain_and_close(int sock)
{
	int fds[MSG_FDS_MAX], flags;
	char bytes[512];
	size_t count;
	ssize_t n;

	do {
		n = receive(sock, bytes, sizeof(bytes), fds, &count, &flags);
		for (size_t i = 0; i < count; i++)
			sockopt_reset(&fds[i]);
	} while (n > 0);
	close(sock);
}

void msg_close(int *sock)
{
	int queued = 0;

	if (*sock < 0)
		return;
	/* From now on the peer cannot send (unix(7)). */
	shutdown(*sock, SHUT_RDWR);
	if (ioctl(*sock, FIONREAD, &queued) == 0 && queued == 0)
		fd_close(sock);
	else
		closer_run(drain_and_close, *sock);
	*sock = -1;
}
