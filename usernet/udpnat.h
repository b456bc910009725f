/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_UDPNAT_H
#define USERNET_UDPNAT_H

#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "formats/packet.h"
#include "ports/fdquota.h"
#include "usernet/icmperr.h"
#include "usernet/link.h"
#include "usernet/udpsocks.h"

/* UDP from inside to the host's network, of one queue: a flow for each pair of source and
 * destination (addresses and ports), with a connected socket on the host's side. Answers seem to
 * come from the address that was written to. A flow ends when it has been idle for UDPNAT_IDLE_MS;
 * when there are too many, the ones that were never answered go first (ports/flowtable.h). A
 * refusal comes back as ICMP port unreachable, other errors of the host's socket as the ICMP error
 * that fits; the flow lives on. Datagrams are never changed, merged or cut: batches
 * (UDP_SEGMENT, UDP_GRO, and UDP segmentation of the TAP) are only a faster way to pass many.
 *
 * One thread uses a struct; nothing blocks.
 */

#define UDPNAT_IDLE_MS	   90000
/* Of flows to port 53: longer than resolvers wait for an answer */
#define UDPNAT_DNS_IDLE_MS 20000

struct udpnat;

struct udpnat_setup {
	struct loop *loop; /* all borrowed */
	struct link *link;
	struct icmperr_sender *errors;
	struct fdquota *quota;	/* one descriptor for each flow, also if two share one */
	struct udpsocks *socks; /* of all queues */
	size_t max;		/* flows, > 1: half of them new, half established */
	bool gso;		/* the TAP takes batches of UDP (TUN_F_USO4) */
};

/* Returns a table without flows, or NULL with errno. */
struct udpnat *udpnat_new(const struct udpnat_setup *setup);
/* Sends what has come from inside, and ends all flows. Must not be called from a task. NULL is
 * fine.
 */
void udpnat_free(struct udpnat *u);

/* A UDP packet came from inside, whole (not a fragment), with a correct checksum. `gso_size`: 0, or
 * it is a batch, each datagram with so many bytes of data but the last. What the policy refuses is
 * answered by an ICMP error. Port 53 of the DNS address is not for us. The datagram is
 * sent at the end of the loop's round at the latest. */
void udpnat_on_packet(struct udpnat *u, const struct packet *p, uint16_t gso_size);

#endif
