/* SPDX-License-Identifier: Apache-2.0 */

/* Reassembly of fragments. */
#include "tests/unit/loopclock.h"
#include "tests/unit/usernet/taplink.h"
#include "usernet/frags.h"

#include <netinet/ip.h>
#include <pthread.h>

#define V4_PAYLOAD_MAX (PACKET_IP_MAX - 20)
#define V6_PAYLOAD_MAX PACKET_IP_MAX

#define QUEUES 3

static struct frags *f;
static struct frags_queue queues[QUEUES];
static struct frags_queue *queue; /* that gets the next fragment */
static struct packet_addrs addrs;
static uint8_t payload[PACKET_IP_MAX];

static void open_table(void)
{
	loop = loop_new(LOOP_EPOLL);
	f = frags_new();
	ck_assert_ptr_nonnull(f);
	for (int i = 0; i < QUEUES; i++)
		frags_attach(&queues[i], f, loop);
	queue = queues;
	addrs = addrs_of("10.0.2.100", "192.0.2.1");
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 2654435761U >> 11);
}

static void close_table(void)
{
	for (int i = 0; i < QUEUES; i++)
		frags_detach(&queues[i]);
	frags_free(f);
	loop_free(loop);
}

/* A fragment: the bytes of `payload` at its place */
struct piece {
	size_t at, len;
	bool more;
};

static const struct packet_head head_template = { .src_mac = taplink_inside_mac,
						  .dst_mac = taplink_inside_mac,
						  .proto = IPPROTO_UDP,
						  .hops = 7 };

/* Gives a fragment to the table. Returns true if it completes a packet. */
static bool give_as(const struct packet_head *like, const uint8_t *bytes, struct piece piece,
		    struct packet *p)
{
	static char frame[TAPLINK_FRAME_MAX + 8];
	struct packet_head head = *like;
	size_t n;

	head.fragment_at = piece.at;
	head.has_more = piece.more;
	n = packet_put_fragment_head((uint8_t *)frame, &head, piece.len);
	memcpy(frame + n, bytes, piece.len);
	n += piece.len;
	ck_assert_int_eq(packet_read(p, (uint8_t *)fixture_exact_copy(frame, n), n), PACKET_IP);
	ck_assert(p->is_fragment);
	return frags_on_packet(queue, p);
}

static bool give_id(uint32_t id, struct piece piece, struct packet *p)
{
	struct packet_head head = head_template;

	head.addrs = addrs;
	head.fragment_id = id;
	return give_as(&head, payload + piece.at, piece, p);
}

static bool give(size_t at, size_t len, bool more)
{
	struct packet p;

	return give_id(1, (struct piece){ at, len, more }, &p);
}

static void check_whole(const struct packet *p, size_t len)
{
	ck_assert(!p->is_fragment);
	ck_assert_mem_eq(&p->addrs, &addrs, sizeof(addrs));
	ck_assert_mem_eq(p->src_mac, taplink_inside_mac, ETH_ALEN);
	ck_assert_uint_eq(p->proto, IPPROTO_UDP);
	ck_assert_uint_eq(p->hops, 7);
	ck_assert_uint_eq(p->payload_len, len);
	ck_assert_mem_eq(p->payload, payload, len);
	ck_assert_uint_eq(p->ip_len, len + (packet_is_v4(&addrs) ? 20 : 40));
}

/* ---- complete packets ---- */

static const char *const families[][2] = { { "10.0.2.100", "192.0.2.1" },
					   { "fd00::100", "2001:db8::1" } };

