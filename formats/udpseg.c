/* SPDX-License-Identifier: Apache-2.0 */
/* UDP headers. See udpseg.h. */
#include "formats/udpseg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

#include "formats/inetsum.h"

_Static_assert(sizeof(struct udphdr) == UDPSEG_HEAD_LEN, "the header has no padding");

int udpseg_read(struct udpseg *seg, const uint8_t *payload, size_t len)
{
	struct udphdr header;
	size_t total;

	if (len < sizeof(header))
		return -EBADMSG;
	memcpy(&header, payload, sizeof(header));
	total = ntohs(header.uh_ulen);
	if (total < sizeof(header) || total > len)
		return -EBADMSG;
	*seg = (struct udpseg){ .src_port = ntohs(header.uh_sport),
				.dst_port = ntohs(header.uh_dport),
				.data = payload + sizeof(header),
				.len = total - sizeof(header) };
	return 0;
}

bool udpseg_is_intact(const struct packet *p)
{
	struct udpseg seg;
	uint64_t sum;
	uint16_t stated;

	if (udpseg_read(&seg, p->payload, p->payload_len) < 0)
		return false;
	memcpy(&stated, p->payload + UDPSEG_SUM_OFFSET, sizeof(stated));
	if (stated == 0)
		return packet_is_v4(&p->addrs);
	sum = inetsum_add_pseudo(0, &p->addrs.src, &p->addrs.dst, IPPROTO_UDP,
				 UDPSEG_HEAD_LEN + seg.len);
	return inetsum_finish(inetsum_add(sum, p->payload, UDPSEG_HEAD_LEN + seg.len)) == 0;
}

void udpseg_put(uint8_t *out, const struct udpseg *seg, const struct packet_addrs *addrs)
{
	const size_t len = UDPSEG_HEAD_LEN + seg->len;
	const struct udphdr header = { .uh_sport = htons(seg->src_port),
				       .uh_dport = htons(seg->dst_port),
				       .uh_ulen = htons((uint16_t)len),
				       .uh_sum = inetsum_fold(inetsum_add_pseudo(
					       0, &addrs->src, &addrs->dst, IPPROTO_UDP, len)) };

	memcpy(out, &header, sizeof(header));
}
