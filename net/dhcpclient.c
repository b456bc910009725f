/* SPDX-License-Identifier: Apache-2.0 */
/* The states of a DHCP client. See dhcpclient.h.
 *
 *             OFFER                ACK           T1              T2
 *  SELECTING ───────► REQUESTING ───────► BOUND ─────► RENEWING ─────► REBINDING
 *   ▲  ▲  ▲               │                 ▲             │ ACK           │ ACK
 *   │  │  └───────────────┘                 └─────────────┴───────────────┤
 *   │  │  NAK, or no answer                               │ NAK           │ NAK, or
 *   │  └──────────────────────────────────────────────────┘ LOST          │ expired
 *   └─────────────────────────────────────────────────────────────────────┘ LOST
 *
 * The first valid offer is taken. Whoever can answer first on the bridge can be our server, as with
 * every DHCP client. What such a server cannot do is keep us busy or stuck: retransmissions back
 * off, so does asking again after a refusal, and a server that offers and then says nothing is
 * passed over once.
 *
 * A lease begins when we first ask for it, not when the answer comes, so that the server never
 * gives an address away that we still use.
 */
#include "net/dhcpclient.h"

#include <string.h>

#define SECOND UINT64_C(1000)

/* RFC 2131, section 4.1: 4 seconds, twice as many each time, 64 at most, each time changed by up to
 * one second, so that many clients do not ask together for ever. */
#define RETRY_MIN_S   4
#define RETRY_DOUBLES 4 /* 4 s doubled four times is 64 s */
#define JITTER_MS     1000
/* The second DISCOVER comes after one second and up to a quarter of one. If ours is the first link
 * of a bridge, the bridge itself drops the server's answer until the kernel has noticed that it has
 * a carrier, which takes up to a second (net/core/link_watch.c). */
#define SECOND_TRY_MS 1000
#define REQUEST_TRIES 2		    /* requests for an offer: 12 seconds */
#define RENEW_MIN_MS  (60 * SECOND) /* RFC 2131, section 4.4.5: between renewals */
/* A lease is renewed after this time at the earliest: a server that grants a second must not make
 * us send without a pause. */
#define TERM_MIN_MS   SECOND

static uint64_t jitter(const struct dhcpclient *c)
{
	return c->random() % (2 * JITTER_MS + 1);
}

/* The delay after `tries` messages without an answer. */
static uint64_t backoff_ms(const struct dhcpclient *c, unsigned int tries)
{
	unsigned int doubles = tries <= RETRY_DOUBLES ? tries : RETRY_DOUBLES + 1;

	return (RETRY_MIN_S * SECOND << (doubles - 1)) - JITTER_MS + jitter(c);
}

/* ---- asking ---- */

static uint16_t secs_since(uint64_t began_ms, uint64_t now_ms)
{
	uint64_t secs = (now_ms - began_ms) / SECOND;

	return secs < UINT16_MAX ? (uint16_t)secs : UINT16_MAX;
}

/* A step that sends a message to all. */
static struct dhcpclient_step make_step(const struct dhcpclient *c, enum dhcp_type type,
					uint64_t now_ms)
{
	struct dhcpclient_step step = { .sends = true };

	step.msg.type = type;
	step.msg.xid = c->xid;
	step.msg.secs = secs_since(c->began_ms, now_ms);
	memcpy(step.msg.hwaddr, c->hwaddr, DHCP_HWADDR_LEN);
	return step;
}

/* Forgets the lease or offer. The next tick, in `delay_ms`, looks for servers. */
static void select_again(struct dhcpclient *c, uint64_t now_ms, uint64_t delay_ms)
{
	c->state = DHCPCLIENT_SELECTING;
	c->lease = (struct dhcp_reply){ 0 };
	c->xid = c->random();
	c->tries = 0;
	c->began_ms = now_ms;
	c->due_ms = now_ms + delay_ms;
}

static struct dhcpclient_step discover(struct dhcpclient *c, uint64_t now_ms)
{
	c->due_ms = now_ms;
	if (c->tries == 0)
		c->due_ms += SECOND_TRY_MS + jitter(c) / 8;
	else
		c->due_ms += backoff_ms(c, c->tries);
	c->tries++;
	return make_step(c, DHCP_DISCOVER, now_ms);
}

