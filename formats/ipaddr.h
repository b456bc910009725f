/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_IPADDR_H
#define FORMATS_IPADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define PORT_MAX 65535

/* An IP address of either family, or none. Nothing here blocks, allocates or has state. */
struct ipaddr {
	sa_family_t family; /* AF_INET, AF_INET6, or AF_UNSPEC for no address */
	union {
		struct in_addr v4;
		struct in6_addr v6;
	};
};

/* Reads an IPv4 or IPv6 address in strict text form (inet_pton(3): no octal, no short forms, no
 * zone). An IPv4-mapped IPv6 address ("::ffff:10.0.2.100") becomes IPv4. Returns 0, or -EINVAL with
 * *ip unchanged. */
int ipaddr_parse(struct ipaddr *ip, const char *text);
bool ipaddr_is_loopback(const struct ipaddr *ip); /* 127.0.0.0/8 or ::1 */
bool ipaddr_is_any(const struct ipaddr *ip);	  /* 0.0.0.0 or :: */
/* Returns 127.0.0.1 or ::1; AF_UNSPEC for AF_UNSPEC. */
struct ipaddr ipaddr_loopback(sa_family_t family);
/* Are they the same address? True for two of AF_UNSPEC. */
bool ipaddr_equal(const struct ipaddr *a, const struct ipaddr *b);
/* Fills in a socket address with `port` in host byte order. Returns its length, 0 for AF_UNSPEC. */
socklen_t ipaddr_sockaddr(const struct ipaddr *ip, int port, struct sockaddr_storage *sa);
/* Reads a socket address. An IPv4-mapped IPv6 address becomes IPv4. An address of another
 * family becomes AF_UNSPEC. Returns the port in host byte order, or 0 if there is none. */
int ipaddr_from_sockaddr(struct ipaddr *ip, const struct sockaddr_storage *sa);
/* Writes an address as text to buf, which has at least INET6_ADDRSTRLEN bytes; "" for AF_UNSPEC.
 * Returns buf. */
const char *ipaddr_text(const struct ipaddr *ip, char *buf, size_t cap);

/* Bytes of "[ADDRESS]:65535" with the final NUL. */
#define IPADDR_ENDPOINT_LEN (INET6_ADDRSTRLEN + sizeof("[]:65535"))
/* Writes "127.0.0.1:80" or "[::1]:80" to buf; `cap` is at least IPADDR_ENDPOINT_LEN. Returns
 * buf. */
const char *ipaddr_endpoint_text(const struct ipaddr *ip, int port, char *buf, size_t cap);

#endif
