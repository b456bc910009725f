/* SPDX-License-Identifier: Apache-2.0 */

/* pasta's configuration protocol: any bytes are read as pasta's message. If they are one, a port is
 * added to its rules, which makes them one longer, and removed from them. */
#include "formats/pestomsg.h"

#include <errno.h>

#include "fuzz.h"

static void check_answers(const struct pestomsg *m)
{
	struct pestomsg_port port = { .parent_port = 18080, .child_port = 80 };
	unsigned char *out = malloc(PESTOMSG_MAX);
	int added, removed;

	REQUIRE(out != NULL && ipaddr_parse(&port.ip, "127.0.0.1") == 0);
	added = pestomsg_add(m, &port, out);
	removed = pestomsg_remove(m, &port, out);
	REQUIRE(added == -ENOSPC ? m->host.count == PESTOMSG_RULES_MAX : added <= PESTOMSG_MAX);
	REQUIRE(removed > 0 && removed <= PESTOMSG_MAX);
	REQUIRE(added < 0 || added >= removed + (int)m->rule_len);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned char *msg = (unsigned char *)exact_copy(data, size);
	struct err e = { "" };
	struct pestomsg m;
	int r = pestomsg_read(&m, msg, size, &e);

	REQUIRE(r == 0 || r == 1 || r == -EPROTO);
	REQUIRE((r < 0) == (e.msg[0] != '\0'));
	/* The longest message is complete or refused. */
	REQUIRE(r != 0 || size < PESTOMSG_MAX);
	if (r == 1)
		check_answers(&m);
	free(msg);
	return 0;
}
