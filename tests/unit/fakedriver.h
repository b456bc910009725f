/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FAKEDRIVER_H
#define FAKEDRIVER_H

/* A port driver that opens no sockets. It records what the port table asks of it, and fails when a
 * test wants that. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ports/portdriver.h"
#include "tests/unit/fixture.h"

static struct fake_driver {
	int fails_with;	 /* the error of start, open and close; 0: they succeed */
	int fails_at;	 /* only a port with this ID fails; 0: all of them */
	bool has_failed; /* the answer of `failed` */
	bool is_busy;	 /* `free` cannot finish, since a worker still runs */

	const struct port_setup *setup;
	const char *source_ip_backend;
	size_t open_count;	/* ports that are open now */
	size_t opened;		/* calls of open that succeeded */
	size_t forgotten;	/* calls of forget */
	size_t retargeted;	/* calls of retarget that succeeded */
	size_t freed_with;	/* ports in the last call of free */
	unsigned int freed_ms;	/* its `wait_ms` */
	struct port_entry last; /* entry of the last call of open or close */
	int last_number;	/* its data, which open has set to ten times the ID */
} fake_driver;

static inline int fake_fail(struct err *e)
{
	return err_set(e, fake_driver.fails_with, "the fake driver fails");
}

static inline bool fake_fails_for(const struct port_slot *slot)
{
	return fake_driver.fails_with != 0 &&
	       (fake_driver.fails_at == 0 || fake_driver.fails_at == slot->entry.id);
}

static inline int fake_start(void **driver, const struct port_setup *setup, struct err *e)
{
	fake_driver.setup = setup;
	if (fake_driver.fails_with != 0)
		return fake_fail(e);
	*driver = &fake_driver;
	return 0;
}

/* Returns a number in memory of its own. */
static inline int *fake_data(int number)
{
	int *data = malloc(sizeof(*data));

	ck_assert_ptr_nonnull(data);
	*data = number;
	return data;
}

static inline int fake_open(void *driver, struct port_slot *slot, struct err *e)
{
	ck_assert_ptr_eq(driver, &fake_driver);
	ck_assert_ptr_null(slot->data);
	fake_driver.last = slot->entry;
	if (fake_fails_for(slot))
		return fake_fail(e);
	slot->data = fake_data(slot->entry.id * 10);
	fake_driver.opened++;
	fake_driver.open_count++;
	return 0;
}

static inline int fake_close(void *driver, struct port_slot *slot, struct err *e)
{
	ck_assert_ptr_eq(driver, &fake_driver);
	fake_driver.last = slot->entry;
	fake_driver.last_number = *(int *)slot->data;
	if (fake_fails_for(slot))
		return fake_fail(e);
	free(slot->data);
	fake_driver.open_count--;
	return 0;
}

static inline int fake_retarget(void *driver, struct port_slot *slot, const struct portspec *spec,
				struct err *e)
{
	ck_assert_ptr_eq(driver, &fake_driver);
	ck_assert_str_ne(spec->child_ip, slot->entry.spec.child_ip);
	fake_driver.last = (struct port_entry){ slot->entry.id, *spec };
	if (fake_driver.fails_with == 0) {
		fake_driver.retargeted++;
		return 0;
	}
	free(slot->data);
	fake_driver.open_count--;
	return fake_fail(e);
}

static inline void fake_forget(struct port_slot *slot)
{
	ck_assert_int_eq(*(int *)slot->data, slot->entry.id * 10);
	free(slot->data);
	slot->data = NULL;
	fake_driver.forgotten++;
	fake_driver.open_count--;
}

static inline bool fake_has_failed(const void *driver)
{
	ck_assert_ptr_eq(driver, &fake_driver);
	return fake_driver.has_failed;
}

static inline bool fake_free(void *driver, struct port_slot *slots, size_t count,
			     unsigned int wait_ms)
{
	ck_assert_ptr_eq(driver, &fake_driver);
	fake_driver.freed_with = count;
	fake_driver.freed_ms = wait_ms;
	for (size_t i = 0; !fake_driver.is_busy && i < count; i++)
		free(slots[i].data);
	return !fake_driver.is_busy;
}

static inline const char *fake_source_ip_backend(const void *driver)
{
	ck_assert_ptr_eq(driver, &fake_driver);
	return fake_driver.source_ip_backend;
}

static const char *const fake_protos[] = { "tcp", "udp", NULL };

static const struct portdriver fake_portdriver = {
	.protos = fake_protos,
	.disallows_loopback = true,
	.start = fake_start,
	.open = fake_open,
	.close = fake_close,
	.forget = fake_forget,
	.retarget = fake_retarget,
	.failed = fake_has_failed,
	.source_ip_backend = fake_source_ip_backend,
	.free = fake_free,
};

#endif
