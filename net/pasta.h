/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_PASTA_H
#define NET_PASTA_H

#include "net/netprog.h"

/* The network driver "pasta", see pasta(1). */
extern const struct netprog_driver pasta_driver;

/* Features that only some versions of pasta have. */
enum pasta_feature {
	PASTA_STDERR = 1 << 0,		 /* needs --stderr to log to standard error */
	PASTA_HOST_LO_TO_NS_LO = 1 << 1, /* can map the host's loopback to the loopback inside */
	PASTA_CONFIG_NET = 1 << 2,	 /* can configure the interface; required */
	PASTA_CONF_PATH = 1 << 3,	 /* ports can be changed while it runs */
};

/* Finds the features in `help`, the output of --help. Returns a set of enum pasta_feature. */
unsigned int pasta_features(const char *help);

#endif