START_TEST(fragments_in_any_order_make_the_packet)
{
	static const struct piece pieces[] = { { 0, 16, true }, { 16, 8, true }, { 24, 5, false } };
	static const int orders[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
					 { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
	struct packet p;

	addrs = addrs_of(families[_i][0], families[_i][1]);
	for (int i = 0; i < COUNT(orders); i++) {
		ck_assert(!give_id(1, pieces[orders[i][0]], &p));
		ck_assert(!give_id(1, pieces[orders[i][1]], &p));
		ck_assert(give_id(1, pieces[orders[i][2]], &p));
		check_whole(&p, 29);
	}
}
END_TEST

START_TEST(the_longest_packet_is_put_together)
{
	struct packet p;
	size_t max, at;

	addrs = addrs_of(families[_i][0], families[_i][1]);
	max = packet_is_v4(&addrs) ? V4_PAYLOAD_MAX : V6_PAYLOAD_MAX;
	for (at = 0; at + 1480 < max; at += 1480)
		ck_assert(!give_id(1, (struct piece){ at, 1480, true }, &p));
	ck_assert(give_id(1, (struct piece){ at, max - at, false }, &p));
	check_whole(&p, max);
}
END_TEST

/* The smallest fragments that there are */
START_TEST(tiny_fragments_are_put_together)
{
	struct packet p;

	for (size_t at = 8; at < 65000; at += 8)
		ck_assert(!give(at, 8, at + 8 < 65000));
	ck_assert(give_id(1, (struct piece){ 0, 8, true }, &p));
	check_whole(&p, 65000);
}
END_TEST

START_TEST(the_same_id_may_be_used_again)
{
	struct packet p;

	for (int i = 0; i < 100; i++) {
		ck_assert(!give(0, 8, true));
		ck_assert(give_id(1, (struct piece){ 8, 1, false }, &p));
		check_whole(&p, 9);
	}
}
END_TEST

static const struct {
	const char *src, *dst;
	uint32_t id;
	uint8_t proto;
} others[] = {
	{ "10.0.2.101", "192.0.2.1", 1, IPPROTO_UDP },
	{ "10.0.2.100", "192.0.2.2", 1, IPPROTO_UDP },
	{ "10.0.2.100", "192.0.2.1", 2, IPPROTO_UDP },
	{ "10.0.2.100", "192.0.2.1", 1, IPPROTO_ICMP },
};

START_TEST(fragments_of_different_packets_are_not_mixed)
{
	struct packet_head head = head_template;
	struct packet p;

	ck_assert(!give(0, 8, true));
	head.addrs = addrs_of(others[_i].src, others[_i].dst);
	head.fragment_id = others[_i].id;
	head.proto = others[_i].proto;
	ck_assert(!give_as(&head, payload, (struct piece){ 8, 8, false }, &p));
	ck_assert(give_id(1, (struct piece){ 8, 8, false }, &p));
	check_whole(&p, 16);
}
END_TEST

/* RFC 8200 4.5: the protocol is that of the first fragment. The extension headers that follow it
 * belong to the payload. */
START_TEST(extension_headers_of_ipv6_are_skipped)
{
	uint8_t bytes[24] = { IPPROTO_UDP, 0, 1, 4, [8] = 'u', [23] = 'p' };
	struct packet_head head = head_template;
	struct packet p;

	head.addrs = addrs_of("fd00::100", "2001:db8::1");
	head.proto = IPPROTO_TCP; /* a later fragment */
	ck_assert(!give_as(&head, bytes + 16, (struct piece){ 16, 8, false }, &p));
	head.proto = IPPROTO_DSTOPTS;
	ck_assert(give_as(&head, bytes, (struct piece){ 0, 16, true }, &p));
	ck_assert_uint_eq(p.proto, IPPROTO_UDP);
	ck_assert_uint_eq(p.payload_len, 16);
	ck_assert_mem_eq(p.payload, bytes + 8, 16);
}
END_TEST

/* A fragment header in a fragmented packet */
START_TEST(nested_fragments_are_dropped)
{
	const uint8_t bytes[16] = { IPPROTO_UDP, 0, 0, 1 };
	struct packet_head head = head_template;
	struct packet p;

	head.addrs = addrs_of("fd00::100", "2001:db8::1");
	head.proto = IPPROTO_FRAGMENT;
	ck_assert(!give_as(&head, bytes, (struct piece){ 0, 8, true }, &p));
	ck_assert(!give_as(&head, bytes + 8, (struct piece){ 8, 8, false }, &p));
}
END_TEST

/* ---- what drops a packet ---- */

START_TEST(a_copy_of_a_fragment_is_ignored)
{
	struct packet p;

	ck_assert(!give(8, 16, true));
	ck_assert(!give(8, 16, true));
	ck_assert(!give(24, 3, false));
	ck_assert(!give(24, 3, false));
	ck_assert(!give(8, 16, true));
	ck_assert(give_id(1, (struct piece){ 0, 8, true }, &p));
	check_whole(&p, 27);
}
END_TEST

/* The first two fragments are those at 0 and at 24, 16 bytes each. */
static const struct piece overlaps[] = {
	{ 8, 8, true },					      /* inside */
	{ 8, 16, true },				      /* the end of one */
	{ 16, 16, true },				      /* the beginning of one */
	{ 8, 24, true },				      /* both */
	{ 0, 8, true },					      /* the beginning of one, alone */
	{ 0, 24, true },				      /* one, and more */
	{ 0, 40, true },				      /* all */
	{ 24, 8, true },   { 32, 8, true }, { 16, 8, false }, /* an end before what has arrived */
	{ 24, 15, false },				      /* inside of it */
};

START_TEST(overlapping_fragments_drop_the_packet)
{
	struct piece piece = overlaps[_i];
	struct packet p;

	ck_assert(!give(0, 16, true));
	ck_assert(!give(24, 16, true));
	ck_assert(!give_id(1, piece, &p));
	/* What is still to come is dropped, too (RFC 5722 3). */
	ck_assert(!give(16, 8, true));
	ck_assert(!give(40, 8, false));
	ck_assert(!give(0, 16, true));
	/* Others are not affected. */
	ck_assert(!give_id(2, (struct piece){ 0, 8, true }, &p));
	ck_assert(give_id(2, (struct piece){ 8, 8, false }, &p));
}
END_TEST

START_TEST(a_copy_with_other_bytes_drops_the_packet)
{
	struct packet_head head = head_template;
	struct packet p;

	head.addrs = addrs;
	head.fragment_id = 1;
	ck_assert(!give(0, 16, true));
	ck_assert(!give_as(&head, payload + 1, (struct piece){ 0, 16, true }, &p));
	ck_assert(!give(16, 8, false));
}
END_TEST

static const struct piece ends[] = { { 16, 8, true }, { 24, 8, false }, { 8, 5, false },
				     { 0, 24, true }, { 16, 1, false }, { 16, 2, false } };

/* The first fragment that arrives is the last one of the packet: 3 bytes at 16. */
START_TEST(a_contradicting_end_drops_the_packet)
{
	struct packet p;

	ck_assert(!give(16, 3, false));
	ck_assert(!give_id(1, ends[_i], &p));
	ck_assert(!give(0, 16, true));
	ck_assert(!give(16, 3, false));
}
END_TEST

/* ---- bounds ---- */

START_TEST(a_new_packet_pushes_the_oldest_out)
{
	struct packet p;

	for (uint32_t id = 0; id <= FRAGS_MAX; id++)
		ck_assert(!give_id(id, (struct piece){ 0, 8, true }, &p));
	for (uint32_t id = FRAGS_MAX; id > 0; id--) {
		ck_assert(give_id(id, (struct piece){ 8, 8, false }, &p));
		check_whole(&p, 16);
	}
	ck_assert(!give_id(0, (struct piece){ 8, 8, false }, &p));
}
END_TEST

START_TEST(a_packet_that_stays_incomplete_is_forgotten)
{
	struct packet p;

	ck_assert(!give(0, 8, true));
	skip_ms(FRAGS_MS / 2);
	ck_assert(!give_id(2, (struct piece){ 0, 8, true }, &p));
	skip_ms(FRAGS_MS / 2 + 100);
	ck_assert(!give(8, 8, false)); /* begins again */
	ck_assert(give_id(2, (struct piece){ 8, 8, false }, &p));
	ck_assert(give(0, 8, true));
}
END_TEST

/* A dropped packet is forgotten like others, so that its ID can be used again. */
START_TEST(a_dropped_packet_is_forgotten)
{
	ck_assert(!give(0, 16, true));
	ck_assert(!give(8, 16, true));
	skip_ms(FRAGS_MS + 100);
	ck_assert(!give(0, 16, true));
	ck_assert(give(16, 8, false));
}
END_TEST

START_TEST(the_timer_of_any_queue_forgets_all_packets)
{
	struct packet p;

	ck_assert(!give(0, 8, true));
	queue = &queues[1];
	ck_assert(!give_id(2, (struct piece){ 0, 8, true }, &p));
	frags_detach(&queues[0]); /* and its timer */
	skip_ms(FRAGS_MS + 100);
	ck_assert(!give(8, 8, false)); /* begins again */
	ck_assert(!give_id(2, (struct piece){ 8, 8, false }, &p));
	ck_assert(give(0, 8, true));
	ck_assert(give_id(2, (struct piece){ 0, 8, true }, &p));
}
END_TEST

START_TEST(a_packet_stays_valid_until_the_next_call)
{
	struct packet p, q;

	ck_assert(!give_id(1, (struct piece){ 0, 8, true }, &p));
	ck_assert(!give_id(2, (struct piece){ 0, 8, true }, &p));
	ck_assert(give_id(1, (struct piece){ 8, 8, false }, &p));
	check_whole(&p, 16);
	ck_assert(give_id(2, (struct piece){ 8, 80, false }, &q));
	check_whole(&q, 88);
}
END_TEST

/* ---- several queues ---- */

START_TEST(fragments_from_several_queues_make_the_packet)
{
	struct packet p, q;

	for (int i = 0; i < 100; i++) {
		queue = &queues[i % QUEUES];
		ck_assert(!give(8, 8, true));
		queue = &queues[(i + 1) % QUEUES];
		ck_assert(!give(16, 3, false));
		ck_assert(!give_id(2, (struct piece){ 0, 8, true }, &p));
		ck_assert(give_id(1, (struct piece){ 0, 8, true }, &p));
		/* The packet stays valid while other queues go on. */
		queue = &queues[(i + 2) % QUEUES];
		ck_assert(give_id(2, (struct piece){ 8, 80, false }, &q));
		check_whole(&q, 88);
		check_whole(&p, 19);
	}
}
END_TEST

#define ROUNDS	  200
#define AT_ONCE	  16 /* packets of a round */
#define PIECE_LEN 1480

static pthread_barrier_t round_begins;

/* A queue: gives its piece of each packet to the table. Returns how many packets it has completed,
 * or 0 if one of them was wrong. */
static void *run_queue(void *arg)
{
	struct frags_queue *q = arg;
	const size_t at = (size_t)(q - queues) * PIECE_LEN;
	struct packet_head head = head_template;
	static _Thread_local uint8_t frame[TAPLINK_FRAME_MAX];
	uintptr_t completed = 0;
	bool is_right = true;

	head.addrs = addrs_of("10.0.2.100", "192.0.2.1");
	head.fragment_at = at;
	head.has_more = q != &queues[QUEUES - 1];
	for (uint32_t i = 0; i < ROUNDS * AT_ONCE; i++) {
		size_t n;
		struct packet p;

		if (i % AT_ONCE == 0)
			pthread_barrier_wait(&round_begins);
		head.fragment_id = i;
		n = packet_put_fragment_head(frame, &head, PIECE_LEN);
		memcpy(frame + n, payload + at, PIECE_LEN);
		if (packet_read(&p, frame, n + PIECE_LEN) != PACKET_IP || !frags_on_packet(q, &p))
			continue;
		is_right = is_right && p.payload_len == QUEUES * PIECE_LEN &&
			   memcmp(p.payload, payload, p.payload_len) == 0;
		completed++;
	}
	return (void *)(is_right ? completed : 0);
}

/* Each packet is completed once, by the queue that gives the last fragment. */
START_TEST(queues_of_several_threads_share_the_table)
{
	struct loop *loops[QUEUES];
	pthread_t threads[QUEUES];
	uintptr_t sum = 0;
	void *completed;

	ck_assert_int_eq(pthread_barrier_init(&round_begins, NULL, QUEUES), 0);
	for (int i = 0; i < QUEUES; i++) {
		loops[i] = loop_new(LOOP_EPOLL);
		frags_attach(&queues[i], f, loops[i]);
	}
	for (int i = 0; i < QUEUES; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, run_queue, &queues[i]), 0);
	for (int i = 0; i < QUEUES; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &completed), 0);
		sum += (uintptr_t)completed;
	}
	ck_assert_uint_eq(sum, ROUNDS * AT_ONCE);
	for (int i = 0; i < QUEUES; i++) {
		frags_detach(&queues[i]);
		loop_free(loops[i]);
	}
	pthread_barrier_destroy(&round_begins);
}
END_TEST

