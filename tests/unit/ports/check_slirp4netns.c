/* SPDX-License-Identifier: Apache-2.0 */

/* The port driver slirp4netns beside a fake slirp4netns: a thread that serves the API socket and
 * keeps the requests, or misbehaves. */
#include "formats/slirpapi.h"
#include "ports/slirp4netns.h"
#include "tests/unit/capturedlog.h"
#include "tests/unit/loopclock.h"

#include <poll.h>
#include <sys/un.h>

#define CHILD_IP    "10.0.2.100"
#define ANSWER_MS   2000 /* the driver's deadline for an answer */
#define REQUEST_MAX 8
#define REFUSAL	    "{\"error\":{\"desc\":\"bad request: add_hostfwd: slirp_add_hostfwd failed\"}}"
#define NOT_RUNNING "slirp4netns is not running now"
#define NO_ANSWER   "slirp4netns did not answer for 2000 ms"
#define ADD(proto, at, port)                                                                      \
	"{\"execute\":\"add_hostfwd\",\"arguments\":{\"proto\":\"" proto "\",\"host_addr\":\"" at \
	"\",\"host_port\":" port ",\"guest_addr\":\"" CHILD_IP "\",\"guest_port\":80}}"
#define REMOVE(id) "{\"execute\":\"remove_hostfwd\",\"arguments\":{\"id\":" id "}}"

enum manner {
	BEHAVES,
	BEHAVES_SLOWLY, /* sends byte by byte */
	SAYS_NOTHING,
	SAYS_HALF,	/* and the rest only after the deadline */
	HANGS_UP,	/* before it has read the request */
	HANGS_UP_LATER, /* after it has read the request */
	SAYS,		/* `slirp.words` */
	SAYS_TOO_MUCH,
};

static struct {
	enum manner manner;
	const char *words;
	int refused; /* the request with this index gets REFUSAL */
	int listener;
	pthread_t thread;
	int stop[2];
	char requests[REQUEST_MAX][SLIRPAPI_REQUEST_MAX];
	int count;
	int next_id;
} slirp;

static const struct portdriver *const driver = &slirp4netns_ports;
static void *data; /* the driver's */
static struct err e;

/* ---- the fake slirp4netns ---- */

static void await_stop(void)
{
	struct pollfd p = { .fd = slirp.stop[0], .events = POLLIN };

	poll(&p, 1, -1);
}

/* Reads up to the end of the stream. Returns the index of the request. */
static int read_request(int fd)
{
	char *text = slirp.requests[slirp.count];
	size_t len = 0;
	ssize_t n;

	do {
		n = recv(fd, text + len, SLIRPAPI_REQUEST_MAX - 1 - len, 0);
		len += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	text[len] = '\0';
	return slirp.count++;
}

static void say(int fd, const char *text, size_t len, size_t step)
{
	for (size_t at = 0; at < len; at += step)
		if (send(fd, text + at, len - at < step ? len - at : step, MSG_NOSIGNAL) < 0)
			return;
}

static void answer(int fd, int request)
{
	char text[128];
	size_t len;

	if (slirp.refused == request)
		snprintf(text, sizeof(text), "%s", REFUSAL);
	else if (strstr(slirp.requests[request], "add_hostfwd") != NULL)
		snprintf(text, sizeof(text), "{\"return\":{\"id\":%d}}", slirp.next_id++);
	else
		snprintf(text, sizeof(text), "{\"return\":{}}");
	len = strlen(text);
	if (slirp.manner == SAYS_HALF) {
		skipped_ms += ANSWER_MS;
		len /= 2;
	}
	say(fd, text, len, slirp.manner == BEHAVES_SLOWLY ? 1 : len);
	if (slirp.manner == SAYS_HALF)
		await_stop();
}

static void serve(int fd)
{
	static const char blanks[SLIRPAPI_ANSWER_MAX] = { [0 ... SLIRPAPI_ANSWER_MAX - 1] = ' ' };
	int request;

	if (slirp.manner == HANGS_UP)
		return;
	request = read_request(fd);
	if (slirp.manner == SAYS_NOTHING)
		await_stop();
	else if (slirp.manner == SAYS)
		say(fd, slirp.words, strlen(slirp.words), SLIRPAPI_ANSWER_MAX);
	else if (slirp.manner == SAYS_TOO_MUCH)
		say(fd, blanks, sizeof(blanks), sizeof(blanks));
	else if (slirp.manner != HANGS_UP_LATER)
		answer(fd, request);
}

static void *run_slirp(void *arg)
{
	(void)arg;
	for (;;) {
		struct pollfd p[] = { { .fd = slirp.listener, .events = POLLIN },
				      { .fd = slirp.stop[0], .events = POLLIN } };
		int fd;

		poll(p, 2, -1);
		if (p[1].revents != 0)
			return NULL;
		fd = accept4(slirp.listener, NULL, NULL, SOCK_CLOEXEC);
		serve(fd);
		close(fd);
	}
}

/* Starts it with ports that count from `first_id`. */
static void start_slirp(enum manner manner, int first_id)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	slirp.manner = manner;
	slirp.refused = -1;
	slirp.count = 0;
	slirp.next_id = first_id;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.90s", fixture_path("api"));
	slirp.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(slirp.listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(slirp.listener, 1), 0);
	ck_assert_int_eq(pipe2(slirp.stop, O_CLOEXEC), 0);
	slirp.thread = fixture_thread(run_slirp, NULL);
}

