/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_CLIENT_H
#define API_CLIENT_H

#include <stddef.h>

#include "base/err.h"

/* The client's side of HTTP: one request, one answer, a deadline for both together. What a server
 * sends is not trusted: an answer is bounded, and its texts may hold anything.
 */

#define CLIENT_DEADLINE_MS 30000 /* of a call in all; adding a port takes milliseconds */
#define CLIENT_MAX_ANSWER  ((size_t)16 * 1024 * 1024) /* bytes; 65,536 ports take 6 MB */

struct client_answer {
	int status;
	const char *body; /* in buf, not NUL-terminated */
	size_t body_len;
	char *buf; /* owned */
};

/* Sends a request, which asks for the connection to be closed, on a connected socket and reads the
 * answer, until `until_ms` on clock_now_ms()'s clock. The socket may be of either blocking mode,
 * and is good for nothing afterwards. Returns 0, or -errno with the reason. */
int client_exchange(int sock, const char *request, size_t len, unsigned long long until_ms,
		    struct client_answer *answer, struct err *e);

/* Calls the API at a UNIX socket: `target` is a path such as "/v1/ports", `json` the body or NULL.
 * An answer other than 2xx is an error too: -EREMOTEIO, its message is the reason. Returns 0; or
 * -errno with the reason in the words of the reference, and nothing to be freed. */
int client_call(const char *socket_path, const char *method, const char *target, const char *json,
		struct client_answer *answer, struct err *e);

void client_answer_free(struct client_answer *answer);

#endif
