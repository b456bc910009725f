/* SPDX-License-Identifier: Apache-2.0 */
/* Receiving and sending datagrams. See dgram.h.
 *
 * Source addresses. A host with several addresses must answer from the address that the client
 * wrote to, or the client rejects the answer as somebody else's. A control message of the received
 * datagram holds that address, and a control message of the answer sets it:
 *
 *     IPv4                   ipi_spec_dst: the address that was written to; if that is a broadcast
 *                            or multicast address, the host's address that should answer
 *     IPv6                   ipi6_addr; a multicast address cannot be a source, so that routing
 *                            chooses one
 *     IPv4 on a socket of    both messages come, the IPv6 one with the mapped header address; the
 *     both families          IPv4 one is used, for receiving and for sending
 *
 * The interface is set only for a link-local address, since it says which link is meant. Otherwise
 * it is left open, so that an answer may take another route than the datagram that it answers.
 *
 * GSO and GRO batches. A batch of up to 64 datagrams costs one system call and one pass through the
 * kernel's network stack. The kernel forms a batch of received datagrams if the driver of the
 * network card supports it (GRO). A batch that was sent on this machine arrives whole. The control
 * message UDP_GRO holds the size of the datagrams of a batch. To send, consecutive datagrams of a
 * list are joined without a copy:
 *
 *     received    a 1400   b 1400   c 1400   d 700   e 700   f 0   g 1400
 *     messages    [ a b c d, segment 1400 ]  [ e ]  [ f ]  [ g ]
 *
 * The kernel refuses a batch if one of its datagrams needs fragments, or if neither the device nor
 * the kernel can split it. The datagrams of a refused batch are sent one by one. From then on, so
 * are all datagrams of that size or larger to that destination, or all to that destination if the
 * reason was not their size.
 */
#include "ports/dgram.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 /* Linux 4.18 */
#endif
#ifndef UDP_GRO
#define UDP_GRO 104 /* Linux 5.0 */
#endif

/* Bytes of a buffer; more than UDP can carry (65507 over IPv4, 65527 over IPv6). */
#define DGRAM_ROOM   (64 * 1024)
/* Bytes from one buffer to the next. With a power of two, the beginnings of all buffers would
 * compete for the same few cache lines. */
#define DGRAM_STRIDE (DGRAM_ROOM + 1536)
/* Bytes that a call should bring at most, estimated from the previous call. */
#define BATCH_BYTES  (128 * 1024)
#define GSO_MAX	     64	   /* datagrams: the kernel's limit until 6.8, 128 since */
#define GSO_BYTES    65507 /* IPv4's limit, the lower one */
#define SEND_TRIES   4	   /* each may return the ICMP error of an earlier datagram */
/* Bytes of a socket's buffers, within the user's limits (net.core.rmem_max, wmem_max). Large enough
 * that a short burst of large datagrams is not lost while other sockets have their turn, or while
 * the network is slow. */
#define BUFFER	     (1024 * 1024)

union name {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* Room for one control message of each kind that may be received or sent. */
struct control {
	_Alignas(struct cmsghdr) char space[CMSG_SPACE(sizeof(struct in_pktinfo)) +
					    CMSG_SPACE(sizeof(struct in6_pktinfo)) +
					    CMSG_SPACE(sizeof(int))];
};

/* A position in a list of datagrams. */
struct position {
	struct dgram *dgram;
	size_t offset; /* bytes */
};

/* Messages to be sent. Datagrams are added to the last one as long as it has room. */
struct outgoing {
	int count;
	int iov_count;
	size_t room; /* bytes that may still be added to the last message */
	struct mmsghdr heads[DGRAMS_MAX];
	struct iovec iovs[DGRAMS_MAX];
	struct control controls[DGRAMS_MAX];
	struct position from[DGRAMS_MAX]; /* where each message begins */
	size_t segments[DGRAMS_MAX];
	size_t lens[DGRAMS_MAX];
};

struct dgrams {
	bool sends_batches;
	bool may_be_more;
	bool single_calls; /* recvmmsg(2) is missing */
	unsigned int want; /* messages that the next call may receive */
	/* The last call changed only the first `used` heads. These must be prepared again. */
	struct mmsghdr heads[2][DGRAMS_MAX]; /* [0] without names, [1] with */
	int used[2];
	struct iovec iovs[DGRAMS_MAX];
	union name names[DGRAMS_MAX];
	struct control controls[DGRAMS_MAX];
	struct flow_key keys[DGRAMS_MAX];
	struct dgram got[DGRAMS_MAX];
	struct outgoing out;
	char bytes[DGRAMS_MAX][DGRAM_STRIDE];
};

struct dgrams *dgrams_new(int fd)
{
	struct dgrams *d = malloc(sizeof(*d));
	int segment;
	socklen_t len = sizeof(segment);

