/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SOCKOPT_H
#define SOCKOPT_H

/* What sockets of ours have in common. Nothing here blocks. */

/* For listen(2): as many as net.core.somaxconn allows, to which the kernel cuts it. */
#define SOCKOPT_BACKLOG 65535

/* What users of Go's network library are used to, on a TCP socket: TCP_NODELAY, and a keep-alive
 * probe after 15 s of silence and every 15 s from then on (tcp(7)). Urgent bytes stay in their
 * place in the stream (SO_OOBINLINE), so that copying loses none. Sockets that are accepted on a
 * listening socket with these have them too. A failure changes nothing that matters. */
void sockopt_tcp_defaults(int fd);

#endif
