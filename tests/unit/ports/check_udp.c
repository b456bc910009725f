/* SPDX-License-Identifier: Apache-2.0 */

/* UDP flows with real sockets: clients, a server, and a child that answers on a .bp.sock of the
 * test's own, well or badly. All of them run in this thread, a step at a time. Where a test has to
 * wait for long it sets the clock forward instead: clock_gettime(2) here is the one that the
 * launcher's code finds. So are setsockopt(2), getsockopt(2) and sendmmsg(2), which can be those of
 * kernels and devices that do not have all.
 */
#include "tests/unit/loopclock.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/syscall.h>

#include "base/fd.h"
#include "formats/ipaddr.h"
#include "msg.h"
#include "os/unixsock.h"
#include "ports/dial.h"
#include "ports/fdquota.h"
#include "ports/listen.h"
#include "ports/udp.h"

#define V4_MAX	   65507 /* bytes of the largest datagram */
#define V6_MAX	   65527
#define QUOTA	   64 /* descriptors: 8 new and 8 established flows a port, 32 in all */
#define MANY	   300
#define SERVED	   16 /* IDs of ports are below this */
#define HELD_MAX   512
#define DIALS_MAX  32 /* of a port at once */
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
	int refuses;	     /* this error is the answer to batches, */
	size_t above;	     /* with larger datagrams than this */
	bool is_interrupted; /* sends a part of what it is given */
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

/* Of what size are the datagrams of a message? 0: it is no batch. */
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

/* ---- the child ---- */

enum child_way {
	CONNECTS,	/* gives a UDP socket that is connected to the server */
	HOLDS,		/* does so when told */
	REFUSES,	/* answers with an error */
	GIVES_TCP,	/* gives a socket of the wrong kind, */
	GIVES_RAW_LIKE, /* a datagram socket that is none of UDP, */
	GIVES_PIPE,	/* or no socket at all */
	KEEPS,		/* gives a UDP socket, and keeps it too */
};

static struct {
	struct watch watch;
	enum child_way way;
	struct sockaddr_storage server; /* where it connects to */
	socklen_t server_len;
	int held[HELD_MAX];
	size_t held_count;
	int kept;
	size_t asked;
	bool may_be_late;
} child;

static struct dialler dialler;
static struct fdquota quota;
static struct udp *udp;
static int server;

static int make_target(void)
{
	int fds[2];
	int fd;

	switch (child.way) {
	case GIVES_TCP:
		return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	case GIVES_RAW_LIKE:
		return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	case GIVES_PIPE:
		ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
		close(fds[1]);
		return fds[0];
	default:
		fd = socket(child.server.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		ck_assert_int_eq(connect(fd, (struct sockaddr *)&child.server, child.server_len),
				 0);
		return fd;
	}
}

static void child_answers(int request)
{
	static const char error[] = "{\"Error\":\"no way\"}";
	int target;

	if (child.way == REFUSES) {
		ck_assert_int_eq(msg_send(request, error, strlen(error)), 0);
		close(request);
		return;
	}
	target = make_target();
	ck_assert_int_ge(target, 0);
	/* A dial that was given up does not wait for the answer. */
	if (msg_send_fd(request, target) == -EPIPE)
		ck_assert(child.may_be_late);
	close(request);
	if (child.way == KEEPS)
		child.kept = target;
	else
		close(target);
}

static void on_request(struct watch *w, short revents)
{
	struct msg_reader reader = { 0 };
	struct bpmsg req;
	struct err e;
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);

	(void)revents;
	if (fd < 0)
		return; /* the test has taken the descriptors away */
	ck_assert_int_eq(msg_read(&reader, fd), 1);
	ck_assert_int_eq(bpmsg_decode(&req, reader.body, reader.len, &e), 0);
	msg_reader_reset(&reader);
	ck_assert_int_eq(req.proto, PROTO_UDP);
	ck_assert_int_eq(req.port, 53);
	child.asked++;
	if (child.way != HOLDS) {
		child_answers(fd);
		return;
	}
	ck_assert_uint_lt(child.held_count, HELD_MAX);
	child.held[child.held_count++] = fd;
}

