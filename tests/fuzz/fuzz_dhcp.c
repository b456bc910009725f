/* SPDX-License-Identifier: Apache-2.0 */

/* DHCP: any bytes are read as a server's packet with its headers, and as its message. What is read
 * can be used without further checks. */
#include "formats/dhcp.h"
#include "formats/udp4.h"

#include <arpa/inet.h>
#include <errno.h>

#include "fuzz.h"

static void check_host(struct in_addr addr)
{
	uint32_t value = ntohl(addr.s_addr);

	REQUIRE(value >> 24 != 0 && value >> 24 != 127 && value >> 28 < 14);
}

static void check_lease(const struct dhcp_reply *m)
{
	check_host(m->addr);
	REQUIRE(m->prefix_len >= 1 && m->prefix_len <= 32);
	REQUIRE(m->lease_s > 0);
	REQUIRE(m->dns_count <= DHCP_MAX_DNS);
	for (size_t i = 0; i < m->dns_count; i++)
		check_host(m->dns[i]);
	if (m->router.s_addr != 0)
		check_host(m->router);
}

static void check_message(const unsigned char *msg, size_t len)
{
	struct err e = { "" };
	struct dhcp_reply m;
	int r = dhcp_read(&m, msg, len, &e);

	REQUIRE(r == 0 || r == -EPROTO);
	REQUIRE((r < 0) == (e.msg[0] != '\0'));
	if (r < 0)
		return;
	check_host(m.server);
	for (const char *at = m.text; *at != '\0'; at++)
		REQUIRE(*at >= ' ' && *at <= '~');
	if (m.type != DHCP_NAK)
		check_lease(&m);
}

static void check_packet(const unsigned char *packet, size_t len, bool has_sum)
{
	struct udp4 u;

	if (!udp4_read(&u, packet, len, has_sum))
		return;
	REQUIRE(u.payload >= packet + UDP4_HEADERS && u.payload + u.len <= packet + len);
	check_message(u.payload, u.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned char *msg = (unsigned char *)exact_copy(data, size);

	check_message(msg, size);
	check_packet(msg, size, true);
	check_packet(msg, size, false);
	free(msg);
	return 0;
}
