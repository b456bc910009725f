/* SPDX-License-Identifier: Apache-2.0 */

/* UDP headers: any bytes are read as a frame, and its payload as UDP. What is read lies inside of
 * the frame. What is written for it is read back as the same, and the completed checksum is
 * right. */
#include "formats/udpseg.h"

#include "formats/inetsum.h"

#include <errno.h>

#include "fuzz.h"

/* Writes the datagram again, and completes the checksum as the kernel does. */
static void check_written(const struct packet *p, const struct udpseg *seg)
{
	struct packet again = *p;
	struct udpseg back;
	uint8_t *out = malloc(UDPSEG_HEAD_LEN + seg->len);
	uint16_t sum;

	REQUIRE(out != NULL);
	again.payload = out;
	again.payload_len = UDPSEG_HEAD_LEN + seg->len;
	udpseg_put(out, seg, &p->addrs);
	memcpy(out + UDPSEG_HEAD_LEN, seg->data, seg->len);
	sum = inetsum_finish(inetsum_add(0, out, again.payload_len));
	sum = sum == 0 ? UINT16_MAX : sum;
	memcpy(out + UDPSEG_SUM_OFFSET, &sum, sizeof(sum));
	REQUIRE(udpseg_is_intact(&again));
	REQUIRE(udpseg_read(&back, out, again.payload_len) == 0);
	REQUIRE(back.src_port == seg->src_port && back.dst_port == seg->dst_port);
	REQUIRE(back.len == seg->len && memcmp(back.data, seg->data, seg->len) == 0);
	free(out);
}

static void check_packet(const struct packet *p)
{
	struct udpseg seg;
	int r = udpseg_read(&seg, p->payload, p->payload_len);

	REQUIRE(r == 0 || r == -EBADMSG);
	REQUIRE(r == 0 || !udpseg_is_intact(p));
	if (r < 0)
		return;
	(void)udpseg_is_intact(p);
	REQUIRE(seg.data == p->payload + UDPSEG_HEAD_LEN);
	REQUIRE(seg.len <= p->payload_len - UDPSEG_HEAD_LEN);
	check_written(p, &seg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *frame = (uint8_t *)exact_copy(data, size);
	struct packet p;

	if (packet_read(&p, frame, size) == PACKET_IP)
		check_packet(&p);
	free(frame);
	return 0;
}
