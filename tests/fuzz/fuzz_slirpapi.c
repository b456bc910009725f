/* SPDX-License-Identifier: Apache-2.0 */

/* slirp4netns' API. The input is decoded as an answer, and used as the addresses of a request,
 * which must be JSON that has them. */
#include "formats/slirpapi.h"

#include <errno.h>

#include "formats/json.h"
#include "fuzz.h"

static void check_answer(const char *text, size_t size)
{
	struct err e = { "" };
	int64_t id = -1;
	int r = slirpapi_decode(text, size, &id, &e);

	REQUIRE(r == 0 || r == -EREMOTEIO || r == -EPROTO);
	REQUIRE((r == 0) == (e.msg[0] == '\0'));
	REQUIRE(memchr(e.msg, '\0', sizeof(e.msg)) != NULL);
	/* A caller that does not want an ID also accepts an answer without one. */
	REQUIRE(slirpapi_decode(text, size, NULL, NULL) == r || r == -EPROTO);
}

static void check_request(const char *text)
{
	struct portspec spec = { .proto = PROTO_TCP, .parent_port = 1, .child_port = 65535 };
	char *request = malloc(SLIRPAPI_REQUEST_MAX);
	struct json_doc doc;
	int len;

	snprintf(spec.parent_ip, sizeof(spec.parent_ip), "%s", text);
	snprintf(spec.child_ip, sizeof(spec.child_ip), "%s", text);
	len = slirpapi_add(&spec, "10.0.2.100", request, SLIRPAPI_REQUEST_MAX);
	REQUIRE(len > 0 && strlen(request) == (size_t)len);
	REQUIRE(json_parse(&doc, request, (size_t)len, NULL) == 0);
	REQUIRE(json_member(&doc, json_member(&doc, &doc.nodes[0], "arguments"), "guest_addr") !=
		NULL);
	free(request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = exact_copy(data, size);
	char *string = string_copy(data, size);

	check_answer(text, size);
	check_request(string);
	free(string);
	free(text);
	return 0;
}
