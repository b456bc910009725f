/* SPDX-License-Identifier: Apache-2.0 */
/* Loop protection and log lines of a published port. See listener.h. */
#include "ports/listener.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "formats/ipaddr.h"

#define REFUSED "connection refused"

/* Writes "127.0.0.1:80" or "[::1]:80", or "its target" if there is no address. */
static void write_address(char *buf, size_t cap, const struct sockaddr_storage *to)
{
	struct ipaddr ip;
	int port = ipaddr_from_sockaddr(&ip, to);

	if (ip.family == AF_UNSPEC)
		snprintf(buf, cap, "its target");
	else
		ipaddr_endpoint_text(&ip, port, buf, cap);
}

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* ---- loops ---- */

void listener_note_target(struct listener *l)
{
	const struct ipaddr *ip = &l->target.ip;

	l->may_lead_out = ip->family != AF_UNSPEC && !ipaddr_is_loopback(ip) && !ipaddr_is_any(ip);
}

static unsigned char bucket_of(const struct sockaddr_storage *client)
{
	unsigned char bucket = 0;
	struct ipaddr ip;
	const unsigned char *bytes = (const unsigned char *)&ip.v6;

	ipaddr_from_sockaddr(&ip, client);
	if (ip.family != AF_UNSPEC)
		for (size_t i = 0; i < (ip.family == AF_INET ? sizeof(ip.v4) : sizeof(ip.v6)); i++)
			bucket = (unsigned char)(bucket * 31 + bytes[i]);
	return bucket % LISTENER_BUCKETS;
}

bool listener_count_in(struct listener *l, const struct sockaddr_storage *client,
		       unsigned char *bucket)
{
	if (!l->may_lead_out)
		return false;
	*bucket = bucket_of(client);
	return atomic_fetch_add_explicit(&l->clients[*bucket], 1, memory_order_relaxed) >=
	       LISTENER_LOOP_LIMIT;
}

void listener_count_out(struct listener *l, unsigned char bucket)
{
	if (l->may_lead_out)
		atomic_fetch_sub_explicit(&l->clients[bucket], 1, memory_order_relaxed);
}

/* ---- log lines ---- */

/* Does the reason, our own text or the child's, say that the target refused the connection? (The
 * child may also refuse the request.) */
static bool is_refusal(const char *reason)
{
	return strcmp(reason, REFUSED) == 0 || ends_with(reason, ": connect: " REFUSED);
}

void listener_set_name(struct listener *l, const struct portspec *spec)
{
	snprintf(l->name, sizeof(l->name),
		 strchr(spec->parent_ip, ':') != NULL ? "[%s]:%d/%s" : "%s:%d/%s", spec->parent_ip,
		 spec->parent_port, proto_name(spec->proto));
}

void listener_log_failure(struct listener *l, const struct sockaddr_storage *to, int errnum,
			  const char *reason)
{
	char address[IPADDR_ENDPOINT_LEN];
	char why[128];

	if (!log_is_due(&l->failures))
		return;
	write_address(address, sizeof(address), to);
	if (is_refusal(reason)) {
		log_warn("port %s: nobody listens at %s inside (" REFUSED ")", l->name, address);
		return;
	}
	err_text(errnum, why, sizeof(why));
	switch (errnum) {
	case ETIMEDOUT:
		log_warn("port %s: %s does not answer inside (%s)", l->name, address, why);
		break;
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EADDRNOTAVAIL:
		log_warn("port %s: %s cannot be reached inside (%s)", l->name, address, why);
		break;
	case ELOOP:
		log_warn("port %s: more than %d clients of one address wait for %s, which is not "
			 "inside: this may lead back to the port, so further ones are refused; "
			 "try another child IP",
			 l->name, LISTENER_LOOP_LIMIT, address);
		break;
	default:
		log_warn("port %s: no connection to %s inside: %s", l->name, address, reason);
	}
}
