/* SPDX-License-Identifier: Apache-2.0 */
/* The messages between parent and child during the start. See handshake.h. */
#include "launch/handshake.h"

#include <errno.h>
#include <string.h>

#include "base/array.h"
#include "formats/json.h"
#include "formats/jsonout.h"
#include "msg.h"

#define MESSAGE_LEN 1024 /* bytes; the longest, with the network, has about 250 */

static const char *const names[] = {
	[HS_PARENT_HELLO] = "ParentHello",
	[HS_CHILD_HELLO] = "ChildHello",
	[HS_IDMAP_COMPLETED] = "ParentInitIdmapCompleted",
	[HS_USERNS_COMPLETED] = "ChildInitUserNSCompleted",
	[HS_NETWORK_COMPLETED] = "ParentInitNetworkDriverCompleted",
	[HS_PORTS_COMPLETED] = "ParentInitPortDriverCompleted",
	[HS_CHILD_COMPLETED] = "ChildInitCompleted",
	[HS_INIT_COMPLETED] = "ParentInitCompleted",
};
_Static_assert(COUNT_OF(names) == HS_COUNT, "a name for each message");

int handshake_send(int fd, enum handshake which, const struct network *net, struct err *e)
{
	char text[MESSAGE_LEN];
	struct jsonout out;
	int r;

	jsonout_init(&out, text, sizeof(text));
	jsonout_begin_object(&out, NULL);
	jsonout_put_string(&out, "Name", names[which]);
	jsonout_begin_object(&out, "U");
	jsonout_begin_object(&out, names[which]);
	if (net != NULL)
		network_to_json(net, &out);
	jsonout_end_object(&out);
	jsonout_end_object(&out);
	jsonout_end_object(&out);
	r = out.overflow ? -EMSGSIZE : msg_send(fd, text, out.len);
	return r < 0 ? err_sys(e, -r, "sending %s", names[which]) : 0;
}

/* Parses a complete message. Returns 0, or -EINVAL if it is malformed or is not message `which`. */
static int decode(const char *text, size_t len, enum handshake which, struct network *net)
{
	const struct json_node *name, *body;
	char got[64];
	struct json_doc doc;

	if (json_parse(&doc, text, len, NULL) < 0)
		return -EINVAL;
	name = json_member(&doc, &doc.nodes[0], "Name");
	if (name == NULL || json_get_string(&doc, name, got, sizeof(got)) < 0 ||
	    strcmp(got, names[which]) != 0)
		return -EINVAL;
	body = json_member(&doc, &doc.nodes[0], "U");
	body = body == NULL ? NULL : json_member(&doc, body, names[which]);
	if (body == NULL)
		return -EINVAL;
	return net == NULL ? 0 : network_from_json(net, &doc, body);
}

int handshake_recv(int fd, enum handshake which, struct network *net, struct err *e)
{
	struct msg_reader reader = { 0 };
	int r = msg_read(&reader, fd);

	if (r == 1)
		r = decode(reader.body, reader.len, which, net);
	else if (r == 0)
		r = -EAGAIN; /* the pipe is non-blocking, which it should not be */
	msg_reader_reset(&reader);
	if (r == -ENODATA)
		return err_set(e, ENODATA, "EOF");
	return r < 0 ? err_sys(e, -r, "waiting for %s", names[which]) : 0;
}
