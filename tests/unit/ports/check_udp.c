/* SPDX-License-Identifier: Apache-2.0 */

/* UDP flows with real sockets: clients, a server, and a child (fakechild.h). All of them run in
 * this thread, a step at a time, with a clock that can be set forward. setsockopt(2), getsockopt(2)
 * and sendmmsg(2) are replaced, so that they can behave as on kernels and devices without GSO or
 * GRO. */
#include "tests/unit/fakechild.h"

#include <netinet/udp.h>
#include <sys/syscall.h>

#include "base/fd.h"
#include "formats/ipaddr.h"
#include "ports/dial.h"
#include "ports/listen.h"
#include "ports/udp.h"

#define V4_MAX	   65507 /* bytes of the largest datagram */
#define V6_MAX	   65527
#define QUOTA	   64 /* descriptors: 8 new and 8 established flows per port, 32 in total */
#define MANY	   300
#define SERVED	   16 /* IDs of ports are below this */
#define DIALS_MAX  32 /* at the same time, per port */
#define IDLE_MS	   90000
#define QUEUE_FLOW (256 * 1024)

/* ---- kernels and devices ---- */

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

static const struct kernel {
	bool sends_batches;
	bool takes_batches;
	int refuses;	     /* the error for batches with */
	size_t above;	     /* larger datagrams than this */
	bool is_interrupted; /* sends only a part */
} kernels[] = {
	{ true, true, 0, 0, false },	    { false, false, 0, 0, false },
	{ true, false, 0, 0, false },	    { true, true, EIO, 0, false },
	{ true, true, EINVAL, 500, false }, { true, true, EMSGSIZE, 1300, false },
	{ true, true, EINVAL, 1300, true },
};

static const struct kernel *kernel = &kernels[0];
static size_t batches_sent, batches_refused;

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	if (level == IPPROTO_UDP && name == UDP_GRO && !kernel->takes_batches) {
		errno = ENOPROTOOPT;
		return -1;
	}
	return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict len)
{
	if (level == IPPROTO_UDP && name == UDP_SEGMENT && !kernel->sends_batches) {
		errno = ENOPROTOOPT;
		return -1;
	}
	return (int)syscall(SYS_getsockopt, fd, level, name, value, len);
}

/* Returns the size of the datagrams in a batch, or 0 if the message is not a batch. */
static size_t segment_of(struct msghdr *mh)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c != NULL; c = CMSG_NXTHDR(mh, c))
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_SEGMENT)
			return *(const uint16_t *)(const void *)CMSG_DATA(c);
	return 0;
}

int sendmmsg(int fd, struct mmsghdr *heads, unsigned int count, int flags)
{
	unsigned int at = 0;

	if (kernel->is_interrupted && count > 2)
		count = 2;
	for (; at < count; at++) {
		size_t segment = segment_of(&heads[at].msg_hdr);

		ck_assert(segment == 0 || kernel->sends_batches);
		if (segment > 0 && kernel->refuses != 0 && segment > kernel->above) {
			batches_refused++;
			errno = kernel->refuses;
			break;
		}
		batches_sent += segment > 0;
	}
	return at > 0 ? (int)syscall(SYS_sendmmsg, fd, heads, at, flags) : -1;
}

static struct dialler dialler;
static struct udp *udp;
static int server;

/* ---- the clients and the server ---- */

static struct sockaddr_storage loopback(int family, int port)
{
	struct sockaddr_storage sa = { 0 };
	struct ipaddr ip = { .family = (sa_family_t)family };

	if (family == AF_INET)
		ip.v4.s_addr = htonl(INADDR_LOOPBACK);
	else
		ip.v6 = in6addr_loopback;
	ipaddr_sockaddr(&ip, port, &sa);
	return sa;
}

static int port_of(int fd)
{
	struct sockaddr_in6 sa; /* both families have the port at the same offset */
	socklen_t len = sizeof(sa);

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	return ntohs(sa.sin6_port);
}

static void open_server(int family, int port)
{
	const int room = 4 << 20;

	child.server = loopback(family, port);
	child.server_len = sizeof(struct sockaddr_in6);
	server = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(server, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	ck_assert_int_eq(bind(server, (struct sockaddr *)&child.server, child.server_len), 0);
	((struct sockaddr_in *)&child.server)->sin_port = htons((uint16_t)port_of(server));
}

static struct listener served[SERVED];

static int publish(int id)
{
	const struct portspec spec = { .proto = PROTO_UDP, .child_port = 53 };
	const struct target target = { .proto = PROTO_UDP, .port = 53 };
	struct err e;
	int fd = listen_port(&spec, NULL, &e);

	ck_assert_msg(fd >= 0, "%s", e.msg);
	ck_assert_int_lt(id, SERVED);
	served[id] = (struct listener){ .id = id, .listen_fd = fd, .target = target };
	ck_assert_int_eq(udp_add_port(udp, &served[id]), 0);
	return fd;
}

static int client_of(int family, int listener)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_storage sa = loopback(family, port_of(listener));

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(struct sockaddr_in6)), 0);
	return fd;
}

/* Receives within the deadline; `from` may be NULL. */
static ssize_t receive_datagram(int fd, void *buf, size_t cap, struct sockaddr_storage *from)
{
	unsigned long long until = fixture_now_ms() + FIXTURE_DEADLINE_S / 4 * 1000;

	while (fixture_now_ms() < until) {
		socklen_t len = sizeof(*from);
		ssize_t n = recvfrom(fd, buf, cap, 0, (struct sockaddr *)from,
				     from != NULL ? &len : NULL);

		if (n >= 0)
			return n;
		ck_assert_int_eq(errno, EAGAIN);
		step();
	}
	ck_abort_msg("nothing came");
	return -1;
}