/* Ends it; its socket stays, as after kill -9. */
static void kill_slirp(void)
{
	ck_assert_int_eq(write(slirp.stop[1], "x", 1), 1);
	pthread_join(slirp.thread, NULL);
	close(slirp.listener);
	close(slirp.stop[0]);
	close(slirp.stop[1]);
}

static void stop_slirp(void)
{
	kill_slirp();
	ck_assert_int_eq(unlink(fixture_path("api")), 0);
}

/* ---- the driver ---- */

static void start_driver(void)
{
	const struct port_setup setup = {
		.api_socket = fixture_path("api"),
		.child_ip = CHILD_IP,
	};

	e.msg[0] = '\0';
	ck_assert_int_eq(driver->start(&data, &setup, &e), 0);
}

static void stop_driver(struct port_slot *slots, size_t count)
{
	ck_assert(driver->free(data, slots, count, 0));
}

static struct port_slot slot_of(int id, enum proto proto, const char *parent_ip, int port)
{
	struct port_slot slot = { .entry.id = id };

	slot.entry.spec.proto = proto;
	slot.entry.spec.parent_port = port;
	slot.entry.spec.child_port = 80;
	snprintf(slot.entry.spec.parent_ip, sizeof(slot.entry.spec.parent_ip), "%s", parent_ip);
	return slot;
}

static void open_port(struct port_slot *slot)
{
	ck_assert_msg(driver->open(data, slot, &e) == 0, "%s", e.msg);
}

static void close_port(struct port_slot *slot)
{
	ck_assert_msg(driver->close(data, slot, &e) == 0, "%s", e.msg);
}

/* Binds a socket to a free port of 127.0.0.1, which it writes to *port. Returns the socket. */
static int take_port(int type, int *port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	if (type == SOCK_STREAM)
		ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	*port = ntohs(sa.sin_port);
	return fd;
}

/* ---- opening and closing ---- */

static const struct {
	enum manner manner;
	enum proto proto;
	const char *parent_ip;
	const char *request;
} good[] = {
	{ BEHAVES, PROTO_TCP, "127.0.0.1", ADD("tcp", "127.0.0.1", "8080") },
	{ BEHAVES, PROTO_TCP4, "", ADD("tcp", "0.0.0.0", "8080") },
	{ BEHAVES, PROTO_UDP, "127.0.0.2", ADD("udp", "127.0.0.2", "8080") },
	{ BEHAVES_SLOWLY, PROTO_UDP4, "", ADD("udp", "0.0.0.0", "8080") },
};

START_TEST(slirp4netns_is_told_to_open_a_port_and_to_close_the_same_one)
{
	struct port_slot first = slot_of(1, good[_i].proto, good[_i].parent_ip, 8080);
	struct port_slot second = slot_of(2, PROTO_TCP, "", 8081);

	start_slirp(good[_i].manner, 41);
	start_driver();
	open_port(&first);
	open_port(&second);
	close_port(&second);
	close_port(&first);
	ck_assert_int_eq(slirp.count, 4);
	ck_assert_str_eq(slirp.requests[0], good[_i].request);
	ck_assert_str_eq(slirp.requests[1], ADD("tcp", "0.0.0.0", "8081"));
	ck_assert_str_eq(slirp.requests[2], REMOVE("42"));
	ck_assert_str_eq(slirp.requests[3], REMOVE("41"));
	stop_driver(NULL, 0);
	stop_slirp();
}
END_TEST

