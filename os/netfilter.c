/* SPDX-License-Identifier: Apache-2.0 */
/* nf_tables rules, set by nfnetlink. See netfilter.h.
 *
 * Our table is what nft(8) makes of
 *
 *     table inet rlkbox_source_ip {
 *             chain output {
 *                     type filter hook output priority mangle;
 *                     meta mark OUT ct mark set IN
 *             }
 *             chain prerouting {
 *                     type filter hook prerouting priority mangle;
 *                     ct mark IN meta mark set IN
 *             }
 *     }
 *
 * The kernel counts the changes of the rule set (its generation). While the count is the same, the
 * table is still there. If it has changed, look for the table, and add it again if somebody has
 * deleted it.
 */
#include "os/netfilter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netlink.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"

#define TABLE		 "rlkbox_source_ip"
#define CHAIN_OUTPUT	 "output"
#define CHAIN_PREROUTING "prerouting"
#define REQUEST_MAX	 2048  /* bytes; our table takes about 900 */
#define REPLY_MAX	 16384 /* bytes; the kernel's messages have at most 8 KiB */
#define ATTR_HEAD	 sizeof(struct nlattr)
#define RETRY_MS \
	60000 /* after a failure; a kernel without nf_tables looks for modules at each try */

/* ---- messages ---- */

/* One or more messages under construction. */
struct request {
	union {
		char bytes[REQUEST_MAX];
		struct nlmsghdr align;
	};
	size_t len;
	size_t begun; /* offset of the last message */
};

static void put_bytes(struct request *req, const void *data, size_t len)
{
	if (len > 0)
		memcpy(req->bytes + req->len, data, len);
	req->len += len;
	while (req->len % NLMSG_ALIGNTO != 0)
		req->bytes[req->len++] = '\0';
}

static void begin_message(struct request *req, struct netfilter *nf, int type, int flags,
			  uint8_t family, uint16_t res_id)
{
	const struct nlmsghdr head = { .nlmsg_type = (uint16_t)type,
				       .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags),
				       .nlmsg_seq = ++nf->seq };
	const struct nfgenmsg gen = { .nfgen_family = family,
				      .version = NFNETLINK_V0,
				      .res_id = htons(res_id) };

	req->begun = req->len;
	put_bytes(req, &head, sizeof(head));
	put_bytes(req, &gen, sizeof(gen));
}

static void end_message(struct request *req)
{
	struct nlmsghdr *head = (struct nlmsghdr *)(void *)(req->bytes + req->begun);

	head->nlmsg_len = (uint32_t)(req->len - req->begun);
}

static void put_attr(struct request *req, int type, const void *data, size_t len)
{
	const struct nlattr attr = { .nla_len = (uint16_t)(ATTR_HEAD + len),
				     .nla_type = (uint16_t)type };

	put_bytes(req, &attr, sizeof(attr));
	put_bytes(req, data, len);
}

static void put_text(struct request *req, int type, const char *text)
{
	put_attr(req, type, text, strlen(text) + 1);
}

static void put_u32(struct request *req, int type, uint32_t value)
{
	const uint32_t be = htonl(value);

	put_attr(req, type, &be, sizeof(be));
}

/* Begins a nested attribute. Returns its offset, for end_nest. */
static size_t begin_nest(struct request *req, int type)
{
	const size_t at = req->len;

	put_attr(req, type | NLA_F_NESTED, NULL, 0);
	return at;
}

static void end_nest(struct request *req, size_t at)
{
	struct nlattr *attr = (struct nlattr *)(void *)(req->bytes + at);

	attr->nla_len = (uint16_t)(req->len - at);
}

/* ---- requests and replies ---- */