	if (d == NULL)
		return NULL;
	/* Kernels before 4.18 ignore the control message and would send a batch as one datagram. */
	d->sends_batches = getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, &len) == 0;
	d->single_calls = false;
	d->used[0] = d->used[1] = DGRAMS_MAX;
	d->want = DGRAMS_MAX;
	for (int i = 0; i < DGRAMS_MAX; i++) {
		d->iovs[i] = (struct iovec){ d->bytes[i], DGRAM_ROOM };
		d->got[i].bytes = d->bytes[i];
	}
	return d;
}

/* ---- options ---- */

static int turn_on(int fd, int level, int name)
{
	const int one = 1;

	return setsockopt(fd, level, name, &one, sizeof(one)) < 0 ? -errno : 0;
}

void dgram_enable_gro(int fd)
{
	turn_on(fd, IPPROTO_UDP, UDP_GRO);
}

void dgram_enlarge_buffers(int fd)
{
	const int bytes = BUFFER;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

int dgram_set_listener_options(int fd, sa_family_t family)
{
	int r = turn_on(fd, IPPROTO_IP, IP_PKTINFO);

	if (r == 0 && family == AF_INET6)
		r = turn_on(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO);
	dgram_enable_gro(fd);
	dgram_enlarge_buffers(fd);
	return r;
}

/* ---- receiving ---- */

static void map_v4(struct in6_addr *to, const struct in_addr *from)
{
	memset(to, 0, sizeof(*to));
	to->s6_addr[10] = to->s6_addr[11] = 0xff;
	memcpy(&to->s6_addr[12], from, sizeof(*from));
}

static void read_v4_local(struct flow_key *key, const struct cmsghdr *c)
{
	struct in_pktinfo info;

	memcpy(&info, CMSG_DATA(c), sizeof(info));
	if (info.ipi_spec_dst.s_addr != htonl(INADDR_ANY))
		map_v4(&key->local, &info.ipi_spec_dst);
}

static void read_v6_local(struct flow_key *key, const struct cmsghdr *c)
{
	struct in6_pktinfo info;

	memcpy(&info, CMSG_DATA(c), sizeof(info));
	if (IN6_IS_ADDR_V4MAPPED(&info.ipi6_addr) || IN6_IS_ADDR_MULTICAST(&info.ipi6_addr))
		return;
	key->local = info.ipi6_addr;
	if (key->ifindex == 0 && IN6_IS_ADDR_LINKLOCAL(&key->local))
		key->ifindex = (uint32_t)info.ipi6_ifindex;
}

static void read_key(struct flow_key *key, struct msghdr *mh)
{
	const union name *name = mh->msg_name;

	memset(key, 0, sizeof(*key));
	if (name->any.sa_family == AF_INET) {
		map_v4(&key->client, &name->in.sin_addr);
		key->port_be = name->in.sin_port;
	} else {
		key->client = name->in6.sin6_addr;
		key->port_be = name->in6.sin6_port;
		key->ifindex = name->in6.sin6_scope_id; /* 0 if not link-local */
	}
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c != NULL; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
			read_v4_local(key, c);
		else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
			read_v6_local(key, c);
	}
}