START_TEST(ports_that_are_still_open_are_freed_with_the_driver)
{
	struct port_slot slots[] = { slot_of(1, PROTO_TCP, "", 8080),
				     slot_of(2, PROTO_UDP, "", 8080) };

	start_slirp(BEHAVES, 1);
	start_driver();
	open_port(&slots[0]);
	open_port(&slots[1]);
	stop_driver(slots, 2);
	ck_assert_int_eq(slirp.count, 2); /* they end with slirp4netns */
	stop_slirp();
}
END_TEST

/* The first words are RootlessKit's: its own for what it does not send, slirp4netns' for the rest.
 */
static const struct {
	enum proto proto;
	const char *words;
} unsupported[] = {
	{ PROTO_TCP6, "unsupported protocol \"tcp6\"" },
	{ PROTO_UDP6, "unsupported protocol \"udp6\"" },
	{ PROTO_SCTP, "reply.Error: map[desc:bad request: add_hostfwd: bad arguments.proto]: "
		      "unsupported port protocol sctp" },
};

START_TEST(a_protocol_that_slirp4netns_lacks_is_refused_without_asking_it)
{
	struct port_slot slot = slot_of(1, unsupported[_i].proto, "", 8080);
	char want[256];

	start_driver(); /* nobody serves the socket */
	ck_assert_int_eq(driver->open(data, &slot, &e), -ENOTSUP);
	snprintf(want, sizeof(want),
		 "%s; the slirp4netns port driver takes tcp, tcp4, udp and udp4",
		 unsupported[_i].words);
	ck_assert_str_eq(e.msg, want);
	ck_assert_ptr_null(slot.data);
	stop_driver(NULL, 0);
}
END_TEST

/* ---- refusals ---- */

static const struct {
	int type;
	enum proto proto;
	char letter; /* the option of ss(8) that lists such sockets */
} taken[] = {
	{ SOCK_STREAM, PROTO_TCP, 't' },
	{ SOCK_DGRAM, PROTO_UDP, 'u' },
};

/* slirp4netns does not say why. */
START_TEST(a_refusal_is_explained_by_the_one_who_has_the_port)
{
	struct port_slot slot;
	char want[256];
	int port, fd = take_port(taken[_i].type, &port);

	slot = slot_of(1, taken[_i].proto, "127.0.0.1", port);
	start_slirp(BEHAVES, 1);
	slirp.refused = 0;
	start_driver();
	ck_assert_int_eq(driver->open(data, &slot, &e), -EREMOTEIO);
	snprintf(want, sizeof(want),
		 "reply.Error: map[desc:bad request: add_hostfwd: slirp_add_hostfwd failed]: "
		 "listen %s 127.0.0.1:%d: bind: address already in use; see who has it: "
		 "ss -l%cnp 'sport = :%d' (as root)",
		 proto_name(taken[_i].proto), port, taken[_i].letter, port);
	ck_assert_str_eq(e.msg, want);
	close(fd);
	stop_driver(NULL, 0);
	stop_slirp();
}
END_TEST

static const struct {
	const char *parent_ip;
	const char *advice;
} refused[] = {
	{ "::1", "; slirp4netns forwards IPv4 only; try --port-driver=builtin" },
	{ "203.0.113.1",
	  ": listen tcp 203.0.113.1:0: bind: cannot assign requested address; it is not "
	  "an address of this host (ip addr lists those)" },
	{ "127.0.0.1", "" }, /* it can be bound here */
};

START_TEST(a_refusal_of_an_address_is_explained)
{
	struct port_slot slot = slot_of(1, PROTO_TCP, refused[_i].parent_ip, 0);
	char want[256];

	start_slirp(BEHAVES, 1);
	slirp.refused = 0;
	start_driver();
	ck_assert_int_eq(driver->open(data, &slot, &e), -EREMOTEIO);
	snprintf(want, sizeof(want),
		 "reply.Error: map[desc:bad request: add_hostfwd: slirp_add_hostfwd failed]%s",
		 refused[_i].advice);
	ck_assert_str_eq(e.msg, want);
	stop_driver(NULL, 0);
	stop_slirp();
}
END_TEST

