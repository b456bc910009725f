/* SPDX-License-Identifier: Apache-2.0 */

/* ICMP of both families: any frame is read as a message. What is accepted lies inside of the frame,
 * and is written back equal. An error that quotes the packet is a valid message, and its quote is
 * the packet's beginning. */
#include "formats/icmpmsg.h"
#include "formats/inetsum.h"

#include "fuzz.h"

static void check_written(const struct packet *p, const struct icmpmsg *m)
{
	uint8_t *head = (uint8_t *)exact_copy(p->payload, ICMPMSG_LEN);
	uint8_t again[ICMPMSG_LEN];
	uint16_t sum, same;

	icmpmsg_put(again, &p->addrs, m);
	memcpy(&sum, head + 2, sizeof(sum));
	memcpy(&same, again + 2, sizeof(same));
	/* Ones' complement has two zeros. */
	REQUIRE(sum == same || (sum == UINT16_MAX && same == 0));
	REQUIRE(memcmp(head, again, 2) == 0 && memcmp(head + 4, again + 4, 4) == 0);
	free(head);
}

static void check_message(const struct packet *p)
{
	struct icmpmsg m;

	if (icmpmsg_read(&m, p) < 0)
		return;
	REQUIRE(m.payload == p->payload + ICMPMSG_LEN && m.len + ICMPMSG_LEN == p->payload_len);
	REQUIRE(p->proto == icmpmsg_proto(&p->addrs) && !p->is_fragment);
	REQUIRE(!icmpmsg_is_echo_request(&p->addrs, &m) || !icmpmsg_is_error(p->proto, m.type));
	check_written(p, &m);
}

/* Random changes would hardly ever keep the checksum right. */
static void correct_sum(const struct packet *p)
{
	uint8_t *message = (uint8_t *)p->payload;
	const size_t len = p->payload_len;
	uint64_t sum = 0;
	uint16_t result;

	if (!packet_is_v4(&p->addrs))
		sum = inetsum_add_pseudo(0, &p->addrs.src, &p->addrs.dst, IPPROTO_ICMPV6, len);
	memset(message + 2, 0, sizeof(result));
	result = inetsum_finish(inetsum_add(sum, message, len));
	memcpy(message + 2, &result, sizeof(result));
}

static void check_quote(const struct packet *p)
{
	struct icmpmsg_quote q = { .addrs = p->addrs,
				   .proto = p->proto,
				   .hops = p->hops,
				   .more = p->payload + 8,
				   .more_len = p->payload_len - 8,
				   .len = (uint16_t)p->payload_len };
	const size_t head = packet_is_v4(&p->addrs) ? 20 : 40;
	const size_t max = packet_is_v4(&p->addrs) ? 548 : 1232;
	uint8_t *out = (uint8_t *)exact_copy(p->payload, 8);
	size_t n;

	memcpy(q.bytes, out, sizeof(q.bytes));
	out = realloc(out, ICMPMSG_QUOTE_MAX);
	REQUIRE(out != NULL);
	n = icmpmsg_put_quote(out, &q);
	REQUIRE(n == (head + p->payload_len < max ? head + p->payload_len : max));
	REQUIRE(memcmp(out + head, p->payload, n - head) == 0);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *frame = (uint8_t *)exact_copy(data, size);
	struct packet p;

	if (packet_read(&p, frame, size) == PACKET_IP && p.payload_len >= 8) {
		check_message(&p);
		check_quote(&p);
		correct_sum(&p);
		check_message(&p);
	}
	free(frame);
	return 0;
}