static void release_held(void)
{
	child.way = CONNECTS;
	while (child.held_count > 0)
		child_answers(child.held[--child.held_count]);
}

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
	struct sockaddr_in6 sa; /* both families have the port in one place */
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
	const struct bpmsg target = { .type = BPMSG_CONNECT, .proto = PROTO_UDP, .port = 53 };
	struct err e;
	int fd = listen_port(&spec, &e);

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
static ssize_t take(int fd, void *buf, size_t cap, struct sockaddr_storage *from)
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
	ssize_t n = take(fd, buf, sizeof(buf) - 1, from);

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

static void say(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
}

static void answer(const char *text, const struct sockaddr_storage *to)
{
	ck_assert_int_eq(sendto(server, text, strlen(text), 0, (const struct sockaddr *)to,
				sizeof(struct sockaddr_in)),
			 (ssize_t)strlen(text));
}

/* A datagram there and one back; returns the flow's port inside. What is left of a flood may come
 * in between. */
static int talk(int client)
{
	struct sockaddr_storage from;
	char buf[64];

	say(client, "there");
	while (take(server, buf, sizeof(buf), &from) == (ssize_t)strlen("flood"))
		if (memcmp(buf, "flood", strlen("flood")) != 0)
			break;
	ck_assert_mem_eq(buf, "there", strlen("there"));
	answer("back", &from);
	expect(client, "back", NULL);
	return ntohs(((struct sockaddr_in *)&from)->sin_port);
}

/* ---- a test ---- */

static void on_pause(struct fdquota *b)
{
	(void)b;
}

static int on_resume(struct fdquota *b)
{
	(void)b;
	return 0;
}

static void open_all(void)
{
	struct err e;

	memset(&child, 0, sizeof(child));
	child.kept = -1;
	loop = loop_new(LOOP_EPOLL);
	child.watch = (struct watch){ .fd = unixsock_listen(fixture_path("s"), &e),
				      .events = POLLIN,
				      .on_event = on_request };
	ck_assert_int_eq(loop_add(loop, &child.watch), 0);
	unixsock_address(&dialler.bp_address, fixture_path("s"));
	dialler.loop = loop;
	dialler.quota = &quota;
	quota = (struct fdquota){ .loop = loop,
				  .max = QUOTA,
				  .enough = 3,
				  .on_pause = on_pause,
				  .on_resume = on_resume };
	fdquota_init(&quota);
	udp = udp_new(loop, &dialler, &quota, 1);
	open_server(AF_INET, 0);
}

static void close_all(void)
{
	udp_end(udp);
	ck_assert_uint_eq(quota.used, 0);
	udp_free(udp);
	fd_close(&child.watch.fd);
	fd_close(&child.kept);
	fd_close(&server);
	while (child.held_count > 0)
		close(child.held[--child.held_count]);
	loop_free(loop);
}

/* For tests with more flows than the usual bounds let live. Before the first port. */
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
		ck_assert_int_eq(take(server, got, sizeof(got), &from), (ssize_t)len);
		ck_assert_mem_eq(got, sent, len);
		ck_assert_int_eq(sendto(server, sent, len, 0, (struct sockaddr *)&from,
					sizeof(struct sockaddr_in6)),
				 (ssize_t)len);
		ck_assert_int_eq(take(client, got, sizeof(got), NULL), (ssize_t)len);
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
			ck_assert_int_eq(take(server, got, sizeof(got), &from), 1);
			ck_assert_int_eq(got[0], c);
			ck_assert_int_eq(sendto(server, got, 1, 0, (struct sockaddr *)&from,
						sizeof(struct sockaddr_in6)),
					 1);
		}
		for (char c = 'a'; c < 'f'; c++) {
			ck_assert_int_eq(take(client, got, sizeof(got), NULL), 1);
			ck_assert_int_eq(got[0], c);
		}
	}
	close(client);
	close(listener);
}
END_TEST