START_TEST(a_port_that_slirp4netns_does_not_close_stays_published)
{
	struct port_slot slot = slot_of(1, PROTO_TCP, "127.0.0.1", 8080);

	start_slirp(BEHAVES, 1);
	slirp.refused = 1;
	start_driver();
	open_port(&slot);
	ck_assert_int_eq(driver->close(data, &slot, &e), -EREMOTEIO);
	close_port(&slot);
	ck_assert_str_eq(slirp.requests[2], REMOVE("1"));
	stop_driver(NULL, 0);
	stop_slirp();
}
END_TEST

/* ---- a slirp4netns that misbehaves ---- */

static const struct {
	enum manner manner;
	const char *words;
	int result; /* after -ETIMEDOUT it is restarted (ports.c) */
	const char *why;
} bad[] = {
	{ SAYS_NOTHING, NULL, -ETIMEDOUT, NO_ANSWER },
	{ SAYS_HALF, NULL, -ETIMEDOUT, NO_ANSWER },
	{ HANGS_UP, NULL, -ENOTCONN, NOT_RUNNING },
	{ HANGS_UP_LATER, NULL, -ENOTCONN, NOT_RUNNING },
	{ SAYS_TOO_MUCH, NULL, -EMSGSIZE, "asking slirp4netns: message too long" },
	{ SAYS, "{\"return\":{\"id", -EPROTO, "asking slirp4netns: the answer is not JSON: " },
	{ SAYS, "HTTP/1.1 400 Bad Request\r\n\r\n", -EPROTO,
	  "asking slirp4netns: the answer is not JSON: " },
	{ SAYS, "{}", -EPROTO,
	  "asking slirp4netns: unexpected answer (neither \"return\" nor \"error\")" },
	{ SAYS, "{\"return\":{}}", -EPROTO, "asking slirp4netns: the answer has no id" },
	{ SAYS, "{\"return\":{\"id\":\"1\"}}", -EPROTO,
	  "asking slirp4netns: the answer has no id" },
};

START_TEST(a_slirp4netns_that_misbehaves_is_reported)
{
	struct port_slot slot = slot_of(1, PROTO_TCP, "127.0.0.1", 8080);

	start_slirp(bad[_i].manner, 1);
	slirp.words = bad[_i].words;
	start_driver();
	ck_assert_msg(driver->open(data, &slot, &e) == bad[_i].result, "%s", e.msg);
	ck_assert_msg(strncmp(e.msg, bad[_i].why, strlen(bad[_i].why)) == 0, "%s", e.msg);
	ck_assert_ptr_null(slot.data);
	stop_driver(NULL, 0);
	stop_slirp();
}
END_TEST

START_TEST(after_a_close_without_an_answer_the_port_is_still_published)
{
	struct port_slot slot = slot_of(1, PROTO_TCP, "127.0.0.1", 8080);

	start_slirp(BEHAVES, 1);
	start_driver();
	open_port(&slot);
	slirp.manner = SAYS_HALF;
	ck_assert_int_eq(driver->close(data, &slot, &e), -ETIMEDOUT);
	ck_assert_str_eq(e.msg, NO_ANSWER);
	ck_assert_ptr_nonnull(slot.data); /* still published */
	stop_driver(&slot, 1);
	stop_slirp();
}
END_TEST

/* ---- restarts ---- */

/* Between its death and its restart the port is closed already. */
START_TEST(without_slirp4netns_a_port_can_only_be_closed)
{
	struct port_slot slot = slot_of(1, PROTO_TCP, "127.0.0.1", 8080), other = slot;

	start_slirp(BEHAVES, 1);
	start_driver();
	open_port(&slot);
	kill_slirp();
	ck_assert_int_eq(driver->open(data, &other, &e), -ENOTCONN);
	ck_assert_str_eq(e.msg, NOT_RUNNING);
	close_port(&slot);
	ck_assert_int_eq(unlink(fixture_path("api")), 0);
	ck_assert_int_eq(driver->open(data, &other, &e), -ENOTCONN);
	ck_assert_str_eq(e.msg, NOT_RUNNING);
	stop_driver(NULL, 0);
}
END_TEST

/* Opens two ports with the IDs 1 and 2. Then restarts slirp4netns with other IDs. */
static void restart_with_ports(struct port_slot slots[2], enum manner manner)
{
	slots[0] = slot_of(1, PROTO_TCP, "127.0.0.1", 8080);
	slots[1] = slot_of(2, PROTO_UDP, "127.0.0.1", 8081);
	start_slirp(BEHAVES, 1);
	start_driver();
	open_port(&slots[0]);
	open_port(&slots[1]);
	stop_slirp();
	start_slirp(manner, 41);
	capture_log(false);
}

