/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TCPINSIDE_H
#define TCPINSIDE_H

/* A table of TCP flows (usernet/tcptable.h). The test is the inside, on a fake TAP, and the servers
 * of the host, on real sockets of 127.0.0.1 and ::1. Name servers are fakes, and connect(2) fails
 * if the test says so. */
#include "tests/unit/loopclock.h"
#include "tests/unit/usernet/taplink.h"

#include <errno.h>
#include <netinet/tcp.h>

#include "formats/tcpseg.h"
#include "usernet/policy.h"
#include "usernet/tcptable.h"

#define IRS    1000U
#define SERVER "10.0.2.2"
#define MAX    16 /* flows, of which 4 may be half open and 12 established */

static struct taplink tap;
static struct icmperr_sender errors;
static struct fdquota quota;
static struct tcptable *table;
static int listener;
static uint16_t port; /* of the listener */

/* ---- fakes ---- */

/* Name servers are ports of 127.0.0.1. */
static struct {
	uint16_t ports[4];
	size_t count;
	size_t asked; /* highest number of servers that were tried */
} servers;

socklen_t dns_server(struct dns *d, size_t tried, struct sockaddr_storage *to)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	(void)d;
	servers.asked = tried > servers.asked ? tried : servers.asked;
	if (tried >= servers.count)
		return 0;
	sa.sin_port = htons(servers.ports[tried]);
	memcpy(to, &sa, sizeof(sa));
	return sizeof(sa);
}

static int connect_error; /* what connect(2) fails with; 0: it works */

int connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	if (connect_error == 0)
		return (int)syscall(SYS_connect, fd, sa, len);
	errno = connect_error;
	return -1;
}

/* ---- servers of the host ---- */

static inline int listen_on(const char *ip, int backlog, uint16_t *at)
{
	struct in6_addr addr = addr_of(ip);
	struct sockaddr_storage sa;
	socklen_t len = policy_sockaddr(&sa, &addr, 0);
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, len), 0);
	ck_assert_int_eq(listen(fd, backlog), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	/* the port is at the same place in both families */
	*at = ntohs(((struct sockaddr_in *)&sa)->sin_port);
	return fd;
}

/* A port where nobody listens: only bound. */
static inline int closed_port(uint16_t *at)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, len), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	*at = ntohs(sa.sin_port);
	return fd;
}

/* A server that does not accept: its queue is full, so the kernel ignores SYNs. */
static struct {
	int listener, clients[4];
	uint16_t port;
} slow;

static inline void open_slow(void)
{
	slow.listener = listen_on("127.0.0.1", 0, &slow.port);
	for (size_t i = 0; i < COUNT(slow.clients); i++) {
		struct sockaddr_in sa = { .sin_family = AF_INET,
					  .sin_port = htons(slow.port),
					  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

		slow.clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		connect(slow.clients[i], (struct sockaddr *)&sa, sizeof(sa));
	}
}

static inline void close_slow(void)
{
	close(slow.listener);
	for (size_t i = 0; i < COUNT(slow.clients); i++)
		close(slow.clients[i]);
}

/* Accepts the next client, which must come. */
static inline int accept_client(void)
{
	int fd = -1;

	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) < 0)
		step();
	return fd;
}

/* Reads what the test's end of a connection has received, waiting for `len` bytes. Returns 0 at the
 * end of the stream, or -errno. */
static inline int read_host(int fd, char *buf, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = recv(fd, buf + got, len - got, 0);

		if (n == 0 || (n < 0 && errno != EAGAIN))
			return n == 0 ? 0 : -errno;
		got += n > 0 ? (size_t)n : 0;
		step();
	}
	return (int)got;
}

/* ---- the inside ---- */

struct conn {
	struct packet_addrs addrs;
	uint16_t src_port, dst_port;
	uint32_t seq, ack; /* the next of each side */
};

static inline struct conn conn_to(const char *dst, uint16_t dst_port)
{
	static uint16_t next = 40000;
	const char *src = strchr(dst, ':') != NULL ? "fd00::100" : "10.0.2.100";

	return (struct conn){
		.addrs = addrs_of(src, dst), .src_port = next++, .dst_port = dst_port, .seq = IRS
	};
}

static bool is_burst; /* more segments follow before the table is flushed */

static inline void send_data(struct conn *c, uint8_t flags, const char *data)
{
	struct tcpseg seg = { .src_port = c->src_port,
			      .dst_port = c->dst_port,
			      .seq = c->seq,
			      .ack = c->ack,
			      .flags = flags,
			      .window = 65535,
			      .mss = 1000,
			      .scale = TCPSEG_NO_SCALE,
			      .len = strlen(data) };
	uint8_t bytes[TCPSEG_HEAD_MAX + 2000];
	size_t n = tcpseg_put(bytes, &seg, &c->addrs);
	struct packet p;

	ck_assert_uint_le(seg.len, 2000);
	memcpy(bytes + n, data, seg.len);
	p = taplink_packet(&c->addrs, IPPROTO_TCP, 64, bytes, n + seg.len);
	tcptable_on_packet(table, &p);
	if (!is_burst)
		tcptable_flush(table);
	c->seq += tcpseg_span(&seg);
}

