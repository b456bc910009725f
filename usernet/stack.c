/* SPDX-License-Identifier: Apache-2.0 */
/* The network stack of one queue. See stack.h.
 *
 * While programs inside send many UDP datagrams, the TAP is drained by a timer (ports/coalesce.h):
 * the datagrams gather to batches, and their receiver gets the CPU in between. On two busy CPUs
 * that doubles the rate that arrives, at half the CPU time for each. TCP needs no such pause: its
 * segments come in batches, and its sender waits for acknowledgements.
 */
#include "usernet/stack.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "formats/tcpseg.h"
#include "formats/udpseg.h"
#include "ports/coalesce.h"
#include "usernet/dns.h"
#include "usernet/icmperr.h"
#include "usernet/link.h"
#include "usernet/neighbour.h"
#include "usernet/ping.h"
#include "usernet/policy.h"
#include "usernet/tcptable.h"
#include "usernet/udpnat.h"

#define BURST 64 /* frames that are handled before other events get their turn */

/* Limits of all queues together; each queue has its share. */
#define TCP_MAX	 32768
#define UDP_MAX	 4096
#define PING_MAX 256
#define DNS_MAX	 512

/* What part of the descriptors each kind may have at most, so that a flood of one kind leaves some
 * to the others and to published ports. Of TCP, connections that are not established have a quarter
 * (usernet/tcpindex.h). */
#define TCP_PART  1
#define UDP_PART  2
#define PING_PART 16
#define DNS_PART  8

struct stack {
	struct loop *loop; /* borrowed */
	struct tap *tap;
	struct coalesced coalesced; /* its watch is that of the TAP */
	struct coalesce coalesce;
	unsigned int udp_count; /* datagrams and batches of this turn */
	struct link link;
	struct icmperr_sender errors;
	struct fdquota quota;
	struct frags_queue frags;
	struct dns *dns;
	struct udpnat *udp;
	struct ping *ping;
	struct tcptable *tcp;
};

/* ---- packets ---- */

static uint16_t port_at(const struct packet *p, size_t at)
{
	return (uint16_t)(p->payload_len < at + 2 ? 0 : p->payload[at] << 8 | p->payload[at + 1]);
}

static bool is_dns(const struct stack *s, const struct packet *p)
{
	return policy_is_dns(s->link.conf, &p->addrs.dst, port_at(p, 2));
}

static void on_udp(struct stack *s, const struct packet *p, const struct tap_offload *offload)
{
	if (!offload->needs_sum && !udpseg_is_intact(p))
		return;
	s->udp_count++;
	if (is_dns(s, p))
		dns_on_packet(s->dns, p);
	else
		udpnat_on_packet(s->udp, p,
				 offload->gso_type == VIRTIO_NET_HDR_GSO_UDP_L4 ? offload->gso_size
										: 0);
}

static void refuse(struct stack *s, const struct packet *p, enum icmperr what)
{
	struct icmperr_about about;

	if (icmperr_about_packet(&about, p))
		icmperr_send(&s->errors, &about, what, 0);
}