static void expect(int fd, const char *text, struct sockaddr_storage *from)
{
	char buf[64];
	ssize_t n = receive_datagram(fd, buf, sizeof(buf) - 1, from);

	buf[n] = '\0';
	ck_assert_str_eq(buf, text);
}

static void expect_nothing(int fd)
{
	char byte;

	settle();
	ck_assert_int_eq(recv(fd, &byte, 1, 0), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

static void drain_server(void)
{
	char buf[64];

	settle();
	while (recv(server, buf, sizeof(buf), 0) >= 0)
		;
}

static void send_text(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
}

static void answer(const char *text, const struct sockaddr_storage *to)
{
	ck_assert_int_eq(sendto(server, text, strlen(text), 0, (const struct sockaddr *)to,
				sizeof(struct sockaddr_in)),
			 (ssize_t)strlen(text));
}

/* Sends a datagram to the server and one back. Returns the flow's port inside. Datagrams of an
 * earlier flood may arrive in between. */
static int exchange_datagrams(int client)
{
	struct sockaddr_storage from;
	char buf[64];

	send_text(client, "there");
	while (receive_datagram(server, buf, sizeof(buf), &from) == (ssize_t)strlen("flood"))
		if (memcmp(buf, "flood", strlen("flood")) != 0)
			break;
	ck_assert_mem_eq(buf, "there", strlen("there"));
	answer("back", &from);
	expect(client, "back", NULL);
	return ntohs(((struct sockaddr_in *)&from)->sin_port);
}

/* ---- a test ---- */

static void on_shortage(const struct dialler *d, const char *why)
{
	(void)d;
	(void)why;
}

static void open_all(void)
{
	open_child(QUOTA);
	dialler = (struct dialler){
		.loop = loop, .quota = &quota, .on_shortage = on_shortage, .bp_address = bp_address
	};
	udp = udp_new(loop, &dialler, &quota, 1);
	open_server(AF_INET, 0);
}

static void close_all(void)
{
	udp_end(udp);
	udp_free(udp);
	fd_close(&server);
	if (child.connects > 0) {
		ck_assert_int_eq(child.connect.target.proto, PROTO_UDP);
		ck_assert_int_eq(child.connect.target.port, 53);
	}
	close_child();
}

/* Raises the limits for tests with many flows. Call it before the first port. */
static void allow_many(void)
{
	quota.max = 16 * MANY;
	udp_free(udp);
	udp = udp_new(loop, &dialler, &quota, 1);
}

/* ---- what passes ---- */

static const struct {
	int client_family, server_family;
	size_t len;
} sizes[] = {
	{ AF_INET, AF_INET, 0 },	{ AF_INET, AF_INET, 1 },       { AF_INET, AF_INET, 1473 },
	{ AF_INET, AF_INET, V4_MAX },	{ AF_INET6, AF_INET, V4_MAX }, { AF_INET6, AF_INET6, 0 },
	{ AF_INET6, AF_INET6, V6_MAX },
};

START_TEST(datagrams_of_every_size_pass_both_ways)
{
	static char sent[V6_MAX], got[V6_MAX + 1];
	const size_t len = sizes[_i].len;
	struct sockaddr_storage from;
	int listener, client;

	if (sizes[_i].client_family == AF_INET6 && !fixture_need_ipv6())
		return;
	listener = publish(1);
	client = client_of(sizes[_i].client_family, listener);
	fd_close(&server);
	open_server(sizes[_i].server_family, 0);
	for (size_t i = 0; i < len; i++)
		sent[i] = (char)(i * 7);
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(send(client, sent, len, 0), (ssize_t)len);
		ck_assert_int_eq(receive_datagram(server, got, sizeof(got), &from), (ssize_t)len);
		ck_assert_mem_eq(got, sent, len);
		ck_assert_int_eq(sendto(server, sent, len, 0, (struct sockaddr *)&from,
					sizeof(struct sockaddr_in6)),
				 (ssize_t)len);
		ck_assert_int_eq(receive_datagram(client, got, sizeof(got), NULL), (ssize_t)len);
		ck_assert_mem_eq(got, sent, len);
	}
	ck_assert_uint_eq(child.asked, 1);
	close(client);
	close(listener);
}
END_TEST

static const struct {
	long nr;
	int errnum;
} missing[] = {
	{ SYS_recvmmsg, ENOSYS },
	{ SYS_recvmmsg, EPERM },
	{ SYS_sendmmsg, ENOSYS },
	{ SYS_sendmmsg, EPERM },
};

START_TEST(datagrams_pass_one_by_one_where_calls_are_missing)
{
	struct sockaddr_storage from;
	char got[16];
	int listener, client;

	if (!fixture_is_forked())
		return;
	ck_assert(fixture_take_away(missing[_i].nr, missing[_i].errnum));
	listener = publish(1);
	client = client_of(AF_INET, listener);
	for (int round = 0; round < 3; round++) {
		for (char c = 'a'; c < 'f'; c++)
			ck_assert_int_eq(send(client, &c, 1, 0), 1);
		for (char c = 'a'; c < 'f'; c++) {
			ck_assert_int_eq(receive_datagram(server, got, sizeof(got), &from), 1);
			ck_assert_int_eq(got[0], c);
			ck_assert_int_eq(sendto(server, got, 1, 0, (struct sockaddr *)&from,
						sizeof(struct sockaddr_in6)),
					 1);
		}
		for (char c = 'a'; c < 'f'; c++) {
			ck_assert_int_eq(receive_datagram(client, got, sizeof(got), NULL), 1);
			ck_assert_int_eq(got[0], c);
		}
	}
	close(client);
	close(listener);
}
END_TEST

START_TEST(a_datagram_too_large_for_the_other_family_is_lost_alone)
{
	static char sent[V6_MAX];
	int listener, client;

	if (!fixture_need_ipv6())
		return;
	listener = publish(1);
	client = client_of(AF_INET6, listener);
	exchange_datagrams(client);
	ck_assert_int_eq(send(client, sent, V6_MAX, 0), V6_MAX);
	expect_nothing(server);
	exchange_datagrams(client);
	ck_assert_uint_eq(child.asked, 1);
	close(client);
	close(listener);
}
END_TEST

/* A connected socket receives nothing from other addresses. */
START_TEST(answers_come_from_the_address_that_was_written_to)
{
	int listener = publish(1);
	struct sockaddr_storage sa = loopback(AF_INET, port_of(listener));
	int ports[3];

	for (int i = 0; i < 3; i++) {
		int client = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		((struct sockaddr_in *)&sa)->sin_addr.s_addr = htonl(INADDR_LOOPBACK + 5 * i);
		ck_assert_int_eq(connect(client, (struct sockaddr *)&sa, sizeof(sa)), 0);
		ports[i] = exchange_datagrams(client);
		close(client);
	}
	ck_assert(ports[0] != ports[1] && ports[1] != ports[2]);
	close(listener);
}
END_TEST

/* The client sends from one port to two addresses of the host. Each flow is answered from its own
 * address. */
START_TEST(a_client_that_writes_to_two_addresses_has_two_flows)
{
	int listener = publish(1);
	struct sockaddr_storage to = loopback(AF_INET, port_of(listener));
	struct sockaddr_in *in = (struct sockaddr_in *)&to;
	struct sockaddr_storage inside[2], from;
	int client = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	for (int i = 0; i < 2; i++) {
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK + i);
		ck_assert_int_eq(sendto(client, "x", 1, 0, (struct sockaddr *)&to, sizeof(*in)), 1);
		expect(server, "x", &inside[i]);
	}
	for (int i = 0; i < 2; i++) {
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK + i);
		answer("y", &inside[i]);
		expect(client, "y", &from);
		ck_assert_mem_eq(&from, &to, sizeof(*in));
	}
	ck_assert_uint_eq(child.asked, 2);
	close(client);
	close(listener);
}
END_TEST

