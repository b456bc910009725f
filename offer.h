/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OFFER_H
#define OFFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "bpreq.h"

/* A published port, as all workers see it. */
struct offer {
	int id;			 /* unique among the ports, growing */
	int listen_fd;		 /* borrowed */
	struct bpreq target;	 /* what to ask the child for */
	size_t worker;		 /* the crew's: which one has a port of UDP */
	_Atomic bool everywhere; /* all workers serve it: clients may be handed over */
};

#endif
