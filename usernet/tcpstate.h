/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_TCPSTATE_H
#define USERNET_TCPSTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/packet.h"
#include "usernet/hostsock.h"
#include "usernet/tcpgaps.h"
#include "usernet/tcpwire.h"

/* The state of a TCP connection that a program inside has opened. tcpflow.h says what it means;
 * only tcpflow.c, tcpin.c and tcpout.c change it.
 */

enum tcpflow_state {
	TCPFLOW_CONNECTING, /* the host's connect is under way */
	TCPFLOW_SYN_RCVD,   /* our SYN is not acknowledged */
	TCPFLOW_OPEN,
	TCPFLOW_TIME_WAIT, /* acknowledges the inside's FIN again if our ACK was lost */
	TCPFLOW_DEAD,	   /* to be freed */
};

struct tcpflow_id {
	struct packet_addrs addrs;   /* src: inside; dst: what the program inside connects to */
	uint16_t src_port, dst_port; /* in host byte order */
};

/* What is sent to the inside. */
struct tcpflow_out {
	uint32_t una, nxt,
		max;	 /* the oldest not acknowledged, the next to send, the highest sent + 1 */
	uint32_t fin;	 /* sequence number of our FIN, if fin_sent */
	uint32_t window; /* bytes that the inside takes from `una` on */
	uint32_t window_max; /* the largest so far */
	uint32_t wl;	     /* sequence number of the segment that set `window` */
	uint32_t mss;	     /* bytes of data in a segment on the wire */
	int scale;	     /* of the inside's windows; TCPSEG_NO_SCALE: none are scaled */
	uint32_t cwnd, ssthresh, recover; /* RFC 5681, RFC 6582 */
	unsigned int dupacks;
	bool recovering;
	size_t acked;	/* bytes acknowledged, but still in the host's socket */
	uint32_t timed; /* the RTT is measured until this is acknowledged */
	bool is_timed;
	unsigned long long timed_ms;
	unsigned int srtt_ms8,
		rttvar_ms4; /* smoothed, times 8 and times 4 (RFC 6298); 0: not measured */
	unsigned int rto_ms;
	unsigned long long since_ms; /* when the timer began: it runs while something is not
					acknowledged, or while the window is closed */
	unsigned int retries;	     /* timeouts without progress; each doubles the next timeout */
	unsigned int unanswered;     /* timeouts without any segment from inside */
};

/* What is received from the inside. */
struct tcpflow_in {
	uint32_t irs;	  /* sequence number of its SYN */
	uint32_t nxt;	  /* the next expected */
	uint32_t edge;	  /* right edge of the window that we have advertised; never moves back */
	uint32_t acked;	  /* what we have acknowledged */
	uint32_t offered; /* bytes of the window when it was last set */
	uint16_t answers; /* how many times in a row the host has answered at once */
	uint16_t answers_needed;       /* before an acknowledgement waits for the answer */
	unsigned long long asked_ms;   /* when the data came that the host has not answered yet; 0:
					  none */
	unsigned long long ack_due_ms; /* until when an acknowledgement waits; 0: none waits */
	/* Data that was inside of the window, but that the host's socket did not take. */
	uint8_t *kept;
	size_t kept_at, kept_len;
	struct tcpgaps *gaps; /* what came before its time */
};

struct tcpflow {
	struct tcpflow_id id;
	uint8_t mac[ETH_ALEN]; /* of the inside */
	enum tcpflow_state state;
	struct tcpwire *wire; /* borrowed */
	struct hostsock host;
	struct tcpflow_out out;
	struct tcpflow_in in;
	bool readable;	 /* the host's socket may have something to read after `out.nxt` */
	bool is_special; /* it has an end, an error or urgent data, so a short read may not be the
			    last */
	bool wants_room; /* its buffer is nearly full: POLLOUT follows */
	bool sacks;	 /* the inside understands selective acknowledgements */
	bool eof;	 /* the host has sent everything */
	bool ack_now;	 /* the next flush must acknowledge something */
	bool fin_received, fin_sent, fin_acked, fin_passed;
	bool closed_first; /* our FIN was sent before the inside's was received */
	int broken; /* errno: the host's socket takes nothing more, and what can still be read of it
		       is delivered before the inside gets a reset; 0: it works */
	unsigned int challenges; /* answers since challenged_ms to segments that do not fit */
	unsigned long long challenged_ms;
	unsigned long long now_ms;    /* of the last call */
	unsigned long long active_ms; /* of the last segment from inside */
	unsigned long long due_ms;    /* when to call tcpflow_on_timer; 0: never */
};

/* The limit of the time without any segment after which the inside is asked whether it is still
 * there. */
#define TCPFLOW_IDLE_MS	     600000
#define TCPFLOW_TIME_WAIT_MS 10000

#endif
