/* SPDX-License-Identifier: Apache-2.0 */
/* The port table. See ports.h.
 *
 * The slots are an array in the order of the IDs. IDs grow, so a new port is appended.
 */
#include "ports/ports.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "formats/ipaddr.h"

#define PORT_NUMBERS 65536

struct ports {
	const struct portdriver *driver;
	void *driver_data;
	const char *const *protos;
	struct port_slot *slots;
	size_t count;
	size_t cap;
	/* For each port number, how many slots have it as parent port. So a new port is compared
	 * with the others only if one has the same number. Pages that are never written cost no
	 * memory. */
	uint32_t *taken; /* [PORT_NUMBERS] */
	int last_id;
	void (*on_stuck)(void *arg); /* of struct port_setup */
	void *arg;
};

static void free_table(struct ports *ports)
{
	free(ports->slots);
	free(ports->taken);
	free(ports);
}

int ports_new(struct ports **out, const struct portdriver *driver, const struct port_setup *setup,
	      struct err *e)
{
	struct ports *ports = calloc(1, sizeof(*ports));
	int r;

	if (ports == NULL)
		return err_sys(e, ENOMEM, "starting the port driver");
	ports->driver = driver;
	ports->on_stuck = setup->on_stuck;
	ports->arg = setup->arg;
	ports->protos = setup->ipv6 && driver->protos_ipv6 != NULL ? driver->protos_ipv6
								   : driver->protos;
	ports->taken = calloc(PORT_NUMBERS, sizeof(ports->taken[0]));
	r = ports->taken == NULL ? err_sys(e, ENOMEM, "starting the port driver")
				 : driver->start(&ports->driver_data, setup, e);
	if (r < 0)
		free_table(ports);
	else
		*out = ports;
	return r;
}

bool ports_failed(const struct ports *ports)
{
	return ports != NULL && ports->driver->failed != NULL &&
	       ports->driver->failed(ports->driver_data);
}

bool ports_free(struct ports *ports, unsigned int wait_ms)
{
	if (ports == NULL)
		return true;
	if (!ports->driver->free(ports->driver_data, ports->slots, ports->count, wait_ms))
		return false;
	free_table(ports);
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

/* Binding failed because the address is in use. Adds to `e` a published port with the same number,
 * if there is one: it may be the one that uses the address. (Its parent IP or its protocol differs,
 * otherwise check_conflict would have found it.) */
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

/* Asks for a restart of the network program if it has not answered. `r` is the result of the driver
 * (-ETIMEDOUT then). Returns `r`. */
static int check_stuck(const struct ports *ports, int r)
{
	if (r == -ETIMEDOUT && ports->driver->forget != NULL)
		ports->on_stuck(ports->arg);
	return r;
}

static int open_slot(const struct ports *ports, struct port_slot *slot, struct err *e)
{
	return check_stuck(ports, ports->driver->open(ports->driver_data, slot, e));
}

int ports_add(struct ports *ports, const struct portspec *spec, struct err *e)
{
	struct port_slot slot = { .data = NULL };
	int r = check_conflict(ports, spec, e);

	if (r < 0)
		return r;
	r = make_room(ports);
	if (r < 0)
		return err_sys(e, -r, "publishing a port");
	slot.entry = (struct port_entry){ .id = ports->last_id + 1, .spec = *spec };
	r = open_slot(ports, &slot, e);
	if (r == -EADDRINUSE)
		name_own_port(ports, spec, e);
	if (r < 0)
		return r;
	ports->slots[ports->count++] = slot;
	ports->taken[spec->parent_port]++;
	return ++ports->last_id;
}

/* Opens a port again, and logs a failure. Returns 0 or -errno. */
static int reopen(const struct ports *ports, struct port_slot *slot)
{
	char text[PORTSPEC_TEXT_LEN];
	struct err why;
	int r = open_slot(ports, slot, &why);

	if (r < 0)
		log_error("port %d (%s) is closed: %s", slot->entry.id,
			  portspec_text(&slot->entry.spec, text, sizeof(text)), why.msg);
	return r;
}

void ports_restore(struct ports *ports)
{
	int r = 0;

	if (ports->driver->forget == NULL)
		return;
	for (size_t i = 0; i < ports->count; i++)
		ports->driver->forget(&ports->slots[i]);
	/* A program that does not run or does not answer will be restarted; then all ports are
	 * opened again. */
	for (size_t i = 0; i < ports->count && r != -ENOTCONN && r != -ETIMEDOUT; i++)
		r = reopen(ports, &ports->slots[i]);
}

/* Takes a slot, whose port is closed, out of the table. */
static void drop_slot(struct ports *ports, size_t i)
{
	ports->taken[ports->slots[i].entry.spec.parent_port]--;
	ports->count--;
	memmove(&ports->slots[i], &ports->slots[i + 1],
		(ports->count - i) * sizeof(ports->slots[0]));
}

int ports_remove(struct ports *ports, int id, struct err *e)
{
	size_t i = 0;
	int r;

	while (i < ports->count && ports->slots[i].entry.id != id)
		i++;
	if (i == ports->count)
		return err_set(e, ENOENT, "%s: %d",
			       ports->driver->unknown_id != NULL ? ports->driver->unknown_id
								 : "unknown id",
			       id);
	r = check_stuck(ports, ports->driver->close(ports->driver_data, &ports->slots[i], e));
	if (r == 0)
		drop_slot(ports, i);
	return r;
}

/* Returns 0, or -errno: then the port is closed. */
static int retarget(struct ports *ports, struct port_slot *slot, const char *child_ip,
		    struct err *e)
{
	struct portspec spec = slot->entry.spec;
	int r;

	if (strcmp(spec.child_ip, child_ip) == 0)
		return 0;
	strcpy(spec.child_ip, child_ip);
	r = ports->driver->retarget(ports->driver_data, slot, &spec, e);
	if (r == 0)
		slot->entry.spec = spec;
	return r;
}

int ports_retarget(struct ports *ports, const char *child_ip, struct err *e)
{
	struct ipaddr ip;
	int result = 0;

	if (ports->driver->retarget == NULL)
		return err_set(e, ENOTSUP, "the port driver cannot change the child IP");
	if (child_ip[0] != '\0' &&
	    (ipaddr_parse(&ip, child_ip) < 0 || strlen(child_ip) >= PORTSPEC_IP_LEN))
		return err_set(e, EINVAL, "invalid ChildIP: \"%s\"", child_ip);
	for (size_t i = 0; i < ports->count;) {
		int r = retarget(ports, &ports->slots[i], child_ip, result == 0 ? e : NULL);

		if (r < 0)
			drop_slot(ports, i);
		else
			i++;
		result = result < 0 ? result : r;
	}
	return result;
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
	return ports->protos;
}

bool ports_disallows_loopback(const struct ports *ports)
{
	return ports->driver->disallows_loopback;
}

const char *ports_source_ip_backend(const struct ports *ports)
{
	return ports->driver->source_ip_backend == NULL
		       ? NULL
		       : ports->driver->source_ip_backend(ports->driver_data);
}