static struct dhcpclient_step request(struct dhcpclient *c, uint64_t now_ms)
{
	struct dhcpclient_step step = make_step(c, DHCP_REQUEST, now_ms);

	c->due_ms = now_ms + backoff_ms(c, ++c->tries);
	step.msg.requested = c->lease.addr;
	step.msg.server = c->lease.server;
	return step;
}

/* Asks again for an offer that nobody has confirmed, or gives it up. */
static struct dhcpclient_step request_again(struct dhcpclient *c, uint64_t now_ms)
{
	if (c->tries < REQUEST_TRIES)
		return request(c, now_ms);
	c->silent = c->lease.server;
	select_again(c, now_ms, 0);
	return discover(c, now_ms);
}

/* ---- keeping ---- */

/* The time of the next message, when the state ends at `end_ms`: RFC 2131, section 4.4.5. */
static uint64_t next_renewal(uint64_t now_ms, uint64_t end_ms)
{
	uint64_t half_ms = (end_ms - now_ms) / 2;
	uint64_t next_ms = now_ms + (half_ms > RENEW_MIN_MS ? half_ms : RENEW_MIN_MS);

	return next_ms < end_ms ? next_ms : end_ms;
}

static void enter(struct dhcpclient *c, enum dhcpclient_state state, uint64_t now_ms)
{
	if (c->state == DHCPCLIENT_BOUND) {
		c->xid = c->random();
		c->began_ms = c->asked_ms = now_ms;
	}
	c->state = state;
}

static struct dhcpclient_step renew(struct dhcpclient *c, uint64_t now_ms)
{
	bool rebinds = now_ms >= c->rebind_ms;
	struct dhcpclient_step step;

	enter(c, rebinds ? DHCPCLIENT_REBINDING : DHCPCLIENT_RENEWING, now_ms);
	c->due_ms = next_renewal(now_ms, rebinds ? c->expire_ms : c->rebind_ms);
	step = make_step(c, DHCP_REQUEST, now_ms);
	step.msg.client = c->lease.addr;
	step.to_server = !rebinds;
	return step;
}

/* The lease is over. Looks for a new one at once. */
static struct dhcpclient_step lose(struct dhcpclient *c, uint64_t now_ms)
{
	struct dhcpclient_step step;

	select_again(c, now_ms, 0);
	step = discover(c, now_ms);
	step.change = DHCPCLIENT_LOST;
	return step;
}

/* Sets the times of a lease. The server's T1 and T2 count if they are in order; the usual ones are
 * half of the lease, and seven eighths. T1 is a little earlier each time. */
static void set_times(struct dhcpclient *c, uint64_t now_ms)
{
	const struct dhcp_reply *m = &c->lease;
	uint64_t lease_ms = m->lease_s * SECOND;
	uint64_t t1_ms = lease_ms / 2, t2_ms = lease_ms / 8 * 7;

	if (m->lease_s == DHCP_FOREVER) {
		c->renew_ms = c->rebind_ms = c->expire_ms = DHCPCLIENT_NEVER;
		return;
	}
	if (m->renew_s > 0 && m->renew_s <= m->rebind_s && m->rebind_s <= m->lease_s) {
		t1_ms = m->renew_s * SECOND;
		t2_ms = m->rebind_s * SECOND;
	}
	t1_ms -= c->random() % (t1_ms / 64 + 1);
	c->renew_ms = c->asked_ms + t1_ms;
	if (c->renew_ms < now_ms + TERM_MIN_MS)
		c->renew_ms = now_ms + TERM_MIN_MS;
	c->rebind_ms = c->asked_ms + t2_ms;
	if (c->rebind_ms < c->renew_ms)
		c->rebind_ms = c->renew_ms;
	c->expire_ms = c->asked_ms + lease_ms;
	if (c->expire_ms < c->rebind_ms)
		c->expire_ms = c->rebind_ms;
}