/* Returns the size of the datagrams of a batch; `len` if it is a single datagram. */
static size_t read_segment(struct msghdr *mh, size_t len)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c != NULL; c = CMSG_NXTHDR(mh, c)) {
		int segment;

		if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO)
			continue;
		memcpy(&segment, CMSG_DATA(c), sizeof(segment));
		return segment > 0 && (size_t)segment < len ? (size_t)segment : len;
	}
	return len;
}

static void prepare_heads(struct dgrams *d, bool keyed)
{
	for (int i = 0; i < d->used[keyed]; i++)
		d->heads[keyed][i].msg_hdr = (struct msghdr){
			.msg_name = keyed ? &d->names[i] : NULL,
			.msg_namelen = keyed ? sizeof(d->names[i]) : 0,
			.msg_iov = &d->iovs[i],
			.msg_iovlen = 1,
			.msg_control = d->controls[i].space,
			.msg_controllen = sizeof(d->controls[i].space),
		};
	d->used[keyed] = 0;
}

/* Returns how many messages to receive next: about BATCH_BYTES, if they are as large as the last
 * ones. */
static unsigned int next_want(size_t bytes, int count)
{
	size_t n = BATCH_BYTES * (size_t)count / (bytes + 1) + 1;

	return (unsigned int)(n < DGRAMS_MAX ? n : DGRAMS_MAX);
}

bool dgrams_may_be_more(const struct dgrams *d)
{
	return d->may_be_more;
}

/* Does the error mean that the call is not available: not in this kernel, or forbidden by a seccomp
 * profile? Receiving a single message never returns these errors. */
static bool is_unavailable(int errnum)
{
	return errnum == ENOSYS || errnum == EPERM;
}

/* As recvmmsg(2), but receives a single message if that call is missing. */
static int receive_messages(struct dgrams *d, int fd, struct mmsghdr *heads)
{
	int n = d->single_calls ? -1 : recvmmsg(fd, heads, d->want, MSG_DONTWAIT, NULL);
	ssize_t len;

	if (n >= 0 || (!d->single_calls && !is_unavailable(errno)))
		return n;
	d->single_calls = true;
	d->want = 1;
	len = recvmsg(fd, &heads[0].msg_hdr, MSG_DONTWAIT);
	heads[0].msg_len = (unsigned int)len;
	return len < 0 ? -1 : 1;
}

/* As sendmmsg(2), but sends a single message if that call is missing. EPERM may also come from a
 * firewall that rejects the message; it then comes again for the single message. */
static int send_some(struct outgoing *o, int fd, int from)
{
	const int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
	struct mmsghdr *heads = &o->heads[from];
	int n = sendmmsg(fd, heads, (unsigned int)(o->count - from), flags);

	if (n >= 0 || !is_unavailable(errno))
		return n;
	return sendmsg(fd, &heads[0].msg_hdr, flags) < 0 ? -1 : 1;
}

int dgrams_receive(struct dgrams *d, int fd, bool keyed)
{
	struct mmsghdr *heads = d->heads[keyed];
	size_t bytes = 0;
	int n;

	prepare_heads(d, keyed);
	n = receive_messages(d, fd, heads);
	d->may_be_more = n == (int)d->want;
	if (n < 0) {
		d->used[keyed] = 1;
		return errno == EINTR ? -EAGAIN : -errno;
	}
	/* recvmmsg(2) has also changed the head in which it then got EAGAIN. */
	d->used[keyed] = n < DGRAMS_MAX ? n + 1 : n;
	for (int i = 0; i < n; i++) {
		d->got[i].len = heads[i].msg_len;
		d->got[i].segment = read_segment(&heads[i].msg_hdr, heads[i].msg_len);
		if (keyed)
			read_key(&d->keys[i], &heads[i].msg_hdr);
		bytes += heads[i].msg_len;
	}
	d->want = d->single_calls ? 1 : next_want(bytes, n);
	return n;
}

struct dgram *dgrams_at(struct dgrams *d, int index)
{
	return &d->got[index];
}

const struct flow_key *dgrams_key(const struct dgrams *d, int index)
{
	return &d->keys[index];
}