static void free_all(void)
{
	release_log();
	stop_driver(NULL, 0);
	stop_slirp();
}

/* Opens two ports again, as ports_restore does. Returns the result of the last attempt. */
static int restore(struct port_slot *slots, struct err *why)
{
	int r = 0;

	driver->forget(&slots[0]);
	driver->forget(&slots[1]);
	for (int i = 0; i < 2 && r != -ENOTCONN && r != -ETIMEDOUT; i++)
		r = driver->open(data, &slots[i], why);
	return r;
}

START_TEST(after_a_restart_ports_are_opened_again)
{
	struct port_slot slots[2];
	struct err why = { "" };

	restart_with_ports(slots, BEHAVES);
	ck_assert_int_eq(restore(slots, &why), 0);
	close_port(&slots[1]);
	close_port(&slots[0]);
	ck_assert_int_eq(slirp.count, 4);
	ck_assert_str_eq(slirp.requests[0], ADD("tcp", "127.0.0.1", "8080"));
	ck_assert_str_eq(slirp.requests[1], ADD("udp", "127.0.0.1", "8081"));
	ck_assert_str_eq(slirp.requests[2], REMOVE("42"));
	ck_assert_str_eq(slirp.requests[3], REMOVE("41"));
	free_all();
}
END_TEST

START_TEST(a_port_that_a_restarted_slirp4netns_refuses_is_reported_and_the_next_one_opened)
{
	struct port_slot slots[2];
	struct err why = { "" };

	restart_with_ports(slots, BEHAVES);
	slirp.refused = 0;
	ck_assert_int_eq(restore(slots, &why), 0);
	ck_assert_ptr_nonnull(strstr(why.msg, "reply.Error"));
	ck_assert_int_eq(slirp.count, 2);
	close_port(&slots[0]); /* nothing is left to be closed */
	ck_assert_int_eq(slirp.count, 2);
	close_port(&slots[1]);
	ck_assert_str_eq(slirp.requests[2], REMOVE("41"));
	free_all();
}
END_TEST

/* Each port would otherwise wait for the deadline. */
START_TEST(a_restarted_slirp4netns_that_fails_again_is_asked_only_once)
{
	static const enum manner manners[] = { SAYS_HALF, HANGS_UP_LATER };
	struct port_slot slots[2];
	struct err why = { "" };

	restart_with_ports(slots, manners[_i]);
	ck_assert_int_lt(restore(slots, &why), 0);
	close_port(&slots[0]);
	close_port(&slots[1]);
	free_all();
	ck_assert_int_eq(slirp.count, 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("slirp4netns");
	TCase *tc = fixture_case_with_dir("ports");

	tcase_add_loop_test(tc, slirp4netns_is_told_to_open_a_port_and_to_close_the_same_one, 0,
			    COUNT(good));
	tcase_add_test(tc, ports_that_are_still_open_are_freed_with_the_driver);
	tcase_add_loop_test(tc, a_protocol_that_slirp4netns_lacks_is_refused_without_asking_it, 0,
			    COUNT(unsupported));
	tcase_add_loop_test(tc, a_refusal_is_explained_by_the_one_who_has_the_port, 0,
			    COUNT(taken));
	tcase_add_loop_test(tc, a_refusal_of_an_address_is_explained, 0, COUNT(refused));
	tcase_add_test(tc, a_port_that_slirp4netns_does_not_close_stays_published);
	suite_add_tcase(s, tc);
	tc = fixture_case_with_dir("failures");
	tcase_add_loop_test(tc, a_slirp4netns_that_misbehaves_is_reported, 0, COUNT(bad));
	tcase_add_test(tc, after_a_close_without_an_answer_the_port_is_still_published);
	tcase_add_test(tc, without_slirp4netns_a_port_can_only_be_closed);
	tcase_add_test(tc, after_a_restart_ports_are_opened_again);
	tcase_add_test(
		tc,
		a_port_that_a_restarted_slirp4netns_refuses_is_reported_and_the_next_one_opened);
	tcase_add_loop_test(tc, a_restarted_slirp4netns_that_fails_again_is_asked_only_once, 0, 2);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
