/* SPDX-License-Identifier: Apache-2.0 */
#include "api/reload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "formats/podmanconfig.h"
#include "os/unixacceptor.h"

#define CLIENTS_MAX 16
#define REQUEST_MAX 512 /* bytes; an address with all its characters escaped fits */

struct reload {
	struct loop *loop;
	struct ports *ports;
	struct unixacceptor acceptor;
	struct list clients; /* the oldest first */
	size_t client_count;
};

struct client {
	struct reload *reload;
	struct list_node node;
	struct watch watch; /* owned */
	struct timer deadline;
	struct task reap;
};

static void free_client(struct task *t)
{
	free(LOOP_OWNER(t, struct client, reap));
}

static void close_client(struct client *c)
{
	struct reload *reload = c->reload;

	list_remove(&reload->clients, &c->node);
	reload->client_count--;
	loop_cancel(reload->loop, &c->deadline);
	loop_remove(reload->loop, &c->watch);
	fd_close(&c->watch.fd);
	c->reap.run = free_client;
	loop_defer(reload->loop, &c->reap);
}

static void on_deadline(struct timer *t)
{
	close_client(LOOP_OWNER(t, struct client, deadline));
}

/* Changes the child IP as the packet text[0..len) says. Returns 0, or -errno with a reason. */
static int change_child_ip(struct reload *reload, const char *text, size_t len, struct err *e)
{
	char ip[PORTSPEC_IP_LEN];
	int r;

	if (len > REQUEST_MAX)
		return err_set(e, EMSGSIZE, "the new child IP is too long");
	r = podmanconfig_child_ip(ip, text, len, e);
	if (r < 0)
		err_wrap(e, "reading the new child IP");
	return r < 0 ? r : ports_retarget(reload->ports, ip, e);
}

static void on_request(struct watch *w, short revents)
{
	struct client *c = LOOP_OWNER(w, struct client, watch);
	char text[REQUEST_MAX];
	struct err answer = { "OK" };
	ssize_t n = recv(w->fd, text, sizeof(text), MSG_DONTWAIT | MSG_TRUNC);

	(void)revents;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n >= 0) {
		change_child_ip(c->reload, text, (size_t)n, &answer);
		/* A failure is ignored: the client has gone. */
		(void)!send(w->fd, answer.msg, strlen(answer.msg), MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	close_client(c);
}

static int start_client(struct unixacceptor *acceptor, int fd)
{
	struct reload *reload = LOOP_OWNER(acceptor, struct reload, acceptor);
	struct client *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		close(fd);
		return -ENOMEM;
	}
	c->reload = reload;
	c->watch = (struct watch){ .fd = fd, .events = POLLIN, .on_event = on_request };
	c->deadline.on_due = on_deadline;
	list_append(&reload->clients, &c->node);
	reload->client_count++;
	if (loop_add(reload->loop, &c->watch) == 0 &&
	    loop_timer(reload->loop, &c->deadline, RELOAD_MS) == 0)
		return 0;
	close_client(c);
	return -ENOMEM;
}

static struct client *oldest(const struct reload *reload)
{
	return LIST_OWNER(reload->clients.first, struct client, node);
}

static bool make_room(struct unixacceptor *acceptor, int errnum)
{
	struct reload *reload = LOOP_OWNER(acceptor, struct reload, acceptor);

	if (errnum == 0 && reload->client_count < CLIENTS_MAX)
		return true;
	if (reload->client_count == 0)
		return false;
	close_client(oldest(reload));
	return true;
}

int reload_new(struct reload **out, struct loop *loop, const char *path, struct ports *ports,
	       struct err *e)
{
	struct reload *reload = calloc(1, sizeof(*reload));
	int r;

	if (reload == NULL)
		return err_sys(e, ENOMEM, "listening for reloads");
	reload->loop = loop;
	reload->ports = ports;
	reload->acceptor.by_packet = true;
	reload->acceptor.on_client = start_client;
	reload->acceptor.make_room = make_room;
	r = unixacceptor_listen(&reload->acceptor, loop, path, e);
	if (r < 0)
		free(reload);
	else
		*out = reload;
	return r;
}

void reload_free(struct reload *reload)
{
	if (reload == NULL)
		return;
	unixacceptor_close(&reload->acceptor);
	while (reload->client_count > 0)
		close_client(oldest(reload));
	loop_run_tasks(reload->loop);
	free(reload);
}
