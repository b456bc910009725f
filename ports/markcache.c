/* SPDX-License-Identifier: Apache-2.0 */
/* The cache of fwmarks. See markcache.h. */
#include "ports/markcache.h"

#include <netinet/in.h>
#include <stdint.h>

#include "base/clock.h"
#include "ports/transparent.h"

#define KEEP_MS 1000 /* how long a mark is valid */
#define ASK_MS	100  /* after that: one caller asks the child, the others use the old mark */

/* Returns the slot of a target. Targets mostly differ in port, family or last byte of the address.
 */
static size_t slot_of(const struct sockaddr_storage *to)
{
	const struct sockaddr_in *v4 = (const void *)to;
	const struct sockaddr_in6 *v6 = (const void *)to;
	size_t last = to->ss_family == AF_INET ? ntohl(v4->sin_addr.s_addr) & UINT8_MAX
					       : v6->sin6_addr.s6_addr[15];

	/* Both families have the port at the same offset. */
	return (ntohs(v4->sin_port) + to->ss_family + last) % MARKCACHE_SIZE;
}

int markcache_find(struct markcache *m, const struct sockaddr_storage *to)
{
	struct markcache_entry *entry = &m->entries[slot_of(to)];
	unsigned long long now = clock_now_ms();

	if (entry->mark == 0 || !transparent_is_same(&entry->to, to))
		return 0;
	if (now < entry->until_ms)
		return entry->mark;
	/* A mark that expired long ago is too old to be used while one caller asks the child. */
	if (now - entry->until_ms > KEEP_MS)
		entry->mark = 0;
	entry->until_ms = now + ASK_MS;
	return 0;
}

void markcache_note(struct markcache *m, const struct sockaddr_storage *to, int mark)
{
	m->entries[slot_of(to)] = (struct markcache_entry){ .to = *to,
							    .mark = mark,
							    .until_ms = clock_now_ms() + KEEP_MS };
}

void markcache_forget(struct markcache *m, const struct sockaddr_storage *to)
{
	struct markcache_entry *entry = &m->entries[slot_of(to)];

	if (transparent_is_same(&entry->to, to))
		entry->mark = 0;
}
