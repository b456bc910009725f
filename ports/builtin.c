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
	const char *program; /* for listen_port */
	struct workers *workers;
	bool ending;				   /* workers_end was called */
	bool source_ip;				   /* client addresses should be kept */
	char source_ip_backend[BPMSG_BACKEND_LEN]; /* what the child keeps them with; "": nothing */
};

/* ---- start ---- */

/* Receives the answer to "init", and stores the backend that it names in b->source_ip_backend. */
static int receive_answer(struct builtin *b, int sock, struct err *e)
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
		r = bpmsg_decode_init(reader.body, reader.len, b->source_ip_backend,
				      sizeof(b->source_ip_backend), e);
	else
		r = err_sys(e, r < 0 ? -r : EPROTO, "answer of the port service");
	msg_reader_reset(&reader);
	return r;
}

/* Sends the first request to the child's port service, "init", and waits for the answer. This
 * proves that the service is there and understands us. Blocks for at most ANSWER_DEADLINE_MS. */
static int greet_port_service(struct builtin *b, const char *path, struct err *e)
{
	const struct bpmsg req = { .type = BPMSG_INIT };
	struct sockaddr_un address;
	char text[BPMSG_MAX];
	FD_AUTO int sock = -1;
	int r = unixsock_address(&address, path);

	if (r == 0)
		r = sock = unixsock_connect(&address);
	if (r < 0)
		return err_sys(e, -r, "connect %s", path);
	r = bpmsg_encode(&req, text, sizeof(text));
	if (r > 0)
		r = msg_send_now(sock, text, (size_t)r);
	if (r < 0)
		return err_sys(e, -r, "asking the port service");
	shutdown(sock, SHUT_WR);
	return receive_answer(b, sock, e);
}

static int builtin_start(void **driver, const struct port_setup *setup, struct err *e)
{
	struct builtin *b = calloc(1, sizeof(*b));
	int r;

	if (b == NULL)
		return err_sys(e, ENOMEM, "starting the port driver");
	b->program = setup->program;
	b->source_ip = setup->source_ip;
	r = greet_port_service(b, setup->child_socket, e);
	if (r == 0)
		r = workers_new(&b->workers, setup->child_socket, setup->workers, proc_max_fds(),
				setup->fds, setup->source_ip, e);
	if (r < 0)
		free(b);
	else
		*driver = b;
	return r;
}

/* ---- ports ---- */

static void free_listener(struct listener *listener)
{
	fd_close(&listener->listen_fd);
	free(listener);
}

/* Closes the socket of a port that a late or failed worker may still use, and makes its descriptor
 * number refer to /dev/null. If the number became free, an unrelated file could get it, and the
 * worker would use that file. */
static void redirect_to_dev_null(const struct builtin *b, const struct listener *listener)
{
	FD_AUTO int dev_null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (dev_null < 0 || dup3(dev_null, listener->listen_fd, O_CLOEXEC) < 0)
		log_error("closing port %d: %s", listener->id, strerror(errno));
	else if (!workers_failed(b->workers))
		log_warn("port %d is closed, but a worker is blocked by a socket from inside",
			 listener->id);
}

/* Returns a listener without a socket, or NULL with errno and a reason. */
static struct listener *new_listener(int id, const struct portspec *spec, struct err *e)
{
	struct listener *listener = calloc(1, sizeof(*listener));
	int r;

	if (listener == NULL) {
		err_sys(e, errno, "publishing a port");
		return NULL;
	}
	listener->id = id;
	listener->listen_fd = -1;
	listener->spec = *spec;
	listener_set_name(listener, spec);
	r = target_from_spec(&listener->target, &listener->spec, e);
	listener_note_target(listener);
	if (r == 0)
		return listener;
	free(listener);
	errno = -r;
	return NULL;
}

/* Lets the workers serve a listener that has its socket. Frees it if they cannot. Returns 0 or
 * -errno with a reason. */
static int serve(const struct builtin *b, struct listener *listener, struct err *e)
{
	int r = workers_add_port(b->workers, listener);

	if (r == 0)
		return 0;
	err_sys(e, -r, "publishing a port");
	if (r == -ETIMEDOUT)
		redirect_to_dev_null(b, listener);
	else
		free_listener(listener);
	return r;
}

static int builtin_open(void *driver, struct port_slot *slot, struct err *e)
{
	const struct builtin *b = driver;
	const struct portspec *spec = &slot->entry.spec;
	struct listener *listener;

	if (!proto_is_tcp(spec->proto) && !proto_is_udp(spec->proto))
		return err_set(
			e, ENOTSUP,
			"unsupported port protocol %s; the builtin port driver takes tcp, tcp4, "
			"tcp6, udp, udp4 and udp6",
			proto_name(spec->proto));
	listener = new_listener(slot->entry.id, spec, e);
	if (listener == NULL)
		return -errno;
	listener->listen_fd = listen_port(spec, b->program, e);
	if (listener->listen_fd < 0) {
		int r = listener->listen_fd;

		free_listener(listener);
		return r;
	}
	slot->data = listener;
	return serve(b, listener, e);
}

static int builtin_close(void *driver, struct port_slot *slot, struct err *e)
{
	const struct builtin *b = driver;

	(void)e;
	if (workers_remove_port(b->workers, slot->data) < 0)
		redirect_to_dev_null(b, slot->data);
	else
		free_listener(slot->data);
	return 0;
}

/* A new listener takes over the socket of the old one. */
static int builtin_retarget(void *driver, struct port_slot *slot, const struct portspec *spec,
			    struct err *e)
{
	const struct builtin *b = driver;
	struct listener *old = slot->data;
	struct listener *new = new_listener(slot->entry.id, spec, e);
	int why = errno;
	int r = workers_remove_port(b->workers, old);

	if (r < 0) {
		err_sys(e, -r, "closing connections of port %d", old->id);
		redirect_to_dev_null(b, old);
		free(new);
		return r;
	}
	if (new != NULL)
		new->listen_fd = fd_take(&old->listen_fd);
	free_listener(old);
	slot->data = new;
	return new != NULL ? serve(b, new, e) : -why;
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
			redirect_to_dev_null(b, listener);
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

static const char *builtin_source_ip_backend(const void *driver)
{
	const struct builtin *b = driver;

	if (!b->source_ip)
		return NULL;
	return b->source_ip_backend[0] != '\0' ? b->source_ip_backend : "none";
}

static const char *const protos[] = { "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", NULL };

const struct portdriver builtin_ports = {
	.protos = protos,
	.uses_port_service = true,
	.start = builtin_start,
	.open = builtin_open,
	.close = builtin_close,
	.retarget = builtin_retarget,
	.failed = builtin_failed,
	.source_ip_backend = builtin_source_ip_backend,
	.free = builtin_free,
};