/* ---- a model ---- */

static uint64_t state;

static uint32_t below(uint32_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16) % n;
}

/* What must happen to one packet: it is complete when all bytes up to its end have arrived, and
 * dropped at the first fragment that overlaps without being a copy. */
struct model {
	struct piece pieces[64];
	size_t count, len;
	bool dropped;
};

static bool model_takes(struct model *m, struct piece piece)
{
	size_t end = piece.at + piece.len, sum = 0;

	for (size_t i = 0; i < m->count; i++) {
		const struct piece *o = &m->pieces[i];

		if (o->at == piece.at && o->len == piece.len && o->more == piece.more)
			return false;
		if ((piece.at < o->at + o->len && o->at < end) ||
		    (!piece.more && o->at + o->len > end) || (!o->more && end > o->at + o->len))
			m->dropped = true;
		sum += o->len;
	}
	if (m->dropped)
		return false;
	m->pieces[m->count++] = piece;
	if (!piece.more)
		m->len = end;
	return m->len != 0 && sum + piece.len == m->len;
}

/* Draws fragments of one packet: those of a plan in any order, some twice, and seldom one that does
 * not belong. */
static struct piece draw_piece(size_t units, size_t step)
{
	size_t at = below((uint32_t)units) / step * step;
	size_t len = at + step < units ? step : units - at;
	struct piece piece = { at * 8, len * 8, at + len < units };