START_TEST(clients_do_not_mix)
{
	int other_family = fixture_has_ipv6() ? AF_INET6 : AF_INET;
	int listener = publish(1);
	struct sockaddr_storage from[6];
	int clients[6];
	char text[32];

	for (int i = 0; i < 6; i++) {
		clients[i] = client_of(i % 2 == 0 ? AF_INET : other_family, listener);
		snprintf(text, sizeof(text), "ask %d", i);
		send_text(clients[i], text);
		expect(server, text, &from[i]);
	}
	for (int i = 5; i >= 0; i--) {
		snprintf(text, sizeof(text), "tell %d", i);
		answer(text, &from[i]);
	}
	for (int i = 0; i < 6; i++) {
		snprintf(text, sizeof(text), "tell %d", i);
		expect(clients[i], text, NULL);
		expect_nothing(clients[i]);
		close(clients[i]);
	}
	close(listener);
}
END_TEST

/* ---- batches ---- */

#define FLOWS	    6
#define EACH	    3600  /* datagrams per flow, in either direction */
#define BURST	    48	  /* datagrams in a burst of a flow at most, */
#define BURST_BYTES 60000 /* and bytes: nothing may be lost because a buffer is full */

/* One end of a flow, and what the other end must receive. */
static struct {
	int client;
	struct sockaddr_storage inside;
	unsigned int seed; /* number of the next datagram */
	unsigned int expected_seed;
} ends[FLOWS];

/* Sizes in runs, so that batches are possible. */
static size_t next_size(unsigned int *seed, size_t size)
{
	static const size_t some[] = { 0, 1, 100, 499, 1200, 1400, 1472, 9000, 30000 };

	return rand_r(seed) % 8 != 0 ? size : some[rand_r(seed) % COUNT(some)];
}

/* Each datagram has the number of its flow and its own. */
static void make_datagram(char *to, size_t len, int flow, int number)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (char)((i * 7) ^ (i >> 8) ^ (size_t)number);
	if (len >= 8) {
		memcpy(to, &flow, 4);
		memcpy(to + 4, &number, 4);
	}
}

/* Sends `count` datagrams from memory, as one batch or one by one. */
static void send_run(int fd, const struct sockaddr_storage *to, char *bytes, size_t len, int count,
		     bool as_batch)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(uint16_t))];
	} control = { { CMSG_LEN(sizeof(uint16_t)), IPPROTO_UDP, UDP_SEGMENT } };
	struct iovec iov = { bytes, as_batch ? len * (size_t)count : len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (to != NULL) {
		mh.msg_name = (void *)(uintptr_t)to;
		mh.msg_namelen = sizeof(struct sockaddr_in);
	}
	if (as_batch) {
		memcpy(CMSG_DATA(&control.head), &(uint16_t){ (uint16_t)len }, sizeof(uint16_t));
		mh.msg_control = &control;
		mh.msg_controllen = sizeof(control);
		count = 1;
	}
	for (int i = 0; i < count; i++) {
		iov.iov_base = bytes + (size_t)i * len;
		ck_assert_int_eq(sendmsg(fd, &mh, 0), (ssize_t)iov.iov_len);
	}
}

