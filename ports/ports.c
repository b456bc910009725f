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

#define PORT_NUMBERS 65536

struct ports {
	const struct portdriver *driver;
	void *driver_data;
	struct port_slot *slots;
	size_t count;
	size_t cap;
	/* How many slots have each parent port. So a new port is compared with the others only if
	 * one has the same number. Pages that are never written cost no memory. */
	uint32_t *taken; /* [PORT_NUMBERS] */
	int last_id;
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

/* Names in `e` a published port with the same number, which may be what occupies the address: its
 * protocol or parent IP differs, so that the two specs do not conflict. */
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
	struct port_slot slot = { .data = NULL };
	int r = check_conflict(ports, spec, e);

	if (r < 0)
		return r;
	r = make_room(ports);
	if (r < 0)
		return err_sys(e, -r, "publishing a port");
	slot.entry = (struct port_entry){ .id = ports->last_id + 1, .spec = *spec };
	r = ports->driver->open(ports->driver_data, &slot, e);
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
	if (ports->driver->restore != NULL)
		ports->driver->restore(ports->driver_data, ports->slots, ports->count);
}

int ports_remove(struct ports *ports, int id, struct err *e)
{
	size_t i = 0;
	int r;

	while (i < ports->count && ports->slots[i].entry.id != id)
		i++;
	if (i == ports->count)
		return err_set(e, ENOENT, "unknown id: %d", id);
	r = ports->driver->close(ports->driver_data, &ports->slots[i], e);
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
