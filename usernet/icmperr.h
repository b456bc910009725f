/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_ICMPERR_H
#define USERNET_ICMPERR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "formats/icmpmsg.h"
#include "formats/packet.h"
#include "usernet/link.h"

/* ICMP errors to the inside about packets that came from there (RFC 792, RFC 4443), so that
 * programs learn at once what the host's socket reported. Rate limited, as RFC 4443 2.4(f) demands.
 * One thread uses a struct; nothing blocks. */

enum icmperr {
	ICMPERR_NET_UNREACHABLE,
	ICMPERR_HOST_UNREACHABLE,
	ICMPERR_PROTO_UNREACHABLE,
	ICMPERR_PORT_UNREACHABLE,
	ICMPERR_PROHIBITED,
	ICMPERR_TOO_BIG,
	ICMPERR_TIME_EXCEEDED,
};

/* What an error is about: the beginning of a packet. */
struct icmperr_about {
	uint8_t mac[ETH_ALEN]; /* of the sender */
	/* The addresses as the packet had them, its protocol, and the first bytes of its payload:
	 * ports, for example. `len` is sizeof(quote.bytes) if the length is not known. */
	struct icmpmsg_quote quote;
};

struct icmperr_sender {
	struct link *link;	      /* borrowed */
	unsigned long long window_ms; /* private: the rate limit */
	unsigned int sent;
};

/* Fills in *about from a packet that came from inside. Returns false if no error may be sent about
 * it: an ICMP error, a fragment but the first, a multicast or broadcast address, or too short. */
bool icmperr_about_packet(struct icmperr_about *about, const struct packet *p);
/* The same for a TCP segment (with its sequence number) or a UDP datagram, by its ports. */
void icmperr_about_ports(struct icmperr_about *about, const uint8_t *mac,
			 const struct packet_addrs *addrs, uint8_t proto, uint16_t src_port,
			 uint16_t dst_port, uint32_t seq);

/* Adds what follows the ports of a UDP datagram or the header of an echo request. `data` is
 * borrowed, also by icmperr_about_packet. */
void icmperr_about_data(struct icmperr_about *about, const void *data, size_t len);

/* Sends an error. Port and protocol unreachable seem to come from the address that the packet was
 * sent to, the others from the gateway. `mtu` is for ICMPERR_TOO_BIG, in bytes. */
void icmperr_send(struct icmperr_sender *s, const struct icmperr_about *about, enum icmperr what,
		  uint32_t mtu);

/* Passes on an error that somebody on the host's side has sent: it seems to come from that address,
 * or from the gateway if the inside must not see that address. Of `error`, only type, code and rest
 * count; they are those of ICMP for IPv4, and of ICMPv6 for IPv6. */
void icmperr_relay(struct icmperr_sender *s, const struct icmperr_about *about,
		   const struct in6_addr *from, const struct icmpmsg *error);

/* Says which error tells the inside about `errnum`, from connect(2), send(2) or SO_ERROR. Returns
 * false if there is none that would fit. ECONNREFUSED is ICMPERR_PORT_UNREACHABLE. */
bool icmperr_from_errno(enum icmperr *what, int errnum);

#endif