static void on_transport(struct stack *s, const struct packet *p, const struct tap_offload *offload)
{
	const bool v4 = packet_is_v4(&p->addrs);

	if (p->proto == IPPROTO_TCP && (offload->needs_sum || tcpseg_is_intact(p)))
		tcptable_on_packet(s->tcp, p);
	else if (p->proto == IPPROTO_UDP)
		on_udp(s, p, offload);
	else if (p->proto == (v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		ping_on_packet(s->ping, p);
	else if (p->proto != IPPROTO_TCP)
		refuse(s, p, ICMPERR_PROTO_UNREACHABLE);
}

/* A router lowers the time to live, and ends the way of a packet that has none left. */
static bool has_hops_left(struct stack *s, const struct packet *p)
{
	if (p->hops > 1 || policy_is_ours(s->link.conf, &p->addrs.dst))
		return true;
	refuse(s, p, ICMPERR_TIME_EXCEEDED);
	return false;
}

/* Neighbour discovery is never fragmented (RFC 6980). */
static bool is_for_neighbours(struct stack *s, const struct packet *p)
{
	return p->proto == IPPROTO_ICMPV6 && !packet_is_v4(&p->addrs) && !p->is_fragment &&
	       neighbour_on_icmp6(&s->link, p);
}

/* A bridge inside hands us frames for others, too, and a router forwards nothing that was sent to
 * all (RFC 1812 5.3.4). */
static bool is_for_us(const struct stack *s, const struct packet *p)
{
	return memcmp(p->dst_mac, s->link.conf->mac, ETH_ALEN) == 0;
}

static void on_ip(struct stack *s, struct packet *p, const struct tap_offload *offload)
{
	struct in6_addr host;

	if (is_for_neighbours(s, p) || !is_for_us(s, p))
		return;
	switch (policy_decide(s->link.conf, &p->addrs, &host)) {
	case POLICY_IGNORED:
		return;
	case POLICY_REFUSED:
		refuse(s, p, ICMPERR_PROHIBITED);
		return;
	default:
		break;
	}
	if (has_hops_left(s, p) && (!p->is_fragment || frags_on_packet(&s->frags, p)))
		on_transport(s, p, offload);
}

static void on_frame(struct stack *s, const struct tap_frame *frame)
{
	struct packet p;

	switch (packet_read(&p, frame->bytes, frame->len)) {
	case PACKET_ARP:
		neighbour_on_arp(&s->link, &p);
		break;
	case PACKET_IP:
		on_ip(s, &p, &frame->offload);
		break;
	default:
		break;
	}
}

/* ---- the TAP ---- */

/* Root inside may remove the device. All queues notice it; one warning is enough. */
static void on_lost_device(struct stack *s, int errnum)
{
	static atomic_flag has_warned = ATOMIC_FLAG_INIT;
	char why[128];

	coalesce_remove(&s->coalesce, &s->coalesced);
	if (!atomic_flag_test_and_set(&has_warned))
		log_warn(
			"the network does not work any more: its interface inside was removed (%s)",
			err_text(errnum, why, sizeof(why)));
}

/* Handles a burst of frames. Returns 1 if there may be more, 0, or -errno if the device does not
 * work any more. */
static int receive(struct stack *s)
{
	struct tap_frame frame;
	int r = 1;

	s->udp_count = 0;
	for (int i = 0; i < BURST && (r = tap_receive(s->tap, &frame)) > 0; i++)
		on_frame(s, &frame);
	tcptable_flush(s->tcp);
	return r;
}

static void on_tap(struct watch *w, short revents)
{
	struct stack *s = LOOP_OWNER(w, struct stack, coalesced.watch);
	int r = receive(s);

	(void)revents;
	if (r < 0)
		on_lost_device(s, -r);
	else
		coalesce_note(&s->coalesce, &s->coalesced, s->udp_count, clock_now_ms());
}

bool stack_drain(struct stack *s)
{
	bool has_more = receive(s) > 0;

	return has_more || tcptable_is_draining(s->tcp) || tcptable_is_lively(s->tcp);
}

/* ---- start and end ---- */

static size_t share(size_t max, size_t part, const struct stack_setup *setup)
{
	size_t fds = setup->fds->max / part;
	size_t n = (max < fds ? max : fds) / setup->queues;

	return n > 0 ? n : 1;
}

static int make_protocols(struct stack *s, const struct stack_setup *setup, bool has_uso)
{
	const struct dns_setup dns = { .loop = s->loop,
				       .link = &s->link,
				       .quota = &s->quota,
				       .max = share(DNS_MAX, DNS_PART, setup),
				       .servers = setup->servers };
	const struct udpnat_setup udp = { .loop = s->loop,
					  .link = &s->link,
					  .errors = &s->errors,
					  .quota = &s->quota,
					  .socks = setup->udpsocks,
					  .max = share(UDP_MAX, UDP_PART, setup),
					  .gso = has_uso };
	const struct ping_setup ping = { .loop = s->loop,
					 .link = &s->link,
					 .errors = &s->errors,
					 .quota = &s->quota,
					 .max = share(PING_MAX, PING_PART, setup) };
	struct tcptable_setup tcp = { .loop = s->loop,
				      .link = &s->link,
				      .errors = &s->errors,
				      .quota = &s->quota,
				      .max = share(TCP_MAX, TCP_PART, setup) };

	frags_attach(&s->frags, setup->frags, s->loop);
	s->dns = tcp.dns = dns_new(&dns);
	s->ping = ping_new(&ping);
	s->tcp = s->dns != NULL ? tcptable_new(&tcp) : NULL;
	if (s->ping == NULL || s->tcp == NULL)
		return -ENOMEM;
	s->udp = udpnat_new(&udp);
	return s->udp != NULL ? 0 : -errno;
}

static int init(struct stack *s, const struct stack_setup *setup, int fd)
{
	int has_uso = tap_set_offload(fd), r;

	s->loop = setup->loop;
	coalesce_init(&s->coalesce, s->loop);
	if (has_uso < 0)
		return has_uso;
	s->quota = (struct fdquota){ .total = setup->fds, .max = setup->fds->max };
	s->tap = tap_new(fd, setup->pcap);
	if (s->tap == NULL)
		return -ENOMEM;
	s->link = (struct link){ .tap = s->tap, .conf = setup->conf };
	s->errors = (struct icmperr_sender){ .link = &s->link };
	r = make_protocols(s, setup, has_uso > 0);
	if (r < 0)
		return r;
	s->coalesced.watch = (struct watch){ .fd = fd, .events = POLLIN, .on_event = on_tap };
	return coalesce_add(&s->coalesce, &s->coalesced);
}

struct stack *stack_new(const struct stack_setup *setup, int fd)
{
	struct stack *s = calloc(1, sizeof(*s));
	int r = s != NULL ? init(s, setup, fd) : -ENOMEM;

	if (r == 0)
		return s;
	if (s == NULL || s->tap == NULL)
		fd_close(&fd);
	stack_free(s);
	errno = -r;
	return NULL;
}

void stack_free(struct stack *s)
{
	if (s == NULL)
		return;
	coalesce_remove(&s->coalesce, &s->coalesced);
	coalesce_reset(&s->coalesce);
	tcptable_free(s->tcp);
	udpnat_free(s->udp);
	ping_free(s->ping);
	dns_free(s->dns);
	frags_detach(&s->frags);
	loop_run_tasks(s->loop);
	tap_free(s->tap);
	free(s);
}
