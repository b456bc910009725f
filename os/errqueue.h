/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_ERRQUEUE_H
#define OS_ERRQUEUE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The error queue of a datagram socket (ip(7), IP_RECVERR; ipv6(7), IPV6_RECVERR): which ICMP
 * errors have come for what it sent, and from whom. Nothing blocks; one thread uses a socket. */

#define ERRQUEUE_BYTES 1232 /* what an ICMPv6 error can quote at most (RFC 4443 2.4(c)) */

struct errqueue_entry {
	int errnum;	      /* what send(2) would report, positive */
	bool is_icmp;	      /* false: an error of this host itself, and only errnum counts */
	uint8_t type, code;   /* of the ICMP error */
	uint32_t mtu;	      /* of "too big" */
	struct in6_addr from; /* who sent it; IPv4 is mapped; :: if not known */
	/* The beginning of what the socket sent, as far as the error says it */
	uint8_t bytes[ERRQUEUE_BYTES];
	size_t len;
};

/* Makes the kernel keep errors for errqueue_take. Returns 0 or -errno. */
int errqueue_enable(int fd, sa_family_t family);

/* Takes the next error from the queue. Returns 1, or 0 if there is none. */
int errqueue_take(int fd, struct errqueue_entry *e);

#endif
