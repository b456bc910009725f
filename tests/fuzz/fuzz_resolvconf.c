/* SPDX-License-Identifier: Apache-2.0 */

/* resolv.conf: the numbers are within their limits, and servers that are written again are read
 * again. */
#include "formats/resolvconf.h"

#include "fuzz.h"

static void check_round_trip(const struct resolvconf *c)
{
	char text[1024], ip[INET6_ADDRSTRLEN];
	struct resolvconf again;
	int n = 0;

	for (size_t i = 0; i < c->count; i++) {
		const struct resolvconf_server *s = &c->servers[i];

		REQUIRE(s->ip.family == AF_INET || s->ip.family == AF_INET6);
		REQUIRE(s->zone[0] == '\0' || s->ip.family == AF_INET6);
		/* what ends a zone in the text is not part of it */
		REQUIRE(strpbrk(s->zone, "#; \t\r\n\v\f") == NULL);
		n += snprintf(text + n, sizeof(text) - (size_t)n, "nameserver %s%s%s\n",
			      ipaddr_text(&s->ip, ip, sizeof(ip)), s->zone[0] != '\0' ? "%" : "",
			      s->zone);
	}
	n += snprintf(text + n, sizeof(text) - (size_t)n, "options timeout:%u attempts:%u",
		      c->timeout_s, c->attempts);
	resolvconf_read(&again, text, (size_t)n);
	REQUIRE(again.count == c->count);
	REQUIRE(again.timeout_s == c->timeout_s && again.attempts == c->attempts);
	for (size_t i = 0; i < c->count; i++)
		REQUIRE(resolvconf_is_same(&again.servers[i], &c->servers[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = exact_copy(data, size);
	struct resolvconf c;

	resolvconf_read(&c, text, size);
	free(text);
	REQUIRE(c.count <= RESOLVCONF_MAX_SERVERS);
	REQUIRE(c.timeout_s >= 1 && c.timeout_s <= RESOLVCONF_TIMEOUT_MAX);
	REQUIRE(c.attempts >= 1 && c.attempts <= RESOLVCONF_ATTEMPTS_MAX);
	check_round_trip(&c);
	return 0;
}
