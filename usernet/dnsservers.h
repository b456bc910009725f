/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_DNSSERVERS_H
#define USERNET_DNSSERVERS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "formats/resolvconf.h"

/* The name servers of the host, as its resolv.conf(5) lists them at that time, and which of them
 * seem not to answer. Like programs of the host, we ask them in the order of the file, because the
 * first may know names that the others do not know (a VPN's). So a server that has not answered is
 * still asked first, but it gets less time until it answers again.
 *
 * All queues share one list, so what one of them learns about a server holds for the others, too: a
 * program that asks again does so from another port, and maybe by another queue. Any thread may
 * call the functions. Nothing blocks, except that the file is read.
 */

#define DNSSERVERS_READ_MS    250  /* how old the list may be */
#define DNSSERVERS_FIRST_MS   2000 /* at most for each server but the only one, at first */
#define DNSSERVERS_SUSPECT_MS 1000 /* the same for a server that has not answered */

struct dnsservers;

/* `path` is that of resolv.conf, a string that outlives the list. Returns the list, or NULL if out
 * of memory. */
struct dnsservers *dnsservers_new(const char *path);
/* NULL is fine. */
void dnsservers_free(struct dnsservers *s);

/* Copies the present list to *conf; without servers if the file has none or cannot be read, about
 * which a warning is logged. Reads the file if that was more than DNSSERVERS_READ_MS ago. With the
 * option `rotate`, each call begins with another server. */
void dnsservers_get(struct dnsservers *s, struct resolvconf *conf);

/* Returns how long to wait for an answer of this server, in ms, in round `attempt` (from 0) of a
 * query whose list is `conf`. */
unsigned int dnsservers_wait_ms(struct dnsservers *s, const struct resolvconf *conf,
				const struct resolvconf_server *server, unsigned int attempt);

/* The server has answered. */
void dnsservers_on_answer(struct dnsservers *s, const struct resolvconf_server *server);
/* It has not answered in time a query that was sent at `sent_ms` (base/clock.h). */
void dnsservers_on_timeout(struct dnsservers *s, const struct resolvconf_server *server,
			   unsigned long long sent_ms);

/* Writes the address of server `i` of the present list, in the order of the file, with this port.
 * Returns its length, or 0 if there are not so many. */
socklen_t dnsservers_address(struct dnsservers *s, size_t i, uint16_t port,
			     struct sockaddr_storage *to);

/* Writes the socket address of a server. Returns its length. */
socklen_t dnsservers_sockaddr(const struct resolvconf_server *server, uint16_t port,
			      struct sockaddr_storage *to);

#endif
