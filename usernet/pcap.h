/* SPDX-License-Identifier: Apache-2.0 */
#ifndef USERNET_PCAP_H
#define USERNET_PCAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Records the frames of the TAP in a file that tcpdump(8) and Wireshark read: the pcap format, see
 * pcap-savefile(5). Any thread may add frames; a lock keeps them whole and in order, even if the
 * "file" is a pipe to such a program. A frame that cannot be written (a full disk) ends the
 * recording with a warning; the network goes on. Blocks as a write to a file does. */

struct pcap;

/* Creates the file, with mode 0600, or empties it. Returns 0 and sets *out, or -errno with a
 * reason. */
int pcap_open(struct pcap **out, const char *path, struct err *e);
/* NULL is fine. */
void pcap_close(struct pcap *p);

/* Records a frame that consists of two parts (the second may be empty), up to PCAP_SNAPLEN bytes of
 * it. */
void pcap_add(struct pcap *p, const void *head, size_t head_len, const void *rest, size_t rest_len);
#define PCAP_SNAPLEN 262144

#endif
