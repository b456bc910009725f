/* SPDX-License-Identifier: Apache-2.0 */

/* Messages of the builtin port driver. The input is decoded as a request and as an answer, and used
 * as the reason in an error. A message that is accepted can be encoded again, and then decodes to
 * the same values. */
#include "formats/bpmsg.h"

#include <errno.h>

#include "formats/ipaddr.h"
#include "fuzz.h"

static void require_same(const struct bpmsg *a, const struct bpmsg *b)
{
	REQUIRE(a->type == b->type);
	REQUIRE(a->target.proto == b->target.proto);
	REQUIRE(ipaddr_equal(&a->target.ip, &b->target.ip));
	REQUIRE(a->target.port == b->target.port);
	REQUIRE(ipaddr_equal(&a->target.parent_ip, &b->target.parent_ip));
	REQUIRE(ipaddr_equal(&a->host_gateway_ip, &b->host_gateway_ip));
	REQUIRE(ipaddr_equal(&a->source_ip, &b->source_ip));
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

static void check_target(const struct bpmsg *req)
{
	struct ipaddr ip = target_address(&req->target, &req->host_gateway_ip);
	struct sockaddr_storage to;
	struct err e = { "" };

	REQUIRE(req->target.proto < PROTO_COUNT);
	REQUIRE(req->target.port >= 1 && req->target.port <= 65535);
	REQUIRE(ip.family == AF_INET || ip.family == AF_INET6);
	REQUIRE(target_sockaddr(&req->target, &ip, &to) > 0);
	REQUIRE(target_dial_error(&req->target, &ip, EIO, &e) < 0 && e.msg[0] != '\0');
}

static void check_request(const char *text, size_t size)
{
	struct bpmsg req;
	enum proto proto;
	struct err e = { "" };
	int r = bpmsg_decode(&req, text, size, &e);

	if (r != 0) {
		REQUIRE(r == -EINVAL && e.msg[0] != '\0');
		return;
	}
	REQUIRE(req.type < BPMSG_TYPE_COUNT);
	if (req.type == BPMSG_CONNECT) {
		check_target(&req);
		REQUIRE(req.source_port >= 0 && req.source_port <= 65535);
	}
	if (req.type == BPMSG_SOCKETS) {
		proto = req.target.proto;
		REQUIRE(proto == PROTO_TCP4 || proto == PROTO_TCP6 || proto == PROTO_UDP4 ||
			proto == PROTO_UDP6);
		REQUIRE(req.count >= 1 && req.count <= BPMSG_SOCKETS_MAX);
	}
	check_round_trip(&req);
}

/* Encodes and decodes a reason three times. The first time, bytes that are not UTF-8 are replaced,
 * and a text that becomes too long is cut, maybe within a character. The second time, the rest of
 * that character is replaced. The third time, nothing may change. */
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

/* Encodes and decodes a name twice. The first time, bytes that are not UTF-8 are replaced by three
 * bytes. The second time, nothing may change. */
static void check_answer_to_init(const char *text, size_t size)
{
	char name[BPMSG_BACKEND_LEN], got[2][3 * BPMSG_BACKEND_LEN], sent[BPMSG_MAX];

	if (bpmsg_decode_init(text, size, name, sizeof(name), NULL) != 0)
		return;
	REQUIRE(bpmsg_decode_answer(text, size, NULL) == 0);
	for (int i = 0; i < 2; i++) {
		int len = bpmsg_encode_init(i == 0 ? name : got[0], sent, sizeof(sent));

		REQUIRE(len > 0 && strlen(sent) == (size_t)len);
		REQUIRE(bpmsg_decode_init(sent, (size_t)len, got[i], sizeof(got[i]), NULL) == 0);
	}
	REQUIRE(strcmp(got[0], got[1]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = exact_copy(data, size);
	char *string = string_copy(data, size);
	struct err reason;

	check_request(text, size);
	check_answer(text, size);
	check_answer_to_init(text, size);
	if (string[0] != '\0') {
		err_set(&reason, EIO, "%s", string);
		check_reason(&reason);
	}
	free(string);
	free(text);
	return 0;
}
