/* SPDX-License-Identifier: Apache-2.0 */
/* The list of dead paths. See deadpaths.h. */
#include "ports/deadpaths.h"

#include <netinet/in.h>
#include <string.h>

#include "base/clock.h"
#include "ports/transparent.h"

#define DEAD_MS	      60000 /* how long a path counts as dead */
#define NETWORK4_LEN  3	    /* bytes of an address that name the client's network */
#define NETWORK6_LEN  8
/* If this many networks have dead paths to a target, the networks are not the reason. */
#define MANY_NETWORKS 8

static bool is_same_network(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;

	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return memcmp(&a4->sin_addr, &b4->sin_addr, NETWORK4_LEN) == 0;
	return memcmp(&a6->sin6_addr, &b6->sin6_addr, NETWORK6_LEN) == 0;
}

bool deadpaths_has(const struct deadpaths *dead, const struct sockaddr_storage *from,
		   const struct sockaddr_storage *to)
{
	unsigned long long now = clock_now_ms();
	unsigned int networks = 0;

	for (const struct deadpath *path = dead->paths; path < dead->paths + DEADPATHS_MAX;
	     path++) {
		if (now >= path->until_ms || !transparent_is_same(&path->to, to))
			continue;
		if (++networks == MANY_NETWORKS || is_same_network(&path->from, from))
			return true;
	}
	return false;
}

/* Returns the entry of a path, which may have expired; or NULL. */
static struct deadpath *find(struct deadpaths *dead, const struct sockaddr_storage *from,
			     const struct sockaddr_storage *to)
{
	for (struct deadpath *path = dead->paths; path < dead->paths + DEADPATHS_MAX; path++)
		if (transparent_is_same(&path->to, to) && is_same_network(&path->from, from))
			return path;
	return NULL;
}

void deadpaths_forget(struct deadpaths *dead, const struct sockaddr_storage *from,
		      const struct sockaddr_storage *to)
{
	struct deadpath *path = find(dead, from, to);

	if (path != NULL)
		path->until_ms = 0;
}

void deadpaths_note(struct deadpaths *dead, const struct sockaddr_storage *from,
		    const struct sockaddr_storage *to)
{
	struct deadpath *path = find(dead, from, to);

	if (path == NULL)
		path = &dead->paths[dead->next++ % DEADPATHS_MAX];
	*path = (struct deadpath){ .from = *from, .to = *to, .until_ms = clock_now_ms() + DEAD_MS };
}
