/* SPDX-License-Identifier: Apache-2.0 */
/* The port table. See ports.h.
 *
 * An array in the order of the IDs, which grow: a port is added at the end. The listening socket is
 * ours; workers borrow it until worker_remove_port has returned.
 */
#include "ports.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bpreq.h"
#include "fd.h"
#include "listen.h"
#include "proc.h"
#include "worker.h"

/* Descriptors that are not for connections: those of the launcher itself, of API clients and of
 * ports to come. A small limit leaves half of it. */
#define RESERVED_FDS 512

struct port_slot {
	struct port_entry entry;
	int listen_fd;
};

struct ports {
	struct worker *worker;
	struct port_slot *slots;
	size_t count;
	size_t cap;
	int last_id;
};

struct ports *ports_new(const char *bp_socket, struct err *e)
{
	struct ports *ports = calloc(1, sizeof(*ports));
	size_t max_fds = proc_max_fds();

	if (ports == NULL) {
		err_sys(e, ENOMEM, "starting the port driver");
		return NULL;
	}
	max_fds = max_fds > 2 * RESERVED_FDS ? max_fds - RESERVED_FDS : max_fds / 2;
	ports->worker = worker_start(bp_socket, max_fds, e);
	if (ports->worker == NULL) {
		free(ports);
		return NULL;
	}
	return ports;
}

void ports_free(struct ports *ports)
{
	if (ports == NULL)
		return;
	worker_end(ports->worker);
	/* Before the others have ended, so that nobody comes in meanwhile. */
	for (size_t i = 0; i < ports->count; i++)
		fd_close(&ports->slots[i].listen_fd);
	worker_free(ports->worker);
	free(ports->slots);
	free(ports);
}

static int check_conflict(const struct ports *ports, const struct portspec *spec, struct err *e)
{
	for (size_t i = 0; i < ports->count; i++) {
		const struct port_entry *entry = &ports->slots[i].entry;

		if (portspec_conflicts(&entry->spec, spec))
			return err_set(e, EEXIST, "conflict with ID %d", entry->id);
	}
	return 0;
}

/* What is asked of the child for a connection to this port. */
static struct bpreq target_of(const struct portspec *spec)
{
	struct bpreq target = { .type = BPREQ_CONNECT, .proto = spec->proto };

	target.port = spec->child_port;
	strcpy(target.ip, spec->child_ip);
	strcpy(target.parent_ip, spec->parent_ip);
	return target;
}

static int make_room(struct ports *ports)
{
	size_t cap = ports->cap == 0 ? 8 : 2 * ports->cap;
	struct port_slot *slots;

	if (ports->count < ports->cap)
		return 0;
	slots = realloc(ports->slots, cap * sizeof(*slots));
	if (slots == NULL)
		return -ENOMEM;
	ports->slots = slots;
	ports->cap = cap;
	return 0;
}

int ports_add(struct ports *ports, const struct portspec *spec, struct err *e)
{
	const struct bpreq target = target_of(spec);
	FD_AUTO int fd = -1;
	struct port_slot *slot;
	int r;

	if (proto_is_udp(spec->proto))
		return err_set(e, ENOTSUP, "not supported yet: port protocol %s",
			       proto_name(spec->proto));
	if (!proto_is_tcp(spec->proto))
		return err_set(e, ENOTSUP, "unsupported port protocol %s", proto_name(spec->proto));
	r = check_conflict(ports, spec, e);
	if (r < 0)
		return r;
	fd = listen_tcp(spec, e);
	if (fd < 0)
		return fd;
	r = make_room(ports);
	if (r == 0)
		r = worker_add_port(ports->worker, ports->last_id + 1, fd, &target);
	if (r < 0)
		return err_sys(e, -r, "publishing a port");
	slot = &ports->slots[ports->count++];
	slot->entry = (struct port_entry){ .id = ++ports->last_id, .spec = *spec };
	slot->listen_fd = fd_take(&fd);
	return slot->entry.id;
}

int ports_remove(struct ports *ports, int id, struct err *e)
{
	size_t i = 0;

	while (i < ports->count && ports->slots[i].entry.id != id)
		i++;
	if (i == ports->count)
		return err_set(e, ENOENT, "unknown id: %d", id);
	worker_remove_port(ports->worker, id);
	fd_close(&ports->slots[i].listen_fd);
	ports->count--;
	memmove(&ports->slots[i], &ports->slots[i + 1],
		(ports->count - i) * sizeof(ports->slots[0]));
	return 0;
}

size_t ports_count(const struct ports *ports)
{
	return ports->count;
}

const struct port_entry *ports_at(const struct ports *ports, size_t index)
{
	return &ports->slots[index].entry;
}

const char *const *ports_protos(void)
{
	static const char *const protos[] = { "tcp", "tcp4", "tcp6", NULL };

	return protos;
}
