/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_DGRAM_H
#define PORTS_DGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "ports/flowtable.h"

/* Datagrams in and out of sockets, as many to a system call as there are. Here is all that is to be
 * known about source addresses (ip(7), IP_PKTINFO; ipv6(7), RFC 3542, IPV6_PKTINFO) and about
 * batches (udp(7), UDP_GRO and UDP_SEGMENT): datagrams of one size, but for the last, which may be
 * shorter, that go through the kernel as one. On a batch or not, each arrives as it was sent.
 */

#define DGRAMS_MAX 64 /* received at once, each a datagram or a batch */

/* A datagram, or a batch of them. */
struct dgram {
	struct dgram *next; /* for lists of those that go one way; not set by dgrams_receive */
	char *bytes;
	size_t len;
	size_t segment; /* bytes of each one of a batch but the last; else len */
};

/* Room for what one dgrams_receive brings, of any size that UDP has, and for sending it on. */
struct dgrams;

/* Returns room to be freed with free(3), or NULL. Memory that no datagram came to is not touched.
 * `fd` is any UDP socket, which tells whether this kernel sends batches. */
struct dgrams *dgrams_new(int fd);

/* Receives what is there, at most DGRAMS_MAX and fewer where the last ones were large, with their
 * keys if `keyed`, for which dgram_listener_options must have been called. Does not block. Returns
 * how many came, -EAGAIN for none, or -errno; an error of ICMP is told once, and does not make the
 * socket useless. */
int dgrams_receive(struct dgrams *d, int fd, bool keyed);
/* Did the last dgrams_receive take as many as it wanted to, so that there may be more? */
bool dgrams_may_be_more(const struct dgrams *d);
/* One of them, valid until the next dgrams_receive; */
struct dgram *dgrams_at(struct dgrams *d, int index);
/* and who sent it, and to which address of ours. */
const struct flow_key *dgrams_key(const struct dgrams *d, int index);

/* Is it an error that concerns one datagram, and not the socket: one of ICMP, of a firewall, or
 * that there is no room? */
bool dgram_is_passing(int errnum);

/* Makes a UDP socket of `family` tell which address a datagram was sent to and take batches, and
 * gives it room as dgram_more_room does. Returns 0 or -errno. */
int dgram_listener_options(int fd, sa_family_t family);
/* Lets a socket take batches, if the kernel can. */
void dgram_take_batches(int fd);
/* Gives a socket buffers as large as they may be and make sense. */
void dgram_more_room(int fd);

/* Where datagrams go. */
struct dgram_dest {
	int fd;
	sa_family_t family;	    /* of the listening socket */
	const struct flow_key *key; /* from the listening socket to this client, from the address
				       that it wrote to; NULL: `fd` is connected */
	uint16_t *segment_max;	    /* of batches; lowered where they do not get through. At first
				       DGRAM_ANY_SEGMENT. */
};

#define DGRAM_ANY_SEGMENT UINT16_MAX

/* Sends the datagrams of a list in its order; those that follow each other and are of one size go
 * as batches. Does not block. What there is no room for, or what cannot get through, is lost.
 * Returns 0, or -errno where the socket is of no use (see dgram_is_passing) or the way is none; the
 * rest is lost then. `d` may be what they were received in. */
int dgrams_send(struct dgrams *d, const struct dgram_dest *dest, struct dgram *first);

#endif
