/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OS_SOCKOPT_H
#define OS_SOCKOPT_H

/* What sockets of ours have in common. Nothing here blocks. */

/* For listen(2): as many as net.core.somaxconn allows, to which the kernel cuts it. */
#define SOCKOPT_BACKLOG 65535

/* What users of Go's network library are used to, on a TCP socket: TCP_NODELAY, and a keep-alive
 * probe after 15 s of silence and every 15 s from then on (tcp(7)). Urgent bytes stay in their
 * place in the stream (SO_OOBINLINE), so that copying loses none. Sockets that are accepted on a
 * listening socket with these have them too. A failure changes nothing that matters. */
void sockopt_tcp_defaults(int fd);

/* Has the kernel reset the connection of a TCP socket when it is closed with nothing said before,
 * as it is when the process is killed (SO_LINGER of 0, socket(7)): the peer does not take what it
 * got by then for the whole. Inherited as above. */
void sockopt_tcp_reset_on_close(int fd);

/* Takes that back, whoever has set it and to whatever: close(2) does not wait. */
void sockopt_forget_linger(int fd);
/* Closes a socket after that: what was sent arrives, and then the end. *fd is -1 then, and may have
 * been before. */
void sockopt_close(int *fd);

/* Closes a TCP socket so that its peer sees a reset. *fd is -1 then, and may have been before. */
void sockopt_reset(int *fd);

/* Says that the path of a TCP socket does not leave this machine. A congestion control that paces
 * (BBR), where it is the system's usual one, sets a timer for every few packets, and is replaced by
 * one that does not: a third of the processor time of a bulk stream. A listening socket passes it
 * on, as above. */
void sockopt_tcp_local(int fd);

#endif
