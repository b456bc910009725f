/* SPDX-License-Identifier: Apache-2.0 */

/* The builtin port driver's messages: any bytes are read as a request, as an answer, and as a
 * reason that is sent. What is accepted can be sent on, and arrives the same. */
#include "formats/bpmsg.h"

#include <errno.h>

#include "formats/ipaddr.h"
#include "fuzz.h"

static void require_same(const struct bpmsg *a, const struct bpmsg *b)
{
	REQUIRE(a->type == b->type);
	REQUIRE(a->proto == b->proto);
	REQUIRE(strcmp(a->ip, b->ip) == 0);
	REQUIRE(a->port == b->port);
	REQUIRE(strcmp(a->parent_ip, b->parent_ip) == 0);
	REQUIRE(strcmp(a->host_gateway_ip, b->host_gateway_ip) == 0);
	REQUIRE(strcmp(a->source_ip, b->source_ip) == 0);
	REQUIRE(a->source_port == b->source_port);
	REQUIRE(a->count == b->count);
}

static void check_round_trip(const struct bpmsg *req)
{
	char *text = malloc(BPMSG_MAX);
	struct bpmsg again;
	int len = bpmsg_encode(req, text, BPMSG_MAX);

	REQUIRE(len > 0 && strlen(text) == (size_t)len);
	REQUIRE(bpmsg_encode(req, text, (size_t)len) == -ENOSPC);
	REQUIRE(bpmsg_encode(req, text, (size_t)len + 1) == len);
	REQUIRE(bpmsg_decode(&again, text, (size_t)len, NULL) == 0);
	require_same(req, &again);
	free(text);
}

static void check_request(const char *text, size_t size)
{
	struct ipaddr ip;
	struct bpmsg req;
	struct err e = { "" };
	int r = bpmsg_decode(&req, text, size, &e);

	if (r != 0) {
		REQUIRE(r == -EINVAL && e.msg[0] != '\0');
		return;
	}
	REQUIRE(req.type < BPMSG_TYPE_COUNT);
	if (req.type == BPMSG_CONNECT) {
		REQUIRE(req.proto < PROTO_COUNT);
		REQUIRE(req.port >= 1 && req.port <= 65535);
		REQUIRE(req.source_port >= 0 && req.source_port <= 65535);
		REQUIRE(portspec_dial_ip(&ip, req.ip, req.parent_ip, req.host_gateway_ip, NULL) ==
			0);
		REQUIRE(bpmsg_dial_error(&req, EIO, &e) < 0 && e.msg[0] != '\0');
		REQUIRE(req.source_ip[0] == '\0' || ipaddr_parse(&ip, req.source_ip) == 0);
	}
	if (req.type == BPMSG_SOCKETS) {
		REQUIRE(req.proto == PROTO_TCP4 || req.proto == PROTO_TCP6 ||
			req.proto == PROTO_UDP4 || req.proto == PROTO_UDP6);
		REQUIRE(req.count >= 1 && req.count <= BPMSG_SOCKETS_MAX);
	}
	check_round_trip(&req);
}

/* Sends a reason on and on. The first time what is no character is replaced, and a text that grows
 * too long thereby is cut, maybe within a character, which is replaced the second time; the third
 * time nothing is left to change. */
static void check_reason(const struct err *reason)
{
	char *text = malloc(BPMSG_ERROR_MAX);
	struct err got[4] = { *reason };

	for (int i = 0; i < 3; i++) {
		int len = bpmsg_encode_error(&got[i], text, BPMSG_ERROR_MAX);

		REQUIRE(len > 0 && strlen(text) == (size_t)len);
		REQUIRE(bpmsg_decode_answer(text, (size_t)len, &got[i + 1]) == -EREMOTEIO);
	}
	REQUIRE(strcmp(got[3].msg, got[2].msg) == 0);
	free(text);
}

static void check_answer(const char *text, size_t size)
{
	struct err e = { "" };
	int r = bpmsg_decode_answer(text, size, &e);

	REQUIRE(r == 0 || r == -EREMOTEIO || r == -EINVAL);
	REQUIRE((r == 0) == (e.msg[0] == '\0'));
	REQUIRE(memchr(e.msg, '\0', sizeof(e.msg)) != NULL);
	if (r == -EREMOTEIO)
		check_reason(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = exact_copy(data, size);
	char *string = string_copy(data, size);
	struct err reason;

	check_request(text, size);
	check_answer(text, size);
	if (string[0] != '\0') {
		err_set(&reason, EIO, "%s", string);
		check_reason(&reason);
	}
	free(string);
	free(text);
	return 0;
}
