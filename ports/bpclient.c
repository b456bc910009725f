/* SPDX-License-Identifier: Apache-2.0 */
/* The "init" request. See bpclient.h. */
#include "ports/bpclient.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "formats/bpmsg.h"
#include "msg.h"
#include "os/unixsock.h"

#define ANSWER_DEADLINE_MS 10000

static int receive_answer(int sock, struct err *e)
{
	struct msg_reader reader = { 0 };
	int r = fd_wait(sock, POLLIN, ANSWER_DEADLINE_MS);

	if (r == 0)
		r = -ETIMEDOUT;
	/* A peer that stops within a frame is not to hold us up: it is of no use. */
	if (r > 0)
		r = msg_read(&reader, sock);
	if (r == 1)
		r = bpmsg_decode_answer(reader.body, reader.len, e);
	else
		r = err_sys(e, r < 0 ? -r : EPROTO, "answer of the port service");
	msg_reader_reset(&reader);
	return r;
}

int bpclient_init(const char *path, struct err *e)
{
	struct sockaddr_un address;
	const struct bpmsg req = { .type = BPMSG_INIT };
	FD_AUTO int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	char text[BPMSG_MAX];
	int r = bpmsg_encode(&req, text, sizeof(text));

	if (sock < 0)
		return err_sys(e, errno, "socket");
	if (unixsock_address(&address, path) < 0)
		return err_sys(e, ENAMETOOLONG, "%s", path);
	if (connect(sock, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return err_sys(e, errno, "connect %s", path);
	if (r > 0)
		r = msg_send_now(sock, text, (size_t)r);
	if (r < 0)
		return err_sys(e, -r, "asking the port service");
	shutdown(sock, SHUT_WR);
	return receive_answer(sock, e);
}
