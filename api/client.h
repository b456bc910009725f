/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_CLIENT_H
#define API_CLIENT_H

#include <stddef.h>

#include "base/err.h"

/* An HTTP client: one request and one answer per connection, with a timeout for both together. The
 * server is not trusted: the size of an answer is bounded, and its strings may contain anything.
 * Functions block and use no global state. */

#define CLIENT_DEADLINE_MS 30000 /* timeout of a call; adding a port takes milliseconds */
#define CLIENT_MAX_ANSWER  ((size_t)16 * 1024 * 1024) /* bytes; 65,536 ports take 6 MB */

struct client_answer {
	int status;
	const char *body; /* points into buf, not NUL-terminated */
	size_t body_len;
	char *buf; /* owned; client_answer_free frees it */
};

/* Sends a request on a connected socket and reads the answer. The request must ask the server to
 * close the connection. `sock` is borrowed, may be blocking or not, and cannot be used for another
 * request. Blocks until `until_ms`, a time of clock_now_ms(). Returns 0, and the caller frees
 * `answer`; or -errno with a reason, and nothing to free. */
int client_exchange(int sock, const char *request, size_t len, unsigned long long until_ms,
		    struct client_answer *answer, struct err *e);

/* Calls the API at the UNIX socket `socket_path`. `target` is a path such as "/v1/ports"; `json` is
 * the body, or NULL. Blocks for CLIENT_DEADLINE_MS at most. Returns 0, and the caller frees
 * `answer`; or -errno with a reason in RootlessKit's words, and nothing to free. An answer other
 * than 2xx is -EREMOTEIO, with the server's message as the reason. */
int client_call(const char *socket_path, const char *method, const char *target, const char *json,
		struct client_answer *answer, struct err *e);

/* Frees the text of an answer, and sets *answer to zero bytes. */
void client_answer_free(struct client_answer *answer);

#endif
