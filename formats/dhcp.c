/* SPDX-License-Identifier: Apache-2.0 */
/* DHCP messages. See dhcp.h.
 *
 * A message has fixed fields, a cookie, and options: one byte with the code, one with the length,
 * and the value. Options continue in the fields `file` and `sname` if option 52 says so. A list of
 * addresses may be split into several options (RFC 3396). Any other option that occurs twice makes
 * the message malformed, because we could not know which one the server means.
 *
 * Only the options that we use are looked at. Host names and domains are not among them, so no text
 * of a server ends up in a file.
 */
#include "formats/dhcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/array.h"

/* offsets of the fixed fields, RFC 2131, section 2 */
#define AT_OP	   0
#define AT_HTYPE   1
#define AT_HLEN	   2
#define AT_XID	   4
#define AT_SECS	   8
#define AT_FLAGS   10
#define AT_CIADDR  12
#define AT_YIADDR  16
#define AT_CHADDR  28
#define AT_SNAME   44
#define AT_FILE	   108
#define AT_COOKIE  236
#define AT_OPTIONS 240

#define SNAME_LEN 64
#define FILE_LEN  128

#define OP_REQUEST     1
#define OP_REPLY       2
#define HTYPE_ETHERNET 1
#define FLAG_BROADCAST 0x8000
#define COOKIE	       UINT32_C(0x63825363)
#define ADDR_LEN       4

enum option {
	OPT_PAD = 0,
	OPT_MASK = 1,
	OPT_ROUTER = 3,
	OPT_DNS = 6,
	OPT_REQUESTED = 50,
	OPT_LEASE = 51,
	OPT_OVERLOAD = 52,
	OPT_TYPE = 53,
	OPT_SERVER = 54,
	OPT_WANTED = 55,
	OPT_TEXT = 56,
	OPT_RENEW = 58,
	OPT_REBIND = 59,
	OPT_END = 255,
};

/* bits of option 52 */
#define OVERLOAD_FILE  1
#define OVERLOAD_SNAME 2
#define OVERLOAD_MAX   3

/* ---- writing ---- */

static void put_u16(unsigned char *at, unsigned int value)
{
	at[0] = (unsigned char)(value >> 8);
	at[1] = (unsigned char)value;
}

static void put_u32(unsigned char *at, uint32_t value)
{
	put_u16(at, value >> 16);
	put_u16(at + 2, value & 0xffff);
}

/* Appends an option, and returns the place behind it. */
static unsigned char *put_option(unsigned char *at, enum option code, const void *value, size_t len)
{
	at[0] = (unsigned char)code;
	at[1] = (unsigned char)len;
	memcpy(at + 2, value, len);
	return at + 2 + len;
}

static unsigned char *put_addr_option(unsigned char *at, enum option code, struct in_addr addr)
{
	return addr.s_addr != 0 ? put_option(at, code, &addr, sizeof(addr)) : at;
}

void dhcp_write(const struct dhcp_request *m, unsigned char *out)
{
	static const unsigned char wanted[] = { OPT_MASK,  OPT_ROUTER, OPT_DNS,
						OPT_LEASE, OPT_RENEW,  OPT_REBIND };
	const unsigned char type = (unsigned char)m->type;
	unsigned char *at = out + AT_OPTIONS;

	memset(out, 0, DHCP_REQUEST_LEN);
	out[AT_OP] = OP_REQUEST;
	out[AT_HTYPE] = HTYPE_ETHERNET;
	out[AT_HLEN] = DHCP_HWADDR_LEN;
	put_u32(out + AT_XID, m->xid);
	put_u16(out + AT_SECS, m->secs);
	/* with an address of its own, the client gets packets for it */
	if (m->client.s_addr == 0)
		put_u16(out + AT_FLAGS, FLAG_BROADCAST);
	memcpy(out + AT_CIADDR, &m->client, sizeof(m->client));
	memcpy(out + AT_CHADDR, m->hwaddr, DHCP_HWADDR_LEN);
	put_u32(out + AT_COOKIE, COOKIE);
	at = put_option(at, OPT_TYPE, &type, sizeof(type));
	at = put_addr_option(at, OPT_REQUESTED, m->requested);
	at = put_addr_option(at, OPT_SERVER, m->server);
	if (m->type != DHCP_RELEASE)
		at = put_option(at, OPT_WANTED, wanted, sizeof(wanted));
	*at = OPT_END;
}

/* ---- options ---- */

