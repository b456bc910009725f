/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OFFER_H
#define OFFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "bpreq.h"
#include "portspec.h"

/* A published port, as all workers see it. */
struct offer {
	int id;			      /* unique among the ports, growing */
	char name[PORTSPEC_TEXT_LEN]; /* "127.0.0.1:8080/tcp" */
	int listen_fd;		      /* borrowed */
	struct bpreq target;	      /* what to ask the child for */
	size_t worker;		      /* the crew's: which one has a port of UDP */
	_Atomic bool everywhere;      /* all workers serve it: clients may be handed over */
	_Atomic unsigned long long complained_ms; /* when offer_complain has logged last */
};

/* Names the port for log lines, by its address on the host. */
void offer_name(struct offer *o, const struct portspec *spec);

/* Warns that clients of the port get no connection to `to` (AF_UNSPEC if that is not known) for the
 * reason `errnum`, of which `reason` is the text: at most once a minute for each port. Cheap when
 * it logs nothing. Any thread. */
void offer_complain(struct offer *o, const struct sockaddr_storage *to, int errnum,
		    const char *reason);

#endif
