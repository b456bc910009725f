/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_SLIRPAPI_H
#define FORMATS_SLIRPAPI_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "formats/portspec.h"

/* Requests and answers on the API socket of slirp4netns (slirp4netns(1)). Each connection carries
 * one JSON request and one JSON answer, and the end of each stream marks the end of the message.
 *
 *     {"execute":"add_hostfwd","arguments":{"proto":"tcp","host_addr":"127.0.0.1",
 *      "host_port":8080,"guest_addr":"10.0.2.100","guest_port":80}}      {"return":{"id":1}}
 *     {"execute":"remove_hostfwd","arguments":{"id":1}}                  {"return":{}}
 *     a request that is refused                         {"error":{"desc":"bad request: ..."}}
 *
 * Nothing here blocks, allocates or has state.
 */

#define SLIRPAPI_REQUEST_MAX 1024 /* bytes with the NUL; slirp4netns accepts less than 4096 */
#define SLIRPAPI_ANSWER_MAX  4096 /* bytes; the longest known answer has about 100 */

/* Both write a request of at most SLIRPAPI_REQUEST_MAX bytes to buf[cap], and return its length in
 * bytes, or -ENOSPC. `child_ip` is used if the spec has no child IP. An IPv4-mapped IPv6 address is
 * written as IPv4. */
int slirpapi_add(const struct portspec *spec, const char *child_ip, char *buf, size_t cap);
int slirpapi_remove(int64_t id, char *buf, size_t cap);

/* Reads an answer from text[0..len). Returns 0 and sets *id, unless `id` is NULL; -EREMOTEIO for a
 * refusal, with "reply.Error: map[desc:DESC]", RootlessKit's words, as the reason; or -EPROTO with
 * a reason for a malformed answer. */
int slirpapi_decode(const char *text, size_t len, int64_t *id, struct err *e);

#endif
