/* SPDX-License-Identifier: Apache-2.0 */
/* Neighbour discovery. See ndpmsg.h. */
#include "formats/ndpmsg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <string.h>

#include "formats/inetsum.h"

#define OPTION_UNIT 8U /* bytes; lengths of options count in these */

struct mac_option {
	struct nd_opt_hdr head;
	uint8_t mac[ETH_ALEN];
};

struct neighbour_advert {
	struct nd_neighbor_advert head;
	struct mac_option mac;
};

struct router_advert {
	struct nd_router_advert head;
	struct mac_option mac;
	struct nd_opt_mtu mtu;
};

_Static_assert(sizeof(struct neighbour_advert) <= NDPMSG_ADVERT_MAX, "an advertisement fits");
_Static_assert(sizeof(struct router_advert) <= NDPMSG_ADVERT_MAX, "an advertisement fits");
_Static_assert(sizeof(struct mac_option) == OPTION_UNIT, "without padding");

bool ndpmsg_is_type(uint8_t type)
{
	return type >= ND_ROUTER_SOLICIT && type <= ND_REDIRECT;
}

/* ---- reading ---- */

/* Checks the options: none may be of length 0 or cut. Sets *has_mac if one has the sender's MAC
 * address. */
static int read_options(const uint8_t *at, size_t len, bool *has_mac)
{
	*has_mac = false;
	while (len > 0) {
		size_t n = len < OPTION_UNIT ? 0 : at[1] * OPTION_UNIT;

		if (n == 0 || n > len)
			return -EBADMSG;
		*has_mac = *has_mac || at[0] == ND_OPT_SOURCE_LINKADDR;
		at += n;
		len -= n;
	}
	return 0;
}

/* ff02::1:ff00:0/104 and the last bytes of the target (RFC 4291 2.7.1) */
static bool is_solicited_node(const struct in6_addr *addr, const struct in6_addr *target)
{
	static const uint8_t prefix[13] = { 0xff, 0x02, [11] = 1, [12] = 0xff };

	return memcmp(addr, prefix, sizeof(prefix)) == 0 &&
	       memcmp(&addr->s6_addr[sizeof(prefix)], &target->s6_addr[sizeof(prefix)],
		      sizeof(*addr) - sizeof(prefix)) == 0;
}

static int read_neighbour(struct ndpmsg *m, const struct packet *p)
{
	struct nd_neighbor_solicit head;
	bool has_mac;

	if (p->payload_len < sizeof(head))
		return -EBADMSG;
	memcpy(&head, p->payload, sizeof(head));
	m->target = head.nd_ns_target;
	if (IN6_IS_ADDR_MULTICAST(&m->target) || IN6_IS_ADDR_V4MAPPED(&m->target) ||
	    read_options(p->payload + sizeof(head), p->payload_len - sizeof(head), &has_mac) < 0)
		return -EBADMSG;
	if (m->is_probe && (has_mac || !is_solicited_node(&p->addrs.dst, &m->target)))
		return -EBADMSG;
	return 0;
}

static int read_router(const struct ndpmsg *m, const struct packet *p)
{
	const size_t head = sizeof(struct nd_router_solicit);
	bool has_mac;

	if (read_options(p->payload + head, p->payload_len - head, &has_mac) < 0)
		return -EBADMSG;
	return m->is_probe && has_mac ? -EBADMSG : 0;
}

static bool is_valid(const struct packet *p)
{
	const size_t len = p->payload_len;
	uint64_t sum;

	if (packet_is_v4(&p->addrs) || p->proto != IPPROTO_ICMPV6 || p->hops != NDPMSG_HOPS ||
	    p->is_fragment || len < sizeof(struct nd_router_solicit) || p->payload[1] != 0)
		return false;
	sum = inetsum_add_pseudo(0, &p->addrs.src, &p->addrs.dst, IPPROTO_ICMPV6, len);
	return inetsum_finish(inetsum_add(sum, p->payload, len)) == 0;
}

int ndpmsg_read(struct ndpmsg *m, const struct packet *p)
{
	*m = (struct ndpmsg){ .is_probe = IN6_IS_ADDR_UNSPECIFIED(&p->addrs.src) };
	if (!is_valid(p))
		return -EBADMSG;
	m->type = p->payload[0];
	switch (m->type) {
	case ND_NEIGHBOR_SOLICIT:
		return read_neighbour(m, p);
	case ND_ROUTER_SOLICIT:
		return read_router(m, p);
	default:
		return -EBADMSG;
	}
}

/* ---- writing ---- */

static struct mac_option mac_option(uint8_t type, const uint8_t *mac)
{
	struct mac_option option = { { .nd_opt_type = type, .nd_opt_len = 1 }, { 0 } };

	memcpy(option.mac, mac, ETH_ALEN);
	return option;
}

static void sum_up(uint8_t *out, const struct packet_addrs *addrs, size_t len)
{
	uint64_t sum = inetsum_add_pseudo(0, &addrs->src, &addrs->dst, IPPROTO_ICMPV6, len);
	uint16_t result = inetsum_finish(inetsum_add(sum, out, len));

	memcpy(out + offsetof(struct icmp6_hdr, icmp6_cksum), &result, sizeof(result));
}

size_t ndpmsg_put_neighbour(uint8_t *out, const struct packet_addrs *addrs,
			    const struct in6_addr *target, const uint8_t *mac, bool solicited)
{
	struct neighbour_advert m = { .mac = mac_option(ND_OPT_TARGET_LINKADDR, mac) };

	m.head.nd_na_type = ND_NEIGHBOR_ADVERT;
	m.head.nd_na_flags_reserved = ND_NA_FLAG_ROUTER | ND_NA_FLAG_OVERRIDE;
	if (solicited)
		m.head.nd_na_flags_reserved |= ND_NA_FLAG_SOLICITED;
	m.head.nd_na_target = *target;
	memcpy(out, &m, sizeof(m));
	sum_up(out, addrs, sizeof(m));
	return sizeof(m);
}

size_t ndpmsg_put_router(uint8_t *out, const struct packet_addrs *addrs, const uint8_t *mac,
			 uint8_t hops, unsigned int mtu)
{
	struct router_advert m = { .mac = mac_option(ND_OPT_SOURCE_LINKADDR, mac),
				   .mtu = { .nd_opt_mtu_type = ND_OPT_MTU,
					    .nd_opt_mtu_len = 1,
					    .nd_opt_mtu_mtu = htonl(mtu) } };

	m.head.nd_ra_type = ND_ROUTER_ADVERT;
	m.head.nd_ra_curhoplimit = hops;
	memcpy(out, &m, sizeof(m));
	sum_up(out, addrs, sizeof(m));
	return sizeof(m);
}