/* ---- sending ---- */

bool dgram_is_transient(int errnum)
{
	switch (errnum) {
	case EAGAIN:
	case EINTR:
	case ENOBUFS:
	case ENOMEM:
	case EMSGSIZE:
	case ECONNREFUSED:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EHOSTDOWN:
	case ENETDOWN:
	case ENONET:
	case EPROTO:
	case ENOPROTOOPT:
	case EOPNOTSUPP:
	case EPERM:
	case EACCES:
		return true;
	default:
		return false;
	}
}

/* Fills in the client's address for a socket of `family`. Returns its length in bytes. */
static socklen_t write_name(union name *name, sa_family_t family, const struct flow_key *key)
{
	memset(name, 0, sizeof(*name));
	name->any.sa_family = family;
	if (family == AF_INET) {
		name->in.sin_port = key->port_be;
		memcpy(&name->in.sin_addr, &key->client.s6_addr[12], sizeof(name->in.sin_addr));
		return sizeof(name->in);
	}
	name->in6.sin6_port = key->port_be;
	name->in6.sin6_addr = key->client;
	if (IN6_IS_ADDR_LINKLOCAL(&key->client))
		name->in6.sin6_scope_id = key->ifindex;
	return sizeof(name->in6);
}

/* Adds a control message, for which there must be room. */
static void add_control(struct msghdr *mh, int level, int type, const void *data, size_t len)
{
	struct cmsghdr *c =
		(struct cmsghdr *)(void *)((char *)mh->msg_control + mh->msg_controllen);

	*c = (struct cmsghdr){ .cmsg_level = level,
			       .cmsg_type = type,
			       .cmsg_len = (socklen_t)CMSG_LEN(len) };
	memcpy(CMSG_DATA(c), data, len);
	mh->msg_controllen += (socklen_t)CMSG_SPACE(len);
}

static void add_local(struct msghdr *mh, const struct flow_key *key)
{
	struct in_pktinfo v4 = { 0 };
	struct in6_pktinfo v6 = { .ipi6_addr = key->local };

	if (IN6_IS_ADDR_V4MAPPED(&key->local)) {
		memcpy(&v4.ipi_spec_dst, &key->local.s6_addr[12], sizeof(v4.ipi_spec_dst));
		add_control(mh, IPPROTO_IP, IP_PKTINFO, &v4, sizeof(v4));
	} else if (!IN6_IS_ADDR_UNSPECIFIED(&key->local)) {
		if (IN6_IS_ADDR_LINKLOCAL(&key->local))
			v6.ipi6_ifindex = key->ifindex;
		add_control(mh, IPPROTO_IPV6, IPV6_PKTINFO, &v6, sizeof(v6));
	}
}

static bool is_batch(const struct outgoing *o, int index)
{
	return o->lens[index] > o->segments[index];
}

/* Sets the destination and the control messages. All messages go to the same client, so they share
 * the name. */
static void set_destination(struct outgoing *o, const struct dgram_dest *dest, union name *name)
{
	socklen_t name_len = dest->key != NULL ? write_name(name, dest->family, dest->key) : 0;

	for (int i = 0; i < o->count; i++) {
		struct msghdr *mh = &o->heads[i].msg_hdr;
		const uint16_t segment = (uint16_t)o->segments[i];

		mh->msg_name = name_len > 0 ? name : NULL;
		mh->msg_namelen = name_len;
		mh->msg_control = o->controls[i].space;
		mh->msg_controllen = 0;
		if (dest->key != NULL)
			add_local(mh, dest->key);
		if (is_batch(o, i))
			add_control(mh, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment));
		if (mh->msg_controllen == 0)
			mh->msg_control = NULL;
	}
}

/* Returns how many bytes one message of datagrams of `segment` bytes may have. */
static size_t message_max(size_t segment, size_t segment_max)
{
	size_t count = segment > 0 ? GSO_BYTES / segment : 0;

	if (segment > segment_max || count < 1)
		return segment;
	return segment * (count < GSO_MAX ? count : GSO_MAX);
}

