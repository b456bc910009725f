/* SPDX-License-Identifier: Apache-2.0 */
/* The builtin port driver. See builtin.h.
 *
 * A port is a struct listener. This file owns it and its socket. The workers borrow both from the
 * call of workers_add_port until workers_remove_port has returned.
 */
#include "ports/builtin.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "formats/bpmsg.h"
#include "msg.h"
#include "os/proc.h"
#include "os/unixsock.h"
#include "ports/listen.h"
#include "ports/workers.h"

#define ANSWER_DEADLINE_MS 10000

struct builtin {
	struct workers *workers;
	bool ending; /* workers_end was called */
};

/* ---- start ---- */

static int receive_answer(int sock, struct err *e)
{
	struct msg_reader reader = { 0 };
	int r = fd_wait(sock, POLLIN, ANSWER_DEADLINE_MS);

	if (r == 0)
		r = -ETIMEDOUT;
	/* The socket is non-blocking, so a peer that stops within a frame does not delay us: an
	 * incomplete answer is an error. */
	if (r > 0)
		r = msg_read(&reader, sock);
	if (r == 1)
		r = bpmsg_decode_answer(reader.body, reader.len, e);
	else
		r = err_sys(e, r < 0 ? -r : EPROTO, "answer of the port service");
	msg_reader_reset(&reader);
	return r;
}

/* Sends the first request to the child's port service, "init", and waits for the answer. This
 * proves that the service is there and understands us. Blocks for at most ANSWER_DEADLINE_MS. */
static int greet_port_service(const char *path, struct err *e)
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

static int builtin_start(void **driver, const struct port_setup *setup, struct err *e)
{
	struct builtin *b;
	int r = greet_port_service(setup->child_socket, e);

	if (r < 0)
		return r;
	b = calloc(1, sizeof(*b));
	if (b == NULL)
		return err_sys(e, ENOMEM, "starting the port driver");
	r = workers_new(&b->workers, setup->child_socket, setup->workers, proc_max_fds(),
			setup->source_ip, e);
	if (r < 0)
		free(b);
	else
		*driver = b;
	return r;
}

/* ---- ports ---- */

/* Returns the request that asks the child for a connection to the port's target. */
static struct bpmsg target_of(const struct portspec *spec)
{
	struct bpmsg target = { .type = BPMSG_CONNECT, .proto = spec->proto };

	target.port = spec->child_port;
	strcpy(target.ip, spec->child_ip);
	strcpy(target.parent_ip, spec->parent_ip);
	return target;
}

static void free_listener(struct listener *listener)
{
	fd_close(&listener->listen_fd);
	free(listener);
}

/* Closes the socket of a port that a late or failed worker still uses, and makes its descriptor
 * number refer to /dev/null. If the worker uses the number later, it must not hit an unrelated
 * file. */
static void blind_listener(const struct builtin *b, const struct listener *listener)
{
	FD_AUTO int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (nowhere < 0 || dup3(nowhere, listener->listen_fd, O_CLOEXEC) < 0)
		log_error("closing port %d: %s", listener->id, strerror(errno));
	else if (!workers_failed(b->workers))
		log_warn("port %d is closed, but a worker is blocked by a socket from inside",
			 listener->id);
}

static int builtin_open(void *driver, struct port_slot *slot, struct err *e)
{
	const struct builtin *b = driver;
	const struct portspec *spec = &slot->entry.spec;
	struct listener *listener;
	int r = 0;

	if (!proto_is_tcp(spec->proto) && !proto_is_udp(spec->proto))
		return err_set(
			e, ENOTSUP,
			"unsupported port protocol %s; the builtin port driver takes tcp, tcp4, "
			"tcp6, udp, udp4 and udp6",
			proto_name(spec->proto));
	slot->data = listener = calloc(1, sizeof(*listener));
	if (listener == NULL)
		return err_sys(e, ENOMEM, "publishing a port");
	listener->id = slot->entry.id;
	listener->target = target_of(spec);
	listener_name(listener, spec);
	listener_note_target(listener);
	listener->listen_fd = listen_port(spec, e);
	if (listener->listen_fd < 0) {
		r = listener->listen_fd;
	} else {
		r = workers_add_port(b->workers, listener);
		if (r < 0)
			err_sys(e, -r, "publishing a port");
	}
	if (r == -ETIMEDOUT)
		blind_listener(b, listener);
	else if (r < 0)
		free_listener(listener);
	return r;
}

static int builtin_close(void *driver, struct port_slot *slot, struct err *e)
{
	const struct builtin *b = driver;

	(void)e;
	if (workers_remove_port(b->workers, slot->data) < 0)
		blind_listener(b, slot->data);
	else
		free_listener(slot->data);
	return 0;
}

static bool builtin_failed(const void *driver)
{
	const struct builtin *b = driver;

	return workers_failed(b->workers);
}

/* Ends the workers, and closes the listening sockets before waiting for the connections, so that no
 * further client is accepted. */
static void end_workers(struct builtin *b, struct port_slot *slots, size_t count)
{
	bool in_time = workers_end(b->workers) == 0;

	for (size_t i = 0; i < count; i++) {
		struct listener *listener = slots[i].data;

		if (in_time)
			fd_close(&listener->listen_fd);
		else
			blind_listener(b, listener);
	}
	b->ending = true;
}

static bool builtin_free(void *driver, struct port_slot *slots, size_t count, unsigned int wait_ms)
{
	struct builtin *b = driver;

	if (!b->ending)
		end_workers(b, slots, count);
	if (!workers_free(b->workers, wait_ms))
		return false;
	for (size_t i = 0; i < count; i++)
		free_listener(slots[i].data);
	free(b);
	return true;
}

static const char *const protos[] = { "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", NULL };

const struct portdriver builtin_ports = {
	.protos = protos,
	.uses_port_service = true,
	.start = builtin_start,
	.open = builtin_open,
	.close = builtin_close,
	.failed = builtin_failed,
	.free = builtin_free,
};
