/* SPDX-License-Identifier: Apache-2.0 */
/* The port table. See ports.h.
 *
 * What a port driver does is a `struct port_driver`; the table itself knows no more of it.
 *
 * An array in the order of the IDs, which grow: a port is added at the end. The listening socket is
 * ours; workers borrow it, and the listener, until workers_remove_port has returned.
 */
#include "ports/ports.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "formats/bpmsg.h"
#include "os/proc.h"
#include "ports/listen.h"
#include "ports/slirpports.h"
#include "ports/workers.h"

#define PORT_NUMBERS 65536

struct port_slot {
	struct port_entry entry;
	struct listener *listener; /* builtin, owned, and its socket too; else NULL */
	int64_t remote_id;	   /* slirp4netns: its own ID; -1: it does not have the port */
};

struct port_driver {
	const char *const *protos;
	bool disallows_loopback;
	/* Opens the port of a slot whose entry is filled in. Returns 0 or -errno with a reason. */
	int (*open)(struct ports *ports, struct port_slot *slot, struct err *e);
	/* Closes it. Returns 0 or -errno with a reason. */
	int (*close)(struct ports *ports, struct port_slot *slot, struct err *e);
};

struct ports {
	const struct port_driver *driver;
	struct workers *workers; /* builtin; else NULL */
	char *api_socket;	 /* slirp4netns; else NULL; owned */
	char *child_ip;		 /* likewise */
	void (*on_stuck)(void *arg);
	void *arg;
	struct port_slot *slots;
	size_t count;
	size_t cap;
	/* How many slots have each parent port, so that thousands are not compared with each other.
	 * Memory that is not touched costs nothing. */
	uint32_t *taken; /* [PORT_NUMBERS] */
	int last_id;
	bool ending; /* the workers are told to end */
};

/* ---- the builtin driver ---- */

/* What is asked of the child for a connection to this port. */
static struct bpmsg target_of(const struct portspec *spec)
{
	struct bpmsg target = { .type = BPMSG_CONNECT, .proto = spec->proto };

	target.port = spec->child_port;
	strcpy(target.ip, spec->child_ip);
	strcpy(target.parent_ip, spec->parent_ip);
	return target;
}

static void free_listener(struct listener **listener)
{
	if (*listener == NULL)
		return;
	fd_close(&(*listener)->listen_fd);
	free(*listener);
	*listener = NULL;
}

/* Closes the socket of a port that a late or failed worker still knows, and has the number lead
 * nowhere: what the worker does with it one day must not meet another file. */
static void blind_listener(const struct ports *ports, const struct listener *listener)
{
	FD_AUTO int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (nowhere < 0 || dup3(nowhere, listener->listen_fd, O_CLOEXEC) < 0)
		log_error("closing port %d: %s", listener->id, strerror(errno));
	else if (!workers_failed(ports->workers))
		log_warn("port %d is closed, but a worker is blocked by a socket from inside",
			 listener->id);
}

static int builtin_open(struct ports *ports, struct port_slot *slot, struct err *e)
{
	const struct portspec *spec = &slot->entry.spec;
	int r = 0;

	if (!proto_is_tcp(spec->proto) && !proto_is_udp(spec->proto))
		return err_set(
			e, ENOTSUP,
			"unsupported port protocol %s; the builtin port driver takes tcp, tcp4, "
			"tcp6, udp, udp4 and udp6",
			proto_name(spec->proto));
	slot->listener = calloc(1, sizeof(*slot->listener));
	if (slot->listener == NULL)
		return err_sys(e, ENOMEM, "publishing a port");
	slot->listener->id = slot->entry.id;
	slot->listener->target = target_of(spec);
	listener_name(slot->listener, spec);
	listener_note_target(slot->listener);
	slot->listener->listen_fd = listen_port(spec, e);
	if (slot->listener->listen_fd < 0) {
		r = slot->listener->listen_fd;
	} else {
		r = workers_add_port(ports->workers, slot->listener);
		if (r < 0)
			err_sys(e, -r, "publishing a port");
	}
	if (r == -ETIMEDOUT)
		blind_listener(ports, slot->listener);
	else if (r < 0)
		free_listener(&slot->listener);
	return r;
}