START_TEST(too_large_for_the_other_family_is_lost_and_no_more)
{
	static char sent[V6_MAX];
	int listener, client;

	if (!fixture_need_ipv6())
		return;
	listener = publish(1);
	client = client_of(AF_INET6, listener);
	talk(client);
	ck_assert_int_eq(send(client, sent, V6_MAX, 0), V6_MAX);
	expect_nothing(server);
	talk(client);
	ck_assert_uint_eq(child.asked, 1);
	close(client);
	close(listener);
}
END_TEST

/* A connected socket hears nothing that comes from another address. */
START_TEST(answers_come_from_the_address_that_was_written_to)
{
	int listener = publish(1);
	struct sockaddr_storage sa = loopback(AF_INET, port_of(listener));
	int ports[3];

	for (int i = 0; i < 3; i++) {
		int client = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		((struct sockaddr_in *)&sa)->sin_addr.s_addr = htonl(INADDR_LOOPBACK + 5 * i);
		ck_assert_int_eq(connect(client, (struct sockaddr *)&sa, sizeof(sa)), 0);
		ports[i] = talk(client);
		close(client);
	}
	ck_assert(ports[0] != ports[1] && ports[1] != ports[2]);
	close(listener);
}
END_TEST

/* The same client port, two addresses of ours: two flows, each answered from its own. */
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
		say(clients[i], text);
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
#define EACH	    3600  /* datagrams of a flow, either way */
#define BURST	    48	  /* of a flow at most, */
#define BURST_BYTES 60000 /* and of no more bytes: nothing may be lost for want of room */

/* One end of a flow, and what is to come out of the other one. */
static struct {
	int client;
	struct sockaddr_storage inside;
	unsigned int seed; /* of what is sent next */
	unsigned int expected_seed;
} ends[FLOWS];

/* Sizes that come in runs. */
static size_t next_size(unsigned int *seed, size_t size)
{
	static const size_t some[] = { 0, 1, 100, 499, 1200, 1400, 1472, 9000, 30000 };

	return rand_r(seed) % 8 != 0 ? size : some[rand_r(seed) % COUNT(some)];
}

/* Each is its flow's own, and has its number. */
static void make_datagram(char *to, size_t len, int flow, int number)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (char)((i * 7) ^ (i >> 8) ^ (size_t)number);
	if (len >= 8) {
		memcpy(to, &flow, 4);
		memcpy(to + 4, &number, 4);
	}
}

/* Sends `count` that stand in memory, as a sender of batches or as any other. */
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

/* A burst of a flow: runs of one size. Returns how many. */
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
	ssize_t n = take(up ? server : ends[flow].client, got, sizeof(got), &from);
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
		say(ends[i].client, "first");
		expect(server, "first", &ends[i].inside);
	}
}

/* How many flows may send a burst to the server before it reads: its buffer has what the kernel
 * grants an unprivileged user (net.core.rmem_max), where a datagram counts up to twice its bytes.
 */
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

/* On batches or not, whatever the kernel and the devices can: none is changed, lost, split or
 * joined with another one, and each flow keeps its order. */
START_TEST(datagrams_stay_what_they_are)
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
	/* One refusal of each size of a flow is enough. */
	ck_assert(kernel->refuses == 0 || (batches_refused > 0 && batches_refused <= 5 * FLOWS));
	close(listener);
}
END_TEST