static size_t sizes_of_flows[FLOWS], sizes_expected[FLOWS];
static int sent_of_flows[FLOWS], got_of_flows[FLOWS];

/* Sends a burst of a flow, in runs of one size. Returns the number of datagrams. */
static int send_burst(int flow, bool up)
{
	static char bytes[BURST_BYTES + 30000];
	int fd = up ? ends[flow].client : server;
	const struct sockaddr_storage *to = up ? NULL : &ends[flow].inside;
	size_t total = 0, from = 0, size = 0;
	int run = 0, count = 0;

	for (; count < BURST; count++) {
		size_t len = next_size(&ends[flow].seed, sizes_of_flows[flow]);

		sizes_of_flows[flow] = len;
		if (run > 0 && (len != size || total + len > BURST_BYTES)) {
			send_run(fd, to, bytes + from, size, run, run > 1 && size > 0 && flow % 2);
			run = 0;
			from = total;
		}
		size = len;
		run++;
		make_datagram(bytes + total, len, flow, sent_of_flows[flow]++);
		total += len;
		if (total > BURST_BYTES) {
			count++;
			break;
		}
	}
	send_run(fd, to, bytes + from, size, run, run > 1 && size > 0 && flow % 2);
	return count;
}

static int flow_at(const struct sockaddr_storage *inside)
{
	for (int i = 0; i < FLOWS; i++)
		if (((const struct sockaddr_in *)&ends[i].inside)->sin_port ==
		    ((const struct sockaddr_in *)inside)->sin_port)
			return i;
	ck_abort_msg("from a flow that nobody has");
	return -1;
}

static void expect_next(int flow, bool up)
{
	static char got[V4_MAX], wanted[V4_MAX];
	struct sockaddr_storage from;
	ssize_t n = receive_datagram(up ? server : ends[flow].client, got, sizeof(got), &from);
	size_t len;

	if (up)
		flow = flow_at(&from);
	len = next_size(&ends[flow].expected_seed, sizes_expected[flow]);
	sizes_expected[flow] = len;
	make_datagram(wanted, len, flow, got_of_flows[flow]++);
	ck_assert_int_eq(n, (ssize_t)len);
	ck_assert_mem_eq(got, wanted, len);
}