static int builtin_close(struct ports *ports, struct port_slot *slot, struct err *e)
{
	(void)e;
	if (workers_remove_port(ports->workers, slot->listener) < 0)
		blind_listener(ports, slot->listener);
	else
		free_listener(&slot->listener);
	return 0;
}

static const char *const builtin_protos[] = { "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", NULL };

static const struct port_driver builtin = {
	.protos = builtin_protos,
	.open = builtin_open,
	.close = builtin_close,
};

/* ---- slirp4netns' driver ---- */

static int check_stuck(const struct ports *ports, int r)
{
	if (r == -ETIMEDOUT)
		ports->on_stuck(ports->arg);
	return r;
}

static int slirp_open(struct ports *ports, struct port_slot *slot, struct err *e)
{
	int r = slirpports_add(ports->api_socket, &slot->entry.spec, ports->child_ip,
			       &slot->remote_id, e);

	return check_stuck(ports, r);
}

static int slirp_close(struct ports *ports, struct port_slot *slot, struct err *e)
{
	int r = slot->remote_id < 0 ? 0 : slirpports_remove(ports->api_socket, slot->remote_id, e);

	/* When it is not running it has no port. */
	return r == -ENOTCONN ? 0 : check_stuck(ports, r);
}

static const struct port_driver slirp = {
	.protos = slirpports_protos,
	.disallows_loopback = true,
	.open = slirp_open,
	.close = slirp_close,
};

/* ---- the table ---- */

static struct ports *new_table(const struct port_driver *driver, struct err *e)
{
	struct ports *ports = calloc(1, sizeof(*ports));

	if (ports != NULL)
		ports->taken = calloc(PORT_NUMBERS, sizeof(ports->taken[0]));
	if (ports == NULL || ports->taken == NULL) {
		free(ports);
		err_sys(e, ENOMEM, "starting the port driver");
		return NULL;
	}
	ports->driver = driver;
	return ports;
}

struct ports *ports_new(const char *bp_socket, size_t count, bool source_ip, struct err *e)
{
	struct ports *ports = new_table(&builtin, e);

	if (ports == NULL)
		return NULL;
	ports->workers = workers_start(bp_socket, count, proc_max_fds(), source_ip, e);
	if (ports->workers == NULL) {
		ports_free(ports, 0);
		return NULL;
	}
	return ports;
}

struct ports *ports_new_slirp(const char *api_socket, const char *child_ip,
			      void (*on_stuck)(void *arg), void *arg, struct err *e)
{
	struct ports *ports = new_table(&slirp, e);

	if (ports == NULL)
		return NULL;
	ports->api_socket = strdup(api_socket);
	ports->child_ip = strdup(child_ip);
	ports->on_stuck = on_stuck;
	ports->arg = arg;
	if (ports->api_socket == NULL || ports->child_ip == NULL) {
		err_sys(e, ENOMEM, "starting the port driver");
		ports_free(ports, 0);
		return NULL;
	}
	return ports;
}

/* Has the workers end. Returns false where one is blocked. */
static bool end_workers(struct ports *ports, unsigned int wait_ms)
{
	bool in_time;

	if (ports->ending)
		return workers_free(ports->workers, wait_ms);
	ports->ending = true;
	in_time = workers_end(ports->workers) == 0;
	/* Before the others have ended, so that nobody comes in meanwhile. */
	for (size_t i = 0; i < ports->count; i++) {
		if (in_time)
			fd_close(&ports->slots[i].listener->listen_fd);
		else
			blind_listener(ports, ports->slots[i].listener);
	}
	return workers_free(ports->workers, wait_ms);
}

