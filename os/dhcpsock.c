/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets of a DHCP client. See dhcpsock.h. */
#include "os/dhcpsock.h"

#include <errno.h>
#include <linux/filter.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "formats/dhcp.h"

static const unsigned char everybody[ETH_ALEN] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

/* ---- the link ---- */

int dhcpsock_find_link(struct dhcpsock_link *link, const char *name, struct err *e)
{
	FD_AUTO int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq req = { 0 };

	if (fd < 0)
		return err_sys(e, errno, "socket");
	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	if (ioctl(fd, SIOCGIFMTU, &req) < 0)
		return err_sys(e, errno, "network interface %s", name);
	link->mtu = (unsigned int)req.ifr_mtu;
	if (ioctl(fd, SIOCGIFINDEX, &req) < 0)
		return err_sys(e, errno, "network interface %s", name);
	link->index = req.ifr_ifindex;
	if (ioctl(fd, SIOCGIFHWADDR, &req) < 0)
		return err_sys(e, errno, "network interface %s", name);
	if (req.ifr_hwaddr.sa_family != ARPHRD_ETHER)
		return err_set(e, EPROTOTYPE, "%s is not an Ethernet", name);
	memcpy(link->hwaddr, req.ifr_hwaddr.sa_data, sizeof(link->hwaddr));
	return 0;
}

/* ---- the packet socket ---- */

/* Lets only UDP packets for the client's port through. The link may carry all traffic of the
 * namespace. Offsets are from the IP header, see udp4.c. */
static int set_filter(int fd)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9), /* the protocol */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 6),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 6), /* the offset of a fragment */
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x1fff, 4, 0),
		BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0), /* the length of the IP header */
		BPF_STMT(BPF_LD | BPF_H | BPF_IND, 2),	/* the port */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, DHCP_CLIENT_PORT, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = { .len = COUNT_OF(code), .filter = code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

static struct sockaddr_ll link_address(int index)
{
	return (struct sockaddr_ll){ .sll_family = AF_PACKET,
				     .sll_protocol = htons(ETH_P_IP),
				     .sll_ifindex = index,
				     .sll_halen = ETH_ALEN };
}

int dhcpsock_open_packet(int index, struct err *e)
{
	/* Without a protocol the socket receives nothing before it is bound, so nothing passes
	 * before the filter is there. */
	FD_AUTO int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_ll sa = link_address(index);
	const int on = 1;

	if (fd < 0)
		return err_sys(e, errno, "packet socket");
	if (set_filter(fd) < 0 || setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return err_sys(e, errno, "setting up a packet socket");
	return fd_take(&fd);
}

int dhcpsock_send_packet(int fd, int index, const unsigned char *hwaddr, const struct udp4 *u)
{
	struct sockaddr_ll to = link_address(index);
	unsigned char packet[DHCPSOCK_PACKET_MAX];
	ssize_t n;

	if (UDP4_HEADERS + u->len > sizeof(packet))
		return -EMSGSIZE;
	memcpy(to.sll_addr, hwaddr != NULL ? hwaddr : everybody, ETH_ALEN);
	n = sendto(fd, packet, udp4_write(u, packet), 0, (struct sockaddr *)&to, sizeof(to));
	return n < 0 ? -errno : 0;
}

/* Is the UDP checksum in the packet complete? */
static bool has_checksum(struct msghdr *msg)
{
	struct tpacket_auxdata aux;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA ||
		    c->cmsg_len < CMSG_LEN(sizeof(aux)))
			continue;
		memcpy(&aux, CMSG_DATA(c), sizeof(aux));
		return !(aux.tp_status & TP_STATUS_CSUMNOTREADY);
	}
	return true;
}

int dhcpsock_receive_packet(int fd, unsigned char *buf, struct udp4 *u, unsigned char *hwaddr)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	struct sockaddr_ll from = { .sll_halen = 0 };
	struct iovec iov = { .iov_base = buf, .iov_len = DHCPSOCK_PACKET_MAX };
	struct msghdr msg = { .msg_name = &from,
			      .msg_namelen = sizeof(from),
			      .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	ssize_t n;

	do
		n = recvmsg(fd, &msg, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	memcpy(hwaddr, from.sll_addr, ETH_ALEN);
	return udp4_read(u, buf, (size_t)n, has_checksum(&msg));
}

/* ---- the UDP socket ---- */

int dhcpsock_open_udp(const char *link, struct in_addr addr, struct err *e)
{
	FD_AUTO int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_port = htons(DHCP_CLIENT_PORT),
				  .sin_addr = addr };
	const int on = 1;

	if (fd < 0)
		return err_sys(e, errno, "socket");
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, link, (socklen_t)strlen(link) + 1) < 0 ||
	    bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return err_sys(e, errno, "binding to the DHCP client's port");
	return fd_take(&fd);
}
