/* SPDX-License-Identifier: Apache-2.0 */
/* Configures the child's network by DHCP. See lease.h.
 *
 * dhcpclient.h decides what to send and when. This file has its sockets, its clock and its thread,
 * and does to the interface what it says.
 *
 * The clock is CLOCK_BOOTTIME, which also counts while the machine is suspended, because leases of
 * the server do not stop then. The loop's timers would, so the loop watches a timerfd.
 *
 * A socket is open only while an answer is expected. With a lease the thread sleeps until the time
 * of its renewal, and traffic of the namespace never wakes it.
 *
 * At the end the interface is removed, and not left to the end of the namespace. The kernel cleans
 * that up some time later, and until then lxc-user-nic counts the interface as one that the user
 * has.
 */
#include "net/lease.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "net/dhcpclient.h"
#include "netns.h"
#include "os/dhcpsock.h"
#include "os/rtnl.h"
#include "os/thread.h"

#define UP_TIMEOUT_MS 500 /* for the link to come up; then we try */
#define ETHERNET_MTU  1500
#define TURN	      16 /* packets that are read before the clock gets its turn */
#define MS_PER_S      1000
#define NS_PER_MS     1000000

_Static_assert(DHCP_MAX_DNS <= NETWORK_MAX_DNS, "all DNS servers of a lease fit");

enum socket_kind {
	SOCKET_NONE,
	SOCKET_PACKET,
	SOCKET_UDP,
};

struct lease {
	struct network net;
	char netns[PATH_MAX]; /* "": that of the process */
	pthread_t thread;
	bool runs; /* the thread must be joined */

	struct loop *loop;
	struct watch clock, stop, input;
	enum socket_kind kind; /* of `input` */
	struct dhcpsock_link link;
	struct dhcpclient client;
	unsigned char server_hwaddr[DHCP_HWADDR_LEN]; /* from where the lease came */
	bool is_configured;			      /* the interface has the address in `net` */
	bool is_ended;

	/* the start: the caller waits at the barrier */
	pthread_barrier_t started;
	struct network *out; /* for the caller */
	bool is_started;
	uint64_t deadline_ms;
	int result;
	struct err why;
	struct err ignored; /* why the last message was ignored; "": none was */
};

static struct lease the_lease; /* static: the thread may use it until the process ends */

/* ---- time and chance ---- */

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * MS_PER_S + (uint64_t)ts.tv_nsec / NS_PER_MS;
}

/* Without the kernel's random numbers, which early in a boot may be missing, the clock must do. */
static uint32_t random_bits(void)
{
	uint32_t bits;
	struct timespec ts;

	if (getrandom(&bits, sizeof(bits), GRND_NONBLOCK) == sizeof(bits))
		return bits;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint32_t)ts.tv_nsec;
}

