/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORMATS_SLIRPAPI_H
#define FORMATS_SLIRPAPI_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "formats/portspec.h"

/* What is said on the API socket of slirp4netns, slirp4netns(1): one JSON request, up to the end of
 * the stream, and one JSON answer likewise.
 *
 *     {"execute":"add_hostfwd","arguments":{"proto":"tcp","host_addr":"127.0.0.1",
 *      "host_port":8080,"guest_addr":"10.0.2.100","guest_port":80}}      {"return":{"id":1}}
 *     {"execute":"remove_hostfwd","arguments":{"id":1}}                  {"return":{}}
 *     anything that is refused                      {"error":{"desc":"bad request: ..."}}
 */

#define SLIRPAPI_REQUEST_MAX 1024 /* bytes with the NUL; the program takes less than 4096 */
#define SLIRPAPI_ANSWER_MAX  4096 /* bytes; the longest known has about 100 */

/* Write a request of at most SLIRPAPI_REQUEST_MAX bytes. Without a child IP, `child_ip` is it. An
 * IPv4-mapped IPv6 address is written as IPv4. Return its length or -ENOSPC. */
int slirpapi_add(const struct portspec *spec, const char *child_ip, char *buf, size_t cap);
int slirpapi_remove(int64_t id, char *buf, size_t cap);

/* Reads the answer. Returns 0 and, if `id` is asked for, the ID; -EREMOTEIO for a refusal, with
 * "reply.Error: map[desc:DESC]", the reference's words, as the reason; -EPROTO, with a reason, for
 * what is no answer. */
int slirpapi_decode(const char *text, size_t len, int64_t *id, struct err *e);

#endif