static struct dhcpclient_step bind_lease(struct dhcpclient *c, const struct dhcp_reply *m,
					 uint64_t now_ms)
{
	c->lease = *m;
	c->state = DHCPCLIENT_BOUND;
	c->refusals = 0;
	c->silent.s_addr = 0;
	set_times(c, now_ms);
	c->due_ms = c->renew_ms;
	return (struct dhcpclient_step){ .change = DHCPCLIENT_GAINED };
}

/* ---- answers ---- */

static struct dhcpclient_step take_offer(struct dhcpclient *c, const struct dhcp_reply *m,
					 uint64_t now_ms)
{
	/* another server gets its chance first */
	if (c->tries <= 1 && m->server.s_addr == c->silent.s_addr)
		return (struct dhcpclient_step){ 0 };
	c->lease = *m;
	c->state = DHCPCLIENT_REQUESTING;
	c->tries = 0;
	c->asked_ms = now_ms;
	return request(c, now_ms);
}

/* May this server confirm or refuse what we ask for? In REBINDING we ask all servers. */
static bool is_asked(const struct dhcpclient *c, const struct dhcp_reply *m)
{
	return c->state == DHCPCLIENT_REBINDING || m->server.s_addr == c->lease.server.s_addr;
}

static struct dhcpclient_step take_ack(struct dhcpclient *c, const struct dhcp_reply *m,
				       uint64_t now_ms)
{
	/* Nobody may give us another address than the one that we ask for. */
	if (!is_asked(c, m) || m->addr.s_addr != c->lease.addr.s_addr)
		return (struct dhcpclient_step){ 0 };
	return bind_lease(c, m, now_ms);
}

/* The first time, asks again at once: the offer may just have been too old. */
static struct dhcpclient_step take_nak(struct dhcpclient *c, const struct dhcp_reply *m,
				       uint64_t now_ms)
{
	if (!is_asked(c, m))
		return (struct dhcpclient_step){ 0 };
	if (c->state != DHCPCLIENT_REQUESTING)
		return lose(c, now_ms);
	select_again(c, now_ms, c->refusals > 0 ? backoff_ms(c, c->refusals) : 0);
	c->refusals++;
	return (struct dhcpclient_step){ 0 };
}

/* ---- events ---- */

void dhcpclient_start(struct dhcpclient *c, const unsigned char *hwaddr, uint32_t (*random)(void),
		      uint64_t now_ms)
{
	*c = (struct dhcpclient){ .random = random };
	memcpy(c->hwaddr, hwaddr, DHCP_HWADDR_LEN);
	select_again(c, now_ms, 0);
}

struct dhcpclient_step dhcpclient_tick(struct dhcpclient *c, uint64_t now_ms)
{
	if (now_ms < c->due_ms)
		return (struct dhcpclient_step){ 0 };
	if (c->state == DHCPCLIENT_SELECTING)
		return discover(c, now_ms);
	if (c->state == DHCPCLIENT_REQUESTING)
		return request_again(c, now_ms);
	return now_ms >= c->expire_ms ? lose(c, now_ms) : renew(c, now_ms);
}

struct dhcpclient_step dhcpclient_receive(struct dhcpclient *c, const struct dhcp_reply *m,
					  uint64_t now_ms)
{
	bool asks = c->state != DHCPCLIENT_SELECTING && c->state != DHCPCLIENT_BOUND;

	if (m->xid != c->xid || memcmp(m->hwaddr, c->hwaddr, DHCP_HWADDR_LEN) != 0)
		return (struct dhcpclient_step){ 0 };
	if (m->type == DHCP_OFFER && c->state == DHCPCLIENT_SELECTING && c->tries > 0)
		return take_offer(c, m, now_ms);
	if (m->type == DHCP_ACK && asks)
		return take_ack(c, m, now_ms);
	if (m->type == DHCP_NAK && asks)
		return take_nak(c, m, now_ms);
	return (struct dhcpclient_step){ 0 };
}

struct dhcpclient_step dhcpclient_release(struct dhcpclient *c)
{
	struct dhcpclient_step step = { 0 };

	if (c->state < DHCPCLIENT_BOUND)
		return step;
	c->xid = c->random();
	step = make_step(c, DHCP_RELEASE, c->began_ms);
	step.to_server = true;
	step.msg.client = c->lease.addr;
	step.msg.server = c->lease.server;
	return step;
}
