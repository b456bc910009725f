/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of pasta's configuration socket. See pestomsg.h. */
#include "formats/pestomsg.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

#define MAGIC	     "basil:s" /* with its NUL */
#define MAGIC_LEN    8
#define ADDRESS_LEN  16
#define IFNAME_LEN   16
#define NAME_LEN     128 /* of a table */
#define PORTS_LEN    8	 /* three ports, protocol and flags */
#define TABLE_HOST   1
#define TABLE_SPLICE 3

/* ---- reading ---- */

/* Bytes that are not read yet. */
struct input {
	const unsigned char *p;
	size_t len;
};

/* Removes n bytes from the input and returns them, or NULL if there are fewer. */
static const unsigned char *take(struct input *in, size_t n)
{
	const unsigned char *p = in->p;

	if (in->len < n)
		return NULL;
	in->p += n;
	in->len -= n;
	return p;
}

static uint32_t get_u32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Reads the greeting. Returns 1, 0 if more bytes are needed, or -EPROTO. */
static int read_greeting(struct pestomsg *m, struct input *in, struct err *e)
{
	const unsigned char *p = take(in, MAGIC_LEN + 3 * sizeof(uint32_t));

	if (p == NULL)
		return 0;
	if (memcmp(p, MAGIC, MAGIC_LEN) != 0)
		return err_set(e, EPROTO, "it is not pasta's configuration socket");
	m->version = get_u32(p + MAGIC_LEN);
	if (m->version < 1 || m->version > 2)
		return err_set(e, EPROTO,
			       "pasta speaks version %u of its configuration protocol, and this "
			       "program versions 1 and 2; try --port-driver=builtin",
			       m->version);
	if (get_u32(p + MAGIC_LEN + 4) != NAME_LEN || get_u32(p + MAGIC_LEN + 8) != IFNAME_LEN)
		return err_set(e, EPROTO, "pasta's greeting has unexpected lengths");
	m->rule_len = ADDRESS_LEN * m->version + IFNAME_LEN + PORTS_LEN;
	return 1;
}

/* Reads a table, whose kind has been read. Returns 1, 0 if more bytes are needed, or -EPROTO. */
static int read_table(struct pestomsg *m, unsigned char kind, struct input *in, struct err *e)
{
	struct pestomsg_table *table = kind == TABLE_HOST ? &m->host : &m->splice;
	const unsigned char *p;

	if ((kind != TABLE_HOST && kind != TABLE_SPLICE) || table->kind != 0)
		return err_set(e, EPROTO, "pasta sends an unexpected table %u", kind);
	p = take(in, NAME_LEN + 2 * sizeof(uint32_t));
	if (p == NULL)
		return 0;
	table->count = get_u32(p + NAME_LEN + sizeof(uint32_t));
	if (table->count > PESTOMSG_RULES_MAX)
		return err_set(e, EPROTO, "pasta sends a table of %zu rules", table->count);
	table->rules = take(in, table->count * m->rule_len);
	if (table->rules == NULL)
		return 0;
	table->kind = kind;
	return 1;
}

int pestomsg_read(struct pestomsg *m, const unsigned char *msg, size_t len, struct err *e)
{
	struct input in = { msg, len };
	const unsigned char *kind;
	int r;

	*m = (struct pestomsg){ 0 };
	r = read_greeting(m, &in, e);
	while (r > 0) {
		kind = take(&in, 1);
		if (kind == NULL)
			return 0;
		if (*kind == 0 && m->host.kind == 0)
			return err_set(e, EPROTO, "pasta sends no table of ports on the host");
		if (*kind == 0)
			return 1;
		r = read_table(m, *kind, &in, e);
	}
	return r;
}

/* ---- rules ---- */

static unsigned char *put_u32(unsigned char *out, size_t value)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		*out++ = (unsigned char)(value >> shift);
	return out;
}

static unsigned char *put_port(unsigned char *out, int port)
{
	*out++ = (unsigned char)(port >> 8);
	*out++ = (unsigned char)port;
	return out;
}

static void put_address(unsigned char *out, const struct ipaddr *ip)
{
	memset(out, 0, ADDRESS_LEN);
	if (ip->family == AF_INET6) {
		memcpy(out, &ip->v6, ADDRESS_LEN);
	} else {
		memset(out + 10, 0xff, 2);
		memcpy(out + 12, &ip->v4, sizeof(ip->v4));
	}
}

/* Writes the rule of a port, of m->rule_len bytes. Its target address stays 0: pasta's own choice,
 * which is the namespace's address. */
static void put_rule(const struct pestomsg *m, const struct pestomsg_port *port, unsigned char *out)
{
	unsigned char *p = out + m->rule_len - PORTS_LEN;

	memset(out, 0, m->rule_len);
	put_address(out, &port->ip);
	p = put_port(p, port->parent_port);
	p = put_port(p, port->parent_port);
	p = put_port(p, port->child_port);
	*p = port->udp ? IPPROTO_UDP : IPPROTO_TCP;
}

/* Are both rules for the same address, protocol and port on the host? */
static bool is_same_place(const struct pestomsg *m, const unsigned char *a, const unsigned char *b)
{
	size_t ports = m->rule_len - PORTS_LEN;

	return memcmp(a, b, ADDRESS_LEN) == 0 && memcmp(a + ports, b + ports, 4) == 0 &&
	       a[ports + 6] == b[ports + 6];
}

/* ---- answers ---- */

/* Appends the SPLICE table as it came, and the end. */
static int finish(const struct pestomsg *m, unsigned char *out, unsigned char *end)
{
	size_t len = m->splice.count * m->rule_len;

	if (m->splice.kind != 0) {
		*end++ = TABLE_SPLICE;
		end = put_u32(end, m->splice.count);
		memcpy(end, m->splice.rules, len);
		end += len;
	}
	*end++ = 0;
	return (int)(end - out);
}

int pestomsg_add(const struct pestomsg *m, const struct pestomsg_port *port, unsigned char *out)
{
	size_t len = m->host.count * m->rule_len;
	unsigned char *p = out;

	if (m->host.count == PESTOMSG_RULES_MAX)
		return -ENOSPC;
	*p++ = TABLE_HOST;
	p = put_u32(p, m->host.count + 1);
	memcpy(p, m->host.rules, len);
	put_rule(m, port, p + len);
	return finish(m, out, p + len + m->rule_len);
}

int pestomsg_remove(const struct pestomsg *m, const struct pestomsg_port *port, unsigned char *out)
{
	unsigned char rule[PESTOMSG_RULE_MAX];
	unsigned char *p = out + 1 + sizeof(uint32_t);
	size_t kept = 0;

	put_rule(m, port, rule);
	for (size_t i = 0; i < m->host.count; i++) {
		const unsigned char *old = m->host.rules + i * m->rule_len;

		if (is_same_place(m, old, rule))
			continue;
		memcpy(p, old, m->rule_len);
		p += m->rule_len;
		kept++;
	}
	out[0] = TABLE_HOST;
	put_u32(out + 1, kept);
	return finish(m, out, p);
}