/* May datagrams of this size, `left` bytes in all, be added to the last message? A shorter datagram
 * ends a batch, so only a single one may be added. */
static bool can_join(const struct outgoing *o, size_t left, size_t segment)
{
	size_t size = o->count > 0 ? o->segments[o->count - 1] : 0;

	return o->room > 0 && left > 0 && (segment == size || (segment < size && left == segment));
}

/* Adds the datagram or batch at a position, or a part of it, to the last message or to a new one.
 * Returns how many bytes were added. There must be room for one more message. */
static size_t add_part(struct outgoing *o, struct position at, size_t segment_max)
{
	size_t left = at.dgram->len - at.offset;
	size_t segment = at.dgram->segment < left ? at.dgram->segment : left;
	struct iovec *iov = &o->iovs[o->iov_count++];
	size_t len;
	int i;

	if (!can_join(o, left, segment)) {
		i = o->count++;
		o->heads[i].msg_hdr = (struct msghdr){ .msg_iov = iov };
		o->from[i] = at;
		o->segments[i] = segment;
		o->lens[i] = 0;
		o->room = message_max(segment, segment_max);
	}
	i = o->count - 1;
	len = left < o->room ? left : o->room;
	*iov = (struct iovec){ at.dgram->bytes + at.offset, len };
	o->heads[i].msg_hdr.msg_iovlen++;
	o->lens[i] += len;
	o->room -= len;
	if (segment != o->segments[i] || len % (segment > 0 ? segment : 1) != 0)
		o->room = 0;
	return len;
}

/* Fills the messages from a position on. Returns the position after the last datagram that was
 * added. */
static struct position fill_messages(struct outgoing *o, struct position at, size_t segment_max)
{
	o->count = o->iov_count = 0;
	o->room = 0;
	while (at.dgram != NULL && o->iov_count < DGRAMS_MAX) {
		at.offset += add_part(o, at, segment_max);
		if (at.offset == at.dgram->len)
			at = (struct position){ at.dgram->next, 0 };
	}
	return at;
}

/* Did the kernel refuse a batch whose datagrams may get through one by one? It returns EINVAL or
 * EMSGSIZE if a datagram needs fragments, EIO if the device computes no checksums. If so, lowers
 * *segment_max. */
static bool is_refusal(const struct outgoing *o, int index, int errnum, uint16_t *segment_max)
{
	if (!is_batch(o, index) || (errnum != EINVAL && errnum != EMSGSIZE && errnum != EIO))
		return false;
	*segment_max = errnum == EIO ? 0 : (uint16_t)(o->segments[index] - 1);
	return true;
}

/* Sends the messages up to the first refused batch. Returns how many were sent or dropped, or
 * -errno. A system call may return the ICMP error of an earlier datagram; then its own message has
 * not gone out, and is sent again. */
static int send_messages(struct outgoing *o, const struct dgram_dest *dest)
{
	int done = 0;
	int tries = 0;

	while (done < o->count) {
		int n = send_some(o, dest->fd, done);

		if (n > 0) {
			done += n;
			tries = 0;
			continue;
		}
		if (is_refusal(o, done, errno, dest->segment_max))
			break;
		if (!dgram_is_transient(errno) || errno == EAGAIN)
			return -errno;
		if (dest->error != NULL)
			*dest->error = errno;
		if (errno == EMSGSIZE || ++tries == SEND_TRIES) {
			done++;
			tries = 0;
		}
	}
	return done;
}

int dgrams_send(struct dgrams *d, const struct dgram_dest *dest, struct dgram *first)
{
	struct position at = { first, 0 };
	union name name;

	while (at.dgram != NULL) {
		struct position end = fill_messages(&d->out, at,
						    d->sends_batches ? *dest->segment_max : 0);
		int done;

		set_destination(&d->out, dest, &name);
		done = send_messages(&d->out, dest);
		if (done < 0)
			return done == -EAGAIN ? 0 : done;
		at = done == d->out.count ? end : d->out.from[done];
	}
	return 0;
}
