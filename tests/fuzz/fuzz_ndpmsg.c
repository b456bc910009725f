/* SPDX-License-Identifier: Apache-2.0 */

/* Neighbour discovery: any frame is read as a solicitation. What is accepted keeps the rules of RFC
 * 4861, and the answer to it has a correct checksum. */
#include "formats/inetsum.h"
#include "formats/ndpmsg.h"

#include <netinet/icmp6.h>

#include "fuzz.h"

static const uint8_t mac[ETH_ALEN] = { 2, 0, 0, 0, 0, 2 };

static void check_sum(const struct packet_addrs *addrs, const uint8_t *message, size_t len)
{
	uint64_t sum = inetsum_add_pseudo(0, &addrs->src, &addrs->dst, IPPROTO_ICMPV6, len);

	REQUIRE(len <= NDPMSG_ADVERT_MAX);
	REQUIRE(inetsum_finish(inetsum_add(sum, message, len)) == 0);
}

static void check_answer(const struct packet *p, const struct ndpmsg *m)
{
	const struct packet_addrs addrs = { m->target, p->addrs.src };
	uint8_t *message = (uint8_t *)exact_copy(mac, sizeof(mac));

	message = realloc(message, NDPMSG_ADVERT_MAX);
	REQUIRE(message != NULL);
	check_sum(&addrs, message,
		  ndpmsg_put_neighbour(message, &addrs, &m->target, mac, !m->is_probe));
	check_sum(&addrs, message, ndpmsg_put_router(message, &addrs, mac, 64, 1500));
	free(message);
}

static void check_packet(const struct packet *p)
{
	struct ndpmsg m;

	if (ndpmsg_read(&m, p) < 0)
		return;
	REQUIRE(p->hops == 255 && p->payload_len >= 8);
	REQUIRE(m.type == ND_ROUTER_SOLICIT || m.type == ND_NEIGHBOR_SOLICIT);
	REQUIRE(ndpmsg_is_type(m.type));
	REQUIRE(m.type == ND_ROUTER_SOLICIT || !IN6_IS_ADDR_MULTICAST(&m.target));
	check_answer(p, &m);
}

/* Random changes would hardly ever keep the checksum right. */
static void correct_sum(const struct packet *p)
{
	uint8_t *message = (uint8_t *)p->payload;
	const size_t len = p->payload_len;
	uint64_t sum = inetsum_add_pseudo(0, &p->addrs.src, &p->addrs.dst, IPPROTO_ICMPV6, len);
	uint16_t result;

	memset(message + 2, 0, sizeof(result));
	result = inetsum_finish(inetsum_add(sum, message, len));
	memcpy(message + 2, &result, sizeof(result));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *frame = (uint8_t *)exact_copy(data, size);
	struct packet p;

	if (packet_read(&p, frame, size) == PACKET_IP) {
		check_packet(&p);
		if (p.payload_len >= 4) {
			correct_sum(&p);
			check_packet(&p);
		}
	}
	free(frame);
	return 0;
}
