/* SPDX-License-Identifier: Apache-2.0 */
/* TCP headers. See tcpseg.h. */
#include "formats/tcpseg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "formats/inetsum.h"

/* Stores an option of a SYN. Options of a wrong length are ignored, as RFC 9293 3.2 allows. */
static void read_option(struct tcpseg *seg, const uint8_t *at, size_t len)
{
	if (at[0] == TCPOPT_MAXSEG && len == TCPOLEN_MAXSEG)
		seg->mss = (uint16_t)(at[2] << 8 | at[3]);
	else if (at[0] == TCPOPT_WINDOW && len == TCPOLEN_WINDOW)
		seg->scale = at[2] < TCPSEG_SCALE_MAX ? at[2] : TCPSEG_SCALE_MAX;
	else if (at[0] == TCPOPT_SACK_PERMITTED && len == TCPOLEN_SACK_PERMITTED)
		seg->sack_permitted = true;
}

/* Reads the options up to the first that is cut off. */
static void read_options(struct tcpseg *seg, const uint8_t *at, size_t left)
{
	while (left > 0 && at[0] != TCPOPT_EOL) {
		size_t len = at[0] == TCPOPT_NOP ? 1 : left > 1 ? at[1] : 0;

		if (len > left || len == 0 || (at[0] != TCPOPT_NOP && len < 2))
			return;
		read_option(seg, at, len);
		at += len;
		left -= len;
	}
}

int tcpseg_read(struct tcpseg *seg, const uint8_t *payload, size_t len)
{
	struct tcphdr header;
	size_t head;

	if (len < sizeof(header))
		return -EBADMSG;
	memcpy(&header, payload, sizeof(header));
	head = header.th_off * 4U;
	if (head < sizeof(header) || head > len)
		return -EBADMSG;
	*seg = (struct tcpseg){ .src_port = ntohs(header.th_sport),
				.dst_port = ntohs(header.th_dport),
				.seq = ntohl(header.th_seq),
				.ack = ntohl(header.th_ack),
				.flags = header.th_flags,
				.window = ntohs(header.th_win),
				.scale = TCPSEG_NO_SCALE,
				.data = payload + head,
				.len = len - head };
	if (seg->flags & TH_SYN)
		read_options(seg, payload + sizeof(header), head - sizeof(header));
	return 0;
}

bool tcpseg_is_intact(const struct packet *p)
{
	uint64_t sum = inetsum_add_pseudo(0, &p->addrs.src, &p->addrs.dst, IPPROTO_TCP,
					  p->payload_len);

	return inetsum_finish(inetsum_add(sum, p->payload, p->payload_len)) == 0;
}

static size_t put_bytes(uint8_t *out, const uint8_t *bytes, size_t len)
{
	memcpy(out, bytes, len);
	return len;
}

/* Writes the options of a SYN: the maximum segment size, the shift of the window if there is one,
 * and that selective acknowledgements are permitted. */
static size_t put_syn_options(uint8_t *out, const struct tcpseg *seg)
{
	const uint8_t mss[] = { TCPOPT_MAXSEG, TCPOLEN_MAXSEG, (uint8_t)(seg->mss >> 8),
				(uint8_t)seg->mss };
	const uint8_t scale[] = { TCPOPT_NOP, TCPOPT_WINDOW, TCPOLEN_WINDOW, (uint8_t)seg->scale };
	const uint8_t sack[] = { TCPOPT_NOP, TCPOPT_NOP, TCPOPT_SACK_PERMITTED,
				 TCPOLEN_SACK_PERMITTED };
	size_t len = put_bytes(out, mss, sizeof(mss));

	if (seg->scale != TCPSEG_NO_SCALE)
		len += put_bytes(out + len, scale, sizeof(scale));
	if (seg->sack_permitted)
		len += put_bytes(out + len, sack, sizeof(sack));
	return len;
}

static size_t put_sacks(uint8_t *out, const struct tcpseg *seg)
{
	const size_t ranges = seg->sack_count * sizeof(seg->sacks[0]);
	const uint8_t head[] = { TCPOPT_NOP, TCPOPT_NOP, TCPOPT_SACK, (uint8_t)(2 + ranges) };
	size_t len;

	if (seg->sack_count == 0)
		return 0;
	len = put_bytes(out, head, sizeof(head));
	for (size_t i = 0; i < seg->sack_count; i++) {
		const uint32_t be[] = { htonl(seg->sacks[i].begin), htonl(seg->sacks[i].end) };

		memcpy(out + len, be, sizeof(be));
		len += sizeof(be);
	}
	return len;
}

size_t tcpseg_put(uint8_t *out, const struct tcpseg *seg, const struct packet_addrs *addrs)
{
	size_t len = TCPSEG_HEAD_LEN;
	struct tcphdr header = { .th_sport = htons(seg->src_port),
				 .th_dport = htons(seg->dst_port),
				 .th_seq = htonl(seg->seq),
				 .th_ack = htonl(seg->ack),
				 .th_flags = seg->flags,
				 .th_win = htons(seg->window) };

	if (seg->flags & TH_SYN)
		len += put_syn_options(out + len, seg);
	else
		len += put_sacks(out + len, seg);
	header.th_off = len / 4 & 0xfU;
	header.th_sum = inetsum_fold(
		inetsum_add_pseudo(0, &addrs->src, &addrs->dst, IPPROTO_TCP, len + seg->len));
	memcpy(out, &header, sizeof(header));
	return len;
}

uint32_t tcpseg_span(const struct tcpseg *seg)
{
	return (uint32_t)seg->len + ((seg->flags & TH_SYN) != 0) + ((seg->flags & TH_FIN) != 0);
}