/* Sets the timer to the client's next event, and during the start not beyond the deadline. */
static void set_clock(const struct lease *l)
{
	uint64_t due_ms = l->client.due_ms;
	struct itimerspec when = { .it_value = { 0 } };

	if (!l->is_started && due_ms > l->deadline_ms)
		due_ms = l->deadline_ms;
	if (due_ms == 0)
		due_ms = 1; /* 0 stops the timer */
	if (due_ms != DHCPCLIENT_NEVER) {
		when.it_value.tv_sec = (time_t)(due_ms / MS_PER_S);
		when.it_value.tv_nsec = (long)(due_ms % MS_PER_S) * NS_PER_MS;
	}
	timerfd_settime(l->clock.fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* ---- the start ---- */

/* Lets lease_start() return. */
static void finish_start(struct lease *l, int result)
{
	l->is_started = true;
	l->result = result;
	*l->out = l->net;
	pthread_barrier_wait(&l->started);
}

static void fail(struct lease *l, int result)
{
	loop_stop(l->loop);
	l->is_ended = true;
	finish_start(l, result);
}

/* Nobody has given us a lease in time. */
static void fail_late(struct lease *l)
{
	err_set(&l->why, ETIMEDOUT, "no DHCP server has given %s an address within %d s",
		l->net.dev, LEASE_DEADLINE_MS / MS_PER_S);
	if (l->ignored.msg[0] != '\0')
		err_add(&l->why, " (a message was ignored: %s)", l->ignored.msg);
	fail(l, -ETIMEDOUT);
}

/* ---- the interface ---- */

static const char *addr_text(struct in_addr addr, char *buf)
{
	return inet_ntop(AF_INET, &addr, buf, INET_ADDRSTRLEN);
}

static void copy_dns(struct network *net, const struct dhcp_reply *m)
{
	memset(net->dns, 0, sizeof(net->dns));
	for (size_t i = 0; i < m->dns_count; i++)
		inet_ntop(AF_INET, &m->dns[i], net->dns[i], sizeof(net->dns[i]));
}

/* Makes the settings of a lease those of the network. Returns whether the interface must change. */
static bool take_settings(struct network *net, const struct dhcp_reply *m)
{
	bool differs = net->ip.s_addr != m->addr.s_addr || net->prefix_len != m->prefix_len ||
		       net->gateway.s_addr != m->router.s_addr;

	net->ip = m->addr;
	net->prefix_len = m->prefix_len;
	net->gateway = m->router;
	return differs;
}

static void unconfigure(struct lease *l)
{
	struct err e;

	if (l->is_configured && network_unconfigure(&l->net, &e) < 0)
		log_warn("removing the address of %s: %s", l->net.dev, e.msg);
	l->is_configured = false;
}

/* Warns about what the first lease lacks. RootlessKit fails then. */
static void warn_of_gaps(const struct dhcp_reply *m)
{
	if (m->router.s_addr == 0)
		log_warn(
			"the DHCP server names no router: only hosts on the bridge can be reached");
	if (m->dns_count == 0)
		log_warn("the DHCP server names no DNS server: no host names can be resolved");
}

/* Tells the user that the files inside have old DNS servers. They are left alone, because the
 * command may have changed them. */
static void compare_dns(const struct lease *l, const struct dhcp_reply *m)
{
	struct network now = l->net;

	copy_dns(&now, m);
	if (memcmp(now.dns, l->net.dns, sizeof(now.dns)) != 0)
		log_warn("the DHCP server names other DNS servers now (%s); resolv.conf keeps the "
			 "old ones",
			 now.dns[0]);
}

/* Configures the interface for a new lease. Returns 0 or -errno with a reason. */
static int configure(struct lease *l, const struct dhcp_reply *m, struct err *e)
{
	char addr[INET_ADDRSTRLEN], server[INET_ADDRSTRLEN];
	struct network old = l->net;
	bool differs = take_settings(&l->net, m);
	int r = 0;

	log_debug("DHCP: %s has %s/%d from %s for %u s", l->net.dev, addr_text(m->addr, addr),
		  m->prefix_len, addr_text(m->server, server), m->lease_s);
	if (!differs && l->is_configured)
		return 0;
	if (l->is_configured)
		network_unconfigure(&old, NULL);
	r = network_configure(&l->net, e);
	l->is_configured = r == 0;
	return r;
}

static void on_gained(struct lease *l)
{
	const struct dhcp_reply *m = &l->client.lease;
	struct err e;
	int r = configure(l, m, l->is_started ? &e : &l->why);

	if (!l->is_started && r < 0) {
		fail(l, r);
	} else if (!l->is_started) {
		warn_of_gaps(m);
		copy_dns(&l->net, m);
		finish_start(l, 0);
	} else if (r < 0) {
		log_error("%s", e.msg);
	} else {
		compare_dns(l, m);
	}
}

static void on_lost(struct lease *l)
{
	char addr[INET_ADDRSTRLEN];

	log_error("the DHCP lease of %s has ended, so %s has no address; asking for another one",
		  addr_text(l->net.ip, addr), l->net.dev);
	unconfigure(l);
}

/* ---- sockets ---- */

static void close_input(struct lease *l)
{
	loop_remove(l->loop, &l->input);
	fd_close(&l->input.fd);
	l->kind = SOCKET_NONE;
}

static enum socket_kind kind_for(const struct dhcpclient *c)
{
	return c->state == DHCPCLIENT_BOUND	 ? SOCKET_NONE
	       : c->state == DHCPCLIENT_RENEWING ? SOCKET_UDP
						 : SOCKET_PACKET;
}

/* Opens the kind of socket that the client's state needs. Returns 0 or -errno with a reason. */
static int open_input(struct lease *l, enum socket_kind kind, struct err *e)
{
	int fd;

	if (kind == l->kind)
		return 0;
	close_input(l);
	if (kind == SOCKET_NONE)
		return 0;
	fd = kind == SOCKET_UDP ? dhcpsock_open_udp(l->net.dev, l->net.ip, e)
				: dhcpsock_open_packet(l->link.index, e);
	if (fd < 0)
		return fd;
	l->input.fd = fd;
	if (loop_add(l->loop, &l->input) < 0) {
		fd_close(&l->input.fd);
		return err_sys(e, ENOMEM, "watching a socket");
	}
	l->kind = kind;
	return 0;
}

/* Sends by the socket that is open. Returns 0 or -errno. */
static int send_message(const struct lease *l, const struct dhcpclient_step *step)
{
	unsigned char msg[DHCP_REQUEST_LEN];
	struct udp4 u = { .to.s_addr = htonl(INADDR_BROADCAST),
			  .from_port = DHCP_CLIENT_PORT,
			  .to_port = DHCP_SERVER_PORT,
			  .payload = msg,
			  .len = sizeof(msg) };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(DHCP_SERVER_PORT) };

	dhcp_write(&step->msg, msg);
	u.from = step->msg.client;
	if (!step->to_server)
		return dhcpsock_send_packet(l->input.fd, l->link.index, NULL, &u);
	u.to = to.sin_addr = l->client.lease.server;
	if (l->kind == SOCKET_PACKET)
		return dhcpsock_send_packet(l->input.fd, l->link.index, l->server_hwaddr, &u);
	return sendto(l->input.fd, msg, sizeof(msg), 0, (struct sockaddr *)&to, sizeof(to)) < 0
		       ? -errno
		       : 0;
}

/* ---- steps ---- */

static const char *name_of(enum dhcp_type type)
{
	return type == DHCP_DISCOVER ? "DISCOVER" : type == DHCP_RELEASE ? "RELEASE" : "REQUEST";
}

static void take_step(struct lease *l, const struct dhcpclient_step *step)
{
	struct err e = { "" };
	char why[128];
	int r;

	if (step->change == DHCPCLIENT_LOST)
		on_lost(l);
	r = open_input(l, kind_for(&l->client), &e);
	if (step->sends && r == 0) {
		r = send_message(l, step);
		log_debug("DHCP: sent %s%s%s", name_of(step->msg.type), r < 0 ? ": " : "",
			  r < 0 ? err_text(-r, why, sizeof(why)) : "");
	} else if (r < 0) {
		log_debug("DHCP: %s", e.msg); /* the client tries again later */
	}
	if (step->change == DHCPCLIENT_GAINED)
		on_gained(l);
	set_clock(l);
}

static void ignore(struct lease *l, const struct err *why)
{
	log_debug("DHCP: a message was ignored: %s", why->msg);
	l->ignored = *why;
}

/* `hwaddr` is the sender's, NULL if it is unknown. */
static void take_message(struct lease *l, const unsigned char *msg, size_t len,
			 const unsigned char *hwaddr)
{
	struct dhcpclient_step step;
	struct dhcp_reply m;
	struct err e;

	if (dhcp_read(&m, msg, len, &e) < 0) {
		ignore(l, &e);
		return;
	}
	if (m.type == DHCP_NAK && m.xid == l->client.xid) {
		err_set(&e, EPROTO, "a server refuses%s%s", m.text[0] != '\0' ? ": " : "", m.text);
		ignore(l, &e);
	}
	step = dhcpclient_receive(&l->client, &m, now_ms());
	if (step.change == DHCPCLIENT_GAINED && hwaddr != NULL)
		memcpy(l->server_hwaddr, hwaddr, sizeof(l->server_hwaddr));
	if (step.sends || step.change != DHCPCLIENT_SAME || m.type == DHCP_NAK)
		take_step(l, &step);
}

/* Receives one message. Returns 1, or 0 if there is none. */
static int receive(struct lease *l)
{
	unsigned char buf[DHCPSOCK_PACKET_MAX];
	unsigned char hwaddr[DHCP_HWADDR_LEN];
	struct udp4 u;
	ssize_t n;

	if (l->kind == SOCKET_UDP) {
		n = recv(l->input.fd, buf, sizeof(buf), 0);
		if (n >= 0)
			take_message(l, buf, (size_t)n, NULL);
		return n >= 0;
	}
	n = dhcpsock_receive_packet(l->input.fd, buf, &u, hwaddr);
	if (n > 0)
		take_message(l, u.payload, u.len, hwaddr);
	return n >= 0;
}

static void on_input(struct watch *w, short revents)
{
	struct lease *l = LOOP_OWNER(w, struct lease, input);

	(void)revents;
	for (int i = 0; i < TURN && w->fd >= 0 && receive(l) > 0; i++)
		;
}

static void on_clock(struct watch *w, short revents)
{
	struct lease *l = LOOP_OWNER(w, struct lease, clock);
	struct dhcpclient_step step;
	uint64_t expirations;

	(void)revents;
	if (read(w->fd, &expirations, sizeof(expirations)) < 0)
		return;
	if (!l->is_started && now_ms() >= l->deadline_ms) {
		fail_late(l);
		return;
	}
	step = dhcpclient_tick(&l->client, now_ms());
	take_step(l, &step);
}

/* lease_end() waits. */
static void on_stop(struct watch *w, short revents)
{
	(void)revents;
	loop_stop(LOOP_OWNER(w, struct lease, stop)->loop);
}

/* ---- the thread ---- */

/* Chooses the MTU if the user has not. Packets above the MTU of the bridge get lost without a
 * trace: the kernel drops them between the two ends of the veth(4). The program has given our end
 * the bridge's MTU. */
static void choose_mtu(struct lease *l)
{
	if (l->net.mtu == 0)
		l->net.mtu = l->link.mtu < ETHERNET_MTU ? l->link.mtu : ETHERNET_MTU;
	else if (l->net.mtu > l->link.mtu)
		log_warn("--mtu=%u is more than the %u of the bridge: larger packets get lost; try "
			 "--mtu=%u",
			 l->net.mtu, l->link.mtu, l->link.mtu);
}

static int prepare_link(struct lease *l, struct err *e)
{
	FD_AUTO int fd = rtnl_open(e);
	int r = fd < 0 ? fd : dhcpsock_find_link(&l->link, l->net.dev, e);

	if (r == 0)
		choose_mtu(l);
	if (r == 0)
		r = rtnl_link_up(fd, l->link.index, l->net.mtu, e);
	if (r == 0)
		rtnl_wait_up(l->link.index, UP_TIMEOUT_MS);
	return r;
}

static int add_watch(struct lease *l, struct watch *w, int fd,
		     void (*on_event)(struct watch *w, short revents), struct err *e)
{
	*w = (struct watch){ .fd = fd, .events = POLLIN, .on_event = on_event };
	return fd < 0 || loop_add(l->loop, w) < 0 ? err_sys(e, ENOMEM, "starting DHCP") : 0;
}

static int prepare(struct lease *l, struct err *e)
{
	int r = l->netns[0] != '\0' ? netns_enter(l->netns, e) : 0;

	if (r == 0)
		r = prepare_link(l, e);
	if (r < 0)
		return r;
	l->loop = loop_new(LOOP_POLL);
	if (l->loop == NULL)
		return err_sys(e, errno, "starting DHCP");
	r = add_watch(l, &l->clock, timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK),
		      on_clock, e);
	if (r == 0)
		r = add_watch(l, &l->stop, l->stop.fd, on_stop, e);
	l->input = (struct watch){ .fd = -1, .events = POLLIN, .on_event = on_input };
	dhcpclient_start(&l->client, l->link.hwaddr, random_bits, now_ms());
	l->deadline_ms = now_ms() + LEASE_DEADLINE_MS;
	set_clock(l);
	return r;
}

