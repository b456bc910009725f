/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_NEIGHBOUR_H
#define USERNET_NEIGHBOUR_H

#include <stdbool.h>

#include "formats/packet.h"
#include "usernet/link.h"

/* Tells the inside which MAC address our addresses have: ARP (RFC 826), and neighbour and router
 * solicitations of IPv6 (RFC 4861). Nothing here has state or blocks. */

/* An ARP packet came from inside. Answers requests for our addresses. */
void neighbour_on_arp(struct link *l, const struct packet *p);

/* If the ICMPv6 packet is one of RFC 4861, answers it where it is for us, and returns true: it
 * needs no other handling. Checks what RFC 4861 7.1.1 and 6.1.1 demand (hop limit 255, checksum).
 */
bool neighbour_on_icmp6(struct link *l, const struct packet *p);

#endif