/* What has a flow is not lost or reordered for those that come in between and have none. */
START_TEST(a_batch_of_old_and_new_clients)
{
	int listener = publish(1);
	int old = client_of(AF_INET, listener);
	struct sockaddr_storage from;
	char text[32] = "";

	say(old, "first");
	expect(server, "first", NULL);
	if (_i == 1) {
		talk(old);
		talk(old);
	}
	child.may_be_late = true;
	for (int i = 0; i < 4 * BURST; i++) {
		int new = client_of(AF_INET, listener);

		snprintf(text, sizeof(text), "old %d", i);
		say(old, text);
		say(new, "new");
		close(new);
	}
	for (int i = 0; i < 4 * BURST;) {
		snprintf(text, sizeof(text), "old %d", i);
		char got[32] = "";

		ck_assert_int_gt(take(server, got, sizeof(got) - 1, &from), 0);
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

static void rush(int from)
{
	for (int i = 0; i < 2 * BURST; i++)
		say(from, "rush");
	step();
}

/* As long as it lasts there is a clock, one for all; it goes when nothing rushes any more. */
START_TEST(a_rush_has_a_clock_and_an_end)
{
	int listeners[2] = { publish(1), publish(2) };
	int clients[2], fds;

	for (int i = 0; i < 2; i++) {
		clients[i] = client_of(AF_INET, listeners[i]);
		talk(clients[i]);
	}
	fds = fixture_count_fds();
	for (int round = 0; round < 3; round++) {
		rush(clients[0]);
		rush(clients[1]);
		ck_assert_int_eq(fixture_count_fds(), fds + 1);
		for (int i = 0; i < 4 * BURST; i++)
			expect(server, "rush", NULL);
		settle();
		ck_assert_int_eq(fixture_count_fds(), fds);
		talk(clients[round % 2]);
	}
	for (int i = 0; i < 2; i++) {
		close(clients[i]);
		close(listeners[i]);
	}
}
END_TEST

/* Both a listening socket and a flow's, which the child shuts down or the port's end takes away. */
START_TEST(what_rushes_may_end)
{
	int listener, other, client, bystander;
	struct sockaddr_storage inside;

	child.way = KEEPS;
	listener = publish(1);
	other = publish(2);
	client = client_of(AF_INET, listener);
	bystander = client_of(AF_INET, other);
	say(client, "first");
	expect(server, "first", &inside);
	child.way = CONNECTS;
	talk(bystander);
	rush(client);
	rush(bystander);
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
	talk(bystander);
	close(client);
	close(bystander);
	close(listener);
	close(other);
}
END_TEST

/* ---- opening ---- */

START_TEST(what_comes_while_a_flow_opens_waits_in_order)
{
	int listener = publish(1);
	int client = client_of(AF_INET, listener);
	char text[32];

	child.way = HOLDS;
	for (int i = 0; i < MANY; i++) {
		snprintf(text, sizeof(text), "%.*d", i % 10 == 0 ? 0 : 1, i % 10 == 0 ? 0 : i);
		say(client, text);
		if (i % 50 == 0)
			step();
		if (i == MANY * 2 / 3) {
			settle();
			release_held();
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

/* All that waits is sent to the server at once, whose buffer may be no larger than 416 KiB
 * (flows_that_fit). There a datagram of 1000 bytes counts 1832, one of 7000 up to 8448. */
START_TEST(what_waits_is_bounded)
{
	int listener = publish(1);
	int client = client_of(AF_INET, listener);
	char block[7000] = "", got[sizeof(block)] = "";
	int count = 0;

	child.way = HOLDS;
	for (int i = 0; i < 2 * QUEUE_FLOW / (int)sizeof(block); i++) {
		memcpy(block, &i, sizeof(i));
		ck_assert_int_eq(send(client, block, sizeof(block), 0), (ssize_t)sizeof(block));
		step();
	}
	release_held();
	for (; take(server, got, sizeof(got), NULL) == (ssize_t)sizeof(got); count++) {
		int number;

		memcpy(&number, got, sizeof(number));
		ck_assert_int_eq(number, count);
		/* The flow is open now, so this one comes after all that waited. */
		if (count == 0)
			say(client, "end");
	}
	ck_assert_mem_eq(got, "end", strlen("end"));
	ck_assert_int_le(count * (int)sizeof(block), QUEUE_FLOW);
	ck_assert_int_ge(count * (int)sizeof(block), QUEUE_FLOW * 9 / 10);
	talk(client);
	close(client);
	close(listener);
}
END_TEST

START_TEST(a_port_that_opens_slowly_holds_up_no_other)
{
	int slow, fast, client, clients[MANY];

	allow_many();
	slow = publish(1);
	fast = publish(2);
	child.way = HOLDS;
	for (int i = 0; i < MANY; i++) {
		clients[i] = client_of(AF_INET, slow);
		say(clients[i], "x");
		step();
	}
	settle();
	ck_assert_uint_eq(child.asked, DIALS_MAX);
	child.way = CONNECTS;
	client = client_of(AF_INET, fast);
	talk(client);
	ck_assert_uint_eq(child.asked, DIALS_MAX + 1);
	/* The others come to their turn when these have been answered. */
	release_held();
	for (int i = 0; i < MANY / 4; i++)
		expect(server, "x", NULL);
	for (int i = 0; i < MANY; i++)
		close(clients[i]);
	close(client);
	close(slow);
	close(fast);
}
END_TEST

START_TEST(where_there_is_no_way_in_the_next_datagram_tries_again)
{
	int listener = publish(1);
	int client = client_of(AF_INET, listener);

	child.way = REFUSES;
	say(client, "lost");
	while (child.asked < 10 || quota.used > 0)
		step();
	ck_assert_uint_eq(child.asked, 10);
	child.way = CONNECTS;
	talk(client);
	ck_assert_uint_eq(child.asked, 11);
	close(client);
	close(listener);
}
END_TEST

static const enum child_way wrong_kinds[] = { GIVES_TCP, GIVES_RAW_LIKE, GIVES_PIPE };

START_TEST(a_socket_of_the_wrong_kind_is_not_taken)
{
	int listener = publish(1);
	int client = client_of(AF_INET, listener);

	child.way = wrong_kinds[_i];
	say(client, "lost");
	while (child.asked < 10 || quota.used > 0)
		step();
	child.way = CONNECTS;
	talk(client);
	close(client);
	close(listener);
}
END_TEST

/* ---- the life of a flow ---- */

START_TEST(a_server_that_comes_back_is_reached_by_the_same_flow)
{
	int listener = publish(1);
	int client = client_of(AF_INET, listener);
	int inside = talk(client);
	int port = port_of(server);

	fd_close(&server);
	for (int i = 0; i < 5; i++) {
		say(client, "nobody hears this");
		settle();
	}
	open_server(AF_INET, port);
	/* Not one is lost from now on, though ICMP's last word may still stand in the socket. */
	ck_assert_int_eq(talk(client), inside);
	ck_assert_uint_eq(child.asked, 1);
	close(client);
	close(listener);
}
END_TEST

/* The error that one causes is told to the next, which has to go out all the same. */
START_TEST(icmp_errors_lose_nothing_that_has_a_reader)
{
	int listener = publish(1);
	int client = client_of(AF_INET, listener);
	int port;

	talk(client);
	port = port_of(server);
	fd_close(&server);
	say(client, "lost");
	step();
	open_server(AF_INET, port);
	for (int i = 0; i < 20; i++)
		say(client, "heard");
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
	int inside = talk(client);
	struct sockaddr_storage from = loopback(AF_INET, inside);

	for (int i = 0; i < 3; i++) {
		skip_ms(IDLE_MS - 1000);
		ck_assert_uint_eq(quota.used, 1);
		if (i % 2 == 0) { /* a datagram of either side keeps it */
			answer("still here", &from);
			expect(client, "still here", NULL);
		} else {
			say(client, "still here");
			expect(server, "still here", NULL);
		}
	}
	skip_ms(IDLE_MS + 1000);
	ck_assert_uint_eq(quota.used, 0);
	ck_assert_int_ne(talk(client), inside);
	ck_assert_uint_eq(child.asked, 2);
	close(client);
	close(listener);
}
END_TEST

START_TEST(each_flow_ends_at_its_own_time)
{
	int listener = publish(1);
	int clients[8];

	for (int i = 0; i < 8; i++) {
		clients[i] = client_of(AF_INET, listener);
		talk(clients[i]);
		skip_ms(10000);
	}
	/* The first is 80 s old, the last 10 s. */
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

	child.way = KEEPS;
	talk(client);
	child.way = CONNECTS;
	ck_assert_int_eq(shutdown(child.kept, ways[_i]), 0);
	settle();
	if (ways[_i] == SHUT_WR) {
		say(client, "lost");
		expect_nothing(server);
	}
	ck_assert_uint_eq(quota.used, 0);
	talk(client);
	ck_assert_uint_eq(child.asked, 2);
	close(client);
	close(listener);
}
END_TEST

/* Such a socket is reported for ever, since reading does not empty its queue of errors. */
START_TEST(a_socket_whose_errors_pile_up_ends_its_flow)
{
	const int one = 1;
	int listener = publish(1);
	int client = client_of(AF_INET, listener);
	int port = port_of(server);

	child.way = KEEPS;
	talk(client);
	child.way = CONNECTS;
	ck_assert_int_eq(setsockopt(child.kept, IPPROTO_IP, IP_RECVERR, &one, sizeof(one)), 0);
	fd_close(&server);
	say(client, "lost");
	settle();
	ck_assert_uint_eq(quota.used, 0);
	open_server(AF_INET, port);
	talk(client);
	close(client);
	close(listener);
}
END_TEST

/* ---- floods, shortages ---- */

static void flood(int listener, int count)
{
	for (int i = 0; i < count; i++) {
		int client = client_of(AF_INET, listener);

		say(client, "flood");
		close(client);
		step();
	}
}

START_TEST(a_flood_pushes_out_no_flow_that_is_used)
{
	int listener = publish(1);
	int clients[3], inside[3];
	int fds = fixture_count_fds();

	for (int i = 0; i < 3; i++) {
		clients[i] = client_of(AF_INET, listener);
		inside[i] = talk(clients[i]);
		talk(clients[i]);
	}
	for (int round = 0; round < 5; round++) {
		flood(listener, MANY / 5);
		ck_assert_uint_le(quota.used, QUOTA / 2);
		ck_assert_int_le(fixture_count_fds(), fds + QUOTA / 2 + 3 + 1);
		drain_server();
		for (int i = 0; i < 3; i++)
			ck_assert_int_eq(talk(clients[i]), inside[i]);
	}
	for (int i = 0; i < 3; i++)
		close(clients[i]);
	close(listener);
}
END_TEST

/* Not even where none of the flood can be opened. */
START_TEST(a_flood_that_cannot_be_opened_neither)
{
	int listener = publish(1);
	int client = client_of(AF_INET, listener);
	int inside = talk(client);

	talk(client);
	child.way = HOLDS;
	flood(listener, MANY);
	ck_assert_uint_le(quota.used, QUOTA / 2);
	ck_assert_int_eq(talk(client), inside);
	child.may_be_late = true;
	release_held();
	drain_server();
	ck_assert_int_eq(talk(client), inside);
	close(client);
	close(listener);
}
END_TEST

/* One after the other, ports take all that UDP may have: one that comes last gets its share. */
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
	talk(client);
	close(client);
	for (int i = 0; i < 6; i++)
		close(listeners[i]);
}
END_TEST

/* Ports of other workers have taken all there is. */
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
		talk(clients[i]);
		talk(clients[i]);
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

START_TEST(with_no_descriptors_left_old_flows_live_and_new_ones_come_later)
{
	int listener = publish(1);
	int old = client_of(AF_INET, listener);
	int new = client_of(AF_INET, listener);

	talk(old);
	talk(old);
	ck_assert(fdquota_take(&quota, QUOTA - quota.used));
	say(new, "lost");
	expect_nothing(server);
	talk(old);
	fdquota_give(&quota, QUOTA - 1);
	talk(new);
	close(old);
	close(new);
	close(listener);
}
END_TEST

/* What waits while the process has none is not lost. */
START_TEST(with_none_left_in_the_process_datagrams_wait)
{
	int listener = publish(1);
	int old = client_of(AF_INET, listener);
	int new = client_of(AF_INET, listener);
	struct rlimit limit;

	talk(old);
	limit = fixture_limit_fds(0);
	say(new, "one");
	settle();
	say(new, "two");
	settle();
	talk(old);
	fixture_restore_fds(&limit);
	expect(server, "one", NULL);
	expect(server, "two", NULL);
	talk(new);
	close(old);
	close(new);
	close(listener);
}
END_TEST

/* ---- the end ---- */

START_TEST(a_removed_port_takes_all_its_flows_along)
{
	int listener, other, client;

	allow_many();
	listener = publish(1);
	other = publish(2);
	client = client_of(AF_INET, other);
	flood(listener, 40);
	for (int i = 0; i < 40; i++)
		expect(server, "flood", NULL);
	child.way = HOLDS;
	flood(listener, 60); /* some are dialled now, some wait */
	child.way = CONNECTS;
	talk(client);
	ck_assert_uint_eq(child.held_count, DIALS_MAX);
	ck_assert_uint_ge(quota.used, 41 + 60);
	ck_assert(udp_remove_port(udp, 1));
	ck_assert(!udp_remove_port(udp, 1));
	ck_assert_uint_eq(quota.used, 1);
	child.may_be_late = true;
	release_held();
	talk(client);
	close(client);
	close(listener);
	close(other);
}
END_TEST

START_TEST(last_words_are_passed_on)
{
	int listener = publish(1);
	int client = client_of(AF_INET, listener);
	struct sockaddr_storage inside = loopback(AF_INET, talk(client));

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
	tcase_add_test(tc, too_large_for_the_other_family_is_lost_and_no_more);
	tcase_add_test(tc, answers_come_from_the_address_that_was_written_to);
	tcase_add_test(tc, a_client_that_writes_to_two_addresses_has_two_flows);
	tcase_add_test(tc, clients_do_not_mix);
	return tc;
}

static TCase *rush_case(void)
{
	TCase *tc = make_case("rush");

	/* For machines that are emulated: millions of instructions for each of its milliseconds. */
	tcase_set_tags(tc, "rush");
	tcase_add_loop_test(tc, datagrams_stay_what_they_are, 0, 2 * COUNT(kernels));
	tcase_add_loop_test(tc, a_batch_of_old_and_new_clients, 0, 2);
	tcase_add_test(tc, a_rush_has_a_clock_and_an_end);
	tcase_add_loop_test(tc, what_rushes_may_end, 0, 2);
	return tc;
}

static TCase *opening_case(void)
{
	TCase *tc = make_case("opening");

	tcase_add_test(tc, what_comes_while_a_flow_opens_waits_in_order);
	tcase_add_test(tc, what_waits_is_bounded);
	tcase_add_test(tc, a_port_that_opens_slowly_holds_up_no_other);
	tcase_add_test(tc, where_there_is_no_way_in_the_next_datagram_tries_again);
	tcase_add_loop_test(tc, a_socket_of_the_wrong_kind_is_not_taken, 0, COUNT(wrong_kinds));
	return tc;
}

static TCase *life_case(void)
{
	TCase *tc = make_case("life");

	tcase_add_test(tc, a_server_that_comes_back_is_reached_by_the_same_flow);
	tcase_add_test(tc, icmp_errors_lose_nothing_that_has_a_reader);
	tcase_add_test(tc, a_flow_ends_after_90_s_without_a_datagram);
	tcase_add_test(tc, each_flow_ends_at_its_own_time);
	tcase_add_loop_test(tc, a_socket_that_the_child_shuts_down_ends_its_flow, 0, 3);
	tcase_add_test(tc, a_socket_whose_errors_pile_up_ends_its_flow);
	return tc;
}

static TCase *bounds_case(void)
{
	TCase *tc = make_case("bounds");

	tcase_add_test(tc, a_flood_pushes_out_no_flow_that_is_used);
	tcase_add_test(tc, a_flood_that_cannot_be_opened_neither);
	tcase_add_test(tc, flooded_ports_leave_room_for_others);
	tcase_add_test(tc, a_few_descriptors_are_the_workers_own);
	tcase_add_test(tc, with_no_descriptors_left_old_flows_live_and_new_ones_come_later);
	tcase_add_test(tc, with_none_left_in_the_process_datagrams_wait);
	tcase_add_test(tc, a_removed_port_takes_all_its_flows_along);
	tcase_add_test(tc, last_words_are_passed_on);
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