	if (!piece.more)
		piece.len -= 3;
	switch (below(200)) {
	case 0:
		piece.at += 8;
		break;
	case 1:
		piece.len = piece.more ? piece.len + 8 : piece.len + 1;
		break;
	case 2:
		piece.len -= piece.more && piece.len > 8 ? 8 : 0;
		break;
	default:
		break;
	}
	return piece;
}

static void run_model(uint32_t number)
{
	size_t units = 2 + below(60), step = 1 + below(8);
	struct model m = { .count = 0 };
	struct packet p;

	addrs = addrs_of(families[number % 2][0], families[number % 2][1]);
	for (int i = 0; i < 300; i++) {
		struct piece piece = draw_piece(units, step);
		bool done;

		if (piece.at == 0 && !piece.more)
			continue; /* not a fragment */
		done = !m.dropped && model_takes(&m, piece);
		ck_assert_msg(give_id(number, piece, &p) == done, "packet %u, fragment %d", number,
			      i);
		if (!done)
			continue;
		check_whole(&p, m.len);
		m = (struct model){ .count = 0 };
	}
}

#define MODEL_RUNS 300

START_TEST(random_fragments_do_what_a_model_does)
{
	state = 88172645463325252U;
	for (uint32_t i = 0; i < MODEL_RUNS; i++)
		run_model(i);
}
END_TEST