static int send_request(struct netfilter *nf, const struct request *req)
{
	ssize_t n;

	do
		n = send(nf->fd, req->bytes, req->len, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

union reply {
	char bytes[REPLY_MAX];
	struct nlmsghdr head;
};

/* Receives the next part of the reply. The kernel queues the reply before send(2) returns, so this
 * does not wait. Returns the length in bytes or -errno. */
static int receive(struct netfilter *nf, union reply *reply)
{
	ssize_t n;

	do
		n = recv(nf->fd, reply, sizeof(*reply), MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}

/* The message at offset *at in a reply of `len` bytes; moves *at to the next one. NULL at the
 * end. */
static const struct nlmsghdr *next_message(const union reply *reply, size_t len, size_t *at)
{
	const struct nlmsghdr *head = (const void *)(reply->bytes + *at);

	/* What NLMSG_OK does, without its comparison of signed and unsigned numbers. */
	if (len < *at || len - *at < sizeof(*head))
		return NULL;
	if (head->nlmsg_len < sizeof(*head) || head->nlmsg_len > len - *at)
		return NULL;
	*at += NLMSG_ALIGN(head->nlmsg_len);
	return head;
}

/* The result in an acknowledgement: 0 or -errno. */
static int ack_of(const struct nlmsghdr *head)
{
	const struct nlmsgerr *ack = NLMSG_DATA(head);

	return head->nlmsg_len < NLMSG_LENGTH(sizeof(ack->error)) ? -EPROTO : ack->error;
}

/* Finds a top-level attribute of a message. Returns NULL if there is none of this type. */
static const struct nlattr *find_attr(const struct nlmsghdr *head, int type)
{
	size_t at = NLMSG_LENGTH(NLMSG_ALIGN(sizeof(struct nfgenmsg)));

	while (at + ATTR_HEAD <= head->nlmsg_len) {
		const struct nlattr *attr = (const void *)((const char *)head + at);

		if (attr->nla_len < ATTR_HEAD || attr->nla_len > head->nlmsg_len - at)
			return NULL;
		if ((attr->nla_type & NLA_TYPE_MASK) == type)
			return attr;
		at += NLMSG_ALIGN(attr->nla_len);
	}
	return NULL;
}

/* Sends a request that has one answer. Returns the answer, which is in `reply`, or NULL with
 * *result set to -errno. */
static const struct nlmsghdr *ask(struct netfilter *nf, const struct request *req,
				  union reply *reply, int *result)
{
	const struct nlmsghdr *head;
	size_t at = 0;

	*result = send_request(nf, req);
	if (*result != 0)
		return NULL;
	*result = receive(nf, reply);
	if (*result < 0)
		return NULL;
	head = next_message(reply, (size_t)*result, &at);
	if (head != NULL && head->nlmsg_type != NLMSG_ERROR)
		return head;
	*result = head != NULL ? ack_of(head) : -EPROTO;
	return NULL;
}

/* Gets the generation of the rule set, which is never 0. Returns 0 or -errno. */
static int get_generation(struct netfilter *nf, uint32_t *generation)
{
	struct request req = { .len = 0 };
	const struct nlmsghdr *head;
	const struct nlattr *attr;
	union reply reply;
	int r;

	begin_message(&req, nf, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 0, NFPROTO_UNSPEC, 0);
	end_message(&req);
	head = ask(nf, &req, &reply, &r);
	if (head == NULL)
		return r;
	attr = find_attr(head, NFTA_GEN_ID);
	if (attr == NULL || attr->nla_len < ATTR_HEAD + sizeof(*generation))
		return -EPROTO;
	memcpy(generation, (const char *)attr + ATTR_HEAD, sizeof(*generation));
	return 0;
}

/* Sets *found to whether our table exists. Returns 0 or -errno. */
static int find_table(struct netfilter *nf, bool *found)
{
	struct request req = { .len = 0 };
	union reply reply;
	int r;

	begin_message(&req, nf, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, 0, NFPROTO_INET, 0);
	put_text(&req, NFTA_TABLE_NAME, TABLE);
	end_message(&req);
	*found = ask(nf, &req, &reply, &r) != NULL;
	return *found || r == -ENOENT ? 0 : r;
}

/* Opens the socket if necessary and brings nf->ours up to date. Returns 0 or -errno. */
static int refresh(struct netfilter *nf)
{
	uint32_t generation = 0;
	int r = 0;

	if (nf->fd < 0) {
		nf->generation = 0;
		nf->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
		r = nf->fd < 0 ? -errno : 0;
	}
	if (r == 0)
		r = get_generation(nf, &generation);
	if (r == 0 && generation == nf->generation)
		return 0;
	if (r == 0)
		r = find_table(nf, &nf->ours);
	if (r == 0)
		nf->generation = generation;
	return r;
}

/* ---- our table ---- */

static void begin_in_table(struct request *req, struct netfilter *nf, int message)
{
	begin_message(req, nf, NFNL_SUBSYS_NFTABLES << 8 | message,
		      NLM_F_CREATE | NLM_F_ACK | (message == NFT_MSG_NEWRULE ? NLM_F_APPEND : 0),
		      NFPROTO_INET, 0);
}

static void add_chain(struct request *req, struct netfilter *nf, const char *chain, uint32_t hook)
{
	size_t nest;

	begin_in_table(req, nf, NFT_MSG_NEWCHAIN);
	put_text(req, NFTA_CHAIN_TABLE, TABLE);
	put_text(req, NFTA_CHAIN_NAME, chain);
	nest = begin_nest(req, NFTA_CHAIN_HOOK);
	put_u32(req, NFTA_HOOK_HOOKNUM, hook);
	put_u32(req, NFTA_HOOK_PRIORITY, (uint32_t)NF_IP_PRI_MANGLE);
	end_nest(req, nest);
	put_text(req, NFTA_CHAIN_TYPE, "filter");
	end_message(req);
}

/* The offsets of an expression's two nested attributes. The caller puts the expression's own
 * attributes between begin_expression and end_expression. */
struct expression {
	size_t nest;
	size_t data;
};

static struct expression begin_expression(struct request *req, const char *name)
{
	struct expression x = { .nest = begin_nest(req, NFTA_LIST_ELEM) };

	put_text(req, NFTA_EXPR_NAME, name);
	x.data = begin_nest(req, NFTA_EXPR_DATA);
	return x;
}

static void end_expression(struct request *req, struct expression x)
{
	end_nest(req, x.data);
	end_nest(req, x.nest);
}

static void put_mark(struct request *req, int type, uint32_t mark)
{
	size_t nest = begin_nest(req, type);

	/* Registers are in host byte order. */
	put_attr(req, NFTA_DATA_VALUE, &mark, sizeof(mark));
	end_nest(req, nest);
}

/* A mark, with the expression and attributes that load it into a register and set it from one. */
struct mark {
	const char *expression;
	uint16_t key_attr;
	uint32_t key;
	uint16_t to_register_attr;
	uint16_t from_register_attr;
};

static const struct mark packet_mark = { "meta", NFTA_META_KEY, NFT_META_MARK, NFTA_META_DREG,
					 NFTA_META_SREG };
static const struct mark connection_mark = { "ct", NFTA_CT_KEY, NFT_CT_MARK, NFTA_CT_DREG,
					     NFTA_CT_SREG };

/* Ends the rule for a packet unless the mark has this value. */
static void match_mark(struct request *req, const struct mark *mark, uint32_t value)
{
	struct expression x = begin_expression(req, mark->expression);

	put_u32(req, mark->key_attr, mark->key);
	put_u32(req, mark->to_register_attr, NFT_REG_1);
	end_expression(req, x);
	x = begin_expression(req, "cmp");
	put_u32(req, NFTA_CMP_SREG, NFT_REG_1);
	put_u32(req, NFTA_CMP_OP, NFT_CMP_EQ);
	put_mark(req, NFTA_CMP_DATA, value);
	end_expression(req, x);
}

static void set_mark(struct request *req, const struct mark *mark, uint32_t value)
{
	struct expression x = begin_expression(req, "immediate");

	put_u32(req, NFTA_IMMEDIATE_DREG, NFT_REG_1);
	put_mark(req, NFTA_IMMEDIATE_DATA, value);
	end_expression(req, x);
	x = begin_expression(req, mark->expression);
	put_u32(req, mark->key_attr, mark->key);
	put_u32(req, mark->from_register_attr, NFT_REG_1);
	end_expression(req, x);
}

static void add_rule(struct request *req, struct netfilter *nf, const char *chain,
		     const struct mark *from, uint32_t match, const struct mark *to, uint32_t value)
{
	size_t nest;

	begin_in_table(req, nf, NFT_MSG_NEWRULE);
	put_text(req, NFTA_RULE_TABLE, TABLE);
	put_text(req, NFTA_RULE_CHAIN, chain);
	nest = begin_nest(req, NFTA_RULE_EXPRESSIONS);
	match_mark(req, from, match);
	set_mark(req, to, value);
	end_nest(req, nest);
	end_message(req);
}

/* Writes a batch, which the kernel carries out as one transaction. Returns the number of messages
 * that the kernel acknowledges. */
static int write_batch(struct request *req, struct netfilter *nf, uint32_t out, uint32_t in)
{
	begin_message(req, nf, NFNL_MSG_BATCH_BEGIN, 0, NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES);
	end_message(req);
	begin_in_table(req, nf, NFT_MSG_NEWTABLE);
	put_text(req, NFTA_TABLE_NAME, TABLE);
	end_message(req);
	add_chain(req, nf, CHAIN_OUTPUT, NF_INET_LOCAL_OUT);
	add_chain(req, nf, CHAIN_PREROUTING, NF_INET_PRE_ROUTING);
	add_rule(req, nf, CHAIN_OUTPUT, &packet_mark, out, &connection_mark, in);
	add_rule(req, nf, CHAIN_PREROUTING, &connection_mark, in, &packet_mark, in);
	begin_message(req, nf, NFNL_MSG_BATCH_END, 0, NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES);
	end_message(req);
	return 5; /* for the table, two chains and two rules */
}

/* Adds our table. Returns 0 or -errno. */
static int add_table(struct netfilter *nf, uint32_t out, uint32_t in)
{
	struct request req = { .len = 0 };
	int wanted = write_batch(&req, nf, out, in);
	int r = send_request(nf, &req);
	union reply reply;

	while (r == 0 && wanted > 0) {
		const struct nlmsghdr *head;
		int len = receive(nf, &reply);
		size_t at = 0;

		if (len < 0)
			return len;
		while (r == 0 && (head = next_message(&reply, (size_t)len, &at)) != NULL) {
			r = head->nlmsg_type == NLMSG_ERROR ? ack_of(head) : -EPROTO;
			wanted--;
		}
	}
	return r;
}

int netfilter_keep_marks(struct netfilter *nf, uint32_t out, uint32_t in, struct err *e)
{
	int r;

	if (nf->fd < 0 && clock_now_ms() < nf->retry_ms)
		return err_sys(e, -nf->failed, "netfilter rules");
	r = refresh(nf);
	if (r == 0 && nf->ours)
		return 0;
	if (r == 0)
		r = add_table(nf, out, in);
	if (r == 0) {
		nf->ours = true;
		return 0;
	}
	/* Closing the socket also drops unread parts of a reply. */
	fd_close(&nf->fd);
	nf->failed = r;
	nf->retry_ms = clock_now_ms() + RETRY_MS;
	return err_sys(e, -r, "netfilter rules");
}