static void open_ends(int listener)
{
	const int room = 4 << 20;

	memset(sizes_of_flows, 0, sizeof(sizes_of_flows));
	memset(sizes_expected, 0, sizeof(sizes_expected));
	memset(sent_of_flows, 0, sizeof(sent_of_flows));
	memset(got_of_flows, 0, sizeof(got_of_flows));
	for (int i = 0; i < FLOWS; i++) {
		ends[i].client = client_of(AF_INET, listener);
		setsockopt(ends[i].client, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
		ends[i].seed = ends[i].expected_seed = (unsigned int)i;
		send_text(ends[i].client, "first");
		expect(server, "first", &ends[i].inside);
	}
}

/* Returns how many flows may send a burst before the server reads. The server's buffer is limited
 * by net.core.rmem_max, and a datagram counts up to twice its size. */
static int flows_that_fit(void)
{
	int room = 0;
	socklen_t len = sizeof(room);

	ck_assert_int_eq(getsockopt(server, SOL_SOCKET, SO_RCVBUF, &room, &len), 0);
	room /= 3 * BURST_BYTES;
	return room < 1 ? 1 : room;
}

static void expect_all_at_server(void)
{
	for (int i = 0; i < FLOWS; i++)
		while (got_of_flows[i] < sent_of_flows[i])
			expect_next(-1, true);
}

/* With and without batches, on all kernels: no datagram is changed, lost, split or merged, and each
 * flow keeps its order. */
START_TEST(datagrams_are_neither_merged_nor_split)
{
	bool up = _i % 2 == 0;
	int listener, at_once;

	kernel = &kernels[_i / 2];
	listener = publish(1);
	open_ends(listener);
	at_once = flows_that_fit();
	while (sent_of_flows[0] < EACH) {
		int count = 0;

		for (int i = 0; i < FLOWS; i++) {
			count = send_burst(i, up);
			if (up && i % 3 != 0)
				step();
			while (!up && count-- > 0)
				expect_next(i, up);
			if (up && (i + 1) % at_once == 0)
				expect_all_at_server();
		}
		if (up)
			expect_all_at_server();
	}
	expect_nothing(server);
	for (int i = 0; i < FLOWS; i++) {
		expect_nothing(ends[i].client);
		close(ends[i].client);
	}
	ck_assert(!kernel->sends_batches || kernel->refuses == EIO || batches_sent > 100);
	/* A refused size is not tried again in the same flow. */
	ck_assert(kernel->refuses == 0 || (batches_refused > 0 && batches_refused <= 5 * FLOWS));
	close(listener);
}
END_TEST

/* Datagrams of an open flow are neither lost nor reordered because of datagrams of new clients in
 * between. */
START_TEST(a_batch_may_have_datagrams_of_old_and_new_clients)
{
	int listener = publish(1);
	int old = client_of(AF_INET, listener);
	struct sockaddr_storage from;
	char text[32] = "";

	send_text(old, "first");
	expect(server, "first", NULL);
	if (_i == 1) {
		exchange_datagrams(old);
		exchange_datagrams(old);
	}
	child.may_be_late = true;
	for (int i = 0; i < 4 * BURST; i++) {
		int new = client_of(AF_INET, listener);

		snprintf(text, sizeof(text), "old %d", i);
		send_text(old, text);
		send_text(new, "new");
		close(new);
	}
	for (int i = 0; i < 4 * BURST;) {
		snprintf(text, sizeof(text), "old %d", i);
		char got[32] = "";

		ck_assert_int_gt(receive_datagram(server, got, sizeof(got) - 1, &from), 0);
		if (strcmp(got, "new") == 0)
			continue;
		ck_assert_str_eq(got, text);
		i++;
	}
	close(old);
	close(listener);
}
END_TEST

/* ---- rushes ---- */

static void send_rush(int from)
{
	for (int i = 0; i < 2 * BURST; i++)
		send_text(from, "rush");
	step();
}

/* One timer serves all busy sockets. It stops when none is busy. */
START_TEST(a_busy_socket_is_drained_by_a_timer_until_it_is_idle)
{
	int listeners[2] = { publish(1), publish(2) };
	int clients[2], fds;

	for (int i = 0; i < 2; i++) {
		clients[i] = client_of(AF_INET, listeners[i]);
		exchange_datagrams(clients[i]);
	}
	fds = fixture_count_fds();
	for (int round = 0; round < 3; round++) {
		send_rush(clients[0]);
		send_rush(clients[1]);
		ck_assert_int_eq(fixture_count_fds(), fds + 1);
		for (int i = 0; i < 4 * BURST; i++)
			expect(server, "rush", NULL);
		settle();
		ck_assert_int_eq(fixture_count_fds(), fds);
		exchange_datagrams(clients[round % 2]);
	}
	for (int i = 0; i < 2; i++) {
		close(clients[i]);
		close(listeners[i]);
	}
}
END_TEST

/* A busy listening socket and a busy flow's socket end: the port is removed, or the child shuts the
 * socket down. */
START_TEST(a_busy_socket_may_be_closed)
{
	int listener, other, client, bystander;
	struct sockaddr_storage inside;

	child.connect_way = KEEPS;
	listener = publish(1);
	other = publish(2);
	client = client_of(AF_INET, listener);
	bystander = client_of(AF_INET, other);
	send_text(client, "first");
	expect(server, "first", &inside);
	child.connect_way = GIVES;
	exchange_datagrams(bystander);
	send_rush(client);
	send_rush(bystander);
	for (int i = 0; i < 2 * BURST; i++)
		answer("rush", &inside);
	step();
	step();
	if (_i == 0)
		ck_assert(udp_remove_port(udp, 1));
	else
		ck_assert_int_eq(shutdown(child.kept, SHUT_RDWR), 0);
	drain_server();
	ck_assert_uint_eq(quota.used, 1);
	exchange_datagrams(bystander);
	close(client);
	close(bystander);
	close(listener);
	close(other);
}
END_TEST

/* ---- opening ---- */

START_TEST(datagrams_wait_in_order_while_their_flow_opens)
{
	int listener = publish(1);
	int client = client_of(AF_INET, listener);
	char text[32];

	child.connect_way = IS_SILENT;
	for (int i = 0; i < MANY; i++) {
		snprintf(text, sizeof(text), "%.*d", i % 10 == 0 ? 0 : 1, i % 10 == 0 ? 0 : i);
		send_text(client, text);
		if (i % 50 == 0)
			step();
		if (i == MANY * 2 / 3) {
			settle();
			child_answers_held();
		}
	}
	for (int i = 0; i < MANY; i++) {
		snprintf(text, sizeof(text), "%.*d", i % 10 == 0 ? 0 : 1, i % 10 == 0 ? 0 : i);
		expect(server, text, NULL);
	}
	expect_nothing(server);
	close(client);
	close(listener);
}
END_TEST

/* All waiting datagrams are sent to the server in one go. The server's buffer may have only 416 KiB
 * (flows_that_fit), in which a datagram of 7000 bytes counts up to 8448. */
START_TEST(waiting_datagrams_are_limited)
{
	int listener = publish(1);
	int client = client_of(AF_INET, listener);
	char block[7000] = "", got[sizeof(block)] = "";
	int count = 0;

	child.connect_way = IS_SILENT;
	for (int i = 0; i < 2 * QUEUE_FLOW / (int)sizeof(block); i++) {
		memcpy(block, &i, sizeof(i));
		ck_assert_int_eq(send(client, block, sizeof(block), 0), (ssize_t)sizeof(block));
		step();
	}
	child_answers_held();
	for (; receive_datagram(server, got, sizeof(got), NULL) == (ssize_t)sizeof(got); count++) {
		int number;

		memcpy(&number, got, sizeof(number));
		ck_assert_int_eq(number, count);
		/* The flow is open now, so this datagram follows all that waited. */
		if (count == 0)
			send_text(client, "end");
	}
	ck_assert_mem_eq(got, "end", strlen("end"));
	ck_assert_int_le(count * (int)sizeof(block), QUEUE_FLOW);
	ck_assert_int_ge(count * (int)sizeof(block), QUEUE_FLOW * 9 / 10);
	exchange_datagrams(client);
	close(client);
	close(listener);
}
END_TEST

START_TEST(a_port_whose_flows_open_slowly_does_not_delay_others)
{
	int slow, fast, client, clients[MANY];

	allow_many();
	slow = publish(1);
	fast = publish(2);
	child.connect_way = IS_SILENT;
	for (int i = 0; i < MANY; i++) {
		clients[i] = client_of(AF_INET, slow);
		send_text(clients[i], "x");
		step();
	}
	settle();
	ck_assert_uint_eq(child.asked, DIALS_MAX);
	child.connect_way = GIVES;
	client = client_of(AF_INET, fast);
	exchange_datagrams(client);
	ck_assert_uint_eq(child.asked, DIALS_MAX + 1);
	/* The other flows open once these requests are answered. */
	child_answers_held();
	for (int i = 0; i < MANY / 4; i++)
		expect(server, "x", NULL);
	for (int i = 0; i < MANY; i++)
		close(clients[i]);
	close(client);
	close(slow);
	close(fast);
}
END_TEST

START_TEST(after_a_refusal_the_next_datagram_tries_again)
{
	int listener = publish(1);
	int client = client_of(AF_INET, listener);

	child.connect_way = REFUSES;
	send_text(client, "lost");
	while (child.asked < 10 || quota.used > 0)
		step();
	ck_assert_uint_eq(child.asked, 10);
	child.connect_way = GIVES;
	exchange_datagrams(client);
	ck_assert_uint_eq(child.asked, 11);
	close(client);
	close(listener);
}
END_TEST

static const enum child_way wrong_kinds[] = { GIVES_TCP, GIVES_UNIX_DGRAM, GIVES_PIPES };

START_TEST(a_descriptor_of_the_wrong_kind_is_refused)
{
	int listener = publish(1);
	int client = client_of(AF_INET, listener);

	child.connect_way = wrong_kinds[_i];
	send_text(client, "lost");
	while (child.asked < 10 || quota.used > 0)
		step();
	child.connect_way = GIVES;
	exchange_datagrams(client);
	close(client);
	close(listener);
}
END_TEST

/* ---- the life of a flow ---- */

START_TEST(a_server_that_comes_back_is_reached_by_the_same_flow)
{
	int listener = publish(1);
	int client = client_of(AF_INET, listener);
	int inside = exchange_datagrams(client);
	int port = port_of(server);

	fd_close(&server);
	for (int i = 0; i < 5; i++) {
		send_text(client, "nobody hears this");
		settle();
	}
	open_server(AF_INET, port);
	/* From now on no datagram is lost, although the socket may still hold an ICMP error. */
	ck_assert_int_eq(exchange_datagrams(client), inside);
	ck_assert_uint_eq(child.asked, 1);
	close(client);
	close(listener);
}
END_TEST

/* The kernel reports the error of one datagram when the next is sent, which must still be sent. */
START_TEST(icmp_errors_do_not_lose_later_datagrams)
{
	int listener = publish(1);
	int client = client_of(AF_INET, listener);
	int port;

	exchange_datagrams(client);
	port = port_of(server);
	fd_close(&server);
	send_text(client, "lost");
	step();
	open_server(AF_INET, port);
	for (int i = 0; i < 20; i++)
		send_text(client, "heard");
	for (int i = 0; i < 20; i++)
		expect(server, "heard", NULL);
	close(client);
	close(listener);
}
END_TEST

START_TEST(a_flow_ends_after_90_s_without_a_datagram)
{
	int listener = publish(1);
	int client = client_of(AF_INET, listener);
	int inside = exchange_datagrams(client);
	struct sockaddr_storage from = loopback(AF_INET, inside);

	for (int i = 0; i < 3; i++) {
		skip_ms(IDLE_MS - 1000);
		ck_assert_uint_eq(quota.used, 1);
		if (i % 2 == 0) { /* a datagram in either direction keeps the flow */
			answer("still here", &from);
			expect(client, "still here", NULL);
		} else {
			send_text(client, "still here");
			expect(server, "still here", NULL);
		}
	}
	skip_ms(IDLE_MS + 1000);
	ck_assert_uint_eq(quota.used, 0);
	ck_assert_int_ne(exchange_datagrams(client), inside);
	ck_assert_uint_eq(child.asked, 2);
	close(client);
	close(listener);
}
END_TEST

START_TEST(each_flow_has_its_own_timeout)
{
	int listener = publish(1);
	int clients[8];

	for (int i = 0; i < 8; i++) {
		clients[i] = client_of(AF_INET, listener);
		exchange_datagrams(clients[i]);
		skip_ms(10000);
	}
	/* The first flow is 80 s old, the last one 10 s. */
	for (size_t i = 0; i < 8; i++) {
		ck_assert_uint_eq(quota.used, 8 - i);
		skip_ms(10000 + (i == 0 ? 2000 : 0));
	}
	ck_assert_uint_eq(quota.used, 0);
	for (int i = 0; i < 8; i++)
		close(clients[i]);
	close(listener);
}
END_TEST

START_TEST(a_socket_that_the_child_shuts_down_ends_its_flow)
{
	static const int ways[] = { SHUT_RD, SHUT_WR, SHUT_RDWR };
	int listener = publish(1);
	int client = client_of(AF_INET, listener);

	child.connect_way = KEEPS;
	exchange_datagrams(client);
	child.connect_way = GIVES;
	ck_assert_int_eq(shutdown(child.kept, ways[_i]), 0);
	settle();
	if (ways[_i] == SHUT_WR) {
		send_text(client, "lost");
		expect_nothing(server);
	}
	ck_assert_uint_eq(quota.used, 0);
	exchange_datagrams(client);
	ck_assert_uint_eq(child.asked, 2);
	close(client);
	close(listener);
}
END_TEST

/* The loop would report such a socket forever, since reading does not empty its error queue. */
START_TEST(a_socket_whose_errors_pile_up_ends_its_flow)
{
	const int one = 1;
	int listener = publish(1);
	int client = client_of(AF_INET, listener);
	int port = port_of(server);

	child.connect_way = KEEPS;
	exchange_datagrams(client);
	child.connect_way = GIVES;
	ck_assert_int_eq(setsockopt(child.kept, IPPROTO_IP, IP_RECVERR, &one, sizeof(one)), 0);
	fd_close(&server);
	send_text(client, "lost");
	settle();
	ck_assert_uint_eq(quota.used, 0);
	open_server(AF_INET, port);
	exchange_datagrams(client);
	close(client);
	close(listener);
}
END_TEST

/* ---- floods, shortages ---- */

static void flood(int listener, int count)
{
	for (int i = 0; i < count; i++) {
		int client = client_of(AF_INET, listener);

		send_text(client, "flood");
		close(client);
		step();
	}
}

START_TEST(a_flood_does_not_evict_flows_in_use)
{
	int listener = publish(1);
	int clients[3], inside[3];
	int fds = fixture_count_fds();

	for (int i = 0; i < 3; i++) {
		clients[i] = client_of(AF_INET, listener);
		inside[i] = exchange_datagrams(clients[i]);
		exchange_datagrams(clients[i]);
	}
	for (int round = 0; round < 5; round++) {
		flood(listener, MANY / 5);
		ck_assert_uint_le(quota.used, QUOTA / 2);
		ck_assert_int_le(fixture_count_fds(), fds + QUOTA / 2 + 3 + 1);
		drain_server();
		for (int i = 0; i < 3; i++)
			ck_assert_int_eq(exchange_datagrams(clients[i]), inside[i]);
	}
	for (int i = 0; i < 3; i++)
		close(clients[i]);
	close(listener);
}
END_TEST

/* The flows of this flood cannot be opened. */
START_TEST(a_flood_of_flows_that_cannot_open_does_not_evict_flows_in_use)
{
	int listener = publish(1);
	int client = client_of(AF_INET, listener);
	int inside = exchange_datagrams(client);

	exchange_datagrams(client);
	child.connect_way = IS_SILENT;
	flood(listener, MANY);
	ck_assert_uint_le(quota.used, QUOTA / 2);
	ck_assert_int_eq(exchange_datagrams(client), inside);
	child.may_be_late = true;
	child_answers_held();
	drain_server();
	ck_assert_int_eq(exchange_datagrams(client), inside);
	close(client);
	close(listener);
}
END_TEST

/* Ports take all of UDP's descriptors, one port after the other. The last port still gets its
 * share. */
START_TEST(flooded_ports_leave_room_for_others)
{
	int listeners[6], client;

	for (int i = 0; i < 6; i++)
		listeners[i] = publish(i);
	for (int i = 0; i < 5; i++)
		flood(listeners[i], 20);
	drain_server();
	ck_assert_uint_le(quota.used, QUOTA / 2);
	ck_assert_uint_ge(quota.used, QUOTA / 4);
	client = client_of(AF_INET, listeners[5]);
	exchange_datagrams(client);
	close(client);
	for (int i = 0; i < 6; i++)
		close(listeners[i]);
}
END_TEST

/* Other workers have taken all descriptors. */
START_TEST(a_few_descriptors_are_the_workers_own)
{
	struct fdtotal total = { .max = 16 * MANY };
	int listener, clients[2];

	quota.total = &total;
	allow_many();
	listener = publish(1);
	ck_assert_uint_gt(total.used, 0);
	fdtotal_charge(&total, total.max);
	for (int i = 0; i < 2; i++) {
		clients[i] = client_of(AF_INET, listener);
		exchange_datagrams(clients[i]);
		exchange_datagrams(clients[i]);
	}
	for (int i = 0; i < 2; i++)
		close(clients[i]);
	fdtotal_give(&total, total.max);
	ck_assert(udp_remove_port(udp, 1));
	ck_assert_uint_eq(total.used, 0);
	quota.total = NULL;
	close(listener);
}
END_TEST

START_TEST(without_descriptors_old_flows_live_and_new_ones_open_later)
{
	int listener = publish(1);
	int old = client_of(AF_INET, listener);
	int new = client_of(AF_INET, listener);

	exchange_datagrams(old);
	exchange_datagrams(old);
	ck_assert(fdquota_take(&quota, QUOTA - quota.used));
	send_text(new, "lost");
	expect_nothing(server);
	exchange_datagrams(old);
	fdquota_give(&quota, QUOTA - 1);
	exchange_datagrams(new);
	close(old);
	close(new);
	close(listener);
}
END_TEST

/* Datagrams that wait while the process has no descriptor are not lost. */
START_TEST(without_descriptors_in_the_process_datagrams_wait)
{
	int listener = publish(1);
	int old = client_of(AF_INET, listener);
	int new = client_of(AF_INET, listener);
	struct rlimit limit;

	exchange_datagrams(old);
	limit = fixture_limit_fds(0);
	send_text(new, "one");
	settle();
	send_text(new, "two");
	settle();
	exchange_datagrams(old);
	fixture_restore_fds(&limit);
	expect(server, "one", NULL);
	expect(server, "two", NULL);
	exchange_datagrams(new);
	close(old);
	close(new);
	close(listener);
}
END_TEST

/* ---- the end ---- */

START_TEST(removing_a_port_ends_all_its_flows)
{
	int listener, other, client;

	allow_many();
	listener = publish(1);
	other = publish(2);
	client = client_of(AF_INET, other);
	flood(listener, 40);
	for (int i = 0; i < 40; i++)
		expect(server, "flood", NULL);
	child.connect_way = IS_SILENT;
	flood(listener, 60); /* for some flows the child is asked now, others wait */
	child.connect_way = GIVES;
	exchange_datagrams(client);
	ck_assert_uint_eq(child.held_count, DIALS_MAX);
	ck_assert_uint_ge(quota.used, 41 + 60);
	ck_assert(udp_remove_port(udp, 1));
	ck_assert(!udp_remove_port(udp, 1));
	ck_assert_uint_eq(quota.used, 1);
	child.may_be_late = true;
	child_answers_held();
	exchange_datagrams(client);
	close(client);
	close(listener);
	close(other);
}
END_TEST

START_TEST(answers_that_have_arrived_are_passed_on_at_the_end)
{
	int listener = publish(1);
	int client = client_of(AF_INET, listener);
	struct sockaddr_storage inside = loopback(AF_INET, exchange_datagrams(client));

	for (int i = 0; i < 10; i++)
		answer("bye", &inside);
	udp_end(udp);
	close(listener);
	for (int i = 0; i < 10; i++)
		expect(client, "bye", NULL);
	close(client);
}
END_TEST

static TCase *make_case(const char *name)
{
	TCase *tc = fixture_case_with_dir(name);

	tcase_add_checked_fixture(tc, open_all, close_all);
	return tc;
}

static TCase *passing_case(void)
{
	TCase *tc = make_case("passing");

	tcase_add_loop_test(tc, datagrams_of_every_size_pass_both_ways, 0, COUNT(sizes));
	tcase_add_loop_test(tc, datagrams_pass_one_by_one_where_calls_are_missing, 0,
			    COUNT(missing));
	tcase_add_test(tc, a_datagram_too_large_for_the_other_family_is_lost_alone);
	tcase_add_test(tc, answers_come_from_the_address_that_was_written_to);
	tcase_add_test(tc, a_client_that_writes_to_two_addresses_has_two_flows);
	tcase_add_test(tc, clients_do_not_mix);
	return tc;
}

static TCase *rush_case(void)
{
	TCase *tc = make_case("rush");

	/* Emulated machines need much longer. */
	tcase_set_tags(tc, "rush");
	tcase_add_loop_test(tc, datagrams_are_neither_merged_nor_split, 0, 2 * COUNT(kernels));
	tcase_add_loop_test(tc, a_batch_may_have_datagrams_of_old_and_new_clients, 0, 2);
	tcase_add_test(tc, a_busy_socket_is_drained_by_a_timer_until_it_is_idle);
	tcase_add_loop_test(tc, a_busy_socket_may_be_closed, 0, 2);
	return tc;
}

static TCase *opening_case(void)
{
	TCase *tc = make_case("opening");

	tcase_add_test(tc, datagrams_wait_in_order_while_their_flow_opens);
	tcase_add_test(tc, waiting_datagrams_are_limited);
	tcase_add_test(tc, a_port_whose_flows_open_slowly_does_not_delay_others);
	tcase_add_test(tc, after_a_refusal_the_next_datagram_tries_again);
	tcase_add_loop_test(tc, a_descriptor_of_the_wrong_kind_is_refused, 0, COUNT(wrong_kinds));
	return tc;
}

static TCase *life_case(void)
{
	TCase *tc = make_case("life");

	tcase_add_test(tc, a_server_that_comes_back_is_reached_by_the_same_flow);
	tcase_add_test(tc, icmp_errors_do_not_lose_later_datagrams);
	tcase_add_test(tc, a_flow_ends_after_90_s_without_a_datagram);
	tcase_add_test(tc, each_flow_has_its_own_timeout);
	tcase_add_loop_test(tc, a_socket_that_the_child_shuts_down_ends_its_flow, 0, 3);
	tcase_add_test(tc, a_socket_whose_errors_pile_up_ends_its_flow);
	return tc;
}

static TCase *bounds_case(void)
{
	TCase *tc = make_case("bounds");

	tcase_add_test(tc, a_flood_does_not_evict_flows_in_use);
	tcase_add_test(tc, a_flood_of_flows_that_cannot_open_does_not_evict_flows_in_use);
	tcase_add_test(tc, flooded_ports_leave_room_for_others);
	tcase_add_test(tc, a_few_descriptors_are_the_workers_own);
	tcase_add_test(tc, without_descriptors_old_flows_live_and_new_ones_open_later);
	tcase_add_test(tc, without_descriptors_in_the_process_datagrams_wait);
	tcase_add_test(tc, removing_a_port_ends_all_its_flows);
	tcase_add_test(tc, answers_that_have_arrived_are_passed_on_at_the_end);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("udp");

	suite_add_tcase(s, passing_case());
	suite_add_tcase(s, rush_case());
	suite_add_tcase(s, opening_case());
	suite_add_tcase(s, life_case());
	suite_add_tcase(s, bounds_case());
	return fixture_run(s);
}
