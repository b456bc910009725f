/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_SOCKOPT_H
#define OS_SOCKOPT_H

#include <stdbool.h>
#include <sys/socket.h>

/* Options that our sockets share. Nothing here blocks, failures of setsockopt(2) are ignored, and
 * any thread may call this. */

/* The backlog for listen(2): the kernel reduces it to net.core.somaxconn. */
#define SOCKOPT_BACKLOG 65535

/* Sets the options that Go's network library sets on a TCP socket: TCP_NODELAY, and a keep-alive
 * probe after 15 s of silence and every 15 s from then on (tcp(7)). Also SO_OOBINLINE: urgent bytes
 * stay at their place in the stream, so that copying loses none. Sockets accepted from a listening
 * socket inherit all of these. */
void sockopt_tcp_defaults(int fd);

/* Urgent bytes stay at their place in the stream (SO_OOBINLINE). A UNIX socket whose peer is inside
 * needs this: otherwise the kernel skips an urgent byte within recvmsg(2), and closes the
 * descriptors that came with it in the thread that receives, which can block (closer.h). */
void sockopt_oob_inline(int fd);

/* Makes an unannounced close (a killed process) send RST, not FIN (SO_LINGER 0, socket(7)), so that
 * the peer can tell a cut stream from a complete one. Accepted sockets inherit this. */
void sockopt_tcp_reset_on_close(int fd);

/* Clears SO_LINGER, whatever it is: close(2) then neither resets nor blocks. */
void sockopt_forget_linger(int fd);
/* Clears SO_LINGER and closes the socket: the data that was sent arrives, and then the end of the
 * stream. Sets *fd to -1; does nothing if it is -1 already. */
void sockopt_close(int *fd);

/* Closes a TCP socket and sends RST to its peer. Sets *fd to -1; does nothing if it is -1 already.
 */
void sockopt_reset(int *fd);

/* Sets the time to live (hop limit) of what a socket of the family AF_INET or AF_INET6 sends.
 * SOCKOPT_ANY_HOPS: the host's default. */
void sockopt_set_hops(int fd, int family, int hops);
#define SOCKOPT_ANY_HOPS (-1)

/* Makes recvmsg(2) report the time to live of what a datagram socket receives, in a control message
 * of SOCKOPT_HOPS_ROOM bytes (ip(7), IP_RECVTTL; ipv6(7), IPV6_RECVHOPLIMIT). */
void sockopt_report_hops(int fd, int family);
#define SOCKOPT_HOPS_ROOM CMSG_SPACE(sizeof(int))
/* Returns the time to live that was reported with a message, or SOCKOPT_ANY_HOPS if none was. */
int sockopt_reported_hops(struct msghdr *msg);

/* Is a socket connected to itself? The kernel chooses a port before it connects. By chance it may
 * be the one that is connected to, where nobody listens (for TCP a simultaneous open, RFC
 * 9293 3.5). */
bool sockopt_is_own_peer(int fd);

/* Returns the error that waits on a socket (SO_ERROR, socket(7)), such as that of a connect(2) that
 * has failed, and clears it: a positive errno, or 0 if there is none. */
int sockopt_take_error(int fd);

/* For a TCP socket whose connections stay on this machine: if its congestion control algorithm
 * paces (BBR), replaces it by one that does not. Pacing sets a timer for every few packets, which
 * costs a third of the CPU time of a bulk stream. Accepted sockets inherit this. */
void sockopt_tcp_local(int fd);

#endif