bool ports_failed(const struct ports *ports)
{
	return ports != NULL && ports->workers != NULL && workers_failed(ports->workers);
}

bool ports_free(struct ports *ports, unsigned int wait_ms)
{
	if (ports == NULL)
		return true;
	if (ports->workers != NULL && !end_workers(ports, wait_ms))
		return false;
	for (size_t i = 0; i < ports->count; i++)
		free_listener(&ports->slots[i].listener);
	free(ports->api_socket);
	free(ports->child_ip);
	free(ports->slots);
	free(ports->taken);
	free(ports);
	return true;
}

static int check_conflict(const struct ports *ports, const struct portspec *spec, struct err *e)
{
	char text[PORTSPEC_TEXT_LEN];

	for (size_t i = 0; ports->taken[spec->parent_port] > 0 && i < ports->count; i++) {
		const struct port_entry *entry = &ports->slots[i].entry;

		if (portspec_conflicts(&entry->spec, spec))
			return err_set(e, EEXIST, "conflict with ID %d; that is %s", entry->id,
				       portspec_text(&entry->spec, text, sizeof(text)));
	}
	return 0;
}

/* Adds a port of ours with the same number, which may be what has the address: proto or parent IP
 * differ, so that the two do not conflict as specs. */
static void name_own_port(const struct ports *ports, const struct portspec *spec, struct err *e)
{
	char text[PORTSPEC_TEXT_LEN];

	for (size_t i = 0; ports->taken[spec->parent_port] > 0 && i < ports->count; i++) {
		const struct port_entry *entry = &ports->slots[i].entry;

		if (entry->spec.parent_port != spec->parent_port ||
		    proto_is_udp(entry->spec.proto) != proto_is_udp(spec->proto))
			continue;
		err_add(e, "; ID %d of this launcher is %s", entry->id,
			portspec_text(&entry->spec, text, sizeof(text)));
		return;
	}
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
	struct port_slot slot = { .remote_id = -1 };
	int r = check_conflict(ports, spec, e);

	if (r < 0)
		return r;
	r = make_room(ports);
	if (r < 0)
		return err_sys(e, -r, "publishing a port");
	slot.entry = (struct port_entry){ .id = ports->last_id + 1, .spec = *spec };
	r = ports->driver->open(ports, &slot, e);
	if (r == -EADDRINUSE)
		name_own_port(ports, spec, e);
	if (r < 0)
		return r;
	ports->slots[ports->count++] = slot;
	ports->taken[spec->parent_port]++;
	return ++ports->last_id;
}

void ports_restore(struct ports *ports)
{
	bool lost = false;

	for (size_t i = 0; ports->driver == &slirp && i < ports->count; i++) {
		struct port_slot *slot = &ports->slots[i];
		char brief[PORTSPEC_TEXT_LEN];
		struct err why;
		int r;

		slot->remote_id = -1;
		if (lost)
			continue;
		r = slirp_open(ports, slot, &why);
		if (r < 0)
			log_error("port %d %s is closed: %s", slot->entry.id,
				  portspec_brief(&slot->entry.spec, brief, sizeof(brief)), why.msg);
		/* One that does not answer is not asked for each of many ports. */
		lost = r == -ETIMEDOUT || r == -ENOTCONN;
	}
}

int ports_remove(struct ports *ports, int id, struct err *e)
{
	size_t i = 0;
	int r;

	while (i < ports->count && ports->slots[i].entry.id != id)
		i++;
	if (i == ports->count)
		return err_set(e, ENOENT, "unknown id: %d", id);
	r = ports->driver->close(ports, &ports->slots[i], e);
	if (r < 0)
		return r;
	ports->taken[ports->slots[i].entry.spec.parent_port]--;
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

const char *const *ports_protos(const struct ports *ports)
{
	return ports->driver->protos;
}

bool ports_disallows_loopback(const struct ports *ports)
{
	return ports->driver->disallows_loopback;
}
