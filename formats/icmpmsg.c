/* SPDX-License-Identifier: Apache-2.0 */
/* ICMP messages of both families. See icmpmsg.h. */
#include "formats/icmpmsg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <string.h>

#include "formats/inetsum.h"

/* the header, the same for both families */
struct header {
	uint8_t type, code;
	uint16_t sum;
	uint32_t rest;
};

_Static_assert(sizeof(struct header) == ICMPMSG_LEN, "without padding");

uint8_t icmpmsg_proto(const struct packet_addrs *addrs)
{
	return packet_is_v4(addrs) ? IPPROTO_ICMP : IPPROTO_ICMPV6;
}

/* Begins the checksum of a message. Only ICMPv6 has a pseudo header. */
static uint64_t begin_sum(const struct packet_addrs *addrs, size_t len)
{
	if (packet_is_v4(addrs))
		return 0;
	return inetsum_add_pseudo(0, &addrs->src, &addrs->dst, IPPROTO_ICMPV6, len);
}

int icmpmsg_read(struct icmpmsg *m, const struct packet *p)
{
	struct header header;
	uint64_t sum = begin_sum(&p->addrs, p->payload_len);

	if (p->proto != icmpmsg_proto(&p->addrs) || p->is_fragment ||
	    p->payload_len < sizeof(header) ||
	    inetsum_finish(inetsum_add(sum, p->payload, p->payload_len)) != 0)
		return -EBADMSG;
	memcpy(&header, p->payload, sizeof(header));
	*m = (struct icmpmsg){ .type = header.type,
			       .code = header.code,
			       .rest = ntohl(header.rest),
			       .payload = p->payload + sizeof(header),
			       .len = p->payload_len - sizeof(header) };
	return 0;
}

void icmpmsg_put(uint8_t *out, const struct packet_addrs *addrs, const struct icmpmsg *m)
{
	struct header header = { .type = m->type, .code = m->code, .rest = htonl(m->rest) };
	uint64_t sum = begin_sum(addrs, sizeof(header) + m->len);

	sum = inetsum_add(sum, &header, sizeof(header));
	if (m->len > 0)
		sum = inetsum_add(sum, m->payload, m->len);
	header.sum = inetsum_finish(sum);
	memcpy(out, &header, sizeof(header));
}

bool icmpmsg_is_echo_request(const struct packet_addrs *addrs, const struct icmpmsg *m)
{
	return m->code == 0 && m->type == (packet_is_v4(addrs) ? ICMP_ECHO : ICMP6_ECHO_REQUEST);
}

uint8_t icmpmsg_echo_reply(const struct packet_addrs *addrs)
{
	return packet_is_v4(addrs) ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY;
}

bool icmpmsg_is_error(uint8_t proto, uint8_t type)
{
	if (proto == IPPROTO_ICMPV6)
		return (type & ICMP6_INFOMSG_MASK) == 0 || type == ND_REDIRECT;
	return proto == IPPROTO_ICMP &&
	       (type == ICMP_DEST_UNREACH || type == ICMP_SOURCE_QUENCH || type == ICMP_REDIRECT ||
		type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETERPROB);
}

/* The longest error with its IP header, without that and its own */
static size_t quote_max(const struct packet_addrs *addrs)
{
	return packet_is_v4(addrs) ? 576 - sizeof(struct ip) - ICMPMSG_LEN
				   : 1280 - sizeof(struct ip6_hdr) - ICMPMSG_LEN;
}

size_t icmpmsg_put_quote(uint8_t *out, const struct icmpmsg_quote *q)
{
	static const uint8_t no_mac[ETH_ALEN];
	const struct packet_head head = { .src_mac = no_mac,
					  .dst_mac = no_mac,
					  .addrs = q->addrs,
					  .proto = q->proto,
					  .hops = q->hops };
	uint8_t frame[PACKET_HEAD_MAX];
	size_t len = packet_put_head(frame, &head, q->len) - PACKET_ETH_LEN;

	size_t room = quote_max(&q->addrs) - len - sizeof(q->bytes);
	size_t more = q->more_len < room ? q->more_len : room;

	memcpy(out, frame + PACKET_ETH_LEN, len);
	memcpy(out + len, q->bytes, sizeof(q->bytes));
	len += sizeof(q->bytes);
	if (more > 0)
		memcpy(out + len, q->more, more);
	return len + more;
}