/* Gives the lease back by a packet socket: by a UDP socket the message might have to wait until the
 * server's hardware address is known, and we do not wait. */
static void release(struct lease *l)
{
	struct dhcpclient_step step = dhcpclient_release(&l->client);
	FD_AUTO int fd = rtnl_open(NULL);
	char why[128];
	int r = 0;

	if (step.sends && open_input(l, SOCKET_PACKET, NULL) == 0)
		r = send_message(l, &step);
	log_debug("DHCP: gave %s back%s%s", l->net.dev, r < 0 ? ": " : "",
		  r < 0 ? err_text(-r, why, sizeof(why)) : "");
	if (fd >= 0)
		rtnl_link_remove(fd, l->link.index, NULL);
}

static void *run(void *arg)
{
	struct lease *l = arg;
	int r = prepare(l, &l->why);

	if (r < 0) {
		l->is_ended = true;
		finish_start(l, r);
	} else if (loop_run(l->loop) < 0 && !l->is_started) {
		err_set(&l->why, EIO, "waiting for DHCP");
		finish_start(l, -EIO);
	}
	if (!l->is_ended)
		release(l);
	return NULL;
}

int lease_start(struct network *net, const char *netns, struct err *e)
{
	struct lease *l = &the_lease;
	int r;

	l->net = *net;
	l->out = net;
	snprintf(l->netns, sizeof(l->netns), "%s", netns != NULL ? netns : "");
	l->stop.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_barrier_init(&l->started, NULL, 2);
	r = thread_start(&l->thread, run, l);
	if (r < 0)
		return err_sys(e, -r, "starting DHCP");
	l->runs = true;
	pthread_barrier_wait(&l->started);
	if (l->result < 0)
		*e = l->why;
	return l->result;
}

void lease_end(void)
{
	struct lease *l = &the_lease;
	const uint64_t one = 1;

	if (!l->runs)
		return;
	if (write(l->stop.fd, &one, sizeof(one)) == sizeof(one))
		pthread_join(l->thread, NULL);
	l->runs = false;
}
