/* SPDX-License-Identifier: Apache-2.0 */
/* ICMP errors to the inside. See icmperr.h.
 *
 * An error quotes the IP header of the packet that it is about, and at least 8 bytes of what
 * follows, which is what Linux needs to find the socket. It quotes more if more is known, as some
 * programs put what they want back into the data (busybox traceroute6).
 */
#include "usernet/icmperr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <string.h>

#include "base/clock.h"
#include "usernet/policy.h"

/* The rate limit. Linux has the same as a whole (net.ipv4.icmp_msgs_per_sec: 1000 a second). */
#define WINDOW_MS  100
#define WINDOW_MAX 100

#define UDP_LEN_AT 4 /* where a UDP header has its length */

/* ---- what an error is about ---- */

static bool is_group_v4(const struct in6_addr *addr)
{
	return addr->s6_addr[12] >= 224; /* multicast, reserved, broadcast */
}

static bool is_group(const struct in6_addr *addr)
{
	return IN6_IS_ADDR_V4MAPPED(addr) ? is_group_v4(addr) : IN6_IS_ADDR_MULTICAST(addr);
}

/* An address that many hosts share, or none */
static bool is_no_host(const struct in6_addr *addr)
{
	static const struct in6_addr any_v4 = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	return is_group(addr) || IN6_IS_ADDR_UNSPECIFIED(addr) || IN6_ARE_ADDR_EQUAL(addr, &any_v4);
}

/* RFC 1122 3.2.2, RFC 4443 2.4(e) */
bool icmperr_about_packet(struct icmperr_about *about, const struct packet *p)
{
	struct icmpmsg_quote *q = &about->quote;
	const bool is_group_mac = (p->dst_mac[0] & 1) != 0;

	if (p->payload_len < sizeof(q->bytes) || p->fragment_at != 0 || is_group_mac ||
	    is_no_host(&p->addrs.src) || is_no_host(&p->addrs.dst) ||
	    icmpmsg_is_error(p->proto, p->payload[0]))
		return false;
	memcpy(about->mac, p->src_mac, ETH_ALEN);
	*q = (struct icmpmsg_quote){ .addrs = p->addrs,
				     .proto = p->proto,
				     .hops = p->hops,
				     .more = p->payload + sizeof(q->bytes),
				     .more_len = p->payload_len - sizeof(q->bytes),
				     .len = (uint16_t)p->payload_len };
	memcpy(q->bytes, p->payload, sizeof(q->bytes));
	return true;
}

void icmperr_about_ports(struct icmperr_about *about, const uint8_t *mac,
			 const struct packet_addrs *addrs, uint8_t proto, uint16_t src_port,
			 uint16_t dst_port, uint32_t seq)
{
	struct icmpmsg_quote *q = &about->quote;
	const uint16_t ports[] = { htons(src_port), htons(dst_port) };
	/* That word of UDP has the length. */
	const uint32_t word = htonl(proto == IPPROTO_TCP ? seq : sizeof(q->bytes) << 16);

	memcpy(about->mac, mac, ETH_ALEN);
	*q = (struct icmpmsg_quote){
		.addrs = *addrs, .proto = proto, .hops = LINK_HOPS, .len = sizeof(q->bytes)
	};
	memcpy(q->bytes, ports, sizeof(ports));
	memcpy(q->bytes + sizeof(ports), &word, sizeof(word));
}

void icmperr_about_data(struct icmperr_about *about, const void *data, size_t len)
{
	struct icmpmsg_quote *q = &about->quote;
	uint16_t udp_len;

	q->more = data;
	q->more_len = len;
	q->len = (uint16_t)(sizeof(q->bytes) + len);
	udp_len = htons(q->len);
	if (q->proto == IPPROTO_UDP)
		memcpy(q->bytes + UDP_LEN_AT, &udp_len, sizeof(udp_len));
}

/* ---- sending ---- */

/* Returns false if there were too many errors lately. */
static bool may_send(struct icmperr_sender *s)
{
	const unsigned long long now = clock_now_ms();

	if (now - s->window_ms >= WINDOW_MS) {
		s->window_ms = now;
		s->sent = 0;
	}
	return s->sent++ < WINDOW_MAX;
}

static void send_from(struct icmperr_sender *s, const struct icmperr_about *about,
		      const struct in6_addr *from, const struct icmpmsg *error)
{
	uint8_t head[ICMPMSG_LEN], quote[ICMPMSG_QUOTE_MAX];
	struct icmpmsg m = *error;
	struct link_packet p = { .mac = about->mac,
				 .addrs = { *from, about->quote.addrs.src },
				 .head = head,
				 .head_len = sizeof(head),
				 .payload = quote,
				 .sum_at = LINK_HAS_SUM };

	p.proto = icmpmsg_proto(&p.addrs);
	if ((p.proto == IPPROTO_ICMPV6 && !s->link->conf->ipv6) || !may_send(s))
		return;
	m.payload = quote;
	m.len = p.payload_len = icmpmsg_put_quote(quote, &about->quote);
	icmpmsg_put(head, &p.addrs, &m);
	link_send(s->link, &p);
}