START_TEST(freeing_nothing_is_fine)
{
	frags_free(NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("frags");
	TCase *tc = fixture_case("frags");

	tcase_add_checked_fixture(tc, open_table, close_table);
	tcase_add_loop_test(tc, fragments_in_any_order_make_the_packet, 0, COUNT(families));
	tcase_add_loop_test(tc, the_longest_packet_is_put_together, 0, COUNT(families));
	tcase_add_test(tc, tiny_fragments_are_put_together);
	tcase_add_test(tc, the_same_id_may_be_used_again);
	tcase_add_loop_test(tc, fragments_of_different_packets_are_not_mixed, 0, COUNT(others));
	tcase_add_test(tc, extension_headers_of_ipv6_are_skipped);
	tcase_add_test(tc, nested_fragments_are_dropped);
	tcase_add_test(tc, a_copy_of_a_fragment_is_ignored);
	tcase_add_loop_test(tc, overlapping_fragments_drop_the_packet, 0, COUNT(overlaps));
	tcase_add_test(tc, a_copy_with_other_bytes_drops_the_packet);
	tcase_add_loop_test(tc, a_contradicting_end_drops_the_packet, 0, COUNT(ends));
	tcase_add_test(tc, a_new_packet_pushes_the_oldest_out);
	tcase_add_test(tc, a_packet_that_stays_incomplete_is_forgotten);
	tcase_add_test(tc, a_dropped_packet_is_forgotten);
	tcase_add_test(tc, the_timer_of_any_queue_forgets_all_packets);
	tcase_add_test(tc, a_packet_stays_valid_until_the_next_call);
	tcase_add_test(tc, fragments_from_several_queues_make_the_packet);
	tcase_add_test(tc, queues_of_several_threads_share_the_table);
	tcase_add_test(tc, random_fragments_do_what_a_model_does);
	tcase_add_test(tc, freeing_nothing_is_fine);
	suite_add_tcase(s, tc);
	return fixture_run(s);
}
