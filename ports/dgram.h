/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PORTS_DGRAM_H
#define PORTS_DGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "ports/flowtable.h"

/* Receiving and sending datagrams, many with one system call. Everything about source addresses
 * (ip(7), IP_PKTINFO; ipv6(7) and RFC 3542, IPV6_PKTINFO) and about GSO and GRO batches (udp(7),
 * UDP_SEGMENT and UDP_GRO) is here. A batch is a super-datagram: datagrams of one size, of which
 * the last may be shorter, that pass through the kernel as one buffer. Batches are invisible on the
 * network: each datagram arrives as it was sent.
 *
 * Nothing blocks. One thread at a time may use a struct dgrams.
 */

#define DGRAMS_MAX 64 /* received by one call, each a datagram or a batch */

/* A datagram, or a batch of them. */
struct dgram {
	struct dgram *next; /* for a list of datagrams with the same destination; not set by
			       dgrams_receive */
	char *bytes;	    /* borrowed */
	size_t len;
	size_t segment; /* a batch: bytes of each of its datagrams but the last; else len */
};

/* Buffers for the datagrams of one dgrams_receive, of any size that UDP allows, and for sending
 * them on. */
struct dgrams;

/* Returns buffers that the caller frees with free(3), or NULL if out of memory. They occupy only
 * the memory that datagrams were written to. `fd` is any UDP socket (borrowed); it shows whether
 * this kernel can send batches. */
struct dgrams *dgrams_new(int fd);

/* Receives waiting datagrams and batches: at most DGRAMS_MAX, and fewer after a call that brought
 * large ones. With `keyed`, fills in their keys as well; `fd` must then have the options of
 * dgram_set_listener_options. Returns how many came, -EAGAIN for none, or another -errno. An ICMP
 * error is returned once, and leaves the socket usable (dgram_is_transient). */
int dgrams_receive(struct dgrams *d, int fd, bool keyed);
/* Did the last dgrams_receive fill its limit, so that more datagrams may be waiting? */
bool dgrams_may_be_more(const struct dgrams *d);
/* Returns a received datagram or batch, valid until the next dgrams_receive. */
struct dgram *dgrams_at(struct dgrams *d, int index);
/* Returns its key: who sent it, and to which of our addresses. Valid as long as the datagram. */
const struct flow_key *dgrams_key(const struct dgrams *d, int index);

/* Does the error concern one datagram only, not the socket? Examples: an ICMP error, a rejection by
 * a firewall, a lack of buffer space. */
bool dgram_is_transient(int errnum);

/* Sets the options of a listening UDP socket of `family`: it reports which address a datagram was
 * sent to, receives batches, and has the buffers of dgram_enlarge_buffers. Returns 0 or -errno. */
int dgram_set_listener_options(int fd, sa_family_t family);
/* Lets a socket receive batches (UDP_GRO). Older kernels ignore this. */
void dgram_enable_gro(int fd);
/* Enlarges a socket's buffers to 1 MiB each, or to the system's limits (net.core.rmem_max,
 * wmem_max). */
void dgram_enlarge_buffers(int fd);

/* Where datagrams are sent. */
struct dgram_dest {
	int fd;			    /* borrowed */
	sa_family_t family;	    /* of the listening socket */
	const struct flow_key *key; /* NULL: `fd` is connected. Else `fd` is the listening socket:
				       send to this client, from the address that it wrote to */
	uint16_t *segment_max; /* datagrams up to this size, in bytes, are batched. The owner sets
				  DGRAM_ANY_SEGMENT at first; dgrams_send lowers it when the
				  kernel refuses a batch. */
	int *error; /* NULL; or where dgrams_send stores the last transient errno that it met,
		       but EAGAIN: the ICMP error of an earlier datagram, or why one was dropped.
		       Left alone if it met none. */
};

#define DGRAM_ANY_SEGMENT UINT16_MAX

/* Sends the datagrams of a list, in order. Consecutive datagrams of the same size go as a batch.
 * Datagrams that find no room in the socket, or are refused, are dropped. Returns 0, or an -errno
 * that is not transient (dgram_is_transient): the socket or the destination is unusable, and the
 * remaining datagrams are dropped. `d` may be the buffers that the datagrams were received in. */
int dgrams_send(struct dgrams *d, const struct dgram_dest *dest, struct dgram *first);

#endif