/* The numbers among the options, 0 if absent. */
struct numbers {
	uint32_t mask, lease_s, overload, type, server, renew_s, rebind_s;
};

struct reading {
	struct dhcp_reply *m;
	struct numbers numbers;
	unsigned int seen; /* a bit for each entry of `number_options` */
};

static const struct number_option {
	enum option code;
	size_t len;
	size_t offset; /* in struct numbers */
} number_options[] = {
	{ OPT_MASK, 4, offsetof(struct numbers, mask) },
	{ OPT_LEASE, 4, offsetof(struct numbers, lease_s) },
	{ OPT_OVERLOAD, 1, offsetof(struct numbers, overload) },
	{ OPT_TYPE, 1, offsetof(struct numbers, type) },
	{ OPT_SERVER, 4, offsetof(struct numbers, server) },
	{ OPT_RENEW, 4, offsetof(struct numbers, renew_s) },
	{ OPT_REBIND, 4, offsetof(struct numbers, rebind_s) },
};

static uint32_t get_number(const unsigned char *at, size_t len)
{
	uint32_t value = 0;

	for (size_t i = 0; i < len; i++)
		value = value << 8 | at[i];
	return value;
}

static struct in_addr get_addr(const unsigned char *at)
{
	struct in_addr addr;

	memcpy(&addr, at, sizeof(addr));
	return addr;
}

/* Can a host have this address? */
static bool is_host(struct in_addr addr)
{
	uint32_t value = ntohl(addr.s_addr);
	uint32_t first = value >> 24;

	return first != 0 && first != IN_LOOPBACKNET && !IN_MULTICAST(value) && !IN_BADCLASS(value);
}

static int bad_length(enum option code, size_t len, struct err *e)
{
	return err_set(e, EPROTO, "option %d has %zu bytes", (int)code, len);
}

/* Appends the usable addresses of a list to addrs[*count], up to `max`. */
static int take_list(enum option code, const unsigned char *value, size_t len,
		     struct in_addr *addrs, size_t max, size_t *count, struct err *e)
{
	if (len == 0 || len % ADDR_LEN != 0)
		return bad_length(code, len, e);
	for (size_t i = 0; i < len && *count < max; i += ADDR_LEN)
		if (is_host(get_addr(value + i)))
			addrs[(*count)++] = get_addr(value + i);
	return 0;
}

static void take_text(struct dhcp_reply *m, const unsigned char *value, size_t len)
{
	size_t i;

	for (i = 0; i < len && i < sizeof(m->text) - 1; i++)
		m->text[i] = value[i] >= ' ' && value[i] <= '~' ? (char)value[i] : '?';
	m->text[i] = '\0';
}

static int take_number(struct reading *in, size_t which, const unsigned char *value, size_t len,
		       struct err *e)
{
	const struct number_option *o = &number_options[which];
	uint32_t number;

	if (len != o->len)
		return bad_length(o->code, len, e);
	if (in->seen & 1U << which)
		return err_set(e, EPROTO, "option %d occurs twice", (int)o->code);
	in->seen |= 1U << which;
	number = get_number(value, len);
	memcpy((char *)&in->numbers + o->offset, &number, sizeof(number));
	return 0;
}

static int take_option(struct reading *in, enum option code, const unsigned char *value, size_t len,
		       struct err *e)
{
	struct dhcp_reply *m = in->m;
	size_t routers = m->router.s_addr != 0;

	if (code == OPT_ROUTER)
		return take_list(code, value, len, &m->router, 1, &routers, e);
	if (code == OPT_DNS)
		return take_list(code, value, len, m->dns, COUNT_OF(m->dns), &m->dns_count, e);
	if (code == OPT_TEXT)
		take_text(m, value, len);
	for (size_t i = 0; i < COUNT_OF(number_options); i++)
		if (number_options[i].code == code)
			return take_number(in, i, value, len, e);
	return 0;
}

/* Reads the options in at[0..len), up to an end option or to the end of the field. */
static int take_options(struct reading *in, const unsigned char *at, size_t len, struct err *e)
{
	size_t i = 0;

	while (i < len && at[i] != OPT_END) {
		size_t left = len - i, value_len;
		int r;

		if (at[i] == OPT_PAD) {
			i++;
			continue;
		}
		if (left < 2 || left - 2 < at[i + 1])
			return err_set(e, EPROTO, "option %d is cut off", at[i]);
		value_len = at[i + 1];
		r = take_option(in, (enum option)at[i], at + i + 2, value_len, e);
		if (r < 0)
			return r;
		i += 2 + value_len;
	}
	return 0;
}

