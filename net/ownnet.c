/* SPDX-License-Identifier: Apache-2.0 */
#include "net/ownnet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/fd.h"
#include "base/log.h"
#include "msg.h"

#define DRAIN_MS 5000 /* as long as published ports have for what was sent (worker.h) */

static struct in6_addr map_v4(struct in_addr addr)
{
	struct in6_addr mapped = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	memcpy(&mapped.s6_addr[12], &addr, sizeof(addr));
	return mapped;
}

/* The first DNS server of a family that the inside is told, or :: */
static struct in6_addr dns_of(const struct network *net, int family)
{
	struct in6_addr addr = IN6ADDR_ANY_INIT;
	struct in_addr v4;

	for (size_t i = 0; i < NETWORK_MAX_DNS && net->dns[i][0] != '\0'; i++) {
		if (family == AF_INET && inet_pton(AF_INET, net->dns[i], &v4) == 1)
			return map_v4(v4);
		if (family == AF_INET6 && inet_pton(AF_INET6, net->dns[i], &addr) == 1)
			return addr;
	}
	return addr;
}

/* A locally administered address (IEEE 802, bit 1 of the first byte), and the link-local address
 * that belongs to it (RFC 4291, appendix A). */
static void choose_mac(struct netconf *conf)
{
	struct in6_addr *router = &conf->router6;

	if (getrandom(conf->mac, sizeof(conf->mac), 0) != sizeof(conf->mac))
		memset(conf->mac, 0x52, sizeof(conf->mac));
	conf->mac[0] = (uint8_t)((conf->mac[0] & 0xfc) | 2);
	router->s6_addr[0] = 0xfe;
	router->s6_addr[1] = 0x80;
	memcpy(&router->s6_addr[8], conf->mac, 3);
	router->s6_addr[8] ^= 2;
	router->s6_addr[11] = 0xff;
	router->s6_addr[12] = 0xfe;
	memcpy(&router->s6_addr[13], &conf->mac[3], 3);
}

static void fill_conf(struct netconf *conf, const struct netopts *o, const struct network *net)
{
	choose_mac(conf);
	conf->mtu = net->mtu;
	conf->gateway = map_v4(net->gateway);
	conf->dns = dns_of(net, AF_INET);
	conf->prefix_len = net->prefix_len;
	conf->ipv6 = o->ipv6;
	if (o->ipv6) {
		conf->gateway6 = net->gateway6;
		conf->dns6 = dns_of(net, AF_INET6);
		conf->prefix6_len = net->prefix6_len;
	}
	conf->host_loopback = !o->disable_host_loopback;
}

/* Receives the queues, and after them the descriptor of the network namespace. Returns how many
 * queues came, or -errno. */
static int receive_taps(int sock, int *fds, int *netns_fd)
{
	size_t count;
	char byte = 0;
	ssize_t n = msg_recv_fds(sock, &byte, 1, fds, USERNET_MAX_QUEUES + 1, &count);

	if (n < 0)
		return (int)n;
	if (count < 2) {
		fd_close_all(fds, count);
		return -EPROTO;
	}
	*netns_fd = fds[count - 1];
	return (int)count - 1;
}

int ownnet_start(struct ownnet *own, const struct netopts *o, const struct network *net, int sock,
		 struct fdtotal *fds, struct err *e)
{
	int taps[USERNET_MAX_QUEUES + 1];
	struct usernet_setup setup = { .taps = taps, .fds = fds, .pcap_path = o->pcap_path };
	int r = receive_taps(sock, taps, &own->netns_fd);

	if (r < 0)
		return err_sys(e, -r, "receiving the TAP device");
	setup.count = (size_t)r;
	fill_conf(&setup.conf, o, net);
	r = usernet_start(&own->net, &setup, e);
	if (r < 0)
		fd_close(&own->netns_fd);
	else
		log_debug("our own network runs on %zu queues of %s", setup.count, net->dev);
	return r;
}

void ownnet_end(struct ownnet *own)
{
	if (own->net == NULL)
		return;
	usernet_free(own->net, DRAIN_MS);
	own->net = NULL;
	fd_close(&own->netns_fd);
}