static const struct in6_addr *gateway_for(const struct icmperr_sender *s,
					  const struct icmperr_about *about)
{
	const struct netconf *conf = s->link->conf;

	return packet_is_v4(&about->quote.addrs) ? &conf->gateway : &conf->gateway6;
}

#define NEXT_HEADER_AT 6 /* in an IPv6 header */

/* Type and code for each family */
static const struct {
	uint8_t v4[2], v6[2];
	bool from_target;
} errors[] = {
	[ICMPERR_NET_UNREACHABLE] = { { ICMP_DEST_UNREACH, ICMP_NET_UNREACH },
				      { ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_NOROUTE },
				      false },
	[ICMPERR_HOST_UNREACHABLE] = { { ICMP_DEST_UNREACH, ICMP_HOST_UNREACH },
				       { ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADDR },
				       false },
	[ICMPERR_PROTO_UNREACHABLE] = { { ICMP_DEST_UNREACH, ICMP_PROT_UNREACH },
					{ ICMP6_PARAM_PROB, ICMP6_PARAMPROB_NEXTHEADER },
					true },
	[ICMPERR_PORT_UNREACHABLE] = { { ICMP_DEST_UNREACH, ICMP_PORT_UNREACH },
				       { ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_NOPORT },
				       true },
	[ICMPERR_PROHIBITED] = { { ICMP_DEST_UNREACH, ICMP_PKT_FILTERED },
				 { ICMP6_DST_UNREACH, ICMP6_DST_UNREACH_ADMIN },
				 false },
	[ICMPERR_TOO_BIG] = { { ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED },
			      { ICMP6_PACKET_TOO_BIG, 0 },
			      false },
	[ICMPERR_TIME_EXCEEDED] = { { ICMP_TIME_EXCEEDED, ICMP_EXC_TTL },
				    { ICMP6_TIME_EXCEEDED, ICMP6_TIME_EXCEED_TRANSIT },
				    false },
};

/* The second word of an error */
static uint32_t rest_of(enum icmperr what, bool v4, uint32_t mtu)
{
	if (what == ICMPERR_TOO_BIG)
		return mtu;
	return what == ICMPERR_PROTO_UNREACHABLE && !v4 ? NEXT_HEADER_AT : 0;
}

void icmperr_send(struct icmperr_sender *s, const struct icmperr_about *about, enum icmperr what,
		  uint32_t mtu)
{
	const struct packet_addrs *addrs = &about->quote.addrs;
	const bool v4 = packet_is_v4(addrs);
	const uint8_t *kind = v4 ? errors[what].v4 : errors[what].v6;
	const struct icmpmsg m = { .type = kind[0],
				   .code = kind[1],
				   .rest = rest_of(what, v4, mtu) };

	send_from(s, about, errors[what].from_target ? &addrs->dst : gateway_for(s, about), &m);
}

/* Would a packet from inside to this address go to the host's network? If not, it is one that has a
 * meaning only on the host, or one of ours. */
static bool is_shown(const struct icmperr_sender *s, const struct icmperr_about *about,
		     const struct in6_addr *from)
{
	const struct packet_addrs there = { about->quote.addrs.src, *from };
	struct in6_addr host;

	return packet_is_v4(&there) == packet_is_v4(&about->quote.addrs) &&
	       policy_decide(s->link->conf, &there, &host) == POLICY_HOST &&
	       !policy_is_ours(s->link->conf, from);
}

void icmperr_relay(struct icmperr_sender *s, const struct icmperr_about *about,
		   const struct in6_addr *from, const struct icmpmsg *error)
{
	send_from(s, about, is_shown(s, about, from) ? from : gateway_for(s, about), error);
}

/* ---- errors of sockets ---- */

bool icmperr_from_errno(enum icmperr *what, int errnum)
{
	static const struct {
		int errnum;
		enum icmperr what;
	} known[] = {
		{ ECONNREFUSED, ICMPERR_PORT_UNREACHABLE },
		{ EHOSTUNREACH, ICMPERR_HOST_UNREACHABLE },
		{ EHOSTDOWN, ICMPERR_HOST_UNREACHABLE },
		{ ETIMEDOUT, ICMPERR_HOST_UNREACHABLE },
		{ ENETUNREACH, ICMPERR_NET_UNREACHABLE },
		{ ENETDOWN, ICMPERR_NET_UNREACHABLE },
		{ ENONET, ICMPERR_NET_UNREACHABLE },
		/* the host has no IPv6, or no address of it */
		{ EAFNOSUPPORT, ICMPERR_NET_UNREACHABLE },
		{ EADDRNOTAVAIL, ICMPERR_NET_UNREACHABLE },
		{ ENOPROTOOPT, ICMPERR_PROTO_UNREACHABLE },
		{ EPROTONOSUPPORT, ICMPERR_PROTO_UNREACHABLE },
		/* a firewall of the host, or a broadcast address of it */
		{ EACCES, ICMPERR_PROHIBITED },
		{ EPERM, ICMPERR_PROHIBITED },
		{ EMSGSIZE, ICMPERR_TOO_BIG },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].errnum == errnum) {
			*what = known[i].what;
			return true;
		}
	return false;
}