static inline void send_flags(struct conn *c, uint8_t flags)
{
	send_data(c, flags, "");
}

/* Sends what is not at the place that is next. */
static inline void send_at(struct conn *c, uint8_t flags, uint32_t seq, uint32_t ack)
{
	struct conn other = *c;

	other.seq = seq;
	other.ack = ack;
	send_flags(&other, flags);
}

/* Waits for the next frame, which must be for this connection. Its data is valid until the next
 * one. */
static inline struct tcpseg receive(struct conn *c)
{
	struct tcpseg seg;
	struct packet p;

	while (!taplink_receive_packet(&tap, &p))
		step();
	ck_assert_int_eq(p.proto, IPPROTO_TCP);
	ck_assert_mem_eq(&p.addrs.src, &c->addrs.dst, sizeof(p.addrs.src));
	ck_assert_mem_eq(&p.addrs.dst, &c->addrs.src, sizeof(p.addrs.dst));
	ck_assert_int_eq(tcpseg_read(&seg, p.payload, p.payload_len), 0);
	ck_assert_uint_eq(seg.src_port, c->dst_port);
	ck_assert_uint_eq(seg.dst_port, c->src_port);
	return seg;
}

static inline void assert_quiet(void)
{
	settle();
	ck_assert(!taplink_receive(&tap));
}

/* Waits for a segment with exactly these flags, which acknowledges everything if it has TH_ACK. */
static inline struct tcpseg expect(struct conn *c, uint8_t flags)
{
	struct tcpseg seg = receive(c);

	ck_assert_uint_eq(seg.flags, flags);
	if (flags & TH_ACK)
		ck_assert_uint_eq(seg.ack, c->seq);
	if (flags & TH_SYN)
		c->ack = seg.seq;
	if (c->ack != 0)
		ck_assert_uint_eq(seg.seq, c->ack);
	c->ack += tcpseg_span(&seg);
	return seg;
}

/* Skips the data and acknowledgements under way, up to a reset. */
static inline struct tcpseg expect_reset(struct conn *c)
{
	struct tcpseg seg;

	do
		seg = receive(c);
	while (!(seg.flags & TH_RST));
	return seg;
}

static inline void shake_hands(struct conn *c)
{
	send_flags(c, TH_SYN);
	expect(c, TH_SYN | TH_ACK);
	send_flags(c, TH_ACK);
}

/* Opens a connection to the listener. Returns the host's end. */
static inline int establish(struct conn *c)
{
	*c = conn_to(SERVER, port);
	shake_hands(c);
	return accept_client();
}

/* Both sides can still send. */
static inline void assert_works(struct conn *c, int host)
{
	char byte;

	send_data(c, TH_ACK | TH_PUSH, "q");
	expect(c, TH_ACK);
	ck_assert_int_eq(read_host(host, &byte, 1), 1);
	ck_assert_int_eq(byte, 'q');
	ck_assert_int_eq(send(host, "a", 1, 0), 1);
	ck_assert_int_eq(expect(c, TH_ACK | TH_PUSH).data[0], 'a');
	send_flags(c, TH_ACK);
}

/* The host closes first, so we have TIME_WAIT. */
static inline struct conn conn_in_time_wait(void)
{
	struct conn c;

	close(establish(&c));
	expect(&c, TH_ACK | TH_FIN);
	send_flags(&c, TH_ACK | TH_FIN);
	expect(&c, TH_ACK);
	return c;
}

/* ---- fixture ---- */

static inline void make_table(size_t max, size_t max_fds)
{
	const struct tcptable_setup setup = {
		.loop = loop, .link = &tap.link, .errors = &errors, .quota = &quota, .max = max
	};

	quota = (struct fdquota){ .max = max_fds };
	table = tcptable_new(&setup);
	ck_assert_ptr_nonnull(table);
}

static inline void free_table(void)
{
	tcptable_free(table);
	loop_run_tasks(loop);
	ck_assert_uint_eq(quota.used, 0);
	table = NULL;
}

static inline void begin(void)
{
	taplink_open(&tap);
	loop = loop_new(LOOP_EPOLL);
	ck_assert_ptr_nonnull(loop);
	listener = listen_on("127.0.0.1", 100, &port);
	errors = (struct icmperr_sender){ .link = &tap.link };
	memset(&servers, 0, sizeof(servers));
	connect_error = 0;
	make_table(MAX, 100);
}

static inline void end(void)
{
	free_table();
	close(listener);
	loop_free(loop);
	taplink_close(&tap);
}

#endif
