/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_DHCPSOCK_H
#define OS_DHCPSOCK_H

#include <linux/if_packet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "formats/udp4.h"

/* The sockets of a DHCP client, in the network namespace of the thread that opens them. They are
 * non-blocking, and the caller closes them.
 *
 * Before the link has an address, only a packet socket (packet(7)) receives: with rp_filter the
 * kernel drops the broadcast of a server then. With an address, a UDP socket is better: the kernel
 * finds the server's hardware address, and does not refuse the answer as a packet for a port that
 * nobody listens on. Opening either needs CAP_NET_RAW in the namespace. */

#define DHCPSOCK_PACKET_MAX 1500 /* bytes of the packets that are sent and received */

struct dhcpsock_link {
	int index;
	unsigned char hwaddr[6];
	unsigned int mtu; /* bytes */
};

/* Looks up an Ethernet link by its name. Returns 0 or -errno with a reason. */
int dhcpsock_find_link(struct dhcpsock_link *link, const char *name, struct err *e);

/* A packet socket that receives all UDP packets for the DHCP client's port on this link. Returns
 * the descriptor, or -errno with a reason. */
int dhcpsock_open_packet(int index, struct err *e);

/* A UDP socket that is bound to the client's port of this address and link. Returns the descriptor,
 * or -errno with a reason. */
int dhcpsock_open_udp(const char *link, struct in_addr addr, struct err *e);

/* Sends a packet by a packet socket to a hardware address; NULL: to all. Returns 0 or -errno. */
int dhcpsock_send_packet(int fd, int index, const unsigned char *hwaddr, const struct udp4 *u);

/* Receives a packet by a packet socket into buf[DHCPSOCK_PACKET_MAX], and its sender's hardware
 * address. Returns 1; 0 if it is not a valid UDP packet; -EAGAIN if there is none; or another
 * -errno. */
int dhcpsock_receive_packet(int fd, unsigned char *buf, struct udp4 *u, unsigned char *hwaddr);

#endif