/* Reads the options in all fields that have some. Option 52 only counts in the first field. */
static int take_all_options(struct reading *in, const unsigned char *msg, size_t len, struct err *e)
{
	int r = take_options(in, msg + AT_OPTIONS, len - AT_OPTIONS, e);
	uint32_t overload = in->numbers.overload;

	if (r == 0 && overload > OVERLOAD_MAX)
		return err_set(e, EPROTO, "option %d is %u", OPT_OVERLOAD, overload);
	if (r == 0 && overload & OVERLOAD_FILE)
		r = take_options(in, msg + AT_FILE, FILE_LEN, e);
	if (r == 0 && overload & OVERLOAD_SNAME)
		r = take_options(in, msg + AT_SNAME, SNAME_LEN, e);
	return r;
}

/* ---- reading ---- */

static int check_head(const unsigned char *msg, size_t len, struct err *e)
{
	if (len < AT_OPTIONS)
		return err_set(e, EPROTO, "%zu bytes are too short for a message", len);
	if (msg[AT_OP] != OP_REPLY || msg[AT_HTYPE] != HTYPE_ETHERNET ||
	    msg[AT_HLEN] != DHCP_HWADDR_LEN)
		return err_set(e, EPROTO, "it is not a reply on an Ethernet");
	if (get_number(msg + AT_COOKIE, 4) != COOKIE)
		return err_set(e, EPROTO, "it is BOOTP, not DHCP");
	return 0;
}

/* Sets the length of the network's prefix. Without a mask it follows from the class of the address
 * (RFC 950). */
static int read_mask(struct reading *in, struct err *e)
{
	uint32_t addr = ntohl(in->m->addr.s_addr);
	uint32_t mask = in->numbers.mask;

	if (mask == 0)
		mask = IN_CLASSA(addr)	 ? IN_CLASSA_NET
		       : IN_CLASSB(addr) ? IN_CLASSB_NET
					 : IN_CLASSC_NET;
	if ((~mask & (~mask + 1)) != 0)
		return err_set(e, EPROTO, "the network mask %08x has gaps", mask);
	while (mask != 0) {
		in->m->prefix_len++;
		mask <<= 1;
	}
	return 0;
}

/* Is the address that of the network itself, or its broadcast address? Networks with one or two
 * addresses have neither (RFC 3021). */
static bool is_reserved(const struct dhcp_reply *m)
{
	uint32_t mask = UINT32_MAX << (32 - m->prefix_len) % 32;
	uint32_t host = ntohl(m->addr.s_addr) & ~mask;

	return m->prefix_len < 31 && (host == 0 || host == ~mask);
}

static int read_lease(struct reading *in, struct err *e)
{
	struct dhcp_reply *m = in->m;
	int r;

	m->lease_s = in->numbers.lease_s;
	m->renew_s = in->numbers.renew_s;
	m->rebind_s = in->numbers.rebind_s;
	if (m->lease_s == 0)
		return err_set(e, EPROTO, "it has no lease time");
	if (!is_host(m->addr))
		return err_set(e, EPROTO, "no host can have its address");
	r = read_mask(in, e);
	if (r == 0 && is_reserved(m))
		r = err_set(e, EPROTO, "its address is that of the network, or of all hosts");
	return r;
}

int dhcp_read(struct dhcp_reply *m, const unsigned char *msg, size_t len, struct err *e)
{
	struct reading in = { .m = m };
	int r = check_head(msg, len, e);

	*m = (struct dhcp_reply){ 0 };
	if (r == 0)
		r = take_all_options(&in, msg, len, e);
	if (r < 0)
		return r;
	m->type = (enum dhcp_type)in.numbers.type;
	m->xid = get_number(msg + AT_XID, 4);
	memcpy(m->hwaddr, msg + AT_CHADDR, DHCP_HWADDR_LEN);
	m->addr = get_addr(msg + AT_YIADDR);
	m->server.s_addr = htonl(in.numbers.server);
	if (m->type != DHCP_OFFER && m->type != DHCP_ACK && m->type != DHCP_NAK)
		return err_set(e, EPROTO, "its type %u is not that of a reply", in.numbers.type);
	if (!is_host(m->server))
		return err_set(e, EPROTO, "it does not say which server it is from");
	return m->type == DHCP_NAK ? 0 : read_lease(&in, e);
}
