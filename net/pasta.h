/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_PASTA_H
#define NET_PASTA_H

#include "net/netprog.h"

/* The network driver pasta, see pasta(1). */
extern const struct netprog_driver pasta_driver;

/* What some versions know and others do not. */
enum pasta_feature {
	PASTA_STDERR = 1 << 0,		 /* logs to standard error only if it is asked to */
	PASTA_HOST_LO_TO_NS_LO = 1 << 1, /* can lead the host's loopback to that inside */
	PASTA_CONFIG_NET = 1 << 2, /* sets up the interface; a program without it is no pasta */
};

/* Reads them off the text of its --help. Returns a set of enum pasta_feature. */
unsigned int pasta_features(const char *help);

#endif
